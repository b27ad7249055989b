//! dracut, where it writes to `/boot`.
//!
//! `dracut --force OUT R` is what the kernel packages' hooks call (Debian 059 and 106 `/etc/kernel/postinst.d/dracut`, dracut's
//! `50-dracut.install`): hostonly or not, as configured.

use super::{Contents, MODPROBE, OwnFile, generate, identity_files, modprobe_file, own_files};
use crate::adapters::Work;
use crate::adapters::claim::Wanted;
use crate::facts::Snapshot;

/// dracut's own module (dracut.modules(7)).
pub(super) const MODULE_SETUP: &str = "/usr/lib/dracut/modules.d/90vfioneer/module-setup.sh";
/// The hook that it puts into `pre-udev`.
pub(super) const CLAIM_HOOK: &str = "/usr/lib/dracut/modules.d/90vfioneer/vfioneer-claim.sh";
/// Settings (dracut.conf(5)).
pub(super) const CONF: &str = "/etc/dracut.conf.d/90-vfioneer.conf";

/// How one image is made. Debian's dracut runs `/etc/initramfs/post-update.d` afterwards unless told otherwise (106-6 `dracut.sh`), and
/// with systemd-boot that would copy an image that nobody has looked into onto the ESP, in place.
pub(super) const ARGV: &[&str] = &["env", "NO_POST_UPDATE_HOOKS=1", "dracut", "--force", "{out}", "{release}"];

/// What it needs done.
pub(super) fn work(snap: &Snapshot, wanted: &Wanted, contents: &Contents) -> Work {
    let mut work = Work::default();
    own_files(snap, &files(snap, wanted, contents), &mut work);
    generate(snap, contents, ARGV, &mut work);
    work
}

fn files(snap: &Snapshot, wanted: &Wanted, contents: &Contents) -> Vec<OwnFile<'static>> {
    let mut files = identity_files(wanted);
    match wanted {
        Wanted::Identity(_) => files.extend([
            OwnFile(MODULE_SETUP, include_str!("files/dracut-module-setup").to_owned(), 0o755, "image-hook"),
            OwnFile(CLAIM_HOOK, include_str!("files/dracut-hook").to_owned(), 0o755, "image-script"),
        ]),
        Wanted::Ids(_) => {
            let options = modprobe_file(snap, wanted);
            let conf = (!options.is_empty()).then(|| OwnFile(CONF, conf(contents), 0o644, "early-list"));
            files.extend(options.into_iter().chain(conf));
        }
    }
    files
}

/// `force_drivers` are loaded before udev (`rd.driver.pre=` in the image); modprobe.d is copied by itself only for this host
/// alone.
fn conf(contents: &Contents) -> String {
    let modules = contents.modules.join(" ");
    format!("# Written by vfioneer.\nforce_drivers+=\" {modules} \"\ninstall_items+=\" {MODPROBE} \"\n")
}

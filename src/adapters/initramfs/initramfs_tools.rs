//! Debian's initramfs-tools.
//!
//! `update-initramfs -u` calls `mkinitramfs -o /boot/initrd.img-R.new R`, renames, syncs, and runs
//! `/etc/initramfs/post-update.d` (0.142 and 0.148; the state below `/var/lib/initramfs-tools` went away with 0.138). The first is what is
//! called here, on another name; what those hooks do, copying to an ESP, is the boot chain's work.

use super::{Contents, OwnFile, generate, identity_files, modprobe_file, own_files};
use crate::adapters::Work;
use crate::adapters::claim::Wanted;
use crate::facts::Snapshot;

/// Runs while an image is built.
pub(super) const HOOK: &str = "/etc/initramfs-tools/hooks/vfioneer";
/// Runs in the initramfs, by its name before `udev`.
pub(super) const BOOT_SCRIPT: &str = "/etc/initramfs-tools/scripts/init-top/00-vfioneer";
/// A list of modules to load, as packages bring them (0.142 `mkinitramfs` reads the directory).
pub(super) const MODULES: &str = "/usr/share/initramfs-tools/modules.d/vfioneer";

/// How one image is made.
pub(super) const ARGV: &[&str] = &["mkinitramfs", "-o", "{out}", "{release}"];

/// What it needs done.
pub(super) fn work(snap: &Snapshot, wanted: &Wanted, contents: &Contents) -> Work {
    let mut work = Work::default();
    let mut files = identity_files(wanted);
    match wanted {
        Wanted::Identity(_) => files.extend([
            OwnFile(HOOK, include_str!("files/initramfs-tools-hook").to_owned(), 0o755, "image-hook"),
            OwnFile(BOOT_SCRIPT, include_str!("files/initramfs-tools-script").to_owned(), 0o755, "image-script"),
        ]),
        Wanted::Ids(_) => {
            let options = modprobe_file(snap, wanted);
            let list = (!options.is_empty()).then(|| OwnFile(MODULES, early_list(contents), 0o644, "early-list"));
            files.extend(options.into_iter().chain(list));
        }
    }
    own_files(snap, &files, &mut work);
    generate(snap, contents, ARGV, &mut work);
    work
}

fn early_list(contents: &Contents) -> String {
    contents.modules.iter().fold("# Written by vfioneer.\n".to_owned(), |text, module| format!("{text}{module}\n"))
}

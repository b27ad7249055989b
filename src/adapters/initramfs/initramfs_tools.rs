//! Debian's initramfs-tools.
//!
//! `update-initramfs -u` calls `mkinitramfs -o /boot/initrd.img-R.new R`, renames, syncs, and runs
//! `/etc/initramfs/post-update.d` (0.142 and 0.148; the state below `/var/lib/initramfs-tools` went away with 0.138). The first is what is
//! called here, on another name, and the last but for what the boot chain does itself.

use super::{Contents, OwnFile, generate, identity_files, modprobe_file, own_files};
use crate::adapters::Work;
use crate::adapters::claim::Wanted;
use crate::facts::Snapshot;
use crate::steps::reasons::reason;
use crate::steps::{Action, Product, Step};

/// Runs while an image is built.
pub(super) const HOOK: &str = "/etc/initramfs-tools/hooks/vfioneer";
/// Runs in the initramfs, by its name before `udev`.
pub(super) const BOOT_SCRIPT: &str = "/etc/initramfs-tools/scripts/init-top/00-vfioneer";
/// Hooks whose work the boot chain's adapter does: Debian's systemd-boot 252 and 257, Proxmox VE's proxmox-kernel-helper 8; and our
/// own warning.
const CHAINS: &[&str] = &["proxmox-boot-sync", "systemd-boot", "zzz-vfioneer"];
/// A list of modules to load, as packages bring them (0.142 `mkinitramfs` reads the directory).
pub(super) const MODULES: &str = "/usr/share/initramfs-tools/modules.d/vfioneer";

/// How one image is made.
const ARGV: &[&str] = &["mkinitramfs", "-o", "{out}", "{release}"];

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
    images(snap, contents, &mut work);
    work
}

/// Makes the images that are not right.
pub(super) fn images(snap: &Snapshot, contents: &Contents, work: &mut Work) {
    generate(snap, contents, ARGV, work);
    after_update(snap, work);
}

/// What others have run after each new image, a boot loader in flash memory for one.
fn after_update(snap: &Snapshot, work: &mut Work) {
    let mut steps = Vec::new();
    for step in &work.commands {
        let Action::Generate { output, product: Product::Image { release, .. }, .. } = &step.action else { continue };
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        for program in snap.initramfs.after_update.iter().filter(|path| !CHAINS.contains(&name(path).as_str())) {
            let argv = vec![program.clone(), release.clone(), output.clone()];
            let action = Action::Run { undo: argv.clone(), argv, touches: Vec::new(), fence: None };
            steps.push(Step { action, why: reason("after-image", &[("release", release)]) });
        }
    }
    work.commands.extend(steps);
}

fn early_list(contents: &Contents) -> String {
    contents.modules.iter().fold("# Written by vfioneer.\n".to_owned(), |text, module| format!("{text}{module}\n"))
}

//! rpm-ostree: `/usr` is not ours, so dracut is told by arguments what to put into the image that each new deployment
//! gets, and modprobe's `install` command of vfio-pci runs the script when the kernel word `rd.driver.pre=vfio-pci` has it loaded before
//! udev (rpm-ostree(1) `initramfs`; dracut `dracut-pre-udev.sh`).

use super::{Contents, MODPROBE, OwnFile, identity_files, is_right, modprobe_file, own_files};
use crate::adapters::Work;
use crate::adapters::claim::Wanted;
use crate::facts::{Snapshot, own};
use crate::steps::reasons::reason;
use crate::steps::{Action, Step};

/// What it needs done.
pub(super) fn work(snap: &Snapshot, wanted: &Wanted, contents: &Contents) -> Work {
    let mut work = Work::default();
    let mut files = identity_files(wanted);
    files.extend(match wanted {
        Wanted::Identity(_) => vec![OwnFile(MODPROBE, install_command(), 0o644, "install-command")],
        Wanted::Ids(_) => modprobe_file(snap, wanted),
    });
    own_files(snap, &files, &mut work);
    let images = &snap.initramfs.images;
    if work.files.is_empty() && !images.is_empty() && images.iter().all(|image| is_right(snap, image, contents)) {
        return work;
    }
    let mut items: Vec<&str> = files.iter().map(|file| file.0).collect();
    if matches!(wanted, Wanted::Identity(claims) if claims.iter().any(|claim| claim.serial.is_some())) {
        items.push("/usr/bin/od");
    }
    let argument = |text: &str| format!("--arg={text}");
    let mut argv: Vec<String> = ["rpm-ostree", "initramfs", "--enable"].map(str::to_owned).to_vec();
    argv.extend([argument("--add-drivers"), argument(&contents.modules.join(" "))]);
    argv.extend([argument("-I"), argument(&items.join(" "))]);
    let undo = ["rpm-ostree", "initramfs", "--disable"].map(str::to_owned).to_vec();
    let action = Action::Run { argv, undo, touches: Vec::new(), fence: None };
    work.commands.push(Step { action, why: reason("ostree-image", &[]) });
    work.notes.push(reason("ostree-image-arguments", &[]));
    work
}

/// Only in the initramfs: in the running system, vfio-pci is loaded as ever.
fn install_command() -> String {
    let script = own::SCRIPT;
    format!(
        "# Written by vfioneer.\ninstall vfio-pci [ ! -e /etc/initrd-release ] || /bin/sh {script}; \
         /sbin/modprobe --ignore-install vfio-pci $CMDLINE_OPTS\n"
    )
}

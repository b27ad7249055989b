//! rpm-ostree: `/usr` is not ours, so dracut is told by arguments what to put into the image that each new deployment
//! gets, and modprobe's `install` command of vfio-pci runs the script when the kernel word `rd.driver.pre=vfio-pci` has it loaded before
//! udev (rpm-ostree(1) `initramfs`; dracut `dracut-pre-udev.sh`).

use super::{Contents, MODPROBE, OwnFile, identity_files, is_right, modprobe_file, own_files};
use crate::adapters::Work;
use crate::adapters::claim::Wanted;
use crate::facts::initramfs::ORIGINS;
use crate::facts::{Snapshot, own};
use crate::steps::reasons::reason;
use crate::steps::{Action, Step};

/// What the modules of every plan begin with ([`Contents`]).
const MODULES: &str = "vfio vfio_iommu_type1 ";

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
    let own = ["--add-drivers", &contents.modules.join(" "), "-I", &items.join(" ")].map(str::to_owned);
    let Some(former) = former(snap) else {
        let arguments: Vec<String> = own.iter().map(|word| format!("--arg={word:?}")).collect();
        work.manual.push(reason("ostree-image-by-hand", &[("arguments", &arguments.join(" "))]));
        return work;
    };
    let kept = former.clone().unwrap_or_default();
    let undo = match former {
        Some(former) => enable(&former),
        None => ["rpm-ostree", "initramfs", "--disable"].map(str::to_owned).to_vec(),
    };
    let argv = enable(&[kept, own.to_vec()].concat());
    // Bringing back a deployment's files one by one would make what ostree never made.
    let action = Action::Run { argv, undo, touches: Vec::new(), fence: None };
    work.commands.push(Step { action, why: reason("ostree-image", &[]) });
    work
}

/// The command that has images built with these arguments: each time it is given all of them.
fn enable(arguments: &[String]) -> Vec<String> {
    let front = ["rpm-ostree", "initramfs", "--enable"].map(str::to_owned);
    front.into_iter().chain(arguments.iter().map(|word| format!("--arg={word}"))).collect()
}

/// The arguments with which images are built on this host already, vfioneer's own left out; `Some(None)`: none is built here. `None`: deployments
/// differ, or cannot be read.
fn former(snap: &Snapshot) -> Option<Option<Vec<String>>> {
    let mut found: Option<Option<Vec<String>>> = None;
    for file in snap.initramfs.config.iter().filter(|file| file.path.starts_with(ORIGINS)) {
        let arguments = arguments(&file.text)?;
        if found.as_ref().is_some_and(|known| *known != arguments) {
            return None;
        }
        found = Some(arguments);
    }
    let unread = snap.initramfs.unread.iter().any(|(path, _)| path.starts_with(ORIGINS));
    if unread { None } else { Some(found.flatten()) }
}

/// `[rpmostree] regenerate-initramfs` and `initramfs-args`, a list of GKeyFile's (rpm-ostree `rpmostree-origin.cxx`); `None` if it has
/// characters that are written with `\\`.
fn arguments(origin: &str) -> Option<Option<Vec<String>>> {
    let value = |key: &str| {
        origin.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('=').map(str::trim))
    };
    if value("regenerate-initramfs") != Some("true") {
        return Some(None);
    }
    let list = value("initramfs-args").unwrap_or_default();
    if list.contains('\\') {
        return None;
    }
    let all: Vec<&str> = list.split_terminator(';').collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while let Some(word) = all.get(at) {
        let next = all.get(at + 1).copied().unwrap_or_default();
        let ours = *word == "-I" && next.contains("/vfioneer") || *word == "--add-drivers" && next.starts_with(MODULES);
        if !ours {
            kept.push((*word).to_owned());
        }
        at += if ours { 2 } else { 1 };
    }
    Some((!kept.is_empty() || all.is_empty()).then_some(kept))
}

/// Only in the initramfs: in the running system, vfio-pci is loaded as ever.
fn install_command() -> String {
    let script = own::SCRIPT;
    format!(
        "# Written by vfioneer.\ninstall vfio-pci [ ! -e /etc/initrd-release ] || /bin/sh {script}; \
         /sbin/modprobe --ignore-install vfio-pci $CMDLINE_OPTS\n"
    )
}

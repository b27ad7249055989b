//! The images that boot entries name (Boot Loader Specification), where they are none that the generator makes by itself.
//!
//! An image outside `/boot` is a copy of one there, or was built in its place by a plugin of kernel-install. It has to follow, or the
//! loader would go on starting the old one.

use super::super::Work;
use super::super::initramfs::{is_right, kernel, mkinitcpio};
use super::WordChange;
use crate::facts::Snapshot;
use crate::facts::boot::{Entry, normal_entries};
use crate::facts::initramfs::{Generator, Image};
use crate::parse::bls;
use crate::steps::reasons::reason;
use crate::steps::{Action, Step};
use std::collections::BTreeSet;

/// What it needs done for the images of all entries.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let mut work = Work::default();
    if !change.images {
        return work;
    }
    let by_presets: BTreeSet<String> = mkinitcpio::builds(snap).into_iter().map(|build| build.output).collect();
    let by_preset = snap.initramfs.generator.known() == Some(&Generator::Mkinitcpio);
    let mut seen = BTreeSet::new();
    for entry in normal_entries(&snap.boot) {
        for paths in named(&entry) {
            let image = snap.initramfs.images.iter().find(|image| paths.contains(&image.path));
            let path = image.map(|image| &image.path).or(paths.first());
            let Some(path) = path.filter(|path| seen.insert((*path).clone()) && !by_presets.contains(*path)) else {
                continue;
            };
            match image {
                None if is_missing(snap, &entry, path) => work.notes.push(reason("image-missing", &[("path", path)])),
                None => work.manual.push(reason("image-unknown", &[("path", path)])),
                Some(image) if is_right(snap, image, &change.contents) => {}
                Some(image) if is_in_boot(image) && by_preset => {
                    work.manual.push(reason("image-without-preset", &[("path", path)]));
                }
                Some(image) if is_in_boot(image) => {}
                Some(image) => follow(snap, change, image, &mut work),
            }
        }
    }
    work
}

/// True if an image that has the name of an installed kernel's is not there: it would have been found.
fn is_missing(snap: &Snapshot, entry: &Entry<'_>, path: &str) -> bool {
    let Some(release) = entry.release().filter(|release| kernel(snap, release).is_some()) else { return false };
    let names = [format!("initramfs-{release}.img"), format!("initrd.img-{release}"), format!("initrd-{release}")];
    path.strip_prefix("/boot/").is_some_and(|name| names.iter().any(|known| known == name))
}

/// Each image that an entry names, as the paths that it may have here: below the directory of the entries, or, where that is no file system of
/// its own, as it stands. Microcode and words of others (`$tuned_initrd`) are left out.
fn named(entry: &Entry<'_>) -> Vec<Vec<String>> {
    let Some(file) = entry.places.first().map(|place| &place.file) else { return Vec::new() };
    let Some((root, _)) = file.path.split_once("/loader/entries/") else { return Vec::new() };
    let is_image = |name: &&str| !name.starts_with('$') && !name.contains("ucode") && !name.contains("microcode");
    let parsed = bls::parse(&file.text);
    let values = parsed.all("initrd").flat_map(|line| line.value.split_ascii_whitespace()).filter(is_image);
    values
        .map(|value| {
            let value = format!("/{}", value.trim_start_matches('/'));
            // The subvolume of a btrfs is part of the path that the loader sees.
            let in_boot = value.rfind("/boot/").and_then(|at| value.get(at..)).map(str::to_owned);
            [Some(format!("{root}{value}")), in_boot].into_iter().flatten().collect()
        })
        .collect()
}

fn is_in_boot(image: &Image) -> bool {
    image.path.strip_prefix("/boot/").is_some_and(|name| !name.contains('/'))
}

/// A copy is copied again, from the image of the same name or else of the same kernel; what was built in its place is built again.
fn follow(snap: &Snapshot, change: &WordChange, image: &Image, work: &mut Work) {
    let name = image.path.rsplit('/').next().unwrap_or_default();
    let originals = || snap.initramfs.of(&image.release).filter(|original| !original.unified && is_in_boot(original));
    let dracut = snap.initramfs.generator.known() == Some(&Generator::Dracut);
    let same_name = originals().find(|original| original.path == format!("/boot/{name}"));
    let (argv, id) = if let Some(original) = same_name.or(originals().next().filter(|_| !dracut)) {
        (vec!["cp".to_owned(), original.path.clone(), "{out}".to_owned()], "image-copy")
    } else if dracut {
        // dracut 059 and 106 `50-dracut.install`; Debian's would run its own hooks, kernel-install among them, afterwards.
        let argv = ["env", "NO_POST_UPDATE_HOOKS=1", "dracut", "--force", "--no-uefi", "{out}", &image.release];
        (argv.map(str::to_owned).to_vec(), "image-on-esp")
    } else {
        work.manual.push(reason("image-by-plugin", &[("path", &image.path), ("release", &image.release)]));
        return;
    };
    let product = change.contents.product(snap, &image.release);
    let action = Action::Generate { argv, output: image.path.clone(), product };
    work.commands.push(Step { action, why: reason(id, &[("release", &image.release)]) });
}

#[cfg(test)]
mod tests {
    use super::super::testing::Files;
    use super::*;

    const RELEASE: &str = "6.12.9-200.fc41.x86_64";

    /// The commands of a change of images, and how many things are left to a person.
    fn commands(host: &Files) -> (Vec<String>, usize) {
        let change = WordChange { images: true, ..WordChange::default() };
        let work = super::super::work(&host.snapshot(), &change);
        let command = |step: &Step| match &step.action {
            Action::Generate { argv, output, .. } => Some(format!("{} > {output}", argv.join(" "))),
            _ => None,
        };
        (work.commands.iter().filter_map(command).collect(), work.manual.len())
    }

    #[test]
    fn copies_by_hand_follow() {
        let files = |named: &str| {
            Files::new(&[
                ("/proc/cmdline", "initrd=\\debian\\initrd.img root=UUID=1 ro\n"),
                ("/usr/lib/modules/6.12.9/modules.dep", ""),
                ("/boot/vmlinuz-6.12.9", ""),
                ("/boot/initrd.img-6.12.9", ""),
                ("/boot/efi/loader/loader.conf", ""),
                ("/boot/efi/debian/initrd.img-6.12.9", ""),
                ("/usr/sbin/mkinitramfs", ""),
            ])
            .with(
                "/boot/efi/loader/entries/debian.conf",
                format!(
                    "linux /debian/vmlinuz\ninitrd /debian/amd-ucode.img\ninitrd {named}\noptions root=UUID=1 ro\n"
                ),
            )
            .loader("LoaderInfo", "systemd-boot 257")
        };
        let copy = "cp /boot/initrd.img-6.12.9 {out} > /boot/efi/debian/initrd.img-6.12.9".to_owned();
        assert_eq!(commands(&files("/debian/initrd.img-6.12.9")), (vec![copy], 0));
        // Nobody can tell whose image that is.
        assert_eq!(commands(&files("/debian/initrd")), (vec![], 1));
    }

    #[test]
    fn what_a_plugin_built_in_place_is_built_again() {
        let id = "6c6162206d616368696e652069640001";
        let host = Files::new(&[
            ("/proc/cmdline", "BOOT_IMAGE=(hd0,gpt2)/vmlinuz root=UUID=1 ro\n"),
            ("/etc/fstab", "UUID=2 /boot ext4 defaults 0 0\n"),
            ("/usr/bin/dracut", ""),
            ("/boot/grub2/grub.cfg", "blscfg\n"),
        ])
        .with(&format!("/usr/lib/modules/{RELEASE}/modules.dep"), "")
        .with(&format!("/boot/{id}/{RELEASE}/initrd"), "")
        .with("/boot/initramfs-0-rescue.img", "")
        .with(
            &format!("/boot/loader/entries/{id}-{RELEASE}.conf"),
            format!("version {RELEASE}\nlinux /{id}/{RELEASE}/linux\ninitrd /{id}/{RELEASE}/initrd $tuned_initrd\noptions root=UUID=1 ro\n"),
        )
        .with(
            &format!("/boot/loader/entries/{id}-0-rescue.conf"),
            format!("version 0-rescue-{id}\nlinux /vmlinuz-0-rescue\ninitrd /initramfs-0-rescue.img\noptions root=UUID=1 ro\n"),
        );
        let built = format!(
            "env NO_POST_UPDATE_HOOKS=1 dracut --force --no-uefi {{out}} {RELEASE} > /boot/{id}/{RELEASE}/initrd"
        );
        assert_eq!(host.snapshot().boot.chain(), Some(crate::facts::boot::Chain::GrubBls));
        assert_eq!(commands(&host), (vec![built], 0));
    }
}

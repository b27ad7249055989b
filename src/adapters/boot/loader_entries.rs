//! systemd-boot with entries written by hand (Arch): the `options` of each.
//!
//! They lie on the ESP: every file is replaced by a rename, which FAT can do without a moment in which the name is missing. Nothing
//! makes them anew for a kernel to come, which has the same names.

use super::super::Work;
use super::WordChange;
use super::kernel_install::edited;
use crate::facts::Snapshot;
use crate::facts::boot::normal_entries;
use crate::steps::reasons::reason;

/// What it needs done.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let entries = normal_entries(&snap.boot);
    if entries.is_empty() {
        return Work { manual: vec![reason("entries-unread", &[])], ..Work::default() };
    }
    let mut work = Work::default();
    if change.escape {
        work.notes.push(reason("escape-typed-systemd-boot", &[]));
    }
    work.commands.extend(edited(&entries, change).steps(|_| reason("entry-words", &[])));
    work
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Files, words};
    use super::*;

    const ENTRY: &str = "title Arch Linux\r\nlinux /vmlinuz-linux\ninitrd /initramfs-linux.img\n# options ro\noptions root=UUID=1 rw\noptions quiet";

    #[test]
    fn every_entry_gets_its_words() {
        let host = Files::new(&[
            ("/proc/cmdline", "initrd=\\initramfs-linux.img root=UUID=1 rw quiet\n"),
            ("/boot/loader/loader.conf", "default arch.conf\n"),
            ("/boot/loader/entries/arch.conf", ENTRY),
            ("/boot/loader/entries/lts.conf", "linux /vmlinuz-linux-lts\noptions root=UUID=1 rw iommu=pt"),
            ("/boot/loader/entries/other.conf", "linux /vmlinuz-other\noptions root=UUID=2 rw\n"),
        ])
        .loader("LoaderInfo", "systemd-boot 257");
        let change = WordChange { escape: true, ..words("iommu=pt", "rw") };
        let work = host.work(&change);
        assert!(work.files.is_empty() && work.manual.is_empty() && work.notes.len() == 1, "{work:?}");
        let after = host.after(&work);
        let arch = ENTRY.replace("UUID=1 rw", "UUID=1").replace("quiet", "quiet iommu=pt");
        assert_eq!(after.text("/boot/loader/entries/arch.conf"), Some(arch.as_str()));
        assert_eq!(
            after.text("/boot/loader/entries/lts.conf"),
            Some("linux /vmlinuz-linux-lts\noptions root=UUID=1 iommu=pt")
        );
        assert_eq!(after.text("/boot/loader/entries/other.conf"), host.text("/boot/loader/entries/other.conf"));
        assert!(after.work(&change).is_empty());
        assert_eq!(
            after.after(&after.work(&words("", "iommu=pt"))).text("/boot/loader/entries/arch.conf"),
            Some(ENTRY.replace("UUID=1 rw", "UUID=1").as_str())
        );
    }
}

//! systemd-boot with entries written by hand (Arch): the `options` of each.
//!
//! They lie on the ESP: every file is replaced by a rename, which FAT can do without a moment in which the name is missing. Nothing
//! makes them anew for a kernel to come, which has the same names. The entry "without passthrough" is a file of its own beside each; the
//! loader sorts `arch-vfioneer-off.conf` behind `arch.conf` (systemd `strverscmp_improved`: `-` is before `.`, the highest comes first).

use super::super::Work;
use super::kernel_install::{edited, escapes};
use super::{Menu, WordChange, entry_images, escape_typed};
use crate::facts::Snapshot;
use crate::facts::boot::{Boot, normal_entries};
use crate::steps::reasons::reason;

/// What it needs done.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let entries = normal_entries(&snap.boot);
    if entries.is_empty() {
        return Work { manual: vec![reason("entries-unread", &[])], ..Work::default() };
    }
    let mut work = entry_images::work(snap, change);
    let edits = edited(&entries, change);
    match change.escape {
        true if has_pattern(&snap.boot) => work.notes.push(escape_typed(Menu::SystemdBoot, change.ids)),
        true => work.commands.extend(escapes(&snap.boot, &entries, &edits, change.ids)),
        false => {}
    }
    work.commands.extend(edits.steps(|_| reason("entry-words", &[])));
    work
}

/// True if a pattern chooses the default entry: a new one could be the first that it matches (loader.conf(5)).
fn has_pattern(boot: &Boot) -> bool {
    let lines = boot.loader_configs.iter().flat_map(|file| file.text.lines());
    let mut defaults = lines.filter_map(|line| line.trim_start().strip_prefix("default"));
    defaults.any(|name| name.contains(['*', '?', '[']))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Files, words};
    use super::*;

    const ENTRY: &str = "title Arch Linux\r\nlinux /vmlinuz-linux\ninitrd /initramfs-linux.img\n# options ro\noptions root=UUID=1 rw\noptions quiet";

    #[test]
    fn entries_in_odd_forms() {
        let windows =
            "title Windows\nefi /shellx64.efi\noptions -nointerrupt HD0b:EFI\\Microsoft\\Boot\\Bootmgfw.efi\n";
        let host = Files::new(&[
            ("/proc/cmdline", "initrd=\\initramfs-linux.img rw\n"),
            ("/boot/loader/loader.conf", "timeout 3\n"),
            ("/boot/loader/entries/blanks.conf", "  title A\n  linux /vmlinuz-linux\n  options rw\n"),
            ("/boot/loader/entries/bare.conf", "title B\nlinux /vmlinuz-linux\noptions\n"),
            ("/boot/loader/entries/none.conf", "title C\nlinux /vmlinuz-linux\n"),
            ("/boot/loader/entries/windows.conf", windows),
        ])
        .loader("LoaderInfo", "systemd-boot 257");
        let change = WordChange { escape: true, ..words("iommu=pt", "") };
        let after = host.after(&host.work(&change));
        let text = |name: &str| after.text(&format!("/boot/loader/entries/{name}.conf")).map(str::to_owned);
        for (name, head, options) in [
            ("blanks", "  title A\n  linux /vmlinuz-linux\n", "  options rw iommu=pt"),
            ("bare", "title B\nlinux /vmlinuz-linux\n", "options iommu=pt"),
            ("none", "title C\nlinux /vmlinuz-linux\n", "options iommu=pt"),
        ] {
            assert_eq!(text(name), Some(format!("{head}{options}\n")));
            let off = text(&format!("{name}-vfioneer-off")).unwrap();
            assert!(off.ends_with(&format!("{options} vfioneer=off\n")) && off.contains(", without"), "{off}");
        }
        assert_eq!(text("windows").as_deref(), Some(windows));
        assert_eq!(text("windows-vfioneer-off"), None);
        assert!(after.work(&change).is_empty());
    }

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
        assert!(work.files.is_empty() && work.manual.is_empty() && work.notes.is_empty(), "{work:?}");
        let after = host.after(&work);
        let off = after.text("/boot/loader/entries/arch-vfioneer-off.conf").unwrap();
        assert!(off.starts_with("title Arch Linux, without") && off.ends_with("quiet iommu=pt vfioneer=off"), "{off}");
        assert_eq!(after.text("/boot/loader/entries/other-vfioneer-off.conf"), None);
        // A pattern as the default could match the new entry first.
        let pattern = host.clone().with("/boot/loader/loader.conf", "timeout 3\ndefault arch*\n").work(&change);
        assert_eq!((pattern.notes.len(), pattern.commands.len()), (1, 2), "{pattern:?}");
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

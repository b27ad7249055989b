//! Chains whose words stand in text, or are given by a tool of the distribution.

use super::WordChange;
use super::testing::{Files, words};
use super::{has_word, is_done};
use crate::steps::{Action, Step};

fn argv(step: &Step) -> (Vec<String>, Vec<String>) {
    match &step.action {
        Action::Run { argv, undo, .. } => (argv.clone(), undo.clone()),
        other => panic!("no command: {other:?}"),
    }
}

fn bls(options: &str) -> String {
    format!(
        "title Rocky\nversion 5.14.0-1.el9.x86_64\nlinux /vmlinuz-5.14.0-1.el9.x86_64\noptions {options}\ngrub_class kernel\n"
    )
}

const RESCUE: &str =
    "title Rocky (0-rescue-0a1b)\nversion 0-rescue-0a1b\nlinux /vmlinuz-0-rescue-0a1b\noptions root=/dev/sda1 ro\n";

fn el9(options: &str) -> Files {
    Files::new(&[
        ("/proc/cmdline", "BOOT_IMAGE=(hd0,gpt2)/vmlinuz-5.14.0-1.el9.x86_64 root=/dev/sda1 ro rhgb\n"),
        ("/boot/grub2/grub.cfg", "insmod blscfg\nblscfg\n"),
        ("/usr/sbin/grub2-mkconfig", "#!/usr/bin/sh\n# --update-bls-cmdline\n"),
        ("/etc/default/grub", "GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX=\"crashkernel=1G rhgb\"\nGRUB_ENABLE_BLSCFG=true\n"),
        ("/boot/loader/entries/0a1b-5.14.0-1.el9.x86_64.conf", &bls(options)),
        ("/boot/loader/entries/0a1b-0-rescue.conf", RESCUE),
    ])
}

#[test]
fn bls_entries_and_what_later_ones_are_made_from() {
    let host = el9("root=/dev/sda1 ro rhgb $tuned_params").with("/etc/kernel/cmdline", "root=/dev/sda1 ro\nrhgb");
    let work = host.work(&words("intel_iommu=on iommu=pt", "rhgb"));
    assert!(work.commands.is_empty() && work.manual.is_empty(), "{work:?}");
    let after = host.after(&work);
    let entry = after.text("/boot/loader/entries/0a1b-5.14.0-1.el9.x86_64.conf");
    assert_eq!(entry, Some(bls("root=/dev/sda1 ro $tuned_params intel_iommu=on iommu=pt").as_str()));
    assert_eq!(after.text("/boot/loader/entries/0a1b-0-rescue.conf"), Some(RESCUE));
    let default = after.text("/etc/default/grub").unwrap();
    assert!(default.contains("GRUB_CMDLINE_LINUX=\"crashkernel=1G intel_iommu=on iommu=pt\"\n"), "{default}");
    assert_eq!(after.text("/etc/kernel/cmdline"), Some("root=/dev/sda1 ro intel_iommu=on iommu=pt\n"));
    assert!(after.work(&words("intel_iommu=on iommu=pt", "rhgb")).is_empty());
}

#[test]
fn bls_words_that_are_there_change_nothing() {
    let host = el9("root=/dev/sda1 ro intel-iommu=on");
    assert!(host.work(&words("intel_iommu=on", "nofb")).is_empty());
    // Another word with that in it is another word.
    let after = host.after(&host.work(&words("iommu=on", "")));
    let entry = after.text("/boot/loader/entries/0a1b-5.14.0-1.el9.x86_64.conf").unwrap();
    assert!(entry.contains("intel-iommu=on iommu=on\n"), "{entry}");
}

#[test]
fn bls_words_in_the_environment_block() {
    let block = |words: &str| {
        let text = format!("# GRUB Environment Block\nsaved_entry=x\nkernelopts={words}\nboot_success=0\n");
        format!("{text}{}", "#".repeat(1024 - text.len()))
    };
    let host = el9("$kernelopts $tuned_params").with("/boot/grub2/grubenv", block("root=/dev/sda1 ro"));
    let work = host.work(&words("intel_iommu=on", ""));
    let after = host.after(&work);
    assert_eq!(after.text("/boot/grub2/grubenv"), Some(block("root=/dev/sda1 ro intel_iommu=on").as_str()));
    let entry = "/boot/loader/entries/0a1b-5.14.0-1.el9.x86_64.conf";
    assert_eq!(after.text(entry), host.text(entry));
    assert!(after.work(&words("intel_iommu=on", "")).is_empty());
    // Without room there, the words go into the entry.
    let full = host.with("/boot/grub2/grubenv", block(&format!("root=/dev/sda1 {}", "x".repeat(930))));
    let after = full.after(&full.work(&words("intel_iommu=on", "")));
    assert!(after.text(entry).unwrap().contains("options $kernelopts $tuned_params intel_iommu=on\n"));
}

#[test]
fn bls_without_readable_entries() {
    let mut host = el9("");
    host.0.retain(|path, _| !path.starts_with("/boot/loader/"));
    let work = host.work(&words("intel_iommu=on", ""));
    assert!(work.files.is_empty() && work.manual.len() == 1, "{work:?}");
}

fn pve() -> Files {
    Files::new(&[
        (
            "/proc/cmdline",
            "initrd=\\EFI\\proxmox\\6.8.12-4-pve\\initrd.img-6.8.12-4-pve root=ZFS=rpool/ROOT/pve-1 boot=zfs\n",
        ),
        ("/etc/kernel/proxmox-boot-uuids", "5B3A-17F2\n"),
    ])
    .loader("LoaderInfo", "systemd-boot 252")
}

#[test]
fn proxmox_first_line() {
    let host = pve().with("/etc/kernel/cmdline", "root=ZFS=rpool/ROOT/pve-1 boot=zfs\n# two\n");
    let work = host.work(&words("intel_iommu=on", "boot=zfs"));
    let after = host.after(&work);
    assert_eq!(after.text("/etc/kernel/cmdline"), Some("root=ZFS=rpool/ROOT/pve-1 intel_iommu=on\n# two\n"));
    let [command] = work.commands.as_slice() else { panic!("{:?}", work.commands) };
    let (command, undo) = argv(command);
    assert_eq!(command.last().map(String::as_str), Some("intel_iommu=on"));
    assert_eq!(command[..5], undo[..5]);
    assert_eq!(after.text(&command[5]), Some(undo[6].as_str()));
    assert!(after.work(&words("intel_iommu=on", "boot=zfs")).is_empty());
    let mut images = words("", "");
    images.images = true;
    let work = after.work(&images);
    assert!(work.files.is_empty() && work.commands.len() == 1);
}

#[test]
fn proxmox_without_the_file() {
    let host = pve();
    let after = host.after(&host.work(&words("intel_iommu=on", "")));
    assert_eq!(after.text("/etc/kernel/cmdline"), Some("root=ZFS=rpool/ROOT/pve-1 boot=zfs intel_iommu=on\n"));
    assert!(after.work(&words("intel_iommu=on", "")).is_empty());
    let host = host.with("/proc/cmdline", "initrd=\\EFI\\proxmox\\6.8.12-4-pve\\initrd.img-6.8.12-4-pve quiet\n");
    let work = host.work(&words("intel_iommu=on", ""));
    assert!(work.files.is_empty() && work.commands.is_empty() && work.manual.len() == 1, "{work:?}");
}

#[test]
fn proxmox_refuses_a_first_line_without_root() {
    let host = pve().with("/etc/kernel/cmdline", "quiet\nroot=ZFS=rpool/ROOT/pve-1\n");
    let work = host.work(&words("intel_iommu=on", ""));
    assert!(work.files.is_empty() && work.commands.is_empty() && work.manual.len() == 1, "{work:?}");
    let mended = host.after(&host.work(&words("root=ZFS=rpool/ROOT/pve-1 intel_iommu=on", "")));
    let expected = "quiet root=ZFS=rpool/ROOT/pve-1 intel_iommu=on\nroot=ZFS=rpool/ROOT/pve-1\n";
    assert_eq!(mended.text("/etc/kernel/cmdline"), Some(expected));
}

#[test]
fn proxmox_both_loaders_get_the_words() {
    let grub = "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"\"\n";
    let both = pve()
        .with("/etc/kernel/cmdline", "root=ZFS=rpool/ROOT/pve-1 boot=zfs\n")
        .with("/etc/default/grub", grub)
        .with("/usr/sbin/update-grub", "#!/bin/sh\n");
    let by_grub = Files(both.0.clone().into_iter().filter(|(path, _)| !path.contains("LoaderInfo")).collect())
        .with("/proc/cmdline", "BOOT_IMAGE=/vmlinuz-6.8.12-4-pve root=ZFS=/ROOT/pve-1 ro quiet\n");
    for host in [both, by_grub] {
        let work = host.work(&words("intel_iommu=on", ""));
        let after = host.after(&work);
        assert_eq!(after.text("/etc/kernel/cmdline"), Some("root=ZFS=rpool/ROOT/pve-1 boot=zfs intel_iommu=on\n"));
        assert!(after.text("/etc/default/grub.d/99-vfioneer.cfg").unwrap().contains("intel_iommu=on"));
        assert_eq!(work.commands.len(), 1);
        assert!(after.work(&words("intel_iommu=on", "")).is_empty());
    }
}

fn silverblue(entries: &[(&str, &str)]) -> Files {
    let mut files = Files::new(&[
        (
            "/proc/cmdline",
            "BOOT_IMAGE=(hd0,gpt2)/ostree/fedora-1/vmlinuz-6.14.9 rhgb ostree=/ostree/boot.1/fedora/1/0\n",
        ),
        ("/boot/grub2/grub.cfg", "insmod blscfg\nblscfg\n"),
        ("/run/ostree-booted", ""),
        ("/usr/bin/rpm-ostree", ""),
    ]);
    for (name, options) in entries {
        let text = format!(
            "title Fedora\nversion 1\noptions {options} ostree=/ostree/boot.1/fedora/1/0\nlinux /ostree/fedora-1/vmlinuz-6.14.9\n"
        );
        files = files.with(&format!("/boot/loader/entries/{name}"), text);
    }
    files
}

#[test]
fn ostree_arguments() {
    let host = silverblue(&[("ostree-1.conf", "rhgb nofb")]);
    let work = host.work(&words("intel_iommu=on iommu=pt", "nofb"));
    assert!(work.files.is_empty());
    let (command, undo) = argv(&work.commands[0]);
    assert_eq!(
        command.join(" "),
        "rpm-ostree kargs --append-if-missing=intel_iommu=on --append-if-missing=iommu=pt --delete-if-present=nofb"
    );
    assert_eq!(
        undo.join(" "),
        "rpm-ostree kargs --append-if-missing=nofb --delete-if-present=intel_iommu=on --delete-if-present=iommu=pt"
    );
    // The deployment to go back to keeps the words that it had.
    let after = silverblue(&[("ostree-1.conf", "rhgb nofb"), ("ostree-2.conf", "rhgb intel_iommu=on iommu=pt")]);
    assert!(after.work(&words("intel_iommu=on iommu=pt", "")).is_empty());
}

const KERNELSTUB: &str = "{\n  \"default\": {\n    \"kernel_options\": [\n      \"quiet\",\n      \"splash\"\n    ]\n  },\n  \"user\": {\n    \"kernel_options\": [\n      \"quiet\",\n      \"splash\"\n    ],\n    \"esp_path\": \"/boot/efi\"\n  }\n}";

fn pop() -> Files {
    Files::new(&[
        ("/proc/cmdline", "initrd=\\EFI\\Pop_OS-1\\initrd.img root=UUID=1 ro quiet splash\n"),
        ("/etc/kernelstub/configuration", KERNELSTUB),
        ("/boot/efi/loader/loader.conf", "default Pop_OS-current\ntimeout 3"),
        (
            "/boot/efi/loader/entries/Pop_OS-current.conf",
            "title Pop!_OS\nlinux /EFI/Pop_OS-1/vmlinuz.efi\ninitrd /EFI/Pop_OS-1/initrd.img\noptions root=UUID=1 ro quiet splash\n",
        ),
    ])
    .loader("LoaderInfo", "systemd-boot 249")
}

#[test]
fn kernelstub_behind_an_entry_of_its_own() {
    let host = pop();
    let work = host.work(&words("intel_iommu=on", "splash"));
    let after = host.after(&work);
    let (front, user) = KERNELSTUB.split_once("\"user\"").unwrap();
    let user = user.replace("\"splash\"", "\"intel_iommu=on\"");
    assert_eq!(after.text("/etc/kernelstub/configuration"), Some(format!("{front}\"user\"{user}").as_str()));
    let Action::Run { argv, undo, fence: Some(fence), .. } = &work.commands[0].action else { panic!("{work:?}") };
    assert_eq!((argv.join(" "), undo.join(" ")), ("kernelstub".into(), "kernelstub".into()));
    assert_eq!(fence.copies[0].0, "/boot/efi/EFI/Pop_OS-1/vmlinuz.efi");
    assert!(fence.writes[0].1.contains("options root=UUID=1 ro quiet splash\n"));
    assert_eq!(fence.writes[1], ("/boot/efi/loader/loader.conf".into(), "timeout 3\ndefault vfioneer.conf\n".into()));
    let mut host = host;
    host.0.retain(|path, _| !path.starts_with("/boot/efi/loader/entries"));
    assert_eq!(host.work(&words("intel_iommu=on", "")).manual.len(), 1);
}

#[test]
fn instructions_show_the_line_before_and_after() {
    let limine = Files::new(&[
        ("/proc/cmdline", "root=UUID=1 rw\n"),
        ("/boot/limine.conf", "timeout: 5\n/Arch\n  protocol: linux\n  cmdline: root=UUID=1 rw nofb\n"),
    ])
    .loader("LoaderInfo", "Limine 9.2");
    let work = limine.work(&words("intel_iommu=on", "nofb"));
    assert!(work.files.is_empty() && work.commands.is_empty());
    let text = work.manual.join("\n");
    assert!(
        text.contains(
            "/boot/limine.conf, line 4:\n  - cmdline: root=UUID=1 rw nofb\n  + cmdline: root=UUID=1 rw intel_iommu=on"
        ),
        "{text}"
    );
    let nixos = limine.with("/etc/NIXOS", "");
    let text = nixos.work(&words("intel_iommu=on", "")).manual.join("\n");
    assert!(text.contains("boot.kernelParams = [ \"intel_iommu=on\" ];"), "{text}");
    assert!(text.contains("\n  nixos-rebuild boot\n") && text.ends_with("when it boots."), "{text}");
    // An initrd that takes no files from here: by ids alone.
    let images = WordChange { images: true, ..words("", "") };
    assert!(nixos.work(&images).manual.join("\n").contains("--method ids"));
    let text = nixos.work(&WordChange { ids: true, ..images }).manual.join("\n");
    assert!(
        text.contains("  boot.initrd.kernelModules = [ ") && text.contains("  boot.extraModprobeConfig = "),
        "{text}"
    );
}

#[test]
fn instructions_end_once_they_were_followed() {
    let before =
        Files::new(&[("/proc/cmdline", "root=UUID=1 rw initrd=\\x\n"), ("/etc/kernel/cmdline", "root=UUID=1 rw\n")])
            .loader("LoaderInfo", "systemd-boot 257")
            .with("/etc/sysconfig/bootloader", "LOADER_TYPE=\"systemd-boot\"\n")
            .with("/usr/bin/sdbootutil", "")
            .with("/boot/efi/loader/entries/a.conf", "title A\noptions root=UUID=1 rw\nlinux /l\n");
    let wanted = WordChange { images: true, ..words("intel_iommu=on", "") };
    let text = before.work(&wanted).manual.join("\n");
    assert!(
        text.contains("/etc/kernel/cmdline, line 1:") && text.contains("  + root=UUID=1 rw intel_iommu=on\n"),
        "{text}"
    );
    assert!(text.contains("\n  sdbootutil update-all-entries\n"), "{text}");
    let written = before.with("/etc/kernel/cmdline", "root=UUID=1 rw intel_iommu=on\n");
    let text = written.work(&wanted).manual.join("\n");
    assert!(text.contains("has the words") && !text.contains("  + ") && text.contains("\n  sdbootutil"), "{text}");
    let made =
        written.with("/boot/efi/loader/entries/a.conf", "title A\noptions root=UUID=1 rw intel_iommu=on\nlinux /l\n");
    assert_eq!(made.work(&wanted).manual, [""; 0]);
}

#[test]
fn who_boots_is_settled_by_a_boot() {
    let host = Files::new(&[("/proc/cmdline", "root=UUID=1 rw\n"), ("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"\"\n")]);
    let text = host.work(&words("intel_iommu=on", "")).manual.join("\n");
    assert!(text.contains("BOOT_IMAGE=") && text.ends_with("\n  intel_iommu=on"), "{text}");
}

#[test]
fn what_is_typed_to_start_with_nothing_claimed() {
    let host = Files::new(&[
        ("/proc/cmdline", "BOOT_IMAGE=(hd0,gpt2)/vmlinuz root=/dev/sda1 ro\n"),
        ("/boot/grub2/grub.cfg", "blscfg\n"),
        ("/boot/loader/entries/0a1b-5.conf", &bls("root=/dev/sda1 ro")),
    ]);
    let note = |ids| host.work(&super::WordChange { escape: true, ids, ..words("", "") }).notes.join("");
    assert!(note(false).contains("vfioneer=off") && !note(false).contains("module_blacklist"), "{}", note(false));
    // vfioneer's script has no part in it.
    assert!(note(true).contains("module_blacklist=vfio_pci") && !note(true).contains("vfioneer=off"), "{}", note(true));
}

#[test]
fn words_of_entries_that_are_left_alone_do_not_count() {
    let menu = "menuentry 'Debian' { linux /vmlinuz-6.1.0 root=UUID=1 ro quiet }\n\
                menuentry 'Other' { linux /vmlinuz-6.1.1 root=UUID=2 ro nofb }\n";
    let host = Files::new(&[
        ("/proc/cmdline", "BOOT_IMAGE=/vmlinuz-6.1.0 root=UUID=1 ro quiet\n"),
        ("/etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n"),
        ("/boot/grub/grub.cfg", &menu.replace("{ ", "{\n\t").replace(" }", "\n}")),
        ("/usr/sbin/grub-mkconfig", ""),
    ]);
    let boot = host.snapshot().boot;
    assert!(boot.places.iter().any(|place| has_word(&place.words, "nofb")), "{:?}", boot.places);
    assert!(is_done(&boot, "nofb", false) && !is_done(&boot, "quiet", false));
    assert!(host.work(&words("", "nofb")).is_empty());
}

#[test]
fn sources_of_bls_entries_in_any_form() {
    let old = |default: &str| {
        let host = el9("root=/dev/sda1 ro rhgb").with("/usr/sbin/grub2-mkconfig", "#!/usr/bin/sh\n");
        host.with("/etc/default/grub", default)
    };
    let change = words("iommu=pt", "");
    for (text, expected) in [
        (
            "GRUB_CMDLINE_LINUX=quiet\n",
            "GRUB_CMDLINE_LINUX=quiet\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX iommu=pt\"\n",
        ),
        ("GRUB_TIMEOUT=1\n", "GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX=\"iommu=pt\"\n"),
    ] {
        let after = old(text).after(&old(text).work(&change));
        assert_eq!(after.text("/etc/default/grub"), Some(expected));
        assert!(after.work(&change).is_empty(), "{:?}", after.work(&change));
    }
}

#[test]
fn kernelstub_reads_its_result_back() {
    let entry = "title Pop\nlinux /EFI/Pop_OS-1/vmlinuz.efi\ninitrd /EFI/Pop_OS-1/initrd.img\noptions root=UUID=1 ro quiet a=1\n";
    let host = |options: &str| {
        Files::new(&[
            ("/proc/cmdline", "initrd=\\EFI\\Pop_OS-1\\initrd.img root=UUID=1 ro quiet a=1\n"),
            ("/boot/efi/loader/loader.conf", "default Pop_OS-current\n"),
            ("/boot/efi/loader/entries/Pop_OS-current.conf", entry),
            ("/etc/kernelstub/configuration", &format!("{{\"user\": {{\"kernel_options\": {options}}}}}")),
        ])
        .loader("LoaderInfo", "systemd-boot 249")
    };
    let change = words("iommu=pt", "a=1");
    let work = host("[\"quiet\", \"a=1\"]").work(&change);
    assert_eq!((work.files.len(), work.commands.len(), work.manual.len()), (1, 1, 0), "{work:?}");
    let work = host("[\"quiet a=1\"]").work(&change);
    assert_eq!((work.files.len(), work.commands.len(), work.manual.len()), (0, 0, 1), "{work:?}");
}

use super::super::testing::{Files, words};
use super::*;
use proptest::prelude::*;

const DEBIAN: &str = "GRUB_DEFAULT=0\nGRUB_TIMEOUT=5\nGRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n\
    GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"\"\n";

fn config(words: &str) -> String {
    format!(
        "### BEGIN /etc/grub.d/10_linux ###\nmenuentry 'Debian' $menuentry_id_option 'gnulinux-simple-1' {{\n\
         \tlinux\t/boot/vmlinuz-6.1.0-31-amd64 root=UUID=1 ro {words}\n\tinitrd\t/boot/initrd.img-6.1.0-31-amd64\n}}\n\
         menuentry 'Debian (recovery mode)' {{\n\tlinux\t/boot/vmlinuz-6.1.0-31-amd64 root=UUID=1 ro single\n}}\n"
    )
}

fn booted() -> Files {
    Files::new(&[
        ("/proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz-6.1.0-31-amd64 root=UUID=1 ro quiet\n"),
        ("/boot/grub/grub.cfg", &config("quiet")),
    ])
}

/// Debian and its family: the generator sources drop-ins.
fn debian(default: &str) -> Files {
    booted().with("/etc/default/grub", default).with("/usr/sbin/update-grub", "#!/bin/sh\n")
}

/// Arch and openSUSE: it doesn't.
fn arch(default: &str) -> Files {
    booted().with("/etc/default/grub", default).with("/usr/bin/grub-mkconfig", "#!/usr/bin/bash\n")
}

/// What the generator takes for normal entries.
fn given(files: &Files) -> Vec<String> {
    Sources::of(&files.snapshot().boot.grub).words()
}

#[test]
fn debian_gets_a_file_of_its_own() {
    let host = debian(DEBIAN);
    let work = host.work(&words("intel_iommu=on iommu=pt", ""));
    let after = host.after(&work);
    assert_eq!(
        after.text(OWN),
        Some(
            "# Written by vfioneer; `vfioneer rollback` takes it away again.\n\
             GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT intel_iommu=on iommu=pt\"\n"
        )
    );
    assert_eq!(after.text("/etc/default/grub"), Some(DEBIAN));
    assert_eq!(given(&after), ["quiet", "intel_iommu=on", "iommu=pt"]);
    let [command] = work.commands.as_slice() else { panic!("{:?}", work.commands) };
    let words_of_entries = vec!["intel_iommu=on".to_owned(), "iommu=pt".to_owned()];
    assert_eq!(
        command.action,
        Action::Generate {
            argv: ["grub-mkconfig", "-o", "{out}"].map(String::from).to_vec(),
            output: "/boot/grub/grub.cfg".into(),
            product: Product::GrubConfig { words: words_of_entries },
        }
    );
    assert_eq!(work.expect.len(), 2);

    // The files are right and grub.cfg is not: it is made again, and nothing else is done.
    let again = after.work(&words("intel_iommu=on iommu=pt", ""));
    assert!(again.files.is_empty() && again.commands.len() == 1);
    // All is right: nothing to do.
    let after = after.with("/boot/grub/grub.cfg", config("quiet intel_iommu=on iommu=pt"));
    assert!(after.work(&words("intel_iommu=on iommu=pt", "")).is_empty());
    // One more word goes to the same line, one less leaves it, none removes the file.
    let more = after.after(&after.work(&words("iommu=pt console=ttyS0,115200", "")));
    assert!(
        more.text(OWN)
            .unwrap()
            .ends_with("$GRUB_CMDLINE_LINUX_DEFAULT intel_iommu=on iommu=pt console=ttyS0,115200\"\n")
    );
    let less = more.after(&more.work(&words("", "intel_iommu=on")));
    assert_eq!(given(&less), ["quiet", "iommu=pt", "console=ttyS0,115200"]);
    let none = less.after(&less.work(&words("", "iommu=pt console=ttyS0,115200")));
    assert_eq!(none.text(OWN), None);
    assert_eq!(none.text("/etc/default/grub"), Some(DEBIAN));
}

#[test]
fn what_the_user_has_is_adopted() {
    let host = debian(&DEBIAN.replace("\"quiet\"", "'quiet intel-iommu=on'"))
        .with("/boot/grub/grub.cfg", config("quiet intel-iommu=on"));
    let work = host.work(&words("intel_iommu=on", ""));
    assert!(work.is_empty(), "{work:?}");
    assert_eq!(work.expect, [crate::steps::Expectation::Entries { word: "intel_iommu=on".into(), present: true }]);
    // For all entries, recovery ones too: also there.
    let host =
        debian(&DEBIAN.replace("LINUX=\"\"", "LINUX=\"iommu=pt\"")).with("/boot/grub/grub.cfg", config("iommu=pt"));
    assert!(host.work(&words("iommu=pt", "")).is_empty());
}

#[test]
fn words_go_wherever_they_stand() {
    let host = debian(
        &DEBIAN
            .replace("\"quiet\"", "\"quiet amd_iommu=on\" # amd_iommu=on")
            .replace("LINUX=\"\"", "LINUX='amd_iommu=on'"),
    )
    .with("/etc/default/grub.d/50-x.cfg", "GRUB_CMDLINE_LINUX_DEFAULT=\"amd_iommu=on $GRUB_CMDLINE_LINUX_DEFAULT\"\n")
    .with("/etc/default/grub.d/old.dpkg", "GRUB_CMDLINE_LINUX_DEFAULT=amd_iommu=on\n");
    let after = host.after(&host.work(&words("iommu=pt", "amd_iommu=on")));
    assert_eq!(given(&after), ["quiet", "iommu=pt"]);
    assert!(after.text("/etc/default/grub").unwrap().contains("\"quiet\" # amd_iommu=on\nGRUB_CMDLINE_LINUX=''\n"));
    assert_eq!(after.text("/etc/default/grub.d/50-x.cfg"), None.or(Some("")));
    assert!(after.work(&words("iommu=pt", "amd_iommu=on")).files.is_empty());
}

#[test]
fn a_file_that_replaces_the_value_is_edited_instead() {
    let host = debian(DEBIAN).with("/etc/default/grub.d/zz.cfg", "GRUB_CMDLINE_LINUX_DEFAULT='splash'\n");
    let after = host.after(&host.work(&words("iommu=pt", "")));
    assert_eq!(after.text("/etc/default/grub.d/zz.cfg"), Some("GRUB_CMDLINE_LINUX_DEFAULT='splash iommu=pt'\n"));
    assert_eq!(after.text(OWN), None);
    // An earlier one does no harm.
    let host = debian(DEBIAN)
        .with("/etc/default/grub.d/50-cloudimg-settings.cfg", "GRUB_CMDLINE_LINUX_DEFAULT=\"console=ttyS0\"\n");
    let after = host.after(&host.work(&words("iommu=pt", "")));
    assert_eq!(given(&after), ["console=ttyS0", "iommu=pt"]);
    assert!(after.text(OWN).is_some());
}

#[test]
fn arch_and_opensuse_edit_the_line() {
    let cases = [
        (
            "GRUB_CMDLINE_LINUX_DEFAULT=\"loglevel=3 quiet\"\n",
            "GRUB_CMDLINE_LINUX_DEFAULT=\"loglevel=3 quiet iommu=pt\"\n",
        ),
        (
            "GRUB_CMDLINE_LINUX_DEFAULT=quiet",
            "GRUB_CMDLINE_LINUX_DEFAULT=quiet\nGRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT iommu=pt\"",
        ),
        (
            "GRUB_CMDLINE_LINUX_DEFAULT=\"a\"\n#GRUB_CMDLINE_LINUX_DEFAULT=\"b\"\nGRUB_CMDLINE_LINUX_DEFAULT='c'\nX=1\n",
            "GRUB_CMDLINE_LINUX_DEFAULT=\"a\"\n#GRUB_CMDLINE_LINUX_DEFAULT=\"b\"\nGRUB_CMDLINE_LINUX_DEFAULT='c iommu=pt'\nX=1\n",
        ),
        (
            "GRUB_CMDLINE_LINUX_DEFAULT=\"a\"\nGRUB_CMDLINE_LINUX_DEFAULT+=\" b\"\n",
            "GRUB_CMDLINE_LINUX_DEFAULT=\"a\"\nGRUB_CMDLINE_LINUX_DEFAULT+=\" b iommu=pt\"\n",
        ),
        (
            "GRUB_TIMEOUT=5\r\n",
            "GRUB_TIMEOUT=5\r\nGRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT iommu=pt\"\r\n",
        ),
    ];
    for (text, expected) in cases {
        let host = arch(text);
        let work = host.work(&words("iommu=pt", ""));
        let after = host.after(&work);
        assert_eq!(after.text("/etc/default/grub"), Some(expected), "{work:?}");
        assert!(after.work(&words("iommu=pt", "")).files.is_empty());
        assert_eq!(after.after(&after.work(&words("", "iommu=pt"))), host, "{text:?}");
    }
}

#[test]
fn what_cannot_be_edited_is_left_to_a_person() {
    let cases = [
        ("GRUB_CMDLINE_LINUX_DEFAULT=\"$(cat /etc/words)\nX=1\n", words("iommu=pt", "")),
        ("X=\"iommu=pt\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet $X\"\n", words("", "iommu=pt")),
        ("GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n# caf\u{fffd}\n", words("iommu=pt", "")),
        ("GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n", words("dyndbg=\"a", "")),
    ];
    for (text, change) in cases {
        let work = arch(text).work(&change);
        assert!(work.files.is_empty() && work.commands.is_empty(), "{text:?} {work:?}");
        assert_eq!(work.manual.last().map(String::as_str), Some("Then run: grub-mkconfig -o /boot/grub/grub.cfg."));
    }
    let mut host = arch(DEBIAN);
    host.0.remove("/boot/grub/grub.cfg");
    assert_eq!(host.work(&words("iommu=pt", "")).manual.len(), 2);
}

#[test]
fn the_entry_without_passthrough() {
    let host = debian(DEBIAN);
    let change = WordChange { escape: true, ..words("iommu=pt", "") };
    let work = host.work(&change);
    let step = work.files.iter().find(|step| matches!(&step.action, Action::WriteFile { path, .. } if path == ESCAPE));
    assert!(matches!(&step.unwrap().action, Action::WriteFile { mode: 0o755, .. }));
    let written = config("quiet iommu=pt") + "### BEGIN /etc/grub.d/99_vfioneer ###\n";
    let after = host.after(&work).with("/boot/grub/grub.cfg", written);
    assert!(after.work(&change).is_empty());
}

proptest! {
    #[test]
    fn any_file_gets_the_word_or_is_left_alone(
        lines in prop::collection::vec(
            "(export )?GRUB_CMDLINE_LINUX(_DEFAULT)?\\+?=('[a-d ]{0,5}'|\"[a-d $]{0,5}\"|[a-d]{0,3})( #.)?|X='?[a-z]{0,2}|# [a-z]|",
            0..5,
        ),
        bash: bool, drop_ins: bool, last: bool,
    ) {
        let text = lines.join("\n") + if last { "\n" } else { "" };
        let host = if drop_ins { debian(&text) } else { arch(&text) };
        let host = if bash { host.with("/usr/bin/grub-mkconfig", if drop_ins { "#!/bin/bash\ndefault/grub.d" } else { "#!/bin/bash\n" }) } else { host };
        let before = given(&host);
        let change = words("iommu=pt vfio-pci.ids=10de:2684,10de:22ba", "");
        let work = host.work(&change);
        let after = host.after(&work);
        if work.manual.is_empty() {
            prop_assert_eq!(sorted(given(&after)), sorted([before, change.add.clone()].concat()));
            prop_assert!(after.work(&change).files.is_empty());
        } else {
            prop_assert_eq!(after, host);
        }
    }
}

#[test]
fn a_root_that_only_its_own_tool_changes() {
    let host = arch(DEBIAN).with("/usr/sbin/transactional-update", "").with(
        "/proc/self/mountinfo",
        "25 1 0:25 /@/.snapshots/1/snapshot / ro,relatime shared:1 - btrfs /dev/vda2 ro,subvolid=266\n",
    );
    let work = host.work(&words("iommu=pt", ""));
    assert!(work.files.is_empty() && work.commands.is_empty());
    assert_eq!(work.manual.last().map(String::as_str), Some("Then run: transactional-update grub.cfg."));
    assert!(host.work(&words("quiet", "")).is_empty());
}

#[test]
fn another_system_of_the_menu_counts_for_nothing() {
    let other = "menuentry 'Arch (on /dev/sda3)' {\n\tlinux /boot/vmlinuz-linux root=UUID=2 rw\n}\n";
    let host = debian(&DEBIAN.replace("quiet", "quiet iommu=pt"));
    let host = host.with("/boot/grub/grub.cfg", config("quiet iommu=pt") + other);
    assert!(host.work(&words("iommu=pt", "")).is_empty());
}

#[test]
fn entries_that_no_generator_gives_words_are_no_measure() {
    let own = "### BEGIN /etc/grub.d/40_custom ###\nmenuentry 'Mine' {\n\tlinux\t/boot/vmlinuz-6.1.0-31-amd64 root=UUID=1 ro\n}\n### END /etc/grub.d/40_custom ###\n";
    let memtest = "menuentry \"Memory test\" {\n\tlinux\t/boot/memtest86+x64.efi\n}\n";
    let host = debian(DEBIAN).with("/boot/grub/grub.cfg", format!("{}{memtest}{own}", config("quiet iommu=pt")));
    let host = host.with(
        "/etc/default/grub.d/99-vfioneer.cfg",
        "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT iommu=pt\"\n",
    );
    let work = host.work(&words("iommu=pt", ""));
    assert!(work.files.is_empty() && work.commands.is_empty() && work.manual.is_empty(), "{work:?}");
    assert!(work.notes.iter().any(|note| note.contains("Mine")), "{:?}", work.notes);
}

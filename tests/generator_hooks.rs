//! The hooks for dracut and mkinitcpio, run by bash with functions in place of the generator's, which write down what
//! they are asked for. Constructed: initramfs-tools and dracut themselves run in the lab; mkinitcpio is in no lab.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

const CLAIMS: &str = "# vfioneer claims 1\n# address driver\n\
    0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 - no\n\
    0000:02:00.0 nvgrace_gpu_vfio_pci 10de 2342 - - 0000:00/02.0/00.0 - no\n";
const SERIAL: &str = "0000:03:00.0 vfio-pci 8086 10d3 8086 0000 0000:00/03.0/00.0 52-54-00-ff-ff-4c-61-62 yes\n";

/// As mkinitcpio 40 `functions` calls them: every argument on the line of its function.
const STUBS: &str = "for name in add_file add_binary add_module add_runscript inst inst_simple inst_hook instmods; do
    eval \"$name() { echo $name \\\"\\$@\\\"; }\"
done
set -u
";

/// Runs `calls` after a hook's file, on a host whose claims are these; gives what was said, and the build's folder.
fn run(hook: &str, claims: &str, before: &str, calls: &str) -> (String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("etc/vfioneer");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("claims"), claims).unwrap();
    fs::write(own.join("claim.sh"), "").unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/adapters/initramfs/files").join(hook);
    let text = fs::read_to_string(file).unwrap();
    let text = text.replace("/etc/vfioneer/", &format!("{}/", own.display()));
    let script = format!("{STUBS}BUILDROOT='{}' moddir=/moddir\n{before}\n{text}\n{calls}\n", dir.path().display());
    let output = Command::new("bash").arg("-c").arg(script).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).replace(&format!("{}/", own.display()), "/etc/vfioneer/");
    (said, dir)
}

#[test]
fn mkinitcpio_with_busybox() {
    let (said, dir) = run("mkinitcpio-install", CLAIMS, "HOOKS=(vfioneer base udev)", "build; echo $?");
    let expected = [
        "add_file /etc/vfioneer/claims",
        "add_file /etc/vfioneer/claim.sh",
        "add_module vfio_iommu_type1?",
        "add_module vfio-pci?",
        "add_module nvgrace_gpu_vfio_pci?",
        "add_runscript",
        "0",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert!(!dir.path().join("usr").exists());
    // Older configurations have a string for a list.
    assert_eq!(run("mkinitcpio-install", CLAIMS, "HOOKS='vfioneer base udev'", "build; echo $?").0, said);
}

#[test]
fn mkinitcpio_with_systemd() {
    let (said, dir) = run("mkinitcpio-install", CLAIMS, "HOOKS=(vfioneer systemd block)", "build; echo $?");
    assert!(said.contains("add_binary /usr/lib/initcpio/busybox /usr/lib/vfioneer/busybox\n"), "{said}");
    assert!(!said.contains("add_runscript") && said.ends_with("0\n"));
    let units = dir.path().join("usr/lib/systemd/system");
    // The link leads to the unit.
    let unit = fs::read_to_string(units.join("sysinit.target.wants/vfioneer-claim.service")).unwrap();
    let before = unit.lines().find_map(|line| line.strip_prefix("Before=")).unwrap();
    for other in ["systemd-udevd.service", "systemd-udev-trigger.service", "systemd-modules-load.service"] {
        assert!(before.split(' ').any(|name| name == other), "{before}");
    }
    assert!(unit.contains("\nExecStart=-/usr/lib/vfioneer/busybox ash /"), "{unit}");
}

#[test]
fn od_is_there_where_serial_numbers_are() {
    for (hook, calls, line) in [
        ("mkinitcpio-install", "build", "add_binary od /usr/lib/vfioneer/od"),
        ("dracut-module-setup", "install", "inst /usr/bin/od /usr/lib/vfioneer/od"),
    ] {
        let said = |claims: &str| run(hook, claims, "HOOKS=()", calls).0;
        assert!(!said(CLAIMS).contains(line), "{hook}");
        assert!(said(&format!("{CLAIMS}{SERIAL}")).contains(line), "{hook}");
    }
}

#[test]
fn dracut_takes_all_but_the_rescue_image() {
    let check = |modules: &str| {
        let before = format!("add_dracutmodules='{modules}' force_add_dracutmodules=''");
        run("dracut-module-setup", CLAIMS, &before, "check; echo $?").0
    };
    assert_eq!((check(""), check("lvm")), ("0\n".to_owned(), "0\n".to_owned()));
    assert_eq!((check("rescue"), check("  lvm rescue ")), ("255\n".to_owned(), "255\n".to_owned()));
    let (said, _) = run("dracut-module-setup", CLAIMS, "", "depends && installkernel && install");
    let expected = [
        "instmods vfio_iommu_type1",
        "instmods vfio-pci",
        "instmods nvgrace_gpu_vfio_pci",
        "inst_simple /etc/vfioneer/claims",
        "inst_simple /etc/vfioneer/claim.sh",
        "inst_hook pre-udev 00 /moddir/vfioneer-claim.sh",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

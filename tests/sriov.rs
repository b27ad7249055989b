//! Virtual functions as a user asks for them: planned, applied, verified and rolled back on a constructed host.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;

use program::vfioneer;
use std::fs;
use std::path::Path;

const HOST: &str = "debian13-intel-grub-sriov-pf";
const RULES: &str = "etc/udev/rules.d/90-vfioneer-sriov.rules";
const SCRIPT: &str = "etc/vfioneer/sriov.sh";
/// A port without virtual functions, and one with two.
const FIRST: &str = "04:00.0";
const SECOND: &str = "04:00.1";

fn written(dir: &Path) {
    hosts::write(&hosts::tree(&hosts::load(HOST)), dir).unwrap();
}

/// What the kernel has after a boot with the rule, by hand.
fn boot(root: &Path, count: u32) {
    let devices = root.join("sys/bus/pci/devices");
    let function = fs::canonicalize(devices.join("0000:04:00.0")).unwrap();
    fs::write(function.join("sriov_numvfs"), format!("{count}\n")).unwrap();
    fs::write(function.join("sriov_drivers_autoprobe"), "0\n").unwrap();
    let like = fs::canonicalize(devices.join("0000:04:02.0")).unwrap();
    let vfio = root.join("sys/bus/pci/drivers/vfio-pci");
    fs::create_dir_all(&vfio).unwrap();
    for number in 0..count {
        let name = format!("0000:04:{:02x}.{}", 0x10 + number / 8, number % 8);
        let part = like.with_file_name(&name);
        fs::create_dir_all(&part).unwrap();
        for file in ["vendor", "device", "subsystem_vendor", "subsystem_device", "class", "config"] {
            fs::copy(like.join(file), part.join(file)).unwrap();
        }
        std::os::unix::fs::symlink("../0000:04:00.0", part.join("physfn")).unwrap();
        std::os::unix::fs::symlink(&vfio, part.join("driver")).unwrap();
        let link = fs::read_link(devices.join("0000:04:02.0")).unwrap();
        std::os::unix::fs::symlink(link.with_file_name(&name), devices.join(&name)).unwrap();
    }
}

#[test]
fn virtual_functions_are_planned_applied_verified_and_taken_away_again() {
    let host = tempfile::tempdir().unwrap();
    written(host.path());
    let root = host.path().to_str().unwrap();
    let run = |args: &[&str]| vfioneer(&[&["--root", root], args].concat());

    let said = run(&["plan", FIRST, "--vfs", "4"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for wanted in [
        &format!("write /{RULES} (new)"),
        "DEVPATH==\"*/pci0000:00/0000:??:1d.0/0000:??:00.0\", ATTR{vendor}==\"0x8086\", ATTR{device}==\"0x10fb\"",
        "RUN+=\"/bin/sh /etc/vfioneer/sriov.sh %k 4\"",
        "apply 04:00.0 --vfs 4",
    ] {
        assert!(said.out.contains(wanted), "{wanted}: {}", said.out);
    }
    // The device itself stays with its driver, and no image or boot entry changes.
    assert!(!said.out.contains("claims") && !said.out.contains("initrd"), "{}", said.out);
    assert_eq!(run(&["plan", FIRST, "--vfs", "4", "--check"]).code, 1);
    let said = run(&["apply", FIRST, "--vfs", "4", "--yes"]);
    assert_eq!(said.code, 10, "{}{}", said.out, said.err);
    assert!(host.path().join(SCRIPT).exists());
    let rules = fs::read_to_string(host.path().join(RULES)).unwrap();

    let said = run(&["verify"]);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    boot(host.path(), 4);
    let said = run(&["verify"]);
    assert!(said.out.contains("0000:04:00.0 (8086:10fb) has 4 virtual functions, each on vfio-pci"), "{}", said.out);
    assert!(!said.out.contains("FAILS") && !said.out.contains("It has"), "{}{}", said.out, said.err);
    for goal in [FIRST, "04:00.0"] {
        let said = run(&["plan", goal, "--vfs", "4", "--check"]);
        assert_eq!(said.code, 0, "planned again, there is nothing to do: {}{}", said.out, said.err);
    }
    let said = run(&["list"]);
    assert!(said.out.contains("(4 of 63 VFs)") && said.out.contains("(VF of 04:00.0)"), "{}", said.out);

    // Another card's are added, and each goes alone.
    let said = run(&["apply", SECOND, "--vfs", "2", "--yes"]);
    assert!(said.code == 3 && said.err.contains("0000:04:02.0: ens1v0"), "{}{}", said.out, said.err);
    let said = run(&["apply", SECOND, "--vfs", "2", "--allow", "slices", "--yes"]);
    assert_eq!(said.code, 10, "{}{}", said.out, said.err);
    let both = fs::read_to_string(host.path().join(RULES)).unwrap();
    assert!(both.contains("%k 4\"") && both.contains("%k 2\""), "{both}");
    let said = run(&["apply", SECOND, "--vfs", "0", "--allow", "slices", "--yes"]);
    assert!(matches!(said.code, 0 | 10), "{}{}", said.out, said.err);
    assert_eq!(fs::read_to_string(host.path().join(RULES)).unwrap(), rules);
    let said = run(&["plan", FIRST, "--vfs", "0"]);
    assert!(said.out.contains(&format!("remove /{RULES}")) && said.out.contains(&format!("remove /{SCRIPT}")));

    for _ in 0..3 {
        let said = run(&["rollback", "--yes"]);
        assert!(matches!(said.code, 0 | 10), "{}{}", said.out, said.err);
    }
    assert!(!host.path().join(RULES).exists() && !host.path().join("etc/vfioneer").exists());
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let host = tempfile::tempdir().unwrap();
    written(host.path());
    let root = host.path().to_str().unwrap();
    let run = |args: &[&str]| vfioneer(&[&["--root", root, "plan"], args].concat());
    for (args, code, wanted) in [
        (&["04:00.0", "--vfs", "64"][..], 3, "makes 63 at most"),
        (&["04:02.0", "--vfs", "1"], 3, "The physical one is 0000:04:00.1: name that."),
        (&["00:1d.0", "--vfs", "1"], 3, "offers no SR-IOV"),
        (&["04:02.0"], 3, "--vfs N"),
        (&["04:00.0", "--vfs", "65536"], 2, "65536"),
        (&["--vfs", "4"], 2, "no device is named"),
        (&["04:00.0", "--vfs", "4", "--method", "ids"], 2, "stays with the host"),
    ] {
        let said = run(args);
        let text = format!("{}{}", said.out, said.err).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!((said.code, text.contains(wanted)), (code, true), "{args:?}: {text}");
    }
    // What is not there is not taken away.
    let said = run(&["04:00.1", "--vfs", "0", "--check"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("were not made by vfioneer"), "{}", said.out);
}

//! `setup` on constructed hosts whose devices are claimed already; the lab has the way there.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;

use program::{Said, vfioneer};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const PROXMOX: &str = "pve8-amd-sdboot-zfs-passthrough";

fn run(root: &Path, args: &[&str]) -> Said {
    vfioneer(&[&["--root", root.to_str().unwrap()], args].concat())
}

fn vm(root: &Path, id: &str) -> PathBuf {
    root.join(format!("etc/pve/qemu-server/{id}.conf"))
}

#[test]
fn what_is_claimed_already_is_given_to_the_vm() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    hosts::write(&hosts::tree(&hosts::load(PROXMOX)), root).unwrap();
    let text = "bios: ovmf\nmachine: q35\nonboot: 1\n";
    std::fs::write(vm(root, "106"), text).unwrap();
    std::fs::write(vm(root, "107"), "lock: backup\n").unwrap();
    let state = root.join("var/lib/vfioneer/setup.json");

    for (args, code, why) in [
        (&["setup"][..], 2, "no device is named"),
        (&["setup", "0b:00", "--vm", "999"], 2, "there is no VM"),
        (&["setup", "0b:00", "--vm", "107", "--allow", "other-vm", "--yes"], 3, "qm unlock 107"),
        (&["setup", "0b:00", "--vm", "106", "--yes"], 3, "--allow other-vm"),
        (&["setup", "0b:00", "--vm", "106", "--reboot"], 2, "--root names another"),
        (&["setup", "0b:00", "--resume"], 2, "cannot be used with"),
        (&["setup", "0b:00", "--vm", "106", "--mapping", "a b;c"], 2, "a mapping's name"),
        (&["setup", "0b:00", "--vm", "106", "--vfs", "2"], 2, "vm attach VF VM"),
        (&["setup", "0b:00", "--vm", "106", "--allow", "other-vm"], 3, "add --yes"),
    ] {
        let said = run(root, args);
        assert_eq!(said.code, code, "{args:?} {}{}", said.out, said.err);
        assert!(format!("{}{}", said.out, said.err).contains(why), "{args:?} {}{}", said.out, said.err);
        assert!(std::fs::read_to_string(vm(root, "106")).unwrap() == text && !state.exists(), "{args:?}");
    }
    let said = run(root, &["setup", "--resume"]);
    assert_eq!((said.code, said.out.contains("no setup is open")), (0, true), "{}{}", said.out, said.err);

    let wanted = ["setup", "0b:00", "--vm", "106", "--allow", "other-vm", "--yes"];
    let said = run(root, &wanted);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.starts_with("Done. VM 106"), "{}", said.out);
    assert_eq!(
        std::fs::read_to_string(vm(root, "106")).unwrap(),
        // A card with 16 GiB of BAR, and a CPU of which OVMF does not believe the address width.
        "args: -fw_cfg name=opt/ovmf/X-PciMmio64Mb,string=65536\nbios: ovmf\nhostpci0: 0000:0b:00,pcie=1\nmachine: q35\n\
         onboot: 1\n"
    );
    assert!(!state.exists());
    // Once more changes nothing.
    let json = run(root, &[&wanted[..], &["--json"]].concat()).json();
    assert_eq!((&json["schema"], &json["done"]), (&"vfioneer/setup/1".into(), &true.into()), "{json}");
    assert_eq!(json["transactions"], serde_json::json!([]));
    assert_eq!(run(root, &["rollback", "--yes"]).code, 0);
    assert_eq!(std::fs::read_to_string(vm(root, "106")).unwrap(), text);
}

#[test]
fn one_that_is_open_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    hosts::write(&hosts::tree(&hosts::load(PROXMOX)), root).unwrap();
    std::fs::write(vm(root, "106"), "onboot: 0\n").unwrap();
    let state = root.join("var/lib/vfioneer/setup.json");
    std::fs::create_dir_all(state.parent().unwrap()).unwrap();
    let open = r#"{"schema":"vfioneer/setup-wish/1","goal":{"devices":["0b:00"],"vm":"106","allow":["other-vm"]},"mapping":null,"held":["106"]}"#;
    std::fs::write(&state, open).unwrap();
    let said = run(root, &["setup", "0b:00", "--vm", "105", "--yes"]);
    assert!(said.code == 3 && said.err.contains("0b:00 for VM 106") && said.err.contains("--resume"), "{}", said.err);
    let said = run(root, &["setup", "--resume", "--yes"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    // It had been held back.
    assert_eq!(std::fs::read_to_string(vm(root, "106")).unwrap(), "hostpci0: 0000:0b:00,x-vga=1\nonboot: 1\n");
    assert!(!state.exists());
    // Without a transaction to undo, giving up is all that rollback does.
    std::fs::write(&state, open.replace("\"held\":[\"106\"]", "\"held\":[]")).unwrap();
    assert_eq!(run(root, &["rollback", "--yes"]).code, 0);
    assert_eq!(run(root, &["rollback", "--yes"]).code, 0);
    let said = run(root, &["rollback", "--yes"]);
    assert!(said.code == 0 && said.out.contains("Nothing to do") && !state.exists(), "{}{}", said.out, said.err);
    for broken in ["", "{", "{\"schema\":\"vfioneer/setup-wish/9\",\"goal\":{},\"mapping\":null,\"held\":[]}"] {
        std::fs::write(&state, broken).unwrap();
        let said = run(root, &["setup", "--resume", "--yes"]);
        assert!(said.code == 3 && said.err.contains("move it away"), "{}{}", said.out, said.err);
    }
}

/// Killed at any moment, the same command brings it to its end, and the VM has each device once.
#[test]
fn killed_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    hosts::write(&hosts::tree(&hosts::load(PROXMOX)), root).unwrap();
    let text = "bios: ovmf\ncpu: host\nmachine: q35\n";
    let mut killed = 0;
    for round in 0..12u64 {
        std::fs::write(vm(root, "106"), text).unwrap();
        let wanted = ["setup", "0b:00", "--vm", "106", "--allow", "other-vm", "--yes"];
        let mut child = Command::new(env!("CARGO_BIN_EXE_vfioneer"))
            .arg("--root")
            .arg(root)
            .args(wanted)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(25 * round));
        killed += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let said = run(root, &wanted);
        assert_eq!(said.code, 0, "{round}: {}{}", said.out, said.err);
        assert_eq!(
            std::fs::read_to_string(vm(root, "106")).unwrap(),
            "bios: ovmf\ncpu: host\nhostpci0: 0000:0b:00,pcie=1\nmachine: q35\n",
            "{round}"
        );
        assert!(!root.join("var/lib/vfioneer/setup.json").exists(), "{round}");
    }
    assert!(killed > 0, "every run was too fast to be killed");
}

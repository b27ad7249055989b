//! `vm list` and `vm show` on constructed hosts.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;

use program::{Said, vfioneer};

fn on(name: &str, args: &[&str]) -> Said {
    let host = tempfile::tempdir().unwrap();
    hosts::write(&hosts::tree(&hosts::load(name)), host.path()).unwrap();
    vfioneer(&[&["--root", host.path().to_str().unwrap(), "vm"], args].concat())
}

#[test]
fn vms_and_their_devices() {
    let proxmox = "pve8-amd-sdboot-zfs-passthrough";
    let said = on(proxmox, &["list"]);
    said.sane("list");
    assert!(said.out.lines().any(|line| line.starts_with("proxmox:105 ") && line.contains("0b:00.0")), "{}", said.out);
    let json = on(proxmox, &["list", "--json"]).json();
    assert_eq!((&json["schema"], &json["vms"][0]["hypervisor"]), (&"vfioneer/vm-list/1".into(), &"proxmox".into()));
    for name in ["105", "proxmox:105"] {
        let said = on(proxmox, &["show", name]);
        said.sane("show");
        assert!(said.out.contains("/etc/pve/qemu-server/105.conf") && said.out.contains("vfio-pci"), "{}", said.out);
    }
    let json = on(proxmox, &["show", "105", "--json"]).json();
    assert_eq!(json["vm"]["devices"][0]["functions"][0], "0000:0b:00.0");

    let libvirt = "debian13-intel-grub-twins-by-address";
    let said = on(libvirt, &["show", "win11"]);
    assert!(said.out.starts_with("libvirt:win11") && said.out.contains("(line "), "{}{}", said.out, said.err);
    for wrong in ["win12", "proxmox:win11", "", "'; x"] {
        let said = on(libvirt, &["show", wrong]);
        said.sane("wrong name");
        assert!(said.code == 2 && said.err.contains("libvirt:win11"), "{}{}", said.out, said.err);
    }
    let said = on("arch-amd-sdboot-entries-single-gpu", &["list"]);
    assert!(said.code == 0 && said.out.starts_with("No VMs"), "{}", said.out);
}

//! `vm attach` and `vm detach` on constructed hosts, whose files are edited.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;

use hosts::roms;
use program::{Said, vfioneer};
use std::path::PathBuf;

/// One constructed host in a directory.
struct Host(tempfile::TempDir);

impl Host {
    fn new(name: &str) -> Host {
        let dir = tempfile::tempdir().unwrap();
        hosts::write(&hosts::tree(&hosts::load(name)), dir.path()).unwrap();
        Host(dir)
    }

    fn run(&self, args: &[&str]) -> Said {
        let said = vfioneer(&[&["--root", self.0.path().to_str().unwrap()], args].concat());
        // Progress and the plan that is asked about are on stderr.
        if !args.contains(&"--yes") {
            said.sane(&args.join(" "));
        }
        said
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        std::fs::write(self.path(path), text).unwrap();
    }

    /// Attaches and detaches again; the text in between. What was there before must be there afterwards.
    fn there_and_back(&self, devices: &[&str], vm: &str, file: &str, options: &[&str]) -> String {
        let before = self.read(file);
        let said = self.run(&[&["vm", "attach"], devices, &[vm, "--yes"], options].concat());
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        let between = self.read(file);
        assert_ne!(between, before, "{}{}", said.out, said.err);
        let again = self.run(&[&["vm", "attach"], devices, &[vm, "--yes"], options].concat());
        assert_eq!((again.code, again.out.as_str()), (0, "Nothing to do.\n"), "{}", again.err);
        let said = self.run(&[&["vm", "detach"], devices, &[vm, "--yes"]].concat());
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert_eq!(self.read(file), before);
        between
    }
}

const PROXMOX: &str = "pve8-amd-sdboot-zfs-passthrough";
const LIBVIRT: &str = "debian13-intel-grub-twins-by-address";
const ODD: &str = "#note%3A hostpci0%3A 03%3A00\n#second\nagent: 1\nbios: ovmf\ncpu: host\nhostpci3:   0000:7f:00.0;0000:7f:00.1 , rombar=0\n\
    machine: q35\nmemory:    8192\nnot a setting\nunknown-key_9: a,b;c=%20\n\n[before-update]\nhostpci0: 01:00\nmemory: 1024\n\n[PENDING]\ncores: 8\n";

#[test]
fn a_vm_of_proxmox() {
    let host = Host::new(PROXMOX);
    let file = "/etc/pve/qemu-server/106.conf";
    host.write(file, ODD);
    let said = host.run(&["vm", "attach", "0b:00", "106", "--yes"]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(said.out.contains("105") && said.out.contains("--allow other-vm"), "{}", said.out);
    assert_eq!(host.read(file), ODD);
    let between = host.there_and_back(&["0b:00"], "106", file, &["--allow", "other-vm"]);
    let line = "hostpci0: 0000:0b:00,pcie=1\n";
    assert_eq!(between, ODD.replace("hostpci3:", &format!("{line}hostpci3:")));

    // One function of a line that gives the whole slot: the others stay.
    let (own, before) = ("/etc/pve/qemu-server/105.conf", host.read("/etc/pve/qemu-server/105.conf"));
    let said = host.run(&["vm", "detach", "0b:00.1", "105", "--yes"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(host.read(own).contains("0000:0b:00.0") && !host.read(own).contains("0b:00.1"), "{}", host.read(own));
    assert_eq!(host.run(&["rollback", "--yes"]).code, 0);
    assert_eq!(host.read(own), before);
    // Given up by one, the other may have it.
    assert_eq!(host.run(&["vm", "detach", "0b:00", "105", "--yes"]).code, 0);
    assert!(!host.read(own).contains("hostpci"), "{}", host.read(own));
    let said = host.run(&["vm", "attach", "0b:00", "proxmox:106", "--dry-run"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("+hostpci0: 0000:0b:00,pcie=1"), "{}", said.out);
    assert_eq!(host.read(file), ODD, "a dry run changes nothing");
}

#[test]
fn a_rom_file_and_a_mapping() {
    let host = Host::new(PROXMOX);
    let rom = host.path("/card.rom");
    std::fs::write(&rom, roms::rom(&[roms::legacy((0x1002, 0x73bf), 4)])).unwrap();
    let file = "/etc/pve/qemu-server/107.conf";
    host.write(file, "bios: seabios\nmemory: 512\n");
    let options = ["--allow", "other-vm", "--rom", rom.to_str().unwrap()];
    let said = host.run(&[&["vm", "attach", "0b:00", "107", "--yes"], &options[..]].concat());
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let text = host.read(file);
    let line = text.lines().find(|line| line.starts_with("hostpci0")).unwrap();
    // i440fx has no PCIe, and SeaBIOS draws on the card only if it is told to.
    assert!(
        line.starts_with("hostpci0: 0000:0b:00,romfile=vfioneer-1002-73bf-") && line.ends_with(".rom,x-vga=1"),
        "{line}"
    );
    let name = line.split("romfile=").nth(1).unwrap().split(',').next().unwrap();
    assert_eq!(std::fs::read(host.path(&format!("/usr/share/kvm/{name}"))).unwrap(), std::fs::read(&rom).unwrap());
    assert_eq!(host.run(&["rollback", "--yes"]).code, 0);
    assert_eq!(host.read(file), "bios: seabios\nmemory: 512\n");
    assert!(!host.path(&format!("/usr/share/kvm/{name}")).exists());

    let said = host.run(&["vm", "attach", "0b:00", "107", "--mapping", "gpu1", "--allow", "other-vm", "--dry-run"]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(said.out.contains("The mapping gpu1 is the cluster's"), "{}", said.out);
    let said = host.run(&["vm", "attach", "0b:00", "107", "--mapping", "a b"]);
    assert_eq!(said.code, 2, "{}", said.err);
}

#[test]
fn a_vm_of_libvirt() {
    let host = Host::new(LIBVIRT);
    let file = "/etc/libvirt/qemu/other.xml";
    let text = "<!--\nWARNING -->\n\n<domain type='kvm'>\n  <name>other</name>\n  <os>\n    <type arch='x86_64' machine='pc-q35-9.2'>hvm</type>\n  </os>\n  \
        <devices>\n    <emulator>/q</emulator>\n    <!-- mine -->\n    <controller type='pci' index='0' model='pcie-root'/>\n    \
        <controller type='pci' index='4' model='pcie-root-port'/>\n\t<memballoon model=\"none\"/>\n  </devices>\n  <odd:x xmlns:odd='urn:x' a = 'b'/>\n</domain>\n";
    host.write(file, text);
    let said = host.run(&["vm", "attach", "01:00", "other", "--yes"]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(said.out.contains("win11"), "{}", said.out);
    let between = host.there_and_back(&["01:00"], "other", file, &["--allow", "other-vm"]);
    assert!(
        between.contains("managed='no'") && between.contains("bus='0x04' slot='0x00' function='0x1'/>"),
        "{between}"
    );
    assert!(between.contains("function='0x0' multifunction='on'/>"), "{between}");
}

/// What waits for a VM's next start, what is there already, and what is there no more.
#[test]
fn what_the_next_start_has_counts() {
    let host = Host::new(PROXMOX);
    let file = "/etc/pve/qemu-server/108.conf";
    host.write(file, "bios: ovmf\nmachine: q35\n\n[PENDING]\nhostpci0: 0000:0b:00,pcie=1\n");
    let said = host.run(&["vm", "attach", "0b:00", "108", "--yes"]);
    assert_eq!((said.code, said.out.as_str()), (0, "Nothing to do.\n"), "{}", said.err);
    // Two have it: who has it already is not refused.
    let said = host.run(&["vm", "attach", "0b:00", "105", "--yes"]);
    assert_eq!((said.code, said.out.as_str()), (0, "Nothing to do.\n"), "{}", said.err);
    host.write(file, "bios: ovmf\nhostpci0: 0000:0b:00\nmachine: q35\n\n[PENDING]\ndelete: hostpci0\n");
    let said = host.run(&["vm", "attach", "0b:00", "108", "-n", "--allow", "other-vm"]);
    assert!(said.out.contains("+hostpci1: 0000:0b:00,pcie=1"), "{}{}", said.out, said.err);

    let part = "bios: ovmf\nhostpci0: 0000:0b:00.0,pcie=1,romfile=a.rom\nmachine: q35\n";
    host.write(file, part);
    let said = host.run(&["vm", "attach", "0b:00", "108", "--yes", "--allow", "other-vm"]);
    assert!(said.code == 3 && said.out.contains("vm-part-of-slot"), "{}{}", said.out, said.err);
    assert_eq!(host.read(file), part);
    // Without the first function nothing that is about it.
    host.write(file, "hostpci0: 0b:00,pcie=1,romfile=a.rom,x-vga=1\nmachine: q35\n");
    assert_eq!(host.run(&["vm", "detach", "0b:00.0", "108", "--only", "--yes"]).code, 0);
    assert_eq!(host.read(file), "hostpci0: 0000:0b:00.1,pcie=1\nmachine: q35\n");
    // A card that was taken out of the host.
    host.write(file, "hostpci0: 0000:7f:00,pcie=1\nhostpci1: 7e:00.0\nmachine: q35\n");
    assert_eq!(host.run(&["vm", "detach", "7f:00", "7e:00.0", "108", "--yes"]).code, 0);
    assert_eq!(host.read(file), "machine: q35\n");
    let said = host.run(&["vm", "detach", "0b:00", "108", "--yes"]);
    assert!(said.code == 0 && said.err.contains("VM 108 is not given 0000:0b:00.0"), "{}{}", said.out, said.err);
}

/// The first candidates of every constructed host with VMs, to each of these and back.
#[test]
fn all_vm_files_of_all_hosts_come_back() {
    let mut tried = 0;
    for name in [
        "debian13-intel-grub-twins-by-address",
        "pve7-intel-grub-boot-framebuffer",
        "pve8-amd-grub-apu",
        PROXMOX,
        "pve8-intel-grub-x99-guide",
        "rocky10-intel-bls-sriov-vf",
    ] {
        let host = Host::new(name);
        let guards = "other-vm,in-use,root-storage,storage,default-route,ssh,network,only-console,slices,group,acs-override,unsafe-interrupts";
        let vms = host.run(&["vm", "list", "--json"]).json();
        let devices = host.run(&["list", "--json"]).json();
        for vm in vms["vms"].as_array().unwrap() {
            let Some(file) = vm["config"].as_str() else { continue };
            let id = vm["id"].as_str().unwrap();
            for device in devices["devices"].as_array().unwrap().iter().take(5) {
                let (address, before) = (device["address"].as_str().unwrap(), host.read(file));
                let said = host.run(&["vm", "attach", address, id, "--yes", "--allow", guards]);
                if host.read(file) == before {
                    assert!([0, 3].contains(&said.code), "{name} {address} {}{}", said.out, said.err);
                    continue;
                }
                let list = |value: &serde_json::Value| {
                    value.as_array().unwrap().iter().map(|d| d.as_str().unwrap().to_owned()).collect::<Vec<_>>()
                };
                let plan = host.run(&["vm", "attach", address, id, "--dry-run", "--json"]).json();
                let functions = list(&plan["devices"]);
                let theirs = vm["devices"].as_array().unwrap().iter().flat_map(|device| list(&device["functions"]));
                if theirs.into_iter().any(|function| functions.contains(&function)) {
                    assert_eq!(host.run(&["rollback", "--yes"]).code, 0);
                    assert_eq!(host.read(file), before, "{name} {address}");
                    continue;
                }
                tried += 1;
                let functions: Vec<&str> = functions.iter().map(String::as_str).collect();
                let said = host.run(&[&["vm", "detach", "--yes", "--only"], &functions[..], &[id]].concat());
                assert_eq!(said.code, 0, "{name} {address} {}{}", said.out, said.err);
                assert_eq!(host.read(file), before, "{name} {address}");
            }
        }
    }
    assert!(tried > 5, "{tried}");
}

#[test]
fn what_cannot_be_done() {
    let host = Host::new(PROXMOX);
    for (name, text) in [("110", "lock: backup\nmemory: 512\n"), ("111", "")] {
        host.write(&format!("/etc/pve/qemu-server/{name}.conf"), text);
    }
    let full: String = (0..16).map(|n| format!("hostpci{n}: 0000:7f:00.{}\n", n % 8)).collect();
    host.write("/etc/pve/qemu-server/112.conf", &full);
    host.write("/etc/pve/nodes/other/qemu-server/113.conf", "memory: 512\n");
    std::os::unix::fs::symlink("nodes/pve", host.path("/etc/pve/local")).ok();
    let allow = ["--yes", "--allow", "other-vm"];
    for (vm, code, why) in [
        ("110", 3, "qm unlock 110"),
        ("112", 3, "room for 0 more"),
        ("113", 3, "node other"),
        ("999", 2, "there is no VM"),
        ("$(reboot)", 2, "there is no VM"),
        ("../105", 2, "there is no VM"),
    ] {
        let said = host.run(&[&["vm", "attach", "0b:00", vm], &allow[..]].concat());
        assert_eq!(said.code, code, "{vm} {}{}", said.out, said.err);
        assert!(format!("{}{}", said.out, said.err).contains(why), "{vm} {}{}", said.out, said.err);
    }
    assert_eq!(host.run(&["vm", "attach", "0b:00"]).code, 2);
    assert_eq!(host.run(&["vm", "attach", "7f:00", "111", "--yes"]).code, 2, "no such device");
    let said = host.run(&["vm", "detach", "0b:00", "111", "--yes"]);
    assert_eq!((said.code, said.out.as_str()), (0, "Nothing to do.\n"), "{}", said.err);

    let host = Host::new(LIBVIRT);
    let bomb = "<!DOCTYPE d [<!ENTITY a 'x'><!ENTITY b '&a;&a;'>]><domain><name>&b;</name></domain>";
    let cut = "<domain>\n  <name>cut</name>\n  <devices>\n    <disk>\n  </devices>\n</domain>\n";
    let nova = "<domain><name>nova</name><metadata><nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'/></metadata>\
        <devices><emulator>/q</emulator></devices></domain>";
    for (name, text, why) in [("bomb", bomb, "DTD"), ("cut", cut, "5:"), ("nova", nova, "nova's")] {
        let file = format!("/etc/libvirt/qemu/{name}.xml");
        host.write(&file, text);
        let said = host.run(&[&["vm", "attach", "01:00", name], &allow[..]].concat());
        assert_eq!(said.code, 3, "{name} {}{}", said.out, said.err);
        assert!(said.out.contains(why), "{name} {}{}", said.out, said.err);
        assert_eq!(host.read(&file), text);
    }
}

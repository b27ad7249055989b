//! `vm render` and `vm show --nova` on constructed hosts; what is rendered is judged by those who take it: QEMU, libvirt's schema, a shell.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;

use program::{Said, vfioneer};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};
use vfioneer::adapters::vm::proxmox_text::{self, Given};
use vfioneer::adapters::vm::{Passed, Rendered, Shape, domain, lxc, nova, qemu};
use vfioneer::error::Error;
use vfioneer::facts::Snapshot;
use vfioneer::goal::Goal;
use vfioneer::parse::address::Address;

fn on(name: &str, args: &[&str]) -> Said {
    let host = tempfile::tempdir().unwrap();
    hosts::write(&hosts::tree(&hosts::load(name)), host.path()).unwrap();
    vfioneer(&[&["--root", host.path().to_str().unwrap(), "vm"], args].concat())
}

/// All functions that could be named, each as `vm render` takes it.
fn choices(snap: &Snapshot) -> Vec<Vec<Address>> {
    let named = snap.pci.functions.iter().filter(|function| !function.is_bridge());
    let choice = |address: String| Goal::resolve(&[address], false, &snap.pci).unwrap().devices;
    let all: BTreeSet<Vec<Address>> = named.map(|function| choice(function.address.to_string())).collect();
    all.into_iter().collect()
}

fn shape() -> Shape {
    Shape { name: None, memory_mib: 2048, cpus: 2, disk: None, uefi: true, viommu: false, kvm: true, hide: false }
}

/// Shapes that differ in everything.
fn shapes() -> Vec<Shape> {
    let full = Shape {
        name: Some("100".into()),
        disk: Some("/srv/a, 'b' & <c>.qcow2".into()),
        viommu: true,
        kvm: false,
        hide: true,
        ..shape()
    };
    vec![shape(), full.clone(), Shape { uefi: false, ..full }]
}

type Target = fn(&Snapshot, &Passed, &Shape) -> Result<Rendered, Error>;

const TARGETS: &[(&str, Target)] = &[
    ("qemu", qemu::command),
    ("libvirt", domain::elements),
    ("libvirt --new", domain::new),
    ("proxmox", |snap, passed, shape| proxmox_text::commands(snap, passed, shape, Given { memory: true, cpus: true })),
    ("proxmox-mapping", |snap, passed, shape| proxmox_text::mappings(snap, passed, shape, Given::default())),
    ("nova", nova::configuration),
];

fn well_formed(case: &str, target: &str, text: &str) {
    let steers = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(steers) && text.ends_with('\n'), "{case}: {text:?}");
    if target.starts_with("libvirt") {
        let whole = format!("<all>{text}</all>");
        roxmltree::Document::parse(&whole).unwrap_or_else(|error| panic!("{case}: {error}: {text}"));
    }
}

#[test]
fn every_target_renders_for_every_device() {
    let mut rendered = 0;
    for (name, snap) in hosts::recorded::snapshots() {
        let mut scripts = String::new();
        for devices in choices(&snap) {
            let passed = Passed::of(&snap, &devices, Some((devices[0], "/usr/share/kvm/a.rom")));
            for shape in shapes() {
                for (target, render) in TARGETS {
                    let case = format!("{name} {target} {devices:?}");
                    match render(&snap, &passed, &shape) {
                        Ok(said) => {
                            well_formed(&case, target, &said.text);
                            assert!(said.notes.iter().all(|note| note.ends_with('.')), "{case}: {:?}", said.notes);
                            if ["qemu", "proxmox", "proxmox-mapping"].contains(target) {
                                scripts += &said.text;
                            }
                            rendered += 1;
                        }
                        Err(error) => assert!(error.exit_code() == 3 && !error.hints.is_empty(), "{case}: {error}"),
                    }
                }
            }
            if let Ok(said) = lxc::nodes(&snap, &devices, None) {
                well_formed(&name, "lxc", &said.text);
                rendered += 1;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("all.sh"), &scripts).unwrap();
        let checked = Command::new("dash").arg("-n").arg(dir.path().join("all.sh")).output().unwrap();
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
    }
    assert!(rendered > 2000, "{rendered}");
}

/// qemu-server 9.0 `PVE/QemuServer.pm`, `PVE/QemuServer/PCI.pm`, `Machine.pm`, `CPUConfig.pm`: what each option may be.
fn schema(key: &str) -> Regex {
    // Each is compiled once.
    static KNOWN: LazyLock<Mutex<BTreeMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap();
    known.entry(key.to_owned()).or_insert_with(|| pattern(key)).clone()
}

fn pattern(key: &str) -> Regex {
    const BDF: &str = "(?:[0-9a-f]{4,}:)?[0-9a-f]{2}:[0-9a-f]{2}(?:\\.[0-9a-f])?";
    let flag = "(?:pcie|rombar|x-vga|legacy-igd)=[01]";
    let pattern = match key {
        "balloon" | "memory" | "cores" => "[0-9]+".to_owned(),
        "bios" => "seabios|ovmf".to_owned(),
        "kvm" => "[01]".to_owned(),
        "machine" => "(?:type=)?(?:q35|pc-q35-[0-9.]+)(?:,viommu=(?:intel|virtio))?".to_owned(),
        "cpu" => "(?:host|max)(?:,hidden=[01])?(?:,hv-vendor-id=[A-Za-z0-9]{1,12})?".to_owned(),
        "args" => "-fw_cfg name=opt/ovmf/X-PciMmio64Mb,string=[0-9]+".to_owned(),
        key if key.strip_prefix("hostpci").is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n < 16)) => {
            format!("(?:{BDF}(?:;{BDF})*|mapping=[A-Za-z][A-Za-z0-9_-]+)(?:,{flag}|,romfile=[^,;/]+)*")
        }
        other => panic!("qm has no option {other}"),
    };
    Regex::new(&format!("^(?:{pattern})$")).unwrap()
}

#[test]
fn proxmox_takes_every_option() {
    let map = Regex::new(
        "^node=[^,]+,path=[0-9a-f:.;]+(,id=[0-9a-f]{4}:[0-9a-f]{4})?(,subsystem-id=[0-9a-f]{4}:[0-9a-f]{4})?(,iommugroup=[0-9]+)?$",
    )
    .unwrap();
    let mut seen = BTreeSet::new();
    for (name, snap) in hosts::recorded::snapshots() {
        for devices in choices(&snap) {
            for rom in [None, Some((devices[0], "/usr/share/kvm/a.rom"))] {
                let passed = Passed::of(&snap, &devices, rom);
                for (shape, (target, render)) in
                    shapes().iter().flat_map(|shape| TARGETS.iter().map(move |target| (shape, target)))
                {
                    if !target.starts_with("proxmox") {
                        continue;
                    }
                    let text = render(&snap, &passed, shape).unwrap().text;
                    for line in text.lines().filter(|line| !line.starts_with('#')) {
                        let words = vfioneer::parse::shell::words(&line.replace("$(hostname -s)", "pve1"));
                        let options: Vec<(&str, &str)> =
                            words[3..].chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
                        if words[0] == "pvesh" {
                            assert_eq!(words[..3], ["pvesh", "create", "/cluster/mapping/pci"]);
                            assert!(
                                options[0].1.starts_with("vfioneer-") && map.is_match(options[1].1),
                                "{name}: {line}"
                            );
                            continue;
                        }
                        assert_eq!(words[..2], ["qm", "set"], "{name}: {line}");
                        for (option, value) in options {
                            let key = option.strip_prefix("--").unwrap();
                            assert!(schema(key).is_match(value), "{name}: {key}: {value}");
                            seen.insert(key.to_owned());
                        }
                    }
                }
            }
        }
    }
    for key in ["machine", "bios", "cpu", "balloon", "kvm", "memory", "cores", "args", "hostpci0"] {
        assert!(seen.contains(key), "{key}: {seen:?}");
    }
}

/// QEMU takes all of the command but for the device, which is not on the machine that runs the test.
#[test]
fn qemu_takes_the_command() {
    let mut taken = 0;
    let kvm = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    for (name, snap) in hosts::recorded::snapshots() {
        // One that this machine has would be taken.
        let elsewhere = |address: &Address| !Path::new(&format!("/sys/bus/pci/devices/{address}")).exists();
        let fits =
            |devices: &Vec<Address>| snap.pci.get(&devices[0]).unwrap().is_candidate() && devices.iter().all(elsewhere);
        let Some(devices) = choices(&snap).into_iter().find(fits) else { continue };
        let passed = Passed::of(&snap, &devices, None);
        for uefi in [true, false] {
            // Other distributions' firmware is not on this machine.
            let debian = snap.system.distro.known().is_some_and(|distro| {
                distro.proxmox.is_none() && (distro.id == "debian" || distro.like.iter().any(|like| like == "debian"))
            });
            let shape = Shape { uefi, kvm: kvm && taken % 3 == 0, viommu: taken % 2 == 0, ..shape() };
            let Ok(said) = qemu::command(&snap, &passed, &shape) else { continue };
            if uefi && !debian || !said.text.contains("qemu-system-x86_64") {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let mut shell = Command::new("sh");
            let output = shell.args(["-c", &said.text]).current_dir(dir.path()).stdin(Stdio::null()).output().unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            let host = devices[0];
            let wanted =
                format!(": vfio /sys/bus/pci/devices/{host}: no such host device: No such file or directory\n");
            assert!(!output.status.success() && err.ends_with(&wanted), "{name}: {}\n{err}", said.text);
            assert_eq!(err.lines().count(), 1, "{name}: {err}");
            assert_eq!(dir.path().join("vfioneer_VARS.fd").exists(), uefi, "{name}");
            taken += 1;
        }
    }
    assert!(taken > 30, "{taken}");
}

/// The schema of Debian's libvirt, for whole domains and for elements in a domain that is there.
#[test]
fn libvirt_takes_every_domain() {
    let dir = tempfile::tempdir().unwrap();
    let valid = |case: &str, text: &str| {
        let path = dir.path().join("domain.xml");
        fs::write(&path, text).unwrap();
        let output = Command::new("virt-xml-validate").arg(&path).arg("domain").output().unwrap_or_else(|error| {
            panic!("virt-xml-validate: {error}: tests/lab/setup.sh installs it");
        });
        assert!(output.status.success(), "{case}: {}\n{text}", String::from_utf8_lossy(&output.stderr));
    };
    let mut shown = 0;
    for (number, (name, snap)) in hosts::recorded::snapshots().into_iter().enumerate() {
        let all = choices(&snap);
        let Some(devices) = all.iter().find(|devices| snap.pci.get(&devices[0]).unwrap().is_display()).or(all.first())
        else {
            continue;
        };
        let passed = Passed::of(&snap, devices, Some((devices[0], "/srv/a, 'b' & <c>.rom")));
        let shapes = shapes();
        if let Ok(said) = domain::new(&snap, &passed, &shapes[number % shapes.len()]) {
            valid(&name, &said.text);
            shown += 1;
        }
        let elements = domain::elements(&snap, &passed, &shape()).unwrap().text;
        valid(
            &name,
            &format!(
                "<domain type='kvm'><name>a</name><memory>1</memory><os><type>hvm</type></os><devices>{elements}</devices></domain>"
            ),
        );
    }
    assert!(shown > 30, "{shown}");
    // The schema is one that refuses.
    let wrong = "printf \"<domain type='kvm'><name>a</name><hostdev/></domain>\" | virt-xml-validate - domain";
    assert!(!Command::new("sh").args(["-c", wrong]).output().unwrap().status.success());
}

const FEDORA: &str = "fedora42-amd-bls-passthrough";
const PROXMOX: &str = "pve8-amd-sdboot-zfs-passthrough";
const KOLLA: &str = "rocky9-intel-bls-kolla-guide";

fn render(host: &str, args: &[&str]) -> Said {
    on(host, &[&["render"], args].concat())
}

#[test]
fn text_to_stdout_and_what_else_to_stderr() {
    let said = render(FEDORA, &["--target", "qemu", "03:00", "--vm", "win 11"]);
    assert!(said.code == 0 && said.out.starts_with("#!/bin/sh\n"), "{}{}", said.out, said.err);
    assert!(
        said.err.contains("/dev/vfio/14 /dev/vfio/15") && said.err.lines().all(|line| line.ends_with('.')),
        "{}",
        said.err
    );
    let json = render(FEDORA, &["-t", "qemu", "03:00", "--vm", "win 11", "--json"]).json();
    assert_eq!((&json["schema"], &json["target"]), (&"vfioneer/vm-render/1".into(), &"qemu".into()));
    assert_eq!(json["text"], said.out);
    assert!(json["notes"].as_array().unwrap().len() > 2);
    let said = render(PROXMOX, &["-t", "proxmox", "0b:00", "--vm", "105", "--rom", "a.rom"]);
    // What the VM has is not overwritten.
    assert!(said.out.contains("qm set 105 --hostpci1 0000:0b:00,pcie=1,romfile=a.rom\n"), "{}{}", said.out, said.err);
    let said = render(PROXMOX, &["-t", "proxmox-mapping", "0b:00.0", "--only"]);
    assert!(said.out.contains("path=0000:0b:00.0,id=1002:73bf"), "{}{}", said.out, said.err);
    let said = render(KOLLA, &["-t", "nova", "10de:20b7", "--vm", "gpu.large"]);
    for wanted in
        ["\"managed\":\"no\"", "\"device_type\":\"type-PF\"", "flavor set gpu.large --property", "PciPassthroughFilter"]
    {
        assert!(said.out.contains(wanted), "{wanted}: {}{}", said.out, said.err);
    }
    let said = render(FEDORA, &["-t", "lxc", "0d:00", "--vm", "101"]);
    assert!(said.code == 0 && said.out.contains("dev1: /dev/dri/renderD"), "{}{}", said.out, said.err);
}

#[test]
fn a_rom_without_uefi_is_for_seabios() {
    let host = tempfile::tempdir().unwrap();
    hosts::write(&hosts::tree(&hosts::load(PROXMOX)), host.path()).unwrap();
    let roms = host.path().join("usr/share/kvm");
    fs::create_dir_all(&roms).unwrap();
    for (name, rom) in [("legacy.rom", "pxe-e1000e.rom"), ("both.rom", "efi-e1000e.rom")] {
        fs::copy(Path::new("/usr/lib/ipxe/qemu").join(rom), roms.join(name)).unwrap();
    }
    let bios = |name: &str, more: &[&str]| {
        let args = ["--root", host.path().to_str().unwrap(), "vm", "render", "-t", "proxmox", "0b:00", "--rom", name];
        let said = vfioneer(&[&args, more].concat());
        let found = said.out.lines().find_map(|line| line.strip_prefix("# bios: ")).map(str::to_owned);
        found.unwrap_or_else(|| panic!("{}{}", said.out, said.err))
    };
    assert_eq!(bios("legacy.rom", &[]), "seabios");
    assert_eq!(bios("both.rom", &[]), "ovmf");
    assert_eq!(bios("legacy.rom", &["--firmware", "ovmf"]), "ovmf");
    assert_eq!(bios("not-here.rom", &[]), "ovmf");
}

#[test]
fn what_is_refused() {
    for (code, host, args) in [
        (2, FEDORA, &["03:00"][..]),
        (2, FEDORA, &["-t", "vmware", "03:00"]),
        (2, FEDORA, &["-t", "qemu"]),
        (2, FEDORA, &["-t", "qemu", "7f:00"]),
        (2, FEDORA, &["-t", "qemu", "03:00", "--vm", "a\nb"]),
        (2, FEDORA, &["-t", "qemu", "03:00", "--vm", " "]),
        (2, FEDORA, &["-t", "qemu", "03:00", "--disk", "/a\x1b[1m"]),
        (2, FEDORA, &["-t", "qemu", "03:00", "--rom", "a.rom"]),
        (2, FEDORA, &["-t", "qemu", "03:00", "--new"]),
        (2, FEDORA, &["-t", "libvirt", "03:00", "--memory", "4096"]),
        (2, FEDORA, &["-t", "libvirt", "--new", "03:00", "--vm", "../a"]),
        (2, FEDORA, &["-t", "libvirt", "--new", "03:00", "--disk", "a.img"]),
        (2, FEDORA, &["-t", "proxmox", "03:00", "--vm", "99"]),
        (2, FEDORA, &["-t", "proxmox", "03:00", "--vm", "105; reboot"]),
        (2, FEDORA, &["-t", "proxmox", "03:00", "--rom", "/root/a.rom"]),
        (2, FEDORA, &["-t", "proxmox", "03:00", "--rom", "a,b.rom"]),
        (2, FEDORA, &["-t", "nova", "03:00", "--disk", "/a.img"]),
        (2, FEDORA, &["-t", "lxc", "0d:00", "--vm", "$(id)"]),
        (2, FEDORA, &["-t", "lxc", "0d:00", "--rom", "/a.rom"]),
        (2, FEDORA, &["-t", "qemu", "03:00", "0d:00", "--rom", "/a.rom"]),
        (3, FEDORA, &["-t", "lxc", "03:00"]),
        (3, FEDORA, &["-t", "lxc", "06:00"]),
        (3, FEDORA, &["-t", "qemu", "00:01.1"]),
        (3, "ubuntu24.04-arm-grub-altra-multi-domain", &["-t", "qemu", "10de:27b8", "--viommu"]),
        (
            3,
            "ubuntu24.04-arm-grub-altra-multi-domain",
            &["-t", "libvirt", "--new", "10de:27b8", "--firmware", "seabios"],
        ),
    ] {
        let said = render(host, args);
        said.sane("refused");
        assert!(said.code == code && said.out.is_empty(), "{args:?}: {} {}{}", said.code, said.out, said.err);
    }
}

#[test]
fn nova_shows_what_fits_and_what_never() {
    let said = on(KOLLA, &["show", "--nova"]);
    said.sane("nova");
    assert!(said.out.contains("alias a30  /etc/kolla/nova-compute/nova.conf:3\n  fits b9:00.0"), "{}", said.out);
    assert_eq!(on(KOLLA, &["show", "--nova", "--flavor", "pci_passthrough:alias=a30:1"]).code, 0);
    let said = on(KOLLA, &["show", "--nova", "--flavor", "a30:2,other:1"]);
    assert!(said.code == 1 && said.out.contains("1 of 2") && said.out.contains("no such alias"), "{}", said.out);
    let json = on(KOLLA, &["show", "--nova", "--flavor", "a30:1", "--json"]).json();
    assert_eq!(json["schema"], "vfioneer/vm-nova/1");
    assert_eq!(
        (&json["lines"][1]["functions"][0], &json["flavor"][0]["served"]),
        (&"0000:b9:00.0".into(), &true.into())
    );
    let said = on(FEDORA, &["show", "--nova"]);
    assert!(said.code == 0 && said.out.starts_with("nova gives no PCI device"), "{}", said.out);
    for wrong in [
        &["show", "--nova", "105"][..],
        &["show"],
        &["show", "--flavor", "a:1", "105"],
        &["show", "--nova", "--flavor", "a"],
    ] {
        let said = on(KOLLA, wrong);
        said.sane("usage");
        assert_eq!(said.code, 2, "{wrong:?}: {}{}", said.out, said.err);
    }
}

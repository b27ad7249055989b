use super::{CpuVendor, Lockdown, collect, guest, lockdown, memory, package_version};
use crate::host::{Builder, Fact, Recorded};

#[test]
fn guest_rows_parse_and_have_sources() {
    assert!(guest::rows().len() >= 15, "data/guests.toml does not parse");
    let table: toml::Table = toml::from_str(include_str!("../../../data/guests.toml")).unwrap();
    let keys = ["name", "vendor", "product", "bios", "not_product_suffix", "source"];
    for row in table["guest"].as_array().unwrap() {
        let row = row.as_table().unwrap();
        assert!(row.keys().all(|key| keys.contains(&key.as_str())), "{row:?}");
        let source = row["source"].as_str().unwrap();
        assert!(source.starts_with("https://") || source.starts_with("linux "), "{row:?}");
    }
}

#[test]
fn lockdown_states() {
    for (text, state) in [
        ("[none] integrity confidentiality\n", Fact::Known(Lockdown::None)),
        ("none [integrity] confidentiality\n", Fact::Known(Lockdown::Integrity)),
        ("none integrity [confidentiality]\n", Fact::Known(Lockdown::Confidentiality)),
    ] {
        assert_eq!(lockdown(text), state);
    }
    assert!(lockdown("").is_unknown());
    assert!(lockdown("[").is_unknown());
}

#[test]
fn memory_in_bytes() {
    assert_eq!(memory("MemTotal:       65803308 kB\nMemFree: 1 kB\n"), Fact::Known(65803308 * 1024));
    assert!(memory("MemTotal: 99999999999999999999 kB").is_unknown());
}

#[test]
fn dpkg_status() {
    let status = "Package: pve-manager-x\nStatus: install ok installed\nVersion: 1\n\nPackage: pve-manager\n\
                  Status: install ok installed\nArchitecture: all\nVersion: 8.2.4\n\nPackage: gone\n\
                  Status: deinstall ok config-files\nVersion: 3\n";
    assert_eq!(package_version(status, "pve-manager").as_deref(), Some("8.2.4"));
    assert_eq!(package_version(status, "gone"), None);
    assert_eq!(package_version(status, "absent"), None);
}

const X86: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\nflags\t\t: fpu vmx\n";
const VM: &str = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: EPYC\nflags\t\t: fpu hypervisor\n";
const ARM: &str = "processor\t: 0\nFeatures\t: fp\nCPU implementer\t: 0x41\n";

/// A complete host with this CPU and these DMI values.
fn machine(cpu: &str, dmi: &[(&str, &str)]) -> Builder {
    let mut host = Recorded::builder();
    host.complete(true).add_file("/proc/cpuinfo", cpu).add_values("/sys/class/dmi/id", dmi);
    host.add_file("/sys/firmware/acpi/x", "").add_file("/etc/os-release", "ID=debian\n");
    host
}

#[test]
fn guests_and_machines() {
    let named = |name: &str| (Fact::Known(true), Fact::Known(name.to_owned()));
    let metal = || (Fact::Known(false), Fact::Absent);
    for (cpu, dmi, expected) in [
        (X86, &[("sys_vendor", "Dell Inc."), ("product_name", "PowerEdge R740")][..], metal()),
        (X86, &[("sys_vendor", "Amazon EC2"), ("product_name", "c5.metal")], metal()),
        (VM, &[("sys_vendor", "Amazon EC2"), ("product_name", "m5.large")], named("amazon")),
        (VM, &[("sys_vendor", "QEMU"), ("product_name", "Standard PC (Q35 + ICH9, 2009)")], named("qemu")),
        (VM, &[("sys_vendor", "Red Hat"), ("product_name", "KVM")], named("kvm")),
        (VM, &[("sys_vendor", "VMware, Inc."), ("product_name", "VMware7,1")], named("vmware")),
        (VM, &[("sys_vendor", "Microsoft Corporation"), ("product_name", "Virtual Machine")], named("microsoft")),
        (X86, &[("sys_vendor", "Microsoft Corporation"), ("product_name", "Surface Book")], metal()),
        (VM, &[("sys_vendor", "Google"), ("product_name", "Google Compute Engine")], named("google")),
        (VM, &[("sys_vendor", "innotek GmbH"), ("product_name", "VirtualBox")], named("virtualbox")),
        (VM, &[("bios_vendor", "BHYVE"), ("sys_vendor", "FreeBSD")], named("bhyve")),
        (X86, &[("sys_vendor", "QEMU")], named("qemu")),
        (ARM, &[("sys_vendor", "QEMU"), ("product_name", "KVM Virtual Machine")], named("kvm")),
        (ARM, &[("sys_vendor", "Ampere(TM)")], metal()),
    ] {
        let system = collect(&machine(cpu, dmi).build());
        assert_eq!((system.is_guest, system.guest_of), expected, "{dmi:?}");
    }
    let unnamed = collect(&machine(VM, &[("sys_vendor", "Nobody")]).build());
    assert_eq!(unnamed.is_guest, Fact::Known(true));
    assert!(unnamed.guest_of.is_unknown());
}

#[test]
fn guests_without_dmi() {
    let bare = || {
        let mut host = Recorded::builder();
        host.complete(true).add_file("/proc/cpuinfo", VM).add_dir("/sys/class");
        host
    };
    let mut host = bare();
    host.add_values("/sys/bus/pci/devices/0000:00:00.0", &[("vendor", "0x8086"), ("device", "0x0d57")]);
    assert_eq!(collect(&host.build()).guest_of, Fact::Known("firecracker".into()));
    for (capabilities, name) in [("control_d\n", "xen-dom0"), ("\n", "xen")] {
        let mut host = bare();
        host.add_file("/sys/hypervisor/type", "xen\n").add_file("/proc/xen/capabilities", capabilities);
        assert_eq!(collect(&host.build()).guest_of, Fact::Known(name.into()));
    }
    let mut host = bare();
    host.add_file("/proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n");
    assert_eq!(collect(&host.build()).guest_of, Fact::Known("wsl".into()));
}

#[test]
fn containers() {
    type Make = fn(&mut Builder);
    let cases: &[(&str, Option<&str>, Make)] = &[
        ("a host", None, |_| {}),
        ("systemd says it", Some("lxc"), |h| {
            h.add_file("/run/systemd/container", "lxc\n");
        }),
        ("process 1 says it", Some("lxc"), |h| {
            h.add_file("/proc/1/environ", "PATH=/bin\0container=lxc\0");
        }),
        ("docker", Some("docker"), |h| {
            h.add_file("/.dockerenv", "").add_file("/proc/self/mountinfo", "1 0 0:9 / / rw - overlay overlay rw\n");
        }),
        ("docker with the host's processes", Some("docker"), |h| {
            h.add_file("/.dockerenv", "").add_file("/proc/2/comm", "kthreadd\n");
            h.add_file("/proc/self/mountinfo", "1 0 0:9 / / rw - overlay overlay rw\n");
        }),
        ("an image on a VM's disk", None, |h| {
            h.add_file("/.dockerenv", "").add_file("/proc/2/comm", "kthreadd\n");
            h.add_file("/proc/self/mountinfo", "1 0 254:0 / / rw - ext4 /dev/vda rw\n");
        }),
        ("podman", Some("podman"), |h| {
            h.add_file("/run/.containerenv", "");
        }),
        ("a cgroup", Some("kubernetes"), |h| {
            h.add_file("/proc/1/cgroup", "0::/kubepods.slice/x\n");
        }),
        ("a host's cgroup", None, |h| {
            h.add_file("/proc/1/cgroup", "0::/init.scope\n");
        }),
        ("openvz", Some("openvz"), |h| {
            h.add_dir("/proc/vz");
        }),
    ];
    for (what, expected, make) in cases {
        let mut host = machine(X86, &[]);
        make(&mut host);
        assert_eq!(collect(&host.build()).container.known().map(String::as_str), *expected, "{what}");
    }
}

#[test]
fn firmware_and_secure_boot() {
    const VARIABLE: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    let of = |make: &dyn Fn(&mut Builder)| {
        let mut host = machine(X86, &[]);
        make(&mut host);
        let system = collect(&host.build());
        (system.uefi, system.secure_boot)
    };
    assert_eq!(of(&|_| {}), (Fact::Known(false), Fact::Absent));
    let on = of(&|h| {
        h.add_file(VARIABLE, b"\x06\0\0\0\x01");
    });
    assert_eq!(on, (Fact::Known(true), Fact::Known(true)));
    let off = of(&|h| {
        h.add_file(VARIABLE, b"\x06\0\0\0\0");
    });
    assert_eq!(off.1, Fact::Known(false));
    let none = of(&|h| {
        h.add_file("/sys/firmware/efi/efivars/Boot0000-x", "");
    });
    assert_eq!(none.1, Fact::Absent);
    let cut = of(&|h| {
        h.add_file(VARIABLE, b"\x06");
    });
    let empty = of(&|h| {
        h.add_dir("/sys/firmware/efi/efivars");
    });
    let denied = of(&|h| {
        h.deny(VARIABLE);
    });
    assert!([cut, empty, denied].iter().all(|(_, secure_boot)| secure_boot.is_unknown()));
}

#[test]
fn distributions() {
    let mut host = Recorded::builder();
    host.complete(true)
        .add_file("/usr/lib/os-release", "ID=fedora\nVERSION_ID=41\nVARIANT_ID=silverblue\nPRETTY_NAME=\"Fedora 41\"\n")
        .add_file("/run/ostree-booted", "");
    let distro = collect(&host.build()).distro.into_known().unwrap();
    assert_eq!((distro.id.as_str(), distro.variant.as_str(), distro.ostree), ("fedora", "silverblue", true));
    let mut host = machine(X86, &[]);
    host.add_file("/usr/bin/pveversion", "")
        .add_file("/var/lib/dpkg/status", "Package: pve-manager\nStatus: install ok installed\nVersion: 8.2.4\n");
    assert_eq!(collect(&host.build()).distro.known().unwrap().proxmox.as_deref(), Some("8.2.4"));
    assert_eq!(collect(&Recorded::builder().complete(true).build()).distro, Fact::Absent);
}

#[test]
fn a_mounted_disk_is_no_machine() {
    let mut host = Recorded::builder();
    host.complete(true).add_file("/etc/os-release", "ID=arch\n").add_dir("/proc").add_dir("/sys");
    let system = collect(&host.build());
    assert!(system.virtualization.is_unknown() && system.is_guest.is_unknown() && system.uefi.is_unknown());
    assert!(system.vendor.is_unknown() && system.lockdown.is_unknown() && system.memory.is_unknown());
    assert_eq!(system.distro.known().map(|d| d.id.as_str()), Some("arch"));
}

#[test]
fn board_makers_fillers_are_absent() {
    let system = collect(&machine(X86, &[("product_name", "System Product Name"), ("board_name", "X570")]).build());
    assert_eq!((system.product, system.board), (Fact::Absent, Fact::Known("X570".into())));
    assert_eq!(system.virtualization, Fact::Known("vmx".into()));
    assert_eq!(system.cpu_vendor, Fact::Known(CpuVendor::Intel));
}

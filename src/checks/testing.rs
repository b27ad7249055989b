//! Builders of snapshots for the tests of checks. A test takes a host that is well, breaks one thing, and looks
//! at what is reported. Nothing here reads a file.

use super::{Finding, Severity, pages, run};
use crate::facts::boot::{Boot, Candidate, Chain, Place};
use crate::facts::hypervisor::{Asked, Hypervisor, HypervisorKind, Machine, Vm, VmDevice, libvirt, proxmox};
use crate::facts::initramfs::{Content, Generator, Image, Initramfs};
use crate::facts::iommu::{Group, Iommu, TableContent, TableKind};
use crate::facts::kernel::{InstalledKernel, Kernel, Kvm};
use crate::facts::modules::{Directive, List, LoadEntry, Modules};
use crate::facts::pci::{Acs, Bar, Function, Header, Ids, Link, Pci, PortType, Seen, Sriov};
use crate::facts::system::{CpuVendor, Distro, Lockdown, System};
use crate::facts::usage::{Usage, Use, UseKind};
use crate::facts::{Evidence, Origin, Snapshot, TextFile};
use crate::goal::Goal;
use crate::host::{Fact, Kind};
use crate::parse::address::Address;
use crate::parse::modprobe::parse_list;
use std::collections::{BTreeMap, BTreeSet};

/// The kernel of [`healthy`].
pub const RELEASE: &str = "6.8.12-4-pve";
/// The function of the graphics card that [`healthy`] can give away; its sound function is `.1`.
pub const GPU: &str = "0000:01:00.0";
/// The integrated graphics that [`healthy`] shows its console on.
pub const IGPU: &str = "0000:00:02.0";
/// The disk controller that holds the root file system of [`healthy`].
pub const DISK: &str = "0000:00:17.0";

/// Shorthand for an address; panics on what is none.
pub fn at(address: &str) -> Address {
    Address::parse(address).expect("an address")
}

/// A set of words.
pub fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A file.
pub fn file(path: &str, text: &str) -> TextFile {
    TextFile { path: path.to_owned(), text: text.to_owned() }
}

/// A snapshot in which nothing is known, as from a paste.
pub fn unknown() -> Snapshot {
    Snapshot {
        origin: Origin::Paste("paste".into()),
        system: System::default(),
        kernel: Kernel::default(),
        iommu: Iommu::default(),
        pci: Pci::default(),
        usb: Fact::default(),
        usage: Usage::default(),
        boot: Boot::default(),
        own: crate::facts::own::Own::default(),
        initramfs: Initramfs::default(),
        modules: Modules::default(),
        hypervisor: Hypervisor::default(),
        log: Fact::default(),
    }
}

/// An endpoint whose facts are all known and unremarkable: alone in its group, resets by FLR, no driver.
/// `ids` is `vvvv:dddd`.
pub fn function(address: &str, ids: &str, class: u32) -> Function {
    let (vendor, device) = ids.split_once(':').expect("vvvv:dddd");
    let number = |text: &str| u16::from_str_radix(text, 16).expect("hex");
    let address = at(address);
    let mut function = Function::unknown(address, Seen::Sysfs);
    function.ids = Fact::Known(Ids { vendor: number(vendor), device: number(device) });
    function.subsystem = Fact::Known(Ids { vendor: 0x1043, device: 0x8888 });
    function.class = Fact::Known(class);
    function.revision = Fact::Known(0xa1);
    function.header = Fact::Known(Header::Endpoint);
    function.driver = Fact::Absent;
    function.driver_override = Fact::Absent;
    function.candidates = Fact::Known(Vec::new());
    function.group = Fact::Known(u32::from(address.bus) * 64 + u32::from(address.device));
    function.numa_node = Fact::Absent;
    function.parent = Fact::Absent;
    function.port_type = Fact::Known(PortType::Endpoint);
    function.acs = Fact::Absent;
    function.reset_methods = Fact::Known(vec!["flr".into(), "bus".into()]);
    function.flr = Fact::Known(true);
    function.bars = Fact::Known(vec![Bar { index: 0, start: 0x8000_0000, size: 0x100_0000, flags: 0x4_0200 }]);
    function.resizable = Fact::Absent;
    function.link = Fact::Absent;
    function.power_state = Fact::Known("D0".into());
    function.d3cold_allowed = Fact::Known(true);
    function.boot_display = Fact::Known(false);
    function.sriov = Fact::Absent;
    function.physical = Fact::Absent;
    function.mdevs = Fact::Known(Vec::new());
    function.rom_size = Fact::Absent;
    function.serial = Fact::Absent;
    function.linked = Fact::Known(Vec::new());
    function.dead = Fact::Known(false);
    function
}

/// A PCIe root port with full ACS.
pub fn root_port(address: &str, ids: &str) -> Function {
    let mut port = function(address, ids, 0x06_0400);
    port.header = Fact::Known(Header::Bridge);
    port.port_type = Fact::Known(PortType::RootPort);
    port.acs = Fact::Known(Acs { capable: 0x1f, enabled: 0x1d });
    port.driver = Fact::Known("pcieport".into());
    port
}

/// Sets the driver, and the module that would match.
#[must_use]
pub fn with_driver(mut function: Function, driver: &str) -> Function {
    function.driver = Fact::Known(driver.to_owned());
    function.candidates = Fact::Known(vec![driver.replace('-', "_")]);
    function
}

/// Puts a function into the snapshot, in order, with its group; replaces one at the same address.
pub fn add(snap: &mut Snapshot, function: Function) {
    if let Some(group) = function.group.known() {
        let group = snap.iommu.groups.entry(*group).or_default();
        *group =
            Group { domain_type: Fact::Known("DMA-FQ".into()), reserved: Fact::Known(Vec::new()), ..Group::default() };
    }
    snap.pci.functions.retain(|known| known.address != function.address);
    snap.pci.functions.push(function);
    snap.pci.functions.sort_by_key(|f| f.address);
}

/// Changes a function that is there.
pub fn change(snap: &mut Snapshot, address: &str, how: impl FnOnce(&mut Function)) {
    let address = at(address);
    how(snap.pci.functions.iter_mut().find(|f| f.address == address).expect("a function at this address"));
}

/// A Proxmox VE 8 host that is well: Intel, VT-d on, integrated graphics for its console, and a graphics card
/// that nobody has asked for yet. It boots with GRUB.
pub fn healthy() -> Snapshot {
    let mut snap = unknown();
    snap.origin = Origin::Host(Kind::Recorded, "healthy".into());
    snap.system = System {
        vendor: Fact::Known("ASUS".into()),
        product: Fact::Known("System Product Name".into()),
        board_vendor: Fact::Known("ASUSTeK COMPUTER INC.".into()),
        board: Fact::Known("PRIME Z690-P".into()),
        bios_version: Fact::Known("3802".into()),
        bios_date: Fact::Known("03/14/2025".into()),
        cpu_vendor: Fact::Known(CpuVendor::Intel),
        cpu_model: Fact::Known("12th Gen Intel(R) Core(TM) i5-12400".into()),
        cpus: Fact::Known(12),
        virtualization: Fact::Known("vmx".into()),
        is_guest: Fact::Known(false),
        guest_of: Fact::Absent,
        container: Fact::Absent,
        uefi: Fact::Known(true),
        secure_boot: Fact::Known(false),
        lockdown: Fact::Known(Lockdown::None),
        distro: Fact::Known(Distro {
            id: "debian".into(),
            like: Vec::new(),
            version: "12".into(),
            name: "Debian GNU/Linux 12 (bookworm)".into(),
            variant: String::new(),
            ostree: false,
            proxmox: Some("8.3.0".into()),
        }),
        memory: Fact::Known(64 << 30),
    };
    snap.kernel = Kernel {
        release: Fact::Known(RELEASE.into()),
        version: Fact::Known("#1 SMP PREEMPT_DYNAMIC PMX 6.8.12-4".into()),
        cmdline: Fact::Known(file("/proc/cmdline", "")),
        loaded: Fact::Known(set(&["i915", "ahci", "xhci_pci", "kvm", "kvm_intel", "nouveau", "snd_hda_intel"])),
        parameters: BTreeMap::new(),
        acs_override: Fact::Known(true),
        kvm: Kvm { node: Fact::Known(true), accessible: Fact::Known(true) },
        installed: vec![installed(RELEASE)],
        iomem: Fact::default(),
    };
    snap.iommu = Iommu {
        table: Fact::Known(TableKind::Dmar),
        content: Fact::Known(TableContent {
            interrupt_remapping: Some(true),
            x2apic_opt_out: Some(false),
            platform_opt_in: Some(false),
            units: 2,
            reserved: Vec::new(),
        }),
        units: Fact::Known(vec!["dmar0".into(), "dmar1".into()]),
        interrupt_remapping: Fact::Known(true),
        interrupt_remapping_evidence: Some(Evidence::new("dmesg", "DMAR-IR: Enabled IRQ remapping in x2apic mode")),
        groups: BTreeMap::new(),
    };
    let mut port = root_port("0000:00:01.0", "8086:460d");
    port.group = Fact::Known(1);
    add(&mut snap, port);
    let mut igpu = with_driver(function(IGPU, "8086:4692", 0x03_0000), "i915");
    igpu.boot_display = Fact::Known(true);
    igpu.boot_display_evidence = Some(Evidence::new("/sys/bus/pci/devices/0000:00:02.0/boot_vga", "1"));
    igpu.port_type = Fact::Known(PortType::Integrated);
    add(&mut snap, igpu);
    add(&mut snap, with_driver(function("0000:00:14.0", "8086:7ae0", 0x0c_0330), "xhci_hcd"));
    add(&mut snap, with_driver(function(DISK, "8086:7ae2", 0x01_0601), "ahci"));
    add(&mut snap, with_driver(function("0000:00:1f.3", "8086:7ad0", 0x04_0300), "snd_hda_intel"));
    let mut gpu = with_driver(function(GPU, "10de:2684", 0x03_0000), "nouveau");
    gpu.vendor_name = Some("NVIDIA Corporation".into());
    gpu.device_name = Some("AD102 [GeForce RTX 4090]".into());
    gpu.reset_methods = Fact::Known(vec!["bus".into()]);
    gpu.flr = Fact::Known(false);
    gpu.rom_size = Fact::Known(512 << 10);
    gpu.candidates = Fact::Known(vec!["nvidiafb".into(), "nouveau".into()]);
    gpu.link = Fact::Known(Link {
        speed: "16.0 GT/s PCIe".into(),
        width: 16,
        max_speed: "16.0 GT/s PCIe".into(),
        max_width: 16,
    });
    let mut sound = with_driver(function("0000:01:00.1", "10de:22ba", 0x04_0300), "snd_hda_intel");
    sound.reset_methods = Fact::Known(vec!["bus".into()]);
    for mut part in [gpu, sound] {
        part.parent = Fact::Known(at("0000:00:01.0"));
        part.group = Fact::Known(14);
        part.port_type = Fact::Known(PortType::LegacyEndpoint);
        add(&mut snap, part);
    }
    snap.usb = Fact::Known(Vec::new());
    snap.usage = Usage {
        uses: vec![
            Use {
                address: at(IGPU),
                kind: UseKind::Display,
                by: "console".into(),
                evidence: Evidence::new("/sys/class/vtconsole/vtcon1/bind", "1"),
            },
            Use {
                address: at(DISK),
                kind: UseKind::RootStorage,
                by: "/".into(),
                evidence: Evidence::at("/proc/mounts", 1, "/dev/sda2 / ext4 rw 0 0"),
            },
        ],
        complete: Fact::Known(()),
        consoles: Fact::Known(vec!["ssh".into()]),
        serial_ports: Fact::Known(vec!["ttyS0".into()]),
        ..Usage::default()
    };
    snap.boot = Boot {
        candidates: vec![Candidate {
            chain: Chain::Grub,
            evidence: vec![Evidence::new("/boot/grub/grub.cfg", "")],
            proven: true,
        }],
        places: Vec::new(),
        efi_entry: Fact::Known("proxmox \\EFI\\proxmox\\shimx64.efi".into()),
        loader_info: Fact::Absent,
        ..Boot::default()
    };
    cmdline(&mut snap, "BOOT_IMAGE=/boot/vmlinuz-6.8.12-4-pve root=/dev/mapper/pve-root ro quiet");
    place(&mut snap, Chain::Grub, "/etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"", "quiet");
    snap.initramfs = Initramfs {
        generator: Fact::Known(Generator::InitramfsTools),
        config: Vec::new(),
        images: vec![Image {
            path: format!("/boot/initrd.img-{RELEASE}"),
            release: RELEASE.into(),
            mtime: 1_740_000_000,
            content: Fact::Known(Content { modules: set(&["ahci", "ext4"]), ..Content::default() }),
            ..Image::default()
        }],
        ..Initramfs::default()
    };
    snap.hypervisor.kinds = vec![(HypervisorKind::Proxmox, Some("8.3.0".into()))];
    snap.log = Fact::Known(file("dmesg", "[    0.1] DMAR-IR: Enabled IRQ remapping in x2apic mode\n"));
    snap
}

/// An installed kernel as Proxmox builds it: IOMMU on by default, vfio-pci a module, DRM built in.
pub fn installed(release: &str) -> InstalledKernel {
    let config = [
        ("INTEL_IOMMU", "y"),
        ("INTEL_IOMMU_DEFAULT_ON", "y"),
        ("AMD_IOMMU", "y"),
        ("IRQ_REMAP", "y"),
        ("VFIO", "m"),
        ("VFIO_PCI", "m"),
        ("VFIO_PCI_VGA", "y"),
        ("VFIO_IOMMU_TYPE1", "m"),
        ("KVM", "m"),
        ("KVM_INTEL", "m"),
        ("KVM_AMD", "m"),
        ("DRM", "y"),
        ("DRM_SIMPLEDRM", "y"),
        ("SYSFB_SIMPLEFB", "y"),
    ];
    InstalledKernel {
        release: release.into(),
        image: Fact::Known(format!("/boot/vmlinuz-{release}")),
        config: Fact::Known(config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
        config_path: format!("/boot/config-{release}"),
        builtin: Fact::Known(set(&["drm", "simpledrm"])),
        available: Fact::Known(set(&[
            "vfio",
            "vfio_pci",
            "vfio_pci_core",
            "vfio_iommu_type1",
            "kvm",
            "kvm_intel",
            "kvm_amd",
            "nouveau",
            "nvidiafb",
            "snd_hda_intel",
            "amdgpu",
            "radeon",
            "i915",
            "xe",
        ])),
    }
}

/// Changes the configuration of the running kernel of a snapshot; `None` takes the option away.
pub fn config(snap: &mut Snapshot, name: &str, value: Option<&str>) {
    for kernel in &mut snap.kernel.installed {
        let Fact::Known(config) = &mut kernel.config else { continue };
        match value {
            Some(value) => config.insert(name.to_owned(), value.to_owned()),
            None => config.remove(name),
        };
    }
}

/// Sets the running kernel and makes it the only installed one.
pub fn release(snap: &mut Snapshot, release: &str) {
    snap.kernel.release = Fact::Known(release.into());
    snap.kernel.installed = vec![installed(release)];
    for image in &mut snap.initramfs.images {
        image.release = release.into();
        image.path = format!("/boot/initrd.img-{release}");
    }
}

/// Sets `/proc/cmdline`.
pub fn cmdline(snap: &mut Snapshot, text: &str) {
    snap.kernel.cmdline = Fact::Known(file("/proc/cmdline", &format!("{text}\n")));
}

/// Adds a source of kernel words that the chain reads; `words` is what it gives.
pub fn place<'a>(snap: &'a mut Snapshot, chain: Chain, path: &str, text: &str, words: &str) -> &'a mut Place {
    snap.boot.places.push(Place {
        file: file(path, &format!("{text}\n")).into(),
        line: 1,
        words: words.split_whitespace().map(str::to_owned).collect(),
        chain,
        effective: true,
        generated: false,
        ..Place::default()
    });
    snap.boot.places.last_mut().expect("just pushed")
}

/// Adds a file of modprobe.d and its directives.
pub fn modprobe(snap: &mut Snapshot, path: &str, text: &str) {
    let index = snap.modules.files.len();
    snap.modules.files.push(file(path, text));
    for directive in crate::parse::modprobe::parse(text) {
        snap.modules.directives.push(Directive {
            file: index,
            line: directive.line,
            range: directive.range,
            word: directive.word,
            module: directive.module,
            rest: directive.rest,
        });
    }
}

/// Adds a list of modules to load, one a line; `early` if the initramfs reads it.
pub fn load(snap: &mut Snapshot, path: &str, text: &str, early: bool) {
    let index = snap.modules.files.len();
    snap.modules.files.push(file(path, text));
    for entry in parse_list(text) {
        snap.modules.load.push(LoadEntry {
            file: index,
            line: entry.line,
            module: entry.module,
            arguments: entry.arguments,
            early,
            effective: true,
            list: match path {
                _ if path.contains("initramfs-tools") => List::InitramfsTools,
                _ if path.contains("dracut") => List::DracutForce,
                _ if path.contains("mkinitcpio") => List::Mkinitcpio,
                _ => List::ModulesLoad,
            },
        });
    }
}

/// Puts the text of a file into the image of every kernel.
pub fn in_images(snap: &mut Snapshot, path: &str, text: &str) {
    for image in &mut snap.initramfs.images {
        if let Fact::Known(content) = &mut image.content {
            content.files.insert(path.to_owned(), text.to_owned());
        }
    }
}

/// Adds a VM that asks for something.
pub fn vm(snap: &mut Snapshot, kind: HypervisorKind, id: &str, asked: Asked) {
    let config = file(&format!("/etc/pve/qemu-server/{id}.conf"), "hostpci0: 0000:01:00,pcie=1\nmachine: q35\n");
    snap.hypervisor.vms.push(Vm {
        kind,
        id: id.into(),
        name: format!("vm{id}"),
        running: Fact::Known(false),
        machine: Some(Machine::of_proxmox(&config.path, &config.text)),
        of_nova: false,
        devices: vec![VmDevice {
            asked,
            evidence: Evidence::at(config.path.clone(), 1, "hostpci0: 0000:01:00,pcie=1"),
            rom_file: None,
        }],
        config: Fact::Known(config),
    });
}

/// Adds a VM of Proxmox's with this configuration.
pub fn proxmox_vm(snap: &mut Snapshot, id: &str, text: &str) {
    let path = format!("/etc/pve/qemu-server/{id}.conf");
    let (devices, machine) = (proxmox::devices(&path, text), Machine::of_proxmox(&path, text));
    add_vm(snap, HypervisorKind::Proxmox, id, file(&path, text), devices, machine);
}

/// Adds a VM of libvirt's with this domain.
pub fn libvirt_vm(snap: &mut Snapshot, id: &str, text: &str) {
    let path = format!("/etc/libvirt/qemu/{id}.xml");
    let (_, devices, machine) = libvirt::domain(&path, text).expect("a domain");
    add_vm(snap, HypervisorKind::Libvirt, id, file(&path, text), devices, machine);
}

fn add_vm(
    snap: &mut Snapshot,
    kind: HypervisorKind,
    id: &str,
    config: TextFile,
    devices: Vec<VmDevice>,
    machine: Machine,
) {
    snap.hypervisor.vms.push(Vm {
        of_nova: false,
        kind,
        id: id.into(),
        name: String::new(),
        running: Fact::Known(false),
        config: Fact::Known(config),
        devices,
        machine: Some(machine),
    });
}

/// [`healthy`], with its graphics card given to vfio-pci by ids, early, and in effect.
pub fn passthrough() -> Snapshot {
    let mut snap = healthy();
    let text = "options vfio-pci ids=10de:2684,10de:22ba\nsoftdep nouveau pre: vfio-pci\n\
                softdep nvidiafb pre: vfio-pci\nsoftdep snd_hda_intel pre: vfio-pci\n";
    modprobe(&mut snap, "/etc/modprobe.d/vfio.conf", text);
    load(&mut snap, "/etc/initramfs-tools/modules", "vfio_pci\n", true);
    in_images(&mut snap, "/etc/modprobe.d/vfio.conf", text);
    for image in &mut snap.initramfs.images {
        if let Fact::Known(content) = &mut image.content {
            content.modules.extend(set(&["vfio_pci", "vfio_pci_core", "vfio", "vfio_iommu_type1"]));
        }
    }
    for address in [GPU, "0000:01:00.1"] {
        change(&mut snap, address, |f| f.driver = Fact::Known("vfio-pci".into()));
    }
    snap
}

/// What all checks report, without a goal.
pub fn check(snap: &Snapshot) -> Vec<Finding> {
    check_for(snap, &[])
}

/// What all checks report when the command names these functions.
pub fn check_for(snap: &Snapshot, devices: &[&str]) -> Vec<Finding> {
    let findings = run(snap, &Goal { devices: devices.iter().map(|address| at(address)).collect(), ..Goal::default() });
    for finding in &findings {
        for text in [pages::message(finding), pages::remedy(finding)] {
            assert!(!text.is_empty(), "{} has no page", finding.id);
            let place =
                text.split('{').skip(1).any(|rest| rest.split_once('}').is_some_and(|(name, _)| is_place(name)));
            assert!(!place, "{}: a place is not filled: {text}", finding.id);
        }
    }
    findings
}

fn is_place(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// The findings with this id.
pub fn only<'a>(findings: &'a [Finding], id: &str) -> Vec<&'a Finding> {
    findings.iter().filter(|finding| finding.id == id).collect()
}

/// `error id/variant subject` of each finding, to compare in one go.
pub fn shown<F: std::borrow::Borrow<Finding>>(findings: &[F]) -> Vec<String> {
    let show = |f: &F| {
        let f: &Finding = f.borrow();
        let severity = match f.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let variant = if f.variant.is_empty() { String::new() } else { format!("/{}", f.variant) };
        format!("{severity} {}{variant} {}", f.id, f.subject)
    };
    findings.iter().map(show).collect()
}

/// A network card that can make 63 virtual functions.
pub const NIC: &str = "0000:05:00.0";

/// The healthy host with that card behind a root port of its own.
pub fn with_nic() -> Snapshot {
    let mut snap = healthy();
    let mut port = root_port("0000:00:1c.0", "8086:7ab8");
    port.group = Fact::Known(28);
    add(&mut snap, port);
    let mut card = with_driver(function(NIC, "8086:10fb", 0x02_0000), "ixgbe");
    card.parent = Fact::Known(at("0000:00:1c.0"));
    card.sriov = Fact::Known(Sriov { total: 63, active: 0, autoprobe: Some(true) });
    add(&mut snap, card);
    snap
}

/// Gives that card so many virtual functions, each on a driver or on none.
pub fn make_virtual(snap: &mut Snapshot, count: u8, driver: Option<&str>) {
    change(snap, NIC, |f| {
        f.sriov = Fact::Known(Sriov { total: 63, active: count.into(), autoprobe: Some(false) });
    });
    for number in 0..count {
        let mut part = function(&format!("0000:05:10.{number}"), "8086:10ed", 0x02_0000);
        part.parent = Fact::Known(at("0000:00:1c.0"));
        part.physical = Fact::Known(at(NIC));
        part.group = Fact::Known(500 + u32::from(number));
        part.driver = driver.map_or(Fact::Absent, |driver| Fact::Known(driver.to_owned()));
        add(snap, part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_well_gets_no_error_and_no_warning() {
        for snap in [healthy(), passthrough(), unknown()] {
            let bad: Vec<_> = check(&snap).into_iter().filter(|f| f.severity != Severity::Info).collect();
            assert_eq!(shown(&bad), Vec::<String>::new());
        }
    }
}

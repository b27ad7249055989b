//! How a VM is made, as far as that matters to a device that it is given.
//!
//! Goes in: its configuration's text. Comes out: a [`Machine`]; what the configuration leaves out is as its hypervisor has it by default.

use crate::facts::Evidence;
use crate::parse::libvirt_xml::{Domain, Setting};
use crate::parse::proxmox_conf::{self, Entry};
use std::collections::BTreeMap;

/// What starts the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS: a card's legacy option ROM is run.
    SeaBios,
    /// OVMF: its EFI option ROM is run.
    Ovmf {
        /// Only signed option ROMs are.
        secure_boot: bool,
    },
    /// The configuration does not tell.
    Unknown,
}

/// Part of a [`Machine`] that a line of the configuration sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Machine type.
    Machine,
    /// Firmware.
    Firmware,
    /// Its keys for Secure Boot.
    SecureBoot,
    /// Memory.
    Memory,
    /// Ballooning.
    Balloon,
    /// CPU model and flags.
    Cpu,
    /// Arguments that are given to QEMU as they are.
    Arguments,
    /// KVM is hidden.
    Hidden,
    /// The vendor that Hyper-V's interface names.
    HvVendor,
    /// How much memory the VM may lock.
    Memlock,
    /// The guest's own IOMMU.
    Viommu,
    /// Guest system.
    System,
}

/// A VM's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// PCIe (q35, or the machines of other architectures); otherwise the PCI of i440fx.
    pub pcie: bool,
    /// What starts it.
    pub firmware: Firmware,
    /// Its memory, in MiB.
    pub memory_mib: Option<u64>,
    /// The memory to which a balloon would shrink it, in MiB, where that is less.
    pub balloon_mib: Option<u64>,
    /// Its CPU is the host's own model (`host`, `host-passthrough`): address width included.
    pub host_cpu: bool,
    /// Its CPU says truly how wide addresses are, so that firmware makes its windows by that.
    pub true_width: bool,
    /// KVM is hidden from the guest.
    pub hidden: bool,
    /// The vendor that Hyper-V's interface names, where one is set.
    pub hv_vendor: Option<String>,
    /// QEMU's own arguments, as given beside the configuration.
    pub arguments: Vec<String>,
    /// The most memory that it may lock, in MiB, where a limit is set.
    pub memlock_mib: Option<u64>,
    /// `intel`, `virtio`, `smmuv3`: the guest's own IOMMU.
    pub viommu: Option<String>,
    /// True for Windows, false for another system; none: not said.
    pub windows: Option<bool>,
    /// The lines that say so.
    pub lines: BTreeMap<Part, Evidence>,
}

impl Machine {
    /// The 64-bit window that its arguments give OVMF, in MiB (`opt/ovmf/X-PciMmio64Mb`, edk2 OvmfPkg/RUNTIME_CONFIG.md).
    pub fn mmio_mib(&self) -> Option<u64> {
        let value = self.arguments.iter().find(|word| word.contains("opt/ovmf/X-PciMmio64Mb"))?;
        value.split(',').find_map(|part| part.strip_prefix("string=")?.parse().ok())
    }

    /// True if OVMF may not know how wide addresses are, and nothing gives it a window for large BARs.
    pub fn wants_window(&self) -> bool {
        matches!(self.firmware, Firmware::Ovmf { .. }) && !self.true_width && self.mmio_mib().is_none()
    }

    /// True if its arguments have a `-cpu` beside the configuration's: QEMU takes the last one whole.
    pub fn has_second_cpu(&self) -> bool {
        self.arguments.iter().any(|word| is_cpu(word))
    }

    /// What Proxmox VE makes of a configuration's text; `source` names it in the evidence.
    /// Defaults: qemu-server 9.0 `PVE/QemuServer.pm` (`$confdesc`), `PVE/QemuServer/Machine.pm`: i440fx, SeaBIOS, 512 MiB.
    pub fn of_proxmox(source: &str, text: &str) -> Machine {
        let entries = proxmox_conf::next(text);
        let get = |key: &str| entries.iter().find(|entry| entry.key == key);
        let value = |key: &str| get(key).map(|entry| entry.value.as_str());
        let option = |key: &str, name: &str| value(key).and_then(|value| proxmox_conf::option(value, name));
        let memory = value("memory").map_or(Some(512), |value| {
            proxmox_conf::option(value, "current").or_else(|| value.split(',').next()).and_then(|mib| mib.parse().ok())
        });
        let balloon = value("balloon").and_then(|mib| mib.parse::<u64>().ok());
        let machine = value("machine").unwrap_or_default();
        let kind = proxmox_conf::option(machine, "type").or_else(|| machine.split(',').next()).unwrap_or_default();
        let cpu = value("cpu").unwrap_or_default();
        let model = proxmox_conf::option(cpu, "cputype").or_else(|| cpu.split(',').next()).unwrap_or_default();
        let arguments = value("args").map(crate::parse::shell::words).unwrap_or_default();
        let keys = option("efidisk0", "pre-enrolled-keys").is_some_and(|keys| keys == "1");
        let mut lines = BTreeMap::new();
        for (part, key) in [
            (Part::Machine, "machine"),
            (Part::Viommu, "machine"),
            (Part::Firmware, "bios"),
            (Part::SecureBoot, "efidisk0"),
            (Part::Memory, "memory"),
            (Part::Balloon, "balloon"),
            (Part::Cpu, "cpu"),
            (Part::Hidden, "cpu"),
            (Part::HvVendor, "cpu"),
            (Part::Arguments, "args"),
            (Part::System, "ostype"),
        ] {
            lines.extend(get(key).map(|entry: &Entry| (part, Evidence::at(source, entry.line, entry.text.clone()))));
        }
        Machine {
            pcie: !is_i440fx(kind),
            firmware: match value("bios") {
                Some("ovmf") => Firmware::Ovmf { secure_boot: keys },
                Some("seabios") | None => Firmware::SeaBios,
                Some(_) => Firmware::Unknown,
            },
            memory_mib: memory,
            balloon_mib: balloon.filter(|mib| *mib > 0 && memory.is_some_and(|memory| *mib < memory)),
            host_cpu: model == "host",
            true_width: model == "host" || option("cpu", "phys-bits").is_some() || second_cpu_is_wide(&arguments),
            hidden: option("cpu", "hidden") == Some("1"),
            hv_vendor: option("cpu", "hv-vendor-id").map(str::to_owned),
            arguments,
            memlock_mib: None,
            viommu: option("machine", "viommu").map(str::to_owned),
            windows: value("ostype").map(|system| system.starts_with('w')),
            lines,
        }
    }

    /// What libvirt makes of a domain; `source` names it in the evidence.
    pub fn of_libvirt(source: &str, domain: &Domain) -> Machine {
        let shape = &domain.shape;
        let value = |setting: &Option<Setting>| setting.as_ref().map(|setting| setting.value.clone());
        let kind = value(&shape.machine).unwrap_or_default();
        let efi = value(&shape.firmware);
        let host_cpu = value(&shape.cpu_mode).is_some_and(|mode| mode == "host-passthrough" || mode == "maximum");
        let mut lines = BTreeMap::new();
        for (part, setting) in [
            (Part::Machine, &shape.machine),
            (Part::Firmware, &shape.firmware),
            (Part::SecureBoot, &shape.secure_boot),
            (Part::Memory, &shape.memory_kib),
            (Part::Balloon, &shape.current_kib),
            (Part::Cpu, &shape.cpu_mode),
            (Part::Hidden, &shape.hidden),
            (Part::HvVendor, &shape.hv_vendor),
            (Part::Arguments, &shape.first_argument),
            (Part::Memlock, &shape.hard_limit_kib),
            (Part::Viommu, &shape.viommu),
            (Part::System, &shape.system),
        ] {
            let line = |setting: &Setting| (part, Evidence::at(source, setting.line, setting.text.clone()));
            lines.extend(setting.as_ref().map(line));
        }
        let mib =
            |setting: &Option<Setting>| value(setting).and_then(|kib| kib.parse::<u64>().ok()).map(|kib| kib >> 10);
        let memory = mib(&shape.memory_kib);
        Machine {
            pcie: !is_i440fx(&kind),
            firmware: match efi.as_deref() {
                None => Firmware::SeaBios,
                Some(text) if text.starts_with("efi") || is_ovmf(text) => {
                    Firmware::Ovmf { secure_boot: shape.secure_boot.is_some() }
                }
                Some("bios") => Firmware::SeaBios,
                Some(_) => Firmware::Unknown,
            },
            memory_mib: memory,
            balloon_mib: mib(&shape.current_kib).filter(|mib| memory.is_some_and(|memory| *mib < memory)),
            host_cpu,
            true_width: host_cpu
                || shape.address_width
                || has_host_width(&kind)
                || second_cpu_is_wide(&shape.arguments),
            hidden: shape.hidden.is_some(),
            hv_vendor: value(&shape.hv_vendor),
            arguments: shape.arguments.clone(),
            memlock_mib: mib(&shape.hard_limit_kib),
            viommu: value(&shape.viommu),
            windows: value(&shape.system).map(|system| system.contains("microsoft.com")),
            lines,
        }
    }
}

/// QEMU's `pc` machines, of which i440fx is the one that is not q35; it is the default of x86 (hw/i386/pc_piix.c).
fn is_i440fx(kind: &str) -> bool {
    kind.is_empty() || kind.starts_with("pc") && !kind.contains("q35")
}

/// Machine types that have `host-phys-bits` on: those of RHEL (`pc-q35-rhel9.4.0`), and Ubuntu's with `-hpb`.
fn has_host_width(kind: &str) -> bool {
    kind.contains("rhel") || kind.ends_with("-hpb")
}

/// A `-cpu` among the arguments, which QEMU takes instead of the configuration's, that is the host's own or says the width.
fn second_cpu_is_wide(arguments: &[String]) -> bool {
    let last = arguments.windows(2).rev().find(|pair| pair.first().is_some_and(|word| is_cpu(word)));
    last.and_then(|pair| pair.get(1)).is_some_and(|cpu| {
        let model = cpu.split(',').next().unwrap_or_default();
        model == "host" || model == "max" || cpu.contains("phys-bits")
    })
}

fn is_cpu(word: &str) -> bool {
    word == "-cpu" || word == "--cpu"
}

/// The names that distributions give OVMF's file.
fn is_ovmf(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    ["ovmf", "edk2", "aavmf", "qemu_efi"].iter().any(|name| lower.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::libvirt_xml;

    #[test]
    fn of_a_proxmox_configuration() {
        let text = "args: -cpu 'host,hv_time' -fw_cfg name=opt/ovmf/X-PciMmio64Mb,string=131072\nballoon: 1024\n\
            bios: ovmf\ncpu: host,hidden=1,hv-vendor-id=abc\nefidisk0: local:1,pre-enrolled-keys=1\n\
            machine: pc-q35-9.0,viommu=intel\nmemory: 4096\nostype: win11\n";
        let machine = Machine::of_proxmox("105.conf", text);
        assert!(machine.pcie && machine.host_cpu && machine.hidden && machine.has_second_cpu(), "{machine:?}");
        assert_eq!(machine.firmware, Firmware::Ovmf { secure_boot: true });
        assert_eq!(
            (machine.memory_mib, machine.balloon_mib, machine.mmio_mib()),
            (Some(4096), Some(1024), Some(131072))
        );
        assert_eq!((machine.viommu.as_deref(), machine.windows), (Some("intel"), Some(true)));
        assert_eq!(machine.lines[&Part::Machine].line, Some(6));
        let machine = Machine::of_proxmox("105.conf", "cores: 1\n");
        assert!(!machine.pcie && !machine.host_cpu && machine.firmware == Firmware::SeaBios, "{machine:?}");
        for (text, wide) in [
            ("cpu: x86-64-v3\n", false),
            ("cpu: host\n", true),
            ("cpu: x86-64-v3,phys-bits=host\n", true),
            ("cpu: x86-64-v3\nargs: -cpu host,kvm=off -s\n", true),
            ("cpu: host\nargs: -cpu\n", true),
            ("args: -cpu EPYC\n", false),
        ] {
            assert_eq!(Machine::of_proxmox("105.conf", text).true_width, wide, "{text}");
        }
        assert_eq!((machine.memory_mib, machine.balloon_mib, machine.windows), (Some(512), None, None));
    }

    #[test]
    fn of_a_domain() {
        let text = "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>a</name>\n\
            <memory unit='GiB'>8</memory>\n<currentMemory unit='KiB'>4194304</currentMemory>\n\
            <memtune><hard_limit unit='G'>9</hard_limit></memtune>\n\
            <os firmware='efi'>\n<type machine='pc-q35-9.0'>hvm</type>\n<firmware><feature enabled='yes' name='secure-boot'/></firmware></os>\n\
            <features><kvm><hidden state='on'/></kvm><hyperv><vendor_id state='on' value='x'/></hyperv></features>\n\
            <cpu mode='host-passthrough'/><devices><iommu model='intel'/></devices>\n\
            <qemu:commandline>\n<qemu:arg value='-cpu'/><qemu:arg value='host'/></qemu:commandline></domain>";
        let machine = Machine::of_libvirt("a.xml", &libvirt_xml::parse(text).unwrap());
        assert!(machine.pcie && machine.host_cpu && machine.hidden && machine.has_second_cpu(), "{machine:?}");
        assert_eq!(machine.firmware, Firmware::Ovmf { secure_boot: true });
        assert_eq!(
            (machine.memory_mib, machine.balloon_mib, machine.memlock_mib),
            (Some(8192), Some(4096), Some(9216))
        );
        assert_eq!((machine.viommu.as_deref(), machine.hv_vendor.as_deref()), (Some("intel"), Some("x")));
        let loader = |tag: &str| {
            let text = format!("<domain><os><type machine='pc'>hvm</type>{tag}</os></domain>");
            Machine::of_libvirt("a.xml", &libvirt_xml::parse(&text).unwrap()).firmware
        };
        let machine = |kind: &str, cpu: &str| {
            let text = format!(
                "<domain><os><type machine='{kind}'>hvm</type></os><cpu mode='host-model'>{cpu}</cpu></domain>"
            );
            let machine = Machine::of_libvirt("a.xml", &libvirt_xml::parse(&text).unwrap());
            (machine.pcie, machine.true_width)
        };
        assert_eq!(machine("pc-i440fx-9.0", ""), (false, false));
        assert_eq!(machine("pc-q35-9.0", "<maxphysaddr mode='passthrough'/>"), (true, true));
        assert_eq!(machine("pc-q35-rhel9.4.0", ""), (true, true));
        assert_eq!(machine("pseries-9.0", ""), (true, false));
        assert_eq!(loader(""), Firmware::SeaBios);
        assert_eq!(loader("<loader>/usr/share/OVMF/OVMF_CODE.fd</loader>"), Firmware::Ovmf { secure_boot: false });
        assert_eq!(loader("<loader secure='yes'>/usr/share/OVMF/x.fd</loader>"), Firmware::Ovmf { secure_boot: true });
        assert_eq!(loader("<loader>/opt/coreboot.rom</loader>"), Firmware::Unknown);
    }
}

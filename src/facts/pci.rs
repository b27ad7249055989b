//! Every PCI function of the host.
//!
//! Goes in: `/sys/bus/pci/devices`, and a [`crate::host::Host`] to read it. Comes out: [`Pci`].
//! Never asks the device for more than its configuration space, and for `list` only for its first 64 bytes.

mod candidates;
mod collect;
mod details;
mod display;
mod names;

pub use candidates::add_candidates;
pub use collect::collect;
pub use names::class_name;

use super::Evidence;
use crate::host::Fact;
use crate::parse::address::Address;
use std::collections::BTreeMap;

/// A vendor id and a device id, as in config space at 00h and 02h (or 2Ch and 2Eh for the subsystem).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ids {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
}

impl std::fmt::Display for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

/// Where one function was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// In sysfs, below `/sys/bus/pci/devices/<address>/`.
    Sysfs,
    /// At a line of a paste.
    Paste(Evidence),
}

/// The header type of config space (0Eh, bits 0 to 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Type 0: an endpoint.
    Endpoint,
    /// Type 1: a PCI-to-PCI bridge, PCIe port included.
    Bridge,
    /// Type 2: CardBus.
    CardBus,
}

/// The PCIe device/port type (PCI Express capabilities register, bits 4 to 7; PCIe Base 7.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortType {
    /// 0: endpoint.
    Endpoint,
    /// 1: legacy endpoint.
    LegacyEndpoint,
    /// 4: root port.
    RootPort,
    /// 5: upstream port of a switch.
    Upstream,
    /// 6: downstream port of a switch.
    Downstream,
    /// 7: PCIe to PCI/PCI-X bridge.
    ToPci,
    /// 8: PCI/PCI-X to PCIe bridge.
    FromPci,
    /// 9: root complex integrated endpoint.
    Integrated,
    /// 10: root complex event collector.
    EventCollector,
}

impl PortType {
    /// The type of a number as it stands in the register; `None` if the specification has none of that number.
    pub fn from_number(number: u8) -> Option<PortType> {
        Some(match number {
            0 => PortType::Endpoint,
            1 => PortType::LegacyEndpoint,
            4 => PortType::RootPort,
            5 => PortType::Upstream,
            6 => PortType::Downstream,
            7 => PortType::ToPci,
            8 => PortType::FromPci,
            9 => PortType::Integrated,
            10 => PortType::EventCollector,
            _ => return None,
        })
    }
}

/// Access Control Services (PCIe Base 7.7.11): capability and control registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acs {
    /// What the function can do (capability register).
    pub capable: u16,
    /// What is switched on (control register).
    pub enabled: u16,
}

/// One base address register, from sysfs `resource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// 0 to 5; 6 is the expansion ROM.
    pub index: u8,
    /// First address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// `IORESOURCE_*` flags (include/linux/ioport.h).
    pub flags: u64,
}

/// `IORESOURCE_MEM_64` of a BAR's flags (Linux include/linux/ioport.h).
const MEM_64: u64 = 0x0010_0000;

/// Resizable BAR: the possible sizes of one BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resizable {
    /// Which BAR.
    pub index: u8,
    /// Bit n: 2^n MiB possible (sysfs `resourceN_resize`).
    pub sizes: u64,
}

/// A PCIe link, from the PCIe capability, else from sysfs `current_link_*` and `max_link_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// As the kernel prints it, e.g. `16.0 GT/s PCIe`.
    pub speed: String,
    /// Lanes.
    pub width: u32,
    /// The most that this function can do.
    pub max_speed: String,
    /// The most lanes that this function can do.
    pub max_width: u32,
}

/// SR-IOV of a physical function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sriov {
    /// How many virtual functions it can have.
    pub total: u32,
    /// How many it has now.
    pub active: u32,
    /// Whether drivers bind to new ones by themselves.
    pub autoprobe: Option<bool>,
}

/// One PCI function. Every field that sysfs or a paste may not tell is a [`Fact`].
#[derive(Clone, Debug)]
pub struct Function {
    /// Where it is.
    pub address: Address,
    /// Where that was seen.
    pub seen: Seen,
    /// Vendor and device id.
    pub ids: Fact<Ids>,
    /// Subsystem ids; absent for bridges.
    pub subsystem: Fact<Ids>,
    /// Base class, subclass and programming interface, 24 bits: `0x030000` is a VGA controller.
    pub class: Fact<u32>,
    /// Revision id.
    pub revision: Fact<u8>,
    /// What the class is called in pci.ids, e.g. `VGA compatible controller`.
    pub class_name: Option<String>,
    /// Vendor name from pci.ids or the paste.
    pub vendor_name: Option<String>,
    /// Device name from pci.ids or the paste.
    pub device_name: Option<String>,
    /// Endpoint or bridge.
    pub header: Fact<Header>,
    /// The bound driver; absent if none.
    pub driver: Fact<String>,
    /// `driver_override`; absent if not set.
    pub driver_override: Fact<String>,
    /// Modules that would match it, in the order of `modules.alias`.
    pub candidates: Fact<Vec<String>>,
    /// Modules of vfio drivers that would match it (`vfio_pci:` aliases, Linux 5.16), the most specific first;
    /// the last is `vfio_pci` itself.
    pub vfio_variants: Fact<Vec<String>>,
    /// IOMMU group; absent if the function has none.
    pub group: Fact<u32>,
    /// NUMA node; absent if the firmware names none.
    pub numa_node: Fact<u32>,
    /// The bridge above it; absent on a root bus.
    pub parent: Fact<Address>,
    /// The PCIe port type; absent for conventional PCI.
    pub port_type: Fact<PortType>,
    /// ACS; absent if the function has no such capability.
    pub acs: Fact<Acs>,
    /// Reset methods in the kernel's order (`reset_method`, Linux 5.15); absent if it has none.
    /// An older kernel does not name them: unknown, and `resettable` is true.
    pub reset_methods: Fact<Vec<String>>,
    /// Whether the kernel knows a way to reset it.
    pub resettable: Fact<bool>,
    /// Function level reset by the device capabilities register; not the kernel's choice.
    pub flr: Fact<bool>,
    /// Its memory and I/O regions.
    pub bars: Fact<Vec<Bar>>,
    /// Resizable BARs; absent if none.
    pub resizable: Fact<Vec<Resizable>>,
    /// The link; absent where there is none.
    pub link: Fact<Link>,
    /// `D0` to `D3cold`, `unknown` or `error` as sysfs says.
    pub power_state: Fact<String>,
    /// Whether the kernel may put it into D3cold.
    pub d3cold_allowed: Fact<bool>,
    /// Is it the boot display? By `boot_display`, then `boot_vga`, then a framebuffer in one of its BARs.
    pub boot_display: Fact<bool>,
    /// What says so.
    pub boot_display_evidence: Option<Evidence>,
    /// SR-IOV of a physical function; absent if it has none.
    pub sriov: Fact<Sriov>,
    /// The physical function of a virtual one; absent otherwise.
    pub physical: Fact<Address>,
    /// Active mediated devices below it (UUIDs).
    pub mdevs: Fact<Vec<String>>,
    /// Bytes of the option ROM region; absent if there is none.
    pub rom_size: Fact<u64>,
    /// Device serial number capability, `xx-xx-xx-xx-xx-xx-xx-xx`, the first byte the most significant.
    pub serial: Fact<String>,
    /// Devices that must be resumed or unbound before it (`consumer:`/`supplier:` links).
    pub linked: Fact<Vec<Address>>,
    /// True if config space reads as all ones: the device is gone or asleep.
    pub dead: Fact<bool>,
}

impl Function {
    /// Memory that its 64-bit BARs take, in bytes; none where its BARs are not known.
    pub fn wide_bars(&self) -> Option<u64> {
        let wide = self.bars.known()?.iter().filter(|bar| bar.index < 6 && bar.flags & MEM_64 != 0);
        Some(wide.map(|bar| bar.size).sum())
    }

    /// A function of which nothing is known but where it was seen.
    pub fn unknown(address: Address, seen: Seen) -> Function {
        Function {
            address,
            seen,
            ids: Fact::default(),
            subsystem: Fact::default(),
            class: Fact::default(),
            revision: Fact::default(),
            class_name: None,
            vendor_name: None,
            device_name: None,
            header: Fact::default(),
            driver: Fact::default(),
            driver_override: Fact::default(),
            candidates: Fact::default(),
            vfio_variants: Fact::default(),
            group: Fact::default(),
            numa_node: Fact::default(),
            parent: Fact::default(),
            port_type: Fact::default(),
            acs: Fact::default(),
            reset_methods: Fact::default(),
            resettable: Fact::default(),
            flr: Fact::default(),
            bars: Fact::default(),
            resizable: Fact::default(),
            link: Fact::default(),
            power_state: Fact::default(),
            d3cold_allowed: Fact::default(),
            boot_display: Fact::default(),
            boot_display_evidence: None,
            sriov: Fact::default(),
            physical: Fact::default(),
            mdevs: Fact::default(),
            rom_size: Fact::default(),
            serial: Fact::default(),
            linked: Fact::default(),
            dead: Fact::default(),
        }
    }

    /// Evidence for one of its sysfs attributes, or the line of the paste that showed it.
    pub fn evidence(&self, attribute: &str, text: impl Into<String>) -> Evidence {
        match &self.seen {
            Seen::Sysfs => Evidence::new(format!("/sys/bus/pci/devices/{}/{attribute}", self.address), text),
            Seen::Paste(line) => line.clone(),
        }
    }

    /// Base class and subclass, e.g. `0x0300`.
    pub fn base_class(&self) -> Option<u16> {
        self.class.known().map(|class| (class >> 8) as u16)
    }

    /// True for a display controller (base class 03).
    pub fn is_display(&self) -> bool {
        self.class.known().is_some_and(|class| class >> 16 == 0x03)
    }

    /// True for a bridge by header, or by class where the header is not known. Bridges belong to no VM.
    pub fn is_bridge(&self) -> bool {
        match self.header {
            Fact::Known(header) => header != Header::Endpoint,
            _ => matches!(self.base_class(), Some(0x0604 | 0x0607 | 0x0609)),
        }
    }

    /// True for what people give to VMs: displays, accelerators, network, storage, USB, sound, and the
    /// companion functions of a display; never bridges and chipset parts.
    pub fn is_candidate(&self) -> bool {
        let Some(class) = self.base_class() else { return !self.is_bridge() };
        !self.is_bridge() && matches!(class >> 8, 0x01 | 0x02 | 0x03 | 0x04 | 0x0d | 0x10 | 0x12 | 0x40)
            || class == 0x0c03
    }

    /// True if the bound driver is vfio-pci or one of its variants (`*vfio_pci`, `*-vfio-pci`).
    pub fn on_vfio(&self) -> bool {
        self.driver.known().is_some_and(|driver| is_vfio_driver(driver))
    }

    /// The name for a person: `NVIDIA Corporation AD102 [GeForce RTX 4090]`, or the ids, or the address; of a virtual function with
    /// its physical one, which may be called the same.
    pub fn name(&self) -> String {
        let name = match (&self.vendor_name, &self.device_name, self.ids.known()) {
            (Some(vendor), Some(device), _) => format!("{vendor} {device}"),
            (Some(vendor), None, Some(ids)) => format!("{vendor} [{ids}]"),
            (None, Some(device), _) => device.clone(),
            (_, _, Some(ids)) => format!("[{ids}]"),
            (Some(vendor), None, None) => vendor.clone(),
            (None, None, None) => self.address.to_string(),
        };
        name + &self.virtual_of()
    }

    /// ` (VF of 41:00.0)`; empty for a physical function.
    pub fn virtual_of(&self) -> String {
        self.physical.known().map_or_else(String::new, |physical| {
            let text = physical.to_string();
            format!(" (VF of {})", text.strip_prefix("0000:").unwrap_or(&text))
        })
    }
}

/// True for vfio-pci and its variant drivers (`mlx5-vfio-pci`, `nvgrace-gpu-vfio-pci`, `xe-vfio-pci`, …).
pub fn is_vfio_driver(driver: &str) -> bool {
    driver.replace('_', "-").ends_with("vfio-pci")
}

/// All functions of a host.
#[derive(Clone, Debug, Default)]
pub struct Pci {
    /// Sorted by address. Unknown if `/sys/bus/pci` could not be read.
    pub functions: Vec<Function>,
    /// Why the list is empty or incomplete, if so.
    pub missing: Option<crate::host::Why>,
}

impl Pci {
    /// Why there is no function: what could not be read, or that the bus is empty.
    pub fn why_none(&self) -> String {
        self.missing.as_ref().map_or_else(|| "/sys/bus/pci/devices is empty".to_owned(), ToString::to_string)
    }

    /// The virtual functions of a physical one.
    pub fn virtual_of(&self, physical: &Address) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(move |f| f.physical.known() == Some(physical))
    }

    /// The function at an address.
    pub fn get(&self, address: &Address) -> Option<&Function> {
        self.functions.binary_search_by(|f| f.address.cmp(address)).ok().map(|i| &self.functions[i])
    }

    /// All functions of the same slot, the given one included.
    pub fn slot(&self, address: &Address) -> impl Iterator<Item = &Function> {
        let address = *address;
        let first = Address { function: 0, ..address };
        let start = self.functions.partition_point(|f| f.address < first);
        self.functions.iter().skip(start).take_while(move |f| f.address.same_slot(&address))
    }

    /// All groups with their functions: for who asks about more than one of them.
    pub fn by_group(&self) -> BTreeMap<u32, Vec<&Function>> {
        let mut groups: BTreeMap<u32, Vec<&Function>> = BTreeMap::new();
        for function in &self.functions {
            if let Fact::Known(group) = function.group {
                groups.entry(group).or_default().push(function);
            }
        }
        groups
    }

    /// All functions of an IOMMU group; looks at every function of the host.
    pub fn group(&self, group: u32) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(move |f| f.group == Fact::Known(group))
    }

    /// The bridges above a function, nearest first.
    pub fn path_up(&self, address: &Address) -> Vec<&Function> {
        let mut path: Vec<&Function> = Vec::new();
        let mut at = self.get(address);
        while let Some(parent) = at.and_then(|f| f.parent.known()).and_then(|a| self.get(a)) {
            if path.iter().any(|seen| seen.address == parent.address) {
                break;
            }
            path.push(parent);
            at = Some(parent);
        }
        path
    }
}

#[cfg(test)]
mod tests;

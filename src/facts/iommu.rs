//! IOMMU: firmware tables, running units, groups, interrupt remapping.
//!
//! Goes in: `/sys/firmware/acpi/tables`, `/sys/class/iommu`, `/sys/kernel/iommu_groups`, `/proc/interrupts`, and kernel
//! messages. Comes out: an [`Iommu`]. Never takes a missing directory for a missing IOMMU where the directory can be
//! hidden from the program (containers) or belongs to other firmware (device tree).

use super::attribute::understood;
use super::pci::Pci;
use super::{Evidence, Needs, TextFile};
use crate::host::{Fact, Host, Why};
use crate::parse::acpi::{self, Scope};
use crate::parse::address::Address;
use crate::parse::{interrupts, sysfs};
use std::collections::{BTreeMap, BTreeSet};

/// The firmware's IOMMU table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// Intel VT-d.
    Dmar,
    /// AMD-Vi.
    Ivrs,
    /// ARM SMMU.
    Iort,
}

/// What the table says (unknown without root).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableContent {
    /// DMAR flags bit 0, or IVRS: interrupt remapping is offered.
    pub interrupt_remapping: Option<bool>,
    /// DMAR flags bit 1.
    pub x2apic_opt_out: Option<bool>,
    /// DMAR flags bit 2.
    pub platform_opt_in: Option<bool>,
    /// Remapping units described.
    pub units: usize,
    /// Reserved memory (RMRR, IVMD): the device's address (or `0000:00:02.0-0000:00:02.7`, or `all`), first and last byte.
    pub reserved: Vec<(String, u64, u64)>,
}

/// One line of a group's `reserved_regions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// First address.
    pub start: u64,
    /// Last address.
    pub end: u64,
    /// `direct`, `direct-relaxable`, `reserved`, `msi`.
    pub kind: String,
}

/// A member of a group of which a listing shows ids and name, not the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unaddressed {
    /// Vendor and device id.
    pub ids: super::pci::Ids,
    /// As shown.
    pub name: String,
    /// Where.
    pub evidence: super::Evidence,
}

/// One IOMMU group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// `DMA`, `DMA-FQ`, `identity`, …; read for groups that hold more than bridges.
    pub domain_type: Fact<String>,
    /// Reserved regions; read for the same groups.
    pub reserved: Fact<Vec<Reserved>>,
    /// Members that a listing shows without their address; never on a host.
    pub unaddressed: Vec<Unaddressed>,
}

/// The host's IOMMU.
#[derive(Clone, Debug, Default)]
pub struct Iommu {
    /// Which table the firmware gives; absent if none; unknown if that could not be seen.
    pub table: Fact<TableKind>,
    /// What the table says.
    pub content: Fact<TableContent>,
    /// Names in `/sys/class/iommu`: `dmar0`, `ivhd0`, `smmu3.…`. Known and empty: none is running.
    pub units: Fact<Vec<String>>,
    /// Is interrupt remapping on? From `/proc/interrupts`, else from kernel messages, else unknown.
    pub interrupt_remapping: Fact<bool>,
    /// What says so.
    pub interrupt_remapping_evidence: Option<super::Evidence>,
    /// Groups by number.
    pub groups: BTreeMap<u32, Group>,
}

impl Iommu {
    /// Is an IOMMU translating DMA for devices of this host?
    pub fn running(&self) -> Fact<bool> {
        if !self.groups.is_empty() {
            return Fact::Known(true);
        }
        self.units.as_ref().map(|units| !units.is_empty())
    }
}

const TABLES: &str = "/sys/firmware/acpi/tables";
const GROUPS: &str = "/sys/kernel/iommu_groups";

/// Reads the IOMMU's state; tables, types of groups and interrupts only with [`Needs::pci_details`].
pub fn collect(host: &dyn Host, needs: Needs, pci: &Pci) -> Iommu {
    let table = table(host);
    let mut iommu = Iommu {
        units: units(host),
        groups: groups(host, needs, pci),
        table: table.clone().map(|(kind, _)| kind),
        ..Iommu::default()
    };
    if needs.pci_details {
        iommu.content = table.and_then(|(kind, path)| content(host, kind, &path, pci));
        if let Fact::Known(text) = host.text("/proc/interrupts")
            && let Some((on, line, text)) = interrupts::remapping_in_interrupts(&text)
        {
            iommu.interrupt_remapping = Fact::Known(on);
            iommu.interrupt_remapping_evidence = Some(Evidence::at("/proc/interrupts", line, text));
        }
    }
    iommu
}

/// Takes from kernel messages what files did not tell.
pub fn add_log(iommu: &mut Iommu, log: &TextFile) {
    if iommu.interrupt_remapping.is_unknown()
        && let Some((on, line, text)) = interrupts::remapping_in_log(&log.text)
    {
        iommu.interrupt_remapping = Fact::Known(on);
        iommu.interrupt_remapping_evidence = Some(Evidence::at(&log.path, line, text));
    }
}

/// The table's kind and path. The names in the directory can be read by everyone.
fn table(host: &dyn Host) -> Fact<(TableKind, String)> {
    let names = match host.entries(TABLES) {
        Fact::Known(names) => names,
        Fact::Unknown(why) => return Fact::Unknown(why),
        Fact::Absent => return Fact::Unknown(Why::Io(format!("no {TABLES}"))),
    };
    for (name, kind) in [("DMAR", TableKind::Dmar), ("IVRS", TableKind::Ivrs), ("IORT", TableKind::Iort)] {
        if names.iter().any(|found| found == name) {
            return Fact::Known((kind, format!("{TABLES}/{name}")));
        }
    }
    // Every ACPI system has these two (ACPI 6.5, 5.2.9 and 5.2.11.1): without them the directory is a blind.
    if names.iter().any(|name| name == "FACP" || name == "DSDT") {
        Fact::Absent
    } else {
        Fact::Unknown(Why::Io(format!("no tables in {TABLES}")))
    }
}

fn units(host: &dyn Host) -> Fact<Vec<String>> {
    match host.entries("/sys/class/iommu") {
        // The kernel makes the class when it has IOMMU support at all (drivers/iommu/iommu-sysfs.c).
        Fact::Absent => match host.exists("/sys/class") {
            Fact::Known(true) => Fact::Known(Vec::new()),
            Fact::Unknown(why) => Fact::Unknown(why),
            _ => Fact::Unknown(Why::Io("no /sys/class".into())),
        },
        other => other,
    }
}

fn groups(host: &dyn Host, needs: Needs, pci: &Pci) -> BTreeMap<u32, Group> {
    let names = host.entries(GROUPS).into_known().unwrap_or_default();
    let listed = names.iter().filter_map(|name| name.parse().ok());
    let of_functions = pci.functions.iter().filter_map(|function| function.group.known().copied());
    let mut groups: BTreeMap<u32, Group> =
        listed.chain(of_functions).map(|number| (number, Group::default())).collect();
    if needs.pci_details {
        // A group of bridges alone is given to nobody.
        let wanted: BTreeSet<u32> =
            pci.functions.iter().filter(|f| !f.is_bridge()).filter_map(|f| f.group.known().copied()).collect();
        for (number, group) in groups.iter_mut().filter(|(number, _)| wanted.contains(number)) {
            group.domain_type = host.value(&format!("{GROUPS}/{number}/type"));
            let regions = understood(host.value(&format!("{GROUPS}/{number}/reserved_regions")), |text| {
                sysfs::reserved_regions(text)
            });
            group.reserved = regions
                .map(|regions| regions.into_iter().map(|(start, end, kind)| Reserved { start, end, kind }).collect());
        }
    }
    groups
}

fn content(host: &dyn Host, kind: TableKind, path: &str, pci: &Pci) -> Fact<TableContent> {
    host.read(path).and_then(|bytes| {
        let table = match kind {
            TableKind::Dmar => acpi::dmar(&bytes),
            TableKind::Ivrs => acpi::ivrs(&bytes),
            TableKind::Iort => acpi::iort(&bytes),
        };
        Fact::from(table).map(|table| TableContent {
            interrupt_remapping: table.interrupt_remapping,
            x2apic_opt_out: table.x2apic_opt_out,
            platform_opt_in: table.platform_opt_in,
            units: table.units,
            reserved: table
                .reserved
                .iter()
                .flat_map(|region| region.devices.iter().map(|scope| (device(scope, pci), region.start, region.end)))
                .collect(),
        })
    })
}

/// A device of a table as text: its address where it can be told.
fn device(scope: &Scope, pci: &Pci) -> String {
    match scope {
        Scope::All => "all".into(),
        Scope::Range(segment, first, last) if first == last => requester(*segment, *first).to_string(),
        Scope::Range(segment, first, last) => {
            format!("{}-{}", requester(*segment, *first), requester(*segment, *last))
        }
        Scope::Path(segment, bus, steps) => {
            walk(*segment, *bus, steps, pci).map_or_else(|| unresolved(*segment, *bus, steps), |at| at.to_string())
        }
    }
}

/// Follows a path through bridges: behind the first step the bus is the one below the bridge just reached.
fn walk(segment: u16, bus: u8, steps: &[(u8, u8)], pci: &Pci) -> Option<Address> {
    let (first, rest) = steps.split_first()?;
    let mut at = Address { domain: segment.into(), bus, device: first.0, function: first.1 };
    for (device, function) in rest {
        at = pci
            .functions
            .iter()
            .find(|f| f.parent.known() == Some(&at) && (f.address.device, f.address.function) == (*device, *function))?
            .address;
    }
    Some(at)
}

/// A path as it stands in the table, where a bridge on it does not exist: `0000:00:1c.4/00.0`.
fn unresolved(segment: u16, bus: u8, steps: &[(u8, u8)]) -> String {
    let path: Vec<String> = steps.iter().map(|(device, function)| format!("{device:02x}.{function:x}")).collect();
    format!("{segment:04x}:{bus:02x}:{}", path.join("/"))
}

fn requester(segment: u16, id: u16) -> Address {
    Address { domain: segment.into(), bus: (id >> 8) as u8, device: (id >> 3 & 0x1f) as u8, function: (id & 7) as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::pci::{Function, Seen};
    use crate::host::Recorded;

    fn dmar() -> Vec<u8> {
        let mut bytes = b"DMAR".to_vec();
        bytes.extend(74u32.to_le_bytes());
        bytes.resize(36, 0);
        bytes.extend([38, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([1, 0, 26 + 8, 0, 0, 0, 0, 0]);
        bytes.extend(0x7b80_0000u64.to_le_bytes());
        bytes.extend(0x7bff_ffffu64.to_le_bytes());
        bytes.extend([1, 10, 0, 0, 0, 0, 0x1c, 4, 0, 0]);
        let length = bytes.len() as u32;
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    fn pci() -> Pci {
        let at = |text: &str| Address::parse(text).unwrap();
        let mut bridge = Function::unknown(at("00:1c.4"), Seen::Sysfs);
        bridge.parent = Fact::Absent;
        bridge.group = Fact::Known(3);
        let mut device = Function::unknown(at("05:00.0"), Seen::Sysfs);
        device.parent = Fact::Known(at("00:1c.4"));
        device.group = Fact::Known(7);
        let mut other = Function::unknown(at("06:00.0"), Seen::Sysfs);
        other.group = Fact::Known(8);
        Pci { functions: vec![bridge, device, other], missing: None }
    }

    #[test]
    fn a_host_with_vt_d_running() {
        let host = Recorded::builder()
            .add_file("/sys/firmware/acpi/tables/DMAR", dmar())
            .add_file("/sys/firmware/acpi/tables/DSDT", "")
            .add_dir("/sys/class/iommu/dmar0")
            .add_file("/sys/kernel/iommu_groups/7/type", "DMA-FQ\n")
            .add_file("/sys/kernel/iommu_groups/7/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n")
            .add_file("/sys/kernel/iommu_groups/8/reserved_regions", "nonsense\n")
            .add_file("/proc/interrupts", "    CPU0\n  0:   9   IR-IO-APIC  2-edge timer\n")
            .build();
        let iommu = collect(&host, Needs::ALL, &pci());
        assert_eq!(iommu.table, Fact::Known(TableKind::Dmar));
        let content = iommu.content.known().unwrap();
        assert_eq!((content.units, content.interrupt_remapping), (0, Some(true)));
        assert_eq!(content.reserved, [("0000:05:00.0".to_owned(), 0x7b80_0000, 0x7bff_ffff)]);
        assert_eq!(iommu.units, Fact::Known(vec!["dmar0".to_owned()]));
        assert_eq!(iommu.interrupt_remapping, Fact::Known(true));
        assert_eq!(iommu.groups.keys().copied().collect::<Vec<_>>(), [3, 7, 8]);
        assert_eq!(iommu.groups[&7].domain_type, Fact::Known("DMA-FQ".into()));
        assert_eq!(iommu.groups[&7].reserved.known().unwrap()[0].kind, "msi");
        assert!(iommu.groups[&8].reserved.is_unknown());
        assert_eq!(iommu.running(), Fact::Known(true));
    }

    #[test]
    fn no_table_is_absent_only_where_acpi_is_visible() {
        let acpi = Recorded::builder().add_file("/sys/firmware/acpi/tables/FACP", "").build();
        assert_eq!(collect(&acpi, Needs::LIST, &Pci::default()).table, Fact::Absent);
        let tree = Recorded::builder().add_dir("/sys/firmware/devicetree/base").add_dir("/sys/class").build();
        let iommu = collect(&tree, Needs::ALL, &Pci::default());
        assert!(iommu.table.is_unknown());
        assert_eq!(iommu.running(), Fact::Known(false));
        let nothing = Recorded::builder().build();
        let iommu = collect(&nothing, Needs::ALL, &Pci::default());
        assert!(iommu.table.is_unknown() && iommu.units.is_unknown() && iommu.running().is_unknown());
    }

    #[test]
    fn the_log_fills_what_files_left_open() {
        let log = TextFile { path: "dmesg".into(), text: "x\nDMAR-IR: Enabled IRQ remapping in x2apic mode\n".into() };
        let mut iommu = Iommu::default();
        add_log(&mut iommu, &log);
        assert_eq!(iommu.interrupt_remapping, Fact::Known(true));
        assert_eq!(iommu.interrupt_remapping_evidence.and_then(|evidence| evidence.line), Some(2));
        let mut known = Iommu { interrupt_remapping: Fact::Known(false), ..Iommu::default() };
        add_log(&mut known, &log);
        assert_eq!(known.interrupt_remapping, Fact::Known(false));
    }

    #[test]
    fn a_path_over_a_missing_bridge_stays_as_written() {
        assert_eq!(device(&Scope::Path(0, 0, vec![(0x1f, 0), (1, 0)]), &pci()), "0000:00:1f.0/01.0");
        assert_eq!(device(&Scope::Range(1, 0x108, 0x10f), &pci()), "0001:01:01.0-0001:01:01.7");
    }
}

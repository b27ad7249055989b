//! Functions and IOMMU groups of a paste.

use super::unknown;
use crate::facts::iommu::{Group, Unaddressed};
use crate::facts::pci::{Acs, Bar, Function, Header, Ids, Link, PortType, Seen, Sriov};
use crate::facts::{Evidence, Snapshot};
use crate::host::Fact;
use crate::parse::address::Address;
use crate::parse::paste::{Device, Devices, Member, Region};
use std::collections::BTreeMap;

/// `IORESOURCE_*` of include/linux/ioport.h.
const IO: u64 = 0x100;
const MEM: u64 = 0x200;
const PREFETCH: u64 = 0x2000;
const MEM_64: u64 = 0x10_0000;

/// Adds all functions, and the groups that they are in.
pub(super) fn add(snap: &mut Snapshot, name: &str, devices: Devices) {
    let mut behind: BTreeMap<(u32, u8), Address> = BTreeMap::new();
    for (address, device) in &devices.by_address {
        if let Some((first, _)) = device.secondary.filter(|(first, _)| *first != 0) {
            behind.insert((address.domain, first), *address);
        }
    }
    for (address, device) in devices.by_address {
        let above = behind.get(&(address.domain, address.bus)).copied().filter(|above| *above != address);
        let function = function(name, address, device, above);
        if let Fact::Known(group) = function.group {
            snap.iommu.groups.entry(group).or_insert_with(group_of_paste);
        }
        snap.pci.functions.push(function);
    }
}

/// Adds what groups hold without saying where it is.
pub(super) fn add_members(snap: &mut Snapshot, name: &str, members: Vec<Member>) {
    for member in members {
        let group = snap.iommu.groups.entry(member.group).or_insert_with(group_of_paste);
        group.unaddressed.push(Unaddressed {
            ids: Ids { vendor: member.ids.0, device: member.ids.1 },
            name: member.name,
            evidence: Evidence::at(name, member.line, member.text),
        });
    }
}

fn group_of_paste() -> Group {
    Group { domain_type: unknown(), reserved: unknown(), ..Group::default() }
}

fn known<T>(value: Option<T>) -> Fact<T> {
    value.map_or_else(unknown, Fact::Known)
}

/// `Some(None)` is what the text shows to be absent.
fn shown<T>(value: Option<Option<T>>) -> Fact<T> {
    match value {
        Some(Some(value)) => Fact::Known(value),
        Some(None) => Fact::Absent,
        None => unknown(),
    }
}

fn function(name: &str, address: Address, device: Device, above: Option<Address>) -> Function {
    let seen = Seen::Paste(Evidence::at(name, device.line, device.text));
    let ids = |(vendor, device): (u16, u16)| Ids { vendor, device };
    let root_bus = (address.bus == 0).then_some(None);
    let bars = bars(&device.regions);
    let link = device.link_max.zip(device.link_now).map(|((max_speed, max_width), (speed, width))| Link {
        speed,
        width,
        max_speed,
        max_width,
    });
    // Only a listing that shows extended capabilities shows that ACS is not among them.
    let no_acs = device.extended.then_some(None);
    let mut function = Function::unknown(address, seen);
    function.ids = known(device.ids.map(ids));
    function.subsystem = known(device.subsystem.map(ids));
    function.class = known(device.class);
    function.class_name = device.class_name;
    function.revision = known(device.revision);
    function.vendor_name = device.vendor_name;
    function.device_name = device.name;
    function.header = known(device.bridge.map(|bridge| if bridge { Header::Bridge } else { Header::Endpoint }));
    function.driver = shown(device.driver);
    function.driver_override = unknown();
    function.candidates = known(device.modules);
    function.vfio_variants = unknown();
    function.group = shown(device.group);
    function.numa_node = known(device.numa_node);
    function.parent = shown(device.parent.or(above.map(Some)).or(root_bus));
    function.port_type = known(device.port_type.and_then(PortType::from_number));
    function.acs = shown(device.acs.map(|(capable, enabled)| Some(Acs { capable, enabled })).or(no_acs));
    function.reset_methods = known(device.reset_methods);
    function.resettable = known(device.resettable);
    function.flr = known(device.flr);
    function.bars = if bars.is_empty() { unknown() } else { Fact::Known(bars) };
    function.resizable = unknown();
    function.link = known(link);
    function.power_state = known(device.power);
    function.d3cold_allowed = unknown();
    if let Some((line, text)) = device.boot_display {
        function.boot_display = Fact::Known(true);
        function.boot_display_evidence = Some(Evidence::at(name, line, text));
    } else {
        function.boot_display = unknown();
    }
    function.sriov = known(device.sriov.map(|(total, active)| Sriov { total, active, autoprobe: None }));
    function.physical = unknown();
    function.mdevs = unknown();
    function.rom_size = known(device.rom_size);
    function.serial = unknown();
    function.linked = unknown();
    function.dead = known(device.dead.then_some(true));
    function
}

fn bars(regions: &[Region]) -> Vec<Bar> {
    let flags = |region: &Region| {
        let kind = if region.io { IO } else { MEM };
        kind | if region.prefetch { PREFETCH } else { 0 } | if region.wide { MEM_64 } else { 0 }
    };
    regions.iter().map(|r| Bar { index: r.index, start: r.start, size: r.size, flags: flags(r) }).collect()
}

//! What `check` needs of each function besides: capabilities, regions, link, power, SR-IOV, mediated devices.

use super::collect::all_ones;
use super::{Acs, Bar, Function, Link, PortType, Resizable, Sriov};
use crate::facts::attribute::{Attributes, understood};
use crate::host::{Fact, Host, Why};
use crate::parse::address::Address;
use crate::parse::config_space::{ConfigSpace, Found, LinkState};
use crate::parse::sysfs;

pub(super) fn add(function: &mut Function, attributes: &Attributes<'_>, config: &Fact<Vec<u8>>) {
    capabilities(function, config);
    regions(function, attributes);
    function.link = link(attributes, config);
    function.power_state = attributes.value("power_state");
    function.d3cold_allowed = attributes.parsed("d3cold_allowed", sysfs::switch);
    function.driver_override = match attributes.value("driver_override") {
        Fact::Known(text) if text.is_empty() || text == "(null)" => Fact::Absent,
        other => other,
    };
    function.mdevs = Fact::Known(attributes.names().filter(|name| is_uuid(name)).map(str::to_owned).collect());
    let mut linked: Vec<Address> = attributes
        .names()
        .filter_map(|name| name.strip_prefix("consumer:").or_else(|| name.strip_prefix("supplier:")))
        .filter_map(|name| Address::parse(name.strip_prefix("pci:").unwrap_or(name)))
        .collect();
    linked.sort();
    linked.dedup();
    function.linked = Fact::Known(linked);
    if !attributes.is_listed() {
        function.mdevs = Fact::default();
        function.linked = Fact::default();
    }
}

/// Physical or virtual: who is told apart by nothing else is told apart everywhere.
pub(super) fn sriov(function: &mut Function, attributes: &Attributes<'_>) {
    function.sriov = attributes.parsed("sriov_totalvfs", |text| text.parse().ok()).and_then(|total| {
        attributes.parsed("sriov_numvfs", |text| text.parse().ok()).absent_as(0).map(|active| Sriov {
            total,
            active,
            autoprobe: attributes.parsed("sriov_drivers_autoprobe", sysfs::switch).into_known(),
        })
    });
    function.physical = understood(attributes.link("physfn"), |target| sysfs::functions_in(target).last().copied());
}

fn capabilities(function: &mut Function, config: &Fact<Vec<u8>>) {
    let bytes = match config {
        Fact::Known(bytes) => bytes,
        other => {
            let why = other.why().cloned().unwrap_or_else(|| Why::Io("no config".into()));
            function.port_type = Fact::Unknown(why.clone());
            function.acs = Fact::Unknown(why.clone());
            function.flr = Fact::Unknown(why.clone());
            function.serial = Fact::Unknown(why.clone());
            function.resizable = Fact::Unknown(why);
            return;
        }
    };
    let space = ConfigSpace(bytes);
    let dead = space.is_dead();
    function.port_type = fact(space.port_type(), dead).and_then(port_type);
    function.acs = fact(space.acs(), dead).map(|(capable, enabled)| Acs { capable, enabled });
    function.flr = fact(space.flr(), dead);
    function.serial =
        fact(space.serial(), dead).map(|serial| serial.to_be_bytes().map(|byte| format!("{byte:02x}")).join("-"));
    function.resizable = fact(space.resizable(), dead)
        .map(|bars| bars.into_iter().map(|(index, sizes)| Resizable { index, sizes }).collect());
}

fn fact<T>(found: Found<T>, dead: bool) -> Fact<T> {
    match found {
        Found::At(value) => Fact::Known(value),
        Found::None => Fact::Absent,
        Found::Hidden => Fact::Unknown(Why::NotPermitted),
        Found::Broken if dead => Fact::Unknown(all_ones()),
        Found::Broken => Fact::Unknown(Why::Malformed("broken list of capabilities".into())),
    }
}

/// Fills the type of ports whose capabilities only root sees, from the names of their services:
/// `0000:00:1c.0:pcie001`, the type less four in the third last digit (`drivers/pci/pcie/portdrv.c`
/// `get_descriptor_id`).
pub(super) fn port_types_by_service(host: &dyn Host, functions: &mut [Function]) {
    if !functions.iter().any(|function| function.port_type.is_unknown() && function.is_bridge()) {
        return;
    }
    for name in host.entries("/sys/bus/pci_express/devices").into_known().unwrap_or_default() {
        let Some((address, service)) = name.rsplit_once(":pcie") else { continue };
        let (Some(address), Some(service)) = (Address::parse(address), sysfs::hex(service)) else { continue };
        let Ok(at) = functions.binary_search_by_key(&address, |function| function.address) else { continue };
        if let (Some(function), Ok(number)) = (functions.get_mut(at), u8::try_from((service >> 8) + 4))
            && function.port_type.is_unknown()
        {
            function.port_type = port_type(number);
        }
    }
}

fn port_type(number: u8) -> Fact<PortType> {
    PortType::from_number(number)
        .map_or_else(|| Fact::Unknown(Why::Malformed(format!("PCIe port type {number}"))), Fact::Known)
}

/// BARs, expansion ROM, and which sizes a BAR can take. `resourceN_resize` came with Linux 6.1; what it says is what
/// the kernel can do, so it goes before the capability.
fn regions(function: &mut Function, attributes: &Attributes<'_>) {
    let bars = attributes.parsed("resource", sysfs::resources).map(|regions| {
        let bar = |(index, start, size, flags)| Bar { index, start, size, flags };
        regions.into_iter().map(bar).collect::<Vec<_>>()
    });
    function.rom_size = bars
        .as_ref()
        .and_then(|bars| bars.iter().find(|bar| bar.index == 6).map_or(Fact::Absent, |rom| Fact::Known(rom.size)));
    function.bars = bars;
    let resizable: Vec<Resizable> = attributes
        .names()
        .filter_map(|name| name.strip_prefix("resource")?.strip_suffix("_resize")?.parse::<u8>().ok())
        .filter_map(|index| {
            let sizes = attributes.parsed(&format!("resource{index}_resize"), sysfs::hex).into_known()?;
            Some(Resizable { index, sizes })
        })
        .collect();
    if !resizable.is_empty() {
        function.resizable = Fact::Known(resizable);
    }
}

/// The PCIe link: from its registers, which tell in one read what sysfs tells in four files; else from the files.
/// Functions inside the root complex have none (speed `Unknown`, width 0 or 255).
fn link(attributes: &Attributes<'_>, config: &Fact<Vec<u8>>) -> Fact<Link> {
    if let Found::At(link) = config.known().map_or(Found::Hidden, |bytes| ConfigSpace(bytes).link()) {
        let LinkState { speed, width, max_speed, max_width } = link;
        return Fact::Known(Link { speed: speed_name(speed), width, max_speed: speed_name(max_speed), max_width });
    }
    let width = |name: &str| attributes.parsed(name, |text| text.parse::<u32>().ok());
    attributes.value("max_link_speed").and_then(|max_speed| {
        width("max_link_width").and_then(|max_width| {
            if max_speed.starts_with("Unknown") && matches!(max_width, 0 | 255) {
                return Fact::Absent;
            }
            attributes
                .value("current_link_speed")
                .and_then(|speed| width("current_link_width").map(|width| Link { speed, width, max_speed, max_width }))
        })
    })
}

/// A generation as sysfs names it (`pci_speed_string` in `drivers/pci/probe.c`).
fn speed_name(generation: u32) -> String {
    let name = match generation {
        1 => "2.5 GT/s PCIe",
        2 => "5.0 GT/s PCIe",
        3 => "8.0 GT/s PCIe",
        4 => "16.0 GT/s PCIe",
        5 => "32.0 GT/s PCIe",
        6 => "64.0 GT/s PCIe",
        _ => "Unknown",
    };
    name.to_owned()
}

/// `8-4-4-4-12` hex digits: a mediated device's directory.
fn is_uuid(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

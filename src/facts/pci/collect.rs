//! What `list` needs of each function: a dozen system calls.

use super::{Function, Header, Ids, Pci, Seen, details, display, names};
use crate::facts::Needs;
use crate::facts::attribute::{Attributes, understood};
use crate::host::{Fact, Host, Why};
use crate::parse::address::Address;
use crate::parse::config_space::ConfigSpace;
use crate::parse::sysfs;

/// Where sysfs shows the functions.
pub(super) const DEVICES: &str = "/sys/bus/pci/devices";

/// Reads all functions; details only if needed.
pub fn collect(host: &dyn Host, needs: Needs) -> Pci {
    let mut pci = Pci::default();
    match host.entries(DEVICES) {
        Fact::Known(entries) => {
            // What is no address was not put there by the kernel.
            pci.functions = entries
                .iter()
                .filter_map(|name| Address::parse(name).filter(|address| address.to_string() == *name))
                .map(|address| function(host, address, needs))
                .collect();
        }
        Fact::Absent => pci.missing = Some(Why::Io("no /sys/bus/pci".into())),
        Fact::Unknown(why) => pci.missing = Some(why),
    }
    pci.functions.sort_by_key(|function| function.address);
    if needs.pci_details {
        details::port_types_by_service(host, &mut pci.functions);
    }
    display::find_boot_display(host, &mut pci.functions);
    names::add(host, &mut pci.functions);
    pci
}

fn function(host: &dyn Host, address: Address, needs: Needs) -> Function {
    let mut function = Function::unknown(address, Seen::Sysfs);
    let dir = format!("{DEVICES}/{address}");
    function.parent = host.link(&dir).and_then(|target| match sysfs::functions_in(&target).as_slice() {
        [.., parent, last] if *last == address => Fact::Known(*parent),
        [last] if *last == address => Fact::Absent,
        _ => Fact::Unknown(Why::Malformed(target)),
    });
    let attributes = if needs.pci_details { Attributes::listed(host, dir) } else { Attributes::new(host, dir) };
    let config = attributes.bytes("config", (!needs.pci_details).then_some(64));
    identity(&mut function, &attributes, &config);
    function.driver = name_of(attributes.link("driver"));
    function.group = understood(attributes.link("iommu_group"), |target| sysfs::base_name(target)?.parse().ok());
    function.numa_node = match attributes.parsed("numa_node", |text| text.parse::<i64>().ok()) {
        Fact::Known(node) if node < 0 => Fact::Absent,
        other => other.and_then(|node| u32::try_from(node).into()),
    };
    reset(&mut function, &attributes);
    details::sriov(&mut function, &attributes);
    if needs.pci_details {
        details::add(&mut function, &attributes, &config);
    }
    function
}

/// Ids, class, subsystem, revision and header type: from configuration space in one read; from sysfs' own attributes
/// where that does not tell them.
///
/// It does not for a device that sleeps or is gone (all ones), a virtual function (ids are all ones, PCIe SR-IOV
/// 9.3.4.1.1), a class that a kernel quirk corrects (`drivers/pci/quirks.c`), and a bridge's subsystem, which
/// only root sees.
fn identity(function: &mut Function, attributes: &Attributes<'_>, config: &Fact<Vec<u8>>) {
    let bytes = config.known().map_or(&[][..], Vec::as_slice);
    let space = ConfigSpace(bytes);
    let dead = space.is_dead();
    function.dead = match config {
        Fact::Known(_) if dead || space.has_header() => Fact::Known(dead),
        Fact::Known(bytes) => Fact::Unknown(short(bytes)),
        Fact::Absent => Fact::Unknown(Why::Io("no config".into())),
        Fact::Unknown(why) => Fact::Unknown(why.clone()),
    };
    let live = space.has_header() && !dead;
    let hex16 = |name: &str| attributes.parsed(name, |text| u16::try_from(sysfs::hex(text)?).ok());
    let pair = |vendor: &str, device: &str| {
        hex16(vendor).and_then(|vendor| hex16(device).map(|device| Ids { vendor, device }))
    };

    function.ids = match space.ids() {
        Some((vendor, device)) if live && vendor != 0xffff => Fact::Known(Ids { vendor, device }),
        _ => pair("vendor", "device"),
    };
    function.class = match space.class() {
        Some(class) if live && class >> 8 != 0 => Fact::Known(class),
        _ => attributes.parsed("class", |text| u32::try_from(sysfs::hex(text)?).ok()),
    };
    function.revision = match space.revision() {
        Some(revision) if live => Fact::Known(revision),
        _ => attributes.parsed("revision", |text| u8::try_from(sysfs::hex(text)?).ok()),
    };
    function.header = match (space.header_type(), &function.dead) {
        (Some(0), _) if live => Fact::Known(Header::Endpoint),
        (Some(1), _) if live => Fact::Known(Header::Bridge),
        (Some(2), _) if live => Fact::Known(Header::CardBus),
        (Some(other), _) if live => Fact::Unknown(Why::Malformed(format!("header type {other:02x}"))),
        (_, Fact::Unknown(why)) => Fact::Unknown(why.clone()),
        _ => Fact::Unknown(all_ones()),
    };
    let subsystem = match (space.subsystem(), &function.header) {
        (Some((vendor, device)), Fact::Known(Header::Endpoint)) => Fact::Known(Ids { vendor, device }),
        _ => pair("subsystem_vendor", "subsystem_device"),
    };
    function.subsystem = match subsystem {
        Fact::Known(ids) if ids.vendor == 0 || ids.vendor == 0xffff => Fact::Absent,
        other => other,
    };
}

/// Reset methods. `reset_method` came with Linux 5.15; both files are there only if some method is
/// (`drivers/pci/pci.c` `pci_dev_reset_method_attr_is_visible`); it is empty if the user took all away.
fn reset(function: &mut Function, attributes: &Attributes<'_>) {
    (function.reset_methods, function.resettable) = match attributes.value("reset_method") {
        Fact::Known(text) if text.is_empty() => (Fact::Absent, Fact::Known(false)),
        Fact::Known(text) => (Fact::Known(text.split_whitespace().map(str::to_owned).collect()), Fact::Known(true)),
        Fact::Unknown(why) => (Fact::Unknown(why), attributes.exists("reset")),
        Fact::Absent => match attributes.exists("reset") {
            Fact::Known(true) => {
                (Fact::Unknown(Why::Io("not named by this kernel (before 5.15)".into())), Fact::Known(true))
            }
            Fact::Unknown(why) => (Fact::Unknown(why.clone()), Fact::Unknown(why)),
            _ => (Fact::Absent, Fact::Known(false)),
        },
    };
}

/// The last component of a link's target.
fn name_of(target: Fact<String>) -> Fact<String> {
    understood(target, |target| sysfs::base_name(target).map(str::to_owned))
}

fn short(bytes: &[u8]) -> Why {
    Why::Malformed(format!("config space of {} bytes", bytes.len()))
}

/// Why nothing can be read from a device that does not answer.
pub(super) fn all_ones() -> Why {
    Why::Malformed("config space reads as all ones".into())
}

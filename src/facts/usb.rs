//! USB devices and the controller that holds each.
//!
//! Goes in: `/sys/bus/usb/devices` (`Documentation/ABI/testing/sysfs-bus-usb`). Comes out: devices in the order of
//! their controllers and ports. Devices of controllers that are no PCI functions are left out.

use super::attribute::Attributes;
use super::pci::Pci;
use crate::host::{Fact, Host, Why};
use crate::parse::address::Address;
use crate::parse::sysfs;
use std::collections::BTreeMap;

const DEVICES: &str = "/sys/bus/usb/devices";

/// One USB device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsbDevice {
    /// The PCI function of its controller.
    pub controller: Address,
    /// `1-4.2`: bus and ports; root hubs are `usb1`.
    pub port: String,
    /// `vvvv:pppp`, or empty.
    pub ids: String,
    /// Maker and product as the device says, or empty.
    pub name: String,
    /// `keyboard`, `mouse`, `storage`, `hub`, `network`, `bluetooth`, … from its interfaces.
    pub kinds: Vec<&'static str>,
}

/// Reads `/sys/bus/usb/devices`.
pub fn collect(host: &dyn Host, pci: &Pci) -> Fact<Vec<UsbDevice>> {
    let names = match host.entries(DEVICES) {
        Fact::Known(names) => names,
        // A kernel without USB has no such bus; a tree without /sys/bus tells nothing.
        Fact::Absent => {
            return match host.exists("/sys/bus") {
                Fact::Known(true) => Fact::Known(Vec::new()),
                Fact::Known(false) | Fact::Absent => Fact::Unknown(Why::Io("no /sys/bus".into())),
                Fact::Unknown(why) => Fact::Unknown(why),
            };
        }
        Fact::Unknown(why) => return Fact::Unknown(why),
    };
    let mut kinds: BTreeMap<&str, Vec<&'static str>> = BTreeMap::new();
    for name in &names {
        let Some((device, _)) = name.split_once(':') else { continue };
        if let Some(kind) = interface(&Attributes::new(host, format!("{DEVICES}/{name}"))) {
            let kinds = kinds.entry(device).or_default();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    let mut devices: Vec<UsbDevice> = names
        .iter()
        .filter(|name| !name.contains(':'))
        .filter_map(|name| {
            let target = host.link(&format!("{DEVICES}/{name}")).into_known()?;
            let controller = *sysfs::functions_in(&target).last()?;
            let at = Attributes::new(host, format!("{DEVICES}/{name}"));
            let text = |attribute: &str| at.value(attribute).into_known().unwrap_or_default();
            let name_of_device = format!("{} {}", text("manufacturer"), text("product"));
            // The interfaces of a root hub are called `1-0:1.0`.
            let key = name.strip_prefix("usb").map_or_else(|| name.clone(), |bus| format!("{bus}-0"));
            let mut kinds = kinds.get(key.as_str()).cloned().unwrap_or_default();
            if kinds.is_empty() {
                kinds.extend(at.parsed("bDeviceClass", byte).into_known().and_then(|class| kind(class, 0, 0)));
            }
            Some(UsbDevice {
                controller,
                port: name.clone(),
                ids: [text("idVendor"), text("idProduct")].join(":").trim_matches(':').to_owned(),
                name: name_of_device.trim().to_owned(),
                kinds,
            })
        })
        .collect();
    devices.retain(|device| pci.functions.is_empty() || pci.get(&device.controller).is_some());
    devices.sort_by_cached_key(|device| (device.controller, path(&device.port)));
    Fact::Known(devices)
}

fn byte(text: &str) -> Option<u8> {
    sysfs::hex(text)?.try_into().ok()
}

fn interface(at: &Attributes<'_>) -> Option<&'static str> {
    let number = |name: &str| at.parsed(name, byte).into_known();
    let class = number("bInterfaceClass")?;
    kind(class, number("bInterfaceSubClass").unwrap_or(0), number("bInterfaceProtocol").unwrap_or(0))
}

/// What an interface is (USB-IF "Defined Class Codes", <https://www.usb.org/defined-class-codes>).
fn kind(class: u8, subclass: u8, protocol: u8) -> Option<&'static str> {
    Some(match (class, subclass, protocol) {
        (0x01, ..) => "audio",
        // Communications: Ethernet networking models, and modems that carry a network.
        (0x02, 0x06 | 0x0a | 0x0c | 0x0d | 0x0e, _) => "network",
        (0x03, 0x01, 0x01) => "keyboard",
        (0x03, 0x01, 0x02) => "mouse",
        (0x03, ..) => "input",
        (0x07, ..) => "printer",
        (0x08, ..) => "storage",
        (0x09, ..) => "hub",
        (0x0b, ..) => "smartcard",
        (0x0e, ..) => "camera",
        (0xe0, 0x01, 0x01) => "bluetooth",
        (0xe0, 0x01, 0x03) => "network",
        _ => return None,
    })
}

/// `1-4.2` as numbers, so that port 10 comes after port 2; `usb1` before all its ports.
fn path(port: &str) -> Vec<u32> {
    port.trim_start_matches("usb").split(['-', '.']).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Builder, Recorded};

    fn device(host: &mut Builder, path: &str, values: &[(&str, &str)], interfaces: &[(&str, &str, &str, &str)]) {
        let name = path.rsplit('/').next().unwrap();
        let dir = format!("/sys/devices/{path}");
        host.add_values(&dir, values);
        host.add_link(&format!("{DEVICES}/{name}"), &format!("../../../devices/{path}"));
        for (name, class, subclass, protocol) in interfaces {
            let dir = format!("{dir}/{name}");
            host.add_values(
                &dir,
                &[("bInterfaceClass", class), ("bInterfaceSubClass", subclass), ("bInterfaceProtocol", protocol)],
            );
            host.add_link(&format!("{DEVICES}/{name}"), &format!("../../../devices/{path}/{name}"));
        }
    }

    #[test]
    fn devices_by_controller_and_port() {
        let mut host = Recorded::builder();
        let root = "pci0000:00/0000:00:14.0/usb1";
        let hub = [("idVendor", "1d6b"), ("idProduct", "0002"), ("manufacturer", "Linux"), ("product", "xHCI")];
        device(&mut host, root, &hub, &[("1-0:1.0", "09", "00", "00")]);
        let keyboard = [("idVendor", "046d"), ("idProduct", "c31c"), ("product", "USB Keyboard")];
        device(
            &mut host,
            &format!("{root}/1-10"),
            &keyboard,
            &[("1-10:1.0", "03", "01", "01"), ("1-10:1.1", "03", "00", "00")],
        );
        let disk = [("idVendor", "0781"), ("idProduct", "5583")];
        device(&mut host, &format!("{root}/1-2"), &disk, &[("1-2:1.0", "08", "06", "50")]);
        device(&mut host, &format!("{root}/1-2.1"), &[("bDeviceClass", "09")], &[]);
        device(&mut host, "platform/fd500000.usb/usb9", &hub, &[]);
        let devices = collect(&host.build(), &Pci::default()).into_known().unwrap();
        let short: Vec<_> =
            devices.iter().map(|d| (d.port.as_str(), d.ids.as_str(), d.name.as_str(), d.kinds.join(","))).collect();
        assert_eq!(
            short,
            [
                ("usb1", "1d6b:0002", "Linux xHCI", "hub".to_owned()),
                ("1-2", "0781:5583", "", "storage".to_owned()),
                ("1-2.1", "", "", "hub".to_owned()),
                ("1-10", "046d:c31c", "USB Keyboard", "keyboard,input".to_owned()),
            ]
        );
        assert_eq!(devices[0].controller.to_string(), "0000:00:14.0");
    }

    #[test]
    fn no_usb_is_not_unknown() {
        let mut host = Recorded::builder();
        assert!(collect(&host.build(), &Pci::default()).is_unknown());
        host.add_dir("/sys/bus");
        assert_eq!(collect(&host.build(), &Pci::default()), Fact::Known(vec![]));
    }
}

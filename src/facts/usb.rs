//! USB devices and the controller that holds each.

use super::pci::Pci;
use crate::host::{Fact, Host};
use crate::parse::address::Address;

/// One USB device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsbDevice {
    /// The PCI function of its controller.
    pub controller: Address,
    /// `1-4.2`: bus and ports; root hubs are `usb1`.
    pub port: String,
    /// `vvvv:pppp`.
    pub ids: String,
    /// Maker and product as the device says, or empty.
    pub name: String,
    /// `keyboard`, `mouse`, `storage`, `hub`, `network`, `bluetooth`, … from its interfaces.
    pub kinds: Vec<&'static str>,
}

/// Reads `/sys/bus/usb/devices`.
pub fn collect(_host: &dyn Host, _pci: &Pci) -> Fact<Vec<UsbDevice>> {
    Fact::default()
}

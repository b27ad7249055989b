//! Functions that are taken out of the kernel's list and looked for again: what the kernel does for a device that is plugged in.

use super::moves::{long_write, set_again};
use crate::apply::bind::{bound_to, hand_over};
use crate::host::{Fact, HostMut};
use crate::live::dir;
use crate::parse::address::Address;
use serde::{Deserialize, Serialize};
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a function that is looked for is waited for.
const APPEAR: Duration = Duration::from_secs(20);
/// Between two looks.
const TICK: Duration = Duration::from_millis(10);
/// What the kernel forgets with a function, in the order in which it is set again (Linux Documentation/ABI/testing/sysfs-bus-pci). Drivers
/// set the last one themselves.
const KEPT: &[&str] = &["driver_override", "reset_method", "d3cold_allowed", "sriov_drivers_autoprobe", CONTROL];
const CONTROL: &str = "power/control";
/// The number of virtual functions.
const VFS: &str = "sriov_numvfs";

/// Functions, and what the kernel forgets of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// In the order of their addresses.
    functions: Vec<Kept>,
    /// The bridge above them; null on a root bus.
    bridge: Option<Address>,
}

/// What is kept of one function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    address: Address,
    /// Attributes and their values, in order.
    values: Vec<(String, String)>,
    /// The driver that it had.
    driver: Option<String>,
    /// Virtual functions, if it had any.
    vfs: Option<String>,
}

impl Removed {
    /// These functions as they are now; what is not there is left out.
    pub(in crate::live) fn of(host: &dyn HostMut, functions: &[Address], bridge: Option<Address>) -> Removed {
        let there = functions.iter().filter(|address| !host.stat(&dir(address)).is_absent());
        let kept = |address: &Address| {
            let value = |name: &str| match host.value(&format!("{}/{name}", dir(address))) {
                Fact::Known(value) if !value.is_empty() && value != "(null)" => Some(value),
                _ => None,
            };
            Kept {
                address: *address,
                values: KEPT.iter().filter_map(|name| Some(((*name).to_owned(), value(name)?))).collect(),
                driver: bound_to(host, &dir(address)),
                vfs: value(VFS).filter(|count| count != "0"),
            }
        };
        Removed { functions: there.map(kept).collect(), bridge }
    }

    pub(super) fn names(&self) -> String {
        self.functions.iter().map(|kept| kept.address.to_string()).collect::<Vec<_>>().join(" ")
    }

    fn missing(&self, host: &dyn HostMut) -> Option<&Kept> {
        self.functions.iter().find(|kept| host.stat(&dir(&kept.address)).is_absent())
    }

    pub(super) fn make(&self, host: &dyn HostMut) -> io::Result<()> {
        for kept in self.functions.iter().rev() {
            // One behind another of them went with it.
            if !host.stat(&dir(&kept.address)).is_absent() {
                // Not every driver takes its virtual functions away, and those that stay are in the way of new ones.
                if kept.vfs.is_some() {
                    long_write(host, &format!("{}/{VFS}", dir(&kept.address)), "0")?;
                }
                long_write(host, &format!("{}/remove", dir(&kept.address)), "1")?;
            }
        }
        Ok(())
    }

    /// Looks until all are there, and sets again what the kernel forgot, the override before any driver is looked for.
    pub(super) fn back(&self, host: &dyn HostMut) -> io::Result<()> {
        let rescan = self.bridge.map_or("/sys/bus/pci/rescan".to_owned(), |bridge| format!("{}/rescan", dir(&bridge)));
        let end = Instant::now() + APPEAR;
        let mut missing = self.missing(host);
        while missing.is_some() && Instant::now() < end {
            long_write(host, &rescan, "1")?;
            sleep(TICK);
            missing = self.missing(host);
        }
        for kept in self.functions.iter().filter(|kept| !host.stat(&dir(&kept.address)).is_absent()) {
            let dir = dir(&kept.address);
            let set = |wanted: &dyn Fn(&str) -> bool| {
                kept.values
                    .iter()
                    .filter(|(name, _)| wanted(name))
                    .try_for_each(|(name, value)| set_again(host, &format!("{dir}/{name}"), value))
            };
            set(&|name| name != CONTROL)?;
            // The kernel gives a function that appears to the first driver that matches it, whatever `drivers_autoprobe` says
            // (Linux 6.12 drivers/pci/bus.c `pci_bus_add_device`).
            if bound_to(host, &dir) != kept.driver {
                let forced = kept.values.iter().find(|(name, _)| name == "driver_override");
                let forced = forced.map_or("", |(_, value)| value.as_str());
                hand_over(host, &kept.address, forced, kept.driver.as_deref())?;
            }
            set(&|name| name == CONTROL)?;
            if let Some(count) =
                kept.vfs.as_ref().filter(|count| host.value(&format!("{dir}/{VFS}")) != Fact::Known((*count).clone()))
            {
                host.write_attribute(&format!("{dir}/{VFS}"), count)?;
            }
        }
        match missing {
            None => Ok(()),
            Some(kept) => Err(io::Error::other(format!(
                "{} was not found again: reboot, or switch the host off and on",
                kept.address
            ))),
        }
    }
}

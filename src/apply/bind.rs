//! Handing a function to another driver while the host runs, and back.
//!
//! `driver_override`, `unbind` and `bind`: Linux `Documentation/ABI/testing/sysfs-bus-pci`.

use super::execute::{Did, Failure, Work};
use super::journal::{Before, Bound, Left, Progress, Record};
use crate::host::{Fact, Host, HostMut};
use crate::parse::address::Address;
use std::io;

/// Drivers, each with a file that gives it a function.
pub(crate) const DRIVERS: &str = "/sys/bus/pci/drivers";

/// Hands a function over.
pub(super) fn bind(work: &mut Work<'_>, step: usize, address: &Address, driver: &str) -> Did {
    let dir = format!("/sys/bus/pci/devices/{address}");
    let driver_override = match work.host.value(&format!("{dir}/driver_override")) {
        Fact::Known(value) => Some(value).filter(|value| !value.is_empty() && value != "(null)"),
        Fact::Absent => return Err(Failure::new(format!("there is no function {address} any more"))),
        Fact::Unknown(why) => return Err(Failure::new(format!("cannot read {dir}/driver_override: {why}"))),
    };
    let bound = Bound { address: *address, driver: bound_to(work.host, &dir), driver_override };
    work.intent(step, Before { bound: Some(bound), ..Before::default() })?;
    if work.host.stat(&format!("{DRIVERS}/{driver}")).is_absent() {
        work.run(&["modprobe".to_owned(), "--".to_owned(), driver.to_owned()], &format!("{step}-modprobe"))?;
    }
    hand_over(work.host, address, driver, Some(driver)).map_err(|error| Failure::new(error.to_string()))?;
    work.note(&Record::Done { step, after: Vec::new() })
}

/// Gives it back to whom it belonged.
pub(super) fn give_back(work: &Work<'_>, progress: &Progress) -> Did<Vec<Left>> {
    let Some(bound) = progress.before.as_ref().and_then(|before| before.bound.as_ref()) else { return Ok(Vec::new()) };
    let dir = format!("/sys/bus/pci/devices/{}", bound.address);
    // What a reboot or an unplugged device undid needs no undoing.
    if work.host.stat(&dir).is_absent() {
        return Ok(Vec::new());
    }
    let (driver_override, driver) = (bound.driver_override.as_deref().unwrap_or(""), bound.driver.as_deref());
    hand_over(work.host, &bound.address, driver_override, driver).map_err(|error| Failure::new(error.to_string()))?;
    Ok(Vec::new())
}

/// Sets the override, and has `driver` take the function; `None`: no driver. A write that the kernel does not return from is `TimedOut`.
pub(crate) fn hand_over(
    host: &dyn HostMut,
    address: &Address,
    driver_override: &str,
    driver: Option<&str>,
) -> io::Result<()> {
    let dir = format!("/sys/bus/pci/devices/{address}");
    let set = |value: &str| host.write_attribute(&format!("{dir}/driver_override"), value);
    // An override that names another driver (it was set too late) keeps this one from binding: it comes last then.
    let late = driver.is_some_and(|driver| !driver_override.is_empty() && driver_override != driver);
    set(if late { "" } else { driver_override })?;
    let now = bound_to(host, &dir);
    if now.as_deref() != driver {
        if now.is_some() {
            host.write_attribute(&format!("{dir}/driver/unbind"), &address.to_string())?;
        }
        if let Some(driver) = driver {
            host.write_attribute(&format!("{DRIVERS}/{driver}/bind"), &address.to_string())?;
        }
    }
    if late {
        set(driver_override)?;
    }
    let now = bound_to(host, &dir);
    if now.as_deref() == driver {
        return Ok(());
    }
    let name = |driver: Option<&str>| driver.map_or("no driver".to_owned(), str::to_owned);
    Err(io::Error::other(format!("{address} is on {}, not on {}", name(now.as_deref()), name(driver))))
}

/// The driver of the function in a sysfs directory.
pub(crate) fn bound_to(host: &dyn Host, dir: &str) -> Option<String> {
    let link = host.link(&format!("{dir}/driver")).into_known()?;
    link.rsplit('/').next().map(str::to_owned)
}

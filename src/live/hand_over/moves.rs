//! The closed set of changes that hand a device over, each with its way back.
//!
//! The way back is the state that was there, not the opposite of a write: it may be gone any number of times, whether the move was made,
//! half made or not made at all.

use super::removed::Removed;
use crate::apply::bind::{DRIVERS, bound_to, hand_over};
use crate::facts::pci::is_vfio_driver;
use crate::host::change::Command;
use crate::host::{Fact, Host, HostMut};
use crate::parse::address::Address;
use serde::{Deserialize, Serialize};
use std::io;
use std::time::{Duration, Instant};

/// Loading a module takes some seconds; systemd gives a service 90 to stop (systemd-system.conf(5), `DefaultTimeoutStopSec`).
pub(super) const LIMIT: Duration = Duration::from_secs(120);
/// The kernel waits for a device for a minute, more than once (Linux 6.12 drivers/pci/pci.c `PCIE_RESET_READY_POLL_MS`).
pub(in crate::live) const LONG: Duration = Duration::from_secs(200);

/// Is a move made, or taken back?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is made.
    There,
    /// It is taken back.
    Back,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Move {
    /// A function goes to another driver.
    Driver {
        /// Which function.
        address: Address,
        /// Who gets it; null: nobody.
        to: Option<String>,
        /// Who has it.
        from: Option<String>,
        /// The module of that driver, which may be unloaded meanwhile; null where it is built in.
        from_module: Option<String>,
        /// `driver_override` as it was.
        from_override: Option<String>,
    },
    /// The kernel's text console leaves the framebuffers (`/sys/class/vtconsole/NAME/bind`,
    /// Linux Documentation/driver-api/console.rst).
    Console {
        /// `vtcon1`.
        name: String,
    },
    /// A driver lets the firmware's framebuffer go.
    Framebuffer {
        /// `efi-framebuffer`.
        driver: String,
        /// `efi-framebuffer.0`.
        device: String,
    },
    /// An attribute is set for a while.
    Attribute {
        /// Its path.
        path: String,
        /// To what.
        to: String,
        /// What it was.
        from: String,
    },
    /// Functions are taken out of the kernel's list; the way back is to look for them again.
    Removed(Removed),
    /// A service of the init system is stopped.
    Service {
        /// `display-manager.service`.
        unit: String,
    },
}

impl Move {
    /// A function's move from where it is now. Fails if it is not there.
    pub(super) fn driver(host: &dyn Host, address: Address, to: Option<String>) -> io::Result<Move> {
        let dir = format!("/sys/bus/pci/devices/{address}");
        let from_override = match host.value(&format!("{dir}/driver_override")) {
            Fact::Known(value) => Some(value).filter(|value| !value.is_empty() && value != "(null)"),
            Fact::Absent => return Err(gone(&address)),
            Fact::Unknown(why) => return Err(io::Error::other(format!("cannot read {dir}/driver_override: {why}"))),
        };
        let from = bound_to(host, &dir);
        let module = |driver: &String| host.link(&format!("{DRIVERS}/{driver}/module")).into_known();
        let name = |link: String| link.rsplit('/').next().map(str::to_owned);
        let from_module = from.as_ref().and_then(module).and_then(name);
        Ok(Move::Driver { address, to, from, from_module, from_override })
    }

    /// The function that it moves.
    pub fn address(&self) -> Option<Address> {
        match self {
            Move::Driver { address, .. } => Some(*address),
            _ => None,
        }
    }

    /// Is a function with the driver that it was to get?
    pub(super) fn is_made(&self, host: &dyn Host) -> bool {
        matches!(self, Move::Driver { address, to, .. } if bound_to(host, &format!("/sys/bus/pci/devices/{address}")) == *to)
    }

    /// Makes it. A write that the kernel does not return from is `TimedOut`.
    pub(super) fn make(&self, host: &dyn HostMut) -> io::Result<()> {
        match self {
            Move::Driver { address, to, .. } => {
                if host.stat(&format!("/sys/bus/pci/devices/{address}")).is_absent() {
                    return Err(gone(address));
                }
                if let Some(driver) = to {
                    load(host, driver, driver)?;
                }
                // A native driver matches by its own table; vfio-pci has none.
                let driver_override = to.as_deref().filter(|driver| is_vfio_driver(driver)).unwrap_or("");
                hand_over(host, address, driver_override, to.as_deref())
            }
            Move::Console { name } => host.write_attribute(&format!("/sys/class/vtconsole/{name}/bind"), "0"),
            Move::Framebuffer { driver, device } => {
                let dir = platform(driver);
                match host.stat(&format!("{dir}/{device}")).is_absent() {
                    true => Ok(()),
                    false => host.write_attribute(&format!("{dir}/unbind"), device),
                }
            }
            Move::Attribute { path, to, .. } => host.write_attribute(path, to),
            Move::Removed(removed) => removed.make(host),
            Move::Service { unit } => command(host, &["systemctl", "stop", "--", unit], LIMIT),
        }
    }

    /// Brings back what was there before. What is gone needs no way back.
    pub(super) fn back(&self, host: &dyn HostMut) -> io::Result<()> {
        match self {
            Move::Driver { address, from, from_module, from_override, .. } => {
                if host.stat(&format!("/sys/bus/pci/devices/{address}")).is_absent() {
                    return Ok(());
                }
                if let Some(driver) = from {
                    load(host, driver, from_module.as_ref().unwrap_or(driver))?;
                }
                hand_over(host, address, from_override.as_deref().unwrap_or(""), from.as_deref())
            }
            Move::Console { name } => {
                let path = format!("/sys/class/vtconsole/{name}/bind");
                match host.value(&path) {
                    Fact::Known(bound) if bound != "1" => host.write_attribute(&path, "1"),
                    _ => Ok(()),
                }
            }
            Move::Framebuffer { driver, device } => {
                let there = |path: &str| !host.stat(path).is_absent();
                // Where a driver of the card itself came back, the kernel has taken the firmware's framebuffer away.
                match there(&format!("/sys/bus/platform/devices/{device}"))
                    && !there(&format!("{}/{device}", platform(driver)))
                {
                    true => host.write_attribute(&format!("{}/bind", platform(driver)), device),
                    false => Ok(()),
                }
            }
            Move::Attribute { path, from, .. } => set_again(host, path, from),
            Move::Removed(removed) => removed.back(host),
            Move::Service { unit } => command(host, &["systemctl", "start", "--", unit], LIMIT),
        }
    }

    /// What it does on its way, for a person.
    pub fn told(&self, way: Way) -> String {
        match (self, way) {
            (Move::Driver { address, .. }, _) => {
                let [from, to] = self.drivers(way).map(|driver| driver.unwrap_or("no driver"));
                format!("{address}: {from} -> {to}")
            }
            (Move::Console { name }, Way::There) => format!("the text console leaves the screen ({name})"),
            (Move::Console { name }, Way::Back) => format!("the text console is back on the screen ({name})"),
            (Move::Framebuffer { device, .. }, Way::There) => {
                format!("the firmware's framebuffer is let go ({device})")
            }
            (Move::Framebuffer { device, .. }, Way::Back) => format!("the firmware's framebuffer is back ({device})"),
            (Move::Attribute { path, to, .. }, Way::There) => format!("{path} is {to}"),
            (Move::Attribute { path, from, .. }, Way::Back) => format!("{path} is {from} again"),
            (Move::Removed(removed), Way::There) => format!("{} out of the kernel's list", removed.names()),
            (Move::Removed(removed), Way::Back) => format!("{} looked for again", removed.names()),
            (Move::Service { unit }, Way::There) => format!("{unit} is stopped"),
            (Move::Service { unit }, Way::Back) => format!("{unit} is started"),
        }
    }

    /// The drivers that a function leaves and gets; nothing for other moves.
    pub fn drivers(&self, way: Way) -> [Option<&str>; 2] {
        match (self, way) {
            (Move::Driver { to, from, .. }, Way::There) => [from.as_deref(), to.as_deref()],
            (Move::Driver { to, from, .. }, Way::Back) => [to.as_deref(), from.as_deref()],
            _ => [None, None],
        }
    }
}

/// Gives an attribute its former value. Of a list that is refused as a whole each word by itself is tried, because the kernel lists methods of
/// reset that it then refuses (`bus` for a function that it found before its siblings; Linux 6.12 drivers/pci/pci-sysfs.c).
pub(super) fn set_again(host: &dyn HostMut, path: &str, value: &str) -> io::Result<()> {
    match host.value(path) {
        Fact::Known(now) if now != value => {}
        _ => return Ok(()),
    }
    let whole = host.write_attribute(path, value);
    if whole.is_ok() || !path.ends_with("/reset_method") {
        return whole;
    }
    let taken: Vec<&str> = value.split_whitespace().filter(|word| host.write_attribute(path, word).is_ok()).collect();
    if taken.is_empty() { whole } else { host.write_attribute(path, &taken.join(" ")) }
}

fn platform(driver: &str) -> String {
    format!("/sys/bus/platform/drivers/{driver}")
}

fn gone(address: &Address) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no function {address} any more"))
}

/// Loads a driver's module if the driver is not there.
fn load(host: &dyn HostMut, driver: &str, module: &str) -> io::Result<()> {
    match host.stat(&format!("{DRIVERS}/{driver}")).is_absent() {
        true => command(host, &["modprobe", "--", module], LIMIT),
        false => Ok(()),
    }
}

/// Runs a command; what it printed is the reason if it fails.
pub(in crate::live) fn command(host: &dyn HostMut, argv: &[&str], limit: Duration) -> io::Result<()> {
    let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    let done = host.run(&Command { argv: &argv, limit, interrupt: None, holds: None }, &mut |_| ())?;
    match () {
        () if done.success() => Ok(()),
        () if done.late => {
            Err(io::Error::other(format!("`{}` did not end within {} s", argv.join(" "), limit.as_secs())))
        }
        () => {
            let text = done.text();
            let said = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing");
            Err(io::Error::other(format!("`{}` failed: {said}", argv.join(" "))))
        }
    }
}

/// Writes an attribute that the kernel may take minutes over. One that it does not return from is `TimedOut`.
pub(in crate::live) fn long_write(host: &dyn HostMut, path: &str, value: &str) -> io::Result<()> {
    let began = Instant::now();
    let written = command(host, &["sh", "-c", "echo \"$1\" > \"$2\"", "sh", value, path], LONG);
    written.map_err(|error| {
        if began.elapsed() >= LONG {
            return io::Error::new(io::ErrorKind::TimedOut, format!("the kernel does not return from writing {path}"));
        }
        // The shell's own name, line and command stand in front of the reason.
        let text = error.to_string();
        io::Error::other(format!("writing {value} to {path}: {}", text.rsplit(": ").next().unwrap_or(&text)))
    })
}

//! Attributes of a device that are set for a while.

use crate::error::{Error, Result};
use crate::facts::pci::Function;
use crate::host::HostMut;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Waking from D3cold takes 100 ms after the link is up, and some root ports a second (PCIe Base 5.0 section 6.6.1).
const WAKE_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at whether it is awake.
const TICK: Duration = Duration::from_millis(20);

/// An attribute that was set for a while.
pub(super) struct Switch<'a> {
    host: &'a dyn HostMut,
    path: String,
    before: String,
}

impl<'a> Switch<'a> {
    /// Wakes a sleeping device; `None` if it is awake.
    pub(super) fn power(host: &'a dyn HostMut, dir: &str) -> Result<Option<Switch<'a>>> {
        let status = format!("{dir}/power/runtime_status");
        let asleep = |host: &dyn HostMut| host.value(&status).known().is_some_and(|status| status == "suspended");
        if !asleep(host) {
            return Ok(None);
        }
        let path = format!("{dir}/power/control");
        let before = host.value(&path).into_known().unwrap_or_else(|| "auto".to_owned());
        let switch = Switch::set(host, path, before, "on")?;
        let end = Instant::now() + WAKE_LIMIT;
        while asleep(host) {
            if Instant::now() >= end {
                let left = switch.back().err();
                let error =
                    Error::refused(format!("the card sleeps, and did not wake up in {} seconds", WAKE_LIMIT.as_secs()))
                        .hint("vfioneer explain stuck-in-d3");
                return Err(left.into_iter().fold(error, Error::hint));
            }
            sleep(TICK);
        }
        Ok(Some(switch))
    }

    /// Has a device that no driver has decode memory; `None` if it does, or if that is its driver's business.
    pub(super) fn enable(host: &'a dyn HostMut, dir: &str, function: &Function) -> Result<Option<Switch<'a>>> {
        let path = format!("{dir}/enable");
        let off = host.value(&path).known().is_some_and(|enabled| enabled == "0");
        if !off || function.driver.known().is_some() {
            return Ok(None);
        }
        Switch::set(host, path, "0".to_owned(), "1").map(Some)
    }

    fn set(host: &'a dyn HostMut, path: String, before: String, value: &str) -> Result<Switch<'a>> {
        let switch = Switch { host, path, before };
        if let Err(error) = host.write_attribute(&switch.path, value) {
            // It may have come through too late; if not, there is nothing to be set back.
            let _ = switch.back();
            return Err(Error::refused(error.to_string()));
        }
        Ok(switch)
    }

    /// Sets it back; an error says what a person has to do.
    pub(super) fn back(self) -> std::result::Result<(), String> {
        self.host.write_attribute(&self.path, &self.before).map_err(|error| {
            format!("write {} into {} yourself, or reboot: that failed ({error})", self.before, self.path)
        })
    }
}

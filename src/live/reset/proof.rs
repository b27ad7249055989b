//! Is a function well? What it was like before a reset, and what must be true after.
//!
//! The kernel saves configuration space before it resets and writes it back (Linux 6.12 drivers/pci/pci.c `pci_reset_function`), so the
//! registers are those of before.

use crate::host::{Fact, Host};
use crate::live::dir;
use crate::parse::address::Address;
use crate::parse::config_space::ConfigSpace;

/// The standard header of configuration space, in bytes.
const HEADER: usize = 64;
/// The base address registers of an endpoint: six words from here on.
const BARS: usize = 0x10;
/// Counters of errors that cost data or the link (Documentation/ABI/testing/sysfs-bus-pci-devices-aer).
const COUNTERS: [&str; 2] = ["aer_dev_fatal", "aer_dev_nonfatal"];

/// What a function was like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Before {
    address: Address,
    /// Vendor and device id, as the kernel read them when it found the function.
    ids: Option<(u16, u16)>,
    /// Errors so far.
    errors: Vec<Option<u64>>,
}

fn hex(host: &dyn Host, path: &str) -> Option<u16> {
    let value = host.value(path).into_known()?;
    u16::from_str_radix(value.trim_start_matches("0x"), 16).ok()
}

fn config(host: &dyn Host, address: &Address) -> Result<Vec<u8>, String> {
    match host.read_start(&format!("{}/config", dir(address)), HEADER) {
        Fact::Known(bytes) if bytes.len() >= HEADER => Ok(bytes),
        Fact::Known(_) => Err(format!("{address}: its configuration space cannot be read")),
        Fact::Absent => Err(format!("{address} is not there")),
        Fact::Unknown(why) => Err(format!("{address}: its configuration space cannot be read: {why}")),
    }
}

/// The BARs below 4 GiB to which the kernel gave an address, by number (sysfs `resource`: start, end, flags; one line each). What is at zero
/// was given none, and of one above 4 GiB the first register may be zero. A bridge may translate: the address itself is not compared.
fn starts(host: &dyn Host, address: &Address) -> Vec<(usize, u64)> {
    let text = host.text(&format!("{}/resource", dir(address))).into_known().unwrap_or_default();
    let start = |line: &str| u64::from_str_radix(line.split_whitespace().next()?.trim_start_matches("0x"), 16).ok();
    let starts = text.lines().take(6).map(|line| start(line).unwrap_or_default()).enumerate();
    let physical = !is_virtual(host, address);
    starts.filter(|(_, start)| physical && *start != 0 && u32::try_from(*start).is_ok()).collect()
}

/// The sum of one counter; `TOTAL_ERR_FATAL 0` is its last line.
fn errors(host: &dyn Host, address: &Address, counter: &str) -> Option<u64> {
    let text = host.text(&format!("{}/{counter}", dir(address))).into_known()?;
    text.lines().find_map(|line| line.strip_prefix("TOTAL_ERR_")?.split_whitespace().nth(1)?.parse().ok())
}

impl Before {
    /// Looks at a function.
    pub(super) fn of(host: &dyn Host, address: Address) -> Before {
        let read = |name: &str| hex(host, &format!("{}/{name}", dir(&address)));
        Before {
            address,
            ids: read("vendor").zip(read("device")),
            errors: COUNTERS.iter().map(|counter| errors(host, &address, counter)).collect(),
        }
    }

    /// The same, with the errors so far.
    pub(super) fn with_errors_of(&self, host: &dyn Host) -> Before {
        Before { errors: COUNTERS.iter().map(|counter| errors(host, &self.address, counter)).collect(), ..self.clone() }
    }

    /// Is it well now? Else what is wrong. `moved`: the kernel found it anew, and may have given it other addresses.
    pub(super) fn prove(&self, host: &dyn Host, moved: bool) -> Result<(), String> {
        let address = self.address;
        let bytes = config(host, &address)?;
        let space = ConfigSpace(&bytes);
        let shown = |ids: Option<(u16, u16)>| ids.map_or("nothing".to_owned(), |(v, d)| format!("{v:04x}:{d:04x}"));
        // A virtual function shows no ids of its own (PCIe Base 5.0 section 9.3.4.1).
        let ids = space.ids().filter(|ids| *ids != (0xffff, 0xffff) || !is_virtual(host, &address));
        match ids {
            Some((0xffff, _)) => return Err(format!("{address} does not answer: its vendor id reads ffff")),
            now if self.ids.is_some() && now.is_some() && now != self.ids => {
                return Err(format!("{address} says that it is {}, not {}", shown(now), shown(self.ids)));
            }
            _ => {}
        }
        match host.value(&format!("{}/power_state", dir(&address))) {
            Fact::Known(state) if !matches!(state.as_str(), "D0" | "unknown") => {
                return Err(format!("{address} is in {state}, not in D0"));
            }
            _ => {}
        }
        for (number, start) in starts(host, &address) {
            let register = space.u32(BARS + 4 * number).unwrap_or_default();
            if register == u32::MAX || register & !0xf == 0 {
                return Err(format!("{address}: its BAR {number} has no address, and should have {start:#x}"));
            }
        }
        let after = COUNTERS.iter().map(|counter| errors(host, &address, counter));
        // Counters begin anew where the kernel found it anew.
        let grew = |(before, after): (&Option<u64>, Option<u64>)| !moved && after.unwrap_or(0) > before.unwrap_or(0);
        if self.errors.iter().zip(after).any(grew) {
            return Err(format!("{address} reported a PCIe error meanwhile (dmesg has it)"));
        }
        Ok(())
    }
}

fn is_virtual(host: &dyn Host, address: &Address) -> bool {
    host.exists(&format!("{}/physfn", dir(address))) == Fact::Known(true)
}

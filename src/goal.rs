//! What the user wants: one value, whether it comes from the command line or from a file.
//!
//! A [`Request`] is what was asked for, in the words in which it was asked: selectors, so that the same one fits many
//! hosts. Resolved against a host it is a [`Goal`]: addresses.

mod request;

pub use request::Request;

use crate::error::{Error, Result};
use crate::facts::pci::{Function, Pci};
use crate::parse::address::Address;
use std::collections::BTreeSet;

/// How the chosen functions are claimed at boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// By identity (address, ids, slot path, serial number), in the initramfs before native drivers.
    #[default]
    Identity,
    /// By `vfio-pci ids=`, where that takes nothing else.
    Ids,
}

/// What the user wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goal {
    /// The chosen functions, sorted, without duplicates. Empty: the host as it is.
    pub devices: Vec<Address>,
    /// The request that this is the answer to; the other fields are taken from it.
    pub request: Request,
    /// How they are claimed.
    pub method: Method,
    /// Guards that the user has named in `--allow`; the guards know the names.
    pub allow: BTreeSet<String>,
    /// Put the host's own devices into the identity domain: `iommu=pt`.
    pub iommu_pt: bool,
    /// A console besides the display, as the kernel takes it after `console=`: `ttyS0` or `ttyS0,115200`.
    pub serial_console: Option<String>,
    /// Repair what is wrong in today's configuration, too.
    pub repair: bool,
    /// The VM that gets the devices, by id or name.
    pub vm: Option<String>,
    /// How many virtual functions each of the devices makes; then the devices themselves stay with the host.
    pub vfs: Option<u16>,
    /// The ROM that the card's VM shows its guest. Not part of [`Goal::resolve`]: who reads the request's file sets it.
    pub rom: Option<RomFile>,
}

/// A file with an option ROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RomFile {
    /// Where the user has it: an absolute path.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Goal {
    /// Resolves selectors against a host. Choosing a display controller chooses its whole slot, unless `only`; never its
    /// virtual functions.
    ///
    /// A selector is a function (`01:00.0`), a slot (`01:00`), an id (`10de:2684`), or a part of the name.
    /// Fails with a usage error that says what it could have been if one matches nothing, or if a name matches
    /// more than one slot.
    pub fn resolve(selectors: &[String], only: bool, pci: &Pci) -> Result<Goal> {
        let mut devices = Vec::new();
        for selector in selectors {
            for function in select(selector, pci)? {
                devices.push(function.address);
                // A virtual function's slot is its physical one's, too.
                if function.is_display() && !only && function.physical.known().is_none() {
                    let slot = pci.slot(&function.address).filter(|f| f.physical.known().is_none());
                    devices.extend(slot.map(|f| f.address));
                }
            }
        }
        devices.sort();
        devices.dedup();
        Ok(Goal { devices, ..Goal::default() })
    }
}

/// The functions that a selector names; never empty. Where physical functions share a slot, an id or a name with virtual ones,
/// it names the physical ones alone: what is done to one of them is done to all of its virtual ones.
pub fn select<'a>(selector: &str, pci: &'a Pci) -> Result<Vec<&'a Function>> {
    let wanted = selector.trim();
    if wanted.is_empty() {
        return Err(
            Error::usage("an empty device selector names nothing").hint("see `vfioneer list` for what there is")
        );
    }
    if let Some(address) = Address::parse(wanted) {
        return pci.get(&address).map(|f| vec![f]).ok_or_else(|| nothing(wanted, pci));
    }
    if let Some(address) = Address::parse(&format!("{wanted}.0")) {
        return some_or_nothing(physical_first(pci.slot(&address).collect()), wanted, pci);
    }
    let lower = wanted.to_ascii_lowercase();
    if lower.len() == 9 && lower.as_bytes()[4] == b':' && lower.bytes().filter(u8::is_ascii_hexdigit).count() == 8 {
        let matches = |f: &&Function| f.ids.known().is_some_and(|ids| ids.to_string() == lower);
        return some_or_nothing(physical_first(pci.functions.iter().filter(matches).collect()), wanted, pci);
    }
    let named: Vec<&Function> =
        pci.functions.iter().filter(|f| !f.is_bridge() && f.name().to_ascii_lowercase().contains(&lower)).collect();
    let named = physical_first(named);
    let Some(first) = named.first() else { return Err(nothing(wanted, pci)) };
    if named.iter().all(|f| f.address.same_slot(&first.address)) {
        return Ok(named);
    }
    let mut error = Error::usage(format!("{wanted:?} is part of the name of more than one device"));
    for function in named.iter().take(8) {
        error = error.hint(format!("{}  {}", function.address, function.name()));
    }
    Err(error.hint("give the address instead"))
}

/// Without virtual functions, unless there are no others.
fn physical_first(mut found: Vec<&Function>) -> Vec<&Function> {
    if found.iter().any(|f| f.physical.known().is_none()) {
        found.retain(|f| f.physical.known().is_none());
    }
    found
}

fn some_or_nothing<'a>(found: Vec<&'a Function>, wanted: &str, pci: &Pci) -> Result<Vec<&'a Function>> {
    if found.is_empty() { Err(nothing(wanted, pci)) } else { Ok(found) }
}

fn nothing(wanted: &str, pci: &Pci) -> Error {
    let mut error = Error::usage(format!("no PCI function matches {wanted:?}"));
    if pci.functions.is_empty() {
        return error.hint("this host shows no PCI functions at all");
    }
    for function in pci.functions.iter().filter(|f| f.is_candidate()).take(8) {
        error = error.hint(format!("{}  {}", function.address, function.name()));
    }
    error.hint("`vfioneer list --all` shows every function")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::pci::{Ids, Seen};
    use crate::host::Fact;

    /// A display controller with a sound function, and a virtual function of the same slot, ids and name.
    fn pci() -> Pci {
        let at = |text: &str| Address::parse(text).unwrap();
        let function = |address: &str, class: u32, physical: Option<&str>| {
            let mut function = Function::unknown(at(address), Seen::Sysfs);
            function.ids = Fact::Known(Ids { vendor: 0x8086, device: 0x56c0 });
            function.device_name = Some("Flex 170".into());
            function.class = Fact::Known(class);
            function.physical = physical.map_or(Fact::Absent, |physical| Fact::Known(at(physical)));
            function
        };
        Pci {
            functions: vec![
                function("0000:03:00.0", 0x03_8000, None),
                function("0000:03:00.1", 0x04_0300, None),
                function("0000:03:00.2", 0x03_8000, Some("0000:03:00.0")),
                function("0000:03:01.0", 0x03_8000, Some("0000:03:00.0")),
            ],
            ..Pci::default()
        }
    }

    fn chosen(selector: &str) -> Vec<String> {
        let goal = Goal::resolve(&[selector.to_owned()], false, &pci()).unwrap();
        goal.devices.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn physical_functions_come_before_virtual_ones() {
        for selector in ["03:00.0", "03:00", "8086:56c0", "flex"] {
            assert_eq!(chosen(selector), ["0000:03:00.0", "0000:03:00.1"], "{selector}");
        }
        // Named by its address, or where there is nothing else, a virtual one is meant, and it alone.
        assert_eq!(chosen("03:00.2"), ["0000:03:00.2"]);
        assert_eq!(chosen("03:01"), ["0000:03:01.0"]);
    }
}

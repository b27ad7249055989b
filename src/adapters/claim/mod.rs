//! How chosen functions are claimed at boot: the table of claims, or vfio ids.
//!
//! Goes in: a snapshot and the chosen functions. Comes out: the claims that identify them, and the script that takes
//! them in the initramfs. Which function that will be there is decided by the script alone ([`SCRIPT`]); this module
//! writes down the same identity in the same words.

use crate::facts::pci::{Function, Pci, is_vfio_driver};
use crate::goal::Method;
use crate::host::{Fact, Why};
use crate::parse::address::Address;
use crate::parse::claims::{Claim, SlotPath};
use crate::parse::modprobe::module_name;
use std::collections::BTreeSet;

/// The script: the same bytes on every host.
pub const SCRIPT: &str = include_str!("claim.sh");

/// What is to be claimed at boot, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// By vfioneer's script.
    Identity(Vec<Claim>),
    /// By vfio-pci's option.
    Ids(Ids),
}

/// The method of the guides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// `10de:2684`, or `10de:2684:1043:889a` with subsystem ids.
    pub ids: Vec<String>,
    /// Modules that would take the functions otherwise ([`natives`]).
    pub natives: Vec<String>,
}

impl Wanted {
    /// How.
    pub fn method(&self) -> Method {
        match self {
            Wanted::Identity(_) => Method::Identity,
            Wanted::Ids(_) => Method::Ids,
        }
    }

    /// The drivers that take the functions, as the kernel names them; sorted.
    pub fn drivers(&self) -> BTreeSet<&str> {
        match self {
            Wanted::Identity(claims) => claims.iter().map(|claim| claim.driver.as_str()).collect(),
            Wanted::Ids(_) => BTreeSet::from(["vfio-pci"]),
        }
    }
}

/// Why a function cannot be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotClaimable {
    /// There is no function at this address.
    Gone(Address),
    /// Something that identifies it is not known: most often, root is needed.
    Unknown(Address, Why),
    /// A virtual function: it is not there yet when the script runs.
    Virtual(Address),
}

/// The claims of functions, functions of a slot together; for vfio-pci, where nobody knows of a driver made for them.
///
/// A serial number is recorded only if it tells the function from all others of the same ids, subsystem ids and
/// function number: boards exist whose serial numbers are all zeros or all the same.
pub fn claims(pci: &Pci, devices: &[Address]) -> Result<Vec<Claim>, NotClaimable> {
    let devices: BTreeSet<&Address> = devices.iter().collect();
    devices.into_iter().map(|address| claim(pci, address)).collect()
}

/// Modules that take a function if nothing else does, names with `_`: those that match it, and the one that has it.
pub fn natives(function: &Function) -> Vec<String> {
    let mut names: Vec<String> = function.candidates.known().cloned().unwrap_or_default();
    names.extend(function.driver.known().map(|driver| module_name(driver)));
    names.retain(|name| !is_vfio_driver(name));
    names.sort();
    names.dedup();
    names
}

fn claim(pci: &Pci, address: &Address) -> Result<Claim, NotClaimable> {
    let function = pci.get(address).ok_or(NotClaimable::Gone(*address))?;
    if function.physical.known().is_some() {
        return Err(NotClaimable::Virtual(*address));
    }
    let unknown = |why: Why| NotClaimable::Unknown(*address, why);
    let ids = optional(&function.ids).map_err(unknown)?.ok_or_else(|| unknown(Why::NotRead))?;
    let subsystem = optional(&function.subsystem).map_err(unknown)?;
    let path = path(pci, address).map_err(unknown)?;
    let same = |other: &&Function| {
        let (this, other_address) = (function.address, other.address);
        other_address != this
            && other_address.function == this.function
            && other.ids == function.ids
            && other.subsystem == function.subsystem
    };
    let twins: Vec<&Function> = pci.functions.iter().filter(same).collect();
    let serial = optional(&function.serial)
        .map_err(unknown)?
        .filter(|serial| !serial.split('-').all(|byte| byte == "00") && !serial.split('-').all(|byte| byte == "ff"))
        .filter(|serial| twins.iter().all(|twin| !twin.serial.is_unknown() && twin.serial.known() != Some(serial)));
    Ok(Claim {
        address: *address,
        driver: "vfio-pci".to_owned(),
        ids: (ids.vendor, ids.device),
        subsystem: subsystem.map(|ids| (ids.vendor, ids.device)),
        path,
        serial,
        twins: !twins.is_empty(),
    })
}

/// A value, none, or why that is not known.
fn optional<T: Clone>(fact: &Fact<T>) -> Result<Option<T>, Why> {
    match fact {
        Fact::Known(value) => Ok(Some(value.clone())),
        Fact::Absent => Ok(None),
        Fact::Unknown(why) => Err(why.clone()),
    }
}

/// The driver that a module of vfio registers: vfio-pci is called so, its variants by their module
/// (`.name = KBUILD_MODNAME` in Linux 6.12 drivers/vfio/pci/*/main.c; `vfio-pci` in vfio_pci.c).
pub fn driver_of(module: &str) -> &str {
    if module == "vfio_pci" { "vfio-pci" } else { module }
}

/// The way to a function from its root bus.
pub fn path(pci: &Pci, address: &Address) -> Result<SlotPath, Why> {
    let mut hops = vec![*address];
    hops.extend(pci.path_up(address).iter().map(|bridge| bridge.address));
    // A bus behind Intel VMD has a domain of its own: its root bus is below a function of another domain.
    let of_domain = hops.iter().take_while(|hop| hop.domain == address.domain).count();
    let cut = of_domain < hops.len();
    hops.truncate(of_domain);
    let top = hops.last().copied().unwrap_or(*address);
    match pci.get(&top).map(|function| &function.parent) {
        Some(Fact::Unknown(why)) => return Err(why.clone()),
        Some(Fact::Known(parent)) if !cut => return Err(Why::Io(format!("{parent} is not there"))),
        _ => {}
    }
    let hops = hops.iter().rev().map(|hop| (hop.device, hop.function)).collect();
    Ok(SlotPath { domain: top.domain, bus: top.bus, hops })
}

#[cfg(test)]
mod tests;

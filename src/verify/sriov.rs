//! Virtual functions: as many as there should be, for VMs.

use super::device::{Found, SHOWN, driver_line, find};
use super::{Ctx, Judged};
use crate::checks::device::{is_endpoint, list, stands_aside};
use crate::checks::words;
use crate::facts::pci::Function;
use crate::host::Fact;
use crate::parse::address::Address;

/// A physical function has this many virtual ones, each on vfio-pci.
pub(super) fn virtual_functions(ctx: &Ctx<'_>, address: &Address, id: &str, count: u16) -> Judged {
    let about = if count > 0 { "about-vfs" } else { "about-no-vfs" };
    let judged = match find(ctx.snap, address, id) {
        Found::Here(function) | Found::Moved(function) => of(ctx, about, function, count),
        Found::Gone(_) => Judged::fails(about, "gone"),
        Found::Several(all) => Judged::fails(about, "several").value("devices", list(all.iter().map(|f| f.address))),
        Found::Unreadable(why) => Judged::unknown(about, "/sys/bus/pci/devices", &why),
    };
    judged.value("address", address).value("id", id).value("count", count)
}

fn of(ctx: &Ctx<'_>, about: &'static str, function: &Function, count: u16) -> Judged {
    let numbers = function.evidence("sriov_numvfs", String::new()).source;
    let sriov = match &function.sriov {
        Fact::Known(sriov) => sriov,
        Fact::Absent if count == 0 => return Judged::holds(about),
        Fact::Absent => return Judged::fails(about, "vfs-none"),
        Fact::Unknown(why) => return Judged::unknown(about, &numbers, why),
    };
    let active = function.evidence("sriov_numvfs", sriov.active.to_string());
    if sriov.active != u32::from(count) {
        return missing(ctx, about, function, count).value("active", sriov.active).evidence([active]);
    }
    if count == 0 {
        return Judged::holds(about).evidence([active]);
    }
    let parts: Vec<&Function> = ctx.snap.pci.virtual_of(&function.address).collect();
    if let Some(why) = parts.iter().find_map(|part| part.driver.why()) {
        return Judged::unknown(about, "/sys/bus/pci/devices", why);
    }
    let others: Vec<&&Function> = parts.iter().filter(|part| !part.on_vfio()).collect();
    if !others.is_empty() {
        return Judged::fails(about, "vfs-not-taken")
            .value("devices", list(others.iter().map(|part| part.address)))
            .evidence(others.iter().take(SHOWN).map(|part| driver_line(part)));
    }
    if sriov.autoprobe == Some(true) {
        return Judged::fails(about, "vfs-autoprobe").evidence([function.evidence("sriov_drivers_autoprobe", "1")]);
    }
    let grouped = parts.iter().find_map(|part| Some((part, *part.group.known()?, offenders(ctx, part)?)));
    if let Some((part, group, offenders)) = grouped {
        return Judged::fails(about, "vfs-group")
            .value("function", part.address)
            .value("group", group)
            .value("offenders", list(offenders.iter().map(|f| f.address)))
            .evidence(offenders.iter().take(SHOWN).map(|f| driver_line(f)));
    }
    Judged::holds(about).evidence([active])
}

/// What of a virtual function's group the host drives; `None`: nothing.
fn offenders<'a>(ctx: &Ctx<'a>, part: &Function) -> Option<Vec<&'a Function>> {
    let members = ctx.snap.pci.group(*part.group.known()?);
    let offends = |f: &&Function| is_endpoint(f) != Some(false) && stands_aside(f) == Some(false);
    Some(members.filter(offends).collect()).filter(|found: &Vec<&Function>| !found.is_empty())
}

/// The likely reason why the number is another one.
fn missing(ctx: &Ctx<'_>, about: &'static str, function: &Function, count: u16) -> Judged {
    if let Some(same) = ctx.same_boot() {
        return Judged::fails(about, "not-rebooted").evidence([same]);
    }
    if count == 0 {
        return Judged::fails(about, "vfs-there");
    }
    if let Some(line) = ctx.switched_off() {
        return Judged::fails(about, "switched-off").evidence([line]);
    }
    match &function.driver {
        Fact::Absent => return Judged::fails(about, "vfs-no-driver"),
        Fact::Known(driver) if function.on_vfio() => {
            return Judged::fails(about, "vfs-on-vfio").value("driver", driver).evidence([driver_line(function)]);
        }
        _ => {}
    }
    let prefix = format!("vfioneer-sriov: {} ", function.address);
    let said = words::log_lines(ctx.snap, &prefix, SHOWN);
    match said.last() {
        Some(line) => {
            let said = line.text.split_once(&prefix).map_or("", |(_, said)| said).trim_end().to_owned();
            Judged::fails(about, "vfs-said").value("said", said).evidence([line.clone()])
        }
        None => Judged::fails(about, "vfs-unsaid"),
    }
}

//! `--vfs`: virtual functions that a physical one is given at every boot, and now where that is safe. The physical one stays with its driver.

use super::case::Case;
use super::guards::Refusal;
use super::live::loadable;
use super::texts::said;
use crate::adapters::Work;
use crate::adapters::claim::path;
use crate::adapters::sriov::{self, is_for, rules};
use crate::checks::device::list;
use crate::checks::intent;
use crate::facts::own::CLAIMS;
use crate::facts::pci::{Function, Ids, Sriov};
use crate::host::{Fact, Why};
use crate::parse::sriov_rules::Rule;
use crate::steps::{Action, Expectation, Step};

/// What is in the way, but for who uses what there is ([`used`]): nothing allows it.
pub(super) fn refusals(case: &Case<'_>) -> Vec<Refusal> {
    match case.goal.vfs {
        Some(count) => case.physical.iter().filter_map(|function| refusal(case, function, count)).collect(),
        None => case.chosen.iter().filter(|f| has_rule(case, f)).map(|function| makes_others(function)).collect(),
    }
}

/// It cannot both go to a VM and make virtual functions.
fn makes_others(function: &Function) -> Refusal {
    let values = [("device", &*function.name()), ("address", &*function.address.to_string())];
    Refusal::firm("makes-vfs", function.address, &values)
}

fn has_rule(case: &Case<'_>, function: &Function) -> bool {
    rules(case.snap).iter().any(|rule| is_for(case.snap, rule, function))
}

fn refusal(case: &Case<'_>, function: &Function, count: u16) -> Option<Refusal> {
    let device = &*function.name();
    let refuse = |guard, values: &[(&str, &str)]| {
        Some(Refusal::firm(guard, function.address, &[&[("device", device)], values].concat()))
    };
    if let Fact::Known(physical) = &function.physical {
        return refuse("vfs-of-virtual", &[("physical", &physical.to_string())]);
    }
    let total = match &function.sriov {
        Fact::Known(sriov) => sriov.total,
        Fact::Absent => return refuse("vfs-no-capability", &[]),
        Fact::Unknown(why) => return refuse("vfs-unknown", &[("why", &why.to_string())]),
    };
    if count == 0 {
        return None;
    }
    if u32::from(count) > total {
        return refuse("vfs-too-many", &[("count", &count.to_string()), ("total", &total.to_string())]);
    }
    if function.on_vfio() {
        return refuse("vfs-on-vfio", &[]);
    }
    if let Some(place) = claimed(case, function) {
        return refuse("vfs-claimed", &[("place", &place)]);
    }
    let why = rule(case, function, count).err()?.to_string();
    Some(Refusal::firm("unidentified", function.address, &[("device", device), ("why", &why)]))
}

/// What gives the physical function itself to vfio at the next boot.
fn claimed(case: &Case<'_>, function: &Function) -> Option<String> {
    let claims = super::claiming::before(case);
    let path = path(&case.snap.pci, &function.address).ok();
    if claims.iter().any(|claim| claim.address == function.address || Some(&claim.path) == path.as_ref()) {
        return Some(CLAIMS.to_owned());
    }
    let ids = intent::claims(case.snap).into_iter().find(|claim| claim.takes(function) == Some(true))?;
    Some(ids.evidence.source)
}

/// The rule for a function; or why what identifies it is not known.
fn rule(case: &Case<'_>, function: &Function, count: u16) -> Result<Rule, Why> {
    let pair = |fact: &Fact<Ids>| match fact {
        Fact::Known(ids) => Ok(Some((ids.vendor, ids.device))),
        Fact::Absent => Ok(None),
        Fact::Unknown(why) => Err(why.clone()),
    };
    let path = path(&case.snap.pci, &function.address)?;
    let ids = pair(&function.ids)?.ok_or(Why::NotRead)?;
    Ok(Rule { path, ids, subsystem: pair(&function.subsystem)?, count })
}

/// What uses virtual functions that would go away under it, or to VMs: the physical function, and its users.
pub(super) fn used(case: &Case<'_>) -> Vec<(String, String)> {
    let Some(count) = case.goal.vfs else { return Vec::new() };
    let of = |function: &&Function| {
        let stays = function.sriov.known()?.active == u32::from(count);
        let parts = parts(case, function).into_iter().filter(|part| !stays || !part.on_vfio());
        let users: Vec<String> = parts.flat_map(|part| users(case, part)).collect();
        (!users.is_empty()).then(|| (function.address.to_string(), list(users)))
    };
    case.physical.iter().filter(|f| is_ours(case, f)).filter_map(of).collect()
}

/// True unless its virtual functions are to go and are not vfioneer's.
fn is_ours(case: &Case<'_>, function: &Function) -> bool {
    case.goal.vfs != Some(0) || has_rule(case, function)
}

fn users(case: &Case<'_>, part: &Function) -> Vec<String> {
    case.snap.usage.of(&part.address).map(|used| format!("{}: {}", part.address, used.by)).collect()
}

/// The virtual functions that a physical one has now.
fn parts<'a>(case: &Case<'a>, function: &Function) -> Vec<&'a Function> {
    case.snap.pci.virtual_of(&function.address).collect()
}

/// The files, and what else is to be said and expected.
pub(super) fn work(case: &Case<'_>) -> Work {
    let Some(count) = case.goal.vfs else { return Work::default() };
    let before = rules(case.snap);
    let of_other = |rule: &&Rule| !case.physical.iter().any(|f| is_for(case.snap, rule, f));
    let mut wanted: Vec<Rule> = before.iter().filter(of_other).cloned().collect();
    if count > 0 {
        wanted.extend(case.physical.iter().filter_map(|f| rule(case, f, count).ok()));
    }
    wanted.sort_by_key(|rule| rule.path.to_string());
    let mut work = sriov::work(case.snap, &wanted);
    for function in case.physical.iter() {
        let device = function.name();
        let active = function.sriov.known().map_or(0, |sriov| sriov.active);
        if is_ours(case, function) {
            let id = function.ids.known().map(ToString::to_string).unwrap_or_default();
            work.expect.push(Expectation::VirtualFunctions { address: function.address, id, count });
        } else if active > 0 {
            work.notes.push(said("note-vfs-of-others", &[("device", &device)]));
        }
        let above = case.snap.pci.path_up(&function.address);
        if count > 0 && function.group.known().is_some() && above.iter().any(|bridge| bridge.group == function.group) {
            work.notes.push(said("note-vfs-group", &[("device", &device)]));
        }
    }
    work
}

/// A step for each physical function whose number changes now; or why a reboot is needed: the id of the sentence.
pub(super) fn now(case: &Case<'_>) -> Result<Vec<Step>, &'static str> {
    let Some(count) = case.goal.vfs else { return Ok(Vec::new()) };
    let mut steps = Vec::new();
    for function in case.physical.iter().filter(|f| is_ours(case, f)) {
        let Fact::Known(sriov) = &function.sriov else { return Err("live-unseen") };
        let parts = parts(case, function);
        if is_done(sriov, &parts, count) {
            continue;
        }
        if !case.runs() {
            return Err("live-not-running");
        }
        if count > 0 && case.snap.iommu.running() != Fact::Known(true) {
            return Err("live-no-iommu");
        }
        if function.driver.known().is_none() {
            return Err("live-vfs-no-driver");
        }
        if case.snap.usage.complete != Fact::Known(()) || u32::try_from(parts.len()) != Ok(sriov.active) {
            return Err("live-unseen");
        }
        if sriov.active != u32::from(count) && parts.iter().any(|part| !users(case, part).is_empty()) {
            return Err("live-in-use");
        }
        // Made by something else, for the host: what uses them need not show.
        let (true, Ok(former)) = (parts.iter().all(|part| part.on_vfio()), sriov.active.try_into()) else {
            return Err("live-vfs-of-host");
        };
        if count > 0 && !loadable(case) {
            return Err("live-no-driver");
        }
        let why = said(if count > 0 { "vfs-now" } else { "vfs-gone-now" }, &[]);
        steps.push(Step { action: Action::VirtualFunctions { address: function.address, former, count }, why });
    }
    Ok(steps)
}

fn is_done(sriov: &Sriov, parts: &[&Function], count: u16) -> bool {
    sriov.active == u32::from(count)
        && (count == 0 || sriov.autoprobe != Some(true) && parts.iter().all(|part| part.on_vfio()))
}

#[cfg(test)]
mod tests;

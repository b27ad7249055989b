//! What the host does with a chosen function.

use super::{Case, Refusal};
use crate::checks::device::list;
use crate::checks::{intent, words};
use crate::facts::pci::Function;
use crate::facts::usage::{Use, UseKind};
use crate::host::Fact;
use std::collections::BTreeMap;

pub(super) fn refusals(case: &Case<'_>) -> Vec<Refusal> {
    let mut refused = used(case, "in-use");
    refused.extend(dormant_ids(case));
    refused.extend(missing_port(case));
    refused.extend(console(case));
    refused
}

/// What somebody uses now; `of_process` is the sentence about a VM or process that has a function open.
pub(super) fn used(case: &Case<'_>, of_process: &str) -> Vec<Refusal> {
    let mut refused = Vec::new();
    // What is on a vfio driver is used by a VM at most, and stays there.
    for function in case.chosen.iter().filter(|f| !f.on_vfio()) {
        let mut by_guard: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
        for found in case.snap.usage.of(&function.address) {
            if let Some(guard) = guard_of(found) {
                by_guard.entry(guard).or_default().push(&found.by);
            }
        }
        let name = function.name();
        for (guard, users) in by_guard {
            let values = [("device", name.as_str()), ("users", &list(users))];
            let sentence = if guard == "in-use" { of_process } else { guard };
            refused.push(Refusal::allowable(guard, sentence, function.address, &values));
        }
        if let Some(what) = unseen_storage(case, function) {
            refused.push(Refusal::allowable(
                "storage",
                "storage-unseen",
                function.address,
                &[("device", &name), ("what", &what)],
            ));
        }
    }
    refused
}

/// Ids that were given to vfio-pci and took nothing so far, because a native driver came first: a plan has vfio-pci loaded before all others, and
/// then they take what this host needs, from its root on.
fn dormant_ids(case: &Case<'_>) -> Vec<Refusal> {
    if case.chosen.is_empty() || case.adopted.is_some() {
        return Vec::new();
    }
    let others = case.snap.pci.functions.iter().filter(|f| !f.is_bridge() && !f.on_vfio());
    let others: Vec<&Function> = others.filter(|f| !case.chosen.iter().any(|c| c.address == f.address)).collect();
    let mut refused: Vec<Refusal> = Vec::new();
    for claim in intent::claims(case.snap).into_iter().filter(|claim| !super::is_repaired(case, claim)) {
        for function in others.iter().filter(|f| claim.takes(f) == Some(true)) {
            let guarded = |found: &&Use| guard_of(found).is_some_and(|guard| guard != "slices");
            let users: Vec<&str> =
                case.snap.usage.of(&function.address).filter(guarded).map(|found| found.by.as_str()).collect();
            let address = function.address.to_string();
            if users.is_empty() || refused.iter().any(|refusal| refusal.subject == address) {
                continue;
            }
            let place = words::subject(&claim.evidence).to_string();
            let values =
                [("device", address.as_str()), ("ids", &claim.text), ("place", &place), ("users", &list(users))];
            refused.push(Refusal::firm("ids-come-alive", function.address, &values));
        }
    }
    refused
}

/// The port of the serial console that is asked for, and whether it is there; `None`: none is asked for, or that cannot be seen.
fn wanted_port<'a>(case: &Case<'a>) -> Option<Result<&'a str, &'a str>> {
    let console = case.goal.serial_console.as_deref()?;
    let port = console.split(',').next().unwrap_or(console);
    let ports = case.snap.usage.serial_ports.known()?;
    Some(if ports.iter().any(|known| known == port) { Ok(port) } else { Err(port) })
}

fn missing_port(case: &Case<'_>) -> Option<Refusal> {
    let port = wanted_port(case)?.err()?;
    Some(Refusal::firm("serial-console", "host", &[("console", port)]))
}

/// The guard that a use is behind; a picture that the kernel's console shows is only one if there is no other console.
fn guard_of(found: &Use) -> Option<&'static str> {
    Some(match found.kind {
        UseKind::RootStorage => "root-storage",
        UseKind::Storage => "storage",
        UseKind::DefaultRoute => "default-route",
        UseKind::SshSession => "ssh",
        UseKind::Network => "network",
        UseKind::Process | UseKind::RunningVm => "in-use",
        UseKind::Container => "container",
        // A display server is a process that has a node open.
        UseKind::Display => return found.evidence.source.starts_with("/proc/").then_some("in-use"),
        UseKind::VirtualFunctions | UseKind::Mdev => "slices",
        // Judged below, with the goal's serial console.
        UseKind::OnlyConsole => return None,
    })
}

/// A mount or pool that could not be followed to its controller may be on any of them.
fn unseen_storage(case: &Case<'_>, function: &Function) -> Option<String> {
    let storage = function.base_class().is_some_and(|class| class >> 8 == 0x01);
    let seen = case.snap.usage.of(&function.address).any(|u| matches!(u.kind, UseKind::RootStorage | UseKind::Storage));
    // Without a driver it carries nothing.
    if !storage || seen || function.driver.is_absent() || case.snap.usage.unread.is_empty() {
        return None;
    }
    Some(list(case.snap.usage.unread.iter().map(|(what, _)| what.as_str())))
}

/// Every screen is given away, and there is no other way to see the host, or none is known of.
pub(super) fn console(case: &Case<'_>) -> Option<Refusal> {
    // Class 03 02 has no outputs.
    let shows = |f: &&Function| f.is_display() && f.base_class() != Some(0x0302) && !f.on_vfio();
    let mut screens = case.snap.pci.functions.iter().filter(shows).peekable();
    let first = *screens.peek()?;
    if wanted_port(case).is_some_and(|port| port.is_ok())
        || !screens.all(|f| case.chosen.iter().any(|c| c.address == f.address))
    {
        return None;
    }
    let name = first.name();
    let device = [("device", name.as_str())];
    match &case.snap.usage.consoles {
        Fact::Known(others) if others.is_empty() => {
            Some(Refusal::allowable("only-console", "only-console", first.address, &device))
        }
        Fact::Known(_) => None,
        Fact::Absent | Fact::Unknown(_) => {
            Some(Refusal::allowable("only-console", "only-console-unseen", first.address, &device))
        }
    }
}

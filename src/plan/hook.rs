//! A plan that puts the hook of a hypervisor into place, or takes it away: a transaction like any other.

use super::Plan;
use crate::adapters::Work;
use crate::adapters::vm::hook::{self, Place, Wanted};
use crate::facts::Snapshot;
use crate::facts::hooks::Hooks;

/// Into place. Fails with a sentence.
pub fn install(snap: &Snapshot, hooks: &Hooks, wanted: &Wanted) -> Result<Plan, String> {
    Ok(plan(snap, hook::install(snap, hooks, wanted)?, false))
}

/// Away; with a VM, only that one's part.
pub fn remove(snap: &Snapshot, hooks: &Hooks, place: &Place, vm: Option<&str>) -> Result<Plan, String> {
    // A VM is told first that the script is no more.
    Ok(plan(snap, hook::remove(snap, hooks, place, vm)?, matches!(place, Place::Proxmox(_))))
}

fn plan(snap: &Snapshot, work: Work, commands_first: bool) -> Plan {
    let mut plan = Plan::empty(snap);
    let (mut first, second) = match commands_first {
        true => (work.commands, work.files),
        false => (work.files, work.commands),
    };
    first.extend(second);
    plan.steps = first;
    plan.expect = work.expect;
    plan.notes = work.notes;
    plan.manual = work.manual;
    plan
}

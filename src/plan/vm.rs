//! A plan that gives a VM devices, or takes them from it: a transaction like any other. Nothing happens to a VM that runs before it is started anew.

use super::case::Case;
use super::guards::{self, Refusal};
use super::texts::said;
use super::{Plan, rom};
use crate::adapters::Work;
use crate::adapters::vm::{self, Passed};
use crate::facts::Snapshot;
use crate::facts::hypervisor::{Firmware, HypervisorKind, Vm};
use crate::goal::Goal;
use crate::host::Fact;
use crate::parse::address::Address;
use crate::parse::proxmox_conf;

/// How a VM is given devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct How<'a> {
    /// By this cluster mapping, which is made where there is none.
    pub mapping: Option<&'a str>,
}

/// Gives them.
pub fn attach(snap: &Snapshot, goal: &Goal, vm: &Vm, how: How<'_>) -> Plan {
    let case = Case::new(snap, goal);
    let mut plan = Plan { devices: goal.devices.clone(), ..Plan::empty(snap) };
    plan.refused = closed(snap, vm);
    plan.refused.extend(guards::all(&case));
    plan.refused.extend(others(&case, vm));
    let there = given(snap, vm);
    let new: Vec<Address> = case.addresses().into_iter().filter(|address| !there.contains(address)).collect();
    if plan.refused.is_empty() && !new.is_empty() {
        match work(&case, vm, &new, how) {
            Ok(work) => fill(&mut plan, work),
            Err(why) => plan.refused.push(Refusal::told("vm", subject(vm), why)),
        }
        plan.notes.extend(notes(&case, vm, &new));
    }
    finish(plan)
}

/// Takes them.
pub fn detach(snap: &Snapshot, goal: &Goal, vm: &Vm) -> Plan {
    let mut plan = Plan { devices: goal.devices.clone(), ..Plan::empty(snap) };
    plan.refused = closed(snap, vm);
    if plan.refused.is_empty() {
        match vm::detach(snap, vm, &Passed::of(snap, &goal.devices, None)) {
            Ok(work) => fill(&mut plan, work),
            Err(why) => plan.refused.push(Refusal::told("vm", subject(vm), why)),
        }
    }
    if !plan.steps.is_empty() {
        plan.notes.extend(next_start(vm));
    }
    finish(plan)
}

fn work(case: &Case<'_>, vm: &Vm, devices: &[Address], how: How<'_>) -> Result<Work, String> {
    let (rom, mut work) = rom::for_vm(case, vm.kind)?;
    let rom = rom.as_ref().map(|(card, path)| (*card, path.as_str()));
    work.extend(vm::attach(case.snap, vm, &Passed::of(case.snap, devices, rom), how.mapping)?);
    Ok(work)
}

fn fill(plan: &mut Plan, work: Work) {
    plan.steps = work.files;
    plan.steps.extend(work.commands);
    plan.expect = work.expect;
    plan.notes = work.notes;
    plan.manual = work.manual;
}

fn finish(mut plan: Plan) -> Plan {
    plan.applicable = plan.applicable && plan.refused.is_empty() && plan.manual.is_empty();
    plan
}

fn subject(vm: &Vm) -> String {
    format!("vm {}", vm.id)
}

/// The functions that a VM is given already.
fn given(snap: &Snapshot, vm: &Vm) -> Vec<Address> {
    vm.devices.iter().flat_map(|device| snap.hypervisor.functions(device, &snap.pci)).collect()
}

/// Why a VM's configuration is not changed.
fn closed(snap: &Snapshot, vm: &Vm) -> Vec<Refusal> {
    let mut refused: Vec<Refusal> = locked(vm).into_iter().collect();
    if vm.of_nova {
        refused.push(Refusal::firm("vm-of-nova", subject(vm), &[("vm", &vm.id)]));
    }
    if vm.kind == HypervisorKind::Libvirt && vm.machine.is_none() {
        let path = vm.config.known().map(|file| &file.path);
        let unread = snap.hypervisor.unread.iter().find(|(unread, _)| Some(unread) == path).map(|(_, why)| why);
        let why = vm.config.why().or(unread).map(ToString::to_string).unwrap_or_default();
        refused.push(Refusal::firm("vm-unreadable", subject(vm), &[("vm", &vm.id), ("why", &why)]));
    }
    refused
}

/// VMs that are given the devices already.
fn others(case: &Case<'_>, vm: &Vm) -> Vec<Refusal> {
    let mut refused = Vec::new();
    let is = |other: &&Vm| (other.kind, &other.id) != (vm.kind, &vm.id);
    for other in case.snap.hypervisor.vms.iter().filter(is) {
        let theirs = given(case.snap, other);
        let both: Vec<String> =
            case.chosen.iter().filter(|f| theirs.contains(&f.address)).map(|f| f.address.to_string()).collect();
        if !both.is_empty() {
            let values = [("devices", both.join(" ")), ("vm", other.id.clone())];
            let values = values.each_ref().map(|(name, value)| (*name, value.as_str()));
            refused.push(Refusal::allowable("other-vm", "other-vm", subject(other), &values));
        }
    }
    refused.retain(|refusal: &Refusal| !case.allows(refusal.guard));
    refused
}

/// Proxmox VE changes no guest that a backup, a migration or a snapshot has locked.
fn locked(vm: &Vm) -> Option<Refusal> {
    let text = &vm.config.known()?.text;
    let entries = (vm.kind == HypervisorKind::Proxmox).then(|| proxmox_conf::current(text))?;
    let lock = entries.into_iter().find(|entry| entry.key == "lock")?;
    Some(Refusal::firm("vm-locked", subject(vm), &[("vm", &vm.id), ("lock", &lock.value)]))
}

fn next_start(vm: &Vm) -> Option<String> {
    (vm.running == Fact::Known(true)).then(|| said("note-vm-runs", &[("vm", &vm.id)]))
}

/// What the user should know of this VM with these devices.
fn notes(case: &Case<'_>, vm: &Vm, devices: &[Address]) -> Vec<String> {
    let passed = Passed::of(case.snap, devices, None);
    let mut notes: Vec<String> = next_start(vm).into_iter().collect();
    let mut say = |id: &str, value: &str| notes.push(said(id, &[("vm", &vm.id), ("device", value)]));
    let late: Vec<String> = passed.members().filter(|m| !m.claimed).map(|m| m.host.to_string()).collect();
    if !late.is_empty() {
        say("note-vm-unclaimed", &late.join(" "));
    }
    let Some(machine) = &vm.machine else { return notes };
    let display = passed.members().find(|member| member.display).map(|member| member.host.to_string());
    if !machine.pcie {
        say("note-vm-not-pcie", &devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    }
    if let (Some(display), Firmware::SeaBios) = (&display, machine.firmware) {
        say("note-vm-seabios", display);
    }
    if machine.balloon_mib.is_some() {
        say("note-vm-balloon", "");
    }
    let shadowed = case.findings.iter().find(|finding| finding.id == "rom-shadowed");
    if let (Some(_), None) = (shadowed, &case.goal.rom) {
        say("note-vm-rom-shadowed", display.as_deref().unwrap_or_default());
    }
    notes
}

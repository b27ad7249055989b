//! Proxmox VE: a snippet in a storage, and `hookscript` of each VM that it is for, set by `qm`.

use super::{command, script, without};
use crate::adapters::Work;
use crate::facts::Snapshot;
use crate::facts::hooks::{Hooks, SNIPPET, snippet};
use crate::facts::hypervisor::{HypervisorKind, Vm};
use crate::parse::proxmox_conf;
use crate::steps::reasons::reason;

const SCRIPT: &str = include_str!("proxmox");
const SNIPPETS: &str = "snippets";

/// A VM's `hookscript`, if it has one.
fn hookscript(vm: &Vm) -> Option<String> {
    let entries = proxmox_conf::current(&vm.config.known()?.text);
    entries.into_iter().find(|entry| entry.key == "hookscript").map(|entry| entry.value)
}

/// `local:snippets/vfioneer-hook`.
fn is_ours(volume: &str) -> bool {
    volume.rsplit_once(":snippets/").is_some_and(|(_, name)| name == SNIPPET)
}

fn config(vm: &Vm) -> String {
    vm.config.known().map(|file| file.path.clone()).unwrap_or_default()
}

pub(super) fn install(snap: &Snapshot, hooks: &Hooks, id: &str) -> Result<Work, String> {
    let vm = vm(snap, id).ok_or_else(|| reason("hook-no-vm", &[("vm", id)]))?;
    let there = hookscript(vm);
    if let Some(other) = there.as_deref().filter(|volume| !is_ours(volume)) {
        return Err(reason("hook-other-hookscript", &[("vm", id), ("hookscript", other)]));
    }
    let holds = |storage: &&crate::parse::pve_storage::Storage| storage.content.iter().any(|one| one == SNIPPETS);
    let Some(storage) = hooks.storages.iter().find(holds) else {
        let first = hooks.storages.first().ok_or_else(|| reason("hook-no-storage", &[]))?;
        let content: Vec<&str> = first.content.iter().map(String::as_str).chain([SNIPPETS]).collect();
        return Err(reason("hook-no-snippets", &[("storage", &first.id), ("content", &content.join(","))]));
    };
    let mut work = script(hooks, &snippet(storage), SCRIPT, reason("hook-proxmox", &[]))?;
    if hooks.nodes > 1 {
        work.notes.push(reason("hook-proxmox-nodes", &[("vm", id)]));
    }
    if there.is_none() {
        let volume = format!("{}:{SNIPPETS}/{SNIPPET}", storage.id);
        let (argv, undo) = (["qm", "set", id, "--hookscript", &volume], ["qm", "set", id, "--delete", "hookscript"]);
        work.commands.push(command(&argv, &undo, &[&config(vm)], reason("hook-proxmox-set", &[("vm", id)])));
    }
    Ok(work)
}

pub(super) fn remove(snap: &Snapshot, hooks: &Hooks, id: &str) -> Work {
    let mut work = Work::default();
    let Some(vm) = vm(snap, id) else { return work };
    if let Some(volume) = hookscript(vm).filter(|volume| is_ours(volume)) {
        let (argv, undo) = (["qm", "set", id, "--delete", "hookscript"], ["qm", "set", id, "--hookscript", &volume]);
        work.commands.push(command(&argv, &undo, &[&config(vm)], reason("hook-proxmox-unset", &[("vm", id)])));
    }
    let others = snap.hypervisor.vms.iter().filter(|other| other.id != id);
    if others.filter_map(hookscript).any(|volume| is_ours(&volume)) {
        return work;
    }
    for storage in &hooks.storages {
        work.extend(without(hooks, &snippet(storage)));
    }
    work
}

fn vm<'a>(snap: &'a Snapshot, id: &str) -> Option<&'a Vm> {
    snap.hypervisor.vms.iter().find(|vm| vm.kind == HypervisorKind::Proxmox && vm.id == id)
}

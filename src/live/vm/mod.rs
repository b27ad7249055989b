//! What must happen with a VM's devices before it starts and after it has ended.
//!
//! Goes in: a [`Desk`], a VM, its functions, its settings. Comes out: functions that the VM can have, or that are well and back where they
//! belong, and a [`runs::Run`] that says what was done. Before a VM starts every function is proven to be well; after it has ended, too, and
//! only what is not is reset.

pub mod given;
pub mod runs;

use crate::adapters::vm::hook::settings_file;
use crate::apply::bind::bound_to;
use crate::error::{Error, Result};
use crate::facts::Snapshot;
use crate::facts::own::CLAIMS;
use crate::facts::pci::{Function, is_vfio_driver};
use crate::facts::usage::UseKind;
use crate::goal::Goal;
use crate::host::{Caller, Fact, Host};
use crate::live::dir;
use crate::live::hand_over::{Desk, Ledger, Move, Stops, Way, manager};
use crate::live::reset::{climb, prove, slots};
use crate::parse::address::Address;
use crate::parse::claims;
use crate::parse::vm_settings::{Reset, UNRESET, VmSettings};
use crate::plan::reset::ladder;
use crate::plan::{self, guards};
use given::{Book, Given};
use runs::{Phase, Run};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Instant;

/// A VM, by who runs it and what that calls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// `libvirt`, `proxmox`, or `qemu` for one that nobody manages.
    pub kind: String,
    /// `win11`, `105`; empty for a QEMU without a name.
    pub name: String,
}

impl fmt::Display for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.is_empty() {
            true => f.write_str("a VM without a name"),
            false => write!(f, "VM {}", self.name),
        }
    }
}

/// Looks at the host.
pub type Look<'a> = &'a dyn Fn() -> Result<Snapshot>;

/// One VM's start or end at work.
pub struct Task<'a> {
    desk: &'a Desk<'a>,
    look: Look<'a>,
    began: Instant,
    /// What is written down of it.
    pub run: Run,
}

impl<'a> Task<'a> {
    /// Begins.
    pub fn new(desk: &'a Desk<'a>, look: Look<'a>, vm: Vm, phase: Phase, functions: Vec<Address>) -> Task<'a> {
        let when = Caller::new().when;
        let (done, resets) = (Vec::new(), Vec::new());
        let run = Run { when, vm, phase, devices: functions, done, resets, ms: 0, failed: None };
        Task { desk, look, began: Instant::now(), run }
    }

    /// Before the VM starts: its functions are there, well, nobody else's, and on vfio.
    pub fn prepare(mut self, settings: &VmSettings) -> (Run, Result<()>) {
        let done = self.prepared(settings);
        self.ended(done)
    }

    /// After the VM has ended: its functions are well, and what was the host's is the host's again. `settings` count where nobody knows what
    /// the VM started with.
    pub fn release(mut self, settings: &VmSettings) -> (Run, Result<()>) {
        let done = self.released(settings);
        self.ended(done)
    }

    fn ended(mut self, done: Result<()>) -> (Run, Result<()>) {
        self.run.ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.run.failed = done.as_ref().err().map(|error| error.message.clone());
        (self.run, done)
    }

    fn prepared(&mut self, settings: &VmSettings) -> Result<()> {
        let host = self.desk.host();
        let mut book = Book::load(host)?;
        if let Some((other, function)) = book.other(&self.run.vm, &self.run.devices) {
            return Err(Error::refused(format!("{function} was given to {} at {}", other.vm, other.when))
                .hint(format!("if that does not run any more: vfioneer hook run release {function}")));
        }
        if let Some(function) = self.run.devices.iter().find(|function| host.stat(&dir(function)).is_absent()) {
            return Err(Error::refused(format!("there is no function {function} on this host"))
                .hint("`vfioneer list` shows what there is; an address changes when cards are moved"));
        }
        if let (Err(why), false) = (prove(self.desk, &self.run.devices)?, settings.allow.contains(UNRESET)) {
            let names: Vec<String> = self.run.devices.iter().map(ToString::to_string).collect();
            return Err(Error::refused(format!("the device is not well, and is not given to a VM: {why}"))
                .hint(format!("bring it back first: vfioneer reset {}", names.join(" ")))
                .hint(
                    "if nothing helps, reboot; to start the VM all the same: allow = [\"unreset\"] in its settings",
                ));
        }
        // A start that was not followed by an end has taken them already.
        let mut taken = book.of(&self.run.vm).map(|given| given.taken.clone()).unwrap_or_default();
        taken.extend(self.hand_over(settings)?);
        let given = Given {
            vm: self.run.vm.clone(),
            when: self.run.when.clone(),
            functions: self.run.devices.clone(),
            taken,
            settings: settings.clone(),
        };
        book.set(host, &self.run.vm, Some(given))
    }

    /// Hands over what is not on vfio yet. Gives those functions.
    fn hand_over(&mut self, settings: &VmSettings) -> Result<Vec<Address>> {
        let host = self.desk.host();
        // Claimed at boot: there is nothing to look at the whole host for.
        if self.run.devices.iter().all(|one| bound_to(host, &dir(one)).is_some_and(|driver| is_vfio_driver(&driver))) {
            return Ok(Vec::new());
        }
        let snap = self.look()?;
        let mut goal = Goal { devices: self.run.devices.clone(), ..Goal::default() };
        goal.allow.extend(settings.allow.iter().filter(|name| *name != UNRESET).cloned());
        if settings.single_gpu {
            // That the only screen goes is what it means.
            goal.allow.insert("only-console".to_owned());
        }
        let manager = if settings.single_gpu { manager(host) } else { None };
        let stops = Stops { manager, displays: settings.single_gpu, kill: settings.kill };
        let found = plan::hand_over(&snap, &stops.excuse(&snap, &goal));
        if let Some(first) = found.refused.first() {
            return Err(Error::refused(format!("{} cannot be handed over: {}", first.subject, first.reason)));
        }
        if found.functions.is_empty() {
            return Ok(Vec::new());
        }
        let vm = self.run.vm.clone();
        let look = || (self.look)().map(|snap| without(snap, &vm));
        let moves = self.desk.take(&look, &snap, &goal, &found, stops, &mut |_| ())?;
        self.run.done.extend(moves.iter().map(|one| one.told(Way::There)));
        Ok(moves.iter().filter_map(Move::address).collect())
    }

    fn released(&mut self, settings: &VmSettings) -> Result<()> {
        let host = self.desk.host();
        let mut book = Book::load(host)?;
        let given = book.of(&self.run.vm).cloned();
        if let Some(given) = &given {
            let more = given.functions.iter().filter(|function| !self.run.devices.contains(function));
            let more: Vec<Address> = more.copied().collect();
            self.run.devices.extend(more);
        }
        // Where a start was refused because another VM has a device, that one keeps it.
        let others: Vec<Address> =
            self.run.devices.iter().copied().filter(|one| book.other(&self.run.vm, &[*one]).is_some()).collect();
        self.run.devices.retain(|function| !others.contains(function));
        let settings = given.as_ref().map_or(settings, |given| &given.settings);
        let well = self.bring_back(settings);
        let taken = given.as_ref().map(|given| given.taken.as_slice()).unwrap_or_default();
        let returned = match settings.returns() && !taken.is_empty() {
            true => self.give_back(taken),
            false => Ok(()),
        };
        book.set(host, &self.run.vm, None)?;
        well.and(returned)
    }

    /// Proves each slot's functions, and resets those that are not well.
    fn bring_back(&mut self, settings: &VmSettings) -> Result<()> {
        let mut left = Ok(());
        for slot in slots(&self.run.devices) {
            let proof = prove(self.desk, &slot)?;
            let due = match settings.reset {
                Reset::Always => true,
                Reset::Failed => proof.is_err(),
                Reset::Never => false,
            };
            if !due {
                left = left.and(proof.map_err(|why| not_well(&slot, &why)));
                continue;
            }
            let snap = self.look()?;
            let functions: Vec<&Function> = slot.iter().filter_map(|address| snap.pci.get(address)).collect();
            let found = match ladder(&snap, &functions, false, None) {
                Ok(found) if !found.rungs.is_empty() => found,
                // A device that is well and has no reset is no worse for it.
                other => {
                    let why = other.err().unwrap_or_else(|| "it has no way to reset it".to_owned());
                    let why = proof.err().map(|proof| not_well(&slot, &format!("{proof}; {why}")));
                    left = left.and(why.map_or(Ok(()), Err));
                    continue;
                }
            };
            let outcome = climb(self.desk, &found, &mut |_| ())?;
            let Some(main) = slot.first() else { continue };
            match outcome.worked() {
                Some(attempt) => self.run.resets.push((*main, attempt.rung.clone())),
                None => {
                    let tried = outcome
                        .attempts
                        .iter()
                        .filter_map(|attempt| Some(format!("{}: {}", attempt.rung, attempt.failed.as_ref()?)));
                    let why = not_well(&slot, &tried.collect::<Vec<_>>().join("; "));
                    left = left.and(Err(found.advice.into_iter().fold(why, Error::hint)));
                }
            }
        }
        left
    }

    fn give_back(&mut self, taken: &[Address]) -> Result<()> {
        let snap = self.look()?;
        let goal = Goal { devices: taken.to_vec(), ..Goal::default() };
        if let Some(first) = plan::give_back(&snap, &goal).refused.first() {
            return Err(Error::refused(format!("{} stays on vfio: {}", first.subject, first.reason)));
        }
        let functions: Vec<&Function> = taken.iter().filter_map(|address| snap.pci.get(address)).collect();
        let done = self.desk.give_back(&functions, &mut |_| ())?;
        self.run.done.extend(done.iter().map(|(way, one)| one.told(*way)));
        Ok(())
    }

    fn look(&self) -> Result<Snapshot> {
        (self.look)().map(|snap| without(snap, &self.run.vm))
    }
}

/// The host without what a VM's own state files say of it: they are there before it starts, or still there when it has ended. What has a
/// function open counts in any case.
fn without(mut snap: Snapshot, vm: &Vm) -> Snapshot {
    let names = format!("VM {}", vm.name);
    let own = |by: &str| by.strip_prefix(&names).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("));
    snap.usage.uses.retain(|used| used.kind != UseKind::RunningVm || !own(&used.by));
    snap
}

fn not_well(slot: &[Address], why: &str) -> Error {
    let names: Vec<String> = slot.iter().map(ToString::to_string).collect();
    Error::failed(format!("the device is not well after the VM, and is not given to another: {why}"))
        .hint(format!("try: vfioneer reset {}", names.join(" ")))
}

/// A VM's settings; `None` if it has none. Fails where its file cannot be understood.
pub fn settings_of(host: &dyn Host, vm: &Vm) -> Result<Option<VmSettings>> {
    let Some(path) = settings_file(&vm.kind, &vm.name) else { return Ok(None) };
    match host.text(&path) {
        Fact::Absent => Ok(None),
        Fact::Unknown(why) => Err(Error::refused(format!("cannot read {path}: {why}"))),
        Fact::Known(text) => {
            let settings = VmSettings::parse(&text);
            let settings = settings
                .map_err(|why| Error::refused(format!("{path}, {why}")).hint("mend that line, or remove the file"))?;
            check_allowed(&settings).map_err(|error| Error::refused(format!("{path}: {}", error.message)))?;
            Ok(Some(settings))
        }
    }
}

/// Fails where a guard has no such name.
pub fn check_allowed(settings: &VmSettings) -> Result<()> {
    guards::check_names(&settings.allow.iter().filter(|name| *name != UNRESET).cloned().collect())
        .map_err(|error| error.hint("and unreset: a device that is not well"))
}

/// Is one of these functions claimed at boot, or handed over?
pub fn is_managed(host: &dyn Host, functions: &[Address]) -> bool {
    let claims = host.text(CLAIMS).into_known().map(|text| claims::parse(&text).claims).unwrap_or_default();
    claims.iter().any(|claim| functions.contains(&claim.address))
        || Ledger::load(host).is_ok_and(|ledger| ledger.records.iter().any(|record| record.has(functions)))
}

#[cfg(test)]
mod tests;

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
use crate::facts::own::{CLAIMS, SRIOV_RULES};
use crate::facts::pci::{Function, is_vfio_driver};
use crate::facts::usage::{Use, UseKind};
use crate::goal::Goal;
use crate::host::{Caller, Fact, Host};
use crate::live::dir;
use crate::live::hand_over::{Desk, Ledger, Stops, Way, manager};
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
use std::thread::sleep;
use std::time::{Duration, Instant};

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

/// A VM that was started so short ago may not have opened its devices yet, nor even have a process.
const STARTING: u64 = 60;
/// How long a process that still has a device open is waited for.
const CLOSING: Duration = Duration::from_secs(5);
/// Between two looks.
const TICK: Duration = Duration::from_millis(200);

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
    /// Only those of `take` are taken from the host.
    pub fn prepare(mut self, settings: &VmSettings, take: &[Address]) -> (Run, Result<()>) {
        let done = self.prepared(settings, take);
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

    fn prepared(&mut self, settings: &VmSettings, take: &[Address]) -> Result<()> {
        let host = self.desk.host();
        self.make_room()?;
        if let Some(function) = self.run.devices.iter().find(|function| host.stat(&dir(function)).is_absent()) {
            return Err(Error::refused(format!("there is no function {function} on this host"))
                .hint("`vfioneer list` shows what there is; an address changes when cards are moved"));
        }
        let mut book = Book::load(host)?;
        if !settings.allow.contains(UNRESET) {
            let known = book.unwell.iter().find(|unwell| self.run.devices.contains(&unwell.function));
            let known = known.map(|unwell| format!("after another VM: {}", unwell.why));
            if let Some(why) = known.or(prove(self.desk, &self.run.devices)?.err()) {
                let names: Vec<String> = self.run.devices.iter().map(ToString::to_string).collect();
                return Err(Error::refused(format!("the device is not well, and is not given to a VM: {why}"))
                    .hint(format!("bring it back first: vfioneer reset {}", names.join(" ")))
                    .hint(
                        "if nothing helps, reboot; or start the VM all the same: allow = [\"unreset\"] in its settings",
                    ));
            }
        }
        // A start that was not followed by an end has taken them already.
        let before = book.of(&self.run.vm).cloned();
        let taken = before.as_ref().map(|given| given.taken.clone()).unwrap_or_default();
        let given = Given {
            vm: self.run.vm.clone(),
            when: self.run.when.clone(),
            functions: self.run.devices.clone(),
            taken,
            uptime: uptime(host),
            settings: settings.clone(),
            ended: false,
        };
        let done = self.hand_over(&mut book, given, take);
        // What could not be handed over is where it was.
        if done.is_err() {
            book.set(host, &self.run.vm, before)?;
        }
        done
    }

    /// Where another VM was given one of the functions: that one runs, or its end was never told (a start that failed, a host without the
    /// hook), and it is released first.
    fn make_room(&mut self) -> Result<()> {
        // One after the other: each is gone from the book then, or has failed.
        for _ in 0..Book::load(self.desk.host())?.given.len() {
            self.make_room_of_one()?;
        }
        Ok(())
    }

    fn make_room_of_one(&mut self) -> Result<()> {
        let book = Book::load(self.desk.host())?;
        let Some((other, function)) = book.other(&self.run.vm, &self.run.devices) else { return Ok(()) };
        let snap = (self.look)()?;
        let held = |used: &&Use| matches!(used.kind, UseKind::Process | UseKind::RunningVm);
        let user = other.functions.iter().find_map(|one| snap.usage.of(one).find(held)).map(|used| used.by.clone());
        let age = uptime(self.desk.host()).saturating_sub(other.uptime);
        if user.is_some() || !other.ended && age < STARTING {
            let user = user.map(|user| format!(" ({user} has it now)")).unwrap_or_default();
            return Err(Error::refused(format!("{function} was given to {} at {}{user}", other.vm, other.when))
                .hint(format!("if that does not run any more: vfioneer hook run release {function}")));
        }
        let task = Task::new(self.desk, self.look, other.vm.clone(), Phase::Release, other.functions.clone());
        let (run, done) = task.release(&other.settings);
        self.run.done.push(format!("{} had ended: its devices were released", other.vm));
        self.run.done.extend(run.done);
        done
    }

    /// Hands over what is not on vfio yet, of those that may be taken. What is going to be taken is on record before.
    fn hand_over(&mut self, book: &mut Book, mut given: Given, take: &[Address]) -> Result<()> {
        let host = self.desk.host();
        let settings = given.settings.clone();
        let on_vfio = |one: &&Address| bound_to(host, &dir(one)).is_some_and(|driver| is_vfio_driver(&driver));
        let waiting: Vec<Address> = take.iter().filter(|one| !on_vfio(one)).copied().collect();
        // Claimed at boot: there is nothing to look at the whole host for.
        if waiting.is_empty() {
            return book.set(host, &self.run.vm, Some(given));
        }
        let snap = self.look()?;
        // All of them, so that a group is seen whole.
        let mut goal = Goal { devices: self.run.devices.clone(), ..Goal::default() };
        goal.allow.extend(settings.allow.iter().filter(|name| *name != UNRESET).cloned());
        if settings.single_gpu {
            // That the only screen goes is what it means.
            goal.allow.insert("only-console".to_owned());
        }
        let manager = if settings.single_gpu { manager(host) } else { None };
        let stops = Stops { manager, displays: settings.single_gpu, kill: settings.kill };
        let mut found = plan::hand_over(&snap, &stops.excuse(&snap, &goal));
        if let Some(first) = found.refused.first() {
            return Err(Error::refused(format!("{} cannot be handed over: {}", first.subject, first.reason)));
        }
        found.functions.retain(|(address, _)| waiting.contains(address));
        given.taken.extend(found.functions.iter().map(|(address, _)| *address));
        given.taken.sort();
        given.taken.dedup();
        book.set(host, &self.run.vm, Some(given))?;
        let vm = self.run.vm.clone();
        let look = || (self.look)().map(|snap| without(snap, &vm));
        let moves = self.desk.take(&look, &snap, &goal, &found, stops, &mut |_| ())?;
        self.run.done.extend(moves.iter().map(|one| one.told(Way::There)));
        Ok(())
    }

    fn released(&mut self, settings: &VmSettings) -> Result<()> {
        let host = self.desk.host();
        let book = Book::load(host)?;
        let given = book.of(&self.run.vm).cloned();
        if let Some(given) = &given {
            let more = given.functions.iter().filter(|function| !self.run.devices.contains(function));
            let more: Vec<Address> = more.copied().collect();
            self.run.devices.extend(more);
        }
        // Where a start was refused because another VM has a device, that one keeps it.
        self.run.devices.retain(|function| book.other(&self.run.vm, &[*function]).is_none());
        // What was pulled out meanwhile needs no way back.
        let is_gone = |function: &Address| host.stat(&dir(function)).is_absent();
        let gone: Vec<Address> = self.run.devices.iter().copied().filter(is_gone).collect();
        self.run.done.extend(gone.iter().map(|function| format!("{function} is not there any more")));
        self.run.devices.retain(|function| !gone.contains(function));
        let settings = given.as_ref().map_or(settings, |given| &given.settings);
        let well = self.bring_back(settings);
        let mut left =
            given.as_ref().filter(|_| settings.returns()).map(|given| given.taken.clone()).unwrap_or_default();
        left.retain(|function| !gone.contains(function));
        let returned = self.give_back(&mut left);
        // Its next release, or the next start of a VM that wants one of them, tries again.
        let given = given.filter(|_| !left.is_empty()).map(|given| Given { taken: left, ended: true, ..given });
        Book::load(host)?.set(host, &self.run.vm, given)?;
        well.and(returned)
    }

    /// Proves each slot's functions, resets those that are not well, and remembers those that stay so.
    fn bring_back(&mut self, settings: &VmSettings) -> Result<()> {
        let mut left = Ok(());
        for slot in slots(&self.run.devices) {
            let why = self.bring_back_slot(settings, &slot)?;
            Book::load(self.desk.host())?.judge(
                self.desk.host(),
                &slot,
                why.as_ref().map(|error| error.message.as_str()),
            )?;
            left = left.and(why.map_or(Ok(()), Err));
        }
        left
    }

    /// One slot's functions; gives why they are not well.
    fn bring_back_slot(&mut self, settings: &VmSettings, slot: &[Address]) -> Result<Option<Error>> {
        let proof = prove(self.desk, slot)?;
        let due = match settings.reset {
            Reset::Always => true,
            Reset::Failed => proof.is_err(),
            Reset::Never => false,
        };
        if !due {
            return Ok(proof.err().map(|why| not_well(slot, &why)));
        }
        let snap = self.look()?;
        let functions: Vec<&Function> = slot.iter().filter_map(|address| snap.pci.get(address)).collect();
        let found = match ladder(&snap, &functions, false, None) {
            Ok(found) if !found.rungs.is_empty() => found,
            // A device that is well is no worse for having no reset.
            other => {
                let why = other.err().unwrap_or_else(|| "there is no way to reset it".to_owned());
                self.run.done.push(format!("not reset: {why}"));
                return Ok(proof.err().map(|proof| not_well(slot, &format!("{proof}; {why}"))));
            }
        };
        let outcome = climb(self.desk, &found, &mut |_| ())?;
        if let (Some(attempt), Some(main)) = (outcome.worked(), slot.first()) {
            self.run.resets.push((*main, attempt.rung.clone()));
            return Ok(None);
        }
        let tried = outcome.attempts.iter();
        let tried = tried.filter_map(|attempt| Some(format!("{}: {}", attempt.rung, attempt.failed.as_ref()?)));
        let why = not_well(slot, &tried.collect::<Vec<_>>().join("; "));
        Ok(Some(found.advice.into_iter().fold(why, Error::hint)))
    }

    /// Gives back what can go; `taken` is what is left then. What is not well stays away from the host's drivers, of which few stand that.
    fn give_back(&mut self, taken: &mut Vec<Address>) -> Result<()> {
        if taken.is_empty() {
            return Ok(());
        }
        let unwell = Book::load(self.desk.host())?.unwell;
        let until = Instant::now() + CLOSING;
        loop {
            let snap = self.look()?;
            let goal = |function: &Address| Goal { devices: vec![*function], ..Goal::default() };
            let held = |function: &Address| plan::give_back(&snap, &goal(function)).refused.into_iter().next();
            let (stay, go): (Vec<Address>, Vec<Address>) = taken.iter().copied().partition(|function| {
                unwell.iter().any(|unwell| unwell.function == *function) || held(function).is_some()
            });
            let functions: Vec<&Function> = go.iter().filter_map(|address| snap.pci.get(address)).collect();
            let done = if functions.is_empty() { Vec::new() } else { self.desk.give_back(&functions, &mut |_| ())? };
            self.run.done.extend(done.iter().map(|(way, one)| one.told(*way)));
            *taken = stay;
            let Some(refusal) = taken.iter().find_map(held) else { return Ok(()) };
            if Instant::now() >= until {
                let names: Vec<String> = taken.iter().map(ToString::to_string).collect();
                return Err(Error::refused(format!("{} stays on vfio: {}", refusal.subject, refusal.reason))
                    .hint(format!("once that has ended: vfioneer hook run release {}", names.join(" "))));
            }
            sleep(TICK);
        }
    }

    fn look(&self) -> Result<Snapshot> {
        (self.look)().map(|snap| without(snap, &self.run.vm))
    }
}

/// Seconds since the boot (proc_uptime(5)); 0 where nobody says.
fn uptime(host: &dyn Host) -> u64 {
    let text = host.value("/proc/uptime").into_known().unwrap_or_default();
    text.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
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

/// Those of these functions that are claimed at boot, handed over, or virtual ones where vfioneer makes some; all of them where what was handed
/// over cannot be read.
pub fn managed(host: &dyn Host, functions: &[Address]) -> Vec<Address> {
    let claims = host.text(CLAIMS).into_known().map(|text| claims::parse(&text).claims).unwrap_or_default();
    let ledger = Ledger::load(host);
    let there = |path: &str| host.exists(path) == Fact::Known(true);
    let makes = there(SRIOV_RULES);
    let ours = |function: &&Address| {
        makes && there(&format!("{}/physfn", dir(function)))
            || claims.iter().any(|claim| claim.address == **function)
            || ledger.as_ref().map_or(true, |ledger| ledger.records.iter().any(|record| record.has(&[**function])))
    };
    functions.iter().filter(ours).copied().collect()
}

#[cfg(test)]
mod tests;

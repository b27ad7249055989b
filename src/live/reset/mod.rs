//! Resets a device, one way after the other, until it is proven to be well.
//!
//! Goes in: a host that can be changed, and a [`Ladder`]. Comes out: what was tried, what came of it, and how long it took. After each rung
//! the device itself is asked, until it answers or its time is over; nothing sleeps for a fixed time.

pub mod hot;
mod proof;
mod rungs;

use crate::error::{Error, Result};
use crate::host::{Fact, HostMut};
use crate::live::hand_over::{Desk, Move};
use crate::parse::address::Address;
use crate::plan::reset::Ladder;
use proof::Before;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a function may take to answer after the kernel has said that it is done (PCIe Base 5.0 section 6.6.1: 1 s after a
/// conventional reset, longer only with readiness notifications).
const SETTLE: Duration = Duration::from_secs(5);
/// Between two looks.
const TICK: Duration = Duration::from_millis(5);

/// One rung that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its name.
    pub rung: String,
    /// Why it did not help; `None`: the device is well.
    pub failed: Option<String>,
    /// How long it and its proof took.
    pub took: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In order; the last one helped, if one did.
    pub attempts: Vec<Attempt>,
}

impl Outcome {
    /// The rung that helped.
    pub fn worked(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|attempt| attempt.failed.is_none())
    }
}

/// The functions of each slot.
pub fn slots(devices: &[Address]) -> Vec<Vec<Address>> {
    let mut slots: Vec<Vec<Address>> = Vec::new();
    for address in devices {
        match slots.iter_mut().find(|slot| slot.iter().any(|other| other.same_slot(address))) {
            Some(slot) => slot.push(*address),
            None => slots.push(vec![*address]),
        }
    }
    slots
}

/// Is every function well as it is? Else what is wrong.
pub fn prove(desk: &Desk<'_>, functions: &[Address]) -> Result<std::result::Result<(), String>> {
    let host = desk.host();
    let mut proof = Ok(());
    let work = || {
        awake(host, functions);
        proof = functions.iter().try_for_each(|address| Before::of(host, *address).prove(host, false));
        Ok(())
    };
    desk.during(waking(host, functions), work)?.map_err(|error| Error::refused(error.to_string()))?;
    Ok(proof)
}

/// What keeps functions awake: vfio-pci lets a device sleep that nobody has open (`disable_idle_d3`), and what sleeps answers with ones.
fn waking(host: &dyn HostMut, functions: &[Address]) -> Vec<Move> {
    let asleep = functions.iter().filter(|address| is_asleep(host, address));
    let paths = asleep.map(|address| format!("/sys/bus/pci/devices/{address}/power/control"));
    let awake = |path: String| {
        let from = host.value(&path).into_known()?;
        Some(Move::Attribute { path, to: "on".to_owned(), from })
    };
    paths.filter_map(awake).collect()
}

fn is_asleep(host: &dyn HostMut, address: &Address) -> bool {
    host.value(&format!("/sys/bus/pci/devices/{address}/power/runtime_status")) == Fact::Known("suspended".into())
}

/// Waits until functions are awake. One that does not wake up is what a reset is for.
fn awake(host: &dyn HostMut, functions: &[Address]) {
    let end = Instant::now() + SETTLE;
    while functions.iter().any(|address| is_asleep(host, address)) && Instant::now() < end {
        sleep(TICK);
    }
}

/// Climbs the ladder.
pub fn climb(desk: &Desk<'_>, ladder: &Ladder, told: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let host = desk.host();
    let mut climbed = Ok(Outcome::default());
    let work = || {
        awake(host, &ladder.functions);
        climbed = rungs_of(desk, ladder, told);
        Ok(())
    };
    desk.during(waking(host, &ladder.functions), work)?.map_err(|error| Error::refused(error.to_string()))?;
    climbed
}

fn rungs_of(desk: &Desk<'_>, ladder: &Ladder, told: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let host = desk.host();
    let before: Vec<Before> = ladder.functions.iter().map(|address| Before::of(host, *address)).collect();
    let mut outcome = Outcome::default();
    for rung in &ladder.rungs {
        if host.interrupt().asked() {
            break;
        }
        told(rung.name());
        let began = Instant::now();
        let moved = rung.name() == "rescan";
        // Errors of an earlier rung are not this one's.
        let before: Vec<Before> = before.iter().map(|one| one.with_errors_of(host)).collect();
        let taken = rungs::take(desk, rung, ladder)?;
        let hangs = taken.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut);
        let done = taken.map_err(|error| error.to_string()).and_then(|()| settled(host, &before, moved));
        let failed = done.err();
        let helped = failed.is_none();
        outcome.attempts.push(Attempt { rung: rung.name().to_owned(), failed, took: began.elapsed() });
        // The kernel holds the device's lock then, and whatever is tried next would wait for it, and others for that.
        if helped || hangs {
            break;
        }
    }
    Ok(outcome)
}

/// Waits until every function is well.
fn settled(host: &dyn HostMut, before: &[Before], moved: bool) -> std::result::Result<(), String> {
    let end = Instant::now() + SETTLE;
    loop {
        let all = before.iter().try_for_each(|one| one.prove(host, moved));
        match all {
            Err(_) if Instant::now() < end => sleep(TICK),
            all => return all,
        }
    }
}

//! Functions are handed over once nobody uses them, by force where that was asked for.

use super::{Desk, Event, Listener, Move, end, holders};
use crate::error::Result;
use crate::facts::usage::UseKind;
use crate::facts::{Needs, Snapshot};
use crate::goal::Goal;
use crate::parse::address::Address;
use crate::plan::{self, HandOver};
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What is needed to know who is in the way.
pub const NEEDS: Needs =
    Needs { pci_details: true, candidates: true, kernel: true, usage: true, vms: true, ..Needs::LIST };
/// The guard that stopping a display manager and ending processes are for.
const IN_USE: &str = "in-use";
/// How long users of a device are waited for once their display manager has stopped.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const TICK: Duration = Duration::from_millis(100);

/// How the way is made free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stops {
    /// The display manager's unit that is stopped first, if one is.
    pub manager: Option<&'static str>,
    /// Stopping it was asked for, whether one runs or not.
    pub displays: bool,
    /// Processes that have the functions open are ended.
    pub kill: bool,
}

impl Stops {
    /// The goal as it is judged first: what is going to be stopped is not in the way yet.
    pub fn excuse(self, snap: &Snapshot, goal: &Goal) -> Goal {
        let mut goal = goal.clone();
        let vm = snap.usage.uses.iter().any(|u| u.kind == UseKind::RunningVm && goal.devices.contains(&u.address));
        if self.kill || self.displays && !vm {
            goal.allow.insert(IN_USE.to_owned());
        }
        goal
    }

    /// The service that is stopped, as a move.
    pub fn service(self) -> Option<Move> {
        self.manager.map(|unit| Move::Service { unit: unit.to_owned() })
    }
}

impl Desk<'_> {
    /// Hands over what was found. `look` looks at the host again, before the first function leaves its driver. Gives the moves that were
    /// made.
    pub fn take(
        &self,
        look: &dyn Fn() -> Result<Snapshot>,
        snap: &Snapshot,
        goal: &Goal,
        found: &HandOver,
        stops: Stops,
        listen: Listener<'_>,
    ) -> Result<Vec<Move>> {
        let mut moves: Vec<Move> = stops.service().into_iter().collect();
        moves.extend(self.moves(snap, &found.functions)?);
        let waiting: Vec<Address> = found.functions.iter().map(|(address, _)| *address).collect();
        let mut free = || self.free(look, goal, &waiting, stops);
        self.make(moves.clone(), &mut free, &mut |event: Event<'_>| listen(event))?;
        Ok(moves)
    }

    /// Waits until nothing has the functions open any more.
    fn free(
        &self,
        look: &dyn Fn() -> Result<Snapshot>,
        goal: &Goal,
        waiting: &[Address],
        stops: Stops,
    ) -> io::Result<()> {
        // What a display manager had started ends after it, and lets its nodes go then.
        let until = Instant::now() + if stops.displays { PATIENCE } else { Duration::ZERO };
        let mut ended = !stops.kill;
        loop {
            let snap = look().map_err(|error| io::Error::other(error.to_string()))?;
            let first = plan::hand_over(&snap, goal).refused.into_iter().next();
            let Some(first) = first else { return Ok(()) };
            if Instant::now() < until {
                sleep(TICK);
            } else if !std::mem::replace(&mut ended, true) {
                end(self.host(), &holders(&snap.usage, waiting))?;
            } else {
                return Err(io::Error::other(format!("{}: {}", first.guard, first.reason.trim_end_matches('.'))));
            }
        }
    }
}

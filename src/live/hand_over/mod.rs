//! Handing functions to vfio now, and taking them back, without a reboot and without a trace after one.
//!
//! Goes in: a host that can be changed, and what [`crate::plan::hand_over`] found. Comes out: the functions on their new drivers, read back,
//! or everything as it was. What was handed over is in a [`Ledger`] in `/run` before the first move, so that whatever ends the program, the
//! next one takes back what was half done.

mod display;
mod ledger;
mod moves;
mod native;
mod removed;
mod take;
mod users;

pub use ledger::{Ledger, Record, State};
pub(super) use moves::{LONG, command, long_write};
pub use moves::{Move, Way};
pub(super) use removed::Removed;
pub use take::{NEEDS, Stops};
pub use users::{end, holders, manager};

use crate::error::{Error, Kind, Result};
use crate::facts::Snapshot;
use crate::facts::pci::{Function, is_vfio_driver};
use crate::host::change::Lock;
use crate::host::{self, Caller, HostMut};
use crate::parse::address::Address;
use ledger::DIR;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The lock of commands that hand over; not that of transactions, which may take minutes.
const LOCK: &str = "/run/vfioneer/lock";
/// How long another command is waited for: a VM that starts must not fail because one beside it does.
const WAIT: Duration = Duration::from_secs(120);
/// Between two looks.
const TICK: Duration = Duration::from_millis(20);

/// What is told while it works.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A move is made, or taken back.
    Move(Way, &'a Move),
    /// What was interrupted is taken back first.
    Recovering,
}

/// Who listens.
pub type Listener<'a> = &'a mut dyn FnMut(Event<'_>);

/// One command at work; no other hands anything over meanwhile.
pub struct Desk<'a> {
    host: &'a dyn HostMut,
    _lock: Lock,
}

impl<'a> Desk<'a> {
    /// Waits for its turn. Refuses, with nothing changed, whoever may not change this host, and a host that does not run.
    pub fn open(host: &'a dyn HostMut, caller: &Caller) -> Result<Desk<'a>> {
        if host.kind() != host::Kind::Live {
            return Err(Error::refused(format!("{} does not run: nothing can be handed over there", host.label()))
                .hint("run the command on the host itself, without --root and --from"));
        }
        if !caller.is_root() {
            return Err(
                Error::refused("handing devices over needs root").hint(format!("sudo {}", caller.argv.join(" ")))
            );
        }
        let cannot = |error: io::Error| Error::refused(format!("cannot write in {DIR}: {error}"));
        host.make_dir(DIR, true).map_err(cannot)?;
        let end = Instant::now() + WAIT;
        loop {
            if let Some(lock) = host.lock(LOCK).map_err(cannot)? {
                return Ok(Desk { host, _lock: lock });
            }
            if Instant::now() >= end || host.interrupt().asked() {
                return Err(
                    Error::refused("another vfioneer is handing devices over").hint("wait until it has finished")
                );
            }
            sleep(TICK);
        }
    }

    /// Takes back what an interrupted command left half done. Gives the records that were.
    pub fn recover(&self, listen: Listener<'_>) -> Result<Vec<Record>> {
        let mut ledger = Ledger::load(self.host)?;
        let mut recovered = Vec::new();
        // The last first: what was done while another record was in effect was done to what that one had made of the host.
        while let Some(index) = ledger.records.iter().rposition(|one| matches!(one.state, State::Going | State::Coming))
        {
            let record = ledger.records.get(index).cloned();
            // Killed after the last move: somebody may use the functions already.
            if record.as_ref().is_some_and(|record| record.state == State::Going && self.all_made(record)) {
                let goes_to = |one: &Move| one.drivers(Way::There)[1].is_some_and(is_vfio_driver);
                // What went home needs no way back.
                match record.as_ref().is_some_and(|record| record.moves.iter().any(goes_to)) {
                    true => self.set(&mut ledger, index, State::There)?,
                    false => {
                        ledger.records.remove(index);
                        self.save(&mut ledger)?;
                    }
                }
                continue;
            }
            listen(Event::Recovering);
            self.back(&mut ledger, index, listen)?;
            recovered.extend(record);
        }
        Ok(recovered)
    }

    /// Are all functions of a record where they were to go?
    fn all_made(&self, record: &Record) -> bool {
        let mut drivers = record.moves.iter().filter(|one| one.address().is_some()).peekable();
        drivers.peek().is_some() && drivers.all(|one| one.is_made(self.host))
    }

    /// The moves that hand functions over, each to a driver, with what else holds a display.
    pub fn moves(&self, snap: &Snapshot, functions: &[(Address, String)]) -> Result<Vec<Move>> {
        let displays: Vec<&Function> = functions
            .iter()
            .filter_map(|(address, _)| snap.pci.get(address))
            .filter(|f| f.is_display() && f.driver.known().is_some() || f.boot_display == host::Fact::Known(true))
            .collect();
        let mut moves = display::moves(self.host, &displays);
        for (address, driver) in functions {
            let one = Move::driver(self.host, *address, Some(driver.clone()));
            moves.push(one.map_err(|error| Error::refused(error.to_string()))?);
        }
        Ok(moves)
    }

    /// Makes moves and remembers them. If one fails, all are taken back; so they are if `ready`, which is asked before the first function
    /// leaves its driver, says why not.
    pub fn make(
        &self,
        moves: Vec<Move>,
        ready: &mut dyn FnMut() -> io::Result<()>,
        listen: Listener<'_>,
    ) -> Result<()> {
        let mut ledger = Ledger::load(self.host)?;
        let addresses: Vec<Address> = moves.iter().filter_map(Move::address).collect();
        not_stuck(&ledger, &addresses)?;
        let moves = inherit(&mut ledger, moves);
        ledger.records.push(Record { when: Caller::new().when, state: State::Going, moves });
        self.save(&mut ledger)?;
        let index = ledger.records.len() - 1;
        self.go(&mut ledger, index, ready, listen)?;
        self.set(&mut ledger, index, State::There).map_err(unremembered)
    }

    /// Makes moves for as long as some work takes. What interrupts it, the next command takes back. The inner error is that of a move
    /// that could not be made.
    pub(super) fn during(&self, moves: Vec<Move>, work: impl FnOnce() -> io::Result<()>) -> Result<io::Result<()>> {
        if moves.is_empty() {
            return Ok(work());
        }
        let mut ledger = Ledger::load(self.host)?;
        let record = Record { when: Caller::new().when, state: State::Going, moves };
        ledger.records.push(record.clone());
        self.save(&mut ledger)?;
        let index = ledger.records.len() - 1;
        match self.go(&mut ledger, index, &mut || Ok(()), &mut |_| ()) {
            Err(error) if error.kind == Kind::Failed => return Ok(Err(io::Error::other(error.message))),
            other => other?,
        }
        let done = work();
        // The work may have left records of its own.
        let mut ledger = Ledger::load(self.host)?;
        if let Some(index) = ledger.records.iter().position(|one| *one == record) {
            self.back(&mut ledger, index, &mut |_| ())?;
        }
        Ok(done)
    }

    /// The host that it works on.
    pub(super) fn host(&self) -> &'a dyn HostMut {
        self.host
    }

    /// Gives functions back: to the driver from which they were taken, or, where that is not known, to their native one. Gives what
    /// was done.
    pub fn give_back(&self, functions: &[&Function], listen: Listener<'_>) -> Result<Vec<(Way, Move)>> {
        let addresses: Vec<Address> = functions.iter().map(|f| f.address).collect();
        let mut ledger = Ledger::load(self.host)?;
        not_stuck(&ledger, &addresses)?;
        let known: Vec<Address> =
            ledger.records.iter().flat_map(|r| r.moves.iter().filter_map(Move::address)).collect();
        ledger.records = ledger.records.into_iter().flat_map(|record| split(record, &addresses)).collect();
        self.save(&mut ledger)?;
        let mut done = Vec::new();
        while let Some(index) = ledger.records.iter().rposition(|record| record.state == State::Coming) {
            let moves = ledger.records.get(index).map(|record| record.moves.clone()).unwrap_or_default();
            self.back(&mut ledger, index, listen)?;
            done.extend(moves.into_iter().rev().map(|one| (Way::Back, one)));
        }
        let mut moves = Vec::new();
        for function in functions.iter().filter(|f| f.on_vfio() && !known.contains(&f.address)) {
            let to = native::driver(self.host, function).map_err(|error| Error::refused(error.to_string()))?;
            let one = Move::driver(self.host, function.address, to);
            moves.push(one.map_err(|error| Error::refused(error.to_string()))?);
        }
        if !moves.is_empty() {
            done.extend(moves.iter().map(|one| (Way::There, one.clone())));
            ledger.records.push(Record { when: Caller::new().when, state: State::Going, moves });
            self.save(&mut ledger)?;
            let index = ledger.records.len() - 1;
            self.go(&mut ledger, index, &mut || Ok(()), listen)?;
            // They are where they belong: there is nothing to remember.
            ledger.records.remove(index);
            self.save(&mut ledger).map_err(unremembered)?;
        }
        Ok(done)
    }

    /// Makes the moves of a record; if one fails, takes all of it back.
    fn go(
        &self,
        ledger: &mut Ledger,
        index: usize,
        ready: &mut dyn FnMut() -> io::Result<()>,
        listen: Listener<'_>,
    ) -> Result<()> {
        let moves = ledger.records.get(index).map(|record| record.moves.clone()).unwrap_or_default();
        let first = moves.iter().position(|one| one.address().is_some());
        for (number, one) in moves.iter().enumerate() {
            let may = match () {
                () if self.host.interrupt().asked() => Err(io::Error::other("it was interrupted")),
                () if Some(number) == first => ready(),
                () => Ok(()),
            };
            let made = may.and_then(|()| {
                listen(Event::Move(Way::There, one));
                one.make(self.host)
            });
            let Err(error) = made else { continue };
            if error.kind() == io::ErrorKind::TimedOut {
                return Err(self.stuck(ledger, index, &error));
            }
            self.back(ledger, index, listen)?;
            return Err(
                Error::failed(format!("{error}. Everything was taken back")).hint("this host is as it was before")
            );
        }
        Ok(())
    }

    /// Takes the moves of a record back and forgets it.
    fn back(&self, ledger: &mut Ledger, index: usize, listen: Listener<'_>) -> Result<()> {
        // What can be brought back is, even where that cannot be written down.
        let noted = self.set(ledger, index, State::Coming);
        let moves = ledger.records.get(index).map(|record| record.moves.clone()).unwrap_or_default();
        let mut failed: Option<io::Error> = None;
        for one in moves.iter().rev() {
            listen(Event::Move(Way::Back, one));
            match one.back(self.host) {
                Ok(()) => {}
                // A device that does not come back must not keep all others from being handed over.
                Err(error) if error.kind() == io::ErrorKind::TimedOut || matches!(one, Move::Removed(_)) => {
                    return Err(self.stuck(ledger, index, &error));
                }
                // What can be brought back is, whatever one of them does.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            // Other devices can be handed over all the same.
            self.set(ledger, index, State::Left(error.to_string()))?;
            let addresses: Vec<String> = moves.iter().filter_map(Move::address).map(|a| a.to_string()).collect();
            return Err(Error::incomplete(format!("not everything could be brought back: {error}"))
                .hint(format!("remove the cause, then: vfioneer unbind {}", addresses.join(" ")))
                .hint("a reboot gives every device its driver again"));
        }
        ledger.records.remove(index);
        noted.and(self.save(ledger)).map_err(unremembered)
    }

    /// Notes that only a boot helps, and says so.
    fn stuck(&self, ledger: &mut Ledger, index: usize, error: &io::Error) -> Error {
        let why = error.to_string();
        let noted = self.set(ledger, index, State::Stuck(why.clone()));
        let error = stuck(&why);
        match noted {
            Ok(()) => error,
            Err(other) => error.hint(other.message),
        }
    }

    fn set(&self, ledger: &mut Ledger, index: usize, state: State) -> Result<()> {
        if let Some(record) = ledger.records.get_mut(index) {
            record.state = state;
        }
        self.save(ledger)
    }

    fn save(&self, ledger: &mut Ledger) -> Result<()> {
        ledger.save(self.host).map_err(|error| {
            Error::refused(format!("cannot write in {DIR}: {error}")).hint("make room in /run, then try again")
        })
    }
}

/// Moves of functions that could not be brought back once: they know where those belong, and what else waits with them. The records are
/// forgotten.
fn inherit(ledger: &mut Ledger, moves: Vec<Move>) -> Vec<Move> {
    let addresses: Vec<Address> = moves.iter().filter_map(Move::address).collect();
    let waits = |record: &Record| matches!(record.state, State::Left(_)) && record.has(&addresses);
    let (left, others): (Vec<Record>, Vec<Record>) = std::mem::take(&mut ledger.records).into_iter().partition(waits);
    ledger.records = others;
    let mut all: Vec<Move> = left.into_iter().flat_map(|record| record.moves).collect();
    for one in moves {
        match (all.iter_mut().find(|known| known.address().is_some() && known.address() == one.address()), one) {
            (Some(Move::Driver { to, .. }), Move::Driver { to: wanted, .. }) => *to = wanted,
            (_, one) => all.push(one),
        }
    }
    all
}

/// Moves were made, and what is written of them is not what they are.
fn unremembered(error: Error) -> Error {
    Error { kind: Kind::Incomplete, ..error }.hint("everything was done but for that note; a reboot empties /run")
}

/// A record as one that comes back for these functions, and what stays of it. What else it moved comes back with the last function.
fn split(record: Record, addresses: &[Address]) -> Vec<Record> {
    if !matches!(record.state, State::There | State::Left(_)) || !record.has(addresses) {
        return vec![record];
    }
    let chosen = |one: &Move| one.address().is_some_and(|address| addresses.contains(&address));
    let (coming, staying): (Vec<Move>, Vec<Move>) = record.moves.iter().cloned().partition(chosen);
    if staying.iter().all(|one| one.address().is_none()) {
        return vec![Record { state: State::Coming, ..record }];
    }
    let staying = Record { moves: staying, ..record.clone() };
    vec![staying, Record { state: State::Coming, moves: coming, ..record }]
}

/// Refuses functions with which the kernel hangs.
fn not_stuck(ledger: &Ledger, addresses: &[Address]) -> Result<()> {
    ledger
        .records
        .iter()
        .filter(|record| record.has(addresses))
        .find_map(|record| match &record.state {
            State::Stuck(why) => Some(Err(stuck(why))),
            _ => None,
        })
        .unwrap_or(Ok(()))
}

fn stuck(why: &str) -> Error {
    Error::incomplete(format!("only a reboot helps this device: {why}"))
        .hint("where the kernel does not return from a write, the reboot itself may have to be forced")
        .hint("dmesg says where a driver waits")
}

#[cfg(test)]
mod tests;

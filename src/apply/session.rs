//! One run of a verb that changes the host: locks, what was interrupted, then the verb's own work.

use super::execute::{Failure, Work, words};
use super::journal::{Journal, Outcome, Record, SCHEMA};
use super::store::{self, LOCK, STATE, Stored, Transaction};
use super::{Event, Listener, RolledBack, checks, packages};
use crate::error::{Error, Result};
use crate::host::change::{Lock, kept};
use crate::host::{Caller, HostMut, Kind};
use crate::plan::Plan;
use crate::steps::Action;
use std::io;

/// Bytes that are set aside for the way back on a full disk.
const RESERVE: usize = 256 << 10;

/// A host on which nobody else changes anything meanwhile.
pub struct Session<'a> {
    pub(super) host: &'a dyn HostMut,
    pub(super) caller: Caller,
    pub(super) lock: Lock,
    pub(super) boot_id: Option<String>,
    _packages: Vec<Lock>,
}

/// A plan that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The transaction's number.
    pub id: u32,
}

/// A transaction that was interrupted and is at its end now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Somebody was rolling it back; else it was undone.
    pub rollback: bool,
    /// What came of it.
    pub done: RolledBack,
}

impl Recovered {
    /// True if something was left that a person has to look at.
    pub fn is_incomplete(&self) -> bool {
        self.done.left.iter().any(|left| left.matters)
    }
}

impl<'a> Session<'a> {
    /// Takes the locks. Refuses, with nothing changed, if the caller may not change the host, if another vfioneer or a package manager
    /// is at work, or if the state cannot be written.
    pub fn open(host: &'a dyn HostMut, caller: Caller) -> Result<Session<'a>> {
        if host.kind() == Kind::Live && !caller.is_root() {
            return Err(Error::refused("changing the host needs root").hint(format!("sudo {}", caller.argv.join(" "))));
        }
        store::make_dirs(host, store::TRANSACTIONS).map_err(|error| state(&error))?;
        let lock = host.lock(LOCK).map_err(|error| state(&error))?.ok_or_else(|| {
            Error::refused(format!("another vfioneer, or a command that it started, is at work on {}", host.label()))
                .hint("wait until it has finished, then try again")
        })?;
        let packages = packages::hold(host)?;
        let boot_id = host.value("/proc/sys/kernel/random/boot_id").into_known().filter(|_| host.kind() == Kind::Live);
        Ok(Session { host, caller, lock, boot_id, _packages: packages })
    }

    /// Undoes transactions that were interrupted, and finishes what was being rolled back. Says what came of
    /// each.
    pub fn recover(&self, listen: Listener<'_>) -> Result<Vec<Recovered>> {
        let mut recovered = Vec::new();
        for id in store::numbers(self.host)?.into_iter().rev() {
            let Some(mut transaction) = store::load(self.host, id).map_err(|what| damaged(id, &what))? else {
                continue;
            };
            self.cut_tail(&mut transaction)?;
            if transaction.journal.is_open() {
                checks::check_mounted(self.host, &transaction)?;
                listen(Event::Recovering(id));
                let left = self.undo(&transaction, listen)?;
                let reboot = self.is_reboot_due(&transaction);
                let rollback = transaction.journal.rollback.is_some();
                recovered.push(Recovered { rollback, done: RolledBack { id, left, reboot } });
            } else if !transaction.journal.swept {
                self.sweep(&transaction);
            }
        }
        Ok(recovered)
    }

    /// Applies a plan. Fails with nothing changed, with all undone, or with what a person has to do.
    pub fn apply(&self, plan: &Plan, listen: Listener<'_>) -> Result<Applied> {
        checks::check(self.host, &plan.steps)?;
        let text = serde_json::to_string_pretty(plan).map_err(|error| Error::bug(error.to_string()))?;
        let stored: Stored = serde_json::from_str(&text).map_err(|error| Error::bug(error.to_string()))?;
        let id = store::numbers(self.host)?.last().map_or(1, |last| last + 1);
        let dir = store::dir(id);
        self.begin(id, &dir, &text).map_err(|error| state(&error))?;
        let done = {
            let listen = &mut *listen;
            let mut work = Work { host: self.host, lock: &self.lock, listen, dir: &dir, plan: &stored, undoing: false };
            work.all().and_then(|()| work.note(&Record::End { when: Caller::new().when, outcome: Outcome::Applied }))
        };
        let loaded = store::load(self.host, id).and_then(|one| one.ok_or_else(|| format!("{dir}/journal is gone")));
        let mut transaction = loaded.map_err(|what| lost(id, &what))?;
        match done {
            Ok(()) => {
                self.sweep(&transaction);
                Ok(Applied { id })
            }
            Err(failure) => {
                self.cut_tail(&mut transaction)?;
                self.undo(&transaction, listen)?;
                Err(failed(&failure))
            }
        }
    }

    fn begin(&self, id: u32, dir: &str, plan: &str) -> io::Result<()> {
        for part in ["before", "output"] {
            store::make_dirs(self.host, &format!("{dir}/{part}"))?;
        }
        self.host.write(&format!("{dir}/plan.json"), format!("{plan}\n").as_bytes(), 0o600)?;
        self.host.write(&format!("{dir}/reserve"), &vec![b'.'; RESERVE], 0o600)?;
        let begin = Record::Begin {
            schema: SCHEMA.to_owned(),
            id,
            by: self.caller.clone(),
            boot_id: self.boot_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        store::note(self.host, dir, &begin)
    }

    /// Undoes a transaction and ends it. Says what was left as it is.
    pub(super) fn undo(&self, transaction: &Transaction, listen: Listener<'_>) -> Result<Vec<super::journal::Left>> {
        let journal = &transaction.journal;
        let same_boot = self.is_same_boot(transaction);
        let (dir, plan) = (transaction.dir.as_str(), &transaction.plan);
        let mut work = Work { host: self.host, lock: &self.lock, listen: &mut *listen, dir, plan, undoing: true };
        let left = work.undo(journal, same_boot).map_err(|(step, failure)| stuck(transaction, step, &failure))?;
        let outcome = match (left.iter().any(|left| left.matters), &journal.rollback) {
            (true, _) => Outcome::Incomplete,
            (false, Some(_)) => Outcome::RolledBack,
            (false, None) => Outcome::Undone,
        };
        // Without it the next command undoes once more, and finds nothing to do.
        let _ = work.note(&Record::End { when: Caller::new().when, outcome });
        for left in &left {
            listen(Event::Note(&format!("{} {}", left.path, left.reason)));
        }
        self.sweep(transaction);
        match left.iter().find(|left| left.matters) {
            Some(first) if journal.rollback.is_none() => {
                Err(Error::incomplete(format!("{} was left as it is: it {}", first.path, first.reason))
                    .hint("everything else is as it was before; compare the file by hand"))
            }
            _ => Ok(left),
        }
    }

    /// Takes away second names and what was set aside. What cannot be removed now is removed by the next command.
    fn sweep(&self, transaction: &Transaction) {
        let outputs = transaction.plan.steps.iter().filter_map(|step| match &step.action {
            Action::Generate { output, .. } => Some(output),
            _ => None,
        });
        let reals: Vec<String> = outputs.filter_map(|output| self.host.real(output).ok()).collect();
        let mut paths = vec![format!("{}/reserve", transaction.dir)];
        paths.extend(reals.iter().map(|real| kept(real)));
        if paths.iter().all(|path| self.host.remove(path).is_ok()) {
            let _ = store::note(self.host, &transaction.dir, &Record::Swept);
        }
    }

    /// Takes away the part of a line that a power cut left, so that the next line does not follow it.
    fn cut_tail(&self, transaction: &mut Transaction) -> Result<()> {
        let path = format!("{}/journal", transaction.dir);
        let bytes = self.host.read(&path).into_known().unwrap_or_default();
        let whole = transaction.journal.whole;
        match bytes.get(..whole) {
            Some(kept) if bytes.len() > whole => self.host.write(&path, kept, 0o600).map_err(|error| state(&error)),
            _ => Ok(()),
        }
    }
}

fn state(error: &io::Error) -> Error {
    let refused = Error::refused(format!("cannot write in {STATE}: {}", words(error)));
    match error.kind() {
        io::ErrorKind::PermissionDenied => refused.hint("run the command as root"),
        io::ErrorKind::ReadOnlyFilesystem => refused.hint("mount its file system writable, then try again"),
        io::ErrorKind::StorageFull => refused.hint("make room on its file system, then try again"),
        _ => refused.hint("nothing was changed"),
    }
}

fn damaged(id: u32, what: &str) -> Error {
    let dir = store::dir(id);
    Error::refused(format!("the record of transaction {id} cannot be used: {what}"))
        .hint("nothing was changed now; whether that transaction was complete cannot be told")
        .hint(format!("files as they were before it are in {dir}/before"))
        .hint(format!("once you have brought back what is missing, move {dir} elsewhere"))
}

/// The record of what was begun cannot be read back.
pub(super) fn lost(id: u32, what: &str) -> Error {
    let dir = store::dir(id);
    Error::incomplete(format!("the record of transaction {id} cannot be used: {what}"))
        .hint(format!("files as they were before it are in {dir}/before, and {dir}/plan.json says what was to change"))
        .hint("once the record can be read, `vfioneer rollback` brings them back")
}

/// What a failed and undone transaction says.
fn failed(failure: &Failure) -> Error {
    let mut error = Error::failed(format!("{}. Everything was undone", failure.why));
    for line in &failure.tail {
        error = error.hint(format!("| {line}"));
    }
    if let Some(output) = &failure.output {
        error = error.hint(format!("all of its output is in {output}"));
    }
    error.hint("this host is as it was before")
}

/// What a person has to do where undoing fails.
fn stuck(transaction: &Transaction, step: usize, failure: &Failure) -> Error {
    let mut error = Error::incomplete(format!("undoing is not complete: {}", failure.why));
    for line in &failure.tail {
        error = error.hint(format!("| {line}"));
    }
    if let Some(output) = &failure.output {
        error = error.hint(format!("all of its output is in {output}"));
    }
    let by_hand = transaction
        .plan
        .steps
        .get(step)
        .and_then(|step_| by_hand(&transaction.journal, &transaction.dir, step, &step_.action));
    if let Some(by_hand) = by_hand {
        error = error.hint(format!("what is to be done there: {by_hand}"));
    }
    error.hint("the host boots; remove the cause, then finish with `vfioneer rollback`")
}

fn by_hand(journal: &Journal, dir: &str, step: usize, action: &Action) -> Option<String> {
    let kept =
        journal.steps.get(&step).and_then(|progress| progress.before.as_ref()).and_then(|before| before.files.first());
    Some(match action {
        Action::WriteFile { path, .. } | Action::RemoveFile { path, .. } => {
            match kept.and_then(|kept| kept.copy.as_ref()) {
                Some(copy) => format!("cp -a {dir}/before/{copy} {path}"),
                None => format!("rm {path}"),
            }
        }
        Action::Generate { argv, output, .. } => argv.join(" ").replace("{out}", output),
        Action::Run { undo, .. } if undo.is_empty() => return None,
        Action::Run { undo, .. } => undo.join(" "),
        Action::Bind { .. } | Action::VirtualFunctions { .. } => "reboot".to_owned(),
    })
}

//! Rolling back a transaction that was applied.

use super::journal::{Left, Outcome, Record};
use super::session::{Session, lost};
use super::store::{self, Transaction};
use super::{Listener, checks};
use crate::error::{Error, Result};
use crate::host::{Host, Kind};
use crate::steps::{Action, Expectation, Step};

/// A transaction that was rolled back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// Its number.
    pub id: u32,
    /// What was left as it is.
    pub left: Vec<Left>,
    /// Does the host still run as the transaction wanted it?
    pub reboot: bool,
}

/// The transaction that `rollback` is about: the newest in effect, or the one of that number if nothing newer is in effect. `None`: none
/// is in effect.
pub fn choose(host: &dyn Host, id: Option<u32>) -> Result<Option<Transaction>> {
    let mut in_effect = Vec::new();
    let mut wanted = None;
    for number in store::numbers(host)? {
        let transaction = match store::load(host, number) {
            Ok(Some(transaction)) => transaction,
            Ok(None) => continue,
            Err(what) => {
                return Err(Error::refused(format!("the record of transaction {number} cannot be used: {what}")));
            }
        };
        if Some(number) == id {
            wanted = Some(transaction.journal.outcome);
        }
        if transaction.journal.is_in_effect() {
            in_effect.push(transaction);
        }
    }
    let Some(id) = id else { return Ok(in_effect.pop()) };
    match wanted {
        None => return Err(Error::usage(format!("there is no transaction {id}")).hint("see `vfioneer history`")),
        Some(Some(Outcome::Applied)) => {}
        Some(_) => {
            return Err(Error::refused(format!("transaction {id} is not in effect")).hint("see `vfioneer history`"));
        }
    }
    let newer: Vec<String> =
        in_effect.iter().rev().map(|t| t.id).take_while(|newer| *newer != id).map(|id| id.to_string()).collect();
    if let Some(newest) = newer.first() {
        return Err(Error::refused(format!("transactions made after {id} are in effect: {}", newer.join(", ")))
            .hint(format!("roll back the newer ones first: `vfioneer rollback {newest}`")));
    }
    Ok(in_effect.pop())
}

impl Session<'_> {
    /// Rolls back a transaction that [`choose`] gave.
    pub fn rollback(&self, transaction: Transaction, listen: Listener<'_>) -> Result<RolledBack> {
        let id = transaction.id;
        checks::check_undo(self.host, &transaction)?;
        if self.is_same_boot(&transaction) {
            checks::check_unused(self.host, &transaction)?;
        }
        let begin = Record::Rollback { by: self.caller.clone(), boot_id: self.boot_id.clone() };
        store::note(self.host, &transaction.dir, &begin).map_err(|error| {
            Error::refused(format!("cannot write {}/journal: {}", transaction.dir, super::execute::words(&error)))
        })?;
        let loaded = store::load(self.host, id).and_then(|one| one.ok_or_else(|| "it is gone".to_owned()));
        let transaction = loaded.map_err(|what| lost(id, &what))?;
        let left = self.undo(&transaction, listen)?;
        Ok(RolledBack { id, left, reboot: self.is_reboot_due(&transaction) })
    }

    /// True if nothing was booted since a transaction was applied.
    pub(super) fn is_same_boot(&self, transaction: &Transaction) -> bool {
        self.boot_id.is_some() && self.boot_id == transaction.journal.boot_id
    }

    /// True if the host may have booted with what a transaction changed, and still runs so.
    pub(super) fn is_reboot_due(&self, transaction: &Transaction) -> bool {
        let boots = |action: &Action| matches!(action, Action::Generate { .. } | Action::Run { .. });
        let began = transaction.journal.steps.iter().filter(|(_, progress)| progress.before.is_some());
        let mut steps = began.filter_map(|(number, _)| transaction.plan.steps.get(*number));
        let rebooted = self.boot_id.is_some() && !self.is_same_boot(transaction);
        // A VM's configuration and a hook are files, and commands that tell a daemon of them.
        let makes = |step: &Step| {
            !matches!(
                step.action,
                Action::WriteFile { .. } | Action::RemoveFile { .. } | Action::Run { fence: None, .. }
            )
        };
        let expects = |expect: &Expectation| !matches!(expect, Expectation::File { .. });
        let concerns = transaction.plan.steps.iter().any(makes) || transaction.plan.expect.iter().any(expects);
        rebooted
            && concerns
            && self.host.kind() == Kind::Live
            && (transaction.journal.applied || steps.any(|step| boots(&step.action)))
            && !transaction.plan.steps.is_empty()
    }
}

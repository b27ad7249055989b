//! Transactions, for those who want to see them.

use super::journal::{Journal, Outcome};
use super::store::{self, Transaction};
use crate::error::Result;
use crate::host::{Fact, Host};

/// One line of the history.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The transaction's number.
    pub id: u32,
    /// What is known of it, or why nothing is.
    pub transaction: std::result::Result<Transaction, String>,
}

/// How a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In effect.
    Applied,
    /// Not at its end; the next command that changes the host undoes it.
    Interrupted,
    /// A step failed, and all was undone.
    Failed,
    /// It was interrupted, and undone later.
    Undone,
    /// Rolled back.
    RolledBack,
    /// Undone or rolled back, but for something that was left.
    Incomplete,
}

impl State {
    /// Of a journal.
    pub fn of(journal: &Journal) -> State {
        match journal.outcome {
            None => State::Interrupted,
            Some(Outcome::Applied) => State::Applied,
            Some(Outcome::RolledBack) => State::RolledBack,
            Some(Outcome::Incomplete) => State::Incomplete,
            Some(Outcome::Undone) if journal.steps.values().any(|step| step.failed.is_some()) => State::Failed,
            Some(Outcome::Undone) => State::Undone,
        }
    }

    /// As in JSON.
    pub fn id(self) -> &'static str {
        match self {
            State::Applied => "applied",
            State::Interrupted => "interrupted",
            State::Failed => "failed",
            State::Undone => "undone",
            State::RolledBack => "rolled-back",
            State::Incomplete => "incomplete",
        }
    }
}

/// All transactions, the oldest first.
pub fn all(host: &dyn Host) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for id in store::numbers(host)? {
        match store::load(host, id) {
            Ok(Some(transaction)) => entries.push(Entry { id, transaction: Ok(transaction) }),
            Ok(None) => {}
            Err(what) => entries.push(Entry { id, transaction: Err(what) }),
        }
    }
    Ok(entries)
}

/// What the command of a step printed, and what its undoing did; each with a name.
pub fn outputs(host: &dyn Host, transaction: &Transaction, step: usize) -> Vec<(String, String)> {
    let dir = format!("{}/output", transaction.dir);
    let names = host.entries(&dir).into_known().unwrap_or_default();
    let belongs = |name: &&String| {
        name.strip_prefix(&step.to_string()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let read = |name: &String| match host.text(&format!("{dir}/{name}")) {
        Fact::Known(text) => Some((name.clone(), text)),
        _ => None,
    };
    names.iter().filter(belongs).filter_map(read).collect()
}

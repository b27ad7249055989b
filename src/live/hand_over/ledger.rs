//! What was handed over since this host was booted, and how it comes back: `/run/vfioneer/handed-over.json`.
//!
//! A boot brings back drivers by itself, and empties `/run` (file-hierarchy(7)). The file is written before the first move and after the
//! last one, so that what was interrupted is known.

use super::moves::Move;
use crate::error::{Error, Result};
use crate::host::{Fact, Host, HostMut};
use crate::parse::address::Address;
use serde::{Deserialize, Serialize};
use std::io;

/// Its directory, for root alone.
pub(super) const DIR: &str = "/run/vfioneer";
const FILE: &str = "/run/vfioneer/handed-over.json";
/// The name of its format.
const SCHEMA: &str = "vfioneer/handed-over/1";

/// How far a record is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The moves are being made.
    Going,
    /// All are made.
    There,
    /// They are being taken back.
    Coming,
    /// Something could not be brought back, and waits until its functions are given back once more. Why.
    Left(String),
    /// The kernel did not return from one: only a boot helps. Why.
    Stuck(String),
}

/// Moves that were made together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, RFC 3339.
    pub when: String,
    /// How far it is.
    pub state: State,
    /// In the order in which they are made.
    pub moves: Vec<Move>,
}

impl Record {
    /// True if it moves one of these functions.
    pub fn has(&self, addresses: &[Address]) -> bool {
        self.moves.iter().filter_map(Move::address).any(|address| addresses.contains(&address))
    }
}

/// All records, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    schema: String,
    /// The records.
    pub records: Vec<Record>,
}

impl Ledger {
    /// Reads it; empty if there is none. One that cannot be understood is refused: it is the only thing that knows the way back.
    pub fn load(host: &dyn Host) -> Result<Ledger> {
        let fail = |why: String| {
            Error::refused(format!("cannot use {FILE}, which says what was handed over: {why}"))
                .hint("a reboot gives every device its driver again, and empties /run")
        };
        match host.read(FILE) {
            Fact::Absent => Ok(Ledger::default()),
            Fact::Unknown(why) => Err(fail(why.to_string())),
            Fact::Known(bytes) => {
                let ledger: Ledger = serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
                match ledger.schema == SCHEMA {
                    true => Ok(ledger),
                    false => Err(fail(format!("it is of another version ({})", ledger.schema))),
                }
            }
        }
    }

    /// Writes it; nothing handed over is no file.
    pub(super) fn save(&mut self, host: &dyn HostMut) -> io::Result<()> {
        if self.records.is_empty() {
            return host.remove(FILE);
        }
        SCHEMA.clone_into(&mut self.schema);
        let text = serde_json::to_string_pretty(self).map_err(io::Error::other)? + "\n";
        host.write(FILE, text.as_bytes(), 0o600)
    }
}

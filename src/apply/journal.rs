//! The journal of one transaction: JSON lines, each on disk before the next thing happens.
//!
//! Goes in: a text. Comes out: how far each step got. Fields that are not known are passed by, so that a journal of a later version
//! with the same schema can be read; another schema is refused. The last line may be cut off.

use crate::host::Caller;
use crate::parse::address::Address;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format's name.
pub const SCHEMA: &str = "vfioneer/journal/1";

/// Size and time of a file that is too large to be hashed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Last change, seconds since 1970.
    pub mtime: i64,
}

/// A file as it was before a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its path.
    pub path: String,
    /// SHA-256, hex; null if it was not there.
    pub sha256: Option<String>,
    /// The name of its copy in the transaction's `before`; null if it was not there.
    #[serde(default)]
    pub copy: Option<String>,
}

/// The driver of a function before a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Which function.
    pub address: Address,
    /// Its driver; null if it had none.
    pub driver: Option<String>,
    /// Its `driver_override`; null if it was not set.
    #[serde(rename = "override")]
    pub driver_override: Option<String>,
}

/// The virtual functions of a physical one before a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Virtual {
    /// The physical function.
    pub address: Address,
    /// How many it had.
    pub count: u16,
    /// Its `sriov_drivers_autoprobe`.
    pub autoprobe: String,
}

/// What undoing a step needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Before {
    /// Directories that the step makes, the outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<String>,
    /// Files that the step may change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Kept>,
    /// The file that is generated anew; null if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Stamp>,
    /// The function that is handed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// The function whose virtual ones are made or taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sriov: Option<Virtual>,
}

/// A file as it was after a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Its path.
    pub path: String,
    /// SHA-256, hex; null if it was gone.
    pub sha256: Option<String>,
}

/// Something that undoing left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The file.
    pub path: String,
    /// Why, and what to do.
    pub reason: String,
    /// False if the host is as it was for all that matters.
    pub matters: bool,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every step was done.
    Applied,
    /// It failed or was interrupted, and was undone.
    Undone,
    /// It was rolled back on request.
    RolledBack,
    /// It was undone or rolled back, but for something that was left.
    Incomplete,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// The first line.
    Begin {
        /// [`SCHEMA`].
        schema: String,
        /// The transaction's number.
        id: u32,
        /// Who applies, when, how.
        by: Caller,
        /// The boot's random id; null if it is not known.
        boot_id: Option<String>,
        /// The program's version.
        version: String,
    },
    /// A step begins.
    Intent {
        /// Its number, counted from 0.
        step: usize,
        /// What undoing it needs.
        before: Before,
    },
    /// The new file of a step was looked into and will take the place of the old one.
    Product {
        /// The step.
        step: usize,
        /// The file.
        stamp: Stamp,
    },
    /// The fence of a step is about to be made.
    Fence {
        /// The step.
        step: usize,
        /// Files that it writes, as they were.
        files: Vec<Kept>,
        /// Directories that it makes, the outermost first.
        dirs: Vec<String>,
    },
    /// The fence of a step is what boots now.
    FenceUp {
        /// The step.
        step: usize,
    },
    /// The fence of a step is away again.
    FenceDown {
        /// The step.
        step: usize,
    },
    /// A step is done.
    Done {
        /// The step.
        step: usize,
        /// The files that it changed by a command.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        after: Vec<Trace>,
    },
    /// A step failed.
    Failed {
        /// The step.
        step: usize,
        /// Why.
        why: String,
    },
    /// Rolling back begins.
    Rollback {
        /// Who, when, how.
        by: Caller,
        /// As of begin.
        boot_id: Option<String>,
    },
    /// Undoing a step begins.
    UndoIntent {
        /// The step.
        step: usize,
    },
    /// A step is undone.
    Undone {
        /// The step.
        step: usize,
        /// But for these.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<Left>,
    },
    /// The transaction ends.
    End {
        /// When, as in [`Caller`].
        #[serde(default)]
        when: String,
        /// How.
        outcome: Outcome,
    },
    /// The old versions of generated files are gone.
    Swept,
    /// A record of a later version.
    #[serde(other)]
    Unknown,
}

/// How far a step got.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// It began.
    pub before: Option<Before>,
    /// The new file.
    pub product: Option<Stamp>,
    /// What the fence replaces, while there is one or a part of it.
    pub fence: Option<(Vec<Kept>, Vec<String>)>,
    /// The fence is whole, and boots.
    pub fenced: bool,
    /// It was whole at some time: the command may have run.
    pub was_fenced: bool,
    /// It is done; files that its command changed.
    pub done: Option<Vec<Trace>>,
    /// Why it failed.
    pub failed: Option<String>,
    /// Undoing it began.
    pub undo_began: bool,
    /// It is undone, but for these.
    pub undone: Option<Vec<Left>>,
}

/// A journal that was read.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// Who applied.
    pub by: Option<Caller>,
    /// The boot in which it was applied.
    pub boot_id: Option<String>,
    /// Steps that began, by number.
    pub steps: BTreeMap<usize, Progress>,
    /// Every step was done at some time.
    pub applied: bool,
    /// Who rolled back.
    pub rollback: Option<Caller>,
    /// The last end, if nothing began after it.
    pub outcome: Option<Outcome>,
    /// The old versions of generated files are gone.
    pub swept: bool,
    /// Bytes of whole lines; what follows was cut off.
    pub whole: usize,
}

impl Journal {
    /// Reads a journal. Fails with a sentence if it is damaged or of a later version. Without a first line nothing ever happened.
    pub fn parse(text: &[u8]) -> Result<Journal, String> {
        let mut journal = Journal::default();
        let mut lines = text.split_inclusive(|byte| *byte == b'\n').zip(1..).peekable();
        while let Some((line, number)) = lines.next() {
            let record = match serde_json::from_slice::<Record>(line) {
                Ok(record) if line.ends_with(b"\n") => record,
                // Cut off: the write did not come to its end, so nothing that it announces happened.
                _ if lines.peek().is_none() => break,
                Ok(_) => break,
                Err(error) => return Err(format!("line {number} cannot be read: {error}")),
            };
            if let Record::Begin { schema, .. } = &record
                && schema != SCHEMA
            {
                return Err(format!(
                    "it is {schema:?}, written by another version of vfioneer; this one reads {SCHEMA:?}"
                ));
            }
            if number == 1 && !matches!(record, Record::Begin { .. }) {
                return Err("its first line does not say what it is".to_owned());
            }
            journal.add(record);
            journal.whole += line.len();
        }
        Ok(journal)
    }

    /// True if somebody must finish or undo it.
    pub fn is_open(&self) -> bool {
        self.by.is_some() && self.outcome.is_none()
    }

    /// True if its steps are what the host has now.
    pub fn is_in_effect(&self) -> bool {
        self.outcome == Some(Outcome::Applied)
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::Begin { by, boot_id, .. } => (self.by, self.boot_id) = (Some(by), boot_id),
            Record::Intent { step, before } => self.step(step).before = Some(before),
            Record::Product { step, stamp } => self.step(step).product = Some(stamp),
            Record::Fence { step, files, dirs } => self.step(step).fence = Some((files, dirs)),
            Record::FenceUp { step } => {
                let progress = self.step(step);
                (progress.fenced, progress.was_fenced) = (true, true);
            }
            Record::FenceDown { step } => {
                let progress = self.step(step);
                (progress.fenced, progress.fence) = (false, None);
            }
            Record::Done { step, after } => self.step(step).done = Some(after),
            Record::Failed { step, why } => self.step(step).failed = Some(why),
            Record::Rollback { by, .. } => (self.rollback, self.outcome) = (Some(by), None),
            Record::UndoIntent { step } => self.step(step).undo_began = true,
            Record::Undone { step, left } => self.step(step).undone = Some(left),
            Record::End { outcome, .. } => {
                self.applied |= outcome == Outcome::Applied;
                self.outcome = Some(outcome);
            }
            Record::Swept => self.swept = true,
            Record::Unknown => {}
        }
    }

    fn step(&mut self, step: usize) -> &mut Progress {
        self.steps.entry(step).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn begin() -> String {
        let by = Caller { uid: 0, user: Some("anna".into()), when: "2026-01-02T03:04:05Z".into(), argv: vec![] };
        let record = Record::Begin { schema: SCHEMA.into(), id: 1, by, boot_id: None, version: "0.1.0".into() };
        serde_json::to_string(&record).unwrap() + "\n"
    }

    #[test]
    fn a_later_version_s_fields_and_records_are_passed_by() {
        let text = begin().replace("{\"record", "{\"new\":[1],\"record")
            + "{\"record\":\"weather\",\"sun\":true}\n{\"record\":\"intent\",\"step\":0,\"before\":{\"files\":[],\"x\":1}}\n";
        let journal = Journal::parse(text.as_bytes()).unwrap();
        assert!(journal.is_open() && !journal.applied && journal.steps[&0].before.is_some());
        assert_eq!(journal.whole, text.len());
        let other = begin().replace("journal/1", "journal/2");
        assert!(Journal::parse(other.as_bytes()).unwrap_err().contains("another version"));
    }

    #[test]
    fn what_was_cut_off_did_not_happen() {
        let text = begin() + "{\"record\":\"end\",\"when\":\"x\",\"outcome\":\"applied\"}\n";
        for length in 0..text.len() {
            let journal = Journal::parse(&text.as_bytes()[..length]).unwrap();
            assert_eq!(
                (journal.is_open(), journal.whole),
                (length >= begin().len(), if length < begin().len() { 0 } else { begin().len() })
            );
        }
        let whole = Journal::parse(text.as_bytes()).unwrap();
        assert!(!whole.is_open() && whole.is_in_effect() && whole.applied);
        let again =
            text.clone() + "{\"record\":\"rollback\",\"by\":{\"uid\":0,\"when\":\"x\",\"argv\":[]},\"boot_id\":null}\n";
        let again = Journal::parse(again.as_bytes()).unwrap();
        assert!(again.is_open() && again.applied && !again.is_in_effect());
    }

    #[test]
    fn damage_in_the_middle_is_no_cut() {
        let text = begin() + "gibberish\n{\"record\":\"swept\"}\n";
        assert!(Journal::parse(text.as_bytes()).unwrap_err().starts_with("line 2"));
        assert!(Journal::parse(b"{\"record\":\"swept\"}\n").is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Journal::parse(&bytes);
            let _ = Journal::parse(&[begin().as_bytes(), &bytes].concat());
        }
    }
}

//! What vfioneer remembers of its transactions: `/var/lib/vfioneer/transactions/<n>/{plan.json,journal}`.
//!
//! Goes in: a host. Comes out: its transactions, each with its plan and the records of its journal. Nothing is written here.
//! The journal is JSON lines. A record of a later version that is not known is left out; a torn last line was never
//! finished, so it did not happen.

use crate::host::{Fact, Host, Why};
use crate::steps::Expectation;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where all of it lies.
pub const DIR: &str = "/var/lib/vfioneer";
/// One directory per transaction, named by its number from 1 on.
pub const TRANSACTIONS: &str = "/var/lib/vfioneer/transactions";
/// The format of the journal.
pub const SCHEMA: &str = "vfioneer/journal/1";

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    /// The first line.
    Begin {
        /// [`SCHEMA`].
        schema: String,
        /// The transaction's number.
        id: u32,
        /// Login name of who asked for it, through sudo included; empty if not known.
        who: String,
        /// Seconds since 1970.
        when: i64,
        /// `/proc/sys/kernel/random/boot_id` of the running boot; null if none runs (`--root`).
        boot_id: Option<String>,
        /// The command line of the program.
        argv: Vec<String>,
    },
    /// A step will be done now. Steps are counted from 0, in the plan's order.
    Intent {
        /// Which.
        step: usize,
    },
    /// A step was done.
    Done {
        /// Which.
        step: usize,
        /// Each path that it changed, with the SHA-256 of what is there now; null if nothing is.
        #[serde(default)]
        after: Vec<(String, Option<String>)>,
    },
    /// A step will be undone now.
    UndoIntent {
        /// Which.
        step: usize,
    },
    /// A step was undone.
    Undone {
        /// Which.
        step: usize,
    },
    /// Nothing of it is open any more. A later rollback writes more records and another end.
    End {
        /// How it ended.
        outcome: Outcome,
        /// Files that were left alone because somebody had changed them since.
        #[serde(default)]
        kept: Vec<String>,
        /// Seconds since 1970.
        #[serde(default)]
        when: i64,
    },
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All steps were done.
    Applied,
    /// A step failed, or it was interrupted, and all was undone.
    Undone,
    /// It was applied, and rolled back later.
    RolledBack,
    /// It could not be undone completely.
    Incomplete,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    /// Its number.
    pub id: u32,
    /// Its plan as it was written; null if that is not there.
    pub plan: Value,
    /// Its journal.
    pub records: Vec<Record>,
}

impl Transaction {
    /// How it ended; none while it is open: interrupted, or at work now.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.records.last()? {
            Record::End { outcome, .. } => Some(*outcome),
            _ => None,
        }
    }

    /// The boot in which it was begun.
    pub fn boot_id(&self) -> Option<&str> {
        self.records.iter().find_map(|record| match record {
            Record::Begin { boot_id, .. } => boot_id.as_deref(),
            _ => None,
        })
    }

    /// Does its plan need a reboot?
    pub fn needs_reboot(&self) -> bool {
        self.plan.get("reboot").and_then(Value::as_bool).unwrap_or(true)
    }

    /// What must be true after it. An expectation of a later version that is not known is left out.
    pub fn expect(&self) -> Vec<Expectation> {
        let all = self.plan.get("expect").and_then(Value::as_array).into_iter().flatten();
        all.filter_map(|one| Expectation::deserialize(one).ok()).collect()
    }
}

/// Reads all transactions, the oldest first.
pub fn read(host: &dyn Host) -> Fact<Vec<Transaction>> {
    let names = match host.entries(TRANSACTIONS).absent_as(Vec::new()) {
        Fact::Known(names) => names,
        Fact::Absent => Vec::new(),
        Fact::Unknown(why) => return Fact::Unknown(why),
    };
    let mut ids: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
    ids.sort_unstable();
    let mut found = Vec::new();
    for id in ids {
        match one(host, id) {
            Ok(Some(transaction)) => found.push(transaction),
            Ok(None) => {}
            Err(why) => return Fact::Unknown(why),
        }
    }
    Fact::Known(found)
}

/// One transaction; none if its journal has not begun.
fn one(host: &dyn Host, id: u32) -> Result<Option<Transaction>, Why> {
    let text = |name: &str| match host.text(&format!("{TRANSACTIONS}/{id}/{name}")) {
        Fact::Known(text) => Ok(text),
        Fact::Absent => Ok(String::new()),
        Fact::Unknown(why) => Err(why),
    };
    let records = records(&text("journal")?);
    let plan = serde_json::from_str(&text("plan.json")?).unwrap_or(Value::Null);
    Ok((!records.is_empty()).then_some(Transaction { id, plan, records }))
}

/// The records of a journal.
pub fn records(journal: &str) -> Vec<Record> {
    // What stands behind the last line break was not written whole.
    let whole = journal.rfind('\n').map_or("", |end| journal.get(..end).unwrap_or_default());
    whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Recorded;

    fn journal(records: &[Record]) -> String {
        records.iter().map(|record| serde_json::to_string(record).expect("written") + "\n").collect()
    }

    fn begin(id: u32) -> Record {
        let (schema, who) = (SCHEMA.to_owned(), "root".to_owned());
        Record::Begin { schema, id, who, when: 1, boot_id: Some("b".into()), argv: vec!["vfioneer".into()] }
    }

    fn end(outcome: Outcome) -> Record {
        Record::End { outcome, kept: Vec::new(), when: 2 }
    }

    #[test]
    fn what_is_written_is_read() {
        let all = [
            begin(1),
            Record::Intent { step: 0 },
            Record::Done { step: 0, after: vec![("/etc/a".into(), Some("00".into())), ("/etc/b".into(), None)] },
            Record::UndoIntent { step: 0 },
            Record::Undone { step: 0 },
            end(Outcome::RolledBack),
        ];
        assert_eq!(records(&journal(&all)), all);
        let torn = journal(&all).trim_end().to_owned();
        assert_eq!(records(&torn), all[..5]);
        let later = format!("{}{{\"record\":\"trial\",\"x\":1}}\n", journal(&all[..1]));
        assert_eq!(records(&later), all[..1]);
    }

    #[test]
    fn all_transactions_of_a_host() {
        let mut builder = Recorded::builder();
        let plan = r#"{"schema":"vfioneer/plan/1","reboot":false,"expect":[{"kind":"iommu-on"},{"kind":"later"}]}"#;
        builder
            .add_file(&format!("{TRANSACTIONS}/10/journal"), journal(&[begin(10)]))
            .add_file(&format!("{TRANSACTIONS}/9/journal"), journal(&[begin(9), end(Outcome::Applied)]))
            .add_file(&format!("{TRANSACTIONS}/9/plan.json"), plan)
            .add_file(&format!("{TRANSACTIONS}/11/journal"), "")
            .add_file(&format!("{TRANSACTIONS}/lost+found"), "");
        let Fact::Known(all) = read(&builder.build()) else { panic!("not read") };
        let shown: Vec<_> = all.iter().map(|one| (one.id, one.outcome(), one.needs_reboot(), one.boot_id())).collect();
        assert_eq!(shown, [(9, Some(Outcome::Applied), false, Some("b")), (10, None, true, Some("b"))]);
        assert_eq!(all[0].expect(), [Expectation::IommuOn]);
        assert!(all[1].expect().is_empty());
        assert_eq!(read(&Recorded::builder().build()), Fact::Known(Vec::new()));
    }
}

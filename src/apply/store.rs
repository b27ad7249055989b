//! Where transactions are kept on a host: `/var/lib/vfioneer`, for root alone.

use super::journal::{Journal, Record};
use crate::error::{Error, Result};
use crate::host::{Fact, Host, HostMut};
use crate::parse::address::Address;
use crate::steps::{Expectation, Step};
use serde::{Deserialize, Deserializer};

/// All of it.
pub const STATE: &str = "/var/lib/vfioneer";
/// The lock that a changing command holds.
pub const LOCK: &str = "/var/lib/vfioneer/lock";
/// One directory per transaction, by number.
pub const TRANSACTIONS: &str = "/var/lib/vfioneer/transactions";

/// What of a stored plan is needed later. Fields and expectations of later versions are passed by.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Stored {
    /// In order of execution.
    pub steps: Vec<Step>,
    /// The chosen functions.
    pub devices: Vec<Address>,
    /// Had the host to be rebooted?
    pub reboot: bool,
    /// What had to be true then.
    #[serde(deserialize_with = "known")]
    pub expect: Vec<Expectation>,
}

fn known<'de, D: Deserializer<'de>>(data: D) -> std::result::Result<Vec<Expectation>, D::Error> {
    let all = Vec::<serde_json::Value>::deserialize(data)?;
    Ok(all.iter().filter_map(|one| Expectation::deserialize(one).ok()).collect())
}

/// A transaction as it is kept.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Its number.
    pub id: u32,
    /// Its directory.
    pub dir: String,
    /// Its plan.
    pub plan: Stored,
    /// How far it got.
    pub journal: Journal,
}

/// The directory of a transaction.
pub fn dir(id: u32) -> String {
    format!("{TRANSACTIONS}/{id}")
}

/// The numbers of all transactions, sorted.
pub fn numbers(host: &dyn Host) -> Result<Vec<u32>> {
    let names = match host.entries(TRANSACTIONS) {
        Fact::Known(names) => names,
        Fact::Absent => Vec::new(),
        Fact::Unknown(why) => {
            return Err(Error::refused(format!("cannot read {TRANSACTIONS}: {why}"))
                .hint("run the command as root; nobody else may see what was changed"));
        }
    };
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads a transaction; `None` if it never began. Fails with a sentence.
pub fn load(host: &dyn Host, id: u32) -> std::result::Result<Option<Transaction>, String> {
    let dir = dir(id);
    let path = format!("{dir}/journal");
    let bytes = match host.read(&path) {
        Fact::Known(bytes) => bytes,
        Fact::Absent => return Ok(None),
        Fact::Unknown(why) => return Err(format!("{path}: {why}")),
    };
    let journal = Journal::parse(&bytes).map_err(|what| format!("{path}: {what}"))?;
    if journal.by.is_none() {
        return Ok(None);
    }
    let path = format!("{dir}/plan.json");
    let plan = match host.read(&path) {
        Fact::Known(bytes) => serde_json::from_slice(&bytes).map_err(|error| format!("{path}: {error}"))?,
        Fact::Absent => return Err(format!("{path} is missing")),
        Fact::Unknown(why) => return Err(format!("{path}: {why}")),
    };
    Ok(Some(Transaction { id, dir, plan, journal }))
}

/// Makes a directory and those above it; those below [`STATE`] for root alone.
pub(super) fn make_dirs(host: &dyn HostMut, dir: &str) -> std::io::Result<()> {
    let mut missing = missing_dirs(host, dir);
    missing.retain(|dir| !dir.is_empty());
    for path in missing {
        host.make_dir(&path, path.starts_with(STATE))?;
    }
    Ok(())
}

/// The directories that are missing on the way to `dir`, itself included, the outermost first.
pub(super) fn missing_dirs(host: &dyn Host, dir: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let mut path = dir.trim_end_matches('/');
    while !path.is_empty() && host.stat(path).is_absent() {
        missing.push(path.to_owned());
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    missing.reverse();
    missing
}

/// Adds a record to a journal.
pub(super) fn note(host: &dyn HostMut, dir: &str, record: &Record) -> std::io::Result<()> {
    let line = serde_json::to_string(record).map_err(std::io::Error::other)? + "\n";
    host.append(&format!("{dir}/journal"), line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::journal::{Outcome, SCHEMA};
    use crate::host::{Caller, Recorded};

    fn begin(id: u32) -> String {
        let by = Caller { uid: 0, user: None, when: "2026-01-02T03:04:05Z".into(), argv: Vec::new() };
        let record = Record::Begin { schema: SCHEMA.into(), id, by, boot_id: Some("b".into()), version: "1".into() };
        serde_json::to_string(&record).unwrap() + "\n"
    }

    #[test]
    fn all_transactions_of_a_host() {
        let end = Record::End { when: "2026-01-02T03:04:06Z".into(), outcome: Outcome::Applied };
        let end = serde_json::to_string(&end).unwrap() + "\n";
        let plan =
            r#"{"schema":"vfioneer/plan/1","reboot":false,"expect":[{"kind":"iommu-on"},{"kind":"later"}],"new":1}"#;
        let mut builder = Recorded::builder();
        builder
            .add_file(&format!("{}/journal", dir(10)), begin(10))
            .add_file(&format!("{}/journal", dir(9)), begin(9) + &end)
            .add_file(&format!("{}/plan.json", dir(9)), plan)
            .add_file(&format!("{}/journal", dir(11)), "")
            .add_file(&format!("{TRANSACTIONS}/lost+found"), "");
        let host = builder.build();
        assert_eq!(numbers(&host).unwrap(), [9, 10, 11]);
        let nine = load(&host, 9).unwrap().unwrap();
        assert!(nine.journal.is_in_effect() && !nine.plan.reboot);
        assert_eq!((nine.journal.boot_id.as_deref(), nine.plan.expect), (Some("b"), vec![Expectation::IommuOn]));
        assert!(load(&host, 10).unwrap_err().contains("10/plan.json is missing"));
        assert!(load(&host, 11).unwrap().is_none());
        assert!(numbers(&Recorded::builder().build()).unwrap().is_empty());
    }
}

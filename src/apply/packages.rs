//! Package managers at work: nothing is applied meanwhile, and where they can be kept from starting, they are.

use crate::error::{Error, Result};
use crate::host::change::Lock;
use crate::host::{Host, HostMut, Kind};
use serde::Deserialize;

/// A row of `data/package_managers.toml`.
#[derive(Deserialize)]
struct Manager {
    name: String,
    lock: Option<String>,
    how: Option<How>,
    #[serde(default)]
    hold: bool,
    programs: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum How {
    Record,
    Exists,
}

#[derive(Deserialize)]
struct Rows {
    manager: Vec<Manager>,
}

/// Refuses if a package manager is at work, and takes the locks that keep one from starting.
pub(super) fn hold(host: &dyn HostMut) -> Result<Vec<Lock>> {
    let rows: Rows = toml::from_str(include_str!("../../data/package_managers.toml"))
        .map_err(|error| Error::bug(format!("data/package_managers.toml: {error}")))?;
    let mut locks = Vec::new();
    // What a mounted system's package manager left behind is not at work.
    if host.kind() != Kind::Live {
        return Ok(locks);
    }
    for row in &rows.manager {
        let Some(lock) = row.lock.as_deref().filter(|lock| !host.stat(lock).is_absent()) else { continue };
        if row.how == Some(How::Exists) {
            return Err(busy(&row.name).hint(format!("if none is running: an interrupted one left {lock}, remove it")));
        }
        match host.lock_record(lock) {
            Ok(Some(taken)) if row.hold => locks.push(taken),
            Ok(None) => return Err(busy(&row.name).hint(format!("it has locked {lock}"))),
            // One that cannot be asked is not at work here: its directory is read-only.
            _ => {}
        }
    }
    for (id, name) in processes(host) {
        if let Some(row) = rows.manager.iter().find(|row| row.programs.contains(&name)) {
            return Err(busy(&row.name).hint(format!("it runs as process {id}")));
        }
    }
    Ok(locks)
}

fn busy(name: &str) -> Error {
    Error::refused(format!("{name} is at work on this host")).hint("wait until it has finished, then try again")
}

/// Numbers and names of all processes.
fn processes(host: &dyn Host) -> impl Iterator<Item = (u32, String)> {
    let names = host.entries("/proc").into_known().unwrap_or_default();
    names.into_iter().filter_map(|name| {
        let id = name.parse().ok()?;
        Some((id, host.value(&format!("/proc/{name}/comm")).into_known()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_can_be_read_and_are_in_order() {
        let rows: Rows = toml::from_str(include_str!("../../data/package_managers.toml")).unwrap();
        assert!(rows.manager.is_sorted_by_key(|row| (&row.name, &row.lock)));
        for row in &rows.manager {
            assert_eq!(row.lock.is_some(), row.how.is_some(), "{}", row.name);
            assert!(row.programs.iter().all(|name| name.len() <= 15), "{}", row.name);
            assert!(!row.hold || row.how == Some(How::Record));
        }
    }
}

//! Which VM has which functions, from its start to its end: what no other may be given, and what goes back to the host. And which functions
//! could not be brought back.

use super::Vm;
use crate::error::{Error, Result};
use crate::host::{Fact, Host, HostMut};
use crate::parse::address::Address;
use crate::parse::vm_settings::VmSettings;
use serde::{Deserialize, Serialize};
use std::io;

const FILE: &str = "/run/vfioneer/given.json";
/// The name of its format.
const SCHEMA: &str = "vfioneer/given/1";

/// What one VM was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Which VM.
    pub vm: Vm,
    /// When, RFC 3339.
    pub when: String,
    /// The same in seconds since the boot: clocks are set.
    pub uptime: u64,
    /// All its functions.
    pub functions: Vec<Address>,
    /// Those of them that were the host's before, and are not back yet.
    pub taken: Vec<Address>,
    /// What was to happen then.
    pub settings: VmSettings,
    /// The VM has ended, and something could not go back.
    #[serde(default)]
    pub ended: bool,
}

/// A function that could not be brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwell {
    /// Which function.
    pub function: Address,
    /// Why.
    pub why: String,
}

/// What all VMs were given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Book {
    schema: String,
    /// One for each VM.
    pub given: Vec<Given>,
    /// Until a reset has proven them well.
    #[serde(default)]
    pub unwell: Vec<Unwell>,
}

impl Book {
    /// Reads it; empty if there is none.
    pub fn load(host: &dyn Host) -> Result<Book> {
        let fail = |why: String| {
            Error::refused(format!("cannot use {FILE}, which says which VM has which device: {why}"))
                .hint(format!("if no VM with a device runs, remove it: sudo rm {FILE}"))
        };
        match host.read(FILE) {
            Fact::Absent => Ok(Book::default()),
            Fact::Unknown(why) => Err(fail(why.to_string())),
            Fact::Known(bytes) => {
                let book: Book = serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
                if book.schema == SCHEMA { Ok(book) } else { Err(fail(format!("it is {:?}", book.schema))) }
            }
        }
    }

    /// What a VM was given.
    pub fn of(&self, vm: &Vm) -> Option<&Given> {
        self.given.iter().find(|given| given.vm == *vm)
    }

    /// The other VM that has one of these functions.
    pub fn other(&self, vm: &Vm, functions: &[Address]) -> Option<(&Given, Address)> {
        let others = self.given.iter().filter(|given| given.vm != *vm);
        others.flat_map(|given| given.functions.iter().map(move |f| (given, *f))).find(|(_, f)| functions.contains(f))
    }

    /// Notes what a VM has now, `None`: nothing. Written at once.
    pub fn set(&mut self, host: &dyn HostMut, vm: &Vm, given: Option<Given>) -> Result<()> {
        self.given.retain(|known| known.vm != *vm);
        self.given.extend(given);
        self.save(host)
    }

    /// Notes that functions are well, or why one of them is not. Written at once.
    pub fn judge(&mut self, host: &dyn HostMut, functions: &[Address], why: Option<&str>) -> Result<()> {
        let known = self.unwell.len();
        self.unwell.retain(|unwell| !functions.contains(&unwell.function));
        let unwell = |why: &str| {
            functions.iter().map(|function| Unwell { function: *function, why: why.to_owned() }).collect::<Vec<_>>()
        };
        self.unwell.extend(why.map(unwell).unwrap_or_default());
        if known == 0 && self.unwell.is_empty() { Ok(()) } else { self.save(host) }
    }

    fn save(&mut self, host: &dyn HostMut) -> Result<()> {
        SCHEMA.clone_into(&mut self.schema);
        let written = match self.given.is_empty() && self.unwell.is_empty() {
            true => host.remove(FILE),
            false => serde_json::to_string_pretty(self)
                .map_err(io::Error::other)
                .and_then(|text| host.write(FILE, (text + "\n").as_bytes(), 0o600)),
        };
        written.map_err(|error| {
            Error::refused(format!("cannot write {FILE}: {error}")).hint("make room in /run, then try again")
        })
    }
}

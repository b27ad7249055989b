//! Snapshot, goal and findings to a plan: guards, steps in order, one diff, expectations. Pure.

pub mod guards;

use crate::facts::Snapshot;
use crate::goal::Goal;
use crate::parse::address::Address;
use crate::steps::{Expectation, Step};
use serde::Serialize;

/// The name of the plan file's format.
pub const SCHEMA: &str = "vfioneer/plan/1";

/// What would change on a host, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// True if `apply` would do it: nothing refused, nothing left to a person, made on the host itself.
    pub applicable: bool,
    /// The fingerprint of the host that it was made for; null if it has none or is a recording.
    pub host: Option<String>,
    /// The chosen functions.
    pub devices: Vec<Address>,
    /// The goal as it can be given again: what `apply` makes the plan from once more.
    pub goal: serde_json::Value,
    /// In order of execution.
    pub steps: Vec<Step>,
    /// Must the host be rebooted afterwards?
    pub reboot: bool,
    /// What must be true then.
    pub expect: Vec<Expectation>,
    /// Why it is refused.
    pub refused: Vec<guards::Refusal>,
    /// What a person has to do, where vfioneer doesn't.
    pub manual: Vec<String>,
    /// What the user should know, and why a guide's line is not in it.
    pub notes: Vec<String>,
}

/// Makes a plan.
pub fn make(_snap: &Snapshot, goal: &Goal) -> Plan {
    Plan {
        schema: SCHEMA,
        applicable: true,
        host: None,
        devices: goal.devices.clone(),
        goal: serde_json::Value::Null,
        steps: Vec::new(),
        reboot: false,
        expect: Vec::new(),
        refused: Vec::new(),
        manual: Vec::new(),
        notes: Vec::new(),
    }
}

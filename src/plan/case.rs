//! What every part of the plan looks at: the host, the goal, what the checks found, and the functions that are meant.

use super::adopt;
use crate::checks::device::{is_chipset, is_endpoint, stands_aside};
use crate::checks::words::{self, Word};
use crate::checks::{self, Finding};
use crate::facts::pci::Function;
use crate::facts::{Evidence, Snapshot};
use crate::goal::Goal;
use crate::host::{Fact, Kind};
use crate::parse::address::Address;
use std::collections::{BTreeMap, BTreeSet};

/// One host, one goal.
pub struct Case<'a> {
    /// The host.
    pub snap: &'a Snapshot,
    /// What is wanted.
    pub goal: &'a Goal,
    /// Every word that the kernel got or will get.
    pub words: Vec<Word>,
    /// What the checks say of both.
    pub findings: Vec<Finding>,
    /// The functions that the plan claims, sorted: the chosen ones, and with `--allow group` those of their groups that a
    /// driver of the host has.
    pub chosen: Vec<&'a Function>,
    /// Where virtual functions are asked for: the functions that make them, which the plan does not claim. Nothing is chosen then.
    pub physical: Vec<&'a Function>,
    /// Groups of which a part is chosen, and the endpoints of each that would be in the way.
    pub in_the_way: BTreeMap<u32, Vec<&'a Function>>,
    /// What gives all chosen functions to vfio already, at every boot, by the user's own configuration.
    pub adopted: Option<Vec<Evidence>>,
}

impl<'a> Case<'a> {
    /// Looks at a host for a goal.
    pub fn new(snap: &'a Snapshot, goal: &'a Goal) -> Case<'a> {
        let named: Vec<&Function> = goal.devices.iter().filter_map(|address| snap.pci.get(address)).collect();
        let (mut chosen, physical) = if goal.vfs.is_some() { (Vec::new(), named) } else { (named, Vec::new()) };
        let mut in_the_way = strangers(snap, &chosen);
        if goal.allow.contains("group") {
            chosen.extend(std::mem::take(&mut in_the_way).into_values().flatten());
            chosen.sort_by_key(|f| f.address);
            chosen.dedup_by_key(|f| f.address);
        }
        let mut case = Case {
            snap,
            goal,
            words: words::all(snap),
            findings: checks::run(snap, goal),
            chosen,
            physical,
            in_the_way,
            adopted: None,
        };
        case.adopted = adopt::held(&case);
        case
    }

    /// The addresses of the chosen functions.
    pub fn addresses(&self) -> Vec<Address> {
        self.chosen.iter().map(|f| f.address).collect()
    }

    /// The addresses of the functions that the plan is about.
    pub fn named(&self) -> Vec<Address> {
        self.chosen.iter().chain(&self.physical).map(|f| f.address).collect()
    }

    /// True if something is to go to VMs: chosen functions, or virtual ones that are made.
    pub fn gives(&self) -> bool {
        !self.chosen.is_empty() || !self.physical.is_empty() && self.goal.vfs != Some(0)
    }

    /// Has the user named this guard?
    pub fn allows(&self, guard: &str) -> bool {
        self.goal.allow.contains(guard)
    }

    /// True if the host runs, or ran when it was recorded: what its kernel says counts. A mounted disk runs nothing.
    pub fn runs(&self) -> bool {
        !matches!(self.snap.origin, crate::facts::Origin::Host(Kind::Mounted, _))
    }
}

/// Endpoints that share a group with a chosen function, are not chosen, and have a driver of the host: as long as they
/// have it the group goes to no VM. Where the driver is not known it counts as one.
fn strangers<'a>(snap: &'a Snapshot, chosen: &[&'a Function]) -> BTreeMap<u32, Vec<&'a Function>> {
    let groups: BTreeSet<u32> = chosen.iter().filter_map(|f| f.group.known().copied()).collect();
    let mut found: BTreeMap<u32, Vec<&Function>> = BTreeMap::new();
    for function in &snap.pci.functions {
        let Fact::Known(group) = function.group else { continue };
        if groups.contains(&group)
            && is_endpoint(function) != Some(false)
            && !is_chipset(function)
            && stands_aside(function) != Some(true)
            && !chosen.iter().any(|f| f.address == function.address)
        {
            found.entry(group).or_default().push(function);
        }
    }
    found
}

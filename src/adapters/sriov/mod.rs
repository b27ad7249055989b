//! Virtual functions of SR-IOV at every boot: udev's rule and the script that it runs.
//!
//! Goes in: a snapshot, and what each physical function is to be given. Comes out: the two files, or their removal. The script is the same
//! on every host ([`SCRIPT`]); which functions it is run for stands in the rules ([`crate::parse::sriov_rules`]).

use super::Work;
use super::claim::path;
use crate::facts::Snapshot;
use crate::facts::own::{SRIOV_RULES, SRIOV_SCRIPT, UDEV};
use crate::facts::pci::Function;
use crate::parse::sriov_rules::{self, Rule};
use crate::steps::Step;
use crate::steps::reasons::reason;

/// The script.
pub const SCRIPT: &str = include_str!("sriov.sh");

/// The rules that the host has today.
pub fn rules(snap: &Snapshot) -> Vec<Rule> {
    snap.own.text(SRIOV_RULES).map(sriov_rules::parse).unwrap_or_default()
}

/// True if a rule is for this function.
pub fn is_for(snap: &Snapshot, rule: &Rule, function: &Function) -> bool {
    let ids = function.ids.known().map(|ids| (ids.vendor, ids.device));
    ids == Some(rule.ids) && path(&snap.pci, &function.address).is_ok_and(|path| path == rule.path)
}

/// True for a virtual function whose physical one has a rule: at every boot vfioneer gives it to vfio-pci.
pub fn is_given(snap: &Snapshot, function: &Function) -> bool {
    let Some(physical) = function.physical.known().and_then(|address| snap.pci.get(address)) else { return false };
    rules(snap).iter().any(|rule| is_for(snap, rule, physical))
}

/// What makes the host have these rules, and no others of vfioneer's.
pub fn work(snap: &Snapshot, wanted: &[Rule]) -> Work {
    let mut work = Work::default();
    if wanted.is_empty() {
        for path in [SRIOV_RULES, SRIOV_SCRIPT] {
            work.files.extend(snap.own.text(path).map(|text| Step::remove(path, text, reason("sriov-gone", &[]))));
        }
        return work;
    }
    let rules = sriov_rules::write(wanted);
    if rules == snap.own.text(SRIOV_RULES).unwrap_or_default() && snap.own.text(SRIOV_SCRIPT) == Some(SCRIPT) {
        return work;
    }
    if !UDEV.iter().any(|program| snap.own.programs.contains(*program)) {
        work.manual.push(reason("sriov-no-udev", &[]));
        return work;
    }
    // The script first: a rule without it does nothing.
    for (path, text, mode, why) in
        [(SRIOV_SCRIPT, SCRIPT, 0o755, "sriov-script"), (SRIOV_RULES, rules.as_str(), 0o644, "sriov-rules")]
    {
        let before = snap.own.text(path);
        if before != Some(text) {
            work.files.push(Step::write(path, before, text, mode, reason(why, &[])));
        }
    }
    work
}

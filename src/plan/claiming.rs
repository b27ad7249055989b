//! What claims the chosen functions at every boot.

use super::case::Case;
use super::driver;
use crate::adapters::Work;
use crate::adapters::claim;
use crate::facts::own::{CLAIMS, SCRIPT};
use crate::goal::Method;
use crate::parse::address::Address;
use crate::parse::claims::{self, Claim};
use crate::steps::Step;
use crate::steps::reasons::reason;

/// Files and images; nothing where the host has them already.
pub(super) fn work(case: &Case<'_>) -> Work {
    let mut work = Work::default();
    if case.goal.method == Method::Identity && case.chosen.iter().any(|f| f.physical.known().is_none()) {
        let table = table(case);
        own_file(case, &mut work, CLAIMS, claims::write(&table), 0o644, "claims");
        own_file(case, &mut work, SCRIPT, claim::SCRIPT.to_owned(), 0o755, "claim-script");
    }
    work
}

/// The claims of the chosen functions, and those of others that are claimed since before. Functions that cannot be claimed
/// are refused by the guards; a virtual function that is on vfio already needs no claim.
fn table(case: &Case<'_>) -> Vec<Claim> {
    let of = |address: &Address| claim::claims(&case.snap.pci, &[*address]).unwrap_or_default();
    let mut table: Vec<Claim> = case.addresses().iter().flat_map(of).collect();
    for claim in &mut table {
        if let Some(function) = case.snap.pci.get(&claim.address) {
            claim.driver = driver::of(case.snap, function);
        }
    }
    let before = case.snap.own.text(CLAIMS).map(|text| claims::parse(text).claims).unwrap_or_default();
    let same =
        |a: &Claim, b: &Claim| a.address == b.address || (a.ids, a.subsystem, &a.path) == (b.ids, b.subsystem, &b.path);
    let kept: Vec<Claim> = before.into_iter().filter(|old| !table.iter().any(|new| same(old, new))).collect();
    table.extend(kept);
    table.sort_by_key(|claim| claim.address);
    table
}

/// Writes a file of vfioneer's own, unless it is there as it should be.
fn own_file(case: &Case<'_>, work: &mut Work, path: &str, text: String, mode: u32, why: &str) {
    let before = case.snap.own.text(path);
    if before != Some(text.as_str()) {
        work.files.push(Step::write(path, before, text, mode, reason(why, &[])));
    }
}

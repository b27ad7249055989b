//! What claims the chosen functions at every boot.

use super::case::Case;
use super::driver;
use super::guards::exact_ids;
use crate::adapters::claim::{self, Ids, Wanted};
use crate::facts::own::CLAIMS;
use crate::goal::Method;
use crate::parse::address::Address;
use crate::parse::claims::{self, Claim};
use std::collections::BTreeSet;

/// What is to be claimed at boot; nothing where the user's own configuration does it, or nothing was chosen that is there at boot.
pub(super) fn wanted(case: &Case<'_>) -> Option<Wanted> {
    let claimable = case.chosen.iter().any(|f| f.physical.known().is_none());
    (claimable && case.adopted.is_none()).then(|| match case.goal.method {
        Method::Identity => Wanted::Identity(table(case)),
        Method::Ids => Wanted::Ids(ids(case)),
    })
}

fn ids(case: &Case<'_>) -> Ids {
    let ids: BTreeSet<String> = case.chosen.iter().filter_map(|function| exact_ids(case, function).ok()).collect();
    let natives: BTreeSet<String> = case.chosen.iter().flat_map(|function| claim::natives(function)).collect();
    Ids { ids: ids.into_iter().collect(), natives: natives.into_iter().collect() }
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

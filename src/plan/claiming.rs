//! What claims the chosen functions at every boot: the table of claims, or the ids.

use super::case::Case;
use super::driver;
use super::guards::exact_ids;
use crate::adapters::claim::{self, Ids, Wanted};
use crate::checks::intent;
use crate::facts::own::CLAIMS;
use crate::facts::pci::Function;
use crate::goal::Method;
use crate::parse::claims::{self, Claim};

/// What is to be claimed, and how; `None` if nothing is, or the user's own configuration does it.
pub(super) fn wanted(case: &Case<'_>) -> Option<Wanted> {
    // A virtual function that is on vfio was put there by whatever creates it.
    let claimable = case.chosen.iter().any(|f| f.physical.known().is_none());
    (claimable && case.adopted.is_none()).then(|| match case.goal.method {
        Method::Identity => Wanted::Identity(table(case)),
        Method::Ids => Wanted::Ids(Ids { ids: ids(case), natives: natives(case) }),
    })
}

/// What an earlier plan claims.
pub(super) fn present(case: &Case<'_>) -> Option<Wanted> {
    let claims = claims::parse(case.snap.own.text(CLAIMS)?).claims;
    (!claims.is_empty()).then_some(Wanted::Identity(claims))
}

/// The claims of the chosen functions, and those of others that are claimed since before. Functions that cannot be claimed
/// are refused by the guards.
fn table(case: &Case<'_>) -> Vec<Claim> {
    let of = |address| claim::claims(&case.snap.pci, &[address]).unwrap_or_default();
    let mut table: Vec<Claim> = case.addresses().into_iter().flat_map(of).collect();
    for claim in &mut table {
        if let Some(function) = case.snap.pci.get(&claim.address) {
            claim.driver = driver::of(case.snap, function);
        }
    }
    let kept: Vec<Claim> = before(case).into_iter().filter(|old| !table.iter().any(|new| same(old, new))).collect();
    table.extend(kept);
    table.sort_by_key(|claim| claim.address);
    table
}

/// The claims that the host has today.
pub(super) fn before(case: &Case<'_>) -> Vec<Claim> {
    case.snap.own.text(CLAIMS).map(|text| claims::parse(text).claims).unwrap_or_default()
}

/// Two claims of one function: at its address, or where it is after bus numbers have changed.
fn same(a: &Claim, b: &Claim) -> bool {
    a.address == b.address || (a.ids, a.subsystem, &a.path) == (b.ids, b.subsystem, &b.path)
}

/// The ids of the chosen functions behind those that modprobe.d gives already: of several lists the last one counts.
fn ids(case: &Case<'_>) -> Vec<String> {
    let given: Vec<intent::Claim> = intent::claims(case.snap).into_iter().filter(|claim| !claim.on_cmdline).collect();
    let mut ids: Vec<String> = given.iter().map(|claim| claim.text.to_ascii_lowercase()).collect();
    let taken = |function: &Function| given.iter().any(|claim| claim.takes(function) == Some(true));
    ids.extend(case.chosen.iter().filter(|f| !taken(f)).filter_map(|f| exact_ids(case, f).ok()));
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    ids
}

fn natives(case: &Case<'_>) -> Vec<String> {
    let mut natives: Vec<String> = case.chosen.iter().flat_map(|f| claim::natives(f)).collect();
    natives.sort();
    natives.dedup();
    natives
}

//! What must be true when a plan has been carried out and the host has booted.

use super::case::Case;
use super::driver;
use super::words::Word;
use crate::facts::own;
use crate::steps::{Action, Expectation, Step, sha256};
use std::collections::BTreeSet;

/// Everything, sorted, each once; `of_adapters` is what the adapters expect.
pub(super) fn all(case: &Case<'_>, words: &[Word], steps: &[Step], of_adapters: Vec<Expectation>) -> Vec<Expectation> {
    let mut expect: BTreeSet<Expectation> = of_adapters.into_iter().collect();
    if case.gives() {
        expect.insert(Expectation::IommuOn);
    }
    if !case.chosen.is_empty() {
        expect.insert(Expectation::NothingElseTaken { addresses: taken(case) });
    }
    for word in words {
        expect.insert(Expectation::CommandLine { word: word.word.clone(), present: word.present });
    }
    let mut groups = BTreeSet::new();
    for function in &case.chosen {
        let id = function.ids.known().map(ToString::to_string).unwrap_or_default();
        let driver = function.driver.known().filter(|_| function.on_vfio()).cloned();
        let driver = driver.unwrap_or_else(|| driver::of(case.snap, function));
        expect.insert(Expectation::Driver { address: function.address, id, driver });
        // One function speaks for its group; where the group is not known yet, each for itself.
        if function.group.known().is_none_or(|group| groups.insert(*group)) {
            expect.insert(Expectation::GroupViable { address: function.address });
        }
    }
    // Of a file that others write to as well, only what comes of it is expected.
    let own = |step: &&Step| step.path().is_some_and(|path| own::FILES.contains(&path));
    for step in steps.iter().filter(own) {
        match &step.action {
            Action::WriteFile { path, after, .. } => {
                expect.insert(Expectation::File { path: path.clone(), sha256: Some(sha256(after.as_bytes())) });
            }
            Action::RemoveFile { path, .. } => {
                expect.insert(Expectation::File { path: path.clone(), sha256: None });
            }
            Action::Generate { .. } | Action::Run { .. } | Action::Bind { .. } | Action::VirtualFunctions { .. } => {}
        }
    }
    expect.into_iter().collect()
}

/// The chosen functions, and those that are on a vfio driver today.
fn taken(case: &Case<'_>) -> Vec<crate::parse::address::Address> {
    let mut taken = case.addresses();
    taken.extend(case.snap.pci.functions.iter().filter(|f| f.on_vfio()).map(|f| f.address));
    taken.sort();
    taken.dedup();
    taken
}

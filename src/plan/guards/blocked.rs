//! What no plan can change: firmware, hardware, the kernel, and functions that cannot be given away at all.

use super::{Case, Refusal};
use crate::adapters::claim::{self, NotClaimable};
use crate::checks::device::is_endpoint;
use crate::checks::{Finding, Severity, Subject, pages};
use crate::facts::pci::Function;
use crate::host::Fact;
use crate::plan::words::iommu_words;

/// Findings that stand in the way for good, with the variants that do; an empty list: all of them.
const FINDINGS: &[(&str, &[&str])] = &[
    ("host-is-guest", &[]),
    ("in-container", &[]),
    ("iommu-off-in-firmware", &[]),
    // The other variants are cured by a word, if there is one.
    ("iommu-off-in-kernel", &["kernel-lacks", "stoney", "failed"]),
    ("kernel-lacks-vfio", &[]),
    ("no-iommu-group", &[]),
    ("rmrr-locked", &[]),
    ("device-denylisted", &[]),
    ("ids-take-too-much", &[]),
    ("cmdline-words-glued", &["root"]),
];

/// Those of them that `--repair` mends.
const REPAIRED: &[&str] = &["ids-take-too-much", "cmdline-words-glued"];

pub(super) fn refusals(case: &Case<'_>) -> Vec<Refusal> {
    if !case.gives() {
        return Vec::new();
    }
    let mut refused = hopeless(case);
    for function in &case.chosen {
        // One that is on vfio already was put there by whatever creates it.
        if function.physical.known().is_some() && !function.on_vfio() {
            let physical = function.physical.known().map(ToString::to_string).unwrap_or_default();
            let values = [("device", &*function.name()), ("physical", &*physical)];
            refused.push(Refusal::firm("virtual-function", function.address, &values));
        }
    }
    if refused.is_empty() && case.adopted.is_none() {
        refused.extend(unidentified(case));
    }
    if case.runs() && refused.is_empty() {
        refused.extend(iommu_unseen(case));
    }
    refused
}

/// What neither a plan nor a command mends.
pub(super) fn hopeless(case: &Case<'_>) -> Vec<Refusal> {
    let mut refused: Vec<Refusal> =
        case.findings.iter().filter(|finding| blocks(case, finding)).map(of_finding).collect();
    for function in case.chosen.iter().chain(&case.physical) {
        let name = function.name();
        let device = [("device", name.as_str())];
        if is_endpoint(function) == Some(false) {
            refused.push(Refusal::firm("bridge", function.address, &device));
        } else if function.dead == Fact::Known(true) {
            refused.push(Refusal::firm("dead", function.address, &device));
        }
    }
    refused
}

fn of_finding(finding: &Finding) -> Refusal {
    let remedy = pages::remedy(finding);
    let reason = format!("{} {remedy}", pages::message(finding));
    Refusal {
        guard: finding.id,
        subject: finding.subject.to_string(),
        reason: reason.trim_end().to_owned(),
        allowable: false,
    }
}

fn blocks(case: &Case<'_>, finding: &Finding) -> bool {
    let Some((_, variants)) = FINDINGS.iter().find(|(id, _)| *id == finding.id) else { return false };
    if case.goal.repair && REPAIRED.contains(&finding.id) {
        return false;
    }
    if finding.id == "ids-take-too-much" {
        let taken = finding.values.iter().find(|(name, _)| *name == "devices").map_or("", |(_, value)| value);
        return case.chosen.iter().any(|f| taken.split(", ").any(|address| address == f.address.to_string()));
    }
    let about_chosen = match &finding.subject {
        Subject::Function(address) => case.chosen.iter().any(|f| f.address == *address),
        Subject::Group(group) => case.chosen.iter().any(|f| f.group == Fact::Known(*group)),
        Subject::Host | Subject::Line(..) => true,
        Subject::File(_) | Subject::Vm(_) => false,
    };
    let for_good = variants.is_empty()
        || variants.contains(&finding.variant)
        || finding.id == "iommu-off-in-kernel" && iommu_words(case).is_empty();
    finding.severity == Severity::Error && about_chosen && for_good
}

/// Functions that cannot be told from others for want of root: no claim could be written for them.
fn unidentified(case: &Case<'_>) -> Vec<Refusal> {
    let refusal = |function: &&Function| match claim::claims(&case.snap.pci, &[function.address]) {
        Err(NotClaimable::Unknown(address, why)) => {
            Some(Refusal::firm("unidentified", address, &[("device", &function.name()), ("why", &why.to_string())]))
        }
        _ => None,
    };
    case.chosen.iter().filter_map(refusal).collect()
}

/// Whether an IOMMU runs could not be seen: then no plan is worth anything.
fn iommu_unseen(case: &Case<'_>) -> Option<Refusal> {
    let why = case.snap.iommu.running().why()?.to_string();
    Some(Refusal::firm("iommu-unseen", "host", &[("why", &why)]))
}

//! What is refused unless the user names it in `--allow`, and what is refused in any case.
//!
//! One file per family of guards. A guard looks at facts only; one that needs a fact which is not known refuses, and says
//! so: unknown is not "no". Nothing here changes the plan: what a named guard adds is in [`super::words`] and
//! [`super::case`].

mod blocked;
mod group;
mod ids;
mod isolation;
mod running;
mod uses;

use super::case::Case;
use super::{rom, sriov};
use crate::checks::Finding;
use crate::checks::intent::Claim;
use crate::error::{Error, Result};
use crate::plan::texts::said;
use serde::Serialize;
use std::collections::BTreeSet;

pub(super) use ids::exact as exact_ids;
pub(super) use isolation::{interface, overrides, pretended, unsafe_already};
pub(super) use running::{of_return, refusals as of_running};

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The guard's name, as `--allow` takes it; where nothing allows it, the finding's id or a name of its own.
    pub guard: &'static str,
    /// What it is about: a function, a group, the host.
    pub subject: String,
    /// Why, in one or two sentences.
    pub reason: String,
    /// False where naming it changes nothing: there is no safe way.
    pub allowable: bool,
}

/// The names that `--allow` takes, and what is given away then.
pub const NAMES: &[(&str, &str)] = &[
    ("root-storage", "a controller with /, /boot, the ESP or swap"),
    ("storage", "a controller with another file system or pool in use"),
    ("default-route", "the network interface of the default route"),
    ("ssh", "the network interface of this SSH session"),
    ("network", "a network interface that is in use"),
    ("only-console", "the only screen, without serial console, BMC or SSH"),
    ("in-use", "what a running VM or process uses"),
    ("slices", "a device whose VFs or mediated devices are in use"),
    ("group", "all of the IOMMU group: what was not chosen, too"),
    ("acs-override", "isolation that pcie_acs_override only pretends"),
    ("container", "a device whose nodes a container has: the container loses it"),
    ("other-vm", "a device that another VM is given, too: only one of them can run"),
    ("rom", "a ROM file that is damaged or another card's"),
    ("unsafe-interrupts", "devices without interrupt remapping"),
];

/// Fails with a usage error if a goal names a guard that there is not.
pub fn check_names(allow: &BTreeSet<String>) -> Result<()> {
    let known = |name: &String| NAMES.iter().any(|(known, _)| known == name);
    match allow.iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            Err(Error::usage(format!("--allow {name}: there is no such guard"))
                .hint(format!("the guards are {}", names.join(", "))))
        }
    }
}

/// Everything that is refused, at once.
pub(super) fn all(case: &Case<'_>) -> Vec<Refusal> {
    let mut refused = Vec::new();
    refused.extend(blocked::refusals(case));
    refused.extend(uses::refusals(case));
    refused.extend(group::refusals(case));
    refused.extend(isolation::refusals(case));
    refused.extend(ids::refusals(case));
    refused.extend(sriov::refusals(case));
    refused.extend(sriov::used(case).into_iter().map(|(device, users)| {
        Refusal::allowable("slices", "vfs-used", &device, &[("device", &device), ("users", &users)])
    }));
    refused.extend(rom::objections(case).into_iter().map(|(device, message)| {
        Refusal::allowable("rom", "rom", &device, &[("device", &device), ("message", &message)])
    }));
    refused.retain(|refusal| !refusal.allowable || !case.allows(refusal.guard));
    refused.dedup();
    refused
}

/// True if `--repair` takes the ids out: those that `ids-take-too-much` names.
fn is_repaired(case: &Case<'_>, claim: &Claim) -> bool {
    let named = |finding: &Finding| {
        finding.id == "ids-take-too-much"
            && finding.values.iter().any(|(name, ids)| *name == "ids" && *ids == claim.text)
    };
    case.goal.repair && case.findings.iter().any(named)
}

impl Refusal {
    /// One that `--allow` lifts; its sentence is `guard-<id>`.
    pub(super) fn allowable(guard: &'static str, id: &str, subject: impl ToString, values: &[(&str, &str)]) -> Refusal {
        Refusal { guard, subject: subject.to_string(), reason: said(&format!("guard-{id}"), values), allowable: true }
    }

    /// One that nothing lifts, with a sentence of somebody else's.
    pub(super) fn told(guard: &'static str, subject: impl ToString, reason: String) -> Refusal {
        Refusal { guard, subject: subject.to_string(), reason, allowable: false }
    }

    /// One that nothing lifts; its sentence is `guard-<id>`.
    pub(super) fn firm(guard: &'static str, subject: impl ToString, values: &[(&str, &str)]) -> Refusal {
        Refusal {
            guard,
            subject: subject.to_string(),
            reason: said(&format!("guard-{guard}"), values),
            allowable: false,
        }
    }
}

#[cfg(test)]
mod tests;

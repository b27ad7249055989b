//! A group that holds more than what was chosen: it goes to a VM whole, or not at all.

use super::{Case, Refusal};
use crate::checks::device::{list, named};
use crate::facts::isolation::Topology;
use crate::facts::usage::UseKind;
use std::collections::BTreeSet;

/// Uses for which the host cannot do without a function.
const VITAL: &[UseKind] =
    &[UseKind::RootStorage, UseKind::Storage, UseKind::DefaultRoute, UseKind::SshSession, UseKind::Network];

pub(super) fn refusals(case: &Case<'_>) -> Vec<Refusal> {
    // The bridges are told apart at the next boot.
    if super::isolation::overrides(case).is_some() {
        return Vec::new();
    }
    shared(case)
}

/// Groups of which a part is not chosen, and would be in the way.
pub(super) fn shared(case: &Case<'_>) -> Vec<Refusal> {
    if case.in_the_way.is_empty() {
        return Vec::new();
    }
    let topology = Topology::new(&case.snap.pci);
    let refusal = |(group, others): (&u32, &Vec<&crate::facts::pci::Function>)| {
        let uses = others.iter().flat_map(|f| case.snap.usage.of(&f.address));
        let vital: BTreeSet<String> = uses
            .filter(|found| VITAL.contains(&found.kind))
            .map(|found| format!("{} ({})", found.address, found.by))
            .collect();
        let story = topology.story(*group);
        let free: Vec<_> = story.free.iter().filter(|port| port.holds.is_empty()).map(|port| port.address).collect();
        let id = match (vital.is_empty(), free.is_empty()) {
            (false, _) => "group-vital",
            (true, false) => "group-free",
            (true, true) => "group",
        };
        let values = [
            ("group", group.to_string()),
            ("others", list(others.iter().map(|f| named(f)))),
            ("addresses", others.iter().map(|f| f.address.to_string()).collect::<Vec<_>>().join(" ")),
            ("vital", list(vital)),
            ("free", list(free)),
        ];
        let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Refusal::allowable("group", id, format!("group {group}"), &values)
    };
    case.in_the_way.iter().map(refusal).collect()
}

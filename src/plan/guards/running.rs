//! What is in the way of handing functions over now, while the host runs.

use super::{Case, Refusal, blocked, group, isolation, uses};
use crate::checks::device::list;
use crate::facts::Snapshot;
use crate::facts::pci::Function;
use crate::facts::usage::UseKind;
use crate::host::Fact;

/// Everything that is refused, at once; what the user has named in `--allow` is not.
pub fn refusals(case: &Case<'_>) -> Vec<Refusal> {
    let mut refused = blocked::hopeless(case);
    if refused.is_empty() && case.snap.iommu.running() != Fact::Known(true) {
        refused.push(Refusal::firm("iommu-not-running", "host", &[]));
    }
    refused.extend(uses::used(case, "in-use-now"));
    refused.extend(uses::console(case));
    // The words of an override come with a boot.
    refused.extend(group::shared(case));
    refused.extend(isolation::refused(case));
    if let Fact::Unknown(why) = &case.snap.usage.complete {
        refused.push(Refusal::firm("users-unseen", "host", &[("why", &why.to_string())]));
    }
    refused.retain(|refusal| !refusal.allowable || !case.allows(refusal.guard));
    refused.dedup();
    refused
}

/// What is in the way of taking functions from vfio. The kernel waits until whoever has one open closes it
/// (Linux 6.12 drivers/vfio/vfio_main.c `vfio_unregister_group_dev`), so there is nothing to allow.
pub fn of_return(snap: &Snapshot, away: &[&Function]) -> Vec<Refusal> {
    let holds = [UseKind::RunningVm, UseKind::Process];
    let refusal = |function: &&Function| {
        let users: Vec<&str> = snap
            .usage
            .of(&function.address)
            .filter(|used| holds.contains(&used.kind))
            .map(|used| used.by.as_str())
            .collect();
        let values = [("device", &*function.name()), ("users", &*list(users.iter().copied()))];
        (!users.is_empty()).then(|| Refusal::firm("held-open", function.address, &values))
    };
    let mut refused: Vec<Refusal> = away.iter().filter_map(refusal).collect();
    if let (Fact::Unknown(why), false) = (&snap.usage.complete, away.is_empty()) {
        refused.push(Refusal::firm("users-unseen", "host", &[("why", &why.to_string())]));
    }
    refused
}

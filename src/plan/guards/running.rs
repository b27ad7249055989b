//! What is in the way of handing functions over now, while the host runs.

use super::{Case, Refusal, blocked, group, isolation, uses};
use crate::host::Fact;

/// Everything that is refused, at once; what the user has named in `--allow` is not.
pub fn refusals(case: &Case<'_>) -> Vec<Refusal> {
    let mut refused = blocked::hopeless(case);
    if refused.is_empty() && case.snap.iommu.running() != Fact::Known(true) {
        refused.push(Refusal::firm("iommu-not-running", "host", &[]));
    }
    refused.extend(uses::used(case));
    refused.extend(uses::console(case));
    refused.extend(group::refusals(case));
    refused.extend(isolation::interrupts(case));
    if let Fact::Unknown(why) = &case.snap.usage.complete {
        refused.push(Refusal::firm("users-unseen", "host", &[("why", &why.to_string())]));
    }
    refused.retain(|refusal| !refusal.allowable || !case.allows(refusal.guard));
    refused.dedup();
    refused
}

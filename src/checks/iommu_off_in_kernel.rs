//! The firmware offers an IOMMU, and the kernel does not use it.

use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::Evidence;
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["iommu-off-in-kernel"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let iommu = &ctx.snap.iommu;
    if iommu.table.known().is_none() || iommu.running() != Fact::Known(false) {
        return Vec::new();
    }
    vec![
        Finding::new("iommu-off-in-kernel", Severity::Error, Subject::Host)
            .evidence(Evidence::new("/sys/class/iommu", "empty")),
    ]
}

//! An IOMMU runs, and this function has no group: nothing isolates it.

use super::device::is_accelerator;
use super::intent::Interest;
use super::{Check, Ctx, Finding, Subject, iommu_off_in_kernel};
use crate::facts::pci::{Function, Seen};
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["no-iommu-group"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    if ctx.snap.iommu.running() != Fact::Known(true) {
        return Vec::new();
    }
    // Graphics that the kernel leaves out on purpose are told there.
    let told = (iommu_off_in_kernel::CHECK.run)(ctx);
    ctx.functions(Interest::Candidate)
        .filter(|f| !told.iter().any(|finding| finding.subject == Subject::Function(f.address)))
        .filter(|f| f.group.is_absent() && f.seen == Seen::Sysfs)
        .filter(|f| is_accelerator(f) || ctx.interest(&f.address) >= Interest::Configured)
        .map(|f| {
            Finding::new("no-iommu-group", ctx.severity_for(&f.address), Subject::Function(f.address))
                .variant(if is_intel_graphics(f) { "igpu" } else { "" })
                .value("device", f.name())
                .evidence(f.evidence("iommu_group", "not there"))
        })
        .collect()
}

/// Intel graphics inside the processor, which kernels built with `INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF` leave out
/// until `intel_iommu=on` is given (`drivers/iommu/intel/iommu.c`, `init_no_remapping_devices`).
fn is_intel_graphics(function: &Function) -> bool {
    let address = function.address;
    function.is_display()
        && (address.domain, address.bus, address.device) == (0, 0, 2)
        && function.ids.known().is_some_and(|ids| ids.vendor == 0x8086)
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU, IGPU};
    use crate::host::Fact;

    #[test]
    fn only_where_an_iommu_runs_and_the_group_is_known_to_be_absent() {
        let mut snap = t::healthy();
        t::change(&mut snap, IGPU, |f| f.group = Fact::Absent);
        t::change(&mut snap, t::DISK, |f| f.group = Fact::Absent);
        assert_eq!(t::shown(&t::only(&t::check(&snap), "no-iommu-group")), ["info no-iommu-group/igpu 0000:00:02.0"]);
        t::change(&mut snap, GPU, |f| f.group = Fact::Absent);
        let found = t::check_for(&snap, &[GPU]);
        assert_eq!(
            t::shown(&t::only(&found, "no-iommu-group")),
            ["error no-iommu-group 0000:01:00.0", "info no-iommu-group/igpu 0000:00:02.0"]
        );
        t::change(&mut snap, GPU, |f| f.group = Fact::default());
        assert_eq!(t::only(&t::check(&snap), "no-iommu-group").len(), 1);
        snap.iommu.groups.clear();
        snap.iommu.units = Fact::Known(Vec::new());
        assert!(t::only(&t::check(&snap), "no-iommu-group").is_empty());
    }
}

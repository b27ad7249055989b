//! The firmware wants a fixed mapping for a device, so that the kernel refuses to give the device away.

use super::device::{is_endpoint, list};
use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::Evidence;
use crate::facts::pci::Function;

pub(super) const CHECK: Check = Check { ids: &["rmrr-locked"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Proxmox's kernels carry the patch behind `intel_iommu=relax_rmrr`.
    let relaxed = ctx.snap.kernel.cmdline.known().is_some_and(|file| {
        let mut words = file.text.split_whitespace();
        words.any(|word| word.starts_with("intel_iommu=") && word.contains("relax_rmrr"))
    });
    let by_group = ctx.snap.pci.by_group();
    for (number, group) in &ctx.snap.iommu.groups {
        // `direct-relaxable` (graphics and USB since Linux 5.3) does not stop anybody.
        let Some(region) = group.reserved.known().and_then(|all| all.iter().find(|r| r.kind == "direct")) else {
            continue;
        };
        let could = |f: &&Function| f.is_candidate() && is_endpoint(f) == Some(true);
        let members: Vec<&Function> = by_group.get(number).into_iter().flatten().copied().filter(could).collect();
        let Some(most) = members.iter().map(|f| ctx.interest(&f.address)).max() else { continue };
        if members.iter().any(|f| ctx.interest(&f.address) == most && f.on_vfio()) && relaxed {
            continue;
        }
        let severity = if most >= Interest::Configured && !relaxed { Severity::Error } else { Severity::Info };
        let line = format!("0x{:016x} 0x{:016x} {}", region.start, region.end, region.kind);
        findings.push(
            Finding::new("rmrr-locked", severity, Subject::Group(*number))
                .value("devices", list(members.iter().map(|f| f.address)))
                .value("start", format!("0x{:x}", region.start))
                .value("end", format!("0x{:x}", region.end))
                .evidence(Evidence::new(format!("/sys/kernel/iommu_groups/{number}/reserved_regions"), line)),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::Snapshot;
    use crate::facts::iommu::Reserved;
    use crate::host::Fact;

    fn reserved(kind: &str) -> Snapshot {
        let mut snap = t::healthy();
        let region = Reserved { start: 0xbdf6_e000, end: 0xbdf8_4fff, kind: kind.into() };
        let msi = Reserved { start: 0xfee0_0000, end: 0xfeef_ffff, kind: "msi".into() };
        snap.iommu.groups.get_mut(&14).expect("the group").reserved = Fact::Known(vec![region, msi]);
        snap
    }

    #[test]
    fn direct_locks_and_relaxable_does_not() {
        let found = |snap: &Snapshot, devices: &[&str]| t::shown(&t::only(&t::check_for(snap, devices), "rmrr-locked"));
        assert_eq!(found(&reserved("direct"), &[GPU]), ["error rmrr-locked group 14"]);
        assert_eq!(found(&reserved("direct"), &[]), ["info rmrr-locked group 14"]);
        assert!(found(&reserved("direct-relaxable"), &[GPU]).is_empty());
        assert!(found(&reserved("reserved"), &[GPU]).is_empty());
        let mut relaxed = reserved("direct");
        t::cmdline(&mut relaxed, "ro intel_iommu=on,relax_rmrr");
        assert_eq!(found(&relaxed, &[GPU]), ["info rmrr-locked group 14"]);
    }
}

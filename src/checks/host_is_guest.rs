//! This host is a virtual machine, or what is seen is a container's view of it.

use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::Evidence;
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["host-is-guest", "in-container"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let system = &ctx.snap.system;
    if let Some(container) = system.container.known() {
        let severity = if ctx.goal.devices.is_empty() { Severity::Warning } else { Severity::Error };
        findings.push(
            Finding::new("in-container", severity, Subject::Host)
                .value("container", container)
                .evidence(Evidence::new("container", container.clone())),
        );
    }
    if system.is_guest == Fact::Known(true) {
        let (severity, variant) = match ctx.snap.iommu.running() {
            Fact::Known(true) => (Severity::Info, "with-iommu"),
            // A table is there: iommu-off-in-kernel says what to do.
            Fact::Known(false) if ctx.snap.iommu.table.known().is_some() => (Severity::Info, "iommu-unused"),
            Fact::Known(false) => (Severity::Error, ""),
            _ => (Severity::Info, "unknown"),
        };
        let evidence = match system.cpu_vendor {
            Fact::Known(crate::facts::system::CpuVendor::Intel | crate::facts::system::CpuVendor::Amd) => {
                Evidence::new("/proc/cpuinfo", "flags: hypervisor")
            }
            _ => Evidence::new("hypervisor", system.guest_of.known().cloned().unwrap_or_default()),
        };
        let mut finding = Finding::new("host-is-guest", severity, Subject::Host)
            .variant(variant)
            .value("hypervisor", system.guest_of.known().map_or("unknown hypervisor", String::as_str))
            .evidence(evidence);
        if let Some(product) = system.product.known() {
            finding = finding.evidence(Evidence::new("/sys/class/dmi/id/product_name", product.clone()));
        }
        if severity == Severity::Error {
            finding = finding.evidence(Evidence::new("/sys/class/iommu", "empty"));
        }
        findings.push(finding);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;

    #[test]
    fn guests_and_containers() {
        let mut snap = healthy();
        snap.system.is_guest = Fact::Known(true);
        snap.system.guest_of = Fact::Known("kvm".into());
        assert_eq!(shown(&check(&snap)), ["info host-is-guest/with-iommu host"]);
        snap.iommu.table = Fact::Absent;
        snap.iommu.units = Fact::Known(Vec::new());
        snap.iommu.groups.clear();
        assert!(shown(&check(&snap)).contains(&"error host-is-guest host".to_owned()));
        assert!(only(&check(&snap), "iommu-off-in-firmware").is_empty());

        let mut snap = healthy();
        snap.system.container = Fact::Known("docker".into());
        assert_eq!(shown(&check(&snap)), ["warning in-container host"]);
        assert!(shown(&check_for(&snap, &[GPU])).contains(&"error in-container host".to_owned()));
    }
}

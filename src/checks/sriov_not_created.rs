//! Virtual functions were asked for, and there are none.

use super::words;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::Evidence;
use crate::facts::hypervisor::Asked;
use crate::facts::pci::Function;
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["sriov-not-created"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for function in &ctx.snap.pci.functions {
        let Fact::Known(sriov) = &function.sriov else {
            if function.sriov.is_absent() && function.is_display() {
                findings.extend(option(ctx, function).map(|asked| finding(function, "no-capability", 0, asked)));
            }
            continue;
        };
        if sriov.total == 0 || sriov.active > 0 {
            continue;
        }
        let asked = option(ctx, function).or_else(|| by_vm(ctx, function));
        findings.extend(asked.map(|asked| finding(function, "", sriov.total, asked)));
    }
    findings
}

fn finding(function: &Function, variant: &'static str, total: u32, asked: Evidence) -> Finding {
    Finding::new("sriov-not-created", Severity::Warning, Subject::Function(function.address))
        .variant(variant)
        .value("device", function.name())
        .value("address", function.address)
        .value("total", total)
        .evidence(asked)
        .evidence(function.evidence("sriov_numvfs", if variant.is_empty() { "0" } else { "not there" }))
}

/// `i915.max_vfs=` or `xe.max_vfs=` of the driver that this display has.
fn option(ctx: &Ctx<'_>, function: &Function) -> Option<Evidence> {
    let driver = function.driver.known().filter(|driver| *driver == "i915" || *driver == "xe")?;
    let asks = |value: &str| value.parse::<u32>().is_ok_and(|count| count > 0);
    words::options(ctx.snap, driver)
        .into_iter()
        .find(|option| option.name == "max_vfs" && asks(&option.value))
        .map(|option| option.evidence)
}

/// A VM that asks for an address on the bus of this function where nothing is: where a virtual function would be.
fn by_vm(ctx: &Ctx<'_>, function: &Function) -> Option<Evidence> {
    let pci = &ctx.snap.pci;
    for device in ctx.snap.hypervisor.vms.iter().flat_map(|vm| &vm.devices) {
        let Asked::Function(address) = &device.asked else { continue };
        let here = (address.domain, address.bus) == (function.address.domain, function.address.bus);
        if here && address.function > 0 && pci.get(address).is_none() && address.same_slot(&function.address) {
            return Some(device.evidence.clone());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, IGPU};
    use crate::facts::Snapshot;
    use crate::facts::hypervisor::{Asked, HypervisorKind};
    use crate::facts::pci::Sriov;
    use crate::host::Fact;

    fn found(snap: &Snapshot) -> Vec<String> {
        t::shown(&t::only(&t::check(snap), "sriov-not-created"))
    }

    #[test]
    fn asked_for_on_the_command_line() {
        let mut snap = t::healthy();
        t::change(&mut snap, IGPU, |f| f.sriov = Fact::Known(Sriov { total: 7, active: 0, autoprobe: Some(true) }));
        assert!(found(&snap).is_empty(), "nobody asked");
        t::cmdline(&mut snap, "ro intel_iommu=on i915.enable_guc=3 i915.max_vfs=7");
        assert_eq!(found(&snap), ["warning sriov-not-created 0000:00:02.0"]);
        t::change(&mut snap, IGPU, |f| f.sriov = Fact::Absent);
        assert_eq!(found(&snap), ["warning sriov-not-created/no-capability 0000:00:02.0"]);
        t::change(&mut snap, IGPU, |f| f.sriov = Fact::default());
        assert!(found(&snap).is_empty());
    }

    #[test]
    fn asked_for_by_a_vm() {
        let mut snap = t::healthy();
        t::change(&mut snap, IGPU, |f| f.sriov = Fact::Known(Sriov { total: 7, active: 0, autoprobe: Some(true) }));
        t::vm(&mut snap, HypervisorKind::Proxmox, "105", Asked::Function(t::at("0000:00:02.1")));
        assert_eq!(found(&snap), ["warning sriov-not-created 0000:00:02.0"]);
    }
}

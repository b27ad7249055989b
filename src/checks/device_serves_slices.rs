//! A device is wanted whole, and slices of it exist: virtual functions, mediated devices, vGPUs.

use super::device::list;
use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::usage::{Use, UseKind};

pub(super) const CHECK: Check = Check { ids: &["device-serves-slices"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for function in ctx.functions(Interest::Configured) {
        let virtual_functions = function.sriov.known().map_or(0, |sriov| sriov.active);
        let mdevs = function.mdevs.known().map_or(0, Vec::len);
        let uses: Vec<&Use> = ctx
            .snap
            .usage
            .of(&function.address)
            .filter(|found| matches!(found.kind, UseKind::VirtualFunctions | UseKind::Mdev))
            .collect();
        if virtual_functions == 0 && mdevs == 0 && uses.is_empty() {
            continue;
        }
        let severity = if uses.is_empty() { Severity::Warning } else { Severity::Error };
        let variant = match (virtual_functions, uses.is_empty()) {
            (0, _) if mdevs > 0 => "mdev",
            (_, false) => "used",
            _ => "",
        };
        let mut finding = Finding::new("device-serves-slices", severity, Subject::Function(function.address))
            .variant(variant)
            .value("device", function.name())
            .value("address", function.address)
            .value("count", if virtual_functions > 0 { virtual_functions.to_string() } else { mdevs.to_string() })
            .value("users", list(uses.iter().map(|found| found.by.as_str())));
        if virtual_functions > 0 {
            finding = finding.evidence(function.evidence("sriov_numvfs", virtual_functions.to_string()));
        }
        if let Some(mdev) = function.mdevs.known().and_then(|mdevs| mdevs.first()) {
            finding = finding.evidence(function.evidence(mdev, "there"));
        }
        for found in uses.iter().take(4) {
            finding = finding.evidence(found.evidence.clone());
        }
        findings.push(finding);
    }
    findings
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::Evidence;
    use crate::facts::pci::Sriov;
    use crate::facts::usage::{Use, UseKind};
    use crate::host::Fact;

    #[test]
    fn a_wanted_device_must_not_be_sliced() {
        let mut snap = t::healthy();
        t::change(&mut snap, GPU, |f| f.sriov = Fact::Known(Sriov { total: 16, active: 0, autoprobe: Some(true) }));
        assert!(t::only(&t::check_for(&snap, &[GPU]), "device-serves-slices").is_empty());
        t::change(&mut snap, GPU, |f| f.sriov = Fact::Known(Sriov { total: 16, active: 4, autoprobe: Some(true) }));
        assert!(t::only(&t::check(&snap), "device-serves-slices").is_empty(), "nobody wants it whole");
        assert_eq!(
            t::shown(&t::only(&t::check_for(&snap, &[GPU]), "device-serves-slices")),
            ["warning device-serves-slices 0000:01:00.0"]
        );
        let evidence = Evidence::new("/sys/bus/pci/devices/0000:01:00.4/driver", "vfio-pci");
        snap.usage.uses.push(Use {
            address: t::at(GPU),
            kind: UseKind::VirtualFunctions,
            by: "VM 105".into(),
            evidence,
        });
        assert_eq!(
            t::shown(&t::only(&t::check_for(&snap, &[GPU]), "device-serves-slices")),
            ["error device-serves-slices/used 0000:01:00.0"]
        );
    }

    #[test]
    fn mediated_devices_count_too() {
        let mut snap = t::healthy();
        t::change(&mut snap, t::IGPU, |f| f.mdevs = Fact::Known(vec!["0e5f8a2c-0000-4000-8000-000000000001".into()]));
        assert_eq!(
            t::shown(&t::only(&t::check_for(&snap, &[t::IGPU]), "device-serves-slices")),
            ["warning device-serves-slices/mdev 0000:00:02.0"]
        );
    }
}

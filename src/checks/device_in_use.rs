//! Somebody uses a function that is wanted for a VM.

use super::device::list;
use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::usage::{Use, UseKind};

pub(super) const CHECK: Check = Check { ids: &["device-in-use"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for function in ctx.functions(Interest::Configured) {
        let uses: Vec<&Use> = ctx.snap.usage.of(&function.address).collect();
        let goal = ctx.interest(&function.address) == Interest::Goal;
        let by = |kinds: &[UseKind]| -> Vec<&Use> {
            uses.iter().copied().filter(|found| kinds.contains(&found.kind)).collect()
        };
        let vms = by(&[UseKind::RunningVm]);
        let kept = by(&[UseKind::Storage, UseKind::Network]);
        let open = by(&[UseKind::Display, UseKind::Process]);
        let containers = by(&[UseKind::Container]);
        let address = function.address;
        let mut report = |variant, severity, uses: &[&Use]| {
            if uses.is_empty() {
                return;
            }
            let mut finding = Finding::new("device-in-use", severity, Subject::Function(address))
                .variant(variant)
                .value("device", function.name())
                .value("users", list(uses.iter().map(|found| found.by.as_str())));
            for found in uses.iter().take(4) {
                finding = finding.evidence(found.evidence.clone());
            }
            findings.push(finding);
        };
        if function.on_vfio() {
            // On vfio the only user that matters is the VM itself, and that is what was wanted.
            if goal {
                report("running-vm", Severity::Info, &vms);
            }
            continue;
        }
        report("running-vm", if goal { Severity::Warning } else { Severity::Info }, &vms);
        // A disk that is mounted: taken away, its file system breaks, now or at the next boot.
        report("mounted", if goal { Severity::Error } else { Severity::Warning }, &kept);
        // Open now; a claim at boot comes before any of these. With a VM that takes the card at its start
        // it is the normal state while the VM is off.
        report("container", if goal { Severity::Warning } else { Severity::Info }, &containers);
        report("", if goal { Severity::Warning } else { Severity::Info }, &open);
    }
    findings
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::usage::{Use, UseKind};
    use crate::facts::{Evidence, Snapshot};

    fn used(mut snap: Snapshot, kind: UseKind, by: &str) -> Snapshot {
        let evidence = Evidence::new("/proc/1234/fd/7", "/dev/nvidia0");
        snap.usage.uses.push(Use { address: t::at(GPU), kind, by: by.into(), evidence });
        snap
    }

    #[test]
    fn who_uses_a_wanted_device_is_named() {
        for (kind, expected) in [
            (UseKind::Process, "warning device-in-use 0000:01:00.0"),
            (UseKind::Display, "warning device-in-use 0000:01:00.0"),
            (UseKind::Storage, "error device-in-use/mounted 0000:01:00.0"),
            (UseKind::RunningVm, "warning device-in-use/running-vm 0000:01:00.0"),
            (UseKind::Container, "warning device-in-use/container 0000:01:00.0"),
        ] {
            let snap = used(t::healthy(), kind, "Xorg (pid 1234)");
            assert_eq!(t::shown(&t::only(&t::check_for(&snap, &[GPU]), "device-in-use")), [expected]);
            assert!(t::only(&t::check(&snap), "device-in-use").is_empty(), "nobody wants it");
        }
    }

    #[test]
    fn a_vm_that_has_its_device_is_what_was_wanted() {
        let snap = used(t::passthrough(), UseKind::RunningVm, "VM 105");
        assert!(t::only(&t::check(&snap), "device-in-use").is_empty());
        assert_eq!(
            t::shown(&t::only(&t::check_for(&snap, &[GPU]), "device-in-use")),
            ["info device-in-use/running-vm 0000:01:00.0"]
        );
    }
}

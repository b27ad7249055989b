//! The CPU's virtualization, and KVM on top of it.

use super::{Check, Ctx, Finding, Severity, Subject, words};
use crate::facts::Evidence;
use crate::facts::system::CpuVendor;
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["virtualization-off", "kvm-unusable"], run };

/// What KVM prints when the firmware has locked virtualization off
/// (Linux arch/x86/kvm/vmx/vmx.c and svm/svm.c; before 6.6 the CPU's flag stays visible on AMD).
const LOCKED: &[&str] =
    &["kvm: disabled by bios", "VMX (outside TXT) disabled by BIOS", "SVM disabled (by BIOS)", "SVM not enabled in"];

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let system = &ctx.snap.system;
    let x86 = matches!(system.cpu_vendor, Fact::Known(CpuVendor::Intel | CpuVendor::Amd));
    let locked: Vec<Evidence> = LOCKED.iter().flat_map(|text| words::log_lines(ctx.snap, text, 1)).collect();
    let guest = system.is_guest == Fact::Known(true);
    if (x86 && system.virtualization.is_absent()) || !locked.is_empty() {
        let mut finding =
            Finding::new("virtualization-off", if guest { Severity::Info } else { Severity::Error }, Subject::Host);
        if guest {
            finding = finding.variant("guest");
        } else if system.cpu_vendor == Fact::Known(CpuVendor::Amd) {
            finding = finding.variant("amd");
        }
        if system.virtualization.is_absent() {
            finding = finding.evidence(Evidence::new("/proc/cpuinfo", "flags: neither vmx nor svm"));
        }
        for line in locked {
            finding = finding.evidence(line);
        }
        return vec![finding];
    }
    kvm(ctx).into_iter().collect()
}

fn kvm(ctx: &Ctx<'_>) -> Option<Finding> {
    let snap = ctx.snap;
    if snap.system.container.known().is_some() {
        return None; // A container shows the devices that it was given, not what the host has.
    }
    match (&snap.kernel.kvm.node, &snap.kernel.kvm.accessible) {
        (Fact::Known(false) | Fact::Absent, _) => {
            let guest = snap.system.is_guest == Fact::Known(true);
            let severity = if guest { Severity::Info } else { Severity::Error };
            let mut finding =
                Finding::new("kvm-unusable", severity, Subject::Host).evidence(Evidence::new("/dev/kvm", "not there"));
            let module = match snap.system.cpu_vendor {
                Fact::Known(CpuVendor::Intel) => "kvm_intel",
                Fact::Known(CpuVendor::Amd) => "kvm_amd",
                _ => "kvm",
            };
            let loaded = snap.kernel.loaded.known().is_some_and(|loaded| loaded.contains(module));
            let available = snap.kernel.running().and_then(|kernel| kernel.available.known());
            if words::config_is(snap, "KVM", "n") == Some(true) {
                finding = finding.variant("kernel");
            } else if !loaded && available.is_some_and(|all| all.contains(module)) {
                finding = finding.variant("module").evidence(Evidence::new("/proc/modules", format!("no {module}")));
            }
            Some(finding.value("module", module))
        }
        (Fact::Known(true), Fact::Known(false)) => Some(
            Finding::new("kvm-unusable", Severity::Info, Subject::Host)
                .variant("permission")
                .evidence(Evidence::new("/dev/kvm", "this user may not open it")),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;

    #[test]
    fn what_is_reported() {
        type Break = fn(&mut crate::facts::Snapshot);
        let cases: [(Break, &str); 7] = [
            (|s| s.system.virtualization = Fact::Absent, "error virtualization-off host"),
            (
                |s| {
                    s.system.virtualization = Fact::Absent;
                    s.system.cpu_vendor = Fact::Known(CpuVendor::Amd);
                },
                "error virtualization-off/amd host",
            ),
            (|s| s.log = Fact::Known(file("dmesg", "[ 1.0] kvm: disabled by bios\n")), "error virtualization-off host"),
            (
                |s| {
                    s.kernel.kvm.node = Fact::Known(false);
                    s.kernel.loaded = Fact::Known(set(&["kvm"]));
                },
                "error kvm-unusable/module host",
            ),
            (
                |s| {
                    s.kernel.kvm.node = Fact::Known(false);
                    config(s, "KVM", None);
                },
                "error kvm-unusable/kernel host",
            ),
            (|s| s.kernel.kvm.node = Fact::Known(false), "error kvm-unusable host"),
            (|s| s.kernel.kvm.accessible = Fact::Known(false), "info kvm-unusable/permission host"),
        ];
        for (break_it, expected) in cases {
            let mut snap = healthy();
            break_it(&mut snap);
            assert!(shown(&check(&snap)).contains(&expected.to_owned()), "{expected}: {:?}", shown(&check(&snap)));
        }
    }
}

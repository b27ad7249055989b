//! What the running kernel cannot do, or does not allow.

use super::{Check, Ctx, Finding, Severity, Subject, words};
use crate::facts::Evidence;
use crate::facts::Snapshot;
use crate::facts::system::Lockdown;
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["lockdown-active", "kernel-lacks-vfio"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(lockdown(ctx.snap));
    findings.extend(lacks_vfio(ctx));
    findings
}

fn lockdown(snap: &Snapshot) -> Option<Finding> {
    let mode = match snap.system.lockdown {
        Fact::Known(Lockdown::Integrity) => "integrity",
        Fact::Known(Lockdown::Confidentiality) => "confidentiality",
        _ => return None,
    };
    let mut finding = Finding::new("lockdown-active", Severity::Info, Subject::Host)
        .value("mode", mode)
        .evidence(Evidence::new("/sys/kernel/security/lockdown", format!("[{mode}]")));
    if snap.system.secure_boot == Fact::Known(true) {
        finding = finding.variant("secure-boot");
    }
    Some(finding)
}

fn lacks_vfio(ctx: &Ctx<'_>) -> Option<Finding> {
    let snap = ctx.snap;
    let in_container = snap.system.container.known().is_some();
    let loaded = snap.kernel.loaded.known().is_some_and(|loaded| loaded.contains("vfio_pci"));
    if loaded || in_container || snap.pci.functions.iter().any(|f| f.on_vfio()) {
        return None;
    }
    let release = snap.kernel.release.known()?;
    // In a guest without an IOMMU nothing can be passed on anyway.
    let guest = snap.system.is_guest == Fact::Known(true) && snap.iommu.running() != Fact::Known(true);
    let severity = if guest { Severity::Info } else { Severity::Error };
    let finding = Finding::new("kernel-lacks-vfio", severity, Subject::Host).value("release", release);
    let Some(kernel) = snap.kernel.running() else {
        // Kernels are installed, but the running one is not among them: it was updated or removed underneath.
        let gone = !snap.kernel.installed.is_empty() && snap.is_live();
        let names: Vec<&str> = snap.kernel.installed.iter().map(|k| k.release.as_str()).collect();
        return gone.then(|| finding.variant("modules-gone").evidence(Evidence::new("/lib/modules", names.join(" "))));
    };
    let in_modules = |name: &str| {
        let builtin = kernel.builtin.known().map(|all| all.contains(name));
        let available = kernel.available.known().map(|all| all.contains(name));
        builtin == Some(true) || available == Some(true)
    };
    if in_modules("vfio_pci") {
        return None;
    }
    if words::config_is(snap, "VFIO_PCI", "n") == Some(true) {
        let evidence = Evidence::new(kernel.config_path.clone(), "CONFIG_VFIO_PCI is not set");
        return Some(finding.evidence(evidence));
    }
    match (&kernel.builtin, &kernel.available) {
        (Fact::Known(_), Fact::Known(available)) if !available.is_empty() => {
            let evidence = Evidence::new(format!("/lib/modules/{release}"), "no vfio_pci");
            Some(finding.variant("module-missing").evidence(evidence))
        }
        (_, Fact::Absent) if kernel.config.known().is_some() => {
            let evidence = Evidence::new(format!("/lib/modules/{release}"), "not there");
            Some(finding.variant("modules-gone").evidence(evidence))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;
    use crate::facts::Origin;
    use crate::host::Kind;

    #[test]
    fn lockdown_is_good_to_know() {
        let mut snap = healthy();
        snap.system.lockdown = Fact::Known(Lockdown::Integrity);
        snap.system.secure_boot = Fact::Known(true);
        assert_eq!(shown(&check(&snap)), ["info lockdown-active/secure-boot host"]);
    }

    #[test]
    fn kernels_without_vfio() {
        let forget = |snap: &mut Snapshot| {
            if let Fact::Known(available) = &mut snap.kernel.installed[0].available {
                available.remove("vfio_pci");
            }
        };
        let mut snap = healthy();
        config(&mut snap, "VFIO_PCI", None);
        assert!(check(&snap).is_empty(), "the module is there all the same");
        forget(&mut snap);
        assert_eq!(shown(&check(&snap)), ["error kernel-lacks-vfio host"]);

        let mut snap = healthy();
        forget(&mut snap);
        assert_eq!(shown(&check(&snap)), ["error kernel-lacks-vfio/module-missing host"]);

        let mut snap = healthy();
        snap.kernel.release = Fact::Known("6.19.1-arch1-1".into());
        snap.origin = Origin::Host(Kind::Live, "this host".into());
        assert!(shown(&check(&snap)).contains(&"error kernel-lacks-vfio/modules-gone host".to_owned()));
    }
}

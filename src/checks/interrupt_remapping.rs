//! Interrupt remapping, and what is set to do without it.

use super::{Check, Ctx, Finding, Severity, Subject, words};
use crate::facts::Evidence;
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["interrupt-remapping-off", "unsafe-interrupts-on"], run };

/// What x86 kernels print when remapping fails (Linux drivers/iommu/intel/irq_remapping.c, amd/init.c).
const FAILED: &[&str] = &[
    "Failed to enable irq remapping",
    "Interrupt remapping disabled",
    "Disabling interrupt remapping",
    "not in IVRS table",
];

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(off(ctx));
    findings.extend(unsafe_on(ctx));
    findings
}

fn off(ctx: &Ctx<'_>) -> Option<Finding> {
    let snap = ctx.snap;
    let iommu = &snap.iommu;
    if iommu.interrupt_remapping != Fact::Known(false) || iommu.running() == Fact::Known(false) {
        return None;
    }
    // Where the unsafe parameter is on, devices can be passed, at that risk.
    let in_the_way = ctx.intents.any() && parameter_on(ctx).is_none();
    let severity = if in_the_way { Severity::Error } else { Severity::Warning };
    let mut finding = Finding::new("interrupt-remapping-off", severity, Subject::Host);
    let line = words::running(snap);
    let word = line.words.iter().find(|word| {
        word.is("nointremap") || (word.is("intremap") && word.list().any(|item| item == "off")) || word.is("noapic")
    });
    if let Some(word) = word {
        finding = finding.variant("word").value("word", word.text);
        finding.evidence.extend(words::running_evidence(snap));
    } else if iommu.content.known().is_some_and(|content| content.interrupt_remapping == Some(false)) {
        let evidence = Evidence::new("/sys/firmware/acpi/tables", "the IOMMU's table offers no interrupt remapping");
        finding = finding.variant("firmware").evidence(evidence);
    } else if words::config_is(snap, "IRQ_REMAP", "n") == Some(true) {
        finding = finding.variant("kernel");
        if let Some(kernel) = snap.kernel.running() {
            let text = "CONFIG_IRQ_REMAP is not set";
            finding = finding.evidence(Evidence::new(kernel.config_path.clone(), text));
        }
    }
    for line in FAILED.iter().flat_map(|text| words::log_lines(snap, text, 1)) {
        finding = finding.evidence(line);
    }
    let state = iommu.interrupt_remapping_evidence.clone();
    finding.evidence.extend(state.filter(|evidence| !finding.evidence.contains(evidence)));
    Some(finding)
}

const UNSAFE: [(&str, &str); 2] =
    [("vfio_iommu_type1", "allow_unsafe_interrupts"), ("iommufd", "allow_unsafe_interrupts")];

/// The parameter of the running kernel that is on.
fn parameter_on(ctx: &Ctx<'_>) -> Option<Evidence> {
    UNSAFE.iter().find_map(|(module, name)| {
        let value = ctx.snap.kernel.parameters.get(&((*module).to_owned(), (*name).to_owned()))?;
        let path = format!("/sys/module/{module}/parameters/{name}");
        words::is_on(value).then(|| Evidence::new(path, value.clone()))
    })
}

fn unsafe_on(ctx: &Ctx<'_>) -> Option<Finding> {
    let snap = ctx.snap;
    let mut evidence: Vec<Evidence> = Vec::new();
    for (module, name) in UNSAFE {
        for option in words::options(snap, module) {
            if option.name == name && option.is_on() && !evidence.contains(&option.evidence) {
                evidence.push(option.evidence);
            }
        }
    }
    evidence.extend(parameter_on(ctx));
    let subject = words::subject(evidence.first()?);
    let mut finding = Finding::new("unsafe-interrupts-on", Severity::Warning, subject);
    finding.variant = match snap.iommu.interrupt_remapping {
        Fact::Known(true) => "needless",
        Fact::Known(false) => "needed",
        _ => "",
    };
    finding.evidence = evidence;
    if let Some(state) = snap.iommu.interrupt_remapping_evidence.clone().filter(|_| !finding.variant.is_empty()) {
        finding = finding.evidence(state);
    }
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;

    fn off_host() -> crate::facts::Snapshot {
        let mut snap = healthy();
        snap.iommu.interrupt_remapping = Fact::Known(false);
        snap.iommu.interrupt_remapping_evidence = None;
        snap
    }

    #[test]
    fn remapping_off() {
        let mut snap = off_host();
        assert_eq!(only(&check(&snap), "interrupt-remapping-off")[0].severity, Severity::Warning);
        assert_eq!(only(&check_for(&snap, &[GPU]), "interrupt-remapping-off")[0].severity, Severity::Error);
        cmdline(&mut snap, "quiet intremap=off");
        assert_eq!(only(&check(&snap), "interrupt-remapping-off")[0].variant, "word");
        cmdline(&mut snap, "quiet");
        if let Fact::Known(content) = &mut snap.iommu.content {
            content.interrupt_remapping = Some(false);
        }
        assert_eq!(only(&check(&snap), "interrupt-remapping-off")[0].variant, "firmware");
        snap.iommu.interrupt_remapping = Fact::default();
        assert!(only(&check(&snap), "interrupt-remapping-off").is_empty());
    }

    #[test]
    fn unsafe_parameter() {
        let mut snap = healthy();
        modprobe(&mut snap, "/etc/modprobe.d/a.conf", "options vfio_iommu_type1 allow_unsafe_interrupts=0");
        assert!(only(&check(&snap), "unsafe-interrupts-on").is_empty());
        modprobe(&mut snap, "/etc/modprobe.d/b.conf", "options vfio_iommu_type1 allow_unsafe_interrupts=1");
        let findings = check(&snap);
        let found = only(&findings, "unsafe-interrupts-on");
        assert_eq!((found.len(), found[0].variant), (1, "needless"));
        assert_eq!(found[0].subject, Subject::Line("/etc/modprobe.d/b.conf".into(), 1));

        let mut snap = off_host();
        let key = ("vfio_iommu_type1".to_owned(), "allow_unsafe_interrupts".to_owned());
        snap.kernel.parameters.insert(key, "Y".into());
        let findings = check_for(&snap, &[GPU]);
        assert_eq!(only(&findings, "unsafe-interrupts-on")[0].variant, "needed");
        assert_eq!(only(&findings, "interrupt-remapping-off")[0].severity, Severity::Warning);
    }
}

//! A switch of KVM for all guests that guides set for passthrough.

use super::{Check, Ctx, Finding, Severity, Subject, words};
use crate::facts::Evidence;

pub(super) const CHECK: Check = Check { ids: &["kvm-ignores-msrs"], run };

/// What KVM prints when a guest needs it (Linux arch/x86/kvm/x86.c `kvm_msr_ignored_check`).
const NEEDED: &[&str] = &["unhandled rdmsr", "unhandled wrmsr", "ignored rdmsr", "ignored wrmsr"];

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    let parameter = |name: &str| snap.kernel.parameters.get(&("kvm".to_owned(), name.to_owned()));
    let mut evidence: Vec<Evidence> = Vec::new();
    let mut silent = parameter("report_ignored_msrs").is_some_and(|value| !words::is_on(value));
    for option in words::options(snap, "kvm") {
        if option.name == "ignore_msrs" && option.is_on() && !evidence.contains(&option.evidence) {
            evidence.push(option.evidence);
        } else if option.name == "report_ignored_msrs" && !option.is_on() {
            silent = true;
        }
    }
    if let Some(value) = parameter("ignore_msrs").filter(|value| words::is_on(value)) {
        evidence.push(Evidence::new("/sys/module/kvm/parameters/ignore_msrs", value.clone()));
    }
    let needed = NEEDED.iter().any(|text| !words::log_lines(snap, text, 1).is_empty());
    let Some(first) = evidence.first().filter(|_| !needed) else { return Vec::new() };
    let subject = if first.line.is_some() { words::subject(first) } else { Subject::Host };
    let mut finding =
        Finding::new("kvm-ignores-msrs", Severity::Info, subject).variant(if silent { "silent" } else { "" });
    finding.evidence = evidence;
    vec![finding]
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::*;
    use crate::host::Fact;

    #[test]
    fn only_without_evidence_that_a_guest_needs_it() {
        let mut snap = healthy();
        modprobe(&mut snap, "/etc/modprobe.d/kvm.conf", "options kvm ignore_msrs=0");
        assert!(check(&snap).is_empty());
        modprobe(&mut snap, "/etc/modprobe.d/kvm2.conf", "options kvm ignore_msrs=1 report_ignored_msrs=0");
        let found = shown(&check(&snap));
        assert!(found.contains(&"info kvm-ignores-msrs/silent /etc/modprobe.d/kvm2.conf:1".to_owned()), "{found:?}");
        snap.log = Fact::Known(file("dmesg", "[9.0] kvm [1]: vcpu0, guest rIP: 0x1 unhandled rdmsr: 0x122\n"));
        assert!(only(&check(&snap), "kvm-ignores-msrs").is_empty());
    }
}

//! nova's rules for PCI devices, against the devices of this host.

use super::{Check, Ctx, Finding, Severity, Subject, words};
use crate::facts::hypervisor::nova::{self, PciRule};

pub(super) const CHECK: Check =
    Check { ids: &["nova-config-invalid", "nova-alias-type", "nova-whitelist-deprecated"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in &ctx.snap.hypervisor.rules {
        let finding = |id, severity| {
            let subject = if rule.evidence.line.is_some() { words::subject(&rule.evidence) } else { Subject::Host };
            Finding::new(id, severity, subject).value("option", rule.option.clone()).evidence(rule.evidence.clone())
        };
        if let Some(why) = &rule.malformed {
            findings.push(finding("nova-config-invalid", Severity::Error).value("reason", why.clone()));
        }
        if rule.option == "passthrough_whitelist" {
            findings.push(finding("nova-whitelist-deprecated", Severity::Info));
        }
        if let Some((device, is)) = never_matches(ctx, rule) {
            let wanted = rule.device_type.as_deref().unwrap_or(nova::STANDARD);
            findings.push(
                finding("nova-alias-type", Severity::Warning)
                    .variant(if rule.device_type.is_some() { "" } else { "default" })
                    .value("alias", rule.name.clone().unwrap_or_default())
                    .value("wanted", wanted)
                    .value("device", device)
                    .value("is", is),
            );
        }
    }
    findings
}

/// An alias whose ids are those of functions here, none of which is of its type: one of them, and what that is.
fn never_matches(ctx: &Ctx<'_>, rule: &PciRule) -> Option<(String, &'static str)> {
    if !rule.is_alias() || rule.malformed.is_some() || rule.vendor.is_none() || rule.product.is_none() {
        return None;
    }
    let meant = ctx.snap.pci.functions.iter().filter(|f| rule.fits(f) == Some(true));
    let mut first = None;
    for function in meant {
        let is = nova::device_type(function)?;
        if rule.takes(is) {
            return None;
        }
        first = first.or(Some((function.name(), is)));
    }
    first
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::*;
    use crate::facts::hypervisor::nova::rules;
    use crate::facts::pci::Sriov;
    use crate::host::Fact;

    fn said(sriov: bool, lines: &str) -> Vec<String> {
        let mut snap = healthy();
        let capability = Fact::Known(Sriov { total: 4, active: 0, autoprobe: None });
        change(&mut snap, GPU, |f| f.sriov = if sriov { capability } else { Fact::Absent });
        snap.hypervisor.rules = rules("/etc/nova/nova.conf", &format!("[pci]\n{lines}"));
        shown(&check(&snap)).into_iter().filter(|line| line.contains("nova")).collect()
    }

    #[test]
    fn what_nova_never_gives_away() {
        let alias = |kind: &str| {
            format!("alias = {{\"name\": \"a\", \"vendor_id\": \"10de\", \"product_id\": \"2684\"{kind}}}\n")
        };
        let (none, pf) = (alias(""), alias(", \"device_type\": \"type-PF\""));
        assert_eq!(said(true, &none), ["warning nova-alias-type/default /etc/nova/nova.conf:2"]);
        assert_eq!(said(false, &pf), ["warning nova-alias-type /etc/nova/nova.conf:2"]);
        assert!(said(true, &pf).is_empty() && said(false, &none).is_empty());
        let other = none.replace("2684", "2204");
        assert!(said(true, &other).is_empty(), "another host's");
    }

    #[test]
    fn old_names_and_what_is_no_json() {
        let old = "passthrough_whitelist = {\"vendor_id\": \"10de\"}\n";
        assert_eq!(said(true, old), ["info nova-whitelist-deprecated /etc/nova/nova.conf:2"]);
        let bad = "device_spec = {\"vendor_id\": \"10de\", managed: \"no\"}\n";
        assert_eq!(said(true, bad), ["error nova-config-invalid /etc/nova/nova.conf:2"]);
    }
}

//! The host cannot live without this function, or without one that its group would take along.

use super::device::{is_endpoint, list};
use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::pci::Function;
use crate::facts::usage::{Use, UseKind};

pub(super) const CHECK: Check = Check { ids: &["host-critical"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for function in &ctx.snap.pci.functions {
        let uses: Vec<&Use> = ctx.snap.usage.of(&function.address).filter(|found| vital(found.kind)).collect();
        if uses.is_empty() || function.on_vfio() {
            continue;
        }
        if ctx.interest(&function.address) >= Interest::Configured {
            findings.push(finding(function, &uses, "", None));
        } else if let Some(taker) = taker(ctx, function) {
            findings.push(finding(function, &uses, "group", Some(taker)));
        }
    }
    findings
}

/// Uses whose loss takes the host down or out of reach.
fn vital(kind: UseKind) -> bool {
    matches!(kind, UseKind::RootStorage | UseKind::DefaultRoute | UseKind::SshSession)
}

/// A function that somebody asks for, whose group would take this one along.
fn taker<'a>(ctx: &Ctx<'a>, function: &Function) -> Option<&'a Function> {
    let group = *function.group.known()?;
    let mut members = ctx.snap.pci.group(group);
    members.find(|f| ctx.interest(&f.address) >= Interest::Configured && is_endpoint(f) == Some(true))
}

fn finding(function: &Function, uses: &[&Use], variant: &'static str, taker: Option<&Function>) -> Finding {
    let mut finding = Finding::new("host-critical", Severity::Error, Subject::Function(function.address))
        .variant(variant)
        .value("device", function.name())
        .value("uses", list(uses.iter().map(|found| found.by.as_str())))
        .value("taker", taker.map(|f| f.address.to_string()).unwrap_or_default());
    for found in uses.iter().take(4) {
        finding = finding.evidence(found.evidence.clone());
    }
    finding
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, DISK, GPU};
    use crate::host::Fact;

    #[test]
    fn the_root_disk_stays_with_the_host() {
        let snap = t::healthy();
        assert!(t::only(&t::check(&snap), "host-critical").is_empty());
        let found = t::check_for(&snap, &[DISK]);
        assert_eq!(t::shown(&t::only(&found, "host-critical")), ["error host-critical 0000:00:17.0"]);
    }

    #[test]
    fn and_so_does_what_shares_a_group_with_a_wanted_device() {
        let mut snap = t::healthy();
        t::change(&mut snap, DISK, |f| f.group = Fact::Known(14));
        let found = t::check_for(&snap, &[GPU]);
        assert_eq!(t::shown(&t::only(&found, "host-critical")), ["error host-critical/group 0000:00:17.0"]);
    }
}

//! A member of a group is on a vfio driver, and another endpoint of the group is driven by the host.

use super::device::{companions, is_endpoint, is_integrated, list, named, stands_aside};
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::pci::Function;
use crate::facts::usage::UseKind;
use crate::parse::address::Address;

pub(super) const CHECK: Check = Check { ids: &["group-not-viable"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A VM that has a slice of a device (mdev, vGPU) leaves the device to its own driver: only vfio drivers count.
    for (group, members) in ctx.snap.pci.by_group() {
        let wanted: Vec<&Function> = members.iter().copied().filter(|f| f.on_vfio()).collect();
        let offends = |f: &&Function| is_endpoint(f) == Some(true) && stands_aside(f) == Some(false);
        let offenders: Vec<&Function> = members.into_iter().filter(offends).collect();
        // What was forgotten of the card itself is another finding: function-left-behind.
        let of_the_card = |f: &&Function| {
            let pci = &ctx.snap.pci;
            let part = |w: &&Function| companions(pci, w).iter().any(|c| c.address == f.address);
            wanted.iter().any(|w| w.is_display() && !is_integrated(pci, w) && part(w))
        };
        if wanted.is_empty() || offenders.iter().all(of_the_card) {
            continue;
        }
        let needed: Vec<Address> = offenders.iter().map(|f| f.address).filter(|a| needs(ctx, a)).collect();
        let mut finding = Finding::new("group-not-viable", Severity::Error, Subject::Group(group))
            .variant(if needed.is_empty() { "" } else { "needed" })
            .value("needed", list(&needed))
            .value("group", group)
            .value("wanted", list(wanted.iter().map(|f| f.address)))
            .value("offenders", list(offenders.iter().map(|f| named(f))));
        for function in wanted.iter().chain(&offenders).take(8) {
            let driver = function.driver.known().cloned().unwrap_or_default();
            finding = finding.evidence(function.evidence("driver", driver));
        }
        findings.push(finding);
    }
    findings
}

/// True if the host works with it: disks and networks.
fn needs(ctx: &Ctx<'_>, address: &Address) -> bool {
    use UseKind::{DefaultRoute, Network, RootStorage, SshSession, Storage};
    let mut uses = ctx.snap.usage.of(address);
    uses.any(|used| matches!(used.kind, RootStorage | Storage | DefaultRoute | SshSession | Network))
}

#[cfg(test)]
mod tests {
    use crate::checks::pages;
    use crate::checks::testing::{self as t, GPU};
    use crate::host::Fact;

    #[test]
    fn endpoints_with_a_host_driver_offend_and_nothing_else_does() {
        let sound = "0000:00:1f.3";
        for (driver, expected) in [
            (Fact::Known("snd_hda_intel".to_owned()), 1),
            (Fact::Known("nvidia-nvswitch".to_owned()), 1),
            (Fact::Known("uio_pci_generic".to_owned()), 1),
            (Fact::Known("pci-stub".to_owned()), 0),
            (Fact::Known("nvgrace_gpu_vfio_pci".to_owned()), 0),
            (Fact::Absent, 0),
            (Fact::default(), 0),
        ] {
            let mut snap = t::passthrough();
            t::change(&mut snap, sound, |f| {
                f.driver = driver.clone();
                f.group = Fact::Known(14);
            });
            assert_eq!(t::only(&t::check(&snap), "group-not-viable").len(), expected, "{driver:?}");
        }
    }

    #[test]
    fn what_was_forgotten_of_the_card_is_said_of_the_card() {
        let mut snap = t::passthrough();
        t::change(&mut snap, "0000:01:00.1", |f| f.driver = Fact::Known("snd_hda_intel".into()));
        let found = t::check(&snap);
        assert!(t::only(&found, "group-not-viable").is_empty());
        assert!(t::only(&found, "reset-needs-whole-slot").is_empty());
        assert_eq!(t::only(&found, "native-driver-won").len(), 1, "its ids are given");
    }

    #[test]
    fn bridges_never_offend_and_an_unclaimed_group_is_nobodys_business() {
        let mut snap = t::passthrough();
        t::change(&mut snap, "0000:00:01.0", |f| f.group = Fact::Known(14));
        assert!(t::only(&t::check(&snap), "group-not-viable").is_empty());
        let mut host = t::healthy();
        t::change(&mut host, "0000:00:1f.3", |f| f.group = Fact::Known(14));
        assert!(t::only(&t::check(&host), "group-not-viable").is_empty());
    }

    #[test]
    fn names_who_offends() {
        let mut snap = t::passthrough();
        t::change(&mut snap, "0000:00:1f.3", |f| f.group = Fact::Known(14));
        let found = t::check_for(&snap, &[GPU]);
        let found = t::only(&found, "group-not-viable");
        assert_eq!(t::shown(&found), ["error group-not-viable group 14"]);
        assert!(pages::message(found[0]).contains("0000:00:1f.3 [8086:7ad0] (snd_hda_intel)"));
    }
}

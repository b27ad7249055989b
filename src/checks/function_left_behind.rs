//! Part of a card is on vfio, and another function of the same card is not.

use super::device::{companions, is_endpoint, is_integrated, list, named, stands_aside};
use super::native_driver_won::{lost, sensible_claims};
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::pci::Function;

pub(super) const CHECK: Check = Check { ids: &["function-left-behind"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let pci = &ctx.snap.pci;
    let claims = sensible_claims(ctx);
    let mut findings = Vec::new();
    // Ports of a network card are given away one by one; only a graphics card is one thing. Graphics inside an
    // AMD processor share their slot with parts that the host keeps.
    for card in pci.functions.iter().filter(|f| f.is_display() && is_endpoint(f) == Some(true)) {
        if !card.on_vfio() || is_integrated(pci, card) {
            continue;
        }
        // One that vfio-pci was told to take and did not get is another finding: native-driver-won.
        let forgotten = |f: &&Function| !f.on_vfio() && !f.driver.is_unknown() && lost(ctx, &claims, f).is_none();
        let rest: Vec<&Function> = companions(pci, card).into_iter().filter(forgotten).collect();
        if rest.is_empty() {
            continue;
        }
        // In the card's own group a driver of the host stops the VM. In a group of its own, or without a driver,
        // the function only stops a reset of the whole card.
        let held = rest.iter().any(|f| stands_aside(f) == Some(false));
        let blocks = rest.iter().any(|f| stands_aside(f) == Some(false) && f.group == card.group);
        let mut finding = Finding::new(
            "function-left-behind",
            if blocks { Severity::Error } else { Severity::Warning },
            Subject::Function(card.address),
        )
        .variant(if held { "" } else { "unbound" })
        .value("card", card.name())
        .value("rest", list(rest.iter().map(|f| named(f))))
        .value("addresses", rest.iter().map(|f| f.address.to_string()).collect::<Vec<_>>().join(" "));
        for function in &rest {
            let driver = function.driver.known().cloned().unwrap_or_else(|| "none".into());
            finding = finding.evidence(function.evidence("driver", driver));
        }
        findings.push(finding);
    }
    findings
}

#[cfg(test)]
mod tests {
    use crate::checks::pages;
    use crate::checks::testing as t;
    use crate::facts::pci::Ids;
    use crate::host::Fact;

    #[test]
    fn all_functions_of_a_turing_card_belong_together() {
        let mut snap = t::passthrough();
        for (address, ids, class, driver) in [
            ("0000:01:00.2", "10de:1aec", 0x0c_0330, "xhci_hcd"),
            ("0000:01:00.3", "10de:1aed", 0x0c_8000, "nvidia-gpu"),
        ] {
            let mut part = t::with_driver(t::function(address, ids, class), driver);
            part.group = Fact::Known(14);
            t::add(&mut snap, part);
        }
        let found = t::check(&snap);
        let found = t::only(&found, "function-left-behind");
        assert_eq!(t::shown(&found), ["error function-left-behind 0000:01:00.0"]);
        let message = pages::message(found[0]);
        assert!(message.contains("0000:01:00.2") && message.contains("0000:01:00.3"), "{message}");
    }

    #[test]
    fn a_function_without_driver_only_spoils_the_reset() {
        let mut snap = t::passthrough();
        t::change(&mut snap, "0000:01:00.1", |f| f.driver = Fact::Absent);
        assert_eq!(
            t::shown(&t::only(&t::check(&snap), "function-left-behind")),
            ["warning function-left-behind/unbound 0000:01:00.0"]
        );
        t::change(&mut snap, "0000:01:00.1", |f| {
            f.driver = Fact::Known("snd_hda_intel".into());
            f.group = Fact::Known(15);
        });
        assert!(t::only(&t::check(&snap), "function-left-behind").is_empty(), "its ids are given: native-driver-won");
        t::change(&mut snap, "0000:01:00.1", |f| f.ids = Fact::Known(Ids { vendor: 0x10de, device: 0x228b }));
        assert_eq!(
            t::shown(&t::only(&t::check(&snap), "function-left-behind")),
            ["warning function-left-behind 0000:01:00.0"]
        );
        t::change(&mut snap, "0000:01:00.1", |f| f.driver = Fact::default());
        assert!(t::only(&t::check(&snap), "function-left-behind").is_empty());
    }

    #[test]
    fn virtual_functions_and_ports_of_a_network_card_are_their_own_devices() {
        let mut snap = t::healthy();
        for (address, driver) in [("0000:44:00.0", "i40e"), ("0000:44:00.1", "vfio-pci")] {
            t::add(&mut snap, t::with_driver(t::function(address, "8086:1572", 0x02_0000), driver));
        }
        let mut slice = t::with_driver(t::function("0000:01:00.4", "10de:2684", 0x03_0200), "vfio-pci");
        slice.physical = Fact::Known(t::at(t::GPU));
        t::add(&mut snap, slice);
        assert!(t::only(&t::check(&snap), "function-left-behind").is_empty());
    }
}

//! A device has fewer PCIe lanes than it could. Speed is never judged: idle cards run slow on purpose.

use super::device::{is_accelerator, is_integrated};
use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::pci::{Function, Pci, PortType};
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["link-narrow"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let pci = &ctx.snap.pci;
    let mut findings = Vec::new();
    for function in ctx.functions(Interest::Candidate).filter(|f| f.address.function == 0) {
        let asked = ctx.interest(&function.address) >= Interest::Configured;
        if !asked && (!is_accelerator(function) || is_integrated(pci, function)) {
            continue;
        }
        let end = outer(pci, function);
        let Some(link) = end.link.known() else { continue };
        // A device that sleeps has no link.
        if link.width == 0 || link.width >= link.max_width || function.power_state == Fact::Known("D3cold".into()) {
            continue;
        }
        let above = end.parent.known().and_then(|address| pci.get(address));
        let slot = above.and_then(|port| port.link.known()).map(|link| link.max_width).filter(|width| *width > 0);
        // The slot has no more lanes: a decision of the board, or of whoever chose the slot.
        let variant = match slot {
            Some(width) if width > link.width => "",
            Some(_) => "slot",
            None => "unknown",
        };
        let severity = if variant.is_empty() && asked { Severity::Warning } else { Severity::Info };
        let mut finding = Finding::new("link-narrow", severity, Subject::Function(function.address))
            .variant(variant)
            .value("device", function.name())
            .value("width", link.width)
            .value("most", link.max_width)
            .value("slot", slot.unwrap_or_default())
            .evidence(end.evidence("current_link_width", link.width.to_string()))
            .evidence(end.evidence("max_link_width", link.max_width.to_string()));
        if let (Some(port), Some(width)) = (above, slot) {
            finding = finding.evidence(port.evidence("max_link_width", width.to_string()));
        }
        findings.push(finding);
    }
    findings
}

/// The end of the link to the board: AMD's cards carry a switch of their own, whose inner link says nothing.
fn outer<'a>(pci: &'a Pci, function: &'a Function) -> &'a Function {
    let path = pci.path_up(&function.address);
    let amd = |f: &Function| f.ids.known().is_some_and(|ids| ids.vendor == 0x1002);
    match path.as_slice() {
        [down, up, ..]
            if amd(function)
                && amd(down)
                && amd(up)
                && down.port_type == Fact::Known(PortType::Downstream)
                && up.port_type == Fact::Known(PortType::Upstream) =>
        {
            up
        }
        _ => function,
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::Snapshot;
    use crate::facts::pci::{Link, PortType};
    use crate::host::Fact;

    fn link(width: u32, max_width: u32) -> Fact<Link> {
        let speed = "2.5 GT/s PCIe".to_owned();
        Fact::Known(Link { speed, width, max_speed: "16.0 GT/s PCIe".into(), max_width })
    }

    fn found(snap: &Snapshot, devices: &[&str]) -> Vec<String> {
        t::shown(&t::only(&t::check_for(snap, devices), "link-narrow"))
    }

    #[test]
    fn width_against_both_ends_and_speed_never() {
        let mut snap = t::healthy();
        t::change(&mut snap, GPU, |f| f.link = link(16, 16));
        assert!(found(&snap, &[]).is_empty(), "slow because idle");
        t::change(&mut snap, GPU, |f| f.link = link(4, 16));
        assert_eq!(found(&snap, &[]), ["info link-narrow/unknown 0000:01:00.0"]);
        t::change(&mut snap, "0000:00:01.0", |f| f.link = link(4, 4));
        assert_eq!(found(&snap, &[GPU]), ["info link-narrow/slot 0000:01:00.0"]);
        t::change(&mut snap, "0000:00:01.0", |f| f.link = link(4, 16));
        assert_eq!(found(&snap, &[]), ["info link-narrow 0000:01:00.0"]);
        assert_eq!(found(&snap, &[GPU]), ["warning link-narrow 0000:01:00.0"]);
    }

    #[test]
    fn the_link_of_an_amd_card_is_that_of_its_switch() {
        let mut snap = t::healthy();
        for (address, above, port) in [
            ("0000:02:00.0", "0000:00:01.0", PortType::Upstream),
            ("0000:03:00.0", "0000:02:00.0", PortType::Downstream),
        ] {
            let mut bridge = t::root_port(address, "1002:1478");
            bridge.port_type = Fact::Known(port);
            bridge.parent = Fact::Known(t::at(above));
            bridge.link = link(if port == PortType::Upstream { 8 } else { 16 }, 16);
            t::add(&mut snap, bridge);
        }
        let mut card = t::with_driver(t::function("0000:04:00.0", "1002:73bf", 0x03_0000), "amdgpu");
        card.parent = Fact::Known(t::at("0000:03:00.0"));
        card.link = link(16, 16);
        t::add(&mut snap, card);
        t::change(&mut snap, "0000:00:01.0", |f| f.link = link(8, 8));
        assert_eq!(found(&snap, &[]), ["info link-narrow/slot 0000:04:00.0"]);
    }
}

//! Another device has the same ids: whatever goes by ids cannot tell them apart.

use super::device::{is_accelerator, is_endpoint, is_virtual_function, list, stands_aside};
use super::intent::{Claim, Interest, claims};
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::pci::{Function, Ids};
use std::collections::BTreeMap;

pub(super) const CHECK: Check = Check { ids: &["identical-devices"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut by_ids: BTreeMap<Ids, Vec<&Function>> = BTreeMap::new();
    for function in ctx.functions(Interest::Candidate) {
        if let Some(ids) = function.ids.known()
            && is_endpoint(function) == Some(true)
            && !is_virtual_function(function)
        {
            by_ids.entry(*ids).or_default().push(function);
        }
    }
    let claims = claims(ctx.snap);
    by_ids.into_iter().filter_map(|(ids, twins)| judge(ctx, &claims, ids, &twins)).collect()
}

fn judge(ctx: &Ctx<'_>, claims: &[Claim], ids: Ids, twins: &[&Function]) -> Option<Finding> {
    let first = twins.first()?;
    // Ports of one network card are twins by design, and nobody is surprised.
    if twins.iter().all(|f| f.address.same_slot(&first.address)) {
        return None;
    }
    // Ids that somebody gave to vfio-pci ask for all twins alike: one that the host drives is one that it keeps.
    let driven = |f: &Function| {
        ctx.interest(&f.address) == Interest::Configured
            && stands_aside(f) == Some(false)
            && f.driver_override.known().is_none()
            && claims.iter().any(|claim| claim.takes(f) == Some(true))
    };
    let by_address = |f: &&&Function| {
        f.on_vfio() && f.driver_override.known().is_some() && !claims.iter().any(|claim| claim.takes(f) == Some(true))
    };
    let asked = |f: &&&Function| ctx.interest(&f.address) >= Interest::Configured && !driven(f);
    let wanted: Vec<&&Function> = twins.iter().filter(asked).collect();
    let kept: Vec<&&Function> = twins.iter().filter(|f| !asked(f)).collect();
    let subject = match (wanted.first(), kept.is_empty()) {
        // All of them go to VMs: nothing to tell apart.
        (Some(_), true) => return None,
        // Told apart by address already.
        (Some(_), false) if wanted.iter().all(by_address) => return None,
        (Some(one), false) => one,
        // Nobody asks yet: worth a line where people go by ids most, and only for the card itself.
        (None, _) if is_accelerator(first) => first,
        (None, _) => return None,
    };
    // A card's sound follows the card.
    let with_card = |f: &Function| {
        !f.is_display()
            && ctx.snap.pci.slot(&f.address).any(|other| other.is_display() && is_endpoint(other) == Some(true))
    };
    if with_card(subject) {
        return None;
    }
    let subsystems: Vec<_> = twins.iter().map(|f| f.subsystem.known()).collect();
    let differ = subsystems.iter().all(Option::is_some)
        && wanted.iter().all(|w| kept.iter().all(|k| w.subsystem.known() != k.subsystem.known()))
        && !wanted.is_empty();
    let mut finding = Finding::new("identical-devices", Severity::Info, Subject::Function(subject.address))
        .variant(match (wanted.is_empty(), differ) {
            (true, _) => "",
            (false, false) => "wanted",
            (false, true) => "subsystem",
        })
        .value("device", subject.name())
        .value("ids", ids)
        .value("all", list(twins.iter().map(|f| f.address)))
        .value("wanted", list(wanted.iter().map(|f| f.address)))
        .value("kept", list(kept.iter().map(|f| f.address)))
        .value("subsystem", subject.subsystem.known().map(ToString::to_string).unwrap_or_default());
    for function in twins.iter().take(4) {
        finding = finding.evidence(function.evidence("device", ids.to_string()));
    }
    Some(finding)
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::Snapshot;
    use crate::facts::pci::Ids;
    use crate::host::Fact;

    fn found(snap: &Snapshot, devices: &[&str]) -> Vec<String> {
        t::shown(&t::only(&t::check_for(snap, devices), "identical-devices"))
    }

    #[test]
    fn twins_are_said_once() {
        let mut snap = t::healthy();
        assert!(found(&snap, &[]).is_empty());
        t::add(&mut snap, t::with_driver(t::function("0000:02:00.0", "10de:2684", 0x03_0000), "nouveau"));
        t::add(&mut snap, t::with_driver(t::function("0000:02:00.1", "10de:22ba", 0x04_0300), "snd_hda_intel"));
        assert_eq!(found(&snap, &[]), ["info identical-devices 0000:01:00.0"]);
        t::change(&mut snap, GPU, |f| f.subsystem = Fact::Known(Ids { vendor: 0x1043, device: 0x8888 }));
        assert_eq!(found(&snap, &["0000:02:00.0"]), ["info identical-devices/wanted 0000:02:00.0"]);
        t::change(&mut snap, GPU, |f| f.subsystem = Fact::Known(Ids { vendor: 0x1458, device: 0x40be }));
        assert_eq!(found(&snap, &["0000:02:00.0"]), ["info identical-devices/subsystem 0000:02:00.0"]);
        assert!(found(&snap, &[GPU, "0000:02:00.0"]).is_empty(), "all of them are wanted");
        let mut by_ids = t::passthrough();
        t::add(&mut by_ids, t::with_driver(t::function("0000:02:00.0", "10de:2684", 0x03_0000), "nouveau"));
        assert_eq!(found(&by_ids, &[]), ["info identical-devices/wanted 0000:01:00.0"]);
        let mut by_address = t::healthy();
        t::add(&mut by_address, t::with_driver(t::function("0000:02:00.0", "10de:2684", 0x03_0000), "vfio-pci"));
        assert_eq!(found(&by_address, &[]), ["info identical-devices/wanted 0000:02:00.0"]);
        t::change(&mut by_address, "0000:02:00.0", |f| f.driver_override = Fact::Known("vfio-pci".into()));
        assert!(found(&by_address, &[]).is_empty(), "told apart already");
    }

    #[test]
    fn twin_disks_matter_when_one_is_wanted_and_ports_of_one_card_never() {
        let mut snap = t::healthy();
        for address in ["0000:04:00.0", "0000:05:00.0"] {
            t::add(&mut snap, t::with_driver(t::function(address, "144d:a808", 0x01_0802), "nvme"));
        }
        for address in ["0000:44:00.0", "0000:44:00.1"] {
            t::add(&mut snap, t::with_driver(t::function(address, "8086:1572", 0x02_0000), "i40e"));
        }
        assert!(found(&snap, &[]).is_empty());
        assert_eq!(found(&snap, &["0000:05:00.0"]), ["info identical-devices/wanted 0000:05:00.0"]);
        assert!(found(&snap, &["0000:44:00.1"]).is_empty());
    }
}

//! The firmware and the kernel show their messages on the device that is to go to a VM; or it is the only one
//! that can show anything.

use super::device::{is_console_only, is_endpoint, is_integrated, is_virtual_function};
use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::pci::{Function, Seen};
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["boot-display-on-candidate", "only-gpu"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let pci = &ctx.snap.pci;
    // Class 03 02 has no outputs; everything else of class 03 can show a picture.
    let displays: Vec<&Function> = pci
        .functions
        .iter()
        .filter(|f| f.is_display() && f.base_class() != Some(0x0302))
        .filter(|f| is_endpoint(f) == Some(true) && !is_virtual_function(f) && f.seen == Seen::Sysfs)
        .collect();
    let guest = ctx.snap.system.is_guest == Fact::Known(true);
    let mut findings = Vec::new();
    for function in displays.iter().filter(|f| !is_console_only(f)) {
        let interest = ctx.interest(&function.address);
        if displays.len() == 1 {
            if !guest || interest >= Interest::Configured {
                findings.push(only(ctx, function));
            }
            continue;
        }
        if function.boot_display != Fact::Known(true) {
            continue;
        }
        // Graphics inside the processor as the boot display is how it should be, unless they are what is wanted.
        if interest < Interest::Configured && is_integrated(pci, function) {
            continue;
        }
        // The host keeps its picture, and another card is the VM's: nothing to change.
        let for_vms = |f: &&&Function| ctx.interest(&f.address) >= Interest::Configured;
        if interest < Interest::Configured && displays.iter().any(|f| for_vms(&f)) {
            continue;
        }
        let severity =
            if interest == Interest::Goal && !function.on_vfio() { Severity::Warning } else { Severity::Info };
        let mut finding = Finding::new("boot-display-on-candidate", severity, Subject::Function(function.address))
            .value("device", function.name())
            .value("address", function.address);
        // A card that is a VM's, too, is no way out.
        finding = match displays.iter().find(|f| f.address != function.address && !for_vms(f)) {
            Some(other) => finding.value("other", other.name()),
            None => finding.variant("no-other"),
        };
        findings.push(match &function.boot_display_evidence {
            Some(evidence) => finding.evidence(evidence.clone()),
            None => finding.evidence(function.evidence("boot_vga", "1")),
        });
    }
    findings
}

fn only(ctx: &Ctx<'_>, function: &Function) -> Finding {
    let consoles = &ctx.snap.usage.consoles;
    // Without another way in, a host that gives its only picture away is out of reach.
    let alone = consoles.known().is_some_and(Vec::is_empty);
    let severity = match (ctx.interest(&function.address), alone) {
        (Interest::Goal, true) => Severity::Error,
        (Interest::Goal, false) => Severity::Warning,
        _ => Severity::Info,
    };
    let class = function.class.known().map(|class| format!("0x{class:06x}")).unwrap_or_default();
    Finding::new("only-gpu", severity, Subject::Function(function.address))
        .variant(if alone { "alone" } else { "" })
        .value("device", function.name())
        .evidence(function.evidence("class", class))
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU, IGPU};
    use crate::facts::Snapshot;
    use crate::host::Fact;

    fn found(snap: &Snapshot, devices: &[&str]) -> Vec<String> {
        let found = t::check_for(snap, devices);
        let ours = found.into_iter().filter(|f| ["boot-display-on-candidate", "only-gpu"].contains(&f.id));
        t::shown(&ours.collect::<Vec<_>>())
    }

    fn boots_on_the_card() -> Snapshot {
        let mut snap = t::healthy();
        t::change(&mut snap, IGPU, |f| f.boot_display = Fact::Known(false));
        t::change(&mut snap, GPU, |f| f.boot_display = Fact::Known(true));
        snap
    }

    #[test]
    fn the_console_on_integrated_graphics_is_as_it_should_be() {
        assert!(found(&t::healthy(), &[GPU]).is_empty());
        assert_eq!(found(&t::healthy(), &[IGPU]), ["warning boot-display-on-candidate 0000:00:02.0"]);
    }

    #[test]
    fn the_console_on_the_card_is_said() {
        let snap = boots_on_the_card();
        assert_eq!(found(&snap, &[]), ["info boot-display-on-candidate 0000:01:00.0"]);
        assert_eq!(found(&snap, &[GPU]), ["warning boot-display-on-candidate 0000:01:00.0"]);
        assert_eq!(found(&snap, &[IGPU]), Vec::<String>::new(), "the other one goes to a VM");
        assert_eq!(found(&snap, &[GPU, IGPU]), ["warning boot-display-on-candidate/no-other 0000:01:00.0"]);
    }

    #[test]
    fn the_only_card_with_a_picture() {
        let mut snap = boots_on_the_card();
        snap.pci.functions.retain(|f| f.address != t::at(IGPU));
        assert_eq!(found(&snap, &[]), ["info only-gpu 0000:01:00.0"]);
        assert_eq!(found(&snap, &[GPU]), ["warning only-gpu 0000:01:00.0"]);
        snap.usage.consoles = Fact::Known(Vec::new());
        assert_eq!(found(&snap, &[GPU]), ["error only-gpu/alone 0000:01:00.0"]);
        t::add(&mut snap, t::function("0000:03:00.0", "1a03:2000", 0x03_0000));
        t::change(&mut snap, GPU, |f| f.boot_display = Fact::Known(false));
        assert!(found(&snap, &[GPU]).is_empty(), "the management controller shows the console");
    }
}

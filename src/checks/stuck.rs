//! A device does not answer: its config space reads as all ones.

use super::device::{is_endpoint, is_virtual_function};
use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::pci::Seen;
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["stuck-in-d3", "device-stuck-after-vm", "d3cold-allowed"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for function in &ctx.snap.pci.functions {
        if is_endpoint(function) == Some(false)
            || is_virtual_function(function)
            || !matches!(function.seen, Seen::Sysfs | Seen::Paste(_))
        {
            continue;
        }
        let state = function.power_state.known().map_or("", String::as_str);
        let asked = ctx.interest(&function.address) >= Interest::Configured;
        let subject = Subject::Function(function.address);
        let new = |id, severity| {
            Finding::new(id, severity, subject.clone())
                .value("device", function.name())
                .value("address", function.address)
                .value("state", state)
        };
        if function.dead == Fact::Known(true) {
            // Reading config space wakes a sleeping device (`pci_config_pm_runtime_get`, drivers/pci/pci.c), so
            // all ones mean that it did not wake, or that it is gone.
            let id =
                if matches!(state, "D3cold" | "D3hot" | "error") { "stuck-in-d3" } else { "device-stuck-after-vm" };
            // In a paste a laptop's card that is switched off looks the same, and nobody need mind.
            let sleeps = function.seen != Seen::Sysfs && !function.on_vfio();
            let severity = match (asked, sleeps) {
                (_, true) => Severity::Info,
                (true, _) => Severity::Error,
                _ => Severity::Warning,
            };
            let variant = if id == "device-stuck-after-vm" && !function.on_vfio() { "gone" } else { "" };
            findings.push(
                new(id, severity)
                    .variant(variant)
                    .evidence(function.evidence("config", "ff ff ff ff …"))
                    .evidence(function.evidence("power_state", state)),
            );
        } else if function.on_vfio()
            && function.is_display()
            && state == "D3cold"
            && function.d3cold_allowed == Fact::Known(true)
        {
            findings.push(
                new("d3cold-allowed", Severity::Info)
                    .evidence(function.evidence("power_state", state))
                    .evidence(function.evidence("d3cold_allowed", "1")),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::Snapshot;
    use crate::host::Fact;

    fn found(snap: &Snapshot) -> Vec<String> {
        let ours = t::check(snap).into_iter();
        t::shown(&ours.filter(|f| f.id.contains("d3") || f.id.contains("stuck")).collect::<Vec<_>>())
    }

    #[test]
    fn a_sleeping_device_is_not_a_stuck_one() {
        let mut snap = t::healthy();
        t::change(&mut snap, GPU, |f| f.power_state = Fact::Known("D3cold".into()));
        assert!(found(&snap).is_empty());
        t::change(&mut snap, GPU, |f| f.dead = Fact::Known(true));
        assert_eq!(found(&snap), ["warning stuck-in-d3 0000:01:00.0"]);
    }

    #[test]
    fn after_a_vm() {
        let mut snap = t::passthrough();
        t::change(&mut snap, GPU, |f| f.dead = Fact::Known(true));
        assert_eq!(found(&snap), ["error device-stuck-after-vm 0000:01:00.0"]);
        let mut snap = t::passthrough();
        t::change(&mut snap, GPU, |f| f.power_state = Fact::Known("D3cold".into()));
        assert_eq!(found(&snap), ["info d3cold-allowed 0000:01:00.0"]);
    }

    #[test]
    fn the_ids_of_a_virtual_function_read_as_ones_by_specification() {
        let mut snap = t::healthy();
        let mut part = t::function("0000:01:00.4", "10de:2684", 0x03_0200);
        part.physical = Fact::Known(t::at(GPU));
        part.dead = Fact::Known(true);
        t::add(&mut snap, part);
        assert!(found(&snap).is_empty());
    }
}

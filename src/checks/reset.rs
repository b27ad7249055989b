//! Whether a device can be brought back to a known state between two VMs.

use super::device::{companions, is_accelerator, is_endpoint, list};
use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject, quirks};
use crate::facts::Evidence;
use crate::facts::pci::{Function, Seen};
use crate::host::Fact;

pub(super) const CHECK: Check =
    Check { ids: &["reset-missing", "reset-needs-whole-slot", "reset-known-bad", "kernel-breaks-reset"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for function in ctx.functions(Interest::Candidate).filter(|f| is_endpoint(f) == Some(true)) {
        findings.extend(known_bad(ctx, function));
        if ctx.interest(&function.address) >= Interest::Configured && function.seen == Seen::Sysfs {
            findings.extend(missing(ctx, function));
            findings.extend(whole_slot(ctx, function));
        }
    }
    findings.extend(kernel(ctx));
    findings
}

/// No method at all. `reset_method` is there since Linux 5.15; before, its absence says nothing.
fn missing(ctx: &Ctx<'_>, function: &Function) -> Option<Finding> {
    let none = match &function.reset_methods {
        Fact::Absent => true,
        Fact::Known(methods) => methods.is_empty(),
        Fact::Unknown(_) => return None,
    };
    if !none || ctx.snap.kernel.numbers().is_none_or(|numbers| numbers < (5, 15)) {
        return None;
    }
    // A card's sound function has no reset of its own as a rule: it goes with the card.
    let earlier: Vec<_> =
        companions(&ctx.snap.pci, function).into_iter().filter(|f| f.address < function.address).collect();
    let part = !earlier.is_empty();
    let wanted = ctx.interest(&function.address);
    if part && wanted < Interest::Goal && !function.on_vfio()
        || earlier.iter().any(|f| f.is_display() && ctx.interest(&f.address) >= wanted)
    {
        return None;
    }
    Some(
        Finding::new(
            "reset-missing",
            if part { Severity::Info } else { Severity::Warning },
            Subject::Function(function.address),
        )
        .variant(if part { "part" } else { "" })
        .value("device", function.name())
        .value("address", function.address)
        .evidence(function.evidence("reset_method", "empty or not there")),
    )
}

/// The function alone has only the bus reset, which takes the whole slot along, and part of the slot stays behind.
fn whole_slot(ctx: &Ctx<'_>, function: &Function) -> Option<Finding> {
    let methods = function.reset_methods.known()?;
    if methods.iter().any(|method| method != "bus" && method != "cxl_bus") {
        return None;
    }
    if function.on_vfio() && function.is_display() {
        // What was forgotten is another finding then: function-left-behind.
        return None;
    }
    let stays = |f: &&Function| !f.on_vfio() && ctx.interest(&f.address) < Interest::Configured;
    let rest: Vec<&Function> = companions(&ctx.snap.pci, function).into_iter().filter(stays).collect();
    if rest.is_empty() {
        return None;
    }
    Some(
        Finding::new("reset-needs-whole-slot", Severity::Warning, Subject::Function(function.address))
            .value("device", function.name())
            .value("rest", list(rest.iter().map(|f| f.address)))
            .evidence(function.evidence("reset_method", methods.join(" "))),
    )
}

fn known_bad(ctx: &Ctx<'_>, function: &Function) -> Option<Finding> {
    if !is_accelerator(function) {
        return None;
    }
    let row = quirks::reset(*function.ids.known()?)?;
    let methods = function.reset_methods.known();
    let specific = |at: usize| methods.and_then(|all| all.get(at)).is_some_and(|method| method == "device_specific");
    if specific(0) {
        // Somebody has chosen a reset made for this device.
        return None;
    }
    let loaded = ctx.snap.kernel.loaded.known().is_some_and(|loaded| loaded.contains("vendor_reset"));
    let variant = match row.cure.as_str() {
        "vendor-reset" if loaded => "not-chosen",
        "vendor-reset" => "",
        "apu" => "apu",
        _ => "mixed",
    };
    let asked = ctx.interest(&function.address) >= Interest::Configured;
    // Graphics in a processor are the host's own screen as a rule, and so is the card that stays where another one is
    // a VM's; for who wants to give it away, it is said then.
    if !asked && (row.cure == "apu" || ctx.intents.any()) {
        return None;
    }
    let certain = row.cure == "vendor-reset";
    Some(
        Finding::new(
            "reset-known-bad",
            if asked && certain { Severity::Warning } else { Severity::Info },
            Subject::Function(function.address),
        )
        .variant(variant)
        .value("device", function.name())
        .value("address", function.address)
        .value("family", &row.name)
        .value("source", &row.source)
        .evidence(function.evidence("device", function.ids.known().map(ToString::to_string).unwrap_or_default())),
    )
}

fn kernel(ctx: &Ctx<'_>) -> Option<Finding> {
    let release = ctx.snap.kernel.release.known()?;
    let row = quirks::kernel(release).filter(|row| row.symptom == "reset")?;
    let wanted = |f: &Function| ctx.interest(&f.address) >= Interest::Configured;
    ctx.snap.pci.functions.iter().any(wanted).then(|| {
        Finding::new("kernel-breaks-reset", Severity::Warning, Subject::Host)
            .value("release", release)
            .value("source", &row.source)
            .evidence(Evidence::new("/proc/sys/kernel/osrelease", release.clone()))
    })
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::Snapshot;
    use crate::host::Fact;

    fn found(snap: &Snapshot, devices: &[&str]) -> Vec<String> {
        let ours = t::check_for(snap, devices).into_iter();
        t::shown(&ours.filter(|f| f.id.contains("reset")).collect::<Vec<_>>())
    }

    #[test]
    fn an_nvidia_card_given_whole_resets_by_its_bus() {
        assert!(found(&t::passthrough(), &[]).is_empty());
        assert!(found(&t::healthy(), &[GPU, "0000:01:00.1"]).is_empty());
        assert_eq!(found(&t::healthy(), &[GPU]), ["warning reset-needs-whole-slot 0000:01:00.0"]);
    }

    #[test]
    fn no_method_is_said_per_function() {
        let mut snap = t::passthrough();
        t::change(&mut snap, "0000:01:00.1", |f| f.reset_methods = Fact::Absent);
        assert!(found(&snap, &[]).is_empty(), "the card goes as a whole");
        assert_eq!(found(&snap, &["0000:01:00.1"]), ["info reset-missing/part 0000:01:00.1"]);
        t::change(&mut snap, GPU, |f| f.reset_methods = Fact::Known(Vec::new()));
        assert_eq!(found(&snap, &[])[0], "warning reset-missing 0000:01:00.0");
        t::release(&mut snap, "5.10.0-28-amd64");
        assert!(found(&snap, &[]).is_empty(), "the kernel has no reset_method yet");
    }

    #[test]
    fn families_with_a_bad_reset() {
        let mut snap = t::passthrough();
        let mut to = |ids: (u16, u16)| {
            t::change(&mut snap, GPU, |f| {
                f.ids = Fact::Known(crate::facts::pci::Ids { vendor: ids.0, device: ids.1 });
            });
            found(&snap, &[])
        };
        assert_eq!(to((0x1002, 0x731f)), ["warning reset-known-bad 0000:01:00.0"]);
        assert_eq!(to((0x1002, 0x744c)), ["info reset-known-bad/mixed 0000:01:00.0"]);
        assert!(to((0x1002, 0x73bf)).is_empty());
        assert_eq!(to((0x1002, 0x1638)), ["info reset-known-bad/apu 0000:01:00.0"]);
        to((0x1002, 0x731f));
        let Fact::Known(loaded) = &mut snap.kernel.loaded else { panic!("modules are known") };
        loaded.insert("vendor_reset".into());
        assert_eq!(found(&snap, &[]), ["warning reset-known-bad/not-chosen 0000:01:00.0"]);
        t::change(&mut snap, GPU, |f| {
            f.reset_methods = Fact::Known(vec!["device_specific".into(), "bus".into()]);
        });
        assert!(found(&snap, &[]).is_empty());
    }

    #[test]
    fn a_kernel_that_breaks_resets() {
        let mut snap = t::passthrough();
        t::release(&mut snap, "6.14.2-zen1-1-zen");
        assert_eq!(found(&snap, &[]), ["warning kernel-breaks-reset host"]);
        let mut idle = t::healthy();
        t::release(&mut idle, "6.14.2-zen1-1-zen");
        assert!(found(&idle, &[]).is_empty());
    }
}

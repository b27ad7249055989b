//! The configuration asks vfio-pci to take a function, and another driver has it.

use super::device::stands_aside;
use super::ids::takes_too_much;
use super::intent::{Claim, Interest, claims};
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::Evidence;
use crate::facts::pci::{Function, is_vfio_driver};
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["native-driver-won"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let claims = sensible_claims(ctx);
    let mut findings = Vec::new();
    for function in &ctx.snap.pci.functions {
        let Some((driver, asked)) = lost(ctx, &claims, function) else { continue };
        let mut finding = Finding::new("native-driver-won", Severity::Error, Subject::Function(function.address))
            .variant(reason(ctx, driver))
            .value("device", function.name())
            .value("address", function.address)
            .value("driver", driver)
            .evidence(function.evidence("driver", driver.clone()));
        for evidence in asked.into_iter().take(4) {
            finding = finding.evidence(evidence);
        }
        findings.push(finding);
    }
    findings
}

/// What vfio-pci is told to take, but for ids that would take the host's own devices along.
pub(super) fn sensible_claims(ctx: &Ctx<'_>) -> Vec<Claim> {
    let mut claims = claims(ctx.snap);
    claims.retain(|claim| !takes_too_much(ctx, claim));
    claims
}

/// The driver that has it although vfio-pci was told to take it, and what told it so.
pub(super) fn lost<'a>(ctx: &Ctx<'_>, claims: &[Claim], function: &'a Function) -> Option<(&'a String, Vec<Evidence>)> {
    let driver = function.driver.known().filter(|driver| !is_vfio_driver(driver))?;
    let asked = asked_by(function, claims);
    let lost = !function.is_bridge() && !asked.is_empty() && !is_the_hosts_twin(ctx, function);
    lost.then_some((driver, asked))
}

/// What asks vfio-pci to take it at boot. A VM that takes its device when it starts does not count.
fn asked_by(function: &Function, claims: &[Claim]) -> Vec<Evidence> {
    let mut asked: Vec<Evidence> = Vec::new();
    if let Some(name) = function.driver_override.known().filter(|name| is_vfio_driver(name)) {
        asked.push(function.evidence("driver_override", name.clone()));
    }
    asked.extend(claims.iter().filter(|claim| claim.takes(function) == Some(true)).map(|claim| claim.evidence.clone()));
    asked
}

/// The host uses this card, and another one with the same ids is not driven by the host: the ids mean that one, and
/// that they reach too far is another finding.
fn is_the_hosts_twin(ctx: &Ctx<'_>, function: &Function) -> bool {
    let pci = &ctx.snap.pci;
    if function.driver_override.known().is_some() || ctx.interest(&function.address) == Interest::Goal {
        return false;
    }
    let used = pci.slot(&function.address).any(|f| ctx.snap.usage.of(&f.address).next().is_some());
    let twin = |f: &Function| {
        !f.address.same_slot(&function.address)
            && f.ids.known().is_some()
            && f.ids == function.ids
            && stands_aside(f) == Some(true)
    };
    used && pci.functions.iter().any(twin)
}

/// The likely reason, as a variant of the page.
fn reason(ctx: &Ctx<'_>, driver: &str) -> &'static str {
    let kernel = &ctx.snap.kernel;
    // A driver's name and its module's name mostly agree but for `-`; xhci_hcd is the known exception.
    let module = match driver {
        "xhci_hcd" | "xhci-hcd" => "xhci_pci".to_owned(),
        other => other.replace('-', "_"),
    };
    let builtin = |name: &str| {
        let known = kernel.running().and_then(|running| running.builtin.known());
        known.is_some_and(|modules| modules.contains(name))
    };
    if builtin(&module) {
        return "builtin";
    }
    if kernel.loaded.known().is_some_and(|loaded| !loaded.contains("vfio_pci")) && !builtin("vfio_pci") {
        return "not-loaded";
    }
    let release = kernel.release.known();
    let early = ctx.snap.initramfs.images.iter().filter(|image| Some(&image.release) == release).any(|image| {
        let Fact::Known(content) = &image.content else { return false };
        content.modules.contains(&module) && !content.modules.contains("vfio_pci")
    });
    if early { "early" } else { "" }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::usage::{Use, UseKind};
    use crate::facts::{Evidence, Snapshot};
    use crate::host::Fact;

    fn found(snap: &Snapshot) -> Vec<String> {
        t::shown(&t::only(&t::check(snap), "native-driver-won"))
    }

    #[test]
    fn says_why_the_native_driver_was_first() {
        let mut snap = t::passthrough();
        t::change(&mut snap, GPU, |f| f.driver = Fact::Known("nouveau".into()));
        assert_eq!(found(&snap), ["error native-driver-won/not-loaded 0000:01:00.0"]);
        let Fact::Known(loaded) = &mut snap.kernel.loaded else { panic!("modules are known") };
        loaded.insert("vfio_pci".into());
        assert_eq!(found(&snap), ["error native-driver-won 0000:01:00.0"]);
        for image in &mut snap.initramfs.images {
            let Fact::Known(content) = &mut image.content else { panic!("images are known") };
            content.modules = t::set(&["nouveau"]);
        }
        assert_eq!(found(&snap), ["error native-driver-won/early 0000:01:00.0"]);
        t::change(&mut snap, GPU, |f| f.driver = Fact::Known("simpledrm".into()));
        assert_eq!(found(&snap), ["error native-driver-won/builtin 0000:01:00.0"]);
    }

    #[test]
    fn the_twin_that_the_host_shows_on_is_not_the_one_that_was_meant() {
        let mut snap = t::passthrough();
        t::add(&mut snap, t::with_driver(t::function("0000:02:00.0", "10de:2684", 0x03_0000), "nouveau"));
        assert_eq!(found(&snap), ["error native-driver-won/not-loaded 0000:02:00.0"]);
        let evidence = Evidence::new("/sys/class/drm/card1-DP-1/enabled", "enabled");
        let used = Use { address: t::at("0000:02:00.0"), kind: UseKind::Display, by: "card1-DP-1".into(), evidence };
        snap.usage.uses.push(used);
        assert!(found(&snap).is_empty());
    }

    #[test]
    fn only_where_vfio_was_asked_for() {
        assert!(found(&t::healthy()).is_empty());
        assert!(found(&t::passthrough()).is_empty());
        let mut snap = t::healthy();
        t::change(&mut snap, GPU, |f| f.driver_override = Fact::Known("vfio-pci".into()));
        assert_eq!(found(&snap).len(), 1);
        t::change(&mut snap, GPU, |f| f.driver = Fact::Absent);
        assert!(found(&snap).is_empty(), "no driver has it");
    }
}

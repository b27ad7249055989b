//! Drivers that are blacklisted for the whole host although the host needs them for another device.

use super::intent::Interest;
use super::modprobe_line_ignored::is_admins;
use super::{Check, Ctx, Finding, Severity, words};
use crate::facts::Evidence;
use crate::facts::pci::Function;
use crate::facts::usage::UseKind;
use crate::host::Fact;
use crate::parse::modprobe::module_name;
use std::collections::BTreeMap;

pub(super) const CHECK: Check = Check { ids: &["blacklist-too-wide"], run };

/// Graphics drivers and the vendor whose devices they are for (Linux drivers/gpu/drm, NVIDIA's own drivers).
const GRAPHICS: &[(&str, u16)] = &[
    ("amdgpu", 0x1002),
    ("ast", 0x1a03),
    ("i915", 0x8086),
    ("nouveau", 0x10de),
    ("nova_core", 0x10de),
    ("nvidia", 0x10de),
    ("nvidia_drm", 0x10de),
    ("nvidia_modeset", 0x10de),
    ("radeon", 0x1002),
    ("xe", 0x8086),
];

/// Every module that is kept from loading by itself, with where that is said.
pub(super) fn blacklisted(ctx: &Ctx<'_>) -> BTreeMap<String, Vec<Evidence>> {
    let snap = ctx.snap;
    let mut found: BTreeMap<String, Vec<Evidence>> = BTreeMap::new();
    for directive in &snap.modules.directives {
        let never = ["/bin/true", "/bin/false", "/usr/bin/true", "/usr/bin/false"];
        let install = directive.word == "install" && never.contains(&directive.rest.trim());
        if directive.word == "blacklist" || install {
            let evidence = words::directive_evidence(snap, directive);
            found.entry(module_name(&directive.module)).or_default().push(evidence);
        }
    }
    for word in words::all(snap) {
        if matches!(word.name.as_str(), "modprobe.blacklist" | "module_blacklist" | "rd.driver.blacklist") {
            for module in word.items() {
                found.entry(module_name(module)).or_default().extend(word.evidence.iter().cloned());
            }
        }
    }
    found
}

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (module, evidence) in blacklisted(ctx) {
        if !evidence.iter().any(|e| is_admins(&e.source)) {
            continue;
        }
        let needs = |f: &&Function| match module.as_str() {
            "snd_hda_intel" => host_sound(ctx, f),
            _ => GRAPHICS.iter().any(|(driver, vendor)| *driver == module && host_graphics(ctx, f, driver, *vendor)),
        };
        let needed: Vec<&Function> = ctx.snap.pci.functions.iter().filter(needs).collect();
        let Some(first) = needed.first() else { continue };
        let Some(place) = evidence.first() else { continue };
        let addresses: Vec<String> = needed.iter().map(|f| f.address.to_string()).collect();
        let mut finding = Finding::new("blacklist-too-wide", Severity::Warning, words::subject(place))
            .variant(if module == "snd_hda_intel" { "sound" } else { "graphics" })
            .value("module", &module)
            .value("device", first.address)
            .value("name", first.name())
            .value("devices", addresses.join(", "));
        finding.evidence.clone_from(&evidence);
        let driver = first.driver.known().map_or("none", String::as_str);
        findings.push(finding.evidence(first.evidence("driver", driver)));
    }
    findings
}

/// True if the function is without a driver, or has the one that will not be loaded again.
fn waits_for(function: &Function, module: &str) -> bool {
    match &function.driver {
        Fact::Known(driver) => module_name(driver) == module,
        Fact::Absent => true,
        Fact::Unknown(_) => false,
    }
}

/// Sound of the host: a sound function that nobody wants in a VM, and that is no part of a graphics card.
fn host_sound(ctx: &Ctx<'_>, function: &Function) -> bool {
    let card = ctx.snap.pci.slot(&function.address).any(|other| other.is_display());
    function.base_class() == Some(0x0403)
        && !card
        && ctx.interest(&function.address) < Interest::Configured
        && waits_for(function, "snd_hda_intel")
}

/// Graphics of the host: the boot display, one that shows something, or the one that is left over when another of
/// its vendor was given away.
fn host_graphics(ctx: &Ctx<'_>, function: &Function, module: &str, vendor: u16) -> bool {
    let of_vendor = |f: &Function| f.is_display() && f.ids.known().is_some_and(|ids| ids.vendor == vendor);
    if !of_vendor(function) || ctx.interest(&function.address) >= Interest::Configured || !waits_for(function, module) {
        return false;
    }
    // Several drivers are for one vendor: a blacklist of those that don't match this device does no harm.
    if function.candidates.known().is_some_and(|all| !all.is_empty() && !all.iter().any(|c| module_name(c) == module)) {
        return false;
    }
    let shows = function.boot_display == Fact::Known(true)
        || ctx
            .snap
            .usage
            .of(&function.address)
            .any(|used| matches!(used.kind, UseKind::Display | UseKind::OnlyConsole | UseKind::Process));
    let other_given = || {
        let given = |f: &&Function| of_vendor(f) && ctx.interest(&f.address) >= Interest::Configured;
        ctx.snap.pci.functions.iter().any(|f| given(&f))
    };
    shows || other_given()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;

    fn found(snap: &crate::facts::Snapshot) -> Vec<String> {
        let findings = check(snap);
        let shown = |f: &&Finding| f.values.iter().find(|(name, _)| *name == "devices").map(|(_, v)| v.clone());
        only(&findings, "blacklist-too-wide").iter().filter_map(shown).collect()
    }

    #[test]
    fn sound_of_the_host() {
        let mut snap = passthrough();
        modprobe(&mut snap, "/etc/modprobe.d/b.conf", "blacklist snd_hda_intel");
        assert_eq!(found(&snap), ["0000:00:1f.3"]);
        change(&mut snap, "0000:00:1f.3", |f| f.driver = Fact::Known("sof-audio-pci-intel-tgl".into()));
        assert!(found(&snap).is_empty());
    }

    #[test]
    fn graphics_of_the_host() {
        let mut snap = passthrough();
        modprobe(&mut snap, "/etc/modprobe.d/b.conf", "blacklist nouveau\nblacklist nvidia\nblacklist radeon");
        assert!(found(&snap).is_empty(), "the only NVIDIA card is the VM's");
        let mut second = with_driver(function("0000:02:00.0", "10de:1c82", 0x03_0000), "nouveau");
        second.driver = Fact::Absent;
        add(&mut snap, second);
        assert_eq!(found(&snap), ["0000:02:00.0"]);
        // The host's card runs with another driver.
        change(&mut snap, "0000:02:00.0", |f| f.driver = Fact::Known("nvidia".into()));
        modprobe(&mut snap, "/usr/lib/modprobe.d/nvidia.conf", "blacklist nouveau");
        snap.modules.directives.retain(|d| d.module != "nvidia");
        assert!(found(&snap).is_empty());
        cmdline(&mut snap, "module_blacklist=i915");
        assert_eq!(found(&snap), [IGPU]);
    }

    #[test]
    fn a_server_that_wants_all_its_cards_in_vms() {
        let mut snap = healthy();
        modprobe(&mut snap, "/etc/modprobe.d/b.conf", "blacklist nouveau\ninstall nvidia /bin/false\n");
        assert!(found(&snap).is_empty());
    }
}

//! What the user has set up already, and what works: it is left as it is.
//!
//! The evidence is twofold: the function is on a vfio driver now, and what boots next says the same. That it is there by
//! luck, or by somebody's command, is not enough.

use super::case::Case;
use crate::checks::intent;
use crate::checks::{Severity, words};
use crate::facts::Evidence;
use crate::facts::boot::normal_entries;
use crate::facts::initramfs::Content;
use crate::facts::pci::{Function, is_vfio_driver};
use crate::host::Fact;
use crate::parse::cmdline::Cmdline;
use crate::parse::vfio_ids;

/// What gives every chosen function to vfio at each boot, by the user's own configuration; `None` if that cannot be seen of
/// one of them.
pub(super) fn held(case: &Case<'_>) -> Option<Vec<Evidence>> {
    let mut seen: Vec<Evidence> = Vec::new();
    for function in &case.chosen {
        for evidence in holder(case, function)? {
            if !seen.contains(&evidence) {
                seen.push(evidence);
            }
        }
    }
    (!seen.is_empty()).then_some(seen)
}

fn holder(case: &Case<'_>, function: &Function) -> Option<Vec<Evidence>> {
    if !function.on_vfio() {
        return None;
    }
    by_ids(case, function).or_else(|| by_driverctl(case, function)).or_else(|| by_image(case, function))
}

/// Ids that take it, in files that are in effect, and nothing found that makes them late, stale or a matter of luck.
fn by_ids(case: &Case<'_>, function: &Function) -> Option<Vec<Evidence>> {
    let doubts = ["early-load-missing", "initramfs-stale", "native-driver-won", "ids-take-too-much"];
    let doubted = case.findings.iter().any(|finding| doubts.contains(&finding.id))
        // Words that the next boot brings are no doubt.
        || case.findings.iter().any(|f| {
            f.id == "cmdline-not-in-effect" && f.severity < Severity::Info && f.variant != "not-rebooted"
        });
    if doubted || !images_have_vfio(case) {
        return None;
    }
    let own = |evidence: &Evidence| evidence.source.contains("vfioneer");
    let running = words::running_evidence(case.snap).map(|evidence| evidence.source);
    // An entry that was made from a source says nothing of its own; vfioneer's source is no wish of the user's.
    let places = &case.snap.boot.places;
    let sourced =
        places.iter().any(|place| place.effective && !place.generated && place.words.iter().any(|word| is_ids(word)));
    let made = |evidence: &Evidence| sourced && places.iter().any(|p| p.generated && p.file.path == evidence.source);
    let claims = intent::claims(case.snap).into_iter().filter(|claim| claim.takes(function) == Some(true));
    let found: Vec<_> = claims
        // A word that only the running kernel has was typed at the menu.
        .filter(|claim| {
            !own(&claim.evidence) && !made(&claim.evidence) && Some(&claim.evidence.source) != running.as_ref()
        })
        .collect();
    if found.iter().all(|claim| claim.on_cmdline) && !every_entry_takes(case, function) {
        return None;
    }
    (!found.is_empty()).then(|| found.into_iter().map(|claim| claim.evidence).collect())
}

/// Every entry that boots this host has ids on its command line that take the function.
fn every_entry_takes(case: &Case<'_>, function: &Function) -> bool {
    normal_entries(&case.snap.boot).iter().all(|entry| {
        let words = entry.words().collect::<Vec<_>>().join(" ");
        // Of several such words only the last one counts.
        let ids = Cmdline::parse(&words).value("vfio-pci.ids").map(vfio_ids::parse).unwrap_or_default();
        ids.iter().filter_map(|item| item.spec.as_ref()).any(|spec| intent::takes(spec, function) == Some(true))
    })
}

fn is_ids(word: &str) -> bool {
    Cmdline::parse(word).has("vfio-pci.ids")
}

/// Every kernel's image holds vfio-pci, or the kernel itself does, or the host loads it later and needs no more (then
/// `early-load-missing` would have spoken). An image that could not be opened says nothing.
fn images_have_vfio(case: &Case<'_>) -> bool {
    case.snap.initramfs.images.iter().all(|image| image.content.known().is_some())
}

/// driverctl's file for it: read by a udev rule at every boot (driverctl(8)).
fn by_driverctl(case: &Case<'_>, function: &Function) -> Option<Vec<Evidence>> {
    let path = format!("/etc/driverctl.d/pci-{}", function.address);
    let file = case.snap.modules.files.iter().find(|file| file.path == path)?;
    let driver = file.text.trim();
    (is_vfio_driver(driver) && function.driver_override.known().is_some_and(|set| set == driver))
        .then(|| vec![Evidence::at(path, 1, driver)])
}

/// A script or rule in the image of every kernel that names the function and writes driver_override.
fn by_image(case: &Case<'_>, function: &Function) -> Option<Vec<Evidence>> {
    if function.driver_override.known().is_none_or(|set| !is_vfio_driver(set)) || case.snap.initramfs.images.is_empty()
    {
        return None;
    }
    let address = function.address.to_string();
    let writes = |content: &Content| {
        let names = |text: &String| text.contains("driver_override") && text.contains(&address);
        let mut files = content.files.iter().filter(|(path, _)| !path.contains("vfioneer"));
        files.find(|(_, text)| names(text)).map(|(path, _)| path.clone())
    };
    let mut found = Vec::new();
    for image in &case.snap.initramfs.images {
        let Fact::Known(content) = &image.content else { return None };
        found.push(Evidence::new(image.path.clone(), writes(content)?));
    }
    Some(found)
}

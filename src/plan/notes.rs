//! What the user should know about a plan.

use super::case::Case;
use super::guards;
use crate::checks::device::list;
use crate::host::Fact;
use crate::plan::texts::said;

/// All notes of the plan itself; the adapters have their own.
pub(super) fn all(case: &Case<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(evidence) = &case.adopted {
        let places: Vec<String> = evidence
            .iter()
            .map(|e| e.line.map_or_else(|| e.source.clone(), |line| format!("{}:{line}", e.source)))
            .collect();
        notes.push(said("adopted", &[("places", &list(places))]));
    }
    if case.runs() && case.snap.usage.complete.is_unknown() && !case.chosen.is_empty() {
        let why = case.snap.usage.complete.why().map(ToString::to_string).unwrap_or_default();
        notes.push(said("note-processes-unseen", &[("why", &why)]));
    }
    if let Some(display) = case.chosen.iter().find(|f| f.boot_display == Fact::Known(true) && !f.on_vfio()) {
        notes.push(said("note-boot-display", &[("device", &display.name())]));
    }
    notes.extend(keyboards(case));
    notes.extend(override_kept(case));
    notes
}

/// A keyboard or mouse hangs on a USB controller that goes along.
fn keyboards(case: &Case<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    for function in case.chosen.iter().filter(|f| !f.on_vfio()) {
        let input = |kind: &&str| ["keyboard", "mouse"].contains(kind);
        let devices = case.snap.usb.known().into_iter().flatten();
        let on_it = devices.filter(|d| d.controller == function.address && d.kinds.iter().any(input));
        let names: Vec<&str> = on_it.map(|device| device.name.as_str()).collect();
        if !names.is_empty() {
            let address = function.address.to_string();
            notes.push(said("note-keyboard", &[("address", &address), ("devices", &list(names))]));
        }
    }
    notes
}

/// What the user passes already stays, and so does what is only pretended about it.
fn override_kept(case: &Case<'_>) -> Option<String> {
    case.adopted.as_ref()?;
    let (word, devices) = guards::pretended(case)?;
    Some(said("note-acs-override", &[("word", &word), ("devices", &list(devices))]))
}

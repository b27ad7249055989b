//! What the user should know about a plan.

use super::Plan;
use super::case::Case;
use crate::facts::Evidence;
use crate::host::Fact;
use crate::plan::texts::said;

/// All notes of the plan itself; the adapters have their own.
pub(super) fn all(case: &Case<'_>, _plan: &Plan, adopted: Option<&[Evidence]>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(evidence) = adopted {
        let places: Vec<String> = evidence
            .iter()
            .map(|e| e.line.map_or_else(|| e.source.clone(), |line| format!("{}:{line}", e.source)))
            .collect();
        notes.push(said("adopted", &[("places", &crate::checks::device::list(places))]));
    }
    if case.runs() && case.snap.usage.complete.is_unknown() && !case.chosen.is_empty() {
        let why = case.snap.usage.complete.why().map(ToString::to_string).unwrap_or_default();
        notes.push(said("note-processes-unseen", &[("why", &why)]));
    }
    if let Some(display) = case.chosen.iter().find(|f| f.boot_display == Fact::Known(true)) {
        notes.push(said("note-boot-display", &[("device", &display.name())]));
    }
    notes
}

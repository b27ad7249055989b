//! `--method ids`: the ids of the chosen functions, where they take nothing else.

use super::{Case, Refusal};
use crate::facts::pci::Function;
use crate::goal::Method;

/// The shortest form that takes the function and none that is not chosen; else the twin that it would take along, or none
/// if the function's ids are not known.
pub fn exact<'a>(case: &Case<'a>, function: &Function) -> Result<String, Option<&'a Function>> {
    let Some(ids) = function.ids.known() else { return Err(None) };
    let others = || {
        case.snap.pci.functions.iter().filter(|f| !f.is_bridge() && !case.chosen.iter().any(|c| c.address == f.address))
    };
    // A function whose ids are not known may have any.
    let same_ids = |f: &&Function| f.ids.known().is_none_or(|other| other == ids);
    let Some(twin) = others().find(same_ids) else { return Ok(ids.to_string()) };
    let Some(own) = function.subsystem.known() else { return Err(Some(twin)) };
    let same_board = |f: &&Function| same_ids(f) && f.subsystem.known().is_none_or(|other| other == own);
    match others().find(same_board) {
        None => Ok(format!("{ids}:{own}")),
        Some(twin) => Err(Some(twin)),
    }
}

pub(super) fn refusals(case: &Case<'_>) -> Vec<Refusal> {
    if case.goal.method != Method::Ids {
        return Vec::new();
    }
    let refusal = |function: &&Function| {
        let twin = match exact(case, function) {
            Ok(_) => return None,
            Err(twin) => twin.map_or_else(String::new, |twin| twin.address.to_string()),
        };
        let guard = if twin.is_empty() { "ids-unknown" } else { "ids-take-more" };
        let name = function.name();
        Some(Refusal::firm(guard, function.address, &[("device", &name), ("twin", &twin)]))
    };
    case.chosen.iter().filter_map(refusal).collect()
}

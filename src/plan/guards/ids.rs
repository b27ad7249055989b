//! `--method ids`: the ids of the chosen functions, where they take nothing else.

use super::{Case, Refusal};
use crate::adapters::claim;
use crate::checks::device::list;
use crate::checks::{intent, words};
use crate::facts::own;
use crate::facts::pci::Function;
use crate::goal::Method;
use crate::parse::address::Address;
use crate::plan::claiming;

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
    let mut refused = mixed(case);
    if case.goal.method != Method::Ids {
        return refused;
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
    refused.extend(case.chosen.iter().filter_map(refusal));
    refused.extend(overruled(case));
    if case.adopted.is_none() {
        refused.extend(case.chosen.iter().filter_map(|function| built_in_first(case, function)));
    }
    refused
}

/// A native driver is built into a kernel whose vfio-pci is a module: no softdep comes before it (modprobe.d(5)), so ids never take the
/// function there.
fn built_in_first(case: &Case<'_>, function: &Function) -> Option<Refusal> {
    let natives = claim::natives(function);
    let (kernel, native) = case.snap.kernel.installed.iter().find_map(|kernel| {
        let builtin = kernel.builtin.known().filter(|all| !all.contains("vfio_pci"))?;
        Some((kernel, natives.iter().find(|native| builtin.contains(*native))?))
    })?;
    let name = function.name();
    let values = [("device", name.as_str()), ("driver", native), ("kernel", &kernel.release)];
    Some(Refusal::firm("ids-native-built-in", function.address, &values))
}

/// vfioneer claims other functions by the other method: one plan knows one method.
fn mixed(case: &Case<'_>) -> Vec<Refusal> {
    let chosen = |address: &Address| case.chosen.iter().any(|f| f.address == *address);
    let others: Vec<Address> = match case.goal.method {
        _ if case.chosen.is_empty() => return Vec::new(),
        Method::Ids => claiming::before(case).into_iter().map(|claim| claim.address).filter(|a| !chosen(a)).collect(),
        Method::Identity => {
            let ours = |claim: &intent::Claim| own::FILES.contains(&claim.evidence.source.as_str());
            let claims: Vec<intent::Claim> = intent::claims(case.snap).into_iter().filter(ours).collect();
            let takes = |f: &&Function| !f.is_bridge() && claims.iter().any(|claim| claim.takes(f) == Some(true));
            case.snap.pci.functions.iter().filter(takes).map(|f| f.address).filter(|a| !chosen(a)).collect()
        }
    };
    let Some(first) = others.first() else { return Vec::new() };
    vec![Refusal::firm("methods-mixed", first, &[("devices", &list(&others))])]
}

/// A file that is read after vfioneer's sets the ids again: of several lists the last one counts.
fn overruled(case: &Case<'_>) -> Option<Refusal> {
    let later = |option: &words::ModuleOption| {
        let name = option.evidence.source.rsplit('/').next().unwrap_or_default();
        option.name == "ids" && !option.on_cmdline && name.ends_with(".conf") && name > "vfioneer.conf"
    };
    let option = words::options(case.snap, "vfio_pci").into_iter().find(later)?;
    let subject = words::subject(&option.evidence).to_string();
    Some(Refusal::firm("ids-overruled", &subject, &[("place", &subject)]))
}

//! Isolation that is only pretended, and interrupts that nothing checks.

use super::{Case, Refusal};
use crate::checks::acs_override_on::carried;
use crate::checks::device::list;
use crate::checks::words;
use crate::facts::isolation::{Cause, Isolation, Topology};
use crate::facts::pci::Function;
use crate::host::Fact;
use crate::parse::address::Address;
use std::collections::BTreeSet;

pub(super) fn refusals(case: &Case<'_>) -> Vec<Refusal> {
    let mut refused = refused(case);
    refused.extend(not_carried(case));
    refused
}

/// Isolation that is not what it seems to be, as the host runs.
pub(super) fn refused(case: &Case<'_>) -> Vec<Refusal> {
    let mut refused = Vec::new();
    // What is passed already, and stays as it is, is no worse than before.
    if case.adopted.is_none()
        && let Some((word, devices)) = pretended(case)
    {
        let values = [("word", word.as_str()), ("devices", &list(&devices))];
        refused.extend(devices.first().map(|first| Refusal::allowable("acs-override", "acs-override", first, &values)));
    }
    refused.extend(interrupts(case));
    refused
}

/// The chosen functions whose way up holds a bridge that does not isolate by its registers, while an override is on.
/// A quirk of the kernel may be the true reason; nothing tells the two apart.
pub fn pretended(case: &Case<'_>) -> Option<(String, Vec<Address>)> {
    let line = words::running(case.snap);
    let word = line.find("pcie_acs_override").filter(|word| word.list().any(|item| !item.is_empty()))?;
    if case.chosen.is_empty() || carried(case.snap) == Some(false) {
        return None;
    }
    let topology = Topology::new(&case.snap.pci);
    let doubtful = |f: &&&Function| {
        let above = case.snap.pci.path_up(&f.address);
        above.iter().any(|bridge| topology.isolation(bridge) != Isolation::Isolates)
    };
    let devices: Vec<Address> = case.chosen.iter().filter(doubtful).map(|f| f.address).collect();
    (!devices.is_empty()).then(|| (word.text.to_owned(), devices))
}

/// The override is allowed, and this kernel would not know the word.
fn not_carried(case: &Case<'_>) -> Option<Refusal> {
    if !case.allows("acs-override") || case.in_the_way.is_empty() || carried(case.snap) == Some(true) {
        return None;
    }
    let release = case.snap.kernel.release.known().map_or("", String::as_str);
    Some(Refusal::firm("acs-override-not-carried", "host", &[("release", release)]))
}

/// `id:vvvv:dddd` of what lets the functions in the way into the groups of the chosen ones, where the user allows that and
/// the kernel carries the override; none if there is nothing to override.
pub fn overrides(case: &Case<'_>) -> Option<Vec<String>> {
    if !case.allows("acs-override") || case.in_the_way.is_empty() || carried(case.snap) != Some(true) {
        return None;
    }
    let topology = Topology::new(&case.snap.pci);
    let mut ids = BTreeSet::new();
    for group in case.in_the_way.keys() {
        for cause in topology.story(*group).causes {
            // Nothing takes functions apart that conventional PCI has joined: all look like one to the IOMMU.
            let functions: Vec<&Function> = match cause {
                Cause::Bridge(_, Isolation::Conventional) => return None,
                Cause::Bridge(bridge, _) => case.snap.pci.get(&bridge).into_iter().collect(),
                Cause::Slot(first, _) => case.snap.pci.slot(&first).collect(),
            };
            ids.extend(functions.iter().filter_map(|f| f.ids.known()).map(|ids| format!("id:{ids}")));
        }
    }
    (!ids.is_empty()).then(|| ids.into_iter().collect())
}

/// Interrupt remapping is off, and nothing says yet that devices may be passed without.
fn interrupts(case: &Case<'_>) -> Option<Refusal> {
    let off = case.snap.iommu.interrupt_remapping == Fact::Known(false);
    let runs = case.snap.iommu.running() == Fact::Known(true);
    if !off || !runs || !case.gives() || unsafe_already(case) {
        return None;
    }
    Some(Refusal::allowable("unsafe-interrupts", "unsafe-interrupts", "host", &[]))
}

/// The user has allowed it in today's configuration.
pub fn unsafe_already(case: &Case<'_>) -> bool {
    ["vfio_iommu_type1", "iommufd"].iter().any(|module| {
        let key = ((*module).to_owned(), "allow_unsafe_interrupts".to_owned());
        case.snap.kernel.parameters.get(&key).is_some_and(|value| words::is_on(value))
            || words::options(case.snap, module).iter().any(|o| o.name == "allow_unsafe_interrupts" && o.is_on())
    })
}

/// The module whose parameter counts: iommufd where the kernel has no other container for vfio, or where a VM's configuration
/// asks for it for a chosen function; else the type 1 container.
pub fn interface(case: &Case<'_>) -> &'static str {
    let only_iommufd = words::config_is(case.snap, "IOMMUFD_VFIO_CONTAINER", "y") == Some(true)
        && words::config_is(case.snap, "VFIO_CONTAINER", "n") == Some(true);
    let hypervisor = &case.snap.hypervisor;
    let asks = |vm: &crate::facts::hypervisor::Vm| {
        let has = vm.devices.iter().flat_map(|device| hypervisor.functions(device, &case.snap.pci));
        let text = vm.config.known().map_or("", |file| file.text.as_str());
        text.contains("iommufd") && has.into_iter().any(|address| case.chosen.iter().any(|f| f.address == address))
    };
    if only_iommufd || hypervisor.vms.iter().any(asks) { "iommufd" } else { "vfio_iommu_type1" }
}

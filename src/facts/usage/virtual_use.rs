//! Running VMs, virtual functions and mediated devices.

use super::{Finder, UseKind};
use crate::facts::hypervisor::Hypervisor;
use crate::host::Fact;
use crate::parse::address::Address;

/// What running VMs have.
pub(super) fn running(finder: &mut Finder<'_>, hypervisor: &Hypervisor) {
    for vm in hypervisor.vms.iter().filter(|vm| vm.running == Fact::Known(true)) {
        let by =
            if vm.name.is_empty() || vm.name == vm.id { vm.id.clone() } else { format!("{} ({})", vm.id, vm.name) };
        for device in &vm.devices {
            let functions = hypervisor.functions(device, finder.pci);
            finder.add(&functions, UseKind::RunningVm, &format!("VM {by}"), &device.evidence);
        }
    }
}

/// Physical functions whose virtual functions or mediated devices are used.
pub(super) fn parts(finder: &mut Finder<'_>) {
    for function in &finder.pci.functions {
        if let Some(first) = function.mdevs.known().and_then(|mdevs| mdevs.first().map(|_| mdevs.len())) {
            let evidence = function.evidence("mdev_supported_types", format!("{first} active"));
            finder.add(&[function.address], UseKind::Mdev, &format!("{first} mediated"), &evidence);
        }
        let Fact::Known(physical) = function.physical else { continue };
        let used = finder.usage.of(&function.address).next().map(|u| (u.by.clone(), u.evidence.clone()));
        let on_vfio = function.on_vfio().then(|| {
            let driver = function.driver.known().cloned().unwrap_or_default();
            (driver.clone(), function.evidence("driver", driver))
        });
        if let Some((by, evidence)) = used.or(on_vfio) {
            finder.add(&[physical], UseKind::VirtualFunctions, &by_part(function.address, &by), &evidence);
        }
    }
}

fn by_part(part: Address, by: &str) -> String {
    format!("{part}: {by}")
}

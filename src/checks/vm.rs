//! The VMs that are given a PCI device, for the checks of how a VM is made for it.

use super::{Ctx, Finding, Severity, Subject, intent};
use crate::facts::hypervisor::{HypervisorKind, Machine, Part, Vm, VmDevice};
use crate::facts::pci::Function;
use crate::facts::{Evidence, Origin};
use crate::parse::proxmox_conf;

/// A VM whose configuration is known, with what it is given.
pub(super) struct Given<'a> {
    pub(super) vm: &'a Vm,
    pub(super) machine: &'a Machine,
    /// Functions of this host that it has whole, each with the line that asks for it. None where a paste shows no listing.
    pub(super) functions: Vec<(&'a Function, &'a VmDevice)>,
}

/// All of them. One that asks for devices of which this host has none is none of them; a paste need not show the host.
pub(super) fn given<'a>(ctx: &Ctx<'a>) -> impl Iterator<Item = Given<'a>> {
    let snap = ctx.snap;
    snap.hypervisor.vms.iter().filter_map(move |vm| {
        let machine = vm.machine.as_ref()?;
        let (mut functions, mut any) = (Vec::new(), snap.pci.missing.is_some() && !vm.devices.is_empty());
        for device in &vm.devices {
            let found = snap.hypervisor.functions(device, &snap.pci);
            any |= !found.is_empty();
            if !intent::is_slice(device) {
                functions.extend(found.iter().filter_map(|address| Some((snap.pci.get(address)?, device))));
            }
        }
        any.then_some(Given { vm, machine, functions })
    })
}

impl<'a> Given<'a> {
    /// A finding about it. `vm` is what it is called, `vmid` what Proxmox's commands take.
    pub(super) fn finding(&self, id: &'static str, severity: Severity) -> Finding {
        let name = &self.vm.id;
        let vmid = if name.bytes().all(|b| b.is_ascii_digit()) { name.as_str() } else { "VMID" };
        Finding::new(id, severity, Subject::Vm(name.clone())).value("vm", name).value("vmid", vmid)
    }

    /// Is what its configuration leaves out as it is by default? Of a paste only if that seems to be all of the configuration: it has what
    /// Proxmox writes into each.
    pub(super) fn is_whole(&self, ctx: &Ctx<'_>) -> bool {
        if !matches!(ctx.snap.origin, Origin::Paste(_)) || self.vm.kind != HypervisorKind::Proxmox {
            return true;
        }
        let text = self.vm.config.known().map_or("", |file| file.text.as_str());
        let entries = proxmox_conf::current(text);
        let has = |key: &str| entries.iter().any(|entry| entry.key == key);
        has("smbios1") || has("vmgenid") || has("meta") || has("memory") && has("ostype")
    }

    /// The line that sets a part of it, or else the first that asks for a device.
    pub(super) fn line(&self, part: Part) -> Option<Evidence> {
        let asks = || self.vm.devices.first().map(|device| device.evidence.clone());
        self.machine.lines.get(&part).cloned().or_else(asks)
    }

    /// Its display controllers.
    pub(super) fn displays(&self) -> impl Iterator<Item = (&'a Function, &'a VmDevice)> {
        self.functions.iter().copied().filter(|(function, _)| function.is_display())
    }
}

impl Finding {
    /// Adds the lines that there are, each once.
    pub(super) fn lines(mut self, lines: impl IntoIterator<Item = Option<Evidence>>) -> Self {
        for line in lines.into_iter().flatten() {
            if !self.evidence.contains(&line) {
                self.evidence.push(line);
            }
        }
        self
    }
}

//! QEMU processes: what runs now, whoever manages it, as far as this user sees processes.

use super::{Asked, Hypervisor, HypervisorKind, Vm, VmDevice};
use crate::facts::Evidence;
use crate::host::{Fact, Host, Why};
use crate::parse::address::Address;
use crate::parse::qemu_args::{self, Qemu, VfioDevice};

pub(super) fn collect(host: &dyn Host, all: &mut Hypervisor) {
    for pid in host.entries("/proc").into_known().unwrap_or_default() {
        if !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        // The kernel cuts the name after 15 bytes: `qemu-system-x86`.
        let comm = host.value(&format!("/proc/{pid}/comm")).into_known().unwrap_or_default();
        if comm != "kvm" && comm != "qemu" && comm != "qemu-kvm" && !comm.starts_with("qemu-system-") {
            continue;
        }
        let path = format!("/proc/{pid}/cmdline");
        // A thread of the kernel's KVM has such a name too, and no arguments.
        let Fact::Known(text) = host.text(&path) else { continue };
        if !text.trim_matches('\0').is_empty() {
            add(all, &pid, &path, qemu_args::parse(&text));
        }
    }
}

fn add(all: &mut Hypervisor, pid: &str, path: &str, qemu: Qemu) {
    let devices: Vec<VmDevice> = qemu.devices.iter().map(|device| vm_device(path, device)).collect();
    let has = |kind: HypervisorKind| all.kinds.iter().any(|(k, _)| *k == kind);
    let (kind, id) = match &qemu.id {
        Some(id) if has(HypervisorKind::Proxmox) => (HypervisorKind::Proxmox, id.clone()),
        _ if qemu.libvirt && has(HypervisorKind::Kubevirt) => (HypervisorKind::Kubevirt, qemu.name.clone()),
        _ if qemu.libvirt => (HypervisorKind::Libvirt, qemu.name.clone()),
        _ if qemu.name.is_empty() => (HypervisorKind::Qemu, pid.to_owned()),
        _ => (HypervisorKind::Qemu, qemu.name.clone()),
    };
    all.processes.extend(pid.parse::<u32>().ok().map(|pid| (pid, id.clone())));
    if let Some(vm) = all.vms.iter_mut().find(|vm| vm.kind == kind && vm.id == id && kind != HypervisorKind::Qemu) {
        vm.running = Fact::Known(true);
        // The configuration may be closed to this user, or have changed since the start.
        let new = |device: &VmDevice| !vm.devices.iter().any(|known| covers(&known.asked, &device.asked));
        let new: Vec<VmDevice> = devices.into_iter().filter(new).collect();
        vm.devices.extend(new);
        return;
    }
    all.kinds.push((kind, None));
    let config = Fact::Unknown(Why::Io("only its process is to be seen".into()));
    let name = if qemu.name.is_empty() { id.clone() } else { qemu.name };
    all.vms.push(Vm { kind, id, name, running: Fact::Known(true), config, devices, machine: None, of_nova: false });
}

/// Mappings and ids are resolved to addresses when a VM starts; a second entry for them does no harm.
fn covers(known: &Asked, new: &Asked) -> bool {
    match (known, new) {
        (Asked::Slot(slot), Asked::Function(address)) => slot.same_slot(address),
        _ => known == new,
    }
}

fn vm_device(path: &str, device: &VfioDevice) -> VmDevice {
    let last = device.sysfsdev.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let named = if device.host.is_empty() { last } else { &device.host };
    VmDevice {
        asked: Address::parse(named).map_or_else(|| Asked::Malformed(named.to_owned()), Asked::Function),
        evidence: Evidence::new(path, device.text.clone()),
        rom_file: device.rom_file.clone(),
    }
}

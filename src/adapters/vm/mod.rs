//! What VMs are given: devices in their configuration, files that hypervisors read, and hooks that they run.

pub mod domain;
pub mod guest;
pub mod hook;
pub mod libvirt;
pub mod lxc;
pub mod nova;
pub mod nova_fit;
mod passed;
pub mod proxmox;
pub mod proxmox_text;
pub mod qemu;
pub mod rom_file;
mod shape;

pub use passed::{Member, Passed, Slot};
pub use shape::{Rendered, Shape};

use super::Work;
use crate::facts::hypervisor::{HypervisorKind, Vm};
use crate::facts::{Snapshot, TextFile};
use crate::parse::address::Address;
use crate::steps::reasons::reason;
use crate::steps::{Action, Step};

/// Gives a VM devices, from its next start on; `mapping`: by a cluster mapping of that name, which Proxmox VE has. Fails with a sentence.
pub fn attach(snap: &Snapshot, vm: &Vm, passed: &Passed, mapping: Option<&str>) -> Result<Work, String> {
    let file = config(vm)?;
    match (vm.kind, mapping) {
        (HypervisorKind::Proxmox, _) => proxmox::attach(snap, vm, file, passed, mapping),
        (_, Some(_)) => Err(reason("vm-mapping-proxmox", &[("vm", &vm.id)])),
        (HypervisorKind::Libvirt, None) => libvirt::attach(snap, vm, file, passed),
        (kind, None) => Err(reason("vm-no-editor", &[("vm", &vm.id), ("hypervisor", kind.name())])),
    }
}

/// Takes devices from a VM, from its next start on. Fails with a sentence.
pub fn detach(snap: &Snapshot, vm: &Vm, gone: &[Address]) -> Result<Work, String> {
    let file = config(vm)?;
    match vm.kind {
        HypervisorKind::Proxmox => proxmox::detach(snap, vm, file, gone),
        HypervisorKind::Libvirt => libvirt::detach(snap, vm, file, gone),
        kind => Err(reason("vm-no-editor", &[("vm", &vm.id), ("hypervisor", kind.name())])),
    }
}

fn config(vm: &Vm) -> Result<&TextFile, String> {
    let why = vm.config.why().map(ToString::to_string).unwrap_or_default();
    vm.config.known().ok_or_else(|| reason("vm-no-config", &[("vm", &vm.id), ("why", &why)]))
}

/// QEMU's arguments for a 64-bit window of that size below OVMF (edk2 OvmfPkg/RUNTIME_CONFIG.md).
pub fn window_arguments(mib: u64) -> [String; 2] {
    ["-fw_cfg".to_owned(), format!("name=opt/ovmf/X-PciMmio64Mb,string={mib}")]
}

/// The window for all devices that a VM has with new ones and without others, in MiB; none where OVMF's own will do.
fn window(snap: &Snapshot, vm: &Vm, new: &Passed, gone: &[Address]) -> Option<u64> {
    let own = vm.devices.iter().flat_map(|device| snap.hypervisor.functions(device, &snap.pci));
    let all: Vec<Address> = own.chain(new.members().map(|member| member.host)).filter(|f| !gone.contains(f)).collect();
    Passed::of(snap, &all, None).mmio_mib()
}

/// The window that a VM has needed, and needs no more without these devices.
fn needless_window(snap: &Snapshot, vm: &Vm, gone: &[Address]) -> Option<u64> {
    let none = Passed::of(snap, &[], None);
    window(snap, vm, &none, &[]).filter(|_| window(snap, vm, &none, gone).is_none())
}

/// A command with its inverse, which may be itself, and the files that it changes.
fn command(argv: &[&str], undo: &[&str], touches: &[&str], why: String) -> Step {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Step { action: Action::Run { argv: words(argv), undo: words(undo), touches: words(touches), fence: None }, why }
}

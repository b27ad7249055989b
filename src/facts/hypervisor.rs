//! Hypervisors on this host, their VMs, and which PCI functions each VM has.

use super::{Evidence, TextFile};
use crate::host::{Fact, Host};
use crate::parse::address::Address;

/// A program that runs VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HypervisorKind {
    /// Proxmox VE.
    Proxmox,
    /// libvirt.
    Libvirt,
    /// QEMU without a manager.
    Qemu,
    /// OpenStack nova-compute, with or without kolla.
    Nova,
    /// KubeVirt.
    Kubevirt,
    /// Incus or LXD.
    Incus,
}

/// What a VM asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// One function.
    Function(Address),
    /// All functions of a slot, named by its function 0.
    Slot(Address),
    /// A cluster mapping's name.
    Mapping(String),
    /// Any device with these ids (nova, KubeVirt), `vvvv:dddd`.
    Ids(String),
    /// Something that is no address.
    Malformed(String),
}

/// One passed-through device of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmDevice {
    /// What is asked for.
    pub asked: Asked,
    /// Where the configuration says so.
    pub evidence: Evidence,
    /// The option ROM file, where one is set.
    pub rom_file: Option<String>,
}

/// One VM.
#[derive(Clone, Debug)]
pub struct Vm {
    /// Whose.
    pub kind: HypervisorKind,
    /// `105`, `win11`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Is it running?
    pub running: Fact<bool>,
    /// Its configuration.
    pub config: Fact<TextFile>,
    /// Its passed-through devices.
    pub devices: Vec<VmDevice>,
}

/// All hypervisors and VMs of a host.
#[derive(Clone, Debug, Default)]
pub struct Hypervisor {
    /// Which are installed, with their version where known.
    pub kinds: Vec<(HypervisorKind, Option<String>)>,
    /// Their VMs, running or not.
    pub vms: Vec<Vm>,
    /// Other configuration that matters: nova.conf's `[pci]`, hooks, mappings.
    pub files: Vec<TextFile>,
    /// What could not be read.
    pub unread: Vec<(String, crate::host::Why)>,
}

/// Finds hypervisors and VMs.
pub fn collect(_host: &dyn Host) -> Hypervisor {
    Hypervisor::default()
}

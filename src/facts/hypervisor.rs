//! Hypervisors on this host, their VMs, and which PCI functions each VM has.
//!
//! Goes in: the configuration files of Proxmox VE, libvirt and nova, and the arguments of QEMU processes. Comes out:
//! a [`Hypervisor`]. No daemon is asked, no command is run.

pub mod libvirt;
mod machine;
mod nodes;
pub mod nova;
pub mod proxmox;
mod qemu;
mod qemu_files;
mod rom_file;
mod rom_place;

pub use machine::{Firmware, Machine, Part};
pub use nodes::Node;
pub(super) use nodes::nvidia_cards;
pub use qemu_files::QemuFiles;
pub use rom_place::{RomPlace, rom_places};

use super::pci::Pci;
use super::{Evidence, TextFile};
use crate::host::{Fact, Host, Why};
use crate::parse::address::Address;
use crate::parse::proxmox_conf;
use crate::parse::rom::Rom;
use std::collections::BTreeMap;

/// A program that runs VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
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

impl HypervisorKind {
    /// As in commands and JSON.
    pub fn name(self) -> &'static str {
        match self {
            HypervisorKind::Proxmox => "proxmox",
            HypervisorKind::Libvirt => "libvirt",
            HypervisorKind::Qemu => "qemu",
            HypervisorKind::Nova => "nova",
            HypervisorKind::Kubevirt => "kubevirt",
            HypervisorKind::Incus => "incus",
        }
    }
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
    /// How it is made; none where its configuration is not known, or is no whole one.
    pub machine: Option<Machine>,
    /// nova made it, and writes its configuration anew at every start.
    pub of_nova: bool,
}

/// A container that has device nodes of this host (Proxmox VE's `devN`): the host's driver must keep the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// `101`.
    pub id: String,
    /// Its host name, or empty.
    pub name: String,
    /// Device nodes with what says so: `/dev/dri/renderD128`.
    pub nodes: Vec<(String, Evidence)>,
}

/// A script that libvirt runs when a VM starts and stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its path.
    pub path: String,
    /// Permission bits; libvirt runs only what is executable.
    pub mode: u32,
    /// Its text.
    pub file: Fact<TextFile>,
}

/// All hypervisors and VMs of a host.
#[derive(Clone, Debug, Default)]
pub struct Hypervisor {
    /// Which are installed, with their version where known.
    pub kinds: Vec<(HypervisorKind, Option<String>)>,
    /// Their VMs, running or not.
    pub vms: Vec<Vm>,
    /// This node's name in its Proxmox VE cluster.
    pub node: Option<String>,
    /// VMs that other nodes of the cluster have: number and node.
    pub elsewhere: Vec<(String, String)>,
    /// Containers with device nodes.
    pub containers: Vec<Container>,
    /// nova's `[pci]` lines: which devices the compute service may give away.
    pub rules: Vec<nova::PciRule>,
    /// libvirt's hooks.
    pub hooks: Vec<Hook>,
    /// Hooks that are in a container's own layer, by their path on this host.
    pub layer_hooks: Vec<String>,
    /// Other configuration that matters: nova.conf's `[pci]`, hooks, mappings.
    pub files: Vec<TextFile>,
    /// What is in the ROM files that VMs show to their devices, by path; absent: there is no such file.
    pub roms: BTreeMap<String, Fact<Rom>>,
    /// The VM that a process runs, by the process's number.
    pub processes: BTreeMap<u32, String>,
    /// QEMU's UEFI firmware that is here.
    pub firmware: Vec<&'static QemuFiles>,
    /// Device nodes by which containers use graphics cards.
    pub nodes: Vec<Node>,
    /// What could not be read.
    pub unread: Vec<(String, crate::host::Why)>,
}

impl Hypervisor {
    /// The functions of this host that a VM's device means; those that are not here are left out.
    ///
    /// A line of a cluster mapping counts if its path is on this host and its id, where given, is the function's:
    /// cluster nodes are told apart by what they hold.
    pub fn functions(&self, device: &VmDevice, pci: &Pci) -> Vec<Address> {
        let slot = |first: &Address| pci.slot(first).filter(|f| !f.is_bridge()).map(|f| f.address).collect::<Vec<_>>();
        match &device.asked {
            Asked::Function(address) => pci.get(address).map(|f| f.address).into_iter().collect(),
            Asked::Slot(address) => slot(address),
            Asked::Ids(ids) => {
                let same = |f: &&super::pci::Function| f.ids.known().is_some_and(|own| own.to_string() == *ids);
                pci.functions.iter().filter(same).map(|f| f.address).collect()
            }
            Asked::Mapping(name) => {
                let files = self.files.iter().filter(|file| file.path == proxmox::MAPPINGS);
                let lines = files.flat_map(|file| proxmox_conf::mappings(&file.text));
                let mut found = Vec::new();
                for line in lines.filter(|line| line.mapping == *name) {
                    let here = |address: &Address| {
                        let ids = pci.get(address).map(|f| f.ids.known().map(ToString::to_string));
                        ids.is_some_and(|own| line.id.is_empty() || own.is_none_or(|own| own == line.id))
                    };
                    for path in &line.paths {
                        match path {
                            proxmox_conf::Path::Function(address) if here(address) => found.push(*address),
                            proxmox_conf::Path::Slot(address) if here(address) => found.extend(slot(address)),
                            _ => {}
                        }
                    }
                }
                found
            }
            Asked::Malformed(_) => Vec::new(),
        }
    }

    /// The ROM file that a VM shows to a device: its path, and what is in it. None where it shows none, or where that lies is not certain.
    pub fn rom(&self, vm: &Vm, device: &VmDevice) -> Option<(String, &Fact<Rom>)> {
        let path = rom_file::path(vm, device)?;
        let rom = self.roms.get(&path)?;
        Some((path, rom))
    }

    fn note(&mut self, path: &str, why: &Why) {
        if *why != Why::NotRecorded {
            self.unread.push((path.to_owned(), why.clone()));
        }
    }

    /// A directory's names; what cannot be listed is noted.
    fn names(&mut self, host: &dyn Host, dir: &str) -> Vec<String> {
        match host.entries(dir) {
            Fact::Known(names) => names,
            Fact::Absent => Vec::new(),
            Fact::Unknown(why) => {
                self.note(dir, &why);
                Vec::new()
            }
        }
    }

    /// A file's text; what cannot be read is noted.
    fn file(&mut self, host: &dyn Host, path: &str) -> Fact<TextFile> {
        let found = host.text(path).map(|text| TextFile { path: path.to_owned(), text });
        if let Fact::Unknown(why) = &found {
            self.note(path, why);
        }
        found
    }
}

fn there(host: &dyn Host, path: &str) -> bool {
    host.exists(path) == Fact::Known(true)
}

/// Finds hypervisors and VMs.
pub fn collect(host: &dyn Host) -> Hypervisor {
    let mut all =
        Hypervisor { firmware: qemu_files::found(host), nodes: nodes::collect(host), ..Hypervisor::default() };
    proxmox::collect(host, &mut all);
    libvirt::collect(host, &mut all);
    nova::collect(host, &mut all);
    for (kind, traces) in [
        // virt-handler's and the daemons' directories on the node.
        (HypervisorKind::Kubevirt, &["/run/kubevirt", "/var/run/kubevirt"][..]),
        (HypervisorKind::Incus, &["/var/lib/incus", "/var/lib/lxd", "/var/snap/lxd/common/lxd"][..]),
    ] {
        if traces.iter().any(|path| there(host, path)) {
            all.kinds.push((kind, None));
        }
    }
    qemu::collect(host, &mut all);
    rom_file::collect(host, &mut all);
    all.kinds.sort();
    all.kinds.dedup_by_key(|(kind, _)| *kind);
    all
}

#[cfg(test)]
mod tests;

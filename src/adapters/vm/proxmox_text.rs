//! Proxmox VE: the commands that give a VM devices, and the lines that its configuration then has.
//!
//! Options: qemu-server 9.0 `PVE/QemuServer.pm` (`$confdesc`), `PVE/QemuServer/Machine.pm`, pve-manager
//! `PVE/API2/Cluster/Mapping/PCI.pm`.

use super::passed::Passed;
use super::proxmox::{self, MOST, free_keys, host_pci, map, options, qm_set};
use super::qemu::common;
use super::shape::{HIDDEN, Rendered, Shape, note};
use super::window_arguments;
use crate::error::{Error, Result};
use crate::facts::Snapshot;
use crate::facts::hypervisor::{Firmware, HypervisorKind, Vm};
use crate::parse::shell::quoted;

/// What stands for a VM's number that was not given: `qm` refuses it.
const PLACE: &str = "VMID";

/// What of the shape was asked for; the rest is the VM's own affair.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// Memory.
    pub memory: bool,
    /// Processors.
    pub cpus: bool,
}

/// `qm set`, once for what the VM has to be and once for the devices, with the lines as comments.
pub fn commands(snap: &Snapshot, passed: &Passed, shape: &Shape, given: Given) -> Result<Rendered> {
    let devices: Vec<(String, String)> = keys(snap, passed, shape)?
        .into_iter()
        .zip(&passed.slots)
        .map(|(key, slot)| (key, host_pci(slot, how(shape))))
        .collect();
    Ok(rendered(snap, passed, shape, given, "", devices))
}

/// A mapping of each slot for this node, made by `pvesh`, and `qm set` with its name.
pub fn mappings(snap: &Snapshot, passed: &Passed, shape: &Shape, given: Given) -> Result<Rendered> {
    // The command is for the node that has the devices: where its name is not known, it knows it itself.
    let known = snap.hypervisor.node.as_deref();
    let node = known.map_or_else(|| "$(hostname -s)".to_owned(), str::to_owned);
    let mut before = String::new();
    let mut devices = Vec::new();
    for (key, slot) in keys(snap, passed, shape)?.into_iter().zip(&passed.slots) {
        // Functions of one slot may be mapped one by one.
        let first = slot.members.first().filter(|_| !slot.whole).map(|member| member.host.to_string());
        let name = format!("vfioneer-{}", first.unwrap_or_else(|| slot.host()).replace([':', '.'], "-"));
        let map = map(snap, &node, slot);
        let map = if known.is_some() { quoted(&map) } else { format!("\"{map}\"") };
        before.push_str(&format!("pvesh create /cluster/mapping/pci --id {name} --map {map}\n"));
        devices.push((key, format!("mapping={name}{}", options(slot, how(shape)))));
    }
    let mut rendered = rendered(snap, passed, shape, given, &before, devices);
    if known.is_none() {
        rendered.notes.push(note("mapping-node", &[]));
    }
    Ok(rendered)
}

fn how(shape: &Shape) -> proxmox::Shape {
    let firmware = if shape.uefi { Firmware::Ovmf { secure_boot: false } } else { Firmware::SeaBios };
    proxmox::Shape { pcie: true, firmware }
}

/// Places for the slots: those that are free, where the VM is one of this host's.
fn keys(snap: &Snapshot, passed: &Passed, shape: &Shape) -> Result<Vec<String>> {
    let is = |vm: &&Vm| vm.kind == HypervisorKind::Proxmox && Some(&vm.id) == shape.name.as_ref();
    let text =
        snap.hypervisor.vms.iter().find(is).and_then(|vm| vm.config.known()).map_or("", |file| file.text.as_str());
    let (free, wanted) = (free_keys(text), passed.slots.len());
    if wanted > free.len() {
        return Err(Error::refused(format!(
            "a VM of Proxmox VE has {MOST} places for devices, {} are free, and {wanted} are needed",
            free.len()
        ))
        .hint("give fewer devices"));
    }
    Ok(free)
}

fn rendered(
    snap: &Snapshot,
    passed: &Passed,
    shape: &Shape,
    given: Given,
    before: &str,
    devices: Vec<(String, String)>,
) -> Rendered {
    let id = shape.name.as_deref().unwrap_or(PLACE);
    let machine = if shape.viommu { "q35,viommu=intel" } else { "q35" };
    let hidden = if shape.hide { format!(",hidden=1,hv-vendor-id={HIDDEN}") } else { String::new() };
    let mut wanted: Vec<(String, String)> = [
        ("machine", machine.to_owned()),
        ("bios", if shape.uefi { "ovmf" } else { "seabios" }.to_owned()),
        ("cpu", format!("{}{hidden}", if shape.kvm { "host" } else { "max" })),
        ("balloon", "0".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let more = [
        (!shape.kvm, "kvm", "0".to_owned()),
        (given.memory, "memory", shape.memory_mib.to_string()),
        (given.cpus, "cores", shape.cpus.to_string()),
    ];
    wanted.extend(more.into_iter().filter(|(asked, ..)| *asked).map(|(_, key, value)| (key.to_owned(), value)));
    if let Some(mib) = passed.mmio_mib().filter(|_| shape.uefi && !shape.kvm) {
        wanted.push(("args".to_owned(), window_arguments(mib).join(" ")));
    }
    let command = |settings: &[(String, String)]| {
        let settings: Vec<(String, Option<String>)> =
            settings.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        let words: Vec<String> = qm_set(id, &settings).iter().map(|word| quoted(word)).collect();
        words.join(" ") + "\n"
    };
    let mut text = format!("{before}{}", command(&wanted));
    devices.iter().for_each(|device| text.push_str(&command(std::slice::from_ref(device))));
    text.push_str(&format!("# Then /etc/pve/qemu-server/{id}.conf has:\n"));
    for (key, value) in wanted.iter().chain(&devices) {
        text.push_str(&format!("# {key}: {value}\n"));
    }
    let mut notes = Vec::new();
    if shape.name.is_none() {
        notes.push(note("no-vmid", &[]));
    }
    if shape.uefi {
        notes.push(note("efidisk", &[("vm", id)]));
    }
    notes.push(note("installed-guest", &[]));
    notes.extend(common(snap, passed, None));
    notes.push(note("balloon", &[]));
    Rendered { text, notes }
}

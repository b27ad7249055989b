//! Proxmox VE: the `hostpciN` lines of a guest, set by `qm`, and cluster mappings, made by `pvesh`.
//!
//! Goes in: a VM and what it is to get or lose. Comes out: commands on the running host, where qemu-server checks and locks; on a mounted one the
//! edited file. Grammar: qemu-server 9.0 `PVE/QemuServer/PCI.pm` (`$hostpci_fmt`), pve-manager `PVE/API2/Cluster/Mapping/PCI.pm`.

use super::{Passed, Slot, command};
use crate::adapters::Work;
use crate::facts::hypervisor::proxmox::MAPPINGS;
use crate::facts::hypervisor::{Asked, Firmware, HypervisorKind, Machine, Vm, VmDevice};
use crate::facts::pci::Function;
use crate::facts::{Snapshot, TextFile};
use crate::host::Fact;
use crate::parse::address::Address;
use crate::parse::proxmox_conf::{self, Entry, Path};
use crate::parse::proxmox_edit;
use crate::steps::Step;
use crate::steps::reasons::reason;
use sha1::{Digest, Sha1};

/// The most `hostpciN` lines of a guest (`$MAX_HOSTPCI_DEVICES`).
pub const MOST: usize = 16;

/// Options that are about the first function of a line.
const OF_FIRST: &[&str] =
    &["x-vga", "romfile", "rombar", "legacy-igd", "vendor-id", "device-id", "sub-vendor-id", "sub-device-id"];

/// How the devices of a line are to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The guest has PCIe: its machine is q35.
    pub pcie: bool,
    /// What starts it. SeaBIOS draws only on a card that has VGA's registers; with OVMF `x-vga` does nothing but hide KVM and the console.
    pub firmware: Firmware,
}

/// The value of a `hostpciN` line for a slot.
pub fn host_pci(slot: &Slot, shape: Shape) -> String {
    let functions: Vec<String> = slot.members.iter().map(|member| member.host.to_string()).collect();
    let named = if slot.whole { slot.host() } else { functions.join(";") };
    named + &options(slot, shape)
}

/// What follows the devices' names in a `hostpciN` line, or a mapping's.
pub fn options(slot: &Slot, shape: Shape) -> String {
    let mut text = String::new();
    if shape.pcie {
        text.push_str(",pcie=1");
    }
    // A name below /usr/share/kvm.
    let rom = slot.members.iter().find_map(|member| member.rom_file.as_deref());
    if let Some(name) = rom.and_then(|path| path.rsplit('/').next()) {
        text.push_str(&format!(",romfile={name}"));
    }
    if shape.firmware == Firmware::SeaBios && slot.members.first().is_some_and(|first| first.vga) {
        text.push_str(",x-vga=1");
    }
    text
}

/// The `--map` value of a mapping for a slot on this node: what it is there, by which a wrong card is refused at a start.
pub fn map(snap: &Snapshot, node: &str, slot: &Slot) -> String {
    let first: Option<&Function> = slot.members.first().and_then(|member| snap.pci.get(&member.host));
    let paths: Vec<String> = slot.members.iter().map(|member| member.host.to_string()).collect();
    let path = if slot.whole { slot.host() } else { paths.join(";") };
    let mut text = format!("node={node},path={path}");
    if let Some(first) = first {
        if let Some(ids) = first.ids.known() {
            text.push_str(&format!(",id={ids}"));
        }
        if let Some(ids) = first.subsystem.known() {
            text.push_str(&format!(",subsystem-id={ids}"));
        }
        if let Some(group) = first.group.known() {
            text.push_str(&format!(",iommugroup={group}"));
        }
    }
    text
}

/// The `hostpciN` that nothing is given by, now or from the next start on.
pub fn free_keys(text: &str) -> Vec<String> {
    let entries = [proxmox_conf::current(text), proxmox_conf::next(text)].concat();
    let key = |number: usize| format!("hostpci{number}");
    (0..MOST).map(key).filter(|key| !entries.iter().any(|entry| entry.key == *key)).collect()
}

/// Gives a guest devices. Fails with a sentence.
pub(super) fn attach(
    snap: &Snapshot,
    vm: &Vm,
    file: &TextFile,
    passed: &Passed,
    mapping: Option<&str>,
) -> Result<Work, String> {
    let free = free_keys(&file.text);
    if free.len() < passed.slots.len() {
        let (free, wanted) = (free.len().to_string(), passed.slots.len().to_string());
        return Err(reason("vm-slots-full", &[("vm", &vm.id), ("free", &free), ("wanted", &wanted)]));
    }
    if let (Some(name), true) = (mapping, passed.slots.len() > 1) {
        return Err(reason("vm-mapping-one", &[("mapping", name)]));
    }
    let machine = vm.machine.as_ref();
    let shape = Shape {
        pcie: machine.is_some_and(|machine| machine.pcie),
        firmware: machine.map_or(Firmware::Unknown, |machine| machine.firmware),
    };
    let mut work = Work::default();
    let mut settings = Vec::new();
    for (slot, key) in passed.slots.iter().zip(free) {
        let value = match mapping {
            Some(name) => {
                work.extend(mapped(snap, name, slot)?);
                format!("mapping={name}{}", options(slot, shape))
            }
            None => host_pci(slot, shape),
        };
        settings.push((key, Some(value)));
    }
    // Arguments that are there are the user's; what has to be added to them is what the finding says.
    let wants = |machine: &Machine| machine.wants_window() && machine.arguments.is_empty();
    let window = super::window(snap, vm, passed, &[]).filter(|_| machine.is_some_and(wants));
    settings.extend(window.map(|mib| ("args".to_owned(), Some(super::window_arguments(mib).join(" ")))));
    work.extend(set(snap, vm, file, &settings, why(snap, "vm-attach-proxmox", vm)));
    Ok(work)
}

/// Takes devices from a guest; a line that gives others, too, keeps these. Fails with a sentence.
pub(super) fn detach(snap: &Snapshot, vm: &Vm, file: &TextFile, gone: &[Address]) -> Result<Work, String> {
    let mut settings = Vec::new();
    for entry in proxmox_conf::next(&file.text).iter().filter(|entry| is_host_pci(&entry.key)) {
        let (names, options): (Vec<&str>, Vec<&str>) =
            entry.value.split(',').partition(|part| !part.contains('=') || part.starts_with("host="));
        let mapping = options.iter().find_map(|option| option.strip_prefix("mapping="));
        let kept = match mapping {
            None => {
                let paths: Vec<&str> =
                    names.iter().flat_map(|part| part.strip_prefix("host=").unwrap_or(part).split(';')).collect();
                let kept: Vec<String> = paths.iter().flat_map(|path| left_of(snap, path, gone)).collect();
                if kept == paths {
                    continue;
                }
                kept
            }
            Some(mapping) => {
                let given = vm.devices.iter().filter(|device| device.asked == Asked::Mapping(mapping.to_owned()));
                let functions: Vec<Address> =
                    given.flat_map(|device| snap.hypervisor.functions(device, &snap.pci)).collect();
                let kept: Vec<String> =
                    functions.iter().filter(|f| !gone.contains(f)).map(ToString::to_string).collect();
                if functions.len() == kept.len() {
                    continue;
                }
                if !kept.is_empty() {
                    let values = [("mapping", mapping), ("functions", &kept.join(" "))];
                    return Err(reason("vm-mapping-has-more", &values));
                }
                kept
            }
        };
        // These are about the first function of the line.
        let first = names.first().and_then(|names| names.trim_start_matches("host=").split(';').next());
        let leads = kept.first().is_some_and(|kept| kept.ends_with(".0") || Some(kept.as_str()) == first);
        let stays = |option: &&&str| leads || !OF_FIRST.contains(&option.split('=').next().unwrap_or_default());
        let value = [kept.join(";")].into_iter().chain(options.iter().filter(stays).map(|option| (*option).to_owned()));
        let value = Some(value.collect::<Vec<_>>().join(","));
        settings.push((entry.key.clone(), value.filter(|_| !kept.is_empty())));
    }
    let args = super::needless_window(snap, vm, gone).map(|mib| super::window_arguments(mib).join(" "));
    let is_ours = |entry: &Entry| entry.key == "args" && Some(&entry.value) == args.as_ref();
    if !settings.is_empty() && proxmox_conf::next(&file.text).iter().any(is_ours) {
        settings.push(("args".to_owned(), None));
    }
    Ok(set(snap, vm, file, &settings, why(snap, "vm-detach-proxmox", vm)))
}

/// The sentence of a step; on a mounted host nobody checks.
fn why(snap: &Snapshot, id: &str, vm: &Vm) -> String {
    let id = if snap.is_live() { id.to_owned() } else { format!("{id}-file") };
    reason(&id, &[("vm", &vm.id)])
}

fn is_host_pci(key: &str) -> bool {
    key.strip_prefix("hostpci").is_some_and(|number| number.parse::<usize>().is_ok_and(|number| number < MOST))
}

/// What is left of a path without functions: itself, those of its slot that stay, or nothing.
fn left_of(snap: &Snapshot, path: &str, gone: &[Address]) -> Vec<String> {
    match proxmox_conf::path(path) {
        Path::Function(address) if gone.contains(&address) => Vec::new(),
        Path::Slot(slot) if gone.iter().any(|gone| gone.same_slot(&slot)) => {
            let stay = snap.pci.slot(&slot).map(|f| f.address).filter(|address| !gone.contains(address));
            stay.map(|address| address.to_string()).collect()
        }
        _ => vec![path.to_owned()],
    }
}

/// A mapping that means this slot here: the one that is there, or a new one. Proxmox VE compares ids and group of every function of it with what is
/// written, at each start (pve-guest-common `PVE/Mapping/PCI.pm` `assert_valid`).
fn mapped(snap: &Snapshot, name: &str, slot: &Slot) -> Result<Work, String> {
    let node = snap.hypervisor.node.as_deref().ok_or_else(|| reason("vm-no-node", &[("mapping", name)]))?;
    if !snap.is_live() {
        return Err(reason("vm-mapping-live", &[("mapping", name)]));
    }
    let functions: Vec<&Function> = slot.members.iter().filter_map(|member| snap.pci.get(&member.host)).collect();
    let ids = functions.first().map(|function| (function.ids.known(), function.subsystem.known()));
    if !slot.whole && functions.iter().any(|function| Some((function.ids.known(), function.subsystem.known())) != ids) {
        return Err(reason("vm-mapping-ids", &[("mapping", name)]));
    }
    if functions.iter().any(|function| function.group.known().is_none()) {
        return Err(reason("vm-mapping-group", &[("mapping", name)]));
    }
    let is = |path: &Path| match path {
        Path::Function(address) => slot.members.iter().any(|member| member.host == *address),
        Path::Slot(address) => slot.whole && slot.members.first().is_some_and(|first| first.host.same_slot(address)),
        Path::Malformed(_) => false,
    };
    let files = snap.hypervisor.files.iter().filter(|file| file.path == MAPPINGS);
    let lines: Vec<_> =
        files.flat_map(|file| proxmox_conf::mappings(&file.text)).filter(|line| line.mapping == name).collect();
    let here: Vec<_> = lines.iter().filter(|line| line.node == node).collect();
    if !here.is_empty() && here.iter().all(|line| !line.paths.is_empty() && line.paths.iter().all(is)) {
        return Ok(Work::default());
    }
    if !lines.is_empty() {
        return Err(reason("vm-mapping-other", &[("mapping", name), ("node", node)]));
    }
    let map = map(snap, node, slot);
    let path = format!("/cluster/mapping/pci/{name}");
    let argv = ["pvesh", "create", "/cluster/mapping/pci", "--id", name, "--map", &map];
    let why = reason("vm-mapping", &[("mapping", name)]);
    let commands = vec![command(&argv, &["pvesh", "delete", &path], &[MAPPINGS], why)];
    Ok(Work { commands, ..Work::default() })
}

/// Guests that start with the host (`onboot`) and have one of these devices, held back; and their numbers.
pub fn hold_back(snap: &Snapshot, devices: &[Address]) -> (Vec<String>, Work) {
    let (mut held, mut work) = (Vec::new(), Work::default());
    for vm in snap.hypervisor.vms.iter().filter(|vm| vm.kind == HypervisorKind::Proxmox) {
        let Fact::Known(file) = &vm.config else { continue };
        let has = |device: &VmDevice| snap.hypervisor.functions(device, &snap.pci).iter().any(|f| devices.contains(f));
        if starts_with_host(file) && vm.devices.iter().any(has) {
            held.push(vm.id.clone());
            work.extend(onboot(snap, vm, file, "0", reason("vm-hold-back", &[("vm", &vm.id)])));
        }
    }
    (held, work)
}

/// The same guests start with the host again.
pub fn let_go(snap: &Snapshot, held: &[String]) -> Work {
    let mut work = Work::default();
    let is = |vm: &&Vm| vm.kind == HypervisorKind::Proxmox && held.contains(&vm.id);
    for vm in snap.hypervisor.vms.iter().filter(is) {
        if let Fact::Known(file) = &vm.config
            && !starts_with_host(file)
        {
            work.extend(onboot(snap, vm, file, "1", reason("vm-let-go", &[("vm", &vm.id)])));
        }
    }
    work
}

fn starts_with_host(file: &TextFile) -> bool {
    proxmox_conf::current(&file.text).iter().any(|entry| entry.key == "onboot" && entry.value == "1")
}

fn onboot(snap: &Snapshot, vm: &Vm, file: &TextFile, value: &str, why: String) -> Work {
    set(snap, vm, file, &[("onboot".to_owned(), Some(value.to_owned()))], why)
}

/// Settings of a guest changed: by `qm` where the host runs, in its file where it is mounted.
pub(super) fn set(
    snap: &Snapshot,
    vm: &Vm,
    file: &TextFile,
    settings: &[(String, Option<String>)],
    why: String,
) -> Work {
    let mut work = Work::default();
    if settings.is_empty() {
        return work;
    }
    if !snap.is_live() {
        let edited = settings.iter().fold(file.text.clone(), |text, (key, value)| match value {
            Some(value) => proxmox_edit::set(&text, key, value),
            None => proxmox_edit::remove(&text, key),
        });
        work.files.push(Step::write(&file.path, Some(&file.text), edited, 0o640, why));
        return work;
    }
    let entries = proxmox_conf::next(&file.text);
    let before = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.clone());
    let undo: Vec<(String, Option<String>)> = settings.iter().map(|(key, _)| (key.clone(), before(key))).collect();
    let (mut argv, undo) = (qm_set(&vm.id, settings), qm_set(&vm.id, &undo));
    // qemu-server refuses if somebody changed the guest since (`PVE/QemuServer.pm` `parse_vm_config`: SHA-1 of the file).
    let digest: String = Sha1::digest(&file.text).iter().map(|byte| format!("{byte:02x}")).collect();
    argv.extend(["--digest".to_owned(), digest]);
    let (argv, undo): (Vec<&str>, Vec<&str>) =
        (argv.iter().map(String::as_str).collect(), undo.iter().map(String::as_str).collect());
    work.commands.push(command(&argv, &undo, &[&file.path], why));
    work
}

/// `qm set ID --key value … --delete key,…`.
pub fn qm_set(id: &str, settings: &[(String, Option<String>)]) -> Vec<String> {
    let mut argv: Vec<String> = ["qm", "set", id].map(str::to_owned).into();
    for (key, value) in settings {
        argv.extend(value.iter().flat_map(|value| [format!("--{key}"), value.clone()]));
    }
    let gone: Vec<&str> = settings.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.as_str()).collect();
    if !gone.is_empty() {
        argv.extend(["--delete".to_owned(), gone.join(",")]);
    }
    argv
}

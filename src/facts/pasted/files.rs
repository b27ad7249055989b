//! Configuration files of a paste. Each keeps the paste's name and line numbers: other lines of it are empty.

use crate::facts::boot::{Chain, Place};
use crate::facts::hypervisor::{Asked, HypervisorKind, Machine, Vm, VmDevice, libvirt, nova, proxmox};
use crate::facts::modules::{Directive, List, LoadEntry};
use crate::facts::{Evidence, Snapshot, TextFile};
use crate::host::Fact;
use crate::parse::address::Address;
use crate::parse::grub_default::GrubDefault;
use crate::parse::paste::{FileKind, Section};
use crate::parse::{bls, cmdline, modprobe, qemu_args};
use std::sync::Arc;

/// The most bytes of a file's text; a paste can be a log of any size with a file's line at its end.
const TEXT_LIMIT: usize = 4 << 20;

/// A text whose only words stand at a line, counted from 1.
pub(super) fn at_line(line: u32, words: &str) -> String {
    let empty = (line as usize).saturating_sub(1);
    if empty > TEXT_LIMIT { words.to_owned() } else { "\n".repeat(empty) + words + "\n" }
}

/// Adds what the files say.
pub(super) fn add(snap: &mut Snapshot, name: &str, sections: &[Section]) {
    let mut grub = Vec::new();
    for section in sections {
        if section.lines.last().is_some_and(|(line, _)| *line as usize > TEXT_LIMIT) {
            continue;
        }
        let file = TextFile { path: name.to_owned(), text: section.text() };
        match section.kind {
            FileKind::Grub => grub.push(file),
            FileKind::KernelCmdline => add_words(snap, file, section),
            FileKind::RunningCmdline => {
                if snap.kernel.cmdline.is_unknown() {
                    snap.kernel.cmdline = Fact::Known(file);
                }
            }
            FileKind::BootEntry => add_entry(snap, file),
            FileKind::Modprobe => add_modprobe(snap, file),
            FileKind::EarlyModules => add_list(snap, file, List::InitramfsTools),
            FileKind::Modules => add_list(snap, file, List::ModulesLoad),
            FileKind::Dracut => {
                snap.modules.add_dracut(vec![file.clone()], true);
                snap.initramfs.config.push(file);
            }
            FileKind::Mkinitcpio => {
                snap.modules.add_mkinitcpio(vec![file.clone()], true);
                snap.initramfs.config.push(file);
            }
            FileKind::ProxmoxVm => {
                let devices = proxmox::devices(name, &file.text);
                let key = |wanted: &str| {
                    let value = |(_, line): &(u32, String)| Some(line.trim().strip_prefix(wanted)?.trim().to_owned());
                    section.lines.iter().find_map(value)
                };
                let id = section.name.as_deref().and_then(vm_id).or_else(|| vm_id(name));
                let vm_name = key("name:").unwrap_or_default();
                let machine = Some(Machine::of_proxmox(name, &file.text));
                let id = id.unwrap_or_else(|| name.to_owned());
                add_vm(snap, HypervisorKind::Proxmox, (id, vm_name), file, devices, machine);
            }
            FileKind::LibvirtXml => add_xml(snap, name, file, section),
            FileKind::Nova => {
                // A piece without its heading is the `[pci]` part: nothing else of nova.conf is asked for.
                let headed = section.lines.iter().any(|(_, line)| line.trim().starts_with('['));
                let mut text = file.text.clone();
                if !headed {
                    text = match text.strip_prefix('\n') {
                        Some(rest) => format!("[pci]\n{rest}"),
                        None => format!("[pci]\n{text}"),
                    };
                }
                snap.hypervisor.rules.extend(nova::rules(name, &text));
                snap.hypervisor.files.push(file);
            }
            FileKind::Iomem => {
                if snap.kernel.iomem.is_unknown() {
                    snap.kernel.iomem = Fact::Known(file);
                }
            }
            FileKind::QemuCommand => add_qemu(snap, name, file, section),
            FileKind::Other => {}
        }
    }
    for file in grub {
        add_grub(snap, file);
    }
}

fn add_grub(snap: &mut Snapshot, file: TextFile) {
    let read = GrubDefault::read(&[&file.text], false);
    if read.settings().is_empty() {
        // Read, and nothing in it for the kernel.
        snap.modules.files.push(file);
        return;
    }
    let file = Arc::new(file);
    for setting in read.settings() {
        snap.boot.places.push(Place {
            file: Arc::clone(&file),
            line: setting.assignment.line,
            range: setting.assignment.range.clone(),
            key: setting.assignment.name.clone(),
            words: setting.words.clone(),
            chain: Chain::Grub,
            effective: setting.counts,
            ..Place::default()
        });
    }
}

/// `/etc/kernel/cmdline`, one place per line; which chain reads it is not shown.
fn add_words(snap: &mut Snapshot, file: TextFile, section: &Section) {
    let file = Arc::new(file);
    for (at, (line, text)) in section.lines.iter().filter(|(_, text)| !text.trim().is_empty()).enumerate() {
        let start = crate::parse::lines::lines(&file.text).find(|l| l.number == *line).map_or(0, |l| l.start);
        snap.boot.places.push(Place {
            file: Arc::clone(&file),
            line: *line,
            range: start..start + text.len(),
            words: cmdline::words(text),
            // Proxmox reads the first line only, the others all of them.
            effective: at == 0,
            ..Place::default()
        });
    }
}

fn add_entry(snap: &mut Snapshot, file: TextFile) {
    let entry = bls::parse(&file.text);
    let file = Arc::new(file);
    for field in entry.all("options") {
        snap.boot.places.push(Place {
            file: Arc::clone(&file),
            line: field.line,
            range: field.range.clone(),
            key: "options".into(),
            words: cmdline::words(&field.value),
            effective: true,
            generated: true,
            release: entry.release(),
            title: entry.value("title").map(str::to_owned),
            ..Place::default()
        });
    }
}

fn add_modprobe(snap: &mut Snapshot, file: TextFile) {
    let at = snap.modules.files.len();
    for found in modprobe::parse(&file.text) {
        snap.modules.directives.push(Directive {
            file: at,
            line: found.line,
            range: found.range,
            word: found.word,
            module: found.module,
            rest: found.rest,
        });
    }
    snap.modules.files.push(file);
}

fn add_list(snap: &mut Snapshot, file: TextFile, list: List) {
    let at = snap.modules.files.len();
    for found in modprobe::parse_list(&file.text) {
        snap.modules.load.push(LoadEntry {
            file: at,
            line: found.line,
            module: found.module,
            arguments: found.arguments,
            early: list == List::InitramfsTools,
            list,
            effective: true,
        });
    }
    snap.modules.files.push(file);
}

/// The digits of `105`, `105.conf`, `/etc/pve/qemu-server/105.conf`.
fn vm_id(name: &str) -> Option<String> {
    let digits: String = name.rsplit('/').next()?.chars().take_while(char::is_ascii_digit).collect();
    (digits.len() >= 3).then_some(digits)
}

fn add_vm(
    snap: &mut Snapshot,
    kind: HypervisorKind,
    (id, name): (String, String),
    file: TextFile,
    devices: Vec<VmDevice>,
    machine: Option<Machine>,
) {
    if !snap.hypervisor.kinds.iter().any(|(known, _)| *known == kind) {
        snap.hypervisor.kinds.push((kind, None));
    }
    let running = super::unknown();
    snap.hypervisor.vms.push(Vm {
        kind,
        id,
        name,
        running,
        config: Fact::Known(file),
        devices,
        machine,
        of_nova: false,
    });
}

fn add_xml(snap: &mut Snapshot, name: &str, file: TextFile, section: &Section) {
    // A document has nothing in front of it, and a piece has no document around it: the lines stay where they are.
    let first = section.lines.first().map_or(1, |(line, _)| *line);
    let piece = section.lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
    let whole = piece.contains("<domain");
    let start = piece.find(if whole { "<domain" } else { "<hostdev" }).unwrap_or(0);
    let body = piece.get(start..).unwrap_or_default();
    let text = if whole { body.to_owned() } else { format!("<domain><devices>{body}</devices></domain>") };
    let Ok((found, mut devices, mut machine)) = libvirt::domain(name, &text) else { return };
    for device in &mut devices {
        device.evidence.line = device.evidence.line.map(|line| line.saturating_add(first - 1));
    }
    for evidence in machine.lines.values_mut() {
        evidence.line = evidence.line.map(|line| line.saturating_add(first - 1));
    }
    let id = if found.is_empty() { section.name.clone().unwrap_or_else(|| name.to_owned()) } else { found.clone() };
    add_vm(snap, HypervisorKind::Libvirt, (id, found), file, devices, Some(machine).filter(|_| whole));
}

fn add_qemu(snap: &mut Snapshot, name: &str, file: TextFile, section: &Section) {
    let Some((line, text)) = section.lines.first() else { return };
    let words: Vec<String> = text.split_whitespace().map(|word| word.replace(['\'', '"'], "")).collect();
    let qemu = qemu_args::parse(&words.join("\0"));
    let asked = |host: &str| {
        let address = Address::parse(host).map(Asked::Function);
        address.unwrap_or_else(|| Asked::Malformed(host.to_owned()))
    };
    let shown: String = text.trim().chars().take(400).collect();
    let device = |device: &qemu_args::VfioDevice| VmDevice {
        asked: asked(&device.host),
        evidence: Evidence::at(name, *line, shown.clone()),
        rom_file: device.rom_file.clone(),
    };
    let devices = qemu.devices.iter().filter(|device| !device.host.is_empty()).map(device).collect();
    let id = if qemu.name.is_empty() { name.to_owned() } else { qemu.name.clone() };
    add_vm(snap, HypervisorKind::Qemu, (id, qemu.name), file, devices, None);
}

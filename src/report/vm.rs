//! The VMs of a host and their devices, as text and as JSON.

use super::{Short, Style, check, cut, json as documents, name_within, plain, wrap};
use crate::checks::Finding;
use crate::facts::Snapshot;
use crate::facts::hypervisor::{Asked, Vm, VmDevice};
use crate::host::Fact;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

/// One line for each VM, then containers with device nodes.
pub fn list(style: &Style, snap: &Snapshot) -> String {
    let all = &snap.hypervisor;
    if all.vms.is_empty() && all.containers.is_empty() {
        return format!("No VMs: {}\n", why_none(snap));
    }
    let mut rows: Vec<[String; 4]> = vec![["VM", "NAME", "STATE", "DEVICES"].map(str::to_owned)];
    for vm in &all.vms {
        let name = if vm.name == vm.id { String::new() } else { vm.name.clone() };
        let devices: Vec<String> = vm.devices.iter().map(|device| devices(snap, device)).collect();
        rows.push([format!("{}:{}", vm.kind.name(), vm.id), name, state(&vm.running).to_owned(), devices.join(" ")]);
    }
    for container in &all.containers {
        let nodes: Vec<&str> = container.nodes.iter().map(|(node, _)| node.as_str()).collect();
        rows.push([format!("container:{}", container.id), container.name.clone(), String::new(), nodes.join(" ")]);
    }
    let width = |column: usize| rows.iter().map(|row| plain(&row[column]).width()).max().unwrap_or(0);
    let widths = [width(0), width(1).min(24), width(2)];
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let cell = cut(&plain(cell), width);
            line.push_str(&format!("{cell}{}  ", " ".repeat(width.saturating_sub(cell.width()))));
        }
        line.push_str(&plain(&row[3]));
        let line = cut(line.trim_end(), style.width.unwrap_or(usize::MAX));
        text.push_str(&if number == 0 { style.faint(&line) } else { line });
        text.push('\n');
    }
    text + &unread(style, snap)
}

/// Why there are none.
pub fn why_none(snap: &Snapshot) -> String {
    match (snap.hypervisor.kinds.as_slice(), snap.hypervisor.unread.first()) {
        (_, Some((path, why))) => format!("{path} cannot be read: {why}"),
        ([], None) => "there is no hypervisor here that vfioneer knows.".to_owned(),
        (kinds, None) => {
            let names: Vec<&str> = kinds.iter().map(|(kind, _)| kind.name()).collect();
            format!("{} has none here.", names.join(", "))
        }
    }
}

fn unread(style: &Style, snap: &Snapshot) -> String {
    let line = |(path, why): &(String, crate::host::Why)| {
        wrap(&plain(&format!("{path} cannot be read: {why}")), 0, style.text_width())
    };
    snap.hypervisor.unread.iter().map(line).collect()
}

fn state(running: &Fact<bool>) -> &'static str {
    match running {
        Fact::Known(true) => "running",
        Fact::Known(false) => "off",
        Fact::Absent | Fact::Unknown(_) => "?",
    }
}

/// What is asked for, as the configuration calls it.
fn asked(device: &VmDevice) -> String {
    match &device.asked {
        Asked::Function(address) => address.to_string(),
        Asked::Slot(address) => address.to_string().trim_end_matches(".0").to_owned(),
        Asked::Mapping(name) => format!("mapping {name}"),
        Asked::Ids(ids) => ids.clone(),
        Asked::Malformed(text) => format!("{text:?}"),
    }
}

/// The functions of this host that are meant; what is asked for, where it is none.
fn devices(snap: &Snapshot, device: &VmDevice) -> String {
    let short = Short::of(&snap.pci);
    let found: Vec<String> =
        snap.hypervisor.functions(device, &snap.pci).iter().map(|address| short.show(address)).collect();
    match found.is_empty() {
        true => format!("{} (not here)", asked(device)),
        false => found.join(" "),
    }
}

/// One VM: each device with the line that names it and how it is now, then what the checks say.
pub fn show(style: &Style, snap: &Snapshot, vm: &Vm, findings: &[Finding], verbose: bool) -> String {
    let short = Short::of(&snap.pci);
    let name = if vm.name.is_empty() || vm.name == vm.id { String::new() } else { format!("  {}", vm.name) };
    let head = plain(&format!("{}:{}{name}", vm.kind.name(), vm.id));
    let mut text = format!("{}  {}\n", style.strong(&head), state(&vm.running));
    match &vm.config {
        Fact::Known(file) => text.push_str(&format!("  {}\n", plain(&file.path))),
        Fact::Unknown(why) => text.push_str(&format!("  its configuration is not known: {why}\n")),
        Fact::Absent => {}
    }
    if vm.devices.is_empty() {
        text.push_str("  It is given no PCI device of this host.\n");
    }
    for device in &vm.devices {
        let line = device.evidence.line.map(|line| format!(" (line {line})")).unwrap_or_default();
        text.push_str(&format!("\n  {}{line}\n", style.strong(&plain(&asked(device)))));
        let functions = snap.hypervisor.functions(device, &snap.pci);
        if functions.is_empty() {
            text.push_str(&format!("    {}\n", style.warning("this host has no such device")));
        }
        for function in functions.iter().filter_map(|address| snap.pci.get(address)) {
            let driver = function.driver.known().map_or("no driver", String::as_str);
            let group = function.group.known().map(|group| format!(", group {group}")).unwrap_or_default();
            let end = format!("  ({}{group})", plain(driver));
            let address = short.show(&function.address);
            let room = style.text_width().saturating_sub(6 + address.len() + end.width());
            text.push_str(&format!("    {address}  {}{end}\n", name_within(function, room)));
        }
        if let Some(rom) = &device.rom_file {
            text.push_str(&format!("    option ROM from {}\n", plain(rom)));
        }
    }
    if !findings.is_empty() {
        text.push('\n');
        text.extend(findings.iter().map(|finding| check::one(style, finding, verbose)));
    }
    text
}

/// `vm list --json`: `vfioneer/vm-list/1`.
pub fn list_json(snap: &Snapshot) -> String {
    let all = &snap.hypervisor;
    let container = |one: &crate::facts::hypervisor::Container| json!({ "id": one.id, "name": one.name, "nodes": one.nodes.iter().map(|(node, _)| node).collect::<Vec<_>>() });
    let document = json!({
        "schema": "vfioneer/vm-list/1",
        "vms": all.vms.iter().map(|vm| value(snap, vm)).collect::<Vec<_>>(),
        "containers": all.containers.iter().map(container).collect::<Vec<_>>(),
        "unread": all.unread.iter().map(|(path, why)| json!({ "path": path, "why": why.to_string() })).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

/// `vm show --json`: `vfioneer/vm-show/1`.
pub fn show_json(snap: &Snapshot, vm: &Vm, findings: &[Finding]) -> String {
    let document = json!({
        "schema": "vfioneer/vm-show/1",
        "vm": value(snap, vm),
        "findings": documents::findings(findings),
    });
    format!("{document:#}\n")
}

fn value(snap: &Snapshot, vm: &Vm) -> Value {
    let device = |device: &VmDevice| {
        json!({
            "asked": asked(device),
            "functions": snap.hypervisor.functions(device, &snap.pci),
            "rom_file": device.rom_file,
            "evidence": device.evidence,
        })
    };
    json!({
        "hypervisor": vm.kind.name(),
        "id": vm.id,
        "name": vm.name,
        "running": vm.running.known(),
        "config": vm.config.known().map(|file| &file.path),
        "devices": vm.devices.iter().map(device).collect::<Vec<_>>(),
    })
}

//! One screen: the host, the IOMMU, a verdict for each candidate, and the command to type next.

use super::{Short, Style, count, json as documents, plain, wrap};
use crate::checks::is_management_display;
use crate::checks::verdict::{DeviceVerdict, device_verdict};
use crate::checks::{Finding, Severity, pages};
use crate::facts::pci::Function;
use crate::facts::{Origin, Snapshot};
use crate::host::{Fact, Kind};
use serde_json::{Value, json};

const LABEL: usize = 10;

/// How many errors and warnings about the host fit on the screen.
const TROUBLE_SHOWN: usize = 3;

/// The screen. `options` are the ones that lead to this host, repeated in suggested commands.
pub fn text(style: &Style, snap: &Snapshot, findings: &[Finding], options: &str) -> String {
    let mut text = String::new();
    row(style, &mut text, "Host", &machine(snap));
    row(style, &mut text, "System", &system(snap));
    row(style, &mut text, "IOMMU", &iommu(snap));
    let trouble: Vec<&Finding> = findings.iter().filter(|f| f.severity <= Severity::Warning && about_host(f)).collect();
    for finding in trouble.iter().take(TROUBLE_SHOWN) {
        let label = if finding.severity == Severity::Error { style.error("error") } else { style.warning("warning") };
        let message = wrap(&plain(&pages::message(finding)), LABEL, style.text_width());
        text.push_str(&format!("{label}{}{}", " ".repeat(LABEL - label_width(finding)), message.trim_start()));
    }
    if trouble.len() > TROUBLE_SHOWN {
        text.push_str(&format!(
            "{:LABEL$}… and {} more (vfioneer {options}check)\n",
            "",
            trouble.len() - TROUBLE_SHOWN
        ));
    }
    text.push('\n');
    let main = candidates(snap);
    for function in &main {
        candidate(style, &mut text, snap, findings, function);
    }
    match &snap.pci.missing {
        Some(why) if snap.pci.functions.is_empty() => {
            let unseen = format!("Which devices this host has cannot be seen: {why}.{}", rescue_hint(snap));
            text.push_str(&wrap(&plain(&unseen), 0, style.text_width()));
        }
        _ if main.is_empty() => text.push_str("No GPU or accelerator is visible on this host.\n"),
        _ => {}
    }
    others(&mut text, snap, &main, options);
    text.push('\n');
    text.push_str(&next(snap, findings, &main, options));
    text
}

/// A mounted disk has no hardware; that of the machine it is mounted on can be shown to it.
fn rescue_hint(snap: &Snapshot) -> &'static str {
    match snap.origin {
        Origin::Host(Kind::Mounted, _) => {
            " If the disk belongs to this machine, \"mount --rbind /sys DIR/sys\" shows its devices."
        }
        _ => "",
    }
}

/// The same as JSON.
pub fn json(snap: &Snapshot, findings: &[Finding]) -> String {
    let devices: Vec<Value> = candidates(snap)
        .iter()
        .map(|function| {
            let verdict = device_verdict(snap, findings, &function.address);
            json!({
                "address": function.address, "name": function.name(),
                "verdict": verdict.word(), "because": verdict.because(),
            })
        })
        .collect();
    let document = json!({ "schema": "vfioneer/overview/1", "host": documents::host(snap), "devices": devices });
    format!("{document:#}\n")
}

fn label_width(finding: &Finding) -> usize {
    if finding.severity == Severity::Error { "error".len() } else { "warning".len() }
}

fn about_host(finding: &Finding) -> bool {
    use crate::checks::Subject;
    !matches!(finding.subject, Subject::Function(_) | Subject::Group(_))
}

fn row(style: &Style, text: &mut String, label: &str, value: &str) {
    let wrapped = wrap(&plain(value), LABEL, style.text_width());
    text.push_str(&format!("{}{}{}", style.strong(label), " ".repeat(LABEL - label.len()), wrapped.trim_start()));
}

fn machine(snap: &Snapshot) -> String {
    let system = &snap.system;
    let known = |fact: &Fact<String>| fact.known().cloned().unwrap_or_default();
    let board = format!("{} {}", known(&system.board_vendor), known(&system.board));
    let whole = format!("{} {}", known(&system.vendor), known(&system.product));
    let name = if board.trim().is_empty() { whole } else { board };
    let mut parts: Vec<String> =
        vec![if name.trim().is_empty() { "unknown board".to_owned() } else { name.trim().to_owned() }];
    if let Some(version) = system.bios_version.known() {
        parts.push(format!("firmware {version} ({})", known(&system.bios_date)));
    }
    parts.extend(system.cpu_model.known().cloned());
    if let Some(of) = system.guest_of.known() {
        parts.push(format!("a virtual machine ({of})"));
    }
    if let Some(kind) = system.container.known() {
        parts.push(format!("inside a container ({kind})"));
    }
    parts.join(" · ")
}

fn system(snap: &Snapshot) -> String {
    let mut parts = Vec::new();
    if let Some(distro) = snap.system.distro.known() {
        parts.push(match &distro.proxmox {
            Some(version) => format!("Proxmox VE {version}"),
            None => distro.name.clone(),
        });
    }
    parts.push(match &snap.kernel.release {
        Fact::Known(release) => format!("kernel {release}"),
        _ => "kernel unknown".to_owned(),
    });
    parts.push(match snap.boot.chain() {
        Some(chain) => format!("boots by {}", chain.title()),
        None if snap.boot.candidates.is_empty() => "boot chain unknown".to_owned(),
        None => {
            let names: Vec<&str> = snap.boot.candidates.iter().map(|candidate| candidate.chain.title()).collect();
            format!("boots by one of: {}", names.join(", "))
        }
    });
    if snap.system.secure_boot == Fact::Known(true) {
        parts.push("Secure Boot on".to_owned());
    }
    parts.join(" · ")
}

fn iommu(snap: &Snapshot) -> String {
    let iommu = &snap.iommu;
    let mut parts = vec![match iommu.running() {
        Fact::Known(true) => {
            let units = iommu.units.known().map_or(0, Vec::len);
            let groups = if iommu.groups.is_empty() {
                snap.pci
                    .functions
                    .iter()
                    .filter_map(|f| f.group.known())
                    .collect::<std::collections::BTreeSet<_>>()
                    .len()
            } else {
                iommu.groups.len()
            };
            format!("on, {}, {}", count(units, "unit", "units"), count(groups, "group", "groups"))
        }
        Fact::Known(false) => match &iommu.table {
            Fact::Known(_) => "off in the kernel (the firmware offers one)".to_owned(),
            Fact::Absent => "off (the firmware offers none)".to_owned(),
            Fact::Unknown(_) => "off".to_owned(),
        },
        Fact::Absent => "none".to_owned(),
        Fact::Unknown(why) => format!("unknown ({why})"),
    }];
    match &iommu.interrupt_remapping {
        Fact::Known(true) => parts.push("interrupt remapping on".to_owned()),
        Fact::Known(false) if iommu.running() == Fact::Known(true) => parts.push("interrupt remapping OFF".to_owned()),
        _ => {}
    }
    parts.join(" · ")
}

/// Function 0 of each display and accelerator slot.
fn candidates(snap: &Snapshot) -> Vec<&Function> {
    let mut chosen: Vec<&Function> = Vec::new();
    for function in &snap.pci.functions {
        let class = function.base_class().unwrap_or(0) >> 8;
        let slot_taken = chosen.iter().any(|other| other.address.same_slot(&function.address));
        let virtual_function = function.physical.known().is_some();
        let console = is_management_display(function) && !function.on_vfio();
        if matches!(class, 0x03 | 0x12) && !slot_taken && !virtual_function && !console {
            chosen.push(function);
        }
    }
    chosen
}

fn candidate(style: &Style, text: &mut String, snap: &Snapshot, findings: &[Finding], function: &Function) {
    let short = Short::of(&snap.pci);
    let slot: Vec<&Function> = snap.pci.slot(&function.address).collect();
    let mut facts = vec![match &function.driver {
        Fact::Known(driver) => format!("driver {driver}"),
        Fact::Absent => "no driver".to_owned(),
        Fact::Unknown(_) => "driver unknown".to_owned(),
    }];
    if let Some(group) = function.group.known() {
        facts.push(format!("group {group}"));
    }
    if slot.len() > 1 {
        facts.push(count(slot.len(), "function", "functions"));
    }
    if function.boot_display == Fact::Known(true) {
        facts.push("boot display".to_owned());
    }
    let verdict = device_verdict(snap, findings, &function.address);
    let word = match &verdict {
        DeviceVerdict::Ready | DeviceVerdict::HandOver => style.good(&verdict.text()),
        DeviceVerdict::Reboot(_) | DeviceVerdict::Unknown(_) => style.warning(&verdict.text()),
        DeviceVerdict::Blocked(_) => style.error(&verdict.text()),
    };
    let address = short.slot(&function.address);
    let pad = " ".repeat(LABEL.saturating_sub(address.len()).max(1));
    let width = style.width.unwrap_or(usize::MAX);
    let name = super::name_within(function, width.saturating_sub(LABEL));
    text.push_str(&format!("{}{pad}{name}\n", style.strong(&address)));
    text.push_str(&format!("{:LABEL$}{}\n", "", plain(&facts.join(" · "))));
    text.push_str(&format!("{:LABEL$}{word}\n", ""));
}

fn others(text: &mut String, snap: &Snapshot, main: &[&Function], options: &str) {
    let kinds =
        [(0x02, "network", "network"), (0x01, "storage", "storage"), (0x0c, "USB", "USB"), (0x04, "sound", "sound")];
    let mut parts = Vec::new();
    for (class, one, many) in kinds {
        let number = snap
            .pci
            .functions
            .iter()
            .filter(|f| f.is_candidate() && f.base_class().unwrap_or(0) >> 8 == class)
            .filter(|f| !main.iter().any(|gpu| gpu.address.same_slot(&f.address)))
            .filter(|f| f.physical.known().is_none())
            .count();
        if number > 0 {
            parts.push(count(number, one, many));
        }
    }
    let virtual_functions = snap.pci.functions.iter().filter(|f| f.physical.known().is_some()).count();
    if virtual_functions > 0 {
        parts.push(count(virtual_functions, "virtual function", "virtual functions"));
    }
    if !parts.is_empty() {
        text.push_str(&format!("Also      {} (vfioneer {options}list)\n", parts.join(" · ")));
    }
}

fn next(snap: &Snapshot, findings: &[Finding], main: &[&Function], options: &str) -> String {
    let trouble = findings.iter().any(|finding| finding.severity <= Severity::Warning && about_host(finding));
    let target = main
        .iter()
        .find(|f| f.boot_display != Fact::Known(true))
        .or_else(|| main.first())
        .map(|f| format!(" {}", Short::of(&snap.pci).slot(&f.address)));
    match (trouble, target) {
        (true, _) | (_, None) => format!("Next: vfioneer {options}check\n"),
        (false, Some(device)) => format!("Next: vfioneer {options}check{device}\n"),
    }
}

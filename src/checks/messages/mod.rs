//! Messages of the kernel, QEMU, libvirt, Proxmox and nova, and what they mean.
//!
//! Goes in: the kernel's messages of a host, or the lines of a paste. Comes out: the findings of
//! `data/messages.toml`. On a host, rows that tell a state say nothing where the facts know it, and benign
//! messages are not spoken of; in a paste they are, and so is what looks like an error and is not known.

mod about;
mod table;
mod template;

use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::{Evidence, Origin, Snapshot, TextFile};
use crate::parse::paste;
use std::collections::{BTreeMap, BTreeSet};
use table::{Match, Message, Table, table};

pub(super) const CHECK: Check = Check { ids: IDS, run };

/// Every id that a row can report, and those of this check itself.
const IDS: &[&str] = &[
    "acs-override-on",
    "address-moved",
    "boot-framebuffer-holds-bar",
    "bridge-window-too-small",
    "cmdline-not-in-effect",
    "cmdline-without-root",
    "cmdline-word-without-effect",
    "device-denylisted",
    "device-gone",
    "device-in-use",
    "device-serves-slices",
    "dma-map-refused",
    "driver-cannot-unbind",
    "gpu-init-failed",
    "group-not-viable",
    "group-shared",
    "grub-stub-overwritten",
    "hook-failed",
    "host-out-of-memory",
    "hugepages-short",
    "interrupt-remapping-off",
    "interrupt-shared",
    "iommu-fault",
    "iommu-off-in-firmware",
    "iommu-off-in-kernel",
    "kernel-lacks-vfio",
    "kvm-unusable",
    "link-narrow",
    "lockdown-active",
    "message-benign",
    "message-unknown",
    "modprobe-line-ignored",
    "module-missing",
    "msix-layout-refused",
    "native-driver-won",
    "new-id-again",
    "no-iommu-group",
    "noiommu-mode",
    "nothing-recognised",
    "nova-alias-undefined",
    "nova-claim-failed",
    "nova-config-invalid",
    "nova-no-host",
    "pci-errors",
    "reset-failed",
    "reset-method-unsupported",
    "reset-missing",
    "reset-needs-whole-slot",
    "rmrr-locked",
    "rom-invalid",
    "sriov-not-created",
    "stuck-in-d3",
    "vfio-attach-refused",
    "vfio-bind-failed",
    "vfio-no-permission",
    "vfio-node-missing",
    "virtualization-off",
    "vm-device-claimed-twice",
    "vm-device-missing",
    "vm-memlock-low",
    "vm-memory-short",
    "vm-msr-unhandled",
    "vm-not-q35",
    "vm-option-refused",
    "vm-rom-missing",
    "vm-start-failed",
    "vm-start-timeout",
];

/// Lines that one finding shows as evidence.
const SHOWN: usize = 3;
/// Unknown lines that are shown.
const UNKNOWN_SHOWN: usize = 12;
/// Findings from messages: a log can name any number of devices.
const FINDINGS: usize = 400;

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let (Some(log), Some(table)) = (ctx.snap.log.known(), table()) else { return Vec::new() };
    let paste = matches!(ctx.snap.origin, Origin::Paste(_));
    let mut reading = Reading { snap: ctx.snap, paste, log, found: Vec::new(), index: BTreeMap::new() };
    let mut unknown: Option<Finding> = None;
    let mut matched = false;
    let taken_back = taken_back(table, log);
    let mut command = String::new();
    for (at, line) in log.text.lines().enumerate() {
        let line = about::with_command(&mut command, paste::plain(line));
        if table.may_match(&line)
            && let Some(found) = table.find(&line)
        {
            matched = true;
            if !is_taken_back(&taken_back, &found) {
                reading.add(at, &line, &found);
            }
            continue;
        }
        if paste && paste::looks_like_error(&line) {
            let finding = unknown.get_or_insert_with(|| Finding::new("message-unknown", Severity::Info, Subject::Host));
            if finding.evidence.len() < UNKNOWN_SHOWN {
                finding.evidence.push(evidence(log, at, &line));
            }
        }
    }
    let mut findings = reading.finish();
    findings.extend(unknown.map(|finding| {
        let count = finding.evidence.len();
        let finding = if count == 1 { finding.variant("one") } else { finding };
        finding.value("count", count)
    }));
    if paste && findings.is_empty() && !matched && !anything_known(ctx.snap) {
        findings.push(Finding::new("nothing-recognised", Severity::Info, Subject::Host));
    }
    findings
}

/// True if the paste told anything but messages.
fn anything_known(snap: &Snapshot) -> bool {
    !snap.pci.functions.is_empty()
        || !snap.iommu.groups.is_empty()
        || !snap.boot.places.is_empty()
        || !snap.modules.files.is_empty()
        || !snap.initramfs.config.is_empty()
        || !snap.hypervisor.vms.is_empty()
        || !snap.hypervisor.files.is_empty()
        || snap.kernel.cmdline.known().is_some()
        || snap.kernel.release.known().is_some()
        || snap.kernel.iomem.known().is_some()
        || snap.system.is_guest.known().is_some()
        || snap.system.board.known().is_some()
        || snap.iommu.table.known().is_some()
        || snap.iommu.units.known().is_some()
}

fn evidence(log: &TextFile, at: usize, line: &str) -> Evidence {
    let text: String = line.trim().chars().take(400).collect();
    Evidence::at(log.path.clone(), u32::try_from(at + 1).unwrap_or(u32::MAX), text)
}

type TakenBack = BTreeMap<&'static str, BTreeSet<Vec<(String, String)>>>;

/// Which rows are taken back, and for which values: by name, so that a subset of a match's values can be looked up.
fn taken_back(table: &'static Table, log: &TextFile) -> TakenBack {
    let mut all = TakenBack::new();
    for line in log.text.lines() {
        if !table.may_match(line) {
            continue;
        }
        for (message, values) in table.taken_back(line) {
            let known = all.entry(message.row.id.as_str()).or_default();
            known.insert(key(&values));
        }
    }
    all
}

/// The values that name the thing spoken of.
fn key(values: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut key: Vec<(String, String)> = values
        .iter()
        .filter(|(name, _)| matches!(*name, "bdf" | "bar"))
        .map(|(name, value)| ((*name).to_owned(), value.to_ascii_lowercase()))
        .collect();
    key.sort();
    key
}

fn is_taken_back(taken_back: &TakenBack, found: &Match<'_>) -> bool {
    taken_back.get(found.message.row.id.as_str()).is_some_and(|known| known.contains(&key(&found.values)))
}

/// A finding in the words of its row, with the values of the line.
fn worded(found: &Match<'_>, subject: Subject, id: &'static str) -> Finding {
    let row = &found.message.row;
    let mut finding = Finding::new(id, found.message.severity, subject).variant(row.variant.as_str());
    if row.finding.is_some() {
        finding.values.extend(found.values.iter().map(|(name, value)| (*name, (*value).to_owned())));
    }
    finding
}

/// The findings so far.
struct Reading<'a> {
    snap: &'a Snapshot,
    paste: bool,
    log: &'a TextFile,
    found: Vec<(&'static Message, Finding, usize)>,
    index: BTreeMap<(&'static str, &'static str, Option<String>), usize>,
}

impl Reading<'_> {
    fn add(&mut self, at: usize, line: &str, found: &Match<'_>) {
        let row = &found.message.row;
        let benign = row.finding.is_none();
        if !self.paste && (benign || row.generic) || row.state && !self.facts_miss(found.message) {
            return;
        }
        let id = row.finding.as_deref().unwrap_or("message-benign");
        let named = || about::vm_in(line, self.snap).unwrap_or_else(|| about::subject(&found.values, line));
        let subject = if benign { Subject::Host } else { named() };
        // One finding per thing and fault; a benign one per reason.
        let variant = if benign || subject == Subject::Host { row.variant.as_str() } else { "" };
        let key = (id, variant, (subject != Subject::Host).then(|| subject.to_string()));
        let known = self.index.get(&key).copied();
        if let Some((message, finding, count)) = known.and_then(|slot| self.found.get_mut(slot)) {
            *count += 1;
            let seen = evidence(self.log, at, line);
            if found.message.severity < finding.severity {
                // The worse message has the word: "giving up" after "waiting".
                *message = found.message;
                let first = std::mem::take(&mut finding.evidence);
                *finding = worded(found, finding.subject.clone(), id);
                finding.evidence.push(seen);
                finding.evidence.extend(first.into_iter().take(SHOWN - 1));
            } else if finding.evidence.len() < SHOWN {
                finding.evidence.push(seen);
            }
            return;
        }
        if self.found.len() >= FINDINGS {
            return;
        }
        let mut finding = worded(found, subject, id);
        let word = if id == "no-iommu-group" && matches!(finding.subject, Subject::Function(_)) {
            self.snap.kernel.cmdline.known().and_then(|file| on_word(&file.text))
        } else {
            None
        };
        if let Some(word) = word {
            finding = finding.variant("word-there").value("word", word);
        }
        if id == "group-not-viable" {
            finding = about::with_members(finding, self.snap);
        }
        finding.evidence.push(evidence(self.log, at, line));
        self.index.insert(key, self.found.len());
        self.found.push((found.message, finding, 1));
    }

    /// True if the facts cannot say what this row's state is.
    fn facts_miss(&self, message: &Message) -> bool {
        let snap = self.snap;
        match message.row.finding.as_deref().unwrap_or_default() {
            "iommu-off-in-firmware" | "iommu-off-in-kernel" | "no-iommu-group" => snap.iommu.running().is_unknown(),
            "interrupt-remapping-off" => snap.iommu.interrupt_remapping.is_unknown(),
            "virtualization-off" => snap.system.virtualization.is_unknown(),
            "kvm-unusable" => snap.kernel.kvm.node.is_unknown(),
            "lockdown-active" => snap.system.lockdown.is_unknown(),
            "cmdline-word-without-effect" | "cmdline-not-in-effect" | "acs-override-on" => {
                snap.kernel.cmdline.is_unknown()
            }
            _ => false,
        }
    }

    /// Folds what names no device into what does, and drops general words where something says more.
    fn finish(self) -> Vec<Finding> {
        let mut kept: Vec<(&'static Message, Finding, usize)> = Vec::new();
        let mut nameless: Vec<(&'static Message, Finding, usize)> = Vec::new();
        for entry in self.found {
            let foldable = entry.1.subject == Subject::Host && entry.0.row.finding.is_some();
            if foldable { nameless.push(entry) } else { kept.push(entry) }
        }
        for (message, finding, count) in nameless {
            // A VM's process is named in each line about it.
            let takes = |known: &Finding| known.id == finding.id && !matches!(known.subject, Subject::Vm(_));
            match kept.iter_mut().find(|(_, known, _)| takes(known)) {
                Some((_, known, total)) => {
                    if finding.severity < known.severity {
                        known.severity = finding.severity;
                        known.variant = finding.variant;
                        known.values.extend(finding.values);
                    }
                    let room = SHOWN.saturating_sub(known.evidence.len());
                    known.evidence.extend(finding.evidence.into_iter().take(room));
                    *total += count;
                }
                None => kept.push((message, finding, count)),
            }
        }
        let explained = kept.iter().any(|(message, finding, _)| {
            !message.row.generic && finding.severity <= Severity::Warning && message.row.finding.is_some()
        });
        kept.retain(|(message, ..)| !message.row.generic || !explained);
        kept.into_iter().map(|(_, finding, count)| finding.value("count", count)).collect()
    }
}

/// The word that switches Intel's IOMMU on, if it is among the words of a command line.
fn on_word(words: &str) -> Option<&str> {
    let on = |word: &&str| word.strip_prefix("intel_iommu=").is_some_and(|value| value.split(',').any(|v| v == "on"));
    words.split_whitespace().find(on)
}

#[cfg(test)]
mod tests;

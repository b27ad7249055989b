//! What stands in the way: one check per file, `(&Ctx) -> Vec<Finding>`.
//!
//! Goes in: a [`Snapshot`] and a [`Goal`]. Comes out: [`Finding`]s. Nothing here reads the host, and no sentence
//! for the user stands here: a finding names a page (`<id>/en.md`) and gives the values that fill it.

pub mod intent;
pub mod pages;
#[cfg(test)]
mod rows;
#[cfg(test)]
pub mod testing;
pub mod verdict;

pub(crate) mod acs_override_on;
mod blacklist_too_wide;
mod cmdline_file;
mod cmdline_not_in_effect;
pub(crate) mod cmdline_words;
mod config_line_duplicated;
pub(crate) mod device;
mod distros;
mod early_load;
mod grub_files;
mod hook_for_every_vm;
mod hook_in_container_layer;
mod host_is_guest;
pub(crate) mod ids;
mod initramfs_stale;
mod interrupt_remapping;
mod iommu_off_in_firmware;
mod iommu_off_in_kernel;
mod kernel_abilities;
mod kvm_ignores_msrs;
mod page_list;
mod messages;
pub(crate) mod modprobe_line_ignored;
mod pasted;
mod pasted_text;
mod virtualization_off;
pub(crate) mod words;

// Checks of single devices.
mod address_moved;
mod bars;
mod bdf_out_of_range;
mod boot_display_on_candidate;
mod boot_framebuffer_holds_bar;
mod device_denylisted;
mod device_in_use;
mod device_serves_slices;
mod function_left_behind;
mod group_not_viable;
mod group_shared;
mod host_critical;
mod identical_devices;
mod link_narrow;
mod native_driver_won;
mod no_iommu_group;
pub(crate) mod quirks;
mod reset;
mod rmrr_locked;
pub mod rom;
mod rom_shadowed;
mod sriov_not_created;
mod stuck;
mod nova_filters;
mod nova_rules;
mod vm;
mod vm_devices;
mod vm_machine;
mod vm_memory;
mod vm_rom;

pub use device::is_management_display;

use crate::facts::pci::Function;
use crate::facts::{Evidence, Snapshot};
use crate::goal::Goal;
use crate::parse::address::Address;
use intent::{Intents, Interest};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Stands in the way of what was asked for.
    Error,
    /// Wrong, useless or dangerous, but not in the way.
    Warning,
    /// Good to know.
    Info,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The whole host.
    Host,
    /// One function.
    Function(Address),
    /// One IOMMU group.
    Group(u32),
    /// A line of a file.
    Line(String, u32),
    /// A file that has no lines.
    File(String),
    /// A VM by its id or name.
    Vm(String),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::Host => f.write_str("host"),
            Subject::Function(address) => address.fmt(f),
            Subject::Group(group) => write!(f, "group {group}"),
            Subject::Line(path, line) => write!(f, "{path}:{line}"),
            Subject::File(path) => f.write_str(path),
            Subject::Vm(vm) => write!(f, "vm {vm}"),
        }
    }
}

/// One thing that is so on this host, with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Names the fault; its page is `<id>/<language>.md`.
    pub id: &'static str,
    /// How bad it is here.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// Which of the page's wordings fits; empty for the plain one.
    pub variant: &'static str,
    /// Values for the page's `{name}` places.
    pub values: Vec<(&'static str, String)>,
    /// Where it can be seen.
    pub evidence: Vec<Evidence>,
}

impl Finding {
    /// A finding in the page's plain wording, without values and evidence.
    pub fn new(id: &'static str, severity: Severity, subject: Subject) -> Self {
        Finding { id, severity, subject, variant: "", values: Vec::new(), evidence: Vec::new() }
    }

    /// Chooses another wording of the page.
    #[must_use]
    pub fn variant(mut self, variant: &'static str) -> Self {
        self.variant = variant;
        self
    }

    /// Gives a value for a `{name}` place.
    #[must_use]
    pub fn value(mut self, name: &'static str, value: impl ToString) -> Self {
        self.values.push((name, value.to_string()));
        self
    }

    /// Adds evidence.
    #[must_use]
    pub fn evidence(mut self, evidence: Evidence) -> Self {
        self.evidence.push(evidence);
        self
    }
}

/// What every check gets.
pub struct Ctx<'a> {
    /// The host.
    pub snap: &'a Snapshot,
    /// What the user wants.
    pub goal: &'a Goal,
    /// Who asks for which function: goal, configuration, VMs.
    pub intents: Intents,
}

impl<'a> Ctx<'a> {
    /// Derives what checks share.
    pub fn new(snap: &'a Snapshot, goal: &'a Goal) -> Self {
        Ctx { snap, goal, intents: Intents::derive(snap, goal) }
    }

    /// How much anybody wants this function in a VM.
    pub fn interest(&self, address: &Address) -> Interest {
        self.intents.of(address)
    }

    /// Functions of interest at least `least`, in order of address.
    pub fn functions(&self, least: Interest) -> impl Iterator<Item = &'a Function> {
        self.snap.pci.functions.iter().filter(move |f| self.interest(&f.address) >= least)
    }

    /// The severity of something that stands in the way of one function: an error if somebody asks for the
    /// function, else only good to know.
    pub fn severity_for(&self, address: &Address) -> Severity {
        if self.interest(address) >= Interest::Configured { Severity::Error } else { Severity::Info }
    }
}

/// One check: the ids it can report and the function that looks.
pub struct Check {
    /// Every id that `run` can report.
    pub ids: &'static [&'static str],
    /// Looks at the host.
    pub run: fn(&Ctx<'_>) -> Vec<Finding>,
}

/// All checks, in the order in which their findings are shown within one severity.
pub const CHECKS: &[Check] = &[
    host_is_guest::CHECK,
    virtualization_off::CHECK,
    iommu_off_in_firmware::CHECK,
    iommu_off_in_kernel::CHECK,
    interrupt_remapping::CHECK,
    acs_override_on::CHECK,
    kernel_abilities::CHECK,
    cmdline_words::CHECK,
    cmdline_not_in_effect::CHECK,
    cmdline_file::CHECK,
    grub_files::CHECK,
    config_line_duplicated::CHECK,
    // Single devices.
    no_iommu_group::CHECK,
    group_not_viable::CHECK,
    group_shared::CHECK,
    function_left_behind::CHECK,
    native_driver_won::CHECK,
    host_critical::CHECK,
    device_in_use::CHECK,
    device_serves_slices::CHECK,
    device_denylisted::CHECK,
    rmrr_locked::CHECK,
    stuck::CHECK,
    boot_framebuffer_holds_bar::CHECK,
    boot_display_on_candidate::CHECK,
    reset::CHECK,
    identical_devices::CHECK,
    address_moved::CHECK,
    sriov_not_created::CHECK,
    bars::CHECK,
    rom_shadowed::CHECK,
    link_narrow::CHECK,
    bdf_out_of_range::CHECK,
    messages::CHECK,
    pasted::CHECK,
    pasted_text::CHECK,
    kvm_ignores_msrs::CHECK,
    modprobe_line_ignored::CHECK,
    ids::CHECK,
    early_load::CHECK,
    initramfs_stale::CHECK,
    blacklist_too_wide::CHECK,
    // VMs.
    hook_for_every_vm::CHECK,
    hook_in_container_layer::CHECK,
    vm_devices::CHECK,
    vm_machine::CHECK,
    vm_rom::CHECK,
    vm_memory::CHECK,
    nova_rules::CHECK,
    nova_filters::CHECK,
];

/// Evidence of one finding, where several checks add to it.
const MOST_EVIDENCE: usize = 12;

/// Runs all checks: errors first, then warnings, then the rest; without duplicates.
pub fn run(snap: &Snapshot, goal: &Goal) -> Vec<Finding> {
    let ctx = Ctx::new(snap, goal);
    let mut findings: Vec<Finding> = Vec::new();
    for check in CHECKS {
        let before = findings.len();
        for finding in (check.run)(&ctx) {
            debug_assert!(check.ids.contains(&finding.id), "{} is not declared", finding.id);
            // Another check has said the same of the same thing: what this one saw is more evidence for it.
            let said = |known: &&mut Finding| known.id == finding.id && known.subject == finding.subject;
            if let Some(known) = findings.iter_mut().take(before).find(said) {
                known.severity = known.severity.min(finding.severity);
                for evidence in finding.evidence {
                    if known.evidence.len() < MOST_EVIDENCE && !known.evidence.contains(&evidence) {
                        known.evidence.push(evidence);
                    }
                }
            } else if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    if findings.len() > 1 {
        findings.retain(|finding| finding.id != "nothing-recognised");
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

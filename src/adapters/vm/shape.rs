//! The VM around its devices, whoever runs it, and what is rendered of it.

use crate::error::{Error, Result};
use crate::facts::Snapshot;
use crate::facts::hypervisor::QemuFiles;
use crate::facts::system::CpuVendor;
use crate::host::Fact;
use crate::steps::reasons::fill;

/// The sentences beside this file: `id: text with {values}`, one a line.
const ENGLISH: &str = include_str!("notes.en.txt");

/// The sentence of an id, filled with values.
pub(super) fn note(id: &str, values: &[(&str, &str)]) -> String {
    fill(ENGLISH, id, values)
}

/// What a VM has besides the devices that it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its name, or its number; none: a placeholder that the hypervisor refuses, or a name that says nothing.
    pub name: Option<String>,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Processors.
    pub cpus: u16,
    /// The file or block device that it boots from.
    pub disk: Option<String>,
    /// OVMF starts it; otherwise SeaBIOS.
    pub uefi: bool,
    /// It has an IOMMU of its own.
    pub viommu: bool,
    /// KVM runs it; otherwise QEMU's TCG, slowly.
    pub kvm: bool,
    /// The hypervisor is hidden from drivers that refuse one.
    pub hide: bool,
}

/// The vendor that Hyper-V's interface names where the hypervisor is hidden: up to twelve characters.
pub(super) const HIDDEN: &str = "vfioneer";

/// A text for one hypervisor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// What the hypervisor, or a shell, takes.
    pub text: String,
    /// What the user should know, in whole sentences.
    pub notes: Vec<String>,
}

/// The architecture of a host's VMs, as QEMU names it.
pub(super) fn arch(snap: &Snapshot) -> &'static str {
    match snap.system.cpu_vendor {
        Fact::Known(CpuVendor::Arm) => "aarch64",
        _ => "x86_64",
    }
}

/// QEMU's machine type with PCIe, of an architecture.
pub(super) fn machine(arch: &str) -> &'static str {
    if arch == "aarch64" { "virt" } else { "q35" }
}

/// QEMU's files on a host.
pub(super) fn files(snap: &Snapshot) -> Result<&'static QemuFiles> {
    let arch = arch(snap);
    QemuFiles::of(arch, snap.system.distro.known(), &snap.hypervisor.firmware)
        .ok_or_else(|| Error::refused(format!("no firmware for VMs on {arch} is known here")))
}

impl Shape {
    /// Refuses what the host's architecture has not.
    pub(super) fn fits(&self, snap: &Snapshot) -> Result<()> {
        let arch = arch(snap);
        let lacks = [(self.viommu, "Intel's IOMMU"), (!self.uefi, "SeaBIOS")];
        match lacks.iter().find(|(asked, _)| *asked && arch != "x86_64") {
            Some((_, what)) => Err(Error::refused(format!("a VM on {arch} cannot have {what}"))
                .hint("leave out --viommu, and take --firmware ovmf")),
            None => Ok(()),
        }
    }

    /// The disk's format by its name; none where that tells nothing.
    pub(super) fn disk_format(&self) -> Option<&'static str> {
        let disk = self.disk.as_deref()?;
        if disk.starts_with("/dev/") || disk.ends_with(".raw") {
            return Some("raw");
        }
        disk.ends_with(".qcow2").then_some("qcow2")
    }

    /// What is to be said of its disk.
    pub(super) fn disk_note(&self) -> Option<String> {
        match &self.disk {
            None => Some(note("no-disk", &[])),
            Some(disk) if self.disk_format().is_none() => Some(note("disk-format", &[("disk", disk)])),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_line_is_an_id_and_a_sentence() {
        let mut ids = std::collections::BTreeSet::new();
        for line in super::ENGLISH.lines() {
            let (id, text) = line.split_once(": ").unwrap();
            assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{id}");
            assert!(text.ends_with('.') && ids.insert(id), "{line}");
        }
    }
}

//! Pasted text as a snapshot in which nearly all is unknown.
//!
//! Goes in: a name and a text. Comes out: a [`Snapshot`] whose evidence names lines of the paste. What the text
//! does not show stays unknown: a listing without a device does not mean that there is none.

mod devices;
mod files;

use super::iommu::{TableKind, add_log};
use super::{Evidence, Origin, Snapshot, TextFile};
use super::{boot, hypervisor, initramfs, iommu, kernel, modules, pci, system, usage};
use crate::host::{Fact, Why};
use crate::parse::paste::{self, KernelLog, Paste};

/// Makes a snapshot of pasted text; `name` is how evidence names it.
pub fn snapshot(name: &str, text: &str) -> Snapshot {
    let Paste { devices, members, log, sections } = paste::read(name, text);
    let mut snap = empty(name);
    devices::add(&mut snap, name, devices);
    devices::add_members(&mut snap, name, members);
    files::add(&mut snap, name, &sections);
    add_messages(&mut snap, name, log);
    let file = TextFile { path: name.to_owned(), text: text.to_owned() };
    add_log(&mut snap.iommu, &file);
    snap.log = Fact::Known(file);
    snap
}

/// What a paste does not show.
pub(super) fn unknown<T>() -> Fact<T> {
    Fact::Unknown(Why::NotRecorded)
}

fn empty(name: &str) -> Snapshot {
    Snapshot {
        origin: Origin::Paste(name.to_owned()),
        system: system::System {
            cpu_vendor: unknown(),
            virtualization: unknown(),
            is_guest: unknown(),
            container: unknown(),
            lockdown: unknown(),
            ..system::System::default()
        },
        kernel: kernel::Kernel { release: unknown(), cmdline: unknown(), loaded: unknown(), ..Default::default() },
        iommu: iommu::Iommu {
            table: unknown(),
            content: unknown(),
            units: unknown(),
            interrupt_remapping: unknown(),
            ..Default::default()
        },
        pci: pci::Pci { functions: Vec::new(), missing: Some(Why::NotRecorded) },
        usb: unknown(),
        usage: usage::Usage { complete: unknown(), consoles: unknown(), serial_ports: unknown(), ..Default::default() },
        boot: boot::Boot::default(),
        own: super::own::Own::default(),
        initramfs: initramfs::Initramfs { generator: unknown(), ..Default::default() },
        modules: modules::Modules::default(),
        hypervisor: hypervisor::Hypervisor::default(),
        log: unknown(),
    }
}

/// Tables that the firmware of every PC has: with them in the log, one that is missing there is missing.
const ALWAYS: &[&str] = &["FACP", "APIC", "DSDT", "MCFG"];

fn add_messages(snap: &mut Snapshot, name: &str, log: KernelLog) {
    if let Some((_, release)) = log.release {
        snap.kernel.release = Fact::Known(release);
    }
    if let (Some((line, words)), true) = (log.cmdline, snap.kernel.cmdline.is_unknown()) {
        snap.kernel.cmdline = Fact::Known(TextFile { path: name.to_owned(), text: files::at_line(line, &words) });
    }
    if let Some((_, text)) = &log.iommu_table {
        let kinds = [("DMAR", TableKind::Dmar), ("IVRS", TableKind::Ivrs), ("IORT", TableKind::Iort)];
        let kind = kinds.iter().find(|(name, _)| text.contains(&format!("ACPI: {name}")));
        snap.iommu.table = kind.map_or_else(unknown, |(_, kind)| Fact::Known(*kind));
    } else if ALWAYS.iter().all(|table| log.tables.iter().any(|known| known == table)) {
        snap.iommu.table = Fact::Absent;
    }
    if let Some((_, text)) = log.iommu_running {
        let unit = if text.contains("DMAR") { "dmar0" } else { "ivhd0" };
        snap.iommu.units = Fact::Known(vec![unit.to_owned()]);
    }
    if let Some((line, text)) = log.remapping_on {
        snap.iommu.interrupt_remapping = Fact::Known(true);
        snap.iommu.interrupt_remapping_evidence = Some(Evidence::at(name, line, text));
    }
    if let Some((_, hypervisor)) = log.hypervisor {
        snap.system.is_guest = Fact::Known(true);
        snap.system.guest_of = Fact::Known(hypervisor.split_whitespace().next().unwrap_or_default().to_lowercase());
    }
    if let Some(cpu) = log.cpu {
        let vendors =
            [("Intel", system::CpuVendor::Intel), ("AMD", system::CpuVendor::Amd), ("Hygon", system::CpuVendor::Amd)];
        if let Some((_, vendor)) = vendors.iter().find(|(name, _)| cpu.contains(name)) {
            snap.system.cpu_vendor = Fact::Known(*vendor);
        }
        snap.system.cpu_model = Fact::Known(cpu);
    }
    if let Some((machine, bios)) = log.dmi.as_deref().and_then(|dmi| dmi.rsplit_once(", BIOS ")) {
        // `Maker Product/Board, BIOS Version MM/DD/YYYY`.
        if let Some((_, board)) = machine.rsplit_once('/') {
            snap.system.board = Fact::Known(board.trim().to_owned());
        }
        if let Some((version, date)) = bios.trim().rsplit_once(' ') {
            snap.system.bios_version = Fact::Known(version.trim().to_owned());
            snap.system.bios_date = Fact::Known(date.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;

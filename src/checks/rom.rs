//! What is wrong with an option ROM: by itself, for a card, for a VM's firmware.
//!
//! Unlike the checks of a host this one is asked about one file (or one card's ROM): by `vfioneer rom`, and by `vm_rom` for the files that VMs
//! name.

use super::{Finding, Severity, Subject};
use crate::facts::Evidence;
use crate::facts::pci::{Bar, Function, Ids};
use crate::parse::rom::{Fault, Machine, Problem, Rom};

/// Bytes of evidence.
const SHOWN: usize = 16;
/// The firmware's copy of a boot display's ROM (Linux 6.12 `pci_map_rom`), in bytes.
const SHADOW: usize = 128 << 10;

/// The firmware of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// UEFI.
    Ovmf,
    /// BIOS.
    Seabios,
}

/// A ROM to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What to call it: a file, or a device.
    pub name: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// What was read in them.
    pub rom: &'a Rom,
    /// The card that it is meant for.
    pub card: Option<&'a Function>,
    /// The firmware that must find something in it.
    pub firmware: Option<Firmware>,
}

/// Everything that is to be said, the worst first.
pub fn findings(question: &Question<'_>) -> Vec<Finding> {
    let rom = question.rom;
    // Harmless is what is wrong where firmware finds something to run in spite of it.
    let has_something = !rom.uefi().is_empty() || rom.seabios(None).is_some();
    let mut findings: Vec<Finding> = rom.faults.iter().map(|fault| question.fault(fault, has_something)).collect();
    findings.extend(question.prefix());
    findings.extend(question.rest());
    if !rom.images.is_empty() {
        findings.extend(question.card.into_iter().flat_map(|card| question.for_card(card)));
        findings.extend(question.for_ovmf());
        findings.extend(question.for_seabios());
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// A place in the ROM, as it is written in messages.
pub fn place(offset: usize) -> String {
    format!("{offset:#x}")
}

/// Is this the copy in low memory instead of a ROM BAR? The kernel marks it (`IORESOURCE_ROM_SHADOW`, include/linux/ioport.h) and puts
/// it at C0000h, 128 KiB (`pci_fixup_video`, arch/x86/pci/fixup.c; both Linux 6.12).
pub fn is_shadow(bar: &Bar) -> bool {
    bar.index == 6 && bar.start == 0xc_0000 && bar.size == SHADOW as u64
}

fn ids((vendor, device): (u16, u16)) -> String {
    Ids { vendor, device }.to_string()
}

impl Question<'_> {
    fn finding(&self, id: &'static str, severity: Severity, offset: usize) -> Finding {
        let finding = Finding::new(id, severity, Subject::File(self.name.to_owned())).value("offset", place(offset));
        let bytes: Vec<String> = self.bytes.iter().skip(offset).take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
        if bytes.is_empty() {
            return finding;
        }
        finding.evidence(Evidence::new(self.name, format!("{}: {}", place(offset), bytes.join(" "))))
    }

    fn fault(&self, fault: &Fault, has_something: bool) -> Finding {
        let rom = self.rom;
        // So is what is wrong behind the first image where firmware never comes.
        let image = rom.images.binary_search_by_key(&fault.offset, |image| image.offset);
        let image = image.ok().filter(|index| *index > 0).and_then(|index| rom.images.get(index));
        let beyond = rom.prefix.is_none() && image.is_some_and(|image| image.reach.is_none());
        let severity = if has_something || beyond { Severity::Warning } else { Severity::Error };
        let of = |id, severity| self.finding(id, severity, fault.offset);
        let damaged = |variant| of("rom-damaged", severity).variant(variant);
        let unusable = |variant| of("rom-invalid", Severity::Error).variant(variant);
        match &fault.problem {
            Problem::Empty => unusable("empty"),
            Problem::Blank(byte) => unusable("blank").value("byte", format!("{byte:02x}")),
            Problem::NoImage => unusable("no-image"),
            Problem::NoPcir => damaged("no-pcir"),
            Problem::PointerOutside(pointer) => damaged("pointer-outside").value("pointer", place((*pointer).into())),
            Problem::NotPcir(pointer) => damaged("not-pcir").value("pointer", place((*pointer).into())),
            Problem::PointerOdd(pointer) => damaged("pointer-odd").value("pointer", place((*pointer).into())),
            Problem::LengthZero => damaged("length-zero"),
            Problem::Truncated(missing) => {
                let shadow = rom.size == SHADOW && rom.uefi().is_empty();
                let severity = if beyond { Severity::Warning } else { Severity::Error };
                let finding = of("rom-truncated", severity).value("missing", missing);
                finding.variant(if shadow { "shadow" } else { "" })
            }
            // Readers stop at the end all the same.
            Problem::NoLast => of("rom-damaged", Severity::Warning).variant("no-last"),
            Problem::NoNext => of("rom-damaged", Severity::Warning).variant("no-next"),
            Problem::Gap(length) => damaged("gap").value("length", length),
            Problem::Checksum(sum) => of("rom-checksum-wrong", severity).value("sum", format!("{sum:02x}")),
            Problem::InitZero => damaged("init-zero"),
            Problem::InitBeyond(length) => damaged("init-beyond").value("length", length),
            Problem::NotEfi(_) => damaged("not-efi"),
            Problem::EfiOutside => damaged("efi-outside"),
            Problem::EfiCompression(kind) => damaged("efi-compression").value("kind", kind),
            Problem::EfiBroken(why) => damaged("efi-broken").value("why", why),
            Problem::EfiMachine(header, driver) => {
                damaged("efi-machine").value("header", header).value("driver", driver)
            }
            Problem::OtherIds(other) => of("rom-other-card", Severity::Info)
                .variant("images")
                .value("ids", ids(*other))
                .value("first", rom.ids().map(ids).unwrap_or_default()),
        }
    }

    fn prefix(&self) -> Option<Finding> {
        let prefix = self.rom.prefix?;
        let finding = self.finding("rom-prefixed", Severity::Error, 0).value("length", prefix.length);
        Some(finding.variant(if prefix.nvgi.is_some() { "nvgi" } else { "" }))
    }

    fn rest(&self) -> Option<Finding> {
        let rest = self.rom.rest?;
        let finding = self.finding("rom-padded", Severity::Info, rest.offset).value("length", rest.length);
        Some(match rest.padding {
            Some(byte) => finding.value("byte", format!("{byte:02x}")),
            None => finding.variant("data"),
        })
    }

    fn for_card(&self, card: &Function) -> Vec<Finding> {
        let mut findings = Vec::new();
        let about = |id, severity| self.finding(id, severity, 0).value("device", card.name());
        let seen = || self.rom.images.iter().filter(|image| self.rom.prefix.is_some() || !image.reach.is_none());
        let mut structures = seen().filter_map(|image| image.pcir.as_ref()).peekable();
        let first = structures.peek().copied();
        if let (Some(own), Some(first)) = (card.ids.known(), first) {
            if !structures.any(|pcir| pcir.is_for((own.vendor, own.device))) {
                let decimal = format!("{:x}", own.vendor).parse() == Ok(first.vendor);
                let finding =
                    about("rom-other-card", Severity::Error).value("ids", ids(first.ids())).value("card", own);
                findings.push(finding.variant(if decimal { "decimal" } else { "" }));
            } else if let Some(class) = card.class.known().filter(|class| first.class >> 16 != **class >> 16) {
                let finding = about("rom-other-card", Severity::Warning).variant("class");
                findings.push(finding.value("ids", "").value("class", hex6(first.class)).value("card", hex6(*class)));
            }
        }
        let end = seen().map(|image| image.offset + image.length).max().unwrap_or_default();
        // Behind a prefix it is not known what firmware would come to.
        let bars = card.bars.known().filter(|_| self.rom.prefix.is_none());
        let bar = bars.and_then(|bars| bars.iter().find(|bar| bar.index == 6 && !is_shadow(bar)));
        if let Some(bar) = bar.filter(|bar| bar.size > 0 && (end as u64) > bar.size) {
            findings.push(about("rom-larger-than-bar", Severity::Warning).value("size", end).value("bar", bar.size));
        }
        findings
    }

    fn for_ovmf(&self) -> Option<Finding> {
        // A prefix hides all that is behind it, and is told by itself.
        let machines = self.rom.uefi();
        if machines.contains(&Machine::X86_64) || self.rom.prefix.is_some() {
            return None;
        }
        let severity = match self.firmware {
            Some(Firmware::Ovmf) => Severity::Error,
            Some(Firmware::Seabios) => Severity::Info,
            None => Severity::Warning,
        };
        let finding = self.finding("rom-without-uefi", severity, 0);
        let names: Vec<String> = machines.iter().map(Machine::to_string).collect();
        Some(if names.is_empty() { finding } else { finding.variant("machine").value("machines", names.join(", ")) })
    }

    fn for_seabios(&self) -> Option<Finding> {
        // Asked for by itself only: nearly every VM with a GPU has OVMF.
        let card = self.card.and_then(|card| card.ids.known()).map(|ids| (ids.vendor, ids.device));
        let wanted = self.firmware == Some(Firmware::Seabios) && self.rom.prefix.is_none();
        let missing = wanted && self.rom.seabios(card).is_none();
        missing.then(|| self.finding("rom-without-bios", Severity::Error, 0))
    }
}

fn hex6(class: u32) -> String {
    format!("{class:06x}")
}

#[cfg(test)]
mod tests;

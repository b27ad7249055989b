//! The ROM file that a card is given: whether it should be, and what is done for it.

use super::case::Case;
use super::texts::said;
use crate::adapters::Work;
use crate::adapters::vm::rom_file;
use crate::checks::pages::message;
use crate::checks::rom::{Question, findings};
use crate::checks::{Finding, Severity};
use crate::facts::hypervisor::HypervisorKind;
use crate::facts::pci::Function;
use crate::goal::RomFile;
use crate::parse::address::Address;
use crate::parse::rom::Rom;
use crate::steps::reasons::reason;

/// The ROM of a goal and the card that it is for.
struct Wanted<'a> {
    file: &'a RomFile,
    rom: Rom,
    card: &'a Function,
}

impl Wanted<'_> {
    fn findings(&self) -> Vec<Finding> {
        let (name, bytes, rom) = (self.file.path.as_str(), self.file.bytes.as_slice(), &self.rom);
        findings(&Question { name, bytes, rom, card: Some(self.card), firmware: None })
    }

    fn doubts(&self) -> Vec<String> {
        let doubtful = self.findings().into_iter().filter(|finding| finding.severity == Severity::Warning);
        let told = |finding: Finding| {
            said("note-rom", &[("file", &self.file.path), ("message", &message(&finding)), ("id", finding.id)])
        };
        doubtful.map(told).collect()
    }
}

/// The chosen function that the ROM names; if it names none of them, the display among them, or the first.
fn wanted<'a>(case: &Case<'a>) -> Option<Wanted<'a>> {
    let file = case.goal.rom.as_ref()?;
    let rom = Rom::read(&file.bytes);
    let named = |function: &&&Function| {
        let ids = function.ids.known().map(|ids| (ids.vendor, ids.device));
        ids.is_some_and(|ids| rom.images.iter().filter_map(|image| image.pcir.as_ref()).any(|pcir| pcir.is_for(ids)))
    };
    let chosen = &case.chosen;
    let card = chosen.iter().find(named).or_else(|| chosen.iter().find(|f| f.is_display())).or(chosen.first())?;
    Some(Wanted { file, card, rom: rom.clone() })
}

/// Why the card should not be given this ROM: its errors.
pub(super) fn objections(case: &Case<'_>) -> Vec<(String, String)> {
    let Some(wanted) = wanted(case) else { return Vec::new() };
    let device = wanted.card.address.to_string();
    let errors = wanted.findings().into_iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| (device.clone(), message(&finding))).collect()
}

/// The file, and what else is to be said of it.
pub(super) fn work(case: &Case<'_>) -> Work {
    let Some(wanted) = wanted(case) else { return Work::default() };
    let mut work = rom_file::work(case.snap, wanted.card, wanted.file, case.goal.vm.as_deref());
    work.notes.extend(wanted.doubts());
    work
}

/// The same for a VM of that hypervisor, and the function and path that its configuration is to name. Fails with a sentence.
pub(super) fn for_vm(case: &Case<'_>, kind: HypervisorKind) -> Result<(Option<(Address, String)>, Work), String> {
    let Some(wanted) = wanted(case) else { return Ok((None, Work::default())) };
    let Some((path, mut work)) = rom_file::for_vm(case.snap, wanted.card, wanted.file, kind) else {
        return Err(reason("rom-file-no-place", &[("device", &wanted.card.name()), ("file", &wanted.file.path)]));
    };
    work.notes.extend(wanted.doubts());
    Ok((Some((wanted.card.address, path)), work))
}

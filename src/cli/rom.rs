//! `vfioneer rom`: option ROMs, in files and of cards.

mod check;
mod dump;
mod patch;
mod show;

use super::{Answer, Global, change};
use crate::checks::rom::{Firmware, Question, findings};
use crate::checks::{Finding, Severity};
use crate::error::{Error, Result};
use crate::facts::pci::Function;
use crate::facts::{Needs, Snapshot};
use crate::goal::select;
use crate::host::{Caller, Fact, Interrupt, READ_LIMIT, Why, console, output};
use crate::live::rom::{self as live, Dump};
use crate::parse::rom::Rom;
use crate::report::rom::Told;
use clap::{Args, Subcommand, ValueEnum};
use std::path::Path;

/// Arguments of `rom`.
#[derive(Args, Debug)]
#[command(after_help = "Nothing of this changes a card: vfioneer never flashes one.\n\
    When a VM needs a ROM file, and where to get one: vfioneer explain getting-a-rom")]
pub struct RomArgs {
    #[command(subcommand)]
    verb: RomVerb,
}

#[derive(Debug, Subcommand)]
enum RomVerb {
    /// Show what is in a ROM: images, ids, drivers, layout, and what firmware would run
    Show(show::ShowArgs),
    /// Say what is wrong with a ROM, and whether it belongs to a card
    Check(check::CheckArgs),
    /// Read a card's own ROM into a file, and check it
    Dump(dump::DumpArgs),
    /// Write a changed copy: without a header before it, only the UEFI part, other ids, a right checksum
    Patch(patch::PatchArgs),
}

pub(super) fn run(global: &Global, args: &RomArgs) -> Result<Answer> {
    match &args.verb {
        RomVerb::Show(args) => show::run(global, args),
        RomVerb::Check(args) => check::run(global, args),
        RomVerb::Dump(args) => dump::run(global, args),
        RomVerb::Patch(args) => patch::run(global, args),
    }
}

/// The firmware of a VM, on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum VmFirmware {
    /// UEFI
    Ovmf,
    /// BIOS
    Seabios,
}

impl VmFirmware {
    fn firmware(self) -> Firmware {
        match self {
            VmFirmware::Ovmf => Firmware::Ovmf,
            VmFirmware::Seabios => Firmware::Seabios,
        }
    }
}

/// A ROM from wherever the user named it.
struct Source {
    /// The file, or the card's address and name.
    name: String,
    bytes: Vec<u8>,
    /// The card that it was read from.
    card: Option<Function>,
}

/// Reads a file, or the ROM of a device if there is no such file.
fn source(global: &Global, name: &str, in_use: bool) -> Result<Source> {
    // A directory in the way of a device's name is not meant.
    let meant = name.contains('/') || output::no_file(Path::new(name)) != Some("a directory");
    if output::is_there(Path::new(name)) && meant {
        return Ok(Source { name: name.to_owned(), bytes: file(name)?, card: None });
    }
    let snap = snapshot(global)?;
    if let Err(error) = select(name, &snap.pci) {
        // What has a slash or an ending was meant to be a file.
        let error = if name.contains('/') || name.contains(".rom") || name.contains(".bin") {
            Error::usage(format!("there is no file {name}"))
        } else {
            error.hint("nor is there such a file")
        };
        return Err(error);
    }
    let function = card(&snap, name)?;
    let dump = read_card(global, &snap, &function, in_use)?;
    let name = format!("{} {}", function.address, function.name());
    if dump.shadow {
        console::stderr(
            "vfioneer: this is the firmware's copy of a boot display's ROM: vfioneer explain rom-shadowed\n",
        );
    }
    Ok(Source { name, bytes: dump.bytes, card: Some(function) })
}

/// The bytes of a ROM file.
pub(super) fn file(name: &str) -> Result<Vec<u8>> {
    match console::user_file(name) {
        Fact::Known(bytes) => Ok(bytes),
        Fact::Absent => Err(Error::usage(format!("there is no file {name}"))),
        Fact::Unknown(Why::TooLarge) => Err(Error::refused(format!(
            "{name} is larger than {} MiB: no option ROM has more than 16 MiB",
            READ_LIMIT >> 20
        ))),
        Fact::Unknown(why) => Err(Error::refused(format!("cannot read {name}: {why}"))),
    }
}

/// What is needed of the host to find a card and to know who has it.
fn snapshot(global: &Global) -> Result<Snapshot> {
    global.snapshot(Needs { pci_details: true, usage: true, vms: true, ..Needs::LIST })
}

/// The one function that a selector names; of a GPU's slot, the GPU itself.
fn card(snap: &Snapshot, selector: &str) -> Result<Function> {
    let functions = select(selector, &snap.pci)?;
    let displays: Vec<&&Function> = functions.iter().filter(|function| function.is_display()).collect();
    match (displays.as_slice(), functions.as_slice()) {
        ([one], _) => Ok((**one).clone()),
        (_, [first, rest @ ..]) if rest.iter().all(|other| other.address.same_slot(&first.address)) => {
            Ok((*first).clone())
        }
        _ => {
            let mut error = Error::usage(format!("{selector:?} is more than one device"));
            for function in functions.iter().take(8) {
                error = error.hint(format!("{}  {}", function.address, function.name()));
            }
            Err(error.hint("give the address of one"))
        }
    }
}

/// Reads the ROM of a card of the running machine.
fn read_card(global: &Global, snap: &Snapshot, function: &Function, in_use: bool) -> Result<Dump> {
    if global.root.is_some() || global.from.is_some() {
        return Err(Error::refused("a card's ROM can be read only on the running machine")
            .hint("give a file, or run the command on the host itself, without --root and --from"));
    }
    let caller = Caller::new();
    if !caller.is_root() {
        return Err(Error::refused("reading a card's ROM needs root").hint(format!("sudo {}", caller.argv.join(" "))));
    }
    let host = change::host(global)?.heeding(Interrupt::watch());
    if !in_use {
        live::may_read(function, &snap.usage)?;
    }
    console::with_progress(&format!("reading the ROM of {}", function.address), || live::read(&host, function))
}

/// A ROM with what is to be said of it.
struct Judged<'a> {
    name: &'a str,
    rom: Rom,
    card: Option<(u16, u16)>,
    findings: Vec<Finding>,
}

impl<'a> Judged<'a> {
    fn new(name: &'a str, bytes: &[u8], card: Option<&Function>, firmware: Option<VmFirmware>) -> Judged<'a> {
        let rom = Rom::read(bytes);
        let firmware = firmware.map(VmFirmware::firmware);
        let findings = findings(&Question { name, bytes, rom: &rom, card, firmware });
        let card = card.and_then(|card| card.ids.known()).map(|ids| (ids.vendor, ids.device));
        Judged { name, rom, card, findings }
    }

    fn told(&self) -> Told<'_> {
        Told { name: self.name, rom: &self.rom, card: self.card, findings: &self.findings }
    }

    fn has_error(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

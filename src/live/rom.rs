//! Reads the option ROM of a card.
//!
//! The kernel gives it in sysfs `rom` while 1 was written there, and only as long as the device decodes memory and is awake
//! (Linux 6.12 `drivers/pci/pci-sysfs.c` `pci_read_rom`, `drivers/pci/rom.c`; `Documentation/PCI/sysfs-pci.rst`). Switching the ROM on
//! may switch other BARs off on cards that share an address decoder (comment at `pci_enable_rom`), which a driver at work does not
//! expect: so none may be.

use super::switch::Switch;
use crate::checks::rom::is_shadow;
use crate::error::{Error, Result};
use crate::facts::pci::Function;
use crate::facts::usage::{Usage, UseKind};
use crate::host::change::Command;
use crate::host::{Fact, HostMut, Kind};
use crate::parse::config_space::ConfigSpace;
use crate::parse::rom::LARGEST;
use std::time::Duration;

/// The slowest ROM of 16 MiB takes some seconds.
const READ_LIMIT: Duration = Duration::from_secs(120);
/// Where the command register is in configuration space, and its bit that lets the device decode memory.
const COMMAND: usize = 4;
const MEMORY: u16 = 2;

/// A ROM as the kernel gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// They are the firmware's copy in low memory, not the card's.
    pub shadow: bool,
}

/// May it be read? An error says who has the card, and what to do.
pub fn may_read(function: &Function, usage: &Usage) -> Result<()> {
    let address = function.address;
    let hint = "if you know that it is safe: --in-use";
    let holds = [UseKind::RunningVm, UseKind::Process, UseKind::VirtualFunctions, UseKind::Mdev];
    if let Some(used) = usage.of(&address).find(|used| holds.contains(&used.kind)) {
        return Err(Error::refused(format!("{} has {address} now, and reading the ROM could disturb it", used.by))
            .hint("stop that first")
            .hint(hint));
    }
    match function.driver.known() {
        Some(driver) if !function.on_vfio() && driver != "pci-stub" => Err(Error::refused(format!(
            "the driver {driver} has {address}: reading the ROM could hang it, or give nothing"
        ))
        .hint(format!("claim the card first, which needs no ROM: vfioneer plan {address}"))
        .hint(hint)),
        _ => Ok(()),
    }
}

/// Reads it. Everything that is switched for that is switched back, whatever happens.
pub fn read(host: &dyn HostMut, function: &Function) -> Result<Dump> {
    if host.kind() != Kind::Live {
        return Err(Error::refused(format!("{} is not the running machine: no card can be read there", host.label()))
            .hint("give a file, or run the command on the host itself"));
    }
    let dir = format!("/sys/bus/pci/devices/{}", function.address);
    let rom = format!("{dir}/rom");
    match host.exists(&rom) {
        Fact::Known(true) => {}
        Fact::Unknown(why) => return Err(Error::refused(format!("cannot look for {rom}: {why}"))),
        Fact::Known(false) | Fact::Absent => {
            return Err(Error::refused(format!("{} has no option ROM: there is no {rom}", function.name())).hint(
                "processors' graphics, virtual functions and many accelerators have none: vfioneer explain no-rom-file",
            ));
        }
    }
    let shadow = function.bars.known().is_some_and(|bars| bars.iter().any(is_shadow));
    let awake = Switch::power(host, &dir)?;
    let decoding = Switch::enable(host, &dir, function);
    let (result, decoding) = match decoding {
        Ok(decoding) => (switched_on(host, &rom).map_err(|why| failed(host, function, &dir, shadow, &why)), decoding),
        Err(error) => (Err(error), None),
    };
    // Each in any case, the last one first; what stays switched is told even where reading failed, too.
    let left: Vec<String> = [decoding, awake].into_iter().flatten().filter_map(|switch| switch.back().err()).collect();
    match (result, left.is_empty()) {
        (Ok(bytes), true) => Ok(Dump { bytes, shadow }),
        (Ok(_), false) => Err(left.into_iter().fold(
            Error::refused(format!("the ROM of {} was read, and something could not be set back", function.name())),
            Error::hint,
        )),
        (Err(error), _) => Err(left.into_iter().fold(error, Error::hint)),
    }
}

/// The bytes of the ROM while it is switched on.
fn switched_on(host: &dyn HostMut, rom: &str) -> std::result::Result<Vec<u8>, String> {
    if let Err(error) = host.write_attribute(rom, "1") {
        // It may have come through too late.
        let _ = host.write_attribute(rom, "0");
        return Err(error.to_string());
    }
    // In a process of its own: a read that the kernel never answers is not waited for.
    let argv = ["cat".to_owned(), rom.to_owned()];
    let command = Command { argv: &argv, limit: READ_LIMIT, interrupt: Some(host.interrupt()), holds: None };
    let done = host.run(&command, &mut |_| ());
    // Exactly "0\n" switches it off; anything else switches it on (`pci_write_rom`).
    let off = host.write_attribute(rom, "0").map_err(|error| format!("it could not be switched off again: {error}"));
    let done = match (done, off) {
        (Ok(done), Ok(())) => done,
        (Ok(_), Err(off)) => return Err(off),
        (Err(error), Ok(())) => return Err(error.to_string()),
        (Err(error), Err(off)) => return Err(format!("{error}; and {off}")),
    };
    match () {
        () if done.stopped => Err("stopped".to_owned()),
        () if done.late => Err(format!("the kernel did not give it within {} seconds", READ_LIMIT.as_secs())),
        () if !done.success() => Err(reason(&done.text())),
        () if done.output.is_empty() => Err("it is empty".to_owned()),
        // The runner keeps no more than that.
        () if done.output.len() >= LARGEST => Err("it is larger than a ROM can be".to_owned()),
        () => Ok(done.output),
    }
}

/// The operating system's words, without the program's name and the path in front.
fn reason(text: &str) -> String {
    text.rsplit(": ").next().unwrap_or(text).trim().to_owned()
}

/// Why it could not be read, with the likely cause.
fn failed(host: &dyn HostMut, function: &Function, dir: &str, shadow: bool, why: &str) -> Error {
    let error = Error::refused(format!("cannot read the option ROM of {}: {why}", function.name()));
    let command = host.read_start(&format!("{dir}/config"), 64).into_known();
    let command = command.and_then(|bytes| ConfigSpace(&bytes).u16(COMMAND));
    let error = match command {
        Some(0xffff) => error.hint("the card does not answer: vfioneer explain stuck-in-d3"),
        Some(command) if command & MEMORY == 0 => error.hint(
            "the card does not decode memory while nothing uses it: release it from its driver, or start a VM with it once, and try again",
        ),
        _ if shadow => error.hint(
            "it is the boot display, and the firmware left no copy of its ROM in low memory, as UEFI without CSM does not",
        ),
        _ => error.hint("the ROM has no valid header, or the card sleeps: vfioneer explain rom-invalid"),
    };
    error.hint("other ways to get it: vfioneer explain getting-a-rom")
}

#[cfg(test)]
mod tests;

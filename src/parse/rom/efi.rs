//! The header of an EFI image, and the driver in it.

use super::image::Image;
use super::inflate::inflate;
use super::{Fault, Problem};
use crate::parse::bytes::{u16_at, u32_at};
use crate::parse::pe;

/// At 4 of the header (`EFI_PCI_EXPANSION_ROM_HEADER_EFISIGNATURE`).
const SIGNATURE: u32 = 0x0ef1;
/// The most that one driver may unpack to, in bytes; the largest known have about 1 MiB.
const MOST: usize = 16 << 20;

/// The machine that a driver is for, as PE files name it (UEFI 2.10 section 2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Machine(pub u16);

impl Machine {
    /// The x86-64 machine, of nearly all cards.
    pub const X86_64: Machine = Machine(0x8664);

    /// The usual name, if it has one.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x014c => "ia32",
            0x01c2 => "arm",
            0x0200 => "ia64",
            0x0ebc => "ebc",
            0x5032 => "riscv32",
            0x5064 => "riscv64",
            0x6264 => "loongarch64",
            0x8664 => "x86_64",
            0xaa64 => "aarch64",
            _ => return None,
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:04x}", self.0),
        }
    }
}

/// What kind of program it is (PE subsystem).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Subsystem {
    /// 10.
    Application,
    /// 11: gone when the operating system starts.
    BootServiceDriver,
    /// 12: stays.
    RuntimeDriver,
    /// Anything else.
    Other(u16),
}

impl Subsystem {
    fn from_number(number: u16) -> Subsystem {
        match number {
            10 => Subsystem::Application,
            11 => Subsystem::BootServiceDriver,
            12 => Subsystem::RuntimeDriver,
            other => Subsystem::Other(other),
        }
    }

    /// As it stands in the header.
    pub fn number(self) -> u16 {
        match self {
            Subsystem::Application => 10,
            Subsystem::BootServiceDriver => 11,
            Subsystem::RuntimeDriver => 12,
            Subsystem::Other(number) => number,
        }
    }
}

impl std::fmt::Display for Subsystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subsystem::Application => f.write_str("application"),
            Subsystem::BootServiceDriver => f.write_str("boot-service-driver"),
            Subsystem::RuntimeDriver => f.write_str("runtime-driver"),
            Subsystem::Other(number) => write!(f, "{number}"),
        }
    }
}

/// How the driver is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Compression {
    /// 0: not at all.
    None,
    /// 1: as UEFI 2.10 section 19 describes.
    Uefi,
    /// Anything else.
    Other(u16),
}

/// The driver itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Payload {
    /// Its bytes, unpacked; where it is not packed, with what fills the last block.
    pub size: usize,
    /// The machine that it was built for.
    pub machine: Machine,
    /// It carries a signature, which Secure Boot asks for. Whose, and whether it is valid, is not looked at.
    pub signed: bool,
}

/// An EFI image's header and driver.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Efi {
    /// The machine that the header names.
    pub machine: Machine,
    /// The subsystem that the header names.
    pub subsystem: Subsystem,
    /// How the driver is packed.
    pub compression: Compression,
    /// The driver, if it can be read.
    pub payload: Option<Payload>,
}

impl Efi {
    /// Would edk2 load it (`ProcessOpRomImage`, `LocalLoadFile2`)?
    pub(super) fn is_driver(&self) -> bool {
        matches!(self.subsystem, Subsystem::BootServiceDriver | Subsystem::RuntimeDriver)
            && self.payload.is_some_and(|payload| payload.machine == self.machine)
    }
}

/// Reads the header of an image with the code type EFI.
pub(super) fn read(bytes: &[u8], image: &Image, unpack: &mut usize, faults: &mut Vec<Fault>) -> Option<Efi> {
    let at = image.offset;
    let mut fault = |problem| faults.push(Fault { offset: at, problem });
    let signature = u32_at(bytes, at + 4)?;
    if signature != SIGNATURE {
        fault(Problem::NotEfi(signature));
        return None;
    }
    let mut efi = Efi {
        machine: Machine(u16_at(bytes, at + 0x0a)?),
        subsystem: Subsystem::from_number(u16_at(bytes, at + 8)?),
        compression: match u16_at(bytes, at + 0x0c)? {
            0 => Compression::None,
            1 => Compression::Uefi,
            other => Compression::Other(other),
        },
        payload: None,
    };
    let start = usize::from(u16_at(bytes, at + 0x16)?);
    // What edk2 looks at is the length in the PCI data structure.
    let length = image.pcir.as_ref().map_or(0, |pcir| pcir.length);
    let driver = if image.init_length > length { None } else { bytes.get(at + start..at + image.init_length) };
    let Some(driver) = driver.filter(|driver| !driver.is_empty()) else {
        fault(Problem::EfiOutside);
        return Some(efi);
    };
    let unpacked;
    let driver = match efi.compression {
        Compression::None => driver,
        Compression::Other(number) => {
            fault(Problem::EfiCompression(number));
            return Some(efi);
        }
        Compression::Uefi => match inflate(driver, MOST.min(*unpack), unpack) {
            Ok(bytes) => {
                unpacked = bytes;
                &unpacked
            }
            Err(why) => {
                fault(Problem::EfiBroken(why.into()));
                return Some(efi);
            }
        },
    };
    match pe::header(driver) {
        None => fault(Problem::EfiBroken("it is no PE file".into())),
        Some(header) => {
            let machine = Machine(header.machine);
            if machine != efi.machine {
                fault(Problem::EfiMachine(efi.machine, machine));
            }
            efi.payload = Some(Payload { size: driver.len(), machine, signed: header.signed });
        }
    }
    Some(efi)
}

//! One image: header, PCI data structure, NVIDIA's extension of it.

use super::efi::{Efi, Machine};
use super::firmware::Seen;
use super::{BLOCK, Fault, Problem, SIGNATURE, efi};
use crate::parse::bytes::{u8_at, u16_at, u32_at};

/// Signatures that NVIDIA gives to images behind the standard ones (`PCI_EXP_ROM_SIGNATURE_NV`, `_NV2`).
const FOLLOWERS: [u16; 3] = [SIGNATURE, 0x4e56, 0xbb77];
/// The signatures of a PCI data structure: the standard one, and NVIDIA's (`PCI_DATA_STRUCT_SIGNATURE_NV`, `_NV2`).
const STRUCTURES: [&[u8]; 3] = [b"PCIR", b"NPDS", b"RGIS"];
/// The bytes of a PCI data structure that is read at all: up to the indicator.
const STRUCTURE: usize = 0x18;
/// Revisions of `NPDE` that NVIDIA's driver heeds.
const EXTENSIONS: [u16; 2] = [0x100, 0x101];
/// The most devices of a device list that are read.
const MOST_DEVICES: usize = 1024;

/// What an image holds (PCI Firmware Specification 3.3, table 5-2; NVIDIA's in `pci_exp_table.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum CodeType {
    /// 0: real-mode code for a BIOS.
    Legacy,
    /// 1: Open Firmware.
    OpenFirmware,
    /// 2: HP PA-RISC.
    PaRisc,
    /// 3: an EFI driver.
    Efi,
    /// 70h: NVIDIA's notebook information.
    Nbsi,
    /// E0h: firmware for NVIDIA's own processors.
    Fwsec,
    /// Anything else.
    Other(u8),
}

impl CodeType {
    fn from_number(number: u8) -> CodeType {
        match number {
            0 => CodeType::Legacy,
            1 => CodeType::OpenFirmware,
            2 => CodeType::PaRisc,
            3 => CodeType::Efi,
            0x70 => CodeType::Nbsi,
            0xe0 => CodeType::Fwsec,
            other => CodeType::Other(other),
        }
    }

    /// As it stands in the PCI data structure.
    pub fn number(self) -> u8 {
        match self {
            CodeType::Legacy => 0,
            CodeType::OpenFirmware => 1,
            CodeType::PaRisc => 2,
            CodeType::Efi => 3,
            CodeType::Nbsi => 0x70,
            CodeType::Fwsec => 0xe0,
            CodeType::Other(number) => number,
        }
    }
}

/// Which firmware comes to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reach {
    /// SeaBIOS, and Linux.
    pub bios: bool,
    /// edk2 (OVMF), which passes by what is no image, and is stricter with pointers and lengths.
    pub uefi: bool,
}

impl Reach {
    /// Only a driver of the vendor's comes to it.
    pub fn is_none(self) -> bool {
        !self.bios && !self.uefi
    }
}

/// The PCI data structure.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pcir {
    /// Where it is, in bytes from the start of the ROM.
    pub offset: usize,
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Further device ids that the image is for (structure revision 3).
    pub devices: Vec<u16>,
    /// Base class, subclass and programming interface, 24 bits.
    pub class: u32,
    /// The image's length in bytes.
    pub length: usize,
    /// Revision of the code.
    pub revision: u16,
    /// What the image holds.
    pub code_type: CodeType,
    /// Marked as the last image.
    pub last: bool,
}

impl Pcir {
    /// Vendor and device id.
    pub fn ids(&self) -> (u16, u16) {
        (self.vendor, self.device)
    }

    /// Is the image for this card?
    pub fn is_for(&self, (vendor, device): (u16, u16)) -> bool {
        self.vendor == vendor && (self.device == device || self.devices.contains(&device))
    }
}

/// `NPDE`, which NVIDIA's driver believes more than the PCI data structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Npde {
    /// Where it is, in bytes from the start of the ROM.
    pub offset: usize,
    /// The image's length in bytes.
    pub length: usize,
    /// Marked as the last image; `None` if the structure is too short to say.
    pub last: Option<bool>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Image {
    /// Where it begins, in bytes from the start of the ROM.
    pub offset: usize,
    /// Its length in bytes, as the ROM gives it; the file may be shorter.
    pub length: usize,
    /// Its first part that is copied and run, in bytes: of a legacy image what the checksum covers, of an EFI image up to the driver's end.
    pub init_length: usize,
    /// The PCI data structure.
    pub pcir: Option<Pcir>,
    /// NVIDIA's extension.
    pub npde: Option<Npde>,
    /// What the bytes of a legacy image sum up to; 0 is right. `None` for others, and where bytes are missing.
    pub checksum: Option<u8>,
    /// The EFI driver's header.
    pub efi: Option<Efi>,
    /// Who comes to it.
    pub reach: Reach,
}

impl Image {
    /// Reads the image at `at`, where a signature was found. `unpack` is how many bytes EFI drivers may still unpack to.
    pub(super) fn read(bytes: &[u8], at: usize, seen: &Seen, unpack: &mut usize, faults: &mut Vec<Fault>) -> Image {
        let mut fault = |offset, problem| faults.push(Fault { offset, problem });
        let pcir = match pointer(bytes, at) {
            Pointer::None => {
                fault(at, Problem::NoPcir);
                None
            }
            Pointer::Outside(pointer) => {
                fault(at, Problem::PointerOutside(pointer));
                None
            }
            Pointer::Other(pointer) => {
                fault(at, Problem::NotPcir(pointer));
                None
            }
            Pointer::At(offset) => structure(bytes, offset),
        };
        if let Some(pointer) = pcir.as_ref().and_then(|_| u16_at(bytes, at + 0x18)).filter(|pointer| pointer % 4 != 0) {
            fault(at, Problem::PointerOdd(pointer));
        }
        let npde = pcir.as_ref().and_then(|pcir| extension(bytes, pcir));
        let is_efi = pcir.as_ref().is_some_and(|pcir| pcir.code_type == CodeType::Efi);
        // At 2, a legacy header has a byte and an EFI header a word (UEFI 2.10 table 14-15).
        let blocks =
            if is_efi { u16_at(bytes, at + 2).map(usize::from) } else { u8_at(bytes, at + 2).map(usize::from) };
        let init_length = blocks.unwrap_or_default() * BLOCK;
        let length = match (&npde, &pcir) {
            // What a card shows ends where firmware has its last image end; and what firmware comes to is an image.
            (Some(npde), Some(pcir)) if npde.length > pcir.length => {
                let next = at.saturating_add(pcir.length);
                let firmware = seen.bios.contains(&next) || seen.uefi.contains(&next);
                if firmware || at + npde.length > bytes.len() { pcir.length } else { npde.length }
            }
            (Some(npde), _) => npde.length,
            (None, Some(pcir)) => pcir.length,
            (None, None) => init_length,
        };
        let reach = Reach { bios: seen.bios.contains(&at), uefi: seen.uefi.contains(&at) };
        let mut image = Image { offset: at, length, init_length, pcir, npde, checksum: None, efi: None, reach };
        if length == 0 {
            fault(at, Problem::LengthZero);
            return image;
        }
        let missing = at.saturating_add(length).saturating_sub(bytes.len());
        if missing > 0 {
            fault(at, Problem::Truncated(missing));
        }
        match image.code_type() {
            Some(CodeType::Efi) => image.efi = efi::read(bytes, &image, unpack, faults),
            Some(CodeType::Legacy) | None => image.sum(bytes, faults),
            Some(_) => {}
        }
        image
    }

    fn sum(&mut self, bytes: &[u8], faults: &mut Vec<Fault>) {
        let mut fault = |problem| faults.push(Fault { offset: self.offset, problem });
        if self.init_length > self.length {
            fault(Problem::InitBeyond(self.init_length - self.length));
        }
        if self.init_length == 0 {
            fault(Problem::InitZero);
        }
        let covered = bytes.get(self.offset..self.offset.saturating_add(self.init_length));
        let Some(covered) = covered.filter(|covered| !covered.is_empty()) else { return };
        let sum = covered.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        self.checksum = Some(sum);
        if sum != 0 {
            fault(Problem::Checksum(sum));
        }
    }

    /// What it holds, if it says so.
    pub fn code_type(&self) -> Option<CodeType> {
        self.pcir.as_ref().map(|pcir| pcir.code_type)
    }

    /// Marked as the last image.
    pub fn is_last(&self) -> bool {
        let Some(pcir) = &self.pcir else { return false };
        match &self.npde {
            Some(npde) => npde.last.unwrap_or(pcir.last && npde.length >= pcir.length),
            None => pcir.last,
        }
    }

    /// The machine for which edk2 would load it, if it would.
    pub(super) fn uefi(&self) -> Option<Machine> {
        let efi = self.efi.as_ref().filter(|_| self.reach.uefi)?;
        efi.is_driver().then_some(efi.machine)
    }
}

/// Where the pointer at 18h leads.
enum Pointer {
    None,
    Outside(u16),
    Other(u16),
    At(usize),
}

fn pointer(bytes: &[u8], at: usize) -> Pointer {
    match at.checked_add(0x18).and_then(|place| u16_at(bytes, place)) {
        None | Some(0) => Pointer::None,
        Some(pointer) => {
            let offset = at + usize::from(pointer);
            match bytes.get(offset..offset + STRUCTURE) {
                None => Pointer::Outside(pointer),
                Some(start) if STRUCTURES.iter().any(|signature| start.starts_with(signature)) => Pointer::At(offset),
                Some(_) => Pointer::Other(pointer),
            }
        }
    }
}

fn structure(bytes: &[u8], offset: usize) -> Option<Pcir> {
    let revision = u8_at(bytes, offset + 0x0c)?;
    let list = u16_at(bytes, offset + 8).filter(|pointer| revision >= 3 && *pointer != 0);
    Some(Pcir {
        offset,
        vendor: u16_at(bytes, offset + 4)?,
        device: u16_at(bytes, offset + 6)?,
        devices: list.map(|pointer| devices(bytes, offset + usize::from(pointer))).unwrap_or_default(),
        class: u32_at(bytes, offset + 0x0d)? & 0xff_ffff,
        length: usize::from(u16_at(bytes, offset + 0x10)?) * BLOCK,
        revision: u16_at(bytes, offset + 0x12)?,
        code_type: CodeType::from_number(u8_at(bytes, offset + 0x14)?),
        last: u8_at(bytes, offset + 0x15)? & 0x80 != 0,
    })
}

/// A list of device ids that ends with 0000; empty if it has no end.
fn devices(bytes: &[u8], offset: usize) -> Vec<u16> {
    let mut list = Vec::new();
    for index in 0..MOST_DEVICES {
        match u16_at(bytes, offset + 2 * index) {
            Some(0) => return list,
            Some(device) => list.push(device),
            None => break,
        }
    }
    Vec::new()
}

/// `NPDE` stands at the next multiple of 16 behind the PCI data structure.
fn extension(bytes: &[u8], pcir: &Pcir) -> Option<Npde> {
    let length = usize::from(u16_at(bytes, pcir.offset + 0x0a)?);
    let offset = (pcir.offset + length).next_multiple_of(16);
    let known = u16_at(bytes, offset + 4).is_some_and(|revision| EXTENSIONS.contains(&revision));
    if bytes.get(offset..offset + 4) != Some(b"NPDE") || !known {
        return None;
    }
    let says_last = u16_at(bytes, offset + 6)? > 0x0a;
    let length = usize::from(u16_at(bytes, offset + 8)?) * BLOCK;
    if length == 0 {
        return None;
    }
    Some(Npde {
        offset,
        length,
        last: u8_at(bytes, offset + 0x0a).filter(|_| says_last).map(|flags| flags & 0x80 != 0),
    })
}

/// Can an image that follows another begin here?
pub(super) fn is_follower(bytes: &[u8], at: usize) -> bool {
    u16_at(bytes, at).is_some_and(|signature| FOLLOWERS.contains(&signature))
}

/// The vendor id of an image of which nothing is in doubt: 55 AA, and a pointer to a PCI data structure with a length.
pub(super) fn valid_vendor(bytes: &[u8], at: usize) -> Option<u16> {
    if u16_at(bytes, at) != Some(SIGNATURE) {
        return None;
    }
    let Pointer::At(offset) = pointer(bytes, at) else { return None };
    u16_at(bytes, offset + 0x10).filter(|length| *length > 0)?;
    u16_at(bytes, offset + 4)
}

/// The next image behind something else, at a multiple of 512 bytes from there, as edk2 looks for it.
pub(super) fn next_valid(bytes: &[u8], at: usize) -> Option<usize> {
    (at..bytes.len()).step_by(BLOCK).skip(1).find(|at| valid_vendor(bytes, *at).is_some())
}

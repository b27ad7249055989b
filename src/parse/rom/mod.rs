//! PCI option ROMs: which images a ROM holds, and what is wrong with it.
//!
//! Goes in: the bytes of a ROM file or of sysfs `rom`. Comes out: a [`Rom`], whatever the bytes are. Nothing in them is trusted; the
//! time is linear in the size.
//!
//! Rules: PCI Firmware Specification 3.3 chapter 5 (header, PCI data structure `PCIR`); UEFI 2.10 section 14.4.2 (EFI images). NVIDIA's
//! own: open-gpu-kernel-modules 570 `kernel_gsp_vbios_tu102.c` and `pci_exp_table.h` (signatures, `NPDE`, the `NVGI` header), the same in
//! Linux 7.0 `drivers/gpu/nova-core/vbios.rs`. What readers do with a ROM: Linux 6.12 `drivers/pci/rom.c` (`pci_get_rom_size`), edk2
//! `PciOptionRomSupport.c` (OVMF), SeaBIOS `optionroms.c` (`map_pcirom`).

mod efi;
mod firmware;
mod image;
mod inflate;
mod patch;
mod prefix;

#[cfg(test)]
#[path = "../../../tests/support/roms.rs"]
pub(crate) mod roms;

pub use efi::{Compression, Efi, Machine, Payload, Subsystem};
pub use image::{CodeType, Image, Pcir, Reach};
pub use patch::{Change, Edit, Field, Part, Patch, Refusal, patch};
pub use prefix::Prefix;

use super::bytes::u16_at;
use firmware::Seen;
use std::borrow::Cow;

/// The unit in which a ROM counts lengths, in bytes.
pub const BLOCK: usize = 512;
/// The largest ROM BAR (PCI Local Bus 3.0 section 6.2.5.2), in bytes.
pub const LARGEST: usize = 16 << 20;
/// `55 AA`, with which an image begins.
const SIGNATURE: u16 = 0xaa55;
/// What EFI images may have, packed and unpacked, in all, in bytes: no ROM is near that, and a false length must neither fill the
/// memory nor take long.
const MOST_UNPACKED: usize = 64 << 20;

/// What a ROM holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rom {
    /// Bytes in all.
    pub size: usize,
    /// What stands before the first image.
    pub prefix: Option<Prefix>,
    /// The images, in order; they never overlap.
    pub images: Vec<Image>,
    /// What stands behind the last image.
    pub rest: Option<Rest>,
    /// What is wrong, in order of place.
    pub faults: Vec<Fault>,
}

/// Bytes behind the last image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rest {
    /// Where they begin.
    pub offset: usize,
    /// How many.
    pub length: usize,
    /// The byte that all of them are, if that is 00 or ff: padding.
    pub padding: Option<u8>,
}

/// Something wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fault {
    /// Where it can be seen, in bytes from the start of the ROM.
    pub offset: usize,
    /// What it is.
    pub problem: Problem,
}

/// What can be wrong with a ROM.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Problem {
    /// There is not one byte.
    Empty,
    /// All bytes are this one, 00 or ff: nothing was read.
    Blank(u8),
    /// No image begins with 55 AA and has a PCI data structure, anywhere.
    NoImage,
    /// An image has no pointer to a PCI data structure: one of the ISA bus, which PCI firmware passes by.
    NoPcir,
    /// The pointer leads out of the ROM.
    PointerOutside(u16),
    /// The pointer leads to something else than `PCIR`.
    NotPcir(u16),
    /// The pointer is no multiple of four: edk2 takes the ROM as ended there.
    PointerOdd(u16),
    /// The PCI data structure gives the length 0.
    LengthZero,
    /// The image is longer than what is left: so many bytes are missing.
    Truncated(usize),
    /// The ROM ends, and no image was marked as the last.
    NoLast,
    /// An image is not marked as the last, and none follows it.
    NoNext,
    /// Between two images are so many bytes of something else: Linux and SeaBIOS stop there.
    Gap(usize),
    /// A legacy image's bytes do not sum up to 0; this is what they do sum up to.
    Checksum(u8),
    /// A legacy image has no bytes to run.
    InitZero,
    /// A legacy image has more bytes to sum up than it has.
    InitBeyond(usize),
    /// Code type EFI, and the header has not the EFI signature, but this.
    NotEfi(u32),
    /// The EFI driver begins or ends outside of its image.
    EfiOutside,
    /// A kind of compression that UEFI does not know.
    EfiCompression(u16),
    /// The EFI driver cannot be unpacked, or is no PE file.
    EfiBroken(Cow<'static, str>),
    /// The driver is for another machine than the header says (header, driver).
    EfiMachine(Machine, Machine),
    /// The image's ids (vendor, device) are not those of the first image.
    OtherIds((u16, u16)),
}

impl Rom {
    /// Reads a ROM. Every sequence of bytes has an answer.
    pub fn read(bytes: &[u8]) -> Rom {
        let mut rom = Rom { size: bytes.len(), ..Rom::default() };
        if bytes.is_empty() {
            rom.fault(0, Problem::Empty);
            return rom;
        }
        if let Some(byte) = padding(bytes) {
            rom.fault(0, Problem::Blank(byte));
            return rom;
        }
        let start = match u16_at(bytes, 0) {
            Some(SIGNATURE) => 0,
            _ => match prefix::find(bytes) {
                Some(prefix) => {
                    let length = prefix.length;
                    rom.prefix = Some(prefix);
                    length
                }
                None => {
                    rom.fault(0, Problem::NoImage);
                    return rom;
                }
            },
        };
        rom.walk(bytes, start, &Seen::of(bytes));
        rom.compare_ids();
        rom
    }

    /// Follows the chain of images from `start`.
    fn walk(&mut self, bytes: &[u8], start: usize, seen: &Seen) {
        let mut at = start;
        let mut unpack = MOST_UNPACKED;
        let mut complete = false;
        loop {
            let image = Image::read(bytes, at, seen, &mut unpack, &mut self.faults);
            let (next, last) = (at.saturating_add(image.length), image.is_last());
            let end = next.min(bytes.len());
            // Without a PCI data structure nobody knows where another image might be.
            let ends = last || image.pcir.is_none();
            // What a card shows ends with the image that is the last for firmware, whatever NVIDIA's extension promises.
            complete |= image.pcir.as_ref().is_some_and(|pcir| pcir.last);
            let stuck = image.length == 0;
            self.images.push(image);
            if stuck {
                self.rest = rest(bytes, at.saturating_add(BLOCK).min(bytes.len()));
                return;
            }
            if ends || next >= bytes.len() {
                if !ends && !complete {
                    self.fault(at, Problem::NoLast);
                }
                self.rest = rest(bytes, end);
                return;
            }
            let from = at;
            at = next;
            if !image::is_follower(bytes, at) {
                match image::next_valid(bytes, at) {
                    Some(found) => {
                        self.fault(from, Problem::Gap(found - at));
                        at = found;
                    }
                    None => {
                        if !complete {
                            self.fault(from, Problem::NoNext);
                        }
                        self.rest = rest(bytes, at);
                        return;
                    }
                }
            }
        }
    }

    fn compare_ids(&mut self) {
        let mut ids = self.images.iter().filter_map(|image| image.pcir.as_ref().map(|p| (image.offset, p.ids())));
        let Some((_, first)) = ids.next() else { return };
        let others: Vec<_> = ids.filter(|(_, ids)| *ids != first).collect();
        for (offset, ids) in others {
            self.fault(offset, Problem::OtherIds(ids));
        }
        self.faults.sort_by_key(|fault| fault.offset);
    }

    fn fault(&mut self, offset: usize, problem: Problem) {
        self.faults.push(Fault { offset, problem });
    }

    /// The machines for which OVMF would find a driver, in order, each once.
    pub fn uefi(&self) -> Vec<Machine> {
        let mut machines: Vec<Machine> = self.images.iter().filter_map(Image::uefi).collect();
        machines.sort();
        machines.dedup();
        machines
    }

    /// Does any driver that OVMF would find lack a signature? With Secure Boot it is not started.
    pub fn has_unsigned_driver(&self) -> bool {
        let drivers = self.images.iter().filter(|image| image.uefi().is_some());
        drivers.filter_map(|image| image.efi.as_ref()?.payload).any(|payload| !payload.signed)
    }

    /// The image that SeaBIOS would start for a card with these ids; without ids, for the card that the image names.
    pub fn seabios(&self, card: Option<(u16, u16)>) -> Option<&Image> {
        // It stops at the first image that is for the card, whether that can be run or not (`map_pcirom`).
        let mine = |image: &&Image| {
            image.reach.bios
                && image.code_type() == Some(CodeType::Legacy)
                && card.is_none_or(|card| image.pcir.as_ref().is_some_and(|pcir| pcir.ids() == card))
        };
        self.images.iter().find(mine).filter(|image| image.checksum == Some(0))
    }

    /// The ids of the first image that has some.
    pub fn ids(&self) -> Option<(u16, u16)> {
        self.images.iter().find_map(|image| image.pcir.as_ref().map(Pcir::ids))
    }
}

/// What stands behind the last image, if anything.
fn rest(bytes: &[u8], offset: usize) -> Option<Rest> {
    let rest = bytes.get(offset..).filter(|rest| !rest.is_empty())?;
    Some(Rest { offset, length: rest.len(), padding: padding(rest) })
}

/// The byte that all are, if that is one with which memory is filled.
fn padding(bytes: &[u8]) -> Option<u8> {
    let first = *bytes.first().filter(|byte| matches!(byte, 0 | 0xff))?;
    bytes.iter().all(|byte| *byte == first).then_some(first)
}

#[cfg(test)]
mod tests;

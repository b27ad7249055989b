//! Makes another ROM of one: without what stands before it, only the EFI drivers, with other ids, a right checksum, no padding.
//!
//! Goes in: bytes and an [`Edit`]. Comes out: new bytes and every [`Change`]. The same edit once more changes nothing.

use super::efi::Efi;
use super::image::{CodeType, Image, Pcir};
use super::{BLOCK, Rom};
use crate::parse::bytes::{u8_at, u16_at};
use std::ops::Range;

/// What is to be done, besides cutting off what stands before the first image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Keep only the images with EFI drivers.
    pub only_efi: bool,
    /// Make the bytes of legacy images sum up to 0.
    pub fix_checksum: bool,
    /// Other ids (vendor, device) in every image that firmware sees.
    pub ids: Option<(u16, u16)>,
    /// Cut off the padding behind the last image.
    pub strip_padding: bool,
}

/// What was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What stood before the first image.
    Prefix,
    /// An image.
    Image(Option<CodeType>),
    /// What stood between images, or behind the last one.
    Filling,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The vendor id in the PCI data structure.
    Vendor,
    /// The device id in the PCI data structure.
    Device,
    /// The image's length in the PCI data structure.
    Length,
    /// The mark of the last image in the PCI data structure.
    Last,
    /// The mark of the last image in NVIDIA's extension.
    VendorLast,
    /// The byte that makes the sum 0.
    Checksum,
}

/// One thing that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Bytes were left out.
    Cut {
        /// What they were.
        part: Part,
        /// Where they began in the old ROM.
        offset: usize,
        /// How many.
        length: usize,
    },
    /// Bytes were replaced.
    Write {
        /// What they are.
        field: Field,
        /// Where they are in the new ROM.
        offset: usize,
        /// What was there.
        before: Vec<u8>,
        /// What is there now.
        after: Vec<u8>,
    },
}

/// The result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// The new ROM.
    pub bytes: Vec<u8>,
    /// What is different, in the order in which it was done. Empty: nothing.
    pub changes: Vec<Change>,
}

/// Why it cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no image in it.
    NoImage,
    /// No image holds an EFI driver that firmware would load.
    NoDriver,
    /// The legacy image at this place has no byte that is free for the checksum.
    NoFreeByte(usize),
    /// Parts lie within each other, so that changing one breaks another.
    Tangled,
}

/// Edits a ROM.
pub fn patch(bytes: &[u8], edit: &Edit) -> Result<Patch, Refusal> {
    let patch = apply(bytes, edit)?;
    // Nothing in a ROM is where it ought to be just because a pointer says so.
    let settled = patch.changes.is_empty() || apply(&patch.bytes, edit).is_ok_and(|again| again.changes.is_empty());
    if settled { Ok(patch) } else { Err(Refusal::Tangled) }
}

fn apply(bytes: &[u8], edit: &Edit) -> Result<Patch, Refusal> {
    let rom = Rom::read(bytes);
    if rom.images.is_empty() {
        return Err(Refusal::NoImage);
    }
    let mut patch = Patch::default();
    patch.keep(bytes, &rom, edit)?;
    let images = Rom::read(&patch.bytes).images;
    if edit.only_efi {
        patch.chain(&images);
    }
    if let Some(ids) = edit.ids {
        patch.set_ids(&images, ids);
    }
    for image in images.iter().filter(|image| image.reach.bios && image.checksum.is_some()) {
        // Changed ids are no reason to mend what was wrong before.
        if edit.fix_checksum || image.checksum == Some(0) {
            patch.fix_sum(image)?;
        }
    }
    Ok(patch)
}

impl Patch {
    /// Copies what stays, and tells what does not.
    fn keep(&mut self, bytes: &[u8], rom: &Rom, edit: &Edit) -> Result<(), Refusal> {
        let mut at = rom.prefix.map_or(0, |prefix| prefix.length);
        self.cut(Part::Prefix, 0..at);
        if !edit.only_efi {
            let padding = rom.rest.filter(|rest| edit.strip_padding && rest.padding.is_some());
            let end = padding.map_or(bytes.len(), |rest| rest.offset);
            self.bytes.extend_from_slice(bytes.get(at..end).unwrap_or_default());
            self.cut(Part::Filling, end..bytes.len());
            return Ok(());
        }
        for image in &rom.images {
            self.cut(Part::Filling, at..image.offset);
            at = image.offset.saturating_add(image.length).min(bytes.len());
            if image.efi.as_ref().is_some_and(Efi::is_driver) {
                self.bytes.extend_from_slice(bytes.get(image.offset..at).unwrap_or_default());
            } else {
                self.cut(Part::Image(image.code_type()), image.offset..at);
            }
        }
        self.cut(Part::Filling, at..bytes.len());
        if self.bytes.is_empty() { Err(Refusal::NoDriver) } else { Ok(()) }
    }

    fn cut(&mut self, part: Part, range: Range<usize>) {
        if !range.is_empty() {
            self.changes.push(Change::Cut { part, offset: range.start, length: range.len() });
        }
    }

    /// Makes a chain of images that were taken out of another one.
    fn chain(&mut self, images: &[Image]) {
        let count = images.len();
        for (index, image) in images.iter().enumerate() {
            let Some(pcir) = &image.pcir else { continue };
            let last = index + 1 == count;
            if pcir.length != image.length {
                let blocks = u16::try_from(image.length / BLOCK).unwrap_or_default();
                self.write(Field::Length, pcir.offset + 0x10, &blocks.to_le_bytes());
            }
            self.mark(Field::Last, pcir.offset + 0x15, last);
            if let Some(npde) = image.npde.filter(|npde| npde.last.is_some()) {
                self.mark(Field::VendorLast, npde.offset + 0x0a, last);
            }
        }
    }

    fn mark(&mut self, field: Field, offset: usize, last: bool) {
        let flags = u8_at(&self.bytes, offset).unwrap_or_default();
        self.write(field, offset, &[if last { flags | 0x80 } else { flags & 0x7f }]);
    }

    fn set_ids(&mut self, images: &[Image], (vendor, device): (u16, u16)) {
        let seen = images.iter().filter(|image| !image.reach.is_none());
        for offset in seen.filter_map(|image| image.pcir.as_ref()).map(|pcir: &Pcir| pcir.offset) {
            self.write(Field::Vendor, offset + 4, &vendor.to_le_bytes());
            self.write(Field::Device, offset + 6, &device.to_le_bytes());
        }
    }

    fn fix_sum(&mut self, image: &Image) -> Result<(), Refusal> {
        let covered = self.bytes.get(image.offset..image.offset + image.init_length).unwrap_or_default();
        let sum = covered.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        if sum == 0 {
            return Ok(());
        }
        // What is summed up beyond the image is another one.
        let own = image.init_length <= image.length;
        let place = free_byte(covered).filter(|_| own).ok_or(Refusal::NoFreeByte(image.offset))?;
        let byte = covered.get(place).map_or(0, |byte| byte.wrapping_sub(sum));
        self.write(Field::Checksum, image.offset + place, &[byte]);
        Ok(())
    }

    fn write(&mut self, field: Field, offset: usize, after: &[u8]) {
        let Some(place) = self.bytes.get_mut(offset..offset + after.len()) else { return };
        if place != after {
            self.changes.push(Change::Write { field, offset, before: place.to_vec(), after: after.to_vec() });
            place.copy_from_slice(after);
        }
    }
}

/// So many equal bytes in a row are no code.
const FILLING: usize = 16;

/// A byte of a legacy image that is most probably neither code nor data: the last one, if it ends a filling; else byte 6, which QEMU
/// changes for the same purpose (`pci_patch_ids`, hw/pci/pci.c), if the jump at the entry (byte 3) passes over it.
fn free_byte(image: &[u8]) -> Option<usize> {
    let last = image.len().checked_sub(1)?;
    let filling = image.get(last.checked_sub(FILLING)?..last)?;
    if [[0; FILLING], [0xff; FILLING]].iter().any(|fill| filling == fill) {
        return Some(last);
    }
    let passes = match u8_at(image, 3)? {
        // jmp rel8, counted from 5.
        0xeb => (2..0x80).contains(&u8_at(image, 4)?),
        // jmp rel16, counted from 6.
        0xe9 => (1..0x8000).contains(&u16_at(image, 4)?),
        // retf.
        0xcb => true,
        _ => false,
    };
    passes.then_some(6)
}

//! Builds option ROMs of every kind, byte by byte as the specifications have them; used by unit tests, the fuzzer and the benchmark.
#![allow(dead_code)] // Each of them uses a part.

/// Vendor and device id.
pub type Ids = (u16, u16);

/// A legacy image of `blocks` times 512 bytes whose bytes sum up to 0, with its PCI data structure at 1Ch.
pub fn legacy(ids: Ids, blocks: u8) -> Vec<u8> {
    let mut image = image(ids, blocks.into(), 0x00);
    image[2] = blocks;
    image[3] = 0xcb;
    let last = image.len() - 1;
    image[last] = image.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    image
}

/// An EFI image with a driver in it, packed or not.
pub fn efi(ids: Ids, machine: u16, driver: &[u8], packed: bool) -> Vec<u8> {
    if packed { efi_packed(ids, machine, &pack(driver)) } else { efi_with(ids, machine, driver, 0) }
}

/// An EFI image with a driver that is packed already.
pub fn efi_packed(ids: Ids, machine: u16, packed: &[u8]) -> Vec<u8> {
    efi_with(ids, machine, packed, 1)
}

fn efi_with(ids: Ids, machine: u16, payload: &[u8], compression: u16) -> Vec<u8> {
    let blocks = (0x38 + payload.len()).div_ceil(512) as u16;
    let mut image = image(ids, blocks, 0x03);
    image[2..4].copy_from_slice(&blocks.to_le_bytes());
    image[4..8].copy_from_slice(&0x0ef1_u32.to_le_bytes());
    image[8..10].copy_from_slice(&11_u16.to_le_bytes());
    image[10..12].copy_from_slice(&machine.to_le_bytes());
    image[12..14].copy_from_slice(&compression.to_le_bytes());
    image[0x16..0x18].copy_from_slice(&0x38_u16.to_le_bytes());
    image[0x38..0x38 + payload.len()].copy_from_slice(payload);
    image
}

/// An image with header and PCI data structure, and otherwise empty.
pub fn image((vendor, device): Ids, blocks: u16, code_type: u8) -> Vec<u8> {
    let mut image = vec![0; usize::from(blocks) * 512];
    image[..2].copy_from_slice(&[0x55, 0xaa]);
    image[0x18..0x1a].copy_from_slice(&0x1c_u16.to_le_bytes());
    let structure = &mut image[0x1c..0x38];
    structure[..4].copy_from_slice(b"PCIR");
    structure[4..6].copy_from_slice(&vendor.to_le_bytes());
    structure[6..8].copy_from_slice(&device.to_le_bytes());
    structure[0x0a] = 0x1c;
    structure[0x0c] = 3;
    structure[0x0d..0x10].copy_from_slice(&[0x00, 0x00, 0x03]);
    structure[0x10..0x12].copy_from_slice(&blocks.to_le_bytes());
    structure[0x14] = code_type;
    image
}

/// Puts images behind each other and marks the last; legacy images keep their sum.
pub fn rom(images: &[Vec<u8>]) -> Vec<u8> {
    let mut images = images.to_vec();
    if let Some(image) = images.last_mut() {
        mark_last(image);
    }
    images.concat()
}

/// Marks an image as the last.
pub fn mark_last(image: &mut [u8]) {
    image[0x1c + 0x15] |= 0x80;
    if image[0x1c + 0x14] == 0 {
        let last = image.len() - 1;
        image[last] = image[last].wrapping_sub(0x80);
    }
}

/// Puts `NPDE` behind the PCI data structure of an image that is not EFI: its length in blocks, and whether it is the last.
pub fn extend(image: &mut [u8], blocks: u16, last: bool) {
    let at = 0x40;
    image[at..at + 4].copy_from_slice(b"NPDE");
    image[at + 4..at + 6].copy_from_slice(&0x101_u16.to_le_bytes());
    image[at + 6..at + 8].copy_from_slice(&0x10_u16.to_le_bytes());
    image[at + 8..at + 10].copy_from_slice(&blocks.to_le_bytes());
    image[at + 10] = if last { 0x80 } else { 0 };
    resum(image);
}

/// Makes the bytes of a legacy image sum up to 0 by its last byte.
pub fn resum(image: &mut [u8]) {
    if image[0x1c + 0x14] == 0 {
        let last = image.len() - 1;
        image[last] = 0;
        image[last] = image.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    }
}

/// An `NVGI` header that leads to an image at `length`, if its version is 1, 2 or 3.
pub fn nvgi(version: u8, length: usize) -> Vec<u8> {
    let mut prefix = vec![0x5a; length];
    prefix[..4].copy_from_slice(b"NVGI");
    prefix[5] = version;
    let pointer = (length as u32).to_le_bytes();
    if version < 3 {
        prefix[6..8].copy_from_slice(&0x40_u16.to_le_bytes());
        prefix[0x44..0x48].copy_from_slice(&pointer);
    } else if version == 3 {
        prefix[8..12].copy_from_slice(&0x80_u32.to_le_bytes());
        prefix[0x80..0x84].copy_from_slice(&0x100_u32.to_le_bytes());
        prefix[0x1100..0x1104].copy_from_slice(b"RFRD");
        prefix[0x1108..0x110c].copy_from_slice(&pointer);
    }
    prefix
}

/// The headers of a PE32+ driver, with something behind them.
pub fn driver(machine: u16, signed: bool) -> Vec<u8> {
    let mut file = vec![0x90; 1200];
    file[..64].fill(0);
    file[..2].copy_from_slice(b"MZ");
    file[60..64].copy_from_slice(&0x40_u32.to_le_bytes());
    file[0x40..0x1c0].fill(0);
    file[0x40..0x44].copy_from_slice(b"PE\0\0");
    file[0x44..0x46].copy_from_slice(&machine.to_le_bytes());
    let optional = 0x58;
    file[optional..optional + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
    file[optional + 108..optional + 112].copy_from_slice(&16_u32.to_le_bytes());
    if signed {
        file[optional + 112 + 4 * 8..optional + 112 + 5 * 8].copy_from_slice(&[0, 4, 0, 0, 0x80, 0, 0, 0]);
    }
    file
}

/// Packs as UEFI 2.10 section 19 has it, in the simplest way: codes of 8 bits for the 256 characters, nothing repeated.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut bits = Vec::new();
    let mut put = |value: usize, count: usize| bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    for block in bytes.chunks(0x4000) {
        put(block.len(), 16);
        // The code of code lengths has one symbol, 10: a code of 8 bits.
        put(0, 5);
        put(10, 5);
        put(256, 9);
        // No positions.
        put(0, 4);
        put(0, 4);
        block.iter().for_each(|byte| put(usize::from(*byte), 8));
    }
    let packed: Vec<u8> = bits
        .chunks(8)
        .map(|byte| byte.iter().enumerate().map(|(bit, set)| u8::from(*set) << (7 - bit)).sum())
        .collect();
    [&(packed.len() as u32).to_le_bytes()[..], &(bytes.len() as u32).to_le_bytes(), &packed].concat()
}

//! The images that firmware comes to. It believes the PCI data structure alone, and each one stops at other things.

use super::{BLOCK, SIGNATURE};
use crate::parse::bytes::{u8_at, u16_at};
use std::collections::BTreeSet;

/// Where they begin, in bytes from the start of the ROM.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// SeaBIOS (`map_pcirom`) and Linux (`pci_get_rom_size`).
    pub(super) bios: BTreeSet<usize>,
    /// edk2 (`LoadOpRomImage`).
    pub(super) uefi: BTreeSet<usize>,
}

impl Seen {
    pub(super) fn of(bytes: &[u8]) -> Seen {
        Seen { bios: bios(bytes), uefi: uefi(bytes) }
    }
}

/// An image as firmware reads it: pointer, length in bytes, marked as the last.
fn image(bytes: &[u8], at: usize) -> Option<(u16, usize, bool)> {
    let pointer = u16_at(bytes, at.checked_add(0x18)?).filter(|pointer| *pointer != 0)?;
    let structure = bytes.get(at.checked_add(pointer.into())?..)?;
    if !structure.starts_with(b"PCIR") {
        return None;
    }
    Some((pointer, usize::from(u16_at(structure, 0x10)?) * BLOCK, u8_at(structure, 0x15)? & 0x80 != 0))
}

fn bios(bytes: &[u8]) -> BTreeSet<usize> {
    let (mut seen, mut at) = (BTreeSet::new(), 0);
    while u16_at(bytes, at) == Some(SIGNATURE) {
        let Some((_, length, last)) = image(bytes, at) else { break };
        seen.insert(at);
        if last || length == 0 {
            break;
        }
        at += length;
    }
    seen
}

fn uefi(bytes: &[u8]) -> BTreeSet<usize> {
    // QEMU makes the ROM BAR a power of two (`pci_add_option_rom`, hw/pci/pci.c).
    let bar = bytes.len().next_power_of_two();
    let (mut seen, mut at) = (BTreeSet::new(), 0);
    while at < bytes.len() {
        if u16_at(bytes, at) != Some(SIGNATURE) {
            if at == 0 {
                break;
            }
            at += BLOCK;
            continue;
        }
        let Some((pointer, length, last)) = image(bytes, at) else { break };
        if pointer % 4 != 0 || at + length > bar {
            break;
        }
        seen.insert(at);
        if last || length == 0 {
            break;
        }
        at += length;
    }
    seen
}

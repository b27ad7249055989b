//! Whatever the bytes of an option ROM are: they are read, judged and patched without a panic, and what is said of them holds together.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vfioneer::checks::rom::{Firmware, Question, findings};
use vfioneer::parse::rom::{Edit, Rom, patch};
use vfioneer::report::rom::Told;

fuzz_target!(|bytes: &[u8]| {
    let rom = Rom::read(bytes);
    let mut end = 0;
    for image in &rom.images {
        assert!(image.offset >= end && image.offset < bytes.len(), "images overlap");
        end = image.offset + image.length;
    }
    assert!(!rom.images.is_empty() || !rom.faults.is_empty(), "nothing is said");
    let question = Question { name: "rom", bytes, rom: &rom, card: None, firmware: Some(Firmware::Ovmf) };
    let found = findings(&question);
    let told = Told { name: "rom", rom: &rom, card: None, findings: &found };
    // The texts are slow to make; what they are made of decides.
    if rom.faults.len() % 7 == 3 {
        let _ = told.json();
    }
    // What is done to it depends on it, so that a crash comes back with its file alone.
    let choice = bytes.iter().rev().take(64).fold(bytes.len() as u8, |sum, byte| sum.wrapping_add(*byte));
    let edit = Edit {
        only_efi: choice & 1 != 0,
        fix_checksum: choice & 2 != 0,
        ids: (choice & 4 != 0).then_some((0x10de, u16::from(choice))),
        strip_padding: choice & 8 != 0,
    };
    if let Ok(once) = patch(bytes, &edit) {
        let again = patch(&once.bytes, &edit).expect("what was patched can be patched");
        assert!(again.changes.is_empty(), "a second patch changes more: {:?}", again.changes);
    }
});

use super::*;
use crate::checks::pages;
use crate::checks::testing as t;
use crate::host::Fact;
use crate::parse::rom::roms;

/// The ids of the card in `testing::healthy()`.
fn card() -> Function {
    t::healthy().pci.get(&t::at(t::GPU)).unwrap().clone()
}

fn own() -> (u16, u16) {
    card().ids.known().map(|ids| (ids.vendor, ids.device)).unwrap()
}

fn asked(bytes: &[u8], card: Option<&Function>, firmware: Option<Firmware>) -> Vec<String> {
    let rom = Rom::read(bytes);
    let found = findings(&Question { name: "card.rom", bytes, rom: &rom, card, firmware });
    for finding in &found {
        let texts = [pages::message(finding), pages::remedy(finding)];
        assert!(texts.iter().all(|text| !text.contains('{')), "{finding:?}: {texts:?}");
    }
    t::shown(&found)
}

fn usual(ids: (u16, u16)) -> Vec<u8> {
    roms::rom(&[roms::legacy(ids, 4), roms::efi(ids, 0x8664, &roms::driver(0x8664, true), true)])
}

#[test]
fn a_good_rom_of_this_card_is_good() {
    for firmware in [None, Some(Firmware::Ovmf), Some(Firmware::Seabios)] {
        assert_eq!(asked(&usual(own()), Some(&card()), firmware), Vec::<String>::new());
    }
}

#[test]
fn a_rom_of_another_card_is_told() {
    let other = usual((0x1002, 0x744c));
    assert_eq!(asked(&other, Some(&card()), None), ["error rom-other-card card.rom"]);
    let mut amd = card();
    amd.ids = Fact::Known(Ids { vendor: 0x1002, device: 0x73bf });
    assert_eq!(asked(&usual((1002, 0x73bf)), Some(&amd), None), ["error rom-other-card/decimal card.rom"]);
    let mut network = card();
    network.class = Fact::Known(0x02_0000);
    assert_eq!(asked(&usual(own()), Some(&network), None), ["warning rom-other-card/class card.rom"]);
    let mixed = roms::rom(&[roms::legacy((1, 2), 1), roms::efi(own(), 0x8664, &roms::driver(0x8664, true), true)]);
    assert_eq!(asked(&mixed, Some(&card()), None), ["info rom-other-card/images card.rom"]);
    let seabios = asked(&mixed, Some(&card()), Some(Firmware::Seabios));
    assert_eq!(seabios, ["error rom-without-bios card.rom", "info rom-other-card/images card.rom"]);
    let mut small = card();
    small.bars = Fact::Known(vec![Bar { index: 6, start: 0xf000_0000, size: 2048, flags: 0 }]);
    assert_eq!(asked(&usual(own()), Some(&small), None), ["warning rom-larger-than-bar card.rom"]);
}

#[test]
fn what_firmware_would_not_find_is_told() {
    let legacy = roms::rom(&[roms::legacy(own(), 4)]);
    assert_eq!(asked(&legacy, None, None), ["warning rom-without-uefi card.rom"]);
    assert_eq!(asked(&legacy, None, Some(Firmware::Ovmf)), ["error rom-without-uefi card.rom"]);
    assert_eq!(asked(&legacy, None, Some(Firmware::Seabios)), ["info rom-without-uefi card.rom"]);
    let arm = roms::rom(&[roms::efi(own(), 0xaa64, &roms::driver(0xaa64, false), false)]);
    assert_eq!(asked(&arm, None, None), ["warning rom-without-uefi/machine card.rom"]);
    let prefixed = [roms::nvgi(2, 0x600), usual((0x10de, 0x2204))].concat();
    assert_eq!(asked(&prefixed, None, None), ["error rom-prefixed/nvgi card.rom"]);
}

#[test]
fn damage_is_an_error_only_if_nothing_is_left_to_run() {
    let mut legacy = roms::rom(&[roms::legacy(own(), 4)]);
    legacy[0x100] = 1;
    let expected = ["error rom-checksum-wrong card.rom", "warning rom-without-uefi card.rom"];
    assert_eq!(asked(&legacy, None, None), expected);
    let mut both = usual(own());
    both[0x100] = 1;
    assert_eq!(asked(&both, None, None), ["warning rom-checksum-wrong card.rom"]);
    assert_eq!(asked(&[], None, None), ["error rom-invalid/empty card.rom"]);
    assert_eq!(asked(&[0xff; 512], None, None), ["error rom-invalid/blank card.rom"]);
    assert_eq!(asked(b"<html>", None, None), ["error rom-invalid/no-image card.rom"]);
}

#[test]
fn a_cut_copy_of_a_boot_display_is_known() {
    let mut bytes = roms::legacy(own(), 0x78);
    bytes.extend(roms::image(own(), 200, 3));
    bytes.truncate(SHADOW);
    assert!(asked(&bytes, None, None).contains(&"error rom-truncated/shadow card.rom".to_owned()));
    bytes.truncate(100_000);
    assert!(asked(&bytes, None, None).contains(&"error rom-truncated card.rom".to_owned()));
}

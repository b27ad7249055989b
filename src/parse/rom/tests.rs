//! Constructed ROMs; those of Debian's packages are in `tests/roms.rs`.

use super::image::Reach;
use super::*;
use crate::parse::rom::patch::{Change, Field, Part, Refusal};
use proptest::prelude::*;

const CARD: (u16, u16) = (0x10de, 0x2204);
const X64: u16 = 0x8664;
const ALL: Reach = Reach { bios: true, uefi: true };
const UEFI: Reach = Reach { bios: false, uefi: true };
const VENDOR: Reach = Reach { bios: false, uefi: false };

fn problems(bytes: &[u8]) -> Vec<(usize, Problem)> {
    Rom::read(bytes).faults.into_iter().map(|fault| (fault.offset, fault.problem)).collect()
}

fn usual() -> Vec<u8> {
    roms::rom(&[roms::legacy(CARD, 4), roms::efi(CARD, X64, &roms::driver(X64, true), true)])
}

#[test]
fn a_usual_rom_is_read_whole() {
    let bytes = usual();
    let rom = Rom::read(&bytes);
    assert_eq!((rom.faults.as_slice(), rom.rest, rom.prefix), (&[][..], None, None));
    let [legacy, efi] = rom.images.as_slice() else { panic!("{rom:#?}") };
    assert_eq!((legacy.offset, legacy.length, legacy.checksum, legacy.is_last()), (0, 2048, Some(0), false));
    assert_eq!(efi.pcir.as_ref().map(|p| (p.ids(), p.class, p.last)), Some((CARD, 0x03_0000, true)));
    let driver = efi.efi.as_ref().unwrap();
    assert_eq!((driver.machine, driver.subsystem), (Machine::X86_64, Subsystem::BootServiceDriver));
    assert_eq!(driver.compression, Compression::Uefi);
    assert_eq!(driver.payload, Some(Payload { size: 1200, machine: Machine::X86_64, signed: true }));
    assert_eq!((efi.reach, rom.uefi(), rom.seabios(None).map(|i| i.offset)), (ALL, vec![Machine::X86_64], Some(0)));
    assert_eq!(rom.seabios(Some((0x10de, 0x2205))), None);
}

#[test]
fn what_is_no_rom_is_said() {
    assert_eq!(problems(&[]), [(0, Problem::Empty)]);
    assert_eq!(problems(&[0xff; 3000]), [(0, Problem::Blank(0xff))]);
    assert_eq!(problems(&[0]), [(0, Problem::Blank(0))]);
    assert_eq!(problems(&[0x55]), [(0, Problem::NoImage)]);
    assert_eq!(problems(&[0x55, 0xaa]), [(0, Problem::NoPcir), (0, Problem::LengthZero)]);
    assert_eq!(problems(b"<!DOCTYPE html>"), [(0, Problem::NoImage)]);
}

#[test]
fn broken_headers_are_told_apart() {
    let broken = |change: fn(&mut Vec<u8>)| {
        let mut bytes = roms::rom(&[roms::legacy(CARD, 1)]);
        change(&mut bytes);
        roms::resum(&mut bytes);
        problems(&bytes)
    };
    assert_eq!(broken(|b| b[0x18..0x1a].fill(0)), [(0, Problem::NoPcir)]);
    assert_eq!(broken(|b| b[0x18..0x1a].fill(0xfe)), [(0, Problem::PointerOutside(0xfefe))]);
    assert_eq!(broken(|b| b[0x18] = 0x40), [(0, Problem::NotPcir(0x40))]);
    assert_eq!(broken(|b| b[0x1c + 0x10] = 0), [(0, Problem::LengthZero)]);
    assert_eq!(broken(|b| b[0x1c + 0x10] = 3), [(0, Problem::Truncated(1024))]);
    assert_eq!(broken(|b| b[0x1c + 0x15] = 0), [(0, Problem::NoLast)]);
    assert_eq!(broken(|b| b.extend([7; 600])), []);
    let mut odd = vec![0; 2];
    odd.splice(0..0, roms::rom(&[roms::legacy(CARD, 1)]));
    odd.copy_within(0x1c..0x38, 0x1e);
    odd[0x18] = 0x1e;
    assert!(problems(&odd).contains(&(0, Problem::PointerOdd(0x1e))));
}

#[test]
fn sums_and_lengths_of_legacy_images() {
    let mut bytes = usual();
    bytes[0x100] = 3;
    assert_eq!(problems(&bytes), [(0, Problem::Checksum(3))]);
    assert!(Rom::read(&bytes).seabios(None).is_none());
    let mut long = roms::rom(&[roms::legacy(CARD, 1), roms::legacy(CARD, 1)]);
    long[2] = 2;
    assert_eq!(problems(&long)[0], (0, Problem::InitBeyond(512)));
    let mut nothing = usual();
    nothing[2] = 0;
    assert_eq!(problems(&nothing), [(0, Problem::InitZero)]);
    assert!(Rom::read(&nothing).seabios(None).is_none());
    // The byte that would mend the first image's sum is in the second.
    long[0x100] = 1;
    assert_eq!(patch(&long, &Edit { fix_checksum: true, ..Edit::default() }), Err(Refusal::NoFreeByte(0)));
}

#[test]
fn drivers_that_cannot_be_run_are_told_apart() {
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = roms::rom(&[roms::efi(CARD, X64, &roms::driver(X64, false), true)]);
        change(&mut bytes);
        (problems(&bytes).pop().unwrap().1, Rom::read(&bytes).uefi())
    };
    assert_eq!(with(|b| b[4] = 0), (Problem::NotEfi(0x0e00), vec![]));
    assert_eq!(with(|b| b[0x0c] = 2), (Problem::EfiCompression(2), vec![]));
    assert_eq!(with(|b| b[0x16..0x18].fill(0xff)), (Problem::EfiOutside, vec![]));
    assert_eq!(with(|b| b[2] = 200), (Problem::EfiOutside, vec![]));
    assert_eq!(with(|b| b[0x0c] = 0), (Problem::EfiBroken("it is no PE file".into()), vec![]));
    assert!(matches!(with(|b| b[0x40..].fill(0xff)).0, Problem::EfiBroken(_)));
    let aarch64 = Machine(0xaa64);
    assert_eq!(
        with(|b| b[0x0a..0x0c].copy_from_slice(&[0x64, 0xaa])),
        (Problem::EfiMachine(aarch64, Machine::X86_64), vec![])
    );
}

#[test]
fn a_false_length_does_not_fill_the_memory() {
    let mut bytes = roms::rom(&[roms::efi(CARD, X64, &roms::driver(X64, false), true)]);
    bytes[0x3c..0x40].fill(0xff);
    assert_eq!(
        problems(&bytes),
        [(0, Problem::EfiBroken("it would unpack to more than all drivers of a ROM have".into()))]
    );
}

#[test]
fn a_header_of_nvidia_is_passed_by_its_own_pointer() {
    for version in [2, 3] {
        // A decoy that a search would find first.
        let mut bytes = roms::nvgi(version, 0x9400);
        bytes[0x2000..0x2200].copy_from_slice(&roms::image(CARD, 1, 0));
        bytes.extend(usual());
        let rom = Rom::read(&bytes);
        assert_eq!(rom.prefix, Some(Prefix { length: 0x9400, nvgi: Some(version) }));
        assert_eq!((rom.images.len(), rom.faults.len(), rom.uefi()), (2, 0, vec![]));
        let done = patch(&bytes, &Edit::default()).unwrap();
        assert_eq!(done.bytes, usual());
        assert_eq!(done.changes, [Change::Cut { part: Part::Prefix, offset: 0, length: 0x9400 }]);
    }
}

#[test]
fn an_unknown_header_of_nvidia_is_passed_up_to_an_image_of_nvidia() {
    let mut bytes = roms::nvgi(9, 0x604);
    bytes[0x200..0x400].copy_from_slice(&roms::image((0x1002, 0x744c), 1, 0));
    bytes.extend(usual());
    assert_eq!(Rom::read(&bytes).prefix, Some(Prefix { length: 0x604, nvgi: Some(9) }));
    let other = [vec![1; 1024], usual()].concat();
    assert_eq!(Rom::read(&other).prefix, Some(Prefix { length: 1024, nvgi: None }));
}

#[test]
fn the_extension_of_nvidia_decides_where_the_next_image_is() {
    // The PCI data structure has the first image be the last; the extension knows of two more.
    let mut first = roms::legacy(CARD, 2);
    roms::mark_last(&mut first);
    roms::extend(&mut first, 2, false);
    let mut second = roms::image(CARD, 3, 0xe0);
    second[..2].copy_from_slice(b"VN");
    second[0x1c..0x20].copy_from_slice(b"NPDS");
    roms::extend(&mut second, 1, false);
    let mut third = roms::image(CARD, 1, 0x70);
    roms::extend(&mut third, 1, true);
    let rom = Rom::read(&[first, second[..512].to_vec(), third].concat());
    assert_eq!(rom.faults, []);
    let seen: Vec<_> = rom.images.iter().map(|i| (i.offset, i.code_type().unwrap(), i.reach)).collect();
    assert_eq!(seen, [(0, CodeType::Legacy, ALL), (1024, CodeType::Fwsec, VENDOR), (1536, CodeType::Nbsi, VENDOR)]);
}

#[test]
fn behind_a_gap_only_edk2_looks() {
    let bytes =
        [roms::legacy(CARD, 1), vec![0; 1024], roms::rom(&[roms::efi(CARD, X64, &roms::driver(X64, false), false)])];
    let rom = Rom::read(&bytes.concat());
    assert_eq!(rom.faults, [Fault { offset: 0, problem: Problem::Gap(1024) }]);
    assert_eq!(rom.images.iter().map(|i| i.reach).collect::<Vec<_>>(), [ALL, UEFI]);
    assert_eq!(rom.uefi(), [Machine::X86_64]);
}

#[test]
fn firmware_is_not_led_where_it_stops() {
    let good = roms::rom(&[roms::efi(CARD, X64, &roms::driver(X64, false), false)]);
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Rom::read(&bytes).uefi()
    };
    assert_eq!(with(|_| ()), [Machine::X86_64]);
    // A structure of NVIDIA's own; a length beyond the ROM BAR; a pointer that is no multiple of four.
    assert_eq!(with(|b| b[0x1c..0x20].copy_from_slice(b"NPDS")), []);
    assert_eq!(with(|b| b[0x1c + 0x10] = 0xff), []);
    assert_eq!(
        with(|b| {
            b.copy_within(0x1c..0x34, 0x1e);
            b[0x18] = 0x1e;
        }),
        []
    );
}

#[test]
fn an_extension_hides_nothing_that_firmware_sees() {
    let mut first = roms::legacy(CARD, 2);
    roms::extend(&mut first, 9, false);
    let bytes = roms::rom(&[first.clone(), roms::efi(CARD, X64, &roms::driver(X64, false), false)]);
    assert_eq!((Rom::read(&bytes).uefi(), Rom::read(&bytes).faults), (vec![Machine::X86_64], vec![]));
    // A card shows what firmware sees; the extension speaks of more.
    roms::mark_last(&mut first);
    assert_eq!(problems(&first), []);
    // A length of 0 says nothing.
    let mut none = roms::legacy(CARD, 1);
    roms::extend(&mut none, 0, false);
    assert_eq!(problems(&roms::rom(&[none])), []);
}

#[test]
fn drivers_that_cannot_be_unpacked_use_up_the_budget_too() {
    // Cut off behind the first of two blocks: 43 bits of codes, then 8 bits for each byte.
    let mut packed = roms::pack(&[7; 0x4000 + 10]);
    packed.truncate(8 + (43 + 8 * 0x4000_usize).div_ceil(8));
    let length = ((packed.len() - 8) as u32).to_le_bytes();
    packed[..4].copy_from_slice(&length);
    let mut budget = packed.len() + 0x4100;
    assert_eq!(inflate::inflate(&packed, 1 << 20, &mut budget), Err("its packed bytes end too early"));
    assert_eq!(budget, 0x100);
}

#[test]
fn padding_is_told_from_data() {
    let padded = [usual(), vec![0xff; 100]].concat();
    assert_eq!(Rom::read(&padded).rest, Some(Rest { offset: usual().len(), length: 100, padding: Some(0xff) }));
    let more = [usual(), vec![0xff, 1]].concat();
    assert_eq!(Rom::read(&more).rest, Some(Rest { offset: usual().len(), length: 2, padding: None }));
    let edit = Edit { strip_padding: true, ..Edit::default() };
    assert_eq!(patch(&padded, &edit).unwrap().bytes, usual());
    assert_eq!(patch(&more, &edit).unwrap().changes, []);
}

#[test]
fn a_device_list_is_read() {
    let mut bytes = roms::rom(&[roms::legacy(CARD, 1)]);
    bytes[0x1c + 8] = 0x64;
    bytes[0x80..0x86].copy_from_slice(&[0x05, 0x22, 0x06, 0x22, 0, 0]);
    roms::resum(&mut bytes);
    let rom = Rom::read(&bytes);
    let pcir = rom.images[0].pcir.as_ref().unwrap();
    assert_eq!(pcir.devices, [0x2205, 0x2206]);
    assert!(pcir.is_for((0x10de, 0x2206)) && !pcir.is_for((0x1002, 0x2206)) && !pcir.is_for((0x10de, 0x2207)));
}

#[test]
fn only_the_drivers_stay_and_form_a_chain() {
    let arm = roms::efi(CARD, 0xaa64, &roms::driver(0xaa64, false), true);
    let mut bytes = roms::rom(&[
        roms::legacy(CARD, 4),
        roms::efi(CARD, X64, &roms::driver(X64, false), false),
        arm,
        roms::legacy(CARD, 1),
    ]);
    bytes.extend([0xff; 512]);
    let done = patch(&bytes, &Edit { only_efi: true, ..Edit::default() }).unwrap();
    let rom = Rom::read(&done.bytes);
    assert_eq!((rom.faults.len(), rom.images.len(), rom.rest), (0, 2, None));
    assert_eq!(rom.uefi(), [Machine::X86_64, Machine(0xaa64)]);
    let cuts = done.changes.iter().filter(|change| matches!(change, Change::Cut { .. })).count();
    assert_eq!((cuts, done.changes.len()), (3, 4));
    let only_legacy = roms::rom(&[roms::legacy(CARD, 1)]);
    assert_eq!(patch(&only_legacy, &Edit { only_efi: true, ..Edit::default() }), Err(Refusal::NoDriver));
}

#[test]
fn ids_change_with_the_sum_and_nothing_else() {
    let bytes = usual();
    let edit = Edit { ids: Some((0x1002, 0x744c)), ..Edit::default() };
    let done = patch(&bytes, &edit).unwrap();
    let rom = Rom::read(&done.bytes);
    assert_eq!(rom.faults, []);
    assert!(rom.images.iter().all(|image| image.pcir.as_ref().unwrap().ids() == (0x1002, 0x744c)));
    let differ = bytes.iter().zip(&done.bytes).filter(|(a, b)| a != b).count();
    // Of each image three bytes of the ids, and the sum of the legacy one.
    assert_eq!((differ, bytes.len()), (7, done.bytes.len()));
    // What was wrong before stays wrong unless asked for.
    let mut wrong = bytes;
    wrong[0x100] = 1;
    assert!(matches!(problems(&patch(&wrong, &edit).unwrap().bytes)[..], [(0, Problem::Checksum(_))]));
    let fixed = patch(&wrong, &Edit { fix_checksum: true, ..Edit::default() }).unwrap();
    assert!(matches!(fixed.changes[..], [Change::Write { field: Field::Checksum, offset: 2047, .. }]));
    assert_eq!(problems(&fixed.bytes), []);
}

#[test]
fn the_byte_for_the_sum_is_free_or_none_is_taken() {
    let full = |entry: &[u8]| {
        let mut bytes = roms::rom(&[roms::legacy(CARD, 1)]);
        bytes[0x40..].fill(0x90);
        bytes[3..3 + entry.len()].copy_from_slice(entry);
        patch(&bytes, &Edit { fix_checksum: true, ..Edit::default() })
    };
    for entry in [&[0xeb, 0x4b][..], &[0xe9, 0x4c, 0x19], &[0xcb]] {
        assert!(matches!(full(entry).unwrap().changes[..], [Change::Write { offset: 6, .. }]), "{entry:x?}");
    }
    for entry in [&[0xeb, 0x01][..], &[0xe9, 0, 0], &[0x90]] {
        assert_eq!(full(entry), Err(Refusal::NoFreeByte(0)), "{entry:x?}");
    }
}

/// ROMs of every kind, whole or with some bytes changed, cut or added.
fn any_rom() -> impl Strategy<Value = Vec<u8>> {
    let ids = || prop_oneof![Just(CARD), (any::<u16>(), any::<u16>())];
    let machine = || prop::sample::select(vec![X64, 0xaa64, 0x014c, 0x1234]);
    let one = prop_oneof![
        (ids(), 1..6_u8).prop_map(|(ids, blocks)| roms::legacy(ids, blocks)),
        (ids(), machine(), any::<bool>(), any::<bool>()).prop_map(|(ids, m, signed, packed)| roms::efi(
            ids,
            m,
            &roms::driver(m, signed),
            packed
        )),
        (ids(), 1..5_u16, any::<u8>()).prop_map(|(ids, blocks, kind)| roms::image(ids, blocks, kind)),
        (ids(), 1..4_u16, 0..5_u16, any::<bool>()).prop_map(|(ids, blocks, length, last)| {
            let mut image = roms::image(ids, blocks, 0xe0);
            roms::extend(&mut image, length, last);
            image
        }),
        prop::collection::vec(any::<u8>(), 512..1024),
    ];
    let start = prop_oneof![
        4 => Just(Vec::new()),
        1 => (1..5_u8).prop_map(|version| roms::nvgi(version, 0x1400)),
        1 => Just(vec![3; 512]),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (start, prop::collection::vec(one, 1..5), 0..700_usize, 0..300_usize, changes).prop_map(
        |(start, images, padding, cut, changes)| {
            let mut bytes = [
                start,
                roms::rom(&images.into_iter().filter(|i| i.len() % 512 == 0 || i[0] != 0x55).collect::<Vec<_>>()),
                vec![0xff; padding],
            ]
            .concat();
            for (index, byte) in changes {
                if !bytes.is_empty() {
                    let at = index.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            bytes
        },
    )
}

fn any_edit() -> impl Strategy<Value = Edit> {
    (any::<bool>(), any::<bool>(), prop::option::of((any::<u16>(), any::<u16>())), any::<bool>())
        .prop_map(|(only_efi, fix_checksum, ids, strip_padding)| Edit { only_efi, fix_checksum, ids, strip_padding })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn images_stand_in_order_and_never_overlap(bytes in any_rom()) {
        let rom = Rom::read(&bytes);
        let mut end = 0;
        for image in &rom.images {
            prop_assert!(image.offset >= end && image.offset < bytes.len());
            end = image.offset + image.length;
        }
        prop_assert!(rom.faults.iter().all(|fault| fault.offset <= bytes.len()));
        prop_assert!(!rom.images.is_empty() || !rom.faults.is_empty());
    }

    #[test]
    fn what_is_built_is_read_back(count in 1..20_u8, packed in any::<bool>(), signed in any::<bool>(), ids in (any::<u16>(), any::<u16>())) {
        let mut images: Vec<_> = (1..=count).map(|blocks| roms::legacy(ids, blocks)).collect();
        images.push(roms::efi(ids, X64, &roms::driver(X64, signed), packed));
        let bytes = roms::rom(&images);
        let rom = Rom::read(&bytes);
        prop_assert_eq!(&rom.faults, &[]);
        let lengths: Vec<_> = rom.images.iter().map(|image| image.length).collect();
        prop_assert_eq!(lengths, images.iter().map(Vec::len).collect::<Vec<_>>());
        prop_assert_eq!(rom.images.last().unwrap().efi.as_ref().unwrap().payload.unwrap().signed, signed);
    }

    #[test]
    fn the_same_edit_once_more_changes_nothing(bytes in any_rom(), edit in any_edit()) {
        if let Ok(once) = patch(&bytes, &edit) {
            let twice = patch(&once.bytes, &edit);
            prop_assert_eq!(twice.map(|twice| twice.changes), Ok(vec![]));
        }
    }

    #[test]
    fn what_is_packed_is_unpacked(bytes in prop::collection::vec(any::<u8>(), 1..40_000)) {
        prop_assert_eq!(inflate::inflate(&roms::pack(&bytes), 1 << 20, &mut 0), Ok(bytes));
    }

    #[test]
    fn what_is_no_packed_driver_is_an_error_at_most(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut packed = bytes;
        let length = (packed.len().saturating_sub(8) as u32).to_le_bytes();
        if let Some(place) = packed.get_mut(..8) {
            place.copy_from_slice(&[length, [0, 4, 0, 0]].concat());
        }
        let _ = inflate::inflate(&packed, 1 << 20, &mut 0);
    }
}

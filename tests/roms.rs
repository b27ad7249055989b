//! Option ROMs: Debian's real ones against an independent reader, and `vfioneer rom` with files of every kind.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "support/program.rs"]
mod program;
#[path = "support/roms.rs"]
mod build;

use program::{Said, vfioneer};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const IPXE: &str = "/usr/lib/ipxe/qemu";
const SEABIOS: &str = "/usr/share/seabios";
const CARD: (u16, u16) = (0x10de, 0x2204);

/// Files of a folder whose names begin and end so, sorted.
fn files(dir: &str, start: &str, end: &str) -> Vec<PathBuf> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{dir}: {error}: tests/lab/setup.sh installs the package"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| name(path).starts_with(start) && name(path).ends_with(end))
        .collect();
    files.sort();
    files
}

fn script(name: &str) -> String {
    format!("{}/tests/support/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What the independent reader says, in its order.
fn second_opinion(files: &[PathBuf]) -> Vec<Value> {
    let output = Command::new("python3").arg(script("second_opinion.py")).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `rom show --json` in the other reader's words.
fn ours(said: &Value) -> Vec<Value> {
    let images = said["images"].as_array().unwrap().iter().filter(|image| !image["code_type"].is_null());
    images
        .map(|image| {
            let mut image = image.clone();
            let object = image.as_object_mut().unwrap();
            object.remove("seen_by");
            object.remove("npde");
            object.remove("pcir");
            if let Some(efi) = object["efi"].as_object_mut() {
                let machine = |name: &Value| match name.as_str().unwrap() {
                    "x86_64" => Value::from("8664"),
                    other => panic!("no ROM of Debian is for {other}"),
                };
                assert_eq!(efi["subsystem"], "boot-service-driver");
                efi["subsystem"] = 11.into();
                efi["machine"] = machine(&efi["machine"]);
                let mut driver = efi.remove("driver").unwrap();
                driver["machine"] = machine(&driver["machine"]);
                driver["subsystem"] = 11.into();
                efi.insert("pe".to_owned(), driver);
            }
            image
        })
        .collect()
}

fn agree(files: &[PathBuf]) {
    for (file, theirs) in files.iter().zip(second_opinion(files)) {
        let said = vfioneer(&["rom", "show", "--json", file.to_str().unwrap()]);
        said.sane("a real ROM");
        let json = said.json();
        assert_eq!(json["size"], theirs["size"], "{}", file.display());
        assert_eq!(Value::from(ours(&json)), theirs["images"], "{}", file.display());
    }
}

#[test]
fn debians_roms_hold_what_an_independent_reader_finds() {
    let mut all = files(IPXE, "", ".rom");
    all.extend(files(SEABIOS, "vgabios", ".bin"));
    assert!(all.len() >= 24, "{all:?}");
    agree(&all);
}

#[test]
fn debians_roms_are_good_for_what_they_are() {
    for file in files(IPXE, "efi-", ".rom") {
        let name = file.to_str().unwrap();
        let said = vfioneer(&["rom", "check", name, "--for", "ovmf"]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}: {}", said.out);
        // A ready negative case: one image of this one has other ids than the other.
        assert_eq!(said.out.contains("rom-other-card"), name.ends_with("efi-ne2k_pci.rom"), "{}", said.out);
        assert_eq!(vfioneer(&["rom", "check", name, "--for", "seabios"]).code, 0, "{name}");
    }
    for file in files(IPXE, "pxe-", ".rom") {
        let name = file.to_str().unwrap();
        assert_eq!(vfioneer(&["rom", "check", name, "--for", "seabios"]).code, 0, "{name}");
        assert_eq!(vfioneer(&["rom", "check", name, "--for", "ovmf"]).code, 1, "{name}");
    }
}

/// The driver of a real ROM, packed by an independent encoder with everything that the format has, in a ROM of its own.
#[test]
fn a_packed_driver_is_read_as_the_unpacked_one() {
    let dir = tempfile::tempdir().unwrap();
    let real = fs::read(format!("{IPXE}/efi-e1000e.rom")).unwrap();
    let shown = vfioneer(&["rom", "show", "--json", &format!("{IPXE}/efi-e1000e.rom")]).json();
    let image = shown["images"][1].as_object().unwrap();
    let offset = image["offset"].as_u64().unwrap() as usize;
    let start = offset + usize::from(u16::from_le_bytes([real[offset + 0x16], real[offset + 0x17]]));
    let (driver, packed) = (dir.path().join("driver"), dir.path().join("packed"));
    fs::write(&driver, &real[start..]).unwrap();
    let encoder = Command::new("python3").arg(script("efi_compress.py")).args([&driver, &packed]).status().unwrap();
    assert!(encoder.success());
    let mut bytes = build::efi_packed(CARD, 0x8664, &fs::read(&packed).unwrap());
    build::mark_last(&mut bytes);
    let rom = dir.path().join("packed.rom");
    fs::write(&rom, bytes).unwrap();
    agree(std::slice::from_ref(&rom));
    let packed = vfioneer(&["rom", "show", "--json", rom.to_str().unwrap()]).json();
    let driver = &packed["images"][0]["efi"];
    assert_eq!((driver["compressed"].as_bool(), &driver["driver"]), (Some(true), &image["efi"]["driver"]));
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn put(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.at(name), bytes).unwrap();
        self.at(name)
    }
}

fn usual() -> Vec<u8> {
    build::rom(&[build::legacy(CARD, 4), build::efi(CARD, 0x8664, &build::driver(0x8664, true), true)])
}

#[test]
fn what_is_no_rom_gets_a_clear_answer() {
    let folder = Folder::new();
    let zeros = folder.at("zeros");
    fs::File::create(&zeros).unwrap().set_len(1 << 30).unwrap();
    let mut backwards = usual();
    backwards[0x18..0x1a].copy_from_slice(&2_u16.to_le_bytes());
    let mut outside = usual();
    outside[0x18..0x1a].fill(0xff);
    let mut zero_length = usual();
    zero_length[0x1c + 0x10] = 0;
    for (name, code, words) in [
        (folder.put("empty", &[]), 1, "The file is empty"),
        (folder.put("one", &[7]), 1, "no option ROM image"),
        (folder.put("two", &[0x55, 0xaa]), 1, "no PCI data structure"),
        (folder.put("backwards", &backwards), 1, "leads to something else"),
        (folder.put("outside", &outside), 1, "leads out of the ROM"),
        (folder.put("zero-length", &zero_length), 1, "0 bytes long"),
        (zeros, 3, "larger than 32 MiB"),
        (folder.at("."), 3, "directory"),
        ("/proc/self/mem".to_owned(), 3, "input/output error"),
        (folder.at("nothing.rom"), 2, "there is no file"),
        ("no such card".to_owned(), 2, "no PCI function matches"),
    ] {
        for json in [false, true] {
            let mut args = vec!["rom", "check", &name];
            args.extend(json.then_some("--json"));
            let said = vfioneer(&args);
            said.sane(&name);
            let all = format!("{}{}", said.out, said.err).split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(said.code, code, "{name}: {all}");
            assert!(all.contains(words), "{name}: {all}");
            if json {
                said.json();
            }
        }
        let out = folder.at("out.rom");
        let said = vfioneer(&["rom", "patch", &name, "-o", &out]);
        assert!(said.code != 0 && (said.code == 1 || !Path::new(&out).exists()), "{name}: {}", said.code);
        let _ = fs::remove_file(out);
    }
}

#[test]
fn a_patch_leaves_its_input_alone_and_changes_nothing_twice() {
    let folder = Folder::new();
    let bytes = [build::nvgi(2, 0x9400), usual(), vec![0xff; 4096]].concat();
    let (from, once, twice) = (folder.put("flash.rom", &bytes), folder.at("once.rom"), folder.at("twice.rom"));
    let patch = |from: &str, to: &str| -> Said {
        vfioneer(&["rom", "patch", from, "-o", to, "--strip-padding", "--set-ids", "10DE:2206", "--fix-checksum"])
    };
    let said = patch(&from, &once);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for words in [
        "left out: what stood before the first image, 37.0 KiB",
        "device id: 04 22 is now 06 22",
        "OVMF (UEFI)  runs it",
    ] {
        assert!(said.out.contains(words), "{}", said.out);
    }
    assert_eq!(fs::read(&from).unwrap(), bytes);
    let again = patch(&once, &twice);
    assert!(again.code == 0 && again.out.contains("Nothing to change"), "{}", again.out);
    assert_eq!(fs::read(&once).unwrap(), fs::read(&twice).unwrap());
    // What is there stays, and the input under another name, too.
    let before = fs::read(&once).unwrap();
    assert_eq!(patch(&from, &once).code, 3);
    std::os::unix::fs::symlink(&from, folder.at("link.rom")).unwrap();
    for to in [from.clone(), folder.at("link.rom"), folder.at("./flash.rom")] {
        let said = vfioneer(&["rom", "patch", &from, "-o", &to, "--force"]);
        assert!(said.code == 3 && said.err.contains("would be changed itself"), "{}", said.err);
    }
    assert_eq!((fs::read(&once).unwrap(), fs::read(&from).unwrap()), (before, bytes));
    let nowhere = vfioneer(&["rom", "patch", &from, "-o", &folder.at("no/such/folder.rom")]);
    assert_eq!(nowhere.code, 3, "{}", nowhere.err);
    let mut left: Vec<_> = fs::read_dir(folder.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["flash.rom", "link.rom", "once.rom", "twice.rom"]);
}

#[test]
fn only_the_part_for_uefi_of_a_real_rom() {
    let folder = Folder::new();
    let out = folder.at("uefi.rom");
    let said = vfioneer(&["rom", "patch", &format!("{IPXE}/efi-e1000e.rom"), "-o", &out, "--only-efi", "--json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.json()["changes"][0]["what"], "image");
    agree(&[PathBuf::from(&out)]);
    let check = vfioneer(&["rom", "check", &out, "--for", "ovmf"]);
    assert_eq!(check.code, 0, "{}", check.out);
}

#[test]
fn a_card_is_read_only_on_the_running_machine() {
    let folder = Folder::new();
    for args in [["rom", "dump", "00:1f", "x.rom"], ["rom", "dump", "01:00", "/"]] {
        let said = vfioneer(&args);
        assert!(matches!(said.code, 2 | 3), "{}", said.err);
    }
    let said = vfioneer(&["rom", "dump", "01:00", &folder.put("there.rom", b"x")]);
    assert!(said.code == 3 && fs::read(folder.at("there.rom")).unwrap() == b"x", "{}", said.err);
}

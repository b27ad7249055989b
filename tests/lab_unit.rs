//! The lab's comparisons, tried on samples: an honest answer passes, and each kind of lie is caught.
#![allow(dead_code, missing_docs, clippy::disallowed_methods)]

#[path = "lab/cards.rs"]
mod cards;
#[path = "lab/cells.rs"]
mod cells;
#[path = "lab/findings.rs"]
mod findings;
#[path = "lab/listing.rs"]
mod listing;
#[path = "lab/machine.rs"]
mod machine;
#[path = "lab/recorded.rs"]
mod recorded;
#[path = "lab/swifts.rs"]
mod swifts;
#[path = "lab/takes.rs"]
mod takes;
#[path = "lab/tree.rs"]
mod tree;
#[path = "lab/variant.rs"]
mod variant;

use cells::{Cell, State, Vendor};
use recorded::Pseudonyms;
use serde_json::{Value, json};

const SYSFS: &str = "0000:00:04.0 vendor 0x1b36
0000:00:04.0 device 0x000c
0000:00:04.0 subsystem_vendor 0x0000
0000:00:04.0 subsystem_device 0x0000
0000:00:04.0 class 0x060400
0000:00:04.0 numa_node -1
0000:00:04.0 driver pcieport
0000:00:04.0 iommu_group 3
0000:00:04.0 parent pci0000:00
0000:01:00.0 vendor 0x8086
0000:01:00.0 device 0x10d3
0000:01:00.0 subsystem_vendor 0x8086
0000:01:00.0 subsystem_device 0x0000
0000:01:00.0 class 0x020000
0000:01:00.0 numa_node 0
0000:01:00.0 reset_method flr bus
0000:01:00.0 iommu_group 9
0000:01:00.0 parent 0000:00:04.0
";

const LSPCI: &str = "Slot:\t0000:00:04.0
Class:\tPCI bridge [0604]
Vendor:\tRed Hat, Inc. [1b36]
Device:\tQEMU PCIe Root port [000c]
Driver:\tpcieport
IOMMUGroup:\t3

Slot:\t0000:01:00.0
Class:\tEthernet controller [0200]
Vendor:\tIntel Corporation [8086]
Device:\tDevice [10d3]
SVendor:\tIntel Corporation [8086]
SDevice:\tDevice [0000]
ProgIf:\t00
Module:\te1000e
NUMANode:\t0
IOMMUGroup:\t9

";

fn honest() -> Value {
    json!({"schema": "vfioneer/list/1", "host": {}, "devices": [
        {"address": "0000:00:04.0", "vendor_id": "1b36", "device_id": "000c", "subsystem_vendor_id": null,
         "subsystem_device_id": null, "class": "060400", "vendor": "Red Hat, Inc.", "name": "QEMU PCIe Root port",
         "driver": "pcieport", "iommu_group": 3, "numa_node": null, "boot_display": null, "reset_methods": [],
         "parent": null},
        {"address": "0000:01:00.0", "vendor_id": "8086", "device_id": "10d3", "subsystem_vendor_id": "8086",
         "subsystem_device_id": "0000", "class": "020000", "vendor": "Intel Corporation", "name": "82574L",
         "driver": null, "iommu_group": 9, "numa_node": 0, "boot_display": null, "reset_methods": ["flr", "bus"],
         "parent": "0000:00:04.0"}]})
}

fn listing_problems(list: &Value) -> Vec<String> {
    listing::compare(list, &listing::parse_lspci(LSPCI), &listing::parse_sysfs(SYSFS))
}

#[test]
fn honest_list_passes() {
    assert_eq!(listing_problems(&honest()), Vec::<String>::new());
}

#[test]
fn every_wrong_field_of_a_list_is_caught() {
    let lies = [
        ("vendor_id", json!("8087")),
        ("device_id", json!("10d4")),
        ("subsystem_vendor_id", json!(null)),
        ("subsystem_device_id", json!("0001")),
        ("class", json!("020001")),
        ("vendor", json!("Intel")),
        ("driver", json!("vfio-pci")),
        ("iommu_group", json!(null)),
        ("numa_node", json!(null)),
        ("boot_display", json!(true)),
        ("reset_methods", json!(["bus", "flr"])),
        ("parent", json!(null)),
    ];
    for (key, lie) in lies {
        let mut list = honest();
        list["devices"][1][key] = lie;
        assert!(!listing_problems(&list).is_empty(), "{key}");
    }
    let mut list = honest();
    list["devices"].as_array_mut().unwrap().pop();
    assert!(!listing_problems(&list).is_empty(), "a function is missing");
}

fn check(id: &str, severity: &str, subject: &str) -> Value {
    json!({"schema": "vfioneer/check/1", "verdict": "fixable", "findings": [{"id": id, "severity": severity,
        "subject": subject, "message": "m", "evidence": [{"source": "/proc/cmdline", "line": 1, "text": "t"}],
        "fix": {"kind": "plan", "text": "f"}}]})
}

#[test]
fn findings_must_fit_the_state() {
    let expected = |state| Cell { variant: variant::Variant::usual(13), vendor: Vendor::Amd, state }.expected();
    let off = check("iommu-off-in-kernel", "error", "host");
    assert_eq!(findings::compare(&off, 1, &expected(State::OffInKernel), false), Vec::<String>::new());
    assert!(!findings::compare(&off, 0, &expected(State::OffInKernel), false).is_empty(), "exit code");
    assert!(!findings::compare(&off, 1, &expected(State::Good), false).is_empty(), "false accusation");
    assert!(!findings::compare(&off, 1, &expected(State::OffInFirmware), false).is_empty(), "missing");
    let won = check("native-driver-won", "warning", "0000:02:00.0");
    assert!(!findings::compare(&won, 0, &expected(State::NativeDriver), false).is_empty(), "another device");
    let noise = check("cmdline-word-without-effect", "info", "host");
    assert_eq!(findings::compare(&noise, 0, &expected(State::Good), false), Vec::<String>::new());
    let mut bare = check("group-shared", "warning", cells::SHARED_GPU);
    bare["findings"][0]["evidence"] = json!([]);
    assert!(!findings::compare(&bare, 0, &expected(State::SharedGroup), true).is_empty(), "no evidence");
}

#[test]
fn a_recording_may_differ_by_stable_pseudonyms_only() {
    let live = json!({"host": "labhost", "text": "eth0 of labhost"});
    let differ = |recorded: Value| Pseudonyms::default().compare(&live, &recorded, &["labhost"]).len();
    assert_eq!(differ(json!({"host": "host-1", "text": "eth0 of host-1"})), 0);
    assert_eq!(differ(json!({"host": "host-1", "text": "eth0 of host-2"})), 1, "not stable");
    assert_eq!(differ(json!({"host": "host-1", "text": "eth1 of host-1"})), 1, "nothing secret");
    assert_eq!(differ(json!({"host": "host-1"})), 1, "a key is missing");
}

#[test]
fn a_capture_that_leaks_is_caught() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("host.tar.zst");
    let mut tar = tar::Builder::new(zstd::Encoder::new(std::fs::File::create(&file).unwrap(), 1).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(20);
    header.set_cksum();
    tar.append_data(&mut header, "etc/hosts", &b"127 LabHost\nbaL\xfe\xff\x00TR"[..]).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    assert_eq!(recorded::leaks(&file, &["labhost", "other"]).unwrap(), ["capture: etc/hosts holds labhost"]);
    assert_eq!(recorded::leaks(&file, &["52:54:00:4c:61:62"]).unwrap().len(), 1);
}

#[test]
fn every_difference_of_two_trees_is_told() {
    let one = "dir\t755\t0:0\tboot\t\ndir\t755\t0:0\tusr/bin\t\nfile\t644\t0:0\tetc/fstab\tabc\n";
    let differ = |other: &str| tree::differences(one, other, &["ignored"]);
    assert_eq!(differ(one), Ok(vec![]));
    assert_eq!(differ(&format!("{one}file\t644\t0:0\tetc/ignored\tabc\n")), Ok(vec![]));
    for (from, to) in [("644", "600"), ("0:0\tetc/fstab", "1:0\tetc/fstab"), ("abc", "abd"), ("file", "link")] {
        assert_eq!(differ(&one.replace(from, to)).map(|all| all.len()), Ok(1), "{from}");
    }
    assert_eq!(differ(&format!("{one}file\t644\t0:0\tetc/new\tabc\n")).map(|all| all.len()), Ok(1));
    assert!(differ("dir\t755\t0:0\tboot\t\n").is_err(), "a listing that broke off");
}

#[test]
fn the_subset_has_every_release_vendor_and_most_states() {
    let names: Vec<String> = cells::all().iter().map(Cell::name).collect();
    for part in ["debian12", "debian13", "intel", "amd"] {
        assert!(cells::SUBSET.iter().any(|name| name.contains(part)), "{part}");
    }
    assert!(cells::SUBSET.iter().all(|name| names.iter().any(|other| other == name)));
}

#[test]
fn the_subset_takes_on_every_release_vendor_and_generator() {
    let names: Vec<String> = takes::all().iter().map(takes::Take::name).collect();
    let words = ["debian12", "debian13", "intel", "amd", "grub-bios", "grub-uefi", "uki", "tools", "dracut", "lvm"];
    for part in words {
        assert!(takes::SUBSET.iter().any(|name| name.contains(part)), "{part}");
    }
    assert!(takes::SUBSET.iter().all(|name| names.iter().any(|other| other == name)));
    let proven: Vec<&str> = include_str!("lab/proven.txt").lines().collect();
    let swifts: Vec<String> = swifts::all().iter().map(swifts::Swift::name).collect();
    let all = || names.iter().chain(&swifts);
    assert!(proven.iter().all(|name| all().any(|other| other == name)) && proven.is_sorted());
    let once: std::collections::BTreeSet<&String> = all().collect();
    assert_eq!(once.len(), all().count(), "a name is not unique");
    assert!(swifts::SUBSET.iter().all(|name| swifts.iter().any(|other| other == name)));
}

#[test]
fn every_swift_cell_has_its_script_and_every_script_its_cell() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/guest");
    let wanted: std::collections::BTreeSet<String> = swifts::all().iter().flat_map(swifts::Swift::scripts).collect();
    for entry in std::fs::read_dir(folder.join("swift")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("swift/{}", path.file_name().unwrap().to_str().unwrap());
        if name.ends_with(".sh") {
            assert!(wanted.contains(&name), "no cell runs {name}");
        }
        if !name.ends_with(".shellcheckrc") {
            let output = std::process::Command::new("shellcheck").arg(&path).output().unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
        }
    }
    assert!(wanted.iter().all(|name| folder.join(name).is_file()), "a script is missing: {wanted:?}");
}

#[test]
fn cards_have_a_bus_each_and_a_name_each() {
    use cards::Card;
    let cards = [Card::Gpu, Card::Bridge, Card::Multi, Card::Gpu];
    let wanted = "gpu=0000:01:00.0\nbridge=0000:02:00.0\nshared1=0000:03:01.0\nshared2=0000:03:02.0\n\
        multi0=0000:04:00.0\nmulti1=0000:04:00.1\nmulti2=0000:04:00.2\ngpu2=0000:05:00.0\n";
    assert_eq!(cards::addresses(&cards), wanted);
}

//! A ROM file as part of a goal, as a user types it: planned, applied, verified and rolled back on a constructed host.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;

use hosts::roms;
use program::vfioneer;
use serde_json::Value;

/// Its card is claimed already: the ROM is all there is to do.
const DONE: &str = "pve8-amd-sdboot-zfs-passthrough";
const CARD: (u16, u16) = (0x1002, 0x73bf);

#[test]
fn a_rom_is_put_where_proxmox_reads_it_and_taken_away_again() {
    let (host, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    hosts::write(&hosts::tree(&hosts::load(DONE)), host.path()).unwrap();
    let root = host.path().to_str().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = own.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = write("a card.rom", &roms::rom(&[roms::legacy(CARD, 4)]));
    let other = write("other.rom", &roms::rom(&[roms::legacy((0x10de, 0x2204), 4)]));
    let plan_file = own.path().join("plan.json");
    let plan_file = plan_file.to_str().unwrap();
    let run = |args: &[&str]| vfioneer(&[&["--root", root], args].concat());

    // What is not the card's is refused, and can be insisted on.
    let said = run(&["plan", "0b:00", "--rom", &other]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(said.out.contains("10de:2204") && said.out.contains("--allow rom"), "{}", said.out);
    assert_eq!(run(&["plan", "0b:00", "--rom", &other, "--allow", "rom"]).code, 0);
    let said = run(&["plan", "0b:00", "--rom", "/nowhere.rom"]);
    assert_eq!((said.code, said.err.contains("there is no file /nowhere.rom")), (2, true), "{}", said.err);
    let said = run(&["plan", "--rom", &good]);
    assert_eq!((said.code, said.err.contains("no device is named")), (2, true), "{}", said.err);

    let said = run(&["plan", "0b:00", "--rom", &good]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("write /usr/share/kvm/vfioneer-1002-73bf-"), "{}", said.out);
    assert!(said.out.contains("romfile=vfioneer-1002-73bf-") && said.out.contains("rom-without-uefi"), "{}", said.out);
    assert!(said.out.contains(&format!("apply 0b:00 --rom '{good}'")), "{}", said.out);

    // By way of a plan file, which holds the ROM.
    assert_eq!(run(&["plan", "0b:00", "--rom", &good, "-o", plan_file]).code, 0);
    let plan: Value = serde_json::from_str(&std::fs::read_to_string(plan_file).unwrap()).unwrap();
    let [step] = plan["steps"].as_array().unwrap().as_slice() else { panic!("{plan:#}") };
    assert!(step["after"]["base64"].is_string() && step["before_sha256"].is_null(), "{step:#}");
    assert_eq!(plan["reboot"], false);
    let said = run(&["apply", plan_file]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let there = host.path().join(step["path"].as_str().unwrap().trim_start_matches('/'));
    assert_eq!(std::fs::read(&there).unwrap(), std::fs::read(&good).unwrap());

    let said = run(&["plan", "0b:00", "--rom", &good, "--check"]);
    assert_eq!(said.code, 0, "planned again, there is nothing to do: {}", said.out);
    let said = run(&["verify"]);
    assert!(said.out.contains("vfioneer-1002-73bf-"), "{}{}", said.out, said.err);
    let said = run(&["rollback", "--yes"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(!there.exists());

    // A ROM that is another one by now is another plan.
    std::fs::write(&good, roms::rom(&[roms::legacy(CARD, 2)])).unwrap();
    let said = run(&["apply", plan_file]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(!there.exists());
}

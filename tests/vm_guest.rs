//! `vm guest` on constructed hosts: the ids by which a guest knows each device, and scripts that its programs can read.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;

use program::{Said, run, vfioneer};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const HOST: &str = "pve8-amd-sdboot-zfs-passthrough";

fn guest(host: &Path, out: &Path, args: &[&str]) -> Said {
    let place = ["--root", host.to_str().unwrap(), "vm", "guest", "-o", out.to_str().unwrap()];
    vfioneer(&[&place, args].concat())
}

fn written(name: &str) -> tempfile::TempDir {
    let host = tempfile::tempdir().unwrap();
    hosts::write(&hosts::tree(&hosts::load(name)), host.path()).unwrap();
    host
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A number of a function's configuration space.
fn number(config: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([config[at], config[at + 1]])
}

/// Each function of a card is there with the numbers of its configuration space, and no other one: the last display of each host.
#[test]
fn every_host() {
    let names = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts")).unwrap();
    let mut seen = 0;
    for name in names.map(|entry| entry.unwrap()).filter(|entry| entry.path().join("host.toml").is_file()) {
        let name = name.file_name().into_string().unwrap();
        let host = written(&name);
        let devices = host.path().join("sys/bus/pci/devices");
        let Ok(entries) = std::fs::read_dir(&devices) else { continue };
        let all: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let slots: BTreeSet<&str> = all
            .iter()
            .filter(|address| text(&devices.join(address).join("class")).starts_with("0x03"))
            .filter(|address| !devices.join(address).join("physfn").exists())
            .map(|address| address.rsplit_once('.').unwrap().0)
            .collect();
        if let Some(slot) = slots.last() {
            let mut wanted = BTreeSet::new();
            for address in all.iter().filter(|address| address.starts_with(&format!("{slot}."))) {
                if devices.join(address).join("physfn").exists() {
                    continue;
                }
                let config = std::fs::read(devices.join(address).join("config")).unwrap();
                wanted.insert(format!(
                    "    'VEN_{:04X}&DEV_{:04X}&SUBSYS_{:04X}{:04X}&REV_{:02X}'",
                    number(&config, 0),
                    number(&config, 2),
                    number(&config, 0x2e),
                    number(&config, 0x2c),
                    config[8]
                ));
            }
            let out = tempfile::tempdir().unwrap();
            let said = guest(host.path(), out.path(), &[slot, "--windows"]);
            said.sane(&name);
            assert_eq!(said.code, 0, "{name} {slot}: {}", said.err);
            let script = text(&out.path().join("msi.ps1"));
            let found: BTreeSet<String> = script
                .lines()
                .filter(|line| line.starts_with("    'VEN_"))
                .map(|line| line.trim_end_matches(',').to_owned())
                .collect();
            assert_eq!(found, wanted, "{name} {slot}");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn files_are_written_once_and_nothing_is_overwritten() {
    let host = written(HOST);
    let here = tempfile::tempdir().unwrap();
    let out = here.path().join("new");
    let said = guest(host.path(), &out, &["0b:00", "--windows", "--json"]);
    let json = said.json();
    assert_eq!((&json["schema"], &json["files"][1]["written"]), (&"vfioneer/vm-guest/1".into(), &true.into()));
    assert_eq!(json["functions"].as_array().unwrap().len(), 2);
    let again = guest(host.path(), &out, &["0b:00", "--windows"]);
    assert!(again.code == 0 && again.out.contains("Is there already"), "{}{}", again.out, again.err);
    // The page of Linux is another one, and stands in the way of nothing but itself.
    let other = guest(host.path(), &out, &["0b:00", "--linux"]);
    other.sane("another page");
    assert_eq!((other.code, out.join("check.sh").exists()), (3, false), "{}", other.err);
    std::fs::write(here.path().join("file"), "").unwrap();
    assert!(Command::new("mkfifo").arg(out.join("check.sh")).status().unwrap().success());
    for wrong in ["file", "none/new", "new"] {
        let said = guest(host.path(), &here.path().join(wrong), &["0b:00", "--linux"]);
        said.sane(wrong);
        assert_eq!(said.code, 3, "{wrong}: {}", said.err);
    }
    // Without a folder, one is made that is named by the device.
    let said = run(Command::new(env!("CARGO_BIN_EXE_vfioneer")).current_dir(here.path()).args([
        "--root",
        host.path().to_str().unwrap(),
        "vm",
        "guest",
        "0b:00",
        "--linux",
    ]));
    assert!(said.code == 0 && here.path().join("1002-73bf-linux/check.sh").is_file(), "{}", said.err);
}

#[test]
fn wrong_input() {
    let host = written(HOST);
    let out = tempfile::tempdir().unwrap();
    let path = r"PCI\VEN_1002&DEV_73BF&SUBSYS_E4371DA2&REV_C3\6&2A4B&0&0008";
    let other = r"PCI\VEN_10DE&DEV_73BF&SUBSYS_E4371DA2&REV_C3\6&2A4B&0&0008";
    for (args, code) in [
        (vec!["0b:00"], 2),
        (vec!["0b:00", "--windows", "--linux"], 2),
        (vec!["0b:00", "--linux", "--instance", path], 2),
        (vec!["0b:00", "--windows", "--instance", other], 2),
        (vec!["0b:00", "--windows", "--instance", "4&1\n[HKEY_LOCAL_MACHINE]"], 2),
        (vec!["nothing", "--windows"], 2),
        (vec!["", "--windows"], 2),
        (vec!["00:01.1", "--windows"], 3),
    ] {
        let said = guest(host.path(), &out.path().join("new"), &args);
        said.sane(&format!("{args:?}"));
        assert_eq!(said.code, code, "{args:?}: {}", said.err);
    }
    assert!(!out.path().join("new").exists());
    let said = guest(host.path(), out.path(), &["0b:00", "--windows", "--instance", path]);
    assert_eq!(said.code, 0, "{}", said.err);
    let bytes = std::fs::read(out.path().join("msi.reg")).unwrap();
    assert!(bytes.starts_with(&[0xff, 0xfe]) && bytes.len().is_multiple_of(2));
}

/// The script for Linux is run here, on hosts that stand for guests; and read by shellcheck.
#[test]
fn the_script_for_linux() {
    for (name, device, driver, code) in [
        (HOST, "0b:00", "vfio-pci, which", 1),
        ("ubuntu24.04-intel-grub-gpu-and-igpu", "01:00", "", 0),
        ("debian12-amd-grub-nvme-twins", "nvme", "nvme", 0),
    ] {
        let host = written(name);
        let devices = host.path().join("sys/bus/pci/devices");
        let device = if device == "nvme" { first_nvme(&devices) } else { device.to_owned() };
        let out = tempfile::tempdir().unwrap();
        let said = guest(host.path(), out.path(), &[&device, "--linux"]);
        assert_eq!(said.code, 0, "{name}: {}", said.err);
        let script = out.path().join("check.sh");
        let read = Command::new("shellcheck").arg(&script).output().unwrap();
        assert!(read.status.success(), "{name}: {}", String::from_utf8_lossy(&read.stdout));
        let etc = tempfile::tempdir().unwrap();
        std::fs::create_dir(etc.path().join("modprobe.d")).unwrap();
        std::fs::write(etc.path().join("cmdline"), "quiet vfio-pci.ids=1:2 nomodesetting\n").unwrap();
        let look = |etc: &Path| {
            let mut command = Command::new("sh");
            command.arg(&script).env("SYS", host.path().join("sys")).env("ETC", etc).env("PROC", etc);
            run(&mut command)
        };
        let said = look(etc.path());
        assert_eq!(said.code, code, "{name}: {}{}", said.out, said.err);
        assert!(said.out.contains(&format!("driver: {driver}")) && said.out.contains(&device), "{}", said.out);
        assert!(said.out.contains("on the command line: vfio-pci.ids=1:2"), "{}", said.out);
        let blacklist = "blacklist nothing_of_ours\nblacklist amdgpu\nblacklist nvme\nblacklist nouveau\n";
        std::fs::write(etc.path().join("modprobe.d/x.conf"), blacklist).unwrap();
        std::fs::write(etc.path().join("cmdline"), "nomodeset\n").unwrap();
        let said = look(etc.path());
        let gpu = !driver.starts_with("nvme");
        assert_eq!(said.out.contains("! on the command line: nomodeset"), gpu, "{}", said.out);
        assert!(said.out.matches(": blacklist ").count() == 1 && !said.out.contains("of_ours"), "{}", said.out);
        // In a guest without the device.
        let said = run(Command::new("sh").arg(&script).env("SYS", etc.path()).env("ETC", etc.path()));
        assert!(said.code == 1 && said.out.contains("! not in this guest"), "{}{}", said.out, said.err);
    }
}

fn first_nvme(devices: &Path) -> String {
    let mut all: Vec<String> = std::fs::read_dir(devices)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|address| text(&devices.join(address).join("class")).starts_with("0x0108"))
        .filter(|address| std::fs::read_link(devices.join(address).join("driver")).is_ok_and(|to| to.ends_with("nvme")))
        .collect();
    all.sort();
    all.swap_remove(0)
}

/// Where there is a PowerShell, it reads the script; `src/adapters/vm/guest/tests.rs` says what is tried without.
#[test]
fn the_script_for_windows() {
    let host = written(HOST);
    let out = tempfile::tempdir().unwrap();
    assert_eq!(guest(host.path(), out.path(), &["0b:00", "--windows"]).code, 0);
    let script = out.path().join("msi.ps1");
    let bytes = std::fs::read(&script).unwrap();
    assert!(bytes.starts_with(&[0xef, 0xbb, 0xbf]));
    let parse = format!(
        "$e = $null; [void][System.Management.Automation.Language.Parser]::ParseFile('{}', [ref]$null, [ref]$e); \
         $e | ForEach-Object {{ $_.Message }}; exit $e.Count",
        script.display()
    );
    if let Ok(read) = Command::new("pwsh").args(["-NoProfile", "-Command", &parse]).output() {
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stdout));
    }
}

//! What real firmware does with patched ROMs: OVMF and SeaBIOS in QEMU, with iPXE's ROM on an emulated network card.
//!
//! iPXE says its name on the console when firmware has started it. Each answer is compared with what `vfioneer rom show` foretold.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/program.rs"]
mod program;
#[path = "support/roms.rs"]
mod build;

use program::vfioneer;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const IPXE: &str = "/usr/lib/ipxe/qemu";
/// The ids of QEMU's e1000e.
const CARD: &str = "8086:10d3";
/// An emulated processor is slow, and this machine may have other work.
const LIMIT: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, PartialEq)]
enum Firmware {
    Ovmf,
    SeaBios,
}

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Lab {
        Lab { dir: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.at(name), bytes).unwrap();
        self.at(name)
    }

    /// `vfioneer rom patch`.
    fn patched(&self, from: &Path, options: &[&str]) -> PathBuf {
        let to = self.at("patched.rom");
        let mut args = vec!["rom", "patch", from.to_str().unwrap(), "-o", to.to_str().unwrap(), "--force"];
        args.extend(options);
        let said = vfioneer(&args);
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        to
    }

    /// Does the firmware start iPXE? Boots until it does, or says that there is nothing to boot.
    fn runs(&self, firmware: Firmware, rom: &Path) -> bool {
        let log = self.at("console");
        let vars = self.at("vars");
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-display", "none", "-monitor", "none"]);
        qemu.args(["-accel", "tcg", "-m", "256", "-no-reboot", "-M", "q35,graphics=off", "-serial"]);
        qemu.arg(format!("file:{}", log.display()));
        if firmware == Firmware::Ovmf {
            fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &vars).unwrap();
            qemu.args(["-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd", "-drive"]);
            qemu.arg(format!("if=pflash,format=raw,file={}", vars.display()));
        }
        qemu.args(["-netdev", "user,id=net", "-device"]);
        qemu.arg(format!("e1000e,netdev=net,romfile={}", rom.display()));
        let mut child = qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        let answer = loop {
            let console = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
            if console.contains("iPXE") {
                break true;
            }
            if ["No bootable", "Press any key to enter the Boot Manager", "Shell>"]
                .iter()
                .any(|end| console.contains(end))
            {
                break false;
            }
            assert!(start.elapsed() < LIMIT && child.try_wait().unwrap().is_none(), "{}: {console}", rom.display());
            std::thread::sleep(Duration::from_millis(100));
        };
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_file(log).unwrap();
        answer
    }

    /// The same, and the program knows it beforehand.
    #[track_caller]
    fn expect(&self, firmware: Firmware, rom: &Path, runs: bool) {
        let shown = vfioneer(&["rom", "show", "--json", rom.to_str().unwrap()]).json();
        let foretold = &shown[if firmware == Firmware::Ovmf { "uefi" } else { "bios" }];
        assert_eq!(foretold.as_bool(), Some(runs), "{shown}");
        assert_eq!(self.runs(firmware, rom), runs, "{}", rom.display());
    }
}

#[test]
fn ovmf_runs_the_part_for_uefi_and_nothing_behind_a_prefix() {
    let lab = Lab::new();
    let real = fs::read(format!("{IPXE}/efi-e1000e.rom")).unwrap();
    let prefixed = lab.put("prefixed.rom", &[vec![0x5a; 1024], real].concat());
    lab.expect(Firmware::Ovmf, &prefixed, false);
    lab.expect(Firmware::Ovmf, &lab.patched(&prefixed, &["--only-efi"]), true);
}

#[test]
fn ovmf_unpacks_what_the_program_unpacks() {
    let lab = Lab::new();
    let real = fs::read(format!("{IPXE}/efi-e1000e.rom")).unwrap();
    let shown = vfioneer(&["rom", "show", "--json", &format!("{IPXE}/efi-e1000e.rom")]).json();
    let offset = shown["images"][1]["offset"].as_u64().unwrap() as usize;
    let start = offset + usize::from(u16::from_le_bytes([real[offset + 0x16], real[offset + 0x17]]));
    let (driver, packed) = (lab.put("driver", &real[start..]), lab.at("packed"));
    let script = format!("{}/tests/support/efi_compress.py", env!("CARGO_MANIFEST_DIR"));
    assert!(Command::new("python3").arg(script).args([&driver, &packed]).status().unwrap().success());
    let mut rom = build::efi_packed((0x8086, 0x10d3), 0x8664, &fs::read(packed).unwrap());
    build::mark_last(&mut rom);
    lab.expect(Firmware::Ovmf, &lab.put("packed.rom", &rom), true);
}

#[test]
fn seabios_asks_for_the_right_sum_and_ids() {
    let lab = Lab::new();
    let mut real = fs::read(format!("{IPXE}/pxe-e1000e.rom")).unwrap();
    lab.expect(Firmware::SeaBios, &lab.put("real.rom", &real), true);
    // In its header, where nothing is read.
    real[7] = real[7].wrapping_add(1);
    let changed = lab.put("changed.rom", &real);
    lab.expect(Firmware::SeaBios, &changed, false);
    lab.expect(Firmware::SeaBios, &lab.patched(&changed, &["--fix-checksum"]), true);
    // The ROM of another card: SeaBIOS passes it by until it has the card's ids.
    let other = PathBuf::from(format!("{IPXE}/pxe-e1000.rom"));
    assert!(!lab.runs(Firmware::SeaBios, &other));
    assert!(lab.runs(Firmware::SeaBios, &lab.patched(&other, &["--set-ids", CARD])));
}

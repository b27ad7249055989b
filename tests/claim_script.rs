//! The claim script in the shells of initramfs images, on constructed hosts; the claims are those that the program makes.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "support/claim/mod.rs"]
mod claim;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use claim::{Ids, Machine, SHELLS, config};

const PORT: Ids = (0x8086, 0x4c01, 0, 0);
const GPU: Ids = (0x10de, 0x2684, 0x1043, 0x889a);
const SOUND: Ids = (0x10de, 0x22ba, 0x1043, 0x889a);

const SERIAL: u64 = 0x0102_0304_0506_a7ff;

/// A GPU with its sound function behind a root port.
fn card(machine: &Machine, port: &str, bus: &str) {
    let chain = format!("pci0000:00/0000:00:{port}/0000:{bus}:00");
    machine.add(&format!("{chain}.0"), GPU);
    machine.add(&format!("{chain}.1"), SOUND);
}

/// A root port.
fn port(machine: &Machine, at: &str) {
    machine.add(&format!("pci0000:00/0000:00:{at}"), PORT);
}

/// Moves a card to another port, bus number included.
fn replug(machine: &Machine, from: (&str, &str), to: (&str, &str)) {
    for function in 0..2 {
        machine.remove(&format!("pci0000:00/0000:00:{}/0000:{}:00.{function}", from.0, from.1));
    }
    card(machine, to.0, to.1);
}

fn one_card() -> Machine {
    let machine = Machine::new();
    port(&machine, "01.0");
    card(&machine, "01.0", "01");
    port(&machine, "02.0");
    machine
}

fn two_cards() -> Machine {
    let machine = one_card();
    card(&machine, "02.0", "02");
    port(&machine, "03.0");
    machine
}

/// Runs a case in every shell, each on a host of its own.
fn in_all_shells(case: impl Fn(&[&str])) {
    SHELLS.iter().for_each(|shell| case(shell));
}

fn on_vfio(machine: &Machine) -> Vec<String> {
    let mut taken: Vec<String> = fs::read_dir(machine.path("sys/bus/pci/devices"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|address| machine.driver(address).is_some_and(|driver| driver.contains("vfio")))
        .collect();
    taken.sort();
    taken
}

#[test]
fn a_card_is_claimed_before_its_driver_is_there() {
    in_all_shells(|shell| {
        let machine = one_card();
        machine.claim(&["0000:01:00.0", "0000:01:00.1"]);
        let run = machine.run(shell);
        assert_eq!(run.log, ["0000:01:00.0 is claimed by vfio-pci", "0000:01:00.1 is claimed by vfio-pci"]);
        let device = |function| format!("/sys/bus/pci/devices/0000:01:00.{function}/driver_override vfio-pci");
        let probe = |function| format!("/sys/bus/pci/drivers_probe 0000:01:00.{function}");
        // The module comes first, and once.
        assert_eq!(run.writes, ["modprobe vfio-pci", &device(0), &probe(0), &device(1), &probe(1)]);
        // Once more, as after a reload: nothing is written.
        let run = machine.run(shell);
        assert_eq!(run.log, ["0000:01:00.0 is on vfio-pci already", "0000:01:00.1 is on vfio-pci already"]);
        assert!(run.writes.is_empty());
    });
}

#[test]
fn a_twin_is_never_taken() {
    in_all_shells(|shell| {
        let machine = two_cards();
        machine.claim(&["0000:02:00.0", "0000:02:00.1"]);
        machine.run(shell);
        assert_eq!(on_vfio(&machine), ["0000:02:00.0", "0000:02:00.1"]);
        // The claimed one was taken out: its twin stays with the host.
        let machine = two_cards();
        machine.claim(&["0000:02:00.0", "0000:02:00.1"]);
        for function in 0..2 {
            machine.remove(&format!("pci0000:00/0000:00:02.0/0000:02:00.{function}"));
        }
        let run = machine.run(shell);
        assert_eq!(
            run.log,
            [
                "0000:02:00.0 is not claimed: 10de:2684 is not where it was, and it had a twin",
                "0000:02:00.1 is not claimed: the first function of its slot was not found",
            ]
        );
        assert!(run.writes.is_empty() && on_vfio(&machine).is_empty());
    });
}

#[test]
fn bus_numbers_may_change() {
    in_all_shells(|shell| {
        let machine = two_cards();
        machine.claim(&["0000:01:00.0", "0000:01:00.1"]);
        // A card above both shifts all numbers: the twin now has the address that was recorded.
        replug(&machine, ("02.0", "02"), ("02.0", "04"));
        replug(&machine, ("01.0", "01"), ("01.0", "02"));
        machine.remove("pci0000:00/0000:00:02.0/0000:04:00.0");
        machine.add("pci0000:00/0000:00:02.0/0000:01:00.0", GPU);
        let run = machine.run(shell);
        assert_eq!(run.log[0], "0000:02:00.0 (was 0000:01:00.0) is claimed by vfio-pci");
        assert_eq!(on_vfio(&machine), ["0000:02:00.0", "0000:02:00.1"]);
    });
}

#[test]
fn a_card_without_a_twin_may_move() {
    in_all_shells(|shell| {
        let machine = one_card();
        machine.claim(&["0000:01:00.0", "0000:01:00.1"]);
        replug(&machine, ("01.0", "01"), ("02.0", "05"));
        let run = machine.run(shell);
        assert_eq!(
            run.log,
            [
                "0000:05:00.0 (was 0000:01:00.0) is claimed by vfio-pci",
                "0000:05:00.1 (was 0000:01:00.1) is claimed by vfio-pci",
            ]
        );
        // Two of them now, neither at the place: which one is not known.
        let machine = one_card();
        machine.claim(&["0000:01:00.0", "0000:01:00.1"]);
        replug(&machine, ("01.0", "01"), ("02.0", "05"));
        port(&machine, "03.0");
        card(&machine, "03.0", "06");
        let run = machine.run(shell);
        assert_eq!(run.log[0], "0000:01:00.0 is not claimed: 10de:2684 is not where it was, and found more than once");
        assert!(on_vfio(&machine).is_empty() && run.writes.is_empty());
    });
}

#[test]
fn another_card_in_its_place_is_not_taken() {
    in_all_shells(|shell| {
        let machine = one_card();
        machine.claim(&["0000:01:00.0", "0000:01:00.1"]);
        machine.remove("pci0000:00/0000:00:01.0/0000:01:00.0");
        machine.add("pci0000:00/0000:00:01.0/0000:01:00.0", (0x10de, 0x2684, 0x1458, 0x40bf));
        let run = machine.run(shell);
        assert_eq!(run.log[0], "0000:01:00.0 is not claimed: 10de:2684 is not found");
        assert!(on_vfio(&machine).is_empty() && run.writes.is_empty());
        // The sound function changed, the GPU did not.
        let machine = one_card();
        machine.claim(&["0000:01:00.0", "0000:01:00.1"]);
        machine.remove("pci0000:00/0000:00:01.0/0000:01:00.1");
        machine.add("pci0000:00/0000:00:01.0/0000:01:00.1", PORT);
        let run = machine.run(shell);
        assert_eq!(run.log[1], "0000:01:00.1 is not claimed: 10de:22ba is not function 1 of 0000:01:00");
        assert_eq!(on_vfio(&machine), ["0000:01:00.0"]);
    });
}

#[test]
fn a_serial_number_tells_twins_apart() {
    in_all_shells(|shell| {
        let with = |machine: &Machine, address: &str, serial| {
            let file = format!("sys/bus/pci/devices/{address}/config");
            fs::write(machine.path(&file), config(GPU, Some(serial))).unwrap();
        };
        let machine = two_cards();
        with(&machine, "0000:01:00.0", SERIAL);
        with(&machine, "0000:02:00.0", SERIAL + 1);
        machine.claim(&["0000:01:00.0"]);
        let claims = fs::read_to_string(machine.path("etc/vfioneer/claims")).unwrap();
        assert!(claims.ends_with(" 01-02-03-04-05-06-a7-ff yes\n"), "{claims}");
        // They change places: the one that was recorded is followed.
        with(&machine, "0000:01:00.0", SERIAL + 1);
        with(&machine, "0000:02:00.0", SERIAL);
        let run = machine.run(shell);
        assert_eq!(run.log, ["0000:02:00.0 (was 0000:01:00.0) is claimed by vfio-pci"]);
        // It is gone, and one with the wrong number is in its place.
        with(&machine, "0000:02:00.0", SERIAL + 2);
        fs::remove_file(machine.path("sys/bus/pci/devices/0000:02:00.0/driver")).unwrap();
        let run = machine.run(shell);
        assert_eq!(run.log, ["0000:01:00.0 is not claimed: 10de:2684 is not found"]);
        assert!(on_vfio(&machine).is_empty());
        // Serial numbers that are equal are none.
        with(&machine, "0000:01:00.0", SERIAL + 2);
        machine.claim(&["0000:01:00.0"]);
        assert!(fs::read_to_string(machine.path("etc/vfioneer/claims")).unwrap().ends_with(" - yes\n"));
    });
}

#[test]
fn broken_configuration_space_is_no_serial_number() {
    in_all_shells(|shell| {
        let machine = one_card();
        let file = machine.path("sys/bus/pci/devices/0000:01:00.0/config");
        fs::write(&file, config(GPU, Some(SERIAL))).unwrap();
        machine.claim(&["0000:01:00.0"]);
        let mut around = config(GPU, None);
        around[0x100..0x104].copy_from_slice(&(0x0001_u32 | 0x100 << 20).to_le_bytes());
        let mut low = config(GPU, None);
        low[0x100..0x104].copy_from_slice(&(0x0001_u32 | 0x004 << 20).to_le_bytes());
        let mut last = config(GPU, None);
        last[0x100..0x104].copy_from_slice(&(0x0001_u32 | 0xffc << 20).to_le_bytes());
        last[0xffc..].copy_from_slice(&0x0003_u32.to_le_bytes());
        for bytes in [around, low, last, vec![0xff; 4096], config(GPU, None)[..256].to_vec(), Vec::new()] {
            fs::write(&file, bytes).unwrap();
            let run = machine.run(shell);
            assert_eq!(run.log, ["0000:01:00.0 is not claimed: 10de:2684 is not found"]);
        }
    });
}

#[test]
fn a_built_in_driver_is_put_aside_and_gets_back_what_vfio_refuses() {
    in_all_shells(|shell| {
        let machine = one_card();
        machine.claim(&["0000:01:00.0", "0000:01:00.1"]);
        machine.bind("0000:01:00.0", "nouveau");
        let run = machine.run(shell);
        assert_eq!(run.log[0], "0000:01:00.0 is claimed by vfio-pci, before: nouveau");
        assert!(run.writes.contains(&"/sys/bus/pci/devices/0000:01:00.0/driver/unbind 0000:01:00.0".to_owned()));

        let machine = one_card();
        machine.claim(&["0000:01:00.0"]);
        machine.bind("0000:01:00.0", "nouveau");
        machine.file("sys/bus/pci/devices/0000:01:00.0/refused", "vfio-pci");
        let run = machine.run(shell);
        assert_eq!(run.log, ["0000:01:00.0 is not claimed: vfio-pci did not take it; now on nouveau"]);
        assert_eq!(machine.driver("0000:01:00.0").as_deref(), Some("nouveau"));
        let left = fs::read_to_string(machine.path("sys/bus/pci/devices/0000:01:00.0/driver_override")).unwrap();
        assert_eq!(left, "\n");
    });
}

#[test]
fn without_the_module_nothing_is_touched() {
    in_all_shells(|shell| {
        let machine = one_card();
        machine.claim(&["0000:01:00.0", "0000:01:00.1"]);
        machine.bind("0000:01:00.0", "nouveau");
        fs::remove_file(machine.path("modules/vfio-pci")).unwrap();
        let run = machine.run(shell);
        assert_eq!(run.log.len(), 2);
        assert_eq!(run.log[0], "0000:01:00.0 is not claimed: there is no driver vfio-pci");
        assert_eq!(run.writes, ["modprobe vfio-pci"]);
        assert_eq!(machine.driver("0000:01:00.0").as_deref(), Some("nouveau"));
        // Built in: nothing needs to be loaded.
        fs::create_dir_all(machine.path("sys/bus/pci/drivers/vfio-pci")).unwrap();
        let run = machine.run(shell);
        assert!(!run.writes.contains(&"modprobe vfio-pci".to_owned()));
        assert_eq!(on_vfio(&machine), ["0000:01:00.0", "0000:01:00.1"]);
    });
}

#[test]
fn the_kernel_parameter_switches_it_off() {
    in_all_shells(|shell| {
        let machine = one_card();
        machine.claim(&["0000:01:00.0"]);
        for (line, off) in [
            ("root=/dev/sda2 vfioneer=off ro\n", true),
            ("vfioneer=off\n", true),
            ("ro vfioneer=off", true),
            ("ro xvfioneer=off vfioneer=offline\n", false),
        ] {
            machine.file("proc/cmdline", line);
            let run = machine.run(shell);
            assert_eq!(run.log == ["nothing is claimed: vfioneer=off"], off, "{line}");
            assert_eq!(run.writes.is_empty(), off);
        }
    });
}

#[test]
fn lines_that_are_none_are_named_and_the_others_count() {
    in_all_shells(|shell| {
        let machine = one_card();
        machine.claim(&["0000:01:00.0"]);
        let good = fs::read_to_string(machine.path("etc/vfioneer/claims")).unwrap();
        let line = good.lines().last().unwrap().to_owned();
        let bad = [
            line.replace("vfio-pci", "../nouveau"),
            line.replace("vfio-pci", "*"),
            line.replace(" no", ""),
            line.replace(" no", " no\r"),
            line.replace(" no", " no no"),
            line.replace("10de", "10DE"),
            line.replace("2684", "268"),
            line.replace("1043", "-"),
            line.replace("0000:00/01.0", "0000:00/../01.0"),
            line.replace("0000:00/01.0/00.0", "*"),
            line.replace("0000:01:00.0", "01:00.0"),
            line.replace("0000:01:00.0", "*:??:00.0"),
            "$(touch /tmp/never) `touch /tmp/never`".to_owned(),
            "\\".to_owned(),
        ];
        machine.file("etc/vfioneer/claims", &format!("{}\n{good}", bad.join("\n")));
        let run = machine.run(shell);
        assert_eq!(run.log.len(), bad.len() + 1);
        assert!(
            run.log[..bad.len()].iter().all(|line| line.starts_with("this line of the claims is not understood: "))
        );
        assert_eq!(run.log[bad.len()], "0000:01:00.0 is claimed by vfio-pci");
        // A last line without an ending counts, too.
        machine.file("etc/vfioneer/claims", good.trim_end());
        assert_eq!(machine.run(shell).log, ["0000:01:00.0 is on vfio-pci already"]);
    });
}

#[test]
fn what_is_missing_never_stops_a_boot() {
    in_all_shells(|shell| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/adapters/claim/claim.sh");
        let machine = one_card();
        assert_eq!(machine.run_plain(shell, &script).log, ["there is no list of claims"]);
        machine.claim(&["0000:01:00.0"]);
        // Nothing acts on what is written: the function is left as it was.
        let run = machine.run_plain(shell, &script);
        assert_eq!(run.log, ["0000:01:00.0 is not claimed: vfio-pci did not take it; now on no driver"]);
        fs::remove_dir_all(machine.path("sys")).unwrap();
        assert_eq!(machine.run_plain(shell, &script).log, ["nothing is claimed: /sys is not there"]);
        fs::remove_dir_all(machine.path("proc")).unwrap();
        assert_eq!(machine.run_plain(shell, &script).log, ["nothing is claimed: /sys is not there"]);
        fs::remove_dir_all(machine.path("dev")).unwrap();
        assert!(machine.run_plain(shell, &script).log.is_empty());
    });
}

#[test]
fn bridges_domains_and_virtual_functions() {
    in_all_shells(|shell| {
        let machine = Machine::new();
        machine.add("pci0000:00/0000:00:03.0", PORT);
        machine.add("pci0000:00/0000:00:03.0/0000:02:00.0", PORT);
        machine.add("pci0000:00/0000:00:03.0/0000:02:00.0/0000:03:01.0", PORT);
        let deep = "pci0000:00/0000:00:03.0/0000:02:00.0/0000:03:01.0/0000:04:00.0";
        machine.add(deep, GPU);
        // Virtual functions stand beside the physical one, with bus numbers of their own.
        let part = machine.add("pci0000:00/0000:00:03.0/0000:02:00.0/0000:03:01.0/0000:05:00.0", GPU);
        symlink(machine.path("sys/devices").join(deep), part.join("physfn")).unwrap();
        // Below another device: a domain of its own, the twin of the first.
        machine.add("pci0000:00/0000:00:0e.0", (0x8086, 0x467f, 0, 0));
        machine.add("pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0", PORT);
        machine.add("pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0", GPU);
        machine.claim(&["0000:04:00.0", "10000:e1:00.0"]);
        let claims = fs::read_to_string(machine.path("etc/vfioneer/claims")).unwrap();
        assert!(claims.contains(" 0000:00/03.0/00.0/01.0/00.0 - yes\n"), "{claims}");
        assert!(claims.contains(" 10000:e0/06.0/00.0 - yes\n"), "{claims}");
        machine.run(shell);
        assert_eq!(on_vfio(&machine), ["0000:04:00.0", "10000:e1:00.0"]);
        // The number of the root bus is now one below a bridge: that is another place.
        let machine = Machine::new();
        machine.add("pci0000:40/0000:40:01.0", PORT);
        machine.add("pci0000:40/0000:40:01.0/0000:41:00.0", GPU);
        machine.add("pci0000:40/0000:40:02.0", PORT);
        machine.add("pci0000:40/0000:40:02.0/0000:42:00.0", GPU);
        machine.claim(&["0000:41:00.0"]);
        for chain in ["pci0000:40/0000:40:01.0", "pci0000:40/0000:40:02.0"] {
            for child in fs::read_dir(machine.path("sys/devices").join(chain)).unwrap() {
                let name = child.unwrap().file_name().into_string().unwrap();
                if name.starts_with("0000:") {
                    machine.remove(&format!("{chain}/{name}"));
                }
            }
            machine.remove(chain);
        }
        machine.add("pci0000:00/0000:00:01.0", PORT);
        machine.add("pci0000:00/0000:00:01.0/0000:40:01.0", PORT);
        machine.add("pci0000:00/0000:00:01.0/0000:40:01.0/0000:41:00.0", GPU);
        assert!(machine.run(shell).writes.is_empty());
    });
}

#[test]
fn one_of_a_thousand_functions_is_found() {
    let machine = Machine::new();
    for bus in 1..=250 {
        let port = format!("pci0000:{bus:02x}/0000:{bus:02x}:00.0");
        machine.add(&port, PORT);
        for device in 0..3 {
            machine.add(&format!("pci0000:{bus:02x}/0000:{bus:02x}:{:02x}.0", device + 1), SOUND);
        }
    }
    machine.add("pci0000:01/0000:01:10.0", GPU);
    machine.claim(&["0000:01:10.0"]);
    machine.remove("pci0000:01/0000:01:10.0");
    machine.add("pci0000:01/0000:01:11.0", GPU);
    in_all_shells(|shell| {
        let _ = fs::remove_file(machine.path("sys/bus/pci/devices/0000:01:11.0/driver"));
        let run = machine.run(shell);
        assert_eq!(run.log, ["0000:01:11.0 (was 0000:01:10.0) is claimed by vfio-pci"]);
    });
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = "src/adapters/initramfs/files";
    let mut scripts: Vec<String> =
        ["src/adapters/claim/claim.sh", "tests/support/claim/kernel.sh"].map(str::to_owned).into();
    scripts.push("tests/support/claim/modprobe.sh".to_owned());
    for name in fs::read_dir(own.join(files)).unwrap() {
        scripts.push(format!("{files}/{}", name.unwrap().file_name().into_string().unwrap()));
    }
    for script in &scripts {
        let bash = fs::read_to_string(own.join(script)).unwrap().starts_with("#!/bin/bash");
        let shell = if bash { "--shell=bash" } else { "--shell=sh" };
        let output = Command::new("shellcheck").args([shell, script]).current_dir(own).output();
        let output = output.unwrap_or_else(|e| panic!("shellcheck: {e} (make setup installs it)"));
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

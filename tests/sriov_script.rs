//! The script that makes virtual functions, in the shells that a host may have, on constructed hosts.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/claim/mod.rs"]
mod claim;

use claim::{Machine, Run, SHELLS};
use std::fs;
use vfioneer::adapters::sriov::SCRIPT;

const PF: &str = "0000:01:00.0";

/// A port that can make eight virtual functions, which the driver ixgbevf would have.
fn card() -> Machine {
    let machine = Machine::new();
    machine.add("pci0000:00/0000:00:01.0", (0x8086, 0x4c01, 0, 0));
    let dir = machine.add(&format!("pci0000:00/0000:00:01.0/{PF}"), (0x8086, 0x10fb, 0x8086, 0x000c));
    for (name, text) in
        [("sriov_numvfs", "0\n"), ("sriov_drivers_autoprobe", "1\n"), ("of-virtual", "ixgbevf\n"), ("most", "8\n")]
    {
        fs::write(dir.join(name), text).unwrap();
    }
    machine.bind(PF, "ixgbe");
    fs::create_dir_all(machine.path("sys/bus/pci/drivers/ixgbevf")).unwrap();
    machine
}

fn value(machine: &Machine, name: &str) -> String {
    fs::read_to_string(machine.path("sys/bus/pci/devices").join(PF).join(name)).unwrap().trim().to_owned()
}

fn set(machine: &Machine, name: &str, text: &str) {
    fs::write(machine.path("sys/bus/pci/devices").join(PF).join(name), text).unwrap();
}

fn virtual_drivers(machine: &Machine) -> Vec<Option<String>> {
    (0..8)
        .map_while(|number| {
            let name = format!("0000:01:10.{number}");
            machine.path("sys/bus/pci/devices").join(&name).exists().then(|| machine.driver(&name))
        })
        .collect()
}

fn in_all_shells(case: impl Fn(&Machine, &dyn Fn(&[&str]) -> Run)) {
    for shell in SHELLS {
        let machine = card();
        case(&machine, &|arguments| machine.run_with(shell, SCRIPT, arguments));
    }
}

fn vfio(count: usize) -> Vec<Option<String>> {
    vec![Some("vfio-pci".to_owned()); count]
}

#[test]
fn each_goes_to_vfio_and_none_to_its_native_driver() {
    in_all_shells(|machine, run| {
        let done = run(&[PF, "3"]);
        assert_eq!(done.log, ["0000:01:00.0 has 3 virtual functions, 3 on vfio-pci"]);
        assert_eq!((virtual_drivers(machine), machine.driver(PF).as_deref()), (vfio(3), Some("ixgbe")));
        let device = |name: &str| format!("/sys/bus/pci/devices/{PF}/{name}");
        let order = [device("sriov_drivers_autoprobe 0"), "modprobe vfio-pci".to_owned(), device("sriov_numvfs 3")];
        assert_eq!(done.writes[..3], order);
        // As where udev sends both events.
        let again = run(&[PF, "3"]);
        assert_eq!((again.log, virtual_drivers(machine)), (done.log, vfio(3)));
        assert_eq!(again.writes, [device("sriov_drivers_autoprobe 0")]);
    });
}

#[test]
fn what_something_else_has_made_is_left_to_it() {
    in_all_shells(|machine, run| {
        let native = SCRIPT.replacen("\"$pf/sriov_drivers_autoprobe\" 0", "\"$pf/sriov_drivers_autoprobe\" 1", 1);
        machine.run_with(
            SHELLS[0],
            &native.replace("write \"$devices/$1/driver_override\" vfio-pci", "false"),
            &[PF, "2"],
        );
        let made = virtual_drivers(machine);
        assert_eq!(made, vec![Some("ixgbevf".to_owned()); 2]);
        let done = run(&[PF, "3"]);
        assert_eq!(done.log, ["0000:01:00.0 keeps its 2 virtual functions, made by something else, instead of 3"]);
        assert!(done.writes.is_empty());
        let done = run(&[PF, "2"]);
        assert_eq!(done.log[0], "0000:01:00.0 leaves its virtual function 0000:01:10.0 to ixgbevf");
        assert_eq!(done.log[2], "0000:01:00.0 has 2 virtual functions, 0 on vfio-pci");
        assert_eq!(virtual_drivers(machine), made);
    });
}

#[test]
fn why_there_are_none_or_fewer_is_said() {
    in_all_shells(|machine, run| {
        machine.file("proc/cmdline", "ro vfioneer=off quiet\n");
        assert_eq!(run(&[PF, "3"]).log, ["0000:01:00.0 is given no virtual functions: vfioneer=off"]);
        machine.file("proc/cmdline", "ro quiet\n");
        set(machine, "most", "2\n");
        let done = run(&[PF, "3"]);
        assert_eq!(
            done.log,
            [
                "0000:01:00.0 has 2 virtual functions instead of 3: its driver ixgbe made no more",
                "0000:01:00.0 has 2 virtual functions, 2 on vfio-pci"
            ]
        );
        assert_eq!(virtual_drivers(machine), vfio(2));
    });
    in_all_shells(|machine, run| {
        fs::remove_file(machine.path("modules/vfio-pci")).unwrap();
        assert_eq!(run(&[PF, "1"]).log, ["0000:01:00.0 has virtual functions, and there is no driver vfio-pci"]);
        // None of the host's drivers has it either.
        assert_eq!(virtual_drivers(machine), [None]);
    });
    in_all_shells(|machine, run| {
        fs::remove_file(machine.path("sys/bus/pci/devices").join(PF).join("driver")).unwrap();
        assert!(run(&[PF, "3"]).log.is_empty(), "no driver has it");
        machine.bind(PF, "vfio-pci");
        assert_eq!(run(&[PF, "3"]).log, ["0000:01:00.0 is given no virtual functions: vfio-pci has it"]);
        for wrong in [&[][..], &[PF], &[PF, "0"], &[PF, "many"], &["../../x", "3"]] {
            assert!(run(wrong).writes.is_empty(), "{wrong:?}");
        }
        assert_eq!(value(machine, "sriov_numvfs"), "0");
    });
}

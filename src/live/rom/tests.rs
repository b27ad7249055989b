//! A directory in place of sysfs: constructed. A real card's ROM is read in the lab.
#![allow(clippy::disallowed_methods)]

use super::*;
use crate::facts::Evidence;
use crate::facts::pci::Bar;
use crate::facts::usage::Use;
use crate::host::change::{Chroot, Done, Runner};
use crate::host::{Host, Interrupt, TreeMut};
use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

const DIR: &str = "sys/bus/pci/devices/0000:01:00.0";

/// What `cat` answers, and everything that was written, in order.
struct Kernel {
    answer: Done,
    written: Rc<RefCell<Vec<String>>>,
    stuck: Option<&'static str>,
}

impl Runner for Kernel {
    fn has_program(&self, _: &dyn Host, _: &str) -> bool {
        true
    }

    fn run(&self, _: Chroot<'_>, command: &Command<'_>, _: &mut dyn FnMut(&str)) -> io::Result<Done> {
        self.written.borrow_mut().push(command.argv[0].clone());
        Ok(self.answer.clone())
    }

    fn write_attribute(&self, root: Chroot<'_>, path: &str, value: &str) -> io::Result<()> {
        let name = path.rsplit('/').next().unwrap();
        self.written.borrow_mut().push(format!("{name}={value}"));
        if self.stuck.is_some_and(|stuck| stuck == name || stuck == format!("{name}={value}")) {
            return Err(io::Error::other("Permission denied"));
        }
        let at = root.unwrap().join(path.trim_start_matches('/'));
        if name == "control" {
            fs::write(at.with_file_name("runtime_status"), if value == "on" { "active\n" } else { "suspended\n" })?;
        }
        fs::write(at, format!("{value}\n"))
    }
}

fn card() -> Function {
    let snap = crate::checks::testing::healthy();
    let mut function = snap.pci.get(&crate::checks::testing::at("0000:01:00.0")).unwrap().clone();
    function.driver = Fact::Absent;
    function.bars = Fact::Known(vec![Bar { index: 6, start: 0xf000_0000, size: 0x8_0000, flags: 0 }]);
    function
}

fn put(root: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let at = root.join(DIR).join(name);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, content).unwrap();
    }
}

/// Reads; gives the result and what was written.
fn try_read(files: &[(&str, &str)], answer: Done, stuck: Option<&'static str>) -> (Result<Dump>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join(DIR)).unwrap();
    put(dir.path(), files);
    let written = Rc::new(RefCell::new(Vec::new()));
    let kernel = Kernel { answer, written: Rc::clone(&written), stuck };
    let host = TreeMut::mounted(dir.path()).unwrap().running().with_runner(Box::new(kernel));
    let result = read(&host, &card());
    (result, written.take())
}

fn gives(bytes: &[u8]) -> Done {
    Done { status: Some(0), output: bytes.to_vec(), ..Done::default() }
}

#[test]
fn it_is_switched_on_read_and_switched_off() {
    let (result, written) = try_read(&[("rom", "")], gives(b"U\xaaROM"), None);
    assert_eq!(result.unwrap(), Dump { bytes: b"U\xaaROM".to_vec(), shadow: false });
    assert_eq!(written, ["rom=1", "cat", "rom=0"]);
}

#[test]
fn a_sleeping_card_is_woken_and_put_back_to_sleep() {
    let files = [("rom", ""), ("enable", "0\n"), ("power/runtime_status", "suspended\n"), ("power/control", "auto\n")];
    let (result, written) = try_read(&files, gives(b"x"), None);
    assert!(result.is_ok());
    assert_eq!(written, ["control=on", "enable=1", "rom=1", "cat", "rom=0", "enable=0", "control=auto"]);
}

#[test]
fn everything_is_switched_back_when_reading_fails() {
    let files = [("rom", ""), ("enable", "0\n"), ("power/runtime_status", "suspended\n"), ("power/control", "auto\n")];
    let eio = Done { status: Some(1), output: b"cat: /sys/x/rom: Input/output error\n".to_vec(), ..Done::default() };
    let answers = [
        (eio, "Input/output error"),
        (Done { late: true, ..Done::default() }, "within 120 seconds"),
        (Done { stopped: true, ..Done::default() }, "stopped"),
        (gives(b""), "it is empty"),
        (gives(&vec![1; LARGEST]), "larger than a ROM can be"),
    ];
    for (answer, words) in answers {
        let (result, written) = try_read(&files, answer, None);
        let error = result.unwrap_err();
        assert!(error.message.ends_with(words) || error.message.contains(words), "{error}");
        assert_eq!(error.exit_code(), 3);
        assert_eq!(written[written.len() - 3..], ["rom=0", "enable=0", "control=auto"], "{words}");
    }
    // What stays switched is told although reading failed, too.
    let eio = Done { status: Some(1), output: b"cat: rom: Input/output error\n".to_vec(), ..Done::default() };
    let (result, _) = try_read(&files, eio, Some("control=auto"));
    let error = result.unwrap_err();
    assert!(error.hints.iter().any(|hint| hint.contains("write auto into")), "{:?}", error.hints);
    for (stuck, before) in [("rom", 2), ("enable", 1), ("control", 0)] {
        let (result, written) = try_read(&files, gives(b"x"), Some(stuck));
        assert!(result.is_err(), "{stuck}");
        assert_eq!(
            written.iter().filter(|word| word.ends_with("=on") || *word == "enable=1").count().min(before),
            before
        );
        assert!(before < 1 || written.last().unwrap() == "control=auto", "{written:?}");
    }
}

#[test]
fn the_likely_cause_is_named() {
    let eio = || Done { status: Some(1), output: b"cat: rom: Input/output error\n".to_vec(), ..Done::default() };
    let config = |command: u8| {
        let mut bytes = "\0".repeat(64).into_bytes();
        bytes[COMMAND] = command;
        String::from_utf8(bytes).unwrap()
    };
    let hint = |files: &[(&str, &str)]| try_read(files, eio(), None).0.unwrap_err().hints[0].clone();
    assert!(hint(&[("rom", ""), ("config", &config(0))]).contains("does not decode memory"));
    assert!(hint(&[("rom", ""), ("config", &config(2))]).contains("no valid header"));
}

#[test]
fn a_card_without_a_rom_and_a_host_that_does_not_run_are_refused() {
    let (result, written) = try_read(&[], gives(b"x"), None);
    assert!(result.unwrap_err().message.contains("has no option ROM") && written.is_empty());
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &[("rom", "")]);
    let host = TreeMut::mounted(dir.path()).unwrap().heeding(Interrupt::default());
    assert!(read(&host, &card()).unwrap_err().message.contains("is not the running machine"));
}

#[test]
fn a_card_that_somebody_has_is_not_read() {
    let mut function = card();
    assert!(may_read(&function, &Usage::default()).is_ok());
    for (driver, allowed) in [("nouveau", false), ("nvidia", false), ("vfio-pci", true), ("pci-stub", true)] {
        function.driver = Fact::Known(driver.to_owned());
        assert_eq!(may_read(&function, &Usage::default()).is_ok(), allowed, "{driver}");
    }
    let evidence = Evidence::new("/proc/1", "qemu");
    let used = Use { address: function.address, kind: UseKind::RunningVm, by: "VM 105".into(), evidence };
    let usage = Usage { uses: vec![used], ..Usage::default() };
    assert!(may_read(&function, &usage).unwrap_err().message.contains("VM 105 has"));
}

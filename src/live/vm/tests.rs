//! A device that its VM leaves in a bad state, and a kernel that can or cannot bring it back: constructed, because no emulated device does
//! that. What goes well is tried in real kernels (`tests/lab/guest/swift/hook.sh`).
#![allow(clippy::disallowed_methods)]

use super::*;
use crate::checks::testing as t;
use crate::error::Kind;
use crate::host::TreeMut;
use crate::host::change::{Chroot, Command, Done, Runner};
use std::cell::Cell;
use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;

const GPU: &str = t::GPU;

/// What `reset` does: nothing, or it makes the device answer again.
#[derive(Clone, Default)]
struct Kernel {
    cures: Rc<Cell<bool>>,
    /// A PCIe error is reported meanwhile.
    reports: Rc<Cell<bool>>,
    resets: Rc<Cell<u32>>,
}

/// Ids, or a device that does not answer.
fn config(well: bool) -> Vec<u8> {
    let mut bytes = vec![if well { 0 } else { 0xff }; 64];
    if well {
        bytes[..4].copy_from_slice(&[0xde, 0x10, 0x84, 0x26]);
    }
    bytes
}

fn attribute(root: &Path, name: &str) -> std::path::PathBuf {
    root.join(format!("sys/bus/pci/devices/{GPU}/{name}"))
}

impl Runner for Kernel {
    fn has_program(&self, _: &dyn Host, _: &str) -> bool {
        true
    }

    fn run(&self, root: Chroot<'_>, command: &Command<'_>, _: &mut dyn FnMut(&str)) -> io::Result<Done> {
        if command.argv.last().is_some_and(|path| path.ends_with("/reset")) {
            self.resets.set(self.resets.get() + 1);
            if self.reports.get() {
                fs::write(attribute(root.unwrap(), "aer_dev_fatal"), "DLP 1\nTOTAL_ERR_FATAL 1\n")?;
            }
            if self.cures.get() {
                fs::write(attribute(root.unwrap(), "config"), config(true))?;
            }
        }
        Ok(Done { status: Some(0), ..Done::default() })
    }

    fn write_attribute(&self, root: Chroot<'_>, path: &str, value: &str) -> io::Result<()> {
        fs::write(root.unwrap().join(&path[1..]), value)
    }
}

struct Stage {
    dir: tempfile::TempDir,
    kernel: Kernel,
    host: TreeMut,
}

impl Stage {
    fn new() -> Stage {
        let (dir, kernel) = (tempfile::tempdir().unwrap(), Kernel::default());
        fs::create_dir_all(attribute(dir.path(), "")).unwrap();
        for name in ["run", "var/lib", "proc"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let files = [
            ("vendor", "0x10de"),
            ("device", "0x2684"),
            ("reset_method", "flr"),
            ("driver_override", ""),
            ("aer_dev_fatal", "DLP 0\nTOTAL_ERR_FATAL 0\n"),
        ];
        for (name, text) in files {
            fs::write(attribute(dir.path(), name), text).unwrap();
        }
        let host = TreeMut::mounted(dir.path()).unwrap().running().with_runner(Box::new(kernel.clone()));
        let stage = Stage { dir, kernel, host };
        stage.is_well(true);
        stage
    }

    fn is_well(&self, well: bool) {
        fs::write(attribute(self.dir.path(), "config"), config(well)).unwrap();
    }

    fn run(&self, vm: &str, phase: Phase, settings: &VmSettings) -> (Run, Result<()>) {
        let desk = Desk::open(&self.host, &Caller { uid: 0, ..Caller::new() }).unwrap();
        let look = || {
            let mut snap = t::healthy();
            t::change(&mut snap, GPU, |f| {
                f.driver = Fact::Known("vfio-pci".into());
                f.reset_methods = Fact::Known(vec!["flr".into()]);
            });
            Ok(snap)
        };
        let vm = Vm { kind: "libvirt".into(), name: vm.into() };
        let task = Task::new(&desk, &look, vm, phase, vec![t::at(GPU)]);
        match phase {
            Phase::Prepare => task.prepare(settings, &[t::at(GPU)]),
            Phase::Release => task.release(settings),
        }
    }
}

#[test]
fn only_what_is_not_well_is_reset() {
    let (stage, settings) = (Stage::new(), VmSettings::default());
    stage.run("one", Phase::Prepare, &settings).1.unwrap();
    let (run, done) = stage.run("one", Phase::Release, &settings);
    done.unwrap();
    assert_eq!((run.resets, stage.kernel.resets.get()), (Vec::new(), 0));

    stage.run("one", Phase::Prepare, &settings).1.unwrap();
    stage.is_well(false);
    stage.kernel.cures.set(true);
    let (run, done) = stage.run("one", Phase::Release, &settings);
    done.unwrap();
    assert_eq!(run.resets, [(t::at(GPU), "flr".to_owned())]);

    let always = VmSettings { reset: Reset::Always, ..settings.clone() };
    stage.run("one", Phase::Prepare, &always).1.unwrap();
    // What the VM was started with counts, not what its settings are by now.
    let (run, _) = stage.run("one", Phase::Release, &settings);
    assert_eq!((run.resets.len(), stage.kernel.resets.get()), (1, 2));
}

#[test]
fn what_cannot_be_brought_back_is_not_given_to_the_next_one() {
    let (stage, settings) = (Stage::new(), VmSettings::default());
    stage.run("one", Phase::Prepare, &settings).1.unwrap();
    stage.is_well(false);
    let (run, done) = stage.run("one", Phase::Release, &settings);
    let error = done.unwrap_err();
    assert_eq!((error.kind, stage.kernel.resets.get()), (Kind::Failed, 1));
    assert!(error.message.contains("does not answer") && error.hints[0].contains("vfioneer reset"), "{error:?}");
    assert_eq!(run.failed, Some(error.message));

    let (_, done) = stage.run("two", Phase::Prepare, &settings);
    let error = done.unwrap_err();
    assert!(error.kind == Kind::Refused && error.message.contains("not well"), "{error:?}");
    assert!(Book::load(&stage.host).unwrap().given.is_empty());
    // It answers again by itself, and still nothing has proven it well.
    stage.is_well(true);
    assert!(stage.run("two", Phase::Prepare, &settings).1.unwrap_err().message.contains("does not answer"));
    let allowed = VmSettings { allow: [UNRESET.to_owned()].into(), ..settings };
    stage.run("two", Phase::Prepare, &allowed).1.unwrap();
}

#[test]
fn a_reset_during_which_an_error_is_reported_has_not_helped() {
    let (stage, always) = (Stage::new(), VmSettings { reset: Reset::Always, ..VmSettings::default() });
    stage.kernel.cures.set(true);
    stage.kernel.reports.set(true);
    let error = stage.run("one", Phase::Release, &always).1.unwrap_err();
    assert!(error.message.contains("flr: ") && error.message.contains("reported a PCIe error"), "{error:?}");
    // Another one gets it once a reset has gone well.
    assert_eq!(stage.run("two", Phase::Prepare, &always).1.unwrap_err().kind, Kind::Refused);
    stage.kernel.reports.set(false);
    stage.run("one", Phase::Release, &always).1.unwrap();
    stage.run("two", Phase::Prepare, &always).1.unwrap();
}

#[test]
fn what_one_vm_has_no_other_gets_or_takes_away() {
    let (stage, settings) = (Stage::new(), VmSettings { reset: Reset::Always, ..VmSettings::default() });
    stage.run("one", Phase::Prepare, &settings).1.unwrap();
    assert!(stage.run("two", Phase::Prepare, &settings).1.unwrap_err().message.contains("VM one"));
    // libvirt calls this after a start that was refused.
    let (run, done) = stage.run("two", Phase::Release, &settings);
    done.unwrap();
    assert_eq!((run.devices, stage.kernel.resets.get()), (Vec::new(), 0));
    let book = Book::load(&stage.host).unwrap();
    assert_eq!(book.given.iter().map(|given| given.vm.name.as_str()).collect::<Vec<_>>(), ["one"]);
}

#[test]
fn what_was_pulled_out_needs_no_way_back() {
    let (stage, settings) = (Stage::new(), VmSettings { return_to_host: true, ..VmSettings::default() });
    stage.run("one", Phase::Prepare, &settings).1.unwrap();
    fs::remove_dir_all(attribute(stage.dir.path(), "")).unwrap();
    let (run, done) = stage.run("one", Phase::Release, &settings);
    done.unwrap();
    assert_eq!((run.devices, run.done), (Vec::new(), vec![format!("{GPU} is not there any more")]));
    let book = Book::load(&stage.host).unwrap();
    assert!(book.given.is_empty() && book.unwell.is_empty());
}

#[test]
fn vms_whose_end_nobody_told_make_room() {
    let (stage, settings) = (Stage::new(), VmSettings::default());
    for name in ["one", "two"] {
        stage.run(name, Phase::Prepare, &settings).1.unwrap();
        // As if that was long ago.
        let path = stage.dir.path().join("run/vfioneer/given.json");
        fs::write(stage.dir.path().join("proc/uptime"), "100000.00 1.00\n").unwrap();
        let text = fs::read_to_string(&path).unwrap().replace("\"uptime\": 100000", "\"uptime\": 0");
        fs::write(&path, text).unwrap();
    }
    let (run, done) = stage.run("three", Phase::Prepare, &settings);
    done.unwrap();
    assert_eq!(run.done, ["VM two had ended: its devices were released"]);
    let book = Book::load(&stage.host).unwrap();
    assert_eq!(book.given.iter().map(|given| given.vm.name.as_str()).collect::<Vec<_>>(), ["three"]);
}

#[test]
fn runs_are_kept_and_the_log_does_not_grow_without_end() {
    let stage = Stage::new();
    let all = || runs::all(&stage.host, &mut |_, _| ()).unwrap();
    let (run, _) = stage.run("a \"b\"\n", Phase::Prepare, &VmSettings::default());
    runs::add(&stage.host, runs::FILE, &run).unwrap();
    assert_eq!(all(), std::slice::from_ref(&run));
    fs::write(stage.dir.path().join(&runs::FILE[1..]), vec![b'\n'; 2 << 20]).unwrap();
    runs::add(&stage.host, runs::FILE, &run).unwrap();
    assert_eq!(all(), [run]);
    assert!(fs::metadata(stage.dir.path().join(&runs::FILE[1..])).unwrap().len() < 1000);
}

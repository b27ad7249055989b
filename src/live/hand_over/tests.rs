//! A directory in place of sysfs, which does what the kernel does there: constructed. Real drivers change hands in the lab.
#![allow(clippy::disallowed_methods)]

use super::*;
use crate::checks::testing as t;
use crate::host::change::{Chroot, Command, Done, Gate, Op, Runner, Stop};
use crate::host::{Fact, Host, TreeMut};
use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const GPU: &str = "0000:01:00.0";
const SOUND: &str = "0000:01:00.1";

/// Native drivers: the function that each is for, and its module.
const NATIVE: &[(&str, &str, &str)] = &[("nouveau", GPU, "nouveau"), ("snd_hda_intel", SOUND, "snd_hda_intel")];

#[derive(Clone, Default)]
struct Kernel {
    /// `ADDRESS=driver` or a command, in order.
    done: Rc<RefCell<Vec<String>>>,
    /// A driver that takes nothing.
    fails: Option<&'static str>,
    /// A driver that never lets go.
    hangs: Option<&'static str>,
}

fn link(root: &Path, address: &str) -> PathBuf {
    root.join(format!("sys/bus/pci/devices/{address}/driver"))
}

fn on(root: &Path, address: &str) -> String {
    fs::read_link(link(root, address))
        .map_or_else(|_| "none".into(), |to| to.file_name().unwrap().to_str().unwrap().into())
}

fn add_driver(root: &Path, driver: &str, module: &str) {
    fs::create_dir_all(root.join(format!("sys/bus/pci/drivers/{driver}"))).unwrap();
    fs::create_dir_all(root.join(format!("sys/module/{module}/drivers/pci:{driver}"))).unwrap();
    let _ = std::os::unix::fs::symlink(
        format!("../../../../module/{module}"),
        root.join(format!("sys/bus/pci/drivers/{driver}/module")),
    );
}

impl Runner for Kernel {
    fn has_program(&self, _: &dyn Host, _: &str) -> bool {
        true
    }

    fn run(&self, root: Chroot<'_>, command: &Command<'_>, _: &mut dyn FnMut(&str)) -> io::Result<Done> {
        self.done.borrow_mut().push(command.argv.join(" "));
        if command.argv[0] == "modprobe" {
            let module = command.argv.last().unwrap();
            let native = NATIVE.iter().find(|(_, _, of)| of == module);
            add_driver(root.unwrap(), native.map_or(module, |(driver, _, _)| driver), &module.replace('-', "_"));
        }
        Ok(Done { status: Some(0), ..Done::default() })
    }

    fn write_attribute(&self, root: Chroot<'_>, path: &str, value: &str) -> io::Result<()> {
        let (root, (dir, name)) = (root.unwrap(), path.rsplit_once('/').unwrap());
        match name {
            "unbind" if self.hangs == Some(&on(root, value)) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not return"));
            }
            "unbind" => {
                self.done.borrow_mut().push(format!("{value}=none"));
                fs::remove_file(link(root, value))?;
            }
            "bind" if dir.contains("vtconsole") => fs::write(root.join(&path[1..]), value)?,
            "bind" => {
                let driver = dir.rsplit('/').next().unwrap();
                let wanted = fs::read_to_string(root.join(format!("sys/bus/pci/devices/{value}/driver_override")))?;
                let native = NATIVE.iter().any(|(name, address, _)| (*name, *address) == (driver, value));
                if self.fails == Some(driver) || if wanted.is_empty() { !native } else { wanted != driver } {
                    return Err(io::Error::other("No such device"));
                }
                self.done.borrow_mut().push(format!("{value}={driver}"));
                std::os::unix::fs::symlink(format!("../../drivers/{driver}"), link(root, value))?;
            }
            _ => fs::write(root.join(&path[1..]), value)?,
        }
        Ok(())
    }
}

/// A card with two functions on their native drivers, and vfio-pci not loaded.
fn sysfs() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (driver, address, module) in NATIVE {
        let device = dir.path().join(format!("sys/bus/pci/devices/{address}"));
        fs::create_dir_all(&device).unwrap();
        fs::write(device.join("driver_override"), "").unwrap();
        add_driver(dir.path(), driver, module);
        std::os::unix::fs::symlink(format!("../../drivers/{driver}"), device.join("driver")).unwrap();
    }
    fs::create_dir_all(dir.path().join("run")).unwrap();
    dir
}

fn host(root: &Path, kernel: &Kernel) -> TreeMut {
    TreeMut::mounted(root).unwrap().running().with_runner(Box::new(kernel.clone()))
}

fn root_user() -> Caller {
    Caller { uid: 0, ..Caller::new() }
}

fn card() -> Vec<(Address, String)> {
    [SOUND, GPU].map(|address| (t::at(address), "vfio-pci".to_owned())).to_vec()
}

fn bind(host: &TreeMut) -> Result<()> {
    let desk = Desk::open(host, &root_user())?;
    desk.recover(&mut |_| ())?;
    let moves = desk.moves(&t::healthy(), &card())?;
    desk.make(moves, &mut || Ok(()), &mut |_| ())
}

fn unbind(host: &TreeMut, addresses: &[&str]) -> Result<Vec<(Way, Move)>> {
    let snap = on_vfio();
    let functions: Vec<&Function> = addresses.iter().map(|address| snap.pci.get(&t::at(address)).unwrap()).collect();
    let desk = Desk::open(host, &root_user())?;
    desk.recover(&mut |_| ())?;
    desk.give_back(&functions, &mut |_| ())
}

fn on_vfio() -> Snapshot {
    let mut snap = t::healthy();
    for (driver, address, _) in NATIVE {
        t::change(&mut snap, address, |f| {
            f.driver = Fact::Known("vfio-pci".into());
            f.candidates = Fact::Known(vec![(*driver).to_owned()]);
        });
    }
    snap
}

fn drivers(root: &Path) -> [String; 2] {
    [GPU, SOUND].map(|address| on(root, address))
}

const HOME: [&str; 2] = ["nouveau", "snd_hda_intel"];
const AWAY: [&str; 2] = ["vfio-pci", "vfio-pci"];

#[test]
fn there_and_back() {
    let (dir, kernel) = (sysfs(), Kernel::default());
    let host = host(dir.path(), &kernel);
    bind(&host).unwrap();
    assert_eq!(drivers(dir.path()), AWAY);
    let sound_first = format!("{SOUND}=none {SOUND}=vfio-pci {GPU}=none {GPU}=vfio-pci");
    assert_eq!(kernel.done.take().join(" "), format!("modprobe -- vfio-pci {sound_first}"));
    // One function by itself, then the rest.
    unbind(&host, &[SOUND]).unwrap();
    assert_eq!(drivers(dir.path()), ["vfio-pci", "snd_hda_intel"]);
    unbind(&host, &[GPU, SOUND]).unwrap();
    assert_eq!(drivers(dir.path()), HOME);
    assert_eq!(fs::read_to_string(dir.path().join(format!("sys/bus/pci/devices/{GPU}/driver_override"))).unwrap(), "");
    assert!(!dir.path().join("run/vfioneer/handed-over.json").exists());
}

#[test]
fn a_function_that_was_claimed_at_boot_goes_to_its_native_driver() {
    let (dir, kernel) = (sysfs(), Kernel::default());
    let host = host(dir.path(), &kernel);
    bind(&host).unwrap();
    fs::remove_file(dir.path().join("run/vfioneer/handed-over.json")).unwrap();
    fs::remove_dir_all(dir.path().join("sys/module/nouveau")).unwrap();
    fs::remove_dir_all(dir.path().join("sys/bus/pci/drivers/nouveau")).unwrap();
    kernel.done.take();
    unbind(&host, &[GPU]).unwrap();
    assert_eq!(drivers(dir.path()), ["nouveau", "vfio-pci"]);
    assert!(kernel.done.take().contains(&"modprobe -b -- nouveau".to_owned()));
}

#[test]
fn what_was_done_last_is_taken_back_first() {
    let (dir, kernel) = (sysfs(), Kernel::default());
    let host = host(dir.path(), &kernel);
    let path = format!("/sys/bus/pci/devices/{GPU}/control");
    let file = dir.path().join(&path[1..]);
    fs::write(&file, "auto").unwrap();
    let set = |to: &str, from: &str| Move::Attribute { path: path.clone(), to: to.into(), from: from.into() };
    let desk = Desk::open(&host, &root_user()).unwrap();
    // A reset wakes a device and takes it out of the list while it is awake; all ends in the middle.
    let mut noted = String::new();
    let inner = || {
        noted = fs::read_to_string(dir.path().join("run/vfioneer/handed-over.json")).unwrap();
        Ok(())
    };
    let outer = || desk.during(vec![set("off", "on")], inner).unwrap();
    desk.during(vec![set("on", "auto")], outer).unwrap().unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "auto");
    fs::write(&file, "off").unwrap();
    fs::write(dir.path().join("run/vfioneer/handed-over.json"), noted).unwrap();
    desk.recover(&mut |_| ()).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "auto");
}

#[test]
fn a_failure_takes_everything_back() {
    let (dir, kernel) = (sysfs(), Kernel { fails: Some("vfio-pci"), ..Kernel::default() });
    let error = bind(&host(dir.path(), &kernel)).unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    assert!(error.message.contains("No such device") && error.message.contains("taken back"), "{error}");
    assert_eq!(drivers(dir.path()), HOME);
    // A device that was pulled out meanwhile.
    let (dir, kernel) = (sysfs(), Kernel::default());
    let host = host(dir.path(), &kernel);
    bind(&host).unwrap();
    fs::remove_dir_all(dir.path().join(format!("sys/bus/pci/devices/{SOUND}"))).unwrap();
    unbind(&host, &[GPU, SOUND]).unwrap();
    assert_eq!(drivers(dir.path()), ["nouveau", "none"]);
}

#[test]
fn what_its_driver_does_not_take_back_waits_and_keeps_nobody_else() {
    let (dir, kernel) = (sysfs(), Kernel::default());
    bind(&host(dir.path(), &kernel)).unwrap();
    let broken = Kernel { fails: Some("snd_hda_intel"), ..kernel.clone() };
    let stays = host(dir.path(), &broken);
    let error = unbind(&stays, &[GPU, SOUND]).unwrap_err();
    assert_eq!((error.exit_code(), drivers(dir.path())), (5, ["nouveau", "none"].map(str::to_owned)), "{error}");
    // Another command is not stopped by it, and the card can go once more: it is still known where it belongs.
    Desk::open(&stays, &root_user()).unwrap().recover(&mut |_| ()).unwrap();
    bind(&stays).unwrap();
    assert_eq!(drivers(dir.path()), AWAY);
    unbind(&host(dir.path(), &kernel), &[GPU, SOUND]).unwrap();
    assert_eq!(drivers(dir.path()), HOME);
    assert!(!dir.path().join("run/vfioneer/handed-over.json").exists());
}

#[test]
fn an_override_that_was_set_too_late_is_there_again_afterwards() {
    let (dir, kernel) = (sysfs(), Kernel::default());
    let over = dir.path().join(format!("sys/bus/pci/devices/{GPU}/driver_override"));
    fs::write(&over, "vfio-pci").unwrap();
    bind(&host(dir.path(), &kernel)).unwrap();
    unbind(&host(dir.path(), &kernel), &[GPU, SOUND]).unwrap();
    assert_eq!((drivers(dir.path()), fs::read_to_string(over).unwrap()), (HOME.map(str::to_owned), "vfio-pci".into()));
}

#[test]
fn what_hangs_is_told_and_not_tried_again() {
    let (dir, kernel) = (sysfs(), Kernel { hangs: Some("nouveau"), ..Kernel::default() });
    let host = host(dir.path(), &kernel);
    let error = bind(&host).unwrap_err();
    assert_eq!((error.exit_code(), error.message.contains("does not return")), (5, true), "{error}");
    kernel.done.take();
    let error = bind(&host).unwrap_err();
    assert_eq!((error.exit_code(), kernel.done.take()), (5, Vec::new()), "{error}");
}

#[test]
fn who_may_and_where() {
    let (dir, kernel) = (sysfs(), Kernel::default());
    let mounted = TreeMut::mounted(dir.path()).unwrap().with_runner(Box::new(kernel.clone()));
    assert_eq!(Desk::open(&mounted, &root_user()).err().unwrap().exit_code(), 3);
    let host = host(dir.path(), &kernel);
    let user = Caller { uid: 1000, ..Caller::new() };
    assert!(Desk::open(&host, &user).err().unwrap().hints.concat().contains("sudo"));
    fs::create_dir_all(dir.path().join("run/vfioneer")).unwrap();
    for broken in ["{", "{\"schema\":\"vfioneer/handed-over/9\",\"records\":[]}"] {
        fs::write(dir.path().join("run/vfioneer/handed-over.json"), broken).unwrap();
        assert_eq!(bind(&host).unwrap_err().exit_code(), 3, "{broken}");
    }
    assert_eq!(drivers(dir.path()), HOME);
}

/// Ends the program's life at an operation: from it on, nothing passes.
struct Kill {
    left: Rc<Cell<usize>>,
}

impl Gate for Kill {
    fn pass(&self, _: &Op<'_>) -> std::result::Result<(), Stop> {
        match self.left.get() {
            0 => Err(Stop { error: io::Error::other("killed"), after: 0 }),
            left => {
                self.left.set(left - 1);
                Ok(())
            }
        }
    }
}

#[test]
fn killed_at_any_operation_the_next_command_brings_everything_back() {
    let mut operations = [0, 0];
    for (way, count) in operations.iter_mut().enumerate() {
        for at in 0.. {
            let (dir, kernel) = (sysfs(), Kernel::default());
            let whole = host(dir.path(), &kernel);
            if way == 1 {
                bind(&whole).unwrap();
            }
            let left = Rc::new(Cell::new(at));
            let killed = host(dir.path(), &kernel).with_gate(Box::new(Kill { left: Rc::clone(&left) }));
            let ended = if way == 0 { bind(&killed) } else { unbind(&killed, &[GPU, SOUND]).map(|_| ()) };
            drop(killed);
            let desk = Desk::open(&whole, &root_user()).unwrap();
            desk.recover(&mut |_| ()).unwrap();
            let now = drivers(dir.path());
            assert!(now == HOME || now == AWAY, "{way} {at}: {now:?}");
            let known = Ledger::load(&whole).unwrap().records.len();
            assert_eq!(known, usize::from(now == AWAY), "{way} {at}: it is known what is away");
            if ended.is_ok() {
                *count = at;
                break;
            }
        }
    }
    assert!(operations.iter().all(|count| *count > 10), "{operations:?}");
}

//! What is left of a host when the program dies, the disk is full, or a tool fails, at every single operation: always a host that boots,
//! and after the next command one that is as it was or as it was to be.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod gates;
mod since;
mod tools;
mod world;

use gates::{Full, Kill, Meddle, ReadOnly, Synced};
use std::cell::Cell;
use std::rc::Rc;
use tools::Fault;
use vfioneer::apply::rollback;
use world::{CLAIMS, KERNELS, World, apply, differences, open_session, recover, session};

#[track_caller]
fn same(case: &str, now: &world::State, wanted: &world::State) {
    assert!(now == wanted, "{case}: {:#?}", differences(now, wanted));
}

/// A host before and after the plan.
fn both() -> (world::State, world::State) {
    let world = World::new();
    let first = world.state();
    world.boots().unwrap();
    apply(&world.open(), &world.plan()).unwrap();
    world.boots().unwrap();
    let applied = world.state();
    assert!(first != applied);
    (first, applied)
}

fn roll_back(host: &vfioneer::host::TreeMut) -> vfioneer::error::Result<rollback::RolledBack> {
    let session = session(host)?;
    session.recover(&mut |_| ())?;
    let transaction = rollback::choose(host, None)?.unwrap();
    session.rollback(transaction, &mut |_| ())
}

#[test]
fn a_plan_is_applied_and_rolled_back() {
    let (first, applied) = both();
    for path in ["/etc/new/deep/hook", "/boot/grub/grub.cfg", "/etc/modprobe.d/old.conf"] {
        assert_ne!(first.get(path), applied.get(path), "{path}");
    }
    let world = World::new();
    let gate = Rc::new(Synced::default());
    let host = world.host(gate.clone());
    apply(&host, &world.plan()).unwrap();
    same("applied", &world.state(), &applied);
    let done = roll_back(&host).unwrap();
    assert!(done.left.is_empty() && !done.reboot, "{done:?}");
    same("rolled back", &world.state(), &first);
    // Twice the same is nothing.
    assert!(rollback::choose(&host, None).unwrap().is_none());
    assert!(gate.seen.get() > 200);
    let modes: Vec<_> = std::fs::read_dir(world.at("/var/lib/vfioneer/transactions/1")).unwrap().collect();
    assert!(!modes.is_empty());
}

#[test]
fn after_a_reboot_the_function_is_not_handed_back_and_another_is_asked_for() {
    let world = World::new();
    apply(&world.open(), &world.plan()).unwrap();
    world.reboot();
    let done = roll_back(&world.open()).unwrap();
    assert!(done.reboot && done.left.is_empty());
    assert_eq!(world.read("/sys/bus/pci/devices/0000:01:00.0/driver_override"), "vfio-pci\n");
    assert_eq!(world.read("/sys/bus/pci/devices/0000:02:00.0/sriov_numvfs"), "2\n");
    assert_eq!(world.read("/sys/bus/pci/devices/0000:02:00.0/sriov_drivers_autoprobe"), "0\n");
    assert_eq!(world.read("/sys/bus/pci/devices/0000:02:10.1/driver_override"), "vfio-pci\n");
}

/// Kills the program at its n-th operation, for all n, and gives each host to `then`. Says how many there were.
fn kill_at_each(
    case: &str,
    work: impl Fn(&World, Rc<Kill>),
    start: impl Fn() -> World,
    then: impl Fn(&str, usize, &World),
) -> usize {
    for most in 0.. {
        let world = start();
        let gate = Kill::after(most);
        work(&world, gate.clone());
        let case = format!("{case} ended at operation {most}");
        world.boots().unwrap_or_else(|what| panic!("{case}: {what}"));
        then(&case, most, &world);
        if !gate.struck() {
            return most;
        }
    }
    unreachable!()
}

fn applied_world() -> World {
    let world = World::new();
    apply(&world.open(), &world.plan()).unwrap();
    world
}

#[test]
fn killed_at_any_operation_of_apply() {
    let (first, applied) = both();
    let work = |world: &World, gate: Rc<Kill>| {
        let plan = world.plan();
        let _ = apply(&world.host(gate), &plan);
    };
    let points = kill_at_each("apply", work, World::new, |case, _, world| {
        let recovered = recover(&world.open()).unwrap_or_else(|error| panic!("{case}: {error} {:?}", error.hints));
        let state = world.state();
        // Only what came to its end stays.
        let ended = rollback::choose(&world.open(), None).unwrap().is_some();
        same(case, &state, if ended { &applied } else { &first });
        assert!(!ended || recovered.is_empty(), "{case}");
        assert!(recover(&world.open()).unwrap().is_empty(), "{case}: once is enough");
        // And it can be applied.
        if !ended {
            apply(&world.open(), &world.plan()).unwrap_or_else(|error| panic!("{case}: {error}"));
            same(case, &world.state(), &applied);
        }
    });
    assert!(points > 150, "{points}");
}

#[test]
fn killed_at_any_operation_of_rollback() {
    let (first, applied) = both();
    let work = |world: &World, gate: Rc<Kill>| drop(roll_back(&world.host(gate)));
    let points = kill_at_each("rollback", work, applied_world, |case, _, world| {
        let recovered = recover(&world.open()).unwrap_or_else(|error| panic!("{case}: {error} {:?}", error.hints));
        let state = world.state();
        let still = rollback::choose(&world.open(), None).unwrap().is_some();
        same(case, &state, if still { &applied } else { &first });
        assert!(!still || recovered.is_empty(), "{case}");
    });
    assert!(points > 100, "{points}");
}

#[test]
fn killed_again_while_it_recovers() {
    let (first, _) = both();
    // Of the first death some places, of the second every one.
    for most in (17..340).step_by(41) {
        let start = || {
            let world = World::new();
            let plan = world.plan();
            let _ = apply(&world.host(Kill::after(most)), &plan);
            world
        };
        let work = |world: &World, gate: Rc<Kill>| drop(recover(&world.host(gate)));
        kill_at_each(&format!("recovery of an apply ended at {most}"), work, start, |case, _, world| {
            recover(&world.open()).unwrap_or_else(|error| panic!("{case}: {error}"));
            if rollback::choose(&world.open(), None).unwrap().is_none() {
                same(case, &world.state(), &first);
            }
        });
    }
}

#[test]
fn a_full_disk_at_any_write() {
    let (first, applied) = both();
    for for_good in [false, true] {
        for at in 0.. {
            let world = World::new();
            let gate = Rc::new(Full { at, for_good, seen: Cell::new(0), room: Cell::new(0) });
            let host = world.host(gate.clone());
            let done = apply(&host, &world.plan());
            let case = format!("full at write {at}, for good: {for_good}");
            world.boots().unwrap_or_else(|what| panic!("{case}: {what}"));
            match done {
                Ok(_) => {
                    same(&case, &world.state(), &applied);
                    if gate.seen.get() <= at {
                        assert!(at > 60, "{at}");
                        break;
                    }
                }
                Err(error) => {
                    assert!(
                        matches!(error.exit_code(), 3 | 4),
                        "{case}: {} {error} {:?}",
                        error.exit_code(),
                        error.hints
                    );
                    same(&case, &world.state(), &first);
                    // Its record can still be read.
                    recover(&world.open()).unwrap_or_else(|error| panic!("{case}: {error}"));
                    same(&case, &world.state(), &first);
                }
            }
        }
    }
}

#[test]
fn a_read_only_boot() {
    let (first, _) = both();
    let world = World::new();
    let error = apply(&world.host(Rc::new(ReadOnly("/boot/"))), &world.plan()).unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    same("read-only", &world.state(), &first);
}

#[test]
fn tools_that_fail() {
    let (first, _) = both();
    let cases = [
        ("mkimage", 0, Fault::Fails, 4, "status 7"),
        ("mkimage", 1, Fault::Fails, 4, "status 7"),
        ("mkimage", 1, Fault::Lies, 4, "lacks etc/vfioneer/claims"),
        ("mkimage", 0, Fault::Hangs, 4, "30 minutes"),
        ("mkgrub", 0, Fault::Lies, 4, "lacks the word"),
        ("mkgrub", 0, Fault::Fails, 4, "status 7"),
        ("refresh", 0, Fault::Fails, 4, "status 7"),
        ("kargs", 0, Fault::Fails, 4, "status 7"),
        ("refresh", 0, Fault::Missing, 3, "not installed"),
    ];
    for (tool, run, fault, code, words) in cases {
        let world = World::new();
        world.faults.borrow_mut().push((tool, run, fault));
        let error = apply(&world.open(), &world.plan()).unwrap_err();
        let case = format!("{tool} {fault:?}: {error} {:?}", error.hints);
        assert_eq!(error.exit_code(), code, "{case}");
        assert!(error.message.contains(words), "{case}");
        if fault == Fault::Fails {
            assert!(error.hints.iter().any(|hint| hint.contains("the tool's own words")), "{case}");
        }
        same(&case, &world.state(), &first);
        world.boots().unwrap();
    }
}

#[test]
fn undoing_that_fails_says_what_to_do_and_is_finished_later() {
    let (first, _) = both();
    let world = World::new();
    world.faults.borrow_mut().extend([("refresh", 0, Fault::Fails), ("refresh", 1, Fault::Fails)]);
    let error = apply(&world.open(), &world.plan()).unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    let hints = error.hints.join("\n");
    for words in ["refresh", "vfioneer rollback", "/output/"] {
        assert!(hints.contains(words), "{hints}");
    }
    // The fence stands: what it boots is whole.
    assert_eq!(world.read("/efi/loader/loader.conf"), "default fence.conf\n");
    world.boots().unwrap();
    world.faults.borrow_mut().clear();
    assert_eq!(recover(&world.open()).unwrap(), [1]);
    same("later", &world.state(), &first);
}

#[test]
fn somebody_asks_it_to_stop() {
    let (first, _) = both();
    let world = World::new();
    let interrupt = vfioneer::host::Interrupt::default();
    let host = world.open().heeding(interrupt.clone());
    let session = session(&host).unwrap();
    let mut steps = 0;
    let mut listen = |event: vfioneer::apply::Event<'_>| {
        steps += usize::from(matches!(event, vfioneer::apply::Event::Step(..)));
        if steps == 9 {
            interrupt.ask();
        }
    };
    let error = session.apply(&world.plan(), &mut listen).unwrap_err();
    assert!(error.exit_code() == 4 && error.message.contains("interrupted"), "{error}");
    same("interrupted", &world.state(), &first);
}

#[test]
fn two_at_the_same_time() {
    let world = World::new();
    let (one, two) = (world.open(), world.open());
    let first = session(&one).unwrap();
    let error = open_session(&two).map(|_| ()).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.message.contains("another vfioneer"), "{error}");
    drop(first);
    session(&two).unwrap();
}

/// Run again by the test below, in a process of its own: locks of fcntl(2) do not exclude within one.
#[test]
fn holds_dpkg_s_lock() {
    let Ok(root) = std::env::var("HOLD_LOCK_BELOW") else { return };
    let host = vfioneer::host::TreeMut::mounted(root.as_ref()).unwrap();
    let _lock = vfioneer::host::HostMut::lock_record(&host, "/var/lib/dpkg/lock-frontend").unwrap().unwrap();
    std::fs::write(format!("{root}/held"), "").unwrap();
    std::io::Read::read(&mut std::io::stdin(), &mut [0]).unwrap();
}

#[test]
fn package_managers_at_work() {
    let refused = |world: &World, words: &str| {
        let error = session(&world.open()).map(|_| ()).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.message.contains(words), "{error}");
    };
    let world = World::new();
    world.write("/var/lib/pacman/db.lck", "", 0o644);
    refused(&world, "pacman");
    // It may have been left by one that was interrupted; on a system that does not run, it was.
    std::mem::drop(vfioneer::host::TreeMut::mounted(&world.at("/")).map(|host| session(&host).map(|_| ()).unwrap()));
    let world = World::new();
    world.write("/proc/77/comm", "dnf5\n", 0o444);
    refused(&world, "dnf");
    let world = World::new();
    world.write("/var/lib/dpkg/lock-frontend", "", 0o640);
    let mut other = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holds_dpkg_s_lock"])
        .env("HOLD_LOCK_BELOW", world.at("/"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !world.at("/held").exists() {
        assert!(other.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    refused(&world, "dpkg");
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    session(&world.open()).unwrap();
}

#[test]
fn files_that_changed_since_the_plan() {
    let world = World::new();
    let plan = world.plan();
    for (path, text) in
        [("/etc/kernel/cmdline", "x\n"), ("/etc/vfioneer/claims", "x\n"), ("/etc/modprobe.d/old.conf", "")]
    {
        let world = World::new();
        world.write(path, text, 0o644);
        let before = world.state();
        let error = apply(&world.open(), &plan).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{path}: {error}");
        assert!(error.message.contains(path), "{error}");
        same(path, &world.state(), &before);
    }
}

#[test]
fn files_that_changed_since_are_left_alone() {
    let (first, _) = both();
    let world = applied_world();
    world.write("/etc/default/grub", "WORDS=\"mine\"\n", 0o644);
    world.write("/etc/new/deep/other", "mine\n", 0o644);
    let done = roll_back(&world.open()).unwrap();
    assert_eq!(done.left.len(), 1, "{done:?}");
    assert!(done.left[0].path == "/etc/default/grub" && done.left[0].matters, "{done:?}");
    assert!(done.left[0].reason.contains("/before/2"), "{done:?}");
    assert_eq!(world.read("/etc/default/grub"), "WORDS=\"mine\"\n");
    assert_eq!(world.read("/etc/new/deep/other"), "mine\n");
    for path in ["/etc/kernel/cmdline", "/etc/modprobe.d/old.conf"] {
        assert_eq!(world.state().get(path), first.get(path), "{path}");
    }
    assert!(rollback::choose(&world.open(), None).unwrap().is_none());
}

#[test]
fn what_a_command_touched_and_somebody_changed_since_is_his() {
    let world = applied_world();
    let path = format!("/boot/loader/entries/{}.conf", KERNELS[0]);
    let mine = world.read(&path).replace("quiet", "quiet mine");
    world.write(&path, &mine, 0o644);
    let done = roll_back(&world.open()).unwrap();
    // The undo command took its word out; the rest is as somebody wanted it.
    assert!(
        world.read(&path).contains("quiet mine") && !world.read(&path).contains("intel_iommu"),
        "{}",
        world.read(&path)
    );
    assert!(done.left.iter().any(|left| left.path == path && !left.matters), "{done:?}");
}

#[test]
fn journals_with_garbage() {
    let (first, applied) = both();
    let journal = "/var/lib/vfioneer/transactions/1/journal";
    // A line that was cut off, or zeros from a power cut: what it would have said did not happen.
    for tail in ["{\"record\":\"undo-int", "\0\0\0\0\0\0", "{\"record\":\"swept\"}"] {
        let world = applied_world();
        let text = world.read(journal);
        world.write(journal, &format!("{text}{tail}"), 0o600);
        recover(&world.open()).unwrap();
        same(tail, &world.state(), &applied);
        roll_back(&world.open()).unwrap();
        same(tail, &world.state(), &first);
    }
    for (case, broken) in [("line 2", "{\"record\":\"begin\"}\n"), ("another version", "journal/1")] {
        let world = applied_world();
        let text = world.read(journal);
        let text = match case {
            "line 2" => text.replacen('\n', "\n\u{1}\u{2}garbage\n", 1),
            _ => text.replacen(broken, "journal/9", 1),
        };
        world.write(journal, &text, 0o600);
        let error = recover(&world.open()).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{case}: {error}");
        assert!(error.message.contains(case) && error.message.contains(journal), "{error}");
        assert!(error.hints.iter().any(|hint| hint.contains("/before")), "{:?}", error.hints);
        same(case, &world.state(), &applied);
    }
}

#[test]
fn a_copy_that_is_damaged_is_seen_before_anything_is_undone() {
    let world = applied_world();
    let state = world.state();
    world.write("/var/lib/vfioneer/transactions/1/before/2", "other\n", 0o600);
    let error = roll_back(&world.open()).unwrap_err();
    assert!(error.exit_code() == 3 && error.message.contains("/before/2"), "{error}");
    same("refused", &world.state(), &state);
}

#[test]
fn the_newer_one_goes_first() {
    let world = applied_world();
    let mut plan = world.plan();
    plan.steps = vec![vfioneer::steps::Step::write("/etc/second", None, "x\n", 0o644, String::new())];
    assert_eq!(apply(&world.open(), &plan).unwrap(), 2);
    let host = world.open();
    let error = rollback::choose(&host, Some(1)).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.hints[0].contains("vfioneer rollback 2"), "{:?}", error.hints);
    assert_eq!(rollback::choose(&host, Some(7)).unwrap_err().exit_code(), 2);
    assert_eq!(rollback::choose(&host, Some(2)).unwrap().unwrap().id, 2);
    roll_back(&host).unwrap();
    assert_eq!(rollback::choose(&host, Some(2)).unwrap_err().exit_code(), 3);
    assert_eq!(rollback::choose(&host, Some(1)).unwrap().unwrap().id, 1);
}

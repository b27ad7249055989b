use super::super::case::Case;
use super::{Refusal, all, check_names};
use crate::checks::testing::{self as t, DISK, GPU, IGPU};
use crate::facts::usage::{Use, UseKind};
use crate::facts::{Evidence, Snapshot};
use crate::goal::{Goal, Method};
use crate::host::{Fact, Why};
use crate::parse::address::Address;

const CARD: &[&str] = &[GPU, "0000:01:00.1"];

fn goal(devices: &[&str]) -> Goal {
    let devices: Vec<Address> = devices.iter().map(|address| t::at(address)).collect();
    Goal { devices, ..Goal::default() }
}

fn refused(snap: &Snapshot, goal: &Goal) -> Vec<Refusal> {
    let refused = all(&Case::new(snap, goal));
    for refusal in &refused {
        assert!(refusal.reason.ends_with('.') || refusal.guard.starts_with("iommu-off"), "{refusal:?}");
        assert!(!refusal.reason.contains('{'), "{refusal:?}");
        assert!(!refusal.reason.starts_with("guard-"), "{refusal:?}");
    }
    refused
}

/// The guards that refuse, with their subjects.
fn shown(snap: &Snapshot, goal: &Goal) -> Vec<String> {
    refused(snap, goal).iter().map(|refusal| format!("{} {}", refusal.guard, refusal.subject)).collect()
}

/// Refused by this guard, and by nothing any more when it is named.
fn only(snap: &Snapshot, mut goal: Goal, guard: &str, subject: &str) {
    assert_eq!(shown(snap, &goal), [format!("{guard} {subject}")]);
    goal.allow.insert(guard.to_owned());
    check_names(&goal.allow).unwrap();
    assert_eq!(shown(snap, &goal), Vec::<String>::new(), "{guard} is named");
}

fn used(kind: UseKind, source: &str) -> Snapshot {
    let mut snap = t::healthy();
    let evidence = Evidence::new(source, "");
    snap.usage.uses.push(Use { address: t::at(GPU), kind, by: "somebody".into(), evidence });
    snap
}

#[test]
fn a_card_that_nobody_uses_is_free() {
    assert_eq!(shown(&t::healthy(), &goal(CARD)), Vec::<String>::new());
    assert_eq!(shown(&t::passthrough(), &goal(CARD)), Vec::<String>::new());
    assert_eq!(shown(&t::healthy(), &Goal::default()), Vec::<String>::new());
}

#[test]
fn each_use_has_its_guard() {
    for (kind, guard) in [
        (UseKind::RootStorage, "root-storage"),
        (UseKind::Storage, "storage"),
        (UseKind::DefaultRoute, "default-route"),
        (UseKind::SshSession, "ssh"),
        (UseKind::Network, "network"),
        (UseKind::Process, "in-use"),
        (UseKind::RunningVm, "in-use"),
        (UseKind::VirtualFunctions, "slices"),
        (UseKind::Mdev, "slices"),
    ] {
        only(&used(kind, "/proc/mounts"), goal(CARD), guard, GPU);
    }
    only(&used(UseKind::Display, "/proc/812/fd/7"), goal(CARD), "in-use", GPU);
    let console = used(UseKind::Display, "/sys/class/vtconsole/vtcon1/bind");
    assert_eq!(shown(&console, &goal(CARD)), Vec::<String>::new(), "only the kernel's own console");
    only(&t::healthy(), goal(&[DISK]), "root-storage", DISK);
    let mut running = used(UseKind::RunningVm, "/etc/pve/qemu-server/100.conf");
    for address in CARD {
        t::change(&mut running, address, |f| f.driver = Fact::Known("vfio-pci".into()));
    }
    assert_eq!(shown(&running, &goal(CARD)), Vec::<String>::new(), "the VM has it already");
}

#[test]
fn storage_that_could_not_be_followed_may_be_anywhere() {
    let mut snap = t::healthy();
    t::add(&mut snap, t::with_driver(t::function("0000:05:00.0", "144d:a80a", 0x01_0802), "nvme"));
    assert_eq!(shown(&snap, &goal(&["0000:05:00.0"])), Vec::<String>::new());
    snap.usage.unread.push(("zpool tank".into(), Why::NotPermitted));
    only(&snap, goal(&["0000:05:00.0"]), "storage", "0000:05:00.0");
    assert!(refused(&snap, &goal(&["0000:05:00.0"]))[0].reason.contains("zpool tank"));
    assert_eq!(shown(&snap, &goal(CARD)), Vec::<String>::new());
}

#[test]
fn the_last_screen_is_not_given_away_blindly() {
    let mut snap = t::healthy();
    let both = goal(&[IGPU, GPU, "0000:01:00.1"]);
    assert_eq!(shown(&snap, &both), Vec::<String>::new(), "there is SSH");
    for consoles in [Fact::Known(Vec::new()), Fact::Unknown(Why::NotPermitted)] {
        snap.usage.consoles = consoles;
        only(&snap, both.clone(), "only-console", IGPU);
        assert_eq!(shown(&snap, &goal(CARD)), Vec::<String>::new(), "one screen is left");
        let serial = Goal { serial_console: Some("ttyS0,115200".into()), ..both.clone() };
        assert_eq!(shown(&snap, &serial), Vec::<String>::new());
        let missing = Goal { serial_console: Some("ttyS7,115200".into()), ..both.clone() };
        assert_eq!(shown(&snap, &missing), ["serial-console host".to_owned(), format!("only-console {IGPU}")]);
    }
    snap.usage.serial_ports = Fact::Unknown(Why::NotPermitted);
    let serial = Goal { serial_console: Some("ttyS0,115200".into()), ..both };
    only(&snap, serial, "only-console", IGPU);
}

#[test]
fn a_group_goes_whole_or_not_at_all() {
    let mut snap = t::healthy();
    t::change(&mut snap, "0000:00:1f.3", |f| f.group = Fact::Known(14));
    only(&snap, goal(CARD), "group", "group 14");
    assert!(refused(&snap, &goal(CARD))[0].reason.contains("0000:00:1f.3"));
    // Named, the others are given away too, and their own guards count.
    t::change(&mut snap, DISK, |f| f.group = Fact::Known(14));
    assert!(refused(&snap, &goal(CARD))[0].reason.contains("0000:00:17.0 (/)"));
    let all_of_it = Goal { allow: ["group".to_owned()].into(), ..goal(CARD) };
    assert_eq!(shown(&snap, &all_of_it), [format!("root-storage {DISK}")]);
    let case = Case::new(&snap, &all_of_it);
    assert_eq!(case.chosen.len(), 4);
    // What stands aside is in nobody's way, what is not known may be.
    for (driver, expected) in [(Fact::Absent, 0), (Fact::Known("vfio-pci".into()), 0), (Fact::default(), 1)] {
        let mut snap = t::healthy();
        t::change(&mut snap, "0000:00:1f.3", |f| {
            f.group = Fact::Known(14);
            f.driver = driver;
        });
        assert_eq!(shown(&snap, &goal(CARD)).len(), expected);
    }
    // Bridges never are.
    let mut port = t::healthy();
    t::change(&mut port, "0000:00:01.0", |f| f.group = Fact::Known(14));
    assert_eq!(shown(&port, &goal(CARD)), Vec::<String>::new());
    assert_eq!(shown(&t::healthy(), &goal(&[GPU])), ["group group 14"], "its own sound function");
}

#[test]
fn isolation_that_is_only_pretended() {
    let mut snap = t::healthy();
    t::cmdline(&mut snap, "ro pcie_acs_override=downstream");
    assert_eq!(shown(&snap, &goal(CARD)), Vec::<String>::new(), "its port isolates by itself");
    t::change(&mut snap, "0000:00:01.0", |f| f.acs = Fact::Absent);
    only(&snap, goal(CARD), "acs-override", GPU);
    snap.kernel.acs_override = Fact::Known(false);
    assert_eq!(shown(&snap, &goal(CARD)), Vec::<String>::new(), "a word without effect");

    let mut shared = t::healthy();
    shared.kernel.acs_override = Fact::Known(false);
    t::change(&mut shared, "0000:00:1f.3", |f| f.group = Fact::Known(14));
    let named = Goal { allow: ["acs-override".to_owned()].into(), ..goal(CARD) };
    assert_eq!(shown(&shared, &named), ["group group 14", "acs-override-not-carried host"]);
}

#[test]
fn interrupts_without_remapping() {
    let mut snap = t::healthy();
    snap.iommu.interrupt_remapping = Fact::Known(false);
    only(&snap, goal(CARD), "unsafe-interrupts", "host");
    let key = ("vfio_iommu_type1".to_owned(), "allow_unsafe_interrupts".to_owned());
    snap.kernel.parameters.insert(key, "Y".into());
    assert_eq!(shown(&snap, &goal(CARD)), Vec::<String>::new(), "the user has accepted it before");
}

#[test]
fn ids_that_take_more() {
    let ids = Goal { method: Method::Ids, ..goal(CARD) };
    let mut snap = t::healthy();
    assert_eq!(shown(&snap, &ids), Vec::<String>::new());
    let mut twin = t::with_driver(t::function("0000:05:00.0", "10de:2684", 0x03_0000), "nouveau");
    twin.subsystem = Fact::Known(crate::facts::pci::Ids { vendor: 0x1462, device: 0x5110 });
    t::add(&mut snap, twin);
    assert_eq!(shown(&snap, &ids), Vec::<String>::new(), "the board tells them apart");
    t::change(&mut snap, "0000:05:00.0", |f| f.subsystem = Fact::default());
    let refused = self::refused(&snap, &ids);
    assert_eq!((refused.len(), refused[0].guard, refused[0].allowable), (1, "ids-take-more", false));
    assert!(refused[0].reason.contains("0000:05:00.0"));
    assert_eq!(shown(&snap, &goal(CARD)), Vec::<String>::new(), "by identity nothing else is taken");

    let mut snap = t::healthy();
    if let Fact::Known(builtin) = &mut snap.kernel.installed[0].builtin {
        builtin.insert("nouveau".into());
    }
    let refused = self::refused(&snap, &ids);
    assert_eq!((refused.len(), refused[0].guard), (1, "ids-native-built-in"));
    assert!(refused[0].reason.starts_with("nouveau, which drives"), "{}", refused[0].reason);
    assert_eq!(shown(&snap, &goal(CARD)), Vec::<String>::new(), "a claim takes it from a built-in driver");
}

#[test]
fn what_no_plan_can_change() {
    type Change = fn(&mut Snapshot);
    let cases: [(&str, Change); 9] = [
        ("iommu-off-in-kernel host", |s| {
            // AMD's is on where the firmware offers it: no word would help.
            s.system.cpu_vendor = Fact::Known(crate::facts::system::CpuVendor::Amd);
            s.iommu.table = Fact::Known(crate::facts::iommu::TableKind::Ivrs);
            s.iommu.groups.clear();
            s.iommu.units = Fact::Known(Vec::new());
        }),
        ("iommu-off-in-firmware host", |s| {
            s.iommu.table = Fact::Absent;
            s.iommu.groups.clear();
            s.iommu.units = Fact::Known(Vec::new());
        }),
        ("iommu-unseen host", |s| {
            s.iommu.groups.clear();
            s.iommu.units = Fact::Unknown(Why::NotPermitted);
        }),
        ("no-iommu-group 0000:01:00.0", |s| {
            t::change(s, GPU, |f| f.group = Fact::Absent);
            t::change(s, "0000:01:00.1", |f| f.group = Fact::Known(15));
        }),
        ("dead 0000:01:00.0", |s| t::change(s, GPU, |f| f.dead = Fact::Known(true))),
        ("bridge 0000:01:00.0", |s| {
            t::change(s, GPU, |f| f.header = Fact::Known(crate::facts::pci::Header::Bridge));
        }),
        ("virtual-function 0000:01:00.0", |s| t::change(s, GPU, |f| f.physical = Fact::Known(t::at(IGPU)))),
        ("unidentified 0000:01:00.0", |s| t::change(s, GPU, |f| f.serial = Fact::Unknown(Why::NotPermitted))),
        ("kernel-lacks-vfio host", |s| {
            t::config(s, "VFIO_PCI", None);
            if let Fact::Known(available) = &mut s.kernel.installed[0].available {
                available.remove("vfio_pci");
            }
        }),
    ];
    for (expected, change) in cases {
        let mut snap = t::healthy();
        change(&mut snap);
        let mut all: Goal = goal(CARD);
        all.allow = super::NAMES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert!(shown(&snap, &goal(CARD)).contains(&expected.to_owned()), "{expected}");
        assert!(shown(&snap, &all).contains(&expected.to_owned()), "{expected}: nothing allows it");
    }
}

#[test]
fn names_that_there_are_not() {
    let error = check_names(&["in-use".to_owned(), "everything".to_owned()].into()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.message.contains("everything") && error.hints[0].contains("root-storage"));
}

#[test]
fn ids_that_took_nothing_so_far_would_take_what_the_host_needs() {
    let mut snap = t::healthy();
    let ids = snap.pci.get(&t::at(DISK)).unwrap().ids.known().unwrap().to_string();
    t::modprobe(&mut snap, "/etc/modprobe.d/v.conf", &format!("options vfio-pci ids={ids}"));
    assert_eq!(shown(&snap, &goal(CARD)), [format!("ids-come-alive {DISK}")]);
    assert!(refused(&snap, &goal(CARD))[0].reason.contains("/etc/modprobe.d/v.conf:1"));
    // Repaired, the id is gone.
    assert_eq!(shown(&snap, &Goal { repair: true, ..goal(CARD) }), Vec::<String>::new());
    assert_eq!(shown(&snap, &goal(&[])), Vec::<String>::new(), "nothing changes then");
}

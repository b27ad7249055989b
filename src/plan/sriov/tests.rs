use crate::checks::testing::{self as t, NIC};
use crate::facts::own::{CLAIMS, SRIOV_RULES, SRIOV_SCRIPT};
use crate::facts::pci::Sriov;
use crate::facts::usage::{Use, UseKind};
use crate::facts::{Evidence, Snapshot, TextFile};
use crate::goal::Request;
use crate::host::{Fact, Why};
use crate::parse::sriov_rules;
use crate::plan::{Plan, make};
use crate::steps::{Action, Content, Expectation};

fn plan(snap: &Snapshot, devices: &[&str], vfs: u16, allow: &[&str]) -> Plan {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let request = Request {
        devices: owned(devices),
        vfs: Some(vfs),
        allow: owned(allow).into_iter().collect(),
        ..Request::default()
    };
    make(snap, &request.resolve(&snap.pci).unwrap())
}

fn host() -> Snapshot {
    let mut snap = t::with_nic();
    snap.own.programs.insert("/usr/bin/udevadm".into());
    snap
}

/// Carries out what a plan does with files, and with the card.
fn apply(snap: &mut Snapshot, plan: &Plan) {
    for step in &plan.steps {
        match &step.action {
            Action::WriteFile { path, after: Content::Text(text), .. } => {
                let file = TextFile { path: path.clone(), text: text.clone() };
                snap.own.files.insert(path.clone(), Fact::Known(file));
            }
            Action::RemoveFile { path, .. } => {
                snap.own.files.insert(path.clone(), Fact::Absent);
            }
            Action::VirtualFunctions { count, .. } => {
                snap.pci.functions.retain(|f| f.physical.known().is_none());
                t::make_virtual(snap, u8::try_from(*count).unwrap(), Some("vfio-pci"));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The steps in a few words, and why a reboot is needed.
fn shown(plan: &Plan) -> Vec<String> {
    assert!(plan.refused.is_empty(), "{:?}", plan.refused);
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let step = |action: &Action| match action {
        Action::WriteFile { path, .. } => format!("write {}", name(path)),
        Action::RemoveFile { path, .. } => format!("remove {}", name(path)),
        Action::VirtualFunctions { address, former, count } => format!("{address} {former} {count}"),
        other => format!("{other:?}"),
    };
    let mut shown: Vec<String> = plan.steps.iter().map(|one| step(&one.action)).collect();
    shown.extend(plan.reboot.then(|| plan.notes.iter().filter(|note| note.contains("reboot")).cloned().collect()));
    shown
}

fn refused(plan: &Plan) -> Vec<&'static str> {
    assert!(
        plan.refused.iter().all(|one| one.reason.ends_with('.') && !one.reason.contains('{')),
        "{:?}",
        plan.refused
    );
    plan.refused.iter().map(|refusal| refusal.guard).collect()
}

#[test]
fn the_device_stays_and_makes_virtual_functions_now_and_at_every_boot() {
    let mut snap = host();
    let first = plan(&snap, &["05:00"], 4, &[]);
    assert_eq!(shown(&first), ["write sriov.sh", "write 90-vfioneer-sriov.rules", "0000:05:00.0 0 4"]);
    assert_eq!((first.devices.as_slice(), first.reboot), (&[t::at(NIC)][..], false));
    let expect = Expectation::VirtualFunctions { address: t::at(NIC), id: "8086:10fb".into(), count: 4 };
    assert!(first.expect.contains(&expect) && first.expect.contains(&Expectation::IommuOn));
    let taken = |one: &Expectation| matches!(one, Expectation::Driver { .. } | Expectation::NothingElseTaken { .. });
    assert!(!first.expect.iter().any(taken));
    apply(&mut snap, &first);
    // Physical and virtual functions share the slot of some devices, and the ids of others.
    for name in ["05:00", "05:00.0", "8086:10fb"] {
        assert_eq!(shown(&plan(&snap, &[name], 4, &[])), [""; 0], "{name}");
    }
    // Once it makes others, it stays.
    let itself = Request { devices: vec!["05:00.0".into()], ..Request::default() };
    assert_eq!(refused(&make(&snap, &itself.resolve(&snap.pci).unwrap())), ["makes-vfs"]);
    // Another number passes through none.
    let more = plan(&snap, &["05:00"], 8, &[]);
    assert_eq!(shown(&more), ["write 90-vfioneer-sriov.rules", "0000:05:00.0 4 8"]);
    apply(&mut snap, &more);
    let none = plan(&snap, &["05:00"], 0, &[]);
    assert_eq!(shown(&none), ["remove 90-vfioneer-sriov.rules", "remove sriov.sh", "0000:05:00.0 8 0"]);
    apply(&mut snap, &none);
    assert_eq!(shown(&plan(&snap, &["05:00"], 0, &[])), [""; 0]);
}

#[test]
fn a_reboot_where_it_is_not_safe_now() {
    type Change = fn(&mut Snapshot);
    let cases: [(&str, Change, &str); 6] = [
        ("of the host", |s| t::make_virtual(s, 4, Some("ixgbevf")), "not on vfio-pci"),
        ("without a driver", |s| t::make_virtual(s, 2, None), "not on vfio-pci"),
        ("nobody looked", |s| s.usage.complete = Fact::Unknown(Why::NotPermitted), "could not be seen"),
        ("no driver", |s| t::change(s, NIC, |f| f.driver = Fact::Absent), "no driver has the device"),
        ("vfio-pci cannot be loaded", |s| s.kernel.installed[0].available = Fact::default(), "cannot load vfio-pci"),
        (
            "the IOMMU is off",
            |s| {
                s.iommu.units = Fact::Known(Vec::new());
                s.iommu.groups.clear();
                s.kernel.installed[0].config = Fact::Known([("INTEL_IOMMU".into(), "y".into())].into());
            },
            "A reboot is needed",
        ),
    ];
    for (name, change, why) in cases {
        let mut snap = host();
        change(&mut snap);
        let plan = plan(&snap, &["05:00"], 4, &[]);
        let shown = shown(&plan);
        assert!(shown.contains(&"write 90-vfioneer-sriov.rules".to_owned()), "{name}: {shown:?}");
        assert!(shown.last().is_some_and(|last| last.contains(why)), "{name}: {shown:?}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let mut snap = host();
    assert_eq!(refused(&plan(&snap, &["05:00"], 64, &[])), ["vfs-too-many"]);
    assert_eq!(refused(&plan(&snap, &["01:00.0"], 1, &[])), ["vfs-no-capability"]);
    t::change(&mut snap, NIC, |f| f.driver = Fact::Known("vfio-pci".into()));
    assert_eq!(refused(&plan(&snap, &["05:00"], 4, &[])), ["vfs-on-vfio"]);
    let mut snap = host();
    t::make_virtual(&mut snap, 2, Some("vfio-pci"));
    assert_eq!(refused(&plan(&snap, &["05:10.1"], 4, &[])), ["vfs-of-virtual"]);
    let evidence = Evidence::new("/etc/pve/qemu-server/105.conf", "");
    let user = Use { address: t::at("0000:05:10.1"), kind: UseKind::RunningVm, by: "VM 105".into(), evidence };
    snap.usage.uses.push(user);
    assert_eq!(refused(&plan(&snap, &["05:00"], 4, &[])), ["slices"]);
    assert!(shown(&plan(&snap, &["05:00"], 4, &["slices"])).last().unwrap().contains("in use"));
    // As many as there are: whoever has one keeps it.
    assert_eq!(refused(&plan(&snap, &["05:00"], 2, &[])), [""; 0]);
    t::change(&mut snap, NIC, |f| f.sriov = Fact::Unknown(Why::NotPermitted));
    assert_eq!(refused(&plan(&snap, &["05:00"], 4, &[])), ["vfs-unknown"]);
    let mut snap = host();
    let claims = "# vfioneer claims 1\n0000:05:00.0 vfio-pci 8086 10fb 1043 8888 0000:00/1c.0/00.0 - no\n".to_owned();
    snap.own.files.insert(CLAIMS.into(), Fact::Known(TextFile { path: CLAIMS.into(), text: claims }));
    assert_eq!(refused(&plan(&snap, &["05:00"], 4, &[])), ["vfs-claimed"]);
    let mut snap = host();
    t::change(&mut snap, NIC, |f| f.subsystem = Fact::Unknown(Why::NotPermitted));
    assert_eq!(refused(&plan(&snap, &["05:00"], 4, &[])), ["unidentified"]);
}

#[test]
fn each_device_has_a_rule_of_its_own() {
    let mut snap = host();
    let mut other = t::with_driver(t::function("0000:05:00.1", "8086:10fb", 0x02_0000), "ixgbe");
    other.parent = Fact::Known(t::at("0000:00:1c.0"));
    other.sriov = Fact::Known(Sriov { total: 63, active: 0, autoprobe: Some(true) });
    t::add(&mut snap, other);
    let first = plan(&snap, &["05:00.1"], 3, &[]);
    for step in &first.steps {
        if let Action::WriteFile { path, after: Content::Text(text), .. } = &step.action {
            snap.own.files.insert(path.clone(), Fact::Known(TextFile { path: path.clone(), text: text.clone() }));
        }
    }
    let counts = |plan: &Plan| {
        let text = plan.steps.iter().find(|step| step.path() == Some(SRIOV_RULES)).and_then(|step| step.text());
        sriov_rules::parse(text.unwrap_or_default()).iter().map(|rule| rule.count).collect::<Vec<_>>()
    };
    assert_eq!(counts(&plan(&snap, &["05:00.0"], 4, &[])), [4, 3]);
    assert_eq!(counts(&plan(&snap, &["05:00"], 5, &[])), [5, 5]);
    let none = plan(&snap, &["05:00"], 0, &[]);
    assert!(none.steps.iter().any(|step| step.path() == Some(SRIOV_SCRIPT)));
    // Without udev nothing runs a rule.
    snap.own.programs.clear();
    let plan = plan(&snap, &["05:00.0"], 4, &[]);
    assert!(plan.manual.concat().contains("No udev") && !plan.steps.iter().any(|step| step.path().is_some()));
}

#[test]
fn without_an_iommu_in_the_firmware_nothing_is_made() {
    let mut snap = host();
    snap.iommu.table = Fact::Absent;
    snap.iommu.units = Fact::Known(Vec::new());
    snap.iommu.groups.clear();
    assert_eq!(refused(&plan(&snap, &["05:00"], 4, &[])), ["iommu-off-in-firmware"]);
    assert_eq!(refused(&plan(&snap, &["05:00"], 0, &[])), [""; 0]);
}

#[test]
fn nothing_is_said_against_virtual_functions_on_vfio() {
    let mut snap = host();
    t::make_virtual(&mut snap, 4, Some("vfio-pci"));
    let before = t::shown(&t::check(&t::with_nic()));
    assert_eq!(t::shown(&t::check(&snap)), before);
    // Those of NVMe controllers have the ids of their physical one.
    for number in 0..4 {
        t::change(&mut snap, &format!("0000:05:10.{number}"), |f| {
            f.ids = Fact::Known(crate::facts::pci::Ids { vendor: 0x8086, device: 0x10fb });
            f.driver_override = Fact::Known("vfio-pci".into());
            f.candidates = Fact::Known(vec!["ixgbe".into()]);
        });
    }
    assert_eq!(t::shown(&t::check(&snap)), before);
}

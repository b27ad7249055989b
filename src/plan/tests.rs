use super::{Plan, SCHEMA, make};
use crate::checks::testing::{self as t, GPU, IGPU};
use crate::facts::boot::{Chain, GrubConfig};
use crate::facts::own::CLAIMS;
use crate::facts::usage::{Use, UseKind};
use crate::facts::{Evidence, Origin, Snapshot, TextFile};
use crate::goal::Request;
use crate::host::{Fact, Kind, Why};
use crate::parse::claims;
use crate::steps::{Action, Expectation, Step};

fn request(devices: &[&str]) -> Request {
    Request { devices: devices.iter().map(|&device| device.to_owned()).collect(), ..Request::default() }
}

fn plan(snap: &Snapshot, request: Request) -> Plan {
    make(snap, &request.resolve(&snap.pci).unwrap())
}

fn card(snap: &Snapshot) -> Plan {
    plan(snap, request(&["01:00"]))
}

fn binds(plan: &Plan) -> Vec<String> {
    let bind = |step: &Step| match &step.action {
        Action::Bind { address, driver, former } => Some(format!("{address} {former:?} {driver}")),
        _ => None,
    };
    plan.steps.iter().filter_map(bind).collect()
}

/// The text that a plan gives a file.
fn written<'a>(plan: &'a Plan, path: &str) -> Option<&'a str> {
    plan.steps.iter().find_map(|step| match &step.action {
        Action::WriteFile { path: this, after, .. } if this == path => after.text(),
        _ => None,
    })
}

#[test]
fn a_card_that_nobody_uses_is_handed_over_now_and_claimed_at_the_next_boot() {
    let plan = card(&t::healthy());
    assert_eq!(plan.schema, SCHEMA);
    assert!(plan.refused.is_empty() && plan.words.is_empty() && !plan.reboot);
    assert_eq!(
        binds(&plan),
        ["0000:01:00.0 Some(\"nouveau\") vfio-pci", "0000:01:00.1 Some(\"snd_hda_intel\") vfio-pci"]
    );
    let claimed = claims::parse(written(&plan, CLAIMS).unwrap());
    assert_eq!(claimed.claims.len(), 2);
    let last = plan.steps.iter().rev().take(2).all(|step| matches!(step.action, Action::Bind { .. }));
    assert!(last, "everything that the next boot needs comes first");
    for function in [GPU, "0000:01:00.1"] {
        let expected = |e: &Expectation| matches!(e, Expectation::Driver { address, driver, .. } if *address == t::at(function) && driver == "vfio-pci");
        assert!(plan.expect.iter().any(expected));
    }
    assert!(plan.expect.contains(&Expectation::IommuOn));
    assert!(plan.expect.contains(&Expectation::GroupViable { address: t::at(GPU) }));
    let taken = Expectation::NothingElseTaken { addresses: vec![t::at(GPU), t::at("0000:01:00.1")] };
    assert!(plan.expect.contains(&taken));
}

#[test]
fn a_reboot_where_the_card_is_used_or_may_be() {
    type Change = fn(&mut Snapshot);
    let cases: [(&str, Change, &str); 8] = [
        ("a console", |s| t::change(s, GPU, |f| f.boot_display = Fact::Known(true)), "boot display"),
        ("perhaps a console", |s| t::change(s, GPU, |f| f.boot_display = Fact::default()), "boot display"),
        (
            "a screen",
            |s| {
                let evidence = Evidence::new("/sys/class/drm/card1-DP-1/enabled", "enabled");
                s.usage.uses.push(Use { address: t::at(GPU), kind: UseKind::Display, by: "DP-1".into(), evidence });
            },
            "in use",
        ),
        ("unseen processes", |s| s.usage.complete = Fact::Unknown(Why::NotPermitted), "could not be seen"),
        ("a word", |s| t::config(s, "INTEL_IOMMU_DEFAULT_ON", None), ""),
        (
            "the IOMMU is off",
            |s| {
                s.iommu.groups.clear();
                s.iommu.units = Fact::Known(Vec::new());
                t::config(s, "INTEL_IOMMU_DEFAULT_ON", None);
            },
            "words",
        ),
        ("a system that does not run", |s| s.origin = Origin::Host(Kind::Mounted, "/mnt".into()), "does not run"),
        (
            "a kernel without modules",
            |s| s.kernel.installed[0].available = Fact::Unknown(Why::NotPermitted),
            "cannot load",
        ),
    ];
    for (name, change, note) in cases {
        let mut snap = t::healthy();
        change(&mut snap);
        let plan = card(&snap);
        assert!(plan.refused.is_empty(), "{name}: {:?}", plan.refused);
        assert_eq!(plan.reboot, !note.is_empty(), "{name}");
        assert_eq!(binds(&plan).is_empty(), !note.is_empty(), "{name}");
        assert!(plan.notes.iter().any(|text| text.contains(note)) || note.is_empty(), "{name}: {:?}", plan.notes);
    }
}

#[test]
fn what_works_already_stays_as_it_is() {
    let plan = card(&t::passthrough());
    assert_eq!(plan.steps, Vec::new());
    assert!(plan.is_empty() && !plan.reboot && plan.notes[0].contains("/etc/modprobe.d/vfio.conf:1"));
    // The same cards by somebody's command alone, and by luck.
    let mut by_hand = t::healthy();
    let mut stale = t::passthrough();
    for address in [GPU, "0000:01:00.1"] {
        t::change(&mut by_hand, address, |f| f.driver = Fact::Known("vfio-pci".into()));
    }
    for image in &mut stale.initramfs.images {
        if let Fact::Known(content) = &mut image.content {
            content.files.clear();
        }
    }
    let mut unseen = t::passthrough();
    unseen.initramfs.images[0].content = Fact::Unknown(Why::NotPermitted);
    for snap in [by_hand, stale, unseen] {
        let plan = card(&snap);
        assert!(written(&plan, CLAIMS).is_some());
        assert!(binds(&plan).is_empty() && !plan.reboot, "they are there");
    }
}

#[test]
fn driverctl_and_scripts_in_the_image_are_adopted() {
    let on_vfio = || {
        let mut snap = t::healthy();
        for address in [GPU, "0000:01:00.1"] {
            t::change(&mut snap, address, |f| {
                f.driver = Fact::Known("vfio-pci".into());
                f.driver_override = Fact::Known("vfio-pci".into());
            });
        }
        snap
    };
    let mut driverctl = on_vfio();
    for address in [GPU, "0000:01:00.1"] {
        driverctl.modules.files.push(t::file(&format!("/etc/driverctl.d/pci-{address}"), "vfio-pci\n"));
    }
    assert!(card(&driverctl).is_empty());
    driverctl.modules.files.pop();
    assert!(!card(&driverctl).is_empty(), "one of two");

    let mut script = on_vfio();
    let text = "for f in 0000:01:00.0 0000:01:00.1; do echo vfio-pci > /sys/bus/pci/devices/$f/driver_override; done\n";
    t::in_images(&mut script, "scripts/init-top/vfio", text);
    assert!(card(&script).is_empty());
    let other = script.initramfs.images[0].clone();
    script.initramfs.images.push(other);
    script.initramfs.images[1].content = Fact::Known(Default::default());
    assert!(!card(&script).is_empty(), "not in the image of every kernel");
}

#[test]
fn ids_on_the_command_line_are_adopted_if_every_entry_has_them() {
    let ids = "ro vfio-pci.ids=10de:2684,10de:22ba";
    let host = |entries: &[&str]| {
        let mut snap = t::passthrough();
        snap.modules.directives.retain(|directive| directive.word != "options");
        t::cmdline(&mut snap, ids);
        snap.boot.places.clear();
        t::place(&mut snap, Chain::Grub, "/etc/default/grub", "GRUB_CMDLINE_LINUX=\"…\"", ids);
        for words in entries {
            let place = t::place(&mut snap, Chain::Grub, "/boot/grub/grub.cfg", "linux …", words);
            (place.generated, place.key) = (true, "linux".into());
        }
        snap
    };
    assert!(written(&card(&host(&[ids, ids])), CLAIMS).is_none());
    assert!(written(&card(&host(&[ids, "ro"])), CLAIMS).is_some(), "the other one leaves it to its driver");
}

#[test]
fn claims_that_are_there_are_kept_and_a_moved_one_is_written_anew() {
    let mut snap = t::healthy();
    let text = "# vfioneer claims 1\n\
        # address driver vendor device subvendor subdevice path serial twins\n\
        0000:05:00.0 vfio-pci 144d a80a 144d a801 0000:00/1d.0/00.0 - no\n\
        0000:02:00.0 vfio-pci 10de 2684 1043 8888 0000:00/01.0/00.0 - no\n";
    let file = TextFile { path: CLAIMS.into(), text: text.into() };
    snap.own.files.insert(CLAIMS.into(), Fact::Known(file));
    let claimed = claims::parse(written(&card(&snap), CLAIMS).unwrap()).claims;
    let addresses: Vec<String> = claimed.iter().map(|claim| claim.address.to_string()).collect();
    assert_eq!(addresses, ["0000:01:00.0", "0000:01:00.1", "0000:05:00.0"], "02:00.0 is 01:00.0 today");
}

#[test]
fn a_refused_plan_has_no_steps_and_one_of_a_recording_is_not_applied() {
    let mut snap = t::healthy();
    snap.own.fingerprint = Fact::Known("0123".into());
    let recorded = card(&snap);
    assert!(!recorded.applicable && recorded.host.is_none());
    snap.origin = Origin::Host(Kind::Live, "here".into());
    let by_hand = card(&snap);
    assert!(!by_hand.applicable && !by_hand.manual.is_empty(), "no menu of GRUB's to make");
    let menu = t::file("/boot/grub/grub.cfg", "menuentry 'Debian' {\n\tlinux /boot/vmlinuz ro quiet\n}\n");
    snap.boot.grub_configs.push(GrubConfig { file: menu.into(), ..GrubConfig::default() });
    let live = card(&snap);
    assert_eq!(live.manual, Vec::<String>::new());
    assert!(live.applicable && live.host.as_deref() == Some("0123"));
    let refused = plan(&snap, request(&[t::DISK]));
    assert!(!refused.applicable && refused.is_empty() && !refused.refused.is_empty());
    assert!(refused.expect.is_empty() && refused.words.is_empty());
}

#[test]
fn the_goal_in_a_plan_gives_the_plan_again() {
    let snap = t::healthy();
    let asked = Request { iommu_pt: true, allow: ["in-use".to_owned()].into(), ..request(&["10de:2684", IGPU]) };
    let first = plan(&snap, asked);
    let again = plan(&snap, Request::from_json(&first.goal).unwrap());
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&again).unwrap());
    assert_eq!(first.goal["devices"], serde_json::json!(["10de:2684", IGPU]), "selectors, not addresses");
}

#[test]
fn wishes_without_a_device() {
    let snap = t::healthy();
    let wished = plan(&snap, Request { serial_console: Some("ttyS0".into()), ..Request::default() });
    assert!(wished.reboot && wished.refused.is_empty() && written(&wished, CLAIMS).is_none());
    assert_eq!(wished.words.len(), 2);
    assert!(wished.left_out.is_empty() && !wished.expect.contains(&Expectation::IommuOn));
}

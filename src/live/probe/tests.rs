//! Without VFIO: what is refused, and what is made of the lines of a process that did not come to its end. Real devices are opened in
//! the lab.
#![allow(clippy::disallowed_methods)]

use super::*;
use crate::checks::testing::{at, healthy};
use crate::facts::Evidence;
use crate::facts::usage::Use;
use crate::host::change::{Chroot, Runner};
use crate::host::{Interrupt, Recorded, TreeMut};
use std::io;

const ADDRESS: &str = "0000:01:00.0";

/// A process that tells these lines and ends like this.
struct Child(Done);

impl Runner for Child {
    fn has_program(&self, _: &dyn Host, _: &str) -> bool {
        true
    }
    fn run(&self, _: Chroot<'_>, command: &Command<'_>, _: &mut dyn FnMut(&str)) -> io::Result<Done> {
        assert_eq!(command.argv, ["/proc/self/exe", "probe", "--inside", "--interface", "group", ADDRESS]);
        Ok(self.0.clone())
    }
    fn write_attribute(&self, _: Chroot<'_>, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn probed(events: &[Event], done: Done) -> Result<Probe> {
    let dir = tempfile::tempdir().unwrap();
    let output = events.iter().map(Event::line).collect::<String>().into_bytes();
    let child = Child(Done { output, ..done });
    let host = TreeMut::mounted(dir.path()).unwrap().running().heeding(Interrupt::default());
    run(&host.with_runner(Box::new(child)), &at(ADDRESS), Interface::Group)
}

fn done(stage: Stage, detail: Detail) -> Event {
    Event::Done(Some(Step { stage, detail }))
}

fn whole() -> Vec<Event> {
    vec![
        Event::Begin(Stage::Open),
        done(Stage::Open, Detail::Opened),
        Event::Begin(Stage::Bar(0)),
        done(Stage::Bar(0), Detail::Bar { size: 4096, mapped: true, value: 1 }),
        Event::Begin(Stage::Bar(1)),
        Event::Done(None),
        Event::Begin(Stage::Close),
        done(Stage::Close, Detail::Closed),
    ]
}

#[test]
fn a_whole_probe_is_ready() {
    let probe = probed(&whole(), Done { status: Some(0), ..Done::default() }).unwrap();
    assert_eq!(probe.steps.len(), 3);
    assert!(probe.is_ready() && !probe.is_silent() && probe.held().is_none());
}

#[test]
fn the_stage_in_which_it_ended_is_told() {
    for (begun, done, stage, said) in [
        (3, Done { late: true, ..Done::default() }, Stage::Bar(0), "within 30 seconds"),
        (3, Done { status: Some(135), ..Done::default() }, Stage::Bar(0), "SIGBUS"),
        (7, Done { status: Some(137), ..Done::default() }, Stage::Close, "signal 9 ended it"),
        (0, Done { status: Some(70), ..Done::default() }, Stage::Open, "it ended before that"),
    ] {
        let probe = probed(&whole()[..begun], done).unwrap();
        let last = probe.steps.last().unwrap();
        assert_eq!(last.stage, stage);
        assert!(matches!(&last.detail, Detail::Failed { why } if why.contains(said)), "{last:?}");
        assert!(!probe.is_ready());
    }
    let stopped = probed(&whole()[..1], Done { stopped: true, ..Done::default() }).unwrap_err();
    assert_eq!((stopped.exit_code(), stopped.message.as_str()), (3, "stopped"));
}

#[test]
fn a_failure_anywhere_is_not_ready() {
    let touched =
        |driver: &str| Touched { address: "0000:01:00.1".into(), group: Some(1), driver: Some(driver.into()) };
    for (stage, detail, ready) in [
        (Stage::Config, Detail::NoAnswer, false),
        (Stage::Bar(0), Detail::Bar { size: 4096, mapped: true, value: u32::MAX }, false),
        (Stage::Interrupts, Detail::Interrupts { counts: vec![], tried: None }, true),
        (Stage::Dma, Detail::Dma { iova: 1 << 20, size: 4096, unmapped: 0 }, false),
        (Stage::Rom, Detail::Rom { size: 2048, start: [0, 0] }, true),
        (Stage::Reset, Detail::Reset { alone: false, touches: None }, true),
        (Stage::Reset, Detail::Reset { alone: true, touches: Some(vec![touched("snd_hda_intel")]) }, true),
        (Stage::Reset, Detail::Reset { alone: false, touches: Some(vec![touched("snd_hda_intel")]) }, false),
        (Stage::Reset, Detail::Reset { alone: false, touches: Some(vec![touched("vfio-pci")]) }, true),
    ] {
        let mut events = vec![done(Stage::Open, Detail::Opened), done(stage, detail.clone())];
        events.push(done(Stage::Close, Detail::Closed));
        let probe = probed(&events, Done { status: Some(0), ..Done::default() }).unwrap();
        assert_eq!(probe.is_ready(), ready, "{detail:?}");
    }
    let held = [Event::Begin(Stage::Open), done(Stage::Open, failed(&Failure::Busy("/dev/vfio/1".into())))];
    let probe = probed(&held, Done { status: Some(0), ..Done::default() }).unwrap();
    assert_eq!((probe.is_ready(), probe.held()), (false, Some("another process has /dev/vfio/1 open")));
}

#[test]
fn what_is_not_probed() {
    let mut snap = healthy();
    let mut card = snap.pci.get(&at(ADDRESS)).unwrap().clone();
    card.driver = Fact::Known("nouveau".into());
    let refused = may_probe(&card, &snap.pci, &Usage::default()).unwrap_err();
    assert_eq!(refused.exit_code(), 3);
    assert!(refused.message.contains("the driver nouveau has 0000:01:00.0"), "{refused}");
    assert_eq!(refused.hints, ["hand it over for now: vfioneer bind 0000:01:00.0"]);
    card.driver = Fact::Absent;
    assert!(may_probe(&card, &snap.pci, &Usage::default()).unwrap_err().message.contains("no driver has"));
    card.driver = Fact::Known("vfio-pci".into());
    assert!(may_probe(&card, &snap.pci, &Usage::default()).is_ok());
    // Somebody has another function of the same group.
    let sound = at("0000:01:00.1");
    let place = snap.pci.functions.iter_mut().find(|function| function.address == sound).unwrap();
    place.group = card.group.clone();
    let used = |kind| Usage {
        uses: vec![Use { address: sound, kind, by: "VM 105".into(), evidence: Evidence::new("x", "y") }],
        ..Usage::default()
    };
    let refused = may_probe(&card, &snap.pci, &used(UseKind::RunningVm)).unwrap_err();
    assert!(refused.message.starts_with("VM 105 has 0000:01:00.1 now"), "{refused}");
    assert!(may_probe(&card, &snap.pci, &used(UseKind::Display)).is_ok());
}

#[test]
fn interfaces_that_a_host_has() {
    let mut card = healthy().pci.get(&at(ADDRESS)).unwrap().clone();
    card.group = Fact::Known(7);
    let with = |paths: &[&str]| {
        let mut host = Recorded::builder();
        for path in paths {
            host.add_file(path, "");
        }
        interfaces(&host.build(), &card)
    };
    let group = ["/dev/vfio/vfio", "/dev/vfio/7"];
    let device = ["/sys/bus/pci/devices/0000:01:00.0/vfio-dev/vfio3/dev", "/dev/iommu", "/dev/vfio/devices/vfio3"];
    assert_eq!(with(&group), [Interface::Group]);
    assert_eq!(with(&group[..1]), []);
    assert_eq!(with(&device), [Interface::Iommufd]);
    assert_eq!(with(&device[..2]), []);
    assert_eq!(with(&[&group[..], &device[..]].concat()), [Interface::Group, Interface::Iommufd]);
}

#[test]
fn a_probe_that_cannot_open_says_so() {
    let mut lines = String::new();
    inside(&Recorded::builder().build(), &at(ADDRESS), Interface::Group, &mut |line| lines.push_str(line));
    let probe = Probe::read(at(ADDRESS), Interface::Group, &lines, "");
    let [step] = probe.steps.as_slice() else { panic!("{probe:?}") };
    assert!(matches!(&step.detail, Detail::Failed { why } if why == "there is no IOMMU group of 0000:01:00.0"));
}

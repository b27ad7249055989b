//! Groups of small hosts.

use super::*;
use crate::facts::pci::Seen;

const GOOD: Fact<Acs> = Fact::Known(Acs { capable: 0x1f, enabled: 0x1d });

fn at(text: &str) -> Address {
    Address::parse(text).unwrap()
}

struct Host(Pci);

impl Host {
    fn new() -> Self {
        Host(Pci::default())
    }

    fn add(&mut self, address: &str, parent: Option<&str>, port: PortType, acs: Fact<Acs>, group: u32) -> &mut Self {
        let mut function = Function::unknown(at(address), Seen::Sysfs);
        function.parent = parent.map_or(Fact::Absent, |parent| Fact::Known(at(parent)));
        let endpoint = matches!(port, PortType::Endpoint | PortType::LegacyEndpoint | PortType::Integrated);
        function.header = Fact::Known(if endpoint { Header::Endpoint } else { Header::Bridge });
        function.class = Fact::Known(if endpoint { 0x030000 } else { 0x060400 });
        function.port_type = Fact::Known(port);
        function.acs = acs;
        function.group = Fact::Known(group);
        self.0.functions.push(function);
        self.0.functions.sort_by_key(|function| function.address);
        self
    }

    fn get(&mut self, address: &str) -> &mut Function {
        self.0.functions.iter_mut().find(|function| function.address == at(address)).unwrap()
    }
}

#[test]
fn a_processors_ports_without_acs() {
    // Two ports of one device without ACS: both cards and both ports are in one group.
    let mut host = Host::new();
    host.add("00:01.0", None, PortType::RootPort, Fact::Absent, 1)
        .add("00:01.1", None, PortType::RootPort, Fact::Absent, 1)
        .add("01:00.0", Some("00:01.0"), PortType::LegacyEndpoint, Fact::Absent, 1)
        .add("01:00.1", Some("00:01.0"), PortType::Endpoint, Fact::Absent, 1)
        .add("02:00.0", Some("00:01.1"), PortType::Endpoint, Fact::Absent, 1)
        .add("00:1c.0", None, PortType::RootPort, GOOD, 5)
        .add("00:1c.4", None, PortType::RootPort, GOOD, 6)
        .add("04:00.0", Some("00:1c.4"), PortType::Endpoint, Fact::Absent, 7);
    let story = group_story(&host.0, 1);
    assert_eq!(story.endpoints, [at("01:00.0"), at("01:00.1"), at("02:00.0")]);
    assert_eq!(
        story.causes,
        [
            Cause::Slot(at("00:01.0"), Isolation::NoAcs),
            Cause::Bridge(at("00:01.0"), Isolation::NoAcs),
            Cause::Bridge(at("00:01.1"), Isolation::NoAcs),
        ]
    );
    assert!(!story.incomplete);
    assert_eq!(
        story.free,
        [
            FreePort { address: at("00:1c.0"), holds: vec![] },
            FreePort { address: at("00:1c.4"), holds: vec![at("04:00.0")] }
        ]
    );
}

#[test]
fn a_chipsets_switch_without_acs() {
    // AMD chipset: one upstream port, downstream ports without ACS.
    let mut host = Host::new();
    host.add("00:02.1", None, PortType::RootPort, GOOD, 10)
        .add("02:00.0", Some("00:02.1"), PortType::Upstream, Fact::Absent, 15)
        .add("03:00.0", Some("02:00.0"), PortType::Downstream, Fact::Absent, 15)
        .add("03:01.0", Some("02:00.0"), PortType::Downstream, Fact::Absent, 15)
        .add("04:00.0", Some("03:00.0"), PortType::Endpoint, Fact::Absent, 15)
        .add("05:00.0", Some("03:01.0"), PortType::Endpoint, Fact::Absent, 15);
    let story = group_story(&host.0, 15);
    let bridges: Vec<_> = story.bridges.iter().map(|b| (b.address, b.isolation.clone())).collect();
    assert_eq!(
        bridges,
        [
            (at("00:02.1"), Isolation::Isolates),
            (at("02:00.0"), Isolation::Isolates),
            (at("03:00.0"), Isolation::NoAcs),
            (at("03:01.0"), Isolation::NoAcs),
        ]
    );
    assert_eq!(story.causes.len(), 2);
    assert!(story.causes.contains(&Cause::Bridge(at("03:00.0"), Isolation::NoAcs)));
    assert!(story.free.is_empty(), "the only root port is above the group");
}

#[test]
fn bits_that_are_off_are_named() {
    let mut host = Host::new();
    let off = Fact::Known(Acs { capable: 0x1f, enabled: 0x01 });
    host.add("00:1c.0", None, PortType::RootPort, off, 4).add(
        "02:00.0",
        Some("00:1c.0"),
        PortType::Endpoint,
        Fact::Absent,
        4,
    );
    let story = group_story(&host.0, 4);
    let Some(Cause::Bridge(_, Isolation::Off(bits))) = story.causes.first() else { panic!("{story:?}") };
    assert_eq!(bits.iter().map(|bit| bit.name).collect::<Vec<_>>(), ["ReqRedir", "CmpltRedir", "UpstreamFwd"]);
    // Not capable of a bit counts as having it wired.
    host.get("00:1c.0").acs = Fact::Known(Acs { capable: 0x01, enabled: 0x01 });
    assert!(group_story(&host.0, 4).causes.is_empty());
}

#[test]
fn the_kernels_groups_win_over_registers() {
    let mut host = Host::new();
    host.add("00:1c.0", None, PortType::RootPort, Fact::Absent, 4).add(
        "02:00.0",
        Some("00:1c.0"),
        PortType::Endpoint,
        Fact::Absent,
        9,
    );
    let story = group_story(&host.0, 9);
    assert_eq!(story.bridges[0].isolation, Isolation::ByKernel);
    assert!(story.causes.is_empty() && !story.incomplete);
    host.get("00:1c.0").acs = Fact::Unknown(Why::NotPermitted);
    assert_eq!(group_story(&host.0, 9).bridges[0].isolation, Isolation::Isolates);
}

#[test]
fn functions_of_one_device_share() {
    let mut host = Host::new();
    host.add("00:1f.0", None, PortType::Integrated, Fact::Absent, 8).add(
        "00:1f.3",
        None,
        PortType::Integrated,
        Fact::Absent,
        8,
    );
    for function in &mut host.0.functions {
        function.port_type = Fact::Absent;
    }
    let story = group_story(&host.0, 8);
    assert_eq!(story.causes, [Cause::Slot(at("00:1f.0"), Isolation::NoAcs)]);
    assert!(story.bridges.is_empty());
}

#[test]
fn conventional_devices_share_with_their_bridge() {
    let mut host = Host::new();
    host.add("00:1c.0", None, PortType::RootPort, GOOD, 3)
        .add("05:00.0", Some("00:1c.0"), PortType::ToPci, Fact::Absent, 11)
        .add("06:00.0", Some("05:00.0"), PortType::Endpoint, Fact::Absent, 11)
        .add("06:01.0", Some("05:00.0"), PortType::Endpoint, Fact::Absent, 11);
    let story = group_story(&host.0, 11);
    assert_eq!(story.causes, [Cause::Bridge(at("05:00.0"), Isolation::Conventional)]);
}

#[test]
fn without_root_the_story_is_incomplete_and_accuses_nobody() {
    let mut host = Host::new();
    let hidden = || Fact::Unknown(Why::NotPermitted);
    host.add("00:01.0", None, PortType::RootPort, hidden(), 1)
        .add("01:00.0", Some("00:01.0"), PortType::Endpoint, hidden(), 1)
        .add("01:00.1", Some("00:01.0"), PortType::Endpoint, hidden(), 1);
    let story = group_story(&host.0, 1);
    assert!(story.causes.is_empty() && story.incomplete);
}

#[test]
fn groups_of_one_and_missing_groups_have_no_causes() {
    let mut host = Host::new();
    host.add("01:00.0", None, PortType::Endpoint, Fact::Absent, 1);
    assert!(group_story(&host.0, 1).causes.is_empty());
    assert_eq!(group_story(&host.0, 99), GroupStory::default());
}

#[test]
fn a_loop_of_parents_ends() {
    let mut host = Host::new();
    host.add("00:01.0", Some("00:02.0"), PortType::RootPort, Fact::Absent, 1).add(
        "00:02.0",
        Some("00:01.0"),
        PortType::RootPort,
        Fact::Absent,
        1,
    );
    assert_eq!(group_story(&host.0, 1).members.len(), 2);
}

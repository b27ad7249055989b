//! A group holds more than the device that is wanted: all of it goes to the VM, or nothing.

use super::device::{is_accelerator, is_chipset, is_console_only, is_endpoint, list, named, stands_aside};
use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::isolation::{Cause, Isolation, Topology};
use crate::facts::pci::Function;
use crate::parse::address::Address;

pub(super) const CHECK: Check = Check { ids: &["group-shared"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let pci = &ctx.snap.pci;
    let topology = Topology::new(pci);
    let explained = |(group, members): (u32, Vec<&Function>)| {
        let (finding, wanted) = judge(ctx, group, &members)?;
        Some(explain(finding, &topology, group, &wanted))
    };
    pci.by_group().into_iter().filter_map(explained).collect()
}

fn judge(ctx: &Ctx<'_>, group: u32, members: &[&Function]) -> Option<(Finding, Vec<Address>)> {
    let asked = |f: &&Function| ctx.interest(&f.address) >= Interest::Configured && is_endpoint(f) == Some(true);
    let could = |f: &&Function| is_accelerator(f) && !is_console_only(f) || is_nvswitch(f);
    let mut wanted: Vec<&Function> = members.iter().copied().filter(asked).collect();
    let somebody_asks = !wanted.is_empty();
    if !somebody_asks {
        wanted = members.iter().copied().filter(could).collect();
    }
    let first = wanted.first()?;
    // Functions of a wanted slot go along; bridges and parts that nothing drives stand in nobody's way.
    let mut others: Vec<&Function> = members
        .iter()
        .copied()
        .filter(|f| is_endpoint(f) == Some(true) && !is_chipset(f))
        .filter(|f| !wanted.iter().any(|w| w.address.same_slot(&f.address)))
        .collect();
    if !somebody_asks {
        // Of two cards in one group each is in the way of the other.
        others.extend(wanted.iter().copied().filter(|w| !w.address.same_slot(&first.address)));
        wanted.retain(|w| w.address.same_slot(&first.address));
    }
    if others.is_empty() {
        return None;
    }
    let all_stand_aside = others.iter().all(|f| stands_aside(f) == Some(true));
    let switches = wanted.iter().chain(&others).all(|f| is_nvswitch(f));
    let severity = if somebody_asks && !all_stand_aside { Severity::Error } else { Severity::Info };
    let mut finding = Finding::new("group-shared", severity, Subject::Group(group))
        .variant(match (switches, somebody_asks && all_stand_aside) {
            (true, _) => "nvswitch",
            (false, true) => "aside",
            (false, false) => "",
        })
        .value("group", group)
        .value("wanted", list(wanted.iter().map(|f| f.address)))
        .value("others", list(others.iter().map(|f| named(f))));
    for function in wanted.iter().chain(&others).take(8) {
        finding = finding.evidence(function.evidence("iommu_group", group.to_string()));
    }
    Some((finding, wanted.iter().map(|f| f.address).collect()))
}

/// NVIDIA's NVSwitch: class 06 80, given away only together with its peers.
fn is_nvswitch(function: &Function) -> bool {
    function.base_class() == Some(0x0680) && function.ids.known().is_some_and(|ids| ids.vendor == 0x10de)
}

/// Adds which bridge joins the group, and where the card would be alone.
fn explain(mut finding: Finding, topology: &Topology<'_>, group: u32, wanted: &[Address]) -> Finding {
    let story = topology.story(group);
    let free: Vec<_> = story.free.iter().filter(|port| port.holds.is_empty()).map(|port| port.address).collect();
    finding = finding.value("free", if free.is_empty() { "none seen".to_owned() } else { list(free) });
    if !finding.variant.is_empty() {
        return finding;
    }
    // That the functions of the card itself are together explains no stranger.
    let own = |cause: &&Cause| matches!(cause, Cause::Slot(first, _) if wanted.iter().any(|w| w.same_slot(first)));
    let (bridge, isolation, variant) = match story.causes.iter().find(|cause| !own(cause)) {
        Some(Cause::Bridge(bridge, isolation)) => (bridge, isolation, "acs"),
        Some(Cause::Slot(first, isolation)) => (first, isolation, "multifunction"),
        None => return finding,
    };
    let off: Vec<&str> = match isolation {
        Isolation::Off(bits) => bits.iter().map(|bit| bit.name).collect(),
        _ => Vec::new(),
    };
    let variant = match isolation {
        Isolation::Conventional => "conventional",
        Isolation::Off(_) if variant == "acs" => "acs-off",
        _ => variant,
    };
    finding.variant(variant).value("bridge", bridge).value("off", list(off))
}

#[cfg(test)]
mod tests {
    use crate::checks::pages;
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::Snapshot;
    use crate::host::Fact;

    fn shared_with(address: &str) -> Snapshot {
        let mut snap = t::healthy();
        t::change(&mut snap, address, |f| f.group = Fact::Known(14));
        snap
    }

    #[test]
    fn a_wanted_device_with_strangers_in_its_group_is_an_error() {
        let snap = shared_with("0000:00:1f.3");
        assert_eq!(t::shown(&t::only(&t::check(&snap), "group-shared")), ["info group-shared group 14"]);
        assert_eq!(
            t::shown(&t::only(&t::check_for(&snap, &[GPU, "0000:01:00.1"]), "group-shared")),
            ["error group-shared group 14"]
        );
    }

    #[test]
    fn names_the_bridge_that_does_not_isolate_and_where_the_card_would_be_alone() {
        let mut snap = t::healthy();
        let mut disk = t::with_driver(t::function("0000:02:00.0", "144d:a808", 0x01_0802), "nvme");
        disk.parent = Fact::Known(t::at("0000:00:1c.0"));
        let mut port = t::root_port("0000:00:1c.0", "8086:7ab8");
        port.acs = Fact::Absent;
        let mut free = t::root_port("0000:00:1d.0", "8086:7ab0");
        free.group = Fact::Known(30);
        for part in [&mut disk, &mut port] {
            part.group = Fact::Known(14);
        }
        for part in [disk, port, free] {
            t::add(&mut snap, part);
        }
        for address in [GPU, "0000:01:00.1"] {
            t::change(&mut snap, address, |f| f.parent = Fact::Known(t::at("0000:00:1c.0")));
        }
        let found = t::check_for(&snap, &[GPU, "0000:01:00.1"]);
        let found = t::only(&found, "group-shared");
        assert_eq!(t::shown(&found), ["error group-shared/acs group 14"]);
        assert!(pages::message(found[0]).contains("0000:00:1c.0 does not isolate"), "{}", pages::message(found[0]));
        assert!(pages::remedy(found[0]).contains("0000:00:1d.0"), "{}", pages::remedy(found[0]));
    }

    #[test]
    fn its_own_functions_bridges_and_host_bridges_are_no_strangers() {
        let mut snap = shared_with("0000:00:01.0");
        let mut host_bridge = t::function("0000:00:00.0", "8086:4650", 0x06_0000);
        host_bridge.group = Fact::Known(14);
        t::add(&mut snap, host_bridge);
        assert!(t::only(&t::check_for(&snap, &[GPU]), "group-shared").is_empty());
    }

    #[test]
    fn strangers_that_stand_aside_only_go_along() {
        let mut snap = t::passthrough();
        let mut switch = t::with_driver(t::function("0000:05:00.0", "10de:22a3", 0x06_8000), "vfio-pci");
        switch.group = Fact::Known(14);
        let mut other = switch.clone();
        other.address = t::at("0000:06:00.0");
        other.driver = Fact::Absent;
        t::add(&mut snap, switch);
        assert!(t::only(&t::check(&snap), "group-shared").is_empty(), "all of it is asked for");
        t::add(&mut snap, other);
        assert_eq!(t::shown(&t::only(&t::check(&snap), "group-shared")), ["info group-shared/aside group 14"]);
    }

    #[test]
    fn nvswitches_of_one_group_go_together() {
        let mut snap = t::healthy();
        for address in ["0000:05:00.0", "0000:06:00.0"] {
            let mut switch = t::with_driver(t::function(address, "10de:22a3", 0x06_8000), "nvidia-nvswitch");
            switch.group = Fact::Known(114);
            t::add(&mut snap, switch);
        }
        assert_eq!(t::shown(&t::only(&t::check(&snap), "group-shared")), ["info group-shared/nvswitch group 114"]);
    }

    #[test]
    fn a_disk_beside_a_usb_controller_is_not_worth_a_line() {
        let mut snap = t::healthy();
        t::change(&mut snap, "0000:00:14.0", |f| f.group = Fact::Known(23));
        t::change(&mut snap, t::DISK, |f| f.group = Fact::Known(23));
        assert!(t::only(&t::check(&snap), "group-shared").is_empty());
    }

    #[test]
    fn a_listing_without_classes_accuses_nobody() {
        let mut snap = t::unknown();
        for address in ["0000:01:00.0", "0000:02:00.0"] {
            let seen = crate::facts::pci::Seen::Paste(crate::facts::Evidence::at("paste", 1, "Group 1"));
            let mut function = crate::facts::pci::Function::unknown(t::at(address), seen);
            function.group = Fact::Known(1);
            snap.pci.functions.push(function);
        }
        assert!(t::check(&snap).is_empty());
    }
}

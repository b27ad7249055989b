//! Which processes have a device node of a function open.

use super::{Finder, UseKind};
use crate::facts::Evidence;
use crate::facts::hypervisor::{Hypervisor, nvidia_cards};
use crate::facts::pci::is_vfio_driver;
use crate::host::{Fact, Why};
use crate::parse::address::Address;
use std::collections::{BTreeMap, BTreeSet};

/// Nodes by the start of their path, and the class in `/sys/class` whose entry of the same name leads to the device.
/// Classes and names: Linux 6.12 Documentation/admin-guide/devices.txt and the drivers' `class_create` calls.
const NODES: &[(&str, &str)] = &[
    ("/dev/accel/", "accel"),
    ("/dev/dri/", "drm"),
    ("/dev/dvb/", "dvb"),
    ("/dev/infiniband/issm", "infiniband_mad"),
    ("/dev/infiniband/umad", "infiniband_mad"),
    ("/dev/infiniband/uverbs", "infiniband_verbs"),
    ("/dev/mei", "mei"),
    ("/dev/nvme", "block"),
    ("/dev/sd", "block"),
    ("/dev/snd/", "sound"),
    ("/dev/sr", "block"),
    ("/dev/uio", "uio"),
    ("/dev/vfio/devices/", "vfio-dev"),
    ("/dev/video", "video4linux"),
];

/// Holders of primary DRM nodes: a display server, if the card shows something.
#[derive(Default)]
struct Nodes {
    /// Node → functions, looked up once.
    known: BTreeMap<String, Vec<Address>>,
    /// `/dev/nvidiaN` → function.
    nvidia: Option<BTreeMap<u32, Address>>,
}

pub(super) fn collect(finder: &mut Finder<'_>) {
    let pids = match finder.host.entries("/proc") {
        Fact::Known(names) => names,
        Fact::Absent => return finder.usage.complete = Fact::Unknown(Why::NotRecorded),
        Fact::Unknown(why) => return finder.usage.complete = Fact::Unknown(why),
    };
    let mut nodes = Nodes::default();
    let mut hidden = None;
    let mut any = false;
    for pid in pids.iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) {
        any = true;
        let dir = format!("/proc/{pid}/fd");
        match finder.host.entries(&dir) {
            Fact::Known(fds) => holder(finder, &mut nodes, pid, &dir, &fds),
            // It ended meanwhile.
            Fact::Absent => {}
            Fact::Unknown(why) => hidden = Some(why),
        }
    }
    // With `hidepid` others' processes are not even listed.
    let own_view = finder.host.value("/proc/2/comm").known().is_none_or(|comm| comm != "kthreadd");
    let all = pids.iter().any(|pid| pid == "1");
    finder.usage.complete = match hidden {
        _ if !any => Fact::Unknown(Why::NotRecorded),
        Some(why) => Fact::Unknown(why),
        None if !all => Fact::Unknown(Why::NotPermitted),
        None if own_view => Fact::Unknown(Why::Io("processes outside this container are not to be seen".into())),
        None => Fact::Known(()),
    };
}

/// Which functions containers have nodes of, running or not.
pub(super) fn containers(finder: &mut Finder<'_>, hypervisor: &Hypervisor) {
    let mut nodes = Nodes::default();
    for container in &hypervisor.containers {
        let by = format!("container {}", container.id);
        for (node, evidence) in &container.nodes {
            let functions = nodes.functions(finder, node);
            finder.add(&functions, UseKind::Container, &by, evidence);
        }
    }
}

/// What one process has open.
fn holder(finder: &mut Finder<'_>, nodes: &mut Nodes, pid: &str, dir: &str, fds: &[String]) {
    let mut seen = BTreeSet::new();
    let mut name = None;
    for fd in fds {
        let path = format!("{dir}/{fd}");
        let Fact::Known(target) = finder.host.link(&path) else { continue };
        if !target.starts_with("/dev/") && !target.starts_with("/sys/devices/") || !seen.insert(target.clone()) {
            continue;
        }
        let functions = nodes.functions(finder, &target);
        if functions.is_empty() {
            continue;
        }
        let name = name
            .get_or_insert_with(|| finder.host.value(&format!("/proc/{pid}/comm")).into_known().unwrap_or_default());
        let by = if name.is_empty() { format!("pid {pid}") } else { format!("{name} (pid {pid})") };
        let kind = if shows(finder, &target) { UseKind::Display } else { UseKind::Process };
        finder.add(&functions, kind, &by, &Evidence::new(path, target));
    }
}

/// True for a primary node (`/dev/dri/cardN`) of a card with a lit connector: who has it open draws there.
fn shows(finder: &Finder<'_>, node: &str) -> bool {
    let card = node.strip_prefix("/dev/dri/").filter(|name| name.starts_with("card"));
    card.is_some_and(|card| !super::display::lit(finder, card).is_empty())
}

impl Nodes {
    fn functions(&mut self, finder: &Finder<'_>, node: &str) -> Vec<Address> {
        if let Some(found) = self.known.get(node) {
            return found.clone();
        }
        let found = self.look(finder, node);
        self.known.insert(node.to_owned(), found.clone());
        found
    }

    fn look(&mut self, finder: &Finder<'_>, node: &str) -> Vec<Address> {
        // `/sys/devices/…/0000:01:00.0/resource0`: a driver in user space (DPDK). Attributes are read by many.
        if node.starts_with("/sys/devices/") {
            let file = node.rsplit('/').next().unwrap_or_default();
            return if file.starts_with("resource") { finder.on_path(node) } else { Vec::new() };
        }
        let Some(file) = node.rsplit('/').next().filter(|file| !file.is_empty()) else { return Vec::new() };
        if let Some(group) = node.strip_prefix("/dev/vfio/").and_then(|number| number.parse::<u32>().ok()) {
            let functions = finder.pci.group(group).filter(|f| f.driver.known().is_some_and(|d| is_vfio_driver(d)));
            return functions.map(|f| f.address).collect();
        }
        if let Some(number) = node.strip_prefix("/dev/nvidia").and_then(|number| number.parse().ok()) {
            let cards = self.nvidia.get_or_insert_with(|| nvidia_cards(finder.host).into_iter().collect());
            return cards.get(&number).copied().into_iter().collect();
        }
        if let Some(place) = node.strip_prefix("/dev/bus/usb/") {
            return usb(finder, place);
        }
        let Some((_, class)) = NODES.iter().find(|(start, _)| node.starts_with(start)) else { return Vec::new() };
        // An NVMe controller's node is a character device of its own class; its name has no namespace.
        let controller =
            *class == "block" && file.strip_prefix("nvme").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        let class = if controller { "nvme" } else { class };
        finder.behind(&format!("/sys/class/{class}/{file}"))
    }
}

/// `BBB/DDD`: 128 nodes a bus, minor 0 is bus 1, device 1 (drivers/usb/core/usb.c, major 189).
fn usb(finder: &Finder<'_>, place: &str) -> Vec<Address> {
    let Some((bus, device)) = place.split_once('/') else { return Vec::new() };
    let (Ok(bus), Ok(device)) = (bus.parse::<u32>(), device.parse::<u32>()) else { return Vec::new() };
    let minor = bus.checked_sub(1).and_then(|n| n.checked_mul(128)).and_then(|n| n.checked_add(device.checked_sub(1)?));
    minor.map(|minor| finder.behind(&format!("/sys/dev/char/189:{minor}"))).unwrap_or_default()
}

//! Opens a function through VFIO as a hypervisor does, and tries what a VM needs of it.
//!
//! Goes in: a host that can be changed, a function that is on a vfio driver and that nobody has open. Comes out: a [`Probe`]. It all
//! happens in a process of its own ([`inside`]), which says each stage before it begins: a device that never answers ends nothing but
//! that process, and so does a BAR that may not be read (SIGBUS). The kernel takes back what that process had, and resets the device.

mod tried;

pub use tried::{Detail, Interface, Probe, Stage, State, Step, Touched};

use crate::error::{Error, Result};
use crate::facts::pci::{Function, Pci};
use crate::facts::usage::{Usage, UseKind};
use crate::host::change::{Command, Done};
use crate::host::vfio::{self, CONFIG, Container, Device, Failure, Group, Iommufd, Irq, ROM};
use crate::host::{Fact, Host, HostMut};
use crate::parse::address::Address;
use std::time::Duration;
use tried::Event;

/// Opening and closing resets the device, which takes a second at the most as a rule. The kernel itself waits 60 s for a device to
/// come back (Linux 6.12 `drivers/pci/pci.c` `PCIE_RESET_READY_POLL_MS`); one that needs half of that starts no VM in time.
const LIMIT: Duration = Duration::from_secs(30);
/// This very program, even if its file was replaced meanwhile.
const OURSELVES: &str = "/proc/self/exe";
/// BARs of a function.
const BARS: u32 = 6;
/// What each BAR and the configuration space reads as where no device answers.
const NO_ANSWER: u32 = u32::MAX;

/// May it be probed? An error says who has it, or what to type.
pub fn may_probe(function: &Function, pci: &Pci, usage: &Usage) -> Result<()> {
    let address = function.address;
    if !function.on_vfio() {
        let has = match function.driver.known() {
            Some(driver) => format!("the driver {driver} has {address}"),
            None => format!("no driver has {address}"),
        };
        return Err(Error::refused(format!("{has}: only what is on a vfio driver can be opened through vfio"))
            .hint(format!("hand it over for now: vfioneer bind {address}")));
    }
    // A group has one owner: who has one function of it has all of them.
    let holds = |kind| matches!(kind, UseKind::RunningVm | UseKind::Process);
    let group = |near: &Address| pci.get(near).and_then(|near| near.group.known());
    let near =
        |near: &Address| *near == address || group(near).is_some_and(|near| function.group.known() == Some(near));
    match usage.uses.iter().find(|used| holds(used.kind) && near(&used.address)) {
        Some(used) => Err(held(&address, &format!("{} has {} now", used.by, used.address))),
        None => Ok(()),
    }
}

/// The refusal of what somebody has open.
pub fn held(address: &Address, who: &str) -> Error {
    Error::refused(format!("{who}: {address} cannot be probed while it is in use"))
        .hint("stop that first; a VM that runs with it proves more than a probe")
}

/// The interfaces by which a function can be opened on this host.
pub fn interfaces(host: &dyn Host, function: &Function) -> Vec<Interface> {
    let there = |path: &str| host.exists(path) == Fact::Known(true);
    let group = function.group.known().is_some_and(|number| there(&format!("/dev/vfio/{number}")));
    let device =
        number(host, &function.address).is_some_and(|number| there(&format!("/dev/vfio/devices/vfio{number}")));
    let all =
        [(Interface::Group, group && there("/dev/vfio/vfio")), (Interface::Iommufd, device && there("/dev/iommu"))];
    all.into_iter().filter(|(_, there)| *there).map(|(interface, _)| interface).collect()
}

/// Its number below `/dev/vfio/devices/` (Linux `Documentation/ABI/testing/sysfs-devices-vfio-dev`).
fn number(host: &dyn Host, address: &Address) -> Option<u32> {
    let names = host.entries(&format!("/sys/bus/pci/devices/{address}/vfio-dev")).into_known()?;
    names.iter().find_map(|name| name.strip_prefix("vfio")?.parse().ok())
}

/// Probes it in a process of its own.
pub fn run(host: &dyn HostMut, address: &Address, interface: Interface) -> Result<Probe> {
    let argv =
        [OURSELVES, "probe", "--inside", "--interface", interface.name(), &address.to_string()].map(str::to_owned);
    let command = Command { argv: &argv, limit: LIMIT, interrupt: Some(host.interrupt()), holds: None };
    let done = host
        .run(&command, &mut |_| ())
        .map_err(|error| Error::refused(format!("cannot start a process that probes {address}: {error}")))?;
    if done.stopped {
        return Err(Error::refused("stopped").hint("the kernel takes back what was opened"));
    }
    Ok(Probe::read(*address, interface, &done.text(), &end(&done)))
}

/// Why the process did not come to its end.
fn end(done: &Done) -> String {
    /// What `Done` adds to a signal's number, and SIGBUS.
    const SIGNAL: i32 = 128;
    const SIGBUS: i32 = 7;
    match done.status {
        _ if done.late => format!("the kernel did not return from that within {} seconds", LIMIT.as_secs()),
        Some(status) if status == SIGNAL + SIGBUS => "the kernel does not let it be read (SIGBUS)".to_owned(),
        Some(status) if status > SIGNAL => format!("signal {} ended it", status - SIGNAL),
        _ => "it ended before that".to_owned(),
    }
}

/// The whole probe, in this process; `tell` gets a line before and after each stage.
pub fn inside(host: &dyn Host, address: &Address, interface: Interface, tell: &mut dyn FnMut(&str)) {
    let mut opened = None;
    let mut stages = Stages { tell };
    stages.run(Stage::Open, || {
        opened = Some(open(host, address, interface)?);
        Ok(Some(Detail::Opened))
    });
    let Some(opened) = opened else { return };
    let device = &opened.device;
    stages.run(Stage::Config, || config(device));
    for index in 0..BARS {
        stages.run(Stage::Bar(index), || bar(device, index));
    }
    stages.run(Stage::Interrupts, || interrupts(device));
    stages.run(Stage::Dma, || {
        let tried = match &opened.space {
            Space::Group { container, .. } => container.try_dma()?,
            Space::Iommufd(iommufd) => iommufd.try_dma()?,
        };
        Ok(Some(Detail::Dma { iova: tried.iova, size: tried.size, unmapped: tried.unmapped }))
    });
    stages.run(Stage::Rom, || rom(device));
    stages.run(Stage::Reset, || reset(host, device));
    stages.run(Stage::Close, || {
        drop(opened);
        Ok(Some(Detail::Closed))
    });
}

/// Says what is begun and what came of it.
struct Stages<'a> {
    tell: &'a mut dyn FnMut(&str),
}

impl Stages<'_> {
    /// A stage that gives `None` has nothing to try.
    fn run(&mut self, stage: Stage, work: impl FnOnce() -> vfio::Result<Option<Detail>>) {
        (self.tell)(&Event::Begin(stage).line());
        let detail = work().unwrap_or_else(|failure| Some(failed(&failure)));
        (self.tell)(&Event::Done(detail.map(|detail| Step { stage, detail })).line());
    }
}

fn failed(failure: &Failure) -> Detail {
    match failure {
        Failure::Busy(_) => Detail::Held { why: failure.to_string() },
        _ => Detail::Failed { why: failure.to_string() },
    }
}

/// An open device and what it needs; given back from the first field on.
struct Opened {
    device: Device,
    space: Space,
}

enum Space {
    Group { container: Container, _group: Group },
    Iommufd(Iommufd),
}

fn open(host: &dyn Host, address: &Address, interface: Interface) -> vfio::Result<Opened> {
    match interface {
        Interface::Group => {
            let group = group_of(host, address).ok_or_else(|| Failure::Absent(format!("IOMMU group of {address}")))?;
            let container = Container::open()?;
            let group = Group::open(group)?;
            container.add(&group)?;
            container.set_iommu()?;
            let device = group.device(&address.to_string())?;
            Ok(Opened { device, space: Space::Group { container, _group: group } })
        }
        Interface::Iommufd => {
            let iommufd = Iommufd::open()?;
            let number = number(host, address).ok_or_else(|| Failure::Absent(format!("vfio device of {address}")))?;
            Ok(Opened { device: iommufd.device(number)?, space: Space::Iommufd(iommufd) })
        }
    }
}

/// The last name of a link in a function's directory.
fn link(host: &dyn Host, address: &Address, name: &str) -> Option<String> {
    let target = host.link(&format!("/sys/bus/pci/devices/{address}/{name}")).into_known()?;
    target.rsplit('/').next().map(str::to_owned)
}

fn group_of(host: &dyn Host, address: &Address) -> Option<u32> {
    link(host, address, "iommu_group")?.parse().ok()
}

/// Ids, command and status: the ids alone do not tell, as VFIO keeps a copy of them (`vfio_pci_config.c`
/// `init_pci_cap_basic_perm`).
fn config(device: &Device) -> vfio::Result<Option<Detail>> {
    let config = device.region(CONFIG)?;
    let mut start = [0; 8];
    device.read(&config, 0, &mut start)?;
    let [v0, v1, d0, d1, rest @ ..] = start;
    let (vendor, id) = (u16::from_le_bytes([v0, v1]), u16::from_le_bytes([d0, d1]));
    if vendor == u16::MAX || u32::from_le_bytes(rest) == NO_ANSWER {
        return Ok(Some(Detail::NoAnswer));
    }
    device.decode_memory()?;
    Ok(Some(Detail::Config { vendor, device: id }))
}

fn bar(device: &Device, index: u32) -> vfio::Result<Option<Detail>> {
    let region = device.region(index)?;
    if region.size == 0 || !region.readable {
        return Ok(None);
    }
    let word = device.first_word(&region)?;
    Ok(Some(Detail::Bar { size: region.size, mapped: word.mapped, value: word.value }))
}

/// The kind that a guest's driver would choose is tried.
fn interrupts(device: &Device) -> vfio::Result<Option<Detail>> {
    let mut counts = Vec::new();
    for irq in Irq::ALL {
        let count = device.interrupts(irq)?;
        if count > 0 {
            counts.push((irq, count));
        }
    }
    let tried = [Irq::Msix, Irq::Msi, Irq::Intx].into_iter().find(|irq| counts.iter().any(|(there, _)| there == irq));
    if let Some(irq) = tried {
        device.try_interrupt(irq)?;
    }
    Ok(Some(Detail::Interrupts { counts, tried }))
}

fn rom(device: &Device) -> vfio::Result<Option<Detail>> {
    let region = device.region(ROM)?;
    if region.size == 0 {
        return Ok(Some(Detail::NoRom));
    }
    let mut start = [0; 2];
    device.read(&region, 0, &mut start)?;
    Ok(Some(Detail::Rom { size: region.size, start }))
}

fn reset(host: &dyn Host, device: &Device) -> vfio::Result<Option<Detail>> {
    let alone = device.info()?.resets;
    let touches = match device.hot_reset_info() {
        Ok(touched) => Some(touched),
        Err(failure) if failure.is_absent() => None,
        Err(failure) => return Err(failure),
    };
    let touched = |one: vfio::Dependent| {
        let address = Address { domain: one.segment.into(), bus: one.bus, device: one.device, function: one.function };
        let group = match one.owner {
            vfio::Owner::Group(group) => Some(group),
            vfio::Owner::Ours | vfio::Owner::Other => group_of(host, &address),
        };
        Touched { address: address.to_string(), group, driver: link(host, &address, "driver") }
    };
    let touches = touches.map(|all| all.into_iter().map(touched).collect());
    Ok(Some(Detail::Reset { alone, touches }))
}

#[cfg(test)]
mod tests;

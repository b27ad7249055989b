//! `vfioneer probe`: opens devices through vfio without a VM.

use super::{Answer, Global, change};
use crate::error::{Error, Result};
use crate::facts::pci::Function;
use crate::facts::{Needs, Snapshot};
use crate::goal::Goal;
use crate::host::{Caller, Interrupt, Tree, TreeMut, console};
use crate::live::probe::{self as live, Interface, Probe};
use crate::parse::address::Address;
use crate::report::probe as report;
use clap::{Args, ValueEnum};

/// Arguments of `probe`.
#[derive(Args, Debug)]
#[command(after_help = "The device must be on a vfio driver, and nobody may have it open.\n\
    It is reset when it is opened and when it is closed, as it is for a VM;\n\
    nothing else is changed.\n\n\
    Exit codes: 0 ready, 1 something does not work, 2 usage,\n\
    3 refused (in use, on another driver, not root, no such interface).")]
pub struct ProbeArgs {
    /// Devices; a GPU stands for all functions of its slot
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<String>,
    /// Open them this way; without it in each way that this host has
    #[arg(long, value_name = "HOW")]
    interface: Option<How>,
    /// Be the process that opens the device, at its full address
    #[arg(long, hide = true, requires = "interface")]
    inside: bool,
}

/// An interface, on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    /// By its IOMMU group, as hypervisors do since Linux 3.6
    Group,
    /// By iommufd, which Linux 6.6 and newer may have
    Iommufd,
}

impl How {
    fn interface(self) -> Interface {
        match self {
            How::Group => Interface::Group,
            How::Iommufd => Interface::Iommufd,
        }
    }
}

pub(super) fn run(global: &Global, args: &ProbeArgs) -> Result<Answer> {
    if args.inside {
        return inside(args);
    }
    let host = host(global)?;
    let snap = global.snapshot(Needs { usage: true, vms: true, ..Needs::LIST })?;
    let goal = Goal::resolve(&args.devices, false, &snap.pci)?;
    let functions: Vec<&Function> = goal.devices.iter().filter_map(|address| snap.pci.get(address)).collect();
    // All of them before the first is opened: that resets it.
    for function in &functions {
        live::may_probe(function, &snap.pci, &snap.usage)?;
    }
    let how = args.interface.map(How::interface);
    let mut probes = Vec::new();
    for function in functions {
        probes.extend(every(&host, &snap, function, how)?);
    }
    let text = match global.json {
        true => report::json(&probes, &snap.pci),
        false => report::text(&global.style(), &probes, &snap.pci),
    };
    Ok(Answer { text, code: u8::from(!probes.iter().all(Probe::is_ready)) })
}

/// The running machine, on which somebody who may open devices asks for it.
pub(super) fn host(global: &Global) -> Result<TreeMut> {
    if global.root.is_some() || global.from.is_some() {
        return Err(Error::refused("a device can be opened only on the running machine")
            .hint("run the command on the host itself, without --root and --from"));
    }
    let caller = Caller::new();
    if !caller.is_root() {
        return Err(
            Error::refused("opening a device through vfio needs root").hint(format!("sudo {}", caller.argv.join(" ")))
        );
    }
    Ok(change::host(global)?.heeding(Interrupt::watch()))
}

/// Probes a function by one interface, or by each that there is.
pub(super) fn every(
    host: &TreeMut,
    snap: &Snapshot,
    function: &Function,
    how: Option<Interface>,
) -> Result<Vec<Probe>> {
    live::may_probe(function, &snap.pci, &snap.usage)?;
    let address = function.address;
    let there: Vec<Interface> =
        live::interfaces(host, function).into_iter().filter(|one| how.is_none_or(|how| how == *one)).collect();
    if there.is_empty() {
        let which = how.map_or_else(String::new, |how| format!(" by {}", how.name()));
        return Err(Error::refused(format!("this host has no way to open {address}{which}"))
            .hint("by its group it needs /dev/vfio/vfio and a group below /dev/vfio: modprobe vfio_iommu_type1, and an IOMMU")
            .hint("by iommufd it needs /dev/iommu and a node below /dev/vfio/devices: Linux 6.6 with VFIO_DEVICE_CDEV"));
    }
    let mut probes = Vec::new();
    for interface in there {
        let what = format!("probing {address} by {}", interface.name());
        let probe = console::with_progress(&what, || live::run(host, &address, interface))?;
        if let Some(who) = probe.held() {
            return Err(live::held(&address, who));
        }
        probes.push(probe);
    }
    Ok(probes)
}

/// The process that may hang.
fn inside(args: &ProbeArgs) -> Result<Answer> {
    let (Some(how), [address]) = (args.interface, args.devices.as_slice()) else {
        return Err(Error::usage("--inside takes one address"));
    };
    let address = Address::parse(address).ok_or_else(|| Error::usage("--inside takes one address"))?;
    let mut told = Ok(());
    live::inside(&Tree::live(), &address, how.interface(), &mut |line| {
        told = std::mem::replace(&mut told, Ok(())).and_then(|()| console::stdout(line));
    });
    told.map(|()| Answer::yes(String::new()))
}

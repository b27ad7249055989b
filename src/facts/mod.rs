//! What is true of a host.
//!
//! Goes in: a [`Host`] and what the verb [`Needs`]. Comes out: a [`Snapshot`], plain data.
//! Nothing here judges; nothing here asks for more than was needed. A paste (`check --log`) becomes a
//! snapshot too, in which nearly all is unknown.

mod attribute;
pub mod boot;
mod dropin;
pub mod hooks;
pub mod hypervisor;
pub mod initramfs;
pub mod iommu;
pub mod isolation;
pub mod kernel;
pub mod modules;
pub mod own;
pub mod pasted;
pub mod pci;
pub mod system;
pub mod usage;
pub mod usb;

use crate::host::{Fact, Host, Kind, Query};
use serde::Serialize;

/// A text file as it was read, for evidence and for editing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TextFile {
    /// Its path within the host, or the name of the paste.
    pub path: String,
    /// Its whole content.
    pub text: String,
}

/// Where a statement can be seen: a file or paste, the line there, and the line's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// A path within the host, a command's name, or the name of the paste.
    pub source: String,
    /// Counted from 1, where the source has lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What stands there.
    pub text: String,
}

impl Evidence {
    /// Evidence without a line number.
    pub fn new(source: impl Into<String>, text: impl Into<String>) -> Self {
        Evidence { source: source.into(), line: None, text: shortened(text.into()) }
    }

    /// Evidence at a line, counted from 1.
    pub fn at(source: impl Into<String>, line: u32, text: impl Into<String>) -> Self {
        Evidence { source: source.into(), line: Some(line), text: shortened(text.into()) }
    }
}

/// Longer than any kernel's command line; a line without end is not carried along with each finding about it.
const LONGEST_EVIDENCE: usize = 8 << 10;

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_EVIDENCE {
        let mut end = LONGEST_EVIDENCE;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Which parts of the snapshot a verb needs. What is not needed stays `Unknown(NotRead)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// ACS, BARs, link, reset, SR-IOV, serial number, power of each function (extended config space).
    pub pci_details: bool,
    /// Which modules would match each function (`modules.alias` of the running kernel).
    pub candidates: bool,
    /// Kernel configuration, installed kernels, parameters, KVM.
    pub kernel: bool,
    /// Boot chain, initramfs, modprobe and module lists.
    pub boot: bool,
    /// What the images of all kernels hold.
    pub images: bool,
    /// Who uses a device: descriptors, mounts, routes, displays, VMs.
    pub usage: bool,
    /// USB ports and devices per controller.
    pub usb: bool,
    /// Hypervisors and their VMs' configuration.
    pub vms: bool,
    /// This boot's kernel messages.
    pub log: bool,
    /// vfioneer's hooks of hypervisors; never in a capture.
    pub hooks: bool,
    /// What tells this host from every other; never in a capture.
    pub fingerprint: bool,
}

impl Needs {
    /// What `list` needs: PCI functions with driver, group and names.
    pub const LIST: Needs = Needs {
        pci_details: false,
        candidates: false,
        kernel: false,
        boot: false,
        images: false,
        usage: false,
        usb: false,
        vms: false,
        log: false,
        hooks: false,
        fingerprint: false,
    };
    /// What `check` and `capture` need: all of it.
    pub const ALL: Needs = Needs {
        pci_details: true,
        candidates: true,
        kernel: true,
        boot: true,
        images: true,
        usage: true,
        usb: true,
        vms: true,
        log: true,
        hooks: false,
        fingerprint: false,
    };
    /// What `verify --next-boot` needs: entries, images, files.
    pub const NEXT_BOOT: Needs = Needs { kernel: true, boot: true, images: true, hooks: true, ..Needs::LIST };
    /// What `plan` and `verify` need.
    pub const PLAN: Needs = Needs { hooks: true, fingerprint: true, ..Needs::ALL };
}

/// Where a snapshot comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A host, live, mounted or recorded, and how to name it.
    Host(Kind, String),
    /// Pasted text (`check --log`), and its name.
    Paste(String),
}

/// Everything that is known of one host at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Where it comes from.
    pub origin: Origin,
    /// Board, BIOS, CPU, firmware, whether this is itself a guest or container, distribution.
    pub system: system::System,
    /// The running kernel and the installed ones.
    pub kernel: kernel::Kernel,
    /// IOMMU tables, units and groups.
    pub iommu: iommu::Iommu,
    /// Every PCI function, sorted by address.
    pub pci: pci::Pci,
    /// USB devices per controller.
    pub usb: Fact<Vec<usb::UsbDevice>>,
    /// Who uses which PCI function.
    pub usage: usage::Usage,
    /// Which loader boots, and every place that sets the kernel command line.
    pub boot: boot::Boot,
    /// The initramfs generator, its configuration, and what the images hold.
    pub initramfs: initramfs::Initramfs,
    /// modprobe configuration and lists of modules to load.
    pub modules: modules::Modules,
    /// Hypervisors and VMs.
    pub hypervisor: hypervisor::Hypervisor,
    /// What vfioneer itself keeps on the host, and what tells the host from others.
    pub own: own::Own,
    /// This boot's kernel messages, or all lines of a paste.
    pub log: Fact<TextFile>,
}

impl Snapshot {
    /// True for the running machine itself: its daemons can be asked.
    pub fn is_live(&self) -> bool {
        matches!(self.origin, Origin::Host(Kind::Live, _))
    }
}

/// Reads what is needed from a host.
pub fn collect(host: &dyn Host, needs: Needs) -> Snapshot {
    let kernel = kernel::collect(host, needs);
    let mut pci = pci::collect(host, needs);
    let mut iommu = iommu::collect(host, needs, &pci);
    if needs.candidates {
        pci::add_candidates(host, &kernel, &mut pci);
    }
    let modules = if needs.boot { modules::collect(host) } else { modules::Modules::default() };
    let hypervisor = if needs.vms { hypervisor::collect(host) } else { hypervisor::Hypervisor::default() };
    let usage = if needs.usage { usage::collect(host, &pci, &hypervisor) } else { usage::Usage::default() };
    let boot = if needs.boot { boot::collect(host, &kernel) } else { boot::Boot::default() };
    let initramfs = if needs.boot { initramfs::collect(host, needs, &kernel) } else { initramfs::Initramfs::default() };
    let own = own::collect(host, needs);
    let log = if needs.log {
        host.query(Query::KernelLog)
            .map(|bytes| TextFile { path: "dmesg".into(), text: String::from_utf8_lossy(&bytes).into_owned() })
    } else {
        Fact::default()
    };
    if let Fact::Known(log) = &log {
        iommu::add_log(&mut iommu, log);
    }
    Snapshot {
        origin: Origin::Host(host.kind(), host.label()),
        system: system::collect(host),
        usb: if needs.usb { usb::collect(host, &pci) } else { Fact::default() },
        kernel,
        iommu,
        pci,
        usage,
        boot,
        initramfs,
        modules,
        hypervisor,
        own,
        log,
    }
}

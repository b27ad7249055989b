//! Who uses a PCI function now, and which functions the host cannot live without.

use super::Evidence;
use super::hypervisor::Hypervisor;
use super::pci::Pci;
use crate::host::{Fact, Host};
use crate::parse::address::Address;

/// How a function is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UseKind {
    /// It carries the root or /boot file system, swap, or the ESP.
    RootStorage,
    /// It carries another mounted file system, or a pool or volume in use.
    Storage,
    /// Its interface has the default route.
    DefaultRoute,
    /// The current SSH session comes through its interface.
    SshSession,
    /// Its interface is up, is in a bridge or bond, or has addresses.
    Network,
    /// A display server or the console shows on it.
    Display,
    /// A process has a device node of it open.
    Process,
    /// A running VM has it.
    RunningVm,
    /// Virtual functions of it are in use.
    VirtualFunctions,
    /// Mediated devices of it are in use.
    Mdev,
    /// It is the only console of the host.
    OnlyConsole,
}

/// One use of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Which function.
    pub address: Address,
    /// How.
    pub kind: UseKind,
    /// By whom: `/`, `vmbr0`, `Xorg (pid 1234)`, `VM 105`.
    pub by: String,
    /// What says so.
    pub evidence: Evidence,
}

/// All uses of all functions.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Sorted by address, then kind.
    pub uses: Vec<Use>,
    /// Known if every process's descriptors could be seen; else why not.
    pub complete: Fact<()>,
    /// Other ways to see this host when its display is gone: `ttyS0`, `bmc`, `ssh`.
    pub consoles: Fact<Vec<String>>,
}

impl Usage {
    /// The uses of one function.
    pub fn of(&self, address: &Address) -> impl Iterator<Item = &Use> {
        let address = *address;
        self.uses.iter().filter(move |u| u.address == address)
    }
}

/// Finds out who uses what.
pub fn collect(_host: &dyn Host, _pci: &Pci, _hypervisor: &Hypervisor) -> Usage {
    Usage::default()
}

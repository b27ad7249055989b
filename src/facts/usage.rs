//! Who uses a PCI function now, and which functions the host cannot live without.
//!
//! Goes in: mounts, routes, connections, consoles and the descriptors of processes, and the paths in sysfs that lead
//! from a block device, interface or node to a PCI function. Comes out: a [`Usage`]. No node is opened. Addresses of
//! the network appear nowhere in it.

mod display;
mod network;
mod process;
mod storage;
mod virtual_use;

use super::Evidence;
use super::hypervisor::Hypervisor;
use super::pci::Pci;
use crate::host::{Fact, Host, Why};
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
    /// A container has device nodes of it, which its driver on the host makes.
    Container,
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
    /// Serial ports that are there: `ttyS0`, `hvc0`.
    pub serial_ports: Fact<Vec<String>>,
    /// What could not be read or followed to a function, and would have helped: a file, or the source of a mount.
    pub unread: Vec<(String, Why)>,
}

impl Usage {
    /// The uses of one function.
    pub fn of(&self, address: &Address) -> impl Iterator<Item = &Use> {
        let address = *address;
        self.uses.iter().filter(move |u| u.address == address)
    }
}

/// What the parts of this module share while they look.
struct Finder<'a> {
    host: &'a dyn Host,
    pci: &'a Pci,
    usage: Usage,
}

impl Finder<'_> {
    fn add(&mut self, addresses: &[Address], kind: UseKind, by: &str, evidence: &Evidence) {
        for address in addresses {
            let found = Use { address: *address, kind, by: by.to_owned(), evidence: evidence.clone() };
            let known = |u: &Use| (u.address, u.kind, &u.by) == (found.address, found.kind, &found.by);
            if !self.usage.uses.iter().any(known) {
                self.usage.uses.push(found);
            }
        }
    }

    fn note(&mut self, what: impl Into<String>, why: Why) {
        self.usage.unread.push((what.into(), why));
    }

    /// A file's text; what cannot be read is noted.
    fn text(&mut self, path: &str) -> Option<String> {
        match self.host.text(path) {
            Fact::Known(text) => Some(text),
            Fact::Absent => None,
            Fact::Unknown(why) => {
                self.note(path, why);
                None
            }
        }
    }

    /// Where a link of `/sys/class` or `/sys/dev` leads, as a path from `/sys/devices` on.
    fn device_path(&self, link: &str) -> Option<String> {
        let target = self.host.link(link).into_known()?;
        target.find("devices/").and_then(|at| target.get(at..)).map(|tail| format!("/sys/{tail}"))
    }

    /// The functions behind a link of `/sys/class` or `/sys/dev`.
    fn behind(&self, link: &str) -> Vec<Address> {
        self.device_path(link).map(|path| self.on_path(&path)).unwrap_or_default()
    }

    /// The functions in a device's path but its bridges: a disk behind Intel VMD needs the VMD function too.
    fn on_path(&self, path: &str) -> Vec<Address> {
        let parts = path.split('/').filter(|part| part.bytes().filter(|b| *b == b':').count() == 2);
        let addresses: Vec<Address> = parts.filter_map(Address::parse).collect();
        let here = |a: &&Address| self.pci.get(a).is_some_and(|f| !f.is_bridge());
        let own: Vec<Address> = addresses.iter().filter(here).copied().collect();
        match (own.is_empty(), addresses.last()) {
            (true, Some(last)) => vec![*last],
            _ => own,
        }
    }
}

/// Finds out who uses what.
pub fn collect(host: &dyn Host, pci: &Pci, hypervisor: &Hypervisor) -> Usage {
    let mut finder = Finder { host, pci, usage: Usage::default() };
    storage::collect(&mut finder);
    network::collect(&mut finder);
    process::collect(&mut finder);
    process::containers(&mut finder, hypervisor);
    virtual_use::running(&mut finder, hypervisor);
    virtual_use::parts(&mut finder);
    display::collect(&mut finder);
    let mut usage = finder.usage;
    usage.uses.sort_by_key(|found| (found.address, found.kind));
    usage
}

#[cfg(test)]
mod tests;

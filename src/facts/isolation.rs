//! Why functions share an IOMMU group, and where a card would have one of its own.
//!
//! Goes in: the functions of a host with ACS, port types and groups. Comes out: a [`GroupStory`], plain data.
//! The groups that the kernel made are the truth; registers only explain them. A kernel quirk can isolate what the
//! registers do not (`drivers/pci/quirks.c` `pci_dev_acs_enabled`), so a bridge whose children are in other groups than
//! its own is never accused.

use super::pci::{Acs, Function, Header, Pci, PortType};
use crate::host::{Fact, Why};
use crate::parse::address::Address;
use std::collections::{BTreeMap, BTreeSet};

/// One bit of the ACS registers (PCIe Base 7.7.11.2) that isolation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AcsBit {
    /// As `lspci -vv` abbreviates it.
    pub name: &'static str,
    /// In both registers.
    pub mask: u16,
}

/// What Linux asks for: Source Validation, P2P Request Redirect, P2P Completion Redirect, Upstream Forwarding
/// (`REQ_ACS_FLAGS` in `drivers/iommu/iommu.c`).
pub const REQUIRED: [AcsBit; 4] = [
    AcsBit { name: "SrcValid", mask: 0x01 },
    AcsBit { name: "ReqRedir", mask: 0x04 },
    AcsBit { name: "CmpltRedir", mask: 0x08 },
    AcsBit { name: "UpstreamFwd", mask: 0x10 },
];

/// Whether a function keeps what is behind it, or its own siblings, apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// It does: by its registers, or because nothing could go around the IOMMU there.
    Isolates,
    /// The registers say no, but the kernel made separate groups: a quirk, or an override on the command line.
    ByKernel,
    /// It has no ACS capability.
    NoAcs,
    /// It could, but these bits are off.
    Off(Vec<AcsBit>),
    /// Conventional PCI below it: all devices there look like one to the IOMMU.
    Conventional,
    /// Its registers could not be read.
    Unknown(Why),
}

impl Isolation {
    /// True if it lets functions share a group, by what is known.
    pub fn joins(&self) -> bool {
        matches!(self, Isolation::NoAcs | Isolation::Off(_) | Isolation::Conventional)
    }
}

/// A bridge on the way from a member to its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeStory {
    /// Where.
    pub address: Address,
    /// Root port, switch port, …; absent for conventional PCI.
    pub port_type: Fact<PortType>,
    /// Its registers.
    pub acs: Fact<Acs>,
    /// What they come to.
    pub isolation: Isolation,
}

/// What puts at least two members into one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This bridge does not isolate what is behind it.
    Bridge(Address, Isolation),
    /// The functions of one device are not isolated from each other: the first of them, and why.
    Slot(Address, Isolation),
}

/// A root port where a card would share its group with nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreePort {
    /// The root port.
    pub address: Address,
    /// Endpoints that are there today; empty for a free slot.
    pub holds: Vec<Address>,
}

/// What joins the members of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStory {
    /// All members, by address.
    pub members: Vec<Address>,
    /// Those of them that are no bridges.
    pub endpoints: Vec<Address>,
    /// Every bridge above a member, nearest the root first.
    pub bridges: Vec<BridgeStory>,
    /// Why they are together; the widest cause first. Empty for a group of one, and where nothing known explains it.
    pub causes: Vec<Cause>,
    /// True if registers could not be read, so that a cause may be missing.
    pub incomplete: bool,
    /// Root ports to move a card to: free ones first.
    pub free: Vec<FreePort>,
}

/// Tells why the members of a group are together.
pub fn group_story(pci: &Pci, group: u32) -> GroupStory {
    Topology::new(pci).story(group)
}

/// The tree of functions, for who asks about several groups.
pub struct Topology<'a> {
    pci: &'a Pci,
    children: BTreeMap<Address, Vec<&'a Function>>,
    groups: BTreeMap<u32, Vec<&'a Function>>,
}

impl<'a> Topology<'a> {
    /// Sorts the functions by parent and by group.
    pub fn new(pci: &'a Pci) -> Self {
        let mut children: BTreeMap<Address, Vec<&Function>> = BTreeMap::new();
        for function in &pci.functions {
            if let Fact::Known(parent) = function.parent {
                children.entry(parent).or_default().push(function);
            }
        }
        Topology { pci, children, groups: pci.by_group() }
    }

    /// The functions of a group.
    pub fn members(&self, group: u32) -> &[&'a Function] {
        self.groups.get(&group).map_or(&[], Vec::as_slice)
    }

    /// Tells why the members of a group are together.
    pub fn story(&self, group: u32) -> GroupStory {
        let members = self.members(group);
        let mut bridges: BTreeMap<(usize, Address), BridgeStory> = BTreeMap::new();
        let mut causes: Vec<(Cause, BTreeSet<Address>)> = Vec::new();
        for member in members {
            let path = self.pci.path_up(&member.address);
            for (depth, bridge) in path.iter().rev().enumerate() {
                bridges.entry((depth, bridge.address)).or_insert_with(|| self.bridge_story(bridge));
            }
            for cause in self.causes_for(member, &path) {
                match causes.iter_mut().find(|(known, _)| *known == cause) {
                    Some((_, joined)) => {
                        joined.insert(member.address);
                    }
                    None => causes.push((cause, BTreeSet::from([member.address]))),
                }
            }
        }
        for (cause, joined) in &mut causes {
            // The bridge itself is in the group of what it does not isolate.
            if let Cause::Bridge(bridge, _) = cause
                && members.iter().any(|member| member.address == *bridge)
            {
                joined.insert(*bridge);
            }
        }
        causes.retain(|(_, joined)| joined.len() > 1);
        causes.sort_by_key(|(_, joined)| std::cmp::Reverse(joined.len()));
        let bridges: Vec<BridgeStory> = bridges.into_values().collect();
        GroupStory {
            members: members.iter().map(|member| member.address).collect(),
            endpoints: members.iter().filter(|member| !member.is_bridge()).map(|member| member.address).collect(),
            incomplete: members.len() > 1
                && (bridges.iter().any(|bridge| matches!(bridge.isolation, Isolation::Unknown(_)))
                    || members.iter().any(|member| matches!(self.own_isolation(member), Isolation::Unknown(_)))),
            bridges,
            causes: causes.into_iter().map(|(cause, _)| cause).collect(),
            free: self.free_ports(members),
        }
    }

    /// The kernel's way up (`pci_device_group` in `drivers/iommu/iommu.c`): the group reaches to the bridge nearest
    /// the root that does not isolate, and from there to siblings in its slot that do not isolate either.
    fn causes_for(&self, member: &'a Function, path: &[&'a Function]) -> Vec<Cause> {
        let mut causes = Vec::new();
        let mut top = member;
        // A bridge in another group than the member's has not joined anything: the kernel knew better.
        let same = |bridge: &Function| bridge.group == member.group || bridge.group.known().is_none();
        if let Some(bridge) = path.iter().rev().find(|bridge| same(bridge) && self.isolation(bridge).joins()) {
            causes.push(Cause::Bridge(bridge.address, self.isolation(bridge)));
            top = bridge;
        }
        let own = self.own_isolation(top);
        if own.joins() {
            let siblings: Vec<&Function> = self
                .pci
                .slot(&top.address)
                .filter(|f| f.group == member.group && self.own_isolation(f).joins())
                .collect();
            if siblings.len() > 1
                && let Some(first) = siblings.first()
            {
                causes.push(Cause::Slot(first.address, self.own_isolation(first)));
            }
        }
        causes
    }

    fn bridge_story(&self, bridge: &Function) -> BridgeStory {
        BridgeStory {
            address: bridge.address,
            port_type: bridge.port_type.clone(),
            acs: bridge.acs.clone(),
            isolation: self.isolation(bridge),
        }
    }

    /// Whether a bridge isolates what is behind it (`pci_acs_enabled` in `drivers/pci/pci.c`).
    pub fn isolation(&self, bridge: &Function) -> Isolation {
        let by_registers = match &bridge.port_type {
            Fact::Known(PortType::RootPort | PortType::Downstream) => registers(bridge),
            Fact::Known(PortType::ToPci | PortType::FromPci | PortType::EventCollector) => Isolation::Conventional,
            // An upstream port hands everything on to the port above, unless it has siblings.
            Fact::Known(_) => self.own_isolation(bridge),
            // A conventional bridge, but not Intel's VMD and the like, whose class is no bridge's.
            Fact::Absent if bridge.is_bridge() => Isolation::Conventional,
            Fact::Absent => Isolation::Isolates,
            Fact::Unknown(why) => Isolation::Unknown(why.clone()),
        };
        let apart = |child: &&Function| matches!((&child.group, &bridge.group), (Fact::Known(child), Fact::Known(own)) if child != own);
        if by_registers != Isolation::Isolates
            && by_registers != Isolation::Conventional
            && self.children.get(&bridge.address).is_some_and(|children| children.iter().any(apart))
        {
            return match by_registers {
                // Nothing is known against it, so there is nothing to overrule.
                Isolation::Unknown(_) => Isolation::Isolates,
                _ => Isolation::ByKernel,
            };
        }
        by_registers
    }

    /// Whether a function is isolated from the other functions of its device.
    fn own_isolation(&self, function: &Function) -> Isolation {
        let alone = self.pci.slot(&function.address).nth(1).is_none();
        match &function.port_type {
            _ if alone => Isolation::Isolates,
            Fact::Known(PortType::ToPci | PortType::FromPci | PortType::EventCollector) => Isolation::NoAcs,
            Fact::Known(_) => registers(function),
            Fact::Absent => Isolation::NoAcs,
            Fact::Unknown(why) => Isolation::Unknown(why.clone()),
        }
    }

    /// Root ports that isolate, or whose group holds nothing else, and that are not above a member.
    fn free_ports(&self, members: &[&Function]) -> Vec<FreePort> {
        let above: BTreeSet<Address> = members
            .iter()
            .flat_map(|member| self.pci.path_up(&member.address).into_iter().map(|f| f.address).chain([member.address]))
            .collect();
        let mut free: Vec<FreePort> = self
            .pci
            .functions
            .iter()
            .filter(|port| is_root_port(port) && !above.contains(&port.address))
            .filter_map(|port| {
                let group = port.group.known()?;
                let below = self.endpoints_below(port);
                let strangers = self
                    .groups
                    .get(group)
                    .is_some_and(|all| all.iter().any(|f| !f.is_bridge() && !below.contains(&f.address)));
                let own = matches!(self.isolation(port), Isolation::Isolates | Isolation::ByKernel);
                (own || !strangers).then(|| FreePort { address: port.address, holds: below.into_iter().collect() })
            })
            .collect();
        free.sort_by_key(|port| (!port.holds.is_empty(), port.address));
        free
    }

    fn endpoints_below(&self, bridge: &Function) -> BTreeSet<Address> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::from([bridge.address]);
        let mut ahead = vec![bridge.address];
        while let Some(at) = ahead.pop() {
            for child in self.children.get(&at).into_iter().flatten().filter(|child| seen.insert(child.address)) {
                if child.is_bridge() {
                    ahead.push(child.address);
                } else {
                    found.insert(child.address);
                }
            }
        }
        found
    }
}

/// A capability that is missing from the register counts as hard-wired to "on" (`pci_acs_flags_enabled`).
fn registers(function: &Function) -> Isolation {
    match &function.acs {
        Fact::Known(acs) => {
            let off: Vec<AcsBit> =
                REQUIRED.into_iter().filter(|bit| acs.capable & !acs.enabled & bit.mask != 0).collect();
            if off.is_empty() { Isolation::Isolates } else { Isolation::Off(off) }
        }
        Fact::Absent => Isolation::NoAcs,
        Fact::Unknown(why) => Isolation::Unknown(why.clone()),
    }
}

fn is_root_port(function: &Function) -> bool {
    match &function.port_type {
        Fact::Known(port) => *port == PortType::RootPort,
        Fact::Absent => false,
        // Without root: a PCI-to-PCI bridge on a root bus is one on all but old machines.
        Fact::Unknown(_) => {
            function.header == Fact::Known(Header::Bridge)
                && function.base_class() == Some(0x0604)
                && function.parent.is_absent()
        }
    }
}

#[cfg(test)]
mod tests;

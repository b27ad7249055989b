//! Who wants which function in a VM: the goal, today's configuration, the VMs.

use crate::facts::Evidence;
use crate::facts::Snapshot;
use crate::goal::Goal;
use crate::parse::address::Address;
use std::collections::BTreeMap;

/// How much anybody wants a function in a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// Nobody would.
    None,
    /// People give such devices to VMs.
    Candidate,
    /// Today's configuration asks for it: vfio ids, driver_override, a VM, or it is on vfio-pci now.
    Configured,
    /// This command names it.
    Goal,
}

/// Interest per function, with what says so.
#[derive(Clone, Debug, Default)]
pub struct Intents {
    by_address: BTreeMap<Address, (Interest, Vec<Evidence>)>,
}

impl Intents {
    /// Derives it from a snapshot and a goal.
    pub fn derive(snap: &Snapshot, goal: &Goal) -> Intents {
        let mut intents = Intents::default();
        for function in &snap.pci.functions {
            if function.is_candidate() {
                intents.add(function.address, Interest::Candidate, None);
            }
            if function.on_vfio() {
                let driver = function.driver.known().cloned().unwrap_or_default();
                intents.add(function.address, Interest::Configured, Some(function.evidence("driver", driver)));
            }
        }
        for address in &goal.devices {
            intents.add(*address, Interest::Goal, None);
        }
        intents
    }

    fn add(&mut self, address: Address, interest: Interest, evidence: Option<Evidence>) {
        let entry = self.by_address.entry(address).or_insert((interest, Vec::new()));
        entry.0 = entry.0.max(interest);
        entry.1.extend(evidence);
    }

    /// The interest in one function.
    pub fn of(&self, address: &Address) -> Interest {
        self.by_address.get(address).map_or(Interest::None, |(interest, _)| *interest)
    }

    /// What says that the configuration asks for it.
    pub fn evidence(&self, address: &Address) -> &[Evidence] {
        self.by_address.get(address).map_or(&[], |(_, evidence)| evidence)
    }
}

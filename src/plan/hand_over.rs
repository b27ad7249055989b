//! What `bind` hands over now, and what is in the way. Pure.

use super::case::Case;
use super::driver;
use super::guards::{self, Refusal};
use crate::facts::Snapshot;
use crate::facts::pci::Function;
use crate::goal::Goal;
use crate::parse::address::Address;

/// What handing over comes to.
#[derive(Clone, Debug)]
pub struct HandOver {
    /// Why it is refused.
    pub refused: Vec<Refusal>,
    /// The functions that are not on a vfio driver yet, in the order in which they leave theirs, and the driver that each gets.
    pub functions: Vec<(Address, String)>,
    /// Those that are.
    pub ready: Vec<Address>,
}

/// Looks at a host for a goal.
pub fn hand_over(snap: &Snapshot, goal: &Goal) -> HandOver {
    let case = Case::new(snap, goal);
    let (ready, mut waiting): (Vec<&Function>, Vec<&Function>) = case.chosen.iter().partition(|f| f.on_vfio());
    // A card's sound and USB functions hang on its first one (device links: Linux 6.12 drivers/pci/quirks.c `quirk_gpu_hda`,
    // `quirk_gpu_usb`), whose driver the kernel would not let go before theirs.
    waiting.sort_by_key(|f| std::cmp::Reverse(f.address));
    HandOver {
        refused: if waiting.is_empty() { Vec::new() } else { guards::of_running(&case) },
        functions: waiting.iter().map(|f| (f.address, driver::of_running(f))).collect(),
        ready: ready.iter().map(|f| f.address).collect(),
    }
}

/// Looks at a host for what is to be given back to its own drivers: `functions` are on a vfio driver, `ready` are not.
pub fn give_back(snap: &Snapshot, goal: &Goal) -> HandOver {
    let chosen: Vec<&Function> = goal.devices.iter().filter_map(|address| snap.pci.get(address)).collect();
    let (away, home): (Vec<&Function>, Vec<&Function>) = chosen.into_iter().partition(|f| f.on_vfio());
    HandOver {
        refused: guards::of_return(snap, &away),
        functions: away.iter().map(|f| (f.address, f.driver.known().cloned().unwrap_or_default())).collect(),
        ready: home.iter().map(|f| f.address).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::Evidence;
    use crate::facts::usage::{Use, UseKind};
    use crate::host::Fact;

    fn goal(snap: &Snapshot, allow: &[&str]) -> Goal {
        let mut goal = Goal::resolve(&["01:00".to_owned()], false, &snap.pci).unwrap();
        goal.allow = allow.iter().map(|name| (*name).to_owned()).collect();
        goal
    }

    fn refused(snap: &Snapshot, allow: &[&str]) -> Vec<&'static str> {
        hand_over(snap, &goal(snap, allow)).refused.iter().map(|refusal| refusal.guard).collect()
    }

    #[test]
    fn a_free_card_goes_with_all_its_functions_the_last_one_first() {
        let mut snap = t::healthy();
        let found = hand_over(&snap, &goal(&snap, &[]));
        let order: Vec<String> = found.functions.iter().map(|(address, to)| format!("{address} {to}")).collect();
        assert_eq!(order, ["0000:01:00.1 vfio-pci", "0000:01:00.0 vfio-pci"]);
        assert!(found.refused.is_empty() && found.ready.is_empty(), "{:?}", found.refused);
        t::change(&mut snap, GPU, |f| f.driver = Fact::Known("vfio-pci".into()));
        assert_eq!(hand_over(&snap, &goal(&snap, &[])).ready, [t::at(GPU)]);
    }

    #[test]
    fn what_is_in_the_way() {
        let mut snap = t::healthy();
        snap.usage.uses.push(Use {
            address: t::at(GPU),
            kind: UseKind::Process,
            by: "ffmpeg (pid 7)".into(),
            evidence: Evidence::new("/proc/7/fd/3", "/dev/dri/renderD128"),
        });
        assert_eq!(refused(&snap, &[]), ["in-use"]);
        assert!(refused(&snap, &["in-use"]).is_empty());
        let mut snap = t::healthy();
        snap.usage.complete = Fact::Unknown(crate::host::Why::NotPermitted);
        assert_eq!(refused(&snap, &["in-use"]), ["users-unseen"]);
        let mut snap = t::healthy();
        (snap.iommu.units, snap.iommu.groups) = (Fact::Known(Vec::new()), Default::default());
        assert!(!refused(&snap, &[]).is_empty());
        // A virtual function is there now, and can go.
        let mut snap = t::healthy();
        t::change(&mut snap, GPU, |f| f.physical = Fact::Known(t::at("0000:01:00.1")));
        let all = [GPU.to_owned(), "01:00.1".to_owned()];
        let goal = Goal::resolve(&all, false, &snap.pci).unwrap();
        assert!(hand_over(&snap, &goal).refused.is_empty());
    }
}

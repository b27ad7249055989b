//! The ladder of resets for a device: every way that this host has, in the kernel's order, the harmless ones first. Pure.

use crate::checks::device::is_endpoint;
use crate::checks::quirks;
use crate::facts::Snapshot;
use crate::facts::pci::Function;
use crate::facts::system::Lockdown;
use crate::facts::usage::UseKind;
use crate::host::Fact;
use crate::parse::address::Address;
use crate::plan::texts::said;
use serde::Serialize;

/// One way to reset a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// A method of the function that `reset_method` lists (Linux 5.15, Documentation/ABI/testing/sysfs-bus-pci).
    Method(String),
    /// What an older kernel chooses by itself.
    Kernel,
    /// vfio's reset of the whole slot or bus (`VFIO_DEVICE_PCI_HOT_RESET`).
    Hot,
    /// The bridge's reset of all that is below it (`reset_subordinate`, Linux 6.13).
    Subordinate(Address),
    /// The functions are taken out of the kernel's list, and looked for again.
    Rescan(Option<Address>),
}

impl Rung {
    /// The name, as `--method` takes it.
    pub fn name(&self) -> &str {
        match self {
            Rung::Method(name) => name,
            Rung::Kernel => "kernel",
            Rung::Hot => "hot",
            Rung::Subordinate(_) => "subordinate",
            Rung::Rescan(_) => "rescan",
        }
    }
}

/// What there is to try for a device, and why some of it is not.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// The functions that must be well afterwards; the first is the one that is reset.
    pub functions: Vec<Address>,
    /// All below the same bridge: what a reset of the slot touches.
    pub touched: Vec<Address>,
    /// In this order.
    pub rungs: Vec<Rung>,
    /// Ways that are not taken, and why.
    pub left_out: Vec<(String, String)>,
    /// What else there is, once all of them have failed.
    pub advice: Vec<String>,
}

/// The kernel's own module for cards that no standard method brings back.
const VENDOR_RESET: &str = "vendor_reset";

/// The ladder for the chosen functions of one slot. Fails with why nothing may be tried.
pub fn ladder(
    snap: &Snapshot,
    chosen: &[&Function],
    allow_driver: bool,
    asked: Option<&str>,
) -> Result<Ladder, String> {
    let main = chosen.iter().find(|f| f.is_display()).or(chosen.first()).ok_or_else(String::new)?;
    let touched = below_same_bridge(snap, main);
    let mut functions: Vec<&Function> = vec![main];
    functions.extend(chosen.iter().filter(|f| f.address != main.address));
    refusal(snap, &functions, allow_driver)?;
    let mut ladder = Ladder {
        functions: functions.iter().map(|f| f.address).collect(),
        // Virtual functions come and go with their physical one.
        touched: touched.iter().filter(|f| f.physical.known().is_none()).map(|f| f.address).collect(),
        rungs: Vec::new(),
        left_out: Vec::new(),
        advice: advice(snap, main),
    };
    methods(snap, main, &mut ladder);
    slot(snap, main, &touched, &mut ladder);
    if let (Some(module), false) = (first_taker(snap, main), asked == Some("rescan")) {
        ladder.rungs.retain(|rung| !matches!(rung, Rung::Rescan(_)));
        ladder.left_out.push(("rescan".to_owned(), said("reset-driver-first", &[("module", &module)])));
    }
    Ok(ladder)
}

/// Functions that a reset of the bus takes along, the function itself included.
fn below_same_bridge<'a>(snap: &'a Snapshot, main: &'a Function) -> Vec<&'a Function> {
    match main.parent.known() {
        None => vec![main],
        Some(bridge) => snap
            .pci
            .functions
            .iter()
            .filter(|f| snap.pci.path_up(&f.address).iter().any(|b| b.address == *bridge))
            .collect(),
    }
}

/// Whoever has a function would see it vanish.
fn refusal(snap: &Snapshot, functions: &[&Function], allow_driver: bool) -> Result<(), String> {
    for function in functions {
        let values = [("device", &*function.name()), ("address", &*function.address.to_string())];
        if is_endpoint(function) == Some(false) {
            return Err(said("guard-bridge", &values));
        }
        let vital = snap.usage.of(&function.address).find(|used| used.kind != UseKind::OnlyConsole);
        if let Some(used) = vital {
            return Err(said("reset-in-use", &[values[0], values[1], ("users", &used.by)]));
        }
        let driver = function.driver.known().filter(|driver| !function.on_vfio() && *driver != "pci-stub");
        if let (Some(driver), false) = (driver, allow_driver) {
            return Err(said("reset-native", &[values[0], values[1], ("driver", driver)]));
        }
    }
    Ok(())
}

fn methods(snap: &Snapshot, main: &Function, ladder: &mut Ladder) {
    let listed = match &main.reset_methods {
        Fact::Known(listed) => listed.clone(),
        Fact::Unknown(_) if main.resettable == Fact::Known(true) => return ladder.rungs.push(Rung::Kernel),
        Fact::Unknown(_) | Fact::Absent => Vec::new(),
    };
    let known = main.ids.known().and_then(|ids| quirks::reset(*ids)).is_some_and(|row| row.cure == "vendor-reset");
    let loaded = snap.kernel.loaded.known().is_some_and(|loaded| loaded.contains(VENDOR_RESET));
    // vendor-reset's code is used only once this was written there.
    if known && loaded && !listed.iter().any(|method| method == "device_specific") {
        ladder.rungs.push(Rung::Method("device_specific".into()));
    }
    ladder.rungs.extend(listed.into_iter().map(Rung::Method));
}

/// The rungs that take along all that is below the bridge.
fn slot(snap: &Snapshot, main: &Function, touched: &[&Function], ladder: &mut Ladder) {
    let (mut leave, all) = (Vec::new(), ["hot", "subordinate", "rescan"]);
    if main.physical.known().is_some() {
        leave.extend(all.map(|name| (name, said("reset-virtual", &[]))));
    } else if let Some(used) = touched.iter().find_map(|f| snap.usage.of(&f.address).next()) {
        let values = [("address", &*used.address.to_string()), ("users", &used.by)];
        leave.extend(all.map(|name| (name, said("reset-beside-user", &values))));
    } else {
        let ours = |f: &&Function| ladder.functions.contains(&f.address);
        let free = |f: &&Function| is_endpoint(f) == Some(false) || f.on_vfio() || f.driver.is_absent();
        match touched.iter().find(|f| !free(f) && !ours(f)) {
            Some(function) => {
                let driver = function.driver.known().map_or("", String::as_str);
                let values = [("address", &*function.address.to_string()), ("driver", driver)];
                leave.extend(all.map(|name| (name, said("reset-beside-driver", &values))));
            }
            None => {
                match touched.iter().all(free) && main.on_vfio() {
                    true => ladder.rungs.push(Rung::Hot),
                    false => leave.push(("hot", said("reset-not-vfio", &[]))),
                }
                match main.parent.known() {
                    Some(bridge) => ladder.rungs.push(Rung::Subordinate(*bridge)),
                    None => leave.push(("subordinate", said("reset-no-bridge", &[]))),
                }
                ladder.rungs.push(Rung::Rescan(main.parent.known().copied()));
            }
        }
    }
    ladder.left_out.extend(leave.into_iter().map(|(name, why)| (name.to_owned(), why)));
}

/// A display's native module, if it is loaded: the kernel gives it a card that appears, and few stand one that is not well.
fn first_taker(snap: &Snapshot, main: &Function) -> Option<String> {
    let loaded = snap.kernel.loaded.known()?;
    let candidates = main.candidates.known().filter(|_| main.is_display() && main.on_vfio())?;
    candidates.iter().find(|module| loaded.contains(*module) && !module.ends_with("vfio_pci")).cloned()
}

/// What a person can do where no rung helps.
fn advice(snap: &Snapshot, main: &Function) -> Vec<String> {
    let mut advice = Vec::new();
    if let Some(row) = main.ids.known().and_then(|ids| quirks::reset(*ids)) {
        let loaded = snap.kernel.loaded.known().is_some_and(|loaded| loaded.contains(VENDOR_RESET));
        if row.cure == "vendor-reset" && !loaded {
            advice.push(said("reset-advice-vendor", &[("family", &row.name)]));
            if snap.system.lockdown.known().is_some_and(|mode| *mode != Lockdown::None) {
                advice.push(said("reset-advice-lockdown", &[]));
            }
        } else {
            advice.push(said("reset-advice-known-bad", &[("family", &row.name)]));
        }
    }
    advice.push(said("reset-advice-suspend", &[]));
    advice.push(said("reset-advice-reboot", &[]));
    advice
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::Evidence;
    use crate::facts::usage::Use;

    const SOUND: &str = "0000:01:00.1";

    fn free() -> Snapshot {
        let mut snap = t::healthy();
        for address in [GPU, SOUND] {
            t::change(&mut snap, address, |f| f.driver = Fact::Known("vfio-pci".into()));
        }
        t::change(&mut snap, GPU, |f| {
            f.reset_methods = Fact::Known(vec!["flr".into(), "bus".into()]);
            f.candidates = Fact::Known(vec!["nouveau".into()]);
        });
        if let Fact::Known(loaded) = &mut snap.kernel.loaded {
            loaded.remove("nouveau");
        }
        snap
    }

    fn names(snap: &Snapshot, chosen: &[&str]) -> Result<Vec<String>, String> {
        let chosen: Vec<&Function> = chosen.iter().map(|a| snap.pci.get(&t::at(a)).unwrap()).collect();
        ladder(snap, &chosen, false, None).map(|found| found.rungs.iter().map(|rung| rung.name().to_owned()).collect())
    }

    #[test]
    fn the_kernels_methods_come_first_and_what_takes_others_along_last() {
        let mut snap = free();
        assert_eq!(names(&snap, &[SOUND, GPU]).unwrap(), ["flr", "bus", "hot", "subordinate", "rescan"]);
        t::change(&mut snap, SOUND, |f| f.driver = Fact::Known("snd_hda_intel".into()));
        assert_eq!(names(&snap, &[GPU]).unwrap(), ["flr", "bus"], "the sound function is its driver's");
        t::change(&mut snap, GPU, |f| {
            f.reset_methods = Fact::Unknown(crate::host::Why::NotRead);
            f.resettable = Fact::Known(true);
        });
        assert_eq!(names(&snap, &[GPU]).unwrap()[0], "kernel");
    }

    #[test]
    fn a_display_is_not_shown_to_a_driver_that_waits_for_it() {
        let mut snap = free();
        if let Fact::Known(loaded) = &mut snap.kernel.loaded {
            loaded.insert("nouveau".into());
        }
        assert_eq!(names(&snap, &[GPU, SOUND]).unwrap(), ["flr", "bus", "hot", "subordinate"]);
        let chosen: Vec<&Function> = vec![snap.pci.get(&t::at(GPU)).unwrap()];
        let asked = ladder(&snap, &chosen, false, Some("rescan")).unwrap();
        assert_eq!(asked.rungs.last().map(Rung::name), Some("rescan"));
    }

    #[test]
    fn nothing_of_somebody_elses() {
        let mut snap = free();
        let vm = |address| Use {
            address: t::at(address),
            kind: UseKind::RunningVm,
            by: "VM 105".into(),
            evidence: Evidence::new("", ""),
        };
        snap.usage.uses.push(vm(SOUND));
        assert!(names(&snap, &[GPU, SOUND]).unwrap_err().contains("VM 105"));
        assert_eq!(names(&snap, &[GPU]).unwrap(), ["flr", "bus"], "the VM has the function beside it");
        // What carries the host's own things is not reset, whatever is allowed.
        let mut snap = free();
        snap.usage.uses.push(Use { kind: UseKind::RootStorage, by: "/".into(), ..vm(GPU) });
        let chosen: Vec<&Function> = vec![snap.pci.get(&t::at(GPU)).unwrap()];
        assert!(ladder(&snap, &chosen, true, None).is_err());
        let mut snap = t::healthy();
        assert!(names(&snap, &[GPU]).unwrap_err().contains("nouveau"));
        t::change(&mut snap, GPU, |f| {
            f.driver = Fact::Absent;
            f.physical = Fact::Known(t::at(SOUND));
            f.reset_methods = Fact::Known(vec!["flr".into()]);
        });
        assert_eq!(names(&snap, &[GPU]).unwrap(), ["flr"], "a virtual function's slot is others', too");
    }

    #[test]
    fn vendor_reset_is_chosen_where_it_has_code() {
        let mut snap = free();
        t::change(&mut snap, GPU, |f| f.ids = Fact::Known(crate::facts::pci::Ids { vendor: 0x1002, device: 0x731f }));
        let chosen: Vec<&Function> = vec![snap.pci.get(&t::at(GPU)).unwrap()];
        assert!(ladder(&snap, &chosen, false, None).unwrap().advice[0].contains("vendor-reset"));
        if let Fact::Known(loaded) = &mut snap.kernel.loaded {
            loaded.insert(VENDOR_RESET.into());
        }
        assert_eq!(names(&snap, &[GPU]).unwrap()[..2], ["device_specific", "flr"]);
    }
}

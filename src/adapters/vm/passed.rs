//! Devices as a VM is to see them, whoever runs it.
//!
//! Goes in: functions of a host. Comes out: slots of the guest with the functions in each, and what the VM has to have for
//! them. How that is written is each hypervisor's own.

use crate::checks::{device, intent};
use crate::facts::Snapshot;
use crate::facts::own::CLAIMS;
use crate::facts::pci::Function;
use crate::parse::address::Address;
use crate::parse::claims;
use std::collections::BTreeMap;

/// One function of the host in a slot of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where the host has it.
    pub host: Address,
    /// Its number in the guest's slot.
    pub function: u8,
    /// It is a display controller.
    pub display: bool,
    /// It is one with VGA registers (class 0300), which SeaBIOS and other legacy software draw on.
    pub vga: bool,
    /// It is on vfio when a VM starts: claimed at boot, or now. Otherwise the hypervisor has to take it from its driver.
    pub claimed: bool,
    /// The option ROM file that the guest is to see, an absolute path on the host.
    pub rom_file: Option<String>,
}

/// One slot of the guest, with the functions of one slot of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// In order; the first is function 0.
    pub members: Vec<Member>,
    /// All functions that the host's slot has.
    pub whole: bool,
}

impl Slot {
    /// `0000:01:00`: the host's slot.
    pub fn host(&self) -> String {
        let first = self.members.first().map(|member| member.host.to_string()).unwrap_or_default();
        first.rsplit_once('.').map(|(slot, _)| slot.to_owned()).unwrap_or_default()
    }
}

/// All devices that one VM is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// In the host's order.
    pub slots: Vec<Slot>,
    /// Memory that their 64-bit BARs take, in bytes; none where a function's are not known.
    pub bars: Option<u64>,
}

impl Passed {
    /// For functions of a host; those that it does not have are left out. `rom`: the function that is to have a ROM file, and its path.
    pub fn of(snap: &Snapshot, devices: &[Address], rom: Option<(Address, &str)>) -> Passed {
        let own = snap.own.text(CLAIMS).map(claims::parse).unwrap_or_default().claims;
        let ids = intent::claims(snap);
        let claimed = |function: &Function| {
            own.iter().any(|claim| claim.address == function.address)
                || ids.iter().any(|claim| claim.takes(function) == Some(true))
        };
        let mut slots: BTreeMap<Address, Vec<&Function>> = BTreeMap::new();
        let mut found: Vec<&Function> = devices.iter().filter_map(|address| snap.pci.get(address)).collect();
        found.sort_by_key(|function| function.address);
        found.dedup_by_key(|function| function.address);
        for function in &found {
            slots.entry(Address { function: 0, ..function.address }).or_default().push(function);
        }
        let member = |function: &&Function, number: u8| Member {
            host: function.address,
            function: number,
            display: function.is_display(),
            vga: function.class.known().is_some_and(|class| class >> 8 == 0x0300),
            claimed: function.on_vfio() || claimed(function),
            rom_file: rom.filter(|(card, _)| *card == function.address).map(|(_, path)| path.to_owned()),
        };
        let slot = |functions: Vec<&Function>| {
            // A guest looks for more functions only where there is a function 0 (PCI Local Bus 3.0, 3.2.2.3.4).
            let keeps = functions.first().is_some_and(|first| first.address.function == 0);
            let number = |(index, function): (usize, &&Function)| {
                let number = if keeps { function.address.function } else { u8::try_from(index).unwrap_or(7) };
                member(function, number)
            };
            let all = functions.first().map_or(0, |first| snap.pci.slot(&first.address).count());
            Slot { whole: keeps && all == functions.len(), members: functions.iter().enumerate().map(number).collect() }
        };
        Passed {
            slots: slots.into_values().map(slot).collect(),
            bars: found.iter().map(|function| function.wide_bars()).sum(),
        }
    }

    /// All functions, in order.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.slots.iter().flat_map(|slot| &slot.members)
    }

    /// The 64-bit window that OVMF needs for the BARs where it does not know the CPU's address width, in MiB; none where its own is wide
    /// enough, or nothing is known. A power of two, twice what the BARs take.
    pub fn mmio_mib(&self) -> Option<u64> {
        device::window_mib(self.bars?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::pci::Bar;
    use crate::host::Fact;

    #[test]
    fn a_card_and_its_sound_are_one_slot() {
        let mut snap = t::healthy();
        let devices = [t::at("0000:01:00.1"), t::at(GPU), t::at("0000:7f:00.0")];
        let passed = Passed::of(&snap, &devices, Some((t::at(GPU), "/a.rom")));
        let [slot] = passed.slots.as_slice() else { panic!("{passed:?}") };
        assert!(slot.whole && slot.host() == "0000:01:00", "{slot:?}");
        let shown: Vec<(u8, bool, bool)> =
            slot.members.iter().map(|m| (m.function, m.vga, m.rom_file.is_some())).collect();
        assert_eq!(shown, [(0, true, true), (1, false, false)]);
        // The sound alone is function 0 of its slot.
        let alone = Passed::of(&snap, &devices[..1], None);
        assert!(!alone.slots[0].whole && alone.slots[0].members[0].function == 0);
        assert!(!alone.slots[0].members[0].claimed);
        t::change(&mut snap, "0000:01:00.1", |f| f.driver = Fact::Known("vfio-pci".into()));
        assert!(Passed::of(&snap, &devices[..1], None).slots[0].members[0].claimed);
    }

    #[test]
    fn the_window() {
        let mut snap = t::healthy();
        let bar = |size| Fact::Known(vec![Bar { index: 1, start: 1 << 40, size, flags: 0x14_220c }]);
        for (size, window) in [(256 << 20, None), (16 << 30, None), (32 << 30, Some(65536)), (48 << 30, Some(131_072))]
        {
            t::change(&mut snap, GPU, |f| f.bars = bar(size));
            assert_eq!(Passed::of(&snap, &[t::at(GPU)], None).mmio_mib(), window, "{size}");
        }
        t::change(&mut snap, GPU, |f| f.bars = Fact::default());
        assert_eq!(Passed::of(&snap, &[t::at(GPU)], None).mmio_mib(), None);
    }
}

//! What the checks of single devices share: who goes along with a function, who is in the way, what to call them.

use super::quirks::{self, DisplayKind};
use crate::facts::pci::{Function, Header, Pci, is_vfio_driver};
use crate::host::Fact;

/// Is it an endpoint in the kernel's eyes (header type 0)? `None` if nothing tells.
///
/// Bridges never count when a group is judged, whatever their driver: `vfio_dev_viable` of older kernels and
/// `driver_managed_dma` since Linux 6.0 exempt them (`drivers/pci/pcie/portdrv.c`). A bridge by class only
/// (06 80, NVSwitch) has header type 0 and does count.
pub(crate) fn is_endpoint(function: &Function) -> Option<bool> {
    match function.header {
        Fact::Known(header) => return Some(header == Header::Endpoint),
        Fact::Absent | Fact::Unknown(_) => {}
    }
    if function.driver.known().is_some_and(|driver| driver == "pcieport" || driver == "shpchp") {
        return Some(false);
    }
    function.base_class().map(|class| !matches!(class, 0x0604 | 0x0607 | 0x0609))
}

/// Host bridges, ISA bridges and the like: header type 0, but nobody gives them away and nothing drives them.
pub(crate) fn is_chipset(function: &Function) -> bool {
    function.base_class().is_some_and(|class| class >> 8 == 0x06 && class != 0x0680 || class == 0x0806)
}

/// True if it leaves the group usable: on a vfio driver, on pci-stub, or unbound (`vfio_dev_viable`,
/// `drivers/vfio/vfio.c` before Linux 6.0; `iommu_group_claim_dma_owner` since). `None` if the driver is unknown.
pub(crate) fn stands_aside(function: &Function) -> Option<bool> {
    match &function.driver {
        Fact::Known(driver) => Some(is_vfio_driver(driver) || driver == "pci-stub"),
        Fact::Absent => Some(true),
        Fact::Unknown(_) => None,
    }
}

/// True for a virtual function, as far as is known.
pub(super) fn is_virtual_function(function: &Function) -> bool {
    function.physical.known().is_some()
        || function.device_name.as_deref().is_some_and(|name| name.contains("Virtual Function"))
}

/// The other functions of its slot that are part of the same card: a graphics card's sound, USB and UCSI.
/// Virtual functions share the slot's number and are devices of their own.
pub(super) fn companions<'a>(pci: &'a Pci, function: &Function) -> Vec<&'a Function> {
    if is_virtual_function(function) {
        return Vec::new();
    }
    let address = function.address;
    pci.slot(&address)
        .filter(|f| f.address != address && is_endpoint(f) == Some(true) && !is_virtual_function(f))
        .collect()
}

/// A display controller or a processing accelerator (class 12): what passthrough is mostly about.
pub(super) fn is_accelerator(function: &Function) -> bool {
    is_endpoint(function) == Some(true)
        && (function.is_display() || function.base_class().is_some_and(|class| class >> 8 == 0x12))
}

/// A display of a management controller or of a hypervisor: nobody gives it away for its own sake.
pub(super) fn is_console_only(function: &Function) -> bool {
    function.ids.known().is_some_and(|ids| quirks::display(*ids).is_some())
}

/// The screen of a management controller: nobody's to give away.
pub fn is_management_display(function: &Function) -> bool {
    function.ids.known().is_some_and(|ids| quirks::display(*ids) == Some(DisplayKind::Management))
}

/// Graphics inside the processor: on the root bus, or in one slot with functions of an AMD processor.
pub(crate) fn is_integrated(pci: &Pci, function: &Function) -> bool {
    let intel = function.address.bus == 0 && function.ids.known().is_some_and(|ids| ids.vendor == 0x8086);
    let amd = companions(pci, function).iter().any(|f| f.ids.known().is_some_and(|ids| ids.vendor == 0x1022));
    intel || amd
}

/// The 64-bit window that OVMF has where it does not know the CPU's address width, in MiB: 32 GiB (edk2
/// OvmfPkg/Library/PlatformInitLib/MemDetect.c).
pub(crate) const CLASSIC_WINDOW: u64 = 32 << 10;

/// The 64-bit window that a guest's firmware needs for 64-bit BARs of so many bytes in all, in MiB; none where [`CLASSIC_WINDOW`] is wide
/// enough. A power of two, twice what they take: BARs are aligned to their size.
pub(crate) fn window_mib(bars: u64) -> Option<u64> {
    let needed = (bars >> 20).next_power_of_two().saturating_mul(2);
    (bars > CLASSIC_WINDOW << 19).then_some(needed)
}

/// `0000:01:00.1 NVIDIA Corporation AD102 … (snd_hda_intel)`: for lists in messages.
pub(crate) fn named(function: &Function) -> String {
    let name = function.name();
    let mut text = function.address.to_string();
    if name != text {
        text.push(' ');
        text.push_str(&name);
    }
    if let Some(driver) = function.driver.known() {
        text.push_str(&format!(" ({driver})"));
    }
    text
}

/// The most that a list in a message names.
const SHOWN: usize = 4;

/// `a`, `a and b`, `a, b and c`; from the fifth on only their number.
pub(crate) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let mut items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.len() > SHOWN + 1 {
        let more = items.len() - SHOWN;
        items.truncate(SHOWN);
        items.push(format!("{more} more"));
    }
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing as t;

    #[test]
    fn endpoints_are_told_by_header_then_class() {
        let nvswitch = t::function("0000:05:00.0", "10de:22a3", 0x06_8000);
        assert_eq!(is_endpoint(&nvswitch), Some(true));
        assert!(!is_chipset(&nvswitch));
        assert_eq!(is_endpoint(&t::root_port("0000:00:01.0", "8086:460d")), Some(false));
        let mut seen = t::root_port("0000:00:01.0", "8086:460d");
        seen.header = Fact::default();
        assert_eq!(is_endpoint(&seen), Some(false));
        seen.class = Fact::default();
        seen.driver = Fact::default();
        assert_eq!(is_endpoint(&seen), None);
        assert!(is_chipset(&t::function("0000:00:00.0", "1022:1480", 0x06_0000)));
    }

    #[test]
    fn lists_read_well() {
        assert_eq!(list::<&str>([]), "");
        assert_eq!(list(["a"]), "a");
        assert_eq!(list(["a", "b", "c"]), "a, b and c");
        assert_eq!(list(["a", "b", "c", "d", "e"]), "a, b, c, d and e");
        assert_eq!(list(["a", "b", "c", "d", "e", "f"]), "a, b, c, d and 2 more");
    }

    #[test]
    fn a_card_is_one_slot_without_virtual_functions() {
        let mut snap = t::healthy();
        let gpu = snap.pci.get(&t::at(t::GPU)).cloned().expect("the card");
        assert_eq!(companions(&snap.pci, &gpu).len(), 1);
        let mut virtual_one = t::function("0000:01:00.4", "10de:2684", 0x03_0200);
        virtual_one.physical = Fact::Known(t::at(t::GPU));
        t::add(&mut snap, virtual_one);
        assert_eq!(companions(&snap.pci, &gpu).len(), 1);
    }
}

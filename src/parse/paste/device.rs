//! One device as a listing shows it: `lspci` in its forms, and the scripts that list IOMMU groups.
//!
//! Goes in: single lines, cleaned. Comes out: [`Device`]s and what the lines below add to them. Unknown keys are
//! left out: pciutils adds new ones with every version.

use super::classes;
use crate::parse::address::Address;
use regex::Regex;
use std::sync::LazyLock;

/// A base address register as `lspci -vv` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// 0 to 5.
    pub index: u8,
    /// First address; 0 if unassigned.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// I/O ports, not memory.
    pub io: bool,
    /// 64 bits wide.
    pub wide: bool,
    /// Prefetchable.
    pub prefetch: bool,
}

/// What a text tells of one function. `None`: it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// The line that showed it first, counted from 1.
    pub line: u32,
    /// That line.
    pub text: String,
    /// Base class, subclass and programming interface.
    pub class: Option<u32>,
    /// The class in words.
    pub class_name: Option<String>,
    /// Vendor and device id.
    pub ids: Option<(u16, u16)>,
    /// Subsystem ids.
    pub subsystem: Option<(u16, u16)>,
    /// The vendor's name, where it stands apart.
    pub vendor_name: Option<String>,
    /// The device's name, with the vendor's in front where they do not stand apart.
    pub name: Option<String>,
    /// Revision.
    pub revision: Option<u8>,
    /// The driver; `Some(None)` if the listing shows that there is none.
    pub driver: Option<Option<String>>,
    /// Modules that match.
    pub modules: Option<Vec<String>>,
    /// The IOMMU group; `Some(None)` if the listing shows that there is none.
    pub group: Option<Option<u32>>,
    /// NUMA node.
    pub numa_node: Option<u32>,
    /// The bridge above it; `Some(None)` on a root bus.
    pub parent: Option<Option<Address>>,
    /// True for a bridge by its header.
    pub bridge: Option<bool>,
    /// The buses behind a bridge.
    pub secondary: Option<(u8, u8)>,
    /// PCIe port type, as in the PCI Express capabilities register.
    pub port_type: Option<u8>,
    /// ACS: capability and control bits.
    pub acs: Option<(u16, u16)>,
    /// Extended capabilities are shown, so that a missing one is absent.
    pub extended: bool,
    /// Function level reset.
    pub flr: Option<bool>,
    /// Regions.
    pub regions: Vec<Region>,
    /// Bytes of the ROM region.
    pub rom_size: Option<u64>,
    /// Speed and width that the link can have.
    pub link_max: Option<(String, u32)>,
    /// Speed and width that it has.
    pub link_now: Option<(String, u32)>,
    /// Possible and present virtual functions.
    pub sriov: Option<(u32, u32)>,
    /// Power state.
    pub power: Option<String>,
    /// Reset methods, as sysfs lists them.
    pub reset_methods: Option<Vec<String>>,
    /// It can be reset (`[R]` of some listings).
    pub resettable: Option<bool>,
    /// It is the boot display.
    pub boot_display: Option<(u32, String)>,
    /// It reads as all ones.
    pub dead: bool,
}

fn regex(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

static IDS: LazyLock<Option<Regex>> = LazyLock::new(|| regex(r"\[([0-9a-fA-F]{4}):([0-9a-fA-F]{4})\]"));
static CODE: LazyLock<Option<Regex>> = LazyLock::new(|| regex(r"^([^\[\]:]+?)[ \t]+\[([0-9a-fA-F]{4})\]:?[ \t]*(.*)$"));
static DRIVER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(
        r"(?:[\(\[][Dd]river:[ \t]*|[ \t]Driver:[ \t]*|[ \t]drv=|[\(\[][Kk]ernel driver in use:[ \t]*)([A-Za-z0-9_.-]+)[\)\]]?",
    )
});
static REVISION: LazyLock<Option<Regex>> = LazyLock::new(|| regex(r"\(rev ([0-9a-fA-F]{2})\)"));
static PROG_IF: LazyLock<Option<Regex>> = LazyLock::new(|| regex(r"\(prog-if ([0-9a-fA-F]{2})"));

fn hex16(text: &str) -> Option<u16> {
    u16::from_str_radix(text, 16).ok()
}

/// `vvvv:dddd`.
pub(super) fn ids(text: &str) -> Option<(u16, u16)> {
    let (vendor, device) = text.split_once(':')?;
    if vendor.len() != 4 || device.len() != 4 {
        return None;
    }
    Some((hex16(vendor)?, hex16(device)?))
}

/// The last `[vvvv:dddd]` of a text, and where it starts.
pub(super) fn bracketed_ids(text: &str) -> Option<((u16, u16), usize)> {
    let found = IDS.as_ref()?.captures_iter(text).last()?;
    let at = found.get(0)?.start();
    Some(((hex16(found.get(1)?.as_str())?, hex16(found.get(2)?.as_str())?), at))
}

/// An address at the start of a text, and what follows after white space.
pub(super) fn leading_address(text: &str) -> Option<(Address, &str)> {
    let end = text.find(|c: char| c.is_whitespace()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    Some((Address::parse(word.trim_end_matches([',', ';']))?, rest.trim_start()))
}

/// A line that shows a device. `listed`: the line stands in a group listing, so that an address is enough.
pub(super) fn header(line: &str, listed: bool) -> Option<(Address, Device)> {
    let line = line.trim();
    let mut device = Device::default();
    // `[1022:14da] [R] 00:01.0  Host bridge   Name`: ids in front.
    let mut rest = line;
    if rest.starts_with('[') {
        let (found, _) = bracketed_ids(rest.get(..11)?)?;
        device.ids = Some(found);
        rest = rest.get(11..)?.trim_start();
        device.resettable = Some(false);
        if let Some(after) = rest.strip_prefix("[R]") {
            device.resettable = Some(true);
            rest = after.trim_start();
        }
    }
    let (address, rest) = leading_address(rest)?;
    if device.ids.is_some() {
        let mut columns = rest.split("  ").map(str::trim).filter(|part| !part.is_empty());
        device.set_class_name(columns.next().unwrap_or_default());
        device.set_name(&columns.collect::<Vec<_>>().join(" "));
        return Some((address, device));
    }
    if let Some(quoted) = rest.strip_prefix('\'') {
        device.set_devbind(quoted)?;
        return Some((address, device));
    }
    if rest.starts_with('"') {
        let parts: Vec<&str> = rest.split('"').skip(1).step_by(2).collect();
        device.set_class_name(parts.first()?);
        device.vendor_name = parts.get(1).map(|name| (*name).to_owned());
        device.name = parts.get(2).map(|name| (*name).to_owned());
        return Some((address, device));
    }
    if device.set_lspci(rest, listed) { Some((address, device)) } else { listed.then_some((address, device)) }
}

impl Device {
    fn set_class_name(&mut self, text: &str) {
        let text = text.trim();
        if let Some(found) = CODE.as_ref().and_then(|code| code.captures(text)) {
            self.class = found.get(2).and_then(|code| hex16(code.as_str())).map(|code| u32::from(code) << 8);
            self.class_name = found.get(1).map(|name| name.as_str().trim().to_owned());
        } else if !text.is_empty() {
            self.class = classes::code(text).map(|code| u32::from(code) << 8);
            self.class_name = Some(text.to_owned());
        }
    }

    /// What follows the class: names, ids, revision, driver.
    fn set_rest(&mut self, rest: &str) {
        self.revision = REVISION
            .as_ref()
            .and_then(|r| r.captures(rest))
            .and_then(|m| u8::from_str_radix(m.get(1)?.as_str(), 16).ok());
        let prog_if = PROG_IF
            .as_ref()
            .and_then(|r| r.captures(rest))
            .and_then(|m| u32::from_str_radix(m.get(1)?.as_str(), 16).ok());
        if let (Some(class), Some(prog_if)) = (self.class.as_mut(), prog_if) {
            *class = *class & !0xff | prog_if;
        }
        if self.revision == Some(0xff) && prog_if.is_none_or(|prog_if| prog_if == 0xff) {
            self.dead = true;
        }
        if let Some(driver) = DRIVER.as_ref().and_then(|r| r.captures(rest)).and_then(|m| m.get(1)) {
            let driver = driver.as_str();
            self.driver = Some((!matches!(driver, "none" | "None" | "-")).then(|| driver.to_owned()));
        }
        let mut end = rest.len();
        match bracketed_ids(rest) {
            Some((found, at)) => {
                self.ids = Some(found);
                end = at;
            }
            None => {
                let first = rest.split_whitespace().next().unwrap_or_default();
                if let Some(found) = ids(first) {
                    self.ids = Some(found);
                    return;
                }
            }
        }
        for mark in [" (rev ", " (prog-if ", " (driver", "   Driver:"] {
            end = end.min(rest.find(mark).unwrap_or(end));
        }
        self.set_name(rest.get(..end).unwrap_or(rest));
    }

    fn set_name(&mut self, name: &str) {
        let name = name.trim().trim_end_matches([':', ',']);
        if !name.is_empty() {
            self.name = Some(name.chars().take(200).collect());
        }
    }

    /// `VGA compatible controller [0300]: Vendor Name [vvvv:dddd] (rev a1)` and its shorter forms.
    fn set_lspci(&mut self, rest: &str, listed: bool) -> bool {
        if let Some(found) = CODE.as_ref().and_then(|code| code.captures(rest)) {
            self.class = found.get(2).and_then(|code| hex16(code.as_str())).map(|code| u32::from(code) << 8);
            self.class_name = found.get(1).map(|name| name.as_str().trim().to_owned());
            self.set_rest(found.get(3).map_or("", |m| m.as_str()));
            return true;
        }
        let Some((class, after)) = rest.split_once(':') else {
            if listed && !rest.is_empty() {
                self.set_rest(rest);
            }
            return false;
        };
        let class = class.trim();
        let number = class.strip_prefix("Class ").unwrap_or(class);
        if number.len() == 4
            && after.starts_with(' ')
            && let (Some(code), Some(_)) = (hex16(number), ids(after.split_whitespace().next().unwrap_or_default()))
        {
            self.class = Some(u32::from(code) << 8);
            self.set_rest(after.trim());
            return true;
        }
        if let Some(code) = classes::code(class) {
            self.class = Some(u32::from(code) << 8);
            self.class_name = Some(class.to_owned());
            self.set_rest(after.trim());
            return true;
        }
        if listed
            || after.starts_with(' ')
                && (bracketed_ids(after).is_some() || REVISION.as_ref().is_some_and(|r| r.is_match(after)))
        {
            self.class_name = Some(class.to_owned());
            self.set_rest(after.trim());
            return true;
        }
        false
    }

    /// dpdk-devbind: `'Name 15ff' if=enp68s0f0 drv=i40e unused=vfio-pci *Active*`.
    fn set_devbind(&mut self, quoted: &str) -> Option<()> {
        let (name, after) = quoted.split_once('\'')?;
        if !after.contains("drv=") && !after.contains("unused=") {
            return None;
        }
        self.set_name(name);
        let driver = after.split_whitespace().find_map(|word| word.strip_prefix("drv="));
        self.driver = Some(driver.filter(|driver| !driver.is_empty()).map(str::to_owned));
        // The interface tells that it is a network card; the listing has network devices under their own heading.
        if after.contains("if=") || name.starts_with("Ethernet") {
            self.class = Some(0x02_0000);
        }
        Some(())
    }

    /// Takes over what another sighting of the same function tells and this one does not.
    pub(super) fn merge(&mut self, other: Device) {
        macro_rules! fill {
            ($($field:ident),*) => { $(if self.$field.is_none() { self.$field = other.$field; })* };
        }
        fill!(
            class,
            class_name,
            ids,
            subsystem,
            vendor_name,
            name,
            revision,
            driver,
            modules,
            group,
            numa_node,
            parent
        );
        fill!(bridge, secondary, port_type, acs, flr, rom_size, link_max, link_now, sriov, power, reset_methods);
        fill!(resettable, boot_display);
        self.extended |= other.extended;
        self.dead |= other.dead;
        if self.regions.is_empty() {
            self.regions = other.regions;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Shown = (String, Option<u32>, Option<(u16, u16)>, Option<String>, Option<Option<String>>);

    fn shown(line: &str) -> Shown {
        let (address, device) = header(line, false).unwrap_or_else(|| panic!("{line}"));
        (address.to_string(), device.class, device.ids, device.name, device.driver)
    }

    #[test]
    fn forms_of_one_card() {
        let name = || Some("NVIDIA Corporation GA104 [GeForce RTX 3070]".to_owned());
        let ids = Some((0x10de, 0x2484));
        for (line, expected) in [
            (
                "0a:00.0 VGA compatible controller [0300]: NVIDIA Corporation GA104 [GeForce RTX 3070] [10de:2484] (rev a1)",
                ("0000:0a:00.0", Some(0x30000), ids, name(), None),
            ),
            (
                "0a:00.0 VGA compatible controller: NVIDIA Corporation GA104 [GeForce RTX 3070] (rev a1) (prog-if 00 [VGA controller])",
                ("0000:0a:00.0", Some(0x30000), None, name(), None),
            ),
            ("10000:e1:00.0 0108: 144d:a808", ("10000:e1:00.0", Some(0x10800), Some((0x144d, 0xa808)), None, None)),
            (
                "0a:00.0 VGA compatible controller [0300]: NVIDIA Corporation GA104 [GeForce RTX 3070] [10de:2484] (rev a1) (driver: nvidia-x)",
                ("0000:0a:00.0", Some(0x30000), ids, name(), Some(Some("nvidia-x".into()))),
            ),
            (
                "0000:0a:00.0 VGA compatible controller [0300] NVIDIA Corporation GA104 [GeForce RTX 3070] [10de:2484] (rev a1)",
                ("0000:0a:00.0", Some(0x30000), ids, name(), None),
            ),
            (
                "[10de:2484] [R] 0a:00.0  VGA compatible controller                NVIDIA Corporation GA104 [GeForce RTX 3070]",
                ("0000:0a:00.0", Some(0x30000), ids, name(), None),
            ),
            (
                "0000:0a:00.0 'Ethernet Controller X710 15ff' if=ens1 drv=i40e unused=vfio-pci *Active*",
                (
                    "0000:0a:00.0",
                    Some(0x20000),
                    None,
                    Some("Ethernet Controller X710 15ff".into()),
                    Some(Some("i40e".into())),
                ),
            ),
            (
                "0000:00:01.1 PCI bridge [0604]: AMD GPP Bridge [1022:1483]   Driver: pcieport",
                (
                    "0000:00:01.1",
                    Some(0x60400),
                    Some((0x1022, 0x1483)),
                    Some("AMD GPP Bridge".into()),
                    Some(Some("pcieport".into())),
                ),
            ),
        ] {
            let (address, class, ids, name, driver) = expected;
            assert_eq!(shown(line), (address.to_owned(), class, ids, name, driver), "{line}");
        }
    }

    #[test]
    fn other_lines_are_no_devices() {
        for line in [
            "",
            "01:00.0",
            "01:00.0: BAR 0",
            "12:30.5 is the time: late",
            "0000:01:00.0: not ready",
            "01:00.0 and 01:00.1: pass both",
            "[drm] Initialized",
            "[    0.1] 01:00.0",
            "pci 0000:01:00.0: x",
        ] {
            assert_eq!(header(line, false), None, "{line}");
        }
    }

    #[test]
    fn a_dead_card_is_seen() {
        let (_, device) =
            header("01:00.0 VGA compatible controller [0300]: X [10de:1b80] (rev ff) (prog-if ff)", false).unwrap();
        assert!(device.dead);
    }
}

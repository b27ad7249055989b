//! The lines below a device: `lspci -k`, `-v`, `-vv`, `-vvv`, and the records of `lspci -vmm`.

use super::device::{Device, Region, bracketed_ids, ids};
use crate::parse::address::Address;

impl Device {
    /// Takes a line below the device's own. False: the line does not belong to a device.
    pub(super) fn detail(&mut self, line: &str) -> bool {
        let text = line.trim();
        if text.starts_with("!!! Unknown header type") {
            self.dead = true;
            return true;
        }
        let Some((key, value)) = text.split_once(':') else { return false };
        let value = value.trim();
        match key.trim_end() {
            "Subsystem" => {
                let bare = || ids(value.split_whitespace().next()?);
                fill(&mut self.subsystem, bracketed_ids(value).map(|(ids, _)| ids).or_else(bare));
            }
            "Kernel driver in use" => fill(&mut self.driver, word(value).map(Some)),
            "Kernel modules" => {
                // lspci prints the driver first: modules without one mean that none is bound.
                fill(&mut self.driver, Some(None));
                let names = value.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
                fill(&mut self.modules, Some(names.collect()));
            }
            "IOMMU group" | "IOMMUGroup" => fill(&mut self.group, leading_number(value).map(Some)),
            "NUMA node" | "NUMANode" => fill(&mut self.numa_node, leading_number(value)),
            "Flags" => {
                let group = value.split("IOMMU group ").nth(1).and_then(leading_number);
                fill(&mut self.group, group.map(Some));
                let node = value.split("NUMA node ").nth(1).and_then(leading_number);
                fill(&mut self.numa_node, node);
            }
            "Bus" => {
                fill(&mut self.secondary, buses(value));
                if self.secondary.is_some() {
                    self.bridge = Some(true);
                }
            }
            "Capabilities" => self.capability(value),
            "LnkCap" => fill(&mut self.link_max, link(value)),
            "LnkSta" => fill(&mut self.link_now, link(value)),
            "ACSCap" => self.acs = Some((acs_bits(value), self.acs.map_or(0, |(_, enabled)| enabled))),
            "ACSCtl" => self.acs = Some((self.acs.map_or(0, |(capable, _)| capable), acs_bits(value))),
            "Initial VFs" => {
                let after = |name: &str| value.split(name).nth(1).and_then(leading_number);
                if let (Some(total), Some(active)) = (after("Total VFs: "), after("Number of VFs: ")) {
                    self.sriov = Some((total, active));
                }
            }
            "Status" if value.starts_with('D') && value.contains("NoSoftRst") => {
                fill(&mut self.power, word(value).map(|state| if state == "D3" { "D3hot".into() } else { state }));
            }
            "DevCap" => self.flr_line(value),
            key if key.starts_with("Region ") => {
                let index = key.get(7..).and_then(|index| index.trim().parse().ok());
                if let Some(region) = index.and_then(|index| region(index, value))
                    && self.regions.iter().all(|known| known.index != region.index)
                {
                    self.regions.push(region);
                }
            }
            key if key.starts_with("ExtTag") => self.flr_line(text),
            _ if text.starts_with("Expansion ROM at") => fill(&mut self.rom_size, size(text)),
            _ => return known_key(key),
        }
        true
    }

    /// Lines of `-vv` without a colon that tell something.
    pub(super) fn bare_detail(&mut self, line: &str) -> bool {
        let text = line.trim();
        if text.starts_with("Expansion ROM at") {
            fill(&mut self.rom_size, size(text));
            return true;
        }
        if text.contains("FLReset") && text.contains("RBE") {
            self.flr_line(text);
            return true;
        }
        if text.starts_with("!!! Unknown header type") {
            self.dead = true;
            return true;
        }
        false
    }

    /// FLReset stands in DevCap (with RBE) and in DevCtl, which tells only that no reset is asked for now.
    fn flr_line(&mut self, text: &str) {
        if text.contains("RBE") && text.contains("FLReset") {
            fill(&mut self.flr, Some(text.contains("FLReset+")));
        }
    }

    fn capability(&mut self, value: &str) {
        // `[100 v1]` is an extended one, in config space from 100h on.
        self.extended |= value.starts_with('[') && value.split(']').next().is_some_and(|head| head.contains(" v"));
        let Some(express) = value.split("Express ").nth(1) else { return };
        const PORTS: &[(&str, u8)] = &[
            ("Legacy Endpoint", 1),
            ("Root Complex Integrated Endpoint", 9),
            ("Root Complex Event Collector", 10),
            ("Root Port", 4),
            ("Upstream Port", 5),
            ("Downstream Port", 6),
            ("PCI-Express to PCI/PCI-X Bridge", 7),
            ("PCI/PCI-X to PCI-Express Bridge", 8),
            ("Endpoint", 0),
        ];
        let port = PORTS.iter().find(|(name, _)| express.contains(name)).map(|(_, number)| *number);
        fill(&mut self.port_type, port);
    }

    /// Takes a `Key:<tab>value` line of an `lspci -vmm` record. False: the key is not known.
    pub(super) fn record_line(&mut self, key: &str, value: &str) -> bool {
        let (name, number) = match value.rfind(" [") {
            Some(at) if value.ends_with(']') => {
                let number = value.get(at + 2..value.len() - 1).unwrap_or_default();
                let number = (number.len() == 4).then(|| u16::from_str_radix(number, 16).ok()).flatten();
                (if number.is_some() { value.get(..at).unwrap_or(value) } else { value }, number)
            }
            _ => (value, (value.len() == 4).then(|| u16::from_str_radix(value, 16).ok()).flatten()),
        };
        match key {
            "Class" => {
                self.class = number.or_else(|| super::classes::code(name)).map(|code| u32::from(code) << 8);
                self.class_name = Some(name.to_owned());
            }
            "Vendor" => {
                self.vendor_name = (name != value || number.is_none()).then(|| name.to_owned());
                self.ids = number.map(|number| (number, self.ids.map_or(0, |(_, device)| device)));
            }
            "Device" => {
                self.name = (name != value || number.is_none()).then(|| name.to_owned());
                self.ids = number.and_then(|number| self.ids.map(|(vendor, _)| (vendor, number)));
            }
            "SVendor" => self.subsystem = number.map(|number| (number, 0)),
            "SDevice" => self.subsystem = number.and_then(|number| self.subsystem.map(|(vendor, _)| (vendor, number))),
            "Rev" => self.revision = u8::from_str_radix(value, 16).ok(),
            "ProgIf" => {
                if let (Some(class), Ok(prog_if)) = (self.class.as_mut(), u32::from_str_radix(value, 16)) {
                    *class = *class & !0xff | prog_if & 0xff;
                }
            }
            "Driver" => self.driver = Some(Some(value.to_owned())),
            "Module" => {
                fill(&mut self.driver, Some(None));
                self.modules.get_or_insert_with(Vec::new).push(value.to_owned());
            }
            "NUMANode" => self.numa_node = value.parse().ok(),
            "IOMMUGroup" => self.group = value.parse().ok().map(Some),
            "PhySlot" | "DTNode" | "Domain" => {}
            _ => return false,
        }
        true
    }
}

/// The address that starts a record of `lspci -vmm` (`Slot:`), or of `-vm` (`Device:`).
pub(super) fn record_start(line: &str) -> Option<Address> {
    let (key, value) = line.split_once(':')?;
    if !matches!(key, "Slot" | "Device") {
        return None;
    }
    Address::parse(value.trim())
}

fn fill<T>(place: &mut Option<T>, value: Option<T>) {
    if place.is_none() {
        *place = value;
    }
}

fn word(text: &str) -> Option<String> {
    text.split_whitespace().next().map(str::to_owned)
}

fn leading_number(text: &str) -> Option<u32> {
    let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn buses(value: &str) -> Option<(u8, u8)> {
    let after = |name: &str| value.split(name).nth(1)?.get(..2).and_then(|bus| u8::from_str_radix(bus, 16).ok());
    Some((after("secondary=")?, after("subordinate=")?))
}

/// `Port #0, Speed 16GT/s, Width x16, …` and `Speed 2.5GT/s (downgraded), Width x8 (downgraded)`.
fn link(value: &str) -> Option<(String, u32)> {
    let speed = value.split("Speed ").nth(1)?.split([',', ' ']).next()?.to_owned();
    Some((speed, leading_number(value.split("Width x").nth(1)?)?))
}

/// PCIe Base 7.7.11.2: the bits in order.
fn acs_bits(value: &str) -> u16 {
    const BITS: &[&str] =
        &["SrcValid", "TransBlk", "ReqRedir", "CmpltRedir", "UpstreamFwd", "EgressCtrl", "DirectTrans"];
    let set = |name: &&str| value.contains(&format!("{name}+"));
    BITS.iter().enumerate().filter(|(_, name)| set(name)).map(|(bit, _)| 1u16 << bit).sum()
}

/// `[size=256M]` in bytes.
fn size(text: &str) -> Option<u64> {
    let size = text.split("[size=").nth(1)?.split(']').next()?;
    let unit = size.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = size.get(..size.len() - unit.len())?.parse().ok()?;
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn region(index: u8, value: &str) -> Option<Region> {
    let io = value.contains("I/O ports at");
    let start = value.split(" at ").nth(1).and_then(|at| u64::from_str_radix(at.split_whitespace().next()?, 16).ok());
    Some(Region {
        index,
        start: start.unwrap_or(0),
        size: size(value)?,
        io,
        wide: value.contains("64-bit"),
        prefetch: value.contains("prefetchable") && !value.contains("non-prefetchable"),
    })
}

/// Keys of `lspci -vvv` that tell nothing here but show that a line belongs to a device.
fn known_key(key: &str) -> bool {
    const KEYS: &[&str] = &[
        "Control",
        "Latency",
        "Interrupt",
        "DeviceName",
        "Physical Slot",
        "I/O behind bridge",
        "Memory behind bridge",
        "Prefetchable memory behind bridge",
        "Secondary status",
        "BridgeCtl",
        "DevCtl",
        "DevSta",
        "LnkCtl",
        "LnkCap2",
        "LnkCtl2",
        "LnkSta2",
        "DevCap2",
        "DevCtl2",
        "SltCap",
        "SltCtl",
        "SltSta",
        "RootCap",
        "RootCtl",
        "RootSta",
        "UESta",
        "UEMsk",
        "UESvrt",
        "CESta",
        "CEMsk",
        "AERCap",
        "HeaderLog",
        "IOVCap",
        "IOVCtl",
        "IOVSta",
        "VF offset",
        "Supported Page Size",
        "ATSCap",
        "ATSCtl",
        "Address",
        "Masking",
        "Vector table",
        "PBA",
        "Status",
        "Product Name",
    ];
    KEYS.contains(&key) || key.starts_with("BAR ") || key.starts_with("VF ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_listing() {
        let mut device = Device::default();
        for line in [
            "\tSubsystem: ASUSTeK Computer Inc. Device [1043:87b8]",
            "\tFlags: bus master, fast devsel, latency 0, IRQ 124, NUMA node 1, IOMMU group 27",
            "\tRegion 0: Memory at f6000000 (32-bit, non-prefetchable) [size=16M]",
            "\tRegion 1: Memory at 7fe0000000 (64-bit, prefetchable) [size=256M]",
            "\tRegion 5: I/O ports at e000 [size=128]",
            "\tExpansion ROM at f7000000 [disabled] [size=512K]",
            "\tCapabilities: [78] Express (v2) Legacy Endpoint, MSI 00",
            "\t\t\tExtTag+ AttnBtn- AttnInd- PwrInd- RBE+ FLReset-",
            "\t\tDevCtl:\tCorrErr+ NonFatalErr+ FatalErr+ UnsupReq+",
            "\t\t\tRlxdOrd+ ExtTag+ PhantFunc- AuxPwr- NoSnoop+ FLReset-",
            "\t\tLnkCap:\tPort #0, Speed 16GT/s, Width x16, ASPM L0s L1",
            "\t\tLnkSta:\tSpeed 2.5GT/s (downgraded), Width x8 (downgraded)",
            "\tCapabilities: [100 v1] Access Control Services",
            "\t\tACSCap:\tSrcValid+ TransBlk+ ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans+",
            "\t\tACSCtl:\tSrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-",
            "\t\tInitial VFs: 16, Total VFs: 16, Number of VFs: 4, Function Dependency Link: 00",
            "\t\tStatus: D3 NoSoftRst+ PME-Enable- DSel=0 DScale=0 PME-",
            "\tKernel modules: nouveau, nvidia",
        ] {
            assert!(device.detail(line) || device.bare_detail(line) || line.contains("FLReset-"), "{line}");
        }
        assert_eq!(device.subsystem, Some((0x1043, 0x87b8)));
        assert_eq!((device.group, device.numa_node), (Some(Some(27)), Some(1)));
        assert_eq!(device.regions.iter().map(|r| r.size).collect::<Vec<_>>(), [16 << 20, 256 << 20, 128]);
        assert!(device.regions[1].wide && device.regions[1].prefetch && !device.regions[0].prefetch);
        assert_eq!((device.rom_size, device.port_type, device.flr), (Some(512 << 10), Some(1), Some(false)));
        assert_eq!((device.link_max.unwrap().1, device.link_now.unwrap().1), (16, 8));
        assert_eq!((device.acs, device.extended), (Some((0x5f, 0x1d)), true));
        assert_eq!((device.sriov, device.power.as_deref()), (Some((16, 4)), Some("D3hot")));
        assert_eq!((device.driver, device.modules.unwrap().len()), (Some(None), 2));
    }

    #[test]
    fn records_with_and_without_numbers() {
        let mut device = Device::default();
        for (key, value) in [
            ("Class", "VGA compatible controller [0300]"),
            ("Vendor", "NVIDIA Corporation [10de]"),
            ("Device", "X [2684]"),
            ("SVendor", "Y [1043]"),
            ("SDevice", "Device [88e2]"),
            ("Rev", "a1"),
            ("ProgIf", "00"),
            ("Driver", "nvidia"),
            ("Module", "nouveau"),
            ("Module", "nvidia"),
            ("IOMMUGroup", "14"),
        ] {
            assert!(device.record_line(key, value), "{key}");
        }
        assert!(!device.record_line("Future", "x"));
        assert_eq!((device.ids, device.subsystem), (Some((0x10de, 0x2684)), Some((0x1043, 0x88e2))));
        assert_eq!((device.group, device.driver), (Some(Some(14)), Some(Some("nvidia".into()))));
        assert_eq!(device.name.as_deref(), Some("X"));
    }
}

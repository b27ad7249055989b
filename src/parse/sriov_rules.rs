//! vfioneer's udev rules for SR-IOV: which physical function is given how many virtual ones at every boot.
//!
//! Goes in: a text. Comes out: its rules; and back. udev(7) has the format; a rule that vfioneer would write differently is
//! none of its own:
//!
//! ```text
//! ACTION=="add|bind", SUBSYSTEM=="pci", DEVPATH=="*/pci0000:40/0000:??:01.0/0000:??:00.0", ATTR{vendor}=="0x8086", …
//! ```
//!
//! `bind` is sent once a driver has the function (Linux 4.14, drivers/base/dd.c `driver_bound`); the `add` that udev's cold plug sends
//! (systemd-udev-trigger.service) is for one whose driver was there before, as from the initramfs. In an initramfs that has the rule and
//! lacks the script, nothing happens.

use super::claims::SlotPath;
use std::fmt;

/// The script that the rules run.
pub const SCRIPT: &str = "/etc/vfioneer/sriov.sh";

/// One physical function, by its identity, and how many virtual ones it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it is plugged in: bus numbers may change.
    pub path: SlotPath,
    /// Vendor and device id.
    pub ids: (u16, u16),
    /// Subsystem vendor and device id; none where the function has none: it is then not compared.
    pub subsystem: Option<(u16, u16)>,
    /// How many virtual functions.
    pub count: u16,
}

const HEADER: &str =
    "# vfioneer: these physical functions are given virtual ones for VMs, once their driver has them.\n";

/// The rules of a text; lines that are none of vfioneer's are passed by.
pub fn parse(text: &str) -> Vec<Rule> {
    text.lines().filter_map(rule).collect()
}

/// Writes rules; [`parse`] gives them back.
pub fn write(rules: &[Rule]) -> String {
    let lines: Vec<String> = rules.iter().map(|rule| format!("{rule}\n")).collect();
    HEADER.to_owned() + &lines.concat()
}

fn rule(line: &str) -> Option<Rule> {
    let value = |key: &str| {
        let (_, rest) = line.split_once(&format!("{key}==\""))?;
        rest.split_once('"').map(|(value, _)| value)
    };
    let id = |key: &str| u16::from_str_radix(value(key)?.strip_prefix("0x")?, 16).ok();
    let (root, hops) = value("DEVPATH")?.strip_prefix("*/pci")?.split_once('/')?;
    let hops: Vec<&str> = hops.split('/').filter_map(|hop| hop.rsplit(':').next()).collect();
    let count = line.strip_suffix('"')?.rsplit(' ').next()?.parse().ok()?;
    let rule = Rule {
        path: SlotPath::parse(&format!("{root}/{}", hops.join("/")))?,
        ids: (id("ATTR{vendor}")?, id("ATTR{device}")?),
        subsystem: id("ATTR{subsystem_vendor}").zip(id("ATTR{subsystem_device}")),
        count,
    };
    (rule.to_string() == line).then_some(rule)
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SlotPath { domain, bus, hops } = &self.path;
        write!(f, "ACTION==\"add|bind\", SUBSYSTEM==\"pci\", DEVPATH==\"*/pci{domain:04x}:{bus:02x}")?;
        hops.iter().try_for_each(|(device, function)| write!(f, "/{domain:04x}:??:{device:02x}.{function:x}"))?;
        let (vendor, device) = self.ids;
        write!(f, "\", ATTR{{vendor}}==\"{vendor:#06x}\", ATTR{{device}}==\"{device:#06x}\"")?;
        if let Some((vendor, device)) = self.subsystem {
            write!(f, ", ATTR{{subsystem_vendor}}==\"{vendor:#06x}\", ATTR{{subsystem_device}}==\"{device:#06x}\"")?;
        }
        write!(f, ", DRIVER==\"?*\", TEST==\"{SCRIPT}\", RUN+=\"/bin/sh {SCRIPT} %k {}\"", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# vfioneer: these physical functions are given virtual ones for VMs, once their driver has them.\n\
        ACTION==\"add|bind\", SUBSYSTEM==\"pci\", DEVPATH==\"*/pci0000:40/0000:??:01.0/0000:??:00.1\", \
        ATTR{vendor}==\"0x8086\", ATTR{device}==\"0x1592\", ATTR{subsystem_vendor}==\"0x8086\", \
        ATTR{subsystem_device}==\"0x0002\", DRIVER==\"?*\", TEST==\"/etc/vfioneer/sriov.sh\", \
        RUN+=\"/bin/sh /etc/vfioneer/sriov.sh %k 4\"\n\
        ACTION==\"add|bind\", SUBSYSTEM==\"pci\", DEVPATH==\"*/pci10000:e0/10000:??:02.0\", ATTR{vendor}==\"0x1b36\", \
        ATTR{device}==\"0x0010\", DRIVER==\"?*\", TEST==\"/etc/vfioneer/sriov.sh\", \
        RUN+=\"/bin/sh /etc/vfioneer/sriov.sh %k 255\"\n";

    #[test]
    fn reads_and_writes_the_same() {
        let rules = parse(TEXT);
        assert_eq!(write(&rules), TEXT);
        let [first, second] = rules.as_slice() else { panic!("{rules:?}") };
        assert_eq!((first.path.to_string().as_str(), first.count), ("0000:40/01.0/00.1", 4));
        assert_eq!((first.ids, first.subsystem), ((0x8086, 0x1592), Some((0x8086, 2))));
        assert_eq!((second.path.to_string().as_str(), second.subsystem), ("10000:e0/02.0", None));
    }

    #[test]
    fn what_vfioneer_would_not_write_is_none_of_its_rules() {
        for (from, to) in
            [(" 255\"", " 65536\""), ("0x0010", "0x10"), ("10000:??:02.0", "10000:01:02.0"), ("?*", "nvme")]
        {
            assert_eq!(parse(&TEXT.replacen(from, to, 2)).len(), if from == "?*" { 0 } else { 1 }, "{to}");
        }
        assert!(parse("").is_empty() && parse("DEVPATH==\"*/pci\"").is_empty());
    }
}

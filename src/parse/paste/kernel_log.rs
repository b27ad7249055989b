//! What the kernel's messages tell of the machine, besides trouble.
//!
//! Goes in: single lines with or without a time stamp. Comes out: facts in [`KernelLog`] and on devices.

use super::Devices;
use super::device::Device;
use crate::parse::address::Address;
use regex::Regex;
use std::sync::LazyLock;

/// What a kernel's messages tell. Each with its line, counted from 1, and that line's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelLog {
    /// The release of `Linux version …`.
    pub release: Option<(u32, String)>,
    /// The command line, and whether the line is the kernel's own message.
    pub cmdline: Option<(u32, String)>,
    /// `DMI: …`: board, BIOS version and date, as printed.
    pub dmi: Option<String>,
    /// The CPU's name.
    pub cpu: Option<String>,
    /// ACPI tables whose headers were printed.
    pub tables: Vec<String>,
    /// `DMAR`/`IVRS`/`IORT` with the line that names it.
    pub iommu_table: Option<(u32, String)>,
    /// What says that an IOMMU translates.
    pub iommu_running: Option<(u32, String)>,
    /// What says that interrupt remapping is on.
    pub remapping_on: Option<(u32, String)>,
    /// The hypervisor below this kernel.
    pub hypervisor: Option<(u32, String)>,
}

/// Removes the time stamp of `dmesg` and the head of `journalctl` or syslog. `None`: there was none.
pub(super) fn message(line: &str) -> Option<&str> {
    let text = line.trim_start();
    if let Some(after) = text.strip_prefix('[') {
        let (stamp, rest) = after.split_once(']')?;
        let stamp = stamp.trim();
        let clock = stamp.contains(['.', ':']) && stamp.bytes().any(|b| b.is_ascii_digit());
        let known = stamp.bytes().all(|b| b.is_ascii_digit() || b == b'.') || stamp.len() > 15;
        return (clock && known).then(|| rest.trim_start());
    }
    let (head, rest) = text.split_once(" kernel: ")?;
    (head.len() < 60).then(|| message(rest).unwrap_or(rest))
}

const BDF: &str = "[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\\.[0-7]";

fn regex(pattern: &str) -> Option<Regex> {
    Regex::new(&pattern.replace("BDF", BDF)).ok()
}

static FOUND: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(r"pci (BDF): \[([0-9a-f]{4}):([0-9a-f]{4})\] type ([0-9a-f]{2}) class (?:0x)?([0-9a-f]{6})")
});
static GROUP: LazyLock<Option<Regex>> =
    LazyLock::new(|| regex(r"(?:(BDF): Adding to iommu group|Adding device (BDF) to group) ([0-9]+)"));
static BEHIND: LazyLock<Option<Regex>> =
    LazyLock::new(|| regex(r"pci (BDF): (?:PCI bridge|bridge) to \[bus ([0-9a-f]{2})(?:-([0-9a-f]{2}))?\]"));
static BOOT_VGA: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(
        r"(?:(BDF): vgaarb: setting as boot (?:VGA )?device|vgaarb: setting as boot device: PCI:(BDF)|(BDF): BAR [0-9].*assigned to efifb)",
    )
});
static TABLE: LazyLock<Option<Regex>> = LazyLock::new(|| regex(r"ACPI: ([A-Z][A-Z0-9]{3}) (?:0x)?[0-9A-Fa-f]{8,16} "));

impl KernelLog {
    /// Takes one line. True if it told something.
    pub(super) fn take(&mut self, line: &str, number: u32, devices: &mut Devices) -> bool {
        let text = message(line).unwrap_or(line);
        let at = || (number, line.trim().chars().take(400).collect::<String>());
        if let Some(after) = text.strip_prefix("Linux version ") {
            let release = after.split_whitespace().next().unwrap_or_default();
            self.release.get_or_insert_with(|| (number, release.to_owned()));
            return true;
        }
        for head in ["Kernel command line: ", "Command line: "] {
            if let Some((before, words)) = text.split_once(head)
                && before.len() < 40
                && !words.trim().is_empty()
            {
                self.cmdline.get_or_insert_with(|| (number, words.trim().to_owned()));
                return true;
            }
        }
        if let Some(found) = GROUP.as_ref().filter(|_| text.contains("group ")).and_then(|r| r.captures(text)) {
            let address = found.get(1).or_else(|| found.get(2)).and_then(|m| Address::parse(m.as_str()));
            let group = found.get(3).and_then(|m| m.as_str().parse().ok());
            if let (Some(address), Some(group)) = (address, group) {
                let device = Device { group: Some(Some(group)), ..seen(number, line) };
                devices.see(address, device);
                return true;
            }
        }
        if text.contains("pci ") {
            if let Some(found) = FOUND.as_ref().and_then(|r| r.captures(text)) {
                let get = |at: usize| found.get(at).map_or("", |m| m.as_str());
                let hex = |at: usize| u16::from_str_radix(get(at), 16).ok();
                let device = Device {
                    ids: hex(2).zip(hex(3)),
                    bridge: Some(get(4) != "00"),
                    class: u32::from_str_radix(get(5), 16).ok(),
                    ..seen(number, line)
                };
                if let Some(address) = Address::parse(get(1)) {
                    devices.see(address, device);
                    return true;
                }
            }
            if let Some(found) = BEHIND.as_ref().and_then(|r| r.captures(text)) {
                let bus = |at: usize| u8::from_str_radix(found.get(at)?.as_str(), 16).ok();
                let address = found.get(1).and_then(|m| Address::parse(m.as_str()));
                if let (Some(address), Some(first)) = (address, bus(2)) {
                    let secondary = Some((first, bus(3).unwrap_or(first)));
                    devices.see(address, Device { bridge: Some(true), secondary, ..seen(number, line) });
                    return true;
                }
            }
        }
        if (text.contains("vgaarb") || text.contains("efifb"))
            && let Some(found) = BOOT_VGA.as_ref().and_then(|r| r.captures(text))
        {
            let address = (1..=3).find_map(|at| found.get(at)).and_then(|m| Address::parse(m.as_str()));
            if let Some(address) = address {
                devices.see(address, Device { boot_display: Some(at()), ..seen(number, line) });
                return true;
            }
        }
        self.take_words(text, at)
    }

    fn take_words(&mut self, text: &str, at: impl Fn() -> (u32, String)) -> bool {
        if let Some(name) = TABLE.as_ref().filter(|_| text.starts_with("ACPI: ")).and_then(|r| r.captures(text)) {
            let name = name.get(1).map_or("", |m| m.as_str());
            if matches!(name, "DMAR" | "IVRS" | "IORT") {
                self.iommu_table.get_or_insert_with(&at);
            }
            if self.tables.len() < 100 && !self.tables.iter().any(|known| known == name) {
                self.tables.push(name.to_owned());
            }
            return true;
        }
        let running = text.contains("DMAR: Intel(R) Virtualization Technology for Directed I/O")
            || text.contains("AMD-Vi: Lazy IO/TLB flushing enabled")
            || text.contains("AMD-Vi: AMD IOMMUv2 loaded");
        if running {
            self.iommu_running.get_or_insert_with(&at);
            return true;
        }
        if text.contains("DMAR-IR: Enabled IRQ remapping in") || text.contains("AMD-Vi: Interrupt remapping enabled") {
            self.remapping_on.get_or_insert_with(&at);
            return true;
        }
        if let Some(name) = text.strip_prefix("Hypervisor detected: ") {
            let (number, _) = at();
            self.hypervisor.get_or_insert_with(|| (number, name.trim().to_owned()));
            return true;
        }
        if let Some(dmi) = text.strip_prefix("DMI: ") {
            self.dmi.get_or_insert_with(|| dmi.trim().to_owned());
            return true;
        }
        if let Some((_, cpu)) = text.split_once("smpboot: CPU0: ") {
            let name = cpu.split(" (family").next().unwrap_or(cpu);
            self.cpu.get_or_insert_with(|| name.trim().to_owned());
            return true;
        }
        false
    }
}

fn seen(number: u32, line: &str) -> Device {
    Device { line: number, text: line.trim().chars().take(400).collect(), ..Device::default() }
}

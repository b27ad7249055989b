//! Listings of IOMMU groups: what people's scripts print, and paths of `/sys/kernel/iommu_groups`.

use super::Devices;
use super::device::{self, Device, bracketed_ids};
use crate::parse::address::Address;
use regex::Regex;
use std::sync::LazyLock;

/// A member of a group that is shown without its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The group.
    pub group: u32,
    /// Vendor and device id.
    pub ids: (u16, u16),
    /// As shown, without ids and revision.
    pub name: String,
    /// Counted from 1.
    pub line: u32,
    /// That line.
    pub text: String,
}

/// Members without address that are kept.
const MEMBERS: usize = 10_000;

/// Where a listing stands.
#[derive(Debug, Default)]
pub(super) struct Groups {
    current: Option<Current>,
    pub(super) members: Vec<Member>,
}

#[derive(Debug)]
struct Current {
    group: u32,
    /// White space in front of the group's line.
    indent: usize,
    /// Whether its members are indented, once one was seen.
    indented: Option<bool>,
    blank: bool,
}

static HEAD: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^[#*=\-| \t]*(?i-u:iommu[ \t_]*)?(?i-u:group)[ \t:#]*([0-9]{1,6})[ \t]*[#*=\-]*[:;,]?[#*=\-]*(?:[ \t]+(.*))?$").ok()
});
static LINK: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"iommu_groups/([0-9]+)/devices/([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])").ok()
});

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

impl Groups {
    /// An empty line: what follows without indentation is no member any more.
    pub(super) fn blank(&mut self) {
        if let Some(current) = &mut self.current {
            current.blank = true;
        }
    }

    /// A line that shows a device, with its group where the listing gives one.
    pub(super) fn device(&mut self, line: &str, number: u32) -> Option<(Address, Device)> {
        if let Some(found) = HEAD.as_ref().filter(|_| line.len() < 1000).and_then(|head| head.captures(line)) {
            let group: u32 = found.get(1)?.as_str().parse().ok()?;
            let rest = found.get(2).map_or("", |m| m.as_str()).trim();
            let current = || Current { group, indent: indent(line), indented: None, blank: false };
            if rest.is_empty() {
                self.current = Some(current());
                return None;
            }
            if let Some((address, mut device)) = device::header(rest, true) {
                self.current = Some(Current { indented: Some(true), ..current() });
                device.group = Some(Some(group));
                return Some((address, device));
            }
            self.member(group, rest, line, number);
            return None;
        }
        let in_group = self.current.as_mut().and_then(|current| {
            let deeper = indent(line) > current.indent;
            match current.indented {
                Some(indented) if indented != deeper || !deeper && current.blank => None,
                None if !deeper && current.blank => None,
                _ => Some((current.group, deeper)),
            }
        });
        let Some((group, deeper)) = in_group else {
            let shown = device::header(line, false);
            if shown.is_some() {
                self.current = None;
            }
            return shown;
        };
        let mark = |c: char| c.is_whitespace() || matches!(c, '-' | '*' | '|' | '+' | '└' | '├' | '─' | '│' | '•');
        let inner = line.trim_start_matches(mark);
        let inner = if indent(inner) == 0 { inner } else { line.trim() };
        let Some((address, mut device)) = device::header(inner, true) else {
            if !deeper {
                self.current = None;
            }
            return None;
        };
        if let Some(current) = &mut self.current {
            current.indented.get_or_insert(deeper);
        }
        device.group = Some(Some(group));
        Some((address, device))
    }

    /// `Vendor: Name (rev 01): [vvvv:dddd]`.
    fn member(&mut self, group: u32, rest: &str, line: &str, number: u32) {
        let Some((ids, at)) = bracketed_ids(rest) else { return };
        if self.members.len() >= MEMBERS {
            return;
        }
        let name = rest.get(..at).unwrap_or(rest);
        let name = name.split(" (rev ").next().unwrap_or(name).trim().trim_end_matches(':');
        let text = line.trim().chars().take(400).collect();
        self.members.push(Member { group, ids, name: name.to_owned(), line: number, text });
    }

    /// Paths: `…/iommu_groups/15/devices/0000:04:00.0`, and where links lead (`…/devices/pci0000:00/0000:00:02.1/…`).
    pub(super) fn links(&mut self, line: &str, number: u32, devices: &mut Devices) -> bool {
        let seen = || Device { line: number, text: line.trim().chars().take(400).collect(), ..Device::default() };
        let mut found_any = false;
        if line.contains("iommu_groups/") {
            for found in LINK.as_ref().into_iter().flat_map(|link| link.captures_iter(line)) {
                let group = found.get(1).and_then(|m| m.as_str().parse().ok());
                let address = found.get(2).and_then(|m| Address::parse(m.as_str()));
                if let (Some(group), Some(address)) = (group, address) {
                    devices.see(address, Device { group: Some(Some(group)), ..seen() });
                    found_any = true;
                }
            }
        }
        let Some((_, path)) = line.split_once("devices/pci") else { return found_any };
        let mut above: Option<Option<Address>> = None;
        for part in path.split('/').map(|part| part.split_whitespace().next().unwrap_or_default()) {
            let Some(address) = Address::parse(part) else {
                // The root bus itself: `0000:00`, or `pci10000:e0` below a VMD controller.
                if above.is_some() && !part.starts_with("pci") {
                    break;
                }
                above = Some(None);
                continue;
            };
            if let Some(Some(parent)) = above {
                devices.see(parent, Device { bridge: Some(true), ..seen() });
            }
            devices.see(address, Device { parent: above, ..seen() });
            above = Some(Some(address));
            found_any = true;
        }
        found_any
    }
}

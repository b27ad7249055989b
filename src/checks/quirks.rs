//! What is known of single devices and kernels: the rows of `data/quirks.toml`.

use crate::facts::pci::Ids;
use serde::Deserialize;
use std::sync::OnceLock;

/// A family of devices whose reset is known to be bad.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reset {
    vendor: String,
    devices: Vec<String>,
    /// What the family is called.
    pub name: String,
    /// `vendor-reset`, `mixed` or `apu`.
    pub cure: String,
    /// Where it was read.
    pub source: String,
}

/// Kernels with a known fault.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kernel {
    releases: Vec<String>,
    /// What fails: `reset`.
    pub symptom: String,
    /// Where it was read.
    pub source: String,
}

/// Devices that vfio-pci refuses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Denied {
    vendor: String,
    devices: Vec<String>,
    /// What they are called.
    pub name: String,
    /// Where it was read.
    pub source: String,
}

/// What a display is there for, other than to be given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DisplayKind {
    /// The screen of a management controller.
    Management,
    /// The display that a hypervisor made for this guest.
    Virtual,
}

/// Displays that nobody gives away for their own sake.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Display {
    vendor: String,
    devices: Vec<String>,
    kind: DisplayKind,
    /// Where it was read.
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers of the table, and its test"))]
    source: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quirks {
    display: Vec<Display>,
    reset: Vec<Reset>,
    kernel: Vec<Kernel>,
    denied: Vec<Denied>,
}

fn quirks() -> &'static Quirks {
    static QUIRKS: OnceLock<Quirks> = OnceLock::new();
    // The rows are part of the program, and a test reads them.
    QUIRKS.get_or_init(|| toml::from_str(include_str!("../../data/quirks.toml")).unwrap_or_default())
}

/// The family of bad reset that a device belongs to.
pub(crate) fn reset(ids: Ids) -> Option<&'static Reset> {
    quirks().reset.iter().find(|row| holds(&row.vendor, &row.devices, ids))
}

/// The known fault of a kernel release.
pub(super) fn kernel(release: &str) -> Option<&'static Kernel> {
    let begins = |row: &&Kernel| {
        row.releases.iter().any(|known| {
            release.strip_prefix(known.as_str()).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    quirks().kernel.iter().find(begins)
}

/// The refusal of vfio-pci that a device falls under.
pub(super) fn denied(ids: Ids) -> Option<&'static Denied> {
    quirks().denied.iter().find(|row| holds(&row.vendor, &row.devices, ids))
}

/// What a display is there for, if it is of a known kind.
pub(super) fn display(ids: Ids) -> Option<DisplayKind> {
    quirks().display.iter().find(|row| holds(&row.vendor, &row.devices, ids)).map(|row| row.kind)
}

fn holds(vendor: &str, devices: &[String], ids: Ids) -> bool {
    number(vendor) == Some(ids.vendor)
        && devices.iter().filter_map(|range| bounds(range)).any(|(first, last)| (first..=last).contains(&ids.device))
}

fn bounds(range: &str) -> Option<(u16, u16)> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    Some((number(first)?, number(last)?))
}

fn number(hex: &str) -> Option<u16> {
    u16::from_str_radix(hex, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_sound() {
        let all: Quirks = toml::from_str(include_str!("../../data/quirks.toml")).expect("readable rows");
        let mut last: Option<(u16, u16)> = None;
        for row in &all.reset {
            let ranges: Vec<_> = row.devices.iter().map(|range| bounds(range).expect("a range")).collect();
            assert!(ranges.iter().all(|(first, last)| first <= last), "{}", row.name);
            assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "{} is sorted", row.name);
            let key = (number(&row.vendor).expect("a vendor"), ranges[0].0);
            assert!(last.is_none_or(|last| last < key), "{} is in its place", row.name);
            last = Some(key);
            assert!(["vendor-reset", "mixed", "apu"].contains(&row.cure.as_str()), "{}", row.name);
            assert!(row.cure != "vendor-reset" || row.vendor == "1002", "vendor-reset knows AMD only");
            for (first, last) in ranges {
                let owners = (first..=last).map(|device| {
                    let ids = Ids { vendor: key.0, device };
                    all.reset.iter().filter(|other| holds(&other.vendor, &other.devices, ids)).count()
                });
                assert!(owners.into_iter().all(|count| count == 1), "{} overlaps", row.name);
            }
        }
        let sources = all.reset.iter().map(|r| &r.source).chain(all.kernel.iter().map(|r| &r.source));
        let sources = sources.chain(all.denied.iter().map(|r| &r.source)).chain(all.display.iter().map(|r| &r.source));
        assert!(all.display.windows(2).all(|pair| pair[0].vendor < pair[1].vendor));
        for source in sources {
            assert!(source.starts_with("https://"), "{source}");
        }
    }

    #[test]
    fn ids_and_releases_match_exactly() {
        let name = |vendor, device| reset(Ids { vendor, device }).map(|row| row.name.as_str());
        assert_eq!(name(0x1002, 0x731a), Some("Navi 10"));
        assert_eq!(name(0x1002, 0x73bf), None, "Navi 21 resets well");
        assert_eq!(name(0x10de, 0x731a), None);
        assert!(kernel("6.14.2-zen1-1-zen").is_some() && kernel("6.14.2").is_some());
        assert!(kernel("6.14.21-arch1").is_none() && kernel("6.14.1").is_none());
        assert_eq!(display(Ids { vendor: 0x1a03, device: 0x2000 }), Some(DisplayKind::Management));
        assert_eq!(display(Ids { vendor: 0x102b, device: 0x0525 }), None, "a Millennium card is a card");
        assert!(denied(Ids { vendor: 0x8086, device: 0x37c8 }).is_some());
    }
}

//! What a guest sees of passed functions, and which parts of its page are about them.

use crate::facts::pci::{Function, Ids};
use crate::host::Fact;
use crate::parse::address::Address;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// What a guest can know a function by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Where the host has it.
    pub address: Address,
    /// Its ids.
    pub ids: Ids,
    /// Its subsystem's ids; zeros for a function that has none.
    pub subsystem: Ids,
    /// Its revision.
    pub revision: u8,
    /// Its name, in harmless ASCII.
    pub name: String,
}

impl Hardware {
    /// None where one of its numbers is not known.
    pub fn of(function: &Function) -> Option<Hardware> {
        let subsystem = match &function.subsystem {
            Fact::Known(ids) => *ids,
            Fact::Absent => Ids { vendor: 0, device: 0 },
            Fact::Unknown(_) => return None,
        };
        Some(Hardware {
            address: function.address,
            ids: *function.ids.known()?,
            subsystem,
            revision: *function.revision.known()?,
            name: harmless(&function.name()),
        })
    }

    /// The most exact id by which Windows knows it, without the bus: `VEN_10DE&DEV_2684&SUBSYS_889D1043&REV_A1`. The subsystem's vendor is
    /// behind its device (<https://learn.microsoft.com/windows-hardware/drivers/install/identifiers-for-pci-devices>).
    pub fn windows_id(&self) -> String {
        format!(
            "VEN_{:04X}&DEV_{:04X}&SUBSYS_{:04X}{:04X}&REV_{:02X}",
            self.ids.vendor, self.ids.device, self.subsystem.device, self.subsystem.vendor, self.revision
        )
    }
}

/// A name of a device, file or host as it may stand in a comment or between single quotes of any script.
pub(super) fn harmless(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " []()/.,:+&_-".contains(c);
    name.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// What of a guest's page applies to functions.
pub(super) fn words(functions: &[&Function]) -> BTreeSet<&'static str> {
    let mut words = BTreeSet::new();
    let gpu = functions.iter().any(|function| function.is_display());
    for function in functions {
        let word = match function.class.known().map(|class| (class >> 16, class >> 8)) {
            Some((0x03, _)) => Some("gpu"),
            Some((0x04, _)) => gpu.then_some("sound"),
            Some((0x02, _)) => Some("network"),
            Some((_, 0x0108)) => Some("nvme"),
            // A GPU's own is part of the GPU.
            Some((_, 0x0c03)) => (!gpu).then_some("usb"),
            _ => None,
        };
        words.extend(word);
        words.extend(function.physical.known().map(|_| "virtual"));
    }
    words.extend(rows(functions).flat_map(|row| row.words.iter().map(String::as_str)));
    words
}

/// Linux modules that take these functions, as far as their GPU's vendor and this host tell.
pub(super) fn modules(functions: &[&Function]) -> Vec<String> {
    let mut modules: BTreeSet<String> = rows(functions).flat_map(|row| row.modules.iter().cloned()).collect();
    for candidates in functions.iter().filter_map(|function| function.candidates.known()) {
        modules.extend(candidates.iter().map(|module| harmless(&module.replace('-', "_"))));
    }
    let drivers =
        functions.iter().filter(|function| !function.on_vfio()).filter_map(|function| function.driver.known());
    modules.extend(drivers.map(|driver| harmless(driver)));
    modules.into_iter().collect()
}

/// A row of `data/guest_gpus.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    vendor: u16,
    #[serde(default)]
    chips: Vec<String>,
    words: Vec<String>,
    #[serde(default)]
    modules: Vec<String>,
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers of the table"))]
    source: String,
}

#[derive(Deserialize)]
struct Table {
    gpu: Vec<Row>,
}

fn table() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let text = include_str!("../../../../data/guest_gpus.toml");
        toml::from_str::<Table>(text).map(|table| table.gpu).unwrap_or_default()
    })
}

/// The rows about the GPUs among these functions.
fn rows<'a>(functions: &'a [&'a Function]) -> impl Iterator<Item = &'static Row> + 'a {
    let about = |row: &Row, function: &Function| {
        let chip = function.device_name.as_deref().unwrap_or_default();
        function.is_display()
            && function.ids.known().is_some_and(|ids| ids.vendor == row.vendor)
            && (row.chips.is_empty() || row.chips.iter().any(|start| chip.starts_with(start.as_str())))
    };
    table().iter().filter(move |row| functions.iter().any(|function| about(row, function)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing as t;

    #[test]
    fn every_row_is_read() {
        let rows = toml::from_str::<Table>(include_str!("../../../../data/guest_gpus.toml")).unwrap().gpu;
        let known = ["nvidia", "amd", "intel", "early", "open", "blackwell"];
        for row in &rows {
            assert!(!row.source.is_empty() && row.words.iter().all(|word| known.contains(&word.as_str())), "{row:?}");
            assert_eq!(row.chips.is_empty(), !row.modules.is_empty(), "{row:?}");
        }
    }

    #[test]
    fn what_applies() {
        let mut snap = t::healthy();
        let of = |snap: &crate::facts::Snapshot, addresses: &[&str]| {
            let functions: Vec<&Function> = addresses.iter().map(|a| snap.pci.get(&t::at(a)).unwrap()).collect();
            words(&functions).into_iter().collect::<Vec<_>>().join(" ")
        };
        let (gpu, sound) = ("0000:01:00.0", "0000:01:00.1");
        for (name, wanted) in [
            ("GF114 [GeForce GTX 560]", "early gpu nvidia sound"),
            ("GK107 [GeForce GTX 650]", "gpu nvidia sound"),
            ("TU104 [GeForce RTX 2080]", "gpu nvidia open sound"),
            ("GB202 [GeForce RTX 5090]", "blackwell gpu nvidia open sound"),
        ] {
            t::change(&mut snap, gpu, |f| f.device_name = Some(name.to_owned()));
            assert_eq!(of(&snap, &[gpu, sound]), wanted, "{name}");
        }
        // Alone it is a sound card, and no GPU's.
        assert_eq!(of(&snap, &[sound]), "");
        t::change(&mut snap, gpu, |f| f.class = Fact::Known(0x01_0802));
        assert_eq!(of(&snap, &[gpu]), "nvme");
    }

    #[test]
    fn the_id_of_windows() {
        let mut snap = t::healthy();
        t::change(&mut snap, "0000:01:00.0", |f| {
            f.ids = Fact::Known(Ids { vendor: 0x10de, device: 0x2684 });
            f.subsystem = Fact::Known(Ids { vendor: 0x1043, device: 0x889d });
            f.revision = Fact::Known(0xa1);
            f.device_name = Some("it's ‘a’ $(card)\u{1b}".to_owned());
        });
        let function = snap.pci.get(&t::at("0000:01:00.0")).unwrap();
        let hardware = Hardware::of(function).unwrap();
        assert_eq!(hardware.windows_id(), "VEN_10DE&DEV_2684&SUBSYS_889D1043&REV_A1");
        assert!(hardware.name.ends_with("it_s _a_ _(card)_"), "{}", hardware.name);
        t::change(&mut snap, "0000:01:00.0", |f| f.subsystem = Fact::default());
        assert_eq!(Hardware::of(snap.pci.get(&t::at("0000:01:00.0")).unwrap()), None);
    }
}

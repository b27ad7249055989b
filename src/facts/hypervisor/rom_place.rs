//! Where hypervisors read ROM files: the rows of `data/rom_places.toml`.

use super::HypervisorKind;
use serde::Deserialize;
use std::sync::OnceLock;

/// Where one hypervisor reads them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RomPlace {
    /// Whose QEMU.
    pub hypervisor: HypervisorKind,
    /// The directory, without a slash at its end.
    pub dir: String,
    /// How a VM's configuration names a file there, with `{name}` or `{path}`.
    pub reference: String,
    /// Where that is known from.
    pub source: String,
}

#[derive(Deserialize)]
struct Table {
    place: Vec<RomPlace>,
}

/// All places.
pub fn rom_places() -> &'static [RomPlace] {
    static ROWS: OnceLock<Vec<RomPlace>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let text = include_str!("../../../data/rom_places.toml");
        toml::from_str::<Table>(text).map(|table| table.place).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let rows = toml::from_str::<Table>(include_str!("../../../data/rom_places.toml")).unwrap().place;
        for row in &rows {
            assert!(row.dir.starts_with('/') && !row.dir.ends_with('/') && !row.source.is_empty(), "{row:?}");
            assert!(row.reference.contains("{name}") || row.reference.contains("{path}"), "{row:?}");
            assert_eq!(rows.iter().filter(|other| other.hypervisor == row.hypervisor).count(), 1, "{row:?}");
        }
    }
}

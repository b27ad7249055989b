//! What differs between distributions and can be seen in no file of the host: the rows of `data/distros.toml`.

use crate::facts::system::Distro;
use serde::Deserialize;
use std::sync::OnceLock;

/// One distribution or family.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    id: String,
    /// SELinux is on by default.
    #[serde(default)]
    pub selinux: bool,
    /// The last major version that keeps its whole grub.cfg on the ESP.
    pub grub_cfg_on_esp_until: Option<u32>,
    /// Where it was read.
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers of the table, and its test"))]
    source: String,
}

#[derive(Deserialize)]
struct Table {
    distro: Vec<Row>,
}

fn rows() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| {
        toml::from_str::<Table>(include_str!("../../data/distros.toml")).map(|table| table.distro).unwrap_or_default()
    })
}

/// The row of a distribution: its own, else that of the nearest one that it is like.
pub(super) fn row(distro: &Distro) -> Option<&'static Row> {
    std::iter::once(&distro.id).chain(&distro.like).find_map(|id| rows().iter().find(|row| row.id == *id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_sources() {
        assert!(!rows().is_empty());
        assert!(rows().windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(rows().iter().all(|row| row.source.starts_with("https://")));
    }

    #[test]
    fn the_nearest_row_counts() {
        let distro = |id: &str, like: &[&str]| Distro {
            id: id.to_owned(),
            like: like.iter().map(|&like| like.to_owned()).collect(),
            ..Distro::default()
        };
        let until = |distro| row(&distro).and_then(|row| row.grub_cfg_on_esp_until);
        assert_eq!(until(distro("rocky", &["rhel", "centos", "fedora"])), Some(8));
        assert_eq!(until(distro("nobara", &["fedora"])), Some(33));
        assert!(row(&distro("debian", &[])).is_none());
    }
}

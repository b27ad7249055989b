//! The story of an IOMMU group, for `explain group N`.

use super::{Short, Style, plain};
use crate::facts::Snapshot;
use serde_json::json;

/// Its members, one a line.
pub fn text(style: &Style, snap: &Snapshot, group: u32) -> String {
    let short = Short::of(&snap.pci);
    let mut text = format!("{}\n", style.strong(&format!("IOMMU group {group}")));
    for function in snap.pci.group(group) {
        text.push_str(&format!("  {}  {}\n", short.show(&function.address), plain(&function.name())));
    }
    text
}

/// The same as JSON.
pub fn json(snap: &Snapshot, group: u32) -> String {
    let members: Vec<String> = snap.pci.group(group).map(|f| f.address.to_string()).collect();
    format!("{:#}\n", json!({ "schema": "vfioneer/group/1", "group": group, "members": members }))
}

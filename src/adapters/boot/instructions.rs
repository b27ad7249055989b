//! Chains that vfioneer reads and does not change: exact instructions.

use super::super::Work;
use super::{WordChange, todo};
use crate::facts::Snapshot;
use crate::steps::reasons::reason;

/// What a person has to do.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let todo = todo(&snap.boot, change);
    let chain = snap.boot.chain().unwrap_or_default().title();
    let mut manual = Vec::new();
    if !todo.add.is_empty() {
        manual.push(reason("chain-add-by-hand", &[("chain", chain), ("words", &todo.add.join(" "))]));
    }
    if !todo.remove.is_empty() {
        manual.push(reason("chain-remove-by-hand", &[("chain", chain), ("words", &todo.remove.join(" "))]));
    }
    Work { manual, ..Work::default() }
}

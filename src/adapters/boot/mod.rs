//! Boot chains: which words the kernel gets, and where that is written.
//!
//! Goes in: a snapshot and a [`WordChange`]. Comes out: [`Work`]. The chain that really boots is chosen by evidence; where two are
//! possible, none is.

use super::Work;
use crate::facts::Snapshot;

/// Words to add to and to remove from the kernel's command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordChange {
    /// Words that every normal entry must have; those that are there already change nothing.
    pub add: Vec<String>,
    /// Words that no entry should have any more (`--repair`).
    pub remove: Vec<String>,
    /// Make, keep, or leave alone an entry "without passthrough" (`vfioneer=off`), where the chain has a way to.
    pub escape: bool,
    /// Is the initramfs of every kernel rebuilt, too? A chain that copies images or packs them into one file has to follow.
    pub images: bool,
}

/// What the chain of this host needs done for a change of words.
pub fn work(_snap: &Snapshot, _change: &WordChange) -> Work {
    Work::default()
}

//! One file per mechanism: boot loaders, initramfs generators, hypervisors.
//!
//! Goes in: a [`crate::facts::Snapshot`] and what is wanted of the mechanism. Comes out: steps, expectations and notes. Pure: an
//! adapter edits text, keeping every byte that it doesn't mean to change, and reads nothing itself.

pub mod boot;
pub mod claim;
pub mod hooks;
pub mod initramfs;
pub mod sriov;
pub mod vm;

use crate::steps::{Expectation, Step};

/// What a mechanism needs done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Files to write, in order; nothing that boots reads them by itself.
    pub files: Vec<Step>,
    /// Commands that make what boots from them.
    pub commands: Vec<Step>,
    /// What must be true afterwards.
    pub expect: Vec<Expectation>,
    /// What the user should know, in whole sentences.
    pub notes: Vec<String>,
    /// What vfioneer does not do itself on this host: exact instructions, a line each. Not empty: the plan cannot be applied as a whole.
    pub manual: Vec<String>,
}

impl Work {
    /// Adds another's work after this one's.
    pub fn extend(&mut self, other: Work) {
        self.files.extend(other.files);
        self.commands.extend(other.commands);
        self.expect.extend(other.expect);
        self.notes.extend(other.notes);
        self.manual.extend(other.manual);
    }

    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.commands.is_empty() && self.manual.is_empty()
    }
}

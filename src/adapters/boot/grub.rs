//! GRUB with grub-mkconfig: `/etc/default/grub`, its drop-ins, grub.cfg.

use super::super::Work;
use super::{WordChange, instructions};
use crate::facts::Snapshot;

/// What it needs done.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    instructions::work(snap, change)
}

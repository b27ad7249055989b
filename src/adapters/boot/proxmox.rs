//! proxmox-boot-tool, with systemd-boot or GRUB on the ESPs that it manages.

use super::super::Work;
use super::{WordChange, instructions};
use crate::facts::Snapshot;

/// What it needs done.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    instructions::work(snap, change)
}

//! What VMs are given: devices in their configuration, files that hypervisors read, and hooks that they run.

pub mod guest;
pub mod hook;
mod passed;
pub mod rom_file;

pub use passed::{Member, Passed, Slot};

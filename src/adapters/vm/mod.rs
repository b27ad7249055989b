//! What VMs are given: devices in their configuration, files that hypervisors read, and hooks that they run.

pub mod hook;
pub mod lxc;
pub mod nova;
pub mod nova_fit;
mod passed;
pub mod qemu;
pub mod rom_file;
mod shape;

pub use passed::{Member, Passed, Slot};
pub use shape::{Rendered, Shape};

//! What VMs are given: files that hypervisors read, and hooks that they run.

pub mod hook;
pub mod rom_file;

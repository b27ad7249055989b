//! What VMs are given: files that hypervisors read.

pub mod rom_file;

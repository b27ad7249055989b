//! Text or bytes to types and back. Pure: nothing here reads a file.

pub mod address;
pub mod cmdline;
pub mod config_space;
pub mod lines;
pub mod modprobe;
pub mod pci_ids;
pub mod sysfs;

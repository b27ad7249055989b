//! Text or bytes to types and back. Pure: nothing here reads a file.

pub mod address;
pub mod cmdline;
pub mod lines;
pub mod modprobe;

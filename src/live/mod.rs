//! What is done with devices of the running machine, and lasts until the next boot at the most.
//!
//! Goes in: a host that can be changed, and functions. Comes out: what the devices gave. No transaction keeps what is done here: `rom` and
//! `probe` bring everything back themselves, and what `hand_over`, `reset` and `vm` change is in files in `/run` that a boot empties.

pub mod hand_over;
pub mod probe;
pub mod reset;
pub mod rom;
mod switch;
pub mod vm;

use crate::parse::address::Address;

/// A function's directory in sysfs.
fn dir(address: &Address) -> String {
    format!("/sys/bus/pci/devices/{address}")
}

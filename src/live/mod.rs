//! What is done with devices of the running machine, and undone before the command ends.
//!
//! Goes in: a host that can be changed, and a function. Comes out: what the device gave. Nothing here is kept in a journal: each
//! command brings everything back itself, whatever happens.

pub mod hand_over;
pub mod probe;
pub mod reset;
pub mod rom;
mod switch;

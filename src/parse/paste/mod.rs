//! Text that somebody pasted: logs, listings and files in any mixture, with prompts, quotes and colours.
//!
//! Goes in: any text. Comes out: what is recognised in it, line by line. Never fails: what is not recognised is
//! left out, and a caller can ask of a line whether it looks like an error.

mod plain;

pub use plain::{looks_like_error, plain};

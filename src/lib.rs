//! vfioneer: from any Linux host to "this PCIe device works inside that VM", and back.
//!
//! Data flows one way, and the modules depend on each other only in this order
//! (`tests/layering.rs` enforces it; ARCHITECTURE.md explains it):

/// Errors that end a command, each with a kind that gives the exit code, and hints.
pub mod error;
/// The only door to the operating system: files, links, kernel messages, cached digests of big files.
pub mod host;
/// Text or bytes to types and back; pure.
pub mod parse;
/// What is true of a host: `collect(&dyn Host, Needs) -> Snapshot`.
pub mod facts;
/// What the user wants: devices by selector, the VM, what is allowed.
pub mod goal;
/// What stands in the way: `(&Snapshot, &Goal) -> Vec<Finding>`, and each finding's page of text.
pub mod checks;
/// Text and JSON of the same values.
pub mod report;
/// Records what the facts read of a host in a file, without what identifies it.
pub mod capture;
/// One file per verb.
pub mod cli;

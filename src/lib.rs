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
/// The closed set of steps that change a host, and what must be true after them.
pub mod steps;
/// One file per mechanism: boot loaders, initramfs generators. Snapshot in, steps out; pure.
pub mod adapters;
/// Snapshot, goal and findings to a plan: guards, steps in order, one diff, expectations; pure.
pub mod plan;
/// The transaction: lock, journal, execute, undo, recover.
pub mod apply;
/// Is every expectation of a plan true now?
pub mod verify;
/// What is done with devices of the running machine, and undone before the command ends.
pub mod live;
/// Text and JSON of the same values.
pub mod report;
/// Records what the facts read of a host in a file, without what identifies it.
pub mod capture;
/// One file per verb.
pub mod cli;

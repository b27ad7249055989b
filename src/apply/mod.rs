//! The transaction: lock, journal, execute, undo, recover. The only module that gets the write handle.

pub mod state;

//! What a change does to the disk, operation by operation.

use std::io;

/// One operation. Paths are within the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Bytes are written to a new or existing file.
    Write(&'a str, &'a [u8]),
    /// Owner, mode or extended attributes of a file are set.
    Attributes(&'a str),
    /// A file or directory is synced.
    Sync(&'a str),
    /// Everything on the file system that holds a path is synced.
    SyncAll(&'a str),
    /// From, to.
    Rename(&'a str, &'a str),
    /// The file, its second name.
    Link(&'a str, &'a str),
    /// A name is removed.
    Remove(&'a str),
    /// A directory is made.
    MakeDir(&'a str),
    /// An empty directory is removed.
    RemoveDir(&'a str),
    /// A command is started.
    Run(&'a [String]),
    /// A kernel attribute is written: path, value.
    SetAttribute(&'a str, &'a str),
}

/// An operation that is not done.
#[derive(Debug)]
pub struct Stop {
    /// Why.
    pub error: io::Error,
    /// Of a write: how many bytes are written all the same.
    pub after: usize,
}

/// Sees every operation before it is done, and can end it.
pub trait Gate {
    /// Lets an operation pass, or not.
    fn pass(&self, op: &Op<'_>) -> Result<(), Stop>;
}

/// Lets everything pass.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Gate for Open {
    fn pass(&self, _: &Op<'_>) -> Result<(), Stop> {
        Ok(())
    }
}

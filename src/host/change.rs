//! The write side of a host. Only `apply` and `live` receive it.
//!
//! Every call that changes something is on disk when it returns, and where GRUB reads it by itself, in its place there. What it does to the disk, one operation after the other, passes a
//! [`Gate`] first, so that a test can end the program's life between any two of them.

mod attributes;
mod file_system;
mod files;
mod gate;
mod process;
mod runner;
mod tree_mut;

pub use file_system::FsKind;
pub use gate::{Gate, Op, Open, Stop};
pub use process::Processes;
pub use runner::{Chroot, Command, Done, Runner};
pub use tree_mut::TreeMut;

use super::{Host, Interrupt};
use std::io;

/// A host that can be changed. Symbolic links are followed within the host; directories must be there.
pub trait HostMut: Host {
    /// Writes a file whole: a temporary one beside it ([`temporary`]), fsync, rename, fsync of the directory; owner, mode, SELinux
    /// label and other extended attributes of an existing file are kept. Where the file cannot be replaced (it is a mount point) it is
    /// written in place. `mode` is for a file that was not there.
    fn write(&self, path: &str, bytes: &[u8], mode: u32) -> io::Result<()>;
    /// Makes one directory with mode 0755, or 0700 if `private`; one that is there is no error.
    fn make_dir(&self, path: &str, private: bool) -> io::Result<()>;
    /// Adds to the end of a file (made with mode 0600 if it is not there) and syncs it. If that fails, nothing is added.
    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Removes a file; not there is no error.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Removes a directory if it is empty; otherwise, or if it is not there, changes nothing and is no error.
    fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Syncs `from` and renames it over `to` on the same file system. With `as_before` it gets owner, mode and extended attributes of
    /// the file that it replaces. `from` is gone afterwards, even if both were names of one file.
    fn rename(&self, from: &str, to: &str, as_before: bool) -> io::Result<()>;
    /// Gives a file a second name on the same file system: a hard link, or a copy where there are none. Replaces what has that name.
    fn keep(&self, path: &str, second: &str) -> io::Result<()>;
    /// Brings everything on the file system of a file or directory onto the disk, and into its place there: what a command has written. Not
    /// there is no error.
    fn sync_all(&self, path: &str) -> io::Result<()>;
    /// Copies a file of any size with its attributes, whole or not at all.
    fn copy(&self, from: &str, to: &str) -> io::Result<()>;
    /// SHA-256 of a file of any size, 64 hex digits; `None` if it is not there.
    fn sha256(&self, path: &str) -> io::Result<Option<String>>;
    /// The path that symbolic links lead to; the path itself if nothing is there.
    fn real(&self, path: &str) -> io::Result<String>;
    /// Fails if a directory cannot be written to; a read-only file system is `ReadOnlyFilesystem`.
    fn writable(&self, dir: &str) -> io::Result<()>;
    /// Bytes free for root on the file system that holds a directory.
    fn free_space(&self, dir: &str) -> io::Result<u64>;
    /// What kind of file system holds a directory.
    fn fs_kind(&self, dir: &str) -> io::Result<FsKind>;
    /// Writes a sysfs or procfs attribute in a child process, so that a write that never returns is not waited for.
    fn write_attribute(&self, path: &str, value: &str) -> io::Result<()>;
    /// Asked to stop?
    fn interrupt(&self) -> &Interrupt;
    /// Is there such a program, by name or absolute path?
    fn has_program(&self, program: &str) -> bool;
    /// Runs a command: on a live host as it is, on a mounted one in a chroot. `progress` is called with each line of output, and with
    /// an empty line about once a second.
    fn run(&self, command: &Command<'_>, progress: &mut dyn FnMut(&str)) -> io::Result<Done>;
    /// Takes an exclusive lock that ends with the process and all commands that it started; `None` if another process has it.
    fn lock(&self, path: &str) -> io::Result<Option<Lock>>;
    /// Takes a lock as package managers do (fcntl(2), for the whole file), which ends with the process alone; `None` if another has it.
    fn lock_record(&self, path: &str) -> io::Result<Option<Lock>>;
}

/// An exclusive lock; ends when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: std::fs::File,
}

/// The name beside `path` under which a new version is written before it takes the place of the old one. Boot loaders and
/// configuration directories pass by names that begin with a dot.
pub fn temporary(path: &str) -> String {
    beside(path, "new")
}

/// The name beside `path` under which the old version is kept.
pub fn kept(path: &str) -> String {
    beside(path, "old")
}

fn beside(path: &str, what: &str) -> String {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    format!("{dir}/.{name}.vfioneer-{what}")
}

#[cfg(test)]
mod tests;

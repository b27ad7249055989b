//! The write side of a host. Only `apply` receives it.

use super::Host;
use std::io;
use std::time::Duration;

/// A command of the host.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// Program and arguments; the program by name or absolute path.
    pub argv: &'a [String],
    /// Killed after this long.
    pub limit: Duration,
}

/// What a command did.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Exit status; `None` if it was killed.
    pub status: Option<i32>,
    /// stdout and stderr as they came.
    pub output: Vec<u8>,
}

/// A host that can be changed. Every call that changes something is on disk when it returns, and is one point at
/// which a test can pretend that the program was killed.
pub trait HostMut: Host {
    /// Writes a file whole: a temporary one beside it, fsync, rename, fsync of the directory; owner, mode, SELinux label
    /// of an existing file are kept, a symbolic link is followed. Where the file system can't do that (FAT, `/etc/pve`, a bind-mounted
    /// file) the next best, by [`FsKind`]. `mode` is for a file that was not there. Missing directories are made.
    fn write(&self, path: &str, bytes: &[u8], mode: u32) -> io::Result<()>;
    /// Adds to the end of a file (made with mode 0600 if it is not there) and syncs it.
    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Removes a file; not there is no error.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Removes an empty directory that vfioneer made; anything else is no error and changes nothing.
    fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Syncs `from`, renames it over `to` in the same directory, syncs the directory.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Gives a file a second name beside it: a hard link, or a copy where there are none.
    fn keep(&self, path: &str, second: &str) -> io::Result<()>;
    /// Copies a file of any size, synced.
    fn copy(&self, from: &str, to: &str) -> io::Result<()>;
    /// SHA-256 of a file of any size, hex.
    fn sha256(&self, path: &str) -> io::Result<Option<String>>;
    /// Writes a sysfs or procfs attribute in a child process, so that a write that never returns is not waited for.
    fn write_attribute(&self, path: &str, value: &str) -> io::Result<()>;
    /// Bytes free for root on the file system that holds the path's directory.
    fn free_space(&self, path: &str) -> io::Result<u64>;
    /// What kind of file system holds the path's directory.
    fn fs_kind(&self, path: &str) -> io::Result<FsKind>;
    /// Runs a command: on a live host as it is, on a mounted one in a chroot. `progress` is called about once a second and with
    /// each line of output.
    fn run(&self, command: Command<'_>, progress: &mut dyn FnMut(&str)) -> io::Result<Done>;
    /// Takes an exclusive lock that ends with the process; `None` if another process has it.
    fn lock(&self, path: &str) -> io::Result<Option<Lock>>;
}

/// File systems by how a file on them is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsKind {
    /// ext4, xfs, btrfs, zfs, overlay, tmpfs: owner, mode, labels, links, atomic rename.
    Posix,
    /// FAT: no owner, mode or links; rename replaces, but not in one write to the disk.
    Fat,
    /// Proxmox's `/etc/pve`: no chmod, own rules of renaming.
    Pmxcfs,
}

/// An exclusive lock; ends when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: std::fs::File,
}

impl Lock {
    /// Keeps a locked file open.
    pub(super) fn new(file: std::fs::File) -> Lock {
        Lock { _file: file }
    }
}

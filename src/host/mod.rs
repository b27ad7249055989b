//! The only door to the operating system.
//!
//! Goes in: paths below a host's root. Comes out: bytes, names, kernel messages, each as a [`Fact`].
//! A host is live (`/`), mounted (`--root DIR`) or recorded (`--from FILE`); nothing above this module
//! knows which, except to say so to the user. Nothing here interprets what it reads, and only
//! [`change`] writes.

#![allow(clippy::disallowed_methods)] // This is the seam that the ban points to.

pub mod archive;
mod beneath;
mod cache;
mod caller;
pub mod change;
mod command;
pub mod console;
mod fact;
mod interrupt;
mod kernel_log;
pub mod output;
mod recorded;
mod recorder;
pub mod recording;
mod tree;
pub mod vfio;

pub use caller::Caller;
pub use change::{HostMut, TreeMut};
pub use fact::{Fact, Why};
pub use interrupt::Interrupt;
pub use recorded::{Builder, Recorded};
pub use recorder::Recorder;
pub use tree::Tree;

use std::io::{self, Read};

/// The most that [`Host::read`] reads of one file, in bytes; a larger file is `Unknown(TooLarge)`.
pub const READ_LIMIT: usize = 32 << 20;

/// Where the facts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The running machine.
    Live,
    /// A directory that holds another system's root.
    Mounted,
    /// A recording.
    Recorded,
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link (only from calls that do not follow the last one).
    Link,
    /// A device node, socket or pipe.
    Other,
}

/// The little that is needed of stat(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is; links are followed.
    pub file_type: FileType,
    /// Permission bits, as in chmod(2).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, seconds since 1970.
    pub mtime: i64,
    /// The device that holds the file (`st_dev`), as (major, minor).
    pub dev: (u32, u32),
    /// For a device node: which (`st_rdev`), as (major, minor); else (0, 0).
    pub rdev: (u32, u32),
}

/// A computation over a big file whose small result can be cached and recorded: what an initramfs holds.
pub struct Digest {
    /// Names the computation and its version; part of the cache key.
    pub name: &'static str,
    /// Reads the file from its start and gives the result's bytes.
    pub compute: fn(&mut dyn Read) -> io::Result<Vec<u8>>,
}

/// Runs a digest. Its own complaint about the data is "malformed"; any other failure is the operating system's.
fn compute(digest: &Digest, data: &mut dyn Read) -> Fact<Vec<u8>> {
    match (digest.compute)(data) {
        Ok(result) => Fact::Known(result),
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            Fact::Unknown(Why::Malformed(error.to_string()))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Fact::Unknown(Why::NotPermitted),
        Err(error) => Fact::Unknown(Why::Io(error.to_string())),
    }
}

/// Questions to the operating system that no file answers. All of them only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// This boot's kernel messages, one a line as `dmesg` prints them with `[seconds.micros]` in front.
    KernelLog,
}

/// A host to ask. Paths are absolute within the host (`/sys/...`), whatever holds it.
/// Symbolic links are followed and never lead out of the host.
pub trait Host {
    /// Live, mounted or recorded.
    fn kind(&self) -> Kind;

    /// How to name it to the user: `this host`, the directory, the file.
    fn label(&self) -> String;

    /// The content of a file, at most [`READ_LIMIT`] bytes.
    /// A directory, device node or pipe is `Unknown(Io)`; it never blocks.
    fn read(&self, path: &str) -> Fact<Vec<u8>>;

    /// The first `most` bytes of a file, or all of a shorter one: cheaper where only a header is needed.
    fn read_start(&self, path: &str, most: usize) -> Fact<Vec<u8>> {
        self.read(path).map(|mut bytes| {
            bytes.truncate(most);
            bytes
        })
    }

    /// The target of a symbolic link, as it stands in the link.
    fn link(&self, path: &str) -> Fact<String>;

    /// The names in a directory, sorted.
    fn entries(&self, dir: &str) -> Fact<Vec<String>>;

    /// What is at a path; links are followed.
    fn stat(&self, path: &str) -> Fact<Stat>;

    /// The result of a computation over a file of any size, from a cache where there is one.
    fn digest(&self, path: &str, digest: &Digest) -> Fact<Vec<u8>>;

    /// The answer to a question that no file answers.
    fn query(&self, query: Query) -> Fact<Vec<u8>>;

    /// The content as text; bytes that are no UTF-8 become U+FFFD.
    fn text(&self, path: &str) -> Fact<String> {
        self.read(path).map(|bytes| match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    /// The content as text without white space around it: sysfs attributes.
    fn value(&self, path: &str) -> Fact<String> {
        self.text(path).map(|text| text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
    }

    /// True, false or unknown: is there anything at this path?
    fn exists(&self, path: &str) -> Fact<bool> {
        self.stat(path).map(|_| true).absent_as(false)
    }
}

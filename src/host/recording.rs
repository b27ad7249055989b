//! What a recording holds, as plain data: entries by path, results of digests, answers to queries.

use super::{Fact, Query, Stat, Why};
use std::collections::BTreeMap;

/// What is known of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is there.
    pub body: Body,
    /// What stat(2) says of it.
    pub stat: Fact<Stat>,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Its directory names it; nothing more was recorded.
    Seen,
    /// It was looked for, and was not there.
    Absent,
    /// Nothing of it or below it could be read.
    Denied(Why),
    /// A directory; known if all its names are in the recording, else why not.
    Dir(Fact<()>),
    /// A regular file and its content.
    File(Fact<Vec<u8>>),
    /// A regular file of which only the start was read.
    Start(Vec<u8>),
    /// A symbolic link and its target.
    Link(String),
    /// A device node, socket or pipe.
    Other,
}

/// What was read of a host. Paths are absolute within the host and go through no symbolic link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// By path.
    pub entries: BTreeMap<String, Entry>,
    /// By path and the digest's name.
    pub digests: BTreeMap<(String, String), Fact<Vec<u8>>>,
    /// By question.
    pub queries: BTreeMap<Query, Fact<Vec<u8>>>,
}

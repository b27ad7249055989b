//! A recorded host: a tree in memory that answers like the host it was taken from.
//!
//! Goes in: what a capture holds, or what a test puts together with [`Recorded::builder`]. Comes out: the same
//! answers as a live host's. Symbolic links stay inside. What was not recorded is `Unknown(NotRecorded)`, and
//! absent only where the recording shows that it was not there.

mod builder;
mod memory;

pub use builder::Builder;

use super::recording::{Body, Recording};
use super::{Digest, Fact, Host, Kind, Query, READ_LIMIT, Stat, Why};
use memory::{Content, Memory, Miss, Node, absolute};
use std::collections::BTreeMap;

/// A host in memory.
pub struct Recorded {
    kind: Kind,
    label: String,
    tree: Memory,
    /// By path (links resolved) and the digest's name.
    digests: BTreeMap<(String, String), Fact<Vec<u8>>>,
    queries: BTreeMap<Query, Fact<Vec<u8>>>,
}

impl Recorded {
    /// Puts a host together, for tests.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A host from what was recorded of it. Fails, naming the path, if something lies in what is no directory.
    pub fn new(recording: Recording, label: String) -> Result<Recorded, String> {
        let mut tree = Memory::default();
        for (path, entry) in recording.entries {
            tree.insert(&path, entry).map_err(|()| path)?;
        }
        Ok(Recorded { kind: Kind::Recorded, label, tree, digests: recording.digests, queries: recording.queries })
    }

    fn node(&self, path: &str) -> Result<&Node, Miss> {
        let (id, _) = self.tree.resolve(path, true)?;
        self.tree.nodes.get(id).ok_or(Miss::Absent)
    }
}

impl Host for Recorded {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn label(&self) -> String {
        self.label.clone()
    }

    fn read(&self, path: &str) -> Fact<Vec<u8>> {
        match self.node(path) {
            Err(miss) => miss.into(),
            Ok(node) => read(&node.content),
        }
    }

    fn read_start(&self, path: &str, most: usize) -> Fact<Vec<u8>> {
        let bytes = match self.node(path).map(|node| &node.content) {
            Ok(Content::Plain(Body::Start(bytes))) if bytes.len() >= most => Fact::Known(bytes.clone()),
            Ok(Content::Plain(Body::File(content))) => content.clone(),
            Ok(other) => read(other),
            Err(miss) => miss.into(),
        };
        bytes.map(|mut bytes| {
            bytes.truncate(most);
            bytes
        })
    }

    fn link(&self, path: &str) -> Fact<String> {
        match self.tree.resolve(path, false) {
            Err(miss) => miss.into(),
            Ok((id, _)) => match self.tree.content(id) {
                Content::Plain(Body::Link(target)) => Fact::Known(target.clone()),
                // Whoever can see what it is can see that it is no link.
                Content::Plain(Body::Denied(_)) if !self.stat(path).is_unknown() => Fact::Absent,
                Content::Plain(Body::Denied(why)) => Fact::Unknown(why.clone()),
                Content::Plain(Body::Seen) => Fact::Unknown(Why::NotRecorded),
                _ => Fact::Absent,
            },
        }
    }

    fn entries(&self, dir: &str) -> Fact<Vec<String>> {
        match self.node(dir) {
            Err(miss) => miss.into(),
            Ok(node) => match &node.content {
                Content::Dir { listed: Fact::Unknown(why), .. } if !self.tree.complete || *why != Why::NotRecorded => {
                    Fact::Unknown(why.clone())
                }
                Content::Dir { names, .. } => {
                    let there = |id: &usize| !matches!(self.tree.content(*id), Content::Plain(Body::Absent));
                    Fact::Known(names.iter().filter(|(_, id)| there(id)).map(|(name, _)| name.clone()).collect())
                }
                Content::Plain(Body::Denied(why)) => Fact::Unknown(why.clone()),
                Content::Plain(Body::Seen) => Fact::Unknown(Why::NotRecorded),
                Content::Plain(_) => Fact::Absent,
            },
        }
    }

    fn stat(&self, path: &str) -> Fact<Stat> {
        match self.node(path) {
            Err(miss) => miss.into(),
            Ok(node) => node.stat.clone(),
        }
    }

    /// As recorded; computed where only the file itself was recorded.
    fn digest(&self, path: &str, digest: &Digest) -> Fact<Vec<u8>> {
        let (id, real) = match self.tree.resolve(path, true) {
            Err(miss) => return miss.into(),
            Ok(found) => found,
        };
        if let Some(result) = self.digests.get(&(absolute(&real), digest.name.to_owned())) {
            return result.clone();
        }
        match self.tree.content(id) {
            Content::Plain(Body::File(Fact::Known(bytes))) => super::compute(digest, &mut bytes.as_slice()),
            other => read(other),
        }
    }

    fn query(&self, query: Query) -> Fact<Vec<u8>> {
        self.queries.get(&query).cloned().unwrap_or(Fact::Unknown(Why::NotRecorded))
    }

    fn exists(&self, path: &str) -> Fact<bool> {
        match self.node(path) {
            Err(miss) => Fact::<()>::from(miss).map(|()| true).absent_as(false),
            Ok(node) => match &node.content {
                Content::Plain(Body::Seen) => node.stat.as_ref().map(|_| true),
                Content::Plain(Body::Denied(why)) if node.stat.is_unknown() => Fact::Unknown(why.clone()),
                _ => Fact::Known(true),
            },
        }
    }
}

fn read(content: &Content) -> Fact<Vec<u8>> {
    match content {
        Content::Dir { .. } => Fact::Unknown(Why::Io("is a directory".into())),
        Content::Plain(Body::File(Fact::Known(bytes))) if bytes.len() > READ_LIMIT => Fact::Unknown(Why::TooLarge),
        Content::Plain(Body::File(bytes)) => bytes.clone(),
        Content::Plain(Body::Absent) => Fact::Absent,
        Content::Plain(Body::Denied(why)) => Fact::Unknown(why.clone()),
        Content::Plain(Body::Seen | Body::Start(_)) => Fact::Unknown(Why::NotRecorded),
        Content::Plain(_) => Fact::Unknown(Why::Io("is no regular file".into())),
    }
}

#[cfg(test)]
mod tests;

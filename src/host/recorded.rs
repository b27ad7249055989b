//! A recorded host: a tree in memory that answers like the host it was taken from.
//!
//! Goes in: what a capture holds, or what a test puts together with [`Recorded::builder`]. Comes out: the same
//! answers as a live host's. Symbolic links stay inside. What was not recorded is `Unknown(NotRecorded)`, and
//! absent only where the recording shows that it was not there.

mod builder;

pub use builder::Builder;

use super::beneath::LINKS;
use super::{Digest, Fact, FileType, Host, Kind, Query, READ_LIMIT, Stat, Why};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// A host in memory.
pub struct Recorded {
    kind: Kind,
    label: String,
    tree: Memory,
    /// By path (links resolved) and the digest's name.
    digests: HashMap<(String, String), Fact<Vec<u8>>>,
    queries: BTreeMap<Query, Fact<Vec<u8>>>,
}

/// What is known of one path.
struct Node {
    body: Body,
    stat: Fact<Stat>,
}

enum Body {
    /// Its directory names it; nothing more was recorded.
    Seen,
    /// It was looked for, and was not there.
    Absent,
    /// Nothing below it or in it could be read.
    Denied(Why),
    Dir {
        names: BTreeMap<String, usize>,
        /// Known if `names` is all there was.
        listed: Fact<()>,
    },
    File(Fact<Vec<u8>>),
    Link(String),
    /// A device node, socket or pipe.
    Other,
}

impl Body {
    fn dir() -> Body {
        Body::Dir { names: BTreeMap::new(), listed: Fact::Unknown(Why::NotRecorded) }
    }
}

/// The tree itself; node 0 is the root directory.
struct Memory {
    nodes: Vec<Node>,
    /// What is not in the tree was not on the host.
    complete: bool,
}

/// Why a path leads nowhere.
enum Miss {
    Absent,
    Unknown(Why),
}

impl<T> From<Miss> for Fact<T> {
    fn from(miss: Miss) -> Fact<T> {
        match miss {
            Miss::Absent => Fact::Absent,
            Miss::Unknown(why) => Fact::Unknown(why),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        let root = Node { body: Body::dir(), stat: Fact::Unknown(Why::NotRecorded) };
        Memory { nodes: vec![root], complete: false }
    }
}

impl Memory {
    fn body(&self, id: usize) -> &Body {
        self.nodes.get(id).map_or(&Body::Seen, |node| &node.body)
    }

    /// The node that a path leads to, and its real path.
    fn resolve(&self, path: &str, follow_last: bool) -> Result<(usize, Vec<String>), Miss> {
        let mut ahead: VecDeque<String> = components(path);
        let mut way: Vec<(usize, String)> = Vec::new();
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                way.pop();
                continue;
            }
            let at = way.last().map_or(0, |(id, _)| *id);
            let id = self.child(at, &name)?;
            match self.body(id) {
                Body::Link(target) if follow_last || !ahead.is_empty() => {
                    links += 1;
                    if links > LINKS {
                        return Err(Miss::Unknown(Why::Io("too many levels of symbolic links".into())));
                    }
                    if target.starts_with('/') {
                        way.clear();
                    }
                    for name in components(target).into_iter().rev() {
                        ahead.push_front(name);
                    }
                }
                _ => way.push((id, name)),
            }
        }
        let id = way.last().map_or(0, |(id, _)| *id);
        Ok((id, way.into_iter().map(|(_, name)| name).collect()))
    }

    fn child(&self, at: usize, name: &str) -> Result<usize, Miss> {
        match self.body(at) {
            Body::Dir { names, listed } => match names.get(name) {
                Some(id) if matches!(self.body(*id), Body::Absent) => Err(Miss::Absent),
                Some(id) => Ok(*id),
                None if self.complete || listed.known().is_some() => Err(Miss::Absent),
                None => Err(Miss::Unknown(Why::NotRecorded)),
            },
            // What is no directory has nothing in it.
            Body::File(_) | Body::Link(_) | Body::Other | Body::Absent => Err(Miss::Absent),
            Body::Denied(why) => Err(Miss::Unknown(why.clone())),
            Body::Seen => Err(Miss::Unknown(Why::NotRecorded)),
        }
    }
}

fn components(path: &str) -> VecDeque<String> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").map(str::to_owned).collect()
}

impl Recorded {
    /// Puts a host together, for tests.
    pub fn builder() -> Builder {
        Builder::new()
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
            Ok(node) => match &node.body {
                Body::File(Fact::Known(bytes)) if bytes.len() > READ_LIMIT => Fact::Unknown(Why::TooLarge),
                Body::File(content) => content.clone(),
                Body::Dir { .. } => Fact::Unknown(Why::Io("is a directory".into())),
                Body::Link(_) | Body::Other => Fact::Unknown(Why::Io("is no regular file".into())),
                Body::Denied(why) => Fact::Unknown(why.clone()),
                Body::Absent => Fact::Absent,
                Body::Seen => Fact::Unknown(Why::NotRecorded),
            },
        }
    }

    fn link(&self, path: &str) -> Fact<String> {
        match self.tree.resolve(path, false) {
            Err(miss) => miss.into(),
            Ok((id, _)) => match self.tree.body(id) {
                Body::Link(target) => Fact::Known(target.clone()),
                Body::Denied(why) => Fact::Unknown(why.clone()),
                Body::Seen => Fact::Unknown(Why::NotRecorded),
                _ => Fact::Absent,
            },
        }
    }

    fn entries(&self, dir: &str) -> Fact<Vec<String>> {
        match self.node(dir) {
            Err(miss) => miss.into(),
            Ok(node) => match &node.body {
                Body::Dir { names, listed } => match listed {
                    Fact::Unknown(why) if !self.tree.complete || *why != Why::NotRecorded => Fact::Unknown(why.clone()),
                    _ => {
                        let there = |id: &usize| !matches!(self.tree.body(*id), Body::Absent);
                        Fact::Known(names.iter().filter(|(_, id)| there(id)).map(|(name, _)| name.clone()).collect())
                    }
                },
                Body::Denied(why) => Fact::Unknown(why.clone()),
                Body::Seen => Fact::Unknown(Why::NotRecorded),
                _ => Fact::Absent,
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
        match self.tree.body(id) {
            Body::File(content) => content.as_ref().and_then(|bytes| super::compute(digest, &mut bytes.as_slice())),
            _ => self.read(path),
        }
    }

    fn query(&self, query: Query) -> Fact<Vec<u8>> {
        self.queries.get(&query).cloned().unwrap_or(Fact::Unknown(Why::NotRecorded))
    }

    fn exists(&self, path: &str) -> Fact<bool> {
        match self.node(path) {
            Err(miss) => Fact::<()>::from(miss).map(|()| true).absent_as(false),
            Ok(node) => match node.body {
                Body::Seen => node.stat.as_ref().map(|_| true),
                _ => Fact::Known(true),
            },
        }
    }
}

/// What a file type has to be for a stat that nobody recorded.
fn plain(file_type: FileType, mode: u32, size: u64) -> Stat {
    Stat { file_type, mode, uid: 0, size, mtime: 0, dev: (0, 0), rdev: (0, 0) }
}

fn absolute(components: &[String]) -> String {
    format!("/{}", components.join("/"))
}

#[cfg(test)]
mod tests;

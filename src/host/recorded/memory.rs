//! The tree of a recorded host: looks up paths as the kernel does, links included.

use crate::host::beneath::LINKS;
use crate::host::recording::{Body, Entry};
use crate::host::{Fact, Stat, Why};
use std::collections::{BTreeMap, VecDeque};

/// What is known of one path.
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) stat: Fact<Stat>,
}

/// What is at a path.
pub(super) enum Content {
    Dir {
        names: BTreeMap<String, usize>,
        /// Known if `names` is all there was.
        listed: Fact<()>,
    },
    /// Never [`Body::Dir`].
    Plain(Body),
}

impl Content {
    pub(super) fn new(body: Body) -> Content {
        match body {
            Body::Dir(listed) => Content::Dir { names: BTreeMap::new(), listed },
            other => Content::Plain(other),
        }
    }
}

/// Node 0 is the root directory.
pub(super) struct Memory {
    pub(super) nodes: Vec<Node>,
    /// What is not in the tree was not on the host.
    pub(super) complete: bool,
}

/// Why a path leads nowhere.
pub(super) enum Miss {
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

const UNRECORDED: Body = Body::Dir(Fact::Unknown(Why::NotRecorded));
const NOTHING: Content = Content::Plain(Body::Seen);

impl Default for Memory {
    fn default() -> Self {
        let root = Node { content: Content::new(UNRECORDED), stat: Fact::Unknown(Why::NotRecorded) };
        Memory { nodes: vec![root], complete: false }
    }
}

impl Memory {
    pub(super) fn content(&self, id: usize) -> &Content {
        self.nodes.get(id).map_or(&NOTHING, |node| &node.content)
    }

    /// The node under a name of a directory, if it has one.
    pub(super) fn named(&self, at: usize, name: &str) -> Option<usize> {
        match self.content(at) {
            Content::Dir { names, .. } => names.get(name).copied(),
            Content::Plain(_) => None,
        }
    }

    /// Puts a node under a name in a directory, in place of what is there. Gives `None` if `parent` is no directory.
    pub(super) fn set(&mut self, parent: usize, name: &str, node: Node) -> Option<usize> {
        let next = self.nodes.len();
        let Some(Node { content: Content::Dir { names, .. }, .. }) = self.nodes.get_mut(parent) else { return None };
        let id = *names.entry(name.to_owned()).or_insert(next);
        if id == next {
            self.nodes.push(node);
        } else if let Some(old) = self.nodes.get_mut(id) {
            *old = node;
        }
        Some(id)
    }

    /// Puts an entry at exactly this path: links on the way are not followed.
    /// Fails if what is on the way is no directory.
    pub(super) fn insert(&mut self, path: &str, entry: Entry) -> Result<(), ()> {
        let mut at = 0;
        let mut ahead = components(path);
        let Some(last) = ahead.pop_back() else {
            // The root directory itself.
            if let (Body::Dir(now), Some(Node { content: Content::Dir { listed, .. }, stat })) =
                (entry.body, self.nodes.first_mut())
            {
                *listed = now;
                *stat = entry.stat;
            }
            return Ok(());
        };
        for name in ahead {
            at = match self.named(at, &name) {
                Some(id) => id,
                None => {
                    let node = Node { content: Content::new(UNRECORDED), stat: Fact::Unknown(Why::NotRecorded) };
                    self.set(at, &name, node).ok_or(())?
                }
            };
        }
        match (self.named(at, &last).and_then(|id| self.nodes.get_mut(id)), entry.body) {
            // Made on the way to something in it, and now described.
            (Some(Node { content: Content::Dir { listed, .. }, stat }), Body::Dir(now)) => {
                *listed = now;
                *stat = entry.stat;
                Ok(())
            }
            (Some(_), _) => Err(()),
            (None, body) => {
                self.set(at, &last, Node { content: Content::new(body), stat: entry.stat }).map(|_| ()).ok_or(())
            }
        }
    }

    /// The node that a path leads to, and its real path.
    pub(super) fn resolve(&self, path: &str, follow_last: bool) -> Result<(usize, Vec<String>), Miss> {
        let mut ahead = components(path);
        let mut way: Vec<(usize, String)> = Vec::new();
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                way.pop();
                continue;
            }
            let at = way.last().map_or(0, |(id, _)| *id);
            let id = self.child(at, &name)?;
            match self.content(id) {
                Content::Plain(Body::Link(target)) if follow_last || !ahead.is_empty() => {
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
        match self.content(at) {
            Content::Dir { names, listed } => match names.get(name) {
                Some(id) if matches!(self.content(*id), Content::Plain(Body::Absent)) => Err(Miss::Absent),
                Some(id) => Ok(*id),
                None if self.complete || listed.known().is_some() => Err(Miss::Absent),
                None => Err(Miss::Unknown(Why::NotRecorded)),
            },
            Content::Plain(Body::Denied(why)) => Err(Miss::Unknown(why.clone())),
            Content::Plain(Body::Seen) => Err(Miss::Unknown(Why::NotRecorded)),
            // What is no directory has nothing in it.
            Content::Plain(_) => Err(Miss::Absent),
        }
    }
}

/// A path's names, without empty ones and `.`.
pub(super) fn components(path: &str) -> VecDeque<String> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").map(str::to_owned).collect()
}

pub(super) fn absolute(components: &[String]) -> String {
    format!("/{}", components.join("/"))
}

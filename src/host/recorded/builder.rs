//! Puts a recorded host together, path by path.

use super::Recorded;
use super::memory::{Content, Memory, Node, absolute, components};
use crate::host::beneath::LINKS;
use crate::host::recording::Body;
use crate::host::{Fact, FileType, Kind, Query, Stat, Why};
use std::collections::BTreeMap;

/// Puts a host together. Directories on the way are made, links on the way are followed, what stands in the way
/// is replaced. Unless [`Builder::complete`] says otherwise, what was not added is absent.
///
/// ```
/// use vfioneer::host::{Fact, Host, Recorded};
/// let host = Recorded::builder()
///     .add_file("/proc/cmdline", "quiet\n")
///     .add_values("/sys/devices/pci0000:00/0000:00:02.0", &[("vendor", "0x8086"), ("class", "0x030000")])
///     .add_link("/sys/bus/pci/devices/0000:00:02.0", "../../../devices/pci0000:00/0000:00:02.0")
///     .deny("/sys/firmware/acpi/tables")
///     .build();
/// assert_eq!(host.value("/sys/bus/pci/devices/0000:00:02.0/vendor"), Fact::Known("0x8086".into()));
/// assert_eq!(host.exists("/dev/kvm"), Fact::Known(false));
/// assert!(host.read("/sys/firmware/acpi/tables/DMAR").is_unknown());
/// ```
pub struct Builder {
    host: Recorded,
}

impl Builder {
    pub(super) fn new() -> Builder {
        let tree = Memory { complete: true, ..Memory::default() };
        let mut builder = Builder {
            host: Recorded {
                kind: Kind::Recorded,
                label: "recorded host".to_owned(),
                tree,
                digests: BTreeMap::new(),
                queries: BTreeMap::new(),
            },
        };
        builder.set_stat(0, plain(FileType::Dir, 0o755, 0));
        builder
    }

    /// Finishes; the builder is empty afterwards.
    pub fn build(&mut self) -> Recorded {
        std::mem::replace(self, Builder::new()).host
    }

    /// Sets what kind of host it claims to be.
    pub fn kind(&mut self, kind: Kind) -> &mut Self {
        self.host.kind = kind;
        self
    }

    /// Sets how it is named to the user.
    pub fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.host.label = label.into();
        self
    }

    /// True: what was not added is absent. False: it is not recorded.
    pub fn complete(&mut self, complete: bool) -> &mut Self {
        self.host.tree.complete = complete;
        self
    }

    /// Adds a file, mode 0644, owned by root.
    pub fn add_file(&mut self, path: &str, content: impl AsRef<[u8]>) -> &mut Self {
        let bytes = content.as_ref().to_vec();
        let stat = plain(FileType::File, 0o644, bytes.len() as u64);
        self.put(path, Body::File(Fact::Known(bytes)), Some(stat))
    }

    /// Adds files of one line each, as sysfs has them: the line's end is added.
    pub fn add_values(&mut self, dir: &str, values: &[(&str, &str)]) -> &mut Self {
        for (name, value) in values {
            self.add_file(&format!("{dir}/{name}"), format!("{value}\n"));
        }
        self
    }

    /// Adds a file that is there but was not read: an initramfs image, a kernel.
    pub fn add_unread(&mut self, path: &str, size: u64, mtime: i64) -> &mut Self {
        let stat = Stat { mtime, ..plain(FileType::File, 0o644, size) };
        self.put(path, Body::File(Fact::Unknown(Why::NotRecorded)), Some(stat))
    }

    /// Adds a symbolic link.
    pub fn add_link(&mut self, path: &str, target: &str) -> &mut Self {
        self.put(path, Body::Link(target.to_owned()), Some(plain(FileType::Link, 0o777, 0)))
    }

    /// Adds a directory, empty unless something is in it already.
    pub fn add_dir(&mut self, path: &str) -> &mut Self {
        self.directory(path);
        self
    }

    /// Adds a device node.
    pub fn add_device(&mut self, path: &str, major: u32, minor: u32) -> &mut Self {
        let stat = Stat { rdev: (major, minor), ..plain(FileType::Other, 0o660, 0) };
        self.put(path, Body::Other, Some(stat))
    }

    /// Says that this path is not there, which matters only in an incomplete recording.
    pub fn add_absent(&mut self, path: &str) -> &mut Self {
        self.put(path, Body::Absent, None)
    }

    /// Says that a directory holds what was added to it and nothing else, which matters only in an incomplete
    /// recording.
    pub fn listed(&mut self, dir: &str) -> &mut Self {
        let id = self.directory(dir);
        if let Some(Node { content: Content::Dir { listed, .. }, .. }) = self.host.tree.nodes.get_mut(id) {
            *listed = Fact::Known(());
        }
        self
    }

    /// Adds something that only root may read. It is taken for a file by stat(2), and for a directory by what
    /// looks into it: nothing below it can be seen.
    pub fn deny(&mut self, path: &str) -> &mut Self {
        self.deny_because(path, Why::NotPermitted)
    }

    /// Adds something that cannot be read, and why.
    pub fn deny_because(&mut self, path: &str, why: Why) -> &mut Self {
        self.put(path, Body::Denied(why), Some(plain(FileType::File, 0o600, 0)))
    }

    /// Changes what stat(2) says of a path that was added; its links are followed.
    pub fn stat(&mut self, path: &str, change: impl FnOnce(&mut Stat)) -> &mut Self {
        if let Ok((id, _)) = self.host.tree.resolve(path, true)
            && let Some(Node { stat: Fact::Known(stat), .. }) = self.host.tree.nodes.get_mut(id)
        {
            change(stat);
        }
        self
    }

    /// Sets the result of a digest over a file, by the digest's name; the file should have been added.
    pub fn digest(&mut self, path: &str, name: &str, result: impl AsRef<[u8]>) -> &mut Self {
        let real = match self.host.tree.resolve(path, true) {
            Ok((_, real)) => absolute(&real),
            Err(_) => path.to_owned(),
        };
        self.host.digests.insert((real, name.to_owned()), Fact::Known(result.as_ref().to_vec()));
        self
    }

    /// Sets the answer to a question that no file answers.
    pub fn query(&mut self, query: Query, answer: impl AsRef<[u8]>) -> &mut Self {
        self.host.queries.insert(query, Fact::Known(answer.as_ref().to_vec()));
        self
    }

    /// Sets a question's answer to "unknown", and why.
    pub fn deny_query(&mut self, query: Query, why: Why) -> &mut Self {
        self.host.queries.insert(query, Fact::Unknown(why));
        self
    }

    fn put(&mut self, path: &str, body: Body, stat: Option<Stat>) -> &mut Self {
        let (parent, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
        if !matches!(name, "" | "." | "..") {
            let parent = self.directory(parent);
            let stat = stat.map_or(Fact::Unknown(Why::NotRecorded), Fact::Known);
            self.host.tree.set(parent, name, Node { content: Content::new(body), stat });
        }
        self
    }

    fn set_stat(&mut self, id: usize, stat: Stat) {
        if let Some(node) = self.host.tree.nodes.get_mut(id) {
            node.stat = Fact::Known(stat);
        }
    }

    /// The directory at a path, made where it is not there.
    fn directory(&mut self, path: &str) -> usize {
        let mut ahead = components(path);
        let mut way: Vec<usize> = Vec::new();
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                way.pop();
                continue;
            }
            let at = way.last().copied().unwrap_or(0);
            let there = self.host.tree.named(at, &name);
            match there.map(|id| (id, self.host.tree.content(id))) {
                Some((id, Content::Dir { .. })) => way.push(id),
                Some((_, Content::Plain(Body::Link(target)))) if links < LINKS => {
                    links += 1;
                    if target.starts_with('/') {
                        way.clear();
                    }
                    for name in components(target).into_iter().rev() {
                        ahead.push_front(name);
                    }
                }
                _ => {
                    let content = Content::new(Body::Dir(Fact::Unknown(Why::NotRecorded)));
                    let stat = Fact::Known(plain(FileType::Dir, 0o755, 0));
                    way.extend(self.host.tree.set(at, &name, Node { content, stat }));
                }
            }
        }
        way.last().copied().unwrap_or(0)
    }
}

/// What stat(2) would say of a new file of root's.
fn plain(file_type: FileType, mode: u32, size: u64) -> Stat {
    Stat { file_type, mode, uid: 0, size, mtime: 0, dev: (0, 0), rdev: (0, 0) }
}

//! A directory tree as a host: the running machine at `/`, or another system's root below a directory.
//!
//! Goes in: paths within the host. Comes out: what the file system answers. Symbolic links of a mounted host
//! never lead out of it, device nodes are never opened, nothing blocks, and nothing is written
//! (but for the cache of digests, see [`super::cache`]).
//!
//! A host can have ten thousand PCI functions with a dozen attributes each, so a read takes as few calls as
//! possible: the last few directories stay open, and an attribute is looked up in its directory by its bare name.

use super::beneath::{Beneath, LINKS};
use super::cache::{self, Cache};
use super::{Digest, Fact, FileType, Host, Kind, Query, READ_LIMIT, Stat, Why};
use crate::error::{Error, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;
use std::cell::{OnceCell, RefCell};
use std::mem::MaybeUninit;
use std::rc::Rc;

/// Directories kept open.
const OPEN_DIRS: usize = 4;
/// Bytes asked for at once; most files fit.
const CHUNK: usize = 64 << 10;
/// kernfs hands out at most one page a read (`fs/kernfs/file.c` `kernfs_file_read_iter`); a page has 4 KiB or more.
const PAGE: usize = 4096;
/// The most names read from one directory; more is `Unknown(TooLarge)`.
const ENTRIES_LIMIT: usize = 1 << 20;

/// The running machine, or a system mounted below a directory.
pub struct Tree {
    kind: Kind,
    label: String,
    /// Absent on the running machine, where plain paths are right.
    below: Option<Beneath>,
    dirs: RefCell<Vec<OpenDir>>,
    buffer: RefCell<Vec<u8>>,
    cache: OnceCell<Option<Cache>>,
    /// May results of digests be written to the cache?
    keeps: bool,
}

/// A directory kept open.
struct OpenDir {
    path: String,
    fd: Rc<OwnedFd>,
    /// The regular files in it, sorted, if its names were read: they are opened without a look first.
    files: Vec<String>,
}

/// Where a path leads, links followed, for changes: its directory, opened for lookups, and its name there.
pub(super) struct Place {
    pub(super) dir: OwnedFd,
    pub(super) name: String,
    /// The path within the host that the links led to.
    pub(super) path: String,
    /// Of the thing itself; none if nothing is there.
    pub(super) stat: Option<fs::Stat>,
}

/// A path's last component in its open directory. `stat` is of the thing itself, links followed.
struct Found {
    dir: Rc<OwnedFd>,
    name: String,
    stat: fs::Stat,
}

impl Tree {
    /// The running machine.
    pub fn live() -> Tree {
        Tree::new(Kind::Live, "this host".to_owned(), None)
    }

    /// Leaves the cache of digests as it is: with this, nothing at all is written.
    #[must_use]
    pub fn without_writing(mut self) -> Tree {
        self.keeps = false;
        self
    }

    /// The system whose root is mounted or unpacked at `dir`. Fails with a usage error if that is no directory
    /// or cannot be entered.
    pub fn mounted(dir: &std::path::Path) -> Result<Tree> {
        let label = dir.display().to_string();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = fs::openat(CWD, dir, flags, Mode::empty()).and_then(|root| {
            // A descriptor for lookups says nothing about the right to use it.
            fs::accessat(&root, ".", fs::Access::EXEC_OK, AtFlags::empty()).map(|()| root)
        });
        match opened {
            Ok(root) => Ok(Tree::new(Kind::Mounted, label, Some(Beneath::new(root)))),
            Err(errno) => Err(mount_error(&label, errno)),
        }
    }

    /// A root's path as it holds in every working directory; as it was given if nothing is there.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub fn absolute(dir: &std::path::Path) -> std::path::PathBuf {
        std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned())
    }

    /// The same, taken for a system that runs.
    pub(super) fn running(mut self) -> Tree {
        self.kind = Kind::Live;
        self
    }

    fn new(kind: Kind, label: String, below: Option<Beneath>) -> Tree {
        Tree {
            kind,
            label,
            below,
            dirs: RefCell::default(),
            buffer: RefCell::default(),
            cache: OnceCell::new(),
            keeps: kind == Kind::Live,
        }
    }

    #[cfg(test)]
    fn mounted_without_openat2(dir: &std::path::Path) -> Tree {
        let root = fs::openat(CWD, dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        Tree::new(Kind::Mounted, String::new(), Some(Beneath::without_openat2(root)))
    }

    /// A directory for lookups, and whether it was open before.
    fn dir(&self, path: &str) -> std::result::Result<(Rc<OwnedFd>, bool), Errno> {
        let path = if path.is_empty() { "/" } else { path };
        let mut dirs = self.dirs.borrow_mut();
        if let Some(at) = dirs.iter().rposition(|open| open.path == path) {
            let entry = dirs.remove(at);
            let fd = Rc::clone(&entry.fd);
            dirs.push(entry);
            return Ok((fd, true));
        }
        let fd = Rc::new(self.open_dir(path)?);
        if dirs.len() >= OPEN_DIRS {
            dirs.remove(0);
        }
        dirs.push(OpenDir { path: path.to_owned(), fd: Rc::clone(&fd), files: Vec::new() });
        Ok((fd, false))
    }

    /// Asks `question` about a name in its directory. A directory that was kept open may have been removed and
    /// made anew (a device unplugged and rescanned), so "no such file" is asked again by the full path. Below a
    /// mounted root a removed directory has no names left; sysfs does not count them so (`fs/kernfs/inode.c`).
    fn ask<T>(
        &self,
        path: &str,
        question: impl Fn(&OwnedFd, &str) -> std::result::Result<T, Errno>,
    ) -> std::result::Result<(Rc<OwnedFd>, T), Errno> {
        let (parent, name) = split(path);
        let (dir, kept) = self.dir(parent)?;
        match question(&dir, name) {
            Err(Errno::NOENT) if kept && (self.below.is_none() || fs::fstat(&*dir)?.st_nlink == 0) => {
                self.dirs.borrow_mut().retain(|open| !Rc::ptr_eq(&open.fd, &dir));
                let (dir, _) = self.dir(parent)?;
                question(&dir, name).map(|answer| (dir, answer))
            }
            Err(errno) => Err(errno),
            Ok(answer) => Ok((dir, answer)),
        }
    }

    /// Finds what a path leads to.
    fn find(&self, path: &str) -> std::result::Result<Found, Errno> {
        let follow = if self.below.is_some() { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
        let mut path = path.to_owned();
        for _ in 0..=LINKS {
            let (dir, stat) = self.ask(&path, |dir, name| fs::statat(dir, name, follow))?;
            let (parent, name) = split(&path);
            if !fs::FileType::from_raw_mode(stat.st_mode).is_symlink() {
                return Ok(Found { dir, name: name.to_owned(), stat });
            }
            let target = fs::readlinkat(&dir, name, Vec::new())?;
            let target = target.to_str().map_err(|_| Errno::ILSEQ)?;
            // The parent stays as it was asked for: what it leads to is found out by who opens it, and
            // `..` in the target must count from there.
            path = if target.starts_with('/') { target.to_owned() } else { format!("{parent}/{target}") };
        }
        Err(Errno::LOOP)
    }

    /// Finds where a path leads, in directories opened anew: what is changed there must not depend on what was seen before.
    pub(super) fn place(&self, path: &str) -> std::result::Result<Place, Errno> {
        let mut path = path.to_owned();
        for _ in 0..=LINKS {
            let (parent, name) = split(&path);
            if name.is_empty() {
                return Err(Errno::INVAL);
            }
            let dir = self.open_dir(parent)?;
            let stat = match fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(stat),
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(errno),
            };
            if !stat.as_ref().is_some_and(|stat| fs::FileType::from_raw_mode(stat.st_mode).is_symlink()) {
                return Ok(Place { name: name.to_owned(), dir, stat, path });
            }
            let target = fs::readlinkat(&dir, name, Vec::new())?;
            let target = target.to_str().map_err(|_| Errno::ILSEQ)?;
            path = if target.starts_with('/') { target.to_owned() } else { format!("{parent}/{target}") };
        }
        Err(Errno::LOOP)
    }

    fn open_dir(&self, path: &str) -> std::result::Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "/" } else { path };
        match &self.below {
            Some(below) => below.dir(path),
            None => fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()),
        }
    }

    fn open(&self, dir: &OwnedFd, name: &str) -> std::result::Result<OwnedFd, Errno> {
        let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        if self.below.is_some() {
            flags |= OFlags::NOFOLLOW;
        }
        fs::openat(dir, name, flags, Mode::empty())
    }

    /// Opens a regular file of any size.
    fn open_file(&self, path: &str) -> std::result::Result<(OwnedFd, fs::Stat), Miss> {
        let found = self.find(path)?;
        match file_type(&found.stat) {
            FileType::File => Ok((self.open(&found.dir, &found.name)?, found.stat)),
            FileType::Dir => Err(Miss::Unknown(Why::Io("is a directory".into()))),
            _ => Err(Miss::Unknown(Why::Io("is no regular file".into()))),
        }
    }

    /// Opens a file of sysfs whose directory was just listed, which showed that it is a regular file.
    fn open_listed(&self, path: &str) -> Option<OwnedFd> {
        let (parent, name) = split(path);
        let dirs = self.dirs.borrow();
        let dir = dirs.iter().rfind(|open| open.path == parent).filter(|_| is_kernfs(path))?;
        dir.files.binary_search_by(|file| file.as_str().cmp(name)).ok()?;
        self.open(&dir.fd, name).ok()
    }

    /// Reads a file, or its first `most` bytes.
    fn try_read(&self, path: &str, most: Option<usize>) -> std::result::Result<Vec<u8>, Miss> {
        if self.kind == Kind::Live && is_attribute(path) {
            let (_, fd) = self.ask(path, |dir, name| self.open(dir, name))?;
            return self.drain(&fd, most, is_kernfs(path));
        }
        if let Some(fd) = self.open_listed(path) {
            return self.drain(&fd, most, true);
        }
        let (fd, stat) = self.open_file(path)?;
        let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        if size > READ_LIMIT && most.is_none() {
            return Err(Miss::Unknown(Why::TooLarge));
        }
        // procfs says 0 of files that are not empty.
        let enough = [(size > 0).then_some(size), most].into_iter().flatten().min();
        self.drain(&fd, enough, false)
    }

    /// Reads until nothing more comes, `enough` bytes are there, or a short read says that it was the end.
    fn drain(&self, fd: &OwnedFd, enough: Option<usize>, short_is_end: bool) -> std::result::Result<Vec<u8>, Miss> {
        let mut buffer = self.buffer.borrow_mut();
        let mut length = 0;
        loop {
            if length > READ_LIMIT {
                *buffer = Vec::new();
                return Err(Miss::Unknown(Why::TooLarge));
            }
            if buffer.len() < length + CHUNK {
                let more = (buffer.len() * 2).max(length + CHUNK);
                buffer.resize(more, 0);
            }
            let end = enough.map_or(buffer.len(), |enough| enough.min(buffer.len()));
            let Some(space) = buffer.get_mut(length..end) else { break };
            let count = rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut *space))?;
            length += count;
            if count == 0 || (short_is_end && count < PAGE) || enough.is_some_and(|enough| length >= enough) {
                break;
            }
        }
        let bytes = buffer.get(..length).map(<[u8]>::to_vec).unwrap_or_default();
        if buffer.len() > CHUNK * 4 {
            *buffer = Vec::new();
        }
        Ok(bytes)
    }

    /// A digest's result from the cache, or computed and then kept there.
    fn cached(&self, path: &str, digest: &Digest, fd: OwnedFd, stat: &fs::Stat) -> Fact<Vec<u8>> {
        let cache = self.cache.get_or_init(|| Cache::open(&cache::place()?, self.keeps));
        let key = cache::key(digest.name, path, stat);
        if let Some(result) = cache.as_ref().and_then(|cache| cache.get(&key)) {
            return Fact::Known(result);
        }
        let mut file = std::fs::File::from(fd);
        let result = super::compute(digest, &mut file);
        if let (Some(cache), Fact::Known(bytes), Ok(after)) = (cache, &result, fs::fstat(&file)) {
            // Nothing is kept of a file that was written meanwhile.
            if self.keeps && cache::key(digest.name, path, &after) == key {
                cache.put(&key, bytes);
            }
        }
        result
    }

    fn try_entries(&self, path: &str) -> std::result::Result<Vec<String>, Miss> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let (dir, kept) = self.dir(path)?;
        let fd = if kept && self.kind == Kind::Live {
            // It may have been removed and made anew, see `ask`; then the one that was kept shows no names.
            fs::openat(self.open_dir(path)?, ".", flags, Mode::empty())?
        } else {
            fs::openat(&dir, ".", flags, Mode::empty())?
        };
        let mut names = Vec::new();
        let mut files = Vec::new();
        let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 16 << 10];
        let mut entries = RawDir::new(fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() >= ENTRIES_LIMIT {
                return Err(Miss::Unknown(Why::TooLarge));
            }
            let name = String::from_utf8_lossy(name).into_owned();
            if entry.file_type() == fs::FileType::RegularFile {
                files.push(name.clone());
            }
            names.push(name);
        }
        names.sort_unstable();
        files.sort_unstable();
        if let Some(open) = self.dirs.borrow_mut().iter_mut().find(|open| Rc::ptr_eq(&open.fd, &dir)) {
            open.files = files;
        }
        Ok(names)
    }
}

impl Host for Tree {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn label(&self) -> String {
        self.label.clone()
    }

    fn read(&self, path: &str) -> Fact<Vec<u8>> {
        fact(self.try_read(path, None))
    }

    fn read_start(&self, path: &str, most: usize) -> Fact<Vec<u8>> {
        fact(self.try_read(path, Some(most.min(READ_LIMIT))))
    }

    fn link(&self, path: &str) -> Fact<String> {
        let answer = self.ask(path, |dir, name| {
            let mut space = [0; 4096];
            let length = fs::readlinkat_raw(dir, name, &mut space)?;
            Ok(String::from_utf8_lossy(space.get(..length).unwrap_or_default()).into_owned())
        });
        match answer {
            Ok((_, target)) => Fact::Known(target),
            // Something is there, and it is no symbolic link.
            Err(Errno::INVAL) => Fact::Absent,
            Err(errno) => fact(Err(errno)),
        }
    }

    fn entries(&self, dir: &str) -> Fact<Vec<String>> {
        fact(self.try_entries(dir))
    }

    fn stat(&self, path: &str) -> Fact<Stat> {
        fact(self.find(path).map(|found| plain_stat(&found.stat)))
    }

    fn digest(&self, path: &str, digest: &Digest) -> Fact<Vec<u8>> {
        match self.open_file(path) {
            Ok((fd, stat)) if self.kind == Kind::Live => self.cached(path, digest, fd, &stat),
            Ok((fd, _)) => super::compute(digest, &mut std::fs::File::from(fd)),
            Err(miss) => fact(Err(miss)),
        }
    }

    fn query(&self, query: Query) -> Fact<Vec<u8>> {
        match (self.kind, query) {
            (Kind::Live, Query::KernelLog) => super::kernel_log::read(),
            // What runs now is not what is mounted.
            _ => Fact::Unknown(Why::NotRecorded),
        }
    }
}

/// Why there is no answer.
enum Miss {
    Absent,
    Unknown(Why),
}

impl From<Errno> for Miss {
    fn from(errno: Errno) -> Self {
        match errno {
            // ESRCH: the process of a /proc entry has ended.
            Errno::NOENT | Errno::NOTDIR | Errno::SRCH => Miss::Absent,
            Errno::ACCESS | Errno::PERM => Miss::Unknown(Why::NotPermitted),
            other => Miss::Unknown(Why::Io(describe(other))),
        }
    }
}

/// The operating system's words for an error, without Rust's `(os error N)`.
pub(super) fn describe(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

fn fact<T>(answer: std::result::Result<T, impl Into<Miss>>) -> Fact<T> {
    match answer.map_err(Into::into) {
        Ok(value) => Fact::Known(value),
        Err(Miss::Absent) => Fact::Absent,
        Err(Miss::Unknown(why)) => Fact::Unknown(why),
    }
}

/// A path's directory and last component. What ends in no plain name is `.` in itself.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some((dir, name)) if !matches!(name, "" | "." | "..") => (dir, name),
        _ => (path, "."),
    }
}

/// True for files below /sys and /proc that are regular files and cannot block: they are opened without a look first.
/// A process's links to its files, root and directory are no such files.
fn is_attribute(path: &str) -> bool {
    let links = ["/fd/", "/root", "/cwd", "/exe", "/map_files/"];
    path.starts_with("/sys/")
        || path.starts_with("/proc/") && !links.iter().any(|link| path.contains(link)) && !path.contains("/../")
}

/// True for sysfs proper, whose files end with the first read that is shorter than a page. Other file systems
/// are mounted below /sys (debugfs, tracefs, efivarfs, …) of which that is not known.
fn is_kernfs(path: &str) -> bool {
    ["/sys/bus/", "/sys/devices/", "/sys/class/", "/sys/module/", "/sys/kernel/iommu_groups/", "/sys/block/"]
        .iter()
        .any(|start| path.starts_with(start))
}

fn file_type(stat: &fs::Stat) -> FileType {
    match fs::FileType::from_raw_mode(stat.st_mode) {
        fs::FileType::RegularFile => FileType::File,
        fs::FileType::Directory => FileType::Dir,
        fs::FileType::Symlink => FileType::Link,
        _ => FileType::Other,
    }
}

fn plain_stat(stat: &fs::Stat) -> Stat {
    let file_type = file_type(stat);
    Stat {
        file_type,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime: stat.st_mtime,
        dev: (fs::major(stat.st_dev), fs::minor(stat.st_dev)),
        rdev: match file_type {
            FileType::Other => (fs::major(stat.st_rdev), fs::minor(stat.st_rdev)),
            _ => (0, 0),
        },
    }
}

fn mount_error(label: &str, errno: Errno) -> Error {
    let hint = match errno {
        Errno::NOENT => "give the directory where the other system's root is mounted or unpacked",
        Errno::NOTDIR => "a capture is read with --from; --root takes a directory",
        Errno::ACCESS | Errno::PERM => "run the command as root, or as the owner of the directory",
        _ => "check that the file system there is mounted and healthy",
    };
    Error::usage(format!("cannot use {label} as a host's root: {}", describe(errno))).hint(hint)
}

#[cfg(test)]
mod tests;

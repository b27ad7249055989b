//! A directory tree that can be changed: the running machine, or a system mounted below a directory.

mod settle;

use super::files::{self, Disk, open, parent};
use super::gate::{Gate, Open};
use super::{Command, Done, FsKind, HostMut, Lock, Op, Processes, Runner, temporary};
use crate::error::Result;
use crate::host::tree::Place;
use crate::host::{Digest, Fact, Host, Interrupt, Kind, Query, Stat, Tree};
use rustix::fd::OwnedFd;
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use settle::held;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A [`Tree`] with its write side.
pub struct TreeMut {
    tree: Tree,
    root: Option<PathBuf>,
    runner: Box<dyn Runner>,
    gate: Box<dyn Gate>,
    interrupt: Interrupt,
}

impl TreeMut {
    /// The running machine.
    pub fn live() -> TreeMut {
        TreeMut::new(Tree::live().without_writing(), None)
    }

    /// The system whose root is mounted at `dir`. Fails as [`Tree::mounted`].
    pub fn mounted(dir: &Path) -> Result<TreeMut> {
        Ok(TreeMut::new(Tree::mounted(dir)?, Some(dir.to_owned())))
    }

    fn new(tree: Tree, root: Option<PathBuf>) -> TreeMut {
        TreeMut { tree, root, runner: Box::new(Processes), gate: Box::new(Open), interrupt: Interrupt::default() }
    }

    /// As a system that runs, wherever its root is: a container's, or a test's.
    #[must_use]
    pub fn running(mut self) -> TreeMut {
        self.tree = self.tree.running();
        self
    }

    /// With somebody who may ask it to stop.
    #[must_use]
    pub fn heeding(mut self, interrupt: Interrupt) -> TreeMut {
        self.interrupt = interrupt;
        self
    }

    /// With somebody else to run its commands.
    #[must_use]
    pub fn with_runner(mut self, runner: Box<dyn Runner>) -> TreeMut {
        self.runner = runner;
        self
    }

    /// With a gate that every operation passes.
    #[must_use]
    pub fn with_gate(mut self, gate: Box<dyn Gate>) -> TreeMut {
        self.gate = gate;
        self
    }

    fn disk(&self) -> Disk<'_> {
        Disk { gate: self.gate.as_ref() }
    }

    /// Where a path leads, links followed; what has its name may be missing, its directory not.
    fn place(&self, path: &str) -> io::Result<Place> {
        Ok(self.tree.place(path)?)
    }

    fn kind_of(&self, place: &Place) -> io::Result<FsKind> {
        let magic = fs::fstatfs(files::open_dir(&place.dir)?)?.f_type;
        Ok(FsKind::of(u64::try_from(magic).unwrap_or_default(), &format!("{}/", parent(&place.path))))
    }

    /// A name beside another in the same directory.
    fn beside(&self, place: &Place) -> io::Result<Place> {
        let path = temporary(&place.path);
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Place { dir: place.dir.try_clone()?, name, path, stat: None })
    }

    /// Fills a temporary file beside `place` and renames it over.
    fn replace(&self, place: &Place, fill: &dyn Fn(&Disk<'_>, &Place, &mut File) -> io::Result<()>) -> io::Result<()> {
        let disk = self.disk();
        let new = self.beside(place)?;
        let replaced = held(place);
        let made = disk.create(&new).and_then(|mut file| {
            fill(&disk, &new, &mut file)?;
            disk.sync(&new, &file)?;
            self.before_rename(place)?;
            disk.rename(&new, place)?;
            Ok(file)
        });
        if made.is_err() {
            // It may not be there, and the first error is the one that counts.
            let _ = disk.remove(&new);
        }
        self.settle(place, &made?, replaced)
    }

    /// Writes over a file that cannot be replaced.
    fn write_in_place(&self, place: &Place, bytes: &[u8]) -> io::Result<()> {
        let disk = self.disk();
        let mut file = disk.open(place, OFlags::TRUNC)?;
        disk.write(place, &mut file, bytes)?;
        disk.sync(place, &file)
    }

    fn lock_file(&self, path: &str) -> io::Result<(Place, File)> {
        let place = self.place(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd: OwnedFd = fs::openat(&place.dir, &place.name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok((place, File::from(fd)))
    }
}

impl Host for TreeMut {
    fn kind(&self) -> Kind {
        self.tree.kind()
    }

    fn label(&self) -> String {
        self.tree.label()
    }

    fn read(&self, path: &str) -> Fact<Vec<u8>> {
        self.tree.read(path)
    }

    fn read_start(&self, path: &str, most: usize) -> Fact<Vec<u8>> {
        self.tree.read_start(path, most)
    }

    fn link(&self, path: &str) -> Fact<String> {
        self.tree.link(path)
    }

    fn entries(&self, dir: &str) -> Fact<Vec<String>> {
        self.tree.entries(dir)
    }

    fn stat(&self, path: &str) -> Fact<Stat> {
        self.tree.stat(path)
    }

    fn digest(&self, path: &str, digest: &Digest) -> Fact<Vec<u8>> {
        self.tree.digest(path, digest)
    }

    fn query(&self, query: Query) -> Fact<Vec<u8>> {
        self.tree.query(query)
    }
}

impl HostMut for TreeMut {
    fn write(&self, path: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let place = self.place(path)?;
        let attributes = self.kind_of(&place)?.has_attributes();
        let old = place.stat.as_ref().map(|_| open(&place)).transpose()?;
        let written = self.replace(&place, &|disk, new, file| {
            disk.write(new, file, bytes)?;
            match &old {
                _ if !attributes => Ok(()),
                Some(old) => disk.attributes(new, old, file),
                None => disk.mode(new, file, mode),
            }
        });
        match written {
            // A mount point cannot be replaced (rename(2)).
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::BUSY | Errno::XDEV)) && old.is_some() => {
                self.write_in_place(&place, bytes)
            }
            other => other,
        }
    }

    fn make_dir(&self, path: &str, private: bool) -> io::Result<()> {
        let place = self.place(path)?;
        if place.stat.as_ref().is_some_and(|stat| fs::FileType::from_raw_mode(stat.st_mode).is_dir()) {
            return Ok(());
        }
        self.disk().make_dir(&place, if private { 0o700 } else { 0o755 })?;
        self.disk().sync_dir(&place)
    }

    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.place(path)?;
        let disk = self.disk();
        let mut file = disk.open(&place, OFlags::APPEND | OFlags::CREATE)?;
        let length = file.metadata()?.len();
        let added = disk.write(&place, &mut file, bytes).and_then(|()| disk.sync(&place, &file));
        if added.is_err() {
            // The first error is the one that counts.
            let _ = disk.cut(&place, &file, length);
        }
        added?;
        if place.stat.is_none() { disk.sync_dir(&place) } else { Ok(()) }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let place = match self.place(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if self.disk().remove(&place)? { self.disk().sync_dir(&place) } else { Ok(()) }
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let place = match self.place(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if place.stat.is_none() {
            return Ok(());
        }
        self.disk().remove_dir(&place)?;
        self.disk().sync_dir(&place)
    }

    fn rename(&self, from: &str, to: &str, as_before: bool) -> io::Result<()> {
        let (disk, from, to) = (self.disk(), self.place(from)?, self.place(to)?);
        let file = open(&from)?;
        if as_before && to.stat.is_some() && self.kind_of(&to)?.has_attributes() {
            disk.attributes(&from, open(&to)?, &file)?;
        }
        disk.sync(&from, &file)?;
        self.before_rename(&to)?;
        let replaced = held(&to);
        disk.rename(&from, &to)?;
        // If both are names of one file, rename(2) does nothing.
        disk.remove(&from)?;
        self.settle(&to, &file, replaced)
    }

    fn keep(&self, path: &str, second: &str) -> io::Result<()> {
        let (disk, place, other) = (self.disk(), self.place(path)?, self.place(second)?);
        if self.kind_of(&place)?.has_links() {
            disk.remove(&other)?;
            match disk.link(&place, &other) {
                Ok(()) => return disk.sync_dir(&other),
                Err(error)
                    if matches!(Errno::from_io_error(&error), Some(Errno::PERM | Errno::NOTSUP | Errno::MLINK)) => {}
                Err(error) => return Err(error),
            }
        }
        self.copy(path, second)
    }

    fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        let attributes = self.kind_of(&to)?.has_attributes();
        self.replace(&to, &|disk, new, file| {
            let mut old = open(&from)?;
            disk.fill(new, &mut old, file)?;
            if attributes { disk.attributes(new, &old, file) } else { Ok(()) }
        })
    }

    fn sync_all(&self, path: &str) -> io::Result<()> {
        match self.place(&format!("{path}/.")).or_else(|_| self.place(path)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
            place => place.and_then(|place| self.bring_in_place(self.kind_of(&place)?, &place)),
        }
    }

    fn sha256(&self, path: &str) -> io::Result<Option<String>> {
        let place = match self.place(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            other => other?,
        };
        if place.stat.is_none() {
            return Ok(None);
        }
        let (mut file, mut hash, mut buffer) = (open(&place)?, Sha256::new(), vec![0; 256 << 10]);
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()));
            }
            hash.update(buffer.get(..count).unwrap_or_default());
        }
    }

    fn real(&self, path: &str) -> io::Result<String> {
        Ok(self.place(path)?.path)
    }

    fn writable(&self, dir: &str) -> io::Result<()> {
        let place = self.place(&format!("{dir}/."))?;
        Ok(fs::accessat(&place.dir, ".", fs::Access::WRITE_OK | fs::Access::EXEC_OK, fs::AtFlags::EACCESS)?)
    }

    fn free_space(&self, dir: &str) -> io::Result<u64> {
        let stat = fs::fstatvfs(files::open_dir(&self.place(&format!("{dir}/."))?.dir)?)?;
        Ok(stat.f_bfree.saturating_mul(stat.f_frsize))
    }

    fn fs_kind(&self, dir: &str) -> io::Result<FsKind> {
        self.kind_of(&self.place(&format!("{dir}/."))?)
    }

    fn write_attribute(&self, path: &str, value: &str) -> io::Result<()> {
        self.gate.pass(&Op::SetAttribute(path, value)).map_err(|stop| stop.error)?;
        self.runner.write_attribute(self.root.as_deref(), path, value)
    }

    fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    fn has_program(&self, program: &str) -> bool {
        self.runner.has_program(&self.tree, program)
    }

    fn run(&self, command: &Command<'_>, progress: &mut dyn FnMut(&str)) -> io::Result<Done> {
        self.gate.pass(&Op::Run(command.argv)).map_err(|stop| stop.error)?;
        self.runner.run(self.root.as_deref(), command, progress)
    }

    fn lock(&self, path: &str) -> io::Result<Option<Lock>> {
        let (_, file) = self.lock_file(path)?;
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn lock_record(&self, path: &str) -> io::Result<Option<Lock>> {
        let (_, file) = self.lock_file(path)?;
        match fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(Errno::WOULDBLOCK | Errno::ACCESS) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

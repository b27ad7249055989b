//! The single operations: each passes the gate, then happens.

use super::attributes;
use super::gate::{Gate, Op};
use crate::host::tree::Place;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};

/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// Does operations if the gate lets them pass.
pub(super) struct Disk<'a> {
    pub(super) gate: &'a dyn Gate,
}

impl Disk<'_> {
    fn pass(&self, op: &Op<'_>) -> io::Result<()> {
        self.gate.pass(op).map_err(|stop| stop.error)
    }

    /// Makes an empty file in the place of whatever has its name.
    pub(super) fn create(&self, place: &Place) -> io::Result<File> {
        self.remove(place)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.pass(&Op::Write(&place.path, b""))?;
        Ok(File::from(fs::openat(&place.dir, &place.name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Opens a file that is written without being replaced: at its end, or from its start with nothing left of it.
    pub(super) fn open(&self, place: &Place, flags: OFlags) -> io::Result<File> {
        self.pass(&Op::Write(&place.path, b""))?;
        let flags = flags | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        Ok(File::from(fs::openat(&place.dir, &place.name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    pub(super) fn write(&self, place: &Place, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        match self.gate.pass(&Op::Write(&place.path, bytes)) {
            Ok(()) => file.write_all(bytes),
            Err(stop) => {
                file.write_all(bytes.get(..stop.after).unwrap_or(bytes))?;
                Err(stop.error)
            }
        }
    }

    /// Takes away what was added to a file.
    pub(super) fn cut(&self, place: &Place, file: &File, length: u64) -> io::Result<()> {
        self.pass(&Op::Write(&place.path, b""))?;
        file.set_len(length)?;
        self.sync(place, file)
    }

    /// Copies all of an open file.
    pub(super) fn fill(&self, place: &Place, from: &mut File, to: &mut File) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.write(place, to, buffer.get(..count).unwrap_or_default())?;
        }
    }

    pub(super) fn attributes(&self, place: &Place, from: impl AsFd, to: &File) -> io::Result<()> {
        self.pass(&Op::Attributes(&place.path))?;
        Ok(attributes::copy(from, to)?)
    }

    pub(super) fn mode(&self, place: &Place, file: &File, mode: u32) -> io::Result<()> {
        self.pass(&Op::Attributes(&place.path))?;
        Ok(attributes::set_mode(file, mode)?)
    }

    pub(super) fn sync(&self, place: &Place, file: &File) -> io::Result<()> {
        self.pass(&Op::Sync(&place.path))?;
        file.sync_all()
    }

    /// Syncs the directory that holds a name.
    pub(super) fn sync_dir(&self, place: &Place) -> io::Result<()> {
        self.pass(&Op::Sync(parent(&place.path)))?;
        let dir = open_dir(&place.dir)?;
        match fs::fsync(&dir) {
            // A file system that has nothing to sync says so.
            Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    pub(super) fn rename(&self, from: &Place, to: &Place) -> io::Result<()> {
        self.pass(&Op::Rename(&from.path, &to.path))?;
        Ok(fs::renameat(&from.dir, &from.name, &to.dir, &to.name)?)
    }

    pub(super) fn link(&self, from: &Place, to: &Place) -> io::Result<()> {
        self.pass(&Op::Link(&from.path, &to.path))?;
        Ok(fs::linkat(&from.dir, &from.name, &to.dir, &to.name, AtFlags::empty())?)
    }

    /// Removes a name; not there is no error, and then nothing is done.
    pub(super) fn remove(&self, place: &Place) -> io::Result<bool> {
        if matches!(fs::statat(&place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT)) {
            return Ok(false);
        }
        self.pass(&Op::Remove(&place.path))?;
        fs::unlinkat(&place.dir, &place.name, AtFlags::empty())?;
        Ok(true)
    }

    pub(super) fn make_dir(&self, place: &Place, mode: u32) -> io::Result<()> {
        self.pass(&Op::MakeDir(&place.path))?;
        fs::mkdirat(&place.dir, &place.name, Mode::from_raw_mode(mode))?;
        // Whatever the umask of the shell was.
        match fs::chmodat(&place.dir, &place.name, Mode::from_raw_mode(mode), AtFlags::empty()) {
            Ok(()) | Err(Errno::PERM | Errno::NOTSUP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn remove_dir(&self, place: &Place) -> io::Result<()> {
        self.pass(&Op::RemoveDir(&place.path))?;
        match fs::unlinkat(&place.dir, &place.name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT | Errno::NOTDIR | Errno::BUSY) | Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The directory part of a path.
pub(super) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some((dir, _)) if !dir.is_empty() => dir,
        _ => "/",
    }
}

/// Opens a directory for more than lookups.
pub(super) fn open_dir(dir: &OwnedFd) -> Result<OwnedFd, Errno> {
    fs::openat(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a file of a place for reading, without waiting for anybody.
pub(super) fn open(place: &Place) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(fs::openat(&place.dir, &place.name, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("is no regular file")) }
}

//! Opens directories below a root directory, so that no symbolic link leads out of it.
//!
//! Goes in: a root and a path within it. Comes out: an `O_PATH` descriptor of the directory there.
//! openat2(2) with `RESOLVE_IN_ROOT` does it in one call (Linux 5.6); where that is missing or forbidden
//! (EL 8's 4.18, seccomp filters of old container runtimes) each component is opened by itself.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat};
use rustix::io::Errno;
use std::cell::Cell;
use std::collections::VecDeque;

/// The most symbolic links that are followed for one path, as in the kernel (`MAXSYMLINKS`, `include/linux/namei.h`).
pub(super) const LINKS: usize = 40;

/// Flags that make a descriptor good for looking up names and nothing else.
const LOOKUP: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// A directory that is taken for `/`.
pub(super) struct Beneath {
    root: OwnedFd,
    /// False once openat2 has turned out to be missing or forbidden.
    openat2: Cell<bool>,
}

impl Beneath {
    pub(super) fn new(root: OwnedFd) -> Self {
        Beneath { root, openat2: Cell::new(true) }
    }

    /// Never uses openat2, as on a kernel that has none.
    #[cfg(test)]
    pub(super) fn without_openat2(root: OwnedFd) -> Self {
        Beneath { root, openat2: Cell::new(false) }
    }

    /// Opens the directory at `path` for lookups.
    pub(super) fn dir(&self, path: &str) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 4;
        while self.openat2.get() {
            let path = if path.is_empty() { "/" } else { path };
            match openat2(&self.root, path, LOOKUP | OFlags::DIRECTORY, Mode::empty(), resolve) {
                // An O_PATH open of a directory is never EPERM by itself: that is a filter's answer.
                Err(Errno::NOSYS | Errno::PERM) => self.openat2.set(false),
                // Something was renamed meanwhile and `..` could have led out; openat2(2) says to try again.
                Err(Errno::AGAIN) if tries > 0 => tries -= 1,
                Err(Errno::AGAIN) => break,
                other => return other,
            }
        }
        self.walk(path)
    }

    /// Resolves component by component. `..` goes back along the descriptors that led here, so it cannot leave.
    fn walk(&self, path: &str) -> Result<OwnedFd, Errno> {
        let mut dirs: Vec<OwnedFd> = Vec::new();
        let mut ahead: VecDeque<Vec<u8>> = components(path.as_bytes());
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == b".." {
                dirs.pop();
                continue;
            }
            let at: BorrowedFd<'_> = dirs.last().map_or(self.root.as_fd(), AsFd::as_fd);
            let found = openat(at, name.as_slice(), LOOKUP | OFlags::NOFOLLOW, Mode::empty())?;
            match FileType::from_raw_mode(fstat(&found)?.st_mode) {
                FileType::Directory => dirs.push(found),
                FileType::Symlink => {
                    links += 1;
                    if links > LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = readlinkat(&found, "", Vec::new())?.into_bytes();
                    if target.first() == Some(&b'/') {
                        dirs.clear();
                    }
                    for name in components(&target).into_iter().rev() {
                        ahead.push_front(name);
                    }
                }
                _ => return Err(Errno::NOTDIR),
            }
        }
        match dirs.pop() {
            Some(dir) => Ok(dir),
            None => openat(&self.root, ".", LOOKUP | OFlags::DIRECTORY, Mode::empty()),
        }
    }
}

fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec).collect()
}

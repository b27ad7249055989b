//! Results of digests, kept between runs, so that an initramfs image is unpacked once.
//!
//! Goes in: a digest's name, and path, size, times and inode of the file that it was computed over. Comes out: the
//! result, if exactly that file was seen before. It is only ever a shortcut: a cache that is missing, full, damaged
//! or not ours alone is passed by in silence. It never leaves its own directory.

use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, RawDir, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

/// First line of each cache file.
const MAGIC: &str = "vfioneer-cache 1";
/// The most that one result may take, in bytes.
const RESULT_LIMIT: usize = 16 << 20;
/// Results that were not used for this many seconds are dropped: kernels that were removed long ago.
const UNUSED: i64 = 90 * 24 * 3600;
/// Using a result is noted at most this often, in seconds.
const NOTED: i64 = 24 * 3600;
/// The most results that are kept.
const RESULTS: usize = 512;

/// The directory with the results.
pub(super) struct Cache {
    dir: OwnedFd,
}

/// Says which file it was, and in which state.
pub(super) fn key(name: &str, path: &str, stat: &fs::Stat) -> String {
    format!(
        "{name}\n{}\n{} {} {}.{:09} {}.{:09}",
        path.escape_default(),
        stat.st_size,
        stat.st_ino,
        stat.st_mtime,
        stat.st_mtime_nsec,
        stat.st_ctime,
        stat.st_ctime_nsec
    )
}

/// Where this user's cache is; none if there is no such place.
pub(super) fn place() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/var/cache/vfioneer".into());
    }
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(caches.join("vfioneer"))
}

impl Cache {
    /// Opens the directory, made if `make` says so. Gives nothing if anybody else could have written in it.
    pub(super) fn open(path: &Path, make: bool) -> Option<Cache> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match fs::openat(CWD, path, flags, Mode::empty()) {
            Err(Errno::NOENT) if make => {
                if let Some(parent) = path.parent() {
                    // Only the last two can be missing: ~/.cache of a new user, and vfioneer in it.
                    let _ = fs::mkdirat(CWD, parent, Mode::RWXU);
                }
                fs::mkdirat(CWD, path, Mode::RWXU).ok()?;
                fs::openat(CWD, path, flags, Mode::empty()).ok()?
            }
            other => other.ok()?,
        };
        ours(&fs::fstat(&dir).ok()?).then_some(Cache { dir })
    }

    /// The result for a key.
    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let name = file_name(key);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.dir, &name, flags, Mode::empty()).ok()?;
        let stat = fs::fstat(&fd).ok()?;
        let regular = fs::FileType::from_raw_mode(stat.st_mode).is_file();
        if !regular || !ours(&stat) || usize::try_from(stat.st_size).ok()? > RESULT_LIMIT + 4096 {
            return None;
        }
        let mut data = Vec::new();
        std::io::Read::read_to_end(&mut std::fs::File::from(fd), &mut data).ok()?;
        let stored = data.strip_prefix(header(key).as_bytes())?;
        let (sum, result) = stored.split_at_checked(65)?;
        if sum != format!("{}\n", hash(result)).as_bytes() {
            return None;
        }
        if now() - stat.st_mtime > NOTED {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            let _ = fs::utimensat(&self.dir, &name, &times, AtFlags::SYMLINK_NOFOLLOW);
        }
        Some(result.to_vec())
    }

    /// Keeps a result. The last one over the same path is replaced.
    pub(super) fn put(&self, key: &str, result: &[u8]) {
        if result.len() > RESULT_LIMIT {
            return;
        }
        self.drop_unused();
        let temporary = format!("tmp-{}", std::process::id());
        if self.write(&temporary, key, result).is_err() {
            let _ = fs::unlinkat(&self.dir, &temporary, AtFlags::empty());
        }
    }

    fn write(&self, temporary: &str, key: &str, result: &[u8]) -> std::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let _ = fs::unlinkat(&self.dir, temporary, AtFlags::empty());
        let fd = fs::openat(&self.dir, temporary, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = std::fs::File::from(fd);
        std::io::Write::write_all(&mut file, header(key).as_bytes())?;
        std::io::Write::write_all(&mut file, format!("{}\n", hash(result)).as_bytes())?;
        std::io::Write::write_all(&mut file, result)?;
        fs::renameat(&self.dir, temporary, &self.dir, file_name(key))?;
        Ok(())
    }

    /// Removes what was not used for long, left-overs of runs that were killed, and, of too many, the oldest.
    fn drop_unused(&self) {
        let mut results = Vec::new();
        for name in self.names().unwrap_or_default() {
            let Ok(stat) = fs::statat(&self.dir, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let age = now() - stat.st_mtime;
            if name.ends_with(".digest") && age < UNUSED {
                results.push((age, name));
            } else if name.ends_with(".digest") || name.starts_with("tmp-") && age > NOTED {
                let _ = fs::unlinkat(&self.dir, &name, AtFlags::empty());
            }
        }
        results.sort();
        for (_, name) in results.iter().skip(RESULTS - 1) {
            let _ = fs::unlinkat(&self.dir, name, AtFlags::empty());
        }
    }

    fn names(&self) -> Result<Vec<String>, Errno> {
        let fd = fs::openat(&self.dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 8 << 10];
        let mut dir = RawDir::new(fd, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = dir.next() {
            if let Ok(name) = entry?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

/// Nobody but this user (or root) can have written it.
fn ours(stat: &fs::Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0
}

fn header(key: &str) -> String {
    format!("{MAGIC}\n{key}\n")
}

/// By the digest's name and the path, so that a new state of a file replaces the old one.
fn file_name(key: &str) -> String {
    let what: Vec<&str> = key.split('\n').take(2).collect();
    format!("{}.digest", hash(what.join("\n").as_bytes()))
}

fn hash(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn files(dir: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn keeps_results_and_replaces_them() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".cache/vfioneer");
        assert!(Cache::open(&path, false).is_none());
        let cache = Cache::open(&path, true).unwrap();
        cache.put("initramfs/1\n/boot/a\n1", b"one");
        cache.put("initramfs/1\n/boot/b\n1", b"");
        assert_eq!(cache.get("initramfs/1\n/boot/a\n1").as_deref(), Some(b"one".as_slice()));
        assert_eq!(cache.get("initramfs/1\n/boot/b\n1").as_deref(), Some(b"".as_slice()));
        assert_eq!(cache.get("initramfs/1\n/boot/a\n2"), None);
        cache.put("initramfs/1\n/boot/a\n2", b"two");
        assert_eq!(cache.get("initramfs/1\n/boot/a\n1"), None);
        assert_eq!(cache.get("initramfs/1\n/boot/a\n2").as_deref(), Some(b"two".as_slice()));
        assert_eq!(files(&path).len(), 2);
        for file in files(&path) {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn ignores_what_is_damaged_or_not_ours() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("vfioneer");
        let cache = Cache::open(&path, true).unwrap();
        let key = "x/1\n/f\n1";
        cache.put(key, b"result");
        let file = files(&path).remove(0);
        let whole = std::fs::read(&file).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&file, &whole[..cut]).unwrap();
            assert_eq!(cache.get(key), None, "{cut}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(cache.get(key), None, "{at}");
        }
        std::fs::write(&file, &whole).unwrap();
        assert!(cache.get(key).is_some());
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
        assert_eq!(cache.get(key), None);
        std::fs::remove_file(&file).unwrap();
        let elsewhere = home.path().join("elsewhere");
        std::fs::write(&elsewhere, &whole).unwrap();
        symlink(&elsewhere, &file).unwrap();
        assert_eq!(cache.get(key), None);
        cache.put(key, b"result");
        assert_eq!(std::fs::read(&elsewhere).unwrap(), whole);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Cache::open(&path, true).is_none());
        symlink(&path, home.path().join("link")).unwrap();
        assert!(Cache::open(&home.path().join("link"), true).is_none());
        assert!(Cache::open(&elsewhere, true).is_none());
        assert!(Cache::open(Path::new("/proc/none/vfioneer"), true).is_none());
    }

    #[test]
    fn old_results_are_dropped() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path(), false).unwrap();
        cache.put("x/1\n/old\n1", b"old");
        let old = files(home.path()).remove(0);
        let past = std::time::SystemTime::now() - std::time::Duration::from_secs(UNUSED as u64 + 60);
        std::fs::File::options().write(true).open(&old).unwrap().set_modified(past).unwrap();
        cache.put("x/1\n/new\n1", b"new");
        assert_eq!(files(home.path()).len(), 1);
        assert_eq!(cache.get("x/1\n/new\n1").as_deref(), Some(b"new".as_slice()));
    }
}

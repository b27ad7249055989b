//! Writes a file that the user asked for by name, and gives what only the running machine has:
//! random bytes, date and time. Nothing else of a host is ever written here.

use crate::error::{Error, Result};
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// How much of a file is looked at to see what it is.
const START: u64 = 64 << 10;
/// The most links that are followed; the kernel's own limit.
const LINKS: usize = 40;

/// Refuses if `path` is there and `replace` does not allow that, and what is no regular file in any case.
pub fn check_free(path: &Path, replace: bool) -> Result<()> {
    match no_file(path) {
        Some(what) => Err(Error::refused(format!("{} is {what}", path.display())).hint("give the name of a new file")),
        None if !replace && is_there(path) => Err(there(path)),
        None => Ok(()),
    }
}

/// What stands at a path if it is no regular file, links followed; `None` for a file, or nothing.
pub fn no_file(path: &Path) -> Option<&'static str> {
    let stat = fs::statat(CWD, path, AtFlags::empty()).ok()?;
    match fs::FileType::from_raw_mode(stat.st_mode) {
        fs::FileType::RegularFile => None,
        fs::FileType::Directory => Some("a directory"),
        fs::FileType::Fifo => Some("a FIFO"),
        fs::FileType::Socket => Some("a socket"),
        _ => Some("a device"),
    }
}

/// True if two paths lead to one file.
pub fn same_file(one: &Path, other: &Path) -> bool {
    let id = |path| fs::statat(CWD, path, AtFlags::empty()).ok().map(|stat| (stat.st_dev, stat.st_ino));
    id(one).is_some_and(|one| id(other) == Some(one))
}

/// Where a path leads: the name behind its links, whether anything is there or not.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn target(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let Ok(next) = std::fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    path
}

/// A path as it can be named from anywhere.
pub fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}

/// The first bytes of a regular file; `None` if there is none that can be read.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn start(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(START).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// True if anything is at a path, be it a link.
pub fn is_there(path: &Path) -> bool {
    fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Makes a folder, unless one is there.
pub fn make_folder(path: &Path) -> Result<()> {
    match no_file(path) {
        Some("a directory") => return Ok(()),
        Some(what) => {
            return Err(Error::refused(format!("{} is {what}", path.display())).hint("give the name of a new folder"));
        }
        None if is_there(path) => {
            return Err(Error::refused(format!("{} is there already, and no folder", path.display()))
                .hint("give the name of a new folder"));
        }
        None => {}
    }
    fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)).map_err(|errno| {
        Error::refused(format!("cannot make the folder {}: {}", path.display(), super::tree::describe(errno)))
            .hint("give one in a directory that exists, has room, and that you may write to")
    })
}

/// Writes a file whole or not at all: a temporary one beside it, then renamed into place.
pub fn write(path: &Path, bytes: &[u8], mode: u32, replace: bool) -> Result<()> {
    check_free(path, replace)?;
    let Some(name) = path.file_name() else {
        return Err(Error::refused(format!("{} is no name of a file", path.display())));
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let written = put(&temporary, bytes, mode).and_then(|()| move_to(&temporary, path, replace));
    if let Err(errno) = written {
        let _ = fs::unlinkat(CWD, &temporary, AtFlags::empty());
        if errno == Errno::EXIST {
            return Err(there(path));
        }
        return Err(Error::refused(format!("cannot write {}: {}", path.display(), super::tree::describe(errno)))
            .hint("give a file in a directory that exists, has room, and that you may write to"));
    }
    Ok(())
}

fn put(temporary: &Path, bytes: &[u8], mode: u32) -> std::result::Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(CWD, temporary, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = std::fs::File::from(fd);
    let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    file.write_all(bytes).map_err(io)?;
    file.sync_all().map_err(io)?;
    // FAT and some network file systems keep no modes; the file is there all the same.
    let _ = fs::fchmod(&file, Mode::from_raw_mode(mode));
    Ok(())
}

fn move_to(temporary: &Path, path: &Path, replace: bool) -> std::result::Result<(), Errno> {
    if replace {
        return fs::renameat(CWD, temporary, CWD, path);
    }
    match fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        // A file system that cannot do both at once; it was looked for just before.
        Err(Errno::INVAL | Errno::NOSYS) => fs::renameat(CWD, temporary, CWD, path),
        other => other,
    }
}

fn there(path: &Path) -> Error {
    Error::refused(format!("{} is there already", path.display())).hint("give another name, or --force to replace it")
}

/// Bytes that nobody can guess.
pub fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map(|()| bytes)
        .map_err(|error| Error::refused(format!("cannot read /dev/urandom: {error}")))
}

/// Today in UTC, `YYYY-MM-DD`.
pub fn today() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    date(since.map_or(0, |since| since.as_secs() / 86_400))
}

/// This moment in UTC, `YYYY-MM-DDThh:mm:ssZ`.
pub fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{}T{hours:02}:{minutes:02}:{:02}Z", date(seconds / 86_400), seconds % 60)
}

/// The Gregorian date of a day counted from 1970-01-01.
fn date(mut days: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn dates_are_right() {
        for (day, text) in [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (19_723, "2024-01-01")] {
            assert_eq!(date(day), text);
        }
        assert_eq!(date(20_088), "2024-12-31");
        assert_eq!(date(20_089), "2025-01-01");
    }

    #[test]
    fn folders_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        make_folder(&path).unwrap();
        make_folder(&path).unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        symlink("nowhere", dir.path().join("link")).unwrap();
        for bad in ["file", "link", "none/new", "file/new"] {
            assert_eq!(make_folder(&dir.path().join(bad)).unwrap_err().exit_code(), 3, "{bad}");
        }
    }

    #[test]
    fn files_are_written_whole_and_replaced_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.tar.zst");
        write(&path, b"one", 0o600, false).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let error = write(&path, b"two", 0o644, false).unwrap_err();
        assert_eq!((error.exit_code(), std::fs::read(&path).unwrap().as_slice()), (3, b"one".as_slice()));
        write(&path, b"two", 0o644, true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        // A link is replaced itself; what it leads to is not written.
        symlink(&path, dir.path().join("link")).unwrap();
        assert!(write(&dir.path().join("link"), b"three", 0o644, false).is_err());
        write(&dir.path().join("link"), b"three", 0o644, true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        for bad in ["none/file", ".", "host.tar.zst/x"] {
            let error = write(&dir.path().join(bad), b"x", 0o644, true).unwrap_err();
            assert_eq!(error.exit_code(), 3, "{bad}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        // What is no file is never replaced, by way of a link neither.
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        symlink("pipe", dir.path().join("to-pipe")).unwrap();
        for name in ["pipe", "to-pipe"] {
            let error = write(&dir.path().join(name), b"x", 0o644, true).unwrap_err();
            assert_eq!((error.exit_code(), error.message.ends_with("is a FIFO")), (3, true), "{name}");
        }
        assert_eq!(no_file(&pipe), Some("a FIFO"));
        assert_eq!((target(&dir.path().join("to-pipe")), no_file(&path)), (pipe, None));
        assert_ne!(random().unwrap(), random().unwrap());
    }
}

//! Real files in a temporary directory, real processes.

use super::*;
use crate::host::{Fact, Host};
use std::cell::RefCell;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

fn host() -> (tempfile::TempDir, TreeMut) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("etc")).unwrap();
    let host = TreeMut::mounted(dir.path()).unwrap();
    (dir, host)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_keeps_its_mode_and_the_link_that_leads_to_it() {
    let (dir, host) = host();
    let etc = dir.path().join("etc");
    host.write("/etc/new", b"one", 0o640).unwrap();
    assert_eq!(std::fs::metadata(etc.join("new")).unwrap().mode() & 0o7777, 0o640);
    std::fs::set_permissions(etc.join("new"), PermissionsExt::from_mode(0o751)).unwrap();
    // Absolute within the host, not on this machine.
    symlink("/etc/new", etc.join("link")).unwrap();
    host.write("/etc/link", b"two", 0o600).unwrap();
    assert_eq!(std::fs::read(etc.join("new")).unwrap(), b"two");
    assert_eq!(std::fs::metadata(etc.join("new")).unwrap().mode() & 0o7777, 0o751);
    assert!(std::fs::symlink_metadata(etc.join("link")).unwrap().is_symlink());
    assert_eq!(host.real("/etc/link").unwrap(), "/etc/new");
    host.remove("/etc/link").unwrap();
    host.remove("/etc/link").unwrap();
    assert_eq!(names(&etc), ["link"]);
    // What it led to comes back under its name.
    host.write("/etc/link", b"three", 0o644).unwrap();
    assert_eq!(names(&etc), ["link", "new"]);
}

#[test]
fn extended_attributes_stay() {
    let (dir, host) = host();
    let path = dir.path().join("etc/labelled");
    std::fs::write(&path, "x").unwrap();
    let set = rustix::fs::setxattr(&path, "user.label", b"system_u", rustix::fs::XattrFlags::empty());
    if set == Err(rustix::io::Errno::NOTSUP) {
        return;
    }
    set.unwrap();
    host.write("/etc/labelled", b"y", 0o644).unwrap();
    host.copy("/etc/labelled", "/etc/copy").unwrap();
    for name in ["etc/labelled", "etc/copy"] {
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(dir.path().join(name), "user.label", value.as_mut_slice()).unwrap();
        assert_eq!(&value[..length], b"system_u");
    }
}

#[test]
fn both_names_of_one_file_come_down_to_one() {
    let (dir, host) = host();
    host.write("/etc/image", b"old", 0o600).unwrap();
    let old = kept("/etc/image");
    host.keep("/etc/image", &old).unwrap();
    host.keep("/etc/image", &old).unwrap();
    assert_eq!(names(&dir.path().join("etc")), [".image.vfioneer-old", "image"]);
    host.rename(&old, "/etc/image", false).unwrap();
    assert_eq!(names(&dir.path().join("etc")), ["image"]);
    host.keep("/etc/image", &old).unwrap();
    host.write(&temporary("/etc/image"), b"new", 0o644).unwrap();
    host.rename(&temporary("/etc/image"), "/etc/image", true).unwrap();
    assert_eq!(std::fs::metadata(dir.path().join("etc/image")).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(host.read("/etc/image"), Fact::Known(b"new".to_vec()));
    host.rename(&old, "/etc/image", false).unwrap();
    assert_eq!(host.read("/etc/image"), Fact::Known(b"old".to_vec()));
    assert_eq!(
        host.sha256("/etc/image").unwrap().unwrap(),
        "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"
    );
    assert_eq!(host.sha256("/etc/none/x").unwrap(), None);
}

#[test]
fn directories_that_others_use_stay() {
    let (dir, host) = host();
    host.make_dir("/etc/a", false).unwrap();
    host.make_dir("/etc/a", false).unwrap();
    host.write("/etc/a/file", b"", 0o644).unwrap();
    host.remove_dir("/etc/a").unwrap();
    assert_eq!(names(&dir.path().join("etc/a")), ["file"]);
    host.remove("/etc/a/file").unwrap();
    host.remove_dir("/etc/a").unwrap();
    host.remove_dir("/etc/a").unwrap();
    assert!(names(&dir.path().join("etc")).is_empty());
    assert_eq!(host.write("/etc/a/file", b"", 0o644).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn appended_lines_follow_each_other() {
    let (dir, host) = host();
    host.append("/etc/journal", b"one\n").unwrap();
    host.append("/etc/journal", b"two\n").unwrap();
    let path = dir.path().join("etc/journal");
    assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
    assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o7777, 0o600);
}

/// Remembers what passed, and lets so many operations pass.
struct Counting {
    seen: Rc<RefCell<Vec<String>>>,
    most: usize,
}

impl Gate for Counting {
    fn pass(&self, op: &Op<'_>) -> Result<(), Stop> {
        let mut seen = self.seen.borrow_mut();
        if seen.len() == self.most {
            return Err(Stop { error: std::io::Error::other("stopped"), after: 2 });
        }
        seen.push(format!("{op:?}"));
        Ok(())
    }
}

#[test]
fn a_write_that_ends_half_way_leaves_the_file_as_it_was() {
    let mut stops = 0;
    for most in 0..20 {
        let (dir, host) = host();
        host.write("/etc/file", b"before", 0o644).unwrap();
        let seen = Rc::default();
        let host = host.with_gate(Box::new(Counting { seen: Rc::clone(&seen), most }));
        let written = host.write("/etc/file", b"after", 0o644);
        let now = std::fs::read(dir.path().join("etc/file")).unwrap();
        if seen.borrow().iter().any(|op| op.starts_with("Rename")) {
            assert_eq!(now, b"after", "{most}");
        } else {
            assert_eq!(now, b"before", "{most}");
        }
        stops += usize::from(written.is_err());
    }
    // Create, fill, attributes, sync, rename, sync of the directory.
    assert_eq!(stops, 6);
}

#[test]
fn a_mount_point_is_written_in_place() {
    let (dir, host) = host();
    std::fs::write(dir.path().join("etc/mounted"), "old").unwrap();
    struct Busy;
    impl Gate for Busy {
        fn pass(&self, op: &Op<'_>) -> Result<(), Stop> {
            match op {
                // As rename(2) of something onto a mount point.
                Op::Rename(..) => Err(Stop { error: rustix::io::Errno::BUSY.into(), after: 0 }),
                _ => Ok(()),
            }
        }
    }
    let inode = std::fs::metadata(dir.path().join("etc/mounted")).unwrap().ino();
    let host = host.with_gate(Box::new(Busy));
    host.write("/etc/mounted", b"new", 0o644).unwrap();
    assert_eq!(host.read("/etc/mounted"), Fact::Known(b"new".to_vec()));
    assert_eq!(std::fs::metadata(dir.path().join("etc/mounted")).unwrap().ino(), inode);
    assert_eq!(names(&dir.path().join("etc")), ["mounted"]);
}

#[test]
fn locks_exclude_each_other_and_last_as_long_as_the_commands() {
    let (dir, host) = host();
    let other = TreeMut::mounted(dir.path()).unwrap();
    let lock = host.lock("/etc/lock").unwrap().unwrap();
    assert!(other.lock("/etc/lock").unwrap().is_none());
    // A command that goes on after its parent holds the lock, too: this one until somebody writes to the FIFO.
    let fifo = dir.path().join("etc/fifo");
    let script = format!("mkfifo {fifo}; exec 3<&0; cat {fifo} & exit 0", fifo = fifo.display());
    let argv = ["/bin/sh", "-c", &script].map(str::to_owned);
    let command = Command { argv: &argv, limit: Duration::from_secs(20), interrupt: None, holds: Some(&lock) };
    assert!(Processes.run(None, &command, &mut |_| ()).unwrap().success());
    drop(lock);
    assert!(other.lock("/etc/lock").unwrap().is_none());
    drop(std::fs::OpenOptions::new().write(true).open(&fifo).unwrap());
    let start = Instant::now();
    while other.lock("/etc/lock").unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn commands_are_bounded_and_their_output_is_kept() {
    let run = |script: &str, seconds: u64| {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        let mut lines = Vec::new();
        let command = Command { argv: &argv, limit: Duration::from_secs(seconds), interrupt: None, holds: None };
        let done = Processes.run(None, &command, &mut |line| lines.push(line.to_owned())).unwrap();
        (done, lines)
    };
    let (done, lines) = run("echo out; echo err >&2; printf \"$LC_ALL $PATH\"; read x; exit 3", 20);
    assert_eq!((done.status, done.late), (Some(3), false));
    assert_eq!(done.text(), "out\nerr\nC /usr/sbin:/usr/bin:/sbin:/bin");
    assert_eq!(lines, ["out", "err"]);
    let start = Instant::now();
    // Children of the command are killed with it.
    let (done, _) = run("sleep 60 & sleep 60; echo never", 1);
    assert!(done.late && done.status.is_none() && !done.success());
    // Something that it leaves behind is not waited for.
    let (done, _) = run("sleep 15 & exit 0", 20);
    assert!(done.success() && start.elapsed() < Duration::from_secs(14));
    // Asked to stop: it is killed at once.
    let interrupt = crate::host::Interrupt::default();
    interrupt.ask();
    let argv = ["/bin/sleep".to_owned(), "60".to_owned()];
    let limit = Duration::from_secs(50);
    let command = Command { argv: &argv, limit, interrupt: Some(&interrupt), holds: None };
    let done = Processes.run(None, &command, &mut |_| ()).unwrap();
    assert!(done.stopped && !done.late && !done.success() && start.elapsed() < Duration::from_secs(20));
    let missing = ["/nonexistent".to_owned()];
    let command = Command { argv: &missing, limit: Duration::from_secs(1), interrupt: None, holds: None };
    assert_eq!(Processes.run(None, &command, &mut |_| ()).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn attributes_are_written_by_a_child() {
    let (dir, _) = host();
    let path = dir.path().join("etc/attribute");
    Processes.write_attribute(None, path.to_str().unwrap(), "vfio-pci").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"vfio-pci\n");
    let error = Processes.write_attribute(None, "/nonexistent/attribute", "x").unwrap_err().to_string();
    assert!(error.contains("writing x to /nonexistent/attribute failed"), "{error}");
}

#[test]
fn programs_are_looked_for_in_the_host() {
    let (dir, host) = host();
    std::fs::create_dir_all(dir.path().join("usr/sbin")).unwrap();
    std::fs::write(dir.path().join("usr/sbin/tool"), "").unwrap();
    assert!(!host.has_program("tool"));
    std::fs::set_permissions(dir.path().join("usr/sbin/tool"), PermissionsExt::from_mode(0o755)).unwrap();
    assert!(host.has_program("tool") && host.has_program("/usr/sbin/tool") && !host.has_program("sh"));
}

/// Needs root and a static busybox; elsewhere the lab proves it.
#[test]
fn commands_of_a_mounted_host_see_its_files_and_leave_nothing_mounted() {
    let (dir, host) = host();
    let statics = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let Some(busybox) = statics.filter(|_| rustix::process::geteuid().is_root()) else { return };
    for made in ["bin", "proc", "sys", "dev"] {
        std::fs::create_dir_all(dir.path().join(made)).unwrap();
    }
    std::fs::copy(busybox, dir.path().join("bin/busybox")).unwrap();
    symlink("busybox", dir.path().join("bin/sh")).unwrap();
    let argv = ["/bin/sh", "-c", "echo inside > /etc/made; /bin/busybox test -e /proc/self/stat && echo proc"];
    let argv = argv.map(str::to_owned);
    let command = Command { argv: &argv, limit: Duration::from_secs(20), interrupt: None, holds: None };
    let done = host.run(&command, &mut |_| ()).unwrap();
    let unable = ["Operation not permitted", "not found", "No such file"];
    if unable.iter().any(|text| done.text().contains(text)) {
        return;
    }
    assert!(done.success() && done.text() == "proc", "{:?} {}", done.status, done.text());
    assert_eq!(host.read("/etc/made"), Fact::Known(b"inside\n".to_vec()));
    assert!(names(&dir.path().join("proc")).is_empty() && names(&dir.path().join("dev")).is_empty());
}

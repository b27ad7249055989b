use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn put(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Both ways of staying inside: openat2, and component by component.
fn both(root: &Path) -> [Tree; 2] {
    [Tree::mounted(root).unwrap(), Tree::mounted_without_openat2(root)]
}

fn io(text: &str) -> Why {
    Why::Io(text.into())
}

#[test]
fn links_stay_inside_a_mounted_root() {
    let outer = tempfile::tempdir().unwrap();
    put(outer.path(), "secret", "outside");
    let root = outer.path().join("root");
    put(&root, "etc/real", "inside");
    put(&root, "secret", "the root's own");
    symlink("/etc/real", root.join("absolute")).unwrap();
    symlink("../../../../secret", root.join("etc/up")).unwrap();
    symlink("/etc", root.join("d")).unwrap();
    symlink("../../..", root.join("etc/top")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("loop2", root.join("loop1")).unwrap();
    symlink("loop1", root.join("loop2")).unwrap();
    symlink(outer.path().join("secret"), root.join("out")).unwrap();
    for tree in both(&root) {
        for (path, content) in [
            ("/etc/real", "inside"),
            ("/absolute", "inside"),
            ("/d/real", "inside"),
            ("/d/../secret", "the root's own"),
            ("/etc/up", "the root's own"),
            ("/etc/top/secret", "the root's own"),
            ("/etc/top/etc/top/d/up", "the root's own"),
            ("/../../secret", "the root's own"),
            ("etc/real", "inside"),
            ("//etc//real", "inside"),
        ] {
            assert_eq!(tree.text(path), Fact::Known(content.into()), "{path}");
            assert_eq!(tree.stat(path).map(|s| s.size), Fact::Known(content.len() as u64), "{path}");
        }
        for path in ["/dangling", "/out", "/none", "/etc/real/x", "/none/x"] {
            assert_eq!(tree.read(path), Fact::Absent, "{path}");
            assert_eq!(tree.exists(path), Fact::Known(false), "{path}");
        }
        let cyclic = Fact::Unknown(io("too many levels of symbolic links"));
        assert_eq!(tree.read("/loop1"), cyclic);
        assert_eq!(tree.text("/loop1/x").why(), Some(&io("too many levels of symbolic links")));
        assert_eq!(tree.link("/etc/up"), Fact::Known("../../../../secret".into()));
        assert_eq!(tree.link("/d/top"), Fact::Known("../../..".into()));
        assert_eq!(tree.link("/etc/real"), Fact::Absent);
        assert_eq!(tree.link("/nothing"), Fact::Absent);
        assert_eq!(tree.entries("/d"), Fact::Known(vec!["real".into(), "top".into(), "up".into()]));
        assert_eq!(tree.entries("/").known().unwrap().len(), 8);
        assert_eq!(tree.entries("/etc/top"), tree.entries("/"));
        assert_eq!(tree.entries("/none"), Fact::Absent);
    }
}

#[test]
fn forty_links_in_a_row_are_followed_and_not_more() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "d/0", "end");
    symlink("d", root.path().join("l0")).unwrap();
    for i in 1..60 {
        symlink(format!("{}", i - 1), root.path().join(format!("d/{i}"))).unwrap();
        symlink(format!("l{}", i - 1), root.path().join(format!("l{i}"))).unwrap();
    }
    for tree in both(root.path()) {
        assert_eq!(tree.text("/d/40"), Fact::Known("end".into()));
        assert!(tree.read("/d/41").is_unknown());
        assert_eq!(tree.text("/l39/0"), Fact::Known("end".into()));
        assert!(tree.read("/l40/0").is_unknown());
    }
}

#[test]
fn reads_whatever_is_there_without_blocking() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "empty", "");
    put(root.path(), "binary", [0xff, 0xfe, b'a', 0]);
    put(root.path(), "long", vec![b'x'; 300_000]);
    put(root.path(), "page", vec![b'y'; 4096]);
    std::fs::File::create(root.path().join("huge")).unwrap().set_len(READ_LIMIT as u64 + 1).unwrap();
    std::fs::File::create(root.path().join("most")).unwrap().set_len(READ_LIMIT as u64).unwrap();
    rustix::fs::mkfifoat(CWD, root.path().join("fifo"), Mode::from(0o600)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    for tree in both(root.path()) {
        assert_eq!(tree.read("/empty"), Fact::Known(vec![]));
        assert_eq!(tree.text("/binary"), Fact::Known("\u{fffd}\u{fffd}a\0".into()));
        assert_eq!(tree.value("/binary"), Fact::Known("\u{fffd}\u{fffd}a".into()));
        assert_eq!(tree.read("/long").known().map(Vec::len), Some(300_000));
        assert_eq!(tree.read("/page").known().map(Vec::len), Some(4096));
        assert_eq!(tree.read("/huge"), Fact::Unknown(Why::TooLarge));
        assert_eq!(tree.read_start("/huge", 64), Fact::Known(vec![0; 64]));
        assert_eq!(tree.read_start("/long", 200_000).known().map(Vec::len), Some(200_000));
        assert_eq!(tree.read_start("/page", 5000).known().map(Vec::len), Some(4096));
        assert_eq!(tree.read_start("/empty", 64), Fact::Known(vec![]));
        assert_eq!(tree.read("/most").known().map(Vec::len), Some(READ_LIMIT));
        for path in ["/fifo", "/socket"] {
            assert_eq!(tree.read(path), Fact::Unknown(io("is no regular file")), "{path}");
            assert_eq!(tree.stat(path).map(|s| s.file_type), Fact::Known(FileType::Other), "{path}");
        }
        for path in ["/", "", "/.", "/..", "//"] {
            assert_eq!(tree.read(path), Fact::Unknown(io("is a directory")), "{path:?}");
            assert_eq!(tree.stat(path).map(|s| s.file_type), Fact::Known(FileType::Dir), "{path:?}");
        }
        assert!(tree.read(&"/a".repeat(3000)).known().is_none());
        assert!(tree.read(&format!("/{}", "a".repeat(300))).is_unknown());
        assert!(tree.read("/with\0nul").known().is_none());
    }
}

#[test]
fn a_directory_that_was_made_anew_is_seen() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "dev/a", "1");
    for tree in both(root.path()) {
        put(root.path(), "dev/a", "1");
        assert_eq!(tree.text("/dev/a"), Fact::Known("1".into()));
        std::fs::remove_dir_all(root.path().join("dev")).unwrap();
        assert_eq!(tree.read("/dev/a"), Fact::Absent);
        put(root.path(), "dev/a", "2");
        assert_eq!(tree.text("/dev/a"), Fact::Known("2".into()));
    }
}

#[test]
fn unreadable_is_not_absent() {
    if rustix::process::geteuid().is_root() {
        return; // Root may read everything.
    }
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "file", "x");
    put(root.path(), "dir/file", "x");
    for path in ["file", "dir"] {
        std::fs::set_permissions(root.path().join(path), PermissionsExt::from_mode(0o000)).unwrap();
    }
    for tree in both(root.path()) {
        assert_eq!(tree.read("/file"), Fact::Unknown(Why::NotPermitted));
        assert_eq!(tree.read("/dir/file"), Fact::Unknown(Why::NotPermitted));
        assert_eq!(tree.entries("/dir"), Fact::Unknown(Why::NotPermitted));
        assert_eq!(tree.exists("/dir/none"), Fact::Unknown(Why::NotPermitted));
    }
    std::fs::set_permissions(root.path().join("dir"), PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn names_what_cannot_be_a_root() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "file", "x");
    for (path, text) in [("none", "no such file or directory"), ("file", "not a directory")] {
        let error = Tree::mounted(&dir.path().join(path)).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.message.contains(path) && error.message.ends_with(text), "{}", error.message);
        assert_eq!(error.hints.len(), 1);
    }
}

#[test]
fn the_running_machine_answers() {
    let tree = Tree::live();
    assert_eq!(tree.kind(), Kind::Live);
    assert!(tree.value("/proc/sys/kernel/osrelease").known().is_some_and(|release| !release.is_empty()));
    assert_eq!(tree.stat("/proc").map(|s| s.file_type), Fact::Known(FileType::Dir));
    assert_eq!(tree.link("/proc/self").map(|pid| pid == std::process::id().to_string()), Fact::Known(true));
    assert!(tree.entries("/proc/self").known().is_some_and(|names| names.contains(&"cmdline".to_owned())));
    assert_eq!(tree.read_start("/proc/self/stat", 3).known().map(Vec::len), Some(3));
    assert_eq!(tree.read("/dev/null"), Fact::Unknown(io("is no regular file")));
    assert_eq!(tree.read("/proc/self/none"), Fact::Absent);
    assert_eq!(tree.read("/proc/self"), Fact::Unknown(io("is a directory")));
    assert_eq!(tree.stat("/dev/null").map(|s| s.rdev), Fact::Known((1, 3)));
}

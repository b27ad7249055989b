use super::*;
use crate::host::recording::Entry;
use crate::host::{Digest, FileType, Host, Query, Recorded, Recorder, Why};
use std::io::Read;
use std::path::Path;

fn meta() -> Meta {
    Meta { format: FORMAT, program: "vfioneer 0.1.0".into(), date: "2025-01-31".into(), pseudonyms: true }
}

const LONG: &str =
    "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/0000:02:00.0/0000:03:00.0/0000:04:00.0/0000:05:00.0/x";

fn head(data: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 2];
    data.read_exact(&mut bytes).map(|()| bytes)
}

const HEAD: Digest = Digest { name: "head/1", compute: head };

/// A host with one of everything.
fn host() -> Recorded {
    Recorded::builder()
        .complete(false)
        .add_file("/proc/cmdline", "quiet\n")
        .add_file("/proc/empty", "")
        .add_file("/etc/fstab", vec![0xff; 70_000])
        .add_file(LONG, "1\n")
        .add_link("/sys/bus/pci/devices/0000:05:00.0", &format!("../../../..{}", LONG.trim_end_matches("/x")))
        .add_link("/loop", "loop")
        .add_device("/dev/kvm", 10, 232)
        .add_unread("/boot/initrd.img-6.8", 60 << 20, 1_700_000_000)
        .add_link("/initrd.img", "boot/initrd.img-6.8")
        .add_file("/boot/small", "ab")
        .add_file("/boot/tiny", "a")
        .digest("/initrd.img", "head/1", "content")
        .deny("/root")
        .deny_because("/sys/kernel/security/lockdown", Why::Io("input/output error".into()))
        .add_dir("/etc/modprobe.d")
        .listed("/etc/modprobe.d")
        .add_file("/etc/big", vec![b'x'; 20_000])
        .query(Query::KernelLog, "[    0.000000] Linux version 6.8\n")
        .build()
}

type Answers = Vec<String>;

fn questions(host: &dyn Host) -> Answers {
    let by_link = "/sys/bus/pci/devices/0000:05:00.0/x";
    let paths = [
        "/",
        "/proc",
        "/proc/cmdline",
        "/proc/empty",
        "/etc/fstab",
        LONG,
        by_link,
        "/loop",
        "/loop/x",
        "/dev/kvm",
        "/boot/initrd.img-6.8",
        "/initrd.img",
        "/boot/small",
        "/boot/tiny",
        "/root/x",
        "/etc/modprobe.d",
        "/etc/modprobe.d/none",
        "/etc/modprobe.d/none/deeper",
        "/sys/kernel/security/lockdown",
        "/not/there",
        "/proc/cmdline/x",
        "/sys/bus/pci/devices/../devices/0000:05:00.0",
    ];
    let mut answers = Vec::new();
    for path in paths {
        answers.push(format!("{path} read {:?}", host.read(path)));
        answers.push(format!("{path} link {:?}", host.link(path)));
        if path != "/sys/kernel/security/lockdown" {
            answers.push(format!("{path} entries {:?}", host.entries(path)));
        }
        answers.push(format!("{path} stat {:?}", host.stat(path)));
        answers.push(format!("{path} exists {:?}", host.exists(path)));
        answers.push(format!("{path} digest {:?}", host.digest(path, &HEAD)));
    }
    answers.push(format!("{:?}", host.read_start("/etc/big", 100)));
    answers.push(format!("{:?}", host.query(Query::KernelLog)));
    answers
}

fn reload(recording: &Recording) -> Recorded {
    let (again, read_meta) = read("x", write(recording, &meta()).unwrap().as_slice()).unwrap();
    assert_eq!(&again, recording);
    assert_eq!(read_meta, meta());
    Recorded::new(again, "x".into()).unwrap()
}

#[test]
fn the_same_questions_get_the_same_answers() {
    let host = host();
    let recorder = Recorder::new(&host);
    let answers = questions(&recorder);
    assert_eq!(answers, questions(&host));
    let recording = recorder.into_recording();
    for (again, before) in questions(&reload(&recording)).iter().zip(&answers) {
        assert_eq!(again, before);
    }
    // And so does a recording of the recording.
    let first = reload(&recording);
    let second = Recorder::new(&first);
    questions(&second);
    assert_eq!(questions(&reload(&second.into_recording())), answers);
}

#[test]
fn a_mounted_tree_is_recorded_with_its_links_and_what_it_lacks() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    std::fs::create_dir_all(at("sys/devices/pci/0000:01:00.0")).unwrap();
    std::fs::create_dir_all(at("sys/bus/pci/devices")).unwrap();
    std::fs::write(at("sys/devices/pci/0000:01:00.0/vendor"), "0x10de\n").unwrap();
    std::os::unix::fs::symlink("../../../devices/pci/0000:01:00.0", at("sys/bus/pci/devices/0000:01:00.0")).unwrap();
    std::os::unix::fs::symlink("/sys/bus", at("abs")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
    let tree = crate::host::Tree::mounted(root.path()).unwrap();
    let ask = |host: &dyn Host| {
        [
            format!("{:?}", host.entries("/abs/pci/devices")),
            format!("{:?}", host.value("/abs/pci/devices/0000:01:00.0/vendor")),
            format!("{:?}", host.value("/abs/pci/devices/0000:01:00.0/../0000:01:00.0/device")),
            format!("{:?}", host.exists("/abs/pci/devices/0000:02:00.0")),
            format!("{:?}", host.link("/abs/pci/devices/0000:01:00.0")),
            format!("{:?}", host.link("/sys/bus/pci/devices/0000:01:00.0/driver")),
            format!("{:?}", host.read("/dangling")),
            format!("{:?}", host.entries("/etc/modprobe.d")),
            format!("{:?}", host.exists("/etc/modprobe.d/x")),
            format!("{:?}", host.query(Query::KernelLog)),
        ]
    };
    let recorder = Recorder::new(&tree);
    assert_eq!(ask(&recorder), ask(&tree));
    let recording = recorder.into_recording();
    assert_eq!(recording.entries.get("/etc").map(|entry| &entry.body), Some(&Body::Absent));
    let recorded = reload(&recording);
    assert_eq!(ask(&recorded), ask(&tree));
    assert_eq!(recorded.exists("/etc/passwd"), Fact::Known(false));
    assert_eq!(recorded.exists("/usr"), Fact::Unknown(Why::NotRecorded));
    assert_eq!(recorded.stat("/sys/bus/pci").map(|s| s.file_type), Fact::Known(FileType::Dir));
}

fn fails(bytes: &[u8], words: &str) {
    fails_within(bytes, words, &LIMITS);
}

fn fails_within(bytes: &[u8], words: &str, limits: &Limits) {
    let error = load::read_within("host.tar.zst", bytes, limits).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.message.contains("host.tar.zst") && error.message.contains(words), "{words}: {}", error.message);
    assert!(!error.hints.is_empty());
}

fn packed(members: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    file(&mut tar, META, &serde_json::to_vec(&meta()).unwrap(), None).unwrap();
    members(&mut tar);
    zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap()
}

/// A member whose name the tar crate would not write.
fn raw(tar: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, size: u64) {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_cksum();
    tar.append(&header, io::empty()).unwrap();
}

#[test]
fn what_is_cut_off_or_damaged_is_refused() {
    let host = host();
    let recorder = Recorder::new(&host);
    questions(&recorder);
    let whole = write(&recorder.into_recording(), &meta()).unwrap();
    fails(&[], "is empty");
    for cut in (1..whole.len()).filter(|cut| *cut < 64 || cut % 7 == 0) {
        let words = if cut < 4 { "is not a capture" } else { "is cut off" };
        fails(&whole[..cut], words);
    }
    for at in (0..whole.len()).step_by(3) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        // A changed bit of the frame's header can be without effect; nothing may panic or hang.
        let _ = read("x", damaged.as_slice());
    }
    let mut random = vec![0x28, 0xb5, 0x2f, 0xfd];
    let mut state = 1u32;
    for _ in 0..5000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random.push((state >> 24) as u8);
    }
    let _ = read("x", random.as_slice()).unwrap_err();
    fails(&random[4..], "is not a capture");
    fails(b"#!/bin/sh\n", "is not a capture");
    fails(&zstd::encode_all(b"text".as_slice(), 1).unwrap(), "");
    fails(&zstd::encode_all([0; 1024].as_slice(), 1).unwrap(), "is not a capture");
}

#[test]
fn members_that_no_capture_has_are_refused() {
    use tar::EntryType as T;
    let index = |tar: &mut tar::Builder<Vec<u8>>, text: &str| file(tar, INDEX, text.as_bytes(), None).unwrap();
    let one = r#"{"paths":{"/f":{"what":"file"},"/l":{"what":"link"}}}"#;
    fails(&packed(|_| {}), "is cut off");
    fails(&packed(|tar| index(tar, "{")), "index.json: ");
    fails(&packed(|tar| index(tar, r#"{"paths":{"/a":{"what":"new"}}}"#)), "unknown variant");
    for path in ["relative", "/a/../../b", "/..", "//", "/a//b", ""] {
        let text = format!(r#"{{"paths":{{"{path}":{{"what":"absent"}}}}}}"#);
        fails(&packed(|tar| index(tar, &text)), "leads out");
    }
    for path in ["/etc/passwd", "../x", "root/../../x", "root/./x", "a//b"] {
        fails(&packed(|tar| raw(tar, path, T::Regular, 0)), "leads out");
    }
    for kind in [T::Link, T::Char, T::Block, T::Fifo, T::Continuous] {
        fails(&packed(|tar| raw(tar, "root/f", kind, 0)), "neither file");
    }
    fails(&packed(|tar| raw(tar, META, T::Regular, 0)), "twice");
    fails(&packed(|tar| raw(tar, "root/f", T::Regular, 0)), "does not come first");
    fails(&packed(|tar| index(tar, one)), "\"/f\" is missing");
    fails(
        &packed(|tar| {
            index(tar, one);
            raw(tar, "root/f", T::Symlink, 0);
        }),
        "is not what index.json says",
    );
    fails(
        &packed(|tar| {
            index(tar, one);
            raw(tar, "root/other", T::Regular, 0);
        }),
        "is not what index.json says",
    );
    fails(&packed(|tar| index(tar, r#"{"digests":[{"path":"/a","name":"b"}]}"#)), "\"/a\" is missing");
    fails(
        &packed(|tar| {
            index(tar, "{}");
            raw(tar, "digests/0", T::Regular, 0);
        }),
        "is not in index.json",
    );
    let mut other = tar::Builder::new(Vec::new());
    raw(&mut other, "root/f", T::Regular, 0);
    fails(&zstd::encode_all(other.into_inner().unwrap().as_slice(), 1).unwrap(), "is not a capture");
    let mut newer = tar::Builder::new(Vec::new());
    file(&mut newer, META, br#"{"format":7,"program":"vfioneer 9.1","unheard":true}"#, None).unwrap();
    fails(&zstd::encode_all(newer.into_inner().unwrap().as_slice(), 1).unwrap(), "written by vfioneer 9.1 in format 7");
    // Links lead wherever they say, inside; what later programs add is passed by.
    let fine = packed(|tar| {
        index(tar, one);
        raw(tar, "root/f", T::Regular, 0);
        let mut header = header(T::Symlink, 0o777, None);
        tar.append_link(&mut header, "root/l", "../../../../etc/shadow").unwrap();
        raw(tar, "later/thing", T::Regular, 0);
    });
    let host = Recorded::new(read("x", fine.as_slice()).unwrap().0, "x".into()).unwrap();
    assert_eq!(host.read("/l"), Fact::Unknown(Why::NotRecorded));
    // Something in what is no directory.
    let text = r#"{"paths":{"/a":{"what":"absent"},"/a/b":{"what":"other"}}}"#;
    let (recording, _) = read("x", packed(|tar| index(tar, text)).as_slice()).unwrap();
    assert_eq!(Recorded::new(recording, "x".into()).err().as_deref(), Some("/a/b"));
}

#[test]
fn what_inflates_without_end_is_refused() {
    struct Zeros(u64);
    impl Read for Zeros {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
            buffer[..count].fill(0);
            self.0 -= count as u64;
            Ok(count)
        }
    }
    let bomb = |size: u64| {
        let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        file(&mut tar, META, &serde_json::to_vec(&meta()).unwrap(), None).unwrap();
        file(&mut tar, INDEX, b"{}", None).unwrap();
        let mut header = header(tar::EntryType::Regular, 0o644, None);
        header.set_size(size);
        tar.append_data(&mut header, "later/zeros", Zeros(size)).unwrap();
        tar.into_inner().unwrap().finish().unwrap()
    };
    let small = Limits { members: 1000, member: 1 << 20, bytes: 16 << 20 };
    fails_within(&bomb(17 << 20), "more than 16 MiB", &small);
    assert!(load::read_within("x", bomb(8 << 20).as_slice(), &small).is_ok());
    let mut large = tar::Builder::new(Vec::new());
    file(&mut large, META, &vec![b' '; (1 << 20) + 1], None).unwrap();
    let large = zstd::encode_all(large.into_inner().unwrap().as_slice(), 1).unwrap();
    fails_within(&large, "more than 1 MiB in", &small);
    let many = packed(|tar| {
        file(tar, INDEX, b"{}", None).unwrap();
        for number in 0..=small.members {
            raw(tar, &format!("later/{number}"), tar::EntryType::Regular, 0);
        }
    });
    fails_within(&many, "more than 1000 members", &small);
    // A window of 128 MiB would have to be kept in memory.
    let mut wide = zstd::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(27).unwrap();
    io::copy(&mut Zeros(200 << 20), &mut wide).unwrap();
    fails(&wide.finish().unwrap(), "too much memory");
}

#[test]
fn a_host_that_is_too_large_is_refused_when_it_is_written() {
    let small = Limits { members: 10, member: 1 << 20, bytes: 1 << 20 };
    let mut recording = Recording::default();
    let mut add = |path: String, size| {
        let entry = Entry { body: Body::File(Fact::Known(vec![0; size])), stat: Fact::Unknown(Why::NotRecorded) };
        recording.entries.insert(path, entry);
        write_within(&recording, &meta(), &small).map_err(|error| error.exit_code()).map(|_| ())
    };
    assert_eq!(add("/a".into(), 900_000), Ok(()));
    assert_eq!(add("/b".into(), 200_000), Err(3));
    assert_eq!(add("/b".into(), 0), Ok(()));
    assert_eq!((0..9).map(|number| add(number.to_string(), 0)).last(), Some(Err(3)));
}

#[test]
fn files_that_cannot_be_captures_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let whole = write(&Recording::default(), &meta()).unwrap();
    std::fs::write(dir.path().join("good"), &whole).unwrap();
    std::fs::write(dir.path().join("empty"), "").unwrap();
    std::os::unix::fs::symlink("good", dir.path().join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("fifo"), rustix::fs::Mode::from(0o600)).unwrap();
    assert_eq!(load(&dir.path().join("good")).unwrap().label(), dir.path().join("good").display().to_string());
    assert!(load(&dir.path().join("link")).is_ok());
    for (path, words) in [
        ("none", "no such file or directory"),
        ("empty", "is empty"),
        ("fifo", "is no regular file"),
        (".", "is a directory"),
        ("good/x", "not a directory"),
    ] {
        let error = load(&dir.path().join(path)).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.message.contains(path) && error.message.contains(words), "{path}: {}", error.message);
    }
    assert!(load(Path::new("/proc/self/mem")).is_err());
}

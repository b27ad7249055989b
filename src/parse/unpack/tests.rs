//! Images packed by the real programs where they are installed.

#![allow(clippy::disallowed_methods)]

use super::*;
use crate::parse::cpio::tests::build;
use proptest::prelude::*;
use std::io::Write;
use std::process::{Command, Stdio};

fn list(image: &[u8]) -> io::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    read(&mut &*image, &mut |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        // The content of the test's files is made of their names.
        for (byte, expected) in bytes.iter().zip(entry.path.bytes().cycle()) {
            if *byte != expected {
                return Err(malformed("content differs"));
            }
        }
        found.push((entry.path.clone(), bytes.len() as u64));
        Ok(())
    })?;
    Ok(found)
}

/// An archive with easy and hard data; `seed` keeps two archives apart.
fn archive(seed: &str) -> Vec<u8> {
    let repeat = |name: &str, size: usize| name.bytes().cycle().take(size).collect::<Vec<u8>>();
    let mut files = vec![("etc/modprobe.d/vfio.conf".to_owned(), 70)];
    // A long name of noise does not compress.
    let mut state = seed.bytes().fold(7u64, |all, byte| all * 31 + u64::from(byte));
    let noise: String = (0..3000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'a' + (state >> 33) as u8 % 26)
        })
        .collect();
    files.extend([(noise.clone(), 3000), (format!("{seed}/a"), 40_000), (format!("{}z", &noise[..2000]), 90_000)]);
    let files: Vec<(String, Vec<u8>)> =
        files.into_iter().map(|(name, size)| (name.clone(), repeat(&name, size))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    build(&files)
}

/// Packs with a program, which `make setup` installs.
fn packed(program: &[&str], data: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program:?}: {error} (`make setup` installs it)"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let data = data.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&data));
    let output = child.wait_with_output().expect("an end");
    writer.join().expect("a writer").expect("all was read");
    assert!(output.status.success() && !output.stdout.is_empty(), "{program:?}");
    output.stdout
}

const PROGRAMS: &[&[&str]] = &[
    &["gzip", "-n"],
    &["bzip2"],
    &["xz", "--check=crc32"],
    &["xz", "--check=crc32", "--lzma2=dict=1MiB"],
    &["xz", "-9", "--check=sha256", "--block-size=30000"],
    &["xz", "-0", "--check=none", "--lzma2=preset=0,lc=0,lp=4,pb=0"],
    &["xz", "--format=lzma"],
    &["lzma", "-1"],
    &["lz4", "-l", "-9"],
    &["zstd", "-q", "-19"],
    &["zstd", "-q", "-1", "-T0", "--check"],
];

#[test]
fn every_compression() {
    let early = build(&[("kernel/x86/microcode/GenuineIntel.bin", b"kernel/x86/")]);
    let main = archive("main");
    let expected = list(&main).expect("an archive");
    let all: Vec<_> = list(&early).expect("an archive").into_iter().chain(expected.clone()).collect();
    for program in PROGRAMS {
        let image = packed(program, &main);
        assert_eq!(list(&image).unwrap_or_else(|e| panic!("{program:?}: {e}")), expected);
        // Microcode in front, zeros between and behind, as bootloaders and generators put them together.
        let mut whole = early.clone();
        whole.resize(whole.len().next_multiple_of(512), 0);
        whole.extend(&image);
        whole.extend([0; 512]);
        assert_eq!(list(&whole).unwrap_or_else(|e| panic!("{program:?}: {e}")), all);
        // Two archives in one compressed part, and two compressed parts.
        let second = archive("second");
        let two = packed(program, &[main.as_slice(), &[0; 100], &second].concat());
        assert_eq!(list(&two).expect("two archives").len(), expected.len() * 2);
        let parts = [image.as_slice(), &[0; 4], &packed(program, &second)].concat();
        // An LZMA part without a size and an LZ4 part do not say where they end; no generator puts another behind.
        let open = program.contains(&"-l") || program.contains(&"--format=lzma") || program.contains(&"lzma");
        if !open {
            assert_eq!(list(&parts).unwrap_or_else(|e| panic!("{program:?}: {e}")).len(), expected.len() * 2);
        }
        for end in [image.len() / 4, image.len() / 2, image.len() - image.len() / 10] {
            assert!(list(&image[..end]).is_err(), "{program:?} cut off at {end}");
        }
        for at in (0..image.len()).step_by(image.len() / 12 + 1) {
            let mut broken = image.clone();
            broken[at] ^= 0x55;
            let _ = list(&broken);
        }
    }
}

#[test]
fn several_megabytes() {
    let size = 9 << 20;
    let content: Vec<u8> = b"x".iter().copied().cycle().take(size).collect();
    let image = build(&[("x", &content), ("xx", &content[..100])]);
    let small = build(&[("x", &content[..1 << 20]), ("xx", &content[..100])]);
    // More than a block of LZ4 and more than the dictionary of LZMA.
    let lzma = ["xz", "--lzma2=preset=0,dict=256KiB"];
    for (program, image, size) in [
        (&["lz4", "-l", "-9"][..], &image, size),
        (&["zstd", "-q", "--long=24"], &image, size),
        (&lzma, &small, 1 << 20),
    ] {
        let packed = packed(program, image);
        let expected = [("x".to_owned(), size as u64), ("xx".to_owned(), 100)];
        assert_eq!(list(&packed).unwrap_or_else(|e| panic!("{program:?}: {e}")), expected);
    }
}

#[test]
fn cpio_itself() {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::create_dir_all(dir.path().join("d/e")).expect("made");
    std::fs::write(dir.path().join("d/e/f"), "d/e/fd").expect("written");
    let run = Command::new("sh")
        .args(["-c", "find d | sort | cpio --quiet -o -H newc"])
        .current_dir(dir.path())
        .stderr(Stdio::null())
        .output();
    let output = run.expect("a shell");
    assert!(output.status.success(), "`make setup` installs cpio");
    let found = list(&output.stdout).expect("an archive");
    assert_eq!(found.last(), Some(&("d/e/f".to_owned(), 6)));
}

#[test]
fn what_may_follow_and_what_may_not() {
    let archive = build(&[("a", b"aaa")]);
    let with = |tail: &[u8]| list(&[archive.as_slice(), tail].concat());
    assert!(with(b"").is_ok());
    assert!(with(&[0; 4096]).is_ok());
    assert!(with(b"kernel.foo = 1\n\x0f\0\0\0\0\0\0\0#BOOTCONFIG\n").is_ok());
    assert!(with(b"garbage").is_err());
    assert_eq!(with(b"\x89LZO\0\r\n").map_err(|e| e.kind()), Err(io::ErrorKind::Unsupported));
    for empty in [&b""[..], &[0; 100], b"not an image at all"] {
        assert!(list(empty).is_err());
    }
}

proptest! {
    #[test]
    fn never_panics(magic in 0usize..9, rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        let magics: [&[u8]; 9] = [b"070701", b"\x1f\x8b\x08", b"BZh9", b"\x5d\0\0", XZ_MAGIC, b"\x02\x21\x4c\x18",
            b"\x28\xb5\x2f\xfd", b"\x5d\0\0\x10\0\xff\xff\xff\xff\xff\xff\xff\xff\0", b"\xfd7zXZ\0\0\x01\x69\x22\xde\x36\x02\0\x21\x01\x16\0\0\0\x74\x2f\xe5\xa3"];
        let image = [magics[magic], &rest].concat();
        let _ = list(&image);
    }
}

#[test]
fn zeros_without_end_are_an_error() {
    let mut zeros = io::repeat(0);
    let error = read(&mut zeros, &mut |_, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("zeros"), "{error}");
}

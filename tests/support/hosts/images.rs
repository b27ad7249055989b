//! initramfs images and unified kernel images of a constructed host.

#![allow(clippy::expect_used, clippy::disallowed_methods, dead_code)]

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A unified kernel image.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uki {
    /// Section `.cmdline`.
    pub cmdline: String,
    /// Section `.uname`.
    pub release: String,
    /// What its initramfs holds.
    pub image: Image,
}

/// What an initramfs image holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Paths of modules.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Text files by path in the image.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// A cpio archive, format newc, uncompressed.
pub fn cpio(image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    for path in &image.modules {
        member(&mut bytes, path, b"");
    }
    for (path, text) in &image.files {
        member(&mut bytes, path, text.as_bytes());
    }
    member(&mut bytes, "TRAILER!!!", b"");
    bytes
}

/// A cpio archive of a directory, its files and links sorted by path.
pub fn pack(dir: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut paths = Vec::new();
    below(dir, &mut paths)?;
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(dir).expect("below").to_string_lossy().into_owned();
        if path.is_symlink() {
            add(&mut bytes, &name, 0o120_777, std::fs::read_link(&path)?.to_string_lossy().as_bytes());
        } else {
            add(&mut bytes, &name, 0o100_644, &std::fs::read(&path)?);
        }
    }
    member(&mut bytes, "TRAILER!!!", b"");
    Ok(bytes)
}

fn below(dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            below(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// The names of an archive's members with their texts; of a unified kernel image, those of its initramfs after its command line.
pub fn members(bytes: &[u8]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let start = bytes.windows(6).position(|window| window == b"070701").unwrap_or(bytes.len());
    if bytes.starts_with(b"MZ") {
        let uki = vfioneer::parse::pe::read_uki(&mut &bytes[..]).expect("a kernel image");
        found.push((".cmdline".to_owned(), uki.cmdline.unwrap_or_default()));
    }
    let mut at = start;
    let field = |at: usize, number: usize| {
        let digits = bytes.get(at + 6 + 8 * number..at + 14 + 8 * number)?;
        usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    while let (Some(size), Some(name_size)) = (field(at, 6), field(at, 11)) {
        let name = String::from_utf8_lossy(&bytes[at + 110..at + 109 + name_size]).into_owned();
        let data = (at + 110 + name_size - start).next_multiple_of(4) + start;
        if name == "TRAILER!!!" {
            break;
        }
        found.push((name, String::from_utf8_lossy(&bytes[data..data + size]).into_owned()));
        at = (data + size - start).next_multiple_of(4) + start;
    }
    found
}

fn member(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    add(out, name, if name == "TRAILER!!!" { 0 } else { 0o100_644 }, data);
}

fn add(out: &mut Vec<u8>, name: &str, mode: usize, data: &[u8]) {
    out.extend(b"070701");
    for field in [0, mode, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0] {
        out.extend(format!("{field:08x}").bytes());
    }
    out.extend(name.bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(data);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A PE file with the sections of a unified kernel image (Microsoft PE format; UAPI group, Unified Kernel Image).
pub fn portable_executable(uki: &Uki) -> Vec<u8> {
    unified(&uki.release, &uki.cmdline, cpio(&uki.image))
}

/// The same of a ready image.
pub fn unified(release: &str, cmdline: &str, initrd: Vec<u8>) -> Vec<u8> {
    let sections: [(&[u8; 8], Vec<u8>); 4] = [
        (b".uname\0\0", release.as_bytes().to_vec()),
        (b".cmdline", cmdline.as_bytes().to_vec()),
        (b".initrd\0", initrd),
        (b".linux\0\0", b"MZ".to_vec()),
    ];
    let mut bytes = vec![0u8; 64];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[60] = 64;
    bytes.extend(b"PE\0\0\x64\x86");
    bytes.extend((sections.len() as u16).to_le_bytes());
    bytes.extend([0; 16]);
    let mut at = 512u32;
    for (name, data) in &sections {
        let size = data.len() as u32;
        bytes.extend(*name);
        for field in [size, at, size, at, 0, 0, 0, 0] {
            bytes.extend(field.to_le_bytes());
        }
        at = (at + size).next_multiple_of(512);
    }
    for (_, data) in &sections {
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(data);
    }
    bytes
}

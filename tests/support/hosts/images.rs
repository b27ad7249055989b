//! initramfs images and unified kernel images of a constructed host.

use serde::Deserialize;
use std::collections::BTreeMap;

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

fn member(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mode = if name == "TRAILER!!!" { 0 } else { 0o100_644 };
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
    let sections: [(&[u8; 8], Vec<u8>); 4] = [
        (b".uname\0\0", uki.release.clone().into_bytes()),
        (b".cmdline", uki.cmdline.clone().into_bytes()),
        (b".initrd\0", cpio(&uki.image)),
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

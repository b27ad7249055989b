//! Unified kernel images: PE files whose sections hold kernel, initramfs and command line.
//!
//! Goes in: a stream, read once from its start. Comes out: its table of sections, then any of them in the order in
//! which they stand. Nothing else is read into memory.
//!
//! Rules: Microsoft PE format (COFF header, section table);
//! <https://uapi-group.org/specifications/specs/unified_kernel_image/> (section names).

use super::bytes::{u16_at, u32_at};
use std::io::{self, Read};

/// A section of a PE file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// `.cmdline`, `.initrd`, …
    pub name: String,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes of content, padding not counted.
    pub size: u64,
}

/// The most sections that are looked at; images have about ten (UKIs with profiles a few dozen).
const MAX_SECTIONS: u16 = 256;
/// How far the section table may be from the start.
const MAX_HEADER: u64 = 1 << 20;

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// A stream that knows how far it was read.
pub struct Counted<'a> {
    inner: &'a mut dyn Read,
    at: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// A PE file that is being read.
pub struct Pe<'a> {
    reader: Counted<'a>,
    /// Sorted by their place in the file.
    pub sections: Vec<Section>,
}

impl<'a> Pe<'a> {
    /// Reads the headers of a stream that stands at the file's start.
    pub fn open(reader: &'a mut dyn Read) -> io::Result<Pe<'a>> {
        let mut pe = Pe { reader: Counted { inner: reader, at: 0 }, sections: Vec::new() };
        let dos: [u8; 64] = pe.take()?;
        if !dos.starts_with(b"MZ") {
            return Err(malformed("not a PE file"));
        }
        let start = u64::from(u32_at(&dos, 60).unwrap_or_default());
        if start > MAX_HEADER {
            return Err(malformed("the PE header is too far from the start"));
        }
        pe.skip_to(start)?;
        let coff: [u8; 24] = pe.take()?;
        if !coff.starts_with(b"PE\0\0") {
            return Err(malformed("not a PE file"));
        }
        let count = u16_at(&coff, 6).unwrap_or_default().min(MAX_SECTIONS);
        pe.skip_to(start + 24 + u64::from(u16_at(&coff, 20).unwrap_or_default()))?;
        for _ in 0..count {
            let header: [u8; 40] = pe.take()?;
            let name: Vec<u8> = header.iter().take(8).copied().take_while(|byte| *byte != 0).collect();
            let (in_memory, in_file) =
                (u32_at(&header, 8).unwrap_or_default(), u32_at(&header, 16).unwrap_or_default());
            let size = if in_memory == 0 { in_file } else { in_memory.min(in_file) };
            pe.sections.push(Section {
                name: String::from_utf8_lossy(&name).into_owned(),
                offset: u64::from(u32_at(&header, 20).unwrap_or_default()),
                size: u64::from(size),
            });
        }
        pe.sections.sort_by_key(|section| section.offset);
        Ok(pe)
    }

    /// Goes to a section; fails if it lies before what was read already.
    pub fn section(&mut self, section: &Section) -> io::Result<io::Take<&mut Counted<'a>>> {
        self.skip_to(section.offset)?;
        Ok((&mut self.reader).take(section.size))
    }

    /// Reads a small section whole.
    pub fn read(&mut self, section: &Section, most: u64) -> io::Result<Vec<u8>> {
        if section.size > most {
            return Err(malformed(&format!("section {} is too large", section.name)));
        }
        let mut content = Vec::new();
        self.section(section)?.read_to_end(&mut content)?;
        if content.len() as u64 == section.size { Ok(content) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        let distance = offset.checked_sub(self.reader.at).ok_or_else(|| malformed("sections overlap"))?;
        let skipped = io::copy(&mut (&mut self.reader).take(distance), &mut io::sink())?;
        if skipped == distance { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// What the headers of a PE file say of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The machine (COFF header).
    pub machine: u16,
    /// A certificate table is there (optional header, data directory 4).
    pub signed: bool,
}

/// Reads the headers of a PE file that is in memory; `None` if it is none.
pub fn header(bytes: &[u8]) -> Option<Header> {
    let start = usize::try_from(u32_at(bytes, 60)?).ok()?;
    if !bytes.starts_with(b"MZ") || !bytes.get(start..)?.starts_with(b"PE\0\0") {
        return None;
    }
    let optional = start + 24;
    // The number of data directories stands before them; where, depends on the width of addresses.
    let directories = match u16_at(bytes, optional)? {
        0x10b => optional + 92,
        0x20b => optional + 108,
        _ => return None,
    };
    let has_table = u32_at(bytes, directories)? > 4;
    let size = if has_table { u32_at(bytes, directories + 4 + 4 * 8 + 4)? } else { 0 };
    Some(Header { machine: u16_at(bytes, start + 4)?, signed: size != 0 })
}

/// The small sections of a unified kernel image.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Uki {
    /// `.cmdline`; without one the loader or firmware gives the words.
    pub cmdline: Option<String>,
    /// `.uname`.
    pub release: Option<String>,
}

/// Reads the command line and release of a unified kernel image. The first section of each name counts: later ones
/// belong to other profiles of the same image.
pub fn read_uki(reader: &mut dyn Read) -> io::Result<Uki> {
    let mut pe = Pe::open(reader)?;
    if !pe.sections.iter().any(|section| section.name == ".linux") {
        return Err(malformed("not a unified kernel image"));
    }
    let mut uki = Uki::default();
    for section in pe.sections.clone() {
        let target = match section.name.as_str() {
            ".cmdline" => &mut uki.cmdline,
            ".uname" => &mut uki.release,
            _ => continue,
        };
        if target.is_none() {
            let text = String::from_utf8_lossy(&pe.read(&section, 64 << 10)?).into_owned();
            *target = Some(text.trim_end_matches(['\0', '\n']).to_owned());
        }
    }
    Ok(uki)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A PE file with these sections, each padded to 512 bytes.
    pub(crate) fn build(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[60] = 128;
        bytes.resize(128, 0);
        bytes.extend(b"PE\0\0\x64\x86");
        bytes.extend((sections.len() as u16).to_le_bytes());
        bytes.extend([0; 12]);
        bytes.extend(16u16.to_le_bytes());
        bytes.extend([0; 2 + 16]);
        let mut offset = 4096u32;
        for (name, content) in sections {
            let mut header = [0u8; 40];
            header[..name.len()].copy_from_slice(name.as_bytes());
            let raw = (content.len() as u32).next_multiple_of(512);
            header[8..12].copy_from_slice(&(content.len() as u32).to_le_bytes());
            header[16..20].copy_from_slice(&raw.to_le_bytes());
            header[20..24].copy_from_slice(&offset.to_le_bytes());
            offset += raw;
            bytes.extend(header);
        }
        bytes.resize(4096, 0);
        for (_, content) in sections {
            bytes.extend(*content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes
    }

    #[test]
    fn unified_kernel_images() {
        let image = build(&[
            (".osrel", b"ID=arch"),
            (".cmdline", b"root=UUID=1 rw quiet\n\0"),
            (".uname", b"6.12.1-arch1-1"),
            (".linux", &[1; 5000]),
            (".initrd", b"cpio"),
            (".cmdline", b"of another profile"),
        ]);
        let uki = read_uki(&mut image.as_slice()).expect("understood");
        assert_eq!(uki.cmdline.as_deref(), Some("root=UUID=1 rw quiet"));
        assert_eq!(uki.release.as_deref(), Some("6.12.1-arch1-1"));
        let mut reader = image.as_slice();
        let mut pe = Pe::open(&mut reader).expect("understood");
        let initrd = pe.sections.iter().find(|s| s.name == ".initrd").cloned().expect("there");
        assert_eq!(pe.read(&initrd, 10).expect("read"), b"cpio");
    }

    #[test]
    fn what_is_no_image() {
        assert!(read_uki(&mut &b"MZ"[..]).is_err());
        assert!(
            read_uki(&mut &b"\x7fELF and more than sixty-four bytes of it, to be long enough for a header"[..])
                .is_err()
        );
        assert!(read_uki(&mut build(&[(".text", b"a boot loader")]).as_slice()).is_err());
        let image = build(&[(".linux", b"x"), (".cmdline", &[b'a'; 600])]);
        assert!(read_uki(&mut &image[..image.len() - 700]).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(at in 0usize..400, byte: u8, end in 0usize..6000) {
            let mut image = build(&[(".cmdline", b"quiet"), (".linux", b"x"), (".uname", b"6.1")]);
            image[at] = byte;
            image.truncate(end);
            let _ = read_uki(&mut image.as_slice());
        }
    }
}

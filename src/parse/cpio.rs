//! cpio archives in the form that the kernel unpacks as initramfs.
//!
//! Goes in: a stream. Comes out: its entries one by one, each with a reader of its content; what the caller does not
//! read is passed over. Nothing is kept in memory but the name.
//!
//! Rules: Linux `Documentation/driver-api/early-userspace/buffer-format.rst` (`070701` and `070702`, several archives
//! one after the other, zeros between them) and `init/initramfs.c`.

use std::io::{self, BufRead, Read};

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path, without `/` or `./` in front.
    pub path: String,
    /// As `st_mode`.
    pub mode: u32,
    /// Bytes of content.
    pub size: u64,
}

impl Entry {
    /// True for a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    /// True for a symbolic link; its content is the target.
    pub fn is_link(&self) -> bool {
        self.mode & 0o170_000 == 0o120_000
    }
}

/// Called for each entry.
pub type Visit<'a> = dyn FnMut(&Entry, &mut dyn Read) -> io::Result<()> + 'a;

/// Bytes of a header.
const HEADER: usize = 110;
/// `PATH_MAX` of the kernel.
const MAX_NAME: u64 = 4096;

pub(super) fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// True if this begins an archive.
pub fn is_archive(start: &[u8]) -> bool {
    start.starts_with(b"070701") || start.starts_with(b"070702")
}

/// Reads the archive that begins here, up to and with its trailer.
pub fn read(reader: &mut dyn BufRead, visit: &mut Visit<'_>) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER];
        reader.read_exact(&mut header)?;
        if !is_archive(&header) {
            return Err(malformed("no cpio header where one must be"));
        }
        let field = |index: usize| {
            let at = 6 + index * 8;
            let digits = header.get(at..at + 8).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            digits
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or_else(|| malformed("a cpio header holds something that is no number"))
        };
        let (mode, size, name_size) = (field(1)?, u64::from(field(6)?), u64::from(field(11)?));
        if name_size == 0 || name_size > MAX_NAME {
            return Err(malformed("the name of a cpio entry is empty or too long"));
        }
        let mut name = Vec::new();
        (&mut *reader).take(name_size).read_to_end(&mut name)?;
        if name.len() as u64 != name_size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        skip(reader, padding(HEADER as u64 + name_size))?;
        while name.last() == Some(&0) {
            name.pop();
        }
        if name == b"TRAILER!!!" {
            return Ok(());
        }
        let path = String::from_utf8_lossy(&name);
        let path = path.trim_start_matches("./").trim_start_matches('/').to_owned();
        let mut content = (&mut *reader).take(size);
        visit(&Entry { path, mode, size }, &mut content)?;
        let left = content.limit();
        skip(reader, left + padding(size))?;
    }
}

/// Zeros that fill up to a multiple of four.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(4) - size
}

fn skip(reader: &mut dyn BufRead, count: u64) -> io::Result<()> {
    let skipped = io::copy(&mut (&mut *reader).take(count), &mut io::sink())?;
    if skipped == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An archive of regular files.
    pub(crate) fn build(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let files = files.iter().map(|(path, content)| (*path, 0o100_644, *content));
        for (path, mode, content) in files.chain([("TRAILER!!!", 0, &b""[..])]) {
            bytes.extend(b"070701");
            let fields = [1, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, path.len() as u32 + 1, 0];
            bytes.extend(fields.iter().flat_map(|field| format!("{field:08X}").into_bytes()));
            bytes.extend(path.as_bytes());
            bytes.push(0);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn paths(bytes: &[u8]) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        read(&mut &*bytes, &mut |entry, _| {
            found.push((entry.path.clone(), entry.size));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn entries_in_order() {
        let bytes = build(&[("./etc", b""), ("/etc/a", b"12345"), ("b", b"x")]);
        let expected = [("etc", 0), ("etc/a", 5), ("b", 1)].map(|(path, size)| (path.to_owned(), size));
        assert_eq!(paths(&bytes).expect("read"), expected);
        let mut texts = Vec::new();
        read(&mut bytes.as_slice(), &mut |_, content| {
            let mut text = [0; 2];
            let count = content.read(&mut text)?;
            texts.push(text[..count].to_vec());
            Ok(())
        })
        .expect("read");
        assert_eq!(texts, [b"".to_vec(), b"12".to_vec(), b"x".to_vec()]);
    }

    #[test]
    fn broken_archives() {
        let bytes = build(&[("a", &[1; 300])]);
        for end in [0, 5, 109, 111, 200, 413, bytes.len() - 20] {
            assert!(paths(&bytes[..end]).is_err(), "{end}");
        }
        let mut huge = bytes.clone();
        huge[94..102].copy_from_slice(b"7FFFFFFF");
        assert!(paths(&huge).is_err());
        let mut sign = bytes;
        sign[54..62].copy_from_slice(b"+0000001");
        assert!(paths(&sign).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(at in 0usize..250, byte: u8) {
            let mut bytes = build(&[("a/b", b"12345"), ("c", b"")]);
            bytes[at] = byte;
            let _ = paths(&bytes);
        }
    }
}

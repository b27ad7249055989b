//! Boot images: what the kernel unpacks as initramfs, in whatever compression.
//!
//! Goes in: a stream. Comes out: the entries of all archives in it, in order: uncompressed ones in front (microcode),
//! then compressed ones. The whole is never in memory.
//!
//! Rules: Linux `init/initramfs.c` `unpack_to_rootfs` (archives and compressed archives in any order, zeros between
//! them), `lib/decompress.c` (how each compression begins), `Documentation/admin-guide/bootconfig.rst` (what may follow).

use super::cpio::{self, Visit, malformed};
use lzma_rust2::{LzmaReader, XzReader};
use std::io::{self, BufRead, BufReader, Read};

/// Bytes that tell archives and compressions apart.
const PEEK: usize = 6;
/// The most that may follow the last archive as a boot configuration, in bytes (`XBC_DATA_MAX` and its footer).
const MAX_TAIL: u64 = 36 << 10;

/// The most memory that an LZMA dictionary may ask for, in KiB: `xz -9` takes 64 MiB.
const WINDOW_KIB: u32 = 80 << 10;
const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0";

/// How a part of an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Cpio,
    Gzip,
    Bzip2,
    Lzma,
    Xz,
    Lz4,
    Zstd,
    Lzo,
}

fn form(start: &[u8]) -> Option<Form> {
    let forms: [(&[u8], Form); 9] = [
        (b"070701", Form::Cpio),
        (b"070702", Form::Cpio),
        (b"\x1f\x8b", Form::Gzip),
        (b"BZh", Form::Bzip2),
        (b"\x5d\0\0", Form::Lzma),
        (XZ_MAGIC, Form::Xz),
        (b"\x02\x21\x4c\x18", Form::Lz4),
        (b"\x28\xb5\x2f\xfd", Form::Zstd),
        (b"\x89LZO", Form::Lzo),
    ];
    forms.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, form)| *form)
}

/// Calls `visit` for every entry of every archive of an image. Fails if the image ends early, if something in it is
/// not understood, or if it holds no archive.
pub fn read(image: &mut dyn Read, visit: &mut Visit<'_>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(64 << 10, image.take(MAX_IMAGE));
    let mut any = false;
    while skip_zeros(&mut input)? {
        let mut start = Vec::new();
        (&mut input).take(PEEK as u64).read_to_end(&mut start)?;
        let found = form(&start);
        let mut whole = start.as_slice().chain(&mut input);
        match found {
            Some(Form::Cpio) => cpio::read(&mut whole, visit)?,
            Some(form) => archives(form, &mut whole, visit)?,
            None if any && is_boot_configuration(&mut whole)? => return Ok(()),
            None => return Err(malformed("neither a cpio archive nor a known compression")),
        }
        any = true;
    }
    if any { Ok(()) } else { Err(malformed("empty")) }
}

/// The most bytes of padding between two archives.
const MAX_ZEROS: usize = 16 << 20;
/// The most that an image, or one compressed part of it, may hold. Real ones unpack to less than 1 GiB.
const MAX_IMAGE: u64 = 4 << 30;

/// Passes over zeros; false at the end.
fn skip_zeros(input: &mut dyn BufRead) -> io::Result<bool> {
    let mut passed = 0;
    while passed <= MAX_ZEROS {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        let all = zeros == buffer.len();
        input.consume(zeros);
        passed += zeros;
        if !all {
            return Ok(true);
        }
    }
    Err(malformed("zeros without end"))
}

/// Reads the archives in one compressed part, to its end.
fn archives(form: Form, input: &mut dyn BufRead, visit: &mut Visit<'_>) -> io::Result<()> {
    let unpacked: Box<dyn Read + '_> = match form {
        Form::Gzip => Box::new(flate2::bufread::GzDecoder::new(input)),
        Form::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(input)),
        Form::Lzma => Box::new(LzmaReader::new_mem_limit(input, WINDOW_KIB, None)?),
        Form::Xz => Box::new(XzReader::new_mem_limit(input, false, WINDOW_KIB)),
        Form::Lz4 => Box::new(Lz4::new(input)?),
        Form::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?.single_frame()),
        Form::Cpio | Form::Lzo => return Err(io::Error::new(io::ErrorKind::Unsupported, "compressed with lzop")),
    };
    let mut unpacked = BufReader::with_capacity(64 << 10, unpacked.take(MAX_IMAGE));
    while skip_zeros(&mut unpacked)? {
        cpio::read(&mut unpacked, visit)?;
    }
    Ok(())
}

/// True if all that is left is a boot configuration.
fn is_boot_configuration(input: &mut dyn BufRead) -> io::Result<bool> {
    let mut rest = Vec::new();
    input.take(MAX_TAIL + 1).read_to_end(&mut rest)?;
    Ok(rest.ends_with(b"#BOOTCONFIG\n") && rest.len() as u64 <= MAX_TAIL)
}

/// LZ4's legacy frames, as `lz4 -l` writes them: blocks of 8 MiB, each behind its compressed size
/// (lz4 `doc/lz4_Frame_format.md`, "Legacy frame").
struct Lz4<'a> {
    input: &'a mut dyn BufRead,
    block: Vec<u8>,
    taken: usize,
    done: bool,
}

/// Bytes of a full block.
const LZ4_BLOCK: usize = 8 << 20;
const LZ4_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

impl<'a> Lz4<'a> {
    fn new(input: &'a mut dyn BufRead) -> io::Result<Lz4<'a>> {
        let mut magic = [0; 4];
        input.read_exact(&mut magic)?;
        Ok(Lz4 { input, block: Vec::new(), taken: 0, done: false })
    }

    /// Reads the next block; false at the end: of the input, or where zeros follow (the kernel ends there, too).
    fn advance(&mut self) -> io::Result<bool> {
        let mut size = [0; 4];
        loop {
            if self.input.fill_buf()?.is_empty() {
                return Ok(false);
            }
            self.input.read_exact(&mut size)?;
            // Another frame may follow at once.
            if size != LZ4_MAGIC {
                break;
            }
        }
        let size = u32::from_le_bytes(size) as usize;
        if size == 0 {
            return Ok(false);
        }
        if size > lz4_flex::block::get_maximum_output_size(LZ4_BLOCK) {
            return Err(malformed("an LZ4 block is too large"));
        }
        let mut packed = Vec::new();
        (&mut *self.input).take(size as u64).read_to_end(&mut packed)?;
        if packed.len() < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.block.resize(LZ4_BLOCK, 0);
        let length = lz4_flex::block::decompress_into(&packed, &mut self.block)
            .map_err(|error| malformed(&format!("LZ4: {error}")))?;
        self.block.truncate(length);
        self.taken = 0;
        Ok(true)
    }
}

impl Read for Lz4<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.block.len() && !self.done {
            self.done = !self.advance()?;
        }
        let rest = self.block.get(self.taken..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(from), Some(to)) = (rest.get(..count), buffer.get_mut(..count)) {
            to.copy_from_slice(from);
        }
        self.taken += count;
        if self.done {
            self.block.clear();
            self.taken = 0;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;

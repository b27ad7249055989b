//! xz as a stream, in bounded memory.
//!
//! Goes in: compressed bytes. Comes out: a reader of the data of one xz stream. Check sums are passed over.
//!
//! Rules: the .xz file format 1.2.1 (<https://tukaani.org/xz/xz-file-format.txt>); only the filter LZMA2, which is all that
//! initramfs generators use.

use super::cpio::malformed;
use super::lzma::{CHUNK, Dictionary, Model, Pending, Properties, RangeDecoder};
use std::io::{self, BufRead, Read};

/// The first bytes of a stream.
pub const MAGIC: &[u8] = b"\xfd7zXZ\0";

/// Bytes of the check behind a block, by its type.
const CHECK_SIZES: [u64; 16] = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];

/// A reader of one stream.
pub struct Xz<'a> {
    input: Counted<'a>,
    check: u64,
    block: Option<Block>,
    pending: Pending,
    done: bool,
}

/// A block that is being read.
struct Block {
    dictionary: Dictionary,
    model: Option<Model>,
    chunk: Chunk,
    /// Where its data began, to find its padding.
    start: u64,
}

enum Chunk {
    /// The next byte says what follows.
    Between,
    /// Bytes to copy.
    Plain(usize),
    /// Bytes to decode.
    Lzma(usize, RangeDecoder),
}

/// The input and how much of it was taken.
struct Counted<'a> {
    inner: &'a mut dyn BufRead,
    taken: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken += count as u64;
        Ok(count)
    }
}

impl BufRead for Counted<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.taken += amount as u64;
    }
}

impl Counted<'_> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// A number of seven bits a byte, the lowest first.
    fn number(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed("a number of the xz file is too large"))
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut *self as &mut dyn Read).take(count), &mut io::sink())?;
        if skipped == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Passes over zeros up to a multiple of four bytes since `start`.
    fn align(&mut self, start: u64) -> io::Result<()> {
        let length = self.taken - start;
        self.skip(length.next_multiple_of(4) - length)
    }
}

impl<'a> Xz<'a> {
    /// Reads the stream's header.
    pub fn new(input: &'a mut dyn BufRead) -> io::Result<Xz<'a>> {
        let mut input = Counted { inner: input, taken: 0 };
        let header: [u8; 12] = input.array()?;
        let [_, _, _, _, _, _, reserved, flags, ..] = header;
        if !header.starts_with(MAGIC) || reserved != 0 {
            return Err(malformed("not an xz file"));
        }
        let check = CHECK_SIZES.get(usize::from(flags)).copied().ok_or_else(|| malformed("xz flags"))?;
        Ok(Xz { input, check, block: None, pending: Pending::default(), done: false })
    }

    /// Reads a block's header, or the index and footer: then there is no block.
    fn next_block(&mut self) -> io::Result<Option<Block>> {
        let before = self.input.taken;
        let size = u64::from(self.input.byte()?);
        if size == 0 {
            for _ in 0..self.input.number()? {
                self.input.number()?;
                self.input.number()?;
            }
            self.input.align(before)?;
            self.input.skip(4 + 12)?;
            return Ok(None);
        }
        let flags = self.input.byte()?;
        if flags & 0x3f != 0 {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "xz with more filters than LZMA2"));
        }
        for present in [flags & 0x40, flags & 0x80] {
            if present != 0 {
                self.input.number()?;
            }
        }
        let (filter, length) = (self.input.number()?, self.input.number()?);
        if filter != 0x21 || length != 1 {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "xz with another filter than LZMA2"));
        }
        let bits = u32::from(self.input.byte()?);
        let dictionary = match bits {
            0..=39 => (2 | u64::from(bits & 1)) << (bits / 2 + 11),
            _ => u64::from(u32::MAX),
        };
        let end = before + (size + 1) * 4;
        let rest = end.checked_sub(self.input.taken).ok_or_else(|| malformed("an xz block header is too long"))?;
        self.input.skip(rest)?;
        let dictionary = Dictionary::new(usize::try_from(dictionary).unwrap_or(usize::MAX))?;
        Ok(Some(Block { dictionary, model: None, chunk: Chunk::Between, start: self.input.taken }))
    }

    /// Decodes some bytes; false at the stream's end.
    fn advance(&mut self) -> io::Result<bool> {
        if self.block.is_none() {
            self.block = self.next_block()?;
        }
        let Some(block) = &mut self.block else { return Ok(false) };
        let input = &mut self.input;
        match &mut block.chunk {
            Chunk::Plain(left) => {
                let mut bytes = vec![0; (*left).min(CHUNK)];
                input.read_exact(&mut bytes)?;
                for byte in &bytes {
                    block.dictionary.push(*byte);
                }
                if let Some(model) = &mut block.model {
                    model.advance(bytes.len());
                }
                *left -= bytes.len();
                if *left == 0 {
                    block.chunk = Chunk::Between;
                }
                self.pending.bytes = bytes;
            }
            Chunk::Lzma(left, range) => {
                let model = block.model.as_mut().ok_or_else(|| malformed("LZMA2 begins without properties"))?;
                let out = &mut self.pending.bytes;
                let most = (*left).min(CHUNK);
                if !model.decode(range, input, &mut block.dictionary, out, most)? {
                    return Err(malformed("LZMA2 holds an end marker"));
                }
                *left -= out.len();
                if *left == 0 {
                    if model.is_within_match() {
                        return Err(malformed("an LZMA2 chunk ends within a match"));
                    }
                    input.skip(range.left)?;
                    block.chunk = Chunk::Between;
                }
            }
            Chunk::Between => {
                let control = input.byte()?;
                if control == 0 {
                    let start = block.start;
                    input.align(start)?;
                    input.skip(self.check)?;
                    self.block = None;
                } else {
                    block.begin_chunk(control, input)?;
                }
            }
        }
        Ok(true)
    }
}

impl Block {
    fn begin_chunk(&mut self, control: u8, input: &mut Counted<'_>) -> io::Result<()> {
        let size = usize::from(u16::from_be_bytes(input.array()?));
        if control == 1 || control >= 0xe0 {
            self.dictionary.clear();
            if let Some(model) = &mut self.model {
                model.dictionary_was_reset();
            }
        }
        if control < 0x80 {
            if control > 2 {
                return Err(malformed("LZMA2 control byte"));
            }
            self.chunk = Chunk::Plain(size + 1);
            return Ok(());
        }
        let size = (usize::from(control & 0x1f) << 16) + size + 1;
        let compressed = u64::from(u16::from_be_bytes(input.array()?)) + 1;
        if control >= 0xc0 {
            let properties = Properties::from_byte(input.byte()?)?;
            match &mut self.model {
                Some(model) => model.reset(properties),
                None => self.model = Some(Model::new(properties)),
            }
        } else if control >= 0xa0 {
            let model = self.model.as_mut().ok_or_else(|| malformed("LZMA2 begins without properties"))?;
            model.reset(model.properties());
        }
        self.chunk = Chunk::Lzma(size, RangeDecoder::start(input, compressed)?);
        Ok(())
    }
}

impl Read for Xz<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.pending.bytes.is_empty() && !self.done {
            self.done = !self.advance()?;
        }
        Ok(self.pending.take(buffer))
    }
}

//! LZMA as a stream: decoding in as much memory as the dictionary has been used, whatever the size of the data.
//!
//! Goes in: compressed bytes. Comes out: a reader of the data: [`Lzma`] for `.lzma` files, [`Xz`](super::xz::Xz) uses the rest.
//!
//! Rules: the LZMA specification (public domain, `lzma-specification.txt` of the LZMA SDK); Linux `lib/decompress_unlzma.c`.

use super::cpio::malformed;
use std::io::{self, BufRead, Read};

/// The largest dictionary that is accepted, in bytes; `xz -9` uses 64 MiB.
pub(super) const MAX_DICTIONARY: usize = 128 << 20;

/// What was decoded, as far back as matches may reach.
pub(super) struct Dictionary {
    ring: Vec<u8>,
    size: usize,
    at: usize,
}

impl Dictionary {
    pub(super) fn new(size: usize) -> io::Result<Dictionary> {
        if size > MAX_DICTIONARY {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the LZMA dictionary is too large"));
        }
        Ok(Dictionary { ring: Vec::new(), size: size.max(4096), at: 0 })
    }

    pub(super) fn push(&mut self, byte: u8) {
        if self.ring.len() < self.size {
            self.ring.push(byte);
        } else if let Some(slot) = self.ring.get_mut(self.at) {
            *slot = byte;
        }
        self.at += 1;
        if self.at == self.size {
            self.at = 0;
        }
    }

    /// The byte `distance` before the next one; 0 is the last.
    fn back(&self, distance: usize) -> Option<u8> {
        if distance >= self.ring.len() {
            return None;
        }
        let index = if self.at > distance { self.at - distance - 1 } else { self.at + self.size - distance - 1 };
        self.ring.get(index).copied()
    }

    pub(super) fn clear(&mut self) {
        self.ring.clear();
        self.at = 0;
    }
}

/// The range decoder. `left` counts the bytes of an LZMA2 chunk; a plain stream has no such limit.
pub(super) struct RangeDecoder {
    range: u32,
    code: u32,
    pub(super) left: u64,
}

impl RangeDecoder {
    pub(super) fn start(input: &mut dyn BufRead, length: u64) -> io::Result<RangeDecoder> {
        let mut decoder = RangeDecoder { range: u32::MAX, code: 0, left: length };
        if decoder.byte(input)? != 0 {
            return Err(malformed("LZMA data begins wrongly"));
        }
        for _ in 0..4 {
            decoder.code = decoder.code << 8 | u32::from(decoder.byte(input)?);
        }
        Ok(decoder)
    }

    fn byte(&mut self, input: &mut dyn BufRead) -> io::Result<u8> {
        self.left = self.left.checked_sub(1).ok_or_else(|| malformed("an LZMA2 chunk is too short"))?;
        let Some(byte) = input.fill_buf()?.first().copied() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        input.consume(1);
        Ok(byte)
    }

    fn normalize(&mut self, input: &mut dyn BufRead) -> io::Result<()> {
        if self.range < 1 << 24 {
            self.range <<= 8;
            self.code = self.code << 8 | u32::from(self.byte(input)?);
        }
        Ok(())
    }

    fn bit(&mut self, input: &mut dyn BufRead, probability: &mut u16) -> io::Result<bool> {
        self.normalize(input)?;
        let bound = (self.range >> 11) * u32::from(*probability);
        if self.code < bound {
            self.range = bound;
            *probability += (2048 - *probability) >> 5;
            Ok(false)
        } else {
            self.range -= bound;
            self.code -= bound;
            *probability -= *probability >> 5;
            Ok(true)
        }
    }

    fn direct(&mut self, input: &mut dyn BufRead, count: u32) -> io::Result<u32> {
        let mut value = 0;
        for _ in 0..count {
            self.normalize(input)?;
            self.range >>= 1;
            let one = self.code >= self.range;
            if one {
                self.code -= self.range;
            }
            value = value << 1 | u32::from(one);
        }
        Ok(value)
    }

    /// Bits, the highest first, each with its own probability in a tree.
    fn tree(&mut self, input: &mut dyn BufRead, tree: &mut [u16], bits: u32) -> io::Result<usize> {
        let mut node = 1usize;
        for _ in 0..bits {
            let probability = tree.get_mut(node).ok_or_else(|| malformed("LZMA tree"))?;
            node = node << 1 | usize::from(self.bit(input, probability)?);
        }
        Ok(node - (1 << bits))
    }

    /// Bits, the lowest first.
    fn reverse_tree(&mut self, input: &mut dyn BufRead, tree: &mut [u16], bits: u32) -> io::Result<usize> {
        let (mut node, mut value) = (1usize, 0usize);
        for position in 0..bits {
            let probability = tree.get_mut(node).ok_or_else(|| malformed("LZMA tree"))?;
            let one = usize::from(self.bit(input, probability)?);
            node = node << 1 | one;
            value |= one << position;
        }
        Ok(value)
    }
}

const HALF: u16 = 1024;

struct LengthCoder {
    choice: [u16; 2],
    low: [[u16; 8]; 16],
    middle: [[u16; 8]; 16],
    high: [u16; 256],
}

impl LengthCoder {
    fn new() -> LengthCoder {
        LengthCoder { choice: [HALF; 2], low: [[HALF; 8]; 16], middle: [[HALF; 8]; 16], high: [HALF; 256] }
    }

    fn decode(&mut self, range: &mut RangeDecoder, input: &mut dyn BufRead, pos_state: usize) -> io::Result<usize> {
        let [first, second] = &mut self.choice;
        if !range.bit(input, first)? {
            return range.tree(input, self.low.get_mut(pos_state).map_or(&mut [], |t| t.as_mut_slice()), 3);
        }
        if !range.bit(input, second)? {
            let tree = self.middle.get_mut(pos_state).map_or(&mut [][..], |t| t.as_mut_slice());
            return Ok(8 + range.tree(input, tree, 3)?);
        }
        Ok(16 + range.tree(input, &mut self.high, 8)?)
    }
}

/// lc, lp and pb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Properties {
    literal_context: u32,
    literal_position: u32,
    position: u32,
}

impl Properties {
    pub(super) fn from_byte(byte: u8) -> io::Result<Properties> {
        if byte >= 9 * 5 * 5 {
            return Err(malformed("LZMA properties"));
        }
        let byte = u32::from(byte);
        Ok(Properties { literal_context: byte % 9, literal_position: byte / 9 % 5, position: byte / 45 })
    }
}

/// What the decoder learned so far.
pub(super) struct Model {
    properties: Properties,
    literals: Vec<u16>,
    is_match: [[u16; 16]; 12],
    is_rep: [u16; 12],
    is_rep_g0: [u16; 12],
    is_rep_g1: [u16; 12],
    is_rep_g2: [u16; 12],
    is_rep0_long: [[u16; 16]; 12],
    slots: [[u16; 64]; 4],
    special: [u16; 128],
    align: [u16; 16],
    match_length: LengthCoder,
    rep_length: LengthCoder,
    state: usize,
    reps: [usize; 4],
    /// Bytes decoded since the dictionary's reset: its low bits choose probabilities.
    position: usize,
    /// Bytes of a match that are not copied yet.
    pending: usize,
}

impl Model {
    pub(super) fn new(properties: Properties) -> Model {
        Model {
            literals: vec![HALF; 0x300 << (properties.literal_context + properties.literal_position)],
            properties,
            is_match: [[HALF; 16]; 12],
            is_rep: [HALF; 12],
            is_rep_g0: [HALF; 12],
            is_rep_g1: [HALF; 12],
            is_rep_g2: [HALF; 12],
            is_rep0_long: [[HALF; 16]; 12],
            slots: [[HALF; 64]; 4],
            special: [HALF; 128],
            align: [HALF; 16],
            match_length: LengthCoder::new(),
            rep_length: LengthCoder::new(),
            state: 0,
            reps: [0; 4],
            position: 0,
            pending: 0,
        }
    }

    /// Forgets what was learned; the position stays, for it counts from the dictionary's reset.
    pub(super) fn reset(&mut self, properties: Properties) {
        let position = self.position;
        *self = Model { position, ..Model::new(properties) };
    }

    pub(super) fn properties(&self) -> Properties {
        self.properties
    }

    pub(super) fn dictionary_was_reset(&mut self) {
        self.position = 0;
    }

    /// Counts bytes that came uncompressed.
    pub(super) fn advance(&mut self, count: usize) {
        self.position = self.position.wrapping_add(count);
    }

    /// True if a match is cut off by the end of a chunk, which is not allowed.
    pub(super) fn is_within_match(&self) -> bool {
        self.pending > 0
    }

    /// Decodes at most `most` bytes into the dictionary and `out`. False at an end marker.
    pub(super) fn decode(
        &mut self,
        range: &mut RangeDecoder,
        input: &mut dyn BufRead,
        dictionary: &mut Dictionary,
        out: &mut Vec<u8>,
        most: usize,
    ) -> io::Result<bool> {
        let end = out.len() + most;
        loop {
            while self.pending > 0 && out.len() < end {
                let [distance, ..] = self.reps;
                let byte = dictionary.back(distance).ok_or_else(|| malformed("LZMA reaches too far back"))?;
                self.emit(byte, dictionary, out);
                self.pending -= 1;
            }
            if out.len() >= end {
                return Ok(true);
            }
            let pos_state = self.position & ((1 << self.properties.position) - 1);
            if !range.bit(input, at2(&mut self.is_match, self.state, pos_state)?)? {
                let byte = self.literal(range, input, dictionary)?;
                self.emit(byte, dictionary, out);
                continue;
            }
            if !self.matched(range, input, pos_state)? {
                return Ok(false);
            }
        }
    }

    fn emit(&mut self, byte: u8, dictionary: &mut Dictionary, out: &mut Vec<u8>) {
        dictionary.push(byte);
        out.push(byte);
        self.position = self.position.wrapping_add(1);
    }

    fn literal(
        &mut self,
        range: &mut RangeDecoder,
        input: &mut dyn BufRead,
        dictionary: &Dictionary,
    ) -> io::Result<u8> {
        let previous = u32::from(dictionary.back(0).unwrap_or(0));
        let properties = self.properties;
        let low = (self.position as u32) & ((1 << properties.literal_position) - 1);
        let context = (low << properties.literal_context) + (previous >> (8 - properties.literal_context));
        let base = 0x300 * context as usize;
        let table = self.literals.get_mut(base..base + 0x300).ok_or_else(|| malformed("LZMA literal context"))?;
        let mut symbol = 1usize;
        if self.state >= 7 {
            let [distance, ..] = self.reps;
            let mut matched =
                usize::from(dictionary.back(distance).ok_or_else(|| malformed("LZMA reaches too far back"))?);
            while symbol < 0x100 {
                let match_bit = matched >> 7 & 1;
                matched <<= 1;
                let probability =
                    table.get_mut((1 + match_bit) * 0x100 + symbol).ok_or_else(|| malformed("LZMA literal"))?;
                let bit = usize::from(range.bit(input, probability)?);
                symbol = symbol << 1 | bit;
                if match_bit != bit {
                    break;
                }
            }
        }
        while symbol < 0x100 {
            let probability = table.get_mut(symbol).ok_or_else(|| malformed("LZMA literal"))?;
            symbol = symbol << 1 | usize::from(range.bit(input, probability)?);
        }
        self.state = match self.state {
            0..=3 => 0,
            4..=9 => self.state - 3,
            _ => self.state - 6,
        };
        Ok((symbol & 0xff) as u8)
    }

    /// Decodes a match into `reps` and `pending`. False at an end marker.
    fn matched(&mut self, range: &mut RangeDecoder, input: &mut dyn BufRead, pos_state: usize) -> io::Result<bool> {
        let after_literal = self.state < 7;
        if !range.bit(input, at(&mut self.is_rep, self.state)?)? {
            let length = self.match_length.decode(range, input, pos_state)?;
            let distance = self.distance(range, input, length)?;
            let [a, b, c, _] = self.reps;
            self.state = if after_literal { 7 } else { 10 };
            if distance == u32::MAX as usize {
                return Ok(false);
            }
            self.reps = [distance, a, b, c];
            self.pending = length + 2;
            return Ok(true);
        }
        let [a, b, c, d] = self.reps;
        if !range.bit(input, at(&mut self.is_rep_g0, self.state)?)? {
            if !range.bit(input, at2(&mut self.is_rep0_long, self.state, pos_state)?)? {
                self.state = if after_literal { 9 } else { 11 };
                self.pending = 1;
                return Ok(true);
            }
        } else if !range.bit(input, at(&mut self.is_rep_g1, self.state)?)? {
            self.reps = [b, a, c, d];
        } else if !range.bit(input, at(&mut self.is_rep_g2, self.state)?)? {
            self.reps = [c, a, b, d];
        } else {
            self.reps = [d, a, b, c];
        }
        self.pending = self.rep_length.decode(range, input, pos_state)? + 2;
        self.state = if after_literal { 8 } else { 11 };
        Ok(true)
    }

    fn distance(&mut self, range: &mut RangeDecoder, input: &mut dyn BufRead, length: usize) -> io::Result<usize> {
        let tree = self.slots.get_mut(length.min(3)).ok_or_else(|| malformed("LZMA length"))?;
        let slot = range.tree(input, tree, 6)?;
        if slot < 4 {
            return Ok(slot);
        }
        let bits = (slot >> 1) as u32 - 1;
        let base = (2 | (slot & 1)) << bits;
        if slot < 14 {
            // The trees of the slots share one table; each begins one before its first node.
            let start = base - slot;
            let tree = self.special.get_mut(start..).ok_or_else(|| malformed("LZMA distance"))?;
            return Ok(base + range.reverse_tree(input, tree, bits)?);
        }
        let high = range.direct(input, bits - 4)? as usize;
        let distance = base + (high << 4) + range.reverse_tree(input, &mut self.align, 4)?;
        Ok(distance & u32::MAX as usize)
    }
}

fn at(table: &mut [u16; 12], state: usize) -> io::Result<&mut u16> {
    table.get_mut(state).ok_or_else(|| malformed("LZMA state"))
}

fn at2(table: &mut [[u16; 16]; 12], state: usize, pos_state: usize) -> io::Result<&mut u16> {
    table.get_mut(state).and_then(|row| row.get_mut(pos_state)).ok_or_else(|| malformed("LZMA state"))
}

/// Bytes decoded at a time.
pub(super) const CHUNK: usize = 64 << 10;

/// Decoded bytes that the reader did not take yet.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) bytes: Vec<u8>,
    taken: usize,
}

impl Pending {
    /// Hands out what is there; none if all was taken.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(from), Some(to)) = (rest.get(..count), buffer.get_mut(..count)) {
            to.copy_from_slice(from);
        }
        self.taken += count;
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
        count
    }
}

/// A reader of a `.lzma` file.
pub struct Lzma<'a> {
    input: &'a mut dyn BufRead,
    range: RangeDecoder,
    model: Model,
    dictionary: Dictionary,
    pending: Pending,
    /// Bytes to come; unknown if an end marker ends the data.
    left: Option<u64>,
    done: bool,
}

impl<'a> Lzma<'a> {
    /// Reads the header: properties, dictionary size, size of the data.
    pub fn new(input: &'a mut dyn BufRead) -> io::Result<Lzma<'a>> {
        let mut header = [0; 13];
        input.read_exact(&mut header)?;
        let [properties, d0, d1, d2, d3, size @ ..] = header;
        let size = u64::from_le_bytes(size);
        let dictionary = Dictionary::new(u32::from_le_bytes([d0, d1, d2, d3]) as usize)?;
        let model = Model::new(Properties::from_byte(properties)?);
        let range = RangeDecoder::start(input, u64::MAX)?;
        let left = (size != u64::MAX).then_some(size);
        Ok(Lzma { input, range, model, dictionary, pending: Pending::default(), left, done: false })
    }
}

impl Read for Lzma<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.pending.bytes.is_empty() && !self.done {
            let most = self.left.map_or(CHUNK, |left| usize::try_from(left).unwrap_or(CHUNK).min(CHUNK));
            let out = &mut self.pending.bytes;
            let more = self.model.decode(&mut self.range, self.input, &mut self.dictionary, out, most)?;
            if let Some(left) = &mut self.left {
                *left -= out.len() as u64;
            }
            self.done = !more || self.left == Some(0);
        }
        Ok(self.pending.take(buffer))
    }
}

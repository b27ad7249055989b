//! Unpacks what UEFI packs: LZ77 with Huffman codes (UEFI 2.10 section 19, "Compression Algorithm Specification").
//!
//! Goes in: packed bytes, a header of two lengths in front. Comes out: the bytes, or what is wrong with them. Neither
//! length is believed: input past the end reads as zeros, as the specification's own decoder has it, and output is bounded.

use crate::parse::bytes::u32_at;

/// Symbols of the set of characters and lengths: 256 characters, lengths 3 to 256.
const CHARS: usize = 510;
/// Symbols of the set of positions.
const POSITIONS: usize = 14;
/// Symbols of the set of code lengths.
const LENGTHS: usize = 19;
/// The longest code, in bits.
const LONGEST: usize = 16;
/// The first symbol that is a length: 256 stands for 3 bytes.
const FIRST_LENGTH: usize = 253;

/// Unpacks; fails if the result would have more than `most` bytes. What was read and made of it is taken off
/// `budget`, in vain or not.
pub(super) fn inflate(packed: &[u8], most: usize, budget: &mut usize) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::new();
    let result = unpack(packed, most, &mut out);
    *budget = budget.saturating_sub(out.len() + packed.len());
    result.map(|()| out)
}

fn unpack(packed: &[u8], most: usize, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let (Some(length), Some(size)) = (u32_at(packed, 0), u32_at(packed, 4)) else { return Err("it is too short") };
    let (length, size) = (length as usize, size as usize);
    let Some(input) = length.checked_add(8).and_then(|end| packed.get(8..end)) else {
        return Err("its packed length leads out of the image");
    };
    if size > most {
        return Err("it would unpack to more than all drivers of a ROM have");
    }
    let mut bits = Bits { input, at: 0, hold: 0, held: 0 };
    let mut left = 0;
    let (mut chars, mut positions) = (Code::default(), Code::default());
    while out.len() < size {
        if left == 0 {
            if bits.at >= input.len() {
                return Err("its packed bytes end too early");
            }
            left = bits.take(16);
            if left == 0 {
                return Err("it has an empty block");
            }
            let lengths = code_lengths(&mut bits, LENGTHS, 5, Some(3))?;
            chars = Code::new(&char_lengths(&mut bits, &lengths)?)?;
            positions = code_lengths(&mut bits, POSITIONS, 4, None)?;
        }
        left -= 1;
        let symbol = chars.next(&mut bits)?;
        if let Ok(byte) = u8::try_from(symbol) {
            out.push(byte);
            continue;
        }
        let count = (symbol - FIRST_LENGTH).min(size - out.len());
        let distance = match positions.next(&mut bits)? {
            0 => 1,
            more => (1usize << (more - 1)) + bits.take(more - 1) + 1,
        };
        let start = out.len().checked_sub(distance).ok_or("it repeats what is before its start")?;
        for index in start..start + count {
            let byte = *out.get(index).ok_or("it repeats what is before its start")?;
            out.push(byte);
        }
    }
    Ok(())
}

/// A code of a small set: so many lengths of three bits or, from 7 on, unary; after `skip` of them a run of zeros.
fn code_lengths(bits: &mut Bits<'_>, symbols: usize, width: usize, skip: Option<usize>) -> Result<Code, &'static str> {
    let count = bits.take(width);
    if count == 0 {
        return Code::only(bits.take(width), symbols);
    }
    if count > symbols {
        return Err(BAD_CODE);
    }
    let mut lengths = [0; LENGTHS];
    let mut index = 0;
    while index < count {
        let mut length = bits.take(3);
        if length == 7 {
            while bits.take(1) == 1 {
                length += 1;
                if length > LONGEST {
                    return Err(BAD_CODE);
                }
            }
        }
        *lengths.get_mut(index).ok_or(BAD_CODE)? = length as u8;
        index += 1;
        if Some(index) == skip {
            index += bits.take(2);
        }
    }
    Code::new(&lengths[..symbols])
}

/// The code of characters and lengths, itself coded: 0 to 2 are runs of zeros, others a length and two.
fn char_lengths(bits: &mut Bits<'_>, code: &Code) -> Result<[u8; CHARS], &'static str> {
    let mut lengths = [0; CHARS];
    let count = bits.take(9);
    if count == 0 {
        let only = bits.take(9);
        // A code without bits: marked by a length that none has.
        *lengths.get_mut(only).ok_or(BAD_CODE)? = ONLY;
        return Ok(lengths);
    }
    if count > CHARS {
        return Err(BAD_CODE);
    }
    let mut index = 0;
    while index < count {
        index += match code.next(bits)? {
            0 => 1,
            1 => 3 + bits.take(4),
            2 => 20 + bits.take(9),
            length => {
                *lengths.get_mut(index).ok_or(BAD_CODE)? = (length - 2) as u8;
                1
            }
        };
    }
    Ok(lengths)
}

const BAD_CODE: &str = "its codes make no sense";
/// The length that marks the only symbol of a code, which takes no bits.
const ONLY: u8 = 0xff;

/// A canonical Huffman code: shorter codes first, among those of one length smaller symbols first.
#[derive(Default)]
struct Code {
    /// How many codes each length has.
    counts: [usize; LONGEST + 1],
    /// The symbols in order of their codes.
    symbols: Vec<u16>,
    /// The symbol that needs no bits.
    only: Option<usize>,
}

impl Code {
    fn only(symbol: usize, symbols: usize) -> Result<Code, &'static str> {
        if symbol < symbols { Ok(Code { only: Some(symbol), ..Code::default() }) } else { Err(BAD_CODE) }
    }

    fn new(lengths: &[u8]) -> Result<Code, &'static str> {
        if let Some(only) = lengths.iter().position(|length| *length == ONLY) {
            return Code::only(only, lengths.len());
        }
        let mut code = Code::default();
        for length in lengths.iter().filter(|length| **length > 0) {
            *code.counts.get_mut(usize::from(*length)).ok_or(BAD_CODE)? += 1;
        }
        let mut places = [0; LONGEST + 1];
        let (mut room, mut place) = (1usize << LONGEST, 0);
        for (length, (count, first)) in code.counts.iter().zip(&mut places).enumerate().skip(1) {
            *first = place;
            place += count;
            room = room.checked_sub(count << (LONGEST - length)).ok_or(BAD_CODE)?;
        }
        // As the specification's decoder: every sequence of bits is a code.
        if room > 0 {
            return Err(BAD_CODE);
        }
        code.symbols = vec![0; place];
        for (symbol, length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
            let place = &mut places[usize::from(*length)];
            code.symbols[*place] = symbol as u16;
            *place += 1;
        }
        Ok(code)
    }

    fn next(&self, bits: &mut Bits<'_>) -> Result<usize, &'static str> {
        if let Some(only) = self.only {
            return Ok(only);
        }
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code = code << 1 | bits.take(1);
            if code - first < *count {
                return self.symbols.get(index + code - first).map(|symbol| usize::from(*symbol)).ok_or(BAD_CODE);
            }
            index += count;
            first = (first + count) << 1;
        }
        Err(BAD_CODE)
    }
}

/// Bits, the highest of each byte first.
struct Bits<'a> {
    input: &'a [u8],
    at: usize,
    hold: u32,
    held: usize,
}

impl Bits<'_> {
    /// The next `count` bits, 16 at most.
    fn take(&mut self, count: usize) -> usize {
        while self.held < count {
            self.hold = self.hold << 8 | u32::from(self.input.get(self.at).copied().unwrap_or(0));
            self.at += 1;
            self.held += 8;
        }
        self.held -= count;
        (self.hold >> self.held & ((1 << count) - 1)) as usize
    }
}

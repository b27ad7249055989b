#!/usr/bin/env python3
"""A second, independent reader of PCI option ROMs, to judge the program's own reader against.

Written from the specifications alone, without looking at the program's source or at any other implementation,
so that a misreading in one is unlikely to be shared by the other:
  * PCI Firmware Specification 3.x, chapter 5 (expansion ROM header, PCI Data Structure);
  * UEFI Specification 2.10, section 14.4.2 (EFI PCI expansion ROM header) and section 19 (compression);
  * Microsoft PE/COFF (COFF header, optional header, data directories).

Usage: second_opinion.py FILE...    prints one JSON object per file and line, keys sorted.

Where the specifications are silent, the choices are:
  * an image runs for the PCI Data Structure's Image Length, cut at the end of the file, and an EFI payload to
    the end of its image; an image of length zero is listed, and ends the walk, as nothing can follow it;
  * a legacy image whose Initialization Size reaches beyond the file has a bad checksum;
  * a device list is read up to its terminator, or up to the end of its image;
  * any Compression Type but 0 is called compressed; only type 1 can be undone, the others give pe null;
  * a compressed stream must end exactly at its Original Size, use complete Huffman codes, and stay inside
    its Compressed Size; anything else gives pe null.
"""
import json
import os
import sys

# A claimed Original Size above this is garbage: the largest window an expansion ROM can ask for is 16 MiB, and a
# few bytes of hostile input can legally expand to gigabytes.
LARGEST_ORIGINAL = 16 << 20


class Malformed(Exception):
    """The bytes do not follow the specification."""


def number(data, offset, size):
    """The little-endian number of `size` bytes at `offset`; never reads short."""
    if offset < 0 or offset + size > len(data):
        raise Malformed(f"{size} bytes at {offset:#x} lie outside")
    return int.from_bytes(data[offset:offset + size], "little")


# ---- UEFI section 19: decompression ----

class Bits:
    """The bit stream: most significant bit of each byte first. Reading past the end is an error."""

    def __init__(self, data):
        self.data, self.at, self.held, self.count = data, 0, 0, 0

    def take(self, wanted):
        while self.count < wanted:
            if self.at >= len(self.data):
                raise Malformed("the compressed stream ends early")
            self.held = self.held << 8 | self.data[self.at]
            self.at += 1
            self.count += 8
        self.count -= wanted
        value = self.held >> self.count
        self.held &= (1 << self.count) - 1
        return value

    def symbol(self, code):
        """The next symbol. A code is a dictionary whose keys are the code words with a 1 bit put in front, which
        keeps words of different lengths apart; a code of one symbol, which takes no bits, has the key 1."""
        word = 1
        while word not in code:  # ends within 16 bits, as canonical_code lets only complete codes through
            word = word << 1 | self.take(1)
        return code[word]


def canonical_code(lengths):
    """Shorter words first, equal lengths in the order of the symbols."""
    code, word = {}, 0
    for length in range(1, 17):
        word <<= 1
        for symbol, its_length in enumerate(lengths):
            if its_length == length:
                code[1 << length | word] = symbol
                word += 1
    # A complete code uses up all 2^16 sixteen-bit words, no more and no fewer.
    if word != 1 << 16 or max(lengths) > 16:
        raise Malformed("the Huffman code is not complete")
    return code


def read_set(bits, symbols, count_bits, add_lengths):
    """The code of one set of `symbols` symbols; add_lengths reads the next lengths onto a list."""
    count, lengths = bits.take(count_bits), []
    only = bits.take(count_bits) if count == 0 else 0  # a set of one symbol stores just that symbol
    while len(lengths) < count:
        add_lengths(bits, lengths)
    if only >= symbols or len(lengths) > symbols:
        raise Malformed("symbols outside the set")
    return canonical_code(lengths) if count else {1: only}


def add_position_length(bits, lengths):
    length = bits.take(3)
    if length == 7:  # seven and above: one more 1 bit for each, closed by a 0 bit
        while bits.take(1):
            length += 1
    lengths.append(length)


def add_extra_length(bits, lengths):
    add_position_length(bits, lengths)
    if len(lengths) == 3:  # after the third length, how many of the next three are zero
        lengths += [0] * bits.take(2)


def add_char_lengths(bits, lengths, extra):
    symbol = bits.symbol(extra)
    if symbol > 2:
        lengths.append(symbol - 2)
    else:  # runs of zeros: one, 3 to 18, 20 and more
        lengths += [0] * (1 if symbol == 0 else bits.take(4) + 3 if symbol == 1 else bits.take(9) + 20)


def decompress(data):
    """The original data of one compressed-data structure of UEFI section 19."""
    compressed = number(data, 0, 4)  # 0x0: Compressed Size, without these eight bytes
    original = number(data, 4, 4)    # 0x4: Original Size
    if compressed > len(data) - 8 or original > LARGEST_ORIGINAL:
        raise Malformed("the sizes cannot be true")
    bits, out = Bits(data[8:8 + compressed]), bytearray()
    while len(out) < original:
        left = bits.take(16)  # Block Header: the number of characters and pointers in the block
        if left == 0:
            raise Malformed("an empty block")
        extra = read_set(bits, 19, 5, add_extra_length)
        # Char&Len Set: 256 characters and the match lengths 3..256.
        chars = read_set(bits, 510, 9, lambda bits, lengths: add_char_lengths(bits, lengths, extra))
        positions = read_set(bits, 14, 4, add_position_length)
        for _ in range(left):
            symbol = bits.symbol(chars)
            if symbol < 256:
                out.append(symbol)
            else:
                position = bits.symbol(positions)
                if position > 1:
                    position = 1 << position - 1 | bits.take(position - 1)
                start, length = len(out) - position - 1, symbol - 256 + 3
                if start < 0:
                    raise Malformed("a pointer reaches before the beginning")
                # A match may overlap what it produces, which repeats the bytes from start on.
                piece = out[start:start + length]
                out += (piece * (length // len(piece) + 1))[:length]
            if len(out) > original:
                raise Malformed("more data than the Original Size")
    return bytes(out)


# ---- PE/COFF ----

def read_pe(data):
    if data[:2] != b"MZ":
        raise Malformed("no MS-DOS stub")
    header = number(data, 0x3C, 4)  # 0x3c: file offset of the PE signature
    if data[header:header + 4] != b"PE\0\0":
        raise Malformed("no PE signature")
    machine = number(data, header + 4, 2)         # COFF 0x0: Machine
    optional_size = number(data, header + 20, 2)  # COFF 0x10: SizeOfOptionalHeader
    if header + 24 + optional_size > len(data):
        raise Malformed("the optional header lies outside")
    optional = data[header + 24:header + 24 + optional_size]
    # Optional header 0x0: Magic (PE32 or PE32+), which decides where the directories lie.
    count_at = {0x10B: 92, 0x20B: 108}.get(number(optional, 0, 2))
    if count_at is None:
        raise Malformed("neither PE32 nor PE32+")
    subsystem = number(optional, 68, 2)           # 0x44: Subsystem
    directories = number(optional, count_at, 4)   # 92/108: NumberOfRvaAndSizes
    # Entry 4: Certificate Table; 8 bytes an entry, address and size.
    signed = directories > 4 and number(optional, count_at + 4 + 4 * 8 + 4, 4) != 0
    return {"machine": f"{machine:04x}", "subsystem": subsystem, "signed": signed, "size": len(data)}


# ---- PCI option ROM ----

def read_efi(image):
    """What the EFI PCI expansion ROM header of one image says, or None where it has none."""
    if len(image) < 0x18 or number(image, 0x04, 4) != 0x0EF1:  # 0x04: EFI Signature
        return None
    subsystem = number(image, 0x08, 2)        # 0x08: EFI Subsystem
    machine = number(image, 0x0A, 2)          # 0x0a: EFI Machine Type
    compression = number(image, 0x0C, 2)      # 0x0c: Compression Type, 0 none, 1 UEFI section 19
    payload = image[number(image, 0x16, 2):]  # 0x16: Offset to EFI Image
    try:
        pe = read_pe(decompress(payload) if compression == 1 else payload) if compression < 2 else None
    except Malformed:
        pe = None
    return {"machine": f"{machine:04x}", "subsystem": subsystem, "compressed": compression != 0, "pe": pe}


def read_device_list(image, pcir):
    pointer = number(image, pcir + 0x08, 2)  # PCIR 0x08: Device List Pointer, from the structure's beginning
    devices = []
    # PCIR 0x0c: PCI Data Structure Revision; before 3 the field pointed to vital product data.
    if number(image, pcir + 0x0C, 1) == 3 and pointer != 0:
        at = pcir + pointer
        while at + 2 <= len(image) and number(image, at, 2) != 0:
            devices.append(f"{number(image, at, 2):04x}")
            at += 2
    return devices


def read_image(rom, offset):
    """The image at `offset`; Malformed where none begins there."""
    if rom[offset:offset + 2] != b"\x55\xAA":              # header 0x00: ROM Signature
        raise Malformed("no ROM signature")
    pcir = offset + number(rom, offset + 0x18, 2)          # header 0x18: Pointer to PCI Data Structure
    if rom[pcir:pcir + 4] != b"PCIR":                      # PCIR 0x00: Signature
        raise Malformed("no PCI Data Structure")
    length = number(rom, pcir + 0x10, 2) * 512             # PCIR 0x10: Image Length, in units of 512 bytes
    code_type = number(rom, pcir + 0x14, 1)                # PCIR 0x14: Code Type
    image = rom[offset:offset + length]
    initial = number(rom, offset + 0x02, 1) * 512          # header 0x02: Initialization Size
    checksum_ok = offset + initial <= len(rom) and sum(rom[offset:offset + initial]) % 256 == 0
    return {
        "offset": offset, "length": length, "code_type": code_type,
        "vendor_id": f"{number(rom, pcir + 0x04, 2):04x}",  # PCIR 0x04: Vendor Identification
        "device_id": f"{number(rom, pcir + 0x06, 2):04x}",  # PCIR 0x06: Device Identification
        "class": f"{number(rom, pcir + 0x0D, 3):06x}",      # PCIR 0x0d: Class Code, base class in the last byte
        "last": number(rom, pcir + 0x15, 1) & 0x80 != 0,    # PCIR 0x15: Indicator, bit 7 the last image
        "revision": number(rom, pcir + 0x12, 2),            # PCIR 0x12: Revision Level of the Vendor's ROM
        "device_list": read_device_list(rom[:max(offset + length, pcir + 0x18)], pcir),
        "checksum_ok": checksum_ok if code_type == 0 else None,
        "efi": read_efi(image) if code_type == 3 else None,
    }


def read_rom(name, rom):
    images, offset = [], 0
    try:
        while not images or not images[-1]["last"] and images[-1]["length"]:
            images.append(read_image(rom, offset))
            offset += images[-1]["length"]
    except Malformed:
        pass
    return {"file": name, "size": len(rom), "images": images, "trailing": max(0, len(rom) - offset)}


def main():
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            print(json.dumps(read_rom(os.path.basename(path), file.read()), sort_keys=True))


if __name__ == "__main__":
    main()

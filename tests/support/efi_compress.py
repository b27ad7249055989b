#!/usr/bin/env python3
"""An encoder of the compression of the UEFI Specification (2.10, section 19), for tests.

It makes the compressed EFI payloads that the tests put into option ROMs. Written from the specification alone,
independently of every decoder it feeds. It compresses modestly, but uses all of the format: LZ77 matches,
length-limited canonical Huffman codes, several blocks, and the sets with one symbol only.

Usage: efi_compress.py IN OUT
"""
import heapq
import sys

WINDOW = 8192             # the farthest a pointer reaches back; a Position Set of 14 symbols covers it
SHORTEST, LONGEST = 3, 256
BLOCK = 16383             # characters and pointers in a block; the Block Header has 16 bits for it
CHAIN = 32                # candidates tried for each match: more gains little and costs time


def tokens_of(data):
    """The data as characters (byte, None) and pointers (256 + length - 3, distance - 1)."""
    heads, links, tokens, at = {}, [-1] * len(data), [], 0
    while at < len(data):
        best, best_from, tries = 0, 0, CHAIN
        candidate = heads.get(data[at:at + SHORTEST], -1)
        limit = min(LONGEST, len(data) - at)
        while candidate >= 0 and at - candidate <= WINDOW and tries and best < limit:
            # The byte that would make the match longer than the best decides cheaply.
            if data[candidate + best] == data[at + best]:
                length = 0
                while length < limit and data[candidate + length] == data[at + length]:
                    length += 1
                if length > best:
                    best, best_from = length, candidate
            candidate, tries = links[candidate], tries - 1
        if best >= SHORTEST:
            tokens.append((256 + best - SHORTEST, at - best_from - 1))
        else:
            tokens.append((data[at], None))
            best = 1
        for covered in range(at, at + best):
            key = data[covered:covered + SHORTEST]
            if len(key) == SHORTEST:
                links[covered] = heads.get(key, -1)
                heads[key] = covered
        at += best
    return tokens


def position_symbol(position):
    """0 and 1 stand for themselves; p above 1 for the positions of p significant bits."""
    return position if position < 2 else position.bit_length()


def code_lengths(counts):
    """Huffman code lengths, at most 16, of a set with two or more symbols in use."""
    weights = list(counts)
    while True:
        heap = [(weight, symbol, (symbol,)) for symbol, weight in enumerate(weights) if weight]
        heapq.heapify(heap)
        lengths, fresh = [0] * len(weights), len(weights)
        while len(heap) > 1:
            first, second = heapq.heappop(heap), heapq.heappop(heap)
            for symbol in first[2] + second[2]:
                lengths[symbol] += 1
            heapq.heappush(heap, (first[0] + second[0], fresh, first[2] + second[2]))
            fresh += 1
        if max(lengths) <= 16:
            return lengths
        # Too deep: flatten the weights and try again, which ends as all of them come to equal 1.
        weights = [(weight + 1) // 2 for weight in weights]


def codes_of(lengths):
    """The canonical code of each symbol: (bits, length)."""
    codes, code = {}, 0
    for length in range(1, 17):
        code <<= 1
        for symbol, its_length in enumerate(lengths):
            if its_length == length:
                codes[symbol] = (code, length)
                code += 1
    return codes


class Set:
    """One set of symbols: its code, and how to tell the decoder about it."""

    def __init__(self, counts):
        used = [symbol for symbol, count in enumerate(counts) if count]
        # With one symbol (or none) the code takes no bits, and the symbol itself is stored.
        self.only = (used + [0])[0] if len(used) < 2 else None
        self.lengths = [] if self.only is not None else code_lengths(counts)
        while self.lengths and self.lengths[-1] == 0:
            self.lengths.pop()
        self.codes = codes_of(self.lengths)

    def put(self, bits, symbol):
        if self.only is None:
            bits.put(*self.codes[symbol])

    def put_plain(self, bits, count_bits, skip_after):
        """The Extra Set and the Position Set: the lengths as they are."""
        if self.only is not None:
            bits.put(0, count_bits)
            bits.put(self.only, count_bits)
            return
        bits.put(len(self.lengths), count_bits)
        at = 0
        while at < len(self.lengths):
            length = self.lengths[at]
            if length < 7:
                bits.put(length, 3)
            else:  # seven and above: three 1 bits, one more for each above seven, and a 0 bit
                bits.put((1 << length - 3) - 2, length - 3)
            at += 1
            if at == skip_after:
                zeros = 0
                while zeros < 3 and at < len(self.lengths) and self.lengths[at] == 0:
                    zeros, at = zeros + 1, at + 1
                bits.put(zeros, 2)

    def put_char_set(self, bits):
        """The Char&Len Set: the lengths, coded with an Extra Set that precedes them."""
        coded, at = [], 0  # (symbol of the Extra Set, value, bits of the value)
        while at < len(self.lengths):
            if self.lengths[at]:
                coded.append((self.lengths[at] + 2, 0, 0))
                at += 1
                continue
            zeros = 0
            while self.lengths[at + zeros] == 0:  # ends: the last length is never zero
                zeros += 1
            at += zeros
            if zeros == 19:  # between the reach of symbol 1 (3 to 18) and of symbol 2 (20 and up)
                coded.append((0, 0, 0))
                zeros = 18
            if zeros >= 20:
                coded.append((2, zeros - 20, 9))
            elif zeros >= 3:
                coded.append((1, zeros - 3, 4))
            else:
                coded += [(0, 0, 0)] * zeros
        counts = [0] * 19
        for symbol, _, _ in coded:
            counts[symbol] += 1
        extra = Set(counts)
        extra.put_plain(bits, 5, 3)
        bits.put(len(self.lengths), 9)
        if self.only is not None:
            bits.put(self.only, 9)
        for symbol, value, value_bits in coded:
            extra.put(bits, symbol)
            bits.put(value, value_bits)


class Bits:
    """The bit stream: most significant bit of each byte first."""

    def __init__(self):
        self.out, self.held, self.count = bytearray(), 0, 0

    def put(self, value, size):
        self.held, self.count = self.held << size | value, self.count + size
        while self.count >= 8:
            self.count -= 8
            self.out.append(self.held >> self.count)
            self.held &= (1 << self.count) - 1

    def finish(self):
        self.put(0, -self.count % 8)
        return bytes(self.out)


def compress(data):
    """The compressed-data structure: Compressed Size, Original Size, blocks."""
    tokens, bits = tokens_of(data), Bits()
    for start in range(0, len(tokens), BLOCK):
        block = tokens[start:start + BLOCK]
        char_counts, position_counts = [0] * 510, [0] * 14
        for symbol, position in block:
            char_counts[symbol] += 1
            if position is not None:
                position_counts[position_symbol(position)] += 1
        chars, positions = Set(char_counts), Set(position_counts)
        bits.put(len(block), 16)
        chars.put_char_set(bits)
        positions.put_plain(bits, 4, None)
        for symbol, position in block:
            chars.put(bits, symbol)
            if position is not None:
                sized = position_symbol(position)
                positions.put(bits, sized)
                if sized > 1:  # the bits below the leading 1
                    bits.put(position - (1 << sized - 1), sized - 1)
    body = bits.finish()
    return len(body).to_bytes(4, "little") + len(data).to_bytes(4, "little") + body


def main():
    source, target = sys.argv[1:]
    with open(source, "rb") as file:
        data = file.read()
    with open(target, "wb") as file:
        file.write(compress(data))


if __name__ == "__main__":
    main()

//! Lossless WebP, written bit by bit, with as many tables of codes as one likes.

use super::raster;

/// Bits, the lowest of a byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn put(&mut self, value: u32, count: usize) {
        for bit in 0..count {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.len() - 1;
            self.bytes[last] |= u8::try_from(value >> bit & 1).expect("a bit") << (self.count % 8);
            self.count += 1;
        }
    }

    /// A code of one symbol, which takes no bits.
    fn single(&mut self, symbol: u32) {
        self.put(0b101, 3);
        self.put(symbol, 8);
    }

    /// A code of eleven symbols, the longest of ten bits, which decoders look up in 1,024 places.
    fn wide(&mut self) {
        self.put(0, 1);
        // Lengths 1 to 6 have codes of three bits, 7 to 10 of four.
        let lengths = [0, 0, 0, 3, 3, 3, 3, 3, 0, 3, 4, 4, 4, 4];
        self.put(u32::try_from(lengths.len() - 4).expect("small"), 4);
        for length in lengths {
            self.put(length, 3);
        }
        // Eleven lengths follow; codes begin with their highest bit.
        self.put(1, 1);
        self.put(1, 3);
        self.put(11 - 2, 4);
        for length in (1..=10_u32).chain([10]) {
            let (code, count) = if length < 7 { (length - 1, 3) } else { (length + 5, 4) };
            (0..count).rev().for_each(|bit| self.put(code >> bit & 1, 1));
        }
    }
}

/// A picture of 1,024 × 1,024 pixels that has `256 * high` groups of five wide codes, and no
/// pixels.
pub fn groups(high: u32) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(0x2f, 8);
    bits.put(1023, 14);
    bits.put(1023, 14);
    // Neither transparency, version, transforms nor color cache; groups for blocks of 4 × 4 pixels.
    bits.put(0, 4);
    bits.put(0, 2);
    bits.put(1, 1);
    bits.put(0, 3);
    // Which group is used, for each block the same: the last one.
    bits.put(0, 1);
    bits.single(255);
    bits.single(high - 1);
    (0..3).for_each(|_| bits.single(0));
    (0..5 * 256 * high).for_each(|_| bits.wide());
    raster::riff(&[raster::riff_chunk(*b"VP8L", &bits.bytes)])
}

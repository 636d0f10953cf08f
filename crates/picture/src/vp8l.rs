//! Lossless WebP, as far as its tables of codes go: how much memory a decoder needs for them.
//!
//! A picture may have 65,536 groups of five codes, each of which a decoder turns into tables of its
//! own, and the number of groups stands behind other coded data. So that data is walked through,
//! without keeping any of it. The sizes of tables are those of `image-webp` 0.2.
//!
//! Source: RFC 9649, section 3.

/// Longest code of a symbol, in bits.
const MAX_CODE_BITS: usize = 15;
/// Codes of a group, by how many symbols each has: green with lengths (and the color cache), red,
/// blue, transparency, distances.
const ALPHABETS: [usize; 5] = [256 + LENGTHS, 256, 256, 256, 40];
/// Symbols of the first code that begin a repetition.
const LENGTHS: usize = 24;
/// In which order the lengths of the code of code lengths come.
const LENGTH_ORDER: [usize; 19] =
    [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Bits that a decoder looks up at once, with four bytes for each of their values.
const TABLE_BITS: usize = 10;
/// Bytes of the nodes for each symbol of a longer code: two of them.
const LONG_CODE_BYTES: u64 = 32;
/// Bytes of the tables of a code of two symbols.
const PAIR_BYTES: u64 = 56;
/// Bytes of a group beside its tables, three times: a list that grows is copied to one of twice its
/// size.
const GROUP_BYTES: u64 = 3 * 5 * 56;

/// Returns how many bytes the tables of a coded picture take; none if it is damaged before its
/// pixels.
///
/// `data` is what follows the picture's size.
pub(crate) fn tables(data: &[u8], (width, height): (u32, u32)) -> Option<u64> {
    let mut bits = Bits { rest: data, held: 0, count: 0 };
    let mut width = width;
    let mut seen = [false; 4];
    // Transforms, each at most once: two with pictures of their own, a simple one, a table of
    // colors.
    while bits.take(1)? == 1 {
        let kind = bits.take(2)?;
        let again = std::mem::replace(seen.get_mut(usize::try_from(kind).ok()?)?, true);
        match kind {
            _ if again => return None,
            0 | 1 => {
                let side = bits.take(3)? + 2;
                bits.picture(blocks(width, side), blocks(height, side))?;
            }
            2 => {}
            _ => {
                let colors = bits.take(8)? + 1;
                bits.picture(colors, 1)?;
                // Few colors share a byte.
                width = blocks(
                    width,
                    [(2, 3), (4, 2), (16, 1)]
                        .into_iter()
                        .find(|(most, _)| colors <= *most)
                        .map_or(0, |(_, side)| side),
                );
            }
        }
    }
    let cache = bits.cache()?;
    let groups = if bits.take(1)? == 1 {
        let side = bits.take(3)? + 2;
        bits.picture(blocks(width, side), blocks(height, side))? + 1
    } else {
        1
    };
    let mut sum = 0;
    for _ in 0..groups {
        sum += GROUP_BYTES + bits.group(cache)?.iter().map(Code::bytes).sum::<u64>();
    }
    Some(sum)
}

/// How many blocks of 2 to the power of `side` pixels cover a length.
fn blocks(pixels: u32, side: u32) -> u32 {
    pixels.div_ceil(1 << side)
}

/// Bits, the lowest of a byte first.
struct Bits<'a> {
    rest: &'a [u8],
    held: u64,
    count: u32,
}

impl Bits<'_> {
    /// Takes up to 32 bits.
    fn take(&mut self, count: u32) -> Option<u32> {
        while self.count < count {
            let (byte, rest) = self.rest.split_first()?;
            self.held |= u64::from(*byte) << self.count;
            self.count += 8;
            self.rest = rest;
        }
        let taken = self.held & ((1 << count) - 1);
        self.held >>= count;
        self.count -= count;
        u32::try_from(taken).ok()
    }

    /// How many bits are left.
    fn left(&self) -> usize {
        self.rest.len() * 8 + self.count as usize
    }

    /// Reads how many symbols the color cache adds.
    fn cache(&mut self) -> Option<usize> {
        if self.take(1)? == 0 {
            return Some(0);
        }
        let bits = self.take(4)?;
        (1..=11).contains(&bits).then(|| 1 << bits)
    }

    /// Reads the five codes of a group.
    fn group(&mut self, cache: usize) -> Option<[Code; 5]> {
        let [green, others @ ..] = ALPHABETS;
        let mut codes = [const { Code::Single(0) }; 5];
        for (code, symbols) in codes.iter_mut().zip([green + cache].into_iter().chain(others)) {
            *code = self.code(symbols)?;
        }
        Some(codes)
    }

    /// Reads the code of an alphabet.
    fn code(&mut self, symbols: usize) -> Option<Code> {
        let bits = if self.take(1)? == 0 {
            let lengths = self.lengths(symbols)?;
            return Code::of(&lengths);
        } else {
            (self.take(1)?, self.take(1)?)
        };
        let first = u16::try_from(self.take(1 + 7 * bits.1)?).ok()?;
        let code = if bits.0 == 0 {
            Code::Single(first)
        } else {
            Code::Pair(first, u16::try_from(self.take(8)?).ok()?)
        };
        let last = code.last();
        (usize::from(last) < symbols).then_some(code)
    }

    /// Reads the lengths of the codes of all symbols.
    fn lengths(&mut self, symbols: usize) -> Option<Vec<u8>> {
        let mut first = [0; LENGTH_ORDER.len()];
        let count = 4 + self.take(4)? as usize;
        for at in LENGTH_ORDER.iter().take(count) {
            *first.get_mut(*at)? = u8::try_from(self.take(3)?).ok()?;
        }
        let code = Code::of(&first)?;
        let mut left = symbols;
        if self.take(1)? == 1 {
            let bits = 2 + 2 * self.take(3)?;
            left = 2 + self.take(bits)? as usize;
        }
        let mut lengths = Vec::with_capacity(symbols);
        let mut previous = 8;
        while lengths.len() < symbols && left > 0 {
            left -= 1;
            let (length, times) = match code.next(self)? {
                16 => (previous, 3 + self.take(2)?),
                17 => (0, 3 + self.take(3)?),
                18 => (0, 11 + self.take(7)?),
                length => (u8::try_from(length).ok()?, 1),
            };
            if length != 0 {
                previous = length;
            }
            lengths.extend(std::iter::repeat_n(length, times as usize));
        }
        (lengths.len() <= symbols).then_some(lengths)
    }

    /// Goes over a picture that belongs to a transform or that names groups; returns the highest of
    /// its pixels, as a number of red and green.
    fn picture(&mut self, width: u32, height: u32) -> Option<u32> {
        let cache = self.cache()?;
        let codes = self.group(cache)?;
        let [green, red, blue, alpha, distance] = &codes;
        let pixels = u64::from(width) * u64::from(height);
        let (mut done, mut highest) = (0, 0);
        while done < pixels {
            let left = self.left();
            let symbol = green.next(self)?;
            done += match usize::from(symbol) {
                0..256 => {
                    highest = highest.max(u32::from(red.next(self)?) << 8 | u32::from(symbol));
                    blue.next(self)?;
                    alpha.next(self)?;
                    1
                }
                // Repeated pixels, and those of the cache, were there before, or are zero.
                length if length < 256 + LENGTHS => {
                    let length = self.extent(symbol - 256)?;
                    let distance = distance.next(self)?;
                    self.extent(distance)?;
                    length.into()
                }
                _ => 1,
            };
            if self.left() == left {
                // Symbols without bits: it goes on like this up to the end.
                break;
            }
        }
        Some(highest)
    }

    /// Reads the rest of a length or distance.
    fn extent(&mut self, prefix: u16) -> Option<u32> {
        let prefix = u32::from(prefix);
        if prefix < 4 {
            return Some(prefix + 1);
        }
        let bits = (prefix - 2) >> 1;
        Some(((2 + (prefix & 1)) << bits) + self.take(bits)? + 1)
    }
}

/// A code: which bits stand for which symbol.
enum Code {
    /// One symbol, without bits.
    Single(u16),
    /// Two symbols of one bit each.
    Pair(u16, u16),
    /// How many symbols have codes of each length, and the symbols in order of their codes.
    Canonical { counts: [u16; MAX_CODE_BITS + 1], symbols: Vec<u16> },
}

impl Code {
    /// Makes the code in which symbols have these lengths; none if they are not those of a code.
    fn of(lengths: &[u8]) -> Option<Self> {
        let mut counts = [0_u16; MAX_CODE_BITS + 1];
        for length in lengths {
            *counts.get_mut(usize::from(*length))? += 1;
        }
        // Symbols without a code come first, and are left out.
        let unused = usize::from(std::mem::take(&mut counts[0]));
        let mut places = [0; MAX_CODE_BITS + 1];
        let mut place = 0;
        for (to, count) in places.iter_mut().zip(&counts) {
            *to = place;
            place += usize::from(*count);
        }
        let mut symbols = vec![0; lengths.len() - unused];
        for (length, symbol) in lengths.iter().zip(0_u16..).filter(|(length, _)| **length > 0) {
            let place = places.get_mut(usize::from(*length))?;
            *symbols.get_mut(*place)? = symbol;
            *place += 1;
        }
        if let [single] = symbols.as_slice() {
            return Some(Self::Single(*single));
        }
        let shares =
            counts.iter().zip(0..).map(|(count, bits)| u32::from(*count) << (MAX_CODE_BITS - bits));
        let used: u32 = shares.sum();
        (used == 1 << MAX_CODE_BITS).then_some(Self::Canonical { counts, symbols })
    }

    /// Reads a symbol.
    fn next(&self, bits: &mut Bits<'_>) -> Option<u16> {
        let (counts, symbols) = match self {
            Self::Single(symbol) => return Some(*symbol),
            Self::Pair(zero, one) => return Some(if bits.take(1)? == 0 { *zero } else { *one }),
            Self::Canonical { counts, symbols } => (counts, symbols),
        };
        // Codes of one length follow one another, behind those that are shorter.
        let (mut code, mut before) = (0, 0);
        for count in counts.iter().skip(1).map(|count| usize::from(*count)) {
            code = code << 1 | bits.take(1)? as usize;
            if code < count {
                return symbols.get(before + code).copied();
            }
            code -= count;
            before += count;
        }
        None
    }

    /// The highest symbol of those that are listed.
    fn last(&self) -> u16 {
        match self {
            Self::Single(symbol) => *symbol,
            Self::Pair(zero, one) => *zero.max(one),
            Self::Canonical { symbols, .. } => symbols.iter().copied().max().unwrap_or_default(),
        }
    }

    /// How many bytes a decoder's tables have for it.
    fn bytes(&self) -> u64 {
        let counts = match self {
            Self::Single(_) => return 0,
            Self::Pair(..) => return PAIR_BYTES,
            Self::Canonical { counts, .. } => counts,
        };
        let longest = counts.iter().rposition(|count| *count > 0).unwrap_or_default();
        let long: u64 = counts.iter().skip(TABLE_BITS + 1).map(|count| u64::from(*count)).sum();
        (4 << longest.min(TABLE_BITS)) + long * LONG_CODE_BYTES
    }
}

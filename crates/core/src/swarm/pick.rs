//! Which of the free blocks a provider is asked for.

use std::collections::BTreeMap;

use rand_core::Rng;

use super::{Blocks, first, runs};

/// Most pieces that a content is divided into to count who has what; of a larger content a piece is
/// larger. Counting takes time in proportion to it.
const MAX_PIECES: u64 = 16 * 1024;

/// Blocks of the smallest piece (256 KiB).
const MIN_PIECE: u64 = 16;

/// How many providers have some of each piece. Those that have everything make no difference between
/// pieces and are left out.
#[derive(Debug, Clone)]
pub(super) struct Rarity {
    piece: u64,
    counts: BTreeMap<u64, u32>,
    /// The last block of all.
    last: u64,
}

impl Rarity {
    pub(super) fn new(size: u64) -> Self {
        let piece = size.div_ceil(MAX_PIECES).next_power_of_two().max(MIN_PIECE);
        Self { piece, counts: BTreeMap::new(), last: size.saturating_sub(1) }
    }

    /// Counts again.
    pub(super) fn count<'a>(&mut self, partial: impl Iterator<Item = &'a Blocks>) {
        self.counts.clear();
        for blocks in partial {
            let mut counted = None;
            for piece in pieces(blocks, self.piece) {
                if counted != Some(piece) {
                    *self.counts.entry(piece).or_default() += 1;
                    counted = Some(piece);
                }
            }
        }
    }

    fn of(&self, piece: u64) -> u32 {
        self.counts.get(&piece).copied().unwrap_or(0)
    }

    /// Picks up to `limit` blocks of `free`: the last one of all first, for who has it can begin anyone's
    /// fetch, since it proves the size; and a rarest piece at random, with what follows it as long as that is
    /// as rare.
    pub(super) fn pick(&self, free: &Blocks, limit: u64, rng: &mut impl Rng) -> Blocks {
        if !free.contains(&self.last) {
            return self.rarest(free, limit, rng);
        }
        let last = Blocks::from(self.last..self.last + 1);
        let mut rest = free.clone();
        rest.difference_with(&last);
        // One more than asked for: what follows is not broken up for it.
        last | self.rarest(&rest, limit, rng)
    }

    fn rarest(&self, free: &Blocks, limit: u64, rng: &mut impl Rng) -> Blocks {
        let (mut rarest, mut start, mut ties) = (u32::MAX, None, 0u64);
        for piece in pieces(free, self.piece) {
            let count = self.of(piece);
            if count < rarest {
                (rarest, ties) = (count, 0);
            }
            if count == rarest {
                ties += 1;
                if rng.next_u64().is_multiple_of(ties) {
                    start = Some(piece);
                }
            }
        }
        let Some(start) = start else { return Blocks::empty() };
        let mut end = start + 1;
        while (end - start) * self.piece < limit && self.of(end) == rarest {
            end += 1;
        }
        let span = Blocks::from(start * self.piece..end.saturating_mul(self.piece));
        first(&(free & &span), limit)
    }
}

/// Picks up to `limit` blocks of `free` in order, from a position on; what is before it comes last.
pub(super) fn pick_in_order(free: &Blocks, from: u64, limit: u64) -> Blocks {
    let after = free & &Blocks::from(from..);
    first(if after.is_empty() { free } else { &after }, limit)
}

/// The pieces that a set touches, ascending; a piece that several runs touch comes several times.
fn pieces(blocks: &Blocks, piece: u64) -> impl Iterator<Item = u64> {
    runs(blocks).flat_map(move |(from, to)| from / piece..=(to - 1) / piece)
}

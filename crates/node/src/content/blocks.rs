//! Between what the swarm counts in, blocks of 16 KiB, and what the wire does, chunks of 1 KiB.
//!
//! A block counts as there when all its chunks are. What is asked for is always whole blocks, since that
//! is what is verified as a whole.

use ayni_core::swarm::{BLOCK_BYTES, Blocks, block_count, runs};
use bao_tree::{ChunkNum, ChunkRanges};
use range_collections::range_set::RangeSetRange;

/// Chunks of one block.
const CHUNKS: u64 = BLOCK_BYTES / 1024;

/// Returns the blocks of a content of `size` bytes that lie wholly in these chunks.
pub(super) fn from_chunks(ranges: &ChunkRanges, size: u64) -> Blocks {
    let (chunks, count) = (size.div_ceil(1024), block_count(size));
    let mut blocks = Blocks::empty();
    for run in ranges.iter() {
        let (start, end) = match run {
            RangeSetRange::Range(range) => (range.start.0, range.end.0),
            RangeSetRange::RangeFrom(range) => (range.start.0, u64::MAX),
        };
        let first = start.div_ceil(CHUNKS);
        let last = if end >= chunks { count } else { end / CHUNKS };
        if first < last {
            blocks |= Blocks::from(first..last);
        }
    }
    blocks
}

/// Returns the chunks of these blocks.
pub(super) fn to_chunks(blocks: &Blocks) -> ChunkRanges {
    let mut ranges = ChunkRanges::empty();
    for (from, to) in runs(blocks) {
        ranges |= ChunkRanges::from(ChunkNum(from * CHUNKS)..ChunkNum(to.saturating_mul(CHUNKS)));
    }
    ranges
}

/// Tells from the bytes of an answer which of the asked blocks are whole: they come in ascending order.
#[derive(Debug)]
pub(super) struct Arrived {
    /// What was asked for and is not whole yet, the next run last.
    left: Vec<(u64, u64)>,
    size: u64,
    /// Bytes of the blocks that are whole.
    whole: u64,
}

impl Arrived {
    /// Begins with an answer of which nothing came yet. `size` is that of the content.
    pub(super) fn new(asked: &Blocks, size: u64) -> Self {
        let mut left: Vec<_> = runs(asked).collect();
        left.reverse();
        Self { left, size, whole: 0 }
    }

    /// Returns the runs of blocks that became whole when so many bytes had come in all.
    pub(super) fn upto(&mut self, bytes: u64) -> Vec<(u64, u64)> {
        let mut whole = Vec::new();
        while let Some((from, to)) = self.left.pop() {
            let mut end = from;
            while end < to && self.whole.saturating_add(self.bytes_of(end)) <= bytes {
                self.whole = self.whole.saturating_add(self.bytes_of(end));
                end += 1;
            }
            if from < end {
                whole.push((from, end));
            }
            if end < to {
                self.left.push((end, to));
                break;
            }
        }
        whole
    }

    fn bytes_of(&self, block: u64) -> u64 {
        self.size.saturating_sub(block.saturating_mul(BLOCK_BYTES)).min(BLOCK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_there_when_all_its_chunks_are() {
        let size = 5 * BLOCK_BYTES + 1;
        let of = |from: u64, to: u64| {
            from_chunks(&ChunkRanges::from(ChunkNum(from)..ChunkNum(to)), size)
        };
        assert_eq!(of(0, 16), Blocks::from(0..1));
        assert_eq!(of(1, 32), Blocks::from(1..2));
        assert_eq!(of(0, 31), Blocks::from(0..1));
        assert_eq!(of(80, 81), Blocks::from(5..6), "the last one is short");
        assert_eq!(of(3, 12), Blocks::empty());
        assert_eq!(from_chunks(&ChunkRanges::all(), size), Blocks::from(0..6));
        assert_eq!(from_chunks(&ChunkRanges::all(), 0), Blocks::empty());
        let all = to_chunks(&(Blocks::from(0..1) | Blocks::from(4..6)));
        assert_eq!(from_chunks(&all, size), Blocks::from(0..1) | Blocks::from(4..6));
    }

    #[test]
    fn what_came_is_counted_in_the_order_of_the_answer() {
        let size = 10 * BLOCK_BYTES + 7;
        let mut arrived = Arrived::new(&(Blocks::from(1..3) | Blocks::from(9..11)), size);
        assert_eq!(arrived.upto(BLOCK_BYTES - 1), []);
        assert_eq!(arrived.upto(BLOCK_BYTES), [(1, 2)]);
        assert_eq!(arrived.upto(3 * BLOCK_BYTES + 6), [(2, 3), (9, 10)]);
        assert_eq!(arrived.upto(3 * BLOCK_BYTES + 7), [(10, 11)]);
        assert_eq!(arrived.upto(u64::MAX), []);
    }
}

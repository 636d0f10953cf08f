//! One provider: what it has, how fast it was, and whether it may be asked.

use super::{
    BLOCK_BYTES, Blocks, FIRST_RANGE, MAX_RANGE, MAX_REST_MS, MIN_RANGE, RANGE_MS, REST_MS,
};
use crate::clock::Millis;
use crate::id::PeerId;

/// Time over which one sample of the speed is taken.
const SAMPLE_MS: u64 = 500;

/// How long one is not asked again for what it did not bring although it has it as it says, in
/// milliseconds: five requests' time, so that others are asked first.
const DOUBT_MS: u64 = 10_000;

/// One that brought nothing for so long while others did its work is taken for stalled, in milliseconds.
const OUTRUN_MS: u64 = 2_000;

/// What a provider whose speed is unknown is taken for, in bytes a second: a common uplink.
pub(super) const UNKNOWN_RATE: u64 = 1024 * 1024;

/// How a provider stands, for a view of the transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderStatus {
    /// The provider.
    pub peer: PeerId,
    /// Blocks that it has of this content.
    pub has: u64,
    /// Bytes a second that it brought lately; 0 as long as that is unknown.
    pub rate: u64,
    /// Requests that it is answering.
    pub requests: usize,
    /// Blocks that it brought.
    pub brought: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Provider {
    pub(super) has: Blocks,
    /// What it said that it has and did not bring, and until when it is not asked for that again.
    doubted: (Blocks, Millis),
    pub(super) here: bool,
    /// The last time when it brought a block, or was asked while idle.
    pub(super) heard: Millis,
    pub(super) rest_until: Millis,
    pub(super) brought: u64,
    strikes: u32,
    rate: Option<u64>,
    sample_since: Millis,
    sample_blocks: u64,
}

impl Provider {
    pub(super) fn new(has: Blocks, now: Millis) -> Self {
        Self {
            has,
            doubted: (Blocks::empty(), 0),
            here: true,
            heard: now,
            rest_until: 0,
            brought: 0,
            strikes: 0,
            rate: None,
            sample_since: now,
            sample_blocks: 0,
        }
    }

    /// Whether it can be asked now.
    pub(super) fn is_usable(&self, now: Millis) -> bool {
        self.here && now >= self.rest_until
    }

    /// Notes that it is asked while it had nothing to do: it is timed from here on.
    pub(super) fn begins(&mut self, now: Millis) {
        self.heard = now;
        self.sample_since = now;
        self.sample_blocks = 0;
    }

    /// Notes blocks that it brought.
    pub(super) fn brings(&mut self, blocks: u64, now: Millis) {
        self.heard = now;
        self.brought += blocks;
        self.strikes = 0;
        self.sample_blocks += blocks;
        let elapsed = now.saturating_sub(self.sample_since);
        if elapsed < SAMPLE_MS {
            return;
        }
        let sample = self.sample_blocks.saturating_mul(BLOCK_BYTES * 1000) / elapsed;
        self.rate = Some(self.rate.map_or(sample, |rate| rate / 2 + sample / 2));
        self.sample_since = now;
        self.sample_blocks = 0;
    }

    /// Notes that nothing is asked of it any more: it brought all, or others were faster.
    pub(super) fn ends(&mut self, now: Millis) {
        self.rate = self.rate(now);
        self.sample_blocks = 0;
        if now.saturating_sub(self.heard) > OUTRUN_MS {
            self.rests(now);
        }
    }

    /// Notes that it ended an answer without these blocks. It may have them all the same: the answer may
    /// have been cut short, or it may get them; and whoever has all does not say so again.
    pub(super) fn doubts(&mut self, blocks: &Blocks, now: Millis) {
        self.has.difference_with(blocks);
        self.doubted = (&self.doubted.0 | blocks, now.saturating_add(DOUBT_MS));
    }

    /// Takes up again what was doubted for long enough. Returns whether there was any.
    pub(super) fn believes(&mut self, now: Millis) -> bool {
        if self.doubted.0.is_empty() || now < self.doubted.1 {
            return false;
        }
        self.has.union_with(&std::mem::replace(&mut self.doubted.0, Blocks::empty()));
        true
    }

    /// Returns when that is due.
    pub(super) fn believes_at(&self) -> Option<Millis> {
        (!self.doubted.0.is_empty()).then_some(self.doubted.1)
    }

    /// Notes what it says that it has.
    pub(super) fn says(&mut self, has: Blocks) {
        (self.has, self.here) = (has, true);
        self.doubted.0 = Blocks::empty();
    }

    /// Notes that it is gone. What it had it says when it comes again.
    pub(super) fn leaves(&mut self) {
        (self.has, self.here) = (Blocks::empty(), false);
        self.doubted.0 = Blocks::empty();
    }

    /// Returns how many runs of blocks are remembered of it.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        super::runs(&self.has).count() + super::runs(&self.doubted.0).count()
    }

    /// Lets it rest after a fault; longer each time, until it brings something.
    pub(super) fn rests(&mut self, now: Millis) {
        let rest = REST_MS.saturating_mul(1 << self.strikes.min(16)).min(MAX_REST_MS);
        self.rest_until = now.saturating_add(rest);
        self.strikes += 1;
    }

    /// Returns its speed in bytes a second, if that is known.
    ///
    /// A sample that is under way and slower than what is known counts: it may never end.
    pub(super) fn rate(&self, now: Millis) -> Option<u64> {
        let elapsed = now.saturating_sub(self.sample_since);
        let running = self.sample_blocks.saturating_mul(BLOCK_BYTES * 1000) / elapsed.max(1);
        match self.rate {
            _ if elapsed > 2 * SAMPLE_MS && self.sample_blocks > 0 => {
                Some(self.rate.map_or(running, |rate| rate.min(running)))
            }
            rate => rate,
        }
    }

    /// Returns how many blocks the next request is to have. As long as its speed is unknown, as many as it
    /// brought since it was asked while idle: that took less time than a sample.
    pub(super) fn range(&self, now: Millis) -> u64 {
        self.rate(now).map_or(self.sample_blocks.clamp(FIRST_RANGE, MAX_RANGE), |rate| {
            (rate.saturating_mul(RANGE_MS) / (1000 * BLOCK_BYTES)).clamp(MIN_RANGE, MAX_RANGE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_grow_until_the_speed_is_known() {
        let mut fast = Provider::new(Blocks::from(0..10_000), 0);
        let mut asked = Vec::new();
        for now in 0..9 {
            asked.push(fast.range(now));
            fast.brings(fast.range(now), now);
        }
        assert_eq!(asked, [16, 16, 32, 64, 128, 256, 512, MAX_RANGE, MAX_RANGE]);
        // One that brings little at a time, and waits in between, shows nothing of its speed.
        let mut waiting = Provider::new(Blocks::from(0..10_000), 0);
        for burst in 0..1000 {
            waiting.begins(burst * 100);
            waiting.brings(2, burst * 100 + 50);
            assert_eq!(waiting.range(burst * 100 + 50), FIRST_RANGE);
        }
        // As much as a slow one brings in the time that a request is meant to take.
        let mut slow = Provider::new(Blocks::from(0..10_000), 0);
        slow.brings(4, 800);
        assert_eq!(slow.range(801), 4 * RANGE_MS / 800);
    }
}

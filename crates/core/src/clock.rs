//! Hybrid logical time: wall-clock milliseconds that never run backwards past what was seen.
//!
//! Clocks order what is shown, never who may do what. An event dated too far ahead is kept apart
//! from the clock ([`MAX_AHEAD_MS`]), so that nobody can pin a room's order to the future.
//!
//! Source: Kulkarni et al., "Logical Physical Clocks" (2014), with 48 bits of milliseconds and 16 of
//! counter in one integer.

use minicbor::{Decode, Encode};

use crate::limits::MAX_AHEAD_MS;

/// Unix time in milliseconds.
pub type Millis = u64;

const COUNTER_BITS: u32 = 16;
const MAX_MILLIS: u64 = u64::MAX >> COUNTER_BITS;

/// A hybrid timestamp: milliseconds in the upper 48 bits, a counter in the lower 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Hlc(#[n(0)] pub u64);

impl Hlc {
    /// Builds the first timestamp of a millisecond.
    pub const fn from_millis(millis: Millis) -> Self {
        Self(if millis > MAX_MILLIS { u64::MAX } else { millis << COUNTER_BITS })
    }

    /// Returns the wall-clock part.
    pub const fn millis(self) -> Millis {
        self.0 >> COUNTER_BITS
    }

    /// Whether it lies so far after `now` that it must wait to be shown.
    pub const fn is_ahead(self, now: Millis) -> bool {
        self.millis() > now.saturating_add(MAX_AHEAD_MS)
    }
}

/// The clock of one room on one device.
#[derive(Debug, Clone, Default)]
pub struct HlcClock {
    last: Hlc,
    unchecked: Vec<Hlc>,
}

impl HlcClock {
    /// Returns a timestamp greater than every earlier one and every one observed.
    pub fn tick(&mut self, now: Millis) -> Hlc {
        for seen in std::mem::take(&mut self.unchecked) {
            self.observe(seen, now);
        }
        let next = Hlc(self.last.0.saturating_add(1));
        self.last = next.max(Hlc::from_millis(now));
        self.last
    }

    /// Learns of another's timestamp; one too far ahead of `now` is ignored.
    pub fn observe(&mut self, seen: Hlc, now: Millis) {
        if !seen.is_ahead(now) {
            self.last = self.last.max(seen);
        }
    }

    /// Learns of another's timestamp while the time of day is not known; it counts from the next
    /// [`Self::tick`] on.
    pub fn observe_later(&mut self, seen: Hlc) {
        if seen > self.last {
            self.unchecked.push(seen);
        }
    }

    /// Learns of one of our own timestamps, which must be exceeded whatever the wall clock says.
    pub fn observe_own(&mut self, seen: Hlc) {
        self.last = self.last.max(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_exceeds_what_was_seen_even_when_the_wall_clock_stands() {
        let mut clock = HlcClock::default();
        let first = clock.tick(1000);
        assert!(clock.tick(1000) > first);
        assert!(clock.tick(10) > first, "a clock set back");
        clock.observe(Hlc::from_millis(5000), 1000);
        assert!(clock.tick(1000) > Hlc::from_millis(5000));
    }

    #[test]
    fn hazard_13_the_far_future_does_not_pin_the_clock() {
        let mut clock = HlcClock::default();
        clock.observe(Hlc::from_millis(MAX_AHEAD_MS + 1001), 1000);
        assert_eq!(clock.tick(1000).millis(), 1000);
        clock.observe(Hlc(u64::MAX), 1000);
        assert_eq!(clock.tick(1001).millis(), 1001);
        assert!(Hlc(u64::MAX).is_ahead(1000));
        assert!(!Hlc::from_millis(MAX_AHEAD_MS + 1000).is_ahead(1000));
    }

    #[test]
    fn hazard_13_nor_does_it_after_a_restart() {
        let mut clock = HlcClock::default();
        clock.observe_later(Hlc::from_millis(2_000));
        clock.observe_later(Hlc::from_millis(MAX_AHEAD_MS + 1_001));
        let next = clock.tick(1_000);
        assert!(next > Hlc::from_millis(2_000), "what was stored is exceeded");
        assert_eq!(next.millis(), 2_000, "but not what is still too far ahead");
    }
}

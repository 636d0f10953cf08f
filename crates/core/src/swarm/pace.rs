//! A limit on bytes a second.

use crate::clock::Millis;

/// What may pass at once after a pause, in milliseconds of the rate: a disk's or a packet train's burst.
const BURST_MS: u64 = 200;

/// A rate that bytes must not exceed: each `take` says how long to wait before the next.
///
/// Virtual scheduling (the continuous form of a leaky bucket, ITU-T I.371): the time at which all that
/// was taken would have passed at the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    rate: Option<u64>,
    /// When all that was taken has passed, in microseconds.
    passed_us: u64,
}

impl Pace {
    /// Limits to `rate` bytes a second; none: no limit. A rate of 0 is taken for 1.
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.map(|rate| rate.max(1)), passed_us: 0 }
    }

    /// Returns the limit.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Changes the limit. What was taken before is forgiven, but for one burst: who lifts a limit does not
    /// wait for what it said.
    pub fn set_rate(&mut self, rate: Option<u64>) {
        *self = Self::new(rate);
    }

    /// Takes `bytes`, and returns how many milliseconds to wait before more is taken.
    pub fn take(&mut self, bytes: u64, now: Millis) -> Millis {
        let Some(rate) = self.rate else { return 0 };
        let now_us = now.saturating_mul(1000);
        let start = self.passed_us.max(now_us.saturating_sub(BURST_MS * 1000));
        let takes = u128::from(bytes) * 1_000_000 / u128::from(rate);
        self.passed_us = start.saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
        self.passed_us.saturating_sub(now_us) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_passes_than_the_rate_and_one_burst() {
        let mut pace = Pace::new(Some(1_000_000));
        let (mut now, mut sent) = (5_000, 0u64);
        while now < 15_000 {
            now += pace.take(16_384, now).max(1);
            sent += 16_384;
        }
        assert!((9_700_000..10_300_000).contains(&sent), "{sent} bytes in 10 s");
    }

    #[test]
    fn a_pause_saves_up_one_burst_only() {
        let mut pace = Pace::new(Some(1_000));
        assert_eq!(pace.take(1_000, 0), 1_000);
        assert_eq!(pace.take(200, 100_000), 0);
        assert_eq!(pace.take(1_000, 100_000), 1_000);
    }

    #[test]
    fn a_lifted_limit_holds_nothing_up() {
        let mut pace = Pace::new(Some(1));
        assert!(pace.take(1_000_000, 0) > 900_000_000);
        pace.set_rate(Some(1_000_000));
        assert!(pace.take(100_000, 1_000) <= 100);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        assert_eq!(Pace::default().take(u64::MAX, 0), 0);
        assert_eq!(Pace::new(Some(0)).take(1, 1_000), 800);
    }
}

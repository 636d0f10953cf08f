//! How often something may be done that others can ask for at any rate.
//!
//! The generic cell rate algorithm (ITU-T I.371): so many at once, and then one each interval.

use std::time::Duration;

use tokio::time::Instant;

/// A pace. What comes faster is to wait, not to be refused.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    /// How far ahead of its time something may be.
    ahead: Duration,
    /// When the next would be due if each kept to its interval.
    due: Option<Instant>,
}

impl Pace {
    /// Lets one in each interval, after a burst of so many at once.
    pub(crate) const fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, ahead: interval.saturating_mul(burst - 1), due: None }
    }

    /// Counts one more; returns when it may be done, which is now or later.
    pub(crate) fn next(&mut self, now: Instant) -> Instant {
        let due = self.due.map_or(now, |due| due.max(now));
        self.due = Some(due + self.interval);
        due.checked_sub(self.ahead).map_or(now, |at| at.max(now))
    }

    /// Whether it is as if nothing had ever been counted.
    pub(crate) fn is_rested(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_one_by_one() {
        let start = Instant::now() + Duration::from_mins(1);
        let after = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(Duration::from_millis(20), 3);
        let times: Vec<_> = (0..5).map(|_| pace.next(start)).collect();
        assert_eq!(times, [start, start, start, after(20), after(40)]);
        assert_eq!(pace.next(after(60)), after(60), "what kept to the pace does not wait");
        assert_eq!(pace.next(after(60)), after(80));
        let rested = after(10_000);
        let times: Vec<_> = (0..4).map(|_| pace.next(rested)).collect();
        assert_eq!(times, [rested, rested, rested, after(10_020)]);
    }
}

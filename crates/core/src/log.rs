//! Logs, and frontiers: which runs of which logs someone holds.
//!
//! Invariant of [`Runs`]: ranges are non-empty, in order, disjoint and never adjacent, so equal
//! holdings have equal values. Ranges are half open: `start..end`.

use std::collections::BTreeMap;
use std::ops::Range;

use minicbor::{Decode, Encode};

use crate::id::PeerId;

/// Which of a device's sequences in a room an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Lane {
    /// Membership, names, invites, epochs: plain to members, always synchronized whole.
    #[n(0)]
    Control,
    /// What people say: sealed bodies.
    #[n(1)]
    Chat,
}

/// One device's sequence of events in one lane of a room, for one term of its membership.
///
/// Ordered with the control lane first, as it is synchronized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct LogId {
    /// The lane.
    #[n(0)]
    pub lane: Lane,
    /// The device.
    #[n(1)]
    pub device: PeerId,
    /// The term of its account's membership: 0 first, higher after each re-admission.
    #[n(2)]
    pub term: u32,
}

/// A set of sequence numbers, as ordered ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Runs(Vec<Range<u64>>);

impl Runs {
    /// Returns the ranges in order.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    /// Returns how many sequence numbers it holds.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|run| run.end.saturating_sub(run.start)).sum()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `seq` is in it.
    pub fn contains(&self, seq: u64) -> bool {
        self.0.iter().any(|run| run.contains(&seq))
    }

    /// Adds a range; empty ones change nothing.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        self.0.retain(|run| {
            let apart = run.end < start || run.start > end;
            if !apart {
                start = start.min(run.start);
                end = end.max(run.end);
            }
            apart
        });
        let at = self.0.partition_point(|run| run.start < start);
        self.0.insert(at, start..end);
    }

    /// Adds all of `other`.
    pub fn union(&mut self, other: &Self) {
        for range in &other.0 {
            self.insert(range.clone());
        }
    }

    /// Returns what is here and not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for run in &self.0 {
            let mut start = run.start;
            for gap in other.0.iter().filter(|gap| gap.end > run.start && gap.start < run.end) {
                if gap.start > start {
                    left.push(start..gap.start);
                }
                start = start.max(gap.end);
            }
            if start < run.end {
                left.push(start..run.end);
            }
        }
        Self(left)
    }

    /// Drops everything from `end` on.
    pub fn truncate(&mut self, end: u64) {
        self.0.retain_mut(|run| {
            run.end = run.end.min(end);
            run.start < run.end
        });
    }
}

impl FromIterator<Range<u64>> for Runs {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut runs = Self::default();
        for range in ranges {
            runs.insert(range);
        }
        runs
    }
}

/// The runs held of each log. A log of which nothing is held has no entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier(BTreeMap<LogId, Runs>);

impl Frontier {
    /// Returns the logs in order, control first.
    pub fn iter(&self) -> impl Iterator<Item = (&LogId, &Runs)> {
        self.0.iter()
    }

    /// Returns the runs of one log.
    pub fn runs(&self, log: &LogId) -> Option<&Runs> {
        self.0.get(log)
    }

    /// How many logs it names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many events it covers, in one lane. Peers name what they like, so the sum saturates.
    pub fn events(&self, lane: Lane) -> u64 {
        let lane = self.0.iter().filter(|(log, _)| log.lane == lane);
        lane.fold(0, |sum, (_, runs)| sum.saturating_add(runs.count()))
    }

    /// How many events it covers.
    pub fn count(&self) -> u64 {
        self.events(Lane::Control).saturating_add(self.events(Lane::Chat))
    }

    /// Whether it covers the event at `seq` of `log`.
    pub fn contains(&self, log: &LogId, seq: u64) -> bool {
        self.0.get(log).is_some_and(|runs| runs.contains(seq))
    }

    /// Adds a range of one log.
    pub fn insert(&mut self, log: LogId, range: Range<u64>) {
        if !range.is_empty() {
            self.0.entry(log).or_default().insert(range);
        }
    }

    /// Adds all of `other`.
    pub fn union(&mut self, other: &Self) {
        for (log, runs) in &other.0 {
            self.0.entry(*log).or_default().union(runs);
        }
    }

    /// Drops everything of `log` from `end` on.
    pub fn truncate(&mut self, log: &LogId, end: u64) {
        if let Some(runs) = self.0.get_mut(log) {
            runs.truncate(end);
            if runs.is_empty() {
                self.0.remove(log);
            }
        }
    }

    /// Returns exactly what `self` covers and `other` does not: what `other`'s holder must fetch to
    /// cover all that `self` covers. `a.minus(b)` joined to `b` covers `a`; it overlaps `b` nowhere.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = BTreeMap::new();
        for (log, runs, held) in self.differing(other) {
            let rest = held.map_or_else(|| runs.clone(), |held| runs.minus(held));
            if !rest.is_empty() {
                left.insert(*log, rest);
            }
        }
        Self(left)
    }

    /// Returns the logs of which `other` does not hold the same, and what it holds of them.
    pub fn differing<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (&'a LogId, &'a Runs, Option<&'a Runs>)> {
        // Both are in order: this is asked for every frame of every session, mostly of equal ones.
        let mut others = other.0.iter().peekable();
        self.0.iter().filter_map(move |(log, runs)| {
            while others.next_if(|(theirs, _)| *theirs < log).is_some() {}
            let held = others.peek().filter(|(theirs, _)| *theirs == log).map(|(_, held)| *held);
            (held != Some(runs)).then_some((log, runs, held))
        })
    }
}

impl FromIterator<(LogId, Runs)> for Frontier {
    fn from_iter<I: IntoIterator<Item = (LogId, Runs)>>(logs: I) -> Self {
        Self(logs.into_iter().filter(|(_, runs)| !runs.is_empty()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        proptest::collection::vec((0u64..40, 0u64..8).prop_map(|(a, n)| a..a + n), 0..10)
    }

    fn numbers(ranges: &[Range<u64>]) -> BTreeSet<u64> {
        ranges.iter().cloned().flatten().collect()
    }

    proptest! {
        #[test]
        fn runs_are_a_set_of_numbers(a in ranges(), b in ranges(), cut in 0u64..50) {
            let (x, y): (Runs, Runs) = (a.iter().cloned().collect(), b.iter().cloned().collect());
            prop_assert_eq!(numbers(x.ranges()), numbers(&a));
            prop_assert_eq!(x.count(), numbers(&a).len() as u64);
            for pair in x.ranges().windows(2) {
                prop_assert!(pair[0].end < pair[1].start, "in order, disjoint, not adjacent");
            }
            let rest: BTreeSet<_> = numbers(&a).difference(&numbers(&b)).copied().collect();
            prop_assert_eq!(numbers(x.minus(&y).ranges()), rest);
            let mut both = x.clone();
            both.union(&y);
            prop_assert_eq!(
                numbers(both.ranges()),
                numbers(&a).union(&numbers(&b)).copied().collect::<BTreeSet<_>>()
            );
            let mut short = x.clone();
            short.truncate(cut);
            prop_assert_eq!(
                numbers(short.ranges()),
                numbers(&a).into_iter().filter(|n| *n < cut).collect::<BTreeSet<_>>()
            );
        }
    }
}

//! Which events of each log a replica holds, and how they link.
//!
//! A log may be held in several runs: a newcomer takes the newest messages first. Each run knows the
//! event before its first (`before`) and its last event, so that neighbors are joined only when the
//! hashes agree; where they do not, the device signed two branches.

use std::collections::BTreeMap;
use std::ops::Range;

use super::members::LogEnd;
use crate::event::Event;
use crate::id::EventId;
use crate::limits::MAX_RUNS_PER_LOG;
use crate::log::{Frontier, LogId, Runs};

/// A run of consecutive events that are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Position of the first event.
    pub start: u64,
    /// Position after the last event.
    pub end: u64,
    /// `prev` of the first event.
    pub before: Option<EventId>,
    /// The last event.
    pub last: EventId,
}

/// The runs held of one log, by their start; in order, disjoint, never adjacent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogState {
    runs: BTreeMap<u64, Run>,
}

/// How new events fit to what is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fit {
    /// Add these, whose positions are all new.
    Add(Range<u64>),
    /// All held already.
    Nothing,
    /// They contradict what is held: a fork.
    Fork,
    /// They would make too many separate runs.
    TooScattered,
}

impl LogState {
    /// Returns the runs in order.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// Returns the run that starts the log, if its first event is held.
    pub fn head(&self) -> Option<&Run> {
        self.runs.get(&0)
    }

    /// Returns the run with the highest positions.
    pub fn tip(&self) -> Option<&Run> {
        self.runs.last_key_value().map(|(_, run)| run)
    }

    /// Returns the positions held.
    pub fn positions(&self) -> Runs {
        self.runs.values().map(|run| run.start..run.end).collect()
    }

    /// Restores a run from a store.
    pub fn restore(&mut self, run: Run) {
        self.runs.insert(run.start, run);
    }

    /// Finds the first hole that `events` (consecutive) fill, up to the next held run.
    pub(super) fn fit(&self, events: &[Event]) -> Fit {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Fit::Nothing;
        };
        let (start, end) = (first.seq(), last.seq().saturating_add(1));
        // Skip what is held at the front.
        let mut from = start;
        if let Some(run) = self.run_at(from) {
            if !Self::agrees(run, events) {
                return Fit::Fork;
            }
            from = run.end;
        }
        if from >= end {
            return Fit::Nothing;
        }
        let next = self.runs.range(from..).next().map(|(_, run)| run);
        let to = next.map_or(end, |run| run.start.min(end));
        let at = |seq: u64| usize::try_from(seq - start).ok().and_then(|index| events.get(index));
        // The event before the hole, and the one after it, must be the ones that are held.
        let before = from.checked_sub(1).and_then(|seq| self.run_at(seq)).map(|run| run.last);
        if before.is_some() && at(from).is_some_and(|event| event.header().prev != before) {
            return Fit::Fork;
        }
        let after = next.filter(|run| run.start == to).and_then(|run| run.before);
        if after.is_some() && at(to - 1).map(Event::id) != after {
            return Fit::Fork;
        }
        if before.is_none() && after.is_none() && self.runs.len() >= MAX_RUNS_PER_LOG {
            return Fit::TooScattered;
        }
        Fit::Add(from..to)
    }

    /// Whether the events inside `run` can be told to be the held ones: its last, if they reach it.
    fn agrees(run: &Run, events: &[Event]) -> bool {
        events
            .iter()
            .find(|event| event.seq().checked_add(1) == Some(run.end))
            .is_none_or(|event| event.id() == run.last)
    }

    fn run_at(&self, seq: u64) -> Option<&Run> {
        self.runs.range(..=seq).next_back().map(|(_, run)| run).filter(|run| seq < run.end)
    }

    /// Adds a run that [`Self::fit`] found room for, and joins it to its neighbors.
    pub(super) fn add(&mut self, mut run: Run) {
        if let Some(before) = run.start.checked_sub(1).and_then(|seq| self.run_at(seq)).copied() {
            self.runs.remove(&before.start);
            run.start = before.start;
            run.before = before.before;
        }
        if let Some(after) = self.runs.remove(&run.end) {
            run.end = after.end;
            run.last = after.last;
        }
        self.runs.insert(run.start, run);
    }

    /// Drops everything beyond `end`, which names the last event before it.
    pub(super) fn truncate(&mut self, end: LogEnd) {
        self.runs.retain(|start, _| *start < end.len);
        if let Some(mut run) = self.runs.last_entry() {
            let run = run.get_mut();
            if run.end > end.len {
                (run.end, run.last) = (end.len, end.last.unwrap_or(EventId([0; 32])));
            }
        }
    }
}

impl LogState {
    /// Says which event is really the last one of the run that ends at `end`: where a log was cut
    /// short, only whoever has its events knows.
    pub(super) fn rectify(&mut self, end: u64, last: EventId) {
        let run = self.runs.values_mut().find(|run| run.end == end);
        if let Some(run) = run {
            run.last = last;
        }
    }
}

/// All logs of a room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogTable {
    logs: BTreeMap<LogId, LogState>,
}

impl LogTable {
    /// Returns the logs in order, control first.
    pub fn iter(&self) -> impl Iterator<Item = (&LogId, &LogState)> {
        self.logs.iter()
    }

    /// Returns one log, if anything of it is held.
    pub fn log(&self, log: &LogId) -> Option<&LogState> {
        self.logs.get(log)
    }

    /// Returns one log to change.
    pub fn log_mut(&mut self, log: LogId) -> &mut LogState {
        self.logs.entry(log).or_default()
    }

    /// Returns what is held, as it is told to others.
    pub fn frontier(&self) -> Frontier {
        self.logs.iter().map(|(log, state)| (*log, state.positions())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Hlc;
    use crate::event::{Header, VERSION, tests::key};
    use crate::id::{EpochId, RoomId};
    use crate::keys::Bytes32;
    use crate::log::Lane;
    use proptest::prelude::*;

    fn chain(len: u64, salt: u64) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        for seq in 0..len {
            let header = Header {
                v: VERSION,
                room: RoomId([7; 32]),
                device: key(1).id(),
                term: 0,
                lane: Lane::Chat,
                seq,
                prev: events.last().map(Event::id),
                deps: vec![],
                time: Hlc(seq + salt),
                epoch: Some(EpochId([8; 32])),
                body_len: 0,
                body_hash: Bytes32([0; 32]),
            };
            events.push(Event::sign(header, vec![], &key(1)));
        }
        events
    }

    fn put(log: &mut LogState, events: &[Event]) -> Fit {
        let fit = log.fit(events);
        if let Fit::Add(range) = &fit {
            let part: Vec<_> = events.iter().filter(|e| range.contains(&e.seq())).collect();
            log.add(Run {
                start: range.start,
                end: range.end,
                before: part.first().expect("not empty").header().prev,
                last: part.last().expect("not empty").id(),
            });
        }
        fit
    }

    proptest! {
        #[test]
        fn any_pieces_in_any_order_make_the_same_log(
            pieces in proptest::collection::vec((0usize..20, 1usize..8), 1..20),
        ) {
            let events = chain(20, 0);
            let mut log = LogState::default();
            let mut held = Runs::default();
            for (start, len) in pieces {
                let end = (start + len).min(20);
                // A piece may span several holes: offer it until it has nothing new.
                for _ in 0..25 {
                    let fit = put(&mut log, &events[start..end]);
                    prop_assert!(matches!(fit, Fit::Add(_) | Fit::Nothing));
                    if fit == Fit::Nothing { break }
                    prop_assert!(log.positions().count() > held.count());
                }
                held.insert(start as u64..end as u64);
            }
            for run in log.runs() {
                let at = |seq: u64| &events[usize::try_from(seq).expect("small")];
                prop_assert_eq!(run.last, at(run.end - 1).id());
                prop_assert_eq!(run.before, at(run.start).header().prev);
            }
        }
    }

    #[test]
    fn branches_are_told_from_gaps() {
        let (ours, theirs) = (chain(10, 0), chain(10, 100));
        let mut log = LogState::default();
        assert_eq!(put(&mut log, &ours[4..6]), Fit::Add(4..6));
        assert_eq!(put(&mut log, &theirs[6..8]), Fit::Fork, "does not follow our 5");
        assert_eq!(put(&mut log, &theirs[2..4]), Fit::Fork, "our 4 does not follow it");
        assert_eq!(put(&mut log, &theirs[3..8]), Fit::Fork);
        assert_eq!(put(&mut log, &ours[0..2]), Fit::Add(0..2));
        assert_eq!(put(&mut log, &ours[1..9]), Fit::Add(2..4));
        assert_eq!(put(&mut log, &ours[1..9]), Fit::Add(6..9));
        assert_eq!(put(&mut log, &ours[1..9]), Fit::Nothing);
    }

    #[test]
    fn hazard_22_scattered_events_fill_a_bounded_number_of_runs() {
        let events = chain(2 * MAX_RUNS_PER_LOG as u64 + 4, 0);
        let mut log = LogState::default();
        for event in events.iter().step_by(2).take(MAX_RUNS_PER_LOG) {
            assert!(matches!(put(&mut log, std::slice::from_ref(event)), Fit::Add(_)));
        }
        let far = &events[2 * MAX_RUNS_PER_LOG + 2..];
        assert_eq!(put(&mut log, &far[..1]), Fit::TooScattered);
        assert!(matches!(put(&mut log, &events[1..2]), Fit::Add(_)), "what joins is welcome");
    }
}

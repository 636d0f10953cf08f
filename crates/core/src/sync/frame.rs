//! Frames of `sync/1`.

use minicbor::{Decode, Encode};

use crate::event::RawEvent;
use crate::id::EventId;
use crate::keys::Bytes32;
use crate::limits::{
    MAX_FRONTIER_LOGS, MAX_FRONTIER_RUNS, MAX_NEWEST, MAX_PEER_ADDRS, MAX_RUN_EVENTS,
    MAX_RUNS_PER_LOG, MAX_WANT_EVENTS, MAX_WANT_RANGES,
};
use crate::log::{Frontier, LogId};
use crate::ticket::PeerAddr;
use crate::wire::{self, WireError};

/// One frame, `[index, [fields]]`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SyncFrame {
    /// A hash of the sender's state. Where it equals the receiver's, both hold the same.
    #[n(0)]
    Summary(#[n(0)] Bytes32),
    /// What the sender holds and did not announce before on this stream.
    #[n(1)]
    Have(#[n(0)] Vec<LogRuns>),
    /// A request for events.
    #[n(2)]
    Want(#[n(0)] Want),
    /// Consecutive events of one log, in answer to the `Want` of this number.
    #[n(3)]
    Run(#[n(0)] u64, #[n(1)] Vec<RawEvent>),
    /// Nothing more comes for the `Want` of this number.
    #[n(4)]
    Done(#[n(0)] u64),
    /// Where members of this room can be reached.
    #[n(5)]
    Peers(#[n(0)] Vec<PeerAddr>),
    /// What the sender holds of the receiver's own logs: said once, at the start. Whoever started from
    /// an older copy of itself learns by it what it said since.
    #[n(6)]
    Yours(#[n(0)] Vec<LogRuns>),
}

/// Some runs of one log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct LogRuns {
    /// The log.
    #[n(0)]
    pub log: LogId,
    /// `start` and `end` (exclusive) of each run: in order, disjoint, never adjacent.
    #[n(1)]
    pub runs: Vec<(u64, u64)>,
    /// The last event of the last run, in [`SyncFrame::Have`]: whoever holds another one there has
    /// another branch.
    #[n(2)]
    pub last: Option<EventId>,
}

/// A request for events.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Want {
    /// A number that its answer carries; the sender counts up from 0.
    #[n(0)]
    pub id: u64,
    /// The ranges wanted.
    #[n(1)]
    pub ranges: Vec<LogRuns>,
    /// Instead of ranges: so many of the newest messages, by timeline order.
    #[n(2)]
    pub newest: Option<u32>,
    /// Instead of ranges: `true` for all control events that the receiver holds and the sender did
    /// not announce, in the order in which the receiver accepted them.
    #[n(3)]
    pub control: Option<bool>,
}

impl Want {
    /// A request for ranges.
    pub fn ranges(id: u64, ranges: Vec<LogRuns>) -> Self {
        Self { id, ranges, newest: None, control: None }
    }

    /// A request for so many of the newest messages.
    pub fn newest(id: u64, count: u32) -> Self {
        Self { newest: Some(count), ..Self::ranges(id, vec![]) }
    }

    /// A request for the control lane.
    pub fn control(id: u64) -> Self {
        Self { control: Some(true), ..Self::ranges(id, vec![]) }
    }
}

impl SyncFrame {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn check(&self) -> Result<(), WireError> {
        match self {
            Self::Summary(_) | Self::Done(_) => Ok(()),
            Self::Have(logs) | Self::Yours(logs) => {
                check_logs(logs, MAX_FRONTIER_LOGS, MAX_FRONTIER_RUNS)
            }
            Self::Want(want) => {
                check_logs(&want.ranges, MAX_WANT_RANGES, MAX_WANT_RANGES)?;
                let events = to_frontier(&want.ranges).count();
                let newest = want.newest.unwrap_or(0);
                if events > MAX_WANT_EVENTS || newest > MAX_NEWEST {
                    return Err(WireError::Malformed("a request for too many events".into()));
                }
                Ok(())
            }
            Self::Run(_, events) => wire::check_len("run", events.len(), MAX_RUN_EVENTS),
            Self::Peers(addrs) => {
                wire::check_len("peers", addrs.len(), MAX_PEER_ADDRS)?;
                if addrs.iter().all(PeerAddr::is_within_limits) {
                    Ok(())
                } else {
                    Err(WireError::Malformed("too many addresses".into()))
                }
            }
        }
    }
}

/// Checks that logs and runs are few, in order and disjoint: one holding has one form.
fn check_logs(logs: &[LogRuns], max_logs: usize, max_runs: usize) -> Result<(), WireError> {
    wire::check_len("logs", logs.len(), max_logs)?;
    wire::check_len("runs", logs.iter().map(|log| log.runs.len()).sum(), max_runs)?;
    if logs.windows(2).any(|pair| pair.first().map(|a| a.log) >= pair.last().map(|b| b.log)) {
        return Err(WireError::Malformed("logs out of order".into()));
    }
    for log in logs {
        wire::check_len("runs", log.runs.len(), MAX_RUNS_PER_LOG)?;
        let mut after = None;
        for (start, end) in &log.runs {
            if start >= end || after.is_some_and(|after| *start <= after) {
                return Err(WireError::Malformed("runs empty or out of order".into()));
            }
            after = Some(*end);
        }
    }
    Ok(())
}

/// Turns a frontier into frames' entries.
pub fn from_frontier(frontier: &Frontier) -> Vec<LogRuns> {
    frontier
        .iter()
        .map(|(log, runs)| LogRuns {
            log: *log,
            runs: runs.ranges().iter().map(|run| (run.start, run.end)).collect(),
            last: None,
        })
        .collect()
}

/// Turns frames' entries into a frontier.
pub fn to_frontier(logs: &[LogRuns]) -> Frontier {
    let mut frontier = Frontier::default();
    for entry in logs {
        for (start, end) in &entry.runs {
            frontier.insert(entry.log, *start..*end);
        }
    }
    frontier
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PeerId;
    use crate::log::Lane;

    fn log() -> LogId {
        LogId { lane: Lane::Chat, device: PeerId([1; 32]), term: 0 }
    }

    #[test]
    fn an_idle_check_is_forty_bytes() {
        let frame = crate::frame::encode(&SyncFrame::Summary(Bytes32([9; 32]))).expect("short");
        assert_eq!(frame.len(), 41);
    }

    #[test]
    fn requests_have_limits() {
        let want = |runs: Vec<(u64, u64)>, newest| {
            SyncFrame::Want(Want {
                newest,
                ..Want::ranges(0, vec![LogRuns { log: log(), runs, last: None }])
            })
        };
        assert_eq!(want(vec![(0, MAX_WANT_EVENTS)], None).check(), Ok(()));
        assert!(want(vec![(0, MAX_WANT_EVENTS + 1)], None).check().is_err());
        assert!(want(vec![(5, 5)], None).check().is_err());
        assert!(want(vec![], Some(MAX_NEWEST + 1)).check().is_err());
        assert!(want(vec![(0, u64::MAX)], None).check().is_err());
        let many = vec![LogRuns { log: log(), runs: vec![], last: None }; MAX_FRONTIER_LOGS + 1];
        assert!(SyncFrame::Have(many).check().is_err());
    }

    #[test]
    fn hazard_25_sums_that_overflow_are_above_every_limit() {
        let half =
            |n| LogRuns { log: LogId { term: n, ..log() }, runs: vec![(0, 1 << 63)], last: None };
        let ranges = vec![half(0), half(1)];
        assert!(SyncFrame::Want(Want::ranges(0, ranges)).check().is_err());
    }

    #[test]
    fn hazard_16_a_holding_has_one_form() {
        let have = |logs: Vec<LogRuns>| SyncFrame::Have(logs).check().is_ok();
        let entry = |term, runs: &[(u64, u64)]| LogRuns {
            log: LogId { term, ..log() },
            runs: runs.to_vec(),
            last: None,
        };
        assert!(have(vec![entry(0, &[(0, 1), (2, 3)]), entry(1, &[(7, 9)])]));
        assert!(!have(vec![entry(0, &[(2, 3), (0, 1)])]), "runs out of order");
        assert!(!have(vec![entry(0, &[(0, 2), (1, 3)])]), "overlapping");
        assert!(!have(vec![entry(0, &[(0, 2), (2, 3)])]), "adjacent");
        assert!(!have(vec![entry(1, &[(0, 1)]), entry(0, &[(0, 1)])]), "logs out of order");
        assert!(!have(vec![entry(0, &[(0, 1)]), entry(0, &[(4, 5)])]), "a log twice");
    }
}

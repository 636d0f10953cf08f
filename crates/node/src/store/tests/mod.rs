//! Tests of the store, from outside: through [`super::Store`] and through the files it leaves.

mod durability;
mod opening;
mod reading;
mod searching;

use ayni_core::clock::Hlc;
use ayni_core::event::{Event, Header, VERSION};
use ayni_core::id::{EpochId, EventId, RoomId};
use ayni_core::keys::{Bytes32, DeviceKey};
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{Kind, Run};
use tempfile::TempDir;

use super::{Append, LogSummary, Store, Write};

const ROOM: RoomId = RoomId([7; 32]);
const OTHER: RoomId = RoomId([8; 32]);

fn device(n: u8) -> DeviceKey {
    DeviceKey::from_secrets(&[n; 32], &[n.wrapping_add(100); 32])
}

/// An event of device `n` at `seq`, in milliseconds `time`.
fn event(n: u8, lane: Lane, seq: u64, prev: Option<EventId>, time: u64) -> Event {
    let header = Header {
        v: VERSION,
        room: ROOM,
        device: device(n).id(),
        term: 0,
        lane,
        seq,
        prev,
        deps: vec![],
        time: Hlc::from_millis(time),
        epoch: (lane == Lane::Chat).then_some(EpochId([8; 32])),
        body_len: 0,
        body_hash: Bytes32([0; 32]),
    };
    Event::sign(header, format!("body {n} {seq}").into_bytes(), &device(n))
}

/// The first `len` events of a log of device `n`.
fn chain(n: u8, lane: Lane, len: u64) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for seq in 0..len {
        let prev = events.last().map(Event::id);
        events.push(event(n, lane, seq, prev, 1000 + seq));
    }
    events
}

fn chat(n: u8) -> LogId {
    LogId { lane: Lane::Chat, device: device(n).id(), term: 0 }
}

fn run(events: &[Event]) -> Run {
    let (first, last) = (events.first().expect("some"), events.last().expect("some"));
    Run { start: first.seq(), end: last.seq() + 1, before: first.header().prev, last: last.id() }
}

/// The summary of a log held in these runs.
fn summary(runs: &[&[Event]]) -> LogSummary {
    let first = runs.first().and_then(|run| run.first()).expect("some");
    let newest = runs.iter().copied().flatten().map(|event| event.header().time).max();
    (first.log(), runs.iter().map(|events| run(events)).collect(), newest.unwrap_or_default())
}

/// Adds `new`, the end of `log`, of which everything is held.
fn append(log: &[Event], new: usize) -> Append {
    Append {
        room: ROOM,
        events: log[log.len() - new..].to_vec().into(),
        runs: vec![summary(&[log])],
        voided: vec![],
        unread: 0,
        secrets: vec![],
    }
}

fn note(room: RoomId) -> Write {
    Write::Room { room, kind: Kind::Group, now_ms: 5 }
}

/// A store in a new folder, with [`ROOM`] noted.
async fn fresh() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    store.write(note(ROOM)).await.expect("stored");
    (folder, store)
}

fn open(folder: &TempDir) -> Store {
    Store::open(&folder.path().join("ayni.db"), true).expect("opens")
}

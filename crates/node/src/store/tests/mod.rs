//! Tests of the store, from outside: through [`super::Store`] and through the files it leaves.

mod attaching;
mod durability;
mod keeping;
mod opening;
mod reading;
mod searching;

use std::path::Path;
use std::time::{Duration, Instant};

use ayni_core::attachment::Attachment;
use ayni_core::chat::Chat;
use ayni_core::clock::Hlc;
use ayni_core::epoch::EpochSecret;
use ayni_core::event::{Event, Header, VERSION};
use ayni_core::id::{BlobId, EpochId, EventId, RoomId};
use ayni_core::keys::{Bytes32, DeviceKey};
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{Kind, Run};
use tempfile::TempDir;

use super::{Append, LogSummary, Store, Write};

const ROOM: RoomId = RoomId([7; 32]);
const OTHER: RoomId = RoomId([8; 32]);
/// Longest wait for the background, on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

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

fn secret(n: u8) -> EpochSecret {
    EpochSecret::new([n; 32])
}

/// A log of device `n` in a room, in which it says this, one each second from `time` on.
fn say(room: RoomId, n: u8, key: &EpochSecret, time: u64, said: &[Chat]) -> Vec<Event> {
    let mut log: Vec<Event> = Vec::new();
    for (seq, chat) in (0..).zip(said) {
        let prev = log.last().map(Event::id);
        let mut header = event(n, Lane::Chat, seq, prev, time + 1000 * seq).header().clone();
        (header.room, header.epoch) = (room, Some(key.id(room)));
        let body = key.seal(room, &header.associated_data(), &chat.to_bytes(), &[n; 32]);
        log.push(Event::sign(header, body, &device(n)));
    }
    log
}

/// A file of this name with the content `blob`, and a caption.
fn file(blob: u8, name: &str, caption: &str) -> Chat {
    let (name, media_type) = (name.to_owned(), "text/plain".to_owned());
    let blob = BlobId([blob; 32]);
    let attachment = Attachment { blob, size: 7, name, media_type, files: None, picture: None };
    Chat::attachment(attachment, caption).expect("short")
}

fn all_of(room: RoomId, log: &[Event]) -> Write {
    Write::Append(Append { room, ..append(log, log.len()) })
}

fn keys(room: RoomId, key: &EpochSecret) -> Write {
    Write::Secrets { room, secrets: vec![(key.id(room), key.clone())] }
}

/// Deletes what a log in [`ROOM`] has beyond those that are kept, its first ones.
fn cut(log: LogId, kept: &[Event]) -> Write {
    let runs = if kept.is_empty() { (log, vec![], Hlc(0)) } else { summary(&[kept]) };
    Write::Append(Append {
        room: ROOM,
        events: vec![].into(),
        runs: vec![runs],
        voided: vec![(log, kept.len() as u64)],
        unread: 0,
        secrets: vec![],
    })
}

fn newest_first(logs: &[&[Event]]) -> Vec<Event> {
    let mut all: Vec<Event> = logs.concat();
    all.sort_by_key(|event| std::cmp::Reverse(event.order()));
    all
}

/// Whether any file of a folder has these bytes.
fn on_disk(folder: &Path, bytes: &[u8]) -> bool {
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("there"));
    files
        .map(|file| std::fs::read(file.path()).expect("reads"))
        .any(|all| all.windows(bytes.len()).any(|part| part.eq_ignore_ascii_case(bytes)))
}

/// Waits until every message was looked into, and what was deleted is out of the index.
async fn settled(store: &Store) {
    let begun = Instant::now();
    loop {
        let left = store.0.pool.read(|db| {
            let sql = "SELECT (SELECT coalesce(max(id), 0) FROM events)
                           - (SELECT upto FROM indexing) + (SELECT count(*) FROM leaving)
                           + (SELECT count(*) FROM unreadable u
                              JOIN secrets s ON s.room = u.room AND s.epoch = u.epoch)";
            Ok(db.query_row(sql, [], |row| row.get::<_, i64>(0))?)
        });
        let left = left.await.expect("reads");
        if left == 0 {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{left} are still to be looked into");
        tokio::time::sleep(Duration::from_millis(5)).await;
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

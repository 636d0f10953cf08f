//! Reads of rooms, logs and control events, and of the small tables.

use std::ops::Range;

use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event;
use ayni_core::id::{AccountId, EventId, PeerId, RoomId};
use ayni_core::keys::Sig;
use ayni_core::log::{Frontier, Lane, LogId};
use ayni_core::room::{Kind, Run};
use ayni_core::wire;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::append::{kind_number, lane_number};
use super::failure::Failure;
use super::number::{from_seq, half, to_count, to_seq, to_time};
use super::{LoadedRoom, LogSummary, StoredJoin, StoredPeer, StoredRoom};

type Result<T, E = Failure> = std::result::Result<T, E>;

/// Up to so many wanted control events are looked up one log at a time; beyond, the room's control
/// lane is read through in its order.
const FEW: u64 = 512;

/// The columns from which [`event`] rebuilds an event.
pub(super) const EVENT_COLUMNS: &str = "header, signature, body";

/// Rebuilds an event from [`EVENT_COLUMNS`], which start at column `at`.
pub(super) fn event(row: &Row<'_>, at: usize) -> Result<Event> {
    let signature = Sig(row.get(at + 1)?);
    Ok(Event::from_parts(row.get(at)?, signature, row.get(at + 2)?)?)
}

/// Reads the log named by the columns `lane, device, term`, which start at column `at`.
pub(super) fn log_id(row: &Row<'_>, at: usize) -> Result<LogId> {
    let lane = match row.get(at)? {
        0i64 => Lane::Control,
        1 => Lane::Chat,
        other => return Err(Failure::Damaged(format!("lane {other}"))),
    };
    Ok(LogId { lane, device: PeerId(row.get(at + 1)?), term: row.get(at + 2)? })
}

/// Returns the row number of a room, if it was noted.
pub(super) fn room_row(db: &Connection, room: &RoomId) -> Result<Option<i64>> {
    let mut select = db.prepare_cached("SELECT id FROM rooms WHERE room = ?1")?;
    Ok(select.query_row([&room.0], |row| row.get(0)).optional()?)
}

/// Returns the row number of a log, if anything was ever stored of it.
pub(super) fn log_row(db: &Connection, room: i64, log: &LogId) -> Result<Option<i64>> {
    let mut select = db.prepare_cached(
        "SELECT id FROM logs WHERE room = ?1 AND lane = ?2 AND device = ?3 AND term = ?4",
    )?;
    let key = params![room, lane_number(log.lane), log.device.0, log.term];
    Ok(select.query_row(key, |row| row.get(0)).optional()?)
}

/// Returns the runs of a log, in order.
pub(super) fn runs_of(db: &Connection, log: i64) -> Result<Vec<Run>> {
    let mut select =
        db.prepare_cached("SELECT start, end, before, last FROM runs WHERE log = ?1")?;
    let mut rows = select.query([log])?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next()? {
        runs.push(run(row, 0)?);
    }
    runs.sort_by_key(|run| run.start);
    Ok(runs)
}

fn run(row: &Row<'_>, at: usize) -> Result<Run> {
    let before: Option<[u8; 32]> = row.get(at + 2)?;
    Ok(Run {
        start: to_seq(row.get(at)?),
        end: to_seq(row.get(at + 1)?),
        before: before.map(EventId),
        last: EventId(row.get(at + 3)?),
    })
}

/// See [`super::Store::rooms`].
pub(super) fn rooms(db: &Connection) -> Result<Vec<StoredRoom>> {
    let mut select = db.prepare_cached("SELECT room, kind, unread FROM rooms ORDER BY id")?;
    let mut rows = select.query([])?;
    let mut rooms = Vec::new();
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(1)?;
        let kind = [Kind::Group, Kind::Direct, Kind::Own]
            .into_iter()
            .find(|kind| kind_number(*kind) == number)
            .ok_or_else(|| Failure::Damaged(format!("a room of kind {number}")))?;
        rooms.push(StoredRoom { room: RoomId(row.get(0)?), kind, unread: to_count(row.get(2)?) });
    }
    Ok(rooms)
}

/// See [`super::Store::load_room`]; none where the room was never noted.
pub(super) fn load_room(db: &Connection, room: RoomId) -> Result<Option<LoadedRoom>> {
    let Some(row) = room_row(db, &room)? else { return Ok(None) };
    let unread = db
        .prepare_cached("SELECT unread FROM rooms WHERE id = ?1")?
        .query_row([row], |row| row.get(0))?;
    let (control, _) = scan_control(db, row, 0, usize::MAX, |_| true)?;
    Ok(Some(LoadedRoom {
        control,
        runs: chat_runs(db, row)?,
        secrets: secrets(db, row)?,
        unread: to_count(unread),
    }))
}

fn chat_runs(db: &Connection, room: i64) -> Result<Vec<LogSummary>> {
    let mut select = db.prepare_cached(
        "SELECT lane, device, term, newest_time, id FROM logs WHERE room = ?1 AND lane = 1",
    )?;
    let mut rows = select.query([room])?;
    let mut logs = Vec::new();
    while let Some(row) = rows.next()? {
        let runs = runs_of(db, row.get(4)?)?;
        if !runs.is_empty() {
            logs.push((log_id(row, 0)?, runs, to_time(row.get(3)?)));
        }
    }
    logs.sort_by_key(|(log, ..)| *log);
    Ok(logs)
}

fn secrets(db: &Connection, room: i64) -> Result<Vec<EpochSecret>> {
    let mut select = db.prepare_cached("SELECT secret FROM secrets WHERE room = ?1")?;
    let secrets = select.query_map([room], |row| Ok(EpochSecret::new(row.get(0)?)))?;
    Ok(secrets.collect::<rusqlite::Result<_>>()?)
}

/// See [`super::Store::control_events`].
pub(super) fn control_events(
    db: &Connection,
    room: RoomId,
    wanted: &Frontier,
    after: i64,
    max_bytes: usize,
) -> Result<(Vec<Event>, Option<i64>)> {
    let Some(room) = room_row(db, &room)? else { return Ok((Vec::new(), None)) };
    if !is_few(wanted) {
        let is_wanted = |event: &(LogId, u64)| wanted.contains(&event.0, event.1);
        return scan_control(db, room, after, max_bytes, is_wanted);
    }
    let sql = format!("SELECT {EVENT_COLUMNS} FROM events WHERE id = ?1");
    let mut select = db.prepare_cached(&sql)?;
    let mut page = Page::new(after, max_bytes);
    for id in look_up(db, room, wanted)?.into_iter().filter(|id| *id > after) {
        let mut rows = select.query([id])?;
        let Some(row) = rows.next()? else { continue };
        if !page.add(id, event(row, 0)?) {
            return Ok(page.cut());
        }
    }
    Ok((page.events, None))
}

/// Reads a room's control lane in the order of acceptance, from after a row.
fn scan_control(
    db: &Connection,
    room: i64,
    after: i64,
    max_bytes: usize,
    is_wanted: impl Fn(&(LogId, u64)) -> bool,
) -> Result<(Vec<Event>, Option<i64>)> {
    let sql = format!(
        "SELECT {EVENT_COLUMNS}, l.lane, l.device, l.term, e.seq, e.id
         FROM events e JOIN logs l ON l.id = e.log
         WHERE e.room = ?1 AND e.lane = 0 AND e.id > ?2 ORDER BY e.id"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query([room, after])?;
    let mut page = Page::new(after, max_bytes);
    while let Some(row) = rows.next()? {
        if is_wanted(&(log_id(row, 3)?, to_seq(row.get(6)?)))
            && !page.add(row.get(7)?, event(row, 0)?)
        {
            return Ok(page.cut());
        }
    }
    Ok((page.events, None))
}

/// A page of control events that is being filled.
struct Page {
    events: Vec<Event>,
    last: i64,
    left: usize,
}

impl Page {
    fn new(after: i64, max_bytes: usize) -> Self {
        Self { events: Vec::new(), last: after, left: max_bytes }
    }

    /// Adds an event unless it does not fit; the first always does.
    fn add(&mut self, id: i64, event: Event) -> bool {
        match self.left.checked_sub(event.size()) {
            None if !self.events.is_empty() => return false,
            left => self.left = left.unwrap_or(0),
        }
        self.last = id;
        self.events.push(event);
        true
    }

    /// Ends the page before its time.
    fn cut(self) -> (Vec<Event>, Option<i64>) {
        (self.events, Some(self.last))
    }
}

fn is_few(wanted: &Frontier) -> bool {
    let control = wanted.iter().filter(|(log, _)| log.lane == Lane::Control);
    let lengths = control.flat_map(|(_, runs)| runs.ranges()).map(|run| run.end - run.start);
    lengths.fold(0u64, u64::saturating_add) <= FEW
}

/// Finds the rows of control events by their positions, in the order of acceptance.
fn look_up(db: &Connection, room: i64, wanted: &Frontier) -> Result<Vec<i64>> {
    let mut select = db.prepare_cached("SELECT id FROM events WHERE log = ?1 AND seq = ?2")?;
    let mut found: Vec<i64> = Vec::new();
    for (log, runs) in wanted.iter().filter(|(log, _)| log.lane == Lane::Control) {
        let Some(row) = log_row(db, room, log)? else { continue };
        for seq in runs.ranges().iter().cloned().flatten() {
            let id: Option<i64> =
                select.query_row([row, from_seq(seq)], |row| row.get(0)).optional()?;
            found.extend(id);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// See [`super::Store::events`].
pub(super) fn events(
    db: &Connection,
    room: RoomId,
    log: LogId,
    range: &Range<u64>,
    max_bytes: usize,
    max_events: usize,
) -> Result<Vec<Event>> {
    let Some(room) = room_row(db, &room)? else { return Ok(Vec::new()) };
    let Some(log) = log_row(db, room, &log)? else { return Ok(Vec::new()) };
    let Some(last) = range.end.checked_sub(1) else { return Ok(Vec::new()) };
    let last = last.min(half(range.start));
    let sql = format!(
        "SELECT {EVENT_COLUMNS}, seq FROM events
         WHERE log = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query([log, from_seq(range.start), from_seq(last)])?;
    let mut events = Vec::new();
    let (mut next, mut bytes) = (range.start, 0);
    while let Some(row) = rows.next()? {
        if to_seq(row.get(3)?) != next || events.len() >= max_events.max(1) {
            break;
        }
        let event = event(row, 0)?;
        bytes += event.size();
        if bytes > max_bytes && !events.is_empty() {
            break;
        }
        events.push(event);
        next = next.saturating_add(1);
    }
    Ok(events)
}

/// See [`super::Store::event_count`].
pub(super) fn event_count(db: &Connection) -> Result<u64> {
    let mut select = db.prepare_cached("SELECT start, end FROM runs")?;
    let mut rows = select.query([])?;
    let mut count = 0u64;
    while let Some(row) = rows.next()? {
        count = count.saturating_add(to_seq(row.get(1)?).saturating_sub(to_seq(row.get(0)?)));
    }
    Ok(count)
}

/// See [`super::Store::pending_joins`].
pub(super) fn pending_joins(db: &Connection) -> Result<Vec<StoredJoin>> {
    let mut select =
        db.prepare_cached("SELECT room, ticket, since_ms FROM pending_joins ORDER BY id")?;
    let joins = select.query_map([], |row| {
        let since_ms = to_count(row.get(2)?);
        Ok(StoredJoin { room: RoomId(row.get(0)?), ticket: row.get(1)?, since_ms })
    })?;
    Ok(joins.collect::<rusqlite::Result<_>>()?)
}

/// See [`super::Store::peers`].
pub(super) fn peers(db: &Connection) -> Result<Vec<StoredPeer>> {
    let mut select = db.prepare_cached(
        "SELECT addrs, account, name, last_seen_ms FROM peers ORDER BY last_seen_ms DESC, id",
    )?;
    let mut rows = select.query([])?;
    let mut peers = Vec::new();
    while let Some(row) = rows.next()? {
        let account: Option<[u8; 32]> = row.get(1)?;
        peers.push(StoredPeer {
            addr: wire::decode(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?,
            account: account.map(AccountId),
            name: row.get(2)?,
            last_seen_ms: to_count(row.get(3)?),
        });
    }
    Ok(peers)
}

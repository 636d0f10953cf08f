//! Reads of the timeline: chat events in the order of `(time, id)`.
//!
//! The index holds eight bytes of the id. Events that agree in time and in those (an author would
//! have to search for them) are put in order here, by the whole id.

use std::cmp::Reverse;

use ayni_core::clock::Hlc;
use ayni_core::event::Event;
use ayni_core::id::{EventId, RoomId};
use ayni_core::log::Frontier;
use rusqlite::{Connection, Rows, params};

use super::failure::Failure;
use super::number::{from_count, from_time, short, to_seq};
use super::read::{EVENT_COLUMNS, event, log_id, room_row};

/// See [`super::Store::newest`]. Among those that tie for the last place any may be named.
pub(super) fn newest(
    db: &Connection,
    room: RoomId,
    count: u32,
    not_after: Hlc,
) -> Result<Frontier, Failure> {
    let mut frontier = Frontier::default();
    let Some(room) = room_row(db, &room)? else { return Ok(frontier) };
    let mut select = db.prepare_cached(
        "SELECT l.lane, l.device, l.term, e.seq
         FROM events e CROSS JOIN logs l ON l.id = e.log
         WHERE e.room = ?1 AND e.lane = 1 AND e.time <= ?3
         ORDER BY e.time DESC, e.short DESC LIMIT ?2",
    )?;
    let mut rows = select.query(params![room, from_count(count.into()), from_time(not_after)])?;
    while let Some(row) = rows.next()? {
        let seq = to_seq(row.get(3)?);
        frontier.insert(log_id(row, 0)?, seq..seq.saturating_add(1));
    }
    Ok(frontier)
}

/// See [`super::Store::messages`].
pub(super) fn messages(
    db: &Connection,
    room: RoomId,
    wanted: &Wanted,
) -> Result<Vec<Event>, Failure> {
    let Some(room) = room_row(db, &room)? else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT {EVENT_COLUMNS}, time, short FROM events
         WHERE room = ?1 AND lane = 1 AND (time, short) <= (?2, ?3)
         ORDER BY time DESC, short DESC"
    );
    let mut select = db.prepare_cached(&sql)?;
    let (time, short) = wanted.from;
    Ok(wanted.cut(wanted.read(select.query(params![room, time, short])?)?))
}

/// What is wanted of a timeline: the newest that stand before a place and are due.
pub(super) struct Wanted {
    before: Option<(Hlc, EventId)>,
    /// Nothing after this place, as the tables have it.
    pub(super) from: (i64, i64),
    limit: usize,
}

impl Wanted {
    pub(super) fn new(before: Option<(u64, EventId)>, limit: usize, not_after: Hlc) -> Self {
        let before = before.map(|(time, id)| (Hlc(time), id));
        let before = before.filter(|(time, _)| *time <= not_after);
        let from = before
            .map_or((from_time(not_after), i64::MAX), |(time, id)| (from_time(time), short(&id)));
        Self { before, from, limit }
    }

    /// Whether it may be among them.
    pub(super) fn includes(&self, event: &Event) -> bool {
        let (time, id) = event.order();
        (from_time(time), short(&id)) <= self.from
            && self.before.is_none_or(|before| (time, id) < before)
    }

    /// Reads them from rows of [`EVENT_COLUMNS`], time and short, which begin at `from`, the newest
    /// first. More than wanted may come: a tie is read to its end, since its order is not known before.
    pub(super) fn read(&self, mut rows: Rows<'_>) -> Result<Vec<Event>, Failure> {
        let mut events: Vec<Event> = Vec::new();
        let mut tie = None;
        while let Some(row) = rows.next()? {
            let place: (i64, i64) = (row.get(3)?, row.get(4)?);
            if events.len() >= self.limit && tie != Some(place) {
                break;
            }
            let event = event(row, 0)?;
            if self.before.is_none_or(|before| event.order() < before) {
                tie = Some(place);
                events.push(event);
            }
        }
        Ok(events)
    }

    /// Returns the newest of what was found, in order and each once.
    pub(super) fn cut(&self, mut events: Vec<Event>) -> Vec<Event> {
        events.sort_by_key(|event| Reverse(event.order()));
        events.dedup_by_key(|event| event.order());
        events.truncate(self.limit);
        events
    }
}

/// See [`super::Store::event_of`]. The timeline is in the order of time, which an id does not tell: so
/// attachments, which are asked for by their ids, have an index of their own, and for others the room's
/// timeline is read through, without the events themselves. An index of all ids would take 17 bytes
/// for each message, in no order, so that a newcomer's history would touch pages all over it.
pub(super) fn event_of(
    db: &Connection,
    room: RoomId,
    id: EventId,
) -> Result<Option<Event>, Failure> {
    let Some(room) = room_row(db, &room)? else { return Ok(None) };
    let attached = "id IN (SELECT event FROM attachments WHERE short = ?2 AND room = ?1)";
    for place in [attached, "room = ?1 AND lane = 1 AND short = ?2"] {
        let sql = format!("SELECT {EVENT_COLUMNS} FROM events WHERE {place}");
        let mut select = db.prepare_cached(&sql)?;
        let mut rows = select.query([room, short(&id)])?;
        while let Some(row) = rows.next()? {
            let event = event(row, 0)?;
            if event.id() == id {
                return Ok(Some(event));
            }
        }
    }
    Ok(None)
}

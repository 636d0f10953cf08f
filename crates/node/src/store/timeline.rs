//! Reads of the timeline: chat events in the order of `(time, id)`.
//!
//! The index holds eight bytes of the id. Events that agree in time and in those (an author would
//! have to search for them) are put in order here, by the whole id.

use ayni_core::clock::Hlc;
use ayni_core::event::Event;
use ayni_core::id::{EventId, RoomId};
use ayni_core::log::Frontier;
use rusqlite::{Connection, params};

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
    before: Option<(u64, EventId)>,
    limit: usize,
    not_after: Hlc,
) -> Result<Vec<Event>, Failure> {
    let Some(room) = room_row(db, &room)? else { return Ok(Vec::new()) };
    let before = before.map(|(time, id)| (Hlc(time), id)).filter(|(time, _)| *time <= not_after);
    let from =
        before.map_or((from_time(not_after), i64::MAX), |(time, id)| (from_time(time), short(&id)));
    let sql = format!(
        "SELECT {EVENT_COLUMNS}, time, short FROM events
         WHERE room = ?1 AND lane = 1 AND (time, short) <= (?2, ?3)
         ORDER BY time DESC, short DESC"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query(params![room, from.0, from.1])?;
    let mut messages: Vec<Event> = Vec::new();
    let mut tie = None;
    while let Some(row) = rows.next()? {
        let place: (i64, i64) = (row.get(3)?, row.get(4)?);
        // A tie is read to its end, since its order is not known before.
        if messages.len() >= limit && tie != Some(place) {
            break;
        }
        let event = event(row, 0)?;
        if before.is_none_or(|before| event.order() < before) {
            tie = Some(place);
            messages.push(event);
        }
    }
    messages.sort_by_key(|event| std::cmp::Reverse(event.order()));
    messages.truncate(limit);
    Ok(messages)
}

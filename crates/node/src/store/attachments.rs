//! Which messages a content comes with.
//!
//! The rows are made in the background ([`super::index`]). What was not looked into yet is looked into
//! here, as far as it is little: so what was just said is listed at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ayni_core::clock::Hlc;
use ayni_core::event::Event;
use ayni_core::id::{BlobId, EventId, RoomId};
use rusqlite::{Connection, params};

use super::Store;
use super::failure::Failure;
use super::index::{last_row, unlocked, upto};
use super::look::{Keys, Look, look_into};
use super::read::{EVENT_COLUMNS, event, room_row};
use super::timeline::{Wanted, event_of};
use crate::error;

type Result<T, E = Failure> = std::result::Result<T, E>;

/// Up to so many of the newest rows that nobody looked into yet are looked into by a listing: as many as
/// one batch of the background, some milliseconds.
const LOOK_AHEAD: i64 = 512;
/// Messages that are told of one content, at most: to offer each place once, and not to count them.
const MAX_ATTACHED: usize = 64;

/// A page of a room's messages that have an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachments {
    /// The newest first.
    pub(crate) events: Vec<Event>,
    /// How many messages, of all rooms, were not looked into yet, about: those may have more. They are
    /// looked into in the background, as soon as nothing was written for a moment.
    pub(crate) behind: u64,
}

impl Store {
    /// Returns messages of a room that have an attachment, before a position of the timeline, the newest
    /// first. Those dated after `not_after` are left out.
    pub(crate) async fn attachments(
        &self,
        room: RoomId,
        before: Option<(u64, EventId)>,
        limit: usize,
        not_after: Hlc,
    ) -> error::Result<Attachments> {
        let wanted = Wanted::new(before, limit, not_after);
        self.0.pool.read(move |db| attachments(db, room, &wanted)).await
    }

    /// Returns up to 64 messages that a content comes with, the newest first. Of many, each room keeps
    /// its newest: so nobody can push out those of another room.
    pub(crate) async fn attached(&self, blob: BlobId) -> error::Result<Vec<(RoomId, Event)>> {
        self.0.pool.read(move |db| attached(db, &blob)).await
    }

    /// Returns a room's message by its id, whenever it is dated.
    ///
    /// One with an attachment is found at once. Other messages are searched for in the whole timeline,
    /// which takes about a tenth of a second for each million.
    pub(crate) async fn event_of(
        &self,
        room: RoomId,
        event: EventId,
    ) -> error::Result<Option<Event>> {
        self.0.pool.read(move |db| event_of(db, room, event)).await
    }
}

/// Notes that a content comes with the message in row `event`. It may be noted already.
pub(super) fn add(db: &Connection, event: i64, blob: &BlobId) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO attachments (event, room, time, short, blob)
         SELECT id, room, time, short, ?2 FROM events WHERE id = ?1
         ON CONFLICT (event) DO NOTHING",
    )?
    .execute(params![event, blob.0])?;
    Ok(())
}

/// See [`Store::attachments`].
pub(super) fn attachments(db: &Connection, room: RoomId, wanted: &Wanted) -> Result<Attachments> {
    let ahead = Ahead::look(db)?;
    let behind = ahead.behind.unsigned_abs();
    let Some(room) = room_row(db, &room)? else {
        return Ok(Attachments { events: vec![], behind });
    };
    let sql = format!(
        "SELECT {EVENT_COLUMNS}, a.time, a.short
         FROM attachments a CROSS JOIN events e ON e.id = a.event
         WHERE a.room = ?1 AND (a.time, a.short) <= (?2, ?3)
         ORDER BY a.time DESC, a.short DESC"
    );
    let mut select = db.prepare_cached(&sql)?;
    let (time, short) = wanted.from;
    let mut events = wanted.read(select.query(params![room, time, short])?)?;
    let found = ahead.found.into_iter().filter(|found| found.room == room);
    events.extend(found.map(|found| found.event).filter(|event| wanted.includes(event)));
    Ok(Attachments { events: wanted.cut(events), behind })
}

fn attached(db: &Connection, blob: &BlobId) -> Result<Vec<(RoomId, Event)>> {
    let mut rooms = newest_of_rooms(db, blob)?;
    for found in Ahead::look(db)?.found.into_iter().filter(|found| found.blob == *blob) {
        rooms.entry(found.room).or_default().insert((Reverse(found.place), found.row));
    }
    let mut places: Vec<_> = rooms.values().flat_map(|room| room.iter().enumerate()).collect();
    places.sort_unstable(); // the newest of each room, the second of each, ...
    places.truncate(MAX_ATTACHED);
    let sql = format!(
        "SELECT {EVENT_COLUMNS}, r.room FROM events e JOIN rooms r ON r.id = e.room WHERE e.id = ?1"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut events = Vec::new();
    for (_, (_, row)) in places {
        let mut rows = select.query([row])?;
        if let Some(row) = rows.next()? {
            events.push((RoomId(row.get(3)?), event(row, 0)?));
        }
    }
    events.sort_by_key(|(_, event)| Reverse(event.order()));
    Ok(events)
}

/// A place in the order of timelines, as the tables have it.
type Place = (i64, i64);

/// Messages of each room, the newest first, by their rows.
type ByRoom = BTreeMap<i64, BTreeSet<(Reverse<Place>, i64)>>;

/// Returns the newest messages of each room that a content comes with.
fn newest_of_rooms(db: &Connection, blob: &BlobId) -> Result<ByRoom> {
    let mut next_room =
        db.prepare_cached("SELECT min(room) FROM attachments WHERE blob = ?1 AND room > ?2")?;
    let mut newest = db.prepare_cached(
        "SELECT time, short, event FROM attachments WHERE blob = ?1 AND room = ?2
         ORDER BY time DESC, short DESC",
    )?;
    let (mut rooms, mut room) = (ByRoom::new(), i64::MIN);
    while let Some(next) =
        next_room.query_row(params![blob.0, room], |row| row.get::<_, Option<i64>>(0))?
    {
        room = next;
        let mut rows = newest.query(params![blob.0, room])?;
        for _ in 0..MAX_ATTACHED {
            let Some(row) = rows.next()? else { break };
            let place = (row.get(0)?, row.get(1)?);
            rooms.entry(room).or_default().insert((Reverse(place), row.get(2)?));
        }
    }
    Ok(rooms)
}

/// What was found in rows that the background did not come to yet.
struct Ahead {
    found: Vec<Found>,
    /// How many rows were left out, about.
    behind: i64,
}

struct Found {
    row: i64,
    room: i64,
    place: Place,
    blob: BlobId,
    event: Event,
}

impl Ahead {
    fn look(db: &Connection) -> Result<Self> {
        let upto = upto(db)?;
        let from = upto.max(last_row(db)?.saturating_sub(LOOK_AHEAD));
        let behind = from.saturating_sub(upto).saturating_add(unlocked(db)?);
        let mut ahead = Self { found: Vec::new(), behind };
        let mut keys = Keys::default();
        let sql = format!(
            "SELECT {EVENT_COLUMNS}, id, room, time, short FROM events
             WHERE id > ?1 AND lane = 1 ORDER BY id"
        );
        let mut select = db.prepare_cached(&sql)?;
        let mut rows = select.query([from])?;
        while let Some(row) = rows.next()? {
            let event = match event(row, 0) {
                Ok(event) => event,
                Err(Failure::Damaged(_)) => continue, // whoever reads it is told
                Err(failure) => return Err(failure),
            };
            let room = row.get(4)?;
            if let Look::Read(message) = look_into(db, &mut keys, room, &event)?
                && let Some(blob) = message.blob
            {
                let place = (row.get(5)?, row.get(6)?);
                ahead.found.push(Found { row: row.get(3)?, room, place, blob, event });
            }
        }
        Ok(ahead)
    }
}

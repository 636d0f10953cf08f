//! Finding messages by their words, the newest first.
//!
//! The index gives rows in the order in which they came, and a newcomer's newest came first. So all that
//! match are noted as bits of their row numbers. If they are few each is looked up; if they are many
//! the timelines are read from their newest end, which meets enough of them soon.

use ayni_core::clock::Hlc;
use ayni_core::event::Event;
use ayni_core::id::{EventId, RoomId};
use rusqlite::{Connection, OptionalExtension as _, Rows, Statement, params};

use super::failure::Failure;
use super::index;
use super::number::{from_time, short};
use super::read::{EVENT_COLUMNS, event, room_row};

type Result<T, E = Failure> = std::result::Result<T, E>;

/// Up to so many matches are looked up one by one: some tens of milliseconds. In tests a few, so that
/// both ways are taken.
const FEW: usize = if cfg!(test) { 20 } else { 4096 };
/// Most words of one search; further ones are left out, and so find more.
const MAX_WORDS: usize = 16;
/// Words of so many characters find also those that begin with them. The beginnings of shorter ones
/// are too many to be of use.
const PREFIX: usize = 3;

/// What is searched for. Made of any text whatever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words(String);

impl Words {
    /// Takes the words of a text, all of which are to be found; none if it has no letter or digit.
    ///
    /// Each is quoted, so that nothing in it means anything to the query language.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let words = text.split(|char: char| char.is_whitespace() || char.is_control());
        let words = words.filter(|word| word.contains(char::is_alphanumeric)).take(MAX_WORDS);
        let quoted: Vec<String> = words
            .map(|word| {
                let begins = if word.chars().count() >= PREFIX { "*" } else { "" };
                format!("\"{}\"{begins}", word.replace('"', "\"\""))
            })
            .collect();
        (!quoted.is_empty()).then(|| Self(quoted.join(" AND ")))
    }
}

/// Where to search, and how much is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) words: Words,
    /// In one room only.
    pub(crate) room: Option<RoomId>,
    /// Only what stands before this place of the timeline.
    pub(crate) before: Option<(u64, EventId)>,
    pub(crate) limit: usize,
    /// What is dated later is left out.
    pub(crate) not_after: Hlc,
}

/// What was found, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matches {
    pub(crate) events: Vec<(RoomId, Event)>,
    /// How many events were not looked at yet, about.
    pub(crate) behind: u64,
}

/// A place in the order of timelines, as the tables have it, and a row.
type Place = ((i64, i64), i64);

/// See [`super::Store::search`].
pub(super) fn search(db: &Connection, search: &Search) -> Result<Matches> {
    let behind = index::behind(db)?.unsigned_abs();
    let none = Matches { events: vec![], behind };
    let rooms = match &search.room {
        Some(room) => room_row(db, room)?.into_iter().collect(),
        None => all_rooms(db)?,
    };
    let matching = matching(db, &search.words)?;
    if search.limit == 0 || rooms.is_empty() || matching.count == 0 {
        return Ok(none);
    }
    let mut page = Page::new(db, search);
    if matching.count <= FEW {
        let mut places = look_up(db, &matching, &rooms)?;
        places.sort_unstable();
        let from = page.from;
        for place in places.into_iter().rev().filter(|(place, _)| *place <= from) {
            if !page.add(place)? {
                break;
            }
        }
    } else {
        let mut statements = timelines(db, rooms.len())?;
        let mut timelines = Timelines::begin(&mut statements, &rooms, page.from)?;
        while let Some(place) = timelines.next()? {
            if matching.contains(place.1) && !page.add(place)? {
                break;
            }
        }
    }
    Ok(Matches { events: page.end(), behind })
}

fn all_rooms(db: &Connection) -> Result<Vec<i64>> {
    let mut select = db.prepare_cached("SELECT id FROM rooms")?;
    Ok(select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// A set of rows.
struct RowSet {
    bits: Vec<u64>,
    count: usize,
}

impl RowSet {
    fn insert(&mut self, row: i64) {
        let Some((word, bit)) = Self::place(row) else { return };
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if let Some(bits) = self.bits.get_mut(word) {
            *bits |= bit;
        }
        self.count += 1;
    }

    fn contains(&self, row: i64) -> bool {
        let held = |(word, bit): (usize, u64)| Some(self.bits.get(word)? & bit != 0);
        Self::place(row).and_then(held).unwrap_or(false)
    }

    fn place(row: i64) -> Option<(usize, u64)> {
        let row = usize::try_from(row).ok()?;
        Some((row / 64, 1 << (row % 64)))
    }

    fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        let bits = self.bits.iter().enumerate().filter(|(_, bits)| **bits != 0);
        bits.flat_map(|(word, bits)| {
            let held = (0..64).filter(move |bit| bits & (1 << bit) != 0);
            held.filter_map(move |bit| i64::try_from(word * 64 + bit).ok())
        })
    }
}

/// Returns the rows that have all words. Numbers beyond what was looked at may have been given to
/// other events since.
fn matching(db: &Connection, words: &Words) -> Result<RowSet> {
    let mut select =
        db.prepare_cached("SELECT rowid FROM texts WHERE texts MATCH ?1 AND rowid <= ?2")?;
    let mut rows = select.query(params![words.0, index::upto(db)?])?;
    let mut set = RowSet { bits: Vec::new(), count: 0 };
    while let Some(row) = rows.next()? {
        set.insert(row.get(0)?);
    }
    Ok(set)
}

fn look_up(db: &Connection, matching: &RowSet, rooms: &[i64]) -> Result<Vec<Place>> {
    let mut select = db.prepare_cached("SELECT room, time, short FROM events WHERE id = ?1")?;
    let mut places = Vec::new();
    for id in matching.iter() {
        let found = select.query_row([id], |row| {
            Ok((row.get::<_, i64>(0)?, (row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
        });
        // What was deleted may still be in the index.
        if let Some((room, place)) = found.optional()?
            && rooms.contains(&room)
        {
            places.push((place, id));
        }
    }
    Ok(places)
}

fn timelines(db: &Connection, count: usize) -> Result<Vec<Statement<'_>>> {
    let prepare = || {
        db.prepare(
            "SELECT time, short, id FROM events
             WHERE room = ?1 AND lane = 1 AND (time, short) <= (?2, ?3)
             ORDER BY time DESC, short DESC",
        )
    };
    Ok((0..count).map(|_| prepare()).collect::<rusqlite::Result<_>>()?)
}

/// Several timelines as one, the newest first.
struct Timelines<'a> {
    all: Vec<(Rows<'a>, Option<Place>)>,
}

impl<'a> Timelines<'a> {
    fn begin(statements: &'a mut [Statement<'_>], rooms: &[i64], from: (i64, i64)) -> Result<Self> {
        let mut all = Vec::new();
        for (statement, room) in statements.iter_mut().zip(rooms) {
            let mut rows = statement.query([*room, from.0, from.1])?;
            let first = step(&mut rows)?;
            all.push((rows, first));
        }
        Ok(Self { all })
    }

    fn next(&mut self) -> Result<Option<Place>> {
        let newest = self.all.iter_mut().max_by_key(|(_, next)| *next);
        let Some((rows, next)) = newest else { return Ok(None) };
        let place = next.take();
        if place.is_some() {
            *next = step(rows)?;
        }
        Ok(place)
    }
}

fn step(rows: &mut Rows<'_>) -> Result<Option<Place>> {
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(((row.get(0)?, row.get(1)?), row.get(2)?)))
}

/// Some of what was found, while it is gathered.
struct Page<'a> {
    db: &'a Connection,
    before: Option<(Hlc, EventId)>,
    limit: usize,
    /// No place after this one.
    from: (i64, i64),
    events: Vec<(RoomId, Event)>,
    tie: Option<(i64, i64)>,
}

impl<'a> Page<'a> {
    fn new(db: &'a Connection, search: &Search) -> Self {
        let latest = search.not_after;
        let before = search.before.map(|(time, id)| (Hlc(time), id));
        let before = before.filter(|(time, _)| *time <= latest);
        let from = before
            .map_or((from_time(latest), i64::MAX), |(time, id)| (from_time(time), short(&id)));
        Self { db, before, limit: search.limit, from, events: Vec::new(), tie: None }
    }

    /// Adds what stands at a place; false when the page is full. Events that tie for a place are all
    /// read, since their order is not known before.
    fn add(&mut self, (place, id): Place) -> Result<bool> {
        if self.events.len() >= self.limit && self.tie != Some(place) {
            return Ok(false);
        }
        let sql = format!(
            "SELECT {EVENT_COLUMNS}, r.room FROM events e JOIN rooms r ON r.id = e.room
             WHERE e.id = ?1"
        );
        let mut select = self.db.prepare_cached(&sql)?;
        let mut rows = select.query([id])?;
        let Some(row) = rows.next()? else { return Ok(true) };
        let (event, room) = (event(row, 0)?, RoomId(row.get(3)?));
        if self.before.is_none_or(|before| event.order() < before) {
            self.tie = Some(place);
            self.events.push((room, event));
        }
        Ok(true)
    }

    fn end(mut self) -> Vec<(RoomId, Event)> {
        self.events.sort_by_key(|(_, event)| std::cmp::Reverse(event.order()));
        self.events.truncate(self.limit);
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Option<String> {
        Words::of(text).map(|words| words.0)
    }

    #[test]
    fn every_text_is_words_and_nothing_else() {
        assert_eq!(query("  family  at 9 "), Some("\"family\"* AND \"at\" AND \"9\"".into()));
        assert_eq!(query("a\"b OR\0c*"), Some("\"a\"\"b\"* AND \"OR\" AND \"c*\"".into()));
        for nothing in ["", "  ", "!!! ???", "\"", "*", "\u{1f600}"] {
            assert_eq!(query(nothing), None, "{nothing:?}");
        }
        let many = "word ".repeat(100);
        assert_eq!(query(&many).map(|all| all.matches("AND").count()), Some(MAX_WORDS - 1));
    }

    #[test]
    fn rows_are_a_set_of_numbers() {
        let mut set = RowSet { bits: Vec::new(), count: 0 };
        for row in [5, 64, 1_000_000, -1] {
            set.insert(row);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [5, 64, 1_000_000]);
        assert!(set.contains(64) && !set.contains(63) && !set.contains(-1));
        assert!(!set.contains(i64::MAX));
    }
}

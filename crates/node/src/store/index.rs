//! What is found in messages: their words, for [`super::search`], and what comes with them, for
//! [`super::attachments`].
//!
//! Both are filled in the background, a batch at a time, from the events that are stored: `indexing`
//! says up to which row they were looked at, in the same transaction, so it goes on after any end.
//! Messages whose key is not here are skipped and remembered by their epoch, one range of rows each, and
//! looked at again when the key is here. Words can be switched off; attachments are always found.
//!
//! What is deleted leaves `attachments` at once. It leaves the words too, one by one (`secure-delete`),
//! in the background: until then its text lies in `leaving`. Nothing is added while anything waits
//! there: SQLite gives the number of a deleted last row to the next one, and a row must not be in the
//! index twice.
//!
//! Invariant: call a row *looked into* if it is at most `upto`, was a readable message, and lies in no
//! range of its epoch in `unreadable`. While `words` is set, a row is in the index of words, or in
//! `leaving`, if and only if it was looked into; while it is not, none is. Of the rows that were looked
//! into each attachment is in `attachments`; others may be there, when words are begun again.
//!
//! Source: SQLite's document "FTS5", 4.4 (contentless tables), 6 (commands).

use ayni_core::id::EpochId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::failure::Failure;
use super::look::{Keys, Look, Readable, look};
use super::read::EVENT_COLUMNS;
use super::{attachments, schema};

type Result<T, E = Failure> = std::result::Result<T, E>;

/// Rows that are looked at in one batch, at most: some milliseconds.
const BATCH: i64 = 512;
/// Bytes of events in one batch, about: a long text takes as long as many short ones.
const BATCH_BYTES: usize = 256 * 1024;
/// Rows after which it is looked whether something urgent waits: less than a commit takes.
const GLANCE: usize = 32;

/// Does one batch of what is to be done; returns whether there is more. Ends early when `urgent` says
/// so.
pub(super) fn step(db: &Connection, urgent: impl Fn() -> bool) -> Result<bool> {
    let words = has_words(db)?;
    let mut batch = Batch { db, words, keys: Keys::default(), urgent: &urgent, seen: 0, bytes: 0 };
    Ok(batch.forget()? || batch.look_again()? || batch.go_on()?)
}

/// Says whether words are indexed from now on. If not, those that were are taken out; if so, all
/// messages are looked at again.
pub(super) fn switch_words(db: &Connection, words: bool) -> Result<()> {
    if has_words(db)? == words {
        return Ok(());
    }
    db.execute_batch(if words {
        "DELETE FROM unreadable;
         UPDATE indexing SET upto = 0, words = 1;"
    } else {
        "INSERT INTO texts (texts) VALUES ('delete-all');
         DELETE FROM leaving;
         UPDATE indexing SET words = 0;"
    })?;
    Ok(())
}

/// Makes all of it new and empty in place of what is damaged. Nothing is lost: it follows from the
/// events.
pub(super) fn rebuild(db: &Connection) -> Result<()> {
    db.execute_batch("DROP TABLE texts; DROP TABLE attachments;")?;
    db.execute_batch(schema::TEXTS)?;
    db.execute_batch(schema::ATTACHMENTS)?;
    db.execute_batch("DELETE FROM unreadable; DELETE FROM leaving; UPDATE indexing SET upto = 0;")?;
    Ok(())
}

fn has_words(db: &Connection) -> Result<bool> {
    Ok(db.prepare_cached("SELECT words FROM indexing")?.query_row([], |row| row.get(0))?)
}

/// Returns the last row that was looked at.
pub(super) fn upto(db: &Connection) -> Result<i64> {
    Ok(db.prepare_cached("SELECT upto FROM indexing")?.query_row([], |row| row.get(0))?)
}

/// Returns the last row there is.
pub(super) fn last_row(db: &Connection) -> Result<i64> {
    let mut last = db.prepare_cached("SELECT coalesce(max(id), 0) FROM events")?;
    Ok(last.query_row([], |row| row.get(0))?)
}

/// Returns how many rows were not looked at yet, about.
pub(super) fn behind(db: &Connection) -> Result<i64> {
    Ok(last_row(db)?.saturating_sub(upto(db)?).max(0))
}

/// To be called before events of a log are deleted, with the positions as SQLite orders them.
pub(super) fn before_delete(db: &Connection, log: i64, first: i64, last: i64) -> Result<()> {
    if !has_words(db)? {
        return Ok(());
    }
    let upto = upto(db)?;
    let mut keys = Keys::default();
    let sql = format!(
        "SELECT {EVENT_COLUMNS}, room, id FROM events
         WHERE log = ?1 AND seq BETWEEN ?2 AND ?3 AND lane = 1 AND id <= ?4"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query([log, first, last, upto])?;
    while let Some(row) = rows.next()? {
        let (room, id) = (row.get(3)?, row.get(4)?);
        if let Look::Read(message) = look(db, &mut keys, room, row)?
            && !is_skipped(db, room, &message.epoch, id)?
        {
            db.prepare_cached("INSERT INTO leaving (id, text) VALUES (?1, ?2)")?
                .execute(params![id, message.text])?;
        }
    }
    Ok(())
}

/// Returns how many rows were skipped and can be read now, about.
pub(super) fn unlocked(db: &Connection) -> Result<i64> {
    let mut select = db.prepare_cached(
        "SELECT coalesce(sum(u.last - u.first + 1), 0) FROM unreadable u
         JOIN secrets s ON s.room = u.room AND s.epoch = u.epoch",
    )?;
    Ok(select.query_row([], |row| row.get(0))?)
}

/// To be called after events were deleted: the numbers of the last rows are given again.
pub(super) fn after_delete(db: &Connection) -> Result<()> {
    db.execute_batch(
        "UPDATE indexing SET upto = min(upto, (SELECT coalesce(max(id), 0) FROM events));
         UPDATE unreadable SET last = min(last, (SELECT upto FROM indexing));
         DELETE FROM unreadable WHERE first > last;",
    )?;
    Ok(())
}

fn is_skipped(db: &Connection, room: i64, epoch: &EpochId, id: i64) -> Result<bool> {
    let mut select = db.prepare_cached(
        "SELECT 1 FROM unreadable WHERE room = ?1 AND epoch = ?2 AND ?3 BETWEEN first AND last",
    )?;
    Ok(select.exists(params![room, epoch.0, id])?)
}

struct Batch<'a> {
    db: &'a Connection,
    words: bool,
    keys: Keys,
    urgent: &'a dyn Fn() -> bool,
    seen: usize,
    bytes: usize,
}

impl Batch<'_> {
    /// Whether the batch ends after a row of so many bytes.
    fn is_full(&mut self, bytes: usize) -> bool {
        self.seen += 1;
        self.bytes += bytes;
        self.bytes >= BATCH_BYTES || self.seen.is_multiple_of(GLANCE) && (self.urgent)()
    }

    fn add(&self, id: i64, message: &Readable) -> Result<()> {
        if let Some(blob) = &message.blob {
            attachments::add(self.db, id, blob)?;
        }
        if self.words {
            self.db
                .prepare_cached("INSERT INTO texts (rowid, text) VALUES (?1, ?2)")?
                .execute(params![id, message.text])?;
        }
        Ok(())
    }

    /// Takes deleted messages out. Returns whether there were any.
    fn forget(&mut self) -> Result<bool> {
        let db = self.db;
        let mut select = db.prepare_cached("SELECT id, text FROM leaving ORDER BY id LIMIT ?1")?;
        let mut rows = select.query([BATCH])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let (id, text): (i64, String) = (row.get(0)?, row.get(1)?);
            db.prepare_cached("INSERT INTO texts (texts, rowid, text) VALUES ('delete', ?1, ?2)")?
                .execute(params![id, text])?;
            last = Some(id);
            if self.is_full(text.len()) {
                break;
            }
        }
        db.prepare_cached("DELETE FROM leaving WHERE id <= ?1")?.execute([last])?;
        Ok(last.is_some())
    }

    /// Looks at what was skipped and can be read now. Returns whether there was any.
    fn look_again(&mut self) -> Result<bool> {
        let db = self.db;
        let mut select = db.prepare_cached(
            "SELECT u.room, u.epoch, u.first, u.last FROM unreadable u
             JOIN secrets s ON s.room = u.room AND s.epoch = u.epoch LIMIT 1",
        )?;
        let found = select.query_row([], |row| {
            Ok((row.get::<_, i64>(0)?, EpochId(row.get(1)?), row.get(2)?, row.get(3)?))
        });
        let Some((room, epoch, first, last)) = found.optional()? else { return Ok(false) };
        let next = self.rows(first, last, |batch, id, of, look| match look {
            Look::Read(message) if of == room && message.epoch == epoch => batch.add(id, &message),
            _ => Ok(()),
        })?;
        if next > last {
            db.prepare_cached("DELETE FROM unreadable WHERE room = ?1 AND epoch = ?2")?
                .execute(params![room, epoch.0])?;
        } else {
            db.prepare_cached("UPDATE unreadable SET first = ?3 WHERE room = ?1 AND epoch = ?2")?
                .execute(params![room, epoch.0, next])?;
        }
        Ok(true)
    }

    /// Looks at rows that nobody looked at yet. Returns whether there were any.
    fn go_on(&mut self) -> Result<bool> {
        let upto = upto(self.db)?;
        let next =
            self.rows(upto.saturating_add(1), i64::MAX, |batch, id, room, look| match look {
                Look::Read(message) => batch.add(id, &message),
                Look::Locked(epoch) => batch.skip(id, room, &epoch),
                Look::Nothing => Ok(()),
            })?;
        // Nothing was read: the end.
        let Some(reached) = Some(next.saturating_sub(1)).filter(|reached| *reached > upto) else {
            return Ok(false);
        };
        self.db.prepare_cached("UPDATE indexing SET upto = ?1")?.execute([reached])?;
        Ok(true)
    }

    fn skip(&self, id: i64, room: i64, epoch: &EpochId) -> Result<()> {
        self.db
            .prepare_cached(
                "INSERT INTO unreadable (room, epoch, first, last) VALUES (?1, ?2, ?3, ?3)
                 ON CONFLICT (room, epoch) DO UPDATE SET last = excluded.last",
            )?
            .execute(params![room, epoch.0, id])?;
        Ok(())
    }

    /// Shows the rows from `first` to `last` as far as the batch goes. Returns where the next begins:
    /// after `last` where all were shown, and `first` where there are none after it.
    fn rows(
        &mut self,
        first: i64,
        last: i64,
        mut show: impl FnMut(&Self, i64, i64, Look) -> Result<()>,
    ) -> Result<i64> {
        let db = self.db;
        let sql = format!(
            "SELECT {EVENT_COLUMNS}, id, room, lane FROM events
             WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3"
        );
        let mut select = db.prepare_cached(&sql)?;
        let mut rows = select.query([first, last, BATCH])?;
        let (mut next, mut count) = (first, 0);
        while let Some(row) = rows.next()? {
            let (id, room, lane): (i64, i64, i64) = (row.get(3)?, row.get(4)?, row.get(5)?);
            let bytes = row.get_ref(2)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
            let bytes = bytes.map_or(0, <[u8]>::len);
            if lane == 1 {
                let look = look(db, &mut self.keys, room, row)?;
                show(self, id, room, look)?;
            }
            next = id.saturating_add(1);
            count += 1;
            if self.is_full(bytes) {
                return Ok(next);
            }
        }
        Ok(if count < BATCH && last < i64::MAX { last.saturating_add(1) } else { next })
    }
}

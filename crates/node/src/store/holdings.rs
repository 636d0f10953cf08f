//! What this node keeps of the rooms' contents, why, and through which room it may be served.
//!
//! A row says that a content is wanted for a room, or for this node's user alone (no room), and how far
//! that is ([`Standing`]): it is *wanted* as long as it is fetched; *kept* when it is here, be it because
//! of something else; *given* when this node posted it there or all of it came through that room.
//!
//! Invariant: a content is served in a room only where it is given, or where what is here of it came
//! through that room (which the content's own store knows). That it is here for another room does not
//! count: who learned a hash elsewhere and posts it gets nothing by it. For the same reason a folder's
//! files are given for each room apart, under the folder's root.
//!
//! Any row keeps a content from being deleted, whatever its standing. Who ends what made the row deletes
//! it; what no row names any more is deleted by the collection.
//!
//! Non-goals: it does not know whether the content is really there, and deletes none.

use ayni_core::clock::Millis;
use ayni_core::id::{BlobId, RoomId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::Store;
use super::failure::Failure;
use super::number::{from_count, to_count};
use crate::error;

type Result<T, E = Failure> = std::result::Result<T, E>;

/// How far something that is kept is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Standing {
    /// It is fetched, or about to be.
    Wanted,
    /// It is here for this node's user, and not given to the room's members: none of them gave it.
    Kept,
    /// It was posted here, or all of it came through the room: members may have it.
    Given,
}

/// What made it be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reason {
    /// The node fetched it by itself: a picture, or one copy of several.
    ByItself,
    /// The user asked for it.
    Asked,
    /// The user posted it. It is never evicted.
    Posted,
}

/// Something that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    /// The room; none: for this node's user alone.
    pub(crate) room: Option<RoomId>,
    /// The file, or the list of a folder's files. It is held from now on.
    pub(crate) root: BlobId,
    /// Of a folder: its files that are held from now on, beside those of earlier. Those of a large folder
    /// may come in several writes.
    pub(crate) blobs: Vec<BlobId>,
    /// Bytes of all of it, as others say.
    pub(crate) bytes: u64,
    /// Now. What is held already keeps the time since when it is.
    pub(crate) since_ms: Millis,
    /// What is held already keeps a higher one.
    pub(crate) standing: Standing,
    /// What is held already keeps a higher one.
    pub(crate) reason: Reason,
    /// Whether its message is about to be said: see [`super::Write::Said`].
    pub(crate) unsaid: bool,
}

/// Something that is kept, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) room: Option<RoomId>,
    pub(crate) root: BlobId,
    /// Bytes of all of it, as they were told last.
    pub(crate) bytes: u64,
    pub(crate) since_ms: Millis,
    /// Not to be evicted.
    pub(crate) pinned: bool,
    pub(crate) last_used_ms: Millis,
    pub(crate) standing: Standing,
    pub(crate) reason: Reason,
    /// Its message was about to be said.
    pub(crate) unsaid: bool,
}

impl Store {
    /// Returns the rooms (or none, for this node's user alone) and roots for which a content is kept or
    /// wanted, and whether it is given there.
    pub(crate) async fn reasons(
        &self,
        blob: BlobId,
    ) -> error::Result<Vec<(Option<RoomId>, BlobId, bool)>> {
        self.0.pool.read(move |db| reasons(db, &blob)).await
    }

    /// Returns those of some contents that are given in a room under a root, itself perhaps among them.
    pub(crate) async fn given_among(
        &self,
        room: RoomId,
        root: BlobId,
        blobs: Vec<BlobId>,
    ) -> error::Result<Vec<BlobId>> {
        self.0.pool.read(move |db| given_among(db, room, &root, blobs)).await
    }

    /// Returns the files that are kept of a folder, given or not; none where the folder is not kept.
    pub(crate) async fn parts_of(
        &self,
        room: Option<RoomId>,
        root: BlobId,
    ) -> error::Result<Vec<BlobId>> {
        self.0.pool.read(move |db| parts_of(db, room, &root)).await
    }

    /// Returns every content that is held, shared or being fetched.
    pub(crate) async fn kept(&self) -> error::Result<Vec<BlobId>> {
        self.0.pool.read(kept).await
    }

    /// Returns what is held in a room, or all that is held, the least recently used first.
    pub(crate) async fn holdings(&self, room: Option<RoomId>) -> error::Result<Vec<Holding>> {
        self.0.pool.read(move |db| holdings(db, room)).await
    }

    /// Returns why something is kept for a room, or for this node's user alone; none where it is not.
    pub(crate) async fn holding(
        &self,
        room: Option<RoomId>,
        root: BlobId,
    ) -> error::Result<Option<Holding>> {
        self.0.pool.read(move |db| find(db, room, &root)).await
    }

    /// Returns up to how many bytes pictures of a room are fetched by themselves; none where it was
    /// not set.
    pub(crate) async fn room_fetch_limit(&self, room: RoomId) -> error::Result<Option<u64>> {
        self.0.pool.read(move |db| fetch_limit(db, room)).await
    }

    /// Returns how many bytes of a room came without being asked for, or are about to, as they were said or
    /// proved.
    pub(crate) async fn held_by_itself(&self, room: RoomId) -> error::Result<u64> {
        self.0.pool.read(move |db| held_by_itself(db, room)).await
    }
}

/// A holding of a room, `?1` its id or null, with the root `?2`.
const ONE: &str = "root = ?2 AND room IS (SELECT id FROM rooms WHERE room = ?1)
                   AND (room IS NULL) = (?1 IS NULL)";

/// Carries out [`super::Write::Hold`] in the room with row number `room`.
pub(super) fn hold(db: &Connection, room: Option<i64>, hold: &Hold) -> Result<()> {
    // A message that is about to be said is counted until it is, so that of several the last one that
    // fails takes the row away.
    let conflict = if room.is_some() { "(root, room)" } else { "(root) WHERE room IS NULL" };
    let sql = format!(
        "INSERT INTO holdings (room, root, since_ms, last_used_ms, bytes, standing, reason, unsaid)
         VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT {conflict} DO UPDATE SET
             bytes = excluded.bytes,
             last_used_ms = max(last_used_ms, excluded.last_used_ms),
             standing = max(standing, excluded.standing),
             reason = iif(excluded.unsaid, reason, max(reason, excluded.reason)),
             unsaid = iif(unsaid > 0, unsaid + excluded.unsaid, 0)
         RETURNING id"
    );
    let holding: i64 = db.prepare_cached(&sql)?.query_row(
        params![
            room,
            hold.root.0,
            from_count(hold.since_ms),
            from_count(hold.bytes),
            standing_number(hold.standing),
            reason_number(hold.reason),
            hold.unsaid,
        ],
        |row| row.get(0),
    )?;
    let given = hold.standing == Standing::Given;
    let mut insert = db.prepare_cached(
        "INSERT INTO held (blob, holding, given) VALUES (?1, ?2, ?3)
         ON CONFLICT (blob, holding) DO UPDATE SET given = max(given, excluded.given)",
    )?;
    for blob in hold.blobs.iter().filter(|blob| **blob != hold.root) {
        insert.execute(params![blob.0, holding, given])?;
    }
    Ok(())
}

/// Carries out [`super::Write::Given`].
pub(super) fn give(db: &Connection, room: &RoomId, root: &BlobId, blobs: &[BlobId]) -> Result<()> {
    // None: it was released meanwhile.
    let Some((holding, _)) = row_of(db, room, root)? else { return Ok(()) };
    let mut update =
        db.prepare_cached("UPDATE held SET given = 1 WHERE blob = ?1 AND holding = ?2")?;
    for blob in blobs {
        if blob == root {
            db.prepare_cached("UPDATE holdings SET standing = ?2 WHERE id = ?1")?
                .execute(params![holding, standing_number(Standing::Given)])?;
        } else {
            update.execute(params![blob.0, holding])?;
        }
    }
    Ok(())
}

/// Carries out [`super::Write::Kept`].
pub(super) fn keep(db: &Connection, room: Option<&RoomId>, root: &BlobId) -> Result<()> {
    let sql = format!("UPDATE holdings SET standing = max(standing, ?3) WHERE {ONE}");
    let kept = standing_number(Standing::Kept);
    db.prepare_cached(&sql)?.execute(params![room.map(|room| room.0), root.0, kept])?;
    Ok(())
}

/// Carries out [`super::Write::Release`].
pub(super) fn release(db: &Connection, room: Option<&RoomId>, root: &BlobId) -> Result<()> {
    let sql = format!("DELETE FROM holdings WHERE {ONE}");
    db.prepare_cached(&sql)?.execute(params![room.map(|room| room.0), root.0])?;
    Ok(())
}

/// What is still only wanted, and by nothing that is under way.
const LOST: &str = "standing = 0 AND pinned = 0 AND NOT EXISTS (
    SELECT 1 FROM transfers t WHERE t.root = holdings.root AND t.room IS holdings.room)";

/// Carries out [`super::Write::GiveUp`].
pub(super) fn give_up(db: &Connection, room: Option<&RoomId>, root: &BlobId) -> Result<()> {
    let sql = format!("DELETE FROM holdings WHERE {ONE} AND {LOST}");
    db.prepare_cached(&sql)?.execute(params![room.map(|room| room.0), root.0])?;
    Ok(())
}

/// Carries out [`super::Write::GiveUpAll`].
pub(super) fn give_up_all(db: &Connection) -> Result<()> {
    db.prepare_cached(&format!("DELETE FROM holdings WHERE {LOST}"))?.execute([])?;
    Ok(())
}

/// Carries out [`super::Write::Leave`].
pub(super) fn leave(db: &Connection, room: &RoomId) -> Result<()> {
    let room = params![room.0];
    let row = "(SELECT id FROM rooms WHERE room = ?1)";
    db.execute(&format!("DELETE FROM transfers WHERE room = {row}"), room)?;
    db.execute(&format!("DELETE FROM holdings WHERE room = {row} AND pinned = 0"), room)?;
    Ok(())
}

/// Carries out [`super::Write::Evict`].
pub(super) fn evict(db: &Connection, root: &BlobId) -> Result<()> {
    db.prepare_cached(
        "DELETE FROM holdings WHERE root = ?1
         AND NOT EXISTS (SELECT 1 FROM holdings WHERE root = ?1
                         AND (pinned <> 0 OR unsaid <> 0 OR reason = ?2
                              OR room IS NULL AND standing > 0))
         AND NOT EXISTS (SELECT 1 FROM transfers WHERE root = ?1)",
    )?
    .execute(params![root.0, reason_number(Reason::Posted)])?;
    Ok(())
}

/// Carries out [`super::Write::Said`].
pub(super) fn said(db: &Connection, room: &RoomId, root: &BlobId, said: bool) -> Result<()> {
    if said {
        let sql = format!("UPDATE holdings SET unsaid = 0, reason = ?3 WHERE {ONE}");
        let posted = reason_number(Reason::Posted);
        db.prepare_cached(&sql)?.execute(params![room.0, root.0, posted])?;
        return Ok(());
    }
    let last = format!("DELETE FROM holdings WHERE {ONE} AND unsaid = 1");
    db.prepare_cached(&last)?.execute(params![room.0, root.0])?;
    let other = format!("UPDATE holdings SET unsaid = unsaid - 1 WHERE {ONE} AND unsaid > 1");
    db.prepare_cached(&other)?.execute(params![room.0, root.0])?;
    Ok(())
}

/// Carries out [`super::Write::Pin`].
pub(super) fn pin(db: &Connection, room: &RoomId, root: &BlobId, pinned: bool) -> Result<()> {
    let sql = format!("UPDATE holdings SET pinned = ?3 WHERE {ONE}");
    let changed = db.prepare_cached(&sql)?.execute(params![room.0, root.0, pinned])?;
    // Whoever pins relies on it.
    if changed == 0 {
        Err(Failure::Refused("a pin of what is not held in that room"))
    } else {
        Ok(())
    }
}

/// Carries out [`super::Write::Used`].
pub(super) fn used(db: &Connection, root: &BlobId, now_ms: Millis) -> Result<()> {
    db.prepare_cached("UPDATE holdings SET last_used_ms = max(last_used_ms, ?2) WHERE root = ?1")?
        .execute(params![root.0, from_count(now_ms)])?;
    Ok(())
}

/// Carries out [`super::Write::RoomFetchLimit`].
pub(super) fn set_fetch_limit(db: &Connection, room: i64, bytes: Option<u64>) -> Result<()> {
    db.prepare_cached("UPDATE rooms SET fetch_limit = ?2 WHERE id = ?1")?
        .execute(params![room, bytes.map(from_count)])?;
    Ok(())
}

fn reasons(db: &Connection, blob: &BlobId) -> Result<Vec<(Option<RoomId>, BlobId, bool)>> {
    let mut select = db.prepare_cached(
        "SELECT r.room, g.root, g.standing = ?2 FROM holdings g LEFT JOIN rooms r ON r.id = g.room
         WHERE g.root = ?1
         UNION ALL
         SELECT r.room, g.root, h.given FROM held h CROSS JOIN holdings g ON g.id = h.holding
         LEFT JOIN rooms r ON r.id = g.room WHERE h.blob = ?1",
    )?;
    let given = standing_number(Standing::Given);
    let rows = select.query_map(params![blob.0, given], |row| {
        let room: Option<[u8; 32]> = row.get(0)?;
        Ok((room.map(RoomId), BlobId(row.get(1)?), row.get(2)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn given_among(
    db: &Connection,
    room: RoomId,
    root: &BlobId,
    blobs: Vec<BlobId>,
) -> Result<Vec<BlobId>> {
    let Some((holding, standing)) = row_of(db, &room, root)? else { return Ok(vec![]) };
    let root_is = standing == standing_number(Standing::Given);
    let mut select =
        db.prepare_cached("SELECT 1 FROM held WHERE blob = ?1 AND holding = ?2 AND given")?;
    those(
        blobs,
        |blob| {
            if blob == root { Ok(root_is) } else { select.exists(params![blob.0, holding]) }
        },
    )
}

/// Returns those of some contents of which a question is answered with yes.
pub(super) fn those(
    blobs: Vec<BlobId>,
    mut ask: impl FnMut(&BlobId) -> rusqlite::Result<bool>,
) -> Result<Vec<BlobId>> {
    let those = blobs.into_iter().filter_map(|blob| match ask(&blob) {
        Ok(yes) => yes.then_some(Ok(blob)),
        Err(error) => Some(Err(error)),
    });
    Ok(those.collect::<rusqlite::Result<_>>()?)
}

/// Returns the row of what is held for a room, with the number of its standing.
fn row_of(db: &Connection, room: &RoomId, root: &BlobId) -> Result<Option<(i64, i64)>> {
    let sql = format!("SELECT id, standing FROM holdings WHERE {ONE}");
    let mut select = db.prepare_cached(&sql)?;
    let asked = params![room.0, root.0];
    Ok(select.query_row(asked, |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

fn parts_of(db: &Connection, room: Option<RoomId>, root: &BlobId) -> Result<Vec<BlobId>> {
    let sql =
        format!("SELECT blob FROM held WHERE holding = (SELECT id FROM holdings WHERE {ONE})");
    let mut select = db.prepare_cached(&sql)?;
    let asked = params![room.map(|room| room.0), root.0];
    let blobs = select.query_map(asked, |row| Ok(BlobId(row.get(0)?)))?;
    Ok(blobs.collect::<rusqlite::Result<_>>()?)
}

fn kept(db: &Connection) -> Result<Vec<BlobId>> {
    let mut select = db.prepare_cached(
        "SELECT root FROM holdings UNION SELECT blob FROM held
         UNION SELECT root FROM shares UNION SELECT blob FROM shared
         UNION SELECT root FROM transfers",
    )?;
    let blobs = select.query_map([], |row| Ok(BlobId(row.get(0)?)))?;
    Ok(blobs.collect::<rusqlite::Result<_>>()?)
}

const COLUMNS: &str = "r.room, h.root, h.bytes, h.since_ms, h.pinned, h.last_used_ms, h.standing,
                       h.reason, h.unsaid";

fn holdings(db: &Connection, room: Option<RoomId>) -> Result<Vec<Holding>> {
    let within = match room {
        Some(_) => "h.room = (SELECT id FROM rooms WHERE room = ?1)",
        None => "?1 IS NULL",
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM holdings h LEFT JOIN rooms r ON r.id = h.room
         WHERE {within} ORDER BY h.last_used_ms, h.id"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query([room.map(|room| room.0)])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(holding(row)?);
    }
    Ok(all)
}

fn find(db: &Connection, room: Option<RoomId>, root: &BlobId) -> Result<Option<Holding>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM (SELECT * FROM holdings WHERE {ONE}) h
         LEFT JOIN rooms r ON r.id = h.room"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query(params![room.map(|room| room.0), root.0])?;
    rows.next()?.map(holding).transpose()
}

fn holding(row: &Row<'_>) -> Result<Holding> {
    let room: Option<[u8; 32]> = row.get(0)?;
    Ok(Holding {
        room: room.map(RoomId),
        root: BlobId(row.get(1)?),
        bytes: to_count(row.get(2)?),
        since_ms: to_count(row.get(3)?),
        pinned: row.get(4)?,
        last_used_ms: to_count(row.get(5)?),
        standing: standing(row.get(6)?)?,
        reason: reason(row.get(7)?)?,
        unsaid: row.get::<_, i64>(8)? > 0,
    })
}

/// The number that stands for it in the tables; [`LOST`] names it too.
const fn standing_number(standing: Standing) -> i64 {
    match standing {
        Standing::Wanted => 0,
        Standing::Kept => 1,
        Standing::Given => 2,
    }
}

fn standing(number: i64) -> Result<Standing> {
    [Standing::Wanted, Standing::Kept, Standing::Given]
        .into_iter()
        .find(|standing| standing_number(*standing) == number)
        .ok_or_else(|| Failure::Damaged(format!("a content that stands at {number}")))
}

/// The number that stands for it in the tables.
const fn reason_number(reason: Reason) -> i64 {
    match reason {
        Reason::ByItself => 0,
        Reason::Asked => 1,
        Reason::Posted => 2,
    }
}

fn reason(number: i64) -> Result<Reason> {
    [Reason::ByItself, Reason::Asked, Reason::Posted]
        .into_iter()
        .find(|reason| reason_number(*reason) == number)
        .ok_or_else(|| Failure::Damaged(format!("a content that is kept for a reason {number}")))
}

fn fetch_limit(db: &Connection, room: RoomId) -> Result<Option<u64>> {
    let mut select = db.prepare_cached("SELECT fetch_limit FROM rooms WHERE room = ?1")?;
    let mut rows = select.query([&room.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(row.get::<_, Option<i64>>(0)?.map(to_count))
}

fn held_by_itself(db: &Connection, room: RoomId) -> Result<u64> {
    let mut select = db.prepare_cached(
        "SELECT total(bytes) FROM holdings
         WHERE room = (SELECT id FROM rooms WHERE room = ?1) AND reason = ?2",
    )?;
    let by_itself = reason_number(Reason::ByItself);
    let bytes: f64 = select.query_row(params![room.0, by_itself], |row| row.get(0))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of counts; beyond 2^53 it need not be exact"
    )]
    Ok(bytes as u64)
}

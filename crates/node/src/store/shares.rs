//! What anyone who has its ticket may fetch, until it is stopped.
//!
//! Non-goals: tickets themselves, which follow from the root and our addresses.

use ayni_core::clock::Millis;
use ayni_core::id::BlobId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::Store;
use super::failure::Failure;
use super::holdings::those;
use super::number::{from_count, to_count};
use crate::error;

type Result<T, E = Failure> = std::result::Result<T, E>;

/// Something that is shared by a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// The file, or the list of a folder's files.
    pub(crate) root: BlobId,
    /// Of a folder: its files. Those of a large one may come in several writes.
    pub(crate) blobs: Vec<BlobId>,
    /// Whether it is a folder.
    pub(crate) folder: bool,
    /// What it is called.
    pub(crate) name: String,
    /// Now. What is shared already keeps the time since when it is.
    pub(crate) since_ms: Millis,
}

/// Something that is shared by a ticket, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredShare {
    pub(crate) root: BlobId,
    pub(crate) folder: bool,
    pub(crate) name: String,
    pub(crate) since_ms: Millis,
}

impl Store {
    /// Returns what is shared by a ticket, in the order in which it was.
    pub(crate) async fn shares(&self) -> error::Result<Vec<StoredShare>> {
        self.0.pool.read(shares).await
    }

    /// Whether a content is shared by a ticket, be it within a folder.
    pub(crate) async fn is_shared(&self, blob: BlobId) -> error::Result<bool> {
        self.0.pool.read(move |db| is_shared(db, &blob)).await
    }
}

impl Store {
    /// Returns those of some contents that are shared under a root, itself perhaps among them.
    pub(crate) async fn shared_among(
        &self,
        root: BlobId,
        blobs: Vec<BlobId>,
    ) -> error::Result<Vec<BlobId>> {
        self.0.pool.read(move |db| shared_among(db, &root, blobs)).await
    }
}

/// Carries out [`super::Write::Share`].
pub(super) fn share(db: &Connection, share: &Share) -> Result<()> {
    let row: i64 = db
        .prepare_cached(
            "INSERT INTO shares (root, folder, name, since_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (root) DO UPDATE SET folder = excluded.folder, name = excluded.name
             RETURNING id",
        )?
        .query_row(
            params![share.root.0, share.folder, share.name, from_count(share.since_ms)],
            |row| row.get(0),
        )?;
    let mut insert = db.prepare_cached(
        "INSERT INTO shared (blob, share) VALUES (?1, ?2) ON CONFLICT (blob, share) DO NOTHING",
    )?;
    for blob in share.blobs.iter().filter(|blob| **blob != share.root) {
        insert.execute(params![blob.0, row])?;
    }
    Ok(())
}

/// Carries out [`super::Write::Unshare`].
pub(super) fn unshare(db: &Connection, root: &BlobId) -> Result<()> {
    db.prepare_cached("DELETE FROM shares WHERE root = ?1")?.execute([&root.0])?;
    Ok(())
}

fn shares(db: &Connection) -> Result<Vec<StoredShare>> {
    let mut select =
        db.prepare_cached("SELECT root, folder, name, since_ms FROM shares ORDER BY id")?;
    let shares = select.query_map([], |row| {
        Ok(StoredShare {
            root: BlobId(row.get(0)?),
            folder: row.get(1)?,
            name: row.get(2)?,
            since_ms: to_count(row.get(3)?),
        })
    })?;
    Ok(shares.collect::<rusqlite::Result<_>>()?)
}

fn is_shared(db: &Connection, blob: &BlobId) -> Result<bool> {
    let mut select = db.prepare_cached(
        "SELECT 1 FROM shares WHERE root = ?1 UNION ALL SELECT 1 FROM shared WHERE blob = ?1",
    )?;
    Ok(select.exists([&blob.0])?)
}

fn shared_among(db: &Connection, root: &BlobId, blobs: Vec<BlobId>) -> Result<Vec<BlobId>> {
    let mut select = db.prepare_cached("SELECT id FROM shares WHERE root = ?1")?;
    let share: Option<i64> = select.query_row([&root.0], |row| row.get(0)).optional()?;
    let Some(share) = share else { return Ok(vec![]) };
    let mut select = db.prepare_cached("SELECT 1 FROM shared WHERE blob = ?1 AND share = ?2")?;
    those(blobs, |blob| Ok(blob == root || select.exists(params![blob.0, share])?))
}

//! The fetches that were begun and are neither finished nor cancelled: they go on after a restart.
//!
//! How much of each is here is not told: the contents themselves know.

use std::path::{Path, PathBuf};

use ayni_core::clock::Millis;
use ayni_core::id::{BlobId, EventId, RoomId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::Store;
use super::failure::Failure;
use super::number::{from_count, to_count};
use crate::content::Existing;
use crate::error;

type Result<T, E = Failure> = std::result::Result<T, E>;

/// A fetch that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredTransfer {
    /// Its number, which the caller gives: beyond [`Store::last_transfer`], and each once.
    pub(crate) id: u64,
    /// The file, or the list of a folder's files.
    pub(crate) root: BlobId,
    /// Whether it is a folder.
    pub(crate) folder: bool,
    /// What told of it, and so who is asked.
    pub(crate) source: TransferSource,
    /// Where it is to be written when it is complete; none: it is only kept.
    pub(crate) target: Option<PathBuf>,
    /// What becomes of something that is there already.
    pub(crate) existing: Existing,
    pub(crate) since_ms: Millis,
    pub(crate) paused: bool,
    pub(crate) rates: Rates,
    /// What is higher comes first.
    pub(crate) priority: u8,
    /// Whether it is for one reader: it is not carried on.
    pub(crate) pours: bool,
}

/// What told of something that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TransferSource {
    /// A message of a room.
    Message { room: RoomId, event: EventId },
    /// A ticket's bytes.
    Ticket(Vec<u8>),
}

/// Limits in bytes a second; none: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rates {
    pub(crate) up: Option<u64>,
    pub(crate) down: Option<u64>,
}

impl Store {
    /// Returns the fetches that are not done, in the order of their numbers.
    pub(crate) async fn transfers(&self) -> error::Result<Vec<StoredTransfer>> {
        self.0.pool.read(transfers).await
    }

    /// Returns the highest number that a transfer ever had; 0 if there was none.
    pub(crate) async fn last_transfer(&self) -> error::Result<u64> {
        self.0.pool.read(last_transfer).await
    }
}

/// Carries out [`super::Write::Transfer`]. `room` is the row of its source's room.
pub(super) fn begin(db: &Connection, room: Option<i64>, transfer: &StoredTransfer) -> Result<()> {
    let id = i64::try_from(transfer.id).map_err(|_| Failure::Refused("a transfer's number"))?;
    let (event, ticket) = match &transfer.source {
        TransferSource::Message { event, .. } => (Some(event.0), None),
        TransferSource::Ticket(ticket) => (None, Some(ticket)),
    };
    let changed = db
        .prepare_cached(
            "INSERT INTO transfers (id, root, folder, room, event, ticket, target, existing,
                 since_ms, paused, up, down, priority, pours)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            id,
            transfer.root.0,
            transfer.folder,
            room,
            event,
            ticket,
            transfer.target.as_deref().map(path_bytes),
            existing_number(transfer.existing),
            from_count(transfer.since_ms),
            transfer.paused,
            transfer.rates.up.map(from_count),
            transfer.rates.down.map(from_count),
            transfer.priority,
            transfer.pours,
        ])?;
    if changed == 0 { Err(Failure::Refused("a transfer's number that is taken")) } else { Ok(()) }
}

/// Carries out [`super::Write::TransferDone`].
pub(super) fn done(db: &Connection, id: u64) -> Result<()> {
    db.prepare_cached("DELETE FROM transfers WHERE id = ?1")?.execute([from_count(id)])?;
    Ok(())
}

/// Carries out [`super::Write::TransferPaused`].
pub(super) fn pause(db: &Connection, id: u64, paused: bool) -> Result<()> {
    db.prepare_cached("UPDATE transfers SET paused = ?2 WHERE id = ?1")?
        .execute(params![from_count(id), paused])?;
    Ok(())
}

/// Carries out [`super::Write::TransferRates`].
pub(super) fn set_rates(db: &Connection, id: u64, rates: Rates) -> Result<()> {
    db.prepare_cached("UPDATE transfers SET up = ?2, down = ?3 WHERE id = ?1")?
        .execute(params![from_count(id), rates.up.map(from_count), rates.down.map(from_count)])?;
    Ok(())
}

/// Carries out [`super::Write::TransferPriority`].
pub(super) fn set_priority(db: &Connection, id: u64, priority: u8) -> Result<()> {
    db.prepare_cached("UPDATE transfers SET priority = ?2 WHERE id = ?1")?
        .execute(params![from_count(id), priority])?;
    Ok(())
}

fn transfers(db: &Connection) -> Result<Vec<StoredTransfer>> {
    let mut select = db.prepare_cached(
        "SELECT t.id, t.root, t.folder, r.room, t.event, t.ticket, t.target, t.existing,
             t.since_ms, t.paused, t.up, t.down, t.priority, t.pours
         FROM transfers t LEFT JOIN rooms r ON r.id = t.room ORDER BY t.id",
    )?;
    let mut rows = select.query([])?;
    let mut transfers = Vec::new();
    while let Some(row) = rows.next()? {
        transfers.push(transfer(row)?);
    }
    Ok(transfers)
}

fn transfer(row: &Row<'_>) -> Result<StoredTransfer> {
    let source = match (row.get(3)?, row.get(4)?, row.get(5)?) {
        (Some(room), Some(event), None) => {
            TransferSource::Message { room: RoomId(room), event: EventId(event) }
        }
        (None, None, Some(ticket)) => TransferSource::Ticket(ticket),
        _ => return Err(Failure::Damaged("a transfer of nothing".into())),
    };
    let target: Option<Vec<u8>> = row.get(6)?;
    Ok(StoredTransfer {
        id: to_count(row.get(0)?),
        root: BlobId(row.get(1)?),
        folder: row.get(2)?,
        source,
        target: target.map(path_of),
        existing: existing(row.get(7)?)?,
        since_ms: to_count(row.get(8)?),
        paused: row.get(9)?,
        rates: Rates {
            up: row.get::<_, Option<i64>>(10)?.map(to_count),
            down: row.get::<_, Option<i64>>(11)?.map(to_count),
        },
        priority: row.get(12)?,
        pours: row.get(13)?,
    })
}

fn last_transfer(db: &Connection) -> Result<u64> {
    let mut select =
        db.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'transfers'")?;
    let last: Option<i64> = select.query_row([], |row| row.get(0)).optional()?;
    Ok(last.map_or(0, to_count))
}

/// The number that stands for it in the tables.
const fn existing_number(existing: Existing) -> i64 {
    match existing {
        Existing::Refuse => 0,
        Existing::Overwrite => 1,
        Existing::Rename => 2,
        Existing::Skip => 3,
    }
}

fn existing(number: i64) -> Result<Existing> {
    [Existing::Refuse, Existing::Overwrite, Existing::Rename, Existing::Skip]
        .into_iter()
        .find(|existing| existing_number(*existing) == number)
        .ok_or_else(|| Failure::Damaged(format!("a transfer's way {number} with what exists")))
}

/// A path as the system has it: any bytes.
#[cfg(unix)]
fn path_bytes(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

#[cfg(unix)]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    let path: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(bytes);
    path.into()
}

/// A path as the system has it: any units of 16 bits, the lower byte first.
#[cfg(windows)]
fn path_bytes(path: &Path) -> Vec<u8> {
    let units = std::os::windows::ffi::OsStrExt::encode_wide(path.as_os_str());
    units.flat_map(u16::to_le_bytes).collect()
}

#[cfg(windows)]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    let mut units = Vec::with_capacity(bytes.len() / 2);
    let mut bytes = bytes.into_iter();
    while let (Some(low), Some(high)) = (bytes.next(), bytes.next()) {
        units.push(u16::from_le_bytes([low, high]));
    }
    let path: std::ffi::OsString = std::os::windows::ffi::OsStringExt::from_wide(&units);
    path.into()
}

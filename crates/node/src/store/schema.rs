//! The tables, how a database is opened, and how an older one is brought up to date.
//!
//! Invariant: a database of a newer version, or one that is no database, is not written to: what it
//! is is learned before anything changes.
//!
//! Layout. Rows are keyed by small integers, and ids of 32 bytes stand once per room, log or peer
//! (an event's own id is not stored: it is the hash of its header). `events` has three trees: the
//! rows in the order of their acceptance, the position in the log, and for chat the timeline. `texts`
//! is the index of words, and `attachments` says which messages a content comes with. What this node
//! keeps of the contents, fetches and shares is in tables of their own, by the hashes.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::failure::{Failure, damaged, full, read_only};
use crate::error::{Error, Result};

/// Each brings the database from the version of its index to the next. Never edited, only added to.
const MIGRATIONS: &[&[&str]] = &[&[V1], &[TEXTS, V2], &[AGAIN, TEXTS, ATTACHMENTS, V3]];

/// The newest version of the tables, kept in `PRAGMA user_version`.
pub(super) const VERSION: u32 = 3;
const _: () = assert!(MIGRATIONS.len() == VERSION as usize, "one migration for each version");

/// `lane` is 0 for control and 1 for chat. `time` and `short` are the order of the timeline, as
/// [`super::number`] writes them. `runs` is the authority on what is held: `start` inclusive, `end`
/// exclusive, `before` the event before the first, `last` the last one.
const V1: &str = "
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY,
    room BLOB NOT NULL UNIQUE,
    kind INTEGER NOT NULL,
    unread INTEGER NOT NULL DEFAULT 0,
    joined_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE logs (
    id INTEGER PRIMARY KEY,
    room INTEGER NOT NULL REFERENCES rooms(id),
    lane INTEGER NOT NULL,
    device BLOB NOT NULL,
    term INTEGER NOT NULL,
    newest_time INTEGER NOT NULL,
    UNIQUE (room, lane, device, term)
) STRICT;

CREATE TABLE runs (
    log INTEGER NOT NULL REFERENCES logs(id),
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    before BLOB,
    last BLOB NOT NULL,
    PRIMARY KEY (log, start)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    room INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    log INTEGER NOT NULL REFERENCES logs(id),
    seq INTEGER NOT NULL,
    time INTEGER NOT NULL,
    short INTEGER NOT NULL,
    header BLOB NOT NULL,
    signature BLOB NOT NULL,
    body BLOB,
    UNIQUE (log, seq)
) STRICT;
CREATE INDEX events_timeline ON events (room, time, short) WHERE lane = 1;
CREATE INDEX events_control ON events (room) WHERE lane = 0;

CREATE TABLE secrets (
    room INTEGER NOT NULL REFERENCES rooms(id),
    epoch BLOB NOT NULL,
    secret BLOB NOT NULL,
    PRIMARY KEY (room, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE pending_joins (
    id INTEGER PRIMARY KEY,
    room BLOB NOT NULL UNIQUE,
    ticket BLOB NOT NULL,
    since_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE peers (
    id INTEGER PRIMARY KEY,
    peer BLOB NOT NULL UNIQUE,
    account BLOB,
    name TEXT,
    addrs BLOB NOT NULL,
    last_seen_ms INTEGER NOT NULL
) STRICT;
";

/// The words of messages, by the rows of `events`. It keeps no texts of its own, and no lengths, which
/// only ranking would need. What is taken out is overwritten at once, as `secure_delete` does for rows.
pub(super) const TEXTS: &str = "
CREATE VIRTUAL TABLE texts USING fts5(
    text, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO texts (texts, rank) VALUES ('secure-delete', 1);
";

/// How far the index of words is: see [`super::index`].
const V2: &str = "
CREATE TABLE indexing (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    upto INTEGER NOT NULL
) STRICT;
INSERT INTO indexing (id, upto) VALUES (0, 0);

CREATE TABLE unreadable (
    room INTEGER NOT NULL REFERENCES rooms(id),
    epoch BLOB NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (room, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE leaving (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL
) STRICT;
";

/// The messages that a content comes with, by the rows of `events`, and where they stand in the
/// timeline. They leave with their rows, whoever deletes those.
pub(super) const ATTACHMENTS: &str = "
CREATE TABLE attachments (
    event INTEGER PRIMARY KEY REFERENCES events(id) ON DELETE CASCADE,
    room INTEGER NOT NULL,
    time INTEGER NOT NULL,
    short INTEGER NOT NULL,
    blob BLOB NOT NULL
) STRICT;
CREATE INDEX attachments_timeline ON attachments (room, time, short);
CREATE INDEX attachments_short ON attachments (short);
CREATE INDEX attachments_blob ON attachments (blob, room, time, short);
";

/// Begins the index of words again, since all messages are looked at again.
const AGAIN: &str = "
DROP TABLE texts;
DELETE FROM unreadable;
DELETE FROM leaving;
UPDATE indexing SET upto = 0;
";

/// `words` tells whether words are indexed. What is kept may be for no room, and says how far it is and why
/// (see [`super::holdings`]); `unsaid` counts messages that are about to be said of it, and `given` says of a
/// folder's file what `standing` does of the folder. `held` and `shared` have the contents beside the root: a
/// folder's. Of a transfer, `up` and `down` are bytes a second, `target` is a path as the system has it.
/// The numbers of transfers are never given again (`AUTOINCREMENT` remembers the highest).
const V3: &str = "
ALTER TABLE indexing ADD COLUMN words INTEGER NOT NULL DEFAULT 1;
ALTER TABLE rooms ADD COLUMN fetch_limit INTEGER;

CREATE TABLE holdings (
    id INTEGER PRIMARY KEY,
    room INTEGER REFERENCES rooms(id),
    root BLOB NOT NULL,
    since_ms INTEGER NOT NULL,
    last_used_ms INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    pinned INTEGER NOT NULL DEFAULT 0,
    standing INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    unsaid INTEGER NOT NULL DEFAULT 0,
    UNIQUE (root, room)
) STRICT;
CREATE INDEX holdings_room ON holdings (room);
CREATE UNIQUE INDEX holdings_of_no_room ON holdings (root) WHERE room IS NULL;

CREATE TABLE held (
    blob BLOB NOT NULL,
    holding INTEGER NOT NULL REFERENCES holdings(id) ON DELETE CASCADE,
    given INTEGER NOT NULL,
    PRIMARY KEY (blob, holding)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_holding ON held (holding);

CREATE TABLE transfers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    root BLOB NOT NULL,
    folder INTEGER NOT NULL,
    room INTEGER REFERENCES rooms(id),
    event BLOB,
    ticket BLOB,
    target BLOB,
    existing INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    up INTEGER,
    down INTEGER,
    priority INTEGER NOT NULL,
    pours INTEGER NOT NULL,
    CHECK ((room IS NULL) = (event IS NULL) AND (room IS NULL) = (ticket IS NOT NULL))
) STRICT;

CREATE TABLE shares (
    id INTEGER PRIMARY KEY,
    root BLOB NOT NULL UNIQUE,
    folder INTEGER NOT NULL,
    name TEXT NOT NULL,
    since_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE shared (
    blob BLOB NOT NULL,
    share INTEGER NOT NULL REFERENCES shares(id) ON DELETE CASCADE,
    PRIMARY KEY (blob, share)
) STRICT, WITHOUT ROWID;
CREATE INDEX shared_share ON shared (share);
";

/// Reads that meet damage at the usual places before anything is written.
const PROBE: &str = "
SELECT count(*) FROM rooms;
SELECT count(*) FROM secrets;
SELECT count(*) FROM pending_joins;
SELECT max(id) FROM logs;
SELECT max(id) FROM peers;
SELECT count(*) FROM (SELECT header FROM events ORDER BY id DESC LIMIT 1);
";

/// Page cache of the writer, in KiB: holds what one large transaction changes, so that little of it
/// is written twice. Part of the idle memory.
const WRITER_CACHE_KIB: i64 = 4096;
/// Page cache of one reader, in KiB: a page of a timeline and the paths to it.
const READER_CACHE_KIB: i64 = 1024;
/// Pages of the log file after which a commit moves them to the database: 16 MiB. Four times
/// SQLite's default, since a newcomer's first hours of events would otherwise be moved in small
/// pieces, each with two waits for the disk.
const CHECKPOINT_PAGES: i64 = 4096;
/// The log file is cut to this size when it is empty again, in bytes.
const LOG_FILE_BYTES: i64 = 16 * 1024 * 1024;
/// How long to wait for another connection of ours; none holds the database for long.
const BUSY: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection; there are fewer.
const STATEMENTS: usize = 100;

/// Opens the writing connection, making or updating the database where needed. Blocking.
pub(super) fn open(path: &Path) -> Result<Connection> {
    open_up_to(path, VERSION)
}

/// Like [`open`], with the tables as they were in a version.
pub(super) fn open_up_to(path: &Path, version: u32) -> Result<Connection> {
    create_private(path)?;
    inspect_file(path)?;
    open_inspected(path, version).map_err(|error| match error {
        Trouble::Known(error) => error,
        Trouble::Sql(failure) => failure.explain(path),
    })
}

/// Opens a connection that only reads. Blocking; the database is open for writing already.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    tune(&connection, READER_CACHE_KIB)?;
    Ok(connection)
}

enum Trouble {
    Known(Error),
    Sql(Failure),
}

impl<E: Into<Failure>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Sql(error.into())
    }
}

fn open_inspected(path: &Path, version: u32) -> Result<Connection, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    // Until we know that it is ours to write, closing must not move the log file either.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if connection.is_readonly("main")? {
        return Err(Trouble::Known(Error::Store(read_only(path))));
    }
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    check_version(path, found).map_err(Trouble::Known)?;
    if found > 0 {
        connection.execute_batch(PROBE)?;
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    tune(&connection, WRITER_CACHE_KIB)?;
    let journal: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if journal != "wal" {
        return Err(Trouble::Known(Error::Store(format!(
            "the database {} lies on a file system without shared memory (a network drive?); use a \
             folder on a local disk",
            path.display()
        ))));
    }
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "secure_delete", "on")?;
    connection.pragma_update(None, "foreign_keys", "on")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_FILE_BYTES)?;
    migrate(&mut connection, found, version)?;
    Ok(connection)
}

fn tune(connection: &Connection, cache_kib: i64) -> Result<(), Failure> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

fn migrate(connection: &mut Connection, found: u32, wanted: u32) -> Result<(), Failure> {
    for (version, scripts) in (1u32..=wanted).zip(MIGRATIONS) {
        if version > found {
            let transaction = connection.transaction()?;
            scripts.iter().try_for_each(|script| transaction.execute_batch(script))?;
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()?;
        }
    }
    Ok(())
}

fn check_version(path: &Path, found: u32) -> Result<()> {
    if found > VERSION {
        let path = path.parent().unwrap_or(path).to_owned();
        return Err(Error::NewerFolder { path, found, known: VERSION });
    }
    Ok(())
}

/// Makes an empty file that only its owner can read; SQLite gives the files beside it the same mode.
fn create_private(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::StorageFull => Err(Error::Store(full())),
        Err(error) => {
            Err(Error::io(format!("the database {} cannot be made", path.display()))(error))
        }
    }
}

/// Looks at the file itself, before SQLite does. (What only the log file tells comes later.)
///
/// Source: "Database File Format", 1.3: 16 bytes of magic, the user version at 60.
fn inspect_file(path: &Path) -> Result<()> {
    let unreadable = || Error::io(format!("the database {} cannot be read", path.display()));
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable())?;
    file.take(100).read_to_end(&mut start).map_err(unreadable())?;
    let Some(version) = start.get(60..64).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()) else {
        return if start.is_empty() { Ok(()) } else { Err(damaged(path, "it is cut short")) };
    };
    if !start.starts_with(b"SQLite format 3\0") {
        return Err(damaged(path, "it is not a database"));
    }
    check_version(path, u32::from_be_bytes(version))
}

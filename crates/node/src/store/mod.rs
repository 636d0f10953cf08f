//! The store: what this node must not lose, in one SQLite database.
//!
//! Invariants: one thread owns the only connection that writes; writes take effect in the order in
//! which they were submitted; a write is acknowledged after its transaction is durable
//! (`synchronous=FULL`); and events enter together with the summary of their logs, so that every
//! stored event lies in a stored run and every stored run is there whole.
//!
//! A room whose [`Append`] failed is *poisoned*: what the caller authored or accepted afterwards
//! builds on the failed events, so every later [`Append`] of that room fails too, until the caller
//! has loaded the room again and said so with [`Write::Recovered`].
//!
//! Non-goals: it checks no signature and no membership. Source: DESIGN.md 4; SQLite's documents
//! "Write-Ahead Logging" and "Partial Indexes".

mod append;
mod attachments;
mod failure;
mod holdings;
mod index;
mod look;
mod number;
mod pool;
mod read;
mod schema;
mod search;
mod shares;
#[cfg(test)]
mod tests;
mod timeline;
mod transfers;
mod writer;

use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ayni_core::clock::{Hlc, Millis};
use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event;
use ayni_core::id::{AccountId, BlobId, EpochId, EventId, RoomId};
use ayni_core::log::{Frontier, LogId};
use ayni_core::room::{Kind, Run};
use ayni_core::ticket::PeerAddr;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::holdings::{Hold, Holding, Reason, Standing};
use self::pool::Pool;
pub(crate) use self::search::{Matches, Search, Words};
pub(crate) use self::shares::Share;
use self::timeline::Wanted;
pub(crate) use self::transfers::{Rates, StoredTransfer, TransferSource};
use self::writer::{Job, Writer};
use crate::error::{Error, Result};

/// Writes that may wait for the writer thread. Overflow policy: [`Store::reserve`] waits. Sized to
/// hide one `fsync` of a slow disk behind a burst of messages, at a bounded memory.
pub(crate) const QUEUE: usize = 1024;

/// Something to be made durable.
pub(crate) enum Write {
    /// Notes a room; a known one keeps its messages and takes this kind.
    Room { room: RoomId, kind: Kind, now_ms: Millis },
    /// Adds events to a room that is noted already.
    Append(Append),
    /// Keeps secrets of a room's epochs.
    Secrets { room: RoomId, secrets: Vec<(EpochId, EpochSecret)> },
    /// Keeps a join that has not succeeded yet, with the ticket's bytes.
    PendingJoin { room: RoomId, ticket: Vec<u8>, now_ms: Millis },
    /// Forgets a join.
    JoinDone { room: RoomId },
    /// Notes where a peer was last seen. None, and an address without any part, keep what is known.
    Peer { addr: PeerAddr, account: Option<AccountId>, name: Option<String>, now_ms: Millis },
    /// Sets a room's unread count to zero.
    MarkRead { room: RoomId },
    /// The room was loaded again after a failed [`Append`]: its writes count again.
    Recovered { room: RoomId },
    /// Keeps something for a room, or for this node's user alone.
    Hold(Hold),
    /// These contents under a root, itself perhaps among them, came whole through the room: its members may
    /// have them. Leaves alone what is not held there.
    Given { room: RoomId, root: BlobId, blobs: Vec<BlobId> },
    /// It is here now, whoever gave it.
    Kept { room: Option<RoomId>, root: BlobId },
    /// It is not kept for that room any more, or for this node's user alone.
    Release { room: Option<RoomId>, root: BlobId },
    /// The same, but only of what is wanted and not here, not pinned, and not being fetched.
    GiveUp { room: Option<RoomId>, root: BlobId },
    /// The same of all such.
    GiveUpAll,
    /// Nothing of a room is fetched any more, and only what is pinned is kept for it.
    Leave { room: RoomId },
    /// It is kept for nothing any more, unless it is pinned, posted here or being fetched for anything.
    Evict { root: BlobId },
    /// The message of something that was held as `unsaid` was said; if not, and this was the only one and
    /// the first, it is not held any more.
    Said { room: RoomId, root: BlobId, said: bool },
    /// Says whether something held in a room may be evicted. Fails where it is not held.
    Pin { room: RoomId, root: BlobId, pinned: bool },
    /// Something that is held was used, in whichever room. To be told seldom: it waits for the disk.
    Used { root: BlobId, now_ms: Millis },
    /// Sets up to how many bytes pictures of a room are fetched by themselves; none: as by default.
    RoomFetchLimit { room: RoomId, bytes: Option<u64> },
    /// Begins a fetch. Fails where its number is taken.
    Transfer(StoredTransfer),
    /// A fetch is finished or cancelled. This and the next three leave one that is done already alone.
    TransferDone { id: u64 },
    /// Holds a fetch up, or lets it go on.
    TransferPaused { id: u64, paused: bool },
    /// Sets a fetch's limits.
    TransferRates { id: u64, rates: Rates },
    /// Sets which fetches come first.
    TransferPriority { id: u64, priority: u8 },
    /// Shares something by a ticket; what is shared already takes this name, and these files too.
    Share(Share),
    /// Ends that.
    Unshare { root: BlobId },
}

/// Events of one room and what they change, stored together or not at all.
pub(crate) struct Append {
    /// The room.
    pub(crate) room: RoomId,
    /// The new events, in the order of their acceptance. One that is stored already is left alone.
    pub(crate) events: Arc<Vec<Event>>,
    /// Of each log that changed, in either lane: its complete new list of runs and newest time.
    pub(crate) runs: Vec<LogSummary>,
    /// Logs of which the events from a position on are deleted.
    pub(crate) voided: Vec<(LogId, u64)>,
    /// To be added to the unread count.
    pub(crate) unread: u64,
    /// Secrets of epochs that came with it.
    pub(crate) secrets: Vec<(EpochId, EpochSecret)>,
}

/// A log, the runs held of it, and the newest time in it.
pub(crate) type LogSummary = (LogId, Vec<Run>, Hlc);

/// A room in the list of rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRoom {
    pub(crate) room: RoomId,
    pub(crate) kind: Kind,
    pub(crate) unread: u64,
}

/// What a replica is restored from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoadedRoom {
    /// The control events, in the order of their acceptance.
    pub(crate) control: Vec<Event>,
    /// The chat logs of which something is held, in order.
    pub(crate) runs: Vec<LogSummary>,
    /// The secrets of its epochs.
    pub(crate) secrets: Vec<EpochSecret>,
    /// Messages not read yet.
    pub(crate) unread: u64,
}

/// A join that has not succeeded yet.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoredJoin {
    pub(crate) room: RoomId,
    /// The ticket's bytes.
    pub(crate) ticket: Vec<u8>,
    pub(crate) since_ms: Millis,
}

/// A peer of the address book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredPeer {
    pub(crate) addr: PeerAddr,
    pub(crate) account: Option<AccountId>,
    pub(crate) name: Option<String>,
    pub(crate) last_seen_ms: Millis,
}

/// The open database. Cloning gives another handle; the last one dropped closes it.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    queue: mpsc::Sender<Job>,
    pool: Pool,
    writer: Writer,
    /// Whether messages are found by their words.
    indexes: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// A place in the queue of writes. Dropping it gives the place back.
#[must_use = "dropping it gives the place back"]
pub(crate) struct Permit(mpsc::OwnedPermit<Job>);

/// A write on its way. Resolves when it is durable or has failed; dropping it does not undo it.
#[must_use = "a write is acknowledged by awaiting it"]
pub(crate) struct Pending(oneshot::Receiver<Result<()>>);

impl Future for Pending {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The sender is dropped unused only when the thread is gone.
        Pin::new(&mut self.0).poll(cx).map(|told| told.unwrap_or(Err(Error::Closed)))
    }
}

impl Store {
    /// Opens the database at `path`, makes it when it is missing, and starts the writer. Blocking.
    ///
    /// `indexes` says whether messages are indexed by their words; if not, what was is emptied.
    /// Attachments are found either way.
    ///
    /// # Errors
    /// [`Error::NewerFolder`]; [`Error::Store`] and [`Error::Io`] when it is damaged or cannot be
    /// written. Nothing was changed then.
    pub(crate) fn open(path: &Path, indexes: bool) -> Result<Self> {
        let mut connection = schema::open(path)?;
        let switched = writer::switch_words(&mut connection, indexes);
        switched.map_err(|failure| failure.explain(path))?;
        Self::start(connection, path, indexes)
    }

    fn start(connection: Connection, path: &Path, indexes: bool) -> Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let writer = Writer::start(connection, path, jobs)?;
        Ok(Self(Arc::new(Inner { queue, pool: Pool::new(path), writer, indexes })))
    }

    /// Waits for a place in the queue: to be called before any lock is taken.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub(crate) async fn reserve(&self) -> Result<Permit> {
        let queue = self.0.queue.clone();
        queue.reserve_owned().await.map(Permit).map_err(|_| Error::Closed)
    }

    /// Submits a write without waiting: writes take effect in the order of these calls.
    #[expect(
        clippy::unused_self,
        reason = "the permit is this store's; so the call reads as it is"
    )]
    pub(crate) fn submit(&self, permit: Permit, write: Write) -> Pending {
        let (done, pending) = oneshot::channel();
        permit.0.send(Job::Write { write: Box::new(write), done });
        Pending(pending)
    }

    /// Submits a write and waits until it is durable. Once submitted, cancelling the wait does not
    /// undo it.
    ///
    /// # Errors
    /// [`Error::Store`]: nothing of it was stored. [`Error::Closed`].
    pub(crate) async fn write(&self, write: Write) -> Result<()> {
        let permit = self.reserve().await?;
        self.submit(permit, write).await
    }

    /// Makes durable what was submitted, then closes the database. Idempotent; every call returns
    /// when it is closed.
    pub(crate) async fn close(&self) {
        self.0.pool.close();
        if let Ok(permit) = self.reserve().await {
            permit.0.send(Job::Close);
        }
        self.0.writer.ended().await;
    }

    /// Returns the rooms, in the order in which they were noted.
    pub(crate) async fn rooms(&self) -> Result<Vec<StoredRoom>> {
        self.0.pool.read(read::rooms).await
    }

    /// Returns all that a replica of a room is restored from.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a room that was never noted.
    pub(crate) async fn load_room(&self, room: RoomId) -> Result<LoadedRoom> {
        let loaded = self.0.pool.read(move |db| read::load_room(db, room)).await?;
        loaded.ok_or_else(|| Error::NotFound(format!("there is no room {room}")))
    }

    /// Returns a page of the `wanted` control events in the order of their acceptance, and where
    /// the next page starts: pass it as `after` (0 at first); none when this was the last one.
    ///
    /// A page ends before the event with which it would exceed `max_bytes`, but has at least one.
    pub(crate) async fn control_events(
        &self,
        room: RoomId,
        wanted: Frontier,
        after: i64,
        max_bytes: usize,
    ) -> Result<(Vec<Event>, Option<i64>)> {
        self.0.pool.read(move |db| read::control_events(db, room, &wanted, after, max_bytes)).await
    }

    /// Returns consecutive events of one log from `range.start` on: none when that one is not
    /// stored, else up to the first hole or limit, and at least one.
    pub(crate) async fn events(
        &self,
        room: RoomId,
        log: LogId,
        range: Range<u64>,
        max_bytes: usize,
        max_events: usize,
    ) -> Result<Vec<Event>> {
        self.0.pool.read(move |db| read::events(db, room, log, &range, max_bytes, max_events)).await
    }

    /// Returns the positions of the newest `count` chat events in the order of the timeline. Those
    /// dated after `not_after` are left out.
    pub(crate) async fn newest(
        &self,
        room: RoomId,
        count: u32,
        not_after: Hlc,
    ) -> Result<Frontier> {
        self.0.pool.read(move |db| timeline::newest(db, room, count, not_after)).await
    }

    /// Returns chat events before a position of the timeline, the newest first. Those dated after
    /// `not_after` are left out.
    pub(crate) async fn messages(
        &self,
        room: RoomId,
        before: Option<(u64, EventId)>,
        limit: usize,
        not_after: Hlc,
    ) -> Result<Vec<Event>> {
        let wanted = Wanted::new(before, limit, not_after);
        self.0.pool.read(move |db| timeline::messages(db, room, &wanted)).await
    }

    /// Returns messages that have all words of a search, the newest first.
    ///
    /// # Errors
    /// [`Error::Denied`] where they are not indexed.
    pub(crate) async fn search(&self, search: Search) -> Result<Matches> {
        if !self.0.indexes {
            return Err(Error::Denied(
                "search is switched off here: start the node with it to index its messages".into(),
            ));
        }
        self.0.pool.read(move |db| search::search(db, &search)).await
    }

    /// Returns how many events are stored, of all rooms. Its cost grows with logs, not with events.
    pub(crate) async fn event_count(&self) -> Result<u64> {
        self.0.pool.read(read::event_count).await
    }

    /// Returns the joins that have not succeeded yet, the oldest first.
    pub(crate) async fn pending_joins(&self) -> Result<Vec<StoredJoin>> {
        self.0.pool.read(read::pending_joins).await
    }

    /// Returns the address book, the last seen first.
    pub(crate) async fn peers(&self) -> Result<Vec<StoredPeer>> {
        self.0.pool.read(read::peers).await
    }
}

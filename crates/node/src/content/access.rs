//! Who may have which content, and why it is here at all.
//!
//! A member of a room may have what this node itself posted to that room, or fetched through it; anyone
//! may have what is shared by a ticket, while it is shared, for whoever names its hash was given it.
//! Nothing else is given to anyone. Above all not what lies here because of another room: a member who
//! posts a hash that it learned elsewhere makes nobody serve it.
//!
//! **Reasons.** Each content is here for reasons, rows of the database ([`crate::store::Hold`]): for a room,
//! or *for this node's user alone* (what a ticket brought). Shares by ticket and transfers that are not over
//! are reasons too. A row's standing says how far it is:
//!
//! | standing | since | given to the room | ends with |
//! | --- | --- | --- | --- |
//! | wanted | before the first byte is asked for | what came through it, while it comes | done, cancelled, given up |
//! | kept | it is here, and not all of it came through the room | nothing | leaving, eviction; for no room: discarding |
//! | given | it was posted there, or all of it came through the room | all | leaving, eviction |
//!
//! A fetch by ticket has a row for no room. Where it was to be written somewhere, or poured to one reader, that
//! row is only wanted and ends with the fetch; where it was to be kept here, it is kept until its user
//! discards it: nobody in a room can be asked who else has it, so the quota does not decide that. What was
//! kept so before is kept whatever other fetches do. Leaving a room ends its rows, but for what is pinned; being removed ends none. What is
//! about to be posted is *unsaid* until its message is durable.
//!
//! **By what it came** is noted with the bytes ([`Via`]), not with the reason: so a row that was written
//! early opens nothing. Bytes that came through a room are given to its members, also while the rest still
//! comes. When all of it came through one room, that is written down (`given`) and holds from then on,
//! wherever the bytes come from later: the room had it. When anything else brings more of an unfinished
//! content (another room, a ticket), it is mixed, and given to nobody because of that; what is imported takes
//! the place of what was fetched, and came by no room.
//!
//! A folder's files are given for each room apart, under the folder's root.
//!
//! **The end.** A content that no row, share or transfer names is deleted by the collection; one that any
//! of them still names never is. A start settles what the last end left undone ([`settle`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use ayni_core::id::{BlobId, PeerId, RoomId};
use ayni_core::limits::MAX_FOLDER_FILES;

use super::store::{Contents, Entry, Fetching, Via};
use super::transfers::{Source, Wish};
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::store::{Hold, Holding, Reason, Standing, Store, Write};

/// Blobs of one folder that are noted in one write: what a commit takes stays short.
const NOTED_AT_ONCE: usize = 10_000;

/// Why a peer may have a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Rooms that it is a member of and through which the content is here.
    pub(super) rooms: Vec<RoomId>,
    /// Whether it is shared by a ticket, or came by one that is still being fetched.
    pub(super) shared: bool,
}

impl Allowed {
    /// Whether it may because of a room.
    pub(super) fn is_member(&self) -> bool {
        !self.rooms.is_empty()
    }
}

/// What a peer may be told of a content.
#[derive(Debug)]
pub(super) enum Shown {
    /// What is here of it.
    Here(Arc<Entry>),
    /// Nothing yet: it is fetched for a room of the peer, or by a ticket. Told so also where it is here
    /// because of something else, since that is nobody's business.
    Awaited,
}

/// Returns why a peer may have a content now; none where it may not, or where that cannot be known.
pub(super) async fn allowed(inner: &Arc<Inner>, peer: &PeerId, blob: BlobId) -> Option<Allowed> {
    Asked::of(inner, blob).await?.allowed(inner, peer)
}

/// Returns what a peer may be told of a content now, and whether because of a room; none where it may not
/// know of it.
pub(super) async fn shown(
    inner: &Arc<Inner>,
    contents: &Contents,
    peer: &PeerId,
    blob: BlobId,
) -> Option<(Shown, bool)> {
    let asked = Asked::of(inner, blob).await?;
    if let Some(allowed) = asked.allowed(inner, peer)
        && let Ok(Some(entry)) = contents.entry(blob).await
    {
        return Some((Shown::Here(entry), allowed.is_member()));
    }
    let by_room = asked.is_awaited_in_room(inner, peer);
    (by_room || asked.is_awaited_by_ticket(inner)).then_some((Shown::Awaited, by_room))
}

/// What is known of a content that a peer asks for.
struct Asked {
    /// The rooms and roots for which it is here or wanted, and whether it is given there.
    rows: Vec<(Option<RoomId>, BlobId, bool)>,
    shared: bool,
    via: Option<Via>,
}

impl Asked {
    /// Looks it up; none where that fails.
    async fn of(inner: &Arc<Inner>, blob: BlobId) -> Option<Self> {
        // All, whatever comes of the first.
        let rows = inner.store.reasons(blob).await;
        let shared = inner.store.is_shared(blob).await;
        let via = match inner.content.opened() {
            Some(contents) => contents.came_by(vec![blob]).await,
            None => Ok(vec![]),
        };
        let via = via.ok()?.first().copied().flatten();
        Some(Self { rows: rows.ok()?, shared: shared.ok()?, via })
    }

    fn allowed(&self, inner: &Inner, peer: &PeerId) -> Option<Allowed> {
        let given = self.rows.iter().filter(|(_, _, given)| *given);
        let mut rooms: BTreeSet<RoomId> = given.filter_map(|(room, ..)| *room).collect();
        rooms.extend(match self.via {
            Some(Via::Room(room)) => Some(room),
            _ => None,
        });
        let rooms: Vec<RoomId> =
            rooms.into_iter().filter(|room| is_member(inner, room, peer)).collect();
        let got = match self.via {
            Some(Via::Ticket(root)) => inner.content.transfers.is_getting(root),
            _ => false,
        };
        let shared = self.shared || got;
        (shared || !rooms.is_empty()).then_some(Allowed { rooms, shared })
    }

    fn is_awaited_in_room(&self, inner: &Inner, peer: &PeerId) -> bool {
        self.rows.iter().any(|(room, ..)| room.is_some_and(|room| is_member(inner, &room, peer)))
    }

    fn is_awaited_by_ticket(&self, inner: &Inner) -> bool {
        let getting = |root: &BlobId| inner.content.transfers.is_getting(*root);
        self.rows.iter().any(|(room, root, _)| room.is_none() && getting(root))
    }
}

/// Whether both this node and a peer belong to a room now.
pub(super) fn is_member(inner: &Inner, room: &RoomId, peer: &PeerId) -> bool {
    let room = inner.room(room);
    room.is_some_and(|room| room.is_member(peer) && room.is_shared_with(inner, peer))
}

/// Whether all of a content is here and given in a room, be it because nobody wrote that down yet.
///
/// # Errors
/// A failing disk.
pub(super) async fn is_given(
    inner: &Arc<Inner>,
    contents: &Contents,
    room: RoomId,
    root: BlobId,
) -> Result<bool> {
    let parts = inner.store.parts_of(Some(room), root).await?;
    let all: Vec<BlobId> = std::iter::once(root).chain(parts).collect();
    let given = inner.store.given_among(room, root, all.clone()).await?;
    let given: BTreeSet<BlobId> = given.into_iter().collect();
    let by = contents.came_by(all.clone()).await?;
    let mut each = all.iter().zip(by);
    if !each.all(|(blob, by)| given.contains(blob) || by == Some(Via::Room(room))) {
        return Ok(false);
    }
    Ok(contents.held_all(all).await?.iter().all(|held| held.complete))
}

/// Returns the files at these places of a folder's list, in their order, each with whether this peer may
/// have it through what it may have the folder through. Places after the last file are left out.
pub(super) async fn children(
    inner: &Arc<Inner>,
    contents: &Contents,
    allowed: &Allowed,
    (root, places): (BlobId, &[usize]),
) -> Vec<(BlobId, bool)> {
    // The names, and the files.
    let most = (MAX_FOLDER_FILES as u64 + 1) * 32;
    let Ok(list) = contents.bytes(root, most).await else { return vec![] };
    let list = list.as_chunks::<32>().0;
    let ids: Vec<BlobId> =
        places.iter().map_while(|place| list.get(*place)).map(|id| BlobId(*id)).collect();
    let mut may = BTreeSet::new();
    let mut vias = BTreeSet::new();
    if allowed.shared {
        may.extend(inner.store.shared_among(root, ids.clone()).await.unwrap_or_default());
        if inner.content.transfers.is_getting(root) {
            vias.insert(Via::Ticket(root));
        }
    }
    for room in &allowed.rooms {
        let given = inner.store.given_among(*room, root, ids.clone()).await;
        may.extend(given.unwrap_or_default());
        vias.insert(Via::Room(*room));
    }
    // What came and was not written down: few, once all came.
    let others: Vec<BlobId> = ids.iter().filter(|id| !may.contains(id)).copied().collect();
    let by = contents.came_by(others.clone()).await.unwrap_or_default();
    let by = others.into_iter().zip(by);
    may.extend(by.filter(|(_, via)| via.is_some_and(|via| vias.contains(&via))).map(|(id, _)| id));
    ids.into_iter().map(|id| (id, may.contains(&id))).collect()
}

/// By what something is fetched, and where that is written down of what came whole.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    store: Store,
    room: Option<RoomId>,
    root: BlobId,
}

impl Origin {
    pub(super) fn of(inner: &Inner, wish: &Wish) -> Self {
        Self { store: inner.store.clone(), room: wish.room(), root: wish.root }
    }

    /// Writes down that these came whole by it, each in one answer: a room's members may have them from now on,
    /// whatever becomes of the fetch. Durable when it returns. Returns what is still to be noted with their
    /// bytes: by which ticket they came.
    ///
    /// # Errors
    /// A failing disk.
    pub(super) async fn give(&self, blobs: Vec<BlobId>) -> Result<Option<Via>> {
        let Some(room) = self.room else { return Ok(Some(self.via())) };
        self.store.write(Write::Given { room, root: self.root, blobs }).await?;
        Ok(None)
    }

    fn via(&self) -> Via {
        self.room.map_or(Via::Ticket(self.root), Via::Room)
    }
}

impl Wish {
    /// Returns the room through which it is fetched; none for a ticket.
    pub(super) fn room(&self) -> Option<RoomId> {
        match &self.source {
            Source::Room(room, _) => Some(*room),
            Source::Ticket(..) => None,
        }
    }

    fn hold(&self, inner: &Inner, blobs: Vec<BlobId>) -> Hold {
        Hold {
            room: self.room(),
            root: self.root,
            blobs,
            bytes: self.claimed.unwrap_or(0),
            since_ms: inner.now(),
            standing: Standing::Wanted,
            reason: if self.asked { Reason::Asked } else { Reason::ByItself },
            unsaid: false,
        }
    }
}

/// Notes that a content is about to be fetched, and by what; to be held as long as it is.
///
/// # Errors
/// A failing disk.
pub(super) async fn begin(
    inner: &Arc<Inner>,
    contents: &Contents,
    wish: &Wish,
) -> Result<Fetching> {
    let fetching = contents.fetching(vec![wish.root], Origin::of(inner, wish).via()).await?;
    inner.store.write(Write::Hold(wish.hold(inner, vec![]))).await?;
    Ok(fetching)
}

/// The same for the files of a folder.
///
/// # Errors
/// A failing disk.
pub(super) async fn begin_parts(
    inner: &Arc<Inner>,
    contents: &Contents,
    wish: &Wish,
    parts: &[BlobId],
) -> Result<Fetching> {
    let fetching = contents.fetching(parts.to_vec(), Origin::of(inner, wish).via()).await?;
    for parts in parts.chunks(NOTED_AT_ONCE) {
        inner.store.write(Write::Hold(wish.hold(inner, parts.to_vec()))).await?;
    }
    // Some may have come before an interruption.
    give(inner, contents, wish, parts).await?;
    Ok(fetching)
}

/// Writes down of these contents which are all here and came by what is fetched: they are given from now
/// on, whatever becomes of the fetch.
///
/// # Errors
/// A failing disk.
pub(super) async fn give(
    inner: &Arc<Inner>,
    contents: &Contents,
    wish: &Wish,
    blobs: &[BlobId],
) -> Result<()> {
    if wish.room().is_none() {
        return Ok(()); // as long as it is wanted, and a while after, what is noted with its bytes gives it
    }
    give_by(&Origin::of(inner, wish), contents, blobs.to_vec()).await
}

async fn give_by(origin: &Origin, contents: &Contents, blobs: Vec<BlobId>) -> Result<()> {
    let whole = contents.whole_by(blobs, origin.via()).await?;
    for blobs in whole.chunks(NOTED_AT_ONCE) {
        origin.give(blobs.to_vec()).await?;
        contents.forget_via(blobs.to_vec()).await?;
    }
    Ok(())
}

/// Notes that a fetch is done, and what it wanted is here.
///
/// # Errors
/// A failing disk.
pub(super) async fn done(inner: &Arc<Inner>, contents: &Contents, wish: &Wish) -> Result<()> {
    let (room, root) = (wish.room(), wish.root);
    let mut all = inner.store.parts_of(room, root).await?;
    all.push(root);
    give(inner, contents, wish, &all).await?;
    if room.is_some() || wish.target.is_none() {
        return inner.store.write(Write::Kept { room, root }).await;
    }
    // Its files are where they were to be written: what only this transfer wanted goes with it.
    Ok(())
}

/// Notes that something is not fetched any more: what of it is here, and nothing else needs, is deleted by
/// and by. What came whole before stays.
///
/// # Errors
/// A failing disk.
pub(super) async fn give_up(inner: &Inner, room: Option<RoomId>, root: BlobId) -> Result<()> {
    inner.store.write(Write::GiveUp { room, root }).await
}

/// Notes what is about to be posted. What it consists of is on the disk when it returns. Returns why it
/// was kept for that room before.
///
/// # Errors
/// A failing disk.
pub(super) async fn post(
    inner: &Inner,
    contents: &Contents,
    room: RoomId,
    (root, bytes): (BlobId, u64),
    parts: &[BlobId],
) -> Result<Option<Holding>> {
    contents.sync(parts.iter().copied().chain([root]).collect()).await?;
    let before = inner.store.holding(Some(room), root).await?;
    // What is kept and not given stays so until the message is said: what ends in between leaves nothing
    // that gives it, and takes away nothing that keeps it.
    let (standing, unsaid) = match &before {
        Some(it) if it.standing < Standing::Given => (it.standing, false),
        _ => (Standing::Given, true),
    };
    let hold = |blobs: &[BlobId], reason, unsaid| Hold {
        room: Some(room),
        root,
        blobs: blobs.to_vec(),
        bytes,
        since_ms: inner.now(),
        standing,
        reason,
        unsaid,
    };
    let mut chunks = parts.chunks(NOTED_AT_ONCE);
    let first = chunks.next().unwrap_or_default();
    let reason = if unsaid { Reason::Posted } else { Reason::ByItself };
    inner.store.write(Write::Hold(hold(first, reason, unsaid))).await?;
    for blobs in chunks {
        // Its files are noted, and its message is counted once.
        inner.store.write(Write::Hold(hold(blobs, Reason::ByItself, false))).await?;
    }
    Ok(before)
}

/// Notes whether what was about to be posted was.
///
/// # Errors
/// A failing disk.
pub(super) async fn posted(
    inner: &Inner,
    (room, root): (RoomId, BlobId),
    before: Option<Holding>,
    said: bool,
) -> Result<()> {
    inner.store.write(Write::Said { room, root, said }).await?;
    match before {
        Some(before) if said && before.standing < Standing::Given => {
            raise(inner, room, &before).await
        }
        _ => Ok(()),
    }
}

/// Notes that what was kept for a room, and is posted there now, is given there.
async fn raise(inner: &Inner, room: RoomId, kept: &Holding) -> Result<()> {
    let parts = inner.store.parts_of(Some(room), kept.root).await?;
    let chunks = parts.chunks(NOTED_AT_ONCE).map(<[BlobId]>::to_vec);
    let chunks: Vec<_> = if parts.is_empty() { vec![vec![]] } else { chunks.collect() };
    for blobs in chunks {
        let hold = Hold {
            room: Some(room),
            root: kept.root,
            blobs,
            bytes: kept.bytes,
            since_ms: kept.since_ms,
            standing: Standing::Given,
            reason: Reason::Posted,
            unsaid: false,
        };
        inner.store.write(Write::Hold(hold)).await?;
    }
    Ok(())
}

/// Ends what was fetched and kept for a room that this account left, but for what is pinned.
///
/// # Errors
/// A failing disk.
pub(crate) async fn left(inner: &Arc<Inner>, room: RoomId) -> Result<()> {
    for transfer in inner.content.transfers.all() {
        if transfer.wish.room() == Some(room) && !transfer.info().state.is_over() {
            match super::transfers::cancel(inner, transfer.id).await {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    inner.store.write(Write::Leave { room }).await
}

/// The same, in the background: another device of this account left the room.
pub(crate) async fn leave(inner: Arc<Inner>, room: RoomId) {
    if let Err(error) = left(&inner, room).await {
        tracing::warn!("what came by a room that was left stays: {error}");
    }
}

/// Settles what the last end of the node left undone: what came and was not written down, what was about
/// to be said, what was wanted by what is not under way any more, and rooms that were left.
///
/// # Errors
/// A failing disk.
pub(super) async fn settle(inner: &Arc<Inner>, contents: &Contents) -> Result<()> {
    for it in inner.store.holdings(None).await? {
        let Some(room) = it.room else { continue };
        if it.unsaid {
            let said = was_said(inner, room, &it).await?;
            inner.store.write(Write::Said { room, root: it.root, said }).await?;
        }
        if it.standing < Standing::Given && was_said(inner, room, &it).await? {
            raise(inner, room, &it).await?;
        } else if it.standing == Standing::Wanted {
            let mut all = inner.store.parts_of(Some(room), it.root).await?;
            all.push(it.root);
            let origin = Origin { store: inner.store.clone(), room: Some(room), root: it.root };
            give_by(&origin, contents, all).await?;
        }
    }
    inner.store.write(Write::GiveUpAll).await?;
    for room in inner.rooms() {
        if room.has_left(inner) {
            inner.store.write(Write::Leave { room: room.id() }).await?;
        }
    }
    Ok(())
}

/// Whether this device said a message with a content.
async fn was_said(inner: &Arc<Inner>, room: RoomId, it: &Holding) -> Result<bool> {
    let said = inner.store.attached(it.root).await?;
    Ok(said.iter().any(|(of, event)| *of == room && event.header().device == inner.me()))
}

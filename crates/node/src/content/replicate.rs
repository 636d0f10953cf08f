//! Copies of what few have: so that a file outlives its sender, members fetch some by themselves.
//!
//! Pictures below a room's limit every member fetches ([`super::auto`]). Of everything else the members that
//! are in touch see to it that so many devices have it as is set ([`Replication`]): each looks for itself how
//! many of those that are connected say that they have it, and whether the lot falls to it
//! ([`ayni_core::swarm::Copies`]). Who does not agree makes none, and others take its turn a round later.
//!
//! What is fetched so is limited for each room, and takes at most a part of the quota: nothing is evicted
//! for it, so two nodes never push the same content back and forth.
//!
//! Nothing is noted for later: after a restart it is looked again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ayni_core::attachment::Attachment;
use ayni_core::id::{BlobId, EventId, RoomId};
use ayni_core::swarm::Copies;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::model::TransferState;
use super::transfers::{self, Source, Transfer, Wish};
use super::{access, again, api, auto, holders, quota};
use crate::error::Result;
use crate::inner::Inner;
use crate::rooms::RoomHandle;
use crate::store::Standing;

/// Bytes of one room that a node fetches by itself, where nothing else is set: some films, or years of
/// documents, and little beside a disk of today.
pub(crate) const DEFAULT_ROOM_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// How often it is looked what lacks copies: whoever feels called has one by the next time, mostly.
const ROUND: Duration = Duration::from_secs(30);
/// How long news are gathered before it is looked: who wants something now fetches it, and members that
/// were just connected hear of each other.
const GATHER: Duration = Duration::from_secs(10);
/// Messages with attachments that are read at a time.
const PAGE: usize = 100;
/// The newest attachments of a room that are looked at: older ones have their copies.
const MAX_LOOKED_AT: usize = 1000;
/// Contents that are fetched so at a time: they come after what someone waits for.
const AT_ONCE: usize = 2;
/// How long nothing may come of one before it is given up until the next round.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reasons to look before the next round.
#[derive(Debug, Default)]
pub(crate) struct News {
    came: Notify,
    set: Notify,
}

impl News {
    /// Notes that an attachment or a member came.
    pub(crate) fn note(&self) {
        self.came.notify_one();
    }

    /// Notes that it was set otherwise how many copies there are to be.
    pub(crate) fn set(&self) {
        self.set.notify_one();
    }
}

/// Something of a room that may lack copies.
#[derive(Debug, Clone)]
struct Due {
    room: RoomId,
    event: EventId,
    attachment: Attachment,
}

#[derive(Debug, Default)]
struct Replicating {
    /// For how many rounds copies of something were seen to lack.
    rounds: BTreeMap<(RoomId, BlobId), u32>,
    running: JoinSet<(RoomId, BlobId)>,
    busy: BTreeSet<(RoomId, BlobId)>,
}

/// Makes copies until the node stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut all = Replicating::default();
    // Of its own, so that rounds go on also where something comes all the time.
    let mut round = tokio::time::Instant::now() + ROUND;
    loop {
        let is_round = tokio::select! {
            () = inner.content.news.set.notified() => false,
            () = inner.content.news.came.notified() => {
                let set = inner.content.news.set.notified();
                let _ = tokio::time::timeout(GATHER, set).await;
                false
            }
            Some(ended) = all.running.join_next() => {
                if let Ok(ended) = ended {
                    all.busy.remove(&ended);
                }
                // It may be the turn of another one.
                false
            }
            () = tokio::time::sleep_until(round) => true,
        };
        if is_round {
            round = tokio::time::Instant::now() + ROUND.mul_f64(0.75 + inner.jitter() / 2.0);
        }
        if !Replication::of(&inner).agrees {
            all.rounds.clear();
            continue;
        }
        let mut seen = BTreeSet::new();
        for room in inner.rooms() {
            if let Err(error) = all.look(&inner, &room, is_round, &mut seen).await {
                tracing::warn!("it is not known what lacks copies: {error}");
            }
        }
        all.rounds.retain(|of, _| seen.contains(of));
    }
}

/// How much a node does for others' copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// Whether this node fetches what few have without being asked.
    pub agrees: bool,
    /// Devices of members, of those that are connected, that are to have each attachment.
    pub copies: usize,
    /// Bytes of each room that this node fetches so, at most.
    pub room_bytes: u64,
}

impl Replication {
    /// Returns what is set.
    pub(crate) fn of(inner: &Inner) -> Self {
        let config = inner.config();
        Self {
            agrees: config.replicate.unwrap_or(true),
            copies: config.copies.unwrap_or(ayni_core::swarm::COPIES),
            room_bytes: config.replicate_bytes.unwrap_or(DEFAULT_ROOM_BYTES),
        }
    }
}

impl Replicating {
    /// Begins what this node is called to, in a room.
    async fn look(
        &mut self,
        inner: &Arc<Inner>,
        room: &Arc<RoomHandle>,
        is_round: bool,
        seen: &mut BTreeSet<(RoomId, BlobId)>,
    ) -> Result<()> {
        let others = inner.connected_members(room);
        if others.is_empty() || !room.is_member(&inner.me()) {
            return Ok(());
        }
        let due = missing(inner, room).await?;
        let blobs: Vec<BlobId> = due.iter().map(|due| due.attachment.blob).collect();
        let held = holders::who(inner, room, &blobs).await;
        let set = Replication::of(inner);
        let mut left = room_left(inner, room, set.room_bytes).await?;
        for (due, others) in due.into_iter().zip(held) {
            let key = (due.room, due.attachment.blob);
            seen.insert(key);
            let rounds = self.rounds.entry(key).or_default();
            let copies = Copies { content: key.1, me: inner.me(), others: &others };
            let called = copies.held() > 0 && copies.calls_me(set.copies, *rounds);
            let lacks = copies.held() > 0 && copies.held() < set.copies;
            *rounds = match (lacks, is_round) {
                (true, true) => rounds.saturating_add(1),
                (true, false) => *rounds,
                (false, _) => 0,
            };
            let size = due.attachment.size;
            let fits = size <= left && self.running.len() < AT_ONCE && !self.busy.contains(&key);
            if called && fits && quota::has_room(inner, size).await? {
                left -= size;
                self.busy.insert(key);
                let inner = inner.clone();
                self.running.spawn(async move { fetch(inner, due).await });
            }
        }
        Ok(())
    }
}

/// Returns the newest attachments of a room that are not here, nor fetched, nor pictures that every member
/// has.
async fn missing(inner: &Arc<Inner>, room: &Arc<RoomHandle>) -> Result<Vec<Due>> {
    let contents = inner.content.contents(inner).await?;
    let pictures = inner.store.room_fetch_limit(room.id()).await?.unwrap_or(auto::DEFAULT_LIMIT);
    let (mut found, mut known) = (Vec::new(), BTreeSet::new());
    let (mut before, mut looked_at) = (None, 0);
    while looked_at < MAX_LOOKED_AT {
        let page = inner.store.attachments(room.id(), before, PAGE, inner.newest_shown()).await?;
        let Some(last) = page.events.last() else { break };
        before = Some((last.header().time.0, last.id()));
        looked_at += page.events.len();
        for event in &page.events {
            if room.lock().room.hides(event.header()) {
                continue;
            }
            let Some((attachment, _)) = api::opened(room, event) else { continue };
            let by_all = attachment.picture.is_some() && attachment.size <= pictures;
            if !by_all && known.insert(attachment.blob) {
                found.push(Due { room: room.id(), event: event.id(), attachment });
            }
        }
    }
    let held = contents.held_all(found.iter().map(|due| due.attachment.blob).collect()).await?;
    let (mut missing, fetched) = (Vec::new(), inner.content.transfers.roots());
    for (due, held) in found.into_iter().zip(held) {
        // A folder's list may be here without its files.
        let kept = inner.store.holding(Some(room.id()), due.attachment.blob).await?;
        let kept = kept.is_some_and(|it| it.standing > Standing::Wanted);
        let (size, whole) = (due.attachment.size, held.complete && !due.attachment.is_folder());
        if whole && !kept {
            let _protected = contents.protect(due.attachment.blob);
            if contents.held(due.attachment.blob).await?.complete {
                again::keep(inner, room.id(), due.attachment.blob, size).await?;
            }
        }
        let here = whole || held.complete && kept;
        if !here && !fetched.contains(&due.attachment.blob) {
            missing.push(due);
        }
    }
    Ok(missing)
}

/// Returns how many bytes more may be fetched by themselves in a room.
async fn room_left(inner: &Inner, room: &RoomHandle, most: u64) -> Result<u64> {
    Ok(most.saturating_sub(inner.store.held_by_itself(room.id()).await?))
}

/// Fetches something; what nothing comes of is given up.
async fn fetch(inner: Arc<Inner>, due: Due) -> (RoomId, BlobId) {
    let key = (due.room, due.attachment.blob);
    let wish = Wish {
        source: Source::Room(due.room, due.event),
        root: due.attachment.blob,
        folder: due.attachment.is_folder(),
        name: due.attachment.name.clone(),
        claimed: Some(due.attachment.size),
        target: None,
        asked: false,
    };
    let id = inner.content.next_id();
    let transfer = transfers::start(&inner, id, wish);
    let came = came(&transfer).await;
    transfers::forget(&inner, &transfer);
    if !came && let Err(error) = access::give_up(&inner, Some(key.0), key.1).await {
        tracing::warn!("what is not wanted any more stays: {error}");
    }
    inner.content.evictions.note();
    key
}

/// Waits for the end of a transfer; false where nothing came for a while, or it failed.
async fn came(transfer: &Transfer) -> bool {
    let mut standing = transfer.watch();
    loop {
        let (state, view) = standing.borrow_and_update().clone();
        if let TransferState::Failed(_, why) = &state {
            tracing::warn!("a copy is not made: {why}");
            return false;
        }
        if state.is_over() {
            return matches!(state, TransferState::Done);
        }
        let news = standing.wait_for(|(now, seen)| seen.bytes > view.bytes || *now != state);
        match tokio::time::timeout(PATIENCE, news).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return false,
        }
    }
}

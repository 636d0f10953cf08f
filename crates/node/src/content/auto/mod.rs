//! Fetching without being asked: pictures, so that they outlive whoever sent them.
//!
//! Every member fetches the pictures of its rooms up to a size that is set for each room. What the
//! message says of the size decides first, and what is proved afterwards: a picture that is larger than
//! it was said to be is not fetched further.
//!
//! Nothing is noted for later: after a restart the same messages are looked through again.

mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ayni_core::attachment::Attachment;
use ayni_core::chat::Chat;
use ayni_core::event::Event as CoreEvent;
use ayni_core::id::{AccountId, BlobId, EventId, RoomId};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::queue::{Due, Queue, Then, Tried, Whose};
use super::model::TransferState;
use super::transfers::{self, Source, Transfer, Wish};
use super::{access, again, quota};
use crate::error::{ErrorKind, Result};
use crate::inner::Inner;
use crate::rooms::RoomHandle;

/// Largest picture that is fetched without being asked, where a room sets nothing else.
pub(crate) const DEFAULT_LIMIT: u64 = 20 * 1024 * 1024;
/// Bytes of a room that were fetched unasked before nothing more is: some thousand pictures of a telephone.
const ROOM_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// Messages with attachments that are read at a time.
const PAGE: usize = 100;
/// Pages that one look through a room reads: its newest 20,000 attachments.
const MAX_PAGES: usize = 200;
/// Messages of one room that are remembered as looked at; beyond, some are looked at again.
const MAX_SEEN: usize = 40_000;
/// Pictures that are fetched at a time.
const AT_ONCE: usize = 8;
/// How long arrivals are gathered before they are looked at.
const GATHER: Duration = Duration::from_millis(100);
/// How long it rests after looking: where messages come all the time, one look does for many.
const PAUSE: Duration = Duration::from_secs(1);
/// How long nothing may come of a picture before others take its turn.
const PATIENCE: Duration = Duration::from_secs(20);
/// How soon it is looked again where messages were not read yet.
const AGAIN: Duration = Duration::from_secs(2);
/// How often all of a room is looked through, at most: what came late is dated anywhere in its history.
const LOOK_THROUGH: Duration = Duration::from_mins(1);

/// Rooms in which something arrived.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// And whether a member came who may have what nobody had.
    rooms: Mutex<BTreeMap<RoomId, bool>>,
    came: Notify,
}

impl Arrivals {
    /// Notes that messages were stored in a room, or can be read now.
    pub(crate) fn note(&self, room: RoomId) {
        self.add(room, false);
    }

    /// Notes that a member is connected who may have what a room lacks.
    pub(crate) fn note_member(&self, room: RoomId) {
        self.add(room, true);
    }

    fn add(&self, room: RoomId, member: bool) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        *rooms.entry(room).or_default() |= member;
        drop(rooms);
        self.came.notify_one();
    }

    fn take(&self) -> BTreeMap<RoomId, bool> {
        std::mem::take(&mut *self.rooms.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Fetches pictures until the node stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut auto = Auto::new();
    for room in inner.rooms() {
        inner.content.arrivals.note_member(room.id());
    }
    let mut rested = Instant::now();
    loop {
        let (due, through) = (auto.next_due(), auto.next_through());
        let came = async {
            tokio::time::sleep_until(rested).await;
            inner.content.arrivals.came.notified().await;
        };
        tokio::select! {
            () = came => {
                tokio::time::sleep(GATHER).await;
                rested = Instant::now() + PAUSE;
                for (room, member) in inner.content.arrivals.take() {
                    auto.hear(room, member);
                    inner.content.news.note();
                    auto.look(&inner, room, Depth::New).await;
                }
            }
            Some(ended) = auto.running.join_next() => auto.ended(&inner, ended.ok()).await,
            () = tokio::time::sleep_until(due), if auto.running.len() < AT_ONCE => {}
            () = tokio::time::sleep_until(through) => auto.look_through(&inner).await,
        }
        auto.begin(&inner);
    }
}

/// What is remembered of one room.
#[derive(Debug, Default)]
struct Looked {
    seen: BTreeSet<EventId>,
    /// Whether something came since all of it was looked through.
    stale: bool,
    /// Whether pictures were left out, or let go, that may be fetched now.
    forgot: bool,
    through: Option<Instant>,
}

/// How far back it is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Until a page has nothing new.
    New,
    /// All.
    Through,
}

#[derive(Debug)]
struct Auto {
    begun: Instant,
    rooms: BTreeMap<RoomId, Looked>,
    queue: Queue,
    running: JoinSet<(Whose, Due, Attempt)>,
}

impl Auto {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            rooms: BTreeMap::new(),
            queue: Queue::default(),
            running: JoinSet::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn hear(&mut self, room: RoomId, member: bool) {
        let looked = self.rooms.entry(room).or_default();
        looked.stale = true;
        if member {
            looked.forgot = true;
            self.queue.wake(room);
        }
    }

    /// Finds pictures of a room that were not looked at yet, from the newest backwards.
    async fn look(&mut self, inner: &Arc<Inner>, id: RoomId, depth: Depth) {
        let Some(room) = inner.room(&id) else {
            self.rooms.remove(&id);
            return;
        };
        let (mut before, newest) = (None, inner.newest_shown());
        for _ in 0..MAX_PAGES {
            let page = match inner.store.attachments(id, before, PAGE, newest).await {
                Ok(page) => page,
                Err(error) => return tracing::warn!("pictures are not looked for: {error}"),
            };
            if before.is_none() && page.behind > 0 {
                let inner = inner.clone();
                inner.tasks.clone().spawn(async move {
                    tokio::time::sleep(AGAIN).await;
                    inner.content.arrivals.note(id);
                });
            }
            let Some(last) = page.events.last() else { return };
            before = Some((last.header().time.0, last.id()));
            let fresh = self.fresh(id, page.events);
            if fresh.is_empty() && depth == Depth::New {
                return;
            }
            for event in fresh {
                self.consider(inner, &room, &event).await;
            }
        }
    }

    /// Returns the events that were not seen, and notes them.
    fn fresh(&mut self, room: RoomId, events: Vec<CoreEvent>) -> Vec<CoreEvent> {
        let looked = self.rooms.entry(room).or_default();
        if looked.seen.len() > MAX_SEEN {
            looked.seen.clear();
        }
        events.into_iter().filter(|event| looked.seen.insert(event.id())).collect()
    }

    async fn consider(&mut self, inner: &Arc<Inner>, room: &RoomHandle, event: &CoreEvent) {
        match wanted(inner, room, event).await {
            Ok(Some((author, _))) => {
                let whose = (room.id(), author);
                if !self.queue.push(whose, Due::new(event.id())) {
                    self.forget(room.id());
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("a picture is not fetched: {error}"),
        }
    }

    /// Notes that a picture of a room is to be found again later.
    fn forget(&mut self, room: RoomId) {
        let looked = self.rooms.entry(room).or_default();
        looked.forgot = true;
        looked.stale = true;
    }

    /// Looks through all rooms whose time it is.
    async fn look_through(&mut self, inner: &Arc<Inner>) {
        let now = Instant::now();
        let due = |looked: &Looked| {
            looked.stale && looked.through.is_none_or(|at| now - at >= LOOK_THROUGH)
        };
        let rooms: Vec<RoomId> =
            self.rooms.iter().filter(|(_, looked)| due(looked)).map(|(room, _)| *room).collect();
        for room in rooms {
            let Some(looked) = self.rooms.get_mut(&room) else { continue };
            looked.through = Some(now);
            looked.stale = false;
            if looked.forgot && self.queue.has_room() {
                // What waits or runs is found again, too: it is here by then, or its second try is short.
                looked.forgot = false;
                looked.seen.clear();
            }
            self.look(inner, room, Depth::Through).await;
        }
    }

    fn next_through(&self) -> Instant {
        let stale = self.rooms.values().filter(|looked| looked.stale);
        let next = stale.map(|looked| looked.through.map_or(self.begun, |at| at + LOOK_THROUGH));
        next.min().unwrap_or_else(|| Instant::now() + 60 * LOOK_THROUGH)
    }

    fn next_due(&self) -> Instant {
        let due = self.queue.next_due().map(|due| self.begun + Duration::from_millis(due));
        due.unwrap_or_else(|| Instant::now() + 60 * LOOK_THROUGH)
    }

    fn begin(&mut self, inner: &Arc<Inner>) {
        while self.running.len() < AT_ONCE {
            let now = self.now();
            let Some((whose, due)) = self.queue.take(now) else { return };
            let inner = inner.clone();
            self.running
                .spawn(async move { (whose, due, attempt(&inner, whose, due.event).await) });
        }
    }

    async fn ended(&mut self, inner: &Arc<Inner>, ended: Option<(Whose, Due, Attempt)>) {
        let Some((whose, due, Attempt { tried, begun })) = ended else { return };
        let (now, jitter) = (self.now(), 0.75 + inner.jitter() / 2.0);
        match (self.queue.ended(whose, due, tried, (now, jitter)), begun) {
            (Then::LetGo, Some(root)) => {
                if let Err(error) = transfers::give_up_unless_wanted(inner, whose.0, root).await {
                    tracing::warn!("what is not wanted any more stays: {error}");
                }
            }
            (Then::NoRoom, _) => self.forget(whose.0),
            _ => {}
        }
    }
}

/// How a try ended, and which content may be noted as wanted by it and did not come.
#[derive(Debug)]
struct Attempt {
    tried: Tried,
    begun: Option<BlobId>,
}

impl Attempt {
    fn new(tried: Tried, begun: Option<BlobId>) -> Self {
        Self { tried, begun }
    }
}

/// Returns what a message has attached and who posted it, if it is a picture that is to be fetched: it is
/// not here, or its room has not given it. One that is here is kept for the room in any case.
async fn wanted(
    inner: &Arc<Inner>,
    room: &RoomHandle,
    event: &CoreEvent,
) -> Result<Option<(AccountId, Attachment)>> {
    let device = &event.header().device;
    let (chat, author) = {
        let state = room.lock();
        let hidden = state.room.hides(event.header());
        let chat = if hidden { None } else { state.room.open(event) };
        (chat, state.room.members().account_of(device))
    };
    let Some(Chat::Attachment(attachment, _)) = chat else { return Ok(None) };
    let limit = inner.store.room_fetch_limit(room.id()).await?.unwrap_or(DEFAULT_LIMIT);
    let wanted = attachment.picture.is_some() && attachment.size <= limit;
    if !wanted || attachment.is_folder() {
        return Ok(None);
    }
    let contents = inner.content.contents(inner).await?;
    // What it was kept for may end meanwhile.
    let (root, _protected) = (attachment.blob, contents.protect(attachment.blob));
    if contents.held(root).await?.complete {
        again::keep(inner, room.id(), root, attachment.size).await?;
        if access::is_given(inner, &contents, room.id(), root).await? {
            return Ok(None);
        }
    }
    let author = author.unwrap_or(AccountId(device.0));
    Ok(Some((author, super::clean(*attachment))))
}

/// Whether there is space for so many bytes that nobody asked for.
async fn has_space(inner: &Arc<Inner>, room: RoomId, bytes: u64) -> Result<bool> {
    let here = inner.store.held_by_itself(room).await?;
    if here.saturating_add(bytes) > ROOM_BYTES {
        let room = room.short();
        tracing::info!("{here} bytes of the room {room} came by themselves: no more pictures do");
        return Ok(false);
    }
    quota::has_room(inner, bytes).await
}

/// Tries to fetch a picture.
async fn attempt(inner: &Arc<Inner>, (room, _): Whose, event: EventId) -> Attempt {
    let found = async {
        let Some(handle) = inner.room(&room) else { return Ok((None, None)) };
        match inner.store.event_of(room, event).await? {
            Some(found) => {
                let root = root_of(&handle, &found);
                Ok((wanted(inner, &handle, &found).await?, root))
            }
            None => Ok((None, None)),
        }
    };
    let not_begun = |error| {
        tracing::warn!("a picture is not fetched: {error}");
        Tried::NotBegun
    };
    let (attachment, root) = match found.await {
        Ok((Some((_, attachment)), root)) => (attachment, root),
        // An earlier try may have begun with it.
        Ok((None, root)) => return Attempt::new(Tried::Over, root),
        Err(error) => return Attempt::new(not_begun(error), None),
    };
    match has_space(inner, room, attachment.size).await {
        Ok(true) => {}
        Ok(false) => return Attempt::new(Tried::NoSpace, root),
        Err(error) => return Attempt::new(not_begun(error), root),
    }
    let wish = Wish {
        source: Source::Room(room, event),
        root: attachment.blob,
        folder: false,
        name: attachment.name.clone(),
        claimed: Some(attachment.size),
        target: None,
        asked: false,
    };
    let id = inner.content.next_id();
    let transfer = transfers::start(inner, id, wish);
    let tried = wait(&transfer).await;
    let came = matches!(transfer.info().state, TransferState::Done);
    transfers::forget(inner, &transfer);
    Attempt::new(tried, root.filter(|_| !came))
}

/// Returns which content a message names.
fn root_of(room: &RoomHandle, event: &CoreEvent) -> Option<BlobId> {
    match room.lock().room.open(event) {
        Some(Chat::Attachment(attachment, _)) => Some(attachment.blob),
        _ => None,
    }
}

/// Waits for the end of a transfer, or until nothing comes for a while.
async fn wait(transfer: &Transfer) -> Tried {
    let mut standing = transfer.watch();
    loop {
        let (state, view) = standing.borrow_and_update().clone();
        match &state {
            TransferState::Failed(ErrorKind::Invalid, why) => {
                tracing::warn!("a picture is not fetched: {why}");
                return Tried::Over;
            }
            TransferState::Failed(_, why) => {
                tracing::warn!("a picture is not fetched now: {why}");
                return Tried::NotBegun;
            }
            state if state.is_over() => return Tried::Over,
            _ => {}
        }
        let news = standing.wait_for(|(now, seen)| seen.bytes > view.bytes || *now != state);
        match tokio::time::timeout(PATIENCE, news).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Tried::Over, // the node stops
            // Another one fetches the same, and may rest.
            Err(_) if matches!(state, TransferState::Waiting) => return Tried::NotBegun,
            Err(_) => return Tried::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Node;
    use crate::builder::Network;
    use crate::store::{Hold, Reason, Standing, Write};

    #[tokio::test]
    async fn what_is_let_go_is_not_wanted_any_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let builder = Node::builder().data(folder.path()).network(Network::Loopback).offline(true);
        let node = builder.start().await.expect("starts");
        let room = node.create_room("pictures").await.expect("creates").room;
        let (inner, root) = (&node.inner, BlobId([5; 32]));
        let hold = Hold {
            room: Some(room),
            root,
            blobs: vec![],
            bytes: 1 << 40,
            since_ms: 1,
            standing: Standing::Wanted,
            reason: Reason::ByItself,
            unsaid: false,
        };
        inner.store.write(Write::Hold(hold)).await.expect("stored");
        let mut auto = Auto::new();
        assert!(auto.queue.push((room, AccountId([1; 32])), Due::new(EventId([2; 32]))));
        let mut tries = 0;
        while let Some((whose, due)) = auto.queue.take(u64::MAX) {
            let kept = inner.store.holding(Some(room), root).await.expect("read");
            assert!(kept.is_some(), "as long as it is tried");
            let nothing = Attempt::new(Tried::Nothing, Some(root));
            auto.ended(inner, Some((whose, due, nothing))).await;
            tries += 1;
        }
        assert!(tries > 1, "{tries} tries");
        assert!(inner.store.holding(Some(room), root).await.expect("read").is_none());
        node.shutdown().await;
    }
}

//! The fetches of a node: begun once, and carried on until they are done or cancelled, through pauses
//! and restarts.

mod pour;
mod run;
mod slots;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ayni_core::id::{BlobId, EventId, PeerId, RoomId};
use ayni_core::swarm::{BLOCK_BYTES, Order};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub(super) use self::pour::Pour;
use self::pour::Pouring;
pub use self::slots::Priority;
use self::slots::Slots;
use self::turns::Turns;
use super::access::{self, Origin};
use super::allowance::{Allowance, Bound};
use super::ask::Limits;
use super::fetch::{Goal, View};
use super::model::{TransferInfo, TransferState};
use super::store::Held;
use super::target::{Existing, Target};
use super::uploads::Pacer;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::inner::Inner;
use crate::store::{Rates, StoredTransfer, TransferSource, Write};

/// Transfers that are neither done nor cancelled, at most: each is looked after, and shown in a list.
const MAX_OPEN: usize = 1000;
/// Transfers that are over and still listed.
const MAX_LISTED: usize = 64;
/// How often it is looked who may have what is fetched.
const LOOK: Duration = Duration::from_secs(2);
/// How often it is asked who else fetches what a ticket names.
const ASK_FETCHERS: Duration = Duration::from_secs(10);
/// Peers that asked for the same content and are tried for it.
const MAX_NOTED: usize = 32;
/// Members that are not connected and are tried all the same: dials cost.
const MAX_DIALLED: usize = 8;

/// Where a content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The members of a room, because of a message.
    Room(RoomId, EventId),
    /// The peer of a ticket, and whoever else fetches it. With the ticket, as it is written.
    Ticket(PeerId, String),
}

/// What to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) source: Source,
    pub(crate) root: BlobId,
    pub(crate) folder: bool,
    /// What it is called; of others' choosing.
    pub(crate) name: String,
    /// How large it is, as others say.
    pub(crate) claimed: Option<u64>,
    pub(crate) target: Option<Target>,
    /// Whether someone asked for it, so that it goes first.
    pub(crate) asked: bool,
}

impl Wish {
    fn stored(&self, id: u64, now_ms: u64, begun: Begun) -> StoredTransfer {
        StoredTransfer {
            id,
            root: self.root,
            folder: self.folder,
            source: match &self.source {
                Source::Room(room, event) => TransferSource::Message { room: *room, event: *event },
                Source::Ticket(_, ticket) => TransferSource::Ticket(ticket.clone().into_bytes()),
            },
            target: self.target.as_ref().map(|target| target.path.clone()),
            existing: self.target.as_ref().map(|target| target.existing).unwrap_or_default(),
            since_ms: now_ms,
            paused: begun.paused,
            rates: Rates::default(),
            priority: begun.priority as u8,
            pours: begun.pours,
        }
    }
}

/// How a transfer stands, and how far it is.
pub(crate) type Standing = (TransferState, View);

/// A fetch.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) id: u64,
    pub(crate) wish: Wish,
    state: watch::Sender<Standing>,
    paused: watch::Sender<bool>,
    sources: watch::Sender<BTreeSet<PeerId>>,
    noted: Mutex<Vec<PeerId>>,
    order: watch::Sender<Order>,
    /// What of it is fetched.
    pace: Arc<Pacer>,
    /// What is given of it meanwhile.
    pace_up: Arc<Pacer>,
    /// What else belongs to it: of a folder the files, and their names. They are asked for by themselves.
    parts: Mutex<BTreeSet<BlobId>>,
    rates: watch::Sender<Rates>,
    priority: watch::Sender<Priority>,
    /// Wakes one that failed.
    again: Notify,
    cancel: CancellationToken,
    /// Whether it was begun by an earlier run of the node.
    pub(super) resumed: bool,
    /// Bytes that came since it was begun or went on.
    pub(super) came: Arc<AtomicU64>,
    /// Held by who writes it to its target.
    placing: Arc<tokio::sync::Mutex<()>>,
    /// Whether it was tried before to write it there, in this run of the node.
    tried: AtomicBool,
    placed: Mutex<Option<PathBuf>>,
    /// Whether it is for one reader, and who reads it.
    pours: bool,
    pouring: watch::Sender<Pouring>,
}

impl Transfer {
    /// Returns how it stands.
    pub(crate) fn info(&self) -> TransferInfo {
        let (state, view) = self.state.borrow().clone();
        let (room, event) = match &self.wish.source {
            Source::Room(room, event) => (Some(*room), Some(*event)),
            Source::Ticket(..) => (None, None),
        };
        // What was true of the last moment it ran is not true any more.
        let runs = matches!(state, TransferState::Running);
        let view = if runs { view } else { View { rate: 0, peers: 0, ..view } };
        let size = view.size.or(self.wish.claimed);
        let left = size.map(|size| size.saturating_sub(view.bytes));
        let eta = left.filter(|_| view.rate > 0).map(|left| left.div_ceil(view.rate));
        TransferInfo {
            id: self.id,
            blob: self.wish.root,
            room,
            event,
            name: self.wish.name.clone(),
            bytes: view.bytes,
            size,
            rate: view.rate,
            eta: eta.map(Duration::from_secs),
            peers: view.peers,
            twice: view.twice,
            path: lock(&self.placed).clone(),
            rate_up: self.rates.borrow().up,
            rate_down: self.rates.borrow().down,
            priority: *self.priority.borrow(),
            state,
        }
    }

    /// Returns a view that hears of every change.
    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.state.subscribe()
    }

    /// Says what is to come first.
    pub(crate) fn set_order(&self, order: Order) {
        self.order.send_if_modified(|now| std::mem::replace(now, order) != order);
    }

    /// Notes that a peer is after the same content: it may have some of it.
    fn note(&self, peer: PeerId) {
        let mut noted = lock(&self.noted);
        if !noted.contains(&peer) {
            noted.truncate(MAX_NOTED - 1);
            noted.insert(0, peer);
        }
    }

    /// Returns what is there already and is to stay, so that nothing need be fetched.
    fn skips(&self) -> Option<PathBuf> {
        let target = self.wish.target.as_ref().filter(|it| it.existing == Existing::Skip)?;
        let by_ticket = matches!(self.wish.source, Source::Ticket(..));
        let path = target.path_of(&self.wish.name);
        (!by_ticket && path.symlink_metadata().is_ok()).then_some(path)
    }

    fn set_sources(&self, found: BTreeSet<PeerId>) {
        self.sources.send_if_modified(|now| {
            let changed = *now != found;
            *now = found;
            changed
        });
    }

    fn add_sources(&self, found: &BTreeSet<PeerId>) {
        let mut all = self.sources.borrow().clone();
        all.extend(found);
        self.set_sources(all);
    }

    /// Notes what a folder consists of.
    pub(super) fn note_parts(&self, parts: &[BlobId]) {
        lock(&self.parts).extend(parts);
    }

    fn consists_of(&self, blob: &BlobId) -> bool {
        self.wish.root == *blob || lock(&self.parts).contains(blob)
    }

    /// Limits what is fetched and given of it.
    pub(super) fn set_rates(&self, rates: Rates) {
        self.pace.set(rates.down);
        self.pace_up.set(rates.up);
        self.rates.send_replace(rates);
    }

    /// Notes how it stands. What is over stays so: who works on it may not know yet that it was cancelled.
    pub(super) fn set(&self, state: TransferState) {
        let is_over = state.is_over();
        self.state.send_if_modified(|now| {
            let goes_on = !now.0.is_over();
            if goes_on {
                now.0 = state;
            }
            goes_on
        });
        if is_over {
            // Its limit was for the time that it is fetched: who waits for it waits no longer.
            self.pace_up.set(None);
        }
    }
}

/// All transfers of a node.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    all: Mutex<BTreeMap<u64, Arc<Transfer>>>,
    turns: Turns,
    /// Held while one is begun: the same is not begun twice.
    beginning: tokio::sync::Mutex<()>,
    slots: Arc<Slots>,
    pub(super) pace: Arc<Pacer>,
}

impl Transfers {
    /// Returns all transfers, those that are over among them as long as they are listed.
    pub(crate) fn all(&self) -> Vec<Arc<Transfer>> {
        lock(&self.all).values().cloned().collect()
    }

    pub(crate) fn find(&self, id: u64) -> Option<Arc<Transfer>> {
        lock(&self.all).get(&id).cloned()
    }

    /// Returns the unfinished transfer that does what is wished.
    fn same(&self, wish: &Wish) -> Option<Arc<Transfer>> {
        let all = lock(&self.all);
        // Those that nobody asked for are given up sooner.
        let open = all.values().filter(|it| it.wish.asked && !it.state.borrow().0.is_over());
        let mut same = open.filter(|it| {
            (it.wish.root, it.wish.folder) == (wish.root, wish.folder)
                && !it.pours
                && it.wish.source == wish.source
                && it.wish.target == wish.target
        });
        same.next().cloned()
    }

    /// Notes that a peer asked for a content.
    pub(super) fn note(&self, blob: BlobId, peer: PeerId) {
        for transfer in lock(&self.all).values().filter(|it| it.wish.root == blob) {
            transfer.note(peer);
        }
    }

    /// Whether a content is being fetched by a ticket, or was lately: who names it was given the ticket,
    /// too. One that is done gives on as long as it is listed: those who fetch the same may lack what it
    /// had alone, and its sender may be gone.
    pub(super) fn is_getting(&self, root: BlobId) -> bool {
        lock(&self.all).values().any(|it| {
            let by_ticket = matches!(it.wish.source, Source::Ticket(..));
            let state = &it.state.borrow().0;
            let gave_up = matches!(state, TransferState::Cancelled | TransferState::Failed(..));
            by_ticket && it.wish.root == root && !gave_up
        })
    }

    /// Returns what limits how fast a content is given while it is fetched.
    pub(super) fn paces_up(&self, blob: BlobId) -> Vec<Arc<Pacer>> {
        let all = lock(&self.all);
        let of = all.values().filter(|it| it.pace_up.is_limited() && it.consists_of(&blob));
        of.map(|it| it.pace_up.clone()).collect()
    }

    /// Returns what is being fetched, or is about to be.
    pub(super) fn roots(&self) -> BTreeSet<BlobId> {
        let all = lock(&self.all);
        all.values().filter(|it| !it.state.borrow().0.is_over()).map(|it| it.wish.root).collect()
    }

    /// Returns how many were asked for and are not over.
    fn open(&self) -> usize {
        let all = lock(&self.all);
        all.values().filter(|it| it.wish.asked && !it.state.borrow().0.is_over()).count()
    }

    fn add(&self, transfer: &Arc<Transfer>) {
        let mut all = lock(&self.all);
        all.insert(transfer.id, transfer.clone());
        let over: Vec<u64> =
            all.values().filter(|it| it.state.borrow().0.is_over()).map(|it| it.id).collect();
        for id in over.iter().take(over.len().saturating_sub(MAX_LISTED)) {
            all.remove(id);
        }
    }

    /// Returns how far the transfer is that fetches a content just now.
    fn view_of(&self, root: BlobId) -> Option<View> {
        let all = lock(&self.all);
        let standing = all.values().filter(|it| it.wish.root == root).map(|it| it.state.borrow());
        standing.filter(|now| matches!(now.0, TransferState::Running)).map(|now| now.1).next()
    }
}

/// Begins to fetch; returns when it is noted and will go on after any end of the node.
///
/// # Errors
/// What [`Target::check`] says; [`Error::Invalid`] for too many; a failing disk.
pub(crate) async fn begin(inner: &Arc<Inner>, wish: Wish) -> Result<Arc<Transfer>> {
    begin_as(inner, wish, Begun::default()).await
}

/// Begins to fetch something for one reader, and to keep nothing of it: see [`Pour`].
///
/// # Errors
/// As [`begin`].
pub(crate) async fn begin_pour(inner: &Arc<Inner>, wish: Wish) -> Result<Arc<Transfer>> {
    let transfer = begin_as(inner, wish, Begun { pours: true, ..Begun::default() }).await?;
    let watching = pour::watch_readers(inner.clone(), transfer.clone());
    inner.tasks.spawn(inner.cancel.clone().run_until_cancelled_owned(watching));
    Ok(transfer)
}

async fn begin_as(inner: &Arc<Inner>, wish: Wish, begun: Begun) -> Result<Arc<Transfer>> {
    let pours = begun.pours;
    match (&wish.target, &wish.source) {
        (Some(target), Source::Ticket(..)) if wish.folder => target.check_folder()?,
        (Some(target), _) => target.check(&wish.name)?,
        (None, _) => {}
    }
    let transfers = &inner.content.transfers;
    let _beginning = transfers.beginning.lock().await;
    if let Some(same) = transfers.same(&wish).filter(|_| !pours) {
        // Someone asks for it just now.
        let rests = matches!(same.info().state, TransferState::Paused | TransferState::Failed(..));
        if rests {
            pause(inner, same.id, false).await?;
        }
        return Ok(same);
    }
    if transfers.open() >= MAX_OPEN {
        return Err(Error::Invalid(format!(
            "{MAX_OPEN} transfers are not done yet: wait for some, or cancel them"
        )));
    }
    // Opened first: what cannot be kept is not begun.
    let _ = inner.content.contents(inner).await?;
    let id = inner.content.next_id();
    let stored = wish.stored(id, inner.now(), begun);
    inner.store.write(Write::Transfer(stored)).await?;
    let transfer = list(inner, id, wish, begun);
    carry_on(inner, &transfer);
    Ok(transfer)
}

/// Begins a transfer that has a number and is not noted.
pub(super) fn start(inner: &Arc<Inner>, id: u64, wish: Wish) -> Arc<Transfer> {
    let transfer = list(inner, id, wish, Begun::default());
    carry_on(inner, &transfer);
    transfer
}

/// How a transfer stood when the node was stopped, or is begun.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Begun {
    pub(super) paused: bool,
    pub(super) priority: Priority,
    /// Whether an earlier run of the node began it.
    pub(super) before: bool,
    /// Whether it is for one reader, and nothing of it is kept.
    pub(super) pours: bool,
}

/// Lists a transfer, which does nothing yet.
pub(super) fn list(inner: &Arc<Inner>, id: u64, wish: Wish, begun: Begun) -> Arc<Transfer> {
    let state = if begun.paused { TransferState::Paused } else { TransferState::Waiting };
    let transfer = Arc::new(Transfer {
        id,
        wish,
        state: watch::Sender::new((state, View::default())),
        paused: watch::Sender::new(begun.paused),
        sources: watch::Sender::default(),
        noted: Mutex::default(),
        order: watch::Sender::default(),
        pace: Arc::default(),
        pace_up: Arc::default(),
        parts: Mutex::default(),
        rates: watch::Sender::default(),
        priority: watch::Sender::new(begun.priority),
        again: Notify::new(),
        cancel: inner.cancel.child_token(),
        resumed: begun.before,
        came: Arc::default(),
        placing: Arc::default(),
        tried: AtomicBool::default(),
        placed: Mutex::default(),
        pours: begun.pours,
        pouring: watch::Sender::default(),
    });
    inner.content.transfers.add(&transfer);
    transfer
}

/// Carries a transfer on that is listed.
pub(super) fn carry_on(inner: &Arc<Inner>, transfer: &Arc<Transfer>) {
    let task = run::run(inner.clone(), transfer.clone());
    inner.tasks.spawn(transfer.cancel.clone().run_until_cancelled_owned(task));
}

/// Pauses a transfer, or lets it go on. One that failed is tried again.
///
/// # Errors
/// [`Error::NotFound`] for one that is over; a failing disk.
pub(crate) async fn pause(inner: &Arc<Inner>, id: u64, paused: bool) -> Result<()> {
    let transfer = open(inner, id)?;
    inner.store.write(Write::TransferPaused { id, paused }).await?;
    let failed = matches!(transfer.state.borrow().0, TransferState::Failed(..));
    transfer.paused.send_if_modified(|now| std::mem::replace(now, paused) != paused);
    if inner.links().is_none() {
        // Nothing carries it on before the next start.
        transfer.set(if paused { TransferState::Paused } else { TransferState::Waiting });
    } else if failed && !paused {
        // Whoever looks at it now sees that it goes on, and not how it ended before.
        transfer.set(TransferState::Waiting);
        transfer.again.notify_waiters();
    }
    Ok(())
}

/// Says how important a transfer is.
///
/// # Errors
/// As [`pause`].
pub(crate) async fn set_priority(inner: &Arc<Inner>, id: u64, priority: Priority) -> Result<()> {
    let transfer = open(inner, id)?;
    inner.store.write(Write::TransferPriority { id, priority: priority as u8 }).await?;
    transfer.priority.send_replace(priority);
    inner.tell(Event::TransferChanged(id));
    Ok(())
}

/// Limits what a transfer fetches, and what is given of it meanwhile.
///
/// # Errors
/// As [`pause`].
pub(crate) async fn limit(inner: &Arc<Inner>, id: u64, rates: Rates) -> Result<()> {
    let transfer = open(inner, id)?;
    inner.store.write(Write::TransferRates { id, rates }).await?;
    transfer.set_rates(rates);
    if transfer.state.borrow().0.is_over() {
        transfer.pace_up.set(None); // it ended meanwhile
    }
    inner.tell(Event::TransferChanged(id));
    Ok(())
}

/// Ends a transfer. What of it is here and nothing else needs is deleted by and by; what was half-written
/// beside its target at once, or when who writes it just then comes to an end.
///
/// # Errors
/// As [`pause`].
pub(crate) async fn cancel(inner: &Arc<Inner>, id: u64) -> Result<()> {
    let transfer = open(inner, id)?;
    inner.store.write(Write::TransferDone { id }).await?;
    transfer.cancel.cancel();
    transfer.set(TransferState::Cancelled);
    run::clear(inner, &transfer).await;
    access::give_up(inner, transfer.wish.room(), transfer.wish.root).await?;
    inner.content.note_let_go();
    inner.tell(Event::TransferChanged(id));
    Ok(())
}

/// Ends what an earlier run of the node began and what nothing can come of any more.
///
/// # Errors
/// A failing disk.
pub(super) async fn end_stored(inner: &Inner, stored: &StoredTransfer) -> Result<()> {
    let room = match &stored.source {
        TransferSource::Message { room, .. } => Some(*room),
        TransferSource::Ticket(_) => None,
    };
    inner.store.write(Write::TransferDone { id: stored.id }).await?;
    if let Some(path) = stored.target.clone() {
        let target = Target { path, existing: stored.existing };
        run::clear_target(inner, (stored.id, &target), vec![]).await;
    }
    access::give_up(inner, room, stored.root).await?;
    inner.content.note_let_go();
    Ok(())
}

/// Notes that what nobody asked for is not fetched any more through a room, unless another transfer wants
/// the same content.
///
/// # Errors
/// A failing disk.
pub(super) async fn give_up_unless_wanted(inner: &Inner, room: RoomId, root: BlobId) -> Result<()> {
    let transfers = &inner.content.transfers;
    let _beginning = transfers.beginning.lock().await;
    if transfers.roots().contains(&root) {
        return Ok(());
    }
    access::give_up(inner, Some(room), root).await
}

/// Ends a transfer that was never noted, and forgets it.
pub(super) fn forget(inner: &Inner, transfer: &Transfer) {
    transfer.cancel.cancel();
    lock(&inner.content.transfers.all).remove(&transfer.id);
}

fn open(inner: &Inner, id: u64) -> Result<Arc<Transfer>> {
    let found = inner.content.transfers.find(id);
    let transfer = found.ok_or_else(|| Error::NotFound(format!("there is no transfer {id}")))?;
    if transfer.state.borrow().0.is_over() {
        return Err(Error::NotFound(format!("the transfer {id} is over")));
    }
    Ok(transfer)
}

impl Transfer {
    pub(super) fn goal(&self, inner: &Inner, blob: BlobId) -> Goal {
        Goal {
            blob,
            sources: self.sources.subscribe(),
            first: match &self.wish.source {
                Source::Ticket(peer, _) => Some(*peer),
                Source::Room(..) => None,
            },
            claimed: None,
            order: self.order.subscribe(),
            limits: Limits {
                paces: [self.pace.clone(), inner.content.transfers.pace.clone()],
                taken: [self.came.clone(), inner.content.taken.clone()],
                most: Arc::new(self.allowance(inner)),
            },
            origin: Origin::of(inner, &self.wish),
        }
    }

    /// Allows as much as there is space for, in the store and where it will be written.
    fn allowance(&self, inner: &Inner) -> Allowance {
        let contents = inner.folder.contents();
        let elsewhere = self.wish.target.as_ref().filter(|it| it.is_elsewhere(&contents));
        let Some(target) = elsewhere else { return Allowance::free(&contents) };
        let free = |folder: &Path| fs4::available_space(folder).unwrap_or(u64::MAX);
        Allowance::new(Bound::Free(free(&contents).min(free(target.folder()))))
    }

    /// Checks before the first attempt that so many bytes have space where they will be written, if that is
    /// another disk than the store's.
    ///
    /// # Errors
    /// [`Error::Store`], with what is lacking.
    pub(crate) fn check_target(&self, inner: &Inner, bytes: u64) -> Result<()> {
        // What an earlier attempt wrote takes its space already.
        let wrote = self.resumed || self.tried.load(Ordering::Relaxed);
        let target = self.wish.target.as_ref().filter(|_| !wrote);
        target.map_or(Ok(()), |target| target.check_space(&inner.folder.contents(), bytes))
    }

    /// Shows what is here of it before it goes on.
    pub(super) fn see_held(&self, held: &Held) {
        let bytes = ayni_core::swarm::count(&held.blocks).saturating_mul(BLOCK_BYTES);
        let bytes = held.size.map_or(0, |size| bytes.min(size));
        self.see(View { bytes, size: held.size, ..View::default() });
    }

    pub(super) fn see(&self, view: View) {
        self.state.send_modify(|now| now.1 = view);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! One room of a running node: the replica, what of it is durable, and who is synchronising it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ayni_core::clock::{Hlc, Millis};
use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event as CoreEvent;
use ayni_core::id::{AccountId, EpochId, EventId, PeerId, RoomId};
use ayni_core::log::{Frontier, Lane, LogId};
use ayni_core::room::{
    Accepted, AuthorError, Effect, Kind, LogState, MemberInfo, Reject, Room, Run,
};
use ayni_core::sync::{Claims, SessionId, View};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::digest::Digest;
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::model::{RoomInfo, RoomKind};
use crate::store::{Append, LoadedRoom, LogSummary, Write};

/// How often a removed member can have itself told that it was: each time costs reading the control
/// lane, and once is enough for who listens.
const FAREWELL: Duration = Duration::from_mins(1);
/// What the room of one's own is called.
const OWN_NAME: &str = "notes to myself";
/// A change on its way to the store: see [`RoomHandle::begin`].
pub(crate) type Made = BoxFuture<'static, Result<Vec<CoreEvent>>>;

/// Messages that could not be read when they came, kept to be told again when they can be. Older ones
/// are read from the store by whoever shows them.
const MAX_LOCKED: usize = 256;

/// One room. Shared by everything that works on it.
#[derive(Debug)]
pub(crate) struct RoomHandle {
    id: RoomId,
    state: Mutex<State>,
    /// Counts changes that became durable.
    pub(crate) changed: watch::Sender<u64>,
    /// Counts durable changes of who belongs here, of keys, and of settings.
    pub(crate) governed: watch::Sender<u64>,
    /// Whether a newcomer has something to look at.
    pub(crate) ready: watch::Sender<bool>,
    /// Whether a member said how far this device's own logs go, and all of that is here: what is told of
    /// in [`super::tip`].
    pub(crate) tip: watch::Sender<bool>,
    /// Counts reasons to compare states with peers now instead of at the next check.
    pub(crate) poked: watch::Sender<u64>,
    /// Other secrets may be missing, or others may have them: for the task that asks.
    pub(crate) wants_secrets: Notify,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) room: Room,
    /// What of it is in the store: what may be announced.
    pub(crate) durable: Frontier,
    digest: Digest,
    /// Ranges that sessions wait for.
    pub(crate) claims: Claims,
    /// The session with each peer that is synchronising now.
    pub(crate) sessions: BTreeMap<PeerId, ActiveSession>,
    /// Links for which a task keeps this room synchronised.
    pub(crate) maintained: BTreeMap<PeerId, usize>,
    /// Who left our requests unanswered, and until when others come first.
    pub(crate) stalled: BTreeMap<PeerId, Instant>,
    /// Removed members that were told so, and until when they are not told again.
    farewells: BTreeMap<PeerId, Instant>,
    /// Events that others hold, by what they announced: for delivery.
    pub(crate) unread: u64,
    newest: BTreeMap<LogId, Hlc>,
    next_session: u64,
    /// Set when a member, told that we left, has let us go: nothing is synchronised any more.
    parted: bool,
    /// Whether a task asks members for missing secrets.
    pub(crate) asks_secrets: bool,
    /// The epochs whose secrets the store has, or is about to have.
    kept: BTreeSet<EpochId>,
    /// The newest messages that were told and could not be read.
    locked: VecDeque<CoreEvent>,
    /// Set while a failed write is being undone: nothing is authored or accepted then.
    failed: Option<String>,
}

/// A session under way.
#[derive(Debug, Clone)]
pub(crate) struct ActiveSession {
    pub(crate) id: SessionId,
    pub(crate) link: usize,
    pub(crate) cancel: CancellationToken,
}

/// Why a change was not made: the node cannot, or the replica refuses.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The replica refuses events of others.
    Reject(Reject),
    /// This device cannot author.
    Author(AuthorError),
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        Self::Reject(reject)
    }
}

impl From<AuthorError> for Refusal {
    fn from(error: AuthorError) -> Self {
        Self::Author(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Author(AuthorError::NotAMember) => {
                Self::Denied("you are not a member of this room (any more)".into())
            }
            Refusal::Author(AuthorError::NotThere) => {
                Self::NotFound("no such member or invitation in this room".into())
            }
            Refusal::Author(
                error @ (AuthorError::NotPermitted
                | AuthorError::NewerRules
                | AuthorError::Frozen
                | AuthorError::LogFull),
            ) => Self::Denied(error.to_string()),
            Refusal::Author(error @ AuthorError::TooLong) => Self::Invalid(error.to_string()),
            Refusal::Author(error) => Self::Unreachable(error.to_string()),
            Refusal::Reject(reject) => Self::Denied(reject.to_string()),
        }
    }
}

impl RoomHandle {
    /// Wraps a replica; `durable` says whether what it holds is stored already.
    pub(crate) fn new(room: Room, unread: u64, durable: bool) -> Arc<Self> {
        let held = if durable { room.frontier() } else { Frontier::default() };
        let ready = room.am_member();
        let state = State {
            durable: held,
            digest: Digest::default(),
            claims: Claims::default(),
            sessions: BTreeMap::new(),
            maintained: BTreeMap::new(),
            stalled: BTreeMap::new(),
            farewells: BTreeMap::new(),
            unread,
            newest: BTreeMap::new(),
            next_session: 0,
            parted: false,
            asks_secrets: false,
            kept: BTreeSet::new(),
            locked: VecDeque::new(),
            failed: None,
            room,
        };
        Arc::new(Self {
            id: state.room.id(),
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            governed: watch::Sender::new(0),
            ready: watch::Sender::new(ready),
            poked: watch::Sender::new(0),
            tip: watch::Sender::new(true),
            wants_secrets: Notify::new(),
        })
    }

    /// Builds a replica from the store.
    pub(crate) fn restore(id: RoomId, me: PeerId, loaded: &LoadedRoom, now: Millis) -> Arc<Self> {
        let (room, newest) = rebuild(id, me, loaded, now);
        let handle = Self::new(room, loaded.unread, true);
        let mut state = handle.lock();
        state.newest = newest;
        state.kept = kept(id, loaded);
        drop(state);
        handle.tip.send_replace(false);
        handle
    }

    pub(crate) fn id(&self) -> RoomId {
        self.id
    }

    /// Locks the state, for computation only. Never while another room is locked.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the replica and makes the change durable; then tells everyone whom it concerns.
    ///
    /// Returns the new events. Not undone by cancellation once it has begun to be written.
    ///
    /// # Errors
    /// What `change` refuses, as the inner result; a failing store as the outer one, after which
    /// the replica is again what the store holds.
    pub(crate) async fn change<F>(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        change: F,
    ) -> Result<std::result::Result<Vec<CoreEvent>, Refusal>>
    where
        F: FnOnce(&mut Room, Millis) -> std::result::Result<Accepted, Refusal>,
    {
        match self.begin(inner, change).await? {
            Ok(made) => made.await.map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Like [`Self::change`], but returns when the change is on its way to the store; what it returns
    /// resolves when it is durable and told. Later changes may be begun meanwhile, and build on it.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub(crate) async fn begin<F>(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        change: F,
    ) -> Result<std::result::Result<Made, Refusal>>
    where
        F: FnOnce(&mut Room, Millis) -> std::result::Result<Accepted, Refusal>,
    {
        let permit = inner.store.reserve().await?;
        let now = inner.now();
        let (events, effects, pending) = {
            let mut state = self.lock();
            if let Some(reason) = &state.failed {
                return Err(Error::Store(reason.clone()));
            }
            let accepted = match change(&mut state.room, now) {
                Ok(accepted) => accepted,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if accepted.events.is_empty() {
                return Ok(Ok(std::future::ready(Ok(vec![])).boxed()));
            }
            let (events, effects) = (Arc::new(accepted.events), accepted.effects);
            let append = state.append(self.id, &events, &effects, inner.me());
            (events, effects, inner.store.submit(permit, Write::Append(append)))
        };
        // In a task of its own: who waits for the change may give up, and it is made all the same.
        let (room, inner) = (self.clone(), inner.clone());
        let tasks = inner.tasks.clone();
        let finish = async move {
            if let Err(error) = pending.await {
                room.recover(&inner, &error).await;
                return Err(error);
            }
            room.settle(&events, &effects, inner.me());
            inner.after(&room, &events, &effects);
            Ok(Arc::unwrap_or_clone(events))
        };
        let finished = tasks.spawn(finish);
        Ok(Ok(async move { finished.await.unwrap_or(Err(Error::Closed)) }.boxed()))
    }

    /// Notes that a change is durable. Of changes that were under way at once, any may be the first.
    fn settle(&self, events: &[CoreEvent], effects: &[Effect], me: PeerId) {
        let mut state = self.lock();
        let state_ = &mut *state;
        for run in events.chunk_by(|one, two| {
            one.log() == two.log() && one.seq().checked_add(1) == Some(two.seq())
        }) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let (log, range) = (first.log(), first.seq()..last.seq().saturating_add(1));
            // A later change may have cut off some of it.
            let end = state_.room.counted(&log);
            let held = state_.room.logs().log(&log).map(LogState::positions).unwrap_or_default();
            for part in held.ranges() {
                let (from, to) = (part.start.max(range.start), part.end.min(range.end).min(end));
                state_.durable.insert(log, from..to);
            }
        }
        for effect in effects {
            if let Effect::Voided(log, from) = effect {
                state_.durable.truncate(log, *from);
            }
        }
        state.digest.forget();
        state.unread += unread(&state.room, events, me);
        drop(state);
        self.changed.send_modify(|count| *count += 1);
        if !effects.is_empty() {
            self.governed.send_modify(|count| *count += 1);
        }
    }

    /// Waits until nothing of a range is here and not yet durable. What gossip brought a moment ago is
    /// known already when it comes again, and would else look as if it had not come at all.
    pub(crate) async fn settled(&self, log: LogId, range: &Range<u64>) {
        let mut changed = self.changed.subscribe();
        while self.lock().is_settling(log, range) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// After a failed write: makes the replica again what the store holds.
    async fn recover(&self, inner: &Arc<Inner>, error: &Error) {
        {
            let mut state = self.lock();
            if state.failed.is_some() {
                return;
            }
            state.failed = Some(error.to_string());
        }
        let recovered = inner.store.write(Write::Recovered { room: self.id }).await;
        let loaded = match recovered {
            Ok(()) => inner.store.load_room(self.id).await,
            Err(error) => Err(error),
        };
        match loaded {
            Ok(loaded) => {
                let (room, newest) = rebuild(self.id, inner.me(), &loaded, inner.now());
                let mut state = self.lock();
                state.durable = room.frontier();
                state.digest.forget();
                state.room = room;
                state.newest = newest;
                state.kept = kept(self.id, &loaded);
                state.unread = loaded.unread;
                state.failed = None;
                drop(state);
                self.changed.send_modify(|count| *count += 1);
                self.governed.send_modify(|count| *count += 1);
            }
            Err(error) => {
                tracing::error!(room = %self.id.short(), "the room stays closed: {error}");
            }
        }
    }

    /// Says which event is held as the last one of a message log that was cut short, and keeps that.
    pub(crate) async fn rectify(
        &self,
        inner: &Inner,
        log: LogId,
        len: u64,
        last: EventId,
    ) -> Result<()> {
        let permit = inner.store.reserve().await?;
        let pending = {
            let mut state = self.lock();
            if state.failed.is_some() || state.room.tip(&log).is_none_or(|tip| tip == (len, last)) {
                return Ok(());
            }
            state.room.rectify(&log, len, last);
            state.digest.forget();
            let runs = vec![state.summary(log)];
            let (events, voided, secrets) = (Arc::default(), vec![], vec![]);
            let append = Append { room: self.id, events, runs, voided, unread: 0, secrets };
            inner.store.submit(permit, Write::Append(append))
        };
        pending.await?;
        self.poke();
        Ok(())
    }

    /// Remembers a message that cannot be read yet; false when it can be by now.
    pub(crate) fn keep_locked(&self, event: &CoreEvent) -> bool {
        let mut state = self.lock();
        if state.room.open(event).is_some() {
            return false;
        }
        if state.locked.len() == MAX_LOCKED {
            state.locked.pop_front();
        }
        state.locked.push_back(event.clone());
        true
    }

    /// Learns epoch secrets and keeps them; tells the messages that can be read now.
    pub(crate) async fn learn(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        secrets: Vec<EpochSecret>,
    ) -> Result<()> {
        let secrets: Vec<_> =
            secrets.into_iter().map(|secret| (secret.id(self.id), secret)).collect();
        if secrets.is_empty() {
            return Ok(());
        }
        let (room, tasks) = (self.clone(), inner.tasks.clone());
        let inner = inner.clone();
        let learnt = tasks.spawn(async move {
            inner.store.write(Write::Secrets { room: room.id, secrets: secrets.clone() }).await?;
            room.know(&inner, secrets);
            room.keep_secrets(&inner).await
        });
        learnt.await.unwrap_or(Err(Error::Closed))
    }

    /// Keeps the secrets that came wrapped in others: the store opens messages with them too.
    pub(crate) async fn keep_secrets(&self, inner: &Inner) -> Result<()> {
        let secrets = self.lock().unkept_secrets();
        if secrets.is_empty() {
            return Ok(());
        }
        inner.store.write(Write::Secrets { room: self.id, secrets }).await
    }

    /// Takes secrets into use that are kept.
    fn know(&self, inner: &Inner, secrets: Vec<(EpochId, EpochSecret)>) {
        let mut state = self.lock();
        for (epoch, secret) in secrets {
            state.kept.insert(epoch);
            state.room.learn_secret(secret);
        }
        let (open, locked) = std::mem::take(&mut state.locked)
            .into_iter()
            .partition(|event| state.room.open(event).is_some());
        state.locked = locked;
        drop(state);
        self.changed.send_modify(|count| *count += 1);
        self.governed.send_modify(|count| *count += 1);
        inner.tell_messages(self, &Vec::from(open));
    }

    /// Whether this room is to be synchronised with the peer: both belong to it.
    pub(crate) fn is_shared_with(&self, inner: &Inner, peer: &PeerId) -> bool {
        let founders = {
            let state = self.lock();
            let members = state.room.members();
            if state.has_parted(inner) {
                return false;
            }
            if members.is_member_device(peer) {
                return true;
            }
            match members.genesis() {
                Some(genesis) if genesis.kind == Kind::Direct => genesis.founders.clone(),
                Some(_) => return false,
                // Just admitted and nothing here yet: whoever admitted us may fill us.
                None => return inner.is_joining(&self.id),
            }
        };
        // The other side of a direct room, before its first event is here. Not under the lock: who
        // belongs to an account is asked of other rooms, and two rooms are never locked at once.
        inner.account_of(peer).is_some_and(|account| founders.contains(&account))
    }

    /// Whether a stream of this peer is taken for this room: it is shared with it, or the peer is a member
    /// that may have come to say that we are in again.
    pub(crate) fn is_open_to(&self, inner: &Inner, peer: &PeerId) -> bool {
        if self.is_shared_with(inner, peer) {
            return true;
        }
        let state = self.lock();
        state.has_parted(inner) && state.room.members().is_member_device(peer)
    }

    /// Compares states with peers soon: something is known to be missing here.
    pub(crate) fn poke(&self) {
        self.poked.send_modify(|count| *count += 1);
    }

    /// A member refused to synchronise: after leaving, that means that it knows. (A newcomer is
    /// refused too, by those who have not heard of its admission yet.)
    pub(crate) fn refused(&self, inner: &Inner) {
        let joining = inner.is_joining(&self.id);
        let mut state = self.lock();
        let here = state.room.members().genesis().is_some();
        state.parted = here && !joining && !state.room.am_member();
    }

    /// Whether this account left the room by itself, and was not removed.
    pub(crate) fn has_left(&self, inner: &Inner) -> bool {
        let state = self.lock();
        let own = state.room.members().account(&inner.keys.account.id());
        own.is_some_and(|own| !own.is_member() && !own.was_removed())
    }

    /// Whether the room has nothing to do with peers any more.
    pub(crate) fn is_parted(&self, inner: &Inner) -> bool {
        self.lock().has_parted(inner)
    }

    /// Returns what a removed member may see, so that it learns of its removal; none for others, and
    /// for one that was told a moment ago.
    pub(crate) fn farewell(&self, peer: &PeerId) -> Option<Frontier> {
        let now = Instant::now();
        let mut state = self.lock();
        state.farewells.retain(|_, until| *until > now);
        let members = state.room.members();
        let shown = members.farewell(&members.account_of(peer)?)?;
        let first = state.farewells.insert(*peer, now + FAREWELL).is_none();
        first.then_some(shown)
    }

    /// Whether the device is a member's now.
    pub(crate) fn is_member(&self, peer: &PeerId) -> bool {
        self.lock().room.members().is_member_device(peer)
    }

    /// Returns the devices of the members, without our own.
    pub(crate) fn other_devices(&self, me: PeerId) -> Vec<PeerId> {
        let state = self.lock();
        state.room.members().member_devices().filter(|device| *device != me).collect()
    }

    /// Begins a session; ends another one with the same peer.
    pub(crate) fn begin_session(&self, peer: PeerId, link: usize) -> ActiveSession {
        let mut state = self.lock();
        let id = SessionId(state.next_session);
        state.next_session += 1;
        let active = ActiveSession { id, link, cancel: CancellationToken::new() };
        if let Some(old) = state.sessions.insert(peer, active.clone()) {
            state.claims.end(old.id);
            old.cancel.cancel();
        }
        active
    }

    /// Notes that a peer left our requests unanswered: for so long others are asked first, if any are
    /// here.
    pub(crate) fn shun(&self, peer: PeerId, time: Duration) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.sessions.keys().all(|other| *other == peer) {
            return;
        }
        state.stalled.retain(|_, until| *until > now);
        state.stalled.insert(peer, now + time);
    }

    /// How long others are still to be asked before this peer.
    pub(crate) fn shuns(&self, peer: &PeerId) -> Option<Duration> {
        let until = self.lock().stalled.get(peer).copied()?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Ends a session.
    pub(crate) fn end_session(&self, peer: PeerId, id: SessionId) {
        let mut state = self.lock();
        state.claims.end(id);
        if state.sessions.get(&peer).is_some_and(|active| active.id == id) {
            state.sessions.remove(&peer);
        }
        drop(state);
        // What it waited for can be asked of others.
        self.changed.send_modify(|count| *count += 1);
    }

    /// Returns the room as a list shows it.
    pub(crate) fn info(&self, inner: &Inner) -> RoomInfo {
        let state = self.lock();
        let members = state.room.members();
        let kind = match members.genesis().map(|genesis| genesis.kind) {
            Some(Kind::Direct) => RoomKind::Direct,
            Some(Kind::Own) => RoomKind::Own,
            Some(Kind::Group) | None => RoomKind::Group,
        };
        let name = match kind {
            RoomKind::Direct => {
                let founders = members.genesis().map(|genesis| genesis.founders.clone());
                let other = founders
                    .unwrap_or_default()
                    .into_iter()
                    .find(|founder| *founder != inner.keys.account.id());
                other.map_or_else(String::new, |other| {
                    let own = members.account(&other).and_then(|info| info.name());
                    own.map_or_else(|| inner.account_name(&other), str::to_owned)
                })
            }
            RoomKind::Own => OWN_NAME.to_owned(),
            RoomKind::Group => members.room_name().map_or_else(|| self.id.short(), str::to_owned),
        };
        let own = members.account(&inner.keys.account.id());
        RoomInfo {
            room: self.id,
            kind,
            name,
            members: members.current().count(),
            unread: state.unread,
            joined: state.room.am_member(),
            frozen: members.is_frozen(&inner.me()),
            removed: own.is_some_and(MemberInfo::was_removed),
            role: own.and_then(MemberInfo::role),
            topic: members.settings().topic().unwrap_or_default().to_owned(),
        }
    }

    /// Returns the name that a member gave itself, or the start of its id.
    pub(crate) fn member_name(&self, account: &AccountId) -> String {
        let state = self.lock();
        let name = state.room.members().account(account).and_then(|info| info.name());
        name.filter(|name| !name.is_empty()).map_or_else(|| account.short(), str::to_owned)
    }

    /// Whether an account's last term was ended by someone else.
    pub(crate) fn was_removed(&self, account: &AccountId) -> bool {
        self.lock().room.members().account(account).is_some_and(MemberInfo::was_removed)
    }

    /// Whether members are to be asked for secrets from now on: some are missing, and nobody asks yet.
    pub(crate) fn begin_asking_secrets(&self) -> bool {
        let mut state = self.lock();
        let begins = !state.asks_secrets && !state.room.missing_secrets().is_empty();
        state.asks_secrets |= begins;
        begins
    }

    /// Whether no secret is missing (any more); nobody asks then.
    pub(crate) fn ended_asking_secrets(&self) -> bool {
        let mut state = self.lock();
        state.asks_secrets = !state.room.missing_secrets().is_empty();
        !state.asks_secrets
    }

    /// Returns the epochs whose secrets are missing.
    pub(crate) fn missing_secrets(&self) -> Vec<EpochId> {
        self.lock().room.missing_secrets()
    }
}

impl State {
    /// Shows a session what is here, with the claims that it may change.
    pub(crate) fn show<T>(&mut self, look: impl FnOnce(View<'_>, &mut Claims) -> T) -> T {
        let state = self.digest.of(&self.room);
        look(View { held: &self.durable, state: &state }, &mut self.claims)
    }

    /// Whether something of a range was accepted and is being written.
    fn is_settling(&self, log: LogId, range: &Range<u64>) -> bool {
        if self.failed.is_some() {
            return false;
        }
        let held = self.room.logs().log(&log).map(LogState::positions).unwrap_or_default();
        let written = self.durable.runs(&log).cloned().unwrap_or_default();
        let settling = held.minus(&written);
        // What was said here beyond the end of a log stays, and is not announced.
        let end = range.end.min(self.room.counted(&log));
        settling.ranges().iter().any(|run| run.start < end && run.end > range.start)
    }

    /// Whether we were removed, or left and were let go, and are not on our way back.
    fn has_parted(&self, inner: &Inner) -> bool {
        if self.room.am_member() {
            return false;
        }
        let own = self.room.members().account(&inner.keys.account.id());
        let removed = own.is_some_and(MemberInfo::was_removed);
        (self.parted || removed) && !inner.is_joining(&self.room.id())
    }

    /// Returns the secrets that are not in the store yet, to be put there: those that were minted, and
    /// those that came wrapped in others.
    pub(crate) fn unkept_secrets(&mut self) -> Vec<(EpochId, EpochSecret)> {
        let secrets = self.room.secrets().filter(|(epoch, _)| !self.kept.contains(epoch));
        let secrets: Vec<_> = secrets.map(|(epoch, secret)| (*epoch, secret.clone())).collect();
        self.kept.extend(secrets.iter().map(|(epoch, _)| *epoch));
        secrets
    }

    /// Describes a log for the store.
    fn summary(&self, log: LogId) -> LogSummary {
        let state = self.room.logs().log(&log);
        let runs: Vec<Run> = state.map(|state| state.runs().copied().collect()).unwrap_or_default();
        (log, runs, self.newest.get(&log).copied().unwrap_or_default())
    }

    /// Describes a change for the store: the events, and the new summary of each log they touch.
    fn append(
        &mut self,
        room: RoomId,
        events: &Arc<Vec<CoreEvent>>,
        effects: &[Effect],
        me: PeerId,
    ) -> Append {
        let mut touched: BTreeSet<LogId> = BTreeSet::new();
        for event in events.iter() {
            touched.insert(event.log());
            let newest = self.newest.entry(event.log()).or_default();
            *newest = (*newest).max(event.header().time);
        }
        let mut voided = Vec::new();
        for effect in effects {
            if let Effect::Voided(log, from) = effect {
                // What this device said stays, so that no position is ever used again.
                if log.device != me {
                    touched.insert(*log);
                    voided.push((*log, *from));
                }
            }
        }
        let runs = touched.into_iter().map(|log| self.summary(log)).collect();
        Append {
            room,
            events: events.clone(),
            runs,
            voided,
            unread: unread(&self.room, events, me),
            secrets: self.unkept_secrets(),
        }
    }
}

fn unread(room: &Room, events: &[CoreEvent], me: PeerId) -> u64 {
    let others = events.iter().map(CoreEvent::header);
    let others = others.filter(|header| header.lane == Lane::Chat && header.device != me);
    others.filter(|header| !room.hides(header)).count() as u64
}

fn kept(id: RoomId, loaded: &LoadedRoom) -> BTreeSet<EpochId> {
    loaded.secrets.iter().map(|secret| secret.id(id)).collect()
}

fn rebuild(
    id: RoomId,
    me: PeerId,
    loaded: &LoadedRoom,
    now: Millis,
) -> (Room, BTreeMap<LogId, Hlc>) {
    let mut room = Room::new(id, me);
    for secret in &loaded.secrets {
        room.learn_secret(secret.clone());
    }
    let mut newest = BTreeMap::new();
    for event in &loaded.control {
        let entry: &mut Hlc = newest.entry(event.log()).or_default();
        *entry = (*entry).max(event.header().time);
    }
    room.restore_control(loaded.control.iter().cloned());
    for (log, runs, time) in &loaded.runs {
        newest.insert(*log, *time);
        for run in runs {
            room.restore_run(*log, *run, *time, now);
        }
    }
    (room, newest)
}

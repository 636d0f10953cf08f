//! What all parts of a running node share, and what happens after something became durable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ayni_core::clock::{Hlc, Millis};
use ayni_core::event::Event as CoreEvent;
use ayni_core::id::{AccountId, PeerId, RoomId};
use ayni_core::limits::{MAX_AHEAD_MS, MAX_PEER_ADDRS};
use ayni_core::log::Lane;
use ayni_core::proto::Profile;
use ayni_core::room::{Effect, Kind, MemberInfo};
use ayni_core::ticket::PeerAddr;
use iroh_gossip::net::Gossip;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::builder::Network;
use crate::content::{self, Content};
use crate::data::{Config, DataFolder, Keys};
use crate::discovery::book::{Book, Source};
use crate::discovery::mesh::Mesh;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::model::MessageKind;
use crate::rooms::live::Live;
use crate::rooms::{RoomHandle, contact, forks, join, keys, live, messages, sync};
use crate::services::Registry;
use crate::start;
use crate::store::Store;
use crate::transport::Link;
use crate::transport::endpoint::from_iroh;
use crate::transport::links::Links;

/// The shared heart of a node.
pub(crate) struct Inner {
    pub(crate) folder: DataFolder,
    pub(crate) keys: Keys,
    config: Mutex<Config>,
    /// Held from reading the settings until what was changed in them is kept.
    changing_config: tokio::sync::Mutex<()>,
    pub(crate) network: Network,
    pub(crate) store: Store,
    pub(crate) cancel: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) registry: Registry,
    pub(crate) book: Book,
    pub(crate) mesh: Mesh,
    pub(crate) openings: contact::Openings,
    pub(crate) sealing: keys::Sealing,
    pub(crate) content: Content,
    /// A peer may have come to belong to a room or an account, or not any more: what it may call
    /// depends on that.
    pub(crate) callers_changed: Notify,
    pub(crate) started: Instant,
    /// Random for each start; tells a restarted node from a reconnected one.
    pub(crate) instance: u64,
    rooms: RwLock<BTreeMap<RoomId, Arc<RoomHandle>>>,
    live: Mutex<BTreeMap<RoomId, mpsc::Sender<Live>>>,
    joins: Mutex<BTreeMap<RoomId, watch::Receiver<join::Progress>>>,
    online: OnceLock<Online>,
}

/// What only a node with a network has.
struct Online {
    links: Links,
    gossip: Gossip,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inner({})", self.me().short())
    }
}

/// What a node starts from.
pub(crate) struct Parts {
    pub(crate) folder: DataFolder,
    pub(crate) keys: Keys,
    pub(crate) config: Config,
    pub(crate) network: Network,
    pub(crate) store: Store,
}

impl Inner {
    pub(crate) fn new(parts: Parts) -> Result<Arc<Self>> {
        let mut instance = [0; 8];
        fill(&mut instance)?;
        Ok(Arc::new(Self {
            folder: parts.folder,
            keys: parts.keys,
            config: Mutex::new(parts.config),
            changing_config: tokio::sync::Mutex::default(),
            network: parts.network,
            store: parts.store,
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            events: broadcast::Sender::new(crate::event::EVENT_QUEUE),
            registry: Registry::default(),
            book: Book::default(),
            mesh: Mesh::default(),
            openings: contact::Openings::default(),
            sealing: keys::Sealing::default(),
            content: Content::default(),
            callers_changed: Notify::new(),
            started: Instant::now(),
            instance: u64::from_be_bytes(instance),
            rooms: RwLock::default(),
            live: Mutex::default(),
            joins: Mutex::default(),
            online: OnceLock::new(),
        }))
    }

    // Time, chance and identity

    /// Returns Unix time in milliseconds.
    #[allow(clippy::unused_self)] // a clock is asked for through the node, so that tests can set it
    pub(crate) fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the latest time of events that are shown now: later ones wait until they are due.
    pub(crate) fn newest_shown(&self) -> Hlc {
        let limit = self.now().saturating_add(MAX_AHEAD_MS).saturating_add(1);
        Hlc(Hlc::from_millis(limit).0.saturating_sub(1))
    }

    /// Returns 32 fresh random bytes.
    #[allow(clippy::unused_self)] // as above
    pub(crate) fn entropy(&self) -> Result<[u8; 32]> {
        let mut bytes = [0; 32];
        fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Returns a number from 0 to 1, to spread what would otherwise happen at once.
    #[allow(clippy::unused_self)] // as above
    pub(crate) fn jitter(&self) -> f64 {
        let mut bytes = [0; 4];
        let _ = getrandom::fill(&mut bytes);
        f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
    }

    pub(crate) fn me(&self) -> PeerId {
        self.keys.cert.claim.device
    }

    pub(crate) fn name(&self) -> String {
        self.config().name.clone()
    }

    /// Returns the settings, to be looked at only: see [`Self::change_config`].
    pub(crate) fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the settings, one change after the other; what is shown is what will be there after a
    /// restart. A change that was begun is finished, whoever gives up waiting for it.
    ///
    /// # Errors
    /// A failing disk; the settings are as before then.
    pub(crate) async fn change_config(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Config) + Send + 'static,
    ) -> Result<()> {
        let inner = self.clone();
        let changing = self.tasks.spawn(async move {
            let _changing = inner.changing_config.lock().await;
            let mut changed = inner.config().clone();
            change(&mut changed);
            let (kept, of_write) = (changed.clone(), inner.clone());
            start::blocking(move || of_write.folder.save_config(&kept)).await?;
            *inner.config() = changed;
            Ok(())
        });
        changing.await.unwrap_or(Err(Error::Closed))
    }

    pub(crate) fn profile(&self) -> Profile {
        Profile { cert: self.keys.cert.clone(), name: self.name() }
    }

    // The network

    pub(crate) fn go_online(&self, links: Links, gossip: Gossip) {
        let _ = self.online.set(Online { links, gossip });
    }

    pub(crate) fn links(&self) -> Option<&Links> {
        self.online.get().map(|online| &online.links)
    }

    /// Returns gossip, on a node that has a network.
    pub(crate) fn gossip(&self) -> Option<&Gossip> {
        self.online.get().map(|online| &online.gossip)
    }

    pub(crate) async fn connect(&self, peer: PeerId) -> Result<Link> {
        let links = self.links().ok_or_else(|| {
            Error::Unreachable("this needs the network, and this node runs without one".into())
        })?;
        links.connect(peer).await
    }

    // Rooms

    pub(crate) fn room(&self, room: &RoomId) -> Option<Arc<RoomHandle>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).get(room).cloned()
    }

    pub(crate) fn rooms(&self) -> Vec<Arc<RoomHandle>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Adds a room and starts what keeps it alive. Of two at once the first stays.
    pub(crate) fn add_room(self: &Arc<Self>, room: &Arc<RoomHandle>) -> Arc<RoomHandle> {
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        let kept = rooms.entry(room.id()).or_insert_with(|| room.clone()).clone();
        drop(rooms);
        if Arc::ptr_eq(&kept, room) {
            self.start_live(room);
            self.tell(Event::RoomChanged(room.id()));
            self.mesh.poke();
            self.callers_changed.notify_one();
        }
        kept
    }

    /// Starts live delivery of a room, once there is a network.
    pub(crate) fn start_live(self: &Arc<Self>, room: &Arc<RoomHandle>) {
        if self.gossip().is_none() {
            return;
        }
        let mut all = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(room.id()).or_insert_with(|| live::start(self, room));
    }

    fn tell_live(&self, room: &RoomId, message: Live) {
        let all = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = all.get(room) {
            // Full: synchronisation brings what gossip does not.
            let _ = sender.try_send(message);
        }
    }

    /// Returns the join of this room that is under way.
    pub(crate) fn joining(&self, room: &RoomId) -> Option<watch::Receiver<join::Progress>> {
        self.joins.lock().unwrap_or_else(PoisonError::into_inner).get(room).cloned()
    }

    pub(crate) fn is_joining(&self, room: &RoomId) -> bool {
        self.joining(room).is_some()
    }

    pub(crate) fn joins(&self) -> usize {
        self.joins.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Notes a join; false where one is under way.
    pub(crate) fn start_joining(
        &self,
        room: RoomId,
        progress: watch::Receiver<join::Progress>,
    ) -> bool {
        let mut joins = self.joins.lock().unwrap_or_else(PoisonError::into_inner);
        let free = !joins.contains_key(&room);
        if free {
            joins.insert(room, progress);
        }
        free
    }

    pub(crate) fn stop_joining(&self, room: &RoomId) {
        self.joins.lock().unwrap_or_else(PoisonError::into_inner).remove(room);
    }

    // Peers

    /// Returns the account of a peer, as a room or its own certificate tells it.
    pub(crate) fn account_of(&self, peer: &PeerId) -> Option<AccountId> {
        let known = self.book.account_of(peer);
        known.or_else(|| {
            self.rooms().iter().find_map(|room| room.lock().room.members().account_of(peer))
        })
    }

    /// Returns the name of an account, as the address book has it, or the start of its id.
    pub(crate) fn account_name(&self, account: &AccountId) -> String {
        self.book.account_name(account).unwrap_or_else(|| account.short())
    }

    /// Returns the devices of an account that are known here.
    pub(crate) fn devices_of(&self, account: &AccountId) -> Vec<PeerId> {
        let mut devices = self.book.devices_of(account);
        for room in self.rooms() {
            if let Some(info) = room.lock().room.members().account(account) {
                devices.extend(info.devices.keys().copied());
            }
        }
        devices.sort_unstable();
        devices.dedup();
        devices
    }

    pub(crate) fn shares_group_with(&self, account: &AccountId) -> bool {
        self.rooms().iter().any(|room| {
            let state = room.lock();
            let members = state.room.members();
            members.genesis().is_some_and(|genesis| genesis.kind == Kind::Group)
                && members.account(account).is_some_and(MemberInfo::is_member)
        })
    }

    /// Counts direct rooms with accounts that share no group with us.
    pub(crate) fn stranger_rooms(&self) -> usize {
        let mine = self.keys.account.id();
        let others = self.rooms().into_iter().filter_map(|room| {
            let state = room.lock();
            let genesis = state.room.members().genesis()?;
            let direct = genesis.kind == Kind::Direct;
            direct.then(|| genesis.founders.iter().copied().find(|one| *one != mine)).flatten()
        });
        others.collect::<Vec<_>>().iter().filter(|other| !self.shares_group_with(other)).count()
    }

    /// Returns the members of a room that are connected now.
    pub(crate) fn connected_members(&self, room: &RoomHandle) -> Vec<PeerId> {
        self.member_links(room).iter().map(Link::peer).collect()
    }

    /// Returns where this node can be reached.
    pub(crate) fn own_address(&self) -> PeerAddr {
        self.links().map_or_else(
            || PeerAddr { peer: self.me(), direct: vec![], relays: vec![] },
            |links| from_iroh(&links.bound().endpoint.addr()),
        )
    }

    /// Returns where members of a room can be reached, connected ones first, for `reader`.
    pub(crate) fn addresses_for(&self, room: &RoomHandle, reader: &PeerId) -> Vec<PeerAddr> {
        let mut devices = room.other_devices(self.me());
        devices.retain(|device| device != reader);
        let link = |device: &PeerId| self.links().and_then(|links| links.link(device));
        devices.sort_by_key(|device| link(device).is_none());
        let known = devices.iter().filter_map(|device| self.book.known(device));
        let placed = known.map(|known| known.addr).filter(|addr| !addr.direct.is_empty());
        placed.take(MAX_PEER_ADDRS).collect()
    }

    /// Notes where a peer can be reached, and keeps it.
    pub(crate) fn learn_address(self: &Arc<Self>, addr: &PeerAddr, source: Source) {
        if addr.peer == self.me() || !addr.is_within_limits() {
            return;
        }
        let news = self.book.learn_address(addr, source);
        if let Some(links) = self.links() {
            // What is dialled is what the book has: bounded, whatever others tell.
            match self.book.known(&addr.peer) {
                Some(known) => links.bound().learn(&known.addr),
                None if source == Source::Stranger => {}
                None => links.bound().learn(addr),
            }
        }
        if news {
            self.keep_peer(addr.peer);
            self.mesh.poke();
        }
    }

    /// Returns what a peer is to us that has a link of its own with us.
    pub(crate) fn source(&self, peer: &PeerId) -> Source {
        let shared = self.rooms().iter().any(|room| room.is_shared_with(self, peer));
        if shared { Source::Seen } else { Source::Stranger }
    }

    /// Notes who a peer is, by its own certificate over its own connection.
    pub(crate) fn learn_profile(self: &Arc<Self>, peer: PeerId, profile: &Profile) {
        let (account, source) = (profile.cert.claim.account, self.source(&peer));
        if self.book.learn_profile(peer, account, &profile.name, source) {
            self.keep_peer(peer);
            self.callers_changed.notify_one();
        }
    }

    /// Writes what the address book knows of a peer to the store, in the background.
    pub(crate) fn keep_peer(self: &Arc<Self>, peer: PeerId) {
        let Some(write) = self.book.to_write(&peer, self.now()) else { return };
        let inner = self.clone();
        self.tasks.spawn(async move {
            if let Err(error) = inner.store.write(write).await {
                tracing::warn!("the address book could not be written: {error}");
            }
        });
    }

    /// A gossip neighbor appeared: have a connection of our own with it, for synchronisation.
    pub(crate) fn meet(self: &Arc<Self>, peer: PeerId) {
        let inner = self.clone();
        self.tasks.spawn(self.cancel.clone().run_until_cancelled_owned(async move {
            if let Err(error) = inner.connect(peer).await {
                tracing::debug!("a gossip neighbor is not reachable: {error}");
            }
        }));
    }

    /// Keeps every room that we share with this peer synchronised over this link.
    pub(crate) fn sync_with(self: &Arc<Self>, link: &Link) {
        for room in self.rooms() {
            sync::maintain(self, &room, link);
        }
    }

    /// Has the connected members asked for epoch secrets that are missing here.
    pub(crate) fn want_secrets(self: &Arc<Self>, room: &Arc<RoomHandle>) {
        if room.begin_asking_secrets() {
            let task = keys::ask_until_known(self.clone(), room.clone());
            self.tasks.spawn(self.cancel.clone().run_until_cancelled_owned(task));
        } else {
            room.wants_secrets.notify_one();
        }
    }

    /// Returns the links with members of a room.
    pub(crate) fn member_links(&self, room: &RoomHandle) -> Vec<Link> {
        let mut links = self.links().map(Links::all).unwrap_or_default();
        links.retain(|link| room.is_shared_with(self, &link.peer()));
        links
    }

    // What happened

    pub(crate) fn tell(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    /// Tells everyone whom newly durable events concern: gossip, subscribers, other tasks.
    pub(crate) fn after(
        self: &Arc<Self>,
        room: &Arc<RoomHandle>,
        events: &[CoreEvent],
        effects: &[Effect],
    ) {
        let me = self.me();
        for event in events.iter().filter(|event| event.header().device == me) {
            self.tell_live(&room.id(), Live::Publish(Box::new(event.clone())));
        }
        self.tell_messages(room, events);
        if events.iter().any(|event| event.header().lane == Lane::Chat) {
            self.content.arrivals.note(room.id());
        }
        for effect in effects {
            self.after_effect(room, effect);
        }
        if !effects.is_empty() {
            self.tell(Event::RoomChanged(room.id()));
        }
    }

    /// Tells subscribers the messages among events, but for those that are not due yet.
    pub(crate) fn tell_messages(&self, room: &RoomHandle, events: &[CoreEvent]) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let now = self.now();
        let shown = |event: &&CoreEvent| {
            event.header().lane == Lane::Chat && !room.lock().room.hides(event.header())
        };
        let chat = events.iter().filter(shown);
        for event in chat.filter(|event| !event.header().time.is_ahead(now)) {
            let mut message = messages::message(self, room, event);
            if message.kind == MessageKind::Locked && !room.keep_locked(event) {
                message = messages::message(self, room, event);
            }
            self.tell(Event::Message(message));
        }
    }

    fn after_effect(self: &Arc<Self>, room: &Arc<RoomHandle>, effect: &Effect) {
        match effect {
            Effect::Joined(account) => {
                let name = room.member_name(account);
                self.tell(Event::Joined { room: room.id(), account: *account, name });
                if *account == self.keys.account.id() {
                    self.tasks.spawn(join::introduce(self.clone(), room.clone()));
                }
                self.mesh.poke();
                self.callers_changed.notify_one();
                // Someone who is connected already may be a member now.
                for link in self.links().map(Links::all).unwrap_or_default() {
                    sync::maintain(self, room, &link);
                }
            }
            Effect::Left(account) => {
                let name = room.member_name(account);
                let removed = room.was_removed(account);
                self.tell(Event::Left { room: room.id(), account: *account, name, removed });
                if *account == self.keys.account.id() && !removed {
                    self.tasks.spawn(content::access::leave(self.clone(), room.id()));
                }
                self.callers_changed.notify_one();
            }
            Effect::Epoch(_) => self.want_secrets(room),
            Effect::Voided(log, len) => {
                let task = forks::examine(self.clone(), room.clone(), *log, *len);
                self.tasks.spawn(self.cancel.clone().run_until_cancelled_owned(task));
            }
            Effect::Forked(log) => {
                self.tell_fork(room, log.device);
                let task = forks::declare(self.clone(), room.clone(), *log);
                self.tasks.spawn(self.cancel.clone().run_until_cancelled_owned(task));
            }
            _ => {}
        }
    }

    fn tell_fork(&self, room: &RoomHandle, device: PeerId) {
        tracing::warn!(
            device = %device.short(), room = %room.id().short(),
            "a device signed two different events at one place and is shut out"
        );
        let account = room.lock().room.members().account_of(&device);
        let Some(account) = account else { return };
        let name = room.member_name(&account);
        self.tell(Event::Forked { room: room.id(), device, account, name });
        self.callers_changed.notify_one();
    }

    /// A link came up: introduce ourselves, and do what it makes possible.
    pub(crate) async fn greet(self: Arc<Self>, link: Link) {
        let peer = link.peer();
        if let Some(addr) = link.direct_addr() {
            let direct = vec![ayni_core::ticket::Addr(addr)];
            self.learn_address(&PeerAddr { peer, direct, relays: vec![] }, self.source(&peer));
        }
        // What changed between the handshake and now was told to the links of before.
        let _ = link.send_hello(|| self.hello(&peer)).await;
        match crate::services::builtin::call_profile(&link).await {
            Ok(profile) => self.learn_profile(peer, &profile),
            Err(error) => tracing::debug!(peer = %peer.short(), "no profile: {error}"),
        }
        for room in self.rooms() {
            if room.is_shared_with(&self, &peer) {
                self.content.arrivals.note_member(room.id());
                self.tell_live(&room.id(), Live::Connected(peer));
                contact::offer(self.clone(), room.clone(), link.clone()).await;
            }
        }
        self.sync_with(&link);
    }
}

pub(crate) fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(|error| Error::Store(format!("the system gives no random numbers: {error}")))
}

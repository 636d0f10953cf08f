//! All links of a node: dialling, accepting, and which of two connections stays.
//!
//! Invariants: at most one link a peer is current; a new instance of a peer replaces the old link at
//! once; of two connections between the same instances the lower peer's dial stays and the other
//! drains. Nobody waits for a slow peer but the task that talks to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ayni_core::id::PeerId;
use ayni_core::proto::{ALPN, Hello, Open, PROTOCOL};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use iroh::endpoint::{Connection, Incoming, WeakConnectionHandle};
use iroh_gossip::net::Gossip;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::crowd::Crowd;
use super::endpoint::{Bound, endpoint_id};
use super::link::Link;
use super::stream::{FRAME_TIMEOUT, FrameReceiver, FrameSender, Stream, StreamError};
use crate::error::{Error, Result};

/// Most links at a time, strangers' calls apart: DESIGN.md keeps 64; the rest is room for members
/// who call us.
const MAX_LINKS: usize = 256;
/// Links at a time with peers that called us and share no room with us; one too many displaces the
/// oldest. Someone who comes to join needs such a place for a moment.
const MAX_STRANGERS: usize = 64;
/// Handshakes of incoming connections under way at a time, TLS and hellos each; one too many
/// displaces the oldest, which an honest one is not: it takes a few round trips.
const MAX_HANDSHAKES: usize = 64;
/// Replaced connections that drain at a time; one too many displaces the oldest.
const MAX_DRAINING: usize = 64;
/// Gossip connections that we accepted from members, and from one of them: gossip may dial again
/// while the old connection ends.
const MAX_GOSSIP: (usize, usize) = (256, 2);
/// Gossip connections of peers that share no room with us as far as we know: a member whose
/// admission is still on its way may dial us already.
const MAX_GOSSIP_STRANGERS: (usize, usize) = (16, 1);
/// Connections of members who fetch content from us, and of one of them: it may dial again while an old
/// one ends, and more than one program of it may fetch by tickets.
const MAX_FETCHING: (usize, usize) = (256, 4);
/// The same of peers that share no room with us: those who have a ticket of ours.
const MAX_FETCHING_STRANGERS: (usize, usize) = (64, 4);
/// Streams of one link that are being served at a time; a peer's further ones wait in its window.
const MAX_SERVED_STREAMS: usize = 128;
/// How long a dial may take. iroh gives up by itself after about ten seconds.
const DIAL_TIMEOUT: Duration = Duration::from_secs(12);
/// Within this time two connections of the same instances count as dialled at once.
const RACE: Duration = Duration::from_secs(10);
/// How long a replaced connection may finish its streams.
const DRAIN: Duration = Duration::from_secs(10);
/// After this time without use a link with a peer that shares no room with us is closed.
const IDLE: Duration = Duration::from_mins(1);
/// How often idle links are looked for.
const REAP: Duration = Duration::from_secs(15);
/// Least time between two hello updates of one peer that we pass on.
const HELLO_PACE: Duration = Duration::from_millis(100);

/// What the node does with links. All calls return quickly; long work goes to tasks.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Returns our hello for this peer.
    fn hello(&self, peer: &PeerId) -> Hello;
    /// A link became current.
    fn up(&self, link: Link);
    /// The peer's current link ended, and no other took its place.
    fn down(&self, link: Link);
    /// Whether a link with this peer is worth keeping while nothing runs over it.
    fn keeps(&self, peer: &PeerId) -> bool;
    /// A peer connected to fetch content; runs as long as the connection.
    fn content(&self, connection: Connection) -> BoxFuture<'static, ()>;
    /// The peer opened a stream; runs in a task of its own.
    fn open(&self, link: Link, open: Open, stream: Stream) -> BoxFuture<'static, ()>;
}

/// All links. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Links(Arc<Inner>);

struct Inner {
    bound: Bound,
    me: PeerId,
    gossip: Gossip,
    handler: Arc<dyn Handler>,
    current: Mutex<BTreeMap<PeerId, Entry>>,
    dials: Mutex<BTreeMap<PeerId, Dial>>,
    arriving: Crowd<CancellationToken>,
    greeting: Crowd<CancellationToken>,
    strangers: Crowd<WeakConnectionHandle>,
    draining: Crowd<WeakConnectionHandle>,
    gossiping: Crowd<WeakConnectionHandle>,
    gossiping_strangers: Crowd<WeakConnectionHandle>,
    fetching: Crowd<WeakConnectionHandle>,
    fetching_strangers: Crowd<WeakConnectionHandle>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

type Dial = Shared<BoxFuture<'static, std::result::Result<Link, String>>>;

struct Entry {
    link: Link,
    instance: u64,
    since: Instant,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Links({})", self.0.me.short())
    }
}

/// What to do with a connection that just completed.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Take,
    Drain,
}

impl Links {
    pub(crate) fn new(
        bound: Bound,
        gossip: Gossip,
        handler: Arc<dyn Handler>,
        cancel: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let me = PeerId(*bound.endpoint.id().as_bytes());
        Self(Arc::new(Inner {
            bound,
            me,
            gossip,
            handler,
            current: Mutex::default(),
            dials: Mutex::default(),
            arriving: Crowd::new(MAX_HANDSHAKES, MAX_HANDSHAKES),
            greeting: Crowd::new(MAX_HANDSHAKES, 1),
            strangers: Crowd::new(MAX_STRANGERS, 1),
            draining: Crowd::new(MAX_DRAINING, 1),
            gossiping: Crowd::new(MAX_GOSSIP.0, MAX_GOSSIP.1),
            gossiping_strangers: Crowd::new(MAX_GOSSIP_STRANGERS.0, MAX_GOSSIP_STRANGERS.1),
            fetching: Crowd::new(MAX_FETCHING.0, MAX_FETCHING.1),
            fetching_strangers: Crowd::new(MAX_FETCHING_STRANGERS.0, MAX_FETCHING_STRANGERS.1),
            cancel,
            tasks,
        }))
    }

    pub(crate) fn bound(&self) -> &Bound {
        &self.0.bound
    }

    /// Returns the peer's current link.
    pub(crate) fn link(&self, peer: &PeerId) -> Option<Link> {
        let current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.get(peer).map(|entry| entry.link.clone()).filter(|link| !link.is_closed())
    }

    /// Returns all current links.
    pub(crate) fn all(&self) -> Vec<Link> {
        let current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.values().map(|entry| entry.link.clone()).collect()
    }

    /// Returns the peer's link, dialling it when there is none. Callers at the same time share a
    /// dial; a caller that goes away does not end it.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub(crate) async fn connect(&self, peer: PeerId) -> Result<Link> {
        if let Some(link) = self.link(&peer) {
            return Ok(link);
        }
        let dial = {
            let mut dials = self.0.dials.lock().unwrap_or_else(PoisonError::into_inner);
            dials.entry(peer).or_insert_with(|| self.start_dial(peer)).clone()
        };
        dial.await.map_err(Error::Unreachable)
    }

    fn start_dial(&self, peer: PeerId) -> Dial {
        let links = self.clone();
        let task = self.0.tasks.spawn(async move {
            let result = tokio::select! {
                result = tokio::time::timeout(DIAL_TIMEOUT, links.dial(peer)) => {
                    result.unwrap_or_else(|_| Err("no answer".into()))
                }
                () = links.0.cancel.cancelled() => Err("this node is shutting down".into()),
            };
            links.0.dials.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
            result.map_err(|error| format!("{} cannot be reached: {error}", peer.short()))
        });
        async move { task.await.unwrap_or_else(|_| Err("dialling failed".into())) }.boxed().shared()
    }

    async fn dial(&self, peer: PeerId) -> std::result::Result<Link, String> {
        let id = endpoint_id(&peer).ok_or("this is not the id of a peer")?;
        if peer == self.0.me {
            return Err("this is the node itself".into());
        }
        let connection =
            self.0.bound.endpoint.connect(id, ALPN).await.map_err(|error| error.to_string())?;
        let link =
            self.establish(connection, self.0.me).await.map_err(|error| error.to_string())?;
        // The peer may have dialled at the same time, and its connection stays.
        Ok(self.link(&peer).unwrap_or(link))
    }

    /// Closes links that nobody needs, until the node stops.
    pub(crate) async fn reap(self) {
        let mut tick = tokio::time::interval(REAP);
        loop {
            tick.tick().await;
            for link in self.all() {
                if link.idle() > IDLE && !self.0.handler.keeps(&link.peer()) {
                    link.close("idle");
                }
            }
        }
    }

    /// Accepts connections until the node stops.
    pub(crate) async fn accept(self) {
        loop {
            let incoming = tokio::select! {
                incoming = self.0.bound.endpoint.accept() => incoming,
                () = self.0.cancel.cancelled() => None,
            };
            let Some(incoming) = incoming else { return };
            let links = self.clone();
            self.0.tasks.spawn(async move { links.incoming(incoming).await });
        }
    }

    async fn incoming(&self, incoming: Incoming) {
        let arrived = self.0.arriving.within(NOBODY, arrive(incoming)).await;
        let Some(connection) = arrived.flatten() else { return };
        let dialer = PeerId(*connection.remote_id().as_bytes());
        if connection.alpn() == iroh_gossip::ALPN {
            self.gossip_with(dialer, connection).await;
            return;
        }
        if connection.alpn() == iroh_blobs::ALPN {
            self.content_with(dialer, connection).await;
            return;
        }
        let greeting = tokio::time::timeout(FRAME_TIMEOUT, self.establish(connection, dialer));
        let greeted = self.0.greeting.within(dialer, greeting).await;
        match greeted {
            Some(Ok(Ok(_))) => {}
            Some(Ok(Err(error))) => {
                tracing::debug!(peer = %dialer.short(), "handshake failed: {error}");
            }
            Some(Err(_)) => tracing::debug!(peer = %dialer.short(), "handshake took too long"),
            None => tracing::debug!(peer = %dialer.short(), "handshake made room for others"),
        }
    }

    async fn gossip_with(&self, peer: PeerId, connection: Connection) {
        let member = self.0.handler.keeps(&peer);
        let crowd = if member { &self.0.gossiping } else { &self.0.gossiping_strangers };
        crowd.enter(peer, connection.weak_handle(), |_| true);
        // The gossip actor owns the connection from here.
        let _ = self.0.gossip.handle_connection(connection).await;
    }

    async fn content_with(&self, peer: PeerId, connection: Connection) {
        let member = self.0.handler.keeps(&peer);
        let crowd = if member { &self.0.fetching } else { &self.0.fetching_strangers };
        crowd.enter(peer, connection.weak_handle(), |_| true);
        self.0.handler.content(connection).await;
    }

    /// Exchanges hellos and makes the connection a link.
    async fn establish(
        &self,
        connection: Connection,
        dialer: PeerId,
    ) -> std::result::Result<Link, StreamError> {
        let peer = PeerId(*connection.remote_id().as_bytes());
        let hello = self.0.handler.hello(&peer);
        let opening = tokio::time::timeout(FRAME_TIMEOUT, connection.open_uni()).await;
        let mut ours = FrameSender(
            opening.map_err(|_| StreamError::TimedOut)?.map_err(|_| StreamError::Lost)?,
        );
        ours.send(&hello).await?;
        let accepting = tokio::time::timeout(FRAME_TIMEOUT, connection.accept_uni()).await;
        let mut updates = FrameReceiver(
            accepting.map_err(|_| StreamError::TimedOut)?.map_err(|_| StreamError::Lost)?,
        );
        let theirs: Hello = updates.expect().await?;
        theirs.check()?;
        if theirs.protocol != PROTOCOL {
            connection.close(1u32.into(), b"unknown protocol");
            return Err(StreamError::Ended);
        }
        let instance = theirs.instance;
        let (hellos, latest) = watch::channel(theirs);
        let link = Link::new(connection, dialer, latest, ours);
        link.note_said(hello);
        self.register(&link, instance);
        let links = self.clone();
        self.0.tasks.spawn(links.run(link.clone(), updates, hellos));
        Ok(link)
    }

    /// Makes the link current, or drains it, by the rule of the module.
    fn register(&self, link: &Link, instance: u64) {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = link.peer();
        let choice = match current.get(&peer) {
            None if current.len() >= MAX_LINKS + MAX_STRANGERS => {
                drop(current);
                link.close("too many connections");
                return;
            }
            None => Choice::Take,
            Some(old) if old.link.is_closed() => Choice::Take,
            Some(old) => choose(
                (old.link.dialer(), old.instance, old.since.elapsed()),
                (link.dialer(), instance),
                self.0.me.min(peer),
            ),
        };
        if choice == Choice::Drain {
            drop(current);
            self.drain(link.clone());
            return;
        }
        let entry = Entry { link: link.clone(), instance, since: Instant::now() };
        let old = current.insert(peer, entry);
        drop(current);
        self.place(link);
        if let Some(old) = old {
            if old.instance == instance {
                self.drain(old.link);
            } else {
                old.link.close("replaced by a newer instance");
            }
        }
        self.0.handler.up(link.clone());
    }

    /// Who called us and shares no room with us has one of a bounded number of places, and little
    /// under way.
    fn place(&self, link: &Link) {
        let (peer, handler) = (link.peer(), &self.0.handler);
        if link.dialer() == self.0.me || handler.keeps(&peer) {
            link.widen();
        } else {
            let connection = link.connection().weak_handle();
            self.0.strangers.enter(peer, connection, |peer| !handler.keeps(peer));
        }
    }

    fn drain(&self, link: Link) {
        self.0.draining.enter(link.peer(), link.connection().weak_handle(), |_| true);
        let cancel = self.0.cancel.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(DRAIN) => {}
                () = cancel.cancelled() => {}
            }
            link.close("duplicate connection");
        });
    }

    /// Serves the peer's streams until the connection ends.
    async fn run(self, link: Link, updates: FrameReceiver, hellos: watch::Sender<Hello>) {
        let served = Arc::new(Semaphore::new(MAX_SERVED_STREAMS));
        let watching = self.0.tasks.spawn(watch_hello(link.clone(), updates, hellos));
        loop {
            let Ok(permit) = served.clone().acquire_owned().await else { break };
            let streams = tokio::select! {
                streams = link.connection().accept_bi() => streams,
                () = self.0.cancel.cancelled() => break,
            };
            let Ok(streams) = streams else { break };
            let (links, link) = (self.clone(), link.clone());
            self.0.tasks.spawn(async move {
                links.stream(link, Stream::new(streams)).await;
                drop(permit);
            });
        }
        watching.abort();
        link.close("done");
        self.ended(&link);
    }

    async fn stream(&self, link: Link, mut stream: Stream) {
        let Ok(open) = stream.recv.expect_short::<Open>().await else { return };
        let _in_use = link.hold();
        let serving = self.0.handler.open(link.clone(), open, stream);
        // A panic in one service must not take the task that counts streams with it.
        let served = std::panic::AssertUnwindSafe(serving).catch_unwind();
        tokio::select! {
            result = served => if result.is_err() {
                tracing::error!(peer = %link.peer().short(), "a service panicked");
            },
            () = self.0.cancel.cancelled() => {}
        }
    }

    fn ended(&self, link: &Link) {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = link.peer();
        let was_current =
            current.get(&peer).is_some_and(|entry| entry.link.stable_id() == link.stable_id());
        if was_current {
            current.remove(&peer);
        }
        drop(current);
        if was_current {
            self.0.handler.down(link.clone());
        }
    }

    /// Closes every link and the endpoint.
    pub(crate) async fn close(&self) {
        for link in self.all() {
            link.close("shutting down");
        }
        self.0.bound.endpoint.close().await;
    }
}

/// Stands for peers whose key is not known yet.
const NOBODY: PeerId = PeerId([0; 32]);

/// Completes the TLS handshake of an incoming connection.
async fn arrive(incoming: Incoming) -> Option<Connection> {
    let accepting = incoming.accept().ok()?;
    tokio::time::timeout(FRAME_TIMEOUT, accepting).await.ok()?.ok()
}

/// Chooses between a live link and a new connection with the same peer. `lower` is the lower of the
/// two peers' ids.
fn choose(old: (PeerId, u64, Duration), new: (PeerId, u64), lower: PeerId) -> Choice {
    let (old_dialer, old_instance, age) = old;
    let (new_dialer, new_instance) = new;
    let raced = old_instance == new_instance && old_dialer != new_dialer && age < RACE;
    if raced && old_dialer == lower { Choice::Drain } else { Choice::Take }
}

/// Takes in updates of the peer's lists, at a bounded pace.
async fn watch_hello(link: Link, mut updates: FrameReceiver, hellos: watch::Sender<Hello>) {
    while let Ok(Some(hello)) = updates.next::<Hello>().await {
        if hello.check().is_err() || hello.instance != hellos.borrow().instance {
            link.close("malformed hello");
            return;
        }
        hellos.send_replace(hello);
        tokio::time::sleep(HELLO_PACE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: PeerId = PeerId([1; 32]);
    const HIGH: PeerId = PeerId([2; 32]);

    #[test]
    fn both_sides_keep_the_same_of_two_connections() {
        let young = Duration::from_secs(1);
        // Whichever completes first, the lower peer's dial stays.
        assert_eq!(choose((LOW, 7, young), (HIGH, 7), LOW), Choice::Drain);
        assert_eq!(choose((HIGH, 7, young), (LOW, 7), LOW), Choice::Take);
        // A restarted peer is taken at once, whoever dials.
        assert_eq!(choose((LOW, 7, young), (HIGH, 8), LOW), Choice::Take);
        // A peer that dials again lost the old connection: it knows better.
        assert_eq!(choose((LOW, 7, young), (LOW, 7), LOW), Choice::Take);
        assert_eq!(choose((LOW, 7, RACE), (HIGH, 7), LOW), Choice::Take);
    }
}

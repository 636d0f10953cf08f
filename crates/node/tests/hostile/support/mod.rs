//! Honest nodes, hostile peers, and how to wait and measure.

pub(crate) mod member;
pub(crate) mod raw;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ayni::{
    Event, EventStream, InviteOptions, MessageQuery, Network, Node, PeerId, PeerPath, RoomId,
    Ticket,
};
use iroh::{EndpointAddr, EndpointId, TransportAddr};
use tempfile::TempDir;

/// No test waits longer for anything that should happen at once; generous, because other work may
/// have the processor.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_time(what, DEADLINE, future).await
}

/// Waits for something that must happen in a time of its own.
pub(crate) async fn within_time<T>(
    what: &str,
    limit: Duration,
    future: impl Future<Output = T>,
) -> T {
    tokio::time::timeout(limit, future)
        .await
        .unwrap_or_else(|_| panic!("did not happen within {limit:?}: {what}"))
}

/// Looks again and again until something is true: for what a node does not tell as an event.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A node and its folder.
pub(crate) struct Home {
    pub(crate) node: Node,
    pub(crate) folder: TempDir,
}

impl Home {
    /// Starts a new node.
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder")).await
    }

    /// Starts a node in a folder.
    pub(crate) async fn start_in(folder: TempDir) -> Self {
        let builder = Node::builder().data(folder.path()).network(Network::Loopback);
        let node = within("a node starts", builder.start()).await.expect("starts");
        Self { node, folder }
    }

    /// Stops the node; its folder stays.
    pub(crate) async fn stop(self) -> TempDir {
        within("a node stops", self.node.shutdown()).await;
        self.folder
    }

    /// Stops and starts.
    pub(crate) async fn restart(self) -> Self {
        Self::start_in(self.stop().await).await
    }

    /// The UDP port.
    pub(crate) async fn port(&self) -> u16 {
        socket(&self.node).await.port()
    }

    /// The texts shown in a room, oldest first.
    pub(crate) async fn texts(&self, room: RoomId) -> Vec<String> {
        let query = MessageQuery { limit: 500, before: None };
        let page = self.node.messages(room, query).await.expect("reads");
        page.messages.into_iter().map(|message| message.text).collect()
    }

    /// Waits until a room shows a text.
    pub(crate) async fn shows(&self, room: RoomId, text: &str) {
        until(&format!("{text:?} is shown"), async || {
            self.texts(room).await.iter().any(|shown| shown == text)
        })
        .await;
    }

    /// Whether a peer is connected.
    pub(crate) fn has_link(&self, peer: PeerId) -> bool {
        let peers = self.node.peers();
        peers.iter().any(|info| info.peer == peer && info.path != PeerPath::None)
    }
}

async fn socket(node: &Node) -> SocketAddr {
    *node.status().await.expect("reads").bound.first().expect("bound")
}

/// Takes a UDP port that a node has just left.
pub(crate) async fn take_port(port: u16) -> UdpSocket {
    within("the port is free", async {
        loop {
            match UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
                Ok(socket) => return socket,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await
}

/// Where a node listens.
pub(crate) async fn addr(node: &Node) -> EndpointAddr {
    let id = EndpointId::from_bytes(&node.identity().peer.0).expect("a key");
    EndpointAddr::from_parts(id, [TransportAddr::Ip(socket(node).await)])
}

/// Two honest nodes that talk in a room.
pub(crate) struct Stage {
    pub(crate) a: Home,
    pub(crate) b: Home,
    pub(crate) room: RoomId,
    pub(crate) ticket: Ticket,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let (a, b) = tokio::join!(Home::start(), Home::start());
        let room = a.node.create_room("stage").await.expect("creates").room;
        let ticket = a.node.invite(room, InviteOptions::default()).await.expect("invites");
        b.node.join(&ticket, DEADLINE).await.expect("joins");
        let stage = Self { a, b, room, ticket };
        stage.talks().await;
        stage
    }

    /// What each says is shown by the other, before the deadline.
    pub(crate) async fn talks(&self) {
        hears(&self.a, &self.b, self.room).await;
        hears(&self.b, &self.a, self.room).await;
    }

    /// A third node joins, and sees something.
    pub(crate) async fn newcomer(&self) -> Home {
        let home = Home::start().await;
        home.node.join(&self.ticket, DEADLINE).await.expect("joins");
        home
    }

    pub(crate) async fn stop(self) {
        tokio::join!(self.a.stop(), self.b.stop());
    }
}

/// What one says the other shows.
pub(crate) async fn hears(from: &Home, to: &Home, room: RoomId) {
    static NTH: AtomicUsize = AtomicUsize::new(0);
    let text = format!("heard {}", NTH.fetch_add(1, Ordering::Relaxed));
    let events = to.node.subscribe();
    from.node.say(room, &text).await.expect("says");
    within(&format!("{text:?} is heard"), shown(to, events, room, &text)).await;
}

async fn shown(home: &Home, mut events: EventStream, room: RoomId, text: &str) {
    loop {
        match events.next().await {
            Event::Message(message) if message.text == text => return,
            // Other events may have pushed it out.
            Event::Lagged(_) if home.texts(room).await.iter().any(|shown| shown == text) => return,
            Event::Closed => panic!("the node stopped"),
            _ => {}
        }
    }
}

/// Resident memory of this process, in bytes; 0 where the system does not tell.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}

/// By how much this process may grow during a flood of hundreds of MiB: it has both sides in it.
const FLAT: usize = 64 * 1024 * 1024;

/// Asserts that memory did not grow with a flood.
pub(crate) fn assert_flat(before: usize) {
    let grown = resident().saturating_sub(before);
    assert!(grown < FLAT, "memory grew by {} MiB", grown / 1024 / 1024);
}

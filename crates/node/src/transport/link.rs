//! A link: one live connection with one peer, after both have said [`Hello`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ayni_core::id::{PeerId, RoomId};
use ayni_core::proto::{Hello, Open, Opened};
use iroh::endpoint::{Connection, VarInt};
use tokio::sync::watch;

use super::endpoint::FRIEND_WINDOW;
use super::stream::{FrameSender, Stream, StreamError};
use crate::model::PeerPath;

/// A connection with a peer. Cloning gives another handle to the same connection.
#[derive(Debug, Clone)]
pub(crate) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: Connection,
    peer: PeerId,
    /// Who dialled: of two connections between the same instances the lower peer's dial stays.
    dialer: PeerId,
    theirs: watch::Receiver<Hello>,
    ours: tokio::sync::Mutex<Ours>,
    /// Whether our lists may differ from what was said last.
    stale: AtomicBool,
    usage: Mutex<Usage>,
}

/// Our hello stream, and what was said last on it.
#[derive(Debug)]
struct Ours {
    send: FrameSender,
    said: Option<Hello>,
}

/// Whether something runs over a link, and when something last did.
#[derive(Debug)]
struct Usage {
    holds: usize,
    since: Instant,
}

/// Keeps a link from being closed as idle, as long as it lives.
#[derive(Debug)]
pub(crate) struct Hold(Link);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut usage = self.0.0.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.holds = usage.holds.saturating_sub(1);
        usage.since = Instant::now();
    }
}

/// Why a service stream was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    /// No such service there, or not for us.
    #[error("the peer does not offer this to us")]
    Refused,
    /// Too many calls at once.
    #[error("the peer is busy")]
    Busy,
    /// The stream broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl Link {
    pub(crate) fn new(
        connection: Connection,
        dialer: PeerId,
        theirs: watch::Receiver<Hello>,
        ours: FrameSender,
    ) -> Self {
        let peer = PeerId(*connection.remote_id().as_bytes());
        let ours = tokio::sync::Mutex::new(Ours { send: ours, said: None });
        let usage = Mutex::new(Usage { holds: 0, since: Instant::now() });
        let stale = AtomicBool::new(false);
        Self(Arc::new(Inner { connection, peer, dialer, theirs, ours, stale, usage }))
    }

    /// Keeps the link from being closed as idle.
    pub(crate) fn hold(&self) -> Hold {
        self.0.usage.lock().unwrap_or_else(PoisonError::into_inner).holds += 1;
        Hold(self.clone())
    }

    /// Returns for how long nothing held it; zero while something does.
    pub(crate) fn idle(&self) -> Duration {
        let usage = self.0.usage.lock().unwrap_or_else(PoisonError::into_inner);
        if usage.holds > 0 { Duration::ZERO } else { usage.since.elapsed() }
    }

    /// Returns the peer, as the connection authenticated it.
    pub(crate) fn peer(&self) -> PeerId {
        self.0.peer
    }

    /// Returns who dialled.
    pub(crate) fn dialer(&self) -> PeerId {
        self.0.dialer
    }

    /// Returns a number that is unique among the connections of this process.
    pub(crate) fn stable_id(&self) -> usize {
        self.0.connection.stable_id()
    }

    /// Returns the peer's latest hello.
    pub(crate) fn hello(&self) -> Hello {
        self.0.theirs.borrow().clone()
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// Whether the connection is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.connection.close_reason().is_some()
    }

    /// Closes the connection; the reason is for the peer's log.
    pub(crate) fn close(&self, reason: &'static str) {
        self.0.connection.close(VarInt::from_u32(0), reason.as_bytes());
    }

    /// Opens a service and waits until the peer accepts.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) async fn open(
        &self,
        service: &str,
        room: Option<RoomId>,
    ) -> Result<Stream, OpenError> {
        let opening =
            tokio::time::timeout(super::stream::FRAME_TIMEOUT, self.0.connection.open_bi());
        let streams = opening.await.map_err(|_| StreamError::TimedOut)?;
        let mut stream = Stream::new(streams.map_err(|_| StreamError::Lost)?);
        stream.send.send(&Open { service: service.to_owned(), room }).await?;
        match stream.recv.expect::<Opened>().await? {
            Opened::Accepted => Ok(stream),
            Opened::Refused => Err(OpenError::Refused),
            Opened::Busy => Err(OpenError::Busy),
        }
    }

    /// Notes what was said before there was a link.
    pub(super) fn note_said(&self, hello: Hello) {
        if let Ok(mut ours) = self.0.ours.try_lock() {
            ours.said = Some(hello);
        }
    }

    /// Sends an update of our lists on the hello stream, unless they are what was said last.
    ///
    /// Returns at once where another call is sending: that one asks `hello` again when it is done,
    /// so that the latest lists come last and a peer that does not read holds one call.
    pub(crate) async fn send_hello(&self, hello: impl Fn() -> Hello) -> Result<(), StreamError> {
        self.0.stale.store(true, Ordering::SeqCst);
        while self.0.stale.load(Ordering::SeqCst) {
            let Ok(mut ours) = self.0.ours.try_lock() else { return Ok(()) };
            while self.0.stale.swap(false, Ordering::SeqCst) {
                let hello = hello();
                if ours.said.as_ref() != Some(&hello) {
                    ours.send.send(&hello).await?;
                    ours.said = Some(hello);
                }
            }
        }
        Ok(())
    }

    /// Lets the peer have as much under way as a friend may ([`FRIEND_WINDOW`]).
    pub(crate) fn widen(&self) {
        self.0.connection.set_receive_window(FRIEND_WINDOW.into());
    }

    /// Returns how the peer is reached, and the round trip of that path.
    pub(crate) fn path(&self) -> (PeerPath, Option<Duration>) {
        let paths = self.0.connection.paths();
        let selected = paths.iter().find(iroh::endpoint::Path::is_selected);
        match selected {
            Some(path) if path.is_relay() => (PeerPath::Relay, Some(path.rtt())),
            Some(path) => (PeerPath::Direct, Some(path.rtt())),
            None => (PeerPath::None, None),
        }
    }

    /// Returns the address of the selected direct path.
    pub(crate) fn direct_addr(&self) -> Option<std::net::SocketAddr> {
        let paths = self.0.connection.paths();
        let selected = paths.iter().find(iroh::endpoint::Path::is_selected)?;
        match selected.remote_addr() {
            iroh::TransportAddr::Ip(addr) => Some(*addr),
            _ => None,
        }
    }
}

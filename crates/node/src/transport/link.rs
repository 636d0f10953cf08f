//! A link: one live connection with one peer, after both have said [`Hello`].

use std::sync::Arc;
use std::time::Duration;

use ayni_core::id::{PeerId, RoomId};
use ayni_core::proto::{Hello, Open, Opened};
use iroh::endpoint::{Connection, VarInt};
use tokio::sync::watch;

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
    ours: tokio::sync::Mutex<FrameSender>,
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
        let ours = tokio::sync::Mutex::new(ours);
        Self(Arc::new(Inner { connection, peer, dialer, theirs, ours }))
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

    /// Sends an update of our lists on the hello stream.
    pub(crate) async fn send_hello(&self, hello: &Hello) -> Result<(), StreamError> {
        self.0.ours.lock().await.send(hello).await
    }

    /// Returns how the peer is reached, and the round trip of that path.
    pub(crate) fn path(&self) -> (PeerPath, Option<Duration>) {
        let paths = self.0.connection.paths();
        let selected = paths.iter().find(|path| path.is_selected());
        match selected {
            Some(path) if path.is_relay() => (PeerPath::Relay, Some(path.rtt())),
            Some(path) => (PeerPath::Direct, Some(path.rtt())),
            None => (PeerPath::None, None),
        }
    }

    /// Returns the address of the selected direct path.
    pub(crate) fn direct_addr(&self) -> Option<std::net::SocketAddr> {
        let paths = self.0.connection.paths();
        let selected = paths.iter().find(|path| path.is_selected())?;
        match selected.remote_addr() {
            iroh::TransportAddr::Ip(addr) => Some(*addr),
            _ => None,
        }
    }
}

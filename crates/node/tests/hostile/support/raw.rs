//! A peer that speaks `ayni/1` frame by frame, and can send whatever it likes.

use std::net::Ipv4Addr;

use ayni::{Node, PeerId, RoomId};
use ayni_core::frame::{self, FrameBuffer};
use ayni_core::keys::{AccountKey, DeviceCert, DeviceKey};
use ayni_core::proto::{ALPN, Hello, Open, Opened, PROTOCOL};
use iroh::endpoint::{Connection, QuicTransportConfig, RecvStream, SendStream, VarInt, presets};
use iroh::{Endpoint, EndpointAddr, RelayMode, SecretKey, TransportAddr};
use minicbor::{Decode, Encode};

use super::{addr, within};

/// Fresh randomness.
pub(crate) fn entropy() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system has some");
    bytes
}

/// A peer of its own account.
pub(crate) struct Raw {
    pub(crate) device: DeviceKey,
    pub(crate) cert: DeviceCert,
    pub(crate) endpoint: Endpoint,
}

impl Raw {
    pub(crate) async fn new() -> Self {
        // Wide: it is the node's windows that are tested.
        Self::with_window(64 * 1024 * 1024).await
    }

    /// A peer that lets others send so many bytes before it reads.
    pub(crate) async fn with_window(bytes: u32) -> Self {
        let device = DeviceKey::from_secrets(&entropy(), &entropy());
        let account = AccountKey::from_entropy(&entropy());
        let cert = account.certify(device.id(), device.hpke_public(), 1);
        let transport = QuicTransportConfig::builder()
            .receive_window(VarInt::from_u32(bytes))
            .stream_receive_window(VarInt::from_u32(bytes.min(1024 * 1024)))
            .build();
        let endpoint = Endpoint::builder(presets::Minimal)
            .secret_key(SecretKey::from_bytes(&device.signing_secret()))
            .alpns(vec![ALPN.to_vec(), iroh_gossip::ALPN.to_vec()])
            .relay_mode(RelayMode::Disabled)
            .transport_config(transport)
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::LOCALHOST, 0))
            .expect("an address")
            .bind()
            .await
            .expect("binds");
        Self { device, cert, endpoint }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.device.id()
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> EndpointAddr {
        let sockets = self.endpoint.bound_sockets();
        EndpointAddr::from_parts(self.endpoint.id(), sockets.into_iter().map(TransportAddr::Ip))
    }

    /// Completes the QUIC handshake, and no more.
    pub(crate) async fn dial(&self, node: &Node) -> Connection {
        let addr = addr(node).await;
        within("a dial", self.endpoint.connect(addr, ALPN)).await.expect("connects")
    }

    /// Completes the QUIC handshake and exchanges hellos, where the node lets us.
    pub(crate) async fn try_link(&self, node: &Node) -> Option<RawLink> {
        let connection = self.endpoint.connect(addr(node).await, ALPN).await.ok()?;
        RawLink::try_greet(connection, 1).await
    }

    /// Connects and exchanges hellos, as an honest peer does.
    pub(crate) async fn link(&self, node: &Node) -> RawLink {
        self.link_as(node, 1).await
    }

    /// Connects as one of several starts of this peer.
    pub(crate) async fn link_as(&self, node: &Node, instance: u64) -> RawLink {
        RawLink::greet(self.dial(node).await, instance).await
    }
}

/// A hello that is in order.
pub(crate) fn hello(instance: u64) -> Hello {
    Hello { protocol: PROTOCOL, instance, offers: vec![], asks: vec![] }
}

/// A connection after both hellos.
pub(crate) struct RawLink {
    pub(crate) connection: Connection,
    /// Our hello stream.
    pub(crate) hello: SendStream,
    /// The node's first hello.
    pub(crate) theirs: Hello,
    /// Its hello stream, which stays open for updates.
    _updates: Frames,
}

impl RawLink {
    /// Exchanges hellos.
    pub(crate) async fn greet(connection: Connection, instance: u64) -> Self {
        let greeted = within("the node's hello", Self::try_greet(connection, instance)).await;
        greeted.expect("the node says hello")
    }

    /// Exchanges hellos, where the node lets us.
    pub(crate) async fn try_greet(connection: Connection, instance: u64) -> Option<Self> {
        let mut ours = connection.open_uni().await.ok()?;
        send(&mut ours, &hello(instance)).await;
        let mut updates = Frames::new(connection.accept_uni().await.ok()?);
        let theirs = updates.next().await?;
        Some(Self { connection, hello: ours, theirs, _updates: updates })
    }

    /// Opens a stream, which the node may refuse.
    pub(crate) async fn open(&self, service: &str, room: Option<RoomId>) -> (RawStream, Opened) {
        let mut stream = self.stream().await;
        send(&mut stream.send, &Open { service: service.into(), room }).await;
        let opened = within("an answer to an open", stream.recv.next()).await;
        (stream, opened.expect("an answer"))
    }

    /// Opens a stream that the node accepts.
    pub(crate) async fn accepted(&self, service: &str, room: Option<RoomId>) -> RawStream {
        let (stream, opened) = self.open(service, room).await;
        assert_eq!(opened, Opened::Accepted, "{service}");
        stream
    }

    /// Opens a stream and says nothing on it.
    pub(crate) async fn stream(&self) -> RawStream {
        let (send, recv) = within("a stream", self.connection.open_bi()).await.expect("opens");
        RawStream { send, recv: Frames::new(recv) }
    }

    /// Whether the node still serves this connection.
    pub(crate) async fn is_served(&self) -> bool {
        let Ok((mut send, recv)) = self.connection.open_bi().await else { return false };
        let open = Open { service: "ping/1".into(), room: None };
        let opening = frame::encode(&open).expect("short");
        if send.write_all(&opening).await.is_err() {
            return false;
        }
        let opened = Frames::new(recv).next::<Opened>().await;
        opened == Some(Opened::Accepted)
    }
}

/// A bidirectional stream.
pub(crate) struct RawStream {
    pub(crate) send: SendStream,
    pub(crate) recv: Frames,
}

impl RawStream {
    pub(crate) async fn send<T: Encode<()>>(&mut self, frame: &T) {
        send(&mut self.send, frame).await;
    }

    /// Waits until the node ends its side, whatever it sends before.
    pub(crate) async fn ends(&mut self, why: &str) {
        within(why, self.recv.drained()).await;
    }
}

/// Sends one frame. A node that does not want it is as good as one that takes it.
pub(crate) async fn send<T: Encode<()>>(stream: &mut SendStream, frame: &T) {
    let bytes = frame::encode(frame).expect("short");
    let _ = within("a frame is taken", stream.write_all(&bytes)).await;
}

/// Reads frames.
pub(crate) struct Frames {
    recv: RecvStream,
    buffer: FrameBuffer,
}

impl Frames {
    pub(crate) fn new(recv: RecvStream) -> Self {
        Self { recv, buffer: FrameBuffer::default() }
    }

    /// Waits for the next frame; none when the stream ended, in whatever way.
    pub(crate) async fn next<T: for<'b> Decode<'b, ()>>(&mut self) -> Option<T> {
        loop {
            if let Some(frame) = self.buffer.next_frame().expect("the node sends frames") {
                return Some(frame);
            }
            match self.recv.read_chunk(64 * 1024).await {
                Ok(Some(bytes)) => self.buffer.push(&bytes),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Reads bytes as they come until the stream ends, and returns them.
    pub(crate) async fn drained(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Ok(Some(bytes)) = self.recv.read_chunk(64 * 1024).await {
            all.extend_from_slice(&bytes);
        }
        all
    }
}

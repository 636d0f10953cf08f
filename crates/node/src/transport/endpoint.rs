//! Binding the QUIC endpoint for a network preset.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ayni_core::limits::MAX_DIRECT_ADDRS;
use ayni_core::proto::ALPN;
use ayni_core::ticket::{Addr, PeerAddr};
use ayni_core::{id::PeerId, keys::DeviceKey};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use iroh::address_lookup::memory::MemoryLookup;
use iroh::address_lookup::{self, AddressLookup, EndpointData};
use iroh::endpoint::{BindOpts, NetReportConfig, PortmapperConfig, QuicTransportConfig, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMap, RelayMode, SecretKey, TransportAddr};
use iroh_gossip::ALPN as GOSSIP_ALPN;
use iroh_mdns_address_lookup::{DiscoveryEvent, MdnsAddressLookup};
use tokio::sync::mpsc;

use crate::builder::Network;
use crate::error::{Error, Result};

/// Name under which nodes announce themselves on the local network.
const MDNS_NAME: &str = "ayni";
/// Peers found by asking that wait to be noted: as many as are dialled in a moment.
const FOUND: usize = 64;
/// Where a node's own UDP port is chosen: outside the ranges from which operating systems lend ports
/// to others, so that it is free again at the next start and known addresses stay true.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// Ports that are tried before any free one is taken.
const PORTS_TRIED: u32 = 8;
/// Streams that a peer may have open at once: one for each shared room, and some calls.
const MAX_STREAMS: u32 = 256;
/// Unidirectional streams: one for hello; the rest is room for newer versions.
const MAX_UNI_STREAMS: u32 = 4;
/// Bytes that may be under way, or wait to be read here, on one stream: enough for 80 Mbit/s over
/// 100 ms. A stream that nobody reads keeps so much of its connection's window, so it is a small
/// share of [`FRIEND_WINDOW`]. iroh's own limit on gaps in a stream's buffer would end connections
/// with tens of MiB here.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// The same for all streams of a connection with a peer that shares a room with us, or that we
/// called: some stalled streams do not stop the others.
pub(super) const FRIEND_WINDOW: u32 = 16 * 1024 * 1024;
/// The same for everyone else: what a stranger can make us keep in memory.
const STRANGER_WINDOW: u32 = 2 * STREAM_WINDOW;

/// How often the port of last time is tried again, and after which pause: whoever had it then, this
/// node itself in the same process, may be about to let go of it. Others remember that port.
const REBINDS: usize = 5;
/// See [`REBINDS`].
const REBIND_PAUSE: Duration = Duration::from_millis(50);

/// The endpoint and the sources of addresses attached to it.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(crate) endpoint: Endpoint,
    /// Addresses from tickets, the address book and peer exchange.
    pub(crate) known: MemoryLookup,
    /// Whether multicast DNS works here.
    pub(crate) mdns: bool,
}

/// What multicast DNS hears.
pub(crate) type Heard = BoxStream<'static, DiscoveryEvent>;
/// What it answers when it is asked for a peer.
type Found = std::result::Result<address_lookup::Item, address_lookup::Error>;

impl Bound {
    /// Lets the endpoint know where a peer may be reached, instead of what it knew.
    pub(crate) fn learn(&self, addr: &PeerAddr) {
        if let Some(addr) = to_iroh(addr) {
            self.known.set_endpoint_info(addr);
        }
    }
}

/// Binds the endpoint on `port`. Without one, or when it is taken, on one of [`PORTS`], else on any
/// free one.
pub(crate) async fn bind(
    network: Network,
    device: &DeviceKey,
    port: Option<u16>,
) -> Result<(Bound, Option<Heard>)> {
    if let Some(port) = port.filter(|port| *port != 0) {
        let mut tried = 0;
        loop {
            match bind_port(network, device, port).await {
                Ok(bound) => return Ok(bound),
                Err(_) if tried < REBINDS => tried += 1,
                Err(error) => {
                    tracing::warn!("UDP port {port} cannot be used again: {error}");
                    break;
                }
            }
            tokio::time::sleep(REBIND_PAUSE).await;
        }
    }
    for _ in 0..PORTS_TRIED {
        if let Ok(bound) = bind_port(network, device, random_port()?).await {
            return Ok(bound);
        }
    }
    bind_port(network, device, 0).await
}

fn random_port() -> Result<u16> {
    let mut bytes = [0; 2];
    crate::inner::fill(&mut bytes)?;
    Ok(PORTS.start + u16::from_be_bytes(bytes) % (PORTS.end - PORTS.start))
}

async fn bind_port(
    network: Network,
    device: &DeviceKey,
    port: u16,
) -> Result<(Bound, Option<Heard>)> {
    let failed = |error: String| Error::Endpoint(format!("the network could not be used: {error}"));
    let transport = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(MAX_STREAMS.into())
        .max_concurrent_uni_streams(MAX_UNI_STREAMS.into())
        .receive_window(STRANGER_WINDOW.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .build();
    let known = MemoryLookup::new();
    let builder = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(&device.signing_secret()))
        .alpns(vec![ALPN.to_vec(), GOSSIP_ALPN.to_vec(), iroh_blobs::ALPN.to_vec()])
        .relay_mode(RelayMode::Custom(RelayMap::empty()))
        .transport_config(transport)
        .portmapper_config(PortmapperConfig::Disabled)
        .net_report_config(NetReportConfig::minimal())
        .address_lookup(known.clone())
        .clear_ip_transports();
    let builder = match network {
        Network::Loopback => builder.bind_addr((Ipv4Addr::LOCALHOST, port)),
        Network::Lan | Network::Internet => {
            builder.bind_addr((Ipv4Addr::UNSPECIFIED, port)).and_then(|builder| {
                let optional = BindOpts::default().set_is_required(false);
                builder.bind_addr_with_opts((Ipv6Addr::UNSPECIFIED, port), optional)
            })
        }
    };
    let builder = builder.map_err(|error| failed(error.to_string()))?;
    let endpoint = builder.bind().await.map_err(|error| failed(error.to_string()))?;
    let heard = match network {
        Network::Loopback => None,
        Network::Lan | Network::Internet => attach_mdns(&endpoint).await,
    };
    Ok((Bound { endpoint, known, mdns: heard.is_some() }, heard))
}

/// Starts multicast DNS. A host without multicast still has the other sources: `doctor` tells.
async fn attach_mdns(endpoint: &Endpoint) -> Option<Heard> {
    let built = MdnsAddressLookup::builder().service_name(MDNS_NAME).build(endpoint.id());
    match (built, endpoint.address_lookup()) {
        (Ok(mdns), Ok(services)) => {
            // Before it is announced: what was heard earlier is not told again.
            let heard = mdns.subscribe().await;
            let (found, asked) = mpsc::channel(FOUND);
            services.add(Tapped { mdns, found });
            let asked = stream::unfold(asked, async |mut asked| Some((asked.recv().await?, asked)));
            Some(stream::select(heard, asked).boxed())
        }
        (Err(error), _) => {
            tracing::warn!("multicast DNS is not available: {error}");
            None
        }
        (Ok(_), Err(_)) => None,
    }
}

/// Multicast DNS that tells of every peer it finds. By itself it tells its subscribers only of those
/// that nobody asked for: a peer found by dialling its id would never count as heard.
#[derive(Debug)]
struct Tapped {
    mdns: MdnsAddressLookup,
    found: mpsc::Sender<DiscoveryEvent>,
}

impl AddressLookup for Tapped {
    fn publish(&self, data: &EndpointData) {
        self.mdns.publish(data);
    }

    fn resolve(&self, id: EndpointId) -> Option<BoxStream<'static, Found>> {
        let found = self.found.clone();
        let tap = move |item: &Found| {
            let Ok(item) = item else { return };
            let endpoint_info = item.endpoint_info().clone();
            let last_updated = item.last_updated();
            // A full queue: it is heard again with its next dial.
            let _ = found.try_send(DiscoveryEvent::Discovered { endpoint_info, last_updated });
        };
        Some(self.mdns.resolve(id)?.inspect(tap).boxed())
    }
}

/// Turns our form of an address into iroh's. None where the id is not a usable key.
pub(crate) fn to_iroh(addr: &PeerAddr) -> Option<EndpointAddr> {
    let id = endpoint_id(&addr.peer)?;
    Some(EndpointAddr::from_parts(id, addr.sockets().map(TransportAddr::Ip)))
}

/// Turns an id into iroh's form. None where it is not a usable key.
pub(crate) fn endpoint_id(peer: &PeerId) -> Option<EndpointId> {
    EndpointId::from_bytes(&peer.0).ok()
}

/// Turns iroh's form of an address into ours, within the limits.
pub(crate) fn from_iroh(addr: &EndpointAddr) -> PeerAddr {
    let mut sockets: Vec<SocketAddr> = addr.ip_addrs().copied().collect();
    // IPv4 first: it is what most home networks route.
    sockets.sort_by_key(|socket| (socket.is_ipv6(), *socket));
    sockets.truncate(MAX_DIRECT_ADDRS);
    PeerAddr {
        peer: PeerId(*addr.id.as_bytes()),
        direct: sockets.into_iter().map(Addr).collect(),
        relays: vec![],
    }
}

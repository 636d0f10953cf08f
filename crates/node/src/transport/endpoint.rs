//! Binding the QUIC endpoint for a network preset.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ayni_core::limits::MAX_DIRECT_ADDRS;
use ayni_core::proto::ALPN;
use ayni_core::ticket::{Addr, PeerAddr};
use ayni_core::{id::PeerId, keys::DeviceKey};
use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::{BindOpts, NetReportConfig, PortmapperConfig, QuicTransportConfig, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMap, RelayMode, SecretKey, TransportAddr};
use iroh_gossip::ALPN as GOSSIP_ALPN;
use iroh_mdns_address_lookup::MdnsAddressLookup;

use crate::builder::Network;
use crate::error::{Error, Result};

/// Name under which nodes announce themselves on the local network.
const MDNS_NAME: &str = "ayni";
/// Streams that a peer may have open at once: one for each shared room, and some calls.
const MAX_STREAMS: u32 = 256;
/// Unidirectional streams: one for hello; the rest is room for newer versions.
const MAX_UNI_STREAMS: u32 = 4;
/// Bytes in flight on one connection: enough for a LAN at full speed. iroh's own limit on gaps in a
/// stream's buffer ends connections with windows of tens of MiB.
const RECEIVE_WINDOW: u32 = 8 * 1024 * 1024;
/// Bytes in flight on one stream.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;

/// The endpoint and the sources of addresses attached to it.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(crate) endpoint: Endpoint,
    /// Addresses from tickets, the address book and peer exchange.
    pub(crate) known: MemoryLookup,
    /// Multicast DNS, where the preset has it.
    pub(crate) mdns: Option<MdnsAddressLookup>,
}

impl Bound {
    /// Lets the endpoint know where a peer may be reached.
    pub(crate) fn learn(&self, addr: &PeerAddr) {
        if let Some(addr) = to_iroh(addr) {
            self.known.add_endpoint_info(addr);
        }
    }
}

/// Binds the endpoint on `port`, or on any free one when none is given or it is taken.
pub(crate) async fn bind(network: Network, device: &DeviceKey, port: Option<u16>) -> Result<Bound> {
    let first = bind_port(network, device, port.unwrap_or(0)).await;
    match (first, port) {
        (Err(_), Some(taken)) if taken != 0 => {
            tracing::warn!("UDP port {taken} is taken; using another");
            bind_port(network, device, 0).await
        }
        (result, _) => result,
    }
}

async fn bind_port(network: Network, device: &DeviceKey, port: u16) -> Result<Bound> {
    let failed = |error: String| Error::Endpoint(format!("the network could not be used: {error}"));
    let transport = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(MAX_STREAMS.into())
        .max_concurrent_uni_streams(MAX_UNI_STREAMS.into())
        .receive_window(RECEIVE_WINDOW.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .build();
    let known = MemoryLookup::new();
    let builder = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(&device.signing_secret()))
        .alpns(vec![ALPN.to_vec(), GOSSIP_ALPN.to_vec()])
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
    let mdns = match network {
        Network::Loopback => None,
        Network::Lan | Network::Internet => attach_mdns(&endpoint),
    };
    Ok(Bound { endpoint, known, mdns })
}

/// Starts multicast DNS. A host without multicast still has the other sources: `doctor` tells.
fn attach_mdns(endpoint: &Endpoint) -> Option<MdnsAddressLookup> {
    let built = MdnsAddressLookup::builder().service_name(MDNS_NAME).build(endpoint.id());
    match (built, endpoint.address_lookup()) {
        (Ok(mdns), Ok(services)) => {
            services.add(mdns.clone());
            Some(mdns)
        }
        (Err(error), _) => {
            tracing::warn!("multicast DNS is not available: {error}");
            None
        }
        (Ok(_), Err(_)) => None,
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

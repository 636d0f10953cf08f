//! The local network: peers heard by multicast DNS.

use std::sync::Arc;

use ayni_core::id::PeerId;
use futures_util::StreamExt;
use iroh_mdns_address_lookup::DiscoveryEvent;

use crate::discovery::book::Source;
use crate::inner::Inner;
use crate::transport::endpoint::{Heard, from_iroh};

/// Follows multicast DNS until the node stops.
pub(crate) async fn run(inner: Arc<Inner>, mut events: Heard) {
    while let Some(event) = events.next().await {
        match event {
            DiscoveryEvent::Discovered { endpoint_info, .. } => {
                let addr = from_iroh(&endpoint_info.into_endpoint_addr());
                let peer = addr.peer;
                inner.book.set_lan(peer, true);
                inner.learn_address(&addr, Source::Seen);
                inner.mesh.heard(peer);
            }
            DiscoveryEvent::Expired { endpoint_id } => {
                inner.book.set_lan(PeerId(*endpoint_id.as_bytes()), false);
            }
            _ => {}
        }
    }
}

//! Who else fetches the same: those who hold a ticket for one content find each other through whoever
//! they ask for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ayni_core::id::{BlobId, PeerId};
use ayni_core::limits::MAX_PEER_ADDRS;
use ayni_core::proto::{FetchersReply, FetchersRequest, service};
use ayni_core::ticket::PeerAddr;

use super::access;
use super::serve::REFUSAL;
use crate::discovery::book::Source;
use crate::inner::Inner;
use crate::transport::Stream;

/// Contents of which it is remembered who asked for them.
const MAX_CONTENTS: usize = 256;
/// Peers that are remembered of each.
const MAX_PEERS: usize = 32;
/// How long one is remembered: who still fetches asks again.
const REMEMBERED: Duration = Duration::from_mins(5);
/// How long a peer has to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Who asked for what lately.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<BTreeMap<BlobId, VecDeque<One>>>);

/// One who asked.
#[derive(Debug)]
struct One {
    peer: PeerId,
    at: Instant,
    /// Whether it may have the content because of a ticket alone. Who is in a room is not told to those
    /// who hold a ticket.
    by_ticket: bool,
}

impl Asked {
    /// Notes that a peer that may have a content asked for it.
    pub(super) fn note(&self, blob: BlobId, peer: PeerId, by_ticket: bool) {
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_CONTENTS && !all.contains_key(&blob) {
            all.retain(|_, peers| peers.front().is_some_and(|it| now - it.at < REMEMBERED));
            if all.len() >= MAX_CONTENTS {
                return;
            }
        }
        let peers = all.entry(blob).or_default();
        peers.retain(|it| it.peer != peer && now - it.at < REMEMBERED);
        peers.push_front(One { peer, at: now, by_ticket });
        peers.truncate(MAX_PEERS);
    }

    /// Returns who asked for a content because of a ticket.
    fn by_ticket(&self, blob: BlobId) -> Vec<PeerId> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let peers = all.get(&blob).into_iter().flatten();
        let told = peers.filter(|it| it.by_ticket && it.at.elapsed() < REMEMBERED);
        told.map(|it| it.peer).collect()
    }
}

/// Answers `fetchers/1` to who may have the content. Every refusal takes as long as those of
/// [`serve`](super::serve).
pub(crate) async fn serve(inner: Arc<Inner>, peer: PeerId, mut stream: Stream) {
    let Ok(request) = stream.recv.expect_short::<FetchersRequest>().await else { return };
    let arrived = tokio::time::Instant::now();
    let Some(allowed) = access::allowed(&inner, &peer, request.blob).await else {
        return tokio::time::sleep_until(arrived + REFUSAL).await;
    };
    let others = inner.content.asked.by_ticket(request.blob);
    inner.content.asked.note(request.blob, peer, !allowed.is_member());
    let known = others.iter().filter(|other| **other != peer && **other != inner.me());
    let addrs = known.filter_map(|other| inner.content.address_of(&inner, other));
    let peers: Vec<PeerAddr> = addrs.take(MAX_PEER_ADDRS).collect();
    if stream.send.send(&FetchersReply { peers }).await.is_ok() {
        stream.send.finish();
        stream.send.delivered().await;
    }
}

/// Asks a peer who else fetches a content; they can be dialled afterwards. None where it does not say:
/// other programs than this one do not.
pub(super) async fn ask(inner: &Arc<Inner>, peer: PeerId, blob: BlobId) -> Option<Vec<PeerId>> {
    let asked = async {
        let link = inner.connect(peer).await.ok()?;
        let mut stream = link.open(service::FETCHERS, None).await.ok()?;
        stream.send.send(&FetchersRequest { blob }).await.ok()?;
        stream.send.finish();
        stream.recv.expect::<FetchersReply>().await.ok()
    };
    let reply = tokio::time::timeout(ANSWER, asked).await.ok().flatten()?;
    reply.check().ok()?;
    let peers = reply.peers.iter().map(|addr| addr.peer).collect();
    for addr in &reply.peers {
        inner.learn_address(addr, Source::Stranger);
    }
    Some(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_because_of_a_room_is_not_told() {
        let (asked, blob) = (Asked::default(), BlobId([1; 32]));
        let peer = |n| PeerId([n; 32]);
        asked.note(blob, peer(1), true);
        asked.note(blob, peer(2), false);
        asked.note(blob, peer(3), true);
        assert_eq!(asked.by_ticket(blob), [peer(3), peer(1)]);
        // One that came into the room since.
        asked.note(blob, peer(3), false);
        assert_eq!(asked.by_ticket(blob), [peer(1)]);
    }
}

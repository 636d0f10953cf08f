//! Epoch secrets: asked of members while any is missing, and handed to those entitled to them.
//!
//! Invariant: a secret leaves this node sealed for one device, to the key that the room's control lane
//! has of it ([`ayni_core::room::Handover`]). Sealing is done for one asker at a time, on a thread of
//! its own, each peer at its pace: who asks without end costs a part of one core.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ayni_core::epoch::EpochSecret;
use ayni_core::id::{EpochId, PeerId, RoomId};
use ayni_core::limits::MAX_EPOCHS;
use ayni_core::proto::{KeysReply, KeysRequest, service};
use ayni_core::sealed::SealedEpoch;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::handle::RoomHandle;
use super::pace::Pace;
use crate::inner::Inner;
use crate::transport::{Link, Stream};

/// First pause between two rounds of asking all connected members, doubled up to [`MAX_PAUSE`]: a
/// member refuses as long as it has not heard that we are one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How long a member has to answer before the next one is asked.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest pause between two rounds.
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// Most requests to one member in a round: what is missing then is asked of others first.
const MAX_ASKS: usize = 64;
/// Requests that are served to one peer at once: as many as a member away for 500 rotations needs
/// where none unwraps another.
const BURST: u32 = 8;
/// Time between further ones. With [`MAX_EPOCHS`] each they take 1 to 2 % of a core.
const PACE: Duration = Duration::from_millis(500);
/// Peers whose pace is remembered; beyond, each waits as if it had asked a moment ago.
const MAX_PACES: usize = 1024;

/// Sealing for others: one asker after the other, each at its pace.
#[derive(Debug)]
pub(crate) struct Sealing {
    /// One at a time: sealing takes no more than one core.
    turns: Semaphore,
    paces: Mutex<BTreeMap<PeerId, Pace>>,
}

impl Default for Sealing {
    fn default() -> Self {
        Self { turns: Semaphore::new(1), paces: Mutex::default() }
    }
}

impl Sealing {
    /// Returns when the next request of a peer may be served.
    fn due(&self, peer: PeerId, now: Instant) -> Instant {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        if paces.len() >= MAX_PACES {
            paces.retain(|_, pace| !pace.is_rested(now));
        }
        if paces.len() >= MAX_PACES && !paces.contains_key(&peer) {
            return now + PACE;
        }
        paces.entry(peer).or_insert_with(|| Pace::new(PACE, BURST)).next(now)
    }
}

/// Seals what a device may have of `wanted`, or of all that is here. None: it belongs to no member,
/// or is frozen.
pub(crate) async fn seal(
    inner: &Inner,
    room: &RoomHandle,
    device: PeerId,
    wanted: Option<&[EpochId]>,
) -> Option<Vec<SealedEpoch>> {
    tokio::time::sleep_until(inner.sealing.due(device, Instant::now())).await;
    let _turn = inner.sealing.turns.acquire().await.ok()?;
    let handover = room.lock().room.handover(&device, wanted)?;
    let entropy = inner.entropy().ok()?;
    tokio::task::spawn_blocking(move || handover.seal(entropy)).await.ok()
}

/// Opens what a peer sealed for us, on a thread of its own. What does not open is left out: others
/// may have it.
pub(crate) async fn open(
    inner: &Arc<Inner>,
    room: RoomId,
    from: PeerId,
    sealed: Vec<SealedEpoch>,
) -> Vec<EpochSecret> {
    if sealed.is_empty() {
        return vec![];
    }
    let inner = inner.clone();
    let opening = move || {
        let opened = sealed.iter().map(|one| one.open(room, from, &inner.keys.device));
        let noted = opened.map(|opened| {
            opened.inspect_err(|error| tracing::debug!(peer = %from.short(), "{error}"))
        });
        noted.filter_map(Result::ok).collect()
    };
    tokio::task::spawn_blocking(opening).await.unwrap_or_default()
}

/// Serves `keys/1` to a member's device.
pub(crate) async fn serve(
    inner: Arc<Inner>,
    room: Arc<RoomHandle>,
    peer: PeerId,
    mut stream: Stream,
) {
    let Ok(request) = stream.recv.expect_short::<KeysRequest>().await else { return };
    if request.check().is_err() {
        return;
    }
    let Some(epochs) = seal(&inner, &room, peer, Some(&request.epochs)).await else { return };
    if stream.send.send(&KeysReply { epochs }).await.is_ok() {
        stream.send.finish();
        stream.send.delivered().await;
    }
}

/// Asks the connected members in turn until no secret is missing, or none of them is connected: the
/// next synchronisation begins again.
pub(crate) async fn ask_until_known(inner: Arc<Inner>, room: Arc<RoomHandle>) {
    let mut pause = FIRST_PAUSE;
    while !room.ended_asking_secrets() {
        let links = inner.member_links(&room);
        if links.is_empty() {
            room.lock().asks_secrets = false;
            return;
        }
        for link in &links {
            ask(&inner, &room, link).await;
        }
        let round = Round::now(&inner, &room);
        if round.missing.is_empty() {
            continue;
        }
        let news = round.rests(&inner, &room, pause.mul_f64(0.75 + 0.5 * inner.jitter())).await;
        pause = if news { FIRST_PAUSE } else { (pause * 2).min(MAX_PAUSE) };
    }
}

/// What was asked for in vain, and of whom.
#[derive(Debug, Default)]
struct Round {
    missing: BTreeSet<EpochId>,
    peers: BTreeSet<PeerId>,
}

impl Round {
    fn now(inner: &Arc<Inner>, room: &RoomHandle) -> Self {
        Self {
            missing: room.missing_secrets().into_iter().collect(),
            peers: inner.connected_members(room).into_iter().collect(),
        }
    }

    /// Waits for so long; less if something else is missing by then, or someone else is here. Returns
    /// whether that is so.
    async fn rests(&self, inner: &Arc<Inner>, room: &RoomHandle, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return false,
                () = room.wants_secrets.notified() => {}
            }
            let now = Self::now(inner, room);
            if !now.missing.is_subset(&self.missing) || !now.peers.is_subset(&self.peers) {
                return true;
            }
            // Whoever is synchronised again and again has us look no more often than this.
            tokio::time::sleep_until(end.min(Instant::now() + FIRST_PAUSE)).await;
        }
    }
}

/// Asks a member for the secrets that are missing here, the deepest first: they may unwrap others.
async fn ask(inner: &Arc<Inner>, room: &Arc<RoomHandle>, link: &Link) {
    let mut in_vain = BTreeSet::new();
    for _ in 0..MAX_ASKS {
        let missing = room.missing_secrets();
        let untried = missing.iter().filter(|epoch| !in_vain.contains(*epoch));
        let epochs: Vec<EpochId> = untried.copied().take(MAX_EPOCHS).collect();
        if epochs.is_empty() {
            return;
        }
        let Some(sealed) = request(room, link, &epochs).await else { return };
        let asked: BTreeSet<EpochId> = epochs.into_iter().collect();
        let wanted: Vec<_> = sealed.into_iter().filter(|it| asked.contains(&it.epoch)).collect();
        let secrets = open(inner, room.id(), link.peer(), wanted).await;
        if secrets.is_empty() {
            in_vain.extend(asked);
        } else if let Err(error) = room.learn(inner, secrets).await {
            return tracing::warn!("keys could not be kept: {error}");
        } else {
            // What was locked may come with pictures.
            inner.content.arrivals.note(room.id());
        }
    }
}

async fn request(room: &RoomHandle, link: &Link, epochs: &[EpochId]) -> Option<Vec<SealedEpoch>> {
    let asked = async {
        let mut stream = link.open(service::KEYS, Some(room.id())).await.ok()?;
        stream.send.send(&KeysRequest { epochs: epochs.to_vec() }).await.ok()?;
        stream.send.finish();
        stream.recv.expect::<KeysReply>().await.ok()
    };
    let reply = tokio::time::timeout(ANSWER, asked).await.ok().flatten()?;
    reply.check().is_ok().then_some(reply.epochs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hazard_23_each_peer_has_its_pace_and_their_number_is_bounded() {
        let sealing = Sealing::default();
        let now = Instant::now();
        let peer = |n: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            PeerId(id)
        };
        for _ in 0..BURST {
            assert_eq!(sealing.due(peer(0), now), now);
        }
        assert_eq!(sealing.due(peer(0), now), now + PACE);
        assert_eq!(sealing.due(peer(1), now), now, "another");
        for n in 2..5_000 {
            let due = sealing.due(peer(n), now);
            assert!(due <= now + PACE);
        }
        assert!(sealing.paces.lock().expect("sound").len() <= MAX_PACES);
        let later = now + PACE * (BURST + 2);
        assert_eq!(sealing.due(peer(9_999), later), later, "the rested were forgotten");
        assert_eq!(sealing.paces.lock().expect("sound").len(), 1);
    }
}

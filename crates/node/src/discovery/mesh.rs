//! Whom to be connected with: for each room some of its members, within a budget, dialled again
//! after loss with a growing, jittered pause.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ayni_core::id::PeerId;
use tokio::sync::Notify;

use crate::inner::Inner;
use crate::transport::links::Links;

/// Connections that this node keeps by itself, of all rooms (DESIGN.md 3).
const BUDGET: usize = 64;
/// Members of one room that it tries to be connected with; gossip finds the rest.
const PER_ROOM: usize = 8;
/// Dials under way at once.
const MAX_DIALS: usize = 8;
/// First pause after a failed dial, doubled up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two dials of one peer.
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// How often the state is looked at without being poked.
const LOOK: Duration = Duration::from_secs(5);

/// What is known about dialling each peer.
#[derive(Debug, Default)]
pub(crate) struct Mesh {
    peers: Mutex<BTreeMap<PeerId, Attempt>>,
    poked: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    pause: Duration,
    next: Instant,
    dialling: bool,
}

impl Mesh {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, Attempt>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something changed: look at once.
    pub(crate) fn poke(&self) {
        self.poked.notify_one();
    }

    /// A peer was heard nearby: no reason to wait any longer.
    pub(crate) fn heard(&self, peer: PeerId) {
        self.lock().remove(&peer);
        self.poke();
    }

    /// A peer is connected.
    pub(crate) fn connected(&self, peer: PeerId) {
        self.lock().remove(&peer);
    }

    /// The network or the machine changed: try everyone again at once.
    pub(crate) fn reset(&self) {
        self.lock().retain(|_, attempt| attempt.dialling);
        self.poke();
    }

    /// Takes a peer to dial, if its pause is over.
    fn take(&self, peer: PeerId, now: Instant) -> bool {
        let mut peers = self.lock();
        let attempt =
            peers.entry(peer).or_insert(Attempt { pause: FIRST_PAUSE, next: now, dialling: false });
        let due = !attempt.dialling && attempt.next <= now;
        attempt.dialling |= due;
        due
    }

    fn failed(&self, peer: PeerId, jitter: f64) {
        let mut peers = self.lock();
        if let Some(attempt) = peers.get_mut(&peer) {
            attempt.dialling = false;
            attempt.next = Instant::now() + attempt.pause.mul_f64(0.75 + 0.5 * jitter);
            attempt.pause = (attempt.pause * 2).min(MAX_PAUSE);
        }
    }

    fn dials(&self) -> usize {
        self.lock().values().filter(|attempt| attempt.dialling).count()
    }

    fn next_due(&self) -> Option<Instant> {
        self.lock().values().filter(|attempt| !attempt.dialling).map(|attempt| attempt.next).min()
    }
}

/// Keeps the mesh until the node stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    loop {
        look(&inner);
        let now = Instant::now();
        let due = inner.mesh.next_due().map_or(LOOK, |next| next.saturating_duration_since(now));
        // A peer that waits for a free dial is due already: do not spin.
        let pause = due.clamp(Duration::from_millis(100), LOOK);
        tokio::select! {
            () = inner.mesh.poked.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn look(inner: &Arc<Inner>) {
    let Some(links) = inner.links() else { return };
    let now = Instant::now();
    for peer in wanted(inner, links) {
        if inner.mesh.dials() >= MAX_DIALS {
            return;
        }
        if inner.mesh.take(peer, now) {
            let task = dial(inner.clone(), peer);
            inner.tasks.spawn(inner.cancel.clone().run_until_cancelled_owned(task));
        }
    }
}

async fn dial(inner: Arc<Inner>, peer: PeerId) {
    match inner.connect(peer).await {
        Ok(_) => inner.mesh.connected(peer),
        Err(error) => {
            tracing::debug!("{error}");
            inner.mesh.failed(peer, inner.jitter());
        }
    }
}

/// Returns the peers that we would like to be connected with and are not, nearest first.
fn wanted(inner: &Arc<Inner>, links: &Links) -> Vec<PeerId> {
    // Of all links only those count that this node would keep by itself: strangers cannot use up
    // the budget by calling.
    let mut connected = BTreeSet::new();
    let mut wanted = Vec::new();
    for room in inner.rooms().into_iter().filter(|room| !room.is_parted(inner)) {
        let mut others = room.other_devices(inner.me());
        others.extend(other_side(inner, &room));
        let (up, mut down): (Vec<PeerId>, Vec<PeerId>) =
            others.into_iter().partition(|peer| links.link(peer).is_some());
        let missing = PER_ROOM.saturating_sub(up.len());
        connected.extend(up);
        down.sort_by_key(|peer| {
            let known = inner.book.known(peer);
            let lan = known.as_ref().is_some_and(|known| known.lan);
            let placed = known.is_some_and(|known| !known.addr.direct.is_empty());
            (!lan, !placed, *peer)
        });
        // Failing ones wait out their pause; give the ones after them a chance.
        let now = Instant::now();
        let waiting = inner.mesh.lock().clone();
        down.retain(|peer| waiting.get(peer).is_none_or(|attempt| attempt.next <= now));
        wanted.extend(down.into_iter().take(missing));
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted.truncate(BUDGET.saturating_sub(connected.len()));
    wanted
}

/// Returns the known devices of the other side of a direct room, before it has written there.
fn other_side(inner: &Arc<Inner>, room: &crate::rooms::RoomHandle) -> Vec<PeerId> {
    let founders = {
        let state = room.lock();
        state.room.members().genesis().map(|genesis| genesis.founders.clone()).unwrap_or_default()
    };
    let mine = inner.keys.account.id();
    let others = founders.into_iter().filter(|founder| *founder != mine);
    let devices = others.flat_map(|founder| inner.devices_of(&founder));
    devices.filter(|device| !room.is_member(device)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_when_a_peer_is_heard() {
        let mesh = Mesh::default();
        let peer = PeerId([1; 32]);
        assert!(mesh.take(peer, Instant::now()));
        assert!(!mesh.take(peer, Instant::now()), "one dial at a time");
        mesh.failed(peer, 0.5);
        assert!(!mesh.take(peer, Instant::now()));
        for _ in 0..20 {
            mesh.failed(peer, 1.0);
        }
        assert!(mesh.take(peer, Instant::now() + MAX_PAUSE.mul_f64(1.3)), "never longer");
        mesh.failed(peer, 0.5);
        mesh.heard(peer);
        assert!(mesh.take(peer, Instant::now()));
    }
}

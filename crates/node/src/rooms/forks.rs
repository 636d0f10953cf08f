//! Forks: a device that signed two events at one position is proved to everyone.

use std::sync::Arc;
use std::time::Duration;

use ayni_core::event::Event;
use ayni_core::limits::MAX_FORK_VOID;
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{Accepted, Fork};

use super::handle::RoomHandle;
use crate::inner::Inner;

/// Longest time before a proof is stated: whoever is first spares the others the same.
const SPREAD: Duration = Duration::from_secs(3);

/// Looks for a proof among refused events and what is held in their places; states it.
pub(crate) async fn prove(inner: Arc<Inner>, room: Arc<RoomHandle>, refused: Vec<Event>) {
    let (Some(first), Some(last)) = (refused.first(), refused.last()) else { return };
    let (log, range) = (first.log(), first.seq()..last.seq().saturating_add(1));
    let (bytes, count) = (usize::MAX, refused.len());
    let Ok(held) = inner.store.events(room.id(), log, range, bytes, count).await else { return };
    let pairs = held.iter().filter_map(|ours| {
        let theirs = refused.iter().find(|theirs| theirs.seq() == ours.seq())?;
        (theirs.id() != ours.id()).then_some((ours, theirs))
    });
    let proof = pairs.map(|(ours, theirs)| Fork::new(ours, theirs, vec![]));
    let Some(proof) = proof.into_iter().find(|proof| proof.proves(room.id()).is_some()) else {
        return;
    };
    tokio::time::sleep(SPREAD.mul_f64(inner.jitter())).await;
    state(&inner, &room, log, proof).await;
}

/// Declares what is held of a forked control log beyond its fork, so that nobody waits for it.
pub(crate) async fn declare(inner: Arc<Inner>, room: Arc<RoomHandle>, log: LogId) {
    if log.lane != Lane::Control || room.lock().room.members().undeclared(&log).is_empty() {
        return;
    }
    tokio::time::sleep(SPREAD.mul_f64(inner.jitter())).await;
    let proof = room.lock().room.members().fork_proof(&log).cloned();
    if let Some(proof) = proof {
        state(&inner, &room, log, proof).await;
    }
}

async fn state(inner: &Arc<Inner>, room: &Arc<RoomHandle>, log: LogId, proof: Fork) {
    let device = &inner.keys.device;
    let change = room.change(inner, |replica, now| {
        let members = replica.members();
        let void: Vec<_> = members.undeclared(&log).into_iter().take(MAX_FORK_VOID).collect();
        let known = members.fork_of(&log).is_some() && void.is_empty();
        if known || !replica.am_member() {
            return Ok(Accepted::default());
        }
        Ok(replica.author_fork(device, Fork { void, ..proof }, now)?)
    });
    if let Err(error) = change.await.and_then(|changed| Ok(changed?)) {
        tracing::warn!(room = %room.id().short(), "a fork could not be stated: {error}");
    }
}

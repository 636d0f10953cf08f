//! Forks: a device that signed two events at one position is proved to everyone.

use std::sync::Arc;
use std::time::Duration;

use ayni_core::event::Event;
use ayni_core::limits::MAX_FORK_VOID;
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{Accepted, Branches, Fork};

use super::handle::RoomHandle;
use crate::inner::Inner;

/// Longest time before a proof is stated: whoever is first spares the others the same.
const SPREAD: Duration = Duration::from_secs(3);

/// Compares a refused run with what is held in its place; states a fork that it proves. Returns the
/// position before which more of the other branch is needed to tell where they part.
pub(crate) async fn look(inner: &Arc<Inner>, room: &Arc<RoomHandle>, run: &[Event]) -> Option<u64> {
    let (first, last) = (run.first()?, run.last()?);
    let (log, range) = (first.log(), first.seq().saturating_sub(1)..last.seq().saturating_add(1));
    let (bytes, count) = (usize::MAX, run.len().saturating_add(1));
    let held = inner.store.events(room.id(), log, range, bytes, count).await.ok()?;
    match Branches::compare(&held, run) {
        Branches::Agree => None,
        Branches::PartBefore(seq) => Some(seq),
        Branches::Part(proof) => {
            let (inner, room) = (inner.clone(), room.clone());
            let (cancel, tasks) = (inner.cancel.clone(), inner.tasks.clone());
            tasks.spawn(cancel.run_until_cancelled_owned(async move {
                tokio::time::sleep(SPREAD.mul_f64(inner.jitter())).await;
                state(&inner, &room, log, *proof).await;
            }));
            None
        }
    }
}

/// Looks after a message log that was cut short: where the branch that is held here parts from the
/// others before the cut, the room must know its real end, so that the difference shows.
pub(crate) async fn examine(inner: Arc<Inner>, room: Arc<RoomHandle>, log: LogId, len: u64) {
    let Some(before) = len.checked_sub(1).filter(|_| log.lane == Lane::Chat) else { return };
    let held = inner.store.events(room.id(), log, before..len, usize::MAX, 1).await;
    let Some(last) = held.ok().and_then(|held| held.first().map(Event::id)) else { return };
    if let Err(error) = room.rectify(&inner, log, len, last).await {
        tracing::warn!(room = %room.id().short(), "the end of a log could not be kept: {error}");
    }
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
    if room.await_tip(inner).await.is_err() {
        return; // Others have both branches too.
    }
    let device = &inner.keys.device;
    let change = room.change(inner, |replica, now| {
        let members = replica.members();
        let void: Vec<_> = members.undeclared(&log).into_iter().take(MAX_FORK_VOID).collect();
        let from = proof.proves(replica.id()).map(|(_, from)| from);
        let known = members.fork_of(&log).is_some_and(|known| Some(known) <= from);
        if known && void.is_empty() || !replica.am_member() {
            return Ok(Accepted::default());
        }
        Ok(replica.author_fork(device, Fork { void, ..proof }, now)?)
    });
    if let Err(error) = change.await.and_then(|changed| Ok(changed?)) {
        tracing::warn!(room = %room.id().short(), "a fork could not be stated: {error}");
    }
}

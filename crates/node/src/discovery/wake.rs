//! Noticing that the machine slept, or that its addresses changed, and recovering at once.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use iroh::Watcher;

use crate::inner::Inner;
use crate::services::builtin::call_ping;
use crate::transport::Link;

/// How often the clocks are compared.
const TICK: Duration = Duration::from_secs(5);
/// A wall clock that ran ahead of the steady one by more than this: the machine slept.
const SLEPT: Duration = Duration::from_secs(15);

/// How long a peer may take to answer after a change. A side that was dialled cannot move its
/// connection, and would otherwise find that out by the connection's idle time, half a minute.
const ANSWER: Duration = Duration::from_secs(3);

/// Watches until the node stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let Some(links) = inner.links() else { return };
    let endpoint = links.bound().endpoint.clone();
    let mut addresses = endpoint.watch_addr();
    let mut tick = tokio::time::interval(TICK);
    let mut last = (Instant::now(), SystemTime::now());
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let now = (Instant::now(), SystemTime::now());
                let steady = now.0.saturating_duration_since(last.0);
                let wall = now.1.duration_since(last.1).unwrap_or_default();
                last = now;
                if wall > steady + SLEPT || steady > TICK + SLEPT {
                    tracing::info!("the machine slept: reconnecting");
                    endpoint.network_change().await;
                    recover(&inner);
                }
            }
            changed = addresses.updated() => {
                if changed.is_err() { return }
                recover(&inner);
            }
        }
    }
}

fn recover(inner: &Arc<Inner>) {
    inner.mesh.reset();
    for link in inner.links().map(crate::transport::links::Links::all).unwrap_or_default() {
        let probe = probe(inner.clone(), link);
        inner.tasks.spawn(inner.cancel.clone().run_until_cancelled_owned(probe));
    }
    for room in inner.rooms() {
        room.poke();
    }
}

/// Closes a link that does not answer any more, so that its peer is dialled anew.
async fn probe(inner: Arc<Inner>, link: Link) {
    if !matches!(tokio::time::timeout(ANSWER, call_ping(&link)).await, Ok(Ok(_))) {
        link.close("no answer after a change of the network");
        inner.mesh.heard(link.peer());
    }
}

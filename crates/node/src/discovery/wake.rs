//! Noticing that the machine slept, or that its addresses changed, and recovering at once.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use iroh::Watcher;

use crate::inner::Inner;

/// How often the clocks are compared.
const TICK: Duration = Duration::from_secs(5);
/// A wall clock that ran ahead of the steady one by more than this: the machine slept.
const SLEPT: Duration = Duration::from_secs(15);

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
    for room in inner.rooms() {
        room.poke();
    }
}

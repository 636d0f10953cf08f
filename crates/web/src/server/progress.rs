//! `/api/v1/progress`: how far transfers are, one JSON text frame each time that one stands otherwise.
//!
//! All transfers, or one by its number; then the socket ends with it. A reader that is slow misses
//! steps between, never the last one: each frame says how it is when it is written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use ayni::EventStream;
use futures_util::{Stream, stream};
use tokio::time::{MissedTickBehavior, interval};

use super::events::{MAX_EVENT, not_a_socket};
use super::failure::Result;
use super::params::Params;
use super::{App, socket};
use crate::api::Transfer;

/// How often it is looked how far those are that run: as often as the node counts.
const LOOK: Duration = Duration::from_millis(200);

/// Subscribes to one transfer or to all.
pub(super) async fn progress(
    State(app): State<Arc<App>>,
    mut params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response> {
    let only = params.parsed::<u64>("id")?;
    params.end()?;
    if let Some(id) = only.filter(|id| !app.node.transfers().iter().any(|it| it.id == *id)) {
        return Err(ayni::Error::NotFound(format!("there is no transfer {id}")).into());
    }
    let upgrade = upgrade.map_err(|_| not_a_socket())?;
    let following = Following {
        app: Arc::clone(&app),
        only,
        events: app.node.subscribe(),
        told: BTreeMap::new(),
        due: VecDeque::new(),
    };
    let session_app = Arc::clone(&app);
    socket::upgrade(&app, upgrade, (socket::QUIET, MAX_EVENT), async move |socket| {
        socket::run(&session_app, socket, frames(following), socket::ignore).await;
    })
}

fn frames(following: Following) -> impl Stream<Item = Message> {
    stream::unfold(following, async |mut following| {
        let transfer = following.next().await?;
        let json = serde_json::to_string(&transfer).expect("the API's shapes are plain data");
        Some((Message::text(json), following))
    })
}

struct Following {
    app: Arc<App>,
    only: Option<u64>,
    events: EventStream,
    /// What was told last of each that is listed.
    told: BTreeMap<u64, Transfer>,
    due: VecDeque<u64>,
}

impl Following {
    /// Returns what stands otherwise than was told; none when nothing will follow.
    async fn next(&mut self) -> Option<Transfer> {
        loop {
            if let Some(transfer) = self.due.pop_front().and_then(|id| self.told.get(&id)) {
                return Some(transfer.clone());
            }
            if self.only.is_some_and(|id| self.told.get(&id).is_some_and(Transfer::is_over)) {
                return None;
            }
            if self.look() {
                continue;
            }
            if self.only.is_some_and(|id| !self.told.contains_key(&id)) || !self.wait().await {
                return None;
            }
        }
    }

    /// Compares with what was told; returns whether something is due.
    fn look(&mut self) -> bool {
        let all = self.app.node.transfers().into_iter().map(Transfer::from);
        let of_interest = all.filter(|it| self.only.is_none_or(|id| id == it.id));
        let mut now: BTreeMap<u64, Transfer> = of_interest.map(|it| (it.id, it)).collect();
        std::mem::swap(&mut self.told, &mut now);
        let changed = self.told.iter().filter(|(id, it)| now.get(id) != Some(*it));
        self.due.extend(changed.map(|(id, _)| *id));
        !self.due.is_empty()
    }

    /// Waits until it is worth looking again; false when the node stopped.
    async fn wait(&mut self) -> bool {
        let active = self.told.values().any(|it| it.state.is_active());
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        loop {
            tokio::select! {
                event = self.events.next() => match event {
                    ayni::Event::TransferChanged(_) | ayni::Event::Lagged(_) => return true,
                    ayni::Event::Closed => return false,
                    _ => {}
                },
                _ = tick.tick(), if active => return true,
            }
        }
    }
}

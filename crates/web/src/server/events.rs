//! `/api/v1/events`: what happens, one JSON text frame an event.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use ayni::EventStream;
use futures_util::{Stream, stream};

use super::failure::{Failure, Result};
use super::params::Params;
use super::{App, socket};
use crate::api;

/// Most bytes of one event: the largest text, every byte of it escaped. An attachment's are fewer.
pub(super) const MAX_EVENT: usize = 6 * ayni::limits::MAX_TEXT + 4096;

/// Subscribes. What happens after the reply to this request is told or counted as missed.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    mut params: Params,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response> {
    let thumbnails = params.parsed::<bool>("thumbnails")?.unwrap_or(false);
    params.end()?;
    let upgrade = upgrade.map_err(|_| not_a_socket())?;
    let subscription = app.node.subscribe();
    let session_app = Arc::clone(&app);
    socket::upgrade(&app, upgrade, (socket::QUIET, MAX_EVENT), async move |socket| {
        let frames = frames(subscription, thumbnails);
        socket::run(&session_app, socket, frames, socket::ignore).await;
    })
}

/// Ends with the node.
fn frames(subscription: EventStream, thumbnails: bool) -> impl Stream<Item = Message> {
    stream::unfold((subscription, thumbnails), async |(mut subscription, thumbnails)| {
        loop {
            let event = subscription.next().await;
            if event == ayni::Event::Closed {
                return None;
            }
            // Kinds that the API does not tell of yet are passed over.
            if let Some(event) = api::Event::from_node(event, thumbnails) {
                let json = serde_json::to_string(&event).expect("the API's shapes are plain data");
                return Some((Message::text(json), (subscription, thumbnails)));
            }
        }
    })
}

pub(super) fn not_a_socket() -> Failure {
    Failure::invalid("this address of the API is a WebSocket")
}

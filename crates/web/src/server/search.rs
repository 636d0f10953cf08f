//! Messages found by their words, the newest first, as lines of JSON, in memory for one page at a time.
//! The first line says how far the index is behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ayni::{Found, RoomId};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, future, stream};

use super::App;
use super::failure::{Failure, Result};
use super::history::{LINES, PAGE, line};
use super::params::Params;
use crate::api;

/// What is searched for, and what of it is still to be written.
struct Search {
    app: Arc<App>,
    text: String,
    room: Option<RoomId>,
    /// How many messages may still be found.
    left: usize,
    /// The page at hand; none after the last.
    page: Option<Found>,
}

/// Answers with the newest messages that have all words of `text`, in one `room` or in all.
pub(super) async fn search(State(app): State<Arc<App>>, mut params: Params) -> Result<Response> {
    // Without it there is nothing to search for, which the node says in its own words.
    let text = params.optional("text")?.unwrap_or_default();
    let room = params.optional("room")?;
    let limit = params.up_to("limit", api::MAX_FOUND)?.unwrap_or(api::DEFAULT_LIMIT);
    params.end()?;
    let room = room.map(|room| app.node.find_room(&room)).transpose()?;
    // The first page comes before the status: what cannot be searched for is told by that.
    let page = app.node.search(&text, room, limit.min(PAGE), None).await?;
    let head = line(&api::Searched { behind: page.behind });
    let search = Search { app, text, room, left: limit, page: Some(page) };
    let body = stream::once(future::ready(Ok(head))).chain(pages(search));
    Ok(([(CONTENT_TYPE, LINES)], Body::from_stream(body)).into_response())
}

/// Writes page after page. A failure on the way is a last line of its own.
fn pages(search: Search) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    stream::unfold(search, async |mut search| {
        loop {
            let mut page = search.page.take()?;
            page.messages.truncate(search.left);
            search.left -= page.messages.len();
            let mut lines = search.encode(&page);
            match search.after(&page).await {
                Ok(next) => search.page = next,
                Err(failure) => {
                    lines.extend(line(&api::Failure { error: failure.into_detail() }));
                }
            }
            // Of a page, all may be hidden.
            if !lines.is_empty() {
                return Some((Ok(lines.freeze()), search));
            }
        }
    })
}

impl Search {
    /// Reads the page after this one; none after the last.
    async fn after(&self, page: &Found) -> Result<Option<Found>> {
        let Some(before) = page.before.filter(|_| self.left > 0) else { return Ok(None) };
        if self.app.closing.is_cancelled() {
            return Err(Failure::stopping());
        }
        let (limit, before) = (self.left.min(PAGE), Some(before));
        Ok(Some(self.app.node.search(&self.text, self.room, limit, before).await?))
    }

    fn encode(&self, page: &Found) -> BytesMut {
        let mut names = BTreeMap::new();
        let mut lines = BytesMut::new();
        for message in &page.messages {
            let room = message.room;
            let name = names.entry(room).or_insert_with(|| {
                let known = self.app.node.room(room).map(|info| info.name);
                known.unwrap_or_else(|_| room.short())
            });
            let message = api::Message::from_node(message.clone(), false);
            let room_name = name.clone();
            lines.extend_from_slice(&line(&api::FoundMessage { message, room_name }));
        }
        lines
    }
}

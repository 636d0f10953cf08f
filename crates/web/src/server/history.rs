//! A room's newest messages, oldest first, as lines of JSON, in memory for one page at a time.
//!
//! The store pages backwards and the reply goes forwards. So the pages are walked twice: first back,
//! keeping only where each one is, then forward, reading each again and writing it out. What the
//! network delivers in between can lengthen a page, never lose a message: each page is read back to
//! the message that began it the first time.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ayni::{Cursor, EventId, Message, MessageQuery, Node, RoomId};
use bytes::Bytes;
use futures_util::{Stream, stream};

use super::App;
use super::failure::{Failure, Result};
use crate::api;

/// The media type of one value a line.
pub(super) const LINES: &str = "application/x-ndjson";
/// Messages read at once: some hundred kilobytes of ordinary talk.
pub(super) const PAGE: usize = 256;
/// Times that a page is read further back to find its first message, before what there is is taken:
/// so many pages of older messages would have to arrive within the moment of one reply.
const MAX_STEPS: usize = 16;

/// A page that was seen on the way back.
#[derive(Debug)]
struct Seen {
    /// Where it ends, exclusive.
    end: Option<Cursor>,
    /// Its first message.
    first: EventId,
    /// How many messages it had.
    count: usize,
}

/// What is still to be written.
struct Rest {
    app: Arc<App>,
    room: RoomId,
    thumbnails: bool,
    /// Older pages, the oldest first.
    pages: VecDeque<Seen>,
    /// The newest page, read only once.
    newest: Option<Vec<Message>>,
}

/// Answers with the newest `limit` messages of a room.
pub(super) async fn history(
    app: Arc<App>,
    room: RoomId,
    limit: usize,
    thumbnails: bool,
) -> Result<Response> {
    let rest = Rest { thumbnails, ..plan(app, room, limit).await? };
    let body = Body::from_stream(lines(rest));
    Ok(([(CONTENT_TYPE, LINES)], body).into_response())
}

/// Walks back, and finds out whether the room can be read at all while there is still a status to say.
async fn plan(app: Arc<App>, room: RoomId, limit: usize) -> Result<Rest> {
    let mut pages = VecDeque::new();
    let mut newest = None;
    let mut end = None;
    let mut wanted = limit;
    while wanted > 0 {
        let query = MessageQuery { limit: wanted.min(PAGE), before: end };
        let page = app.node.messages(room, query).await?;
        let Some(first) = page.messages.first().map(|message| message.event) else { break };
        let count = page.messages.len();
        wanted = wanted.saturating_sub(count);
        match newest {
            None => newest = Some(page.messages),
            Some(_) => pages.push_front(Seen { end, first, count }),
        }
        end = page.before;
        if end.is_none() {
            break;
        }
    }
    Ok(Rest { app, room, thumbnails: false, pages, newest })
}

/// Writes the pages forward. A failure on the way is a last line of its own.
fn lines(rest: Rest) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    stream::unfold(Some(rest), async |rest| {
        let mut rest = rest?;
        let messages = match rest.pages.pop_front() {
            Some(seen) => reread(&rest, &seen).await,
            None => Ok(rest.newest.take()?),
        };
        match messages {
            Ok(messages) => Some((Ok(encode(messages, rest.thumbnails)), Some(rest))),
            Err(failure) => {
                let failure = api::Failure { error: failure.into_detail() };
                Some((Ok(line(&failure)), None))
            }
        }
    })
}

async fn reread(rest: &Rest, seen: &Seen) -> Result<Vec<Message>> {
    if rest.app.closing.is_cancelled() {
        return Err(Failure::stopping());
    }
    reach(&rest.app.node, rest.room, seen).await
}

/// Reads back from the page's end to its first message.
async fn reach(node: &Node, room: RoomId, seen: &Seen) -> Result<Vec<Message>> {
    let mut messages: Vec<Message> = Vec::new();
    let mut end = seen.end;
    for _ in 0..MAX_STEPS {
        let query = MessageQuery { limit: seen.count, before: end };
        let page = node.messages(room, query).await?;
        let first = page.messages.iter().position(|message| message.event == seen.first);
        let older = page.messages.into_iter().skip(first.unwrap_or_default());
        messages.splice(..0, older);
        end = page.before;
        if first.is_some() || end.is_none() {
            break;
        }
    }
    Ok(messages)
}

fn encode(messages: Vec<Message>, thumbnails: bool) -> Bytes {
    let messages = messages.into_iter();
    let lines = messages.map(|message| line(&api::Message::from_node(message, thumbnails)));
    lines
        .fold(Vec::new(), |mut all, line| {
            all.extend_from_slice(&line);
            all
        })
        .into()
}

/// Returns a value as one line of JSON.
pub(super) fn line(value: &impl serde::Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).expect("the API's shapes are plain data");
    line.push(b'\n');
    line.into()
}

//! Pictures, files and transfers.
//!
//! Paths are those of this machine, as its user names them to its own node; they are absolute, since
//! the node does not share anyone's working folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use ayni::{AttachOptions, Cursor, Files, RoomId, Target};
use bytes::Bytes;
use futures_util::{Stream, stream};

use super::App;
use super::extract::{JsonBody, MAX_TEXT_BODY, Room};
use super::failure::{Failure, Result};
use super::history::{LINES, PAGE, line};
use super::params::Params;
use super::routes::{Shared, all};
use crate::api;

/// How long a list waits for messages that just came: they are looked into within a second where nothing
/// else is written.
const INDEXED: Duration = Duration::from_secs(2);

pub(super) async fn attach(
    State(app): Shared,
    Room(room): Room,
    JsonBody(body): JsonBody<api::Attach, MAX_TEXT_BODY>,
) -> Result<Json<api::Attached>> {
    let path = absolute(&body.path)?;
    let options = AttachOptions::from(body);
    Ok(Json(app.node.attach(room, path, &options).await?.into()))
}

/// Answers with what was attached in a room, the newest first, as lines of JSON.
pub(super) async fn files(
    State(app): Shared,
    Room(room): Room,
    mut params: Params,
) -> Result<Response> {
    let left = params.parsed::<usize>("limit")?.unwrap_or(api::DEFAULT_LIMIT);
    params.end()?;
    // The first page comes before the status: a room that cannot be read is told by that.
    let page = first_page(&app, room, left.min(PAGE)).await?;
    let listing = Listing { app, room, left, page: Some(page) };
    Ok(([(CONTENT_TYPE, LINES)], Body::from_stream(pages(listing))).into_response())
}

/// Returns the newest attachments; waits a moment for messages that just came and were not looked into.
async fn first_page(app: &App, room: RoomId, limit: usize) -> Result<Files> {
    let begun = tokio::time::Instant::now();
    loop {
        let page = app.node.files(room, limit, None).await?;
        if page.behind == 0 || begun.elapsed() > INDEXED {
            return Ok(page);
        }
        tokio::time::sleep(INDEXED / 40).await;
    }
}

/// What of a list is still to be written.
struct Listing {
    app: Arc<App>,
    room: RoomId,
    /// How many may still be told.
    left: usize,
    /// The page at hand; none after the last.
    page: Option<Files>,
}

/// Writes page after page. A failure on the way is a last line of its own.
fn pages(listing: Listing) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    stream::unfold(listing, async |mut listing| {
        loop {
            let Files { files, next: before, .. } = listing.page.take()?;
            let mut lines = Vec::new();
            for file in files.into_iter().take(listing.left) {
                listing.left -= 1;
                lines.extend_from_slice(&line(&api::File::from(file)));
            }
            match listing.after(before).await {
                Ok(next) => listing.page = next,
                Err(failure) => {
                    lines.extend_from_slice(&line(&api::Failure { error: failure.into_detail() }));
                }
            }
            // Of a page, all may be hidden.
            if !lines.is_empty() {
                return Some((Ok(lines.into()), listing));
            }
        }
    })
}

impl Listing {
    async fn after(&self, before: Option<Cursor>) -> Result<Option<Files>> {
        let Some(before) = before.filter(|_| self.left > 0) else { return Ok(None) };
        if self.app.closing.is_cancelled() {
            return Err(Failure::stopping());
        }
        let limit = self.left.min(PAGE);
        Ok(Some(self.app.node.files(self.room, limit, Some(before)).await?))
    }
}

pub(super) async fn fetch(
    State(app): Shared,
    Room(room): Room,
    JsonBody(body): JsonBody<api::Fetch, MAX_TEXT_BODY>,
) -> Result<Json<api::Transfer>> {
    let target = match &body.path {
        Some(path) => Some(Target { path: absolute(path)?, existing: body.existing.into() }),
        None => None,
    };
    let event = app.node.find_attachment(room, &body.event).await?;
    Ok(Json(app.node.fetch(room, event, target).await?.info().into()))
}

pub(super) async fn transfers(State(app): Shared) -> Json<Vec<api::Transfer>> {
    Json(all(app.node.transfers()))
}

pub(super) async fn pause(State(app): Shared, Number(id): Number) -> Result<Json<api::Done>> {
    app.node.pause_transfer(id).await?;
    Ok(Json(api::Done {}))
}

pub(super) async fn resume(State(app): Shared, Number(id): Number) -> Result<Json<api::Done>> {
    app.node.resume_transfer(id).await?;
    Ok(Json(api::Done {}))
}

pub(super) async fn cancel(State(app): Shared, Number(id): Number) -> Result<Json<api::Done>> {
    app.node.cancel_transfer(id).await?;
    Ok(Json(api::Done {}))
}

/// The number of a transfer in the path.
pub(super) struct Number(pub(super) u64);

impl<S: Send + Sync> FromRequestParts<S> for Number {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let number = Path::<u64>::from_request_parts(parts, state).await;
        let malformed = || Failure::invalid("a transfer is named by its number");
        number.map(|Path(number)| Self(number)).map_err(|_| malformed())
    }
}

pub(super) fn absolute(path: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    if !path.is_absolute() {
        return Err(Failure::invalid("a path is to be absolute"));
    }
    Ok(path)
}

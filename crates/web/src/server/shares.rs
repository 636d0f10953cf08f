//! Shares and tickets: what is given to whoever has a ticket, and what is fetched by one.

use std::io::{self, Read};
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use ayni::{BlobId, ContentReader, Target};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::App;
use super::extract::{JsonBody, MAX_TEXT_BODY};
use super::failure::{Failure, Result};
use super::files::{Number, absolute};
use super::params::Params;
use super::routes::{Shared, all};
use crate::api;

/// Largest body that names paths: as many as one command line has room for.
const MAX_PATHS_BODY: usize = 4 * 1024 * 1024;
/// Pieces of a body between who sends it and who hashes it; a full queue holds the sender up.
const BODY_QUEUE: usize = 8;
/// Bytes of a content that are written to a socket at a time.
const PIECE: usize = 256 * 1024;

pub(super) async fn shares(State(app): Shared) -> Result<Json<Vec<api::Share>>> {
    Ok(Json(all(app.node.shares().await?)))
}

pub(super) async fn share(
    State(app): Shared,
    JsonBody(body): JsonBody<api::SharePaths, MAX_PATHS_BODY>,
) -> Result<Json<api::Shared>> {
    let paths = body.paths.iter().map(|path| absolute(path)).collect::<Result<Vec<_>>>()?;
    Ok(Json(app.node.share(&paths, body.copy).await?.into()))
}

/// Shares the body of the request, however large, as a file with a name.
pub(super) async fn share_bytes(
    State(app): Shared,
    mut params: Params,
    request: Request,
) -> Result<Json<api::Shared>> {
    let name = params.required("name")?;
    params.end()?;
    let (sender, coming) = mpsc::channel(BODY_QUEUE);
    let pumping = pump(request.into_body(), sender);
    let reader = Pieces { coming, at_hand: Bytes::new(), ended: false };
    let (shared, ()) = tokio::join!(app.node.share_reader(&name, reader), pumping);
    Ok(Json(shared?.into()))
}

/// Hands a body on; the last piece is an empty one, so that a sender that is gone is no end.
async fn pump(body: Body, to: mpsc::Sender<io::Result<Bytes>>) {
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(io::Error::other);
        let failed = piece.is_err();
        let empty = piece.as_ref().is_ok_and(Bytes::is_empty);
        if !empty && (to.send(piece).await.is_err() || failed) {
            return;
        }
    }
    // Nobody is there to be told that nobody is there.
    let _ = to.send(Ok(Bytes::new())).await;
}

/// A body for who reads without awaiting.
#[derive(Debug)]
struct Pieces {
    coming: mpsc::Receiver<io::Result<Bytes>>,
    at_hand: Bytes,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at_hand.is_empty() && !self.ended {
            let next = self.coming.blocking_recv().ok_or(io::ErrorKind::UnexpectedEof)??;
            self.ended = next.is_empty();
            self.at_hand = next;
        }
        let len = self.at_hand.len().min(into.len());
        into[..len].copy_from_slice(&self.at_hand.split_to(len));
        Ok(len)
    }
}

pub(super) async fn unshare(
    State(app): Shared,
    JsonBody(body): JsonBody<api::Unshare>,
) -> Result<Json<api::Unshared>> {
    let blob: BlobId = app.node.find_share(&body.share).await?;
    app.node.unshare(blob).await?;
    Ok(Json(api::Unshared { blob }))
}

pub(super) async fn get(
    State(app): Shared,
    JsonBody(body): JsonBody<api::Get, MAX_TEXT_BODY>,
) -> Result<Json<api::Transfer>> {
    let target = match &body.path {
        Some(path) => Some(Target { path: absolute(path)?, existing: body.existing.into() }),
        None => None,
    };
    let begun = match (body.pour, target) {
        (true, Some(_)) => return Err(Failure::invalid("what is poured is written nowhere")),
        (true, None) => app.node.pour(&body.ticket).await?,
        (false, target) => app.node.get(&body.ticket, target).await?,
    };
    Ok(Json(begun.info().into()))
}

/// Answers with the bytes of the only file of a transfer, as they come.
pub(super) async fn content(State(app): Shared, Number(id): Number) -> Result<Response> {
    let reader = app.node.open_transfer(id).await?;
    // Who gets less than that knows that something broke on the way.
    let size = reader.size();
    let body = Body::from_stream(pieces(app, reader));
    let headers =
        [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_LENGTH, size.to_string())];
    Ok((headers, body).into_response())
}

fn pieces(app: Arc<App>, reader: ContentReader) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold((app, reader), async |(app, mut reader)| {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = app.closing.run_until_cancelled(reader.read_buf(&mut piece)).await;
        let read = read.ok_or_else(|| io::Error::other(Stopping))??;
        Ok((read > 0).then(|| (piece.freeze(), (app, reader))))
    })
}

/// The server stops.
#[derive(Debug)]
struct Stopping;

impl std::fmt::Display for Stopping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&Failure::stopping().into_detail().message)
    }
}

impl std::error::Error for Stopping {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Body) -> io::Result<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (sender, coming) = mpsc::channel(BODY_QUEUE);
        let mut reader = Pieces { coming, at_hand: Bytes::new(), ended: false };
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        runtime.block_on(pump(body, sender));
        reading.join().expect("no panic")
    }

    #[test]
    fn a_body_is_read_to_its_end() {
        let pieces = ["on", "", "e", " two"].map(|it| Ok::<_, io::Error>(Bytes::from(it)));
        assert_eq!(read(Body::from_stream(stream::iter(pieces))).expect("whole"), b"one two");
        assert_eq!(read(Body::empty()).expect("whole"), b"");
    }

    #[test]
    fn a_body_that_breaks_off_is_not_taken_for_a_whole_one() {
        let broken = [Ok(Bytes::from("one")), Err(io::Error::other("gone"))];
        assert!(read(Body::from_stream(stream::iter(broken))).is_err());
        let (sender, coming) = mpsc::channel(BODY_QUEUE);
        drop::<mpsc::Sender<io::Result<Bytes>>>(sender);
        let mut reader = Pieces { coming, at_hand: Bytes::new(), ended: false };
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }
}

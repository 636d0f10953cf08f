//! What routes take from a request: bounded bodies, and rooms by any of their names.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use ayni::RoomId;
use ayni::limits::{MAX_TEXT, MAX_TICKET_TEXT};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::App;
use super::failure::{Failure, Result};

/// Largest body with a text: JSON may write every byte of it in six (`\u0000`), and a name beside it.
pub(super) const MAX_TEXT_BODY: usize = 6 * MAX_TEXT + 4096;
/// Largest body of the other JSON routes: the longest ticket, with room for the rest.
pub(super) const MAX_SMALL_BODY: usize = 2 * MAX_TICKET_TEXT;

/// A JSON body of at most `LIMIT` bytes.
pub(super) struct JsonBody<T, const LIMIT: usize = MAX_SMALL_BODY>(pub(super) T);

impl<T: DeserializeOwned, S: Sync, const LIMIT: usize> FromRequest<S> for JsonBody<T, LIMIT> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let body = read(request, LIMIT).await?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            Failure::invalid(if error.is_data() {
                format!("the JSON body is not what this address takes: {error}")
            } else {
                format!("the body is not JSON: {error}")
            })
        })
    }
}

/// A body of at most `LIMIT` bytes, as it is.
pub(super) struct RawBody<const LIMIT: usize>(pub(super) Bytes);

impl<S: Sync, const LIMIT: usize> FromRequest<S> for RawBody<LIMIT> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        read(request, LIMIT).await.map(Self)
    }
}

async fn read(request: Request, limit: usize) -> Result<Bytes> {
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Failure::too_large(limit));
    }
    let mut chunks = request.into_body().into_data_stream();
    let mut body = BytesMut::with_capacity(announced.unwrap_or_default());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Failure::invalid("the body ended too early"))?;
        if chunk.len() > limit - body.len() {
            return Err(Failure::too_large(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The room that the path names by its id, the start of it, or its name.
pub(super) struct Room(pub(super) RoomId);

impl FromRequestParts<Arc<App>> for Room {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self> {
        let Path(name) = Path::<String>::from_request_parts(parts, app)
            .await
            .map_err(|_| Failure::invalid("the room in the path is not UTF-8"))?;
        Ok(Self(app.node.find_room(&name)?))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use futures_util::stream;

    use super::*;
    use crate::api::Text;

    type Small = JsonBody<Text, 32>;

    async fn status(body: Body) -> StatusCode {
        match Small::from_request(Request::new(body), &()).await {
            Ok(_) => StatusCode::OK,
            Err(failure) => failure.into_response().status(),
        }
    }

    #[tokio::test]
    async fn bodies_are_bounded_with_and_without_an_announced_length() {
        assert_eq!(status(Body::from(r#"{"text":"x"}"#)).await, StatusCode::OK);
        let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(32));
        let chunks = long.clone().into_bytes().into_iter().map(|b| Ok::<_, std::io::Error>([b]));
        let chunks = stream::iter(chunks.map(|c| c.map(|c| Bytes::copy_from_slice(&c))));
        assert_eq!(status(Body::from_stream(chunks)).await, StatusCode::PAYLOAD_TOO_LARGE);
        let mut announced = Request::new(Body::from(long));
        announced.headers_mut().insert(CONTENT_LENGTH, 44.into());
        assert!(Small::from_request(announced, &()).await.is_err());
    }

    #[tokio::test]
    async fn what_is_not_the_expected_json_is_refused() {
        for body in ["", "{", "[]", "{}", r#"{"text":5}"#, r#"{"text":"x","more":1}"#, "\u{feff}{}"]
        {
            assert_eq!(status(Body::from(body)).await, StatusCode::BAD_REQUEST, "{body}");
        }
    }

    #[test]
    fn the_largest_text_fits_however_it_is_escaped() {
        let worst = "\u{1}".repeat(MAX_TEXT);
        let json = serde_json::to_vec(&Text { text: worst }).expect("plain data");
        assert!(json.len() <= MAX_TEXT_BODY);
    }
}

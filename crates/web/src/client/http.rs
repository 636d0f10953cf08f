//! Plain HTTP to 127.0.0.1, over a few connections that are kept.
//!
//! Not reqwest: compiled beside iroh it brings TLS along, and its client cannot even be built on a
//! machine without CA certificates.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use axum::http::{Method, Request};
use bytes::Bytes;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::{ClientError, Result};
use crate::api::{ErrorCode, Failure};

/// Longest time to connect: a listening socket on this machine answers at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that an unused connection is kept: well below that after which the server closes it.
const KEEP_IDLE: Duration = Duration::from_secs(2);
/// Unused connections kept: as many as one program asks at once.
const MAX_IDLE: usize = 4;
/// Largest reply that is taken whole: the largest of a service, and lists of any size in practice.
const MAX_REPLY: usize = 64 * 1024 * 1024;

/// Sends requests, with connections that its clones share.
#[derive(Clone)]
pub(super) struct Http(legacy::Client<HttpConnector, Body>);

/// What is sent.
pub(super) struct Ask {
    pub(super) method: Method,
    /// Path and query, see [`path`].
    pub(super) path: String,
    pub(super) body: Body,
    pub(super) is_json: bool,
}

impl Http {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(connector);
        Self(client)
    }

    /// Sends the request with the token and returns the reply's body as it comes; a failure that the
    /// node tells is an error.
    pub(super) async fn stream(&self, addr: SocketAddr, token: &str, ask: Ask) -> Result<Body> {
        let mut request = Request::builder()
            .method(ask.method)
            .uri(format!("http://{addr}{}", ask.path))
            .header(AUTHORIZATION, bearer(token)?);
        if ask.is_json {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(ask.body).map_err(|_| too_long())?;
        let response = self.0.request(request).await.map_err(|_| ClientError::gone())?;
        let (head, body) = response.into_parts();
        let body = Body::new(body);
        if head.status.is_success() {
            return Ok(body);
        }
        Err(failure(head.status.as_u16(), &whole(body).await?))
    }

    /// Sends the request and returns the whole reply, within `timeout`.
    pub(super) async fn fetch(
        &self,
        addr: SocketAddr,
        token: &str,
        ask: Ask,
        timeout: Duration,
    ) -> Result<Bytes> {
        let reply = async { whole(self.stream(addr, token, ask).await?).await };
        tokio::time::timeout(timeout, reply).await.unwrap_or_else(|_| {
            Err(ClientError::unreachable("the node on this machine did not answer in time"))
        })
    }
}

async fn whole(body: Body) -> Result<Bytes> {
    to_bytes(body, MAX_REPLY).await.map_err(|_| ClientError::gone())
}

/// Returns the header that has the token.
pub(super) fn bearer(token: &str) -> Result<HeaderValue> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| ClientError::internal("the token file is damaged"))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

pub(super) fn too_long() -> ClientError {
    ClientError::invalid("the arguments are too long for a request")
}

/// Returns `/api/v1/` with the segments and the query, each part quoted.
///
/// # Errors
/// `Invalid` for an empty segment, which a path cannot carry.
pub(super) fn path(segments: &[&str], query: &[(&str, &str)]) -> Result<String> {
    let mut path = String::from("/api/v1");
    for segment in segments {
        if segment.is_empty() {
            return Err(ClientError::invalid("a name or id is empty"));
        }
        path.push('/');
        quote(&mut path, segment);
    }
    for (n, (key, value)) in query.iter().enumerate() {
        path.push(if n == 0 { '?' } else { '&' });
        quote(&mut path, key);
        path.push('=');
        quote(&mut path, value);
    }
    Ok(path)
}

/// Appends `text` with everything but letters, digits, `-`, `_` and `~` percent-encoded: `.` as well,
/// for a room of the name `..`.
fn quote(to: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            to.push(char::from(byte));
        } else {
            // A String takes everything.
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

/// Reads what the node said of a failure.
pub(super) fn failure(status: u16, body: &[u8]) -> ClientError {
    if let Ok(failure) = serde_json::from_slice::<Failure>(body) {
        return failure.error.into();
    }
    let code = match status {
        401 | 403 => ErrorCode::Denied,
        404 => ErrorCode::NotFound,
        400..=499 => ErrorCode::Invalid,
        503 | 504 => ErrorCode::Unreachable,
        _ => ErrorCode::Internal,
    };
    ClientError::new(code, format!("the node answered with HTTP status {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_in_paths_and_queries() {
        let path_ = path(&["rooms", "a/b ?#é", "leave"], &[("who", "a&b=c"), ("n", "5")]);
        let expected = "/api/v1/rooms/a%2Fb%20%3F%23%C3%A9/leave?who=a%26b%3Dc&n=5";
        assert_eq!(path_.as_deref(), Ok(expected));
        assert_eq!(path(&["rooms", ".."], &[]).as_deref(), Ok("/api/v1/rooms/%2E%2E"));
    }

    #[test]
    fn an_empty_name_is_refused() {
        let error = path(&["rooms", "", "leave"], &[]).expect_err("refused");
        assert_eq!(error.code, ErrorCode::Invalid);
    }

    #[test]
    fn a_failure_keeps_its_code_or_takes_one_from_the_status() {
        let told = failure(404, br#"{"error":{"code":"denied","message":"no"}}"#);
        assert_eq!(told, ClientError::new(ErrorCode::Denied, "no"));
        assert_eq!(failure(504, b"").code, ErrorCode::Unreachable);
        assert_eq!(failure(413, b"<html>").code, ErrorCode::Invalid);
    }

    #[test]
    fn a_token_is_not_shown_and_a_damaged_one_is_told() {
        assert!(!format!("{:?}", bearer("secret")).contains("secret"));
        assert_eq!(bearer("a\nb").expect_err("refused").code, ErrorCode::Internal);
    }
}

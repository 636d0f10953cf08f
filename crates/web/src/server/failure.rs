//! Failures as the API tells them: a status and `{"error":{"code","message"}}`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::{self, ErrorCode, ErrorDetail};

/// The result of a route.
pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A failed request.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    detail: ErrorDetail,
}

impl Failure {
    fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status, detail: ErrorDetail { code, message: message.into() } }
    }

    /// What was given is malformed.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::Invalid, message)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the body of this request may have {limit} bytes at most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::Invalid, message)
    }

    pub(super) fn no_such_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, "the API has no such address")
    }

    pub(super) fn wrong_method() -> Self {
        let message = "this address of the API does not know this HTTP method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Invalid, message)
    }

    pub(super) fn wrong_host() -> Self {
        let message = "this Host is not this node: use the address that it printed";
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
    }

    pub(super) fn wrong_origin() -> Self {
        let message = "pages of another origin may not use this node";
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
    }

    pub(super) fn wrong_token() -> Self {
        let message =
            "the bearer token is missing or wrong: it is in the file token of the data folder";
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Denied, message)
    }

    pub(super) fn too_many_sockets() -> Self {
        let message = "too many WebSockets are open: close some and try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unreachable, message)
    }

    /// The server stops, and the answer would come too late.
    pub(super) fn stopping() -> Self {
        let message = "the node is stopping";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unreachable, message)
    }

    /// Returns what is said, for a WebSocket, which has no status.
    pub(super) fn into_detail(self) -> ErrorDetail {
        self.detail
    }
}

impl From<ayni::Error> for Failure {
    fn from(error: ayni::Error) -> Self {
        let status = match error.kind() {
            ayni::ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ayni::ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ayni::ErrorKind::Denied => StatusCode::FORBIDDEN,
            ayni::ErrorKind::Unreachable => StatusCode::GATEWAY_TIMEOUT,
            ayni::ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, detail: (&error).into() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response =
            (status, axum::Json(api::Failure { error: self.detail })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status_and_code() {
        let text = || String::from("x");
        let cases = [
            (ayni::Error::Invalid(text()), 400, ErrorCode::Invalid),
            (ayni::Error::NotFound(text()), 404, ErrorCode::NotFound),
            (ayni::Error::Denied(text()), 403, ErrorCode::Denied),
            (ayni::Error::InUse("x".into()), 403, ErrorCode::Denied),
            (ayni::Error::Unreachable(text()), 504, ErrorCode::Unreachable),
            (ayni::Error::Store(text()), 500, ErrorCode::Internal),
            (ayni::Error::Closed, 503, ErrorCode::Unreachable),
        ];
        for (error, status, code) in cases {
            let failure = Failure::from(error);
            assert_eq!(failure.status.as_u16(), status);
            assert_eq!(failure.detail.code, code);
        }
    }
}

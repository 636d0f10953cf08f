//! Why a call of the client failed.

use crate::api::{ErrorCode, ErrorDetail};

/// The result of every call of the client.
pub type Result<T, E = ClientError> = std::result::Result<T, E>;

/// A failed call: whose turn it is to act, and one sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ClientError {
    /// Whose turn it is to act.
    pub code: ErrorCode,
    /// One sentence for people, without a final period.
    pub message: String,
}

impl ClientError {
    /// Returns an error with this code and sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unreachable, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// The connection broke, which on one machine means that the node stopped.
    pub(crate) fn gone() -> Self {
        Self::unreachable("the node on this machine stopped answering")
    }
}

impl From<ErrorDetail> for ClientError {
    fn from(detail: ErrorDetail) -> Self {
        Self { code: detail.code, message: detail.message }
    }
}

impl From<ayni::Error> for ClientError {
    fn from(error: ayni::Error) -> Self {
        ErrorDetail::from(&error).into()
    }
}

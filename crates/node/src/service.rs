//! Services: named capabilities that a peer provides and others call (DESIGN.md 3).
//!
//! A built-in service and a user's own are the same thing: a [`Service`] under a name, with a rule
//! of who may call it. Everyone else is refused, in the same words whether the service exists or not.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ayni_core::id::{AccountId, PeerId, RoomId};
use bytes::Bytes;

/// A boxed future, as the trait's methods return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The calling device, authenticated by its connection.
    pub peer: PeerId,
    /// Its account, where a room we share names it.
    pub account: Option<AccountId>,
}

/// Why a service did not answer. The text is sent to the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ServiceError(pub String);

/// A named request/reply capability.
///
/// ```
/// use ayni::service::{BoxFuture, Caller, Service, ServiceError};
/// use bytes::Bytes;
///
/// /// Answers with what it was sent.
/// struct Echo;
///
/// impl Service for Echo {
///     fn call(&self, _: Caller, request: Bytes) -> BoxFuture<'_, Result<Bytes, ServiceError>> {
///         Box::pin(async move { Ok(request) })
///     }
/// }
/// ```
pub trait Service: Send + Sync + 'static {
    /// Answers one request. A panic is caught and told to the caller as a failure.
    fn call(&self, caller: Caller, request: Bytes) -> BoxFuture<'_, Result<Bytes, ServiceError>>;
}

/// What answers under a name.
#[derive(Clone)]
pub enum Provider {
    /// One request, one reply.
    Request(Arc<dyn Service>),
    /// Each call is piped to a TCP connection to this `HOST:PORT`.
    Tcp(String),
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request(_) => f.write_str("Provider::Request"),
            Self::Tcp(target) => write!(f, "Provider::Tcp({target})"),
        }
    }
}

/// Who may call a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// One device.
    Peer(PeerId),
    /// Every device of one account.
    Account(AccountId),
    /// The members of a room, as they are at the moment of the call.
    Room(RoomId),
    /// Anyone who can connect.
    Anyone,
}

/// Limits on one provided service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceLimits {
    /// Largest request, in bytes.
    pub max_request: usize,
    /// Largest reply, in bytes.
    pub max_reply: usize,
    /// Longest time for one call; for TCP the longest time without a byte in either direction.
    pub timeout: Duration,
    /// Most calls at once, of all callers together.
    pub concurrency: usize,
}

impl ServiceLimits {
    /// Largest request: enough for a document, too small to fill memory.
    pub const MAX_REQUEST: usize = ayni_core::limits::MAX_REQUEST;
    /// Largest reply.
    pub const MAX_REPLY: usize = ayni_core::limits::MAX_REPLY;
    /// Time for one call.
    pub const TIMEOUT: Duration = Duration::from_secs(30);
    /// Calls at once: more than a person needs, few enough for a small machine.
    pub const CONCURRENCY: usize = 16;
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            max_request: Self::MAX_REQUEST,
            max_reply: Self::MAX_REPLY,
            timeout: Self::TIMEOUT,
            concurrency: Self::CONCURRENCY,
        }
    }
}

/// A service to be provided: its name, who may call it, what answers, within which limits.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The name, lowercase letters, digits, `-`, `_` and `.`, with or without `/VERSION` (default 1).
    pub name: String,
    /// Who may call it. Empty: nobody.
    pub allow: Vec<Allow>,
    /// What answers.
    pub provider: Provider,
    /// Limits.
    pub limits: ServiceLimits,
}

/// Keeps a service provided; dropping it withdraws the service.
#[derive(Debug)]
#[must_use = "dropping it withdraws the service"]
pub struct Provided {
    pub(crate) _withdraw: tokio_util::sync::DropGuard,
}

/// Keeps a local port forwarded to a peer's service; dropping it closes the port.
#[derive(Debug)]
#[must_use = "dropping it closes the port"]
pub struct Forward {
    /// The local address that is listened on.
    pub listen: std::net::SocketAddr,
    pub(crate) _close: tokio_util::sync::DropGuard,
}

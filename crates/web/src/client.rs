//! The typed client of the local API, which the command line uses.
//!
//! One method a route, in `routes`; the WebSockets in `socket`. Every failure is a [`ClientError`]
//! that keeps the server's code. The client speaks to 127.0.0.1 only, through no proxy, and hands the
//! token to no process but the one that `api.json` names.

mod connect;
mod error;
mod http;
mod routes;
mod socket;
mod stream;

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;

pub(crate) use connect::ADDRESS_FILE;
use http::Http;

pub use error::{ClientError, Result};
pub use socket::{Forwarding, ProvideOptions, Providing, ServiceCall};

/// Values as they arrive; ends after the first error, or when the node ends it.
pub type Streaming<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// A client of one node's API. Cloning gives another handle with the same connections.
#[derive(Clone)]
pub struct Client {
    addr: SocketAddr,
    token: Arc<str>,
    http: Http,
}

impl fmt::Debug for Client {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("addr", &self.addr).finish_non_exhaustive()
    }
}

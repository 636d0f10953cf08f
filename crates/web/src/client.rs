//! The typed client of the local API, which the command line uses.
//!
//! One method a route, in `routes`; the WebSockets in `socket`. Every failure is a [`ClientError`]
//! that keeps the server's code. The client speaks to 127.0.0.1 only, through no proxy, and hands the
//! token to no process but the one that `api.json` names.

mod connect;
mod error;
mod files;
mod http;
mod routes;
mod shares;
mod socket;
mod storage;
mod stream;

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;

pub(crate) use connect::ADDRESS_FILE;
use http::Http;

use crate::api::FoundMessage;
pub use error::{ClientError, Result};
pub use files::path_text;
pub use socket::{Forwarding, ProvideOptions, Providing, ServiceCall};

/// Values as they arrive; ends after the first error, or when the node ends it.
pub type Streaming<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// What a search found.
pub struct Found {
    /// How many stored events were not indexed yet, about: what is in them is not found.
    pub behind: u64,
    /// The messages, the newest first.
    pub messages: Streaming<FoundMessage>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("behind", &self.behind).finish_non_exhaustive()
    }
}

/// A client of one node's API. Cloning gives another handle with the same connections.
#[derive(Clone)]
pub struct Client {
    addr: SocketAddr,
    token: Arc<str>,
    http: Http,
    /// Whether messages are asked for with the thumbnails of their pictures.
    thumbnails: bool,
    /// Whether the node lasts only as long as some command.
    passing: bool,
}

impl Client {
    /// Returns a client that asks for messages with the thumbnails of their pictures, or without.
    #[must_use]
    pub fn with_thumbnails(self, thumbnails: bool) -> Self {
        Self { thumbnails, ..self }
    }

    /// Whether the node was started by some command, and ends with it.
    pub fn is_passing(&self) -> bool {
        self.passing
    }
}

impl fmt::Debug for Client {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("addr", &self.addr).finish_non_exhaustive()
    }
}

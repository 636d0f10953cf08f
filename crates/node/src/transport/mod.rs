//! The network edge: one iroh endpoint, and one link for each connected peer.

mod crowd;
pub(crate) mod endpoint;
pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod stream;

pub(crate) use link::{Hold, Link, OpenError};
pub(crate) use stream::{Stream, StreamError};

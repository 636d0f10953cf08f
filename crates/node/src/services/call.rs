//! Calling a service of a peer.
//!
//! Goals: a call ends within its time whatever the peer does, holds at most one reply, and a peer
//! that refuses to read the whole request is still heard.

use std::future;
use std::time::Duration;

use ayni_core::id::PeerId;
use ayni_core::proto::ReplyHead;
use bytes::Bytes;

use super::outgoing::Outgoing;
use super::registry::full_name;
use super::text::one_line;
use crate::error::{Error, Result};
use crate::service::ServiceLimits;
use crate::transport::stream::{FrameReceiver, Stream, StreamError};
use crate::transport::{Link, OpenError};

/// What a caller accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallLimits {
    /// Largest reply, in bytes.
    pub(crate) max_reply: usize,
    /// Longest time for the whole call.
    pub(crate) timeout: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { max_reply: ServiceLimits::MAX_REPLY, timeout: ServiceLimits::TIMEOUT }
    }
}

/// Whom a call goes to, for the sentences about it.
struct Callee<'a> {
    peer: PeerId,
    service: &'a str,
}

/// Makes one request of a peer's service, named with or without its version.
///
/// # Errors
/// [`Error::Invalid`]: not a name, a stream service, or the request is too large for the service.
/// [`Error::Denied`]: no such service there, or not for us. [`Error::Unreachable`]: busy, lost, or
/// too late. [`Error::Service`]: it failed, or its reply is too large.
pub(crate) async fn request(
    link: &Link,
    service: &str,
    data: Bytes,
    limits: CallLimits,
) -> Result<Bytes> {
    let name = full_name(service)?;
    let callee = Callee { peer: link.peer(), service: &name };
    if offered_as_stream(link, &name) == Some(true) {
        return Err(Error::Invalid(format!("{name} is a stream of bytes; use forward for it")));
    }
    let call = async {
        let stream = link.open(&name, None).await.map_err(|error| callee.not_opened(error))?;
        exchange(stream, data, limits.max_reply, &callee).await
    };
    let result = tokio::time::timeout(limits.timeout, call).await;
    result.unwrap_or_else(|_| Err(callee.too_late()))
}

/// Whether the peer's last hello offers this service, named with or without its version, as a stream.
pub(crate) fn is_offered_stream(link: &Link, service: &str) -> bool {
    full_name(service).is_ok_and(|name| offered_as_stream(link, &name) == Some(true))
}

/// Opens a stream to a peer's TCP service, named with or without its version.
///
/// # Errors
/// As [`request`]; [`Error::Invalid`] for a service that answers requests.
pub(crate) async fn open_stream(link: &Link, service: &str) -> Result<Stream> {
    let name = full_name(service)?;
    let callee = Callee { peer: link.peer(), service: &name };
    if offered_as_stream(link, &name) == Some(false) {
        return Err(Error::Invalid(format!("{name} answers requests; use request for it")));
    }
    link.open(&name, None).await.map_err(|error| callee.not_opened(error))
}

/// Whether the peer offers it as a stream; none when its last hello does not name the service, which
/// may be on its way.
fn offered_as_stream(link: &Link, name: &str) -> Option<bool> {
    link.hello().offers.into_iter().find(|offer| offer.name == name).map(|offer| offer.stream)
}

/// Sends the request and reads the reply, both at once: a peer may answer before it has read all.
async fn exchange(
    stream: Stream,
    data: Bytes,
    max_reply: usize,
    callee: &Callee<'_>,
) -> Result<Bytes> {
    let (mut outgoing, mut recv) = Outgoing::split(stream);
    let len = data.len();
    let sending = async {
        // What goes wrong here shows in the reply, or in its absence.
        if outgoing.bytes(data).await.is_ok() {
            outgoing.finish();
        }
        future::pending::<()>().await;
    };
    tokio::select! {
        reply = read_reply(&mut recv, max_reply, len, callee) => reply,
        () = sending => Err(callee.too_late()),
    }
}

async fn read_reply(
    recv: &mut FrameReceiver,
    max_reply: usize,
    request_len: usize,
    callee: &Callee<'_>,
) -> Result<Bytes> {
    // No deadline of its own: the whole call has one.
    let head = recv.next::<ReplyHead>().await.and_then(|head| head.ok_or(StreamError::Ended));
    match head.map_err(|error| callee.broken(&error))? {
        ReplyHead::Done => {
            let reply = recv.rest(max_reply).await.map_err(|error| callee.broken(&error))?;
            reply.ok_or_else(|| callee.reply_too_large())
        }
        ReplyHead::Failed(text) => Err(callee.failed(&text)),
        ReplyHead::RequestTooLarge => Err(callee.request_too_large(request_len)),
        ReplyHead::ReplyTooLarge => Err(callee.reply_too_large()),
        ReplyHead::TimedOut => Err(callee.too_late()),
    }
}

impl Callee<'_> {
    fn not_opened(&self, error: OpenError) -> Error {
        let (peer, service) = (self.peer.short(), self.service);
        match error {
            OpenError::Refused => {
                Error::Denied(format!("{peer} does not offer the service {service} to this node"))
            }
            OpenError::Busy => Error::Unreachable(format!(
                "{peer} has too many calls of {service} at the moment; try again later"
            )),
            OpenError::Stream(error) => self.broken(&error),
        }
    }

    fn broken(&self, error: &StreamError) -> Error {
        let (peer, service) = (self.peer.short(), self.service);
        match error {
            StreamError::Protocol(_) => {
                Error::Service(format!("{peer} answered for {service} with what is not a reply"))
            }
            StreamError::TimedOut => self.too_late(),
            StreamError::Ended | StreamError::Lost => {
                Error::Unreachable(format!("{peer} was lost before {service} answered"))
            }
        }
    }

    fn too_late(&self) -> Error {
        let (peer, service) = (self.peer.short(), self.service);
        Error::Unreachable(format!("{service} at {peer} did not answer in time"))
    }

    fn failed(&self, text: &str) -> Error {
        let (peer, service, text) = (self.peer.short(), self.service, one_line(text));
        Error::Service(format!("{service} at {peer} failed: {text}"))
    }

    fn request_too_large(&self, len: usize) -> Error {
        let (peer, service) = (self.peer.short(), self.service);
        let sentence = format!("{len} bytes are a larger request than {service} at {peer} accepts");
        Error::Invalid(sentence)
    }

    fn reply_too_large(&self) -> Error {
        let (peer, service) = (self.peer.short(), self.service);
        Error::Service(format!("the reply of {service} at {peer} is larger than the limit"))
    }
}

//! The provider's side of one request and one reply, for the user's services and the built-in ones.

use ayni_core::proto::ReplyHead;
use bytes::Bytes;

use super::outgoing::{Outgoing, transfer_time};
use crate::transport::stream::{FrameReceiver, StreamError};

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The caller is told.
    Tell(ReplyHead),
    /// The caller went away; nobody is there to be told.
    CallerGone,
}

/// Reads a request up to its end: at most `limit` bytes, no slower than any link that is worth
/// waiting for.
pub(super) async fn read_request(recv: &mut FrameReceiver, limit: usize) -> Result<Bytes, Failure> {
    let reading = tokio::time::timeout(transfer_time(limit), recv.rest(limit));
    match reading.await {
        Ok(Ok(Some(request))) => Ok(request),
        Ok(Ok(None)) => Err(Failure::Tell(ReplyHead::RequestTooLarge)),
        Ok(Err(_)) => Err(Failure::CallerGone),
        Err(_) => Err(Failure::Tell(ReplyHead::TimedOut)),
    }
}

/// Sends the reply, or why there is none, and waits until the caller has it.
///
/// A caller that does not read is given up after a while; it then sees a stream that was cut.
pub(super) async fn send_reply(outgoing: &mut Outgoing, result: Result<Bytes, Failure>) {
    let (head, reply) = match result {
        Ok(reply) => (ReplyHead::Done, reply),
        Err(Failure::Tell(head)) => (head, Bytes::new()),
        Err(Failure::CallerGone) => return,
    };
    let within = transfer_time(reply.len());
    let sending = async {
        outgoing.frame(&head).await?;
        outgoing.bytes(reply).await?;
        outgoing.finish();
        outgoing.arrived().await;
        Ok::<(), StreamError>(())
    };
    match tokio::time::timeout(within, sending).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a reply was not taken: {error}"),
        Err(_) => tracing::debug!("a reply was not taken in time"),
    }
}

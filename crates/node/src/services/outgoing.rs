//! The sending half of a call, whose end is a statement: "this was everything".
//!
//! Invariant: the peer sees the proper end of the stream only after all that came before it. A QUIC
//! stream that is merely dropped would end properly too, and a request or reply that was cut short
//! by a deadline would look whole; an [`Outgoing`] that is dropped before its end resets the stream.

use std::time::Duration;

use ayni_core::proto::Opened;
use bytes::Bytes;
use minicbor::Encode;

use crate::transport::stream::{FrameReceiver, FrameSender, SEND_TIMEOUT, Stream, StreamError};

/// The slowest transfer that is waited for, beyond [`SEND_TIMEOUT`]: a poor mobile link does this,
/// and a peer that reads a byte a second does not hold a call for hours.
const MIN_BYTES_PER_SECOND: usize = 32 * 1024;

/// Returns how long `bytes` may take on the way before the transfer is given up.
pub(super) fn transfer_time(bytes: usize) -> Duration {
    SEND_TIMEOUT + Duration::from_secs((bytes / MIN_BYTES_PER_SECOND) as u64)
}

/// The sending half. Its calls have no deadline of their own: whoever uses it sets one for the whole.
#[derive(Debug)]
pub(super) struct Outgoing(FrameSender);

impl Outgoing {
    /// Takes the stream of a call apart.
    pub(super) fn split(stream: Stream) -> (Self, FrameReceiver) {
        let (send, recv) = stream.split();
        (Self(send), recv)
    }

    /// Tells the caller that its call was accepted, and takes the stream apart.
    pub(super) async fn accept(stream: Stream) -> Result<(Self, FrameReceiver), StreamError> {
        let (mut outgoing, recv) = Self::split(stream);
        outgoing.frame(&Opened::Accepted).await?;
        Ok((outgoing, recv))
    }

    /// Sends one frame; waits for the peer at most [`SEND_TIMEOUT`].
    pub(super) async fn frame<T: Encode<()>>(&mut self, frame: &T) -> Result<(), StreamError> {
        self.0.send(frame).await
    }

    /// Sends bytes as they are.
    pub(super) async fn bytes(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.0.0.write_chunk(bytes).await.map_err(|_| StreamError::Lost)
    }

    /// Says that this was everything, without waiting for the peer to have it.
    ///
    /// To be followed by [`Self::arrived`]: dropped before that, the stream is reset after all.
    pub(super) fn finish(&mut self) {
        self.0.finish();
    }

    /// Waits until the peer has everything, or wants no more of it.
    pub(super) async fn arrived(&mut self) {
        // A connection that is gone by now changes nothing: there is nobody left to tell.
        let _ = self.0.0.stopped().await;
    }

    /// Returns a future that ends when the peer wants no more, or is gone. Only before the end.
    pub(super) fn unwanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let stopped = self.0.0.stopped();
        async move {
            let _ = stopped.await;
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // Of no effect on a stream that ended and arrived, which is then closed already.
        let _ = self.0.0.reset(0u32.into());
    }
}

//! Frames over one QUIC stream, with a deadline on everything that a peer may delay.

use std::time::Duration;

use ayni_core::frame;
use ayni_core::limits::{MAX_FRAME, MAX_SHORT_FRAME};
use ayni_core::wire::{self, WireError};
use bytes::Bytes;
use iroh::endpoint::{RecvStream, SendStream};
use minicbor::{Decode, Encode};

/// How long a peer may take for a frame that it owes us now: a handshake, an answer.
pub(crate) const FRAME_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a peer may refuse to read what we send before the stream is given up.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a stream cannot be used any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StreamError {
    /// The peer sent something else than the protocol says.
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[from] WireError),
    /// The peer ended the stream.
    #[error("the peer ended the stream")]
    Ended,
    /// The stream or its connection broke.
    #[error("the connection was lost")]
    Lost,
    /// The peer took too long.
    #[error("the peer took too long")]
    TimedOut,
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct FrameSender(pub(crate) SendStream);

/// The receiving half.
#[derive(Debug)]
pub(crate) struct FrameReceiver(pub(crate) RecvStream);

/// A bidirectional stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What we send.
    pub(crate) send: FrameSender,
    /// What we receive.
    pub(crate) recv: FrameReceiver,
}

impl Stream {
    pub(crate) fn new((send, recv): (SendStream, RecvStream)) -> Self {
        Self { send: FrameSender(send), recv: FrameReceiver(recv) }
    }

    pub(crate) fn split(self) -> (FrameSender, FrameReceiver) {
        (self.send, self.recv)
    }
}

impl FrameSender {
    /// Sends one frame; waits for the peer at most [`SEND_TIMEOUT`].
    pub(crate) async fn send<T: Encode<()>>(&mut self, frame: &T) -> Result<(), StreamError> {
        self.send_bytes(&frame::encode(frame)?).await
    }

    /// Sends bytes as they are; waits for the peer at most [`SEND_TIMEOUT`].
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let sending = self.0.write_all(bytes);
        let sent = tokio::time::timeout(SEND_TIMEOUT, sending).await;
        sent.map_err(|_| StreamError::TimedOut)?.map_err(|_| StreamError::Lost)
    }

    /// Says that nothing follows.
    pub(crate) fn finish(&mut self) {
        // A stream that is closed already needs no end.
        let _ = self.0.finish();
    }

    /// Waits until the peer has everything, at most [`SEND_TIMEOUT`]; call after [`Self::finish`].
    pub(crate) async fn delivered(&mut self) {
        let _ = tokio::time::timeout(SEND_TIMEOUT, self.0.stopped()).await;
    }
}

impl FrameReceiver {
    /// Waits for the next frame without a deadline; none when the peer ended the stream properly.
    ///
    /// Not cancel safe: a frame that was read in part is lost with the stream.
    pub(crate) async fn next<T: for<'b> Decode<'b, ()>>(
        &mut self,
    ) -> Result<Option<T>, StreamError> {
        let Some(payload) = self.next_payload(MAX_FRAME).await? else { return Ok(None) };
        Ok(Some(wire::decode(&payload)?))
    }

    /// Waits for a frame that the peer owes us, at most [`FRAME_TIMEOUT`].
    pub(crate) async fn expect<T: for<'b> Decode<'b, ()>>(&mut self) -> Result<T, StreamError> {
        self.expect_within(FRAME_TIMEOUT).await
    }

    /// Waits for a frame that the peer owes us and that anyone may send, at most [`FRAME_TIMEOUT`]:
    /// of at most [`MAX_SHORT_FRAME`] bytes, since many can be under way at a time.
    pub(crate) async fn expect_short<T: for<'b> Decode<'b, ()>>(
        &mut self,
    ) -> Result<T, StreamError> {
        let payload = tokio::time::timeout(FRAME_TIMEOUT, self.next_payload(MAX_SHORT_FRAME)).await;
        let payload = payload.map_err(|_| StreamError::TimedOut)??.ok_or(StreamError::Ended)?;
        Ok(wire::decode(&payload)?)
    }

    /// Waits for a frame that the peer owes us, at most `limit`.
    pub(crate) async fn expect_within<T: for<'b> Decode<'b, ()>>(
        &mut self,
        limit: Duration,
    ) -> Result<T, StreamError> {
        let frame = tokio::time::timeout(limit, self.next()).await;
        frame.map_err(|_| StreamError::TimedOut)??.ok_or(StreamError::Ended)
    }

    async fn next_payload(&mut self, limit: usize) -> Result<Option<Vec<u8>>, StreamError> {
        let mut length = [0u8; frame::LENGTH_LEN];
        if !self.fill(&mut length).await? {
            return Ok(None);
        }
        let len = frame::decode_len(length)?;
        wire::check_len("frame", len, limit)?;
        // Grown as bytes arrive: a length alone reserves nothing.
        let mut payload = Vec::new();
        while payload.len() < len {
            match self.0.read_chunk(len - payload.len()).await {
                Ok(Some(chunk)) => payload.extend_from_slice(&chunk),
                Ok(None) => return Err(StreamError::Ended),
                Err(_) => return Err(StreamError::Lost),
            }
        }
        Ok(Some(payload))
    }

    /// Fills `buffer`; false when the stream ended before its first byte.
    async fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, StreamError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read(rest).await {
                Ok(Some(read)) => filled += read,
                Ok(None) if filled == 0 => return Ok(false),
                Ok(None) => return Err(StreamError::Ended),
                Err(_) => return Err(StreamError::Lost),
            }
        }
        Ok(true)
    }

    /// Reads everything up to the end of the stream; none when it is more than `limit` bytes.
    pub(crate) async fn rest(&mut self, limit: usize) -> Result<Option<Bytes>, StreamError> {
        let mut bytes = Vec::new();
        loop {
            match self.0.read_chunk(64 * 1024).await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => return Ok(None),
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return Ok(Some(bytes.into())),
                Err(_) => return Err(StreamError::Lost),
            }
        }
    }

    /// Tells the peer that we read no further.
    pub(crate) fn stop(&mut self) {
        let _ = self.0.stop(0u32.into());
    }
}

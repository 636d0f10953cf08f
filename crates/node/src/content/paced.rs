//! The stream of an answer, read no faster than the limits allow, and in large pieces: each look at a stream
//! costs its connection's lock, and what is asked for are hashes and blocks by turns.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iroh::endpoint::{RecvStream as QuicRecv, VarInt};
use iroh_blobs::util::RecvStream;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;

use super::uploads::Pacer;

/// Bytes for which room is made to read from a stream; and the least room that is read into.
const AHEAD: usize = 256 * 1024;
/// See [`AHEAD`].
const MIN_READ: usize = 4 * 1024;
/// The stream of an answer.
pub(super) struct PacedRecv {
    recv: QuicRecv,
    paces: [Arc<Pacer>; 2],
    waits: Arc<Notify>,
    ahead: BytesMut,
}

impl PacedRecv {
    /// `waits` hears that a limit holds the stream up.
    pub(super) fn new(recv: QuicRecv, paces: [Arc<Pacer>; 2], waits: Arc<Notify>) -> Self {
        Self { recv, paces, waits, ahead: BytesMut::new() }
    }

    async fn pass(&self, bytes: usize) {
        for pacer in &self.paces {
            pacer.pass(bytes as u64, || self.waits.notify_one()).await;
        }
    }

    /// Reads until so many bytes are there, or the stream ends.
    async fn fill(&mut self, len: usize) -> io::Result<()> {
        while self.ahead.len() < len {
            if self.ahead.capacity() < len.max(MIN_READ) {
                let limited = self.paces.iter().any(|pacer| pacer.is_limited());
                // Under a limit nothing is taken from the line before it may.
                self.ahead.reserve(if limited { len } else { len.max(AHEAD) });
            }
            if self.recv.read_buf(&mut self.ahead).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Takes so many bytes from what is there; an error where the stream ended before.
    fn take(&mut self, len: usize) -> io::Result<BytesMut> {
        match self.ahead.len() {
            there if there >= len => Ok(self.ahead.split_to(len)),
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl RecvStream for PacedRecv {
    async fn recv_bytes(&mut self, len: usize) -> io::Result<Bytes> {
        self.pass(len).await;
        self.fill(len).await?;
        let there = self.ahead.len().min(len);
        Ok(self.ahead.split_to(there).freeze())
    }

    async fn recv_bytes_exact(&mut self, len: usize) -> io::Result<Bytes> {
        self.pass(len).await;
        self.fill(len).await?;
        self.take(len).map(BytesMut::freeze)
    }

    async fn recv_exact(&mut self, target: &mut [u8]) -> io::Result<()> {
        self.pass(target.len()).await;
        self.fill(target.len()).await?;
        target.copy_from_slice(&self.take(target.len())?);
        Ok(())
    }

    fn stop(&mut self, code: VarInt) -> io::Result<()> {
        RecvStream::stop(&mut self.recv, code)
    }

    fn id(&self) -> u64 {
        RecvStream::id(&self.recv)
    }
}

//! Reading a content while it still comes: a film is played before it is here.
//!
//! Whoever reads asks for what it reads next to come first; a place that is not here yet is waited for.

use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ayni_core::swarm::{BLOCK_BYTES, Blocks, Order};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::task::JoinHandle;

use super::model::TransferState;
use super::store::Entry;
use super::transfers::{Pour, Transfer};

/// Bytes that are read from the disk at a time.
const PIECE: usize = 256 * 1024;

/// Reads a content of which perhaps not all is here. A place that is not here is waited for; where the
/// transfer that brings it fails or is cancelled, reading fails.
#[derive(Debug)]
pub struct ContentReader {
    entry: Arc<Entry>,
    /// What still brings it; none where all is here.
    transfer: Option<Arc<Transfer>>,
    /// What is over with the last byte, and pours into this.
    pour: Option<Pour>,
    place: u64,
    /// What was read and not taken, from `place` on.
    ahead: Vec<u8>,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl ContentReader {
    pub(super) fn new(entry: Arc<Entry>, transfer: Option<Arc<Transfer>>) -> Self {
        Self { entry, transfer, pour: None, place: 0, ahead: Vec::new(), reading: None }
    }

    /// Reads what a transfer pours.
    pub(super) fn pouring(mut self, pour: Option<Pour>) -> Self {
        self.pour = pour;
        self.note_place();
        self
    }

    fn note_place(&self) {
        if let Some(pour) = self.pour.as_ref().filter(|_| self.place >= self.entry.size()) {
            pour.note_given();
        }
    }

    /// Returns the size of the whole in bytes.
    pub fn size(&self) -> u64 {
        self.entry.size()
    }

    fn begin(&mut self) {
        if let Some(transfer) = &self.transfer {
            transfer.set_order(Order::From(self.place / BLOCK_BYTES));
        }
        let (entry, place) = (self.entry.clone(), self.place);
        let transfer = self.transfer.clone();
        self.reading = Some(tokio::spawn(read(entry, place, transfer)));
    }
}

impl Drop for ContentReader {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
        if let Some(transfer) = &self.transfer {
            transfer.set_order(Order::RarestFirst);
        }
    }
}

/// Waits for the block at a place, then reads what is here from there on.
async fn read(
    entry: Arc<Entry>,
    place: u64,
    transfer: Option<Arc<Transfer>>,
) -> io::Result<Vec<u8>> {
    let block = place / BLOCK_BYTES;
    if let Some(mut blocks) = entry.watch() {
        let here = blocks.wait_for(|blocks| blocks.contains(&block));
        tokio::select! {
            biased;
            here = here => drop(here.map_err(|_| io::ErrorKind::UnexpectedEof)?),
            why = ended(transfer) => return Err(io::Error::other(why)),
        }
    }
    let reading = move || {
        let end = end_of(&entry.blocks(), block).saturating_mul(BLOCK_BYTES).min(entry.size());
        let len = usize::try_from(end.saturating_sub(place)).unwrap_or(PIECE).min(PIECE);
        let mut bytes = vec![0; len];
        let read = entry.checked(place, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    };
    tokio::task::spawn_blocking(reading).await.map_err(io::Error::other)?
}

/// Waits until a transfer brings nothing more, and returns why.
async fn ended(transfer: Option<Arc<Transfer>>) -> String {
    let Some(transfer) = transfer else { return std::future::pending().await };
    let mut standing = transfer.watch();
    let over = |state: &TransferState| match state {
        TransferState::Failed(_, why) => Some(why.clone()),
        TransferState::Cancelled => Some("its transfer was cancelled".to_owned()),
        _ => None,
    };
    let found = standing.wait_for(|(state, _)| over(state).is_some()).await;
    let why = found.ok().and_then(|now| over(&now.0));
    why.unwrap_or_else(|| "this node was shut down".to_owned())
}

/// Returns where the run of blocks ends that this one is in.
fn end_of(blocks: &Blocks, block: u64) -> u64 {
    let run = ayni_core::swarm::runs(blocks).find(|(from, to)| (*from..*to).contains(&block));
    run.map_or(block, |(_, to)| to)
}

impl AsyncRead for ContentReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.place >= self.entry.size() || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.ahead.is_empty() {
            if self.reading.is_none() {
                self.begin();
            }
            let Some(reading) = &mut self.reading else { return Poll::Ready(Ok(())) };
            let read = ready!(Pin::new(reading).poll(cx));
            self.reading = None;
            self.ahead = read.map_err(io::Error::other)??;
        }
        let take = self.ahead.len().min(buf.remaining());
        let rest = self.ahead.split_off(take);
        buf.put_slice(&self.ahead);
        self.ahead = rest;
        self.place += take as u64;
        self.note_place();
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for ContentReader {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let (base, offset) = match to {
            SeekFrom::Start(place) => (place, 0),
            SeekFrom::Current(offset) => (self.place, offset),
            SeekFrom::End(offset) => (self.entry.size(), offset),
        };
        let place = base.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?;
        if place != self.place {
            self.place = place;
            self.ahead.clear();
            if let Some(reading) = self.reading.take() {
                reading.abort();
            }
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.place))
    }
}

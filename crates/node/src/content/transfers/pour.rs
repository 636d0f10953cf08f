//! Transfers for one reader: what they bring is given out as it comes, and not kept.
//!
//! One is over when its last byte was given, or when nobody reads it for a while: then its bytes have
//! nowhere to go any more. For the same reason it does not go on after a restart of the node.

use std::sync::Arc;
use std::time::Duration;

use super::{Inner, Transfer, cancel};

/// How long one goes on that nobody reads: far beyond the time between its beginning and its reader's.
const UNREAD: Duration = Duration::from_secs(20);

/// Who reads what a transfer pours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pouring {
    readers: usize,
    /// Whether its last byte was given.
    given: bool,
}

/// A reader of what a transfer pours, from before the first byte is there.
#[derive(Debug)]
pub(crate) struct Pour(Arc<Transfer>);

impl Pour {
    /// Begins to read; none of a transfer that keeps what it brings.
    pub(crate) fn of(transfer: &Arc<Transfer>) -> Option<Self> {
        transfer.pours.then(|| {
            transfer.pouring.send_modify(|now| now.readers += 1);
            Self(transfer.clone())
        })
    }

    /// Notes that the last byte was given.
    pub(crate) fn note_given(&self) {
        self.0.pouring.send_if_modified(|now| !std::mem::replace(&mut now.given, true));
    }
}

impl Drop for Pour {
    fn drop(&mut self) {
        self.0.pouring.send_modify(|now| now.readers -= 1);
    }
}

impl Transfer {
    /// Waits until the last byte was given of what it pours; not at all for others.
    pub(super) async fn poured(&self) {
        if self.pours {
            // It owns the sender: this never fails.
            let _ = self.pouring.subscribe().wait_for(|now| now.given).await;
        }
    }

    async fn is_unread(&self) {
        let mut pouring = self.pouring.subscribe();
        loop {
            let read = pouring.wait_for(|now| now.readers > 0 || now.given);
            if tokio::time::timeout(UNREAD, read).await.is_err() {
                return;
            }
            let _ = pouring.wait_for(|now| now.readers == 0 && !now.given).await;
        }
    }
}

/// Ends a transfer that pours and that nobody reads.
pub(super) async fn watch_readers(inner: Arc<Inner>, transfer: Arc<Transfer>) {
    let mut standing = transfer.watch();
    tokio::select! {
        _ = standing.wait_for(|(state, _)| state.is_over()) => return,
        () = transfer.is_unread() => {}
    }
    tracing::info!("transfer {}: nobody reads it any more", transfer.id);
    if let Err(error) = cancel(&inner, transfer.id).await {
        tracing::warn!("a transfer that nobody reads goes on: {error}");
    }
}

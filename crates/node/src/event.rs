//! The node's stream of events: what a page or a program shows as it happens.
//!
//! The stream admits loss: who reads too slowly gets [`Event::Lagged`] and reads again what it
//! shows. Nothing in the node ever waits for a subscriber.

use tokio::sync::broadcast;

use crate::model::Message;
use ayni_core::id::{AccountId, PeerId, RoomId};

/// Events kept for a subscriber that does not read; after that it is told that it lagged.
pub(crate) const EVENT_QUEUE: usize = 1024;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message was stored: one of this node's own, or another's.
    Message(Message),
    /// A room was created, joined, left, renamed, or its members changed.
    RoomChanged(RoomId),
    /// Someone became a member.
    Joined {
        /// The room.
        room: RoomId,
        /// The new member.
        account: AccountId,
        /// Its name.
        name: String,
    },
    /// Someone left, or was removed.
    Left {
        /// The room.
        room: RoomId,
        /// Who.
        account: AccountId,
        /// Its name.
        name: String,
        /// Whether someone else removed it.
        removed: bool,
    },
    /// A device of a member is shut out: it is proved to have signed two different events at one
    /// place, so someone copied it, or it lies. What it wrote from there on is void.
    Forked {
        /// The room.
        room: RoomId,
        /// The device.
        device: PeerId,
        /// Its account.
        account: AccountId,
        /// The account's name.
        name: String,
    },
    /// A transfer began, ended, was paused, or goes on.
    TransferChanged(u64),
    /// A peer connected.
    PeerUp(PeerId),
    /// A peer's last connection ended.
    PeerDown(PeerId),
    /// This subscriber was too slow; that many events are missing here (and are in the store).
    Lagged(u64),
    /// The node stopped; nothing follows.
    Closed,
}

/// A subscription to a node's events.
#[derive(Debug)]
pub struct EventStream {
    pub(crate) inner: broadcast::Receiver<Event>,
}

impl EventStream {
    /// Waits for the next event.
    ///
    /// Cancelling the wait loses nothing. After [`Event::Closed`] it returns that for ever.
    pub async fn next(&mut self) -> Event {
        match self.inner.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(missed)) => Event::Lagged(missed),
            Err(broadcast::error::RecvError::Closed) => Event::Closed,
        }
    }
}

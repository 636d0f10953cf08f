//! What is kept, and how fast it goes.

use ayni::{BlobId, RoomId};
use serde::{Deserialize, Serialize};

use super::text;

/// How important a transfer is: what is more important runs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// When no other waits.
    Low,
    /// As most.
    #[default]
    Normal,
    /// Before others.
    High,
}

impl Priority {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

impl From<ayni::Priority> for Priority {
    fn from(priority: ayni::Priority) -> Self {
        match priority {
            ayni::Priority::Low => Self::Low,
            ayni::Priority::Normal => Self::Normal,
            ayni::Priority::High => Self::High,
        }
    }
}

impl From<Priority> for ayni::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Low => Self::Low,
            Priority::Normal => Self::Normal,
            Priority::High => Self::High,
        }
    }
}

/// Body of `POST /api/v1/transfers/{id}/priority`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPriority {
    /// How important it is.
    pub priority: Priority,
}

/// Body of `POST /api/v1/storage/discard`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discard {
    /// What was fetched by a ticket and kept: its content's id, or the start of that.
    pub blob: String,
}

/// What all transfers together may give and fetch: the reply of `GET /api/v1/limits`, and the body of its
/// `PUT`. The same for one transfer: the body of `POST /api/v1/transfers/{id}/limit`; its own limits count
/// beside those of all, and what it gives is what others get of its content while it is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes a second that others get; none: no limit.
    pub up: Option<u64>,
    /// Bytes a second that are fetched; none: no limit.
    pub down: Option<u64>,
}

/// How much of the disk pictures and files take: the reply of `GET /api/v1/storage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Bytes that they may take; none: as many as there are.
    pub quota: Option<u64>,
    /// Bytes of the disk that they take. What is only referenced takes a little.
    pub bytes: u64,
    /// How many contents are here, whole or in part; a folder counts as its list, its names and its files.
    pub contents: usize,
    /// Bytes of what is pinned, as its senders say.
    pub pinned: u64,
    /// Bytes of what was posted here, as it was then.
    pub posted: u64,
    /// Bytes of what was fetched because its user asked for it.
    pub fetched: u64,
    /// Bytes of what this node fetched by itself: pictures, and copies of what few have.
    pub by_itself: u64,
    /// What would have gone for the quota, and is kept all the same.
    pub last_copies: Vec<LastCopy>,
    /// What this node does so that attachments outlive their senders.
    pub replication: Replication,
}

/// Something that is not evicted, since it might be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCopy {
    /// The room that it is kept for; none: for this node's user alone.
    #[serde(with = "text::option")]
    pub room: Option<RoomId>,
    /// The content.
    #[serde(with = "text")]
    pub blob: BlobId,
    /// Bytes that it takes here.
    pub bytes: u64,
    /// Whether others have it too, but may drop it since this node keeps it.
    pub relied_on: bool,
}

/// How much a node does for others' copies: body of `PUT /api/v1/storage/replication`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// Whether this node fetches what few have without being asked.
    pub agrees: bool,
    /// Devices of members, of those that are connected, that are to have each attachment.
    pub copies: usize,
    /// Bytes of each room that this node fetches so, at most.
    pub room_bytes: u64,
}

/// Body of `PUT /api/v1/storage/quota`, and of `PUT /api/v1/rooms/{room}/pictures`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetBytes {
    /// Of the quota, none: no quota. Of pictures, none: as it is where nothing was set.
    pub bytes: Option<u64>,
}

/// Body of `POST /api/v1/rooms/{room}/pin` and `unpin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The message: its id, or the start of it.
    pub event: String,
}

impl From<ayni::Replication> for Replication {
    fn from(set: ayni::Replication) -> Self {
        Self { agrees: set.agrees, copies: set.copies, room_bytes: set.room_bytes }
    }
}

impl From<Replication> for ayni::Replication {
    fn from(set: Replication) -> Self {
        Self { agrees: set.agrees, copies: set.copies, room_bytes: set.room_bytes }
    }
}

impl From<ayni::LastCopy> for LastCopy {
    fn from(copy: ayni::LastCopy) -> Self {
        let ayni::LastCopy { room, blob, bytes, relied_on } = copy;
        Self { room, blob, bytes, relied_on }
    }
}

impl Storage {
    /// Puts together what a node tells.
    pub(crate) fn of(info: ayni::StorageInfo, replication: ayni::Replication) -> Self {
        Self {
            quota: info.quota,
            bytes: info.bytes,
            contents: info.contents,
            pinned: info.pinned,
            posted: info.posted,
            fetched: info.fetched,
            by_itself: info.by_itself,
            last_copies: info.last_copies.into_iter().map(Into::into).collect(),
            replication: replication.into(),
        }
    }
}

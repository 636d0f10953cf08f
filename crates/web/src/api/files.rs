//! Pictures, files and transfers.

use ayni::{AccountId, BlobId, EventId, RoomId};
use serde::{Deserialize, Serialize};

use super::{ErrorCode, ErrorDetail, Priority, text};

/// What comes with a message: a picture, a file or a folder, as its author says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The content: of a folder, the list of its files.
    #[serde(with = "text")]
    pub blob: BlobId,
    /// Bytes of the file, or of all files of the folder together.
    pub size: u64,
    /// Its name: one that can be shown and written.
    pub name: String,
    /// Its media type; empty for a folder.
    pub media_type: String,
    /// How many files a folder has; none for a file.
    pub files: Option<u64>,
    /// Pixels of a picture from left to right; none where it is none, or could not be decoded.
    pub width: Option<u32>,
    /// Pixels from top to bottom.
    pub height: Option<u32>,
    /// A thumbhash in base64.
    pub thumbhash: Option<String>,
    /// A small JPEG in base64; only where thumbnails were asked for.
    pub thumbnail: Option<String>,
}

/// How much of a content is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Here {
    /// All of it.
    Whole,
    /// Some of it.
    Part,
    /// Nothing.
    None,
    /// It is a file of this machine that was changed, moved or deleted since it was sent.
    Changed,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Something that was attached to a message of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The message.
    #[serde(with = "text")]
    pub event: EventId,
    /// The account that wrote it.
    #[serde(with = "text")]
    pub author: AccountId,
    /// When, in Unix milliseconds, by the author's clock.
    pub time: u64,
    /// What was said with it.
    pub text: String,
    /// What it is.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// How many devices of members have all of it, as far as those that are connected tell, with
    /// this one.
    pub held_by: usize,
    /// How much of it is here.
    pub here: Here,
    /// Whether it is kept here whatever else is evicted.
    pub pinned: bool,
}

/// What was attached, durable here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The message.
    #[serde(with = "text")]
    pub event: EventId,
    /// The content.
    #[serde(with = "text")]
    pub blob: BlobId,
    /// Its bytes; of a folder, those of all its files.
    pub size: u64,
}

/// How a transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferState {
    /// Others go first.
    Waiting,
    /// It looks for who has it, and fetches.
    Running,
    /// All of it is here, and is being written to where it is wanted.
    Placing,
    /// Someone paused it.
    Paused,
    /// All of it is here, and where it was to be written.
    Done,
    /// It ended for the reason in `error`. One that was refused (`denied`, `invalid`) is over; letting
    /// another one go on tries again.
    Failed,
    /// Someone ended it.
    Cancelled,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

impl TransferState {
    /// Whether it changes by itself.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Waiting | Self::Running | Self::Placing)
    }

    /// Whether nothing of it will follow, but for one that was refused: see [`Transfer::is_over`].
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

/// A transfer: something that is being fetched, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Its number, which no other one of this node gets.
    pub id: u64,
    /// The content.
    #[serde(with = "text")]
    pub blob: BlobId,
    /// What it is called.
    pub name: String,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes of the whole, as far as they are known.
    pub size: Option<u64>,
    /// Bytes a second lately.
    pub rate: u64,
    /// Seconds that it will take at that rate.
    pub eta_s: Option<u64>,
    /// Providers that are connected and have some of it.
    pub peers: usize,
    /// How it stands.
    pub state: TransferState,
    /// How important it is.
    #[serde(default)]
    pub priority: Priority,
    /// Most bytes a second that are given of it while it is fetched; none: no limit but that of all.
    #[serde(default)]
    pub rate_up: Option<u64>,
    /// Most bytes a second that are fetched of it; none: no limit but that of all.
    #[serde(default)]
    pub rate_down: Option<u64>,
    /// Why it failed.
    pub error: Option<ErrorDetail>,
    /// The room that it is fetched through.
    #[serde(with = "text::option")]
    pub room: Option<RoomId>,
    /// The message that it belongs to.
    #[serde(with = "text::option")]
    pub event: Option<EventId>,
    /// Bytes that came although they were here.
    pub twice: u64,
    /// Where it was written to, once it is; what is not Unicode in it is replaced.
    pub path: Option<String>,
}

impl Transfer {
    /// Whether nothing of it will follow.
    pub fn is_over(&self) -> bool {
        let refused =
            |error: &ErrorDetail| matches!(error.code, ErrorCode::Denied | ErrorCode::Invalid);
        self.state.is_over()
            || self.state == TransferState::Failed && self.error.as_ref().is_some_and(refused)
    }
}

/// What is done where something has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// Nothing is written: `denied`.
    #[default]
    Refuse,
    /// It is replaced.
    Overwrite,
    /// The new one gets another name.
    Rename,
    /// The old one stays, and that is fine.
    Skip,
}

/// Body of `POST /api/v1/rooms/{room}/attach`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// A file or folder of this machine: an absolute path.
    pub path: String,
    /// What is said with it.
    #[serde(default)]
    pub text: String,
    /// Whether a picture keeps what it tells of its place, device and times.
    #[serde(default)]
    pub keep_metadata: bool,
    /// Whether files are copied into the data folder instead of being read from where they are.
    #[serde(default)]
    pub copy: bool,
}

/// Body of `POST /api/v1/rooms/{room}/fetch`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// The message: its id, or the start of it.
    pub event: String,
    /// Where to write it: an absolute path, of an existing folder or of the new file. None: it is
    /// kept in the data folder only.
    #[serde(default)]
    pub path: Option<String>,
    /// What is done where something is there already.
    #[serde(default)]
    pub existing: Existing,
}

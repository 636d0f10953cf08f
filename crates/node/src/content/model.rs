//! What a node tells about pictures, files and transfers.

use std::path::PathBuf;
use std::time::Duration;

use ayni_core::attachment::Attachment;
use ayni_core::id::{AccountId, BlobId, EventId, RoomId};

pub use super::transfers::Priority;
use crate::error::ErrorKind;
use crate::model::Cursor;

/// How something is to be attached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttachOptions {
    /// What is said with it; may be empty.
    pub caption: String,
    /// Whether a picture keeps what it tells of its place, device and times.
    pub keep_metadata: bool,
    /// Whether files are copied into the data folder instead of being read from where they are. Pictures
    /// always are.
    pub copy: bool,
}

/// What was attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// The message.
    pub event: EventId,
    /// The content.
    pub blob: BlobId,
    /// Its bytes; of a folder, those of all its files.
    pub size: u64,
}

/// How much of a content is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Here {
    /// All of it.
    Whole,
    /// Some of it.
    Part,
    /// Nothing.
    None,
    /// It is a file of this machine that was changed, moved or deleted since it was sent.
    Changed,
}

/// Something that was attached to a message of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// The message.
    pub event: EventId,
    /// Who sent it.
    pub author: AccountId,
    /// When, in Unix milliseconds, by the author's clock.
    pub time_ms: u64,
    /// What its author says of it; the name is clean.
    pub attachment: Attachment,
    /// What was said with it.
    pub caption: String,
    /// How many devices of members have all of it, as far as those that are connected tell, with this one.
    pub held_by: usize,
    /// How much of it is here.
    pub here: Here,
    /// Whether it is kept here whatever else is evicted.
    pub pinned: bool,
}

/// A page of what was attached to messages of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The newest first.
    pub files: Vec<FileInfo>,
    /// Where to go on, if there may be more.
    pub next: Option<Cursor>,
    /// How many messages, of all rooms, were not looked into for attachments yet, about: ask again in a
    /// moment.
    pub behind: u64,
}

/// How a transfer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// It ended for this reason, which is of this kind. One that was refused ([`ErrorKind::Denied`],
    /// [`ErrorKind::Invalid`]) is over: something is in the way, or it is not what it was said to be.
    /// Others can be let go on, which tries again.
    Failed(ErrorKind, String),
    /// Someone ended it.
    Cancelled,
}

impl TransferState {
    /// Whether nothing of it will follow.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Done | Self::Cancelled => true,
            Self::Failed(kind, _) => matches!(kind, ErrorKind::Denied | ErrorKind::Invalid),
            _ => false,
        }
    }

    /// Returns its name in a list.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Placing => "placing",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed(..) => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferInfo {
    /// Its number, which no other one gets.
    pub id: u64,
    /// The content.
    pub blob: BlobId,
    /// The room that it is fetched through; none for a ticket.
    pub room: Option<RoomId>,
    /// The message that it belongs to.
    pub event: Option<EventId>,
    /// What it is called.
    pub name: String,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes of the whole, as it is proved or, before that, as its author says.
    pub size: Option<u64>,
    /// Bytes a second lately.
    pub rate: u64,
    /// How long it will take at that rate.
    pub eta: Option<Duration>,
    /// Providers that are connected and have some of it.
    pub peers: usize,
    /// Bytes that came although they were here.
    pub twice: u64,
    /// Most bytes a second that are given of it while it is fetched; none: no limit but that of all.
    pub rate_up: Option<u64>,
    /// Most bytes a second that are fetched of it; none: no limit but that of all.
    pub rate_down: Option<u64>,
    /// How important it is.
    pub priority: Priority,
    /// Where it was written to, once it is.
    pub path: Option<PathBuf>,
    /// How it stands.
    pub state: TransferState,
}

/// What was shared by a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The ticket: whoever has it may fetch, as long as it is shared.
    pub ticket: String,
    /// The content: the list of the files.
    pub blob: BlobId,
    /// Bytes of all files.
    pub size: u64,
}

/// Something that is shared by a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareInfo {
    /// The ticket, with the addresses of now.
    pub ticket: String,
    /// The content.
    pub blob: BlobId,
    /// What it is called: the name of the first that was shared.
    pub name: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
}

/// How much of the disk pictures and files take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StorageInfo {
    /// Bytes that they may take; none: as many as there are.
    pub quota: Option<u64>,
    /// How many contents are here, whole or in part; a folder counts as its list, its names and its files.
    pub contents: usize,
    /// Bytes of the disk that they take. What is only referenced takes a little.
    pub bytes: u64,
    /// Bytes of what is pinned, as its senders say.
    pub pinned: u64,
    /// Bytes of what was posted here, as it was then.
    pub posted: u64,
    /// Bytes of what was fetched because its user asked for it.
    pub fetched: u64,
    /// Bytes of what this node fetched by itself: pictures, and copies of what few have.
    pub by_itself: u64,
    /// What would have gone for the quota, and is kept all the same. Where there is any, more is taken than
    /// the quota allows.
    pub last_copies: Vec<LastCopy>,
}

/// Something that is not evicted, since it might be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastCopy {
    /// The room that it is kept for; none: for this node's user alone.
    pub room: Option<RoomId>,
    /// The content.
    pub blob: BlobId,
    /// Bytes that it takes here.
    pub bytes: u64,
    /// Whether others have it too, but may drop it since this node keeps it. If not, no other member that is
    /// connected has it.
    pub relied_on: bool,
}

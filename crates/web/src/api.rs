//! The JSON of the local API: one struct a shape, keys pinned by golden tests and only ever added to.
//!
//! Ids are lowercase hexadecimal, times Unix milliseconds, sizes bytes; what is unknown is `null`.
//! Requests refuse unknown keys, so that a mistyped option is an error and not a default; replies may
//! gain keys, so a client ignores those that it does not know.

mod convert;
mod files;
mod rooms;
mod shares;
mod storage;

use std::net::SocketAddr;

use ayni::{AccountId, EventId, PeerId, RoomId};
use serde::{Deserialize, Serialize};

pub use files::*;
pub use rooms::*;
pub use shares::*;
pub use storage::*;

/// Time that an invitation lasts where nothing else was said: seven days, in seconds.
pub const INVITE_EXPIRES_S: u64 = 7 * 24 * 60 * 60;
/// Time that joining waits for members where nothing else was said, in seconds.
pub const JOIN_WAIT_S: u64 = 30;
/// Messages listed where no limit was named: what fits on a few screens.
pub const DEFAULT_LIMIT: usize = 50;
/// Most messages that one search finds: more than anyone reads, and few enough to be put in another
/// order in memory, the largest of them included (64 MiB).
pub const MAX_FOUND: usize = 1000;
/// Time that a request to a service may take where nothing else was said, in seconds.
pub const REQUEST_TIMEOUT_S: u64 = 30;

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    /// This device.
    #[serde(with = "text")]
    pub peer_id: PeerId,
    /// The account that certified it.
    #[serde(with = "text")]
    pub account_id: AccountId,
    /// The name shown to others.
    pub name: String,
}

/// A message that is durable here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// Its event.
    #[serde(with = "text")]
    pub event: EventId,
}

/// A direct message that is durable here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostedDirect {
    /// Its event.
    #[serde(with = "text")]
    pub event: EventId,
    /// The direct room, made when it was missing.
    #[serde(with = "text")]
    pub room: RoomId,
}

/// One room's share of a broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostedRoom {
    /// The room.
    #[serde(with = "text")]
    pub room: RoomId,
    /// The event in it.
    #[serde(with = "text")]
    pub event: EventId,
}

/// One line of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The event.
    #[serde(with = "text")]
    pub event: EventId,
    /// Its room.
    #[serde(with = "text")]
    pub room: RoomId,
    /// The account that wrote it.
    #[serde(with = "text")]
    pub author: AccountId,
    /// The device that wrote it.
    #[serde(with = "text")]
    pub device: PeerId,
    /// The author's name as it is now.
    pub name: String,
    /// When, in Unix milliseconds, by the author's clock.
    pub time: u64,
    /// What it is.
    pub kind: MessageKind,
    /// The text, of an attachment its caption; empty where there is none.
    pub text: String,
    /// What comes with it, where the kind is an attachment.
    #[serde(default)]
    pub attachment: Option<Box<Attachment>>,
}

/// The first line of what `GET /api/v1/search` answers; the others are messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Searched {
    /// How many stored events were not indexed yet, about: what is in them is not found.
    pub behind: u64,
}

/// A message that was found by its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundMessage {
    /// The message.
    #[serde(flatten)]
    pub message: Message,
    /// The name of its room, as it is now.
    pub room_name: String,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// Something that a person said.
    Message,
    /// A picture, a file or a folder, perhaps with something said.
    Attachment,
    /// The body cannot be read here: its key has not arrived.
    Locked,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}

/// How a peer is reached at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerPath {
    /// A direct connection.
    Direct,
    /// Through a relay.
    Relay,
    /// Not connected, or in a way that this version does not know.
    #[serde(other)]
    None,
}

/// A peer that this node knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// The peer.
    #[serde(with = "text")]
    pub peer_id: PeerId,
    /// Its name, where it is known.
    pub name: Option<String>,
    /// How it is reached.
    pub path: PeerPath,
    /// Whether it was heard on the local network.
    pub lan: bool,
    /// Round trip of the path in use, in milliseconds with three decimals.
    pub rtt_ms: Option<f64>,
}

/// A service that a peer offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name with the major version: `echo/1`.
    pub name: String,
    /// Whether it is a stream of bytes both ways; otherwise one request has one reply.
    pub stream: bool,
    /// Whether it came with Ayni or from a user.
    pub builtin: bool,
}

/// How the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This device.
    #[serde(with = "text")]
    pub peer_id: PeerId,
    /// The account that certified it.
    #[serde(with = "text")]
    pub account_id: AccountId,
    /// The name shown to others.
    pub name: String,
    /// The version of the program that runs it.
    pub version: String,
    /// The process that runs it.
    pub pid: u32,
    /// Its data folder; what is not Unicode in the name is replaced.
    pub data: String,
    /// The address of this API: `http://127.0.0.1:PORT`.
    pub http: String,
    /// Its network preset: `internet`, `lan` or `loopback`.
    pub network: String,
    /// Whether it has no network at all.
    pub offline: bool,
    /// UDP sockets it is bound to.
    pub bound: Vec<SocketAddr>,
    /// Addresses that others may reach it by.
    pub addresses: Vec<SocketAddr>,
    /// Peers connected now.
    pub connected: usize,
    /// Rooms known.
    pub rooms: usize,
    /// Joins that have not succeeded yet.
    pub joining: usize,
    /// Events stored, of all rooms.
    pub events: u64,
    /// Bytes of contents that were given to others since start.
    #[serde(default)]
    pub given: u64,
    /// Bytes of contents that came from others since start.
    #[serde(default)]
    pub taken: u64,
    /// Seconds since start.
    pub uptime_s: u64,
}

/// One observation of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Good, bad, or merely worth knowing.
    pub ok: Option<bool>,
    /// What was looked at.
    pub what: String,
    /// What was seen, and what to do about it.
    pub detail: String,
}

/// Something that happened, as `/api/v1/events` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A message was stored: one of this node's own, or another's.
    Message {
        /// The message.
        message: Message,
    },
    /// A room was created, joined, left, renamed, or its members changed.
    Room {
        /// The room.
        #[serde(with = "text")]
        room: RoomId,
    },
    /// Someone became a member.
    Joined {
        /// The room.
        #[serde(with = "text")]
        room: RoomId,
        /// The new member.
        #[serde(with = "text")]
        account_id: AccountId,
        /// Its name.
        name: String,
    },
    /// Someone left, or was removed.
    Left {
        /// The room.
        #[serde(with = "text")]
        room: RoomId,
        /// Who.
        #[serde(with = "text")]
        account_id: AccountId,
        /// Its name.
        name: String,
        /// Whether someone else removed it.
        #[serde(default)]
        removed: bool,
    },
    /// A device of a member is shut out: it is proved to have signed two different events at one
    /// place, so it was copied, or it lies. What it wrote from there on does not count.
    Forked {
        /// The room.
        #[serde(with = "text")]
        room: RoomId,
        /// The device.
        #[serde(with = "text")]
        device: PeerId,
        /// Its account.
        #[serde(with = "text")]
        account_id: AccountId,
        /// The account's name.
        name: String,
    },
    /// A transfer began, ended, was paused, or goes on; how far it is tells `/api/v1/progress`.
    Transfer {
        /// Its number.
        id: u64,
    },
    /// A peer connected.
    PeerUp {
        /// The peer.
        #[serde(with = "text")]
        peer_id: PeerId,
    },
    /// A peer's last connection ended.
    PeerDown {
        /// The peer.
        #[serde(with = "text")]
        peer_id: PeerId,
    },
    /// This subscriber was too slow; so many events are missing here, and are in the store.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// From a newer version of the node.
    #[serde(other)]
    Unknown,
}

/// Whose turn it is to act after a failure; the command line's exit codes follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// What was given is malformed, ambiguous, empty or too large.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Not permitted.
    Denied,
    /// The other side cannot be reached, or did not answer in time.
    Unreachable,
    /// This machine failed, or something that this version does not know.
    #[serde(other)]
    Internal,
}

/// What every failure looks like: `{"error":{"code","message"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The error.
    pub error: ErrorDetail,
}

/// The inside of a [`Failure`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// Whose turn it is to act.
    pub code: ErrorCode,
    /// One sentence for people.
    pub message: String,
}

/// What `api.json` in the data folder says: where the node that serves this folder is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// `http://127.0.0.1:PORT`.
    pub http: String,
    /// The process that serves.
    pub pid: u32,
    /// The file that has the bearer token; if relative, to the data folder.
    pub token_file: String,
    /// Whether the node lasts as long as some command, and not until it is stopped.
    #[serde(default)]
    pub passing: bool,
}

/// The empty reply `{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// Body of `PUT /api/v1/name` and `POST /api/v1/rooms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The new name.
    pub name: String,
}

/// Body of `POST /api/v1/join` and `POST /api/v1/look`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The ticket's text.
    pub ticket: String,
    /// How long to wait for a member, in seconds.
    #[serde(default = "default_wait_s")]
    pub wait_s: u64,
}

/// Body of `POST /api/v1/rooms/{room}/messages` and `POST /api/v1/broadcast`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// What to say.
    pub text: String,
}

/// Body of `POST /api/v1/dm`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Direct {
    /// To whom: a peer or account id, the start of one, or a name.
    pub who: String,
    /// What to say.
    pub text: String,
}

fn default_expires_s() -> u64 {
    INVITE_EXPIRES_S
}

fn default_wait_s() -> u64 {
    JOIN_WAIT_S
}

/// Ids and roles as their text form.
mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<T: Display, S: Serializer>(id: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }

    pub(super) mod option {
        use std::fmt::Display;
        use std::str::FromStr;

        use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

        #[allow(clippy::ref_option, reason = "serde hands the field over as it is")]
        pub(in crate::api) fn serialize<T: Display, S: Serializer>(
            value: &Option<T>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            value.as_ref().map(T::to_string).serialize(to)
        }

        pub(in crate::api) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
        where
            T: FromStr<Err: Display>,
            D: Deserializer<'de>,
        {
            let text = Option::<String>::deserialize(from)?;
            text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
        }
    }

    pub(super) mod list {
        use std::fmt::Display;
        use std::str::FromStr;

        use serde::{Deserialize, Deserializer, Serializer, de::Error};

        pub(in crate::api) fn serialize<T: Display, S: Serializer>(
            ids: &[T],
            to: S,
        ) -> Result<S::Ok, S::Error> {
            to.collect_seq(ids.iter().map(T::to_string))
        }

        pub(in crate::api) fn deserialize<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
        where
            T: FromStr<Err: Display>,
            D: Deserializer<'de>,
        {
            let texts = Vec::<String>::deserialize(from)?;
            texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
        }
    }
}

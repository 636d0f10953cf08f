//! What a [`crate::Node`] tells about itself, its rooms and its peers: plain values, no wire shapes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ayni_core::attachment::Attachment;
use ayni_core::id::{AccountId, EventId, InviteKey, PeerId, RoomId};
use ayni_core::room::{History, Role};

use crate::builder::Network;

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// This device.
    pub peer: PeerId,
    /// The account that certified it.
    pub account: AccountId,
    /// The name shown to others.
    pub name: String,
}

/// What kind of conversation a room is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RoomKind {
    /// Any number of members, who invite each other.
    Group,
    /// Two accounts.
    Direct,
    /// One account: its own notes.
    Own,
}

/// One room as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomInfo {
    /// The room.
    pub room: RoomId,
    /// Its kind.
    pub kind: RoomKind,
    /// Its name; for a direct room the other member's, for one's own a fixed one.
    pub name: String,
    /// How many accounts are members now.
    pub members: usize,
    /// Messages of others that were not listed yet.
    pub unread: u64,
    /// Whether this device takes part as a member's: not after leaving, nor where it is shut out.
    pub joined: bool,
    /// Whether this account was removed by another member, as far as is known here.
    pub removed: bool,
    /// Whether this device is shut out, because it is proved to have signed two different events at
    /// one place: it was copied.
    pub frozen: bool,
    /// What this account may do here, while it is a member.
    pub role: Option<Role>,
    /// What the room is about.
    pub topic: String,
}

/// One member of a room: an account, on one of its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The account.
    pub account: AccountId,
    /// Its devices known to the room.
    pub devices: Vec<PeerId>,
    /// Those of them that are shut out: proved to have signed two different events at one place.
    pub frozen: Vec<PeerId>,
    /// The name it gave itself, or the start of its id.
    pub name: String,
    /// Whether it founded the room.
    pub founder: bool,
    /// What it may do.
    pub role: Role,
    /// Whether it is this node's own account.
    pub me: bool,
    /// Whether a device of it is connected to this node now.
    pub online: bool,
}

/// Someone who is or was a member of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The account.
    pub account: AccountId,
    /// The name it gave itself, or the start of its id.
    pub name: String,
    /// What it may do, while it is a member.
    pub role: Option<Role>,
}

/// How a room is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSettings {
    /// The least role that may invite.
    pub who_invites: Role,
    /// The least role that may post now.
    pub who_posts: Role,
    /// The least role that may pin messages.
    pub who_pins: Role,
    /// What newcomers may read.
    pub history: History,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// Something that a person said.
    Message,
    /// A picture, a file or a folder, perhaps with something said.
    Attachment,
    /// A kind that this version does not know: from a newer version.
    Unknown,
    /// The body is not readable here (its key has not arrived).
    Locked,
}

/// One line of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The event.
    pub event: EventId,
    /// Its room.
    pub room: RoomId,
    /// The account that wrote it.
    pub author: AccountId,
    /// The device that wrote it.
    pub device: PeerId,
    /// The author's name as it is now.
    pub name: String,
    /// When, in Unix milliseconds, by the author's clock.
    pub time_ms: u64,
    /// What it is.
    pub kind: MessageKind,
    /// The text, of an attachment its caption; empty where there is none.
    pub text: String,
    /// What is attached, as its author says; the name is clean.
    pub attachment: Option<Box<Attachment>>,
    /// Whether this node wrote it.
    pub mine: bool,
}

/// Where in a room's timeline to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageQuery {
    /// How many of the newest, at most.
    pub limit: usize,
    /// Only those before this position (see [`MessagePage::before`]), for paging backwards.
    pub before: Option<Cursor>,
}

/// A position in a timeline, for paging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Hybrid time of the event.
    pub(crate) time: u64,
    /// The event, which breaks ties.
    pub(crate) event: EventId,
}

impl Cursor {
    /// The place of an event.
    pub(crate) fn of(event: &ayni_core::event::Event) -> Self {
        Self { time: event.header().time.0, event: event.id() }
    }
}

/// Some messages, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// Where the page before this one ends; none when this one has the first message.
    pub before: Option<Cursor>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The messages, newest first. Fewer than were asked for where some are hidden.
    pub messages: Vec<Message>,
    /// Where to go on; none when there is nothing older.
    pub before: Option<Cursor>,
    /// How many stored events were not indexed yet, about: what is in them is not found.
    pub behind: u64,
}

/// How a peer is reached at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerPath {
    /// A direct connection.
    Direct,
    /// Through a relay.
    Relay,
    /// Not connected.
    None,
}

/// A peer that this node knows.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerInfo {
    /// The peer.
    pub peer: PeerId,
    /// Its account, where it is known.
    pub account: Option<AccountId>,
    /// Its name, where it is known.
    pub name: Option<String>,
    /// How it is reached.
    pub path: PeerPath,
    /// Whether it was heard on the local network (multicast DNS).
    pub lan: bool,
    /// Round trip of the selected path.
    pub rtt: Option<Duration>,
}

/// What to put in an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteOptions {
    /// How many accounts may join with it; none: any number.
    pub uses: Option<u32>,
    /// How long it can be used.
    pub expires_in: Duration,
    /// The role of who joins with it: reader or member.
    pub role: Role,
}

/// An invitation of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteInfo {
    /// Its public key: what names it.
    pub invite: InviteKey,
    /// Who invites.
    pub inviter: AccountId,
    /// The inviter's name.
    pub inviter_name: String,
    /// How many accounts may join with it; none: any number.
    pub uses: Option<u32>,
    /// How many did.
    pub used: usize,
    /// When it expires, Unix milliseconds.
    pub expires_ms: u64,
    /// The role of who joins with it.
    pub role: Role,
    /// Whether someone could still join with it: it was not revoked, is not used up or expired, and
    /// its inviter was not removed.
    pub open: bool,
}

/// What a ticket invites to, as a member of the room says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationInfo {
    /// The room.
    pub room: RoomId,
    /// Its name, or the start of its id.
    pub name: String,
    /// What it is about; may be empty.
    pub topic: String,
    /// Who invites.
    pub inviter: AccountId,
    /// The inviter's name, or the start of its id.
    pub inviter_name: String,
    /// How many accounts are members.
    pub members: u32,
    /// What one joins as.
    pub role: Role,
    /// Whether one may read what was said before.
    pub history: History,
    /// When the ticket expires, Unix milliseconds.
    pub expires_ms: u64,
}

impl Default for InviteOptions {
    /// Unlimited uses, seven days.
    fn default() -> Self {
        Self { uses: None, expires_in: Duration::from_hours(7 * 24), role: Role::Member }
    }
}

/// How the node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub identity: Identity,
    /// Its folder.
    pub data: PathBuf,
    /// Its network preset.
    pub network: Network,
    /// Whether it has no network at all (a command that works on the folder).
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
    /// Time since start.
    pub uptime: Duration,
}

/// One observation of `doctor`, in plain words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Good, bad, or merely worth knowing.
    pub ok: Option<bool>,
    /// What was looked at.
    pub what: String,
    /// What was seen, and what to do about it.
    pub detail: String,
}

/// A service that a peer offers or asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Its name, with the major version: `echo/1`.
    pub name: String,
    /// Whether it answers one request with one reply, or is a stream of bytes both ways.
    pub stream: bool,
    /// Whether it came with ayni or from a user.
    pub builtin: bool,
}

//! What rooms look like: who is in, what each may do, how it is set up, its invitations.

use ayni::{AccountId, InviteKey, PeerId, Role, RoomId};
use serde::{Deserialize, Serialize};

use super::{default_expires_s, text};

/// What this account is to a room, whether or not this device is shut out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// A member.
    Joined,
    /// It left; what was said until then stays readable.
    Left,
    /// It was removed, as far as is known here; what was said until then stays readable.
    Removed,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}

/// What kind of room it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomKind {
    /// Any number of members, who invite each other.
    Group,
    /// Two people, who never change.
    Direct,
    /// One's own: notes to oneself.
    Own,
    /// From a newer version.
    #[serde(other)]
    Unknown,
}

/// Which of the past newcomers may read, in the words of `ayni room set`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// All of it.
    FromStart,
    /// What is said after they joined.
    FromJoining,
}

/// One room in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// The room.
    #[serde(with = "text")]
    pub room: RoomId,
    /// Its name; for a direct room the other member's.
    pub name: String,
    /// How many accounts are members.
    pub members: usize,
    /// How many messages of others were not listed yet.
    pub unread: u64,
    /// What this account is to it.
    pub standing: Standing,
    /// Whether this device is shut out of it: it is proved to have signed two different events at one
    /// place, so it was copied.
    #[serde(default)]
    pub frozen: bool,
    /// What this account may do in it, while it is a member.
    #[serde(with = "text::option")]
    pub role: Option<Role>,
}

/// One room and how it is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomDetails {
    /// The room.
    #[serde(with = "text")]
    pub room: RoomId,
    /// Its name; for a direct room the other member's.
    pub name: String,
    /// What it is about; empty where nobody said.
    pub topic: String,
    /// What kind of room it is.
    pub kind: RoomKind,
    /// How many accounts are members.
    pub members: usize,
    /// How many messages of others were not listed yet.
    pub unread: u64,
    /// What this account is to it.
    pub standing: Standing,
    /// Whether this device is shut out of it: it is proved to have signed two different events at one
    /// place, so it was copied.
    #[serde(default)]
    pub frozen: bool,
    /// What this account may do in it, while it is a member.
    #[serde(with = "text::option")]
    pub role: Option<Role>,
    /// The least role that may invite.
    #[serde(with = "text")]
    pub who_invites: Role,
    /// The least role that may post.
    #[serde(with = "text")]
    pub who_posts: Role,
    /// The least role that may pin messages.
    #[serde(with = "text")]
    pub who_pins: Role,
    /// What newcomers may read.
    pub history: History,
}

/// A room that was made, joined or left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomRef {
    /// The room.
    #[serde(with = "text")]
    pub room: RoomId,
    /// Its name.
    pub name: String,
}

/// An invitation that was made. The ticket is a secret: who has it can join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The ticket's text.
    pub ticket: String,
    /// What names the invitation to who wants to revoke it: no secret.
    #[serde(with = "text")]
    pub invite: InviteKey,
}

/// One invitation of a room, without its ticket, which nobody but who was given it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// What names it.
    #[serde(with = "text")]
    pub invite: InviteKey,
    /// Who made it.
    #[serde(with = "text")]
    pub inviter: AccountId,
    /// The inviter's name, as it is now.
    pub name: String,
    /// The role of who joins with it.
    #[serde(with = "text")]
    pub role: Role,
    /// How many accounts may join with it; `null`: any number.
    pub uses: Option<u32>,
    /// How many did.
    pub used: usize,
    /// When it expires, Unix milliseconds.
    pub expires: u64,
    /// Whether someone could still join with it.
    pub open: bool,
}

/// What a ticket invites to, as a member of the room says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The room.
    #[serde(with = "text")]
    pub room: RoomId,
    /// Its name.
    pub name: String,
    /// What it is about; empty where nobody said.
    pub topic: String,
    /// Who invites.
    #[serde(with = "text")]
    pub inviter: AccountId,
    /// The inviter's name.
    pub inviter_name: String,
    /// How many accounts are members.
    pub members: u32,
    /// What one joins as.
    #[serde(with = "text")]
    pub role: Role,
    /// What one may read of what was said before.
    pub history: History,
    /// When the ticket expires, Unix milliseconds.
    pub expires: u64,
}

/// One member of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The account.
    #[serde(with = "text")]
    pub account_id: AccountId,
    /// Its devices known to the room.
    #[serde(with = "text::list")]
    pub devices: Vec<PeerId>,
    /// Those of them that are shut out: proved to have signed two different events at one place.
    #[serde(default, with = "text::list")]
    pub frozen: Vec<PeerId>,
    /// The name it gave itself, or the start of its id.
    pub name: String,
    /// What it may do.
    #[serde(with = "text")]
    pub role: Role,
    /// Whether it founded the room.
    pub founder: bool,
    /// Whether it is this node's own account.
    pub me: bool,
    /// Whether a device of it is connected to this node now.
    pub online: bool,
}

/// Someone who is or was a member of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The account.
    #[serde(with = "text")]
    pub account_id: AccountId,
    /// The name it gave itself, or the start of its id.
    pub name: String,
    /// What it may do; `null` when it is no member now.
    #[serde(with = "text::option")]
    pub role: Option<Role>,
}

/// Body of `POST /api/v1/rooms/{room}/invites`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// How many accounts may join with it; `null`: any number.
    #[serde(default)]
    pub uses: Option<u32>,
    /// How long it can be used, in seconds.
    #[serde(default = "default_expires_s")]
    pub expires_s: u64,
    /// The role of who joins with it: `reader` or `member`.
    #[serde(default, with = "text")]
    pub role: Role,
}

impl Default for Invite {
    /// A member's, for a week, for any number.
    fn default() -> Self {
        Self { uses: None, expires_s: default_expires_s(), role: Role::Member }
    }
}

/// Body of `POST /api/v1/rooms/{room}/revoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// The invitation: its id, the start of it, or its ticket.
    pub invite: String,
}

/// Body of `POST /api/v1/rooms/{room}/role`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GiveRole {
    /// To whom: an account or peer id, the start of one, or a name.
    pub who: String,
    /// What.
    #[serde(with = "text")]
    pub role: Role,
}

/// Body of `POST /api/v1/rooms/{room}/remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// Whom: an account or peer id, the start of one, or a name.
    pub who: String,
}

/// Body of `POST /api/v1/rooms/{room}/settings`: one setting, as `{"topic":"bread"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// The room's name.
    Name(String),
    /// What it is about; empty: nothing.
    Topic(String),
    /// The least role that may invite: `member`, `admin` or `founder`.
    WhoInvites(#[serde(with = "text")] Role),
    /// The least role that may post: likewise.
    WhoPosts(#[serde(with = "text")] Role),
    /// The least role that may pin messages: likewise.
    WhoPins(#[serde(with = "text")] Role),
    /// What newcomers may read from now on.
    History(History),
}

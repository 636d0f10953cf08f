//! From the node's values to the JSON shapes: the one place where both are named.

use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

use super::{
    ErrorCode, ErrorDetail, Event, Finding, History, Id, Invitation, Invite, Look, Member, Message,
    MessageKind, Peer, PeerPath, Person, Room, RoomDetails, RoomKind, RoomRef, Service, Setting,
    Standing, Ticket,
};

impl From<ayni::Identity> for Id {
    fn from(identity: ayni::Identity) -> Self {
        Self { peer_id: identity.peer, account_id: identity.account, name: identity.name }
    }
}

impl From<ayni::RoomInfo> for Room {
    fn from(room: ayni::RoomInfo) -> Self {
        Self {
            standing: Standing::of(&room),
            room: room.room,
            name: room.name,
            members: room.members,
            unread: room.unread,
            frozen: room.frozen,
            role: room.role,
        }
    }
}

impl Standing {
    fn of(room: &ayni::RoomInfo) -> Self {
        // By the role: an account goes on being a member while this device is shut out.
        match (room.joined || room.role.is_some(), room.removed) {
            (true, _) => Self::Joined,
            (false, true) => Self::Removed,
            (false, false) => Self::Left,
        }
    }
}

impl From<(ayni::RoomInfo, ayni::RoomSettings)> for RoomDetails {
    fn from((room, settings): (ayni::RoomInfo, ayni::RoomSettings)) -> Self {
        Self {
            standing: Standing::of(&room),
            kind: room.kind.into(),
            room: room.room,
            name: room.name,
            topic: room.topic,
            members: room.members,
            unread: room.unread,
            frozen: room.frozen,
            role: room.role,
            who_invites: settings.who_invites,
            who_posts: settings.who_posts,
            who_pins: settings.who_pins,
            history: settings.history.into(),
        }
    }
}

impl From<ayni::RoomKind> for RoomKind {
    fn from(kind: ayni::RoomKind) -> Self {
        match kind {
            ayni::RoomKind::Group => Self::Group,
            ayni::RoomKind::Direct => Self::Direct,
            ayni::RoomKind::Own => Self::Own,
            _ => Self::Unknown,
        }
    }
}

impl From<ayni::History> for History {
    fn from(history: ayni::History) -> Self {
        match history {
            ayni::History::FromStart => Self::FromStart,
            ayni::History::FromJoining => Self::FromJoining,
        }
    }
}

impl From<History> for ayni::History {
    fn from(history: History) -> Self {
        match history {
            History::FromStart => Self::FromStart,
            History::FromJoining => Self::FromJoining,
        }
    }
}

impl From<Setting> for ayni::Setting {
    fn from(setting: Setting) -> Self {
        match setting {
            Setting::Name(name) => Self::Name(name),
            Setting::Topic(topic) => Self::Topic(topic),
            Setting::WhoInvites(role) => Self::WhoInvites(role),
            Setting::WhoPosts(role) => Self::WhoPosts(role),
            Setting::WhoPins(role) => Self::WhoPins(role),
            Setting::History(history) => Self::History(history.into()),
        }
    }
}

impl From<Invite> for ayni::InviteOptions {
    fn from(invite: Invite) -> Self {
        let expires_in = Duration::from_secs(invite.expires_s);
        Self { uses: invite.uses, expires_in, role: invite.role }
    }
}

impl From<ayni::Ticket> for Ticket {
    fn from(ticket: ayni::Ticket) -> Self {
        Self { ticket: ticket.to_string(), invite: ticket.secret().key() }
    }
}

impl From<ayni::InviteInfo> for Invitation {
    fn from(info: ayni::InviteInfo) -> Self {
        Self {
            invite: info.invite,
            inviter: info.inviter,
            name: info.inviter_name,
            role: info.role,
            uses: info.uses,
            used: info.used,
            expires: info.expires_ms,
            open: info.open,
        }
    }
}

impl From<ayni::InvitationInfo> for Look {
    fn from(told: ayni::InvitationInfo) -> Self {
        Self {
            room: told.room,
            name: told.name,
            topic: told.topic,
            inviter: told.inviter,
            inviter_name: told.inviter_name,
            members: told.members,
            role: told.role,
            history: told.history.into(),
            expires: told.expires_ms,
        }
    }
}

impl From<ayni::Person> for Person {
    fn from(person: ayni::Person) -> Self {
        Self { account_id: person.account, name: person.name, role: person.role }
    }
}

impl From<ayni::RoomInfo> for RoomRef {
    fn from(room: ayni::RoomInfo) -> Self {
        Self { room: room.room, name: room.name }
    }
}

impl From<ayni::Message> for Message {
    fn from(message: ayni::Message) -> Self {
        Self {
            event: message.event,
            room: message.room,
            author: message.author,
            device: message.device,
            name: message.name,
            time: message.time_ms,
            kind: message.kind.into(),
            text: message.text,
        }
    }
}

impl From<ayni::MessageKind> for MessageKind {
    fn from(kind: ayni::MessageKind) -> Self {
        match kind {
            ayni::MessageKind::Message => Self::Message,
            ayni::MessageKind::Locked => Self::Locked,
            _ => Self::Unknown,
        }
    }
}

impl From<ayni::Member> for Member {
    fn from(member: ayni::Member) -> Self {
        Self {
            account_id: member.account,
            devices: member.devices,
            frozen: member.frozen,
            name: member.name,
            role: member.role,
            founder: member.founder,
            me: member.me,
            online: member.online,
        }
    }
}

impl From<ayni::PeerInfo> for Peer {
    fn from(peer: ayni::PeerInfo) -> Self {
        Self {
            peer_id: peer.peer,
            name: peer.name,
            path: match peer.path {
                ayni::PeerPath::Direct => PeerPath::Direct,
                ayni::PeerPath::Relay => PeerPath::Relay,
                _ => PeerPath::None,
            },
            lan: peer.lan,
            rtt_ms: peer.rtt.map(milliseconds),
        }
    }
}

/// Whole microseconds, so that no binary fraction shows in the JSON.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl From<ayni::ServiceInfo> for Service {
    fn from(service: ayni::ServiceInfo) -> Self {
        Self { name: service.name, stream: service.stream, builtin: service.builtin }
    }
}

impl From<ayni::Finding> for Finding {
    fn from(finding: ayni::Finding) -> Self {
        Self { ok: finding.ok, what: finding.what, detail: finding.detail }
    }
}

impl Event {
    /// Returns what is told of an event; none for the end of the stream, which is the socket's end.
    pub(crate) fn from_node(event: ayni::Event) -> Option<Self> {
        Some(match event {
            ayni::Event::Message(message) => Self::Message { message: message.into() },
            ayni::Event::RoomChanged(room) => Self::Room { room },
            ayni::Event::Joined { room, account, name } => {
                Self::Joined { room, account_id: account, name }
            }
            ayni::Event::Left { room, account, name, removed } => {
                Self::Left { room, account_id: account, name, removed }
            }
            ayni::Event::Forked { room, device, account, name } => {
                Self::Forked { room, device, account_id: account, name }
            }
            ayni::Event::PeerUp(peer_id) => Self::PeerUp { peer_id },
            ayni::Event::PeerDown(peer_id) => Self::PeerDown { peer_id },
            ayni::Event::Lagged(missed) => Self::Lagged { missed },
            _ => return None,
        })
    }
}

impl From<ayni::ErrorKind> for ErrorCode {
    fn from(kind: ayni::ErrorKind) -> Self {
        match kind {
            ayni::ErrorKind::Invalid => Self::Invalid,
            ayni::ErrorKind::NotFound => Self::NotFound,
            ayni::ErrorKind::Denied => Self::Denied,
            // The node went away under the caller, who can ask again when it is back.
            ayni::ErrorKind::Unreachable | ayni::ErrorKind::Closed => Self::Unreachable,
            _ => Self::Internal,
        }
    }
}

impl From<&ayni::Error> for ErrorDetail {
    /// Keeps the kind, and makes one sentence of the error and its causes.
    fn from(error: &ayni::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let _ = write!(message, ": {cause}");
            source = cause.source();
        }
        Self { code: error.kind().into(), message }
    }
}

#[cfg(test)]
mod tests {
    use ayni::{AccountId, EventId, PeerId, RoomId};

    use super::*;

    #[test]
    fn a_message_keeps_author_and_device_apart() {
        let message = Message::from(ayni::Message {
            event: EventId([1; 32]),
            room: RoomId([2; 32]),
            author: AccountId([3; 32]),
            device: PeerId([4; 32]),
            name: "Rosa".into(),
            time_ms: 1_700_000_000_123,
            kind: ayni::MessageKind::Locked,
            text: String::new(),
            mine: false,
        });
        assert_eq!(message.author, AccountId([3; 32]));
        assert_eq!(message.device, PeerId([4; 32]));
        assert_eq!(message.time, 1_700_000_000_123);
        assert_eq!(message.kind, MessageKind::Locked);
    }

    #[test]
    fn an_account_stays_in_a_room_that_its_device_is_shut_out_of() {
        let shut_out = ayni::RoomInfo {
            room: RoomId([2; 32]),
            kind: ayni::RoomKind::Group,
            name: "den".into(),
            members: 3,
            unread: 0,
            joined: false,
            removed: false,
            frozen: true,
            role: Some(ayni::Role::Admin),
            topic: String::new(),
        };
        let told = Room::from(shut_out.clone());
        assert_eq!((told.standing, told.frozen), (Standing::Joined, true));
        assert_eq!(told.role, Some(ayni::Role::Admin));
        let removed = Room::from(ayni::RoomInfo { removed: true, role: None, ..shut_out });
        assert_eq!((removed.standing, removed.frozen), (Standing::Removed, true));
    }

    #[test]
    fn a_fork_is_told_with_the_device_and_its_account() {
        let (room, device) = (RoomId([2; 32]), PeerId([4; 32]));
        let (account, name) = (AccountId([3; 32]), String::from("Rosa"));
        let told =
            Event::from_node(ayni::Event::Forked { room, device, account, name: name.clone() });
        assert_eq!(told, Some(Event::Forked { room, device, account_id: account, name }));
    }

    #[test]
    fn a_round_trip_time_has_three_decimals() {
        assert_eq!(serde_json::json!(milliseconds(Duration::from_nanos(1_234_567))), 1.235);
        assert_eq!(serde_json::json!(milliseconds(Duration::from_micros(100))), 0.1);
    }

    #[test]
    fn an_error_is_one_sentence_with_its_cause() {
        let error = ayni::Error::Io {
            what: "the file x could not be read".into(),
            source: std::io::Error::other("it is gone"),
        };
        let detail = ErrorDetail::from(&error);
        assert_eq!(detail.code, ErrorCode::Internal);
        assert_eq!(detail.message, "the file x could not be read: it is gone");
    }

    #[test]
    fn the_end_of_the_stream_is_not_an_event() {
        assert_eq!(Event::from_node(ayni::Event::Closed), None);
        assert_eq!(Event::from_node(ayni::Event::Lagged(3)), Some(Event::Lagged { missed: 3 }));
    }
}

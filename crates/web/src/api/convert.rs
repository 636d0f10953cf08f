//! From the node's values to the JSON shapes: the one place where both are named.

use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

use data_encoding::BASE64;

use super::{
    Attach, Attached, Attachment, ErrorCode, ErrorDetail, Event, Existing, File, Finding, Here,
    History, Id, Invitation, Invite, Look, Member, Message, MessageKind, Peer, PeerPath, Person,
    Room, RoomDetails, RoomKind, RoomRef, Service, Setting, Share, Shared, Standing, Ticket,
    Transfer, TransferState,
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

impl Message {
    /// Returns what is told of a message; the thumbnail of a picture only where it is asked for: a
    /// thousand of them are megabytes.
    pub(crate) fn from_node(message: ayni::Message, thumbnails: bool) -> Self {
        let attachment = message.attachment.map(|it| Attachment::from_node(*it, thumbnails));
        Self {
            event: message.event,
            room: message.room,
            author: message.author,
            device: message.device,
            name: message.name,
            time: message.time_ms,
            kind: message.kind.into(),
            text: message.text,
            attachment: attachment.map(Box::new),
        }
    }
}

impl Attachment {
    fn from_node(attachment: ayni::Attachment, thumbnails: bool) -> Self {
        let picture = attachment.picture.as_ref();
        let side = |pixels: u32| (pixels > 0).then_some(pixels);
        let base64 = |bytes: &Vec<u8>| (!bytes.is_empty()).then(|| BASE64.encode(bytes));
        let thumbnail = picture.filter(|_| thumbnails).and_then(|it| base64(&it.thumbnail));
        Self {
            width: picture.and_then(|it| side(it.width)),
            height: picture.and_then(|it| side(it.height)),
            thumbhash: picture.and_then(|it| base64(&it.thumbhash)),
            thumbnail,
            blob: attachment.blob,
            size: attachment.size,
            name: attachment.name,
            media_type: attachment.media_type,
            files: attachment.files,
        }
    }
}

impl From<ayni::FileInfo> for File {
    fn from(file: ayni::FileInfo) -> Self {
        Self {
            event: file.event,
            author: file.author,
            time: file.time_ms,
            text: file.caption,
            attachment: Attachment::from_node(file.attachment, false),
            held_by: file.held_by,
            here: file.here.into(),
            pinned: file.pinned,
        }
    }
}

impl From<ayni::Here> for Here {
    fn from(here: ayni::Here) -> Self {
        match here {
            ayni::Here::Whole => Self::Whole,
            ayni::Here::Part => Self::Part,
            ayni::Here::None => Self::None,
            ayni::Here::Changed => Self::Changed,
            _ => Self::Unknown,
        }
    }
}

impl From<ayni::Attached> for Attached {
    fn from(attached: ayni::Attached) -> Self {
        Self { event: attached.event, blob: attached.blob, size: attached.size }
    }
}

impl From<ayni::Shared> for Shared {
    fn from(shared: ayni::Shared) -> Self {
        Self { ticket: shared.ticket, blob: shared.blob, size: shared.size }
    }
}

impl From<ayni::ShareInfo> for Share {
    fn from(share: ayni::ShareInfo) -> Self {
        Self { blob: share.blob, name: share.name, since: share.since_ms, ticket: share.ticket }
    }
}

impl From<Attach> for ayni::AttachOptions {
    fn from(attach: Attach) -> Self {
        Self { caption: attach.text, keep_metadata: attach.keep_metadata, copy: attach.copy }
    }
}

impl From<Existing> for ayni::Existing {
    fn from(existing: Existing) -> Self {
        match existing {
            Existing::Refuse => Self::Refuse,
            Existing::Overwrite => Self::Overwrite,
            Existing::Rename => Self::Rename,
            Existing::Skip => Self::Skip,
        }
    }
}

impl From<ayni::TransferInfo> for Transfer {
    fn from(transfer: ayni::TransferInfo) -> Self {
        let (state, error) = TransferState::from_node(transfer.state);
        Self {
            id: transfer.id,
            blob: transfer.blob,
            name: transfer.name,
            bytes: transfer.bytes,
            size: transfer.size,
            rate: transfer.rate,
            eta_s: transfer.eta.map(|eta| eta.as_secs()),
            peers: transfer.peers,
            priority: transfer.priority.into(),
            rate_up: transfer.rate_up,
            rate_down: transfer.rate_down,
            state,
            error,
            room: transfer.room,
            event: transfer.event,
            twice: transfer.twice,
            path: transfer.path.map(|path| path.display().to_string()),
        }
    }
}

impl TransferState {
    fn from_node(state: ayni::TransferState) -> (Self, Option<ErrorDetail>) {
        let state = match state {
            ayni::TransferState::Waiting => Self::Waiting,
            ayni::TransferState::Running => Self::Running,
            ayni::TransferState::Placing => Self::Placing,
            ayni::TransferState::Paused => Self::Paused,
            ayni::TransferState::Done => Self::Done,
            ayni::TransferState::Failed(kind, message) => {
                return (Self::Failed, Some(ErrorDetail { code: kind.into(), message }));
            }
            ayni::TransferState::Cancelled => Self::Cancelled,
            _ => Self::Unknown,
        };
        (state, None)
    }
}

impl From<ayni::MessageKind> for MessageKind {
    fn from(kind: ayni::MessageKind) -> Self {
        match kind {
            ayni::MessageKind::Message => Self::Message,
            ayni::MessageKind::Attachment => Self::Attachment,
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
    pub(crate) fn from_node(event: ayni::Event, thumbnails: bool) -> Option<Self> {
        Some(match event {
            ayni::Event::Message(message) => {
                Self::Message { message: Message::from_node(message, thumbnails) }
            }
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
            ayni::Event::TransferChanged(id) => Self::Transfer { id },
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
        let message = ayni::Message {
            event: EventId([1; 32]),
            room: RoomId([2; 32]),
            author: AccountId([3; 32]),
            device: PeerId([4; 32]),
            name: "Rosa".into(),
            time_ms: 1_700_000_000_123,
            kind: ayni::MessageKind::Locked,
            text: String::new(),
            attachment: None,
            mine: false,
        };
        let message = Message::from_node(message, false);
        assert_eq!(message.author, AccountId([3; 32]));
        assert_eq!(message.device, PeerId([4; 32]));
        assert_eq!(message.time, 1_700_000_000_123);
        assert_eq!(message.kind, MessageKind::Locked);
    }

    #[test]
    fn a_thumbnail_is_told_only_where_it_is_asked_for_and_what_is_not_known_is_null() {
        let picture = |side, bytes: &[u8]| ayni::Attachment {
            blob: ayni::BlobId([5; 32]),
            size: 7,
            name: "a.png".into(),
            media_type: "image/png".into(),
            files: None,
            picture: Some(ayni::Picture {
                width: side,
                height: 2 * side,
                thumbhash: bytes.to_vec(),
                thumbnail: bytes.to_vec(),
            }),
        };
        let told = Attachment::from_node(picture(3, b"abc"), true);
        assert_eq!((told.width, told.height), (Some(3), Some(6)));
        assert_eq!(
            (told.thumbhash.as_deref(), told.thumbnail.as_deref()),
            (Some("YWJj"), Some("YWJj"))
        );
        let told = Attachment::from_node(picture(3, b"abc"), false);
        assert_eq!((told.thumbhash.as_deref(), told.thumbnail), (Some("YWJj"), None));
        let undecoded = Attachment::from_node(picture(0, b""), true);
        assert_eq!((undecoded.width, undecoded.height), (None, None));
        assert_eq!((undecoded.thumbhash, undecoded.thumbnail), (None, None));
    }

    #[test]
    fn a_transfer_that_failed_says_why() {
        let failed = ayni::TransferState::Failed(ayni::ErrorKind::Denied, "it is there".into());
        let why = ErrorDetail { code: ErrorCode::Denied, message: "it is there".into() };
        assert_eq!(TransferState::from_node(failed), (TransferState::Failed, Some(why)));
        assert_eq!(TransferState::from_node(ayni::TransferState::Paused).0, TransferState::Paused);
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
        let told = Event::from_node(
            ayni::Event::Forked { room, device, account, name: name.clone() },
            true,
        );
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
        assert_eq!(Event::from_node(ayni::Event::Closed, false), None);
        assert_eq!(
            Event::from_node(ayni::Event::Lagged(3), false),
            Some(Event::Lagged { missed: 3 })
        );
    }
}

//! One value of everything that is signed, hashed or sent, made from fixed keys.
//!
//! Keys are `[n; 32]`, ids that stand for nothing else are `[n; 32]` too, times count from
//! [`START`]; so a reader of `docs/wire.md` can make them again.
#![allow(dead_code, reason = "each test file uses its part")]

use ayni_core::attachment::{Attachment, Picture};
use ayni_core::chat::Chat;
use ayni_core::clock::Hlc;
use ayni_core::epoch::EpochSecret;
use ayni_core::event::{Event, Header, RawEvent, VERSION};
use ayni_core::frame;
use ayni_core::id::{AccountId, BlobId, EpochId, EventId, PeerId, RoomId};
use ayni_core::keys::{AccountKey, Bytes32, DeviceCert, DeviceKey, InviteSecret};
use ayni_core::log::{Lane, LogId};
use ayni_core::proto::{
    Admission, ContactReply, ContactRequest, FetchersReply, FetchersRequest, Gossip, HeldReply,
    HeldRequest, Hello, Invitation, JoinClaim, JoinReply, JoinRequest, KeysReply, KeysRequest,
    LookReply, Open, Opened, PROTOCOL, Profile, ReplyHead, ServiceDescriptor, service,
};
use ayni_core::room::{
    Admit, Control, Cut, EpochBody, Fork, Genesis, GenesisBody, Grant, History, Introduced, Invite,
    LogCut, Remove, Revoke, Role, Room, Seat, Set, Setting, Upgrade, Wrap,
};
use ayni_core::sealed::Sealer;
use ayni_core::sync::frame::{LogRuns, SyncFrame, Want};
use ayni_core::ticket::{Addr, PeerAddr, Ticket};
use ayni_core::wire;

const START: u64 = 1_750_000_000_000;
const SECRET: [u8; 32] = [9; 32];

/// A name, and the bytes.
pub(crate) type Vector = (&'static str, Vec<u8>);

/// All vectors, in the order of `docs/wire.md`.
pub(crate) fn all() -> Vec<Vector> {
    [keys(), rooms(), events(), controls(), epochs(), tickets(), handshake(), services(), sync()]
        .concat()
}

fn account() -> AccountKey {
    AccountKey::from_entropy(&[1; 32])
}

fn device() -> DeviceKey {
    DeviceKey::from_secrets(&[2; 32], &[3; 32])
}

fn cert() -> DeviceCert {
    account().certify(device().id(), device().hpke_public(), START)
}

fn genesis() -> Genesis {
    Genesis::group(account().id(), [4; 32])
}

fn room() -> RoomId {
    genesis().id()
}

fn epoch() -> EpochId {
    EpochSecret::new(SECRET).id(room())
}

fn invite() -> InviteSecret {
    InviteSecret::from_seed(&[5; 32])
}

/// What a joiner (account 6, device 7) asks of our device.
fn request() -> JoinRequest {
    let joiner = DeviceKey::from_secrets(&[7; 32], &[8; 32]);
    let account = AccountKey::from_entropy(&[6; 32]);
    let cert = account.certify(joiner.id(), joiner.hpke_public(), START);
    let claim = JoinClaim { room: room(), cert, admitter: device().id(), invite: invite().key() };
    claim.sign(&invite(), &joiner)
}

fn invitation() -> Invitation {
    Invitation {
        genesis: genesis(),
        name: "plaza".into(),
        topic: String::new(),
        inviter: AccountKey::from_entropy(&[5; 32]).id(),
        inviter_name: "Ana".into(),
        members: 4,
        role: Role::Member,
        history: History::FromStart,
    }
}

fn picture() -> Attachment {
    Attachment {
        blob: BlobId([16; 32]),
        size: 300_000,
        name: "sea.jpg".into(),
        media_type: "image/jpeg".into(),
        files: None,
        picture: Some(Picture {
            width: 1600,
            height: 1200,
            thumbhash: vec![17; 5],
            thumbnail: vec![18; 6],
        }),
    }
}

fn folder() -> Attachment {
    Attachment {
        blob: BlobId([19; 32]),
        size: 5_000_000_000,
        name: "trip".into(),
        media_type: String::new(),
        files: Some(40),
        picture: None,
    }
}

fn address() -> PeerAddr {
    PeerAddr {
        peer: device().id(),
        direct: vec![
            Addr(([192, 0, 2, 1], 4433).into()),
            Addr(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 4433).into()),
        ],
        relays: vec!["https://relay.example".into()],
    }
}

fn chat_log() -> LogId {
    LogId { lane: Lane::Chat, device: device().id(), term: 0 }
}

fn keys() -> Vec<Vector> {
    vec![
        ("account_id", account().id().0.to_vec()),
        ("device_id", device().id().0.to_vec()),
        ("device_hpke", device().hpke_public().to_vec()),
        ("device_claim", wire::encode(&cert().claim)),
        ("device_cert", wire::encode(&cert())),
    ]
}

fn rooms() -> Vec<Vector> {
    let direct = Genesis::direct(AccountId([2; 32]), AccountId([1; 32]));
    let founded = Room::found(
        &genesis(),
        &device(),
        &cert(),
        ("Inti", Some("family")),
        EpochSecret::new(SECRET),
        START,
    );
    vec![
        ("genesis_group", wire::encode(&genesis())),
        ("genesis_group_id", room().0.to_vec()),
        ("genesis_direct", wire::encode(&direct)),
        ("genesis_direct_id", direct.id().0.to_vec()),
        ("state_hash", founded.0.state_hash().to_vec()),
    ]
}

fn chat_header() -> Header {
    Header {
        v: VERSION,
        room: room(),
        device: device().id(),
        term: 0,
        lane: Lane::Chat,
        seq: 1,
        prev: Some(EventId([10; 32])),
        deps: vec![EventId([11; 32])],
        time: Hlc(Hlc::from_millis(START).0 + 1),
        epoch: Some(epoch()),
        body_len: 0,
        body_hash: Bytes32([0; 32]),
    }
}

fn chat_event() -> Event {
    let header = chat_header();
    let plain = Chat::Message("hello".into()).to_bytes();
    let sealed =
        EpochSecret::new(SECRET).seal(room(), &header.associated_data(), &plain, &[12; 32]);
    Event::sign(header, sealed, &device())
}

fn room_name(name: &str) -> Control {
    Control::Set(Set { cites: None, setting: Setting::Name(name.to_owned()) })
}

fn control_event() -> Event {
    control_event_at(START)
}

fn control_event_at(time: u64) -> Event {
    let header = Header {
        lane: Lane::Control,
        seq: 0,
        prev: None,
        deps: vec![],
        time: Hlc::from_millis(time),
        epoch: None,
        ..chat_header()
    };
    Event::sign(header, room_name("family").to_bytes(), &device())
}

fn events() -> Vec<Vector> {
    let (chat, control) = (chat_event(), control_event());
    let withheld = RawEvent { body: None, ..chat.to_raw() };
    vec![
        ("header_control", control.header_bytes().to_vec()),
        ("header_control_id", control.id().0.to_vec()),
        ("header_chat", chat.header_bytes().to_vec()),
        ("header_chat_id", chat.id().0.to_vec()),
        ("associated_data", chat.header().associated_data()),
        ("chat_message", Chat::Message("hello".into()).to_bytes()),
        ("chat_picture", Chat::Attachment(Box::new(picture()), "at sea".into()).to_bytes()),
        ("chat_folder", Chat::Attachment(Box::new(folder()), String::new()).to_bytes()),
        ("chat_sealed", chat.body().expect("its own").to_vec()),
        ("event", wire::encode(&chat.to_raw())),
        ("event_withheld", wire::encode(&withheld)),
    ]
}

fn controls() -> Vec<Vector> {
    let cut = LogCut { log: chat_log(), len: 3, last: EventId([10; 32]) };
    let (key, expires_ms) = (invite().key(), START + 604_800_000);
    let invite = Invite { key, uses: Some(10), expires_ms, role: Role::Member };
    let forever = Invite { uses: None, ..invite.clone() };
    let epoch = EpochBody {
        commitment: EpochSecret::new(SECRET).commitment(),
        parents: vec![EpochId([13; 32])],
        wraps: vec![Wrap(vec![14; 48])],
    };
    let cites = Some(EventId([16; 32]));
    let account = cert().claim.account;
    let grant = Grant { account, term: 0, role: Role::Admin, cites: None };
    let remove = Remove { account, term: 0, then: None, cut: Cut { logs: vec![cut] }, cites };
    let (one, other) = (control_event(), control_event_at(START + 1));
    let seats = vec![Seat { account, term: 1 }];
    let introduced = Introduced { admissions: vec![], seats, invites: vec![key] };
    let fork = Fork { introduced, ..Fork::new(&one, &other, vec![]) };
    vec![
        (
            "control_genesis",
            Control::Genesis(GenesisBody { genesis: genesis(), cert: cert() }).to_bytes(),
        ),
        ("control_set_name", room_name("family").to_bytes()),
        ("control_profile", Control::Profile("Inti".into()).to_bytes()),
        ("control_invite", Control::Invite(invite).to_bytes()),
        ("control_invite_unlimited", Control::Invite(forever).to_bytes()),
        ("control_admit", Control::Admit(Box::new(Admit::new(request(), 0))).to_bytes()),
        ("control_epoch", Control::Epoch(epoch).to_bytes()),
        ("control_leave", Control::Leave(Cut { logs: vec![cut] }).to_bytes()),
        ("control_grant", Control::Grant(grant).to_bytes()),
        ("control_remove", Control::Remove(remove).to_bytes()),
        ("control_revoke", Control::Revoke(Revoke { invite: key, cites }).to_bytes()),
        ("control_fork", Control::Fork(Box::new(fork)).to_bytes()),
        ("control_upgrade", Control::Upgrade(Upgrade { rules: 2, cites: None }).to_bytes()),
        ("control_merge", Control::Merge.to_bytes()),
    ]
}

fn epochs() -> Vec<Vector> {
    let secret = EpochSecret::new(SECRET);
    vec![
        ("epoch_commitment", secret.commitment().0.to_vec()),
        ("epoch_id", secret.id(room()).0.to_vec()),
        ("epoch_topic", secret.topic(room()).0.to_vec()),
    ]
}

fn ticket() -> Ticket {
    Ticket {
        room: room(),
        seed: Bytes32([5; 32]),
        expires_ms: START + 604_800_000,
        members: vec![address()],
    }
}

fn tickets() -> Vec<Vector> {
    vec![
        ("invite_key", invite().key().0.to_vec()),
        ("ticket_bytes", ticket().to_bytes()),
        ("ticket_text", ticket().to_string().into_bytes()),
    ]
}

fn handshake() -> Vec<Vector> {
    let offers = vec![
        ServiceDescriptor { name: service::PING.into(), stream: false },
        ServiceDescriptor { name: service::SYNC.into(), stream: true },
    ];
    let hello = Hello {
        protocol: PROTOCOL,
        instance: 0x0123_4567_89ab_cdef,
        offers,
        asks: vec!["echo/1".into()],
    };
    let ping = Open { service: service::PING.into(), room: None };
    let sync = Open { service: service::SYNC.into(), room: Some(room()) };
    vec![
        ("hello", wire::encode(&hello)),
        ("open", wire::encode(&ping)),
        ("open_framed", frame::encode(&ping).expect("short")),
        ("open_room", wire::encode(&sync)),
        ("opened_accepted", wire::encode(&Opened::Accepted)),
        ("opened_refused", wire::encode(&Opened::Refused)),
        ("opened_busy", wire::encode(&Opened::Busy)),
        ("reply_done", wire::encode(&ReplyHead::Done)),
        ("reply_failed", wire::encode(&ReplyHead::Failed("no such file".into()))),
        ("reply_request_too_large", wire::encode(&ReplyHead::RequestTooLarge)),
        ("reply_reply_too_large", wire::encode(&ReplyHead::ReplyTooLarge)),
        ("reply_timed_out", wire::encode(&ReplyHead::TimedOut)),
    ]
}

fn services() -> Vec<Vector> {
    let profile = Profile { cert: cert(), name: "Inti".into() };
    let mut sealer = Sealer::new(room(), device().id(), [12; 32]);
    let sealed = sealer.seal(&EpochSecret::new(SECRET), &request().claim.cert.claim);
    let sealed = sealed.expect("a good key");
    let admission = Admission {
        genesis: genesis(),
        term: 0,
        epochs: vec![sealed.clone()],
        members: vec![address()],
    };
    vec![
        ("profile", wire::encode(&profile)),
        ("join_claim", wire::encode(&request().claim)),
        ("join_request", wire::encode(&request())),
        ("join_admitted", wire::encode(&JoinReply::Admitted(admission))),
        ("join_expired", wire::encode(&JoinReply::Expired)),
        ("join_used_up", wire::encode(&JoinReply::UsedUp)),
        ("join_not_now", wire::encode(&JoinReply::NotNow)),
        ("join_refused", wire::encode(&JoinReply::Refused)),
        ("look_invitation", wire::encode(&LookReply::Invitation(invitation()))),
        ("look_not", wire::encode(&LookReply::Not(JoinReply::Expired))),
        ("keys_request", wire::encode(&KeysRequest { epochs: vec![epoch()] })),
        ("keys_reply", wire::encode(&KeysReply { epochs: vec![sealed] })),
        ("contact_request", wire::encode(&ContactRequest { profile })),
        ("contact_opened", wire::encode(&ContactReply::Opened)),
        ("contact_refused", wire::encode(&ContactReply::Refused)),
        ("held_request", wire::encode(&HeldRequest { blobs: vec![picture().blob, folder().blob] })),
        ("held_reply", wire::encode(&HeldReply { held: vec![true, false] })),
        ("fetchers_request", wire::encode(&FetchersRequest { blob: folder().blob })),
        ("fetchers_reply", wire::encode(&FetchersReply { peers: vec![address()] })),
        ("gossip_event", wire::encode(&Gossip::Event(control_event().to_raw()))),
        ("gossip_hint", wire::encode(&Gossip::Hint(vec![14; 4].into()))),
    ]
}

fn sync() -> Vec<Vector> {
    let runs = vec![LogRuns { log: chat_log(), runs: vec![(0, 7), (12, 200)], last: None }];
    let last = Some(EventId([16; 32]));
    let held = runs.iter().map(|entry| LogRuns { last, ..entry.clone() }).collect();
    let want = Want::ranges(0, runs.clone());
    let newest = Want::newest(1, 200);
    vec![
        ("sync_summary", wire::encode(&SyncFrame::Summary(Bytes32([15; 32])))),
        ("sync_have", wire::encode(&SyncFrame::Have(held))),
        ("sync_want", wire::encode(&SyncFrame::Want(want))),
        ("sync_want_newest", wire::encode(&SyncFrame::Want(newest))),
        ("sync_want_control", wire::encode(&SyncFrame::Want(Want::control(2)))),
        ("sync_run", wire::encode(&SyncFrame::Run(0, vec![control_event().to_raw()]))),
        ("sync_done", wire::encode(&SyncFrame::Done(0))),
        ("sync_yours", wire::encode(&SyncFrame::Yours(runs))),
        ("sync_peers", wire::encode(&SyncFrame::Peers(vec![address()]))),
    ]
}

/// Whose id appears where a test needs one.
pub(crate) fn peer() -> PeerId {
    device().id()
}

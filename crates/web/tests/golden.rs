//! The JSON text of every shape: keys are only ever added.

use ayni::{AccountId, EventId, InviteKey, PeerId, Role, RoomId};
use ayni_web::api::{
    Address, Direct, Done, ErrorCode, ErrorDetail, Event, Failure, Finding, FoundMessage, GiveRole,
    History, Id, Invitation, Invite, Join, Look, Member, Message, MessageKind, Named, Peer,
    PeerPath, Person, Posted, PostedDirect, PostedRoom, Remove, Revoke, Room, RoomDetails,
    RoomKind, RoomRef, Searched, Service, Setting, Standing, Status, Text, Ticket,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Ids in the expected texts: `P` a peer, `A` an account, `R` a room, `E` an event, `I` an invite.
fn ids(text: &str) -> String {
    let id = |digits: &str| format!("\"{}\"", digits.repeat(32));
    text.replace("\"P\"", &id("0a"))
        .replace("\"A\"", &id("0b"))
        .replace("\"R\"", &id("0c"))
        .replace("\"E\"", &id("0d"))
        .replace("\"I\"", &id("0e"))
}

const PEER: PeerId = PeerId([0x0a; 32]);
const ACCOUNT: AccountId = AccountId([0x0b; 32]);
const ROOM: RoomId = RoomId([0x0c; 32]);
const EVENT: EventId = EventId([0x0d; 32]);
const INVITE: InviteKey = InviteKey([0x0e; 32]);

/// Asserts the text, and that reading it gives the value back.
#[track_caller]
fn golden<T>(value: &T, text: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let text = ids(text);
    assert_eq!(serde_json::to_string(value).expect("plain data"), text);
    assert_eq!(&serde_json::from_str::<T>(&text).expect("its own text"), value);
}

fn message() -> Message {
    Message {
        event: EVENT,
        room: ROOM,
        author: ACCOUNT,
        device: PEER,
        name: "Rosa".into(),
        time: 1_700_000_000_123,
        kind: MessageKind::Message,
        text: "hello".into(),
    }
}

const MESSAGE: &str = r#"{"event":"E","room":"R","author":"A","device":"P","name":"Rosa","time":1700000000123,"kind":"message","text":"hello"}"#;

#[test]
fn who_a_node_is() {
    let name = String::from("Rosa");
    golden(
        &Id { peer_id: PEER, account_id: ACCOUNT, name },
        r#"{"peer_id":"P","account_id":"A","name":"Rosa"}"#,
    );
}

#[test]
fn rooms() {
    let name = || String::from("den");
    golden(
        &Room {
            room: ROOM,
            name: name(),
            members: 3,
            unread: 2,
            standing: Standing::Removed,
            frozen: false,
            role: None,
        },
        r#"{"room":"R","name":"den","members":3,"unread":2,"standing":"removed","frozen":false,"role":null}"#,
    );
    golden(
        &RoomDetails {
            room: ROOM,
            name: name(),
            topic: "bread".into(),
            kind: RoomKind::Group,
            members: 3,
            unread: 2,
            standing: Standing::Joined,
            frozen: true,
            role: Some(Role::Founder),
            who_invites: Role::Member,
            who_posts: Role::Admin,
            who_pins: Role::Founder,
            history: History::FromStart,
        },
        r#"{"room":"R","name":"den","topic":"bread","kind":"group","members":3,"unread":2,"standing":"joined","frozen":true,"role":"founder","who_invites":"member","who_posts":"admin","who_pins":"founder","history":"from-start"}"#,
    );
    golden(&RoomKind::Direct, r#""direct""#);
    golden(&RoomKind::Own, r#""own""#);
    golden(&Standing::Left, r#""left""#);
    golden(&History::FromJoining, r#""from-joining""#);
    golden(&RoomRef { room: ROOM, name: name() }, r#"{"room":"R","name":"den"}"#);
    golden(
        &Look {
            room: ROOM,
            name: name(),
            topic: "bread".into(),
            inviter: ACCOUNT,
            inviter_name: "Rosa".into(),
            members: 3,
            role: Role::Reader,
            history: History::FromJoining,
            expires: 1,
        },
        r#"{"room":"R","name":"den","topic":"bread","inviter":"A","inviter_name":"Rosa","members":3,"role":"reader","history":"from-joining","expires":1}"#,
    );
    golden(
        &Ticket { ticket: "ayniabc".into(), invite: INVITE },
        r#"{"ticket":"ayniabc","invite":"I"}"#,
    );
    golden(
        &Invitation {
            invite: INVITE,
            inviter: ACCOUNT,
            name: "Rosa".into(),
            role: Role::Reader,
            uses: None,
            used: 2,
            expires: 1_700_000_000_123,
            open: true,
        },
        r#"{"invite":"I","inviter":"A","name":"Rosa","role":"reader","uses":null,"used":2,"expires":1700000000123,"open":true}"#,
    );
    golden(&Posted { event: EVENT }, r#"{"event":"E"}"#);
    golden(&PostedDirect { event: EVENT, room: ROOM }, r#"{"event":"E","room":"R"}"#);
    golden(&PostedRoom { room: ROOM, event: EVENT }, r#"{"room":"R","event":"E"}"#);
    golden(&Done {}, "{}");
}

#[test]
fn messages() {
    golden(&message(), MESSAGE);
    let found = FoundMessage { message: message(), room_name: "den".into() };
    let line = MESSAGE.replace('}', r#","room_name":"den"}"#);
    golden(&found, &line);
    golden(&Searched { behind: 3 }, r#"{"behind":3}"#);
    golden(&MessageKind::Unknown, r#""unknown""#);
    golden(&MessageKind::Locked, r#""locked""#);
    let newer: MessageKind = serde_json::from_str(r#""poll""#).expect("kept");
    assert_eq!(newer, MessageKind::Unknown);
}

#[test]
fn members_and_peers() {
    golden(
        &Member {
            account_id: ACCOUNT,
            devices: vec![PEER],
            frozen: vec![PEER],
            name: "Rosa".into(),
            role: Role::Founder,
            founder: true,
            me: false,
            online: true,
        },
        r#"{"account_id":"A","devices":["P"],"frozen":["P"],"name":"Rosa","role":"founder","founder":true,"me":false,"online":true}"#,
    );
    golden(
        &Person { account_id: ACCOUNT, name: "Rosa".into(), role: Some(Role::Admin) },
        r#"{"account_id":"A","name":"Rosa","role":"admin"}"#,
    );
    golden(
        &Person { account_id: ACCOUNT, name: "Rosa".into(), role: None },
        r#"{"account_id":"A","name":"Rosa","role":null}"#,
    );
    golden(
        &Peer { peer_id: PEER, name: None, path: PeerPath::None, lan: false, rtt_ms: None },
        r#"{"peer_id":"P","name":null,"path":"none","lan":false,"rtt_ms":null}"#,
    );
    let name = Some("Rosa".into());
    golden(
        &Peer { peer_id: PEER, name, path: PeerPath::Direct, lan: true, rtt_ms: Some(1.235) },
        r#"{"peer_id":"P","name":"Rosa","path":"direct","lan":true,"rtt_ms":1.235}"#,
    );
    golden(&PeerPath::Relay, r#""relay""#);
}

#[test]
fn services_status_and_doctor() {
    golden(
        &Service { name: "echo/1".into(), stream: false, builtin: false },
        r#"{"name":"echo/1","stream":false,"builtin":false}"#,
    );
    golden(
        &Status {
            peer_id: PEER,
            account_id: ACCOUNT,
            name: "Rosa".into(),
            version: "0.1.0".into(),
            pid: 7,
            data: "/data".into(),
            http: "http://127.0.0.1:8".into(),
            network: "loopback".into(),
            offline: false,
            bound: vec![([127, 0, 0, 1], 9).into()],
            addresses: vec![],
            connected: 1,
            rooms: 2,
            joining: 3,
            events: 4,
            uptime_s: 5,
        },
        r#"{"peer_id":"P","account_id":"A","name":"Rosa","version":"0.1.0","pid":7,"data":"/data","http":"http://127.0.0.1:8","network":"loopback","offline":false,"bound":["127.0.0.1:9"],"addresses":[],"connected":1,"rooms":2,"joining":3,"events":4,"uptime_s":5}"#,
    );
    golden(
        &Finding { ok: None, what: "relay".into(), detail: "none in use".into() },
        r#"{"ok":null,"what":"relay","detail":"none in use"}"#,
    );
    golden(
        &Finding { ok: Some(true), what: "disk".into(), detail: "fine".into() },
        r#"{"ok":true,"what":"disk","detail":"fine"}"#,
    );
}

#[test]
fn events() {
    let told = format!(r#"{{"type":"message","message":{MESSAGE}}}"#);
    golden(&Event::Message { message: message() }, &told);
    golden(&Event::Room { room: ROOM }, r#"{"type":"room","room":"R"}"#);
    let name = || String::from("Rosa");
    golden(
        &Event::Joined { room: ROOM, account_id: ACCOUNT, name: name() },
        r#"{"type":"joined","room":"R","account_id":"A","name":"Rosa"}"#,
    );
    golden(
        &Event::Left { room: ROOM, account_id: ACCOUNT, name: name(), removed: true },
        r#"{"type":"left","room":"R","account_id":"A","name":"Rosa","removed":true}"#,
    );
    golden(
        &Event::Forked { room: ROOM, device: PEER, account_id: ACCOUNT, name: name() },
        r#"{"type":"forked","room":"R","device":"P","account_id":"A","name":"Rosa"}"#,
    );
    golden(&Event::PeerUp { peer_id: PEER }, r#"{"type":"peer_up","peer_id":"P"}"#);
    golden(&Event::PeerDown { peer_id: PEER }, r#"{"type":"peer_down","peer_id":"P"}"#);
    golden(&Event::Lagged { missed: 9 }, r#"{"type":"lagged","missed":9}"#);
    let newer: Event = serde_json::from_str(r#"{"type":"call","from":"x"}"#).expect("kept");
    assert_eq!(newer, Event::Unknown);
}

#[test]
fn what_an_older_node_did_not_tell_has_a_meaning() {
    let member = r#"{"account_id":"A","devices":["P"],"name":"Rosa","role":"member","founder":false,"me":false,"online":false}"#;
    let member: Member = serde_json::from_str(&ids(member)).expect("kept");
    assert!(member.frozen.is_empty());
    let room =
        r#"{"room":"R","name":"den","members":3,"unread":2,"standing":"joined","role":"member"}"#;
    let room: Room = serde_json::from_str(&ids(room)).expect("kept");
    assert!(!room.frozen);
}

#[test]
fn failures() {
    let codes = [
        (ErrorCode::Invalid, "invalid"),
        (ErrorCode::NotFound, "not_found"),
        (ErrorCode::Denied, "denied"),
        (ErrorCode::Unreachable, "unreachable"),
        (ErrorCode::Internal, "internal"),
    ];
    for (code, name) in codes {
        golden(
            &Failure { error: ErrorDetail { code, message: "so it is".into() } },
            &format!(r#"{{"error":{{"code":"{name}","message":"so it is"}}}}"#),
        );
    }
    let newer: ErrorCode = serde_json::from_str(r#""tired""#).expect("kept");
    assert_eq!(newer, ErrorCode::Internal);
}

#[test]
fn requests() {
    golden(&Named { name: "den".into() }, r#"{"name":"den"}"#);
    golden(&Invite::default(), r#"{"uses":null,"expires_s":604800,"role":"member"}"#);
    golden(
        &Invite { uses: Some(3), expires_s: 5, role: Role::Reader },
        r#"{"uses":3,"expires_s":5,"role":"reader"}"#,
    );
    golden(&Revoke { invite: "0e0e".into() }, r#"{"invite":"0e0e"}"#);
    golden(&GiveRole { who: "Rosa".into(), role: Role::Admin }, r#"{"who":"Rosa","role":"admin"}"#);
    golden(&Remove { who: "Rosa".into() }, r#"{"who":"Rosa"}"#);
    golden(&Setting::Name("den".into()), r#"{"name":"den"}"#);
    golden(&Setting::Topic("bread".into()), r#"{"topic":"bread"}"#);
    golden(&Setting::WhoInvites(Role::Admin), r#"{"who_invites":"admin"}"#);
    golden(&Setting::WhoPosts(Role::Member), r#"{"who_posts":"member"}"#);
    golden(&Setting::WhoPins(Role::Founder), r#"{"who_pins":"founder"}"#);
    golden(&Setting::History(History::FromJoining), r#"{"history":"from-joining"}"#);
    golden(&Join { ticket: "ayniabc".into(), wait_s: 30 }, r#"{"ticket":"ayniabc","wait_s":30}"#);
    golden(&Text { text: "hello".into() }, r#"{"text":"hello"}"#);
    golden(&Direct { who: "Rosa".into(), text: "x".into() }, r#"{"who":"Rosa","text":"x"}"#);
}

#[test]
fn what_a_request_leaves_out_has_a_default_and_what_it_mistypes_is_refused() {
    let invite: Invite = serde_json::from_str("{}").expect("all has a default");
    assert_eq!(invite, Invite { uses: None, expires_s: 604_800, role: Role::Member });
    assert!(serde_json::from_str::<Invite>(r#"{"role":"king"}"#).is_err());
    for two_or_none in [r#"{"name":"a","topic":"b"}"#, "{}", r#"{"colour":"red"}"#] {
        assert!(serde_json::from_str::<Setting>(two_or_none).is_err(), "{two_or_none}");
    }
    let join: Join = serde_json::from_str(r#"{"ticket":"x"}"#).expect("the wait has a default");
    assert_eq!(join.wait_s, 30);
    assert!(serde_json::from_str::<Invite>(r#"{"use":1}"#).is_err());
    assert!(serde_json::from_str::<Join>(r#"{"ticket":"x","wait":1}"#).is_err());
}

#[test]
fn where_a_node_is() {
    golden(
        &Address { http: "http://127.0.0.1:8".into(), pid: 7, token_file: "/data/token".into() },
        r#"{"http":"http://127.0.0.1:8","pid":7,"token_file":"/data/token"}"#,
    );
}

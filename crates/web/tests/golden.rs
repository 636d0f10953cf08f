//! The JSON text of every shape: keys are only ever added.

use ayni::{AccountId, BlobId, EventId, InviteKey, PeerId, Role, RoomId};
use ayni_web::api::{
    Address, Attach, Attached, Attachment, Direct, Discard, Done, ErrorCode, ErrorDetail, Event,
    Existing, Failure, Fetch, File, Finding, FoundMessage, Get, GiveRole, Here, History, Id,
    Invitation, Invite, Join, LastCopy, Limits, Look, Member, Message, MessageKind, Named, Peer,
    PeerPath, Person, Pin, Posted, PostedDirect, PostedRoom, Priority, Remove, Replication, Revoke,
    Room, RoomDetails, RoomKind, RoomRef, Searched, Service, SetBytes, SetPriority, Setting, Share,
    SharePaths, Shared, Standing, Status, Storage, Text, Ticket, Transfer, TransferState, Unshare,
    Unshared,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Ids in the expected texts: `P` a peer, `A` an account, `R` a room, `E` an event, `I` an invite, `B` a content.
fn ids(text: &str) -> String {
    let id = |digits: &str| format!("\"{}\"", digits.repeat(32));
    text.replace("\"P\"", &id("0a"))
        .replace("\"A\"", &id("0b"))
        .replace("\"R\"", &id("0c"))
        .replace("\"E\"", &id("0d"))
        .replace("\"I\"", &id("0e"))
        .replace("\"B\"", &id("0f"))
}

const PEER: PeerId = PeerId([0x0a; 32]);
const ACCOUNT: AccountId = AccountId([0x0b; 32]);
const ROOM: RoomId = RoomId([0x0c; 32]);
const EVENT: EventId = EventId([0x0d; 32]);
const INVITE: InviteKey = InviteKey([0x0e; 32]);
const BLOB: BlobId = BlobId([0x0f; 32]);

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
        attachment: None,
    }
}

const MESSAGE: &str = r#"{"event":"E","room":"R","author":"A","device":"P","name":"Rosa","time":1700000000123,"kind":"message","text":"hello","attachment":null}"#;

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
    golden(&MessageKind::Attachment, r#""attachment""#);
    golden(&MessageKind::Unknown, r#""unknown""#);
    golden(&MessageKind::Locked, r#""locked""#);
    let newer: MessageKind = serde_json::from_str(r#""poll""#).expect("kept");
    assert_eq!(newer, MessageKind::Unknown);
}

fn attachment() -> Attachment {
    Attachment {
        blob: BLOB,
        size: 1234,
        name: "beach.png".into(),
        media_type: "image/png".into(),
        files: None,
        width: Some(640),
        height: Some(480),
        thumbhash: Some("YWJj".into()),
        thumbnail: None,
    }
}

const ATTACHMENT: &str = r#""blob":"B","size":1234,"name":"beach.png","media_type":"image/png","files":null,"width":640,"height":480,"thumbhash":"YWJj","thumbnail":null"#;

#[test]
fn pictures_and_files() {
    golden(&attachment(), &format!("{{{ATTACHMENT}}}"));
    let folder = Attachment {
        media_type: String::new(),
        files: Some(3),
        width: None,
        height: None,
        thumbhash: None,
        thumbnail: Some("YWJj".into()),
        ..attachment()
    };
    golden(
        &folder,
        r#"{"blob":"B","size":1234,"name":"beach.png","media_type":"","files":3,"width":null,"height":null,"thumbhash":null,"thumbnail":"YWJj"}"#,
    );
    let kind = MessageKind::Attachment;
    let shown = Message { kind, attachment: Some(Box::new(attachment())), ..message() };
    let text = MESSAGE.replace(r#""kind":"message""#, r#""kind":"attachment""#);
    golden(&shown, &text.replace("null}", &format!("{{{ATTACHMENT}}}}}")));
    golden(
        &File {
            event: EVENT,
            author: ACCOUNT,
            time: 1,
            text: "at the sea".into(),
            attachment: attachment(),
            held_by: 2,
            here: Here::Part,
            pinned: false,
        },
        &format!(
            r#"{{"event":"E","author":"A","time":1,"text":"at the sea",{ATTACHMENT},"held_by":2,"here":"part","pinned":false}}"#
        ),
    );
    for (here, name) in [(Here::Whole, "whole"), (Here::None, "none"), (Here::Changed, "changed")] {
        golden(&here, &format!("\"{name}\""));
    }
    golden(&Attached { event: EVENT, blob: BLOB, size: 5 }, r#"{"event":"E","blob":"B","size":5}"#);
}

#[test]
fn transfers() {
    let transfer = Transfer {
        id: 3,
        blob: BLOB,
        name: "beach.png".into(),
        bytes: 5,
        size: Some(10),
        rate: 2,
        eta_s: Some(3),
        peers: 1,
        state: TransferState::Running,
        priority: Priority::Normal,
        rate_up: None,
        rate_down: Some(7),
        error: None,
        room: Some(ROOM),
        event: Some(EVENT),
        twice: 0,
        path: None,
    };
    golden(
        &transfer,
        r#"{"id":3,"blob":"B","name":"beach.png","bytes":5,"size":10,"rate":2,"eta_s":3,"peers":1,"state":"running","priority":"normal","rate_up":null,"rate_down":7,"error":null,"room":"R","event":"E","twice":0,"path":null}"#,
    );
    let failed = Transfer {
        size: None,
        eta_s: None,
        state: TransferState::Failed,
        error: Some(ErrorDetail { code: ErrorCode::Denied, message: "so it is".into() }),
        room: None,
        event: None,
        path: Some("/a/b".into()),
        ..transfer
    };
    golden(
        &failed,
        r#"{"id":3,"blob":"B","name":"beach.png","bytes":5,"size":null,"rate":2,"eta_s":null,"peers":1,"state":"failed","priority":"normal","rate_up":null,"rate_down":7,"error":{"code":"denied","message":"so it is"},"room":null,"event":null,"twice":0,"path":"/a/b"}"#,
    );
    for (state, name) in [
        (TransferState::Waiting, "waiting"),
        (TransferState::Placing, "placing"),
        (TransferState::Paused, "paused"),
        (TransferState::Done, "done"),
        (TransferState::Cancelled, "cancelled"),
    ] {
        golden(&state, &format!("\"{name}\""));
    }
    let copy = LastCopy { room: None, blob: BLOB, bytes: 5, relied_on: false };
    let replication = Replication { agrees: true, copies: 3, room_bytes: 9 };
    golden(
        &Storage {
            quota: Some(10),
            bytes: 1,
            contents: 2,
            pinned: 3,
            posted: 4,
            fetched: 5,
            by_itself: 6,
            last_copies: vec![copy],
            replication,
        },
        r#"{"quota":10,"bytes":1,"contents":2,"pinned":3,"posted":4,"fetched":5,"by_itself":6,"last_copies":[{"room":null,"blob":"B","bytes":5,"relied_on":false}],"replication":{"agrees":true,"copies":3,"room_bytes":9}}"#,
    );
    golden(&SetBytes { bytes: None }, r#"{"bytes":null}"#);
    golden(&Discard { blob: "ab".into() }, r#"{"blob":"ab"}"#);
    golden(&Pin { event: "0d0d".into() }, r#"{"event":"0d0d"}"#);
    golden(&SetPriority { priority: Priority::High }, r#"{"priority":"high"}"#);
    golden(&Priority::Low, "\"low\"");
    golden(&Limits { up: None, down: Some(5) }, r#"{"up":null,"down":5}"#);
    golden(
        &Attach { path: "/a".into(), text: "x".into(), keep_metadata: true, copy: false },
        r#"{"path":"/a","text":"x","keep_metadata":true,"copy":false}"#,
    );
    let fetch = Fetch { event: "0d0d".into(), path: Some("/a".into()), existing: Existing::Skip };
    golden(&fetch, r#"{"event":"0d0d","path":"/a","existing":"skip"}"#);
    let named = [Existing::Refuse, Existing::Overwrite, Existing::Rename];
    for (existing, name) in named.iter().zip(["refuse", "overwrite", "rename"]) {
        golden(existing, &format!("\"{name}\""));
    }
    golden(
        &Shared { ticket: "blobx".into(), blob: BLOB, size: 5 },
        r#"{"ticket":"blobx","blob":"B","size":5}"#,
    );
    golden(
        &Share { blob: BLOB, name: "a".into(), since: 6, ticket: "blobx".into() },
        r#"{"blob":"B","name":"a","since":6,"ticket":"blobx"}"#,
    );
    golden(&SharePaths { paths: vec!["/a".into()], copy: true }, r#"{"paths":["/a"],"copy":true}"#);
    golden(&Unshare { share: "x".into() }, r#"{"share":"x"}"#);
    golden(&Unshared { blob: BLOB }, r#"{"blob":"B"}"#);
    golden(
        &Get {
            ticket: "blobx".into(),
            path: Some("/a".into()),
            existing: Existing::Skip,
            pour: false,
        },
        r#"{"ticket":"blobx","path":"/a","pour":false,"existing":"skip"}"#,
    );
    let plain: Fetch = serde_json::from_str(r#"{"event":"x"}"#).expect("all else has a default");
    assert_eq!((plain.path, plain.existing), (None, Existing::Refuse));
    let newer: TransferState = serde_json::from_str(r#""verifying""#).expect("kept");
    assert_eq!(newer, TransferState::Unknown);
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
            given: 6,
            taken: 7,
            uptime_s: 5,
        },
        r#"{"peer_id":"P","account_id":"A","name":"Rosa","version":"0.1.0","pid":7,"data":"/data","http":"http://127.0.0.1:8","network":"loopback","offline":false,"bound":["127.0.0.1:9"],"addresses":[],"connected":1,"rooms":2,"joining":3,"events":4,"given":6,"taken":7,"uptime_s":5}"#,
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
    golden(&Event::Transfer { id: 3 }, r#"{"type":"transfer","id":3}"#);
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
    let message = MESSAGE.replace(r#","attachment":null"#, "");
    assert_eq!(serde_json::from_str::<Message>(&ids(&message)).expect("kept"), self::message());
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
        &Address {
            http: "http://127.0.0.1:8".into(),
            pid: 7,
            token_file: "/data/token".into(),
            passing: true,
        },
        r#"{"http":"http://127.0.0.1:8","pid":7,"token_file":"/data/token","passing":true}"#,
    );
    let older = r#"{"http":"http://127.0.0.1:8","pid":7,"token_file":"/data/token"}"#;
    assert!(!serde_json::from_str::<Address>(older).expect("read").passing);
}

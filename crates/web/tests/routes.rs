//! Every route through the typed client, and what it answers to what it cannot use.

mod common;

use std::time::Duration;

use ayni::Role;
use ayni::limits::MAX_TEXT;
use ayni_web::ClientError;
use ayni_web::api::{
    ErrorCode, History, Invite, Message, MessageKind, RoomKind, Setting, Standing,
};
use ayni_web::client::Result;
use bytes::Bytes;
use common::{Api, ROUTES};
use futures_util::TryStreamExt;

const UNKNOWN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ErrorCode {
    let error = result.expect_err("this is to fail");
    assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error:?}");
    error.code
}

async fn log(api: &Api, room: &str, limit: usize) -> Vec<Message> {
    let messages = api.client.messages(room, limit, false).await.expect("a known room");
    messages.try_collect().await.expect("the whole reply")
}

#[tokio::test]
async fn a_node_tells_who_it_is_and_how() {
    let api = Api::start().await;
    let id = api.client.set_name("Rosa").await.expect("a name");
    assert_eq!(id.name, "Rosa");
    assert_eq!(api.client.id().await.expect("known"), id);
    assert_eq!((id.peer_id, id.account_id), {
        let identity = api.node.identity();
        (identity.peer, identity.account)
    });
    let status = api.client.status().await.expect("a status");
    assert_eq!(
        (status.peer_id, status.account_id, status.name),
        (id.peer_id, id.account_id, id.name)
    );
    assert_eq!(status.network, "loopback");
    assert!(status.offline);
    assert_eq!(status.http, api.server.http());
    assert_eq!(status.pid, std::process::id());
    assert!(!api.client.doctor().await.expect("findings").is_empty());
    assert!(api.client.peers().await.expect("a list").is_empty());
    api.client.services(None).await.expect("a list");
    assert_eq!(code(api.client.set_name("").await), ErrorCode::Invalid);
    api.stop().await;
}

#[tokio::test]
async fn a_room_is_made_spoken_in_and_left() {
    let api = Api::start().await;
    let room = api.client.create_room("den / cueva").await.expect("a room");
    let name = room.name.as_str();
    let event = api.client.say(name, "¡hola!\n\"quoted\" \u{1}").await.expect("said");
    let id = api.client.id().await.expect("known");

    let messages = log(&api, &room.room.to_string(), 50).await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].event, event);
    assert_eq!(messages[0].room, room.room);
    assert_eq!((messages[0].author, messages[0].device), (id.account_id, id.peer_id));
    assert_eq!(messages[0].kind, MessageKind::Message);
    assert_eq!(messages[0].text, "¡hola!\n\"quoted\" \u{1}");

    let rooms = api.client.rooms(false).await.expect("a list");
    assert_eq!(rooms.len(), 1);
    assert_eq!((rooms[0].room, rooms[0].members, rooms[0].unread), (room.room, 1, 0));
    let members = api.client.members(name).await.expect("a list");
    assert_eq!(members.len(), 1);
    assert!(members[0].me && members[0].founder);
    assert_eq!(members[0].devices, [id.peer_id]);
    let posted = api.client.broadcast("to all").await.expect("said");
    assert_eq!(posted.iter().map(|post| post.room).collect::<Vec<_>>(), [room.room]);
    api.client.mark_read(name).await.expect("marked");

    api.client.leave(name).await.expect("left");
    assert!(api.client.rooms(false).await.expect("a list").is_empty());
    api.stop().await;
}

#[tokio::test]
async fn a_room_is_set_up_and_stays_readable_after_leaving() {
    let api = Api::start().await;
    let client = &api.client;
    client.create_room("den").await.expect("a room");
    let settings = [
        Setting::Topic(" bread ".into()),
        Setting::WhoInvites(Role::Admin),
        Setting::WhoPosts(Role::Founder),
        Setting::WhoPins(Role::Admin),
        Setting::History(History::FromJoining),
        Setting::Name("cueva".into()),
    ];
    for setting in &settings {
        client.set_room("den", setting).await.expect("a founder");
    }
    let room = client.room("cueva").await.expect("by its new name");
    assert_eq!((room.name.as_str(), room.topic.as_str()), ("cueva", "bread"));
    assert_eq!((room.who_invites, room.who_posts), (Role::Admin, Role::Founder));
    assert_eq!((room.who_pins, room.history), (Role::Admin, History::FromJoining));
    assert_eq!(
        (room.standing, room.role, room.kind),
        (Standing::Joined, Some(Role::Founder), RoomKind::Group)
    );
    let wrong = [
        Setting::Name(" ".into()),
        Setting::Name("x".repeat(129)),
        Setting::Topic("x".repeat(1025)),
        Setting::Topic("two\nlines".into()),
        Setting::WhoPosts(Role::Reader),
    ];
    for setting in &wrong {
        assert_eq!(
            code(client.set_room("cueva", setting).await),
            ErrorCode::Invalid,
            "{setting:?}"
        );
    }
    client.leave("cueva").await.expect("left");
    let left = client.room("cueva").await.expect("still here");
    assert_eq!((left.standing, left.role, left.members), (Standing::Left, None, 0));
    assert!(client.rooms(false).await.expect("a list").is_empty());
    assert_eq!(client.rooms(true).await.expect("a list")[0].standing, Standing::Left);
    assert_eq!(code(client.set_room("cueva", &settings[0]).await), ErrorCode::Denied);
    assert_eq!(code(client.leave("cueva").await), ErrorCode::Denied);
    api.stop().await;
}

#[tokio::test]
async fn people_and_invitations_are_found_and_refusals_keep_their_code() {
    let api = Api::start().await;
    let client = &api.client;
    client.create_room("den").await.expect("a room");
    client.set_name("Rosa").await.expect("a name");
    let id = client.id().await.expect("known");
    for who in [&id.account_id.to_string(), &id.peer_id.to_string(), &id.peer_id.short()] {
        let person = client.person("den", who).await.expect("oneself");
        assert_eq!((person.account_id, person.role), (id.account_id, Some(Role::Founder)));
    }
    assert_eq!(code(client.person("den", "nobody").await), ErrorCode::NotFound);
    let me = id.account_id.to_string();
    assert_eq!(code(client.remove_member("den", &me).await), ErrorCode::Invalid);
    assert_eq!(code(client.remove_member("den", UNKNOWN).await), ErrorCode::NotFound);
    assert_eq!(code(client.give_role("den", UNKNOWN, Role::Admin).await), ErrorCode::NotFound);
    assert_eq!(code(client.give_role("den", &me, Role::Member).await), ErrorCode::Denied);
    client.give_role("den", &me, Role::Founder).await.expect("what it is");

    let reader = Invite { role: Role::Reader, ..Invite::default() };
    let made = client.invite("den", &reader).await.expect("a founder");
    let admin = Invite { role: Role::Admin, ..Invite::default() };
    assert_eq!(code(client.invite("den", &admin).await), ErrorCode::Invalid);
    let invites = client.invites("den").await.expect("a list");
    assert_eq!(invites.len(), 1);
    assert_eq!((invites[0].invite, invites[0].inviter), (made.invite, id.account_id));
    assert_eq!((invites[0].role, invites[0].open), (Role::Reader, true));
    assert_eq!(code(client.revoke_invite("den", UNKNOWN).await), ErrorCode::NotFound);
    for name in [made.invite.short(), made.ticket] {
        let revoked = client.revoke_invite("den", &name).await.expect("its own");
        assert!(!revoked.open && revoked.invite == made.invite);
    }
    client.create_room("other").await.expect("a room");
    let other = client.invite("other", &reader).await.expect("a founder").ticket;
    assert_eq!(code(client.revoke_invite("den", &other).await), ErrorCode::NotFound);
    api.stop().await;
}

#[tokio::test]
async fn a_ticket_is_made_and_joining_again_is_done_at_once() {
    let api = Api::start().await;
    let room = api.client.create_room("den").await.expect("a room");
    let three = Invite { uses: Some(3), ..Invite::default() };
    let ticket = api.client.invite("den", &three).await.expect("a ticket").ticket;
    assert!(ticket.starts_with("ayni"));
    let spaced = format!(" {ticket}\n");
    let joined = api.client.join(&spaced, Duration::from_secs(1)).await.expect("a member");
    assert_eq!(joined, room);
    let damaged = ticket.replace(&ticket[ticket.len() - 6..], "aaaaaa");
    for text in ["", "ayni", "hello", &damaged] {
        let result = api.client.join(text, Duration::from_secs(1)).await;
        assert_eq!(code(result), ErrorCode::Invalid, "{text}");
    }
    api.stop().await;
}

#[tokio::test]
async fn a_long_log_comes_whole_in_order_and_from_the_newest() {
    let api = Api::start().await;
    api.client.create_room("den").await.expect("a room");
    let room = api.node.find_room("den").expect("just made");
    // More than two of the pages that the server reads at once, and not a multiple.
    let count = 700;
    for n in 0..count {
        api.node.say(room, &format!("text {n}")).await.expect("said");
    }
    for limit in [0, 1, 50, 256, 257, 512, 600, 700, 701, usize::MAX] {
        let texts: Vec<_> =
            log(&api, "den", limit).await.into_iter().map(|message| message.text).collect();
        let first = count - limit.min(count);
        let expected: Vec<_> = (first..count).map(|n| format!("text {n}")).collect();
        assert_eq!(texts, expected, "limit {limit}");
    }
    let answer = api.ask("GET", "/api/v1/rooms/den/messages").send().await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(answer.body.matches("\"event\"").count(), 50, "the default limit");
    api.stop().await;
}

#[tokio::test]
async fn a_name_that_looks_like_a_path_is_a_name() {
    let api = Api::start().await;
    for name in ["..", "a/../b", "%2e", "?limit=1#x"] {
        let room = api.client.create_room(name).await.expect("a room");
        api.client.say(name, "here").await.expect("found by its name");
        assert_eq!(log(&api, &room.room.to_string(), 5).await.len(), 1, "{name}");
    }
    api.stop().await;
}

#[tokio::test]
async fn failures_keep_their_code() {
    let api = Api::start().await;
    let client = &api.client;
    client.create_room("den").await.expect("a room");
    assert_eq!(code(client.say(UNKNOWN, "x").await), ErrorCode::NotFound);
    assert_eq!(code(client.say("nowhere", "x").await), ErrorCode::NotFound);
    assert_eq!(code(client.members("nowhere").await), ErrorCode::NotFound);
    assert_eq!(code(client.leave("nowhere").await), ErrorCode::NotFound);
    assert_eq!(code(client.messages("nowhere", 5, false).await.map(drop)), ErrorCode::NotFound);
    assert_eq!(code(client.dm("nobody", "x").await), ErrorCode::NotFound);
    assert_eq!(code(client.say("", "x").await), ErrorCode::Invalid);
    assert_eq!(code(client.say("den", "").await), ErrorCode::Invalid);
    assert_eq!(code(client.say("den", &"x".repeat(MAX_TEXT + 1)).await), ErrorCode::Invalid);
    assert_eq!(code(client.create_room("").await), ErrorCode::Invalid);
    let request = client.request(UNKNOWN, "echo", Bytes::new(), Duration::from_secs(1)).await;
    assert!([ErrorCode::Unreachable, ErrorCode::NotFound].contains(&code(request)));
    api.stop().await;
}

#[tokio::test]
async fn the_largest_text_is_taken_however_it_is_escaped() {
    let api = Api::start().await;
    api.client.create_room("den").await.expect("a room");
    let text = "\u{1}".repeat(MAX_TEXT);
    api.client.say("den", &text).await.expect("the limit is inclusive");
    assert_eq!(log(&api, "den", 1).await[0].text, text);
    api.stop().await;
}

#[tokio::test]
async fn what_is_not_a_request_is_refused_in_json() {
    let api = Api::start().await;
    api.client.create_room("den").await.expect("a room");
    let cases = [
        ("POST", "/api/v1/rooms", "", 400, "invalid"),
        ("POST", "/api/v1/rooms", "{", 400, "invalid"),
        ("POST", "/api/v1/rooms", "[]", 400, "invalid"),
        ("POST", "/api/v1/rooms", r#"{"nom":"x"}"#, 400, "invalid"),
        ("POST", "/api/v1/rooms", r#"{"name":5}"#, 400, "invalid"),
        ("POST", "/api/v1/rooms", r#"{"name":"x"} {}"#, 400, "invalid"),
        ("POST", "/api/v1/rooms/den/invites", r#"{"expire_s":5}"#, 400, "invalid"),
        ("POST", "/api/v1/rooms/den/invites", r#"{"uses":-1}"#, 400, "invalid"),
        ("POST", "/api/v1/rooms/den/invites", r#"{"role":"king"}"#, 400, "invalid"),
        ("POST", "/api/v1/rooms/den/settings", r#"{"name":"a","topic":"b"}"#, 400, "invalid"),
        ("POST", "/api/v1/rooms/den/settings", r#"{"who_posts":"all"}"#, 400, "invalid"),
        ("POST", "/api/v1/rooms/den/role", r#"{"who":"x"}"#, 400, "invalid"),
        ("GET", "/api/v1/rooms/den/person", "", 400, "invalid"),
        ("GET", "/api/v1/rooms?all=perhaps", "", 400, "invalid"),
        ("POST", "/api/v1/rooms/den/messages", r#"{"text":null}"#, 400, "invalid"),
        ("POST", "/api/v1/join", r#"{"ticket":"x","wait_s":9999999999}"#, 400, "invalid"),
        ("GET", "/api/v1/rooms/den/messages?limit=many", "", 400, "invalid"),
        ("GET", "/api/v1/rooms/den/messages?limit=-1", "", 400, "invalid"),
        ("GET", "/api/v1/rooms/den/messages?limti=5", "", 400, "invalid"),
        ("GET", "/api/v1/rooms/den/messages?limit=5&limit=6", "", 400, "invalid"),
        ("GET", "/api/v1/rooms/%ff/members", "", 400, "invalid"),
        ("POST", "/api/v1/request?peer=x", "", 400, "invalid"),
        ("POST", "/api/v1/request?peer=x&service=e&timeout_s=0", "", 400, "invalid"),
        ("GET", "/api/v1/events", "", 400, "invalid"),
        ("GET", "/api/v1/provide", "", 400, "invalid"),
        ("GET", "/api/v1/provide?name=e&max_reply=99999999999", "", 400, "invalid"),
        ("GET", "/api/v1/forward?peer=x&service=e&port=65536", "", 400, "invalid"),
        ("GET", "/api/v1/nothing", "", 404, "not_found"),
        ("GET", "/api/v2/id", "", 404, "not_found"),
        ("GET", "/api/v1/rooms/nowhere/members", "", 404, "not_found"),
        ("DELETE", "/api/v1/rooms", "", 405, "invalid"),
        ("POST", "/api/v1/status", "", 405, "invalid"),
    ];
    for (method, path, body, status, code) in cases {
        let answer = api.ask(method, path).body(body).send().await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{method} {path} {body}"
        );
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    }
    api.stop().await;
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_early() {
    let api = Api::start().await;
    api.client.create_room("den").await.expect("a room");
    // Announced but not sent: the answer does not wait for it.
    for path in ["/api/v1/rooms", "/api/v1/join", "/api/v1/rooms/den/messages", "/api/v1/dm"] {
        for length in ["1000000", "4294967296"] {
            let answer = api.ask("POST", path).header("Content-Length", length).send().await;
            assert_eq!((answer.status, answer.code().as_str()), (413, "invalid"), "{path}");
        }
    }
    let huge = api.ask("POST", "/api/v1/request?peer=x&service=e");
    let answer = huge.header("Content-Length", "17000000").send().await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "invalid"));
    // Not announced: counted as it comes.
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let chunked = api.ask("POST", "/api/v1/rooms").header("Transfer-Encoding", "chunked");
    let answer = chunked.body(chunk.repeat(2)).send().await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "invalid"));
    api.stop().await;
}

#[test]
fn every_route_is_in_the_list_that_the_guard_is_tested_with() {
    const TABLE: &str = include_str!("../src/server/routes.rs");
    let rows = TABLE.lines().filter_map(|line| line.trim().strip_prefix(".route(\"/api"));
    let mut served: Vec<String> = rows
        .flat_map(|row| {
            let (path, methods) = row.split_once("\", ").expect("a path and its methods");
            let path = format!("/api{path}").replace("{room}", "x").replace("{id}", "1");
            let of = |method: &str| methods.contains(&format!("{method}("));
            let named = ["get", "post", "put"].into_iter().filter(|method| of(method));
            named.map(move |method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
        })
        .collect();
    let bare = |path: &str| path.split('?').next().unwrap_or(path).to_owned();
    let mut listed: Vec<String> =
        ROUTES.iter().map(|(method, path, _)| format!("{method} {}", bare(path))).collect();
    served.sort();
    listed.sort();
    assert_eq!(served, listed);
}

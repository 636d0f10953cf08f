//! The keys of `--json`, pinned for every command, and `docs/cli.md` held to them.
//!
//! Keys are only ever added: a test that fails here because one is missing has found a broken
//! promise, one that fails because there is another asks for its line in the documentation.

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::png::png;
use support::{DEADLINE, Node, Process, TempFolder, ayni};

const DOCS: &str = include_str!("../../../docs/cli.md");

const ID: &[&str] = &["account_id", "name", "peer_id"];
const ROOM: &[&str] = &["name", "room"];
const STATUS: &[&str] = &[
    "account_id",
    "addresses",
    "bound",
    "connected",
    "data",
    "events",
    "given",
    "http",
    "joining",
    "name",
    "network",
    "offline",
    "peer_id",
    "pid",
    "rooms",
    "taken",
    "uptime_s",
    "version",
];
const DETAILS: &[&str] = &[
    "frozen",
    "history",
    "kind",
    "members",
    "name",
    "role",
    "room",
    "standing",
    "topic",
    "unread",
    "who_invites",
    "who_pins",
    "who_posts",
];
const INVITATION: &[&str] =
    &["expires", "invite", "inviter", "name", "open", "role", "used", "uses"];
const LOOK: &[&str] =
    &["expires", "history", "inviter", "inviter_name", "members", "name", "role", "room", "topic"];
const FOUND: &[&str] = &[
    "attachment",
    "author",
    "device",
    "event",
    "kind",
    "name",
    "room",
    "room_name",
    "text",
    "time",
];
const MESSAGE: &[&str] =
    &["attachment", "author", "device", "event", "kind", "name", "room", "text", "time"];
const ATTACHMENT: &[&str] =
    &["blob", "files", "height", "media_type", "name", "size", "thumbhash", "thumbnail", "width"];
const TRANSFER: &[&str] =
    &["blob", "bytes", "eta_s", "id", "name", "peers", "rate", "size", "state"];

const STORAGE: &[&str] = &[
    "by_itself",
    "bytes",
    "contents",
    "fetched",
    "last_copies",
    "pinned",
    "posted",
    "quota",
    "replication",
];

/// Asserts that the objects have exactly these keys, that only `nullable` ones are null, and that
/// the command's section of the documentation names each, with a `?` where it can be null.
#[track_caller]
fn check(heading: &str, objects: &[Value], keys: &[&str], nullable: &[&str]) {
    assert!(!objects.is_empty(), "{heading} printed nothing");
    for object in objects {
        let object = object.as_object().unwrap_or_else(|| panic!("{heading}: not an object"));
        let found: BTreeSet<&str> = object.keys().map(String::as_str).collect();
        assert_eq!(found, keys.iter().copied().collect(), "{heading}");
        for (key, value) in object {
            assert!(!value.is_null() || nullable.contains(&key.as_str()), "{heading}: null {key}");
        }
    }
    documented(heading, keys, nullable);
}

/// Asserts that the section of a command names each key.
#[track_caller]
fn documented(heading: &str, keys: &[&str], nullable: &[&str]) {
    let section = section_of(heading);
    let named_in = |section: &str, key: &str| {
        let mark = if nullable.contains(&key) { "?" } else { "" };
        section.contains(&format!("`{key}{mark}`"))
    };
    // `JSON: as …` refers to the section of another command.
    let same = section.split("JSON: as ").nth(1).and_then(|rest| rest.split('`').nth(1));
    let same = same.map(section_of);
    for key in keys {
        let mark = if nullable.contains(key) { "?" } else { "" };
        let named = named_in(section, key) || same.is_some_and(|same| named_in(same, key));
        assert!(named, "docs/cli.md does not name `{key}{mark}` under {heading}");
    }
}

fn section_of(heading: &str) -> &'static str {
    let start = format!("#### `{heading}");
    let section = DOCS.split("\n#").find(|part| format!("\n#{part}").contains(&start));
    section.unwrap_or_else(|| panic!("docs/cli.md has no section {start}"))
}

#[test]
fn keys_of_commands_that_work_on_the_folder() {
    let folder = TempFolder::new();
    let run = |args: &[&str]| ayni(&folder, &[args, &["--json"]].concat()).json();
    check("ayni id", &run(&["id"]), ID, &[]);
    check("ayni name", &run(&["name", "Ana"]), ID, &[]);
    check("ayni room create", &run(&["room", "create", "family"]), ROOM, &[]);
    let listed = &["frozen", "members", "name", "role", "room", "standing", "unread"];
    check("ayni room list", &run(&["room", "list"]), listed, &["role"]);
    check("ayni room show", &run(&["room", "show", "family"]), DETAILS, &["role"]);
    let set = run(&["room", "set", "family", "topic", "bread"]);
    check("ayni room set", &set, DETAILS, &["role"]);
    let made = run(&["room", "invite", "family"]);
    check("ayni room invite", &made, &["invite", "ticket"], &[]);
    check("ayni invite list", &run(&["invite", "list", "family"]), INVITATION, &["uses"]);
    let invite = made[0]["invite"].as_str().expect("an id");
    let revoked = run(&["invite", "revoke", "family", invite]);
    check("ayni invite revoke", &revoked, INVITATION, &["uses"]);
    check("ayni say", &run(&["say", "family", "hi"]), &["event"], &[]);
    check("ayni broadcast", &run(&["broadcast", "hi"]), &["event", "room"], &[]);
    check("ayni log", &run(&["log", "family"]), MESSAGE, &["attachment"]);
    check("ayni search", &run(&["search", "hi"]), FOUND, &["attachment"]);
    let member = &["account_id", "devices", "founder", "frozen", "me", "name", "online", "role"];
    check("ayni members", &run(&["members", "family"]), member, &[]);
    check("ayni status", &run(&["status"]), STATUS, &[]);
    check("ayni leave", &run(&["leave", "family"]), ROOM, &[]);
    check("ayni doctor", &run(&["doctor"]), &["detail", "ok", "what"], &["ok"]);
    check("ayni services", &run(&["services"]), &["builtin", "name", "stream"], &[]);
    check("ayni completions", &run(&["completions", "bash"]), &["script", "shell"], &[]);
    check("ayni man", &run(&["man"]), &["man"], &[]);
    documented("ayni demo", &["step", "ok", "detail", "ms"], &[]);
}

#[test]
fn keys_of_pictures_and_files() {
    let (folder, work) = (TempFolder::new(), TempFolder::new());
    let run = |args: &[&str]| ayni(&folder, &[args, &["--json"]].concat()).json();
    run(&["room", "create", "family"]);
    let picture = work.join("beach.png");
    std::fs::write(&picture, png(32, 1, "")).expect("written");
    let sent = run(&["attach", "family", picture.to_str().expect("a plain path")]);
    check("ayni attach", &sent, &["blob", "event", "size"], &[]);
    let event = sent[0]["event"].as_str().expect("an id");
    let log = run(&["log", "family", "--thumbnails"]);
    check("ayni log", &log, MESSAGE, &["attachment"]);
    let nullable = &["files", "width", "height", "thumbhash", "thumbnail"];
    check("ayni log", &[log[0]["attachment"].clone()], ATTACHMENT, nullable);
    let file = &["blob", "event", "held_by", "here", "name", "size"];
    check("ayni files", &run(&["files", "family"]), file, &[]);
    let got = work.join("got.png");
    let fetched = run(&["fetch", "family", event, "-o", got.to_str().expect("a plain path")]);
    check("ayni fetch", &fetched, &["blob", "event", "path", "size"], &[]);
    let _node = Node::up(&folder);
    run(&["fetch", "family", event, "--rename", "-o", got.to_str().expect("a plain path")]);
    let transfers = run(&["transfers"]);
    check("ayni transfers", &transfers, TRANSFER, &["size", "eta_s"]);
    let shared = run(&["send", picture.to_str().expect("a plain path")]);
    check("ayni send", &shared, &["blob", "size", "ticket"], &[]);
    check("ayni shares", &run(&["shares"]), &["blob", "name", "since", "ticket"], &[]);
    let ticket = shared[0]["ticket"].as_str().expect("a ticket");
    let (other, into) = (TempFolder::new(), work.join("into"));
    let get = ["get", ticket, "-o", into.to_str().expect("a plain path"), "--json"];
    check("ayni get", &ayni(&other, &get).json(), &["blob", "path", "size"], &[]);
    check("ayni unshare", &run(&["unshare", ticket]), &["blob"], &[]);
    documented("ayni transfer pause", &["id"], &[]);
    documented("ayni transfer resume", &["id"], &[]);
    documented("ayni transfer cancel", &["id"], &[]);
    documented("ayni transfer priority", &["id"], &[]);
    documented("ayni transfer limit", &["id"], &[]);
    documented("ayni pin", &["event", "blob", "transfer"], &[]);
    check("ayni storage", &run(&["storage", "--quota", "20GB"]), STORAGE, &["quota"]);
    check(
        "ayni room pictures",
        &run(&["room", "pictures", "family", "1MiB"]),
        &["room", "bytes"],
        &[],
    );
    check("ayni limits", &run(&["limits", "--down", "2MiB"]), &["up", "down"], &["up", "down"]);
}

#[test]
fn keys_of_commands_between_two_nodes() {
    let (host, guest) = (TempFolder::new(), TempFolder::new());
    let (host_node, guest_node) = (Node::up(&host), Node::up(&guest));
    let ready = &["account_id", "data", "http", "peer_id"];
    check("ayni up", std::slice::from_ref(host_node.ready()), ready, &[]);
    ayni(&host, &["room", "create", "family"]).ok();
    let ticket = ayni(&host, &["room", "invite", "family"]).ok();
    let run = |args: &[&str]| ayni(&guest, &[args, &["--json"]].concat()).json();
    check("ayni look", &run(&["look", &ticket]), LOOK, &[]);
    check("ayni join", &run(&["join", &ticket]), ROOM, &[]);
    check("ayni dm", &run(&["dm", host_node.account_id(), "hi"]), &["event", "room"], &[]);
    let peer = &["lan", "name", "path", "peer_id", "rtt_ms"];
    check("ayni peers", &run(&["peers"]), peer, &["name", "rtt_ms"]);

    let offer = ["provide", "echo", "--allow", "anyone", "--json", "--", "cat"];
    let mut provided = Process::start(&host, &offer);
    check("ayni provide", &[provided.json_line(DEADLINE)], &["name", "ready"], &[]);
    let reply = run(&["request", host_node.peer_id(), "echo", "hi"]);
    check("ayni request", &reply, &["base64", "size", "text"], &["text"]);
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = server.local_addr().expect("bound").to_string();
    let offer = ["provide", "pipe", "--allow", "anyone", "--json", "--tcp", &target];
    let mut piped = Process::start(&host, &offer);
    piped.json_line(DEADLINE);
    let forward = ["forward", host_node.peer_id(), "pipe", "0", "--json"];
    let mut forwarded = Process::start(&guest, &forward);
    check("ayni forward", &[forwarded.json_line(DEADLINE)], &["listen"], &[]);

    let mut chat = Process::start(&guest, &["chat", "family", "--json"]);
    chat.feed(b"hello\n");
    check("ayni chat", &[chat.json_line(DEADLINE)], &["event"], &[]);
    for process in [provided, piped, forwarded] {
        assert_eq!(process.stop().code, 0);
    }
    let person = &["account_id", "name", "role"];
    let host_run = |words: &[&str]| {
        let args = [&["member"], words, &["family", guest_node.account_id(), "--json"]].concat();
        ayni(&host, &args).json()
    };
    for word in ["promote", "demote", "remove"] {
        check(&format!("ayni member {word}"), &host_run(&[word]), person, &["role"]);
    }
    drop((chat, guest_node));
}

#[test]
fn values_have_their_documented_types() {
    let folder = TempFolder::new();
    ayni(&folder, &["room", "create", "family"]).ok();
    let event = ayni(&folder, &["say", "family", "hi", "--json"]).one()["event"].clone();
    let id = ayni(&folder, &["id", "--json"]).one();
    let room = ayni(&folder, &["room", "list", "--json"]).one()["room"].clone();
    let line = ayni(&folder, &["log", "family", "--json"]).one();
    assert_eq!(line["event"], event);
    assert_eq!(line["room"], room);
    assert_eq!(line["author"], id["account_id"]);
    assert_eq!(line["device"], id["peer_id"]);
    assert_eq!(line["name"], id["name"]);
    assert_eq!(line["kind"], "message");
    assert_eq!(line["text"], "hi");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    let time = u128::from(line["time"].as_u64().expect("Unix milliseconds"));
    assert!(time <= now && now - time < 60_000, "{time} is not now ({now})");
    for id in [&event, &room, &id["peer_id"], &id["account_id"]] {
        let id = id.as_str().expect("a text");
        assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
}

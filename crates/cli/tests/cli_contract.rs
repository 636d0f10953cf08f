//! The command line's contract on one data folder: grammar, exit codes, one line of complaint, and
//! everything that needs no network.

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use support::{DEADLINE, Node, Process, TempFolder, ayni, ayni_stdin, command, json_lines};

/// The largest text of one message.
const MAX_TEXT: usize = 64 * 1024;

/// Makes a room called `family` and returns its id.
fn family(folder: &TempFolder) -> String {
    let made = ayni(folder, &["room", "create", "family", "--json"]).one();
    made["room"].as_str().expect("a room id").to_owned()
}

fn texts(folder: &TempFolder, room: &str) -> Vec<String> {
    let lines = ayni(folder, &["log", room, "--limit", "1000000", "--json"]).json();
    lines.iter().map(|line| line["text"].as_str().expect("a text").to_owned()).collect()
}

// Grammar

#[test]
fn help_and_version_are_results() {
    let folder = TempFolder::new();
    let version = ayni(&folder, &["--version"]).ok();
    assert_eq!(version, format!("ayni {}", env!("CARGO_PKG_VERSION")));
    for args in [&["--help"][..], &["help"], &["say", "--help"], &["help", "room"]] {
        let output = ayni(&folder, args);
        assert_eq!(output.stderr, "", "{args:?}");
        assert!(output.ok().contains("Usage: ayni"), "{args:?}");
    }
    assert_eq!(std::fs::read_dir(&folder).expect("readable").count(), 0, "nothing was touched");
}

#[test]
fn a_usage_error_is_one_line_and_2() {
    let folder = TempFolder::new();
    let cases: &[&[&str]] = &[
        &["nonsense"],
        &["say"],
        &["say", "family"],
        &["say", "family", "one", "two"],
        &["say", "family", "--jsno"],
        &["room"],
        &["room", "invite", "family", "--expires", "soon"],
        &["room", "invite", "family", "--expires", "0s"],
        &["room", "invite", "family", "--uses", "0"],
        &["room", "invite", "family", "--role", "admin"],
        &["room", "set", "family", "topic"],
        &["room", "set", "family", "color", "red"],
        &["room", "set", "family", "who-posts", "reader"],
        &["room", "set", "family", "history", "none"],
        &["member", "promote", "family"],
        &["member", "promote", "family", "Beto", "--to", "reader"],
        &["member", "demote", "family", "Beto", "--to", "founder"],
        &["invite", "revoke", "family"],
        &["room", "invite", "family", "--qr", "--json"],
        &["log", "family", "--limit", "many"],
        &["attach", "family"],
        &["fetch", "family"],
        &["fetch", "family", "0123", "--skip", "--rename"],
        &["fetch", "family", "0123", "--timeout", "0"],
        &["transfer", "pause"],
        &["transfer", "cancel", "beach.png"],
        &["files"],
        &["send"],
        &["get"],
        &["get", "blob", "--skip", "--overwrite"],
        &["get", "blob", "--timeout", "0"],
        &["unshare"],
        &["search"],
        &["search", "bread", "--limit", "0"],
        &["search", "bread", "--limit", "1001"],
        &["search", "bread", "--before", "2026-01-01"],
        &["--network", "mars", "id"],
        &["--http", "127.0.0.1:0", "id"],
        &["--no-open", "id"],
        &["up", "--http", "0.0.0.0:80"],
        &["provide", "echo"],
        &["provide", "echo", "--tcp", "nowhere"],
        &["provide", "echo", "--tcp", "127.0.0.1:1", "--", "cat"],
        &["provide", "echo", "--concurrency", "0", "--", "cat"],
        &["provide", "echo", "--timeout", "0", "--", "cat"],
        &["request", "peer", "echo", "--timeout", "0"],
        &["forward", "peer", "echo", "70000"],
        &["demo", "--peers", "1"],
        &["completions", "tcsh"],
    ];
    for args in cases {
        let line = ayni(&folder, args).fails(2);
        assert!(line.starts_with("ayni: "), "{args:?}: {line}");
    }
    assert_eq!(std::fs::read_dir(&folder).expect("readable").count(), 0, "nothing was touched");
}

#[test]
fn an_unknown_network_in_the_environment_is_named() {
    let folder = TempFolder::new();
    let mut mars = command(&folder);
    mars.env("AYNI_NETWORK", "mars").arg("id");
    let line = Process::spawn(mars).finish(DEADLINE).fails(2);
    assert!(line.contains("AYNI_NETWORK") && line.contains("mars"), "{line}");
}

#[test]
fn completions_and_the_manual_are_printed() {
    let folder = TempFolder::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = ayni(&folder, &["completions", shell]).ok();
        assert!(script.contains("ayni") && script.contains("broadcast"), "{shell}");
    }
    let page = ayni(&folder, &["man"]).ok();
    for word in [".TH ayni", "AYNI_DATA", "broadcast", "EXIT STATUS"] {
        assert!(page.contains(word), "{word}");
    }
}

// Identity

#[test]
fn an_identity_is_made_once_and_renamed() {
    let folder = TempFolder::new();
    let first = ayni(&folder, &["id", "--json"]).one();
    assert_eq!(ayni(&folder, &["--json", "id"]).one(), first);
    ayni(&folder, &["name", "Ana"]).ok();
    let renamed = ayni(&folder, &["id", "--json"]).one();
    assert_eq!(renamed["name"], "Ana");
    assert_eq!(renamed["peer_id"], first["peer_id"]);
    assert_eq!(renamed["account_id"], first["account_id"]);
    let shown = ayni(&folder, &["id"]).ok();
    assert!(shown.contains("Ana") && shown.contains(first["peer_id"].as_str().expect("an id")));
    ayni(&folder, &["name", ""]).fails(2);
    ayni(&folder, &["name", &"x".repeat(10_000)]).fails(2);
}

#[test]
fn the_data_option_wins_over_the_environment() {
    let (one, other) = (TempFolder::new(), TempFolder::new());
    let here = ayni(&one, &["id", "--json"]).one();
    let path = other.to_str().expect("UTF-8");
    let there = ayni(&one, &["id", "--json", "--data", path]).one();
    assert_ne!(here["peer_id"], there["peer_id"]);
    assert_eq!(ayni(&other, &["id", "--json"]).one(), there);
}

// Rooms

#[test]
fn a_room_is_named_by_id_prefix_or_name() {
    let folder = TempFolder::new();
    let room = family(&folder);
    let upper = room.to_uppercase();
    for name in [room.as_str(), &room[..4], "family", upper.as_str()] {
        ayni(&folder, &["say", name, "hello"]).ok();
    }
    ayni(&folder, &["say", &room[..3], "hello"]).fails(3);
    ayni(&folder, &["say", "no such room", "hello"]).fails(3);
    assert_eq!(texts(&folder, &room).len(), 4);

    let listed = ayni(&folder, &["room", "list", "--json"]).one();
    assert_eq!(listed["room"], room.as_str());
    assert_eq!(listed["name"], "family");
    assert_eq!(listed["members"], 1);
    assert_eq!(listed["unread"], 0, "one's own words are never unread");
    assert!(ayni(&folder, &["room", "list"]).ok().contains("family"));
}

#[test]
fn an_ambiguous_name_is_2_and_the_id_still_works() {
    let folder = TempFolder::new();
    let (first, second) = (family(&folder), family(&folder));
    assert_ne!(first, second);
    ayni(&folder, &["say", "family", "which?"]).fails(2);
    ayni(&folder, &["say", &first, "this one"]).ok();
    assert_eq!(texts(&folder, &first), ["this one"]);
    assert!(texts(&folder, &second).is_empty());
}

#[test]
fn every_command_that_takes_a_room_says_3_when_there_is_none() {
    let folder = TempFolder::new();
    let cases: &[&[&str]] = &[
        &["say", "nowhere", "x"],
        &["log", "nowhere"],
        &["log", "nowhere", "--follow"],
        &["members", "nowhere"],
        &["search", "bread", "--room", "nowhere"],
        &["leave", "nowhere", "--yes"],
        &["room", "invite", "nowhere"],
        &["room", "show", "nowhere"],
        &["room", "set", "nowhere", "topic", "x"],
        &["invite", "list", "nowhere"],
        &["invite", "revoke", "nowhere", "abcd"],
        &["member", "promote", "nowhere", "x"],
        &["member", "demote", "nowhere", "x"],
        &["member", "remove", "nowhere", "x", "--yes"],
        &["chat", "nowhere"],
        &["attach", "nowhere", env!("CARGO_MANIFEST_DIR")],
        &["files", "nowhere"],
        &["fetch", "nowhere", "0123"],
        &["dm", "nobody", "x"],
        &["request", "nobody", "echo"],
        &["forward", "nobody", "echo", "0"],
        &["services", "nobody"],
        &["provide", "echo", "--allow", "room:nowhere", "--", "cat"],
    ];
    for args in cases {
        let output = ayni(&folder, args);
        assert_eq!(output.code, 3, "{args:?}: {}", output.stderr);
        output.fails(3);
    }
}

#[test]
fn a_ticket_is_alone_on_stdout() {
    let folder = TempFolder::new();
    family(&folder);
    let ticket = ayni(&folder, &["room", "invite", "family"]).ok();
    assert!(ticket.starts_with("ayni") && ticket.chars().all(char::is_alphanumeric), "{ticket}");
    let json = ayni(&folder, &["room", "invite", "family", "--uses", "3", "--json"]).one();
    assert!(json["ticket"].as_str().expect("a ticket").starts_with("ayni"));
    let drawn = ayni(&folder, &["room", "invite", "family", "--qr"]).ok();
    let (first, picture) = drawn.split_once('\n').expect("more lines");
    assert!(first.starts_with("ayni"));
    assert!(picture.lines().count() > 10 && picture.contains('▀'));
}

#[test]
fn a_malformed_ticket_is_2() {
    let folder = TempFolder::new();
    family(&folder);
    let ticket = ayni(&folder, &["room", "invite", "family"]).ok();
    let cut = &ticket[..ticket.len() - 3];
    let mut mistyped = ticket.clone().into_bytes();
    mistyped[20] = if mistyped[20] == b'a' { b'b' } else { b'a' };
    let mistyped = String::from_utf8(mistyped).expect("ASCII");
    for wrong in ["", "nonsense", "ayni", "ayni!!", cut, &mistyped] {
        ayni(&folder, &["join", wrong]).fails(2);
    }
}

#[test]
fn joining_without_anyone_there_is_5() {
    let (host, guest) = (TempFolder::new(), TempFolder::new());
    family(&host);
    let ticket = ayni(&host, &["room", "invite", "family"]).ok();
    ayni(&guest, &["join", &ticket, "--wait", "1"]).fails(5);
}

#[test]
fn a_room_that_was_left_takes_no_more_words() {
    let folder = TempFolder::new();
    let room = family(&folder);
    ayni(&folder, &["say", "family", "good bye"]).ok();
    ayni(&folder, &["leave", "family"]).ok();
    let line = ayni(&folder, &["say", &room, "one more"]).fails(4);
    assert!(line.contains("you left family"), "{line}");
    assert_eq!(texts(&folder, &room), ["good bye"], "what was said stays readable");
    for args in [
        &["leave", "family"][..],
        &["room", "set", "family", "topic", "x"],
        &["room", "invite", "family"],
        &["chat", "family"],
        &["member", "promote", "family", "nobody"],
    ] {
        let code = if args[0] == "member" { 3 } else { 4 };
        ayni(&folder, args).fails(code);
    }
}

#[test]
fn a_room_that_was_left_is_shown_and_said_to_be_left() {
    let folder = TempFolder::new();
    let room = family(&folder);
    ayni(&folder, &["say", "family", "good bye"]).ok();
    let here = ayni(&folder, &["log", "family"]);
    assert_eq!((here.code, here.stderr.as_str()), (0, ""), "nothing to say to a member");
    ayni(&folder, &["leave", "family"]).ok();
    for args in [
        &["log", "family"][..],
        &["log", "family", "--json"],
        &["members", &room],
        &["members", &room, "--json"],
        &["room", "show", "family", "--json"],
    ] {
        let shown = ayni(&folder, args);
        assert_eq!(shown.code, 0, "{args:?}");
        assert_eq!(shown.stderr.lines().count(), 1, "{args:?}: {}", shown.stderr);
        assert!(shown.stderr.contains("you left family"), "{args:?}: {}", shown.stderr);
    }
    assert_eq!(ayni(&folder, &["log", "family", "--json"]).json().len(), 1, "nothing but messages");

    let listed = ayni(&folder, &["room", "list", "--json"]);
    assert_eq!((listed.code, listed.stdout.as_str()), (0, ""));
    assert!(listed.stderr.lines().count() == 1 && listed.stderr.contains("--all"), "{listed:?}");
    let all = ayni(&folder, &["room", "list", "--all", "--json"]);
    assert_eq!((all.code, all.stderr.as_str()), (0, ""));
    let all = all.one();
    assert_eq!((&all["room"], &all["standing"]), (&room.as_str().into(), &"left".into()));
    assert!(all["role"].is_null());
    assert!(ayni(&folder, &["room", "list", "--all"]).ok().contains("you left"));
}

#[test]
fn what_is_set_is_shown() {
    let folder = TempFolder::new();
    let room = family(&folder);
    let topic = "who brings the bread";
    let settings = [
        ("topic", topic),
        ("who-invites", "admin"),
        ("who-posts", "founder"),
        ("who-pins", "admin"),
        ("history", "from-joining"),
        ("name", "kin"),
    ];
    for (key, value) in settings {
        let told = ayni(&folder, &["room", "set", &room, key, value]).ok();
        assert!(told.starts_with(key) && told.ends_with(value), "{told}");
        let shown = ayni(&folder, &["room", "show", &room, "--json"]).one();
        assert_eq!(shown[key.replace('-', "_")], value);
        let lines = ayni(&folder, &["room", "show", &room]).ok();
        let shown = lines.lines().any(|line| line.starts_with(key) && line.ends_with(value));
        assert!(shown, "{lines}");
    }
    ayni(&folder, &["say", "kin", "by its new name"]).ok();
    ayni(&folder, &["room", "set", "kin", "topic", ""]).ok();
    assert_eq!(ayni(&folder, &["room", "show", "kin", "--json"]).one()["topic"], "");
    for (key, value) in [("name", ""), ("name", " "), ("topic", "two\nlines")] {
        ayni(&folder, &["room", "set", "kin", key, value]).fails(2);
    }
    ayni(&folder, &["room", "set", "kin", "topic", &"x".repeat(1025)]).fails(2);
    let line = ayni(&folder, &["room", "set", "kin", "who-posts", "all"]).fails(2);
    assert!(line.contains("member, admin or founder"), "{line}");
    let line = ayni(&folder, &["room", "set", "kin", "color", "red"]).fails(2);
    assert!(line.contains("topic") && line.contains("who-invites"), "{line}");
}

#[test]
fn invitations_are_listed_and_revoked() {
    let folder = TempFolder::new();
    family(&folder);
    let make = |more: &[&str]| {
        ayni(&folder, &[&["room", "invite", "family", "--json"], more].concat()).one()
    };
    let (first, second) = (make(&[]), make(&["--role", "reader", "--uses", "2"]));
    let list = || ayni(&folder, &["invite", "list", "family", "--json"]).json();
    let listed = list();
    assert_eq!(listed.len(), 2);
    let of = |made: &Value| {
        let found = list().into_iter().find(|listed| listed["invite"] == made["invite"]);
        found.expect("listed")
    };
    assert_eq!((&of(&first)["role"], &of(&first)["uses"]), (&"member".into(), &Value::Null));
    assert_eq!((&of(&second)["role"], &of(&second)["uses"]), (&"reader".into(), &2.into()));
    let told = ayni(&folder, &["invite", "list", "family"]).ok();
    assert_eq!(told.lines().filter(|line| line.contains("open, for ")).count(), 2, "{told}");

    let id = first["invite"].as_str().expect("an id");
    ayni(&folder, &["invite", "revoke", "family", &id[..3]]).fails(3);
    ayni(&folder, &["invite", "revoke", "family", &id[..8]]).ok();
    assert_eq!((&of(&first)["open"], &of(&second)["open"]), (&false.into(), &true.into()));
    let ticket = second["ticket"].as_str().expect("a ticket");
    let revoked = ayni(&folder, &["invite", "revoke", "family", ticket, "--json"]).one();
    assert_eq!((&revoked["invite"], &revoked["open"]), (&second["invite"], &false.into()));
    assert!(list().iter().all(|listed| listed["open"] == false));
}

// Messages

#[test]
fn saying_from_standard_input_drops_one_newline() {
    let folder = TempFolder::new();
    let room = family(&folder);
    for input in ["plain", "one\n", "two\n\n", "three\nlines\nhere\n", " spaces \n"] {
        ayni_stdin(&folder, &["say", &room, "-"], input.as_bytes()).ok();
    }
    let expected = ["plain", "one", "two\n", "three\nlines\nhere", " spaces "];
    assert_eq!(texts(&folder, &room), expected);
}

#[test]
fn saying_on_a_folder_prints_the_result_only() {
    let folder = TempFolder::new();
    let room = family(&folder);
    assert_eq!(ayni(&folder, &["say", &room, "hello"]).ok(), "");
    let posted = ayni(&folder, &["--json", "say", &room, "hello"]).ok();
    assert!(posted.starts_with(r#"{"event":""#) && posted.lines().count() == 1, "{posted}");
}

#[test]
fn a_program_that_is_not_there_is_3_before_anything_is_ready() {
    let folder = TempFolder::new();
    for program in ["no-such-program-anywhere", "/no/such/program"] {
        let line = ayni(&folder, &["provide", "echo", "--", program]).fails(3);
        assert!(line.contains(program), "{line}");
    }
}

#[test]
fn a_port_in_use_is_told_once() {
    let folder = TempFolder::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let http = taken.local_addr().expect("bound").to_string();
    let line = ayni(&folder, &["up", "--no-open", "--http", &http]).fails(1);
    assert_eq!(line.matches("in use").count(), 1, "{line}");
}

#[test]
fn empty_oversize_and_binary_texts_are_2() {
    let folder = TempFolder::new();
    let room = family(&folder);
    ayni(&folder, &["say", &room, ""]).fails(2);
    for input in [&b""[..], b"\n", b"\xff\xfe", &vec![b'x'; MAX_TEXT + 1], &vec![b'x'; 1 << 20]] {
        ayni_stdin(&folder, &["say", &room, "-"], input).fails(2);
    }
    let largest = "x".repeat(MAX_TEXT);
    let event = ayni_stdin(&folder, &["say", &room, "-", "--json"], largest.as_bytes()).one();
    assert!(event["event"].is_string());
    assert_eq!(texts(&folder, &room), [largest]);
}

#[test]
fn the_log_prints_the_newest_oldest_first() {
    let folder = TempFolder::new();
    let room = family(&folder);
    let input = (0..60).fold(String::new(), |all, number| format!("{all}line {number}\n"));
    ayni_stdin(&folder, &["chat", &room], input.as_bytes()).ok();
    let all = texts(&folder, &room);
    assert_eq!(all.len(), 60);
    assert!(all.iter().enumerate().all(|(at, text)| *text == format!("line {at}")), "{all:?}");
    let newest = ayni(&folder, &["log", &room, "--json"]).json();
    assert_eq!(newest.len(), 50);
    assert_eq!(newest[0]["text"], "line 10");
    let two = ayni(&folder, &["log", &room, "--limit", "2", "--json"]).json();
    assert_eq!(two[0]["text"], "line 58");
    assert_eq!(two[1]["text"], "line 59");
    assert_eq!(ayni(&folder, &["log", &room, "--limit", "0"]).ok(), "");
}

#[test]
fn the_log_shows_no_terminal_escapes() {
    let folder = TempFolder::new();
    ayni(&folder, &["name", "Ana"]).ok();
    let room = family(&folder);
    ayni(&folder, &["say", &room, "\x1b[31mred\x1b]0;title\x07\nAna: fake"]).ok();
    let shown = ayni(&folder, &["log", &room]).ok();
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    assert!(shown.contains("Ana: ␛[31mred") && shown.contains("\n      Ana: fake"), "{shown:?}");
    let json = ayni(&folder, &["log", &room, "--json"]);
    assert!(!json.stdout.contains('\x1b'), "JSON escapes them");
    assert_eq!(json.one()["text"], "\x1b[31mred\x1b]0;title\x07\nAna: fake");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = TempFolder::new();
    let room = family(&folder);
    // More than a pipe holds, so that the writer meets the closed end.
    let long = "x".repeat(60_000);
    for _ in 0..4 {
        ayni_stdin(&folder, &["say", &room, "-"], long.as_bytes()).ok();
    }
    let mut reading = command(&folder);
    reading.args(["log", &room]).stdin(Stdio::null());
    reading.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = reading.spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn commands_on_one_folder_take_turns() {
    let folder = TempFolder::new();
    let room = family(&folder);
    let words: Vec<String> = (0..6).map(|number| format!("from {number}")).collect();
    let running: Vec<Process> =
        words.iter().map(|word| Process::start(&folder, &["say", &room, word])).collect();
    for process in running {
        process.finish(DEADLINE).ok();
    }
    let mut said = texts(&folder, &room);
    said.sort();
    assert_eq!(said, words);
}

#[test]
fn a_broadcast_reaches_every_room() {
    let folder = TempFolder::new();
    let rooms = [family(&folder), family(&folder)];
    // Standard input is no terminal here, so nothing is asked.
    let sent = ayni(&folder, &["broadcast", "to all", "--json"]).json();
    assert_eq!(sent.len(), 2);
    for room in &rooms {
        assert!(sent.iter().any(|line| line["room"] == room.as_str()));
        assert_eq!(texts(&folder, room), ["to all"]);
    }
    ayni(&folder, &["broadcast", "--yes", ""]).fails(2);
}

// The folder

#[test]
fn a_folder_that_is_served_is_4_for_up_and_fine_for_the_rest() {
    let folder = TempFolder::new();
    let node = Node::up(&folder);
    ayni(&folder, &["up", "--no-open", "--http", "127.0.0.1:0"]).fails(4);
    let bare = ayni(&folder, &["--no-open", "--json"]).one();
    assert_eq!(&bare, node.ready(), "bare `ayni` tells of the node that runs");
    let id = node.ayni(&["id", "--json"]).one();
    assert_eq!(id["peer_id"], node.peer_id());
    node.stop();
    assert_eq!(ayni(&folder, &["id", "--json"]).one(), id, "and without it again");
}

#[test]
fn of_two_that_start_at_once_one_serves_and_both_tell_where() {
    let folder = TempFolder::new();
    let bare = ["--no-open", "--json"];
    let mut pair = [Process::start(&folder, &bare), Process::start(&folder, &bare)];
    let ready = pair.each_mut().map(|process| process.json_line(DEADLINE));
    assert_eq!(ready[0], ready[1]);
    let one_left =
        || pair.iter_mut().filter_map(|process| process.is_running().then_some(())).count() == 1;
    assert!(support::wait_until(DEADLINE, one_left));
    for process in pair {
        let output = process.stop();
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    }
}

#[test]
fn a_node_stops_cleanly_on_both_signals() {
    let folder = TempFolder::new();
    Node::up(&folder).stop();
    let mut node = Node::up(&folder);
    node.process().signal("INT");
    assert!(support::wait_until(DEADLINE, || !node.process().is_running()));
    drop(node);
    let node = Node::up(&folder);
    let room = family(&folder);
    node.kill9();
    ayni(&folder, &["say", &room, "after a crash"]).ok();
    assert_eq!(texts(&folder, &room), ["after a crash"]);
    assert_eq!(ayni(&folder, &["room", "list", "--json"]).one()["room"], room.as_str());
}

#[test]
fn the_port_is_chosen_once() {
    let folder = TempFolder::new();
    let up = ["up", "--json", "--no-open"];
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let mut process = Process::start(&folder, &up);
        let ready = process.json_line(DEADLINE);
        addresses.push(ready["http"].as_str().expect("an address").to_owned());
        assert_eq!(process.stop().code, 0);
    }
    assert_eq!(addresses[0], addresses[1]);
    let port = addresses[0].rsplit(':').next().expect("a port");
    let taken = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).expect("free again");
    let line = ayni(&folder, &up).fails(1);
    assert!(line.contains(port) && line.contains("--http"), "{line}");
    drop(taken);
}

#[test]
fn a_folder_that_cannot_be_used_is_one_sentence() {
    let folder = TempFolder::new();
    let file = folder.join("file");
    std::fs::write(&file, "not a folder").expect("writable");
    ayni(&folder, &["id", "--data", file.to_str().expect("UTF-8")]).fails(1);

    let damaged = TempFolder::new();
    ayni(&damaged, &["id"]).ok();
    std::fs::write(damaged.join("ayni.db"), [0x42; 8192]).expect("writable");
    ayni(&damaged, &["id"]).fails(1);
    let kept = std::fs::read(damaged.join("ayni.db")).expect("readable");
    assert_eq!(kept, [0x42; 8192], "what is damaged is left as it is");
}

#[test]
fn nothing_is_logged_unless_asked_and_never_what_was_said() {
    let folder = TempFolder::new();
    let mut up = command(&folder);
    up.args(["up", "--json", "--no-open", "--http", "127.0.0.1:0"]).env("AYNI_LOG", "info");
    let mut node = Process::spawn(up);
    let ready = node.json_line(DEADLINE);
    let room = family(&folder);
    ayni(&folder, &["say", &room, "unrepeatable words"]).ok();
    let ticket = ayni(&folder, &["room", "invite", &room]).ok();
    let logged = node.stop().stderr;
    for secret in ["unrepeatable", ticket.as_str()] {
        assert!(!logged.contains(secret), "{logged}");
    }
    assert!(ready["http"].is_string());
}

// Without a terminal

#[test]
fn following_prints_what_comes_until_it_is_stopped() {
    let folder = TempFolder::new();
    let room = family(&folder);
    let _node = Node::up(&folder);
    ayni(&folder, &["say", &room, "before"]).ok();
    let mut log = Process::start(&folder, &["log", &room, "--follow", "--json"]);
    assert_eq!(log.json_line(DEADLINE)["text"], "before");
    for number in 0..20 {
        ayni(&folder, &["say", &room, &number.to_string()]).ok();
        assert_eq!(log.json_line(DEADLINE)["text"], number.to_string());
    }
    let rest = log.stop();
    assert_eq!(rest.code, 0, "{}", rest.stderr);
    assert_eq!(json_lines(&rest.stdout).len(), 21, "nothing twice");
}

#[test]
fn a_slow_follower_misses_and_repeats_nothing() {
    // More bytes than the pipe and the socket hold, and more events than the node keeps for a
    // subscriber that does not read.
    const MESSAGES: usize = 2000;
    let folder = TempFolder::new();
    let room = family(&folder);
    let _node = Node::up(&folder);
    ayni(&folder, &["say", &room, "first"]).ok();
    let mut slow = command(&folder);
    slow.args(["log", &room, "--follow", "--json"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut slow = slow.spawn().expect("it starts");
    let mut lines = BufReader::new(slow.stdout.take().expect("piped")).lines();
    let mut next = || {
        let line = lines.next().expect("it goes on").expect("readable");
        json_lines(&line).remove(0)["text"].as_str().expect("a text").trim_end().to_owned()
    };
    assert_eq!(next(), "first", "it follows from here on");
    let padding = " ".repeat(4000);
    let input = (0..MESSAGES).fold(String::new(), |all, at| format!("{all}{at}{padding}\n"));
    ayni_stdin(&folder, &["chat", &room], input.as_bytes()).ok();
    let mut seen: Vec<usize> = (0..MESSAGES).map(|_| next().parse().expect("a number")).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..MESSAGES), "each exactly once");
    ayni(&folder, &["say", &room, "last"]).ok();
    assert_eq!(next(), "last", "and nothing of the loss comes twice");
    slow.kill().expect("a child can be killed");
    slow.wait().expect("a child can be waited for");
}

#[test]
fn chat_says_piped_lines() {
    let folder = TempFolder::new();
    let room = family(&folder);
    let said = ayni_stdin(&folder, &["chat", &room, "--json"], b"one\n\n/help\nlast").json();
    assert_eq!(said.len(), 3, "empty lines are not said, and a file gives no commands");
    assert!(said.iter().all(|line| line["event"].is_string()));
    assert_eq!(texts(&folder, &room), ["one", "/help", "last"]);
}

#[test]
fn a_chat_that_waits_for_input_lets_others_use_the_folder() {
    let folder = TempFolder::new();
    let room = family(&folder);
    let mut chat = Process::start(&folder, &["chat", &room, "--json"]);
    chat.feed(b"first\n");
    assert!(chat.json_line(DEADLINE)["event"].is_string());
    ayni(&folder, &["say", &room, "second"]).ok();
    chat.close_stdin();
    chat.finish(DEADLINE).ok();
    assert_eq!(texts(&folder, &room), ["first", "second"]);
}

#[test]
fn a_demonstration_holds() {
    let folder = TempFolder::new();
    let demo = Process::start(&folder, &["demo", "--peers", "3", "--json"]);
    let steps = demo.finish(Duration::from_mins(2)).json();
    assert!(steps.iter().all(|step| step["ok"] == Value::Bool(true)), "{steps:?}");
    assert!(steps.len() >= 5, "{steps:?}");
    assert_eq!(std::fs::read_dir(&folder).expect("readable").count(), 0, "its folders are its own");
}

//! `ayni search`: messages by their words, with and without a running node.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use support::talk::{CONVERGE, folders, room_of, say};
use support::{DEADLINE, Node, Output, TempFolder, ayni, wait_until};

/// Searches until everything is indexed: on a busy machine that may take longer than a search waits.
#[track_caller]
fn search(folder: &Path, args: &[&str]) -> Output {
    let mut output = None;
    let settled = wait_until(DEADLINE, || {
        let found = ayni(folder, &[&["search"], args].concat());
        let settled = !found.stderr.contains("not searched yet");
        output = Some(found);
        settled
    });
    assert!(settled, "{output:?}");
    output.expect("looked at least once")
}

/// Returns room and text of what is found, in the order shown.
#[track_caller]
fn found(folder: &Path, args: &[&str]) -> Vec<(String, String)> {
    let lines = search(folder, &[args, &["--json"]].concat()).json();
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    lines.iter().map(|line| (text(&line["room_name"]), text(&line["text"]))).collect()
}

/// Makes the rooms `family` and `work` with some talk in them.
fn talk(folder: &TempFolder) {
    ayni(folder, &["name", "Ana"]).ok();
    for room in ["family", "work"] {
        ayni(folder, &["room", "create", room]).ok();
    }
    for (room, text) in [
        ("family", "who brings the bread?"),
        ("work", "Bread for all"),
        ("family", "nobody does"),
        ("family", "then no bread"),
    ] {
        ayni(folder, &["say", room, text]).ok();
    }
}

/// What is asked of a folder with that talk, whoever answers.
#[track_caller]
fn finds_what_was_said(folder: &Path) {
    let pair = |room: &str, text: &str| (room.to_owned(), text.to_owned());
    let all = [
        pair("family", "who brings the bread?"),
        pair("work", "Bread for all"),
        pair("family", "then no bread"),
    ];
    assert_eq!(found(folder, &["bread"]), all, "oldest first, of all rooms");
    assert_eq!(found(folder, &["bread", "--limit", "2"]), all[1..], "the newest of them");
    assert_eq!(found(folder, &["--room", "work", "BRE"]), all[1..2]);
    assert_eq!(found(folder, &["bread", "brings"]), all[..1], "all of the words");
    assert_eq!(found(folder, &["brings bread", "--room", "family"]), all[..1]);
    assert!(found(folder, &["bread", "brings", "--room", "work"]).is_empty());

    let shown = search(folder, &["bread"]).ok();
    let lines: Vec<&str> = shown.lines().filter(|line| !line.ends_with("(UTC)")).collect();
    assert!(lines[0].ends_with(" [family] Ana: who brings the bread?"), "{shown}");
    assert!(lines[1].ends_with(" [work] Ana: Bread for all"), "{shown}");
    assert_eq!(lines.len(), 3);
    for args in [&["butter"][..], &["butter", "--json"], &["butter", "--room", "work"]] {
        let nothing = search(folder, args);
        assert_eq!((nothing.code, nothing.stdout.as_str()), (0, ""), "{args:?}");
        assert_eq!(nothing.stderr, "", "{args:?}");
    }
}

#[test]
fn words_are_found_in_all_rooms_or_in_one_with_and_without_a_node() {
    let folder = TempFolder::new();
    talk(&folder);
    finds_what_was_said(&folder);
    let unread = |folder| ayni(folder, &["room", "list", "--json"]).json();
    assert!(unread(&folder).iter().all(|room| room["unread"] == 0));
    let node = Node::up(&folder);
    finds_what_was_said(node.folder());
    node.ayni(&["say", "work", "no more bread"]).ok();
    assert_eq!(found(node.folder(), &["more"]), [("work".to_owned(), "no more bread".to_owned())]);
    node.stop();
}

#[test]
fn what_cannot_be_searched_for_is_2() {
    let folder = TempFolder::new();
    talk(&folder);
    let long = ["x".repeat(1025), "x".repeat(100_000)];
    for text in ["", "?!", " - "].into_iter().chain(long.iter().map(String::as_str)) {
        let line = ayni(&folder, &["search", "--", text]).fails(2);
        assert!(line.starts_with("ayni: "), "{line}");
    }
    let line = ayni(&folder, &["search", "", ""]).fails(2);
    assert!(line.contains("name a word"), "{line}");
    let line = ayni(&folder, &["search", "bread", "--room", "nowhere"]).fails(3);
    assert!(line.contains("nowhere"), "{line}");
    // What means something elsewhere is only text here.
    assert!(found(&folder, &["bread OR nobody"]).is_empty());
    assert_eq!(found(&folder, &["\"nobody\""]).len(), 1);
}

#[test]
fn what_is_found_cannot_mislead_a_terminal() {
    let folder = TempFolder::new();
    ayni(&folder, &["name", "Ana"]).ok();
    ayni(&folder, &["room", "create", "family"]).ok();
    let hostile = "bread \x1b[31mred\x1b]0;title\x07\u{202e}\n00:00 [family] Ana: fake";
    ayni(&folder, &["say", "family", hostile]).ok();
    let shown = search(&folder, &["bread"]).ok();
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    assert!(shown.contains("[family] Ana: bread ␛[31mred␛]0;title␇\u{fffd}\n      00:00 [family]"));
    let json = search(&folder, &["bread", "--json"]);
    assert!(!json.stdout.contains('\x1b'), "JSON escapes them");
    assert_eq!(json.one()["text"], hostile);
    let line = ayni(&folder, &["search", "bread", "--room", "\x1b[2J\nx"]).fails(3);
    assert!(!line.contains('\x1b'), "{line}");
}

#[test]
fn a_room_that_one_is_out_of_is_searched_as_far_as_it_is_here() {
    let homes = folders();
    let [ana, beto] = homes.each_ref().map(Node::up);
    let room = room_of(&ana, &[&beto]);
    say(&homes[0], &room, "bread before");
    let heard = || !found(beto.folder(), &["before"]).is_empty();
    assert!(wait_until(CONVERGE, heard), "a member finds what others said");
    ana.ayni(&["member", "remove", &room, beto.account_id()]).ok();
    let out = || beto.ayni(&["room", "show", &room, "--json"]).one()["standing"] == "removed";
    assert!(wait_until(CONVERGE, out));
    say(&homes[0], &room, "bread after");
    let shown = search(beto.folder(), &["bread", "--room", &room]);
    assert_eq!((shown.code, shown.stderr.lines().count()), (0, 1), "{shown:?}");
    assert!(shown.stderr.contains("you were removed from family"), "{}", shown.stderr);
    assert!(shown.stdout.contains("bread before") && !shown.stdout.contains("after"));
    let everywhere = search(beto.folder(), &["bread"]);
    assert_eq!((everywhere.code, everywhere.stderr.as_str()), (0, ""));
    assert!(everywhere.stdout.contains("bread before"), "{}", everywhere.stdout);
    assert_eq!(found(ana.folder(), &["bread"]).len(), 2);
}

/// Answers as a node would whose index is far behind, for as many connections as come.
fn serve_one_that_is_behind(listener: &TcpListener) {
    let id = "0a".repeat(32);
    let id = format!(r#"{{"peer_id":"{id}","account_id":"{id}","name":"Ana"}}"#);
    for tcp in listener.incoming() {
        let mut tcp: TcpStream = tcp.expect("a connection");
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && tcp.read_exact(&mut byte).is_ok() {
            head.push(byte[0]);
        }
        let asked = String::from_utf8_lossy(&head);
        let body =
            if asked.contains("/search?") { "{\"behind\":7}\n".to_owned() } else { id.clone() };
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n");
        let _ = tcp.write_all(format!("{head}\r\n{body}").as_bytes());
    }
}

#[test]
fn what_is_not_indexed_yet_is_told() {
    let folder = TempFolder::new();
    ayni(&folder, &["id"]).ok();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let http = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || serve_one_that_is_behind(&listener));
    let token = folder.join("token");
    std::fs::write(&token, "f".repeat(64)).expect("written");
    let address = serde_json::json!({
        "http": http, "pid": std::process::id(), "token_file": token.to_str(),
    });
    std::fs::write(folder.join("api.json"), address.to_string()).expect("written");
    for args in [&["search", "bread"][..], &["search", "bread", "--json"]] {
        let shown = ayni(&folder, args);
        assert_eq!((shown.code, shown.stdout.as_str()), (0, ""), "{shown:?}");
        assert_eq!(shown.stderr.lines().count(), 1, "{shown:?}");
        assert!(shown.stderr.contains("about 7 events not searched yet"), "{shown:?}");
    }
}

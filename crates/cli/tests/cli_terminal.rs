//! What a person at a terminal meets: questions, and the talk with its line editor.
//!
//! The terminal is a real one, made by `script` of util-linux, so these tests are for Linux.
#![cfg(target_os = "linux")]

mod support;

use support::talk::{folders, room_of};
use support::terminal::Terminal;
use support::{DEADLINE, Node, TempFolder, ayni, wait_until};

#[test]
fn leaving_asks_and_takes_no_for_an_answer() {
    let folder = TempFolder::new();
    ayni(&folder, &["room", "create", "family"]).ok();
    for answer in ["n\n", "\n", "what?\n"] {
        let mut terminal = Terminal::open(&folder, "leave family");
        terminal.wait_for("Leave family?");
        terminal.enter(answer);
        assert_eq!(terminal.end().code, 1, "{answer:?}");
        assert!(ayni(&folder, &["room", "list"]).ok().contains("family"));
    }
    let mut terminal = Terminal::open(&folder, "leave family");
    terminal.wait_for("[y/N]");
    terminal.enter("y\n");
    assert_eq!(terminal.end().code, 0);
    assert_eq!(ayni(&folder, &["room", "list"]).ok(), "");
}

#[test]
fn removing_asks_about_who_was_found() {
    let folder = TempFolder::new();
    ayni(&folder, &["room", "create", "family"]).ok();
    let mistyped = Terminal::open(&folder, "member remove family nobody");
    let output = mistyped.end();
    assert_eq!(output.code, 3);
    assert!(!output.stdout.contains("[y/N]"), "{}", output.stdout);
    let me = ayni(&folder, &["id", "--json"]).one();
    let account = me["account_id"].as_str().expect("an id");
    let mut terminal = Terminal::open(&folder, &format!("member remove family {}", &account[..8]));
    terminal.wait_for(&format!("({})", &account[..16]));
    terminal.wait_for("[y/N]");
    terminal.enter("n\n");
    assert_eq!(terminal.end().code, 1);
}

#[test]
fn yes_answers_before_the_question() {
    let folder = TempFolder::new();
    ayni(&folder, &["room", "create", "family"]).ok();
    let terminal = Terminal::open(&folder, "broadcast --yes hello");
    let output = terminal.end();
    assert_eq!(output.code, 0);
    assert!(!output.stdout.contains("[y/N]"), "{}", output.stdout);
}

#[test]
fn a_talk_shows_others_above_the_line_that_is_typed() {
    let folder = TempFolder::new();
    let _node = Node::up(&folder);
    ayni(&folder, &["room", "create", "family"]).ok();
    ayni(&folder, &["say", "family", "before"]).ok();
    let mut terminal = Terminal::open(&folder, "chat family");
    terminal.wait_for("before");
    terminal.wait_for("family> ");
    terminal.enter("half a line");
    terminal.wait_for("half a line");
    ayni(&folder, &["say", "family", "meanwhile \x1b[2J"]).ok();
    terminal.wait_for("meanwhile ␛[2J");
    assert!(!terminal.screen().contains("\x1b[2J"), "nobody clears another's screen");
    terminal.enter(" and the rest\r");
    let said = || ayni(&folder, &["log", "family"]).ok().contains(": half a line and the rest");
    assert!(wait_until(DEADLINE, said));
    terminal.enter("/members\r");
    terminal.wait_for("(you, founder");
    terminal.enter("/quit\r");
    assert_eq!(terminal.end().code, 0);
}

#[test]
fn a_talk_that_is_stopped_gives_the_terminal_back() {
    let folder = TempFolder::new();
    let node = Node::up(&folder);
    ayni(&folder, &["room", "create", "family"]).ok();
    // The shell that follows shows whether the terminal echoes what is typed, as before.
    let ayni_path = env!("CARGO_BIN_EXE_ayni");
    let mut terminal =
        Terminal::open(&folder, &format!("chat family; stty -a; {ayni_path} --version"));
    terminal.wait_for("family> ");
    terminal.enter("half a line");
    terminal.wait_for("half a line");
    node.stop();
    terminal.wait_for("the node stopped");
    terminal.wait_for(concat!("ayni ", env!("CARGO_PKG_VERSION")));
    let screen = terminal.screen();
    let modes = screen.split("the node stopped").nth(1).expect("after the end");
    for mode in ["icanon", "echo", "isig"] {
        assert!(modes.split_whitespace().any(|word| word == mode), "{mode} in {modes}");
    }
    assert_eq!(terminal.end().code, 0);
}

#[test]
fn a_fetch_shows_a_bar_on_a_terminal_and_nothing_of_the_kind_elsewhere() {
    let [ana_home, beto_home, work] = folders();
    let (ana, beto) = (Node::up(&ana_home), Node::up(&beto_home));
    room_of(&ana, &[&beto]);
    let path = work.join("notes\x1b[2J.txt");
    std::fs::write(&path, "from Ana").expect("written");
    let path = path.to_str().expect("a plain path");
    let sent = ayni(&ana_home, &["attach", "family", path, "--json"]).one();
    let event = sent["event"].as_str().expect("an id");
    let heard = || !ayni(&beto_home, &["files", "family", "--json"]).json().is_empty();
    assert!(wait_until(DEADLINE, heard));
    ana.stop();
    let target = work.join("got.txt");
    let fetch = format!("fetch family {event} -o {}", target.display());
    let terminal = Terminal::open(&beto_home, &fetch);
    terminal.wait_for("notes[2J.txt [");
    terminal.wait_for("0 B of 8 B (0 %), 0 B/s, 0 peers");
    let ana = Node::up(&ana_home);
    terminal.wait_for("got.txt");
    let output = terminal.end();
    assert_eq!(output.code, 0, "{}", output.stdout);
    let again = work.join("again.txt");
    let again = again.to_str().expect("a plain path");
    let silent = ayni(&beto_home, &["fetch", "family", event, "-o", again]);
    assert_eq!(silent.stderr, "");
    assert_eq!(silent.ok(), again);
    ana.stop();
}

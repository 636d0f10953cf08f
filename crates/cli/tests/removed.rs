//! Five people, as processes of their own. One is removed while it is away, and comes back.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use ayni_core::epoch::EpochSecret;
use ayni_core::id::{EpochId, RoomId};
use support::talk::{CONVERGE, agreed, agreed_count, folders, log, room_of, say, texts};
use support::{DEADLINE, Node, ayni, wait_until};

/// Returns all bytes of all files of a folder.
fn bytes_of(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            all.extend(bytes_of(&path));
        } else {
            all.extend(std::fs::read(&path).expect("readable"));
        }
    }
    all
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    let first = wanted.first().expect("something is looked for");
    let starts = bytes.iter().enumerate().filter(|(_, byte)| *byte == first);
    starts.into_iter().any(|(at, _)| bytes[at..].starts_with(wanted))
}

/// Returns the secrets of the room's epochs that a folder has. They stand behind their epoch's id in
/// the table of secrets, and only a secret gives its id, so wherever this holds is one.
fn secrets_of(folder: &Path, room: &str) -> BTreeSet<[u8; 32]> {
    let room: RoomId = room.parse().expect("a room id");
    let bytes = bytes_of(folder);
    let found = bytes.windows(64).filter_map(|window| {
        let (id, secret) = window.split_first_chunk::<32>()?;
        let secret: [u8; 32] = secret.try_into().ok()?;
        (EpochSecret::new(secret).id(room) == EpochId(*id)).then_some(secret)
    });
    found.collect()
}

/// Waits until all show the same number of members.
#[track_caller]
fn all_show(nodes: &[&Node], room: &str, members: usize) {
    for node in nodes {
        let count = || node.ayni(&["members", room, "--json"]).json().len();
        assert!(wait_until(CONVERGE, || count() == members), "{} members", count());
    }
}

#[test]
fn one_removed_while_away_neither_reads_nor_posts_nor_syncs() {
    let homes: [_; 5] = folders();
    let [ana, beto, carla, dora, eli] = homes.each_ref().map(Node::up);
    let eli_home = &homes[4];
    let room = room_of(&ana, &[&beto, &carla, &dora, &eli]);
    ana.ayni(&["member", "promote", &room, beto.account_id()]).ok();
    let may = || beto.ayni(&["room", "show", &room, "--json"]).one()["role"] == "admin";
    assert!(wait_until(CONVERGE, may));
    let ticket = carla.ayni(&["room", "invite", &room]).ok();
    say(eli_home, &room, "I was here");
    agreed_count(&[&ana, &beto, &carla, &dora, &eli], &room, 1);
    let eli_account = eli.account_id().to_owned();
    eli.stop();
    let before = secrets_of(carla.folder(), &room);
    assert!(!before.is_empty(), "there is a key");

    beto.ayni(&["member", "remove", &room, &eli_account, "--yes"]).ok();
    let others = [&ana, &beto, &carla, &dora];
    all_show(&others, &room, 4);
    let secret_words = ["nobody tells Eli about the boat", "nor about the island"];
    say(&homes[2], &room, secret_words[0]);
    say(&homes[3], &room, secret_words[1]);
    agreed_count(&others, &room, 3);

    // It does not know, so its own node takes what it says; nobody else ever does.
    say(eli_home, &room, "from the folder");
    let eli = Node::up(eli_home);
    let _ = eli.ayni(&["say", &room, "am I still here?"]);
    let removed = || {
        let listed = eli.ayni(&["room", "list", "--all", "--json"]).one();
        listed["standing"] == "removed"
    };
    assert!(wait_until(CONVERGE, removed), "it is told");
    let line = eli.ayni(&["say", &room, "and now?"]).fails(4);
    assert!(line.contains("you were removed"), "{line}");
    let line = eli.ayni(&["join", &ticket, "--wait", "30"]).fails(4);
    assert!(!line.is_empty(), "the ticket that it has is of no use");

    say(&homes[0], &room, "still without Eli");
    let lines = agreed(&others, &room, |lines| lines.len() >= 4);
    let mut said = texts(&lines);
    said.sort_unstable();
    let mut expected = vec!["I was here", "still without Eli"];
    expected.extend(secret_words);
    expected.sort_unstable();
    assert_eq!(said, expected, "nothing that Eli said since is shown by anyone");
    all_show(&others, &room, 4);

    let shown = eli.ayni(&["log", &room, "--json"]);
    assert_eq!((shown.code, shown.stderr.lines().count()), (0, 1), "{}", shown.stderr);
    let shown = shown.json();
    assert!(shown.iter().all(|line| line["author"] == eli_account.as_str()), "{shown:?}");
    assert!(shown.iter().any(|line| line["text"] == "I was here"), "what came before stays");
    eli.stop();

    let after = secrets_of(carla.folder(), &room);
    let fresh: Vec<_> = after.difference(&before).collect();
    assert!(!fresh.is_empty(), "the removal made a new key");
    let kept = bytes_of(eli_home);
    assert!(before.iter().all(|secret| has(&kept, secret)), "the search finds what is there");
    assert!(!fresh.into_iter().any(|secret| has(&kept, secret)), "a new key reached Eli");
    for words in secret_words {
        assert!(!has(&kept, words.as_bytes()), "{words:?} reached Eli");
    }
    // And again from the start: nothing comes later either.
    let eli = Node::up(eli_home);
    let first = |line: &support::talk::Line| line.text == "I was here";
    assert!(log(&homes[2], &room).iter().any(first));
    let line = eli.ayni(&["say", &room, "once more"]).fails(4);
    assert!(line.contains("you were removed"), "it was not forgotten: {line}");
    eli.stop();
}

#[test]
fn who_was_removed_while_it_was_there_is_shut_out_at_once() {
    let homes: [_; 3] = folders();
    let [ana, beto, carla] = homes.each_ref().map(Node::up);
    let room = room_of(&ana, &[&beto, &carla]);
    say(&homes[2], &room, "all three");
    agreed_count(&[&ana, &beto, &carla], &room, 1);
    ana.ayni(&["member", "remove", &room, carla.account_id()]).ok();
    all_show(&[&ana, &beto], &room, 2);
    // The very next words are for those who are left.
    say(&homes[0], &room, "two of us");
    agreed_count(&[&ana, &beto], &room, 2);
    all_show(&[&carla], &room, 2);
    let refused = || ayni(&homes[2], &["say", &room, "three?"]).code == 4;
    assert!(wait_until(DEADLINE, refused));
    carla.stop();
    let shown = ayni(&homes[2], &["log", &room, "--json"]).json();
    assert!(!shown.iter().any(|line| line["text"] == "two of us"), "{shown:?}");
    let fresh = secrets_of(beto.folder(), &room);
    let kept = bytes_of(&homes[2]);
    assert!(fresh.iter().any(|secret| !has(&kept, secret)), "a key that Carla has not");
}

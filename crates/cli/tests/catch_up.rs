//! Being away: what was said meanwhile arrives, from whoever has it.

mod support;

use support::talk::{CONVERGE, agreed_count, folders, log, room_of, say, size, texts};
use support::{Node, ayni, wait_until};

#[test]
fn a_member_away_gets_what_was_said() {
    let messages = size("AYNI_MESSAGES", 300);
    let [ana_home, ben_home] = folders();
    let (ana, ben) = (Node::up(&ana_home), Node::up(&ben_home));
    let room = room_of(&ana, &[&ben]);
    say(&ben_home, &room, "good night");
    agreed_count(&[&ana, &ben], &room, 1);
    ben.stop();

    let mut writer = support::talk::Writer::start(&ana, &room, "meanwhile", messages);
    writer.wait_acks(messages);
    writer.stop();
    let ben = Node::up(&ben_home);
    let unread = wait_until(CONVERGE, || {
        let rooms = ben.ayni(&["room", "list", "--json"]).one();
        rooms["unread"] == messages
    });
    assert!(unread, "everything that he missed counts as unread");
    let lines = agreed_count(&[&ana, &ben], &room, 1 + messages);
    assert_eq!(lines[1].text, "meanwhile 0");
    assert_eq!(ben.ayni(&["room", "list", "--json"]).one()["unread"], 0, "read by looking");
}

#[test]
fn both_restart_and_find_each_other_again() {
    let [ana_home, ben_home] = folders();
    let (ana, ben) = (Node::up(&ana_home), Node::up(&ben_home));
    let (ana_id, ben_id) = (ana.peer_id().to_owned(), ben.peer_id().to_owned());
    let room = room_of(&ana, &[&ben]);
    ana.stop();
    ben.stop();

    // What is said without a running node goes out at the next start.
    say(&ben_home, &room, "said to nobody");
    let (ana, ben) = (Node::up(&ana_home), Node::up(&ben_home));
    assert_eq!((ana.peer_id(), ben.peer_id()), (ana_id.as_str(), ben_id.as_str()));
    agreed_count(&[&ana, &ben], &room, 1);
    say(&ana_home, &room, "and heard");
    let lines = agreed_count(&[&ana, &ben], &room, 2);
    assert_eq!(texts(&lines), ["said to nobody", "and heard"]);
}

#[test]
fn a_third_passes_on_what_the_author_cannot() {
    let [ana_home, ben_home, eli_home] = folders();
    let (ana, ben, eli) = (Node::up(&ana_home), Node::up(&ben_home), Node::up(&eli_home));
    let room = room_of(&ana, &[&ben, &eli]);
    ben.stop();
    say(&ana_home, &room, "tell Ben");
    agreed_count(&[&ana, &eli], &room, 1);
    ana.stop();

    let ben = Node::up(&ben_home);
    let lines = agreed_count(&[&ben, &eli], &room, 1);
    assert_eq!(texts(&lines), ["tell Ben"]);
}

#[test]
fn a_machine_that_slept_recovers() {
    let [ana_home, ben_home] = folders();
    let (ana, mut ben) = (Node::up(&ana_home), Node::up(&ben_home));
    let room = room_of(&ana, &[&ben]);
    say(&ben_home, &room, "closing the lid");
    agreed_count(&[&ana, &ben], &room, 1);

    ben.process().signal("STOP");
    say(&ana_home, &room, "are you there?");
    // Long enough that the connection is given up.
    let noticed = wait_until(CONVERGE, || path_to(&ana, ben.peer_id()) == "none");
    ben.process().signal("CONT");
    assert!(noticed, "a silent peer is shown as not connected");
    agreed_count(&[&ana, &ben], &room, 2);
    say(&ben_home, &room, "back again");
    agreed_count(&[&ana, &ben], &room, 3);
}

#[test]
fn a_newcomer_to_a_long_conversation_gets_all_of_it() {
    let messages = 3 * size("AYNI_MESSAGES", 200);
    let [ana_home, ben_home] = folders();
    let ana = Node::up(&ana_home);
    let room = room_of(&ana, &[]);
    let mut writer = support::talk::Writer::start(&ana, &room, "history", messages);
    writer.wait_acks(messages);
    writer.stop();
    let ben = Node::up(&ben_home);
    support::talk::join(&ana, &ben, &room);
    // Joined means: the newest 200 are here at once.
    let newest = ayni(&ben_home, &["log", &room, "--limit", "200", "--json"]).json();
    assert_eq!(newest.len(), messages.min(200));
    assert_eq!(newest[newest.len() - 1]["text"], format!("history {}", messages - 1));
    agreed_count(&[&ana, &ben], &room, messages);
    ben.stop();
    assert_eq!(log(&ben_home, &room).len(), messages);
}

/// How `node` reaches a peer: `direct`, `relay` or `none`.
fn path_to(node: &Node, peer: &str) -> String {
    let peers = node.ayni(&["peers", "--json"]).json();
    let path = peers.iter().find(|line| line["peer_id"] == peer).map(|line| &line["path"]);
    path.and_then(|path| path.as_str()).unwrap_or("none").to_owned()
}

//! The founder is gone for good: the room belongs to its members.

mod support;

use std::collections::BTreeSet;

use support::talk::{agreed_count, folders, join, log, room_of, say, size, texts};
use support::{Node, TempFolder};

#[test]
fn the_others_go_on_and_a_fourth_gets_everything() {
    let messages = size("AYNI_MESSAGES", 30);
    let [ana_home, ben_home, eli_home, flor_home] = folders();
    let ana = Node::up(&ana_home);
    let (ben, eli) = (Node::up(&ben_home), Node::up(&eli_home));
    let room = room_of(&ana, &[&ben, &eli]);
    let before = say_in_turn(&[&ana_home, &ben_home, &eli_home], &room, "before", messages);
    agreed_count(&[&ana, &ben, &eli], &room, before);

    let founder = ana.account_id().to_owned();
    ana.kill9();
    drop(ana_home);

    let after = say_in_turn(&[&ben_home, &eli_home], &room, "after", messages);
    agreed_count(&[&ben, &eli], &room, before + after);

    // Ben is no founder and was himself invited.
    let flor = Node::up(&flor_home);
    join(&ben, &flor, &room);
    let lines = agreed_count(&[&ben, &eli, &flor], &room, before + after);
    assert_eq!(
        lines.iter().filter(|line| line.author == founder).count(),
        messages.div_ceil(3),
        "what the founder said is still there"
    );
    let last = say(&flor_home, &room, "I have read it all");
    let lines = agreed_count(&[&ben, &eli, &flor], &room, before + after + 1);
    assert_eq!(lines.last().map(|line| &line.event), Some(&last.event));
    for node in [&ben, &eli, &flor] {
        assert_eq!(members(node, &room).len(), 4, "the founder stays a member, though away");
        assert_eq!(members(node, &room), members(&ben, &room));
    }

    // Nor does it need Ben, who let Flor in.
    ben.stop();
    say(&eli_home, &room, "only two of us");
    agreed_count(&[&eli, &flor], &room, before + after + 2);
}

#[test]
fn a_member_who_never_met_another_finds_it_without_the_founder() {
    let [ana_home, ben_home, eli_home] = folders();
    let ana = Node::up(&ana_home);
    let ben = Node::up(&ben_home);
    let room = room_of(&ana, &[&ben]);
    // Eli joins while Ben is away: the two know of each other through Ana alone.
    ben.stop();
    let eli = Node::up(&eli_home);
    join(&ana, &eli, &room);
    say(&eli_home, &room, "hello from Eli");
    agreed_count(&[&ana, &eli], &room, 1);
    let ben = Node::up(&ben_home);
    agreed_count(&[&ana, &ben, &eli], &room, 1);
    ana.kill9();
    drop(ana_home);
    say(&ben_home, &room, "hello from Ben");
    let lines = agreed_count(&[&ben, &eli], &room, 2);
    assert_eq!(texts(&lines), ["hello from Eli", "hello from Ben"]);
    ben.stop();
    eli.stop();
    assert_eq!(log(&ben_home, &room), log(&eli_home, &room));
}

/// Lets the folders' owners take turns until `count` things are said; returns `count`.
fn say_in_turn(homes: &[&TempFolder], room: &str, prefix: &str, count: usize) -> usize {
    for number in 0..count {
        say(homes[number % homes.len()], room, &format!("{prefix} {number}"));
    }
    count
}

/// Account ids of a room's members.
fn members(node: &Node, room: &str) -> BTreeSet<String> {
    let members = node.ayni(&["members", room, "--json"]).json();
    members
        .iter()
        .map(|member| member["account_id"].as_str().expect("an account id").to_owned())
        .collect()
}

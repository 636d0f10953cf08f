//! The command line's contract between members: roles, removals, settings and invitations, and what
//! someone who may not is told.

mod support;

use serde_json::Value;
use support::talk::{folders, join, room_of};
use support::{DEADLINE, Node, Process, TempFolder, ayni, wait_until};

/// Nodes in the room `family`: Ana its founder, Beto and Carla members.
struct Family {
    ana: Node,
    beto: Node,
    carla: Node,
    room: String,
    _folders: [TempFolder; 3],
}

impl Family {
    #[track_caller]
    fn new() -> Self {
        let folders = folders();
        let [ana, beto, carla] = folders.each_ref().map(Node::up);
        for (node, name) in [(&ana, "Ana"), (&beto, "Beto"), (&carla, "Carla")] {
            node.ayni(&["name", name]).ok();
        }
        let room = room_of(&ana, &[&beto, &carla]);
        let family = Self { ana, beto, carla, room, _folders: folders };
        for node in family.nodes() {
            for name in ["Ana", "Beto", "Carla"] {
                let known = || members(node).iter().any(|member| member["name"] == name);
                assert!(wait_until(DEADLINE, known), "{name} is not known");
            }
        }
        family
    }

    fn nodes(&self) -> [&Node; 3] {
        [&self.ana, &self.beto, &self.carla]
    }

    /// Makes someone an admin, and waits until all know.
    #[track_caller]
    fn promoted(&self, by: &Node, who: &Node) {
        by.ayni(&["member", "promote", "family", who.account_id()]).ok();
        all_show(&self.nodes(), who, Some("admin"));
    }
}

#[track_caller]
fn members(node: &Node) -> Vec<Value> {
    node.ayni(&["members", "family", "--json"]).json()
}

/// Waits until these show that someone has a role, or is no member.
#[track_caller]
fn all_show(nodes: &[&Node], who: &Node, role: Option<&str>) {
    for node in nodes {
        let shown = || role_of(node, who.account_id()).as_deref() == role;
        assert!(wait_until(DEADLINE, shown), "{role:?} is not shown: {:?}", members(node));
    }
}

fn role_of(node: &Node, account: &str) -> Option<String> {
    let member = members(node).into_iter().find(|member| member["account_id"] == account)?;
    Some(member["role"].as_str().expect("a role").to_owned())
}

#[test]
fn a_role_is_raised_and_lowered_a_step_at_a_time() {
    let family = Family::new();
    let (ana, beto) = (&family.ana, &family.beto);
    let told = ana.ayni(&["member", "promote", "family", "Beto"]).ok();
    assert!(told.starts_with("Beto (") && told.ends_with("is an admin now"), "{told}");
    all_show(&family.nodes(), beto, Some("admin"));
    let shown = ana.ayni(&["members", "family"]).ok();
    assert!(shown.contains("Beto  (admin, online)"), "{shown}");
    let line = ana.ayni(&["member", "promote", "family", "Beto"]).fails(2);
    assert!(line.contains("--to founder"), "{line}");
    let same = ana.ayni(&["member", "promote", "family", "Beto", "--to", "admin", "--json"]).one();
    assert_eq!(same["role"], "admin", "what is so already is no failure");

    for role in ["member", "reader"] {
        let lowered = ana.ayni(&["member", "demote", "family", "Beto", "--json"]).one();
        assert_eq!(lowered["role"], role);
        assert_eq!(lowered["account_id"], beto.account_id());
        all_show(&family.nodes(), beto, Some(role));
    }
    ana.ayni(&["member", "demote", "family", "Beto"]).fails(2);
    let line = beto.ayni(&["say", "family", "may I?"]).fails(4);
    assert!(line.contains("reader") && line.contains("Ana (founder)"), "{line}");
    beto.ayni(&["room", "invite", "family"]).fails(4);
    ana.ayni(&["member", "promote", "family", "Beto"]).ok();
    all_show(&family.nodes(), beto, Some("member"));
    beto.ayni(&["say", "family", "again"]).ok();
    ana.ayni(&["member", "promote", "family", "Beto", "--to", "founder"]).ok();
    all_show(&family.nodes(), beto, Some("founder"));
}

#[test]
fn what_a_role_does_not_permit_is_4_and_names_who_could() {
    let family = Family::new();
    let (ana, beto, carla) = (&family.ana, &family.beto, &family.carla);
    for args in [
        &["member", "promote", "family", "Carla"][..],
        &["member", "demote", "family", "Carla"],
        &["member", "remove", "family", "Carla"],
        &["room", "set", "family", "topic", "mine"],
    ] {
        let line = beto.ayni(args).fails(4);
        assert!(line.contains("Ana (founder)"), "{args:?}: {line}");
    }
    let ticket = ana.ayni(&["room", "invite", "family", "--json"]).one();
    let invite = ticket["invite"].as_str().expect("an id");
    let listed = || beto.ayni(&["invite", "list", "family"]).ok().contains(&invite[..16]);
    assert!(wait_until(DEADLINE, listed));
    let line = beto.ayni(&["invite", "revoke", "family", invite]).fails(4);
    assert!(line.contains("Ana (founder)"), "{line}");

    family.promoted(ana, beto);
    family.promoted(ana, carla);
    for args in [
        &["member", "remove", "family", "Carla"][..],
        &["member", "demote", "family", "Carla"],
        &["member", "promote", "family", "Carla", "--to", "founder"],
    ] {
        let line = beto.ayni(args).fails(4);
        assert!(line.contains("Ana (founder)"), "{args:?}: {line}");
    }
    for word in ["remove", "demote"] {
        let line = beto.ayni(&["member", word, "family", "Ana"]).fails(4);
        assert!(line.contains("Ana founded family"), "{line}");
    }
    beto.ayni(&["member", "remove", "family", "Beto"]).fails(2);
    beto.ayni(&["member", "demote", "family", "Beto"]).fails(4);
    beto.ayni(&["invite", "revoke", "family", invite]).ok();
    all_show(&family.nodes(), carla, Some("admin"));
}

#[test]
fn a_name_that_two_members_have_is_2_with_their_ids() {
    let family = Family::new();
    let (ana, beto, carla) = (&family.ana, &family.beto, &family.carla);
    carla.ayni(&["name", "Beto"]).ok();
    let both = || members(ana).iter().filter(|member| member["name"] == "Beto").count() == 2;
    assert!(wait_until(DEADLINE, both));
    let line = ana.ayni(&["member", "remove", "family", "Beto", "--yes"]).fails(2);
    for node in [beto, carla] {
        assert!(line.contains(&node.account_id()[..16]), "{line}");
    }
    ana.ayni(&["member", "remove", "family", "Bet"]).fails(3);
    ana.ayni(&["member", "remove", "family", &carla.account_id()[..12]]).ok();
    all_show(&[ana, beto], carla, None);
    assert_eq!(role_of(ana, beto.account_id()).as_deref(), Some("member"));
    // Who is out has no name any more, so the one who is in can be named.
    ana.ayni(&["member", "promote", "family", "Beto"]).ok();
    all_show(&[ana, beto], beto, Some("admin"));
}

#[test]
fn who_was_removed_is_told_and_can_be_let_in_again() {
    let family = Family::new();
    let (ana, beto, carla) = (&family.ana, &family.beto, &family.carla);
    ana.ayni(&["say", "family", "for all"]).ok();
    let heard = || carla.ayni(&["log", "family"]).ok().contains("Ana: for all");
    assert!(wait_until(DEADLINE, heard));
    let follow = Process::start(carla.folder(), &["log", "family", "--follow"]);
    let told = ana.ayni(&["member", "remove", "family", "Carla"]).ok();
    assert!(told.starts_with("removed Carla ("), "{told}");
    all_show(&[ana, beto], carla, None);
    let line = ana.ayni(&["member", "remove", "family", "Carla"]).fails(3);
    assert!(line.contains("Carla is no member of family"), "{line}");
    let line = ana.ayni(&["member", "promote", "family", "Carla"]).fails(2);
    assert!(line.contains("--to member"), "{line}");
    ana.ayni(&["member", "demote", "family", "Carla"]).fails(2);
    ana.ayni(&["say", "family", "not for Carla"]).ok();

    all_show(&[carla], carla, None);
    let line = carla.ayni(&["say", "family", "hello?"]).fails(4);
    assert!(line.contains("you were removed from family"), "{line}");
    let followed = || follow.stderr().contains("you were removed from family");
    assert!(wait_until(DEADLINE, followed), "{:?}", follow.stderr());
    assert_eq!(follow.stop().code, 0);
    for args in
        [&["log", "family"][..], &["members", "family", "--json"], &["room", "show", "family"]]
    {
        let shown = carla.ayni(args);
        assert_eq!((shown.code, shown.stderr.lines().count()), (0, 1), "{args:?} {shown:?}");
        assert!(shown.stderr.contains("you were removed from family"), "{}", shown.stderr);
        assert!(!shown.stdout.is_empty() && !shown.stdout.contains("not for"), "{}", shown.stdout);
    }
    let all = carla.ayni(&["room", "list", "--all", "--json"]).one();
    assert_eq!(all["standing"], "removed");
    carla.ayni(&["leave", "family"]).fails(4);

    let back =
        ana.ayni(&["member", "promote", "family", "Carla", "--to", "member", "--json"]).one();
    assert_eq!(back["role"], "member");
    all_show(&family.nodes(), carla, Some("member"));
    carla.ayni(&["say", "family", "here again"]).ok();
    let heard = || beto.ayni(&["log", "family"]).ok().contains("Carla: here again");
    assert!(wait_until(DEADLINE, heard));
}

#[test]
fn a_revoked_or_readers_invitation_does_what_it_says() {
    let family = Family::new();
    let (ana, beto) = (&family.ana, &family.beto);
    let made = ana.ayni(&["room", "invite", "family", "--role", "reader", "--json"]).one();
    let ticket = made["ticket"].as_str().expect("a ticket");
    let guest = TempFolder::new();
    ayni(&guest, &["join", ticket]).ok();
    let shown = ayni(&guest, &["room", "show", "family", "--json"]).one();
    assert_eq!(shown["role"], "reader");
    ayni(&guest, &["say", "family", "hello"]).fails(4);

    let used = || {
        let listed = ana.ayni(&["invite", "list", "family", "--json"]).json();
        listed.iter().any(|one| one["invite"] == made["invite"] && one["used"] == 1)
    };
    assert!(wait_until(DEADLINE, used));
    let told = ana.ayni(&["invite", "revoke", "family", ticket]).ok();
    assert!(told.contains("the one who joined with it stays"), "{told}");
    let closed = || {
        let listed = beto.ayni(&["invite", "list", "family", "--json"]).json();
        listed.iter().any(|one| one["invite"] == made["invite"] && one["open"] == false)
    };
    assert!(wait_until(DEADLINE, closed));
    let late = TempFolder::new();
    let line = ayni(&late, &["join", ticket]).fails(4);
    assert!(!line.is_empty(), "{line}");
    assert_eq!(members(ana).len(), 4);
}

#[test]
fn settings_are_kept_to_and_shown_by_all() {
    let family = Family::new();
    let (ana, beto) = (&family.ana, &family.beto);
    let show = |node: &Node| node.ayni(&["room", "show", &family.room, "--json"]).one();
    for (key, value) in [("who-posts", "admin"), ("who-invites", "founder"), ("name", "kin")] {
        ana.ayni(&["room", "set", &family.room, key, value]).ok();
        for node in family.nodes() {
            let same = || show(node)[key.replace('-', "_")] == value;
            assert!(wait_until(DEADLINE, same), "{key}: {}", show(node));
        }
    }
    let line = beto.ayni(&["say", "kin", "may I?"]).fails(4);
    assert!(line.contains("only admins and founders write"), "{line}");
    assert!(line.contains("Ana (founder)"), "{line}");
    let line = beto.ayni(&["room", "invite", "kin"]).fails(4);
    assert!(line.contains("only founders invite"), "{line}");
    ana.ayni(&["say", "kin", "I may"]).ok();
}

#[test]
fn in_a_conversation_of_two_nobody_is_removed() {
    let family = Family::new();
    let (ana, beto) = (&family.ana, &family.beto);
    let sent = ana.ayni(&["dm", "Beto", "psst", "--json"]).one();
    let room = sent["room"].as_str().expect("an id");
    let line = ana.ayni(&["member", "remove", room, beto.account_id()]).fails(4);
    assert!(line.contains("conversation of two"), "{line}");
    ana.ayni(&["member", "demote", room, beto.account_id()]).fails(4);
    assert_eq!(ana.ayni(&["room", "show", room, "--json"]).one()["kind"], "direct");
}

#[test]
fn following_says_when_one_leaves() {
    let family = Family::new();
    let mut follow = Process::start(family.beto.folder(), &["log", "family", "--follow"]);
    family.ana.ayni(&["say", "family", "first"]).ok();
    while !follow.line(DEADLINE).expect("it goes on").contains("first") {}
    family.beto.ayni(&["leave", "family"]).ok();
    let told = || follow.stderr().contains("you left family");
    assert!(wait_until(DEADLINE, told), "{:?}", follow.stderr());
    assert_eq!(follow.stop().code, 0);
    join(&family.ana, &family.beto, &family.room);
}

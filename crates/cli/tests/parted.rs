//! Two admins beside each other act without hearing of each other, as processes of their own. Who is
//! down is parted from the rest, and everyone meets again afterwards.

mod support;

use std::collections::BTreeMap;

use support::talk::{CONVERGE, agreed, folders, log, room_of, say, texts};
use support::{Node, TempFolder, ayni, wait_until};

/// A founder, two admins beside each other, and two members, all down.
struct Family {
    homes: [TempFolder; 5],
    accounts: Vec<String>,
    room: String,
}

const F: usize = 0;
const A: usize = 1;
const B: usize = 2;
const M: usize = 3;
const N: usize = 4;

impl Family {
    #[track_caller]
    fn new() -> Self {
        let homes: [_; 5] = folders();
        let nodes = homes.each_ref().map(Node::up);
        let room = room_of(&nodes[F], &nodes[A..].iter().collect::<Vec<_>>());
        let accounts: Vec<String> = nodes.iter().map(|node| node.account_id().to_owned()).collect();
        for admin in [A, B] {
            nodes[F].ayni(&["member", "promote", &room, &accounts[admin]]).ok();
        }
        let family = Self { homes, accounts, room };
        let roles = [(F, "founder"), (A, "admin"), (B, "admin"), (M, "member"), (N, "member")];
        family.all_show(&[F, A, B, M, N], &roles);
        for node in nodes {
            node.stop();
        }
        family
    }

    fn up(&self, who: usize) -> Node {
        Node::up(&self.homes[who])
    }

    /// Runs a command about a member, with or without a running node.
    fn member(&self, who: usize, word: &str, whom: usize) -> support::Output {
        ayni(&self.homes[who], &["member", word, &self.room, &self.accounts[whom]])
    }

    /// Says something; returns it.
    fn says(&self, who: usize, text: &'static str) -> &'static str {
        say(&self.homes[who], &self.room, text);
        text
    }

    /// Who is a member, and what each may do, as one of them shows it.
    fn shown(&self, who: usize) -> BTreeMap<String, String> {
        let members = ayni(&self.homes[who], &["members", &self.room, "--json"]).json();
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        members.iter().map(|it| (text(&it["account_id"]), text(&it["role"]))).collect()
    }

    /// Waits until all of these show the same members.
    #[track_caller]
    fn all_show(&self, who: &[usize], roles: &[(usize, &str)]) {
        let expected: BTreeMap<String, String> =
            roles.iter().map(|(who, role)| (self.accounts[*who].clone(), (*role).into())).collect();
        for one in who {
            let same = wait_until(CONVERGE, || self.shown(*one) == expected);
            assert!(same, "{one} shows {:?} instead of {expected:?}", self.shown(*one));
        }
    }
}

/// What everyone shows after the founder removed B.
const WITHOUT_B: [(usize, &str); 4] = [(F, "founder"), (A, "admin"), (M, "member"), (N, "member")];

#[test]
fn the_founder_with_one_of_them_removes_the_other() {
    let family = Family::new();
    // One side: the founder, A and M.
    let one_side = [F, A, M].map(|who| family.up(who));
    let line = family.member(A, "remove", B).fails(4);
    assert!(line.contains("beside you"), "{line}");
    family.member(F, "remove", B).ok();
    family.all_show(&[F, A, M], &WITHOUT_B);
    let kept = [family.says(A, "B is out"), family.says(M, "I stay")];
    agreed(&one_side.each_ref(), &family.room, |lines| lines.len() == 2);
    one_side.into_iter().for_each(Node::stop);

    // The other: B and N, who have not heard.
    let other_side = [B, N].map(|who| family.up(who));
    let line = family.member(B, "remove", A).fails(4);
    assert!(line.contains("beside you"), "{line}");
    family.member(B, "remove", M).ok();
    family.member(B, "promote", N).ok();
    let by_b = [(F, "founder"), (A, "admin"), (B, "admin"), (N, "admin")];
    family.all_show(&[B, N], &by_b);
    family.says(B, "M is out");
    family.says(N, "so be it");
    agreed(&other_side.each_ref(), &family.room, |lines| lines.len() == 2);
    other_side.into_iter().for_each(Node::stop);

    let nodes = [F, A, B, M, N].map(|who| family.up(who));
    family.all_show(&[F, A, M, N], &WITHOUT_B);
    let inside = [&nodes[F], &nodes[A], &nodes[M], &nodes[N]];
    let lines = agreed(&inside, &family.room, |lines| lines.len() >= 3);
    let mut said = texts(&lines);
    said.sort_unstable();
    let mut expected = [&kept[..], &["so be it"]].concat();
    expected.sort_unstable();
    assert_eq!(said, expected, "what B said after its removal is nowhere; N's words are");
    let told = || !family.shown(B).contains_key(&family.accounts[B]);
    assert!(wait_until(CONVERGE, told), "B is told");
    ayni(&family.homes[B], &["say", &family.room, "still here"]).fails(4);
}

#[test]
fn the_founder_alone_removes_one_of_them() {
    let family = Family::new();
    // Everyone for itself: each works on its own folder.
    family.member(A, "remove", B).fails(4);
    family.member(B, "remove", A).fails(4);
    family.member(A, "remove", N).ok();
    family.member(B, "promote", M).ok();
    family.member(F, "remove", B).ok();
    family.says(B, "by B, at once");
    family.says(F, "by F, at once");

    let nodes = [F, A, B, M].map(|who| family.up(who));
    // B's grant lies beyond its end, A's removal does not.
    let expected = [(F, "founder"), (A, "admin"), (M, "member")];
    family.all_show(&[F, A, M], &expected);
    let inside = [&nodes[F], &nodes[A], &nodes[M]];
    let lines = agreed(&inside, &family.room, |lines| !lines.is_empty());
    assert_eq!(texts(&lines), ["by F, at once"]);
    // N comes last, and hears of it all.
    let _n = family.up(N);
    let told = || !family.shown(N).contains_key(&family.accounts[N]);
    assert!(wait_until(CONVERGE, told), "N is told");
    family.all_show(&[F, A, M], &expected);
    assert_eq!(texts(&log(&family.homes[A], &family.room)), ["by F, at once"]);
}

#[test]
fn a_removal_and_a_lift_beside_it_leave_the_lifted_one_in() {
    let family = Family::new();
    family.member(A, "remove", M).ok();
    family.member(B, "promote", M).ok();
    let nodes = [F, A, B, M, N].map(|who| family.up(who));
    // A may not remove an admin that is not below it, and M is one.
    let lifted = [(F, "founder"), (A, "admin"), (B, "admin"), (M, "admin"), (N, "member")];
    family.all_show(&[F, A, B, M, N], &lifted);
    family.says(M, "I am in");
    agreed(&nodes.each_ref(), &family.room, |lines| lines.len() == 1);
    family.member(A, "remove", M).fails(4);
    family.member(F, "remove", M).ok();
    let without = [(F, "founder"), (A, "admin"), (B, "admin"), (N, "member")];
    family.all_show(&[F, A, B, N, M], &without);
}

//! Roles, removals and settings between real nodes on 127.0.0.1.

use std::time::Duration;

use ayni::{
    AccountId, ErrorKind, History, InviteOptions, MessageKind, MessageQuery, Network, Node, Role,
    RoomId, RoomKind, Setting, Who,
};
use tempfile::TempDir;

/// Far beyond what it takes.
const DEADLINE: Duration = Duration::from_mins(1);

struct Home {
    node: Option<Node>,
    folder: TempDir,
}

impl Home {
    async fn new() -> Self {
        let mut home = Self { node: None, folder: tempfile::tempdir().expect("a folder") };
        home.start().await;
        home
    }

    async fn start(&mut self) {
        let builder = Node::builder().data(self.folder.path()).network(Network::Loopback);
        self.node = Some(builder.start().await.expect("starts"));
    }

    async fn stop(&mut self) {
        if let Some(node) = self.node.take() {
            node.shutdown().await;
        }
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("runs")
    }

    fn account(&self) -> AccountId {
        self.node().identity().account
    }

    async fn texts(&self, room: RoomId) -> Vec<String> {
        let query = MessageQuery { limit: 500, before: None };
        let page = self.node().messages(room, query).await.expect("reads");
        let readable = page.messages.into_iter().filter(|it| it.kind == MessageKind::Message);
        readable.map(|message| message.text).collect()
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waited).await.unwrap_or_else(|_| panic!("not: {what}"));
}

async fn all_show(homes: &[&Home], room: RoomId, text: &str) {
    for home in homes {
        until(text, async || home.texts(room).await.iter().any(|shown| shown == text)).await;
    }
}

/// Whether any file of a folder has these bytes.
fn has_bytes(folder: &std::path::Path, wanted: &[u8]) -> bool {
    std::fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("there").path();
        if path.is_dir() {
            return has_bytes(&path, wanted);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(wanted.len()).any(|window| window == wanted)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_removed_while_away_can_neither_read_nor_post_nor_come_back() {
    let mut homes = Vec::new();
    for _ in 0..5 {
        homes.push(Home::new().await);
    }
    let room = homes[0].node().create_room("five").await.expect("creates").room;
    let ticket = homes[0].node().invite(room, InviteOptions::default()).await.expect("invites");
    for home in &homes[1..] {
        home.node().join(&ticket, DEADLINE).await.expect("joins");
    }
    homes[4].node().say(room, "I am here").await.expect("says");
    all_show(&homes.iter().collect::<Vec<_>>(), room, "I am here").await;

    let removed = homes[4].account();
    homes[4].stop().await;
    let refused = homes[1].node().remove_member(room, removed).await.expect_err("a member");
    assert_eq!(refused.kind(), ErrorKind::Denied);
    homes[0].node().set_role(room, homes[1].account(), Role::Admin).await.expect("a founder");
    let promoted = |home: &Home| home.node().room(room).expect("here").role == Some(Role::Admin);
    until("promoted", async || promoted(&homes[1])).await;
    homes[1].node().remove_member(room, removed).await.expect("an admin");
    let count = |home: &Home| home.node().members(room).expect("here").len();
    for home in &homes[..4] {
        until("removed", async || count(home) == 4).await;
    }
    let secret = "what the fifth must not read";
    homes[2].node().say(room, secret).await.expect("says");
    all_show(&homes[..4].iter().collect::<Vec<_>>(), room, secret).await;

    homes[4].start().await;
    let _ = homes[4].node().say(room, "am I still here?").await;
    homes[0].node().say(room, "not for it either").await.expect("says");
    all_show(&homes[1..4].iter().collect::<Vec<_>>(), room, "not for it either").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(homes[4].texts(room).await.iter().filter(|it| *it == secret).count(), 0);
    for home in &homes[..4] {
        assert!(!home.texts(room).await.iter().any(|text| text == "am I still here?"));
        assert_eq!(count(home), 4);
    }
    // It was told, and knows who is who.
    until("it is told", async || homes[4].node().room(room).expect("here").removed).await;
    let info = homes[4].node().room(room).expect("here");
    assert!(!info.joined && info.role.is_none());
    let refused = homes[4].node().say(room, "and now?").await.expect_err("removed");
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(homes[4].texts(room).await.contains(&"I am here".to_owned()), "its past stays");
    // Nor by the ticket that it has.
    let _ = homes[4].node().join(&ticket, Duration::from_secs(5)).await;
    for home in &homes[..4] {
        assert_eq!(count(home), 4);
    }
    homes[4].stop().await;
    assert!(!has_bytes(homes[4].folder.path(), secret.as_bytes()));
    for home in &mut homes {
        home.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_invites_are_kept_to_by_all() {
    let (mut a, mut b) = (Home::new().await, Home::new().await);
    let room = a.node().create_room("plain").await.expect("creates").room;
    let ticket = a.node().invite(room, InviteOptions::default()).await.expect("invites");
    b.node().join(&ticket, DEADLINE).await.expect("joins");
    let denied = b.node().set_room(room, Setting::Name("mine".into())).await.expect_err("a member");
    assert_eq!(denied.kind(), ErrorKind::Denied);
    a.node().set_room(room, Setting::Topic("all sorts".into())).await.expect("a founder");
    a.node().set_room(room, Setting::WhoInvites(Role::Admin)).await.expect("a founder");
    a.node().set_room(room, Setting::WhoPosts(Role::Admin)).await.expect("a founder");
    until("the topic", async || b.node().room(room).expect("here").topic == "all sorts").await;
    until("who posts", async || b.node().say(room, "may I?").await.is_err()).await;
    let denied = b.node().invite(room, InviteOptions::default()).await.expect_err("a member");
    assert_eq!(denied.kind(), ErrorKind::Denied);

    let invites = a.node().invites(room).expect("here");
    assert_eq!((invites.len(), invites[0].used, invites[0].open), (1, 1, true));
    a.node().revoke_invite(room, invites[0].invite).await.expect("its own");
    assert!(!a.node().invites(room).expect("here")[0].open);
    let mut late = Home::new().await;
    let refused = late.node().join(&ticket, DEADLINE).await.expect_err("revoked");
    assert_eq!(refused.kind(), ErrorKind::Denied);
    for home in [&mut a, &mut b, &mut late] {
        home.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_posted_in_ignorance_of_who_may_post_is_shown_by_nobody() {
    let (mut a, mut b) = (Home::new().await, Home::new().await);
    let room = a.node().create_room("plain").await.expect("creates").room;
    let ticket = a.node().invite(room, InviteOptions::default()).await.expect("invites");
    b.node().join(&ticket, DEADLINE).await.expect("joins");
    b.node().say(room, "before").await.expect("says");
    all_show(&[&a], room, "before").await;
    b.stop().await;
    a.node().set_room(room, Setting::WhoPosts(Role::Admin)).await.expect("a founder");
    let builder = Node::builder().data(b.folder.path()).network(Network::Loopback).offline(true);
    b.node = Some(builder.start().await.expect("starts"));
    b.node().say(room, "I have not heard").await.expect("as far as is known here");
    b.stop().await;
    b.start().await;
    a.node().say(room, "after").await.expect("says");
    all_show(&[&a, &b], room, "after").await;
    let held = async |home: &Home| home.node().status().await.expect("reads").events;
    until("both hold the same", async || held(&a).await == held(&b).await).await;
    for home in [&a, &b] {
        assert_eq!(home.texts(room).await, ["before", "after"], "and a page is whole");
        let query = MessageQuery { limit: 2, before: None };
        let page = home.node().messages(room, query).await.expect("reads");
        assert_eq!(page.messages.len(), 2, "what is hidden takes no place");
    }
    for home in [&mut a, &mut b] {
        home.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_ones_own_keeps_notes() {
    let mut me = Home::new().await;
    let own = me.node().direct_room(Who::Account(me.account())).await.expect("made");
    assert_eq!(own.kind, RoomKind::Own);
    let again = me.node().direct_room(Who::Peer(me.node().identity().peer)).await.expect("here");
    assert_eq!(again.room, own.room);
    me.node().say(own.room, "buy bread").await.expect("says");
    let nobody = me.node().invite(own.room, InviteOptions::default()).await.expect_err("its own");
    assert_eq!(nobody.kind(), ErrorKind::Invalid);
    me.stop().await;
    me.start().await;
    assert_eq!(me.texts(own.room).await, ["buy bread"]);
    assert_eq!(me.node().find_room(&own.name).expect("by its name"), own.room);
    me.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_shows_room_and_inviter_before_anyone_joins() {
    let (mut a, mut b, mut late) = (Home::new().await, Home::new().await, Home::new().await);
    a.node().set_name("Ana").await.expect("set");
    let room = a.node().create_room("plaza").await.expect("creates").room;
    a.node().set_room(room, Setting::Topic("all sorts".into())).await.expect("a founder");
    let ticket = a.node().invite(room, InviteOptions::default()).await.expect("invites");
    b.node().join(&ticket, DEADLINE).await.expect("joins");
    // Any member tells, also while the inviter is away.
    let options = InviteOptions { role: Role::Reader, ..InviteOptions::default() };
    let of_b = b.node().invite(room, options).await.expect("invites");
    let second = async || a.node().invite(room, InviteOptions::default()).await.expect("invites");
    let mut of_a = second().await;
    until("b's address is known", async || {
        of_a = second().await;
        of_a.members.len() == 2
    })
    .await;
    until("b heard of it", async || {
        let invites = b.node().invites(room).expect("here");
        invites.iter().any(|invite| invite.invite == of_a.secret().key())
    })
    .await;
    a.stop().await;
    let told = late.node().look(&of_b, DEADLINE).await.expect("told");
    assert_eq!((told.room, told.name.as_str(), told.topic.as_str()), (room, "plaza", "all sorts"));
    assert_eq!((told.inviter, told.members, told.role), (b.account(), 2, Role::Reader));
    let of_a = late.node().look(&of_a, DEADLINE).await.expect("told by the other member");
    assert_eq!(of_a.inviter_name, "Ana");
    assert!(late.node().rooms().is_empty(), "nothing was joined");
    assert_eq!(b.node().members(room).expect("here").len(), 2);

    let invite =
        b.node().invites(room).expect("here").into_iter().find(|it| it.inviter == b.account());
    b.node().revoke_invite(room, invite.expect("its own").invite).await.expect("its own");
    let refused = late.node().look(&of_b, DEADLINE).await.expect_err("revoked");
    assert_eq!(refused.kind(), ErrorKind::Denied);
    b.stop().await;
    let nobody = late.node().look(&ticket, Duration::from_secs(1)).await.expect_err("all are away");
    assert_eq!(nobody.kind(), ErrorKind::Unreachable);
    late.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_away_across_rotations_reads_all_from_whoever_is_there() {
    for history in [History::FromStart, History::FromJoining] {
        let mut homes = Vec::new();
        for _ in 0..6 {
            homes.push(Home::new().await);
        }
        let (founder, away, stays) = (0, 1, 2);
        let room = homes[founder].node().create_room("keys").await.expect("creates").room;
        homes[founder].node().set_room(room, Setting::History(history)).await.expect("a founder");
        homes[founder].node().say(room, "before anyone came").await.expect("says");
        let invited = homes[founder].node().invite(room, InviteOptions::default()).await;
        let ticket = invited.expect("invites");
        for home in &homes[1..] {
            home.node().join(&ticket, DEADLINE).await.expect("joins");
        }
        homes[founder].node().say(room, "all are here").await.expect("says");
        all_show(&homes.iter().collect::<Vec<_>>(), room, "all are here").await;
        let past = homes[away].texts(room).await.iter().any(|text| text == "before anyone came");
        assert_eq!(past, history == History::FromStart);

        homes[away].stop().await;
        let mut said = Vec::new();
        for nth in 3..homes.len() {
            // Each removal brings another key.
            let removed = homes[nth].account();
            homes[nth].stop().await;
            homes[founder].node().remove_member(room, removed).await.expect("a founder");
            said.push(format!("after removal {nth}"));
            homes[founder].node().say(room, said.last().expect("one")).await.expect("says");
            all_show(&[&homes[stays]], room, said.last().expect("one")).await;
        }
        homes[founder].stop().await;
        homes[away].start().await;
        for text in &said {
            all_show(&[&homes[away]], room, text).await;
        }
        homes[away].node().say(room, "I am back").await.expect("a member");
        all_show(&[&homes[stays]], room, "I am back").await;
        let past = homes[away].texts(room).await.iter().any(|text| text == "before anyone came");
        assert_eq!(past, history == History::FromStart);
        for home in &mut homes {
            home.stop().await;
        }
    }
}

//! Many real nodes in one room, on 127.0.0.1: all talk, all show the same in one order, and
//! newcomers who join through different members in mid-talk get everything.

use std::collections::BTreeSet;
use std::time::Duration;

use ayni::{EventId, InviteOptions, Message, MessageQuery, Network, Node, RoomId, Ticket};
use futures_util::future::{join_all, try_join_all};
use tempfile::TempDir;
use tokio::time::Instant;

/// Members at first.
const MEMBERS: usize = 10;
/// Who join while the others talk.
const NEWCOMERS: usize = 5;
/// What each member says before the newcomers come, and again while they come.
const SAYS: usize = 20;
/// Far beyond what it takes on an idle machine, so that only a hang meets it.
const DEADLINE: Duration = Duration::from_mins(2);
/// Pause between two looks at what a node shows.
const POLL: Duration = Duration::from_millis(50);

/// A node with a folder of its own, which is removed at the end.
struct Running {
    node: Node,
    _folder: TempDir,
}

async fn start() -> Running {
    let folder = tempfile::Builder::new().prefix("ayni-test-").tempdir();
    let folder = folder.expect("a temporary folder can be made");
    let node = Node::builder().data(folder.path()).network(Network::Loopback).start().await;
    Running { node: node.expect("a node starts"), _folder: folder }
}

async fn invite(running: &Running, room: RoomId) -> Ticket {
    running.node.invite(room, InviteOptions::default()).await.expect("a member invites")
}

/// Lets a node say `SAYS` things, one after the other; returns their events.
async fn talk(running: &Running, room: RoomId, subject: &str) -> Vec<EventId> {
    let name = running.node.identity().peer.short();
    let mut said = Vec::new();
    for number in 0..SAYS {
        let text = format!("{subject} {number} by {name}");
        said.push(running.node.say(room, &text).await.expect("a member says something"));
    }
    said
}

/// Returns all that a node shows, oldest first.
async fn shown(running: &Running, room: RoomId) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut before = None;
    loop {
        let query = MessageQuery { limit: 500, before };
        let page = running.node.messages(room, query).await.expect("the timeline is read");
        messages.splice(0..0, page.messages);
        before = page.before;
        if before.is_none() {
            return messages;
        }
    }
}

/// Waits until a node shows so many messages.
async fn shows(running: &Running, room: RoomId, count: usize) -> Vec<Message> {
    let end = Instant::now() + DEADLINE;
    loop {
        let messages = shown(running, room).await;
        if messages.len() >= count {
            return messages;
        }
        let name = running.node.identity().peer.short();
        assert!(Instant::now() < end, "{name} shows {} of {count} messages", messages.len());
        tokio::time::sleep(POLL).await;
    }
}

/// Asserts that all nodes show exactly the messages that were said, all in one order.
async fn assert_same(nodes: &[Running], room: RoomId, said: &BTreeSet<EventId>) {
    let all = join_all(nodes.iter().map(|running| shows(running, room, said.len()))).await;
    let events = |messages: &[Message]| -> Vec<EventId> {
        messages.iter().map(|message| message.event).collect()
    };
    let first = all.first().map(|messages| events(messages)).unwrap_or_default();
    assert_eq!(first.len(), said.len(), "nothing twice");
    assert_eq!(&first.iter().copied().collect::<BTreeSet<_>>(), said, "nothing lost");
    for messages in &all {
        assert_eq!(events(messages), first, "one order");
        assert!(messages.iter().all(|message| !message.text.is_empty()), "everything opens");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_talk_and_five_newcomers_get_everything() {
    let mut nodes = join_all((0..MEMBERS).map(|_| start())).await;
    let room = nodes[0].node.create_room("many").await.expect("a room is made").room;
    let ticket = invite(&nodes[0], room).await;
    let joins = nodes.iter().skip(1).map(|running| running.node.join(&ticket, DEADLINE));
    try_join_all(joins).await.expect("all members join");

    let talks = nodes.iter().map(|running| talk(running, room, "first"));
    let mut said: BTreeSet<EventId> = join_all(talks).await.into_iter().flatten().collect();
    assert_eq!(said.len(), MEMBERS * SAYS);
    assert_same(&nodes, room, &said).await;

    // Newcomers, each through another member's ticket, while everyone talks on.
    let newcomers = join_all((0..NEWCOMERS).map(|_| start())).await;
    let tickets = join_all(nodes[1..].iter().map(|running| invite(running, room))).await;
    let joins = newcomers.iter().zip(&tickets).map(|(newcomer, ticket)| async {
        newcomer.node.join(ticket, DEADLINE).await.expect("a newcomer joins");
        talk(newcomer, room, "hello").await
    });
    let talks = nodes.iter().map(|running| talk(running, room, "second"));
    let (joined, talked) = tokio::join!(join_all(joins), join_all(talks));
    said.extend(joined.into_iter().chain(talked).flatten());
    assert_eq!(said.len(), (2 * MEMBERS + NEWCOMERS) * SAYS);

    nodes.extend(newcomers);
    assert_same(&nodes, room, &said).await;
    for running in &nodes {
        let members = running.node.members(room).expect("the room is here");
        assert_eq!(members.len(), MEMBERS + NEWCOMERS);
    }
    join_all(nodes.iter().map(|running| running.node.shutdown())).await;
}

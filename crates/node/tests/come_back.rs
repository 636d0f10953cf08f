//! Leaving a room and coming back to it with the same ticket.

use std::time::Duration;

use ayni::{InviteOptions, Network, Node, RoomId};
use tempfile::TempDir;

/// Far beyond what it takes.
const DEADLINE: Duration = Duration::from_mins(1);

async fn start(folder: &TempDir) -> Node {
    let builder = Node::builder().data(folder.path()).network(Network::Loopback);
    builder.start().await.expect("starts")
}

async fn hears(from: &Node, to: &Node, room: RoomId, text: &str) {
    let mut events = to.subscribe();
    from.say(room, text).await.expect("says");
    let heard = async {
        loop {
            if let ayni::Event::Message(message) = events.next().await
                && message.text == text
            {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, heard).await.expect("is heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_left_comes_back_a_member() {
    let (a_folder, b_folder) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (a, b) = tokio::join!(start(&a_folder), start(&b_folder));
    let room = a.create_room("revolving door").await.expect("creates").room;
    let ticket = a.invite(room, InviteOptions::default()).await.expect("invites");
    b.join(&ticket, DEADLINE).await.expect("joins");
    for nth in 0..3 {
        b.leave(room).await.expect("leaves");
        let info = b.join(&ticket, DEADLINE).await.expect("joins again");
        assert!(info.joined, "{nth}: it says so only when it is so");
        hears(&b, &a, room, &format!("from b, {nth}")).await;
        hears(&a, &b, room, &format!("from a, {nth}")).await;
    }
    // While nobody hears of it.
    b.shutdown().await;
    drop(b);
    let offline = Node::builder().data(b_folder.path()).network(Network::Loopback).offline(true);
    let b = offline.start().await.expect("starts");
    b.leave(room).await.expect("leaves");
    b.shutdown().await;
    drop(b);
    let b = start(&b_folder).await;
    assert!(b.join(&ticket, DEADLINE).await.expect("joins again").joined);
    hears(&b, &a, room, "here again").await;
    tokio::join!(a.shutdown(), b.shutdown());
}

//! A caller that gives up in the middle of saying something: what became durable is shown and
//! delivered as if it had waited.

use std::time::Duration;

use ayni::{InviteOptions, Message, MessageQuery, Network, Node, RoomId};
use tempfile::TempDir;

/// Times that something is said and given up, each a little later than the one before.
const TRIES: u32 = 150;
/// Far beyond what it takes.
const DEADLINE: Duration = Duration::from_mins(1);

async fn start() -> (Node, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let builder = Node::builder().data(folder.path()).network(Network::Loopback);
    (builder.start().await.expect("starts"), folder)
}

async fn shown(node: &Node, room: RoomId) -> Vec<String> {
    let query = MessageQuery { limit: 500, before: None };
    let page = node.messages(room, query).await.expect("reads");
    page.messages.into_iter().map(|message: Message| message.text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_after_it_became_durable_is_delivered() {
    let ((a, _a), (b, _b)) = tokio::join!(start(), start());
    let room = a.create_room("given up").await.expect("creates").room;
    let ticket = a.invite(room, InviteOptions::default()).await.expect("invites");
    b.join(&ticket, DEADLINE).await.expect("joins");
    let mut given_up = 0;
    for nth in 0..TRIES {
        let text = nth.to_string();
        let time = Duration::from_micros(u64::from(nth) * 10);
        given_up += u32::from(tokio::time::timeout(time, a.say(room, &text)).await.is_err());
    }
    assert!(given_up > 0, "too fast to be given up");
    a.say(room, "the end").await.expect("says");
    tokio::time::timeout(DEADLINE, async {
        loop {
            let (ours, theirs) = (shown(&a, room).await, shown(&b, room).await);
            if theirs.last().is_some_and(|text| text == "the end") && ours == theirs {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("both show the same");
    tokio::join!(a.shutdown(), b.shutdown());
}

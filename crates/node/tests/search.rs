//! Messages are found by their words: on every device that can read them, and only there.

use std::path::Path;
use std::time::{Duration, Instant};

use ayni::{Found, InviteOptions, Network, Node, RoomId};

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_mins(1);

async fn start(folder: &Path) -> Node {
    let builder = Node::builder().data(folder).network(Network::Loopback);
    builder.start().await.expect("starts")
}

/// Searches until so many messages are found.
async fn finds(node: &Node, text: &str, room: Option<RoomId>, count: usize) -> Found {
    let begun = Instant::now();
    loop {
        let found = node.search(text, room, 50, None).await.expect("searches");
        if found.messages.len() == count && found.behind == 0 {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "{found:?} for {text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_newcomer_finds_what_was_said_before_it_came_and_after_a_restart() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let ana = start(folders[0].path()).await;
    let room = ana.create_room("family").await.expect("made").room;
    let other = ana.create_room("work").await.expect("made").room;
    for text in ["dinner at eight", "Dinner is ready", "no more"] {
        ana.say(room, text).await.expect("said");
    }
    // Rooms have clocks of their own, which agree in milliseconds.
    tokio::time::sleep(Duration::from_millis(2)).await;
    ana.say(other, "dinner with the others").await.expect("said");
    assert_eq!(finds(&ana, "dinner", None, 3).await.messages[0].text, "dinner with the others");
    let ticket = ana.invite(room, InviteOptions::default()).await.expect("invited");
    let ben = start(folders[1].path()).await;
    ben.join(&ticket, DEADLINE).await.expect("joins");
    let found = finds(&ben, "DINNER", None, 2).await;
    let texts: Vec<&str> = found.messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["Dinner is ready", "dinner at eight"], "newest first, of its rooms only");
    ben.shutdown().await;
    drop(ben);
    let ben = start(folders[1].path()).await;
    finds(&ben, "dinner", Some(room), 2).await;
    let page = ben.search("dinner", None, 1, None).await.expect("searches");
    let older = ben.search("dinner", None, 1, page.before).await.expect("searches");
    assert_eq!((page.messages.len(), older.messages[0].text.as_str()), (1, "dinner at eight"));
    for nothing in ["", "?!", "\u{0}"] {
        assert!(ben.search(nothing, None, 5, None).await.is_err(), "{nothing:?}");
    }
    assert!(ben.search("dinner", Some(other), 5, None).await.is_err(), "not its room");
    ben.shutdown().await;
    drop(ben);
    let quiet = Node::builder().data(folders[1].path()).network(Network::Loopback);
    let quiet = quiet.index_messages(false).start().await.expect("starts");
    assert!(quiet.search("dinner", None, 5, None).await.is_err(), "switched off");
    quiet.shutdown().await;
    ana.shutdown().await;
}

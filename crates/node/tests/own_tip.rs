//! A folder that is set back, or copied, catches up with its own logs before it writes.

use std::path::Path;
use std::time::Duration;

use ayni::{ErrorKind, InviteOptions, MessageQuery, Network, Node, RoomId};
use tempfile::TempDir;

/// Far beyond what it takes.
const DEADLINE: Duration = Duration::from_mins(1);

async fn start(folder: &TempDir) -> Node {
    let builder = Node::builder().data(folder.path()).network(Network::Loopback);
    builder.start().await.expect("starts")
}

/// Starts without a network.
async fn start_alone(folder: &TempDir) -> Node {
    let builder = Node::builder().data(folder.path()).network(Network::Loopback).offline(true);
    builder.start().await.expect("starts")
}

/// Stops a node; its folder is free then.
async fn stop(node: Node) {
    node.shutdown().await;
}

async fn texts(node: &Node, room: RoomId) -> Vec<String> {
    let page = node.messages(room, MessageQuery { limit: 500, before: None }).await;
    page.expect("reads").messages.into_iter().map(|message| message.text).collect()
}

async fn show(nodes: &[&Node], room: RoomId, wanted: &[&str]) {
    for node in nodes {
        let same = async {
            while texts(node, room).await != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, same).await.is_ok();
        assert!(in_time, "shown are {:?}, not {wanted:?}", texts(node, room).await);
    }
}

/// Copies all files of a folder, and of those in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("reads") {
        let entry = entry.expect("reads");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Two members; one of them stopped after `before`, was saved, and went on to `after`.
struct Restored {
    a: TempDir,
    b: Node,
    saved: TempDir,
    room: RoomId,
    /// Kept as long as the node runs.
    in_b: TempDir,
}

async fn set_back() -> Restored {
    let folders = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let [a, in_b, saved] = folders;
    let b = start(&in_b).await;
    let node = start(&a).await;
    let room = b.create_room("plaza").await.expect("creates").room;
    let ticket = b.invite(room, InviteOptions::default()).await.expect("invites");
    node.join(&ticket, DEADLINE).await.expect("joins");
    node.say(room, "before").await.expect("says");
    show(&[&b], room, &["before"]).await;
    stop(node).await;
    copy(a.path(), saved.path());
    let node = start(&a).await;
    node.set_name("after").await.expect("set");
    node.say(room, "after").await.expect("says");
    show(&[&b], room, &["before", "after"]).await;
    stop(node).await;
    Restored { a, b, saved, room, in_b }
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_2_a_restored_backup_hears_of_its_own_logs_before_it_writes() {
    let Restored { b, saved, room, in_b: _in_b, .. } = set_back().await;
    let offline = start_alone(&saved).await;
    let refused = offline.say(room, "twice").await.expect_err("nobody was asked");
    assert_eq!(refused.kind(), ErrorKind::Unreachable);
    assert!(refused.to_string().contains("copied or restored"), "{refused}");
    let alone = offline.create_room("alone").await.expect("creates").room;
    offline.say(alone, "nobody else is here").await.expect("says");
    stop(offline).await;
    // Also at the second start in its new place.
    let restored = start(&saved).await;
    restored.say(room, "again").await.expect("says");
    show(&[&restored, &b], room, &["before", "after", "again"]).await;
    for node in [&restored, &b] {
        let members = node.members(room).expect("reads");
        assert!(members.iter().all(|member| member.frozen.is_empty()), "no fork");
    }
    stop(restored).await;
    // And then it is heard, and may write alone.
    let offline = start_alone(&saved).await;
    offline.say(room, "alone").await.expect("says");
    stop(offline).await;
    b.shutdown().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn hazard_2_a_folder_set_back_in_its_place_hears_of_its_own_logs_before_it_writes() {
    let Restored { a, b, saved, room, in_b: _in_b } = set_back().await;
    // As when a whole machine is set back: the same files, with what they had in them then.
    let database = std::fs::read(saved.path().join("ayni.db")).expect("reads");
    std::fs::write(a.path().join("ayni.db"), database).expect("written");
    let set_back = start(&a).await;
    set_back.say(room, "again").await.expect("says");
    show(&[&set_back, &b], room, &["before", "after", "again"]).await;
    let members = b.members(room).expect("reads");
    assert!(members.iter().all(|member| member.frozen.is_empty()), "no fork");
    stop(set_back).await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_1_a_device_that_was_copied_is_told_and_shut_out() {
    let Restored { a, b, saved, room, in_b: _in_b } = set_back().await;
    // The copy believes that it is in its old place, and that nobody is online.
    let settings = std::fs::read_to_string(saved.path().join("config.json")).expect("reads");
    stop(start_alone(&saved).await).await;
    let settled = std::fs::read_to_string(saved.path().join("config.json")).expect("reads");
    assert_ne!(settings, settled, "the copy is noticed");
    let mut config: serde_json::Value = serde_json::from_str(&settled).expect("valid");
    config.as_object_mut().expect("an object").remove("unheard");
    std::fs::write(saved.path().join("config.json"), config.to_string()).expect("written");
    let copy = start_alone(&saved).await;
    copy.say(room, "in the copy").await.expect("says");
    stop(copy).await;

    let mut events = b.subscribe();
    let copy = start(&saved).await;
    let told = async {
        loop {
            if let ayni::Event::Forked { device, .. } = events.next().await {
                return device;
            }
        }
    };
    let device = tokio::time::timeout(DEADLINE, told).await.expect("told");
    assert_eq!(device, copy.identity().peer);
    let frozen = async {
        while !copy.room(room).expect("here").frozen {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, frozen).await.expect("the copy hears of it");
    let refused = copy.say(room, "more").await.expect_err("shut out");
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(refused.to_string().contains("copied"), "{refused}");
    show(&[&b], room, &["before"]).await;
    let members = b.members(room).expect("reads");
    assert!(members.iter().any(|member| member.frozen == [device]));
    stop(copy).await;
    drop(a);
    b.shutdown().await;
}

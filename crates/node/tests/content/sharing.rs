//! Sharing by tickets, without a room.

use std::path::PathBuf;

use ayni::{ErrorKind, Existing, Node, Target, TransferState};
use tokio::io::AsyncReadExt as _;

use crate::support::{Home, bytes, ended, until};

fn into(home: &Home) -> Target {
    Target { path: home.downloads(), existing: Existing::Refuse }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_ticket_gets_it_as_long_as_it_is_shared() {
    let (ana, ben, eve) = (Home::new().await, Home::new().await, Home::new().await);
    let file = ana.file("notes.txt", b"some notes");
    ana.file("trip/sub/large.bin", &bytes(2_000_000, 1));
    ana.file("trip/small.bin", &bytes(5_000, 2));
    let paths = [file, ana.folder.path().join("own/trip")];
    let shared = ana.node().share(&paths, false).await.expect("shared");
    assert_eq!(shared.size, 10 + 2_000_000 + 5_000);
    let fetching = ben.node().get(&shared.ticket, Some(into(&ben))).await.expect("begins");
    let done = ended(fetching).await;
    let there = done.path.expect("written");
    assert_eq!(std::fs::read(there.join("notes.txt")).expect("reads"), b"some notes");
    assert!(std::fs::read(there.join("trip/sub/large.bin")).expect("reads") == bytes(2_000_000, 1));
    assert!(std::fs::read(there.join("trip/small.bin")).expect("reads") == bytes(5_000, 2));
    // A second time everything is there already, and nothing is written over.
    let again = ben.node().get(&shared.ticket, Some(into(&ben))).await.expect("begins");
    until("it is refused", async || {
        matches!(again.info().state, ayni::TransferState::Failed(_, ref why) if why.contains("exists"))
    })
    .await;
    // Another one is told before anything large comes.
    std::fs::create_dir(eve.downloads().join("trip")).expect("made");
    let refused = eve.node().get(&shared.ticket, Some(into(&eve))).await.expect("begins");
    until("it is refused", async || {
        matches!(refused.info().state, ayni::TransferState::Failed(_, ref why) if why.contains("exists"))
    })
    .await;
    assert!(eve.node().taken() < 100_000, "{} bytes came in vain", eve.node().taken());
    assert!(refused.info().state.is_over(), "it would end the same again");
    std::fs::remove_dir(eve.downloads().join("trip")).expect("removed");
    let shares = ana.node().shares().await.expect("lists");
    assert_eq!((shares.len(), shares[0].name.as_str()), (1, "notes.txt"));
    ana.node().unshare(shared.blob).await.expect("stops");
    let fetching = eve.node().get(&shared.ticket, Some(into(&eve))).await.expect("begins");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(fetching.info().bytes, 0, "it is not shared any more");
    for home in [ana, ben, eve] {
        home.stop_all_of().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_get_the_same_help_each_other() {
    let ana = Home::new().await;
    let content = bytes(12 * 1024 * 1024, 3);
    let path = ana.file("film.bin", &content);
    let shared = ana.node().share(&[path], false).await.expect("shared");
    // So slow that the sender alone would take long.
    ana.node().set_rate_limits(Some(3 * 1024 * 1024), None).await.expect("set");
    let mut homes = Vec::new();
    for _ in 0..4 {
        homes.push(Home::new().await);
    }
    let mut all = Vec::new();
    for home in &homes {
        all.push(home.node().get(&shared.ticket, Some(into(home))).await.expect("begins"));
    }
    for (fetching, home) in all.into_iter().zip(&homes) {
        ended(fetching).await;
        let film = home.downloads().join("film.bin");
        assert!(std::fs::read(film).expect("reads") == content);
    }
    let given = ana.node().given();
    let size = shared.size;
    assert!(given < 3 * size, "the sender alone gave {given} of {} bytes", 4 * size);
    Home::stop_all(homes).await;
    ana.stop_all_of().await;
}

async fn shared(home: &Home, path: PathBuf) -> ayni::Shared {
    home.node().share(&[path], false).await.expect("shared")
}

/// Returns how many contents are here when what nothing needs is gone.
async fn needed(node: &Node) -> usize {
    for _ in 0..2 {
        node.collect().await.expect("collects");
    }
    node.stored().await.expect("reads").0
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_tickets_for_one_content_each_is_used() {
    let (mut ana, ben, eve) = (Home::new().await, Home::new().await, Home::new().await);
    let content = bytes(300_000, 5);
    let dead = shared(&ana, ana.file("film.bin", &content)).await;
    let live = shared(&ben, ben.file("film.bin", &content)).await;
    assert_eq!(dead.blob, live.blob);
    ana.stop().await;
    let get = async |ticket: &str, name: &str| {
        let target = Target { path: eve.downloads().join(name), existing: Existing::Refuse };
        eve.node().get(ticket, Some(target)).await.expect("begins")
    };
    let first = get(&dead.ticket, "one").await;
    until("it runs", async || first.info().state == TransferState::Running).await;
    let second = get(&live.ticket, "two").await;
    ended(second).await;
    // What the one brought is all that the other lacked.
    ended(first).await;
    for name in ["one", "two"] {
        let film = eve.downloads().join(name).join("film.bin");
        assert!(std::fs::read(film).expect("written") == content);
    }
    Home::stop_all(vec![ana, ben, eve]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_over_also_after_a_restart() {
    let (ana, mut ben) = (Home::new().await, Home::new().await);
    let ticket = shared(&ana, ana.file("notes.txt", b"some notes")).await.ticket;
    let taken = ben.downloads().join("notes.txt");
    std::fs::write(&taken, "mine").expect("written");
    let refused = ben.node().get(&ticket, Some(into(&ben))).await.expect("begins");
    until("it is refused", async || {
        matches!(refused.info().state, TransferState::Failed(ErrorKind::Denied, _))
    })
    .await;
    let id = refused.info().id;
    let resumed = ben.node().resume_transfer(id).await.expect_err("it is over");
    assert_eq!(resumed.kind(), ErrorKind::NotFound);
    std::fs::remove_file(&taken).expect("removed");
    drop(refused);
    ben.stop().await;
    ben.start().await;
    assert!(ben.node().transfers().is_empty(), "{:?}", ben.node().transfers());
    assert_eq!(needed(ben.node()).await, 0);
    assert!(!taken.exists(), "nobody asked for it any more");
    // Who asks again is given it.
    let again = ben.node().get(&ticket, Some(into(&ben))).await.expect("begins");
    assert_ne!(ended(again).await.id, id);
    assert!(taken.exists());
    Home::stop_all(vec![ana, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_poured_is_not_kept() {
    let (ana, mut ben) = (Home::new().await, Home::new().await);
    let content = bytes(3_000_000, 6);
    let ticket = shared(&ana, ana.file("film.bin", &content)).await.ticket;
    let pouring = ben.node().pour(&ticket).await.expect("begins");
    let mut reader = ben.node().open_transfer(pouring.info().id).await.expect("opens");
    let mut read = vec![0; 1_000_000];
    reader.read_exact(&mut read).await.expect("reads");
    // Who reads slowly is waited for.
    until("all of it is here", async || pouring.info().size == Some(pouring.info().bytes)).await;
    assert!(needed(ben.node()).await > 0);
    assert!(!pouring.info().state.is_over());
    reader.read_to_end(&mut read).await.expect("reads");
    assert!(read == content);
    drop(reader);
    assert_eq!(ended(pouring).await.path, None);
    assert_eq!(needed(ben.node()).await, 0);
    // Nothing goes on that nobody reads any more.
    let broken = ben.node().pour(&ticket).await.expect("begins");
    let reader = ben.node().open_transfer(broken.info().id).await.expect("opens");
    drop((reader, broken));
    ben.stop().await;
    ben.start().await;
    assert!(ben.node().transfers().is_empty());
    assert_eq!(needed(ben.node()).await, 0);
    let unread = ben.node().pour(&ticket).await.expect("begins");
    until("it ends", async || unread.info().state == TransferState::Cancelled).await;
    Home::stop_all(vec![ana, ben]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_kept_is_until_it_is_discarded() {
    let (ana, ben) = (Home::new().await, Home::new().await);
    let shared = shared(&ana, ana.file("film.bin", &bytes(100_000, 7))).await;
    ended(ben.node().get(&shared.ticket, None).await.expect("begins")).await;
    let kept = needed(ben.node()).await;
    assert!(kept > 0);
    // Another fetch of the same ends, and takes nothing along.
    ended(ben.node().get(&shared.ticket, Some(into(&ben))).await.expect("begins")).await;
    let pouring = ben.node().pour(&shared.ticket).await.expect("begins");
    let mut reader = ben.node().open_transfer(pouring.info().id).await.expect("opens");
    reader.read_to_end(&mut Vec::new()).await.expect("reads");
    ended(pouring).await;
    assert_eq!(needed(ben.node()).await, kept);
    ben.node().set_storage_quota(Some(1_000)).await.expect("set");
    ben.node().evict().await.expect("evicts");
    assert_eq!(needed(ben.node()).await, kept, "nobody else is known to have it");
    ben.node().discard(shared.blob).await.expect("discards");
    assert_eq!(needed(ben.node()).await, 0);
    let again = ben.node().discard(shared.blob).await.expect_err("it is not kept");
    assert_eq!(again.kind(), ErrorKind::NotFound);
    Home::stop_all(vec![ana, ben]).await;
}

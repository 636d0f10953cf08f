//! Sharing by tickets, without a room.

use ayni::{Existing, Target};

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
    eve.node().cancel_transfer(refused.info().id).await.expect("cancelled");
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

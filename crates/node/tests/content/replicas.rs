//! Copies of what few have, what is pinned, and the quota.

use std::time::Duration;

use ayni::{Attached, Here, Replication, RoomId};

use crate::support::{Home, bytes, ended, until};

/// How long something that must not happen is waited for: longer than a look takes.
const WATCHED: Duration = Duration::from_secs(6);

async fn agree(home: &Home, agrees: bool) {
    let set = Replication { agrees, ..home.node().replication() };
    home.node().set_replication(set).await.expect("set");
}

async fn held_by(home: &Home, room: RoomId, attached: &Attached) -> usize {
    home.listed(room, attached).await.held_by
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_copied_to_some_and_outlives_its_sender() {
    let (mut homes, room) = Home::with_room(5).await;
    until("all are in touch", async || {
        let everyone = homes.iter().map(|home| home.node().members(room).expect("lists"));
        let online = everyone.map(|all| all.iter().filter(|it| it.online).count());
        online.min() == Some(5)
    })
    .await;
    let content = bytes(1_000_000, 31);
    let path = homes[0].file("minutes.pdf", &content);
    let attached = homes[0].attach(room, &path).await;
    for home in &homes {
        home.listed(room, &attached).await;
        agree(home, true).await;
    }
    until("three have it", async || held_by(&homes[0], room, &attached).await >= 3).await;
    for home in &homes {
        agree(home, true).await; // so that each looks again
    }
    tokio::time::sleep(WATCHED).await;
    let held = held_by(&homes[0], room, &attached).await;
    assert!(held < 5, "all {held} have a copy: one would do");
    // Its sender goes, and another copy is made.
    homes[0].stop().await;
    until("three others have it", async || {
        for home in &homes[1..] {
            agree(home, true).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        held_by(&homes[1], room, &attached).await >= 3
    })
    .await;
    let mut kept = 0;
    for home in &homes[1..] {
        kept += usize::from(home.listed(room, &attached).await.here == Here::Whole);
    }
    assert!(kept >= 3);
    let done = homes[4].fetch(room, &attached).await;
    assert!(std::fs::read(done.path.expect("written")).expect("reads") == content);
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_agree_makes_no_copies_and_more_than_is_set_is_not_fetched() {
    let (homes, room) = Home::with_room(2).await;
    let path = homes[0].file("small.bin", &bytes(100_000, 32));
    let small = homes[0].attach(room, &path).await;
    let path = homes[0].file("large.bin", &bytes(400_000, 33));
    let large = homes[0].attach(room, &path).await;
    homes[1].listed(room, &large).await;
    tokio::time::sleep(WATCHED).await;
    assert_eq!(homes[1].listed(room, &small).await.here, Here::None);
    let set = Replication { agrees: true, copies: 2, room_bytes: 200_000 };
    homes[1].node().set_replication(set).await.expect("set");
    assert_eq!(homes[1].node().replication(), set);
    homes[1].has(room, &small).await;
    tokio::time::sleep(WATCHED).await;
    assert_eq!(homes[1].listed(room, &large).await.here, Here::None, "beyond the room's limit");
    let set = Replication { room_bytes: 2_000_000, ..set };
    homes[1].node().set_replication(set).await.expect("set");
    homes[1].has(room, &large).await;
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_evicts_what_others_keep_and_never_the_last_copy() {
    let (mut homes, room) = Home::with_room(2).await;
    let mut all = Vec::new();
    for n in 0..8 {
        let path = homes[0].file(&format!("{n}.bin"), &bytes(150_000, 40 + n));
        let attached = homes[0].attach(room, &path).await;
        homes[1].fetch(room, &attached).await;
        all.push(attached);
    }
    let path = homes[1].file("own.bin", &bytes(150_000, 50));
    let options = ayni::AttachOptions { copy: true, ..ayni::AttachOptions::default() };
    let own = homes[1].node().attach(room, path, &options).await.expect("attached");
    let pinned = all[0];
    ended(homes[1].node().pin(room, pinned.event).await.expect("pins")).await;
    assert!(homes[1].listed(room, &pinned).await.pinned);
    let ben = homes[1].node();
    ben.set_storage_quota(Some(100_000)).await.expect("set");
    assert_eq!(ben.storage_quota(), Some(100_000));
    // By itself, or now.
    ben.evict().await.expect("evicts");
    let info = ben.storage().await.expect("tells");
    assert!(info.last_copies.iter().all(|it| it.relied_on && it.room == Some(room)), "{info:?}");
    assert_eq!(homes[1].listed(room, &pinned).await.here, Here::Whole);
    assert_eq!(homes[1].listed(room, &own).await.here, Here::Whole);
    let mut gone = Vec::new();
    for attached in &all[1..] {
        let here = homes[1].listed(room, attached).await.here == Here::Whole;
        let told = info.last_copies.iter().any(|it| it.blob == attached.blob);
        assert_eq!(here, told, "what is kept beyond the quota is told, and nothing else");
        if !here {
            gone.push(*attached);
        }
        assert!(held_by(&homes[0], room, attached).await >= 1, "someone has it");
    }
    println!("{} of 7 went", gone.len());
    // What went can be fetched again; and with nobody else there nothing goes.
    ben.set_storage_quota(None).await.expect("set");
    for attached in &gone {
        ended(ben.fetch(room, attached.event, None).await.expect("begins")).await;
    }
    assert_eq!(ben.storage().await.expect("tells").last_copies, []);
    homes[0].stop().await;
    let ben = homes[1].node();
    until("nobody is there", async || {
        ben.members(room).expect("lists").iter().filter(|it| it.online).count() == 1
    })
    .await;
    ben.set_storage_quota(Some(100_000)).await.expect("set");
    until("it is told what is kept", async || {
        ben.evict().await.expect("looks");
        ben.storage().await.expect("tells").last_copies.len() == 7
    })
    .await;
    let info = ben.storage().await.expect("tells");
    assert!(info.last_copies.iter().all(|it| !it.relied_on), "{info:?}");
    assert!(info.bytes > 9 * 150_000, "all of it is here");
    for attached in &all {
        assert_eq!(homes[1].listed(room, attached).await.here, Here::Whole);
    }
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pinned_stays_when_its_room_is_left() {
    let (homes, room) = Home::with_room(2).await;
    let path = homes[0].file("kept.bin", &bytes(150_000, 60));
    let kept = homes[0].attach(room, &path).await;
    homes[1].listed(room, &kept).await;
    let ben = homes[1].node();
    assert!(ben.unpin(room, kept.event).await.is_err(), "it is not pinned");
    ended(ben.pin(room, kept.event).await.expect("pins")).await;
    ben.leave(room).await.expect("leaves");
    for _ in 0..3 {
        ben.collect().await.expect("collects");
    }
    let info = ben.storage().await.expect("tells");
    assert_eq!((info.pinned, info.contents), (150_000, 1));
    ben.unpin(room, kept.event).await.expect("unpins");
    until("it goes", async || {
        ben.collect().await.expect("collects");
        ben.storage().await.expect("tells").contents == 0
    })
    .await;
    Home::stop_all(homes).await;
}

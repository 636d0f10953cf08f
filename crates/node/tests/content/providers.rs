//! Providers that are not as they should be.

use std::path::{Path, PathBuf};

use ayni::{Existing, Target, TransferState};

use crate::support::{Home, bytes, ended, until};

/// Returns the file in which a node keeps a content.
fn kept(home: &Home, blob: ayni::BlobId) -> PathBuf {
    let hex = blob.to_string();
    let shelf = home.folder.path().join("data/content").join(&hex[..2]);
    shelf.join(format!("{hex}.data"))
}

/// Changes a byte here and there.
fn corrupt(path: &Path) {
    let mut content = std::fs::read(path).expect("reads");
    for at in (5_000..content.len()).step_by(100_000) {
        content[at] ^= 1;
    }
    std::fs::write(path, content).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_26_one_that_lies_and_one_that_drips_hold_nobody_up() {
    let (homes, room) = Home::with_room(4).await;
    let content = bytes(8 * 1024 * 1024, 21);
    let path = homes[0].file("large.bin", &content);
    let attached = homes[0].attach(room, &path).await;
    for home in &homes[1..3] {
        home.fetch(room, &attached).await;
    }
    corrupt(&kept(&homes[1], attached.blob));
    homes[2].node().set_rate_limits(Some(1), None).await.expect("set");
    let begun = std::time::Instant::now();
    let target = Target { path: homes[3].downloads(), existing: Existing::Refuse };
    homes[3].listed(room, &attached).await;
    let fetching = homes[3].node().fetch(room, attached.event, Some(target)).await.expect("begins");
    let done = ended(fetching).await;
    assert!(std::fs::read(done.path.expect("written")).expect("reads") == content);
    println!("with one that lies and one that drips: {:?}", begun.elapsed());
    // What the liar sent was thrown away where it was wrong, and no more was asked of it.
    let taken = homes[3].node().taken();
    assert!(taken < attached.size * 5 / 4, "{taken} bytes came for {}", attached.size);
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_when_a_fetch_began_brings_what_lacks() {
    let (mut homes, room) = Home::with_room(3).await;
    let content = bytes(2 * 1024 * 1024, 22);
    let path = homes[0].file("large.bin", &content);
    let attached = homes[0].attach(room, &path).await;
    homes[1].fetch(room, &attached).await;
    homes[2].listed(room, &attached).await;
    homes[0].stop().await;
    homes[1].stop().await;
    let target = Target { path: homes[2].downloads(), existing: Existing::Refuse };
    let fetching = homes[2].node().fetch(room, attached.event, Some(target)).await.expect("begins");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(fetching.info().bytes, 0);
    homes[1].start().await;
    let done = ended(fetching).await;
    assert!(std::fs::read(done.path.expect("written")).expect("reads") == content);
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_of_one_provider_come_at_once() {
    let (homes, room) = Home::with_room(2).await;
    let mut all = Vec::new();
    for n in 0..48 {
        let path = homes[0].file(&format!("{n}.bin"), &bytes(200_000, n + 1));
        all.push(homes[0].attach(room, &path).await);
    }
    homes[1].listed(room, all.last().expect("some")).await;
    let mut fetching = Vec::new();
    for attached in &all {
        let target = Target { path: homes[1].downloads(), existing: Existing::Refuse };
        fetching
            .push(homes[1].node().fetch(room, attached.event, Some(target)).await.expect("begins"));
    }
    for (fetching, n) in fetching.into_iter().zip(1..) {
        let done = ended(fetching).await;
        assert!(std::fs::read(done.path.expect("written")).expect("reads") == bytes(200_000, n));
    }
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_slow_line_nothing_is_thrown_away() {
    let (homes, room) = Home::with_room(4).await;
    let path = homes[0].file("large.bin", &bytes(1_200_000, 5));
    let attached = homes[0].attach(room, &path).await;
    for home in &homes[1..3] {
        home.fetch(room, &attached).await;
    }
    homes[3].listed(room, &attached).await;
    homes[3].node().set_rate_limits(None, Some(60_000)).await.expect("set");
    let target = Target { path: homes[3].downloads(), existing: Existing::Refuse };
    let fetching = homes[3].node().fetch(room, attached.event, Some(target)).await.expect("begins");
    let id = fetching.info().id;
    // Stopped in the middle of what was asked for: what came is kept.
    until("some came", async || homes[3].node().taken() > 300_000).await;
    homes[3].node().pause_transfer(id).await.expect("pauses");
    until("it is kept", async || {
        let here = homes[3].node().transfers().into_iter().find(|it| it.id == id).expect("listed");
        here.state == TransferState::Paused
    })
    .await;
    homes[3].node().resume_transfer(id).await.expect("goes on");
    ended(fetching).await;
    let taken = homes[3].node().taken();
    assert!(taken < attached.size * 5 / 4, "{taken} bytes came for {}", attached.size);
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_was_said_is_not_begun() {
    let (homes, room) = Home::with_room(2).await;
    let path = homes[0].file("large.bin", &bytes(3_000_000, 6));
    let attached = homes[0].attach(room, &path).await;
    let mut named = homes[0].listed(room, &attached).await.attachment;
    named.size = 40_000;
    let posted = homes[0].node().post_attachment(room, named).await.expect("posted");
    homes[1].listed_event(room, posted).await;
    let target = Target { path: homes[1].downloads(), existing: Existing::Refuse };
    let fetching = homes[1].node().fetch(room, posted, Some(target)).await.expect("begins");
    until("it is refused", async || {
        matches!(fetching.info().state, TransferState::Failed(ayni::ErrorKind::Invalid, _))
    })
    .await;
    let begun = kept(&homes[1], attached.blob).with_extension("part");
    assert!(!begun.exists(), "space was taken for what is not fetched");
    Home::stop_all(homes).await;
}

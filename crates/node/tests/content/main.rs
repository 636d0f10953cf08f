//! Pictures and files between real nodes on 127.0.0.1.

mod access;
mod hostile;
mod interop;
mod providers;
mod replicas;
mod sharing;
mod support;
mod transfers;

use ayni::{Existing, Here, Target, TransferState};

use self::support::{Home, bytes, ended, picture, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_reaches_another_member_whole() {
    let (homes, room) = Home::with_room(2).await;
    let content = bytes(3 * 1024 * 1024 + 7, 1);
    let path = homes[0].file("a report.pdf", &content);
    let attached = homes[0].attach(room, &path).await;
    assert_eq!(attached.size, content.len() as u64);
    let there = homes[1].listed(room, &attached).await;
    assert_eq!((there.attachment.name.as_str(), there.here), ("a report.pdf", Here::None));
    assert_eq!(there.held_by, 1, "its sender");
    let done = homes[1].fetch(room, &attached).await;
    let placed = done.path.expect("written");
    assert_eq!(placed, homes[1].downloads().join("a report.pdf"));
    assert!(std::fs::read(&placed).expect("reads") == content);
    assert_eq!(done.bytes, content.len() as u64);
    let there = homes[1].listed(room, &attached).await;
    assert_eq!((there.here, there.held_by), (Here::Whole, 2));
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_reaches_another_member_with_its_paths() {
    let (homes, room) = Home::with_room(2).await;
    let files = [
        ("trip/one.bin", bytes(100, 1)),
        ("trip/empty", vec![]),
        ("trip/sub/two.bin", bytes(20_000, 2)),
        ("trip/sub/deeper/three.bin", bytes(1_500_000, 3)),
        ("trip/sub/deeper/same.bin", bytes(100, 1)),
    ];
    for (name, content) in &files {
        homes[0].file(name, content);
    }
    let folder = homes[0].folder.path().join("own/trip");
    let attached = homes[0].attach(room, &folder).await;
    assert_eq!(attached.size, files.iter().map(|(_, content)| content.len() as u64).sum::<u64>());
    let listed = homes[1].listed(room, &attached).await;
    assert_eq!((listed.attachment.files, listed.attachment.name.as_str()), (Some(5), "trip"));
    let done = homes[1].fetch(room, &attached).await;
    let placed = done.path.expect("written");
    for (name, content) in &files {
        let path = placed.parent().expect("below").join(name);
        assert!(std::fs::read(&path).expect("reads") == *content, "{name}");
    }
    assert_eq!(homes[1].listed(room, &attached).await.here, Here::Whole);
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_outlives_its_sender() {
    let (mut homes, room) = Home::with_room(5).await;
    let path = homes[0].file("holiday.png", &picture(400));
    let attached = homes[0].attach(room, &path).await;
    until("another one has it", async || {
        let mut has = false;
        for home in &homes[1..] {
            let files = home.node().files(room, 10, None).await.expect("lists").files;
            has |= files.iter().any(|it| it.event == attached.event && it.here == Here::Whole);
        }
        has
    })
    .await;
    homes[0].stop().await;
    for home in &homes[1..] {
        home.has(room, &attached).await;
    }
    let late = Home::new().await;
    late.join(&homes[1], room).await;
    late.has(room, &attached).await;
    let shown = late.listed(room, &attached).await.attachment.picture.expect("a picture");
    assert_eq!((shown.width, shown.height), (400, 400));
    assert!(!shown.thumbhash.is_empty() && !shown.thumbnail.is_empty());
    late.stop_all_of().await;
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_of_two_rooms_outlives_its_sender_in_both() {
    let (mut homes, room) = Home::with_room(2).await;
    let other = homes[0].node().create_room("other").await.expect("creates").room;
    homes[1].join(&homes[0], other).await;
    let path = homes[0].file("holiday.png", &picture(400));
    let first = homes[0].attach(room, &path).await;
    homes[1].has(room, &first).await;
    let taken = homes[1].node().taken();
    let second = homes[0].attach(other, &path).await;
    assert_eq!((first.blob, taken >= first.size), (second.blob, true));
    // The other room gives it, too: that it is here because of the first one is nobody's business there.
    until("it came again", async || homes[1].node().taken() >= taken + first.size).await;
    homes[0].stop().await;
    homes[1].node().leave(room).await.expect("leaves");
    for _ in 0..2 {
        homes[1].node().collect().await.expect("collects");
    }
    assert_eq!(homes[1].listed(other, &second).await.here, Here::Whole);
    let late = Home::new().await;
    late.join(&homes[1], other).await;
    late.has(other, &second).await;
    late.stop_all_of().await;
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_interrupted_goes_on_where_it_was() {
    let (mut homes, room) = Home::with_room(2).await;
    let content = bytes(8 * 1024 * 1024, 5);
    let path = homes[0].file("large.bin", &content);
    let attached = homes[0].attach(room, &path).await;
    homes[1].listed(room, &attached).await;
    homes[1].node().set_rate_limits(None, Some(2 * 1024 * 1024)).await.expect("set");
    let target = Target { path: homes[1].downloads(), existing: Existing::Refuse };
    let fetching = homes[1].node().fetch(room, attached.event, Some(target)).await.expect("begins");
    until("a third is here", async || fetching.info().bytes > attached.size / 3).await;
    let id = fetching.info().id;
    let before = homes[1].node().taken();
    homes[1].stop().await;
    homes[1].start().await;
    homes[1].node().set_rate_limits(None, None).await.expect("set");
    until("it goes on", async || {
        homes[1].node().transfers().iter().any(|it| it.id == id && it.state == TransferState::Done)
    })
    .await;
    let info = homes[1].node().transfers().into_iter().find(|it| it.id == id).expect("listed");
    assert!(info.twice < attached.size / 100, "{} bytes came twice", info.twice);
    let placed = info.path.expect("written");
    assert!(std::fs::read(placed).expect("reads") == content);
    // What was on its way to the disk when it ended came twice, and nothing else.
    let taken = before + homes[1].node().taken();
    assert!(taken < attached.size + 768 * 1024, "{taken} bytes came for {}", attached.size);
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_is_told_and_not_given() {
    let (homes, room) = Home::with_room(3).await;
    let path = homes[0].file("draft.txt", &bytes(300_000, 7));
    let attached = homes[0].attach(room, &path).await;
    homes[1].fetch(room, &attached).await;
    std::fs::write(&path, bytes(300_000, 8)).expect("changed");
    until("it is told", async || homes[0].listed(room, &attached).await.here == Here::Changed)
        .await;
    // From whoever still has it; also back to its sender.
    let done = homes[2].fetch(room, &attached).await;
    assert!(std::fs::read(done.path.expect("written")).expect("reads") == bytes(300_000, 7));
    let done = homes[0].fetch(room, &attached).await;
    assert!(std::fs::read(done.path.expect("written")).expect("reads") == bytes(300_000, 7));
    assert_eq!(homes[0].listed(room, &attached).await.here, Here::Whole);
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_are_paused_cancelled_and_what_is_there_stays() {
    let (homes, room) = Home::with_room(2).await;
    let path = homes[0].file("large.bin", &bytes(6_000_000, 9));
    let attached = homes[0].attach(room, &path).await;
    homes[1].listed(room, &attached).await;
    let node = homes[1].node();
    node.set_rate_limits(None, Some(500_000)).await.expect("set");
    let own = homes[1].downloads().join("own");
    std::fs::write(&own, "mine").expect("written");
    let target = |existing| Some(Target { path: own.clone(), existing });
    let refused = node.fetch(room, attached.event, target(Existing::Refuse)).await;
    assert_eq!(refused.expect_err("is there").kind(), ayni::ErrorKind::Denied);
    let fetching =
        node.fetch(room, attached.event, target(Existing::Rename)).await.expect("begins");
    let id = fetching.info().id;
    until("it begins", async || fetching.info().bytes > 0).await;
    node.pause_transfer(id).await.expect("pauses");
    until("it pauses", async || fetching.info().state == TransferState::Paused).await;
    node.resume_transfer(id).await.expect("goes on");
    node.set_rate_limits(None, None).await.expect("set");
    let done = ended(fetching).await;
    assert_eq!(done.path, Some(homes[1].downloads().join("own (2)")));
    assert_eq!(std::fs::read_to_string(&own).expect("reads"), "mine");
    assert!(node.pause_transfer(id).await.is_err(), "it is over");
    // It is here now: another one needs nobody.
    let fetching = node.fetch(room, attached.event, target(Existing::Overwrite)).await;
    ended(fetching.expect("begins")).await;
    assert_eq!(std::fs::read(&own).expect("reads").len(), 6_000_000);
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_while_it_comes() {
    use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
    let (homes, room) = Home::with_room(2).await;
    let content = bytes(6 * 1024 * 1024 + 99, 11);
    let path = homes[0].file("film.mkv", &content);
    let attached = homes[0].attach(room, &path).await;
    homes[1].listed(room, &attached).await;
    homes[1].node().set_rate_limits(None, Some(1024 * 1024)).await.expect("set");
    let mut reader = homes[1].node().open(room, attached.event).await.expect("opens");
    assert_eq!(reader.size(), content.len() as u64);
    // Near its end, long before all is here.
    let from = content.len() - 100_000;
    reader.seek(std::io::SeekFrom::Start(from as u64)).await.expect("seeks");
    let mut some = vec![0; 50_000];
    reader.read_exact(&mut some).await.expect("reads");
    assert!(some == content[from..from + 50_000]);
    let transfer = homes[1].node().transfers().pop().expect("one");
    assert!(transfer.bytes < attached.size * 3 / 4, "{} bytes are here already", transfer.bytes);
    reader.rewind().await.expect("seeks");
    homes[1].node().set_rate_limits(None, None).await.expect("set");
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.expect("reads");
    assert!(all == content);
    // And the sender's own, from where it lies.
    let mut reader = homes[0].node().open(room, attached.event).await.expect("opens");
    all.clear();
    reader.read_to_end(&mut all).await.expect("reads");
    assert!(all == content);
    Home::stop_all(homes).await;
}

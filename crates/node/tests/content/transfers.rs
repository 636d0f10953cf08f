//! How transfers go on, wait and end.

use std::time::Duration;

use ayni::{AttachOptions, Attached, Existing, FileInfo, RoomId, Target, TransferState};
use tokio::io::AsyncReadExt as _;

use crate::support::{DEADLINE, Home, bytes, ended, until};

fn into(home: &Home) -> Target {
    Target { path: home.downloads(), existing: Existing::Refuse }
}

/// Says a message that names a content that nobody has.
async fn nobody_has(home: &Home, room: RoomId, like: &FileInfo, n: u8) -> Attached {
    let mut attachment = like.attachment.clone();
    attachment.blob = ayni::BlobId([n; 32]);
    attachment.name = format!("nowhere-{n}.bin");
    let blob = attachment.blob;
    let event = home.node().post_attachment(room, attachment).await.expect("said");
    Attached { event, blob, size: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_nobody_has_do_not_stop_the_others() {
    let (homes, room) = Home::with_room(2).await;
    let path = homes[0].file("there.bin", &bytes(50_000, 1));
    let there = homes[0].attach(room, &path).await;
    let like = homes[1].listed(room, &there).await;
    for n in 1..=20 {
        let attached = nobody_has(&homes[0], room, &like, n).await;
        homes[1].listed(room, &attached).await;
        homes[1].node().fetch(room, attached.event, Some(into(&homes[1]))).await.expect("begins");
    }
    let fetching =
        homes[1].node().fetch(room, there.event, Some(into(&homes[1]))).await.expect("begins");
    ended(fetching).await;
    // And they are still wanted.
    let open = homes[1].node().transfers();
    assert_eq!(open.iter().filter(|it| !it.state.is_over()).count(), 20);
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_begun_once_and_a_second_request_wakes_it() {
    let (homes, room) = Home::with_room(2).await;
    let path = homes[0].file("large.bin", &bytes(3_000_000, 1));
    let attached = homes[0].attach(room, &path).await;
    homes[1].listed(room, &attached).await;
    homes[1].node().set_rate_limits(None, Some(100_000)).await.expect("set");
    let begin = || homes[1].node().fetch(room, attached.event, Some(into(&homes[1])));
    let (one, two, three) = tokio::join!(begin(), begin(), begin());
    let id = one.expect("begins").info().id;
    assert_eq!((id, id), (two.expect("begins").info().id, three.expect("begins").info().id));
    assert_eq!(homes[1].node().transfers().len(), 1);
    homes[1].node().pause_transfer(id).await.expect("pauses");
    let is = async |state: TransferState| {
        let node = homes[1].node();
        until(state.name(), async || node.transfer(id).expect("listed").info().state == state)
            .await;
    };
    is(TransferState::Paused).await;
    assert_eq!(begin().await.expect("begins").info().id, id);
    is(TransferState::Running).await;
    homes[1].node().set_rate_limits(None, None).await.expect("set");
    ended(homes[1].node().transfer(id).expect("listed")).await;
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_runs_is_not_begun_again_by_being_told_to_go_on() {
    let (homes, room) = Home::with_room(2).await;
    let path = homes[0].file("large.bin", &bytes(2_000_000, 1));
    let attached = homes[0].attach(room, &path).await;
    homes[1].listed(room, &attached).await;
    homes[1].node().set_rate_limits(None, Some(400_000)).await.expect("set");
    let fetching =
        homes[1].node().fetch(room, attached.event, Some(into(&homes[1]))).await.expect("begins");
    until("it runs", async || fetching.info().bytes > 0).await;
    let (id, mut standing) = (fetching.info().id, Vec::new());
    let told = async {
        loop {
            homes[1].node().resume_transfer(id).await.expect("goes on");
            tokio::time::sleep(Duration::from_millis(50)).await;
            standing.push(homes[1].node().transfer(id).expect("listed").info().state);
            if standing.len() > 20 {
                break;
            }
        }
    };
    told.await;
    assert!(!standing.contains(&TransferState::Waiting), "{standing:?}");
    homes[1].node().set_rate_limits(None, None).await.expect("set");
    ended(fetching).await;
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_failed_is_shown_as_going_on_as_soon_as_it_is_asked_for_again() {
    let (homes, room) = Home::with_room(2).await;
    let path = homes[0].file("notes.bin", &bytes(60_000, 1));
    let attached = homes[0].attach(room, &path).await;
    homes[1].listed(room, &attached).await;
    // So it does not come before its place is gone.
    homes[1].node().set_rate_limits(None, Some(1)).await.expect("set");
    let place = homes[1].downloads().join("sub");
    std::fs::create_dir(&place).expect("made");
    let begin = || {
        let target = Target { path: place.clone(), existing: Existing::Refuse };
        homes[1].node().fetch(room, attached.event, Some(target))
    };
    let fetching = begin().await.expect("begins");
    homes[1].node().pause_transfer(fetching.info().id).await.expect("pauses");
    homes[1].node().set_rate_limits(None, None).await.expect("set");
    std::fs::remove_dir_all(homes[1].downloads()).expect("removed");
    homes[1].node().resume_transfer(fetching.info().id).await.expect("goes on");
    let why = failed(&fetching).await;
    assert!(why.contains("(os error"), "the cause is told: {why}");
    homes[1].downloads();
    std::fs::create_dir(&place).expect("made");
    let again = begin().await.expect("begins");
    assert!(!matches!(again.info().state, TransferState::Failed(..)), "{:?}", again.info().state);
    assert_eq!(again.info().id, fetching.info().id);
    ended(again).await;
    Home::stop_all(homes).await;
}

/// Waits until a transfer failed; returns why.
async fn failed(fetching: &ayni::Fetching) -> String {
    let mut told = String::new();
    until("it fails", async || match fetching.info().state {
        TransferState::Failed(_, why) => {
            told = why;
            true
        }
        _ => false,
    })
    .await;
    told
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn space_is_looked_for_where_it_will_be_written_before_anything_comes() {
    use std::os::unix::fs::MetadataExt as _;
    let (homes, room) = Home::with_room(2).await;
    // A disk in memory, which every system of this kind has.
    let other = std::path::Path::new("/dev/shm");
    let disk = |path: &std::path::Path| path.metadata().expect("there").dev();
    let own = homes[1].folder.path();
    let free = |path: &std::path::Path| fs4::available_space(path).expect("told");
    let size = free(other) + 1_000_000;
    if disk(other) == disk(own) || free(own) < size + (1 << 30) {
        return Home::stop_all(homes).await;
    }
    let path = homes[0].file("small.bin", b"small");
    let like = homes[0].attach(room, &path).await;
    let mut attachment = homes[1].listed(room, &like).await.attachment;
    (attachment.blob, attachment.size) = (ayni::BlobId([1; 32]), size);
    let event = homes[0].node().post_attachment(room, attachment).await.expect("said");
    homes[1].listed_event(room, event).await;
    let target = Target { path: other.join("ayni-test-too-large"), existing: Existing::Refuse };
    let fetching = homes[1].node().fetch(room, event, Some(target)).await.expect("begins");
    let why = failed(&fetching).await;
    assert!(why.contains("/dev/shm"), "{why}");
    assert!(!fetching.info().state.is_over(), "there may be space later");
    homes[1].node().cancel_transfer(fetching.info().id).await.expect("cancels");
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_is_told_when_nothing_will_come() {
    let (homes, room) = Home::with_room(2).await;
    let content = bytes(4_000_000, 1);
    let path = homes[0].file("film.bin", &content);
    let attached = homes[0].attach(room, &path).await;
    homes[1].listed(room, &attached).await;
    homes[1].node().set_rate_limits(None, Some(150_000)).await.expect("set");
    let mut reader = homes[1].node().open(room, attached.event).await.expect("opens");
    let mut first = [0; 1000];
    reader.read_exact(&mut first).await.expect("reads");
    assert_eq!(first, content[..1000]);
    let id = homes[1].node().transfers().first().expect("one").id;
    homes[1].node().cancel_transfer(id).await.expect("cancels");
    let mut rest = Vec::new();
    let read = tokio::time::timeout(DEADLINE, reader.read_to_end(&mut rest)).await;
    let error = read.expect("it ends").expect_err("it fails");
    assert!(error.to_string().contains("cancelled"), "{error}");
    assert!(content[1000..].starts_with(&rest));
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_another_size_than_its_sender_says_is_not_fetched() {
    let (homes, room) = Home::with_room(2).await;
    homes[0].file("trip/one.bin", &bytes(100_000, 1));
    homes[0].file("trip/two.bin", &bytes(200_000, 2));
    let folder = homes[0].folder.path().join("own/trip");
    let attached = homes[0].attach(room, &folder).await;
    let mut attachment = homes[0].listed(room, &attached).await.attachment;
    attachment.size = 400_000;
    let event = homes[0].node().post_attachment(room, attachment).await.expect("said");
    homes[1].listed_event(room, event).await;
    let fetching = homes[1].node().fetch(room, event, Some(into(&homes[1]))).await.expect("begins");
    until("it is refused", async || {
        matches!(fetching.info().state, TransferState::Failed(_, ref why) if why.contains("300000"))
    })
    .await;
    let copied = AttachOptions { copy: true, ..AttachOptions::default() };
    let good = homes[0].node().attach(room, &folder, &copied).await.expect("attached");
    homes[1].fetch(room, &good).await;
    Home::stop_all(homes).await;
}

/// Waits until all know each other.
async fn in_touch(homes: &[Home], room: RoomId) {
    until("all are in touch", async || {
        let everyone = homes.iter().map(|home| home.node().members(room).expect("lists"));
        everyone.map(|all| all.iter().filter(|it| it.online).count()).min() == Some(homes.len())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transfer_gives_meanwhile_has_a_limit_of_its_own() {
    const SLOW: u64 = 100_000;
    // What proves its size is all of its last block: who has any of it can begin another one's fetch.
    const SIZE: usize = 488 * 16_384 + 1_000;
    let (mut homes, room) = Home::with_room(3).await;
    in_touch(&homes, room).await;
    let path = homes[0].file("large.bin", &bytes(SIZE, 1));
    let attached = homes[0].attach(room, &path).await;
    for home in &homes[1..] {
        home.listed(room, &attached).await;
    }
    homes[1].node().set_rate_limits(None, Some(2_000_000)).await.expect("set");
    let fetch = |home: &Home| {
        let (node, into) = (home.node().clone(), into(home));
        async move { node.fetch(room, attached.event, Some(into)).await.expect("begins") }
    };
    let part = fetch(&homes[1]).await;
    until("some of it is there", async || homes[1].node().taken() > 3_000_000).await;
    // The rest cannot come any more, so that it gives what it has of what it still fetches.
    homes[0].stop().await;
    let id = part.info().id;
    homes[1].node().set_transfer_rates(id, Some(SLOW), None).await.expect("set");
    let before = homes[1].node().given();
    let other = fetch(&homes[2]).await;
    until("some of it came", async || homes[1].node().given() > before + 100_000).await;
    let (begun, before) = (std::time::Instant::now(), homes[1].node().given());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (given, elapsed) = (homes[1].node().given() - before, begun.elapsed());
    let most = SLOW * 3 / 2 * u64::try_from(elapsed.as_millis()).expect("short") / 1000;
    assert!(given > 0 && given < most, "{given} bytes in {elapsed:?}");
    // It is about this content alone, and as long as this one is fetched.
    let path = homes[1].file("other.bin", &bytes(3_000_000, 2));
    let quick = homes[1].attach(room, &path).await;
    let begun = std::time::Instant::now();
    homes[2].fetch(room, &quick).await;
    assert!(begun.elapsed().as_secs() < 3_000_000 / SLOW, "what is not limited waited");
    homes[1].node().set_transfer_rates(id, None, None).await.expect("set");
    let (has, before) = (part.info().bytes, before + given);
    until("the rest of that came", async || {
        homes[1].node().given() - before > has / 2 && other.info().bytes >= has
    })
    .await;

    homes[1].node().set_transfer_rates(id, Some(SLOW), Some(7)).await.expect("set");
    homes[1].stop().await;
    homes[1].start().await;
    let kept = homes[1].node().transfer(id).expect("goes on").info();
    assert_eq!((kept.rate_up, kept.rate_down), (Some(SLOW), Some(7)));
    homes[1].node().cancel_transfer(id).await.expect("ends");
    assert!(homes[1].node().set_transfer_rates(id, None, None).await.is_err());
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_folder_share_the_limit_of_their_transfer() {
    const SLOW: u64 = 100_000;
    // As above: what proves their sizes comes first, and is all of their last blocks.
    const SIZE: usize = 30 * 16_384 + 1_000;
    let (mut homes, room) = Home::with_room(3).await;
    in_touch(&homes, room).await;
    for n in 0..20 {
        homes[0].file(&format!("many/{n}.bin"), &bytes(SIZE, n + 1));
    }
    let folder = homes[0].folder.path().join("own/many");
    let attached = homes[0].attach(room, &folder).await;
    for home in &homes[1..] {
        home.listed(room, &attached).await;
    }
    homes[1].node().set_rate_limits(None, Some(2_000_000)).await.expect("set");
    let part = homes[1].node().fetch(room, attached.event, Some(into(&homes[1]))).await;
    let part = part.expect("begins");
    until("some of it is there", async || homes[1].node().taken() > 4_000_000).await;
    // The rest cannot come any more, so that it gives what it has of what it still fetches.
    homes[0].stop().await;
    let id = part.info().id;
    homes[1].node().set_transfer_rates(id, Some(SLOW), None).await.expect("set");
    let before = homes[1].node().given();
    let _other = homes[2].node().fetch(room, attached.event, Some(into(&homes[2]))).await;
    until("some of it came", async || homes[1].node().given() > before + 150_000).await;
    let (begun, before) = (std::time::Instant::now(), homes[1].node().given());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (given, elapsed) = (homes[1].node().given() - before, begun.elapsed());
    let most = SLOW * 3 / 2 * u64::try_from(elapsed.as_millis()).expect("short") / 1000;
    assert!(given > 0 && given < most, "{given} bytes in {elapsed:?}");
    homes[1].node().set_transfer_rates(id, None, None).await.expect("set");
    let before = before + given;
    until("what is there came", async || homes[1].node().given() > before + 1_000_000).await;
    Home::stop_all(homes).await;
}

//! Who may have what.

use ayni::{Attached, Existing, Here, RoomId, Target};
use iroh_blobs::format::collection::Collection;
use iroh_blobs::ticket::BlobTicket;
use iroh_blobs::{BlobFormat, Hash};

use crate::support::{Home, bytes, ended, picture, until};

/// How long one that must not get something tries to.
const TRIES: std::time::Duration = std::time::Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn hazard_17_who_learned_a_hash_in_another_room_gets_nothing_by_it() {
    // Ana and Ben share a room; Ben and Eve share another one. Eve learned the hash of Ana's file.
    let (homes, room) = Home::with_room(2).await;
    let (ana, ben) = (&homes[0], &homes[1]);
    let secret = ana.file("secret.png", &picture(64));
    let attached = ana.attach(room, &secret).await;
    ben.has(room, &attached).await;
    let eve = Home::new().await;
    let other = ben.node().create_room("other").await.expect("creates").room;
    eve.join(ben, other).await;
    // She has the picture's bytes nowhere, and says a message that names it: Ben has it already, through
    // the other room, and must not give it to her.
    let named = ben.listed(room, &attached).await.attachment;
    let posted = eve.node().post_attachment(other, named).await.expect("posted");
    ben.listed_event(other, posted).await;
    let target = Target { path: eve.downloads(), existing: Existing::Refuse };
    let fetching = eve.node().fetch(other, posted, Some(target)).await.expect("begins");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(fetching.info().bytes, 0);
    assert_eq!(
        eve.listed_event(other, posted).await.held_by,
        0,
        "Ben does not even say that he has it"
    );
    assert_eq!(ben.listed_event(other, posted).await.here, Here::Whole, "he sees it all the same");
    eve.stop_all_of().await;
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_17_a_member_that_was_removed_gets_nothing_more() {
    let (homes, room) = Home::with_room(3).await;
    let path = homes[0].file("plan.bin", &bytes(200_000, 1));
    let attached = homes[0].attach(room, &path).await;
    homes[2].listed(room, &attached).await;
    let removed = homes[2].node().identity().account;
    homes[0].node().remove_member(room, removed).await.expect("removes");
    until("all know", async || {
        let members = homes[1].node().members(room).expect("lists");
        members.iter().all(|member| member.account != removed)
    })
    .await;
    let target = Target { path: homes[2].downloads(), existing: Existing::Refuse };
    let fetching = homes[2].node().fetch(room, attached.event, Some(target)).await.expect("begins");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(fetching.info().bytes, 0);
    homes[1].fetch(room, &attached).await;
    Home::stop_all(homes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_17_a_member_that_is_removed_while_it_fetches_gets_no_more() {
    const RATE: u64 = 1_000_000;
    let (homes, room) = Home::with_room(2).await;
    let (ana, eve) = (&homes[0], &homes[1]);
    let attached = ana.attach(room, &ana.file("film.bin", &bytes(40_000_000, 5))).await;
    eve.listed(room, &attached).await;
    ana.node().set_rate_limits(Some(RATE), None).await.expect("set");
    let target = Target { path: eve.downloads(), existing: Existing::Refuse };
    let _fetching = eve.node().fetch(room, attached.event, Some(target)).await.expect("begins");
    until("some of it came", async || ana.node().given() > RATE / 2).await;
    ana.node().remove_member(room, eve.node().identity().account).await.expect("removes");
    // It is asked again after a second whether she may have what she reads.
    let given = ana.node().given();
    tokio::time::sleep(TRIES).await;
    let more = ana.node().given() - given;
    assert!(more < 2 * RATE, "{more} bytes were given afterwards");
    Home::stop_all(homes).await;
}

/// Ana and Ben share a room; Ben and Eve share another one.
async fn ana_ben_and_eve() -> ([Home; 3], RoomId, RoomId) {
    let (homes, room) = Home::with_room(2).await;
    let [ana, ben]: [Home; 2] = homes.try_into().ok().expect("two");
    let eve = Home::new().await;
    let other = ben.node().create_room("other").await.expect("creates").room;
    eve.join(&ben, other).await;
    ([ana, ben, eve], room, other)
}

/// What a message says of a file with this content.
async fn named(home: &Home, content: &[u8]) -> ayni::Attachment {
    let room = home.node().create_room("where it was learned").await.expect("creates").room;
    let attached = home.attach(room, &home.file("learned.bin", content)).await;
    home.listed(room, &attached).await.attachment
}

/// Tries to fetch what is attached to a message, and asserts that nothing of it comes.
async fn gets_nothing(home: &Home, room: RoomId, event: ayni::EventId) {
    home.listed_event(room, event).await;
    let target = Target { path: home.downloads(), existing: Existing::Refuse };
    let fetching = home.node().fetch(room, event, Some(target)).await.expect("begins");
    tokio::time::sleep(TRIES).await;
    assert_eq!(fetching.info().bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_17_who_posted_a_hash_before_its_content_came_gets_nothing_by_it() {
    let ([ana, ben, eve], room, other) = ana_ben_and_eve().await;
    let zoe = Home::new().await;
    let secret = bytes(200_000, 99);
    // Ben looks for it in vain: nobody of that room has it. As a picture also by himself.
    let learned = named(&zoe, &secret).await;
    let posted = eve.node().post_attachment(other, learned).await.expect("posted");
    ben.listed_event(other, posted).await;
    let vain = ben.node().fetch(other, posted, None).await.expect("begins");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    ben.node().cancel_transfer(vain.info().id).await.expect("ends");
    // Now it comes, through another room, and Ben still keeps looking for it in that one.
    let attached = ana.attach(room, &ana.file("secret.bin", &secret)).await;
    let done = ben.fetch(room, &attached).await;
    assert_eq!(done.bytes, 200_000);
    let again = ben.node().fetch(other, posted, None).await.expect("begins");
    ended(again).await;
    gets_nothing(&eve, other, posted).await;
    assert_eq!(eve.listed_event(other, posted).await.held_by, 0, "Ben does not say that he has it");
    // To the other room's members he gives it.
    let late = Home::new().await;
    late.join(&ben, room).await;
    ana.stop_all_of().await;
    late.fetch(room, &attached).await;
    for home in [ben, eve, zoe, late] {
        home.stop_all_of().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_17_who_posted_a_hash_before_it_was_posted_elsewhere_gets_nothing_by_it() {
    let ([ana, ben, eve], room, other) = ana_ben_and_eve().await;
    let zoe = Home::new().await;
    let secret = bytes(200_000, 98);
    let learned = named(&zoe, &secret).await;
    let posted = eve.node().post_attachment(other, learned).await.expect("posted");
    ben.listed_event(other, posted).await;
    // It is wanted in Eve's room as long as all this goes on.
    let _vain = ben.node().fetch(other, posted, None).await.expect("begins");
    let path = ben.file("secret.bin", &secret);
    let attached = ben.attach(room, &path).await;
    gets_nothing(&eve, other, posted).await;
    ana.fetch(room, &attached).await;
    // Nor by a ticket for something that has it.
    ben.node().share(&[path], true).await.expect("shared");
    let shares = ben.node().shares().await.expect("lists");
    ben.node().unshare(shares[0].blob).await.expect("stops");
    gets_nothing(&eve, other, posted).await;
    for home in [ana, ben, eve, zoe] {
        home.stop_all_of().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_17_who_lists_a_hash_in_a_folder_gets_nothing_by_it() {
    let ([ana, ben, eve], room, other) = ana_ben_and_eve().await;
    let secret = bytes(200_000, 97);
    let hash = Hash::new(&secret);
    let folder: Collection = [("inside.bin".to_owned(), hash)].into_iter().collect();
    let mut list = None;
    for (n, part) in folder.to_blobs().enumerate() {
        let path = eve.file(&format!("part-{n}"), &part);
        list = Some(eve.attach(other, &path).await);
    }
    let list = list.expect("two");
    let said = eve.listed(other, &list).await.attachment;
    let named = ayni::Attachment { files: Some(1), size: 200_000, ..said };
    let posted = eve.node().post_attachment(other, named).await.expect("posted");
    ben.listed_event(other, posted).await;
    let _vain = ben.node().fetch(other, posted, None).await.expect("begins");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let attached = ana.attach(room, &ana.file("secret.bin", &secret)).await;
    ben.fetch(room, &attached).await;
    // Through the folder, and by itself.
    let target = Target { path: eve.downloads(), existing: Existing::Refuse };
    let through = eve.node().fetch(other, posted, Some(target)).await.expect("begins");
    let by_itself = ayni::Attachment {
        blob: attached.blob,
        size: attached.size,
        files: None,
        ..eve.listed(other, &list).await.attachment
    };
    let by_itself = eve.node().post_attachment(other, by_itself).await.expect("posted");
    gets_nothing(&eve, other, by_itself).await;
    assert!(!matches!(through.info().state, ayni::TransferState::Done));
    assert!(!eve.downloads().join("part-1").exists());
    for home in [ana, ben, eve] {
        home.stop_all_of().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_17_a_ticket_that_names_what_a_room_brought_opens_nothing() {
    let ([ana, ben, eve], room, _) = ana_ben_and_eve().await;
    let secret = bytes(200_000, 96);
    let attached = ana.attach(room, &ana.file("secret.bin", &secret)).await;
    ben.fetch(room, &attached).await;
    let address = async |home: &Home| {
        let path = home.file("own.txt", b"something else");
        let shared = home.node().share(&[path], true).await.expect("shared");
        shared.ticket.parse::<BlobTicket>().expect("a ticket").addr().clone()
    };
    let hash = Hash::from_bytes(attached.blob.0);
    let eves = address(&eve).await;
    let bens = address(&ben).await;
    // Ben has it already, and is made to get it: as a file, and as a folder, which it is not.
    for format in [BlobFormat::Raw, BlobFormat::HashSeq] {
        let ticket = BlobTicket::new(eves.clone(), hash, format).to_string();
        let _got = ben.node().get(&ticket, None).await.expect("begins");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let ticket = BlobTicket::new(bens.clone(), hash, BlobFormat::Raw).to_string();
        let got = eve.node().get(&ticket, None).await.expect("begins");
        tokio::time::sleep(TRIES).await;
        assert_eq!(got.info().bytes, 0, "{format:?}");
        eve.node().cancel_transfer(got.info().id).await.expect("ends");
    }
    for home in [ana, ben, eve] {
        home.stop_all_of().await;
    }
}

/// Deletes what nothing names; twice, since what was just let go of is spared once.
async fn collect(home: &Home) {
    for _ in 0..2 {
        home.node().collect().await.expect("collects");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_or_left_is_deleted_and_what_else_is_needed_stays() {
    let ([ana, ben, eve], room, other) = ana_ben_and_eve().await;
    let attach = async |home: &Home, room, name: &str, len, seed| {
        let path = home.file(name, &bytes(len, seed));
        home.attach(room, &path).await
    };
    let large: Attached = attach(&ana, room, "large.bin", 8_000_000, 1).await;
    let small = attach(&ana, room, "small.bin", 300_000, 2).await;
    let both = attach(&ana, room, "both.bin", 300_000, 3).await;
    let same = attach(&eve, other, "both.bin", 300_000, 3).await;
    ben.listed(room, &both).await;
    ben.node().set_rate_limits(None, Some(1_000_000)).await.expect("set");
    let fetching = ben.node().fetch(room, large.event, None).await.expect("begins");
    until("some is here", async || fetching.info().bytes > 0).await;
    ben.node().cancel_transfer(fetching.info().id).await.expect("ends");
    ben.node().set_rate_limits(None, None).await.expect("set");
    until("what was cancelled is deleted", async || {
        collect(&ben).await;
        ben.node().stored().await.expect("tells").0 == 0
    })
    .await;
    ben.fetch(room, &small).await;
    ben.fetch(room, &both).await;
    // Here already; wanted for the other room too.
    let again = ben.node().fetch(other, same.event, None).await.expect("begins");
    ended(again).await;
    // By a ticket without a target: for himself.
    let got = ana.node().share(&[ana.file("got.bin", &bytes(50_000, 4))], true).await;
    ended(ben.node().get(&got.expect("shared").ticket, None).await.expect("begins")).await;
    collect(&ben).await;
    let before = ben.node().stored().await.expect("tells").0;
    ben.node().leave(room).await.expect("leaves");
    until("what only that room needed is deleted", async || {
        collect(&ben).await;
        ben.node().stored().await.expect("tells").0 == before - 1
    })
    .await;
    assert_eq!(ben.listed(other, &same).await.here, Here::Whole);
    for home in [ana, ben, eve] {
        home.stop_all_of().await;
    }
}

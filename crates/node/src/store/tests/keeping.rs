//! What is kept, fetched and shared, and what of it is told to whom.

use crate::content::Existing;
use std::collections::BTreeSet;
use std::path::PathBuf;

use super::super::shares::StoredShare;
use super::super::{Hold, Holding, Rates, Reason, Share, Standing};
use super::super::{StoredTransfer, TransferSource};
use super::*;
use crate::error::Error;

fn blob(n: u8) -> BlobId {
    BlobId([n; 32])
}

/// Something that came by a room.
fn held(room: RoomId, root: u8, blobs: &[u8], since_ms: u64) -> Hold {
    let blobs = blobs.iter().copied().map(blob).collect();
    Hold {
        room: Some(room),
        root: blob(root),
        blobs,
        bytes: 1000 + since_ms,
        since_ms,
        standing: Standing::Given,
        reason: Reason::Asked,
        unsaid: false,
    }
}

fn hold(room: RoomId, root: u8, blobs: &[u8], since_ms: u64) -> Write {
    Write::Hold(held(room, root, blobs, since_ms))
}

async fn both_rooms() -> (TempDir, Store) {
    let (folder, store) = fresh().await;
    store.write(note(OTHER)).await.expect("stored");
    (folder, store)
}

/// The rooms in which a content is given.
async fn given_in(store: &Store, blob: BlobId) -> Vec<RoomId> {
    let reasons = store.reasons(blob).await.expect("reads").into_iter();
    let rooms: BTreeSet<RoomId> =
        reasons.filter(|(_, _, given)| *given).filter_map(|(room, ..)| room).collect();
    rooms.into_iter().collect()
}

async fn rooms_of(store: &Store, n: u8) -> Vec<RoomId> {
    given_in(store, blob(n)).await
}

#[tokio::test]
async fn hazard_17_a_content_is_served_only_through_the_rooms_it_came_by() {
    let (folder, store) = both_rooms().await;
    for write in [
        hold(ROOM, 1, &[], 10),
        hold(ROOM, 2, &[2, 3, 4], 20), // a folder, whose list may be named among its files
        hold(OTHER, 2, &[], 30), // the list was posted there too, but no file came by that room
        hold(OTHER, 5, &[4], 40),
    ] {
        store.write(write).await.expect("stored");
    }
    store.close().await;
    let store = open(&folder);
    let seen = async |store: &Store| {
        let mut seen = Vec::new();
        for n in 0..6 {
            seen.push(rooms_of(store, n).await);
        }
        seen
    };
    let (one, both, none) = (vec![ROOM], vec![ROOM, OTHER], vec![]);
    let other = vec![OTHER];
    let expected = [&none, &one, &both, &one, &both, &other].map(Clone::clone);
    assert_eq!(seen(&store).await, expected);
    // Another folder with the same file keeps it when the first is released.
    store.write(hold(ROOM, 6, &[3], 50)).await.expect("stored");
    assert_eq!(rooms_of(&store, 3).await, one, "once");
    for room in [ROOM, RoomId([9; 32])] {
        store.write(Write::Release { room: Some(room), root: blob(2) }).await.expect("stored");
    }
    let expected = [&none, &one, &other, &one, &other, &other].map(Clone::clone);
    assert_eq!(seen(&store).await, expected);
    store.write(Write::Release { room: Some(ROOM), root: blob(6) }).await.expect("stored");
    assert_eq!(rooms_of(&store, 3).await, none);
    store.close().await;
    let store = open(&folder);
    let count = "SELECT count(*) FROM held";
    let held = store.0.pool.read(|db| Ok(db.query_row(count, [], |row| row.get::<_, i64>(0))?));
    let held = held.await.expect("reads");
    assert_eq!(held, 1, "a folder's files leave with it");
    let error = store.write(hold(RoomId([9; 32]), 1, &[], 1)).await.expect_err("unknown");
    assert!(matches!(error, Error::Store(_)), "{error}");
}

#[tokio::test]
async fn what_is_held_again_keeps_its_time_and_its_pin() {
    let (folder, store) = both_rooms().await;
    store.write(hold(ROOM, 1, &[2], 10)).await.expect("stored");
    store.write(Write::Pin { room: ROOM, root: blob(1), pinned: true }).await.expect("held");
    store.write(hold(ROOM, 1, &[3], 70)).await.expect("stored");
    store.write(hold(ROOM, 1, &[], 5)).await.expect("a clock that went back");
    store.close().await;
    let held = open(&folder).holdings(None).await.expect("reads");
    let expected = Holding {
        room: Some(ROOM),
        root: blob(1),
        bytes: 1005,
        since_ms: 10,
        pinned: true,
        last_used_ms: 70,
        standing: Standing::Given,
        reason: Reason::Asked,
        unsaid: false,
    };
    assert_eq!(held, [expected]);
    assert_eq!(rooms_of(&open(&folder), 2).await, [ROOM]);
    assert_eq!(rooms_of(&open(&folder), 3).await, [ROOM]);
}

#[tokio::test]
async fn what_was_used_least_recently_comes_first() {
    let (_folder, store) = both_rooms().await;
    let writes = [
        hold(ROOM, 1, &[], 10),
        hold(OTHER, 2, &[], 20),
        hold(ROOM, 3, &[], 30),
        hold(OTHER, 1, &[], 40),
        Write::Used { root: blob(1), now_ms: 35 },
        Write::Used { root: blob(2), now_ms: 50 },
        Write::Used { root: blob(9), now_ms: 60 },
    ];
    for write in writes {
        store.write(write).await.expect("stored");
    }
    let order = async |room| {
        let held = store.holdings(room).await.expect("reads");
        let of = |it: Holding| (it.room == Some(ROOM), it.root.0[0], it.last_used_ms);
        held.into_iter().map(of).collect::<Vec<_>>()
    };
    let all = [(true, 3, 30), (true, 1, 35), (false, 1, 40), (false, 2, 50)];
    assert_eq!(order(None).await, all);
    assert_eq!(order(Some(ROOM)).await, all[..2]);
    assert_eq!(order(Some(OTHER)).await, all[2..]);
    assert_eq!(order(Some(RoomId([9; 32]))).await, []);
}

#[tokio::test]
async fn a_pin_is_on_something_that_is_held_there() {
    let (_folder, store) = both_rooms().await;
    store.write(hold(ROOM, 1, &[2], 10)).await.expect("stored");
    for (room, root) in [(OTHER, 1), (ROOM, 2), (ROOM, 3), (RoomId([9; 32]), 1)] {
        let error = store.write(Write::Pin { room, root: blob(root), pinned: true }).await;
        assert!(error.expect_err("not held").to_string().contains("not held"));
    }
    for pinned in [true, true, false] {
        store.write(Write::Pin { room: ROOM, root: blob(1), pinned }).await.expect("held");
        assert_eq!(store.holdings(None).await.expect("reads")[0].pinned, pinned);
    }
}

#[tokio::test]
async fn a_room_has_its_own_limit_for_pictures() {
    let (folder, store) = both_rooms().await;
    let limit = async |store: &Store, room| store.room_fetch_limit(room).await.expect("reads");
    assert_eq!(limit(&store, ROOM).await, None);
    for (bytes, expected) in [(0, 0), (5 << 20, 5 << 20), (u64::MAX, i64::MAX.unsigned_abs())] {
        let write = Write::RoomFetchLimit { room: ROOM, bytes: Some(bytes) };
        store.write(write).await.expect("stored");
        assert_eq!(limit(&store, ROOM).await, Some(expected));
    }
    store.write(note(ROOM)).await.expect("noted again");
    store.close().await;
    let store = open(&folder);
    assert_eq!(limit(&store, ROOM).await, Some(i64::MAX.unsigned_abs()), "kept");
    assert_eq!(limit(&store, OTHER).await, None);
    let write = Write::RoomFetchLimit { room: ROOM, bytes: None };
    store.write(write).await.expect("stored");
    assert_eq!(limit(&store, ROOM).await, None);
    assert_eq!(limit(&store, RoomId([9; 32])).await, None);
    let unknown = Write::RoomFetchLimit { room: RoomId([9; 32]), bytes: None };
    assert!(store.write(unknown).await.is_err());
}

fn transfer(id: u64) -> StoredTransfer {
    StoredTransfer {
        id,
        root: blob(1),
        folder: false,
        source: TransferSource::Message { room: ROOM, event: EventId([5; 32]) },
        target: None,
        existing: Existing::Refuse,
        since_ms: 77,
        paused: false,
        rates: Rates::default(),
        priority: 0,
        pours: false,
    }
}

/// A path that is no text.
fn odd_path() -> PathBuf {
    #[cfg(unix)]
    let odd: std::ffi::OsString =
        std::os::unix::ffi::OsStringExt::from_vec(b"/tmp/\xff\xfe \n.x".to_vec());
    #[cfg(windows)]
    let odd: std::ffi::OsString =
        std::os::windows::ffi::OsStringExt::from_wide(&[0x43, 0x3a, 0x5c, 0xd800, 0x61]);
    odd.into()
}

#[tokio::test]
async fn a_transfer_is_kept_until_it_is_done() {
    let (folder, store) = fresh().await;
    let all = [
        transfer(1),
        StoredTransfer {
            folder: true,
            source: TransferSource::Ticket(vec![1, 2, 3]),
            target: Some(odd_path()),
            existing: Existing::Overwrite,
            paused: true,
            rates: Rates { up: Some(0), down: Some(1 << 40) },
            priority: 255,
            pours: true,
            ..transfer(2)
        },
        StoredTransfer { existing: Existing::Rename, ..transfer(3) },
        StoredTransfer { existing: Existing::Skip, target: Some("a/b".into()), ..transfer(4) },
    ];
    for transfer in all.iter().rev() {
        store.write(Write::Transfer(transfer.clone())).await.expect("stored");
    }
    store.close().await;
    let store = open(&folder);
    assert_eq!(store.transfers().await.expect("reads"), all);
    let rates = Rates { up: Some(9), down: None };
    let changes = [
        Write::TransferDone { id: 2 },
        Write::TransferDone { id: 2 },
        Write::TransferPaused { id: 1, paused: true },
        Write::TransferPaused { id: 2, paused: true },
        Write::TransferRates { id: 3, rates },
        Write::TransferPriority { id: 4, priority: 7 },
        Write::TransferRates { id: u64::MAX, rates },
    ];
    for write in changes {
        store.write(write).await.expect("stored");
    }
    store.close().await;
    let [mut one, _, mut three, mut four] = all;
    one.paused = true;
    three.rates = rates;
    four.priority = 7;
    assert_eq!(open(&folder).transfers().await.expect("reads"), [one, three, four]);
}

#[tokio::test]
async fn a_transfers_number_is_never_given_again() {
    let (folder, store) = fresh().await;
    assert_eq!(store.last_transfer().await.expect("reads"), 0);
    for id in [2, 1, 3] {
        store.write(Write::Transfer(transfer(id))).await.expect("in any order");
    }
    let error = store.write(Write::Transfer(transfer(2))).await.expect_err("taken");
    assert!(error.to_string().contains("number"), "{error}");
    assert!(store.write(Write::Transfer(transfer(u64::MAX))).await.is_err());
    let away = TransferSource::Message { room: OTHER, event: EventId([5; 32]) };
    let unknown = StoredTransfer { source: away, ..transfer(4) };
    assert!(store.write(Write::Transfer(unknown)).await.is_err(), "a room that was never noted");
    for id in 1..=3 {
        store.write(Write::TransferDone { id }).await.expect("stored");
    }
    store.close().await;
    let store = open(&folder);
    assert_eq!(store.last_transfer().await.expect("reads"), 3);
    assert_eq!(store.transfers().await.expect("reads"), []);
}

#[tokio::test]
async fn what_is_shared_is_served_until_it_is_stopped() {
    let (folder, store) = fresh().await;
    let share = |root: u8, blobs: &[u8], name: &str, since_ms| {
        let blobs: Vec<_> = blobs.iter().copied().map(blob).collect();
        let folder = !blobs.is_empty();
        Write::Share(Share { root: blob(root), blobs, folder, name: name.into(), since_ms })
    };
    for write in [
        share(1, &[], "one.txt", 30),
        share(2, &[2, 3, 4], "two", 20),
        share(5, &[4], "five", 10),
        share(2, &[6], "second", 40),
    ] {
        store.write(write).await.expect("stored");
    }
    store.close().await;
    let store = open(&folder);
    let shared = async |n| store.is_shared(blob(n)).await.expect("reads");
    for n in 0..8 {
        assert_eq!(shared(n).await, (1..=6).contains(&n), "{n}");
    }
    let stored = |root, folder, name: &str, since_ms| StoredShare {
        root: blob(root),
        folder,
        name: name.into(),
        since_ms,
    };
    let all = [
        stored(1, false, "one.txt", 30),
        stored(2, true, "second", 20),
        stored(5, true, "five", 10),
    ];
    assert_eq!(store.shares().await.expect("reads"), all);
    for root in [2, 2, 9] {
        store.write(Write::Unshare { root: blob(root) }).await.expect("stored");
    }
    for n in 0..8 {
        assert_eq!(shared(n).await, [1, 4, 5].contains(&n), "{n}");
    }
    assert_eq!(store.shares().await.expect("reads").len(), 2);
    assert_eq!(given_in(&store, blob(1)).await, [], "sharing is no room's");
}

#[tokio::test]
async fn a_large_folder_is_held_and_released_whole() {
    let (_folder, store) = both_rooms().await;
    let file = |n: u32| {
        let mut id = [7; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        BlobId(id)
    };
    let held = |room, range: std::ops::Range<u32>| {
        Write::Hold(Hold { blobs: range.map(file).collect(), ..held(room, 1, &[], 1) })
    };
    for room in [ROOM, OTHER] {
        for part in [0..6000, 5000..10_000] {
            store.write(held(room, part)).await.expect("stored");
        }
    }
    for n in [0, 5500, 9999] {
        assert_eq!(given_in(&store, file(n)).await.len(), 2);
    }
    store.write(Write::Release { room: Some(OTHER), root: blob(1) }).await.expect("stored");
    let count = "SELECT count(*) FROM held";
    let left = store.0.pool.read(|db| Ok(db.query_row(count, [], |row| row.get::<_, i64>(0))?));
    assert_eq!(left.await.expect("reads"), 10_000);
    assert_eq!(given_in(&store, file(5500)).await, [ROOM]);
}

#[tokio::test]
async fn hazard_17_what_is_only_wanted_opens_nothing() {
    let (_folder, store) = both_rooms().await;
    let wanted = |room, root, blobs: &[u8]| {
        Write::Hold(Hold { room, standing: Standing::Wanted, ..held(ROOM, root, blobs, 1) })
    };
    for write in [
        wanted(Some(ROOM), 1, &[2, 3]),
        wanted(None, 1, &[2, 4]),
        wanted(Some(OTHER), 5, &[]),
        Write::Given { room: ROOM, root: blob(1), blobs: vec![blob(3), blob(9)] },
        Write::Given { room: OTHER, root: blob(1), blobs: vec![blob(1), blob(2)] },
        Write::Kept { room: Some(OTHER), root: blob(5) },
    ] {
        store.write(write).await.expect("stored");
    }
    for (n, rooms) in [(1, vec![]), (2, vec![]), (3, vec![ROOM]), (4, vec![]), (5, vec![])] {
        assert_eq!(rooms_of(&store, n).await, rooms, "{n}");
    }
    let given = store.given_among(ROOM, blob(1), [1, 2, 3, 4].map(blob).to_vec()).await;
    assert_eq!(given.expect("reads"), [blob(3)]);
    let mut kept = store.kept().await.expect("reads");
    kept.sort_unstable();
    assert_eq!(kept, [1, 2, 3, 4, 5].map(blob), "all of it is kept all the same");
    let all = Write::Given { room: ROOM, root: blob(1), blobs: vec![blob(1), blob(2)] };
    store.write(all).await.expect("stored");
    assert_eq!(rooms_of(&store, 1).await, [ROOM]);
    // What is wanted again stays given.
    store.write(wanted(Some(ROOM), 1, &[2, 3])).await.expect("stored");
    assert_eq!(rooms_of(&store, 2).await, [ROOM]);
    let reasons = store.reasons(blob(2)).await.expect("reads");
    assert!(reasons.contains(&(Some(ROOM), blob(1), true)), "{reasons:?}");
    assert!(reasons.contains(&(None, blob(1), false)), "{reasons:?}");
}

#[tokio::test]
async fn what_is_given_up_is_what_is_wanted_by_nothing_under_way() {
    let (_folder, store) = both_rooms().await;
    let of = |room, root, standing| {
        Write::Hold(Hold { room, standing, ..held(ROOM, root, &[root + 100], 1) })
    };
    for write in [
        of(Some(ROOM), 1, Standing::Wanted), // and being fetched: see `transfer`
        of(None, 1, Standing::Wanted),
        of(Some(ROOM), 2, Standing::Wanted),
        of(Some(ROOM), 3, Standing::Kept),
        of(Some(ROOM), 4, Standing::Given),
        of(Some(OTHER), 5, Standing::Wanted),
        Write::Pin { room: OTHER, root: blob(5), pinned: true },
        Write::Transfer(transfer(1)),
        Write::GiveUp { room: Some(ROOM), root: blob(4) },
        Write::GiveUp { room: Some(ROOM), root: blob(1) },
    ] {
        store.write(write).await.expect("stored");
    }
    let left = async || {
        let all = store.holdings(None).await.expect("reads");
        all.iter().map(|it| (it.room.is_some(), it.root.0[0])).collect::<Vec<_>>()
    };
    assert_eq!(left().await.len(), 6);
    store.write(Write::GiveUpAll).await.expect("stored");
    assert_eq!(left().await, [(true, 1), (true, 3), (true, 4), (true, 5)]);
    store.write(Write::TransferDone { id: 1 }).await.expect("stored");
    store.write(Write::GiveUp { room: Some(ROOM), root: blob(1) }).await.expect("stored");
    assert_eq!(left().await, [(true, 3), (true, 4), (true, 5)]);
    // Who leaves a room keeps what is pinned there.
    for room in [ROOM, OTHER] {
        store.write(Write::Leave { room }).await.expect("stored");
    }
    assert_eq!(left().await, [(true, 5)]);
    assert_eq!(store.kept().await.expect("reads"), [blob(5), blob(105)]);
}

#[tokio::test]
async fn what_was_not_said_is_not_kept_and_what_was_is_never_evicted() {
    let (_folder, store) = both_rooms().await;
    let unsaid = |root| {
        let post = held(ROOM, root, &[], 1);
        Write::Hold(Hold { reason: Reason::Posted, unsaid: true, ..post })
    };
    let said = |root, said| Write::Said { room: ROOM, root: blob(root), said };
    for write in [
        unsaid(1),
        said(1, false),
        unsaid(2),
        unsaid(2), // the same file twice at once
        said(2, false),
        said(2, true),
        hold(ROOM, 3, &[], 1),
        unsaid(3), // it was here before
        said(3, false),
        unsaid(4),
        hold(ROOM, 5, &[], 1),
        hold(OTHER, 5, &[], 1),
        Write::Pin { room: OTHER, root: blob(5), pinned: true },
        hold(OTHER, 6, &[], 1),
        hold(ROOM, 6, &[], 1),
    ] {
        store.write(write).await.expect("stored");
    }
    let left = async || {
        let all = store.holdings(Some(ROOM)).await.expect("reads");
        all.iter().map(|it| (it.root.0[0], it.reason, it.unsaid)).collect::<Vec<_>>()
    };
    let (asked, posted) = (Reason::Asked, Reason::Posted);
    let all = [(2, posted, false), (3, asked, false), (4, posted, true), (5, asked, false)];
    assert_eq!(left().await, [&all[..], &[(6, asked, false)]].concat());
    for root in 1..=6 {
        store.write(Write::Evict { root: blob(root) }).await.expect("stored");
    }
    assert_eq!(left().await, [all[0], all[2], all[3]]);
    assert_eq!(rooms_of(&store, 6).await, []);
}

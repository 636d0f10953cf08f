//! What is acknowledged stays, what fails leaves nothing, and what builds on it fails too.

use std::path::Path;

use ayni_core::epoch::EpochSecret;
use ayni_core::id::EpochId;
use ayni_core::log::Lane;

use super::super::schema;
use super::*;
use crate::error::Error;

fn files(from: &Path, to: &Path) {
    for name in ["ayni.db", "ayni.db-wal"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).expect("copied");
        }
    }
}

/// Events of device 1 that a copy of the database holds; they must be whole and from the start.
async fn chat_len(folder: &TempDir) -> u64 {
    let store = open(folder);
    let held = store.load_room(ROOM).await.expect("loads").runs;
    let end = held.first().map_or(0, |(_, runs, _)| runs[0].end);
    let events = store.events(ROOM, chat(1), 0..u64::MAX, usize::MAX, usize::MAX).await;
    assert_eq!(events.expect("reads").len() as u64, end, "every event of the run, and no other");
    assert_eq!(store.event_count().await.expect("counts"), end);
    store.close().await;
    end
}

#[tokio::test]
async fn a_reopened_room_is_the_same() {
    let (folder, store) = fresh().await;
    let (one, two) = (chain(1, Lane::Control, 3), chain(2, Lane::Control, 2));
    let talk = chain(1, Lane::Chat, 40);
    let secret = EpochSecret::new([3; 32]);
    let interleaved =
        [&one[..1], &two[..1], &one[1..2], &two[1..], &one[2..]].map(<[Event]>::to_vec).concat();
    let control = Append {
        events: interleaved.clone().into(),
        runs: vec![summary(&[&one]), summary(&[&two])],
        secrets: vec![(EpochId([1; 32]), secret.clone())],
        ..append(&one, 0)
    };
    store.write(Write::Append(control)).await.expect("stored");
    let holes = Append {
        events: [&talk[..10], &talk[30..]].concat().into(),
        runs: vec![summary(&[&talk[..10], &talk[30..]])],
        unread: 20,
        ..append(&talk, 0)
    };
    store.write(Write::Append(holes)).await.expect("stored");
    let before = store.load_room(ROOM).await.expect("loads");
    assert_eq!(before.control, interleaved, "in the order of acceptance");
    assert_eq!(before.runs, vec![summary(&[&talk[..10], &talk[30..]])]);
    assert_eq!(before.secrets, vec![secret]);
    assert_eq!(before.unread, 20);
    assert_eq!(store.event_count().await.expect("counts"), 25);
    store.close().await;

    let store = open(&folder);
    assert_eq!(store.load_room(ROOM).await.expect("loads"), before);
    store.write(Write::MarkRead { room: ROOM }).await.expect("stored");
    assert_eq!(store.load_room(ROOM).await.expect("loads").unread, 0);
    assert!(matches!(store.load_room(OTHER).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn hazard_20_a_log_file_cut_anywhere_keeps_what_was_acknowledged() {
    let (folder, store) = fresh().await;
    let talk = chain(1, Lane::Chat, 30);
    let log = || std::fs::metadata(folder.path().join("ayni.db-wal")).expect("there").len();
    let mut acknowledged = vec![(log(), 0)];
    for (len, _) in (1..).zip(&talk) {
        store.write(Write::Append(append(&talk[..len], 1))).await.expect("stored");
        acknowledged.push((log(), len as u64));
    }
    let copy = tempfile::tempdir().expect("a folder");
    files(folder.path(), copy.path());
    store.close().await;
    // Cut at every eighth page and within one, beginning where the room itself is there.
    let (start, end) = (acknowledged[0].0, log_len(&copy));
    for cut in (start..=end).rev().step_by(3333) {
        let file = std::fs::OpenOptions::new().write(true).open(copy.path().join("ayni.db-wal"));
        file.expect("opens").set_len(cut).expect("cuts");
        let crashed = tempfile::tempdir().expect("a folder");
        files(copy.path(), crashed.path());
        let promised = acknowledged.iter().filter(|(len, _)| *len <= cut).map(|(_, acked)| *acked);
        let promised = promised.max().expect("the room");
        assert!(chat_len(&crashed).await >= promised, "cut at {cut}");
    }
}

fn log_len(folder: &TempDir) -> u64 {
    std::fs::metadata(folder.path().join("ayni.db-wal")).expect("there").len()
}

#[tokio::test]
async fn hazard_20_a_copy_after_any_acknowledgement_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ayni.db");
    let connection = schema::open(&path).expect("opens");
    // So that copies fall before, between and after moves of the log file.
    connection.pragma_update(None, "wal_autocheckpoint", 12).expect("set");
    let store = Store::start(connection, &path, true).expect("starts");
    store.write(note(ROOM)).await.expect("stored");
    let talk = chain(1, Lane::Chat, 60);
    for len in 1..=talk.len() {
        store.write(Write::Append(append(&talk[..len], 1))).await.expect("stored");
        let copy = tempfile::tempdir().expect("a folder");
        files(folder.path(), copy.path());
        assert_eq!(chat_len(&copy).await, len as u64);
    }
}

#[tokio::test]
async fn writes_take_effect_in_the_order_of_submission() {
    let (folder, store) = fresh().await;
    let talk = chain(1, Lane::Chat, 600);
    let mut pending = Vec::new();
    for len in 1..=talk.len() {
        let permit = store.reserve().await.expect("open");
        pending.push(store.submit(permit, Write::Append(append(&talk[..len], 1))));
    }
    drop(pending.split_off(300));
    for write in pending {
        write.await.expect("stored");
    }
    store.close().await;
    let store = open(&folder);
    assert_eq!(store.event_count().await.expect("counts"), 600, "unheard writes count too");
}

#[tokio::test]
async fn a_failed_append_poisons_its_room_until_it_is_loaded_again() {
    let (_folder, store) = fresh().await;
    store.write(note(OTHER)).await.expect("stored");
    let (talk, other) = (chain(1, Lane::Chat, 4), chain(2, Lane::Chat, 1));
    let bad = Append { runs: vec![summary(&[&talk[..1]])], ..append(&talk[..2], 2) };
    let good = || Write::Append(append(&talk[..1], 1));
    let elsewhere = Write::Append(Append { room: OTHER, ..append(&other, 1) });
    let writes = [
        Write::Append(bad),
        elsewhere,
        good(),
        Write::MarkRead { room: ROOM },
        Write::Recovered { room: ROOM },
        good(),
    ];
    let mut permits = Vec::new();
    for _ in &writes {
        permits.push(store.reserve().await.expect("open"));
    }
    let pending: Vec<_> = permits
        .into_iter()
        .zip(writes)
        .map(|(permit, write)| store.submit(permit, write))
        .collect();
    let mut results = Vec::new();
    for one in pending {
        results.push(one.await.map_err(|error| error.to_string()));
    }
    let why = results[0].clone().expect_err("refused");
    assert_eq!(results[1], Ok(()), "another room");
    assert_eq!(results[2], Err(why), "it builds on the failed one");
    assert_eq!(results[3..], [Ok(()), Ok(()), Ok(())]);
    assert_eq!(store.load_room(ROOM).await.expect("loads").runs, vec![summary(&[&talk[..1]])]);
}

#[tokio::test]
async fn another_event_at_a_taken_position_is_refused_and_the_same_one_is_not() {
    let (_folder, store) = fresh().await;
    let talk = chain(1, Lane::Chat, 3);
    store.write(Write::Append(append(&talk, 3))).await.expect("stored");
    store.write(Write::Append(append(&talk, 3))).await.expect("the same events");
    let mut forked = talk.clone();
    forked[2] = event(1, Lane::Chat, 2, Some(talk[1].id()), 77);
    let error = store.write(Write::Append(append(&forked, 1))).await.expect_err("a fork");
    assert!(error.to_string().contains("position"), "{error}");
    let held = store.events(ROOM, chat(1), 0..9, usize::MAX, 9).await.expect("reads");
    assert_eq!(held, talk);
}

#[tokio::test]
async fn voided_events_are_gone() {
    let (_folder, store) = fresh().await;
    let (talk, other) = (chain(1, Lane::Chat, 20), chain(2, Lane::Chat, 5));
    store.write(Write::Append(append(&talk, 20))).await.expect("stored");
    store.write(Write::Append(append(&other, 5))).await.expect("stored");
    let held = |log| {
        let store = store.clone();
        async move {
            let events = store.events(ROOM, log, 0..99, usize::MAX, 99).await.expect("reads");
            (events.len(), store.event_count().await.expect("counts"))
        }
    };
    // The run comes with what was left of it.
    let cut = Append { voided: vec![(chat(1), 12)], ..append(&talk[..12], 0) };
    store.write(Write::Append(cut)).await.expect("stored");
    assert_eq!(held(chat(1)).await, (12, 17));
    // It comes and goes within one append.
    let both = Append {
        voided: vec![(chat(1), 12)],
        events: talk.clone().into(),
        ..append(&talk[..12], 0)
    };
    store.write(Write::Append(both)).await.expect("stored");
    assert_eq!(held(chat(1)).await, (12, 17));
    // No runs are named: what is cut in its middle goes whole.
    let bare = Append { voided: vec![(chat(2), 3)], runs: vec![], ..append(&other, 0) };
    store.write(Write::Append(bare)).await.expect("stored");
    assert_eq!(held(chat(2)).await, (0, 12));
    let gone = Append {
        voided: vec![(chat(1), 0)],
        runs: vec![(chat(1), vec![], Hlc(0))],
        ..append(&talk, 0)
    };
    store.write(Write::Append(gone)).await.expect("stored");
    assert_eq!(held(chat(1)).await, (0, 0));
    assert!(store.load_room(ROOM).await.expect("loads").runs.is_empty());
    assert!(store.messages(ROOM, None, 9, Hlc(u64::MAX)).await.expect("reads").is_empty());
}

#[tokio::test]
async fn a_full_disk_is_one_sentence_and_nothing_half_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ayni.db");
    let connection = schema::open(&path).expect("opens");
    connection.pragma_update(None, "max_page_count", 60).expect("set");
    let store = Store::start(connection, &path, true).expect("starts");
    store.write(note(ROOM)).await.expect("stored");
    let talk = chain(1, Lane::Chat, 2000);
    let mut acked = 0;
    let error = loop {
        match store.write(Write::Append(append(&talk[..acked + 50], 50))).await {
            Ok(()) => acked += 50,
            Err(error) => break error.to_string(),
        }
    };
    assert!(acked > 0 && error.starts_with("the disk is full: "), "{error}");
    store.write(Write::MarkRead { room: ROOM }).await.expect("the writer goes on");
    let copy = tempfile::tempdir().expect("a folder");
    files(folder.path(), copy.path());
    assert_eq!(chat_len(&copy).await, acked as u64);
    store.close().await;
    assert_eq!(chat_len(&folder).await, acked as u64);
}

#[tokio::test]
async fn closing_drains_and_refuses() {
    let (folder, store) = fresh().await;
    let talk = chain(1, Lane::Chat, 10);
    let permit = store.reserve().await.expect("open");
    let late = store.reserve().await.expect("open");
    let pending = store.submit(permit, Write::Append(append(&talk, 10)));
    let (other, closing) = (store.clone(), store.clone());
    let closing = tokio::spawn(async move { closing.close().await });
    // Who has a place already may still use it.
    store.submit(late, Write::MarkRead { room: ROOM }).await.expect("stored");
    pending.await.expect("stored");
    closing.await.expect("closed");
    other.close().await;
    assert!(matches!(store.write(note(OTHER)).await, Err(Error::Closed)));
    assert!(matches!(store.rooms().await, Err(Error::Closed)));
    assert!(!folder.path().join("ayni.db-wal").exists(), "the log file is moved into the database");
    assert_eq!(chat_len(&folder).await, 10);
}

//! Which messages a content comes with: what is listed, at once and later, and what is not any more.

use rusqlite::Connection;

use super::super::append::{Known, apply};
use super::super::attachments::{Attachments, attachments};
use super::super::timeline::Wanted;
use super::super::{Search, Words, index, schema};
use super::*;

/// Everything up to a count that no test reaches.
const ALL: usize = 100_000;

/// What is listed of a room now.
async fn listed(store: &Store, room: RoomId) -> Vec<Event> {
    store.attachments(room, None, ALL, Hlc(u64::MAX)).await.expect("reads").events
}

/// The messages that a content comes with.
async fn with(store: &Store, blob: u8) -> Vec<Event> {
    let attached = store.attached(BlobId([blob; 32])).await.expect("reads");
    attached.into_iter().map(|(_, event)| event).collect()
}

/// How many rows the table has.
async fn rows(store: &Store) -> i64 {
    let count = "SELECT count(*) FROM attachments";
    let read = store.0.pool.read(|db| Ok(db.query_row(count, [], |row| row.get(0))?));
    read.await.expect("reads")
}

async fn search(store: &Store, text: &str) -> Vec<Event> {
    settled(store).await;
    let words = Words::of(text).expect("words");
    let search = Search { words, room: None, before: None, limit: ALL, not_after: Hlc(u64::MAX) };
    let matches = store.search(search).await.expect("reads");
    matches.events.into_iter().map(|(_, event)| event).collect()
}

fn text(text: &str) -> Chat {
    Chat::message(text).expect("short")
}

/// Texts and files in turn, with one content for each three files.
fn mixed(count: u8) -> Vec<Chat> {
    let one = |n: u8| match n % 2 {
        0 => file(n / 6, &format!("file{n}.txt"), ""),
        _ => text("no file"),
    };
    (0..count).map(one).collect()
}

fn files_of(log: &[Event]) -> Vec<Event> {
    log.iter().step_by(2).cloned().collect()
}

/// A database that nobody writes to in the background.
fn still(folder: &TempDir, version: u32, writes: &[Write]) -> Connection {
    let db = schema::open_up_to(&folder.path().join("ayni.db"), version).expect("opens");
    let mut known = Known::default();
    for write in writes {
        apply(&db, &mut known, write).expect("stored");
    }
    db
}

#[tokio::test]
async fn they_are_listed_newest_first_whatever_the_page() {
    let (_folder, store) = fresh().await;
    for write in [note(OTHER), keys(ROOM, &secret(1)), keys(OTHER, &secret(1))] {
        store.write(write).await.expect("stored");
    }
    let mut all = Vec::new();
    for n in 1..=3 {
        let log = say(ROOM, n, &secret(1), 1000, &mixed(60)); // each second three at once
        store.write(all_of(ROOM, &log)).await.expect("stored");
        all.extend(files_of(&log));
    }
    let away = say(OTHER, 4, &secret(1), 5500, &mixed(9));
    store.write(all_of(OTHER, &away)).await.expect("stored");
    settled(&store).await;
    assert_eq!(rows(&store).await, 95, "the background found them");
    all = newest_first(&[&all]);
    for limit in [1, 7, 90, 1000] {
        let (mut read, mut before) = (Vec::new(), None);
        loop {
            let page = store.attachments(ROOM, before, limit, Hlc(u64::MAX)).await.expect("reads");
            assert!(page.events.len() <= limit && page.behind == 0);
            let Some(last) = page.events.last() else { break };
            before = Some((last.header().time.0, last.id()));
            read.extend(page.events);
        }
        assert!(read == all, "pages of {limit}");
    }
    assert_eq!(listed(&store, OTHER).await, newest_first(&[&files_of(&away)]));
    assert_eq!(listed(&store, RoomId([9; 32])).await, []);
    let due = all[40].header().time;
    let shown: Vec<_> = all.iter().filter(|event| event.header().time <= due).cloned().collect();
    let not_yet = store.attachments(ROOM, None, ALL, due).await.expect("reads");
    assert!(not_yet.events == shown && shown.len() < all.len(), "what is not due is not listed");
    let none = store.attachments(ROOM, None, 0, Hlc(u64::MAX)).await.expect("reads");
    assert_eq!(none.events, []);
}

#[tokio::test]
async fn what_was_just_said_is_listed_at_once() {
    let (_folder, store) = fresh().await;
    store.write(keys(ROOM, &secret(1))).await.expect("stored");
    let said: Vec<Chat> = (0..200).map(|n| file(n % 2, "just.said", "")).collect();
    let log = say(ROOM, 1, &secret(1), 1000, &said);
    for len in 1..=log.len() {
        store.write(Write::Append(append(&log[..len], 1))).await.expect("stored");
        let page = store.attachments(ROOM, None, 1, Hlc(u64::MAX)).await.expect("reads");
        assert_eq!(page, Attachments { events: log[len - 1..len].to_vec(), behind: 0 });
        let newest = with(&store, u8::from(len % 2 == 0)).await;
        assert_eq!(newest.first(), log.get(len - 1));
    }
    assert_eq!(listed(&store, ROOM).await, newest_first(&[&log]));
}

#[test]
fn how_much_was_not_looked_into_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = vec![file(1, "a.b", ""); 3000];
    let log = say(ROOM, 1, &secret(1), 1000, &said);
    let writes = [note(ROOM), keys(ROOM, &secret(1)), all_of(ROOM, &log)];
    let db = still(&folder, schema::VERSION, &writes);
    let list = || {
        let wanted = Wanted::new(None, ALL, Hlc(u64::MAX));
        let page = attachments(&db, ROOM, &wanted).expect("reads");
        assert!(newest_first(&[&log]).starts_with(&page.events[..512]), "the newest");
        (page.events.len(), page.behind)
    };
    let mut seen = vec![list()];
    assert_eq!(seen[0], (512, 2488));
    while index::step(&db, || false).expect("looks") {
        seen.push(list());
    }
    assert!(seen.is_sorted() && seen.len() > 6, "{seen:?}");
    assert!(seen.iter().all(|(found, behind)| *found as u64 + behind == 3000), "{seen:?}");
    assert_eq!(seen.last(), Some(&(3000, 0)));
}

#[tokio::test]
async fn what_cannot_be_read_yet_is_listed_when_its_key_comes() {
    for indexes in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ayni.db");
        let store = Store::open(&path, indexes).expect("opens");
        for write in [note(ROOM), keys(ROOM, &secret(1))] {
            store.write(write).await.expect("stored");
        }
        let locked = say(ROOM, 1, &secret(2), 1000, &mixed(30));
        let open = say(ROOM, 2, &secret(1), 1000, &mixed(250));
        let later = say(ROOM, 3, &secret(2), 1000, &mixed(30));
        for log in [&locked, &open, &later] {
            store.write(all_of(ROOM, log)).await.expect("stored");
        }
        settled(&store).await;
        let page = store.attachments(ROOM, None, ALL, Hlc(u64::MAX)).await.expect("reads");
        let shown = newest_first(&[&files_of(&open)]);
        assert_eq!(page, Attachments { events: shown, behind: 0 }, "nobody can wait for the key");
        store.write(keys(ROOM, &secret(2))).await.expect("stored");
        store.close().await;
        let store = Store::open(&path, indexes).expect("opens");
        settled(&store).await;
        let all = [files_of(&locked), files_of(&open), files_of(&later)].concat();
        assert!(listed(&store, ROOM).await == newest_first(&[&all]));
        assert_eq!(rows(&store).await, 155);
    }
}

#[tokio::test]
async fn deleted_messages_leave_on_every_way() {
    for (indexes, waits) in [(true, true), (true, false), (false, true), (false, false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("ayni.db"), indexes).expect("opens");
        for write in [note(ROOM), keys(ROOM, &secret(1))] {
            store.write(write).await.expect("stored");
        }
        let logs: Vec<_> =
            (1..=3).map(|n| say(ROOM, n, &secret(1), 1000, &vec![file(n, "x.y", ""); 8])).collect();
        for log in &logs {
            store.write(all_of(ROOM, log)).await.expect("stored");
        }
        let left = async |expected: [&[Event]; 3]| {
            if waits {
                settled(&store).await;
                let sum: usize = expected.iter().map(|log| log.len()).sum();
                assert_eq!(rows(&store).await, i64::try_from(sum).expect("few"));
            }
            assert_eq!(listed(&store, ROOM).await, newest_first(&expected));
            for (n, log) in (1..).zip(expected) {
                assert_eq!(with(&store, n).await, newest_first(&[log]));
            }
            for event in logs.concat() {
                let found = store.event_of(ROOM, event.id()).await.expect("reads");
                let there = expected.concat().contains(&event);
                assert_eq!(found, there.then_some(event));
            }
        };
        left([&logs[0], &logs[1], &logs[2]]).await;
        // The run comes with what was left of it.
        store.write(cut(chat(1), &logs[0][..5])).await.expect("stored");
        left([&logs[0][..5], &logs[1], &logs[2]]).await;
        // They come and go within one append.
        let both = Append {
            voided: vec![(chat(1), 5)],
            events: logs[0].clone().into(),
            ..append(&logs[0][..5], 0)
        };
        store.write(Write::Append(both)).await.expect("stored");
        left([&logs[0][..5], &logs[1], &logs[2]]).await;
        // No runs are named: what is cut in its middle goes whole.
        let bare = Append { voided: vec![(chat(2), 3)], runs: vec![], ..append(&logs[1], 0) };
        store.write(Write::Append(bare)).await.expect("stored");
        left([&logs[0][..5], &[], &logs[2]]).await;
        store.write(cut(chat(3), &[])).await.expect("stored");
        left([&logs[0][..5], &[], &[]]).await;
        // The numbers of the rows are given again, to what comes with something else.
        let again = say(ROOM, 4, &secret(1), 1000, &[text("none"), file(9, "other", "")]);
        store.write(all_of(ROOM, &again)).await.expect("stored");
        settled(&store).await;
        assert_eq!(listed(&store, ROOM).await, newest_first(&[&logs[0][..5], &again[1..]]));
        assert_eq!(with(&store, 3).await, []);
        assert_eq!(with(&store, 9).await, again[1..]);
    }
}

#[tokio::test]
async fn names_and_captions_are_found_by_their_words() {
    let (folder, store) = fresh().await;
    store.write(keys(ROOM, &secret(1))).await.expect("stored");
    let Chat::Attachment(mut folder_of, _) = file(3, "Harvest plans", "") else { panic!("a file") };
    (folder_of.files, folder_of.media_type) = (Some(12), String::new());
    let said = [
        file(1, "IMG_2041 zyzzyva.jpg", "the river at Dusk"),
        text("the river"),
        Chat::attachment(*folder_of, "").expect("short"),
        file(4, "qoph.pdf", ""),
    ];
    let log = say(ROOM, 1, &secret(1), 1000, &said);
    store.write(all_of(ROOM, &log)).await.expect("stored");
    assert_eq!(search(&store, "river").await, newest_first(&[&log[..2]]));
    assert_eq!(search(&store, "dusk river").await, log[..1], "its caption");
    assert_eq!(search(&store, "img_2041").await, log[..1], "its name");
    assert_eq!(search(&store, "2041 dusk").await, log[..1], "both");
    assert_eq!(search(&store, "harvest").await, log[2..3], "a folder's");
    assert_eq!(search(&store, "qoph.pdf").await, log[3..]);
    assert!(on_disk(folder.path(), b"zyzzyva"));
    store.write(cut(chat(1), &[])).await.expect("stored");
    assert_eq!(search(&store, "river").await, []);
    store.close().await;
    for word in [&b"zyzzyva"[..], b"yzzyva", b"qoph"] {
        assert!(!on_disk(folder.path(), word), "they leave with it");
    }
}

#[tokio::test]
async fn switched_off_words_leave_attachments_as_they_are() {
    let (folder, store) = fresh().await;
    store.write(keys(ROOM, &secret(1))).await.expect("stored");
    let said = [text("zyzzyva"), file(1, "zyzzyva.txt", ""), file(2, "b", "zyzzyva")];
    let log = say(ROOM, 1, &secret(1), 1000, &said);
    store.write(Write::Append(append(&log[..2], 2))).await.expect("stored");
    assert_eq!(search(&store, "zyzzyva").await, newest_first(&[&log[..2]]));
    store.close().await;
    let path = folder.path().join("ayni.db");
    for _ in 0..2 {
        let store = Store::open(&path, false).expect("opens");
        store.write(all_of(ROOM, &log)).await.expect("stored");
        settled(&store).await;
        assert_eq!(rows(&store).await, 2);
        assert_eq!(listed(&store, ROOM).await, newest_first(&[&log[1..]]));
        store.close().await;
        assert!(!on_disk(folder.path(), b"zyzzyva"));
    }
    for _ in 0..2 {
        let store = open(&folder);
        assert_eq!(listed(&store, ROOM).await, newest_first(&[&log[1..]]), "at any time");
        assert_eq!(search(&store, "zyzzyva").await, newest_first(&[&log]));
        assert_eq!(rows(&store).await, 2);
        store.close().await;
    }
}

#[tokio::test]
async fn an_older_database_is_looked_through_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let said =
        [text("zyzzyva words"), file(1, "zyzzyva.txt", "of words"), file(2, "last", "words")];
    let log = say(ROOM, 1, &secret(1), 1000, &said);
    let locked = say(ROOM, 2, &secret(2), 1000, &[file(1, "yarrow", ""), text("yarrow")]);
    let writes = [note(ROOM), keys(ROOM, &secret(1)), all_of(ROOM, &log), all_of(ROOM, &locked)];
    let db = still(&folder, 2, &writes);
    // As an older program left it: it read no attachments, and was in the middle of forgetting.
    db.execute_batch(
        "INSERT INTO texts (rowid, text) VALUES (1, 'zyzzyva words'), (9, 'forgotten');
         INSERT INTO leaving (id, text) VALUES (9, 'forgotten');
         UPDATE indexing SET upto = 4;",
    )
    .expect("stored");
    db.execute(
        "INSERT INTO unreadable (room, epoch, first, last) VALUES (1, ?1, 4, 4)",
        [secret(2).id(ROOM).0],
    )
    .expect("stored");
    drop(db);
    let store = open(&folder);
    assert_eq!(listed(&store, ROOM).await, newest_first(&[&log[1..]]), "at once");
    assert_eq!(search(&store, "words").await, newest_first(&[&log]));
    assert_eq!(search(&store, "zyzzyva").await, newest_first(&[&log[..2]]));
    assert_eq!(rows(&store).await, 2);
    assert_eq!(search(&store, "forgotten").await, []);
    store.write(keys(ROOM, &secret(2))).await.expect("stored");
    assert_eq!(search(&store, "yarrow").await, newest_first(&[&locked]));
    assert_eq!(with(&store, 1).await, newest_first(&[&log[1..2], &locked[..1]]));
    assert_eq!(store.event_count().await.expect("counts"), 5);
    // Each word once: nothing is left of them when the messages are deleted.
    for n in [1, 2] {
        store.write(cut(chat(n), &[])).await.expect("stored");
    }
    settled(&store).await;
    store.close().await;
    for word in [&b"zyzzyva"[..], b"yarrow", b"forgotten"] {
        assert!(!on_disk(folder.path(), word));
    }
}

#[tokio::test]
async fn what_is_damaged_is_made_again() {
    let (folder, store) = fresh().await;
    store.write(keys(ROOM, &secret(1))).await.expect("stored");
    let log = say(ROOM, 1, &secret(1), 1000, &mixed(20));
    store.write(all_of(ROOM, &log)).await.expect("stored");
    settled(&store).await;
    store.close().await;
    let db = schema::open(&folder.path().join("ayni.db")).expect("opens");
    db.execute("DELETE FROM attachments WHERE event % 4 = 1", []).expect("damaged");
    index::rebuild(&db).expect("made again");
    drop(db);
    let store = open(&folder);
    settled(&store).await;
    assert_eq!(rows(&store).await, 10);
    assert_eq!(listed(&store, ROOM).await, newest_first(&[&files_of(&log)]));
}

#[tokio::test]
async fn a_message_is_found_by_its_id() {
    let (_folder, store) = fresh().await;
    for write in [note(OTHER), keys(ROOM, &secret(1)), keys(OTHER, &secret(1))] {
        store.write(write).await.expect("stored");
    }
    let log = say(ROOM, 1, &secret(1), 1000, &mixed(60));
    let away = say(OTHER, 1, &secret(1), 1000, &mixed(60));
    let locked = say(ROOM, 2, &secret(2), 1000, &mixed(2));
    let control = chain(3, Lane::Control, 2);
    for (room, log) in [(ROOM, &log), (OTHER, &away), (ROOM, &locked), (ROOM, &control)] {
        store.write(all_of(room, log)).await.expect("stored");
    }
    settled(&store).await;
    for event in log.iter().chain(&locked) {
        let found = store.event_of(ROOM, event.id()).await.expect("reads");
        assert_eq!(found.as_ref(), Some(event));
        assert_eq!(store.event_of(OTHER, event.id()).await.expect("reads"), None);
    }
    for id in [away[0].id(), away[1].id(), control[0].id(), EventId([0; 32])] {
        assert_eq!(store.event_of(ROOM, id).await.expect("reads"), None);
    }
}

#[tokio::test]
async fn no_room_pushes_out_another() {
    let (_folder, store) = fresh().await;
    for write in [note(OTHER), keys(ROOM, &secret(1)), keys(OTHER, &secret(1))] {
        store.write(write).await.expect("stored");
    }
    let few = say(ROOM, 1, &secret(1), 1000, &vec![file(1, "a", ""); 3]);
    let many = say(OTHER, 2, &secret(1), 900_000, &vec![file(1, "a", ""); 200]);
    store.write(all_of(ROOM, &few)).await.expect("stored");
    store.write(all_of(OTHER, &many)).await.expect("stored");
    for _ in 0..2 {
        let attached = store.attached(BlobId([1; 32])).await.expect("reads");
        let (rooms, events): (Vec<_>, Vec<_>) = attached.into_iter().unzip();
        assert_eq!(rooms.iter().filter(|room| **room == ROOM).count(), 3);
        assert_eq!(events, newest_first(&[&few, &many[139..]]), "64 in all");
        settled(&store).await; // and again from the table
    }
    assert_eq!(with(&store, 2).await, []);
}

/// The shortest of several tries: what it takes when nothing else runs.
async fn shortest(store: &Store, expected: &[Event]) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..30 {
        let begun = Instant::now();
        let page = store.attachments(ROOM, None, 50, Hlc(u64::MAX)).await.expect("reads");
        shortest = shortest.min(begun.elapsed());
        assert!(page.events == expected && page.behind == 0);
    }
    shortest
}

#[tokio::test]
async fn the_newest_of_100_000_take_no_longer_than_those_of_1000() {
    let (folder, store) = fresh().await;
    store.write(keys(ROOM, &secret(1))).await.expect("stored");
    let log = say(ROOM, 1, &secret(1), 1_000_000, &vec![file(1, "a.txt", "words"); 1000]);
    store.write(all_of(ROOM, &log)).await.expect("stored");
    settled(&store).await;
    let newest = &newest_first(&[&log])[..50];
    let of_few = shortest(&store, newest).await;
    store.close().await;
    // 99,000 older ones, which are never read: so copies of one will do.
    let db = schema::open(&folder.path().join("ayni.db")).expect("opens");
    db.execute_batch(
        "INSERT INTO events (id, room, lane, log, seq, time, short, header, signature, body)
         SELECT value, 1, 1, log, value, time - 1000 * value, short, header, signature, body
         FROM (WITH RECURSIVE n (value) AS
                   (SELECT 2000 UNION ALL SELECT value + 1 FROM n WHERE value < 100999)
               SELECT value FROM n),
              (SELECT * FROM events WHERE id = 1);
         INSERT INTO attachments (event, room, time, short, blob)
         SELECT e.id, e.room, e.time, e.short, a.blob
         FROM events e, attachments a WHERE e.id >= 2000 AND a.event = 1;
         UPDATE indexing SET upto = (SELECT max(id) FROM events);",
    )
    .expect("stored");
    drop(db);
    let store = open(&folder);
    assert_eq!(rows(&store).await, 100_000);
    let of_many = shortest(&store, newest).await;
    // A list that were sorted, or read through, would take a hundred times as long.
    assert!(of_many < of_few * 10, "{of_many:?} after {of_few:?}");
}

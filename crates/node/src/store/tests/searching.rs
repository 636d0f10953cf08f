//! What is found by its words, in which order, and what is not found any more.

use std::time::{Duration, Instant};

use ayni_core::chat::Chat;
use ayni_core::epoch::EpochSecret;

use super::super::{Matches, Search, Words, schema};
use super::*;

/// A log of device `n` in a room, with these texts, one each second from `time` on.
fn talk(room: RoomId, n: u8, key: &EpochSecret, time: u64, texts: &[&str]) -> Vec<Event> {
    let said: Vec<Chat> = texts.iter().map(|text| Chat::message(text).expect("short")).collect();
    say(room, n, key, time, &said)
}

fn asked(text: &str) -> Search {
    let words = Words::of(text).expect("words");
    Search { words, room: None, before: None, limit: 100, not_after: Hlc(u64::MAX) }
}

/// Returns what a search finds when the index is complete, with page sizes that meet ties.
async fn found(store: &Store, search: Search) -> Vec<Event> {
    settled(store).await;
    let Matches { events: whole, behind } = store.search(search.clone()).await.expect("reads");
    assert_eq!(behind, 0);
    for limit in [1, 3] {
        let (mut paged, mut before) = (Vec::new(), search.before);
        loop {
            let page = Search { before, limit, ..search.clone() };
            let page = store.search(page).await.expect("reads").events;
            assert!(page.len() <= limit);
            let Some((_, last)) = page.last() else { break };
            before = Some((last.header().time.0, last.id()));
            paged.extend(page);
        }
        assert_eq!(paged, whole, "pages of {limit}");
    }
    whole.into_iter().map(|(_, event)| event).collect()
}

#[tokio::test]
async fn messages_are_found_by_all_their_words_newest_first_and_by_room() {
    let (_folder, store) = fresh().await;
    store.write(note(OTHER)).await.expect("stored");
    for room in [ROOM, OTHER] {
        store.write(keys(room, &secret(1))).await.expect("stored");
    }
    let texts = ["Dinner at the RIVER?", "the river froze", "Crème brûlée for dinner", "no more"];
    let many = ["the river again"; 30];
    // The older ones come later, as a newcomer takes them.
    let one = talk(ROOM, 1, &secret(1), 500_000, &texts);
    let two = talk(ROOM, 2, &secret(1), 5_000, &many);
    let away = talk(OTHER, 3, &secret(1), 502_000, &texts[..2]);
    for (room, log) in [(ROOM, &one), (ROOM, &two), (OTHER, &away)] {
        store.write(all_of(room, log)).await.expect("stored");
    }
    let here = |text| Search { room: Some(ROOM), ..asked(text) };
    assert_eq!(found(&store, here("dinner river")).await, one[..1], "all words");
    assert_eq!(found(&store, here("DINN")).await, [one[2].clone(), one[0].clone()], "beginnings");
    assert_eq!(found(&store, here("brulee creme")).await, one[2..3], "accents, any order");
    assert_eq!(found(&store, here("no")).await, one[3..4], "short words are whole");
    assert_eq!(found(&store, here("dog")).await, []);
    let river = newest_first(&[&one[..2], &two]);
    assert_eq!(found(&store, here("river")).await, river, "many");
    assert_eq!(found(&store, asked("river")).await, newest_first(&[&river, &away]), "everywhere");
    assert_eq!(found(&store, asked("froze")).await, newest_first(&[&one[1..2], &away[1..]]));
    let due = Search { not_after: one[0].header().time, ..here("river") };
    assert_eq!(found(&store, due).await, river[1..], "what is not due is not found");
    let nowhere = Search { room: Some(RoomId([9; 32])), ..asked("river") };
    assert_eq!(found(&store, nowhere).await, []);
}

#[tokio::test]
async fn no_text_is_an_error_or_finds_what_it_should_not() {
    let (_folder, store) = fresh().await;
    store.write(keys(ROOM, &secret(1))).await.expect("stored");
    let log = talk(ROOM, 1, &secret(1), 1000, &["say \"NEAR\" to me", "x' OR 1=1"]);
    store.write(all_of(ROOM, &log)).await.expect("stored");
    settled(&store).await;
    assert_eq!(found(&store, asked("\"NEAR\"")).await, log[..1]);
    let hostile = [
        "NEAR(a b)",
        "text:say",
        "{text}: say",
        "say*to",
        "^say",
        "say AND",
        "NOT say",
        "a\"",
        "(((a",
        "say)\"; DROP TABLE texts;--",
        "-say",
        "rowid:1",
        "\u{0}say\u{0}nothing",
        "a+b",
        "\u{202e}say",
        "%",
        "1",
        "\u{10ffff}a",
        "ａ",
        "e\u{301}\u{301}\u{301}",
        "'a' 'b'",
    ];
    for text in hostile {
        if Words::of(text).is_some() {
            let matches = store.search(asked(text)).await;
            assert!(matches.is_ok_and(|matches| matches.events.len() <= 2), "{text:?}");
        }
    }
    let long = "a\"*( ".repeat(200);
    assert!(store.search(asked(&long)).await.is_ok());
    assert_eq!(found(&store, asked("say")).await, log[..1], "and all is as before");
}

#[tokio::test]
async fn what_cannot_be_read_yet_is_found_when_its_key_comes() {
    let (folder, store) = fresh().await;
    store.write(keys(ROOM, &secret(1))).await.expect("stored");
    let mut texts = vec!["locked words"; 3];
    let locked = talk(ROOM, 1, &secret(2), 1000, &texts);
    texts.extend(["open words"; 700]);
    let open = talk(ROOM, 2, &secret(1), 1000, &texts[3..]);
    let more = talk(ROOM, 3, &secret(2), 9000, &texts[..2]);
    for log in [&locked, &open, &more] {
        store.write(all_of(ROOM, log)).await.expect("stored");
    }
    assert_eq!(found(&store, asked("locked")).await, []);
    assert_eq!(found(&store, Search { limit: 1000, ..asked("open") }).await.len(), 700);
    // Also if the node ends before it is looked at again.
    store.write(keys(ROOM, &secret(2))).await.expect("stored");
    store.close().await;
    let store = self::open(&folder);
    assert_eq!(found(&store, asked("locked")).await, newest_first(&[&locked, &more]));
    assert_eq!(
        found(&store, Search { limit: 1000, ..asked("words") }).await.len(),
        705,
        "each once"
    );
}

#[tokio::test]
async fn indexing_goes_on_after_any_end() {
    let (folder, store) = fresh().await;
    store.write(keys(ROOM, &secret(1))).await.expect("stored");
    let texts: Vec<String> = (0..1500).map(|n| format!("word{n} common")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let log = talk(ROOM, 1, &secret(1), 1000, &texts);
    store.write(all_of(ROOM, &log)).await.expect("stored");
    // A copy at some moment is what a crash leaves.
    let begun = Instant::now();
    while store.search(asked("common")).await.expect("reads").events.is_empty() {
        assert!(begun.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let crashed = tempfile::tempdir().expect("a folder");
    for name in ["ayni.db-wal", "ayni.db"] {
        std::fs::copy(folder.path().join(name), crashed.path().join(name)).expect("copied");
    }
    drop(store);
    for folder in [&folder, &crashed] {
        let store = self::open(folder);
        let all = found(&store, Search { limit: 2000, ..asked("common") }).await;
        assert_eq!(all, newest_first(&[&log]), "each once");
        assert_eq!(found(&store, asked("word1499")).await, log[1499..]);
        store.close().await;
    }
}

#[tokio::test]
async fn voided_messages_leave_the_index_and_the_disk() {
    let (folder, store) = fresh().await;
    store.write(keys(ROOM, &secret(1))).await.expect("stored");
    let texts = ["remains here", "zyzzyva secret", "qoph remains", "zyzzyva again"];
    let log = talk(ROOM, 1, &secret(1), 1000, &texts);
    let other = talk(ROOM, 2, &secret(1), 1000, &["remains too"; 40]);
    store.write(all_of(ROOM, &log)).await.expect("stored");
    store.write(all_of(ROOM, &other)).await.expect("stored");
    assert_eq!(found(&store, asked("zyzzyva")).await, [log[3].clone(), log[1].clone()]);
    assert!(on_disk(folder.path(), b"zyzzyva"));
    store.write(cut(chat(1), &log[..1])).await.expect("stored");
    assert_eq!(found(&store, asked("zyzzyva")).await, []);
    assert_eq!(found(&store, asked("qoph")).await, []);
    assert_eq!(found(&store, asked("remains")).await, newest_first(&[&log[..1], &other]));
    store.close().await;
    for word in [&b"zyzzyva"[..], b"yzzyva", b"qoph"] {
        assert!(!on_disk(folder.path(), word));
    }
}

#[tokio::test]
async fn a_row_number_that_is_given_again_is_another_message() {
    let (_folder, store) = fresh().await;
    store.write(keys(ROOM, &secret(1))).await.expect("stored");
    let first = talk(ROOM, 1, &secret(1), 1000, &["stays", "old one", "old two"]);
    let locked = talk(ROOM, 4, &secret(4), 1000, &["closed"; 2]);
    store.write(all_of(ROOM, &first)).await.expect("stored");
    store.write(all_of(ROOM, &locked)).await.expect("stored");
    settled(&store).await;
    // Both, and at once what takes their rows: of the same epoch, and of the other.
    let second = talk(ROOM, 2, &secret(4), 1000, &["new one"]);
    let third = talk(ROOM, 3, &secret(1), 1000, &["new two old", "new three"]);
    let writes =
        [cut(chat(4), &[]), cut(chat(1), &first[..1]), all_of(ROOM, &second), all_of(ROOM, &third)];
    let mut pending = Vec::new();
    for write in writes {
        let permit = store.reserve().await.expect("open");
        pending.push(store.submit(permit, write));
    }
    for write in pending {
        write.await.expect("stored");
    }
    assert_eq!(found(&store, asked("old")).await, third[..1]);
    assert_eq!(found(&store, asked("new")).await, newest_first(&[&third]));
    store.write(keys(ROOM, &secret(4))).await.expect("stored");
    assert_eq!(found(&store, asked("new")).await, newest_first(&[&second, &third]));
    assert_eq!(found(&store, asked("closed")).await, []);
    assert_eq!(found(&store, asked("stays")).await, first[..1]);
}

#[tokio::test]
async fn an_older_database_is_brought_up_to_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ayni.db");
    let log = talk(ROOM, 1, &secret(1), 1000, &["written long ago", "and later"]);
    {
        let db = schema::open_up_to(&path, 1).expect("opens");
        let mut known = super::super::append::Known::default();
        for write in [note(ROOM), keys(ROOM, &secret(1)), all_of(ROOM, &log)] {
            super::super::append::apply(&db, &mut known, &write).expect("as it was");
        }
        let version: u32 =
            db.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a number");
        assert_eq!(version, 1);
    }
    let store = self::open(&folder);
    assert_eq!(found(&store, asked("long ago")).await, log[..1]);
    let held = store.events(ROOM, chat(1), 0..9, usize::MAX, 9).await.expect("reads");
    assert_eq!(held, log);
}

#[tokio::test]
async fn switched_off_it_keeps_no_words() {
    let (folder, store) = fresh().await;
    store.write(keys(ROOM, &secret(1))).await.expect("stored");
    let log = talk(ROOM, 1, &secret(1), 1000, &["zyzzyva", "more of it"]);
    store.write(all_of(ROOM, &log)).await.expect("stored");
    assert_eq!(found(&store, asked("zyzzyva")).await, log[..1]);
    store.close().await;
    let path = folder.path().join("ayni.db");
    let store = Store::open(&path, false).expect("opens");
    let error = store.search(asked("zyzzyva")).await.expect_err("off");
    assert!(error.to_string().contains("switched off"), "{error}");
    store.close().await;
    assert!(!on_disk(folder.path(), b"zyzzyva"));
    let store = self::open(&folder);
    assert_eq!(found(&store, asked("zyzzyva")).await, log[..1], "it is made again");
}

#[tokio::test]
async fn a_damaged_index_is_made_again() {
    let (folder, store) = fresh().await;
    store.write(keys(ROOM, &secret(1))).await.expect("stored");
    let log = talk(ROOM, 1, &secret(1), 1000, &["first words", "second words", "third words"]);
    store.write(Write::Append(append(&log[..2], 2))).await.expect("stored");
    settled(&store).await;
    store.close().await;
    let db = schema::open(&folder.path().join("ayni.db")).expect("opens");
    db.execute("UPDATE texts_data SET block = x'ffffffffffffffff'", []).expect("damaged");
    drop(db);
    let store = self::open(&folder);
    store.write(Write::Append(append(&log, 1))).await.expect("messages are stored all the same");
    let begun = Instant::now();
    while store.search(asked("words")).await.is_err() {
        assert!(begun.elapsed() < DEADLINE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(found(&store, asked("words")).await, newest_first(&[&log]));
}

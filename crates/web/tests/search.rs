//! Searching through the API: what is found, in which order, and what cannot be searched for.

mod common;

use std::time::Instant;

use ayni_web::api::{ErrorCode, FoundMessage, MAX_FOUND};
use common::{Api, DEADLINE};
use futures_util::TryStreamExt;

/// Searches until everything is indexed.
async fn found(api: &Api, text: &str, room: Option<&str>, limit: usize) -> Vec<FoundMessage> {
    let begun = Instant::now();
    loop {
        let found = api.client.search(text, room, limit).await.expect("searches");
        let behind = found.behind;
        let messages: Vec<_> = found.messages.try_collect().await.expect("the whole reply");
        if behind == 0 {
            return messages;
        }
        assert!(begun.elapsed() < DEADLINE, "{behind} are not indexed");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn texts(found: &[FoundMessage]) -> Vec<&str> {
    found.iter().map(|it| it.message.text.as_str()).collect()
}

#[tokio::test]
async fn messages_are_found_in_all_rooms_or_in_one_with_the_room_named() {
    let api = Api::start().await;
    let family = api.client.create_room("family").await.expect("a room").room;
    let work = api.client.create_room("work").await.expect("a room").room;
    for (room, text) in [
        ("family", "who brings the bread?"),
        ("work", "Bread for all"),
        ("family", "nobody"),
        ("family", "then no bread"),
    ] {
        api.client.say(room, text).await.expect("said");
    }
    let all = found(&api, "bread", None, 50).await;
    assert!(all.is_sorted_by_key(|it| std::cmp::Reverse(it.message.time)), "newest first");
    // Within one millisecond the order between rooms says nothing.
    let of = |room| -> Vec<_> { all.iter().filter(|it| it.message.room == room).collect() };
    let named = |room| -> Vec<_> {
        of(room).iter().map(|it| (it.room_name.as_str(), it.message.text.as_str())).collect()
    };
    let in_family = [("family", "then no bread"), ("family", "who brings the bread?")];
    assert_eq!(named(family), in_family);
    assert_eq!(named(work), [("work", "Bread for all")]);
    let newest = found(&api, "bread", Some("family"), 1).await;
    assert_eq!(texts(&newest), ["then no bread"]);
    let one = found(&api, "bre", Some("work"), 50).await;
    assert_eq!(texts(&one), ["Bread for all"], "by the beginning of a word");
    assert_eq!(texts(&found(&api, "brings bread", None, 50).await), ["who brings the bread?"]);
    assert!(found(&api, "butter", None, 50).await.is_empty());
    // What one left stays readable, and so it is found.
    api.client.leave("work").await.expect("left");
    assert_eq!(texts(&found(&api, "all", Some("work"), 50).await), ["Bread for all"]);
    api.stop().await;
}

#[tokio::test]
async fn many_are_found_each_once_and_from_the_newest() {
    let api = Api::start().await;
    api.client.create_room("den").await.expect("a room");
    let room = api.node.find_room("den").expect("just made");
    // More than two of the pages that the server reads at once, and not a multiple.
    let count = 700;
    for n in 0..count {
        api.node.say(room, &format!("word {n}")).await.expect("said");
    }
    for limit in [1, 256, 257, 512, 699, 700, MAX_FOUND] {
        let found = found(&api, "word", None, limit).await;
        let first = count - limit.min(count);
        let expected: Vec<_> = (first..count).rev().map(|n| format!("word {n}")).collect();
        assert_eq!(texts(&found), expected, "limit {limit}");
    }
    let answer = api.ask("GET", "/api/v1/search?text=word").send().await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let first = answer.body.lines().find(|line| line.starts_with('{'));
    assert_eq!(first, Some(r#"{"behind":0}"#));
    assert_eq!(answer.body.matches("\"room_name\":\"den\"").count(), 50, "the default limit");
    api.stop().await;
}

#[tokio::test]
async fn words_are_words_whatever_they_look_like() {
    let api = Api::start().await;
    api.client.create_room("den").await.expect("a room");
    let hostile = "\u{1b}[2J\u{202e}\"quoted\" OR nothing* \u{0}end";
    api.client.say("den", hostile).await.expect("said");
    assert_eq!(texts(&found(&api, "quoted", None, 5).await), [hostile]);
    for word in ["\"quoted\"", "QUOTED\"", "nothing*", "quoted OR nothing", "end\u{0}", "-quoted"] {
        assert_eq!(texts(&found(&api, word, None, 5).await), [hostile], "{word:?}");
    }
    for word in ["quoted OR absent", "text:quoted NEAR", "abs*", "quoted AND NOT nothing"] {
        assert!(found(&api, word, None, 5).await.is_empty(), "{word:?}");
    }
    api.stop().await;
}

#[tokio::test]
async fn what_cannot_be_searched_for_keeps_its_code() {
    let api = Api::start().await;
    api.client.create_room("den").await.expect("a room");
    // The last ones are too long for the node, for the head of a request, and for an address at all.
    let long = [1025, 20_000, 60_000, 1_000_000].map(|bytes| "x".repeat(bytes));
    for text in ["", " ", "?!", "\u{0}"].into_iter().chain(long.iter().map(String::as_str)) {
        let refused = api.client.search(text, None, 5).await.expect_err("refused");
        assert_eq!(refused.code, ErrorCode::Invalid, "{} bytes: {refused}", text.len());
        assert!(!refused.message.contains('\n'), "{refused}");
    }
    assert!(api.client.search(&"x".repeat(1024), None, 5).await.is_ok(), "inclusive");
    let nowhere = api.client.search("x", Some("nowhere"), 5).await.expect_err("no room");
    assert_eq!(nowhere.code, ErrorCode::NotFound);
    let cases = [
        ("/api/v1/search", 400, "invalid"),
        ("/api/v1/search?text=", 400, "invalid"),
        ("/api/v1/search?text=x&text=y", 400, "invalid"),
        ("/api/v1/search?text=x&limit=0", 400, "invalid"),
        ("/api/v1/search?text=x&limit=1001", 400, "invalid"),
        ("/api/v1/search?text=x&limit=-1", 400, "invalid"),
        ("/api/v1/search?text=x&limti=5", 400, "invalid"),
        ("/api/v1/search?text=x&room=", 404, "not_found"),
        ("/api/v1/search?text=x&room=nowhere", 404, "not_found"),
        ("/api/v1/search?text=%ff", 400, "invalid"),
    ];
    for (path, status, code) in cases {
        let answer = api.ask("GET", path).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
    }
    api.stop().await;
}

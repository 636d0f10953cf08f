//! Pictures, files and transfers through the typed client, on one node without a network.

mod common;

use std::path::Path;

use ayni_web::api::{
    Attach, Attached, ErrorCode, Event, Existing, Fetch, File, Here, Limits, Message, MessageKind,
    Priority, Transfer, TransferState,
};
use ayni_web::client::path_text;
use common::png::png;
use common::{Api, DEADLINE};
use futures_util::{StreamExt, TryStreamExt};

fn attach(path: &Path) -> Attach {
    Attach { path: path_text(path).expect("a plain path"), ..Attach::default() }
}

/// Writes a file outside of the data folder and attaches it.
async fn sent(api: &Api, folder: &Path, name: &str, bytes: &[u8]) -> Attached {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("written");
    api.client.attach("den", &attach(&path)).await.expect("attached")
}

async fn log(api: &Api, thumbnails: bool) -> Vec<Message> {
    let client = api.client.clone().with_thumbnails(thumbnails);
    let messages = client.messages("den", 50, false).await.expect("a room");
    messages.try_collect().await.expect("the whole reply")
}

async fn files(api: &Api, limit: usize) -> Vec<File> {
    let files = api.client.files("den", limit).await.expect("a room");
    files.try_collect().await.expect("the whole reply")
}

/// Fetches what is here already, and waits for the end.
async fn fetch(api: &Api, fetch: &Fetch) -> Transfer {
    let begun = api.client.fetch_attached("den", fetch).await.expect("begins");
    let steps = api.client.progress(Some(begun.id)).await.expect("follows");
    let steps: Vec<Transfer> =
        tokio::time::timeout(DEADLINE, steps.try_collect()).await.expect("in time").expect("all");
    assert!(steps.windows(2).all(|pair| pair[0] != pair[1]), "told only when it changes");
    let last = steps.last().expect("at least how it is").clone();
    assert!(last.state.is_over(), "{last:?}");
    last
}

#[tokio::test]
async fn a_picture_is_attached_shown_and_listed() {
    let (api, outside) = (Api::start().await, tempfile::tempdir().expect("a folder"));
    api.client.create_room("den").await.expect("a room");
    let mut events = api.client.events().await.expect("subscribed");
    let picture = png(64, 1, "secret place");
    let path = outside.path().join("beach.png");
    std::fs::write(&path, &picture).expect("written");
    let said = Attach { text: "at the sea".into(), ..attach(&path) };
    let attached = api.client.attach("den", &said).await.expect("attached");
    assert!(attached.size < picture.len() as u64, "the comment is gone");

    for thumbnails in [false, true] {
        let [message] = &log(&api, thumbnails).await[..] else { panic!("one message") };
        assert_eq!((message.event, message.kind), (attached.event, MessageKind::Attachment));
        assert_eq!(message.text, "at the sea");
        let told = message.attachment.as_deref().expect("an attachment");
        assert_eq!((told.blob, told.size), (attached.blob, attached.size));
        assert_eq!((told.name.as_str(), told.media_type.as_str()), ("beach.png", "image/png"));
        assert_eq!((told.width, told.height, told.files), (Some(64), Some(64), None));
        assert!(told.thumbhash.is_some());
        assert_eq!(told.thumbnail.is_some(), thumbnails);
    }
    let told = loop {
        let event = events.next().await.expect("open").expect("well-formed");
        if let Event::Message { message } = event {
            break message;
        }
    };
    let told = told.attachment.expect("an attachment");
    assert!(told.thumbhash.is_some() && told.thumbnail.is_none());

    let [file] = &files(&api, 50).await[..] else { panic!("one file") };
    assert_eq!((file.event, file.attachment.blob), (attached.event, attached.blob));
    assert_eq!((file.text.as_str(), file.here, file.held_by), ("at the sea", Here::Whole, 1));
    api.stop().await;
}

#[tokio::test]
async fn what_is_fetched_is_written_where_it_is_wanted_and_only_as_it_is_wanted() {
    let (api, outside) = (Api::start().await, tempfile::tempdir().expect("a folder"));
    api.client.create_room("den").await.expect("a room");
    let attached = sent(&api, outside.path(), "notes.txt", b"bread and salt").await;
    let start: String = attached.event.to_string().chars().take(12).collect();
    let into = outside.path().join("into");
    std::fs::create_dir(&into).expect("made");
    let wish = |existing| Fetch {
        event: start.clone(),
        path: Some(path_text(&into).expect("a plain path")),
        existing,
    };
    let done = fetch(&api, &wish(Existing::Refuse)).await;
    assert_eq!((done.state, done.bytes, done.size), (TransferState::Done, 14, Some(14)));
    assert_eq!((done.blob, done.event), (attached.blob, Some(attached.event)));
    let place = into.join("notes.txt");
    assert_eq!(done.path.as_deref(), place.to_str());
    assert_eq!(std::fs::read(&place).expect("written"), b"bread and salt");

    let again = api.client.fetch_attached("den", &wish(Existing::Refuse)).await;
    assert_eq!(again.expect_err("it is there").code, ErrorCode::Denied);
    std::fs::write(&place, "mine").expect("written");
    fetch(&api, &wish(Existing::Skip)).await;
    assert_eq!(std::fs::read(&place).expect("there"), b"mine");
    let renamed = fetch(&api, &wish(Existing::Rename)).await;
    assert_eq!(renamed.path.as_deref(), into.join("notes (2).txt").to_str());
    fetch(&api, &wish(Existing::Overwrite)).await;
    assert_eq!(std::fs::read(&place).expect("there"), b"bread and salt");
    let kept = fetch(&api, &Fetch { event: start.clone(), ..Fetch::default() }).await;
    assert_eq!((kept.state, kept.path), (TransferState::Done, None));
    let listed = api.client.transfers().await.expect("a list");
    assert!(listed.iter().any(|it| it.id == done.id && it.state == TransferState::Done));
    let over = api.client.pause_transfer(done.id).await.expect_err("it is over");
    assert_eq!(over.code, ErrorCode::NotFound);
    api.stop().await;
}

#[tokio::test]
async fn many_files_are_listed_each_once_and_from_the_newest() {
    let (api, outside) = (Api::start().await, tempfile::tempdir().expect("a folder"));
    api.client.create_room("den").await.expect("a room");
    // More than one of the pages that the server reads at once.
    for n in 0..300 {
        sent(&api, outside.path(), "same.txt", format!("{n}").as_bytes()).await;
        api.client.say("den", "between").await.expect("said");
    }
    // What was just said is listed at once, and much of it as soon as the node rests.
    let begun = std::time::Instant::now();
    let all = loop {
        let all = files(&api, usize::MAX).await;
        if all.len() >= 300 {
            break all;
        }
        assert!(begun.elapsed() < DEADLINE, "{} are listed", all.len());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(all.len(), 300);
    assert!(all.is_sorted_by_key(|file| std::cmp::Reverse(file.time)));
    let mut events: Vec<_> = all.iter().map(|file| file.event).collect();
    events.sort_unstable();
    events.dedup();
    assert_eq!(events.len(), 300);
    let newest = files(&api, 3).await;
    assert!(newest.iter().map(|it| it.event).eq(all[..3].iter().map(|it| it.event)));
    assert!(files(&api, 0).await.is_empty());
    // All but the last were written over where they lay.
    let changed = all.iter().filter(|file| file.here == Here::Changed).count();
    assert_eq!((all[0].here, changed), (Here::Whole, 299));
    api.stop().await;
}

#[tokio::test]
async fn what_cannot_be_attached_or_fetched_keeps_its_code() {
    let (api, outside) = (Api::start().await, tempfile::tempdir().expect("a folder"));
    let client = &api.client;
    client.create_room("den").await.expect("a room");
    let path = outside.path().join("a.txt");
    std::fs::write(&path, "a").expect("written");
    let code = |result: Result<Attached, ayni_web::ClientError>| result.expect_err("refused").code;
    let long = Attach { text: "x".repeat(40 * 1024), ..attach(&path) };
    assert_eq!(code(client.attach("den", &long).await), ErrorCode::Invalid);
    assert_eq!(code(client.attach("nowhere", &attach(&path)).await), ErrorCode::NotFound);
    let relative = Attach { path: "a.txt".into(), ..Attach::default() };
    assert_eq!(code(client.attach("den", &relative).await), ErrorCode::Invalid);
    // A picture by its first bytes, that none can look into.
    let broken = outside.path().join("broken.png");
    std::fs::write(&broken, &png(8, 1, "place")[..60]).expect("written");
    assert_eq!(code(client.attach("den", &attach(&broken)).await), ErrorCode::Denied);
    let kept = Attach { keep_metadata: true, ..attach(&broken) };
    client.attach("den", &kept).await.expect("as it is");

    let said = client.say("den", "text").await.expect("said").to_string();
    for (event, expected) in [
        (said.as_str(), ErrorCode::NotFound),
        (&said[..10], ErrorCode::NotFound),
        ("abc", ErrorCode::NotFound),
        ("", ErrorCode::NotFound),
        ("*", ErrorCode::NotFound),
    ] {
        let wish = Fetch { event: event.into(), ..Fetch::default() };
        let refused = client.fetch_attached("den", &wish).await.expect_err("nothing is attached");
        assert_eq!(refused.code, expected, "{event:?}");
    }
    for id in [0, 99, u64::MAX] {
        assert_eq!(client.pause_transfer(id).await.expect_err("none").code, ErrorCode::NotFound);
        assert_eq!(client.resume_transfer(id).await.expect_err("none").code, ErrorCode::NotFound);
        assert_eq!(client.cancel_transfer(id).await.expect_err("none").code, ErrorCode::NotFound);
        let priority = client.set_transfer_priority(id, Priority::High).await;
        assert_eq!(priority.expect_err("none").code, ErrorCode::NotFound);
        let limited = client.set_transfer_limits(id, &Limits { up: Some(1), down: None }).await;
        assert_eq!(limited.expect_err("none").code, ErrorCode::NotFound);
        let refused = client.progress(Some(id)).await.map(drop).expect_err("none");
        assert_eq!(refused.code, ErrorCode::NotFound);
    }
    let cases = [
        ("POST", "/api/v1/rooms/den/attach", "{}", 400),
        ("POST", "/api/v1/rooms/den/attach", r#"{"path":""}"#, 400),
        ("POST", "/api/v1/rooms/den/attach", r#"{"path":"../a"}"#, 400),
        ("POST", "/api/v1/rooms/den/attach", r#"{"path":"/a","caption":"x"}"#, 400),
        ("POST", "/api/v1/rooms/den/fetch", r#"{"event":"abcd","path":"a"}"#, 400),
        ("POST", "/api/v1/rooms/den/fetch", r#"{"event":"abcd","existing":"perhaps"}"#, 400),
        ("GET", "/api/v1/rooms/den/files?limit=many", "", 400),
        ("GET", "/api/v1/rooms/den/messages?thumbnails=1", "", 400),
        ("POST", "/api/v1/transfers/x/pause", "{}", 400),
        ("POST", "/api/v1/transfers/-1/cancel", "{}", 400),
        ("GET", "/api/v1/transfers/x/content", "", 400),
        ("GET", "/api/v1/transfers/7/content", "", 404),
        ("POST", "/api/v1/shares", "{}", 400),
        ("POST", "/api/v1/shares", r#"{"paths":["a"]}"#, 400),
        ("POST", "/api/v1/shares", r#"{"paths":[]}"#, 400),
        ("POST", "/api/v1/shares/bytes", "bytes", 400),
        ("POST", "/api/v1/shares/bytes?name=a&copy=true", "bytes", 400),
        ("POST", "/api/v1/unshare", r#"{"share":"abcd"}"#, 404),
        ("POST", "/api/v1/get", r#"{"ticket":"x"}"#, 400),
        ("POST", "/api/v1/get", r#"{"ticket":"x","path":"a"}"#, 400),
        ("POST", "/api/v1/get", r#"{"ticket":"x","path":"/a","pour":true}"#, 400),
        ("POST", "/api/v1/storage/discard", r#"{"blob":"abcd"}"#, 404),
        ("GET", "/api/v1/progress?id=x", "", 400),
        ("GET", "/api/v1/progress", "", 400),
        ("GET", "/api/v1/progress?id=7", "", 404),
    ];
    for (method, path, body, status) in cases {
        let answer = api.ask(method, path).body(body).send().await;
        assert_eq!(answer.status, status, "{method} {path} {body}");
        answer.code();
    }
    api.stop().await;
}

#[tokio::test]
async fn a_page_of_pictures_without_thumbnails_is_small() {
    let (api, outside) = (Api::start().await, tempfile::tempdir().expect("a folder"));
    api.client.create_room("den").await.expect("a room");
    for seed in 0..20 {
        sent(&api, outside.path(), &format!("{seed}.png"), &png(200, seed, "")).await;
    }
    let size = async |path: &str| api.ask("GET", path).send().await.body.len();
    let without = size("/api/v1/rooms/den/messages").await;
    let with = size("/api/v1/rooms/den/messages?thumbnails=true").await;
    assert!(without < 20 * 1024 && with > 3 * without, "{without} and {with} bytes");
    api.stop().await;
}

#[tokio::test]
async fn limits_are_kept_for_later_starts() {
    let api = Api::start().await;
    let none = Limits { up: None, down: None };
    assert_eq!(api.client.limits().await.expect("told"), none);
    let some = Limits { up: Some(1_000), down: Some(2_000_000) };
    assert_eq!(api.client.set_limits(&some).await.expect("set"), some);
    assert_eq!(api.client.limits().await.expect("told"), some);
    api.client.set_limits(&none).await.expect("set");
    assert_eq!(api.client.limits().await.expect("told"), none);
    api.stop().await;
}

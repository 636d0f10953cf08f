//! What the program writes to its log. One test a file: the subscriber is the process's own.

mod common;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ayni_web::api::{Invite, Setting};
use common::Api;
use futures_util::StreamExt;
use tracing_subscriber::filter::LevelFilter;

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics here").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn hazard_33_the_log_has_no_text_ticket_token_or_address() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_writer(move || writer.clone())
        .init();
    tracing::info!("the log is heard");

    let api = Api::start().await;
    let mut events = api.client.events().await.expect("subscribed");
    api.client.create_room("hidden-den").await.expect("a room");
    api.client.say("hidden-den", "hidden-text").await.expect("said");
    let topic = Setting::Topic("hidden-topic".into());
    api.client.set_room("hidden-den", &topic).await.expect("a founder");
    api.client.person("hidden-den", "hidden-nobody").await.expect_err("nobody");
    let ticket =
        api.client.invite("hidden-den", &Invite::default()).await.expect("a ticket").ticket;
    let wait = Duration::from_secs(1);
    api.client.join(&ticket, wait).await.expect("a member already");
    let mut damaged = ticket.clone();
    damaged.truncate(ticket.len() - 1);
    api.client.join(&damaged, wait).await.expect_err("damaged");
    api.client.dm("hidden-nobody", "hidden-text").await.expect_err("nobody");
    for body in [r#"{"text":"hidden-text""#, r#"{"hidden-text":1}"#] {
        api.ask("POST", "/api/v1/rooms/hidden-den/messages").body(body).send().await;
    }
    api.client.search("hidden-text", Some("hidden-den"), 5).await.expect("searches");
    api.client.search("?hidden-text?", Some("hidden-nowhere"), 5).await.expect_err("no room");
    let wrong = "f".repeat(64);
    api.ask("GET", "/api/v1/id").token(Some(&wrong)).send().await;
    api.ask("GET", "/api/v1/id").host(Some("hidden-host")).send().await;
    events.next().await.expect("open").expect("well-formed");
    let token = api.token.clone();
    api.stop().await;

    let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    assert!(log.contains("the log is heard"));
    for secret in ["hidden-", &ticket[..16], &token, &wrong, "127.0.0.1", "localhost"] {
        assert!(!log.contains(secret), "the log has {secret:?}:\n{log}");
    }
}

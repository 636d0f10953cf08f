//! The WebSockets: events, services over one, forwarded ports.

mod common;

use std::time::Duration;

use ayni::{Network, Node};
use ayni_web::Local;
use ayni_web::api::{ErrorCode, Event, Invite};
use ayni_web::client::{ProvideOptions, ServiceCall};
use bytes::Bytes;
use common::{Api, DEADLINE};
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it happens in time")
}

#[tokio::test]
async fn a_subscriber_hears_what_happens_and_the_end() {
    let api = Api::start().await;
    let mut events = api.client.events().await.expect("subscribed");
    let room = api.client.create_room("den").await.expect("a room");
    let event = api.client.say("den", "hello").await.expect("said");
    let mut seen_room = false;
    let message = in_time(async {
        loop {
            match events.next().await.expect("open").expect("well-formed") {
                Event::Message { message } => return message,
                Event::Room { room: changed } => seen_room |= changed == room.room,
                _ => {}
            }
        }
    });
    assert_eq!(message.await.event, event);
    assert!(seen_room);
    api.stop().await;
    let rest: Vec<_> = in_time(events.collect()).await;
    assert!(rest.iter().all(Result::is_ok), "{rest:?}");
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_holds_up_nobody() {
    let api = Api::start().await;
    api.client.create_room("den").await.expect("a room");
    let mut stuck = api.ask("GET", "/api/v1/events").socket().open().await;
    let mut events = api.client.events().await.expect("subscribed");
    // Far more than the buffers of a socket hold.
    let text = "x".repeat(60 * 1024);
    for _ in 0..200 {
        in_time(api.client.say("den", &text)).await.expect("nobody is waited for");
        let heard = in_time(events.next()).await.expect("open").expect("well-formed");
        assert_ne!(heard, Event::Unknown);
    }
    in_time(api.stop()).await;
    // What was on the way ends; it is not the whole.
    let mut taken = Vec::new();
    let _ = in_time(stuck.read_to_end(&mut taken)).await;
    assert!(taken.len() < 200 * text.len());
}

#[tokio::test]
async fn a_client_that_floods_a_listening_socket_is_dropped() {
    let api = Api::start().await;
    let mut tcp = api.ask("GET", "/api/v1/events").socket().open().await;
    // A masked text frame that announces 4 GiB.
    let frame = [0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];
    tcp.write_all(&frame).await.expect("open");
    let mut rest = Vec::new();
    in_time(tcp.read_to_end(&mut rest)).await.expect("closed in order");
    assert!(rest.len() < 128, "a farewell at most");
    api.stop().await;
}

#[tokio::test]
async fn failures_are_told_as_everywhere() {
    let api = Api::start().await;
    let options = |name: &str, allow: &[&str]| ProvideOptions {
        name: name.into(),
        allow: allow.iter().map(|&allow| allow.to_owned()).collect(),
        ..ProvideOptions::default()
    };
    for (options, code) in [
        (options("", &[]), ErrorCode::Invalid),
        (options("no spaces", &[]), ErrorCode::Invalid),
        (options("echo", &["room:nowhere"]), ErrorCode::NotFound),
        (options("echo", &["nobody"]), ErrorCode::NotFound),
        (ProvideOptions { concurrency: Some(0), ..options("echo", &[]) }, ErrorCode::Invalid),
        (ProvideOptions { max_reply: Some(1 << 40), ..options("echo", &[]) }, ErrorCode::Invalid),
    ] {
        let error = in_time(api.client.provide(&options)).await.expect_err("refused");
        assert_eq!(error.code, code, "{options:?} {error}");
        assert!(!error.message.contains("HTTP status"), "the node's own words: {error}");
    }
    let error = in_time(api.client.forward("nobody", "web", 0)).await.expect_err("refused");
    assert_eq!(error.code, ErrorCode::NotFound);
    let other = ayni_web::Client::new(api.server.addr, "wrong");
    let error = other.events().await.map(drop).expect_err("refused");
    assert_eq!(error.code, ErrorCode::Denied);
    api.stop().await;
}

/// Two nodes in one room, the second connected to the first.
struct Two {
    provider: Local,
    caller: Local,
    peer: String,
    _folders: [TempDir; 2],
}

impl Two {
    async fn start() -> Self {
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a temporary folder"));
        let start = async |folder: &TempDir| {
            let builder = Node::builder().data(folder.path()).network(Network::Loopback);
            Local::start(builder).await.expect("a node")
        };
        let provider = start(&folders[0]).await;
        let caller = start(&folders[1]).await;
        provider.client.create_room("den").await.expect("a room");
        let ticket =
            provider.client.invite("den", &Invite::default()).await.expect("a ticket").ticket;
        caller.client.join(&ticket, DEADLINE).await.expect("joined");
        let peer = provider.node.identity().peer.to_string();
        Self { provider, caller, peer, _folders: folders }
    }

    async fn ask(&self, service: &str, data: &'static str) -> ayni_web::client::Result<Bytes> {
        let data = Bytes::from_static(data.as_bytes());
        let wait = Duration::from_secs(10);
        in_time(self.caller.client.request(&self.peer, service, data, wait)).await
    }

    async fn stop(self) {
        self.caller.stop().await;
        self.provider.stop().await;
    }
}

#[tokio::test]
async fn a_service_is_provided_as_long_as_its_socket_is_open() {
    let two = Two::start().await;
    let caller = two.caller.node.identity().peer;
    let options = ProvideOptions {
        name: "echo".into(),
        allow: vec!["room:den".into()],
        max_reply: Some(2048),
        concurrency: Some(4),
        ..ProvideOptions::default()
    };
    let providing = two.provider.client.provide(&options).await.expect("registered");
    let serving = tokio::spawn(providing.serve(move |call: ServiceCall| async move {
        assert_eq!(call.caller, caller);
        match call.data.as_ref() {
            b"fail" => Err("it failed".to_owned()),
            b"long" => Ok(Bytes::from(vec![0; 4096])),
            _ => Ok([b"echo ", call.data.as_ref()].concat().into()),
        }
    }));
    assert_eq!(two.ask("echo", "one").await.expect("answered"), "echo one");
    let (two_, three) = tokio::join!(two.ask("echo", "two"), two.ask("echo/1", "three"));
    assert_eq!(two_.expect("answered"), "echo two");
    assert_eq!(three.expect("answered"), "echo three");
    assert_eq!(two.ask("echo", "").await.expect("answered"), "echo ");
    assert!(two.ask("echo", "fail").await.expect_err("told").message.contains("it failed"));
    two.ask("echo", "long").await.expect_err("the reply is too large");
    let own = two.provider.client.services(None).await.expect("a list");
    assert!(own.iter().any(|service| service.name == "echo/1" && !service.builtin));

    serving.abort();
    in_time(async {
        // Withdrawn as soon as the node noticed that the socket closed.
        while two.provider.client.services(None).await.expect("a list").iter().any(|s| !s.builtin) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    two.ask("echo", "gone").await.expect_err("nobody provides it");
    two.stop().await;
}

#[tokio::test]
async fn a_call_fails_when_the_provider_dies_and_its_end_stops_the_handler() {
    let two = Two::start().await;
    let options = ProvideOptions {
        name: "slow".into(),
        allow: vec!["anyone".into()],
        timeout: Some(Duration::from_secs(1)),
        ..ProvideOptions::default()
    };
    let providing = two.provider.client.provide(&options).await.expect("registered");
    let (begun, mut begins) = tokio::sync::mpsc::channel(4);
    let (ended, mut ends) = tokio::sync::mpsc::channel::<()>(4);
    let serving = tokio::spawn(providing.serve(move |_| {
        let (begun, ended) = (begun.clone(), ended.clone());
        async move {
            // Dropped with the handler.
            let _running = ended.clone().reserve_owned().await.expect("open");
            begun.send(()).await.expect("open");
            std::future::pending().await
        }
    }));
    // The time limit ends the call, and the cancellation the handler.
    two.ask("slow", "x").await.expect_err("too late");
    in_time(begins.recv()).await.expect("it began");
    // The provider's end fails a call in progress.
    let call = two.ask("slow", "y");
    let death = async {
        in_time(begins.recv()).await.expect("it began");
        serving.abort();
    };
    let (outcome, ()) = tokio::join!(call, death);
    outcome.expect_err("the provider went away");
    assert!(in_time(ends.recv()).await.is_none(), "all handlers were dropped");
    two.stop().await;
}

#[tokio::test]
async fn a_port_is_forwarded_to_a_tcp_service_as_long_as_the_socket_is_open() {
    let two = Two::start().await;
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let target_addr = target.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = target.accept().await {
            let _ = tcp.write_all(b"hello").await;
        }
    });
    let options = ProvideOptions {
        name: "greet".into(),
        allow: vec![two.caller.node.identity().account.to_string()],
        tcp: Some(target_addr),
        ..ProvideOptions::default()
    };
    let providing = two.provider.client.provide(&options).await.expect("registered");
    let forwarding = two.caller.client.forward(&two.peer, "greet", 0).await.expect("listening");
    let addr = ("127.0.0.1", forwarding.port());
    let mut tcp = tokio::net::TcpStream::connect(addr).await.expect("listening");
    let mut heard = Vec::new();
    in_time(tcp.read_to_end(&mut heard)).await.expect("piped");
    assert_eq!(heard, b"hello");

    drop(forwarding);
    in_time(async {
        while tokio::net::TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(providing);
    two.stop().await;
}

//! One request, one reply.

use std::sync::Mutex;

use super::super::CallLimits;
use super::*;
use crate::error::{Error, ErrorKind};

fn limits(change: impl FnOnce(&mut ServiceLimits)) -> ServiceLimits {
    let mut limits = ServiceLimits::default();
    change(&mut limits);
    limits
}

fn kind<T: std::fmt::Debug>(result: crate::Result<T>) -> (ErrorKind, String) {
    let error = result.expect_err("an error");
    (error.kind(), error.to_string())
}

#[tokio::test]
async fn a_request_is_answered_up_to_the_limits() {
    let pair = pair().await;
    let _echo = pair.registry.provide(echo("echo")).expect("provided");
    for len in [0, 1, 100_000, ServiceLimits::MAX_REQUEST] {
        let data = Bytes::from(vec![len.to_le_bytes()[0]; len]);
        assert_eq!(soon(pair.ask("echo", data.clone())).await.expect("an answer"), data);
    }
    assert_eq!(soon(pair.ask("echo/1", "x")).await.expect("an answer"), "x");
    let big = offer("big", |_| async { Ok(vec![1; ServiceLimits::MAX_REPLY].into()) });
    let _big = pair.registry.provide(big).expect("provided");
    let reply = soon(pair.ask("big", "")).await.expect("an answer");
    assert_eq!(reply.len(), ServiceLimits::MAX_REPLY);
    pair.close().await;
}

#[tokio::test]
async fn what_is_missing_and_what_is_not_permitted_look_the_same() {
    let pair = pair().await;
    let nobody = Offer { allow: vec![], ..echo("aaaa") };
    let room = Offer { allow: vec![Allow::Room(RoomId([9; 32]))], ..echo("bbbb") };
    let provided = [nobody, room].map(|offer| pair.registry.provide(offer).expect("provided"));
    drop(pair.registry.provide(echo("cccc")).expect("provided"));
    let mut answers = vec![];
    for name in ["aaaa", "bbbb", "cccc", "dddd"] {
        let (kind, sentence) = kind(soon(pair.ask(name, "x")).await);
        assert_eq!(kind, ErrorKind::Denied);
        answers.push(sentence.replace(name, "NAME"));
    }
    answers.dedup();
    let expected =
        format!("{} does not offer the service NAME/1 to this node", pair.provider.short());
    assert_eq!(answers, [expected]);
    drop(provided);
    let member = Offer { allow: vec![Allow::Room(ROOM)], ..echo("bbbb") };
    let _member = pair.registry.provide(member).expect("provided");
    assert_eq!(soon(pair.ask("bbbb", "x")).await.expect("a member is answered"), "x");
    pair.close().await;
}

#[tokio::test]
async fn an_oversize_request_is_refused_before_it_is_read_whole() {
    let pair = pair().await;
    let small = Offer { limits: limits(|limits| limits.max_request = 1000), ..echo("echo") };
    let _small = pair.registry.provide(small).expect("provided");
    assert!(soon(pair.ask("echo", vec![0; 1000])).await.is_ok());
    // The largest does not fit the stream's window: it can only be answered early.
    for len in [1001, 100_000, 64 << 20] {
        let (kind, sentence) = kind(soon(pair.ask("echo", vec![0; len])).await);
        assert_eq!(kind, ErrorKind::Invalid, "{sentence}");
        assert!(sentence.contains(&len.to_string()), "{sentence}");
    }
    pair.close().await;
}

#[tokio::test]
async fn an_oversize_reply_is_refused_on_both_sides() {
    let pair = pair().await;
    let reply = |_| async { Ok(vec![0; 2000].into()) };
    let bounded = limits(|limits| limits.max_reply = 1999);
    let provided = [Offer { limits: bounded, ..offer("there", reply) }, offer("here", reply)]
        .map(|offer| pair.registry.provide(offer).expect("provided"));
    assert!(matches!(soon(pair.ask("there", "")).await, Err(Error::Service(_))));
    let most = CallLimits { max_reply: 1999, timeout: DEADLINE };
    let asked = super::super::request(&pair.link, "here", Bytes::new(), most);
    assert!(matches!(soon(asked).await, Err(Error::Service(_))));
    assert_eq!(soon(pair.ask("here", "")).await.expect("fits").len(), 2000);
    drop(provided);
    pair.close().await;
}

#[tokio::test]
async fn both_sides_end_a_call_that_takes_too_long() {
    let pair = pair().await;
    let (slow, mut calls) = never("slow");
    let short = limits(|limits| limits.timeout = Duration::from_millis(100));
    let provided = pair.registry.provide(Offer { limits: short, ..slow }).expect("provided");
    let (kind_of, sentence) = kind(soon(pair.ask("slow", "")).await);
    assert_eq!(kind_of, ErrorKind::Unreachable, "{sentence}");
    soon(calls.wait_for(|calls| calls.dropped == 1)).await.expect("open");
    drop(provided);

    let (slow, mut calls) = never("slow");
    let _provided = pair.registry.provide(slow).expect("provided");
    let impatient = CallLimits { timeout: Duration::from_millis(100), ..CallLimits::default() };
    let asked = super::super::request(&pair.link, "slow", Bytes::new(), impatient);
    assert_eq!(kind(soon(asked).await), (kind_of, sentence));
    // The provider notices that nobody waits any more.
    soon(calls.wait_for(|calls| calls.dropped == 1)).await.expect("open");
    pair.idle().await;
    pair.close().await;
}

#[tokio::test]
async fn a_panic_is_a_failure_of_one_call() {
    let pair = pair().await;
    let moody = offer("moody", |request| {
        assert_ne!(request, "at once", "as the test wants it");
        async move {
            assert_ne!(request, "later", "as the test wants it");
            Ok(request)
        }
    });
    let _moody = pair.registry.provide(moody).expect("provided");
    for request in ["at once", "later"] {
        let (kind, sentence) = kind(soon(pair.ask("moody", request)).await);
        assert_eq!(kind, ErrorKind::Internal);
        assert!(sentence.ends_with("failed: the service stopped unexpectedly"), "{sentence}");
    }
    assert_eq!(soon(pair.ask("moody", "fine")).await.expect("an answer"), "fine");
    pair.close().await;
}

#[tokio::test]
async fn a_failure_arrives_as_one_harmless_line() {
    let pair = pair().await;
    let text = || format!("no such file\n\u{1b}[31m{}", "x".repeat(300_000));
    let failing = offer("f", move |_| async move { Err(ServiceError(text())) });
    let _failing = pair.registry.provide(failing).expect("provided");
    let (_, sentence) = kind(soon(pair.ask("f", "")).await);
    assert!(sentence.contains("f/1") && sentence.contains("no such file"), "{sentence}");
    assert!(sentence.len() < 700 && !sentence.contains(char::is_control), "{sentence}");
    pair.close().await;
}

#[tokio::test]
async fn calls_over_the_limit_hear_that_it_is_busy() {
    let pair = pair().await;
    let (started, mut running) = watch::channel(false);
    let (gate, opened) = watch::channel(false);
    let waiting = offer("x", move |_| {
        started.send_replace(true);
        let mut opened = opened.clone();
        async move {
            opened.wait_for(|open| *open).await.map_err(|_| ServiceError("closed".into()))?;
            Ok(Bytes::from_static(b"done"))
        }
    });
    let one = limits(|limits| limits.concurrency = 1);
    let _waiting = pair.registry.provide(Offer { limits: one, ..waiting }).expect("provided");
    let second = async {
        running.wait_for(|running| *running).await.expect("open");
        let second = pair.ask("x", "").await;
        gate.send_replace(true);
        second
    };
    let (first, second) = soon(async { tokio::join!(pair.ask("x", ""), second) }).await;
    assert_eq!(first.expect("an answer"), "done");
    let (kind, sentence) = kind(second);
    assert_eq!(kind, ErrorKind::Unreachable);
    assert!(sentence.contains("too many calls"), "{sentence}");
    pair.idle().await;
    assert_eq!(soon(pair.ask("x", "")).await.expect("free again"), "done");
    pair.close().await;
}

#[tokio::test]
async fn a_withdrawn_service_ends_its_running_calls() {
    let pair = pair().await;
    let (slow, mut calls) = never("slow");
    let provided = pair.registry.provide(slow).expect("provided");
    let withdraw = async {
        calls.wait_for(|calls| calls.started == 1).await.expect("open");
        drop(provided);
    };
    let (reply, ()) = soon(async { tokio::join!(pair.ask("slow", ""), withdraw) }).await;
    let (_, sentence) = kind(reply);
    assert!(sentence.ends_with("failed: the service was withdrawn"), "{sentence}");
    soon(calls.wait_for(|calls| calls.dropped == 1)).await.expect("open");
    assert_eq!(kind(soon(pair.ask("slow", "")).await).0, ErrorKind::Denied);
    pair.close().await;
}

#[tokio::test]
async fn a_request_that_was_cut_short_never_looks_whole() {
    let pair = pair().await;
    let seen = Arc::new(Mutex::new(vec![]));
    let keep = seen.clone();
    let recorder = offer("record", move |request| {
        keep.lock().expect("no panic").push(request);
        async { Ok(Bytes::new()) }
    });
    let _recorder = pair.registry.provide(recorder).expect("provided");
    let half = pair.link.open("record/1", None).await.expect("accepted");
    let (mut outgoing, mut recv) = super::super::outgoing::Outgoing::split(half);
    outgoing.bytes(Bytes::from_static(b"delete /tmp/")).await.expect("sent");
    drop(outgoing);
    assert!(soon(recv.expect::<proto::ReplyHead>()).await.is_err(), "nothing to answer");
    pair.idle().await;
    assert!(soon(pair.ask("record", "whole")).await.is_ok());
    assert_eq!(*seen.lock().expect("no panic"), ["whole"]);
    pair.close().await;
}

#[tokio::test]
async fn a_stream_service_is_not_sent_a_request() {
    let pair = pair().await;
    let web = proto::ServiceDescriptor { name: "web/1".into(), stream: true };
    let ask = proto::ServiceDescriptor { name: "ask/1".into(), stream: false };
    pair.hello.send_replace(hello_of(vec![web, ask]));
    assert_eq!(kind(pair.ask("web", "").await).0, ErrorKind::Invalid);
    assert_eq!(kind(super::super::open_stream(&pair.link, "ask").await).0, ErrorKind::Invalid);
    assert_eq!(kind(pair.ask("No Name", "").await).0, ErrorKind::Invalid);
    pair.close().await;
}

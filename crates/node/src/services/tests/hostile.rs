//! Peers that do not play by the rules, on either side of a call.

use ayni_core::proto::{Opened, ReplyHead};
use tokio::time::Instant;

use super::super::CallLimits;
use super::*;
use crate::error::{Error, ErrorKind};

/// A provider that accepts every call and then does `rest`.
async fn provider<R>(rest: impl Fn(Stream) -> R + Send + Sync + Clone + 'static) -> Pair
where
    R: Future<Output = ()> + Send + 'static,
{
    pair_with(Registry::default(), move |_, _, mut stream| {
        let rest = rest.clone();
        Box::pin(async move {
            stream.send.send(&Opened::Accepted).await.expect("sent");
            rest(stream).await;
        })
    })
    .await
}

async fn ask(pair: &Pair, timeout: Duration) -> Error {
    let limits = CallLimits { max_reply: 10_000, timeout };
    let asked = super::super::request(&pair.link, "x", Bytes::from_static(b"?"), limits);
    soon(asked).await.expect_err("nothing that could be believed")
}

#[tokio::test]
async fn a_caller_that_never_ends_its_request_is_told_so_and_forgotten() {
    let pair = pair().await;
    let limits = ServiceLimits {
        timeout: Duration::from_millis(200),
        concurrency: 1,
        ..ServiceLimits::default()
    };
    let _echo = pair.registry.provide(Offer { limits, ..echo("echo") }).expect("provided");
    let mut stream = soon(pair.link.open("echo/1", None)).await.expect("accepted");
    stream.send.send_bytes(b"I only wanted to say ").await.expect("sent");
    let head = soon(stream.recv.expect::<ReplyHead>()).await.expect("an answer");
    assert_eq!(head, ReplyHead::TimedOut);
    pair.idle().await;
    assert_eq!(soon(pair.ask("echo", "next")).await.expect("an answer"), "next");
    pair.close().await;
}

#[tokio::test]
async fn a_caller_that_reads_nothing_holds_up_nobody_else() {
    let pair = pair().await;
    let reply = |_| async { Ok(vec![0; 4 << 20].into()) };
    let _big = pair.registry.provide(offer("big", reply)).expect("provided");
    let _echo = pair.registry.provide(echo("echo")).expect("provided");
    let mut stream = soon(pair.link.open("big/1", None)).await.expect("accepted");
    stream.send.finish();
    assert_eq!(soon(stream.recv.expect::<ReplyHead>()).await.expect("a head"), ReplyHead::Done);
    assert_eq!(soon(pair.ask("echo", "next")).await.expect("an answer"), "next");
    // And is given up as soon as it goes away.
    drop(stream);
    pair.idle().await;
    pair.close().await;
}

#[tokio::test]
async fn what_is_not_a_reply_is_an_error() {
    let garbage: [&'static [u8]; 3] =
        [b"\0\0\0\x04HTTP/1.1 200 OK", b"\xff\xff\xff\xff", b"\0\0\0\x02\x82\x09"];
    for bytes in garbage {
        let pair = provider(move |mut stream| async move {
            let _ = stream.send.send_bytes(bytes).await;
            stream.send.finish();
            stream.send.delivered().await;
        })
        .await;
        let error = ask(&pair, DEADLINE).await;
        assert!(matches!(error, Error::Service(_)), "{bytes:?}: {error}");
        pair.close().await;
    }
}

#[tokio::test]
async fn a_provider_that_ends_without_an_answer_is_lost() {
    let pair = provider(|mut stream| async move {
        stream.send.finish();
        stream.send.delivered().await;
    })
    .await;
    assert_eq!(ask(&pair, DEADLINE).await.kind(), ErrorKind::Unreachable);
    pair.close().await;
}

#[tokio::test]
async fn a_reply_that_was_cut_is_not_taken_for_whole() {
    let pair = provider(|stream| async move {
        let (mut outgoing, recv) = super::super::outgoing::Outgoing::split(stream);
        outgoing.frame(&ReplyHead::Done).await.expect("sent");
        outgoing.bytes(Bytes::from_static(b"half of it")).await.expect("sent");
        drop((outgoing, recv));
    })
    .await;
    assert_eq!(ask(&pair, DEADLINE).await.kind(), ErrorKind::Unreachable);
    pair.close().await;
}

#[tokio::test]
async fn a_provider_that_drips_or_never_stops_is_left() {
    let drip = provider(|mut stream| async move {
        let _ = stream.send.send(&ReplyHead::Done).await;
        while stream.send.send_bytes(b".").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let start = Instant::now();
    assert_eq!(ask(&drip, Duration::from_millis(300)).await.kind(), ErrorKind::Unreachable);
    assert!(start.elapsed() < DEADLINE / 2);
    drip.idle().await;
    drip.close().await;

    let flood = provider(|mut stream| async move {
        let _ = stream.send.send(&ReplyHead::Done).await;
        while stream.send.send_bytes(&[0; 16 * 1024]).await.is_ok() {}
    })
    .await;
    assert!(matches!(ask(&flood, DEADLINE).await, Error::Service(_)));
    flood.idle().await;
    flood.close().await;
}

#[tokio::test]
async fn a_failure_text_of_a_peer_is_cleaned_here_too() {
    let pair = provider(|mut stream| async move {
        let text = format!("a\r\n\u{1b}]0;b\u{202e}{}", "c".repeat(100_000));
        stream.send.send(&ReplyHead::Failed(text)).await.expect("sent");
        stream.send.finish();
        stream.send.delivered().await;
    })
    .await;
    let sentence = ask(&pair, DEADLINE).await.to_string();
    assert!(sentence.len() < 700, "{} bytes", sentence.len());
    assert!(!sentence.contains(|c: char| c.is_control() || c == '\u{202e}'), "{sentence}");
    pair.close().await;
}

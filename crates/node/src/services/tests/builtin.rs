//! `ping` and `profile`.

use ayni_core::proto::{Opened, ReplyHead};
use ayni_core::wire;

use super::super::builtin::{call_ping, call_profile};
use super::*;
use crate::error::{Error, ErrorKind};

#[tokio::test]
async fn a_ping_is_echoed() {
    let pair = pair().await;
    assert_eq!(soon(pair.ask("ping", "hello")).await.expect("an answer"), "hello");
    let long = soon(pair.ask("ping", vec![0; 1025])).await.expect_err("too long");
    assert_eq!(long.kind(), ErrorKind::Invalid);
    assert!(soon(call_ping(&pair.link)).await.expect("an answer") < DEADLINE);
    pair.close().await;
}

#[tokio::test]
async fn a_profile_is_who_the_connection_says() {
    let pair = pair().await;
    let profile = soon(call_profile(&pair.link)).await.expect("a profile");
    assert_eq!(profile, profile_of(pair.provider));
    pair.close().await;
}

#[tokio::test]
async fn a_profile_that_does_not_hold_is_refused() {
    let mut forged = profile_of(provider_id());
    forged.cert.claim.time_ms += 1;
    let foreign = profile_of(PeerId([9; 32]));
    let long_name = Profile { name: "x".repeat(129), ..profile_of(provider_id()) };
    let mut trailing = wire::encode(&profile_of(provider_id()));
    trailing.push(0);
    let bodies =
        [wire::encode(&forged), wire::encode(&foreign), wire::encode(&long_name), trailing, vec![]];
    for body in bodies {
        let pair = answering(body).await;
        let answer = soon(call_profile(&pair.link)).await;
        assert!(matches!(answer, Err(Error::Service(_))), "{answer:?}");
        pair.close().await;
    }
    let endless = answering(vec![0; 1 << 20]).await;
    assert!(matches!(soon(call_profile(&endless.link)).await, Err(Error::Service(_))));
    endless.close().await;
}

#[tokio::test]
async fn a_ping_that_is_not_echoed_is_an_error() {
    let pair = answering(b"pong".to_vec()).await;
    assert!(matches!(soon(call_ping(&pair.link)).await, Err(Error::Service(_))));
    pair.close().await;
}

/// A peer that answers every call with `body`.
async fn answering(body: Vec<u8>) -> Pair {
    pair_with(Registry::default(), move |_, _, mut stream| {
        let body = body.clone();
        Box::pin(async move {
            stream.send.send(&Opened::Accepted).await.expect("sent");
            stream.send.send(&ReplyHead::Done).await.expect("sent");
            // Who asks may stop reading.
            let _ = stream.send.send_bytes(&body).await;
            stream.send.finish();
            stream.send.delivered().await;
        })
    })
    .await
}

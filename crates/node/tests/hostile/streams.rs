//! Streams: what opens them, how many, and what never comes on them.

use std::time::Duration;

use ayni_core::frame;
use ayni_core::proto::{Open, Opened, service};
use futures_util::future::join_all;

use crate::support::member::nowhere;
use crate::support::raw::{Raw, RawLink, RawStream};
use crate::support::{Stage, assert_flat, resident, within};

/// Everything that the node answers to an open, byte by byte.
async fn answer(link: &RawLink, open: &Open) -> Vec<u8> {
    let mut stream = link.stream().await;
    stream.send(open).await;
    within("an answer", stream.recv.drained()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_17_every_refusal_is_the_same() {
    let stage = Stage::new().await;
    let raw = Raw::new().await;
    let link = raw.link(&stage.a.node).await;
    let opens = [
        ("nothing/1", None),
        ("not a service at all", None),
        (service::SYNC, None),
        (service::SYNC, Some(nowhere())),
        (service::SYNC, Some(stage.room)),
        (service::KEYS, Some(nowhere())),
        (service::KEYS, Some(stage.room)),
        ("nothing/1", Some(stage.room)),
    ];
    let refused = frame::encode(&Opened::Refused).expect("short");
    for (service, room) in opens {
        let open = Open { service: service.into(), room };
        assert_eq!(answer(&link, &open).await, refused, "{service} of {room:?}");
    }
    let offered: Vec<_> = link.theirs.offers.iter().map(|offer| offer.name.as_str()).collect();
    assert!(!offered.contains(&service::SYNC) && !offered.contains(&service::KEYS), "{offered:?}");
    stage.talks().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_ends_and_its_connection_goes_on() {
    let stage = Stage::new().await;
    let raw = Raw::new().await;
    let link = raw.link(&stage.a.node).await;
    let open = |service: &str| {
        let open = Open { service: service.into(), room: None };
        frame::encode(&open).expect("short")
    };
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let then = |service: &str, bytes: &[u8]| [&open(service), bytes].concat();
    let cases = [
        ("garbage", vec![0x55; 64]),
        ("a length of 4 GiB", vec![0xff; 4]),
        ("a length too long for an open", vec![0, 0, 0x20, 0x01]),
        ("half an open", half(&open(service::PING))),
        ("a length alone", vec![0, 0, 0, 9]),
        ("nothing", vec![]),
        ("join: garbage", then(service::JOIN, &[0, 0, 0, 3, 1, 2, 3])),
        ("join: a length of 4 GiB", then(service::JOIN, &[0xff; 4])),
        ("join: half a frame", then(service::JOIN, &[0, 0, 1, 0, 0xa3])),
        ("join: no frame", open(service::JOIN)),
        ("contact: garbage", then(service::CONTACT, &[0, 0, 0, 3, 1, 2, 3])),
        ("contact: half a frame", then(service::CONTACT, &[0, 0, 1, 0, 0xa1])),
    ];
    for (what, bytes) in cases {
        let mut stream = link.stream().await;
        let _ = stream.send.write_all(&bytes).await;
        let _ = stream.send.finish();
        stream.ends(what).await;
    }
    assert!(within("a ping", link.is_served()).await, "the connection is none the worse");
    stage.talks().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_23_thousands_of_streams_are_served_a_few_at_a_time() {
    let stage = Stage::new().await;
    let raw = Raw::new().await;
    let link = raw.link(&stage.a.node).await;
    let before = resident();
    let flood = async {
        for _ in 0..5_000 {
            let mut stream = link.stream().await;
            stream.send(&Open { service: "nothing/1".into(), room: None }).await;
        }
    };
    let talk = async {
        for _ in 0..3 {
            stage.talks().await;
        }
    };
    tokio::join!(within("all are answered", flood), talk);
    assert_flat(before);
    assert!(within("a ping", link.is_served()).await);
    stage.stop().await;
}

/// Pushes bytes into a stream until no more are taken for a moment; returns how many were.
async fn push(stream: &mut RawStream) -> usize {
    let junk = vec![0; 64 * 1024];
    let mut taken = 0;
    while let Ok(Ok(some)) =
        tokio::time::timeout(Duration::from_secs(1), stream.send.write(&junk)).await
    {
        taken += some;
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_25_a_stranger_can_make_a_node_hold_little() {
    /// What a stranger's connection may have under way, and what was read of it.
    const HELD: usize = 4 * 1024 * 1024;
    let stage = Stage::new().await;
    let raw = Raw::new().await;
    let link = raw.link(&stage.a.node).await;
    let before = resident();
    // Frames that are owed and never complete, on as many streams as are served at a time.
    let mut streams = join_all((0..255).map(|_| link.stream())).await;
    let (served, waiting) = streams.split_at_mut(128);
    for stream in served.iter_mut() {
        stream.send.write_all(&[0, 0, 0x1f, 0xff]).await.expect("sends");
    }
    let taken: usize = join_all(waiting.iter_mut().map(push)).await.into_iter().sum();
    assert!((1..HELD).contains(&taken), "{taken} bytes were taken");
    stage.talks().await;
    assert_flat(before);
    stage.stop().await;
}

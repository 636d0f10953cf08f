//! Hostile members on a room's gossip topic.

use std::time::{Duration, Instant};

use ayni_core::event::RawEvent;
use ayni_core::keys::Sig;
use ayni_core::proto::Gossip as Frame;
use ayni_core::wire;
use bytes::Bytes;
use futures_util::StreamExt;
use iroh::address_lookup::memory::MemoryLookup;
use iroh_gossip::api::GossipTopic;
use iroh_gossip::net::Gossip;

use crate::support::member::{Member, raws};
use crate::support::raw::Raw;
use crate::support::{DEADLINE, Home, Stage, addr, assert_flat, hears, resident, within};

/// Joins the room's topic by way of a node.
async fn join_topic(member: &Member, home: &Home) -> (Gossip, GossipTopic) {
    let lookup = MemoryLookup::from_endpoint_info([addr(&home.node).await]);
    member.raw.endpoint.address_lookup().expect("runs").add(lookup);
    let gossip = Gossip::builder().spawn(member.raw.endpoint.clone());
    let (endpoint, accepting) = (member.raw.endpoint.clone(), gossip.clone());
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let Ok(connection) = incoming.await else { continue };
            if connection.alpn() == iroh_gossip::ALPN {
                let _ = accepting.handle_connection(connection).await;
            }
        }
    });
    let topic = member.room.topic().expect("a member has a key");
    let mut joined = gossip
        .subscribe(topic.0.into(), vec![addr(&home.node).await.id])
        .await
        .expect("subscribes");
    within("a gossip neighbor", joined.joined()).await.expect("joins");
    (gossip, joined)
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_24_ten_thousand_messages_of_garbage_change_nothing() {
    let stage = Stage::new().await;
    let mut member = Member::join(&stage.a.node, &stage.ticket).await;
    let (gossip, topic) = join_topic(&member, &stage.a).await;
    let (sender, mut receiver) = topic.split();
    let before = resident();
    let said = member.says("by gossip", 1);
    let stranger = Raw::new().await;
    let by_stranger = |nth: u64| {
        let mut header = said[0].header().clone();
        header.device = stranger.id();
        header.time.0 += nth;
        let body = said[0].body().expect("ours").to_vec();
        ayni_core::event::Event::sign(header, body, &stranger.device).to_raw()
    };
    let with = |change: fn(&mut RawEvent), nth: u8| {
        let mut raw = raws(&said).remove(0);
        change(&mut raw);
        // Each message is another one, or gossip itself would drop it.
        raw.signature.0[0] ^= nth;
        Frame::Event(raw)
    };
    let flood = async {
        for nth in 0..10_000u64 {
            let unique = nth.to_be_bytes();
            let message = match nth % 5 {
                0 => [&unique[..], &[0xff; 1000]].concat(),
                1 => wire::encode(&Frame::Hint(unique.to_vec().into())),
                2 => wire::encode(&Frame::Event(by_stranger(nth))),
                3 => wire::encode(&with(|raw| raw.signature = Sig([9; 64]), unique[7])),
                _ => wire::encode(&with(|raw| raw.body = None, unique[7])),
            };
            sender.broadcast(Bytes::from(message)).await.expect("sends");
        }
    };
    let listening = tokio::spawn(async move { while receiver.next().await.is_some() {} });
    let talk = async {
        for _ in 0..5 {
            stage.talks().await;
        }
    };
    tokio::join!(flood, talk);
    stage.talks().await;
    assert_flat(before);
    assert_eq!(stage.a.node.members(stage.room).expect("reads").len(), 3);
    assert!(!stage.b.texts(stage.room).await.contains(&"by gossip".to_owned()));
    // The event that they garbled is still welcome, whole.
    let whole = wire::encode(&Frame::Event(said[0].to_raw()));
    sender.broadcast(Bytes::from(whole)).await.expect("sends");
    stage.b.shows(stage.room, "by gossip").await;
    listening.abort();
    let _ = tokio::time::timeout(Duration::from_secs(1), gossip.shutdown()).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gossip_neighbor_that_never_reads_stops_neither_talk_nor_the_end() {
    let stage = Stage::new().await;
    let raw = Raw::with_window(4 * 1024).await;
    let member = Member::join_as(raw, &stage.a.node, &stage.ticket).await;
    // By hand: a topic's stream, and the wish to be a neighbor in it.
    let gossip = member.raw.endpoint.connect(addr(&stage.a.node).await, iroh_gossip::ALPN);
    let gossip = within("a connection", gossip).await.expect("connects");
    let mut stream = gossip.open_uni().await.expect("opens");
    let topic = member.room.topic().expect("a member has a key");
    let join = [&32u32.to_be_bytes()[..], &topic.0, &3u32.to_be_bytes(), &[0, 0, 0]].concat();
    stream.write_all(&join).await.expect("sends");
    within("the node takes it as a neighbor", gossip.accept_uni()).await.expect("opens");
    // More than the windows and the queues between can hold.
    let text = "y".repeat(2_000);
    for _ in 0..400 {
        stage.a.node.say(stage.room, &text).await.expect("says");
    }
    stage.talks().await;
    // Other rooms have the same gossip.
    let group = stage.a.node.create_room("other").await.expect("creates").room;
    let ticket = stage.a.node.invite(group, ayni::InviteOptions::default()).await.expect("invites");
    stage.b.node.join(&ticket, DEADLINE).await.expect("joins");
    hears(&stage.a, &stage.b, group).await;
    let start = Instant::now();
    stage.stop().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

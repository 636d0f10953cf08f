//! Hostile members on a room's gossip topic.

use std::time::{Duration, Instant};

use ayni_core::event::{Event, RawEvent};
use ayni_core::id::EpochId;
use ayni_core::keys::Sig;
use ayni_core::log::Lane;
use ayni_core::proto::Gossip as Frame;
use ayni_core::wire;
use bytes::Bytes;
use futures_util::StreamExt;
use iroh::EndpointId;
use iroh::address_lookup::memory::MemoryLookup;
use iroh_gossip::api::{Event as GossipEvent, GossipTopic};
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
    let joined = subscribe(&gossip, member, home).await;
    (gossip, joined)
}

/// Joins the topic on which an honest member would publish now.
async fn subscribe(gossip: &Gossip, member: &Member, home: &Home) -> GossipTopic {
    let topic = member.room.topic().expect("a member has a key");
    let mut joined = gossip
        .subscribe(topic.0.into(), vec![addr(&home.node).await.id])
        .await
        .expect("subscribes");
    within("a gossip neighbor", joined.joined()).await.expect("joins");
    joined
}

/// Waits until a node's message comes by this topic; returns its epoch.
async fn hears_of(topic: &mut GossipTopic, home: &Home) -> Option<EpochId> {
    within("a message by gossip", async {
        loop {
            let event = topic.next().await.expect("goes on").expect("is sound");
            let GossipEvent::Received(message) = event else { continue };
            let Ok(Frame::Event(raw)) = wire::decode(&message.content) else { continue };
            let event = Event::from_raw(raw).expect("whole");
            let header = event.header();
            if header.lane == Lane::Chat && header.device == home.node.identity().peer {
                return header.epoch;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_follow_the_epochs_and_are_left_with_the_room() {
    let stage = Stage::new().await;
    let mut member = Member::join(&stage.a.node, &stage.ticket).await;
    let removed = Member::join(&stage.a.node, &stage.ticket).await;
    let (gossip, mut old) = join_topic(&member, &stage.a).await;
    stage.a.node.say(stage.room, "before").await.expect("says");
    let first = hears_of(&mut old, &stage.a).await;
    assert_eq!(first, member.room.sealing_epoch().map(|(epoch, _)| epoch));

    let account = removed.raw.cert.claim.account;
    stage.a.node.remove_member(stage.room, account).await.expect("a founder");
    member.pull().await;
    assert_eq!(member.room.topic(), None, "the key is not here yet");
    member.asks_for_keys(&stage.a.node).await;
    let mut new = subscribe(&gossip, &member, &stage.a).await;
    stage.a.node.say(stage.room, "after").await.expect("says");
    let second = hears_of(&mut new, &stage.a).await;
    assert_ne!(second, first);
    assert_eq!(second, member.room.sealing_epoch().map(|(epoch, _)| epoch));
    // On the one before it listens for an hour, and says nothing.
    let said = member.says("by who has not heard", 1);
    let whole = wire::encode(&Frame::Event(said[0].to_raw()));
    old.broadcast(Bytes::from(whole)).await.expect("sends");
    stage.a.shows(stage.room, "by who has not heard").await;

    let node = EndpointId::from_bytes(stage.a.node.identity().peer.as_bytes()).expect("a key");
    stage.a.node.leave(stage.room).await.expect("leaves");
    for topic in [&mut old, &mut new] {
        within("it leaves the topic", async {
            while topic.next().await.expect("goes on").expect("sound")
                != GossipEvent::NeighborDown(node)
            {}
        })
        .await;
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), gossip.shutdown()).await;
    stage.stop().await;
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

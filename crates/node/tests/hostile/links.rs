//! Which connection counts, and finding one another again.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ayni::service::{Allow, Offer, Provider, ServiceLimits};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::member::Member;
use crate::support::raw::{Raw, RawLink};
use crate::support::{Home, Stage, take_port, until, within, within_time};

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_peer_replaces_its_old_connection_at_once() {
    let stage = Stage::new().await;
    let raw = Raw::new().await;
    let old = raw.link_as(&stage.a.node, 1).await;
    let new = raw.link_as(&stage.a.node, 2).await;
    within_time("the old one ends", Duration::from_secs(3), old.connection.closed()).await;
    assert!(within("a ping", new.is_served()).await);
    assert!(stage.a.has_link(raw.id()));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redialling_leaves_a_bounded_number_of_connections() {
    let stage = Stage::new().await;
    let raw = Raw::new().await;
    let mut links = Vec::new();
    for _ in 0..10 {
        links.push(raw.link(&stage.a.node).await);
    }
    until("at most the current and one that drains are left", async || {
        let open = links.iter().filter(|link| link.connection.close_reason().is_none());
        open.count() <= 2
    })
    .await;
    assert!(within("a ping", links.last().expect("ten").is_served()).await, "the last one stays");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_simultaneous_dials_the_lower_peers_stays() {
    let stage = Stage::new().await;
    let node = stage.a.node.clone();
    let raw = Raw::new().await;
    let (me, peer) = (node.identity().peer, raw.id());
    // The node learns where the peer is.
    let first = raw.link(&node).await;
    until("the node knows it", async || stage.a.has_link(peer)).await;
    first.connection.close(0u32.into(), b"gone");
    until("the node lost it", async || !stage.a.has_link(peer)).await;
    // The node dials; before it is answered the peer's own dial completes.
    let dialling = tokio::spawn(async move { node.services(Some(peer)).await.map(drop) });
    let incoming = within("the node's dial", raw.endpoint.accept()).await.expect("runs");
    let by_peer = raw.link(&stage.a.node).await;
    let by_node = RawLink::greet(incoming.await.expect("arrives"), 1).await;
    within("the node has its answer", dialling).await.expect("runs").expect("connected");
    let (stays, goes) = if peer < me { (by_peer, by_node) } else { (by_node, by_peer) };
    within("the other drains and ends", goes.connection.closed()).await;
    assert!(within("a ping", stays.is_served()).await);
    assert!(stage.a.has_link(peer));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_at_another_address_is_found_again() {
    let stage = Stage::new().await;
    let port = stage.b.port().await;
    let folder = stage.b.stop().await;
    // Someone else has its port now.
    let taken = take_port(port).await;
    let b = Home::start_in(folder).await;
    assert_ne!(b.port().await, port);
    let stage = Stage { b, ..stage };
    stage.talks().await;
    // From now on it has the new one: also when it is a who dials.
    let a = stage.a.restart().await;
    let stage = Stage { a, ..stage };
    stage.talks().await;
    drop(taken);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_that_both_restart_find_each_other() {
    let stage = Stage::new().await;
    let (a, b) = tokio::join!(stage.a.stop(), stage.b.stop());
    let a = Home::start_in(a).await;
    let b = Home::start_in(b).await;
    let stage = Stage { a, b, ..stage };
    stage.talks().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_takes_less_than_five_seconds_whoever_is_connected() {
    let stage = Stage::new().await;
    let members = join_all((0..3).map(|_| Member::join(&stage.a.node, &stage.ticket))).await;
    let strangers = join_all((0..3).map(|_| Raw::new())).await;
    let links = join_all(strangers.iter().map(|raw| raw.link(&stage.a.node))).await;
    // Some are in the middle of something.
    let mut sessions = join_all(members.iter().map(Member::sync)).await;
    for session in &mut sessions {
        session.send.write_all(&[0, 0]).await.expect("sends");
    }
    let streams = join_all(links.iter().map(RawLink::stream)).await;
    let start = Instant::now();
    stage.a.node.shutdown().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    for link in &links {
        within("it says so to the others", link.connection.closed()).await;
    }
    drop(streams);
    stage.b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_forwards_do_not_stop_a_room() {
    const STALLED: usize = 10;
    let stage = Stage::new().await;
    // A service that sends without end, and clients of it that stop reading.
    let source = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
    let target = source.local_addr().expect("bound").to_string();
    let sending = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = source.accept().await {
            tokio::spawn(async move {
                let chunk = vec![1; 64 * 1024];
                while tcp.write_all(&chunk).await.is_ok() {}
            });
        }
    });
    let offer = Offer {
        name: "endless".into(),
        allow: vec![Allow::Room(stage.room)],
        provider: Provider::Tcp(target),
        limits: ServiceLimits::default(),
    };
    let _provided = stage.a.node.provide(offer).expect("provides");
    let a = stage.a.node.identity().peer;
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let forward = stage.b.node.forward(a, "endless", listen).await.expect("forwards");
    let mut clients = Vec::new();
    for _ in 0..STALLED {
        let mut tcp = TcpStream::connect(forward.listen).await.expect("connects");
        let mut some = vec![0; 64 * 1024];
        within("some bytes", tcp.read_exact(&mut some)).await.expect("flows");
        clients.push(tcp);
    }
    // Everything between is full when nothing more can be read from the service.
    // Too large for gossip: these take the connection that the stalled streams are on.
    for nth in 0..20 {
        let text = format!("{nth} {}", "z".repeat(20_000));
        stage.a.node.say(stage.room, &text).await.expect("says");
        stage.b.shows(stage.room, &text).await;
    }
    stage.talks().await;
    sending.abort();
    drop(clients);
    stage.stop().await;
}

//! TCP services and forwarded ports, end to end: client ⇄ local port ⇄ stream ⇄ target.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::{forward, open_stream};
use super::*;
use crate::error::ErrorKind;
use crate::service::{Forward, Provided};

/// A target, the service for it, and a local port that leads there.
struct Bridge {
    pair: Pair,
    provided: Option<Provided>,
    forward: Option<Forward>,
}

async fn bridge<R>(
    limits: ServiceLimits,
    target: impl Fn(TcpStream) -> R + Send + Sync + 'static,
) -> Bridge
where
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(target(tcp));
        }
    });
    bridge_to(limits, addr).await
}

async fn bridge_to(limits: ServiceLimits, target: SocketAddr) -> Bridge {
    let pair = pair().await;
    let tcp = offer_of("web", Provider::Tcp(target.to_string()));
    let provided = Some(pair.registry.provide(Offer { limits, ..tcp }).expect("provided"));
    let forward = Some(forward(opener(&pair), any_port()).await.expect("a port"));
    Bridge { pair, provided, forward }
}

fn opener(
    pair: &Pair,
) -> impl Fn() -> BoxFuture<'static, crate::Result<Stream>> + Send + Sync + 'static {
    let link = pair.link.clone();
    move || {
        let link = link.clone();
        Box::pin(async move { open_stream(&link, "web").await })
    }
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

impl Bridge {
    async fn client(&self) -> TcpStream {
        let listen = self.forward.as_ref().expect("open").listen;
        soon(TcpStream::connect(listen)).await.expect("a local port")
    }
}

/// Reads to the end; an error is an end that was not proper.
async fn read_all(tcp: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut all = vec![];
    soon(tcp.read_to_end(&mut all)).await.map(|_| all)
}

/// Reads everything, then answers with it in reverse, then closes: works only with half-close.
async fn reverse(mut tcp: TcpStream) {
    let mut all = vec![];
    tcp.read_to_end(&mut all).await.expect("a proper end");
    all.reverse();
    tcp.write_all(&all).await.expect("a reader");
}

#[tokio::test]
async fn half_close_passes_through_in_both_directions() {
    let bridge = bridge(ServiceLimits::default(), reverse).await;
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut clients = vec![];
    for _ in 0..4 {
        let (mut tcp, data) = (bridge.client().await, data.clone());
        clients.push(tokio::spawn(async move {
            tcp.write_all(&data).await.expect("taken");
            tcp.shutdown().await.expect("half closed");
            let mut back = read_all(&mut tcp).await.expect("a proper end");
            back.reverse();
            assert!(back == data, "{} of {} bytes", back.len(), data.len());
        }));
    }
    for client in clients {
        soon(client).await.expect("no panic");
    }
    bridge.pair.idle().await;
    bridge.pair.close().await;
}

#[tokio::test]
async fn a_server_that_speaks_first_and_closes_is_heard_whole() {
    let bridge = bridge(ServiceLimits::default(), |mut tcp| async move {
        tcp.write_all(b"220 welcome").await.expect("a reader");
    })
    .await;
    let mut client = bridge.client().await;
    assert_eq!(read_all(&mut client).await.expect("a proper end"), b"220 welcome");
    drop(client);
    bridge.pair.idle().await;
    bridge.pair.close().await;
}

#[tokio::test]
async fn a_target_that_breaks_off_is_not_a_proper_end() {
    let bridge = bridge(ServiceLimits::default(), |mut tcp| async move {
        tcp.write_all(b"Content-Length: 1000\r\n\r\nhalf").await.expect("a reader");
        let mut request = [0; 1];
        tcp.read_exact(&mut request).await.expect("a request");
        tcp.set_zero_linger().expect("an open socket");
    })
    .await;
    let mut client = bridge.client().await;
    client.write_all(b"x").await.expect("taken");
    assert!(read_all(&mut client).await.is_err(), "a reset");
    bridge.pair.idle().await;
    bridge.pair.close().await;
}

#[tokio::test]
async fn a_target_that_is_not_there_is_not_a_proper_end() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let nobody = free.local_addr().expect("bound");
    drop(free);
    let bridge = bridge_to(ServiceLimits::default(), nobody).await;
    assert!(read_all(&mut bridge.client().await).await.is_err(), "a reset");
    bridge.pair.idle().await;
    bridge.pair.close().await;
}

#[tokio::test]
async fn withdrawing_the_service_or_closing_the_port_cuts_the_connections() {
    let echo = |mut tcp: TcpStream| async move {
        let (mut from, mut to) = tcp.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    };
    for withdraw in [true, false] {
        let mut bridge = bridge(ServiceLimits::default(), echo).await;
        let listen = bridge.forward.as_ref().expect("open").listen;
        let mut client = bridge.client().await;
        client.write_all(b"x").await.expect("taken");
        let mut back = [0; 1];
        soon(client.read_exact(&mut back)).await.expect("echoed");
        if withdraw {
            drop(bridge.provided.take());
        } else {
            drop(bridge.forward.take());
        }
        assert!(read_all(&mut client).await.is_err(), "a reset");
        if !withdraw {
            // The port is free as soon as the task that listened has ended.
            soon(async { while TcpStream::connect(listen).await.is_ok() {} }).await;
        }
        bridge.pair.idle().await;
        bridge.pair.close().await;
    }
}

#[tokio::test]
async fn a_silent_connection_is_ended_by_the_services_limit() {
    let limits = ServiceLimits { timeout: Duration::from_millis(200), ..ServiceLimits::default() };
    let bridge = bridge(limits, |tcp| async move {
        std::future::pending::<()>().await;
        drop(tcp);
    })
    .await;
    assert!(read_all(&mut bridge.client().await).await.is_err(), "a reset");
    bridge.pair.idle().await;
    bridge.pair.close().await;
}

#[tokio::test]
async fn a_connection_lasts_as_long_as_bytes_pass_in_either_direction() {
    let limits = ServiceLimits { timeout: Duration::from_millis(600), ..ServiceLimits::default() };
    let bridge = bridge(limits, |mut tcp| async move {
        let mut all = vec![];
        tcp.read_to_end(&mut all).await.expect("a proper end");
        tcp.write_all(&all).await.expect("a reader");
    })
    .await;
    let mut client = bridge.client().await;
    // Twice the limit in all, and never silent for long.
    for _ in 0..24 {
        client.write_all(b".").await.expect("taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.shutdown().await.expect("half closed");
    assert_eq!(read_all(&mut client).await.expect("a proper end"), [b'.'; 24]);
    bridge.pair.idle().await;
    bridge.pair.close().await;
}

#[tokio::test]
async fn hazard_25_a_client_that_never_reads_stops_the_target_instead_of_filling_memory() {
    let written = Arc::new(AtomicU64::new(0));
    let count = written.clone();
    let limits = ServiceLimits { timeout: Duration::from_millis(500), ..ServiceLimits::default() };
    let bridge = bridge(limits, move |mut tcp| {
        let count = count.clone();
        async move {
            let zeros = [0; 8 * 1024];
            while tcp.write_all(&zeros).await.is_ok() {
                count.fetch_add(zeros.len() as u64, Ordering::SeqCst);
            }
        }
    })
    .await;
    let client = bridge.client().await;
    // Nobody reads; the silence that follows ends it.
    soon(async {
        while written.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    bridge.pair.idle().await;
    // Socket buffers of the system on both ends, and one stream's window.
    let most = 64 << 20;
    assert!(written.load(Ordering::SeqCst) < most, "{} bytes", written.load(Ordering::SeqCst));
    drop(client);
    bridge.pair.close().await;
}

#[tokio::test]
async fn connections_over_the_limit_wait_their_turn() {
    let limits = ServiceLimits { concurrency: 256, ..ServiceLimits::default() };
    let bridge = bridge(limits, |mut tcp| async move {
        let (mut from, mut to) = tcp.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
    .await;
    let mut clients = vec![];
    for _ in 0..64 {
        let mut client = bridge.client().await;
        client.write_all(b"x").await.expect("taken");
        soon(client.read_exact(&mut [0; 1])).await.expect("echoed");
        clients.push(client);
    }
    let mut waiting = bridge.client().await;
    waiting.write_all(b"y").await.expect("taken by the system");
    let mut back = [0; 1];
    tokio::select! {
        biased;
        _ = waiting.read_exact(&mut back) => panic!("served beyond the limit"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    drop(clients.pop());
    soon(waiting.read_exact(&mut back)).await.expect("echoed");
    assert_eq!(&back, b"y");
    drop((clients, waiting));
    bridge.pair.idle().await;
    bridge.pair.close().await;
}

#[tokio::test]
async fn only_a_free_port_of_this_machine_alone_is_listened_on() {
    let pair = pair().await;
    for address in ["0.0.0.0:0", "192.168.1.1:0", "[::]:0"] {
        let refused = forward(opener(&pair), address.parse().expect("an address")).await;
        assert_eq!(refused.expect_err("refused").kind(), ErrorKind::Invalid, "{address}");
    }
    let first = forward(opener(&pair), any_port()).await.expect("a port");
    let second = forward(opener(&pair), first.listen).await.expect_err("taken");
    let port = first.listen.port();
    let expected = format!("port {port} on 127.0.0.1 is in use: choose another");
    assert_eq!((second.kind(), second.to_string()), (ErrorKind::Internal, expected));
    pair.close().await;
}

#[tokio::test]
async fn a_refused_call_closes_the_local_connection() {
    let pair = pair().await;
    let forward = forward(opener(&pair), any_port()).await.expect("a port");
    let mut client = soon(TcpStream::connect(forward.listen)).await.expect("connects");
    assert!(read_all(&mut client).await.is_err(), "a reset");
    pair.close().await;
}

//! Peers that speak the protocol of contents by themselves, and do as they like.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ayni::{Existing, Target};
use iroh::endpoint::{Connection, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, RelayMode, TransportAddr};
use iroh_blobs::protocol::{GetRequest, ObserveItem, Request};
use iroh_blobs::ticket::BlobTicket;
use iroh_blobs::{ALPN, BlobFormat, Hash};

use crate::support::{Home, bytes, until};

/// Far beyond what an answer takes that is given at once.
const SOON: Duration = Duration::from_secs(10);

async fn endpoint() -> Endpoint {
    let builder = Endpoint::builder(presets::Minimal)
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))
        .expect("an address");
    builder.bind().await.expect("binds")
}

async fn connect(ticket: &str) -> (Endpoint, Connection, Hash) {
    let ticket: BlobTicket = ticket.parse().expect("a ticket");
    let endpoint = endpoint().await;
    let connection = endpoint.connect(ticket.addr().clone(), ALPN).await.expect("connects");
    (endpoint, connection, ticket.hash())
}

async fn ask(connection: &Connection, request: &[u8]) -> (SendStream, RecvStream) {
    let (mut send, recv) = connection.open_bi().await.expect("opens");
    send.write_all(request).await.expect("sent");
    send.finish().expect("sent");
    (send, recv)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_what_no_list_can_have_ends_at_once() {
    let ana = Home::new().await;
    let file = ana.file("notes.txt", b"some notes");
    let shared = ana.node().share(&[file], false).await.expect("shared");
    let (_endpoint, connection, hash) = connect(&shared.ticket).await;
    // A get of this content: nothing of it, and everything of its file number 2^62.
    let mut request = vec![0];
    let ranges: Vec<(u64, Vec<u64>)> = vec![(1 << 62, vec![0])];
    request.extend(postcard::to_stdvec(&(hash, ranges)).expect("written"));
    let (_send, mut recv) = ask(&connection, &request).await;
    let answer = tokio::time::timeout(SOON, recv.read_to_end(100)).await.expect("it ends");
    assert!(answer.is_ok_and(|answer| answer.is_empty()));
    // One that is longer than any honest one.
    let (_send, mut recv) = ask(&connection, &vec![0; 128 * 1024]).await;
    assert!(tokio::time::timeout(SOON, recv.read_to_end(100)).await.expect("it ends").is_err());
    ana.stop_all_of().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_shared_any_more_ends_in_the_middle() {
    let ana = Home::new().await;
    let path = ana.file("film.bin", &bytes(40_000_000, 3));
    let shared = ana.node().share(&[path], false).await.expect("shared");
    ana.node().set_rate_limits(Some(1_000_000), None).await.expect("set");
    let (_endpoint, connection, hash) = connect(&shared.ticket).await;
    let all = postcard::to_stdvec(&Request::Get(GetRequest::all(hash))).expect("written");
    let (_send, mut recv) = ask(&connection, &all).await;
    let mut came = 0;
    let mut stopped_at = None;
    while let Ok(Some(chunk)) = recv.read_chunk(usize::MAX).await {
        came += chunk.len();
        if came > 500_000 && stopped_at.is_none() {
            ana.node().unshare(shared.blob).await.expect("stops");
            stopped_at = Some(came);
        }
    }
    let more = came - stopped_at.expect("it began");
    assert!(more < 4_000_000, "{more} bytes came afterwards");
    ana.stop_all_of().await;
}

/// Answers every request with reports that say something else each time, and counts these.
async fn flood(endpoint: Endpoint, told: Arc<AtomicU64>) {
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connection) = incoming.await else { continue };
        while let Ok((mut send, _recv)) = connection.accept_bi().await {
            for n in 0u64.. {
                let runs: Vec<u64> = std::iter::once(n).chain((1..4_000).map(|_| 1)).collect();
                let mut ends = 0;
                let ends: Vec<u64> = runs
                    .iter()
                    .map(|run| {
                        ends += run;
                        ends
                    })
                    .collect();
                let ranges = ends.as_chunks::<2>().0.iter().fold(
                    bao_tree::ChunkRanges::empty(),
                    |all, [from, to]| {
                        let run = bao_tree::ChunkNum(*from)..bao_tree::ChunkNum(*to);
                        all | bao_tree::ChunkRanges::from(run)
                    },
                );
                let item = ObserveItem { size: 1 << 40, ranges };
                let body = postcard::to_stdvec(&item).expect("written");
                let mut frame = postcard::to_stdvec(&(body.len() as u64)).expect("written");
                frame.extend(body);
                if send.write_all(&frame).await.is_err() {
                    break;
                }
                told.fetch_add(frame.len() as u64, Ordering::Relaxed);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_26_one_that_reports_without_end_is_listened_to_now_and_then() {
    let raw = endpoint().await;
    let sockets = raw.bound_sockets().into_iter().map(TransportAddr::Ip);
    let addr = EndpointAddr::from_parts(raw.id(), sockets);
    let told = Arc::new(AtomicU64::new(0));
    let flooding = tokio::spawn(flood(raw, told.clone()));
    let ticket = BlobTicket::new(addr, Hash::from_bytes([7; 32]), BlobFormat::HashSeq);
    let ben = Home::new().await;
    let target = Target { path: ben.downloads(), existing: Existing::Refuse };
    ben.node().get(&ticket.to_string(), Some(target)).await.expect("begins");
    until("it tells", async || told.load(Ordering::Relaxed) > 0).await;
    // So long that one who reads as fast as it comes has read very much.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let told = told.load(Ordering::Relaxed);
    assert!(told < 4_000_000, "{told} bytes of reports were taken");
    flooding.abort();
    ben.stop_all_of().await;
}

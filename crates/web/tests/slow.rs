//! Clients that have no token and take their time.

mod common;

use common::{Api, DEADLINE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More connections than are served at once.
const MANY: usize = 300;

async fn connected(api: &Api, bytes: &[u8]) -> TcpStream {
    let mut tcp = TcpStream::connect(api.server.addr).await.expect("the server listens");
    tcp.write_all(bytes).await.expect("the system takes it");
    tcp
}

#[tokio::test]
async fn half_a_request_does_not_hold_a_connection_for_ever() {
    let api = Api::start().await;
    for bytes in ["", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", "PRI * HTTP/2.0\r\n"] {
        let mut tcp = connected(&api, bytes.as_bytes()).await;
        let ended = tokio::time::timeout(DEADLINE, tcp.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "{bytes:?}");
    }
    api.stop().await;
}

#[tokio::test]
async fn any_number_of_half_requests_delays_a_whole_one_and_no_more() {
    let api = Api::start().await;
    let mut silent = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        silent.push(connected(&api, b"GET / HTTP/1.1\r\n").await);
    }
    assert_eq!(api.ask("GET", "/api/v1/id").send().await.status, 200);
    drop(silent);
    api.stop().await;
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let api = Api::start().await;
    let host = api.server.addr;
    let ask = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut tcp = connected(&api, format!("{ask}{ask}").as_bytes()).await;
    let mut answers = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, tcp.read_to_end(&mut answers)).await;
    ended.expect("it rests too long").expect("reads");
    let answers = String::from_utf8_lossy(&answers);
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    api.stop().await;
}

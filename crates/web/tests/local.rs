//! Starting, finding and stopping: the files in the data folder, and a node inside this process.

mod common;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use ayni::{Builder, Network, Node};
use ayni_web::api::{Address, ErrorCode};
use ayni_web::{Client, Local, ServeOptions, serve};
use common::Api;
use tokio::io::AsyncReadExt;

fn builder(folder: &Path) -> Builder {
    Node::builder().data(folder).network(Network::Loopback)
}

/// Served for who knows the address.
fn private() -> ServeOptions {
    ServeOptions { publish: false, ..ServeOptions::default() }
}

#[tokio::test]
async fn a_served_folder_is_found_until_the_server_stops() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert!(Client::connect(folder.path()).await.expect("nothing there").is_none());
    let local = Local::start(builder(folder.path())).await.expect("a node");
    let address = fs::read_to_string(folder.path().join("api.json")).expect("published");
    let address: Address = serde_json::from_str(&address).expect("its form");
    assert_eq!(address.http, local.client.http());
    assert_eq!(address.pid, std::process::id());
    let token = fs::read_to_string(&address.token_file).expect("an absolute path");

    let found = Client::connect(folder.path()).await.expect("readable").expect("served");
    assert_eq!(found.addr(), local.client.addr());
    assert!(found.is_passing(), "it ends with its command");
    assert_eq!(found.id().await, local.client.id().await);
    local.stop().await;

    assert!(!folder.path().join("api.json").exists());
    assert_eq!(fs::read_to_string(folder.path().join("token")).expect("kept"), token);
    assert!(Client::connect(folder.path()).await.expect("nothing there").is_none());
    assert_eq!(found.id().await.expect_err("gone").code, ErrorCode::Unreachable);

    let again = Local::start(builder(folder.path())).await.expect("the folder is free again");
    again.stop().await;
}

#[tokio::test]
async fn an_offline_node_serves_its_own_command_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let local = Local::start(builder(folder.path()).offline(true)).await.expect("a node");
    local.client.create_room("den").await.expect("works on the folder");
    assert!(!folder.path().join("api.json").exists());
    assert!(Client::connect(folder.path()).await.expect("nothing there").is_none());
    local.stop().await;
}

#[tokio::test]
async fn a_wrong_token_file_is_not_this_nodes_api() {
    let api = Api::start().await;
    fs::write(api.folder.path().join("token"), "0".repeat(64)).expect("writable");
    assert!(Client::connect(api.folder.path()).await.expect("readable").is_none());
    api.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_sentence() {
    let api = Api::start().await;
    let http = api.server.addr;
    let error = serve(api.node.clone(), ServeOptions { http, ..private() }).await;
    let error = error.expect_err("the port is taken");
    let sentence =
        format!("port {} on 127.0.0.1 is in use: choose another with --http", http.port());
    assert_eq!(error.to_string(), sentence);
    assert!(std::error::Error::source(&error).is_none(), "nothing repeats it");
    assert_eq!(error.kind(), ayni::ErrorKind::Internal);
    api.stop().await;
}

#[tokio::test]
async fn only_the_loopback_address_is_served() {
    let api = Api::start().await;
    for http in [SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), ([127, 0, 0, 2], 0).into()] {
        let options = ServeOptions { http, ..private() };
        let error = serve(api.node.clone(), options).await.expect_err("refused");
        assert_eq!(error.kind(), ayni::ErrorKind::Invalid);
    }
    api.stop().await;
}

#[tokio::test]
async fn stopping_ends_what_waits_and_tells_it() {
    let api = Api::start().await;
    let _events = api.client.events().await.expect("subscribed");
    let endless = api.ask("POST", "/api/v1/rooms").header("Expect", "100-continue");
    let mut endless = endless.header("Content-Length", "10").begin().await;
    // Sent when the route begins to wait for the body, which never comes.
    let mut go_on = [0; 25];
    in_time(endless.read_exact(&mut go_on)).await.expect("the route was reached");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    in_time(api.stop()).await;
    let mut answer = String::new();
    in_time(endless.read_to_string(&mut answer)).await.expect("told, and closed");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains(r#""code":"unreachable""#), "{answer}");
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(common::DEADLINE, future).await.expect("it happens in time")
}

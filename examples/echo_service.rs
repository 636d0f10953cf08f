//! A service of one's own: one node provides `echo`, another calls it.
//!
//! ```text
//! cargo run --release -p ayni --example echo_service
//! ```

use std::sync::Arc;
use std::time::Duration;

use ayni::service::{
    Allow, BoxFuture, Caller, Offer, Provider, Service, ServiceError, ServiceLimits,
};
use ayni::{InviteOptions, Network, Node};
use bytes::Bytes;

/// Answers with what it was sent, and with whom it was sent by.
struct Echo;

impl Service for Echo {
    fn call(&self, caller: Caller, request: Bytes) -> BoxFuture<'_, Result<Bytes, ServiceError>> {
        Box::pin(async move {
            let text = String::from_utf8_lossy(&request);
            Ok(format!("{} said {text:?}", caller.peer.short()).into())
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let provider = Node::builder().data(one.path()).network(Network::Loopback).start().await?;
    let caller = Node::builder().data(other.path()).network(Network::Loopback).start().await?;

    // A room makes the two known to each other; its members may call.
    let room = provider.create_room("echo").await?.room;
    let ticket = provider.invite(room, InviteOptions::default()).await?;
    caller.join(&ticket, Duration::from_secs(30)).await?;

    let offer = Offer {
        name: "echo".into(),
        allow: vec![Allow::Room(room)],
        provider: Provider::Request(Arc::new(Echo)),
        limits: ServiceLimits::default(),
    };
    let provided = provider.provide(offer)?;

    let peer = provider.identity().peer;
    let reply = caller.request(peer, "echo", "hello".into(), Duration::from_secs(10)).await?;
    println!("{}", String::from_utf8_lossy(&reply));

    drop(provided);
    caller.shutdown().await;
    provider.shutdown().await;
    Ok(())
}

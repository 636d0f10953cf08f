//! The settings in `config.json`.

use ayni::{Network, Node};
use serde_json::Value;

/// Changes of each kind at once.
const CHANGES: u16 = 24;

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_settings_at_once_are_all_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let builder = Node::builder().data(folder.path()).network(Network::Loopback).offline(true);
    let node = builder.start().await.expect("starts");
    let mut changes = tokio::task::JoinSet::new();
    for nth in 0..CHANGES {
        let (naming, moving) = (node.clone(), node.clone());
        changes.spawn(async move { naming.set_name(&format!("name {nth}")).await });
        changes.spawn(async move { moving.set_http_port(4000 + nth).await });
    }
    while let Some(changed) = changes.join_next().await {
        changed.expect("ends").expect("is kept");
    }
    let text = std::fs::read(folder.path().join("config.json")).expect("reads");
    let kept: Value = serde_json::from_slice(&text).expect("whole");
    assert!(node.identity().name.starts_with("name "));
    assert_eq!(kept["name"], node.identity().name);
    assert!(node.http_port().is_some_and(|port| port >= 4000));
    assert_eq!(kept["http_port"].as_u64(), node.http_port().map(u64::from));
    node.shutdown().await;
}

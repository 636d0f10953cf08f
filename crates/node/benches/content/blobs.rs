//! The store of iroh-blobs and its own fetch.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use iroh::protocol::Router;
use iroh_blobs::api::blobs::{AddPathOptions, ImportMode};
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::{ALPN, BlobFormat, BlobsProtocol, Hash, HashAndFormat};

use crate::bare;
use crate::common::{baseline, child};

/// Takes a file in by reference, and gives it to whoever asks.
pub(crate) async fn give(file: &str, folder: &str) -> Result<()> {
    let mut asked = child::asked();
    let store = FsStore::load(folder).await?;
    let options = AddPathOptions {
        path: file.into(),
        format: BlobFormat::Raw,
        mode: ImportMode::TryReference,
    };
    let tag = store.blobs().add_path_with_opts(options).temp_tag().await?;
    let endpoint = baseline::endpoint(ALPN).await?;
    println!("{} {}", bare::address(&endpoint)?, tag.hash());
    let router = Router::builder(endpoint).accept(ALPN, BlobsProtocol::new(&store, None)).spawn();
    while asked.recv().await.is_some() {}
    router.shutdown().await?;
    Ok(())
}

/// Fetches it when it is asked to.
pub(crate) async fn take(folder: &str, given: &str) -> Result<()> {
    let mut asked = child::asked();
    let (address, hash) = given.split_once(' ').context("a hash")?;
    let (address, hash): (_, Hash) = (bare::read_address(address)?, hash.parse()?);
    let store = FsStore::load(folder).await?;
    let endpoint = baseline::endpoint(ALPN).await?;
    println!("ready");
    asked.recv().await.context("nobody asks")?;
    let begun = Instant::now();
    let connection = endpoint.connect(address, ALPN).await?;
    store.remote().fetch(connection, HashAndFormat::raw(hash)).await?;
    println!("{}", begun.elapsed().as_secs_f64());
    ensure!(store.blobs().has(hash).await?, "not all of it came");
    while asked.recv().await.is_some() {}
    store.shutdown().await?;
    Ok(())
}

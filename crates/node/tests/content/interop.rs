//! The wire of iroh-blobs, with that library's own store, provider and fetching at the other end: what
//! other tools on it, as `sendme`, do with our tickets, and we with theirs.

use ayni::{Existing, Target};
use iroh::endpoint::presets;
use iroh::protocol::Router;
use iroh::{Endpoint, RelayMode};
use iroh_blobs::api::Store;
use iroh_blobs::format::collection::Collection;
use iroh_blobs::store::mem::MemStore;
use iroh_blobs::ticket::BlobTicket;
use iroh_blobs::{BlobFormat, BlobsProtocol, HashAndFormat};

use crate::support::{Home, bytes, ended};

/// Someone else's program.
struct Other {
    store: Store,
    router: Router,
}

impl Other {
    async fn new() -> Self {
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr((std::net::Ipv4Addr::LOCALHOST, 0))
            .expect("an address")
            .bind()
            .await
            .expect("a socket");
        let store: Store = MemStore::new().into();
        let blobs = BlobsProtocol::new(&store, None);
        let router = Router::builder(endpoint).accept(iroh_blobs::ALPN, blobs).spawn();
        Self { store, router }
    }

    /// Takes files in, and returns a ticket for them.
    async fn share(&self, files: &[(&str, Vec<u8>)]) -> BlobTicket {
        let mut collection = Collection::default();
        for (name, content) in files {
            let tag = self.store.add_slice(content).await.expect("added");
            collection.push((*name).to_owned(), tag.hash);
        }
        let root = collection.store(&self.store).await.expect("stored");
        // Nothing is deleted here while the test lasts.
        let root = root.hash();
        BlobTicket::new(self.router.endpoint().addr(), root, BlobFormat::HashSeq)
    }

    /// Fetches what a ticket names, in one request for all of it, as these tools do.
    async fn get(&self, ticket: &BlobTicket) -> Vec<(String, Vec<u8>)> {
        let endpoint = self.router.endpoint();
        let connection = endpoint.connect(ticket.addr().clone(), iroh_blobs::ALPN).await;
        let what = HashAndFormat { hash: ticket.hash(), format: ticket.format() };
        let connection = connection.expect("connects");
        self.store.remote().fetch(connection, what).await.expect("fetches");
        let collection = Collection::load(ticket.hash(), &self.store).await.expect("a collection");
        let mut files = Vec::new();
        for (name, hash) in collection {
            let content = self.store.get_bytes(hash).await.expect("whole");
            files.push((name, content.to_vec()));
        }
        files.sort();
        files
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_fetch_what_we_share() {
    let (ana, other) = (Home::new().await, Other::new().await);
    let large = bytes(3_000_001, 31);
    let paths = [ana.file("film.bin", &large), ana.file("trip/a/empty.txt", b"")];
    ana.file("trip/notes.txt", b"notes");
    let paths = [paths[0].clone(), ana.folder.path().join("own/trip")];
    let shared = ana.node().share(&paths, false).await.expect("shared");
    let got = other.get(&shared.ticket.parse().expect("their ticket")).await;
    let expected = [
        ("film.bin".to_owned(), large),
        ("trip/a/empty.txt".to_owned(), vec![]),
        ("trip/notes.txt".to_owned(), b"notes".to_vec()),
    ];
    assert!(got == expected, "{:?}", got.iter().map(|it| (&it.0, it.1.len())).collect::<Vec<_>>());
    other.router.shutdown().await.expect("ends");
    ana.stop_all_of().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn we_fetch_what_others_share() {
    let (ana, other) = (Home::new().await, Other::new().await);
    let large = bytes(3_000_001, 32);
    let files = [("film.bin", large.clone()), ("a/empty.txt", vec![]), ("b.txt", b"b".to_vec())];
    let ticket = other.share(&files).await;
    let target = Target { path: ana.downloads(), existing: Existing::Refuse };
    let done =
        ended(ana.node().get(&ticket.to_string(), Some(target)).await.expect("begins")).await;
    let there = done.path.expect("written");
    for (name, content) in &files {
        assert!(std::fs::read(there.join(name)).expect("written") == *content, "{name}");
    }
    // A single content without a name, as other tools share it.
    let tag = other.store.add_slice(&large).await.expect("added");
    let addr = other.router.endpoint().addr();
    let ticket = BlobTicket::new(addr, tag.hash, BlobFormat::Raw);
    let path = ana.downloads().join("other.bin");
    let target = Target { path: path.clone(), existing: Existing::Refuse };
    ended(ana.node().get(&ticket.to_string(), Some(target)).await.expect("begins")).await;
    assert!(std::fs::read(path).expect("written") == large);
    other.router.shutdown().await.expect("ends");
    ana.stop_all_of().await;
}

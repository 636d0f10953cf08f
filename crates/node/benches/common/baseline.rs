//! What the machine can do at all: a round trip over QUIC, and a commit.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use iroh::endpoint::{RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, RelayMap, RelayMode, TransportAddr};
use rusqlite::Connection;

/// Bytes that go each way in one round trip: about a short event without its signature.
pub const ECHO_BYTES: usize = 256;
/// Bytes of the row that a bare commit writes: about one event.
const ROW_BYTES: usize = 512;
const ALPN: &[u8] = b"ayni-bench/echo";

/// Two endpoints on 127.0.0.1 and a stream between them whose far side echoes.
pub struct Echo {
    send: SendStream,
    recv: RecvStream,
    _endpoints: [Endpoint; 2],
}

impl Echo {
    /// Connects.
    pub async fn connect() -> Result<Self> {
        let (near, far) = (endpoint().await?, endpoint().await?);
        let sockets = far.bound_sockets().into_iter().map(TransportAddr::Ip);
        let address = EndpointAddr::from_parts(far.id(), sockets);
        let serving = far.clone();
        tokio::spawn(async move {
            let connection = serving.accept().await.context("the endpoint closed")?.await?;
            let (mut send, mut recv) = connection.accept_bi().await?;
            let mut bytes = [0; ECHO_BYTES];
            while recv.read_exact(&mut bytes).await.is_ok() {
                send.write_all(&bytes).await?;
            }
            anyhow::Ok(())
        });
        let (send, recv) = near.connect(address, ALPN).await?.open_bi().await?;
        Ok(Self { send, recv, _endpoints: [near, far] })
    }

    /// Sends [`ECHO_BYTES`] and waits for them to come back.
    pub async fn round_trip(&mut self) -> Result<Duration> {
        let mut bytes = [7; ECHO_BYTES];
        let start = Instant::now();
        self.send.write_all(&bytes).await?;
        self.recv.read_exact(&mut bytes).await?;
        Ok(start.elapsed())
    }
}

async fn endpoint() -> Result<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal)
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Custom(RelayMap::empty()))
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?;
    Ok(builder.bind().await?)
}

/// A database as the store has it (WAL, `synchronous=FULL`), with one table.
pub struct Commits(Connection);

impl Commits {
    /// Makes one.
    pub fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, row BLOB)")?;
        Ok(Self(connection))
    }

    /// Inserts one row and waits until it is durable. Blocking.
    pub fn commit(&self) -> Result<Duration> {
        let row = [7; ROW_BYTES];
        let start = Instant::now();
        self.0.prepare_cached("INSERT INTO rows (row) VALUES (?1)")?.execute([&row[..]])?;
        Ok(start.elapsed())
    }
}

/// Lets so many databases commit a row at the same time; returns how long all took together, for
/// each of `rounds`. Blocking.
pub fn commits_at_once(folder: &Path, databases: usize, rounds: usize) -> Result<Vec<Duration>> {
    let barrier = Arc::new(Barrier::new(databases + 1));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..databases)
            .map(|number| {
                let barrier = barrier.clone();
                let path = folder.join(format!("commits-{databases}-{number}.db"));
                scope.spawn(move || {
                    let opened = Commits::open(&path);
                    for _ in 0..rounds {
                        barrier.wait();
                        if let Ok(commits) = &opened {
                            commits.commit()?;
                        }
                        barrier.wait();
                    }
                    opened.map(drop)
                })
            })
            .collect();
        let times = (0..rounds).map(|_| {
            barrier.wait();
            let start = Instant::now();
            barrier.wait();
            start.elapsed()
        });
        let times = times.collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(times)
    })
}

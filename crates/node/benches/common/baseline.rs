//! What the machine can do at all: a round trip and a stream over QUIC, a commit and a bulk insert.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use iroh::endpoint::{RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, RelayMap, RelayMode, TransportAddr};
use rusqlite::{Connection, OpenFlags};

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
        let (near, far) = (endpoint(ALPN).await?, endpoint(ALPN).await?);
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

/// Sends so many bytes on one stream between two endpoints of this process; returns how long it took
/// until all had come.
pub async fn stream(bytes: u64) -> Result<Duration> {
    let (near, far) = (endpoint(ALPN).await?, endpoint(ALPN).await?);
    let sockets = far.bound_sockets().into_iter().map(TransportAddr::Ip);
    let address = EndpointAddr::from_parts(far.id(), sockets);
    let serving = far.clone();
    let received = tokio::spawn(async move {
        let connection = serving.accept().await.context("the endpoint closed")?.await?;
        let mut recv = connection.accept_uni().await?;
        while recv.read_chunk(usize::MAX).await?.is_some() {}
        anyhow::Ok(())
    });
    let connection = near.connect(address, ALPN).await?;
    let start = Instant::now();
    let mut send = connection.open_uni().await?;
    let chunk = vec![7; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        send.write_all(chunk.get(..part).unwrap_or_default()).await?;
        left -= part as u64;
    }
    send.finish()?;
    received.await??;
    Ok(start.elapsed())
}

/// Copies the events of a database into a new one as plain rows with one key, so many in a
/// transaction; returns how long that took. Blocking.
pub fn insert(from: &Path, to: &Path, batch: usize) -> Result<Duration> {
    let from = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let to = Commits::open(to)?.0;
    to.execute_batch(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, header BLOB, signature BLOB, body BLOB)",
    )?;
    let start = Instant::now();
    let mut select = from.prepare("SELECT header, signature, body FROM events ORDER BY id")?;
    let mut rows = select.query([])?;
    let mut insert = to.prepare("INSERT INTO events VALUES (NULL, ?1, ?2, ?3)")?;
    let mut waiting = 0;
    while let Some(row) = rows.next()? {
        if waiting == 0 {
            to.execute_batch("BEGIN")?;
        }
        insert.execute([0, 1, 2].map(|at| row.get::<_, Vec<u8>>(at).unwrap_or_default()))?;
        waiting = (waiting + 1) % batch;
        if waiting == 0 {
            to.execute_batch("COMMIT")?;
        }
    }
    if waiting > 0 {
        to.execute_batch("COMMIT")?;
    }
    Ok(start.elapsed())
}

/// Makes an endpoint on 127.0.0.1, with iroh's own settings.
pub async fn endpoint(alpn: &[u8]) -> Result<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal)
        .alpns(vec![alpn.to_vec()])
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

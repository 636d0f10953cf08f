//! What the machine can do: one QUIC stream, alone and between two files.
//!
//! The endpoints have iroh's own settings. What is read from the stream is gathered into pieces, since it
//! comes in packets: writing each of these to the disk costs more than a copy.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bao_tree::blake3;
use bytes::Bytes;
use iroh::endpoint::{RecvStream, SendStream};
use iroh::{Endpoint, EndpointAddr, TransportAddr};
use tokio::sync::mpsc;

use crate::common::{baseline, child};

const ALPN: &[u8] = b"ayni-bench/stream";
/// Bytes that are read, sent, hashed and written at a time.
const PIECE: usize = 256 * 1024;
/// Pieces that wait between two threads.
const WAITING: usize = 2;

/// Returns an endpoint's address in one word.
pub(crate) fn address(endpoint: &Endpoint) -> Result<String> {
    let socket = endpoint.bound_sockets().into_iter().next().context("no socket")?;
    Ok(format!("{}@{socket}", endpoint.id()))
}

/// Reads what [`address`] wrote.
pub(crate) fn read_address(word: &str) -> Result<EndpointAddr> {
    let (id, socket) = word.split_once('@').context("an address")?;
    let socket: SocketAddr = socket.parse()?;
    Ok(EndpointAddr::from_parts(id.parse()?, [TransportAddr::Ip(socket)]))
}

/// Gives the bytes of a file to whoever connects; `raw`: as many from memory.
pub(crate) async fn give(file: &str, raw: bool) -> Result<()> {
    let mut asked = child::asked();
    let endpoint = baseline::endpoint(ALPN).await?;
    let size = std::fs::metadata(file)?.len();
    let hash = if raw { blake3::hash(b"") } else { hash(Path::new(file))? };
    println!("{} {hash} {size}", address(&endpoint)?);
    let connection = endpoint.accept().await.context("the endpoint closed")?.await?;
    let mut send = connection.open_uni().await?;
    if raw {
        memory(&mut send, size).await?;
    } else {
        read(&mut send, file).await?;
    }
    send.finish()?;
    while asked.recv().await.is_some() {}
    Ok(())
}

/// Returns the hash of a file, made by one thread.
pub(crate) fn hash(path: &Path) -> Result<blake3::Hash> {
    let (mut file, mut hasher) = (File::open(path)?, blake3::Hasher::new());
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finalize()),
            read => hasher.update(piece.get(..read).unwrap_or_default()),
        };
    }
}

async fn memory(send: &mut SendStream, size: u64) -> Result<()> {
    let piece = Bytes::from(vec![7; PIECE]);
    let mut left = size;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        send.write_chunk(piece.slice(..part)).await?;
        left -= part as u64;
    }
    Ok(())
}

async fn read(send: &mut SendStream, file: &str) -> Result<()> {
    let (give, mut given) = mpsc::channel::<Bytes>(WAITING);
    let mut file = File::open(file)?;
    let reading = std::thread::spawn(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let read = file.read(&mut piece)?;
            piece.truncate(read);
            if read == 0 || give.blocking_send(piece.into()).is_err() {
                return anyhow::Ok(());
            }
        }
    });
    while let Some(piece) = given.recv().await {
        send.write_chunk(piece).await?;
    }
    reading.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
}

/// Takes the bytes, into a file of `folder` if there is one.
pub(crate) async fn take(given: &str, folder: Option<&str>) -> Result<()> {
    let mut asked = child::asked();
    let mut words = given.split(' ');
    let mut word = || words.next().context("a word");
    let (address, hash, size) = (read_address(word()?)?, word()?, word()?.parse::<u64>()?);
    let endpoint = baseline::endpoint(ALPN).await?;
    println!("ready");
    asked.recv().await.context("nobody asks")?;
    let begun = Instant::now();
    let connection = endpoint.connect(address, ALPN).await?;
    let mut recv = connection.accept_uni().await?;
    let taken = match folder {
        Some(folder) => write(&mut recv, &Path::new(folder).join("file"), hash).await?,
        None => count(&mut recv).await?,
    };
    println!("{}", begun.elapsed().as_secs_f64());
    ensure!(taken == size, "{taken} of {size} bytes came");
    while asked.recv().await.is_some() {}
    Ok(())
}

async fn count(recv: &mut RecvStream) -> Result<u64> {
    let mut taken = 0;
    while let Some(chunk) = recv.read_chunk(usize::MAX).await? {
        taken += chunk.len() as u64;
    }
    Ok(taken)
}

async fn write(recv: &mut RecvStream, path: &Path, hash: &str) -> Result<u64> {
    let (give, mut given) = mpsc::channel::<(Vec<u8>, usize)>(WAITING);
    let (back, mut empty) = mpsc::unbounded_channel();
    let mut file = File::create(path)?;
    for _ in 0..WAITING + 2 {
        back.send(vec![0; PIECE])?;
    }
    let writing = std::thread::spawn(move || {
        let (mut hasher, mut taken) = (blake3::Hasher::new(), 0);
        while let Some((piece, filled)) = given.blocking_recv() {
            let bytes = piece.get(..filled).unwrap_or_default();
            hasher.update(bytes);
            file.write_all(bytes)?;
            taken += filled as u64;
            let _ = back.send(piece); // nobody needs the last ones
        }
        anyhow::Ok((taken, hasher.finalize()))
    });
    let mut over = false;
    while !over {
        let (mut piece, mut filled) = (empty.recv().await.context("the thread ended")?, 0);
        while filled < PIECE && !over {
            match recv.read(piece.get_mut(filled..).unwrap_or_default()).await? {
                Some(read) => filled += read,
                None => over = true,
            }
        }
        give.send((piece, filled)).await?;
    }
    drop(give);
    let (taken, came) = writing.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    ensure!(came.to_string() == hash, "what came is not what was given");
    Ok(taken)
}

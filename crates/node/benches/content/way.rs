//! The ways that a file can go, and one transfer on each.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::common::child::Child;
use crate::common::{self, Meter};
use crate::torrent;

/// How a file goes from one process to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Bytes from memory on one QUIC stream, counted and forgotten at the other end.
    Raw,
    /// The same from a file, hashed as a whole and written to a file: plain threads, nothing else.
    Bound,
    /// Two nodes in a room.
    Ours,
    /// The store and the fetch of iroh-blobs.
    Blobs,
    /// libtorrent, by TCP.
    Torrent,
}

impl Way {
    pub(crate) const ALL: [Self; 5] =
        [Self::Raw, Self::Bound, Self::Ours, Self::Blobs, Self::Torrent];

    /// Returns its word on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Bound => "bound",
            Self::Ours => "ayni",
            Self::Blobs => "blobs",
            Self::Torrent => "torrent",
        }
    }

    /// Returns what a table says of it.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Raw => "raw QUIC stream",
            Self::Bound => "bound: file, QUIC, BLAKE3, file",
            Self::Ours => "ayni, store to store",
            Self::Blobs => "iroh-blobs, store to store",
            Self::Torrent => "libtorrent, TCP",
        }
    }

    fn giver(self, path: &Path, folder: &Path) -> Result<Child> {
        let (path, folder) = (path.display().to_string(), folder.display().to_string());
        match self {
            Self::Torrent => torrent::start(&["give", &path, &folder]),
            _ => Child::start(&["give", self.word(), &path, &folder]),
        }
    }

    fn taker(self, folder: &Path, address: &str) -> Result<Child> {
        let folder = folder.display().to_string();
        match self {
            Self::Torrent => torrent::start(&["take", &folder, address]),
            _ => Child::start(&["take", self.word(), &folder, address]),
        }
    }
}

/// What one transfer took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    /// Until the taker said that it has everything.
    pub(crate) time: Duration,
    /// How long the disk took after that for what it had not got yet.
    pub(crate) to_disk: Duration,
    /// Processor time of both ends.
    pub(crate) cpu: Duration,
    /// Most memory of the giver and of the taker, in MB.
    pub(crate) peaks: [f64; 2],
    /// Processor time of everything else on the machine in that time.
    pub(crate) others: Duration,
}

/// Lets a file or a folder go a way, between two new processes. Returns also their data folders.
pub(crate) fn go(way: Way, path: &Path) -> Result<(Taken, [TempDir; 2])> {
    let (from, to) = (common::folder()?, common::folder()?);
    // Nothing of an earlier transfer is written to the disk during this one.
    ensure!(Command::new("sync").status()?.success(), "sync failed");
    let mut giver = way.giver(path, from.path())?;
    let address = giver.line()?;
    let mut taker = way.taker(to.path(), &address)?;
    ensure!(taker.line()? == "ready", "the taker is not ready");
    let (meter, spent) = (Meter::start()?, giver.time()? + taker.time()?);
    let time: f64 = taker.ask("go")?.parse().context("a time")?;
    let cpu = (giver.time()? + taker.time()?).saturating_sub(spent);
    let others = meter.read()?.others.saturating_sub(cpu);
    let begun = Instant::now();
    sync_all(to.path())?;
    let to_disk = begun.elapsed();
    let peaks = [giver.peak()?, taker.peak()?];
    taker.end()?;
    giver.end()?;
    let taken = Taken { time: Duration::from_secs_f64(time), to_disk, cpu, peaks, others };
    Ok((taken, [from, to]))
}

/// Brings what lies in a folder to the disk. Who works there may take files away meanwhile.
fn sync_all(folder: &Path) -> Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    for entry in walkdir::WalkDir::new(folder) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.io_error().is_some_and(gone) => continue,
            Err(error) => return Err(error.into()),
        };
        if !entry.file_type().is_file() {
            continue;
        }
        match File::open(entry.path()) {
            Ok(file) => file.sync_all()?,
            Err(error) if gone(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

//! What the numbers of a swarm stand for: the blocks of a content, or the files of a folder.
//!
//! Nobody says how large the files of a folder are. So the start of each is fetched first with what proves its
//! size, which is all of a small one, many in one request; what then lacks of the larger ones is fetched as
//! a content of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ayni_core::id::BlobId;
use ayni_core::swarm::{Blocks, Fault, block_count, runs};
use bao_tree::ChunkRanges;
use iroh_blobs::protocol::{ChunkRangesSeq, GetRequest};

use super::ask::{self, Trouble, Way, hash};
use super::blocks::from_chunks;
use super::store::Contents;
use crate::error::Result;

/// How often a request that brings something of which nothing is whole yet says so.
const ALIVE: Duration = Duration::from_secs(1);

/// What is fetched.
#[derive(Debug, Clone)]
pub(super) enum Plan {
    /// A content of so many bytes; numbers are its blocks.
    Blob { blob: BlobId, size: u64 },
    /// The starts of the files that a folder lists; numbers are its files.
    Ends { root: BlobId, size: u64, files: Arc<[BlobId]> },
}

/// What a request brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// This run of numbers is whole now.
    Whole(u64, u64),
    /// Something, but nothing whole.
    Something,
}

impl Plan {
    /// Returns how many numbers there are.
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Blob { size, .. } => block_count(*size),
            Self::Ends { files, .. } => files.len() as u64,
        }
    }

    /// Returns the numbers that a provider has who has these chunks of the content, or of the list of a
    /// folder: who has all of the list is taken to have all files until it turns out otherwise.
    pub(super) fn numbers(&self, ranges: &ChunkRanges) -> Blocks {
        match self {
            Self::Blob { size, .. } => from_chunks(ranges, *size),
            Self::Ends { size, .. } => {
                let whole = Blocks::from(0..block_count(*size));
                let has = from_chunks(ranges, *size);
                if has == whole { Blocks::from(0..self.count()) } else { Blocks::empty() }
            }
        }
    }

    /// Returns the numbers that are here.
    ///
    /// # Errors
    /// [`crate::Error::Store`].
    pub(super) async fn here(&self, contents: &Contents) -> Result<Blocks> {
        match self {
            Self::Blob { blob, .. } => Ok(contents.held(*blob).await?.blocks),
            Self::Ends { .. } => self.ends_here(contents, &Blocks::from(0..self.count())).await,
        }
    }

    async fn ends_here(&self, contents: &Contents, among: &Blocks) -> Result<Blocks> {
        let Self::Ends { files, .. } = self else { return Ok(Blocks::empty()) };
        let numbers = runs(among).flat_map(|(from, to)| from..to);
        let asked: Vec<(u64, BlobId)> =
            numbers.filter_map(|n| Some((n, *files.get(usize::try_from(n).ok()?)?))).collect();
        let held = contents.held_all(asked.iter().map(|(_, file)| *file).collect()).await?;
        let here = asked.iter().zip(held).filter(|(_, held)| held.size.is_some());
        Ok(here.fold(Blocks::empty(), |all, ((n, _), _)| all | Blocks::from(*n..*n + 1)))
    }

    /// Asks a provider for these numbers; `tell` hears what comes.
    pub(super) async fn ask(
        &self,
        way: &Way,
        numbers: &Blocks,
        mut tell: impl FnMut(Came) + Send,
    ) -> std::result::Result<(), Trouble> {
        let (root, files) = match self {
            Self::Blob { blob, size } => {
                let whole = |(from, to)| tell(Came::Whole(from, to));
                let content = (*blob, *size);
                return ask::ask(way, content, numbers, whole).await;
            }
            Self::Ends { root, files, .. } => (root, files),
        };
        let mut told = Instant::now();
        let request = GetRequest::new(hash(*root), starts(numbers));
        let ended = ask::run(way, (request, files), |_| {
            if told.elapsed() > ALIVE {
                told = Instant::now();
                tell(Came::Something);
            }
        });
        let ended = ended.await;
        // Whatever the end, what is here is here.
        let here = self.ends_here(&way.contents, numbers).await.map_err(|_| Trouble::Ours)?;
        runs(&here).for_each(|(from, to)| tell(Came::Whole(from, to)));
        match ended {
            // It ended at a file that it has not: the others are asked.
            Err(Trouble::Theirs(Fault::Broken)) if way.line.is_open() => Ok(()),
            other => other,
        }
    }
}

/// What is asked of these files: the first block, and the last chunk, which proves the size. The folder's
/// list itself is the first content of a request.
fn starts(files: &Blocks) -> ChunkRangesSeq {
    let last = runs(files).last().map_or(0, |(_, to)| to);
    let of = |n: u64| if files.contains(&n) { ask::start() } else { ChunkRanges::empty() };
    let all = std::iter::once(ChunkRanges::empty()).chain((0..last).map(of));
    ChunkRangesSeq::from_ranges(all)
}

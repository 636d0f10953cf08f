//! One request to one provider: blocks asked for, verified as they come, and written to the store.
//!
//! Whatever ends an answer, what came of it and is right is kept.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ayni_core::id::BlobId;
use ayni_core::swarm::{BLOCK_BYTES, Blocks, Fault};
use bao_tree::io::BaoContentItem;
use bao_tree::{ChunkNum, ChunkRanges};
use iroh::endpoint::ReadError;
use iroh_blobs::Hash;
use iroh_blobs::get::fsm::{
    AtBlobContent, AtBlobHeader, AtBlobHeaderNextError, AtConnected, AtEndBlob, BlobContentNext,
    ConnectedNext, DecodeError, EndBlobNext, RequestCounters,
};
use iroh_blobs::protocol::{ChunkRangesExt, ERR_LIMIT, ERR_PERMISSION, GetRequest};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::access::Origin;
use super::allowance::Allowance;
use super::blocks::{Arrived, to_chunks};
use super::paced::PacedRecv;
use super::provider::Line;
use super::store::{Contents, Entry};
use super::uploads::Pacer;

/// Bytes that are handed to the disk at a time, at most and at least: a block.
#[expect(clippy::cast_possible_truncation, reason = "16 KiB")]
const BATCH: (usize, usize) = (256 * 1024, BLOCK_BYTES as usize);
/// Bytes that all answers together gather before they hand them to the disk, about; many answers hand over
/// less each.
const GATHERED: usize = 16 * 1024 * 1024;
/// After how long what came of a slow answer is handed over: so much is lost where this process is killed.
const LATE: Duration = Duration::from_millis(500);
/// Most bytes that wait for the disk, of all fetches together, in KiB.
const WAITING_KIB: usize = 32 * 1024;
/// Largest content: beyond any disk, and far from where sizes could overflow.
pub(super) const MAX_CONTENT: u64 = 1 << 50;
/// Small contents that are taken in at a time, in number and bytes, at most: each time costs a commit, which for
/// ten thousand files of 4 KiB are forty.
const SMALL: (usize, usize) = (256, 1024 * 1024);
/// How often it is said that a request waits because of us.
const WAITS: Duration = Duration::from_millis(500);

/// How an answer ended that was no whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The provider's fault.
    Theirs(Fault),
    /// The store failed here; other providers would not help.
    Ours,
    /// It has so many bytes, as is proved, and may not.
    TooLarge(u64),
}

/// What limits an answer's speed, this transfer's limit and that of all, and what counts it.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) paces: [Arc<Pacer>; 2],
    /// Count what comes.
    pub(super) taken: [Arc<AtomicU64>; 2],
    /// What may be begun on the disk.
    pub(super) most: Arc<Allowance>,
}

/// What all answers of a node share.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Answers that are read now.
    running: AtomicUsize,
    waiting: Arc<Semaphore>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { running: AtomicUsize::new(0), waiting: Arc::new(Semaphore::new(WAITING_KIB)) }
    }
}

impl Bounds {
    /// Returns how many bytes an answer gathers before it hands them over.
    fn batch(&self) -> usize {
        self.share().clamp(BATCH.1, BATCH.0)
    }

    /// The same of small contents.
    fn batch_of_small(&self) -> usize {
        self.share().clamp(BATCH.1, SMALL.1)
    }

    fn share(&self) -> usize {
        GATHERED / self.running.load(Ordering::Relaxed).max(1)
    }
}

/// With what a request is carried out.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) contents: Contents,
    pub(super) line: Line,
    pub(super) limits: Limits,
    /// Where it is written down by what whole contents came.
    pub(super) origin: Origin,
    /// Ends the answer.
    pub(super) cancel: CancellationToken,
    /// Hears that we ourselves hold the answer up.
    pub(super) waits: Arc<Notify>,
}

/// Returns a content's id as iroh-blobs has it.
pub(super) fn hash(blob: BlobId) -> Hash {
    Hash::from_bytes(blob.0)
}

/// What is asked of a content of which nothing is known: its first block, and its last chunk, which
/// proves the size.
pub(super) fn start() -> ChunkRanges {
    ChunkRanges::from(..ChunkNum(BLOCK_BYTES / 1024)) | ChunkRanges::last_chunk()
}

/// Asks for the start of a content: with it the store knows the content's size.
pub(super) async fn ask_start(way: &Way, blob: BlobId) -> Result<(), Trouble> {
    let request = GetRequest::blob_ranges(hash(blob), start());
    run(way, (request, &[]), |_| {}).await
}

/// Asks for blocks of a content of `size` bytes; `verified` hears which came.
pub(super) async fn ask(
    way: &Way,
    (blob, size): (BlobId, u64),
    blocks: &Blocks,
    mut verified: impl FnMut((u64, u64)) + Send,
) -> Result<(), Trouble> {
    let request = GetRequest::blob_ranges(hash(blob), to_chunks(blocks));
    let mut arrived = Arrived::new(blocks, size);
    let note = |bytes| arrived.upto(bytes).into_iter().for_each(&mut verified);
    run(way, (request, &[]), note).await
}

/// Carries out a request; `came` hears how many bytes of content were handed to the disk so far. The
/// contents that a request asks for after its first one are those of `parts`.
pub(super) async fn run(
    way: &Way,
    (request, parts): (GetRequest, &[BlobId]),
    mut came: impl FnMut(u64) + Send,
) -> Result<(), Trouble> {
    let _turn = way.turn().await?;
    let _running = Running::of(&way.line.bounds);
    let root = BlobId(*request.hash.as_bytes());
    let begun = way.cancel.run_until_cancelled(way.begin(request)).await;
    let turns = Arc::new(Semaphore::new(2));
    let small = Small { whole: vec![], bytes: 0, since: Instant::now(), taking: None, turns };
    let mut answer = Answer { way, came: &mut came, bytes: 0, small };
    let ended = answer.contents(begun.ok_or(BROKEN)??, (root, parts)).await;
    let kept = answer.take_in().await;
    ended.and(kept).and(settled(answer.small.taking.take()).await)
}

impl Way {
    /// Waits until this provider can be asked for one thing more.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Trouble> {
        let turn = self.line.gets.clone().acquire_owned();
        tokio::pin!(turn);
        loop {
            tokio::select! {
                turn = &mut turn => return turn.map_err(|_| BROKEN),
                () = tokio::time::sleep(WAITS) => self.waits.notify_one(),
                () = self.cancel.cancelled() => return Err(BROKEN),
            }
        }
    }

    async fn begin(&self, request: GetRequest) -> Result<ConnectedNext<PacedRecv>, Trouble> {
        let (send, recv) = self.line.connection.open_bi().await.map_err(|_| BROKEN)?;
        let recv = PacedRecv::new(recv, self.limits.paces.clone(), self.waits.clone());
        let (now, counters) = (Instant::now().into(), RequestCounters::default());
        let connected = AtConnected::new(now, recv, send, request, counters);
        connected.next().await.map_err(|_| BROKEN)
    }
}

/// Counts an answer as long as it is read.
struct Running<'a>(&'a Bounds);

impl<'a> Running<'a> {
    fn of(bounds: &'a Bounds) -> Self {
        bounds.running.fetch_add(1, Ordering::Relaxed);
        Self(bounds)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

const BROKEN: Trouble = Trouble::Theirs(Fault::Broken);
const LIED: Trouble = Trouble::Theirs(Fault::Lied);

struct Answer<'a, F> {
    way: &'a Way,
    came: &'a mut F,
    /// Bytes that were handed to the disk.
    bytes: u64,
    small: Small,
}

/// Contents of one block that came whole: many are taken in at a time, since beside its bytes each costs as
/// much as a large one.
struct Small {
    whole: Vec<(BlobId, u64, Vec<BaoContentItem>)>,
    bytes: u64,
    since: Instant,
    /// Those before, which are being taken in.
    taking: Option<Writing>,
    /// How many such batches there may be: the commit of one and the writing of another go on at a time.
    turns: Arc<Semaphore>,
}

/// What came of a content.
struct Batch {
    /// None where nothing is begun of it.
    entry: Option<Arc<Entry>>,
    items: Vec<BaoContentItem>,
    bytes: usize,
    since: Instant,
    writing: Option<Writing>,
}

/// What was handed to the disk. It is finished whoever waits for it.
type Writing = JoinHandle<crate::Result<()>>;

impl<F: FnMut(u64) + Send> Answer<'_, F> {
    /// Reads all contents of an answer.
    async fn contents(
        &mut self,
        begun: ConnectedNext<PacedRecv>,
        (root, parts): (BlobId, &[BlobId]),
    ) -> Result<(), Trouble> {
        let mut child = match begun {
            ConnectedNext::StartRoot(start) => match self.blob(root, start.next()).await?.next() {
                EndBlobNext::MoreChildren(child) => child,
                EndBlobNext::Closing(_) => return Ok(()),
            },
            ConnectedNext::StartChild(child) => child,
            ConnectedNext::Closing(_) => return Ok(()),
        };
        loop {
            let place = child.offset().checked_sub(1).and_then(|n| usize::try_from(n).ok());
            let part = place.and_then(|place| parts.get(place)).copied();
            let Some(part) = part else { return Ok(()) };
            match self.part(part, child.next(hash(part))).await?.next() {
                EndBlobNext::MoreChildren(next) => child = next,
                EndBlobNext::Closing(_) => return Ok(()),
            }
        }
    }

    /// Hands the small contents that came to the disk.
    async fn take_in(&mut self) -> Result<(), Trouble> {
        let whole = std::mem::take(&mut self.small.whole);
        self.small.since = Instant::now();
        if whole.is_empty() {
            return Ok(());
        }
        let turn = self.small.turns.clone().acquire_owned().await.map_err(|_| Trouble::Ours)?;
        if self.small.taking.as_ref().is_some_and(JoinHandle::is_finished) {
            settled(self.small.taking.take()).await?;
        }
        let before = self.small.taking.take();
        let (contents, origin) = (self.way.contents.clone(), self.way.origin.clone());
        self.small.taking = Some(tokio::spawn(async move {
            let _turn = turn;
            let blocks = contents.whole(whole).await?;
            // Before they are here, so that nothing is here of which that is not written. It is true also of
            // what a kill in between loses: the room had it.
            let via = origin.give(blocks.blobs()).await?;
            if let Some(before) = before {
                before.await.map_err(|_| crate::Error::Closed)??;
            }
            contents.take_in(blocks, via).await
        }));
        self.bytes += std::mem::take(&mut self.small.bytes);
        (self.came)(self.bytes);
        Ok(())
    }

    /// Reads one file of a folder: a small one is taken in with others.
    async fn part(
        &mut self,
        blob: BlobId,
        header: AtBlobHeader<PacedRecv>,
    ) -> Result<AtEndBlob<PacedRecv>, Trouble> {
        let (content, size) = self.header(header).await?;
        if size > 0 && size <= BLOCK_BYTES {
            return self.small(content, blob, size).await;
        }
        self.large(content, blob, size).await
    }

    /// Reads one content of an answer.
    async fn blob(
        &mut self,
        blob: BlobId,
        header: AtBlobHeader<PacedRecv>,
    ) -> Result<AtEndBlob<PacedRecv>, Trouble> {
        let (content, size) = self.header(header).await?;
        self.large(content, blob, size).await
    }

    async fn header(
        &self,
        header: AtBlobHeader<PacedRecv>,
    ) -> Result<(AtBlobContent<PacedRecv>, u64), Trouble> {
        let header = self.way.cancel.run_until_cancelled(header.next()).await;
        header.ok_or(BROKEN)?.map_err(|error| header_trouble(&error))
    }

    async fn large(
        &mut self,
        content: AtBlobContent<PacedRecv>,
        blob: BlobId,
        size: u64,
    ) -> Result<AtEndBlob<PacedRecv>, Trouble> {
        let entry = self.way.contents.entry(blob).await.map_err(|error| ours(&error))?;
        if size > MAX_CONTENT || entry.as_ref().is_some_and(|entry| entry.size() != size) {
            return Err(LIED);
        }
        let (items, since) = (Vec::new(), Instant::now());
        let mut batch = Batch { entry, items, bytes: 0, since, writing: None };
        let mut ended = self.items(content, &mut batch).await;
        if ended.is_ok() && batch.entry.is_none() {
            // The size is proved by what came.
            batch.entry = self.begin(blob, size).await.map(Some)?;
        }
        // Whatever the end: what came is right.
        if batch.entry.is_some()
            && let Err(trouble) = self.hand_over(&mut batch).await
        {
            ended = Err(trouble);
        }
        batch.settle().await?;
        ended
    }

    /// Reads a content of one block, which is all that was asked for of it.
    async fn small(
        &mut self,
        content: AtBlobContent<PacedRecv>,
        blob: BlobId,
        size: u64,
    ) -> Result<AtEndBlob<PacedRecv>, Trouble> {
        let (items, since) = (Vec::new(), Instant::now());
        let mut batch = Batch { entry: None, items, bytes: 0, since, writing: None };
        let end = self.items(content, &mut batch).await?;
        if !self.way.limits.most.take(blob, size) {
            return Err(Trouble::TooLarge(size));
        }
        self.small.bytes += batch.bytes as u64;
        self.small.whole.push((blob, size, batch.items));
        let bytes = usize::try_from(self.small.bytes).unwrap_or(usize::MAX);
        let most = self.way.line.bounds.batch_of_small();
        let enough = bytes >= most || self.small.whole.len() >= SMALL.0;
        if enough || self.small.since.elapsed() > LATE {
            self.take_in().await?;
        }
        Ok(end)
    }

    /// Reads until the content ends, or it is enough.
    async fn items(
        &mut self,
        mut content: AtBlobContent<PacedRecv>,
        batch: &mut Batch,
    ) -> Result<AtEndBlob<PacedRecv>, Trouble> {
        loop {
            let next = self.way.cancel.run_until_cancelled(content.next()).await;
            let item = match next.ok_or(BROKEN)? {
                BlobContentNext::Done(end) => return Ok(end),
                BlobContentNext::More((next, item)) => {
                    content = next;
                    item.map_err(|error| trouble(&error))?
                }
            };
            if let BaoContentItem::Leaf(leaf) = &item {
                batch.bytes += leaf.data.len();
                for taken in &self.way.limits.taken {
                    taken.fetch_add(leaf.data.len() as u64, Ordering::Relaxed);
                }
            }
            batch.items.push(item);
            let late = batch.entry.is_some() && batch.bytes > 0 && batch.since.elapsed() > LATE;
            if late || batch.bytes >= self.way.line.bounds.batch() {
                self.hand_over(batch).await?;
            }
        }
    }

    /// Begins a content whose size is proved.
    async fn begin(&self, blob: BlobId, size: u64) -> Result<Arc<Entry>, Trouble> {
        if !self.way.limits.most.take(blob, size) {
            return Err(Trouble::TooLarge(size));
        }
        self.way.contents.begin(blob, size).await.map_err(|error| ours(&error))
    }

    /// Hands what came to the disk, once what was handed to it before is written.
    async fn hand_over(&mut self, batch: &mut Batch) -> Result<(), Trouble> {
        // More than a start comes only of what was begun: before, little is held and nothing made.
        let Some(entry) = batch.entry.clone() else {
            return if batch.bytes > 2 * BATCH.1 { Err(LIED) } else { Ok(()) };
        };
        batch.settle().await?;
        batch.since = Instant::now();
        if batch.items.is_empty() {
            return Ok(());
        }
        let kib = u32::try_from(batch.bytes / 1024 + 1).unwrap_or(u32::MAX);
        let room = self.way.line.bounds.waiting.clone().acquire_many_owned(kib).await;
        let (items, contents) = (std::mem::take(&mut batch.items), self.way.contents.clone());
        batch.writing = Some(tokio::task::spawn_blocking(move || {
            let _room = room;
            let written = contents.write(&entry, &items);
            written.map_err(crate::Error::io("what came could not be kept"))
        }));
        self.bytes += std::mem::take(&mut batch.bytes) as u64;
        (self.came)(self.bytes);
        Ok(())
    }
}

impl Batch {
    /// Waits until what was handed over is written.
    async fn settle(&mut self) -> Result<(), Trouble> {
        settled(self.writing.take()).await
    }
}

/// Waits until what was handed over is written.
async fn settled(writing: Option<Writing>) -> Result<(), Trouble> {
    let Some(writing) = writing else { return Ok(()) };
    match writing.await {
        Ok(written) => written.map_err(|error| ours(&error)),
        Err(_) => Err(Trouble::Ours),
    }
}

fn ours(error: &crate::Error) -> Trouble {
    tracing::warn!("what came could not be kept: {error}");
    Trouble::Ours
}

fn trouble(error: &DecodeError) -> Trouble {
    match error {
        DecodeError::ParentHashMismatch { .. } | DecodeError::LeafHashMismatch { .. } => LIED,
        DecodeError::Read { source, .. } => ended(source),
        _ => BROKEN,
    }
}

fn header_trouble(error: &AtBlobHeaderNextError) -> Trouble {
    match error {
        AtBlobHeaderNextError::Read { source, .. } => ended(source),
        AtBlobHeaderNextError::NotFound { .. } => BROKEN,
    }
}

/// Tells a refusal from a broken stream.
fn ended(error: &io::Error) -> Trouble {
    let inner = error.get_ref().and_then(|error| error.downcast_ref::<ReadError>());
    match inner {
        Some(ReadError::Reset(code)) if *code == ERR_PERMISSION || *code == ERR_LIMIT => {
            Trouble::Theirs(Fault::Refused)
        }
        _ => BROKEN,
    }
}

//! One provider of one content: connected as long as the content is fetched, and asked what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ayni_core::id::{BlobId, PeerId};
use bao_tree::{ChunkNum, ChunkRanges};
use iroh::endpoint::{Connection, RecvStream, WeakConnectionHandle};
use iroh_blobs::protocol::{MAX_MESSAGE_SIZE, ObserveItem, ObserveRequest, Request};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::ask::{Bounds, MAX_CONTENT, hash};
use super::fetch::Happened;
use crate::inner::Inner;
use crate::transport::endpoint::endpoint_id;

/// How long a dial may take.
const DIAL: Duration = Duration::from_secs(12);
/// The first pause after a provider could not be reached or did not give the content: it may be about to
/// learn that we are a member, or be fetching it itself.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Requests that one provider is asked at a time: half of its slots, so that further ones wait here, where it
/// is known that they do.
const MAX_GETS: usize = 8;
/// Contents that are watched at one provider at a time: fewer than it allows, and than there are streams.
const MAX_OBSERVED: usize = 128;
/// Least time between two reports of a provider that are looked at.
const REPORT: Duration = Duration::from_millis(250);
/// Most separate runs of chunks that are remembered of one provider and content: more than a swarm that
/// picks pieces of 256 KiB makes of a content of 16 GiB. Who reports more is not listened to.
const MAX_RUNS: usize = 64 * 1024;
/// How long it is remembered who sent what is not the content, of how many contents and peers of each.
const LIED: Duration = Duration::from_hours(1);
/// See [`LIED`].
const MAX_LIARS: (usize, usize) = (256, 64);

/// A connection for contents with one provider.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) connection: Connection,
    /// What it can be asked.
    pub(super) gets: Arc<Semaphore>,
    observes: Arc<Semaphore>,
    pub(super) bounds: Arc<Bounds>,
}

impl Line {
    /// Whether it can still be used.
    pub(super) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }
}

/// One that is kept as long as anyone uses it.
#[derive(Debug)]
struct Kept {
    connection: WeakConnectionHandle,
    gets: Arc<Semaphore>,
    observes: Arc<Semaphore>,
}

/// Connections for contents, one with each provider, as long as anyone uses it; and what is remembered of
/// providers.
#[derive(Debug, Default)]
pub(super) struct Dials {
    lines: Mutex<BTreeMap<PeerId, Kept>>,
    liars: Mutex<BTreeMap<BlobId, BTreeMap<PeerId, Instant>>>,
    bounds: Arc<Bounds>,
}

impl Dials {
    /// Returns a connection with a provider; none where it cannot be reached now.
    async fn connect(&self, inner: &Inner, peer: PeerId) -> Option<Line> {
        if let Some(line) = self.live(&peer) {
            return Some(line);
        }
        let endpoint = &inner.links()?.bound().endpoint;
        let dial = endpoint.connect(endpoint_id(&peer)?, iroh_blobs::ALPN);
        let connection = tokio::time::timeout(DIAL, dial).await.ok()?.ok()?;
        // Another fetch may have been as fast.
        if let Some(line) = self.live(&peer) {
            return Some(line);
        }
        let gets = Arc::new(Semaphore::new(MAX_GETS));
        let observes = Arc::new(Semaphore::new(MAX_OBSERVED));
        let line = Line { connection, gets, observes, bounds: self.bounds.clone() };
        let kept = Kept {
            connection: line.connection.weak_handle(),
            gets: line.gets.clone(),
            observes: line.observes.clone(),
        };
        let mut all = lock(&self.lines);
        all.retain(|_, it| it.connection.upgrade().is_some_and(|it| it.close_reason().is_none()));
        all.insert(peer, kept);
        Some(line)
    }

    /// Returns the connection with a provider, if there is one.
    pub(super) fn live(&self, peer: &PeerId) -> Option<Line> {
        let all = lock(&self.lines);
        let kept = all.get(peer)?;
        let connection = kept.connection.upgrade()?;
        let (gets, observes) = (kept.gets.clone(), kept.observes.clone());
        let line = Line { connection, gets, observes, bounds: self.bounds.clone() };
        line.is_open().then_some(line)
    }

    /// Notes that a peer sent what is not the content.
    pub(super) fn note_liar(&self, blob: BlobId, peer: PeerId) {
        let mut all = lock(&self.liars);
        if all.len() >= MAX_LIARS.0 && !all.contains_key(&blob) {
            all.retain(|_, peers| peers.values().any(|at| at.elapsed() < LIED));
            if all.len() >= MAX_LIARS.0 {
                all.pop_first();
            }
        }
        let peers = all.entry(blob).or_default();
        peers.retain(|_, at| at.elapsed() < LIED);
        if peers.len() < MAX_LIARS.1 {
            peers.insert(peer, Instant::now());
        }
    }

    /// Returns who sent lately what is not the content.
    pub(super) fn liars(&self, blob: BlobId) -> BTreeSet<PeerId> {
        let all = lock(&self.liars);
        let peers = all.get(&blob).into_iter().flatten();
        peers.filter(|(_, at)| at.elapsed() < LIED).map(|(peer, _)| *peer).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps asking a provider what it has of a content, and tells it. Ends when nobody listens any more.
pub(super) async fn attend(
    inner: Arc<Inner>,
    (peer, blob): (PeerId, BlobId),
    tell: mpsc::Sender<Happened>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(line) = inner.content.dials.connect(&inner, peer).await {
            let begun = Instant::now();
            let observed = observe(&line, (peer, blob), &tell).await;
            if tell.send(Happened::Gone(peer)).await.is_err() || observed.is_none() {
                return;
            }
            if begun.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
        }
        let jitter = 0.75 + inner.jitter() / 2.0;
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(jitter)) => {}
            () = tell.closed() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Tells what a provider has until it says no more; none where nobody listens any more.
async fn observe(
    line: &Line,
    (peer, blob): (PeerId, BlobId),
    tell: &mpsc::Sender<Happened>,
) -> Option<()> {
    let turn = tokio::select! {
        turn = line.observes.acquire() => turn,
        () = tell.closed() => return None,
    };
    let (Ok(_turn), Ok((mut send, mut recv))) = (turn, line.connection.open_bi().await) else {
        return Some(());
    };
    let request = Request::Observe(ObserveRequest::new(hash(blob)));
    let request = postcard::to_stdvec(&request).unwrap_or_default();
    if send.write_all(&request).await.is_err() || send.finish().is_err() {
        return Some(());
    }
    let mut known: Option<ChunkRanges> = None;
    loop {
        let item = tokio::select! {
            item = read_item(&mut recv) => item,
            () = tell.closed() => return None,
        };
        let Some(item) = item.filter(|item| item.size <= MAX_CONTENT) else { return Some(()) };
        let looked = Instant::now();
        let said = within(&item);
        let now = known.as_ref().map_or_else(|| said.clone(), |known| known | &said);
        if now.boundaries().len() > 2 * MAX_RUNS {
            return Some(());
        }
        if known.as_ref() != Some(&now) {
            known = Some(now.clone());
            let holds = Happened::Holds { peer, line: line.clone(), ranges: now };
            tell.send(holds).await.ok()?;
        }
        // What comes faster waits where it is sent.
        tokio::select! {
            () = tokio::time::sleep_until(looked + REPORT) => {}
            () = tell.closed() => return None,
        }
    }
}

/// Returns what a report says of the content, and nothing beyond its end.
fn within(item: &ObserveItem) -> ChunkRanges {
    if item.ranges.is_all() {
        return ChunkRanges::all();
    }
    let end = ChunkNum(item.size.div_ceil(1024));
    &item.ranges & &ChunkRanges::from(..end)
}

/// Reads one report: its length, then itself.
async fn read_item(recv: &mut RecvStream) -> Option<ObserveItem> {
    let (mut len, mut shift) = (0usize, 0);
    loop {
        let mut byte = [0];
        recv.read_exact(&mut byte).await.ok()?;
        len |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
        if len > MAX_MESSAGE_SIZE || shift > 28 {
            return None;
        }
    }
    if len > MAX_MESSAGE_SIZE {
        return None;
    }
    let mut bytes = vec![0; len];
    recv.read_exact(&mut bytes).await.ok()?;
    postcard::from_bytes(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liars_are_remembered_for_their_content_alone() {
        let dials = Dials::default();
        let (blob, peer) = (|n| BlobId([n; 32]), |n| PeerId([n; 32]));
        dials.note_liar(blob(1), peer(1));
        dials.note_liar(blob(1), peer(2));
        assert_eq!(dials.liars(blob(1)), BTreeSet::from([peer(1), peer(2)]));
        assert_eq!(dials.liars(blob(2)), BTreeSet::new());
        for n in 0..=u8::MAX {
            for of in 0..=u8::MAX {
                dials.note_liar(blob(n), peer(of));
            }
        }
        let all = lock(&dials.liars);
        assert!(all.len() <= MAX_LIARS.0 && all.values().all(|it| it.len() <= MAX_LIARS.1));
    }

    #[test]
    fn a_report_ends_with_the_content() {
        let item = |size, ranges| ObserveItem { size, ranges };
        let some = ChunkRanges::from(ChunkNum(3)..ChunkNum(1 << 40));
        let cut = within(&item(10 * 1024, some));
        assert_eq!(cut, ChunkRanges::from(ChunkNum(3)..ChunkNum(10)));
        assert!(within(&item(10, ChunkRanges::all())).is_all());
        assert!(within(&item(0, ChunkRanges::empty())).is_empty());
    }
}

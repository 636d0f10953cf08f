//! Giving what is here to who may have it, in the protocol of iroh-blobs.
//!
//! Invariant: nothing of a content is read before [`access`] allowed it to this peer, and it is asked
//! again while an answer goes on. Every refusal is the same code after the same time, so that it tells
//! nothing: not even whether the content is here.
//!
//! A peer may ask for the files of a folder in one request. Each file is looked at like a request of its
//! own: a made-up folder that lists what its author only knows the hash of brings nothing.
//!
//! What the store keeps is not hashed again on its way out, since whoever reads it verifies it; what lies
//! outside of the store is ([`Entry::encode`](super::store::Entry::encode)).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ayni_core::id::{BlobId, PeerId};
use ayni_core::limits::MAX_FOLDER_FILES;
use ayni_core::swarm::Urgency;
use bao_tree::ChunkRanges;
use bytes::{Bytes, BytesMut};
use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt};
use iroh_blobs::protocol::{
    ERR_INTERNAL, ERR_LIMIT, ERR_PERMISSION, GetRequest, ObserveItem, Request,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::access::{self, Allowed, Shown};
use super::blocks::to_chunks;
use super::store::Contents;
use super::uploads::Admitted;
use crate::inner::Inner;

/// Requests of one connection that are read at a time; its further ones wait. All streams of a connection
/// together are limited by the endpoint.
const MAX_READING: usize = 32;
/// Contents that one connection may watch at a time: fewer than its streams, so that there is always one
/// to ask by.
const MAX_OBSERVED: usize = 160;
/// Bytes of a request: one of a swarm has 16 KiB at most, for every second file of a thousand.
const MAX_REQUEST: usize = 64 * 1024;
/// A kind and a hash, which every request of a kind that is answered begins with.
const HEAD: usize = 1 + 32;
/// How long a request may take to arrive.
const REQUEST: Duration = Duration::from_secs(10);
/// When a refusal is told, from the arrival of its request: later than any lookup takes.
pub(super) const REFUSAL: Duration = Duration::from_millis(100);
/// How long a reader may take to read one piece before it loses its slot.
const STALLED: Duration = Duration::from_secs(30);
/// After which time, or how many bytes, it is asked again whether the reader may have what it reads: who was
/// removed gets no more than that.
const ALLOWED: (Duration, u64) = (Duration::from_secs(1), 16 * 1024 * 1024);
/// Least time between two reports of what is here.
const REPORT: Duration = Duration::from_millis(250);
/// How often it is looked whether something begins to be fetched here, and whether a file that lies
/// outside of the store is still what it was.
const BEGINS: Duration = Duration::from_secs(1);
/// See [`BEGINS`].
const SETTLED: Duration = Duration::from_secs(30);
/// Pieces that are read ahead of a slow reader. The thread that reads them waits for it: there are no more of
/// these than upload slots.
const PIECES: usize = 2;
/// Bytes that are given at a time under a limit: a block, so that many readers get something each.
const PACED: usize = 16 * 1024;
/// Pieces below so many bytes are sent together: each hand-over wakes a thread.
const TOGETHER: usize = 128 * 1024;
/// Contents that one request may ask for: a folder's list, and what that names.
const MAX_CONTENTS: usize = MAX_FOLDER_FILES + 2;

/// Answers one peer's requests until the connection ends.
pub(crate) async fn serve(inner: Arc<Inner>, connection: Connection) {
    let peer = PeerId(*connection.remote_id().as_bytes());
    let reading = Arc::new(Semaphore::new(MAX_READING));
    let observing = Arc::new(Semaphore::new(MAX_OBSERVED));
    loop {
        let pair = tokio::select! {
            pair = connection.accept_bi() => pair,
            () = inner.cancel.cancelled() => return,
        };
        let Ok((send, recv)) = pair else { return };
        let (of_stream, reading, observing) = (inner.clone(), reading.clone(), observing.clone());
        let task = async move {
            let Some(request) = read(recv, &reading).await else { return };
            let mut answer = Answer { inner: of_stream, peer, send, arrived: Instant::now() };
            if let Err(End(code)) = answer.run(&request, &observing).await {
                let _ = answer.send.reset(code); // it may be over
            }
        };
        inner.tasks.spawn(inner.cancel.clone().run_until_cancelled_owned(task));
    }
}

/// Reads a request; none where it does not come in time.
async fn read(mut recv: RecvStream, reading: &Semaphore) -> Option<Vec<u8>> {
    let _turn = reading.acquire().await.ok()?;
    let request = tokio::time::timeout(REQUEST, recv.read_to_end(MAX_REQUEST)).await;
    Some(request.ok()?.unwrap_or_default())
}

/// The answer ends early, with this code.
struct End(VarInt);

/// The peer is gone or does not read.
const GONE: End = End(ERR_INTERNAL);
/// Others go first.
const BUSY: End = End(ERR_LIMIT);

struct Answer {
    inner: Arc<Inner>,
    peer: PeerId,
    send: SendStream,
    arrived: Instant,
}

/// Why an answer goes on: its slot, and that its reader may have what it reads.
struct Lease {
    inner: Arc<Inner>,
    peer: PeerId,
    root: BlobId,
    turn: Admitted,
    allowed: Allowed,
    asked: Instant,
    given: u64,
}

impl Lease {
    /// Notes bytes that are about to be given. Ends where they may not, any more.
    async fn give(&mut self, bytes: u64) -> Result<(), End> {
        if self.turn.yields() {
            return Err(BUSY);
        }
        self.given += bytes;
        if self.given < ALLOWED.1 && self.asked.elapsed() < ALLOWED.0 {
            return Ok(());
        }
        (self.asked, self.given) = (Instant::now(), 0);
        let now = access::allowed(&self.inner, &self.peer, self.root).await;
        let still = now.is_some_and(|now| {
            let rooms = self.allowed.rooms.iter().all(|room| now.rooms.contains(room));
            rooms && (now.shared || !self.allowed.shared)
        });
        if still { Ok(()) } else { Err(End(ERR_PERMISSION)) }
    }
}

impl Answer {
    async fn run(&mut self, request: &[u8], observing: &Semaphore) -> Result<(), End> {
        let kind_and_hash: Option<&[u8; HEAD]> = request.first_chunk();
        match kind_and_hash {
            // Decoded when it is its turn: until then it takes no more memory than it came with.
            Some([GET, hash @ ..]) => self.get(BlobId(*hash), request).await,
            Some([OBSERVE, hash @ ..]) => {
                let Ok(_observing) = observing.try_acquire() else { return Err(BUSY) };
                self.observe(BlobId(*hash)).await
            }
            // Others would write here, or ask for many contents at once, which nobody of ours does.
            _ => Err(self.refuse().await),
        }
    }

    /// The one refusal.
    async fn refuse(&self) -> End {
        tokio::time::sleep_until(self.arrived + REFUSAL).await;
        End(ERR_PERMISSION)
    }

    /// Returns the store, and why this peer may have a content.
    async fn allowed(&self, blob: BlobId) -> Result<(Contents, Allowed), End> {
        // Both, whatever comes of the first.
        let contents = self.inner.content.opened();
        let allowed = access::allowed(&self.inner, &self.peer, blob).await;
        match contents.zip(allowed) {
            Some(both) => Ok(both),
            None => Err(self.refuse().await),
        }
    }

    async fn get(&mut self, root: BlobId, request: &[u8]) -> Result<(), End> {
        let (_, allowed) = self.allowed(root).await?;
        self.inner.content.noted(root, self.peer, allowed.is_member());
        let urgency = if allowed.is_member() { Urgency::Member } else { Urgency::Stranger };
        let limited = !self.inner.content.transfers.paces_up(root).is_empty();
        let turn = self.inner.content.uploads.enter(self.peer, (urgency, limited)).await;
        let Some(turn) = turn else { return Err(BUSY) };
        // It may have waited for long.
        let (contents, allowed) = self.allowed(root).await?;
        let Ok(Request::Get(request)) = postcard::from_bytes(request) else {
            return Err(self.refuse().await);
        };
        let (inner, peer, asked) = (self.inner.clone(), self.peer, Instant::now());
        let mut lease = Lease { inner, peer, root, turn, allowed, asked, given: 0 };
        self.contents(&contents, &request, &mut lease).await?;
        self.send.finish().map_err(|_| GONE)
    }

    /// Returns which contents a request asks for, in its order, with what of each; and whether the next one
    /// is one that the peer may not have.
    async fn asked(
        &self,
        contents: &Contents,
        request: &GetRequest,
        lease: &Lease,
    ) -> (Vec<(BlobId, ChunkRanges)>, bool) {
        let (mut found, mut of_files) = (Vec::new(), Vec::new());
        let mut asked = request.ranges.iter_infinite();
        // Counted: what is asked for may begin far beyond any list.
        for offset in 0..MAX_CONTENTS {
            let Some(ranges) = asked.next() else { break };
            if !ranges.is_empty() {
                match offset.checked_sub(1) {
                    None => found.push((lease.root, ranges.clone())),
                    Some(place) => of_files.push((place, ranges)),
                }
            } else if asked.is_at_end() {
                break;
            }
        }
        if of_files.is_empty() {
            return (found, false);
        }
        let places: Vec<usize> = of_files.iter().map(|(place, _)| *place).collect();
        let asked = (lease.root, &places[..]);
        let files = access::children(&self.inner, contents, &lease.allowed, asked).await;
        for ((file, may), (_, ranges)) in files.into_iter().zip(of_files) {
            if !may {
                return (found, true);
            }
            found.push((file, ranges.clone()));
        }
        (found, false)
    }

    /// Sends what is here of what a request asks for, with the hashes that prove it, and ends where something
    /// is not.
    async fn contents(
        &mut self,
        contents: &Contents,
        request: &GetRequest,
        lease: &mut Lease,
    ) -> Result<(), End> {
        let (asked, refused) = self.asked(contents, request, lease).await;
        let (give, mut given) = mpsc::channel::<Bytes>(PIECES);
        let contents = contents.clone();
        let encoding = tokio::task::spawn_blocking(move || encode(&contents, asked, &give));
        while let Some(piece) = given.recv().await {
            self.piece(piece, lease).await?;
        }
        match encoding.await {
            Ok(Ok(())) if refused => Err(self.refuse().await),
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::debug!("a request could not be answered: {error}");
                Err(GONE)
            }
            Err(_) => Err(GONE),
        }
    }

    async fn piece(&mut self, mut piece: Bytes, lease: &mut Lease) -> Result<(), End> {
        while !piece.is_empty() {
            // What is fetched here meanwhile may have a limit of its own.
            let own = self.inner.content.transfers.paces_up(lease.root);
            let limited = !own.is_empty() || self.inner.content.uploads.pace().is_limited();
            let part = piece.split_to(if limited { PACED.min(piece.len()) } else { piece.len() });
            let len = part.len() as u64;
            lease.turn.pass(len, &own).await;
            lease.give(len).await?;
            let writing = self.send.write_chunk(part);
            tokio::pin!(writing);
            let begun = Instant::now();
            loop {
                match tokio::time::timeout(ALLOWED.0, &mut writing).await {
                    Ok(written) => break written.map_err(|_| GONE)?,
                    Err(_) if begun.elapsed() > STALLED => return Err(GONE),
                    Err(_) => lease.give(0).await?,
                }
            }
            lease.turn.taken(len);
            self.inner.content.served(len);
        }
        Ok(())
    }

    /// Tells what is here of a content, now and as more arrives, as long as the peer wants to know and
    /// may.
    async fn observe(&mut self, blob: BlobId) -> Result<(), End> {
        let Some(contents) = self.inner.content.opened() else { return Err(self.refuse().await) };
        let Some((_, by_room)) = access::shown(&self.inner, &contents, &self.peer, blob).await
        else {
            return Err(self.refuse().await);
        };
        self.inner.content.noted(blob, self.peer, by_room);
        let mut told = None;
        loop {
            let shown = access::shown(&self.inner, &contents, &self.peer, blob).await;
            let (Shown::Here(entry), _) = shown.ok_or(End(ERR_PERMISSION))? else {
                // It is about to be fetched here.
                self.tell((0, ChunkRanges::empty()), &mut told).await?;
                self.rest(BEGINS).await?;
                continue;
            };
            let changes = entry.watch();
            let whole = entry.is_whole();
            let ranges = if whole { ChunkRanges::all() } else { to_chunks(&entry.blocks()) };
            self.tell((entry.size(), ranges), &mut told).await?;
            self.rest(REPORT).await?;
            match changes {
                Some(mut changes) if !whole => {
                    tokio::select! {
                        changed = changes.changed() => changed.map_err(|_| GONE)?,
                        _ = self.send.stopped() => return Ok(()),
                    }
                }
                // Nothing will change, unless a file that lies elsewhere does.
                _ => self.rest(SETTLED).await?,
            }
        }
    }

    /// Waits; ends where the peer does not want to know any more.
    async fn rest(&mut self, pause: Duration) -> Result<(), End> {
        match tokio::time::timeout(pause, self.send.stopped()).await {
            Err(_) => Ok(()),
            Ok(_) => Err(GONE),
        }
    }

    /// Tells what is here, if that is something else than what was `told`.
    async fn tell(
        &mut self,
        (size, ranges): (u64, ChunkRanges),
        told: &mut Option<(u64, ChunkRanges)>,
    ) -> Result<(), End> {
        if told.as_ref().is_some_and(|told| (told.0, &told.1) == (size, &ranges)) {
            return Ok(());
        }
        let item = ObserveItem { size, ranges };
        let body = postcard::to_stdvec(&item).map_err(|_| GONE)?;
        let mut frame = postcard::to_stdvec(&(body.len() as u64)).map_err(|_| GONE)?;
        frame.extend_from_slice(&body);
        *told = Some((item.size, item.ranges));
        match tokio::time::timeout(STALLED, self.send.write_chunk(frame.into())).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(GONE),
        }
    }
}

/// Encodes what was asked for, in large pieces: the small files of a folder go together. Blocking.
fn encode(
    contents: &Contents,
    asked: Vec<(BlobId, ChunkRanges)>,
    give: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let give = |piece: Bytes| -> io::Result<()> {
        give.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    };
    let mut small = BytesMut::new();
    let mut encoded = Ok(());
    for (blob, ranges) in asked {
        let Some(entry) = contents.entry_now(blob)? else {
            encoded = Err(io::ErrorKind::NotFound.into());
            break;
        };
        encoded = entry.encode(&ranges, |piece| {
            if piece.len() < TOGETHER {
                small.extend_from_slice(&piece);
            }
            if small.len() >= TOGETHER || (piece.len() >= TOGETHER && !small.is_empty()) {
                give(small.split().freeze())?;
            }
            if piece.len() >= TOGETHER { give(piece) } else { Ok(()) }
        });
        if encoded.is_err() {
            break;
        }
    }
    // Also what came before an error is right.
    if !small.is_empty() {
        give(small.freeze())?;
    }
    encoded
}

/// The kinds of requests that are answered.
const GET: u8 = 0;
/// See [`GET`].
const OBSERVE: u8 = 1;

#[cfg(test)]
mod tests {
    use iroh_blobs::protocol::ObserveRequest;

    use super::*;

    #[test]
    fn requests_begin_with_their_kind_and_their_content() {
        let hash = iroh_blobs::Hash::from_bytes([7; 32]);
        let get = postcard::to_stdvec(&Request::Get(GetRequest::all(hash))).expect("written");
        let observe = Request::Observe(ObserveRequest::new(hash));
        let observe = postcard::to_stdvec(&observe).expect("written");
        for (kind, bytes) in [(GET, get), (OBSERVE, observe)] {
            assert_eq!(bytes.first(), Some(&kind));
            assert_eq!(bytes.get(1..HEAD), Some(&[7; 32][..]));
        }
    }
}

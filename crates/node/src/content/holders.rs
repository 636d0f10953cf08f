//! How many have what: asked of the members that are connected, for their own holding alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ayni_core::attachment::Attachment;
use ayni_core::id::{BlobId, PeerId, RoomId};
use ayni_core::limits::MAX_HELD;
use ayni_core::proto::{HeldReply, HeldRequest, service};
use futures_util::{StreamExt, stream};

use super::model::Here;
use super::store::Held;
use super::{access, folder};
use crate::error::Result;
use crate::inner::Inner;
use crate::rooms::RoomHandle;
use crate::transport::{Link, Stream};

/// How long a member has to answer: a list is waited for.
const ANSWER: Duration = Duration::from_secs(1);
/// Members that are asked, and how many at a time.
const ASKED: (usize, usize) = (64, 16);
/// How long it is taken for true that a folder is whole: a file of it that lies elsewhere may be changed.
const WHOLE: Duration = Duration::from_mins(1);
/// How long it is taken for true that it is not: it may be about to become so.
const PART: Duration = Duration::from_secs(5);
/// Folders of which this is known, at most; of more it is found out each time.
const MAX_KNOWN: usize = 1024;

/// Answers `held/1` to a member.
pub(crate) async fn serve(inner: Arc<Inner>, room: Arc<RoomHandle>, mut stream: Stream) {
    let Ok(request) = stream.recv.expect_short::<HeldRequest>().await else { return };
    if request.check().is_err() {
        return;
    }
    let mut held = Vec::with_capacity(request.blobs.len());
    for blob in request.blobs {
        held.push(has(&inner, &room, blob).await.unwrap_or(false));
    }
    if stream.send.send(&HeldReply { held }).await.is_ok() {
        stream.send.finish();
        stream.send.delivered().await;
    }
}

/// What is known of folders that were asked for lately: to look whether each of their files is here takes as
/// long as there are files, and a question names many folders.
#[derive(Debug, Default)]
pub(super) struct Wholes {
    known: Mutex<BTreeMap<(RoomId, BlobId), (bool, Instant)>>,
    /// One folder is looked at at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Wholes {
    fn of(&self, room: RoomId, root: BlobId) -> Option<bool> {
        let known = lock(&self.known);
        let (whole, at) = *known.get(&(room, root))?;
        let lasts = if whole { WHOLE } else { PART };
        (at.elapsed() < lasts).then_some(whole)
    }

    fn note(&self, room: RoomId, root: BlobId, whole: bool) {
        let mut known = lock(&self.known);
        if known.len() >= MAX_KNOWN {
            known.retain(|_, (_, at)| at.elapsed() < PART);
        }
        if known.len() < MAX_KNOWN {
            known.insert((room, root), (whole, Instant::now()));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether all of a content is here, through this room.
async fn has(inner: &Arc<Inner>, room: &RoomHandle, blob: BlobId) -> Result<bool> {
    let Some(contents) = inner.content.opened() else { return Ok(false) };
    if !contents.held(blob).await?.complete {
        return Ok(false);
    }
    let wholes = &inner.content.wholes;
    if let Some(whole) = wholes.of(room.id(), blob) {
        return Ok(whole);
    }
    // One file alone is looked at as fast as what is known.
    if inner.store.parts_of(Some(room.id()), blob).await?.is_empty() {
        return access::is_given(inner, &contents, room.id(), blob).await;
    }
    let _turn = wholes.turn.lock().await;
    if let Some(whole) = wholes.of(room.id(), blob) {
        return Ok(whole);
    }
    let whole = access::is_given(inner, &contents, room.id(), blob).await?;
    wholes.note(room.id(), blob, whole);
    Ok(whole)
}

/// Returns for each content how many devices of other members, of those that are connected, have it.
pub(super) async fn count(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    blobs: &[BlobId],
) -> Vec<usize> {
    let mut counts = vec![0; blobs.len()];
    let mut links = inner.member_links(room);
    links.truncate(ASKED.0);
    for (at, part) in blobs.chunks(MAX_HELD).enumerate() {
        let asked: Vec<_> =
            links.iter().map(|link| ask(room.clone(), link.clone(), part.to_vec())).collect();
        let replies: Vec<_> = stream::iter(asked).buffer_unordered(ASKED.1).collect().await;
        for held in replies.into_iter().flatten() {
            let counts = counts.iter_mut().skip(at * MAX_HELD).take(part.len());
            counts.zip(held).for_each(|(count, held)| *count += usize::from(held));
        }
    }
    counts
}

/// Returns for each content which devices of other members, of those that are connected, say that they
/// have it, and which do not.
pub(super) async fn who(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    blobs: &[BlobId],
) -> Vec<Vec<(PeerId, bool)>> {
    let mut all = vec![Vec::new(); blobs.len()];
    let mut links = inner.member_links(room);
    links.truncate(ASKED.0);
    for (at, part) in blobs.chunks(MAX_HELD).enumerate() {
        let asked = links.iter().map(|link| async {
            (link.peer(), ask(room.clone(), link.clone(), part.to_vec()).await)
        });
        let asked: Vec<_> = asked.collect();
        let replies: Vec<_> = stream::iter(asked).buffer_unordered(ASKED.1).collect().await;
        for (peer, held) in replies {
            // Who does not answer is not there.
            let held = held.into_iter().flatten();
            let places = all.iter_mut().skip(at * MAX_HELD).take(part.len());
            places.zip(held).for_each(|(all, held)| all.push((peer, held)));
        }
    }
    all
}

async fn ask(room: Arc<RoomHandle>, link: Link, blobs: Vec<BlobId>) -> Option<Vec<bool>> {
    let asked = async {
        let mut stream = link.open(service::HELD, Some(room.id())).await.ok()?;
        stream.send.send(&HeldRequest { blobs }).await.ok()?;
        stream.send.finish();
        stream.recv.expect::<HeldReply>().await.ok()
    };
    let reply = tokio::time::timeout(ANSWER, asked).await.ok().flatten()?;
    reply.check().is_ok().then_some(reply.held)
}

/// Returns how much of an attachment is here.
///
/// # Errors
/// [`crate::Error::Io`].
pub(super) async fn here(inner: &Arc<Inner>, attachment: &Attachment) -> Result<Here> {
    let Some(contents) = inner.content.opened() else { return Ok(Here::None) };
    let root = contents.held(attachment.blob).await?;
    if !attachment.is_folder() || !root.complete {
        return Ok(of(&root));
    }
    let Ok(parts) = folder::parts(&contents, attachment.blob).await else { return Ok(Here::Part) };
    let parts = contents.held_all(parts).await?;
    if parts.iter().any(|part| part.changed) {
        return Ok(Here::Changed);
    }
    Ok(if parts.iter().all(|part| part.complete) { Here::Whole } else { Here::Part })
}

fn of(held: &Held) -> Here {
    match held {
        Held { complete: true, .. } => Here::Whole,
        Held { changed: true, .. } => Here::Changed,
        Held { size: Some(_), .. } => Here::Part,
        _ => Here::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_folder_is_not_looked_for_again() {
        let (wholes, blob) = (Wholes::default(), BlobId([1; 32]));
        let (one, other) = (RoomId([1; 32]), RoomId([2; 32]));
        assert_eq!(wholes.of(one, blob), None);
        wholes.note(one, blob, true);
        wholes.note(other, blob, false);
        assert_eq!((wholes.of(one, blob), wholes.of(other, blob)), (Some(true), Some(false)));
        for n in 0..=MAX_KNOWN {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            wholes.note(one, BlobId(id), true);
        }
        assert!(lock(&wholes.known).len() <= MAX_KNOWN);
    }
}

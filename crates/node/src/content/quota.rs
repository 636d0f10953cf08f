//! The quota: how much of the disk pictures and files may take, and what goes when they take more.
//!
//! What was used least recently goes first; never what is pinned, was posted here, is shared by a ticket, or
//! is being fetched. And never the last copy that is known: before something goes, the members of every
//! room that it is here for are asked, and it goes only where one of them has it and keeps it before this
//! node does ([`ayni_core::swarm::Copies::lets_me_go`]), so that two never drop theirs because of each other.
//! What is kept for that is told ([`StorageInfo::last_copies`]), and in the log. What its user had fetched by a
//! ticket and kept is the last copy as far as anyone knows: only its user lets it go (`Node::discard`).
//!
//! A member that says that it has what it has not can make others drop theirs. What matters is pinned.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ayni_core::id::{BlobId, RoomId};
use ayni_core::swarm::Copies;
use tokio::sync::Notify;

use super::holders;
use super::model::LastCopy;
use crate::error::Result;
use crate::inner::Inner;
use crate::store::{Holding, Reason, Standing, Write};

/// How often it is looked how much is taken.
const LOOK: Duration = Duration::from_mins(1);
/// When more than the quota is taken, so many parts of 16 of it are left: not every new picture evicts.
const LEFT: u64 = 14;
/// What nobody asked for is fetched only up to so many parts of 16: below [`LEFT`], so that what was evicted
/// is not fetched again for its place.
const BY_ITSELF: u64 = 13;
/// Contents that are asked about in one look; more in the next.
const MAX_ASKED: usize = 1000;

/// What keeps the quota.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    news: Notify,
    /// What would have gone, and is the last copy that is known.
    last: Mutex<Vec<LastCopy>>,
}

impl Evictions {
    /// Has it looked soon.
    pub(crate) fn note(&self) {
        self.news.notify_one();
    }

    fn last(&self) -> MutexGuard<'_, Vec<LastCopy>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what would have gone, and is the last copy that is known.
    pub(super) fn last_copies(&self) -> Vec<LastCopy> {
        self.last().clone()
    }
}

/// Keeps the quota until the node stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    loop {
        let _ = tokio::time::timeout(LOOK, inner.content.evictions.news.notified()).await;
        match keep(&inner).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!("{gone} contents went, to keep the quota"),
            Err(error) => tracing::warn!("the quota is not kept: {error}"),
        }
    }
}

/// Whether something that nobody asked for may come.
pub(super) async fn has_room(inner: &Arc<Inner>, bytes: u64) -> Result<bool> {
    let contents = inner.content.contents(inner).await?;
    if contents.check_space(bytes).is_err() {
        return Ok(false);
    }
    let Some(quota) = inner.config().quota else { return Ok(true) };
    let taken = taken(inner).await?;
    Ok(taken.saturating_add(bytes) <= quota / 16 * BY_ITSELF)
}

/// Returns how many bytes of the disk all contents take.
pub(super) async fn taken(inner: &Inner) -> Result<u64> {
    let Some(contents) = inner.content.opened() else { return Ok(0) };
    Ok(contents.all().await?.iter().map(|(_, bytes)| bytes).sum())
}

/// Evicts until the quota is kept, as far as that is possible. Returns how many contents went.
///
/// # Errors
/// A failing disk.
pub(crate) async fn keep(inner: &Arc<Inner>) -> Result<usize> {
    let quota = inner.config().quota;
    let Some(quota) = quota else {
        inner.content.evictions.last().clear();
        return Ok(0);
    };
    let Some(contents) = inner.content.opened() else { return Ok(0) };
    // What nothing needs goes first.
    super::collected(inner, &contents).await?;
    let sizes: BTreeMap<BlobId, u64> = contents.all().await?.into_iter().collect();
    let taken: u64 = sizes.values().sum();
    if taken <= quota {
        inner.content.evictions.last().clear();
        return Ok(0);
    }
    let mut to_go = taken - quota / 16 * LEFT;
    let (mut last, mut gone) = (Vec::new(), 0);
    for rows in candidates(inner).await?.into_iter().take(MAX_ASKED) {
        let Some(row) = rows.first() else { continue };
        let root = row.root;
        let parts = inner.store.parts_of(row.room, root).await?;
        let of = |blob: &BlobId| sizes.get(blob).copied().unwrap_or(0);
        let bytes: u64 = parts.iter().chain([&root]).map(of).sum();
        if bytes == 0 {
            continue; // it lies elsewhere, or is not here
        }
        let others = others(inner, &rows).await;
        match others {
            Others::Keep => {
                inner.store.write(Write::Evict { root }).await?;
                gone += 1;
                to_go = to_go.saturating_sub(bytes);
            }
            Others::None => {
                last.push(LastCopy { room: row.room, blob: root, bytes, relied_on: false });
            }
            Others::Rely => {
                last.push(LastCopy { room: row.room, blob: root, bytes, relied_on: true });
            }
        }
        if to_go == 0 {
            break;
        }
    }
    if gone > 0 {
        super::collected(inner, &contents).await?;
    }
    tell(inner, if to_go == 0 { vec![] } else { last });
    Ok(gone)
}

fn tell(inner: &Inner, last: Vec<LastCopy>) {
    let mut known = inner.content.evictions.last();
    if *known != last && !last.is_empty() {
        let bytes: u64 = last.iter().map(|it| it.bytes).sum();
        tracing::warn!(
            "the quota is exceeded: {} contents ({} MB) are kept, since no other member is known to keep \
             them; raise the quota, or let others fetch them",
            last.len(),
            bytes / 1_000_000
        );
    }
    *known = last;
}

/// Returns what may go at all, by contents, the least recently used first.
async fn candidates(inner: &Inner) -> Result<Vec<Vec<Holding>>> {
    let mut by_root: BTreeMap<BlobId, Vec<Holding>> = BTreeMap::new();
    for row in inner.store.holdings(None).await? {
        by_root.entry(row.root).or_default().push(row);
    }
    let (mut found, fetched) = (Vec::new(), inner.content.transfers.roots());
    for (root, rows) in by_root {
        let firm = |it: &Holding| it.pinned || it.unsaid || it.reason == Reason::Posted;
        if !rows.iter().any(firm)
            && !fetched.contains(&root)
            && !inner.store.is_shared(root).await?
        {
            found.push(rows);
        }
    }
    found.sort_by_key(|rows| rows.iter().map(|it| it.last_used_ms).max());
    Ok(found)
}

/// What others do with a content that this node would drop.
enum Others {
    /// One of each room keeps it before this node does.
    Keep,
    /// Some have it, and may drop it because this node keeps it.
    Rely,
    /// Nobody else is known to have it.
    None,
}

async fn others(inner: &Arc<Inner>, rows: &[Holding]) -> Others {
    // What never came, and nobody fetches any more, is no copy.
    let rows = rows.iter().filter(|it| it.standing > Standing::Wanted);
    let mut all = Others::Keep;
    for row in rows {
        let Some(room) = row.room.and_then(|room: RoomId| inner.room(&room)) else {
            return Others::None; // for this node's user alone
        };
        let held = holders::who(inner, &room, &[row.root]).await;
        let others = held.first().map(Vec::as_slice).unwrap_or_default();
        let copies = Copies { content: row.root, me: inner.me(), others };
        if copies.held() == 0 {
            return Others::None;
        }
        if !copies.lets_me_go() {
            all = Others::Rely;
        }
    }
    all
}

//! Pictures and files: what is kept of them, who gets them, and how they are fetched.
//!
//! Content is named by its BLAKE3 hash and lies in a folder of its own ([`store`]); which content is
//! kept, for which room or ticket, is in the database. It is served in iroh-blobs' own protocol
//! ([`serve`]), to those only who may have it ([`access`]), and fetched from all who have a part of it
//! at once ([`fetch`], driving `ayni_core::swarm`).
//!
//! Invariants:
//! - What is served was verified: by hashing it on the way in, and what lies outside of the store again on
//!   the way out.
//! - What is interrupted goes on where it was: a [`transfers::Transfer`] is noted before its first byte.
//! - Nothing is deleted that the database names, or that someone still works on.

pub(crate) mod access;
mod again;
mod allowance;
mod api;
mod ask;
mod attach;
pub(crate) mod auto;
mod blocks;
mod fetch;
pub(crate) mod fetchers;
mod folder;
pub(crate) mod holders;
mod keep;
pub(crate) mod model;
mod opened;
mod paced;
mod place;
mod plan;
mod provider;
mod quota;
mod read;
mod replicate;
mod serve;
mod share;
mod starts;
mod store;
mod target;
#[cfg(test)]
mod tests;
pub(crate) mod transfers;
mod uploads;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ayni_core::attachment::Attachment;
use ayni_core::chat::Chat;
use ayni_core::file_name;
use ayni_core::id::{BlobId, PeerId};
use ayni_core::ticket::{Addr, PeerAddr};
use tokio::sync::OnceCell;

pub use self::api::Fetching;
pub use self::read::ContentReader;
pub use self::replicate::Replication;
pub(crate) use self::serve::serve;
pub(crate) use self::store::Contents;
pub use self::target::{Existing, Target};
use self::transfers::{Source, Transfers, Wish};
use crate::error::Result;
use crate::inner::Inner;
use crate::store::{StoredTransfer, TransferSource};

/// Returns what its author says of an attachment, with a name that can be shown and written.
pub(crate) fn clean(attachment: Attachment) -> Attachment {
    Attachment { name: file_name::clean(&attachment.name), ..attachment }
}

/// How often what nobody needs is looked for.
const COLLECT: Duration = Duration::from_mins(5);

/// All that a node does with content.
#[derive(Default)]
pub(crate) struct Content {
    /// Opened with its first use: most commands, and some nodes, have none.
    opening: OnceCell<()>,
    opened: OnceLock<Contents>,
    dials: provider::Dials,
    uploads: uploads::Door,
    asked: fetchers::Asked,
    wholes: holders::Wholes,
    again: again::Again,
    pub(crate) transfers: Transfers,
    pub(crate) arrivals: auto::Arrivals,
    pub(crate) news: replicate::News,
    pub(crate) evictions: quota::Evictions,
    last_id: AtomicU64,
    /// Whether something was let go that may be deleted now.
    let_go: AtomicBool,
    /// Bytes of content that were given away, and that came.
    given: AtomicU64,
    taken: Arc<AtomicU64>,
}

impl Content {
    /// Returns the store, if it is open.
    pub(crate) fn opened(&self) -> Option<Contents> {
        self.opened.get().cloned()
    }

    /// Returns the store, opened if it is not.
    ///
    /// # Errors
    /// [`crate::Error::Store`].
    pub(crate) async fn contents(&self, inner: &Arc<Inner>) -> Result<Contents> {
        let open = || async {
            let contents = Contents::open(inner.folder.contents()).await?;
            let _ = self.opened.set(contents);
            let task = collect(Arc::downgrade(inner));
            inner.tasks.spawn(inner.cancel.clone().run_until_cancelled_owned(task));
            Ok::<_, crate::Error>(())
        };
        self.opening.get_or_try_init(open).await?;
        self.opened().ok_or(crate::Error::Closed)
    }

    /// Returns a number for a transfer that none had before.
    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Notes that a peer asked for a content.
    fn noted(&self, blob: BlobId, peer: PeerId, by_room: bool) {
        self.transfers.note(blob, peer);
        self.asked.note(blob, peer, !by_room);
    }

    /// Returns where a peer can be reached, if that is known.
    #[expect(clippy::unused_self, reason = "it reads as it is")]
    fn address_of(&self, inner: &Inner, peer: &PeerId) -> Option<PeerAddr> {
        let known = inner.book.known(peer).map(|known| known.addr);
        let link = || {
            let direct = inner.links()?.link(peer)?.direct_addr()?;
            Some(PeerAddr { peer: *peer, direct: vec![Addr(direct)], relays: vec![] })
        };
        known.filter(|addr| !addr.direct.is_empty()).or_else(link)
    }

    /// Counts what was given away.
    fn served(&self, bytes: u64) {
        self.given.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns how many bytes of content came since the start.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Limits what is given and what is fetched, in bytes a second.
    pub(crate) fn set_rates(&self, up: Option<u64>, down: Option<u64>) {
        self.uploads.pace().set(up);
        self.transfers.pace.set(down);
    }

    /// Returns how many bytes of content were given away since the start.
    pub(crate) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// Notes that something was let go.
    fn note_let_go(&self) {
        self.let_go.store(true, Ordering::Relaxed);
    }
}

/// Deletes what was let go, for whoever only runs commands has no node that would do so later; brings to
/// the disk what came.
pub(crate) async fn close(inner: &Inner) {
    let Some(contents) = inner.content.opened() else { return };
    if inner.content.let_go.load(Ordering::Relaxed)
        && let Err(error) = collected(inner, &contents).await
    {
        tracing::warn!("what nothing names could not be deleted: {error}");
    }
    contents.close().await;
}

/// Lists what the last run of the node had begun and not ended.
///
/// # Errors
/// A failing disk.
pub(crate) async fn restore(inner: &Arc<Inner>) -> Result<()> {
    let content = &inner.content;
    let (up, down) = {
        let config = inner.config();
        (config.rate_up, config.rate_down)
    };
    content.set_rates(up, down);
    content.last_id.store(inner.store.last_transfer().await?, Ordering::Relaxed);
    let stored = inner.store.transfers().await?;
    if stored.is_empty() && inner.store.kept().await?.is_empty() {
        return Ok(());
    }
    let contents = match content.contents(inner).await {
        Ok(contents) => contents,
        Err(error) => {
            // Chat goes on; whatever needs pictures or files says why it cannot.
            tracing::error!("pictures and files cannot be used: {error}");
            return Ok(());
        }
    };
    access::settle(inner, &contents).await?;
    for transfer in stored {
        let (id, rates) = (transfer.id, transfer.rates);
        let priority = transfers::Priority::of(transfer.priority);
        let paused = transfer.paused;
        let begun = transfers::Begun { paused, priority, before: true, pours: false };
        let Some(wish) = wish(inner, &transfer).await? else {
            tracing::info!("transfer {id} is over: nothing can come of it after the restart");
            transfers::end_stored(inner, &transfer).await?;
            continue;
        };
        let here = contents.held(wish.root).await?;
        let parts = inner.store.parts_of(wish.room(), wish.root).await?;
        let listed = transfers::list(inner, id, wish, begun);
        listed.see_held(&here);
        listed.note_parts(&parts);
        listed.set_rates(rates);
    }
    Ok(())
}

/// Carries on with what was begun, once there is a network.
pub(crate) fn go_online(inner: &Arc<Inner>) {
    for transfer in inner.content.transfers.all() {
        if let Source::Ticket(_, text) = &transfer.wish.source
            && let Some(links) = inner.links()
            && let Ok(ticket) = text.parse::<iroh_blobs::ticket::BlobTicket>()
        {
            links.bound().known.add_endpoint_info(ticket.addr().clone());
        }
        transfers::carry_on(inner, &transfer);
    }
    let stop = || inner.cancel.clone();
    inner.tasks.spawn(stop().run_until_cancelled_owned(auto::run(inner.clone())));
    inner.tasks.spawn(stop().run_until_cancelled_owned(replicate::run(inner.clone())));
    inner.tasks.spawn(stop().run_until_cancelled_owned(quota::run(inner.clone())));
}

/// Returns what a stored transfer is to fetch; none where that cannot be known any more (its message cannot be
/// opened), or where nobody is there to take it.
async fn wish(inner: &Arc<Inner>, stored: &StoredTransfer) -> Result<Option<Wish>> {
    if stored.pours {
        return Ok(None);
    }
    let (source, name, claimed) = match &stored.source {
        TransferSource::Message { room, event } => {
            let (room, event) = (*room, *event);
            let Some(handle) = inner.room(&room) else { return Ok(None) };
            let Some(found) = inner.store.event_of(room, event).await? else { return Ok(None) };
            let chat = handle.lock().room.open(&found);
            let Some(Chat::Attachment(attachment, _)) = chat else { return Ok(None) };
            (Source::Room(room, event), attachment.name.clone(), Some(attachment.size))
        }
        TransferSource::Ticket(bytes) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let Ok(ticket) = text.parse::<iroh_blobs::ticket::BlobTicket>() else {
                return Ok(None);
            };
            let peer = PeerId(*ticket.addr().id.as_bytes());
            (Source::Ticket(peer, text), stored.root.to_string(), None)
        }
    };
    let target = stored.target.clone().map(|path| Target { path, existing: stored.existing });
    let (root, folder) = (stored.root, stored.folder);
    Ok(Some(Wish { source, root, folder, name, claimed, target, asked: true }))
}

/// Deletes what nobody needs any more; returns how many contents that were.
///
/// # Errors
/// A failing disk.
pub(crate) async fn collected(inner: &Inner, contents: &Contents) -> Result<usize> {
    contents.collect(inner.store.kept()).await
}

/// Deletes what nobody needs any more, now and then.
async fn collect(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(COLLECT).await;
        let Some(inner) = inner.upgrade() else { return };
        let Some(contents) = inner.content.opened() else { continue };
        match collected(&inner, &contents).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!("{deleted} contents were deleted that nothing names"),
            Err(error) => tracing::warn!("what nothing names could not be deleted: {error}"),
        }
    }
}

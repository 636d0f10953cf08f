//! What of the disk is used for pictures and files, and what is to stay: as a user of the library has it.

use ayni_core::id::{BlobId, EventId, RoomId};

use super::api::Fetching;
use super::model::StorageInfo;
use super::replicate::Replication;
use super::{access, quota};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::store::{Hold, Reason, Standing, StoredTransfer, TransferSource, Write};

impl Node {
    /// Keeps what is attached to a message, whatever else is evicted, and also when the room is left. What is
    /// not here is fetched; returns that fetch, which is done at once where nothing lacks.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such message, or nothing attached to it; a failing disk.
    pub async fn pin(&self, room: RoomId, event: EventId) -> Result<Fetching> {
        let attachment = self.attached(room, event).await?;
        let (root, bytes) = (attachment.blob, attachment.size);
        let hold = Hold {
            room: Some(room),
            root,
            blobs: vec![],
            bytes,
            since_ms: self.inner.now(),
            standing: Standing::Wanted,
            reason: Reason::Asked,
            unsaid: false,
        };
        self.inner.store.write(Write::Hold(hold)).await?;
        self.inner.store.write(Write::Pin { room, root, pinned: true }).await?;
        self.fetch(room, event, None).await
    }

    /// Lets what was pinned be evicted again, and go with its room.
    ///
    /// # Errors
    /// As [`Self::pin`]; [`Error::NotFound`] for what is not pinned.
    pub async fn unpin(&self, room: RoomId, event: EventId) -> Result<()> {
        let root = self.attached(room, event).await?.blob;
        let inner = &self.inner;
        let pinned = inner.store.holding(Some(room), root).await?.is_some_and(|it| it.pinned);
        if !pinned {
            return Err(Error::NotFound(format!("{} is not pinned", event.short())));
        }
        inner.store.write(Write::Pin { room, root, pinned: false }).await?;
        if self.handle(room)?.has_left(inner) {
            inner.store.write(Write::Release { room: Some(room), root }).await?;
        }
        access::give_up(inner, Some(room), root).await?;
        inner.content.evictions.note();
        Ok(())
    }

    /// Lets go of what was fetched by a ticket and is kept here ([`Node::get`] without a target). Nothing else
    /// lets it go: nobody in a room can be asked who else has it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for what is not kept so; [`Error::Denied`] for what is still being fetched; a
    /// failing disk.
    pub async fn discard(&self, blob: BlobId) -> Result<()> {
        let inner = &self.inner;
        let kept = inner.store.holding(None, blob).await?;
        if kept.is_none_or(|it| it.standing <= Standing::Wanted) {
            let blob = blob.short();
            return Err(Error::NotFound(format!("{blob} was not fetched by a ticket and kept")));
        }
        let by_ticket =
            |it: &StoredTransfer| it.root == blob && matches!(it.source, TransferSource::Ticket(_));
        if inner.store.transfers().await?.iter().any(by_ticket) {
            let blob = blob.short();
            return Err(Error::Denied(format!("{blob} is still being fetched: cancel that first")));
        }
        inner.store.write(Write::Release { room: None, root: blob }).await?;
        inner.content.note_let_go();
        inner.content.evictions.note();
        Ok(())
    }

    /// Finds what [`Self::discard`] lets go of: by its content's id, or the start of it (4 digits or more).
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] when several fit; a failing disk.
    pub async fn find_kept(&self, text: &str) -> Result<BlobId> {
        let rows = self.inner.store.holdings(None).await?.into_iter();
        let kept = rows.filter(|it| it.room.is_none() && it.standing > Standing::Wanted);
        crate::find::kept(text, kept.map(|it| it.root))
    }

    /// Returns how much of the disk pictures and files take, and what is known of it.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn storage(&self) -> Result<StorageInfo> {
        let inner = &self.inner;
        let (contents, bytes) = self.stored().await?;
        let mut info = StorageInfo {
            quota: self.storage_quota(),
            contents,
            bytes,
            last_copies: inner.content.evictions.last_copies(),
            ..StorageInfo::default()
        };
        for it in inner.store.holdings(None).await? {
            let of = match (it.pinned, it.reason) {
                (true, _) => &mut info.pinned,
                (false, Reason::Posted) => &mut info.posted,
                (false, Reason::Asked) => &mut info.fetched,
                (false, Reason::ByItself) => &mut info.by_itself,
            };
            *of = of.saturating_add(it.bytes);
        }
        Ok(info)
    }

    /// Returns how many bytes of the disk pictures and files may take; none: as many as there are.
    pub fn storage_quota(&self) -> Option<u64> {
        self.inner.config().quota
    }

    /// Sets that. What is beyond it goes, the least recently used first, but for what is pinned, was posted
    /// here, or is the last copy that is known ([`StorageInfo::last_copies`]). Kept for later starts.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn set_storage_quota(&self, bytes: Option<u64>) -> Result<()> {
        self.inner.change_config(move |config| config.quota = bytes).await?;
        self.inner.content.evictions.note();
        Ok(())
    }

    /// Returns what this node does so that attachments outlive their senders.
    pub fn replication(&self) -> Replication {
        Replication::of(&self.inner)
    }

    /// Sets that. Kept for later starts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 64 copies; a failing disk.
    pub async fn set_replication(&self, set: Replication) -> Result<()> {
        if set.copies > MAX_COPIES {
            return Err(Error::Invalid(format!("at most {MAX_COPIES} copies can be asked for")));
        }
        let changed = self.inner.change_config(move |config| {
            config.replicate = Some(set.agrees);
            config.copies = Some(set.copies);
            config.replicate_bytes = Some(set.room_bytes);
        });
        changed.await?;
        self.inner.content.news.set();
        Ok(())
    }

    /// Returns how large a picture of a room may be that is fetched without being asked for, in bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`]; a failing disk.
    pub async fn picture_limit(&self, room: RoomId) -> Result<u64> {
        let room = self.handle(room)?;
        let set = self.inner.store.room_fetch_limit(room.id()).await?;
        Ok(set.unwrap_or(super::auto::DEFAULT_LIMIT))
    }

    /// Sets that; none: 20 MiB. 0: none are fetched by themselves. Kept for later starts.
    ///
    /// # Errors
    /// As [`Self::picture_limit`].
    pub async fn set_picture_limit(&self, room: RoomId, bytes: Option<u64>) -> Result<()> {
        let room = self.handle(room)?.id();
        self.inner.store.write(Write::RoomFetchLimit { room, bytes }).await?;
        self.inner.content.arrivals.note_member(room);
        Ok(())
    }

    /// Evicts at once what is beyond the quota, which happens by itself every minute; returns how many
    /// contents went.
    ///
    /// # Errors
    /// A failing disk.
    #[doc(hidden)]
    pub async fn evict(&self) -> Result<usize> {
        quota::keep(&self.inner).await
    }

    /// Deletes at once what nothing needs any more, which happens by itself every few minutes; returns how
    /// many contents that were.
    ///
    /// # Errors
    /// A failing disk.
    #[doc(hidden)]
    pub async fn collect(&self) -> Result<usize> {
        let inner = &self.inner;
        let contents = inner.content.contents(inner).await?;
        super::collected(inner, &contents).await
    }
}

/// As many copies as members are asked who has one.
const MAX_COPIES: usize = 64;

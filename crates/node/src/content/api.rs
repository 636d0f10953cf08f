//! Pictures and files, as a user of the library has them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ayni_core::attachment::Attachment;
use ayni_core::chat::Chat;
use ayni_core::id::{BlobId, EventId, RoomId};

use super::model::{
    AttachOptions, Attached, FileInfo, Files, Here, Priority, ShareInfo, Shared, TransferInfo,
};
use super::read::ContentReader;
use super::share::{self, What};
use super::store::Import;
use super::target::Target;
use super::transfers::{self, Source, Transfer, Wish};
use super::{attach, holders};
use crate::error::{Error, Result};
use crate::model::Cursor;
use crate::node::Node;
use crate::rooms::RoomHandle;
use crate::rooms::messages::PAGE;
use crate::rooms::standing::{self, Act};
use crate::store::Rates;

/// A fetch under way. Dropping it does not end it: see [`Node::cancel_transfer`].
#[derive(Debug)]
pub struct Fetching {
    transfer: Arc<Transfer>,
    changed: tokio::sync::watch::Receiver<transfers::Standing>,
}

impl Fetching {
    /// Returns how it stands.
    pub fn info(&self) -> TransferInfo {
        self.transfer.info()
    }

    /// Waits until it stands otherwise than when this was last called; at once if it does.
    pub async fn changed(&mut self) {
        // It ends with the node: nothing changes any more then.
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn transfer(&self) -> &Arc<Transfer> {
        &self.transfer
    }

    /// Returns what is fetched, and whether it is a list of files.
    pub(super) fn wished(&self) -> (BlobId, bool) {
        (self.transfer.wish.root, self.transfer.wish.folder)
    }
}

impl Node {
    /// Sends a picture, a file or a folder to a room. Returns when it is durable here.
    ///
    /// Pictures lose their metadata and are copied; files are read from where they are, for as long as
    /// they are there and unchanged.
    ///
    /// # Errors
    /// [`Error::Denied`] for a picture whose metadata cannot be removed, and where this account may not
    /// post; [`Error::Invalid`] for a caption above 32 KiB, or what is neither file nor folder;
    /// [`Error::NotFound`]; [`Error::Io`]; a failing disk.
    pub async fn attach(
        &self,
        room: RoomId,
        path: impl AsRef<Path>,
        options: &AttachOptions,
    ) -> Result<Attached> {
        let room = self.handle(room)?;
        let (inner, of_task) = (self.inner.clone(), room.clone());
        let (path, options) = (path.as_ref().to_owned(), options.clone());
        // What was begun is finished, whoever gives up waiting for it: nothing is held without its message.
        let attaching = self
            .inner
            .tasks
            .spawn(async move { attach::attach(&inner, &of_task, &path, &options).await });
        let attached = attaching.await.unwrap_or(Err(Error::Closed));
        attached.map_err(|error| standing::explain(&self.inner, &room, Act::Say, error))
    }

    /// Returns what was attached to messages of a room, the newest first, `limit` (500 at most) before a
    /// position.
    ///
    /// # Errors
    /// [`Error::NotFound`]; a failing disk.
    pub async fn files(&self, room: RoomId, limit: usize, before: Option<Cursor>) -> Result<Files> {
        let room = self.handle(room)?;
        let limit = limit.min(PAGE);
        let before = before.map(|cursor| (cursor.time, cursor.event));
        let inner = &self.inner;
        let found = inner.store.attachments(room.id(), before, limit, inner.newest_shown()).await?;
        let next = found.events.last().map(Cursor::of).filter(|_| found.events.len() == limit);
        let holdings = inner.store.holdings(Some(room.id())).await?;
        let pinned = holdings.into_iter().filter(|it| it.pinned).map(|it| it.root).collect();
        let mut files = Vec::new();
        for event in &found.events {
            if room.lock().room.hides(event.header()) {
                continue;
            }
            if let Some((attachment, caption)) = opened(&room, event) {
                files.push(self.file(&room, event, (attachment, caption), &pinned).await?);
            }
        }
        let roots: Vec<_> = files.iter().map(|file| file.attachment.blob).collect();
        let counts = holders::count(inner, &room, &roots).await;
        for (file, count) in files.iter_mut().zip(counts) {
            file.held_by = count + usize::from(file.here == Here::Whole);
        }
        Ok(Files { files, next, behind: found.behind })
    }

    async fn file(
        &self,
        room: &RoomHandle,
        event: &ayni_core::event::Event,
        (attachment, caption): (Attachment, String),
        pinned: &BTreeSet<BlobId>,
    ) -> Result<FileInfo> {
        let (inner, header) = (&self.inner, event.header());
        let here = holders::here(inner, &attachment).await?;
        let pinned = pinned.contains(&attachment.blob);
        let author = room.lock().room.members().account_of(&header.device);
        let author = author.unwrap_or(ayni_core::id::AccountId(header.device.0));
        let (event, time_ms) = (event.id(), header.time.millis());
        Ok(FileInfo { event, author, time_ms, attachment, caption, held_by: 0, here, pinned })
    }

    /// Fetches what is attached to a message, from whoever has it, and writes it to `target` if there is
    /// one. Goes on until it is done, also after a restart of the node.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such message, or nothing attached to it; [`Error::Denied`]
    /// where something is at the target and is to stay; a failing disk.
    pub async fn fetch(
        &self,
        room: RoomId,
        event: EventId,
        target: Option<Target>,
    ) -> Result<Fetching> {
        let attachment = self.attached(room, event).await?;
        let target = target.map(Target::absolute);
        let wish = Wish {
            source: Source::Room(room, event),
            root: attachment.blob,
            folder: attachment.is_folder(),
            name: attachment.name.clone(),
            claimed: Some(attachment.size),
            target,
            asked: true,
        };
        Ok(fetching(transfers::begin(&self.inner, wish).await?))
    }

    /// Returns what is attached to a message that is shown.
    pub(super) async fn attached(&self, room: RoomId, event: EventId) -> Result<Attachment> {
        let handle = self.handle(room)?;
        let found = self.inner.store.event_of(room, event).await?;
        let found = found.filter(|found| !handle.lock().room.hides(found.header()));
        let attached = found.as_ref().and_then(|found| opened(&handle, found));
        attached.map(|(attachment, _)| attachment).ok_or_else(|| {
            let (event, room) = (event.short(), room.short());
            Error::NotFound(format!("nothing is attached to a message {event} of the room {room}"))
        })
    }

    /// Shares files and folders, without a room: whoever has the ticket may fetch them from here, until
    /// [`Self::unshare`]. They are read from where they are, unless `copy` is set.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no paths, or what is neither file nor folder; [`Error::Io`];
    /// [`Error::Unreachable`] on a node without a network; a failing disk.
    pub async fn share(&self, paths: &[PathBuf], copy: bool) -> Result<Shared> {
        let how = if copy { Import::Copy } else { Import::Reference };
        share::share(&self.inner, What::Paths(paths.to_vec(), how)).await
    }

    /// Shares what a reader brings, to its end, as a file of this name.
    ///
    /// # Errors
    /// As [`Self::share`].
    pub async fn share_reader(
        &self,
        name: &str,
        bytes: impl std::io::Read + Send + std::fmt::Debug + 'static,
    ) -> Result<Shared> {
        share::share(&self.inner, What::Bytes(name.to_owned(), Box::new(bytes))).await
    }

    /// Returns what is shared by tickets.
    ///
    /// # Errors
    /// [`Error::Unreachable`] on a node without a network; a failing disk.
    pub async fn shares(&self) -> Result<Vec<ShareInfo>> {
        share::shares(&self.inner).await
    }

    /// Stops sharing something. What others have of it they keep.
    ///
    /// # Errors
    /// [`Error::NotFound`] for what is not shared; a failing disk.
    pub async fn unshare(&self, blob: BlobId) -> Result<()> {
        share::stop(&self.inner, blob).await
    }

    /// Fetches what a ticket names, from its sender and from all others who fetch it and can be
    /// reached, and writes it into the folder `target`. Goes on until it is done, also after a restart.
    /// Without a target it is kept in the data folder, until [`Self::discard`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no ticket; as [`Self::fetch`].
    pub async fn get(&self, ticket: &str, target: Option<Target>) -> Result<Fetching> {
        Ok(fetching(share::get(&self.inner, ticket, target).await?))
    }

    /// Fetches the only file that a ticket names for one reader ([`Self::open_transfer`]), and keeps nothing
    /// of it: it is over when its last byte was read, or when nobody reads it for a while. It does not go
    /// on after a restart.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn pour(&self, ticket: &str) -> Result<Fetching> {
        Ok(fetching(share::pour(&self.inner, ticket).await?))
    }

    /// Returns a reader of what is attached to a message, which begins to be fetched if it is not here: it
    /// can be read, and sought in, while it comes.
    ///
    /// Returns when the size is proved, which takes until someone who has it is reached.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a folder; as [`Self::fetch`].
    pub async fn open(&self, room: RoomId, event: EventId) -> Result<ContentReader> {
        let attachment = self.attached(room, event).await?;
        if attachment.is_folder() {
            return Err(Error::Invalid("a folder cannot be read as one file".into()));
        }
        let fetching = self.fetch(room, event, None).await?;
        let contents = self.inner.content.contents(&self.inner).await?;
        fetching.reader(&contents, attachment.blob).await
    }

    /// Returns the transfers that are not over, and some that lately were, in the order in which they
    /// began.
    pub fn transfers(&self) -> Vec<TransferInfo> {
        self.inner.content.transfers.all().iter().map(|transfer| transfer.info()).collect()
    }

    /// Returns how many contents are here, whole or in part, and how many bytes of the disk they take.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn stored(&self) -> Result<(usize, u64)> {
        let Some(contents) = self.inner.content.opened() else { return Ok((0, 0)) };
        let all = contents.all().await?;
        Ok((all.len(), all.iter().map(|(_, bytes)| bytes).sum()))
    }

    /// Limits what all transfers together give to others and fetch, in bytes a second; none: no limit.
    /// Kept for later starts.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn set_rate_limits(&self, up: Option<u64>, down: Option<u64>) -> Result<()> {
        let kept = self.inner.change_config(move |config| {
            (config.rate_up, config.rate_down) = (up, down);
        });
        kept.await?;
        self.inner.content.set_rates(up, down);
        Ok(())
    }

    /// Returns the limits of all transfers together, up and down, in bytes a second.
    pub fn rate_limits(&self) -> (Option<u64>, Option<u64>) {
        let config = self.inner.config();
        (config.rate_up, config.rate_down)
    }

    /// Limits what one transfer fetches, and what is given of it to others while it is fetched, in bytes a
    /// second; none: no limit but that of all. Kept for later starts, until the transfer is over.
    ///
    /// # Errors
    /// As [`Self::pause_transfer`].
    pub async fn set_transfer_rates(
        &self,
        id: u64,
        up: Option<u64>,
        down: Option<u64>,
    ) -> Result<()> {
        transfers::limit(&self.inner, id, Rates { up, down }).await
    }

    /// Says how important a transfer is: what is more important runs first.
    ///
    /// # Errors
    /// As [`Self::pause_transfer`].
    pub async fn set_transfer_priority(&self, id: u64, priority: Priority) -> Result<()> {
        transfers::set_priority(&self.inner, id, priority).await
    }

    /// Returns how many bytes of content were given to others since the node was started.
    pub fn given(&self) -> u64 {
        self.inner.content.given()
    }

    /// Says a message that names a content, whether or not anyone has it.
    #[doc(hidden)]
    pub async fn post_attachment(&self, room: RoomId, attachment: Attachment) -> Result<EventId> {
        let chat = Chat::attachment(attachment, "");
        let chat = chat.map_err(|error| Error::Invalid(error.to_string()))?;
        let room = self.handle(room)?;
        crate::rooms::govern::say(&self.inner, &room, &chat).await
    }

    /// Returns one transfer, to be waited for.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn transfer(&self, id: u64) -> Result<Fetching> {
        let found = self.inner.content.transfers.find(id);
        found.map(fetching).ok_or_else(|| Error::NotFound(format!("there is no transfer {id}")))
    }

    /// Finds a message with an attachment by its id, or an unambiguous start of it (4 digits or more).
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] when several fit; a failing disk.
    pub async fn find_attachment(&self, room: RoomId, text: &str) -> Result<EventId> {
        if let Ok(whole) = text.parse::<EventId>() {
            return Ok(whole);
        }
        let (inner, handle) = (&self.inner, self.handle(room)?);
        let start = text.to_ascii_lowercase();
        let (mut found, mut before) = (BTreeSet::new(), None);
        loop {
            let page = inner.store.attachments(room, before, PAGE, inner.newest_shown()).await?;
            let Some(last) = page.events.last() else { break };
            before = Some((last.header().time.0, last.id()));
            let shown = page.events.iter().filter(|it| !handle.lock().room.hides(it.header()));
            found.extend(
                shown
                    .map(ayni_core::event::Event::id)
                    .filter(|id| id.to_string().starts_with(&start)),
            );
        }
        crate::find::attachment(text, found)
    }

    /// Returns how many bytes of content came from others since the node was started.
    pub fn taken(&self) -> u64 {
        self.inner.content.taken()
    }

    /// Pauses a transfer.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that is over; a failing disk.
    pub async fn pause_transfer(&self, id: u64) -> Result<()> {
        transfers::pause(&self.inner, id, true).await
    }

    /// Lets a transfer go on that was paused or failed. One that was refused is over.
    ///
    /// # Errors
    /// As [`Self::pause_transfer`].
    pub async fn resume_transfer(&self, id: u64) -> Result<()> {
        transfers::pause(&self.inner, id, false).await
    }

    /// Ends a transfer. What of it is here, and nothing else needs, is deleted by and by.
    ///
    /// # Errors
    /// As [`Self::pause_transfer`].
    pub async fn cancel_transfer(&self, id: u64) -> Result<()> {
        transfers::cancel(&self.inner, id).await
    }
}

fn fetching(transfer: Arc<Transfer>) -> Fetching {
    let changed = transfer.watch();
    Fetching { transfer, changed }
}

/// Returns what is attached to a message, with a clean name, and its caption; none where nothing is.
pub(super) fn opened(
    room: &RoomHandle,
    event: &ayni_core::event::Event,
) -> Option<(Attachment, String)> {
    let chat = room.lock().room.open(event);
    let Some(Chat::Attachment(attachment, caption)) = chat else { return None };
    Some((super::clean(*attachment), caption))
}

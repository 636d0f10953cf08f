//! The bytes themselves: a folder of files, each named by what it holds.
//!
//! Which contents are kept and for whom is written in the database ([`crate::store`]); what the database
//! does not name is deleted here by and by ([`Contents::collect`]).
//!
//! Invariants: what lies here under a name is that content, or the part of it that its `have` tells;
//! nothing that is being written has such a name, but for a content of one block, whose hash tells when less
//! of it lies there. A content that was just made is protected until its
//! maker lets go of it, and then until the next collection has begun: that one reads its row.
//!
//! Why not iroh-blobs' own store: it has no way to delete one content, to fetch one again whose referenced
//! file is gone, or to know that it is; it answers no question about a content whose file failed once; and
//! hashes what it kept before whenever it is sent.

mod early;
mod encode;
mod entry;
mod files;
mod have;
mod import;
mod open;
mod space;
#[cfg(test)]
mod tests;
mod via;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use ayni_core::id::BlobId;
use ayni_core::limits::MAX_CONTENT;
use ayni_core::swarm::{Blocks, block_count};
use bao_tree::io::BaoContentItem;
use bytes::Bytes;

pub(crate) use self::entry::Entry;
use self::files::{Files, Kind, Link};
use self::have::Have;
use self::open::{Coming, Known, Open, State, lock};
use self::space::Free;
pub(crate) use self::via::Via;
use crate::error::{Error, Result};
use crate::start::blocking;

/// How long the disk may take for what waits to be written to it.
const SETTLE: Duration = Duration::from_secs(30);

/// How a file comes into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Import {
    /// Its bytes are copied (or shared by the file system, where it can).
    Copy,
    /// The file stays where it is and is read from there.
    Reference,
}

/// What is here of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// Its size in bytes, if that is proved.
    pub(crate) size: Option<u64>,
    /// The blocks that are here.
    pub(crate) blocks: Blocks,
    /// Whether all is here.
    pub(crate) complete: bool,
    /// Whether it lies outside of the store, and what lies there is not it any more.
    pub(crate) changed: bool,
}

impl Held {
    fn nothing() -> Self {
        Self { size: None, blocks: Blocks::empty(), complete: false, changed: false }
    }

    fn whole(size: u64) -> Self {
        let blocks = Blocks::from(0..block_count(size));
        Self { size: Some(size), blocks, complete: true, changed: false }
    }
}

/// The store. Cloning gives another handle.
#[derive(Debug, Clone)]
pub(crate) struct Contents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: Files,
    free: Free,
    open: Open,
    coming: Coming,
    /// Unfinished contents that were written to and may not be on the disk yet.
    unsettled: Mutex<BTreeSet<BlobId>>,
    guards: Mutex<Guards>,
}

/// The opened hashes of a content, which has none where it is one block.
struct Tree(Option<std::fs::File>);

/// What may not be deleted now.
#[derive(Debug, Default)]
struct Guards {
    held: HashMap<BlobId, usize>,
    /// Let go of since the last collection began.
    released: HashSet<BlobId>,
}

impl Guards {
    fn protects(&self, blob: BlobId) -> bool {
        self.held.contains_key(&blob) || self.released.contains(&blob)
    }
}

/// Keeps contents from being deleted, until after the next collection has begun.
#[derive(Debug)]
pub(crate) struct Protected {
    blob: BlobId,
    store: Weak<Inner>,
}

impl Drop for Protected {
    fn drop(&mut self) {
        let Some(store) = self.store.upgrade() else { return };
        let mut guards = lock(&store.guards);
        if let Some(count) = guards.held.get_mut(&self.blob) {
            *count -= 1;
            if *count == 0 {
                guards.held.remove(&self.blob);
                guards.released.insert(self.blob);
            }
        }
    }
}

/// Contents of one block that were verified and are not in the store yet.
#[derive(Debug)]
pub(crate) struct SingleBlocks(Vec<(BlobId, Bytes)>);

impl SingleBlocks {
    /// Returns which they are.
    pub(crate) fn blobs(&self) -> Vec<BlobId> {
        self.0.iter().map(|(blob, _)| *blob).collect()
    }
}

/// Says by what contents are being fetched, and keeps them from being deleted.
#[derive(Debug)]
pub(crate) struct Fetching {
    protected: Vec<Protected>,
    via: Via,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        for one in &self.protected {
            if let Some(store) = one.store.upgrade() {
                store.coming.end(one.blob, self.via);
            }
        }
    }
}

/// A content that was imported.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) blob: BlobId,
    pub(crate) size: u64,
    /// To be held until the content is named in the database.
    pub(crate) protected: Protected,
}

impl Contents {
    /// Opens the store in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn open(folder: PathBuf) -> Result<Self> {
        Self::with_space(folder, space::free).await
    }

    /// Like [`Self::open`], on a disk of which `free` tells how much is free.
    ///
    /// # Errors
    /// As there.
    async fn with_space(folder: PathBuf, free: Free) -> Result<Self> {
        blocking(move || {
            let what =
                format!("the folder of pictures and files {} cannot be used", folder.display());
            let files = Files::open(&folder).map_err(Error::io(what))?;
            let inner = Inner {
                files,
                free,
                open: Open::default(),
                coming: Coming::default(),
                unsettled: Mutex::default(),
                guards: Mutex::default(),
            };
            Ok(Self(Arc::new(inner)))
        })
        .await
    }

    /// Brings to the disk what came, so that nothing has to be hashed again at the next start.
    pub(crate) async fn close(&self) {
        let settled = self.work(|inner| {
            let unsettled = std::mem::take(&mut *lock(&inner.unsettled));
            for blob in unsettled {
                if let Some(entry) = inner.entry(blob)? {
                    entry.settle()?;
                }
            }
            Ok(())
        });
        if let Err(error) = settled.await {
            tracing::warn!("what came will be hashed again: {error}");
        }
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.0.clone();
        blocking(move || work(&inner).map_err(|error| broken(&inner, error))).await
    }

    /// Takes a file in; `seen` hears how many of its bytes were hashed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn import(
        &self,
        path: &Path,
        how: Import,
        mut seen: impl FnMut(u64) + Send + 'static,
    ) -> Result<Imported> {
        let (contents, path) = (self.clone(), path.to_owned());
        blocking(move || {
            let to = (&contents.0.files, contents.0.free);
            let ready = match how {
                Import::Copy => import::copy(to, &path, &mut seen),
                Import::Reference => import::link(to.0, &path, &mut seen),
            };
            let imported = ready.and_then(|ready| contents.imported(ready));
            imported.map_err(cannot(format!("{} cannot be taken in", path.display())))
        })
        .await
    }

    /// Takes bytes in.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn import_bytes(&self, bytes: Bytes) -> Result<Imported> {
        self.import_reader(io::Cursor::new(bytes)).await
    }

    /// Takes in what a reader brings.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn import_reader(
        &self,
        from: impl io::Read + Send + 'static,
    ) -> Result<Imported> {
        let contents = self.clone();
        blocking(move || {
            let ready = import::read((&contents.0.files, contents.0.free), from, &mut |_| {});
            let imported = ready.and_then(|ready| contents.imported(ready));
            imported.map_err(cannot("what came cannot be taken in".into()))
        })
        .await
    }

    fn imported(&self, ready: import::Ready) -> io::Result<Imported> {
        let (blob, size) = (ready.blob, ready.size);
        // Before it has its name: as it is, nothing of the database may name it yet.
        let protected = self.protect(blob);
        self.0.keep(ready)?;
        Ok(Imported { blob, size, protected })
    }

    /// Has the system bring contents to the disk that were imported: what is told to others of them is
    /// durable, so they have to be.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn sync(&self, blobs: Vec<BlobId>) -> Result<()> {
        self.work(move |inner| inner.files.sync(&blobs)).await
    }

    /// Says by what contents are about to be fetched, until what is returned is dropped; it keeps them from
    /// being deleted, too. What is here of them because of something else is mixed from now on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn fetching(&self, blobs: Vec<BlobId>, via: Via) -> Result<Fetching> {
        let mut fetching = Fetching { protected: Vec::with_capacity(blobs.len()), via };
        for blob in &blobs {
            fetching.protected.push(self.protect(*blob));
        }
        // What is not noted yet is not ended either: all are noted before any wait.
        let alone: Vec<bool> = blobs.iter().map(|blob| self.0.coming.begin(*blob, via)).collect();
        self.work(move |inner| {
            for (blob, alone) in blobs.into_iter().zip(alone) {
                let slot = inner.open.slot(blob);
                let mut state = slot.lock();
                if matches!(state.known, Some(Known::Whole { .. })) {
                    continue;
                }
                if let Some(entry) = inner.entry_in(&mut state, blob)?
                    && !entry.is_finished()
                    && (!alone || entry.via() != Some(via))
                {
                    entry.mix()?;
                }
            }
            Ok(())
        })
        .await?;
        Ok(fetching)
    }

    /// Returns by what each of these came, as far as that is not written down.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn came_by(&self, blobs: Vec<BlobId>) -> Result<Vec<Option<Via>>> {
        self.work(move |inner| blobs.into_iter().map(|blob| inner.via(blob)).collect()).await
    }

    /// Returns those of some contents that are all here and came by nothing else than `via`, as far as that
    /// is not written down.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn whole_by(&self, blobs: Vec<BlobId>, via: Via) -> Result<Vec<BlobId>> {
        self.work(move |inner| {
            let mut whole = Vec::new();
            for blob in blobs {
                if inner.is_whole_by(blob, via)? {
                    whole.push(blob);
                }
            }
            Ok(whole)
        })
        .await
    }

    /// Notes that it was written down by what these came.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn forget_via(&self, blobs: Vec<BlobId>) -> Result<()> {
        self.work(move |inner| blobs.into_iter().try_for_each(|blob| inner.forget_via(blob))).await
    }

    /// Checks that the disk has room for so many bytes, beside what is always left free.
    ///
    /// # Errors
    /// [`Error::Store`], with what is lacking.
    pub(crate) fn check_space(&self, bytes: u64) -> Result<()> {
        let checked = space::check(self.0.free, self.0.files.folder(), bytes);
        checked.map_err(|error| Error::Store(error.to_string()))
    }

    /// Keeps a content, of which nothing need be here yet, from being deleted.
    pub(crate) fn protect(&self, blob: BlobId) -> Protected {
        *lock(&self.0.guards).held.entry(blob).or_default() += 1;
        Protected { blob, store: Arc::downgrade(&self.0) }
    }

    /// Opens a content; none of which nothing is here.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn entry(&self, blob: BlobId) -> Result<Option<Arc<Entry>>> {
        self.work(move |inner| inner.entry(blob)).await
    }

    /// As [`Self::entry`], for who is on a thread that may block.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn entry_now(&self, blob: BlobId) -> io::Result<Option<Arc<Entry>>> {
        self.0.entry(blob)
    }

    /// Opens a content of so many bytes, to be filled; begins it where nothing of it is here.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than any content may have; [`Error::Store`] where the disk has too
    /// little space, and nothing was begun; [`Error::Io`].
    pub(crate) async fn begin(&self, blob: BlobId, size: u64) -> Result<Arc<Entry>> {
        if size > MAX_CONTENT {
            return Err(Error::Invalid(format!("{size} bytes are more than any file may have")));
        }
        self.work(move |inner| inner.begin(blob, size)).await
    }

    /// Returns those of some contents of one block that came as a whole: [`Self::take_in`] takes them in.
    ///
    /// # Errors
    /// [`Error::Store`] where the disk has too little space.
    pub(crate) async fn whole(
        &self,
        came: Vec<(BlobId, u64, Vec<BaoContentItem>)>,
    ) -> Result<SingleBlocks> {
        let bytes = came.iter().map(|(_, size, _)| size).sum();
        self.work(move |inner| space::check(inner.free, inner.files.folder(), bytes)).await?;
        let whole = came.into_iter().filter_map(|(blob, size, items)| {
            import::verified(size, items).map(|bytes| (blob, bytes))
        });
        Ok(SingleBlocks(whole.collect()))
    }

    /// Takes in contents of one block, but for those that are here by now. Notes by what they came, where
    /// that is not written down.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Store`] where the disk is full.
    pub(crate) async fn take_in(&self, blocks: SingleBlocks, via: Option<Via>) -> Result<()> {
        self.work(move |inner| {
            blocks.0.into_iter().try_for_each(|(blob, bytes)| inner.take_in(blob, &bytes, via))
        })
        .await
    }

    /// Writes what was verified of a content. Blocking.
    pub(crate) fn write(&self, entry: &Arc<Entry>, items: &[BaoContentItem]) -> io::Result<()> {
        if entry.write(items)? {
            return self.0.finish(entry);
        }
        lock(&self.0.unsettled).insert(entry.blob);
        let bytes = items.iter().map(|item| match item {
            BaoContentItem::Leaf(leaf) => leaf.data.len() as u64,
            BaoContentItem::Parent(_) => 0,
        });
        if entry.note_written(bytes.sum()) {
            let entry = entry.clone();
            drop(tokio::task::spawn_blocking(move || entry.sync_early()));
        }
        Ok(())
    }

    /// Waits until what was verified of a content, which is all of it, is written and has its name.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Store`] where that takes too long.
    pub(crate) async fn settled(&self, blob: BlobId) -> Result<()> {
        let Some(entry) = self.entry(blob).await? else {
            return Err(Error::Store("what came is not there any more".into()));
        };
        if let Some(mut blocks) = entry.watch() {
            let all = Blocks::from(0..block_count(entry.size));
            let written = blocks.wait_for(|blocks| *blocks == all);
            let Ok(Ok(_)) = tokio::time::timeout(SETTLE, written).await else {
                return Err(Error::Store(
                    "what came could not be written: is the disk full?".into(),
                ));
            };
        }
        self.work(move |inner| inner.finish(&entry)).await
    }

    /// Returns what is here of a content.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn held(&self, blob: BlobId) -> Result<Held> {
        self.work(move |inner| inner.held(blob)).await
    }

    /// Returns what is here of each of these.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn held_all(&self, blobs: Vec<BlobId>) -> Result<Vec<Held>> {
        self.work(move |inner| blobs.into_iter().map(|blob| inner.held(blob)).collect()).await
    }

    /// Returns the bytes of a small content.
    ///
    /// # Errors
    /// [`Error::Invalid`] above `most` bytes, or where it is not all here; [`Error::Io`].
    pub(crate) async fn bytes(&self, blob: BlobId, most: u64) -> Result<Bytes> {
        let entry = self.entry(blob).await?.filter(|entry| entry.is_whole());
        let Some(entry) = entry else {
            return Err(Error::Invalid("not all of it is here".into()));
        };
        if entry.size > most {
            let size = entry.size;
            return Err(Error::Invalid(format!("it has {size} bytes, which is more than {most}")));
        }
        self.work(move |_| {
            let mut bytes = vec![0; usize::try_from(entry.size).map_err(io::Error::other)?];
            if entry.read_at(0, &mut bytes)? < bytes.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(bytes.into())
        })
        .await
    }

    /// Writes a content to a file that is made anew. On the disk when it returns.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Store`] where it is not all here.
    pub(crate) async fn export(
        &self,
        blob: BlobId,
        target: &Path,
        mut seen: impl FnMut(u64) + Send + 'static,
    ) -> Result<()> {
        let entry = self.entry(blob).await?.filter(|entry| entry.is_whole());
        let entry = entry.ok_or_else(|| Error::Store("not all of it is here".into()))?;
        let (inner, target) = (self.0.clone(), target.to_owned());
        blocking(move || {
            let what = format!("{} cannot be written", target.display());
            inner.export(&entry, &target, &mut seen).map_err(Error::io(what))
        })
        .await
    }

    /// Deletes a content. What has it open can go on reading.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn remove(&self, blob: BlobId) -> Result<()> {
        self.work(move |inner| {
            let slot = inner.open.slot(blob);
            let mut state = slot.lock();
            inner.remove_in(&mut state, blob)
        })
        .await
    }

    /// Returns every content of which something is here, with the bytes of the disk that it takes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) async fn all(&self) -> Result<Vec<(BlobId, u64)>> {
        self.work(|inner| {
            let all = inner.files.all()?;
            Ok(all.into_iter().map(|blob| (blob, inner.files.bytes_of(blob))).collect())
        })
        .await
    }

    /// Deletes what is not to be kept: `kept` is asked after it was noted what is here and protected.
    /// Returns how many contents were deleted; none are where `kept` fails.
    ///
    /// # Errors
    /// [`Error::Io`]; those of `kept`.
    pub(crate) async fn collect(
        &self,
        kept: impl Future<Output = Result<Vec<BlobId>>>,
    ) -> Result<usize> {
        let here = self.work(|inner| inner.files.all()).await?;
        // Whoever let go before now has written down what it wants kept.
        lock(&self.0.guards).released.clear();
        let kept: BTreeSet<BlobId> = kept.await?.into_iter().collect();
        let lost: Vec<BlobId> = here.into_iter().filter(|blob| !kept.contains(blob)).collect();
        self.work(move |inner| {
            let mut deleted = 0;
            for blob in lost {
                // Whoever protects it from now on finds it gone. One that somebody works with, which may be
                // hashed for minutes, is looked at again the next time.
                let slot = inner.open.slot(blob);
                let Some(mut state) = slot.try_lock() else { continue };
                if !lock(&inner.guards).protects(blob) {
                    inner.remove_in(&mut state, blob)?;
                    deleted += 1;
                }
            }
            Ok(deleted)
        })
        .await
    }
}

impl Inner {
    fn begin(&self, blob: BlobId, size: u64) -> io::Result<Arc<Entry>> {
        let slot = self.open.slot(blob);
        let mut state = slot.lock();
        if let Some(entry) = self.entry_in(&mut state, blob)? {
            return Ok(entry);
        }
        space::check(self.free, self.files.folder(), size)?;
        let via = self.coming.of(blob);
        state.known = None;
        let entry = Arc::new(Entry::begin(&self.files, (blob, size), via)?);
        state.entry = Arc::downgrade(&entry);
        Ok(entry)
    }

    /// Gives what is all there its name, instead of what is here of it. Who has that open goes on with it;
    /// others find this one.
    fn keep(&self, ready: import::Ready) -> io::Result<()> {
        let slot = self.open.slot(ready.blob);
        let mut state = slot.lock();
        let here = self.entry_in(&mut state, ready.blob)?;
        let here = here.is_some_and(|entry| !entry.linked && entry.is_finished());
        let nothing = state.known == Some(Known::Absent);
        let link = ready.link().filter(|_| !here).cloned();
        state.abandon();
        import::keep(&self.files, ready, import::Before { here, nothing })?;
        state.known = link.map(Known::Linked);
        Ok(())
    }

    /// The same for one of one block that was verified, unless all of it is here by now.
    fn take_in(&self, blob: BlobId, bytes: &[u8], via: Option<Via>) -> io::Result<()> {
        let (slot, size) = (self.open.slot(blob), bytes.len() as u64);
        let mut state = slot.lock();
        if self.entry_in(&mut state, blob)?.is_some_and(|entry| entry.is_whole()) {
            return Ok(());
        }
        let nothing = state.known == Some(Known::Absent);
        state.abandon();
        if !(nothing && self.files.place(blob, bytes)?) {
            let ready = import::block(&self.files, blob, bytes)?;
            import::keep(&self.files, ready, import::Before { here: false, nothing })?;
        }
        if let Some(via) = via {
            // Killed in between, it is given to nobody because of that.
            Have::create(&self.files.path(blob, Kind::Via), size, via)?;
        }
        state.known = Some(Known::Whole { size, via });
        Ok(())
    }

    fn entry(&self, blob: BlobId) -> io::Result<Option<Arc<Entry>>> {
        self.entry_in(&mut self.open.slot(blob).lock(), blob)
    }

    fn entry_in(&self, state: &mut State, blob: BlobId) -> io::Result<Option<Arc<Entry>>> {
        if let Some(entry) = state.entry.upgrade() {
            let gone = entry.linked && self.link(state, blob)?.is_none_or(|it| it.open().is_none());
            if !gone {
                return Ok(Some(entry));
            }
        } else if matches!(state.known, Some(Known::Absent | Known::Remains)) && !is_empty(blob) {
            return Ok(None);
        } else if let Some(Known::Linked(link)) = &state.known
            && let Some(entry) = self.linked(blob, link)?
        {
            let entry = Arc::new(entry);
            state.entry = Arc::downgrade(&entry);
            return Ok(Some(entry));
        }
        let (found, link) = match self.find(blob)? {
            // What has no bytes is everywhere.
            (None, link) if is_empty(blob) => {
                let empty = Entry::begin(&self.files, (blob, 0), Via::Mixed)?;
                empty.finish(&self.files)?;
                (Some(Arc::new(empty)), link)
            }
            (found, link) => (found.map(Arc::new), link),
        };
        state.known = match &found {
            None if link.is_some() => None,
            None if self.files.has_any(blob)? => Some(Known::Remains),
            None => Some(Known::Absent),
            Some(entry) if entry.linked => link.map(Known::Linked),
            Some(entry) if !entry.is_finished() => None,
            Some(entry) => Some(Known::Whole { size: entry.size, via: entry.via() }),
        };
        state.entry = found.as_ref().map(Arc::downgrade).unwrap_or_default();
        Ok(found)
    }

    /// Looks for a content; returns also where it lies outside of the store, or lay. One that lacks nothing
    /// but its name, as after an end in that moment, has it then.
    fn find(&self, blob: BlobId) -> io::Result<(Option<Entry>, Option<Link>)> {
        let (found, link) = self.look(blob)?;
        match &found {
            Some(entry) if entry.is_whole() && self.name(entry) => self.look(blob),
            _ => Ok((found, link)),
        }
    }

    /// Gives one of which all is here its name. Returns whether that was to be done: not where it fails, which
    /// whoever needs the name is told ([`Contents::settled`]). It is as good without it until then.
    fn name(&self, entry: &Entry) -> bool {
        if entry.is_finished() {
            return false;
        }
        let named = entry.finish(&self.files);
        match &named {
            Ok(()) => _ = lock(&self.unsettled).remove(&entry.blob),
            Err(error) => tracing::warn!("{} has no name yet: {error}", entry.blob.short()),
        }
        named.is_ok()
    }

    fn look(&self, blob: BlobId) -> io::Result<(Option<Entry>, Option<Link>)> {
        if !self.files.may_have(blob)? {
            return Ok((None, None));
        }
        if let Some(data) = self.files.read(blob, Kind::Data)? {
            let size = data.metadata()?.len();
            // What is not whole was lost in a crash of the machine.
            if let Some(Tree(tree)) = self.tree(blob, size)?
                && is_sound(blob, size, &data)
            {
                let via = match self.via_of_whole(blob)? {
                    None => entry::end_of_finish(&self.files, blob)?,
                    via => via,
                };
                return Ok((Some(Entry::whole((blob, size), data, tree, via)), None));
            }
        }
        let link = self.read_link(blob)?;
        if let Some(outside) = &link
            && let Some(entry) = self.linked(blob, outside)?
        {
            return Ok((Some(entry), link));
        }
        Ok((Entry::resume(&self.files, blob)?, link))
    }

    /// Opens one that lies outside of the store; none where it does not look as it did.
    fn linked(&self, blob: BlobId, link: &Link) -> io::Result<Option<Entry>> {
        let Some(data) = link.open() else { return Ok(None) };
        let tree = self.tree(blob, link.size)?;
        Ok(tree.map(|Tree(tree)| Entry::linked((blob, link.size), data, tree)))
    }

    /// Opens the hashes of a content of so many bytes, if it has any; none where they lack.
    fn tree(&self, blob: BlobId, size: u64) -> io::Result<Option<Tree>> {
        if block_count(size) <= 1 {
            return Ok(Some(Tree(None)));
        }
        let tree = self.files.read(blob, Kind::Tree)?;
        Ok(tree.map(|tree| Tree(Some(tree))))
    }

    /// Gives what is all here its name, unless something took its place.
    fn finish(&self, entry: &Entry) -> io::Result<()> {
        let slot = self.open.slot(entry.blob);
        let mut state = slot.lock();
        state.known = None;
        entry.finish(&self.files)?;
        lock(&self.unsettled).remove(&entry.blob);
        Ok(())
    }

    fn via(&self, blob: BlobId) -> io::Result<Option<Via>> {
        let slot = self.open.slot(blob);
        let mut state = slot.lock();
        if let Some(entry) = state.entry.upgrade() {
            return Ok(entry.via());
        }
        match state.known {
            Some(Known::Absent | Known::Remains | Known::Linked(_)) => return Ok(None),
            Some(Known::Whole { via, .. }) => return Ok(via),
            None => {}
        }
        if let Some(via) = self.via_of_whole(blob)? {
            return Ok(Some(via));
        }
        let here = |kind| self.files.path(blob, kind).exists();
        if here(Kind::Data) && here(Kind::Have) {
            // An end in the middle of something left that: looked at, it is one or the other.
            return Ok(self.entry_in(&mut state, blob)?.and_then(|entry| entry.via()));
        }
        if here(Kind::Data) || here(Kind::Link) {
            return Ok(None);
        }
        let have = self.files.read(blob, Kind::Have)?;
        have.map_or(Ok(None), |have| Have::via_in(&have))
    }

    fn is_whole_by(&self, blob: BlobId, via: Via) -> io::Result<bool> {
        if self.via(blob)? != Some(via) {
            return Ok(false);
        }
        let entry = self.entry(blob)?;
        Ok(entry.is_some_and(|entry| entry.is_whole() && entry.via() == Some(via)))
    }

    fn forget_via(&self, blob: BlobId) -> io::Result<()> {
        let slot = self.open.slot(blob);
        let mut state = slot.lock();
        if let Some(Known::Whole { via, .. }) = &mut state.known {
            *via = None;
        }
        self.files.remove(blob, Kind::Via)
    }

    fn via_of_whole(&self, blob: BlobId) -> io::Result<Option<Via>> {
        let via = self.files.read(blob, Kind::Via)?;
        via.map_or(Ok(None), |via| Have::via_in(&via))
    }

    /// Returns where a content lies outside of the store, or lay.
    fn link(&self, state: &State, blob: BlobId) -> io::Result<Option<Link>> {
        match &state.known {
            Some(Known::Linked(link)) => Ok(Some(link.clone())),
            _ => self.read_link(blob),
        }
    }

    fn read_link(&self, blob: BlobId) -> io::Result<Option<Link>> {
        let bytes = files::missing(std::fs::read(self.files.path(blob, Kind::Link)))?;
        Ok(bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok()))
    }

    fn held(&self, blob: BlobId) -> io::Result<Held> {
        let slot = self.open.slot(blob);
        let mut state = slot.lock();
        if let Some(Known::Whole { size, .. }) = state.known {
            return Ok(Held::whole(size));
        }
        let Some(entry) = self.entry_in(&mut state, blob)? else {
            let changed = !matches!(state.known, Some(Known::Absent | Known::Remains));
            return Ok(Held { changed, ..Held::nothing() });
        };
        let (blocks, size) = (entry.blocks(), Some(entry.size));
        let complete = blocks == Blocks::from(0..block_count(entry.size));
        if complete {
            // Whoever wrote its last block does the same, and may have failed.
            self.name(&entry);
        }
        Ok(Held { size, blocks, complete, changed: false })
    }

    fn remove_in(&self, state: &mut State, blob: BlobId) -> io::Result<()> {
        state.abandon();
        lock(&self.unsettled).remove(&blob);
        Kind::ALL.iter().try_for_each(|kind| self.files.remove(blob, *kind))
    }

    fn export(&self, entry: &Entry, target: &Path, seen: &mut dyn FnMut(u64)) -> io::Result<()> {
        let mut to = std::fs::File::create_new(target)?;
        if entry.linked {
            // It may have been changed: only what fits its hash is written.
            let good = entry::good_blocks(entry.blob, entry.size, &entry.data, entry.tree.as_ref());
            if good != Blocks::from(0..block_count(entry.size)) {
                return Err(io::Error::other("the file that it was sent from was changed"));
            }
        }
        // A file of its own, since a place to read from belongs to the opened file. Between plain files
        // the system copies by itself, and shares the bytes where it can.
        let from = if entry.linked {
            self.read_link(entry.blob)?.and_then(|link| link.open())
        } else if let Some(data) = self.files.read(entry.blob, Kind::Data)? {
            Some(data)
        } else {
            self.files.read(entry.blob, Kind::Part)?
        };
        let mut from = from.ok_or(io::ErrorKind::NotFound)?;
        let copied = io::copy(&mut from, &mut to)?;
        seen(copied);
        if copied != entry.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Here, where it is open to be written: other systems refuse it to who reads.
        to.sync_all()
    }
}

/// Whether this is the content without bytes.
fn is_empty(blob: BlobId) -> bool {
    blob.0 == *bao_tree::blake3::hash(b"").as_bytes()
}

/// Whether a file of one block at most has its hash. It has no tree that was made durable before it, so a
/// crash of the machine may have left less of it, or nothing.
fn is_sound(blob: BlobId, size: u64, data: &std::fs::File) -> bool {
    match block_count(size) {
        0 => is_empty(blob),
        1 => !entry::good_blocks(blob, size, data, None).is_empty(),
        _ => true,
    }
}

fn broken(inner: &Inner, error: io::Error) -> Error {
    let folder = inner.files.folder().display();
    cannot(format!("the folder of pictures and files {folder} cannot be used"))(error)
}

/// Tells what could not be done, and of a full disk what to do.
fn cannot(what: String) -> impl FnOnce(io::Error) -> Error {
    move |error| {
        if error.kind() != io::ErrorKind::StorageFull {
            return Error::io(what)(error);
        }
        // What was found before anything was written says what is lacking.
        let found = error.raw_os_error().is_none().then(|| error.to_string());
        let full = || format!("{what}: the disk is full; free some space and try again");
        Error::Store(found.unwrap_or_else(full))
    }
}

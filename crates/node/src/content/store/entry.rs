//! One content that is open: its bytes, its hashes, and which blocks of it are here.

use std::fs::{File, OpenOptions};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ayni_core::id::BlobId;
use ayni_core::swarm::{BLOCK_BYTES, Blocks, block_count};
use bao_tree::io::BaoContentItem;
use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::ReadAt as _;
use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges};
use tokio::sync::watch;

use super::early::Early;
use super::files::{Files, Kind, write_at};
use super::have::Have;
use super::via::Via;
use crate::content::blocks::from_chunks;

/// The blocks of the tree are those of the swarm: 16 chunks of 1 KiB.
pub(super) const BLOCK: BlockSize = BlockSize::from_chunk_log(4);

/// An open content.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) blob: BlobId,
    pub(super) size: u64,
    pub(super) data: File,
    /// Its hashes; none for a content of one block.
    pub(super) tree: Option<File>,
    /// Whether the data lies outside of the store, where others may change it.
    pub(super) linked: bool,
    /// By what a whole one came, where that is still to be written down.
    via: Option<Via>,
    /// What is here of an unfinished one.
    part: Option<Part>,
}

#[derive(Debug)]
struct Part {
    have: Mutex<Have>,
    blocks: watch::Sender<Blocks>,
    early: Early,
    /// Whether it has the name of a whole one, or another one took its place.
    finished: Mutex<bool>,
}

/// Hashes that belong one after another in a file, written at once: there is one pair for each block.
struct Gathered<'a> {
    file: &'a File,
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> Gathered<'a> {
    fn new(file: &'a File) -> Self {
        Self { file, at: 0, bytes: Vec::new() }
    }

    fn add(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if at != self.at + self.bytes.len() as u64 {
            self.write()?;
            self.at = at;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        if !self.bytes.is_empty() {
            write_at(self.file, self.at, &self.bytes)?;
            self.at += self.bytes.len() as u64;
            self.bytes.clear();
        }
        Ok(())
    }
}

impl Part {
    /// See [`Entry::sync`].
    fn distrust(&self) {
        if let Err(error) = lock(&self.have).forget() {
            tracing::error!("what may not be on the disk counts as if it were: {error}");
        }
    }
}

impl Entry {
    pub(super) fn whole(
        (blob, size): (BlobId, u64),
        data: File,
        tree: Option<File>,
        via: Option<Via>,
    ) -> Self {
        Self { blob, size, data, tree, linked: false, via, part: None }
    }

    /// One that lies outside of the store.
    pub(super) fn linked((blob, size): (BlobId, u64), data: File, tree: Option<File>) -> Self {
        Self { blob, size, data, tree, linked: true, via: None, part: None }
    }

    /// Begins one of which nothing is here. Its space is taken from the disk, where the system can; where
    /// that fails nothing is left of it.
    pub(super) fn begin(files: &Files, (blob, size): (BlobId, u64), via: Via) -> io::Result<Self> {
        files.make_shelf(blob)?;
        let begun = Self::make(files, (blob, size), via);
        if begun.is_err() {
            for kind in [Kind::Have, Kind::Part, Kind::Tree] {
                let _ = files.remove(blob, kind); // the first error is the one to tell
            }
        }
        begun
    }

    fn make(files: &Files, (blob, size): (BlobId, u64), via: Via) -> io::Result<Self> {
        let create = |kind| {
            let mut options = super::files::private();
            options.read(true).write(true).create(true).truncate(true);
            options.open(files.path(blob, kind))
        };
        let data = create(Kind::Part)?;
        allocate(&data, size)?;
        let tree = (block_count(size) > 1).then(|| create(Kind::Tree)).transpose()?;
        // Last: without it the others count for nothing.
        let have = Have::create(&files.path(blob, Kind::Have), size, via)?;
        Ok(Self::unfinished(blob, data, tree, have))
    }

    /// Opens one that was begun; none where it is not whole in itself.
    pub(super) fn resume(files: &Files, blob: BlobId) -> io::Result<Option<Self>> {
        let Some(have) = super::files::missing(Have::open(&files.path(blob, Kind::Have)))? else {
            return Ok(None);
        };
        let Some((have, holds)) = have else { return Ok(None) };
        let open = |kind| {
            let mut options = OpenOptions::new();
            super::files::missing(options.read(true).write(true).open(files.path(blob, kind)))
        };
        let Some(data) = open(Kind::Part)? else { return Ok(None) };
        let tree = open(Kind::Tree)?;
        let size = have.size();
        if tree.is_none() && block_count(size) > 1 {
            return Ok(None);
        }
        if holds {
            return Ok(Some(Self::unfinished(blob, data, tree, have)));
        }
        // The machine was restarted: what the hashes prove is here.
        let good = good_blocks(blob, size, &data, tree.as_ref());
        let mut have = Have::create(&files.path(blob, Kind::Have), size, have.via())?;
        have.add(&good)?;
        Ok(Some(Self::unfinished(blob, data, tree, have)))
    }

    fn unfinished(blob: BlobId, data: File, tree: Option<File>, have: Have) -> Self {
        let (size, blocks) = (have.size(), watch::Sender::new(have.blocks().clone()));
        let (have, finished) = (Mutex::new(have), Mutex::new(false));
        let part = Some(Part { have, blocks, early: Early::default(), finished });
        Self { blob, size, data, tree, linked: false, via: None, part }
    }

    /// Returns the shape of its tree.
    pub(super) fn shape(&self) -> BaoTree {
        BaoTree::new(self.size, BLOCK)
    }

    /// Returns the blocks that are here.
    pub(crate) fn blocks(&self) -> Blocks {
        match &self.part {
            Some(part) => lock(&part.have).blocks().clone(),
            None => Blocks::from(0..block_count(self.size)),
        }
    }

    /// Whether all of it is here.
    pub(crate) fn is_whole(&self) -> bool {
        self.blocks() == Blocks::from(0..block_count(self.size))
    }

    /// Returns what hears of the blocks that are here; none of one that is finished.
    pub(crate) fn watch(&self) -> Option<watch::Receiver<Blocks>> {
        self.part.as_ref().map(|part| part.blocks.subscribe())
    }

    /// Returns its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Writes what was verified. Returns whether all of it is here by that.
    pub(super) fn write(&self, items: &[BaoContentItem]) -> io::Result<bool> {
        let Some(part) = &self.part else { return Ok(true) };
        let shape = self.shape();
        let mut written = Blocks::empty();
        let mut hashes = self.tree.as_ref().map(Gathered::new);
        for item in items {
            match item {
                BaoContentItem::Parent(parent) => {
                    // Below a block nothing is kept.
                    let place = shape.pre_order_offset(parent.node);
                    if let Some((tree, place)) = hashes.as_mut().zip(place) {
                        tree.add(place * 64, parent.pair.0.as_bytes())?;
                        tree.add(place * 64 + 32, parent.pair.1.as_bytes())?;
                    }
                }
                BaoContentItem::Leaf(leaf) => {
                    let block = leaf.offset / BLOCK_BYTES;
                    let len = self.size.saturating_sub(leaf.offset).min(BLOCK_BYTES);
                    // A part of a block is verified, but cannot be proved to others alone.
                    if leaf.offset % BLOCK_BYTES == 0 && leaf.data.len() as u64 == len {
                        write_at(&self.data, leaf.offset, &leaf.data)?;
                        written |= Blocks::from(block..block + 1);
                    }
                }
            }
        }
        hashes.map_or(Ok(()), |mut hashes| hashes.write())?;
        let mut have = lock(&part.have);
        have.add(&written)?;
        let blocks = have.blocks().clone();
        drop(have);
        let whole = blocks == Blocks::from(0..block_count(self.size));
        part.blocks.send_replace(blocks);
        Ok(whole)
    }

    /// Notes that so much of it was written. Returns whether [`Self::sync_early`] is to be called now.
    pub(super) fn note_written(&self, bytes: u64) -> bool {
        self.part.as_ref().is_some_and(|part| part.early.note(bytes))
    }

    /// Brings what came so far to the disk.
    pub(super) fn sync_early(&self) {
        if let Some(part) = &self.part {
            part.early.sync(&self.data);
            if part.early.check().is_err() {
                part.distrust();
            }
        }
    }

    /// Brings what is here to the disk. Where that fails, what is here counts for nothing from the next opening
    /// on: the system tells only once that it could not write, and what it has in memory may not be on the
    /// disk.
    fn sync(&self, part: &Part) -> io::Result<()> {
        let synced = self.data.sync_all();
        let synced = synced.and_then(|()| self.tree.as_ref().map_or(Ok(()), File::sync_all));
        let synced = synced.and_then(|()| part.early.check());
        if synced.is_err() {
            part.distrust();
        }
        synced
    }

    /// Returns by what it came, as far as that is not written down.
    pub(crate) fn via(&self) -> Option<Via> {
        self.part.as_ref().map(|part| lock(&part.have).via()).or(self.via)
    }

    /// Whether it has the name of a whole one.
    pub(super) fn is_finished(&self) -> bool {
        self.part.as_ref().is_none_or(|part| *lock(&part.finished))
    }

    /// Notes that something else brings more of an unfinished one.
    pub(super) fn mix(&self) -> io::Result<()> {
        self.part.as_ref().map_or(Ok(()), |part| lock(&part.have).mix())
    }

    /// Lets another one take its place under its name. What has it open goes on with it.
    pub(super) fn abandon(&self) {
        if let Some(part) = &self.part {
            *lock(&part.finished) = true;
        }
    }

    /// Makes a finished one durable under its own name. What has it open goes on with it.
    pub(super) fn finish(&self, files: &Files) -> io::Result<()> {
        let Some(part) = &self.part else { return Ok(()) };
        // Whoever comes second waits for it.
        let mut finished = lock(&part.finished);
        if *finished {
            return Ok(());
        }
        // One block is hashed whenever it is read: a crash of the machine cannot make it look whole.
        if self.tree.is_some() {
            self.sync(part)?;
        }
        let (from, to) = (files.path(self.blob, Kind::Part), files.path(self.blob, Kind::Data));
        std::fs::rename(from, to)?;
        *finished = true;
        keep_via(files, self.blob, lock(&part.have).via())?;
        files.remove(self.blob, Kind::Link)
    }

    /// Brings what is here of an unfinished one to the disk, and notes that.
    pub(super) fn settle(&self) -> io::Result<()> {
        let Some(part) = &self.part else { return Ok(()) };
        // What is noted as here is on the disk then; where more came meanwhile, that is not.
        let before = lock(&part.have).blocks().clone();
        self.sync(part)?;
        let mut have = lock(&part.have);
        if *have.blocks() == before { have.settle() } else { Ok(()) }
    }

    /// Reads bytes of blocks that are here; fewer at the end. What lies outside of the store is compared
    /// with its hashes.
    pub(crate) fn checked(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.read_at(offset, bytes)?;
        if self.linked && !bytes.is_empty() {
            let chunks = ChunkNum(offset / 1024)..ChunkNum((offset + read as u64).div_ceil(1024));
            // Of a length that fits in memory, since it is what was read.
            self.encode(&ChunkRanges::from(chunks), |_| Ok(()))?;
        }
        Ok(read)
    }

    /// Reads bytes of blocks that are here; fewer at the end.
    pub(super) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < bytes.len() {
            let rest = bytes.get_mut(read..).unwrap_or_default();
            match self.data.read_at(offset + read as u64, rest)? {
                0 => break,
                some => read += some,
            }
        }
        Ok(read)
    }
}

/// Keeps by what a content came that just became whole.
fn keep_via(files: &Files, blob: BlobId, via: Via) -> io::Result<()> {
    if via == Via::Mixed {
        return files.remove(blob, Kind::Have);
    }
    let (have, place) = (files.path(blob, Kind::Have), files.path(blob, Kind::Via));
    super::files::missing(std::fs::rename(have, place)).map(drop)
}

/// Completes [`Entry::finish`] for a whole content, where it was ended after the first of its two renames.
/// Returns by what it came, where that is still to be written down.
pub(super) fn end_of_finish(files: &Files, blob: BlobId) -> io::Result<Option<Via>> {
    let Some(have) = files.read(blob, Kind::Have)? else { return Ok(None) };
    // Where a part lies beside it, what was imported took its place, and was ended before it deleted that.
    let imported = files.path(blob, Kind::Part).exists();
    let via = Have::via_in(&have)?.filter(|via| !imported && *via != Via::Mixed);
    drop(have);
    match via {
        Some(via) => keep_via(files, blob, via)?,
        None => files.remove(blob, Kind::Have)?,
    }
    Ok(via)
}

/// Returns the blocks whose data fits the hashes.
pub(super) fn good_blocks(blob: BlobId, size: u64, data: &File, tree: Option<&File>) -> Blocks {
    let root = bao_tree::blake3::Hash::from_bytes(blob.0);
    let shape = BaoTree::new(size, BLOCK);
    let mut good = ChunkRanges::empty();
    let all = ChunkRanges::all();
    let ranges: Vec<_> = if let Some(tree) = tree {
        let outboard = PreOrderOutboard { root, tree: shape, data: tree };
        bao_tree::io::sync::valid_ranges(outboard, data, &all).into_iter().collect()
    } else {
        let outboard = PreOrderOutboard { root, tree: shape, data: &[][..] };
        bao_tree::io::sync::valid_ranges(outboard, data, &all).into_iter().collect()
    };
    for range in ranges.into_iter().flatten() {
        good |= ChunkRanges::from(range);
    }
    from_chunks(&good, size)
}

fn allocate(file: &File, size: u64) -> io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    match fs4::FileExt::allocate(file, size) {
        // Not every file system can.
        Err(error) if error.kind() != io::ErrorKind::StorageFull => file.set_len(size),
        other => other,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Taking files and bytes in.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::path::Path;
use std::sync::mpsc;

use ayni_core::id::BlobId;
use ayni_core::swarm::block_count;
use bao_tree::BaoTree;
use bao_tree::blake3::Hash;
use bao_tree::io::BaoContentItem;
use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::CreateOutboard as _;
use bytes::Bytes;
use tempfile::{NamedTempFile, TempPath};

use super::entry::BLOCK;
use super::files::{Files, Kind, Link};
use super::space::{self, Free};

/// Bytes that are read at a time: long enough that hashing is not interrupted by reading.
const READ: usize = 1024 * 1024;
/// Pieces that are read ahead of hashing.
const AHEAD: usize = 2;

/// Bytes that a reader brings between two looks at the space that is left.
const LOOK: u64 = 64 * 1024 * 1024;

/// A file that was hashed.
struct Hashed {
    blob: BlobId,
    size: u64,
    tree: Option<TempPath>,
}

/// What is ready to be taken in under its name. It is deleted where it is not.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) blob: BlobId,
    pub(super) size: u64,
    tree: Option<TempPath>,
    what: What,
}

impl Ready {
    /// Returns where it lies, if that is outside of the store.
    pub(super) fn link(&self) -> Option<&Link> {
        match &self.what {
            What::Own(_) => None,
            What::Link(link) => Some(link),
        }
    }
}

/// What is there before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// All of it, in the store.
    pub(super) here: bool,
    /// Nothing at all.
    pub(super) nothing: bool,
}

#[derive(Debug)]
enum What {
    /// A file of the store's own.
    Own(TempPath),
    /// One that stays where it is.
    Link(Link),
}

/// Copies a file. Where the file system can, both share their bytes.
pub(super) fn copy(
    (files, free): (&Files, Free),
    path: &Path,
    seen: &mut dyn FnMut(u64),
) -> io::Result<Ready> {
    // The copy's mode would be the source's, which may be read-only.
    let mut source = File::open(path)?;
    space::check(free, files.folder(), source.metadata()?.len())?;
    let fresh = files.fresh()?;
    io::copy(&mut source, &mut fresh.as_file())?;
    own(files, fresh, seen)
}

/// Takes what a reader brings.
pub(super) fn read(
    (files, free): (&Files, Free),
    mut from: impl Read,
    seen: &mut dyn FnMut(u64),
) -> io::Result<Ready> {
    let fresh = files.fresh()?;
    loop {
        space::check(free, files.folder(), 0)?;
        if io::copy(&mut from.by_ref().take(LOOK), &mut fresh.as_file())? < LOOK {
            return own(files, fresh, seen);
        }
    }
}

fn own(files: &Files, fresh: NamedTempFile, seen: &mut dyn FnMut(u64)) -> io::Result<Ready> {
    let Hashed { blob, size, tree } = hash(files, fresh.as_file(), seen)?;
    if tree.is_some() {
        fresh.as_file().sync_all()?;
    }
    Ok(Ready { blob, size, tree, what: What::Own(fresh.into_temp_path()) })
}

/// Returns the bytes of a content of one block that was verified; none where it did not come as a whole.
pub(super) fn verified(size: u64, items: Vec<BaoContentItem>) -> Option<Bytes> {
    items.into_iter().find_map(|item| match item {
        BaoContentItem::Leaf(leaf) if leaf.offset == 0 && leaf.data.len() as u64 == size => {
            Some(leaf.data)
        }
        _ => None,
    })
}

/// Lays out a content of one block.
pub(super) fn block(files: &Files, blob: BlobId, bytes: &[u8]) -> io::Result<Ready> {
    let mut fresh = files.fresh()?;
    fresh.write_all(bytes)?;
    let (size, what) = (bytes.len() as u64, What::Own(fresh.into_temp_path()));
    Ok(Ready { blob, size, tree: None, what })
}

/// Looks at a file that stays where it is.
pub(super) fn link(files: &Files, path: &Path, seen: &mut dyn FnMut(u64)) -> io::Result<Ready> {
    let file = File::open(path)?;
    let before = Link::of(path, &file)?;
    let Hashed { blob, size, tree } = hash(files, &file, seen)?;
    if Link::of(path, &file)? != before || size != before.size {
        return Err(io::Error::other("it was changed while it was read: try again"));
    }
    Ok(Ready { blob, size, tree, what: What::Link(before) })
}

/// Gives it its name, instead of what is there. The content is locked by the caller, and what has it
/// open goes on with what it has.
pub(super) fn keep(files: &Files, ready: Ready, before: Before) -> io::Result<()> {
    let Ready { blob, tree, what, .. } = ready;
    if matches!(what, What::Link(_)) && before.here {
        return Ok(());
    }
    if let Some(tree) = tree {
        files.keep(tree, blob, Kind::Tree)?;
    }
    let others = match what {
        What::Own(fresh) => {
            files.keep(fresh, blob, Kind::Data)?;
            Kind::Link
        }
        What::Link(link) => {
            let mut note = files.fresh()?;
            let bytes = postcard::to_stdvec(&link).map_err(io::Error::other)?;
            note.write_all(&bytes)?;
            files.keep(note.into_temp_path(), blob, Kind::Link)?;
            // What is there is not whole.
            Kind::Data
        }
    };
    if before.nothing {
        return Ok(());
    }
    // Nobody of a room gave it.
    [Kind::Via, Kind::Have, Kind::Part, others]
        .into_iter()
        .try_for_each(|kind| files.remove(blob, kind))
}

/// Hashes a file and writes its tree, which is on the disk then.
fn hash(files: &Files, mut file: &File, seen: &mut dyn FnMut(u64)) -> io::Result<Hashed> {
    let size = file.metadata()?.len();
    file.rewind()?;
    let (blob, hashes) = if size <= READ as u64 {
        hash_from(size, Counted { from: file, read: 0, seen })?
    } else {
        std::thread::scope(|scope| {
            let (give, pieces) = mpsc::sync_channel(AHEAD);
            let (give_back, read) = mpsc::channel();
            scope.spawn(move || read_ahead(file, &give, &read));
            let ahead = Ahead { pieces, read: give_back, piece: Vec::new(), at: 0 };
            hash_from(size, Counted { from: ahead, read: 0, seen })
        })?
    };
    let tree = hashes.map(|hashes| {
        let tree = files.fresh()?;
        tree.as_file().write_all(&hashes)?;
        tree.as_file().sync_all()?;
        Ok::<_, io::Error>(tree.into_temp_path())
    });
    Ok(Hashed { blob, size, tree: tree.transpose()? })
}

/// Hashes what a reader brings of `size` bytes; returns also the hashes of its blocks, if it has several.
fn hash_from(size: u64, reader: impl Read) -> io::Result<(BlobId, Option<Vec<u8>>)> {
    let (root, shape) = (Hash::from_bytes([0; 32]), BaoTree::new(size, BLOCK));
    let mut hashes = vec![0; usize::try_from(shape.outboard_size()).map_err(io::Error::other)?];
    let mut outboard = PreOrderOutboard { root, tree: shape, data: &mut hashes[..] };
    outboard.init_from(reader)?;
    let blob = BlobId(*outboard.root.as_bytes());
    Ok((blob, (block_count(size) > 1).then_some(hashes)))
}

/// Reads a file in pieces until its end, an error, or nobody wants more; reuses those that were read.
fn read_ahead(
    mut file: &File,
    give: &mpsc::SyncSender<io::Result<Vec<u8>>>,
    read: &mpsc::Receiver<Vec<u8>>,
) {
    loop {
        let mut piece = read.try_recv().unwrap_or_else(|_| Vec::with_capacity(READ));
        piece.clear();
        let came = Read::by_ref(&mut file).take(READ as u64).read_to_end(&mut piece);
        let ends = came.as_ref().is_ok_and(|came| *came == 0) || came.is_err();
        if give.send(came.map(|_| piece)).is_err() || ends {
            return;
        }
    }
}

/// A file that another thread reads, so that hashing waits for the disk only where that is the slower one.
struct Ahead {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    read: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Ahead {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            // After the end there is nothing more, and nobody who says so.
            let next = self.pieces.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
            // Who reads may be through.
            let _ = self.read.send(std::mem::replace(&mut self.piece, next));
            self.at = 0;
        }
        let read = self.piece.get(self.at..).unwrap_or_default().read(bytes)?;
        self.at += read;
        Ok(read)
    }
}

struct Counted<'a, R> {
    from: R,
    read: u64,
    seen: &'a mut dyn FnMut(u64),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(bytes)?;
        self.read += read as u64;
        (self.seen)(self.read);
        Ok(read)
    }
}

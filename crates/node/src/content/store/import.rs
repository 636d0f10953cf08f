//! Taking files and bytes in.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::path::Path;

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
    let (root, shape) = (Hash::from_bytes([0; 32]), BaoTree::new(size, BLOCK));
    // One byte more than there is: the end is seen at once.
    let at_a_time = usize::try_from(size).unwrap_or(READ).saturating_add(1).min(READ);
    let reader = io::BufReader::with_capacity(at_a_time, Counted { file, read: 0, seen });
    let (root, tree) = if block_count(size) > 1 {
        let tree = files.fresh()?;
        let mut hashes = vec![0; usize::try_from(shape.outboard_size()).map_err(io::Error::other)?];
        let mut outboard = PreOrderOutboard { root, tree: shape, data: &mut hashes[..] };
        outboard.init_from(reader)?;
        let root = outboard.root;
        tree.as_file().write_all(&hashes)?;
        tree.as_file().sync_all()?;
        (root, Some(tree.into_temp_path()))
    } else {
        let mut outboard = PreOrderOutboard { root, tree: shape, data: &mut [][..] };
        outboard.init_from(reader)?;
        (outboard.root, None)
    };
    Ok(Hashed { blob: BlobId(*root.as_bytes()), size, tree })
}

struct Counted<'a> {
    file: &'a File,
    read: u64,
    seen: &'a mut dyn FnMut(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        self.read += read as u64;
        (self.seen)(self.read);
        Ok(read)
    }
}

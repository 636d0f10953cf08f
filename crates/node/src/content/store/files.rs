//! The files of the store: where they lie, and how they come to be there whole.
//!
//! Of a content there is one of: `data` (all of it), `link` (where it lies outside of the store), `part`
//! with `have` (some of it). Beside it, for more than one block, `tree`: the hashes between the blocks and
//! the root, in pre-order; and `via`, what `have` was, where it is still to be written down by what all of it
//! came. What is written first has another name, below `new`, and is renamed; but for a content of one block,
//! whose hash tells when less of it lies there.
//!
//! Invariant: whoever makes a file under a content's name notes that first ([`Files::note`]), so that
//! [`Files::may_have`] never overlooks it.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use ayni_core::id::BlobId;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// Contents that are brought to the disk one by one: of more, all that waits for the disk is.
#[cfg(target_os = "linux")]
const FEW: usize = 16;

/// What a file of a content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Tree,
    Part,
    Have,
    Via,
    Link,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Data, Self::Link, Self::Part, Self::Have, Self::Via, Self::Tree];

    fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Tree => "tree",
            Self::Part => "part",
            Self::Have => "have",
            Self::Via => "via",
            Self::Link => "link",
        }
    }
}

/// Folders that contents lie in, by the first byte of their names.
const SHELVES: usize = 256;

/// The folder of the store.
#[derive(Debug, Clone)]
pub(super) struct Files {
    folder: PathBuf,
    /// Of which contents there may be files, for each shelf that was looked into: bytes 2 to 5 of their names,
    /// of which none is taken out again. Nothing else writes here: so the many files of a folder that comes are
    /// not looked for one by one.
    names: Arc<[Mutex<Option<HashSet<u32>>>]>,
}

impl Files {
    /// Makes the folder where it is missing, and deletes what was not finished.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let names = (0..SHELVES).map(|_| Mutex::default()).collect();
        let files = Self { folder: folder.to_owned(), names };
        match std::fs::remove_dir_all(files.new_folder()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        builder.create(files.new_folder())?;
        Ok(files)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn new_folder(&self) -> PathBuf {
        self.folder.join("new")
    }

    /// Returns a file that is not yet of any content. It is deleted where it is not kept.
    pub(super) fn fresh(&self) -> io::Result<tempfile::NamedTempFile> {
        tempfile::Builder::new().tempfile_in(self.new_folder())
    }

    /// Returns where a file of a content lies.
    pub(super) fn path(&self, blob: BlobId, kind: Kind) -> PathBuf {
        self.shelf(blob).join(format!("{}.{}", HEXLOWER.encode(&blob.0), kind.name()))
    }

    /// Returns the folder in which a content's files lie.
    fn shelf(&self, blob: BlobId) -> PathBuf {
        self.folder.join(HEXLOWER.encode(blob.0.first_chunk::<1>().unwrap_or(&[0])))
    }

    /// Whether there may be files of a content: if not, there are none.
    pub(super) fn may_have(&self, blob: BlobId) -> io::Result<bool> {
        self.with_names(blob, |names, name| names.contains(&name))
    }

    /// Notes that files of a content are about to be made.
    pub(super) fn note(&self, blob: BlobId) -> io::Result<()> {
        self.with_names(blob, HashSet::insert).map(drop)
    }

    /// Looks into the names of a content's shelf, of which one may be this content's.
    fn with_names<T>(
        &self,
        blob: BlobId,
        look: impl FnOnce(&mut HashSet<u32>, u32) -> T,
    ) -> io::Result<T> {
        let [shelf, a, b, c, d, ..] = blob.0;
        let name = u32::from_be_bytes([a, b, c, d]);
        let Some(names) = self.names.get(usize::from(shelf)) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // Nobody makes a file there while the shelf is read: who does notes it first.
        let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
        let names = match &mut *names {
            Some(names) => names,
            none => none.insert(names_in(&self.shelf(blob))?),
        };
        Ok(look(names, name))
    }

    /// Makes the folder in which a content's files lie.
    pub(super) fn make_shelf(&self, blob: BlobId) -> io::Result<()> {
        self.note(blob)?;
        match std::fs::create_dir(self.shelf(blob)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes a content of one block straight to its place: what a kill leaves of it there does not have its
    /// hash. Returns whether it did: not where a file is there already.
    pub(super) fn place(&self, blob: BlobId, bytes: &[u8]) -> io::Result<bool> {
        self.note(blob)?;
        let path = self.path(blob, Kind::Data);
        let mut new = private();
        new.write(true).create_new(true);
        let file = match new.open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // The shelf is there, but for the first of it.
                self.make_shelf(blob)?;
                new.open(&path)
            }
            made => made,
        };
        let mut file = match file {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            file => file?,
        };
        let written = file.write_all(bytes);
        if written.is_err() {
            let _ = std::fs::remove_file(&path); // the first error is the one to tell
        }
        written.map(|()| true)
    }

    /// Gives a fresh file its place, instead of what is there.
    pub(super) fn keep(
        &self,
        file: tempfile::TempPath,
        blob: BlobId,
        kind: Kind,
    ) -> io::Result<()> {
        self.note(blob)?;
        let place = self.path(blob, kind);
        // The shelf is there, but for the first of it.
        let Err(missing) = file.persist(&place) else { return Ok(()) };
        if missing.error.kind() != ErrorKind::NotFound {
            return Err(missing.error);
        }
        self.make_shelf(blob)?;
        missing.path.persist(place).map_err(|error| error.error)
    }

    /// Opens a file of a content, to be read.
    pub(super) fn read(&self, blob: BlobId, kind: Kind) -> io::Result<Option<File>> {
        missing(File::open(self.path(blob, kind)))
    }

    /// Whether there is any file of a content.
    pub(super) fn has_any(&self, blob: BlobId) -> io::Result<bool> {
        let is_there = |kind: &Kind| self.path(blob, *kind).symlink_metadata().is_ok();
        Ok(self.may_have(blob)? && Kind::ALL.iter().any(is_there))
    }

    /// Deletes a file of a content, if it is there.
    pub(super) fn remove(&self, blob: BlobId, kind: Kind) -> io::Result<()> {
        // A shelf is read before anything of it goes: some file systems skip names while others go.
        if !self.may_have(blob)? {
            return Ok(());
        }
        missing(std::fs::remove_file(self.path(blob, kind))).map(drop)
    }

    /// Has the system bring to the disk what these contents consist of, and their names.
    pub(super) fn sync(&self, blobs: &[BlobId]) -> io::Result<()> {
        // All at once where the system can: one by one, ten thousand files take a minute on a disk.
        #[cfg(target_os = "linux")]
        if blobs.len() > FEW && rustix::fs::syncfs(File::open(&self.folder)?).is_ok() {
            return Ok(());
        }
        let mut shelves = std::collections::BTreeSet::new();
        for blob in blobs {
            for kind in [Kind::Data, Kind::Link, Kind::Tree] {
                let path = self.path(*blob, kind);
                // To be written: other systems than Linux refuse it for a file that is read.
                let Some(file) = missing(File::options().write(true).open(&path))? else {
                    continue;
                };
                file.sync_all()?;
                shelves.extend(path.parent().map(Path::to_owned));
            }
        }
        // The names themselves are durable only with their folder. Other systems cannot open one.
        #[cfg(unix)]
        for shelf in shelves.into_iter().chain([self.folder.clone()]) {
            File::open(shelf)?.sync_all()?;
        }
        Ok(())
    }

    /// Returns all contents of which there is any file.
    pub(super) fn all(&self) -> io::Result<Vec<BlobId>> {
        let mut all = Vec::new();
        for shelf in std::fs::read_dir(&self.folder)? {
            let shelf = shelf?.path();
            let is_shelf = shelf.file_name().is_some_and(|name| name.len() == 2);
            if !is_shelf || !shelf.is_dir() {
                continue;
            }
            for file in std::fs::read_dir(shelf)? {
                let path = file?.path();
                let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                let id = HEXLOWER.decode(stem.as_bytes()).ok();
                all.extend(id.and_then(|id| id.try_into().ok()).map(BlobId));
            }
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Returns how many bytes of the disk a content takes here: nothing of what is only referenced.
    pub(super) fn bytes_of(&self, blob: BlobId) -> u64 {
        let sizes = Kind::ALL.map(|kind| {
            std::fs::metadata(self.path(blob, kind)).map_or(0, |metadata| taken(&metadata))
        });
        sizes.iter().sum()
    }
}

/// Returns what [`Files::names`] has of a shelf.
fn names_in(shelf: &Path) -> io::Result<HashSet<u32>> {
    let Some(files) = missing(std::fs::read_dir(shelf))? else { return Ok(HashSet::new()) };
    let mut names = HashSet::new();
    for file in files {
        let file = file?.file_name();
        let name = file.as_encoded_bytes().get(2..10).unwrap_or_default();
        let name = HEXLOWER.decode(name).unwrap_or_default();
        names.extend(<[u8; 4]>::try_from(name).map(u32::from_be_bytes));
    }
    Ok(names)
}

/// What a file takes of its disk: a file that was given space and not filled takes all of it.
fn taken(metadata: &std::fs::Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::blocks(metadata).saturating_mul(512);
    #[cfg(not(unix))]
    metadata.len()
}

/// Writes all bytes at a place of a file, whoever else uses the file.
pub(super) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, offset);
    #[cfg(windows)]
    {
        let (mut offset, mut bytes) = (offset, bytes);
        while !bytes.is_empty() {
            let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
            offset += written as u64;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Returns how files are made that nobody else may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Turns "it is not there" into none.
pub(super) fn missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where a content lies outside of the store, and how that file looked when it was hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    /// When it was changed last, in nanoseconds since 1970.
    modified_ns: u128,
}

impl Link {
    /// Looks at a file.
    pub(super) fn of(path: &Path, file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { path: path.to_owned(), size: metadata.len(), modified_ns: modified.as_nanos() })
    }

    /// Opens the file if it looks as it did. None where it was changed, moved or deleted. One that was
    /// written twice within the clock's resolution may look the same: whoever is given it is given the
    /// hashes too, and what does not fit them is not sent.
    pub(super) fn open(&self) -> Option<File> {
        let file = File::open(&self.path).ok()?;
        let now = Self::of(&self.path, &file).ok()?;
        (now == *self).then_some(file)
    }
}

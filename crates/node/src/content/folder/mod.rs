//! Folders: a list of files with relative paths, as iroh-blobs' collections, which other tools read.

mod fetch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ayni_core::file_name::{self, Paths};
use ayni_core::id::BlobId;
use ayni_core::limits::MAX_FOLDER_FILES;
use futures_util::{StreamExt, TryStreamExt, stream};
use iroh_blobs::Hash;
use iroh_blobs::format::collection::Collection;

pub(super) use self::fetch::fetch;
use super::ask::hash;
use super::store::{Contents, Import, Imported};
use crate::error::{Error, Result};

/// Files of a folder that are taken in or fetched at a time: hides what each costs beside its bytes.
const AT_ONCE: usize = 8;
/// Bytes of the names of a folder's files, at most.
const MAX_NAMES: u64 = 32 * 1024 * 1024;
/// Bytes of a folder's list, at most.
const MAX_LIST: u64 = (MAX_FOLDER_FILES as u64 + 1) * 32;

/// A file of a folder: its path below it, with slashes, and its content.
pub(crate) type File = (String, BlobId);

/// A folder that was taken in.
pub(crate) struct ImportedFolder {
    pub(crate) root: BlobId,
    /// Bytes of all files together.
    pub(crate) size: u64,
    pub(crate) files: u64,
    /// All that it consists of: the names and every file.
    pub(crate) parts: Vec<BlobId>,
    /// To be held until the folder is named in the database.
    pub(crate) protected: Vec<super::store::Protected>,
}

/// Takes files in as a folder, each by the path that it gets there.
///
/// # Errors
/// [`Error::Invalid`] for too many; [`Error::Io`].
pub(crate) async fn import_listed(
    contents: &Contents,
    files: Vec<(String, PathBuf)>,
    how: Import,
) -> Result<ImportedFolder> {
    if files.len() > MAX_FOLDER_FILES {
        return Err(Error::Invalid(format!(
            "these are more than {MAX_FOLDER_FILES} files: send them as one archive"
        )));
    }
    let imported = stream::iter(files).map(|(name, path)| async move {
        let imported: Imported = contents.import(&path, how, |_| {}).await?;
        Ok::<_, Error>((name, imported))
    });
    let imported: Vec<(String, Imported)> = imported.buffered(AT_ONCE).try_collect().await?;
    of(contents, imported).await
}

/// Makes a folder of files that were taken in.
///
/// # Errors
/// [`Error::Io`].
pub(crate) async fn of(
    contents: &Contents,
    imported: Vec<(String, Imported)>,
) -> Result<ImportedFolder> {
    let size = imported.iter().map(|(_, file)| file.size).sum();
    let listed = imported.iter().map(|(name, file)| (name.clone(), hash(file.blob)));
    let collection: Collection = listed.collect();
    // The names, then the list that begins with them.
    let mut protected = Vec::with_capacity(imported.len() + 2);
    let mut root = BlobId(*Hash::EMPTY.as_bytes());
    for blob in collection.to_blobs() {
        let imported = contents.import_bytes(blob).await?;
        root = imported.blob;
        protected.push(imported.protected);
    }
    let parts = parts(contents, root).await?;
    let files = imported.len() as u64;
    protected.extend(imported.into_iter().map(|(_, file)| file.protected));
    Ok(ImportedFolder { root, size, files, parts, protected })
}

/// Finds the files below a folder, in the order of their paths. Symbolic links are left out: what they
/// lead to may be anything.
///
/// # Errors
/// [`Error::Invalid`] for an empty or too large one; [`Error::Io`].
pub(super) fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let (mut found, mut paths) = (BTreeMap::new(), Paths::default());
    for entry in walkdir::WalkDir::new(folder).follow_links(false).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let what = error.path().unwrap_or(folder).display().to_string();
            Error::io(format!("{what} cannot be read"))(error.into())
        })?;
        if !entry.file_type().is_file() {
            continue;
        }
        let path = entry.path();
        let below = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
        let Some(parts) = file_name::clean_path(&below) else {
            return Err(Error::Invalid(format!("the path {} is too long to send", path.display())));
        };
        // Two files whose names become the same stay two.
        found.insert(paths.place(&parts), path.to_owned());
        if found.len() > MAX_FOLDER_FILES {
            return Err(Error::Invalid(format!(
                "the folder {} has more than {MAX_FOLDER_FILES} files: send it as one archive",
                folder.display()
            )));
        }
    }
    if found.is_empty() {
        return Err(Error::Invalid(format!("the folder {} has no files", folder.display())));
    }
    Ok(found.into_iter().collect())
}

/// Returns the contents that a folder's list names, the names of its files among them.
///
/// # Errors
/// [`Error::Invalid`] for what is no list of a folder; [`Error::Store`].
pub(super) async fn parts(contents: &Contents, root: BlobId) -> Result<Vec<BlobId>> {
    let bytes = contents.bytes(root, MAX_LIST).await?;
    let (ids, rest) = bytes.as_chunks::<32>();
    if ids.is_empty() || !rest.is_empty() {
        return Err(Error::Invalid("this is not a folder".into()));
    }
    Ok(ids.iter().map(|id| BlobId(*id)).collect())
}

/// Returns the files of a folder whose list and names are here, by their clean paths.
///
/// # Errors
/// As [`parts`].
pub(crate) async fn files(contents: &Contents, root: BlobId) -> Result<Vec<File>> {
    let parts = parts(contents, root).await?;
    let names = parts.first().copied().unwrap_or(root);
    let names = contents.bytes(names, MAX_NAMES).await?;
    let names = read_names(&names, parts.len() - 1);
    let names = names.ok_or_else(|| Error::Invalid("this is not a folder".into()))?;
    let (mut found, mut paths) = (BTreeMap::new(), Paths::default());
    for (name, id) in names.into_iter().zip(parts.iter().skip(1)) {
        let Some(clean) = file_name::clean_path(name) else {
            return Err(Error::Invalid("a folder with a path that cannot be written".into()));
        };
        found.insert(paths.place(&clean), *id);
    }
    Ok(found.into_iter().collect())
}

/// Reads the names of a folder's files, of which there must be so many; none where these are not names.
///
/// Written by others: so many are counted before any is read, since an empty name is one byte there and
/// many here.
fn read_names(bytes: &[u8], count: usize) -> Option<Vec<&str>> {
    let (header, rest): ([u8; 13], _) = postcard::take_from_bytes(bytes).ok()?;
    let (said, mut rest): (u64, _) = postcard::take_from_bytes(rest).ok()?;
    if header != *Collection::HEADER || said != count as u64 {
        return None;
    }
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        let (name, left): (&str, _) = postcard::take_from_bytes(rest).ok()?;
        names.push(name);
        rest = left;
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_iroh_blobs_writes_them() {
        let named = |name: &str| (name.to_owned(), Hash::EMPTY);
        let collection: Collection = ["a/b.txt", "", "c"].into_iter().map(named).collect();
        let bytes = collection.to_blobs().next().expect("names come first");
        assert_eq!(read_names(&bytes, 3), Some(vec!["a/b.txt", "", "c"]));
        assert_eq!(read_names(&bytes, 2), None);
        assert_eq!(read_names(&bytes[..bytes.len() - 1], 3), None);
        assert_eq!(read_names(b"", 0), None);
    }

    #[test]
    fn hazard_25_a_list_of_millions_of_empty_names_is_not_read() {
        let mut bytes = Collection::HEADER.to_vec();
        bytes.extend(postcard::to_stdvec(&20_000_000u64).expect("written"));
        bytes.resize(bytes.len() + 20_000_000, 0);
        assert_eq!(read_names(&bytes, 3), None);
    }
}

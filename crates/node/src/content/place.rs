//! Putting what was fetched into its place: whole or not at all, never over something without being told
//! to, never through a link out of the folder, and once, whatever happens in between.
//!
//! What is written lies beside its place first, under a name that belongs to one transfer: what an
//! interrupted attempt left is found and replaced by the next one. The files of a folder are put into
//! such a folder; when all of them are on the disk it is marked as ready by another name, and its parts
//! are moved from there one by one. So an attempt that finds one that is ready goes on with moving.
//!
//! An attempt that fails takes what it wrote away, but for a folder that is ready; a transfer that is over
//! leaves neither ([`Placing::clear`]). After an interruption what is in its place already is known by its
//! content, also under another name that was chosen for it: it is not written twice.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ayni_core::file_name;
use ayni_core::id::BlobId;
use tempfile::TempPath;
use tokio_util::sync::CancellationToken;

use super::folder::{self, File};
use super::store::Contents;
use super::target::{Existing, exists, folder_of};
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::start::blocking;

/// Names that are tried for a file that may not replace another one.
const MAX_NUMBERED: u32 = 10_000;
/// The extension of a folder whose files are all there.
const READY: &str = "ready";

/// How one transfer puts what it fetched into its place.
#[derive(Debug, Clone)]
pub(super) struct Placing {
    /// The name of what lies beside the place until it is whole: the transfer's own.
    pub(super) beside: String,
    pub(super) existing: Existing,
    /// Whether an earlier attempt may have put it there already.
    pub(super) resumed: bool,
    /// Ends it before anything gets its place.
    pub(super) stop: CancellationToken,
}

impl Placing {
    /// Returns how a transfer of this number does so the first time.
    pub(super) fn of(inner: &Inner, id: u64, existing: Existing) -> Self {
        let beside = format!(".ayni-{}-{id}.part", inner.me().short());
        Self { beside, existing, resumed: false, stop: CancellationToken::new() }
    }

    /// Removes what attempts left below `base` that did not come to their end; `files` are those of a folder,
    /// of which each may have been written beside its own place.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) async fn clear(&self, base: PathBuf, files: Vec<File>) -> Result<()> {
        let beside = self.beside.clone();
        blocking(move || {
            let staged = base.join(&beside);
            remove(&staged)?;
            remove(&staged.with_extension(READY))?;
            let folders = files.iter().filter_map(|(name, _)| name.rsplit_once('/'));
            let folders: BTreeSet<&str> = folders.map(|(folder, _)| folder).collect();
            let mut within = folders.into_iter().filter(|folder| is_within(&base, folder));
            within.try_for_each(|folder| remove(&base.join(folder).join(&beside)))
        })
        .await
    }

    /// Writes a content to `path`; returns where it is now.
    ///
    /// # Errors
    /// [`Error::Denied`] where something is there and is to stay; [`Error::Io`].
    pub(super) async fn put_file(
        &self,
        contents: &Contents,
        blob: BlobId,
        path: &Path,
    ) -> Result<PathBuf> {
        let there = path.symlink_metadata().is_ok();
        if there && self.existing == Existing::Skip {
            return Ok(path.to_owned());
        }
        for place in self.places(path) {
            if self.did(contents, blob, &place).await? {
                return Ok(place);
            }
        }
        let beside = folder_of(path).join(&self.beside);
        let of_task = beside.clone();
        blocking(move || remove(&of_task)).await?;
        let beside = TempPath::try_from_path(beside).map_err(Error::io("no file can be made"))?;
        contents.export(blob, &beside, |_| {}).await?;
        self.go_on()?;
        let (path, existing) = (path.to_owned(), self.existing);
        blocking(move || keep(beside, path, existing)).await
    }

    /// Writes a folder's files below `path`, which is made. Returns it.
    ///
    /// # Errors
    /// As [`Self::put_file`].
    pub(super) async fn put_folder(
        &self,
        contents: &Contents,
        root: BlobId,
        path: &Path,
    ) -> Result<PathBuf> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.ok_or_else(|| Error::Invalid("the target has no name".into()))?;
        let files = folder::files(contents, root).await?;
        let placed = self.put(contents, folder_of(path), below(Some(&name), files)).await?;
        Ok(placed.into_iter().next().unwrap_or_else(|| path.to_owned()))
    }

    /// Writes a folder's files into another one, which may be there. Returns it.
    ///
    /// # Errors
    /// As [`Self::put_file`]; where one of them is there and is to stay, nothing is written.
    pub(super) async fn put_into(
        &self,
        contents: &Contents,
        root: BlobId,
        base: &Path,
    ) -> Result<PathBuf> {
        let made = base.to_owned();
        blocking(move || {
            let what = format!("the folder {} cannot be made", made.display());
            std::fs::create_dir_all(&made).map_err(Error::io(what))
        })
        .await?;
        let files = into(folder::files(contents, root).await?);
        self.put(contents, base, files).await?;
        Ok(base.to_owned())
    }

    /// Writes files below a folder that is there; returns where what lies directly in it is now.
    async fn put(
        &self,
        contents: &Contents,
        base: &Path,
        files: Vec<File>,
    ) -> Result<Vec<PathBuf>> {
        match self.existing {
            Existing::Overwrite | Existing::Skip => self.merge(contents, base, files).await,
            Existing::Refuse | Existing::Rename => self.stage(contents, base, files).await,
        }
    }

    /// Puts every file into its place by itself.
    async fn merge(
        &self,
        contents: &Contents,
        base: &Path,
        files: Vec<File>,
    ) -> Result<Vec<PathBuf>> {
        for (name, blob) in &files {
            let (base, name) = (base.to_owned(), name.clone());
            let place = blocking(move || make_folders(&base, &name)).await?;
            self.put_file(contents, *blob, &place).await?;
        }
        Ok(tops(&files).map(|top| base.join(top)).collect())
    }

    /// Puts all files beside their place, and then moves them all.
    async fn stage(
        &self,
        contents: &Contents,
        base: &Path,
        files: Vec<File>,
    ) -> Result<Vec<PathBuf>> {
        let staged = base.join(&self.beside);
        let ready = staged.with_extension(READY);
        let tops: Vec<String> = tops(&files).map(str::to_owned).collect();
        // Of an earlier attempt; a link there would lead elsewhere.
        let done = ready.symlink_metadata().is_ok_and(|there| there.is_dir());
        if !done {
            if let Some(placed) = self.did_all(contents, base, (&tops, &files)).await? {
                return Ok(placed);
            }
            let mut taken = tops.iter().map(|top| base.join(top));
            let taken = taken.find(|place| place.symlink_metadata().is_ok());
            if let Some(taken) = taken
                && self.existing == Existing::Refuse
            {
                return Err(exists(&taken));
            }
            let filled = self.fill(contents, &staged, files).await;
            let (staged, ready) = (staged.clone(), ready.clone());
            blocking(move || {
                let made = filled.and_then(|()| make_ready(&staged, &ready));
                if made.is_err() {
                    // It would fill the disk in vain. What kept it from being written keeps it from nothing
                    // else, and is told.
                    let _ = remove(&staged);
                }
                made
            })
            .await?;
        }
        let (base, existing) = (base.to_owned(), self.existing);
        blocking(move || move_all(&ready, &base, &tops, existing)).await
    }

    /// Writes files below a folder that is made anew.
    async fn fill(&self, contents: &Contents, folder: &Path, files: Vec<File>) -> Result<()> {
        let made = folder.to_owned();
        blocking(move || {
            remove(&made)?;
            let what = format!("the folder {} cannot be made", made.display());
            std::fs::create_dir(&made).map_err(Error::io(what))
        })
        .await?;
        for (name, blob) in files {
            self.go_on()?;
            let (base, of_task) = (folder.to_owned(), name.clone());
            let place = blocking(move || make_folders(&base, &of_task)).await?;
            contents.export(blob, &place, |_| {}).await?;
        }
        Ok(())
    }

    /// # Errors
    /// [`Error::Closed`] when it is to end.
    fn go_on(&self) -> Result<()> {
        if self.stop.is_cancelled() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Returns where an earlier attempt may have put something, as far as something is there.
    fn places(&self, path: &Path) -> Vec<PathBuf> {
        let most = match self.existing {
            _ if !self.resumed => 0,
            Existing::Rename => MAX_NUMBERED,
            _ => 2,
        };
        let there = |place: &PathBuf| place.symlink_metadata().is_ok();
        (1..most).map(|n| numbered(path, n)).take_while(there).collect()
    }

    /// Whether an earlier attempt put this content there.
    async fn did(&self, contents: &Contents, blob: BlobId, path: &Path) -> Result<bool> {
        if !self.resumed {
            return Ok(false);
        }
        let (path, size) = (path.to_owned(), contents.held(blob).await?.size);
        blocking(move || Ok(is_content(&path, blob, size))).await
    }

    /// Returns where an earlier attempt put what lies directly in a folder, if it put all of it there.
    async fn did_all(
        &self,
        contents: &Contents,
        base: &Path,
        (tops, files): (&[String], &[File]),
    ) -> Result<Option<Vec<PathBuf>>> {
        let mut all = Vec::new();
        for top in tops {
            let mut found = None;
            for place in self.places(&base.join(top)) {
                if self.did_top(contents, &place, (top, files)).await? {
                    found = Some(place);
                    break;
                }
            }
            let Some(place) = found else { return Ok(None) };
            all.push(place);
        }
        Ok(Some(all))
    }

    async fn did_top(
        &self,
        contents: &Contents,
        place: &Path,
        (top, files): (&str, &[File]),
    ) -> Result<bool> {
        for (name, blob) in files {
            let below = match name.split_once('/') {
                Some((first, below)) if first == top => place.join(below),
                None if name == top => place.to_owned(),
                _ => continue,
            };
            if !self.did(contents, *blob, &below).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns files of a folder with their paths in a folder of the user: their names are of others' choosing.
pub(super) fn into(files: Vec<File>) -> Vec<File> {
    files.into_iter().map(|(file, blob)| (shown(&file), blob)).collect()
}

/// Returns files of a folder with their paths in the one that it is put into under a name.
pub(super) fn below(name: Option<&str>, files: Vec<File>) -> Vec<File> {
    let name = name.unwrap_or_default();
    files.into_iter().map(|(file, blob)| (format!("{name}/{file}"), blob)).collect()
}

/// Checks that nothing is in the way of files of a ticket in a folder.
///
/// # Errors
/// [`Error::Denied`].
pub(super) fn check_into(files: &[File], base: &Path) -> Result<()> {
    let files = into(files.to_vec());
    let places = tops(&files).map(|top| base.join(top));
    let mut taken = places.filter(|place| place.symlink_metadata().is_ok());
    taken.next().map_or(Ok(()), |taken| Err(exists(&taken)))
}

/// Returns the names that lie directly in the folder, each once.
fn tops(files: &[File]) -> impl Iterator<Item = &str> {
    let tops = files.iter().map(|(name, _)| name.split('/').next().unwrap_or(name));
    tops.collect::<BTreeSet<_>>().into_iter()
}

/// Returns a path whose first component is not hidden.
fn shown(path: &str) -> String {
    match path.split_once('/') {
        Some((top, below)) => format!("{}/{below}", file_name::unhidden(top)),
        None => file_name::unhidden(path),
    }
}

/// Makes the folders above a file below `base`; returns the file's path.
///
/// # Errors
/// [`Error::Denied`] where one of them is a link: what it leads to is not the user's choice.
fn make_folders(base: &Path, name: &str) -> Result<PathBuf> {
    let mut place = base.to_owned();
    let (folders, file) = name.rsplit_once('/').unwrap_or(("", name));
    for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
        place.push(folder);
        let failed = || Error::io(format!("the folder {} cannot be made", place.display()));
        match place.symlink_metadata() {
            Ok(there) if there.is_dir() => {}
            Ok(_) => {
                let place = place.display();
                return Err(Error::Denied(format!("{place} is in the way: it is no folder")));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                std::fs::create_dir(&place).map_err(failed())?;
            }
            Err(error) => return Err(failed()(error)),
        }
    }
    Ok(place.join(file))
}

/// Whether a path below a folder leads through folders only, and no link.
fn is_within(base: &Path, below: &str) -> bool {
    let mut place = base.to_owned();
    below.split('/').all(|folder| {
        place.push(folder);
        place.symlink_metadata().is_ok_and(|there| there.is_dir())
    })
}

/// Removes what an attempt left under its own name. Links are removed, and not followed.
fn remove(beside: &Path) -> Result<()> {
    let removed = match beside.symlink_metadata() {
        Ok(there) if there.is_dir() => std::fs::remove_dir_all(beside),
        Ok(_) => std::fs::remove_file(beside),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(Error::io(format!("{} cannot be removed", beside.display())))
}

/// Puts all that lies below a folder onto the disk, and marks it as ready.
fn make_ready(staged: &Path, ready: &Path) -> Result<()> {
    let failed = || Error::io(format!("{} cannot be written", staged.display()));
    sync_below(staged).map_err(failed())?;
    std::fs::rename(staged, ready).map_err(failed())?;
    sync_folder(folder_of(ready)).map_err(failed())
}

/// Moves what lies in a ready folder into another one, and removes that.
fn move_all(
    ready: &Path,
    base: &Path,
    tops: &[String],
    existing: Existing,
) -> Result<Vec<PathBuf>> {
    let taken = |top: &&String| {
        let is_there = |path: PathBuf| path.symlink_metadata().is_ok();
        is_there(ready.join(top)) && is_there(base.join(top))
    };
    // All or nothing: it is looked before the first one is moved.
    if existing == Existing::Refuse
        && let Some(top) = tops.iter().find(taken)
    {
        return Err(exists(&base.join(top)));
    }
    let mut placed = Vec::new();
    for top in tops {
        let (from, mut place) = (ready.join(top), base.join(top));
        if from.symlink_metadata().is_err() {
            // An earlier attempt moved it.
            placed.push(place);
            continue;
        }
        if place.symlink_metadata().is_ok() {
            if existing == Existing::Refuse {
                return Err(exists(&place));
            }
            place = free_name(&place)?;
        }
        let failed = Error::io(format!("{} cannot be written", place.display()));
        std::fs::rename(&from, &place).map_err(failed)?;
        placed.push(place);
    }
    let failed = || Error::io(format!("{} cannot be written", base.display()));
    sync_folder(base).map_err(failed())?;
    // All of it is in its place: what is left is empty.
    std::fs::remove_dir_all(ready).map_err(failed())?;
    Ok(placed)
}

fn free_name(path: &Path) -> Result<PathBuf> {
    let mut names = (2..MAX_NUMBERED).map(|n| numbered(path, n));
    names.find(|it| it.symlink_metadata().is_err()).ok_or_else(|| exists(path))
}

/// Returns the name that is tried as the `n`th for a path; the first is its own.
fn numbered(path: &Path, n: u32) -> PathBuf {
    if n < 2 {
        return path.to_owned();
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(file_name::numbered(&name, n))
}

fn keep(beside: TempPath, path: PathBuf, existing: Existing) -> Result<PathBuf> {
    let failed = |path: &Path| Error::io(format!("{} cannot be written", path.display()));
    // For writing: other systems put nothing onto the disk for one who only reads.
    let written = std::fs::File::options().write(true).open(&beside);
    written.and_then(|file| file.sync_all()).map_err(failed(&path))?;
    let placed = if existing == Existing::Overwrite {
        beside.persist(&path).map_err(|error| failed(&path)(error.error))?;
        path
    } else {
        keep_new(beside, &path, existing)?
    };
    sync_folder(folder_of(&placed)).map_err(failed(&placed))?;
    Ok(placed)
}

fn keep_new(mut beside: TempPath, path: &Path, existing: Existing) -> Result<PathBuf> {
    let failed = |path: &Path| Error::io(format!("{} cannot be written", path.display()));
    let mut place = path.to_owned();
    for n in 2..MAX_NUMBERED {
        match beside.persist_noclobber(&place) {
            Ok(()) => return Ok(place),
            Err(error) if error.error.kind() != ErrorKind::AlreadyExists => {
                return Err(failed(&place)(error.error));
            }
            Err(error) => match existing {
                Existing::Skip => return Ok(place),
                Existing::Refuse => return Err(exists(path)),
                _ => {
                    beside = error.path;
                    place = numbered(path, n);
                }
            },
        }
    }
    Err(exists(path))
}

fn is_content(path: &Path, blob: BlobId, size: Option<u64>) -> bool {
    let hashed = || {
        let there = path.symlink_metadata()?;
        let plain = there.is_file() && size.is_none_or(|size| there.len() == size);
        let mut hasher = bao_tree::blake3::Hasher::new();
        if plain {
            std::io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
        }
        Ok::<_, std::io::Error>(plain && *hasher.finalize().as_bytes() == blob.0)
    };
    hashed().unwrap_or(false)
}

/// Puts all files below a folder onto the disk.
fn sync_below(folder: &Path) -> std::io::Result<()> {
    // All at once where the system can: one by one, ten thousand files take a minute on a disk.
    #[cfg(target_os = "linux")]
    if rustix::fs::syncfs(std::fs::File::open(folder)?).is_ok() {
        return Ok(());
    }
    for entry in walkdir::WalkDir::new(folder).follow_links(false).contents_first(true) {
        let entry = entry?;
        if entry.file_type().is_file() {
            std::fs::File::options().write(true).open(entry.path())?.sync_all()?;
        } else if entry.file_type().is_dir() {
            sync_folder(entry.path())?;
        }
    }
    Ok(())
}

/// Puts the names in a folder onto the disk. Other systems cannot open one.
#[cfg_attr(
    not(unix),
    expect(clippy::unnecessary_wraps, reason = "it fails where it does something")
)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    std::fs::File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(test)]
mod tests;

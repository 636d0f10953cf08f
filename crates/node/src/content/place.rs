//! Putting what was fetched into its place: whole or not at all, never over something without being told
//! to, never through a link out of the folder, and once, whatever happens in between.
//!
//! What is written lies beside its place first, under a name that belongs to one transfer: what an
//! interrupted attempt left is found and replaced by the next one. The files of a folder are put into
//! such a folder; when all of them are on the disk it is marked as ready by another name, and its parts
//! are moved from there one by one. So an attempt that finds one that is ready goes on with moving.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ayni_core::file_name;
use ayni_core::id::BlobId;
use tempfile::TempPath;

use super::folder::{self, File};
use super::store::Contents;
use super::target::{Existing, exists, folder_of};
use crate::error::{Error, Result};
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
}

impl Placing {
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
        if there && (self.existing == Existing::Skip || self.did(blob, path).await?) {
            return Ok(path.to_owned());
        }
        let beside = folder_of(path).join(&self.beside);
        let of_task = beside.clone();
        blocking(move || remove(&of_task)).await?;
        let beside = TempPath::try_from_path(beside).map_err(Error::io("no file can be made"))?;
        contents.export(blob, &beside, |_| {}).await?;
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
        let below = files.into_iter().map(|(file, blob)| (format!("{name}/{file}"), blob));
        let placed = self.put(contents, folder_of(path), below.collect()).await?;
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
        let files = folder::files(contents, root).await?;
        // Their names are of others' choosing, and the folder is the user's.
        let files = files.into_iter().map(|(file, blob)| (shown(&file), blob));
        self.put(contents, base, files.collect()).await?;
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
            let mut taken = tops.iter().map(|top| base.join(top));
            let taken = taken.find(|place| place.symlink_metadata().is_ok());
            if let Some(taken) = taken
                && self.existing == Existing::Refuse
            {
                if self.did_all(base, &files).await? {
                    return Ok(tops.iter().map(|top| base.join(top)).collect());
                }
                return Err(exists(&taken));
            }
            self.fill(contents, &staged, files).await?;
            let (staged, ready) = (staged.clone(), ready.clone());
            blocking(move || make_ready(&staged, &ready)).await?;
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
            let (base, of_task) = (folder.to_owned(), name.clone());
            let place = blocking(move || make_folders(&base, &of_task)).await?;
            contents.export(blob, &place, |_| {}).await?;
        }
        Ok(())
    }

    /// Whether an earlier attempt put this content there.
    async fn did(&self, blob: BlobId, path: &Path) -> Result<bool> {
        if !self.resumed {
            return Ok(false);
        }
        let path = path.to_owned();
        blocking(move || Ok(is_content(&path, blob))).await
    }

    async fn did_all(&self, base: &Path, files: &[File]) -> Result<bool> {
        for (name, blob) in files {
            if !self.did(*blob, &base.join(name)).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Checks that nothing is in the way of files of a ticket in a folder.
///
/// # Errors
/// [`Error::Denied`].
pub(super) fn check_into(files: &[File], base: &Path) -> Result<()> {
    let shown: Vec<File> = files.iter().map(|(file, blob)| (shown(file), *blob)).collect();
    let places = tops(&shown).map(|top| base.join(top));
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
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let names = (2..MAX_NUMBERED).map(|n| path.with_file_name(file_name::numbered(&name, n)));
    let free = names.into_iter().find(|it| it.symlink_metadata().is_err());
    free.ok_or_else(|| exists(path))
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
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
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
                    place = path.with_file_name(file_name::numbered(&name, n));
                }
            },
        }
    }
    Err(exists(path))
}

fn is_content(path: &Path, blob: BlobId) -> bool {
    let hashed = || {
        let plain = path.symlink_metadata()?.is_file();
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
mod tests {
    use super::super::store::Import;
    use super::*;

    struct Made {
        contents: Contents,
        root: BlobId,
        folder: tempfile::TempDir,
    }

    /// A store with a folder of files in it, each of its own name.
    async fn made(names: &[&str]) -> Made {
        let folder = tempfile::tempdir().expect("a folder");
        let contents = Contents::open(folder.path().join("contents")).await.expect("opens");
        let mut files = Vec::new();
        for (n, name) in names.iter().enumerate() {
            let path = folder.path().join(format!("own-{n}"));
            std::fs::write(&path, name).expect("written");
            files.push(((*name).to_owned(), path));
        }
        let imported = folder::import_listed(&contents, files, Import::Copy).await.expect("taken");
        std::fs::create_dir(folder.path().join("into")).expect("made");
        Made { contents, root: imported.root, folder }
    }

    fn placing(existing: Existing, resumed: bool) -> Placing {
        Placing { beside: ".ayni-test.part".into(), existing, resumed }
    }

    /// Returns the paths of all files below a folder; each holds `of(its path)`.
    fn found(folder: &Path) -> Vec<String> {
        let walk = walkdir::WalkDir::new(folder).sort_by_file_name();
        let files = walk.into_iter().map(|entry| entry.expect("reads"));
        let files = files.filter(|entry| !entry.file_type().is_dir());
        let below = |entry: walkdir::DirEntry| {
            let below = entry.path().strip_prefix(folder).expect("below");
            below.to_string_lossy().into_owned()
        };
        files.map(below).collect()
    }

    #[tokio::test]
    async fn an_interrupted_attempt_is_finished_by_the_next_one() {
        let made = made(&["a/one", "a/two", "b"]).await;
        let into = made.folder.path().join("into");
        // Killed while it wrote, and killed while it moved.
        std::fs::create_dir_all(into.join(".ayni-test.part/a")).expect("made");
        std::fs::write(into.join(".ayni-test.part/a/half"), "half").expect("written");
        placing(Existing::Refuse, true)
            .put_into(&made.contents, made.root, &into)
            .await
            .expect("put");
        assert_eq!(found(&into), ["a/one", "a/two", "b"]);
        std::fs::create_dir(into.join(".ayni-test.ready")).expect("made");
        std::fs::rename(into.join("b"), into.join(".ayni-test.ready/b")).expect("moved");
        placing(Existing::Refuse, true)
            .put_into(&made.contents, made.root, &into)
            .await
            .expect("put");
        assert_eq!(found(&into), ["a/one", "a/two", "b"]);
        // Killed before it was noted that all of it is there.
        placing(Existing::Refuse, true)
            .put_into(&made.contents, made.root, &into)
            .await
            .expect("put");
        assert_eq!(found(&into), ["a/one", "a/two", "b"]);
        // Someone else's are left alone.
        std::fs::write(into.join("b"), "another").expect("written");
        let refused =
            placing(Existing::Refuse, true).put_into(&made.contents, made.root, &into).await;
        assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
        let refused =
            placing(Existing::Refuse, false).put_into(&made.contents, made.root, &into).await;
        assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
        assert_eq!(std::fs::read(into.join("b")).expect("reads"), b"another");
    }

    #[tokio::test]
    async fn what_is_there_is_handled_as_its_user_says() {
        let made = made(&["a/one", "b"]).await;
        let into = made.folder.path().join("into");
        std::fs::write(into.join("b"), "another").expect("written");
        let put = async |existing| {
            placing(existing, false).put_into(&made.contents, made.root, &into).await.expect("put");
        };
        put(Existing::Skip).await;
        assert_eq!(std::fs::read(into.join("b")).expect("reads"), b"another");
        assert_eq!(found(&into), ["a/one", "b"]);
        put(Existing::Rename).await;
        assert_eq!(found(&into), ["a/one", "a (2)/one", "b", "b (2)"]);
        put(Existing::Overwrite).await;
        assert_eq!(std::fs::read(into.join("b")).expect("reads"), b"b");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn hazard_28_no_link_leads_out_of_the_target() {
        let made = made(&["a/one"]).await;
        let (into, outside) = (made.folder.path().join("into"), made.folder.path().join("outside"));
        std::fs::create_dir(&outside).expect("made");
        std::os::unix::fs::symlink(&outside, into.join("a")).expect("linked");
        std::os::unix::fs::symlink(&outside, into.join(".ayni-test.part")).expect("linked");
        std::os::unix::fs::symlink(&outside, into.join(".ayni-test.ready")).expect("linked");
        for existing in [Existing::Overwrite, Existing::Skip, Existing::Refuse] {
            let put = placing(existing, false).put_into(&made.contents, made.root, &into).await;
            assert!(put.is_err(), "{existing:?}");
        }
        // A file takes the place of a link, and not of what that leads to.
        let victim = outside.join("victim");
        std::fs::write(&victim, "mine").expect("written");
        let _ = std::fs::remove_file(into.join(".ayni-test.part"));
        std::os::unix::fs::symlink(&victim, into.join(".ayni-test.part")).expect("linked");
        let one = folder::files(&made.contents, made.root).await.expect("reads")[0].1;
        let path = into.join("file");
        std::os::unix::fs::symlink(&victim, &path).expect("linked");
        let placing = placing(Existing::Overwrite, false);
        placing.put_file(&made.contents, one, &path).await.expect("put");
        assert!(path.symlink_metadata().expect("there").is_file());
        assert_eq!(std::fs::read(&victim).expect("reads"), b"mine");
        assert_eq!(found(&outside), ["victim"]);
    }

    #[tokio::test]
    async fn hazard_28_nothing_hidden_is_put_into_a_folder_of_the_user() {
        let made = made(&[".bashrc", ".config/app", "sub/.kept"]).await;
        let into = made.folder.path().join("into");
        placing(Existing::Refuse, false)
            .put_into(&made.contents, made.root, &into)
            .await
            .expect("put");
        assert_eq!(found(&into), ["_bashrc", "_config/app", "sub/.kept"]);
    }
}

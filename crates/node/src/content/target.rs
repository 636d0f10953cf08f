//! Where what is fetched is to be written, as its user says.

use std::path::{Path, PathBuf};

use ayni_core::file_name;

use crate::error::{Error, Result};

/// What is done where something has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Existing {
    /// Nothing is written: an error.
    #[default]
    Refuse,
    /// It is replaced.
    Overwrite,
    /// The new one gets another name: `a (2).txt`.
    Rename,
    /// The old one stays, and that is fine.
    Skip,
}

/// Where something is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// An existing folder, in which it gets its own name; else its new path.
    pub path: PathBuf,
    /// What is done where something is there already.
    pub existing: Existing,
}

impl Target {
    /// Returns it with a path that means the same wherever the node is started.
    pub(crate) fn absolute(self) -> Self {
        // What has no absolute path cannot be written either: that is told then.
        let path = std::path::absolute(&self.path).unwrap_or(self.path);
        Self { path, ..self }
    }

    /// Returns the path of something with this name, which comes from others.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        if self.path.is_dir() {
            self.path.join(file_name::unhidden(&file_name::clean(name)))
        } else {
            self.path.clone()
        }
    }

    /// Returns the folder that is there already and in which something will be written.
    pub(crate) fn folder(&self) -> &Path {
        if self.path.is_dir() { &self.path } else { folder_of(&self.path) }
    }

    /// Whether it is on another disk than a folder, as far as the system tells.
    pub(crate) fn is_elsewhere(&self, folder: &Path) -> bool {
        disk_of(self.folder()) != disk_of(folder)
    }

    /// Checks that it has space for so many bytes, if it is on another disk than `store`, of which that is
    /// known already. Nothing is left free there: the disk is the user's.
    ///
    /// # Errors
    /// [`Error::Store`], with what is lacking.
    pub(crate) fn check_space(&self, store: &Path, bytes: u64) -> Result<()> {
        // Where the system does not say, writing shows.
        let free = fs4::available_space(self.folder()).unwrap_or(u64::MAX);
        if free >= bytes || !self.is_elsewhere(store) {
            return Ok(());
        }
        let (folder, lacks) = (self.folder().display(), (bytes - free).div_ceil(1_000_000));
        Err(Error::Store(format!(
            "the disk of {folder} has too little space: {lacks} MB are lacking; free some, or choose \
             another place"
        )))
    }

    /// Checks that it is a folder, or can become one.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the folder above it is missing; [`Error::Denied`] for a file.
    pub(crate) fn check_folder(&self) -> Result<()> {
        let folder = folder_of(&self.path);
        if self.path.is_dir() || !self.path.exists() && folder.is_dir() {
            return Ok(());
        }
        if self.path.exists() {
            return Err(Error::Denied(format!("{} is no folder", self.path.display())));
        }
        Err(Error::NotFound(format!("there is no folder {}", folder.display())))
    }

    /// Checks before anything is fetched that it can be written there.
    ///
    /// # Errors
    /// [`Error::Denied`] where something is there and is to stay; [`Error::NotFound`] where the folder
    /// is missing.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        let path = self.path_of(name);
        let folder = folder_of(&path);
        if !folder.is_dir() {
            return Err(Error::NotFound(format!("there is no folder {}", folder.display())));
        }
        if self.existing == Existing::Refuse && path.symlink_metadata().is_ok() {
            return Err(exists(&path));
        }
        Ok(())
    }
}

/// Returns what tells the disk of a folder from others; none where the system does not say.
#[cfg(unix)]
fn disk_of(folder: &Path) -> Option<u64> {
    folder.metadata().ok().map(|it| std::os::unix::fs::MetadataExt::dev(&it))
}

#[cfg(not(unix))]
fn disk_of(folder: &Path) -> Option<std::ffi::OsString> {
    let whole = folder.canonicalize().ok()?;
    whole.components().next().map(|disk| disk.as_os_str().to_owned())
}

pub(super) fn exists(path: &Path) -> Error {
    let path = path.display();
    Error::Denied(format!("{path} exists already: choose to overwrite, rename or skip"))
}

/// Returns the folder that a path is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

//! What a transfer brings, read as it comes; and shares, found by what a person types.

use std::sync::Arc;

use ayni_core::id::BlobId;

use super::api::Fetching;
use super::model::TransferState;
use super::read::ContentReader;
use super::store::{Contents, Entry};
use super::transfers::Pour;
use super::{folder, share};
use crate::error::{Error, ErrorKind, Result};
use crate::node::Node;

impl Node {
    /// Returns a reader of the only file that a transfer brings: it can be read, and sought in, while it
    /// comes. Returns when its size is proved, which takes until someone who has it is reached. One of
    /// [`Self::pour`] is over when its last byte was read.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for several files; why the transfer ended, if it did.
    pub async fn open_transfer(&self, id: u64) -> Result<ContentReader> {
        let mut fetching = self.transfer(id)?;
        let pour = Pour::of(fetching.transfer());
        let contents = self.inner.content.contents(&self.inner).await?;
        let (root, is_list) = fetching.wished();
        let blob = if is_list {
            fetching.entry(&contents, root, true).await?;
            // The names are a content of their own, the first of the list.
            for part in folder::parts(&contents, root).await?.into_iter().take(1) {
                fetching.entry(&contents, part, true).await?;
            }
            match folder::files(&contents, root).await?.as_slice() {
                [(_, blob)] => *blob,
                files => {
                    let told = format!("these are {} files: choose a folder for them", files.len());
                    return Err(Error::Invalid(told));
                }
            }
        } else {
            root
        };
        Ok(fetching.reader(&contents, blob).await?.pouring(pour))
    }

    /// Finds something that is shared: by its ticket, by its content's id, the start of it (4 digits or
    /// more), or by its name.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] when several fit; a failing disk.
    pub async fn find_share(&self, text: &str) -> Result<BlobId> {
        share::find(&self.inner, text).await
    }
}

impl Fetching {
    /// Returns a reader of a content that comes, once its size is proved.
    pub(super) async fn reader(mut self, of: &Contents, blob: BlobId) -> Result<ContentReader> {
        let entry = self.entry(of, blob, false).await?;
        let transfer = (!entry.is_whole()).then(|| self.transfer().clone());
        Ok(ContentReader::new(entry, transfer))
    }

    /// Waits until some of a content is here, so that its size is proved; `whole`: until all of it is.
    async fn entry(&mut self, of: &Contents, blob: BlobId, whole: bool) -> Result<Arc<Entry>> {
        loop {
            let state = self.info().state;
            let entry = of.entry(blob).await?.filter(|entry| !whole || entry.is_whole());
            if let Some(entry) = entry {
                return Ok(entry);
            }
            match state {
                TransferState::Failed(kind, why) => return Err(again(kind, why)),
                TransferState::Cancelled => {
                    return Err(Error::Invalid("the transfer was ended".into()));
                }
                TransferState::Done => {
                    return Err(Error::NotFound("it was deleted here meanwhile".into()));
                }
                _ => self.changed().await,
            }
        }
    }
}

/// Returns an error of a kind as a transfer keeps it.
fn again(kind: ErrorKind, why: String) -> Error {
    match kind {
        ErrorKind::Invalid => Error::Invalid(why),
        ErrorKind::NotFound => Error::NotFound(why),
        ErrorKind::Denied => Error::Denied(why),
        ErrorKind::Unreachable => Error::Unreachable(why),
        _ => Error::Store(why),
    }
}

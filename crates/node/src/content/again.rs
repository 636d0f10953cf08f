//! Having a room give what is here because of something else.
//!
//! What came by another room, or by a ticket, is given to nobody in this one: that a member says its hash
//! proves nothing. So it is fetched once more, through this room, and thrown away: who gave all of it had it,
//! and from then on its members may have it from here, too. Else what is said in two rooms would end with its
//! sender in one of them.
//!
//! Only for what is fetched without being asked, which is small; not for folders.

use std::sync::Arc;

use ayni_core::id::{BlobId, RoomId};
use tokio::sync::OnceCell;

use super::access::{self, Origin};
use super::fetch::{self, Goal};
use super::store::Contents;
use super::transfers::Transfer;
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::start::blocking;
use crate::store::{Hold, Reason, Standing, Write};

/// Where these come to.
#[derive(Debug, Default)]
pub(super) struct Again(OnceCell<Contents>);

impl Again {
    async fn contents(&self, inner: &Inner) -> Result<Contents> {
        let open = || async {
            let folder = inner.folder.contents().join("again");
            let of_blocking = folder.clone();
            blocking(move || match std::fs::remove_dir_all(&of_blocking) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io("what an earlier run left cannot be deleted")(error))
                }
                _ => Ok(()),
            })
            .await?;
            Contents::open(folder).await
        };
        Ok(self.0.get_or_try_init(open).await?.clone())
    }
}

/// Keeps for a room what is here because of something else, and is said there: it stays when that ends.
///
/// # Errors
/// A failing disk.
pub(super) async fn keep(inner: &Inner, room: RoomId, root: BlobId, bytes: u64) -> Result<()> {
    let kept = inner.store.holding(Some(room), root).await?;
    if kept.is_some_and(|it| it.standing > Standing::Wanted) {
        return Ok(());
    }
    let hold = Hold {
        room: Some(room),
        root,
        blobs: vec![],
        bytes,
        since_ms: inner.now(),
        standing: Standing::Kept,
        reason: Reason::ByItself,
        unsaid: false,
    };
    inner.store.write(Write::Hold(hold)).await
}

/// Whether a content that is here is to come again: its room has not given it.
///
/// # Errors
/// A failing disk.
pub(super) async fn lacks(inner: &Arc<Inner>, transfer: &Transfer) -> Result<bool> {
    let wish = &transfer.wish;
    let Some(room) = wish.room().filter(|_| !wish.asked && !wish.folder) else { return Ok(false) };
    let contents = inner.content.contents(inner).await?;
    let here = contents.held(wish.root).await?.complete;
    Ok(here && !access::is_given(inner, &contents, room, wish.root).await?)
}

/// Fetches a content once more, and notes that its room gave it.
///
/// # Errors
/// Of [`fetch::fetch`].
pub(super) async fn fetch(inner: &Arc<Inner>, transfer: &Transfer) -> Result<()> {
    let wish = &transfer.wish;
    let contents = inner.content.again.contents(inner).await?;
    let _discarded =
        Discarded { inner: inner.clone(), contents: contents.clone(), root: wish.root };
    let goal = Goal { claimed: wish.claimed, ..transfer.goal(inner, wish.root) };
    fetch::fetch(inner, &contents, goal, |view| transfer.see(view)).await?;
    Origin::of(inner, wish).give(vec![wish.root]).await.map(drop)
}

/// Deletes what came, whatever came of it.
struct Discarded {
    inner: Arc<Inner>,
    contents: Contents,
    root: BlobId,
}

impl Drop for Discarded {
    fn drop(&mut self) {
        let (contents, root) = (self.contents.clone(), self.root);
        self.inner.tasks.spawn(async move {
            if let Err(error) = contents.remove(root).await {
                tracing::warn!("what came again was not deleted: {error}");
            }
        });
    }
}

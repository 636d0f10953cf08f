//! A device asks others how far its own logs go before it writes.
//!
//! A folder that was restored from a backup, or copied, knows less of its own logs than others do.
//! What it would write there contradicts what it said before, and others would have to take it for two
//! devices with one key. So each synchronisation begins with what the other side holds of ours
//! ([`ayni_core::sync::frame::SyncFrame::Yours`]), and we write when that is here too.
//!
//! After an ordinary start that is waited for a moment only: one can write with nobody else online.
//! Where the database is not the file that it was at the last start, it is waited for until someone
//! was heard, room by room, also after further starts.
//!
//! Not noticed: a machine that is set back as a whole while nobody else is online.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ayni_core::id::RoomId;

use super::handle::RoomHandle;
use crate::error::{Error, Result};
use crate::inner::Inner;

/// How long after its start a node waits with writing until a member was heard: members that are
/// online answer within a fraction of it.
const AFTER_START: Duration = Duration::from_secs(2);
/// How long a call waits in a folder that was copied, before it is refused.
const AFTER_COPY: Duration = Duration::from_secs(10);

/// Returns what a file is told by from a copy of it, where the system says so.
pub(crate) fn place_of(file: &Path) -> Option<String> {
    let metadata = std::fs::metadata(file).ok()?;
    let made = metadata.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    let made = made.map_or(0, |made| made.as_nanos());
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0;
    (number != 0 || made != 0).then(|| format!("{number}:{made}"))
}

/// Notes that this folder is a copy: in each room with others someone is to be heard before anything
/// is written there.
pub(crate) async fn note_copy(inner: &Arc<Inner>, place: Option<String>) -> Result<()> {
    let shared =
        inner.rooms().into_iter().filter(|room| !room.other_devices(inner.me()).is_empty());
    let shared: Vec<String> = shared.map(|room| room.id().to_string()).collect();
    let change = inner.change_config(move |config| {
        if config.place.is_some() {
            config.unheard.extend(shared);
        }
        config.place = place;
    });
    change.await
}

impl RoomHandle {
    /// Waits until this device may write: until a member was heard about its own logs, or need not be.
    ///
    /// # Errors
    /// [`Error::Unreachable`]: the folder was copied, and no member answers.
    pub(crate) async fn await_tip(&self, inner: &Inner) -> Result<()> {
        if *self.tip.borrow() || self.other_devices(inner.me()).is_empty() {
            return Ok(());
        }
        let copied = inner.is_unheard(&self.id());
        let wait = match (inner.links().is_some(), copied) {
            (false, _) => Duration::ZERO,
            (true, true) => AFTER_COPY,
            (true, false) => AFTER_START.saturating_sub(inner.started.elapsed()),
        };
        let mut tip = self.tip.subscribe();
        let heard = tokio::time::timeout(wait, tip.wait_for(|heard| *heard)).await;
        if heard.is_ok() || !copied {
            return Ok(());
        }
        Err(Error::Unreachable(
            "this data folder was copied or restored, so it may lack what you said here since: start \
             the node while another member is online, and it catches up before it writes"
                .into(),
        ))
    }

    /// A member said how far our logs go, and all of that is here.
    pub(crate) async fn heard_own(&self, inner: &Arc<Inner>) {
        self.tip.send_replace(true);
        if inner.is_unheard(&self.id()) {
            let id = self.id().to_string();
            let change = inner.change_config(move |config| {
                config.unheard.remove(&id);
            });
            if let Err(error) = change.await {
                tracing::warn!("the settings could not be written: {error}");
            }
        }
    }
}

impl Inner {
    /// Whether someone must be heard in this room before anything is written there.
    pub(crate) fn is_unheard(&self, room: &RoomId) -> bool {
        self.config().unheard.contains(&room.to_string())
    }
}

//! What this repository's own benchmarks need and nobody else: hidden, and free to change.
//!
//! A room with a million events by hundreds of authors cannot be said through a node in the time of a
//! benchmark. [`Plant`] writes it into a data folder that no node has open, by the same replica and
//! the same store that a node would use.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ayni_core::clock::Hlc;
use ayni_core::epoch::EpochSecret;
use ayni_core::id::{EpochId, RoomId};
use ayni_core::keys::{DeviceCert, DeviceKey};
use ayni_core::log::LogId;
use ayni_core::room::{Accepted, Kind, Room};

use crate::data::{DataFolder, Keys};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::start::blocking;
use crate::store::{Append, Store, Write};

/// A data folder that is being filled.
#[derive(Debug)]
pub struct Plant {
    _folder: DataFolder,
    keys: Keys,
    store: Store,
    newest: BTreeMap<LogId, Hlc>,
}

impl Plant {
    /// Opens or makes a folder.
    pub async fn open(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        let open = move || {
            let folder = DataFolder::open(&path)?;
            let (keys, store) = (folder.keys()?, Store::open(&folder.database(), false)?);
            Ok(Self { _folder: folder, keys, store, newest: BTreeMap::new() })
        };
        blocking(open).await
    }

    /// Returns the keys of the folder's device.
    pub fn device(&self) -> (&DeviceKey, &DeviceCert) {
        (&self.keys.device, &self.keys.cert)
    }

    /// Notes a new group and keeps what its founder said first.
    pub async fn found(
        &mut self,
        room: &Room,
        accepted: &Accepted,
        secrets: Vec<(EpochId, EpochSecret)>,
    ) -> Result<()> {
        let note = Write::Room { room: room.id(), kind: Kind::Group, now_ms: 0 };
        self.store.write(note).await?;
        self.store.write(Write::Secrets { room: room.id(), secrets }).await?;
        self.keep(room, accepted).await
    }

    /// Keeps what the replica accepted or authored.
    pub async fn keep(&mut self, room: &Room, accepted: &Accepted) -> Result<()> {
        let mut touched = BTreeMap::new();
        for event in &accepted.events {
            let newest = self.newest.entry(event.log()).or_default();
            *newest = event.header().time.max(*newest);
            touched.insert(event.log(), *newest);
        }
        let summary = |(log, newest)| {
            let runs = room.logs().log(&log).map(|state| state.runs().copied().collect());
            (log, runs.unwrap_or_default(), newest)
        };
        let append = Append {
            room: room.id(),
            events: Arc::new(accepted.events.clone()),
            runs: touched.into_iter().map(summary).collect(),
            voided: vec![],
            unread: 0,
            secrets: vec![],
        };
        self.store.write(Write::Append(append)).await
    }

    /// Closes the folder.
    pub async fn close(self) {
        self.store.close().await;
    }
}

/// Has a node compare the state of a room with its peers, as it does now and then by itself.
///
/// # Errors
/// [`Error::NotFound`].
pub fn compare(node: &Node, room: RoomId) -> Result<()> {
    let missing = || Error::NotFound(format!("there is no room {}", room.short()));
    node.inner.room(&room).ok_or_else(missing)?.poke();
    Ok(())
}

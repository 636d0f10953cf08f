//! What is kept, and how fast it goes.

use super::{Client, Result};
use crate::api;

impl Client {
    /// Says how important a transfer is.
    pub async fn set_transfer_priority(&self, id: u64, priority: api::Priority) -> Result<()> {
        let body = api::SetPriority { priority };
        let _: api::Done = self.post(&["transfers", &id.to_string(), "priority"], &body).await?;
        Ok(())
    }

    /// Limits what a transfer fetches, and what is given of it meanwhile.
    pub async fn set_transfer_limits(&self, id: u64, limits: &api::Limits) -> Result<()> {
        let _: api::Done = self.post(&["transfers", &id.to_string(), "limit"], limits).await?;
        Ok(())
    }

    /// Returns what all transfers together may give and fetch.
    pub async fn limits(&self) -> Result<api::Limits> {
        self.fetch(&["limits"], &[]).await
    }

    /// Sets what all transfers together may give and fetch. Kept for later starts.
    pub async fn set_limits(&self, limits: &api::Limits) -> Result<api::Limits> {
        self.put(&["limits"], limits).await
    }

    /// Returns how much of the disk pictures and files take, and what is set for that.
    pub async fn storage(&self) -> Result<api::Storage> {
        self.fetch(&["storage"], &[]).await
    }

    /// Sets how many bytes they may take; none: as many as there are. Kept for later starts.
    pub async fn set_quota(&self, bytes: Option<u64>) -> Result<api::Storage> {
        self.put(&["storage", "quota"], &api::SetBytes { bytes }).await
    }

    /// Lets go of what was fetched by a ticket and kept in the data folder: named by its content's id, or the
    /// start of that.
    pub async fn discard(&self, blob: &str) -> Result<api::Storage> {
        self.post(&["storage", "discard"], &api::Discard { blob: blob.to_owned() }).await
    }

    /// Sets what the node does so that attachments outlive their senders. Kept for later starts.
    pub async fn set_replication(&self, set: &api::Replication) -> Result<api::Storage> {
        self.put(&["storage", "replication"], set).await
    }

    /// Returns how large a picture of a room may be that is fetched without being asked for, in bytes.
    pub async fn picture_limit(&self, room: &str) -> Result<u64> {
        let told: api::SetBytes = self.fetch(&["rooms", room, "pictures"], &[]).await?;
        Ok(told.bytes.unwrap_or(0))
    }

    /// Sets that; none: as it is where nothing was set. Kept for later starts.
    pub async fn set_picture_limit(&self, room: &str, bytes: Option<u64>) -> Result<u64> {
        let body = api::SetBytes { bytes };
        let told: api::SetBytes = self.put(&["rooms", room, "pictures"], &body).await?;
        Ok(told.bytes.unwrap_or(0))
    }

    /// Keeps what is attached to a message, whatever else is evicted; what is not here is fetched.
    pub async fn pin(&self, room: &str, event: &str) -> Result<api::Transfer> {
        self.post(&["rooms", room, "pin"], &api::Pin { event: event.to_owned() }).await
    }

    /// Lets what was pinned be evicted again.
    pub async fn unpin(&self, room: &str, event: &str) -> Result<()> {
        let body = api::Pin { event: event.to_owned() };
        let _: api::Done = self.post(&["rooms", room, "unpin"], &body).await?;
        Ok(())
    }
}

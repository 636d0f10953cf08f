//! Pictures, files and transfers.

use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;

use super::http::{self, Ask};
use super::{Client, ClientError, Result, Streaming, stream};
use crate::api;

/// Hashing a file takes as long as its disk takes, so nothing is too late.
pub(super) const NO_LIMIT: Duration = Duration::MAX;

impl Client {
    /// Sends a picture, a file or a folder of this machine to a room, by its absolute path; returns
    /// after it is durable. A file is read whole before, which may take long.
    pub async fn attach(&self, room: &str, attach: &api::Attach) -> Result<api::Attached> {
        self.send(Method::POST, &["rooms", room, "attach"], attach, NO_LIMIT).await
    }

    /// Lists what was attached in a room, the newest first, `limit` at most, with how many have each.
    pub async fn files(&self, room: &str, limit: usize) -> Result<Streaming<api::File>> {
        let limit = limit.to_string();
        let ask = Ask {
            method: Method::GET,
            path: http::path(&["rooms", room, "files"], &[("limit", limit.as_str())])?,
            body: Body::empty(),
            is_json: false,
        };
        // No time limit: who reads decides how fast it goes.
        let body = self.http.stream(self.addr, &self.token, ask).await?;
        Ok(stream::values(stream::lines_of(body)))
    }

    /// Begins to fetch what is attached to a message, or finds the transfer that does so already. It
    /// goes on whether or not anyone waits for it: see [`Self::progress`].
    pub async fn fetch_attached(&self, room: &str, fetch: &api::Fetch) -> Result<api::Transfer> {
        self.post(&["rooms", room, "fetch"], fetch).await
    }

    /// Lists the transfers that are not over, and some that lately were.
    pub async fn transfers(&self) -> Result<Vec<api::Transfer>> {
        self.fetch(&["transfers"], &[]).await
    }

    /// Pauses a transfer.
    pub async fn pause_transfer(&self, id: u64) -> Result<()> {
        self.act(id, "pause").await
    }

    /// Lets a transfer go on that was paused or failed.
    pub async fn resume_transfer(&self, id: u64) -> Result<()> {
        self.act(id, "resume").await
    }

    /// Ends a transfer.
    pub async fn cancel_transfer(&self, id: u64) -> Result<()> {
        self.act(id, "cancel").await
    }

    async fn act(&self, id: u64, what: &str) -> Result<()> {
        let _: api::Done = self.post(&["transfers", &id.to_string(), what], &api::Done {}).await?;
        Ok(())
    }
}

/// Returns a path as a request carries it.
///
/// # Errors
/// `Invalid` for one that is not absolute, or that JSON cannot carry.
pub fn path_text(path: &Path) -> Result<String> {
    let told = path.display();
    if !path.is_absolute() {
        return Err(ClientError::invalid(format!("the path {told} is not absolute")));
    }
    let text = path.to_str().ok_or_else(|| {
        ClientError::invalid(format!("the path {told} is not Unicode: give it another name first"))
    })?;
    Ok(text.to_owned())
}

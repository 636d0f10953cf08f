//! Shares and tickets.

use std::io;

use axum::body::Body;
use axum::http::Method;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::files::NO_LIMIT;
use super::http::{self, Ask};
use super::{Client, ClientError, Result, Streaming};
use crate::api;

impl Client {
    /// Shares files and folders of this machine, by their absolute paths; returns after that is durable.
    /// They are read whole before, which may take long.
    pub async fn share(&self, what: &api::SharePaths) -> Result<api::Shared> {
        self.send(Method::POST, &["shares"], what, NO_LIMIT).await
    }

    /// Shares bytes, to their end, as a file with a name. A failure among them shares nothing.
    pub async fn share_bytes(
        &self,
        name: &str,
        bytes: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<api::Shared> {
        let ask = Ask {
            method: Method::POST,
            path: http::path(&["shares", "bytes"], &[("name", name)])?,
            body: Body::from_stream(bytes),
            is_json: false,
        };
        self.answered(ask, NO_LIMIT).await
    }

    /// Lists what is shared.
    pub async fn shares(&self) -> Result<Vec<api::Share>> {
        self.fetch(&["shares"], &[]).await
    }

    /// Stops sharing something: named by its ticket, its content's id, the start of that, or its name.
    pub async fn unshare(&self, share: &str) -> Result<api::Unshared> {
        self.post(&["unshare"], &api::Unshare { share: share.to_owned() }).await
    }

    /// Begins to fetch what a ticket names, or finds the transfer that does so already. It goes on
    /// whether or not anyone waits for it: see [`Self::progress`].
    pub async fn get(&self, get: &api::Get) -> Result<api::Transfer> {
        self.post(&["get"], get).await
    }

    /// Reads the only file of a transfer as it comes. Ends with an error where it breaks off.
    pub async fn content(&self, id: u64) -> Result<Streaming<Bytes>> {
        let ask = Ask {
            method: Method::GET,
            path: http::path(&["transfers", &id.to_string(), "content"], &[])?,
            body: Body::empty(),
            is_json: false,
        };
        let body = self.http.stream(self.addr, &self.token, ask).await?;
        let pieces = body.into_data_stream();
        Ok(Box::pin(pieces.map(|piece| piece.map_err(|_| ClientError::gone()))))
    }
}

//! One method for every route that answers once.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use ayni::limits::MAX_TEXT;
use ayni::{EventId, Role};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::http::{self, Ask};
use super::{Client, ClientError, Found, Result, Streaming, stream};
use crate::api;

/// Longest time for a call that works on this machine only: far more than a slow disk takes, so that
/// only a node that hangs meets it.
const LOCAL_TIMEOUT: Duration = Duration::from_mins(1);
/// Time beyond what the caller granted the network, so that the node's own answer comes first.
const GRACE: Duration = Duration::from_secs(30);

impl Client {
    /// Returns who this node is.
    pub async fn id(&self) -> Result<api::Id> {
        self.fetch(&["id"], &[]).await
    }

    /// Changes the name shown to others.
    pub async fn set_name(&self, name: &str) -> Result<api::Id> {
        self.send(Method::PUT, &["name"], &api::Named { name: name.to_owned() }, LOCAL_TIMEOUT)
            .await
    }

    /// Returns how the node is.
    pub async fn status(&self) -> Result<api::Status> {
        self.fetch(&["status"], &[]).await
    }

    /// Returns what is reachable and why not, in plain words.
    pub async fn doctor(&self) -> Result<Vec<api::Finding>> {
        self.fetch(&["doctor"], &[]).await
    }

    /// Lists the rooms that this account is a member of; `all`: also those that it left or was
    /// removed from.
    pub async fn rooms(&self, all: bool) -> Result<Vec<api::Room>> {
        self.fetch(&["rooms"], &[("all", if all { "true" } else { "false" })]).await
    }

    /// Returns one room and how it is set up, also one that was left.
    pub async fn room(&self, room: &str) -> Result<api::RoomDetails> {
        self.fetch(&["rooms", room], &[]).await
    }

    /// Sets a room up in one respect.
    pub async fn set_room(&self, room: &str, setting: &api::Setting) -> Result<api::RoomDetails> {
        self.post(&["rooms", room, "settings"], setting).await
    }

    /// Creates a room with this account as its founder.
    pub async fn create_room(&self, name: &str) -> Result<api::RoomRef> {
        self.post(&["rooms"], &api::Named { name: name.to_owned() }).await
    }

    /// Makes a ticket.
    pub async fn invite(&self, room: &str, invite: &api::Invite) -> Result<api::Ticket> {
        self.post(&["rooms", room, "invites"], invite).await
    }

    /// Lists a room's invitations, open ones first.
    pub async fn invites(&self, room: &str) -> Result<Vec<api::Invitation>> {
        self.fetch(&["rooms", room, "invites"], &[]).await
    }

    /// Ends an invitation, named by its id, the start of it, or its ticket.
    pub async fn revoke_invite(&self, room: &str, invite: &str) -> Result<api::Invitation> {
        let body = api::Revoke { invite: invite.to_owned() };
        self.post(&["rooms", room, "revoke"], &body).await
    }

    /// Asks what a ticket invites to, without joining; waits for a member up to `wait`.
    pub async fn look(&self, ticket: &str, wait: Duration) -> Result<api::Look> {
        let body = api::Join { ticket: ticket.to_owned(), wait_s: whole_seconds(wait) };
        self.send(Method::POST, &["look"], &body, wait.saturating_add(GRACE)).await
    }

    /// Joins by a ticket and waits, up to `wait` rounded up to a second, until the room can be used.
    /// Later than that is `Unreachable`, and joining goes on while the node runs.
    pub async fn join(&self, ticket: &str, wait: Duration) -> Result<api::RoomRef> {
        let body = api::Join { ticket: ticket.to_owned(), wait_s: whole_seconds(wait) };
        self.send(Method::POST, &["join"], &body, wait.saturating_add(GRACE)).await
    }

    /// Leaves a room.
    pub async fn leave(&self, room: &str) -> Result<()> {
        let _: api::Done = self.post(&["rooms", room, "leave"], &api::Done {}).await?;
        Ok(())
    }

    /// Says something in a room; returns after it is durable.
    pub async fn say(&self, room: &str, text: &str) -> Result<EventId> {
        check_text(text)?;
        let body = api::Text { text: text.to_owned() };
        let posted: api::Posted = self.post(&["rooms", room, "messages"], &body).await?;
        Ok(posted.event)
    }

    /// Lists the newest `limit` messages of a room, oldest first, as they are read from the store.
    /// With `mark_read` everything that was stored before counts as read.
    pub async fn messages(
        &self,
        room: &str,
        limit: usize,
        mark_read: bool,
    ) -> Result<Streaming<api::Message>> {
        let (limit, mark_read) = (limit.to_string(), mark_read.to_string());
        let thumbnails = self.thumbnails.then_some(("thumbnails", "true"));
        let query = [("limit", limit.as_str()), ("mark_read", mark_read.as_str())];
        let query: Vec<_> = query.into_iter().chain(thumbnails).collect();
        let ask = Ask {
            method: Method::GET,
            path: http::path(&["rooms", room, "messages"], &query)?,
            body: Body::empty(),
            is_json: false,
        };
        // No time limit: who reads decides how fast it goes.
        let body = self.http.stream(self.addr, &self.token, ask).await?;
        Ok(stream::values(stream::lines_of(body)))
    }

    /// Finds messages that have all words of a text, in one room or in all: the newest `limit`
    /// ([`api::MAX_FOUND`] at most), the newest first, as they are read from the store.
    pub async fn search(&self, text: &str, room: Option<&str>, limit: usize) -> Result<Found> {
        let limit = limit.to_string();
        let room = room.map(|room| ("room", room));
        let query: Vec<_> = [("text", text), ("limit", &limit)].into_iter().chain(room).collect();
        let ask = Ask {
            method: Method::GET,
            path: http::path(&["search"], &query)?,
            body: Body::empty(),
            is_json: false,
        };
        let body = self.http.stream(self.addr, &self.token, ask).await?;
        let mut lines = stream::lines_of(body);
        let api::Searched { behind } = stream::first(&mut lines).await?;
        Ok(Found { behind, messages: stream::values(lines) })
    }

    /// Makes everything stored so far in a room count as read.
    pub async fn mark_read(&self, room: &str) -> Result<()> {
        self.messages(room, 0, true).await.map(drop)
    }

    /// Says something to one peer or account, in a direct room that is made when missing.
    pub async fn dm(&self, who: &str, text: &str) -> Result<api::PostedDirect> {
        check_text(text)?;
        let body = api::Direct { who: who.to_owned(), text: text.to_owned() };
        self.post(&["dm"], &body).await
    }

    /// Says something in every room.
    pub async fn broadcast(&self, text: &str) -> Result<Vec<api::PostedRoom>> {
        check_text(text)?;
        self.post(&["broadcast"], &api::Text { text: text.to_owned() }).await
    }

    /// Lists the members of a room.
    pub async fn members(&self, room: &str) -> Result<Vec<api::Member>> {
        self.fetch(&["rooms", room, "members"], &[]).await
    }

    /// Finds someone in a room, a member or who was one.
    pub async fn person(&self, room: &str, who: &str) -> Result<api::Person> {
        self.fetch(&["rooms", room, "person"], &[("who", who)]).await
    }

    /// Gives someone in a room a role: a higher one, a lower one, or one again after leaving.
    pub async fn give_role(&self, room: &str, who: &str, role: Role) -> Result<api::Person> {
        let body = api::GiveRole { who: who.to_owned(), role };
        self.post(&["rooms", room, "role"], &body).await
    }

    /// Removes someone from a room.
    pub async fn remove_member(&self, room: &str, who: &str) -> Result<api::Person> {
        let body = api::Remove { who: who.to_owned() };
        self.post(&["rooms", room, "remove"], &body).await
    }

    /// Lists the peers that this node knows.
    pub async fn peers(&self) -> Result<Vec<api::Peer>> {
        self.fetch(&["peers"], &[]).await
    }

    /// Lists what a peer offers to this node, or without a peer what this node provides.
    pub async fn services(&self, peer: Option<&str>) -> Result<Vec<api::Service>> {
        match peer {
            Some(peer) => self.fetch(&["services"], &[("peer", peer)]).await,
            None => self.fetch(&["services"], &[]).await,
        }
    }

    /// Sends a request to a peer's service and returns the reply, within `timeout` rounded up to a
    /// second.
    pub async fn request(
        &self,
        peer: &str,
        service: &str,
        data: Bytes,
        timeout: Duration,
    ) -> Result<Bytes> {
        if data.len() > crate::frame::MAX_SERVICE_BYTES {
            return Err(ClientError::invalid(format!(
                "the request has {} bytes, and a request may have {} at most",
                data.len(),
                crate::frame::MAX_SERVICE_BYTES
            )));
        }
        let seconds = whole_seconds(timeout).to_string();
        let query = [("peer", peer), ("service", service), ("timeout_s", &seconds)];
        let ask = Ask {
            method: Method::POST,
            path: http::path(&["request"], &query)?,
            body: Body::from(data),
            is_json: false,
        };
        self.answer(ask, timeout.saturating_add(GRACE)).await
    }

    pub(super) async fn fetch<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T> {
        let ask = Ask {
            method: Method::GET,
            path: http::path(path, query)?,
            body: Body::empty(),
            is_json: false,
        };
        decode(&self.answer(ask, LOCAL_TIMEOUT).await?)
    }

    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T> {
        self.send(Method::PUT, path, body, LOCAL_TIMEOUT).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T> {
        self.send(Method::POST, path, body, LOCAL_TIMEOUT).await
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
        timeout: Duration,
    ) -> Result<T> {
        let json = serde_json::to_vec(body).expect("the API's shapes are plain data");
        let path = http::path(path, &[])?;
        self.answered(Ask { method, path, body: Body::from(json), is_json: true }, timeout).await
    }

    pub(super) async fn answered<T: DeserializeOwned>(
        &self,
        ask: Ask,
        timeout: Duration,
    ) -> Result<T> {
        decode(&self.answer(ask, timeout).await?)
    }

    async fn answer(&self, ask: Ask, timeout: Duration) -> Result<Bytes> {
        self.http.fetch(self.addr, &self.token, ask, timeout).await
    }
}

/// Told before anything is sent, in the node's words.
fn check_text(text: &str) -> Result<()> {
    if text.len() > MAX_TEXT {
        return Err(ClientError::invalid(format!(
            "the text has {} bytes, and a message may have {MAX_TEXT} at most",
            text.len()
        )));
    }
    Ok(())
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|_| {
        ClientError::internal("the node answered in a form that this version does not know")
    })
}

pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn the_token_is_not_in_the_debug_form() {
        let client = Client::new(([127, 0, 0, 1], 80).into(), "secret");
        assert!(!format!("{client:?}").contains("secret"));
    }
}

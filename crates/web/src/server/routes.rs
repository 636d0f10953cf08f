//! The table of routes. Each takes, checks, asks the node, and answers; nothing is decided here.

use std::process;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post, put};
use axum::{Json, Router, middleware, response::Response};
use ayni::Ticket;
use bytes::Bytes;

use super::extract::{JsonBody, MAX_TEXT_BODY, RawBody, Room};
use super::failure::{Failure, Result};
use super::params::{MAX_SECONDS, Params, seconds};
use super::{App, events, files, guard, history, page, progress, provide, search, shares, storage};
use crate::api;
use crate::frame::MAX_SERVICE_BYTES;

pub(super) type Shared = State<Arc<App>>;

/// Returns the whole server: the guard, and behind it the routes.
pub(super) fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/", get(page::page))
        .route("/api/v1/status", get(status))
        .route("/api/v1/doctor", get(doctor))
        .route("/api/v1/id", get(id))
        .route("/api/v1/name", put(set_name))
        .route("/api/v1/rooms", get(rooms).post(create_room))
        .route("/api/v1/rooms/{room}", get(room))
        .route("/api/v1/rooms/{room}/settings", post(set_room))
        .route("/api/v1/rooms/{room}/invites", get(invites).post(invite))
        .route("/api/v1/rooms/{room}/revoke", post(revoke))
        .route("/api/v1/rooms/{room}/leave", post(leave))
        .route("/api/v1/rooms/{room}/messages", get(messages).post(say))
        .route("/api/v1/rooms/{room}/members", get(members))
        .route("/api/v1/rooms/{room}/person", get(person))
        .route("/api/v1/rooms/{room}/role", post(give_role))
        .route("/api/v1/rooms/{room}/remove", post(remove))
        .route("/api/v1/rooms/{room}/attach", post(files::attach))
        .route("/api/v1/rooms/{room}/files", get(files::files))
        .route("/api/v1/rooms/{room}/fetch", post(files::fetch))
        .route("/api/v1/rooms/{room}/pin", post(storage::pin))
        .route("/api/v1/rooms/{room}/unpin", post(storage::unpin))
        .route("/api/v1/rooms/{room}/pictures", get(storage::pictures).put(storage::set_pictures))
        .route("/api/v1/transfers", get(files::transfers))
        .route("/api/v1/transfers/{id}/pause", post(files::pause))
        .route("/api/v1/transfers/{id}/resume", post(files::resume))
        .route("/api/v1/transfers/{id}/cancel", post(files::cancel))
        .route("/api/v1/transfers/{id}/priority", post(storage::set_priority))
        .route("/api/v1/transfers/{id}/limit", post(storage::set_limit))
        .route("/api/v1/limits", get(storage::limits).put(storage::set_limits))
        .route("/api/v1/storage", get(storage::storage))
        .route("/api/v1/storage/quota", put(storage::set_quota))
        .route("/api/v1/storage/discard", post(storage::discard))
        .route("/api/v1/storage/replication", put(storage::set_replication))
        .route("/api/v1/transfers/{id}/content", get(shares::content))
        .route("/api/v1/progress", get(progress::progress))
        .route("/api/v1/shares", get(shares::shares).post(shares::share))
        .route("/api/v1/shares/bytes", post(shares::share_bytes))
        .route("/api/v1/unshare", post(shares::unshare))
        .route("/api/v1/get", post(shares::get))
        .route("/api/v1/search", get(search::search))
        .route("/api/v1/look", post(look))
        .route("/api/v1/join", post(join))
        .route("/api/v1/dm", post(dm))
        .route("/api/v1/broadcast", post(broadcast))
        .route("/api/v1/peers", get(peers))
        .route("/api/v1/services", get(services))
        .route("/api/v1/request", post(request))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/provide", get(provide::provide))
        .route("/api/v1/forward", get(provide::forward))
        .fallback(async || Failure::no_such_route())
        .method_not_allowed_fallback(async || Failure::wrong_method())
        .with_state(Arc::clone(&app));
    // A router without routes of its own: its layer runs before the inner one looks up anything.
    Router::new().fallback_service(routes).layer(middleware::from_fn_with_state(app, guard::guard))
}

async fn id(State(app): Shared) -> Json<api::Id> {
    Json(app.node.identity().into())
}

async fn set_name(
    State(app): Shared,
    JsonBody(body): JsonBody<api::Named>,
) -> Result<Json<api::Id>> {
    app.node.set_name(&body.name).await?;
    Ok(Json(app.node.identity().into()))
}

async fn status(State(app): Shared) -> Result<Json<api::Status>> {
    let status = app.node.status().await?;
    Ok(Json(api::Status {
        peer_id: status.identity.peer,
        account_id: status.identity.account,
        name: status.identity.name,
        version: env!("CARGO_PKG_VERSION").into(),
        pid: process::id(),
        data: status.data.display().to_string(),
        http: format!("http://{}", app.addr),
        network: status.network.name().into(),
        offline: status.offline,
        bound: status.bound,
        addresses: status.addresses,
        connected: status.connected,
        rooms: status.rooms,
        joining: status.joining,
        events: status.events,
        given: app.node.given(),
        taken: app.node.taken(),
        uptime_s: status.uptime.as_secs(),
    }))
}

async fn doctor(State(app): Shared) -> Json<Vec<api::Finding>> {
    Json(all(app.node.doctor().await))
}

async fn rooms(State(app): Shared, mut params: Params) -> Result<Json<Vec<api::Room>>> {
    // A room that one left or was removed from stays readable, and is listed when asked for.
    let with_former = params.parsed::<bool>("all")?.unwrap_or(false);
    params.end()?;
    let mut rooms: Vec<api::Room> = all(app.node.rooms());
    rooms.retain(|room| with_former || room.standing == api::Standing::Joined);
    Ok(Json(rooms))
}

async fn room(State(app): Shared, Room(room): Room) -> Result<Json<api::RoomDetails>> {
    let settings = app.node.room_settings(room)?;
    Ok(Json((app.node.room(room)?, settings).into()))
}

async fn set_room(
    State(app): Shared,
    Room(id): Room,
    JsonBody(body): JsonBody<api::Setting>,
) -> Result<Json<api::RoomDetails>> {
    app.node.set_room(id, body.into()).await?;
    room(State(app), Room(id)).await
}

async fn create_room(
    State(app): Shared,
    JsonBody(body): JsonBody<api::Named>,
) -> Result<Json<api::RoomRef>> {
    Ok(Json(app.node.create_room(&body.name).await?.into()))
}

async fn invite(
    State(app): Shared,
    Room(room): Room,
    JsonBody(body): JsonBody<api::Invite>,
) -> Result<Json<api::Ticket>> {
    Ok(Json(app.node.invite(room, body.into()).await?.into()))
}

async fn invites(State(app): Shared, Room(room): Room) -> Result<Json<Vec<api::Invitation>>> {
    Ok(Json(all(app.node.invites(room)?)))
}

async fn revoke(
    State(app): Shared,
    Room(room): Room,
    JsonBody(body): JsonBody<api::Revoke>,
) -> Result<Json<api::Invitation>> {
    let invite = app.node.find_invite(room, &body.invite)?;
    app.node.revoke_invite(room, invite).await?;
    let mut all = app.node.invites(room)?.into_iter();
    let revoked = all.find(|info| info.invite == invite);
    let gone = || ayni::Error::NotFound("the invitation is not listed any more".into());
    Ok(Json(revoked.ok_or_else(gone)?.into()))
}

async fn look(State(app): Shared, JsonBody(body): JsonBody<api::Join>) -> Result<Json<api::Look>> {
    let (ticket, wait) = ticket(&body)?;
    Ok(Json(app.node.look(&ticket, wait).await?.into()))
}

async fn join(
    State(app): Shared,
    JsonBody(body): JsonBody<api::Join>,
) -> Result<Json<api::RoomRef>> {
    let (ticket, wait) = ticket(&body)?;
    Ok(Json(app.node.join(&ticket, wait).await?.into()))
}

fn ticket(body: &api::Join) -> Result<(Ticket, Duration)> {
    if body.wait_s > MAX_SECONDS {
        return Err(Failure::invalid(format!("wait_s is to be {MAX_SECONDS} at most")));
    }
    let ticket = body.ticket.trim().parse();
    let ticket =
        ticket.map_err(|error: <Ticket as FromStr>::Err| Failure::invalid(error.to_string()))?;
    Ok((ticket, Duration::from_secs(body.wait_s)))
}

async fn leave(State(app): Shared, Room(room): Room) -> Result<Json<api::Done>> {
    app.node.leave(room).await?;
    Ok(Json(api::Done {}))
}

async fn say(
    State(app): Shared,
    Room(room): Room,
    JsonBody(body): JsonBody<api::Text, MAX_TEXT_BODY>,
) -> Result<Json<api::Posted>> {
    let event = app.node.say(room, &body.text).await?;
    Ok(Json(api::Posted { event }))
}

async fn messages(State(app): Shared, Room(room): Room, mut params: Params) -> Result<Response> {
    let limit = params.parsed::<usize>("limit")?.unwrap_or(api::DEFAULT_LIMIT);
    let mark_read = params.parsed::<bool>("mark_read")?.unwrap_or(false);
    let thumbnails = params.parsed::<bool>("thumbnails")?.unwrap_or(false);
    params.end()?;
    // Marked before it is read: what arrives in between is listed, and at worst counted as unread.
    if mark_read {
        app.node.mark_read(room).await?;
    }
    history::history(app, room, limit, thumbnails).await
}

async fn members(State(app): Shared, Room(room): Room) -> Result<Json<Vec<api::Member>>> {
    Ok(Json(all(app.node.members(room)?)))
}

async fn person(
    State(app): Shared,
    Room(room): Room,
    mut params: Params,
) -> Result<Json<api::Person>> {
    let who = params.required("who")?;
    params.end()?;
    let account = app.node.find_member(room, &who)?;
    Ok(Json(app.node.person(room, account)?.into()))
}

async fn give_role(
    State(app): Shared,
    Room(room): Room,
    JsonBody(body): JsonBody<api::GiveRole>,
) -> Result<Json<api::Person>> {
    let account = app.node.find_member(room, &body.who)?;
    app.node.set_role(room, account, body.role).await?;
    Ok(Json(app.node.person(room, account)?.into()))
}

async fn remove(
    State(app): Shared,
    Room(room): Room,
    JsonBody(body): JsonBody<api::Remove>,
) -> Result<Json<api::Person>> {
    let account = app.node.find_member(room, &body.who)?;
    app.node.remove_member(room, account).await?;
    Ok(Json(app.node.person(room, account)?.into()))
}

async fn dm(
    State(app): Shared,
    JsonBody(body): JsonBody<api::Direct, MAX_TEXT_BODY>,
) -> Result<Json<api::PostedDirect>> {
    let who = app.node.find_who(&body.who)?;
    let room = app.node.direct_room(who).await?.room;
    let event = app.node.say(room, &body.text).await?;
    Ok(Json(api::PostedDirect { event, room }))
}

async fn broadcast(
    State(app): Shared,
    JsonBody(body): JsonBody<api::Text, MAX_TEXT_BODY>,
) -> Result<Json<Vec<api::PostedRoom>>> {
    let posted = app.node.broadcast(&body.text).await?;
    Ok(Json(posted.into_iter().map(|(room, event)| api::PostedRoom { room, event }).collect()))
}

async fn peers(State(app): Shared) -> Result<Json<Vec<api::Peer>>> {
    Ok(Json(all(app.node.peers())))
}

async fn services(State(app): Shared, mut params: Params) -> Result<Json<Vec<api::Service>>> {
    let peer = params.optional("peer")?;
    params.end()?;
    let peer = match peer {
        Some(peer) => Some(app.node.find_peer(&peer)?),
        None => None,
    };
    Ok(Json(all(app.node.services(peer).await?)))
}

async fn request(
    State(app): Shared,
    mut params: Params,
    RawBody(body): RawBody<MAX_SERVICE_BYTES>,
) -> Result<Bytes> {
    let peer = params.required("peer")?;
    let service = params.required("service")?;
    let timeout = params.seconds("timeout_s")?;
    params.end()?;
    let timeout = timeout.map_or_else(|| seconds("timeout_s", api::REQUEST_TIMEOUT_S), Ok)?;
    let peer = app.node.find_peer(&peer)?;
    Ok(app.node.request(peer, &service, body, timeout).await?)
}

pub(super) fn all<T, U: From<T>>(values: impl IntoIterator<Item = T>) -> Vec<U> {
    values.into_iter().map(U::from).collect()
}

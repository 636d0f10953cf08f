//! What is kept, and how fast it goes.

use axum::Json;
use axum::extract::State;

use super::App;
use super::extract::{JsonBody, MAX_TEXT_BODY, Room};
use super::failure::Result;
use super::files::Number;
use super::routes::Shared;
use crate::api;

pub(super) async fn set_priority(
    State(app): Shared,
    Number(id): Number,
    JsonBody(body): JsonBody<api::SetPriority, MAX_TEXT_BODY>,
) -> Result<Json<api::Done>> {
    app.node.set_transfer_priority(id, body.priority.into()).await?;
    Ok(Json(api::Done {}))
}

pub(super) async fn set_limit(
    State(app): Shared,
    Number(id): Number,
    JsonBody(body): JsonBody<api::Limits, MAX_TEXT_BODY>,
) -> Result<Json<api::Done>> {
    app.node.set_transfer_rates(id, body.up, body.down).await?;
    Ok(Json(api::Done {}))
}

pub(super) async fn limits(State(app): Shared) -> Json<api::Limits> {
    let (up, down) = app.node.rate_limits();
    Json(api::Limits { up, down })
}

pub(super) async fn set_limits(
    State(app): Shared,
    JsonBody(body): JsonBody<api::Limits, MAX_TEXT_BODY>,
) -> Result<Json<api::Limits>> {
    app.node.set_rate_limits(body.up, body.down).await?;
    Ok(Json(body))
}

pub(super) async fn storage(State(app): Shared) -> Result<Json<api::Storage>> {
    Ok(Json(told(&app).await?))
}

pub(super) async fn set_quota(
    State(app): Shared,
    JsonBody(body): JsonBody<api::SetBytes, MAX_TEXT_BODY>,
) -> Result<Json<api::Storage>> {
    app.node.set_storage_quota(body.bytes).await?;
    Ok(Json(told(&app).await?))
}

pub(super) async fn set_replication(
    State(app): Shared,
    JsonBody(body): JsonBody<api::Replication, MAX_TEXT_BODY>,
) -> Result<Json<api::Storage>> {
    app.node.set_replication(body.into()).await?;
    Ok(Json(told(&app).await?))
}

pub(super) async fn discard(
    State(app): Shared,
    JsonBody(body): JsonBody<api::Discard, MAX_TEXT_BODY>,
) -> Result<Json<api::Storage>> {
    let blob = app.node.find_kept(&body.blob).await?;
    app.node.discard(blob).await?;
    Ok(Json(told(&app).await?))
}

async fn told(app: &App) -> Result<api::Storage> {
    Ok(api::Storage::of(app.node.storage().await?, app.node.replication()))
}

pub(super) async fn pictures(State(app): Shared, Room(room): Room) -> Result<Json<api::SetBytes>> {
    let bytes = Some(app.node.picture_limit(room).await?);
    Ok(Json(api::SetBytes { bytes }))
}

pub(super) async fn set_pictures(
    State(app): Shared,
    Room(room): Room,
    JsonBody(body): JsonBody<api::SetBytes, MAX_TEXT_BODY>,
) -> Result<Json<api::SetBytes>> {
    app.node.set_picture_limit(room, body.bytes).await?;
    let bytes = Some(app.node.picture_limit(room).await?);
    Ok(Json(api::SetBytes { bytes }))
}

pub(super) async fn pin(
    State(app): Shared,
    Room(room): Room,
    JsonBody(body): JsonBody<api::Pin, MAX_TEXT_BODY>,
) -> Result<Json<api::Transfer>> {
    let event = app.node.find_attachment(room, &body.event).await?;
    Ok(Json(app.node.pin(room, event).await?.info().into()))
}

pub(super) async fn unpin(
    State(app): Shared,
    Room(room): Room,
    JsonBody(body): JsonBody<api::Pin, MAX_TEXT_BODY>,
) -> Result<Json<api::Done>> {
    let event = app.node.find_attachment(room, &body.event).await?;
    app.node.unpin(room, event).await?;
    Ok(Json(api::Done {}))
}

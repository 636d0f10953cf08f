//! Timelines: reading messages from the store, and turning events into what people see.

use std::sync::Arc;

use ayni_core::chat::Chat;
use ayni_core::event::Event as CoreEvent;
use ayni_core::id::AccountId;

use super::handle::RoomHandle;
use crate::error::Result;
use crate::inner::Inner;
use crate::model::{Cursor, Message, MessageKind, MessagePage, MessageQuery};

/// Most messages read from the store at a time; larger queries take several pages.
pub(crate) const PAGE: usize = 500;

/// Reads one page of a room's timeline.
pub(crate) async fn page(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    query: MessageQuery,
) -> Result<MessagePage> {
    let limit = query.limit.min(PAGE);
    let before = query.before.map(|cursor| (cursor.time, cursor.event));
    let mut events = inner.store.messages(room.id(), before, limit, inner.newest_shown()).await?;
    let oldest =
        events.last().map(|event| Cursor { time: event.header().time.0, event: event.id() });
    let full = events.len() == limit && limit > 0;
    events.reverse();
    let messages = events.iter().map(|event| message(inner, room, event)).collect();
    Ok(MessagePage { messages, before: oldest.filter(|_| full) })
}

/// Opens an event and names its author.
pub(crate) fn message(inner: &Inner, room: &RoomHandle, event: &CoreEvent) -> Message {
    let header = event.header();
    let (chat, author) = {
        let state = room.lock();
        (state.room.open(event), state.room.members().account_of(&header.device))
    };
    let author = author.unwrap_or(AccountId(header.device.0));
    let (kind, text) = match chat {
        Some(Chat::Message(text)) => (MessageKind::Message, text),
        Some(_) => (MessageKind::Unknown, String::new()),
        None => (MessageKind::Locked, String::new()),
    };
    Message {
        event: event.id(),
        room: room.id(),
        author,
        device: header.device,
        name: room.member_name(&author),
        time_ms: header.time.millis(),
        kind,
        text,
        mine: author == inner.keys.account.id(),
    }
}

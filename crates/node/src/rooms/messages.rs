//! Timelines: reading messages from the store, and turning events into what people see.

use std::sync::Arc;

use ayni_core::chat::Chat;
use ayni_core::event::Event as CoreEvent;
use ayni_core::id::{AccountId, RoomId};

use super::handle::RoomHandle;
use crate::content;
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::model::{Cursor, Found, Message, MessageKind, MessagePage, MessageQuery};
use crate::store::{Search, Words};

/// Most messages read from the store at a time; larger queries take several pages.
pub(crate) const PAGE: usize = 500;
/// Times that the store is read for one page, where messages are hidden: a page may then be short.
const MAX_READS: usize = 8;

/// Longest text that messages are searched for, in UTF-8 bytes.
const MAX_SEARCH: usize = 1024;

/// Reads one page of a room's timeline.
pub(crate) async fn page(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    query: MessageQuery,
) -> Result<MessagePage> {
    let limit = query.limit.min(PAGE);
    let (mut shown, mut before) = (Vec::new(), query.before);
    for _ in 0..MAX_READS {
        let (wanted, from) = (limit - shown.len(), before.map(|it| (it.time, it.event)));
        let events = inner.store.messages(room.id(), from, wanted, inner.newest_shown()).await?;
        let full = events.len() == wanted && wanted > 0;
        before = events.last().map(Cursor::of).filter(|_| full);
        let state = room.lock();
        shown.extend(events.into_iter().filter(|event| !state.room.hides(event.header())));
        drop(state);
        if before.is_none() || shown.len() == limit {
            break;
        }
    }
    shown.reverse();
    let messages = shown.iter().map(|event| message(inner, room, event)).collect();
    Ok(MessagePage { messages, before })
}

/// Finds messages by their words.
pub(crate) async fn search(
    inner: &Arc<Inner>,
    text: &str,
    room: Option<RoomId>,
    limit: usize,
    before: Option<Cursor>,
) -> Result<Found> {
    if text.len() > MAX_SEARCH {
        let len = text.len();
        return Err(Error::Invalid(format!(
            "a search of {len} bytes: it has at most {MAX_SEARCH}"
        )));
    }
    let words = Words::of(text).ok_or_else(|| {
        Error::Invalid("nothing to search for: name a word, or the start of one".into())
    })?;
    let limit = limit.min(PAGE);
    let before = before.map(|cursor| (cursor.time, cursor.event));
    let search = Search { words, room, before, limit, not_after: inner.newest_shown() };
    let found = inner.store.search(search).await?;
    let oldest = found.events.last().map(|(_, event)| Cursor::of(event));
    let full = found.events.len() == limit && limit > 0;
    let messages = found.events.iter().filter_map(|(room, event)| {
        let room = inner.room(room)?;
        let hidden = room.lock().room.hides(event.header());
        (!hidden).then(|| message(inner, &room, event))
    });
    let messages = messages.collect();
    Ok(Found { messages, before: oldest.filter(|_| full), behind: found.behind })
}

/// Opens an event and names its author.
pub(crate) fn message(inner: &Inner, room: &RoomHandle, event: &CoreEvent) -> Message {
    let header = event.header();
    let (chat, author) = {
        let state = room.lock();
        (state.room.open(event), state.room.members().account_of(&header.device))
    };
    let author = author.unwrap_or(AccountId(header.device.0));
    let (kind, text, attachment) = match chat {
        Some(Chat::Message(text)) => (MessageKind::Message, text, None),
        Some(Chat::Attachment(attachment, caption)) => {
            (MessageKind::Attachment, caption, Some(Box::new(content::clean(*attachment))))
        }
        Some(_) => (MessageKind::Unknown, String::new(), None),
        None => (MessageKind::Locked, String::new(), None),
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
        attachment,
        mine: author == inner.keys.account.id(),
    }
}

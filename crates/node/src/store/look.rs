//! What a stored message has that is looked for: its words, and the content that comes with it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ayni_core::chat::Chat;
use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event;
use ayni_core::id::{BlobId, EpochId, RoomId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::failure::Failure;
use super::read::event;

type Result<T, E = Failure> = std::result::Result<T, E>;

/// What a row of `events` is to those who look for something in it.
pub(super) enum Look {
    /// A message that can be read.
    Read(Readable),
    /// Its key is not here.
    Locked(EpochId),
    /// Nothing that has words.
    Nothing,
}

/// A message that can be read.
pub(super) struct Readable {
    pub(super) epoch: EpochId,
    /// Its words. Of an attachment: those of its name and of its caption.
    pub(super) text: String,
    /// The content that comes with it.
    pub(super) blob: Option<BlobId>,
}

/// The keys that were needed so far.
#[derive(Default)]
pub(super) struct Keys {
    rooms: BTreeMap<i64, RoomId>,
    secrets: BTreeMap<(i64, EpochId), Option<EpochSecret>>,
}

impl Keys {
    fn room(&mut self, db: &Connection, row: i64) -> Result<RoomId> {
        if let Some(room) = self.rooms.get(&row) {
            return Ok(*room);
        }
        let mut select = db.prepare_cached("SELECT room FROM rooms WHERE id = ?1")?;
        let room = RoomId(select.query_row([row], |row| row.get(0))?);
        self.rooms.insert(row, room);
        Ok(room)
    }

    fn secret(
        &mut self,
        db: &Connection,
        room: i64,
        epoch: EpochId,
    ) -> Result<Option<&EpochSecret>> {
        let known = match self.secrets.entry((room, epoch)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let mut select =
                    db.prepare_cached("SELECT secret FROM secrets WHERE room = ?1 AND epoch = ?2")?;
                let secret = select.query_row(params![room, epoch.0], |row| row.get(0));
                unknown.insert(secret.optional()?.map(EpochSecret::new))
            }
        };
        Ok(known.as_ref())
    }
}

/// Looks at a message whose [`super::read::EVENT_COLUMNS`] come first in `row`. One that is damaged has
/// nothing: whoever reads it is told.
pub(super) fn look(db: &Connection, keys: &mut Keys, room: i64, row: &Row<'_>) -> Result<Look> {
    match event(row, 0) {
        Ok(message) => look_into(db, keys, room, &message),
        Err(Failure::Damaged(_)) => Ok(Look::Nothing),
        Err(failure) => Err(failure),
    }
}

/// Looks at a message of the room with row number `room`.
pub(super) fn look_into(
    db: &Connection,
    keys: &mut Keys,
    room: i64,
    message: &Event,
) -> Result<Look> {
    let (Some(epoch), Some(body)) = (message.header().epoch, message.body()) else {
        return Ok(Look::Nothing);
    };
    let id = keys.room(db, room)?;
    let Some(secret) = keys.secret(db, room, epoch)? else { return Ok(Look::Locked(epoch)) };
    let Ok(plain) = secret.open(id, &message.header().associated_data(), body) else {
        return Ok(Look::Nothing);
    };
    let (text, blob) = match Chat::from_bytes(&plain) {
        Ok(Chat::Message(text)) => (text, None),
        Ok(Chat::Attachment(it, caption)) => (format!("{}\n{caption}", it.name), Some(it.blob)),
        _ => return Ok(Look::Nothing),
    };
    Ok(Look::Read(Readable { epoch, text, blob }))
}

//! What members do with a room and with one another: saying, roles, removals, settings, invites.

use std::sync::Arc;

use ayni_core::chat::Chat;
use ayni_core::clock::Millis;
use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event;
use ayni_core::id::{AccountId, EventId};
use ayni_core::keys::DeviceKey;
use ayni_core::room::{Accepted, AuthorError, Room};

use super::handle::RoomHandle;
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::model::InviteInfo;

/// Authors something on this device; returns the events when they are durable.
pub(crate) async fn author(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    author: impl FnOnce(&mut Room, &DeviceKey, Millis) -> std::result::Result<Accepted, AuthorError>,
) -> Result<Vec<Event>> {
    room.await_tip(inner).await?;
    let device = &inner.keys.device;
    let events = room.change(inner, |replica, now| Ok(author(replica, device, now)?)).await??;
    Ok(events)
}

/// Says something.
pub(crate) async fn say(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    chat: &Chat,
) -> Result<EventId> {
    let (entropy, fresh) = (inner.entropy()?, EpochSecret::new(inner.entropy()?));
    let said = author(inner, room, |replica, device, now| {
        replica.author_chat_minting(device, chat, now, &entropy, fresh)
    });
    said.await?.last().map(Event::id).ok_or(Error::Closed)
}

/// Removes an account, and mints the epoch that it does not get: both or neither become durable.
pub(crate) async fn remove(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    account: AccountId,
) -> Result<()> {
    if account == inner.keys.account.id() {
        return Err(Error::Invalid("this is your own account: leave the room instead".into()));
    }
    let fresh = EpochSecret::new(inner.entropy()?);
    let removed = author(inner, room, |replica, device, now| {
        let mut tried = replica.clone();
        let removed = tried.author_remove(device, account, now)?;
        let minted = tried.author_epoch(device, fresh, now)?;
        *replica = tried;
        Ok(removed.and(minted))
    });
    removed.await.map(drop)
}

/// Returns the invitations of a room.
pub(crate) fn invites(inner: &Inner, room: &RoomHandle) -> Vec<InviteInfo> {
    let now = inner.now();
    let mut all: Vec<InviteInfo> = {
        let state = room.lock();
        let members = state.room.members();
        let infos = members.invites().map(|(key, info)| InviteInfo {
            invite: *key,
            inviter: info.inviter,
            inviter_name: String::new(),
            uses: info.invite.uses,
            used: info.admitted.len(),
            expires_ms: info.invite.expires_ms,
            role: info.invite.role,
            open: info.open && !info.is_expired(now) && !info.is_used_up(),
        });
        infos.collect()
    };
    for info in &mut all {
        info.inviter_name = room.member_name(&info.inviter);
    }
    all.sort_by_key(|info| (!info.open, std::cmp::Reverse(info.expires_ms), info.invite));
    all
}

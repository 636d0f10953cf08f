//! What members do with a room and with one another: saying, roles, removals, settings, invites.

use std::sync::Arc;

use ayni_core::chat::Chat;
use ayni_core::epoch::EpochSecret;
use ayni_core::id::{AccountId, EventId, InviteKey};
use ayni_core::room::{Role, Setting};

use super::handle::RoomHandle;
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::model::InviteInfo;

/// Says something; mints an epoch before, where there is none to seal with, or only an old one.
pub(crate) async fn say(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    chat: &Chat,
) -> Result<EventId> {
    let (entropy, secret) = (inner.entropy()?, inner.entropy()?);
    let device = &inner.keys.device;
    let change = room.change(inner, |replica, now| {
        if !replica.needs_epoch(now) {
            return Ok(replica.author_chat(device, chat, now, &entropy)?);
        }
        let mut tried = replica.clone();
        let minted = tried.author_epoch(device, EpochSecret::new(secret), now)?;
        let said = tried.author_chat(device, chat, now, &entropy)?;
        *replica = tried;
        Ok(minted.and(said))
    });
    let events = change.await??;
    events.last().map(ayni_core::event::Event::id).ok_or(Error::Closed)
}

/// Gives an account a role.
pub(crate) async fn set_role(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    account: AccountId,
    role: Role,
) -> Result<()> {
    let device = &inner.keys.device;
    let change =
        room.change(inner, |replica, now| Ok(replica.author_role(device, account, role, now)?));
    change.await??;
    Ok(())
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
    let secret = inner.entropy()?;
    let device = &inner.keys.device;
    let change = room.change(inner, |replica, now| {
        let mut tried = replica.clone();
        let removed = tried.author_remove(device, account, now)?;
        let minted = tried.author_epoch(device, EpochSecret::new(secret), now)?;
        *replica = tried;
        Ok(removed.and(minted))
    });
    change.await??;
    Ok(())
}

/// Sets the room up in one respect.
pub(crate) async fn set(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    setting: &Setting,
) -> Result<()> {
    let device = &inner.keys.device;
    let change =
        room.change(inner, |replica, now| Ok(replica.author_setting(device, setting, now)?));
    change.await??;
    Ok(())
}

/// Ends an invitation.
pub(crate) async fn revoke(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    invite: InviteKey,
) -> Result<()> {
    let device = &inner.keys.device;
    let change = room.change(inner, |replica, now| Ok(replica.author_revoke(device, invite, now)?));
    change.await??;
    Ok(())
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

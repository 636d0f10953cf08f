//! Inviting, and admitting who comes with an invite.

use std::sync::Arc;

use ayni_core::clock::Millis;
use ayni_core::epoch::EpochSecret;
use ayni_core::id::{AccountId, InviteKey, PeerId, RoomId};
use ayni_core::keys::{Bytes32, InviteSecret};
use ayni_core::limits;
use ayni_core::proto::{Admission, JoinReply, JoinRequest};
use ayni_core::room::{Accepted, Admit, Control, History, Invite, Kind, MemberInfo, Room};
use ayni_core::ticket::Ticket;

use super::handle::{Refusal, RoomHandle};
use super::keys;
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::model::InviteOptions;
use crate::transport::{Link, Stream};

/// Makes an invite and its ticket.
pub(crate) async fn invite(
    inner: &Arc<Inner>,
    room: &Arc<RoomHandle>,
    options: &InviteOptions,
) -> Result<Ticket> {
    let group = room.lock().room.members().genesis().is_some_and(|g| g.kind == Kind::Group);
    if !group {
        return Err(Error::Invalid(
            "nobody else can come into this one: create a room, and invite to that".into(),
        ));
    }
    if options.uses == Some(0) {
        return Err(Error::Invalid("an invitation needs at least one use".into()));
    }
    if options.role.has_authority() {
        return Err(Error::Invalid(
            "an invitation makes members or readers: give a higher role to who has joined".into(),
        ));
    }
    let seed = inner.entropy()?;
    let lifetime = u64::try_from(options.expires_in.as_millis()).unwrap_or(u64::MAX);
    let expires_ms = inner.now().saturating_add(lifetime);
    let key = InviteSecret::from_seed(&seed).key();
    let invite = Invite { key, uses: options.uses, expires_ms, role: options.role };
    let device = &inner.keys.device;
    room.await_tip(inner).await?;
    room.change(inner, |room, now| Ok(room.author_invite(device, invite, now)?)).await??;
    let mut members = vec![inner.own_address()];
    let others = inner.addresses_for(room, &inner.me());
    members.extend(others.into_iter().take(limits::MAX_PEER_ADDRS / 4));
    Ok(Ticket { room: room.id(), seed: Bytes32(seed), expires_ms, members })
}

/// Serves `join/1` on an accepted stream.
pub(crate) async fn serve(inner: Arc<Inner>, link: Link, mut stream: Stream) {
    let Ok(request) = stream.recv.expect_short::<JoinRequest>().await else { return };
    let reply = admit(&inner, &link, &request).await;
    if stream.send.send(&reply).await.is_ok() {
        stream.send.finish();
        stream.send.delivered().await;
    }
    if matches!(reply, JoinReply::Admitted(_)) {
        inner.sync_with(&link);
    }
}

async fn admit(inner: &Arc<Inner>, link: &Link, request: &JoinRequest) -> JoinReply {
    let claim = &request.claim;
    if !holds(inner.me(), link.peer(), request) {
        return JoinReply::Refused;
    }
    let Some(room) = inner.room(&claim.room) else { return JoinReply::Refused };
    // Who holds no invite is refused below, and waits for nothing.
    let known = room.lock().room.members().invite(&claim.invite).is_some();
    if known && room.await_tip(inner).await.is_err() {
        return JoinReply::NotNow;
    }
    let account = claim.cert.claim.account;
    let Ok(fresh) = inner.entropy() else { return JoinReply::NotNow };
    let mut verdict = None;
    let result = room
        .change(inner, |replica, now| {
            let members = replica.members();
            let member = members.account(&account).is_some_and(|info| {
                info.is_member() && info.devices.contains_key(&claim.cert.claim.device)
            });
            if member && replica.am_member() {
                return Ok(Accepted::default());
            }
            if let Err(reply) = judge(replica, &claim.invite, &account, now) {
                verdict = Some(if member { JoinReply::NotNow } else { reply });
                return Ok(Accepted::default());
            }
            let term = members
                .account(&account)
                .and_then(MemberInfo::current_term)
                .unwrap_or_else(|| members.next_term(&account));
            let admit = Admit {
                claim: claim.clone(),
                invite_signature: request.invite_signature,
                device_signature: request.device_signature,
                term,
            };
            let device = &inner.keys.device;
            let mut admitting = replica.clone();
            let mut accepted =
                admitting.author_control(device, &Control::Admit(Box::new(admit)), now)?;
            if admitting.members().role(&account).is_none() {
                // It was removed, and this invite was made before.
                verdict = Some(JoinReply::Refused);
                return Ok(Accepted::default());
            }
            if admitting.members().history() == History::FromJoining {
                // What was said before is not for it.
                accepted =
                    accepted.and(admitting.author_epoch(device, EpochSecret::new(fresh), now)?);
            }
            *replica = admitting;
            Ok(accepted)
        })
        .await;
    match (verdict, result) {
        (Some(verdict), _) => verdict,
        (None, Ok(Ok(_))) => admission(inner, &room, claim.room, link.peer()).await,
        (None, Ok(Err(Refusal::Author(_) | Refusal::Reject(_))) | Err(_)) => JoinReply::NotNow,
    }
}

/// Whether an invite lets an account in, as far as is known here; else what is answered. Who has no
/// invite of this room is not even told that it is here.
pub(super) fn judge(
    replica: &Room,
    invite: &InviteKey,
    account: &AccountId,
    now: Millis,
) -> std::result::Result<(), JoinReply> {
    let members = replica.members();
    let Some(invite) = members.invite(invite) else { return Err(JoinReply::Refused) };
    if !replica.am_member() {
        return Err(JoinReply::NotNow);
    }
    let least = members.settings().who_invites();
    let entitled = members.role(&invite.inviter).is_none_or(|role| role >= least);
    if !invite.open || !entitled {
        return Err(JoinReply::Refused);
    }
    if invite.is_expired(now) {
        return Err(JoinReply::Expired);
    }
    if invite.is_used_up() && !invite.admitted.contains(account) {
        return Err(JoinReply::UsedUp);
    }
    Ok(())
}

/// Whether the claim is meant for us, made by who connects, and signed by both keys.
fn holds(me: PeerId, peer: PeerId, request: &JoinRequest) -> bool {
    request.claim.cert.claim.device == peer && request.verify(request.claim.room, me).is_ok()
}

/// Puts together what a newcomer needs: above all the keys that it may have, sealed for its device.
async fn admission(inner: &Inner, room: &RoomHandle, id: RoomId, joiner: PeerId) -> JoinReply {
    let Some(epochs) = keys::seal(inner, room, joiner, None).await else {
        return JoinReply::NotNow;
    };
    let members = inner.addresses_for(room, &joiner);
    let state = room.lock();
    let known = state.room.members();
    let account = known.account_of(&joiner).and_then(|account| known.account(&account));
    let term = account.and_then(MemberInfo::current_term);
    let (Some(genesis), Some(term)) = (known.genesis().cloned(), term) else {
        return JoinReply::NotNow;
    };
    debug_assert_eq!(genesis.id(), id);
    JoinReply::Admitted(Admission { genesis, term, epochs, members })
}

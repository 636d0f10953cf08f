//! Seeing who invites to what, before joining.
//!
//! The holder of a ticket asks a member of the room. It shows the invite's key as for joining, but signs
//! for another purpose, so that whoever is asked cannot admit by it who only wanted to look. What comes
//! back is that member's word; only the room's id is proved, by the genesis.

use std::sync::Arc;
use std::time::Duration;

use ayni_core::proto::{Invitation, JoinClaim, JoinReply, JoinRequest, LookReply, service};
use ayni_core::ticket::{PeerAddr, Ticket};

use super::invite::judge;
use crate::discovery::book::Source;
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::model::InvitationInfo;
use crate::transport::{Link, OpenError, Stream};

/// Asks the ticket's members in turn, the inviter first, for at most `wait`.
pub(crate) async fn look(
    inner: &Arc<Inner>,
    ticket: &Ticket,
    wait: Duration,
) -> Result<InvitationInfo> {
    if inner.now() >= ticket.expires_ms {
        return Err(Error::Denied("this ticket has expired: ask for a new one".into()));
    }
    for addr in &ticket.members {
        inner.learn_address(addr, Source::Told);
    }
    tokio::time::timeout(wait, ask_all(inner, ticket)).await.unwrap_or_else(|_| Err(unreachable()))
}

fn unreachable() -> Error {
    Error::Unreachable(
        "no member of the room could be reached to ask what this ticket is for".into(),
    )
}

async fn ask_all(inner: &Arc<Inner>, ticket: &Ticket) -> Result<InvitationInfo> {
    for (nth, PeerAddr { peer, .. }) in ticket.members.iter().enumerate() {
        if *peer == inner.me() {
            continue;
        }
        let Ok(link) = inner.connect(*peer).await else { continue };
        match ask(inner, ticket, &link).await {
            Ok(LookReply::Invitation(told)) if told.check(ticket.room).is_ok() => {
                return Ok(info(ticket, told));
            }
            Ok(LookReply::Not(reply)) => {
                if let Some(reason) = reply.final_reason(nth == 0) {
                    return Err(Error::Denied(reason.into()));
                }
            }
            Ok(LookReply::Invitation(_)) => tracing::debug!(peer = %peer.short(), "no invitation"),
            Err(error) => tracing::debug!(peer = %peer.short(), "looking: {error}"),
        }
    }
    Err(unreachable())
}

async fn ask(
    inner: &Inner,
    ticket: &Ticket,
    link: &Link,
) -> std::result::Result<LookReply, OpenError> {
    let invite = ticket.secret();
    let (room, cert, admitter) = (ticket.room, inner.keys.cert.clone(), link.peer());
    let claim = JoinClaim { room, cert, admitter, invite: invite.key() };
    let mut stream = link.open(service::LOOK, None).await?;
    stream.send.send(&claim.sign_look(&invite, &inner.keys.device)).await?;
    stream.send.finish();
    Ok(stream.recv.expect().await?)
}

fn info(ticket: &Ticket, told: Invitation) -> InvitationInfo {
    let named = |name: String, otherwise: String| {
        let shown = crate::name::check(&name);
        shown.unwrap_or(otherwise)
    };
    InvitationInfo {
        room: ticket.room,
        name: named(told.name, ticket.room.short()),
        topic: if told.topic.chars().any(crate::deceives) { String::new() } else { told.topic },
        inviter: told.inviter,
        inviter_name: named(told.inviter_name, told.inviter.short()),
        members: told.members,
        role: told.role,
        history: told.history,
        expires_ms: ticket.expires_ms,
    }
}

/// Serves `look/1` on an accepted stream.
pub(crate) async fn serve(inner: Arc<Inner>, link: Link, mut stream: Stream) {
    let Ok(request) = stream.recv.expect_short::<JoinRequest>().await else { return };
    let reply = show(&inner, &link, &request).unwrap_or_else(LookReply::Not);
    if stream.send.send(&reply).await.is_ok() {
        stream.send.finish();
        stream.send.delivered().await;
    }
}

fn show(
    inner: &Inner,
    link: &Link,
    request: &JoinRequest,
) -> std::result::Result<LookReply, JoinReply> {
    let claim = &request.claim;
    let theirs = claim.cert.claim.device == link.peer();
    if !theirs || request.verify_look(claim.room, inner.me()).is_err() {
        return Err(JoinReply::Refused);
    }
    let room = inner.room(&claim.room).ok_or(JoinReply::Refused)?;
    let state = room.lock();
    judge(&state.room, &claim.invite, &claim.cert.claim.account, inner.now())?;
    let members = state.room.members();
    let invite = members.invite(&claim.invite).ok_or(JoinReply::Refused)?;
    let inviter = members.account(&invite.inviter).and_then(|info| info.name());
    Ok(LookReply::Invitation(Invitation {
        genesis: members.genesis().cloned().ok_or(JoinReply::NotNow)?,
        name: members.room_name().unwrap_or_default().to_owned(),
        topic: members.settings().topic().unwrap_or_default().to_owned(),
        inviter: invite.inviter,
        inviter_name: inviter.unwrap_or_default().to_owned(),
        members: u32::try_from(members.current().count()).unwrap_or(u32::MAX),
        role: invite.invite.role,
        history: members.history(),
    }))
}

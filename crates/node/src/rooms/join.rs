//! Joining a room with a ticket: asking its members until one admits us, however long it takes.
//!
//! A join is remembered in the store until it succeeds or is refused for good, so it goes on after a
//! restart.

use std::sync::Arc;
use std::time::Duration;

use ayni_core::id::{PeerId, RoomId};
use ayni_core::proto::{Admission, JoinClaim, JoinReply, service};
use ayni_core::room::{Accepted, Control, Kind, Room};
use ayni_core::ticket::{PeerAddr, Ticket};
use tokio::sync::watch;

use super::handle::RoomHandle;
use super::keys;
use crate::discovery::book::Source;
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::model::RoomInfo;
use crate::store::Write;
use crate::transport::{Link, OpenError};

/// First pause between two rounds of asking all members, doubled up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between two rounds.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How long a newcomer waits for the room from who admitted it, before it asks the others too.
const FILL: Duration = Duration::from_secs(5);

/// How a join stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Asking.
    Asking,
    /// Admitted; the room fills.
    Admitted,
    /// Refused for good, with a sentence.
    Refused(String),
}

/// Joins; waits for the room to be presentable at most `wait`.
pub(crate) async fn join(inner: &Arc<Inner>, ticket: &Ticket, wait: Duration) -> Result<RoomInfo> {
    let existing = inner.room(&ticket.room);
    let member =
        existing.as_ref().filter(|room| room.lock().room.am_member() && *room.ready.borrow());
    if let Some(room) = member {
        return Ok(room.info(inner));
    }
    let admitted = existing.is_some_and(|room| room.lock().room.am_member());
    if !admitted && inner.now() >= ticket.expires_ms {
        return Err(Error::Denied("this ticket has expired: ask for a new one".into()));
    }
    let joined = async {
        loop {
            let progress = begin(inner, ticket.clone(), true).await?;
            if let Some(info) = finished(inner, ticket.room, progress).await? {
                return Ok(info);
            }
        }
    };
    match tokio::time::timeout(wait, joined).await {
        Ok(result) => result,
        Err(_) => Err(Error::Unreachable(
            "no member could be reached in time; joining goes on while a node runs".into(),
        )),
    }
}

/// Waits for a join. None: it ended, and we left again before this was noticed.
async fn finished(
    inner: &Arc<Inner>,
    room: RoomId,
    mut progress: watch::Receiver<Progress>,
) -> Result<Option<RoomInfo>> {
    loop {
        let now = progress.borrow_and_update().clone();
        match now {
            Progress::Refused(reason) => return Err(Error::Denied(reason)),
            Progress::Admitted => break,
            Progress::Asking => progress.changed().await.map_err(|_| Error::Closed)?,
        }
    }
    let room = inner.room(&room).ok_or(Error::Closed)?;
    let ended = async { while progress.changed().await.is_ok() {} };
    tokio::select! {
        result = filled(&room) => result?,
        () = ended => {}
    }
    let joined = room.lock().room.am_member() && *room.ready.borrow();
    Ok(joined.then(|| room.info(inner)))
}

/// Waits until a room has something to look at, and this device is a member of it: one that left and
/// comes back has the former already.
async fn filled(room: &RoomHandle) -> Result<()> {
    let mut changed = room.changed.subscribe();
    let mut ready = room.ready.subscribe();
    ready.wait_for(|ready| *ready).await.map_err(|_| Error::Closed)?;
    while !room.lock().room.am_member() {
        changed.changed().await.map_err(|_| Error::Closed)?;
    }
    Ok(())
}

/// Begins to join, or finds the join that is under way.
pub(crate) async fn begin(
    inner: &Arc<Inner>,
    ticket: Ticket,
    remember: bool,
) -> Result<watch::Receiver<Progress>> {
    if let Some(progress) = inner.joining(&ticket.room) {
        return Ok(progress);
    }
    if remember {
        let now_ms = inner.now();
        let write = Write::PendingJoin { room: ticket.room, ticket: ticket.to_bytes(), now_ms };
        inner.store.write(write).await?;
    }
    let (sender, receiver) = watch::channel(Progress::Asking);
    if !inner.start_joining(ticket.room, receiver.clone()) {
        return inner.joining(&ticket.room).ok_or(Error::Closed);
    }
    let task = ask_until_admitted(inner.clone(), ticket, sender);
    inner.tasks.spawn(inner.cancel.clone().run_until_cancelled_owned(task));
    Ok(receiver)
}

async fn ask_until_admitted(inner: Arc<Inner>, ticket: Ticket, progress: watch::Sender<Progress>) {
    for addr in &ticket.members {
        inner.learn_address(addr, Source::Told);
    }
    let mut pause = FIRST_PAUSE;
    loop {
        match ask_all(&inner, &ticket).await {
            Some(Ok(link)) => {
                progress.send_replace(Progress::Admitted);
                inner.sync_with(&link);
                await_first_sync(&inner, &ticket).await;
                break;
            }
            Some(Err(reason)) => {
                progress.send_replace(Progress::Refused(reason));
                break;
            }
            None => {}
        }
        if inner.now() >= ticket.expires_ms {
            progress.send_replace(Progress::Refused("this ticket has expired".into()));
            break;
        }
        tokio::time::sleep(pause.mul_f64(0.75 + 0.5 * inner.jitter())).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
    if inner.store.write(Write::JoinDone { room: ticket.room }).await.is_err() {
        tracing::warn!("a finished join could not be noted; it is tried again at the next start");
    }
    inner.stop_joining(&ticket.room);
}

/// Waits until the room is here: only then is the join forgotten.
async fn await_first_sync(inner: &Arc<Inner>, ticket: &Ticket) {
    let Some(room) = inner.room(&ticket.room) else { return };
    loop {
        if tokio::time::timeout(FILL, filled(&room)).await.is_ok() {
            return;
        }
        // The member that admitted us may be gone, or may never have meant it and keep the admission
        // to itself: any other can admit us as well, and fill us.
        for PeerAddr { peer, .. } in &ticket.members {
            let Ok(link) = inner.connect(*peer).await else { continue };
            if let Ok(JoinReply::Admitted(admission)) = ask(inner, ticket, &link).await
                && enter(inner, ticket, admission, link.peer()).await.is_ok()
            {
                inner.sync_with(&link);
            }
        }
    }
}

/// Asks every member of the ticket, the inviter first. None: nobody could say yet.
async fn ask_all(inner: &Arc<Inner>, ticket: &Ticket) -> Option<std::result::Result<Link, String>> {
    for (nth, PeerAddr { peer, .. }) in ticket.members.iter().enumerate() {
        if *peer == inner.me() {
            continue;
        }
        let Ok(link) = inner.connect(*peer).await else { continue };
        match ask(inner, ticket, &link).await {
            // It has not heard yet that we left: it must, before it can let us in again.
            Ok(JoinReply::Admitted(admission)) if is_over(inner, ticket, admission.term) => {
                inner.sync_with(&link);
            }
            Ok(JoinReply::Admitted(admission)) => {
                match enter(inner, ticket, admission, link.peer()).await {
                    Ok(()) => return Some(Ok(link)),
                    Err(error) => tracing::warn!("an admission could not be used: {error}"),
                }
            }
            Ok(reply) => {
                if let Some(reason) = reply.final_reason(nth == 0) {
                    return Some(Err(reason.into()));
                }
            }
            Err(error) => tracing::debug!(peer = %peer.short(), "asking to join: {error}"),
        }
    }
    None
}

/// Whether this account ended a term of its membership already, as far as is known here.
fn is_over(inner: &Inner, ticket: &Ticket, term: u32) -> bool {
    let Some(room) = inner.room(&ticket.room) else { return false };
    let state = room.lock();
    let account = inner.keys.account.id();
    let members = state.room.members();
    let here = members.account(&account).is_some_and(|info| !info.is_member());
    here && term < members.next_term(&account)
}

async fn ask(
    inner: &Arc<Inner>,
    ticket: &Ticket,
    link: &Link,
) -> std::result::Result<JoinReply, OpenError> {
    let invite = ticket.secret();
    let claim = JoinClaim {
        room: ticket.room,
        cert: inner.keys.cert.clone(),
        admitter: link.peer(),
        invite: invite.key(),
    };
    let request = claim.sign(&invite, &inner.keys.device);
    let mut stream = link.open(service::JOIN, None).await?;
    stream.send.send(&request).await?;
    stream.send.finish();
    let reply: JoinReply = stream.recv.expect().await?;
    let (peer, told) = (link.peer().short(), reply.name());
    tracing::debug!(%peer, room = %ticket.room.short(), "asked to join: {told}");
    Ok(reply)
}

/// Takes an admission by `from` in: the room exists here from now on, empty but for its keys.
async fn enter(
    inner: &Arc<Inner>,
    ticket: &Ticket,
    admission: Admission,
    from: PeerId,
) -> Result<()> {
    let genesis = &admission.genesis;
    if admission.check(ticket.room).is_err() || genesis.kind != Kind::Group {
        return Err(Error::Denied("the member answered with another room".into()));
    }
    for addr in &admission.members {
        inner.learn_address(addr, Source::Told);
    }
    let room = if let Some(room) = inner.room(&ticket.room) {
        room
    } else {
        let now_ms = inner.now();
        let write = Write::Room { room: ticket.room, kind: genesis.kind, now_ms };
        inner.store.write(write).await?;
        let replica = Room::new(ticket.room, inner.me());
        inner.add_room(&RoomHandle::new(replica, 0, true))
    };
    let secrets = keys::open(inner, ticket.room, from, admission.epochs).await;
    room.learn(inner, secrets).await
}

/// Says our name in a room that just admitted us, unless it is said already.
pub(crate) async fn introduce(inner: Arc<Inner>, room: Arc<RoomHandle>) {
    if let Err(error) = room.await_tip(&inner).await {
        return tracing::warn!("the name was not written: {error}");
    }
    let name = inner.name();
    let device = &inner.keys.device;
    let account = inner.keys.account.id();
    let result = room
        .change(&inner, |replica, now| {
            let known = replica.members().account(&account).and_then(|info| info.name());
            if known == Some(name.as_str()) || !replica.am_member() {
                return Ok(Accepted::default());
            }
            Ok(replica.author_control(device, &Control::Profile(name.clone()), now)?)
        })
        .await;
    if let Err(error) = result {
        tracing::warn!("the name could not be written: {error}");
    }
}

//! Direct rooms: both sides make the same one. And the room of one's own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ayni_core::epoch::EpochSecret;
use ayni_core::id::AccountId;
use ayni_core::proto::{ContactReply, ContactRequest, Profile, service};
use ayni_core::room::{Genesis, Kind, Room};
use tokio::sync::watch;

use super::handle::RoomHandle;
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::store::{Append, Write};
use crate::transport::{Link, Stream, StreamError};

/// Direct rooms that strangers (who share no other room with us) may open here.
const MAX_STRANGERS: usize = 64;

/// Direct rooms that are being founded: each by one task, since two would write two beginnings.
#[derive(Debug, Default)]
pub(crate) struct Openings(Mutex<BTreeMap<AccountId, watch::Receiver<()>>>);

/// The right to found the direct room with one account. Others who want it wait for its end.
struct Opening<'a> {
    all: &'a Openings,
    other: AccountId,
    _ended: watch::Sender<()>,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.other);
    }
}

impl Openings {
    /// Begins to found the room with `other`, where `permits` agrees given how many are being
    /// founded. None: not permitted.
    ///
    /// # Errors
    /// The end of whoever is founding that room now.
    fn begin(
        &self,
        other: AccountId,
        permits: impl FnOnce(usize) -> bool,
    ) -> std::result::Result<Option<Opening<'_>>, watch::Receiver<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = all.get(&other) {
            return Err(end.clone());
        }
        if !permits(all.len()) {
            return Ok(None);
        }
        let (ended, end) = watch::channel(());
        all.insert(other, end);
        Ok(Some(Opening { all: self, other, _ended: ended }))
    }
}

/// Finds or makes our side of the direct room with an account; with our own: the room of our notes.
pub(crate) async fn open(inner: &Arc<Inner>, other: AccountId) -> Result<Arc<RoomHandle>> {
    open_where(inner, other, |_| true).await
}

async fn open_where(
    inner: &Arc<Inner>,
    other: AccountId,
    permits: impl Fn(usize) -> bool,
) -> Result<Arc<RoomHandle>> {
    let mine = inner.keys.account.id();
    let genesis = if other == mine { Genesis::own(mine) } else { Genesis::direct(mine, other) };
    loop {
        if let Some(room) = inner.room(&genesis.id()) {
            return Ok(room);
        }
        match inner.openings.begin(other, &permits) {
            // It may have been founded since we looked.
            Ok(Some(_opening)) => match inner.room(&genesis.id()) {
                Some(room) => return Ok(room),
                None => return found(inner, &genesis, None).await,
            },
            Ok(None) => return Err(Error::Denied("too many strangers wrote already".into())),
            // An end is all that it ever tells.
            Err(mut end) => drop(end.changed().await),
        }
    }
}

/// Founds a room: writes its first events.
pub(crate) async fn found(
    inner: &Arc<Inner>,
    genesis: &Genesis,
    name: Option<&str>,
) -> Result<Arc<RoomHandle>> {
    let secret = EpochSecret::new(inner.entropy()?);
    let (device, cert) = (&inner.keys.device, &inner.keys.cert);
    let own_name = inner.name();
    let names = (own_name.as_str(), name);
    let (replica, accepted) =
        Room::found(genesis, device, cert, names, secret.clone(), inner.now());
    let id = replica.id();
    let runs = replica
        .logs()
        .iter()
        .map(|(log, state)| {
            let newest = accepted.events.iter().map(|event| event.header().time).max();
            (*log, state.runs().copied().collect(), newest.unwrap_or_default())
        })
        .collect();
    let (now_ms, kind) = (inner.now(), genesis.kind);
    let append = Append {
        room: id,
        events: accepted.events.into(),
        runs,
        voided: vec![],
        unread: 0,
        secrets: vec![(secret.id(id), secret)],
    };
    let inner = inner.clone();
    let tasks = inner.tasks.clone();
    // In a task of its own: who waits for the room may give up, and it is made all the same.
    let made = tasks.spawn(async move {
        inner.store.write(Write::Room { room: id, kind, now_ms }).await?;
        // The room's key becomes durable together with its first events, or not at all; a room
        // without events is skipped at the next start.
        inner.store.write(Write::Append(append)).await?;
        Ok(inner.add_room(&RoomHandle::new(replica, 0, true)))
    });
    made.await.unwrap_or(Err(Error::Closed))
}

/// Tells the other side of our direct rooms about them, where it has not written there yet.
pub(crate) async fn offer(inner: Arc<Inner>, room: Arc<RoomHandle>, link: Link) {
    let account = inner.account_of(&link.peer());
    let missing = {
        let state = room.lock();
        let members = state.room.members();
        let direct = members.genesis().is_some_and(|genesis| genesis.kind == Kind::Direct);
        let theirs = account.and_then(|account| members.account(&account));
        direct && theirs.is_some_and(|info| info.devices.is_empty())
    };
    if missing {
        match call(&inner, &link).await {
            Ok(ContactReply::Opened) => inner.sync_with(&link),
            Ok(ContactReply::Refused) => tracing::debug!("the peer takes no direct messages"),
            Err(error) => tracing::debug!("contact: {error}"),
        }
    }
}

async fn call(inner: &Inner, link: &Link) -> std::result::Result<ContactReply, String> {
    let opened = link.open(service::CONTACT, None).await;
    let mut stream = opened.map_err(|error| error.to_string())?;
    let asked = async {
        stream.send.send(&ContactRequest { profile: inner.profile() }).await?;
        stream.send.finish();
        stream.recv.expect::<ContactReply>().await
    };
    asked.await.map_err(|error: StreamError| error.to_string())
}

/// Serves `contact/1`.
pub(crate) async fn serve(inner: Arc<Inner>, link: Link, mut stream: Stream) {
    let Ok(request) = stream.recv.expect_short::<ContactRequest>().await else { return };
    let reply = match accept(&inner, &link, &request.profile).await {
        Ok(()) => ContactReply::Opened,
        Err(error) => {
            tracing::debug!(peer = %link.peer().short(), "contact refused: {error}");
            ContactReply::Refused
        }
    };
    if stream.send.send(&reply).await.is_ok() {
        stream.send.finish();
        stream.send.delivered().await;
    }
    inner.sync_with(&link);
}

async fn accept(inner: &Arc<Inner>, link: &Link, profile: &Profile) -> Result<()> {
    let refused = || Error::Denied("a profile that does not hold".into());
    profile.check().map_err(|_| refused())?;
    if profile.cert.claim.device != link.peer() {
        return Err(refused());
    }
    let account = profile.cert.claim.account;
    inner.learn_profile(link.peer(), profile);
    let few = |opening| inner.stranger_rooms() + opening < MAX_STRANGERS;
    open_where(inner, account, |opening| inner.shares_group_with(&account) || few(opening))
        .await
        .map(drop)
}

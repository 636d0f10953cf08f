//! The running node: the handle that everything else uses.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ayni_core::chat::{Chat, TextError};
use ayni_core::id::{AccountId, EventId, InviteKey, PeerId, RoomId};
use ayni_core::proto;
use ayni_core::room::{Genesis, Role, Room, Setting};
use ayni_core::ticket::Ticket;
use bytes::Bytes;
use futures_util::FutureExt;

use crate::builder::Builder;
use crate::content;
use crate::error::{Error, Result};
use crate::event::{Event, EventStream};
use crate::inner::Inner;
use crate::model::{
    Cursor, Finding, Found, Identity, InvitationInfo, InviteInfo, InviteOptions, Member,
    MessagePage, MessageQuery, PeerInfo, Person, RoomInfo, RoomKind, RoomSettings, ServiceInfo,
    Status,
};
use crate::rooms::standing::{self, Act};
use crate::rooms::{RoomHandle, contact, govern, invite, join, look, messages};
use crate::service::{Forward, Offer, Provided};
use crate::services::{self, CallLimits};
use crate::store::Write;
use crate::transport::Hold;
use crate::{find, name, start, status};

/// How long gossip may take to say goodbye: a neighbor that does not read would hold it up for ever.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long background work may take to end when the node stops.
const STOP: Duration = Duration::from_secs(5);

/// A running node. Cloning gives another handle to the same node.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

/// Someone to write to directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// A device; its account is asked from it when it is not known.
    Peer(PeerId),
    /// An account that shares a room with us, or to which a known peer belongs.
    Account(AccountId),
}

impl Node {
    /// Configures a node.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn start(builder: Builder) -> Result<Self> {
        Ok(Self { inner: start::start(builder).await? })
    }

    // Who we are

    /// Returns who this node is.
    pub fn identity(&self) -> Identity {
        Identity {
            peer: self.inner.me(),
            account: self.inner.keys.account.id(),
            name: self.inner.name(),
        }
    }

    /// Returns the data folder.
    pub fn data(&self) -> &Path {
        self.inner.folder.path()
    }

    /// Changes the name shown to others, here and in every room.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty name, one of more than 128 bytes, or one with characters that
    /// [deceive](crate::deceives); a failing disk.
    pub async fn set_name(&self, name: &str) -> Result<()> {
        let name = name::check(name)?;
        self.inner.change_config(move |config| config.name = name).await?;
        for room in self.inner.rooms() {
            join::introduce(self.inner.clone(), room).await;
        }
        Ok(())
    }

    /// Returns the port kept for the local API, if one was chosen.
    pub fn http_port(&self) -> Option<u16> {
        self.inner.config().http_port
    }

    /// Keeps the port of the local API for the next start.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn set_http_port(&self, port: u16) -> Result<()> {
        self.inner.change_config(move |config| config.http_port = Some(port)).await
    }

    // Rooms

    /// Creates a room, with this account as its founder.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or long name; a failing disk.
    pub async fn create_room(&self, name: &str) -> Result<RoomInfo> {
        let name = name::check(name)?;
        let genesis = Genesis::group(self.inner.keys.account.id(), self.inner.entropy()?);
        let room = contact::found(&self.inner, &genesis, Some(&name)).await?;
        Ok(room.info(&self.inner))
    }

    /// Returns all rooms, also those that were left.
    pub fn rooms(&self) -> Vec<RoomInfo> {
        self.inner.rooms().iter().map(|room| room.info(&self.inner)).collect()
    }

    /// Returns one room.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn room(&self, room: RoomId) -> Result<RoomInfo> {
        Ok(self.handle(room)?.info(&self.inner))
    }

    /// Returns how a room is set up, but for its name and topic, which [`Self::room`] has.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn room_settings(&self, room: RoomId) -> Result<RoomSettings> {
        Ok(standing::settings(&self.inner, &*self.handle(room)?))
    }

    /// Says of a refusal who could do it.
    fn explain(&self, room: &RoomHandle, act: Act, error: Error) -> Error {
        standing::explain(&self.inner, room, act, error)
    }

    pub(crate) fn handle(&self, room: RoomId) -> Result<Arc<RoomHandle>> {
        self.inner
            .room(&room)
            .ok_or_else(|| Error::NotFound(format!("there is no room {} here", room.short())))
    }

    /// Makes an invitation. Whoever holds the ticket can join until it expires or is used up.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Denied`] when this account is not a member;
    /// [`Error::Invalid`] for a direct room.
    pub async fn invite(&self, room: RoomId, options: InviteOptions) -> Result<Ticket> {
        let room = self.handle(room)?;
        let invited = invite::invite(&self.inner, &room, &options).await;
        invited.map_err(|error| self.explain(&room, Act::Invite, error))
    }

    /// Asks what a ticket invites to, and by whom, without joining.
    ///
    /// # Errors
    /// [`Error::Denied`] for a ticket that is expired, used up or refused; [`Error::Unreachable`] when
    /// no member answered within `wait`.
    pub async fn look(&self, ticket: &Ticket, wait: Duration) -> Result<InvitationInfo> {
        look::look(&self.inner, ticket, wait).await
    }

    /// Joins a room: returns when its members and newest messages are here. Joining a room that one
    /// is in already returns at once.
    ///
    /// # Errors
    /// [`Error::Denied`] for a ticket that is expired, used up or refused; [`Error::Unreachable`]
    /// when it took longer than `wait`: joining goes on while the node runs, also after a restart.
    pub async fn join(&self, ticket: &Ticket, wait: Duration) -> Result<RoomInfo> {
        join::join(&self.inner, ticket, wait).await
    }

    /// Leaves a room. What was said there stays readable here; pictures and files of the room are
    /// deleted by and by, but for those that are pinned or here for something else too.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Denied`] when this account is not a member.
    pub async fn leave(&self, room: RoomId) -> Result<()> {
        let room = self.handle(room)?;
        let left = govern::author(&self.inner, &room, Room::author_leave).await.map(drop);
        left.map_err(|error| self.explain(&room, Act::Leave, error))?;
        content::access::left(&self.inner, room.id()).await
    }

    /// Returns the members of a room, in the order of their ids.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn members(&self, room: RoomId) -> Result<Vec<Member>> {
        let room = self.handle(room)?;
        Ok(status::members(&self.inner, &room))
    }

    /// Returns what someone is in a room: a member, or who was one.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn person(&self, room: RoomId, account: AccountId) -> Result<Person> {
        standing::person(&self.inner, &*self.handle(room)?, &account)
    }

    /// Gives a member a role, or someone who left or was removed a new membership. To lower someone's
    /// role takes more than to raise it: see `docs/rooms.md`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Denied`] when this account may not.
    pub async fn set_role(&self, room: RoomId, account: AccountId, role: Role) -> Result<()> {
        let room = self.handle(room)?;
        let set = govern::author(&self.inner, &room, |replica, device, now| {
            replica.author_role(device, account, role, now)
        });
        let set = set.await.map(drop);
        set.map_err(|error| self.explain(&room, Act::Role(account, role), error))
    }

    /// Removes a member: it reads nothing that is said from now on, and what it says does not count.
    ///
    /// # Errors
    /// As [`Self::set_role`].
    pub async fn remove_member(&self, room: RoomId, account: AccountId) -> Result<()> {
        let room = self.handle(room)?;
        let removed = govern::remove(&self.inner, &room, account).await;
        removed.map_err(|error| self.explain(&room, Act::Remove(account), error))
    }

    /// Sets a room up in one respect.
    ///
    /// # Errors
    /// As [`Self::set_role`]; [`Error::Invalid`] for a value beyond its limits.
    pub async fn set_room(&self, room: RoomId, setting: Setting) -> Result<()> {
        let (room, setting) = (self.handle(room)?, standing::check(setting)?);
        let set = govern::author(&self.inner, &room, |replica, device, now| {
            replica.author_setting(device, &setting, now)
        });
        set.await.map(drop).map_err(|error| self.explain(&room, Act::Set, error))
    }

    /// Returns the invitations of a room, open ones first, the newest to expire first.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn invites(&self, room: RoomId) -> Result<Vec<InviteInfo>> {
        let room = self.handle(room)?;
        Ok(govern::invites(&self.inner, &room))
    }

    /// Ends an invitation: one's own, or with authority anyone's.
    ///
    /// # Errors
    /// As [`Self::set_role`].
    pub async fn revoke_invite(&self, room: RoomId, invite: InviteKey) -> Result<()> {
        let room = self.handle(room)?;
        let revoked = govern::author(&self.inner, &room, |replica, device, now| {
            replica.author_revoke(device, invite, now)
        });
        let revoked = revoked.await.map(drop);
        revoked.map_err(|error| self.explain(&room, Act::Revoke, error))
    }

    // Messages

    /// Says something in a room. Returns when it is durable here; it is delivered as soon as
    /// others are reached, at once or at a later start.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty text or one above 64 KiB; [`Error::NotFound`];
    /// [`Error::Denied`] when this account is not a member; a failing disk.
    pub async fn say(&self, room: RoomId, text: &str) -> Result<EventId> {
        let chat =
            Chat::message(text).map_err(|error: TextError| Error::Invalid(error.to_string()))?;
        let room = self.handle(room)?;
        let said = govern::say(&self.inner, &room, &chat).await;
        said.map_err(|error| self.explain(&room, Act::Say, error))
    }

    /// Says something in every room that this account is a member of.
    ///
    /// # Errors
    /// As [`Self::say`]; what was said before the failure stays said.
    pub async fn broadcast(&self, text: &str) -> Result<Vec<(RoomId, EventId)>> {
        let mut said = Vec::new();
        for room in self.rooms().into_iter().filter(|room| room.joined) {
            said.push((room.room, self.say(room.room, text).await?));
        }
        Ok(said)
    }

    /// Finds or makes the direct room with someone. It works also while they are away, provided
    /// that their account is known here.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when a peer's account is not known and cannot be asked.
    pub async fn direct_room(&self, who: Who) -> Result<RoomInfo> {
        let account = match who {
            Who::Account(account) => account,
            Who::Peer(peer) if peer == self.inner.me() => self.inner.keys.account.id(),
            Who::Peer(peer) => match self.inner.account_of(&peer) {
                Some(account) => account,
                None => self.ask_account(peer).await?,
            },
        };
        let room = contact::open(&self.inner, account).await?;
        for peer in self.inner.devices_of(&account) {
            if let Some(link) = self.inner.links().and_then(|links| links.link(&peer)) {
                let task = contact::offer(self.inner.clone(), room.clone(), link);
                self.inner.tasks.spawn(self.inner.cancel.clone().run_until_cancelled_owned(task));
            }
        }
        Ok(room.info(&self.inner))
    }

    async fn ask_account(&self, peer: PeerId) -> Result<AccountId> {
        let link = self.inner.connect(peer).await?;
        let profile = services::builtin::call_profile(&link).await?;
        self.inner.learn_profile(peer, &profile);
        Ok(profile.cert.claim.account)
    }

    /// Reads a page of a room's messages: the newest `limit` (500 at most) before a position.
    ///
    /// # Errors
    /// [`Error::NotFound`]; a failing disk.
    pub async fn messages(&self, room: RoomId, query: MessageQuery) -> Result<MessagePage> {
        messages::page(&self.inner, &self.handle(room)?, query).await
    }

    /// Finds messages that have all words of a text, in one room or in all of them: the newest
    /// `limit` (500 at most) before a position. Words of three characters or more also find those that
    /// begin with them; case and accents make no difference.
    ///
    /// Messages are indexed in the background, a moment after they are stored: see [`Found::behind`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text without a letter or digit, or above 1 KiB; [`Error::NotFound`];
    /// [`Error::Denied`] where this is switched off ([`Builder::index_messages`]); a failing disk.
    pub async fn search(
        &self,
        text: &str,
        room: Option<RoomId>,
        limit: usize,
        before: Option<Cursor>,
    ) -> Result<Found> {
        if let Some(room) = room {
            self.handle(room)?;
        }
        messages::search(&self.inner, text, room, limit, before).await
    }

    /// Counts everything stored so far as read.
    ///
    /// # Errors
    /// [`Error::NotFound`]; a failing disk.
    pub async fn mark_read(&self, room: RoomId) -> Result<()> {
        let handle = self.handle(room)?;
        if std::mem::take(&mut handle.lock().unread) > 0 {
            self.inner.store.write(Write::MarkRead { room }).await?;
            self.inner.tell(Event::RoomChanged(room));
        }
        Ok(())
    }

    /// Subscribes to what happens from now on.
    pub fn subscribe(&self) -> EventStream {
        EventStream { inner: self.inner.events.subscribe() }
    }

    // Names

    /// Finds a room by its id, an unambiguous start of it (4 digits or more), or its name.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] when several fit.
    pub fn find_room(&self, text: &str) -> Result<RoomId> {
        find::room(&self.inner, text)
    }

    /// Finds a peer by its id, an unambiguous start of it, or its name. A full id that was never
    /// heard of is taken as it is.
    ///
    /// # Errors
    /// As [`Self::find_room`].
    pub fn find_peer(&self, text: &str) -> Result<PeerId> {
        find::peer(&self.inner, text)
    }

    /// Finds a person: as [`Self::find_peer`], and by account.
    ///
    /// # Errors
    /// As [`Self::find_room`].
    pub fn find_who(&self, text: &str) -> Result<Who> {
        find::who(&self.inner, text)
    }

    /// Finds someone in a room, a member or who was one, as [`Self::find_room`] finds rooms. A name need
    /// be unique among the members only.
    ///
    /// # Errors
    /// As [`Self::find_room`].
    pub fn find_member(&self, room: RoomId, text: &str) -> Result<AccountId> {
        find::member(&self.inner, &*self.handle(room)?, text)
    }

    /// Finds an invitation of a room by its key, the start of it (4 digits or more), or its ticket.
    ///
    /// # Errors
    /// As [`Self::find_room`].
    pub fn find_invite(&self, room: RoomId, text: &str) -> Result<InviteKey> {
        find::invite(&*self.handle(room)?, text)
    }

    // Services

    /// Provides a service until the returned value is dropped. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name, target or limit that cannot be; [`Error::Denied`] for a name
    /// that is built in or taken.
    pub fn provide(&self, offer: Offer) -> Result<Provided> {
        self.inner.registry.provide(offer)
    }

    /// Makes one request of a peer's service.
    ///
    /// # Errors
    /// [`Error::Denied`] when the peer does not offer it to us; [`Error::Unreachable`] when the
    /// peer is away, busy or too slow; [`Error::Service`] when the service failed.
    pub async fn request(
        &self,
        peer: PeerId,
        service: &str,
        data: Bytes,
        timeout: Duration,
    ) -> Result<Bytes> {
        let limits = CallLimits { timeout, ..CallLimits::default() };
        let call = async {
            let link = self.inner.connect(peer).await?;
            let _in_use = link.hold();
            services::request(&link, service, data, limits).await
        };
        tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
            Err(Error::Unreachable(format!("{} did not answer in time", peer.short())))
        })
    }

    /// Listens on a local address and carries each connection to a peer's TCP service.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that is not of this machine alone; [`Error::Endpoint`] for a
    /// port in use;
    /// [`Error::Unreachable`]; [`Error::Denied`] when the peer does not offer it to us.
    pub async fn forward(
        &self,
        peer: PeerId,
        service: &str,
        listen: SocketAddr,
    ) -> Result<Forward> {
        // A mistake is told now and not at the first connection. The peer's hello says enough,
        // unless it is about to say more; then the service is asked.
        let link = self.inner.connect(peer).await?;
        if !services::is_offered_stream(&link, service) {
            drop(services::open_stream(&link, service).await?);
        }
        let (inner, service) = (self.inner.clone(), service.to_owned());
        // The link that carries the connections stays as long as the port is forwarded.
        let in_use: Arc<Mutex<Hold>> = Arc::new(Mutex::new(link.hold()));
        let open = move || {
            let (inner, service, in_use) = (inner.clone(), service.clone(), in_use.clone());
            async move {
                let link = inner.connect(peer).await?;
                *in_use.lock().unwrap_or_else(PoisonError::into_inner) = link.hold();
                services::open_stream(&link, &service).await
            }
            .boxed()
        };
        services::forward(open, listen).await
    }

    /// Returns the services that this node provides (`None`), or that a peer offers to us.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn services(&self, peer: Option<PeerId>) -> Result<Vec<ServiceInfo>> {
        let info = |name: String, stream: bool| {
            let builtin = proto::service::BUILT_IN.contains(&name.as_str());
            ServiceInfo { name, stream, builtin }
        };
        let Some(peer) = peer else {
            let built_in = proto::service::BUILT_IN.iter();
            let mut all: Vec<_> = built_in
                .map(|name| info((*name).to_owned(), *name == proto::service::SYNC))
                .collect();
            all.extend(self.inner.registry.list());
            return Ok(all);
        };
        let link = self.inner.connect(peer).await?;
        let offers = link.hello().offers.into_iter();
        Ok(offers.map(|offer| info(offer.name, offer.stream)).collect())
    }

    // How it is

    /// Returns the peers that this node knows, in the order of their ids.
    pub fn peers(&self) -> Vec<PeerInfo> {
        status::peers(&self.inner)
    }

    /// Returns how the node is.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn status(&self) -> Result<Status> {
        status::status(&self.inner).await
    }

    /// Looks at what works and what does not, and says so in plain words.
    pub async fn doctor(&self) -> Vec<Finding> {
        status::doctor(&self.inner).await
    }

    /// Returns a direct room's other member, or none for a group.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn other_member(&self, room: RoomId) -> Result<Option<AccountId>> {
        if self.room(room)?.kind != RoomKind::Direct {
            return Ok(None);
        }
        let others = self.members(room)?.into_iter().filter(|member| !member.me);
        Ok(others.map(|member| member.account).next())
    }

    /// Stops: ends connections and tasks, writes what is to be written, unlocks the folder.
    /// Calling it again does nothing.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.cancel.cancel();
        if let Some(gossip) = inner.gossip() {
            let _ = tokio::time::timeout(GOODBYE, gossip.shutdown()).await;
        }
        if let Some(links) = inner.links() {
            let _ = tokio::time::timeout(STOP, links.close()).await;
        }
        inner.tasks.close();
        let _ = tokio::time::timeout(STOP, inner.tasks.wait()).await;
        let _ = tokio::time::timeout(STOP, crate::content::close(inner)).await;
        inner.store.close().await;
        inner.tell(Event::Closed);
    }
}

//! One peer: a core, its storage, and a driver that does what the core asks.
//!
//! The driver here is the small model of the one in crate `ayni`: it keeps before it tells, accepts
//! what a signed end vouches for, forgives and announces when something changed, and refuses to serve
//! who is not a member. Everything it says comes back as [`Outgoing`]; it never waits.

mod joining;
mod syncing;

use std::collections::BTreeMap;

use ayni_core::chat::Chat;
use ayni_core::clock::Millis;
use ayni_core::epoch::EpochSecret;
use ayni_core::event::{CheckedRun, Event};
use ayni_core::id::{AccountId, EventId, PeerId, RoomId};
use ayni_core::keys::{AccountKey, DeviceCert, DeviceKey, InviteSecret};
use ayni_core::limits::MAX_GOSSIP_EVENT;
use ayni_core::log::Lane;
use ayni_core::proto::Gossip;
use ayni_core::room::{
    Accepted, AuthorError, Control, Effect, Genesis, Invite, Role, Room, Setting,
};
use ayni_core::sync::{Claims, Violation};
use ayni_core::wire;

use crate::dice::Dice;
use crate::store::Store;
use syncing::Stream;

/// Names a peer in one run.
pub type PeerNo = usize;

/// What travels, as bytes: a run exercises the real encoders and decoders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// A frame of the open stream of `sync/1`, its length in front. In order, never lost.
    Sync(Vec<u8>),
    /// The end of that stream.
    Bye,
    /// A message of gossip. Lost, repeated and reordered.
    Gossip(Vec<u8>),
    /// A request of `join/1`.
    Join(Vec<u8>),
    /// Its reply.
    Joined(Vec<u8>),
    /// A request of `keys/1`.
    Keys(Vec<u8>),
    /// Its reply.
    Secrets(Vec<u8>),
}

/// A packet for a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub to: PeerNo,
    /// What.
    pub packet: Packet,
}

/// Keys of a peer: an account with one device.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The device.
    pub key: DeviceKey,
    /// Its certificate.
    pub cert: DeviceCert,
}

impl Identity {
    /// Makes new keys.
    pub fn new(dice: &mut Dice, now: Millis) -> Self {
        let account = AccountKey::from_entropy(&dice.bytes());
        let key = DeviceKey::from_secrets(&dice.bytes(), &dice.bytes());
        let cert = account.certify(key.id(), key.hpke_public(), now);
        Self { key, cert }
    }

    /// Returns the account.
    pub fn account(&self) -> AccountId {
        self.cert.claim.account
    }
}

/// An invite that a peer was given.
#[derive(Debug, Clone)]
pub struct Invited {
    /// The room.
    pub room: RoomId,
    /// The invite's key.
    pub secret: InviteSecret,
}

/// What a peer counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that came over sync.
    pub synced: u64,
    /// Of these, those that were held already.
    pub again: u64,
    /// Events that came by gossip and were new.
    pub live: u64,
    /// Runs and live events that were refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Sessions that we ended because the peer broke the protocol.
    pub violations: Vec<Violation>,
    /// Sessions that we ended because events did not hold.
    pub liars: u64,
}

/// A peer.
#[derive(Debug)]
pub struct Peer {
    me: Identity,
    /// Who the others are, from the handshake of each connection.
    others: BTreeMap<PeerNo, (PeerId, AccountId)>,
    /// How far its wall clock is off, in milliseconds.
    skew: i64,
    store: Store,
    room_id: Option<RoomId>,
    invited: Option<Invited>,
    running: Option<Running>,
    counts: Counts,
    arrived: Vec<EventId>,
    /// How often it sealed keys for others.
    sealed: u64,
    /// Never answers a request: it is slow without end.
    mute: bool,
}

/// What is gone when a peer stops.
#[derive(Debug)]
struct Running {
    room: Option<Room>,
    claims: Claims,
    streams: BTreeMap<PeerNo, Stream>,
    /// Who kept us waiting, and until when others come first.
    stalled: BTreeMap<PeerNo, Millis>,
    next_session: u64,
    changed: bool,
}

impl Peer {
    /// A peer that runs and has no room; its wall clock is off by `skew` milliseconds.
    pub fn new(me: Identity, skew: i64) -> Self {
        let mut peer = Self {
            me,
            others: BTreeMap::new(),
            skew,
            store: Store::default(),
            room_id: None,
            invited: None,
            running: None,
            counts: Counts::default(),
            arrived: Vec::new(),
            sealed: 0,
            mute: false,
        };
        peer.start(0);
        peer
    }

    /// Learns who another is.
    pub fn meet(&mut self, other: PeerNo, identity: &Identity) {
        self.others.insert(other, (identity.key.id(), identity.account()));
    }

    /// Returns its keys.
    pub fn identity(&self) -> &Identity {
        &self.me
    }

    /// Returns its replica, while it runs and belongs to a room.
    pub fn room(&self) -> Option<&Room> {
        self.running.as_ref()?.room.as_ref()
    }

    /// Returns what it keeps.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns what it counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the ids of the events that it took in from others, in order.
    pub fn arrived(&self) -> &[EventId] {
        &self.arrived
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it runs and belongs to the room now.
    pub fn is_member(&self) -> bool {
        self.room().is_some_and(Room::am_member)
    }

    /// Returns its wall clock at the world's time `now`.
    pub fn clock(&self, now: Millis) -> Millis {
        now.saturating_add_signed(self.skew)
    }

    /// Sets its wall clock: so many milliseconds off.
    pub fn set_clock(&mut self, skew: i64) {
        self.skew = skew;
    }

    /// From now on it answers no request.
    pub fn fall_mute(&mut self) {
        self.mute = true;
    }

    /// Starts, from what is kept.
    pub fn start(&mut self, now: Millis) {
        let (me, now) = (self.me.key.id(), self.clock(now));
        let room = self.room_id.map(|room| self.store.restore(room, me, now));
        let (claims, streams) = (Claims::default(), BTreeMap::new());
        let stalled = BTreeMap::new();
        self.running =
            Some(Running { room, claims, streams, stalled, next_session: 0, changed: false });
    }

    /// Stops, at once.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Founds the room.
    pub fn found(
        &mut self,
        genesis: &Genesis,
        names: (&str, Option<&str>),
        secret: EpochSecret,
        now: Millis,
    ) {
        let now = self.clock(now);
        let (key, cert) = (&self.me.key, &self.me.cert);
        let (room, accepted) = Room::found(genesis, key, cert, names, secret.clone(), now);
        self.room_id = Some(room.id());
        self.store.keep(&accepted);
        self.store.keep_secret(secret);
        if let Some(running) = &mut self.running {
            running.room = Some(room);
        }
    }

    /// Says something. Returns the event, and what to send.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn say(
        &mut self,
        text: &str,
        now: Millis,
        dice: &mut Dice,
    ) -> Result<(Event, Vec<Outgoing>), AuthorError> {
        let chat = Chat::Message(text.to_owned());
        let entropy = dice.bytes();
        let fresh = EpochSecret::new(dice.bytes());
        self.author(now, |room, key, now| {
            room.author_chat_minting(key, &chat, now, &entropy, fresh)
        })
    }

    /// Names the room.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn name_room(
        &mut self,
        name: &str,
        now: Millis,
    ) -> Result<(Event, Vec<Outgoing>), AuthorError> {
        let setting = Setting::Name(name.to_owned());
        self.author(now, |room, key, now| room.author_setting(key, &setting, now))
    }

    /// States something in the control lane.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn state(
        &mut self,
        control: &Control,
        now: Millis,
    ) -> Result<(Event, Vec<Outgoing>), AuthorError> {
        self.author(now, |room, key, now| room.author_control(key, control, now))
    }

    /// Leaves the room.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn leave(&mut self, now: Millis) -> Result<(Event, Vec<Outgoing>), AuthorError> {
        self.author(now, Room::author_leave)
    }

    /// Makes an invite for any number of uses, until `expires_ms`.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn invite(
        &mut self,
        secret: InviteSecret,
        expires_ms: Millis,
        now: Millis,
    ) -> Result<(Invited, Event, Vec<Outgoing>), AuthorError> {
        let (key, role) = (secret.key(), Role::Member);
        let invite = Invite { key, uses: None, expires_ms, role };
        let (event, out) =
            self.author(now, |room, key, now| room.author_invite(key, invite, now))?;
        Ok((Invited { room: event.header().room, secret }, event, out))
    }

    fn author(
        &mut self,
        now: Millis,
        author: impl FnOnce(&mut Room, &DeviceKey, Millis) -> Result<Accepted, AuthorError>,
    ) -> Result<(Event, Vec<Outgoing>), AuthorError> {
        let now = self.clock(now);
        let room = self.running.as_mut().and_then(|running| running.room.as_mut());
        let accepted = author(room.ok_or(AuthorError::NotAMember)?, &self.me.key, now)?;
        let event = accepted.events.last().cloned().ok_or(AuthorError::NotThere)?;
        self.commit(&accepted);
        let out = accepted.events.iter().flat_map(|event| self.gossip(event, None)).collect();
        Ok((event, out))
    }

    /// Keeps what is new, and notes that sessions must hear of it.
    fn commit(&mut self, accepted: &Accepted) {
        self.store.keep(accepted);
        let Some(running) = &mut self.running else { return };
        for effect in &accepted.effects {
            if let Effect::Epoch(epoch) = effect
                && let Some(secret) = running.room.as_ref().and_then(|room| room.secret(epoch))
            {
                self.store.keep_secret(secret.clone());
            }
        }
        running.changed |= !accepted.events.is_empty() || !accepted.effects.is_empty();
        if accepted.events.iter().any(|event| event.log().lane == Lane::Control) {
            for stream in running.streams.values_mut() {
                stream.session.forgive();
            }
        }
    }

    /// Hands an event to gossip, whole where it fits.
    fn gossip(&self, event: &Event, from: Option<PeerNo>) -> Vec<Outgoing> {
        let bytes = wire::encode(&Gossip::Event(event.to_raw()));
        if bytes.len() > MAX_GOSSIP_EVENT {
            return vec![];
        }
        let Some(running) = &self.running else { return vec![] };
        let neighbors = running.streams.keys().filter(|to| Some(**to) != from);
        neighbors.map(|to| Outgoing { to: *to, packet: Packet::Gossip(bytes.clone()) }).collect()
    }

    fn take_gossip(&mut self, from: PeerNo, bytes: &[u8], now: Millis) -> Vec<Outgoing> {
        let Ok(Gossip::Event(raw)) = wire::decode::<Gossip>(bytes) else { return vec![] };
        let Ok(event) = Event::from_raw(raw) else { return vec![] };
        let now = self.clock(now);
        let Some(room) = self.running.as_mut().and_then(|running| running.room.as_mut()) else {
            return vec![];
        };
        if room.frontier().contains(&event.log(), event.seq()) {
            return vec![];
        }
        let Ok(run) = CheckedRun::new(room.id(), vec![event.clone()]) else { return vec![] };
        match room.accept(run, now) {
            Ok(accepted) if accepted.events.is_empty() => vec![],
            Ok(accepted) => {
                self.counts.live += 1;
                self.arrived.push(event.id());
                self.commit(&accepted);
                self.gossip(&event, Some(from))
            }
            Err(reject) => {
                *self.counts.refused.entry(reject.to_string()).or_default() += 1;
                vec![]
            }
        }
    }

    /// Takes a packet in.
    pub fn receive(&mut self, from: PeerNo, packet: &Packet, now: Millis) -> Vec<Outgoing> {
        if self.running.is_none() {
            return vec![];
        }
        match packet {
            Packet::Sync(bytes) => self.take_frames(from, bytes, now),
            Packet::Bye => {
                self.end_session(from);
                vec![]
            }
            Packet::Gossip(bytes) => self.take_gossip(from, bytes, now),
            Packet::Join(bytes) => self.take_join(from, bytes, now),
            Packet::Joined(bytes) => self.take_joined(from, bytes),
            Packet::Keys(bytes) => self.take_keys(from, bytes),
            Packet::Secrets(bytes) => self.take_secrets(from, bytes),
        }
    }
}

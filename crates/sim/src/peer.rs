//! One peer: a core, its storage, and a driver that does what the core asks.
//!
//! The driver here is the small model of the one in crate `ayni`: it keeps before it tells, accepts
//! what a signed end vouches for, forgives and announces when something changed, and refuses to serve
//! who is not a member. Everything it says comes back as [`Outgoing`]; it never waits.

pub mod acting;
mod forking;
mod joining;
mod lying;
mod syncing;

use std::collections::BTreeMap;

use ayni_core::clock::{Hlc, Millis};
use ayni_core::epoch::EpochSecret;
use ayni_core::event::{CheckedRun, Event};
use ayni_core::id::{AccountId, EpochId, EventId, PeerId, RoomId};
use ayni_core::keys::{AccountKey, DeviceCert, DeviceKey, InviteSecret, derive};
use ayni_core::limits::MAX_GOSSIP_EVENT;
use ayni_core::log::{Frontier, Lane};
use ayni_core::proto::Gossip;
use ayni_core::room::{Accepted, Effect, Genesis, Room};
use ayni_core::sync::{Claims, Violation};
use ayni_core::wire;

use crate::dice::Dice;
use crate::liar::{Liar, Lie};
use crate::store::Store;
use forking::Pending;
use joining::Round;
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
    /// Control events for one who was removed: what tells it so, as frames.
    Farewell(Vec<u8>),
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
    pub violations: Vec<(PeerNo, Violation)>,
    /// With whom we ended sessions because events did not hold, and how often.
    pub liars: BTreeMap<PeerNo, u64>,
    /// Sessions that we ended because the peer left requests unanswered.
    pub stalls: u64,
    /// Proofs of forks that we stated.
    pub proofs: u64,
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
    /// What makes it a liar, if it is one.
    liar: Option<Liar>,
    /// The other face of one who forks: a copy of the device. Peers with odd numbers see that one.
    twin: Option<Box<Self>>,
    /// The highest term for which anyone told it that it is admitted.
    admitted: Option<u32>,
    /// Whether it holds an invite that it did not come in with yet.
    renewed: bool,
    /// Whom it asks to be let in.
    asks: Round,
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
    /// What is held, as long as nothing changed.
    held: Option<Frontier>,
    /// What gossip brought, by its hash, and how often.
    heard: BTreeMap<[u8; 32], u8>,
    /// Forks that are to be proved.
    pending: Pending,
    /// With whom sessions ended in trouble, and how long the next pause is.
    trouble: BTreeMap<PeerNo, Millis>,
    /// Who of those that are members here will have no session with it, and since when.
    refused_by: BTreeMap<PeerNo, Millis>,
    /// Whom it told of their removal, and when.
    farewells: BTreeMap<PeerNo, Millis>,
    /// Which secrets it asks for, and whom.
    lacking: (Vec<EpochId>, Round),
}

impl Running {
    fn new(room: Option<Room>) -> Self {
        Self {
            room,
            claims: Claims::default(),
            streams: BTreeMap::new(),
            stalled: BTreeMap::new(),
            next_session: 0,
            changed: false,
            held: None,
            heard: BTreeMap::new(),
            pending: Pending::default(),
            trouble: BTreeMap::new(),
            refused_by: BTreeMap::new(),
            farewells: BTreeMap::new(),
            lacking: (vec![], Round::default()),
        }
    }
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
            liar: None,
            twin: None,
            admitted: None,
            renewed: false,
            asks: Round::default(),
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
        self.running = Some(Running::new(room));
        if let Some(twin) = &mut self.twin {
            twin.start(now);
        }
    }

    /// Stops, at once.
    pub fn stop(&mut self) {
        self.running = None;
        if let Some(twin) = &mut self.twin {
            twin.stop();
        }
    }

    /// Makes it a liar.
    pub fn lie_by(&mut self, liar: Liar) {
        self.mute = liar.lie == Lie::NeverAnswers;
        self.liar = Some(liar);
    }

    /// Returns how it breaks the rules, if it does.
    pub fn lie(&self) -> Option<Lie> {
        self.liar.as_ref().map(|liar| liar.lie)
    }

    /// Returns its other face, if it has two.
    pub fn twin(&self) -> Option<&Self> {
        self.twin.as_deref()
    }

    /// Returns the face that `other` sees, if it is not this one.
    fn face(&self, other: PeerNo) -> Option<&Self> {
        self.twin.as_deref().filter(|_| other % 2 == 1)
    }

    fn face_mut(&mut self, other: PeerNo) -> Option<&mut Self> {
        self.twin.as_deref_mut().filter(|_| other % 2 == 1)
    }

    /// Returns the messages that are to be shown at `now`, in their order.
    pub fn timeline(&self, now: Millis) -> Vec<(Hlc, EventId)> {
        let Some(room) = self.room() else { return vec![] };
        let ends = |event: &Event| room.members().end_of(&event.log()).unwrap_or(u64::MAX);
        let due = self.store.chat().filter(|event| !event.header().time.is_ahead(now));
        let mut shown: Vec<_> = due
            .filter(|event| event.seq() < ends(event) && !room.hides(event.header()))
            .map(Event::order)
            .collect();
        shown.sort_unstable();
        shown
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
        self.store.keep(&accepted, self.me.key.id());
        self.store.keep_secret(secret);
        if let Some(running) = &mut self.running {
            running.room = Some(room);
            running.held = None;
        }
    }

    /// Keeps what is new, and notes that sessions must hear of it.
    fn commit(&mut self, accepted: &Accepted) {
        self.store.keep(accepted, self.me.key.id());
        let Some(running) = &mut self.running else { return };
        running.held = None;
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
        self.examine(accepted);
        self.note_forks(accepted);
    }

    /// Hands an event to gossip, whole where it fits.
    fn gossip(&self, event: &Event, from: Option<PeerNo>) -> Vec<Outgoing> {
        let Some(bytes) = gossip_of(event) else { return vec![] };
        let Some(running) = &self.running else { return vec![] };
        let neighbors = running.streams.keys().filter(|to| Some(**to) != from);
        neighbors.map(|to| Outgoing { to: *to, packet: Packet::Gossip(bytes.clone()) }).collect()
    }

    /// Whether gossip brought these bytes before. A second time they are looked at all the same, so
    /// that repetition is noticed by who must stand it; further times are for the transport.
    fn heard_often(&mut self, bytes: &[u8]) -> bool {
        let Some(running) = &mut self.running else { return true };
        let times = running.heard.entry(derive("ayni sim heard v1", &[bytes])).or_default();
        *times = times.saturating_add(1);
        *times > 2
    }

    fn take_gossip(&mut self, from: PeerNo, bytes: &[u8], now: Millis) -> Vec<Outgoing> {
        if self.heard_often(bytes) {
            return vec![];
        }
        let Ok(Gossip::Event(raw)) = wire::decode::<Gossip>(bytes) else { return vec![] };
        let Ok(event) = Event::from_raw(raw) else { return vec![] };
        let now = self.clock(now);
        let relays = self.lie() == Some(Lie::Relays);
        if self.is_deaf_to(std::slice::from_ref(&event)) {
            return vec![];
        }
        let Some(room) = self.running.as_mut().and_then(|running| running.room.as_mut()) else {
            return vec![];
        };
        if room.logs().log(&event.log()).is_some_and(|log| log.positions().contains(event.seq())) {
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
                if relays { self.gossip(&event, Some(from)) } else { vec![] }
            }
        }
    }

    /// Takes a packet in.
    pub fn receive(
        &mut self,
        from: PeerNo,
        packet: &Packet,
        now: Millis,
        dice: &mut Dice,
    ) -> Vec<Outgoing> {
        if let Some(twin) = self.face_mut(from) {
            return twin.receive(from, packet, now, dice);
        }
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
            Packet::Farewell(bytes) => self.take_farewell(bytes, now),
            Packet::Join(bytes) => self.take_join(from, bytes, now, dice),
            Packet::Joined(bytes) => self.take_joined(from, bytes),
            Packet::Keys(bytes) => self.take_keys(from, bytes),
            Packet::Secrets(bytes) => self.take_secrets(from, bytes),
        }
    }
}

/// Returns an event as gossip carries it, where it fits.
fn gossip_of(event: &Event) -> Option<Vec<u8>> {
    let bytes = wire::encode(&Gossip::Event(event.to_raw()));
    (bytes.len() <= MAX_GOSSIP_EVENT).then_some(bytes)
}

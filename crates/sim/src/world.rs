//! One run: peers, the network between them, what people do, and what goes wrong.
//!
//! Invariant: everything follows from the scenario and the seed. Time is virtual; what happens next
//! is the first entry of an agenda that is ordered by time, then by when it was entered.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::clock::Millis;
use ayni_core::epoch::EpochSecret;
use ayni_core::id::EventId;
use ayni_core::keys::InviteSecret;
use ayni_core::room::{Control, Genesis};

use crate::dice::Dice;
use crate::network::{Network, Parcel};
use crate::peer::{Identity, Invited, Outgoing, Peer, PeerNo};
use crate::plan::{Act, plan};
use crate::scenarios::{Kind, Scenario};

/// The world's time at the start, Unix milliseconds.
pub const START: Millis = 1_750_000_000_000;
/// How long changes are gathered before sessions are told: gossip is faster meanwhile.
const ANNOUNCE_MS: Millis = 100;
/// How often peers look after their connections.
const MAINTAIN_MS: Millis = 1_000;
/// States are compared again after this, and up to twice of it.
const CHECK_MS: Millis = 30_000;
/// With how many neighbors each time.
const CHECKED: usize = 2;

#[derive(Debug)]
enum Happening {
    Arrive(Parcel),
    Announce(PeerNo),
    Check(PeerNo),
    Maintain,
    Act(Act),
}

/// A run.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    now: Millis,
    dice: Dice,
    peers: Vec<Peer>,
    network: Network,
    agenda: BTreeMap<(Millis, u64), Happening>,
    entered: u64,
    announcing: BTreeSet<PeerNo>,
    said: BTreeMap<EventId, (PeerNo, String)>,
    invited: Option<Invited>,
    left: BTreeSet<PeerNo>,
    gone: BTreeSet<PeerNo>,
    acts_left: usize,
}

impl World {
    /// Sets a run up: the room is founded, its first members are invited.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let identities: Vec<_> =
            (0..scenario.peers).map(|_| Identity::new(&mut dice, START)).collect();
        let peers = identities.iter().enumerate().map(|(no, me)| {
            let skew = i64::try_from(dice.below(2 * scenario.skew_ms + 1)).unwrap_or(0);
            let mut peer =
                Peer::new(me.clone(), skew - i64::try_from(scenario.skew_ms).unwrap_or(0));
            for (other, identity) in identities.iter().enumerate().filter(|(other, _)| *other != no)
            {
                peer.meet(other, identity);
            }
            peer
        });
        let mut world = Self {
            scenario: *scenario,
            now: START,
            peers: peers.collect(),
            network: Network::new(scenario.conditions),
            agenda: BTreeMap::new(),
            entered: 0,
            announcing: BTreeSet::new(),
            said: BTreeMap::new(),
            invited: None,
            left: BTreeSet::new(),
            gone: BTreeSet::new(),
            acts_left: 0,
            dice,
        };
        world.found(&identities);
        for (at, act) in plan(scenario, &mut world.dice) {
            world.acts_left += 1;
            world.enter(START + at, Happening::Act(act));
        }
        world.enter(START, Happening::Maintain);
        for no in 0..scenario.peers {
            let at = START + world.dice.between(CHECK_MS, 2 * CHECK_MS);
            world.enter(at, Happening::Check(no));
        }
        world
    }

    fn found(&mut self, identities: &[Identity]) {
        let Some(first) = identities.first() else { return };
        match self.scenario.kind {
            Kind::Group => {
                let genesis = Genesis::group(first.account(), self.dice.bytes());
                let secret = EpochSecret::new(self.dice.bytes());
                self.peers[0].found(&genesis, ("0", Some("room")), secret, START);
                let invite = InviteSecret::from_seed(&self.dice.bytes());
                let expires = START + 100 * self.scenario.span_ms;
                if let Ok((invited, _, _)) = self.peers[0].invite(invite, expires, START) {
                    self.invited = Some(invited);
                }
            }
            Kind::Direct => {
                for (no, identity) in identities.iter().enumerate().take(2) {
                    let other = &identities[1 - no];
                    let genesis = Genesis::direct(identity.account(), other.account());
                    let secret = EpochSecret::new(self.dice.bytes());
                    self.peers[no].found(&genesis, (&no.to_string(), None), secret, START);
                }
            }
        }
    }

    /// Returns the world's time.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Returns the peers.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Returns a peer, to do with it what the plan does not.
    pub fn peer_mut(&mut self, no: PeerNo) -> &mut Peer {
        &mut self.peers[no]
    }

    /// Returns the network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns what was said, by whom, and the text.
    pub fn said(&self) -> &BTreeMap<EventId, (PeerNo, String)> {
        &self.said
    }

    /// Whether all that was planned has happened.
    pub fn is_over(&self) -> bool {
        self.acts_left == 0
    }

    /// Returns the peers that are to converge: neither gone for good, nor have they left the room.
    pub fn present(&self) -> impl Iterator<Item = &Peer> {
        let present = |no: &PeerNo| !self.gone.contains(no) && !self.left.contains(no);
        self.peers.iter().enumerate().filter(move |(no, _)| present(no)).map(|(_, peer)| peer)
    }

    /// Whether a peer is gone for good.
    pub fn is_gone(&self, no: PeerNo) -> bool {
        self.gone.contains(&no)
    }

    /// Sends packets as if `from` had.
    pub fn send(&mut self, from: PeerNo, packets: Vec<Outgoing>) {
        for Outgoing { to, packet } in packets {
            let parcels = self.network.send((from, to), packet, self.now, &mut self.dice);
            for (at, parcel) in parcels {
                self.enter(at, Happening::Arrive(parcel));
            }
        }
        if self.peers[from].has_news() && self.announcing.insert(from) {
            self.enter(self.now + ANNOUNCE_MS, Happening::Announce(from));
        }
    }

    /// Lets happen what happens up to `until`.
    pub fn run_until(&mut self, until: Millis) {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > until {
                break;
            }
            self.now = entry.key().0;
            let happening = entry.remove();
            self.happen(happening);
        }
        self.now = until;
    }

    fn enter(&mut self, at: Millis, happening: Happening) {
        self.entered += 1;
        self.agenda.insert((at.max(self.now), self.entered), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive(parcel) => {
                if self.network.arrives(&parcel) {
                    let Parcel { from, to, packet, .. } = parcel;
                    let out = self.peers[to].receive(from, &packet, self.now);
                    self.send(to, out);
                }
            }
            Happening::Announce(no) => {
                self.announcing.remove(&no);
                let out = self.peers[no].announce(self.now);
                self.send(no, out);
            }
            Happening::Check(no) => {
                self.check(no);
                let again = self.now + self.dice.between(CHECK_MS, 2 * CHECK_MS);
                self.enter(again, Happening::Check(no));
            }
            Happening::Maintain => {
                self.maintain();
                self.enter(self.now + MAINTAIN_MS, Happening::Maintain);
            }
            Happening::Act(act) => {
                self.acts_left -= 1;
                self.act(act);
            }
        }
    }

    /// Compares states with a few neighbors, and makes a new acquaintance.
    fn check(&mut self, no: PeerNo) {
        let mut sessions = self.peers[no].sessions();
        for _ in 0..CHECKED.min(sessions.len()) {
            let at = self.dice.below(sessions.len() as u64);
            let other = sessions.remove(usize::try_from(at).unwrap_or(0));
            let out = self.peers[no].check(other, self.now);
            self.send(no, out);
        }
        let others = self.peers[no].sessions();
        if others.len() > 2 * self.scenario.neighbors
            && let Some(other) = self.dice.pick(&others).copied()
        {
            self.disconnect(no, other);
        }
        self.connect_somewhere(no);
    }

    fn maintain(&mut self) {
        for (one, other) in self.network.connections() {
            self.try_session(one, other);
        }
        for no in 0..self.peers.len() {
            if !self.peers[no].is_running() {
                continue;
            }
            let out = self.peers[no].sweep(self.now);
            self.send(no, out);
            let connected = self.connected(no);
            if connected.len() < self.scenario.neighbors && self.dice.chance(500) {
                self.connect_somewhere(no);
            }
            if self.peers[no].wants_to_join()
                && !self.left.contains(&no)
                && let Some(admitter) = self.dice.pick(&connected)
            {
                let out = self.peers[no].ask_to_join(*admitter);
                self.send(no, out.into_iter().collect());
            }
            let sessions = self.peers[no].sessions();
            if let Some(other) = self.dice.pick(&sessions) {
                let out = self.peers[no].ask_for_keys(*other);
                self.send(no, out.into_iter().collect());
            }
        }
    }

    fn connected(&self, no: PeerNo) -> Vec<PeerNo> {
        (0..self.peers.len()).filter(|other| self.network.is_up(no, *other)).collect()
    }

    fn connect_somewhere(&mut self, no: PeerNo) {
        let others = (0..self.peers.len()).filter(|other| {
            *other != no && self.peers[*other].is_running() && !self.network.is_up(no, *other)
        });
        let others: Vec<_> = others.collect();
        if let Some(other) = self.dice.pick(&others).copied()
            && self.peers[no].is_running()
            && self.network.connect(no, other)
        {
            self.try_session(no, other);
        }
    }

    fn try_session(&mut self, one: PeerNo, other: PeerNo) {
        let (a, b) = (&self.peers[one], &self.peers[other]);
        let open = a.has_session(other) || b.has_session(one);
        let known = a.serves(other) || b.serves(one);
        if !open && known && a.accepts(other, self.now) && b.accepts(one, self.now) {
            self.network.open_stream(one, other);
            for (no, with) in [(one, other), (other, one)] {
                let out = self.peers[no].open_session(with, self.now);
                self.send(no, out);
            }
        }
    }

    fn disconnect(&mut self, one: PeerNo, other: PeerNo) {
        self.network.disconnect(one, other);
        self.lost(one, other);
    }

    fn lost(&mut self, one: PeerNo, other: PeerNo) {
        for (no, with) in [(one, other), (other, one)] {
            self.peers[no].end_session(with);
            self.send(no, vec![]);
        }
    }

    /// Does one thing now.
    pub fn act(&mut self, act: Act) {
        match act {
            Act::Say(text) => self.say(&text),
            Act::Rename(name, room) => {
                let Some(no) = self.someone() else { return };
                let renamed = if room {
                    self.peers[no].name_room(&name, self.now)
                } else {
                    self.peers[no].state(&Control::Profile(name), self.now)
                };
                // Who may not name the room does not.
                if let Ok((_, out)) = renamed {
                    self.send(no, out);
                }
            }
            Act::Come(no) => {
                if let Some(invited) = self.invited.clone() {
                    self.peers[no].give(invited);
                }
            }
            Act::Leave(no) => {
                // One who is away, or not in yet, leaves later.
                match self.peers[no].leave(self.now) {
                    Ok((_, out)) => {
                        self.left.insert(no);
                        self.send(no, out);
                    }
                    Err(_) => self.later(Act::Leave(no)),
                }
            }
            Act::Drop => {
                let connections = self.network.connections();
                if let Some((one, other)) = self.dice.pick(&connections).copied() {
                    self.disconnect(one, other);
                }
            }
            Act::Stop(no) => self.stop(no),
            Act::Start(no) => {
                if !self.gone.contains(&no) && !self.peers[no].is_running() {
                    self.peers[no].start(self.now);
                }
            }
            Act::Go(no) => {
                self.stop(no);
                self.gone.insert(no);
            }
            Act::Part(apart) => {
                for (one, other) in self.network.part(apart) {
                    self.lost(one, other);
                }
            }
        }
    }

    fn later(&mut self, act: Act) {
        self.acts_left += 1;
        self.enter(self.now + MAINTAIN_MS, Happening::Act(act));
    }

    fn stop(&mut self, no: PeerNo) {
        for other in self.connected(no) {
            self.disconnect(no, other);
        }
        self.peers[no].stop();
    }

    /// Someone who can speak now.
    fn someone(&mut self) -> Option<PeerNo> {
        let able: Vec<_> = (0..self.peers.len()).filter(|no| self.peers[*no].is_member()).collect();
        self.dice.pick(&able).copied()
    }

    fn say(&mut self, text: &str) {
        let said = self.someone().and_then(|no| {
            let said = self.peers[no].say(text, self.now, &mut self.dice).ok()?;
            Some((no, said))
        });
        match said {
            Some((no, (event, out))) => {
                self.said.insert(event.id(), (no, text.to_owned()));
                self.send(no, out);
            }
            None => self.later(Act::Say(text.to_owned())),
        }
    }
}

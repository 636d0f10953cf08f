//! One run: peers, the network between them, what people do, and what goes wrong.
//!
//! Invariant: everything follows from the scenario and the seed. Time is virtual; what happens next
//! is the first entry of an agenda that is ordered by time, then by when it was entered.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::clock::Millis;
use ayni_core::epoch::EpochSecret;
use ayni_core::id::EventId;
use ayni_core::room::{Genesis, Policies};

use crate::dice::Dice;
use crate::liar::Liar;
use crate::network::{Network, Parcel};
use crate::peer::{Identity, Invited, Outgoing, Peer, PeerNo};
use crate::plan::{Act, Plan, plan};
use crate::scenarios::{Kind, Scenario};

mod acts;

pub use acts::{Cutting, Said, Stand, Standing, standing};

/// The world's time at the start, Unix milliseconds.
pub const START: Millis = 1_750_000_000_000;
/// How long changes are gathered before sessions are told: gossip is faster meanwhile. With more
/// sessions up to as many times twice that: whoever lacks something hears of it from one of them.
const ANNOUNCE_MS: Millis = 100;
/// Sessions beyond which that time grows no more.
const MAX_SPREAD: u64 = 16;
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
    said: BTreeMap<EventId, Said>,
    /// What those who ended someone's term held of its messages then.
    cuttings: Vec<Cutting>,
    invites: Vec<Invited>,
    liars: BTreeSet<PeerNo>,
    slow: BTreeSet<PeerNo>,
    left: BTreeSet<PeerNo>,
    gone: BTreeSet<PeerNo>,
    acts_left: usize,
    /// Acts that happened, by their kind, and those that were not permitted.
    done: BTreeMap<&'static str, u64>,
    skipped: u64,
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
            cuttings: Vec::new(),
            invites: Vec::new(),
            liars: BTreeSet::new(),
            slow: BTreeSet::new(),
            left: BTreeSet::new(),
            gone: BTreeSet::new(),
            acts_left: 0,
            done: BTreeMap::new(),
            skipped: 0,
            dice,
        };
        world.found(&identities);
        let plan = plan(scenario, &mut world.dice);
        world.cast(plan);
        world.enter(START, Happening::Maintain);
        for no in 0..scenario.peers {
            let at = START + world.dice.between(CHECK_MS, 2 * CHECK_MS);
            world.enter(at, Happening::Check(no));
        }
        world
    }

    /// Enters what is planned, and makes slow and liars who is to be.
    fn cast(&mut self, plan: Plan) {
        for (at, act) in plan.acts {
            self.acts_left += 1;
            self.enter(START + at, Happening::Act(act));
        }
        for (no, lie) in plan.liars {
            let dice = Dice::new(self.dice.below(u64::MAX));
            self.peers[no].lie_by(Liar { lie, dice });
            self.liars.insert(no);
        }
        self.slow = plan.slow;
        self.network.slow_down(self.slow.clone());
        self.network.leave_uncounted(self.liars.clone());
    }

    fn found(&mut self, identities: &[Identity]) {
        let Some(first) = identities.first() else { return };
        match self.scenario.kind {
            Kind::Group => {
                let genesis = Genesis {
                    policies: Policies { history: self.scenario.history },
                    ..Genesis::group(first.account(), self.dice.bytes())
                };
                let secret = EpochSecret::new(self.dice.bytes());
                self.peers[0].found(&genesis, ("0", Some("room")), secret, START);
                self.invite(0);
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

    /// Says whose packets, and packets to whom, [`Network::sent`] leaves out from now on.
    pub fn leave_uncounted(&mut self, peers: BTreeSet<PeerNo>) {
        self.network.leave_uncounted(peers);
    }

    /// Stops all liars: some never come to rest.
    pub fn stop_liars(&mut self) {
        for no in self.liars.clone() {
            self.stop(no);
        }
    }

    /// Returns the scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Returns what was said.
    pub fn said(&self) -> &BTreeMap<EventId, Said> {
        &self.said
    }

    /// Returns what those who ended someone's term held of its messages then.
    pub fn cuttings(&self) -> &[Cutting] {
        &self.cuttings
    }

    /// Returns the acts that happened, by their kind.
    pub fn done(&self) -> &BTreeMap<&'static str, u64> {
        &self.done
    }

    /// Returns how many acts were not permitted.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether a peer breaks the rules.
    pub fn is_liar(&self, no: PeerNo) -> bool {
        self.liars.contains(&no)
    }

    /// Whether a peer is slow.
    pub fn is_slow(&self, no: PeerNo) -> bool {
        self.slow.contains(&no)
    }

    /// Whether a peer left the room by itself.
    pub fn has_left(&self, no: PeerNo) -> bool {
        self.left.contains(&no)
    }

    /// Whether all that was planned has happened.
    pub fn is_over(&self) -> bool {
        self.acts_left == 0
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
            let others = (self.peers[from].sessions().len() as u64).clamp(1, MAX_SPREAD) - 1;
            let delay = ANNOUNCE_MS + self.dice.below(2 * ANNOUNCE_MS * others + 1);
            self.enter(self.now + delay, Happening::Announce(from));
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
                    let out = self.peers[to].receive(from, &packet, self.now, &mut self.dice);
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
        let others = self.connected(no);
        if others.len() > 2 * self.scenario.neighbors {
            // Those with whom there is nothing to share go first.
            let sessions = self.peers[no].sessions();
            let idle = others.iter().filter(|other| !sessions.contains(other)).copied();
            let idle: Vec<PeerNo> = idle.collect();
            let from = if idle.is_empty() { &others } else { &idle };
            if let Some(other) = self.dice.pick(from).copied() {
                self.disconnect(no, other);
            }
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
            let mut out = self.peers[no].sweep(self.now);
            out.extend(self.peers[no].prove_forks(self.now, &mut self.dice));
            self.send(no, out);
            let connected = self.connected(no);
            let sessions = self.peers[no].sessions().len();
            let few = connected.len().min(sessions) < self.scenario.neighbors;
            if few && connected.len() < 4 * self.scenario.neighbors && self.dice.chance(500) {
                self.connect_somewhere(no);
            }
            if self.peers[no].wants_to_join(self.now) && !self.left.contains(&no) {
                let out = self.peers[no].ask_to_join(&connected, self.now, &mut self.dice);
                self.send(no, out.into_iter().collect());
            }
            let sessions = self.peers[no].sessions();
            let out = self.peers[no].ask_for_keys(&sessions, self.now, &mut self.dice);
            self.send(no, out.into_iter().collect());
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
        if a.has_session(other) || b.has_session(one) {
            return;
        }
        let (willing, wanted) = (a.accepts(other, self.now), b.accepts(one, self.now));
        let served = (a.serves(other), b.serves(one));
        let refused = (served.0 && !wanted && !served.1, served.1 && !willing && !served.0);
        self.peers[one].note_refusal(other, refused.0, self.now);
        self.peers[other].note_refusal(one, refused.1, self.now);
        for (told, (by, whom)) in [(refused.0, (other, one)), (refused.1, (one, other))] {
            if told {
                let out = self.peers[by].say_farewell(whom, self.now);
                self.send(by, out);
            }
        }
        if (served.0 || served.1) && willing && wanted {
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
            self.peers[no].note_refusal(with, false, self.now);
            self.send(no, vec![]);
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
}

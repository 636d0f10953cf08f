//! The virtual network: connections that come and go, latency, bandwidth, loss.
//!
//! A connection carries streams: in order, whole, at a bandwidth, until it drops; what is under way
//! then is gone. Gossip takes the same connections, and is lost, repeated and reordered on them.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::clock::Millis;

use crate::dice::Dice;
use crate::peer::{Packet, PeerNo};

/// How the network treats packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// Least time under way, in milliseconds.
    pub latency_ms: u64,
    /// What chance adds to it at most, in milliseconds.
    pub jitter_ms: u64,
    /// Of a thousand gossip messages, how many are lost.
    pub loss_permille: u32,
    /// Of a thousand gossip messages, how many arrive twice.
    pub repeat_permille: u32,
    /// Bytes that a connection carries in a millisecond, each way.
    pub bytes_per_ms: u64,
}

/// One connection.
#[derive(Debug, Clone, Copy)]
struct Connection {
    /// Which one of those between the two: what belongs to an earlier one is not delivered.
    number: u64,
    /// The open stream of `sync/1`.
    stream: u64,
    /// When each direction has carried what it was given; lower peer to higher first.
    busy_until: [Millis; 2],
}

/// How many times less the connections of slow peers carry.
const SLOWNESS: u64 = 100;

/// A packet under way.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// From whom.
    pub from: PeerNo,
    /// To whom.
    pub to: PeerNo,
    /// What.
    pub packet: Packet,
    connection: u64,
    stream: u64,
}

/// All connections.
#[derive(Debug)]
pub struct Network {
    conditions: Conditions,
    up: BTreeMap<(PeerNo, PeerNo), Connection>,
    next: u64,
    /// While the network is parted: who is on the other side.
    apart: BTreeSet<PeerNo>,
    slow: BTreeSet<PeerNo>,
    /// Those whose packets, and packets to whom, are not counted below.
    uncounted: BTreeSet<PeerNo>,
    /// Bytes and packets that were sent.
    sent: (u64, u64),
}

fn pair(one: PeerNo, other: PeerNo) -> (PeerNo, PeerNo) {
    (one.min(other), one.max(other))
}

impl Network {
    /// A network without connections.
    pub fn new(conditions: Conditions) -> Self {
        Self {
            conditions,
            up: BTreeMap::new(),
            next: 0,
            apart: BTreeSet::new(),
            slow: BTreeSet::new(),
            uncounted: BTreeSet::new(),
            sent: (0, 0),
        }
    }

    /// Says who is slow.
    pub fn slow_down(&mut self, slow: BTreeSet<PeerNo>) {
        self.slow = slow;
    }

    /// Says whose packets, and packets to whom, [`Self::sent`] leaves out.
    pub fn leave_uncounted(&mut self, peers: BTreeSet<PeerNo>) {
        self.uncounted = peers;
    }

    /// Connects two peers, unless the network is parted between them. Returns whether it did.
    pub fn connect(&mut self, one: PeerNo, other: PeerNo) -> bool {
        let parted = self.apart.contains(&one) != self.apart.contains(&other);
        if parted || self.is_up(one, other) {
            return false;
        }
        self.next += 1;
        let connection = Connection { number: self.next, stream: 0, busy_until: [0; 2] };
        self.up.insert(pair(one, other), connection);
        true
    }

    /// Opens a stream on their connection: what belongs to an earlier one is not delivered.
    pub fn open_stream(&mut self, one: PeerNo, other: PeerNo) {
        if let Some(connection) = self.up.get_mut(&pair(one, other)) {
            connection.stream += 1;
        }
    }

    /// Drops the connection between two peers. Returns whether there was one.
    pub fn disconnect(&mut self, one: PeerNo, other: PeerNo) -> bool {
        self.up.remove(&pair(one, other)).is_some()
    }

    /// Whether two peers are connected.
    pub fn is_up(&self, one: PeerNo, other: PeerNo) -> bool {
        self.up.contains_key(&pair(one, other))
    }

    /// Returns all connections.
    pub fn connections(&self) -> Vec<(PeerNo, PeerNo)> {
        self.up.keys().copied().collect()
    }

    /// Parts the network: `apart` on one side, the others on the other. Returns which connections
    /// drop.
    pub fn part(&mut self, apart: BTreeSet<PeerNo>) -> Vec<(PeerNo, PeerNo)> {
        self.apart = apart;
        let crossing = self
            .up
            .keys()
            .filter(|(one, other)| self.apart.contains(one) != self.apart.contains(other));
        let crossing: Vec<_> = crossing.copied().collect();
        for pair in &crossing {
            self.up.remove(pair);
        }
        crossing
    }

    /// Takes a packet. Returns when it arrives: once, or never, or more often.
    pub fn send(
        &mut self,
        (from, to): (PeerNo, PeerNo),
        packet: Packet,
        now: Millis,
        dice: &mut Dice,
    ) -> Vec<(Millis, Parcel)> {
        let under_way = self.conditions.latency_ms + dice.below(self.conditions.jitter_ms + 1);
        let Conditions { loss_permille, repeat_permille, jitter_ms, bytes_per_ms, .. } =
            self.conditions;
        let Some(connection) = self.up.get_mut(&pair(from, to)) else { return vec![] };
        let bytes = size(&packet);
        if !self.uncounted.contains(&from) && !self.uncounted.contains(&to) {
            self.sent = (self.sent.0 + bytes, self.sent.1 + 1);
        }
        let slow = self.slow.contains(&from) || self.slow.contains(&to);
        let bytes_per_ms = if slow { bytes_per_ms / SLOWNESS } else { bytes_per_ms };
        let (number, stream) = (connection.number, connection.stream);
        let parcel = Parcel { from, to, packet, connection: number, stream };
        if let Packet::Gossip(_) = parcel.packet {
            if dice.chance(loss_permille) {
                return vec![];
            }
            let mut arrivals = vec![(now + under_way, parcel.clone())];
            if dice.chance(repeat_permille) {
                arrivals.push((now + under_way + dice.below(4 * jitter_ms + 1), parcel));
            }
            return arrivals;
        }
        let busy_until = &mut connection.busy_until[usize::from(from > to)];
        *busy_until = (*busy_until).max(now + under_way) + bytes / bytes_per_ms.max(1);
        vec![(*busy_until, parcel)]
    }

    /// Whether a packet that is due may arrive.
    pub fn arrives(&self, parcel: &Parcel) -> bool {
        let connection = self.up.get(&pair(parcel.from, parcel.to));
        let of_stream = matches!(parcel.packet, Packet::Sync(_) | Packet::Bye);
        connection.is_some_and(|connection| {
            connection.number == parcel.connection
                && (!of_stream || connection.stream == parcel.stream)
        })
    }

    /// Returns how many bytes and packets were sent.
    pub fn sent(&self) -> (u64, u64) {
        self.sent
    }
}

/// Bytes of a packet, without what a transport adds.
fn size(packet: &Packet) -> u64 {
    let bytes = match packet {
        Packet::Sync(bytes)
        | Packet::Gossip(bytes)
        | Packet::Farewell(bytes)
        | Packet::Join(bytes)
        | Packet::Joined(bytes)
        | Packet::Keys(bytes)
        | Packet::Secrets(bytes) => bytes.len(),
        Packet::Bye => 1,
    };
    bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONDITIONS: Conditions = Conditions {
        latency_ms: 5,
        jitter_ms: 50,
        loss_permille: 500,
        repeat_permille: 500,
        bytes_per_ms: 10,
    };

    #[test]
    fn streams_are_whole_and_in_order_and_gossip_is_not() {
        let (mut network, mut dice) = (Network::new(CONDITIONS), Dice::new(1));
        assert!(network.connect(1, 0) && !network.connect(0, 1));
        let mut last = 0;
        for n in 0..100 {
            let sent = network.send((0, 1), Packet::Sync(vec![n; 20]), 0, &mut dice);
            assert_eq!(sent.len(), 1);
            assert!(sent[0].0 >= last + 2, "at its bandwidth");
            last = sent[0].0;
        }
        let gossip: Vec<_> = (0..100)
            .flat_map(|_| network.send((1, 0), Packet::Gossip(vec![]), 0, &mut dice))
            .collect();
        assert!((20..130).contains(&gossip.len()));
        assert!(!gossip.is_sorted_by_key(|(at, _)| *at), "it overtakes itself");
    }

    #[test]
    fn what_is_under_way_when_a_connection_drops_is_gone() {
        let (mut network, mut dice) = (Network::new(CONDITIONS), Dice::new(1));
        network.connect(0, 1);
        let sent = network.send((0, 1), Packet::Bye, 0, &mut dice);
        assert!(network.arrives(&sent[0].1));
        network.open_stream(0, 1);
        assert!(!network.arrives(&sent[0].1), "of an earlier stream");
        let sent = network.send((0, 1), Packet::Keys(vec![]), 0, &mut dice);
        network.disconnect(0, 1);
        network.connect(0, 1);
        assert!(!network.arrives(&sent[0].1));
    }

    #[test]
    fn nothing_crosses_a_parting() {
        let mut network = Network::new(CONDITIONS);
        network.connect(0, 1);
        network.connect(1, 2);
        assert_eq!(network.part([2].into()), [(1, 2)]);
        assert!(!network.connect(1, 2) && !network.connect(0, 2));
        assert_eq!(network.part(BTreeSet::new()), []);
        assert!(network.connect(1, 2));
    }
}

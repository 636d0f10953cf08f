//! Who is served now: upload slots, the room's members first.

use std::collections::BTreeMap;

use crate::clock::Millis;
use crate::id::PeerId;

/// Most requests of one peer that wait or are served: so many transfers as a node runs at a time may ask
/// one provider. What is above is refused.
pub const MAX_CLAIMS_PER_PEER: usize = 64;

/// Most requests that wait, of all peers.
pub const MAX_WAITING: usize = 256;

/// Over how long it is looked whether a reader is fast enough, in milliseconds: long against any pause
/// of an honest line.
pub const TURN_MS: Millis = 10_000;

/// Bytes a second that a reader has to take while others wait for its slot: less than the slowest lines
/// that are used for files. Who is slower loses nothing that came, and may ask again.
pub const LEAST_RATE: u64 = 16 * 1024;

/// Names one request to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim(pub u64);

/// Who goes first, from last to first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Someone with a ticket.
    Stranger,
    /// A member of a room that the content was said in.
    Member,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    peer: PeerId,
    urgency: Urgency,
    /// Whether its content has a limit of its own.
    limited: bool,
    served: bool,
    /// Since when it is watched how fast it reads, and what it took since.
    since: Millis,
    taken: u64,
}

/// The requests that are served and that wait.
///
/// Invariant: never more than the slots are served, a quarter of them members only, and no peer has more
/// than half of them, nor have those that a limit of their content slows down; of those that wait a member is served before a stranger, then who is served least
/// now, then who asked first. A reader that drips loses its slot to who waits ([`Self::yields`]).
#[derive(Debug, Clone)]
pub struct Uploads {
    slots: usize,
    next: u64,
    asked: BTreeMap<Claim, Asked>,
}

impl Uploads {
    /// Serves up to `slots` requests at a time.
    pub fn new(slots: usize) -> Self {
        Self { slots, next: 0, asked: BTreeMap::new() }
    }

    /// Notes a request; none when it is refused: this peer, or all together, ask for too much. It is
    /// served once [`Self::is_served`], which a change of others may bring about.
    ///
    /// `limited` says whether its content has a limit of its own: such answers take long, and leave half of
    /// the slots to others.
    pub fn ask(
        &mut self,
        peer: PeerId,
        (urgency, limited): (Urgency, bool),
        now: Millis,
    ) -> Option<Claim> {
        let of_peer = self.asked.values().filter(|asked| asked.peer == peer).count();
        if of_peer >= MAX_CLAIMS_PER_PEER {
            return None;
        }
        if self.len().1 >= MAX_WAITING && !self.displace(peer, urgency) {
            return None;
        }
        let claim = Claim(self.next);
        self.next += 1;
        let asked = Asked { peer, urgency, limited, served: false, since: now, taken: 0 };
        self.asked.insert(claim, asked);
        self.fill(now);
        Some(claim)
    }

    /// Whether a request is to be served now; none when it is not to be served at all.
    pub fn is_served(&self, claim: Claim) -> Option<bool> {
        self.asked.get(&claim).map(|asked| asked.served)
    }

    /// Notes that bytes of an answer were taken by its reader.
    pub fn taken(&mut self, claim: Claim, bytes: u64) {
        if let Some(asked) = self.asked.get_mut(&claim) {
            asked.taken = asked.taken.saturating_add(bytes);
        }
    }

    /// Notes that an answer was held back by ourselves for so long: its reader is not slow.
    pub fn held(&mut self, claim: Claim, millis: Millis) {
        if let Some(asked) = self.asked.get_mut(&claim) {
            asked.since = asked.since.saturating_add(millis);
        }
    }

    /// Whether an answer is to end, so that another one can begin: its reader is too slow, and others
    /// wait. To be asked now and then.
    pub fn yields(&mut self, claim: Claim, now: Millis) -> bool {
        let Some(own) = self.asked.get(&claim).copied() else { return true };
        let waits = |it: &Asked| !it.served && it.peer != own.peer && it.urgency >= own.urgency;
        let others_wait = self.asked.values().any(waits);
        let elapsed = now.saturating_sub(own.since);
        if others_wait && elapsed < TURN_MS {
            return false;
        }
        if others_wait && own.taken.saturating_mul(1000) / elapsed.max(1) < LEAST_RATE {
            return true;
        }
        if let Some(asked) = self.asked.get_mut(&claim) {
            (asked.since, asked.taken) = (asked.since.max(now), 0);
        }
        false
    }

    /// Notes that a request is over, served or not.
    pub fn end(&mut self, claim: Claim, now: Millis) {
        self.asked.remove(&claim);
        self.fill(now);
    }

    /// Returns how many are served, and how many wait.
    pub fn len(&self) -> (usize, usize) {
        let served = self.asked.values().filter(|asked| asked.served).count();
        (served, self.asked.len() - served)
    }

    fn count(&self, is: impl Fn(&Asked) -> bool) -> usize {
        self.asked.values().filter(|asked| is(asked)).count()
    }

    /// Gives up the newest waiting request that is less urgent, or else of the peer that has the most,
    /// if that is more than the one that asks.
    fn displace(&mut self, peer: PeerId, urgency: Urgency) -> bool {
        let mut waiting = self.asked.iter().rev().filter(|(_, asked)| !asked.served);
        let mut found = waiting.find(|(_, asked)| asked.urgency < urgency).map(|(claim, _)| *claim);
        if found.is_none() {
            let mut of: BTreeMap<PeerId, (usize, Claim)> = BTreeMap::new();
            let equal = |it: &Asked| !it.served && it.urgency == urgency;
            for (claim, asked) in self.asked.iter().filter(|(_, asked)| equal(asked)) {
                let (count, newest) = of.entry(asked.peer).or_insert((0, *claim));
                (*count, *newest) = (*count + 1, *claim);
            }
            let own = of.get(&peer).map_or(0, |(count, _)| *count);
            let most = of.values().max_by_key(|(count, _)| *count);
            found = most.filter(|(count, _)| *count > own + 1).map(|(_, newest)| *newest);
        }
        found.is_some_and(|claim| self.asked.remove(&claim).is_some())
    }

    fn fill(&mut self, now: Millis) {
        let (of_strangers, half) = (self.slots - self.slots / 4, (self.slots / 2).max(2));
        while self.len().0 < self.slots {
            let served = |peer: &PeerId| self.count(|it| it.served && it.peer == *peer);
            let strangers = self.count(|it| it.served && it.urgency == Urgency::Stranger);
            let limited = self.count(|it| it.served && it.limited);
            let may = |it: &Asked| {
                (it.urgency > Urgency::Stranger || strangers < of_strangers)
                    && served(&it.peer) < half
                    && (!it.limited || limited < half)
            };
            let waiting = self.asked.iter().filter(|(_, asked)| !asked.served && may(asked));
            let next = waiting.min_by_key(|(claim, asked)| {
                (std::cmp::Reverse(asked.urgency), served(&asked.peer), **claim)
            });
            let Some(claim) = next.map(|(claim, _)| *claim) else { return };
            if let Some(asked) = self.asked.get_mut(&claim) {
                (asked.served, asked.since, asked.taken) = (true, now, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    #[test]
    fn members_go_first_then_who_has_least_then_who_came_first() {
        let mut uploads = Uploads::new(2);
        let ask = |uploads: &mut Uploads, n, urgency| {
            uploads.ask(peer(n), (urgency, false), 0).expect("room")
        };
        let first = ask(&mut uploads, 1, Urgency::Stranger);
        let second = ask(&mut uploads, 1, Urgency::Stranger);
        let third = ask(&mut uploads, 1, Urgency::Stranger);
        let other = ask(&mut uploads, 2, Urgency::Stranger);
        let member = ask(&mut uploads, 3, Urgency::Member);
        let served = |uploads: &Uploads, claim| uploads.is_served(claim) == Some(true);
        assert!(served(&uploads, first) && served(&uploads, second) && !served(&uploads, member));
        uploads.end(first, 0);
        assert!(served(&uploads, member) && !served(&uploads, other));
        uploads.end(member, 0);
        assert!(served(&uploads, other) && !served(&uploads, third), "who has least");
        uploads.end(second, 0);
        assert!(served(&uploads, third));
        assert_eq!(uploads.is_served(first), None);
    }

    #[test]
    fn many_requests_of_one_peer_wait_and_others_make_their_way_into_a_full_queue() {
        let mut uploads = Uploads::new(1);
        for n in 0..=255 {
            for _ in 0..MAX_CLAIMS_PER_PEER {
                let _ = uploads.ask(peer(n), (Urgency::Stranger, false), 0);
            }
        }
        assert_eq!(uploads.len(), (1, MAX_WAITING));
        let of = |uploads: &Uploads, n| uploads.count(|it| it.peer == peer(n));
        assert!(of(&uploads, 0) > 0 && of(&uploads, 255) > 0, "nobody has all of the queue");
        let mut member = [7; 32];
        member[0] = 1;
        assert!(uploads.ask(PeerId(member), (Urgency::Member, false), 0).is_some());
        assert_eq!(uploads.len(), (1, MAX_WAITING));
        let mut alone = Uploads::new(1);
        let claims: Vec<_> =
            (0..99).map(|_| alone.ask(peer(1), (Urgency::Member, false), 0)).collect();
        assert_eq!(claims.iter().flatten().count(), MAX_CLAIMS_PER_PEER);
    }

    #[test]
    fn strangers_leave_slots_to_members_and_no_peer_takes_all() {
        let mut uploads = Uploads::new(16);
        for _ in 0..20 {
            uploads.ask(peer(1), (Urgency::Stranger, false), 0).expect("waits");
        }
        assert_eq!(uploads.len(), (8, 12));
        for n in 2..40 {
            uploads.ask(peer(n), (Urgency::Stranger, false), 0).expect("waits");
        }
        assert_eq!(uploads.len().0, 12);
        for n in 50..60 {
            uploads.ask(peer(n), (Urgency::Member, false), 0).expect("waits");
        }
        assert_eq!(uploads.len().0, 16);
    }

    #[test]
    fn what_has_a_limit_of_its_own_leaves_slots_to_the_rest() {
        let mut uploads = Uploads::new(16);
        for n in 0..20 {
            uploads.ask(peer(n), (Urgency::Member, true), 0).expect("waits");
        }
        assert_eq!(uploads.len(), (8, 12));
        let other = uploads.ask(peer(99), (Urgency::Stranger, false), 0).expect("room");
        assert_eq!(uploads.is_served(other), Some(true));
    }

    #[test]
    fn who_drips_loses_its_slot_once_others_wait() {
        let mut uploads = Uploads::new(1);
        let slow = uploads.ask(peer(1), (Urgency::Member, false), 0).expect("served");
        uploads.taken(slow, 1);
        assert!(!uploads.yields(slow, 100_000), "nobody waits");
        let waits = uploads.ask(peer(2), (Urgency::Member, false), 100_000).expect("waits");
        uploads.taken(slow, LEAST_RATE);
        assert!(!uploads.yields(slow, 100_000 + TURN_MS - 1));
        assert!(uploads.yields(slow, 100_000 + TURN_MS));
        uploads.end(slow, 100_000 + TURN_MS);
        assert_eq!(uploads.is_served(waits), Some(true));
        let stranger = uploads.ask(peer(3), (Urgency::Stranger, false), 0).expect("waits");
        assert!(!uploads.yields(waits, 900_000), "a member does not make way for a stranger");
        uploads.end(stranger, 900_000);
        // One who is fast enough stays, and so does one that we hold back.
        let _ = uploads.ask(peer(4), (Urgency::Member, false), 900_000).expect("waits");
        uploads.taken(waits, LEAST_RATE * TURN_MS / 1000);
        assert!(!uploads.yields(waits, 900_000 + TURN_MS));
        uploads.held(waits, 50_000);
        assert!(!uploads.yields(waits, 900_000 + 2 * TURN_MS + 49_999));
    }
}

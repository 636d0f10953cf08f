//! The address book: peers that this node has heard of, kept across restarts.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ayni_core::clock::Millis;
use ayni_core::id::{AccountId, PeerId};
use ayni_core::limits::MAX_DIRECT_ADDRS;
use ayni_core::ticket::PeerAddr;

use crate::store::{StoredPeer, Write};

/// Most peers kept. Beyond it new ones are not remembered; those of our rooms come back by exchange.
const MAX_BOOK: usize = 4096;
/// Beyond so many, peers that share no room with us are not remembered: anyone can make keys and
/// call, and the rest of the book is for members.
const MAX_STRANGERS: usize = MAX_BOOK / 4;

/// Where knowledge of a peer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Its own connection, or multicast DNS.
    Seen,
    /// Its own connection, and it shares no room with us.
    Stranger,
    /// Someone else: a ticket, an admission, a member.
    Told,
}

impl Source {
    /// Returns up to which size the book takes someone new.
    const fn room_for(self) -> usize {
        match self {
            Self::Seen | Self::Told => MAX_BOOK,
            Self::Stranger => MAX_STRANGERS,
        }
    }
}

fn entry(book: &mut BTreeMap<PeerId, Known>, peer: PeerId, room_for: usize) -> Option<&mut Known> {
    let room = book.len() < room_for;
    match book.entry(peer) {
        Entry::Occupied(known) => Some(known.into_mut()),
        Entry::Vacant(free) if room => Some(free.insert(blank(peer))),
        Entry::Vacant(_) => None,
    }
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// Where it was reached or is said to be, the latest first.
    pub(crate) addr: PeerAddr,
    /// Its account, by its certificate over its own connection.
    pub(crate) account: Option<AccountId>,
    /// The name it gave.
    pub(crate) name: Option<String>,
    /// Whether multicast DNS hears it now.
    pub(crate) lan: bool,
}

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<BTreeMap<PeerId, Known>>);

impl Book {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the store has.
    pub(crate) fn restore(&self, peers: Vec<StoredPeer>) {
        let mut book = self.lock();
        for stored in peers.into_iter().take(MAX_BOOK) {
            let known = Known {
                account: stored.account,
                name: stored.name,
                lan: false,
                addr: stored.addr.clone(),
            };
            book.insert(stored.addr.peer, known);
        }
    }

    /// Adds addresses. Returns whether anything is new.
    ///
    /// Those at which it was seen come first. Those that others told come after the one at which it
    /// was seen last, which no number of them pushes out.
    pub(crate) fn learn_address(&self, addr: &PeerAddr, source: Source) -> bool {
        let mut book = self.lock();
        let Some(known) = entry(&mut book, addr.peer, source.room_for()) else { return false };
        let kept = match source {
            Source::Seen | Source::Stranger => 0,
            Source::Told => known.addr.direct.len().min(1),
        };
        let old = &known.addr.direct;
        let mut direct: Vec<_> = old.iter().take(kept).copied().collect();
        for new in addr.direct.iter().chain(old.iter().skip(kept)) {
            if !direct.contains(new) {
                direct.push(*new);
            }
        }
        direct.truncate(MAX_DIRECT_ADDRS);
        let new = known.addr.direct != direct;
        known.addr.direct = direct;
        new
    }

    /// Notes who a peer is. Returns whether that is new.
    pub(crate) fn learn_profile(
        &self,
        peer: PeerId,
        account: AccountId,
        name: &str,
        source: Source,
    ) -> bool {
        let mut book = self.lock();
        let Some(known) = entry(&mut book, peer, source.room_for()) else { return false };
        let new = known.account != Some(account) || known.name.as_deref() != Some(name);
        known.account = Some(account);
        known.name = Some(name.to_owned());
        new
    }

    /// Notes whether multicast DNS hears a peer.
    pub(crate) fn set_lan(&self, peer: PeerId, lan: bool) {
        let mut book = self.lock();
        if book.len() < MAX_BOOK || book.contains_key(&peer) {
            book.entry(peer).or_insert_with(|| blank(peer)).lan = lan;
        }
    }

    /// Returns one peer.
    pub(crate) fn known(&self, peer: &PeerId) -> Option<Known> {
        self.lock().get(peer).cloned()
    }

    /// Returns all peers, in order.
    pub(crate) fn all(&self) -> Vec<Known> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn account_of(&self, peer: &PeerId) -> Option<AccountId> {
        self.lock().get(peer).and_then(|known| known.account)
    }

    pub(crate) fn account_name(&self, account: &AccountId) -> Option<String> {
        let book = self.lock();
        let names = book.values().filter(|known| known.account == Some(*account));
        names.filter_map(|known| known.name.clone()).find(|name| !name.is_empty())
    }

    pub(crate) fn devices_of(&self, account: &AccountId) -> Vec<PeerId> {
        let book = self.lock();
        let devices = book.iter().filter(|(_, known)| known.account == Some(*account));
        devices.map(|(peer, _)| *peer).collect()
    }

    /// Describes a peer for the store.
    pub(crate) fn to_write(&self, peer: &PeerId, now_ms: Millis) -> Option<Write> {
        let known = self.known(peer)?;
        let Known { addr, account, name, .. } = known;
        Some(Write::Peer { addr, account, name, now_ms })
    }
}

fn blank(peer: PeerId) -> Known {
    let addr = PeerAddr { peer, direct: vec![], relays: vec![] };
    Known { addr, account: None, name: None, lan: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ayni_core::ticket::Addr;

    fn addr(peer: u8, ports: impl IntoIterator<Item = u16>) -> PeerAddr {
        let direct = ports.into_iter().map(|port| Addr(([127, 0, 0, 1], port).into())).collect();
        PeerAddr { peer: PeerId([peer; 32]), direct, relays: vec![] }
    }

    #[test]
    fn the_latest_address_comes_first_and_the_list_is_bounded() {
        let book = Book::default();
        assert!(book.learn_address(&addr(1, [1]), Source::Seen));
        assert!(!book.learn_address(&addr(1, [1]), Source::Seen));
        assert!(book.learn_address(&addr(1, 2..50), Source::Seen));
        let known = book.known(&PeerId([1; 32])).expect("learnt");
        assert_eq!(known.addr.direct.len(), MAX_DIRECT_ADDRS);
        assert_eq!(known.addr.direct[0].0.port(), 2);
    }

    #[test]
    fn what_others_tell_does_not_push_out_where_a_peer_was_seen() {
        let book = Book::default();
        book.learn_address(&addr(1, [1]), Source::Seen);
        assert!(book.learn_address(&addr(1, 2..50), Source::Told));
        assert!(book.learn_address(&addr(1, 50..99), Source::Told));
        let known = book.known(&PeerId([1; 32])).expect("learnt").addr;
        let ports: Vec<u16> = known.sockets().map(|addr| addr.port()).collect();
        assert_eq!(ports, [1, 50, 51, 52, 53, 54, 55, 56]);
    }

    #[test]
    fn hazard_23_strangers_leave_room_for_members() {
        let book = Book::default();
        let peer = |nth: usize| {
            let mut id = [7; 32];
            id[..8].copy_from_slice(&(nth as u64).to_be_bytes());
            PeerAddr { peer: PeerId(id), ..addr(0, [1]) }
        };
        for nth in 0..MAX_BOOK {
            book.learn_address(&peer(nth), Source::Stranger);
        }
        assert_eq!(book.all().len(), MAX_STRANGERS);
        assert!(book.learn_address(&addr(1, [1]), Source::Told));
    }

    #[test]
    fn a_full_book_takes_no_strangers_and_keeps_learning_of_those_it_has() {
        let book = Book::default();
        for nth in 0..MAX_BOOK {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(nth as u64 + 256).to_be_bytes());
            book.set_lan(PeerId(id), false);
        }
        assert!(!book.learn_address(&addr(255, [1]), Source::Seen));
        assert_eq!(book.all().len(), MAX_BOOK);
    }
}

//! The plain struct whose hash is a room's id.

use minicbor::{Decode, Encode};

use crate::id::{AccountId, RoomId};
use crate::keys::{Bytes32, context, derive};
use crate::limits::MAX_FOUNDERS;
use crate::wire;

/// The rules of rooms that this version writes.
pub const RULES: u32 = 1;

/// What kind of conversation a room is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// Any number of members.
    #[n(0)]
    Group,
    /// Two accounts; both sides make the same room.
    #[n(1)]
    Direct,
    /// The devices of one account; each makes the same room.
    #[n(2)]
    Own,
}

/// Which of the room's past a newcomer may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum History {
    /// All of it.
    #[n(0)]
    FromStart,
    /// What is sent after it joined.
    #[n(1)]
    FromJoining,
}

/// Policies fixed at the room's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Policies {
    /// What newcomers may read.
    #[n(0)]
    pub history: History,
}

/// The genesis of a room.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Genesis {
    /// The rules it starts with.
    #[n(0)]
    pub rules: u32,
    /// Its kind.
    #[n(1)]
    pub kind: Kind,
    /// Its founders, sorted, each once.
    #[n(2)]
    pub founders: Vec<AccountId>,
    /// Its policies.
    #[n(3)]
    pub policies: Policies,
    /// Random for a group; none for a direct room.
    #[n(4)]
    pub nonce: Option<Bytes32>,
}

impl Genesis {
    /// A group with one founder.
    pub fn group(founder: AccountId, nonce: [u8; 32]) -> Self {
        Self {
            rules: RULES,
            kind: Kind::Group,
            founders: vec![founder],
            policies: Policies { history: History::FromStart },
            nonce: Some(Bytes32(nonce)),
        }
    }

    /// The direct room of two accounts: the same whoever makes it.
    pub fn direct(one: AccountId, other: AccountId) -> Self {
        Self {
            rules: RULES,
            kind: Kind::Direct,
            founders: vec![one.min(other), one.max(other)],
            policies: Policies { history: History::FromStart },
            nonce: None,
        }
    }

    /// The room of an account's own devices: the same whichever makes it.
    pub fn own(account: AccountId) -> Self {
        Self {
            rules: RULES,
            kind: Kind::Own,
            founders: vec![account],
            policies: Policies { history: History::FromStart },
            nonce: None,
        }
    }

    /// Returns the room's id.
    pub fn id(&self) -> RoomId {
        RoomId(derive(context::ROOM, &[&wire::encode(self)]))
    }

    /// Whether its fields fit together and this version knows its rules.
    pub fn is_valid(&self) -> bool {
        let sorted = self.founders.windows(2).all(|pair| pair.first() < pair.last());
        let counted = match self.kind {
            Kind::Group => {
                (1..=MAX_FOUNDERS).contains(&self.founders.len()) && self.nonce.is_some()
            }
            Kind::Direct => self.founders.len() == 2 && self.nonce.is_none(),
            Kind::Own => self.founders.len() == 1 && self.nonce.is_none(),
        };
        self.rules == RULES && sorted && counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hazard_12_a_changed_genesis_is_another_room() {
        let genesis = Genesis::group(AccountId([1; 32]), [2; 32]);
        let changed = Genesis { founders: vec![AccountId([9; 32])], ..genesis.clone() };
        assert_ne!(genesis.id(), changed.id());
        assert!(genesis.is_valid());
        let twice = Genesis { founders: vec![AccountId([1; 32]); 2], ..genesis.clone() };
        assert!(!twice.is_valid());
        assert!(!Genesis { nonce: None, ..genesis.clone() }.is_valid());
        assert!(!Genesis { rules: 2, ..genesis }.is_valid());
    }

    #[test]
    fn both_sides_make_the_same_direct_room() {
        let (a, b) = (AccountId([1; 32]), AccountId([2; 32]));
        assert_eq!(Genesis::direct(a, b), Genesis::direct(b, a));
        assert!(Genesis::direct(a, b).is_valid());
        assert!(!Genesis::direct(a, a).is_valid());
    }
}

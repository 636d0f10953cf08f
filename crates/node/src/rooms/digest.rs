//! The state hash of a room, computed once for what is durable: peers may ask for it at any rate, and
//! it costs time in proportion to all logs.

use std::cell::OnceCell;

use ayni_core::id::EventId;
use ayni_core::log::LogId;
use ayni_core::room::Room;
use ayni_core::sync::StateHash;

/// A state hash that is remembered until it is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Digest(OnceCell<[u8; 32]>);

impl Digest {
    /// To be called whenever what is durable changed.
    pub(crate) fn forget(&mut self) {
        self.0.take();
    }

    /// Returns the hash of `room`, to be computed when it is asked for.
    pub(crate) fn of<'a>(&'a self, room: &'a Room) -> Digested<'a> {
        Digested { digest: self, room }
    }
}

/// A room with its remembered hash.
#[derive(Debug)]
pub(crate) struct Digested<'a> {
    digest: &'a Digest,
    room: &'a Room,
}

impl StateHash for Digested<'_> {
    fn state_hash(&self) -> [u8; 32] {
        *self.digest.0.get_or_init(|| self.room.state_hash())
    }

    fn tip(&self, log: &LogId) -> Option<(u64, EventId)> {
        self.room.tip(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::testing::founded;

    #[test]
    fn the_hash_is_computed_once_until_it_is_forgotten() {
        let (first, second) = (founded(1).room, founded(2).room);
        assert_ne!(first.state_hash(), second.state_hash());
        let mut digest = Digest::default();
        assert_eq!(digest.of(&first).state_hash(), first.state_hash());
        assert_eq!(digest.of(&second).state_hash(), first.state_hash(), "remembered");
        digest.forget();
        assert_eq!(digest.of(&second).state_hash(), second.state_hash());
    }
}

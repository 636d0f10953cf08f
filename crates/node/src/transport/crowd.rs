//! Connections of which only so many are kept: who comes last stays, the oldest goes.
//!
//! What a peer may make us hold must have a bound, and a refusal would let whoever came first shut
//! everyone else out. An honest use of these places is short, so who is there longest is the one to
//! go. All connections of one peer share a smaller bound, so that one peer displaces itself first.

use std::sync::{Mutex, PoisonError};

use ayni_core::id::PeerId;
use iroh::endpoint::{VarInt, WeakConnectionHandle};
use tokio_util::sync::CancellationToken;

/// A bounded number of connections, or of something else that peers make us hold.
#[derive(Debug)]
pub(super) struct Crowd<C> {
    most: usize,
    most_of_one: usize,
    /// The oldest first.
    present: Mutex<Vec<(PeerId, C)>>,
}

/// What a crowd does with what it holds.
pub(super) trait Displace {
    /// Whether it ended by itself.
    fn is_over(&self) -> bool;
    /// Ends it.
    fn displace(&self);
}

/// A connection: ended by being closed.
impl Displace for WeakConnectionHandle {
    fn is_over(&self) -> bool {
        self.upgrade().is_none_or(|connection| connection.close_reason().is_some())
    }

    fn displace(&self) {
        if let Some(connection) = self.upgrade() {
            connection.close(VarInt::from_u32(0), b"made room for another");
        }
    }
}

/// A piece of work: ended by being dropped. See [`Crowd::within`].
impl Displace for CancellationToken {
    fn is_over(&self) -> bool {
        self.is_cancelled()
    }

    fn displace(&self) {
        self.cancel();
    }
}

impl Crowd<CancellationToken> {
    /// Works for a peer as long as there is a place for it; none when it had to make room.
    pub(super) async fn within<T>(&self, peer: PeerId, work: impl Future<Output = T>) -> Option<T> {
        let place = CancellationToken::new();
        let _left_at_the_end = place.clone().drop_guard();
        self.enter(peer, place.clone(), |_| true);
        place.run_until_cancelled(work).await
    }
}

impl<C: Displace> Crowd<C> {
    /// A crowd of at most `most` connections, and `most_of_one` of one peer.
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self { most, most_of_one, present: Mutex::default() }
    }

    /// Lets one in; the oldest beyond the bounds are ended. Those of whom `counts` says no are
    /// forgotten, and stay as they are.
    pub(super) fn enter(&self, peer: PeerId, new: C, counts: impl Fn(&PeerId) -> bool) {
        let mut present = self.take();
        // Asked without the lock: the answer may need others.
        present.retain(|(peer, old)| !old.is_over() && counts(peer));
        let mut kept = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        // Who entered in the meantime came later.
        present.append(&mut kept);
        present.push((peer, new));
        let of_one = present.iter().filter(|(other, _)| *other == peer).count();
        for _ in self.most_of_one..of_one {
            if let Some(at) = present.iter().position(|(other, _)| *other == peer) {
                present.remove(at).1.displace();
            }
        }
        let beyond = present.len().saturating_sub(self.most);
        present.drain(..beyond).for_each(|(_, old)| old.displace());
        *kept = present;
    }

    fn take(&self) -> Vec<(PeerId, C)> {
        std::mem::take(&mut *self.present.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[derive(Clone, Default)]
    struct Fake(Rc<Cell<bool>>);

    impl Displace for Fake {
        fn is_over(&self) -> bool {
            self.0.get()
        }

        fn displace(&self) {
            self.0.set(true);
        }
    }

    fn peer(nth: u8) -> PeerId {
        PeerId([nth; 32])
    }

    #[test]
    fn hazard_23_the_oldest_of_one_peer_goes_first_then_the_oldest_of_all() {
        let crowd = Crowd::new(3, 2);
        let all: Vec<_> = std::iter::repeat_with(Fake::default).take(6).collect();
        let gone = || all.iter().map(Displace::is_over).collect::<Vec<_>>();
        for (nth, fake) in all.iter().enumerate().take(3) {
            crowd.enter(peer(u8::from(nth > 0)), fake.clone(), |_| true);
        }
        assert_eq!(gone(), [false; 6]);
        crowd.enter(peer(1), all[3].clone(), |_| true);
        assert_eq!(gone(), [false, true, false, false, false, false], "a third of peer 1");
        crowd.enter(peer(2), all[4].clone(), |_| true);
        assert_eq!(gone(), [true, true, false, false, false, false], "a fourth of all");
        // Peer 1 belongs to us now: its connections are no part of the crowd any more.
        crowd.enter(peer(2), all[5].clone(), |peer| peer.0 != [1; 32]);
        assert_eq!(gone(), [true, true, false, false, false, false]);
    }
}

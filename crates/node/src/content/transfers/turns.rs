//! Whose turn it is to fetch a content: one transfer at a time does, and none for long that gets nothing
//! while another one waits, which may know others who have it. Those that someone asked for go first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ayni_core::id::BlobId;
use tokio::sync::Notify;

/// The queues of all contents that are fetched.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<BlobId, Arc<Queue>>>);

impl Turns {
    /// Returns the queue of a content.
    pub(super) fn of(&self, blob: BlobId) -> Arc<Queue> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, queue| Arc::strong_count(queue) > 1);
        all.entry(blob).or_default().clone()
    }
}

/// The place of one that waits. Who gave way stands a round behind all that wait then, so that each of
/// them comes before it; in a round those that someone asked for are first, of these who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    round: u64,
    unasked: bool,
    came: u64,
}

/// Those who fetch, or are about to fetch, one content.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    taken: bool,
    /// The round of who has the turn, or had it last.
    round: u64,
    waiting: BTreeSet<Place>,
    last: u64,
}

impl Queue {
    /// Waits for the turn; `again`: as one that had it and gave way.
    pub(super) async fn wait(self: Arc<Self>, asked: bool, again: bool) -> Turn {
        let place = {
            let mut state = self.lock();
            state.last += 1;
            let place =
                Place { round: state.round + u64::from(again), unasked: !asked, came: state.last };
            state.waiting.insert(place);
            place
        };
        let waiting = Waiting { queue: self.clone(), place };
        loop {
            // Listened to before it is looked, so that nothing is missed.
            let changed = self.changed.notified();
            if self.take(place) {
                drop(waiting);
                return Turn(self.clone());
            }
            changed.await;
        }
    }

    fn take(&self, place: Place) -> bool {
        let mut state = self.lock();
        let next = !state.taken && state.waiting.first() == Some(&place);
        if next {
            state.waiting.remove(&place);
            (state.taken, state.round) = (true, place.round);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to fetch a content. Dropping it lets the next one do so.
#[derive(Debug)]
pub(super) struct Turn(Arc<Queue>);

impl Turn {
    /// Whether others wait for it.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.0.lock().waiting.is_empty()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().taken = false;
        self.0.changed.notify_waiters();
    }
}

/// One that waits, as long as it does.
struct Waiting {
    queue: Arc<Queue>,
    place: Place,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.queue.lock().waiting.remove(&self.place);
        // Who is next now may not know it.
        self.queue.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn each_that_waits_comes_before_who_gave_way_and_the_asked_for_before_the_others() {
        let turns = Turns::default();
        let queue = turns.of(BlobId([1; 32]));
        let first = queue.clone().wait(true, false).await;
        assert!(!first.is_waited_for());
        let mut unasked = Box::pin(queue.clone().wait(false, false));
        let mut asked = Box::pin(queue.clone().wait(true, false));
        assert!(unasked.as_mut().now_or_never().is_none());
        assert!(asked.as_mut().now_or_never().is_none());
        assert!(first.is_waited_for());
        drop(first);
        // Who gave way wants it again at once, and comes last.
        let mut again = Box::pin(queue.clone().wait(true, true));
        assert!(again.as_mut().now_or_never().is_none());
        assert!(unasked.as_mut().now_or_never().is_none());
        let second = asked.as_mut().now_or_never().expect("its turn");
        drop(second);
        assert!(again.as_mut().now_or_never().is_none());
        let third = unasked.as_mut().now_or_never().expect("its turn");
        // Of two that gave way, the first one is first.
        drop(third);
        let mut later = Box::pin(queue.clone().wait(true, true));
        assert!(later.as_mut().now_or_never().is_none());
        let fourth = again.as_mut().now_or_never().expect("its turn");
        assert!(later.as_mut().now_or_never().is_none());
        drop(fourth);
        assert!(later.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_stops_waiting_holds_nobody_up_and_contents_do_not_wait_for_each_other() {
        let turns = Turns::default();
        let queue = turns.of(BlobId([1; 32]));
        let first = queue.clone().wait(true, false).await;
        let gone = tokio::spawn(queue.clone().wait(true, false));
        while !first.is_waited_for() {
            tokio::task::yield_now().await;
        }
        let next = tokio::spawn(queue.clone().wait(true, false));
        gone.abort();
        drop(first);
        let next = tokio::time::timeout(std::time::Duration::from_secs(10), next).await;
        assert!(!next.expect("it waits for one that is gone").expect("no panic").is_waited_for());
        drop(queue);
        let other = turns.of(BlobId([2; 32])).wait(true, false).now_or_never();
        assert!(other.is_some());
        assert_eq!(turns.0.lock().expect("no panic").len(), 1, "what nobody fetches is forgotten");
    }
}

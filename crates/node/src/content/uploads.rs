//! Whose request is answered now, and how fast: the core's rules, with tasks that wait for their turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ayni_core::id::PeerId;
use ayni_core::swarm::{Claim, Pace, Uploads, Urgency};
use tokio::sync::Notify;

/// Requests that are answered at a time: enough to keep a line full while some wait for their reader, few
/// enough that each gets somewhere.
const SLOTS: usize = 16;

/// How often who waits looks whether the limit still is what it was, in milliseconds.
const LOOK_MS: u64 = 500;

/// The door that every answer passes. Cloning gives another handle.
#[derive(Debug, Clone)]
pub(super) struct Door(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    uploads: Mutex<Uploads>,
    changed: Notify,
    pace: Pacer,
    begun: Instant,
}

/// A request that may be answered while this lives.
#[derive(Debug)]
pub(super) struct Admitted {
    door: Door,
    claim: Claim,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let now = self.door.now();
        self.door.uploads().end(self.claim, now);
        self.door.0.changed.notify_waiters();
    }
}

impl Admitted {
    /// Waits as long as these limits, and then the limit on all answers, say before so many bytes are given.
    /// That is not the reader's time.
    pub(super) async fn pass(&self, bytes: u64, own: &[Arc<Pacer>]) {
        let begun = Instant::now();
        let mut waited = false;
        for pace in own {
            waited |= pace.pass(bytes, || {}).await;
        }
        waited |= self.door.pace().pass(bytes, || {}).await;
        if waited {
            self.door.uploads().held(self.claim, millis(begun.elapsed()));
        }
    }

    /// Notes that the reader took bytes.
    pub(super) fn taken(&self, bytes: u64) {
        self.door.uploads().taken(self.claim, bytes);
    }

    /// Whether the reader is so slow that others who wait go first now.
    pub(super) fn yields(&self) -> bool {
        let now = self.door.now();
        self.door.uploads().yields(self.claim, now)
    }
}

impl Default for Door {
    fn default() -> Self {
        let uploads = Mutex::new(Uploads::new(SLOTS));
        let (changed, pace) = (Notify::new(), Pacer::default());
        Self(Arc::new(Inner { uploads, changed, pace, begun: Instant::now() }))
    }
}

impl Door {
    /// Waits for the turn of a request of this peer; none where there is too much waiting already, or
    /// where it had to make room for a more urgent one. `limited`: whether its content has a limit of its own.
    pub(super) async fn enter(
        &self,
        peer: PeerId,
        (urgency, limited): (Urgency, bool),
    ) -> Option<Admitted> {
        let now = self.now();
        let claim = self.uploads().ask(peer, (urgency, limited), now)?;
        // From here on, whoever gives up leaves its place.
        let admitted = Admitted { door: self.clone(), claim };
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let served = self.uploads().is_served(claim);
            match served {
                Some(true) => return Some(admitted),
                Some(false) => changed.await,
                None => return None,
            }
        }
    }

    /// Returns what limits all answers together.
    pub(super) fn pace(&self) -> &Pacer {
        &self.0.pace
    }

    fn now(&self) -> u64 {
        millis(self.0.begun.elapsed())
    }

    fn uploads(&self) -> MutexGuard<'_, Uploads> {
        self.0.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A limit on bytes a second that tasks share.
#[derive(Debug)]
pub(super) struct Pacer {
    pace: Mutex<Pace>,
    begun: Instant,
}

impl Default for Pacer {
    fn default() -> Self {
        Self { pace: Mutex::default(), begun: Instant::now() }
    }
}

impl Pacer {
    /// Sets the limit in bytes a second; none: no limit.
    pub(super) fn set(&self, rate: Option<u64>) {
        self.pace().set_rate(rate);
    }

    /// Waits as long as the limit says before bytes pass; `waits` hears now and then that it does.
    /// Returns whether it waited.
    pub(super) async fn pass(&self, bytes: u64, mut waits: impl FnMut()) -> bool {
        let (mut wait, rate) = {
            let mut pace = self.pace();
            (pace.take(bytes, millis(self.begun.elapsed())), pace.rate())
        };
        let waited = wait > 0;
        while wait > 0 && self.pace().rate() == rate {
            waits();
            let part = wait.min(LOOK_MS);
            tokio::time::sleep(Duration::from_millis(part)).await;
            wait -= part;
        }
        waited
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.pace().rate().is_some()
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    #[tokio::test]
    async fn a_request_waits_for_its_turn_and_leaves_its_place_when_it_is_dropped() {
        let door = Door::default();
        let mut served = Vec::new();
        for n in 0..SLOTS {
            let n = u8::try_from(n).expect("few");
            served.push(door.enter(peer(n), (Urgency::Member, false)).await.expect("a slot"));
        }
        let given_up = tokio::spawn({
            let door = door.clone();
            async move { door.enter(peer(100), (Urgency::Member, false)).await.is_some() }
        });
        let waiting = tokio::spawn({
            let door = door.clone();
            async move { door.enter(peer(101), (Urgency::Member, false)).await.is_some() }
        });
        while door.uploads().len().1 < 2 {
            tokio::task::yield_now().await;
        }
        given_up.abort();
        let _ = given_up.await;
        assert_eq!(door.uploads().len(), (SLOTS, 1));
        served.pop();
        assert!(waiting.await.expect("runs"));
        drop(served);
        assert_eq!(door.uploads().len(), (0, 0));
    }
}

//! Who of many transfers runs: a few at a time, the more important first, and none for long that gets
//! nothing while others wait.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// Transfers that run at a time because someone asked for them: some of a few large ones share the links
/// well, and more would each be slower.
const MAX_RUNNING: usize = 8;
/// How long a transfer keeps its slot while nothing comes of it and others wait: twice the time in which
/// a provider is given up (`ayni_core::swarm`), so that another one had its chance.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How important a transfer is: what is more important runs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Priority {
    /// When no other waits.
    Low = 0,
    /// As most.
    #[default]
    Normal = 1,
    /// Before others.
    High = 2,
}

impl Priority {
    /// Returns the one with this number; the nearest where none has it.
    pub(crate) fn of(number: u8) -> Self {
        match number {
            0 => Self::Low,
            1 => Self::Normal,
            _ => Self::High,
        }
    }
}

/// The place of one that waits: the most important first, of these who gave up its slot least often, of
/// these who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    behind: u8,
    gave_up: u32,
    came: u64,
}

/// The slots of a node.
#[derive(Debug, Default)]
pub(super) struct Slots {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: BTreeSet<Place>,
    last: u64,
}

impl Slots {
    /// Waits for a slot, as one that gave its slot up so often, with a priority that may change meanwhile.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        mut priority: watch::Receiver<Priority>,
        gave_up: u32,
    ) -> Slot {
        let came = {
            let mut state = self.lock();
            state.last += 1;
            state.last
        };
        let mut waiting = Waiting { slots: self.clone(), place: None };
        loop {
            let behind = Priority::High as u8 - *priority.borrow_and_update() as u8;
            waiting.stand(Place { behind, gave_up, came });
            // Listened to before it is looked, so that nothing is missed.
            let changed = self.changed.notified();
            if waiting.take() {
                return Slot(self.clone());
            }
            tokio::select! {
                () = changed => {}
                Ok(()) = priority.changed() => {}
            }
        }
    }

    /// Whether others wait for a slot.
    pub(super) fn others_wait(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to run. Dropping it lets the next one run.
#[derive(Debug)]
pub(super) struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.changed.notify_waiters();
    }
}

/// One that waits, as long as it does.
struct Waiting {
    slots: Arc<Slots>,
    place: Option<Place>,
}

impl Waiting {
    fn stand(&mut self, place: Place) {
        if self.place == Some(place) {
            return;
        }
        let mut state = self.slots.lock();
        if let Some(before) = self.place.replace(place) {
            state.waiting.remove(&before);
        }
        state.waiting.insert(place);
    }

    /// Takes a slot if one is free and this is the next.
    fn take(&mut self) -> bool {
        let mut state = self.slots.lock();
        let next = state.running < MAX_RUNNING && state.waiting.first() == self.place.as_ref();
        if next && let Some(place) = self.place.take() {
            state.waiting.remove(&place);
            state.running += 1;
        }
        next
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.slots.lock().waiting.remove(&place);
        }
        // Whether it has a slot or went away: who is next now may not know it.
        self.slots.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(priority: Priority) -> watch::Receiver<Priority> {
        watch::channel(priority).1
    }

    /// Takes all slots; then lets some wait, in this order. Returns the order in which they run.
    async fn order(waiting: Vec<(&'static str, Priority, u32)>) -> Vec<&'static str> {
        let slots = Arc::new(Slots::default());
        let mut held = Vec::new();
        for _ in 0..MAX_RUNNING {
            held.push(slots.acquire(fixed(Priority::Low), 0).await);
        }
        let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
        let count = waiting.len();
        for (n, (name, priority, gave_up)) in waiting.into_iter().enumerate() {
            let (slots, say) = (slots.clone(), say.clone());
            let of_task = slots.clone();
            tokio::spawn(async move {
                let slot = of_task.acquire(fixed(priority), gave_up).await;
                say.send(name).expect("heard");
                drop(slot);
            });
            while slots.lock().waiting.len() <= n {
                tokio::task::yield_now().await;
            }
        }
        held.pop();
        let mut ran = Vec::new();
        while ran.len() < count {
            ran.push(said.recv().await.expect("runs"));
        }
        ran
    }

    #[tokio::test]
    async fn the_more_important_runs_first_then_who_had_fewer_turns_then_who_came_first() {
        let ran = order(vec![
            ("again", Priority::Normal, 1),
            ("first", Priority::Normal, 0),
            ("low", Priority::Low, 0),
            ("second", Priority::Normal, 0),
            ("high", Priority::High, 3),
        ]);
        assert_eq!(ran.await, ["high", "first", "second", "again", "low"]);
    }

    #[tokio::test]
    async fn who_stops_waiting_holds_nobody_up() {
        let slots = Arc::new(Slots::default());
        let mut held = Vec::new();
        for _ in 0..MAX_RUNNING {
            held.push(slots.acquire(fixed(Priority::Normal), 0).await);
        }
        let of_task = slots.clone();
        let gone = tokio::spawn(async move { of_task.acquire(fixed(Priority::High), 0).await });
        while !slots.others_wait() {
            tokio::task::yield_now().await;
        }
        let next = slots.acquire(fixed(Priority::Normal), 0);
        gone.abort();
        held.pop();
        let slot = tokio::time::timeout(Duration::from_secs(10), next).await;
        assert!(slot.is_ok(), "it waits for one that is gone");
        assert!(!slots.others_wait());
    }

    #[tokio::test]
    async fn a_priority_that_changes_counts_at_once() {
        let slots = Arc::new(Slots::default());
        let mut held = Vec::new();
        for _ in 0..MAX_RUNNING {
            held.push(slots.acquire(fixed(Priority::Normal), 0).await);
        }
        let (raise, raised) = watch::channel(Priority::Low);
        let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
        for (name, priority) in [("plain", fixed(Priority::Normal)), ("raised", raised)] {
            let (slots, say) = (slots.clone(), say.clone());
            tokio::spawn(async move {
                let slot = slots.acquire(priority, 0).await;
                say.send(name).expect("heard");
                drop(slot);
            });
        }
        while slots.lock().waiting.len() < 2 {
            tokio::task::yield_now().await;
        }
        raise.send(Priority::High).expect("heard");
        let first = |state: &State| state.waiting.first().map(|place| place.behind);
        while first(&slots.lock()) != Some(0) {
            tokio::task::yield_now().await;
        }
        held.pop();
        assert_eq!(said.recv().await, Some("raised"));
        assert_eq!(said.recv().await, Some("plain"));
    }
}

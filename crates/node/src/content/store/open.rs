//! Which contents are open, so that all who use one share it, and by what those that are fetched come.
//!
//! Each content has a lock of its own, for as long as it takes to find, begin, finish or replace it: one
//! that is hashed again after a crash holds up no other. The lock of them all is held to find that one.
//!
//! Only this process writes to the store, and under the content's lock: what was found there once is known
//! until something is written; of what lies elsewhere it is known where, and looked at whenever it is used.
//! So the many files of a folder are not looked for again at every step.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use ayni_core::id::BlobId;

use super::entry::Entry;
use super::files::Link;
use super::via::Via;

/// Slots beyond twice those that were in use are looked through for those that are not: as many files as a
/// large folder has are known at a time, in some MB.
const FEW: usize = 16 * 1024;

/// One content, open or not.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) entry: Weak<Entry>,
    /// What is known of one that is not open.
    pub(super) known: Option<Known>,
}

/// What is known of a content without looking at the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// There is nothing of it, here or elsewhere.
    Absent,
    /// The same, but for files of no use, which an end in the middle of something left.
    Remains,
    /// It lies elsewhere, or lay there when it was last looked.
    Linked(Link),
    /// All of it lies in the store. By what it came, where that is still to be written down.
    Whole { size: u64, via: Option<Via> },
}

impl State {
    /// Lets another content take the place of an open one, or none.
    pub(super) fn abandon(&mut self) {
        self.known = None;
        if let Some(entry) = std::mem::take(&mut self.entry).upgrade() {
            entry.abandon();
        }
    }
}

impl Slot {
    /// Locks it. Blocking; never while another one is locked.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Locks it unless somebody works with it.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.0.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// The open contents.
#[derive(Debug, Default)]
pub(super) struct Open(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    all: HashMap<BlobId, Arc<Slot>>,
    /// How many were in use when it was last looked.
    used: usize,
}

impl Open {
    pub(super) fn slot(&self, blob: BlobId) -> Arc<Slot> {
        let mut slots = lock(&self.0);
        if slots.all.len() > slots.used * 2 + FEW {
            // Nobody else takes one meanwhile: one that is not shared is not locked.
            slots.all.retain(|_, slot| {
                Arc::strong_count(slot) > 1 || lock(&slot.0).entry.strong_count() > 0
            });
            slots.used = slots.all.len();
        }
        slots.all.entry(blob).or_default().clone()
    }
}

/// By what each content comes that is being fetched.
#[derive(Debug, Default)]
pub(super) struct Coming(Mutex<HashMap<BlobId, Vec<Via>>>);

impl Coming {
    /// Notes that a content is fetched; returns whether nothing else brings it.
    pub(super) fn begin(&self, blob: BlobId, via: Via) -> bool {
        let mut all = lock(&self.0);
        let vias = all.entry(blob).or_default();
        vias.push(via);
        vias.iter().all(|other| *other == via)
    }

    pub(super) fn end(&self, blob: BlobId, via: Via) {
        let mut all = lock(&self.0);
        let Some(vias) = all.get_mut(&blob) else { return };
        if let Some(at) = vias.iter().position(|other| *other == via) {
            vias.swap_remove(at);
        }
        if vias.is_empty() {
            all.remove(&blob);
        }
    }

    /// Returns by what a content comes that is begun now.
    pub(super) fn of(&self, blob: BlobId) -> Via {
        let all = lock(&self.0);
        let vias = all.get(&blob).map(Vec::as_slice).unwrap_or_default();
        let Some(first) = vias.first() else { return Via::Mixed };
        if vias.iter().all(|via| via == first) { *first } else { Via::Mixed }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Bringing a large content to the disk while more of it comes, so that little is left to wait for when all
//! of it is here.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes that are left to the system before it is asked to write them: enough that a disk works in one go.
const EVERY: u64 = 64 * 1024 * 1024;

/// How far one content is behind on the disk.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// Bytes that were given to the system since it was asked last.
    waiting: AtomicU64,
    /// Whether it is being asked.
    asking: AtomicBool,
    /// The system tells only once that it could not write.
    failed: AtomicBool,
}

impl Early {
    /// Notes bytes that were given to the system. Returns whether [`Self::sync`] is to be called now.
    pub(super) fn note(&self, bytes: u64) -> bool {
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        waiting >= EVERY && !self.asking.swap(true, Ordering::AcqRel)
    }

    /// Has the system write what it was given. Blocking.
    pub(super) fn sync(&self, file: &File) {
        self.waiting.store(0, Ordering::Relaxed);
        if let Err(error) = file.sync_data() {
            tracing::warn!("what came could not be brought to the disk: {error}");
            self.failed.store(true, Ordering::Release);
        }
        self.asking.store(false, Ordering::Release);
    }

    /// # Errors
    /// Something of what was written before may be lost.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("what came could not be brought to the disk"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_once_for_much_and_not_again_meanwhile() {
        let early = Early::default();
        assert!(!early.note(EVERY - 1));
        assert!(early.note(1));
        assert!(!early.note(EVERY), "it is being asked");
        let file = tempfile::tempfile().expect("a file");
        early.sync(&file);
        assert!(!early.note(1) && early.note(EVERY));
        early.check().expect("nothing failed");
    }
}

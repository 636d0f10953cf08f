//! How much may be begun on the disk for one fetch. Nothing is made there beyond what was said or fits: that
//! a size is proved costs its author nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ayni_core::id::BlobId;

use crate::error::Error;

/// Where an [`Allowance`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Its sender said that it has so many bytes.
    Claimed(u64),
    /// Its sender said that its files have so many bytes together. This content, of so many bytes at most,
    /// is not one of them: their names.
    Files(u64, (BlobId, u64)),
    /// The list of a folder's files has so many bytes at most.
    List(u64),
    /// The disk has so much left.
    Free(u64),
}

/// How many bytes may be begun on the disk. Each content counts once.
#[derive(Debug)]
pub(super) struct Allowance {
    bound: Bound,
    begun: Mutex<(BTreeSet<BlobId>, u64)>,
}

impl Allowance {
    pub(super) fn new(bound: Bound) -> Self {
        Self { bound, begun: Mutex::default() }
    }

    /// Allows as much as the disk of a folder has left.
    pub(super) fn free(folder: &Path) -> Self {
        // Where the system does not say, writing shows.
        Self::new(Bound::Free(fs4::available_space(folder).unwrap_or(u64::MAX)))
    }

    /// Whether a content of so many bytes may be begun; it is counted if so.
    pub(super) fn take(&self, blob: BlobId, size: u64) -> bool {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.0.contains(&blob) {
            return true; // two brought its start
        }
        let sum = begun.1.saturating_add(size);
        let (may, counts) = match self.bound {
            Bound::Claimed(claimed) => (size == claimed, true),
            Bound::Files(_, (names, most)) if names == blob => (size <= most, false),
            Bound::Files(most, _) | Bound::List(most) | Bound::Free(most) => (sum <= most, true),
        };
        if may {
            begun.0.insert(blob);
            begun.1 += if counts { size } else { 0 };
        }
        may
    }

    /// Says why a content of so many bytes is not fetched.
    pub(super) fn refusal(&self, size: u64) -> Error {
        match self.bound {
            Bound::Claimed(claimed) => Error::Invalid(format!(
                "its sender says that it has {claimed} bytes, and it has {size}: it is not fetched"
            )),
            Bound::Files(claimed, _) => Error::Invalid(format!(
                "its sender says that it has {claimed} bytes, and it has more: it is not fetched"
            )),
            Bound::List(_) => Error::Invalid("this folder has too many files".into()),
            Bound::Free(free) => Error::Store(format!(
                "the disk has too little space: {size} bytes are to come, and {free} were free"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_begun_than_was_said() {
        let blob = |n| BlobId([n; 32]);
        let claimed = Allowance::new(Bound::Claimed(1_000));
        assert!(claimed.take(blob(1), 1_000) && claimed.take(blob(1), 1_000), "asked of two");
        assert!(!Allowance::new(Bound::Claimed(1_000)).take(blob(1), 1 << 49));
        let folder = Allowance::new(Bound::Files(1_000, (blob(9), 50)));
        assert!(folder.take(blob(1), 600) && folder.take(blob(2), 400));
        assert!(folder.take(blob(2), 400) && !folder.take(blob(3), 1));
        assert!(!folder.take(blob(9), 51) && folder.take(blob(9), 50));
        assert!(!Allowance::new(Bound::Free(10)).take(blob(1), 11));
    }
}

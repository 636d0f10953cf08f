//! The generations of a room's key, as the control lane states them, and how deep each lies.
//!
//! Invariant: the result depends on the set of statements and not on their order. An epoch counts
//! once its parents do; of several statements about one epoch the least depth counts, so that
//! statements in a circle end nowhere instead of going round.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{EpochId, PeerId};

/// A generation of the room's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochInfo {
    /// Longest path to an epoch without parents.
    pub depth: u32,
    /// The device that minted it; of several the lowest.
    pub creator: PeerId,
}

/// One control event's statement about an epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stated {
    id: EpochId,
    parents: Vec<EpochId>,
    creator: PeerId,
}

/// All epochs that count, and what was stated about those that may come to count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Epochs {
    known: BTreeMap<EpochId, EpochInfo>,
    by_parent: BTreeMap<EpochId, BTreeSet<Stated>>,
}

impl Epochs {
    /// Returns the epochs that count, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&EpochId, &EpochInfo)> {
        self.known.iter()
    }

    /// Returns the epochs that count and follow one.
    pub(super) fn children(&self, id: &EpochId) -> impl Iterator<Item = EpochId> + '_ {
        let stated = self.by_parent.get(id).into_iter().flatten().map(|stated| stated.id);
        stated.filter(|child| self.known.contains_key(child))
    }

    /// Adds a statement, and all that follows from it.
    pub(super) fn add(&mut self, id: EpochId, parents: &[EpochId], creator: PeerId) {
        let stated = Stated { id, parents: parents.to_vec(), creator };
        for parent in parents {
            self.by_parent.entry(*parent).or_default().insert(stated.clone());
        }
        let mut open = vec![stated];
        while let Some(stated) = open.pop() {
            if self.evaluate(&stated) {
                open.extend(self.by_parent.get(&stated.id).into_iter().flatten().cloned());
            }
        }
    }

    /// Applies one statement; returns whether its epoch now lies elsewhere, which happens a finite
    /// number of times, since depths only fall.
    fn evaluate(&mut self, stated: &Stated) -> bool {
        let depths = stated.parents.iter().map(|parent| self.known.get(parent).map(|it| it.depth));
        let Some(depths) = depths.collect::<Option<Vec<u32>>>() else { return false };
        let depth = depths.into_iter().max().map_or(0, |deepest| deepest.saturating_add(1));
        let info = EpochInfo { depth, creator: stated.creator };
        let Some(known) = self.known.get_mut(&stated.id) else {
            self.known.insert(stated.id, info);
            return true;
        };
        known.creator = known.creator.min(stated.creator);
        let falls = depth < known.depth;
        known.depth = known.depth.min(depth);
        falls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn depths(statements: &[(u8, Vec<u8>)]) -> BTreeMap<u8, u32> {
        let mut epochs = Epochs::default();
        for (id, parents) in statements {
            let parents: Vec<_> = parents.iter().map(|n| EpochId([*n; 32])).collect();
            epochs.add(EpochId([*id; 32]), &parents, PeerId([*id; 32]));
        }
        epochs.iter().map(|(id, info)| (id.0[0], info.depth)).collect()
    }

    #[test]
    fn depth_is_the_longest_path() {
        let found = depths(&[(1, vec![]), (2, vec![1]), (3, vec![1, 2]), (4, vec![9])]);
        assert_eq!(found, BTreeMap::from([(1, 0), (2, 1), (3, 2)]), "4 waits for 9");
    }

    #[test]
    fn statements_in_a_circle_end() {
        assert_eq!(depths(&[(1, vec![2]), (2, vec![1])]), BTreeMap::new());
        let found = depths(&[(1, vec![]), (2, vec![1]), (1, vec![2]), (3, vec![3])]);
        assert_eq!(found, BTreeMap::from([(1, 0), (2, 1)]));
    }

    proptest! {
        #[test]
        fn every_order_gives_the_same_depths(
            (one, other) in proptest::collection::vec(
                (0u8..6, proptest::collection::vec(0u8..6, 0..3)), 0..10,
            ).prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        ) {
            prop_assert_eq!(depths(&one), depths(&other));
        }
    }
}

//! Sets of statements, by their places.

/// A set of places: a bit for each, as few words as its highest needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places(Vec<u64>);

const BITS: usize = u64::BITS as usize;

impl Places {
    pub(super) fn contains(&self, at: usize) -> bool {
        self.0.get(at / BITS).is_some_and(|word| word & (1 << (at % BITS)) != 0)
    }

    /// Adds a place; returns whether it is new.
    pub(super) fn insert(&mut self, at: usize) -> bool {
        let word = at / BITS;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let Some(word) = self.0.get_mut(word) else { return false };
        let before = *word;
        *word |= 1 << (at % BITS);
        *word != before
    }

    /// Adds all of `other`.
    pub(super) fn union(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_in_once_it_was_added() {
        let mut places = Places::default();
        let added = [0, 63, 64, 1000, 65];
        for at in added {
            assert!(!places.contains(at));
            assert!(places.insert(at) && !places.insert(at));
        }
        let found: Vec<usize> = (0..2000).filter(|at| places.contains(*at)).collect();
        assert_eq!(found, [0, 63, 64, 65, 1000]);
        let mut more = Places::default();
        assert!(more.insert(7));
        more.union(&places);
        places.union(&more);
        assert_eq!(more, places);
        assert!(places.contains(7) && more.contains(1000) && !more.contains(8));
    }
}

//! The paths of one folder, so that each file gets one of its own wherever it is written.

use std::collections::{BTreeMap, BTreeSet};

use icu_normalizer::DecomposingNormalizerBorrowed;

use super::numbered;

/// Gives out paths below one folder. Two are never the same, nor one below another that is a file; also
/// not where the file system ignores case, or how accents are written.
///
/// What comes first keeps its path. What comes later is numbered: `a/b (2).txt`, or `a (2)/b.txt` where
/// `a` is a file. The work for each is that of its components, however many others there are.
#[derive(Debug, Default)]
pub struct Paths {
    /// All that was given out, files and folders, as a file system that ignores case has them.
    taken: BTreeSet<String>,
    /// The folders as they were asked for, and what they are called here.
    folders: BTreeMap<String, String>,
    /// The next number that was not tried for a path.
    next: BTreeMap<String, u32>,
}

impl Paths {
    /// Returns the path of the next file, its components joined by slashes. `parts` are those that it
    /// asks for, each clean ([`super::clean_path`]).
    pub fn place(&mut self, parts: &[String]) -> String {
        let (mut asked, mut above) = (String::new(), String::new());
        let (last, folders) = match parts.split_last() {
            Some((last, folders)) => (last.as_str(), folders),
            None => (super::NAMELESS, [].as_slice()),
        };
        for folder in folders {
            asked.push_str(&folded(folder));
            asked.push('/');
            above = if let Some(known) = self.folders.get(&asked) {
                known.clone()
            } else {
                let fresh = self.fresh(&above, folder);
                self.folders.insert(asked.clone(), fresh.clone());
                fresh
            };
        }
        self.fresh(&above, last)
    }

    fn fresh(&mut self, above: &str, name: &str) -> String {
        let below = |name: &str| match above {
            "" => name.to_owned(),
            above => format!("{above}/{name}"),
        };
        let path = below(name);
        let key = folded(&path);
        if self.taken.insert(key.clone()) {
            return path;
        }
        let next = self.next.entry(key).or_insert(2);
        loop {
            let path = below(&numbered(name, *next));
            *next = next.saturating_add(1);
            if self.taken.insert(folded(&path)) {
                return path;
            }
        }
    }
}

/// Returns what is the same for two names that some file system takes for one: macOS ignores case and how
/// accents are composed, Windows ignores case.
fn folded(name: &str) -> String {
    let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(name);
    decomposed.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::clean_path;
    use super::*;

    fn placed(paths: &[&str]) -> Vec<String> {
        let mut all = Paths::default();
        let parts = paths.iter().map(|path| clean_path(path).expect("a path"));
        parts.map(|parts| all.place(&parts)).collect()
    }

    #[test]
    fn hazard_28_no_two_files_of_a_folder_get_one_path() {
        assert_eq!(placed(&["a.txt", "A.TXT", "a.txt"]), ["a.txt", "A (2).TXT", "a (3).txt"]);
        assert_eq!(placed(&["caf\u{e9}", "cafe\u{301}"]), ["caf\u{e9}", "cafe\u{301} (2)"]);
        assert_eq!(placed(&["a", "a/b", "a/c"]), ["a", "a (2)/b", "a (2)/c"]);
        assert_eq!(placed(&["a/b", "a", "A/B"]), ["a/b", "a (2)", "a/B (2)"]);
        assert_eq!(placed(&["x/a.txt", "x/a.txt"]), ["x/a.txt", "x/a (2).txt"]);
        assert_eq!(placed(&["x.d/file", "x.d/file"]), ["x.d/file", "x.d/file (2)"]);
        assert_eq!(placed(&["a (2)", "a", "a"]), ["a (2)", "a", "a (3)"]);
    }

    #[test]
    fn hazard_28_equal_names_cost_no_more_than_others() {
        let mut all = Paths::default();
        let parts = vec!["same".to_owned()];
        // Numbering from 2 each time would take 2^31 steps: minutes, where this takes a moment.
        let mut last = String::new();
        for _ in 0..crate::limits::MAX_FOLDER_FILES {
            last = all.place(&parts);
        }
        assert_eq!(last, format!("same ({})", crate::limits::MAX_FOLDER_FILES));
        assert_eq!(all.next.len(), 1, "one counter");
    }

    proptest! {
        #[test]
        fn hazard_28_every_file_has_a_place_that_no_other_has(
            asked in proptest::collection::vec("[aAb]{1,2}(/[aAb]{1,2}){0,2}", 1..40)
        ) {
            let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
            let placed = placed(&asked);
            let files: BTreeSet<String> = placed.iter().map(|path| folded(path)).collect();
            prop_assert_eq!(files.len(), placed.len());
            for file in &files {
                let above = file.match_indices('/').map(|(at, _)| file.split_at(at).0);
                for folder in above {
                    prop_assert!(!files.contains(folder), "{} is a file and a folder", folder);
                }
            }
        }
    }
}

//! Replays the fuzz corpus of `fuzz/corpus/picture`, so that what was found once is looked at every
//! time.

#[allow(unreachable_pub)] // the fuzz target includes the same file
mod properties;

use std::path::Path;

#[test]
fn picture_corpus_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/picture");
    let mut replayed = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is in the repository") {
        let path = entry.expect("the corpus is readable").path();
        // Captured unless the test fails: then the last line names the input.
        eprintln!("{}", path.display());
        properties::picture(&std::fs::read(&path).expect("the corpus is readable"));
        replayed += 1;
    }
    assert!(replayed > 0, "an empty corpus shows nothing");
}

//! Replays the fuzz corpora of `fuzz/corpus`, so that what was found once is looked at every time.
#![allow(
    clippy::disallowed_methods,
    reason = "a test reads its corpus; the core itself reads nothing"
)]

#[allow(unreachable_pub)] // the fuzz targets include the same file
mod properties;

use std::path::Path;

/// Runs `property` on every file of one corpus.
#[allow(clippy::disallowed_macros)] // the rule is for the core itself; a test may say what it reads
fn replay(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is in the repository") {
        let path = entry.expect("the corpus is readable").path();
        let data = std::fs::read(&path).expect("the corpus is readable");
        // Captured unless the test fails: then the last line names the input.
        eprintln!("{}", path.display());
        property(&data);
        replayed += 1;
    }
    assert!(replayed > 0, "an empty corpus shows nothing");
}

#[test]
fn frame_corpus_holds() {
    replay("frame", properties::frame);
}

#[test]
fn event_corpus_holds() {
    replay("event", properties::event);
}

#[test]
fn ticket_corpus_holds() {
    replay("ticket", properties::ticket);
}

//! Whatever the local API can do, and so a page, the command line can do: the two have one client.

use std::collections::BTreeSet;
use std::path::Path;

/// Returns the text of all sources below a folder.
fn sources(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).expect("a source folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    let texts = paths.iter().map(|path| {
        if path.is_dir() {
            return sources(path);
        }
        std::fs::read_to_string(path).expect("readable")
    });
    texts.collect()
}

/// Returns what follows `before`, up to a character that is in no name and in no path.
fn words<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    let ends = |c: char| "(<\"".contains(c);
    text.split(before).skip(1).filter_map(|rest| rest.split(ends).next()).collect()
}

#[test]
fn every_call_of_the_api_is_made_by_some_command() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of crates");
    let client = sources(&crates.join("web/src/client"));
    let routes =
        std::fs::read_to_string(crates.join("web/src/server/routes.rs")).expect("readable");
    let commands = sources(&crates.join("cli/src"));

    let calls = words(&client, "    pub async fn ");
    assert!(calls.len() > 20, "{calls:?}");
    for call in calls {
        let made = [format!(".{call}("), format!("Client::{call}(")];
        assert!(
            made.iter().any(|made| commands.contains(made)),
            "no command makes the call {call}"
        );
    }
    let paths = words(&routes, ".route(\"/api/v1/");
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths {
        let word = path.rsplit('/').find(|word| !word.starts_with('{')).expect("a word");
        assert!(client.contains(&format!("\"{word}\"")), "the client does not know {path}");
    }
}

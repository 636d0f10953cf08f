//! What is found when a database is opened, and what is told about it.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::schema;
use super::*;
use crate::error::Error;

fn contents(folder: &Path) -> BTreeMap<std::ffi::OsString, Vec<u8>> {
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("there"));
    files.map(|entry| (entry.file_name(), std::fs::read(entry.path()).expect("reads"))).collect()
}

#[cfg(unix)]
#[tokio::test]
async fn every_file_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, _store) = fresh().await;
    let mut seen = 0;
    for name in ["ayni.db", "ayni.db-wal", "ayni.db-shm"] {
        let file = std::fs::metadata(folder.path().join(name)).expect("there");
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "{name}");
        seen += 1;
    }
    assert_eq!(seen, std::fs::read_dir(folder.path()).expect("a folder").count());
}

#[test]
fn a_newer_database_is_refused_and_untouched() {
    // Known from the file alone, and known only from the log file.
    for moved in [true, false] {
        let made = tempfile::tempdir().expect("a folder");
        let path = made.path().join("ayni.db");
        let connection = schema::open(&path).expect("opens");
        connection.pragma_update(None, "user_version", schema::VERSION + 8).expect("set");
        let folder = tempfile::tempdir().expect("a folder");
        let copy = || {
            for name in ["ayni.db", "ayni.db-wal"].map(std::path::Path::new) {
                if made.path().join(name).exists() {
                    std::fs::copy(made.path().join(name), folder.path().join(name))
                        .expect("copies");
                }
            }
        };
        if moved {
            drop(connection);
            copy();
        } else {
            copy();
            drop(connection);
        }
        let before = contents(folder.path());
        let error = Store::open(&folder.path().join("ayni.db"), true).expect_err("newer");
        assert!(matches!(error, Error::NewerFolder { found: 11, known: 3, .. }), "{error}");
        let mut after = contents(folder.path());
        after.remove(std::ffi::OsStr::new("ayni.db-shm")); // an index of the log file, rebuilt at will
        assert_eq!(before, after);
    }
}

#[tokio::test]
async fn a_damaged_database_is_one_sentence_and_untouched() {
    let (folder, store) = fresh().await;
    let talk = chain(1, Lane::Chat, 200);
    store.write(Write::Append(append(&talk, 200))).await.expect("stored");
    store.close().await;
    let path = folder.path().join("ayni.db");
    let whole = std::fs::read(&path).expect("reads");
    let mut garbled = whole.clone();
    garbled[100..8192].fill(0xee);
    let cases = [
        b"this was my shopping list".to_vec(),
        vec![b'x'; 10_000],
        whole[..50].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        garbled,
    ];
    for bytes in cases {
        std::fs::write(&path, &bytes).expect("writes");
        let error = Store::open(&path, true).expect_err("damaged");
        let text = error.to_string();
        assert!(matches!(error, Error::Store(_)), "{text}");
        assert!(text.contains("is damaged (") && !text.contains('\n'), "{text}");
        assert!(std::fs::read(&path).expect("reads") == bytes, "untouched");
    }
    std::fs::write(&path, &whole).expect("writes");
    assert_eq!(open(&folder).event_count().await.expect("counts"), 200);
}

#[tokio::test]
async fn damage_found_later_is_told_by_the_read_that_meets_it() {
    let (folder, store) = fresh().await;
    let talk = chain(1, Lane::Chat, 400);
    store.write(Write::Append(append(&talk, 400))).await.expect("stored");
    store.close().await;
    let path = folder.path().join("ayni.db");
    let mut bytes = std::fs::read(&path).expect("reads");
    let at = bytes.windows(10).position(|part| part == b"body 1 100").expect("plain bodies");
    bytes[at + 2] ^= 1;
    std::fs::write(&path, bytes).expect("writes");
    let store = open(&folder);
    let error = store.events(ROOM, chat(1), 0..400, usize::MAX, 400).await.expect_err("damaged");
    assert!(error.to_string().contains("is damaged ("), "{error}");
    let rest = store.events(ROOM, chat(1), 101..400, usize::MAX, 400).await.expect("the rest");
    assert_eq!(rest.len(), 299);
}

#[test]
fn a_missing_folder_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Store::open(&folder.path().join("no/ayni.db"), true).expect_err("no folder");
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[tokio::test]
async fn the_last_handle_closes() {
    let (folder, store) = fresh().await;
    drop(store);
    // The thread ends by itself; a second store opens meanwhile or afterwards and sees the room.
    assert_eq!(open(&folder).rooms().await.expect("reads").len(), 1);
}

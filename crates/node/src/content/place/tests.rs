//! What is put into its place, and what is not.

use super::*;
use crate::content::store::Import;

struct Made {
    contents: Contents,
    root: BlobId,
    folder: tempfile::TempDir,
}

/// A store with a folder of files in it, each of its own name.
async fn made(names: &[&str]) -> Made {
    let folder = tempfile::tempdir().expect("a folder");
    let contents = Contents::open(folder.path().join("contents")).await.expect("opens");
    let mut files = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let path = folder.path().join(format!("own-{n}"));
        std::fs::write(&path, name).expect("written");
        files.push(((*name).to_owned(), path));
    }
    let imported = folder::import_listed(&contents, files, Import::Copy).await.expect("taken");
    std::fs::create_dir(folder.path().join("into")).expect("made");
    Made { contents, root: imported.root, folder }
}

fn placing(existing: Existing, resumed: bool) -> Placing {
    let stop = CancellationToken::new();
    Placing { beside: ".ayni-test.part".into(), existing, resumed, stop }
}

/// Returns the paths of all files below a folder; each holds `of(its path)`.
fn found(folder: &Path) -> Vec<String> {
    let walk = walkdir::WalkDir::new(folder).sort_by_file_name();
    let files = walk.into_iter().map(|entry| entry.expect("reads"));
    let files = files.filter(|entry| !entry.file_type().is_dir());
    let below = |entry: walkdir::DirEntry| {
        let below = entry.path().strip_prefix(folder).expect("below");
        below.to_string_lossy().into_owned()
    };
    files.map(below).collect()
}

#[tokio::test]
async fn an_interrupted_attempt_is_finished_by_the_next_one() {
    let made = made(&["a/one", "a/two", "b"]).await;
    let into = made.folder.path().join("into");
    // Killed while it wrote, and killed while it moved.
    std::fs::create_dir_all(into.join(".ayni-test.part/a")).expect("made");
    std::fs::write(into.join(".ayni-test.part/a/half"), "half").expect("written");
    placing(Existing::Refuse, true).put_into(&made.contents, made.root, &into).await.expect("put");
    assert_eq!(found(&into), ["a/one", "a/two", "b"]);
    std::fs::create_dir(into.join(".ayni-test.ready")).expect("made");
    std::fs::rename(into.join("b"), into.join(".ayni-test.ready/b")).expect("moved");
    placing(Existing::Refuse, true).put_into(&made.contents, made.root, &into).await.expect("put");
    assert_eq!(found(&into), ["a/one", "a/two", "b"]);
    // Killed before it was noted that all of it is there.
    placing(Existing::Refuse, true).put_into(&made.contents, made.root, &into).await.expect("put");
    assert_eq!(found(&into), ["a/one", "a/two", "b"]);
    // Someone else's are left alone.
    std::fs::write(into.join("b"), "another").expect("written");
    let refused = placing(Existing::Refuse, true).put_into(&made.contents, made.root, &into).await;
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
    let refused = placing(Existing::Refuse, false).put_into(&made.contents, made.root, &into).await;
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
    assert_eq!(std::fs::read(into.join("b")).expect("reads"), b"another");
}

#[tokio::test]
async fn what_is_there_is_handled_as_its_user_says() {
    let made = made(&["a/one", "b"]).await;
    let into = made.folder.path().join("into");
    std::fs::write(into.join("b"), "another").expect("written");
    let put = async |existing| {
        placing(existing, false).put_into(&made.contents, made.root, &into).await.expect("put");
    };
    put(Existing::Skip).await;
    assert_eq!(std::fs::read(into.join("b")).expect("reads"), b"another");
    assert_eq!(found(&into), ["a/one", "b"]);
    put(Existing::Rename).await;
    assert_eq!(found(&into), ["a/one", "a (2)/one", "b", "b (2)"]);
    put(Existing::Overwrite).await;
    assert_eq!(std::fs::read(into.join("b")).expect("reads"), b"b");
}

#[tokio::test]
async fn what_was_renamed_is_not_written_twice_after_an_interruption() {
    let made = made(&["a/one", "a/two", "b"]).await;
    let into = made.folder.path().join("into");
    std::fs::create_dir(into.join("a")).expect("made");
    std::fs::write(into.join("a/one"), "another").expect("written");
    let put = async |resumed| {
        let placing = placing(Existing::Rename, resumed);
        placing.put_into(&made.contents, made.root, &into).await.expect("put");
    };
    put(false).await;
    let once = ["a/one", "a (2)/one", "a (2)/two", "b"];
    assert_eq!(found(&into), once);
    // Killed before it was noted that all of it is there.
    put(true).await;
    assert_eq!(found(&into), once);
    // What its user changed meanwhile is not it any more.
    std::fs::write(into.join("b"), "mine").expect("written");
    put(true).await;
    assert_eq!(found(&into).len(), 4 + 3);

    let one = folder::files(&made.contents, made.root).await.expect("reads")[0].1;
    let (path, renamed) = (into.join("file"), into.join("file (2)"));
    std::fs::write(&path, "another").expect("written");
    for resumed in [false, true] {
        let placing = placing(Existing::Rename, resumed);
        let put = placing.put_file(&made.contents, one, &path).await;
        assert_eq!(put.expect("put"), renamed, "{resumed}");
    }
    assert!(!into.join("file (3)").exists());
}

#[tokio::test]
async fn what_fails_or_is_over_leaves_nothing_half_written() {
    let made = made(&["a/one", "a/two"]).await;
    let into = made.folder.path().join("into");
    let left = || std::fs::read_dir(&into).expect("reads").count();
    // Told to end before anything has its place.
    let stopped = placing(Existing::Refuse, false);
    stopped.stop.cancel();
    let put = stopped.put_into(&made.contents, made.root, &into).await;
    assert!(matches!(put, Err(Error::Closed)), "{put:?}");
    assert_eq!(left(), 0);
    // Something takes a place while the files are written: none of them is moved.
    std::fs::create_dir_all(into.join(".ayni-test.ready/a")).expect("made");
    std::fs::create_dir_all(into.join(".ayni-test.part")).expect("made");
    std::fs::create_dir_all(into.join("sub/.ayni-test.part")).expect("made");
    std::fs::write(into.join("a"), "mine").expect("written");
    let put = placing(Existing::Refuse, false);
    let refused = put.put_into(&made.contents, made.root, &into).await;
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
    let files = vec![("sub/file".to_owned(), made.root), ("gone/file".to_owned(), made.root)];
    put.clear(into.clone(), files).await.expect("cleared");
    std::fs::remove_dir(into.join("sub")).expect("empty");
    assert_eq!(found(&into), ["a"]);
    std::fs::remove_file(into.join("a")).expect("removed");
    // The disk fails in the middle.
    let files = folder::files(&made.contents, made.root).await.expect("reads");
    made.contents.remove(files[1].1).await.expect("removed");
    let put = placing(Existing::Refuse, false).put_into(&made.contents, made.root, &into).await;
    assert!(put.is_err());
    assert_eq!(left(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn hazard_28_no_link_leads_out_of_the_target() {
    let made = made(&["a/one"]).await;
    let (into, outside) = (made.folder.path().join("into"), made.folder.path().join("outside"));
    std::fs::create_dir(&outside).expect("made");
    std::os::unix::fs::symlink(&outside, into.join("a")).expect("linked");
    std::os::unix::fs::symlink(&outside, into.join(".ayni-test.part")).expect("linked");
    std::os::unix::fs::symlink(&outside, into.join(".ayni-test.ready")).expect("linked");
    for existing in [Existing::Overwrite, Existing::Skip, Existing::Refuse] {
        let put = placing(existing, false).put_into(&made.contents, made.root, &into).await;
        assert!(put.is_err(), "{existing:?}");
    }
    // A file takes the place of a link, and not of what that leads to.
    let victim = outside.join("victim");
    std::fs::write(&victim, "mine").expect("written");
    let _ = std::fs::remove_file(into.join(".ayni-test.part"));
    std::os::unix::fs::symlink(&victim, into.join(".ayni-test.part")).expect("linked");
    let one = folder::files(&made.contents, made.root).await.expect("reads")[0].1;
    let path = into.join("file");
    std::os::unix::fs::symlink(&victim, &path).expect("linked");
    let placing = placing(Existing::Overwrite, false);
    placing.put_file(&made.contents, one, &path).await.expect("put");
    assert!(path.symlink_metadata().expect("there").is_file());
    assert_eq!(std::fs::read(&victim).expect("reads"), b"mine");
    assert_eq!(found(&outside), ["victim"]);
}

#[tokio::test]
async fn hazard_28_nothing_hidden_is_put_into_a_folder_of_the_user() {
    let made = made(&[".bashrc", ".config/app", "sub/.kept"]).await;
    let into = made.folder.path().join("into");
    placing(Existing::Refuse, false).put_into(&made.contents, made.root, &into).await.expect("put");
    assert_eq!(found(&into), ["_bashrc", "_config/app", "sub/.kept"]);
}

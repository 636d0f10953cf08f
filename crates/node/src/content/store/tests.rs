use std::path::Path;

use bao_tree::blake3::Hash;
use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::sync::{DecodeResponseIter, encode_ranges_validated};
use bao_tree::{BaoTree, ChunkNum, ChunkRanges};

use super::entry::BLOCK;
use super::*;

const KIB: usize = 1024;
const SIZES: [usize; 9] =
    [0, 1, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, 33 * KIB, 100_000, 300 * KIB + 5, 2048 * KIB];

fn bytes(len: usize) -> Vec<u8> {
    let pattern = (0u32..).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes());
    pattern.take(len).collect()
}

async fn store(folder: &Path) -> Contents {
    Contents::open(folder.join("content")).await.expect("opens")
}

fn ranges() -> Vec<ChunkRanges> {
    let of = |from, to| ChunkRanges::from(ChunkNum(from)..ChunkNum(to));
    vec![
        ChunkRanges::all(),
        of(0, 16),
        of(16, 48),
        of(3, 5),
        of(0, 1) | of(20, 21) | of(64, 200),
        ChunkRanges::from(ChunkNum(u64::MAX)..),
        ChunkRanges::from(..ChunkNum(16)) | ChunkRanges::from(ChunkNum(u64::MAX)..),
    ]
}

fn encoded(entry: &Entry, ranges: &ChunkRanges) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    entry.encode(ranges, |piece| {
        all.extend_from_slice(&piece);
        Ok(())
    })?;
    Ok(all)
}

/// What bao itself says of the same ranges.
fn expected(content: &[u8], ranges: &ChunkRanges) -> Vec<u8> {
    let outboard = PreOrderMemOutboard::create(content, BLOCK);
    let mut all = (content.len() as u64).to_le_bytes().to_vec();
    encode_ranges_validated(content, &outboard, ranges, &mut all).expect("all is here");
    all
}

/// The items of an answer, verified.
fn decoded(blob: BlobId, answer: &[u8], ranges: &ChunkRanges) -> (u64, Vec<BaoContentItem>) {
    let (size, rest) = answer.split_at(8);
    let size = u64::from_le_bytes(size.try_into().expect("eight"));
    let (root, shape) = (Hash::from_bytes(blob.0), BaoTree::new(size, BLOCK));
    let items = DecodeResponseIter::new(root, shape, io::Cursor::new(rest), ranges);
    (size, items.map(|item| item.expect("verified")).collect())
}

#[tokio::test]
async fn what_is_sent_is_what_bao_says_whether_it_is_kept_or_lies_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let (kept, linking) = (store(&folder.path().join("a")).await, store(folder.path()).await);
    for size in SIZES {
        let content = bytes(size);
        let path = folder.path().join(format!("file-{size}"));
        std::fs::write(&path, &content).expect("written");
        let copy = kept.import(&path, Import::Copy, |_| {}).await.expect("taken in");
        let link = linking.import(&path, Import::Reference, |_| {}).await.expect("taken in");
        assert_eq!((copy.blob, copy.size), (link.blob, size as u64));
        assert_eq!(copy.blob.0, *bao_tree::blake3::hash(&content).as_bytes());
        for store in [&kept, &linking] {
            let entry = store.entry(copy.blob).await.expect("reads").expect("here");
            for ranges in ranges() {
                let sent = encoded(&entry, &ranges).expect("all is here");
                assert!(sent == expected(&content, &ranges), "{size} {ranges:?}");
            }
            assert!(store.bytes(copy.blob, u64::MAX).await.expect("reads") == content);
            let target = folder.path().join("out");
            store.export(copy.blob, &target, |_| {}).await.expect("written");
            assert!(std::fs::read(&target).expect("reads") == content);
            std::fs::remove_file(&target).expect("removed");
        }
    }
}

#[tokio::test]
async fn an_unfinished_content_is_filled_in_any_order_and_survives_any_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = bytes(1_000_001);
    let blob = BlobId(*bao_tree::blake3::hash(&content).as_bytes());
    let parts = [(0u64, 16), (896, 1000), (16, 496), (496, 896)]
        .map(|(from, to)| ChunkRanges::from(ChunkNum(from)..ChunkNum(to)));
    for (n, part) in parts.iter().enumerate() {
        // Another process each time.
        let store = store(folder.path()).await;
        let (size, items) = decoded(blob, &expected(&content, part), part);
        let entry = store.begin(blob, size).await.expect("begun");
        store.write(&entry, &items).expect("written");
        let held = store.held(blob).await.expect("reads");
        assert_eq!(held.complete, n == 3, "{n}");
        assert_eq!(held.size, Some(content.len() as u64));
        // What is here is given on, and what is not is not.
        assert!(encoded(&entry, part).expect("here") == expected(&content, part));
        if n == 0 {
            assert!(encoded(&entry, &parts[1]).is_err());
        }
    }
    let store = store(folder.path()).await;
    assert!(store.bytes(blob, u64::MAX).await.expect("whole") == content);
    let left: Vec<_> =
        Kind::ALL.iter().filter(|kind| store.0.files.path(blob, **kind).exists()).collect();
    assert_eq!(left, [&Kind::Data, &Kind::Tree]);
}

/// The last block is on the disk, and the name of the whole is not: a kill may come in between, or a failure.
#[tokio::test]
async fn what_lacks_only_its_name_has_it_when_it_is_looked_for() {
    for (size, killed) in [(1_000_001, true), (1_000_001, false), (1001, true), (1001, false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let content = bytes(size);
        let blob = BlobId(*bao_tree::blake3::hash(&content).as_bytes());
        let mut store = store(folder.path()).await;
        let via = Via::Ticket(blob);
        let coming = store.fetching(vec![blob], via).await.expect("noted");
        let all = ChunkRanges::all();
        let (size, items) = decoded(blob, &expected(&content, &all), &all);
        let entry = store.begin(blob, size).await.expect("begun");
        assert!(entry.write(&items).expect("written"), "nothing lacks");
        assert!(store.0.files.path(blob, Kind::Part).exists(), "it has no name yet");
        drop(coming);
        if killed {
            drop(entry);
            store = Contents::open(folder.path().join("content")).await.expect("opens");
        } else {
            assert!(store.held(blob).await.expect("reads").complete);
        }
        let target = folder.path().join("out");
        store.export(blob, &target, |_| {}).await.expect("written");
        assert!(std::fs::read(&target).expect("reads") == content);
        assert!(store.0.files.path(blob, Kind::Data).exists());
        assert!(!store.0.files.path(blob, Kind::Part).exists());
        assert_eq!(store.whole_by(vec![blob], via).await.expect("reads"), [blob]);
    }
}

#[tokio::test]
async fn what_cannot_get_its_name_is_here_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = bytes(1_000_001);
    let blob = BlobId(*bao_tree::blake3::hash(&content).as_bytes());
    let store = store(folder.path()).await;
    let all = ChunkRanges::all();
    let (size, items) = decoded(blob, &expected(&content, &all), &all);
    let entry = store.begin(blob, size).await.expect("begun");
    assert!(entry.write(&items).expect("written"));
    let (part, away) = (store.0.files.path(blob, Kind::Part), folder.path().join("away"));
    std::fs::rename(&part, &away).expect("moved");
    assert!(store.held(blob).await.expect("reads").complete);
    let found = store.entry(blob).await.expect("reads").expect("here");
    assert!(encoded(&found, &all).expect("all is here") == expected(&content, &all));
    store.settled(blob).await.expect_err("who needs the name is told");
    std::fs::rename(&away, &part).expect("moved");
    store.settled(blob).await.expect("named");
    assert!(store.0.files.path(blob, Kind::Data).exists());
}

/// A whole content has two names that change one after the other.
#[tokio::test]
async fn after_a_kill_it_is_known_by_what_a_whole_content_came() {
    for imported in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let content = bytes(100_000);
        let blob = BlobId(*bao_tree::blake3::hash(&content).as_bytes());
        let via = Via::Ticket(blob);
        let files = {
            let store = store(folder.path()).await;
            let _coming = store.fetching(vec![blob], via).await.expect("noted");
            let all = ChunkRanges::all();
            let (size, items) = decoded(blob, &expected(&content, &all), &all);
            let entry = store.begin(blob, size).await.expect("begun");
            store.write(&entry, &items).expect("written");
            store.0.files.clone()
        };
        std::fs::rename(files.path(blob, Kind::Via), files.path(blob, Kind::Have)).expect("moved");
        if imported {
            std::fs::write(files.path(blob, Kind::Part), &content).expect("written");
        }
        let store = store(folder.path()).await;
        let came_by = store.whole_by(vec![blob], via).await.expect("reads");
        assert_eq!(came_by.len(), usize::from(!imported), "what was imported came by nothing");
        assert!(!files.path(blob, Kind::Have).exists());
    }
}

#[tokio::test]
async fn what_a_kill_left_of_a_small_content_is_in_nobodys_way() {
    let content = bytes(1001);
    let blob = BlobId(*bao_tree::blake3::hash(&content).as_bytes());
    for by_reference in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("own.bin");
        std::fs::write(&path, &content).expect("written");
        let files = store(folder.path()).await.0.files.clone();
        files.make_shelf(blob).expect("made");
        for (kind, left) in [(Kind::Data, &content[..7]), (Kind::Via, b"of it".as_slice())] {
            std::fs::write(files.path(blob, kind), left).expect("written");
        }
        let store = store(folder.path()).await;
        let held = store.held(blob).await.expect("reads");
        assert!(!held.complete && !held.changed && held.blocks.is_empty(), "{held:?}");
        if by_reference {
            store.import(&path, Import::Reference, |_| {}).await.expect("taken in");
        } else {
            let all = ChunkRanges::all();
            let (size, items) = decoded(blob, &expected(&content, &all), &all);
            let came = store.whole(vec![(blob, size, items)]).await.expect("fits");
            assert_eq!(came.blobs(), [blob]);
            store.take_in(came, None).await.expect("taken in");
        }
        let left: Vec<_> =
            Kind::ALL.iter().filter(|kind| files.path(blob, **kind).exists()).collect();
        assert_eq!(left, [if by_reference { &Kind::Link } else { &Kind::Data }]);
        let target = folder.path().join("out");
        store.export(blob, &target, |_| {}).await.expect("written");
        assert!(std::fs::read(&target).expect("reads") == content);
    }
}

/// What was looked for and found nowhere is found when it came, and after a restart, and not when it went.
#[tokio::test]
async fn what_comes_and_goes_is_found_as_long_as_it_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let contents: Vec<Vec<u8>> = (1..300).map(bytes).collect();
    let blobs: Vec<BlobId> =
        contents.iter().map(|it| BlobId(*bao_tree::blake3::hash(it).as_bytes())).collect();
    let all = ChunkRanges::all();
    let here = async |store: &Contents| {
        let held = store.held_all(blobs.clone()).await.expect("reads");
        held.iter().filter(|held| held.complete).count()
    };
    for round in 0..2 {
        let store = store(folder.path()).await;
        assert_eq!(here(&store).await, round * 150);
        let came = blobs.iter().zip(&contents).step_by(if round == 0 { 2 } else { 1 });
        let came = came.map(|(blob, content)| {
            let (size, items) = decoded(*blob, &expected(content, &all), &all);
            (*blob, size, items)
        });
        let came = store.whole(came.collect()).await.expect("fits");
        store.take_in(came, None).await.expect("taken in");
        assert_eq!(here(&store).await, [150, 299][round]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let data = std::fs::metadata(store.0.files.path(blobs[0], Kind::Data)).expect("there");
            assert_eq!(data.permissions().mode() & 0o777, 0o600);
        }
    }
    let store = store(folder.path()).await;
    let kept = blobs[..10].to_vec();
    assert_eq!(store.collect(async { Ok(kept) }).await.expect("collects"), 289);
    assert_eq!(here(&store).await, 10);
}

#[tokio::test]
async fn after_a_crash_of_the_machine_what_the_hashes_prove_is_here() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = bytes(40 * 16 * KIB);
    let blob = BlobId(*bao_tree::blake3::hash(&content).as_bytes());
    let part = ChunkRanges::from(ChunkNum(0)..ChunkNum(20 * 16));
    let files = {
        let store = store(folder.path()).await;
        let (size, items) = decoded(blob, &expected(&content, &part), &part);
        let entry = store.begin(blob, size).await.expect("begun");
        store.write(&entry, &items).expect("written");
        store.0.files.clone()
    };
    // The bits came to the disk, and some of the data did not.
    let mut data = std::fs::read(files.path(blob, Kind::Part)).expect("reads");
    data[3 * 16 * KIB..5 * 16 * KIB].fill(0);
    std::fs::write(files.path(blob, Kind::Part), data).expect("written");
    let mut have = std::fs::read(files.path(blob, Kind::Have)).expect("reads");
    have[8] ^= 0xff;
    std::fs::write(files.path(blob, Kind::Have), have).expect("written");
    let store = store(folder.path()).await;
    let held = store.held(blob).await.expect("reads");
    assert_eq!(held.blocks, Blocks::from(0..3) | Blocks::from(5..20));
}

#[tokio::test]
async fn a_file_that_was_changed_is_not_taken_for_what_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path()).await;
    let content = bytes(200_000);
    for (name, change) in [("changed", true), ("gone", false)] {
        let path = folder.path().join(name);
        std::fs::write(&path, &content).expect("written");
        let imported = store.import(&path, Import::Reference, |_| {}).await.expect("taken in");
        assert!(store.held(imported.blob).await.expect("reads").complete);
        let open = store.entry(imported.blob).await.expect("reads").expect("here");
        if change {
            std::fs::write(&path, &content[1..]).expect("written");
        } else {
            std::fs::remove_file(&path).expect("removed");
        }
        let held = store.held(imported.blob).await.expect("reads");
        assert!(held.changed && !held.complete, "{name}");
        assert!(store.entry(imported.blob).await.expect("reads").is_none());
        // Who has it open finds out by the hashes.
        assert_eq!(encoded(&open, &ChunkRanges::all()).is_err(), change);
        // It can be fetched again, and is the store's own then.
        let all = ChunkRanges::all();
        let (size, items) = decoded(imported.blob, &expected(&content, &all), &all);
        let entry = store.begin(imported.blob, size).await.expect("begun");
        store.write(&entry, &items).expect("written");
        let held = store.held(imported.blob).await.expect("reads");
        assert!(held.complete && !held.changed);
        store.remove(imported.blob).await.expect("removed");
        assert_eq!(store.held(imported.blob).await.expect("reads"), Held::nothing());
    }
}

#[tokio::test]
async fn what_is_collected_is_what_nobody_names_and_nobody_works_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path()).await;
    let import = async |n: usize| {
        let content = bytes(20_000 + n);
        store.import_bytes(content.into()).await.expect("taken in")
    };
    let (named, worked_on, lost) = (import(1).await, import(2).await, import(3).await);
    let (named_blob, lost_blob) = (named.blob, lost.blob);
    drop((named, lost));
    let here = async |blob| store.held(blob).await.expect("reads").complete;
    // Let go of before: its row would be read now, and there is none.
    let during = import(4).await;
    let during_blob = during.blob;
    let mut during = Some(during);
    let kept = async {
        // Let go of now: its row may have been written after this one was read.
        during.take();
        Ok(vec![named_blob])
    };
    assert_eq!(store.collect(kept).await.expect("collects"), 1);
    assert!(here(named_blob).await && here(worked_on.blob).await && here(during_blob).await);
    assert!(!here(lost_blob).await);
    let failed = async { Err(Error::Closed) };
    store.collect(failed).await.expect_err("nothing is known to be lost");
    assert!(here(during_blob).await);
    drop(worked_on);
    assert_eq!(store.collect(async { Ok(vec![named_blob]) }).await.expect("collects"), 2);
    assert_eq!(store.all().await.expect("lists").len(), 1);
    drop(store);
    // What was being written when a process was killed is gone.
    let left = folder.path().join("content/new/left");
    std::fs::write(&left, "half").expect("written");
    let _store = self::store(folder.path()).await;
    assert!(!left.exists());
}

#[tokio::test]
async fn after_a_crash_of_the_machine_an_empty_file_is_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    for len in [1, 5000, 16 * KIB] {
        let store = store(folder.path()).await;
        let imported = store.import_bytes(bytes(len).into()).await.expect("taken in");
        let path = store.0.files.path(imported.blob, Kind::Data);
        let blob = imported.blob;
        drop((imported, store));
        // The name came to the disk, and the bytes did not.
        std::fs::write(path, b"").expect("written");
        let store = self::store(folder.path()).await;
        assert_eq!(store.held(blob).await.expect("reads"), Held::nothing(), "{len}");
    }
    let empty = BlobId(*bao_tree::blake3::hash(b"").as_bytes());
    assert!(store(folder.path()).await.held(empty).await.expect("reads").complete);
}

#[tokio::test]
async fn what_does_not_fit_beside_the_reserve_is_not_begun() {
    static LEFT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let folder = tempfile::tempdir().expect("a folder");
    let free = |_: &Path| Ok(space::RESERVE + 1_000_000);
    let store = Contents::with_space(folder.path().join("content"), free).await.expect("opens");
    let blob = BlobId([1; 32]);
    assert!(store.begin(blob, 1_000_000).await.is_ok());
    store.remove(blob).await.expect("removed");
    let error = store.begin(blob, 1_000_001).await.expect_err("too little").to_string();
    assert!(error.contains("1 MB are lacking"), "{error}");
    let error = store.check_space(1_000_001).expect_err("too little");
    assert!(matches!(error, Error::Store(_)), "{error}");
    let path = folder.path().join("file");
    std::fs::write(&path, bytes(1_000_001)).expect("written");
    let error = store.import(&path, Import::Copy, |_| {}).await.expect_err("too little");
    assert!(matches!(error, Error::Store(_)), "{error}");
    assert_eq!(store.all().await.expect("lists"), []);
    // What stays where it is takes none.
    assert!(store.import(&path, Import::Reference, |_| {}).await.is_ok());
    // A reader is stopped on the way; what it brought is gone.
    LEFT.store(space::RESERVE, std::sync::atomic::Ordering::Relaxed);
    let shrinks = |_: &Path| Ok(LEFT.fetch_sub(1, std::sync::atomic::Ordering::Relaxed));
    let other = folder.path().join("other");
    let store = Contents::with_space(other.clone(), shrinks).await.expect("opens");
    let endless = io::Read::take(io::repeat(7), 1 << 40);
    let error = store.import_reader(endless).await.expect_err("never ends").to_string();
    assert!(error.contains("lacking"), "{error}");
    assert_eq!(std::fs::read_dir(other.join("new")).expect("reads").count(), 0);
}

#[tokio::test]
async fn what_cannot_be_begun_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path()).await;
    let blob = BlobId([1; 32]);
    let error = store.begin(blob, MAX_CONTENT + 1).await.expect_err("too large");
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    // Its hashes cannot be written, after its space was taken.
    let files = &store.0.files;
    std::fs::create_dir_all(files.path(blob, Kind::Tree)).expect("in the way");
    store.begin(blob, 1_000_000).await.expect_err("in the way");
    for kind in [Kind::Part, Kind::Have, Kind::Data] {
        assert!(!files.path(blob, kind).exists(), "{kind:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_taken_in_while_it_is_fetched_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path()).await;
    for (how, len) in [(Import::Reference, 200_000), (Import::Copy, 100_000)] {
        let content = bytes(len);
        let path = folder.path().join("file");
        std::fs::write(&path, &content).expect("written");
        let blob = BlobId(*bao_tree::blake3::hash(&content).as_bytes());
        let via = Via::Room(ayni_core::id::RoomId([1; 32]));
        let coming = store.fetching(vec![blob], via).await.expect("noted");
        let all = ChunkRanges::all();
        let (size, items) = decoded(blob, &expected(&content, &all), &all);
        let entry = store.begin(blob, size).await.expect("begun");
        let half = items.len() / 2;
        store.write(&entry, &items[..half]).expect("written");
        drop(store.import(&path, how, |_| {}).await.expect("taken in"));
        store.write(&entry, &items[half..]).expect("the rest came");
        store.settled(blob).await.expect("whole");
        let held = store.held(blob).await.expect("reads");
        assert!(held.complete && !held.changed, "{how:?}");
        assert!(store.bytes(blob, u64::MAX).await.expect("reads") == content);
        let by = store.came_by(vec![blob]).await.expect("reads");
        assert_eq!(by, [None], "it is this node's own");
        assert_eq!(store.whole_by(vec![blob], via).await.expect("reads"), []);
        drop((coming, entry));
        // Another process finds the same.
        let again = self::store(folder.path()).await;
        assert!(again.held(blob).await.expect("reads").complete, "{how:?}");
        assert_eq!(again.came_by(vec![blob]).await.expect("reads"), [None]);
    }
}

#[tokio::test]
async fn a_file_from_the_future_is_not_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path()).await;
    let path = folder.path().join("file");
    std::fs::write(&path, bytes(100_000)).expect("written");
    let tomorrow = std::time::SystemTime::now() + Duration::from_hours(24);
    let file = std::fs::File::options().write(true).open(&path).expect("opens");
    file.set_modified(tomorrow).expect("set");
    let imported = store.import(&path, Import::Reference, |_| {}).await.expect("taken in");
    let held = store.held(imported.blob).await.expect("reads");
    assert!(held.complete && !held.changed);
    std::fs::write(&path, bytes(100_001)).expect("written");
    assert!(store.held(imported.blob).await.expect("reads").changed, "it is told all the same");
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "that is what is tried; others run on other threads")]
async fn one_that_is_looked_into_holds_up_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path()).await;
    let one = store.import_bytes(bytes(10).into()).await.expect("taken in").blob;
    let other = store.import_bytes(bytes(20).into()).await.expect("taken in").blob;
    let slot = store.0.open.slot(one);
    // As long as its blocks are hashed again.
    let looked_into = slot.lock();
    let held = tokio::time::timeout(Duration::from_mins(1), store.held(other));
    assert!(held.await.expect("at once").expect("reads").complete);
    drop(looked_into);
}

#[tokio::test]
async fn what_came_to_the_disk_at_the_end_is_not_hashed_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = bytes(10 * 16 * KIB);
    let blob = BlobId(*bao_tree::blake3::hash(&content).as_bytes());
    let part = ChunkRanges::from(ChunkNum(0)..ChunkNum(5 * 16));
    let store = store(folder.path()).await;
    let (size, items) = decoded(blob, &expected(&content, &part), &part);
    let entry = store.begin(blob, size).await.expect("begun");
    store.write(&entry, &items).expect("written");
    store.close().await;
    let path = store.0.files.path(blob, Kind::Part);
    drop((entry, store));
    // Who hashed it would find this.
    std::fs::write(&path, vec![0; content.len()]).expect("written");
    let store = self::store(folder.path()).await;
    assert_eq!(store.held(blob).await.expect("reads").blocks, Blocks::from(0..5));
}

#[tokio::test]
async fn it_is_known_by_what_a_content_came_until_that_is_written_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = bytes(3 * 16 * KIB);
    let blob = BlobId(*bao_tree::blake3::hash(&content).as_bytes());
    let [one, other] = [1, 2].map(|n| Via::Room(ayni_core::id::RoomId([n; 32])));
    let parts =
        [(0u64, 16), (16, 48)].map(|(from, to)| ChunkRanges::from(ChunkNum(from)..ChunkNum(to)));
    let bring = async |store: &Contents, part: &ChunkRanges| {
        let (size, items) = decoded(blob, &expected(&content, part), part);
        let entry = store.begin(blob, size).await.expect("begun");
        store.write(&entry, &items).expect("written");
    };
    let by = async |store: &Contents| store.came_by(vec![blob]).await.expect("reads")[0];
    // What comes later, by what, and what is known then.
    for (second, expected) in [(one, Some(one)), (other, Some(Via::Mixed))] {
        let store = store(folder.path()).await;
        let coming = store.fetching(vec![blob], one).await.expect("noted");
        assert_eq!(by(&store).await, None);
        bring(&store, &parts[0]).await;
        assert_eq!(by(&store).await, Some(one));
        drop(coming);
        let store = self::store(folder.path()).await;
        assert_eq!(by(&store).await, Some(one), "another process knows");
        let coming = store.fetching(vec![blob], second).await.expect("noted");
        assert_eq!(by(&store).await, expected);
        bring(&store, &parts[1]).await;
        drop(coming);
        let expected = expected.filter(|via| *via != Via::Mixed);
        assert_eq!(by(&store).await, expected, "it is whole");
        let whole = store.whole_by(vec![blob], one).await.expect("reads");
        assert_eq!(whole.is_empty(), second != one);
        drop(store);
        let store = self::store(folder.path()).await;
        assert_eq!(by(&store).await, expected);
        store.forget_via(vec![blob]).await.expect("removed");
        drop(store);
        let store = self::store(folder.path()).await;
        assert_eq!(by(&store).await, None);
        assert!(store.held(blob).await.expect("reads").complete);
        store.remove(blob).await.expect("removed");
        // Two at once: nobody knows who brought it.
        let both = [
            store.fetching(vec![blob], one).await.expect("noted"),
            store.fetching(vec![blob], other).await.expect("noted"),
        ];
        bring(&store, &parts[0]).await;
        assert_eq!(by(&store).await, Some(Via::Mixed));
        drop(both);
        store.remove(blob).await.expect("removed");
    }
}

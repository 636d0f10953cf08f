//! A large file through all that can go wrong: providers that are killed, that lie, that fall silent, and
//! a downloader that is killed again and again. `cargo xtask soak` runs it at full size.

mod support;

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use support::api::Api;
use support::talk::{CONVERGE, folders, room_of, size};
use support::{DEADLINE, Node, Process, TempFolder, wait_until};

/// When the downloader is killed, in percent of what is to come.
const KILLS: [u64; 5] = [10, 25, 40, 60, 80];
/// When a provider is killed.
const PROVIDER_DIES: u64 = 30;
/// When another one falls silent: early, so that it stays so for most of the time.
const PROVIDER_STALLS: u64 = 5;
/// How long all of it takes at the least, in seconds.
const WHOLE_S: u64 = 10;
/// How far apart the bytes are that the liar has wrong.
const LIES: u64 = 100_000;
/// What may be given in vain in one life of the downloader, in bytes: what is under way to it when it is
/// killed, which under a limit is all that the windows of four connections take, and what the liar gives
/// until it is found out. One percent of the file, where that is more.
const GIVEN_IN_VAIN: u64 = 8 << 20;

/// Writes a file that nobody can guess or compress.
fn make(path: &Path, bytes: u64) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("made"));
    let mut state = 11u64;
    for _ in 0..bytes / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes()).expect("written");
    }
    file.flush().expect("written");
}

/// Compares without holding either in memory.
fn assert_same(one: &Path, other: &Path) {
    let open = |path| std::io::BufReader::new(std::fs::File::open(path).expect("there"));
    let (mut one, mut other) = (open(one), open(other));
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = one.read(&mut left).expect("readable");
        other.read_exact(&mut right[..read]).expect("as long");
        assert!(left[..read] == right[..read], "they differ");
        if read == 0 {
            assert_eq!(other.read(&mut right).expect("readable"), 0, "it is longer");
            return;
        }
    }
}

/// Returns the largest file below a folder.
fn largest(folder: &Path) -> PathBuf {
    fn all(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("readable").flatten();
        let paths = entries.map(|entry| entry.path());
        paths.flat_map(|path| if path.is_dir() { all(&path) } else { vec![path] }).collect()
    }
    let size = |path: &PathBuf| path.metadata().map_or(0, |it| it.len());
    all(folder).into_iter().max_by_key(size).expect("some file")
}

/// Changes what a node keeps, so that it gives wrong bytes to whoever asks.
fn corrupt(home: &Path, bytes: u64) {
    let kept = largest(&home.join("content"));
    let mut file = std::fs::File::options().read(true).write(true).open(kept).expect("there");
    assert_eq!(file.metadata().expect("there").len(), bytes, "the content itself");
    for at in (LIES..bytes).step_by(usize::try_from(LIES).expect("small")) {
        let mut byte = [0];
        file.seek(SeekFrom::Start(at)).expect("within");
        file.read_exact(&mut byte).expect("within");
        file.seek(SeekFrom::Start(at)).expect("within");
        file.write_all(&[byte[0] ^ 1]).expect("written");
    }
}

/// Who downloads: a node, and a command that waits for it.
struct Downloader<'a> {
    home: &'a TempFolder,
    fetch: [&'a str; 5],
}

/// One life of it.
struct Life {
    node: Node,
    fetching: Process,
    api: Api,
}

impl Downloader<'_> {
    #[track_caller]
    fn live(&self) -> Life {
        let node = Node::up(self.home);
        let fetching = Process::start(self.home, &self.fetch);
        let api = Api::of(&node);
        let begun = wait_until(DEADLINE, || !api.transfers().is_empty());
        assert!(begun, "no transfer: {}", fetching.stderr());
        Life { node, fetching, api }
    }
}

impl Life {
    fn came(&self) -> u64 {
        let transfers = self.api.transfers();
        transfers.iter().map(|transfer| transfer.bytes).max().unwrap_or(0)
    }

    /// Waits until so many percent are here. Returns how many bytes are, and how many had come in this life a
    /// moment before: whoever is to be killed now is asked nothing more, for all may be there after that.
    #[track_caller]
    fn until(&mut self, percent: u64, bytes: u64) -> (u64, u64) {
        let (mut came, mut taken) = (0, 0);
        let there = wait_until(CONVERGE, || {
            taken = self.api.taken();
            came = self.came();
            came * 100 >= percent * bytes
        });
        assert!(there, "{came} of {bytes} bytes, and no more: {}", self.fetching.stderr());
        (came, taken)
    }
}

#[test]
fn hazard_26_a_large_file_comes_through_a_liar_a_staller_and_kills() {
    let bytes = (size("AYNI_SWARM_MB", 256) as u64) << 20;
    let homes: [TempFolder; 6] = folders();
    let work = TempFolder::new();
    let source = work.join("film.bin");
    make(&source, bytes);
    let ana = Node::up(&homes[0]);
    let [beto, carla, liar, staller, dora] = [1, 2, 3, 4, 5].map(|n| Node::up(&homes[n]));
    room_of(&ana, &[&beto, &carla, &liar, &staller, &dora]);
    let attach = ["attach", "family", source.to_str().expect("a plain path"), "--json"];
    let sent = ana.ayni(&attach).one();
    let event = sent["event"].as_str().expect("an id").to_owned();
    for node in [&beto, &carla, &liar, &staller] {
        assert!(wait_until(CONVERGE, || !node
            .ayni(&["files", "family", "--json"])
            .json()
            .is_empty()));
        let copy = work.join("copy.bin");
        let fetch = ["fetch", "family", &event, "-o", copy.to_str().expect("a plain path")];
        Process::start(node.folder(), &fetch).finish(CONVERGE).ok();
        std::fs::remove_file(copy).expect("written");
    }
    assert!(wait_until(CONVERGE, || !dora.ayni(&["files", "family", "--json"]).json().is_empty()));
    // So slow that she is killed before all is there, on any machine.
    let rate = format!("{}KiB", bytes / WHOLE_S / 1024);
    dora.ayni(&["limits", "--down", &rate]).ok();
    dora.stop();
    liar.stop();
    corrupt(&homes[3], bytes);
    let liar = Node::up(&homes[3]);

    let providers = [&ana, &carla, &liar];
    let given = || -> u64 { providers.iter().map(|node| Api::of(node).given()).sum() };
    let (given_before, beto_before) = (given(), Api::of(&beto).given());
    let target = work.join("got.bin");
    let to = target.to_str().expect("a plain path");
    let downloader = Downloader { home: &homes[5], fetch: ["fetch", "family", &event, "-o", to] };
    let mut beto = Some(beto);
    let (mut lost, mut taken, mut beto_gave, mut at_start) = (0, 0, 0, 0);
    let mut life = downloader.live();
    life.until(PROVIDER_STALLS, bytes);
    signal(&staller, "STOP");
    for percent in KILLS {
        if percent > PROVIDER_DIES && beto.is_some() {
            life.until(PROVIDER_DIES, bytes);
            let dying = beto.take().expect("once");
            beto_gave = Api::of(&dying).given() - beto_before;
            dying.kill9();
        }
        let (before, told) = life.until(percent, bytes);
        let Life { node, fetching, api } = life;
        node.kill9();
        drop(api);
        assert_ne!(fetching.finish(DEADLINE).code, 0, "its node was killed");
        assert!(!target.exists(), "nothing half-written is where it will be");
        life = downloader.live();
        let mut kept = 0;
        // What it has it tells as soon as it looked.
        wait_until(DEADLINE, || {
            kept = life.came();
            kept > 0
        });
        println!("killed at {percent} %: {before} bytes were here, {kept} are after it");
        lost += before.saturating_sub(kept);
        // What came in the last moment nobody could tell any more.
        taken += told.max(kept - at_start);
        at_start = kept;
    }
    let output = life.fetching.finish(CONVERGE);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    taken += life.api.taken();
    assert_same(&source, &target);
    let given = given() - given_before + beto_gave;
    signal(&staller, "CONT");
    let given_in_vain = given.saturating_sub(bytes);
    println!(
        "{} MiB, {} kills: {} lost by kills, {} came beyond the file, {} were given beyond it",
        bytes >> 20,
        KILLS.len(),
        share(lost, bytes),
        share(taken.saturating_sub(bytes), bytes),
        share(given_in_vain, bytes),
    );
    assert!(lost < bytes / 100, "{lost} bytes had come and were asked for again");
    // Whoever looks from outside: that is all of it, what was lost on the way included.
    let allowed = (bytes / 100).max(GIVEN_IN_VAIN * (KILLS.len() as u64 + 1));
    assert!(given_in_vain < allowed, "{given} bytes were given for {bytes}");
    life.node.stop();
}

/// A part in percent.
fn share(part: u64, of: u64) -> String {
    let hundredths = part.saturating_mul(10_000) / of;
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

fn signal(node: &Node, name: &str) {
    let command = format!("kill -{name} {}", node.pid());
    let sent = std::process::Command::new("sh").args(["-c", &command]).status();
    assert!(sent.expect("sh runs").success());
}

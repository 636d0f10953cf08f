//! The published `sendme`, another program on iroh-blobs, in both directions. Needs it on the path;
//! `cargo xtask interop` says how to get it, and runs this at full size.
//!
//! What it shows beyond `crates/node/tests/content/interop.rs`, which speaks with the library that it is
//! built on: that tickets, collections and resuming fit as people have them.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::api::Api;
use support::talk::{CONVERGE, folders, size};
use support::{DEADLINE, Process, TempFolder, ayni, wait_until};

/// Everything stays on this machine.
const LOCAL: [&str; 5] =
    ["--relay", "disabled", "--magic-ipv4-addr", "127.0.0.1:0", "--no-progress"];

/// Whether `sendme` is there; says so where it is not. Where `AYNI_INTEROP` asks for it, that is a
/// failure.
fn has_sendme() -> bool {
    let found = Command::new("sendme").arg("--version").output();
    let Ok(found) = found else {
        assert!(std::env::var_os("AYNI_INTEROP").is_none(), "needs sendme");
        println!("skipped: needs sendme (cargo install sendme --locked)");
        return false;
    };
    println!("{}", String::from_utf8_lossy(&found.stdout).trim());
    true
}

fn sendme(work: &Path, command: &str, what: &str) -> Process {
    let mut sendme = Command::new("sendme");
    sendme.arg(command).args(LOCAL).arg(what).current_dir(work);
    Process::spawn(sendme)
}

/// Starts `sendme send`, and returns it with its ticket.
#[track_caller]
fn sends(work: &Path, what: &str) -> (Process, String) {
    let mut process = sendme(work, "send", what);
    loop {
        let line = process.line(DEADLINE);
        let line = line.unwrap_or_else(|| panic!("no ticket: {}", process.stderr()));
        if let Some(ticket) = line.split_whitespace().find(|word| word.starts_with("blob")) {
            return (process, ticket.to_owned());
        }
    }
}

#[track_caller]
fn receives(work: &Path, ticket: &str) {
    let output = sendme(work, "receive", ticket).finish(CONVERGE);
    assert_eq!(output.code, 0, "{} {}", output.stdout, output.stderr);
}

/// `ayni send`, and its ticket.
#[track_caller]
fn ayni_sends(data: &Path, path: &Path) -> (Process, String) {
    let path = path.to_str().expect("a plain path");
    let mut process = Process::start(data, &["send", path, "--json"]);
    let told = process.json_line(DEADLINE);
    (process, told["ticket"].as_str().expect("a ticket").to_owned())
}

/// A file and a folder of several, in a folder of their own.
fn make(work: &TempFolder) -> [PathBuf; 2] {
    let film = work.join("film.bin");
    std::fs::write(&film, random(size("AYNI_INTEROP_MB", 64) << 20)).expect("written");
    let trip = work.join("trip");
    std::fs::create_dir_all(trip.join("a/b")).expect("made");
    std::fs::write(trip.join("notes.txt"), "notes").expect("written");
    std::fs::write(trip.join("empty.txt"), "").expect("written");
    std::fs::write(trip.join("a/b/photo.bin"), random(700_001)).expect("written");
    [film, trip]
}

#[track_caller]
fn assert_same(one: &Path, other: &Path) {
    if one.is_dir() {
        let names = |path: &Path| {
            let entries = std::fs::read_dir(path).expect("readable");
            let mut names: Vec<_> = entries.map(|it| it.expect("readable").file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(one), names(other));
        for name in names(one) {
            assert_same(&one.join(&name), &other.join(&name));
        }
    } else {
        let same = std::fs::read(one).expect("there") == std::fs::read(other).expect("written");
        assert!(same, "{} and {} differ", one.display(), other.display());
    }
}

#[test]
fn sendme_receives_what_ayni_sends() {
    if !has_sendme() {
        return;
    }
    let [data, work] = folders();
    for path in make(&work) {
        let (sending, ticket) = ayni_sends(&data, &path);
        let got = TempFolder::new();
        let begun = Instant::now();
        receives(&got, &ticket);
        let name = path.file_name().expect("a name");
        assert_same(&path, &got.join(name));
        println!("ayni send, sendme receive: {} in {:.1?}", name.display(), begun.elapsed());
        assert_eq!(sending.stop().code, 0);
    }
}

#[test]
fn ayni_gets_what_sendme_sends() {
    if !has_sendme() {
        return;
    }
    let [data, work] = folders();
    for path in make(&work) {
        let name = path.file_name().expect("a name");
        let (sending, ticket) = sends(&work, name.to_str().expect("a plain name"));
        let got = work.join("got");
        let begun = Instant::now();
        let to = got.to_str().expect("a plain path");
        ayni(&data, &["get", &ticket, "-o", to, "--timeout", "30"]).ok();
        assert_same(&path, &got.join(name));
        println!("sendme send, ayni get: {} in {:.1?}", name.display(), begun.elapsed());
        drop(sending);
    }
}

#[test]
fn an_ayni_that_was_killed_goes_on_with_what_sendme_sends() {
    if !has_sendme() {
        return;
    }
    let [data, work] = folders();
    let [film, _] = make(&work);
    let (sending, ticket) = sends(&work, "film.bin");
    let got = work.join("got");
    let get = ["get", &ticket, "-o", got.to_str().expect("a plain path")];
    let mut killed = Process::start(&data, &get);
    let api = Api::at(&data);
    let came = |api: &Api| api.transfers().first().map_or(0, |transfer| transfer.bytes);
    assert!(wait_until(DEADLINE, || came(&api) > 0), "nothing came");
    sending.signal("STOP");
    let before = came(&api);
    killed.kill9();
    drop(api);
    let again = Process::start(&data, &get);
    let api = Api::at(&data);
    let seen = wait_until(Duration::from_secs(20), || came(&api) > 0);
    let kept = came(&api);
    sending.signal("CONT");
    assert!(seen && kept >= before / 2, "{before} bytes had come, {kept} are left");
    let output = again.finish(CONVERGE);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert_same(&film, &got.join("film.bin"));
    println!("sendme send, ayni get killed: {before} bytes had come, {kept} were kept");
}

#[test]
fn a_sendme_that_was_killed_goes_on_with_what_ayni_sends() {
    if !has_sendme() {
        return;
    }
    let [data, work] = folders();
    let [film, _] = make(&work);
    let (sending, ticket) = ayni_sends(&data, &film);
    let got = TempFolder::new();
    let mut killed = sendme(&got, "receive", &ticket);
    let on_disk = || bytes_in(&got);
    let begun = wait_until(DEADLINE, || on_disk() > 4 << 20 || !killed.is_running());
    sending.signal("STOP");
    let before = on_disk();
    killed.kill9();
    sending.signal("CONT");
    assert!(begun && !got.join("film.bin").exists(), "it was killed too late");
    receives(&got, &ticket);
    assert_same(&film, &got.join("film.bin"));
    assert_eq!(sending.stop().code, 0);
    println!("ayni send, sendme receive killed: {before} bytes were on its disk");
}

/// Bytes of all files below a folder, as the disk has them.
fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| {
        let path = entry.path();
        if path.is_dir() { bytes_in(&path) } else { path.metadata().map_or(0, |it| it.len()) }
    });
    sizes.sum()
}

/// Returns bytes that nobody can guess or compress.
fn random(count: usize) -> Vec<u8> {
    let mut state = 7u64;
    let words = (0..count.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(count).collect()
}

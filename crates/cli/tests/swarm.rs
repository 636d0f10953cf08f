//! Pictures that outlive their sender, and files that go on where they were interrupted.

mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::api::Api;
use support::png::png;
use support::talk::{CONVERGE, folders, join, room_of, size};
use support::{DEADLINE, Node, Process, TempFolder, ayni, wait_until};

#[track_caller]
fn attach(folder: &Path, path: &Path) -> Value {
    let path = path.to_str().expect("a plain path");
    ayni(folder, &["attach", "family", path, "--json"]).one()
}

/// How much of the only file of the room is here; nothing where it is not heard of yet.
#[track_caller]
fn here(node: &Node) -> String {
    let files = node.ayni(&["files", "family", "--json"]).json();
    assert!(files.len() <= 1, "{files:?}");
    files.first().and_then(|file| file["here"].as_str()).unwrap_or("unheard").to_owned()
}

#[test]
fn a_picture_outlives_its_sender() {
    let homes: [TempFolder; 6] = folders();
    let ana = Node::up(&homes[0]);
    let others = [1, 2, 3, 4].map(|n| Node::up(&homes[n]));
    let room = room_of(&ana, &others.each_ref());
    let work = TempFolder::new();
    let picture = work.join("beach.png");
    std::fs::write(&picture, png(400, 1, "a secret place")).expect("written");
    let sent = attach(&homes[0], &picture);
    let one_has_it = || others.iter().any(|node| here(node) == "whole");
    assert!(wait_until(CONVERGE, one_has_it), "nobody got it");
    ana.kill9();

    let all_have_it = || others.iter().all(|node| here(node) == "whole");
    assert!(wait_until(CONVERGE, all_have_it), "{:?}", others.each_ref().map(here));
    let flor = Node::up(&homes[5]);
    join(&others[2], &flor, &room);
    assert!(wait_until(CONVERGE, || here(&flor) == "whole"), "{}", here(&flor));
    let held_by = || flor.ayni(&["files", "family", "--json"]).one()["held_by"] == 5;
    assert!(wait_until(CONVERGE, held_by), "each shows how many hold it");

    // What she writes out is what was sent, without what it told.
    let got = work.join("got.png");
    let event = sent["event"].as_str().expect("an id");
    flor.ayni(&["fetch", "family", event, "-o", got.to_str().expect("a plain path")]).ok();
    assert_eq!(std::fs::read(&got).expect("written"), png(400, 1, ""));
}

#[test]
fn a_fetch_that_was_killed_goes_on_where_it_was() {
    let bytes = size("AYNI_FETCH_MB", 256) << 20;
    let [ana_home, beto_home, work] = folders();
    let ana = Node::up(&ana_home);
    let beto = Node::up(&beto_home);
    room_of(&ana, &[&beto]);
    let (source, target) = (work.join("big.bin"), work.join("got.bin"));
    std::fs::write(&source, random(bytes)).expect("written");
    let sent = attach(&ana_home, &source);
    assert!(wait_until(CONVERGE, || here(&beto) == "none"), "it did not arrive");
    beto.stop();

    let event = sent["event"].as_str().expect("an id");
    let to = target.to_str().expect("a plain path");
    let fetch = ["fetch", "family", event, "-o", to];
    let mut killed = Process::start(&beto_home, &fetch);
    let api = Api::at(&beto_home);
    let came = || api.transfers().first().map_or(0, |transfer| transfer.bytes);
    assert!(wait_until(DEADLINE, || came() > 0), "nothing came");
    ana_stops(&ana, true);
    let before = came();
    killed.kill9();
    drop(api);
    assert!((1..bytes as u64).contains(&before), "{before} of {bytes} bytes, and then the kill");
    assert!(!target.exists(), "nothing half-written is where it will be");

    // While nobody can give it anything, all that there is came before.
    let again = Process::start(&beto_home, &fetch);
    let api = Api::at(&beto_home);
    let mut kept = 0;
    let seen = wait_until(Duration::from_secs(20), || {
        kept = api.transfers().first().map_or(0, |transfer| transfer.bytes);
        kept > 0
    });
    ana_stops(&ana, false);
    assert!(seen, "{before} bytes had come, and it begins from zero");
    assert!(kept >= before / 2, "{before} bytes had come, and {kept} are left");
    let output = again.finish(CONVERGE);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert!(std::fs::read(&source).expect("there") == std::fs::read(&target).expect("written"));
    eprintln!("{before} of {bytes} bytes came before the kill, {kept} were there after it");
}

fn ana_stops(ana: &Node, stops: bool) {
    let signal = if stops { "STOP" } else { "CONT" };
    let sent = std::process::Command::new("sh")
        .args(["-c", &format!("kill -{signal} {}", ana.pid())])
        .status()
        .expect("sh runs");
    assert!(sent.success());
}

/// Returns bytes that nobody can guess or compress.
fn random(count: usize) -> Vec<u8> {
    let mut state = 1u64;
    let words = (0..count.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

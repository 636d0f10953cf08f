//! Sharing without a room by the binary: `send`, `get`, `shares`, `unshare`.

mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::api::Api;
use support::talk::{CONVERGE, folders};
use support::{DEADLINE, Node, Output, Process, TempFolder, ayni, command, wait_until};

/// Runs a command in a working folder, with `input` on standard input.
#[track_caller]
fn ayni_in(work: &Path, data: impl AsRef<Path>, args: &[&str], input: &[u8]) -> Output {
    let mut command = command(data);
    command.args(args).current_dir(work);
    let mut process = Process::spawn(command);
    process.feed(input);
    process.close_stdin();
    process.finish(CONVERGE)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}"))
}

/// `ayni send`, which serves until it is stopped.
struct Sending {
    process: Process,
    told: Value,
}

impl Sending {
    #[track_caller]
    fn start(data: impl AsRef<Path>, work: &Path, paths: &[&str]) -> Self {
        let mut command = command(data);
        command.args([&["send", "--json"], paths].concat()).current_dir(work);
        let mut process = Process::spawn(command);
        let told = process.json_line(DEADLINE);
        Self { process, told }
    }

    fn ticket(&self) -> &str {
        text(&self.told, "ticket")
    }

    #[track_caller]
    fn stop(self) {
        let output = self.process.stop();
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    }
}

fn content(len: u32) -> Vec<u8> {
    (0..len / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[track_caller]
fn shared(data: &Path) -> Vec<Value> {
    ayni(data, &["shares", "--json"]).json()
}

#[test]
fn what_is_sent_is_got_until_the_sender_is_stopped() {
    let [ana, beto, work] = folders();
    std::fs::create_dir_all(work.join("trip/sub")).expect("made");
    let film = content(6_000_000);
    std::fs::write(work.join("film.bin"), &film).expect("written");
    std::fs::write(work.join("trip/sub/notes.txt"), "notes").expect("written");
    let sending = Sending::start(&ana, &work, &["film.bin", "trip"]);
    assert_eq!(sending.told["size"], film.len() + 5);
    let listed = ayni(&ana, &["shares", "--json"]).one();
    assert_eq!((&listed["blob"], text(&listed, "name")), (&sending.told["blob"], "film.bin"));

    let got = ayni_in(&work, &beto, &["get", sending.ticket(), "-o", "into", "--json"], b"").one();
    let into = work.join("into");
    assert_eq!((&got["blob"], got["path"].as_str()), (&sending.told["blob"], into.to_str()));
    assert!(std::fs::read(into.join("film.bin")).expect("written") == film);
    let notes = std::fs::read_to_string(into.join("trip/sub/notes.txt")).expect("written");
    assert_eq!(notes, "notes");

    // What is there stays, unless it is said what to do.
    std::fs::write(into.join("film.bin"), "mine").expect("written");
    let get = |more: &[&str]| {
        let args = [&["get", sending.ticket(), "-o", "into"], more].concat();
        ayni_in(&work, &beto, &args, b"")
    };
    assert!(get(&[]).fails(4).contains("film.bin exists already"));
    assert_eq!(get(&["--skip"]).ok(), into.to_str().expect("a plain path"));
    assert_eq!(std::fs::read(into.join("film.bin")).expect("there"), b"mine");
    get(&["--rename"]).ok();
    assert!(std::fs::read(into.join("film (2).bin")).expect("written") == film);
    get(&["--overwrite"]).ok();
    assert!(std::fs::read(into.join("film.bin")).expect("written") == film);

    let ticket = sending.ticket().to_owned();
    sending.stop();
    assert!(shared(&ana).is_empty(), "it ends with the command");
    let line = ayni(TempFolder::new(), &["get", &ticket, "-o", "-", "--timeout", "2"]).fails(5);
    assert!(line.contains("nobody who has it can be reached"), "{line}");
    // Sent again it has the same ticket.
    let again = Sending::start(&ana, &work, &["film.bin", "trip"]);
    assert_eq!(again.ticket(), ticket);
    again.stop();
}

#[test]
fn a_node_that_runs_takes_over_until_it_is_told_to_stop() {
    let [ana, beto, work] = folders();
    std::fs::write(work.join("notes.txt"), "notes").expect("written");
    let node = Node::up(&ana);
    let told = ayni_in(&work, &ana, &["send", "notes.txt", "--json"], b"").one();
    let ticket = text(&told, "ticket");
    assert_eq!(ayni_in(&work, &ana, &["send", "notes.txt"], b"").ok(), ticket, "alone on its line");
    let other = Node::up(&beto);
    ayni_in(&work, &beto, &["get", ticket, "-o", "into"], b"").ok();
    assert_eq!(std::fs::read_to_string(work.join("into/notes.txt")).expect("written"), "notes");
    node.stop();
    // It is kept in the folder.
    let node = Node::up(&ana);
    assert_eq!(shared(&ana)[0]["blob"], told["blob"]);
    ayni(&ana, &["unshare", "0123"]).fails(3);
    let unshared = ayni(&ana, &["unshare", ticket, "--json"]).one();
    assert_eq!(unshared["blob"], told["blob"]);
    assert!(shared(&ana).is_empty());
    ayni(&ana, &["unshare", text(&told, "blob")]).fails(3);
    let [eve] = folders();
    ayni(&eve, &["get", ticket, "-o", "-", "--timeout", "2"]).fails(5);
    // By its name, too.
    ayni_in(&work, &ana, &["send", "notes.txt", "--copy"], b"").ok();
    assert_eq!(ayni(&ana, &["unshare", "notes.txt"]).ok(), "");
    node.stop();
    other.stop();
}

#[test]
fn standard_input_becomes_standard_output() {
    let [ana, beto, work] = folders();
    let bytes = content(3_000_000);
    let node = Node::up(&ana);
    let told = ayni_in(&work, &ana, &["send", "-", "--json"], &bytes).one();
    assert_eq!(told["size"], bytes.len());
    let got = ayni(&beto, &["get", text(&told, "ticket"), "-o", "-"]);
    assert_eq!((got.code, got.stderr.as_str()), (0, ""));
    assert!(got.raw == bytes);
    // Nothing of it is kept, nor goes on.
    let is_left = || {
        let stored = ayni(&beto, &["storage", "--json"]).one()["contents"].clone();
        (ayni(&beto, &["transfers", "--json"]).json(), stored)
    };
    assert_eq!(is_left(), (vec![], 0.into()));
    assert!(ayni(&beto, &["get", text(&told, "ticket"), "-o", "-"]).raw == bytes);
    ayni_in(&work, &beto, &["get", text(&told, "ticket")], b"").ok();
    assert!(std::fs::read(work.join("stdin")).expect("written") == bytes);
    // Nothing at all is a file as well.
    let empty = ayni_in(&work, &ana, &["send", "-", "--json"], b"").one();
    assert_eq!(ayni(&beto, &["get", text(&empty, "ticket"), "-o", "-"]).ok(), "");
    // Several files are no stream.
    for name in ["one.txt", "two.txt"] {
        std::fs::write(work.join(name), name).expect("written");
    }
    let two = ayni_in(&work, &ana, &["send", "one.txt", "two.txt", "--json"], b"").one();
    let line = ayni(&beto, &["get", text(&two, "ticket"), "-o", "-"]).fails(2);
    assert!(line.contains("these are 2 files"), "{line}");
    assert_eq!(is_left(), (vec![], 0.into()));
    ayni(&beto, &["storage", "--discard", "0123"]).fails(3);
    node.stop();
}

#[test]
fn one_command_goes_on_serving_where_another_ends() {
    let [ana, beto, work] = folders();
    for name in ["one.txt", "two.txt"] {
        std::fs::write(work.join(name), name).expect("written");
    }
    let first = Sending::start(&ana, &work, &["one.txt"]);
    let second = Sending::start(&ana, &work, &["two.txt"]);
    assert_eq!(shared(&ana).len(), 2);
    first.stop();
    let one_is_left = || shared(&ana).len() == 1;
    assert!(wait_until(CONVERGE, one_is_left), "{:?}", shared(&ana));
    let get = ["get", second.ticket(), "-o", "-", "--timeout", "60"];
    assert_eq!(ayni(&beto, &get).stdout, "two.txt");
    second.stop();
    assert!(shared(&ana).is_empty());
}

#[test]
fn a_get_that_was_killed_goes_on_where_it_was() {
    let [ana, beto, work] = folders();
    let film = content(128 << 20);
    std::fs::write(work.join("film.bin"), &film).expect("written");
    let sending = Sending::start(&ana, &work, &["film.bin"]);
    let to = work.join("got");
    let get = ["get", sending.ticket(), "-o", to.to_str().expect("a plain path")];
    let mut killed = Process::start(&beto, &get);
    let api = Api::at(&beto);
    let came = || api.transfers().first().map_or(0, |transfer| transfer.bytes);
    // Of the film: the list of what is sent comes before it.
    assert!(wait_until(DEADLINE, || came() > 1 << 20), "nothing came");
    sending.process.signal("STOP");
    let before = came();
    killed.kill9();
    drop(api);
    assert!((1..film.len() as u64).contains(&before), "{before} bytes, and then the kill");
    assert!(!to.join("film.bin").exists(), "nothing half-written is where it will be");
    let again = Process::start(&beto, &get);
    let api = Api::at(&beto);
    let mut kept = 0;
    let seen = wait_until(Duration::from_secs(20), || {
        kept = api.transfers().first().map_or(0, |transfer| transfer.bytes);
        kept > 0
    });
    sending.process.signal("CONT");
    assert!(seen, "{before} bytes had come, and it begins from zero");
    assert!(kept >= before / 2, "{before} bytes had come, and {kept} are left");
    let output = again.finish(CONVERGE);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert!(std::fs::read(to.join("film.bin")).expect("written") == film);
    sending.stop();
}

#[test]
fn what_cannot_be_sent_or_got_keeps_its_code() {
    let [ana, work] = folders();
    std::fs::write(work.join("notes.txt"), "notes").expect("written");
    let run = |args: &[&str]| ayni_in(&work, &ana, args, b"");
    assert!(run(&["send", "notes.txt", "no.txt"]).fails(3).contains("no.txt"));
    run(&["send", "-", "notes.txt"]).fails(2);
    run(&["send", "notes.txt", "--qr", "--json"]).fails(2);
    run(&["get", "nonsense"]).fails(2);
    run(&["get", "blobabc"]).fails(2);
    run(&["get", "blobabc", "-o", "-", "--json"]).fails(2);
    run(&["get", "blobabc", "-o", "-", "--rename"]).fails(2);
    let sending = Sending::start(&ana, &work, &["notes.txt"]);
    // Its own ticket, a folder that cannot be made, and one that is a file.
    run(&["get", sending.ticket()]).fails(2);
    let [beto] = folders();
    let get = |to: &str| ayni_in(&work, &beto, &["get", sending.ticket(), "-o", to], b"");
    get("a/b/c").fails(3);
    get("notes.txt").fails(4);
    sending.stop();
    // The own keys are not sent by a slip.
    let data = ana.to_str().expect("a plain path");
    assert!(run(&["send", data]).fails(4).contains("keys"));
    assert!(shared(&ana).is_empty());
}

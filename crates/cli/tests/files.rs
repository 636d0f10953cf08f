//! Pictures and files by the binary: sent, shown, fetched, and what scripts rely on.

mod support;

use std::path::Path;

use serde_json::Value;
use support::png::png;
use support::talk::{CONVERGE, folders, room_of};
use support::{DEADLINE, Node, Output, Process, TempFolder, ayni, command, wait_until};

/// Runs a command in a working folder.
#[track_caller]
fn ayni_in(work: &Path, data: impl AsRef<Path>, args: &[&str]) -> Output {
    let mut command = command(data);
    command.args(args).current_dir(work);
    Process::spawn(command).finish(DEADLINE)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}"))
}

/// Two nodes in one room, and a folder to work in.
struct Pair {
    ana: Option<Node>,
    beto: Node,
    work: TempFolder,
    homes: [TempFolder; 2],
}

impl Pair {
    #[track_caller]
    fn new() -> Self {
        let homes = folders();
        let (ana, beto) = (Node::up(&homes[0]), Node::up(&homes[1]));
        ana.ayni(&["name", "Ana"]).ok();
        room_of(&ana, &[&beto]);
        Self { ana: Some(ana), beto, work: TempFolder::new(), homes }
    }

    /// Lets Ana attach a file, and waits until Beto has heard of it. Returns the event's id.
    #[track_caller]
    fn sent(&self, name: &str, bytes: &[u8], more: &[&str]) -> String {
        std::fs::write(self.work.join(name), bytes).expect("written");
        let args = [&["attach", "family", name, "--json"], more].concat();
        let attached = ayni_in(&self.work, self.ana().folder(), &args).one();
        let event = text(&attached, "event").to_owned();
        let heard = || listed(&self.beto).iter().any(|file| file["event"] == event.as_str());
        assert!(wait_until(CONVERGE, heard), "it did not arrive");
        event
    }

    fn ana(&self) -> &Node {
        self.ana.as_ref().expect("she runs")
    }

    /// Stops Ana's node; returns her data folder.
    #[track_caller]
    fn stop_ana(&mut self) -> &Path {
        self.ana.take().expect("she runs").stop();
        &self.homes[0]
    }

    /// Runs a command of Beto in the working folder.
    #[track_caller]
    fn beto(&self, args: &[&str]) -> Output {
        ayni_in(&self.work, self.beto.folder(), args)
    }
}

#[track_caller]
fn listed(node: &Node) -> Vec<Value> {
    ayni(node.folder(), &["files", "family", "--json"]).json()
}

#[track_caller]
fn here(node: &Node, event: &str) -> String {
    let files = listed(node);
    let file = files.iter().find(|file| file["event"] == event);
    file.map(|file| text(file, "here").to_owned()).unwrap_or_default()
}

#[test]
fn a_file_goes_from_one_node_to_another() {
    let pair = Pair::new();
    let bytes: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    let event = pair.sent("notes.bin", &bytes, &["--text", "all of it"]);
    assert_eq!(here(&pair.beto, &event), "none", "it is fetched when it is asked for");

    let into = pair.work.join("into");
    std::fs::create_dir(&into).expect("made");
    let fetched = pair.beto(&["fetch", "family", &event[..12], "-o", "into", "--json"]).one();
    let place = into.join("notes.bin");
    assert_eq!(Some(text(&fetched, "path")), place.to_str());
    assert_eq!(std::fs::read(&place).expect("written"), bytes);
    assert_eq!(
        (here(&pair.beto, &event), here(pair.ana(), &event)),
        ("whole".into(), "whole".into())
    );
    let both = || listed(pair.ana()).iter().all(|file| file["held_by"] == 2);
    assert!(wait_until(CONVERGE, both), "{:?}", listed(pair.ana()));

    // A file that does not exist yet is a name; the default is the working folder.
    let fetched = pair.beto(&["fetch", "family", &event, "--output", "other.bin"]).ok();
    assert_eq!(Some(fetched.as_str()), pair.work.join("other.bin").to_str());
    assert_eq!(std::fs::read(pair.work.join("other.bin")).expect("written"), bytes);
    let elsewhere = TempFolder::new();
    ayni_in(&elsewhere, pair.beto.folder(), &["fetch", "family", &event]).ok();
    assert_eq!(std::fs::read(elsewhere.join("notes.bin")).expect("written"), bytes);

    let log = pair.beto(&["log", "family"]).ok();
    let expected = format!("Ana: [{}] file notes.bin (12.0 MB): all of it", &event[..16]);
    assert!(log.ends_with(&expected), "{log}");
    let line = pair.beto(&["log", "family", "--json"]).one();
    assert_eq!((&line["kind"], &line["text"]), (&"attachment".into(), &"all of it".into()));
    assert_eq!(line["attachment"]["name"], "notes.bin");
    assert_eq!(line["attachment"]["size"], bytes.len());
}

#[test]
fn a_folder_keeps_its_paths() {
    let pair = Pair::new();
    let folder = pair.work.join("holiday");
    std::fs::create_dir_all(folder.join("a/b")).expect("made");
    std::fs::write(folder.join("one.txt"), "one").expect("written");
    std::fs::write(folder.join("a/b/two.txt"), "two").expect("written");
    let sent =
        ayni_in(&pair.work, pair.ana().folder(), &["attach", "family", "holiday", "--json"]).one();
    assert_eq!(sent["size"], 6);
    let event = text(&sent, "event").to_owned();
    assert!(wait_until(CONVERGE, || !listed(&pair.beto).is_empty()));
    pair.beto(&["fetch", "family", &event, "-o", "copy"]).ok();
    let read = |path: &str| std::fs::read_to_string(pair.work.join(path)).expect("written");
    assert_eq!((read("copy/one.txt"), read("copy/a/b/two.txt")), ("one".into(), "two".into()));
    let log = pair.beto(&["log", "family"]).ok();
    assert!(log.contains("folder holiday (2 files, 6 B)"), "{log}");
}

#[test]
fn what_is_there_already_stays_unless_it_is_said_what_to_do() {
    let pair = Pair::new();
    let event = pair.sent("notes.txt", b"from Ana", &[]);
    let (target, other) = (pair.work.join("target.txt"), pair.work.join("target (2).txt"));
    let fetch = |more: &[&str]| {
        std::fs::write(&target, "mine").expect("written");
        pair.beto(&[&["fetch", "family", &event, "-o", "target.txt"], more].concat())
    };
    let read = |path: &Path| std::fs::read_to_string(path).expect("there");
    let line = fetch(&[]).fails(4);
    assert!(line.contains("target.txt exists already"), "{line}");
    assert_eq!(read(&target), "mine");
    assert_eq!(fetch(&["--skip"]).ok(), target.to_str().expect("a plain path"));
    assert_ne!(fetch(&["--skip", "--json"]).one()["size"], 0, "what is attached has a size");
    assert_eq!(read(&target), "mine");
    assert_eq!(fetch(&["--rename"]).ok(), other.to_str().expect("a plain path"));
    assert_eq!((read(&target), read(&other)), ("mine".into(), "from Ana".into()));
    fetch(&["--overwrite"]).ok();
    assert_eq!(read(&target), "from Ana");
    pair.beto(&["fetch", "family", &event, "-o", "missing/target.txt"]).fails(3);
    pair.beto(&["fetch", "family", &event, "-o", "missing/"]).fails(3);
    let left: Vec<_> = std::fs::read_dir(&pair.work).expect("readable").collect();
    assert_eq!(left.len(), 3, "nothing half-written is left behind: {left:?}");
}

#[test]
fn what_appears_meanwhile_stays_as_well() {
    let mut pair = Pair::new();
    let event = pair.sent("notes.txt", b"from Ana", &[]);
    let home = pair.stop_ana().to_owned();
    let target = pair.work.join("target.txt");
    let to = target.to_str().expect("a plain path").to_owned();
    let fetch =
        |beto: &Node| Process::start(beto.folder(), &["fetch", "family", &event, "-o", &to]);
    let waiting = fetch(&pair.beto);
    let begun = || !pair.beto.ayni(&["transfers", "--json"]).json().is_empty();
    assert!(wait_until(DEADLINE, begun));
    std::fs::write(&target, "mine").expect("written");
    let _ana = Node::up(home);
    let line = waiting.finish(CONVERGE).fails(4);
    assert!(line.contains("target.txt exists already"), "{line}");
    assert_eq!(std::fs::read_to_string(&target).expect("there"), "mine");
    // Asked again, it is tried again: the old failure is no answer.
    std::fs::remove_file(&target).expect("there");
    let again = fetch(&pair.beto).finish(CONVERGE);
    assert_eq!((again.code, again.stderr.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(&target).expect("written"), "from Ana");
}

#[test]
fn several_are_sent_in_one_go_and_a_slip_sends_none() {
    let (data, work) = (TempFolder::new(), TempFolder::new());
    ayni(&data, &["room", "create", "family"]).ok();
    for name in ["one.txt", "two.txt"] {
        std::fs::write(work.join(name), name).expect("written");
    }
    let slip = ayni_in(&work, &data, &["attach", "family", "one.txt", "too.txt"]).fails(3);
    assert!(slip.contains("too.txt"), "{slip}");
    assert!(ayni(&data, &["files", "family", "--json"]).json().is_empty());
    let args = ["attach", "family", "one.txt", "two.txt", "--text", "both", "--json"];
    let sent = ayni_in(&work, &data, &args).json();
    assert_eq!(sent.len(), 2);
    let log = ayni(&data, &["log", "family", "--json"]).json();
    let said: Vec<_> = log.iter().map(|line| text(line, "text")).collect();
    assert_eq!(said, ["both", ""], "the caption is said once");
    let files = ayni(&data, &["files", "family", "--json"]).json();
    let names: Vec<_> = files.iter().map(|file| text(file, "name")).collect();
    assert_eq!(names, ["one.txt", "two.txt"], "oldest first");
    let newest = ayni(&data, &["files", "family", "--limit", "1", "--json"]).one();
    assert_eq!(newest["name"], "two.txt");
    let found = || ayni(&data, &["search", "both"]).ok().contains("file one.txt (7 B): both");
    assert!(wait_until(DEADLINE, found), "{}", ayni(&data, &["search", "both"]).ok());
}

#[test]
fn what_is_attached_without_a_node_arrives_with_the_next_one() {
    let mut pair = Pair::new();
    let home = pair.stop_ana().to_owned();
    std::fs::write(pair.work.join("notes.txt"), "later").expect("written");
    let sent = ayni_in(&pair.work, &home, &["attach", "family", "notes.txt", "--json"]).one();
    let event = text(&sent, "event").to_owned();
    assert_eq!(ayni(&home, &["files", "family", "--json"]).one()["here"], "whole");
    let _ana = Node::up(&home);
    assert!(wait_until(CONVERGE, || !listed(&pair.beto).is_empty()));
    // And fetched without one: the command is the node for as long as it takes.
    let beto = pair.beto.folder().to_owned();
    pair.beto.stop();
    ayni_in(&pair.work, &beto, &["fetch", "family", &event, "-o", "got.txt"]).ok();
    assert_eq!(std::fs::read_to_string(pair.work.join("got.txt")).expect("written"), "later");
}

#[test]
fn pictures_lose_what_they_tell_of_place_and_time_or_are_refused() {
    let (data, work) = (TempFolder::new(), TempFolder::new());
    ayni(&data, &["room", "create", "family"]).ok();
    let picture = png(64, 1, "a secret place");
    std::fs::write(work.join("beach.png"), &picture).expect("written");
    let tells = |bytes: &[u8]| bytes.windows(14).any(|window| window == b"a secret place");
    let sent = |more: &[&str]| {
        let args = [&["attach", "family", "beach.png", "--json"], more].concat();
        let sent = ayni_in(&work, &data, &args).one();
        let event = text(&sent, "event").to_owned();
        ayni_in(&work, &data, &["fetch", "family", &event, "-o", "got.png", "--overwrite"]).ok();
        std::fs::read(work.join("got.png")).expect("written")
    };
    assert!(tells(&picture) && !tells(&sent(&[])));
    assert!(tells(&sent(&["--keep-metadata"])));
    let log = ayni(&data, &["log", "family"]).ok();
    assert_eq!(log.matches("picture beach.png (12.").count(), 2, "{log}");

    std::fs::write(work.join("broken.png"), &picture[..100]).expect("written");
    let line = ayni_in(&work, &data, &["attach", "family", "broken.png"]).fails(4);
    assert!(line.contains("--keep-metadata"), "{line}");
    ayni_in(&work, &data, &["attach", "family", "broken.png", "--keep-metadata"]).ok();

    let pictures =
        |args: &[&str]| ayni(&data, &[&["log", "family", "--json"], args].concat()).json();
    assert!(pictures(&[]).iter().all(|line| line["attachment"]["thumbnail"].is_null()));
    let asked = pictures(&["--thumbnails"]);
    let jpeg = data_encoding::BASE64.decode(text(&asked[0]["attachment"], "thumbnail").as_bytes());
    assert!(jpeg.expect("base64").starts_with(b"\xff\xd8"), "a JPEG");
    ayni(&data, &["log", "family", "--thumbnails"]).fails(2);
}

#[test]
fn nobody_sends_the_own_keys_by_a_slip() {
    let home = TempFolder::new();
    let data = home.join("data");
    ayni(&data, &["room", "create", "family"]).ok();
    for path in [".", "data", "data/keys/device.key", "data/token", "data/keys/../ayni.db"] {
        let line = ayni_in(&home, &data, &["attach", "family", path]).fails(4);
        assert!(line.contains("keys"), "{line}");
    }
    assert!(ayni(&data, &["files", "family", "--json"]).json().is_empty());
}

#[cfg(unix)]
#[test]
fn a_name_cannot_mislead_a_terminal() {
    let (data, work) = (TempFolder::new(), TempFolder::new());
    ayni(&data, &["room", "create", "family"]).ok();
    let hostile = "a\x1b[2J\n00:00 Beto: \u{202e}txt.exe";
    std::fs::write(work.join(hostile), "x").expect("written");
    let caption = "see \x1b]0;title\x07\n00:00 Beto: mine";
    let sent = ayni_in(&work, &data, &["attach", "family", hostile, "--text", caption]).ok();
    let event = text(&ayni(&data, &["files", "family", "--json"]).one(), "event").to_owned();
    let got = ayni_in(&work, &data, &["fetch", "family", &event]).ok();
    for args in [&["log", "family"][..], &["files", "family"], &["transfers"]] {
        let shown = ayni(&data, args).ok();
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        assert!(!shown.contains('\u{202e}'), "{shown:?}");
        assert!(shown.lines().all(|line| !line.starts_with("00:00 Beto")), "{shown}");
    }
    for shown in [&sent, &got] {
        assert!(!shown.contains(['\x1b', '\u{202e}', '\n']), "{shown:?}");
    }
    assert!(got.ends_with("a[2J00_00 Beto_ txt.exe"), "{got}");
}

#[test]
fn nobody_there_is_5_and_what_does_not_exist_is_3() {
    let mut pair = Pair::new();
    let event = pair.sent("notes.txt", b"from Ana", &[]);
    // Its files are empty: all bytes that it is said to have are here before anything is.
    std::fs::create_dir(pair.work.join("empty")).expect("made");
    std::fs::write(pair.work.join("empty").join("void.txt"), "").expect("written");
    let folder_args = ["attach", "family", "empty", "--json"];
    let empty = ayni_in(&pair.work, pair.ana().folder(), &folder_args).one();
    let empty = text(&empty, "event").to_owned();
    let heard = || listed(&pair.beto).iter().any(|file| file["event"] == empty.as_str());
    assert!(wait_until(CONVERGE, heard), "it did not arrive");
    let said = text(&pair.beto(&["say", "family", "hi", "--json"]).one(), "event").to_owned();
    for event in [said.as_str(), &said[..8], "abc", "nothing"] {
        pair.beto(&["fetch", "family", event]).fails(3);
    }
    pair.beto(&["fetch", "nowhere", &event]).fails(3);
    for what in ["pause", "resume", "cancel"] {
        pair.beto(&["transfer", what, "99"]).fails(3);
    }
    pair.stop_ana();
    let line = pair.beto.ayni(&["fetch", "family", &event, "--timeout", "1"]).fails(5);
    assert!(line.contains("nobody who has it can be reached"), "{line}");
    let transfer = pair.beto(&["transfers", "--json"]).one();
    assert_eq!((&transfer["state"], &transfer["bytes"]), (&"running".into(), &0.into()));
    assert!(line.contains(&format!("transfer cancel {}", transfer["id"])), "{line}");
    pair.beto(&["transfer", "cancel", &transfer["id"].to_string()]).ok();
    let line = pair.beto.ayni(&["fetch", "family", &empty, "--timeout", "1"]).fails(5);
    assert!(line.contains("nobody who has it can be reached"), "{line}");
}

#[test]
fn a_transfer_has_limits_of_its_own() {
    let mut pair = Pair::new();
    let event = pair.sent("notes.txt", b"from Ana", &[]);
    pair.stop_ana();
    pair.beto.ayni(&["fetch", "family", &event, "--timeout", "1"]).fails(5);
    let id = pair.beto(&["transfers", "--json"]).one()["id"].to_string();
    let limit = |more: &[&str]| pair.beto(&[&["transfer", "limit", &id][..], more].concat());
    assert_eq!(limit(&[]).ok(), "up: no limit\ndown: no limit");
    assert_eq!(limit(&["--up", "500k"]).ok(), "up: 500 kB/s\ndown: no limit");
    // What is not named stays.
    let told = limit(&["--down", "2MB", "--json"]).one();
    assert_eq!((&told["up"], &told["down"]), (&500_000.into(), &2_000_000.into()));
    let told = limit(&["--up", "none", "--json"]).one();
    assert_eq!((&told["up"], &told["down"]), (&Value::Null, &2_000_000.into()));
    pair.beto(&["transfer", "limit", "99", "--up", "5"]).fails(3);
    pair.beto(&["transfer", "limit", &id, "--up", "0"]).fails(2);
    pair.beto(&["transfer", "cancel", &id]).ok();
    pair.beto(&["transfer", "limit", &id]).fails(3);
}

#[test]
fn a_transfer_is_kept_in_the_folder_until_it_is_over() {
    let mut pair = Pair::new();
    let event = pair.sent("notes.txt", b"from Ana", &[]);
    let Pair { beto, work, homes, .. } = {
        pair.stop_ana();
        pair
    };
    beto.stop();
    let [_, home] = &homes;
    let target = work.join("got.txt");
    let fetch = ["fetch", "family", &event, "--timeout", "1", "-o"];
    ayni(home, &[&fetch[..], &[target.to_str().expect("a plain path")]].concat()).fails(5);
    let kept = ayni(home, &["transfers", "--json"]).one();
    assert_eq!((&kept["name"], &kept["bytes"]), (&"notes.txt".into(), &0.into()));
    let id = kept["id"].to_string();
    ayni(home, &["transfer", "pause", &id]).ok();
    assert_eq!(ayni(home, &["transfers", "--json"]).one()["state"], "paused");
    ayni(home, &["transfer", "resume", &id]).ok();
    assert_ne!(ayni(home, &["transfers", "--json"]).one()["state"], "paused");
    ayni(home, &["transfer", "cancel", &id]).ok();
    assert!(ayni(home, &["transfers", "--json"]).json().is_empty());
    assert!(!target.exists());
}

#[test]
fn a_transfer_is_paused_resumed_and_cancelled() {
    let mut pair = Pair::new();
    let event = pair.sent("notes.txt", b"from Ana", &[]);
    let home = pair.stop_ana().to_owned();
    let mut follow = Process::start(pair.beto.folder(), &["transfers", "--follow", "--json"]);
    let fetch = ["fetch", "family", event.as_str(), "-o", "got.txt"];
    let mut fetching = command(pair.beto.folder());
    fetching.args(fetch).current_dir(&pair.work);
    let fetching = Process::spawn(fetching);
    let first = follow.json_line(DEADLINE);
    let id = first["id"].to_string();
    let mut reach = |state: &str| while follow.json_line(DEADLINE)["state"] != state {};
    if first["state"] != "running" {
        reach("running");
    }
    assert_eq!(pair.beto(&["transfer", "pause", &id, "--json"]).one()["id"].to_string(), id);
    reach("paused");
    // It survives the command that began it, and a paused one stays so.
    assert_eq!(pair.beto(&["transfers", "--json"]).one()["state"], "paused");
    pair.beto(&["transfer", "resume", &id]).ok();
    reach("running");
    let ana = Node::up(&home);
    reach("done");
    assert_eq!(fetching.finish(CONVERGE).code, 0);
    assert_eq!(std::fs::read_to_string(pair.work.join("got.txt")).expect("written"), "from Ana");
    pair.beto(&["transfer", "cancel", &id]).fails(3);

    // Someone who waits for one that is cancelled is told.
    let event = {
        std::fs::write(pair.work.join("more.txt"), "more").expect("written");
        let args = ["attach", "family", "more.txt", "--json"];
        text(&ayni_in(&pair.work, &home, &args).one(), "event").to_owned()
    };
    assert!(wait_until(CONVERGE, || listed(&pair.beto).len() == 2));
    ana.stop();
    let waiting = Process::start(pair.beto.folder(), &["fetch", "family", &event, "-o", "/tmp"]);
    let step = loop {
        let step = follow.json_line(DEADLINE);
        if step["name"] == "more.txt" {
            break step;
        }
    };
    pair.beto(&["transfer", "cancel", &step["id"].to_string()]).ok();
    let line = waiting.finish(DEADLINE).fails(1);
    assert!(line.contains("ended the transfer"), "{line}");
    assert_eq!(follow.stop().code, 0);
}

//! A device that was copied is shut out, and everyone is told: the others, who see whose it is, and
//! whoever sits before the copy. As processes of their own.

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::talk::{CONVERGE, agreed_count, folders, room_of, say};
use support::{DEADLINE, Node, Process, TempFolder, ayni, wait_until};

/// Copies all files of a folder, and of those in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Makes a copied folder believe that it is in its old place, so that it does not ask others first.
#[track_caller]
fn forget_that_it_is_a_copy(folder: &Path) {
    let path = folder.join("config.json");
    let read = || std::fs::read_to_string(&path).expect("readable");
    assert!(!read().contains("\"unheard\""));
    ayni(folder, &["id"]).ok();
    let mut config: Value = serde_json::from_str(&read()).expect("JSON");
    let unheard = config.as_object_mut().expect("an object").remove("unheard");
    assert!(unheard.is_some(), "the copy is noticed");
    std::fs::write(path, config.to_string()).expect("written");
}

/// Ana's room with Beto and Carla, and a copy of Beto's folder, which wrote where Beto did. Beto
/// is down, and nobody has heard the copy yet.
struct Copied {
    ana: Node,
    carla: Node,
    beto_account: String,
    beto_device: String,
    room: String,
    copy: TempFolder,
    _folders: [TempFolder; 3],
}

impl Copied {
    #[track_caller]
    fn new() -> Self {
        let folders = folders();
        let [ana, beto, carla] = folders.each_ref().map(Node::up);
        for (node, name) in [(&ana, "Ana"), (&beto, "Beto"), (&carla, "Carla")] {
            node.ayni(&["name", name]).ok();
        }
        let room = room_of(&ana, &[&beto, &carla]);
        say(&folders[1], &room, "before the copy");
        agreed_count(&[&ana, &beto, &carla], &room, 1);
        let (beto_account, beto_device) = (beto.account_id().to_owned(), beto.peer_id().to_owned());
        beto.stop();
        let copied = TempFolder::new();
        copy(&folders[1], &copied);

        let beto = Node::up(&folders[1]);
        say(&folders[1], &room, "by Beto");
        agreed_count(&[&ana, &beto, &carla], &room, 2);
        beto.stop();
        forget_that_it_is_a_copy(&copied);
        say(&copied, &room, "by the copy");
        Self { ana, carla, beto_account, beto_device, room, copy: copied, _folders: folders }
    }

    /// The line about Beto in what a member lists.
    fn beto_of(&self, folder: &Path) -> Value {
        let members = ayni(folder, &["members", &self.room, "--json"]).json();
        let beto = members.into_iter().find(|it| it["account_id"] == self.beto_account.as_str());
        beto.expect("still a member")
    }

    /// Waits until a member shows that Beto's device is shut out.
    #[track_caller]
    fn shown_by(&self, folder: &Path) {
        let frozen = || self.beto_of(folder)["frozen"] == json!([self.beto_device]);
        assert!(wait_until(CONVERGE, frozen), "{}", self.beto_of(folder));
    }
}

#[test]
fn hazard_1_the_others_are_told_which_device_is_shut_out_and_what_to_do() {
    let copied = Copied::new();
    let (ana, carla) = (&copied.ana, &copied.carla);
    assert_eq!(copied.beto_of(carla.folder())["frozen"], json!([]));
    let mut plain = Process::start(carla.folder(), &["log", "family", "--follow"]);
    let mut as_json = Process::start(carla.folder(), &["log", "family", "--follow", "--json"]);
    while as_json.json_line(DEADLINE)["text"] != "by Beto" {}
    while !plain.line(DEADLINE).expect("it goes on").ends_with("by Beto") {}
    #[cfg(target_os = "linux")]
    let mut talk = {
        let talk = support::terminal::Terminal::open(carla.folder(), "chat family");
        talk.wait_for("family> ");
        talk
    };

    let copy = Node::up(&copied.copy);
    copied.shown_by(carla.folder());
    let device = &copied.beto_device[..16];
    let told = format!("device {device} of Beto is shut out of family");
    for follow in [&plain, &as_json] {
        assert!(wait_until(DEADLINE, || follow.stderr().contains(&told)), "{:?}", follow.stderr());
        assert!(follow.stderr().contains("a new data folder and a new ticket"));
    }
    #[cfg(target_os = "linux")]
    {
        talk.wait_for(&told);
        talk.enter("/members\r");
        talk.wait_for(&format!("shut out: {device} "));
        talk.enter("/quit\r");
        assert_eq!(talk.end().code, 0);
    }
    let line = carla.ayni(&["members", "family"]).ok();
    let line = line.lines().find(|line| line.contains("Beto")).expect("a line");
    assert!(line.contains(&format!("shut out: {device} (copied, or lying)")), "{line}");
    let found = carla.ayni(&["doctor", "--json"]).json();
    let tells =
        |it: &&Value| it["detail"].as_str().is_some_and(|it| it.contains(" of Beto is shut"));
    assert_eq!(found.iter().find(tells).expect("a finding")["ok"], false);
    // It goes on without that device, and what is told is no message.
    ana.ayni(&["say", "family", "after it"]).ok();
    while as_json.json_line(DEADLINE)["text"] != "after it" {}
    let ended = as_json.stop();
    assert_eq!((ended.code, ended.stderr.lines().count()), (0, 1), "told once: {}", ended.stderr);
    let told = plain.stop();
    assert_eq!(told.stderr.lines().count(), 1, "told once: {}", told.stderr);

    // What the line says to do.
    let new_beto = TempFolder::new();
    let ticket = ana.ayni(&["room", "invite", "family"]).ok();
    ayni(&new_beto, &["name", "Beto"]).ok();
    let device = Node::up(&new_beto);
    device.ayni(&["join", &ticket]).ok();
    ana.ayni(&["member", "remove", "family", &copied.beto_account, "--yes"]).ok();
    // The room's key comes in a moment, to who joined and once more because someone was removed.
    let says = || ayni(&new_beto, &["say", &copied.room, "with a new device"]).code == 0;
    assert!(wait_until(CONVERGE, says));
    let lists = |node: &Node| {
        let members = node.ayni(&["members", "family", "--json"]).json();
        let new = members.iter().any(|it| it["account_id"] == device.account_id());
        new && members.len() == 3 && members.iter().all(|it| it["frozen"] == json!([]))
    };
    for node in [ana, carla, &device] {
        assert!(wait_until(CONVERGE, || lists(node)));
    }
    let heard = || carla.ayni(&["log", "family"]).ok().contains("Beto: with a new device");
    assert!(wait_until(CONVERGE, heard));
    drop(copy);
}

#[test]
fn hazard_1_a_copied_device_says_that_it_is_shut_out() {
    let copied = Copied::new();
    let copy = Node::up(&copied.copy);
    let follow = Process::start(&copied.copy, &["log", "family", "--follow"]);
    let folder = copy.folder();
    let frozen = || ayni(folder, &["room", "show", "family", "--json"]).one()["frozen"] == true;
    assert!(wait_until(CONVERGE, frozen), "the copy hears of it");
    let own = "this device is shut out of family: it was copied";
    assert!(wait_until(DEADLINE, || follow.stderr().contains(own)), "{:?}", follow.stderr());
    assert_eq!(follow.stop().code, 0);
    for args in [
        &["log", "family"][..],
        &["log", "family", "--json"],
        &["members", "family"],
        &["room", "show", "family"],
    ] {
        let shown = copy.ayni(args);
        assert_eq!((shown.code, shown.stderr.lines().count()), (0, 1), "{args:?} {shown:?}");
        assert!(shown.stderr.contains(own) && !shown.stdout.is_empty(), "{args:?} {shown:?}");
    }
    // Its account is a member as before.
    let shown = copy.ayni(&["room", "show", "family", "--json"]).one();
    assert_eq!((&shown["standing"], &shown["role"]), (&json!("joined"), &json!("member")));
    let listed = copy.ayni(&["room", "list", "--json"]).one();
    assert_eq!((&listed["room"], &listed["frozen"]), (&json!(copied.room), &json!(true)));
    assert!(copy.ayni(&["room", "list"]).ok().contains("this device is shut out"));
    let members = copy.ayni(&["members", "family"]).ok();
    assert!(members.contains("you come back with a new data folder"), "{members}");
    let doctor = copy.ayni(&["doctor"]).ok();
    assert!(doctor.contains("✗ room family: this device is shut out"), "{doctor}");
    for args in [&["say", "family", "more"][..], &["chat", "family"], &["leave", "family"]] {
        let line = copy.ayni(args).fails(4);
        assert!(line.contains("copied") && line.contains("new data folder"), "{args:?} {line}");
    }
    // To be let in again does not help: it is the device that is shut out.
    let account = &copied.beto_account;
    copied.shown_by(copied.ana.folder());
    copied.ana.ayni(&["member", "remove", "family", account, "--yes"]).ok();
    copied.ana.ayni(&["member", "promote", "family", account, "--to", "member"]).ok();
    assert_eq!(copied.beto_of(copied.ana.folder())["frozen"], json!([copied.beto_device]));
}

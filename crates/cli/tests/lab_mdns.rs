//! Hosts in network namespaces on a bridge, which this test makes and removes: they find each other by
//! multicast DNS, with an id alone; and a room agrees again whose network fell in two. Needs root;
//! `cargo xtask lab` runs it.

mod support;

use serde_json::Value;
use support::lab::{Lab, lab};
use support::talk::{CONVERGE, size};
use support::{DEADLINE, Output, Process, TempFolder, wait_until};

/// A node on a host of the lab.
struct Host<'a> {
    lab: &'a Lab,
    number: usize,
    home: TempFolder,
    up: Option<Process>,
    peer_id: String,
}

impl<'a> Host<'a> {
    fn up(lab: &'a Lab, number: usize) -> Self {
        let home = TempFolder::new();
        let mut host = Self { lab, number, home, up: None, peer_id: String::new() };
        let mut up = Process::spawn(lab.ayni(
            number,
            &host.home,
            &["up", "--network", "lan", "--http", "127.0.0.1:0", "--no-open", "--json"],
        ));
        let ready = up.json_line(DEADLINE);
        ready["peer_id"].as_str().expect("a peer id").clone_into(&mut host.peer_id);
        host.up = Some(up);
        host
    }

    fn ayni(&self, args: &[&str]) -> Output {
        let mut process = Process::spawn(self.lab.ayni(self.number, &self.home, args));
        process.close_stdin();
        process.finish(DEADLINE)
    }

    /// Returns the texts of a room, empty as long as there is no such room.
    fn texts(&self, room: &str) -> Vec<String> {
        let log = self.ayni(&["log", room, "--limit", "1000000", "--json"]);
        if log.code == 3 {
            return Vec::new();
        }
        let text = |line: &Value| line["text"].as_str().expect("a text").to_owned();
        log.json().iter().map(text).collect()
    }

    /// Waits until a room has exactly these texts.
    #[track_caller]
    fn wait_texts(&self, room: &str, expected: &[&str]) {
        let mut seen = Vec::new();
        let same = wait_until(CONVERGE, || {
            seen = self.texts(room);
            seen == expected
        });
        assert!(same, "host {} has {seen:?} instead of {expected:?}", self.number);
    }
}

#[test]
fn an_id_alone_is_enough_on_one_network() {
    let Some(lab) = lab("id", 2) else { return };
    let (ana, ben) = (Host::up(&lab, 1), Host::up(&lab, 2));

    let reply = ana.ayni(&["request", &ben.peer_id, "ping", "hello", "--timeout", "60"]);
    assert_eq!(reply.ok(), "hello");
    // The connection may be there a moment before the announcement that it was made from is noted.
    let heard = wait_until(CONVERGE, || {
        let peers = ana.ayni(&["peers", "--json"]).json();
        let peer = peers.iter().find(|peer| peer["peer_id"] == ben.peer_id);
        peer.is_some_and(|peer| peer["path"] == "direct" && peer["lan"] == true)
    });
    assert!(heard, "Ben is a direct peer on the local network");

    let sent = ben.ayni(&["dm", &ana.peer_id, "good morning", "--json"]).one();
    assert!(sent["event"].is_string(), "{sent}");
    let rooms = ben.ayni(&["room", "list", "--json"]).one();
    let room = rooms["room"].as_str().expect("a room id");
    ana.wait_texts(room, &["good morning"]);
    ana.ayni(&["dm", &ben.peer_id, "and to you"]).ok();
    ben.wait_texts(room, &["good morning", "and to you"]);
}

#[test]
fn a_changed_address_is_recovered_from() {
    let Some(lab) = lab("move", 2) else { return };
    let (ana, ben) = (Host::up(&lab, 1), Host::up(&lab, 2));
    ben.ayni(&["dm", &ana.peer_id, "before"]).ok();
    let rooms = ben.ayni(&["room", "list", "--json"]).one();
    let room = rooms["room"].as_str().expect("a room id");
    ana.wait_texts(room, &["before"]);

    lab.address(2, "10.99.0.77/24").expect("the address can be changed");
    let mut expected = vec!["before".to_owned()];
    for number in 0..size("AYNI_MOVES", 2) {
        for (from, to) in [(&ana, &ben), (&ben, &ana)] {
            let text = format!("after {number} from {}", from.number);
            from.ayni(&["say", room, &text]).ok();
            expected.push(text);
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            to.wait_texts(room, &expected);
        }
        let address = format!("10.99.0.{}/24", 100 + number);
        lab.address(1, &address).expect("the address can be changed");
    }
}

#[test]
fn a_room_whose_network_falls_in_two_agrees_when_it_is_one_again() {
    let Some(lab) = lab("part", 4) else { return };
    let hosts = [1, 2, 3, 4].map(|number| Host::up(&lab, number));
    let [founder, admin, other, member] = &hosts;
    let made = founder.ayni(&["room", "create", "family", "--json"]).one();
    let room = made["room"].as_str().expect("a room id");
    let accounts = hosts.each_ref().map(|host| {
        let id = host.ayni(&["id", "--json"]).one();
        id["account_id"].as_str().expect("an account id").to_owned()
    });
    for host in &hosts[1..] {
        let ticket = founder.ayni(&["room", "invite", room]).ok();
        host.ayni(&["join", &ticket, "--wait", "50"]).ok();
    }
    for account in &accounts[1..3] {
        founder.ayni(&["member", "promote", room, account]).ok();
    }
    let show = |hosts: &[&Host<'_>], roles: [Option<&str>; 4]| {
        for host in hosts {
            let mut shown = Vec::new();
            let same = wait_until(CONVERGE, || {
                let members = host.ayni(&["members", room, "--json"]).json();
                let role = |account: &String| {
                    let found = members.iter().find(|it| it["account_id"] == account.as_str());
                    found.map(|it| it["role"].as_str().expect("a role").to_owned())
                };
                shown = accounts.iter().map(role).collect();
                shown.iter().map(Option::as_deref).eq(roles)
            });
            assert!(same, "host {} shows {shown:?} instead of {roles:?}", host.number);
        }
    };
    let (founds, may, plain) = (Some("founder"), Some("admin"), Some("member"));
    show(&[founder, admin, other, member], [founds, may, may, plain]);

    // The two admins are on different sides, each with one who hears what it does.
    for number in [3, 4] {
        lab.plug(number, 1);
    }
    admin.ayni(&["member", "remove", room, &accounts[2]]).fails(4);
    other.ayni(&["member", "remove", room, &accounts[1]]).fails(4);
    founder.ayni(&["member", "remove", room, &accounts[2]]).ok();
    admin.ayni(&["say", room, "on one side"]).ok();
    show(&[founder, admin], [founds, may, None, plain]);
    founder.wait_texts(room, &["on one side"]);
    other.ayni(&["member", "promote", room, &accounts[3]]).ok();
    show(&[other, member], [founds, may, may, may]);
    member.ayni(&["say", room, "on the other"]).ok();
    other.wait_texts(room, &["on the other"]);
    other.ayni(&["say", room, "by one who is out"]).ok();

    for number in [3, 4] {
        lab.plug(number, 0);
    }
    show(&[founder, admin, member], [founds, may, None, plain]);
    show(&[other], [founds, may, None, plain]);
    for host in [founder, admin, member] {
        host.wait_texts(room, &["on one side", "on the other"]);
    }
    other.ayni(&["say", room, "still here?"]).fails(4);
}

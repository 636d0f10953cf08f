//! The command line's contract between nodes: tickets, names, direct messages, services.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use support::{DEADLINE, Node, Output, Process, TempFolder, ayni, wait_until};

/// Two nodes in one room, `Ana` its founder.
struct Pair {
    ana: Node,
    beto: Node,
    room: String,
    _folders: [TempFolder; 2],
}

impl Pair {
    #[track_caller]
    fn new() -> Self {
        let folders = [TempFolder::new(), TempFolder::new()];
        let (ana, beto) = (Node::up(&folders[0]), Node::up(&folders[1]));
        ana.ayni(&["name", "Ana"]).ok();
        beto.ayni(&["name", "Beto"]).ok();
        let made = ana.ayni(&["room", "create", "family", "--json"]).one();
        let room = made["room"].as_str().expect("an id").to_owned();
        let ticket = ana.ayni(&["room", "invite", "family"]).ok();
        let joined = beto.ayni(&["join", &ticket, "--json"]).one();
        assert_eq!(joined["room"], room.as_str());
        assert_eq!(joined["name"], "family");
        Self { ana, beto, room, _folders: folders }
    }
}

#[track_caller]
fn texts(output: Output) -> Vec<String> {
    let lines = output.json();
    lines.iter().map(|line| line["text"].as_str().expect("a text").to_owned()).collect()
}

/// Starts to provide on a node and waits until it can be called.
#[track_caller]
fn provide(node: &Node, args: &[&str]) -> Process {
    let args = [&["provide", "--json"], args].concat();
    let mut process = Process::start(node.folder(), &args);
    assert_eq!(process.json_line(DEADLINE)["ready"], true);
    process
}

// Tickets

#[test]
fn joining_again_is_0() {
    let pair = Pair::new();
    let ticket = pair.ana.ayni(&["room", "invite", "family"]).ok();
    let again = pair.beto.ayni(&["join", &ticket, "--json"]).one();
    assert_eq!(again["room"], pair.room.as_str());
    let own = pair.ana.ayni(&["join", &ticket, "--json"]).one();
    assert_eq!(own["room"], pair.room.as_str(), "the founder is in it as well");
}

#[test]
fn a_ticket_that_is_used_up_is_4() {
    let pair = Pair::new();
    let once = pair.ana.ayni(&["room", "invite", "family", "--uses", "1"]).ok();
    let (first, second) = (TempFolder::new(), TempFolder::new());
    ayni(&first, &["join", &once]).ok();
    ayni(&second, &["join", &once]).fails(4);
}

#[test]
fn a_ticket_that_is_expired_is_4() {
    let pair = Pair::new();
    let short = pair.ana.ayni(&["room", "invite", "family", "--expires", "1s"]).ok();
    let late = TempFolder::new();
    // It may still be good for the first moment; a newcomer of its own each time.
    assert!(wait_until(DEADLINE, || {
        let newcomer = TempFolder::new();
        ayni(&newcomer, &["join", &short]).code == 4
    }));
    let line = ayni(&late, &["join", &short]).fails(4);
    assert!(line.contains("expired"), "{line}");
}

#[test]
fn joining_without_a_running_node_brings_the_history() {
    let pair = Pair::new();
    for number in 0..5 {
        pair.ana.ayni(&["say", "family", &number.to_string()]).ok();
    }
    let ticket = pair.beto.ayni(&["room", "invite", "family"]).ok();
    let guest = TempFolder::new();
    ayni(&guest, &["join", &ticket]).ok();
    assert_eq!(texts(ayni(&guest, &["log", "family", "--json"])), ["0", "1", "2", "3", "4"]);
    let members = ayni(&guest, &["members", "family", "--json"]).json();
    assert_eq!(members.len(), 3);
}

// Messages

#[test]
fn what_is_said_offline_is_delivered_at_the_next_start() {
    let pair = Pair::new();
    let folder = pair.beto.folder().to_owned();
    pair.beto.stop();
    ayni(&folder, &["say", "family", "from afar"]).ok();
    assert_eq!(pair.ana.ayni(&["log", "family", "--json"]).ok(), "");
    let _beto = Node::up(&folder);
    let arrived = || texts(pair.ana.ayni(&["log", "family", "--json"])) == ["from afar"];
    assert!(wait_until(DEADLINE, arrived));
    let unread = || pair.ana.ayni(&["room", "list", "--json"]).one()["unread"].clone();
    assert_eq!(unread(), 0, "the log counts as reading");
}

#[test]
fn a_direct_message_finds_its_person_by_name_and_id() {
    let pair = Pair::new();
    let who = [pair.beto.account_id(), pair.beto.peer_id(), "Beto"];
    let rooms: Vec<_> = who
        .iter()
        .map(|who| pair.ana.ayni(&["dm", who, "psst", "--json"]).one()["room"].clone())
        .collect();
    assert!(rooms.iter().all(|room| *room == rooms[0]), "one room for one person: {rooms:?}");
    let room = rooms[0].as_str().expect("an id");
    let arrived = || {
        let log = pair.beto.ayni(&["log", room, "--json"]);
        log.code == 0 && texts(log) == ["psst"; 3]
    };
    assert!(wait_until(DEADLINE, arrived));
    let listed = pair.beto.ayni(&["room", "list", "--json"]).json();
    let direct = listed.iter().find(|listed| listed["room"] == room).expect("listed");
    assert_eq!(direct["name"], "Ana", "a direct room has the other's name");
}

#[test]
fn a_direct_message_to_someone_known_needs_no_network() {
    let pair = Pair::new();
    let folder = pair.ana.folder().to_owned();
    pair.ana.stop();
    ayni(&folder, &["dm", "Beto", "for later"]).ok();
    let _ana = Node::up(&folder);
    let arrived = || {
        let log = pair.beto.ayni(&["log", "Ana", "--json"]);
        log.code == 0 && texts(log) == ["for later"]
    };
    assert!(wait_until(DEADLINE, arrived));
}

#[test]
fn peers_and_members_show_who_is_there() {
    let pair = Pair::new();
    let peers = pair.ana.ayni(&["peers", "--json"]).json();
    let beto = peers.iter().find(|peer| peer["peer_id"] == pair.beto.peer_id()).expect("known");
    assert_eq!(beto["path"], "direct");
    assert!(beto["rtt_ms"].as_f64().expect("measured") >= 0.0);
    let named = || {
        let members = pair.ana.ayni(&["members", "family", "--json"]).json();
        members.iter().any(|member| member["name"] == "Beto" && member["online"] == true)
    };
    assert!(wait_until(DEADLINE, named));
    let shown = pair.ana.ayni(&["members", "family"]).ok();
    assert!(shown.contains("(you, founder") && shown.contains("Beto  (online)"), "{shown}");
    for findings in [pair.ana.ayni(&["doctor"]).ok(), pair.ana.ayni(&["status"]).ok()] {
        assert!(findings.lines().count() > 2, "{findings}");
    }
}

#[test]
fn following_shows_what_others_say() {
    let pair = Pair::new();
    let mut follow = Process::start(pair.beto.folder(), &["log", "family", "--follow", "--json"]);
    let input = (0..100).fold(String::new(), |all, number| format!("{all}{number}\n"));
    support::ayni_stdin(pair.ana.folder(), &["chat", "family"], input.as_bytes()).ok();
    let mut seen: Vec<u32> = (0..100)
        .map(|_| {
            let line = follow.json_line(DEADLINE);
            line["text"].as_str().expect("a text").parse().expect("a number")
        })
        .collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..100), "each exactly once");
    assert_eq!(follow.stop().code, 0);
}

// Services

#[test]
fn a_service_is_refused_to_everyone_unless_allowed() {
    let pair = Pair::new();
    let _private = provide(&pair.ana, &["private", "--", "cat"]);
    let ana = pair.ana.peer_id();
    let refused = pair.beto.ayni(&["request", ana, "private", "hi"]).fails(4);
    let missing = pair.beto.ayni(&["request", ana, "missing", "hi"]).fails(4);
    assert_eq!(refused.replace("private", "missing"), missing, "both sound the same");
    let offered = pair.beto.ayni(&["services", ana, "--json"]).json();
    assert!(offered.iter().all(|service| service["name"] != "private/1"), "{offered:?}");
}

#[test]
fn a_program_answers_for_those_who_may_call() {
    let pair = Pair::new();
    let beto = pair.beto.peer_id();
    let script = "cat; printf %s:%s $AYNI_CALLER $AYNI_CALLER_ACCOUNT";
    let rules = [format!("room:{}", pair.room), beto.to_owned(), "anyone".to_owned()];
    for (number, rule) in rules.iter().enumerate() {
        let name = format!("who{number}");
        let provided = provide(&pair.ana, &[&name, "--allow", rule, "--", "sh", "-c", script]);
        let called = || pair.beto.ayni(&["request", pair.ana.peer_id(), &name, "it is "]);
        let reply = called();
        assert_eq!(reply.stdout, format!("it is {beto}:{}", pair.beto.account_id()), "{rule}");
        assert_eq!(provided.stop().code, 0);
        called().fails(4);
    }
}

#[test]
fn requests_are_bytes() {
    let pair = Pair::new();
    let _echo = provide(&pair.ana, &["echo", "--allow", "anyone", "--", "cat"]);
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let args = ["request", pair.ana.peer_id(), "echo", "-"];
    let reply = support::ayni_stdin(pair.beto.folder(), &args, &bytes);
    assert_eq!((reply.code, reply.raw == bytes), (0, true), "{}", reply.stderr);
    let nothing = pair.beto.ayni(&["request", pair.ana.peer_id(), "echo"]);
    assert_eq!((nothing.code, nothing.raw.len()), (0, 0));
    let json = pair.beto.ayni(&["request", pair.ana.peer_id(), "echo", "hi", "--json"]).one();
    assert_eq!((&json["text"], &json["base64"]), (&"hi".into(), &"aGk=".into()));
}

#[test]
fn limits_and_failures_of_a_service_are_told() {
    let pair = Pair::new();
    let ana = pair.ana.peer_id();
    let fail = "echo the shelf is empty >&2; exit 7";
    let _fail = provide(&pair.ana, &["fail", "--allow", "anyone", "--", "sh", "-c", fail]);
    let told = pair.beto.ayni(&["request", ana, "fail"]).fails(1);
    assert!(told.contains("the shelf is empty"), "{told}");

    let small = ["small", "--allow", "anyone", "--max-request", "10", "--max-reply", "10"];
    let _small = provide(&pair.ana, &[&small[..], &["--", "sh", "-c", "cat; cat"]].concat());
    assert_eq!(pair.beto.ayni(&["request", ana, "small", "0123456789"]).code, 0);
    assert_ne!(pair.beto.ayni(&["request", ana, "small", "0123456789a"]).code, 0);
    let big = ["big", "--allow", "anyone", "--max-reply", "10", "--", "echo", "0123456789"];
    let _big = provide(&pair.ana, &big);
    assert_ne!(pair.beto.ayni(&["request", ana, "big"]).code, 0);

    let slow = ["slow", "--allow", "anyone", "--timeout", "1", "--", "sleep", "600"];
    let _slow = provide(&pair.ana, &slow);
    assert_ne!(pair.beto.ayni(&["request", ana, "slow"]).code, 0);
    let patient = ["patient", "--allow", "anyone", "--", "sleep", "600"];
    let _patient = provide(&pair.ana, &patient);
    pair.beto.ayni(&["request", ana, "patient", "--timeout", "1"]).fails(5);
}

#[test]
fn a_program_ends_with_its_caller() {
    let pair = Pair::new();
    let mark = pair.ana.folder().join("mark");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", mark.display());
    let _sleep = provide(&pair.ana, &["sleep", "--allow", "anyone", "--", "sh", "-c", &script]);
    let request = ["request", pair.ana.peer_id(), "sleep", "--timeout", "600"];
    let calling = Process::start(pair.beto.folder(), &request);
    assert!(wait_until(DEADLINE, || mark.exists()), "it was started");
    let pid = std::fs::read_to_string(&mark).expect("readable");
    calling.stop().fails(1);
    // A process that ended may still be listed, as a zombie, until its parent looks.
    let stat = format!("/proc/{}/stat", pid.trim());
    let runs = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(wait_until(DEADLINE, || !runs()), "it was killed");
}

#[test]
fn a_service_can_be_provided_and_called_without_running_nodes() {
    let pair = Pair::new();
    let folders = [pair.ana.folder().to_owned(), pair.beto.folder().to_owned()];
    let peer = pair.ana.peer_id().to_owned();
    pair.ana.stop();
    pair.beto.stop();
    let args = ["provide", "echo", "--json", "--allow", "anyone", "--", "cat"];
    let mut provided = Process::start(&folders[0], &args);
    provided.json_line(DEADLINE);
    let reply = ayni(&folders[1], &["request", &peer, "echo", "hello"]);
    assert_eq!((reply.code, reply.stdout.as_str()), (0, "hello"), "{}", reply.stderr);
    ayni(&folders[0], &["say", "family", "the folder is served meanwhile"]).ok();
    assert_eq!(provided.stop().code, 0);
    ayni(&folders[1], &["request", &peer, "echo", "hello", "--timeout", "2"]).fails(5);
}

/// A server that answers in upper case when its client has said everything.
fn shouter() -> String {
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = server.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for client in server.incoming().map_while(Result::ok) {
            let shouted = (|mut client: TcpStream| {
                let mut asked = String::new();
                client.read_to_string(&mut asked)?;
                client.write_all(asked.to_uppercase().as_bytes())
            })(client);
            drop(shouted); // who went away gets no answer
        }
    });
    target
}

#[test]
fn a_port_leads_to_a_peers_service() {
    let pair = Pair::new();
    let target = shouter();
    let room = format!("room:{}", pair.room);
    let _piped = provide(&pair.ana, &["shout", "--allow", &room, "--tcp", &target]);
    let args = ["forward", pair.ana.peer_id(), "shout", "0", "--json"];
    let mut forwarded = Process::start(pair.beto.folder(), &args);
    let listen = forwarded.json_line(DEADLINE)["listen"].as_str().expect("an address").to_owned();
    for word in ["hello", "again"] {
        let mut stream = TcpStream::connect(&listen).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        stream.write_all(word.as_bytes()).expect("writable");
        stream.shutdown(Shutdown::Write).expect("half closed");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply");
        assert_eq!(reply, word.to_uppercase());
    }
    assert_eq!(forwarded.stop().code, 0);
    assert!(TcpStream::connect(&listen).is_err(), "the port is closed");
}

#[test]
fn a_taken_name_and_a_taken_port_are_told() {
    let pair = Pair::new();
    let target = shouter();
    let _echo = provide(&pair.ana, &["echo", "--allow", "anyone", "--tcp", &target]);
    pair.ana.ayni(&["provide", "echo", "--", "cat"]).fails(4);
    pair.ana.ayni(&["provide", "No Name", "--", "cat"]).fails(2);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let line = pair.beto.ayni(&["forward", pair.ana.peer_id(), "echo", &port]).fails(1);
    assert!(line.contains(&port), "{line}");
}

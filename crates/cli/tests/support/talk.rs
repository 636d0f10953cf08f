//! Conversations of several nodes: who said what, and whether everybody has the same.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::api::Api;
use super::{Node, TempFolder, ayni, wait_until};

/// Longest time until nodes that can reach each other have the same log. Reconnecting backs off, so
/// this is far beyond what an idle machine needs.
pub const CONVERGE: Duration = Duration::from_mins(2);
/// Longer than any log here: `log` has no maximum.
const ALL: &str = "1000000";

/// One message as `ayni log --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The event's id.
    pub event: String,
    /// The peer id of the device that wrote it.
    pub device: String,
    /// The account id of its author.
    pub author: String,
    /// The author's time, in Unix milliseconds.
    pub time: u64,
    /// The text.
    pub text: String,
}

/// A message that a node confirmed as durable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acked {
    /// Its event's id.
    pub event: String,
    /// Its text.
    pub text: String,
}

/// Returns a size from the environment, so that one test serves as a quick check and as a soak.
#[track_caller]
pub fn size(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")),
        Err(_) => default,
    }
}

/// Returns all messages of a room that a folder holds, in the order shown.
#[track_caller]
pub fn log(folder: impl AsRef<std::path::Path>, room: &str) -> Vec<Line> {
    let lines = ayni(folder, &["log", room, "--limit", ALL, "--json"]).json();
    lines
        .iter()
        .map(|line| {
            let text = |key: &str| {
                line[key].as_str().unwrap_or_else(|| panic!("{key} in {line}")).to_owned()
            };
            assert_eq!(line["kind"], "message", "only what people said: {line}");
            Line {
                event: text("event"),
                device: text("device"),
                author: text("author"),
                time: line["time"].as_u64().unwrap_or_else(|| panic!("time in {line}")),
                text: text("text"),
            }
        })
        .collect()
}

/// Returns the texts of a log.
pub fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

/// Waits until all nodes have the same log, and that one is `enough`. Returns it.
///
/// # Panics
/// When they do not get there in time; it says what each of them has.
#[track_caller]
pub fn agreed(nodes: &[&Node], room: &str, enough: impl Fn(&[Line]) -> bool) -> Vec<Line> {
    let mut logs: Vec<Vec<Line>> = Vec::new();
    let done = wait_until(CONVERGE, || {
        logs = nodes.iter().map(|node| log(node.folder(), room)).collect();
        logs.windows(2).all(|pair| pair[0] == pair[1]) && logs.iter().all(|log| enough(log))
    });
    assert!(done, "no agreement within {CONVERGE:?}:\n{}", differences(&logs));
    let agreed = logs.pop().expect("at least one node");
    assert_unique(&agreed);
    agreed
}

/// Waits until all nodes have the same log of `count` messages. Returns it.
#[track_caller]
pub fn agreed_count(nodes: &[&Node], room: &str, count: usize) -> Vec<Line> {
    let lines = agreed(nodes, room, |log| log.len() >= count);
    assert_eq!(lines.len(), count, "more messages than were said");
    lines
}

/// Asserts that no event and no text is there twice (every test says each text once).
#[track_caller]
pub fn assert_unique(lines: &[Line]) {
    let events: BTreeSet<_> = lines.iter().map(|line| &line.event).collect();
    assert_eq!(events.len(), lines.len(), "an event is listed twice");
    let texts: BTreeSet<_> = lines.iter().map(|line| (&line.device, &line.text)).collect();
    assert_eq!(texts.len(), lines.len(), "a text said once is there twice");
}

/// Asserts that everything confirmed is there, each exactly once and with its text.
#[track_caller]
pub fn assert_holds(lines: &[Line], acked: &[Acked]) {
    assert_unique(lines);
    let held: BTreeSet<Acked> = lines
        .iter()
        .map(|line| Acked { event: line.event.clone(), text: line.text.clone() })
        .collect();
    let lost: Vec<_> = acked.iter().filter(|acked| !held.contains(acked)).collect();
    assert!(lost.is_empty(), "{} confirmed messages are lost, first {:?}", lost.len(), lost[0]);
}

/// Founds a room on `host` and lets all `others` join it, each with a ticket of its own. Returns the
/// room's id.
#[track_caller]
pub fn room_of(host: &Node, others: &[&Node]) -> String {
    let made = host.ayni(&["room", "create", "family", "--json"]).one();
    let room = made["room"].as_str().expect("a room id").to_owned();
    for other in others {
        join(host, other, &room);
    }
    room
}

/// Lets `guest` join `room` with a ticket of `host`.
#[track_caller]
pub fn join(host: &Node, guest: &Node, room: &str) {
    let ticket = host.ayni(&["room", "invite", room]).ok();
    let joined = guest.ayni(&["join", &ticket, "--wait", "50", "--json"]).one();
    assert_eq!(joined["room"], room);
    assert_eq!(joined["name"], "family");
}

/// Says one thing through the command line and returns its confirmation.
#[track_caller]
pub fn say(folder: impl AsRef<std::path::Path>, room: &str, text: &str) -> Acked {
    let said = ayni(folder, &["say", room, text, "--json"]).one();
    let event = said["event"].as_str().unwrap_or_else(|| panic!("no event in {said}"));
    Acked { event: event.to_owned(), text: text.to_owned() }
}

/// Someone who says one thing after the other, as fast as they are confirmed.
pub struct Writer {
    acks: Receiver<Acked>,
    thread: Option<JoinHandle<()>>,
    quit: Sender<()>,
    acked: Vec<Acked>,
}

impl Writer {
    /// Starts to say `PREFIX 0`, `PREFIX 1` and so on, up to `count` things, until the node is gone
    /// or [`Self::stop`] is called.
    pub fn start(node: &Node, room: &str, prefix: &str, count: usize) -> Self {
        let api = Api::of(node);
        let (acks_sender, acks) = channel();
        let (quit, quit_receiver) = channel();
        let (room, prefix) = (room.to_owned(), prefix.to_owned());
        let thread = std::thread::spawn(move || {
            for number in 0..count {
                if quit_receiver.try_recv().is_ok() {
                    return;
                }
                let text = format!("{prefix} {number}");
                // An error is the node's death, which is what most tests are about.
                let Ok(event) = api.say(&room, &text) else { return };
                if acks_sender.send(Acked { event, text }).is_err() {
                    return;
                }
            }
        });
        Self { acks, thread: Some(thread), quit, acked: Vec::new() }
    }

    /// Waits for `count` more confirmations.
    #[track_caller]
    pub fn wait_acks(&mut self, count: usize) {
        for number in 0..count {
            let acked = self.acks.recv_timeout(CONVERGE).unwrap_or_else(|why| {
                panic!("only {number} of {count} confirmations: {why}");
            });
            self.acked.push(acked);
        }
    }

    /// Stops, and returns everything that was confirmed.
    #[track_caller]
    pub fn stop(mut self) -> Vec<Acked> {
        // Fails where the writer ended already, which is as good.
        let _ = self.quit.send(());
        let thread = self.thread.take().expect("stopped once");
        thread.join().expect("a writer does not panic");
        self.acked.extend(self.acks.try_iter());
        std::mem::take(&mut self.acked)
    }
}

/// Several folders, so that tests can name nodes by number.
pub fn folders<const N: usize>() -> [TempFolder; N] {
    std::array::from_fn(|_| TempFolder::new())
}

fn differences(logs: &[Vec<Line>]) -> String {
    let first = &logs[0];
    let described = logs.iter().enumerate().map(|(number, log)| {
        let all = 0..log.len().max(first.len());
        let differs = all.into_iter().find(|at| log.get(*at) != first.get(*at));
        let text = |log: &[Line], at: usize| log.get(at).map(|line| line.text.clone());
        let where_ = differs.map(|at| (at, text(log, at), text(first, at)));
        format!("node {number}: {} messages; differs from node 0 at {where_:?}\n", log.len())
    });
    described.collect()
}

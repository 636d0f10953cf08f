//! SIGKILL while receiving and while sending: what was confirmed is there, exactly once.

mod support;

use support::talk::{
    Acked, Writer, agreed, assert_holds, assert_unique, folders, log, room_of, say, size,
};
use support::{Node, TempFolder};

/// More than anybody can say before a round's kill.
const ENDLESS: usize = usize::MAX;

/// What the victim does when it is killed.
#[derive(Debug, Clone, Copy)]
enum Doing {
    Sending,
    Receiving,
    Both,
}

/// Two nodes, one of which is killed each round, and all that either confirmed.
struct Pair {
    homes: [TempFolder; 2],
    nodes: [Option<Node>; 2],
    room: String,
    acked: Vec<Acked>,
}

impl Pair {
    fn start() -> Self {
        let homes = folders();
        let [ana, ben] = [Node::up(&homes[0]), Node::up(&homes[1])];
        let room = room_of(&ana, &[&ben]);
        Self { homes, nodes: [Some(ana), Some(ben)], room, acked: Vec::new() }
    }

    fn node(&self, number: usize) -> &Node {
        self.nodes[number].as_ref().expect("runs between rounds")
    }

    /// One side is killed after `confirmed` messages of this round, and started again.
    fn round(&mut self, round: usize, victim: usize, doing: Doing, confirmed: usize) {
        let survivor = 1 - victim;
        let says = |number: usize| {
            let prefix = format!("{} {round}", ["ana", "ben"][number]);
            Writer::start(self.node(number), &self.room, &prefix, ENDLESS)
        };
        let mut sending = matches!(doing, Doing::Sending | Doing::Both).then(|| says(victim));
        let mut receiving = matches!(doing, Doing::Receiving | Doing::Both).then(|| says(survivor));
        for writer in [&mut sending, &mut receiving].into_iter().flatten() {
            writer.wait_acks(confirmed);
        }
        self.nodes[victim].take().expect("runs between rounds").kill9();
        let own = sending.map(Writer::stop).unwrap_or_default();
        let others = receiving.map(Writer::stop).unwrap_or_default();
        // Before it hears from anyone: its own confirmed messages are on its own disk.
        let on_disk = log(&self.homes[victim], &self.room);
        assert_holds(&on_disk, &own);
        self.acked.extend(own);
        self.acked.extend(others);
        self.nodes[victim] = Some(Node::up(&self.homes[victim]));
    }
}

#[test]
fn hazard_20_what_was_confirmed_survives_kills() {
    let kills = size("AYNI_KILLS", 6);
    let mut pair = Pair::start();
    for round in 0..kills {
        let doing = [Doing::Sending, Doing::Receiving, Doing::Both][round / 2 % 3];
        // Another moment each time: from the first message to well within the stream.
        pair.round(round, round % 2, doing, 1 + round * 7 % 23);
    }
    // Everybody can still write, and no sequence number was used twice.
    for home in &pair.homes {
        let last = say(home, &pair.room, &format!("still here: {}", home.display()));
        pair.acked.push(last);
    }
    let acked = pair.acked.clone();
    let lines = agreed(&[pair.node(0), pair.node(1)], &pair.room, |lines| {
        acked.iter().rev().take(2).all(|last| lines.iter().any(|line| line.event == last.event))
    });
    assert_holds(&lines, &pair.acked);
    eprintln!("{kills} kills, {} confirmed, {} in the log", pair.acked.len(), lines.len());
}

#[test]
fn hazard_20_both_killed_at_once_agree_afterwards() {
    let [ana_home, ben_home] = folders();
    let (ana, ben) = (Node::up(&ana_home), Node::up(&ben_home));
    let room = room_of(&ana, &[&ben]);
    let mut writers =
        [Writer::start(&ana, &room, "ana", ENDLESS), Writer::start(&ben, &room, "ben", ENDLESS)];
    for writer in &mut writers {
        writer.wait_acks(20);
    }
    ana.kill9();
    ben.kill9();
    let acked: Vec<Acked> = writers.into_iter().flat_map(Writer::stop).collect();
    let (ana, ben) = (Node::up(&ana_home), Node::up(&ben_home));
    let lines = agreed(&[&ana, &ben], &room, |lines| {
        acked.iter().all(|acked| lines.iter().any(|line| line.event == acked.event))
    });
    assert_holds(&lines, &acked);
    assert_unique(&lines);
}

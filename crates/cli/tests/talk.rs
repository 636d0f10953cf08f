//! Two people talk at once: both end up with the same conversation, whole and in one order.

mod support;

use support::Node;
use support::talk::{
    Line, Writer, agreed_count, assert_holds, folders, log, room_of, say, size, texts,
};

#[test]
fn both_talk_at_once_and_have_the_same_log() {
    let messages = size("AYNI_MESSAGES", 100);
    let [ana_home, ben_home] = folders();
    let (ana, ben) = (Node::up(&ana_home), Node::up(&ben_home));
    let room = room_of(&ana, &[&ben]);

    let mut writers =
        [Writer::start(&ana, &room, "ana", messages), Writer::start(&ben, &room, "ben", messages)];
    for writer in &mut writers {
        writer.wait_acks(messages);
    }
    let [ana_acked, ben_acked] = writers.map(Writer::stop);

    let lines = agreed_count(&[&ana, &ben], &room, 2 * messages);
    assert_holds(&lines, &ana_acked);
    assert_holds(&lines, &ben_acked);
    assert_eq!(said_by(&lines, &ana), in_order("ana", messages), "as she said it");
    assert_eq!(said_by(&lines, &ben), in_order("ben", messages), "as he said it");
    assert!(
        lines.windows(2).all(|pair| pair[0].time <= pair[1].time),
        "a timeline is in the order of time"
    );

    // What is on disk is what was shown.
    ana.stop();
    ben.stop();
    assert_eq!(log(&ana_home, &room), lines);
    assert_eq!(log(&ben_home, &room), lines);
}

#[test]
fn an_answer_stands_below_what_it_answers() {
    let [ana_home, ben_home] = folders();
    let (ana, ben) = (Node::up(&ana_home), Node::up(&ben_home));
    let room = room_of(&ana, &[&ben]);
    for round in 0..10 {
        say(&ana_home, &room, &format!("question {round}"));
        agreed_count(&[&ana, &ben], &room, 2 * round + 1);
        say(&ben_home, &room, &format!("answer {round}"));
        agreed_count(&[&ana, &ben], &room, 2 * round + 2);
    }
    let expected: Vec<String> =
        (0..10).flat_map(|n| [format!("question {n}"), format!("answer {n}")]).collect();
    assert_eq!(texts(&log(&ben_home, &room)), expected);
}

fn said_by(lines: &[Line], node: &Node) -> Vec<String> {
    let own = lines.iter().filter(|line| line.device == node.peer_id());
    own.inspect(|line| assert_eq!(line.author, node.account_id()))
        .map(|line| line.text.clone())
        .collect()
}

fn in_order(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix} {number}")).collect()
}

//! What a replica accepts, in which pieces and orders, and how it comes back from storage.

mod kit;

use ayni_core::chat::Chat;
use ayni_core::clock::Hlc;
use ayni_core::event::{CheckedRun, Event};
use ayni_core::limits::{MAX_AHEAD_MS, MAX_CHAT_DEPS, MAX_CONTROL_DEPS, MAX_RUNS_PER_LOG};
use ayni_core::log::{Frontier, Lane};
use ayni_core::room::{Control, Genesis, Reject, Room, Run};
use kit::{
    DAY, Forged, Person, START, admission, deliver, invite, offer, offer_run, replica, room_name,
    take,
};
use proptest::prelude::*;

/// A founder with so many messages, and another's replica that holds the control lane only.
fn talk(count: u64) -> (Person, Vec<Event>, Room) {
    let founder = Person::new(1);
    let (mut room, control) = founder.found();
    let said = (0..count).map(|n| founder.say(&mut room, &format!("message {n}"), START + n));
    let said = said.collect();
    let other = replica(&Person::new(2), &room, &control);
    (founder, said, other)
}

#[test]
fn hazard_10_what_depends_on_missing_control_waits_for_it() {
    let founder = Person::new(1);
    let (mut room, mut events) = founder.found();
    let (secret, control) = invite(50);
    events.push(founder.state(&mut room, &control, START + 1));
    let member = Person::new(2);
    let claim = member.claim(&room, &secret, founder.id());
    events.push(founder.state(&mut room, &admission(claim, 0), START + 2));
    let mut theirs = replica(&member, &room, &events);
    let profile = member.state(&mut theirs, &Control::Profile("Killa".into()), START + 3);

    let mut replica = Room::new(room.id(), Person::new(3).id());
    assert_eq!(offer(&mut replica, &profile), Err(Reject::MissingDeps));
    assert_eq!(offer(&mut replica, &events[1]), Err(Reject::UnknownAuthor), "nobody is known");
    take(&mut replica, &events[0]);
    assert_eq!(offer(&mut replica, &events[2]), Err(Reject::MissingDeps), "a gap in its log");
    let accepted = offer_run(&mut replica, &events[..3]).expect("from the start");
    assert_eq!(accepted.events, events[1..3], "what is new");
    assert_eq!(offer(&mut replica, &profile), Err(Reject::MissingDeps));
    let before = replica.members().clone();
    // Older state again, or part of it, reverts nothing.
    let accepted = offer_run(&mut replica, &events[..2]).expect("held");
    assert_eq!(accepted.events, vec![]);
    assert_eq!(replica.members(), &before);
    assert_eq!(deliver(&mut replica, &[profile, events[3].clone()]).len(), 1);
    assert_eq!(offer_run(&mut replica, &events).expect("the rest").events, events[4..]);
    assert_eq!(replica.members().current().count(), 2);
}

#[test]
fn the_control_lane_without_bodies_is_not_taken() {
    let (room, events) = Person::new(1).found();
    let mut raw = events[0].to_raw();
    raw.body = None;
    let withheld = Event::from_raw(raw).expect("a header alone");
    let mut replica = Room::new(room.id(), Person::new(2).id());
    assert_eq!(offer(&mut replica, &withheld), Err(Reject::MissingDeps));
}

#[test]
fn chat_comes_in_any_runs() {
    let (founder, said, mut room) = talk(10);
    let log = founder.log(Lane::Chat, 0);
    assert_eq!(offer_run(&mut room, &said[6..9]).expect("the newest first").events.len(), 3);
    assert_eq!(offer_run(&mut room, &said[1..3]).expect("apart").events.len(), 2);
    let runs = |room: &Room| room.frontier().runs(&log).map(|runs| runs.ranges().to_vec());
    assert_eq!(runs(&room), Some(vec![1..3, 6..9]));
    // One run that spans holes and held parts: only what is new is to be stored.
    let accepted = offer_run(&mut room, &said).expect("all");
    let seqs: Vec<u64> = accepted.events.iter().map(Event::seq).collect();
    assert_eq!(seqs, [0, 3, 4, 5, 9]);
    assert_eq!(runs(&room).map(|runs| runs.len()), Some(1));
    assert_eq!(offer_run(&mut room, &said[2..5]).expect("held").events, vec![]);
    let texts: Vec<_> = said.iter().filter_map(|event| room.open(event)).collect();
    assert_eq!(texts.len(), 10);
    assert_eq!(texts[3], Chat::Message("message 3".into()));
}

#[test]
fn events_of_another_room_are_refused() {
    let (_, _, mut room) = talk(0);
    let other = Genesis::group(Person::new(1).account(), [8; 32]);
    let (_, events) = {
        let founder = Person::new(1);
        let secret = ayni_core::epoch::EpochSecret::new([3; 32]);
        let (room, accepted) =
            Room::found(&other, &founder.key, &founder.cert, ("me", None), secret, START);
        (room, accepted.events)
    };
    let run = CheckedRun::new(other.id(), events.clone()).expect("a run");
    assert_eq!(room.accept(run, START), Err(Reject::OtherRoom));
    assert!(CheckedRun::new(room.id(), events).is_err());
}

#[test]
fn hazard_1_a_fork_is_refused_and_changes_nothing() {
    let (founder, _, other) = talk(0);
    let (mut device, control) = founder.found();
    let mut clone = device.clone();
    let branch: Vec<_> =
        (0..4).map(|n| founder.say(&mut device, "one branch", START + n)).collect();
    let fork: Vec<_> = (0..4).map(|n| founder.say(&mut clone, "another", START + n)).collect();
    assert_eq!(branch[0].seq(), fork[0].seq());

    let mut room = other.clone();
    let _ = offer_run(&mut room, &branch[..3]).expect("the first branch");
    let state = room.state_hash();
    assert_eq!(offer_run(&mut room, &fork[..3]), Err(Reject::Fork));
    assert_eq!(offer_run(&mut room, &fork), Err(Reject::Fork));
    assert_eq!(offer(&mut room, &fork[3]), Err(Reject::Fork), "does not follow what is held");
    assert_eq!(room.state_hash(), state);
    assert_eq!(offer(&mut room, &branch[3]).expect("goes on").events.len(), 1);

    // In the control lane as well.
    let name = |name: &str| room_name(name);
    let (mut device, mut clone) = (replica(&founder, &device, &control), clone);
    let first = founder.state(&mut device, &name("one"), START + 9);
    let second = founder.state(&mut clone, &name("two"), START + 9);
    take(&mut room, &first);
    assert_eq!(offer(&mut room, &second), Err(Reject::Fork));
    assert_eq!(room.members().room_name(), Some("one"));
}

#[test]
fn hazard_3_a_clone_seals_another_text_at_the_same_place_with_another_nonce() {
    let founder = Person::new(1);
    let (mut room, _) = founder.found();
    let mut clone = room.clone();
    // All that goes into either but the text and the randomness is the same.
    let says = |room: &mut Room, text: &str, fresh: u8| {
        let chat = Chat::message(text).expect("short");
        let said = room.author_chat(&founder.key, &chat, START + 9, &[fresh; 32]);
        said.expect("a member").events.remove(0)
    };
    let (one, other) = (says(&mut room, "one text", 1), says(&mut clone, "other one", 2));
    let place = |event: &Event| (event.log(), event.seq(), event.header().associated_data());
    assert_eq!(place(&one), place(&other));
    let [sealed, another] = [&one, &other].map(|event| event.body().expect("sealed").to_vec());
    assert_ne!(sealed[..24], another[..24], "the nonces");
    // Nor is the same stream of the cipher under both texts.
    let texts = [&one, &other].map(|event| room.open(event).expect("ours").to_bytes());
    let xor = |one: &[u8], other: &[u8]| -> Vec<u8> {
        one.iter().zip(other).map(|(a, b)| a ^ b).collect()
    };
    let shortest = texts[0].len().min(texts[1].len());
    assert_ne!(xor(&sealed[24..], &another[24..])[..shortest], xor(&texts[0], &texts[1])[..]);
}

#[test]
fn hazard_13_an_event_from_the_future_is_kept_and_pins_nothing() {
    let (founder, _, mut room) = talk(0);
    let (mut ahead, _) = founder.found();
    let now = START + DAY;
    let future = founder.say(&mut ahead, "tomorrow", now + 2 * MAX_AHEAD_MS);
    assert_eq!(room.accept(run(&room, &future), now).expect("kept").events.len(), 1);
    assert!(future.header().time.is_ahead(now), "to be shown when due");

    // The reader's own words are dated now, and do not name it.
    let (mut mine, events) = Person::new(1).found();
    let (secret, control) = invite(50);
    let mut all = events;
    all.push(founder.state(&mut mine, &control, START));
    let me = Person::new(2);
    let claim = me.claim(&mine, &secret, founder.id());
    all.push(founder.state(&mut mine, &admission(claim, 0), START));
    let late = Forged { time: now + 2 * MAX_AHEAD_MS, ..Forged::next(&mine, &founder, 0) };
    all.push(founder.forge(&mine, &Control::Profile("Inti".into()), late));
    let mut replica = replica(&me, &mine, &all);
    let _ = replica.accept(run(&replica, &future), now).expect("kept");
    let word = me.say(&mut replica, "now", now);
    assert_eq!(word.header().time, Hlc::from_millis(now));
    assert_eq!(word.header().deps, vec![]);

    // Not even after a restart.
    let mut again = Room::new(replica.id(), me.id());
    for secret in replica.secrets() {
        again.learn_secret(secret.1.clone());
    }
    again.restore_control(all.clone());
    for (log, state) in replica.logs().iter().filter(|(log, _)| log.lane == Lane::Chat) {
        let newest = if *log == future.log() { future.header().time } else { word.header().time };
        for held in state.runs() {
            again.restore_run(*log, *held, newest, now);
        }
    }
    let word = me.say(&mut again, "still now", now + 1);
    assert_eq!(word.header().time, Hlc::from_millis(now + 1));
}

fn run(room: &Room, event: &Event) -> CheckedRun {
    CheckedRun::new(room.id(), vec![event.clone()]).expect("signed")
}

#[test]
fn hazard_2_a_restored_replica_goes_on_where_it_was() {
    let founder = Person::new(1);
    let (mut room, control) = founder.found();
    let said: Vec<_> = (0..5).map(|n| founder.say(&mut room, "before", START + n)).collect();
    let mut again = Room::new(room.id(), founder.id());
    again.restore_control(control.clone());
    let log = founder.log(Lane::Chat, 0);
    let held = *room.logs().log(&log).and_then(|state| state.tip()).expect("five");
    again.restore_run(log, held, said[4].header().time, START);
    for secret in room.secrets() {
        again.learn_secret(secret.1.clone());
    }
    assert_eq!(again.state_hash(), room.state_hash());
    assert_eq!(again.members(), room.members());
    // The wall clock was set back; log and time go on all the same.
    let word = founder.say(&mut again, "after", START - DAY);
    assert_eq!((word.seq(), word.header().prev), (5, Some(said[4].id())));
    assert!(word.header().time > said[4].header().time);
    let name = founder.state(&mut again, &room_name("after"), START - DAY);
    assert_eq!((name.seq(), name.header().prev), (4, Some(control[3].id())));
    assert!(name.header().time > word.header().time);
}

#[test]
fn hazard_22_scattered_messages_are_refused_beyond_a_limit() {
    let (_, said, mut room) = talk(2 * MAX_RUNS_PER_LOG as u64 + 3);
    for event in said.iter().step_by(2).take(MAX_RUNS_PER_LOG) {
        take(&mut room, event);
    }
    let far = said.last().expect("many");
    assert_eq!(offer(&mut room, far), Err(Reject::TooScattered));
    assert_eq!(offer_run(&mut room, &said).expect("joins them").events.len(), 67);
}

#[test]
fn many_heads_are_named_over_several_events() {
    // Twenty members rename themselves at once; who comes next names the limit, and all is kept.
    let founder = Person::new(1);
    let (mut room, mut events) = founder.found();
    let (secret, control) = invite(50);
    events.push(founder.state(&mut room, &control, START));
    let people: Vec<_> = (2..22).map(Person::new).collect();
    for person in &people {
        let claim = person.claim(&room, &secret, founder.id());
        events.push(founder.state(&mut room, &admission(claim, 0), START));
    }
    let names: Vec<_> = people
        .iter()
        .map(|person| {
            let mut own = replica(person, &room, &events);
            person.state(&mut own, &Control::Profile("me".into()), START + 1)
        })
        .collect();
    assert_eq!(deliver(&mut room, &names), vec![]);
    let next = founder.state(&mut room, &room_name("all"), START + 2);
    assert_eq!(next.header().deps.len(), MAX_CONTROL_DEPS);
    let after = founder.state(&mut room, &room_name("some"), START + 3);
    assert_eq!(after.header().deps.len(), MAX_CONTROL_DEPS);
    let last = founder.state(&mut room, &room_name("rest"), START + 4);
    assert_eq!(last.header().deps.len(), 4);
}

#[test]
fn messages_name_a_few_that_their_author_saw() {
    let (founder, said, mut room) = talk(8);
    for event in &said {
        take(&mut room, event);
    }
    assert_eq!(founder.say(&mut founder.found().0, "alone", START).header().deps, vec![]);
    // The reader is no member here; its hints show in what it would author once it is one.
    let mut events = founder.found().1;
    let (mut device, _) = founder.found();
    let (secret, control) = invite(50);
    events.push(founder.state(&mut device, &control, START));
    let me = Person::new(2);
    let claim = me.claim(&device, &secret, founder.id());
    events.push(founder.state(&mut device, &admission(claim, 0), START));
    let mut mine = replica(&me, &device, &events);
    for event in &said {
        take(&mut mine, event);
    }
    let answer = me.say(&mut mine, "answer", START);
    let newest: Vec<_> = said.iter().rev().take(MAX_CHAT_DEPS).map(Event::id).collect();
    assert_eq!(answer.header().deps, newest);
    assert!(answer.header().time > said[7].header().time, "after all that it saw");
    assert_eq!(me.say(&mut mine, "more", START).header().deps, vec![], "named once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn hazard_21_any_pieces_in_any_order_give_one_state(
        pieces in proptest::collection::vec((0usize..30, 1usize..12), 1..30),
    ) {
        let (_, said, empty) = talk(30);
        let mut room = empty;
        let mut stored = std::collections::BTreeSet::new();
        let mut covered = Frontier::default();
        for (start, len) in pieces {
            let end = (start + len).min(30);
            let accepted = offer_run(&mut room, &said[start..end]).expect("no fork");
            for event in accepted.events {
                prop_assert!(stored.insert(event.id()), "stored twice");
            }
            covered.insert(said[0].log(), start as u64..end as u64);
        }
        prop_assert_eq!(stored.len() as u64, covered.events(Lane::Chat));
        for (log, runs) in room.frontier().iter().filter(|(log, _)| log.lane == Lane::Chat) {
            prop_assert_eq!(covered.runs(log), Some(runs));
        }
        let mut whole = room.clone();
        let _ = offer_run(&mut whole, &said).expect("no fork");
        let (_, _, mut at_once) = talk(30);
        let _ = offer_run(&mut at_once, &said).expect("no fork");
        prop_assert_eq!(whole.state_hash(), at_once.state_hash());
    }
}

#[test]
fn a_run_as_stored_is_what_it_was() {
    let (_, said, mut room) = talk(3);
    let _ = offer_run(&mut room, &said).expect("all");
    let log = said[0].log();
    let tip = room.logs().log(&log).and_then(|state| state.tip()).copied();
    assert_eq!(tip, Some(Run { start: 0, end: 3, before: None, last: said[2].id() }));
}

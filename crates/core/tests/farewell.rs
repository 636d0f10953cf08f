//! What someone who was removed is told.

mod kit;

use ayni_core::event::Event;
use ayni_core::log::{Frontier, Lane};
use ayni_core::room::{Role, Room, Setting};
use kit::stage::{A, B, F, M, Stage};
use kit::{START, deliver};

/// The control events of a frontier, from all that were ever made.
fn told(stage: &Stage, frontier: &Frontier) -> Vec<Event> {
    let within = |event: &&Event| frontier.contains(&event.log(), event.seq());
    stage.events.iter().filter(within).cloned().collect()
}

fn sets(stage: &mut Stage, who: usize, topic: &str, at: u64) -> Vec<Event> {
    let setting = Setting::Topic(topic.to_owned());
    let set = stage.does(who, |room, me| room.author_setting(&me.key, &setting, START + at));
    set.expect("an admin may")
}

#[test]
fn who_was_removed_is_told_that_and_what_it_depends_on_and_nothing_else() {
    let mut stage = Stage::new();
    let knew = sets(&mut stage, A, "before", 5);
    stage.removes(A, M).expect("below");
    // At once elsewhere, and later: none of it is for whoever is out.
    let beside = sets(&mut stage, B, "beside", 6);
    let later = sets(&mut stage, A, "later", 20);
    let mut away = stage.rooms[M].clone();
    assert_eq!(stage.settle()[M], None);

    let members = stage.rooms[F].members();
    let frontier = members.farewell(&stage.account(M)).expect("removed");
    assert!(frontier.iter().all(|(log, _)| log.lane == Lane::Control));
    let has = |events: &[Event]| frontier.contains(&events[0].log(), events[0].seq());
    assert!(has(&knew) && !has(&beside) && !has(&later));

    assert!(away.am_member());
    assert_eq!(deliver(&mut away, &told(&stage, &frontier)), vec![], "nothing is missing");
    assert!(!away.am_member());
    let own = away.members().account(&stage.account(M)).expect("known");
    assert!(own.was_removed());
}

#[test]
fn nobody_else_is_told_anything() {
    let mut stage = Stage::new();
    stage.does(M, |room, me| room.author_leave(&me.key, START + 5)).expect("a member");
    stage.grants(F, B, Role::Reader).expect("below");
    stage.removes(F, A).expect("below");
    stage.settle();
    let members = stage.rooms[F].members();
    assert_eq!(members.farewell(&stage.account(M)), None, "it left");
    assert_eq!(members.farewell(&stage.account(B)), None, "it was demoted, and is here");
    assert_eq!(members.farewell(&stage.account(F)), None);
    assert_eq!(members.farewell(&stage.people[4].account()), None, "never here");
    assert!(members.farewell(&stage.account(A)).is_some());
    let account = stage.account(A);
    let back =
        stage.does(F, |room, me| room.author_role(&me.key, account, Role::Member, START + 30));
    back.expect("a founder may");
    stage.settle();
    assert_eq!(stage.rooms[F].members().farewell(&account), None, "it is in again");
}

#[test]
fn of_two_removals_both_are_told() {
    let mut stage = Stage::new();
    stage.removes(A, M).expect("below");
    stage.removes(B, M).expect("below");
    let mut away: Room = stage.rooms[M].clone();
    stage.settle();
    let frontier = stage.rooms[F].members().farewell(&stage.account(M)).expect("removed");
    assert_eq!(deliver(&mut away, &told(&stage, &frontier)), vec![]);
    assert!(!away.am_member());
    let logs = [A, B].map(|who| stage.people[who].log(Lane::Control, 0));
    assert!(logs.iter().all(|log| frontier.runs(log).is_some()));
}

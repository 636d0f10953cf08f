//! Who may post, at those who receive: what a setting hides, and what it does not.

mod kit;

use ayni_core::event::Event;
use ayni_core::room::{AuthorError, Control, Effect, Role, Set, Setting};
use kit::stage::{A, B, F, M, Stage, cites};
use kit::{Forged, START, deliver, offer};

/// Says something at a time, on a replica that has not heard of newer settings.
fn says(stage: &mut Stage, who: usize, at: u64) -> Event {
    let (person, room) = (stage.people[who].clone(), &mut stage.rooms[who]);
    let said = person.say(room, "words", START + at);
    stage.events.push(said.clone());
    said
}

fn sets(stage: &mut Stage, who: usize, least: Role, at: u64) -> Vec<Event> {
    let setting = Setting::WhoPosts(least);
    stage
        .does(who, |room, me| room.author_setting(&me.key, &setting, START + at))
        .expect("an admin may")
}

/// Whether everyone, all knowing the same, hides a message.
fn hidden(stage: &mut Stage, event: &Event) -> bool {
    stage.settle();
    let verdicts: Vec<bool> = stage.rooms.iter().map(|room| room.hides(event.header())).collect();
    assert!(verdicts.windows(2).all(|pair| pair[0] == pair[1]), "{verdicts:?}");
    verdicts[0]
}

#[test]
fn who_may_post_counts_from_its_time_on() {
    let mut stage = Stage::new();
    let before = says(&mut stage, M, 100);
    let by_admin = says(&mut stage, A, 300);
    let not_heard = says(&mut stage, M, 300);
    assert!(!hidden(&mut stage.clone(), &not_heard), "nothing is set");
    sets(&mut stage, F, Role::Admin, 200);
    assert!(!hidden(&mut stage, &before), "written under the older rule");
    assert!(hidden(&mut stage, &not_heard));
    assert!(!hidden(&mut stage, &by_admin));
    // Opened again: what was written meanwhile stays under the rule of its time.
    sets(&mut stage, B, Role::Member, 400);
    assert!(hidden(&mut stage, &not_heard));
    let after = says(&mut stage, M, 500);
    assert!(!hidden(&mut stage, &after));
    // Nothing in the control lane is hidden.
    let control = stage.events.iter().find(|event| event.header().epoch.is_none()).cloned();
    assert!(!hidden(&mut stage, &control.expect("the genesis")));
}

#[test]
fn a_setting_counts_for_a_message_of_the_same_moment() {
    let mut stage = Stage::new();
    let set = sets(&mut stage, F, Role::Admin, 200);
    let said = says(&mut stage, M, 200);
    assert_eq!(set[0].header().time, said.header().time);
    assert!(hidden(&mut stage, &said));
}

#[test]
fn a_role_counts_for_the_whole_term_of_a_message() {
    let mut stage = Stage::new();
    sets(&mut stage, F, Role::Admin, 200);
    let said = says(&mut stage, M, 300);
    let by_admin = says(&mut stage, A, 300);
    assert!(hidden(&mut stage, &said));
    stage.grants(B, M, Role::Admin).expect("an admin may");
    assert!(!hidden(&mut stage, &said), "raised for the term");
    // Who is demoted goes on in another term; what it said as an admin was said as an admin.
    stage.grants(F, A, Role::Member).expect("above it");
    assert!(!hidden(&mut stage, &by_admin));
    stage.removes(F, M).expect("above it");
    assert!(!hidden(&mut stage, &said), "and stays when its author is out");
}

#[test]
fn what_a_removed_admin_set_hides_nothing_and_that_is_told() {
    for removal_first in [false, true] {
        let mut stage = Stage::new();
        let mut beyond = stage.clone();
        let removed = stage.removes(F, A).expect("above it");
        let set = sets(&mut beyond, A, Role::Admin, 200);
        let said = says(&mut stage, M, 300);
        let room = &mut stage.rooms[B];
        let told = |room: &mut ayni_core::room::Room, event: &Event| {
            let effects = offer(room, event).expect("fits").effects;
            effects.contains(&Effect::Renamed)
        };
        if removal_first {
            assert!(!told(room, &removed[0]));
            assert!(!told(room, &set[0]));
        } else {
            assert!(told(room, &set[0]));
            assert!(room.hides(said.header()));
            assert!(told(room, &removed[0]), "the room is set up in another way");
        }
        assert!(!room.hides(said.header()));
        stage.events.extend(set);
        assert!(!hidden(&mut stage, &said));
    }
}

#[test]
fn nobody_writes_what_others_would_hide() {
    let mut stage = Stage::new();
    let set = sets(&mut stage, F, Role::Admin, 200);
    deliver(&mut stage.rooms[M], &set);
    let chat = ayni_core::chat::Chat::message("may I?").expect("short");
    // This wall clock is behind the setting, but what is written comes after all that was seen.
    for at in [100, 300] {
        let said = stage.does(M, |room, me| room.author_chat(&me.key, &chat, START + at, &[1; 32]));
        assert_eq!(said, Err(AuthorError::NotPermitted));
    }
    sets(&mut stage, F, Role::Member, 400);
    stage.settle();
    let said = says(&mut stage, M, 401);
    assert!(!hidden(&mut stage, &said));
    assert!(said.header().deps.is_empty() && said.seq() == 0, "nothing was left half done");
}

#[test]
fn a_setting_from_the_far_future_hides_nothing_before_it() {
    let mut stage = Stage::new();
    let set =
        Control::Set(Set { cites: cites(&stage, A), setting: Setting::WhoPosts(Role::Admin) });
    let deps = stage.events.last().map(Event::id).into_iter().collect();
    let at = Forged {
        deps,
        time: START + 1_000_000,
        ..Forged::next(&stage.rooms[A], &stage.people[A], 0)
    };
    let event = stage.people[A].forge(&stage.rooms[A], &set, at);
    stage.events.push(event);
    let said = says(&mut stage, M, 300);
    assert!(!hidden(&mut stage, &said));
}

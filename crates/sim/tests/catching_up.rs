//! How those who were not there get what was said: newcomers, slow peers, strangers.

use std::collections::BTreeSet;

use ayni_core::clock::Millis;
use ayni_core::id::EventId;
use ayni_core::limits::NEWEST_MESSAGES;
use ayni_sim::plan::Act;
use ayni_sim::scenarios::{Scenario, scenario};
use ayni_sim::world::{START, World};

const SECOND: Millis = 1_000;

/// A quiet room: nothing happens but what the test does, and no live message arrives.
fn quiet(peers: usize, newcomers: usize) -> Scenario {
    let base = *scenario("calm").expect("in the table");
    let conditions = ayni_sim::network::Conditions { loss_permille: 1000, ..base.conditions };
    Scenario {
        name: "quiet",
        peers,
        newcomers,
        messages: 0,
        renames: 0,
        skew_ms: 0,
        span_ms: 60 * SECOND,
        conditions,
        ..base
    }
}

/// Lets the first members join, and say so much.
fn talk(world: &mut World, messages: usize) {
    world.run_until(START + 15 * SECOND);
    for n in 0..messages {
        world.act(Act::Say(format!("message {n}")));
        if n % 50 == 49 {
            world.run_until(world.now() + 10);
        }
    }
    world.run_until(START + 29 * SECOND);
}

#[test]
fn a_newcomer_gets_control_then_the_newest_then_the_rest() {
    let mut world = World::new(&quiet(4, 1), 1);
    talk(&mut world, 1000);
    let said: BTreeSet<EventId> = world.said().keys().copied().collect();
    assert_eq!(world.peers()[1].store().chat().count(), 1000, "before the newcomer comes");
    assert!(world.peers()[3].room().is_none());
    world.run_until(START + 90 * SECOND);

    let newcomer = &world.peers()[3];
    let arrived = newcomer.arrived();
    let control = arrived.iter().take_while(|id| !said.contains(id)).count();
    assert_eq!(control, newcomer.store().control().len(), "the control lane whole, and first");
    let messages = &arrived[control..];
    assert_eq!(messages.len(), 1000);
    let newest = NEWEST_MESSAGES as usize;
    let timeline = newcomer.store().timeline(world.now());
    let expected: BTreeSet<EventId> = timeline[1000 - newest..].iter().map(|(_, id)| *id).collect();
    let first: BTreeSet<EventId> = messages[..newest].iter().copied().collect();
    assert_eq!(first, expected, "then the newest messages");
    let all: BTreeSet<EventId> = messages.iter().copied().collect();
    assert_eq!(all, said, "then the rest");
    assert_eq!(newcomer.counts().again, 0, "and nothing twice");
}

#[test]
fn many_sessions_of_a_newcomer_fetch_nothing_twice() {
    for seed in 0..4 {
        let mut world = World::new(&quiet(7, 1), seed);
        talk(&mut world, 2000);
        world.run_until(START + 90 * SECOND);
        let newcomer = &world.peers()[6];
        assert_eq!(newcomer.sessions().len(), 6, "with everyone");
        assert_eq!(newcomer.store().chat().count(), 2000);
        assert_eq!(newcomer.counts().again, 0);
        // Everyone had a part in it: the way up is short only when many share it.
        let total = newcomer.counts().synced;
        assert!(total < 2100, "{total}");
    }
}

#[test]
fn hazard_26_a_peer_that_never_answers_holds_up_nobody_for_long() {
    let mut world = World::new(&quiet(4, 1), 3);
    talk(&mut world, 600);
    world.peer_mut(0).fall_mute();
    world.peer_mut(1).fall_mute();
    world.run_until(START + 120 * SECOND);
    let newcomer = &world.peers()[3];
    assert!(newcomer.is_member());
    assert_eq!(newcomer.store().chat().count(), 600, "from the one that answers");
}

#[test]
fn one_who_knows_nobody_who_is_left_catches_up_all_the_same() {
    let mut world = World::new(&quiet(5, 2), 5);
    world.run_until(START + 15 * SECOND);
    // Peer 1 is away while two come in whom it does not know, and all whom it knows go for good.
    world.act(Act::Stop(1));
    world.run_until(START + 75 * SECOND);
    assert!(world.peers()[3].is_member() && world.peers()[4].is_member());
    world.act(Act::Say("you missed this".into()));
    world.run_until(START + 80 * SECOND);
    world.act(Act::Go(0));
    world.act(Act::Go(2));
    world.act(Act::Start(1));
    let knows = |world: &World, no: usize| {
        let device = world.peers()[no].identity().key.id();
        world.peers()[1].room().is_some_and(|room| room.members().is_member_device(&device))
    };
    assert!(!knows(&world, 3) && !knows(&world, 4));
    world.run_until(START + 100 * SECOND);
    assert!(knows(&world, 3) && knows(&world, 4));
    assert_eq!(world.peers()[1].store().chat().count(), 1);
}

#[test]
fn what_a_leaver_said_last_arrives_though_it_left() {
    let mut world = World::new(&quiet(4, 0), 6);
    world.run_until(START + 15 * SECOND);
    // Alone for a moment, peer 3 says something and leaves.
    world.act(Act::Part([3].into()));
    let text = "good bye";
    let now = world.now();
    let mut dice = ayni_sim::dice::Dice::new(1);
    let (event, out) = world.peer_mut(3).say(text, now, &mut dice).expect("a member");
    world.send(3, out);
    world.act(Act::Leave(3));
    world.run_until(START + 20 * SECOND);
    world.act(Act::Part(BTreeSet::new()));
    world.run_until(START + 60 * SECOND);
    for no in 0..3 {
        let peer = &world.peers()[no];
        assert!(peer.store().chat().any(|held| held.id() == event.id()), "peer {no}");
        let room = peer.room().expect("a room");
        assert_eq!(room.members().current().count(), 3);
        assert!(!peer.has_session(3), "nothing more to say");
    }
}

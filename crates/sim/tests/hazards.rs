//! Peers that break the rules, among peers that keep them.

use ayni_core::clock::Millis;
use ayni_core::event::Event;
use ayni_core::frame;
use ayni_core::keys::Bytes32;
use ayni_core::log::Lane;
use ayni_core::proto::Gossip;
use ayni_core::room::{Control, Room};
use ayni_core::sync::frame::SyncFrame;
use ayni_core::wire;
use ayni_sim::dice::Dice;
use ayni_sim::peer::{Outgoing, Packet};
use ayni_sim::plan::Act;
use ayni_sim::scenarios::{Scenario, scenario};
use ayni_sim::world::{START, World};

const SECOND: Millis = 1_000;
const HOUR: Millis = 3600 * SECOND;

/// Four peers, of whom nobody does anything by itself.
fn quiet(seed: u64) -> World {
    let base = *scenario("calm").expect("in the table");
    let quiet = Scenario {
        name: "quiet",
        peers: 4,
        messages: 0,
        renames: 0,
        skew_ms: 0,
        span_ms: 10 * SECOND,
        ..base
    };
    let mut world = World::new(&quiet, seed);
    world.run_until(START + 15 * SECOND);
    world
}

fn gossip(world: &mut World, from: usize, to: usize, event: &Event) {
    assert!(world.network().is_up(from, to), "it would arrive nowhere");
    let bytes = wire::encode(&Gossip::Event(event.to_raw()));
    world.send(from, vec![Outgoing { to, packet: Packet::Gossip(bytes) }]);
}

fn bytes_of_an_hour(world: &mut World) -> u64 {
    let before = world.network().sent().0;
    world.run_until(world.now() + HOUR);
    world.network().sent().0 - before
}

/// What all have of the logs of the others, with the forked one left out.
fn others(room: &Room, forker: usize, world: &World) -> Vec<(ayni_core::log::LogId, u64)> {
    let device = world.peers()[forker].identity().key.id();
    let frontier = room.frontier();
    let logs = frontier.iter().filter(|(log, _)| log.device != device);
    logs.map(|(log, runs)| (*log, runs.count())).collect()
}

#[test]
fn hazard_1_two_branches_of_messages_are_refused_without_end_or_crash() {
    for seed in 0..4 {
        let mut world = quiet(seed);
        // A copy of peer 3's device says another thing at the same position.
        let key = world.peers()[3].identity().key.clone();
        let mut one = world.peers()[3].room().expect("a member").clone();
        let mut other = one.clone();
        world.act(Act::Stop(3));
        let now = world.now();
        let branch = |room: &mut Room, text: &str| -> Vec<Event> {
            let chat = |n| ayni_core::chat::Chat::Message(format!("{text} {n}"));
            let says = |n: u8| room.author_chat(&key, &chat(n), now, &[n; 32]).expect("a member");
            (0..3).map(says).flat_map(|accepted| accepted.events).collect()
        };
        let (left, right) = (branch(&mut one, "left"), branch(&mut other, "right"));
        world.act(Act::Start(3));
        world.run_until(now + 20 * SECOND);
        for (event, to) in left.iter().map(|it| (it, 0)).chain(right.iter().map(|it| (it, 1))) {
            gossip(&mut world, 3, to, event);
            world.run_until(world.now() + 50);
        }
        for n in 0..20 {
            world.act(Act::Say(format!("{n}")));
            world.run_until(world.now() + SECOND);
        }
        world.run_until(world.now() + 60 * SECOND);
        let first = others(world.peers()[0].room().expect("a room"), 3, &world);
        for no in 1..3 {
            let peer = &world.peers()[no];
            assert_eq!(others(peer.room().expect("a room"), 3, &world), first, "seed {seed}");
            assert!(peer.counts().violations.is_empty() && peer.store().twice() == 0);
        }
        // They go on comparing states that differ, and say no more than that.
        let bytes = bytes_of_an_hour(&mut world);
        assert!(bytes < 400_000, "seed {seed}: {bytes} bytes while nothing happened");
    }
}

#[test]
fn hazard_1_two_branches_of_control_are_refused_without_end_or_crash() {
    let mut world = quiet(9);
    let key = world.peers()[3].identity().key.clone();
    let now = world.now();
    let name = |text: &str| Control::Profile(text.into());
    let mut one = world.peers()[3].room().expect("a member").clone();
    let mut other = one.clone();
    world.act(Act::Stop(3));
    let mut left = one.author_control(&key, &name("left"), now).expect("a member").events;
    left.extend(one.author_control(&key, &name("left again"), now).expect("a member").events);
    let right = other.author_control(&key, &name("right"), now).expect("a member").events;
    world.act(Act::Start(3));
    world.run_until(now + 20 * SECOND);
    // One branch to each side of a parted network.
    world.act(Act::Part([0, 1].into()));
    world.run_until(world.now() + SECOND);
    for event in &left {
        gossip(&mut world, 1, 0, event);
        world.run_until(world.now() + SECOND);
    }
    gossip(&mut world, 3, 2, &right[0]);
    world.run_until(world.now() + SECOND);
    world.act(Act::Part([].into()));
    world.run_until(world.now() + 60 * SECOND);
    let forks = |no: usize| -> u64 {
        let refused = world.peers()[no].counts().refused.iter();
        refused.filter(|(reason, _)| reason.contains("fork")).map(|(_, count)| *count).sum()
    };
    assert!((0..4).map(forks).sum::<u64>() > 0, "someone noticed");
    let bytes = bytes_of_an_hour(&mut world);
    assert!(bytes < 400_000, "{bytes} bytes while nothing happened");
}

#[test]
fn hazard_13_a_message_from_the_future_waits_until_it_is_due() {
    let mut world = quiet(2);
    let day = 24 * HOUR;
    world.peer_mut(1).set_clock(i64::try_from(day).expect("small"));
    let (now, mut dice) = (world.now(), Dice::new(1));
    let (future, out) = world.peer_mut(1).say("tomorrow", now, &mut dice).expect("a member");
    world.send(1, out);
    world.run_until(now + 5 * SECOND);
    let now = world.now();
    let (word, out) = world.peer_mut(2).say("today", now, &mut dice).expect("a member");
    world.send(2, out);
    assert_eq!(word.header().time.millis(), now, "nobody's clock is pinned");
    world.run_until(now + 5 * SECOND);
    let shown = |world: &World, no: usize| -> Vec<_> {
        let timeline = world.peers()[no].store().timeline(world.now());
        timeline.into_iter().map(|(_, id)| id).collect()
    };
    for no in [0, 2, 3] {
        let peer = &world.peers()[no];
        assert!(peer.store().chat().any(|event| event.id() == future.id()), "kept and served");
        assert_eq!(shown(&world, no), [word.id()], "not shown yet");
    }
    world.run_until(now + day);
    for no in [0, 2, 3] {
        assert_eq!(shown(&world, no), [word.id(), future.id()], "due");
    }
}

#[test]
fn hazard_16_and_23_who_breaks_the_protocol_is_dropped_and_the_others_go_on() {
    let garbage = |frame: &SyncFrame| Packet::Sync(frame::encode(frame).expect("short"));
    let mut half = frame::encode(&SyncFrame::Summary(Bytes32([1; 32]))).expect("short");
    half[4] ^= 0x55;
    let attacks = [
        Packet::Sync(vec![0xff; 64]),
        Packet::Sync(half),
        garbage(&SyncFrame::Run(99, vec![])),
        garbage(&SyncFrame::Done(99)),
        Packet::Gossip(vec![0xff; 64]),
        Packet::Join(vec![0x80]),
        Packet::Keys(vec![0x80]),
        Packet::Secrets(vec![]),
    ];
    for (n, attack) in attacks.into_iter().enumerate() {
        let mut world = quiet(n as u64);
        let ends = matches!(attack, Packet::Sync(_));
        assert!(world.peers()[0].has_session(3));
        for _ in 0..3 {
            world.send(3, vec![Outgoing { to: 0, packet: attack.clone() }]);
        }
        world.run_until(world.now() + 200);
        let counts = world.peers()[0].counts();
        let noticed = counts.liars.values().sum::<u64>() + counts.violations.len() as u64;
        assert_eq!(noticed > 0, ends, "attack {n}");
        for n in 0..10 {
            world.act(Act::Say(format!("{n}")));
        }
        world.run_until(world.now() + 60 * SECOND);
        let states = world.peers().iter().map(|peer| peer.room().map(Room::state_hash));
        let states: Vec<_> = states.collect();
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "attack {n}");
        assert_eq!(world.peers()[2].store().chat().count(), 10);
    }
}

#[test]
fn hazard_17_a_stranger_with_the_rooms_id_gets_nothing() {
    let base = *scenario("calm").expect("in the table");
    let scenario =
        Scenario { name: "quiet", peers: 4, newcomers: 1, messages: 0, skew_ms: 0, ..base };
    let mut world = World::new(&scenario, 4);
    world.run_until(START + 20 * SECOND);
    world.act(Act::Say("among us".into()));
    world.run_until(START + 25 * SECOND);
    // The last peer was not invited yet; it is connected, and asks for everything.
    assert!(!world.peers()[3].is_member());
    for no in 0..3 {
        assert!(
            !world.peers()[no].serves(3) && !world.peers()[no].accepts(3, world.now()),
            "peer {no}"
        );
        let want = SyncFrame::Summary(Bytes32([0; 32]));
        let packet = Packet::Sync(frame::encode(&want).expect("short"));
        world.send(3, vec![Outgoing { to: no, packet }]);
        world.send(3, vec![Outgoing { to: no, packet: Packet::Keys(vec![0xa1, 0x00, 0x80]) }]);
    }
    world.run_until(START + 28 * SECOND);
    assert_eq!(world.peers()[3].store().chat().count(), 0);
    assert_eq!(world.peers()[3].store().control().len(), 0);
    assert!(world.peers()[3].room().is_none());
    let lanes = world.peers()[0].room().map(|room| room.frontier().events(Lane::Chat));
    assert_eq!(lanes, Some(1));
}

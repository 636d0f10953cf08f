//! Proofs of forks that are heard of and cannot be taken in: they keep little, and divide nobody.

mod kit;

use ayni_core::event::Event;
use ayni_core::id::EventId;
use ayni_core::limits::{MAX_FORK_VOID, MAX_HEARD_FORKS};
use ayni_core::log::LogId;
use ayni_core::room::{
    Accepted, Control, Effect, Fork, HeaderBytes, Introduced, Reject, Room, Seat, Setting,
};
use kit::stage::{A, B, F, M, Stage};
use kit::{Forged, Person, START, admission, deliver, invite, offer};

/// A fork of a device that nobody knows, and an event of its log that nobody has.
struct MadeUp {
    void: Vec<Event>,
    fork: Fork,
}

fn made_up(room: &Room, n: u8) -> MadeUp {
    let nobody = Person::new(n);
    let at = |time| Forged { time, ..Forged::default() };
    let [one, other] = [1, 2].map(|time| nobody.forge(room, &Control::Merge, at(time)));
    let void: Vec<Event> = (0..MAX_FORK_VOID as u64)
        .map(|seq| {
            let at = Forged { seq: 1 + seq, prev: Some(one.id()), ..Forged::default() };
            nobody.forge(room, &Control::Merge, at)
        })
        .collect();
    let headers = void.iter().map(|event| HeaderBytes(event.header_bytes().to_vec())).collect();
    MadeUp { fork: Fork::new(&one, &other, headers), void }
}

/// States a proof where nobody can ever take it in.
fn beyond(stage: &Stage, who: usize, fork: &Fork, n: u64) -> Event {
    let at = Forged { seq: 900 + n, prev: Some(EventId([9; 32])), ..Forged::default() };
    stage.people[who].forge(&stage.rooms[who], &Control::Fork(Box::new(fork.clone())), at)
}

fn naming(stage: &Stage, who: usize, deps: Vec<EventId>) -> Event {
    let at = Forged { deps, ..Forged::next(&stage.rooms[who], &stage.people[who], 0) };
    stage.people[who].forge(&stage.rooms[who], &Control::Profile("built on sand".into()), at)
}

/// Declares what is to be declared, like a node.
fn declares(stage: &mut Stage, who: usize, accepted: &Accepted) -> Vec<LogId> {
    let mut declared = vec![];
    for effect in &accepted.effects {
        let Effect::Forked(log) = effect else { continue };
        loop {
            let members = stage.rooms[who].members();
            let void: Vec<_> = members.undeclared(log).into_iter().take(MAX_FORK_VOID).collect();
            if void.is_empty() {
                break;
            }
            let proof = members.fork_proof(log).expect("known").clone();
            let proof = Fork { void, ..proof };
            stage.does(who, |room, me| room.author_fork(&me.key, proof, START + 50)).expect("may");
            declared.push(*log);
        }
    }
    declared
}

#[test]
fn who_builds_upon_a_proof_that_nobody_can_take_in_is_followed_all_the_same() {
    let mut stage = Stage::new();
    let MadeUp { void, fork } = made_up(&stage.rooms[F], 77);
    let proof = beyond(&stage, M, &fork, 0);
    let before = stage.rooms[F].state_hash();
    assert_eq!(offer(&mut stage.rooms[F], &proof), Err(Reject::MissingDeps));
    assert_eq!(stage.rooms[F].state_hash(), before);
    // It is shown to F alone.
    let built = naming(&stage, M, vec![void[3].id()]);
    let taken = offer(&mut stage.rooms[F], &built).expect("as far as F has heard");
    assert_eq!(offer(&mut stage.rooms[A], &built), Err(Reject::MissingDeps));
    assert!(taken.effects.contains(&Effect::Forked(void[3].log())));
    assert_eq!(declares(&mut stage, F, &taken), [void[3].log()], "once");
    let topic = Setting::Topic("on it".into());
    stage.does(F, |room, me| room.author_setting(&me.key, &topic, START + 60)).expect("may");
    stage.events.push(built);
    stage.settle();
    assert_eq!(stage.rooms[B].members().settings().topic(), Some("on it"));
}

#[test]
fn whom_a_proof_introduces_that_nobody_can_take_in_divides_nobody() {
    let mut stage = Stage::new();
    let MadeUp { void, mut fork } = made_up(&stage.rooms[F], 77);
    let (ticket, _) = invite(73);
    // M again in a term that nobody else heard of, and someone by an invite that nobody made.
    let seat = Seat { account: stage.account(M), term: 5 };
    fork.introduced =
        Introduced { seats: vec![seat], invites: vec![ticket.key()], ..Introduced::default() };
    let proof = beyond(&stage, M, &fork, 0);
    assert_eq!(offer(&mut stage.rooms[F], &proof), Err(Reject::MissingDeps));
    let later = Forged { term: 5, ..Forged::default() };
    let later = stage.people[M].forge(&stage.rooms[M], &Control::Profile("later".into()), later);
    let claim = stage.people[4].claim(&stage.rooms[M], &ticket, stage.people[M].id());
    let at = Forged::next(&stage.rooms[M], &stage.people[M], 0);
    let admits = stage.people[M].forge(&stage.rooms[M], &admission(claim, 0), at);
    for (event, reject) in [(&later, Reject::UnknownAuthor), (&admits, Reject::MissingDeps)] {
        let mut stage = stage.clone();
        assert_eq!(offer(&mut stage.rooms[A], event), Err(reject));
        let taken = offer(&mut stage.rooms[F], event).expect("as far as F has heard");
        assert_eq!(declares(&mut stage, F, &taken), [void[0].log()]);
        stage.events.push(event.clone());
        stage.settle();
    }
}

#[test]
fn hazard_22_proofs_that_nobody_can_take_in_fill_a_bounded_pool_only() {
    let mut stage = Stage::new();
    let all: Vec<MadeUp> = (100..160).map(|n| made_up(&stage.rooms[F], n)).collect();
    // B says something honest that has to wait, before M makes up more than are remembered.
    let honest = made_up(&stage.rooms[F], 77);
    let waits = beyond(&stage, B, &honest.fork, 0);
    assert_eq!(offer(&mut stage.rooms[F], &waits), Err(Reject::MissingDeps));
    for n in 0..3 * MAX_HEARD_FORKS {
        let proof = beyond(&stage, M, &all[n % all.len()].fork, n as u64);
        assert_eq!(offer(&mut stage.rooms[F], &proof), Err(Reject::MissingDeps));
    }
    // Those of the last round are remembered, as far as they are not too many, and B's is.
    let knows = |made: &MadeUp| {
        let mut room = stage.rooms[F].clone();
        offer(&mut room, &naming(&stage, M, vec![made.void[0].id()])).is_ok()
    };
    assert!(knows(&honest), "nobody pushes out what others said");
    let mut single = Stage::new();
    for (n, made) in all.iter().chain(&all[..MAX_HEARD_FORKS - all.len()]).enumerate() {
        let proof = beyond(&single, M, &made.fork, n as u64);
        assert_eq!(offer(&mut single.rooms[F], &proof), Err(Reject::MissingDeps));
    }
    for n in 0..MAX_HEARD_FORKS {
        let proof = beyond(&single, M, &honest.fork, 1_000 + n as u64);
        assert_eq!(offer(&mut single.rooms[F], &proof), Err(Reject::MissingDeps));
    }
    let first = naming(&single, M, vec![all[0].void[0].id()]);
    assert_eq!(offer(&mut single.rooms[F], &first), Err(Reject::MissingDeps), "it is forgotten");
    single.events.push(naming(&single, M, vec![]));
    assert_eq!(deliver(&mut single.rooms[F], &single.events), vec![], "and all else goes on");
}

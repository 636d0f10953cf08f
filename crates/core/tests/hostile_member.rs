//! A member that means ill: what it can have everyone else do and keep.

mod kit;

use std::time::{Duration, Instant};

use ayni_core::epoch::EpochSecret;
use ayni_core::event::CheckedRun;
use ayni_core::id::EpochId;
use ayni_core::keys::Bytes32;
use ayni_core::log::Lane;
use ayni_core::room::{
    Control, Cut, EpochBody, Fork, Grant, Invite, LogCut, Remove, Revoke, Role, Room,
};
use kit::crowd::{Crowd, numbered, take_all};
use kit::stage::{A, ADMIN, B, F, FOUNDER, M, Stage, forges};
use kit::{DAY, Forged, START, invite};

/// Members of the room that is flooded, and statements of a flood: enough that what costs more with each
/// of either stands out.
const MEMBERS: u16 = 100;
const FLOOD: u32 = 1_500;

/// A kind of statement that needs no authority to be made, by its number in the flood.
type Says = fn(&Crowd, u32) -> Control;

fn secret(n: u32) -> EpochSecret {
    let mut secret = [7; 32];
    secret[..4].copy_from_slice(&n.to_be_bytes());
    EpochSecret::new(secret)
}

fn removes_founder(crowd: &Crowd, _: u32) -> Control {
    let (account, cut) = (crowd.founder.account(), Cut::default());
    Control::Remove(Remove { account, term: 0, then: None, cut, cites: None })
}

fn grants(crowd: &Crowd, n: u32) -> Control {
    let account = crowd.people[1].account();
    Control::Grant(Grant { account, term: n, role: Role::Admin, cites: None })
}

fn invites_again(crowd: &Crowd, n: u32) -> Control {
    let (key, role) = (crowd.invite.key(), Role::Member);
    Control::Invite(Invite { key, uses: None, expires_ms: START + u64::from(n), role })
}

fn revokes(crowd: &Crowd, _: u32) -> Control {
    Control::Revoke(Revoke { invite: crowd.invite.key(), cites: None })
}

fn mints_again(_: &Crowd, _: u32) -> Control {
    let commitment = EpochSecret::new([9; 32]).commitment();
    Control::Epoch(EpochBody { commitment, parents: vec![], wraps: vec![] })
}

/// Epochs each of which follows the one before, and the room's first.
fn mints(crowd: &Crowd, n: u32) -> Control {
    let room = crowd.founded.id();
    let parents = vec![secret(n.saturating_sub(1)).id(room), EpochSecret::new([9; 32]).id(room)];
    Control::Epoch(EpochBody { commitment: secret(n).commitment(), parents, wraps: vec![] })
}

fn names_itself(_: &Crowd, n: u32) -> Control {
    Control::Profile(format!("name {n}"))
}

/// Someone who floods a room, and is removed afterwards; each statement comes by itself, as by gossip.
/// Returns how long a replica takes over all of it, with what its founder and its writers do then.
#[allow(clippy::disallowed_methods, reason = "durations of one run are compared")]
fn took(says: Says) -> Duration {
    let mut crowd = Crowd::new(MEMBERS);
    crowd.admit_all();
    let (bad, setup) = (crowd.people[0].clone(), crowd.events.len());
    for n in 0..FLOOD {
        let control = says(&crowd, n);
        crowd.say(&bad, &control, &[]);
    }
    let runs = crowd.singles();
    let (before, flood) = runs.split_at(setup);
    let mut room = Room::new(crowd.founded.id(), crowd.founder.id());
    assert_eq!(take_all(&mut room, before), setup);
    room.learn_secret(EpochSecret::new([9; 32]));
    for n in 0..FLOOD {
        room.learn_secret(secret(n));
    }
    let begun = Instant::now();
    for run in flood {
        assert_eq!(room.accept(run.clone(), START + DAY).expect("kept").events.len(), 1);
    }
    let (key, now) = (&crowd.founder.key, START + 2 * DAY);
    let account = crowd.people[7].account();
    let _ = room.author_role(key, account, Role::Admin, now).expect("a founder");
    if room.members().role(&bad.account()).is_some() {
        let _ = room.author_remove(key, bad.account(), now).expect("a founder");
    }
    assert_eq!(room.sealing_epoch().map(|(epoch, _)| epoch), None, "it has them all");
    assert!(room.needs_epoch(now));
    assert_eq!(room.members().member_devices().count(), usize::from(MEMBERS));
    begun.elapsed()
}

#[test]
fn hazard_23_no_flood_of_statements_costs_much_more_than_one_of_names() {
    let best = |says: Says| (0..3).map(|_| took(says)).min().expect("three");
    let names = best(names_itself);
    let kinds: [(&str, Says); 7] = [
        ("leavings", |_, _| Control::Leave(Cut::default())),
        ("removals", removes_founder),
        ("grants", grants),
        ("invites", invites_again),
        ("revocations", revokes),
        ("one epoch", mints_again),
        ("epochs", mints),
    ];
    for (what, says) in kinds {
        let took = best(says);
        assert!(took < 12 * names, "{what}: {took:?} against {names:?}");
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "durations of one run are compared")]
fn hazard_23_proofs_of_forks_of_nobody_cost_their_signatures() {
    let mut crowd = Crowd::new(MEMBERS);
    crowd.admit_all();
    let (bad, setup) = (crowd.people[0].clone(), crowd.events.len());
    for n in 0..300 {
        let nobody = numbered(20_000 + n);
        let branch = |time| {
            let at = Forged { time, ..Forged::default() };
            nobody.forge(&crowd.founded, &Control::Merge, at)
        };
        let proof = Fork::new(&branch(1), &branch(2), vec![]);
        crowd.say(&bad, &Control::Fork(Box::new(proof)), &[]);
    }
    let runs = crowd.singles();
    let mut room = crowd.empty();
    assert_eq!(take_all(&mut room, &runs[..setup]), setup);
    let took = |act: &mut dyn FnMut()| {
        let begun = Instant::now();
        act();
        begun.elapsed()
    };
    let proofs: Vec<_> = runs[setup..].iter().flat_map(CheckedRun::events).cloned().collect();
    let verified = took(&mut || {
        for event in &proofs {
            let Some(Control::Fork(fork)) = event.body().and_then(Control::from_bytes) else {
                unreachable!("it states forks")
            };
            assert!(fork.proves(room.id()).is_some());
        }
    });
    let taken = took(&mut || assert_eq!(take_all(&mut room, &runs[setup..]), 300));
    assert!(taken < 12 * verified, "{taken:?} against {verified:?}");
    assert!(room.members().is_frozen(&numbered(20_000).id()));
    assert_eq!(room.members().current().count(), usize::from(MEMBERS) + 1);
    // Whoever comes to belong here later is frozen all the same.
    let late = numbered(20_001);
    crowd.admit(&crowd.founder.clone(), &late);
    assert_eq!(take_all(&mut room, &crowd.singles()), 1);
    assert!(room.members().role(&late.account()).is_some());
    assert!(!room.members().is_member_device(&late.id()));
}

#[test]
fn what_a_log_says_again_says_nothing() {
    // Leaving, with another cut.
    let mut stage = Stage::new();
    let chat = ayni_core::chat::Chat::message("hello").expect("short");
    stage.does(M, |room, me| room.author_chat(&me.key, &chat, START + 5, &[1; 32])).expect("may");
    let said = stage.events.last().cloned().expect("said");
    stage.does(M, |room, me| room.author_leave(&me.key, START + 6)).expect("may");
    let person = stage.people[M].clone();
    let again = person.forge(
        &stage.rooms[M],
        &Control::Leave(Cut::default()),
        Forged::next(&stage.rooms[M], &person, 0),
    );
    stage.events.push(again);
    assert_eq!(stage.settle(), [FOUNDER, ADMIN, ADMIN, None]);
    for room in &stage.rooms {
        assert_eq!(room.tip(&said.log()), Some((1, said.id())), "what it said before stays");
    }

    // An invite's key, after it was revoked.
    let mut stage = Stage::new();
    let (ticket, control) = invite(72);
    forges(&mut stage, M, &control);
    stage.settle();
    stage
        .does(A, |room, me| room.author_revoke(&me.key, ticket.key(), START + 30))
        .expect("an admin");
    stage.settle();
    forges(&mut stage, M, &control);
    stage.settle();
    let info = stage.rooms[F].members().invite(&ticket.key()).cloned().expect("was in force");
    assert!(!info.open);

    // An epoch, by whom it was minted and by someone else.
    let mut stage = Stage::new();
    let epoch = stage.rooms[F].sealing_epoch().expect("founded with one").0;
    let commitment = EpochSecret::new([9; 32]).commitment();
    let body = EpochBody { commitment, parents: vec![], wraps: vec![] };
    forges(&mut stage, F, &Control::Epoch(body.clone()));
    forges(&mut stage, M, &Control::Epoch(body));
    stage.settle();
    assert!(stage.rooms[B].members().permits(&epoch));
}

/// Deep epochs of someone who was removed keep nobody from finding a good one.
#[test]
fn epochs_of_who_was_removed_bury_no_good_one() {
    let mut stage = Stage::new();
    let room = stage.rooms[F].id();
    let mut parent: Option<EpochId> = None;
    for n in 0..200u8 {
        let secret = secret(u32::from(n));
        let commitment: Bytes32 = secret.commitment();
        let body = EpochBody { commitment, parents: parent.into_iter().collect(), wraps: vec![] };
        forges(&mut stage, M, &Control::Epoch(body));
        parent = Some(secret.id(room));
    }
    stage.settle();
    for who in [F, A, B] {
        for n in 0..200 {
            stage.rooms[who].learn_secret(secret(n));
        }
    }
    stage.removes(A, M).expect("an admin");
    stage.settle();
    assert!(stage.rooms[F].needs_epoch(START + 40));
    let fresh = EpochSecret::new([66; 32]);
    let minted = stage.does(F, |room, me| room.author_epoch(&me.key, fresh.clone(), START + 40));
    minted.expect("a member");
    assert_eq!(stage.settle(), [FOUNDER, ADMIN, ADMIN, None]);
    assert_eq!(stage.rooms[A].sealing_epoch(), None, "its secret is not here yet");
    assert!(!stage.rooms[A].needs_epoch(START + DAY), "and is waited for");
    stage.rooms[A].learn_secret(fresh.clone());
    for who in [F, A] {
        let sealing = stage.rooms[who].sealing_epoch().map(|(epoch, _)| epoch);
        assert_eq!(sealing, Some(fresh.id(room)));
    }
}

/// A cut that names an event which never was: whoever holds the log, and whoever gets it later, agree.
#[test]
fn a_cut_with_a_false_last_event_makes_nobody_disagree() {
    let mut stage = Stage::new();
    let chat = |n: u64| ayni_core::chat::Chat::message(&format!("{n}")).expect("short");
    for n in 0..5 {
        stage
            .does(M, |room, me| room.author_chat(&me.key, &chat(n), START + 5 + n, &[1; 32]))
            .expect("a member");
    }
    let log = stage.people[M].log(Lane::Chat, 0);
    let said: Vec<_> = stage.events.iter().filter(|it| it.log() == log).cloned().collect();
    let (account, cites) = (stage.account(M), kit::stage::cites(&stage, A));
    let cut = Cut { logs: vec![LogCut { log, len: 3, last: stage.events[0].id() }] };
    let remove = Control::Remove(Remove { account, term: 0, then: None, cut, cites });
    kit::deliver(&mut stage.rooms[B], &said);
    kit::deliver(&mut stage.rooms[F], &said[..3]);
    forges(&mut stage, A, &remove);
    let removal = stage.events.last().cloned().expect("stated");
    for who in [F, B] {
        let taken = kit::offer(&mut stage.rooms[who], &removal).expect("fits");
        for effect in taken.effects {
            // What a node does: it has the events, and knows which is the last.
            if let ayni_core::room::Effect::Voided(log, len) = effect
                && log.lane == Lane::Chat
                && let Some(last) = said.iter().find(|it| it.seq() + 1 == len)
            {
                stage.rooms[who].rectify(&log, len, last.id());
            }
        }
    }
    // A held none of it when it removed.
    kit::deliver(&mut stage.rooms[A], &said);
    let hashes = [F, A, B].map(|who| stage.rooms[who].state_hash());
    assert_eq!(hashes[0], hashes[1], "who heard of the removal first takes the same");
    assert_eq!(hashes[0], hashes[2]);
    assert_eq!(stage.rooms[A].tip(&log), Some((3, said[2].id())));
}

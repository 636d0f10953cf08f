//! What real systems of this kind met, and has no test elsewhere: ids ground to win, sock puppets, a
//! removed admin who adds someone, a very wide graph.

mod kit;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event;
use ayni_core::id::{AccountId, EpochId};
use ayni_core::log::Lane;
use ayni_core::room::{Control, Cut, Grant, Remove, Role, Room, Set, Setting};
use kit::crowd::{Crowd, numbered, take_all};
use kit::stage::{A, ADMIN, B, F, FOUNDER, M, MEMBER, Stage, cites, ends, forges};
use kit::{Forged, Person, START, admission, deliver, invite};

/// Signs a statement with another id each time, in knowledge of what all knew at the beginning.
fn ground(stage: &Stage, who: usize, control: &Control, n: u64) -> Event {
    let deps = stage.events.last().map(Event::id).into_iter().collect();
    let at = Forged::next(&stage.rooms[who], &stage.people[who], 0);
    let at = Forged { deps, time: START + 20 + n, ..at };
    stage.people[who].forge(&stage.rooms[who], control, at)
}

#[test]
fn hazard_6_no_id_wins_anything_between_people() {
    let stage = Stage::new();
    let (a, b, m) = (stage.account(A), stage.account(B), stage.account(M));
    let (of_a, of_b) = (cites(&stage, A), cites(&stage, B));
    let lift =
        |account, cites| Control::Grant(Grant { account, term: 0, role: Role::Admin, cites });
    // Contests at once between two beside each other, and how each ends whatever the ids are.
    let contests = [
        (ends(b, 0, None, of_a), ends(a, 0, None, of_b), [ADMIN, ADMIN, MEMBER]),
        (ends(m, 0, None, of_a), lift(m, of_b), [ADMIN, ADMIN, ADMIN]),
        (ends(m, 0, Some(Role::Reader), of_a), ends(m, 0, None, of_b), [ADMIN, ADMIN, None]),
        (
            ends(m, 0, Some(Role::Reader), of_a),
            ends(m, 0, Some(Role::Member), of_b),
            [ADMIN, ADMIN, Some(Role::Reader)],
        ),
    ];
    for (one, other, expected) in contests {
        let mut lower = BTreeSet::new();
        for n in 0..24 {
            let mut stage = stage.clone();
            let (one, other) = (ground(&stage, A, &one, n), ground(&stage, B, &other, 7 * n));
            lower.insert(one.id() < other.id());
            stage.events.extend([one, other]);
            let roles = stage.settle();
            assert_eq!(roles, [&[FOUNDER][..], &expected].concat(), "{n}");
        }
        assert_eq!(lower.len(), 2, "each had the lower id at some time");
    }
}

#[test]
fn hazard_6_an_id_decides_only_between_two_good_keys() {
    let mut chosen = BTreeSet::new();
    for n in 0..24 {
        let mut stage = Stage::new();
        let keys = [EpochSecret::new([100 + n; 32]), EpochSecret::new([200 - n; 32])];
        for (who, secret) in [A, B].into_iter().zip(keys.clone()) {
            stage.does(who, |room, me| room.author_epoch(&me.key, secret, START + 9)).expect("may");
        }
        stage.settle();
        for room in &mut stage.rooms {
            for secret in &keys {
                assert!(room.members().permits(&secret.id(room.id())), "both are good");
                room.learn_secret(secret.clone());
            }
        }
        let used: BTreeSet<EpochId> =
            stage.rooms.iter().filter_map(|room| Some(room.sealing_epoch()?.0)).collect();
        assert_eq!(used.len(), 1, "and all seal with the same");
        chosen.insert(used.contains(&keys[0].id(stage.rooms[F].id())));
    }
    assert_eq!(chosen.len(), 2, "now one, now the other");
}

/// A founder, two admins, and a member with hundreds of puppets: accounts that it let in, and devices.
struct Troupe {
    crowd: Crowd,
    admins: [Person; 2],
    lifts: [ayni_core::id::EventId; 2],
    puppeteer: Person,
    puppets: Vec<Person>,
}

fn puppets() -> Troupe {
    let mut crowd = Crowd::new(250);
    let founder = crowd.founder.clone();
    let people = crowd.people.clone();
    let [one, other, puppeteer, ..] = &people[..] else { unreachable!("250") };
    let lifts = [one, other].map(|admin| {
        crowd.admit(&founder, admin);
        crowd.lift(&founder, None, admin)
    });
    crowd.admit(&founder, puppeteer);
    let mut puppets = people[3..].to_vec();
    for n in 0..50 {
        // Another device of its own account.
        let key = numbered(1000 + n).key;
        let cert = puppeteer.account.certify(key.id(), key.hpke_public(), START);
        puppets.push(Person { account: puppeteer.account.clone(), key, cert });
    }
    for puppet in &puppets {
        crowd.admit(puppeteer, puppet);
    }
    let (admins, puppeteer) = ([one.clone(), other.clone()], puppeteer.clone());
    Troupe { crowd, admins, lifts, puppeteer, puppets }
}

fn role(room: &Room, person: &Person) -> Option<Role> {
    room.members().role(&person.account())
}

#[test]
fn hazard_7_puppets_without_authority_can_do_nothing_together() {
    let Troupe { mut crowd, admins, lifts, puppeteer, puppets } = puppets();
    let founder = crowd.founder.clone();
    let before = crowd.last();
    let invite = crowd.invite.key();
    let mut citing = [None, Some(lifts[0]), Some(lifts[1])].into_iter().cycle();
    for (n, puppet) in puppets.iter().enumerate() {
        // Each removes, demotes, lifts, sets and revokes, at once, by whatever it likes to cite.
        let whom = [&founder, &admins[0], &admins[1]][n % 3].account();
        let then = (n % 2 == 0).then_some(Role::Reader);
        let cites = citing.next().expect("endless");
        let (cut, account) = (Cut::default(), puppeteer.account());
        let all = [
            Control::Remove(Remove { account: whom, term: 0, then, cut, cites }),
            Control::Grant(Grant { account, term: 0, role: Role::Founder, cites }),
            Control::Set(Set { cites, setting: Setting::Name("puppets".into()) }),
            Control::Set(Set { cites, setting: Setting::WhoPosts(Role::Founder) }),
            Control::Revoke(ayni_core::room::Revoke { invite, cites }),
        ];
        for control in all {
            crowd.say(puppet, &control, &[before]);
        }
    }
    // At once an admin removes the one behind them.
    let cites = Some(lifts[0]);
    let (cut, account) = (Cut::default(), puppeteer.account());
    let remove = Remove { account, term: 0, then: None, cut, cites };
    crowd.say(&admins[0], &Control::Remove(remove), &[before]);

    let mut room = crowd.empty();
    assert_eq!(take_all(&mut room, &crowd.runs()), crowd.events.len(), "all is kept");
    assert_eq!(role(&room, &founder), FOUNDER);
    assert_eq!([0, 1].map(|n| role(&room, &admins[n])), [ADMIN, ADMIN]);
    assert_eq!(role(&room, &puppeteer), None, "they do not protect it");
    assert!(puppets[247..].iter().all(|device| !room.members().is_member_device(&device.id())));
    assert_eq!(room.members().room_name(), Some("room"));
    assert_eq!(room.members().settings().who_posts(ayni_core::clock::Hlc(u64::MAX)), Role::Member);
    assert!(room.members().invite(&invite).is_some_and(|info| info.open));
    for puppet in &puppets[..247] {
        assert_eq!(role(&room, puppet), MEMBER, "let in before, and no more than that");
    }
}

#[test]
fn hazard_7_the_puppets_of_an_admin_are_below_it_and_fall_to_whoever_is_above() {
    let Troupe { mut crowd, admins, lifts, puppets, .. } = puppets();
    let founder = crowd.founder.clone();
    // The first admin makes a hundred of them admins: all below it, each citing it.
    let own: Vec<_> = puppets[..100]
        .iter()
        .map(|puppet| (puppet, crowd.lift(&admins[0], Some(lifts[0]), puppet)))
        .collect();
    let before = crowd.last();
    for (puppet, lift) in &own {
        let lifts = |whom: &Person| Grant {
            account: whom.account(),
            term: 0,
            role: Role::Admin,
            cites: Some(*lift),
        };
        // They lift the admin again, so that it stands on a hundred feet, and try the other one.
        let account = admins[1].account();
        let (cut, cites) = (Cut::default(), Some(*lift));
        let removes = Remove { account, term: 0, then: None, cut, cites };
        crowd.say(puppet, &Control::Grant(lifts(&admins[0])), &[before]);
        crowd.say(puppet, &Control::Remove(removes), &[before]);
    }
    let mut room = crowd.empty();
    assert_eq!(take_all(&mut room, &crowd.runs()), crowd.events.len());
    assert_eq!([0, 1].map(|n| role(&room, &admins[n])), [ADMIN, ADMIN], "beside all of them");
    // Whoever is above the one is above all of them, whatever they do at once.
    let account = admins[0].account();
    let remove = Remove { account, term: 0, then: None, cut: Cut::default(), cites: None };
    crowd.say(&founder, &Control::Remove(remove), &[before]);
    let mut room = crowd.empty();
    assert_eq!(take_all(&mut room, &crowd.runs()), crowd.events.len());
    assert_eq!([0, 1].map(|n| role(&room, &admins[n])), [None, ADMIN]);
}

/// The secrets that an honest member gives a device of an account now.
fn given(room: &Room, account: &AccountId) -> BTreeSet<EpochId> {
    let epochs = room.members().epochs().map(|(id, _)| *id);
    epochs.filter(|id| room.members().may_read(id, account)).collect()
}

#[test]
fn hazard_8_whom_a_removed_admin_adds_at_once_gets_no_key() {
    for heard_first in [false, true] {
        let mut stage = Stage::new();
        let newcomer = stage.people[4].clone();
        let account = newcomer.account();
        let old = stage.rooms[F].sealing_epoch().expect("founded with one").0;
        let mut unaware = stage.clone();
        // F removes A and mints a key; A, not having heard, invites and lets someone in.
        stage.removes(F, A).expect("above it");
        let secret = EpochSecret::new([44; 32]);
        let new = secret.id(stage.rooms[F].id());
        stage.does(F, |room, me| room.author_epoch(&me.key, secret.clone(), START)).expect("may");
        let by_founder = stage.events[unaware.events.len()..].to_vec();
        let (ticket, control) = invite(70);
        forges(&mut unaware, A, &control);
        let claim = newcomer.claim(&unaware.rooms[A], &ticket, unaware.people[A].id());
        forges(&mut unaware, A, &admission(claim, 0));
        let by_admin = unaware.events[stage.events.len() - by_founder.len()..].to_vec();

        let room = &mut stage.rooms[B];
        if heard_first {
            assert_eq!(deliver(room, &by_admin), vec![]);
            assert_eq!(given(room, &account), BTreeSet::from([old]), "as far as B knows");
            assert_eq!(deliver(room, &by_founder), vec![]);
        } else {
            assert_eq!(deliver(room, &by_founder), vec![]);
            assert_eq!(deliver(room, &by_admin), vec![]);
        }
        room.learn_secret(secret);
        let members = room.members();
        assert!(members.role(&account).is_none() && !members.is_member_device(&newcomer.id()));
        assert_eq!(given(room, &account), BTreeSet::new(), "no key, old or new");
        assert!(!members.is_meant_for(&old, &account) && !members.is_meant_for(&new, &account));
        assert!(!members.permits(&old), "the removed and the newcomer may have that one");
        assert!(members.permits(&new));
        assert_eq!(room.sealing_epoch().map(|(id, _)| id), Some(new));
        assert!(!room.members().invite(&ticket.key()).is_some_and(|info| info.open));
        stage.events.extend(by_admin);
        assert_eq!(stage.settle(), [FOUNDER, None, ADMIN, MEMBER]);
    }
}

#[test]
fn hazard_8_a_key_given_away_before_a_demotion_was_heard_of_is_not_used() {
    let mut stage = Stage::new();
    let newcomer = stage.people[4].clone();
    let old = stage.rooms[F].sealing_epoch().expect("founded with one").0;
    let mut unaware = stage.clone();
    // A is demoted, and so is still here; what it did at once as an admin is void.
    stage.grants(F, A, Role::Member).expect("above it");
    let claim = newcomer.claim(&unaware.rooms[A], &unaware.invite, unaware.people[A].id());
    forges(&mut unaware, A, &admission(claim, 0));
    let admitted = unaware.events.last().cloned().expect("stated");
    // B hears of the newcomer first, and gives it the key.
    assert_eq!(deliver(&mut stage.rooms[B], std::slice::from_ref(&admitted)), vec![]);
    assert!(given(&stage.rooms[B], &newcomer.account()).contains(&old));
    stage.events.push(admitted);
    assert_eq!(stage.settle(), [FOUNDER, MEMBER, ADMIN, MEMBER]);
    for room in &stage.rooms {
        assert!(room.members().role(&newcomer.account()).is_none());
        assert!(!room.members().permits(&old), "someone outside may have it");
    }
    // A key that was minted in knowledge of the demotion is good, whatever A states in its old log.
    let secret = EpochSecret::new([45; 32]);
    let new = secret.id(stage.rooms[F].id());
    stage.does(F, |room, me| room.author_epoch(&me.key, secret, START + 30)).expect("may");
    stage.settle();
    assert!(stage.rooms[B].members().permits(&new));
    let another = Person::new(20);
    let claim = another.claim(&stage.rooms[A], &stage.invite, stage.people[A].id());
    let at = Forged::next(&stage.rooms[A], &stage.people[A], 0);
    let void = stage.people[A].forge(&stage.rooms[A], &admission(claim, 0), at);
    stage.events.push(void);
    stage.settle();
    assert!(stage.rooms[B].members().permits(&new), "nobody acted on that");
}

/// A thousand devices say five things each: one after the other, or all at once.
fn broad(wide: bool) -> Crowd {
    let mut crowd = Crowd::new(1000);
    crowd.admit_all();
    let (people, before) = (crowd.people.clone(), crowd.last());
    for n in 0..5 {
        for person in &people {
            let control = Control::Profile(format!("name {n}"));
            if wide {
                crowd.say(person, &control, &[before]);
            } else {
                crowd.say_next(person, &control);
            }
        }
    }
    crowd
}

/// How long a replica takes over all of it, and then over what its founder does next.
#[allow(clippy::disallowed_methods, reason = "two durations of one run are compared")]
fn took(crowd: &Crowd) -> (Duration, usize) {
    let runs = crowd.singles();
    let begun = Instant::now();
    let mut room = Room::new(crowd.founded.id(), crowd.founder.id());
    assert_eq!(take_all(&mut room, &runs), crowd.events.len());
    let mut written = 0;
    let (key, now) = (&crowd.founder.key, START + 1_000_000);
    for nth in [3, 5, 8] {
        let account = crowd.people[nth].account();
        written += room.author_remove(key, account, now).expect("a founder").events.len();
    }
    let secret = EpochSecret::new([46; 32]);
    written += room.author_epoch(key, secret.clone(), now).expect("a member").events.len();
    assert!(room.members().permits(&secret.id(room.id())));
    assert_eq!(room.members().current().count(), 998);
    let log = crowd.founder.log(Lane::Control, 0);
    assert!(room.logs().log(&log).is_some());
    (begun.elapsed(), written)
}

#[test]
fn hazard_11_a_very_wide_graph_costs_little_more_than_a_narrow_one() {
    let (narrow, wide) = (broad(false), broad(true));
    assert_eq!(narrow.events.len(), wide.events.len());
    let best = |crowd: &Crowd| (0..3).map(|_| took(crowd)).min().expect("three");
    let ((narrow, few), (wide, gathered)) = (best(&narrow), best(&wide));
    assert_eq!(few, 4);
    // A thousand heads are gathered once, eight by each; then there is one.
    assert!((125..160).contains(&gathered), "{gathered}");
    assert!(wide < 8 * narrow, "{wide:?} against {narrow:?}");
}

//! Who may do what to whom, in every order of delivery.

mod kit;

use ayni_core::epoch::EpochSecret;
use ayni_core::event::{CheckedRun, Event};
use ayni_core::log::Lane;
use ayni_core::room::{
    AuthorError, Control, Fork, Grant, HeaderBytes, MemberInfo, Role, Room, Setting,
};
use kit::stage::{A, ADMIN, B, F, FOUNDER, M, MEMBER, READER, Stage, cites, ends, forges};
use kit::{Forged, Person, START, admission, deliver, invite, offer, replica, take};

#[test]
fn authority_goes_down_the_tree() {
    let mut stage = Stage::new();
    assert_eq!(stage.settle(), [FOUNDER, ADMIN, ADMIN, MEMBER]);
    for (who, whom) in [(A, B), (A, F), (M, A), (M, F), (A, A)] {
        assert_eq!(stage.removes(who, whom), Err(AuthorError::NotPermitted), "{who} {whom}");
    }
    assert_eq!(stage.grants(M, M, Role::Admin), Err(AuthorError::NotPermitted));
    assert_eq!(stage.grants(A, M, Role::Founder), Err(AuthorError::NotPermitted));
    assert_eq!(stage.removes(M, 4), Err(AuthorError::NotThere));
    // An admin makes an admin, who is below it and beside nobody above.
    stage.grants(A, M, Role::Admin).expect("an admin may");
    stage.settle();
    assert_eq!(stage.removes(M, A), Err(AuthorError::NotPermitted));
    assert_eq!(stage.removes(B, M), Err(AuthorError::NotPermitted), "M is A's");
    stage.grants(A, M, Role::Reader).expect("below it");
    assert_eq!(stage.settle(), [FOUNDER, ADMIN, ADMIN, READER]);
    stage.removes(B, M).expect("any admin removes those without authority");
    assert_eq!(stage.settle(), [FOUNDER, ADMIN, ADMIN, None]);
    assert!(
        stage.rooms[F].members().account(&stage.account(M)).is_some_and(MemberInfo::was_removed)
    );
}

#[test]
fn hazard_5_siblings_cannot_remove_each_other_and_one_above_can_remove_any() {
    let mut stage = Stage::new();
    // Each signs a removal of the other that its own replica would refuse.
    for (who, whom) in [(A, B), (B, A)] {
        let control = ends(stage.account(whom), 0, None, cites(&stage, who));
        forges(&mut stage, who, &control);
    }
    assert_eq!(stage.settle(), [FOUNDER, ADMIN, ADMIN, MEMBER]);
    stage.removes(F, A).expect("above both");
    assert_eq!(stage.settle(), [FOUNDER, None, ADMIN, MEMBER]);
}

#[test]
fn hazard_5_a_sibling_removes_nobody_also_where_nobody_answers_it() {
    // Two beside each other, and three in a chain that is no ring: each removal stands alone.
    for chain in [&[(A, B)][..], &[(A, B), (B, M)], &[(B, A), (M, B)]] {
        let mut stage = Stage::new();
        stage.grants(F, M, Role::Admin).expect("a founder may");
        stage.settle();
        let alone = stage.clone();
        for (who, whom) in chain {
            // Nobody has heard of the others.
            let mut said = alone.clone();
            let control = ends(stage.account(*whom), 0, None, cites(&stage, *who));
            forges(&mut said, *who, &control);
            stage.events.extend(said.events[alone.events.len()..].to_vec());
            stage.rooms[*who] = said.rooms[*who].clone();
        }
        assert_eq!(stage.settle(), [FOUNDER, ADMIN, ADMIN, ADMIN], "{chain:?}");
        stage.removes(F, A).expect("above all of them");
        assert_eq!(stage.settle(), [FOUNDER, None, ADMIN, ADMIN]);
    }
}

#[test]
fn hazard_4_what_a_removed_admin_backdates_is_void() {
    let mut stage = Stage::new();
    let mut clone = stage.clone();
    stage.removes(F, A).expect("above it");
    // It has not heard of that, or says so.
    let m = stage.account(M);
    clone.does(A, |room, me| room.author_role(&me.key, m, Role::Admin, START + 11)).expect("then");
    let (secret, control) = invite(60);
    clone.does(A, |room, me| room.author_control(&me.key, &control, START + 11)).expect("then");
    let newcomer = clone.people[4].clone();
    let claim = newcomer.claim(&clone.rooms[A], &secret, clone.people[A].id());
    let admits = admission(claim, 0);
    clone.does(A, |room, me| room.author_control(&me.key, &admits, START + 12)).expect("then");
    stage.events = clone.events.iter().chain(&stage.events).cloned().collect();
    assert_eq!(stage.settle(), [FOUNDER, None, ADMIN, MEMBER]);
    assert!(!stage.rooms[F].members().is_member_device(&newcomer.id()), "hazard 8: not let in");
}

#[test]
fn a_removal_beats_a_grant_from_below_and_not_one_from_beside() {
    let mut stage = Stage::new();
    stage.removes(F, M).expect("above it");
    stage.grants(A, M, Role::Admin).expect("not heard yet");
    assert_eq!(stage.settle()[M], None, "A is below F");
    let mut stage = Stage::new();
    stage.removes(A, M).expect("any admin");
    stage.grants(B, M, Role::Admin).expect("not heard yet");
    assert_eq!(stage.settle()[M], ADMIN, "B is beside A");
}

#[test]
fn hazard_14_who_was_removed_does_not_come_back_by_the_ticket_it_has() {
    let mut stage = Stage::new();
    stage.removes(F, M).expect("above it");
    stage.settle();
    let (member, term) = (stage.people[M].clone(), 1);
    let claim = member.claim(&stage.rooms[F], &stage.invite, stage.people[A].id());
    let admits = admission(claim, term);
    stage.does(A, |room, me| room.author_control(&me.key, &admits, START + 20)).expect("says so");
    assert_eq!(stage.settle()[M], None);
    // An invite that was made in knowledge of the removal is another matter.
    let (secret, control) = invite(61);
    stage.does(B, |room, me| room.author_control(&me.key, &control, START + 21)).expect("may");
    let claim = member.claim(&stage.rooms[B], &secret, stage.people[B].id());
    let admits = admission(claim, term);
    stage.does(B, |room, me| room.author_control(&me.key, &admits, START + 22)).expect("may");
    assert_eq!(stage.settle()[M], MEMBER);
}

/// A room in which much has changed, and what it was before.
fn changed_room() -> (Stage, Stage, EpochSecret) {
    let mut stage = Stage::new();
    stage
        .does(F, |room, me| room.author_setting(&me.key, &Setting::Name("old".into()), START + 9))
        .expect("a founder");
    stage.settle();
    let before = stage.clone();
    stage.removes(F, M).expect("above it");
    stage.grants(F, A, Role::Reader).expect("above it");
    let key = stage.invite.key();
    stage.does(F, |room, me| room.author_revoke(&me.key, key, START + 10)).expect("a founder");
    let name = Setting::Name("new".into());
    stage.does(F, |room, me| room.author_setting(&me.key, &name, START + 10)).expect("a founder");
    let fresh = EpochSecret::new([61; 32]);
    stage
        .does(F, |room, me| room.author_epoch(&me.key, fresh.clone(), START + 10))
        .expect("a member");
    (stage, before, fresh)
}

#[test]
fn hazard_10_stale_and_partial_state_reverts_nothing() {
    let (mut stage, before, fresh) = changed_room();
    let old = before.rooms[F].sealing_epoch().expect("founded with one").0;
    let is_new = |room: &Room, stage: &Stage| {
        let members = room.members();
        assert_eq!(stage.roles()[M], None);
        assert_eq!(members.role(&stage.account(M)), None);
        assert_eq!(members.role(&stage.account(A)), READER);
        assert_eq!(members.settings().name(), Some("new"));
        assert!(members.invite(&stage.invite.key()).is_some_and(|info| !info.open));
        assert!(!members.permits(&old) && members.permits(&fresh.id(room.id())));
    };
    // Any part of what was, in any order, again and again.
    stage.settle();
    for step in 1..before.events.len() {
        for from in 0..step {
            let part = before.events.iter().skip(from).step_by(step).cloned();
            let mut part: Vec<Event> = part.collect();
            part.reverse();
            deliver(&mut stage.rooms[B], &part);
        }
    }
    is_new(&stage.rooms[B], &stage);
    // Whoever has not heard goes on as if nothing had been, long after, and dates it as it likes.
    let mut stale = before.clone();
    for late in [START + 30, START + 400 * kit::DAY] {
        for (who, name) in [(A, "by who is a reader"), (B, "by who has not heard")] {
            let setting = Setting::Name(name.into());
            let said = stale.does(who, |room, me| room.author_setting(&me.key, &setting, late));
            said.expect("an admin as far as it knows");
        }
        let claim = stale.people[4].claim(&stale.rooms[A], &stale.invite, stale.people[A].id());
        forges(&mut stale, A, &admission(claim, 0));
    }
    stage.events.extend(stale.events[before.events.len()..].to_vec());
    stage.settle();
    for room in &stage.rooms {
        is_new(room, &stage);
        assert_eq!(room.members().role(&stage.account(4)), None, "by a ticket that is over");
    }
    // A replica that is begun again from the old state hears the rest, and is where the others are.
    let mut again = Room::new(stage.rooms[B].id(), stage.people[B].id());
    again.restore_control(before.events.clone());
    assert_eq!(again.members().role(&stage.account(M)), MEMBER);
    assert_eq!(deliver(&mut again, &stage.events), vec![]);
    assert_eq!(again.state_hash(), stage.rooms[B].state_hash());
    is_new(&again, &stage);
}

#[test]
fn hazard_14_a_member_back_after_months_brings_no_removed_member_back() {
    let (mut stage, before, _) = changed_room();
    let late = START + 200 * kit::DAY;
    // From a backup of the time when M was here; each does for M what it may, as far as it knows.
    let mut stale = before.clone();
    let m = stage.account(M);
    let role = |role| move |room: &mut Room, me: &Person| room.author_role(&me.key, m, role, late);
    stale.does(A, role(Role::Reader)).expect("demotes it, so that it goes on in another term");
    let mut lifts = before.clone();
    lifts.does(A, role(Role::Admin)).expect("an admin, as far as it knows");
    let mut admits = before.clone();
    for (by, term) in [(B, 0), (A, 0), (B, 1), (A, 1)] {
        let claim =
            admits.people[M].claim(&admits.rooms[by], &admits.invite, admits.people[by].id());
        forges(&mut admits, by, &admission(claim, term));
    }
    // Its own new device, which its account certifies, and a new invite of its own.
    let device = Person::device(4, 44);
    let (ticket, control) = invite(74);
    forges(&mut admits, M, &control);
    let claim = device.claim(&admits.rooms[M], &ticket, admits.people[M].id());
    forges(&mut admits, M, &admission(claim, 0));
    for branch in [&stale, &lifts, &admits] {
        let mut stage = stage.clone();
        stage.events.extend(branch.events[before.events.len()..].to_vec());
        assert_eq!(stage.settle()[M], None);
        assert!(stage.rooms[F].members().current().all(|(account, _)| *account != m));
        assert!(!stage.rooms[F].members().is_member_device(&device.id()));
    }
    stage.settle();
    assert!(stage.rooms[B].handover(&device.id(), None).is_none());
}

#[test]
fn the_invites_of_who_is_removed_and_revoked_ones_end_and_whom_they_admitted_stays() {
    for revokes in [false, true] {
        let mut stage = Stage::new();
        let (secret, control) = invite(62);
        stage.does(A, |room, me| room.author_control(&me.key, &control, START + 5)).expect("may");
        stage.settle();
        let admit = |stage: &mut Stage, who: &Person, by: usize| {
            let claim = who.claim(&stage.rooms[by], &secret, stage.people[by].id());
            let control = admission(claim, 0);
            stage
                .does(by, |room, me| room.author_control(&me.key, &control, START + 6))
                .expect("m");
        };
        let (early, late) = (Person::new(20), Person::new(21));
        admit(&mut stage, &early, B);
        stage.settle();
        if revokes {
            let key = secret.key();
            assert_eq!(
                stage.does(M, |room, me| room.author_revoke(&me.key, key, START + 7)),
                Err(AuthorError::NotPermitted),
                "neither its own nor with authority"
            );
            stage
                .does(B, |room, me| room.author_revoke(&me.key, key, START + 7))
                .expect("an admin");
        } else {
            stage.removes(F, A).expect("above it");
        }
        // M has not heard of it.
        admit(&mut stage, &late, M);
        stage.settle();
        let members = stage.rooms[F].members();
        assert!(members.is_member_device(&early.id()) && !members.is_member_device(&late.id()));
        assert!(members.invite(&secret.key()).is_some_and(|info| !info.open));
    }
}

#[test]
fn a_demotion_goes_on_in_the_next_term_and_the_lowest_of_two_counts() {
    let mut stage = Stage::new();
    let mut other = stage.clone();
    let (a, laptop) = (stage.account(A), Person::device(1, 11));
    // The founder's two devices demote at once.
    let claim = laptop.claim(&stage.rooms[F], &stage.invite, stage.people[F].id());
    let admits = admission(claim, 0);
    stage.does(F, |room, me| room.author_control(&me.key, &admits, START + 5)).expect("may");
    stage.settle();
    let on_laptop = &mut replica(&laptop, &stage.rooms[F], &stage.events);
    stage.grants(F, A, Role::Member).expect("above it");
    let demoted = on_laptop.author_role(&laptop.key, a, Role::Reader, START + 10).expect("above");
    stage.events.extend(demoted.events);
    assert_eq!(stage.settle()[A], READER);
    // One who leaves at that moment is out.
    other.grants(F, A, Role::Member).expect("above it");
    other.does(A, |room, me| room.author_leave(&me.key, START + 9)).expect("always");
    assert_eq!(other.settle()[A], None, "leaving wins");
}

#[test]
fn readers_are_not_heard() {
    let mut stage = Stage::new();
    stage.grants(A, M, Role::Reader).expect("any admin");
    stage.settle();
    let chat = ayni_core::chat::Chat::message("psst").expect("short");
    let refused = stage.does(M, |room, me| room.author_chat(&me.key, &chat, START + 11, &[1; 32]));
    assert_eq!(refused, Err(AuthorError::NotPermitted));
    let (_, control) = invite(63);
    stage.does(M, |room, me| room.author_control(&me.key, &control, START + 12)).expect("written");
    stage.settle();
    let Control::Invite(invite) = control else { unreachable!("an invite") };
    assert!(stage.rooms[F].members().invite(&invite.key).is_none(), "a reader's invites are void");
    assert_eq!(stage.grants(A, M, Role::Member).map(|events| events.len()), Ok(1));
    assert_eq!(stage.settle()[M], MEMBER);
}

#[test]
fn hazard_9_no_epoch_that_includes_who_is_removed_is_used() {
    let mut stage = Stage::new();
    let first = stage.rooms[F].sealing_epoch().expect("founded with one").0;
    stage.removes(F, A).expect("above it");
    stage
        .does(F, |room, me| room.author_epoch(&me.key, EpochSecret::new([31; 32]), START + 11))
        .expect("may");
    // At once another removal, whose author has not heard of the first.
    stage.removes(B, M).expect("any admin");
    stage
        .does(B, |room, me| room.author_epoch(&me.key, EpochSecret::new([32; 32]), START + 11))
        .expect("may");
    for room in &mut stage.rooms {
        room.learn_secret(EpochSecret::new([31; 32]));
        room.learn_secret(EpochSecret::new([32; 32]));
    }
    stage.settle();
    for room in &stage.rooms {
        assert!(!room.members().permits(&first));
        assert_eq!(room.sealing_epoch(), None, "each was minted for one who is removed");
    }
    assert!(stage.rooms[F].needs_epoch(START + 12));
    let secret = EpochSecret::new([33; 32]);
    stage.does(F, |room, me| room.author_epoch(&me.key, secret, START + 12)).expect("may");
    stage.settle();
    assert!(stage.rooms[F].sealing_epoch().is_some());
    // Who has the new one has all that it followed.
    let mut late = Room::new(stage.rooms[F].id(), stage.people[B].id());
    deliver(&mut late, &stage.events);
    late.learn_secret(EpochSecret::new([33; 32]));
    assert_eq!(late.missing_secrets(), vec![]);
}

#[test]
fn hazard_1_a_fork_is_proved_and_ends_the_log() {
    let mut stage = Stage::new();
    let before = stage.clone();
    // A signs two branches, and shows one to B and one to M.
    let mut twin = stage.clone();
    let one = stage
        .does(A, |room, me| room.author_setting(&me.key, &Setting::Topic("one".into()), START + 10))
        .expect("an admin");
    let other = twin
        .does(A, |room, me| {
            room.author_setting(&me.key, &Setting::Topic("other".into()), START + 10)
        })
        .expect("an admin");
    take(&mut stage.rooms[B], &one[0]);
    take(&mut stage.rooms[M], &other[0]);
    // Both build upon what they have.
    let on_one = stage
        .does(B, |room, me| room.author_setting(&me.key, &Setting::Name("b".into()), START + 11))
        .expect("an admin");
    let on_other = stage
        .does(M, |room, me| room.author_control(&me.key, &Control::Profile("m".into()), START + 11))
        .expect("a member");
    assert_eq!(offer(&mut stage.rooms[M], &one[0]), Err(ayni_core::room::Reject::Fork));
    assert_eq!(
        offer(&mut stage.rooms[M], &on_one[0]),
        Err(ayni_core::room::Reject::MissingDeps),
        "what builds upon the other branch waits"
    );
    let fork = Fork::new(&one[0], &other[0], vec![]);
    let log = stage.people[A].log(Lane::Control, 0);
    assert_eq!(fork.proves(stage.rooms[M].id()), Some((log, one[0].seq())));
    let proved = stage
        .does(M, |room, me| {
            room.author_fork(&me.key, Fork { void: headers(&other), ..fork.clone() }, START + 12)
        })
        .expect("proved");
    // B hears of the proof, and declares the branch that it has.
    deliver(&mut stage.rooms[B], &[on_other[0].clone(), proved[0].clone()]);
    let void = stage.rooms[B].members().undeclared(&log);
    assert_eq!(void, headers(&one));
    stage
        .does(B, |room, me| room.author_fork(&me.key, Fork { void, ..fork }, START + 13))
        .expect("proved");
    stage.events.retain(|event| event.id() != one[0].id() && event.id() != other[0].id());
    stage.rooms[A] = before.rooms[A].clone();
    stage.settle();
    for room in &stage.rooms {
        assert_eq!(room.members().settings().topic(), None, "both branches are void");
        assert_eq!(room.members().settings().name(), Some("b"), "what others said stays");
        assert!(room.members().is_frozen(&stage.people[A].id()));
        assert!(!room.members().is_member_device(&stage.people[A].id()));
    }
}

#[test]
fn what_was_built_upon_a_void_branch_comes_with_the_proof_that_follows_it() {
    let mut stage = Stage::new();
    let mut twin = stage.clone();
    let says = |stage: &mut Stage, topic: &str| {
        let setting = Setting::Topic(topic.into());
        stage.does(A, |room, me| room.author_setting(&me.key, &setting, START + 10)).expect("admin")
    };
    let one: Vec<Event> = ["1", "2", "3"].iter().flat_map(|it| says(&mut stage, it)).collect();
    let other: Vec<Event> = ["4", "5", "6"].iter().flat_map(|it| says(&mut twin, it)).collect();
    deliver(&mut stage.rooms[B], &one);
    deliver(&mut stage.rooms[M], &other[..2]);
    // B builds upon its branch before it hears of the other one, and proves the fork then.
    let named = Control::Profile("b".into());
    let mut by_b = stage
        .does(B, |room, me| room.author_control(&me.key, &named, START + 11))
        .expect("a member");
    let fork = Fork::new(&one[0], &other[0], vec![]);
    for _ in 0..2 {
        // The first proof makes known what is void, the second declares it.
        let log = stage.people[A].log(Lane::Control, 0);
        let void = stage.rooms[B].members().undeclared(&log);
        let proof = Fork { void, ..fork.clone() };
        by_b.extend(
            stage.does(B, |room, me| room.author_fork(&me.key, proof, START + 12)).expect("proved"),
        );
    }
    // What goes on where M's branch ends, from another event, shows that there are two.
    let room = stage.rooms[M].id();
    let goes_on = CheckedRun::new(room, one[2..].to_vec()).expect("signed");
    assert!(stage.rooms[M].contradicts(&goes_on));
    let run = CheckedRun::new(room, by_b.clone()).expect("signed");
    let taken = stage.rooms[M].accept(run, START + 13).expect("with the proof");
    assert_eq!(taken.events, by_b);
    assert!(stage.rooms[M].members().is_frozen(&stage.people[A].id()));
}

#[test]
fn hazard_1_whom_a_forked_branch_let_in_does_not_split_the_room() {
    let mut stage = Stage::new();
    let before = stage.clone();
    let mut twin = stage.clone();
    // A signs two branches. On one it invites and lets someone in, and makes M an admin.
    forges(&mut stage, A, &Control::Profile("one".into()));
    let newcomer = stage.people[4].clone();
    let (ticket, control) = invite(71);
    forges(&mut twin, A, &control);
    let claim = newcomer.claim(&twin.rooms[A], &ticket, twin.people[A].id());
    forges(&mut twin, A, &admission(claim, 0));
    let lift =
        Grant { account: twin.account(M), term: 0, role: Role::Admin, cites: cites(&twin, A) };
    forges(&mut twin, A, &Control::Grant(lift));
    let setup = before.events.len();
    let (one, other) = (stage.events[setup..].to_vec(), twin.events[setup..].to_vec());
    // That someone and M hear of that branch, in good faith, and build upon it; B builds upon them.
    deliver(&mut twin.rooms[4], &twin.events.clone());
    deliver(&mut twin.rooms[M], &twin.events.clone());
    forges(&mut twin, 4, &Control::Profile("new".into()));
    let by_lift = Control::Set(ayni_core::room::Set {
        cites: Some(other[2].id()),
        setting: Setting::Topic("by a void grant".into()),
    });
    forges(&mut twin, M, &by_lift);
    let late = Person::new(21);
    let claim = late.claim(&twin.rooms[M], &ticket, twin.people[M].id());
    forges(&mut twin, M, &admission(claim, 0));
    deliver(&mut twin.rooms[B], &twin.events.clone());
    forges(&mut twin, B, &Control::Profile("b".into()));
    let built = twin.events[setup + other.len()..].to_vec();

    // F has the other branch, sees the fork, and proves it before it hears of any of that.
    let mut founder = before.rooms[F].clone();
    deliver(&mut founder, &one);
    let fork = Fork::new(&one[0], &other[0], vec![]);
    let key = stage.people[F].key.clone();
    let mut proof = founder.author_fork(&key, fork.clone(), START + 40).expect("proved").events;
    let void = founder.members().undeclared(&one[0].log());
    let own = founder.author_fork(&key, Fork { void, ..fork.clone() }, START + 40);
    proof.extend(own.expect("proved").events);
    assert_eq!(deliver(&mut founder.clone(), &built), built, "they wait for what they name");
    // B hears of the proof, and declares what it has.
    let log = stage.people[A].log(Lane::Control, 0);
    deliver(&mut twin.rooms[B], &proof);
    let void = twin.rooms[B].members().undeclared(&log);
    assert_eq!(void.len(), 3);
    let key = stage.people[B].key.clone();
    let declared = twin.rooms[B].author_fork(&key, Fork { void, ..fork }, START + 41);
    let declared = declared.expect("proved").events;
    assert_eq!(twin.rooms[B].members().undeclared(&log), vec![], "once");

    assert_eq!(deliver(&mut founder, &[built.clone(), declared.clone()].concat()), vec![]);
    let mut last = before.rooms[F].clone();
    let order = [&declared[..], &built, &proof, &other].concat();
    deliver(&mut last, &order);
    for room in [&last, &twin.rooms[B]] {
        assert_eq!(room.members(), founder.members());
        assert_eq!(room.state_hash(), founder.state_hash());
    }
    assert_eq!(founder.members().role(&newcomer.account()), None, "let in by nothing that counts");
    assert_eq!(founder.members().role(&late.account()), None);
    assert_eq!(founder.members().role(&stage.account(M)), MEMBER);
    assert_eq!(founder.members().settings().topic(), None);
}

#[test]
fn keys_of_a_void_branch_are_followed_by_nobody() {
    let mut stage = Stage::new();
    let mut twin = stage.clone();
    let mints = |stage: &mut Stage, who: usize, n: u8| {
        let secret = EpochSecret::new([n; 32]);
        stage.does(who, |room, me| room.author_epoch(&me.key, secret, START + 10)).expect("may")
    };
    let (one, other) = (mints(&mut stage, A, 70), mints(&mut twin, A, 71));
    deliver(&mut stage.rooms[B], &one);
    deliver(&mut stage.rooms[M], &other);
    // Each mints upon what it has, before it hears of the other branch.
    mints(&mut stage, B, 72);
    mints(&mut stage, M, 73);
    let log = stage.people[A].log(Lane::Control, 0);
    let fork = Fork::new(&one[0], &other[0], vec![]);
    for (who, branch) in [(B, &one), (M, &other)] {
        let proof = Fork { void: headers(branch), ..fork.clone() };
        stage.does(who, |room, me| room.author_fork(&me.key, proof, START + 12)).expect("proved");
    }
    stage.events.retain(|event| event.id() != one[0].id());
    let before = stage.clone();
    for who in [F, A] {
        stage.rooms[who] = replica(&stage.people[who], &before.rooms[B], &[]);
        deliver(&mut stage.rooms[who], &stage.events.clone());
    }
    stage.settle();
    assert_eq!(stage.rooms[F].members().fork_of(&log), Some(one[0].seq()));
    let depths: Vec<u32> = stage.rooms[B].members().epochs().map(|(_, it)| it.depth).collect();
    assert_eq!(depths.len(), 3, "the first, and one of each");
}

#[test]
fn who_left_may_still_say_that_what_its_leaving_depends_on_is_void() {
    let mut stage = Stage::new();
    let mut twin = stage.clone();
    let setting = |n: &str| Setting::Topic(n.into());
    let says = |stage: &mut Stage, topic: &str| {
        stage
            .does(A, |room, me| room.author_setting(&me.key, &setting(topic), START + 10))
            .expect("an admin")
    };
    let (one, other) = (says(&mut stage, "one"), says(&mut twin, "other"));
    deliver(&mut stage.rooms[M], &one);
    deliver(&mut stage.rooms[B], &other);
    let mut by_m =
        stage.does(M, |room, me| room.author_leave(&me.key, START + 11)).expect("a member");
    let fork = Fork::new(&one[0], &other[0], vec![]);
    let proof = Fork { void: headers(&one), ..fork };
    by_m.extend(
        stage.does(M, |room, me| room.author_fork(&me.key, proof, START + 12)).expect("it left"),
    );
    let run = CheckedRun::new(stage.rooms[B].id(), by_m.clone()).expect("signed");
    assert_eq!(stage.rooms[B].accept(run, START + 13).expect("with the proof").events, by_m);
    assert_eq!(stage.rooms[B].members().role(&stage.account(M)), None);
    // Nothing else can be said after leaving, and by who was removed nothing at all.
    let profile = Control::Profile("m".into());
    let more = stage.does(M, |room, me| room.author_control(&me.key, &profile, START + 14));
    assert_eq!(more, Err(AuthorError::NotAMember));
}

fn headers(events: &[Event]) -> Vec<HeaderBytes> {
    events.iter().map(|event| HeaderBytes(event.header_bytes().to_vec())).collect()
}

#[test]
fn newer_rules_are_kept_and_nothing_is_written_under_them() {
    let mut stage = Stage::new();
    let refused = stage.does(A, |room, me| room.author_upgrade(&me.key, 2, START + 10));
    assert_eq!(refused, Err(AuthorError::NotPermitted), "only a founder");
    stage.does(F, |room, me| room.author_upgrade(&me.key, 2, START + 10)).expect("a founder");
    stage.settle();
    let chat = ayni_core::chat::Chat::message("hello").expect("short");
    let said = stage.does(M, |room, me| room.author_chat(&me.key, &chat, START + 11, &[1; 32]));
    assert_eq!(said, Err(AuthorError::NewerRules));
    assert_eq!(stage.removes(F, M), Err(AuthorError::NewerRules));
}

#[test]
fn a_grant_for_a_term_that_has_not_begun_does_not_undo_a_removal() {
    // B grants A's next term beforehand, so that a removal would not hold.
    let mut stage = Stage::new();
    let (person, account) = (stage.people[B].clone(), stage.account(A));
    let cites = Some(stage.events[stage.events.len() - 1].id());
    let grant = Grant { account, term: 1, role: Role::Admin, cites };
    let deps = stage.events.last().map(Event::id).into_iter().collect();
    let at = Forged { deps, ..Forged::next(&stage.rooms[B], &person, 0) };
    let event = person.forge(&stage.rooms[B], &Control::Grant(grant), at);
    stage.removes(F, A).expect("above it");
    stage.events.push(event);
    assert_eq!(stage.settle()[A], None);
}

#[test]
fn a_term_that_has_not_begun_cannot_be_ended() {
    for whom in [F, B] {
        let mut stage = Stage::new();
        let control = ends(stage.account(whom), 1, Some(Role::Reader), cites(&stage, A));
        forges(&mut stage, A, &control);
        assert_eq!(stage.settle(), [FOUNDER, ADMIN, ADMIN, MEMBER]);
    }
}

#[test]
fn ending_an_old_term_ends_nothing_that_came_after_it() {
    let mut stage = Stage::new();
    stage.does(M, |room, me| room.author_leave(&me.key, START + 5)).expect("may");
    stage.settle();
    stage.grants(F, M, Role::Admin).expect("a founder may");
    assert_eq!(stage.settle()[M], ADMIN);
    let control = ends(stage.account(M), 0, None, cites(&stage, A));
    forges(&mut stage, A, &control);
    assert_eq!(stage.settle()[M], ADMIN, "A is beside it");
}

#[test]
fn who_knows_of_a_removal_cannot_undo_it_with_a_grant_for_the_ended_term() {
    let mut stage = Stage::new();
    stage.removes(A, M).expect("any admin");
    stage.settle();
    let grant =
        Grant { account: stage.account(M), term: 0, role: Role::Admin, cites: cites(&stage, B) };
    forges(&mut stage, B, &Control::Grant(grant));
    assert_eq!(stage.settle()[M], None);
}

#[test]
fn a_proof_of_a_fork_declares_nothing_void_but_the_forked_log() {
    let mut stage = Stage::new();
    let mut twin = stage.clone();
    let profile = |name: &str| Control::Profile(name.into());
    forges(&mut stage, M, &profile("one"));
    forges(&mut twin, M, &profile("other"));
    let (one, other) = (stage.events.last().cloned(), twin.events.last().cloned());
    let (one, other) = (one.expect("said"), other.expect("said"));
    forges(&mut stage, B, &profile("b"));
    let honest = stage.events.last().cloned().expect("said");
    let fork = Fork::new(&one, &other, headers(&[honest.clone(), other.clone()]));
    let log = stage.people[M].log(Lane::Control, 0);
    deliver(&mut stage.rooms[A], std::slice::from_ref(&one));
    stage
        .does(A, |room, me| room.author_fork(&me.key, fork, START + 30))
        .expect("it proves a fork");
    assert_eq!(stage.rooms[A].members().fork_of(&log), Some(0));
    forges(&mut stage, B, &profile("b again"));
    let after = stage.events.last().cloned().expect("said");
    let proof = stage.events[stage.events.len() - 2].clone();
    let mut room = replica(&stage.people[4], &Stage::new().rooms[F], &Stage::new().events);
    let _ = offer(&mut room, &proof);
    assert!(offer(&mut room, &after).is_err(), "it waits for what it depends on");
}

#[test]
fn what_nobody_can_settle_has_no_effect_also_later() {
    const N: usize = 4;
    let mut stage = Stage::new();
    let claim = stage.people[N].claim(&stage.rooms[F], &stage.invite, stage.people[F].id());
    let admits = admission(claim, 0);
    stage.does(F, |room, me| room.author_control(&me.key, &admits, START + 4)).expect("may");
    stage.settle();
    stage.grants(A, M, Role::Admin).expect("may");
    stage.grants(B, N, Role::Admin).expect("may");
    stage.settle();
    // All at once: M and N, who are of different admins, lift each other, and both are removed.
    let (m, n) = (stage.account(M), stage.account(N));
    let (of_m, of_n) = (cites(&stage, M), cites(&stage, N));
    let lift =
        |account, cites| Control::Grant(Grant { account, term: 0, role: Role::Admin, cites });
    forges(&mut stage, M, &lift(n, of_m));
    forges(&mut stage, N, &lift(m, of_n));
    stage.removes(A, M).expect("as far as it knows");
    stage.removes(B, N).expect("as far as it knows");
    assert_eq!(stage.settle()[M], ADMIN, "undecided");
    let grant = Grant { account: m, term: 1, role: Role::Reader, cites: None };
    forges(&mut stage, F, &Control::Grant(grant));
    assert_eq!(stage.settle()[M], ADMIN, "its term has not ended");
}

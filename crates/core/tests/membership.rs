//! Who belongs to a room: founding, inviting, admitting, leaving, names, direct rooms.

mod kit;

use ayni_core::epoch::EpochSecret;
use ayni_core::keys::InviteSecret;
use ayni_core::limits::MAX_NAME;
use ayni_core::log::Lane;
use ayni_core::proto::JoinRequest;
use ayni_core::room::{
    AuthorError, Control, Effect, Genesis, GenesisBody, Reject, Role, Room, Set, Setting,
};
use kit::{
    DAY, Forged, Person, START, admission, deliver, invite, offer, only, replica, room_name, take,
};

/// A room of a founder (1), with an invite, and a member (2) whom the founder admitted.
struct Group {
    room: Room,
    events: Vec<ayni_core::event::Event>,
    founder: Person,
    member: Person,
    invite: InviteSecret,
}

fn group() -> Group {
    let (founder, member) = (Person::new(1), Person::new(2));
    let (mut room, mut events) = founder.found();
    let (secret, control) = invite(50);
    events.push(founder.state(&mut room, &control, START + 1));
    let claim = member.claim(&room, &secret, founder.id());
    events.push(founder.state(&mut room, &admission(claim, 0), START + 2));
    Group { room, events, founder, member, invite: secret }
}

#[test]
fn a_founder_is_a_member_with_names_and_a_key() {
    let founder = Person::new(1);
    let (room, events) = founder.found();
    assert_eq!(events.len(), 4);
    assert!(room.am_member());
    assert_eq!(room.members().room_name(), Some("room"));
    let info = room.members().account(&founder.account()).expect("known");
    assert!(info.founder && info.is_member());
    assert_eq!((info.current_term(), info.name()), (Some(0), Some("founder")));
    assert!(room.sealing_epoch().is_some() && room.topic().is_some());
    assert!(room.missing_secrets().is_empty());
}

#[test]
fn any_member_admits_by_an_invite() {
    let mut group = group();
    let (member, newcomer) = (&group.member, Person::new(3));
    let mut theirs = replica(member, &group.room, &group.events);
    assert!(theirs.am_member());
    // The founder's invite; the member, who founded nothing, admits.
    let claim = newcomer.claim(&theirs, &group.invite, member.id());
    let event = member.state(&mut theirs, &admission(claim, 0), START + 5);
    let accepted = offer(&mut group.room, &event).expect("a member's");
    assert_eq!(accepted.effects, vec![Effect::Joined(newcomer.account())]);
    assert!(group.room.members().is_member_device(&newcomer.id()));
    let invite = group.room.members().invite(&group.invite.key()).expect("stands");
    assert_eq!(invite.inviter, group.founder.account());
    assert_eq!(invite.admitted.len(), 2);
}

#[test]
fn forged_admissions_have_no_effect() {
    let group = group();
    let (founder, newcomer) = (&group.founder, Person::new(3));
    let good = newcomer.claim(&group.room, &group.invite, founder.id());
    let other_room = Room::new(Genesis::group(founder.account(), [8; 32]).id(), founder.id());
    let stranger = InviteSecret::from_seed(&[66; 32]);
    let stolen_cert = {
        let mut claim = good.claim.clone();
        claim.cert = Person::new(4).cert;
        claim.sign(&group.invite, &newcomer.key)
    };
    let uncertified = {
        let mut claim = good.claim.clone();
        claim.cert.claim.time_ms += 1;
        claim.sign(&group.invite, &newcomer.key)
    };
    let forged: [(&str, JoinRequest); 7] = [
        ("the invite's signature is by another key", {
            JoinRequest { invite_signature: stranger.sign(b"x"), ..good.clone() }
        }),
        ("the device's signature is missing", {
            JoinRequest { device_signature: good.invite_signature, ..good.clone() }
        }),
        ("it was made to another member", {
            newcomer.claim(&group.room, &group.invite, group.member.id())
        }),
        ("it is for another room", newcomer.claim(&other_room, &group.invite, founder.id())),
        ("nobody made this invite", newcomer.claim(&group.room, &stranger, founder.id())),
        ("another device's certificate", stolen_cert),
        ("a certificate that the account did not sign", uncertified),
    ];
    for (why, request) in forged {
        let mut room = group.room.clone();
        let before = room.members().current().count();
        let event = founder.state(&mut room, &admission(request, 0), START + 9);
        assert_eq!(room.members().current().count(), before, "{why}");
        // Others take the event into the log, and give it no effect either.
        let mut theirs = replica(&group.member, &group.room, &group.events);
        match offer(&mut theirs, &event) {
            Ok(accepted) => {
                assert_eq!(accepted.effects, vec![], "{why}");
                assert_eq!(room.state_hash(), theirs.state_hash());
            }
            // Or wait for the invite for ever.
            Err(reject) => {
                assert_eq!((why, reject), ("nobody made this invite", Reject::MissingDeps));
            }
        }
    }
    let mut room = group.room.clone();
    founder.state(&mut room, &admission(good, 0), START + 9);
    assert!(room.members().is_member_device(&newcomer.id()), "the honest one has");
}

#[test]
fn hazard_12_a_changed_genesis_under_the_same_id_is_refused() {
    let group = group();
    let (founder, thief) = (&group.founder, Person::new(66));
    let genesis = group.room.members().genesis().expect("founded").clone();
    let changed = [
        Genesis { founders: vec![thief.account()], ..genesis.clone() },
        Genesis { nonce: None, kind: ayni_core::room::Kind::Own, ..genesis.clone() },
        Genesis { nonce: Some(ayni_core::keys::Bytes32([8; 32])), ..genesis.clone() },
        Genesis {
            policies: ayni_core::room::Policies { history: ayni_core::room::History::FromJoining },
            ..genesis.clone()
        },
    ];
    for other in changed {
        assert_ne!(other.id(), group.room.id());
        for who in [founder, &thief] {
            let start = GenesisBody { genesis: other.clone(), cert: who.cert.clone() };
            let event = who.forge(&group.room, &Control::Genesis(start), Forged::default());
            // By who has nothing yet: it is not the beginning of this room.
            let mut empty = Room::new(group.room.id(), Person::new(3).id());
            assert_eq!(offer(&mut empty, &event), Err(Reject::UnknownAuthor));
            assert!(empty.members().genesis().is_none() && empty.frontier().is_empty());
            // By who has the room: nothing is founded again.
            let mut room = group.room.clone();
            let before = (room.members().clone(), room.state_hash());
            assert!(offer(&mut room, &event).is_err());
            assert_eq!((room.members().clone(), room.state_hash()), before);
        }
    }
    // Later in a log it says nothing, whoever says it.
    let start = Genesis { founders: vec![group.member.account()], ..genesis.clone() };
    let start = GenesisBody { genesis: start, cert: group.member.cert.clone() };
    let mut theirs = replica(&group.member, &group.room, &group.events);
    let said = group.member.state(&mut theirs, &Control::Genesis(start), START + 9);
    let mut room = group.room.clone();
    take(&mut room, &said);
    assert_eq!(room.members().genesis(), Some(&genesis));
    assert_eq!(room.members().role(&group.member.account()), Some(Role::Member));
    // The true one by a stranger, who is not among its founders, introduces nobody.
    let body = GenesisBody { genesis, cert: thief.cert.clone() };
    let event = thief.forge(&group.room, &Control::Genesis(body), Forged::default());
    assert_eq!(offer(&mut room, &event), Err(Reject::UnknownAuthor));
}

#[test]
fn hazard_17_a_stranger_is_refused() {
    let group = group();
    let mut room = group.room.clone();
    let stranger = Person::new(9);
    for control in [
        Control::Profile("hello".into()),
        room_name("mine"),
        invite(51).1,
        admission(stranger.claim(&room, &group.invite, stranger.id()), 0),
    ] {
        let event = stranger.forge(&room, &control, Forged { time: START, ..Forged::default() });
        assert_eq!(offer(&mut room, &event), Err(Reject::UnknownAuthor));
    }
    // Nor does one become a founder by writing a genesis of its own.
    let (_, own) = stranger.found();
    assert!(own.iter().all(|event| event.header().room != room.id()));
    let Some(Control::Genesis(mut body)) = group.events[0].body().and_then(Control::from_bytes)
    else {
        panic!("the first event is the genesis")
    };
    body.cert = stranger.cert.clone();
    let event = stranger.forge(&room, &Control::Genesis(body), Forged::default());
    assert_eq!(offer(&mut room, &event), Err(Reject::UnknownAuthor));
    assert_eq!(room.state_hash(), group.room.state_hash());
    assert_eq!(room.members(), group.room.members());
    assert_eq!(
        Room::new(room.id(), stranger.id()).author_control(
            &stranger.key,
            &Control::Profile(String::new()),
            START
        ),
        Err(AuthorError::NotAMember)
    );
}

#[test]
fn an_admission_waits_for_its_invite() {
    // Its author named fewer dependencies than it saw; a replica hears of the admission first.
    let group = group();
    let (early, newcomer) = (&group.member, Person::new(3));
    let (secret, control) = invite(51);
    let mut ours = group.room.clone();
    let invited = group.founder.state(&mut ours, &control, START + 5);
    let theirs = replica(early, &group.room, &group.events);
    let claim = newcomer.claim(&ours, &secret, early.id());
    let at = Forged { deps: vec![group.events[5].id()], ..Forged::next(&theirs, early, 0) };
    let admitted = early.forge(&ours, &admission(claim, 0), at);

    let (mut one, mut other) = (theirs.clone(), theirs);
    assert_eq!(offer(&mut one, &invited).expect("fits").effects, vec![]);
    let joined = vec![Effect::Joined(newcomer.account())];
    assert_eq!(offer(&mut one, &admitted).expect("fits").effects, joined);
    assert_eq!(offer(&mut other, &admitted), Err(Reject::MissingDeps));
    assert_eq!(offer(&mut other, &invited).expect("fits").effects, vec![]);
    assert_eq!(offer(&mut other, &admitted).expect("fits").effects, joined);
    assert_eq!(one.members(), other.members());
}

#[test]
fn who_leaves_is_out_until_admitted_again_with_a_higher_term() {
    let group = group();
    let (member, founder) = (&group.member, &group.founder);
    let mut theirs = replica(member, &group.room, &group.events);
    let said = member.say(&mut theirs, "hello", START + 10);
    let left = only(theirs.author_leave(&member.key, START + 11).expect("a member"));
    assert!(!theirs.am_member());
    let chat = ayni_core::chat::Chat::message("too late").expect("short");
    assert_eq!(
        theirs.author_chat(&member.key, &chat, START + 12, &[0; 32]),
        Err(AuthorError::NotAMember)
    );

    let mut room = group.room.clone();
    assert_eq!(deliver(&mut room, &[left.clone(), said.clone()]), vec![]);
    assert!(!room.members().is_member_device(&member.id()));
    assert_eq!(room.state_hash(), theirs.state_hash(), "what it said before stays");

    // An old claim in an admission for the same term brings nobody back.
    let claim = member.claim(&room, &group.invite, founder.id());
    let mut stale = room.clone();
    let again = founder.state(&mut stale, &admission(claim.clone(), 0), START + 20);
    assert!(!stale.members().is_member_device(&member.id()), "leaving wins");
    assert_eq!(deliver(&mut theirs.clone(), &[again]), vec![]);

    let term = room.members().next_term(&member.account());
    assert_eq!(term, 1);
    let back = founder.state(&mut room, &admission(claim, term), START + 20);
    assert!(room.members().is_member_device(&member.id()));
    let accepted = offer(&mut theirs, &back).expect("fits");
    assert_eq!(accepted.effects, vec![Effect::Joined(member.account())]);
    let word = member.say(&mut theirs, "I am back", START + 21);
    assert_eq!((word.header().term, word.seq()), (1, 0), "a new log");
    assert_eq!(deliver(&mut room, &[word]), vec![]);
    assert_eq!(room.state_hash(), theirs.state_hash());
    assert_eq!(room.members(), theirs.members());
}

#[test]
fn what_a_leaver_says_afterwards_is_void_whenever_it_arrives() {
    let group = group();
    let member = &group.member;
    let before = replica(member, &group.room, &group.events);
    let mut theirs = before.clone();
    let kept: Vec<_> =
        (0..3).map(|n| member.say(&mut theirs, &format!("{n}"), START + 10 + n)).collect();
    // A clone of the device goes on as if it had not left.
    let mut clone = theirs.clone();
    let void: Vec<_> =
        (3..6).map(|n| member.say(&mut clone, &format!("{n}"), START + 10 + n)).collect();
    let left = only(theirs.author_leave(&member.key, START + 20).expect("a member"));

    // The leaving is heard first: what lies beyond is refused.
    let mut first = group.room.clone();
    assert_eq!(deliver(&mut first, std::slice::from_ref(&left)), vec![]);
    assert_eq!(deliver(&mut first, &kept), vec![]);
    assert_eq!(offer(&mut first, &void[0]), Err(Reject::BeyondCut));
    // It is heard last: what lies beyond is dropped, exactly that.
    let mut last = group.room.clone();
    assert_eq!(deliver(&mut last, &[kept.clone(), void].concat()), vec![]);
    let effects = offer(&mut last, &left).expect("fits").effects;
    let log = member.log(Lane::Chat, 0);
    assert_eq!(effects, vec![Effect::Left(member.account()), Effect::Voided(log, 3)]);
    assert_eq!(first.state_hash(), last.state_hash());
    assert_eq!(first.state_hash(), theirs.state_hash());

    // A control event after it is kept, for others may depend on it, and has no effect.
    let at = Forged { deps: vec![left.id()], ..Forged::next(&first, member, 0) };
    let late = member.forge(&first, &Control::Profile("ghost".into()), at);
    assert_eq!(offer(&mut first, &late).expect("kept").effects, vec![]);
}

#[test]
fn two_devices_of_an_account_that_leave_at_once_converge() {
    let group = group();
    let (phone, laptop) = (&group.member, Person::device(2, 22));
    let mut room = group.room.clone();
    let claim = laptop.claim(&room, &group.invite, group.founder.id());
    let mut events = group.events.clone();
    events.push(group.founder.state(&mut room, &admission(claim, 0), START + 3));
    let mut on_phone = replica(phone, &room, &events);
    let mut on_laptop = replica(&laptop, &room, &events);

    let heard = phone.say(&mut on_phone, "from the phone", START + 10);
    let mut said = vec![heard.clone()];
    assert_eq!(deliver(&mut on_laptop, &[heard]), vec![]);
    said.push(laptop.say(&mut on_laptop, "from the laptop", START + 11));
    said.push(phone.say(&mut on_phone, "unheard", START + 12));
    let one = only(on_phone.author_leave(&phone.key, START + 20).expect("a member"));
    let other = only(on_laptop.author_leave(&laptop.key, START + 20).expect("a member"));

    let all = [&events[..], &said, &[one, other]].concat();
    let mut found = vec![];
    for reversed in [false, true] {
        let mut replica = Room::new(room.id(), group.founder.id());
        let mut order = all.clone();
        if reversed {
            order.reverse();
        }
        deliver(&mut replica, &order);
        assert!(!replica.members().is_member_device(&phone.id()));
        assert!(!replica.members().is_member_device(&laptop.id()));
        found.push((replica.state_hash(), replica.members().clone(), replica.frontier()));
    }
    assert_eq!(found[0], found[1]);
    // Of concurrent cuts the lowest: what both knew stays.
    let frontier = &found[0].2;
    assert!(frontier.contains(&phone.log(Lane::Chat, 0), 0));
    assert!(!frontier.contains(&phone.log(Lane::Chat, 0), 1));
    assert!(!frontier.contains(&laptop.log(Lane::Chat, 0), 0));
}

#[test]
fn names_are_the_latest() {
    let group = group();
    let mut room = group.room.clone();
    let (founder, member) = (&group.founder, &group.member);
    let mut theirs = replica(member, &room, &group.events);
    let refused = theirs.author_setting(&member.key, &Setting::Name("x".into()), START);
    assert_eq!(refused, Err(AuthorError::NotPermitted), "not an ordinary member");
    let promoted = room.author_role(&founder.key, member.account(), Role::Admin, START);
    take(&mut theirs, &only(promoted.expect("a founder may")));
    let mut one = founder.state(&mut room, &room_name("first"), START + 10);
    let second = Setting::Name("second".into());
    let set = theirs.author_setting(&member.key, &second, START + 20);
    let mut other = only(set.expect("an admin may"));
    take(&mut theirs, &one);
    let accepted = offer(&mut room, &other).expect("fits");
    assert_eq!(accepted.effects, vec![Effect::Renamed]);
    assert_eq!(room.members().room_name(), Some("second"), "said at once: the later");
    assert_eq!(theirs.members().room_name(), Some("second"));
    // Each names itself only.
    one = founder.state(&mut room, &Control::Profile("Inti".into()), START + 30);
    other = member.state(&mut theirs, &Control::Profile("Killa".into()), START + 30);
    take(&mut theirs, &one);
    take(&mut room, &other);
    assert_eq!(room.members(), theirs.members());
    let name = |person: &Person| room.members().account(&person.account()).and_then(|it| it.name());
    assert_eq!((name(founder), name(member)), (Some("Inti"), Some("Killa")));

    let long = Control::Profile("x".repeat(MAX_NAME + 1));
    assert_eq!(room.author_control(&founder.key, &long, START), Err(AuthorError::TooLong));
}

#[test]
fn hazard_13_a_name_dated_to_the_far_future_can_be_replaced() {
    let group = group();
    let mut room = group.room.clone();
    let (founder, member) = (&group.founder, &group.member);
    let promoted = room.author_role(&founder.key, member.account(), Role::Admin, START);
    let promoted = only(promoted.expect("a founder may")).id();
    let forever = Forged {
        deps: vec![group.events[5].id()],
        time: START + 1000 * 365 * DAY,
        ..Forged::next(&room, member, 0)
    };
    let set = Set { cites: Some(promoted), setting: Setting::Name("forever".into()) };
    let event = member.forge(&room, &Control::Set(set), forever);
    take(&mut room, &event);
    assert_eq!(room.members().room_name(), Some("forever"));
    let event = group.founder.state(&mut room, &room_name("ours"), START + DAY);
    assert!(!event.header().time.is_ahead(START + DAY), "our clock is not pinned");
    assert_eq!(room.members().room_name(), Some("ours"));
}

#[test]
fn a_direct_room_founded_by_both_sides_is_one_room() {
    let (one, other) = (Person::new(1), Person::new(2));
    let genesis = Genesis::direct(one.account(), other.account());
    let found = |person: &Person, n: u8| {
        let secret = EpochSecret::new([n; 32]);
        Room::found(&genesis, &person.key, &person.cert, ("me", None), secret, START)
    };
    let (mut mine, my_events) = found(&one, 1);
    let (mut theirs, their_events) = found(&other, 2);
    assert_eq!(mine.id(), theirs.id());
    assert_eq!(deliver(&mut mine, &their_events.events), vec![]);
    assert_eq!(deliver(&mut theirs, &my_events.events), vec![]);
    assert_eq!(mine.state_hash(), theirs.state_hash());
    assert_eq!(mine.members(), theirs.members());
    assert_eq!(mine.members().current().count(), 2);
    assert!(mine.members().is_member_device(&other.id()));

    // Each minted an epoch; with both secrets on both sides they seal with the same one.
    assert_eq!((mine.missing_secrets().len(), theirs.missing_secrets().len()), (1, 1));
    mine.learn_secret(EpochSecret::new([2; 32]));
    theirs.learn_secret(EpochSecret::new([1; 32]));
    assert_eq!(mine.topic(), theirs.topic());
    let word = one.say(&mut mine, "hello", START + 5);
    assert_eq!(deliver(&mut theirs, std::slice::from_ref(&word)), vec![]);
    assert_eq!(theirs.open(&word), ayni_core::chat::Chat::message("hello").ok());

    // Nobody else gets in.
    let (secret, control) = invite(50);
    one.state(&mut mine, &control, START + 6);
    let third = Person::new(3);
    let claim = third.claim(&mine, &secret, one.id());
    one.state(&mut mine, &admission(claim, 0), START + 7);
    assert_eq!(mine.members().current().count(), 2);
}

#[test]
fn seals_with_the_deepest_epoch_whose_secret_is_here() {
    let group = group();
    let (founder, member) = (&group.founder, &group.member);
    let mut room = group.room.clone();
    let mut theirs = replica(member, &room, &group.events);
    let first = room.sealing_epoch().expect("founded with one").0;
    let secret = EpochSecret::new([77; 32]);
    let event = only(room.author_epoch(&founder.key, secret.clone(), START + 5).expect("member"));
    let second = secret.id(room.id());
    assert_eq!(room.sealing_epoch().map(|(id, _)| id), Some(second));

    let accepted = offer(&mut theirs, &event).expect("fits");
    assert_eq!(accepted.effects, vec![Effect::Epoch(second)]);
    assert_eq!(theirs.missing_secrets(), vec![second]);
    assert_eq!(theirs.sealing_epoch().map(|(id, _)| id), Some(first), "without the new secret");
    assert!(theirs.learn_secret(secret.clone()) && !theirs.learn_secret(secret));
    assert_eq!(theirs.sealing_epoch().map(|(id, _)| id), Some(second));

    // Two minted at once: the same one everywhere.
    let (mine, others) = (EpochSecret::new([78; 32]), EpochSecret::new([79; 32]));
    let a = only(room.author_epoch(&founder.key, mine.clone(), START + 6).expect("member"));
    let b = only(theirs.author_epoch(&member.key, others.clone(), START + 6).expect("member"));
    take(&mut room, &b);
    take(&mut theirs, &a);
    room.learn_secret(others);
    theirs.learn_secret(mine);
    assert_eq!(room.sealing_epoch().map(|it| it.0), theirs.sealing_epoch().map(|it| it.0));

    let nothing = Room::new(room.id(), member.id());
    assert!(nothing.sealing_epoch().is_none());
}

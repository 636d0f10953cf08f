//! No control log is kept without end, and where one ends for everyone does not depend on what else
//! has been heard of.

mod kit;

use ayni_core::clock::Hlc;
use ayni_core::event::{Event, Header, VERSION};
use ayni_core::keys::Bytes32;
use ayni_core::limits::{
    MAX_BODY, MAX_CONTROL_LOG_BYTES, MAX_CONTROL_LOG_EVENTS, MAX_FORK_VOID, MAX_RUN_EVENTS,
};
use ayni_core::log::Lane;
use ayni_core::room::{AuthorError, Control, Fork, HeaderBytes, Reject, Room, Setting};
use kit::stage::{A, F, M, MEMBER, Stage};
use kit::{Forged, Person, START, admission, deliver, offer, offer_run, only};

/// Signs control events of a kind that nobody knows, after the last one that the replica holds.
fn nonsense(room: &Room, who: &Person, body_len: usize) -> impl Iterator<Item = Event> {
    let at = Forged::next(room, who, 0);
    let (mut seq, mut prev) = (at.seq, at.prev);
    let (key, room) = (who.key.clone(), room.id());
    std::iter::from_fn(move || {
        let header = Header {
            v: VERSION,
            room,
            device: key.id(),
            term: 0,
            lane: Lane::Control,
            seq,
            prev,
            deps: vec![],
            time: Hlc::from_millis(START),
            epoch: None,
            body_len: 0,
            body_hash: Bytes32([0; 32]),
        };
        let event = Event::sign(header, vec![0xff; body_len], &key);
        (seq, prev) = (seq + 1, Some(event.id()));
        Some(event)
    })
}

/// Offers events of one log in runs; returns how many were taken and the last refusal.
fn flood(room: &mut Room, events: &[Event]) -> (usize, Option<Reject>) {
    let (mut taken, mut refused) = (0, None);
    for run in events.chunks(MAX_RUN_EVENTS) {
        match offer_run(room, run) {
            Ok(accepted) => {
                taken += accepted.events.len();
                // What was left out is refused by name when it is offered again.
                let rest = &run[accepted.events.len()..];
                refused = rest.first().and_then(|event| offer(room, event).err()).or(refused);
            }
            Err(reject) => refused = Some(reject),
        }
    }
    (taken, refused)
}

#[test]
fn who_heard_of_a_removal_before_a_flood_and_after_it_agree_in_the_end() {
    let mut stage = Stage::new();
    let events: Vec<Event> = nonsense(&stage.rooms[A], &stage.people[A], 1).take(6_000).collect();
    stage.removes(F, A).expect("above it");
    let removal = stage.events.last().cloned().expect("stated");

    let mut before = stage.rooms[M].clone();
    assert_eq!(deliver(&mut before, std::slice::from_ref(&removal)), vec![]);
    assert_eq!(flood(&mut before, &events), (events.len(), None));
    let mut after = stage.rooms[M].clone();
    assert_eq!(flood(&mut after, &events), (events.len(), None));
    assert_eq!(deliver(&mut after, std::slice::from_ref(&removal)), vec![]);
    assert_eq!(before.members(), after.members());
    assert_eq!(before.frontier(), after.frontier());
    assert_eq!(before.state_hash(), after.state_hash());
    assert_eq!(before.members().role(&stage.account(A)), None);
}

#[test]
fn a_flood_ends_at_the_limit_of_events_and_of_bytes_whatever_was_heard() {
    let mut stage = Stage::new();
    let mut heard = stage.rooms[M].clone();
    stage.removes(F, A).expect("above it");
    deliver(&mut heard, &stage.events);
    for room in [&mut stage.rooms[M], &mut heard] {
        let person = &stage.people[A];
        let at = |seq| Forged { seq, prev: Some(stage.events[0].id()), ..Forged::default() };
        let profile = Control::Profile("again".into());
        let last = person.forge(room, &profile, at(MAX_CONTROL_LOG_EVENTS - 1));
        assert_eq!(offer(room, &last), Err(Reject::MissingDeps), "would fit, were the rest here");
        let over = person.forge(room, &profile, at(MAX_CONTROL_LOG_EVENTS));
        assert_eq!(offer(room, &over), Err(Reject::LogFull));
    }
    let most = usize::try_from(MAX_CONTROL_LOG_BYTES).expect("32 bits") / MAX_BODY + 2;
    let events: Vec<Event> =
        nonsense(&stage.rooms[A], &stage.people[A], MAX_BODY).take(most).collect();
    let [one, other] = [&mut stage.rooms[M], &mut heard].map(|room| flood(room, &events));
    assert_eq!(one, other);
    assert_eq!(one.1, Some(Reject::LogFull));
    let bytes: usize = events[..one.0].iter().map(Event::size).sum();
    assert!(bytes as u64 <= MAX_CONTROL_LOG_BYTES);
    assert!((bytes + events[0].size()) as u64 > MAX_CONTROL_LOG_BYTES);
    // After a restart as well.
    let mut again = Room::new(heard.id(), stage.people[M].id());
    let all = stage.events.iter().chain(&events[..one.0]).cloned();
    again.restore_control(all);
    assert_eq!(again.state_hash(), heard.state_hash());
    assert_eq!(offer(&mut again, &events[one.0]), Err(Reject::LogFull));
    // Others are not affected.
    assert!(stage.does(F, |room, me| room.author_setting(&me.key, &name(), START + 30)).is_ok());
}

#[test]
fn declaring_what_others_forked_fills_half_of_a_log_at_most() {
    let mut stage = Stage::new();
    let mut twin = stage.clone();
    let profile = |name: &str| Control::Profile(name.into());
    let one = stage.people[M].state(&mut stage.rooms[M], &profile("one"), START + 5);
    let other = stage.people[M].state(&mut twin.rooms[M], &profile("other"), START + 5);
    deliver(&mut stage.rooms[F], std::slice::from_ref(&one));
    let filled = usize::try_from(MAX_CONTROL_LOG_BYTES / 2).expect("32 bits") / MAX_BODY - 3;
    let events: Vec<Event> =
        nonsense(&stage.rooms[F], &stage.people[F], MAX_BODY).take(filled).collect();
    assert_eq!(flood(&mut stage.rooms[F], &events), (filled, None));
    let (key, room) = (stage.people[F].key.clone(), &mut stage.rooms[F]);
    let void = vec![HeaderBytes(one.header_bytes().to_vec()); MAX_FORK_VOID];
    let declares = Fork::new(&one, &other, void);
    let mut count = 0;
    while let Ok(accepted) = room.author_fork(&key, declares.clone(), START + 40) {
        count += accepted.events.len();
        assert!(count < 100, "without an end");
    }
    assert!(count > 1);
    let refused = room.author_fork(&key, declares.clone(), START + 41);
    assert_eq!(refused, Err(AuthorError::LogFull));
    // The proof itself, and all that it states of its own, go on.
    let _ = room.author_fork(&key, Fork { void: vec![], ..declares }, START + 42).expect("a proof");
    let _ = room.author_setting(&key, &name(), START + 43).expect("a founder");
}

fn name() -> Setting {
    Setting::Name("on it goes".into())
}

#[test]
fn a_device_whose_log_is_full_is_told_and_can_leave_and_come_back() {
    let mut stage = Stage::new();
    let filled = usize::try_from(MAX_CONTROL_LOG_BYTES).expect("32 bits") / MAX_BODY - 5;
    let events: Vec<Event> =
        nonsense(&stage.rooms[M], &stage.people[M], MAX_BODY).take(filled).collect();
    let (person, invite) = (stage.people[M].clone(), stage.invite.clone());
    assert_eq!(flood(&mut stage.rooms[M], &events), (filled, None));
    assert_eq!(flood(&mut stage.rooms[F], &events), (filled, None));
    let room = &mut stage.rooms[M];
    let profile = Control::Profile("Killa".into());
    let mut written = vec![];
    let full = loop {
        match room.author_control(&person.key, &profile, START + 40) {
            Ok(accepted) => written.extend(accepted.events),
            Err(error) => break error,
        }
        assert!(written.len() < 1_000, "the rest of the log");
    };
    assert_eq!(full, AuthorError::LogFull);
    assert!(full.to_string().contains("another device") && full.to_string().contains("leave"));
    let chat = ayni_core::chat::Chat::message("still here").expect("short");
    let said = room.author_chat(&person.key, &chat, START + 41, &[1; 32]).expect("may talk on");
    written.extend(said.events);
    written.extend(room.author_leave(&person.key, START + 42).expect("can leave").events);
    assert_eq!(deliver(&mut stage.rooms[F], &written), vec![], "all keep what it wrote");

    let founder = stage.people[F].clone();
    let claim = person.claim(&stage.rooms[F], &invite, founder.id());
    let back = founder.state(&mut stage.rooms[F], &admission(claim, 1), START + 50);
    assert_eq!(deliver(&mut stage.rooms[M], &[back]), vec![]);
    let own =
        only(stage.rooms[M].author_control(&person.key, &profile, START + 51).expect("a new log"));
    assert_eq!((own.seq(), own.header().term), (0, 1));
    assert_eq!(deliver(&mut stage.rooms[F], &[own]), vec![]);
    assert_eq!(stage.rooms[F].members().role(&person.account()), MEMBER);
    assert_eq!(stage.rooms[F].state_hash(), stage.rooms[M].state_hash());
}

//! Keys over time: rotations, absence, division, loss; and who is handed what.

mod kit;

use std::collections::BTreeSet;

use ayni_core::chat::Chat;
use ayni_core::clock::Millis;
use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event;
use ayni_core::id::EpochId;
use ayni_core::keys::{DeviceKey, InviteSecret};
use ayni_core::limits::{MAX_EPOCH_PARENTS, MAX_EPOCHS};
use ayni_core::room::{
    AuthorError, Control, EpochBody, Fork, Genesis, History, Policies, Room, Setting,
};
use kit::{DAY, Person, START, admission, deliver, invite};

const MINUTE: Millis = 60 * 1000;
const HOUR: Millis = 60 * MINUTE;
const F: usize = 0;
const A: usize = 1;
const B: usize = 2;
const C: usize = 3;

/// A founder (0) and members, each with a replica, and what each has heard.
#[derive(Clone)]
struct Stage {
    people: Vec<Person>,
    rooms: Vec<Room>,
    heard: Vec<Vec<Event>>,
    invite: InviteSecret,
    /// How many secrets were made, so that each is another.
    secrets: u8,
    now: Millis,
}

impl Stage {
    fn new(history: History, members: u8) -> Self {
        let people: Vec<Person> = (1..=members + 1).map(Person::new).collect();
        let founder = &people[F];
        let genesis = Genesis {
            policies: Policies { history },
            ..Genesis::group(founder.account(), [7; 32])
        };
        let (key, cert, names) = (&founder.key, &founder.cert, ("founder", None));
        let secret = EpochSecret::new([250; 32]);
        let (room, founded) = Room::found(&genesis, key, cert, names, secret, START);
        let id = room.id();
        let mut rooms = vec![room];
        rooms.extend(people[1..].iter().map(|person| Room::new(id, person.id())));
        let mut heard = vec![vec![]; people.len()];
        heard[F] = founded.events;
        let (invite, control) = invite(50);
        let mut stage = Self { people, rooms, heard, invite, secrets: 0, now: START };
        stage.states(F, &control);
        for member in 1..stage.people.len() {
            stage.admits(F, member);
        }
        stage.meet(&(0..stage.people.len()).collect::<Vec<_>>());
        stage
    }

    fn keeps(&mut self, who: usize, events: &[Event]) {
        self.heard[who].extend_from_slice(events);
    }

    fn states(&mut self, who: usize, control: &Control) -> Event {
        self.now += 1;
        let event = self.people[who].state(&mut self.rooms[who], control, self.now);
        self.keeps(who, std::slice::from_ref(&event));
        event
    }

    /// Admits someone, and where newcomers may not read what was before mints, like a node.
    fn admits(&mut self, by: usize, whom: usize) {
        let (room, admitter) = (&self.rooms[by], self.people[by].id());
        let claim = self.people[whom].claim(room, &self.invite, admitter);
        let term = room.members().next_term(&self.people[whom].account());
        self.states(by, &admission(claim, term));
        if self.rooms[by].members().history() == History::FromJoining {
            self.mints(by);
        }
    }

    fn fresh(&mut self) -> EpochSecret {
        self.secrets += 1;
        EpochSecret::new([self.secrets; 32])
    }

    fn mints(&mut self, who: usize) -> EpochId {
        self.now += 1;
        let (secret, now) = (self.fresh(), self.now);
        let id = secret.id(self.rooms[who].id());
        let minted = self.rooms[who].author_epoch(&self.people[who].key, secret, now);
        self.keeps(who, &minted.expect("a member").events);
        id
    }

    fn removes(&mut self, who: usize, whom: usize) {
        self.now += 1;
        let account = self.people[whom].account();
        let removed = self.rooms[who].author_remove(&self.people[who].key, account, self.now);
        self.keeps(who, &removed.expect("may").events);
    }

    /// Says something as a node does, minting where that is needed.
    fn says(&mut self, who: usize, text: &str) -> Result<Event, AuthorError> {
        self.now += 1;
        let (secret, now, key) = (self.fresh(), self.now, self.people[who].key.clone());
        let chat = Chat::message(text).expect("short");
        let said =
            self.rooms[who].author_chat_minting(&key, &chat, now, &[self.secrets; 32], secret)?;
        self.keeps(who, &said.events);
        Ok(said.events.last().cloned().expect("said"))
    }

    /// They exchange all events, and no keys.
    fn hear(&mut self, who: &[usize]) {
        let mut all: Vec<Event> = Vec::new();
        let mut known = BTreeSet::new();
        for event in who.iter().flat_map(|one| &self.heard[*one]) {
            if known.insert(event.id()) {
                all.push(event.clone());
            }
        }
        for one in who {
            let held: BTreeSet<_> = self.heard[*one].iter().map(Event::id).collect();
            let news: Vec<Event> =
                all.iter().filter(|event| !held.contains(&event.id())).cloned().collect();
            let refused = deliver(&mut self.rooms[*one], &news);
            assert_eq!(refused, vec![], "all is taken in");
            self.heard[*one].clone_from(&all);
        }
    }

    /// One asks another for the keys that it misses, like a node. Returns requests made, and secrets
    /// that were sealed.
    fn asks(&mut self, who: usize, of: usize) -> (usize, usize) {
        let (mut requests, mut count) = (0, 0);
        loop {
            let mut missing = self.rooms[who].missing_secrets();
            missing.truncate(MAX_EPOCHS);
            let device = self.people[who].id();
            let handover = self.rooms[of].handover(&device, Some(&missing));
            let Some(handover) = handover.filter(|it| !it.is_empty()) else {
                return (requests, count);
            };
            self.secrets = self.secrets.wrapping_add(1);
            for sealed in handover.seal([self.secrets; 32]) {
                let from = self.people[of].id();
                let opened = sealed.open(self.rooms[who].id(), from, &self.people[who].key);
                assert!(self.rooms[who].learn_secret(opened.expect("sealed for it")));
                count += 1;
            }
            requests += 1;
        }
    }

    /// They exchange all events and keys.
    fn meet(&mut self, who: &[usize]) {
        self.hear(who);
        for _ in 0..2 {
            for one in who {
                for other in who.iter().filter(|other| *other != one) {
                    self.asks(*one, *other);
                }
            }
        }
    }

    fn reads(&self, who: usize, event: &Event) -> bool {
        self.rooms[who].open(event).is_some()
    }

    fn seals_with(&self, who: usize) -> Option<EpochId> {
        self.rooms[who].sealing_epoch().map(|(epoch, _)| epoch)
    }
}

#[test]
fn a_member_away_across_fifty_rotations_reads_what_was_sent_meanwhile() {
    for (history, count) in [(History::FromStart, 1), (History::FromJoining, 50)] {
        let mut stage = Stage::new(history, 2);
        let mut said = Vec::new();
        for nth in 0..50 {
            // Whoever is here, in turn; B is away.
            let (one, other) = if nth % 2 == 0 { (F, A) } else { (A, F) };
            stage.mints(one);
            said.push(stage.says(one, "meanwhile").expect("a member"));
            stage.meet(&[one, other]);
        }
        // The founder is gone when it returns.
        stage.hear(&[A, B]);
        assert!(said.iter().all(|event| !stage.reads(B, event)));
        assert_eq!(stage.asks(B, A), (1, count), "{history:?}");
        assert!(said.iter().all(|event| stage.reads(B, event)), "{history:?}");
        assert_eq!(stage.seals_with(A), stage.seals_with(B));
        assert_eq!(stage.rooms[B].missing_secrets(), vec![]);
    }
}

#[test]
fn more_rotations_than_one_may_ask_for_at_once_take_several_requests() {
    let mut stage = Stage::new(History::FromJoining, 2);
    let said: Vec<Event> = (0..MAX_EPOCHS + 10)
        .map(|_| {
            stage.mints(F);
            stage.says(F, "meanwhile").expect("a member")
        })
        .collect();
    stage.hear(&[F, B]);
    assert_eq!(stage.asks(B, F), (2, MAX_EPOCHS + 10));
    assert!(said.iter().all(|event| stage.reads(B, event)));
    // A newcomer is given what was minted with it in mind, and nothing else.
    let mut stage = Stage { people: [stage.people, vec![Person::new(9)]].concat(), ..stage };
    let id = stage.rooms[F].id();
    stage.rooms.push(Room::new(id, stage.people[C].id()));
    stage.heard.push(vec![]);
    stage.admits(F, C);
    stage.hear(&[F, C]);
    assert_eq!(stage.asks(C, F), (1, 1));
    assert!(said.iter().all(|event| !stage.reads(C, event)));
    let later = stage.says(F, "for you too").expect("a member");
    assert!(stage.reads(C, &later));
}

#[test]
fn a_newcomer_is_sealed_one_secret_for_a_long_past() {
    let mut stage = Stage::new(History::FromStart, 1);
    for _ in 0..100 {
        stage.mints(F);
    }
    let said = stage.says(F, "long ago").expect("a member");
    stage.mints(F);
    stage.hear(&[F, A]);
    let handover = stage.rooms[F].handover(&stage.people[A].id(), None).expect("a member");
    assert_eq!(handover.len(), 1);
    // As in an admission: the key first, and what it wraps afterwards.
    let mut room = Room::new(stage.rooms[F].id(), stage.people[A].id());
    let sealed = handover.seal([1; 32]);
    let secret = sealed[0].open(room.id(), stage.people[F].id(), &stage.people[A].key);
    room.learn_secret(secret.expect("sealed for it"));
    assert_eq!(deliver(&mut room, &stage.heard[F]), vec![]);
    assert_eq!(room.missing_secrets(), vec![]);
    assert!(room.open(&said).is_some());
}

#[test]
fn epochs_of_a_divided_room_come_together_and_nobody_is_stranded() {
    for history in [History::FromStart, History::FromJoining] {
        let mut stage = Stage::new(history, 3);
        let mut said = Vec::new();
        // Each alone, with another number of rotations: the shorter chains are chosen by nobody later.
        for (who, rotations) in [(F, 1), (A, 3), (B, 5)] {
            for _ in 0..rotations {
                stage.mints(who);
                said.push(stage.says(who, "alone").expect("a member"));
            }
        }
        stage.meet(&[F, A, B]);
        for who in [F, A, B] {
            assert!(said.iter().all(|event| stage.reads(who, event)), "{who} {history:?}");
            assert_eq!(stage.seals_with(who), stage.seals_with(F));
        }
        let sealing = stage.seals_with(F).expect("one");
        said.push(stage.says(A, "together").expect("a member"));
        assert_eq!(stage.seals_with(A), Some(sealing), "it is no reason for another");
        let merged = stage.mints(A);
        stage.meet(&[F, A, B]);
        assert_eq!(stage.seals_with(B), Some(merged));
        // Who was away all the time asks one of them.
        stage.hear(&[B, C]);
        let (_, sealed) = stage.asks(C, B);
        assert!(said.iter().all(|event| stage.reads(C, event)), "{history:?}");
        let all = if history == History::FromStart { 1 } else { 10 };
        assert_eq!(sealed, all, "{history:?}");
        assert!(stage.rooms[C].topics(stage.now).len() <= 8);
    }
}

#[test]
fn more_heads_than_parents_come_together_in_steps() {
    let heads = MAX_EPOCH_PARENTS + 4;
    let mut stage = Stage::new(History::FromStart, u8::try_from(heads).expect("few"));
    let everyone: Vec<usize> = (0..=heads).collect();
    let said: Vec<Event> = (0..heads)
        .map(|who| {
            stage.mints(who);
            stage.says(who, "alone").expect("a member")
        })
        .collect();
    // All but the last, who was away.
    stage.meet(&everyone[..heads]);
    stage.mints(A);
    stage.mints(A);
    stage.hear(&[A, heads]);
    assert_eq!(stage.asks(heads, A), (1, 1));
    assert!(said.iter().all(|event| stage.reads(heads, event)));
}

#[test]
fn when_the_only_one_who_has_the_key_is_gone_others_mint_after_a_minute() {
    let mut stage = Stage::new(History::FromStart, 3);
    stage.removes(F, C);
    let lost = stage.mints(F);
    let unreadable = stage.says(F, "nobody else has the key").expect("a member");
    stage.hear(&[F, A, B]);
    let heard = START + DAY; // when the kit delivers
    stage.now = heard + 1;
    assert_eq!(stage.seals_with(A), None, "the one before was for C as well");
    assert_eq!(stage.says(A, "at once").err(), Some(AuthorError::NoKey), "it may still come");
    stage.now = heard + MINUTE - 10;
    assert_eq!(stage.says(A, "soon").err(), Some(AuthorError::NoKey));
    stage.now = heard + MINUTE + 10;
    let said = stage.says(A, "later").expect("mints another");
    stage.meet(&[A, B]);
    assert!(stage.reads(B, &said));
    assert!(!stage.reads(B, &unreadable));
    assert_eq!(stage.rooms[B].missing_secrets(), vec![lost]);
    // Should it come back after all, nothing is lost.
    stage.meet(&[F, A, B]);
    assert!(stage.reads(B, &unreadable) && stage.reads(F, &said));
    assert!(!stage.rooms[F].members().is_member_device(&stage.people[C].id()));
    assert!(stage.rooms[A].handover(&stage.people[C].id(), None).is_none());
}

#[test]
fn a_member_that_withholds_keys_keeps_nobody_from_writing() {
    // The removal leaves no permitted key; A mints again and again and gives no secret, dating each to
    // now, to the future, or to long ago.
    for dated in [0, 300 * DAY] {
        let mut stage = Stage::new(History::FromStart, 3);
        stage.removes(F, C);
        let mut heard = START + DAY;
        for _ in 0..5 {
            let now = stage.now;
            stage.now = heard + dated;
            stage.mints(A);
            stage.now = now;
            stage.hear(&[F, A]);
            stage.hear(&[A, B]);
            heard += 50 * 1000;
        }
        stage.now = START + DAY + 2 * MINUTE;
        let said = stage.says(B, "all the same").expect("mints its own");
        stage.hear(&[F, B]);
        stage.asks(F, B);
        assert!(stage.reads(F, &said));
    }
}

#[test]
fn an_epoch_is_used_for_seven_days() {
    let mut stage = Stage::new(History::FromStart, 1);
    let first = stage.seals_with(F);
    stage.now = START + 7 * DAY - 10;
    stage.says(A, "within a week").expect("a member");
    assert_eq!(stage.seals_with(A), first);
    stage.now = START + 7 * DAY + 10;
    stage.says(A, "after a week").expect("a member");
    let second = stage.seals_with(A);
    assert_ne!(second, first);
    stage.meet(&[F, A]);
    stage.says(F, "with the same").expect("a member");
    assert_eq!(stage.seals_with(F), second);
}

#[test]
fn nobody_keeps_an_epoch_young() {
    // By dating it to the future: it is then as old as it is known here.
    let mut stage = Stage::new(History::FromStart, 1);
    stage.now = START + 300 * DAY;
    let future = stage.mints(A);
    stage.now = START + DAY;
    stage.meet(&[F, A]);
    stage.says(F, "a day later").expect("a member");
    assert_eq!(stage.seals_with(F), Some(future));
    stage.now = START + 9 * DAY;
    stage.says(F, "eight days later").expect("a member");
    assert_ne!(stage.seals_with(F), Some(future));
    // By stating it again.
    let mut stage = Stage::new(History::FromStart, 1);
    let epoch = stage.mints(F);
    stage.meet(&[F, A]);
    let secret = stage.rooms[A].secret(&epoch).expect("given").clone();
    stage.now = START + 6 * DAY;
    let body = EpochBody { commitment: secret.commitment(), parents: vec![], wraps: vec![] };
    stage.states(A, &Control::Epoch(body));
    stage.hear(&[F, A]);
    stage.now = START + 8 * DAY;
    assert!(stage.rooms[F].needs_epoch(stage.now));
}

#[test]
fn whatever_makes_someone_no_member_makes_the_next_sender_mint() {
    let mints = |stage: &mut Stage, what: &str| {
        let before = stage.seals_with(B);
        assert_eq!(before, None, "{what}: the epoch before is not used");
        let said = stage.says(B, what).expect("mints");
        let to = stage.people[A].id();
        stage.meet(&[F, B]);
        assert!(stage.reads(F, &said), "{what}");
        assert!(!stage.reads(A, &said), "{what}");
        stage.rooms[B].handover(&to, None).is_none()
    };

    let mut stage = Stage::new(History::FromStart, 2);
    let left = stage.rooms[A].author_leave(&stage.people[A].key, START + 9).expect("may").events;
    stage.keeps(A, &left);
    stage.hear(&[F, A, B]);
    assert!(mints(&mut stage, "a departure"));

    let mut stage = Stage::new(History::FromStart, 2);
    stage.removes(F, A);
    stage.hear(&[F, B]);
    assert!(mints(&mut stage, "a removal"));

    // A is let in by B at once with the end of the invite, and B mints with it in mind.
    let mut stage = Stage::new(History::FromStart, 2);
    stage.removes(F, A);
    stage.meet(&[F, B]);
    let (secret, control) = invite(51);
    stage.invite = secret;
    stage.states(F, &control);
    stage.meet(&[F, B]);
    stage.admits(B, A);
    stage.mints(B);
    assert!(stage.rooms[B].handover(&stage.people[A].id(), None).is_some());
    stage.now += 1;
    let (key, now) = (stage.people[F].key.clone(), stage.now);
    let revoked = stage.rooms[F].author_revoke(&key, stage.invite.key(), now).expect("may");
    stage.keeps(F, &revoked.events);
    stage.hear(&[F, B]);
    assert!(mints(&mut stage, "a revocation"));
}

#[test]
fn hazard_19_a_frozen_device_is_handed_nothing_and_others_mint() {
    let mut stage = Stage::new(History::FromStart, 2);
    let device = stage.people[A].id();
    assert!(stage.rooms[F].handover(&device, None).is_some());
    let mut clone = stage.clone();
    let one = stage.says(A, "one").expect("a member");
    clone.now += 5;
    let other = clone.says(A, "other").expect("a member");
    stage.hear(&[F, A, B]);
    let (key, now) = (stage.people[F].key.clone(), stage.now);
    let proof = Fork::new(&one, &other, vec![]);
    let stated = stage.rooms[F].author_fork(&key, proof, now).expect("it proves a fork");
    stage.keeps(F, &stated.events);
    assert!(stage.rooms[F].handover(&device, None).is_none());
    deliver(&mut stage.rooms[B], &stated.events);
    stage.keeps(B, &stated.events);
    assert!(stage.rooms[B].handover(&device, None).is_none());
    // It has the key that is in use.
    assert_eq!(stage.seals_with(B), None);
    let said = stage.says(B, "not for a clone").expect("mints");
    assert!(!stage.reads(A, &said));
    stage.meet(&[F, B]);
    assert!(stage.reads(F, &said));
    assert_eq!(stage.seals_with(F), stage.seals_with(B));
    stage.says(F, "with the same").expect("a member");
    assert_eq!(stage.seals_with(F), stage.seals_with(B), "once is enough");
}

#[test]
fn hazard_19_a_removed_device_and_a_stale_certificate_are_of_no_use() {
    let mut stage = Stage::new(History::FromStart, 2);
    let everything: Vec<EpochId> = stage.rooms[F].secrets().map(|(epoch, _)| *epoch).collect();
    let (a, stranger) = (stage.people[A].id(), Person::new(77).id());
    assert!(stage.rooms[F].handover(&a, Some(&everything)).is_some_and(|it| it.len() == 1));
    assert!(stage.rooms[F].handover(&stranger, Some(&everything)).is_none());
    stage.removes(F, A);
    assert!(stage.rooms[F].handover(&a, Some(&everything)).is_none());
    assert!(!stage.rooms[F].members().member_devices().any(|device| device == a));

    // B's device has a newer certificate, for another key; an admission with the old one comes late.
    let old = stage.people[B].clone();
    let key = DeviceKey::from_secrets(&old.key.signing_secret(), &[201; 32]);
    let cert = old.account.certify(key.id(), key.hpke_public(), START + 9);
    let new = Person { key, cert, ..old.clone() };
    for person in [&new, &old] {
        let claim = person.claim(&stage.rooms[F], &stage.invite, stage.people[F].id());
        stage.states(F, &admission(claim, 0));
    }
    let handover = stage.rooms[F].handover(&old.id(), None).expect("a member");
    let sealed = handover.seal([3; 32]);
    let (room, from) = (stage.rooms[F].id(), stage.people[F].id());
    assert!(sealed[0].open(room, from, &new.key).is_ok());
    assert!(sealed[0].open(room, from, &old.key).is_err());
}

#[test]
fn what_a_wrap_does_not_open_is_asked_for_by_itself() {
    let mut stage = Stage::new(History::FromStart, 2);
    let before = stage.says(F, "before").expect("a member");
    let parent = stage.seals_with(F).expect("one");
    // A wraps rubbish.
    let secret = stage.fresh();
    let rubbish = ayni_core::room::Wrap(vec![9; 48]);
    let commitment = secret.commitment();
    let body = EpochBody { commitment, parents: vec![parent], wraps: vec![rubbish] };
    stage.rooms[A].learn_secret(secret);
    stage.states(A, &Control::Epoch(body));
    stage.meet(&[F, A]);
    let mut late = stage.clone();
    late.rooms[B] = Room::new(late.rooms[F].id(), late.people[B].id());
    late.heard[B] = vec![];
    late.hear(&[F, B]);
    assert_eq!(late.asks(B, F), (2, 2), "the one that should unwrap it, then itself");
    assert!(late.reads(B, &before));
}

#[test]
fn history_that_is_opened_is_handed_over_and_wrapped_from_then_on() {
    let mut stage = Stage::new(History::FromJoining, 3);
    let said: Vec<Event> = (0..3)
        .map(|_| {
            stage.mints(F);
            stage.says(F, "for those here").expect("a member")
        })
        .collect();
    stage.now += 1;
    let (key, now) = (stage.people[F].key.clone(), stage.now);
    let open = Setting::History(History::FromStart);
    let set = stage.rooms[F].author_setting(&key, &open, now).expect("a founder");
    stage.keeps(F, &set.events);
    stage.mints(F);
    stage.hear(&[F, C]);
    let (requests, sealed) = stage.asks(C, F);
    assert!(said.iter().all(|event| stage.reads(C, event)));
    assert!((requests, sealed) == (1, 1), "all at once: {requests} {sealed}");
}

#[test]
fn topics_are_those_of_the_heads_and_of_what_was_followed_within_the_hour() {
    let mut stage = Stage::new(History::FromStart, 5);
    let everyone: Vec<usize> = (0..=5).collect();
    let topic = |stage: &Stage, epoch: EpochId| {
        let secret = stage.rooms[F].secret(&epoch).expect("here");
        secret.topic(stage.rooms[F].id())
    };
    let first = stage.seals_with(F).expect("one");
    assert_eq!(stage.rooms[F].topics(stage.now), vec![topic(&stage, first)]);
    assert_eq!(stage.rooms[F].topic(), Some(topic(&stage, first)));

    // Followed: for an hour more.
    stage.now = START + HOUR;
    let second = stage.mints(F);
    let minted = stage.now;
    let both = vec![topic(&stage, second), topic(&stage, first)];
    assert_eq!(stage.rooms[F].topics(minted), both);
    assert_eq!(stage.rooms[F].topics(minted + HOUR - 1), both);
    assert_eq!(stage.rooms[F].topics(minted + HOUR), vec![topic(&stage, second)]);
    // Also after a restart.
    let mut again = Room::new(stage.rooms[F].id(), stage.people[F].id());
    for (_, secret) in stage.rooms[F].secrets() {
        again.learn_secret(secret.clone());
    }
    again.restore_control(stage.heard[F].clone());
    assert_eq!(again.topics(minted + HOUR - 1), both);
    assert_eq!(again.topics(minted + HOUR), vec![topic(&stage, second)]);
    // One whose key is not here is not followed: others may not have it either.
    stage.hear(&everyone);
    assert_eq!(stage.rooms[A].topics(stage.now), vec![topic(&stage, first)]);

    // As many heads as minted at once, at most four; the one to publish on first.
    stage.meet(&everyone);
    stage.now = START + 5 * HOUR;
    let minted: Vec<EpochId> = everyone.iter().map(|who| stage.mints(*who)).collect();
    stage.meet(&everyone);
    let topics = stage.rooms[F].topics(stage.now);
    assert_eq!(topics.first().copied(), stage.rooms[F].topic());
    let of_minted: Vec<_> = minted.iter().map(|epoch| topic(&stage, *epoch)).collect();
    assert_eq!(topics.iter().filter(|topic| of_minted.contains(topic)).count(), 4);
    assert_eq!(topics.last().copied(), Some(topic(&stage, second)), "followed just now");
    for who in &everyone {
        assert_eq!(stage.rooms[*who].topics(stage.now), topics, "everybody listens to the same");
    }
}

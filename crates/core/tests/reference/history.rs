//! Sets of statements at random: many hands that hear of one another now and then, some of which lie.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event;
use ayni_core::id::{AccountId, EventId};
use ayni_core::keys::{Bytes32, InviteSecret};
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{
    Control, Cut, EpochBody, Fork, Grant, History as Reading, LogCut, MemberInfo, Remove, Revoke,
    Role, Room, Set, Setting, Upgrade,
};

use crate::kit::{Forged, Person, START, admission, deliver, invite, offer};

/// A small generator: Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators (2014).
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("small")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// A room and everyone who writes in it.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) people: Vec<Person>,
    pub(crate) rooms: Vec<Room>,
    pub(crate) events: Vec<Event>,
    invites: Vec<InviteSecret>,
    dice: Dice,
    now: u64,
}

/// Accounts and devices: 1 founds, 2 and 3 have a second device. The last device belongs to two
/// accounts; who acts on it is the one before the last.
pub(crate) const DEVICES: [(u8, u8); 10] =
    [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (2, 12), (3, 13), (7, 11), (8, 11)];

thread_local! {
    static BEGINNINGS: RefCell<BTreeMap<u64, History>> = const { RefCell::new(BTreeMap::new()) };
}

impl History {
    /// Grows a history of `steps` acts after its beginning.
    pub(crate) fn grow(seed: u64, steps: usize) -> Self {
        // A few beginnings serve all seeds: signatures are what takes time here.
        let mut history = BEGINNINGS.with_borrow_mut(|begun| {
            let beginning = seed % 12;
            begun.entry(beginning).or_insert_with(|| Self::begin(beginning)).clone()
        });
        history.dice = Dice(seed);
        for nth in 0..steps {
            if seed % 5 == 3 && nth == 0 {
                history.paradox();
            }
            history.step();
        }
        history
    }

    /// A founder, some admins, some members; everyone has heard of that.
    fn begin(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let people: Vec<Person> =
            DEVICES.iter().map(|(account, device)| Person::device(*account, *device)).collect();
        let (mut room, mut events) = people[0].found();
        let (secret, control) = invite(50);
        events.push(people[0].state(&mut room, &control, START + 1));
        for person in &people[1..7 + dice.below(3)] {
            let claim = person.claim(&room, &secret, people[0].id());
            events.push(people[0].state(&mut room, &admission(claim, 0), START + 2));
        }
        for person in &people[1..2 + dice.below(4)] {
            let role = if dice.one_in(6) { Role::Founder } else { Role::Admin };
            let given = room.author_role(&people[0].key, person.account(), role, START + 3);
            events.extend(given.map(|it| it.events).unwrap_or_default());
        }
        let rooms = people.iter().map(|person| fresh(person, &room, &events)).collect();
        Self { people, rooms, events, invites: vec![secret], dice, now: START + 10 }
    }

    /// Two admins lift two others, who lift each other while each admin removes the one that it lifted:
    /// nobody can settle that, unless what is said later does.
    fn paradox(&mut self) {
        let of_role = |role| {
            let members = self.rooms[0].members();
            let is = |who: &usize| members.role(&self.people[*who].account()) == Some(role);
            (1..6).filter(is).collect::<Vec<usize>>()
        };
        let (admins, others) = (of_role(Role::Admin), of_role(Role::Member));
        let ([a, b, ..], [m, n, ..]) = (&admins[..], &others[..]) else { return };
        let [a, b, m, n] = [*a, *b, *m, *n];
        let four = [a, b, m, n];
        for who in four {
            let all = self.events.clone();
            self.tell(who, &all);
        }
        for (admin, whom) in [(a, m), (b, n)] {
            let account = self.people[whom].account();
            self.forge_grant(admin, account);
        }
        for who in four {
            let all = self.events.clone();
            self.tell(who, &all);
        }
        let [of_m, of_n] = [m, n].map(|who| self.people[who].account());
        self.forge_grant(m, of_n);
        self.forge_grant(n, of_m);
        for (admin, whom) in [(a, of_m), (b, of_n)] {
            let key = self.people[admin].key.clone();
            let now = self.now;
            if let Ok(accepted) = self.rooms[admin].author_remove(&key, whom, now) {
                self.events.extend(accepted.events);
            }
        }
    }

    /// Grants what someone has already: another line of citations to it.
    fn forge_grant(&mut self, who: usize, account: AccountId) {
        let (own, held) = (self.people[who].account(), self.held(who));
        let cites = held.iter().rev().find(|it| gives_to(it, own)).map(Event::id);
        let members = self.rooms[who].members();
        let term = members.account(&account).and_then(MemberInfo::current_term).unwrap_or(0);
        let grant = Control::Grant(Grant { account, term, role: Role::Admin, cites });
        let (key, now) = (self.people[who].key.clone(), self.now);
        if let Ok(accepted) = self.rooms[who].author_control(&key, &grant, now) {
            self.events.extend(accepted.events);
        }
    }

    fn step(&mut self) {
        let who = self.dice.below(self.people.len() - 1);
        self.hear(who);
        self.now += self.dice.below(3) as u64;
        if self.dice.one_in(3) {
            self.lie(who);
        } else {
            self.act(who);
        }
    }

    /// Someone hears of what another holds, of something, or of nothing.
    fn hear(&mut self, who: usize) {
        let heard: Vec<Event> = match self.dice.below(4) {
            0 => vec![],
            1 => {
                let mut some = self.events.clone();
                self.dice.shuffle(&mut some);
                some.truncate(self.dice.below(some.len() + 1));
                some
            }
            _ => {
                let other = self.dice.below(self.people.len());
                let holds = self.rooms[other].frontier();
                let all = self.events.iter();
                all.filter(|it| holds.contains(&it.log(), it.seq())).cloned().collect()
            }
        };
        self.tell(who, &heard);
    }

    fn tell(&mut self, who: usize, events: &[Event]) {
        let holds = self.rooms[who].frontier();
        let news: Vec<Event> = events
            .iter()
            .filter(|event| !holds.contains(&event.log(), event.seq()))
            .cloned()
            .collect();
        deliver(&mut self.rooms[who], &news);
    }

    fn account(&mut self) -> AccountId {
        let of = self.dice.below(self.people.len());
        self.people[of].account()
    }

    fn role(&mut self) -> Role {
        let roles = [Role::Reader, Role::Member, Role::Admin, Role::Admin, Role::Founder];
        roles[self.dice.below(roles.len())]
    }

    fn setting(&mut self) -> Setting {
        let role = [Role::Member, Role::Admin][self.dice.below(2)];
        match self.dice.below(8) {
            0 => Setting::Topic(format!("topic {}", self.now)),
            1 => Setting::Picture(self.dice.one_in(2).then_some(Bytes32([7; 32]))),
            2 => Setting::WhoInvites(Role::Member),
            3 => Setting::WhoPins(role),
            4 | 5 => Setting::WhoPosts(role),
            6 => Setting::History([Reading::FromStart, Reading::FromJoining][self.dice.below(2)]),
            _ => Setting::Name(format!("name {}", self.now)),
        }
    }

    fn secret(&mut self) -> EpochSecret {
        EpochSecret::new([u8::try_from(self.dice.below(200)).expect("small"); 32])
    }

    fn any_invite(&mut self) -> InviteSecret {
        let newest = self.invites.len() - 1;
        let at = if self.dice.one_in(2) { newest } else { self.dice.below(newest + 1) };
        self.invites[at].clone()
    }

    /// Someone to let in: mostly one who is out, as far as someone knows.
    fn newcomer(&mut self, who: usize) -> Person {
        let members = self.rooms[who].members();
        let is_out = |person: &&Person| members.role(&person.account()).is_none();
        let out: Vec<Person> = self.people.iter().filter(is_out).cloned().collect();
        let from = if out.is_empty() || self.dice.one_in(4) { self.people.clone() } else { out };
        from[self.dice.below(from.len())].clone()
    }

    /// A term to speak of: mostly one that makes sense.
    fn term(&mut self, who: usize, account: AccountId) -> u32 {
        let members = self.rooms[who].members();
        let current = members.account(&account).and_then(MemberInfo::current_term);
        let next = members.next_term(&account);
        match self.dice.below(8) {
            0 => 0,
            1 => next,
            2 => next + 1,
            _ => current.unwrap_or(next),
        }
    }

    /// What an honest replica does if it is asked to; what it may not it does not.
    fn act(&mut self, who: usize) {
        let (account, role, setting) = (self.account(), self.role(), self.setting());
        let (secret, invited, now) = (self.secret(), self.any_invite(), self.now);
        let newcomer = self.newcomer(who);
        let what = self.dice.below(20);
        let person = self.people[who].clone();
        let fresh_seed = u8::try_from(60 + self.invites.len() % 190).expect("small");
        let room = &mut self.rooms[who];
        let done = match what {
            0..=4 => room.author_remove(&person.key, account, now),
            5..=8 => room.author_role(&person.key, account, role, now),
            9 => room.author_leave(&person.key, now),
            10 => room.author_revoke(&person.key, invited.key(), now),
            11 => {
                let (secret, control) = invite(fresh_seed);
                self.invites.push(secret);
                room.author_control(&person.key, &control, now)
            }
            12..=15 => {
                let claim = newcomer.claim(room, &invited, person.id());
                let term = room.members().next_term(&newcomer.account());
                room.author_control(&person.key, &admission(claim, term), now)
            }
            16 => room.author_setting(&person.key, &setting, now),
            17 | 18 => room.author_epoch(&person.key, secret, now),
            _ => room.author_control(&person.key, &Control::Profile(format!("at {now}")), now),
        };
        if let Ok(accepted) = done {
            self.events.extend(accepted.events);
        }
    }

    /// Signs what no honest replica would: authority that one has not got, terms that never began,
    /// short cuts, false times, and little or old knowledge.
    fn lie(&mut self, who: usize) {
        let person = self.people[who].clone();
        let account = person.account();
        let term = if self.dice.one_in(2) { 0 } else { self.term(who, account) };
        let control = self.lie_about(who, term);
        let known: Vec<EventId> = self.held(who).iter().map(Event::id).collect();
        let deps = match self.dice.below(3) {
            0 => known.iter().rev().take(self.dice.below(9)).copied().collect(),
            1 => known.last().copied().into_iter().collect(),
            _ => (0..self.dice.below(4)).filter_map(|_| self.dice.pick(&known).copied()).collect(),
        };
        let times = [0, START, self.now, self.now + 500, 1 << 44];
        let time = times[self.dice.below(times.len())];
        let at = Forged { deps, time, ..Forged::next(&self.rooms[who], &person, term) };
        let event = person.forge(&self.rooms[who], &control, at);
        if offer(&mut self.rooms[who], &event).is_ok_and(|it| !it.events.is_empty()) {
            self.events.push(event);
        }
    }

    fn held(&self, who: usize) -> Vec<Event> {
        let holds = self.rooms[who].frontier();
        let all = self.events.iter();
        all.filter(|it| holds.contains(&it.log(), it.seq())).cloned().collect()
    }

    fn lie_about(&mut self, who: usize, own_term: u32) -> Control {
        let held = self.held(who);
        let gifts: Vec<EventId> = held.iter().filter(|it| gives(it)).map(Event::id).collect();
        let own = self.people[who].account();
        let mine: Vec<EventId> =
            held.iter().filter(|it| gives_to(it, own)).map(Event::id).collect();
        let cites = match self.dice.below(6) {
            0 => None,
            1 => self.dice.pick(&gifts).copied(),
            _ => self.dice.pick(&mine).copied().or(self.dice.pick(&gifts).copied()),
        };
        let (account, role) = (self.account(), self.role());
        let term = self.term(who, account);
        let cut = self.cut(account, term, &held);
        let invited = self.any_invite();
        match self.dice.below(16) {
            0..=4 => {
                let then = self.dice.one_in(3).then_some(role);
                Control::Remove(Remove { account, term, then, cut, cites })
            }
            5..=8 => Control::Grant(Grant { account, term, role, cites }),
            9 => {
                let cut = self.cut(own, own_term, &held);
                Control::Leave(cut)
            }
            10 => Control::Revoke(Revoke { invite: invited.key(), cites }),
            11 => invite(u8::try_from(50 + self.dice.below(20)).expect("small")).1,
            12 | 13 => {
                let newcomer = self.newcomer(who);
                let claim = newcomer.claim(&self.rooms[who], &invited, self.people[who].id());
                let term = self.term(who, newcomer.account());
                admission(claim, term)
            }
            14 => match self.dice.below(12) {
                0 => Control::Upgrade(Upgrade { rules: 2, cites }),
                _ => Control::Set(Set { cites, setting: self.setting() }),
            },
            _ => {
                let secret = self.secret();
                let commitment = secret.commitment();
                Control::Epoch(EpochBody { commitment, parents: vec![], wraps: vec![] })
            }
        }
    }

    /// Says where someone's logs end: at what is held, at less, at more, or at nothing.
    fn cut(&mut self, account: AccountId, term: u32, held: &[Event]) -> Cut {
        let of: Vec<_> = self.people.iter().filter(|it| it.account() == account).cloned().collect();
        let mut logs = vec![];
        for person in of {
            let log = person.log(Lane::Control, term);
            let tip = held.iter().filter(|it| it.log() == log).map(Event::seq).max();
            let len = tip.map_or(0, |seq| usize::try_from(seq).expect("small") + 1);
            let len = match self.dice.below(4) {
                0 => 0,
                1 => self.dice.below(len + 3),
                _ => len,
            };
            let last = EventId([9; 32]);
            if len > 0 {
                logs.push(LogCut { log, len: len as u64, last });
            }
            if self.dice.one_in(2) {
                let log = LogId { lane: Lane::Chat, ..log };
                logs.push(LogCut { log, len: 1 + self.dice.below(3) as u64, last });
            }
        }
        Cut { logs }
    }

    /// Lets a device sign two branches of its log, on which it may let someone in, give something or
    /// invite. Each branch reaches someone, who builds upon it, and so does whom it lets in; then someone
    /// proves the fork, and who held a branch declares it.
    pub(crate) fn fork(&mut self) {
        let who = 1 + self.dice.below(5);
        let mut branches = vec![];
        for _ in 0..2 {
            let mut twin = self.clone();
            twin.dice = Dice(self.dice.next());
            branches.push(twin.branch(who));
        }
        let proof = match [&branches[0], &branches[1]].map(|made| made.first()) {
            [Some(one), Some(other)] if one.id() != other.id() => Fork::new(one, other, vec![]),
            _ => return,
        };
        let members = self.rooms[who].members();
        let is_in = |at: &usize| members.role(&self.people[*at].account()).is_some();
        let mut others: Vec<usize> = (0..6).filter(|at| *at != who && is_in(at)).collect();
        self.dice.shuffle(&mut others);
        let [one, other, ..] = others[..] else { return };
        let hearers = [one, other];
        for (hearer, branch) in hearers.into_iter().zip(&branches) {
            let common = self.held(who);
            self.tell(hearer, &common);
            deliver(&mut self.rooms[hearer], branch);
            self.act(hearer);
            // Whoever was let in on that branch hears of it, and says something.
            let newcomer = self.dice.below(self.people.len() - 1);
            if newcomer != who && !hearers.contains(&newcomer) {
                let heard = [self.held(hearer), branch.clone()].concat();
                self.tell(newcomer, &heard);
                self.act(newcomer);
                let heard = self.held(newcomer);
                self.tell(hearer, &heard);
                self.act(hearer);
            }
        }
        let prover = hearers[0];
        let before = self.events.len();
        self.state_fork(prover, &proof);
        let stated = self.events[before..].to_vec();
        let all = self.events.clone();
        for hearer in (0..self.people.len() - 1).filter(|hearer| *hearer != who) {
            deliver(&mut self.rooms[hearer], &[&all[..], &stated].concat());
            self.state_fork(hearer, &proof);
        }
        self.events.extend(branches.into_iter().flatten());
    }

    /// Signs a few events at the end of a log, on a copy that nobody hears of.
    fn branch(&mut self, who: usize) -> Vec<Event> {
        let person = self.people[who].clone();
        let mut made = vec![];
        for _ in 0..=self.dice.below(3) {
            let control = match self.dice.below(3) {
                0 => Control::Profile(format!("branch {}", self.dice.below(1000))),
                _ => self.lie_about(who, 0),
            };
            let heads = self.held(who).last().map(Event::id).into_iter().collect();
            let deps = if made.is_empty() { heads } else { vec![] };
            let at = Forged { deps, time: self.now, ..Forged::next(&self.rooms[who], &person, 0) };
            let event = person.forge(&self.rooms[who], &control, at);
            if offer(&mut self.rooms[who], &event).is_ok_and(|it| !it.events.is_empty()) {
                made.push(event);
            }
        }
        made
    }

    /// States a proof as a node does: with what is held of the branches, as long as there is some.
    fn state_fork(&mut self, who: usize, proof: &Fork) {
        let (key, now) = (self.people[who].key.clone(), self.now);
        let room = &mut self.rooms[who];
        let Some((log, _)) = proof.proves(room.id()) else { return };
        if room.members().fork_of(&log).is_none() {
            // Until the proof is taken in, nothing is known to be void.
            if let Ok(accepted) = room.author_fork(&key, proof.clone(), now) {
                self.events.extend(accepted.events);
            }
        }
        let void = self.rooms[who].members().undeclared(&log);
        if !void.is_empty()
            && let Ok(accepted) =
                self.rooms[who].author_fork(&key, Fork { void, ..proof.clone() }, now)
        {
            self.events.extend(accepted.events);
        }
    }
}

fn fresh(person: &Person, room: &Room, events: &[Event]) -> Room {
    let mut fresh = Room::new(room.id(), person.id());
    for (_, secret) in room.secrets() {
        fresh.learn_secret(secret.clone());
    }
    deliver(&mut fresh, events);
    fresh
}

fn gives(event: &Event) -> bool {
    matches!(event.body().and_then(Control::from_bytes), Some(Control::Grant(_)))
}

fn gives_to(event: &Event, account: AccountId) -> bool {
    match event.body().and_then(Control::from_bytes) {
        Some(Control::Grant(grant)) => grant.account == account,
        Some(Control::Remove(remove)) => remove.account == account && remove.then.is_some(),
        _ => false,
    }
}

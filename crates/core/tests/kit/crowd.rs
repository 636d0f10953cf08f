//! A room of very many, whose statements are signed without a replica for each.

use std::collections::BTreeMap;

use ayni_core::epoch::EpochSecret;
use ayni_core::event::{CheckedRun, Event};
use ayni_core::id::EventId;
use ayni_core::keys::{AccountKey, DeviceKey, InviteSecret};
use ayni_core::limits::MAX_RUN_EVENTS;
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{Cites, Control, Cut, EpochBody, Grant, LogCut, Remove, Role, Room};

use super::{DAY, Forged, Person, START, admission, invite};

/// A room and what was said in it, in an order in which all can be taken in.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    pub(crate) founded: Room,
    pub(crate) founder: Person,
    pub(crate) people: Vec<Person>,
    pub(crate) invite: InviteSecret,
    pub(crate) events: Vec<Event>,
    tips: BTreeMap<LogId, (u64, EventId)>,
}

/// The person of a number beyond those of [`Person::new`].
pub(crate) fn numbered(n: u16) -> Person {
    let mut seed = [0xaa; 32];
    seed[..2].copy_from_slice(&n.to_le_bytes());
    let mut hpke = seed;
    hpke[2] = 0xbb;
    let (account, key) = (AccountKey::from_entropy(&seed), DeviceKey::from_secrets(&seed, &hpke));
    let cert = account.certify(key.id(), key.hpke_public(), START);
    Person { account, key, cert }
}

impl Crowd {
    /// A founder with an invite, and so many others who are not in yet.
    pub(crate) fn new(count: u16) -> Self {
        let founder = Person::new(1);
        let (founded, events) = founder.found();
        let last = events.last().expect("it said something");
        let log = founder.log(Lane::Control, 0);
        let tips = BTreeMap::from([(log, (last.seq() + 1, last.id()))]);
        let people = (0..count).map(numbered).collect();
        let (secret, control) = invite(50);
        let (invite, first) = (secret, founder.clone());
        let mut crowd = Self { founded, founder, people, invite, events, tips };
        crowd.say(&first, &control, &[]);
        crowd
    }

    /// The last that was said.
    pub(crate) fn last(&self) -> EventId {
        self.events.last().expect("a founding").id()
    }

    /// Says something at the end of someone's log, in knowledge of `deps`.
    pub(crate) fn say(&mut self, person: &Person, control: &Control, deps: &[EventId]) -> EventId {
        let log = person.log(Lane::Control, 0);
        let tip = self.tips.get(&log).copied();
        let prev = tip.map(|(_, id)| id);
        let at = Forged {
            seq: tip.map_or(0, |(len, _)| len),
            prev,
            deps: deps.iter().filter(|id| Some(**id) != prev).copied().collect(),
            time: START + self.events.len() as u64,
            ..Forged::default()
        };
        let event = person.forge(&self.founded, control, at);
        let id = event.id();
        self.tips.insert(log, (event.seq() + 1, id));
        self.events.push(event);
        id
    }

    /// Says something in knowledge of all that was said.
    pub(crate) fn say_next(&mut self, person: &Person, control: &Control) -> EventId {
        self.say(person, control, &[self.last()])
    }

    /// Lets someone in, by someone.
    pub(crate) fn admit(&mut self, by: &Person, whom: &Person) -> EventId {
        let claim = whom.claim(&self.founded, &self.invite, by.id());
        self.say_next(by, &admission(claim, 0))
    }

    /// Makes someone an admin.
    pub(crate) fn lift(&mut self, by: &Person, cites: Cites, whom: &Person) -> EventId {
        let grant = Grant { account: whom.account(), term: 0, role: Role::Admin, cites };
        self.say_next(by, &Control::Grant(grant))
    }

    /// Removes someone, with all that it said so far.
    pub(crate) fn remove(&mut self, by: &Person, cites: Cites, whom: &Person) -> EventId {
        let log = whom.log(Lane::Control, 0);
        let cut = self.tips.get(&log).map(|(len, last)| LogCut { log, len: *len, last: *last });
        let cut = Cut { logs: cut.into_iter().collect() };
        let remove = Remove { account: whom.account(), term: 0, then: None, cut, cites };
        self.say_next(by, &Control::Remove(remove))
    }

    /// Mints an epoch.
    pub(crate) fn mint(&mut self, by: &Person, n: u8) -> EventId {
        let commitment = EpochSecret::new([n; 32]).commitment();
        self.say_next(by, &Control::Epoch(EpochBody { commitment, parents: vec![], wraps: vec![] }))
    }

    /// Everyone of the first `count` is let in by the founder.
    pub(crate) fn admit_all(&mut self) {
        let founder = self.founder.clone();
        for person in self.people.clone() {
            self.admit(&founder, &person);
        }
    }

    /// Signed runs as a peer would send them: of each log what follows, as far as it can be taken in.
    pub(crate) fn runs(&self) -> Vec<CheckedRun> {
        let mut logs: BTreeMap<LogId, Vec<Event>> = BTreeMap::new();
        for event in &self.events {
            logs.entry(event.log()).or_default().push(event.clone());
        }
        let chunks = logs.values().flat_map(|log| log.chunks(MAX_RUN_EVENTS));
        let run = |events: &[Event]| CheckedRun::new(self.founded.id(), events.to_vec());
        chunks.map(|events| run(events).expect("signed")).collect()
    }

    /// Each event as a run of its own, in order.
    pub(crate) fn singles(&self) -> Vec<CheckedRun> {
        let run = |event: &Event| CheckedRun::new(self.founded.id(), vec![event.clone()]);
        self.events.iter().map(|event| run(event).expect("signed")).collect()
    }

    /// An empty replica of someone who is not of the crowd.
    pub(crate) fn empty(&self) -> Room {
        Room::new(self.founded.id(), Person::new(250).id())
    }
}

/// Offers runs, in order, until nothing more is taken in. Returns how many events were.
pub(crate) fn take_all(room: &mut Room, runs: &[CheckedRun]) -> usize {
    let (mut taken, mut open) = (0, runs.to_vec());
    loop {
        let before = (taken, open.len());
        open.retain(|run| match room.accept(run.clone(), START + DAY) {
            Ok(accepted) => {
                taken += accepted.events.len();
                let last = accepted.events.last().map(Event::seq);
                last.is_some() && last != run.events().last().map(Event::seq)
            }
            Err(_) => true,
        });
        if (taken, open.len()) == before {
            return taken;
        }
    }
}

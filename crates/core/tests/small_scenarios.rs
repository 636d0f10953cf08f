//! Every small scenario in every order of delivery, by exhaustive search.
//!
//! A scenario is a set of statements that is closed under what they depend on. Each statement is made by
//! someone in some knowledge, which may be any part of what was said before that holds its own words.
//! Permuting the deliveries of a scenario is not needed: whatever came last is one of the statements on
//! which no other depends, and without it the rest is a smaller scenario, in which every order was shown
//! to give one state. So it is enough that each such last step leads to the same state.

mod kit;

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::event::Event;
use ayni_core::id::{AccountId, EventId};
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{
    Cites, Control, Cut, Grant, LogCut, Remove, Revoke, Role, Room, Set, Setting,
};
use kit::stage::{A, B, F, M, Stage};
use kit::{Forged, Person, START, admission, offer, replica};

/// A statement of the search, by its number.
type No = u32;
/// A scenario: its statements, lowest number first. Whatever one depends on has a lower number.
type Scenario = Vec<No>;

/// What someone may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Remove(usize),
    Demote(usize),
    Lift(usize),
    Leave,
    Revoke,
    Admit,
    Name,
}

/// Who says what, and knowing which.
type Described = (usize, Act, Option<EventId>, Scenario);

/// The search: everything that was said in any scenario.
struct Search {
    stage: Stage,
    base: Room,
    newcomer: Person,
    may: Vec<(usize, Act)>,
    said: Vec<(Event, Control, Scenario)>,
    numbers: BTreeMap<Described, No>,
}

/// What a search found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    scenarios: usize,
    deliveries: usize,
    /// Distinct states, as members see them.
    outcomes: BTreeSet<Vec<Option<Role>>>,
}

impl Search {
    /// A search of what these people may say.
    fn new(stage: Stage, may: &[(usize, Act)]) -> Self {
        let base = replica(&Person::new(99), &stage.rooms[F], &stage.events);
        Self {
            stage,
            base,
            newcomer: Person::new(98),
            may: may.to_vec(),
            said: vec![],
            numbers: BTreeMap::new(),
        }
    }

    /// Looks at every scenario of at most so many statements.
    fn run(&mut self, depth: usize) -> Found {
        let mut found = Found::default();
        let mut level = BTreeSet::from([Scenario::new()]);
        for _ in 0..depth {
            let mut next = BTreeSet::new();
            for scenario in &level {
                for (who, knowledge) in self.speakers(scenario) {
                    for said in self.sayings(who, &knowledge) {
                        let mut longer = scenario.clone();
                        longer.push(said);
                        longer.sort_unstable();
                        next.insert(longer);
                    }
                }
            }
            for scenario in &next {
                self.check(scenario, &mut found);
            }
            level = next;
        }
        found
    }

    /// Everyone, in every knowledge that holds its own words.
    fn speakers(&self, scenario: &Scenario) -> Vec<(usize, Scenario)> {
        let mut speakers = vec![];
        for knowledge in self.closed_parts(scenario) {
            let actors: BTreeSet<usize> = self.may.iter().map(|(who, _)| *who).collect();
            for who in &actors {
                let own = |no: &&No| self.author(**no) == *who;
                if scenario.iter().filter(own).all(|no| knowledge.contains(no)) {
                    speakers.push((*who, knowledge.clone()));
                }
            }
        }
        speakers
    }

    /// The parts of a scenario that are closed under what they depend on.
    fn closed_parts(&self, scenario: &Scenario) -> Vec<Scenario> {
        let mut parts = vec![vec![]];
        for no in scenario {
            let needs = &self.said(*no).2;
            let longer: Vec<Scenario> = parts
                .iter()
                .filter(|part: &&Scenario| needs.iter().all(|need| part.contains(need)))
                .map(|part| [part.as_slice(), &[*no]].concat())
                .collect();
            parts.extend(longer);
        }
        parts
    }

    fn said(&self, no: No) -> &(Event, Control, Scenario) {
        &self.said[no as usize]
    }

    fn author(&self, no: No) -> usize {
        let device = self.said(no).0.header().device;
        self.stage.people.iter().position(|person| person.id() == device).expect("one of them")
    }

    /// What someone may say in some knowledge, each by a number of its own.
    fn sayings(&mut self, who: usize, knowledge: &Scenario) -> Vec<No> {
        let mut sayings = vec![];
        let acts: Vec<Act> =
            self.may.iter().filter(|(by, _)| *by == who).map(|(_, act)| *act).collect();
        for act in acts {
            for cites in self.cites(who, act, knowledge) {
                let described = (who, act, cites, knowledge.clone());
                let no = if let Some(no) = self.numbers.get(&described) {
                    *no
                } else {
                    let said = self.say(who, act, cites, knowledge);
                    let no = No::try_from(self.said.len()).expect("fewer");
                    self.said.push(said);
                    self.numbers.insert(described, no);
                    no
                };
                sayings.push(no);
            }
        }
        sayings
    }

    /// By what someone may act: each lift of its newest term that it knows; a founder by nothing.
    fn cites(&self, who: usize, act: Act, knowledge: &Scenario) -> Vec<Cites> {
        if matches!(act, Act::Leave | Act::Admit) || who == F {
            return vec![None];
        }
        let (account, term) = (self.stage.account(who), self.own_term(who, knowledge));
        let setup = self.stage.events.iter().filter_map(|event| {
            let control = event.body().and_then(Control::from_bytes)?;
            lifts(&control, account, term).then(|| event.id())
        });
        let known = knowledge.iter().filter(|no| lifts(&self.said(**no).1, account, term));
        setup.chain(known.map(|no| self.said(*no).0.id())).map(Some).collect()
    }

    /// The term that someone is in, as far as is known: the first that did not end.
    fn term(&self, who: usize, knowledge: &Scenario) -> u32 {
        let account = self.stage.account(who);
        let ends = knowledge.iter().filter_map(|no| match &self.said(*no).1 {
            Control::Remove(remove) if remove.account == account => Some(remove.term + 1),
            Control::Leave(_) if self.author(*no) == who => {
                Some(self.said(*no).0.header().term + 1)
            }
            _ => None,
        });
        ends.max().unwrap_or(0)
    }

    /// The newest term in which someone may speak: for which it knows a role to be given.
    fn own_term(&self, who: usize, knowledge: &Scenario) -> u32 {
        let account = self.stage.account(who);
        let given = knowledge.iter().filter_map(|no| match &self.said(*no).1 {
            Control::Remove(it) if it.account == account => it.then.map(|_| it.term + 1),
            Control::Grant(it) if it.account == account => Some(it.term),
            _ => None,
        });
        given.max().unwrap_or(0)
    }

    fn say(
        &self,
        who: usize,
        act: Act,
        cites: Cites,
        knowledge: &Scenario,
    ) -> (Event, Control, Scenario) {
        let (person, term) = (&self.stage.people[who], self.own_term(who, knowledge));
        let of = |whom: usize| (self.stage.account(whom), self.term(whom, knowledge));
        let control = match act {
            Act::Remove(whom) | Act::Demote(whom) => {
                let ((account, term), cut) = (of(whom), self.cut(whom, knowledge));
                let then = matches!(act, Act::Demote(_)).then_some(Role::Reader);
                Control::Remove(Remove { account, term, then, cut, cites })
            }
            Act::Lift(whom) => {
                let ((account, term), role) = (of(whom), Role::Admin);
                Control::Grant(Grant { account, term, role, cites })
            }
            Act::Leave => Control::Leave(self.cut(who, knowledge)),
            Act::Revoke => Control::Revoke(Revoke { invite: self.stage.invite.key(), cites }),
            Act::Admit => {
                let claim = self.newcomer.claim(&self.base, &self.stage.invite, person.id());
                admission(claim, 0)
            }
            Act::Name => {
                let setting = Setting::Name(format!("by {who}"));
                Control::Set(Set { cites, setting })
            }
        };
        let log = person.log(Lane::Control, term);
        let own = knowledge.iter().rev().map(|no| &self.said(*no).0);
        let own = own.filter(|event| event.log() == log).max_by_key(|event| event.seq());
        let at = match own {
            Some(last) => {
                Forged { term, seq: last.seq() + 1, prev: Some(last.id()), ..Forged::default() }
            }
            None => Forged::next(&self.base, person, term),
        };
        let at = Forged { deps: self.heads(knowledge, at.prev), time: START + 20, ..at };
        (person.forge(&self.base, &control, at), control, knowledge.clone())
    }

    /// What of some knowledge nothing else in it depends on; the end of the beginning if it is empty.
    fn heads(&self, knowledge: &Scenario, prev: Option<EventId>) -> Vec<EventId> {
        let is_head = |no: &&No| !knowledge.iter().any(|other| self.said(*other).2.contains(no));
        let heads = knowledge.iter().filter(is_head).map(|no| self.said(*no).0.id());
        let beginning = self.stage.events.last().map(Event::id);
        let heads: Vec<EventId> =
            if knowledge.is_empty() { beginning.into_iter().collect() } else { heads.collect() };
        heads.into_iter().filter(|id| Some(*id) != prev).collect()
    }

    /// Where someone's logs of its newest term end in some knowledge.
    fn cut(&self, whom: usize, knowledge: &Scenario) -> Cut {
        let log = LogId {
            lane: Lane::Control,
            device: self.stage.people[whom].id(),
            term: self.term(whom, knowledge),
        };
        let known = knowledge.iter().map(|no| &self.said(*no).0);
        let last = self.stage.events.iter().chain(known).filter(|event| event.log() == log);
        let last = last.max_by_key(|event| event.seq());
        let end = last.map(|last| LogCut { log, len: last.seq() + 1, last: last.id() });
        Cut { logs: end.into_iter().collect() }
    }

    /// Whether every last step leads to the same state.
    fn check(&self, scenario: &Scenario, found: &mut Found) {
        let mut reached: Option<Room> = None;
        for last in scenario {
            if scenario.iter().any(|other| self.said(*other).2.contains(last)) {
                continue;
            }
            let mut room = self.base.clone();
            let before = scenario.iter().filter(|no| *no != last);
            for no in before.chain([last]) {
                let taken = offer(&mut room, &self.said(*no).0).map(|it| it.events.len());
                assert_eq!(taken, Ok(1), "{}", self.story(scenario));
            }
            found.deliveries += 1;
            let Some(first) = &reached else {
                reached = Some(room);
                continue;
            };
            assert_eq!(first.state_hash(), room.state_hash(), "{}", self.story(scenario));
            assert_eq!(first.members(), room.members(), "{}", self.story(scenario));
        }
        let room = reached.expect("there is a last one");
        // Nothing changes either if all is reduced at once, as it is for a run or after a restart.
        let mut again = self.base.clone();
        again.restore_control(scenario.iter().map(|no| self.said(*no).0.clone()));
        assert_eq!(again.members(), room.members(), "{}", self.story(scenario));
        assert!(self.keeps_order(scenario, &room), "{}", self.story(scenario));
        found.scenarios += 1;
        found.outcomes.insert(self.roles(&room));
    }

    fn roles(&self, room: &Room) -> Vec<Option<Role>> {
        let accounts = self.stage.people.iter().chain([&self.newcomer]).map(Person::account);
        accounts.map(|account| room.members().role(&account)).collect()
    }

    /// What must hold in every scenario: nobody is above the founder, so it is one until it leaves.
    fn keeps_order(&self, scenario: &Scenario, room: &Room) -> bool {
        let leaves =
            |no: &No| self.author(*no) == F && matches!(self.said(*no).1, Control::Leave(_));
        scenario.iter().any(leaves)
            || room.members().role(&self.stage.account(F)) == Some(Role::Founder)
    }

    fn story(&self, scenario: &Scenario) -> String {
        let tell = |no: &No| {
            let (_, control, knows) = self.said(*no);
            format!("{no}: {} says {control:?} knowing {knows:?}", self.author(*no))
        };
        scenario.iter().map(tell).collect::<Vec<_>>().join("\n")
    }
}

/// Whether a statement gives an account authority in a term.
fn lifts(control: &Control, account: AccountId, term: u32) -> bool {
    match control {
        Control::Grant(it) => (it.account, it.term) == (account, term) && it.role.has_authority(),
        _ => false,
    }
}

/// Looks at every scenario of so many statements, and says how many those are.
fn search(stage: Stage, may: &[(usize, Act)], depth: usize) -> Found {
    Search::new(stage, may).run(depth)
}

/// Everything that anyone may say about the four.
fn everything() -> Vec<(usize, Act)> {
    let about = |whom| [Act::Remove(whom), Act::Demote(whom), Act::Lift(whom)];
    let acts: Vec<Act> = [F, A, B, M].into_iter().flat_map(about).collect();
    let acts = [acts, vec![Act::Leave, Act::Revoke, Act::Admit, Act::Name]].concat();
    let all = [F, A, B, M].into_iter().flat_map(|who| acts.iter().map(move |act| (who, *act)));
    let itself = |who: usize, act: Act| act == Act::Remove(who) || act == Act::Demote(who);
    all.filter(|(who, act)| !itself(*who, *act)).collect()
}

/// Two beside each other, and the one above them.
const PAIR: [(usize, Act); 4] =
    [(A, Act::Remove(B)), (B, Act::Remove(A)), (F, Act::Remove(A)), (F, Act::Demote(B))];

/// Three beside each other in a ring, and the one above them.
const RING: [(usize, Act); 4] =
    [(A, Act::Remove(B)), (B, Act::Remove(M)), (M, Act::Remove(A)), (F, Act::Remove(A))];

/// Someone whom two lift and remove, and who acts on that.
const LIFTED: [(usize, Act); 6] = [
    (A, Act::Lift(M)),
    (A, Act::Remove(M)),
    (B, Act::Lift(M)),
    (B, Act::Remove(M)),
    (M, Act::Remove(B)),
    (F, Act::Remove(A)),
];

/// Someone who comes and goes, and lets others in.
const COMING: [(usize, Act); 6] = [
    (M, Act::Leave),
    (M, Act::Admit),
    (F, Act::Demote(M)),
    (A, Act::Remove(M)),
    (B, Act::Lift(M)),
    (B, Act::Revoke),
];

/// The four, with the member made an admin as well.
fn three_admins() -> Stage {
    let mut stage = Stage::new();
    stage.grants(F, M, Role::Admin).expect("a founder may");
    stage.settle();
    stage
}

#[test]
fn every_scenario_of_two_statements_is_the_same_in_every_order() {
    let found = search(Stage::new(), &everything(), 2);
    assert!(found.scenarios > 2_000 && found.outcomes.len() > 30, "{found:?}");
}

/// The contests, to some depths, and how many scenarios and last steps there are, and how many ways in
/// which it ends: counted, so that a search that looks at less is noticed.
fn contests(depths: [usize; 4], expected: [(usize, usize, usize); 4]) {
    let stages = [Stage::new(), three_admins(), Stage::new(), Stage::new()];
    let contests: [&[(usize, Act)]; 4] = [&PAIR, &RING, &LIFTED, &COMING];
    let all = stages.into_iter().zip(contests).zip(depths);
    let found: Vec<(usize, usize, usize)> = all
        .map(|((stage, may), depth)| search(stage, may, depth))
        .map(|found| (found.scenarios, found.deliveries, found.outcomes.len()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn hazard_5_every_small_contest_is_the_same_in_every_order() {
    contests([5, 5, 4, 4], [(6137, 9535, 6), (13413, 22368, 2), (3852, 5654, 6), (6559, 10150, 8)]);
}

#[test]
#[ignore = "a minute or more: cargo test --release -- --ignored"]
fn every_scenario_of_three_statements_is_the_same_in_every_order() {
    let found = search(Stage::new(), &everything(), 3);
    assert_eq!((found.scenarios, found.deliveries, found.outcomes.len()), (207_400, 290_768, 110));
}

#[test]
#[ignore = "minutes: cargo test --release -- --ignored"]
fn hazard_5_every_contest_of_six_statements_is_the_same_in_every_order() {
    contests(
        [6, 6, 5, 5],
        [(45370, 73171, 6), (142_521, 250_264, 2), (50475, 79259, 6), (89911, 148_546, 8)],
    );
}

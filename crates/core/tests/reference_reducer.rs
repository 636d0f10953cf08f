//! The reducer against a slow reference, on hundreds of histories with much said at once and many lies.
//!
//! `AYNI_SEEDS` says how many seeds; a failure names its seed, and what is left of its history when
//! everything is taken away that is not needed to fail.

mod kit;
mod reference;

use std::collections::BTreeSet;

use ayni_core::event::Event;
use ayni_core::id::{EventId, PeerId};
use ayni_core::room::Room;
use kit::offer;
use reference::facts::Facts;
use reference::history::{Dice, History};
use reference::rules::reduce;
use reference::shown::{Looks, Shown, by_reference, by_replica};
use reference::story::account;

/// Seeds of an ordinary run: a few seconds.
const SEEDS: u64 = 300;

/// Delivers all in a random order, with repetition, until nothing more is taken in; now and then the
/// replica is begun again from what it would have stored.
fn replica(template: &Room, events: &[Event], seed: u64) -> Room {
    let mut room = Room::new(template.id(), PeerId([9; 32]));
    let mut order = events.to_vec();
    let mut dice = Dice(seed);
    let mut idle = 0;
    let mut open: BTreeSet<EventId> = events.iter().map(Event::id).collect();
    let mut stored: Vec<Event> = vec![];
    while idle < 3 && !open.is_empty() {
        dice.shuffle(&mut order);
        let before = open.len();
        for event in &order {
            // Also what is held already is offered again now and then.
            if (open.contains(&event.id()) || dice.below(8) == 0)
                && let Ok(accepted) = offer(&mut room, event)
            {
                stored.extend(accepted.events);
                open.remove(&event.id());
            }
        }
        if dice.below(8) == 0 {
            room = Room::new(template.id(), PeerId([9; 32]));
            room.restore_control(stored.clone());
        }
        idle = if open.len() == before { idle + 1 } else { 0 };
    }
    room
}

/// Returns what the reference and a replica say, where they differ.
fn difference(template: &Room, events: &[Event], seed: u64) -> Option<(Shown, Shown)> {
    let room = replica(template, events, seed);
    let facts = Facts::new(template.id(), events);
    // Until a fork is proved, replicas may hold different branches.
    if !facts.is_settled() {
        return None;
    }
    let mut looks = Looks::new(template, events);
    // What lies on a forked branch is held by some and not by others, and is nothing to anybody.
    looks.events.retain(|id| facts.all.contains_key(id));
    let (reference, replica) = (by_reference(&facts, &looks), by_replica(&room, &looks));
    (reference != replica).then_some((reference, replica))
}

/// Takes events away as long as the rest still differs.
fn shrink(template: &Room, mut events: Vec<Event>, seed: u64) -> Vec<Event> {
    let mut at = events.len();
    // Without the genesis there is no room.
    while at > 1 {
        at -= 1;
        let mut fewer = events.clone();
        fewer.remove(at);
        if difference(template, &fewer, seed).is_some() {
            events = fewer;
            at = at.min(events.len());
        }
    }
    events
}

/// How much of what is compared happened at all.
#[derive(Debug, Default)]
struct Seen {
    events: usize,
    ends: usize,
    void_ends: usize,
    undecided: usize,
    gifts: usize,
    void_gifts: usize,
    returns: usize,
    revocations: usize,
    forks: usize,
    permitted: usize,
    refused_epochs: usize,
    hidden: usize,
}

impl Seen {
    fn add(&mut self, facts: &Facts, looks: &Looks) {
        let ids: BTreeSet<EventId> = facts.all.keys().copied().collect();
        let out = reduce(facts, ids.clone());
        let shown = by_reference(facts, looks);
        let ends = ids.iter().filter(|id| !facts.ends(id).is_empty()).count();
        let gifts = ids.iter().filter(|id| facts.gives(id).is_some()).count();
        self.events += ids.len();
        self.ends += out.ends.len();
        self.void_ends += ends - out.ends.len();
        self.undecided += out.undecided.len();
        self.gifts += out.gives.len();
        self.void_gifts += gifts - out.gives.len();
        self.returns += out.seats.keys().filter(|(_, term)| *term > 0).count();
        self.revocations += out.revoked.len();
        self.forks += facts.forks.len();
        self.permitted += shown.permitted.values().filter(|it| **it).count();
        self.refused_epochs += shown.permitted.values().filter(|it| !**it).count();
        self.hidden += shown.hidden.values().filter(|it| **it).count();
    }

    /// Whether everything happened at least once in so many histories.
    fn is_rich(&self, histories: usize) -> bool {
        let often = [self.ends, self.void_ends, self.gifts, self.void_gifts, self.hidden];
        let rarely = [self.returns, self.revocations, self.forks, self.permitted];
        often.into_iter().all(|count| count > histories)
            && rarely.into_iter().all(|count| count > histories / 10)
            && self.refused_epochs > histories
            && self.undecided > histories / 50
    }
}

fn check(seed: u64, seen: &mut Seen) {
    let mut history = History::grow(seed, 4 + 2 * usize::try_from(seed % 27).expect("small"));
    if seed % 5 == 4 {
        history.fork();
    }
    let template = &history.rooms[0];
    for order in 0..2 {
        let order = seed.wrapping_mul(31).wrapping_add(order);
        if difference(template, &history.events, order).is_none() {
            continue;
        }
        let events = shrink(template, history.events.clone(), order);
        let story = account(&history.people, &events);
        let (reference, replica) = difference(template, &events, order).expect("still");
        panic!(
            "seed {seed} differs:\n{story}\nreference: {}\n\nreplica: {}",
            diff(&reference, &replica),
            diff(&replica, &reference)
        );
    }
    let facts = Facts::new(template.id(), &history.events);
    if facts.is_settled() {
        seen.add(&facts, &Looks::new(template, &history.events));
    }
}

/// What one says that the other does not.
fn diff(one: &Shown, other: &Shown) -> String {
    let lines = |shown: &Shown| -> BTreeSet<String> {
        let accounts = shown.accounts.iter().map(|it| format!("account {it:?}"));
        let invites = shown.invites.iter().map(|it| format!("invite {it:?}"));
        let permitted = shown.permitted.iter().map(|it| format!("permitted {it:?}"));
        let counts = shown.counts.iter().map(|it| format!("counts {it:?}"));
        let logs = shown.logs.iter().map(|it| format!("log {it:?}"));
        let hidden = shown.hidden.iter().map(|it| format!("hidden {it:?}"));
        let settings = [format!("{:?}", shown.settings)];
        let all = accounts.chain(invites).chain(permitted).chain(counts).chain(logs);
        all.chain(hidden).chain(settings).collect()
    };
    let theirs = lines(other);
    let lines: Vec<String> = lines(one).difference(&theirs).cloned().collect();
    lines.join("\n")
}

/// How many seeds to run: what the environment says, or a few.
#[allow(clippy::disallowed_methods, reason = "who runs the long set says so by the environment")]
fn seeds() -> u64 {
    std::env::var("AYNI_SEEDS").ok().and_then(|it| it.parse().ok()).unwrap_or(SEEDS)
}

#[test]
fn hazard_21_the_reducer_does_what_the_rules_say() {
    let seeds = seeds();
    let mut seen = Seen::default();
    for seed in 0..seeds {
        check(seed, &mut seen);
    }
    assert!(seen.is_rich(usize::try_from(seeds).expect("few")), "{seen:?}");
}

//! What people do and what goes wrong in one run, thrown from its seed beforehand.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::clock::Millis;
use ayni_core::room::{History, Role, Setting};

use crate::dice::Dice;
use crate::liar::Lie;
use crate::peer::PeerNo;
use crate::scenarios::{Affairs, Kind, Scenario};

/// Longest text of a long message: too long for gossip, so that only synchronisation brings it.
const LONG_TEXT: u64 = 8 * 1024;
/// In this time after the start the first members join.
const SETTLE_MS: Millis = 5_000;

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Someone says this.
    Say(String),
    /// Someone names itself, or the room.
    Rename(String, bool),
    /// A peer is given the invite.
    Come(PeerNo),
    /// A peer leaves the room.
    Leave(PeerNo),
    /// Someone gives another a role.
    Role(PeerNo, PeerNo, Role),
    /// Someone removes another.
    Remove(PeerNo, PeerNo),
    /// Someone signs a removal of another that its own replica refuses.
    Defy(PeerNo, PeerNo),
    /// Someone makes an invite, for one who was removed in its knowledge or for anyone.
    Invite(PeerNo, Option<PeerNo>),
    /// Someone ends an invite.
    Revoke(PeerNo),
    /// Someone sets the room up in one respect.
    Set(PeerNo, Setting),
    /// A liar does what it does.
    Lie(PeerNo),
    /// Some connection drops.
    Drop,
    /// A peer stops.
    Stop(PeerNo),
    /// A peer that stopped starts again.
    Start(PeerNo),
    /// A peer stops for good.
    Go(PeerNo),
    /// These peers are cut off from the others; none: the network is whole again.
    Part(BTreeSet<PeerNo>),
}

/// Times that a liar does what it does.
const LIES_EACH: u64 = 6;

/// What is thrown beforehand.
#[derive(Debug)]
pub struct Plan {
    /// Who breaks the rules, and how.
    pub liars: BTreeMap<PeerNo, Lie>,
    /// Who is slow.
    pub slow: BTreeSet<PeerNo>,
    /// Times after the start, and what happens then.
    pub acts: Vec<(Millis, Act)>,
}

/// Throws a plan.
pub fn plan(scenario: &Scenario, dice: &mut Dice) -> Plan {
    let mut early: Vec<PeerNo> = (1..scenario.peers - scenario.newcomers).collect();
    shuffle(&mut early, dice);
    let liars: BTreeMap<PeerNo, Lie> = early
        .iter()
        .take(scenario.liars)
        .filter_map(|no| Some((*no, dice.pick(scenario.lies).copied()?)))
        .collect();
    let slow = early.iter().rev().take(scenario.slow).copied().collect();
    let mut acts = people(scenario, dice);
    acts.extend(affairs(scenario, &mut early, dice));
    acts.extend(lies(scenario, &liars, dice));
    acts.extend(mishaps(scenario, dice));
    Plan { liars, slow, acts }
}

fn shuffle(all: &mut [PeerNo], dice: &mut Dice) {
    for at in (1..all.len()).rev() {
        all.swap(at, index(dice, at + 1));
    }
}

fn index(dice: &mut Dice, end: usize) -> usize {
    usize::try_from(dice.below(end as u64)).unwrap_or(0)
}

/// What people do with the room and with one another.
fn affairs(scenario: &Scenario, early: &mut [PeerNo], dice: &mut Dice) -> Vec<(Millis, Act)> {
    let Affairs { grants, demotions, removals, rivalries, .. } = scenario.affairs;
    let span = scenario.span_ms;
    let mut acts = Vec::new();
    shuffle(early, dice);
    let (admins, others) = early.split_at(scenario.affairs.admins.min(early.len()));
    for admin in admins {
        let at = dice.between(2 * SETTLE_MS, 3 * SETTLE_MS);
        acts.push((at, Act::Role(0, *admin, Role::Admin)));
    }
    let powers: Vec<PeerNo> = [0].iter().chain(admins).copied().collect();
    let power = |dice: &mut Dice| dice.pick(&powers).copied().unwrap_or(0);
    let middle = |dice: &mut Dice| dice.between(span / 4, span * 3 / 4);
    for _ in 0..grants {
        let role = if dice.chance(700) { Role::Admin } else { Role::Member };
        let (by, whom) = (power(dice), dice.pick(early).copied().unwrap_or(0));
        acts.push((middle(dice), Act::Role(by, whom, role)));
    }
    for _ in 0..demotions {
        let role = if dice.chance(500) { Role::Reader } else { Role::Member };
        let (by, whom) = (power(dice), dice.pick(early).copied().unwrap_or(0));
        acts.push((middle(dice), Act::Role(by, whom, role)));
    }
    let mut removed = Vec::new();
    for _ in 0..removals {
        // Members more often than admins: who may remove those are few.
        let from = if others.is_empty() || dice.chance(300) { &*early } else { others };
        let (by, whom) = (power(dice), dice.pick(from).copied().unwrap_or(0));
        let at = middle(dice);
        acts.push((at, Act::Remove(by, whom)));
        removed.push((at, whom));
        if dice.chance(300) {
            // Another at the same time, who may not have heard.
            acts.push((at + dice.below(500), Act::Remove(power(dice), whom)));
        }
    }
    for _ in 0..rivalries {
        let (one, other) = (index(dice, admins.len()), index(dice, admins.len()));
        if let (Some(one), Some(other)) = (admins.get(one), admins.get(other))
            && one != other
        {
            let at = middle(dice);
            acts.push((at, Act::Defy(*one, *other)));
            acts.push((at + dice.below(1_000), Act::Defy(*other, *one)));
            acts.push((at + dice.between(span / 16, span / 4), Act::Remove(0, *one)));
        }
    }
    for nth in 0..scenario.affairs.readmissions {
        let nth = usize::try_from(nth).unwrap_or(0) % removed.len().max(1);
        if let Some((at, whom)) = removed.get(nth) {
            let at = at + dice.between(span / 16, span / 4);
            acts.push((at, Act::Invite(power(dice), Some(*whom))));
        }
    }
    acts.extend(doors(scenario, early, &powers, dice));
    acts
}

/// Invites, their ends, and settings.
fn doors(
    scenario: &Scenario,
    early: &[PeerNo],
    powers: &[PeerNo],
    dice: &mut Dice,
) -> Vec<(Millis, Act)> {
    let mut acts = Vec::new();
    let span = scenario.span_ms;
    for _ in 0..scenario.affairs.invites {
        let by = dice.pick(early).copied().unwrap_or(0);
        acts.push((dice.between(2 * SETTLE_MS, span / 2), Act::Invite(by, None)));
    }
    for _ in 0..scenario.affairs.revocations {
        let by = dice.pick(powers).copied().unwrap_or(0);
        acts.push((dice.between(span / 2, span), Act::Revoke(by)));
    }
    for nth in 0..scenario.affairs.settings {
        let by = dice.pick(powers).copied().unwrap_or(0);
        let role = if dice.chance(500) { Role::Admin } else { Role::Member };
        let setting = match dice.below(7) {
            0 => Setting::Name(format!("room {nth}")),
            1 => Setting::Topic(format!("topic {nth}")),
            2 => Setting::Picture(None),
            3 => Setting::WhoInvites(role),
            4 => Setting::WhoPosts(role),
            5 => Setting::WhoPins(role),
            _ if dice.chance(500) => Setting::History(History::FromJoining),
            _ => Setting::History(History::FromStart),
        };
        acts.push((dice.between(span / 4, span), Act::Set(by, setting)));
    }
    acts
}

/// What liars do, and that some of them are removed for it.
fn lies(scenario: &Scenario, liars: &BTreeMap<PeerNo, Lie>, dice: &mut Dice) -> Vec<(Millis, Act)> {
    let mut acts = Vec::new();
    let span = scenario.span_ms;
    for (no, lie) in liars {
        for _ in 0..LIES_EACH {
            acts.push((dice.between(span / 4, span), Act::Lie(*no)));
        }
        if lie.is_for_the_removed() {
            if dice.chance(500) {
                acts.push((dice.between(2 * SETTLE_MS, span / 4), Act::Role(0, *no, Role::Admin)));
            }
            acts.push((dice.between(span / 4, span / 2), Act::Remove(0, *no)));
        }
    }
    acts
}

/// What goes wrong.
fn mishaps(scenario: &Scenario, dice: &mut Dice) -> Vec<(Millis, Act)> {
    let mut acts = Vec::new();
    let span = scenario.span_ms;
    for _ in 0..scenario.drops {
        acts.push((dice.below(span), Act::Drop));
    }
    for nth in 0..scenario.restarts {
        // Whoever stops for good does that alone.
        let first = u64::from(scenario.founder_goes);
        let who = usize::try_from(dice.between(first, scenario.peers as u64)).unwrap_or(0);
        let at = dice.between(span * nth / scenario.restarts, span);
        acts.push((at, Act::Stop(who)));
        acts.push((at + dice.between(1, span / 8), Act::Start(who)));
    }
    for nth in 0..scenario.partings {
        let every = span / scenario.partings;
        let at = every * nth + dice.below(every / 2);
        let apart = (0..scenario.peers).filter(|_| dice.chance(500)).collect();
        acts.push((at, Act::Part(apart)));
        acts.push((at + dice.between(1, every / 2), Act::Part(BTreeSet::new())));
    }
    acts
}

fn people(scenario: &Scenario, dice: &mut Dice) -> Vec<(Millis, Act)> {
    let mut acts = Vec::new();
    let span = scenario.span_ms;
    if scenario.kind == Kind::Group {
        let early = scenario.peers - scenario.newcomers;
        for no in 1..scenario.peers {
            let at = if no < early { dice.below(SETTLE_MS) } else { dice.between(span / 2, span) };
            acts.push((at, Act::Come(no)));
        }
    }
    for nth in 0..scenario.messages {
        let text = if dice.below(100) < scenario.long_percent {
            let length = usize::try_from(dice.between(4096, LONG_TEXT)).unwrap_or(4096);
            format!("{nth} {}", "x".repeat(length))
        } else {
            format!("message {nth}")
        };
        acts.push((dice.below(span), Act::Say(text)));
    }
    for nth in 0..scenario.renames {
        acts.push((dice.below(span), Act::Rename(format!("name {nth}"), dice.chance(300))));
    }
    if scenario.founder_goes {
        acts.push((span / 3, Act::Go(0)));
    }
    // Those who came early, the last first; never the founder.
    let leavers = (1..scenario.peers - scenario.newcomers).rev().take(scenario.leavers);
    for no in leavers {
        acts.push((dice.between(span * 3 / 4, span), Act::Leave(no)));
    }
    acts
}

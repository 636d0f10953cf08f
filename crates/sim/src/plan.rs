//! What people do and what goes wrong in one run, thrown from its seed beforehand.

use std::collections::BTreeSet;

use ayni_core::clock::Millis;

use crate::dice::Dice;
use crate::peer::PeerNo;
use crate::scenarios::{Kind, Scenario};

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

/// Throws a plan: times after the start, and what happens then.
pub fn plan(scenario: &Scenario, dice: &mut Dice) -> Vec<(Millis, Act)> {
    let mut acts = people(scenario, dice);
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

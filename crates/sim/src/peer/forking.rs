//! Proving forks: a device that signed two events at one position is shown to everyone.
//!
//! Each proof is stated after a while that chance decides, so that whoever is first spares the
//! others the same.

use std::collections::BTreeMap;

use ayni_core::clock::Millis;
use ayni_core::event::Event;
use ayni_core::limits::MAX_FORK_VOID;
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{Accepted, Branches, Effect, Fork};

use super::{Outgoing, Peer};
use crate::dice::Dice;

/// Longest time before a proof is stated.
const SPREAD_MS: Millis = 3_000;

/// Proofs to state, and when.
pub(super) type Pending = BTreeMap<LogId, (Fork, Option<Millis>)>;

impl Peer {
    /// Compares a refused run with what is held in its place, and notes a fork that it proves. Returns
    /// the position before which more of the other branch is needed to tell where they part.
    pub(super) fn compare_branches(&mut self, run: &[Event]) -> Option<u64> {
        let (first, last) = (run.first()?, run.last()?);
        let log = first.log();
        if log.device == self.me.key.id() {
            // Who forks does not say so.
            return None;
        }
        let range = first.seq().saturating_sub(1)..=last.seq();
        let held: Vec<Event> = range.filter_map(|seq| self.store.at(&log, seq).cloned()).collect();
        match Branches::compare(&held, run) {
            Branches::Agree => None,
            Branches::PartBefore(seq) => Some(seq),
            Branches::Part(proof) => {
                let pending = self.running.as_mut().map(|running| &mut running.pending)?;
                pending.entry(log).or_insert((*proof, None));
                None
            }
        }
    }

    /// Looks after message logs that were cut short: where the branch that is held here parts from the
    /// others before the cut, the room must know its real end, so that the difference shows.
    pub(super) fn examine(&mut self, accepted: &Accepted) {
        for effect in &accepted.effects {
            if let Effect::Voided(log, len) = effect
                && log.lane == Lane::Chat
                && let Some(before) = len.checked_sub(1)
                && let Some(last) = self.store.at(log, before).map(Event::id)
                && let Some(running) = &mut self.running
                && let Some(room) = &mut running.room
                && room.tip(log).is_some_and(|tip| tip != (*len, last))
            {
                room.rectify(log, *len, last);
                running.changed = true;
            }
        }
    }

    /// Notes the forks that were heard of: what is held beyond them is to be declared.
    pub(super) fn note_forks(&mut self, accepted: &Accepted) {
        let Some(running) = &mut self.running else { return };
        let Some(room) = &running.room else { return };
        for effect in &accepted.effects {
            if let Effect::Forked(log) = effect
                && log.lane == Lane::Control
                && log.device != self.me.key.id()
                && let Some(proof) = room.members().fork_proof(log)
            {
                running.pending.entry(*log).or_insert((proof.clone(), None));
            }
        }
    }

    /// States what is due.
    pub fn prove_forks(&mut self, now: Millis, dice: &mut Dice) -> Vec<Outgoing> {
        let mut out = match &mut self.twin {
            Some(twin) => twin.prove_forks(now, dice),
            None => vec![],
        };
        let Some(running) = &mut self.running else { return out };
        let mut due = Vec::new();
        for (log, (proof, at)) in &mut running.pending {
            if now >= *at.get_or_insert_with(|| now + dice.below(SPREAD_MS)) {
                due.push((*log, proof.clone()));
            }
        }
        for (log, proof) in due {
            out.extend(self.prove(log, proof, now));
        }
        out
    }

    fn prove(&mut self, log: LogId, proof: Fork, now: Millis) -> Vec<Outgoing> {
        if let Some(running) = &mut self.running {
            running.pending.remove(&log);
        }
        // One that left may still declare what its leaving depends on.
        let Some(room) = self.room() else { return vec![] };
        let members = room.members();
        let void: Vec<_> = match log.lane {
            Lane::Control => members.undeclared(&log).into_iter().take(MAX_FORK_VOID).collect(),
            Lane::Chat => vec![],
        };
        let from = proof.proves(room.id()).map(|(_, from)| from);
        let known = members.fork_of(&log).is_some_and(|known| Some(known) <= from);
        if known && void.is_empty() {
            return vec![];
        }
        let stated =
            self.author(now, |room, key, now| room.author_fork(key, Fork { void, ..proof }, now));
        let Ok((_, out)) = stated else { return vec![] };
        self.counts.proofs += 1;
        out
    }
}

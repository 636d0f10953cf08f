//! Peers that hold valid keys and break the rules, each in one way.
//!
//! A liar runs the same driver as everyone, and departs from it where [`Lie`] says. One thing none
//! of them does: hand out epochs' secrets to who is no member. Against that nothing helps, and
//! `docs/rooms.md` promises nothing.

use crate::dice::Dice;

/// How a liar breaks the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// Signs two branches of its message log, and shows one to the one, the other to the others.
    ForksChat,
    /// The same with its control log.
    ForksControl,
    /// Does not hear of its own removal, and goes on: messages, invites, grants, removals.
    WritesOn,
    /// Goes on after its removal, and writes as if it had been before: old times, old dependencies.
    Backdates,
    /// Says to hold more than it does, of its own logs and of others'.
    ClaimsMore,
    /// Changes bytes of what it serves.
    Corrupts,
    /// Serves a part of what is asked for, or says at once that this was all.
    Truncates,
    /// Sends events that nobody asked for.
    Unasked,
    /// Never answers a request.
    NeverAnswers,
    /// Says wrong hashes of its state.
    FalseStates,
    /// Sends garbage, and well-signed events that depend on nothing that exists.
    Floods,
    /// Goes on sharing with who was removed, and hands on what those say.
    Relays,
}

/// All of them.
pub const ALL_LIES: &[Lie] = &[
    Lie::ForksChat,
    Lie::ForksControl,
    Lie::WritesOn,
    Lie::Backdates,
    Lie::ClaimsMore,
    Lie::Corrupts,
    Lie::Truncates,
    Lie::Unasked,
    Lie::NeverAnswers,
    Lie::FalseStates,
    Lie::Floods,
    Lie::Relays,
];

impl Lie {
    /// Whether it is about what comes after the liar's own removal.
    pub fn is_for_the_removed(self) -> bool {
        matches!(self, Self::WritesOn | Self::Backdates)
    }
}

/// What makes a peer a liar.
#[derive(Debug, Clone)]
pub struct Liar {
    /// How.
    pub lie: Lie,
    /// Its own chance, so that honest peers' does not depend on it.
    pub dice: Dice,
}

//! Which ranges were asked of whom, so that no two peers send the same.

use std::collections::BTreeMap;

use crate::log::Frontier;

/// Names one session among those of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// The ranges that a room's sessions wait for.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    by_session: BTreeMap<SessionId, BTreeMap<u64, Frontier>>,
    newest: Newest,
    /// Who was asked for the control lane. One at a time, and for all of it: its events build on each
    /// other across logs, so parts from several peers would each lack what the others bring.
    control: Option<SessionId>,
}

/// Where the request for the newest messages stands; one is enough for a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Newest {
    /// Nobody was asked, or who was asked gave nothing.
    #[default]
    Free,
    /// This session waits for them.
    Asked(SessionId),
    /// They came.
    Here,
}

impl Claims {
    /// Returns all that is asked for at the moment.
    pub fn all(&self) -> Frontier {
        let mut all = Frontier::default();
        for frontier in self.by_session.values().flat_map(BTreeMap::values) {
            all.union(frontier);
        }
        all
    }

    /// Notes that a session asked for `ranges` in its request `want`.
    pub(super) fn claim(&mut self, session: SessionId, want: u64, ranges: Frontier) {
        self.by_session.entry(session).or_default().insert(want, ranges);
    }

    /// Returns where the request for the newest messages stands.
    pub(super) fn newest(&self) -> Newest {
        self.newest
    }

    /// Notes that a session asks for the newest messages.
    pub(super) fn claim_newest(&mut self, session: SessionId) {
        self.newest = Newest::Asked(session);
    }

    /// Notes that a session's request for the newest messages was answered, with any or with none.
    pub(super) fn release_newest(&mut self, session: SessionId, came: bool) {
        if self.newest == Newest::Asked(session) {
            self.newest = if came { Newest::Here } else { Newest::Free };
        }
    }

    /// Whether a session may ask for the control lane; it does then.
    pub(super) fn claim_control(&mut self, session: SessionId) -> bool {
        let free = self.control.is_none();
        if free {
            self.control = Some(session);
        }
        free
    }

    /// Notes that a session's request for the control lane was answered.
    pub(super) fn release_control(&mut self, session: SessionId) {
        if self.control == Some(session) {
            self.control = None;
        }
    }

    /// Gives up what one request of a session waited for.
    pub(super) fn release(&mut self, session: SessionId, want: u64) {
        if let Some(wants) = self.by_session.get_mut(&session) {
            wants.remove(&want);
        }
    }

    /// Ends a session: what it waited for can be asked of others, who must be told
    /// ([`super::Input::Changed`]), since nothing else may wake them.
    pub fn end(&mut self, session: SessionId) {
        self.by_session.remove(&session);
        self.release_newest(session, false);
        self.release_control(session);
    }
}

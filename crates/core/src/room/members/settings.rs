//! How a room is set up: the last that was said of each, by those who may.

use std::collections::BTreeMap;

use crate::clock::Hlc;
use crate::id::EventId;
use crate::keys::Bytes32;
use crate::room::control::Setting;
use crate::room::genesis::History;
use crate::room::role::Role;
use crate::room::statements::Statement;

/// Something said that the next one replaces.
///
/// What was said in knowledge of another replaces it, whatever the clocks say: who dates a name to
/// the far future does not pin it. Between what was said at once, time and id decide.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Said<T> {
    generation: u64,
    time: Hlc,
    event: EventId,
    pub(super) what: T,
}

/// How a room is set up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    pub(super) name: Option<Said<String>>,
    pub(super) topic: Option<Said<String>>,
    pub(super) picture: Option<Said<Option<Bytes32>>>,
    pub(super) who_invites: Option<Said<Role>>,
    pub(super) who_pins: Option<Said<Role>>,
    pub(super) history: Option<Said<History>>,
    /// Who may post from each time on.
    who_posts: BTreeMap<(Hlc, EventId), Role>,
}

impl Settings {
    /// Returns the room's name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(|said| said.what.as_str())
    }

    /// Returns what the room is about.
    pub fn topic(&self) -> Option<&str> {
        self.topic.as_ref().map(|said| said.what.as_str())
    }

    /// Returns the hash of the room's picture.
    pub fn picture(&self) -> Option<Bytes32> {
        self.picture.as_ref().and_then(|said| said.what)
    }

    /// Returns the least role that may invite.
    pub fn who_invites(&self) -> Role {
        self.who_invites.as_ref().map_or(Role::Member, |said| said.what)
    }

    /// Returns the least role that may pin messages.
    pub fn who_pins(&self) -> Role {
        self.who_pins.as_ref().map_or(Role::Member, |said| said.what)
    }

    /// Returns the least role whose messages of a time are shown.
    pub fn who_posts(&self, time: Hlc) -> Role {
        self.who_posted(time).unwrap_or(Role::Member)
    }

    /// Like [`Self::who_posts`]; none where nobody said.
    pub(super) fn who_posted(&self, time: Hlc) -> Option<Role> {
        let mut before = self.who_posts.range(..=(time, EventId([0xff; 32])));
        before.next_back().map(|(_, role)| *role)
    }

    pub(super) fn take(&mut self, it: &Statement, setting: &Setting) {
        match setting {
            Setting::Name(name) => said_last(&mut self.name, it, name),
            Setting::Topic(topic) => said_last(&mut self.topic, it, topic),
            Setting::Picture(hash) => said_last(&mut self.picture, it, hash),
            Setting::WhoInvites(role) => said_last(&mut self.who_invites, it, role),
            Setting::WhoPins(role) => said_last(&mut self.who_pins, it, role),
            Setting::History(history) => said_last(&mut self.history, it, history),
            Setting::WhoPosts(role) => {
                self.who_posts.insert((it.time, it.id), *role);
            }
        }
    }
}

pub(super) fn said_last<T: Clone + Ord>(slot: &mut Option<Said<T>>, it: &Statement, what: &T) {
    let said = Said { generation: it.generation, time: it.time, event: it.id, what: what.clone() };
    *slot = slot.take().max(Some(said));
}

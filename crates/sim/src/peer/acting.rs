//! What people do: saying, inviting, leaving, and what takes authority.

use ayni_core::chat::Chat;
use ayni_core::clock::Millis;
use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event;
use ayni_core::id::{AccountId, EventId, InviteKey};
use ayni_core::keys::{DeviceKey, InviteSecret};
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{
    Accepted, AuthorError, Control, Cut, Grant, Invite, LogCut, Remove, Role, Room, Setting,
};

use super::{Invited, Outgoing, Peer};
use crate::dice::Dice;

/// What came of an act: its last event, and what to send.
pub type Done = Result<(Event, Vec<Outgoing>), AuthorError>;

impl Peer {
    /// Says something; mints an epoch before, where one is needed.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn say(&mut self, text: &str, now: Millis, dice: &mut Dice) -> Done {
        let chat = Chat::Message(text.to_owned());
        let entropy = dice.bytes();
        let fresh = EpochSecret::new(dice.bytes());
        self.author(now, |room, key, now| {
            room.author_chat_minting(key, &chat, now, &entropy, fresh)
        })
    }

    /// Names the room.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn name_room(&mut self, name: &str, now: Millis) -> Done {
        self.set(&Setting::Name(name.to_owned()), now)
    }

    /// Sets the room up in one respect.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn set(&mut self, setting: &Setting, now: Millis) -> Done {
        self.author(now, |room, key, now| room.author_setting(key, setting, now))
    }

    /// States something in the control lane.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn state(&mut self, control: &Control, now: Millis) -> Done {
        self.author(now, |room, key, now| room.author_control(key, control, now))
    }

    /// Leaves the room.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn leave(&mut self, now: Millis) -> Done {
        self.author(now, Room::author_leave)
    }

    /// Gives another a role.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn give_role(&mut self, account: AccountId, role: Role, now: Millis) -> Done {
        self.author(now, |room, key, now| room.author_role(key, account, role, now))
    }

    /// Removes another, and mints the epoch that it does not get.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn remove(&mut self, account: AccountId, now: Millis, dice: &mut Dice) -> Done {
        let fresh = EpochSecret::new(dice.bytes());
        self.author(now, |room, key, now| {
            let mut tried = room.clone();
            let removed = tried.author_remove(key, account, now)?;
            let minted = tried.author_epoch(key, fresh, now)?;
            *room = tried;
            Ok(removed.and(minted))
        })
    }

    /// Signs a removal of another by the authority that it has, whether its replica thinks that
    /// enough or not.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn defy(&mut self, account: AccountId, now: Millis) -> Done {
        let room = self.room().ok_or(AuthorError::NotAMember)?;
        let info = room.members().account(&account).ok_or(AuthorError::NotThere)?;
        let term = info.current_term().ok_or(AuthorError::NotThere)?;
        let logs = info.devices.keys().flat_map(|device| {
            [Lane::Control, Lane::Chat].map(|lane| LogId { lane, device: *device, term })
        });
        let ends = logs.filter_map(|log| {
            let tip = room.logs().log(&log)?.tip()?;
            Some(LogCut { log, len: tip.end, last: tip.last })
        });
        let cut = Cut { logs: ends.collect() };
        let cites = self.lift();
        self.state(&Control::Remove(Remove { account, term, then: None, cut, cites }), now)
    }

    /// Returns the event that gave it authority in its term, the last it knows of.
    pub(super) fn lift(&self) -> Option<EventId> {
        let (room, own) = (self.room()?, self.me.account());
        let term = room.members().account(&own)?.current_term()?;
        let mut events = self.store.control().iter().rev();
        let lifts = |event: &&Event| match event.body().and_then(Control::from_bytes) {
            Some(Control::Grant(Grant { account, term: of, role, .. })) => {
                account == own && of == term && role.has_authority()
            }
            _ => false,
        };
        events.find(lifts).map(Event::id)
    }

    /// Makes an invite for any number of uses, until `expires_ms`.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn invite(
        &mut self,
        secret: InviteSecret,
        expires_ms: Millis,
        now: Millis,
    ) -> Result<(Invited, Event, Vec<Outgoing>), AuthorError> {
        let (key, role) = (secret.key(), Role::Member);
        let invite = Invite { key, uses: None, expires_ms, role };
        let (event, out) =
            self.author(now, |room, key, now| room.author_invite(key, invite, now))?;
        Ok((Invited { room: event.header().room, secret }, event, out))
    }

    /// Ends an invite.
    ///
    /// # Errors
    /// [`AuthorError`], also where it does not run.
    pub fn revoke(&mut self, invite: InviteKey, now: Millis) -> Done {
        self.author(now, |room, key, now| room.author_revoke(key, invite, now))
    }

    pub(super) fn author(
        &mut self,
        now: Millis,
        author: impl FnOnce(&mut Room, &DeviceKey, Millis) -> Result<Accepted, AuthorError>,
    ) -> Done {
        let now = self.clock(now);
        let room = self.running.as_mut().and_then(|running| running.room.as_mut());
        let accepted = author(room.ok_or(AuthorError::NotAMember)?, &self.me.key, now)?;
        let event = accepted.events.last().cloned().ok_or(AuthorError::NotThere)?;
        self.commit(&accepted);
        let out = accepted.events.iter().flat_map(|event| self.gossip(event, None)).collect();
        Ok((event, out))
    }
}

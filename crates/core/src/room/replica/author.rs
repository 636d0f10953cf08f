//! What this device says: events are authored at the end of its own logs.

use super::{Accepted, Room};
use crate::Entropy;
use crate::chat::Chat;
use crate::clock::Millis;
use crate::epoch::EpochSecret;
use crate::event::{Event, Header, VERSION};
use crate::id::{EpochId, EventId};
use crate::keys::{Bytes32, DeviceCert, DeviceKey};
use crate::limits::{MAX_CONTROL_DEPS, MAX_CUT_LOGS, MAX_EPOCH_PARENTS};
use crate::log::{Lane, LogId};
use crate::room::{Control, Cut, EpochBody, Genesis, GenesisBody, Invite, LogCut};

/// Why this device cannot author an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorError {
    /// It is not a member, or not any more.
    #[error("this device is not a member of the room")]
    NotAMember,
    /// No epoch's secret is here to seal with.
    #[error("no key of this room has arrived yet")]
    NoKey,
    /// It is longer than its limit in [`crate::limits`], and would have no effect.
    #[error("the name, or the list, is too long")]
    TooLong,
}

impl Room {
    /// Founds a room, or this side of a direct room: genesis, the author's name, the room's name
    /// where given, and an epoch with `secret`.
    pub fn found(
        genesis: &Genesis,
        key: &DeviceKey,
        cert: &DeviceCert,
        names: (&str, Option<&str>),
        secret: EpochSecret,
        now: Millis,
    ) -> (Self, Accepted) {
        let mut room = Self::new(genesis.id(), key.id());
        let mut all = Accepted::default();
        let start = GenesisBody { genesis: genesis.clone(), cert: cert.clone() };
        room.append(key, 0, &Control::Genesis(start), now, &mut all);
        room.append(key, 0, &Control::Profile(names.0.to_owned()), now, &mut all);
        if let Some(name) = names.1 {
            room.append(key, 0, &Control::RoomName(name.to_owned()), now, &mut all);
        }
        let epoch = EpochBody { commitment: secret.commitment(), parents: vec![] };
        room.append(key, 0, &Control::Epoch(epoch), now, &mut all);
        room.learn_secret(secret);
        (room, all)
    }

    /// Authors a control event. It counts here at once; it must be durable before it is sent.
    ///
    /// # Errors
    /// [`AuthorError::NotAMember`], [`AuthorError::TooLong`].
    pub fn author_control(
        &mut self,
        key: &DeviceKey,
        control: &Control,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        let term = self.my_term()?;
        if !control.is_within_limits() {
            return Err(AuthorError::TooLong);
        }
        let mut accepted = Accepted::default();
        self.append(key, term, control, now, &mut accepted);
        Ok(accepted)
    }

    /// Authors an invite for `key`.
    ///
    /// # Errors
    /// [`AuthorError::NotAMember`].
    pub fn author_invite(
        &mut self,
        key: &DeviceKey,
        invite: Invite,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        self.author_control(key, &Control::Invite(invite), now)
    }

    /// Leaves, with all devices of the account: in this term nothing of theirs counts after this
    /// event but what is held here.
    ///
    /// # Errors
    /// [`AuthorError::NotAMember`].
    pub fn author_leave(&mut self, key: &DeviceKey, now: Millis) -> Result<Accepted, AuthorError> {
        let term = self.my_term()?;
        let account = self.members.account_of(&self.me);
        let info = account.and_then(|account| self.members.account(&account));
        let others = info.into_iter().flat_map(|info| info.devices.keys().copied());
        let devices = std::iter::once(self.me).chain(others.filter(|device| *device != self.me));
        let ends = devices.filter_map(|device| {
            let log = LogId { lane: Lane::Chat, device, term };
            let tip = self.logs.log(&log)?.tip()?;
            Some(LogCut { log, len: tip.end, last: tip.last })
        });
        let cut = Cut { logs: ends.take(MAX_CUT_LOGS).collect() };
        self.author_control(key, &Control::Leave(cut), now)
    }

    /// Mints an epoch with `secret`, a child of the deepest ones.
    ///
    /// # Errors
    /// [`AuthorError::NotAMember`].
    pub fn author_epoch(
        &mut self,
        key: &DeviceKey,
        secret: EpochSecret,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        let deepest = self.members.epochs().map(|(_, info)| info.depth).max();
        let parents = self.members.epochs().filter(|(_, info)| Some(info.depth) == deepest);
        let parents = parents.map(|(id, _)| *id).take(MAX_EPOCH_PARENTS).collect();
        let body = EpochBody { commitment: secret.commitment(), parents };
        let accepted = self.author_control(key, &Control::Epoch(body), now)?;
        self.learn_secret(secret);
        Ok(accepted)
    }

    /// Authors a chat event, sealed with the room's key. `entropy` must be fresh.
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn author_chat(
        &mut self,
        key: &DeviceKey,
        chat: &Chat,
        now: Millis,
        entropy: &Entropy,
    ) -> Result<Accepted, AuthorError> {
        let term = self.my_term()?;
        let (epoch, secret) = self
            .sealing_epoch()
            .map(|(id, secret)| (id, secret.clone()))
            .ok_or(AuthorError::NoKey)?;
        let log = LogId { lane: Lane::Chat, device: self.me, term };
        let deps = std::mem::take(&mut self.hints);
        let header = self.next_header(log, deps, Some(epoch), now);
        let sealed = secret.seal(self.id, &header.associated_data(), &chat.to_bytes(), entropy);
        let event = Event::sign(header, sealed, key);
        let mut accepted = Accepted::default();
        self.take_in(event, now, &mut accepted);
        Ok(accepted)
    }

    fn my_term(&self) -> Result<u32, AuthorError> {
        self.members
            .account_of(&self.me)
            .and_then(|account| self.members.account(&account)?.current_term())
            .ok_or(AuthorError::NotAMember)
    }

    fn append(
        &mut self,
        key: &DeviceKey,
        term: u32,
        control: &Control,
        now: Millis,
        accepted: &mut Accepted,
    ) {
        let log = LogId { lane: Lane::Control, device: self.me, term };
        let deps = self.control_deps(log);
        let header = self.next_header(log, deps, None, now);
        let event = Event::sign(header, control.to_bytes(), key);
        self.take_in(event, now, accepted);
    }

    /// Returns the heads that the next event of `log` names: those with the longest history first,
    /// so that it comes after all; its own predecessor is named already.
    fn control_deps(&self, log: LogId) -> Vec<EventId> {
        let prev = self.logs.log(&log).and_then(|state| state.tip()).map(|run| run.last);
        let heads = self.heads.iter().filter(|head| Some(**head) != prev);
        let mut deps: Vec<EventId> = heads.copied().collect();
        deps.sort_by_key(|id| (std::cmp::Reverse(self.control.get(id)), *id));
        deps.truncate(MAX_CONTROL_DEPS);
        deps
    }

    fn next_header(
        &mut self,
        log: LogId,
        deps: Vec<EventId>,
        epoch: Option<EpochId>,
        now: Millis,
    ) -> Header {
        let tip = self.logs.log(&log).and_then(|state| state.tip());
        Header {
            v: VERSION,
            room: self.id,
            device: log.device,
            term: log.term,
            lane: log.lane,
            seq: tip.map_or(0, |run| run.end),
            prev: tip.map(|run| run.last),
            deps,
            time: self.clock.tick(now),
            epoch,
            body_len: 0,
            body_hash: Bytes32([0; 32]),
        }
    }
}

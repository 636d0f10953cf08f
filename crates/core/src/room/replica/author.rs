//! What this device says: events are authored at the end of its own logs.

use super::{Accepted, Room};
use crate::Entropy;
use crate::chat::Chat;
use crate::clock::Millis;
use crate::epoch::EpochSecret;
use crate::event::{Event, Header, VERSION};
use crate::id::{AccountId, InviteKey};
use crate::id::{EpochId, EventId};
use crate::keys::{Bytes32, DeviceCert, DeviceKey, SIGNATURE_LEN};
use crate::limits::{
    CONTROL_LOG_RESERVE_BYTES, CONTROL_LOG_RESERVE_EVENTS, MAX_CONTROL_DEPS, MAX_CONTROL_LOG_BYTES,
    MAX_CONTROL_LOG_EVENTS, MAX_CUT_LOGS, MAX_HEADER,
};
use crate::log::{Lane, LogId};
use crate::room::control::Cites;
use crate::room::{
    Control, Cut, EpochBody, Fork, Genesis, GenesisBody, Grant, History, Invite, LogCut, Members,
    Remove, Revoke, Role, Set, Setting, Upgrade, Wrap,
};

/// Why this device cannot author an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorError {
    /// It is not a member, or not any more.
    #[error("this device is not a member of the room")]
    NotAMember,
    /// It signed two different events at one position, and was shut out.
    #[error(
        "this device was copied, and both copies wrote at the same place: it is shut out of this room. \
         Ask for an invitation on a new device, with a new data folder"
    )]
    Frozen,
    /// It is a member, and may not do this.
    #[error("your role in this room does not permit that")]
    NotPermitted,
    /// The account or the invite that it is about is not (any more) in this room.
    #[error("no such member or invite in this room (any more)")]
    NotThere,
    /// The room follows rules that this version does not know: it keeps, serves and shows.
    #[error("this room needs a newer version of Ayni: it can be read here, not written to")]
    NewerRules,
    /// No epoch's secret is here to seal with.
    #[error("no key of this room has arrived yet")]
    NoKey,
    /// This device's control log of this term is full ([`MAX_CONTROL_LOG_EVENTS`]); it can still leave.
    #[error(
        "this device has stated as much in this room as one may while it stays: go on with another \
         device of yours, or leave the room and come back"
    )]
    LogFull,
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
            let set = Set { cites: None, setting: Setting::Name(name.to_owned()) };
            room.append(key, 0, &Control::Set(set), now, &mut all);
        }
        let epoch = EpochBody { commitment: secret.commitment(), parents: vec![], wraps: vec![] };
        room.append(key, 0, &Control::Epoch(epoch), now, &mut all);
        room.learn_secret(secret);
        (room, all)
    }

    /// Authors a control event. It counts here at once; it must be durable before it is sent.
    ///
    /// What lets someone in or ends something is measured by what its author knew, so before it all
    /// heads are named, in events of their own where they are many.
    ///
    /// # Errors
    /// [`AuthorError::NotAMember`], [`AuthorError::TooLong`], [`AuthorError::LogFull`].
    pub fn author_control(
        &mut self,
        key: &DeviceKey,
        control: &Control,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        let is_measured = matches!(
            control,
            Control::Admit(_) | Control::Invite(_) | Control::Epoch(_) | Control::Leave(_)
        );
        self.author(key, control, now, is_measured)
    }

    /// Authors a control event; if it `gathers`, after others that name all heads which it cannot name
    /// itself. All or nothing is authored.
    fn author(
        &mut self,
        key: &DeviceKey,
        control: &Control,
        now: Millis,
        gathers: bool,
    ) -> Result<Accepted, AuthorError> {
        let term = self.my_term()?;
        if !control.is_within_limits() {
            return Err(AuthorError::TooLong);
        }
        let leaves = matches!(control, Control::Leave(_));
        let gathers = gathers && (!leaves || self.has_room_for(term, control, true));
        if !self.has_room_for(term, control, gathers) {
            return Err(AuthorError::LogFull);
        }
        let mut accepted = Accepted::default();
        while gathers && self.heads.len() > MAX_CONTROL_DEPS {
            self.append(key, term, &Control::Merge, now, &mut accepted);
        }
        self.append(key, term, control, now, &mut accepted);
        Ok(accepted)
    }

    /// Whether one more control event fits into this device's log, with those that gather heads before
    /// it. The end of a log is for leaving. Half of it is for what others can not bring about: who forks a
    /// device of its own has all who hold the branch declare any number of void events.
    fn has_room_for(&self, term: u32, control: &Control, gathers: bool) -> bool {
        let log = LogId { lane: Lane::Control, device: self.me, term };
        let (events, bytes) = match control {
            Control::Leave(_) => (0, 0),
            Control::Fork(fork) if !fork.void.is_empty() => {
                (MAX_CONTROL_LOG_EVENTS / 2, MAX_CONTROL_LOG_BYTES / 2)
            }
            _ => (CONTROL_LOG_RESERVE_EVENTS, CONTROL_LOG_RESERVE_BYTES),
        };
        // Each names as many heads as it can, and is one itself.
        let heads = self.heads.len().saturating_sub(MAX_CONTROL_DEPS);
        let before = if gathers { heads.div_ceil(MAX_CONTROL_DEPS - 1) } else { 0 };
        // Headers have their largest size here; they are made when the events are.
        let header = MAX_HEADER + SIGNATURE_LEN + Control::Merge.to_bytes().len();
        let size = (before + 1) * header + control.to_bytes().len();
        let all = events + before as u64 + 1;
        self.next_seq(log).saturating_add(all) <= MAX_CONTROL_LOG_EVENTS
            && self.control_bytes(&log).saturating_add(bytes + size as u64) <= MAX_CONTROL_LOG_BYTES
    }

    /// Authors an invite for `key`.
    ///
    /// # Errors
    /// [`AuthorError::NotAMember`], [`AuthorError::NotPermitted`].
    pub fn author_invite(
        &mut self,
        key: &DeviceKey,
        invite: Invite,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        let least = self.members.settings().who_invites().max(Role::Member);
        if self.my_role()? < least {
            return Err(AuthorError::NotPermitted);
        }
        self.author_control(key, &Control::Invite(invite), now)
    }

    /// Ends an invite: one's own, or with authority anyone's. Whom it admitted as far as is known here
    /// stays.
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn author_revoke(
        &mut self,
        key: &DeviceKey,
        invite: InviteKey,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        let ends = |members: &Members| members.invite(&invite).is_some_and(|info| !info.open);
        if self.members.invite(&invite).is_none() {
            return Err(AuthorError::NotThere);
        }
        self.author_with_authority(key, now, ends, |cites| {
            Control::Revoke(Revoke { invite, cites })
        })
    }

    /// Sets the room up in one respect.
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn author_setting(
        &mut self,
        key: &DeviceKey,
        setting: &Setting,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        if !self.my_role()?.has_authority() {
            return Err(AuthorError::NotPermitted);
        }
        let set = |cites| Control::Set(Set { cites, setting: setting.clone() });
        self.author_with_authority(key, now, |_| true, set)
    }

    /// Gives an account a role: a higher one in its term, a lower one in the next, or a new term after
    /// it left or was removed.
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn author_role(
        &mut self,
        key: &DeviceKey,
        account: AccountId,
        role: Role,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        let info = self.members.account(&account).ok_or(AuthorError::NotThere)?;
        let has = |members: &Members| members.role(&account) == Some(role);
        match (info.current_term(), info.role()) {
            (Some(_), Some(now_has)) if now_has == role => Ok(Accepted::default()),
            (Some(_), Some(now_has)) if now_has > role => {
                self.end_term(key, account, Some(role), now)
            }
            (term, _) => {
                let term = term.unwrap_or_else(|| self.members.next_term(&account));
                let grant = |cites| Control::Grant(Grant { account, term, role, cites });
                self.author_with_authority(key, now, has, grant)
            }
        }
    }

    /// Removes an account: what it said as far as is known here stays, nothing else counts.
    ///
    /// Mint an epoch after it ([`Self::author_epoch`]).
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn author_remove(
        &mut self,
        key: &DeviceKey,
        account: AccountId,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        self.end_term(key, account, None, now)
    }

    fn end_term(
        &mut self,
        key: &DeviceKey,
        account: AccountId,
        then: Option<Role>,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        let info = self.members.account(&account).ok_or(AuthorError::NotThere)?;
        let term = info.current_term().ok_or(AuthorError::NotThere)?;
        let devices: Vec<_> = info.devices.keys().copied().collect();
        let ends = devices.into_iter().flat_map(|device| {
            [Lane::Control, Lane::Chat].map(|lane| LogId { lane, device, term })
        });
        let cut = self.cut_here(ends);
        let ended = |members: &Members| members.role(&account) == then;
        self.author_with_authority(key, now, ended, |cites| {
            Control::Remove(Remove { account, term, then, cut: cut.clone(), cites })
        })
    }

    /// States that the room follows newer rules from here on.
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn author_upgrade(
        &mut self,
        key: &DeviceKey,
        rules: u32,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        let upgraded = |members: &Members| members.rules() >= rules;
        self.author_with_authority(key, now, upgraded, |cites| {
            Control::Upgrade(Upgrade { rules, cites })
        })
    }

    /// States the proof that a device signed two events at one position, with what the void events that
    /// it names introduced, as far as they are here; also after leaving.
    ///
    /// # Errors
    /// [`AuthorError`]; [`AuthorError::NotThere`] where it proves nothing.
    pub fn author_fork(
        &mut self,
        key: &DeviceKey,
        fork: Fork,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        if fork.proves(self.id).is_none() {
            return Err(AuthorError::NotThere);
        }
        let introduced = self.members.introduced_by(&fork);
        let control = Control::Fork(Box::new(Fork { introduced, ..fork }));
        match (self.my_term(), self.left_term()) {
            // A proof counts beyond the end of its log too, and what it declares void may be what the
            // leaving itself depends on: nobody would hear of that.
            (Err(AuthorError::NotAMember), Some(term)) if control.is_within_limits() => {
                let mut accepted = Accepted::default();
                self.append(key, term, &control, now, &mut accepted);
                Ok(accepted)
            }
            _ => self.author_control(key, &control, now),
        }
    }

    /// Authors something that takes authority, by whichever of one's own it takes effect.
    fn author_with_authority(
        &mut self,
        key: &DeviceKey,
        now: Millis,
        takes_effect: impl Fn(&Members) -> bool,
        control: impl Fn(Cites) -> Control,
    ) -> Result<Accepted, AuthorError> {
        let account = self.members.account_of(&self.me).ok_or(AuthorError::NotAMember)?;
        self.my_role()?;
        // One without authority may still end what is its own.
        let cites = self.members.authority(&account).unwrap_or_else(|| vec![None]);
        for cites in cites {
            let mut tried = self.clone();
            let control = control(cites);
            let accepted = tried.author(key, &control, now, true)?;
            let counts = accepted.events.last().is_some_and(|it| tried.members.counts(&it.id()));
            if counts && takes_effect(&tried.members) {
                *self = tried;
                return Ok(accepted);
            }
        }
        Err(AuthorError::NotPermitted)
    }

    fn my_role(&self) -> Result<Role, AuthorError> {
        let account = self.members.account_of(&self.me).ok_or(AuthorError::NotAMember)?;
        self.members.role(&account).ok_or(AuthorError::NotAMember)
    }

    /// Says where logs end if nothing counts but what is held here.
    fn cut_here(&self, logs: impl Iterator<Item = LogId>) -> Cut {
        let ends = logs.filter_map(|log| {
            let tip = self.logs.log(&log)?.tip()?;
            Some(LogCut { log, len: tip.end, last: tip.last })
        });
        Cut { logs: ends.take(MAX_CUT_LOGS).collect() }
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
        let logs = devices.flat_map(|device| {
            [Lane::Chat, Lane::Control].map(|lane| LogId { lane, device, term })
        });
        let cut = self.cut_here(logs);
        self.author_control(key, &Control::Leave(cut), now)
    }

    /// Mints an epoch with `secret`, which follows all that none follows yet.
    ///
    /// # Errors
    /// [`AuthorError::NotAMember`].
    pub fn author_epoch(
        &mut self,
        key: &DeviceKey,
        secret: EpochSecret,
        now: Millis,
    ) -> Result<Accepted, AuthorError> {
        let parents = self.parents_for_minting();
        let wrap = |parent: &EpochId| {
            let parent = self.secrets.get(parent);
            Wrap(parent.map(|parent| secret.wrap(self.id, parent)).unwrap_or_default())
        };
        let wraps = match self.members.history() {
            History::FromStart => parents.iter().map(wrap).collect(),
            History::FromJoining => vec![],
        };
        let body = EpochBody { commitment: secret.commitment(), parents, wraps };
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
        if self.my_role()? < Role::Member {
            return Err(AuthorError::NotPermitted);
        }
        let (epoch, secret) = self
            .sealing_epoch()
            .map(|(id, secret)| (id, secret.clone()))
            .ok_or(AuthorError::NoKey)?;
        let log = LogId { lane: Lane::Chat, device: self.me, term };
        let header = self.next_header(log, self.hints.clone(), Some(epoch), now);
        if self.hides(&header) {
            return Err(AuthorError::NotPermitted);
        }
        self.hints.clear();
        let sealed = secret.seal(self.id, &header.associated_data(), &chat.to_bytes(), entropy);
        let event = Event::sign(header, sealed, key);
        self.hold(log, std::slice::from_ref(&event), now);
        Ok(Accepted { events: vec![event], effects: vec![] })
    }

    /// Like [`Self::author_chat`]; mints an epoch with `fresh` before, where there is none to seal
    /// with, or only an old one. Both or neither are authored.
    ///
    /// # Errors
    /// [`AuthorError`].
    pub fn author_chat_minting(
        &mut self,
        key: &DeviceKey,
        chat: &Chat,
        now: Millis,
        entropy: &Entropy,
        fresh: EpochSecret,
    ) -> Result<Accepted, AuthorError> {
        if !self.needs_epoch(now) {
            return self.author_chat(key, chat, now, entropy);
        }
        let mut tried = self.clone();
        let minted = tried.author_epoch(key, fresh, now)?;
        let said = tried.author_chat(key, chat, now, entropy)?;
        *self = tried;
        Ok(minted.and(said))
    }

    /// Returns the last term of this device's account, if it ended by leaving.
    fn left_term(&self) -> Option<u32> {
        let info = self.members.account(&self.members.account_of(&self.me)?)?;
        let last = info.terms.last_key_value().map(|(term, _)| *term)?;
        (!info.is_member() && !info.was_removed()).then_some(last)
    }

    fn my_term(&self) -> Result<u32, AuthorError> {
        if !self.members.knows_rules() {
            return Err(AuthorError::NewerRules);
        }
        if self.members.is_frozen(&self.me) {
            return Err(AuthorError::Frozen);
        }
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
        self.note_control(&event, now);
        self.settle_control(std::slice::from_ref(&event), &mut accepted.effects);
        accepted.events.push(event);
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

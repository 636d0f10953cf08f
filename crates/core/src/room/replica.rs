//! One device's replica of a room.
//!
//! Purpose: to author events, to accept others', and to say what is held. It keeps no bodies and no
//! chat headers: who stores events hands the control lane back at start ([`Room::restore_control`])
//! and a summary of each chat log ([`Room::restore_run`]).
//!
//! Invariants: control events are accepted only after their dependencies and without gaps, so that a
//! replica can hand them on in the order in which it accepted them. Chat events are accepted from
//! whom a control event admitted, in any order. What is accepted or authored here must become
//! durable in the same order before it is told to anyone.

use std::collections::{BTreeMap, BTreeSet};

use super::control::Control;
use super::logs::{Fit, LogTable, Run};
use super::members::{MemberInfo, Members, Statement};
use crate::chat::Chat;
use crate::clock::{Hlc, HlcClock, Millis};
use crate::epoch::EpochSecret;
use crate::event::{CheckedRun, Event};
use crate::id::{AccountId, EpochId, EventId, PeerId, RoomId, TopicId};
use crate::keys::{context, derive};
use crate::limits::MAX_CHAT_DEPS;
use crate::log::{Frontier, Lane, LogId};

mod author;

pub use author::AuthorError;

/// What changed when control events were applied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// An account became a member.
    Joined(AccountId),
    /// An account is no member any more.
    Left(AccountId),
    /// The room's name, or a member's, is another.
    Renamed,
    /// There is a new epoch.
    Epoch(EpochId),
    /// Events of this log from this position on are void: they must be deleted, and are not taken in
    /// again.
    Voided(LogId, u64),
}

/// What came of accepting or authoring events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "accepted events must be stored"]
pub struct Accepted {
    /// The events that are new, in order: to be stored.
    pub events: Vec<Event>,
    /// What they changed.
    pub effects: Vec<Effect>,
}

/// Why events are not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// They are of another room.
    #[error("events of another room")]
    OtherRoom,
    /// Their author is not known as a member (yet).
    #[error("the author is not a member here")]
    UnknownAuthor,
    /// Control events whose dependencies, or predecessors, are not here (yet).
    #[error("events that these depend on are missing")]
    MissingDeps,
    /// The body of a message is left out. Nothing withholds bodies yet; and to take the header alone
    /// would let any member silence another, since a position that is held is not asked for again.
    #[error("a message without its body")]
    MissingBody,
    /// They lie beyond where their author left.
    #[error("events beyond the end of their log")]
    BeyondCut,
    /// They contradict events that are held: their device signed two branches.
    #[error("a fork: two events at one position")]
    Fork,
    /// They would scatter a log into too many pieces.
    #[error("too many separate pieces of one log")]
    TooScattered,
}

/// A replica.
#[derive(Debug, Clone)]
pub struct Room {
    id: RoomId,
    me: PeerId,
    members: Members,
    logs: LogTable,
    /// The control events that are held, with the length of the longest chain that leads to each.
    control: BTreeMap<EventId, u64>,
    heads: BTreeSet<EventId>,
    hints: Vec<EventId>,
    clock: HlcClock,
    secrets: BTreeMap<EpochId, EpochSecret>,
}

impl Room {
    /// An empty replica on the device `me`, before anything of the room is here.
    pub fn new(id: RoomId, me: PeerId) -> Self {
        Self {
            id,
            me,
            members: Members::default(),
            logs: LogTable::default(),
            control: BTreeMap::new(),
            heads: BTreeSet::new(),
            hints: Vec::new(),
            clock: HlcClock::default(),
            secrets: BTreeMap::new(),
        }
    }

    /// Returns the room's id.
    pub fn id(&self) -> RoomId {
        self.id
    }

    /// Returns who belongs to it.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Returns which events are held.
    pub fn logs(&self) -> &LogTable {
        &self.logs
    }

    /// Returns what is held, as it is told to others.
    pub fn frontier(&self) -> Frontier {
        self.logs.frontier()
    }

    /// Returns a hash of all that is held: equal for equal logs, whatever their order of arrival.
    pub fn state_hash(&self) -> [u8; 32] {
        let mut parts = vec![self.id.0.to_vec()];
        for (log, state) in self.logs.iter() {
            for run in state.runs() {
                parts.push(crate::wire::encode(log));
                parts.push([run.start.to_be_bytes(), run.end.to_be_bytes()].concat());
                parts.push(run.last.0.to_vec());
            }
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        derive(context::STATE, &parts)
    }

    /// Whether this device belongs to a member now.
    pub fn am_member(&self) -> bool {
        self.members.is_member_device(&self.me)
    }

    // Keys

    /// Takes an epoch's secret, from storage or from a member. Returns whether it was new.
    pub fn learn_secret(&mut self, secret: EpochSecret) -> bool {
        self.secrets.insert(secret.id(self.id), secret).is_none()
    }

    /// Returns the secrets that are here.
    pub fn secrets(&self) -> impl Iterator<Item = (&EpochId, &EpochSecret)> {
        self.secrets.iter()
    }

    /// Returns the secret of one epoch.
    pub fn secret(&self, epoch: &EpochId) -> Option<&EpochSecret> {
        self.secrets.get(epoch)
    }

    /// Returns the epochs that the control log names and whose secrets are not here.
    pub fn missing_secrets(&self) -> Vec<EpochId> {
        let named = self.members.epochs().map(|(id, _)| *id);
        named.filter(|id| !self.secrets.contains_key(id)).collect()
    }

    /// Returns the epoch to seal with: the deepest that we can use, ties by id.
    pub fn sealing_epoch(&self) -> Option<(EpochId, &EpochSecret)> {
        self.members
            .epochs()
            .filter_map(|(id, info)| Some((info.depth, *id, self.secrets.get(id)?)))
            .max_by_key(|(depth, id, _)| (*depth, *id))
            .map(|(_, id, secret)| (id, secret))
    }

    /// Returns the gossip topic to publish on.
    pub fn topic(&self) -> Option<TopicId> {
        self.sealing_epoch().map(|(_, secret)| secret.topic(self.id))
    }

    /// Opens the body of a chat event of this room.
    ///
    /// Returns none where the secret or the body is not here, or the body does not open.
    pub fn open(&self, event: &Event) -> Option<Chat> {
        let header = event.header();
        let secret = self.secrets.get(&header.epoch?)?;
        let plain = secret.open(self.id, &header.associated_data(), event.body()?).ok()?;
        Chat::from_bytes(&plain).ok()
    }

    // Accepting

    /// Accepts a run of events whose end is signed. Returns those that are new, all of them or, in
    /// the control lane, those before the first that cannot be accepted yet.
    ///
    /// # Errors
    /// [`Reject`]; nothing has changed then.
    pub fn accept(&mut self, run: CheckedRun, now: Millis) -> Result<Accepted, Reject> {
        let Some(first) = run.events().first() else { return Ok(Accepted::default()) };
        if first.header().room != self.id {
            return Err(Reject::OtherRoom);
        }
        let log = first.log();
        match log.lane {
            Lane::Control => self.accept_control(run.into_events(), now),
            Lane::Chat => self.accept_chat(log, run.into_events(), now),
        }
    }

    fn accept_chat(
        &mut self,
        log: LogId,
        mut events: Vec<Event>,
        now: Millis,
    ) -> Result<Accepted, Reject> {
        if !self.members.may_write(&log) {
            return Err(Reject::UnknownAuthor);
        }
        if let Some(end) = self.members.chat_end(&log) {
            events.retain(|event| event.seq() < end.len);
            let Some(last) = events.last() else { return Err(Reject::BeyondCut) };
            if last.seq().checked_add(1) == Some(end.len) && Some(last.id()) != end.last {
                return Err(Reject::Fork);
            }
        }
        if events.iter().any(|event| event.body().is_none()) {
            return Err(Reject::MissingBody);
        }
        let mut accepted = Accepted::default();
        loop {
            match self.logs.log_mut(log).fit(&events) {
                Fit::Add(range) => {
                    let whole = range.end - range.start == events.len() as u64;
                    if whole {
                        self.hold(log, events, now, &mut accepted);
                        return Ok(accepted);
                    }
                    let new = events.iter().filter(|event| range.contains(&event.seq())).cloned();
                    self.hold(log, new.collect(), now, &mut accepted);
                }
                Fit::Fork if accepted.events.is_empty() => return Err(Reject::Fork),
                Fit::TooScattered if accepted.events.is_empty() => {
                    return Err(Reject::TooScattered);
                }
                Fit::Nothing | Fit::Fork | Fit::TooScattered => return Ok(accepted),
            }
        }
    }

    fn accept_control(&mut self, events: Vec<Event>, now: Millis) -> Result<Accepted, Reject> {
        let mut accepted = Accepted::default();
        for event in events {
            if self.control.contains_key(&event.id()) {
                continue;
            }
            match self.check_control(&event) {
                Ok(()) => self.take_in(event, now, &mut accepted),
                Err(reject) if accepted.events.is_empty() => return Err(reject),
                Err(_) => break,
            }
        }
        Ok(accepted)
    }

    fn check_control(&mut self, event: &Event) -> Result<(), Reject> {
        let header = event.header();
        if header.deps.iter().any(|dep| !self.control.contains_key(dep)) {
            return Err(Reject::MissingDeps);
        }
        let body = event.body().ok_or(Reject::MissingDeps)?;
        let log = event.log();
        if !self.members.may_write(&log) {
            let control = Control::from_bytes(body).ok_or(Reject::UnknownAuthor)?;
            if !Members::introduces_itself(header, &control) {
                return Err(Reject::UnknownAuthor);
            }
        }
        if self.members.end_of(&log).is_some_and(|end| event.seq() >= end) {
            return Err(Reject::BeyondCut);
        }
        let next = self.next_seq(log);
        match self.logs.log_mut(log).fit(std::slice::from_ref(event)) {
            Fit::Add(_) if event.seq() == next => Ok(()),
            Fit::Add(_) | Fit::TooScattered => Err(Reject::MissingDeps),
            // A different event at a position that is held.
            Fit::Nothing | Fit::Fork => Err(Reject::Fork),
        }
    }

    /// Returns the position after the last event that is held of a log.
    fn next_seq(&self, log: LogId) -> u64 {
        self.logs.log(&log).and_then(|state| state.tip()).map_or(0, |run| run.end)
    }

    /// Takes in one event that continues its log.
    fn take_in(&mut self, event: Event, now: Millis, accepted: &mut Accepted) {
        let log = event.log();
        self.hold(log, CheckedRun::own(event).into_events(), now, accepted);
    }

    fn hold(&mut self, log: LogId, events: Vec<Event>, now: Millis, accepted: &mut Accepted) {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return };
        self.logs.log_mut(log).add(Run {
            start: first.seq(),
            end: last.seq().saturating_add(1),
            before: first.header().prev,
            last: last.id(),
        });
        if log.device == self.me {
            self.clock.observe_own(last.header().time);
        } else {
            for event in &events {
                self.clock.observe(event.header().time, now);
            }
            if log.lane == Lane::Chat && !last.header().time.is_ahead(now) {
                self.hints.insert(0, last.id());
                self.hints.truncate(MAX_CHAT_DEPS);
            }
        }
        if log.lane == Lane::Control {
            for event in &events {
                self.apply_control(event, &mut accepted.effects);
            }
        }
        accepted.events.extend(events);
    }

    fn apply_control(&mut self, event: &Event, effects: &mut Vec<Effect>) {
        let header = event.header();
        let mut generation = 0;
        for known in header.deps.iter().chain(&header.prev) {
            self.heads.remove(known);
            let of_known = self.control.get(known).copied().unwrap_or(0);
            generation = generation.max(of_known.saturating_add(1));
        }
        self.heads.insert(event.id());
        self.control.insert(event.id(), generation);
        let Some(control) = event.body().and_then(Control::from_bytes) else { return };
        let statement = Statement { header, id: event.id(), generation, control: &control };
        let concerned = self.members.concerned(statement);
        let is_member = |members: &Members, account: &AccountId| {
            members.account(account).is_some_and(MemberInfo::is_member)
        };
        let before: Vec<bool> = concerned.iter().map(|it| is_member(&self.members, it)).collect();
        self.members.apply(statement);
        for (account, before) in concerned.iter().zip(before) {
            match (before, is_member(&self.members, account)) {
                (false, true) => effects.push(Effect::Joined(*account)),
                (true, false) => effects.push(Effect::Left(*account)),
                _ => {}
            }
            self.cut_logs(account, effects);
        }
        match &control {
            Control::RoomName(_) | Control::Profile(_) => effects.push(Effect::Renamed),
            Control::Epoch(epoch) => {
                effects.push(Effect::Epoch(crate::epoch::epoch_id(self.id, &epoch.commitment)));
            }
            _ => {}
        }
    }

    /// Drops what lies beyond the ends of an account's chat logs.
    fn cut_logs(&mut self, account: &AccountId, effects: &mut Vec<Effect>) {
        let Some(info) = self.members.account(account) else { return };
        for term in info.ended_terms() {
            for device in info.devices.keys() {
                let log = LogId { lane: Lane::Chat, device: *device, term };
                let Some(end) = self.members.chat_end(&log) else { continue };
                let held = self.logs.log(&log).and_then(|state| state.tip());
                if held.is_some_and(|run| run.end > end.len) {
                    self.logs.log_mut(log).truncate(end);
                    effects.push(Effect::Voided(log, end.len));
                }
            }
        }
    }

    // Restoring

    /// Replays a control event from storage, in the order in which it was accepted.
    pub fn restore_control(&mut self, event: Event) {
        let time = event.header().time;
        // What time it is now is not known here: 0 keeps the event away from the clock for now.
        self.take_in(event, 0, &mut Accepted::default());
        self.clock.observe_later(time);
    }

    /// Restores a run of a chat log from storage, and the newest time in it.
    pub fn restore_run(&mut self, log: LogId, run: Run, newest: Hlc, now: Millis) {
        self.logs.log_mut(log).restore(run);
        if log.device == self.me {
            self.clock.observe_own(newest);
        } else {
            self.clock.observe(newest, now);
        }
    }
}

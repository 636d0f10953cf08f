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
use super::members::{LogEnd, Members};
use super::role::Role;
use crate::chat::Chat;
use crate::clock::{Hlc, HlcClock, Millis};
use crate::epoch::EpochSecret;
use crate::event::{CheckedRun, Event, Header};
use crate::id::{AccountId, EpochId, EventId, PeerId, RoomId};
use crate::keys::{context, derive};
use crate::limits::{MAX_CHAT_DEPS, MAX_CONTROL_LOG_BYTES, MAX_CONTROL_LOG_EVENTS};
use crate::log::{Frontier, Lane, LogId};

mod author;
mod keys;

pub use author::AuthorError;

/// What changed when control events were applied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// An account became a member.
    Joined(AccountId),
    /// An account is no member any more.
    Left(AccountId),
    /// A member has another role.
    Role(AccountId, Role),
    /// The room's name, or a member's, or another setting changed.
    Renamed,
    /// A device is proved to have signed two events at one position of this log. Also where something is
    /// taken in that builds upon what only a proof that is not taken in yet declares void: what
    /// [`Members::undeclared`] says is to be stated.
    Forked(LogId),
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

impl Accepted {
    /// Adds what came after it.
    pub fn and(mut self, after: Self) -> Self {
        self.events.extend(after.events);
        self.effects.extend(after.effects);
        self
    }
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
    /// They lie beyond where their log ends: their author left or was removed, or the log forks.
    #[error("events beyond the end of their log")]
    BeyondCut,
    /// Their control log is as long as any may be.
    #[error("more control events of one log than anybody keeps")]
    LogFull,
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
    /// Bytes held of each control log.
    control_bytes: BTreeMap<LogId, u64>,
    /// The control events that are held, with the length of the longest chain that leads to each.
    control: BTreeMap<EventId, u64>,
    heads: BTreeSet<EventId>,
    hints: Vec<EventId>,
    clock: HlcClock,
    secrets: BTreeMap<EpochId, EpochSecret>,
    /// When epochs became known here, by this device's clock; not those that were restored.
    heard: BTreeMap<EpochId, Millis>,
}

impl Room {
    /// An empty replica on the device `me`, before anything of the room is here.
    pub fn new(id: RoomId, me: PeerId) -> Self {
        Self {
            id,
            me,
            members: Members::default(),
            logs: LogTable::default(),
            control_bytes: BTreeMap::new(),
            control: BTreeMap::new(),
            heads: BTreeSet::new(),
            hints: Vec::new(),
            clock: HlcClock::default(),
            secrets: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// Returns the room's id.
    pub fn id(&self) -> RoomId {
        self.id
    }

    /// Returns the device that this replica is on.
    pub fn device(&self) -> PeerId {
        self.me
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
        let mut frontier = self.logs.frontier();
        let own = self.logs.iter().map(|(log, _)| *log).filter(|log| log.device == self.me);
        for log in own {
            frontier.truncate(&log, self.counted(&log));
        }
        frontier
    }

    /// Returns how many events of a log count at most.
    ///
    /// Void control events are held all the same: others depend on them.
    pub fn counted(&self, log: &LogId) -> u64 {
        self.end(log).map_or(u64::MAX, |end| end.len)
    }

    /// Returns what counts of a log at most, with the last event of that.
    fn end(&self, log: &LogId) -> Option<LogEnd> {
        match log.lane {
            Lane::Control => self.members.fork_end(log),
            Lane::Chat => self.members.chat_end(log),
        }
    }

    /// Returns the length of a log as far as it is held and counts, and the event there.
    pub fn tip(&self, log: &LogId) -> Option<(u64, EventId)> {
        let run = self.logs.log(log)?.tip()?;
        match self.end(log) {
            Some(end) if end.len < run.end => Some((end.len, end.last?)),
            _ => Some((run.end, run.last)),
        }
    }

    /// Says which event is held as the last one of a log that ends at `len`. A fork may be proved
    /// further on than where the branch that is held here parts from the others: who keeps the
    /// events looks after each [`Effect::Voided`], and says here what it finds.
    pub fn rectify(&mut self, log: &LogId, len: u64, last: EventId) {
        self.logs.log_mut(*log).rectify(len, last);
    }

    /// Returns a hash of all that is held: equal for equal logs, whatever their order of arrival.
    pub fn state_hash(&self) -> [u8; 32] {
        let mut parts = vec![self.id.0.to_vec()];
        for (log, state) in self.logs.iter() {
            let end = self.end(log);
            let limit = end.map_or(u64::MAX, |end| end.len);
            for run in state.runs().filter(|run| run.start < limit) {
                let beyond = end.filter(|_| run.end > limit).map(|end| end.last);
                let last = beyond.map_or(Some(run.last), |last| last);
                parts.push(crate::wire::encode(log));
                parts.push([run.start.to_be_bytes(), run.end.min(limit).to_be_bytes()].concat());
                parts.push(last.map(|last| last.0.to_vec()).unwrap_or_default());
            }
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        derive(context::STATE, &parts)
    }

    /// Whether this device belongs to a member now.
    pub fn am_member(&self) -> bool {
        self.members.is_member_device(&self.me)
    }

    // Reading

    /// Opens the body of a chat event of this room.
    ///
    /// Returns none where the secret or the body is not here, or the body does not open.
    pub fn open(&self, event: &Event) -> Option<Chat> {
        let header = event.header();
        let secret = self.secrets.get(&header.epoch?)?;
        let plain = secret.open(self.id, &header.associated_data(), event.body()?).ok()?;
        Chat::from_bytes(&plain).ok()
    }

    /// Whether who-may-post hides a message of this room: [`Members::hides`].
    pub fn hides(&self, header: &Header) -> bool {
        self.members.hides(&header.log(), header.time)
    }

    // Accepting

    /// Whether a run has another event where one is held that counts: the device signed two branches.
    pub fn contradicts(&self, run: &CheckedRun) -> bool {
        let (Some(first), Some(last)) = (run.events().first(), run.events().last()) else {
            return false;
        };
        let log = first.log();
        let ended = self.members.end_of(&log).is_some_and(|end| last.seq() >= end);
        let next = self.next_seq(log);
        let other = |event: &Event| event.seq() < next && !self.members.knows(&event.id());
        // Also one that goes on where ours ends, from another event than ours.
        let parts =
            || self.logs.log(&log).is_some_and(|state| state.fit(run.events()) == Fit::Fork);
        !ended && (parts() || log.lane == Lane::Control && run.events().iter().any(other))
    }

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
            // The last event that the cut names is not looked at: no event may have that id, and who
            // holds the log already keeps what is there. If there are two branches, that is proved.
            if events.is_empty() {
                return Err(Reject::BeyondCut);
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
                        self.hold(log, &events, now);
                        return Ok(Accepted { events, effects: vec![] });
                    }
                    let new = events.iter().filter(|event| range.contains(&event.seq())).cloned();
                    let new: Vec<Event> = new.collect();
                    self.hold(log, &new, now);
                    accepted.events.extend(new);
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
        // What builds upon a void event may stand before the statement that says so.
        for event in &events {
            self.hear_declared(event);
        }
        let mut accepted = Accepted::default();
        for event in events {
            if self.control.contains_key(&event.id()) {
                continue;
            }
            match self.check_control(&event) {
                Ok(()) => {
                    let control = event.body().and_then(Control::from_bytes);
                    let owed = self.members.lean(&event, control.as_ref());
                    accepted.effects.extend(owed.into_iter().map(Effect::Forked));
                    self.note_control(&event, now);
                    accepted.events.push(event);
                }
                Err(reject) if accepted.events.is_empty() => return Err(reject),
                Err(_) => break,
            }
        }
        self.settle_control(&accepted.events, &mut accepted.effects);
        Ok(accepted)
    }

    /// Lets others depend on what a proof of a fork declares void, and on what that introduced, before
    /// the proof is taken in: it may depend on that itself, and so may what its author stated before.
    fn hear_declared(&mut self, event: &Event) {
        if self.control.contains_key(&event.id()) || !self.members.may_write(&event.log()) {
            return;
        }
        if let Some(Control::Fork(fork)) = event.body().and_then(Control::from_bytes)
            && fork.proves(self.id).is_some()
        {
            self.members.hear(event, *fork);
        }
    }

    /// Decides from what is stated alone, never from who has which role now: that changes backwards.
    fn check_control(&mut self, event: &Event) -> Result<(), Reject> {
        let header = event.header();
        let body = event.body().ok_or(Reject::MissingDeps)?;
        let log = event.log();
        let control = Control::from_bytes(body);
        if header.deps.iter().any(|dep| !self.members.knows(dep)) {
            return Err(Reject::MissingDeps);
        }
        if !self.members.may_write(&log) {
            let control = control.as_ref().ok_or(Reject::UnknownAuthor)?;
            if !Members::introduces_itself(header, control) {
                return Err(Reject::UnknownAuthor);
            }
        }
        if control.is_some_and(|control| !self.members.has_cited(&control)) {
            return Err(Reject::MissingDeps);
        }
        if self.members.fork_of(&log).is_some_and(|from| event.seq() >= from) {
            return Err(Reject::BeyondCut);
        }
        // What is void is kept, for others may depend on it; but no log is kept without end. Where it
        // is void decides nothing here: that changes with what is heard of later.
        if event.seq() >= MAX_CONTROL_LOG_EVENTS {
            return Err(Reject::LogFull);
        }
        let next = self.next_seq(log);
        match self.logs.log_mut(log).fit(std::slice::from_ref(event)) {
            Fit::Add(_) if event.seq() == next => {
                let bytes = self.control_bytes(&log).saturating_add(event.size() as u64);
                if bytes > MAX_CONTROL_LOG_BYTES { Err(Reject::LogFull) } else { Ok(()) }
            }
            Fit::Add(_) | Fit::TooScattered => Err(Reject::MissingDeps),
            // A different event at a position that is held.
            Fit::Nothing | Fit::Fork => Err(Reject::Fork),
        }
    }

    /// Returns the position after the last event that is held of a log.
    fn next_seq(&self, log: LogId) -> u64 {
        self.logs.log(&log).and_then(|state| state.tip()).map_or(0, |run| run.end)
    }

    /// Returns how many bytes are held of a control log.
    fn control_bytes(&self, log: &LogId) -> u64 {
        self.control_bytes.get(log).copied().unwrap_or(0)
    }

    /// Takes in events that continue their log.
    fn hold(&mut self, log: LogId, events: &[Event], now: Millis) {
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
            for event in events {
                self.clock.observe(event.header().time, now);
            }
            if log.lane == Lane::Chat && !last.header().time.is_ahead(now) {
                self.hints.insert(0, last.id());
                self.hints.truncate(MAX_CHAT_DEPS);
            }
        }
    }

    /// Takes in one control event that continues its log; what follows from it is for
    /// [`Self::settle_control`].
    fn note_control(&mut self, event: &Event, now: Millis) {
        let log = event.log();
        let bytes = self.control_bytes(&log).saturating_add(event.size() as u64);
        self.control_bytes.insert(log, bytes);
        let header = event.header();
        let mut generation = 0;
        for known in header.deps.iter().chain(&header.prev) {
            self.heads.remove(known);
            let of_known = self.control.get(known).copied().unwrap_or(0);
            generation = generation.max(of_known.saturating_add(1));
        }
        self.heads.insert(event.id());
        self.control.insert(event.id(), generation);
        let control = event.body().and_then(Control::from_bytes);
        if let Some(Control::Epoch(epoch)) = &control
            && now > 0
        {
            let id = crate::epoch::epoch_id(self.id, &epoch.commitment);
            self.heard.entry(id).or_insert(now);
        }
        self.members.note(header, event.id(), control);
        self.hold(log, std::slice::from_ref(event), now);
    }

    /// Finds what follows from control events that were noted.
    fn settle_control(&mut self, events: &[Event], effects: &mut Vec<Effect>) {
        let change = self.members.settle();
        for (account, before) in change.accounts {
            match (before, self.members.role(&account)) {
                (None, Some(_)) => effects.push(Effect::Joined(account)),
                (Some(_), None) => effects.push(Effect::Left(account)),
                (_, Some(role)) => effects.push(Effect::Role(account, role)),
                (None, None) => {}
            }
        }
        if change.all {
            self.cut_logs(effects);
        }
        let mut renamed = change.settings;
        for event in events {
            match event.body().and_then(Control::from_bytes) {
                Some(Control::Set(_) | Control::Profile(_)) => {
                    renamed |= self.members.counts(&event.id());
                }
                Some(Control::Epoch(epoch)) => {
                    let id = crate::epoch::epoch_id(self.id, &epoch.commitment);
                    if let Some(secret) = self.secrets.get(&id).cloned() {
                        self.learn_secret(secret);
                    }
                    effects.push(Effect::Epoch(id));
                }
                Some(Control::Fork(fork)) => {
                    if let Some((log, _)) = fork.proves(self.id) {
                        effects.push(Effect::Forked(log));
                    }
                }
                _ => {}
            }
        }
        if renamed {
            effects.push(Effect::Renamed);
        }
    }

    /// Drops what lies beyond the ends of logs. What this device said stays, uncounted, so that no
    /// position is ever used again.
    fn cut_logs(&mut self, effects: &mut Vec<Effect>) {
        let logs: Vec<LogId> = self.logs.iter().map(|(log, _)| *log).collect();
        for log in logs {
            let Some(end) = self.end(&log) else { continue };
            let held = self.logs.log(&log).and_then(|state| state.tip());
            if held.is_some_and(|run| run.end > end.len) {
                if log.device != self.me {
                    self.logs.log_mut(log).truncate(end);
                }
                effects.push(Effect::Voided(log, end.len));
            }
        }
    }

    // Restoring

    /// Replays the control events from storage, in the order in which they were accepted.
    pub fn restore_control(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            let time = event.header().time;
            // What time it is now is not known here: 0 keeps the event away from the clock for now.
            self.note_control(&event, 0);
            self.clock.observe_later(time);
        }
        let _ = self.members.settle();
        // What they wrap is known to be there only now.
        for secret in self.secrets.values().cloned().collect::<Vec<_>>() {
            self.learn_secret(secret);
        }
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

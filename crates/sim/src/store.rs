//! What a peer keeps when it stops: the events of its room and the secrets of its epochs.
//!
//! Invariant: whatever the replica accepted is here before anyone is told, in the same order. So a
//! replica that is built again from here continues its own logs where they end.

use std::collections::BTreeMap;

use ayni_core::clock::{Hlc, Millis};
use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event;
use ayni_core::id::{EventId, PeerId, RoomId};
use ayni_core::limits::{MAX_RUN_EVENTS, RUN_TARGET};
use ayni_core::log::{Frontier, Lane, LogId, Runs};
use ayni_core::room::{Accepted, Effect, Room, Run};

/// A peer's storage of one room.
#[derive(Debug, Clone, Default)]
pub struct Store {
    control: Vec<Event>,
    /// Where each control event stands.
    places: BTreeMap<(LogId, u64), usize>,
    chat: BTreeMap<LogId, BTreeMap<u64, Event>>,
    secrets: Vec<EpochSecret>,
    twice: u64,
}

impl Store {
    /// Keeps what the device `me` accepted or authored, and deletes what became void: not what it said
    /// itself, so that no position is ever used again.
    pub fn keep(&mut self, accepted: &Accepted, me: PeerId) {
        for event in &accepted.events {
            match event.log().lane {
                Lane::Control => {
                    self.places.insert((event.log(), event.seq()), self.control.len());
                    self.control.push(event.clone());
                }
                Lane::Chat => {
                    let log = self.chat.entry(event.log()).or_default();
                    self.twice += u64::from(log.insert(event.seq(), event.clone()).is_some());
                }
            }
        }
        for effect in &accepted.effects {
            if let Effect::Voided(log, from) = effect
                && log.device != me
                && let Some(events) = self.chat.get_mut(log)
            {
                events.split_off(from);
            }
        }
    }

    /// Keeps a secret.
    pub fn keep_secret(&mut self, secret: EpochSecret) {
        self.secrets.push(secret);
    }

    /// How many events were kept twice: none, where all is well.
    pub fn twice(&self) -> u64 {
        self.twice
    }

    /// Returns the control events, in the order in which they were accepted.
    pub fn control(&self) -> &[Event] {
        &self.control
    }

    /// Returns the secrets that were ever here.
    pub fn secrets(&self) -> &[EpochSecret] {
        &self.secrets
    }

    /// Returns the event that is kept at a position.
    pub fn at(&self, log: &LogId, seq: u64) -> Option<&Event> {
        match log.lane {
            Lane::Control => self.control.get(*self.places.get(&(*log, seq))?),
            Lane::Chat => self.chat.get(log)?.get(&seq),
        }
    }

    /// Returns the chat events.
    pub fn chat(&self) -> impl Iterator<Item = &Event> {
        self.chat.values().flat_map(BTreeMap::values)
    }

    /// Returns the messages that are to be shown at `now`, in their order.
    pub fn timeline(&self, now: Millis) -> Vec<(Hlc, EventId)> {
        let due = self.chat().filter(|event| !event.header().time.is_ahead(now));
        let mut timeline: Vec<_> = due.map(Event::order).collect();
        timeline.sort_unstable();
        timeline
    }

    /// Builds the replica again.
    pub fn restore(&self, room: RoomId, me: PeerId, now: Millis) -> Room {
        let mut room = Room::new(room, me);
        for secret in &self.secrets {
            room.learn_secret(secret.clone());
        }
        room.restore_control(self.control.iter().cloned());
        for (log, events) in &self.chat {
            let runs: Runs = events.keys().map(|seq| *seq..*seq + 1).collect();
            for range in runs.ranges() {
                let held: Vec<&Event> =
                    events.range(range.clone()).map(|(_, event)| event).collect();
                let (Some(first), Some(last)) = (held.first(), held.last()) else { continue };
                let (before, last) = (first.header().prev, last.id());
                let run = Run { start: range.start, end: range.end, before, last };
                let newest = held.iter().map(|event| event.header().time).max();
                room.restore_run(*log, run, newest.unwrap_or_default(), now);
            }
        }
        room
    }

    /// Returns what is held of `ranges`, parted into runs as frames carry them: control events in
    /// the order in which they were accepted, then messages.
    pub fn serve(&self, ranges: &Frontier) -> Vec<Vec<Event>> {
        let asked = |event: &&Event| ranges.contains(&event.log(), event.seq());
        let control = self.control.iter().filter(asked);
        let chat = ranges.iter().filter(|(log, _)| log.lane == Lane::Chat);
        let chat = chat.flat_map(|(log, runs)| {
            let held = self.chat.get(log);
            let runs = runs.ranges().iter();
            runs.flat_map(move |run| held.into_iter().flat_map(|held| held.range(run.clone())))
        });
        part(control.chain(chat.map(|(_, event)| event)))
    }

    /// Returns so many of the newest messages that are due.
    pub fn newest(&self, count: u32, now: Millis) -> Vec<Vec<Event>> {
        let timeline = self.timeline(now);
        let from = timeline.len().saturating_sub(count as usize);
        let Some(oldest) = timeline.get(from) else { return vec![] };
        part(
            self.chat()
                .filter(|event| event.order() >= *oldest && !event.header().time.is_ahead(now)),
        )
    }
}

/// Parts events into runs: consecutive in one log, of a frame's size, each with a signed end.
fn part<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<Vec<Event>> {
    let mut runs: Vec<Vec<Event>> = Vec::new();
    let mut bytes = 0;
    for event in events {
        let fits = runs.last().and_then(|run| Some((run.last()?, run.len()))).is_some_and(
            |(last, len)| {
                last.log() == event.log()
                    && last.seq() + 1 == event.seq()
                    && len < MAX_RUN_EVENTS
                    && bytes < RUN_TARGET
            },
        );
        if !fits {
            runs.push(Vec::new());
            bytes = 0;
        }
        bytes += event.size();
        if let Some(run) = runs.last_mut() {
            run.push(event.clone());
        }
    }
    for run in &mut runs {
        while run.last().is_some_and(|event| event.verify().is_err()) {
            run.pop();
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

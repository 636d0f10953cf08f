//! What proofs of forks declare, and of those proofs the ones that were heard of before they can be taken
//! in: what they wait for may wait for what they declare.
//!
//! Invariants: they are few ([`MAX_HEARD_FORKS`]), for whoever may write here can make up any number that
//! nobody ever takes in. And whoever takes something in by one of them says the same in a proof of its own
//! ([`HeardForks::owed`]), or others who did not hear of it could never follow.

use std::collections::BTreeSet;

use super::control::{Control, Fork, HeaderBytes, Introduced};
use crate::event::{Event, event_id};
use crate::id::{AccountId, EventId, InviteKey, PeerId, RoomId};
use crate::limits::MAX_HEARD_FORKS;
use crate::log::LogId;

/// Void events, and whom and what they introduced.
#[derive(Debug, Clone, Default)]
pub(super) struct Declared {
    void: BTreeSet<EventId>,
    devices: BTreeSet<(PeerId, AccountId)>,
    seats: BTreeSet<(AccountId, u32)>,
    invites: BTreeSet<InviteKey>,
}

impl Declared {
    /// Adds what a proof declares.
    pub(super) fn add(&mut self, room: RoomId, fork: &Fork) {
        self.void.extend(fork.void_ids());
        for admit in fork.admissions(room) {
            let cert = &admit.claim.cert.claim;
            self.devices.insert((cert.device, cert.account));
            self.seats.insert((cert.account, admit.term));
        }
        let Introduced { seats, invites, .. } = &fork.introduced;
        self.seats.extend(seats.iter().map(|seat| (seat.account, seat.term)));
        self.invites.extend(invites);
    }

    /// Whether an event is declared void.
    pub(super) fn has_void(&self, id: &EventId) -> bool {
        self.void.contains(id)
    }

    /// Whether a term of an account was introduced.
    pub(super) fn has_seat(&self, seat: (AccountId, u32)) -> bool {
        self.seats.contains(&seat)
    }

    /// Whether an invite of this key was introduced.
    pub(super) fn has_invite(&self, key: &InviteKey) -> bool {
        self.invites.contains(key)
    }

    /// Returns the accounts that a device was introduced for.
    pub(super) fn accounts_of(&self, device: PeerId) -> impl Iterator<Item = AccountId> + '_ {
        let from = self.devices.range((device, AccountId([0; 32]))..);
        from.take_while(move |(of, _)| *of == device).map(|(_, account)| *account)
    }

    /// Whether all that this says to be introduced is.
    pub(super) fn tells(&self, said: &Introduced) -> bool {
        said.admissions.iter().all(|admit| {
            let cert = &admit.claim.cert.claim;
            self.devices.contains(&(cert.device, cert.account))
                && self.seats.contains(&(cert.account, admit.term))
        }) && said.seats.iter().all(|seat| self.seats.contains(&(seat.account, seat.term)))
            && said.invites.iter().all(|key| self.invites.contains(key))
    }
}

/// A proof that was heard of.
#[derive(Debug, Clone)]
struct Heard {
    event: EventId,
    author: PeerId,
    log: LogId,
    fork: Fork,
    declared: Declared,
    /// Whether something was taken in by it.
    owed: bool,
}

/// The proofs that were heard of and not taken in, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct HeardForks(Vec<Heard>);

impl HeardForks {
    /// Hears of a proof in an event that is not taken in yet. Of too many the oldest one is forgotten by
    /// which nothing was taken in, of the author who has the most.
    pub(super) fn hear(&mut self, event: &Event, fork: Fork) {
        let room = event.header().room;
        let known = self.0.iter().any(|heard| heard.event == event.id());
        let mut declared = Declared::default();
        declared.add(room, &fork);
        if known || declared.void.is_empty() {
            return;
        }
        let Some((log, _)) = fork.proves(room) else { return };
        if self.0.len() >= MAX_HEARD_FORKS {
            self.forget_one();
        }
        let (event, author) = (event.id(), event.header().device);
        self.0.push(Heard { event, author, log, fork, declared, owed: false });
    }

    fn forget_one(&mut self) {
        let count = |of: &Heard| self.0.iter().filter(|heard| heard.author == of.author).count();
        let order =
            |(at, heard): &(usize, &Heard)| (heard.owed, std::cmp::Reverse(count(heard)), *at);
        if let Some((at, _)) = self.0.iter().enumerate().min_by_key(order) {
            self.0.remove(at);
        }
    }

    /// Forgets a proof that was taken in.
    pub(super) fn taken(&mut self, event: &EventId) {
        self.0.retain(|heard| heard.event != *event);
    }

    /// Returns what they declare, each by itself.
    pub(super) fn declared(&self) -> impl Iterator<Item = &Declared> {
        self.0.iter().map(|heard| &heard.declared)
    }

    /// Notes that an event is taken in by them, where it depends on what they alone declare. Returns the
    /// forked logs that are to be declared anew.
    pub(super) fn lean(
        &mut self,
        event: &Event,
        control: Option<&Control>,
        writes: impl Fn(&Declared) -> bool,
        waits: impl Fn(&EventId) -> bool,
    ) -> Vec<LogId> {
        let header = event.header();
        let cited = control.and_then(Control::cites);
        let named: Vec<&EventId> =
            header.deps.iter().chain(&cited).filter(|id| waits(id)).collect();
        let invite = match control {
            Some(Control::Admit(admit)) => Some(admit.claim.invite),
            _ => None,
        };
        let mut logs = Vec::new();
        for heard in &mut self.0 {
            let declared = &heard.declared;
            let leans = named.iter().any(|id| declared.has_void(id))
                || invite.is_some_and(|key| declared.has_invite(&key))
                || writes(declared);
            if leans && heard.event != event.id() {
                heard.owed = true;
                logs.push(heard.log);
            }
        }
        logs
    }

    /// Returns a proof about a log, if one was heard of by which something was taken in.
    pub(super) fn proof(&self, log: &LogId) -> Option<&Fork> {
        let mut owed = self.0.iter().filter(|heard| heard.owed && heard.log == *log);
        owed.next().map(|heard| &heard.fork)
    }

    /// Returns the headers that one of them declares by which something was taken in, if those who told
    /// all do not say the same.
    pub(super) fn owed(&self, log: &LogId, told: &Declared) -> Vec<HeaderBytes> {
        let is_told = |heard: &Heard| {
            heard.declared.void.is_subset(&told.void) && told.tells(&heard.fork.introduced)
        };
        let mut owed = self.0.iter().filter(|heard| heard.owed && heard.log == *log);
        let Some(heard) = owed.find(|heard| !is_told(heard)) else { return vec![] };
        let void = heard.fork.void.iter();
        void.filter(|header| heard.declared.has_void(&event_id(&header.0))).cloned().collect()
    }

    /// Returns what the void events of one that is owed introduced, if it declares these.
    pub(super) fn introduced_by(&self, ids: &[EventId]) -> Option<&Introduced> {
        let declares =
            |heard: &&Heard| heard.owed && ids.iter().all(|id| heard.declared.has_void(id));
        let mut all = self.0.iter().filter(declares);
        all.next().filter(|_| !ids.is_empty()).map(|heard| &heard.fork.introduced)
    }
}

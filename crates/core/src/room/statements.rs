//! The control lane as a graph: what was stated, and in whose knowledge.
//!
//! Invariant: statements stand in an order in which each comes after those that it depends on or
//! cites. That order differs between replicas; nothing that is computed from here depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use super::control::{Admit, Control, Cut, Fork, GenesisBody, HeaderBytes, Introduced, Seat};
use super::genesis::Genesis;
use super::heard::{Declared, HeardForks};
use super::places::Places;
use super::role::Role;
use crate::clock::Hlc;
use crate::event::{Event, Header};
use crate::id::{AccountId, EventId, InviteKey, PeerId};
use crate::keys::{Bytes32, DeviceCert};
use crate::log::{Lane, LogId};

/// One control event.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) id: EventId,
    pub(super) log: LogId,
    pub(super) seq: u64,
    pub(super) time: Hlc,
    /// Length of the longest chain of control events that leads to it.
    pub(super) generation: u64,
    /// What it says; none where this version cannot make sense of it, or where it does not hold by
    /// itself (signatures in it, the genesis).
    pub(super) control: Option<Control>,
    /// The header, as it is signed.
    pub(super) header: Vec<u8>,
    parents: Vec<usize>,
    /// What leads to it, without itself; found when it is first asked for.
    past: OnceLock<Arc<Places>>,
}

/// Whose authority someone acts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Authority {
    /// A founder's whom the genesis names.
    Founder(AccountId),
    /// What this statement gave.
    By(usize),
}

/// What one log says once: said again it says nothing, or whoever repeats it could have everyone go
/// through any number of statements for each of the others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Once {
    Leave,
    Invite(InviteKey),
    Epoch(Bytes32),
}

impl Once {
    fn of(control: &Control) -> Option<Self> {
        match control {
            Control::Leave(_) => Some(Self::Leave),
            Control::Invite(invite) => Some(Self::Invite(invite.key)),
            Control::Epoch(epoch) => Some(Self::Epoch(epoch.commitment)),
            _ => None,
        }
    }
}

/// All statements of a room.
#[derive(Debug, Clone, Default)]
pub(super) struct Statements {
    all: Vec<Statement>,
    index: BTreeMap<EventId, usize>,
    genesis: Option<Genesis>,
    /// The accounts that certify each device, and the first place that said so here.
    devices: BTreeMap<PeerId, BTreeMap<AccountId, usize>>,
    certs: BTreeMap<AccountId, BTreeMap<PeerId, DeviceCert>>,
    /// Terms for which anyone ever stated that an account belongs here, rightly or not.
    stated: BTreeSet<(AccountId, u32)>,
    /// Who was ever stated to belong here, and by what.
    stated_by: BTreeMap<AccountId, Vec<usize>>,
    /// The removals and demotions of each account's term.
    removals: BTreeMap<(AccountId, u32), Vec<usize>>,
    /// The leavings of each device, by the term of their log.
    leavings: BTreeMap<(PeerId, u32), Vec<usize>>,
    /// Of some logs the statement that was last asked for what leads to it, and that.
    along: BTreeMap<LogId, (usize, Places)>,
    /// The statements of each log, in order.
    logs: BTreeMap<LogId, Vec<usize>>,
    /// What could give authority for each account's term.
    lifts: BTreeMap<(AccountId, u32), Vec<usize>>,
    /// The invites by their keys. Several may state one key (it is no secret): each invites in its own
    /// author's name.
    invites: BTreeMap<InviteKey, Vec<usize>>,
    /// The admissions by the keys that they name.
    admissions: BTreeMap<InviteKey, Vec<usize>>,
    /// What each log said that it can say once.
    once: BTreeSet<(LogId, Once)>,
    /// The keys that someone revoked.
    revoked: BTreeSet<InviteKey>,
    /// Where logs fork, and after which event.
    forked: BTreeMap<LogId, (u64, Option<EventId>)>,
    /// The proofs by which a log was first known to fork, or to do so earlier.
    moved: BTreeMap<usize, LogId>,
    /// What proves it.
    proofs: BTreeMap<LogId, Vec<usize>>,
    /// Void events that others may depend on although they are not here, and what those introduced.
    declared: Declared,
    /// What further proofs declare that cannot be taken in yet.
    heard: HeardForks,
    /// How often what earlier statements meant became another: by a fork, or by an account more for a
    /// device that had written.
    turns: u64,
}

impl Statements {
    pub(super) fn genesis(&self) -> Option<&Genesis> {
        self.genesis.as_ref()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = (usize, &Statement)> + ExactSizeIterator {
        self.all.iter().enumerate()
    }

    pub(super) fn get(&self, at: usize) -> Option<&Statement> {
        self.all.get(at)
    }

    pub(super) fn find(&self, id: &EventId) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// Whether an event counts as known when another one depends on it.
    pub(super) fn knows(&self, id: &EventId) -> bool {
        self.is_told(id) || self.heard.declared().any(|declared| declared.has_void(id))
    }

    /// Whether it counts as known for everyone who has the same statements.
    fn is_told(&self, id: &EventId) -> bool {
        self.index.contains_key(id) || self.declared.has_void(id)
    }

    /// Returns the accounts that certify a device, lowest first: one, unless it agreed to more.
    pub(super) fn accounts_of(&self, device: &PeerId) -> impl Iterator<Item = AccountId> + '_ {
        self.devices.get(device).into_iter().flat_map(BTreeMap::keys).copied()
    }

    /// Returns the accounts and terms in whose name a log speaks.
    pub(super) fn seats_of(&self, log: &LogId) -> impl Iterator<Item = (AccountId, u32)> + '_ {
        let term = log.term;
        self.accounts_of(&log.device).map(move |account| (account, term))
    }

    fn devices_of(&self, account: AccountId) -> impl Iterator<Item = PeerId> + '_ {
        self.certs.get(&account).into_iter().flat_map(BTreeMap::keys).copied()
    }

    /// Whether an admission is the first to say that its device belongs to its account, and the device
    /// wrote before: that changes in whose name it did.
    pub(super) fn certifies_late(&self, at: usize) -> bool {
        let Some(Control::Admit(admit)) = self.get(at).and_then(|it| it.control.as_ref()) else {
            return false;
        };
        let cert = &admit.claim.cert.claim;
        let first = self.devices.get(&cert.device).and_then(|by| by.get(&cert.account));
        first == Some(&at) && self.has_written(cert.device)
    }

    fn has_written(&self, device: PeerId) -> bool {
        let log = |term| LogId { lane: Lane::Control, device, term };
        self.logs.range(log(0)..=log(u32::MAX)).next().is_some()
    }

    /// Whether a statement that takes authority can have no effect, since its author says nothing to act
    /// by, or ends nothing of its own; should its device turn out to belong to another account as well,
    /// all is reduced again.
    pub(super) fn is_idle(&self, at: usize) -> bool {
        let Some(it) = self.get(at) else { return false };
        let own = |invite: usize| {
            let invite = self.get(invite);
            let mut seats = invite.into_iter().flat_map(|invite| self.seats_of(&invite.log));
            seats.any(|seat| self.seats_of(&it.log).any(|own| own == seat))
        };
        let about_own = match &it.control {
            Some(Control::Revoke(revoke)) => self.invites_of(&revoke.invite).any(own),
            _ => false,
        };
        !about_own && self.authority(at).is_none()
    }

    /// Whether the proof of a fork changes nothing: it moves no fork, or that of a device which nobody
    /// knows, and it vouches for no device.
    pub(super) fn is_idle_fork(&self, at: usize, fork: &Fork) -> bool {
        let of_nobody = |log: &LogId| {
            self.accounts_of(&log.device).next().is_none() && !self.has_written(log.device)
        };
        fork.introduced.admissions.is_empty() && self.moved.get(&at).is_none_or(of_nobody)
    }

    /// Returns what was stated in the name of a seat.
    pub(super) fn stated_in(
        &self,
        (account, term): (AccountId, u32),
    ) -> impl Iterator<Item = usize> + '_ {
        let logs = self.devices_of(account);
        let logs = logs.map(move |device| LogId { lane: Lane::Control, device, term });
        logs.filter_map(|log| self.logs.get(&log)).flatten().copied()
    }

    /// Changes whenever what earlier statements meant may have.
    pub(super) fn turns(&self) -> u64 {
        self.turns
    }

    /// Returns the devices that an account certifies.
    pub(super) fn certs_of(&self, account: AccountId) -> BTreeMap<PeerId, DeviceCert> {
        self.certs.get(&account).cloned().unwrap_or_default()
    }

    /// Whether anyone ever stated that a log's device belongs to a member of its term. Once true, it
    /// stays true, and so it may gate what is accepted.
    pub(super) fn may_write(&self, log: &LogId) -> bool {
        self.is_stated(log, None)
            || self.heard.declared().any(|declared| self.is_stated(log, Some(declared)))
    }

    /// The same, by what was taken in, and by one proof more.
    fn is_stated(&self, log: &LogId, more: Option<&Declared>) -> bool {
        let declared = || std::iter::once(&self.declared).chain(more);
        let stated = |account| {
            let seat = (account, log.term);
            self.stated.contains(&seat) || declared().any(|it| it.has_seat(seat))
        };
        let introduced = declared().flat_map(|it| it.accounts_of(log.device));
        self.accounts_of(&log.device).chain(introduced).any(stated)
    }

    /// Whether an invite of this key was stated.
    pub(super) fn has_invite(&self, key: &InviteKey) -> bool {
        self.is_invite_told(key) || self.heard.declared().any(|it| it.has_invite(key))
    }

    fn is_invite_told(&self, key: &InviteKey) -> bool {
        self.invites.contains_key(key) || self.declared.has_invite(key)
    }

    /// Hears of a proof of a fork in an event that cannot be taken in yet.
    pub(super) fn hear(&mut self, event: &Event, fork: Fork) {
        self.heard.hear(event, fork);
    }

    /// Notes that an event is taken in, maybe by what nobody else may ever hear of. Returns the forked
    /// logs whose void events are to be declared for that.
    pub(super) fn lean(&mut self, event: &Event, control: Option<&Control>) -> Vec<LogId> {
        let mut heard = std::mem::take(&mut self.heard);
        let log = event.log();
        let stated = self.is_stated(&log, None);
        let admits = match control {
            Some(Control::Admit(admit)) => !self.is_invite_told(&admit.claim.invite),
            _ => false,
        };
        let logs = heard.lean(
            event,
            control.filter(|it| admits || it.cites().is_some()),
            |declared| !stated && self.is_stated(&log, Some(declared)),
            |id| !self.is_told(id),
        );
        self.heard = heard;
        logs
    }

    /// Returns a proof about a log by which something was taken in, and that was not taken in itself.
    pub(super) fn heard_proof(&self, log: &LogId) -> Option<&Fork> {
        self.heard.proof(log)
    }

    /// Returns what is to be declared of a log because something was taken in by a proof that was not.
    pub(super) fn owed(&self, log: &LogId) -> Vec<HeaderBytes> {
        self.heard.owed(log, &self.declared)
    }

    /// Returns where a log forks.
    pub(super) fn fork_of(&self, log: &LogId) -> Option<u64> {
        self.forked.get(log).map(|(at, _)| *at)
    }

    /// Returns the last event of a log before it forks.
    pub(super) fn before_fork(&self, log: &LogId) -> Option<EventId> {
        self.forked.get(log).and_then(|(_, before)| *before)
    }

    /// Whether any log of a device forks.
    pub(super) fn is_frozen(&self, device: &PeerId) -> bool {
        [Lane::Control, Lane::Chat].into_iter().any(|lane| {
            let log = |term| LogId { lane, device: *device, term };
            self.forked.range(log(0)..=log(u32::MAX)).next().is_some()
        })
    }

    /// Returns the logs that fork, and where.
    pub(super) fn forks(&self) -> impl Iterator<Item = (&LogId, u64)> {
        self.forked.iter().map(|(log, (at, _))| (log, *at))
    }

    /// Returns what proves that a log forks.
    pub(super) fn proofs_of(&self, log: &LogId) -> impl Iterator<Item = usize> + '_ {
        self.proofs.get(log).into_iter().flatten().copied()
    }

    /// Adds a control event, whose dependencies are here. Returns its place.
    pub(super) fn push(&mut self, header: &Header, id: EventId, control: Option<Control>) -> usize {
        let control = control.filter(|control| holds(control, header));
        let once = control.as_ref().and_then(Once::of);
        let is_new = once.is_none_or(|once| self.once.insert((header.log(), once)));
        let control = control.filter(|_| is_new);
        let known = header.deps.iter().chain(&header.prev);
        let cited = control.as_ref().and_then(Control::cites);
        let mut parents: Vec<usize> = known.chain(&cited).filter_map(|id| self.find(id)).collect();
        parents.sort_unstable();
        parents.dedup();
        let generation = self.generation(&parents);
        let at = self.all.len();
        let statement = Statement {
            id,
            log: header.log(),
            seq: header.seq,
            time: header.time,
            generation,
            control,
            header: crate::wire::encode(header),
            parents,
            past: OnceLock::new(),
        };
        self.index.insert(id, at);
        self.heard.taken(&id);
        self.logs.entry(header.log()).or_default().push(at);
        self.all.push(statement);
        self.note(at, header);
        at
    }

    /// What is forked leads nowhere: others may not have it at all.
    fn generation(&self, parents: &[usize]) -> u64 {
        let counted = parents.iter().filter(|at| !self.is_forked(**at));
        let longest = counted.filter_map(|at| self.all.get(*at)).map(|it| it.generation).max();
        longest.map_or(0, |longest| longest.saturating_add(1))
    }

    /// Notes what follows from a statement whatever else is stated.
    fn note(&mut self, at: usize, header: &Header) {
        let Some(control) = self.all.get(at).and_then(|it| it.control.clone()) else { return };
        if let Some((account, term, role)) = self.gives(at)
            && role.has_authority()
        {
            self.lifts.entry((account, term)).or_default().push(at);
        }
        match control {
            Control::Genesis(GenesisBody { genesis, cert }) => {
                self.stated.extend(genesis.founders.iter().map(|founder| (*founder, 0)));
                self.genesis = Some(genesis);
                self.certify(cert, at);
            }
            Control::Admit(admit) => {
                let account = admit.claim.cert.claim.account;
                self.stated.insert((account, admit.term));
                self.stated_by.entry(account).or_default().push(at);
                self.admissions.entry(admit.claim.invite).or_default().push(at);
                self.certify(admit.claim.cert, at);
            }
            Control::Grant(grant) => {
                self.stated.insert((grant.account, grant.term));
                self.stated_by.entry(grant.account).or_default().push(at);
            }
            Control::Remove(remove) => {
                self.stated.insert((remove.account, remove.term.saturating_add(1)));
                self.removals.entry((remove.account, remove.term)).or_default().push(at);
            }
            Control::Leave(_) => {
                self.leavings.entry((header.device, header.term)).or_default().push(at);
            }
            Control::Revoke(revoke) => {
                self.revoked.insert(revoke.invite);
            }
            Control::Invite(invite) => self.invites.entry(invite.key).or_default().push(at),
            Control::Fork(fork) => {
                let Some((log, seq)) = fork.proves(header.room) else { return };
                self.proofs.entry(log).or_default().push(at);
                self.declared.add(header.room, &fork);
                for admit in fork.admissions(header.room) {
                    let account = admit.claim.cert.claim.account;
                    self.stated_by.entry(account).or_default().push(at);
                    self.certify(admit.claim.cert.clone(), at);
                }
                let place = (seq, fork.before());
                if self.forked.get(&log).is_none_or(|known| place < *known) {
                    self.forked.insert(log, place);
                    self.moved.insert(at, log);
                    // Whatever lies beyond leads nowhere from now on. Mostly nothing does.
                    let said = self.logs.get(&log).and_then(|all| self.all.get(*all.last()?));
                    if said.is_some_and(|last| last.seq >= seq) {
                        self.trace_again();
                    }
                }
            }
            _ => {}
        }
    }

    /// Returns what a statement says to begin: an admission, a term, an invite.
    fn introduction(&self, at: usize) -> Introduced {
        let mut said = Introduced::default();
        match self.get(at).and_then(|it| it.control.as_ref()) {
            Some(Control::Admit(admit)) => said.admissions.push(Admit::clone(admit)),
            Some(Control::Grant(grant)) => {
                said.seats.push(Seat { account: grant.account, term: grant.term });
            }
            Some(Control::Remove(remove)) => {
                let term = remove.term.saturating_add(1);
                said.seats.push(Seat { account: remove.account, term });
            }
            Some(Control::Invite(invite)) => said.invites.push(invite.key),
            _ => {}
        }
        said
    }

    /// Returns what void events that are here introduced.
    pub(super) fn introduced_by(&self, ids: &[EventId]) -> Introduced {
        if let Some(heard) = self.heard.introduced_by(ids) {
            return heard.clone();
        }
        let mut all = Introduced::default();
        for at in ids.iter().filter_map(|id| self.find(id)) {
            let Introduced { admissions, seats, invites } = self.introduction(at);
            all.admissions.extend(admissions);
            all.seats.extend(seats);
            all.invites.extend(invites);
        }
        all
    }

    /// Whether a void event that is here needs to be declared: others are not told yet that it is
    /// nothing to wait for, or what it introduced.
    pub(super) fn is_undeclared(&self, at: usize) -> bool {
        let Some(it) = self.get(at) else { return false };
        !self.declared.has_void(&it.id) || !self.declared.tells(&self.introduction(at))
    }

    /// Returns who was ever stated to belong here, and by what.
    pub(super) fn stated_by(&self) -> impl Iterator<Item = (&AccountId, &[usize])> {
        self.stated_by.iter().map(|(account, by)| (account, by.as_slice()))
    }

    fn certify(&mut self, cert: DeviceCert, at: usize) {
        let (account, device) = (cert.claim.account, cert.claim.device);
        let accounts = self.devices.entry(device).or_default();
        let is_new = !accounts.contains_key(&account);
        accounts.entry(account).or_insert(at);
        if is_new && self.has_written(device) {
            self.turns = self.turns.saturating_add(1);
        }
        let certs = self.certs.entry(account).or_default();
        let kept = certs.entry(device).or_insert_with(|| cert.clone());
        if (cert.claim.time_ms, &cert.signature.0) > (kept.claim.time_ms, &kept.signature.0) {
            *kept = cert;
        }
    }

    /// Finds anew what leads where, after another log turned out to fork.
    fn trace_again(&mut self) {
        self.turns = self.turns.saturating_add(1);
        for at in 0..self.all.len() {
            let parents = self.all.get(at).map(|it| it.parents.clone()).unwrap_or_default();
            let generation = self.generation(&parents);
            if let Some(it) = self.all.get_mut(at) {
                it.generation = generation;
                it.past = OnceLock::new();
            }
        }
    }

    /// Whether a statement lies beyond the fork of its log, and so says nothing and leads nowhere.
    pub(super) fn is_forked(&self, at: usize) -> bool {
        self.all.get(at).is_none_or(|it| self.fork_of(&it.log).is_some_and(|from| it.seq >= from))
    }

    /// Returns the statements that lead to one, without itself.
    pub(super) fn past(&self, at: usize) -> Arc<Places> {
        let Some(it) = self.all.get(at) else { return Arc::default() };
        it.past.get_or_init(|| Arc::new(self.trace(at))).clone()
    }

    /// Whether `earlier` lies in the past of `later`.
    pub(super) fn is_before(&self, earlier: usize, later: usize) -> bool {
        self.past(later).contains(earlier)
    }

    /// Like [`Self::past`], for statements of one log in their order: each takes what is new since the one
    /// before, and nothing is kept but the last. A past that is kept takes a bit for every statement.
    pub(super) fn past_along<T>(&mut self, at: usize, look: impl FnOnce(&Places) -> T) -> T {
        let log = self.all.get(at).map(|it| it.log);
        let before = log.and_then(|log| self.along.remove(&log));
        let (before, mut past) = before.unwrap_or((at, Places::default()));
        if before != at {
            past.insert(before);
        }
        self.walk(at, &mut past);
        let seen = look(&past);
        if let Some(log) = log {
            self.along.insert(log, (at, past));
        }
        seen
    }

    /// Lets [`Self::past_along`] begin again with the first of each log.
    pub(super) fn begin_along(&mut self) {
        self.along.clear();
    }

    fn trace(&self, at: usize) -> Places {
        let mut past = Places::default();
        self.walk(at, &mut past);
        past
    }

    /// Adds what leads to a statement; what leads to those that are in it is in it already.
    fn walk(&self, at: usize, past: &mut Places) {
        let mut open = vec![at];
        while let Some(next) = open.pop() {
            for parent in self.all.get(next).into_iter().flat_map(|it| &it.parents) {
                if self.is_forked(*parent) || !past.insert(*parent) {
                    continue;
                }
                match self.all.get(*parent).and_then(|it| it.past.get()) {
                    Some(known) => past.union(known),
                    None => open.push(*parent),
                }
            }
        }
    }

    /// Returns how many events of a control log lie in the past of a statement: the first ones, since
    /// each leads to the next.
    fn known_of(&self, at: usize, log: &LogId) -> u64 {
        let Some(places) = self.logs.get(log) else { return 0 };
        let past = self.past(at);
        places.partition_point(|place| past.contains(*place)) as u64
    }

    /// Returns what a statement gives: a role, to an account, for a term.
    pub(super) fn gives(&self, at: usize) -> Option<(AccountId, u32, Role)> {
        match self.get(at)?.control.as_ref()? {
            Control::Grant(grant) => Some((grant.account, grant.term, grant.role)),
            Control::Remove(remove) => {
                Some((remove.account, remove.term.checked_add(1)?, remove.then?))
            }
            _ => None,
        }
    }

    /// Returns by what authority a statement is made, as far as it says, and the role that carries.
    ///
    /// Whether that role was rightly given is not looked at.
    pub(super) fn authority(&self, at: usize) -> Option<(Authority, Role)> {
        let it = self.get(at)?;
        match it.control.as_ref()?.cites() {
            None => {
                let founders = &self.genesis.as_ref()?.founders;
                let mut accounts = self.accounts_of(&it.log.device);
                let founder = accounts.find(|account| founders.contains(account))?;
                (it.log.term == 0).then_some((Authority::Founder(founder), Role::Founder))
            }
            Some(cited) => {
                let by = self.find(&cited)?;
                let (account, term, role) = self.gives(by)?;
                let own = self.seats_of(&it.log).any(|seat| seat == (account, term));
                (own && role.has_authority()).then_some((Authority::By(by), role))
            }
        }
    }

    /// Whether a statement's authority comes from `from`, directly or through others.
    pub(super) fn descends(&self, at: usize, from: Authority) -> bool {
        let mut at = at;
        // Each step leads to a lower place.
        loop {
            match self.authority(at) {
                Some((authority, _)) if authority == from => return true,
                Some((Authority::By(by), _)) => at = by,
                Some((Authority::Founder(_), _)) | None => return false,
            }
        }
    }

    /// Returns how many events of a log count if a statement that ends its term does.
    ///
    /// Of the control lane never less than its author knew: nobody undoes what was built upon with
    /// its own knowledge.
    pub(super) fn cut_of(&self, ender: usize, log: &LogId) -> u64 {
        let Some(it) = self.get(ender) else { return 0 };
        let cut = match &it.control {
            Some(Control::Leave(cut)) => cut,
            Some(Control::Remove(remove)) => &remove.cut,
            _ => return u64::MAX,
        };
        let stated = cut_len(cut, log);
        if log.lane == Lane::Chat {
            return stated;
        }
        let known = self.known_of(ender, log);
        let own = if it.log == *log { it.seq.saturating_add(1) } else { 0 };
        stated.max(known).max(own)
    }

    /// Returns what could end a seat. A device that leaves ends the term of each of its accounts.
    pub(super) fn enders_of(
        &self,
        (account, term): (AccountId, u32),
    ) -> impl Iterator<Item = usize> + '_ {
        let leavings = self.devices_of(account);
        let leavings = leavings.filter_map(move |device| self.leavings.get(&(device, term)));
        self.removals.get(&(account, term)).into_iter().chain(leavings).flatten().copied()
    }

    /// Returns the removals and demotions of an account in earlier terms.
    pub(super) fn removals_before(
        &self,
        (account, term): (AccountId, u32),
    ) -> impl Iterator<Item = usize> + '_ {
        self.removals.range((account, 0)..(account, term)).flat_map(|(_, ends)| ends).copied()
    }

    /// Returns what could give an account authority in a term or a later one.
    pub(super) fn lifts_from(&self, seat: (AccountId, u32)) -> impl Iterator<Item = usize> + '_ {
        self.lifts.range(seat..=(seat.0, u32::MAX)).flat_map(|(_, lifts)| lifts.iter().copied())
    }

    /// Returns what could give a seat authority.
    pub(super) fn lifts_of(&self, seat: (AccountId, u32)) -> impl Iterator<Item = usize> + '_ {
        self.lifts.get(&seat).into_iter().flatten().copied()
    }

    /// Returns the invites with a key.
    pub(super) fn invites_of(&self, key: &InviteKey) -> impl Iterator<Item = usize> + '_ {
        self.invites.get(key).into_iter().flatten().copied()
    }

    /// Returns the admissions that name a key.
    pub(super) fn admissions_by(&self, key: &InviteKey) -> impl Iterator<Item = usize> + '_ {
        self.admissions.get(key).into_iter().flatten().copied()
    }

    /// Whether an admission or a revocation that names this key was taken in.
    pub(super) fn is_used(&self, key: &InviteKey) -> bool {
        self.admissions.contains_key(key) || self.revoked.contains(key)
    }

    /// Whether a statement is a leaving.
    pub(super) fn is_leaving(&self, at: usize) -> bool {
        matches!(self.get(at).map(|it| &it.control), Some(Some(Control::Leave(_))))
    }
}

fn cut_len(cut: &Cut, log: &LogId) -> u64 {
    cut.logs.iter().find(|end| end.log == *log).map_or(0, |end| end.len)
}

/// Whether a statement holds by itself.
fn holds(control: &Control, header: &Header) -> bool {
    match control {
        Control::Genesis(_) => introduces_itself(header, control),
        Control::Admit(admit) => admit.holds(header.room, header.device),
        Control::Fork(fork) => fork.proves(header.room).is_some(),
        _ => true,
    }
}

/// Whether the first event of a log may introduce its own device: a founder's genesis.
pub(super) fn introduces_itself(header: &Header, control: &Control) -> bool {
    let Control::Genesis(GenesisBody { genesis, cert }) = control else { return false };
    genesis.is_valid()
        && genesis.id() == header.room
        && header.seq == 0
        && header.term == 0
        && cert.claim.device == header.device
        && genesis.founders.contains(&cert.claim.account)
        && cert.verify().is_ok()
}

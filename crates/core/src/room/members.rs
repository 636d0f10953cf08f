//! Who belongs to a room, what they may do, and how it is set up: what [`super::reduce`] finds in the
//! control lane, in a form to look at.
//!
//! Invariant: the result is a function of the set of statements; every order of delivery gives the
//! same. What one more statement can only add to is added, everything else is reduced again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use super::control::{Control, Fork, HeaderBytes, Introduced, Invite, Setting};
use super::epochs::{EpochInfo, Epochs};
use super::genesis::{Genesis, History, RULES};
use super::places::Places;
use super::reduce::{Reducer, Reduction, end_of, reduce};
use super::role::Role;
use super::statements::{Statement, Statements, introduces_itself};
use crate::clock::{Hlc, Millis};
use crate::epoch::epoch_id;
use crate::event::{Event, Header};
use crate::id::{AccountId, EpochId, EventId, InviteKey, PeerId};
use crate::keys::{Bytes32, DeviceCert};
use crate::log::{Frontier, Lane, LogId};

/// One account, as the room knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberInfo {
    /// Whether the genesis names it.
    pub founder: bool,
    /// Terms of its membership, and its role in each.
    pub terms: BTreeMap<u32, Role>,
    /// Its devices and their certificates.
    pub devices: BTreeMap<PeerId, DeviceCert>,
    name: Option<Said<String>>,
    /// Terms that ended, and whether by a removal.
    ended: BTreeMap<u32, bool>,
}

impl MemberInfo {
    /// Returns the term in force, if it is a member now.
    pub fn current_term(&self) -> Option<u32> {
        let last = self.terms.last_key_value().map(|(term, _)| *term);
        last.filter(|term| !self.ended.contains_key(term))
    }

    /// Whether it is a member now: it has a term that did not end.
    pub fn is_member(&self) -> bool {
        self.current_term().is_some()
    }

    /// Returns its role, if it is a member now.
    pub fn role(&self) -> Option<Role> {
        self.terms.get(&self.current_term()?).copied()
    }

    /// Whether its last term was ended by someone else.
    pub fn was_removed(&self) -> bool {
        let last = self.terms.last_key_value().map(|(term, _)| *term);
        last.is_some_and(|term| self.ended.get(&term) == Some(&true))
    }

    /// Returns the name it gave itself.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(|said| said.what.as_str())
    }
}

/// Something said that the next one replaces.
///
/// What was said in knowledge of another replaces it, whatever the clocks say: who dates a name to
/// the far future does not pin it. Between what was said at once, time and id decide.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Said<T> {
    generation: u64,
    time: Hlc,
    event: EventId,
    what: T,
}

/// Where a log ends: how many of its events count, and the last of them where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct LogEnd {
    pub(super) len: u64,
    pub(super) last: Option<EventId>,
}

/// An invitation that was made in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteInfo {
    /// The event.
    pub event: EventId,
    /// Its text.
    pub invite: Invite,
    /// Who invites.
    pub inviter: AccountId,
    /// The accounts that were admitted by it.
    pub admitted: BTreeSet<AccountId>,
    /// Whether it was neither revoked nor ended with its inviter's removal.
    pub open: bool,
}

impl InviteInfo {
    /// Whether it is past its time.
    pub fn is_expired(&self, now: Millis) -> bool {
        now >= self.invite.expires_ms
    }

    /// Whether one more account would be too many.
    pub fn is_used_up(&self) -> bool {
        self.invite.uses.is_some_and(|uses| self.admitted.len() >= uses as usize)
    }
}

/// How a room is set up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    name: Option<Said<String>>,
    topic: Option<Said<String>>,
    picture: Option<Said<Option<Bytes32>>>,
    who_invites: Option<Said<Role>>,
    who_pins: Option<Said<Role>>,
    history: Option<Said<History>>,
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
    fn who_posted(&self, time: Hlc) -> Option<Role> {
        let mut before = self.who_posts.range(..=(time, EventId([0xff; 32])));
        before.next_back().map(|(_, role)| *role)
    }

    fn take(&mut self, it: &Statement, setting: &Setting) {
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

/// What a control event changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    /// Accounts whose role is another now, and what it was.
    pub(super) accounts: Vec<(AccountId, Option<Role>)>,
    /// Whether anything about earlier events may have changed.
    pub(super) all: bool,
    /// Whether earlier events now set the room up in another way.
    pub(super) settings: bool,
}

/// The events that mint an epoch, and for whom.
#[derive(Debug, Clone, Default)]
struct Minted {
    by: Vec<(usize, OnceLock<Arc<MinterView>>)>,
}

/// What the room was to who minted an epoch.
#[derive(Debug, Clone, Default)]
struct MinterView {
    past: Places,
    members: BTreeSet<AccountId>,
    enders: BTreeSet<usize>,
}

/// The members, invites, epochs and settings of a room.
#[derive(Debug, Clone, Default)]
pub struct Members {
    all: Statements,
    reduction: Reduction,
    accounts: BTreeMap<AccountId, MemberInfo>,
    invites: BTreeMap<InviteKey, InviteInfo>,
    settings: Settings,
    rules: u32,
    epochs: Epochs,
    minted: BTreeMap<EpochId, Minted>,
    /// How many of the statements are reduced.
    settled: usize,
    /// The [`Statements::turns`] at which minters' views were found.
    viewed: u64,
}

impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.accounts == other.accounts
            && self.invites == other.invites
            && self.settings == other.settings
            && self.rules == other.rules
            && self.epochs == other.epochs
            && self.all.forks().eq(other.all.forks())
            && self.in_force() == other.in_force()
    }
}

impl Eq for Members {}

impl Members {
    /// Returns by their ids the ends, the givers and the statements that take effect: with what was
    /// stated all that decides what is said later.
    fn in_force(&self) -> [BTreeSet<EventId>; 3] {
        let ids = |places: &BTreeSet<usize>| {
            places.iter().filter_map(|at| Some(self.all.get(*at)?.id)).collect()
        };
        let Reduction { enders, givers, counts, .. } = &self.reduction;
        [ids(enders), ids(givers), ids(counts)]
    }

    /// Returns the genesis, once a founder's first event is here.
    pub fn genesis(&self) -> Option<&Genesis> {
        self.all.genesis()
    }

    /// Returns how the room is set up.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the room's name.
    pub fn room_name(&self) -> Option<&str> {
        self.settings.name()
    }

    /// Returns the rules that the room follows now.
    pub fn rules(&self) -> u32 {
        self.rules
    }

    /// Whether this version knows the rules of the room. Where it does not, it keeps, serves and
    /// shows, and states nothing.
    pub fn knows_rules(&self) -> bool {
        self.rules <= RULES
    }

    /// Returns what newcomers may read.
    pub fn history(&self) -> History {
        let first = self.genesis().map_or(History::FromStart, |genesis| genesis.policies.history);
        self.settings.history.as_ref().map_or(first, |said| said.what)
    }

    /// Returns every account that is or was a member, in order.
    pub fn accounts(&self) -> impl Iterator<Item = (&AccountId, &MemberInfo)> {
        self.accounts.iter()
    }

    /// Returns the accounts that are members now.
    pub fn current(&self) -> impl Iterator<Item = (&AccountId, &MemberInfo)> {
        self.accounts.iter().filter(|(_, info)| info.is_member())
    }

    /// Returns one account.
    pub fn account(&self, account: &AccountId) -> Option<&MemberInfo> {
        self.accounts.get(account)
    }

    /// Returns the role of an account that is a member now.
    pub fn role(&self, account: &AccountId) -> Option<Role> {
        self.accounts.get(account)?.role()
    }

    /// Returns the account of a device: the lowest of those that certify it.
    pub fn account_of(&self, device: &PeerId) -> Option<AccountId> {
        self.all.accounts_of(device).next()
    }

    /// Whether the device belongs to a member now, and signed no two events at one position.
    pub fn is_member_device(&self, device: &PeerId) -> bool {
        !self.is_frozen(device)
            && self
                .account_of(device)
                .and_then(|account| self.accounts.get(&account))
                .is_some_and(MemberInfo::is_member)
    }

    /// Whether a device is proved to have signed two events at one position.
    pub fn is_frozen(&self, device: &PeerId) -> bool {
        self.all.is_frozen(device)
    }

    /// Returns the devices of the members now.
    pub fn member_devices(&self) -> impl Iterator<Item = PeerId> + '_ {
        let devices = self.current().flat_map(|(_, info)| info.devices.keys().copied());
        devices.filter(|device| !self.is_frozen(device))
    }

    /// Returns the invites that were ever in force.
    pub fn invites(&self) -> impl Iterator<Item = (&InviteKey, &InviteInfo)> {
        self.invites.iter()
    }

    /// Returns an invite.
    pub fn invite(&self, key: &InviteKey) -> Option<&InviteInfo> {
        self.invites.get(key)
    }

    /// Returns the epochs.
    pub fn epochs(&self) -> impl Iterator<Item = (&EpochId, &EpochInfo)> {
        self.epochs.iter()
    }

    /// Returns the epochs that follow one.
    pub(super) fn epochs_after(&self, epoch: &EpochId) -> impl Iterator<Item = EpochId> + '_ {
        self.epochs.children(epoch)
    }

    /// Whether messages may be sealed in an epoch: nobody could have its secret who is out now, and no
    /// device that is frozen. Where newcomers may not read what was before them, its minters knew all
    /// who are here now, too.
    pub fn permits(&self, epoch: &EpochId) -> bool {
        let Some(minted) = self.minted.get(epoch) else { return false };
        let mut views = self.views(minted).peekable();
        views.peek().is_some()
            && views.all(|view| self.is_safe(&view) && self.knows_frozen(&view))
            && (self.history() == History::FromStart
                || self.current().all(|(account, _)| self.is_meant_for(epoch, account)))
    }

    /// Whether all who could have what was meant for those whom a minter knew are here: whoever it
    /// counted, and whoever was ever stated to belong here without its knowledge.
    fn is_safe(&self, view: &MinterView) -> bool {
        let here =
            |account: &AccountId| self.accounts.get(account).is_some_and(MemberInfo::is_member);
        let mut stated = self.all.stated_by().filter(|(account, _)| !here(account));
        view.members.iter().all(here)
            && stated.all(|(_, by)| by.iter().all(|at| self.is_harmless(*at, view)))
    }

    /// Whether a minter knew of each device of a member that is frozen now.
    fn knows_frozen(&self, view: &MinterView) -> bool {
        self.all.forks().all(|(log, _)| {
            let mut accounts = self.all.accounts_of(&log.device);
            self.all.proofs_of(log).any(|at| view.past.contains(at))
                || !accounts.any(|account| self.role(&account).is_some())
        })
    }

    /// Whether nobody who had an epoch gave it away because of a statement: its minter knew that as
    /// well, or knew that its author had nothing to say any more, which still is so.
    fn is_harmless(&self, at: usize, view: &MinterView) -> bool {
        view.past.contains(at)
            || self.all.get(at).is_some_and(|it| {
                let in_force =
                    |end: &usize| view.enders.contains(end) && self.reduction.enders.contains(end);
                let ends = |seat| self.all.enders_of(seat).filter(in_force).collect();
                it.seq >= end_of(&self.all, &it.log, ends)
            })
    }

    /// Whether an epoch was minted for this account, among others.
    pub fn is_meant_for(&self, epoch: &EpochId, account: &AccountId) -> bool {
        let mut views = self.minted.get(epoch).into_iter().flat_map(|minted| self.views(minted));
        views.any(|view| view.members.contains(account))
    }

    /// Whether a member may have an epoch's secret.
    pub fn may_read(&self, epoch: &EpochId, account: &AccountId) -> bool {
        self.accounts.get(account).is_some_and(MemberInfo::is_member)
            && (self.history() == History::FromStart || self.is_meant_for(epoch, account))
    }

    /// What those knew who minted an epoch and might.
    fn views<'a>(&'a self, minted: &'a Minted) -> impl Iterator<Item = Arc<MinterView>> + 'a {
        let by = minted.by.iter().filter(|(at, _)| self.reduction.counts.contains(at));
        by.map(|(at, view)| view.get_or_init(|| Arc::new(self.view(*at))).clone())
    }

    /// What the room was to the author of a statement. It stays the same whatever else is stated, but
    /// for [`Statements::turns`].
    fn view(&self, at: usize) -> MinterView {
        let mut past = Places::clone(&self.all.past(at));
        past.insert(at);
        let then = reduce(&self.all, Some(&past));
        let last: BTreeMap<AccountId, u32> = then.seats.keys().copied().collect();
        let is_over = |seat| self.all.enders_of(seat).any(|end| then.enders.contains(&end));
        let members = last.into_iter().filter(|seat| !is_over(*seat));
        let members = members.map(|(account, _)| account).collect();
        MinterView { past, members, enders: then.enders }
    }

    /// Whether an event of this log may stand in the room at all: someone stated that its device
    /// belongs to a member of that term. Once true, it stays true.
    pub fn may_write(&self, log: &LogId) -> bool {
        match log.lane {
            Lane::Control => self.all.may_write(log),
            Lane::Chat => self.reduction.end_of(&self.all, log) > 0,
        }
    }

    /// Returns the events that ended the last term of an account, if it is no member.
    pub fn ended_by(&self, account: &AccountId) -> Vec<EventId> {
        let info = self.accounts.get(account).filter(|info| !info.is_member());
        let last = info.and_then(|info| info.ended.last_key_value());
        last.map(|(term, _)| self.ends_of(account, *term)).unwrap_or_default()
    }

    /// Returns the events that end a term of an account: those in force.
    pub fn ends_of(&self, account: &AccountId, term: u32) -> Vec<EventId> {
        let ends = self.reduction.ends_of(&self.all, (*account, term)).into_iter();
        ends.filter_map(|end| Some(self.all.get(end)?.id)).collect()
    }

    /// Returns what of the control lane shows to someone who was removed that it was, and by whom: the
    /// removals and all that they build upon. None where the account is a member, or was not removed.
    pub fn farewell(&self, account: &AccountId) -> Option<Frontier> {
        let info = self.accounts.get(account)?;
        if info.is_member() || !info.was_removed() {
            return None;
        }
        let (term, _) = info.ended.last_key_value()?;
        let mut shown = Frontier::default();
        for end in self.reduction.ends_of(&self.all, (*account, *term)) {
            let Some(it) = self.all.get(end) else { continue };
            if matches!(it.control, Some(Control::Remove(_))) {
                let past = self.all.past(end);
                let known = self.all.iter().filter(|(at, _)| *at == end || past.contains(*at));
                for (_, it) in known {
                    shown.insert(it.log, 0..it.seq.saturating_add(1));
                }
            }
        }
        Some(shown)
    }

    /// Whether a message is not to be shown: when it was written, by its own time, the room let only
    /// roles post above the one that its author has in that term. It is kept and served all the same.
    ///
    /// What this says of a message changes with the settings and roles that are heard of later. Without
    /// such a setting it costs nothing.
    pub fn hides(&self, log: &LogId, time: Hlc) -> bool {
        if log.lane != Lane::Chat {
            return false;
        }
        let Some(least) = self.settings.who_posted(time) else { return false };
        self.reduction.role_of(&self.all, log).is_none_or(|role| role < least)
    }

    /// Returns where a log ends, if anything ends it.
    pub fn end_of(&self, log: &LogId) -> Option<u64> {
        Some(self.reduction.end_of(&self.all, log)).filter(|end| *end < u64::MAX)
    }

    /// Returns where a log forks, with the last event before that.
    pub(super) fn fork_end(&self, log: &LogId) -> Option<LogEnd> {
        let len = self.all.fork_of(log)?;
        Some(LogEnd { len, last: self.all.before_fork(log) })
    }

    /// Like [`Self::end_of`], for a chat log, with the last event that counts.
    pub(super) fn chat_end(&self, log: &LogId) -> Option<LogEnd> {
        let len = self.end_of(log)?;
        let ends = self.all.seats_of(log).flat_map(|seat| self.reduction.ends_of(&self.all, seat));
        let cuts = ends.filter_map(|end| match &self.all.get(end)?.control {
            Some(Control::Leave(cut)) => Some(cut),
            Some(Control::Remove(remove)) => Some(&remove.cut),
            _ => None,
        });
        let last = cuts
            .flat_map(|cut| cut.logs.iter().filter(|end| end.log == *log && end.len == len))
            .map(|end| end.last)
            .chain(self.fork_end(log).filter(|end| end.len == len).and_then(|end| end.last))
            .max();
        Some(LogEnd { len, last })
    }

    /// Returns the term that an admission of `account` now should give it.
    pub fn next_term(&self, account: &AccountId) -> u32 {
        let info = self.accounts.get(account);
        let last = info.and_then(|info| info.terms.last_key_value().map(|(term, _)| *term));
        let mut next = last.map_or(0, |term| term.saturating_add(1));
        // Someone may have ended terms that nobody was ever in.
        while next < u32::MAX && !self.reduction.ends_of(&self.all, (*account, next)).is_empty() {
            next = next.saturating_add(1);
        }
        next
    }

    /// Returns by what a member with authority may act: the event that gave it its role; none within
    /// for a founder whom the genesis names.
    pub(super) fn authority(&self, account: &AccountId) -> Option<Vec<super::control::Cites>> {
        let info = self.accounts.get(account)?;
        let term = info.current_term()?;
        if info.founder && term == 0 {
            return Some(vec![None]);
        }
        let lifts = self.all.lifts_of((*account, term));
        let lifts = lifts.filter(|at| self.reduction.givers.contains(at));
        let cites: Vec<_> = lifts.filter_map(|at| Some(Some(self.all.get(at)?.id))).collect();
        (!cites.is_empty()).then_some(cites)
    }

    /// Whether an event counts as known when another one depends on it.
    pub(super) fn knows(&self, id: &EventId) -> bool {
        self.all.knows(id)
    }

    /// Whether an event takes effect.
    pub fn counts(&self, id: &EventId) -> bool {
        self.all.find(id).is_some_and(|at| self.reduction.counts.contains(&at))
    }

    /// Whether what a control event cites is here.
    pub(super) fn has_cited(&self, control: &Control) -> bool {
        match control {
            Control::Admit(admit) => self.all.has_invite(&admit.claim.invite),
            _ => control.cites().is_none_or(|cited| self.all.knows(&cited)),
        }
    }

    /// Hears of a proof of a fork before the event that states it can be taken in.
    pub(super) fn hear(&mut self, event: &Event, fork: Fork) {
        self.all.hear(event, fork);
    }

    /// Notes that an event is taken in: [`Statements::lean`].
    pub(super) fn lean(&mut self, event: &Event, control: Option<&Control>) -> Vec<LogId> {
        self.all.lean(event, control)
    }

    /// Returns what those of the void events that a proof names introduced that are here.
    pub(super) fn introduced_by(&self, fork: &Fork) -> Introduced {
        self.all.introduced_by(&fork.void_ids())
    }

    /// Returns where a log forks.
    pub fn fork_of(&self, log: &LogId) -> Option<u64> {
        self.all.fork_of(log)
    }

    /// Returns a proof that a log forks.
    pub fn fork_proof(&self, log: &LogId) -> Option<&Fork> {
        let stated = self.all.iter().find_map(|(_, it)| match &it.control {
            Some(Control::Fork(fork)) if fork.is_about(log) => Some(&**fork),
            _ => None,
        });
        stated.or_else(|| self.all.heard_proof(log))
    }

    /// Returns the control events of a forked log from its fork on that are here and that nobody
    /// declared yet: others need to be told that they are nothing to wait for. Before them those that a
    /// proof declared which is not taken in, if something was taken in by it.
    pub fn undeclared(&self, log: &LogId) -> Vec<HeaderBytes> {
        let owed = self.all.owed(log);
        if !owed.is_empty() {
            return owed;
        }
        let Some(from) = self.all.fork_of(log) else { return vec![] };
        let beyond = self.all.iter().filter(|(_, it)| it.log == *log && it.seq >= from);
        let open = beyond.filter(|(at, _)| self.all.is_undeclared(*at));
        open.map(|(_, it)| HeaderBytes(it.header.clone())).collect()
    }

    /// Returns when an epoch was minted, as its minter says. Whoever states it again, which anyone can
    /// do who knows the commitment, can make it older and not younger.
    pub fn minted_at(&self, epoch: &EpochId) -> Option<Hlc> {
        let by = self.minted.get(epoch)?.by.iter().map(|(at, _)| at);
        let counted = by.filter(|at| self.reduction.counts.contains(at));
        counted.filter_map(|at| self.all.get(*at)).map(|it| it.time).min()
    }

    /// Returns the sealed secrets of an epoch's parents.
    pub(super) fn wraps(&self, epoch: &EpochId) -> Vec<(EpochId, &[u8])> {
        let by = self.minted.get(epoch).into_iter().flat_map(|minted| &minted.by);
        let bodies = by.filter_map(|(at, _)| match &self.all.get(*at)?.control {
            Some(Control::Epoch(body)) => Some(body),
            _ => None,
        });
        let wraps = bodies.flat_map(|body| body.parents.iter().zip(&body.wraps));
        wraps.map(|(parent, wrap)| (*parent, wrap.0.as_slice())).collect()
    }

    /// Whether the first event of a log may introduce its own device: a founder's genesis.
    pub(super) fn introduces_itself(header: &Header, control: &Control) -> bool {
        introduces_itself(header, control)
    }

    /// Notes one control event, whose dependencies are here. What follows from it is found by
    /// [`Self::settle`], for many at once: nothing that is asked in between depends on it.
    pub(super) fn note(&mut self, header: &Header, id: EventId, control: Option<Control>) {
        let at = self.all.push(header, id, control);
        let Some(Statement { control, .. }) = self.all.get(at) else { return };
        if let Some(Control::Epoch(epoch)) = control {
            let epoch_id = epoch_id(header.room, &epoch.commitment);
            self.minted.entry(epoch_id).or_default().by.push((at, OnceLock::new()));
            self.note_epoch(epoch_id, at);
        }
    }

    /// Adds what one statement says about an epoch: it follows those that its minter knew of. What a
    /// fork makes void mints nothing and is followed by nothing, for others may not have it at all.
    fn note_epoch(&mut self, id: EpochId, at: usize) {
        let Some(it) = self.all.get(at).filter(|_| !self.all.is_forked(at)) else { return };
        let Some(Control::Epoch(epoch)) = &it.control else { return };
        let past = self.all.past_once(at);
        let known = |parent: &EpochId| {
            let minted = self.minted.get(parent);
            minted.is_some_and(|minted| minted.by.iter().any(|(by, _)| past.contains(*by)))
        };
        let parents: Vec<EpochId> = epoch.parents.iter().copied().filter(known).collect();
        let device = it.log.device;
        self.epochs.add(id, &parents, device);
    }

    /// Finds all epochs again: after a fork is proved others count than before.
    fn refresh_epochs(&mut self) {
        let all = self.minted.iter();
        let all = all.flat_map(|(id, minted)| minted.by.iter().map(|(at, _)| (*at, *id)));
        let mut all: Vec<(usize, EpochId)> = all.collect();
        all.sort_unstable();
        self.epochs = Epochs::default();
        for (at, id) in all {
            self.note_epoch(id, at);
        }
    }

    /// Finds what follows from the statements noted since the last time.
    pub(super) fn settle(&mut self) -> Change {
        let mut before = BTreeMap::new();
        while self.settled < self.all.len() {
            let at = self.settled;
            self.settled = at.saturating_add(1);
            let Some(counted) = Reducer::new(&self.all, None).add(at, &mut self.reduction) else {
                return self.settle_all(before);
            };
            for at in counted {
                if let Some(Control::Admit(admit)) =
                    self.all.get(at).and_then(|it| it.control.as_ref())
                {
                    let account = admit.claim.cert.claim.account;
                    before.entry(account).or_insert_with(|| self.role(&account));
                }
                self.take(at, false);
            }
        }
        Change { accounts: self.changed(before), all: false, settings: false }
    }

    /// Reduces everything again; `before` has the roles of those whom this replica has changed so far.
    fn settle_all(&mut self, mut before: BTreeMap<AccountId, Option<Role>>) -> Change {
        for (account, info) in &self.accounts {
            before.entry(*account).or_insert_with(|| info.role());
        }
        let settings = std::mem::take(&mut self.settings);
        self.refresh();
        for account in self.accounts.keys() {
            before.entry(*account).or_insert(None);
        }
        let settings = settings != self.settings;
        Change { accounts: self.changed(before), all: true, settings }
    }

    /// Returns those whose role is another now.
    fn changed(&self, before: BTreeMap<AccountId, Option<Role>>) -> Vec<(AccountId, Option<Role>)> {
        before.into_iter().filter(|(account, before)| *before != self.role(account)).collect()
    }

    /// Reduces everything again.
    fn refresh(&mut self) {
        self.settled = self.all.len();
        self.reduction = reduce(&self.all, None);
        if self.viewed != self.all.turns() {
            self.viewed = self.all.turns();
            let views = self.minted.values_mut().flat_map(|minted| &mut minted.by);
            views.for_each(|(_, view)| *view = OnceLock::new());
            self.refresh_epochs();
        }
        self.accounts = accounts(&self.all, &self.reduction);
        (self.invites, self.settings) = (BTreeMap::new(), Settings::default());
        self.rules = self.genesis().map_or(RULES, |genesis| genesis.rules);
        for at in 0..self.all.len() {
            self.take(at, true);
        }
        let keys: BTreeSet<InviteKey> =
            self.reduction.invites.keys().filter_map(|at| self.invite_key(*at)).collect();
        for key in keys {
            self.show_invite(key);
        }
    }

    fn invite_key(&self, at: usize) -> Option<InviteKey> {
        match &self.all.get(at)?.control {
            Some(Control::Invite(invite)) => Some(invite.key),
            _ => None,
        }
    }

    /// Takes one statement that counts into what is shown; whom it lets in only if not `all` are taken,
    /// who are found at once.
    fn take(&mut self, at: usize, all: bool) {
        let Some(it) = self.all.get(at) else { return };
        if !self.reduction.counts.contains(&at) {
            return;
        }
        match &it.control {
            Some(Control::Profile(name)) => {
                for account in self.all.accounts_of(&it.log.device) {
                    if let Some(info) = self.accounts.get_mut(&account) {
                        said_last(&mut info.name, it, name);
                    }
                }
            }
            Some(Control::Set(set)) if self.reduction.is_authorized(&self.all, at) => {
                self.settings.take(it, &set.setting);
            }
            Some(Control::Upgrade(upgrade)) if self.reduction.is_authorized(&self.all, at) => {
                let founds = self.all.authority(at).is_some_and(|(_, role)| role == Role::Founder);
                if founds {
                    self.rules = self.rules.max(upgrade.rules);
                }
            }
            Some(Control::Invite(invite)) if !all => self.show_invite(invite.key),
            Some(Control::Admit(admit)) if !all => {
                let (key, account) = (admit.claim.invite, admit.claim.cert.claim.account);
                self.show_admitted(key, account);
                if let Some(info) = account_info(&self.all, &self.reduction, account) {
                    let name = self.accounts.get_mut(&account).and_then(|info| info.name.take());
                    self.accounts.insert(account, MemberInfo { name, ..info });
                }
            }
            _ => {}
        }
    }

    /// Shows that an admission by an invite was added.
    fn show_admitted(&mut self, key: InviteKey, account: AccountId) {
        let [at] = self.all.invites_of(&key).collect::<Vec<_>>()[..] else {
            return self.show_invite(key);
        };
        let is_in = |admitted: &BTreeSet<AccountId>| admitted.contains(&account);
        if self.reduction.invites.get(&at).is_some_and(is_in)
            && let Some(info) = self.invites.get_mut(&key)
        {
            info.admitted.insert(account);
        }
    }

    /// Of several invites with one key an open one is shown, and of these the one with the lowest id.
    fn show_invite(&mut self, key: InviteKey) {
        let infos = self.all.invites_of(&key).filter_map(|at| {
            let admitted = self.reduction.invites.get(&at)?.clone();
            let it = self.all.get(at)?;
            let Some(Control::Invite(invite)) = &it.control else { return None };
            let inviter = self.account_of(&it.log.device)?;
            let ends = self.all.seats_of(&it.log);
            let mut ends = ends.flat_map(|seat| self.reduction.ends_of(&self.all, seat));
            let removed = ends.any(|end| !self.all.is_leaving(end));
            let open = !removed && !self.reduction.revoked.contains_key(&at);
            Some(InviteInfo { event: it.id, invite: invite.clone(), inviter, admitted, open })
        });
        if let Some(info) = infos.min_by_key(|info| (!info.open, info.event)) {
            self.invites.insert(key, info);
        }
    }
}

/// Returns the accounts as they stand after a reduction, without their names.
fn accounts(all: &Statements, reduction: &Reduction) -> BTreeMap<AccountId, MemberInfo> {
    let seated: BTreeSet<AccountId> = reduction.seats.keys().map(|(account, _)| *account).collect();
    let infos = seated.into_iter().map(|it| Some((it, account_info(all, reduction, it)?)));
    infos.flatten().collect()
}

/// Returns one account as it stands after a reduction, without its name.
fn account_info(all: &Statements, reduction: &Reduction, account: AccountId) -> Option<MemberInfo> {
    let mut info = MemberInfo::default();
    for ((_, term), role) in reduction.seats.range((account, 0)..=(account, u32::MAX)) {
        info.terms.insert(*term, *role);
        let ends = reduction.ends_of(all, (account, *term));
        if !ends.is_empty() {
            info.ended.insert(*term, ends.iter().any(|end| !all.is_leaving(*end)));
        }
    }
    info.devices = all.certs_of(account);
    info.founder = all.genesis().is_some_and(|genesis| genesis.founders.contains(&account));
    (!info.terms.is_empty()).then_some(info)
}

fn said_last<T: Clone + Ord>(slot: &mut Option<Said<T>>, it: &Statement, what: &T) {
    let said = Said { generation: it.generation, time: it.time, event: it.id, what: what.clone() };
    *slot = slot.take().max(Some(said));
}

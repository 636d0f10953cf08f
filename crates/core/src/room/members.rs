//! Who belongs to a room, what they may do, and how it is set up: what [`super::reduce`] finds in the
//! control lane, in a form to look at.
//!
//! Invariant: the result is a function of the set of statements; every order of delivery gives the
//! same. What one more statement can only add to is added, everything else is reduced again.

mod account;
mod invites;
mod minting;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

pub use self::account::MemberInfo;
use self::account::{account_info, accounts};
pub use self::invites::InviteInfo;
use self::minting::Minted;
pub use self::settings::Settings;
use self::settings::said_last;
use super::control::{Control, Fork, HeaderBytes, Introduced};
use super::epochs::Epochs;
use super::genesis::{Genesis, History, RULES};
use super::reduce::{Reducer, Reduction, reduce};
use super::role::Role;
use super::statements::{Statement, Statements, introduces_itself};
use crate::clock::Hlc;
use crate::epoch::epoch_id;
use crate::event::{Event, Header};
use crate::id::{AccountId, EpochId, EventId, InviteKey, PeerId};
use crate::log::{Frontier, Lane, LogId};

/// Where a log ends: how many of its events count, and the last of them where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct LogEnd {
    pub(super) len: u64,
    pub(super) last: Option<EventId>,
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
}

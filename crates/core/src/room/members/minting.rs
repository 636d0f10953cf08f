//! Which epochs there are, who minted them in what knowledge, and so for whom each is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use super::{MemberInfo, Members};
use crate::clock::Hlc;
use crate::id::{AccountId, EpochId};
use crate::room::control::Control;
use crate::room::epochs::{EpochInfo, Epochs};
use crate::room::genesis::History;
use crate::room::places::Places;
use crate::room::reduce::{end_of, reduce};

/// The events that mint an epoch, and for whom.
#[derive(Debug, Clone, Default)]
pub(super) struct Minted {
    pub(super) by: Vec<(usize, OnceLock<Arc<MinterView>>)>,
}

/// What the room was to who minted an epoch.
#[derive(Debug, Clone, Default)]
pub(super) struct MinterView {
    past: Places,
    members: BTreeSet<AccountId>,
    enders: BTreeSet<usize>,
}

impl Members {
    /// Returns the epochs.
    pub fn epochs(&self) -> impl Iterator<Item = (&EpochId, &EpochInfo)> {
        self.epochs.iter()
    }

    /// Returns the epochs that follow one.
    pub(in crate::room) fn epochs_after(
        &self,
        epoch: &EpochId,
    ) -> impl Iterator<Item = EpochId> + '_ {
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

    /// Returns when an epoch was minted, as its minter says. Whoever states it again, which anyone can
    /// do who knows the commitment, can make it older and not younger.
    pub fn minted_at(&self, epoch: &EpochId) -> Option<Hlc> {
        let by = self.minted.get(epoch)?.by.iter().map(|(at, _)| at);
        let counted = by.filter(|at| self.reduction.counts.contains(at));
        counted.filter_map(|at| self.all.get(*at)).map(|it| it.time).min()
    }

    /// Returns the sealed secrets of an epoch's parents.
    pub(in crate::room) fn wraps(&self, epoch: &EpochId) -> Vec<(EpochId, &[u8])> {
        let by = self.minted.get(epoch).into_iter().flat_map(|minted| &minted.by);
        let bodies = by.filter_map(|(at, _)| match &self.all.get(*at)?.control {
            Some(Control::Epoch(body)) => Some(body),
            _ => None,
        });
        let wraps = bodies.flat_map(|body| body.parents.iter().zip(&body.wraps));
        wraps.map(|(parent, wrap)| (*parent, wrap.0.as_slice())).collect()
    }

    /// Adds what one statement says about an epoch: it follows those that its minter knew of. What a
    /// fork makes void mints nothing and is followed by nothing, for others may not have it at all.
    pub(super) fn note_epoch(&mut self, id: EpochId, at: usize) {
        let Some(it) = self.all.get(at).filter(|_| !self.all.is_forked(at)) else { return };
        let Some(Control::Epoch(epoch)) = &it.control else { return };
        let (mut parents, device) = (epoch.parents.clone(), it.log.device);
        let minted = &self.minted;
        self.all.past_along(at, |past| {
            parents.retain(|parent| {
                let minted = minted.get(parent);
                minted.is_some_and(|minted| minted.by.iter().any(|(by, _)| past.contains(*by)))
            });
        });
        self.epochs.add(id, &parents, device);
    }

    /// Finds all epochs again: after a fork is proved others count than before.
    pub(super) fn refresh_epochs(&mut self) {
        let all = self.minted.iter();
        let all = all.flat_map(|(id, minted)| minted.by.iter().map(|(at, _)| (*at, *id)));
        let mut all: Vec<(usize, EpochId)> = all.collect();
        all.sort_unstable();
        self.epochs = Epochs::default();
        self.all.begin_along();
        for (at, id) in all {
            self.note_epoch(id, at);
        }
    }
}

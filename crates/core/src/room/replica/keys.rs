//! The room's keys: which secrets are here, with which one seals, when another is needed.

use std::collections::BTreeSet;

use super::Room;
use crate::clock::{Hlc, Millis};
use crate::epoch::EpochSecret;
use crate::id::{EpochId, TopicId};
use crate::limits::MAX_EPOCH_PARENTS;
use crate::room::History;

/// How long an epoch is sealed with, before the next sender mints another: seven days.
const EPOCH_MS: Millis = 7 * 24 * 60 * 60 * 1000;
/// How long the secret of a permitted epoch is waited for.
const KEY_WAIT_MS: Millis = 60 * 1000;
/// Most epochs at once that are heads of what is here: as many may have been minted in as many parts
/// of a divided room (DESIGN.md 4). Each is a gossip overlay of its own to take part in.
const MAX_HEADS: usize = 4;
/// How long an epoch is listened on after another followed it: some have not heard of that.
const FOLLOWED_MS: Millis = 60 * 60 * 1000;
/// Most of those at a time, the last followed first.
const MAX_FOLLOWED: usize = 4;
/// Most epochs that are looked at before it is said that none is permitted, the deepest first: each costs
/// a reduction of what its minter knew. Whoever mints thousands and is removed has nobody look at all of
/// them; an epoch more costs less, and comes before them. Rooms divided in as many parts have not been met.
const MAX_EXAMINED: usize = 64;

impl Room {
    /// Takes an epoch's secret, from storage or from a member. Returns whether it was new.
    pub fn learn_secret(&mut self, secret: EpochSecret) -> bool {
        let mut learnt = vec![secret];
        let mut news = false;
        while let Some(secret) = learnt.pop() {
            let epoch = secret.id(self.id);
            let parents = self.members.wraps(&epoch).into_iter();
            let parents = parents.filter(|(parent, _)| !self.secrets.contains_key(parent));
            learnt.extend(
                parents.filter_map(|(parent, wrap)| secret.unwrap(self.id, parent, wrap).ok()),
            );
            news |= self.secrets.insert(epoch, secret).is_none();
        }
        news
    }

    /// Returns the secrets that are here.
    pub fn secrets(&self) -> impl Iterator<Item = (&EpochId, &EpochSecret)> {
        self.secrets.iter()
    }

    /// Returns the secret of one epoch.
    pub fn secret(&self, epoch: &EpochId) -> Option<&EpochSecret> {
        self.secrets.get(epoch)
    }

    /// Returns the epochs that this device may read and whose secrets are not here, deepest first:
    /// they may unwrap the others.
    pub fn missing_secrets(&self) -> Vec<EpochId> {
        let Some(account) = self.members.account_of(&self.me) else { return vec![] };
        let named = self.deepest_first().into_iter();
        let missing = named.filter(|id| !self.secrets.contains_key(id));
        missing.filter(|id| self.members.may_read(id, &account)).collect()
    }

    /// Returns the epochs, deepest first, of several the one with the highest id.
    pub(in crate::room) fn deepest_first(&self) -> Vec<EpochId> {
        let epochs = self.members.epochs().map(|(id, info)| (info.depth, *id));
        let mut epochs: Vec<_> = epochs.collect();
        epochs.sort_unstable_by(|one, other| other.cmp(one));
        epochs.into_iter().map(|(_, id)| id).collect()
    }

    /// Returns the epoch to seal with: of those permitted whose secret is here the deepest, ties by
    /// id.
    pub fn sealing_epoch(&self) -> Option<(EpochId, &EpochSecret)> {
        let epochs = self.deepest_first().into_iter();
        let mut here = epochs.filter(|id| self.secrets.contains_key(id)).take(MAX_EXAMINED);
        let best = here.find(|id| self.members.permits(id))?;
        Some((best, self.secrets.get(&best)?))
    }

    /// Whether to mint an epoch before anything is sealed: none is permitted, or the one in use is old.
    ///
    /// While the secret of a permitted one may still arrive, none is minted, and what is old is used on;
    /// but not for long, and not at all where a secret stayed away before: who has it may be gone, or
    /// never have meant to give it.
    pub fn needs_epoch(&self, now: Millis) -> bool {
        let in_use = self.sealing_epoch().map(|(epoch, _)| epoch);
        if in_use.is_some_and(|epoch| self.age(&epoch, now) <= EPOCH_MS) {
            return false;
        }
        let missing = self.missing_secrets();
        let late = missing.iter().any(|epoch| self.waited(epoch, now) > KEY_WAIT_MS);
        late || !missing.iter().take(MAX_EXAMINED).any(|epoch| self.members.permits(epoch))
    }

    /// How old an epoch is: by what its minter says, unless that lies ahead; then since it is known
    /// here, so that nobody keeps it young by dating it.
    fn age(&self, epoch: &EpochId, now: Millis) -> Millis {
        let minted = self.members.minted_at(epoch).map_or(0, Hlc::millis);
        let heard = self.heard.get(epoch).copied().unwrap_or(0);
        now.saturating_sub(if minted <= now { minted } else { heard })
    }

    /// How long an epoch's secret could have arrived; after a restart, since it was minted.
    fn waited(&self, epoch: &EpochId, now: Millis) -> Millis {
        let heard = self.heard.get(epoch).map(|heard| now.saturating_sub(*heard));
        heard.unwrap_or_else(|| self.age(epoch, now))
    }

    /// Returns what an epoch minted now follows, deepest first: the deepest one, so that it is chosen
    /// before it; all that none follows yet; and where it unwraps what was before, all that are here
    /// and that none unwraps yet. So whatever was minted at once comes together again.
    pub(super) fn parents_for_minting(&self) -> Vec<EpochId> {
        let wraps = self.members.history() == History::FromStart;
        let here = self.secrets.keys().flat_map(|epoch| self.members.wraps(epoch));
        let wrapped: BTreeSet<EpochId> =
            here.filter(|(_, wrap)| !wrap.is_empty()).map(|(parent, _)| parent).collect();
        let epochs = self.deepest_first();
        let deepest = epochs.first().copied();
        let follows = |epoch: &EpochId| {
            Some(*epoch) == deepest
                || self.members.epochs_after(epoch).next().is_none()
                || (wraps && self.secrets.contains_key(epoch) && !wrapped.contains(epoch))
        };
        epochs.into_iter().filter(follows).take(MAX_EPOCH_PARENTS).collect()
    }

    /// Returns the gossip topic to publish on.
    pub fn topic(&self) -> Option<TopicId> {
        self.sealing_epoch().map(|(_, secret)| secret.topic(self.id))
    }

    /// Returns the gossip topics to listen on, the one to publish on first: those of the epochs that
    /// are here and that none here follows ([`MAX_HEADS`]), and of those that were followed within the
    /// last hour ([`MAX_FOLLOWED`]), for whoever has not heard of that.
    pub fn topics(&self, now: Millis) -> Vec<TopicId> {
        let in_use = self.sealing_epoch().map(|(epoch, _)| epoch);
        let (mut heads, mut followed) = (Vec::from_iter(in_use), Vec::new());
        for epoch in self.deepest_first() {
            if !self.secrets.contains_key(&epoch) || Some(epoch) == in_use {
                continue;
            }
            let after = self.members.epochs_after(&epoch);
            let after = after.filter(|child| self.secrets.contains_key(child));
            match after.map(|child| self.age(&child, now)).max() {
                None => heads.push(epoch),
                Some(age) if age < FOLLOWED_MS => followed.push((age, epoch)),
                Some(_) => {}
            }
        }
        heads.truncate(MAX_HEADS);
        followed.sort_unstable();
        let followed = followed.into_iter().map(|(_, epoch)| epoch).take(MAX_FOLLOWED);
        let secrets = heads.into_iter().chain(followed).filter_map(|epoch| self.secret(&epoch));
        secrets.map(|secret| secret.topic(self.id)).collect()
    }
}

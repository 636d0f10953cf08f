//! The room's keys: which secrets are here, with which one seals, when another is needed.

use super::Room;
use crate::clock::{Hlc, Millis};
use crate::epoch::EpochSecret;
use crate::id::{EpochId, TopicId};

/// How long an epoch is sealed with, before the next sender mints another: seven days.
const EPOCH_MS: Millis = 7 * 24 * 60 * 60 * 1000;
/// How long the secret of a permitted epoch is waited for.
const KEY_WAIT_MS: Millis = 60 * 1000;

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
        let mut epochs = self.deepest_first().into_iter();
        let here = |id: &EpochId| self.secrets.contains_key(id);
        let best = epochs.find(|id| here(id) && self.members.permits(id))?;
        Some((best, self.secrets.get(&best)?))
    }

    /// Whether to mint an epoch before anything is sealed: none is permitted, or the newest is old.
    /// One whose secret has not arrived is waited for, but not for ever: who has it may be gone.
    pub fn needs_epoch(&self, now: Millis) -> bool {
        let age = |epoch: &EpochId| {
            let minted = self.members.minted_at(epoch).map_or(0, Hlc::millis);
            now.saturating_sub(minted)
        };
        if let Some((epoch, _)) = self.sealing_epoch() {
            return age(&epoch) > EPOCH_MS;
        }
        let epochs = self.members.epochs().map(|(id, _)| id);
        epochs.filter(|id| self.members.permits(id)).all(|epoch| age(epoch) > KEY_WAIT_MS)
    }

    /// Returns the gossip topic to publish on.
    pub fn topic(&self) -> Option<TopicId> {
        self.sealing_epoch().map(|(_, secret)| secret.topic(self.id))
    }
}

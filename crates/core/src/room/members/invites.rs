//! The invites of a room: open, used up, expired or revoked.

use std::collections::BTreeSet;

use super::Members;
use crate::clock::Millis;
use crate::id::{AccountId, EventId, InviteKey};
use crate::room::control::{Control, Invite};

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

impl Members {
    /// Returns the invites that were ever in force.
    pub fn invites(&self) -> impl Iterator<Item = (&InviteKey, &InviteInfo)> {
        self.invites.iter()
    }

    /// Returns an invite.
    pub fn invite(&self, key: &InviteKey) -> Option<&InviteInfo> {
        self.invites.get(key)
    }

    pub(super) fn invite_key(&self, at: usize) -> Option<InviteKey> {
        match &self.all.get(at)?.control {
            Some(Control::Invite(invite)) => Some(invite.key),
            _ => None,
        }
    }

    /// Shows that an admission by an invite was added.
    pub(super) fn show_admitted(&mut self, key: InviteKey, account: AccountId) {
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
    pub(super) fn show_invite(&mut self, key: InviteKey) {
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

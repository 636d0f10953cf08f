//! Which epoch secrets a device is handed, and how few of them will do.
//!
//! Invariants: secrets are sealed to the certificate that the control lane has of the device, never
//! to one that it shows; a device that is frozen, or whose account is no member, gets nothing; so
//! does one that asks for epochs that its account may not read. Of epochs that others unwrap, only
//! the others are handed over, so that a long past costs no more than a short one.

use std::collections::BTreeSet;

use super::replica::Room;
use crate::Entropy;
use crate::epoch::EpochSecret;
use crate::id::{EpochId, PeerId, RoomId};
use crate::keys::DeviceClaim;
use crate::limits::MAX_EPOCHS;
use crate::sealed::{SealedEpoch, Sealer};

/// Secrets that one device is to have: chosen under a room's lock, sealed outside of it.
#[derive(Debug, Clone)]
pub struct Handover {
    room: RoomId,
    from: PeerId,
    to: DeviceClaim,
    secrets: Vec<EpochSecret>,
}

impl Handover {
    /// Returns how many secrets are to be sealed: at most [`MAX_EPOCHS`].
    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    /// Whether there is nothing to seal.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Seals them, with fresh `entropy`. A tenth of a millisecond each: not to be done under a lock.
    pub fn seal(&self, entropy: Entropy) -> Vec<SealedEpoch> {
        let mut sealer = Sealer::new(self.room, self.from, entropy);
        // A certificate is verified before it is held, so its key is none of small order.
        self.secrets.iter().filter_map(|secret| sealer.seal(secret, &self.to).ok()).collect()
    }
}

impl Room {
    /// Returns what to hand to a device that asks for `wanted`, or for all that it may read: of the
    /// secrets that are here the deepest, without those that they unwrap. None: it is no member's
    /// device, or frozen.
    ///
    /// A wrap may turn out not to open. Who still misses an epoch then asks for that one by itself.
    pub fn handover(&self, device: &PeerId, wanted: Option<&[EpochId]>) -> Option<Handover> {
        let members = self.members();
        if !members.is_member_device(device) {
            return None;
        }
        let account = members.account_of(device)?;
        let to = members.account(&account)?.devices.get(device)?.claim.clone();
        let wanted: Option<BTreeSet<_>> = wanted.map(|wanted| wanted.iter().copied().collect());
        let epochs = self.deepest_first().into_iter().filter(|epoch| {
            wanted.as_ref().is_none_or(|wanted| wanted.contains(epoch))
                && self.secret(epoch).is_some()
                && members.may_read(epoch, &account)
        });
        let mut unwrapped = BTreeSet::new();
        let mut secrets = Vec::new();
        for epoch in epochs {
            let Some(secret) = self.secret(&epoch) else { continue };
            if secrets.len() < MAX_EPOCHS && !unwrapped.contains(&epoch) {
                secrets.push(secret.clone());
                self.unwrap_from(epoch, &mut unwrapped);
            }
        }
        Some(Handover { room: self.id(), from: self.device(), to, secrets })
    }

    /// Adds all epochs that the secret of `epoch` leads to.
    fn unwrap_from(&self, epoch: EpochId, unwrapped: &mut BTreeSet<EpochId>) {
        let mut open = vec![epoch];
        while let Some(next) = open.pop() {
            for (parent, wrap) in self.members().wraps(&next) {
                if !wrap.is_empty() && unwrapped.insert(parent) {
                    open.push(parent);
                }
            }
        }
    }
}

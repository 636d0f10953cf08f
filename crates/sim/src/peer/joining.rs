//! Joining by an invite, and handing over epoch secrets.

use ayni_core::clock::Millis;
use ayni_core::id::{EpochId, PeerId};
use ayni_core::keys::derive;
use ayni_core::limits::MAX_EPOCHS;
use ayni_core::proto::{Admission, JoinClaim, JoinReply, JoinRequest, KeysReply, KeysRequest};
use ayni_core::room::{Admit, Control, Room};
use ayni_core::sealed::SealedEpoch;
use ayni_core::wire;

use super::{Invited, Outgoing, Packet, Peer, PeerNo};

impl Peer {
    /// Is given an invite; from now on it wants to join.
    pub fn give(&mut self, invited: Invited) {
        self.invited = Some(invited);
    }

    /// Whether it was invited and does not belong to the room.
    pub fn wants_to_join(&self) -> bool {
        self.is_running() && self.invited.is_some() && !self.is_member()
    }

    /// Asks `admitter` to admit it.
    pub fn ask_to_join(&self, admitter: PeerNo) -> Option<Outgoing> {
        let Invited { room, secret } = self.invited.as_ref()?;
        let (device, _) = self.others.get(&admitter)?;
        let cert = self.me.cert.clone();
        let claim = JoinClaim { room: *room, cert, admitter: *device, invite: secret.key() };
        let request = claim.sign(secret, &self.me.key);
        Some(Outgoing { to: admitter, packet: Packet::Join(wire::encode(&request)) })
    }

    pub(super) fn take_join(&mut self, from: PeerNo, bytes: &[u8], now: Millis) -> Vec<Outgoing> {
        let Ok(request) = wire::decode::<JoinRequest>(bytes) else { return vec![] };
        let (reply, mut out) = self.admit(from, request, now);
        out.push(Outgoing { to: from, packet: Packet::Joined(wire::encode(&reply)) });
        out
    }

    fn admit(
        &mut self,
        from: PeerNo,
        request: JoinRequest,
        now: Millis,
    ) -> (JoinReply, Vec<Outgoing>) {
        let refused = (JoinReply::Refused, vec![]);
        let me = self.me.key.id();
        let Some(room) = self.room().filter(|room| room.am_member()) else { return refused };
        let caller = self.others.get(&from).map(|(device, _)| *device);
        let claim = &request.claim;
        if request.verify(room.id(), me).is_err() || caller != Some(claim.cert.claim.device) {
            return refused;
        }
        let Some(invite) = room.members().invite(&claim.invite) else {
            return (JoinReply::NotNow, vec![]);
        };
        let (account, device) = (claim.cert.claim.account, claim.cert.claim.device);
        let mut out = vec![];
        if !room.members().is_member_device(&claim.cert.claim.device) {
            if invite.is_expired(self.clock(now)) {
                return (JoinReply::Expired, vec![]);
            }
            if invite.is_used_up() {
                return (JoinReply::UsedUp, vec![]);
            }
            let term = room.members().next_term(&account);
            let admit = Control::Admit(Box::new(Admit::new(request, term)));
            match self.state(&admit, now) {
                Ok((_, live)) => out = live,
                Err(_) => return refused,
            }
        }
        match self.admission(account, device) {
            Some(admission) => (JoinReply::Admitted(admission), out),
            None => refused,
        }
    }

    fn admission(
        &mut self,
        account: ayni_core::id::AccountId,
        device: PeerId,
    ) -> Option<Admission> {
        let room = self.room()?;
        let genesis = room.members().genesis()?.clone();
        let term = room.members().account(&account)?.current_term()?;
        let epochs = self.hand_over(device, None)?;
        Some(Admission { genesis, term, epochs, members: vec![] })
    }

    /// Seals what a device may have.
    fn hand_over(
        &mut self,
        device: PeerId,
        wanted: Option<&[EpochId]>,
    ) -> Option<Vec<SealedEpoch>> {
        let handover = self.room()?.handover(&device, wanted)?;
        self.sealed += 1;
        // Not from the dice: how often someone asks must not change what else happens in a run.
        let parts = [&self.me.key.signing_secret()[..], &self.sealed.to_be_bytes()];
        Some(handover.seal(derive("ayni sim sealing v1", &parts)))
    }

    pub(super) fn take_joined(&mut self, from: PeerNo, bytes: &[u8]) -> Vec<Outgoing> {
        let Ok(JoinReply::Admitted(admission)) = wire::decode::<JoinReply>(bytes) else {
            return vec![];
        };
        let Some(invited) = &self.invited else { return vec![] };
        if admission.check(invited.room).is_err() {
            return vec![];
        }
        let room = invited.room;
        if self.room_id.is_none() {
            self.room_id = Some(room);
            let me = self.me.key.id();
            if let Some(running) = &mut self.running {
                running.room = Some(Room::new(room, me));
            }
        }
        for sealed in admission.epochs {
            self.learn(from, &sealed);
        }
        vec![]
    }

    /// Asks `other` for the secrets that are missing here, if any are.
    pub fn ask_for_keys(&self, other: PeerNo) -> Option<Outgoing> {
        let mut epochs = self.room()?.missing_secrets();
        epochs.truncate(MAX_EPOCHS);
        let request = KeysRequest { epochs };
        (!request.epochs.is_empty())
            .then(|| Outgoing { to: other, packet: Packet::Keys(wire::encode(&request)) })
    }

    pub(super) fn take_keys(&mut self, from: PeerNo, bytes: &[u8]) -> Vec<Outgoing> {
        let Ok(request) = wire::decode::<KeysRequest>(bytes) else { return vec![] };
        let Some(device) = self.others.get(&from).map(|(device, _)| *device) else { return vec![] };
        if request.check().is_err() {
            return vec![];
        }
        let Some(epochs) = self.hand_over(device, Some(&request.epochs)) else { return vec![] };
        let reply = KeysReply { epochs };
        vec![Outgoing { to: from, packet: Packet::Secrets(wire::encode(&reply)) }]
    }

    pub(super) fn take_secrets(&mut self, from: PeerNo, bytes: &[u8]) -> Vec<Outgoing> {
        let Ok(reply) = wire::decode::<KeysReply>(bytes) else { return vec![] };
        if reply.check().is_ok() {
            for sealed in reply.epochs {
                self.learn(from, &sealed);
            }
        }
        vec![]
    }

    /// Keeps a secret, if it was sealed for this device and is that of the epoch it names.
    fn learn(&mut self, from: PeerNo, sealed: &SealedEpoch) {
        let Some((sender, _)) = self.others.get(&from) else { return };
        let Some(room) = self.running.as_mut().and_then(|running| running.room.as_mut()) else {
            return;
        };
        if let Ok(secret) = sealed.open(room.id(), *sender, &self.me.key)
            && room.learn_secret(secret.clone())
        {
            self.store.keep_secret(secret);
        }
    }
}

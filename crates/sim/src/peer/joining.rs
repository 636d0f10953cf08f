//! Joining by an invite, and handing over epoch secrets.

use ayni_core::clock::Millis;
use ayni_core::epoch::EpochSecret;
use ayni_core::keys::Bytes32;
use ayni_core::proto::{
    Admission, EpochGrant, JoinClaim, JoinReply, JoinRequest, KeysReply, KeysRequest,
};
use ayni_core::room::{Admit, Control, Room};
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
        let account = claim.cert.claim.account;
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
        match self.admission(account) {
            Some(admission) => (JoinReply::Admitted(admission), out),
            None => refused,
        }
    }

    fn admission(&self, account: ayni_core::id::AccountId) -> Option<Admission> {
        let room = self.room()?;
        let genesis = room.members().genesis()?.clone();
        let term = room.members().account(&account)?.current_term()?;
        let epochs = room.secrets().map(|(epoch, secret)| EpochGrant {
            epoch: *epoch,
            secret: Bytes32(*secret.as_bytes()),
        });
        Some(Admission { genesis, term, epochs: epochs.collect(), members: vec![] })
    }

    pub(super) fn take_joined(&mut self, bytes: &[u8]) -> Vec<Outgoing> {
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
        for grant in admission.epochs {
            self.learn(&grant);
        }
        vec![]
    }

    /// Asks `other` for the secrets that are missing here, if any are.
    pub fn ask_for_keys(&self, other: PeerNo) -> Option<Outgoing> {
        let epochs = self.room()?.missing_secrets();
        let request = KeysRequest { epochs };
        (!request.epochs.is_empty())
            .then(|| Outgoing { to: other, packet: Packet::Keys(wire::encode(&request)) })
    }

    pub(super) fn take_keys(&mut self, from: PeerNo, bytes: &[u8]) -> Vec<Outgoing> {
        let Ok(request) = wire::decode::<KeysRequest>(bytes) else { return vec![] };
        let (Some(room), Some((device, _))) = (self.room(), self.others.get(&from)) else {
            return vec![];
        };
        if request.check().is_err() || !room.members().is_member_device(device) {
            return vec![];
        }
        let epochs = request.epochs.iter().filter_map(|epoch| {
            Some(EpochGrant { epoch: *epoch, secret: Bytes32(*room.secret(epoch)?.as_bytes()) })
        });
        let reply = KeysReply { epochs: epochs.collect() };
        vec![Outgoing { to: from, packet: Packet::Secrets(wire::encode(&reply)) }]
    }

    pub(super) fn take_secrets(&mut self, bytes: &[u8]) -> Vec<Outgoing> {
        let Ok(reply) = wire::decode::<KeysReply>(bytes) else { return vec![] };
        if reply.check().is_ok() {
            for grant in reply.epochs {
                self.learn(&grant);
            }
        }
        vec![]
    }

    /// Keeps a secret, if it is the one of the epoch that it is said to be of.
    fn learn(&mut self, grant: &EpochGrant) {
        let secret = EpochSecret::new(grant.secret.0);
        let Some(room) = self.running.as_mut().and_then(|running| running.room.as_mut()) else {
            return;
        };
        if secret.id(room.id()) == grant.epoch && room.learn_secret(secret.clone()) {
            self.store.keep_secret(secret);
        }
    }
}

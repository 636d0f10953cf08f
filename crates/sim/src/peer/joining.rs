//! Joining by an invite, and handing over epoch secrets.

use std::collections::BTreeSet;

use ayni_core::clock::Millis;
use ayni_core::epoch::EpochSecret;
use ayni_core::id::{AccountId, EpochId, PeerId};
use ayni_core::keys::{DeviceKey, derive};
use ayni_core::limits::MAX_EPOCHS;
use ayni_core::proto::{Admission, JoinClaim, JoinReply, JoinRequest, KeysReply, KeysRequest};
use ayni_core::room::{Accepted, Admit, AuthorError, Control, History, MemberInfo, Room};
use ayni_core::sealed::SealedEpoch;
use ayni_core::wire;

use super::{Invited, Outgoing, Packet, Peer, PeerNo};
use crate::dice::Dice;

/// First pause between two times of asking to be let in, doubled up to [`MAX_PAUSE_MS`].
const FIRST_PAUSE_MS: Millis = 1_000;
/// Longest pause.
const MAX_PAUSE_MS: Millis = 30_000;
/// Longest pause between two times of asking for the same secrets.
const MAX_KEYS_PAUSE_MS: Millis = 60_000;
/// How long a member may refuse it before it asks to be let in again: its admission needs some
/// seconds to spread.
const DOUBT_MS: Millis = 30_000;

/// Asking several peers for the same, one after the other, and again after growing pauses.
#[derive(Debug, Clone)]
pub(super) struct Round {
    asked: BTreeSet<PeerNo>,
    /// When the next round begins.
    at: Millis,
    pause: Millis,
    longest: Millis,
}

impl Round {
    pub(super) fn new(longest: Millis) -> Self {
        Self { asked: BTreeSet::new(), at: 0, pause: FIRST_PAUSE_MS, longest }
    }

    /// Returns whom to ask now, if anyone.
    fn next(&mut self, peers: &[PeerNo], now: Millis, dice: &mut Dice) -> Option<PeerNo> {
        if now < self.at {
            return None;
        }
        let left = peers.iter().filter(|no| !self.asked.contains(no)).copied();
        let left: Vec<PeerNo> = left.collect();
        let chosen = dice.pick(&left).copied();
        match chosen {
            Some(no) => {
                self.asked.insert(no);
            }
            None if !peers.is_empty() => {
                self.asked.clear();
                self.at = now + self.pause;
                self.pause = (self.pause * 2).min(self.longest);
            }
            None => {}
        }
        chosen
    }
}

impl Default for Round {
    fn default() -> Self {
        Self::new(MAX_PAUSE_MS)
    }
}

impl Peer {
    /// Is given an invite; from now on it wants to join.
    pub fn give(&mut self, invited: Invited) {
        self.invited = Some(invited);
        self.renewed = true;
        self.asks = Round::new(MAX_PAUSE_MS);
    }

    /// Returns the invite that it was given last.
    pub fn invited(&self) -> Option<&Invited> {
        self.invited.as_ref()
    }

    /// Returns the highest term for which anyone told it that it is admitted.
    pub fn admitted(&self) -> Option<u32> {
        self.admitted
    }

    /// Whether it was invited and does not belong to the room, or has reason to doubt that it does.
    ///
    /// One who was removed may not have heard of that, and one whose admission turned out to be void
    /// (its admitter was removed at the same time) hears of it from nobody: with a new invite, or when
    /// a member refuses it, it asks again.
    pub fn wants_to_join(&self, now: Millis) -> bool {
        let outside = || {
            let Some(room) = self.room().filter(|room| room.am_member()) else { return true };
            let info = room.members().account(&self.me.account());
            let term = info.and_then(MemberInfo::current_term);
            let promised = self.renewed && (self.admitted.is_none() || self.admitted > term);
            promised || self.is_refused(now)
        };
        self.is_running() && self.invited.is_some() && outside()
    }

    fn is_refused(&self, now: Millis) -> bool {
        let mut since = self.running.iter().flat_map(|running| running.refused_by.values());
        since.any(|since| now > since + DOUBT_MS)
    }

    /// Notes whether `other`, a member as far as is known here, will have a session with it.
    pub fn note_refusal(&mut self, other: PeerNo, refuses: bool, now: Millis) {
        let Some(running) = &mut self.running else { return };
        if refuses {
            running.refused_by.entry(other).or_insert(now);
        } else {
            running.refused_by.remove(&other);
        }
    }

    /// Asks one of `connected` to admit it, if it is time: all of them one after the other, then again
    /// after a pause.
    pub fn ask_to_join(
        &mut self,
        connected: &[PeerNo],
        now: Millis,
        dice: &mut Dice,
    ) -> Option<Outgoing> {
        let admitter = self.asks.next(connected, now, dice)?;
        let Invited { room, secret } = self.invited.as_ref()?;
        let (device, _) = self.others.get(&admitter)?;
        let cert = self.me.cert.clone();
        let claim = JoinClaim { room: *room, cert, admitter: *device, invite: secret.key() };
        let request = claim.sign(secret, &self.me.key);
        Some(Outgoing { to: admitter, packet: Packet::Join(wire::encode(&request)) })
    }

    /// Whether this member would admit `joiner` by the invite that it holds; nothing is stated.
    pub fn would_admit(&self, joiner: &Self, now: Millis) -> bool {
        let (Some(room), Some(invited)) = (self.room(), &joiner.invited) else { return false };
        let Invited { room: id, secret } = invited;
        let (cert, admitter) = (joiner.me.cert.clone(), self.me.key.id());
        let claim = JoinClaim { room: *id, cert, admitter, invite: secret.key() };
        let request = claim.sign(secret, &joiner.me.key);
        let (mut tried, now, fresh) = (room.clone(), self.clock(now), EpochSecret::new([0; 32]));
        refuses(room, &request, now).is_none()
            && countersign(&mut tried, &self.me.key, request, fresh, now).is_ok()
    }

    pub(super) fn take_join(
        &mut self,
        from: PeerNo,
        bytes: &[u8],
        now: Millis,
        dice: &mut Dice,
    ) -> Vec<Outgoing> {
        let Ok(request) = wire::decode::<JoinRequest>(bytes) else { return vec![] };
        let (reply, mut out) = self.admit(from, request, now, dice);
        out.push(Outgoing { to: from, packet: Packet::Joined(wire::encode(&reply)) });
        out
    }

    fn admit(
        &mut self,
        from: PeerNo,
        request: JoinRequest,
        now: Millis,
        dice: &mut Dice,
    ) -> (JoinReply, Vec<Outgoing>) {
        let (me, clock) = (self.me.key.id(), self.clock(now));
        let caller = self.others.get(&from).map(|(device, _)| *device);
        let claim = &request.claim;
        let (account, device) = (claim.cert.claim.account, claim.cert.claim.device);
        let holds = |room: &Room| request.verify(room.id(), me).is_ok();
        let Some(room) = self.room().filter(|room| room.am_member() && holds(room)) else {
            return (JoinReply::Refused, vec![]);
        };
        if caller != Some(device) {
            return (JoinReply::Refused, vec![]);
        }
        let mut out = vec![];
        if !room.members().is_member_device(&claim.cert.claim.device) {
            if let Some(refusal) = refuses(room, &request, clock) {
                return (refusal, vec![]);
            }
            let fresh = EpochSecret::new(dice.bytes());
            match self.author(now, |room, key, now| countersign(room, key, request, fresh, now)) {
                Ok((_, live)) => out = live,
                Err(_) => return (JoinReply::Refused, vec![]),
            }
        }
        match self.admission(account, device) {
            Some(admission) => (JoinReply::Admitted(admission), out),
            None => (JoinReply::Refused, vec![]),
        }
    }

    fn admission(&mut self, account: AccountId, device: PeerId) -> Option<Admission> {
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
        self.admitted = self.admitted.max(Some(admission.term));
        if self.room_id.is_none() {
            self.room_id = Some(room);
            let me = self.me.key.id();
            if let Some(running) = &mut self.running {
                running.room = Some(Room::new(room, me));
                running.held = None;
            }
        }
        for sealed in admission.epochs {
            self.learn(from, &sealed);
        }
        vec![]
    }

    /// Asks one of those it has sessions with for the secrets that are missing here, if any are and
    /// it is time.
    pub fn ask_for_keys(
        &mut self,
        sessions: &[PeerNo],
        now: Millis,
        dice: &mut Dice,
    ) -> Option<Outgoing> {
        let mut epochs = self.room()?.missing_secrets();
        epochs.truncate(MAX_EPOCHS);
        let running = self.running.as_mut()?;
        let (missing, round) = &mut running.lacking;
        if *missing != epochs {
            (*missing, *round) = (epochs, Round::new(MAX_KEYS_PAUSE_MS));
        }
        if missing.is_empty() {
            return None;
        }
        // Some may be lost with those who minted them.
        let other = round.next(sessions, now, dice)?;
        let request = KeysRequest { epochs: missing.clone() };
        Some(Outgoing { to: other, packet: Packet::Keys(wire::encode(&request)) })
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

/// What a member answers who does not admit, if it does not.
fn refuses(room: &Room, request: &JoinRequest, now: Millis) -> Option<JoinReply> {
    let members = room.members();
    let claim = &request.claim;
    let Some(invite) = members.invite(&claim.invite) else { return Some(JoinReply::Refused) };
    let least = members.settings().who_invites();
    let entitled = members.role(&invite.inviter).is_none_or(|role| role >= least);
    if !invite.open || !entitled || members.is_frozen(&claim.cert.claim.device) {
        return Some(JoinReply::Refused);
    }
    if invite.is_expired(now) {
        return Some(JoinReply::Expired);
    }
    let again = invite.admitted.contains(&claim.cert.claim.account);
    (invite.is_used_up() && !again).then_some(JoinReply::UsedUp)
}

/// Admits, if that takes effect; where newcomers may not read what was before, with a new epoch.
fn countersign(
    room: &mut Room,
    key: &DeviceKey,
    request: JoinRequest,
    fresh: EpochSecret,
    now: Millis,
) -> Result<Accepted, AuthorError> {
    let account = request.claim.cert.claim.account;
    let members = room.members();
    let current = members.account(&account).and_then(MemberInfo::current_term);
    let term = current.unwrap_or_else(|| members.next_term(&account));
    let mut tried = room.clone();
    let admit = Control::Admit(Box::new(Admit::new(request, term)));
    let mut accepted = tried.author_control(key, &admit, now)?;
    if tried.members().role(&account).is_none() {
        return Err(AuthorError::NotPermitted);
    }
    if tried.members().history() == History::FromJoining {
        accepted = accepted.and(tried.author_epoch(key, fresh, now)?);
    }
    *room = tried;
    Ok(accepted)
}

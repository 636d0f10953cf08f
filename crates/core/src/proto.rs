//! Frames of the `ayni/1` protocol: the handshake, opening a service, and the small services.
//!
//! Each side opens one unidirectional stream and writes [`Hello`]; later frames there update its
//! lists. Then either side opens bidirectional streams: [`Open`] first, answered by [`Opened`], and
//! from there the service speaks its own frames (synchronisation: [`crate::sync::frame`]).
//!
//! These frames ignore unknown keys, so that newer peers may add some. Limits: [`crate::limits`].

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::id::{AccountId, BlobId, EpochId, InviteKey, PeerId, RoomId};
use crate::keys::{DeviceCert, DeviceKey, Domain, InviteSecret, KeyError, Sig, verify};
use crate::limits::{
    MAX_EPOCHS, MAX_HELD, MAX_NAME, MAX_PEER_ADDRS, MAX_SERVICE_NAME, MAX_SERVICES, MAX_TOPIC,
};
use crate::room::{Genesis, History, Role};
use crate::sealed::SealedEpoch;
use crate::ticket::PeerAddr;
use crate::wire::{self, WireError};

/// The QUIC application protocol.
pub const ALPN: &[u8] = b"ayni/1";
/// The protocol number in [`Hello`].
pub const PROTOCOL: u32 = 1;

/// Names of the built-in services.
pub mod service {
    /// Answers with what it was sent: whether and how fast a peer answers.
    pub const PING: &str = "ping/1";
    /// Who the peer is: its certificate and name.
    pub const PROFILE: &str = "profile/1";
    /// Shows the holder of an invite what it invites to.
    pub const LOOK: &str = "look/1";
    /// Admits the holder of an invite to a room.
    pub const JOIN: &str = "join/1";
    /// Synchronises a room.
    pub const SYNC: &str = "sync/1";
    /// Hands epoch secrets of a room to a member's device.
    pub const KEYS: &str = "keys/1";
    /// Opens a direct room.
    pub const CONTACT: &str = "contact/1";
    /// Tells a member which contents of a room are all here.
    pub const HELD: &str = "held/1";
    /// Tells who fetches a content who else does.
    pub const FETCHERS: &str = "fetchers/1";
    /// All of them.
    pub const BUILT_IN: [&str; 9] =
        [PING, PROFILE, LOOK, JOIN, SYNC, KEYS, CONTACT, HELD, FETCHERS];
}

/// The first frame of a side, and its later updates.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// [`PROTOCOL`].
    #[n(0)]
    pub protocol: u32,
    /// Random for each start of a node.
    #[n(1)]
    pub instance: u64,
    /// The services that the receiver may call.
    #[n(2)]
    pub offers: Vec<ServiceDescriptor>,
    /// Names of services that the sender would like to be provided.
    #[n(3)]
    pub asks: Vec<String>,
}

impl Hello {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn check(&self) -> Result<(), WireError> {
        wire::check_len("offers", self.offers.len(), MAX_SERVICES)?;
        wire::check_len("asks", self.asks.len(), MAX_SERVICES)?;
        let names = self.offers.iter().map(|offer| &offer.name).chain(&self.asks);
        names.into_iter().try_for_each(|name| {
            parse_service_name(name).map(drop).ok_or(WireError::Malformed("service name".into()))
        })
    }
}

/// A service as its provider describes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(map)]
pub struct ServiceDescriptor {
    /// Its name with the major version: `echo/1`.
    #[n(0)]
    pub name: String,
    /// Whether it is a stream of bytes both ways, instead of one request and one reply.
    #[n(1)]
    pub stream: bool,
}

/// Splits `name/version`; none when it is not a service name.
///
/// Shape: 1 to 64 lowercase letters, digits, `-`, `_`, `.`; then `/` and a number without leading
/// zeros.
pub fn parse_service_name(name: &str) -> Option<(&str, u32)> {
    let (base, version) = name.split_once('/')?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let number: u32 = version.parse().ok()?;
    let valid = (1..=MAX_SERVICE_NAME).contains(&base.len())
        && base.bytes().all(plain)
        && number.to_string() == version;
    valid.then_some((base, number))
}

/// Completes a service name: without a version, version 1 is meant.
pub fn service_name(name: &str) -> Option<String> {
    let full = if name.contains('/') { name.to_owned() } else { format!("{name}/1") };
    parse_service_name(&full).is_some().then_some(full)
}

/// The first frame of a bidirectional stream: what its opener wants.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Open {
    /// The service.
    #[n(0)]
    pub service: String,
    /// The room, for services that serve a room.
    #[n(1)]
    pub room: Option<RoomId>,
}

/// The answer to [`Open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Opened {
    /// Go on.
    #[n(0)]
    Accepted,
    /// No such service, or not for you: one answer for both.
    #[n(1)]
    Refused,
    /// Too many calls at once; later perhaps.
    #[n(2)]
    Busy,
}

/// How a request went; the reply's bytes follow [`ReplyHead::Done`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ReplyHead {
    /// Answered; the rest of the stream is the reply.
    #[n(0)]
    Done,
    /// The service failed, with a sentence for people.
    #[n(1)]
    Failed(#[n(0)] String),
    /// The request was too large.
    #[n(2)]
    RequestTooLarge,
    /// The reply was too large to send.
    #[n(3)]
    ReplyTooLarge,
    /// It took too long.
    #[n(4)]
    TimedOut,
}

/// What `profile/1` answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Profile {
    /// The device's certificate.
    #[n(0)]
    pub cert: DeviceCert,
    /// The name it gave itself; may be empty.
    #[n(1)]
    pub name: String,
}

impl Profile {
    /// Checks limits and the certificate.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn check(&self) -> Result<(), WireError> {
        wire::check_len("name", self.name.len(), MAX_NAME)?;
        self.cert.verify().map_err(|error| WireError::Malformed(error.to_string()))
    }
}

/// What a joiner claims: signed by the invite's key and by the joining device.
///
/// It names the admitter, so that whoever it is shown to cannot use it elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JoinClaim {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// The joining account's device.
    #[n(1)]
    pub cert: DeviceCert,
    /// The device that is asked to admit.
    #[n(2)]
    pub admitter: PeerId,
    /// The invite.
    #[n(3)]
    pub invite: InviteKey,
}

impl JoinClaim {
    /// Signs the claim with the invite's key and the joining device's.
    pub fn sign(self, invite: &InviteSecret, device: &DeviceKey) -> JoinRequest {
        let message = wire::encode(&self);
        let invite_signature = invite.sign(&message);
        let device_signature = device.sign(Domain::JoinProof, &message);
        JoinRequest { claim: self, invite_signature, device_signature }
    }

    /// Signs the claim for being shown what the invite invites to: nobody can admit by it.
    pub fn sign_look(self, invite: &InviteSecret, device: &DeviceKey) -> JoinRequest {
        let message = wire::encode(&self);
        let invite_signature = invite.sign_look(&message);
        let device_signature = device.sign(Domain::LookProof, &message);
        JoinRequest { claim: self, invite_signature, device_signature }
    }

    /// Checks that the claim is for `room`, made to `admitter`, and signed by the invite's key and
    /// by a device that its account certified. Whether the invite stands is not known here.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::BadSignature`] also where room or admitter is another.
    pub fn verify(
        &self,
        room: RoomId,
        admitter: PeerId,
        by_invite: &Sig,
        by_device: &Sig,
    ) -> Result<(), KeyError> {
        self.verify_in(Domain::JoinProof, (room, admitter), by_invite, by_device)
    }

    fn verify_in(
        &self,
        domain: Domain,
        (room, admitter): (RoomId, PeerId),
        by_invite: &Sig,
        by_device: &Sig,
    ) -> Result<(), KeyError> {
        if self.room != room || self.admitter != admitter {
            return Err(KeyError::BadSignature);
        }
        let message = wire::encode(self);
        verify(&self.invite.0, domain, &message, by_invite)?;
        verify(&self.cert.claim.device.0, domain, &message, by_device)?;
        self.cert.verify()
    }
}

/// The request of `join/1`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JoinRequest {
    /// The claim.
    #[n(0)]
    pub claim: JoinClaim,
    /// By the invite's key.
    #[n(1)]
    pub invite_signature: Sig,
    /// By the joining device.
    #[n(2)]
    pub device_signature: Sig,
}

impl JoinRequest {
    /// Checks the claim, as [`JoinClaim::verify`] does.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(&self, room: RoomId, admitter: PeerId) -> Result<(), KeyError> {
        self.claim.verify(room, admitter, &self.invite_signature, &self.device_signature)
    }

    /// Checks a claim that was signed by [`JoinClaim::sign_look`].
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify_look(&self, room: RoomId, admitter: PeerId) -> Result<(), KeyError> {
        let Self { claim, invite_signature, device_signature } = self;
        let to = (room, admitter);
        claim.verify_in(Domain::LookProof, to, invite_signature, device_signature)
    }
}

/// The reply of `look/1`, to a [`JoinRequest`] signed for it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum LookReply {
    /// What the invite invites to.
    #[n(0)]
    Invitation(#[n(0)] Invitation),
    /// What joining would be answered with, where it would not succeed.
    #[n(1)]
    Not(#[n(0)] JoinReply),
}

/// What an invite invites to, as the member that was asked says it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Invitation {
    /// The room's genesis; its hash must be the room's id.
    #[n(0)]
    pub genesis: Genesis,
    /// The room's name; may be empty.
    #[n(1)]
    pub name: String,
    /// What it is about; may be empty.
    #[n(2)]
    pub topic: String,
    /// Who invites.
    #[n(3)]
    pub inviter: AccountId,
    /// The name that the inviter gave itself; may be empty.
    #[n(4)]
    pub inviter_name: String,
    /// How many accounts are members.
    #[n(5)]
    pub members: u32,
    /// What one joins as.
    #[n(6)]
    pub role: Role,
    /// Whether one may read what was said before.
    #[n(7)]
    pub history: History,
}

impl Invitation {
    /// Checks that it is about `room`, and its limits.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn check(&self, room: RoomId) -> Result<(), WireError> {
        if !self.genesis.is_valid() || self.genesis.id() != room {
            return Err(WireError::Malformed("the genesis of another room".into()));
        }
        wire::check_len("name", self.name.len(), MAX_NAME)?;
        wire::check_len("topic", self.topic.len(), MAX_TOPIC)?;
        wire::check_len("inviter's name", self.inviter_name.len(), MAX_NAME)
    }
}

/// The reply of `join/1`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum JoinReply {
    /// Admitted: the room and its keys.
    #[n(0)]
    Admitted(#[n(0)] Admission),
    /// The invite expired.
    #[n(1)]
    Expired,
    /// The invite was used as often as it may be.
    #[n(2)]
    UsedUp,
    /// This member cannot admit now: ask another, or later.
    #[n(3)]
    NotNow,
    /// No such room here, no such invite (yet), or the claim does not hold: one answer for all, so
    /// that only who holds an invite learns of a room. Final where the inviter says it.
    #[n(4)]
    Refused,
}

impl JoinReply {
    /// Returns why asking others is of no use, in words for people; the inviter knows best whether its
    /// own invite holds.
    pub fn final_reason(&self, of_inviter: bool) -> Option<&'static str> {
        match self {
            Self::Expired => Some("this ticket has expired"),
            Self::UsedUp => Some("this ticket was used as often as it may be"),
            Self::Refused if of_inviter => {
                Some("the inviter does not accept this ticket (any more)")
            }
            Self::Admitted(_) | Self::Refused | Self::NotNow => None,
        }
    }

    /// Returns what it says, in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Admitted(_) => "admitted",
            Self::Expired => "expired",
            Self::UsedUp => "used up",
            Self::NotNow => "not now",
            Self::Refused => "refused",
        }
    }
}

/// What an admitted device receives.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Admission {
    /// The room's genesis; its hash must be the room's id.
    #[n(0)]
    pub genesis: Genesis,
    /// Term of the membership.
    #[n(1)]
    pub term: u32,
    /// Secrets of epochs that the newcomer may read, sealed for its device: those from which it can
    /// unwrap the others, where it can.
    #[n(2)]
    pub epochs: Vec<SealedEpoch>,
    /// Where other members can be reached.
    #[n(3)]
    pub members: Vec<PeerAddr>,
}

impl Admission {
    /// Checks that it is about `room`, and its limits.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn check(&self, room: RoomId) -> Result<(), WireError> {
        if !self.genesis.is_valid() || self.genesis.id() != room {
            return Err(WireError::Malformed("the genesis of another room".into()));
        }
        wire::check_len("epochs", self.epochs.len(), MAX_EPOCHS)?;
        wire::check_len("members", self.members.len(), MAX_PEER_ADDRS)?;
        if self.members.iter().all(PeerAddr::is_within_limits) {
            Ok(())
        } else {
            Err(WireError::Malformed("too many addresses".into()))
        }
    }
}

/// The request of `keys/1`: which epochs of the room named in [`Open`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeysRequest {
    /// The epochs.
    #[n(0)]
    pub epochs: Vec<EpochId>,
}

impl KeysRequest {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn check(&self) -> Result<(), WireError> {
        wire::check_len("epochs", self.epochs.len(), MAX_EPOCHS)
    }
}

/// The reply of `keys/1`: those that the member has, but for such as can be unwrapped from others.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeysReply {
    /// The secrets, sealed for the device that asks.
    #[n(0)]
    pub epochs: Vec<SealedEpoch>,
}

impl KeysReply {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn check(&self) -> Result<(), WireError> {
        wire::check_len("epochs", self.epochs.len(), MAX_EPOCHS)
    }
}

/// The request of `held/1`: which of these contents of the room named in [`Open`] are all there.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HeldRequest {
    /// The contents.
    #[n(0)]
    pub blobs: Vec<BlobId>,
}

impl HeldRequest {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn check(&self) -> Result<(), WireError> {
        wire::check_len("contents", self.blobs.len(), MAX_HELD)
    }
}

/// The reply of `held/1`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HeldReply {
    /// Whether each of the contents that were asked about is there, in their order.
    #[n(0)]
    pub held: Vec<bool>,
}

impl HeldReply {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn check(&self) -> Result<(), WireError> {
        wire::check_len("contents", self.held.len(), MAX_HELD)
    }
}

/// The request of `fetchers/1`: who else asked for this content lately.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FetchersRequest {
    /// The content.
    #[n(0)]
    pub blob: BlobId,
}

/// The reply of `fetchers/1`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FetchersReply {
    /// Where they can be reached.
    #[n(0)]
    pub peers: Vec<PeerAddr>,
}

impl FetchersReply {
    /// Checks the limits.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn check(&self) -> Result<(), WireError> {
        wire::check_len("addresses", self.peers.len(), MAX_PEER_ADDRS)?;
        if self.peers.iter().all(PeerAddr::is_within_limits) {
            Ok(())
        } else {
            Err(WireError::Malformed("an address beyond its limits".into()))
        }
    }
}

/// The request of `contact/1`: the caller's certificate, from which both sides make the direct room.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ContactRequest {
    /// Who writes.
    #[n(0)]
    pub profile: Profile,
}

/// The reply of `contact/1`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ContactReply {
    /// The room exists on this side too.
    #[n(0)]
    Opened,
    /// Not wanted, or too many strangers already.
    #[n(1)]
    Refused,
}

/// What is handed to gossip: a hint, never the truth.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Gossip {
    /// A new event, whole.
    #[n(0)]
    Event(#[n(0)] crate::event::RawEvent),
    /// Something new that did not fit: ask for it. Any bytes that make the message unique.
    #[n(1)]
    Hint(#[n(0)] ByteVec),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names_have_one_form() {
        assert_eq!(service_name("echo").as_deref(), Some("echo/1"));
        assert_eq!(service_name("echo/2").as_deref(), Some("echo/2"));
        for bad in ["", "/1", "Echo", "a b", "echo/", "echo/01", "echo/+1", "echo/1/2", "é"] {
            assert_eq!(service_name(bad), None, "{bad:?}");
        }
        assert!(service_name(&"x".repeat(MAX_SERVICE_NAME)).is_some());
        assert_eq!(service_name(&"x".repeat(MAX_SERVICE_NAME + 1)), None);
    }

    #[test]
    fn frames_ignore_what_a_newer_peer_adds() {
        let open = Open { service: "ping/1".into(), room: None };
        let mut bytes = wire::encode(&open);
        bytes[0] = 0xa2;
        bytes.extend([0x18, 0x63, 0xf5]);
        assert_eq!(wire::decode::<Open>(&bytes), Ok(open));
    }

    #[test]
    fn a_hello_has_limits() {
        let offer = ServiceDescriptor { name: "echo/1".into(), stream: false };
        let mut hello =
            Hello { protocol: PROTOCOL, instance: 1, offers: vec![offer; 3], asks: vec![] };
        assert_eq!(hello.check(), Ok(()));
        hello.asks = vec!["x/1".into(); MAX_SERVICES + 1];
        assert!(hello.check().is_err());
        hello.asks = vec!["Not A Name".into()];
        assert!(hello.check().is_err());
    }
}

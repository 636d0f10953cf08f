//! What control events say.
//!
//! Shape: CBOR `[index, [fields]]`, canonical. An index that this version does not know is kept and
//! served like any other event of an authentic log, and has no effect here.

use minicbor::{Decode, Encode};

use super::genesis::Genesis;
use crate::clock::Millis;
use crate::id::{EpochId, EventId, InviteKey, PeerId, RoomId};
use crate::keys::{Bytes32, DeviceCert, Sig};
use crate::limits::{MAX_CUT_LOGS, MAX_EPOCH_PARENTS, MAX_NAME};
use crate::log::LogId;
use crate::proto::{JoinClaim, JoinRequest};
use crate::wire;

/// One statement of the control lane.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[non_exhaustive]
pub enum Control {
    /// The room's start; the first event of a founder's log.
    #[n(0)]
    Genesis(#[n(0)] GenesisBody),
    /// The room's name.
    #[n(1)]
    RoomName(#[n(0)] String),
    /// The author's own name.
    #[n(2)]
    Profile(#[n(0)] String),
    /// An invitation, by its public key.
    #[n(3)]
    Invite(#[n(0)] Invite),
    /// An admission that cites an invite.
    #[n(4)]
    Admit(#[n(0)] Box<Admit>),
    /// A generation of the room's key.
    #[n(5)]
    Epoch(#[n(0)] EpochBody),
    /// The author leaves: its device's control log ends here, and its account's chat logs of this
    /// term where the cut says.
    #[n(6)]
    Leave(#[n(0)] Cut),
}

/// A founder's first statement.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GenesisBody {
    /// The genesis; its hash is the room's id.
    #[n(0)]
    pub genesis: Genesis,
    /// The certificate of the founder's device that writes this.
    #[n(1)]
    pub cert: DeviceCert,
}

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Invite {
    /// Its public key; the seed is in the ticket.
    #[n(0)]
    pub key: InviteKey,
    /// How many accounts may join with it; none: any number. Checked by who admits.
    #[n(1)]
    pub uses: Option<u32>,
    /// When it expires, Unix milliseconds. Checked by who admits.
    #[n(2)]
    pub expires_ms: Millis,
}

/// An admission. Its authority is the inviter's; the author only countersigns.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Admit {
    /// What the joiner claimed, to the author of this event.
    #[n(0)]
    pub claim: JoinClaim,
    /// By the invite's key.
    #[n(1)]
    pub invite_signature: Sig,
    /// By the joining device.
    #[n(2)]
    pub device_signature: Sig,
    /// Term of the membership.
    #[n(3)]
    pub term: u32,
}

impl Admit {
    /// Takes a request over into an admission for `term`.
    pub fn new(request: JoinRequest, term: u32) -> Self {
        let JoinRequest { claim, invite_signature, device_signature } = request;
        Self { claim, invite_signature, device_signature, term }
    }

    /// Whether the claim is for this room and this author, and both signatures hold.
    pub(super) fn holds(&self, room: RoomId, author: PeerId) -> bool {
        self.claim.verify(room, author, &self.invite_signature, &self.device_signature).is_ok()
    }
}

/// A generation of the room's key, without the key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EpochBody {
    /// Commitment to the secret; the epoch's id follows from it.
    #[n(0)]
    pub commitment: Bytes32,
    /// The epochs it follows.
    #[n(1)]
    pub parents: Vec<EpochId>,
}

/// The last accepted position of each of someone's logs; what is not listed ends at nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Cut {
    /// One entry a log.
    #[n(0)]
    pub logs: Vec<LogCut>,
}

/// Where one log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct LogCut {
    /// The log.
    #[n(0)]
    pub log: LogId,
    /// How many of its events count, at least one.
    #[n(1)]
    pub len: u64,
    /// The last event that counts: it says which branch, and lets a replica cut within a run.
    #[n(2)]
    pub last: EventId,
}

impl Control {
    /// Returns the body as it stands in the event.
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Reads a body; none when this version cannot make sense of it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let control: Self = wire::decode_canonical(bytes).ok()?;
        control.is_within_limits().then_some(control)
    }

    /// Whether it keeps to the limits of [`crate::limits`]; one that does not has no effect.
    pub fn is_within_limits(&self) -> bool {
        match self {
            Self::RoomName(name) | Self::Profile(name) => name.len() <= MAX_NAME,
            Self::Epoch(epoch) => epoch.parents.len() <= MAX_EPOCH_PARENTS,
            Self::Leave(cut) => {
                cut.logs.len() <= MAX_CUT_LOGS && cut.logs.iter().all(|end| end.len > 0)
            }
            Self::Genesis(_) | Self::Invite(_) | Self::Admit(_) => true,
        }
    }
}

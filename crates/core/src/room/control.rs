//! What control events say.
//!
//! Shape: CBOR `[index, [fields]]`, canonical. An index that this version does not know is kept and
//! served like any other event of an authentic log, and has no effect here.

use minicbor::{Decode, Encode};

use super::genesis::{Genesis, History};
use super::role::Role;
use crate::clock::Millis;
use crate::event::Event;
use crate::id::{AccountId, EpochId, EventId, InviteKey, PeerId, RoomId};
use crate::keys::{Bytes32, DeviceCert, Sig};
use crate::limits::{
    MAX_CUT_LOGS, MAX_EPOCH_PARENTS, MAX_FORK_VOID, MAX_HEADER, MAX_NAME, MAX_TOPIC,
};
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
    /// The room is set up in one respect.
    #[n(1)]
    Set(#[n(0)] Set),
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
    /// A role for an account: more than it has, or a new term after its last one ended.
    #[n(7)]
    Grant(#[n(0)] Grant),
    /// The end of an account's term.
    #[n(8)]
    Remove(#[n(0)] Remove),
    /// The end of an invite.
    #[n(9)]
    Revoke(#[n(0)] Revoke),
    /// The proof that a device signed two events at one position of a log.
    #[n(10)]
    Fork(#[n(0)] Box<Fork>),
    /// From here on the room follows newer rules.
    #[n(11)]
    Upgrade(#[n(0)] Upgrade),
    /// Nothing but its dependencies: it gathers more heads than one event can name.
    #[n(12)]
    Merge,
}

/// By what someone acts who has authority: the event that gave it the role, in the term of its log.
/// None: as a founder whom the genesis names.
///
/// A cited event must have been accepted before the one that cites it, like a dependency.
pub type Cites = Option<EventId>;

/// One respect in which a room is set up; the author needs authority.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Set {
    /// By what the author may.
    #[n(0)]
    pub cites: Cites,
    /// What is set.
    #[n(1)]
    pub setting: Setting,
}

/// A setting of a room.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Setting {
    /// The room's name.
    #[n(0)]
    Name(#[n(0)] String),
    /// What it is about.
    #[n(1)]
    Topic(#[n(0)] String),
    /// Its picture, by the hash of its bytes.
    #[n(2)]
    Picture(#[n(0)] Option<Bytes32>),
    /// The least role that may invite. Kept to by who invites and who admits.
    #[n(3)]
    WhoInvites(#[n(0)] Role),
    /// The least role whose messages are shown, from the time of this event on.
    #[n(4)]
    WhoPosts(#[n(0)] Role),
    /// The least role that may pin messages.
    #[n(5)]
    WhoPins(#[n(0)] Role),
    /// What newcomers may read from now on.
    #[n(6)]
    History(#[n(0)] History),
}

impl Setting {
    fn is_within_limits(&self) -> bool {
        match self {
            Self::Name(name) => name.len() <= MAX_NAME,
            Self::Topic(topic) => topic.len() <= MAX_TOPIC,
            Self::WhoInvites(role) | Self::WhoPosts(role) | Self::WhoPins(role) => {
                *role >= Role::Member
            }
            Self::Picture(_) | Self::History(_) => true,
        }
    }
}

/// A role for an account.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Grant {
    /// Who.
    #[n(0)]
    pub account: AccountId,
    /// For which term of its membership.
    #[n(1)]
    pub term: u32,
    /// What; at most the author's own role.
    #[n(2)]
    pub role: Role,
    /// By what the author may.
    #[n(3)]
    pub cites: Cites,
}

/// The end of an account's term; who is demoted goes on in the next term.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Remove {
    /// Who.
    #[n(0)]
    pub account: AccountId,
    /// Which term ends.
    #[n(1)]
    pub term: u32,
    /// The role in the next term; none: it is out.
    #[n(2)]
    pub then: Option<Role>,
    /// Where its logs end. A control log never ends before what this event's dependencies contain.
    #[n(3)]
    pub cut: Cut,
    /// By what the author may.
    #[n(4)]
    pub cites: Cites,
}

/// The end of an invite: whom it admitted in the past of this event stays.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revoke {
    /// The invite.
    #[n(0)]
    pub invite: InviteKey,
    /// By what the author may; not looked at where it is the inviter.
    #[n(1)]
    pub cites: Cites,
}

/// Two events that a device signed at one position of a log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Fork {
    /// The one.
    #[n(0)]
    pub one: SignedHeader,
    /// The other.
    #[n(1)]
    pub other: SignedHeader,
    /// Headers of control events of this log from that position on, whose ids others may name as
    /// dependencies: they count as known, and as nothing else.
    #[n(2)]
    pub void: Vec<HeaderBytes>,
    /// Whom and what they introduced, void as they are: others may have built upon that.
    #[n(3)]
    pub introduced: Introduced,
}

/// What void events of a forked device stated that decides what is taken in, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Introduced {
    /// Admissions whose author is the forked device.
    #[n(0)]
    pub admissions: Vec<Admit>,
    /// Terms of accounts that it said to begin.
    #[n(1)]
    pub seats: Vec<Seat>,
    /// Keys of its invites.
    #[n(2)]
    pub invites: Vec<InviteKey>,
}

/// An account in one term of its membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Seat {
    /// Who.
    #[n(0)]
    pub account: AccountId,
    /// Which term.
    #[n(1)]
    pub term: u32,
}

/// A header's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct HeaderBytes(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

/// A header and its signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedHeader {
    /// The header's bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub header: Vec<u8>,
    /// Its device's signature.
    #[n(1)]
    pub signature: Sig,
}

impl Fork {
    /// Puts a proof together; it holds only if [`Self::proves`] says so.
    pub fn new(one: &Event, other: &Event, void: Vec<HeaderBytes>) -> Self {
        let signed = |event: &Event| SignedHeader {
            header: event.header_bytes().to_vec(),
            signature: *event.signature(),
        };
        Self { one: signed(one), other: signed(other), void, introduced: Introduced::default() }
    }

    /// Returns the log and the position, if this proves a fork in `room`: two different events after
    /// the same one. That two branches differ further on proves nothing about where they part.
    pub fn proves(&self, room: RoomId) -> Option<(LogId, u64)> {
        let (one, other) = (self.one.verified()?, self.other.verified()?);
        let place =
            |event: &Event| (event.header().room, event.log(), event.seq(), event.header().prev);
        let forks =
            place(&one) == place(&other) && one.header().room == room && one.id() != other.id();
        forks.then(|| (one.log(), one.seq()))
    }
}

/// What comparing two branches of one log shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Branches {
    /// Nothing, as far as both are here.
    Agree,
    /// They part here.
    Part(Box<Fork>),
    /// They part before this position: earlier events are needed to tell where.
    PartBefore(u64),
}

impl Branches {
    /// Compares consecutive events of one log with those that are held of it, from the position
    /// before on where that is held too.
    pub fn compare(held: &[Event], theirs: &[Event]) -> Self {
        let Some(first) = theirs.first() else { return Self::Agree };
        let before = held.iter().find(|ours| ours.seq().checked_add(1) == Some(first.seq()));
        if before.is_some_and(|ours| Some(ours.id()) != first.header().prev) {
            return Self::PartBefore(first.seq());
        }
        let other = |ours: &Event| theirs.iter().find(|it| it.seq() == ours.seq());
        let mut pairs = held.iter().filter_map(|ours| Some((ours, other(ours)?)));
        match pairs.find(|(ours, it)| ours.id() != it.id()) {
            None => Self::Agree,
            Some((ours, it)) if ours.header().prev == it.header().prev => {
                Self::Part(Box::new(Fork::new(ours, it, vec![])))
            }
            Some((ours, _)) => Self::PartBefore(ours.seq()),
        }
    }
}

impl Fork {
    /// Returns the event after which the branches part; none where they do from the start.
    pub(super) fn before(&self) -> Option<EventId> {
        header_of(&self.one.header)?.header().prev
    }

    /// Returns the admissions that it carries and that hold by themselves, as the forked device's.
    pub(super) fn admissions(&self, room: RoomId) -> impl Iterator<Item = &Admit> {
        let author = header_of(&self.one.header).map(|event| event.header().device);
        let admissions = self.introduced.admissions.iter();
        admissions.filter(move |admit| author.is_some_and(|author| admit.holds(room, author)))
    }

    /// Whether its headers are of this log; signatures are not looked at.
    pub(super) fn is_about(&self, log: &LogId) -> bool {
        header_of(&self.one.header).is_some_and(|event| event.log() == *log)
    }

    /// Returns the ids of the void events that it names: of the forked log from the fork on, and of no
    /// other, so that nothing that counts can be declared void.
    pub(super) fn void_ids(&self) -> Vec<EventId> {
        let Some(one) = header_of(&self.one.header) else { return vec![] };
        let beyond = |event: &Event| {
            event.header().room == one.header().room
                && event.log() == one.log()
                && event.seq() >= one.seq()
        };
        let events = self.void.iter().filter_map(|header| header_of(&header.0));
        events.filter(beyond).map(|event| event.id()).collect()
    }
}

/// Reads a header whose signature is not looked at.
fn header_of(bytes: &[u8]) -> Option<Event> {
    Event::from_parts(bytes.to_vec(), Sig([0; 64]), None).ok()
}

impl SignedHeader {
    fn verified(&self) -> Option<Event> {
        let event = Event::from_parts(self.header.clone(), self.signature, None).ok()?;
        event.verify().is_ok().then_some(event)
    }
}

/// A step to newer rules; only a founder may.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Upgrade {
    /// The rules from here on.
    #[n(0)]
    pub rules: u32,
    /// By what the author may.
    #[n(1)]
    pub cites: Cites,
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
    /// The role of who joins with it: reader or member.
    #[n(3)]
    pub role: Role,
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
    /// The parents' secrets, in their order, each sealed with this epoch's own: whoever has this one
    /// has those. Empty where newcomers may not read what was before, or for a secret that its
    /// author has not got.
    #[n(2)]
    pub wraps: Vec<Wrap>,
}

/// A parent's secret, sealed ([`crate::epoch::EpochSecret::wrap`]); empty: not here.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Wrap(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

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
            Self::Profile(name) => name.len() <= MAX_NAME,
            Self::Set(set) => set.setting.is_within_limits(),
            Self::Epoch(epoch) => {
                let wraps = epoch.wraps.is_empty() || epoch.wraps.len() == epoch.parents.len();
                epoch.parents.len() <= MAX_EPOCH_PARENTS
                    && wraps
                    && epoch.wraps.iter().all(|wrap| wrap.0.len() <= MAX_HEADER)
            }
            Self::Leave(cut) | Self::Remove(Remove { cut, .. }) => cut.is_within_limits(),
            Self::Invite(invite) => invite.role <= Role::Member,
            Self::Fork(fork) => {
                let headers = [&fork.one.header, &fork.other.header];
                let Introduced { admissions, seats, invites } = &fork.introduced;
                fork.void.len() <= MAX_FORK_VOID
                    && admissions.len() <= MAX_FORK_VOID
                    && seats.len() <= MAX_FORK_VOID
                    && invites.len() <= MAX_FORK_VOID
                    && headers
                        .into_iter()
                        .chain(fork.void.iter().map(|header| &header.0))
                        .all(|header| header.len() <= MAX_HEADER)
            }
            Self::Genesis(_)
            | Self::Admit(_)
            | Self::Grant(_)
            | Self::Revoke(_)
            | Self::Upgrade(_)
            | Self::Merge => true,
        }
    }

    /// Returns the event that it cites for its authority.
    pub fn cites(&self) -> Cites {
        match self {
            Self::Set(Set { cites, .. })
            | Self::Grant(Grant { cites, .. })
            | Self::Remove(Remove { cites, .. })
            | Self::Revoke(Revoke { cites, .. })
            | Self::Upgrade(Upgrade { cites, .. }) => *cites,
            _ => None,
        }
    }
}

impl Cut {
    fn is_within_limits(&self) -> bool {
        self.logs.len() <= MAX_CUT_LOGS && self.logs.iter().all(|end| end.len > 0)
    }
}

//! Events: signed items of a device's log.
//!
//! Shape: `header ‖ signature`, with the body beside it. The id is a hash of the header, the
//! signature is over the id, the header names the hash of the body as sent. So a header is authentic
//! by its own signature or by that of a later event of its log, which names it through `prev`
//! ([`CheckedRun`]); and a body can be withheld or erased without breaking anything.
//!
//! Invariant: header bytes are kept as they came, and only one byte string decodes to a header.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::clock::Hlc;
use crate::id::{EpochId, EventId, PeerId, RoomId};
use crate::keys::{Bytes32, DeviceKey, Domain, KeyError, Sig, context, derive, verify};
use crate::limits::{MAX_BODY, MAX_CHAT_DEPS, MAX_CONTROL_DEPS, MAX_HEADER};
use crate::log::{Lane, LogId};
use crate::wire::{self, WireError};

/// The event format written, and the only one read.
pub const VERSION: u8 = 1;

/// An event's header.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Header {
    /// Format version, [`VERSION`].
    #[n(0)]
    pub v: u8,
    /// The room.
    #[n(1)]
    pub room: RoomId,
    /// The device that wrote it.
    #[n(2)]
    pub device: PeerId,
    /// The term of its membership.
    #[n(3)]
    pub term: u32,
    /// The lane.
    #[n(4)]
    pub lane: Lane,
    /// Position in its log, from 0.
    #[n(5)]
    pub seq: u64,
    /// The event before it in its log; none at 0.
    #[n(6)]
    pub prev: Option<EventId>,
    /// Control: the control heads its author saw, which gate its acceptance. Chat: hints.
    #[n(7)]
    pub deps: Vec<EventId>,
    /// When, by its author's clock.
    #[n(8)]
    pub time: Hlc,
    /// The epoch that seals its body; none in the control lane.
    #[n(9)]
    pub epoch: Option<EpochId>,
    /// Length of the body as sent.
    #[n(10)]
    pub body_len: u32,
    /// Hash of the body as sent.
    #[n(11)]
    pub body_hash: Bytes32,
}

/// The header's fields up to the body: what a sealed body is bound to.
#[derive(Encode)]
#[cbor(map)]
struct Prefix<'a> {
    #[n(0)]
    v: u8,
    #[n(1)]
    room: RoomId,
    #[n(2)]
    device: PeerId,
    #[n(3)]
    term: u32,
    #[n(4)]
    lane: Lane,
    #[n(5)]
    seq: u64,
    #[n(6)]
    prev: Option<EventId>,
    #[n(7)]
    deps: &'a [EventId],
    #[n(8)]
    time: Hlc,
    #[n(9)]
    epoch: Option<EpochId>,
}

impl Header {
    /// Returns the log it belongs to.
    pub fn log(&self) -> LogId {
        LogId { lane: self.lane, device: self.device, term: self.term }
    }

    /// Returns the associated data for its sealed body: the header before `body_len`.
    pub fn associated_data(&self) -> Vec<u8> {
        wire::encode(&Prefix {
            v: self.v,
            room: self.room,
            device: self.device,
            term: self.term,
            lane: self.lane,
            seq: self.seq,
            prev: self.prev,
            deps: &self.deps,
            time: self.time,
            epoch: self.epoch,
        })
    }

    fn check(&self) -> Result<(), EventError> {
        let max_deps = match self.lane {
            Lane::Control => MAX_CONTROL_DEPS,
            Lane::Chat => MAX_CHAT_DEPS,
        };
        let shaped = self.v == VERSION
            && self.prev.is_some() == (self.seq > 0)
            && self.seq < u64::MAX
            && self.deps.len() <= max_deps
            && self.epoch.is_some() == (self.lane == Lane::Chat);
        if !shaped {
            return Err(if self.v == VERSION {
                EventError::BadHeader
            } else {
                EventError::UnknownVersion(self.v)
            });
        }
        Ok(wire::check_len("body", self.body_len as usize, MAX_BODY)?)
    }
}

/// Why bytes are not an event, or events not a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Not decodable, not canonical, or too long.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A format that this version does not know.
    #[error("event format {0} is not known here")]
    UnknownVersion(u8),
    /// Fields contradict each other: `prev` and `seq`, lane and epoch, too many `deps`.
    #[error("contradictory header")]
    BadHeader,
    /// The body is not the one that the header names.
    #[error("the body does not match its header")]
    BadBody,
    /// A signature or key is refused.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Events of one run do not follow each other.
    #[error("events do not follow each other in one log")]
    BrokenRun,
    /// A run without events, or with too many.
    #[error("a run of {0} events")]
    BadRunLength(usize),
}

/// An event: its header as it came, its signature, and the body if we have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    header: Header,
    header_bytes: Vec<u8>,
    id: EventId,
    signature: Sig,
    body: Option<Vec<u8>>,
}

/// An event on the wire: `[header, signature, body or null]`, the first and last as byte strings.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RawEvent {
    /// Header bytes.
    #[n(0)]
    pub header: ByteVec,
    /// Signature over the id.
    #[n(1)]
    pub signature: Sig,
    /// Body as sent, if the sender has it.
    #[n(2)]
    pub body: Option<ByteVec>,
}

/// Returns the id of the event with this header.
pub fn event_id(header: &[u8]) -> EventId {
    EventId(derive(context::EVENT, &[header]))
}

/// Returns the hash of a body as sent.
pub fn body_hash(body: &[u8]) -> Bytes32 {
    Bytes32(derive(context::BODY, &[body]))
}

impl Event {
    /// Completes a header with its body, and signs it. The header's body fields are set here.
    pub fn sign(mut header: Header, body: Vec<u8>, key: &DeviceKey) -> Self {
        header.body_len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        header.body_hash = body_hash(&body);
        let header_bytes = wire::encode(&header);
        let id = event_id(&header_bytes);
        let signature = key.sign(Domain::Event, &id.0);
        Self { header, header_bytes, id, signature, body: Some(body) }
    }

    /// Reads an event; checks its shape and its body's hash, and not yet its signature.
    ///
    /// # Errors
    /// [`EventError`].
    pub fn from_raw(raw: RawEvent) -> Result<Self, EventError> {
        Self::from_parts(raw.header.into(), raw.signature, raw.body.map(Into::into))
    }

    /// Like [`Self::from_raw`], from the parts that a store keeps.
    ///
    /// # Errors
    /// [`EventError`].
    pub fn from_parts(
        header_bytes: Vec<u8>,
        signature: Sig,
        body: Option<Vec<u8>>,
    ) -> Result<Self, EventError> {
        wire::check_len("header", header_bytes.len(), MAX_HEADER)?;
        let header: Header = wire::decode_canonical(&header_bytes)?;
        header.check()?;
        if let Some(body) = &body {
            let same =
                body.len() == header.body_len as usize && body_hash(body) == header.body_hash;
            if !same {
                return Err(EventError::BadBody);
            }
        }
        let id = event_id(&header_bytes);
        Ok(Self { header, header_bytes, id, signature, body })
    }

    /// Returns the wire form.
    pub fn to_raw(&self) -> RawEvent {
        RawEvent {
            header: self.header_bytes.clone().into(),
            signature: self.signature,
            body: self.body.clone().map(Into::into),
        }
    }

    /// Turns it into the wire form, without a copy.
    pub fn into_raw(self) -> RawEvent {
        RawEvent {
            header: self.header_bytes.into(),
            signature: self.signature,
            body: self.body.map(Into::into),
        }
    }

    /// Checks the signature, strictly.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(&self) -> Result<(), KeyError> {
        verify(&self.header.device.0, Domain::Event, &self.id.0, &self.signature)
    }

    /// Returns the header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the header as it came.
    pub fn header_bytes(&self) -> &[u8] {
        &self.header_bytes
    }

    /// Returns the id.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Returns the signature.
    pub fn signature(&self) -> &Sig {
        &self.signature
    }

    /// Returns the body as sent, if we have it.
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    /// Returns the log it belongs to.
    pub fn log(&self) -> LogId {
        self.header.log()
    }

    /// Returns its position in its log.
    pub fn seq(&self) -> u64 {
        self.header.seq
    }

    /// Returns the key by which timelines are ordered.
    pub fn order(&self) -> (Hlc, EventId) {
        (self.header.time, self.id)
    }

    /// Returns header, signature and body together, in bytes: the size of the event itself.
    pub fn size(&self) -> usize {
        self.header_bytes.len() + self.signature.0.len() + self.body.as_ref().map_or(0, Vec::len)
    }
}

/// Consecutive events of one log, authentic as a whole: linked by `prev`, and the last one signed.
///
/// In the chat lane the signatures inside are not checked, only kept; who serves a part that ends at
/// one of them checks that one first. In the control lane, which is small and must reach every
/// newcomer in whatever pieces, each is checked: nobody who hands it on can make it unservable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedRun {
    events: Vec<Event>,
}

impl CheckedRun {
    /// Checks that `events` follow each other in one log of `room`, and verifies the last signature;
    /// in the control lane all of them.
    ///
    /// # Errors
    /// [`EventError`].
    pub fn new(room: RoomId, events: Vec<Event>) -> Result<Self, EventError> {
        let Some(last) = events.last() else { return Err(EventError::BadRunLength(0)) };
        if events.iter().any(|event| event.header.room != room) {
            return Err(EventError::BrokenRun);
        }
        for pair in events.windows(2) {
            let [before, after] = pair else { continue };
            let follows = after.log() == before.log()
                && Some(after.seq()) == before.seq().checked_add(1)
                && after.header.prev == Some(before.id);
            if !follows {
                return Err(EventError::BrokenRun);
            }
        }
        match last.header.lane {
            Lane::Control => events.iter().try_for_each(Event::verify)?,
            Lane::Chat => last.verify()?,
        }
        Ok(Self { events })
    }

    /// Returns the events, at least one.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Gives the events up.
    pub fn into_events(self) -> Vec<Event> {
        self.events
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn key(n: u8) -> DeviceKey {
        DeviceKey::from_secrets(&[n; 32], &[n.wrapping_add(100); 32])
    }

    fn header(seq: u64, prev: Option<EventId>) -> Header {
        Header {
            v: VERSION,
            room: RoomId([7; 32]),
            device: key(1).id(),
            term: 0,
            lane: Lane::Chat,
            seq,
            prev,
            deps: vec![],
            time: Hlc::from_millis(1000 + seq),
            epoch: Some(EpochId([8; 32])),
            body_len: 0,
            body_hash: Bytes32([0; 32]),
        }
    }

    fn chain(len: u64) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        for seq in 0..len {
            let prev = events.last().map(Event::id);
            events.push(Event::sign(header(seq, prev), vec![1, 2, 3], &key(1)));
        }
        events
    }

    #[test]
    fn a_run_is_authentic_by_its_last_signature() {
        let room = RoomId([7; 32]);
        let events = chain(5);
        assert!(CheckedRun::new(room, events.clone()).is_ok());
        assert_eq!(CheckedRun::new(room, vec![]), Err(EventError::BadRunLength(0)));
        assert_eq!(CheckedRun::new(RoomId([6; 32]), events.clone()), Err(EventError::BrokenRun));

        let mut gap = events.clone();
        gap.remove(2);
        assert_eq!(CheckedRun::new(room, gap), Err(EventError::BrokenRun));

        let mut unsigned_end = events.clone();
        unsigned_end[4].signature = unsigned_end[3].signature;
        assert_eq!(
            CheckedRun::new(room, unsigned_end),
            Err(EventError::Key(KeyError::BadSignature))
        );

        let mut unsigned_middle = events;
        unsigned_middle[2].signature = unsigned_middle[3].signature;
        assert!(CheckedRun::new(room, unsigned_middle).is_ok(), "vouched for by its descendants");
    }

    #[test]
    fn hazard_16_contradictions_are_verdicts() {
        let event = Event::sign(header(0, None), vec![9], &key(1));
        let raw = event.to_raw();
        assert_eq!(Event::from_raw(raw.clone()), Ok(event));

        let mut other_body = raw.clone();
        other_body.body = Some(vec![8].into());
        assert_eq!(Event::from_raw(other_body), Err(EventError::BadBody));

        let mut without = raw.clone();
        without.body = None;
        assert!(Event::from_raw(without).is_ok(), "a withheld body");

        for bad in [
            Header { prev: Some(EventId([1; 32])), ..header(0, None) },
            header(3, None),
            Header { epoch: None, ..header(0, None) },
            Header { lane: Lane::Control, ..header(0, None) },
            Header { deps: vec![EventId([1; 32]); MAX_CHAT_DEPS + 1], ..header(0, None) },
        ] {
            let raw = Event::sign(bad, vec![], &key(1)).to_raw();
            assert_eq!(Event::from_raw(raw), Err(EventError::BadHeader));
        }
        let newer = Event::sign(Header { v: 2, ..header(0, None) }, vec![], &key(1)).to_raw();
        assert_eq!(Event::from_raw(newer), Err(EventError::UnknownVersion(2)));
        let mut long = raw;
        long.header = vec![0; MAX_HEADER + 1].into();
        assert!(matches!(Event::from_raw(long), Err(EventError::Wire(WireError::TooLong { .. }))));
    }

    proptest! {
        #[test]
        fn decode_inverts_encode_and_damage_is_noticed(
            seq in 0u64..1000, body in proptest::collection::vec(any::<u8>(), 0..100), at in 0usize..300,
        ) {
            let prev = (seq > 0).then_some(EventId([1; 32]));
            let event = Event::sign(header(seq, prev), body, &key(2));
            let raw = event.to_raw();
            let bytes = wire::encode(&raw);
            prop_assert_eq!(Event::from_raw(wire::decode(&bytes).expect("ours")), Ok(event.clone()));
            let mut damaged = raw;
            let at = at % damaged.header.len();
            damaged.header[at] ^= 1;
            if let Ok(other) = Event::from_raw(damaged) {
                prop_assert_ne!(other.id(), event.id());
                prop_assert!(other.verify().is_err());
            }
        }
    }
}

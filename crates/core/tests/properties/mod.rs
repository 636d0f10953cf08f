//! What must hold for any bytes that arrive: the fuzz targets look for bytes for which it does not,
//! and `tests/fuzz_corpus.rs` replays those that are kept.
//!
//! Each function takes any bytes and panics where a property fails. The properties: no panic in the
//! decoders; decode∘encode = identity where it decodes; one text, one ticket; one header, one byte
//! string; a stream cut anywhere gives the same frames.

use std::fmt::Debug;

use ayni_core::chat::Chat;
use ayni_core::event::{CheckedRun, Event, RawEvent};
use ayni_core::frame::{self, FrameBuffer};
use ayni_core::keys::DeviceCert;
use ayni_core::limits::{MAX_FRAME, MAX_TICKET_TEXT, MAX_WANT_EVENTS};
use ayni_core::proto;
use ayni_core::room::{Control, Genesis};
use ayni_core::sync::frame::SyncFrame;
use ayni_core::ticket::Ticket;
use ayni_core::wire::{self, WireError};
use minicbor::{Decode, Encode};

/// Any bytes as a stream of frames: the first byte says where it is cut, the rest is the stream.
pub fn frame(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let (payloads, verdict) = read_frames(stream, stream.len().max(1));
    assert_eq!(
        read_frames(stream, usize::from(*cut) + 1),
        (payloads.clone(), verdict),
        "where a stream is cut must not matter"
    );
    let mut rest = stream;
    for payload in &payloads {
        assert!(payload.len() <= MAX_FRAME, "a frame above the limit");
        let length = u32::try_from(payload.len()).expect("within the limit").to_be_bytes();
        rest = rest.strip_prefix(&length).expect("the length in front");
        rest = rest.strip_prefix(payload.as_slice()).expect("the payload as it came");
        any_frame(payload);
    }
}

/// Any bytes as an event, as its parts, and as what an event holds.
pub fn event(data: &[u8]) {
    if let Ok(raw) = wire::decode::<RawEvent>(data) {
        raw_event(&raw);
    }
    canonical::<Genesis>(data);
    canonical::<DeviceCert>(data);
    if let Some(control) = Control::from_bytes(data) {
        assert_eq!(control.to_bytes(), data, "a control body has one encoding");
    }
    if let Ok(chat) = Chat::from_bytes(data)
        && let Chat::Message(_) = &chat
    {
        assert_eq!(Chat::from_bytes(&chat.to_bytes()), Ok(chat));
    }
}

/// Any bytes as the text of a ticket, as its binary form, and as its body.
pub fn ticket(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(ticket) = text.parse::<Ticket>()
    {
        let shown = ticket.to_string();
        assert_eq!(shown, text.trim().to_ascii_lowercase(), "a ticket has one text");
        assert!(shown.len() <= MAX_TICKET_TEXT);
    }
    if let Ok(ticket) = Ticket::from_bytes(data) {
        assert_eq!(ticket.to_bytes(), data, "a ticket has one binary form");
        assert_eq!(ticket.to_string().parse(), Ok(ticket), "a ticket's text gives the ticket");
    }
    // Behind the checksum, where damage is not found by chance.
    if let Ok(ticket) = wire::decode_canonical::<Ticket>(data)
        && let Ok(read) = Ticket::from_bytes(&ticket.to_bytes())
    {
        assert_eq!(read, ticket);
        let _ = ticket.secret().key();
    }
}

/// Reads a stream that arrives in chunks of `size`, up to its first error.
fn read_frames(stream: &[u8], size: usize) -> (Vec<Vec<u8>>, Option<WireError>) {
    let mut buffer = FrameBuffer::default();
    let mut payloads = Vec::new();
    for chunk in stream.chunks(size) {
        buffer.push(chunk);
        loop {
            match buffer.next_payload() {
                Ok(Some(payload)) => payloads.push(payload),
                Ok(None) => break,
                Err(error) => return (payloads, Some(error)),
            }
        }
    }
    (payloads, None)
}

/// Every frame type of the protocol, since the sender decides which one comes.
fn any_frame(payload: &[u8]) {
    if let Some(hello) = round_trip::<proto::Hello>(payload) {
        let _ = hello.check();
    }
    if let Some(open) = round_trip::<proto::Open>(payload) {
        let _ = proto::parse_service_name(&open.service);
    }
    round_trip::<proto::Opened>(payload);
    round_trip::<proto::ReplyHead>(payload);
    if let Some(profile) = round_trip::<proto::Profile>(payload) {
        let _ = profile.check();
    }
    round_trip::<proto::JoinRequest>(payload);
    round_trip::<proto::JoinReply>(payload);
    round_trip::<proto::LookReply>(payload);
    round_trip::<proto::KeysRequest>(payload);
    round_trip::<proto::KeysReply>(payload);
    round_trip::<proto::ContactRequest>(payload);
    round_trip::<proto::ContactReply>(payload);
    if let Some(proto::Gossip::Event(raw)) = round_trip::<proto::Gossip>(payload) {
        raw_event(&raw);
    }
    if let Some(sync) = round_trip::<SyncFrame>(payload) {
        sync_frame(sync);
    }
}

fn sync_frame(frame: SyncFrame) {
    if frame.check().is_err() {
        return;
    }
    if let SyncFrame::Want(want) = &frame {
        let runs = want.ranges.iter().flat_map(|log| &log.runs);
        let events: u128 = runs.map(|(start, end)| u128::from(end - start)).sum();
        assert!(
            events <= u128::from(MAX_WANT_EVENTS),
            "a request above the limit: {events} events"
        );
    }
    if let SyncFrame::Run(_, raw) = frame {
        let events: Result<Vec<Event>, _> = raw.into_iter().map(Event::from_raw).collect();
        if let Ok(events) = events
            && let Some(first) = events.first()
        {
            let _ = CheckedRun::new(first.header().room, events);
        }
    }
}

fn raw_event(raw: &RawEvent) {
    let Ok(event) = Event::from_raw(raw.clone()) else { return };
    assert_eq!(event.to_raw(), *raw, "an event goes out as it came in");
    assert_eq!(wire::encode(event.header()), event.header_bytes(), "a header has one encoding");
    assert_eq!(Event::from_raw(event.to_raw()), Ok(event.clone()));
    let _ = event.header().associated_data();
    let _ = event.verify();
}

/// Decodes a frame; what it decodes to must survive encoding.
fn round_trip<T>(payload: &[u8]) -> Option<T>
where
    T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + Debug,
{
    let value = wire::decode::<T>(payload).ok()?;
    let encoded = frame::encode(&value);
    if let Ok(bytes) = encoded {
        assert_eq!(wire::decode::<T>(&bytes[frame::LENGTH_LEN..]).as_ref(), Ok(&value));
    }
    Some(value)
}

/// Decodes what is signed or hashed: only its own encoding may decode.
fn canonical<T>(bytes: &[u8])
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    if let Ok(value) = wire::decode_canonical::<T>(bytes) {
        assert_eq!(wire::encode(&value), bytes, "one value, one encoding");
    }
}

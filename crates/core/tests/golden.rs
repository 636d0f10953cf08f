//! Golden vectors: what is signed, hashed or sent has the bytes that it had in the first release.
//!
//! `tests/golden/NAME.hex` pins each, and `docs/wire.md` shows each with annotations, in a code block
//! that starts with `` ```hex NAME ``. A vector never changes: see "Compatibility" in
//! `CONTRIBUTING.md`.
#![allow(
    clippy::disallowed_methods,
    reason = "a test reads its vectors; the core itself reads nothing"
)]

mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ayni_core::chat::Chat;
use ayni_core::event::{Event, RawEvent};
use ayni_core::frame::FrameBuffer;
use ayni_core::keys::{DeviceCert, DeviceKey};
use ayni_core::proto;
use ayni_core::room::{Control, Genesis};
use ayni_core::sync::frame::SyncFrame;
use ayni_core::ticket::Ticket;
use ayni_core::wire;
use data_encoding::HEXLOWER;
use minicbor::{Decode, Encode};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn pinned(name: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.hex"))).ok()?;
    Some(text.split_whitespace().collect())
}

fn bytes(name: &str) -> Vec<u8> {
    HEXLOWER.decode(pinned(name).expect(name).as_bytes()).expect(name)
}

#[test]
fn every_vector_is_what_it_was() {
    let named = vectors::all().into_iter().map(|(name, bytes)| (name, HEXLOWER.encode(&bytes)));
    let wrong: Vec<_> = named.filter(|(name, hex)| pinned(name).as_ref() != Some(hex)).collect();
    assert!(wrong.is_empty(), "these differ from tests/golden: {wrong:#?}");
}

#[test]
fn every_file_is_a_vector() {
    let names: BTreeSet<String> = vectors::all().iter().map(|(name, _)| (*name).into()).collect();
    assert_eq!(names.len(), vectors::all().len(), "a name twice");
    for entry in std::fs::read_dir(folder()).expect("tests/golden") {
        let file = entry.expect("readable").path();
        let name = file.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        assert!(names.contains(name), "{name} is not a vector");
    }
}

/// The code blocks of `docs/wire.md` by name, without what stands behind `#`.
fn documented() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/wire.md");
    let text = std::fs::read_to_string(path).expect("docs/wire.md");
    let mut blocks = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```hex ") else { continue };
        let block = lines.by_ref().take_while(|line| *line != "```");
        let hex = block.map(|line| line.split('#').next().unwrap_or_default());
        let hex: String = hex.flat_map(str::split_whitespace).collect();
        assert!(blocks.insert(name.into(), hex).is_none(), "{name} is shown twice");
    }
    blocks
}

#[test]
fn the_document_shows_every_vector() {
    let documented = documented();
    for (name, _) in vectors::all() {
        assert_eq!(documented.get(name), pinned(name).as_ref(), "{name} in docs/wire.md");
    }
    assert_eq!(documented.len(), vectors::all().len(), "a block that is no vector");
}

#[test]
fn the_document_names_every_limit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let limits = std::fs::read_to_string(root.join("src/limits.rs")).expect("limits.rs");
    let document = std::fs::read_to_string(root.join("../../docs/wire.md")).expect("docs/wire.md");
    let names =
        limits.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let missing: Vec<&str> =
        names.filter(|name| !document.contains(&format!("`{name}`"))).collect();
    assert_eq!(missing, Vec::<&str>::new(), "limits that docs/wire.md does not name");
}

/// That a vector decodes to something that encodes to it, and that nothing may follow it.
fn reads<T>(name: &str)
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    let mut bytes = bytes(name);
    let value = wire::decode_canonical::<T>(&bytes).expect(name);
    assert_eq!(wire::encode(&value), bytes, "{name}");
    bytes.push(0);
    assert!(wire::decode::<T>(&bytes).is_err(), "{name}");
}

#[test]
fn every_vector_can_be_read() {
    reads::<DeviceCert>("device_cert");
    reads::<Genesis>("genesis_group");
    reads::<Genesis>("genesis_direct");
    reads::<RawEvent>("event");
    reads::<RawEvent>("event_withheld");
    reads::<proto::Hello>("hello");
    reads::<proto::Open>("open");
    reads::<proto::Open>("open_room");
    for name in ["accepted", "refused", "busy"] {
        reads::<proto::Opened>(&format!("opened_{name}"));
    }
    for name in ["done", "failed", "request_too_large", "reply_too_large", "timed_out"] {
        reads::<proto::ReplyHead>(&format!("reply_{name}"));
    }
    reads::<proto::Profile>("profile");
    reads::<proto::JoinClaim>("join_claim");
    reads::<proto::JoinRequest>("join_request");
    for name in ["admitted", "expired", "used_up", "not_now", "refused"] {
        reads::<proto::JoinReply>(&format!("join_{name}"));
    }
    reads::<proto::LookReply>("look_invitation");
    reads::<proto::LookReply>("look_not");
    reads::<proto::KeysRequest>("keys_request");
    reads::<proto::KeysReply>("keys_reply");
    reads::<proto::ContactRequest>("contact_request");
    reads::<proto::ContactReply>("contact_opened");
    reads::<proto::ContactReply>("contact_refused");
    reads::<proto::HeldRequest>("held_request");
    reads::<proto::HeldReply>("held_reply");
    reads::<proto::FetchersRequest>("fetchers_request");
    reads::<proto::FetchersReply>("fetchers_reply");
    for name in ["chat_message", "chat_picture", "chat_folder"] {
        let chat = Chat::from_bytes(&bytes(name)).expect(name);
        assert_eq!(chat.to_bytes(), bytes(name), "{name}");
    }
    reads::<proto::Gossip>("gossip_event");
    reads::<proto::Gossip>("gossip_hint");
    for name in ["summary", "have", "want", "want_newest", "run", "done", "peers"] {
        reads::<SyncFrame>(&format!("sync_{name}"));
        let frame: SyncFrame = wire::decode(&bytes(&format!("sync_{name}"))).expect(name);
        assert_eq!(frame.check(), Ok(()), "{name}");
    }
}

#[test]
fn signed_vectors_verify() {
    let event = Event::from_raw(wire::decode(&bytes("event")).expect("event")).expect("event");
    assert_eq!(event.verify(), Ok(()));
    assert_eq!(event.id().0.to_vec(), bytes("header_chat_id"));
    assert_eq!(event.header().device, vectors::peer());
    let withheld = wire::decode(&bytes("event_withheld")).expect("event");
    assert_eq!(Event::from_raw(withheld).expect("event").verify(), Ok(()));

    let cert = DeviceCert::from_bytes(&bytes("device_cert")).expect("cert");
    assert_eq!(cert.verify(), Ok(()));
    let request: proto::JoinRequest = wire::decode(&bytes("join_request")).expect("request");
    assert_eq!(request.verify(event.header().room, vectors::peer()), Ok(()));
    let profile: proto::Profile = wire::decode(&bytes("profile")).expect("profile");
    assert_eq!(profile.check(), Ok(()));
    let admitted = wire::decode(&bytes("join_admitted")).expect("reply");
    let proto::JoinReply::Admitted(admission) = admitted else { panic!("admitted") };
    assert_eq!(admission.check(event.header().room), Ok(()));
    let joiner = DeviceKey::from_secrets(&[7; 32], &[8; 32]);
    let opened = admission.epochs[0].open(event.header().room, vectors::peer(), &joiner);
    assert_eq!(opened, Ok(ayni_core::epoch::EpochSecret::new([9; 32])));

    let names: Vec<_> =
        vectors::all().into_iter().filter(|(it, _)| it.starts_with("control_")).collect();
    assert_eq!(names.len(), 14);
    for (name, bytes) in names {
        assert_eq!(Control::from_bytes(&bytes).expect(name).to_bytes(), bytes, "{name}");
    }
    let secret = ayni_core::epoch::EpochSecret::new([9; 32]);
    let plain = secret
        .open(event.header().room, &bytes("associated_data"), &bytes("chat_sealed"))
        .expect("opens");
    assert_eq!(plain, bytes("chat_message"));
    assert_eq!(Chat::from_bytes(&plain), Ok(Chat::Message("hello".into())));
}

#[test]
fn the_ticket_reads_in_any_case_and_damage_is_noticed() {
    let text = String::from_utf8(bytes("ticket_text")).expect("letters and digits");
    let ticket: Ticket = text.parse().expect("ours");
    assert_eq!(ticket.to_bytes(), bytes("ticket_bytes"));
    assert_eq!(text.to_uppercase().parse::<Ticket>(), Ok(ticket.clone()));
    assert_eq!(format!("  {text}\n").parse::<Ticket>(), Ok(ticket));
    for at in 0..text.len() {
        let mut damaged = text.clone().into_bytes();
        damaged[at] = if damaged[at] == b'a' { b'b' } else { b'a' };
        let damaged = String::from_utf8(damaged).expect("letters");
        assert!(damaged.parse::<Ticket>().is_err(), "{at}");
        assert!(text[..at].parse::<Ticket>().is_err(), "cut at {at}");
    }
}

#[test]
fn frames_have_their_length_in_front() {
    let mut buffer = FrameBuffer::default();
    buffer.push(&bytes("open_framed"));
    assert_eq!(buffer.next_payload(), Ok(Some(bytes("open"))));
}

//! decode ∘ encode is the identity, for every type on the wire.

use std::fmt::Debug;

use ayni_core::chat::Chat;
use ayni_core::clock::Hlc;
use ayni_core::event::{Header, RawEvent, VERSION};
use ayni_core::frame::{self, FrameBuffer};
use ayni_core::id::{AccountId, EpochId, EventId, InviteKey, PeerId, RoomId};
use ayni_core::keys::{Bytes32, DeviceCert, DeviceClaim, Sig};
use ayni_core::log::{Frontier, Lane, LogId};
use ayni_core::proto::{
    Admission, ContactReply, ContactRequest, Gossip, Hello, JoinClaim, JoinReply, JoinRequest,
    KeysReply, KeysRequest, Open, Opened, Profile, ReplyHead, ServiceDescriptor,
};
use ayni_core::room::{
    Admit, Control, Cut, EpochBody, Fork, Genesis, GenesisBody, Grant, HeaderBytes, History,
    Introduced, Invite, Kind, LogCut, Policies, Remove, Revoke, Role, Seat, Set, Setting,
    SignedHeader, Upgrade, Wrap,
};
use ayni_core::sealed::SealedEpoch;
use ayni_core::sync::frame::{LogRuns, SyncFrame, Want, from_frontier, to_frontier};
use ayni_core::ticket::{Addr, PeerAddr, Ticket};
use ayni_core::wire;
use minicbor::{Decode, Encode};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn bytes32() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn sig() -> impl Strategy<Value = Sig> {
    (bytes32(), bytes32()).prop_map(|(r, s)| {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(&s);
        Sig(signature)
    })
}

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![Just(Lane::Control), Just(Lane::Chat)]
}

fn log() -> impl Strategy<Value = LogId> {
    (lane(), bytes32(), any::<u32>()).prop_map(|(lane, device, term)| LogId {
        lane,
        device: PeerId(device),
        term,
    })
}

fn ids() -> impl Strategy<Value = Vec<EventId>> {
    vec(bytes32().prop_map(EventId), 0..8)
}

fn header() -> impl Strategy<Value = Header> {
    let who = (bytes32(), bytes32(), any::<u32>(), lane(), any::<u64>());
    let what = (option::of(bytes32()), ids(), any::<u64>(), option::of(bytes32()));
    (who, what, any::<u32>(), bytes32()).prop_map(
        |((room, device, term, lane, seq), (prev, deps, time, epoch), body_len, hash)| Header {
            v: VERSION,
            room: RoomId(room),
            device: PeerId(device),
            term,
            lane,
            seq,
            prev: prev.map(EventId),
            deps,
            time: Hlc(time),
            epoch: epoch.map(EpochId),
            body_len,
            body_hash: Bytes32(hash),
        },
    )
}

fn raw() -> impl Strategy<Value = RawEvent> {
    let body = option::of(vec(any::<u8>(), 0..40));
    (header(), sig(), body).prop_map(|(header, signature, body)| RawEvent {
        header: wire::encode(&header).into(),
        signature,
        body: body.map(Into::into),
    })
}

fn cert() -> impl Strategy<Value = DeviceCert> {
    (bytes32(), bytes32(), bytes32(), any::<u64>(), sig()).prop_map(
        |(account, device, hpke, time_ms, signature)| {
            let (account, device, hpke) = (AccountId(account), PeerId(device), Bytes32(hpke));
            DeviceCert { claim: DeviceClaim { account, device, hpke, time_ms }, signature }
        },
    )
}

fn genesis() -> impl Strategy<Value = Genesis> {
    let kind = prop_oneof![Just(Kind::Group), Just(Kind::Direct)];
    let history = prop_oneof![Just(History::FromStart), Just(History::FromJoining)];
    let founders = vec(bytes32().prop_map(AccountId), 0..4);
    (any::<u32>(), kind, founders, history, option::of(bytes32())).prop_map(
        |(rules, kind, founders, history, nonce)| Genesis {
            rules,
            kind,
            founders,
            policies: Policies { history },
            nonce: nonce.map(Bytes32),
        },
    )
}

fn claim() -> impl Strategy<Value = JoinClaim> {
    (bytes32(), cert(), bytes32(), bytes32()).prop_map(|(room, cert, admitter, invite)| JoinClaim {
        room: RoomId(room),
        cert,
        admitter: PeerId(admitter),
        invite: InviteKey(invite),
    })
}

fn request() -> impl Strategy<Value = JoinRequest> {
    (claim(), sig(), sig()).prop_map(|(claim, invite_signature, device_signature)| JoinRequest {
        claim,
        invite_signature,
        device_signature,
    })
}

fn control() -> impl Strategy<Value = Control> {
    let low = prop_oneof![Just(Role::Reader), Just(Role::Member)];
    let invite = (bytes32(), option::of(any::<u32>()), any::<u64>(), low).prop_map(
        |(key, uses, expires_ms, role)| Invite { key: InviteKey(key), uses, expires_ms, role },
    );
    let parent = (bytes32().prop_map(EpochId), vec(any::<u8>(), 0..60).prop_map(Wrap));
    let epoch = (bytes32(), vec(parent, 0..8)).prop_map(|(commitment, parents)| {
        let (parents, wraps) = parents.into_iter().unzip();
        EpochBody { commitment: Bytes32(commitment), parents, wraps }
    });
    prop_oneof![
        (genesis(), cert())
            .prop_map(|(genesis, cert)| Control::Genesis(GenesisBody { genesis, cert })),
        setting().prop_map(|(cites, setting)| Control::Set(Set { cites, setting })),
        "\\PC{0,30}".prop_map(Control::Profile),
        invite.prop_map(Control::Invite),
        (request(), any::<u32>())
            .prop_map(|(request, term)| Control::Admit(Box::new(Admit::new(request, term)))),
        epoch.prop_map(Control::Epoch),
        vec(end(), 0..5).prop_map(|logs| Control::Leave(Cut { logs })),
        (bytes32(), any::<u32>(), role(), cites()).prop_map(|(account, term, role, cites)| {
            Control::Grant(Grant { account: AccountId(account), term, role, cites })
        }),
        (bytes32(), any::<u32>(), option::of(role()), vec(end(), 0..5), cites()).prop_map(
            |(account, term, then, logs, cites)| {
                let (account, cut) = (AccountId(account), Cut { logs });
                Control::Remove(Remove { account, term, then, cut, cites })
            }
        ),
        (bytes32(), cites())
            .prop_map(|(key, cites)| Control::Revoke(Revoke { invite: InviteKey(key), cites })),
        fork().prop_map(|fork| Control::Fork(Box::new(fork))),
        (any::<u32>(), cites())
            .prop_map(|(rules, cites)| Control::Upgrade(Upgrade { rules, cites })),
        Just(Control::Merge),
    ]
}

fn end() -> impl Strategy<Value = LogCut> {
    (log(), 1u64.., bytes32()).prop_map(|(log, len, last)| LogCut { log, len, last: EventId(last) })
}

fn fork() -> impl Strategy<Value = Fork> {
    let void = vec(signed().prop_map(|it| HeaderBytes(it.header)), 0..4);
    let seats = vec((bytes32(), any::<u32>()), 0..3).prop_map(|all| {
        all.into_iter().map(|(id, term)| Seat { account: AccountId(id), term }).collect()
    });
    let invites = vec(bytes32().prop_map(InviteKey), 0..3);
    let introduced = (seats, invites).prop_map(|(seats, invites)| Introduced {
        admissions: vec![],
        seats,
        invites,
    });
    (signed(), signed(), void, introduced).prop_map(|(one, other, void, introduced)| Fork {
        one,
        other,
        void,
        introduced,
    })
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Reader), Just(Role::Member), Just(Role::Admin), Just(Role::Founder)]
}

fn cites() -> impl Strategy<Value = Option<EventId>> {
    option::of(bytes32().prop_map(EventId))
}

fn signed() -> impl Strategy<Value = SignedHeader> {
    (vec(any::<u8>(), 0..200), sig())
        .prop_map(|(header, signature)| SignedHeader { header, signature })
}

fn setting() -> impl Strategy<Value = (Option<EventId>, Setting)> {
    let role = || prop_oneof![Just(Role::Member), Just(Role::Admin), Just(Role::Founder)];
    let setting = prop_oneof![
        "\\PC{0,30}".prop_map(Setting::Name),
        "\\PC{0,30}".prop_map(Setting::Topic),
        option::of(bytes32().prop_map(Bytes32)).prop_map(Setting::Picture),
        role().prop_map(Setting::WhoInvites),
        role().prop_map(Setting::WhoPosts),
        role().prop_map(Setting::WhoPins),
        prop_oneof![Just(History::FromStart), Just(History::FromJoining)]
            .prop_map(Setting::History),
    ];
    (cites(), setting)
}

fn addr() -> impl Strategy<Value = PeerAddr> {
    let v4 = (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| Addr((ip, port).into()));
    let v6 = (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| Addr((ip, port).into()));
    let relays = vec("[a-z:/.]{0,40}", 0..3);
    (bytes32(), vec(prop_oneof![v4, v6], 0..8), relays)
        .prop_map(|(peer, direct, relays)| PeerAddr { peer: PeerId(peer), direct, relays })
}

fn frontier() -> impl Strategy<Value = Frontier> {
    let range = (0u64..1 << 40, 1u64..1000).prop_map(|(start, len)| start..start + len);
    vec((log(), range), 0..20).prop_map(|entries| {
        let mut frontier = Frontier::default();
        for (log, range) in entries {
            frontier.insert(log, range);
        }
        frontier
    })
}

fn sync() -> impl Strategy<Value = SyncFrame> {
    let options = (option::of(any::<u32>()), option::of(any::<bool>()));
    let want = (any::<u64>(), frontier(), options).prop_map(|(id, ranges, (newest, control))| {
        Want { newest, control, ..Want::ranges(id, from_frontier(&ranges)) }
    });
    prop_oneof![
        bytes32().prop_map(|hash| SyncFrame::Summary(Bytes32(hash))),
        frontier().prop_map(|held| SyncFrame::Have(from_frontier(&held))),
        want.prop_map(SyncFrame::Want),
        (any::<u64>(), vec(raw(), 0..4)).prop_map(|(id, events)| SyncFrame::Run(id, events)),
        any::<u64>().prop_map(SyncFrame::Done),
        vec(addr(), 0..4).prop_map(SyncFrame::Peers),
    ]
}

fn profile() -> impl Strategy<Value = Profile> {
    (cert(), "\\PC{0,30}").prop_map(|(cert, name)| Profile { cert, name })
}

fn sealed_epochs() -> impl Strategy<Value = Vec<SealedEpoch>> {
    let parts = (bytes32(), bytes32(), any::<[u8; 32]>(), any::<[u8; 16]>());
    let sealed = parts.prop_map(|(epoch, enc, secret, tag)| {
        let mut sealed = [0; 48];
        sealed[..32].copy_from_slice(&secret);
        sealed[32..].copy_from_slice(&tag);
        SealedEpoch { epoch: EpochId(epoch), enc: Bytes32(enc), sealed }
    });
    vec(sealed, 0..4)
}

fn hello() -> impl Strategy<Value = Hello> {
    let name = "[a-z]{1,9}/[1-9]";
    let offer = (name, any::<bool>()).prop_map(|(name, stream)| ServiceDescriptor { name, stream });
    (any::<u32>(), any::<u64>(), vec(offer, 0..4), vec(name, 0..4))
        .prop_map(|(protocol, instance, offers, asks)| Hello { protocol, instance, offers, asks })
}

/// Through a frame, and through a buffer that gets it in two pieces.
fn survives<T>(value: &T)
where
    T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + Debug,
{
    let bytes = frame::encode(value).expect("short");
    let mut buffer = FrameBuffer::default();
    let (one, other) = bytes.split_at(bytes.len() / 2);
    buffer.push(one);
    assert_eq!(buffer.next_frame::<T>(), Ok(None));
    buffer.push(other);
    assert_eq!(buffer.next_frame::<T>().as_ref().map(Option::as_ref), Ok(Some(value)));
    assert!(buffer.is_empty());
    assert_eq!(wire::decode_canonical::<T>(&wire::encode(value)).as_ref(), Ok(value));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn events(header in header(), raw in raw()) {
        survives(&header);
        survives(&raw);
    }

    #[test]
    fn identities_and_rooms(cert in cert(), genesis in genesis(), log in log()) {
        survives(&cert);
        survives(&genesis);
        survives(&log);
    }

    #[test]
    fn control_bodies(control in control()) {
        survives(&control);
        prop_assert_eq!(Control::from_bytes(&control.to_bytes()), Some(control));
    }

    #[test]
    fn chat_bodies(text in "\\PC{1,60}") {
        let chat = Chat::message(&text).expect("a short text");
        prop_assert_eq!(Chat::from_bytes(&chat.to_bytes()), Ok(chat));
    }

    #[test]
    fn the_handshake(hello in hello(), service in "[a-z]{1,9}", room in option::of(bytes32())) {
        prop_assert_eq!(hello.check(), Ok(()));
        survives(&hello);
        survives(&Open { service, room: room.map(RoomId) });
        for opened in [Opened::Accepted, Opened::Refused, Opened::Busy] {
            survives(&opened);
        }
    }

    #[test]
    fn small_services(
        profile in profile(), request in request(), epochs in sealed_epochs(), genesis in genesis(),
        members in vec(addr(), 0..3), term in any::<u32>(), sentence in "\\PC{0,30}",
    ) {
        let admission = Admission { genesis, term, epochs: epochs.clone(), members };
        let reply = JoinReply::Admitted(admission);
        survives(&request);
        for reply in [reply, JoinReply::Expired, JoinReply::UsedUp, JoinReply::NotNow, JoinReply::Refused] {
            survives(&reply);
        }
        survives(&KeysRequest { epochs: epochs.iter().map(|sealed| sealed.epoch).collect() });
        survives(&KeysReply { epochs });
        survives(&ContactRequest { profile: profile.clone() });
        survives(&profile);
        for reply in [ContactReply::Opened, ContactReply::Refused] {
            survives(&reply);
        }
        let failed = ReplyHead::Failed(sentence);
        let (request, reply) = (ReplyHead::RequestTooLarge, ReplyHead::ReplyTooLarge);
        for head in [ReplyHead::Done, failed, request, reply, ReplyHead::TimedOut] {
            survives(&head);
        }
    }

    #[test]
    fn gossip(raw in raw(), hint in vec(any::<u8>(), 0..40)) {
        survives(&Gossip::Event(raw));
        survives(&Gossip::Hint(hint.into()));
    }

    #[test]
    fn synchronisation(frame in sync()) {
        survives(&frame);
    }

    #[test]
    fn frontiers_survive_their_frames(held in frontier()) {
        let entries: Vec<LogRuns> = from_frontier(&held);
        prop_assert_eq!(SyncFrame::Have(entries.clone()).check(), Ok(()));
        prop_assert_eq!(to_frontier(&entries), held);
    }

    #[test]
    fn tickets(
        room in bytes32(), seed in bytes32(), expires_ms in any::<u64>(), members in vec(addr(), 0..5),
    ) {
        let ticket = Ticket { room: RoomId(room), seed: Bytes32(seed), expires_ms, members };
        let within = ticket.members.iter().all(PeerAddr::is_within_limits);
        let read = ticket.to_string().parse::<Ticket>();
        prop_assert_eq!(read.is_ok(), within);
        if within {
            prop_assert_eq!(read, Ok(ticket));
        }
    }
}

//! Epoch secrets: who is given them, how they are sealed, and how often one may ask.

use std::time::Instant;

use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event;
use ayni_core::id::EpochId;
use ayni_core::keys::{AccountKey, DeviceCert, DeviceKey};
use ayni_core::limits::MAX_EPOCHS;
use ayni_core::proto::{
    ContactReply, ContactRequest, KeysReply, KeysRequest, Opened, Profile, service,
};
use ayni_core::room::Fork;
use ayni_core::sealed::SealedEpoch;

use crate::support::member::{Member, now, raws};
use crate::support::raw::{Raw, RawLink, entropy};
use crate::support::{Stage, until, within};

/// What a member is given, or none where it is refused.
async fn asks(member: &Member, link: &RawLink, epochs: Vec<EpochId>) -> Option<Vec<SealedEpoch>> {
    let (mut stream, opened) = link.open(service::KEYS, Some(member.room.id())).await;
    if opened != Opened::Accepted {
        assert_eq!(opened, Opened::Refused);
        stream.send(&KeysRequest { epochs }).await;
        assert_eq!(within("the end", stream.recv.drained()).await, [0u8; 0], "nothing follows");
        return None;
    }
    stream.send(&KeysRequest { epochs }).await;
    let reply: Option<KeysReply> = within("keys", stream.recv.next()).await;
    reply.map(|reply| reply.epochs)
}

fn held(member: &Member) -> Vec<(EpochId, EpochSecret)> {
    member.room.secrets().map(|(epoch, secret)| (*epoch, secret.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_17_keys_are_for_members() {
    let stage = Stage::new().await;
    let member = Member::join(&stage.a.node, &stage.ticket).await;
    let secrets = held(&member);
    let epochs: Vec<EpochId> = secrets.iter().map(|(epoch, _)| *epoch).collect();
    assert_eq!(epochs.len(), 1);
    let given = asks(&member, &member.link, epochs.clone()).await.expect("a member");
    let from = stage.a.node.identity().peer;
    let opened = given[0].open(stage.room, from, &member.raw.device);
    assert_eq!(opened.as_ref(), Ok(&secrets[0].1), "a member is given them");
    let many = vec![epochs[0]; MAX_EPOCHS + 1];
    assert_eq!(asks(&member, &member.link, many).await, None, "more than one may ask for");
    let unknown = vec![EpochId(entropy())];
    assert_eq!(asks(&member, &member.link, unknown).await, Some(vec![]));

    let stranger = Raw::new().await;
    let link = stranger.link(&stage.a.node).await;
    assert_eq!(asks(&member, &link, epochs).await, None);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_19_keys_are_sealed_to_the_certificate_that_the_room_has() {
    let stage = Stage::new().await;
    // A device that shows another certificate than the one that the room knows: a stale one, or one
    // for a key that was stolen since.
    let account = AccountKey::from_entropy(&entropy());
    let mut raw = Raw::new().await;
    let certify =
        |hpke: [u8; 32], time_ms: u64| -> DeviceCert { account.certify(raw.id(), hpke, time_ms) };
    let other = DeviceKey::from_secrets(&raw.device.signing_secret(), &entropy());
    let (known, shown) = (certify(raw.device.hpke_public(), 5), certify(other.hpke_public(), 9));
    raw.cert = known;
    let member = Member::join_as(raw, &stage.a.node, &stage.ticket).await;
    let mut stream = member.link.accepted(service::CONTACT, None).await;
    let profile = Profile { cert: shown, name: "other".into() };
    stream.send(&ContactRequest { profile }).await;
    let reply: Option<ContactReply> = within("a reply", stream.recv.next()).await;
    assert_eq!(reply, Some(ContactReply::Opened));

    let epochs = held(&member).into_iter().map(|(epoch, _)| epoch).collect();
    let given = asks(&member, &member.link, epochs).await.expect("a member");
    let from = stage.a.node.identity().peer;
    assert!(given[0].open(stage.room, from, &member.raw.device).is_ok());
    assert!(given[0].open(stage.room, from, &other).is_err());
    // And to nobody else: neither another sender's nor another room's.
    let b = stage.b.node.identity().peer;
    assert!(given[0].open(stage.room, b, &member.raw.device).is_err());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_19_a_removed_and_a_frozen_device_get_no_key() {
    let stage = Stage::new().await;
    let mut removed = Member::join(&stage.a.node, &stage.ticket).await;
    let mut forked = Member::join(&stage.a.node, &stage.ticket).await;
    let epochs = |member: &Member| held(member).into_iter().map(|(epoch, _)| epoch).collect();
    for member in [&removed, &forked] {
        assert!(asks(member, &member.link, epochs(member)).await.is_some());
    }
    let account = removed.raw.cert.claim.account;
    let said = removed.says("before it is removed", 1);
    let mut stream = removed.sync().await;
    assert!(removed.offers(&mut stream, &raws(&said), 1).await);
    stage.a.node.remove_member(stage.room, account).await.expect("a founder");
    assert_eq!(asks(&removed, &removed.link, epochs(&removed)).await, None, "removed");
    assert!(asks(&forked, &forked.link, epochs(&forked)).await.is_some(), "still here");

    let one = forked.says("one branch", 1);
    let other: Event = forked.forge(&one[0], |header| header.time.0 += 1);
    let mut witness = Member::join(&stage.a.node, &stage.ticket).await;
    let proof = Fork::new(&one[0], &other, vec![]);
    let stated = witness.room.author_fork(&witness.raw.device, proof, now()).expect("a member");
    let mut stream = witness.sync().await;
    assert!(witness.offers(&mut stream, &raws(&stated.events), 1).await);
    until("the device is frozen", async || {
        asks(&forked, &forked.link, epochs(&forked)).await.is_none()
    })
    .await;
    stage.talks().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_23_who_asks_for_keys_without_end_waits_and_others_do_not() {
    /// As many as are served at once, and two seconds' worth of more.
    const ASKS: u32 = 8 + 4;
    let stage = Stage::new().await;
    let member = Member::join(&stage.a.node, &stage.ticket).await;
    let other = Member::join(&stage.a.node, &stage.ticket).await;
    let epochs: Vec<EpochId> = held(&member).into_iter().map(|(epoch, _)| epoch).collect();
    let start = Instant::now();
    let greedy = async {
        for _ in 0..ASKS {
            let given = asks(&member, &member.link, epochs.clone()).await;
            assert_eq!(given.expect("a member").len(), 1);
        }
        start.elapsed()
    };
    let modest = async {
        let given = asks(&other, &other.link, epochs.clone()).await;
        assert_eq!(given.expect("a member").len(), 1);
        start.elapsed()
    };
    let (greedy, modest) = tokio::join!(greedy, modest);
    // Joining was the first of its requests.
    assert!(greedy.as_millis() >= 2_000, "{greedy:?}");
    assert!(modest < greedy, "{modest:?}");
    stage.stop().await;
}

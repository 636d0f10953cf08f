//! Coming in: forged and replayed claims, and floods of strangers.

use std::collections::BTreeSet;

use ayni::{InviteOptions, RoomId, Ticket};
use ayni_core::keys::{AccountKey, InviteSecret, Sig};
use ayni_core::proto::{
    ContactReply, ContactRequest, JoinReply, JoinRequest, LookReply, Open, Opened, Profile, service,
};
use ayni_core::ticket::{Addr, PeerAddr};
use futures_util::future::join_all;

use crate::support::member::{ask, claim, nowhere};
use crate::support::raw::{Frames, Raw, entropy, hello, send};
use crate::support::{Stage, assert_flat, hears, resident, until, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_claim_is_refused_in_one_way() {
    let stage = Stage::new().await;
    let node = &stage.a.node;
    let other = node.create_room("other").await.expect("creates").room;
    let raw = Raw::new().await;
    let link = raw.link(node).await;
    let invite = stage.ticket.secret();
    let own = InviteSecret::from_seed(&entropy());
    let honest = || claim(&raw, node, &stage.ticket);
    let signed = || honest().sign(&invite, &raw.device);
    let stranger = Raw::new().await;

    let mut wrong_admitter = honest();
    wrong_admitter.admitter = stage.b.node.identity().peer;
    let of_room = |room: RoomId| {
        let mut claim = honest();
        claim.room = room;
        claim.sign(&invite, &raw.device)
    };
    let mut own_invite = honest();
    own_invite.invite = own.key();
    let mut uncertified = honest();
    uncertified.cert.claim.account = AccountKey::from_entropy(&entropy()).id();
    let mut changed = signed();
    changed.claim.room = other;
    let cases = [
        ("another's invite key", honest().sign(&own, &raw.device)),
        ("an invite that nobody made", own_invite.sign(&own, &raw.device)),
        ("another's device", honest().sign(&invite, &stranger.device)),
        ("no signature", JoinRequest { invite_signature: Sig([0; 64]), ..signed() }),
        ("another admitter", wrong_admitter.sign(&invite, &raw.device)),
        ("a room that is not here", of_room(nowhere())),
        ("a room of another invite", of_room(other)),
        ("a room put in afterwards", changed),
        ("a device that its account did not certify", uncertified.sign(&invite, &raw.device)),
        (
            "someone else's claim",
            claim(&stranger, node, &stage.ticket).sign(&invite, &stranger.device),
        ),
    ];
    for (what, request) in &cases {
        assert_eq!(ask(&link, request).await, JoinReply::Refused, "{what}");
    }
    assert_eq!(node.members(stage.room).expect("reads").len(), 2);
    // The same claim in order is accepted: it was the forgery that was refused.
    assert!(matches!(ask(&link, &signed()).await, JoinReply::Admitted(_)));
    stage.talks().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_19_a_recorded_claim_is_of_no_use() {
    let stage = Stage::new().await;
    // A member's ticket names a false member first, who records what a newcomer shows it.
    let thief = Raw::new().await;
    let direct = thief.addr().ip_addrs().map(|addr| Addr(*addr)).collect();
    let mut members = stage.ticket.members.clone();
    members.insert(0, PeerAddr { peer: thief.id(), direct, relays: vec![] });
    let ticket = Ticket { members, ..stage.ticket.clone() };
    let newcomer = crate::support::Home::start().await;
    let recorded = async {
        let connection = thief.endpoint.accept().await.expect("a call").await.expect("arrives");
        let mut ours = connection.open_uni().await.expect("opens");
        send(&mut ours, &hello(1)).await;
        loop {
            let (mut answer, recv) = connection.accept_bi().await.expect("a stream");
            let mut frames = Frames::new(recv);
            let Some(open) = frames.next::<Open>().await else { continue };
            if open.service == service::JOIN {
                send(&mut answer, &Opened::Accepted).await;
                let request: JoinRequest = frames.next().await.expect("a request");
                send(&mut answer, &JoinReply::NotNow).await;
                let _ = answer.finish();
                let _ = answer.stopped().await;
                return request;
            }
        }
    };
    let joining = newcomer.node.join(&ticket, crate::support::DEADLINE);
    let (request, joined) = tokio::join!(within("a recorded claim", recorded), joining);
    joined.expect("the honest member admits");

    let link = thief.link(&stage.a.node).await;
    assert_eq!(ask(&link, &request).await, JoinReply::Refused, "made out to the thief");
    let mut readdressed = request.clone();
    readdressed.claim.admitter = stage.a.node.identity().peer;
    assert_eq!(ask(&link, &readdressed).await, JoinReply::Refused, "made out anew");
    let mut taken_over = readdressed;
    taken_over.claim.cert = thief.cert.clone();
    assert_eq!(ask(&link, &taken_over).await, JoinReply::Refused, "made one's own");
    assert!(
        !stage
            .a
            .node
            .members(stage.room)
            .expect("reads")
            .iter()
            .any(|member| { member.devices.contains(&thief.id()) })
    );
    stage.talks().await;
    newcomer.stop().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_23_strangers_open_a_bounded_number_of_direct_rooms() {
    const BOUND: usize = 64;
    let stage = Stage::new().await;
    let raw = Raw::new().await;
    let link = raw.link(&stage.a.node).await;
    let before = resident();
    let rooms = stage.a.node.rooms().len();
    let certify = |_| {
        let account = AccountKey::from_entropy(&entropy());
        account.certify(raw.id(), raw.device.hpke_public(), 1)
    };
    // Twice each, at once: two of one account make one room.
    let certs: Vec<_> = (0..50).map(certify).collect();
    let requests = certs.iter().chain(&certs).map(async |cert| {
        let mut stream = link.accepted(service::CONTACT, None).await;
        let profile = Profile { cert: cert.clone(), name: "mallory".into() };
        stream.send(&ContactRequest { profile }).await;
        within("a reply", stream.recv.next::<ContactReply>()).await.expect("a reply")
    });
    let replies = join_all(requests).await;
    assert!(replies.iter().all(|reply| *reply == ContactReply::Opened), "below the bound");
    assert_eq!(stage.a.node.rooms().len(), rooms + certs.len());

    let certs: Vec<_> = (0..60).map(certify).collect();
    let requests = certs.iter().map(async |cert| {
        let mut stream = link.accepted(service::CONTACT, None).await;
        let profile = Profile { cert: cert.clone(), name: "mallory".into() };
        stream.send(&ContactRequest { profile }).await;
        within("a reply", stream.recv.next::<ContactReply>()).await.expect("a reply")
    });
    let replies = join_all(requests).await;
    let opened = replies.iter().filter(|reply| **reply == ContactReply::Opened).count();
    assert_eq!((opened, stage.a.node.rooms().len()), (BOUND - 50, rooms + BOUND));
    let ids: BTreeSet<_> = stage.a.node.rooms().iter().map(|room| room.room).collect();
    assert_eq!(ids.len(), rooms + BOUND);
    assert_flat(before);

    // Who shares a group is no stranger: b can still write to a.
    let a = stage.a.node.identity().account;
    let direct = stage.b.node.direct_room(ayni::Who::Account(a)).await.expect("opens").room;
    until("a has the room", async || stage.a.node.room(direct).is_ok()).await;
    hears(&stage.b, &stage.a, direct).await;
    stage.talks().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_may_call_is_told_when_it_becomes_a_member() {
    let stage = Stage::new().await;
    let group = stage.a.node.create_room("group").await.expect("creates").room;
    let offer = ayni::service::Offer {
        name: "echo".into(),
        allow: vec![ayni::service::Allow::Room(group)],
        provider: ayni::service::Provider::Tcp("127.0.0.1:9".into()),
        limits: ayni::service::ServiceLimits::default(),
    };
    let _provided = stage.a.node.provide(offer).expect("provides");
    let a = stage.a.node.identity().peer;
    let offers = async || {
        let services = stage.b.node.services(Some(a)).await.expect("connected");
        services.iter().any(|service| service.name == "echo/1")
    };
    assert!(!offers().await, "not a member of that room");
    let ticket = stage.a.node.invite(group, InviteOptions::default()).await.expect("invites");
    stage.b.node.join(&ticket, crate::support::DEADLINE).await.expect("joins");
    until("b hears of the service", offers).await;
    stage.b.node.leave(group).await.expect("leaves");
    until("b hears that it is gone", async || !offers().await).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_19_who_only_looked_is_not_admitted_by_that() {
    let stage = Stage::new().await;
    let raw = Raw::new().await;
    let link = raw.link(&stage.a.node).await;
    let looking = claim(&raw, &stage.a.node, &stage.ticket);
    let request = looking.sign_look(&stage.ticket.secret(), &raw.device);
    let mut stream = link.accepted(service::LOOK, None).await;
    stream.send(&request).await;
    let shown: Option<LookReply> = within("a reply", stream.recv.next()).await;
    assert!(matches!(shown, Some(LookReply::Invitation(_))), "{shown:?}");
    assert_eq!(ask(&link, &request).await, JoinReply::Refused);
    // Nor does a claim for joining show anything, or one without the invite's key.
    let joining = claim(&raw, &stage.a.node, &stage.ticket);
    let signed = joining.clone().sign(&stage.ticket.secret(), &raw.device);
    let forged = joining.sign_look(&InviteSecret::from_seed(&[7; 32]), &raw.device);
    for request in [signed, forged] {
        let mut stream = link.accepted(service::LOOK, None).await;
        stream.send(&request).await;
        let reply: Option<LookReply> = within("a reply", stream.recv.next()).await;
        assert_eq!(reply, Some(LookReply::Not(JoinReply::Refused)));
    }
    assert_eq!(stage.a.node.members(stage.room).expect("here").len(), 2);
    stage.stop().await;
}

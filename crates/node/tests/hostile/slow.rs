//! Silence: peers that begin something and never go on, never read, or never answer.

use std::time::{Duration, Instant};

use ayni_core::frame;
use ayni_core::keys::{Bytes32, DeviceClaim};
use ayni_core::proto::{Admission, Hello, JoinReply, JoinRequest, Open, Opened, service};
use ayni_core::sealed::Sealer;
use ayni_core::sync::frame::{SyncFrame, Want, from_frontier};
use futures_util::future::join_all;

use crate::support::member::Member;
use crate::support::raw::{Frames, Raw, entropy, hello, send};
use crate::support::{Stage, assert_flat, resident, within, within_time};

/// How long a node waits for a frame that it is owed, and some time for it to act.
const PATIENCE: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_in_bounded_time() {
    let stage = Stage::new().await;
    let node = &stage.a.node;
    let raws = join_all((0..5).map(|_| Raw::new())).await;
    let [mute, half, idle, used, other] = &raws[..] else { unreachable!("five") };

    let no_hello = async {
        let connection = mute.dial(node).await;
        within_time("no hello", PATIENCE, connection.closed()).await;
    };
    let half_a_hello = async {
        let connection = half.dial(node).await;
        let mut stream = connection.open_uni().await.expect("opens");
        let bytes = frame::encode(&Hello { asks: vec!["x/1".into()], ..hello(1) }).expect("short");
        stream.write_all(&bytes[..bytes.len() - 3]).await.expect("sent");
        within_time("half a hello", PATIENCE, connection.closed()).await;
    };
    // Far more than are served at a time: the rest wait, and others' turn comes.
    let streams_without_use = async {
        let link = idle.link(node).await;
        let mut streams = Vec::new();
        for _ in 0..200 {
            let mut stream = link.stream().await;
            stream.send.write_all(&[0]).await.expect("sent");
            streams.push(stream);
        }
        let ends = streams.iter_mut().map(|stream| stream.recv.drained());
        within_time("streams without use", 2 * PATIENCE, join_all(ends)).await;
        assert!(within("a ping", link.is_served()).await);
    };
    let half_requests = async {
        let link = used.link(node).await;
        let services = [service::JOIN, service::CONTACT, service::PING];
        let ends = services.map(async |service| {
            let mut stream = link.accepted(service, None).await;
            stream.send.write_all(&[0, 0, 1, 0, 0xa1]).await.expect("sent");
            within_time(service, 2 * PATIENCE, stream.recv.drained()).await;
        });
        join_all(ends).await;
    };
    let half_an_open = async {
        let link = other.link(node).await;
        let open = Open { service: service::PROFILE.into(), room: None };
        let bytes = frame::encode(&open).expect("short");
        let mut stream = link.stream().await;
        stream.send.write_all(&bytes[..bytes.len() - 1]).await.expect("sent");
        within_time("half an open", PATIENCE, stream.recv.drained()).await;
    };
    let talk = async {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            stage.talks().await;
        }
    };
    tokio::join!(no_hello, half_a_hello, streams_without_use, half_requests, half_an_open, talk);
    stage.talks().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_23_a_member_that_asks_for_everything_and_never_reads_holds_up_nobody() {
    let stage = Stage::new().await;
    let text = "x".repeat(60_000);
    for _ in 0..100 {
        stage.a.node.say(stage.room, &text).await.expect("says");
    }
    let member = Member::join(&stage.a.node, &stage.ticket).await;
    let ranges = from_frontier(&member.room.frontier());
    drop(member);
    let before = resident();
    let raw = Raw::with_window(16 * 1024).await;
    // Joins without reading: only what it must.
    let link = raw.link(&stage.a.node).await;
    let claim = crate::support::member::claim(&raw, &stage.a.node, &stage.ticket);
    let request = claim.sign(&stage.ticket.secret(), &raw.device);
    let reply = crate::support::member::ask(&link, &request).await;
    assert!(matches!(reply, JoinReply::Admitted(_)));
    let mut stream = link.accepted(service::SYNC, Some(stage.room)).await;
    for id in 0..4 {
        let want = Want::ranges(id, ranges.clone());
        stream.send(&SyncFrame::Want(want)).await;
    }
    stage.talks().await;
    let newcomer = stage.newcomer().await;
    crate::support::hears(&stage.a, &newcomer, stage.room).await;
    assert_flat(before);
    // Nor does it hold up the end.
    let start = Instant::now();
    newcomer.stop().await;
    stage.stop().await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// Admits whoever asks, announces all that there is, and answers no request; but says this and that
/// all the time, so that it seems alive.
pub(crate) async fn admit_and_give_nothing(member: Member) {
    let holding = from_frontier(&member.room.frontier());
    let connection = loop {
        let arrived = member.raw.endpoint.accept().await.expect("runs").await.expect("arrives");
        if arrived.alpn() == ayni_core::proto::ALPN {
            break arrived;
        }
    };
    let mut ours = connection.open_uni().await.expect("opens");
    send(&mut ours, &hello(1)).await;
    let mut kept = Vec::new();
    while let Ok((mut answer, recv)) = connection.accept_bi().await {
        let mut frames = Frames::new(recv);
        let Some(open) = frames.next::<Open>().await else { continue };
        send(&mut answer, &Opened::Accepted).await;
        match open.service.as_str() {
            service::JOIN => {
                let request: JoinRequest = frames.next().await.expect("a request");
                assert_eq!(request.claim.room, member.room.id());
                let admission = admission(&member, &request.claim.cert.claim);
                send(&mut answer, &JoinReply::Admitted(admission)).await;
                let _ = answer.finish();
            }
            service::SYNC => {
                let holding = holding.clone();
                kept.push(tokio::spawn(async move {
                    send(&mut answer, &SyncFrame::Have(holding)).await;
                    loop {
                        send(&mut answer, &SyncFrame::Summary(Bytes32([1; 32]))).await;
                        tokio::time::sleep(Duration::from_millis(300)).await;
                    }
                }));
            }
            _ => {}
        }
    }
}

fn admission(member: &Member, joiner: &DeviceClaim) -> Admission {
    let mut sealer = Sealer::new(member.room.id(), member.raw.id(), entropy());
    let secrets = member.room.secrets();
    let epochs = secrets.map(|(_, secret)| sealer.seal(secret, joiner).expect("a good key"));
    Admission {
        genesis: member.room.members().genesis().expect("here").clone(),
        term: 0,
        epochs: epochs.collect(),
        members: vec![],
    }
}

//! Members whose synchronisation breaks the protocol: the session ends, and nothing else.

use ayni_core::event::{Event, RawEvent};
use ayni_core::keys::Bytes32;
use ayni_core::limits::{
    MAX_FRONTIER_LOGS, MAX_PEER_ADDRS, MAX_RUN_EVENTS, MAX_RUNS_PER_LOG, MAX_TOTAL_LOGS,
    MAX_WANT_EVENTS,
};
use ayni_core::log::{Lane, LogId};
use ayni_core::room::Room;
use ayni_core::sync::frame::{LogRuns, SyncFrame, Want};
use ayni_core::ticket::PeerAddr;
use ayni_core::{frame, id::PeerId};

use crate::support::member::{Member, announcement, now, raws, whole};
use crate::support::raw::{Raw, RawStream, entropy};
use crate::support::{Stage, assert_flat, resident, until, within};

/// Logs of devices that do not exist, in order.
fn fake_logs(count: usize, from: usize) -> Vec<LogRuns> {
    let log = |nth: usize| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(nth as u64).to_be_bytes());
        LogRuns {
            log: LogId { lane: Lane::Chat, device: PeerId(id), term: 0 },
            runs: vec![(0, 9)],
            last: None,
        }
    };
    (from..from + count).map(log).collect()
}

fn want(ranges: Vec<LogRuns>) -> SyncFrame {
    SyncFrame::Want(Want::ranges(0, ranges))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_against_the_protocol_ends_the_session() {
    let stage = Stage::new().await;
    let mut member = Member::join(&stage.a.node, &stage.ticket).await;
    let log = member.log();
    let said = raws(&member.says("unasked", 2));
    let runs = |runs: Vec<(u64, u64)>| vec![LogRuns { log, runs, last: None }];
    let scattered = (0..=MAX_RUNS_PER_LOG as u64).map(|n| (2 * n, 2 * n + 1)).collect();
    let nobody = PeerAddr { peer: member.raw.id(), direct: vec![], relays: vec![] };
    let mut disordered = fake_logs(2, 0);
    disordered.reverse();
    let frames = [
        ("events that nobody asked for", SyncFrame::Run(0, said.clone())),
        ("an end of what nobody asked for", SyncFrame::Done(7)),
        ("a run too long", SyncFrame::Run(0, vec![said[0].clone(); MAX_RUN_EVENTS + 1])),
        ("a request for 2^64 events", want(vec![whole(log)])),
        ("a request for too many", want(runs(vec![(0, MAX_WANT_EVENTS + 1)]))),
        ("a request of too many ranges", want(fake_logs(600, 0))),
        ("a holding of too many logs", SyncFrame::Have(fake_logs(MAX_FRONTIER_LOGS + 1, 0))),
        ("a holding in too many pieces", SyncFrame::Have(runs(scattered))),
        ("a holding out of order", SyncFrame::Have(disordered)),
        ("a holding that overlaps itself", SyncFrame::Have(runs(vec![(0, 4), (2, 6)]))),
        ("an empty run", SyncFrame::Have(runs(vec![(4, 4)]))),
        ("too many addresses", SyncFrame::Peers(vec![nobody; MAX_PEER_ADDRS + 1])),
    ];
    let whole_frame = frame::encode(&SyncFrame::Done(0)).expect("short");
    let bytes = [
        ("garbage", vec![0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]),
        ("a frame of another kind", vec![0, 0, 0, 4, 0x82, 0x18, 0x63, 0x80]),
        ("a length of 4 GiB", vec![0xff; 4]),
        ("half a frame", whole_frame[..whole_frame.len() - 1].to_vec()),
        ("nothing", vec![]),
    ];
    let framed = |(what, frame)| (what, frame::encode(&frame).expect("fits"));
    let rooms = stage.a.node.members(stage.room).expect("reads").len();
    for (what, bytes) in frames.into_iter().map(framed).chain(bytes) {
        let mut stream = member.sync().await;
        let _ = stream.send.write_all(&bytes).await;
        // A stream may end at any time; what lacks then is asked of others.
        if matches!(what, "half a frame" | "nothing") {
            let _ = stream.send.finish();
        }
        stream.ends(what).await;
    }
    assert_eq!(stage.a.node.members(stage.room).expect("reads").len(), rooms);
    assert!(!stage.a.texts(stage.room).await.contains(&"unasked".to_owned()));
    // The member has done nothing for which it would not be served now.
    let mut stream = member.sync().await;
    assert!(member.offers(&mut stream, &said, 2).await);
    stage.a.shows(stage.room, "unasked").await;
    stage.talks().await;
    stage.stop().await;
}

/// Announces `claimed`, and answers the request for it with something else.
async fn answers_with(
    member: &Member,
    stream: &mut RawStream,
    claimed: Vec<LogRuns>,
    events: Vec<RawEvent>,
) {
    stream.send(&SyncFrame::Have(claimed)).await;
    let id = loop {
        match within("a request", stream.recv.next()).await.expect("a frame") {
            SyncFrame::Want(want) if !want.ranges.is_empty() => break want.id,
            _ => {}
        }
    };
    stream.send(&SyncFrame::Run(id, events)).await;
    assert!(member.room.am_member());
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_16_a_run_that_is_not_authentic_ends_the_session() {
    let stage = Stage::new().await;
    let mut member = Member::join(&stage.a.node, &stage.ticket).await;
    let events = member.says("false", 4);
    let good = raws(&events);
    let claimed = || announcement(&events);
    let mut unsigned = good.clone();
    unsigned[3].signature = unsigned[2].signature;
    let mut gap = good.clone();
    gap.remove(1);
    let mut reordered = good.clone();
    reordered.swap(1, 2);
    let mut body = good.clone();
    body[1].body = Some(b"another body".to_vec().into());
    let mut header = good.clone();
    header[3].header.push(0);
    let unlinked = member.forge(&events[3], |header| header.prev = Some(events[0].id()));
    let linked_wrong = [&good[..3], &raws(&[unlinked])].concat();
    let elsewhere = member.forge(&events[0], |header| header.room = ayni::RoomId(entropy()));
    let by_another = Event::sign(
        events[0].header().clone(),
        events[0].body().expect("ours").to_vec(),
        &Raw::new().await.device,
    );
    let cases = [
        ("a bad signature at the end", unsigned),
        ("a gap", gap),
        ("another order", reordered),
        ("another body", body),
        ("bytes after the header", header),
        ("a broken link", linked_wrong),
        ("an event of another room", raws(&[elsewhere])),
        ("a signature of another device", raws(&[by_another])),
        ("no events", vec![]),
    ];
    for (what, events) in cases {
        let mut stream = member.sync().await;
        answers_with(&member, &mut stream, claimed(), events).await;
        stream.ends(what).await;
    }
    assert!(!stage.a.texts(stage.room).await.contains(&"false".to_owned()));
    let mut stream = member.sync().await;
    assert!(member.offers(&mut stream, &good, 4).await, "the authentic ones are taken");
    stage.a.shows(stage.room, "false").await;
    stage.b.shows(stage.room, "false").await;
    stage.talks().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_events_than_asked_for_end_the_session() {
    let stage = Stage::new().await;
    let mut member = Member::join(&stage.a.node, &stage.ticket).await;
    let events = member.says("again", 8);
    let mut stream = member.sync().await;
    answers_with(&member, &mut stream, announcement(&events[..1]), raws(&events)).await;
    // The same again and again: there is a little room for more, and then no more.
    let flood = async {
        while stream
            .send
            .write_all(&frame::encode(&SyncFrame::Run(0, raws(&events))).expect("fits"))
            .await
            .is_ok()
        {}
    };
    within("the session ends", flood).await;
    stage.talks().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_23_too_many_requests_end_the_session() {
    let stage = Stage::new().await;
    for nth in 0..200 {
        stage.a.node.say(stage.room, &format!("{nth} {}", "x".repeat(2_000))).await.expect("says");
    }
    // It reads nothing beyond a few KiB, so its requests stay unanswered.
    let raw = Raw::with_window(8 * 1024).await;
    let device = raw.id();
    let member = Member::join_as(raw, &stage.a.node, &stage.ticket).await;
    let logs = member.room.frontier();
    let ranges = ayni_core::sync::frame::from_frontier(&logs);
    let mut stream = member.sync().await;
    for id in 0..20 {
        let want = SyncFrame::Want(Want::ranges(id, ranges.clone()));
        stream.send(&want).await;
    }
    within("the session ends", async {
        // Its end shows on what we send: the node reads no further.
        while stream.send.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(stage.a.has_link(device), "the link stays");
    stage.talks().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_23_a_huge_claimed_holding_costs_little() {
    let stage = Stage::new().await;
    let member = Member::join(&stage.a.node, &stage.ticket).await;
    let before = resident();
    // As many logs as may be claimed, and then the same again and again, a little at a time.
    let mut stream = member.sync().await;
    let frames = MAX_TOTAL_LOGS / MAX_FRONTIER_LOGS;
    for nth in 0..frames - 1 {
        let logs = fake_logs(MAX_FRONTIER_LOGS, nth * MAX_FRONTIER_LOGS);
        stream.send(&SyncFrame::Have(logs)).await;
    }
    let flood = async {
        while stream
            .send
            .write_all(&frame::encode(&SyncFrame::Have(fake_logs(1, 0))).expect("short"))
            .await
            .is_ok()
        {}
    };
    let mut slowest = std::time::Duration::ZERO;
    let talk = async {
        for _ in 0..10 {
            let start = std::time::Instant::now();
            stage.talks().await;
            slowest = slowest.max(start.elapsed());
        }
    };
    tokio::select! {
        () = flood => panic!("such a claim is within the limits"),
        () = talk => {}
    }
    println!("slowest exchange during the flood: {slowest:?}");
    assert_flat(before);
    let past = fake_logs(MAX_FRONTIER_LOGS, frames * MAX_FRONTIER_LOGS);
    // Another one: who kept the node waiting comes last for a while, and is asked for nothing more.
    drop(stream);
    let member = Member::join(&stage.a.node, &stage.ticket).await;
    let mut stream = member.sync().await;
    for nth in 0..frames {
        let logs = fake_logs(MAX_FRONTIER_LOGS, nth * MAX_FRONTIER_LOGS);
        stream.send(&SyncFrame::Have(logs)).await;
    }
    stream.send(&SyncFrame::Have(past)).await;
    // What is too much is not remembered, and is for another session when this one is done.
    let answers = async {
        while let Some(frame) = stream.recv.next::<SyncFrame>().await {
            if let SyncFrame::Want(want) = frame {
                stream.send(&SyncFrame::Done(want.id)).await;
            }
        }
    };
    within("the session ends with what was remembered", answers).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_23_comparisons_at_line_rate_wait() {
    let stage = Stage::new().await;
    let member = Member::join(&stage.a.node, &stage.ticket).await;
    let mut stream = member.sync().await;
    let frames: Vec<u8> = (0..1024)
        .flat_map(|_| frame::encode(&SyncFrame::Summary(Bytes32(entropy()))).expect("short"))
        .collect();
    let flood = async {
        // Far more than what a second brings; a write that takes as long is held up.
        let pause = std::time::Duration::from_secs(1);
        while let Ok(sent) = tokio::time::timeout(pause, stream.send.write_all(&frames)).await {
            sent.expect("the session goes on");
        }
    };
    within("the flood is held up", flood).await;
    stage.talks().await;
    assert!(stage.a.has_link(member.raw.id()), "the link stays");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_17_events_of_who_is_no_member_are_not_taken() {
    let stage = Stage::new().await;
    let member = Member::join(&stage.a.node, &stage.ticket).await;
    let members = stage.a.node.members(stage.room).expect("reads").len();
    // A stranger founds the same room in its own name, and a member hands that on.
    let stranger = Raw::new().await;
    let genesis = member.room.members().genesis().expect("here").clone();
    let secret = ayni_core::epoch::EpochSecret::new(entropy());
    let names = ("stranger", Some("taken over"));
    let (_, own) = Room::found(&genesis, &stranger.device, &stranger.cert, names, secret, now());
    let mut stream = member.sync().await;
    let count = own.events.len();
    assert!(member.offers(&mut stream, &raws(&own.events), count).await, "the session goes on");
    // What is in order is still taken on the same stream.
    let mut member = member;
    let said = raws(&member.says("still here", 1));
    assert!(member.offers(&mut stream, &said, 1).await);
    stage.a.shows(stage.room, "still here").await;
    assert_eq!(stage.a.node.members(stage.room).expect("reads").len(), members);
    assert_eq!(stage.a.node.room(stage.room).expect("here").name, "stage");
    until("b agrees", async || stage.b.node.members(stage.room).expect("reads").len() == members)
        .await;
    stage.talks().await;
    stage.stop().await;
}

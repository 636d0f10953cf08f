//! What is read back, in which order and in which pieces.

use std::net::SocketAddr;

use ayni_core::id::{AccountId, PeerId};
use ayni_core::log::Frontier;
use ayni_core::ticket::{Addr, PeerAddr};

use super::*;

/// A room in which three devices speak, several times at the same instant.
async fn talkative() -> (TempDir, Store, Vec<Event>) {
    let (folder, store) = fresh().await;
    let mut all = Vec::new();
    for n in 1..=3 {
        let mut log: Vec<Event> = Vec::new();
        for seq in 0..60 {
            let prev = log.last().map(Event::id);
            log.push(event(n, Lane::Chat, seq, prev, 1000 + seq / 20));
        }
        store.write(Write::Append(append(&log, 60))).await.expect("stored");
        all.extend(log);
    }
    all.sort_by_key(Event::order);
    (folder, store, all)
}

#[tokio::test]
async fn the_timeline_is_in_order_of_time_and_id_whatever_the_page() {
    let (_folder, store, all) = talkative().await;
    let newest_first: Vec<_> = all.iter().rev().cloned().collect();
    for limit in [1, 7, 60, 179, 180, 1000] {
        let mut before = None;
        let mut read = Vec::new();
        loop {
            let page = store.messages(ROOM, before, limit, Hlc(u64::MAX)).await.expect("reads");
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            before = Some((last.header().time.0, last.id()));
            read.extend(page);
        }
        assert!(read == newest_first, "pages of {limit}");
    }
    assert!(store.messages(ROOM, None, 0, Hlc(u64::MAX)).await.expect("reads").is_empty());
    assert!(store.messages(OTHER, None, 5, Hlc(u64::MAX)).await.expect("reads").is_empty());
}

#[tokio::test]
async fn hazard_13_what_is_dated_too_far_ahead_is_left_out() {
    let (_folder, store, all) = talkative().await;
    let mut far = event(4, Lane::Chat, 0, None, 0).header().clone();
    far.time = Hlc(u64::MAX);
    let far = Event::sign(far, vec![1], &device(4));
    store.write(Write::Append(append(std::slice::from_ref(&far), 1))).await.expect("stored");
    let now = Hlc::from_millis(1001);
    let read = store.messages(ROOM, None, 999, now).await.expect("reads");
    let shown: Vec<_> =
        all.iter().rev().filter(|event| event.header().time <= now).cloned().collect();
    assert!(read == shown && !shown.is_empty());
    // Neither does a position in the future open it.
    let before = Some((u64::MAX, far.id()));
    assert!(store.messages(ROOM, before, 999, now).await.expect("reads") == shown);
    let all_of_it = store.messages(ROOM, None, 1, Hlc(u64::MAX)).await.expect("reads");
    assert_eq!(all_of_it, vec![far], "it is kept");
}

#[tokio::test]
async fn the_newest_are_those_that_the_timeline_ends_with() {
    let (_folder, store, all) = talkative().await;
    let newest = store.newest(ROOM, 60, Hlc(u64::MAX)).await.expect("reads");
    let expected: Frontier = all[120..].iter().fold(Frontier::default(), |mut frontier, event| {
        frontier.insert(event.log(), event.seq()..event.seq() + 1);
        frontier
    });
    assert_eq!(newest, expected);
    assert!(store.newest(OTHER, 9, Hlc(u64::MAX)).await.expect("reads").is_empty());
}

#[tokio::test]
async fn a_log_is_read_up_to_limits_and_holes() {
    let (_folder, store) = fresh().await;
    let talk = chain(1, Lane::Chat, 30);
    let holed = Append {
        events: [&talk[..10], &talk[12..]].concat().into(),
        runs: vec![summary(&[&talk[..10], &talk[12..]])],
        ..append(&talk, 0)
    };
    store.write(Write::Append(holed)).await.expect("stored");
    let read = |range, bytes, events| {
        let store = store.clone();
        async move { store.events(ROOM, chat(1), range, bytes, events).await.expect("reads") }
    };
    assert_eq!(read(0..30, usize::MAX, 99).await, talk[..10], "to the hole");
    assert_eq!(read(12..20, usize::MAX, 99).await, talk[12..20], "the range");
    assert_eq!(read(12..30, usize::MAX, 4).await, talk[12..16], "the count");
    let two = talk[12].size() + talk[13].size();
    assert_eq!(read(12..30, two, 99).await, talk[12..14], "the bytes");
    assert_eq!(read(12..30, 1, 99).await, talk[12..13], "at least one");
    assert!(read(10..30, usize::MAX, 99).await.is_empty(), "begins in the hole");
    assert!(read(0..0, usize::MAX, 99).await.is_empty());
}

#[tokio::test]
async fn positions_beyond_half_of_all_are_kept_read_and_voided() {
    let (_folder, store) = fresh().await;
    let prev = Some(EventId([9; 32]));
    let low = event(1, Lane::Chat, 0, None, 1);
    let high: Vec<_> =
        [1 << 63, u64::MAX - 1].map(|seq| event(1, Lane::Chat, seq, prev, 1)).to_vec();
    let events = [std::slice::from_ref(&low), &high].concat();
    let parts: Vec<&[Event]> = events.chunks(1).collect();
    let scattered =
        Append { events: events.clone().into(), runs: vec![summary(&parts)], ..append(&high, 0) };
    store.write(Write::Append(scattered)).await.expect("stored");
    assert_eq!(store.event_count().await.expect("counts"), 3);
    let loaded = store.load_room(ROOM).await.expect("loads");
    assert_eq!(loaded.runs, vec![summary(&parts)]);
    let from_middle = store.events(ROOM, chat(1), 1 << 63..u64::MAX, usize::MAX, 9).await;
    assert_eq!(from_middle.expect("reads"), high[..1]);
    let last = store.events(ROOM, chat(1), u64::MAX - 1..u64::MAX, usize::MAX, 9).await;
    assert_eq!(last.expect("reads"), high[1..]);
    let cut =
        Append { voided: vec![(chat(1), 1)], runs: vec![summary(&parts[..1])], ..append(&high, 0) };
    store.write(Write::Append(cut)).await.expect("stored");
    assert_eq!(store.messages(ROOM, None, 9, Hlc(u64::MAX)).await.expect("reads"), vec![low]);
}

#[tokio::test]
async fn control_events_are_handed_on_in_the_order_of_acceptance() {
    let (_folder, store) = fresh().await;
    let logs: Vec<_> = (1..=3).map(|n| chain(n, Lane::Control, 200)).collect();
    let mut accepted = Vec::new();
    for at in 0..200 {
        for log in &logs {
            store.write(Write::Append(append(&log[..=at], 1))).await.expect("stored");
            accepted.push(log[at].clone());
        }
    }
    // All of it, which is read through; and a part, which is looked up.
    let all = logs.iter().map(|log| (log[0].log(), 0..200));
    let part = [(logs[0][0].log(), 3..150), (logs[2][0].log(), 100..300)];
    for wanted in [all.collect::<Vec<_>>(), part.to_vec()] {
        let mut frontier = Frontier::default();
        for (log, range) in &wanted {
            frontier.insert(*log, range.clone());
        }
        let expected: Vec<_> = accepted
            .iter()
            .filter(|event| frontier.contains(&event.log(), event.seq()))
            .cloned()
            .collect();
        let (mut after, mut read) = (0, Vec::new());
        loop {
            let (page, next) =
                store.control_events(ROOM, frontier.clone(), after, 2000).await.expect("reads");
            let size: usize = page.iter().map(Event::size).sum();
            assert!(size <= 2000);
            read.extend(page);
            let Some(next) = next else { break };
            after = next;
        }
        assert!(read == expected);
    }
    let huge = [(logs[1][0].log(), 0..u64::MAX)].into_iter().fold(
        Frontier::default(),
        |mut frontier, (log, range)| {
            frontier.insert(log, range);
            frontier
        },
    );
    let (page, next) = store.control_events(ROOM, huge, 0, usize::MAX).await.expect("reads");
    assert_eq!((page.len(), next), (200, None));
}

#[tokio::test]
async fn peers_keep_what_is_not_told_again() {
    let (_folder, store) = fresh().await;
    let peer = PeerId([4; 32]);
    let socket: SocketAddr = "192.0.2.1:4000".parse().expect("an address");
    let somewhere = PeerAddr { peer, direct: vec![Addr(socket)], relays: vec![] };
    let nowhere = PeerAddr { peer, direct: vec![], relays: vec![] };
    let account = Some(AccountId([5; 32]));
    let told = [
        (somewhere.clone(), None, Some("Ana".to_owned()), 10),
        (nowhere, account, None, 30),
        (PeerAddr { peer: PeerId([6; 32]), ..somewhere.clone() }, None, None, 20),
    ];
    for (addr, account, name, now_ms) in told {
        store.write(Write::Peer { addr, account, name, now_ms }).await.expect("stored");
    }
    let peers = store.peers().await.expect("reads");
    assert_eq!(peers.len(), 2);
    assert_eq!(peers[0].addr, somewhere);
    assert_eq!(peers[0].account, account);
    assert_eq!(peers[0].name.as_deref(), Some("Ana"));
    assert_eq!((peers[0].last_seen_ms, peers[1].last_seen_ms), (30, 20));
}

#[tokio::test]
async fn joins_wait_until_they_are_done() {
    let (_folder, store) = fresh().await;
    for (room, ticket, now_ms) in [(ROOM, 1, 10), (OTHER, 2, 20), (ROOM, 3, 30)] {
        let write = Write::PendingJoin { room, ticket: vec![ticket], now_ms };
        store.write(write).await.expect("stored");
    }
    let joins = store.pending_joins().await.expect("reads");
    let seen: Vec<_> =
        joins.iter().map(|join| (join.room, join.ticket[0], join.since_ms)).collect();
    assert_eq!(seen, [(ROOM, 3, 10), (OTHER, 2, 20)]);
    store.write(Write::JoinDone { room: ROOM }).await.expect("stored");
    assert_eq!(store.pending_joins().await.expect("reads").len(), 1);
}

#[tokio::test]
async fn rooms_are_listed_as_they_were_noted() {
    let (_folder, store) = fresh().await;
    let direct = |room| Write::Room { room, kind: Kind::Direct, now_ms: 9 };
    store.write(note(OTHER)).await.expect("stored");
    store.write(direct(OTHER)).await.expect("its kind was not known before");
    let rooms = store.rooms().await.expect("reads");
    let seen: Vec<_> = rooms.iter().map(|room| (room.room, room.kind, room.unread)).collect();
    assert_eq!(seen, [(ROOM, Kind::Group, 0), (OTHER, Kind::Direct, 0)]);
}

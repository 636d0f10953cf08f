//! The synchronisation machine alone: what it asks for, in which order, and what it does not stand.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use ayni_core::event::RawEvent;
use ayni_core::id::{EventId, PeerId};
use ayni_core::keys::{Bytes32, Sig};
use ayni_core::limits::{
    MAX_FRONTIER_LOGS, MAX_RUN_EVENTS, MAX_RUNS_PER_LOG, MAX_TOTAL_LOGS, MAX_WANT_EVENTS,
    MAX_WANT_RANGES, MAX_WANTS_IN_FLIGHT, NEWEST_MESSAGES,
};
use ayni_core::log::{Frontier, Lane, LogId};
use ayni_core::sync::frame::{SyncFrame, Want, from_frontier, to_frontier};
use ayni_core::sync::{Claims, Input, Output, Session, SessionId, StateHash, View, Violation};

const ME: PeerId = PeerId([1; 32]);
const PEER: PeerId = PeerId([2; 32]);

#[derive(Debug)]
struct Hash([u8; 32]);

impl StateHash for Hash {
    fn state_hash(&self) -> [u8; 32] {
        self.0
    }

    fn tip(&self, _: &LogId) -> Option<(u64, EventId)> {
        None
    }
}

/// One side: a machine, and what it holds.
struct Side {
    session: Session,
    held: Frontier,
    hash: u8,
}

impl Side {
    fn new(id: u64, held: Frontier) -> Self {
        Self {
            session: Session::new(SessionId(id), ME, PEER),
            held,
            hash: u8::try_from(id).expect("small"),
        }
    }

    fn feed(&mut self, input: Input, claims: &mut Claims) -> Result<Vec<Output>, Violation> {
        let state = Hash([self.hash; 32]);
        self.session.handle(input, View { held: &self.held, state: &state }, claims)
    }

    fn hear(&mut self, frame: SyncFrame, claims: &mut Claims) -> Result<Vec<Output>, Violation> {
        assert_eq!(frame.check(), Ok(()));
        self.feed(Input::Frame(frame), claims)
    }

    /// Hears that the peer holds this, and returns what it asks for.
    fn told(&mut self, theirs: &Frontier, claims: &mut Claims) -> Vec<Want> {
        let mut wants = Vec::new();
        for part in from_frontier(theirs).chunks(MAX_FRONTIER_LOGS) {
            wants.extend(asked(&self.hear(SyncFrame::Have(part.to_vec()), claims).expect("fine")));
        }
        wants
    }
}

fn asked(outputs: &[Output]) -> Vec<Want> {
    let wants = outputs.iter().filter_map(|output| match output {
        Output::Send(SyncFrame::Want(want)) => Some(want.clone()),
        _ => None,
    });
    let wants: Vec<Want> = wants.collect();
    for want in &wants {
        assert_eq!(SyncFrame::Want(want.clone()).check(), Ok(()), "what we ask keeps the limits");
    }
    wants
}

fn announced(outputs: &[Output]) -> Frontier {
    let mut all = Frontier::default();
    for output in outputs {
        if let Output::Send(frame @ SyncFrame::Have(logs)) = output {
            assert_eq!(frame.check(), Ok(()), "what we announce keeps the limits");
            all.union(&to_frontier(logs));
        }
    }
    all
}

fn log(lane: Lane, n: u32) -> LogId {
    let mut device = [7; 32];
    device[..4].copy_from_slice(&n.to_be_bytes());
    LogId { lane, device: PeerId(device), term: 0 }
}

fn holding(lane: Lane, n: u32, range: Range<u64>) -> Frontier {
    let mut frontier = Frontier::default();
    frontier.insert(log(lane, n), range);
    frontier
}

fn scattered(lane: Lane, n: u32, ranges: &[Range<u64>]) -> Frontier {
    ranges.iter().fold(Frontier::default(), |mut all, range| {
        all.insert(log(lane, n), range.clone());
        all
    })
}

fn both(one: &Frontier, other: &Frontier) -> Frontier {
    let mut all = one.clone();
    all.union(other);
    all
}

fn run(want: u64, count: usize) -> SyncFrame {
    let event = RawEvent { header: vec![].into(), signature: Sig([0; 64]), body: None };
    SyncFrame::Run(want, vec![event; count])
}

/// Brings all that was asked for.
fn bring(side: &mut Side, want: &Want, claims: &mut Claims) {
    let mut left = usize::try_from(to_frontier(&want.ranges).count()).expect("small");
    while left > 0 {
        let part = left.min(MAX_RUN_EVENTS);
        side.hear(run(want.id, part), claims).expect("asked");
        left -= part;
    }
}

fn summary(hash: u8) -> SyncFrame {
    SyncFrame::Summary(Bytes32([hash; 32]))
}

#[test]
fn equal_states_say_nothing_but_their_hash() {
    let held = holding(Lane::Chat, 1, 0..500);
    let mut claims = Claims::default();
    let mut side = Side::new(1, held);
    let start = side.feed(Input::Start, &mut claims).expect("fine");
    let yours = Output::Send(SyncFrame::Yours(vec![]));
    assert_eq!(start, [Output::Send(summary(1)), yours], "and, once, what is the peer's own");
    assert_eq!(side.feed(Input::Changed, &mut claims), Ok(vec![]), "not before it has compared");
    assert_eq!(side.hear(summary(1), &mut claims), Ok(vec![Output::CaughtUp]));
    assert_eq!(side.feed(Input::Changed, &mut claims), Ok(vec![]));
    // Then only what is new.
    side.held.insert(log(Lane::Chat, 1), 500..502);
    let news = side.feed(Input::Changed, &mut claims).expect("fine");
    assert_eq!(announced(&news), holding(Lane::Chat, 1, 500..502));
    assert_eq!(side.feed(Input::Changed, &mut claims), Ok(vec![]));
}

#[test]
fn different_states_announce_all_once() {
    let held = both(&holding(Lane::Control, 1, 0..3), &scattered(Lane::Chat, 1, &[0..5, 8..9]));
    let mut claims = Claims::default();
    let mut side = Side::new(1, held.clone());
    let _ = side.feed(Input::Start, &mut claims).expect("fine");
    assert_eq!(announced(&side.hear(summary(9), &mut claims).expect("fine")), held);
    assert_eq!(side.hear(summary(9), &mut claims), Ok(vec![]));
}

#[test]
fn control_comes_first_and_from_its_start_messages_from_their_end() {
    let chat = holding(Lane::Chat, 1, 0..20_000);
    let control = holding(Lane::Control, 1, 0..20_000);
    let mut claims = Claims::default();
    // It holds enough messages not to be a newcomer.
    let mut side = Side::new(1, holding(Lane::Chat, 2, 0..300));
    let wants = side.told(&both(&chat, &control), &mut claims);
    assert_eq!(wants, [Want::control(0)], "all of it in one request");
    // Nobody else is asked for it meanwhile.
    let mut other = Side::new(2, side.held.clone());
    assert_eq!(other.told(&control, &mut claims), []);
    for _ in 0..40 {
        side.hear(run(0, 500), &mut claims).expect("asked");
    }
    side.held.insert(log(Lane::Control, 1), 0..20_000);
    let wants = asked(&side.hear(SyncFrame::Done(0), &mut claims).expect("asked"));
    assert_eq!(wants.len(), 2, "so that the next is there when one is answered");
    let end = 20_000 - MAX_WANT_EVENTS;
    assert_eq!(to_frontier(&wants[0].ranges), holding(Lane::Chat, 1, end..20_000));
    assert_eq!(to_frontier(&wants[1].ranges), holding(Lane::Chat, 1, end - MAX_WANT_EVENTS..end));
}

#[test]
fn of_many_logs_each_has_its_turn_and_no_share_is_short() {
    let logs: Vec<LogId> = (0..1000).map(|n| LogId { term: n, ..log(Lane::Chat, 1) }).collect();
    let theirs: Frontier =
        logs.iter().map(|log| (*log, std::iter::once(0..200).collect())).collect();
    let mut claims = Claims::default();
    let mut side = Side::new(1, holding(Lane::Chat, 2, 0..300));
    let mut wants = side.told(&theirs, &mut claims);
    let mut turns = BTreeMap::new();
    while let Some(want) = wants.pop() {
        let part = to_frontier(&want.ranges);
        for (log, runs) in part.iter() {
            let turn = turns.entry(*log).or_insert(0);
            *turn += 1;
            assert!(runs.count() >= 64 || *turn == 4, "{runs:?}");
        }
        let (most, least) = (turns.values().max(), logs.iter().map(|log| turns.get(log)).min());
        assert!(most.copied() <= least.flatten().map(|least| least + 1).or(Some(1)));
        side.held.union(&part);
        let more = side.hear(SyncFrame::Done(want.id), &mut claims).expect("asked");
        wants.splice(0..0, asked(&more).into_iter().rev());
    }
    assert_eq!(theirs.minus(&side.held), Frontier::default());
}

#[test]
fn the_control_lane_is_served_as_far_as_the_asker_lacks_it() {
    let mut claims = Claims::default();
    let mut side =
        Side::new(1, both(&holding(Lane::Control, 1, 0..10), &holding(Lane::Chat, 1, 0..9)));
    let _ = side.told(&holding(Lane::Control, 1, 0..4), &mut claims);
    let reply = side.hear(SyncFrame::Want(Want::control(0)), &mut claims);
    assert_eq!(reply, Ok(vec![Output::Serve(0, holding(Lane::Control, 1, 4..10))]));
}

#[test]
fn a_session_that_ends_lets_another_ask_for_the_control_lane() {
    let control = holding(Lane::Control, 1, 0..10);
    let mut claims = Claims::default();
    let mut silent = Side::new(1, Frontier::default());
    assert_eq!(silent.told(&control, &mut claims).len(), 1);
    let mut other = Side::new(2, Frontier::default());
    assert_eq!(other.told(&control, &mut claims), []);
    claims.end(SessionId(1));
    let wants = asked(&other.feed(Input::Changed, &mut claims).expect("fine"));
    assert_eq!(wants, [Want::control(0)]);
}

#[test]
fn a_newcomer_asks_one_peer_for_the_newest_then_all_for_the_rest() {
    let theirs = holding(Lane::Chat, 1, 0..20_000);
    let mut claims = Claims::default();
    let (mut one, mut other) =
        (Side::new(1, Frontier::default()), Side::new(2, Frontier::default()));
    let wants = one.told(&theirs, &mut claims);
    assert_eq!(wants, [Want::newest(0, NEWEST_MESSAGES)]);
    assert_eq!(other.told(&theirs, &mut claims), [], "the newest are under way");
    assert!(!one.session.is_presentable());

    let newest = 20_000 - u64::from(NEWEST_MESSAGES)..20_000;
    one.held.insert(log(Lane::Chat, 1), newest.clone());
    other.held = one.held.clone();
    let received = one.hear(run(0, NEWEST_MESSAGES as usize), &mut claims).expect("asked");
    assert!(matches!(&received[..], [Output::Receive(_)]));
    let mine = asked(&one.hear(SyncFrame::Done(0), &mut claims).expect("asked"));
    assert!(one.session.is_presentable());
    let theirs = asked(&other.feed(Input::Changed, &mut claims).expect("fine"));
    // Nothing is asked twice, and nothing that is here.
    let mut all = Frontier::default();
    let mut count = [0, 0];
    let mut open: VecDeque<(usize, Want)> = mine.into_iter().map(|want| (0, want)).collect();
    open.extend(theirs.into_iter().map(|want| (1, want)));
    while let Some((no, want)) = open.pop_front() {
        let ranges = to_frontier(&want.ranges);
        count[no] += ranges.count();
        all.union(&ranges);
        one.held.union(&ranges);
        other.held.union(&ranges);
        let side = if no == 0 { &mut one } else { &mut other };
        bring(side, &want, &mut claims);
        let more = asked(&side.hear(SyncFrame::Done(want.id), &mut claims).expect("asked"));
        open.extend(more.into_iter().map(|want| (no, want)));
    }
    assert_eq!(all.count(), count[0] + count[1], "two peers were asked for the same");
    assert_eq!(all, holding(Lane::Chat, 1, 0..newest.start));
    assert!(count.iter().all(|count| *count > 4_000), "each had its part: {count:?}");
}

#[test]
fn what_a_peer_leaves_undone_is_asked_of_another() {
    let theirs = holding(Lane::Chat, 1, 0..50);
    let mut claims = Claims::default();
    let (mut one, mut other) =
        (Side::new(1, Frontier::default()), Side::new(2, Frontier::default()));
    assert_eq!(one.told(&theirs, &mut claims).len(), 1);
    assert_eq!(other.told(&theirs, &mut claims), []);
    claims.end(SessionId(1));
    let wants = asked(&other.feed(Input::Changed, &mut claims).expect("fine"));
    assert_eq!(to_frontier(&wants[0].ranges), theirs);
}

#[test]
fn a_slow_peer_is_waited_for_no_longer_than_it_has_taken_so_far() {
    // Messages of two hundred logs, each longer than what is asked of one at a time.
    let all = (0..200).map(|n| holding(Lane::Chat, n, 0..100));
    let theirs = all.fold(Frontier::default(), |all, log| both(&all, &log));
    let mut claims = Claims::default();
    let mut side = Side::new(1, holding(Lane::Chat, 1_000, 0..300));
    let mut open: VecDeque<Want> = side.told(&theirs, &mut claims).into();
    let mut came = 0;
    while let Some(want) = open.pop_front() {
        let ranges = to_frontier(&want.ranges);
        let owed =
            ranges.count() + open.iter().map(|it| to_frontier(&it.ranges).count()).sum::<u64>();
        assert!(owed <= came.max(128), "{owed} are asked of who brought {came}");
        // What it owes is all that others are not asked for.
        let mut others = claims.clone();
        let mut other = Side::new(2, side.held.clone());
        let free = other.told(&theirs, &mut others);
        assert_eq!(free.is_empty(), theirs.minus(&side.held).count() == owed);
        bring(&mut side, &want, &mut claims);
        came += ranges.count();
        side.held.union(&ranges);
        open.extend(asked(&side.hear(SyncFrame::Done(want.id), &mut claims).expect("asked")));
    }
    assert_eq!(theirs.minus(&side.held), Frontier::default());
}

#[test]
fn hazard_23_who_claims_what_it_has_not_is_asked_a_few_times() {
    // As many logs as are remembered, of one message each: whatever is asked for, there is nothing.
    let most = u32::try_from(MAX_TOTAL_LOGS).expect("few");
    let all = (0..most).map(|n| (log(Lane::Chat, n), std::iter::once(0..1).collect()));
    let mut claims = Claims::default();
    let mut side = Side::new(1, holding(Lane::Control, most, 0..300));
    side.held.union(&holding(Lane::Chat, most, 0..300));
    let mut open: VecDeque<Want> = side.told(&all.collect(), &mut claims).into();
    let (mut wants, mut claimed) = (0, 0);
    while let Some(want) = open.pop_front() {
        wants += 1;
        claimed += to_frontier(&want.ranges).count();
        open.extend(asked(&side.hear(SyncFrame::Done(want.id), &mut claims).expect("asked")));
    }
    assert_eq!(claimed, u64::from(most), "each was asked for, and once");
    let least = MAX_TOTAL_LOGS / MAX_WANT_RANGES;
    assert!(wants <= 2 * least, "{wants} requests, of which {least} would have been enough");
}

#[test]
fn hazard_23_a_flood_of_requests_ends_the_session() {
    let mut claims = Claims::default();
    let mut side = Side::new(1, holding(Lane::Chat, 1, 0..100));
    let want = |id| SyncFrame::Want(Want::newest(id, 1));
    for id in 0..MAX_WANTS_IN_FLIGHT as u64 {
        assert_eq!(side.hear(want(id), &mut claims), Ok(vec![Output::ServeNewest(id, 1)]));
    }
    side.session.served();
    assert!(side.hear(want(7), &mut claims).is_ok(), "one was answered");
    assert_eq!(side.hear(want(8), &mut claims), Err(Violation::TooManyWants));
}

#[test]
fn hazard_23_what_was_not_asked_for_ends_the_session() {
    let theirs = holding(Lane::Chat, 1, 0..50);
    let fresh = || {
        let mut claims = Claims::default();
        let mut side = Side::new(1, Frontier::default());
        assert_eq!(side.told(&theirs, &mut claims).len(), 1);
        (side, claims)
    };
    let (mut side, mut claims) = fresh();
    assert_eq!(side.hear(run(1, 1), &mut claims), Err(Violation::Unsolicited));
    let (mut side, mut claims) = fresh();
    assert_eq!(side.hear(SyncFrame::Done(1), &mut claims), Err(Violation::Unsolicited));
    // The same events again and again.
    let (mut side, mut claims) = fresh();
    let mut runs = 0;
    while side.hear(run(0, 50), &mut claims).is_ok() {
        runs += 1;
        assert!(runs <= 1 + MAX_RUN_EVENTS / 50, "more than was asked for, without an end");
    }
    // And after it was answered.
    let (mut side, mut claims) = fresh();
    assert!(side.hear(SyncFrame::Done(0), &mut claims).is_ok());
    assert_eq!(side.hear(run(0, 1), &mut claims), Err(Violation::Unsolicited));
}

/// Tells of so many logs with one event each.
fn tells_of(side: &mut Side, logs: u32, claims: &mut Claims) -> Vec<Want> {
    let all: Frontier =
        (0..logs).map(|n| (log(Lane::Control, n), std::iter::once(0..1).collect())).collect();
    side.told(&all, claims)
}

#[test]
fn hazard_25_a_frontier_has_limits() {
    let (mut claims, mut side) = (Claims::default(), Side::new(1, Frontier::default()));
    let most = u32::try_from(MAX_TOTAL_LOGS).expect("few");
    let wants = tells_of(&mut side, 2 * most, &mut claims);
    assert_eq!(side.session.theirs().len(), MAX_TOTAL_LOGS, "the rest is not remembered");
    // Whoever has nothing of it is asked for no more than that.
    assert_eq!(wants, [Want::control(0)]);
    let more = asked(&side.hear(SyncFrame::Done(0), &mut claims).expect("the first frame's"));
    assert_eq!(more, [Want::control(1)]);
    assert_eq!(side.hear(SyncFrame::Done(1), &mut claims), Err(Violation::TooManyLogs));
    // Separate runs of one log are no more either.
    let mut side = Side::new(1, Frontier::default());
    let runs: Vec<_> = (0..=MAX_RUNS_PER_LOG as u64).map(|n| 2 * n..2 * n + 1).collect();
    let told = |part| SyncFrame::Have(from_frontier(&scattered(Lane::Chat, 1, part)));
    assert!(side.hear(told(&runs[1..]), &mut Claims::default()).is_ok());
    let verdict = side.hear(told(&runs[..1]), &mut Claims::default());
    assert_eq!(verdict, Err(Violation::TooManyLogs));
}

#[test]
fn hazard_23_a_room_of_more_logs_than_that_is_synchronised_all_the_same() {
    // Any member can make the others hold so many: they go on, also with each other's news.
    let most = u32::try_from(MAX_TOTAL_LOGS).expect("few");
    let (mut claims, mut side) = (Claims::default(), Side::new(1, Frontier::default()));
    for n in 0..2 * most {
        side.held.insert(log(Lane::Control, n), 0..1);
    }
    assert_eq!(tells_of(&mut side, 2 * most, &mut claims), []);
    let news = side.told(&holding(Lane::Control, 7, 0..2), &mut claims);
    assert_eq!(news, [Want::control(0)]);
    // A newcomer takes all of the lane, and then a part of the rest with each session.
    let (mut claims, mut side) = (Claims::default(), Side::new(2, Frontier::default()));
    assert_eq!(tells_of(&mut side, 2 * most + 9, &mut claims), [Want::control(0)]);
    for n in 0..2 * most + 9 {
        side.held.insert(log(Lane::Control, n), 0..1);
    }
    // More than was announced when it was asked for.
    for _ in 0..2 * most / 500 {
        assert!(side.hear(run(0, 500), &mut claims).is_ok(), "it was asked for");
    }
    assert_eq!(side.hear(SyncFrame::Done(0), &mut claims), Err(Violation::TooManyLogs));
    let mut again = Side { session: Session::new(SessionId(3), ME, PEER), ..side };
    claims.end(SessionId(2));
    assert_eq!(tells_of(&mut again, 2 * most + 9, &mut claims), []);
    assert_eq!(again.hear(summary(2), &mut claims), Ok(vec![]));
}

#[test]
fn hazard_23_refused_events_are_noted_where_they_were_announced_and_not_one_by_one() {
    let mut claims = Claims::default();
    let mut side = Side::new(1, holding(Lane::Chat, 2, 0..300));
    assert_eq!(side.told(&holding(Lane::Chat, 1, 0..100_000), &mut claims).len(), 2);
    let begun = side.session.footprint();
    for n in 0..10_000u32 {
        let nowhere = Input::Refused(log(Lane::Chat, 10 + n), 0..1);
        assert!(side.feed(nowhere, &mut claims).is_ok());
        let at = 2 * u64::from(n);
        assert!(side.feed(Input::Refused(log(Lane::Chat, 1), at..at + 1), &mut claims).is_ok());
    }
    assert!(
        side.session.footprint() < begun + 2 * MAX_RUNS_PER_LOG,
        "{}",
        side.session.footprint()
    );
}

#[test]
fn hazard_24_a_hash_is_not_answered_with_all_that_is_held_again_and_again() {
    let held: Frontier =
        (0..1000).map(|n| (log(Lane::Control, n), std::iter::once(0..1).collect())).collect();
    let (mut claims, mut side) = (Claims::default(), Side::new(1, held.clone()));
    side.feed(Input::Start, &mut claims).expect("fine");
    side.told(&held, &mut claims);
    let mut told = 0;
    for n in 0..100 {
        told += announced(&side.hear(summary(100 + n), &mut claims).expect("fine")).len();
    }
    assert_eq!(told, held.len(), "once");
    side.feed(Input::Check, &mut claims).expect("fine");
    assert_eq!(announced(&side.hear(summary(9), &mut claims).expect("fine")), held, "and later");
}

#[test]
fn hazard_23_events_that_a_peer_only_claims_to_have_are_asked_for_once() {
    let mut claims = Claims::default();
    let mut side = Side::new(1, holding(Lane::Chat, 2, 0..300));
    let wants = side.told(&holding(Lane::Chat, 1, 0..u64::MAX), &mut claims);
    assert_eq!(wants.len(), 2);
    let mut open: Vec<u64> = wants.iter().map(|want| want.id).collect();
    let mut all = open.len();
    while let Some(id) = open.pop() {
        let more = asked(&side.hear(SyncFrame::Done(id), &mut claims).expect("asked"));
        open.extend(more.iter().map(|want| want.id));
        all += more.len();
        assert!(all <= 4, "asked in a circle");
    }
    assert!(!side.session.is_waiting());
    // Once the control lane has changed it may be worth another try.
    side.session.forgive();
    assert_eq!(asked(&side.feed(Input::Changed, &mut claims).expect("fine")).len(), 2);
}

#[test]
fn what_was_refused_is_asked_again_when_control_advanced_meanwhile() {
    let theirs = holding(Lane::Control, 1, 0..10);
    let mut claims = Claims::default();
    let mut side = Side::new(1, Frontier::default());
    assert_eq!(side.told(&theirs, &mut claims).len(), 1);
    let refused = Input::Refused(log(Lane::Control, 1), 0..10);
    assert_eq!(side.feed(refused, &mut claims), Ok(vec![]));
    // Another session brought what was missing, before this one's answer is complete.
    side.session.forgive();
    assert_eq!(side.feed(Input::Changed, &mut claims), Ok(vec![]), "it is under way still");
    assert_eq!(asked(&side.hear(SyncFrame::Done(0), &mut claims).expect("asked")).len(), 1);
    // Refused again, and nothing changed: not in a circle.
    assert_eq!(asked(&side.hear(SyncFrame::Done(1), &mut claims).expect("asked")), []);
}

#[test]
fn what_became_void_is_not_asked_for_again_by_those_who_agree() {
    let (mut claims, mut side) = (Claims::default(), Side::new(1, Frontier::default()));
    side.held = holding(Lane::Chat, 0, 0..5);
    let wants = side.told(&holding(Lane::Chat, 0, 0..10), &mut claims);
    assert_eq!(to_frontier(&wants[0].ranges), holding(Lane::Chat, 0, 5..10));
    side.feed(Input::Refused(log(Lane::Chat, 0), 5..10), &mut claims).expect("fine");
    side.hear(SyncFrame::Done(0), &mut claims).expect("asked for");
    // The peer lets go of it too, and says that both hold the same now.
    side.feed(Input::Check, &mut claims).expect("fine");
    assert_eq!(asked(&side.hear(summary(1), &mut claims).expect("fine")), []);
    side.session.forgive();
    assert_eq!(asked(&side.feed(Input::Changed, &mut claims).expect("fine")), []);
}

#[test]
fn scattered_holdings_keep_the_limits_of_a_frame() {
    // As many separate runs as there may be, each then grown at both ends: twice as many pieces.
    let pieces = MAX_RUNS_PER_LOG as u64;
    let inner: Vec<_> = (0..pieces).map(|n| 10 * n + 4..10 * n + 5).collect();
    let outer: Vec<_> = (0..pieces).map(|n| 10 * n + 3..10 * n + 6).collect();
    let mut claims = Claims::default();
    let mut side = Side::new(1, scattered(Lane::Chat, 1, &inner));
    let _ = side.hear(summary(9), &mut claims).expect("fine");
    side.held = scattered(Lane::Chat, 1, &outer);
    let news = side.feed(Input::Changed, &mut claims).expect("fine");
    assert_eq!(announced(&news), side.held);
    // And asking for what lies around them.
    let mut other = Side::new(2, scattered(Lane::Chat, 1, &inner));
    let wants = other.told(&scattered(Lane::Chat, 1, &outer), &mut claims);
    let asked: u64 = wants.iter().map(|want| to_frontier(&want.ranges).count()).sum();
    assert_eq!(asked, 2 * pieces, "in two requests");
}

#[test]
fn hazard_17_who_is_only_listened_to_learns_nothing() {
    let mut claims = Claims::default();
    let mut side = Side::new(1, holding(Lane::Chat, 1, 0..100));
    side.session.listen_only(true);
    let _ = side.feed(Input::Start, &mut claims).expect("fine");
    assert_eq!(side.hear(summary(9), &mut claims), Ok(vec![]));
    for id in 0..20 {
        let want = Want::ranges(id, from_frontier(&side.held));
        let reply = side.hear(SyncFrame::Want(want), &mut claims).expect("no flood");
        assert_eq!(reply, [Output::Send(SyncFrame::Done(id))]);
    }
    assert_eq!(side.told(&holding(Lane::Control, 3, 0..5), &mut claims).len(), 1, "it asks");
    side.session.listen_only(false);
    let news = side.feed(Input::Changed, &mut claims).expect("fine");
    assert_eq!(announced(&news), side.held);
}

#[test]
fn hazard_2_a_device_learns_its_own_tip_before_it_counts_as_known() {
    let own = |range| {
        let mut frontier = Frontier::default();
        frontier.insert(LogId { lane: Lane::Chat, device: ME, term: 0 }, range);
        frontier
    };
    let mut claims = Claims::default();
    let mut side = Side::new(1, own(0..5));
    side.feed(Input::Start, &mut claims).expect("fine");
    assert!(!side.session.has_own(&side.held), "nobody said anything yet");
    let mut told = both(&own(0..8), &holding(Lane::Chat, 1, 0..500));
    let heard = side.hear(SyncFrame::Yours(from_frontier(&told)), &mut claims).expect("fine");
    let wants = asked(&heard);
    assert_eq!(to_frontier(&wants[0].ranges), own(5..8), "its own, and nothing of others");
    assert!(!side.session.has_own(&side.held));
    side.held = own(0..8);
    side.hear(SyncFrame::Done(wants[0].id), &mut claims).expect("fine");
    assert!(side.session.has_own(&side.held));

    // A peer that claims more than it can give holds nothing up.
    told = own(0..900);
    let heard = side.hear(SyncFrame::Yours(from_frontier(&told)), &mut claims).expect("fine");
    assert!(!side.session.has_own(&side.held));
    side.hear(SyncFrame::Done(asked(&heard)[0].id), &mut claims).expect("fine");
    assert!(side.session.has_own(&side.held));
}

/// A state in which every log ends with an event of this number, after five.
#[derive(Debug)]
struct Ending(u8);

impl StateHash for Ending {
    fn state_hash(&self) -> [u8; 32] {
        [self.0; 32]
    }

    fn tip(&self, _: &LogId) -> Option<(u64, EventId)> {
        Some((5, EventId([self.0; 32])))
    }
}

#[test]
fn equal_logs_are_told_again_while_the_states_differ() {
    let held = holding(Lane::Chat, 1, 0..5);
    let mut claims = Claims::default();
    let mut session = Session::new(SessionId(1), ME, PEER);
    let mut feed = |frame| {
        let view = View { held: &held, state: &Ending(1) };
        announced(&session.handle(Input::Frame(frame), view, &mut claims).expect("no violation"))
    };
    assert_eq!(feed(SyncFrame::Have(from_frontier(&held))), held, "for the first time");
    assert_eq!(feed(summary(1)), Frontier::default());
    assert_eq!(feed(summary(2)), held);
}

#[test]
fn hazard_1_two_branches_of_one_length_are_found_and_asked_for() {
    let held = holding(Lane::Chat, 1, 0..5);
    let mut claims = [Claims::default(), Claims::default()];
    let mut sides = [1, 2].map(|id| Session::new(SessionId(id), ME, PEER));
    let mut feed = |at: usize, input| {
        let state = Ending(u8::try_from(at).expect("two") + 1);
        let view = View { held: &held, state: &state };
        sides[at].handle(input, view, &mut claims[at]).expect("no violation")
    };
    let heard = feed(0, Input::Frame(summary(2)));
    let have = heard.into_iter().find_map(|output| match output {
        Output::Send(frame @ SyncFrame::Have(_)) => Some(frame),
        _ => None,
    });
    let wants = asked(&feed(1, Input::Frame(have.expect("the states differ"))));
    assert_eq!(to_frontier(&wants[0].ranges), held, "asked for although it is held");

    // Where they part is further back than what came.
    feed(1, Input::Frame(SyncFrame::Done(wants[0].id)));
    let wants = asked(&feed(1, Input::Contested(log(Lane::Chat, 1), 3)));
    assert_eq!(to_frontier(&wants[0].ranges), holding(Lane::Chat, 1, 0..3));
    assert!(asked(&feed(1, Input::Contested(log(Lane::Chat, 1), 0))).is_empty(), "nothing before");
}

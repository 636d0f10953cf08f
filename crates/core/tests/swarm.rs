//! A swarm against providers that are fast, slow, partial, silent, lying or gone: no block has two
//! owners outside the endgame, everything ends while the union of honest providers is complete, and
//! what comes twice is bounded.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::id::PeerId;
use ayni_core::swarm::{
    BLOCK_BYTES, Blocks, Fault, Input, MAX_TWICE, Order, Output, RequestId, Swarm, count, runs,
};
use proptest::prelude::*;

/// How a provider behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Brings what it is asked for, at a speed in bytes a second.
    Honest(u64),
    /// Never brings anything.
    Silent,
    /// Brings so many blocks, and then is silent.
    SilentAfter(u64),
    /// Brings something else.
    Liar,
    /// Says no.
    Refuses,
    /// Ends every answer after one block.
    Short,
    /// Ends its first so many answers without anything.
    CutShort(u64),
    /// Is gone after so many milliseconds, and back after as many.
    Flickers(u64, u64),
}

#[derive(Debug)]
struct Sender {
    kind: Kind,
    has: Blocks,
    queue: Vec<(RequestId, Blocks)>,
    /// Bytes that it may send and did not yet.
    credit: u64,
    sent: u64,
    here: bool,
}

/// A world of one downloader: virtual time in steps of 10 ms.
struct World {
    swarm: Swarm,
    senders: BTreeMap<PeerId, Sender>,
    held: Blocks,
    size: u64,
    now: u64,
    dropped: BTreeSet<PeerId>,
    done: bool,
    /// Blocks asked while they were asked of another, by the endgame.
    twice: u64,
}

const STEP_MS: u64 = 10;

impl World {
    fn new(size: u64, held: &Blocks, seed: u64, senders: Vec<(Kind, Blocks)>) -> Self {
        let peer = |at: usize| PeerId([u8::try_from(at + 1).expect("few"); 32]);
        let senders = senders.into_iter().enumerate().map(|(at, (kind, has))| {
            let sender = Sender { kind, has, queue: vec![], credit: 0, sent: 0, here: true };
            (peer(at), sender)
        });
        let mut world = Self {
            swarm: Swarm::new(size, held, seed),
            senders: senders.collect(),
            held: held & &Blocks::from(0..size),
            size,
            now: 1_000,
            dropped: BTreeSet::new(),
            done: false,
            twice: 0,
        };
        let all: Vec<_> = world.senders.iter().map(|(id, it)| (*id, it.has.clone())).collect();
        for (provider, blocks) in all {
            world.input(Input::Has { provider, blocks });
        }
        world
    }

    fn asked(&self) -> Vec<&Blocks> {
        self.senders.values().flat_map(|it| it.queue.iter().map(|(_, blocks)| blocks)).collect()
    }

    fn input(&mut self, input: Input) {
        for output in self.swarm.handle(input, self.now) {
            self.output(output);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Ask { request, provider, blocks } => {
                self.check_and_queue(request, provider, blocks);
            }
            Output::Cancel { request } => {
                for sender in self.senders.values_mut() {
                    sender.queue.retain(|(id, _)| *id != request);
                }
            }
            Output::Drop { provider } => {
                assert_eq!(self.senders[&provider].kind, Kind::Liar);
                self.dropped.insert(provider);
            }
            Output::Complete => {
                assert!(!self.done, "once");
                self.done = true;
            }
            _ => unreachable!("no other outputs"),
        }
    }

    fn check_and_queue(&mut self, request: RequestId, provider: PeerId, blocks: Blocks) {
        assert!(!blocks.is_empty());
        assert!(!self.dropped.contains(&provider), "asked of one that lied");
        assert!(blocks.is_disjoint(&self.held), "asked for what is there");
        assert!(blocks.is_subset(&self.senders[&provider].has), "asked for what it lacks");
        let mut all = Blocks::empty();
        let mut doubled = Blocks::empty();
        for other in self.asked() {
            doubled |= &all & other;
            all |= other.clone();
        }
        let again = &all & &blocks;
        if !again.is_empty() {
            let free = &(&Blocks::from(0..self.size) - &self.held) - &all;
            assert!(free.is_empty(), "asked twice while others were not asked for at all");
            assert!(again.is_disjoint(&doubled), "asked a third time");
            assert!(count(&again) <= MAX_TWICE);
            self.twice += count(&again);
        }
        self.senders.get_mut(&provider).expect("known").queue.push((request, blocks));
    }

    fn step(&mut self) {
        self.now += STEP_MS;
        let peers: Vec<PeerId> = self.senders.keys().copied().collect();
        for peer in peers {
            self.serve(peer);
        }
        if self.swarm.deadline(self.now).is_some_and(|due| due <= self.now + STEP_MS) {
            self.now += STEP_MS;
            self.input(Input::Tick);
        }
    }

    fn serve(&mut self, peer: PeerId) {
        let sender = self.senders.get_mut(&peer).expect("known");
        if let Kind::Flickers(there, gone) = sender.kind {
            let here = self.now % (there + gone) < there;
            if here != sender.here {
                sender.here = here;
                sender.queue.clear();
                let blocks = sender.has.clone();
                let gone = Input::Gone { provider: peer };
                return self.input(if here { Input::Has { provider: peer, blocks } } else { gone });
            }
        }
        let rate = match sender.kind {
            Kind::Honest(rate) => rate,
            _ => 2_000_000,
        };
        sender.credit =
            if sender.queue.is_empty() { 0 } else { sender.credit + rate * STEP_MS / 1000 };
        while let Some(sender) = self.senders.get_mut(&peer)
            && let Some((request, blocks)) = sender.queue.first_mut()
        {
            let (request, kind) = (*request, sender.kind);
            let fault = match kind {
                Kind::Silent => return,
                Kind::SilentAfter(blocks) if sender.sent >= blocks => return,
                Kind::Liar => Some(Fault::Lied),
                Kind::Refuses => Some(Fault::Refused),
                _ => None,
            };
            if let Kind::CutShort(left) = kind
                && left > 0
            {
                sender.kind = Kind::CutShort(left - 1);
                sender.queue.remove(0);
                self.input(Input::Finished { request });
                continue;
            }
            if let Some(fault) = fault {
                sender.queue.remove(0);
                self.input(Input::Failed { request, fault });
                continue;
            }
            if sender.credit < BLOCK_BYTES {
                return;
            }
            sender.credit -= BLOCK_BYTES;
            sender.sent += 1;
            let (from, _) = runs(blocks).next().expect("never none");
            *blocks -= Blocks::from(from..from + 1);
            if blocks.is_empty() {
                sender.queue.remove(0);
            }
            self.held |= Blocks::from(from..from + 1);
            self.input(Input::Verified { request, from, to: from + 1 });
            if kind == Kind::Short {
                // It is owed until the swarm hears that it will not come.
                if let Some(sender) = self.senders.get_mut(&peer) {
                    sender.queue.retain(|(id, _)| *id != request);
                }
                self.input(Input::Finished { request });
            }
        }
    }

    /// Runs to the end, and returns how many milliseconds that took.
    fn run(&mut self, limit_ms: u64) -> u64 {
        let start = self.now;
        while !self.done {
            self.step();
            assert!(self.now - start < limit_ms, "not done: {:?}", self.swarm.progress());
        }
        assert_eq!(self.held, Blocks::from(0..self.size));
        assert_eq!(self.asked(), Vec::<&Blocks>::new(), "what is not needed is cancelled");
        self.now - start
    }
}

fn all(size: u64) -> Blocks {
    Blocks::from(0..size)
}

#[test]
fn one_provider_brings_everything_at_its_speed() {
    let mut world =
        World::new(2_000, &Blocks::empty(), 1, vec![(Kind::Honest(10_000_000), all(2_000))]);
    let took = world.run(10_000);
    let ideal = 2_000 * BLOCK_BYTES * 1000 / 10_000_000;
    assert!(took < ideal * 105 / 100, "{took} ms, ideal {ideal} ms");
    assert_eq!(world.twice, 0);
}

#[test]
fn several_slow_providers_are_as_fast_as_all_of_them_together() {
    let size = 8_000;
    for n in [2, 4, 8] {
        let senders = vec![(Kind::Honest(2_000_000), all(size)); n];
        let took = World::new(size, &Blocks::empty(), 2, senders).run(200_000);
        let ideal = size * BLOCK_BYTES * 1000 / (2_000_000 * n as u64);
        assert!(took < ideal * 106 / 100, "{n} providers: {took} ms, ideal {ideal} ms");
    }
}

#[test]
fn a_slow_one_does_not_hold_up_the_end() {
    let size = 4_000;
    let senders = vec![(Kind::Honest(10_000_000), all(size)), (Kind::Honest(20_000), all(size))];
    let mut world = World::new(size, &Blocks::empty(), 3, senders);
    let took = world.run(60_000);
    let ideal = size * BLOCK_BYTES * 1000 / 10_020_000;
    assert!(took < ideal * 115 / 100, "{took} ms, ideal {ideal} ms");
    assert!(world.twice <= 2 * MAX_TWICE, "{} blocks twice", world.twice);
}

#[test]
fn hazard_26_liars_and_those_who_stall_are_dropped_and_the_rest_completes() {
    let size = 1_000;
    let senders = vec![
        (Kind::Liar, all(size)),
        (Kind::Silent, all(size)),
        (Kind::SilentAfter(3), all(size)),
        (Kind::Refuses, all(size)),
        (Kind::Short, all(size)),
        (Kind::Honest(1_000), all(size)),
        (Kind::Honest(4_000_000), all(size)),
    ];
    let mut world = World::new(size, &Blocks::empty(), 4, senders);
    let took = world.run(60_000);
    let ideal = size * BLOCK_BYTES * 1000 / 4_000_000;
    assert!(took < ideal * 13 / 10, "{took} ms, ideal {ideal} ms");
    assert_eq!(world.dropped.len(), 1);
    // What lied once is not believed again.
    let liar = *world.dropped.first().expect("one");
    world.input(Input::Has { provider: liar, blocks: all(size) });
    assert!(world.swarm.providers(world.now).all(|it| it.peer != liar));
}

#[test]
fn who_ended_an_answer_too_early_is_asked_again_although_it_says_nothing_new() {
    let senders = vec![(Kind::CutShort(2), all(400))];
    let took = World::new(400, &Blocks::empty(), 11, senders).run(60_000);
    assert!(took < 40_000, "{took} ms");
}

#[test]
fn one_that_was_fast_and_is_gone_holds_up_the_end_for_a_moment_only() {
    let size = 600;
    // Half of it comes from the fast one, which then says nothing any more, and is not known to be gone.
    let senders =
        vec![(Kind::SilentAfter(size / 2), all(size)), (Kind::Honest(2_000_000), all(size))];
    let mut world = World::new(size, &Blocks::empty(), 12, senders);
    let took = world.run(60_000);
    let ideal = (size - size / 4) * BLOCK_BYTES * 1000 / 2_000_000;
    assert!(took < ideal + 3_000, "{took} ms, ideal {ideal} ms");
}

#[test]
fn what_only_one_has_is_waited_for_and_asked_again() {
    let senders =
        vec![(Kind::Flickers(3_000, 20_000), all(600)), (Kind::Honest(1_000_000), all(500))];
    World::new(600, &Blocks::empty(), 5, senders).run(200_000);
}

#[test]
fn one_who_comes_in_the_middle_is_asked_at_once() {
    let size = 4_000;
    let senders =
        vec![(Kind::Honest(1_000_000), all(size)), (Kind::Honest(9_000_000), Blocks::empty())];
    let mut world = World::new(size, &Blocks::empty(), 6, senders);
    for _ in 0..500 {
        world.step();
    }
    let late = PeerId([2; 32]);
    world.senders.get_mut(&late).expect("there").has = all(size);
    let before = world.now;
    world.input(Input::Has { provider: late, blocks: all(size) });
    world.run(60_000);
    let left = size - 5_000_000 / BLOCK_BYTES;
    let ideal = left * BLOCK_BYTES * 1000 / 10_000_000;
    assert!(world.now - before < ideal * 11 / 10, "{} ms, ideal {ideal} ms", world.now - before);
}

#[test]
fn what_is_there_is_not_asked_for() {
    let held = &all(100) | &Blocks::from(300..999);
    let mut world = World::new(1_000, &held, 7, vec![(Kind::Honest(1_000_000), all(1_000))]);
    world.run(10_000);
    let sent: u64 = world.senders.values().map(|it| it.sent).sum();
    assert_eq!(sent, 201);
    let mut whole = Swarm::new(10, &all(10), 0);
    assert_eq!(whole.handle(Input::Tick, 0), vec![Output::Complete]);
    assert_eq!(whole.handle(Input::Tick, 0), vec![]);
    assert_eq!(Swarm::new(0, &all(10), 0).handle(Input::Tick, 0), vec![Output::Complete]);
}

#[test]
fn in_order_the_first_comes_first() {
    let senders =
        vec![(Kind::Honest(1_000_000), all(1_000)), (Kind::Honest(3_000_000), all(1_000))];
    let mut world = World::new(1_000, &Blocks::empty(), 8, senders);
    world.input(Input::Order(Order::From(500)));
    let start = world.now;
    while !Blocks::from(500..564).is_subset(&world.held) {
        world.step();
        assert!(world.now - start < 1_500);
    }
    world.run(20_000);
}

#[test]
fn the_rarest_comes_first() {
    // Everyone has the first half, one has the second.
    let senders = vec![
        (Kind::Honest(1_000_000), all(1_024)),
        (Kind::Honest(1_000_000), all(512)),
        (Kind::Honest(1_000_000), all(512)),
    ];
    let mut world = World::new(1_024, &Blocks::empty(), 9, senders);
    let took = world.run(60_000);
    let ideal = 512 * BLOCK_BYTES * 1000 / 1_000_000;
    assert!(
        took < ideal * 106 / 100,
        "{took} ms, ideal {ideal} ms: the first was asked for both halves"
    );
}

#[test]
fn held_back_by_ourselves_is_not_stalled() {
    let mut swarm = Swarm::new(100, &Blocks::empty(), 10);
    let peer = |n| PeerId([n; 32]);
    let mut asks = swarm.handle(Input::Has { provider: peer(1), blocks: all(100) }, 0);
    asks.extend(swarm.handle(Input::Has { provider: peer(2), blocks: all(100) }, 0));
    let of = |n| {
        let mut asked = asks.iter().filter_map(|output| match output {
            Output::Ask { request, provider, .. } if *provider == peer(n) => Some(*request),
            _ => None,
        });
        asked.next().expect("asked")
    };
    let mut stalled = false;
    for now in (1_000..30_000).step_by(1_000) {
        let out = swarm.handle(Input::Held { request: of(1) }, now);
        assert!(!out.contains(&Output::Cancel { request: of(1) }));
        stalled |= out.contains(&Output::Cancel { request: of(2) });
    }
    assert!(stalled, "the other one is");
}

fn blocks(size: u64) -> impl Strategy<Value = Blocks> {
    prop::collection::vec((0..size, 0..size), 0..5).prop_map(|ranges| {
        ranges
            .into_iter()
            .fold(Blocks::empty(), |all, (a, b)| all | Blocks::from(a.min(b)..a.max(b)))
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => (50_000u64..20_000_000).prop_map(Kind::Honest),
        1 => Just(Kind::Silent),
        1 => (0u64..50).prop_map(Kind::SilentAfter),
        1 => Just(Kind::Liar),
        1 => Just(Kind::Refuses),
        1 => Just(Kind::Short),
        1 => (500u64..20_000, 500u64..20_000).prop_map(|(there, gone)| Kind::Flickers(there, gone)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever providers do: what the honest ones have together comes, no block has two owners
    /// outside the endgame, nobody is asked for what it lacks ([`World::check_and_queue`]), and what
    /// comes twice is bounded.
    #[test]
    fn it_ends_when_the_union_of_honest_providers_is_complete(
        size in 1u64..1_500,
        seed: u64,
        in_order: bool,
        others in prop::collection::vec((kind(), (0u64..1_500).prop_flat_map(|_| blocks(1_500))), 0..8),
        split in prop::collection::vec(0u64..1_500, 0..4),
        held in blocks(1_500),
    ) {
        let within = |set: Blocks| &set & &all(size);
        let mut senders: Vec<_> = others.into_iter().map(|(kind, has)| (kind, within(has))).collect();
        let mut cuts: Vec<u64> = split.into_iter().map(|cut| cut.min(size)).chain([0, size]).collect();
        cuts.sort_unstable();
        for pair in cuts.windows(2).filter(|pair| pair[0] < pair[1]) {
            senders.push((Kind::Honest(400_000), Blocks::from(pair[0]..pair[1])));
        }
        let people = senders.len() as u64;
        let mut world = World::new(size, &held, seed, senders);
        if in_order {
            world.input(Input::Order(Order::From(size / 2)));
        }
        world.run(600_000);
        let came = world.senders.values().map(|it| it.sent).sum::<u64>();
        let needed = size - count(&within(held));
        let twice = world.swarm.progress().twice;
        prop_assert!(came <= needed + twice);
        prop_assert!(twice <= 2 * MAX_TWICE * people, "{twice} of {needed} came twice");
    }
}

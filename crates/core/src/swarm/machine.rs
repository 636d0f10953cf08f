//! The machine: from what happens to whom to ask.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::pick::{Rarity, pick_in_order};
use super::provider::{Provider, ProviderStatus};
use super::{
    Blocks, Fault, Input, MAX_GONE, MAX_LIARS, MIN_RANGE, Output, PIPELINE, RequestId,
    STALL_ALONE_MS, STALL_MS, count, endgame,
};
use crate::clock::Millis;
use crate::id::PeerId;

/// What is to come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// What the fewest providers have: best for everyone who fetches.
    #[default]
    RarestFirst,
    /// In order from a block on, for one who reads while it comes.
    From(u64),
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Blocks of the whole.
    pub size: u64,
    /// Blocks that are not there yet.
    pub missing: u64,
    /// Blocks that came although they were there.
    pub twice: u64,
}

/// One request under way.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) provider: PeerId,
    /// What is still missing of it.
    pub(super) left: Blocks,
    /// The end of the last block that it was for.
    end: u64,
}

/// A content that is being fetched.
#[derive(Debug, Clone)]
pub struct Swarm {
    size: u64,
    missing: Blocks,
    /// Those that are connected, and some that are gone: how they were, not what they had.
    providers: BTreeMap<PeerId, Provider>,
    /// Who of these is gone, the longest first.
    gone: VecDeque<PeerId>,
    /// Who lied, the longest ago first.
    liars: VecDeque<PeerId>,
    requests: BTreeMap<RequestId, Request>,
    next_request: u64,
    rarity: Rarity,
    /// When it was counted last who has what, and whether someone has something else since.
    counted: Option<Millis>,
    has_changed: bool,
    order: Order,
    twice: u64,
    complete: bool,
    /// When it was last looked who is to be asked.
    looked: Millis,
    rng: ChaCha8Rng,
}

impl Swarm {
    /// Starts with a content of `size` blocks of which `held` are there. The seed decides ties.
    ///
    /// What is complete from the start says so at the first input.
    pub fn new(size: u64, held: &Blocks, seed: u64) -> Self {
        Self {
            size,
            missing: &Blocks::from(0..size) - held,
            providers: BTreeMap::new(),
            gone: VecDeque::new(),
            liars: VecDeque::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            rarity: Rarity::new(size),
            counted: None,
            has_changed: false,
            order: Order::default(),
            twice: 0,
            complete: false,
            looked: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Takes what happened, and returns what is to be done, in this order.
    ///
    /// What is said of requests that are over is ignored: it crossed with a [`Output::Cancel`].
    pub fn handle(&mut self, input: Input, now: Millis) -> Vec<Output> {
        let mut out = vec![];
        match input {
            Input::Has { provider, blocks } => self.has(provider, &blocks, now),
            Input::Gone { provider } => self.gone(provider),
            Input::Verified { request, from, to } => {
                self.verified(request, (from, to), now, &mut out);
            }
            Input::Finished { request } => self.finished(request, now),
            Input::Failed { request, fault } => self.failed(request, fault, now, &mut out),
            Input::Held { request } => self.held(request, now),
            Input::Order(order) => self.order = order,
            Input::Tick => {}
        }
        if self.missing.is_empty() {
            self.end(&mut out);
            return out;
        }
        self.looked = now;
        self.give_up_stalled(now, &mut out);
        self.believe(now);
        self.ask(now, &mut out);
        out
    }

    /// Returns when [`Input::Tick`] is due next, if nothing else happens.
    pub fn deadline(&self, now: Millis) -> Option<Millis> {
        if self.missing.is_empty() {
            return None;
        }
        let busy = self.requests.values().map(|request| request.provider).collect::<BTreeSet<_>>();
        let stalls = busy.iter().filter_map(|peer| self.stalls_at(peer));
        let rests = self.providers.values().map(|it| it.rest_until).filter(|until| *until > now);
        // While the endgame lasts, who is slow shows as time passes.
        let endgame =
            (!busy.is_empty() && self.free().is_empty()).then_some(self.looked + ENDGAME_LOOK_MS);
        let doubts = self.providers.values().filter_map(Provider::believes_at);
        stalls.chain(rests).chain(doubts).chain(endgame).min().map(|due| due.max(now + 1))
    }

    /// Returns how far it is.
    pub fn progress(&self) -> Progress {
        Progress { size: self.size, missing: count(&self.missing), twice: self.twice }
    }

    /// Returns what is not there yet.
    pub fn missing(&self) -> &Blocks {
        &self.missing
    }

    /// Returns the providers that are connected.
    pub fn providers(&self, now: Millis) -> impl Iterator<Item = ProviderStatus> {
        self.providers.iter().filter(|(_, it)| it.here).map(move |(peer, it)| ProviderStatus {
            peer: *peer,
            has: count(&it.has),
            rate: it.rate(now).unwrap_or(0),
            requests: self.requests_of(peer),
            brought: it.brought,
        })
    }

    fn has(&mut self, peer: PeerId, blocks: &Blocks, now: Millis) {
        if self.liars.contains(&peer) {
            return;
        }
        let blocks = blocks & &Blocks::from(0..self.size);
        match self.providers.get_mut(&peer) {
            Some(provider) => {
                if !provider.here {
                    self.gone.retain(|gone| *gone != peer);
                }
                provider.says(blocks);
            }
            None => {
                self.providers.insert(peer, Provider::new(blocks, now));
            }
        }
        self.has_changed = true;
    }

    fn gone(&mut self, peer: PeerId) {
        self.requests.retain(|_, request| request.provider != peer);
        let Some(provider) = self.providers.get_mut(&peer).filter(|it| it.here) else { return };
        provider.leaves();
        self.has_changed = true;
        self.gone.push_back(peer);
        if self.gone.len() > MAX_GONE
            && let Some(longest) = self.gone.pop_front()
        {
            self.providers.remove(&longest);
        }
    }

    fn verified(
        &mut self,
        id: RequestId,
        (from, to): (u64, u64),
        now: Millis,
        out: &mut Vec<Output>,
    ) {
        let blocks = &Blocks::from(from..to) & &Blocks::from(0..self.size);
        let new = &blocks & &self.missing;
        self.twice += count(&blocks) - count(&new);
        self.missing.difference_with(&new);
        for request in self.requests.values_mut() {
            request.left.difference_with(&blocks);
        }
        let by = self.requests.get(&id);
        let end = by.map_or(0, |request| request.end);
        if let Some(provider) = by.and_then(|request| self.providers.get_mut(&request.provider)) {
            provider.brings(count(&blocks), now);
        }
        let mut over = BTreeSet::new();
        self.requests.retain(|other, request| {
            if !request.left.is_empty() {
                return true;
            }
            over.insert(request.provider);
            // The one that ends with these blocks ends by itself.
            if *other != id || to < end {
                out.push(Output::Cancel { request: *other });
            }
            false
        });
        for peer in over {
            if self.requests_of(&peer) == 0
                && let Some(provider) = self.providers.get_mut(&peer)
            {
                provider.ends(now);
            }
        }
    }

    fn finished(&mut self, id: RequestId, now: Millis) {
        let Some(request) = self.requests.remove(&id) else { return };
        // It did not bring all that it was said to have.
        if let Some(provider) = self.providers.get_mut(&request.provider) {
            provider.doubts(&request.left, now);
            provider.rests(now);
        }
        self.has_changed = true;
    }

    fn failed(&mut self, id: RequestId, fault: Fault, now: Millis, out: &mut Vec<Output>) {
        let Some(request) = self.requests.remove(&id) else { return };
        let peer = request.provider;
        if fault == Fault::Lied {
            self.cancel_all(&peer, out);
            self.providers.remove(&peer);
            self.liars.push_back(peer);
            if self.liars.len() > MAX_LIARS {
                self.liars.pop_front();
            }
            self.has_changed = true;
            out.push(Output::Drop { provider: peer });
        } else if let Some(provider) = self.providers.get_mut(&peer) {
            provider.rests(now);
        }
    }

    fn held(&mut self, id: RequestId, now: Millis) {
        let by = self.requests.get(&id).map(|request| request.provider);
        if let Some(provider) = by.and_then(|peer| self.providers.get_mut(&peer)) {
            provider.heard = now;
        }
    }

    fn end(&mut self, out: &mut Vec<Output>) {
        for (request, _) in std::mem::take(&mut self.requests) {
            out.push(Output::Cancel { request });
        }
        if !std::mem::replace(&mut self.complete, true) {
            out.push(Output::Complete);
        }
    }

    fn cancel_all(&mut self, peer: &PeerId, out: &mut Vec<Output>) {
        self.requests.retain(|id, request| {
            let of_peer = request.provider == *peer;
            if of_peer {
                out.push(Output::Cancel { request: *id });
            }
            !of_peer
        });
    }

    fn give_up_stalled(&mut self, now: Millis, out: &mut Vec<Output>) {
        let busy: BTreeSet<PeerId> = self.requests.values().map(|it| it.provider).collect();
        for peer in busy {
            if self.stalls_at(&peer).is_some_and(|due| due <= now) {
                self.cancel_all(&peer, out);
                if let Some(provider) = self.providers.get_mut(&peer) {
                    provider.rests(now);
                }
            }
        }
    }

    /// Takes up again what providers were not believed to have for a while.
    fn believe(&mut self, now: Millis) {
        for provider in self.providers.values_mut() {
            self.has_changed |= provider.believes(now);
        }
    }

    /// Returns when a provider that owes something counts as stalled.
    fn stalls_at(&self, peer: &PeerId) -> Option<Millis> {
        let provider = self.providers.get(peer)?;
        let mut owed = self.requests.values().filter(|request| request.provider == *peer);
        let others = || self.providers.iter().filter(|(other, it)| *other != peer && it.here);
        let elsewhere =
            owed.any(|request| others().any(|(_, other)| other.has.intersects(&request.left)));
        Some(provider.heard + if elsewhere { STALL_MS } else { STALL_ALONE_MS })
    }

    fn free(&self) -> Blocks {
        let mut free = self.missing.clone();
        for request in self.requests.values() {
            free.difference_with(&request.left);
        }
        free
    }

    /// Asks everyone who can be asked for more.
    fn ask(&mut self, now: Millis, out: &mut Vec<Output>) {
        let idle = |peer| self.requests_of(peer) < PIPELINE;
        if !self.providers.iter().any(|(peer, it)| it.is_usable(now) && idle(peer)) {
            return;
        }
        let usable = self.providers.iter().filter(|(_, it)| it.is_usable(now));
        let mut peers: Vec<PeerId> = usable.map(|(peer, _)| *peer).collect();
        let sharers = peers.len() as u64;
        shuffle(&mut peers, &mut self.rng);
        self.count_rarity(now);
        let mut free = self.free();
        for round in 0..PIPELINE {
            for peer in &peers {
                if self.requests_of(peer) > round {
                    continue;
                }
                let Some(provider) = self.providers.get(peer) else { continue };
                // Looked up first: what a provider has may be in many thousand runs.
                if free.is_disjoint(&provider.has) {
                    continue;
                }
                let here = &free & &provider.has;
                // Near the end everyone gets a share, so that all end together.
                let share = (count(&free) / (2 * sharers)).max(MIN_RANGE);
                let limit = provider.range(now).min(share);
                let blocks = match self.order {
                    Order::RarestFirst => self.rarity.pick(&here, limit, &mut self.rng),
                    Order::From(from) => pick_in_order(&here, from, limit),
                };
                free.difference_with(&blocks);
                out.push(self.request(*peer, blocks, now));
            }
        }
        if free.is_empty() {
            self.take_over(peers, now, out);
        }
    }

    /// Lets those who are idle take over what others owe, the fastest first.
    fn take_over(&mut self, mut peers: Vec<PeerId>, now: Millis, out: &mut Vec<Output>) {
        peers.retain(|peer| self.requests_of(peer) == 0);
        let rate = |peer: &PeerId| self.providers.get(peer).and_then(|it| it.rate(now));
        peers.sort_by_key(|peer| std::cmp::Reverse(rate(peer)));
        for peer in peers {
            let Some(provider) = self.providers.get(&peer) else { continue };
            let blocks = endgame::take_over((peer, provider), &self.providers, &self.requests, now);
            if !blocks.is_empty() {
                out.push(self.request(peer, blocks, now));
            }
        }
    }

    fn request(&mut self, peer: PeerId, blocks: Blocks, now: Millis) -> Output {
        if self.requests_of(&peer) == 0
            && let Some(provider) = self.providers.get_mut(&peer)
        {
            provider.begins(now);
        }
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let end = super::runs(&blocks).last().map_or(0, |(_, to)| to);
        let left = blocks.clone();
        self.requests.insert(request, Request { provider: peer, left, end });
        Output::Ask { request, provider: peer, blocks }
    }

    fn requests_of(&self, peer: &PeerId) -> usize {
        self.requests.values().filter(|request| request.provider == *peer).count()
    }

    /// Counts who has what, where that is of use and due.
    fn count_rarity(&mut self, now: Millis) {
        let due = self.counted.is_none_or(|at| now.saturating_sub(at) >= COUNT_MS);
        if !self.has_changed || !due || self.order != Order::RarestFirst {
            return;
        }
        (self.counted, self.has_changed) = (Some(now), false);
        let all = Blocks::from(0..self.size);
        let here = self.providers.values().filter(|it| it.here).map(|it| &it.has);
        self.rarity.count(here.filter(|has| **has != all));
    }
}

/// How often it is counted at most who has what, in milliseconds: that takes time in proportion to what
/// all providers report, each of which may report as often, and what is a moment old is rare enough still.
const COUNT_MS: u64 = 250;

/// How often the endgame looks again whether anyone is too slow, in milliseconds.
const ENDGAME_LOOK_MS: u64 = 250;

/// Fisher and Yates.
fn shuffle(peers: &mut [PeerId], rng: &mut impl Rng) {
    for at in (1..peers.len()).rev() {
        let other = rng.next_u64() % (at as u64 + 1);
        peers.swap(at, usize::try_from(other).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 100_000;

    fn peer(n: u64) -> PeerId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        PeerId(id)
    }

    fn runs_from(from: u64, runs: u64) -> Blocks {
        (0..runs).fold(Blocks::empty(), |all, n| all | Blocks::from(from + 2 * n..from + 2 * n + 1))
    }

    #[test]
    fn hazard_26_ever_new_names_leave_nothing_behind_but_a_few() {
        let mut swarm = Swarm::new(SIZE, &Blocks::empty(), 1);
        let blocks = runs_from(0, 100);
        for n in 0..5_000 {
            let provider = peer(n);
            let out = swarm.handle(Input::Has { provider, blocks: blocks.clone() }, n);
            for output in out {
                let Output::Ask { request, .. } = output else { continue };
                // One ends short, so that what it has is doubted; the next one lies, and some just go.
                let ended = match n % 3 {
                    0 => Input::Finished { request },
                    1 => Input::Failed { request, fault: Fault::Lied },
                    _ => continue,
                };
                swarm.handle(ended, n);
            }
            swarm.handle(Input::Gone { provider }, n);
        }
        assert!(swarm.gone.len() <= MAX_GONE && swarm.providers.len() <= MAX_GONE);
        assert!(swarm.liars.len() <= MAX_LIARS);
        assert!(
            swarm.providers.values().all(|it| it.remembered() == 0),
            "what is gone has nothing"
        );
        // One that comes again is as it was, and is not taken for gone.
        let again = *swarm.gone.front().expect("some");
        swarm.handle(Input::Has { provider: again, blocks }, 5_000);
        assert!(!swarm.gone.contains(&again) && swarm.providers[&again].here);
    }

    #[test]
    fn who_comes_again_still_rests() {
        let mut swarm = Swarm::new(SIZE, &Blocks::empty(), 1);
        let has = || Input::Has { provider: peer(1), blocks: Blocks::from(0..SIZE) };
        let asked = swarm.handle(has(), 0);
        let Some(Output::Ask { request, .. }) = asked.first() else { panic!("asked") };
        swarm.handle(Input::Failed { request: *request, fault: Fault::Refused }, 0);
        swarm.handle(Input::Gone { provider: peer(1) }, 0);
        assert_eq!(swarm.handle(has(), 1), vec![]);
        let rested = swarm.handle(Input::Tick, super::super::REST_MS);
        assert!(matches!(rested.first(), Some(Output::Ask { .. })));
    }

    #[test]
    fn hazard_26_many_reports_are_counted_once_in_a_while() {
        let mut swarm = Swarm::new(SIZE, &Blocks::empty(), 1);
        // One that is always idle: whenever anything happens it is looked what to ask of it.
        swarm.handle(Input::Has { provider: peer(99), blocks: Blocks::empty() }, 0);
        let mut counts = 0;
        // 32 providers, each with four reports a second, for ten seconds.
        for now in 0..10_000u64 {
            let at = now % 250;
            if at % 8 != 0 || at / 8 >= 32 {
                continue;
            }
            let (provider, blocks) = (peer(at / 8), Blocks::from(0..now + 1));
            let before = swarm.counted;
            swarm.handle(Input::Has { provider, blocks }, now);
            counts += usize::from(swarm.counted != before);
        }
        assert!((20..=41).contains(&counts), "{counts} counts in ten seconds");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what it costs is what is tested")]
    fn hazard_26_reports_of_many_runs_do_not_make_each_block_cost_more() {
        const BLOCKS: u64 = 1_000;
        let mut swarm = Swarm::new(SIZE, &Blocks::from(0..SIZE / 2), 1);
        // Idle ones, since they have only what is here already, in as many runs as there can be.
        let has_nothing_new = runs_from(0, SIZE / 4);
        for n in 0..31 {
            let (provider, blocks) = (peer(n), has_nothing_new.clone());
            swarm.handle(Input::Has { provider, blocks }, 0);
        }
        let has = Input::Has { provider: peer(99), blocks: Blocks::from(0..SIZE) };
        let (mut asked, mut came) = (VecDeque::from(swarm.handle(has, 1)), 0);
        let begun = std::time::Instant::now();
        while came < BLOCKS {
            let Some(Output::Ask { request, blocks, .. }) = asked.pop_front() else { continue };
            for from in super::super::runs(&blocks).flat_map(|(from, to)| from..to) {
                let verified = Input::Verified { request, from, to: from + 1 };
                asked.extend(swarm.handle(verified, 1 + came));
                came += 1;
            }
            asked.extend(swarm.handle(Input::Finished { request }, 1 + came));
        }
        // It takes a twentieth of a second; where each block looks through all runs, twenty.
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }
}

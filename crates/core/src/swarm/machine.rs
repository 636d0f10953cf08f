//! The machine: from what happens to whom to ask.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::pick::{Rarity, pick_in_order};
use super::provider::{Provider, ProviderStatus};
use super::{
    Blocks, Fault, Input, MIN_RANGE, Output, PIPELINE, RequestId, STALL_ALONE_MS, STALL_MS, count,
    endgame,
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
    providers: BTreeMap<PeerId, Provider>,
    liars: BTreeSet<PeerId>,
    requests: BTreeMap<RequestId, Request>,
    next_request: u64,
    rarity: Rarity,
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
            liars: BTreeSet::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            rarity: Rarity::new(size),
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
            Some(provider) => provider.says(blocks),
            None => {
                self.providers.insert(peer, Provider::new(blocks, now));
            }
        }
        self.count_again();
    }

    fn gone(&mut self, peer: PeerId) {
        self.requests.retain(|_, request| request.provider != peer);
        if let Some(provider) = self.providers.get_mut(&peer) {
            provider.here = false;
        }
        self.count_again();
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
        self.count_again();
    }

    fn failed(&mut self, id: RequestId, fault: Fault, now: Millis, out: &mut Vec<Output>) {
        let Some(request) = self.requests.remove(&id) else { return };
        let peer = request.provider;
        if fault == Fault::Lied {
            self.cancel_all(&peer, out);
            self.providers.remove(&peer);
            self.liars.insert(peer);
            self.count_again();
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
        let mut any = false;
        self.providers.values_mut().for_each(|it| any |= it.believes(now));
        if any {
            self.count_again();
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
        let mut free = self.free();
        for round in 0..PIPELINE {
            for peer in &peers {
                if self.requests_of(peer) > round {
                    continue;
                }
                let Some(provider) = self.providers.get(peer) else { continue };
                let here = &free & &provider.has;
                if here.is_empty() {
                    continue;
                }
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

    fn count_again(&mut self) {
        let all = Blocks::from(0..self.size);
        let here = self.providers.values().filter(|it| it.here).map(|it| &it.has);
        self.rarity.count(here.filter(|has| **has != all));
    }
}

/// How often the endgame looks again whether anyone is too slow, in milliseconds.
const ENDGAME_LOOK_MS: u64 = 250;

/// Fisher and Yates.
fn shuffle(peers: &mut [PeerId], rng: &mut impl Rng) {
    for at in (1..peers.len()).rev() {
        let other = rng.next_u64() % (at as u64 + 1);
        peers.swap(at, usize::try_from(other).unwrap_or(0));
    }
}

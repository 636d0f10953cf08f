//! Fetching one content from several providers at once: who is asked for what, and when.
//!
//! Purpose: a [`Swarm`] knows which blocks are missing, who has which, and how fast each provider was
//! so far. It answers what happens (`handle(input, now) -> outputs`) with requests: ranges sized to
//! their provider's speed, the rarest first, ties broken at random, so that those who fetch together
//! soon have different things to give.
//!
//! Invariant: outside the endgame no block is asked of two providers. The endgame begins when every
//! missing block has been asked for; then whoever is idle takes over the end of the request that will
//! take longest, [`MAX_TWICE`] blocks of it at most, and every block is asked of two at most.
//!
//! It always ends while the providers that answer have, together, all blocks: what a provider did not
//! bring is asked of others; who stalls or refuses rests for a time that doubles; who lies is never
//! asked again.
//!
//! What it remembers is bounded by what the providers that are connected at a time report, whose number
//! and reports the caller limits: of who is gone little is kept ([`MAX_GONE`], [`MAX_LIARS`]).
//!
//! Non-goals: bytes, hashes, connections (crate `ayni`, `content`). Sources: rarest first and endgame
//! as in B. Cohen, "Incentives Build Robustness in BitTorrent" (2003); sizes by guided
//! self-scheduling, C. Polychronopoulos and D. Kuck (IEEE Transactions on Computers, 1987).

mod endgame;
mod machine;
mod pace;
mod pick;
mod provider;
mod replicas;
mod uploads;

pub use machine::{Order, Progress, Swarm};
pub use pace::Pace;
pub use provider::ProviderStatus;
pub use replicas::{COPIES, Copies, Rank};
pub use uploads::{Claim, LEAST_RATE, MAX_CLAIMS_PER_PEER, MAX_WAITING, TURN_MS, Uploads, Urgency};

use crate::id::PeerId;
use range_collections::RangeSet2;
use range_collections::range_set::RangeSetRange;

/// Bytes of one block: what a provider can be asked for, and what is verified as a whole (the chunk
/// group of iroh-blobs). The last block of a content may be shorter.
pub const BLOCK_BYTES: u64 = 16 * 1024;

/// A set of blocks by their number, from 0 on.
pub type Blocks = RangeSet2<u64>;

/// Most requests that one provider is asked for at a time: while one is answered the next is there
/// already, so that the way between is never empty.
pub const PIPELINE: usize = 2;

/// Most blocks in one request (16 MiB): what has to be asked again when a provider vanishes, and what
/// someone else can serve from, stays small beside the whole.
pub const MAX_RANGE: u64 = 1024;

/// Fewest blocks in one request while there are more: below, the request costs more than it brings.
pub const MIN_RANGE: u64 = 4;

/// Blocks of the first request to a provider (256 KiB): enough to see how fast it is. Until that is known each
/// request asks for as much as came so far.
pub const FIRST_RANGE: u64 = 16;

/// How long a request is meant to take, in milliseconds: long against any round trip, short against
/// a user's patience when its provider vanishes.
pub const RANGE_MS: u64 = 2_000;

/// Most blocks that the endgame takes over from one request at a time (1 MiB): the bound of what can
/// arrive twice by one decision.
pub const MAX_TWICE: u64 = 64;

/// A provider that has not brought one block for so long is stalled, if anyone else has what it owes.
pub const STALL_MS: u64 = 10_000;

/// The same when nobody else has it: giving up gains nothing then, but the connection may be dead.
pub const STALL_ALONE_MS: u64 = 40_000;

/// How long a provider rests after its first stall, refusal or short answer; doubled each time.
pub const REST_MS: u64 = 2_000;

/// The longest rest.
pub const MAX_REST_MS: u64 = 5 * 60_000;

/// Providers that are gone and of which it is remembered how fast they were and when they may be asked
/// again: twice as many as are used at a time. Who shows up under ever new names costs no more.
pub const MAX_GONE: usize = 64;

/// Providers that lied and are remembered. New names cost nothing, so that more would gain nothing.
pub const MAX_LIARS: usize = 1024;

/// Names one request within its swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What happens to a swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// A provider can be asked, or has other blocks than before.
    Has {
        /// The provider.
        provider: PeerId,
        /// What it has now.
        blocks: Blocks,
    },
    /// A provider's connection ended: what it had is forgotten. It may come again ([`Input::Has`]).
    Gone {
        /// The provider.
        provider: PeerId,
    },
    /// Blocks of a request arrived, were verified and are in the store.
    Verified {
        /// The request.
        request: RequestId,
        /// The blocks, ascending within the request.
        from: u64,
        /// Their end (exclusive).
        to: u64,
    },
    /// The answer to a request ended in order.
    Finished {
        /// The request.
        request: RequestId,
    },
    /// The answer to a request ended otherwise.
    Failed {
        /// The request.
        request: RequestId,
        /// How.
        fault: Fault,
    },
    /// We ourselves held back what a request brings (a rate limit): its provider is not slow.
    Held {
        /// The request.
        request: RequestId,
    },
    /// What is to come first changed.
    Order(Order),
    /// Time passed ([`Swarm::deadline`]).
    Tick,
}

/// How an answer ended too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The connection or the stream broke.
    Broken,
    /// The provider is busy or does not give it now.
    Refused,
    /// What came is not the content.
    Lied,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Ask a provider for blocks.
    Ask {
        /// Names the request from now on.
        request: RequestId,
        /// The provider.
        provider: PeerId,
        /// The blocks, never none.
        blocks: Blocks,
    },
    /// Stop a request: what it still brings is not needed. Nothing about it is to be reported.
    Cancel {
        /// The request.
        request: RequestId,
    },
    /// Do not use a provider any more, for this content.
    Drop {
        /// The provider: it sent what is not the content.
        provider: PeerId,
    },
    /// All blocks are there.
    Complete,
}

/// Returns how many blocks a content of so many bytes has.
pub fn block_count(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES)
}

/// Returns how many blocks a bounded set has.
pub fn count(blocks: &Blocks) -> u64 {
    runs(blocks).map(|(from, to)| to - from).sum()
}

/// Iterates over the runs of a set as `(from, to)`, ascending.
pub fn runs(blocks: &Blocks) -> impl Iterator<Item = (u64, u64)> {
    blocks.iter().map(|run| match run {
        RangeSetRange::Range(range) => (*range.start, *range.end),
        RangeSetRange::RangeFrom(range) => (*range.start, u64::MAX),
    })
}

/// Returns the blocks that are in both, where the first is a small part of all: the time that it takes does
/// not depend on how much the second has elsewhere.
pub(crate) fn common(part: &Blocks, of: &Blocks) -> Blocks {
    let (Some(from), Some(to)) = (part.boundaries().first(), part.boundaries().last()) else {
        return Blocks::empty();
    };
    part.intersection(of.split(*from).1.split(*to).0)
}

/// Returns the first `limit` blocks of a set.
pub(crate) fn first(blocks: &Blocks, limit: u64) -> Blocks {
    let (mut left, mut found) = (limit, Blocks::empty());
    for (from, to) in runs(blocks) {
        let to = to.min(from.saturating_add(left));
        if from < to {
            found |= Blocks::from(from..to);
            left -= to - from;
        }
    }
    found
}

/// Returns the last `limit` blocks of a bounded set.
pub(crate) fn last(blocks: &Blocks, limit: u64) -> Blocks {
    let skip = count(blocks).saturating_sub(limit);
    blocks - &first(blocks, skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_common_is_the_intersection() {
        let set = |bits: u32| {
            (0..8u64)
                .filter(|bit| bits >> bit & 1 == 1)
                .fold(Blocks::empty(), |all, bit| all | Blocks::from(bit..bit + 1))
        };
        for (a, b) in (0..256).flat_map(|a| (0..256).map(move |b| (a, b))) {
            assert_eq!(common(&set(a), &set(b)), set(a & b), "{a:b} and {b:b}");
        }
    }
}

//! The end of a transfer: whoever is idle takes over from whoever will take longest.

use std::collections::BTreeMap;

use super::machine::Request;
use super::provider::{Provider, UNKNOWN_RATE};
use super::{BLOCK_BYTES, Blocks, MAX_TWICE, RequestId, common, count, last};
use crate::clock::Millis;
use crate::id::PeerId;

/// What taking over has to gain at least, in milliseconds; below, the bytes that come twice cost more.
const MIN_GAIN_MS: u64 = 250;

/// Finds the blocks that an idle provider is to be asked for although another one was; none where
/// that gains nothing. Those are the last ones of the request that is expected to end last, for they
/// come last in its answer.
pub(super) fn take_over(
    idle: (PeerId, &Provider),
    providers: &BTreeMap<PeerId, Provider>,
    requests: &BTreeMap<RequestId, Request>,
    now: Millis,
) -> Blocks {
    let own = idle.1.rate(now).unwrap_or(UNKNOWN_RATE).max(1);
    let mut found = (0, Blocks::empty());
    for (id, request) in requests.iter().filter(|(_, request)| request.provider != idle.0) {
        let Some(owner) = providers.get(&request.provider) else { continue };
        let mut alone = common(&request.left, &idle.1.has);
        if alone.is_empty() {
            continue;
        }
        for (_, other) in requests.iter().filter(|(other, _)| *other != id) {
            alone.difference_with(&other.left);
        }
        if alone.is_empty() {
            continue;
        }
        let theirs =
            owner.rate(now).map_or_else(|| unknown(owner, now), |it| it.min(silent(owner, now)));
        let theirs = theirs.max(1);
        let owed = requests.values().filter(|it| it.provider == request.provider);
        let ends = takes_ms(owed.map(|it| count(&it.left)).sum(), theirs);
        let share =
            u128::from(count(&alone)) * u128::from(own) / (u128::from(own) + u128::from(theirs));
        let share = u64::try_from(share).unwrap_or(MAX_TWICE).clamp(1, MAX_TWICE);
        let gains = takes_ms(share, own).saturating_mul(2).saturating_add(MIN_GAIN_MS);
        if ends > gains && ends > found.0 {
            found = (ends, last(&alone, share));
        }
    }
    found.1
}

/// The speed of one who has not brought anything yet: less with every moment that passes.
fn unknown(owner: &Provider, now: Millis) -> u64 {
    UNKNOWN_RATE.min(silent(owner, now))
}

/// The speed that one who owes something has at most, as long as it says nothing: it may be gone, however
/// fast it was.
fn silent(owner: &Provider, now: Millis) -> u64 {
    BLOCK_BYTES * 1000 / now.saturating_sub(owner.heard).max(1)
}

fn takes_ms(blocks: u64, rate: u64) -> u64 {
    blocks.saturating_mul(BLOCK_BYTES * 1000) / rate
}

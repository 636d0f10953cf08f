//! Who is asked for the start of a content of which nothing is known, and when: nobody knows yet who is slow.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ayni_core::id::PeerId;
use bao_tree::ChunkRanges;
use tokio::task::JoinSet;

use super::ask::Trouble;
use super::provider::Line;

/// How long a provider has for the start of a content.
pub(super) const START: Duration = Duration::from_secs(15);
/// After how long another one is asked for it, too.
pub(super) const STAGGER: Duration = Duration::from_millis(300);
/// How many are asked for it at a time.
const MAX_STARTS: usize = 8;
/// How long one that did not give it is not asked for it, the first time; doubled each time, up to so many
/// times.
const AGAIN: (Duration, u32) = (Duration::from_secs(1), 6);

/// Who was asked for the start of a content.
#[derive(Default)]
pub(super) struct Starts {
    pub(super) asking: JoinSet<(PeerId, std::result::Result<(), Trouble>)>,
    /// When each may be asked, and how often it was.
    asked: BTreeMap<PeerId, (Instant, u32)>,
    last: Option<Instant>,
}

impl Starts {
    /// Returns whom to ask now: who was asked least.
    pub(super) fn next(
        &mut self,
        present: &BTreeMap<PeerId, (Line, ChunkRanges)>,
    ) -> Option<PeerId> {
        let now = Instant::now();
        let soon = self.last.is_some_and(|at| now - at < STAGGER) && !self.asking.is_empty();
        if soon || self.asking.len() >= MAX_STARTS {
            return None;
        }
        let may = |peer: &PeerId| self.asked.get(peer).is_none_or(|(from, _)| *from <= now);
        let has = present.iter().filter(|(peer, (_, ranges))| !ranges.is_empty() && may(peer));
        let times = |peer: &PeerId| self.asked.get(peer).map_or(0, |(_, times)| *times);
        let peer = has.map(|(peer, _)| *peer).min_by_key(|peer| times(peer))?;
        self.last = Some(now);
        self.asked.insert(peer, (now + 2 * START, times(&peer) + 1));
        Some(peer)
    }

    /// Notes that one did not give it.
    pub(super) fn rests(&mut self, peer: PeerId) {
        if let Some((from, times)) = self.asked.get_mut(&peer) {
            *from = Instant::now() + AGAIN.0 * 2u32.pow(times.saturating_sub(1).min(AGAIN.1));
        }
    }
}

//! Whether a run ended as it must: all honest members are in one state and show one timeline with
//! everything in it, they can read it, and nobody else can.

mod agreement;
mod explain;
mod secrecy;

use std::collections::BTreeSet;
use std::fmt;

use ayni_core::clock::Millis;
use ayni_core::id::EpochId;
use ayni_core::room::Room;

use crate::peer::{Counts, Peer};
use crate::scenarios::Scenario;
use crate::world::{START, World};
use agreement::Agreed;

pub use explain::explain;

/// How long after the last planned act a run may take to converge, in virtual time.
const PATIENCE_MS: Millis = 10 * 60 * 1000;
/// How long slow peers may keep the others: what one of them was asked for is asked of another when
/// it stalls, which takes a quarter of a minute, and may hit another slow one.
const PROMPT_MS: Millis = 60 * 1000;
/// How often it is looked at.
const LOOK_MS: Millis = 1_000;
/// How long it is watched for being quiet afterwards: several checks between all neighbors.
const QUIET_MS: Millis = 3 * 60 * 1000;
/// What a peer may send in that time: a summary to a few neighbors for every check, and its frontier
/// to the new acquaintances that it makes.
const QUIET_BYTES: u64 = 4 * 1024;
/// Times in those three minutes that a peer asks each of those it has sessions with for secrets that
/// nobody has: after pauses that double from a second to a minute. Any member may have such a secret
/// (`docs/rooms.md`, Epochs), and nothing tells that all who had it are out.
const LOST_ROUNDS: u64 = 8;
/// What an epoch takes in such a request.
const LOST_BYTES: u64 = 34;
/// What such a request takes besides.
const ASKING_BYTES: u64 = 8;

/// Figures of a run that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The scenario.
    pub scenario: &'static str,
    /// The seed.
    pub seed: u64,
    /// Peers that converged.
    pub peers: usize,
    /// Messages that each of them has.
    pub messages: usize,
    /// Acts of people that happened, those that the room did not permit, and proofs of forks.
    pub acts: (u64, u64, u64),
    /// Pairs of an outsider and a message that it was to be kept from, and was.
    pub kept: u64,
    /// Virtual time from the last planned act until all agreed, in milliseconds.
    pub settled_ms: Millis,
    /// The same for all but the slow peers.
    pub prompt_ms: Millis,
    /// Bytes sent.
    pub bytes: u64,
    /// Bytes sent in the three minutes after that.
    pub idle_bytes: u64,
    /// Events that came over sync, at all peers.
    pub synced: u64,
    /// Of these, those that were held already.
    pub again: u64,
    /// The state that all came to.
    pub state: [u8; 32],
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, seed, peers, messages, settled_ms, bytes, idle_bytes, .. } = self;
        let Self { synced, again, kept, acts: (done, skipped, proofs), .. } = self;
        let state =
            u32::from_be_bytes([self.state[0], self.state[1], self.state[2], self.state[3]]);
        write!(
            f,
            "{scenario} seed {seed}: ok, {peers} peers agree on {messages} messages \
             {settled_ms} ms after the last act; {done} acts, {skipped} not permitted, \
             {proofs} forks proved, {kept} times not readable from outside; {bytes} bytes, \
             {idle_bytes} when idle, {synced} events synchronised, {again} of them twice; \
             state {state:08x}"
        )
    }
}

/// A run that did not end as it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{scenario} seed {seed}: FAILED: {what}\n  again: cargo xtask sim --scenario {scenario} --from {seed} --seeds 1"
)]
pub struct Failure {
    /// The scenario.
    pub scenario: &'static str,
    /// The seed.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
}

/// Runs a scenario from a seed, and judges it.
///
/// # Errors
/// [`Failure`].
pub fn run(scenario: &Scenario, seed: u64) -> Result<Report, Failure> {
    let mut world = World::new(scenario, seed);
    let fail = |what: String| Failure { scenario: scenario.name, seed, what };
    let settled = settle(&mut world, scenario).map_err(fail)?;
    let bytes = world.network().sent().0;
    let (agreed, _) = judge(&world).map_err(fail)?;
    let outside = (0..scenario.peers).filter(|no| !agreed.present.contains(no)).collect();
    let allowed = QUIET_BYTES * scenario.peers as u64 + asking(&world, &agreed);
    world.leave_uncounted(outside);
    world.stop_liars();
    world.run_until(world.now() + QUIET_MS);
    let idle_bytes = world.network().sent().0 - bytes;
    if idle_bytes > allowed {
        let what = format!("{idle_bytes} bytes were sent while nothing happened, of {allowed}");
        return Err(fail(what));
    }
    let (agreed, kept) = judge(&world).map_err(fail)?;
    let first = agreed.present.first().and_then(|no| world.peers().get(*no));
    let counts = |of: fn(&Counts) -> u64| world.peers().iter().map(|it| of(it.counts())).sum();
    Ok(Report {
        scenario: scenario.name,
        seed,
        peers: agreed.present.len(),
        messages: first.map_or(0, |peer| peer.timeline(u64::MAX).len()),
        acts: (world.done().values().sum(), world.skipped(), counts(|counts| counts.proofs)),
        kept,
        settled_ms: settled.all - settled.over,
        prompt_ms: settled.prompt - settled.over,
        bytes,
        idle_bytes,
        synced: counts(|counts| counts.synced),
        again: counts(|counts| counts.again),
        state: first.and_then(Peer::room).map(Room::state_hash).unwrap_or_default(),
    })
}

/// When things were done.
struct Settled {
    /// The last planned act.
    over: Millis,
    /// When all but the slow agreed.
    prompt: Millis,
    /// When all agreed.
    all: Millis,
}

/// Runs until all agree and have all.
fn settle(world: &mut World, scenario: &Scenario) -> Result<Settled, String> {
    let mut over = START + scenario.span_ms;
    let mut prompt = None;
    loop {
        world.run_until(world.now() + LOOK_MS);
        let now = world.now();
        let state = if world.is_over() {
            agreement::complete(world, prompt.is_some())
        } else {
            over = now;
            Err("not over".into())
        };
        match state {
            Ok(()) if prompt.is_some() => {
                return Ok(Settled { over, prompt: prompt.unwrap_or(now), all: now });
            }
            Ok(()) => prompt = Some(now),
            Err(what) if now > over + PATIENCE_MS => return Err(what),
            Err(what) if prompt.is_none() && scenario.slow > 0 && now > over + PROMPT_MS => {
                return Err(format!("slow peers hold up the others: {what}"));
            }
            Err(_) => {}
        }
    }
}

/// Returns how many bytes those who are present may send for secrets that none of them has, such as of
/// epochs that one who was put out minted. What any of them has must be with all soon.
fn asking(world: &World, agreed: &Agreed) -> u64 {
    let present = || agreed.present.iter().filter_map(|no| world.peers().get(*no));
    let known: BTreeSet<EpochId> =
        present().filter_map(Peer::room).flat_map(Room::secrets).map(|(epoch, _)| *epoch).collect();
    let bytes = |peer: &Peer| {
        let missing = peer.room().map(Room::missing_secrets).unwrap_or_default();
        let lost = missing.iter().filter(|epoch| !known.contains(epoch)).count() as u64;
        let request = ASKING_BYTES + LOST_BYTES * lost;
        if lost == 0 { 0 } else { LOST_ROUNDS * peer.sessions().len() as u64 * request }
    };
    present().map(bytes).sum()
}

fn judge(world: &World) -> Result<(Agreed, u64), String> {
    let agreed = agreement::judge(world)?;
    let kept = secrecy::judge(world, &agreed)?;
    Ok((agreed, kept))
}

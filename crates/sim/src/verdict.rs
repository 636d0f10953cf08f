//! Whether a run ended as it must: everyone has everything, once, in one order, and can read it.

use std::collections::BTreeSet;
use std::fmt;

use ayni_core::chat::Chat;
use ayni_core::clock::{Hlc, Millis};
use ayni_core::event::Event;
use ayni_core::id::EventId;
use ayni_core::room::Room;

use crate::peer::{Counts, Peer};
use crate::scenarios::Scenario;
use crate::world::{START, World};

/// How long after the last planned act a run may take to converge, in virtual time.
const PATIENCE_MS: Millis = 10 * 60 * 1000;
/// How often it is looked at.
const LOOK_MS: Millis = 1_000;
/// How long it is watched for being quiet afterwards: several checks between all neighbors.
const QUIET_MS: Millis = 3 * 60 * 1000;
/// What a peer may send in that time: a summary to a few neighbors for every check, and its frontier
/// to the new acquaintances that it makes.
const QUIET_BYTES: u64 = 4 * 1024;

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
    /// Virtual time from the last planned act until all agreed, in milliseconds.
    pub settled_ms: Millis,
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
        let Self {
            scenario,
            seed,
            peers,
            messages,
            settled_ms,
            bytes,
            idle_bytes,
            synced,
            again,
            ..
        } = self;
        let state =
            u32::from_be_bytes([self.state[0], self.state[1], self.state[2], self.state[3]]);
        write!(
            f,
            "{scenario} seed {seed}: ok, {peers} peers agree on {messages} messages \
             {settled_ms} ms after the last act; {bytes} bytes, {idle_bytes} when idle, {synced} events synchronised, \
             {again} of them twice; state {state:08x}"
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
    let over = settle(&mut world, scenario).map_err(fail)?;
    let settled_ms = world.now() - over;
    let bytes = world.network().sent().0;
    judge(&world).map_err(fail)?;
    let before = world.network().sent().0;
    world.run_until(world.now() + QUIET_MS);
    let idle_bytes = world.network().sent().0 - before;
    let allowed = QUIET_BYTES * scenario.peers as u64;
    if idle_bytes > allowed {
        return Err(fail(format!("{idle_bytes} bytes were sent while nothing happened")));
    }
    judge(&world).map_err(fail)?;
    let counts = |of: fn(&Counts) -> u64| world.peers().iter().map(|it| of(it.counts())).sum();
    Ok(Report {
        scenario: scenario.name,
        seed,
        peers: world.present().count(),
        messages: world.present().next().map_or(0, |peer| peer.store().chat().count()),
        settled_ms,
        bytes,
        idle_bytes,
        synced: counts(|counts| counts.synced),
        again: counts(|counts| counts.again),
        state: state(&world).unwrap_or_default(),
    })
}

/// Runs until all agree. Returns when the last planned act happened.
fn settle(world: &mut World, scenario: &Scenario) -> Result<Millis, String> {
    let mut over = START + scenario.span_ms;
    loop {
        world.run_until(world.now() + LOOK_MS);
        if !world.is_over() {
            over = world.now();
        } else if state(world).is_some() && (all_here(world) || gave_up(world, over)) {
            // Those who left may still hand over what they said before.
            return Ok(over);
        }
        if gave_up(world, over) {
            return Err(format!("no agreement: {}", difference(world)));
        }
    }
}

/// Returns the state that all present peers are in, if it is one.
fn state(world: &World) -> Option<[u8; 32]> {
    let mut states = world.present().map(|peer| {
        let room = peer.room().filter(|room| room.am_member())?;
        room.missing_secrets().is_empty().then(|| room.state_hash())
    });
    let first = states.next().flatten()?;
    states.all(|state| state == Some(first)).then_some(first)
}

fn gave_up(world: &World, over: Millis) -> bool {
    world.now() > over + PATIENCE_MS
}

fn all_here(world: &World) -> bool {
    let expected = expected(world).len();
    world.present().all(|peer| peer.store().chat().count() == expected)
}

fn difference(world: &World) -> String {
    let lines = world.peers().iter().enumerate().map(|(no, peer)| {
        let room = peer.room().map(|room| (room.am_member(), room.missing_secrets().len()));
        let events = (peer.store().control().len(), peer.store().chat().count());
        let (running, sessions) = (peer.is_running(), peer.sessions());
        let refused = &peer.counts().refused;
        format!(
            "\n  peer {no}: running {running}, (member, secrets missing) {room:?}, \
             (control, chat) {events:?}, sessions {sessions:?}, refused {refused:?}"
        )
    });
    lines.collect()
}

fn judge(world: &World) -> Result<(), String> {
    let expected = expected(world);
    let mut first: Option<(&Peer, Vec<(Hlc, EventId)>)> = None;
    let shown_at = world.now() + 3_600_000;
    for peer in world.present() {
        let timeline = peer.store().timeline(shown_at);
        let ids: BTreeSet<EventId> = timeline.iter().map(|(_, id)| *id).collect();
        if ids.len() != timeline.len() || peer.store().twice() > 0 {
            return Err("a message is there twice".into());
        }
        if ids != expected {
            let (lost, strange) =
                (expected.difference(&ids).count(), ids.difference(&expected).count());
            return Err(format!("{lost} messages are lost, {strange} are strange"));
        }
        texts(world, peer)?;
        restored(world, peer)?;
        match &first {
            None => first = Some((peer, timeline)),
            Some((other, order)) => {
                if *order != timeline {
                    return Err("two peers show different orders".into());
                }
                if other.room().map(Room::members) != peer.room().map(Room::members) {
                    return Err("two peers know different members".into());
                }
            }
        }
    }
    for peer in world.peers() {
        let Counts { violations, liars, refused, .. } = peer.counts();
        if !violations.is_empty() || *liars > 0 {
            return Err(format!(
                "an honest peer was taken for another: {violations:?}, {liars} liars"
            ));
        }
        if let Some(reason) = refused.keys().find(|reason| reason.contains("fork")) {
            return Err(format!("an honest peer was refused: {reason}"));
        }
    }
    Ok(())
}

/// What everyone must have: all that was said, but for what went with a disk that is gone.
fn expected(world: &World) -> BTreeSet<EventId> {
    let saved: BTreeSet<EventId> =
        world.present().flat_map(|peer| peer.store().chat().map(Event::id)).collect();
    let said = world.said().iter();
    said.filter(|(id, (who, _))| !world.is_gone(*who) || saved.contains(id))
        .map(|(id, _)| *id)
        .collect()
}

/// Every message opens, to what its author said.
fn texts(world: &World, peer: &Peer) -> Result<(), String> {
    let Some(room) = peer.room() else { return Err("a peer without a room".into()) };
    for event in peer.store().chat() {
        let said = world.said().get(&event.id()).map(|(_, text)| Chat::Message(text.clone()));
        if said.is_none() || room.open(event) != said {
            return Err("a message does not open to what was said".into());
        }
    }
    Ok(())
}

/// What is kept gives the same replica again.
fn restored(world: &World, peer: &Peer) -> Result<(), String> {
    let Some(room) = peer.room() else { return Err("a peer without a room".into()) };
    let again = peer.store().restore(room.id(), peer.identity().key.id(), world.now());
    if again.state_hash() != room.state_hash() || again.members() != room.members() {
        return Err("what is kept gives another replica".into());
    }
    Ok(())
}

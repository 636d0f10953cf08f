//! The control lane of a run that failed, for whoever looks for the reason: who stated what, upon what,
//! and where it is and counts.

use std::collections::BTreeMap;

use ayni_core::event::Event;
use ayni_core::id::{AccountId, EventId, PeerId};
use ayni_core::log::Lane;
use ayni_core::room::{Control, Remove};

use crate::peer::Peer;
use crate::scenarios::Scenario;
use crate::world::World;

/// Runs a scenario from a seed up to where it is judged, and tells the control events in the order of
/// their times.
pub fn explain(scenario: &Scenario, seed: u64) -> String {
    let mut world = World::new(scenario, seed);
    let end = super::settle(&mut world, scenario).err().unwrap_or_default();
    let mut events: BTreeMap<EventId, &Event> = BTreeMap::new();
    for face in world.peers().iter().flat_map(|peer| [Some(peer), peer.twin()]).flatten() {
        events.extend(face.store().control().iter().map(|event| (event.id(), event)));
    }
    let mut events: Vec<&Event> = events.into_values().collect();
    events.sort_by_key(|event| event.order());
    let lines: String = events.into_iter().map(|event| line(&world, event) + "\n").collect();
    lines + &end
}

fn line(world: &World, event: &Event) -> String {
    let header = event.header();
    let name = |id: &EventId| id.short();
    let on: Vec<_> = header.prev.iter().chain(&header.deps).map(name).collect();
    format!(
        "{} {} by {} term {} #{} on [{}]: {}; held by {}",
        header.time.millis(),
        name(&event.id()),
        device(world, &header.device),
        header.term,
        event.seq(),
        on.join(" "),
        said(world, event),
        held(world, event).join(" ")
    )
}

/// What it says, shortly.
fn said(world: &World, event: &Event) -> String {
    let whom = |account: &AccountId| {
        let same = |peer: &Peer| peer.identity().account() == *account;
        world.peers().iter().position(same).map_or("?".into(), |no| no.to_string())
    };
    match event.body().and_then(Control::from_bytes) {
        Some(Control::Admit(it)) => {
            format!("admits {} for term {}", whom(&it.claim.cert.claim.account), it.term)
        }
        Some(Control::Grant(it)) => {
            format!("makes {} {:?} in term {}", whom(&it.account), it.role, it.term)
        }
        Some(Control::Remove(Remove { account, term, then, cut, .. })) => {
            let cuts = cut.logs.iter().map(|end| {
                let lane = if end.log.lane == Lane::Chat { "chat" } else { "control" };
                format!("{lane} of {} at {}", device(world, &end.log.device), end.len)
            });
            let cuts: Vec<_> = cuts.collect();
            format!("ends term {term} of {}, then {then:?}, {}", whom(&account), cuts.join(", "))
        }
        Some(Control::Fork(it)) => {
            let log = it.proves(event.header().room);
            let log = log.map(|(log, seq)| (log.lane, device(world, &log.device), log.term, seq));
            format!("proves a fork of {log:?}, declares {}", it.void.len())
        }
        Some(other) => format!("{other:?}").chars().take(60).collect(),
        None => "?".into(),
    }
}

fn device(world: &World, device: &PeerId) -> String {
    let no = world.peers().iter().position(|peer| peer.identity().key.id() == *device);
    no.map_or("?".into(), |no| no.to_string())
}

/// Who holds it, with a plus where it counts.
fn held(world: &World, event: &Event) -> Vec<String> {
    let at = |peer: &Peer| {
        peer.store().at(&event.log(), event.seq()).is_some_and(|held| held.id() == event.id())
    };
    let holders = world.peers().iter().enumerate().filter(|(_, peer)| at(peer));
    let shown = holders.map(|(no, peer)| {
        let counts = peer.room().is_some_and(|room| room.members().counts(&event.id()));
        format!("{no}{}", if counts { "+" } else { "" })
    });
    shown.collect()
}

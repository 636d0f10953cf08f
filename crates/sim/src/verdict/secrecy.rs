//! Nobody who is out reads what was sent afterwards by a sender who knew.
//!
//! Taken literally: with all secrets that someone ever held, and all that follows from them through
//! epochs that wrap their parents, over all events that anyone holds.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::epoch::{EpochSecret, epoch_id};
use ayni_core::event::Event;
use ayni_core::id::{EpochId, EventId, RoomId};
use ayni_core::room::{Control, History, MemberInfo, Room};

use super::agreement::Agreed;
use crate::peer::{Peer, PeerNo};
use crate::world::{Said, World};

/// The sealed secrets of epochs' parents, by the epoch that seals them.
type Wraps = BTreeMap<EpochId, Vec<(EpochId, Vec<u8>)>>;

/// Checks it. Returns how many pairs of an outsider and a message were looked at.
pub(super) fn judge(world: &World, agreed: &Agreed) -> Result<u64, String> {
    let room = agreed.reference.id();
    let wraps = wraps(world, room);
    let events = events(world);
    let mut kept = 0;
    for (no, peer) in world.peers().iter().enumerate() {
        let secrets = all_secrets(peer, room, &wraps);
        for (id, said) in world.said() {
            let Some(event) = events.get(id).filter(|_| is_kept_from(world, agreed, no, said))
            else {
                continue;
            };
            kept += 1;
            let secret = event.header().epoch.and_then(|epoch| secrets.get(&epoch));
            let opened = secret.and_then(|secret| {
                let sealed = event.body()?;
                secret.open(room, &event.header().associated_data(), sealed).ok()
            });
            if opened.is_some() {
                return Err(format!(
                    "peer {no}, who is out, reads what peer {} said in knowledge of that: {:?} by \
                     {}, sealed with {:?}",
                    said.who,
                    said.text,
                    event.id().short(),
                    event.header().epoch
                ));
            }
        }
    }
    Ok(kept)
}

/// Whether a message is to be kept from a peer: its honest author knew that it is no member; and it
/// has not come back since, unless newcomers may not read what was before.
fn is_kept_from(world: &World, agreed: &Agreed, no: PeerNo, said: &Said) -> bool {
    let peer = &world.peers()[no];
    let account = peer.identity().account();
    let then = said.knew.get(&account);
    if world.is_liar(said.who) || then.is_some_and(|then| then.member) {
        return false;
    }
    let members = agreed.reference.members();
    if then.is_some_and(|then| !then.ended_by.is_empty())
        && !then.is_some_and(|then| then.ended_by.iter().any(|end| members.counts(end)))
    {
        // What its author knew to end that term turned out to have no effect.
        return false;
    }
    let closed =
        world.scenario().history == History::FromJoining && world.scenario().affairs.settings == 0;
    let then = then.map(|then| then.term);
    let last = |info: &MemberInfo| info.terms.last_key_value().map(|(term, _)| *term);
    let info = members.account(&account);
    if info.and_then(MemberInfo::current_term).is_some_and(|term| Some(term) == then) {
        return false;
    }
    closed || info.and_then(last).max(peer.admitted()) <= then
}

/// Returns every chat event that anyone holds.
fn events(world: &World) -> BTreeMap<EventId, &Event> {
    let faces = world.peers().iter().flat_map(|peer| [Some(peer), peer.twin()]).flatten();
    faces.flat_map(|peer| peer.store().chat()).map(|event| (event.id(), event)).collect()
}

fn wraps(world: &World, room: RoomId) -> Wraps {
    let mut wraps = Wraps::new();
    let mut seen = BTreeSet::new();
    let faces = world.peers().iter().flat_map(|peer| [Some(peer), peer.twin()]).flatten();
    for event in faces.flat_map(|peer| peer.store().control()) {
        if !seen.insert(event.id()) {
            continue;
        }
        if let Some(Control::Epoch(body)) = event.body().and_then(Control::from_bytes) {
            let sealed = body.wraps.into_iter().map(|wrap| wrap.0);
            let parents = body.parents.into_iter().zip(sealed);
            wraps.entry(epoch_id(room, &body.commitment)).or_default().extend(parents);
        }
    }
    wraps
}

/// Returns all secrets that a peer ever held, and what follows from them.
fn all_secrets(peer: &Peer, room: RoomId, wraps: &Wraps) -> BTreeMap<EpochId, EpochSecret> {
    let faces = [Some(peer), peer.twin()].into_iter().flatten();
    let mut open: Vec<EpochSecret> =
        faces.flat_map(|face| face.store().secrets().iter().cloned()).collect();
    open.extend(peer.room().into_iter().flat_map(Room::secrets).map(|(_, it)| it.clone()));
    let mut all = BTreeMap::new();
    while let Some(secret) = open.pop() {
        let epoch = secret.id(room);
        if all.contains_key(&epoch) {
            continue;
        }
        let parents = wraps.get(&epoch).into_iter().flatten();
        open.extend(
            parents.filter_map(|(parent, sealed)| secret.unwrap(room, *parent, sealed).ok()),
        );
        all.insert(epoch, secret);
    }
    all
}

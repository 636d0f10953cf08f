//! All honest members are in one state, and show one timeline: what counts, and nothing else.

use std::collections::BTreeSet;

use ayni_core::chat::Chat;
use ayni_core::clock::Millis;
use ayni_core::event::Event;
use ayni_core::id::{AccountId, EventId, PeerId};
use ayni_core::room::{History, Role, Room, Settings};

use crate::peer::{Counts, Peer, PeerNo};
use crate::scenarios::Kind;
use crate::world::{Cutting, Said, World};

/// By how much clocks may differ from the world's: what is shown then is all that was said.
const LATER_MS: Millis = 3_600_000;

/// Who is to agree, and on what.
#[derive(Debug)]
pub(super) struct Agreed {
    /// What all statements together say that any honest peer holds.
    pub(super) reference: Room,
    /// The honest members that run, by that.
    pub(super) present: Vec<PeerNo>,
}

/// Finds who is to agree.
///
/// Who was put out may not have heard of it, and goes on with others like it: so it does not decide.
pub(super) fn agreed(world: &World) -> Result<Agreed, String> {
    let honest = |no: &PeerNo| !world.is_liar(*no) && !world.is_gone(*no);
    let all = || (0..world.peers().len()).filter(honest);
    let id = all().find_map(|no| Some(world.peers()[no].room()?.id()));
    let mut seen = BTreeSet::new();
    let control = all().flat_map(|no| world.peers()[no].store().control());
    let control = control.filter(|event| seen.insert(event.id())).cloned();
    let mut reference = Room::new(id.ok_or("nobody has a room")?, PeerId([0; 32]));
    reference.restore_control(control);
    let members = reference.members();
    let belongs = |no: &PeerNo| members.is_member_device(&world.peers()[*no].identity().key.id());
    let present: Vec<PeerNo> = all().filter(belongs).collect();
    if present.is_empty() {
        return Err("no honest member is left".into());
    }
    Ok(Agreed { reference, present })
}

/// Whether all are in one state and have all that was said; without the slow ones where `slow` is
/// not set. Cheap enough to be asked again and again.
pub(super) fn complete(world: &World, slow: bool) -> Result<(), String> {
    let Agreed { reference, mut present } = agreed(world)?;
    present.retain(|no| slow || !world.is_slow(*no));
    let state = |no: &PeerNo| world.peers()[*no].room().map(Room::state_hash);
    let first = present.first().and_then(state);
    if let Some(no) = present.iter().find(|no| first.is_none() || state(no) != first) {
        return Err(format!("no agreement, not with peer {no}: {}", difference(world)));
    }
    let expected = expected(world, &reference);
    for no in &present {
        let peer = &world.peers()[*no];
        if peer.room().map(standing_of) != Some(standing_of(&reference)) {
            return Err(format!("peer {no} has not heard all that counts: {}", difference(world)));
        }
        let lost = expected.iter().filter(|id| !holds(peer, world, id)).count();
        if lost > 0 {
            return Err(format!("{lost} messages are lost to peer {no}: {}", difference(world)));
        }
        texts(world, *no, &reference)?;
    }
    let knower = present.first().map(|no| &world.peers()[*no]);
    knower.map_or(Ok(()), |knower| belong(world, knower, slow))
}

/// Who is a member and as what, and how the room is set up.
fn standing_of(room: &Room) -> (Vec<(AccountId, u32, Role)>, Settings) {
    let members = room.members();
    let current = members.current();
    let seats =
        current.filter_map(|(account, info)| Some((*account, info.current_term()?, info.role()?)));
    (seats.collect(), members.settings().clone())
}

/// Whether everything is as it must be at the end.
pub(super) fn judge(world: &World) -> Result<Agreed, String> {
    complete(world, true)?;
    let agreed = agreed(world)?;
    let expected = expected(world, &agreed.reference);
    let expected = shown(world, &agreed.reference, &expected);
    let mut first = None;
    let known = agreed.present.first().and_then(|no| world.peers()[*no].room());
    for no in &agreed.present {
        let peer = &world.peers()[*no];
        let timeline = peer.timeline(world.now() + LATER_MS);
        let ids: BTreeSet<EventId> = timeline.iter().map(|(_, id)| *id).collect();
        if ids.len() != timeline.len() || peer.store().twice() > 0 {
            return Err(format!("a message is there twice at peer {no}"));
        }
        strange(world, peer, &ids, &expected)?;
        restored(world, peer)?;
        if peer.room().map(Room::members) != known.map(Room::members) {
            return Err(format!("peer {no} knows different members"));
        }
        match &first {
            None => first = Some(timeline),
            Some(first) if *first != timeline => {
                return Err(format!("peer {no} shows another timeline"));
            }
            Some(_) => {}
        }
    }
    for cutting in world.cuttings() {
        cut(world, &agreed, cutting, first.as_deref().unwrap_or_default())?;
    }
    trust(world)?;
    Ok(agreed)
}

fn difference(world: &World) -> String {
    let lines = world.peers().iter().enumerate().map(|(no, peer)| {
        let room = peer.room().map(|room| {
            let hash = room.state_hash();
            let state = format!("{:02x}{:02x}", hash[0], hash[1]);
            (room.am_member(), room.missing_secrets().len(), state)
        });
        let events = (peer.store().control().len(), peer.store().chat().count());
        let (running, sessions) = (peer.is_running(), peer.sessions());
        let refused = &peer.counts().refused;
        let what = peer.lie().map(|lie| format!(" {lie:?}")).unwrap_or_default();
        format!(
            "\n  peer {no}{what}: running {running}, (member, secrets missing, state) {room:?}, \
             (control, chat) {events:?}, sessions {sessions:?}, refused {refused:?}"
        )
    });
    lines.collect()
}

/// What of that is shown: what who-may-post hides is kept only.
fn shown(world: &World, reference: &Room, expected: &BTreeSet<EventId>) -> BTreeSet<EventId> {
    let hidden = |id: &EventId| {
        let said = world.said().get(id);
        said.is_some_and(|said| reference.members().hides(&said.log, said.time))
    };
    expected.iter().filter(|id| !hidden(id)).copied().collect()
}

/// What honest people said and everyone must have: all that counts, but for what went with a disk
/// that is gone.
fn expected(world: &World, reference: &Room) -> BTreeSet<EventId> {
    let counts = |said: &Said| {
        let end = reference.members().end_of(&said.log);
        !world.is_liar(said.who) && end.is_none_or(|end| said.seq < end)
    };
    let saved = |id: &EventId, said: &Said| {
        let mut honest = world.peers().iter().enumerate();
        !world.is_gone(said.who)
            || honest.any(|(no, peer)| {
                let there = peer.store().at(&said.log, said.seq).map(Event::id) == Some(*id);
                !world.is_gone(no) && !world.is_liar(no) && there
            })
    };
    let all = world.said().iter().filter(|(id, said)| counts(said) && saved(id, said));
    all.map(|(id, _)| *id).collect()
}

fn holds(peer: &Peer, world: &World, id: &EventId) -> bool {
    let said = world.said().get(id);
    said.is_some_and(|said| {
        peer.store().at(&said.log, said.seq).is_some_and(|event| event.id() == *id)
    })
}

/// Nothing is shown but what is expected, and what liars said where it counts.
fn strange(
    world: &World,
    peer: &Peer,
    shown: &BTreeSet<EventId>,
    expected: &BTreeSet<EventId>,
) -> Result<(), String> {
    let lost = expected.difference(shown).count();
    let liars: BTreeSet<_> = (0..world.peers().len())
        .filter(|no| world.is_liar(*no))
        .map(|no| world.peers()[no].identity().key.id())
        .collect();
    let events = peer.store().chat().filter(|event| shown.contains(&event.id()));
    let strange = events
        .filter(|event| !expected.contains(&event.id()) && !liars.contains(&event.header().device));
    let strange = strange.count();
    if lost + strange > 0 {
        return Err(format!("{lost} messages are not shown, {strange} are strange"));
    }
    Ok(())
}

/// Every message opens, to what its author said: to all where history is from the start, and else to
/// whom its author knew as a member.
fn texts(world: &World, no: PeerNo, reference: &Room) -> Result<(), String> {
    let peer = &world.peers()[no];
    let Some(room) = peer.room() else { return Err("a peer without a room".into()) };
    let all = reference.members().history() == History::FromStart;
    let account = peer.identity().account();
    for event in peer.store().chat() {
        let Some(said) = world.said().get(&event.id()) else { continue };
        let counts = reference.members().end_of(&said.log).is_none_or(|end| said.seq < end);
        let member = said.knew.get(&account).is_some_and(|then| then.member);
        let meant = all || (member && is_shared(world, event, reference, &account));
        if meant
            && counts
            && is_kept(world, event, reference)
            && !world.is_liar(said.who)
            && room.open(event) != Some(Chat::Message(said.text.clone()))
        {
            return Err(format!("peer {no} cannot read a message of peer {}", said.who));
        }
    }
    Ok(())
}

/// Whether members may have the key of a message where history is from joining. One that was let in
/// by someone who was out seals with epochs that count for nobody, until it hears of that; and who
/// has not heard of a change of history seals for fewer than it thinks.
fn is_shared(world: &World, event: &Event, reference: &Room, account: &AccountId) -> bool {
    let members = reference.members();
    let Some(epoch) = event.header().epoch else { return false };
    if world.scenario().affairs.settings > 0 {
        return members.is_meant_for(&epoch, account);
    }
    members.accounts().any(|(account, _)| members.is_meant_for(&epoch, account))
}

/// Whether the key of a message counts, and is with any honest member. Who minted it may have been put
/// out, or be gone, before it could hand it on; and what was minted on one branch of a fork is not
/// known to those who hold the other.
fn is_kept(world: &World, event: &Event, reference: &Room) -> bool {
    let Some(epoch) = event.header().epoch else { return false };
    if !reference.members().epochs().any(|(id, _)| *id == epoch) {
        return false;
    }
    world.peers().iter().enumerate().any(|(no, peer)| {
        let member = reference.members().is_member_device(&peer.identity().key.id());
        let held = peer.room().is_some_and(|room| room.secret(&epoch).is_some());
        member && held && !world.is_liar(no) && !world.is_gone(no)
    })
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

/// Whoever the room would admit, by the invite that it holds, is in; and so is who founded it.
fn belong(world: &World, knower: &Peer, slow: bool) -> Result<(), String> {
    let Some(room) = knower.room() else { return Err("a member without a room".into()) };
    for (no, peer) in world.peers().iter().enumerate() {
        let out = world.is_liar(no) || world.is_gone(no) || world.has_left(no);
        let later = world.is_slow(no) && !slow;
        if out || later || room.members().is_member_device(&peer.identity().key.id()) {
            continue;
        }
        let founded = world.scenario().kind == Kind::Direct || no == 0;
        if founded || knower.would_admit(peer, world.now()) {
            let info = room.members().account(&peer.identity().account());
            return Err(format!("peer {no} does not belong to the room: {info:?}"));
        }
    }
    Ok(())
}

/// Of one who was put out nothing is shown that came after what was there for who put it out; checked
/// where that is one alone, so that nothing else may have had a say: of several ends in force the lowest
/// cut counts, and a liar with authority may name none at all (`docs/rooms.md`, Removal).
fn cut(
    world: &World,
    agreed: &Agreed,
    cutting: &Cutting,
    shown: &[(ayni_core::clock::Hlc, EventId)],
) -> Result<(), String> {
    let Cutting { by, account, term, held, len } = cutting;
    let members = agreed.reference.members();
    let same = |it: &&Cutting| it.by == *by && it.account == *account && it.term == *term;
    let once = world.cuttings().iter().filter(same).count() == 1;
    let alone = once && ended_alone(world, agreed, cutting);
    let Some(info) = members.account(account) else { return Ok(()) };
    let ended = info.terms.keys().any(|of| of > term)
        || (info.was_removed() && info.terms.keys().next_back() == Some(term));
    let whose = world.peers().iter().position(|peer| peer.identity().account() == *account);
    let Some(whose) = whose.filter(|no| alone && ended && !world.has_left(*no)) else {
        return Ok(());
    };
    let shown: BTreeSet<EventId> = shown.iter().map(|(_, id)| *id).collect();
    let of_it = world.said().iter().filter(|(_, said)| said.who == whose && said.log.term == *term);
    let wrong = of_it.filter(|(id, said)| shown.contains(id) && said.seq >= *len).count();
    let hidden = |id: &&EventId| {
        let said = world.said().get(*id);
        said.is_some_and(|said| members.hides(&said.log, said.time))
    };
    let missing = held.difference(&shown).filter(|id| !hidden(id)).count();
    let all_here = !world.is_liar(whose) && !world.is_liar(*by);
    if wrong > 0 || (missing > 0 && all_here) {
        return Err(format!(
            "peer {by} put peer {whose} out: of its later messages {wrong} are shown, of those \
             before {missing} are not"
        ));
    }
    Ok(())
}

/// Whether one statement alone ends the term, by whom this cutting is.
fn ended_alone(world: &World, agreed: &Agreed, cutting: &Cutting) -> bool {
    let Cutting { by, account, term, .. } = cutting;
    let [end] = agreed.reference.members().ends_of(account, *term)[..] else { return false };
    let device = world.peers()[*by].identity().key.id();
    let mut control = world.peers()[*by].store().control().iter();
    control.any(|event| event.id() == end && event.header().device == device)
}

/// No honest peer was taken for a liar.
fn trust(world: &World) -> Result<(), String> {
    let honest = || world.peers().iter().enumerate().filter(|(no, _)| !world.is_liar(*no));
    for (no, peer) in honest() {
        let Counts { violations, liars, refused, .. } = peer.counts();
        let accused = violations.iter().map(|(no, _)| no).chain(liars.keys());
        if let Some(other) = accused.into_iter().find(|other| !world.is_liar(**other)) {
            return Err(format!("peer {no} took honest peer {other} for a liar"));
        }
        let forked = refused.keys().any(|reason| reason.contains("fork"));
        if forked && world.scenario().liars == 0 {
            return Err(format!("peer {no} saw a fork where nobody forks"));
        }
        let frozen = |(_, other): &(PeerNo, &Peer)| {
            let device = other.identity().key.id();
            peer.room().is_some_and(|room| room.members().is_frozen(&device))
        };
        if let Some((other, _)) = honest().find(frozen) {
            return Err(format!("peer {no} takes honest peer {other} for one who forks"));
        }
    }
    Ok(())
}

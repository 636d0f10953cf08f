//! What people do, and what goes wrong, one thing at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ayni_core::clock::{Hlc, Millis};
use ayni_core::event::Event;
use ayni_core::id::{AccountId, EventId};
use ayni_core::keys::InviteSecret;
use ayni_core::log::LogId;
use ayni_core::room::{Control, MemberInfo, Members, Role};

use super::{START, World};
use crate::peer::PeerNo;
use crate::peer::acting::Done;
use crate::plan::Act;

/// How many times longer than planned something is tried again that nobody can do.
const TRIES: u64 = 3;

/// What the author of a message knew of everyone's standing.
pub type Standing = BTreeMap<AccountId, Stand>;

/// What the author of a message knew of someone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stand {
    /// The last term.
    pub term: u32,
    /// Whether it was a member.
    pub member: bool,
    /// What ended its last term, if it was none any more.
    pub ended_by: Vec<EventId>,
}

/// Something that was said.
#[derive(Debug, Clone)]
pub struct Said {
    /// By whom.
    pub who: PeerNo,
    /// In which log.
    pub log: LogId,
    /// Its position there.
    pub seq: u64,
    /// When, by its author's clock.
    pub time: Hlc,
    /// The text.
    pub text: String,
    /// What its author knew.
    pub knew: Arc<Standing>,
}

/// An end of someone's term, as it was stated.
#[derive(Debug, Clone)]
pub struct Cutting {
    /// By whom.
    pub by: PeerNo,
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub term: u32,
    /// The messages of that term that were here.
    pub held: BTreeSet<EventId>,
    /// How many there were at least, as far as was known here.
    pub len: u64,
}

/// Returns what a replica knows of everyone's standing.
pub fn standing(members: &Members) -> Standing {
    let last = |info: &MemberInfo| info.terms.last_key_value().map(|(term, _)| *term);
    let all = members.accounts();
    let stand = |account: &AccountId, info: &MemberInfo| {
        let (member, ended_by) = (info.is_member(), members.ended_by(account));
        Some(Stand { term: last(info)?, member, ended_by })
    };
    all.filter_map(|(account, info)| Some((*account, stand(account, info)?))).collect()
}

impl World {
    /// Does one thing now.
    pub fn act(&mut self, act: Act) {
        match act {
            Act::Say(text) => self.say(&text),
            Act::Rename(name, room) => self.rename(name, room),
            Act::Come(no) => self.come(no),
            Act::Leave(no) => self.leave(no),
            Act::Role(by, whom, role) => self.give_role(by, whom, role),
            Act::Remove(by, whom) => self.remove(by, whom),
            Act::Defy(by, whom) => {
                let account = self.peers[whom].identity().account();
                let cutting = self.cutting(by, whom);
                let done = self.peers[by].defy(account, self.now);
                if self.did("defied", by, done).is_some() {
                    self.cuttings.extend(cutting);
                }
            }
            Act::Invite(by, None) => self.invite(by),
            Act::Invite(by, Some(whom)) => self.invite_back(by, whom),
            Act::Revoke(by) => self.revoke(by),
            Act::Set(by, setting) => {
                let done = self.peers[by].set(&setting, self.now);
                self.did("set", by, done);
            }
            Act::Lie(no) => {
                let connected = self.connected(no);
                let out = self.peers[no].do_lie(self.now, &connected);
                self.send(no, out);
            }
            Act::Drop => {
                let connections = self.network.connections();
                if let Some((one, other)) = self.dice.pick(&connections).copied() {
                    self.disconnect(one, other);
                }
            }
            Act::Stop(no) => self.stop(no),
            Act::Start(no) => {
                if !self.gone.contains(&no) && !self.peers[no].is_running() {
                    self.peers[no].start(self.now);
                }
            }
            Act::Go(no) => {
                self.stop(no);
                self.gone.insert(no);
            }
            Act::Part(apart) => {
                for (one, other) in self.network.part(apart) {
                    self.lost(one, other);
                }
            }
        }
    }

    /// Counts an act, and sends what came of it.
    fn did(&mut self, what: &'static str, no: PeerNo, done: Done) -> Option<Event> {
        let Ok((event, out)) = done else {
            self.skipped += 1;
            return None;
        };
        *self.done.entry(what).or_default() += 1;
        self.send(no, out);
        Some(event)
    }

    /// Whether something that nobody could do yet is worth another try.
    fn has_time(&self) -> bool {
        self.now < START + TRIES * self.scenario.span_ms
    }

    fn say(&mut self, text: &str) {
        let Some(no) = self.someone() else { return self.say_later(text) };
        let knew = self.peers[no].room().map(|room| standing(room.members())).unwrap_or_default();
        let Ok((event, out)) = self.peers[no].say(text, self.now, &mut self.dice) else {
            return self.say_later(text);
        };
        *self.done.entry("said").or_default() += 1;
        // Most know the same as the one before.
        let before = self.said.values().next_back().map(|said| &said.knew);
        let knew = before.filter(|before| ***before == knew).cloned().unwrap_or(Arc::new(knew));
        let (log, seq, text) = (event.log(), event.seq(), text.to_owned());
        let time = event.header().time;
        self.said.insert(event.id(), Said { who: no, log, seq, time, text, knew });
        self.send(no, out);
    }

    fn say_later(&mut self, text: &str) {
        if self.has_time() {
            self.later(Act::Say(text.to_owned()));
        } else {
            self.skipped += 1;
        }
    }

    fn rename(&mut self, name: String, room: bool) {
        let Some(no) = self.someone() else { return };
        let done = if room {
            self.peers[no].name_room(&name, self.now)
        } else {
            self.peers[no].state(&Control::Profile(name), self.now)
        };
        self.did("named", no, done);
    }

    /// Someone is given an invite: the first, or any where there are several.
    fn come(&mut self, no: PeerNo) {
        let any = self.scenario.affairs.invites > 0
            && no >= self.scenario.peers - self.scenario.newcomers;
        let invited = if any { self.dice.pick(&self.invites) } else { self.invites.first() };
        if let Some(invited) = invited.cloned() {
            self.peers[no].give(invited);
        }
    }

    fn leave(&mut self, no: PeerNo) {
        match self.peers[no].leave(self.now) {
            Ok((_, out)) => {
                self.left.insert(no);
                self.send(no, out);
            }
            // One who is away, or not in yet, leaves later.
            Err(_) if self.has_time() => self.later(Act::Leave(no)),
            Err(_) => self.skipped += 1,
        }
    }

    fn give_role(&mut self, by: PeerNo, whom: PeerNo, role: Role) {
        let account = self.peers[whom].identity().account();
        let cutting = self.cutting(by, whom);
        let current = self.peers[by].room().and_then(|room| room.members().role(&account));
        let done = match current {
            // Coming back is by invites here; and a role that one has is no act.
            Some(current) if current != role => self.peers[by].give_role(account, role, self.now),
            _ => {
                self.skipped += 1;
                return;
            }
        };
        let lower = current.is_some_and(|current| current > role);
        if self.did(if lower { "demoted" } else { "granted" }, by, done).is_some() && lower {
            self.cuttings.extend(cutting);
        }
    }

    fn remove(&mut self, by: PeerNo, whom: PeerNo) {
        let account = self.peers[whom].identity().account();
        let cutting = self.cutting(by, whom);
        let done = self.peers[by].remove(account, self.now, &mut self.dice);
        if self.did("removed", by, done).is_some() {
            self.cuttings.extend(cutting);
        }
    }

    /// What `by` holds of the messages of `whom` in its term.
    fn cutting(&self, by: PeerNo, whom: PeerNo) -> Option<Cutting> {
        let identity = self.peers[whom].identity();
        let (account, device) = (identity.account(), identity.key.id());
        let term = self.peers[by].room()?.members().account(&account)?.current_term()?;
        let events = self.peers[by].store().chat();
        let of_it = events.filter(|it| it.log().device == device && it.log().term == term);
        let held: BTreeMap<u64, EventId> = of_it.map(|it| (it.seq(), it.id())).collect();
        let len = held.last_key_value().map_or(0, |(seq, _)| seq + 1);
        Some(Cutting { by, account, term, held: held.into_values().collect(), len })
    }

    /// Someone makes an invite that those who come later may be given.
    pub(super) fn invite(&mut self, by: PeerNo) {
        let secret = InviteSecret::from_seed(&self.dice.bytes());
        let expires = self.expiry();
        match self.peers[by].invite(secret, expires, self.now) {
            Ok((invited, _, out)) => {
                *self.done.entry("invited").or_default() += 1;
                self.invites.push(invited);
                self.send(by, out);
            }
            Err(_) => self.skipped += 1,
        }
    }

    /// Someone makes an invite for one who was removed, as far as it knows.
    fn invite_back(&mut self, by: PeerNo, whom: PeerNo) {
        let account = self.peers[whom].identity().account();
        let room = self.peers[by].room();
        let info = room.and_then(|room| room.members().account(&account));
        if !info.is_some_and(MemberInfo::was_removed) {
            self.skipped += 1;
            return;
        }
        let secret = InviteSecret::from_seed(&self.dice.bytes());
        let expires = self.expiry();
        match self.peers[by].invite(secret, expires, self.now) {
            Ok((invited, _, out)) => {
                *self.done.entry("invited back").or_default() += 1;
                self.peers[whom].give(invited);
                self.send(by, out);
            }
            Err(_) => self.skipped += 1,
        }
    }

    fn expiry(&self) -> Millis {
        START + 100 * self.scenario.span_ms
    }

    fn revoke(&mut self, by: PeerNo) {
        let Some(room) = self.peers[by].room() else { return };
        let open = room.members().invites().filter(|(_, info)| info.open);
        let open: Vec<_> = open.map(|(key, _)| *key).collect();
        let Some(key) = self.dice.pick(&open).copied() else {
            self.skipped += 1;
            return;
        };
        let done = self.peers[by].revoke(key, self.now);
        self.did("revoked", by, done);
    }
}

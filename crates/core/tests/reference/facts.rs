//! What was stated, by whom, and in whose knowledge.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::clock::Hlc;
use ayni_core::event::{Event, event_id};
use ayni_core::id::{AccountId, EventId, PeerId, RoomId};
use ayni_core::keys::DeviceClaim;
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{Control, Cut, Genesis, Role, Seat as Place};

/// An account in a term.
pub(crate) type Seat = (AccountId, u32);

/// One statement.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) id: EventId,
    pub(crate) log: LogId,
    pub(crate) seq: u64,
    pub(crate) time: Hlc,
    pub(crate) control: Option<Control>,
    /// What it depends on or cites, by id.
    pub(crate) knows: BTreeSet<EventId>,
}

/// Everything that was stated and can be taken in.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) all: BTreeMap<EventId, Said>,
    pub(crate) genesis: Option<Genesis>,
    pub(crate) forks: BTreeMap<LogId, u64>,
    /// What lies on forked branches.
    void: Vec<Said>,
    pasts: BTreeMap<EventId, BTreeSet<EventId>>,
    generations: BTreeMap<EventId, u64>,
}

impl Said {
    /// Whose devices it says there are.
    pub(crate) fn claims(&self) -> Vec<&DeviceClaim> {
        match &self.control {
            Some(Control::Genesis(body)) => vec![&body.cert.claim],
            Some(Control::Admit(admit)) => vec![&admit.claim.cert.claim],
            Some(Control::Fork(fork)) => {
                fork.introduced.admissions.iter().map(|admit| &admit.claim.cert.claim).collect()
            }
            _ => vec![],
        }
    }

    /// The accounts that it says are to be here, rightly or not.
    pub(crate) fn lets_in(&self) -> BTreeSet<AccountId> {
        match &self.control {
            Some(Control::Grant(grant)) => BTreeSet::from([grant.account]),
            Some(Control::Admit(_) | Control::Fork(_)) => {
                self.claims().into_iter().map(|claim| claim.account).collect()
            }
            _ => BTreeSet::new(),
        }
    }
}

/// By what someone acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Founder(AccountId),
    Given(EventId),
}

impl Facts {
    /// Takes what can be taken in of `events`, in whatever order.
    pub(crate) fn new(room: RoomId, events: &[Event]) -> Self {
        let said: Vec<Said> = events.iter().map(|event| said(room, event)).collect();
        let with_branches = acceptable(&said, &BTreeMap::new());
        let forks = forks(room, &with_branches);
        let all = without_repeats(acceptable(&said, &forks));
        let genesis = all.values().find_map(|it| match &it.control {
            Some(Control::Genesis(body)) => Some(body.genesis.clone()),
            _ => None,
        });
        let is_void = |it: &&Said| forks.get(&it.log).is_some_and(|from| it.seq >= *from);
        let void = said.iter().filter(is_void).cloned().collect();
        let mut facts = Self {
            all,
            genesis,
            forks,
            void,
            pasts: BTreeMap::new(),
            generations: BTreeMap::new(),
        };
        let ids: Vec<EventId> = facts.all.keys().copied().collect();
        for id in ids {
            let past = facts.trace(id);
            facts.pasts.insert(id, past);
        }
        // Whoever knows more stands later: a past is smaller than that of what it leads to.
        let mut ids: Vec<EventId> = facts.all.keys().copied().collect();
        ids.sort_by_key(|id| facts.pasts[id].len());
        for id in ids {
            let known = facts.it(&id).knows.iter().filter_map(|id| facts.generations.get(id));
            let generation = known.map(|known| 1 + known).max().unwrap_or(0);
            facts.generations.insert(id, generation);
        }
        facts
    }

    /// Whether no two statements claim one position of a log, and whatever lies on forked branches is
    /// declared: until then replicas differ.
    pub(crate) fn is_settled(&self) -> bool {
        let places: BTreeSet<(LogId, u64)> = self.all.values().map(|it| (it.log, it.seq)).collect();
        places.len() == self.all.len() && self.void.iter().all(|it| self.is_declared(it))
    }

    fn is_declared(&self, it: &Said) -> bool {
        let mut forks = self.all.values().filter_map(|it| match &it.control {
            Some(Control::Fork(fork)) => Some(fork),
            _ => None,
        });
        forks.any(|fork| {
            let introduced = &fork.introduced;
            let seat = |account, term| introduced.seats.contains(&Place { account, term });
            fork.void.iter().any(|header| event_id(&header.0) == it.id)
                && match &it.control {
                    Some(Control::Admit(admit)) => introduced.admissions.contains(admit),
                    Some(Control::Grant(grant)) => seat(grant.account, grant.term),
                    Some(Control::Remove(it)) => seat(it.account, it.term.saturating_add(1)),
                    Some(Control::Invite(invite)) => introduced.invites.contains(&invite.key),
                    _ => true,
                }
        })
    }

    fn trace(&self, id: EventId) -> BTreeSet<EventId> {
        let mut past = BTreeSet::new();
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            for known in self.all.get(&next).into_iter().flat_map(|it| &it.knows) {
                if self.all.contains_key(known) && past.insert(*known) {
                    open.push(*known);
                }
            }
        }
        past
    }

    pub(crate) fn it(&self, id: &EventId) -> &Said {
        &self.all[id]
    }

    pub(crate) fn control(&self, id: &EventId) -> Option<&Control> {
        self.it(id).control.as_ref()
    }

    /// What the author of a statement said to know.
    pub(crate) fn past(&self, id: &EventId) -> &BTreeSet<EventId> {
        &self.pasts[id]
    }

    pub(crate) fn knew(&self, later: &EventId, earlier: &EventId) -> bool {
        self.past(later).contains(earlier)
    }

    /// The longest chain of statements that leads to one.
    pub(crate) fn generation(&self, id: &EventId) -> u64 {
        self.generations[id]
    }

    pub(crate) fn accounts(&self, device: &PeerId) -> BTreeSet<AccountId> {
        accounts(&self.all, device)
    }

    pub(crate) fn seats(&self, log: &LogId) -> BTreeSet<Seat> {
        self.accounts(&log.device).into_iter().map(|account| (account, log.term)).collect()
    }

    pub(crate) fn may_write(&self, log: &LogId) -> bool {
        may_write(&self.all, log)
    }

    pub(crate) fn is_leaving(&self, id: &EventId) -> bool {
        matches!(self.control(id), Some(Control::Leave(_)))
    }

    /// The seats that a statement would end.
    pub(crate) fn ends(&self, id: &EventId) -> BTreeSet<Seat> {
        match self.control(id) {
            Some(Control::Remove(remove)) => BTreeSet::from([(remove.account, remove.term)]),
            Some(Control::Leave(_)) => self.seats(&self.it(id).log),
            _ => BTreeSet::new(),
        }
    }

    /// The role that a statement would give, and to whom.
    pub(crate) fn gives(&self, id: &EventId) -> Option<(Seat, Role)> {
        match self.control(id)? {
            Control::Grant(grant) => Some(((grant.account, grant.term), grant.role)),
            Control::Remove(remove) => {
                Some(((remove.account, remove.term.checked_add(1)?), remove.then?))
            }
            _ => None,
        }
    }

    /// By what a statement is made, as far as it says, and with which role.
    pub(crate) fn authority(&self, id: &EventId) -> Option<(Source, Role)> {
        let it = self.it(id);
        let seats = self.seats(&it.log);
        let cited = match it.control.as_ref()? {
            Control::Set(it) => it.cites,
            Control::Grant(it) => it.cites,
            Control::Remove(it) => it.cites,
            Control::Revoke(it) => it.cites,
            Control::Upgrade(it) => it.cites,
            _ => None,
        };
        if let Some(cited) = cited {
            let (seat, role) = self.gives(&cited)?;
            let own = seats.contains(&seat) && role >= Role::Admin;
            return own.then_some((Source::Given(cited), role));
        }
        let founders = &self.genesis.as_ref()?.founders;
        let mut first =
            seats.into_iter().filter(|(account, term)| *term == 0 && founders.contains(account));
        first.next().map(|(account, _)| (Source::Founder(account), Role::Founder))
    }

    /// Whether the line of citations from a statement passes through `from`.
    pub(crate) fn is_below(&self, id: &EventId, from: Source) -> bool {
        match self.authority(id) {
            Some((source, _)) if source == from => true,
            Some((Source::Given(by), _)) => self.is_below(&by, from),
            _ => false,
        }
    }

    /// How many events of a log count, if this end does.
    pub(crate) fn stretch(&self, end: &EventId, log: &LogId) -> u64 {
        let cut = match self.control(end) {
            Some(Control::Leave(cut)) => cut,
            Some(Control::Remove(remove)) => &remove.cut,
            _ => return u64::MAX,
        };
        let stated = listed(cut, log);
        if log.lane == Lane::Chat {
            return stated;
        }
        let known = self.past(end).iter().chain([end]).map(|id| self.it(id));
        let known = known.filter(|it| it.log == *log).map(|it| it.seq + 1).max();
        stated.max(known.unwrap_or(0))
    }
}

fn listed(cut: &Cut, log: &LogId) -> u64 {
    cut.logs.iter().find(|end| end.log == *log).map_or(0, |end| end.len)
}

fn said(room: RoomId, event: &Event) -> Said {
    let header = event.header();
    let control = event.body().and_then(Control::from_bytes);
    let control = control.filter(|control| holds(room, event, control));
    let mut knows: BTreeSet<EventId> = header.deps.iter().chain(&header.prev).copied().collect();
    knows.extend(control.as_ref().and_then(Control::cites));
    let (log, seq, time) = (event.log(), event.seq(), header.time);
    Said { id: event.id(), log, seq, time, control, knows }
}

/// Whether a statement holds by itself: what is signed inside it, and a genesis.
fn holds(room: RoomId, event: &Event, control: &Control) -> bool {
    match control {
        Control::Genesis(body) => {
            let cert = &body.cert;
            body.genesis.id() == room
                && event.seq() == 0
                && event.header().term == 0
                && cert.verify().is_ok()
                && cert.claim.device == event.header().device
                && body.genesis.founders.contains(&cert.claim.account)
        }
        Control::Admit(admit) => {
            let (invite, device) = (&admit.invite_signature, &admit.device_signature);
            admit.claim.verify(room, event.header().device, invite, device).is_ok()
        }
        Control::Fork(fork) => fork.proves(room).is_some(),
        _ => true,
    }
}

fn accounts(all: &BTreeMap<EventId, Said>, device: &PeerId) -> BTreeSet<AccountId> {
    let claims = all.values().flat_map(Said::claims);
    claims.filter(|claim| claim.device == *device).map(|claim| claim.account).collect()
}

/// Whether someone stated that a log's device belongs to a member of its term.
fn may_write(all: &BTreeMap<EventId, Said>, log: &LogId) -> bool {
    accounts(all, &log.device).into_iter().any(|account| {
        all.values().any(|it| match &it.control {
            Some(Control::Genesis(body)) => {
                log.term == 0 && body.genesis.founders.contains(&account)
            }
            Some(Control::Admit(admit)) => {
                (admit.claim.cert.claim.account, admit.term) == (account, log.term)
            }
            Some(Control::Grant(grant)) => (grant.account, grant.term) == (account, log.term),
            Some(Control::Remove(remove)) => {
                (remove.account, remove.term.saturating_add(1)) == (account, log.term)
            }
            Some(Control::Fork(fork)) => {
                let admitted = fork.introduced.admissions.iter();
                let mut admitted =
                    admitted.map(|admit| (admit.claim.cert.claim.account, admit.term));
                let mut seats = fork.introduced.seats.iter();
                admitted.any(|seat| seat == (account, log.term))
                    || seats.any(|seat| (seat.account, seat.term) == (account, log.term))
            }
            _ => false,
        })
    })
}

fn forks(room: RoomId, all: &BTreeMap<EventId, Said>) -> BTreeMap<LogId, u64> {
    let mut forks: BTreeMap<LogId, u64> = BTreeMap::new();
    for it in all.values() {
        if let Some(Control::Fork(fork)) = &it.control
            && let Some((log, seq)) = fork.proves(room)
        {
            let first = forks.entry(log).or_insert(seq);
            *first = seq.min(*first);
        }
    }
    forks
}

/// Of what a log says again that it can say once, the first alone says something.
fn without_repeats(mut all: BTreeMap<EventId, Said>) -> BTreeMap<EventId, Said> {
    let mut order: Vec<(u64, EventId)> = all.values().map(|it| (it.seq, it.id)).collect();
    order.sort_unstable();
    let mut said = BTreeSet::new();
    for (_, id) in order {
        let Some(it) = all.get_mut(&id) else { continue };
        let once = match &it.control {
            Some(Control::Leave(_)) => "leaves".to_owned(),
            Some(Control::Invite(invite)) => format!("invites by {:?}", invite.key),
            Some(Control::Epoch(epoch)) => format!("mints {:?}", epoch.commitment),
            _ => continue,
        };
        if !said.insert((it.log, once)) {
            it.control = None;
        }
    }
    all
}

/// Finds what is taken in, if this is known of forks: all that the rest of it lets in.
fn acceptable(said: &[Said], forks: &BTreeMap<LogId, u64>) -> BTreeMap<EventId, Said> {
    let mut all: BTreeMap<EventId, Said> = BTreeMap::new();
    let is_void = |it: &Said| forks.get(&it.log).is_some_and(|from| it.seq >= *from);
    let void: BTreeSet<EventId> = said.iter().filter(|it| is_void(it)).map(|it| it.id).collect();
    loop {
        let before = all.len();
        for it in said.iter().filter(|it| !is_void(it)) {
            let known = it.knows.iter().all(|id| all.contains_key(id) || void.contains(id));
            let invited = match &it.control {
                Some(Control::Admit(admit)) => all.values().any(|other| match &other.control {
                    Some(Control::Invite(invite)) => invite.key == admit.claim.invite,
                    Some(Control::Fork(fork)) => {
                        fork.introduced.invites.contains(&admit.claim.invite)
                    }
                    _ => false,
                }),
                _ => true,
            };
            let first = matches!(it.control, Some(Control::Genesis(_)));
            if known && invited && (first || may_write(&all, &it.log)) {
                all.insert(it.id, it.clone());
            }
        }
        if all.len() == before {
            return all;
        }
    }
}

//! From statements to who may do what: the rules of `docs/rooms.md`, in one pure function.
//!
//! Two steps. First, which ends of terms (removals, leavings) are in force; they depend on one another
//! (who is removed cannot remove), and in part negatively, so this is the well-founded model of a
//! small logic program, found by an alternating fixpoint: what nobody can settle has no effect.
//! Second, who belongs here: admissions and grants, in whatever order, until nothing is added.
//!
//! Source of the method: A. Van Gelder, The Alternating Fixpoint of Logic Programs with Negation,
//! 1993.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::control::{Control, Remove};
use super::genesis::Kind;
use super::places::Places;
use super::role::Role;
use super::statements::{Authority, Statement, Statements};
use crate::id::{AccountId, InviteKey};
use crate::log::{Lane, LogId};

/// An account in one term of its membership.
pub(super) type Seat = (AccountId, u32);

/// Which statements take effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reduction {
    /// The ends of terms in force.
    pub(super) enders: BTreeSet<usize>,
    /// The statements that give a role in force.
    pub(super) givers: BTreeSet<usize>,
    /// Who was ever rightly here, and as what.
    pub(super) seats: BTreeMap<Seat, Role>,
    /// The seats that someone with authority gave a role.
    given: BTreeSet<Seat>,
    /// The statements that count: their author was here, and they lie before the end of its log.
    pub(super) counts: BTreeSet<usize>,
    /// The invites in force at their making, and whom each admitted.
    pub(super) invites: BTreeMap<usize, BTreeSet<AccountId>>,
    /// The revocations in force, by the invite that each ends.
    pub(super) revoked: BTreeMap<usize, BTreeSet<usize>>,
}

/// What was found that lets others count.
#[derive(Debug, Default)]
struct Found {
    seats: BTreeSet<Seat>,
    keys: BTreeSet<InviteKey>,
}

/// Which ends of terms, and which givers, hold under some assumption.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    enders: BTreeSet<usize>,
    givers: BTreeSet<usize>,
}

/// Where logs end, given what is in force: found once for each log, since all that stands in it is
/// measured by that; for leavings apart from the rest.
type Ends = BTreeMap<(LogId, bool), u64>;

/// Reduces all statements, or those of `only`.
pub(super) fn reduce(all: &Statements, only: Option<&Places>) -> Reduction {
    let reducer = Reducer::new(all, only);
    let mut sure = Model::default();
    loop {
        let possible = reducer.step(&sure);
        let next = reducer.step(&possible);
        if next == sure {
            break;
        }
        sure = next;
    }
    // Nothing but sure ends is in force; what gives a role holds where those leave it standing.
    let givers = reducer.step_with(&sure, Some(&sure.enders)).givers;
    let mut out = Reduction { enders: sure.enders, givers, ..Reduction::default() };
    reducer.seat(&mut out);
    out
}

/// Applies the rules to all statements, or to some.
#[derive(Clone, Copy)]
pub(super) struct Reducer<'a> {
    all: &'a Statements,
    only: Option<&'a Places>,
}

impl<'a> Reducer<'a> {
    pub(super) fn new(all: &'a Statements, only: Option<&'a Places>) -> Self {
        Self { all, only }
    }

    fn statements(self) -> impl Iterator<Item = (usize, &'a Statement)> {
        let included = move |at: &usize| self.only.is_none_or(|only| only.contains(*at));
        self.all.iter().filter(move |(at, _)| included(at))
    }

    /// Returns the ends of a seat among `enders`.
    fn ends<'b>(self, seat: Seat, enders: &'b BTreeSet<usize>) -> impl Iterator<Item = usize> + 'b
    where
        'a: 'b,
    {
        self.all.enders_of(seat).filter(|at| enders.contains(at))
    }

    /// Whether members come and go; who belongs to other rooms is said by their genesis.
    fn is_group(self) -> bool {
        self.all.genesis().is_some_and(|genesis| genesis.kind == Kind::Group)
    }

    /// Whether a statement lies before the end of its log, given the ends of terms in force.
    ///
    /// A leaving is measured by removals alone: two devices of one account may both leave.
    fn stands(self, at: usize, it: &Statement, enders: &BTreeSet<usize>, known: &mut Ends) -> bool {
        let leaves = self.all.is_leaving(at);
        let ends = |seat: Seat| {
            let ends = self.ends(seat, enders);
            ends.filter(|end| !(leaves && self.all.is_leaving(*end))).collect()
        };
        let find = || end_of(self.all, &it.log, ends);
        it.seq < *known.entry((it.log, leaves)).or_insert_with(find)
    }

    /// What holds if, of what stands against something, exactly `against` does.
    fn step(self, against: &Model) -> Model {
        self.step_with(against, None)
    }

    /// Like [`Self::step`]; if `only` is given, no other ends of terms hold.
    fn step_with(self, against: &Model, only: Option<&BTreeSet<usize>>) -> Model {
        let mut model = Model::default();
        let mut ends = Ends::new();
        let may_end = |at: &usize| only.is_none_or(|only| only.contains(at));
        // What is cited has a lower place.
        for (at, it) in self.statements() {
            let mut authorized = || {
                self.has_authority(at, &model) && self.stands(at, it, &against.enders, &mut ends)
            };
            match &it.control {
                Some(Control::Leave(_)) if may_end(&at) => {
                    let mut seats = self.all.seats_of(&it.log);
                    if seats.any(|seat| self.has_begun(seat, at, &model))
                        && self.stands(at, it, &against.enders, &mut ends)
                    {
                        model.enders.insert(at);
                    }
                }
                Some(Control::Grant(grant)) if self.is_group() => {
                    let within = self.all.authority(at).is_some_and(|(_, own)| grant.role <= own);
                    let seat = (grant.account, grant.term);
                    if within && authorized() && self.may_begin(seat, at, &model, against) {
                        model.givers.insert(at);
                    }
                }
                Some(Control::Remove(remove)) if self.is_group() => {
                    let seat = (remove.account, remove.term);
                    if may_end(&at)
                        && authorized()
                        && self.has_begun(seat, at, &model)
                        && self.is_above(at, remove, &against.givers)
                    {
                        model.enders.insert(at);
                        if self.goes_on(remove, &against.enders) {
                            model.givers.insert(at);
                        }
                    }
                }
                _ => {}
            }
        }
        model
    }

    /// Whether a statement's author has the authority that it names.
    fn has_authority(self, at: usize, model: &Model) -> bool {
        match self.all.authority(at) {
            Some((Authority::Founder(_), _)) => true,
            Some((Authority::By(by), _)) => model.givers.contains(&by),
            None => false,
        }
    }

    /// Whether everything that lifts the target of a removal above the crowd comes from the remover's
    /// own authority. So a member can be removed by any admin, an admin by who is above it, and
    /// nobody by who is beside it; a founder whom the genesis names by nobody.
    fn is_above(self, at: usize, remove: &Remove, givers: &BTreeSet<usize>) -> bool {
        let Some(it) = self.all.get(at) else { return false };
        let own = self.all.accounts_of(&it.log.device).any(|account| account == remove.account);
        let founders = self.all.genesis().map(|genesis| &genesis.founders);
        let first = remove.term == 0 && founders.is_some_and(|all| all.contains(&remove.account));
        let Some((authority, role)) = self.all.authority(at) else { return false };
        // Later terms too: one that began without knowledge of this removal would end with it. What
        // was given in knowledge of it neither stands against it nor is ended by it.
        let lifts = self.all.lifts_from((remove.account, remove.term));
        let mut lifts =
            lifts.filter(|lift| givers.contains(lift) && !self.all.is_before(at, *lift));
        let within = remove.then.is_none_or(|then| then <= role);
        !own && !first && within && lifts.all(|lift| self.all.descends(lift, authority))
    }

    /// Whether who is demoted goes on: nothing else ends the same term for good. Leaving always wins,
    /// even where nothing else of that device counts any more.
    fn goes_on(self, remove: &Remove, enders: &BTreeSet<usize>) -> bool {
        let seat = (remove.account, remove.term);
        let included = |at: &usize| self.only.is_none_or(|only| only.contains(*at));
        let mut all = self.all.enders_of(seat).filter(included);
        remove.then.is_some()
            && !all.any(|end| self.all.is_leaving(end))
            && self.ends(seat, enders).all(|end| self.all.gives(end).is_some())
    }

    /// Whether a term had begun, as far as who ends it knew.
    fn has_begun(self, (account, term): Seat, by: usize, model: &Model) -> bool {
        let Some(before) = term.checked_sub(1) else { return true };
        self.ends((account, before), &model.enders).any(|end| self.all.is_before(end, by))
    }

    /// Whether a term may begin by a grant: the one before ended in its knowledge, and so did whatever
    /// else a removal ended before.
    fn may_begin(self, seat: Seat, by: usize, model: &Model, against: &Model) -> bool {
        let removals = self.all.removals_before(seat);
        let mut removals = removals.filter(|end| against.enders.contains(end));
        self.has_begun(seat, by, model) && removals.all(|end| self.all.is_before(end, by))
    }

    /// Finds who is here, and what counts.
    fn seat(self, out: &mut Reduction) {
        for at in out.givers.clone() {
            self.take_given(at, out);
        }
        let mut ends = Ends::new();
        for (at, it) in self.statements() {
            let revokes = matches!(it.control, Some(Control::Revoke(_)));
            if revokes && self.stands(at, it, &out.enders, &mut ends) {
                self.revoke(at, it, out);
            }
        }
        let all: Vec<usize> = self.statements().map(|(at, _)| at).collect();
        let _ = self.count_all(all, out);
    }

    /// Counts statements, and again those that what is found so lets count. Each seat is raised a few
    /// times at most and each invite is found once, so this ends, and soon. Returns what was counted, in
    /// the order in which it was.
    fn count_all(self, mut open: Vec<usize>, out: &mut Reduction) -> Vec<usize> {
        let (mut counted, mut ends) = (Vec::new(), Ends::new());
        while !open.is_empty() {
            let mut found = Found::default();
            for at in open {
                if let Some(it) = self.all.get(at)
                    && self.only.is_none_or(|only| only.contains(at))
                    && self.stands(at, it, &out.enders, &mut ends)
                {
                    self.count(at, it, out, &mut found);
                    counted.push(at);
                }
            }
            let stated = found.seats.iter().flat_map(|seat| self.all.stated_in(*seat));
            let admitted = found.keys.iter().flat_map(|key| self.all.admissions_by(key));
            let again: BTreeSet<usize> = stated.chain(admitted).collect();
            open = again.into_iter().collect();
        }
        counted
    }

    /// Adds one statement to what was reduced before, if it can only add. Returns what may count now;
    /// none where it could change what earlier ones say, and all are to be reduced again.
    pub(super) fn add(self, at: usize, out: &mut Reduction) -> Option<Vec<usize>> {
        match &self.all.get(at)?.control {
            Some(Control::Admit(_)) if self.all.certifies_late(at) => None,
            // It may have been revoked before it came, or another of its key may have admitted.
            Some(Control::Invite(invite)) if self.all.is_used(&invite.key) => None,
            Some(
                Control::Profile(_)
                | Control::Set(_)
                | Control::Invite(_)
                | Control::Admit(_)
                | Control::Epoch(_)
                | Control::Merge,
            )
            | None => Some(self.count_all(vec![at], out)),
            // Anyone may say that it removes the founder, as often as it likes: that costs nobody more
            // than any other statement.
            Some(
                Control::Grant(_) | Control::Remove(_) | Control::Revoke(_) | Control::Upgrade(_),
            ) if self.all.is_idle(at) => Some(self.count_all(vec![at], out)),
            Some(Control::Fork(fork)) if self.all.is_idle_fork(at, fork) => {
                Some(self.count_all(vec![at], out))
            }
            _ => None,
        }
    }

    fn take_given(self, at: usize, out: &mut Reduction) {
        let Some((account, term, role)) = self.all.gives(at) else { return };
        // Of demotions at one time the lowest counts.
        let demotions = term.checked_sub(1).into_iter().flat_map(|before| {
            let ends = self.ends((account, before), &out.enders);
            ends.filter_map(|end| self.all.gives(end)).collect::<Vec<_>>()
        });
        let role = match self.all.get(at).map(|it| &it.control) {
            Some(Some(Control::Remove(_))) => {
                demotions.map(|(_, _, role)| role).fold(role, Role::min)
            }
            _ => role,
        };
        out.given.insert((account, term));
        let _ = raise(out, (account, term), role);
    }

    fn count(self, at: usize, it: &Statement, out: &mut Reduction, found: &mut Found) {
        if let Some(Control::Genesis(body)) = &it.control {
            for founder in &body.genesis.founders {
                found.seats.extend(raise(out, (*founder, 0), Role::Founder));
            }
        }
        let Some(role) = out.role_of(self.all, &it.log) else { return };
        out.counts.insert(at);
        match &it.control {
            Some(Control::Invite(_)) if role >= Role::Member && self.is_group() => {
                if let Entry::Vacant(place) = out.invites.entry(at) {
                    place.insert(BTreeSet::new());
                    found.keys.extend(invite_key(it));
                }
            }
            Some(Control::Admit(admit)) => {
                let seat = (admit.claim.cert.claim.account, admit.term);
                for invite in self.all.invites_of(&admit.claim.invite) {
                    if self.admits(seat, invite, at, out) {
                        found.seats.extend(self.let_in(seat, invite, out));
                    }
                }
            }
            _ => {}
        }
    }

    /// Lets someone in by an invite; returns the seat if it is raised.
    fn let_in(self, seat: Seat, invite: usize, out: &mut Reduction) -> Option<Seat> {
        let Control::Invite(body) = self.all.get(invite)?.control.as_ref()? else { return None };
        out.invites.entry(invite).or_default().insert(seat.0);
        // After a removal, what someone with authority gave is not raised by an invite.
        let given = seat.1 > 0 && out.given.contains(&seat);
        if given { None } else { raise(out, seat, body.role) }
    }

    /// Whether an invite still admitted when an admission was made.
    fn admits(self, seat: Seat, invite: usize, admission: usize, out: &Reduction) -> bool {
        let Some(it) = self.all.get(invite) else { return false };
        if !out.invites.contains_key(&invite) {
            return false;
        }
        let removals = self.all.seats_of(&it.log);
        let removals = removals.flat_map(|seat| self.ends(seat, &out.enders).collect::<Vec<_>>());
        let removals = removals.filter(|end| !self.all.is_leaving(*end));
        let revoked = out.revoked.get(&invite).into_iter().flatten().copied();
        removals.chain(revoked).all(|end| self.all.is_before(admission, end))
            && self.may_come(seat, invite, admission, out)
    }

    /// Whether someone may come, or come back, by an invite: after removals only by one that was made
    /// in knowledge of them, or else the ticket that it holds already would let it in again.
    fn may_come(
        self,
        (account, term): Seat,
        invite: usize,
        admission: usize,
        out: &Reduction,
    ) -> bool {
        let Some(before) = term.checked_sub(1) else { return true };
        let removals = self.all.removals_before((account, term));
        let mut removals = removals.filter(|end| out.enders.contains(end));
        let mut ended = self.ends((account, before), &out.enders);
        ended.any(|end| self.all.is_before(end, admission))
            && removals.all(|end| self.all.is_before(end, invite))
    }

    fn revoke(self, at: usize, it: &Statement, out: &mut Reduction) {
        let Some(Control::Revoke(revoke)) = &it.control else { return };
        let authority = match self.all.authority(at) {
            Some((Authority::Founder(_), _)) => true,
            Some((Authority::By(by), _)) => out.givers.contains(&by),
            None => false,
        };
        for invite in self.all.invites_of(&revoke.invite) {
            let own = self.all.get(invite).is_some_and(|invite| {
                self.all
                    .seats_of(&invite.log)
                    .any(|seat| self.all.seats_of(&it.log).any(|own| own == seat))
            });
            let ended = out.revoked.get(&invite).into_iter().flatten();
            // Said again later, in knowledge of more, it leaves out nobody else.
            let again = ended.filter_map(|end| self.all.get(*end)).any(|end| end.log == it.log);
            if (authority || own) && !again {
                out.revoked.entry(invite).or_default().insert(at);
            }
        }
    }
}

fn invite_key(it: &Statement) -> Option<InviteKey> {
    match &it.control {
        Some(Control::Invite(invite)) => Some(invite.key),
        _ => None,
    }
}

/// Raises a seat to a role; returns it if that is more than it had.
fn raise(out: &mut Reduction, seat: Seat, role: Role) -> Option<Seat> {
    let had = out.seats.get(&seat).copied();
    if had >= Some(role) {
        return None;
    }
    out.seats.insert(seat, role);
    Some(seat)
}

/// Returns where a log ends, `u64::MAX` where it does not, given what ends each seat.
pub(super) fn end_of(all: &Statements, log: &LogId, ends: impl Fn(Seat) -> Vec<usize>) -> u64 {
    let cuts = all.seats_of(log).flat_map(ends).map(|end| all.cut_of(end, log));
    let fork = all.fork_of(log).unwrap_or(u64::MAX);
    cuts.min().unwrap_or(u64::MAX).min(fork)
}

impl Reduction {
    /// Returns the ends in force of a seat.
    pub(super) fn ends_of(&self, all: &Statements, seat: Seat) -> Vec<usize> {
        all.enders_of(seat).filter(|end| self.enders.contains(end)).collect()
    }

    /// Returns the role of a log's device in the log's term.
    pub(super) fn role_of(&self, all: &Statements, log: &LogId) -> Option<Role> {
        all.seats_of(log).filter_map(|seat| self.seats.get(&seat).copied()).max()
    }

    /// Returns where a log ends: nothing of a chat log counts whose device was never rightly here.
    pub(super) fn end_of(&self, all: &Statements, log: &LogId) -> u64 {
        let writes = || self.role_of(all, log).is_some_and(|role| role >= Role::Member);
        if log.lane == Lane::Chat && !writes() {
            return 0;
        }
        end_of(all, log, |seat| self.ends_of(all, seat))
    }

    /// Whether a statement is made with authority that was rightly given, and counts.
    pub(super) fn is_authorized(&self, all: &Statements, at: usize) -> bool {
        self.counts.contains(&at)
            && match all.authority(at) {
                Some((Authority::Founder(_), _)) => true,
                Some((Authority::By(by), _)) => self.givers.contains(&by),
                None => false,
            }
    }
}

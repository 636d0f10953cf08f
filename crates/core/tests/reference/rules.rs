//! What takes effect: `docs/rooms.md`, rule by rule.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::id::{AccountId, EventId};
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{Control, Kind, Role};

use super::facts::{Facts, Seat, Source};

type Ids = BTreeSet<EventId>;

/// What is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) ends: Ids,
    pub(crate) gives: Ids,
    /// The ends that nobody can settle.
    pub(crate) undecided: Ids,
    pub(crate) seats: BTreeMap<Seat, Role>,
    pub(crate) counts: Ids,
    /// The invites in force at their making, and whom each admitted.
    pub(crate) invites: BTreeMap<EventId, BTreeSet<AccountId>>,
    /// The revocations in force, and the invites that each ends.
    pub(crate) revoked: BTreeSet<(EventId, EventId)>,
}

/// The ends and gifts that hold, under some assumption about those that stand against them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    ends: Ids,
    gives: Ids,
}

/// The rules, for some of the statements.
pub(crate) struct Rules<'a> {
    facts: &'a Facts,
    among: Ids,
}

/// Returns what is in force if nothing was said but `among`.
pub(crate) fn reduce(facts: &Facts, among: Ids) -> Outcome {
    let rules = Rules { facts, among };
    // What follows for sure, and what is possible given that, until neither changes.
    let mut sure = Model::default();
    let possible = loop {
        let possible = rules.follows(&sure, None);
        let next = rules.follows(&possible, None);
        if next == sure {
            break possible;
        }
        sure = next;
    };
    assert!(sure.ends.is_subset(&possible.ends) && sure.gives.is_subset(&possible.gives));
    let gives = rules.follows(&sure, Some(&sure.ends)).gives;
    let undecided = possible.ends.difference(&sure.ends).copied().collect();
    let mut out = Outcome { ends: sure.ends, gives, undecided, ..Outcome::default() };
    rules.seat(&mut out);
    out
}

impl Rules<'_> {
    fn is_group(&self) -> bool {
        self.facts.genesis.as_ref().is_some_and(|genesis| genesis.kind == Kind::Group)
    }

    /// All that follows, if `against` is what stands against anything; of ends only `allowed`.
    fn follows(&self, against: &Model, allowed: Option<&Ids>) -> Model {
        let mut model = Model::default();
        loop {
            let before = model.clone();
            for id in &self.among {
                let allowed = allowed.is_none_or(|ends| ends.contains(id));
                match self.facts.control(id) {
                    Some(Control::Leave(_)) if allowed && self.leaves(id, &model, against) => {
                        model.ends.insert(*id);
                    }
                    Some(Control::Remove(_)) if allowed && self.removes(id, &model, against) => {
                        model.ends.insert(*id);
                        if self.goes_on(id, against) {
                            model.gives.insert(*id);
                        }
                    }
                    Some(Control::Grant(_)) if self.grants(id, &model, against) => {
                        model.gives.insert(*id);
                    }
                    _ => {}
                }
            }
            if model == before {
                return model;
            }
        }
    }

    fn leaves(&self, id: &EventId, model: &Model, against: &Model) -> bool {
        let seats = self.facts.ends(id);
        seats.into_iter().any(|seat| self.had_begun(seat, id, model))
            && self.stands(id, &against.ends)
    }

    fn removes(&self, id: &EventId, model: &Model, against: &Model) -> bool {
        let Some(Control::Remove(remove)) = self.facts.control(id) else { return false };
        let Some((source, role)) = self.facts.authority(id) else { return false };
        let seat = (remove.account, remove.term);
        let itself = self.facts.accounts(&self.facts.it(id).log.device).contains(&remove.account);
        let founders = &self.facts.genesis.as_ref().expect("somebody wrote").founders;
        let untouchable = remove.term == 0 && founders.contains(&remove.account);
        let lifts = against.gives.iter().filter(|lift| {
            let Some(((account, term), given)) = self.facts.gives(lift) else { return false };
            account == remove.account && term >= remove.term && given >= Role::Admin
        });
        let mut unaware = lifts.filter(|lift| !self.facts.knew(lift, id));
        self.is_group()
            && is_backed(source, &model.gives)
            && self.stands(id, &against.ends)
            && self.had_begun(seat, id, model)
            && !itself
            && !untouchable
            && remove.then.is_none_or(|then| then <= role)
            && unaware.all(|lift| self.facts.is_below(lift, source))
    }

    fn grants(&self, id: &EventId, model: &Model, against: &Model) -> bool {
        let Some(Control::Grant(grant)) = self.facts.control(id) else { return false };
        let Some((source, role)) = self.facts.authority(id) else { return false };
        self.is_group()
            && is_backed(source, &model.gives)
            && grant.role <= role
            && self.stands(id, &against.ends)
            && self.had_begun((grant.account, grant.term), id, model)
            && self
                .removals_before((grant.account, grant.term), &against.ends)
                .into_iter()
                .all(|removal| self.facts.knew(id, &removal))
    }

    /// Whether a term had begun, or could, in the knowledge of a statement's author: it is the first,
    /// or the one before it ended.
    fn had_begun(&self, (account, term): Seat, by: &EventId, model: &Model) -> bool {
        let ended = |seat: Seat| {
            let mut ends = model.ends.iter().filter(|end| self.facts.ends(end).contains(&seat));
            ends.any(|end| self.facts.knew(by, end))
        };
        term == 0 || ended((account, term - 1))
    }

    /// The removals and demotions of an account's earlier terms, among `ends`.
    fn removals_before(&self, (account, term): Seat, ends: &Ids) -> Ids {
        let earlier = |end: &&EventId| {
            self.facts.ends(end).into_iter().any(|(whom, of)| whom == account && of < term)
        };
        let removals = ends.iter().filter(|end| !self.facts.is_leaving(end));
        removals.filter(earlier).copied().collect()
    }

    /// Whether the account that a demotion names goes on: nothing else ends the term for good.
    fn goes_on(&self, id: &EventId, against: &Model) -> bool {
        let Some(Control::Remove(remove)) = self.facts.control(id) else { return false };
        let seat = (remove.account, remove.term);
        let of_seat = |end: &&EventId| self.facts.ends(end).contains(&seat);
        let left = self.among.iter().filter(of_seat).any(|end| self.facts.is_leaving(end));
        let mut others = against.ends.iter().filter(of_seat);
        remove.then.is_some() && !left && others.all(|end| self.facts.gives(end).is_some())
    }

    /// Whether a statement lies before the end of its own log.
    fn stands(&self, id: &EventId, ends: &Ids) -> bool {
        let it = self.facts.it(id);
        let leaving = self.facts.is_leaving(id);
        let measured: Ids =
            ends.iter().filter(|end| !(leaving && self.facts.is_leaving(end))).copied().collect();
        it.seq < self.end_of(&it.log, &measured)
    }

    /// How many events of a log count.
    pub(crate) fn end_of(&self, log: &LogId, ends: &Ids) -> u64 {
        let seats = self.facts.seats(log);
        let ends = ends.iter().filter(|end| !self.facts.ends(end).is_disjoint(&seats));
        let fork = self.facts.forks.get(log).copied();
        let lowest = ends.map(|end| self.facts.stretch(end, log)).chain(fork).min();
        lowest.unwrap_or(u64::MAX)
    }

    /// Who is here, and what counts: whatever lets more in, until nobody comes.
    fn seat(&self, out: &mut Outcome) {
        let standing: Vec<EventId> =
            self.among.iter().filter(|id| self.stands(id, &out.ends)).copied().collect();
        for id in &standing {
            out.revoked.extend(self.revokes(id, out));
        }
        loop {
            let before = out.clone();
            for give in out.gives.clone() {
                let Some((seat, role)) = self.facts.gives(&give) else { continue };
                raise(out, seat, self.demoted_to(&give, &out.ends).unwrap_or(role));
            }
            for id in &standing {
                self.count(id, out);
            }
            if before == *out {
                return;
            }
        }
    }

    /// Of demotions of the same term the lowest role counts.
    fn demoted_to(&self, give: &EventId, ends: &Ids) -> Option<Role> {
        let seats = self.facts.ends(give);
        let same = ends.iter().filter(|end| !self.facts.ends(end).is_disjoint(&seats));
        same.filter_map(|end| self.facts.gives(end)).map(|(_, role)| role).min()
    }

    fn count(&self, id: &EventId, out: &mut Outcome) {
        if let Some(Control::Genesis(body)) = self.facts.control(id) {
            for founder in &body.genesis.founders {
                raise(out, (*founder, 0), Role::Founder);
            }
        }
        let Some(role) = self.role_of(&self.facts.it(id).log, out) else { return };
        out.counts.insert(*id);
        match self.facts.control(id) {
            Some(Control::Invite(_)) if role >= Role::Member && self.is_group() => {
                out.invites.entry(*id).or_default();
            }
            Some(Control::Admit(admit)) => {
                let seat = (admit.claim.cert.claim.account, admit.term);
                let by_authority = out.gives.iter().filter_map(|give| self.facts.gives(give));
                let given = by_authority.into_iter().any(|(to, _)| to == seat && seat.1 > 0);
                for invite in out.invites.keys().copied().collect::<Vec<_>>() {
                    let Some(Control::Invite(body)) = self.facts.control(&invite) else { continue };
                    if body.key == admit.claim.invite && self.admits(&invite, id, seat, out) {
                        out.invites.entry(invite).or_default().insert(seat.0);
                        if !given {
                            raise(out, seat, body.role);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// The role of a log's device in the log's term.
    pub(crate) fn role_of(&self, log: &LogId, out: &Outcome) -> Option<Role> {
        self.facts.seats(log).iter().filter_map(|seat| out.seats.get(seat).copied()).max()
    }

    /// Whether an invite admits someone by an admission.
    fn admits(&self, invite: &EventId, admission: &EventId, seat: Seat, out: &Outcome) -> bool {
        let after = |end: &EventId| self.facts.knew(end, admission);
        let model = Model { ends: out.ends.clone(), gives: out.gives.clone() };
        let removals = self.removals_before(seat, &out.ends);
        self.ends_of_invite(invite, out).iter().all(after)
            && self.had_begun(seat, admission, &model)
            && removals.iter().all(|removal| self.facts.knew(invite, removal))
    }

    /// What ends an invite: the removal or demotion of its inviter, and revocations.
    pub(crate) fn ends_of_invite(&self, invite: &EventId, out: &Outcome) -> Ids {
        let inviter = self.facts.seats(&self.facts.it(invite).log);
        let removals = out.ends.iter().filter(|end| {
            !self.facts.is_leaving(end) && !self.facts.ends(end).is_disjoint(&inviter)
        });
        let revoked = out.revoked.iter().filter(|(of, _)| of == invite).map(|(_, by)| by);
        removals.chain(revoked).copied().collect()
    }

    /// The invites that a revocation ends.
    fn revokes(&self, id: &EventId, out: &Outcome) -> BTreeSet<(EventId, EventId)> {
        let Some(Control::Revoke(revoke)) = self.facts.control(id) else { return BTreeSet::new() };
        let authority = self.facts.authority(id);
        let backed = authority.is_some_and(|(source, _)| is_backed(source, &out.gives));
        let own = self.facts.seats(&self.facts.it(id).log);
        let of_key = self.among.iter().filter(|other| {
            matches!(self.facts.control(other), Some(Control::Invite(invite))
                if invite.key == revoke.invite)
        });
        let ended = of_key.filter(|invite| {
            backed || !self.facts.seats(&self.facts.it(invite).log).is_disjoint(&own)
        });
        ended.map(|invite| (*invite, *id)).collect()
    }

    /// Where a log ends, for who looks at it.
    pub(crate) fn shown_end(&self, log: &LogId, out: &Outcome) -> u64 {
        let writes = self.role_of(log, out).is_some_and(|role| role >= Role::Member);
        if log.lane == Lane::Chat && !writes { 0 } else { self.end_of(log, &out.ends) }
    }
}

impl<'a> Rules<'a> {
    pub(crate) fn all(facts: &'a Facts) -> Self {
        Self { facts, among: facts.all.keys().copied().collect() }
    }
}

/// Whether what someone acts by is in force.
pub(crate) fn is_backed(source: Source, gives: &Ids) -> bool {
    match source {
        Source::Founder(_) => true,
        Source::Given(by) => gives.contains(&by),
    }
}

fn raise(out: &mut Outcome, seat: Seat, role: Role) {
    let kept = out.seats.entry(seat).or_insert(role);
    *kept = role.max(*kept);
}

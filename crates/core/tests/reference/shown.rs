//! What a member sees, in the form that is compared: here by the reference, and from a replica.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::clock::Hlc;
use ayni_core::epoch::epoch_id;
use ayni_core::event::Event;
use ayni_core::id::{AccountId, EpochId, EventId, InviteKey, PeerId};
use ayni_core::keys::Bytes32;
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{Control, History, RULES, Role, Room, Setting};

use super::facts::{Facts, Said};
use super::rules::{Outcome, Rules, is_backed, reduce};

/// Everything that is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) invites: BTreeMap<InviteKey, Invited>,
    pub(crate) settings: Settings,
    /// Each epoch that was ever stated, and whether it may be sealed with.
    pub(crate) permitted: BTreeMap<EpochId, bool>,
    /// The statements that take effect.
    pub(crate) counts: BTreeSet<EventId>,
    /// Where logs end, and whether anything of them may stand here.
    pub(crate) logs: BTreeMap<LogId, (Option<u64>, bool)>,
    /// Whether a message of each log at some time is hidden.
    pub(crate) hidden: BTreeMap<(LogId, Hlc), bool>,
}

/// An account that is or was here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) founder: bool,
    pub(crate) terms: BTreeMap<u32, Role>,
    pub(crate) current: Option<u32>,
    pub(crate) was_removed: bool,
    pub(crate) devices: BTreeSet<PeerId>,
    pub(crate) name: Option<String>,
}

/// An invite: whose, by which statement, whether it is open, and whom it let in.
pub(crate) type Invited = (AccountId, EventId, bool, BTreeSet<AccountId>);

/// How the room is set up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) topic: Option<String>,
    pub(crate) picture: Option<Bytes32>,
    pub(crate) roles: [Role; 2],
    pub(crate) history: Option<History>,
    pub(crate) rules: u32,
}

/// The devices, terms and times that are looked at.
#[derive(Debug, Clone)]
pub(crate) struct Looks {
    devices: BTreeSet<PeerId>,
    terms: BTreeSet<u32>,
    times: BTreeSet<Hlc>,
    epochs: BTreeSet<EpochId>,
    pub(crate) events: BTreeSet<EventId>,
}

impl Looks {
    pub(crate) fn new(room: &Room, events: &[Event]) -> Self {
        let mut looks = Self {
            devices: events.iter().map(|event| event.header().device).collect(),
            terms: events.iter().map(|event| event.header().term).chain([0, 1]).collect(),
            times: BTreeSet::from([Hlc(0), Hlc(u64::MAX)]),
            epochs: BTreeSet::new(),
            events: events.iter().map(Event::id).collect(),
        };
        for event in events {
            match event.body().and_then(Control::from_bytes) {
                Some(Control::Set(set)) if matches!(set.setting, Setting::WhoPosts(_)) => {
                    let at = event.header().time;
                    looks.times.extend([at, Hlc(at.0.saturating_sub(1))]);
                }
                Some(Control::Epoch(epoch)) => {
                    looks.epochs.insert(epoch_id(room.id(), &epoch.commitment));
                }
                _ => {}
            }
        }
        looks
    }

    fn logs(&self) -> impl Iterator<Item = LogId> + '_ {
        let lanes = [Lane::Control, Lane::Chat].into_iter();
        lanes.flat_map(move |lane| {
            let devices = self.devices.iter();
            devices.flat_map(move |device| {
                self.terms.iter().map(move |term| LogId { lane, device: *device, term: *term })
            })
        })
    }
}

/// Asks a replica.
pub(crate) fn by_replica(room: &Room, looks: &Looks) -> Shown {
    let members = room.members();
    let account = |(id, info): (&AccountId, &ayni_core::room::MemberInfo)| {
        let account = Account {
            founder: info.founder,
            terms: info.terms.clone(),
            current: info.current_term(),
            was_removed: info.was_removed(),
            devices: info.devices.keys().copied().collect(),
            name: info.name().map(str::to_owned),
        };
        (*id, account)
    };
    let set = members.settings();
    Shown {
        accounts: members.accounts().map(account).collect(),
        invites: members
            .invites()
            .map(|(key, it)| (*key, (it.inviter, it.event, it.open, it.admitted.clone())))
            .collect(),
        settings: Settings {
            name: set.name().map(str::to_owned),
            topic: set.topic().map(str::to_owned),
            picture: set.picture(),
            roles: [set.who_invites(), set.who_pins()],
            history: Some(members.history()),
            rules: members.rules(),
        },
        permitted: looks.epochs.iter().map(|id| (*id, members.permits(id))).collect(),
        counts: looks.events.iter().filter(|id| members.counts(id)).copied().collect(),
        logs: looks
            .logs()
            .map(|log| {
                let stated = members.may_write(&LogId { lane: Lane::Control, ..log });
                (log, (members.end_of(&log), stated))
            })
            .collect(),
        hidden: looks
            .logs()
            .flat_map(|log| looks.times.iter().map(move |time| (log, *time)))
            .map(|(log, time)| ((log, time), members.hides(&log, time)))
            .collect(),
    }
}

/// Asks the reference.
pub(crate) fn by_reference(facts: &Facts, looks: &Looks) -> Shown {
    let rules = Rules::all(facts);
    let out = reduce(facts, facts.all.keys().copied().collect());
    let view = View { facts, out: &out };
    let mut shown = Shown {
        accounts: view.accounts(),
        invites: view.invites(&rules),
        settings: view.settings(),
        counts: out.counts.clone(),
        ..Shown::default()
    };
    for id in &looks.epochs {
        let permitted = view.permits(*id, shown.settings.history);
        shown.permitted.insert(*id, permitted);
    }
    for log in looks.logs() {
        let end = Some(rules.shown_end(&log, &out)).filter(|end| *end < u64::MAX);
        shown.logs.insert(log, (end, facts.may_write(&log)));
        for time in &looks.times {
            let role = rules.role_of(&log, &out);
            let hidden = view.least_to_post(*time).is_some_and(|least| {
                log.lane == Lane::Chat && role.is_none_or(|role| role < least)
            });
            shown.hidden.insert((log, *time), hidden);
        }
    }
    shown
}

struct View<'a> {
    facts: &'a Facts,
    out: &'a Outcome,
}

impl View<'_> {
    fn members(&self) -> BTreeSet<AccountId> {
        let accounts = self.accounts();
        accounts.into_iter().filter(|(_, it)| it.current.is_some()).map(|(id, _)| id).collect()
    }

    fn accounts(&self) -> BTreeMap<AccountId, Account> {
        let mut accounts: BTreeMap<AccountId, Account> = BTreeMap::new();
        for ((account, term), role) in &self.out.seats {
            accounts.entry(*account).or_default().terms.insert(*term, *role);
        }
        for (id, account) in &mut accounts {
            let founders = self.facts.genesis.as_ref().map(|genesis| &genesis.founders);
            account.founder = founders.is_some_and(|founders| founders.contains(id));
            let last = *account.terms.keys().max().expect("it has one");
            let ends =
                self.out.ends.iter().filter(|end| self.facts.ends(end).contains(&(*id, last)));
            let ends: Vec<_> = ends.collect();
            account.current = ends.is_empty().then_some(last);
            account.was_removed = ends.iter().any(|end| !self.facts.is_leaving(end));
            let devices = self.facts.all.values().map(|it| it.log.device);
            let certified = self.facts.all.values().flat_map(Said::claims);
            let certified = certified.filter(|claim| claim.account == *id);
            account.devices = certified.map(|claim| claim.device).collect();
            let own: BTreeSet<PeerId> =
                devices.filter(|device| self.facts.accounts(device).contains(id)).collect();
            account.name = self.last(|by, control| match control {
                Control::Profile(name) => {
                    own.contains(&self.facts.it(by).log.device).then(|| name.clone())
                }
                _ => None,
            });
        }
        accounts
    }

    /// Of those statements that count and say something of a kind the last: by the longest chain that
    /// leads there, then by time, then by id.
    fn last<T>(&self, says: impl Fn(&EventId, &Control) -> Option<T>) -> Option<T> {
        let counting = self.out.counts.iter();
        let saying = counting.filter_map(|id| Some((id, says(id, self.facts.control(id)?)?)));
        let last =
            saying.max_by_key(|(id, _)| (self.facts.generation(id), self.facts.it(id).time, **id));
        last.map(|(_, what)| what)
    }

    /// Whether who says something has the authority that it names.
    fn is_backed(&self, id: &EventId) -> bool {
        self.facts.authority(id).is_some_and(|(source, _)| is_backed(source, &self.out.gives))
    }

    fn last_set<T>(&self, says: impl Fn(&Setting) -> Option<T>) -> Option<T> {
        self.last(|id, control| match control {
            Control::Set(set) if self.is_backed(id) => says(&set.setting),
            _ => None,
        })
    }

    fn settings(&self) -> Settings {
        let genesis = self.facts.genesis.as_ref();
        let role = |role: Option<Role>| role.unwrap_or(Role::Member);
        let upgrades = self.out.counts.iter().filter_map(|id| match self.facts.control(id)? {
            Control::Upgrade(upgrade) => {
                let founds = self.facts.authority(id).is_some_and(|(_, it)| it == Role::Founder);
                (founds && self.is_backed(id)).then_some(upgrade.rules)
            }
            _ => None,
        });
        let first = genesis.map_or(RULES, |genesis| genesis.rules);
        Settings {
            name: self.last_set(|it| match it {
                Setting::Name(name) => Some(name.clone()),
                _ => None,
            }),
            topic: self.last_set(|it| match it {
                Setting::Topic(topic) => Some(topic.clone()),
                _ => None,
            }),
            picture: self
                .last_set(|it| match it {
                    Setting::Picture(hash) => Some(*hash),
                    _ => None,
                })
                .flatten(),
            roles: [
                role(self.last_set(|it| match it {
                    Setting::WhoInvites(role) => Some(*role),
                    _ => None,
                })),
                role(self.last_set(|it| match it {
                    Setting::WhoPins(role) => Some(*role),
                    _ => None,
                })),
            ],
            history: self
                .last_set(|it| match it {
                    Setting::History(history) => Some(*history),
                    _ => None,
                })
                .or(genesis.map(|genesis| genesis.policies.history)),
            rules: upgrades.fold(first, u32::max),
        }
    }

    /// The least role whose messages of a time are shown, if any setting says.
    fn least_to_post(&self, time: Hlc) -> Option<Role> {
        let set = self.out.counts.iter().filter_map(|id| match self.facts.control(id)? {
            Control::Set(set) if self.is_backed(id) => match &set.setting {
                Setting::WhoPosts(role) => Some((self.facts.it(id).time, *id, *role)),
                _ => None,
            },
            _ => None,
        });
        set.filter(|(at, ..)| *at <= time).max().map(|(_, _, role)| role)
    }

    fn invites(&self, rules: &Rules<'_>) -> BTreeMap<InviteKey, Invited> {
        let mut invites: BTreeMap<InviteKey, Invited> = BTreeMap::new();
        for (id, admitted) in &self.out.invites {
            let Some(Control::Invite(invite)) = self.facts.control(id) else { continue };
            let open = rules.ends_of_invite(id, self.out).is_empty();
            let accounts = self.facts.accounts(&self.facts.it(id).log.device);
            let inviter = *accounts.first().expect("someone vouched for it");
            let here: Invited = (inviter, *id, open, admitted.clone());
            // Of several with one key an open one is shown, then the one of the lowest id.
            let shown = invites.entry(invite.key).or_insert_with(|| here.clone());
            if (!here.2, here.1) < (!shown.2, shown.1) {
                *shown = here;
            }
        }
        invites
    }

    /// Whether an epoch may be sealed with: nobody could have its secret who is out now.
    fn permits(&self, epoch: EpochId, history: Option<History>) -> bool {
        let minted: Vec<EventId> = self
            .out
            .counts
            .iter()
            .filter(|id| {
                matches!(self.facts.control(id), Some(Control::Epoch(body))
                    if epoch_id(self.room(), &body.commitment) == epoch)
            })
            .copied()
            .collect();
        let members = self.members();
        !minted.is_empty() && minted.iter().all(|id| self.is_safe(id, &minted, &members, history))
    }

    fn room(&self) -> ayni_core::id::RoomId {
        self.facts.genesis.as_ref().expect("somebody wrote").id()
    }

    /// One minter's part: what it knew and whom it counted.
    fn is_safe(
        &self,
        id: &EventId,
        all: &[EventId],
        members: &BTreeSet<AccountId>,
        history: Option<History>,
    ) -> bool {
        let known = self.known(id);
        let out = reduce(self.facts, known.clone());
        let then = View { facts: self.facts, out: &out };
        let counted = then.members();
        let rules = Rules::all(self.facts);
        // Ends that were known to who had the epoch, and are still in force.
        let both: BTreeSet<EventId> = out.ends.intersection(&self.out.ends).copied().collect();
        let nobody_else = self.facts.all.values().all(|it| {
            let void = it.seq >= rules.end_of(&it.log, &both);
            void || known.contains(&it.id) || it.lets_in().is_subset(members)
        });
        let met = match history {
            Some(History::FromJoining) => {
                // Several minters: someone whom one of them counted may have it from that one.
                let all_counted: BTreeSet<AccountId> = all
                    .iter()
                    .flat_map(|id| {
                        let out = reduce(self.facts, self.known(id));
                        View { facts: self.facts, out: &out }.members()
                    })
                    .collect();
                members.is_subset(&all_counted)
            }
            _ => true,
        };
        let knew_frozen = self.facts.forks.keys().all(|log| {
            let mut accounts = self.facts.accounts(&log.device).into_iter();
            known.iter().any(|by| self.proves(by, log)) || !accounts.any(|it| members.contains(&it))
        });
        nobody_else && knew_frozen && counted.is_subset(members) && met
    }

    fn proves(&self, id: &EventId, log: &LogId) -> bool {
        let Some(Control::Fork(fork)) = self.facts.control(id) else { return false };
        fork.proves(self.room()).is_some_and(|(forked, _)| forked == *log)
    }

    fn known(&self, id: &EventId) -> BTreeSet<EventId> {
        self.facts.past(id).iter().chain([id]).copied().collect()
    }
}

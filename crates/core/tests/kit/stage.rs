//! Four people in one room, two of them admins beside each other.

use ayni_core::event::Event;
use ayni_core::id::{AccountId, EventId};
use ayni_core::keys::InviteSecret;
use ayni_core::room::{Accepted, AuthorError, Cites, Control, Cut, Remove, Role, Room};

use super::{Person, START, admission, deliver, invite, replica};

/// A founder (1), two admins (2, 3) beside each other, and a member (4), each with a replica.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) people: Vec<Person>,
    pub(crate) rooms: Vec<Room>,
    pub(crate) events: Vec<Event>,
    pub(crate) invite: InviteSecret,
}

pub(crate) const F: usize = 0;
pub(crate) const A: usize = 1;
pub(crate) const B: usize = 2;
pub(crate) const M: usize = 3;

impl Stage {
    pub(crate) fn new() -> Self {
        let people: Vec<Person> = (1..=5).map(Person::new).collect();
        let (mut room, mut events) = people[F].found();
        let (secret, control) = invite(50);
        events.push(people[F].state(&mut room, &control, START + 1));
        for person in &people[1..4] {
            let claim = person.claim(&room, &secret, people[F].id());
            events.push(people[F].state(&mut room, &admission(claim, 0), START + 2));
        }
        for admin in [A, B] {
            let account = people[admin].account();
            let granted = room.author_role(&people[F].key, account, Role::Admin, START + 3);
            events.extend(granted.expect("a founder may").events);
        }
        let rooms = people.iter().map(|person| replica(person, &room, &events)).collect();
        Self { people, rooms, events, invite: secret }
    }

    pub(crate) fn account(&self, who: usize) -> AccountId {
        self.people[who].account()
    }

    /// One does something that its replica permits; nobody else hears of it yet.
    pub(crate) fn does(
        &mut self,
        who: usize,
        act: impl FnOnce(&mut Room, &Person) -> Result<Accepted, AuthorError>,
    ) -> Result<Vec<Event>, AuthorError> {
        let events = act(&mut self.rooms[who], &self.people[who])?.events;
        self.events.extend(events.clone());
        Ok(events)
    }

    pub(crate) fn removes(&mut self, who: usize, whom: usize) -> Result<Vec<Event>, AuthorError> {
        let account = self.account(whom);
        self.does(who, |room, me| room.author_remove(&me.key, account, START + 10))
    }

    pub(crate) fn grants(
        &mut self,
        who: usize,
        whom: usize,
        role: Role,
    ) -> Result<Vec<Event>, AuthorError> {
        let account = self.account(whom);
        self.does(who, |room, me| room.author_role(&me.key, account, role, START + 10))
    }

    /// Everyone hears of everything; all agree. Returns the roles.
    pub(crate) fn settle(&mut self) -> Vec<Option<Role>> {
        for room in &mut self.rooms {
            assert_eq!(deliver(room, &self.events), vec![], "all is taken in");
        }
        let first = &self.rooms[F];
        for room in &self.rooms {
            assert_eq!(room.state_hash(), first.state_hash());
            assert_eq!(room.members(), first.members());
        }
        self.roles()
    }

    pub(crate) fn roles(&self) -> Vec<Option<Role>> {
        (0..4).map(|who| self.rooms[F].members().role(&self.account(who))).collect()
    }
}

pub(crate) const FOUNDER: Option<Role> = Some(Role::Founder);
pub(crate) const ADMIN: Option<Role> = Some(Role::Admin);
pub(crate) const MEMBER: Option<Role> = Some(Role::Member);
pub(crate) const READER: Option<Role> = Some(Role::Reader);

/// The grant that made someone an admin at the beginning.
pub(crate) fn cites(stage: &Stage, who: usize) -> Option<EventId> {
    let granted = |event: &&Event| {
        let control = event.body().and_then(Control::from_bytes);
        matches!(control, Some(Control::Grant(grant)) if grant.account == stage.account(who))
    };
    stage.events.iter().find(granted).map(Event::id)
}

/// Signs something that no honest replica would, in knowledge of all that the replica knows.
pub(crate) fn forges(stage: &mut Stage, who: usize, control: &Control) {
    let (person, room) = (stage.people[who].clone(), &mut stage.rooms[who]);
    let made = room.author_control(&person.key, control, START + 20).expect("a member");
    stage.events.extend(made.events);
}

pub(crate) fn ends(account: AccountId, term: u32, then: Option<Role>, cites: Cites) -> Control {
    Control::Remove(Remove { account, term, then, cut: Cut::default(), cites })
}

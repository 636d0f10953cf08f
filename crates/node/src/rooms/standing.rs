//! What someone is in a room, and who could do what this account may not.
//!
//! Purpose: a refusal that says whose turn it is. The sentences are made from what is known here, and
//! decide nothing: the replica has refused already.

use std::cmp::Reverse;

use ayni_core::clock::Hlc;
use ayni_core::id::AccountId;
use ayni_core::limits::MAX_TOPIC;
use ayni_core::room::{AuthorError, Kind, MemberInfo, Role, Setting};

use super::handle::RoomHandle;
use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::model::{Person, RoomSettings};
use crate::name;

/// Most people whom a refusal names: one that can be asked is enough.
const MAX_NAMED: usize = 3;

/// What this account tried.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// To say something.
    Say,
    /// To leave.
    Leave,
    /// To invite.
    Invite,
    /// To end an invitation.
    Revoke,
    /// To set the room up.
    Set,
    /// To give a role.
    Role(AccountId, Role),
    /// To remove someone.
    Remove(AccountId),
}

/// Returns what an account is in a room.
pub(crate) fn person(inner: &Inner, room: &RoomHandle, account: &AccountId) -> Result<Person> {
    let known = {
        let state = room.lock();
        let info = state.room.members().account(account);
        info.map(|info| (info.name().unwrap_or_default().to_owned(), info.role()))
    };
    let (name, role) = known.ok_or_else(|| {
        Error::NotFound(format!("{} was never a member of this room", account.short()))
    })?;
    let name = if name.is_empty() { inner.account_name(account) } else { name };
    Ok(Person { account: *account, name, role })
}

/// Returns how a room is set up.
pub(crate) fn settings(inner: &Inner, room: &RoomHandle) -> RoomSettings {
    let now = inner.now();
    let state = room.lock();
    let members = state.room.members();
    RoomSettings {
        who_invites: members.settings().who_invites(),
        who_posts: members.settings().who_posts(Hlc::from_millis(now)),
        who_pins: members.settings().who_pins(),
        history: members.history(),
    }
}

/// Checks a setting before it is stated.
///
/// # Errors
/// [`Error::Invalid`] for what would have no effect, or would deceive.
pub(crate) fn check(setting: Setting) -> Result<Setting> {
    match setting {
        Setting::Name(name) => Ok(Setting::Name(name::check(&name)?)),
        Setting::Topic(topic) => {
            let topic = topic.trim().to_owned();
            if topic.len() > MAX_TOPIC {
                return Err(Error::Invalid(format!("a topic has at most {MAX_TOPIC} bytes")));
            }
            if topic.chars().any(crate::deceives) {
                return Err(Error::Invalid(
                    "a topic is one line, without control or invisible characters".into(),
                ));
            }
            Ok(Setting::Topic(topic))
        }
        Setting::WhoInvites(Role::Reader)
        | Setting::WhoPosts(Role::Reader)
        | Setting::WhoPins(Role::Reader) => Err(Error::Invalid(
            "a reader reads only: this can be given to members, admins or founders".into(),
        )),
        other => Ok(other),
    }
}

/// Says of a refusal who could do it; other errors stay what they are.
pub(crate) fn explain(inner: &Inner, room: &RoomHandle, act: Act, error: Error) -> Error {
    let name = room.info(inner).name;
    match (&error, act) {
        (Error::Denied(_), _) => {}
        (Error::NotFound(_), Act::Remove(who)) => {
            let gone = person(inner, room, &who).ok().filter(|person| person.role.is_none());
            let told = gone.map(|person| format!("{} is no member of {name} now", person.name));
            return told.map_or(error, Error::NotFound);
        }
        _ => return error,
    }
    let mine = inner.keys.account.id();
    let refused = {
        let state = room.lock();
        let members = state.room.members();
        let own = members.account(&mine);
        if !members.knows_rules() {
            return error;
        }
        match own.and_then(MemberInfo::role) {
            None if own.is_some_and(MemberInfo::was_removed) => Refused::Removed,
            None if own.is_some() => Refused::Left,
            // Its device is frozen, or nothing is here yet.
            None => return error,
            // Something else than the role forbids it.
            Some(_) if error.to_string() != AuthorError::NotPermitted.to_string() => return error,
            Some(_) if members.genesis().is_some_and(|it| it.kind != Kind::Group) => Refused::Fixed,
            Some(role) => Refused::Role(role),
        }
    };
    let told = match refused {
        Refused::Removed => {
            format!("you were removed from {name}; a new invitation lets you in again")
        }
        Refused::Left => format!("you left {name}; an invitation lets you in again"),
        Refused::Fixed => {
            "who is in a conversation of two, or in a room of one's own, never changes: \
                           nobody is invited, removed or given another role"
                .to_owned()
        }
        Refused::Role(role) => Refusal { inner, room, name: &name, mine, role }.tell(act),
    };
    Error::Denied(told)
}

enum Refused {
    Removed,
    Left,
    Fixed,
    Role(Role),
}

/// A member's act that its role does not permit.
struct Refusal<'a> {
    inner: &'a Inner,
    room: &'a RoomHandle,
    name: &'a str,
    mine: AccountId,
    role: Role,
}

impl Refusal<'_> {
    fn tell(&self, act: Act) -> String {
        let Self { name, role, .. } = self;
        match act {
            // Nothing but not being there forbids it.
            Act::Leave => format!("{name} cannot be left"),
            Act::Say if *role == Role::Reader => format!(
                "you are a reader of {name}, and readers do not write{}",
                self.ask("to make you a member", Role::Admin, None)
            ),
            Act::Say => {
                let least = settings(self.inner, self.room).who_posts;
                format!("in {name} only {} write{}", those_from(least), self.whoever(least))
            }
            Act::Invite => {
                let least = settings(self.inner, self.room).who_invites.max(Role::Member);
                format!("in {name} only {} invite{}", those_from(least), self.whoever(least))
            }
            Act::Revoke => format!(
                "an invitation is revoked by who made it, an admin or a founder{}",
                self.whoever(Role::Admin)
            ),
            Act::Set => format!(
                "only admins and founders set {name} up{}",
                self.ask("to do it", Role::Admin, None)
            ),
            Act::Role(who, to) if who == self.mine && to <= *role => format!(
                "nobody lowers their own role; others can, or you leave {name}{}",
                self.ask("to do it", Role::Admin, None)
            ),
            Act::Role(who, to) => self.tell_of(who, Some(to)),
            Act::Remove(who) => self.tell_of(who, None),
        }
    }

    /// Tells of an act on someone else.
    fn tell_of(&self, who: AccountId, to: Option<Role>) -> String {
        let person = person(self.inner, self.room, &who);
        let them = person.as_ref().map_or_else(|_| who.short(), |person| person.name.clone());
        let has = person.ok().and_then(|person| person.role);
        let does = match to {
            None => "removes others from",
            Some(_) => "gives roles in",
        };
        if !self.role.has_authority() {
            let ask = self.ask("to do it", Role::Admin, Some(who));
            return format!("only an admin or a founder {does} {}{ask}", self.name);
        }
        if to.is_some_and(|to| to > self.role) {
            let ask = self.ask("to do it", Role::Founder, Some(who));
            return format!("only a founder makes a founder{ask}");
        }
        if self.is_first_founder(&who) {
            return format!("{them} founded {}: nobody removes or demotes a founder", self.name);
        }
        match has {
            Some(role) if role.has_authority() => {
                let ask = self.ask("to do it", Role::Founder, Some(who));
                format!(
                    "{them} is {} beside you: only who gave {them} that role, or someone above, can \
                     do this{ask}",
                    with_article(role)
                )
            }
            _ => format!("this has no effect in {} now", self.name),
        }
    }

    fn is_first_founder(&self, who: &AccountId) -> bool {
        let state = self.room.lock();
        state.room.members().account(who).is_some_and(|info| info.founder)
    }

    /// Names some of those who may, where they are fewer than everyone.
    fn whoever(&self, least: Role) -> String {
        if least < Role::Admin { String::new() } else { self.ask("to do it", least, None) }
    }

    /// Names some who have at least this role, founders first: `; ask Ana (founder) to do it`.
    fn ask(&self, what: &str, least: Role, but: Option<AccountId>) -> String {
        let mut who: Vec<(Role, AccountId)> = {
            let state = self.room.lock();
            let current = state.room.members().current();
            let entitled = current.filter_map(|(account, info)| Some((info.role()?, *account)));
            entitled.filter(|(role, _)| *role >= least).collect()
        };
        who.retain(|(_, account)| *account != self.mine && Some(*account) != but);
        who.sort_by_key(|(role, account)| (Reverse(*role), *account));
        let named: Vec<String> = who
            .into_iter()
            .take(MAX_NAMED)
            .filter_map(|(role, account)| {
                let person = person(self.inner, self.room, &account).ok()?;
                Some(format!("{} ({role})", person.name))
            })
            .collect();
        if named.is_empty() {
            return String::new();
        }
        format!("; ask {} {what}", named.join(" or "))
    }
}

fn those_from(least: Role) -> &'static str {
    match least {
        Role::Founder => "founders",
        Role::Admin => "admins and founders",
        Role::Member | Role::Reader => "members, not readers,",
    }
}

fn with_article(role: Role) -> String {
    if role == Role::Admin { format!("an {role}") } else { format!("a {role}") }
}

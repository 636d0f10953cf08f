//! What members may do: `member promote`, `member demote`, `member remove`.

use ayni::Role;
use ayni_web::api::Person;

use crate::args::InRoom;
use crate::ask;
use crate::exit::{Code, failure};
use crate::output::{clean, short};
use crate::session::{Need, Session};

/// The roles, lowest first. The last is only given by name: it cannot be taken back lightly.
const ROLES: [Role; 4] = [Role::Reader, Role::Member, Role::Admin, Role::Founder];

/// Which way a role changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// Gives someone a higher role, or one again.
pub(crate) async fn promote(
    session: &mut Session,
    member: &InRoom,
    to: Option<Role>,
) -> anyhow::Result<()> {
    change(session, member, Way::Up, to).await
}

/// Gives someone a lower role.
pub(crate) async fn demote(
    session: &mut Session,
    member: &InRoom,
    to: Option<Role>,
) -> anyhow::Result<()> {
    change(session, member, Way::Down, to).await
}

async fn change(
    session: &mut Session,
    member: &InRoom,
    way: Way,
    to: Option<Role>,
) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let person = node.client.person(&member.room, &member.who).await?;
            let role = choose(&person, way, to).map_err(|why| failure(Code::Invalid, why))?;
            // By the id: what was named and looked at is what is changed.
            let who = person.account_id.to_string();
            let person = node.client.give_role(&member.room, &who, role).await?;
            Ok(out.result(&person, &format!("{} is {} now", words(&person), with_article(role)))?)
        })
        .await
}

/// Removes someone, after asking.
pub(crate) async fn remove(
    session: &mut Session,
    member: &InRoom,
    yes: bool,
) -> anyhow::Result<()> {
    let found = session.with_node(Need::Folder, async |node, _| {
        Ok(node.client.person(&member.room, &member.who).await?)
    });
    let person = found.await?;
    let question = format!(
        "Remove {} from {}? They will read nothing said from now on.",
        words(&person),
        clean(&member.room)
    );
    session.unless_stopped(ask::confirm(question, yes)).await?;
    session
        .with_node(Need::Folder, async |node, out| {
            let who = person.account_id.to_string();
            let person = node.client.remove_member(&member.room, &who).await?;
            Ok(out.result(&person, &format!("removed {}", words(&person)))?)
        })
        .await
}

/// Chooses the role that someone gets, or says why there is none.
fn choose(person: &Person, way: Way, to: Option<Role>) -> Result<Role, String> {
    let name = &person.name;
    let Some(has) = person.role else {
        return match (way, to) {
            (Way::Up, Some(to)) => Ok(to),
            (Way::Up, None) => Err(format!("{name} is no member now: `--to member` makes one")),
            (Way::Down, _) => Err(format!("{name} is no member now")),
        };
    };
    let is = format!("{name} is {}", with_article(has));
    match (way, to) {
        (_, Some(to)) if to == has => Ok(to),
        (Way::Up, Some(to)) if to < has => Err(format!("{is}: `member demote` lowers a role")),
        (Way::Down, Some(to)) if to > has => Err(format!("{is}: `member promote` raises a role")),
        (_, Some(to)) => Ok(to),
        (Way::Up, None) if has == Role::Admin => {
            Err(format!("{is}; a founder is only made by name: `--to founder`"))
        }
        (Way::Up, None) => next(has, 1).ok_or_else(|| format!("{is}: nothing is above")),
        (Way::Down, None) => {
            next(has, -1).ok_or_else(|| format!("{is}: nothing is below; `member remove` removes"))
        }
    }
}

fn next(role: Role, by: isize) -> Option<Role> {
    let at = ROLES.iter().position(|one| *one == role)?;
    ROLES.get(at.checked_add_signed(by)?).copied()
}

fn words(person: &Person) -> String {
    format!("{} ({})", clean(&person.name), short(&person.account_id))
}

/// `an admin`, `a member`.
pub(crate) fn with_article(role: Role) -> String {
    if role == Role::Admin { format!("an {role}") } else { format!("a {role}") }
}

#[cfg(test)]
mod tests {
    use ayni::AccountId;

    use super::*;

    fn chosen(has: Option<Role>, way: Way, to: Option<Role>) -> Option<Role> {
        let name = "Beto".to_owned();
        choose(&Person { account_id: AccountId([1; 32]), name, role: has }, way, to).ok()
    }

    #[test]
    fn a_step_up_ends_below_founder() {
        let up = |has| chosen(Some(has), Way::Up, None);
        assert_eq!(up(Role::Reader), Some(Role::Member));
        assert_eq!(up(Role::Member), Some(Role::Admin));
        assert_eq!((up(Role::Admin), up(Role::Founder)), (None, None));
        assert_eq!(chosen(Some(Role::Admin), Way::Up, Some(Role::Founder)), Some(Role::Founder));
        assert_eq!(chosen(Some(Role::Admin), Way::Up, Some(Role::Admin)), Some(Role::Admin));
        assert_eq!(chosen(Some(Role::Admin), Way::Up, Some(Role::Member)), None);
    }

    #[test]
    fn a_step_down_ends_at_reader() {
        let down = |has| chosen(Some(has), Way::Down, None);
        assert_eq!(down(Role::Founder), Some(Role::Admin));
        assert_eq!(down(Role::Admin), Some(Role::Member));
        assert_eq!(down(Role::Member), Some(Role::Reader));
        assert_eq!(down(Role::Reader), None);
        assert_eq!(chosen(Some(Role::Admin), Way::Down, Some(Role::Reader)), Some(Role::Reader));
        assert_eq!(chosen(Some(Role::Reader), Way::Down, Some(Role::Member)), None);
    }

    #[test]
    fn who_is_out_comes_back_only_when_asked_for() {
        assert_eq!(chosen(None, Way::Up, None), None);
        assert_eq!(chosen(None, Way::Up, Some(Role::Member)), Some(Role::Member));
        assert_eq!(chosen(None, Way::Down, Some(Role::Member)), None);
    }
}

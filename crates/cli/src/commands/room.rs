//! Rooms: `room create`, `room list`, `room show`, `room set`, `look`, `join`, `leave`, `members`.

use std::io::IsTerminal as _;
use std::time::Duration;

use ayni::Role;
use ayni_web::api::{
    ErrorCode, History, Look, Member, Room, RoomDetails, RoomKind, RoomRef, Setting, Standing,
};
use clap::ValueEnum as _;

use super::standing::{joined, note_standing, shut_out_mark};
use crate::args::SettingKey;
use crate::ask;
use crate::exit::{Code, failure, note};
use crate::output::{clean, count, or, short};
use crate::session::{Need, Session};

/// The roles that a setting can ask for at least.
const ASKED: [Role; 3] = [Role::Member, Role::Admin, Role::Founder];

/// How long joining waits, in seconds, for someone who tells what the ticket is for: members that are
/// online answer within one.
const LOOK_S: u64 = 8;

/// Creates a room.
pub(crate) async fn create(session: &mut Session, name: &str) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let room = node.client.create_room(name).await?;
            Ok(out.result(&room, &format!("created {}", room_words(&room)))?)
        })
        .await
}

/// Lists the rooms, and says how many are not listed.
pub(crate) async fn list(session: &mut Session, all: bool) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let rooms = node.client.rooms(true).await?.into_iter();
            let (listed, other): (Vec<_>, Vec<_>) =
                rooms.partition(|room| all || room.standing == Standing::Joined);
            for room in &listed {
                out.result(room, &list_line(room))?;
            }
            out.flush()?;
            if !other.is_empty() {
                let rooms = count(other.len() as u64, "room");
                note(&format!("{rooms} that you left or were removed from: see --all"));
            }
            Ok(())
        })
        .await
}

/// Shows a room and how it is set up.
pub(crate) async fn show(session: &mut Session, room: &str) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let room = node.client.room(room).await?;
            out.result(&room, &details_lines(&room))?;
            out.flush()?;
            note_standing(&room);
            Ok(())
        })
        .await
}

/// Sets a room up in one respect.
pub(crate) async fn set(
    session: &mut Session,
    room: &str,
    key: SettingKey,
    value: String,
) -> anyhow::Result<()> {
    let setting = setting(key, value).map_err(|why| failure(Code::Invalid, why))?;
    session
        .with_node(Need::Folder, async |node, out| {
            let room = node.client.set_room(room, &setting).await?;
            let line = format!("{} of {}: {}", key_name(key), clean(&room.name), of(&room, key));
            Ok(out.result(&room, &line)?)
        })
        .await
}

/// Shows what a ticket invites to.
pub(crate) async fn look(session: &mut Session, ticket: &str, wait: u64) -> anyhow::Result<()> {
    check_ticket(ticket)?;
    session
        .with_node(Need::Network, async |node, out| {
            let told = node.client.look(ticket, Duration::from_secs(wait)).await?;
            Ok(out.result(&told, &look_lines(&told))?)
        })
        .await
}

/// Joins a room and waits until it is here. At a terminal it shows first what the ticket invites to, and
/// asks.
pub(crate) async fn join(
    session: &mut Session,
    ticket: &str,
    yes: bool,
    wait: u64,
) -> anyhow::Result<()> {
    check_ticket(ticket)?;
    let asks = !yes && !session.out.is_json() && std::io::stdin().is_terminal();
    session
        .with_node(Need::Network, async |node, out| {
            if asks {
                let shown = node.client.look(ticket, Duration::from_secs(wait.min(LOOK_S))).await;
                let question = match shown {
                    Ok(told) => format!("{}\nJoin?", look_lines(&told)),
                    Err(error) if error.code == ErrorCode::Unreachable => {
                        "No member can be asked now what this ticket is for. Join all the same?"
                            .into()
                    }
                    Err(error) => return Err(error.into()),
                };
                ask::confirm(question, false).await?;
            }
            let room = node.client.join(ticket, Duration::from_secs(wait)).await?;
            Ok(out.result(&room, &format!("joined {}", room_words(&room)))?)
        })
        .await
}

/// Finds a mistyped ticket before a folder is made or anyone is asked.
fn check_ticket(ticket: &str) -> anyhow::Result<()> {
    let parsed = ticket.trim().parse::<ayni::Ticket>();
    parsed.map(drop).map_err(|why| failure(Code::Invalid, why.to_string()))
}

fn look_lines(told: &Look) -> String {
    let mut lines = format!(
        "{}, with {}\n{} ({}) invites you as a {}",
        clean(&told.name),
        count(u64::from(told.members), "member"),
        clean(&told.inviter_name),
        short(&told.inviter),
        told.role,
    );
    if !told.topic.is_empty() {
        lines.push_str("\nabout: ");
        lines.push_str(&clean(&told.topic));
    }
    lines.push_str(match told.history {
        History::FromStart => "\nyou may read all that was said before",
        History::FromJoining => "\nyou may read what is said after you joined",
    });
    lines
}

/// Leaves a room, after asking.
pub(crate) async fn leave(session: &mut Session, room: &str, yes: bool) -> anyhow::Result<()> {
    let question = format!("Leave {}? Coming back takes a new ticket.", clean(room));
    session.unless_stopped(ask::confirm(question, yes)).await?;
    session
        .with_node(Need::Folder, async |node, out| {
            let room = joined(&node.client, room).await?;
            node.client.leave(&room.room.to_string()).await?;
            Ok(out.result(&room, &format!("left {}", room_words(&room)))?)
        })
        .await
}

/// Shows who is in a room.
pub(crate) async fn members(session: &mut Session, room: &str) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let room = node.client.room(room).await?;
            for member in node.client.members(&room.room.to_string()).await? {
                out.result(&member, &member_line(&member))?;
            }
            out.flush()?;
            note_standing(&room);
            Ok(())
        })
        .await
}

fn room_words(room: &RoomRef) -> String {
    format!("{} ({})", clean(&room.name), short(&room.room))
}

fn list_line(room: &Room) -> String {
    let mut words = vec![count(room.members as u64, "member")];
    if room.unread > 0 {
        words.push(format!("{} unread", room.unread));
    }
    match room.standing {
        Standing::Joined => {}
        Standing::Left => words.push("you left".to_owned()),
        Standing::Removed => words.push("you were removed".to_owned()),
        Standing::Unknown => words.push("you are no member".to_owned()),
    }
    if room.frozen && room.standing == Standing::Joined {
        words.push("this device is shut out".to_owned());
    }
    format!("{}  {}  ({})", short(&room.room), clean(&room.name), words.join(", "))
}

fn details_lines(room: &RoomDetails) -> String {
    let you = match (room.standing, room.role) {
        (Standing::Joined, Some(role)) if room.frozen => {
            format!("{role}, but this device is shut out")
        }
        (Standing::Joined, Some(role)) => role.to_string(),
        (Standing::Left, _) => "left".to_owned(),
        (Standing::Removed, _) => "removed".to_owned(),
        _ => "no member".to_owned(),
    };
    let kind = match room.kind {
        RoomKind::Group => "group",
        RoomKind::Direct => "direct: two people",
        RoomKind::Own => "own: notes to yourself",
        RoomKind::Unknown => "from a newer version of ayni",
    };
    let facts = [
        ("room", room.room.to_string()),
        ("kind", kind.to_owned()),
        ("members", room.members.to_string()),
        ("unread", room.unread.to_string()),
        ("you", you),
    ];
    let settings = SettingKey::value_variants().iter().map(|key| (key_name(*key), of(room, *key)));
    let settings = settings.map(|(key, value)| format!("{key:<11}  {value}"));
    let facts = facts.into_iter().map(|(what, value)| format!("{what:<11}  {value}"));
    facts.chain(settings).collect::<Vec<_>>().join("\n")
}

/// Returns the value of a setting as `room set` takes it.
fn of(room: &RoomDetails, key: SettingKey) -> String {
    match key {
        SettingKey::Name => clean(&room.name).into_owned(),
        SettingKey::Topic if room.topic.is_empty() => "(none)".to_owned(),
        SettingKey::Topic => clean(&room.topic).into_owned(),
        SettingKey::WhoInvites => room.who_invites.to_string(),
        SettingKey::WhoPosts => room.who_posts.to_string(),
        SettingKey::WhoPins => room.who_pins.to_string(),
        SettingKey::History => match room.history {
            History::FromStart => "from-start".to_owned(),
            History::FromJoining => "from-joining".to_owned(),
        },
    }
}

fn key_name(key: SettingKey) -> String {
    key.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Reads what a setting is to be.
fn setting(key: SettingKey, value: String) -> Result<Setting, String> {
    let role = || {
        let role = ASKED.iter().find(|role| role.as_str() == value);
        role.copied().ok_or_else(|| {
            let names = or(&ASKED.map(Role::as_str));
            format!("{} is {names}, not {value:?}", key_name(key))
        })
    };
    match key {
        SettingKey::WhoInvites => role().map(Setting::WhoInvites),
        SettingKey::WhoPosts => role().map(Setting::WhoPosts),
        SettingKey::WhoPins => role().map(Setting::WhoPins),
        SettingKey::Name => Ok(Setting::Name(value)),
        SettingKey::Topic => Ok(Setting::Topic(value)),
        SettingKey::History => match value.as_str() {
            "from-start" => Ok(Setting::History(History::FromStart)),
            "from-joining" => Ok(Setting::History(History::FromJoining)),
            _ => Err(format!("history is from-start or from-joining, not {value:?}")),
        },
    }
}

/// One line about a member.
pub(crate) fn member_line(member: &Member) -> String {
    let mut words = Vec::new();
    if member.me {
        words.push("you");
    }
    if member.role != Role::Member {
        words.push(member.role.as_str());
    }
    if member.online {
        words.push("online");
    }
    let words = if words.is_empty() { String::new() } else { format!("  ({})", words.join(", ")) };
    let mark = shut_out_mark(member).map(|mark| format!("  {mark}")).unwrap_or_default();
    format!("{}  {}{words}{mark}", short(&member.account_id), clean(&member.name))
}

#[cfg(test)]
mod tests {
    use ayni::RoomId;

    use super::*;

    #[test]
    fn a_list_line_counts() {
        let (room, name) = (RoomId([0xaa; 32]), "plaza".to_owned());
        let (standing, role) = (Standing::Joined, Some(Role::Member));
        let busy = Room { room, name, members: 3, unread: 2, standing, frozen: false, role };
        assert_eq!(list_line(&busy), "aaaaaaaaaaaaaaaa  plaza  (3 members, 2 unread)");
        let shut_out = list_line(&Room { frozen: true, ..busy.clone() });
        assert!(shut_out.ends_with("(3 members, 2 unread, this device is shut out)"), "{shut_out}");
        let left = Room { members: 1, unread: 0, standing: Standing::Left, ..busy };
        assert_eq!(list_line(&left), "aaaaaaaaaaaaaaaa  plaza  (1 member, you left)");
    }

    #[test]
    fn what_is_shown_of_a_setting_can_be_set_again() {
        let values = ["family", "bread", "admin", "founder", "member", "from-joining"];
        for (key, value) in SettingKey::value_variants().iter().zip(values) {
            let room = RoomDetails {
                room: RoomId([0xaa; 32]),
                name: "family".to_owned(),
                topic: "bread".to_owned(),
                kind: RoomKind::Group,
                members: 1,
                unread: 0,
                standing: Standing::Joined,
                frozen: false,
                role: Some(Role::Founder),
                who_invites: Role::Admin,
                who_posts: Role::Founder,
                who_pins: Role::Member,
                history: History::FromJoining,
            };
            assert_eq!(of(&room, *key), value);
            assert!(setting(*key, value.to_owned()).is_ok());
            assert!(details_lines(&room).contains("you          founder\n"));
            assert!(details_lines(&room).contains(&format!("{:<11}  {value}", key_name(*key))));
        }
        let told = setting(SettingKey::WhoPosts, "all".to_owned()).expect_err("no role");
        assert_eq!(told, "who-posts is member, admin or founder, not \"all\"");
        assert!(setting(SettingKey::WhoPosts, "reader".to_owned()).is_err());
        assert!(setting(SettingKey::History, "none".to_owned()).is_err());
    }
}

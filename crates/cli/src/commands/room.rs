//! Rooms: `room create`, `room list`, `room invite`, `join`, `leave`, `members`.

use std::time::Duration;

use anyhow::Context as _;
use ayni::RoomId;
use ayni_web::Client;
use ayni_web::api::{Member, Room, RoomRef};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::ask;
use crate::exit::{Code, failure};
use crate::output::{clean, count, short};
use crate::session::{Need, Session};

/// Shortest start of an id that stands for it.
const SHORTEST_PREFIX: usize = 4;

/// What `room invite` was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Invitation {
    /// How many may join; none: any number.
    pub(crate) uses: Option<u32>,
    /// How long it can be used.
    pub(crate) expires: Duration,
    /// Whether to draw it.
    pub(crate) qr: bool,
}

/// Creates a room.
pub(crate) async fn create(session: &mut Session, name: &str) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let room = node.client.create_room(name).await?;
            Ok(out.result(&room, &format!("created {}", room_words(&room)))?)
        })
        .await
}

/// Lists the rooms.
pub(crate) async fn list(session: &mut Session) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            for room in node.client.rooms().await? {
                out.result(&room, &list_line(&room))?;
            }
            Ok(())
        })
        .await
}

/// Prints a ticket, alone on its line, and draws it when asked.
pub(crate) async fn invite(
    session: &mut Session,
    room: &str,
    invitation: Invitation,
) -> anyhow::Result<()> {
    if invitation.qr && session.out.is_json() {
        return Err(failure(Code::Invalid, "--qr draws and --json does not: choose one"));
    }
    session
        .with_node(Need::Folder, async |node, out| {
            let ticket = node.client.invite(room, invitation.uses, invitation.expires).await?;
            out.result(&ticket, &clean(&ticket.ticket))?;
            if invitation.qr {
                out.line(&draw(&ticket.ticket)?)?;
            }
            Ok(())
        })
        .await
}

/// Joins a room and waits until it is here.
pub(crate) async fn join(session: &mut Session, ticket: &str, wait: u64) -> anyhow::Result<()> {
    // Found out before a folder is made or anyone is asked.
    ticket.parse::<ayni::Ticket>().map_err(|why| failure(Code::Invalid, why.to_string()))?;
    session
        .with_node(Need::Network, async |node, out| {
            let room = node.client.join(ticket, Duration::from_secs(wait)).await?;
            Ok(out.result(&room, &format!("joined {}", room_words(&room)))?)
        })
        .await
}

/// Leaves a room, after asking.
pub(crate) async fn leave(session: &mut Session, room: &str, yes: bool) -> anyhow::Result<()> {
    let question = format!("Leave {}? Coming back takes a new ticket.", clean(room));
    session.unless_stopped(ask::confirm(question, yes)).await?;
    session
        .with_node(Need::Folder, async |node, out| {
            let room = find(&node.client, room).await?;
            node.client.leave(&room.room.to_string()).await?;
            Ok(out.result(&room, &format!("left {}", room_words(&room)))?)
        })
        .await
}

/// Shows who is in a room.
pub(crate) async fn members(session: &mut Session, room: &str) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            for member in node.client.members(room).await? {
                out.result(&member, &member_line(&member))?;
            }
            Ok(())
        })
        .await
}

/// Finds the room that a word names, among those that this account is a member of. The node decides
/// whether there is one and only one.
pub(crate) async fn find(client: &Client, word: &str) -> anyhow::Result<RoomRef> {
    client.members(word).await?;
    let rooms = client.rooms().await?;
    let room = pick(&rooms, word)
        .ok_or_else(|| failure(Code::Denied, format!("you are not a member of {word} now")))?;
    Ok(RoomRef { room: room.room, name: room.name.clone() })
}

/// Picks the room that a word names among those listed: a full id first, then a name, then the start
/// of an id.
fn pick<'a>(rooms: &'a [Room], word: &str) -> Option<&'a Room> {
    let id: Option<RoomId> = word.parse().ok();
    let start = word.to_ascii_lowercase();
    let starts =
        |room: &Room| start.len() >= SHORTEST_PREFIX && room.room.to_string().starts_with(&start);
    rooms
        .iter()
        .find(|room| Some(room.room) == id)
        .or_else(|| rooms.iter().find(|room| room.name == word))
        .or_else(|| rooms.iter().find(|room| starts(room)))
}

fn room_words(room: &RoomRef) -> String {
    format!("{} ({})", clean(&room.name), short(&room.room))
}

fn list_line(room: &Room) -> String {
    let unread = match room.unread {
        0 => String::new(),
        unread => format!(", {unread} unread"),
    };
    let members = count(room.members as u64, "member");
    format!("{}  {}  ({members}{unread})", short(&room.room), clean(&room.name))
}

/// One line about a member.
pub(crate) fn member_line(member: &Member) -> String {
    let mut words = Vec::new();
    if member.me {
        words.push("you");
    }
    if member.founder {
        words.push("founder");
    }
    if member.online {
        words.push("online");
    }
    let words = if words.is_empty() { String::new() } else { format!("  ({})", words.join(", ")) };
    format!("{}  {}{words}", short(&member.account_id), clean(&member.name))
}

/// Draws a ticket in half blocks. In upper case, which a ticket does not mind, it needs a code of
/// about two thirds of the size.
fn draw(ticket: &str) -> anyhow::Result<String> {
    let code = QrCode::with_error_correction_level(ticket.to_ascii_uppercase(), qrcode::EcLevel::L);
    let code = code.context("this ticket is too long to be drawn")?;
    // Light on dark, as most terminals are; the readers that matter take both.
    let mut renderer = code.render::<Dense1x2>();
    Ok(renderer.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(id: u8, name: &str) -> Room {
        Room { room: RoomId([id; 32]), name: name.to_owned(), members: 1, unread: 0 }
    }

    #[test]
    fn a_word_names_a_room_by_id_name_or_prefix() {
        let rooms = [room(0xaa, "bbbb"), room(0xbb, "family")];
        let named = |word: &str| pick(&rooms, word).map(|room| room.name.as_str());
        assert_eq!(named(&"BB".repeat(32)), Some("family"));
        assert_eq!(named("family"), Some("family"));
        assert_eq!(named("aaaa"), Some("bbbb"));
        assert_eq!(named("bbbb"), Some("bbbb"), "a name before the start of an id");
        assert_eq!(named("aaa"), None, "too short");
    }

    #[test]
    fn a_list_line_counts() {
        let busy = Room { members: 3, unread: 2, ..room(0xaa, "plaza") };
        assert_eq!(list_line(&busy), "aaaaaaaaaaaaaaaa  plaza  (3 members, 2 unread)");
        assert_eq!(list_line(&room(0xaa, "x")), "aaaaaaaaaaaaaaaa  x  (1 member)");
    }

    #[test]
    fn a_ticket_can_be_drawn() {
        let ticket = format!("ayni{}", "a2b3c4d5".repeat(40));
        let drawn = draw(&ticket).expect("it fits");
        assert!(drawn.lines().count() > 20 && drawn.contains('▄'));
    }
}

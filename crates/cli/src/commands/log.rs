//! Reading a room: `log` and `log --follow`.

use std::time::Duration;

use ayni_web::api::Message;
use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::standing::{note_standing, shut_out_words};
use crate::exit::{Code, failure, note};
use crate::output::Out;
use crate::session::{Need, Session};
use crate::timeline::{Follower, Printer, Update};

/// How long after the last message a follower waits before it counts them as read: it is not asked
/// for every single one while many come.
const READ_AFTER: Duration = Duration::from_secs(1);

/// Prints the newest messages of a room, and goes on with what comes where that is wanted.
pub(crate) async fn log(
    session: &mut Session,
    room: &str,
    limit: usize,
    thumbnails: bool,
    is_followed: bool,
) -> anyhow::Result<()> {
    if thumbnails && !session.out.is_json() {
        let told = "--thumbnails is for --json: a line of text shows no picture";
        return Err(failure(Code::Invalid, told));
    }
    if is_followed {
        follow(session, room, limit, thumbnails).await
    } else {
        newest(session, room, limit, thumbnails).await
    }
}

/// Prints the newest messages, as they come out of the store.
async fn newest(
    session: &mut Session,
    room: &str,
    limit: usize,
    thumbnails: bool,
) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let client = node.client.clone().with_thumbnails(thumbnails);
            let room = client.room(room).await?;
            let mut messages = client.messages(&room.room.to_string(), limit, true).await?;
            let mut printer = Printer::default();
            while let Some(message) = messages.next().await {
                print(&message?, &mut printer, out)?;
            }
            out.flush()?;
            note_standing(&room);
            Ok(())
        })
        .await
}

/// Prints the newest messages and then what comes, each once, until stopped.
async fn follow(
    session: &mut Session,
    room: &str,
    limit: usize,
    thumbnails: bool,
) -> anyhow::Result<()> {
    session
        .until_stopped(Need::Network, async |node, out| {
            let client = node.client.clone().with_thumbnails(thumbnails);
            let room = client.room(room).await?;
            let me = client.id().await?;
            let (mut follower, history) = Follower::start(&client, room.room, limit).await?;
            let id = room.room.to_string();
            // Looked at again: what happened before the follower began is no news to it.
            let room = client.room(&id).await?;
            let mut printer = Printer::default();
            for message in history {
                print(&message, &mut printer, out)?;
            }
            out.flush()?;
            note_standing(&room);
            let mut read_at = None;
            loop {
                let idle = read_at.unwrap_or_else(Instant::now);
                tokio::select! {
                    update = follower.next() => match update? {
                        None => break,
                        Some(Update::Message(message)) => {
                            print(&message, &mut printer, out)?;
                            out.flush()?;
                            read_at = Some(Instant::now() + READ_AFTER);
                        }
                        Some(Update::Left { account, .. }) if account == me.account_id => {
                            note_standing(&client.room(&id).await?);
                        }
                        Some(Update::ShutOut { device, name }) => {
                            let mine = device == me.peer_id;
                            note(&shut_out_words(&room.name, &device, &name, mine));
                        }
                        Some(Update::Left { .. } | Update::Joined(_)) => {}
                    },
                    () = tokio::time::sleep_until(idle), if read_at.is_some() => {
                        read_at = None;
                        client.mark_read(&id).await?;
                    }
                }
            }
            Err(failure(Code::Unreachable, "the node of this folder stopped"))
        })
        .await
        .map(|_: Option<()>| ())
}

fn print(message: &Message, printer: &mut Printer, out: &mut Out) -> crate::output::Result {
    if out.is_json() {
        return out.object(message);
    }
    for line in printer.lines(message) {
        out.line(&line)?;
    }
    Ok(())
}

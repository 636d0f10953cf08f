//! Saying something: `say`, `dm`, `broadcast`.

use ayni::PeerId;
use ayni_web::ClientError;
use ayni_web::api::{ErrorCode, Posted, PostedDirect};

use crate::ask;
use crate::output::{Out, Result, count};
use crate::session::{Need, Session};

/// Says something in a room.
pub(crate) async fn say(session: &mut Session, room: &str, text: String) -> anyhow::Result<()> {
    // Read before the folder is taken: standard input may take its time.
    let text = session.unless_stopped(ask::text(text)).await?;
    session
        .with_node(Need::Folder, async |node, out| {
            let event = node.client.say(room, &text).await?;
            Ok(acknowledge(&Posted { event }, out)?)
        })
        .await
}

/// Says something to one person.
///
/// The folder is enough for someone that it knows; only a peer that it does not know is worth a
/// network.
pub(crate) async fn dm(session: &mut Session, who: &str, text: String) -> anyhow::Result<()> {
    let text = session.unless_stopped(ask::text(text)).await?;
    let told = send_direct(session, Need::Folder, who, &text).await;
    match told {
        Err(error) if who.parse::<PeerId>().is_ok() && is_unknown(&error) => {
            send_direct(session, Need::Network, who, &text).await
        }
        told => told,
    }
}

async fn send_direct(
    session: &mut Session,
    need: Need,
    who: &str,
    text: &str,
) -> anyhow::Result<()> {
    session
        .with_node(need, async |node, out| {
            let posted: PostedDirect = node.client.dm(who, text).await?;
            Ok(acknowledge(&posted, out)?)
        })
        .await
}

fn is_unknown(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<ClientError>().map(|error| error.code);
    matches!(code, Some(ErrorCode::NotFound | ErrorCode::Unreachable))
}

/// Says something in every room, after asking.
pub(crate) async fn broadcast(
    session: &mut Session,
    text: String,
    yes: bool,
) -> anyhow::Result<()> {
    let text = session.unless_stopped(ask::text(text)).await?;
    session.unless_stopped(ask::confirm("Say this in every room?".to_owned(), yes)).await?;
    session
        .with_node(Need::Folder, async |node, out| {
            let posted = node.client.broadcast(&text).await?;
            if !out.is_json() {
                let rooms = count(posted.len() as u64, "room");
                return Ok(out.line(&format!("said in {rooms}"))?);
            }
            for line in &posted {
                out.object(line)?;
            }
            Ok(())
        })
        .await
}

/// Prints the event for scripts; a person has typed what was said.
fn acknowledge(posted: &impl serde::Serialize, out: &mut Out) -> Result {
    if out.is_json() { out.object(posted) } else { Ok(()) }
}

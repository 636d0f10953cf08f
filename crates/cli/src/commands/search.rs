//! Finding messages by their words: `search`.

use std::time::Duration;

use ayni_web::client::{Client, ClientError, Found};
use futures_util::TryStreamExt as _;
use tokio::time::{Instant, sleep};

use super::standing::note_standing;
use crate::exit::note;
use crate::output::count;
use crate::session::{Need, Session};
use crate::timeline::Printer;

/// How long messages that are not indexed yet are waited for. The node indexes what was just said
/// after a tenth of a second of rest, and some ten thousand messages a second.
const INDEX_WAIT: Duration = Duration::from_secs(2);
/// Pause between two looks whether they are.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Prints the newest messages that have all words, oldest first, as `log` does.
pub(crate) async fn search(
    session: &mut Session,
    words: &[String],
    room: Option<&str>,
    limit: usize,
) -> anyhow::Result<()> {
    let text = words.join(" ");
    session
        .with_node(Need::Folder, async |node, out| {
            let room = match room {
                Some(room) => Some(node.client.room(room).await?),
                None => None,
            };
            let id = room.as_ref().map(|room| room.room.to_string());
            let found = settled(&node.client, &text, id.as_deref(), limit).await?;
            let behind = found.behind;
            let mut messages: Vec<_> = found.messages.try_collect().await?;
            messages.reverse();
            let mut printer = Printer::default();
            for found in &messages {
                if out.is_json() {
                    out.object(found)?;
                    continue;
                }
                for line in printer.lines_in(Some(&found.room_name), &found.message) {
                    out.line(&line)?;
                }
            }
            out.flush()?;
            room.iter().for_each(note_standing);
            if behind > 0 {
                let events = count(behind, "event");
                note(&format!("about {events} not searched yet: ask again in a while"));
            }
            Ok(())
        })
        .await
}

/// Searches; where something is not indexed yet, again, for a moment.
async fn settled(
    client: &Client,
    text: &str,
    room: Option<&str>,
    limit: usize,
) -> Result<Found, ClientError> {
    let end = Instant::now() + INDEX_WAIT;
    loop {
        let found = client.search(text, room, limit).await?;
        if found.behind == 0 || Instant::now() >= end {
            return Ok(found);
        }
        sleep(LOOK_AGAIN).await;
    }
}

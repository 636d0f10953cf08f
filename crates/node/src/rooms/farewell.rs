//! Telling a removed member that it was removed: it may have that part of the control lane, and nothing
//! else. Without this it would go on asking for ever, and not know why nobody hears it.

use std::sync::Arc;
use std::time::Duration;

use ayni_core::id::RoomId;
use ayni_core::limits::{MAX_FRONTIER_LOGS, MAX_WANTS_IN_FLIGHT};
use ayni_core::log::Frontier;
use ayni_core::sync::frame::{SyncFrame, from_frontier, to_frontier};

use super::serve;
use crate::inner::Inner;
use crate::transport::Stream;
use crate::transport::stream::StreamError;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Frames that are read until the control lane is asked for: a whole frontier in pieces, and what else
/// an honest session says at its start.
const MAX_FRAMES: usize = 64;

/// Serves a `sync/1` stream for a member that was removed: announces `shown`, answers one request for
/// the control lane with what of it the peer did not announce, and ends.
pub(crate) async fn serve(inner: Arc<Inner>, room: RoomId, shown: &Frontier, mut stream: Stream) {
    if !crate::dispatch::accept(&mut stream).await {
        return;
    }
    let told = tokio::time::timeout(PATIENCE, tell(&inner, room, shown, &mut stream));
    match told.await.unwrap_or_else(|_| Err("it did not listen".into())) {
        Ok(()) => {
            stream.send.finish();
            stream.send.delivered().await;
        }
        Err(why) => tracing::debug!(room = %room.short(), "a removed member was not told: {why}"),
    }
}

async fn tell(
    inner: &Arc<Inner>,
    room: RoomId,
    shown: &Frontier,
    stream: &mut Stream,
) -> Result<(), String> {
    let text = |error: StreamError| error.to_string();
    for logs in from_frontier(shown).chunks(MAX_FRONTIER_LOGS) {
        stream.send.send(&SyncFrame::Have(logs.to_vec())).await.map_err(text)?;
    }
    let mut theirs = Frontier::default();
    let mut wants = 0;
    for _ in 0..MAX_FRAMES {
        let Some(frame) = stream.recv.next::<SyncFrame>().await.map_err(text)? else {
            return Ok(());
        };
        frame.check().map_err(|error| error.to_string())?;
        match frame {
            SyncFrame::Have(logs) => theirs.union(&to_frontier(&logs)),
            SyncFrame::Want(want) if want.control == Some(true) => {
                let lacking = shown.minus(&theirs);
                return serve::ranges(inner, room, want.id, &lacking, &mut stream.send).await;
            }
            SyncFrame::Want(want) if wants < MAX_WANTS_IN_FLIGHT => {
                wants += 1;
                stream.send.send(&SyncFrame::Done(want.id)).await.map_err(text)?;
            }
            SyncFrame::Want(_) => return Err("too many requests".into()),
            _ => {}
        }
    }
    Err("too many frames".into())
}

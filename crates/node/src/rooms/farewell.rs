//! Telling a removed member that it was removed: it may have that part of the control lane, and nothing
//! else. Without this it would go on asking for ever, and not know why nobody hears it.

use std::sync::Arc;
use std::time::Duration;

use ayni_core::id::RoomId;
use ayni_core::log::Frontier;
use ayni_core::sync::frame::{SyncFrame, from_frontier};

use super::serve;
use crate::inner::Inner;
use crate::transport::Stream;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves an opened `sync/1` stream for a member that was removed: announces `shown`, answers one
/// request for the control lane with that, and ends.
pub(crate) async fn serve(
    inner: Arc<Inner>,
    room: Option<RoomId>,
    shown: &Frontier,
    mut stream: Stream,
) {
    let Some(room) = room else { return };
    if !crate::dispatch::accept(&mut stream).await {
        return;
    }
    let (mut send, mut recv) = stream.split();
    let told = async {
        send.send(&SyncFrame::Have(from_frontier(shown))).await.ok()?;
        loop {
            let SyncFrame::Want(want) = recv.next::<SyncFrame>().await.ok()?? else { continue };
            if want.control == Some(true) {
                serve::ranges(&inner, room, want.id, shown, &mut send).await.ok()?;
                send.finish();
                send.delivered().await;
                return Some(());
            }
            send.send(&SyncFrame::Done(want.id)).await.ok()?;
        }
    };
    if tokio::time::timeout(PATIENCE, told).await.is_err() {
        tracing::debug!(room = %room.short(), "a removed member did not listen");
    }
}

//! Epoch secrets: asked of members while any is missing, and handed to those entitled to them.

use std::sync::Arc;
use std::time::Duration;

use ayni_core::epoch::EpochSecret;
use ayni_core::id::PeerId;
use ayni_core::keys::Bytes32;
use ayni_core::limits::MAX_EPOCHS;
use ayni_core::proto::{EpochGrant, KeysReply, KeysRequest, service};

use super::handle::RoomHandle;
use crate::inner::Inner;
use crate::transport::{Link, Stream};

/// First pause between two rounds of asking all connected members, doubled up to [`MAX_PAUSE`]: a
/// member refuses as long as it has not heard that we are one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How long a member has to answer before the next one is asked.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest pause between two rounds.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Serves `keys/1` to a member's device.
pub(crate) async fn serve(room: Arc<RoomHandle>, peer: PeerId, mut stream: Stream) {
    let Ok(request) = stream.recv.expect::<KeysRequest>().await else { return };
    if request.check().is_err() {
        return;
    }
    let epochs = {
        let state = room.lock();
        if !state.room.members().is_member_device(&peer) {
            return;
        }
        let members = state.room.members();
        let Some(account) = members.account_of(&peer) else { return };
        let wanted = request.epochs.iter().filter(|epoch| members.may_read(epoch, &account));
        let wanted = wanted.filter_map(|epoch| {
            let secret = state.room.secret(epoch)?;
            Some(EpochGrant { epoch: *epoch, secret: Bytes32(*secret.as_bytes()) })
        });
        wanted.collect()
    };
    if stream.send.send(&KeysReply { epochs }).await.is_ok() {
        stream.send.finish();
        stream.send.delivered().await;
    }
}

/// Asks the connected members in turn until no secret is missing, or none of them is connected: the
/// next synchronisation begins again.
pub(crate) async fn ask_until_known(inner: Arc<Inner>, room: Arc<RoomHandle>) {
    let mut pause = FIRST_PAUSE;
    while !room.ended_asking_secrets() {
        let links = inner.member_links(&room);
        for link in &links {
            ask(&inner, &room, link).await;
        }
        if links.is_empty() {
            room.lock().asks_secrets = false;
            return;
        }
        if !room.missing_secrets().is_empty() {
            tokio::time::sleep(pause.mul_f64(0.75 + 0.5 * inner.jitter())).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }
}

/// Asks a member for the secrets that are missing here.
async fn ask(inner: &Arc<Inner>, room: &Arc<RoomHandle>, link: &Link) {
    let missing = room.missing_secrets();
    if missing.is_empty() {
        return;
    }
    let asked = async {
        let mut stream = link.open(service::KEYS, Some(room.id())).await.ok()?;
        let epochs = missing.iter().copied().take(MAX_EPOCHS).collect();
        stream.send.send(&KeysRequest { epochs }).await.ok()?;
        stream.send.finish();
        stream.recv.expect::<KeysReply>().await.ok()
    };
    let reply = tokio::time::timeout(ANSWER, asked).await.ok().flatten();
    let Some(reply) = reply.filter(|reply| reply.check().is_ok()) else { return };
    // A secret proves itself: its commitment gives the epoch's id.
    let secrets = reply.epochs.iter().map(|grant| EpochSecret::new(grant.secret.0));
    let wanted = secrets.filter(|secret| missing.contains(&secret.id(room.id()))).collect();
    if let Err(error) = room.learn(inner, wanted).await {
        tracing::warn!("keys could not be kept: {error}");
    }
}

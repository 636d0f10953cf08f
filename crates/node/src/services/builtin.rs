//! The built-in services `ping` and `profile`, provided and called.
//!
//! Both use the framing of one request and one reply, so that `ayni request PEER ping hello` answers
//! `hello`. Each accepts its stream itself, as [`super::serve()`] does.

use std::time::{Duration, Instant};

use ayni_core::proto::{self, Profile};
use ayni_core::wire;
use bytes::Bytes;

use super::call::{CallLimits, request};
use super::outgoing::Outgoing;
use super::reply::{read_request, send_reply};
use crate::error::{Error, Result};
use crate::transport::Link;
use crate::transport::stream::{FRAME_TIMEOUT, Stream};

/// Largest ping: what fits in one packet is enough to see whether and how fast a peer answers.
const MAX_PING: usize = 1024;
/// Largest profile accepted: a certificate and a name are below 400 bytes; the rest is headroom for
/// what newer peers add.
const MAX_PROFILE: usize = 4 * 1024;
/// What our own pings carry.
const PING: &[u8] = b"ping";

/// Answers with what was sent.
pub(crate) async fn ping(stream: Stream) {
    let Ok((mut outgoing, mut recv)) = Outgoing::accept(stream).await else { return };
    let echo = read_request(&mut recv, MAX_PING).await;
    if echo.is_err() {
        recv.stop();
    }
    send_reply(&mut outgoing, echo).await;
}

/// Answers with who we are. What the caller sends is not read.
pub(crate) async fn profile(stream: Stream, profile: &Profile) {
    let Ok((mut outgoing, mut recv)) = Outgoing::accept(stream).await else { return };
    recv.stop();
    send_reply(&mut outgoing, Ok(wire::encode(profile).into())).await;
}

/// Measures how long a peer takes to answer: a stream opened, accepted, and echoed, which are two
/// round trips.
///
/// # Errors
/// Those of [`request`]; [`Error::Service`] when the answer is not what was sent.
pub(crate) async fn call_ping(link: &Link) -> Result<Duration> {
    let limits = CallLimits { max_reply: MAX_PING, timeout: FRAME_TIMEOUT };
    let start = Instant::now();
    let echo = request(link, proto::service::PING, Bytes::from_static(PING), limits).await?;
    if echo != PING {
        let peer = link.peer().short();
        return Err(Error::Service(format!("{peer} answered a ping with something else")));
    }
    Ok(start.elapsed())
}

/// Asks a peer who it is. The certificate is valid, and is the one of the connected device.
///
/// # Errors
/// Those of [`request`]; [`Error::Service`] when the answer does not hold.
pub(crate) async fn call_profile(link: &Link) -> Result<Profile> {
    let limits = CallLimits { max_reply: MAX_PROFILE, timeout: FRAME_TIMEOUT };
    let reply = request(link, proto::service::PROFILE, Bytes::new(), limits).await?;
    let invalid = || {
        let peer = link.peer().short();
        Error::Service(format!("{peer} did not show a valid certificate of its own"))
    };
    let profile: Profile = wire::decode(&reply).map_err(|_| invalid())?;
    profile.check().map_err(|_| invalid())?;
    (profile.cert.claim.device == link.peer()).then_some(profile).ok_or_else(invalid)
}

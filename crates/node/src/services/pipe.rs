//! Bytes both ways between a TCP connection and a stream of a call.
//!
//! Each direction ends by itself: the end of one side becomes the end of the other (half-close), so
//! that a protocol that says "that was my request" by closing its half still gets its answer.
//! Invariant: an end that was not proper (a reset, a lost connection, a deadline) is passed on as
//! one, never as a proper end. One buffer of [`BUFFER`] bytes a direction: who does not read
//! slows the other down, and after `idle` without a byte either way both are given up.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::outgoing::{Outgoing, transfer_time};
use crate::transport::stream::FrameReceiver;

/// Bytes copied at a time: some packets' worth, small enough for hundreds of connections.
const BUFFER: usize = 16 * 1024;
/// Most bytes that the transport may still hold when a direction ends; they get time to arrive.
const MAX_IN_FLIGHT: usize = 8 * 1024 * 1024;

/// One side ended improperly.
struct Cut;

/// Copies until both directions ended, `idle` passed without a byte, or `cancel`.
pub(super) async fn pipe(
    mut tcp: TcpStream,
    (outgoing, recv): (Outgoing, FrameReceiver),
    idle: Duration,
    cancel: &CancellationToken,
) {
    // Interactive protocols wait for small packets; the stream below does its own gathering.
    let _ = tcp.set_nodelay(true);
    let activity = Activity::new(idle);
    let (from_tcp, to_tcp) = tcp.split();
    let both = async {
        tokio::try_join!(outward(from_tcp, outgoing, &activity), inward(recv, to_tcp, &activity))
    };
    let whole = tokio::select! {
        ended = both => ended.is_ok(),
        () = activity.ceased() => false,
        () = cancel.cancelled() => false,
    };
    if !whole {
        abort(&tcp);
    }
}

/// Makes the closing of a TCP connection a reset, so that its other side takes nothing for whole.
pub(super) fn abort(tcp: &TcpStream) {
    let _ = tcp.set_zero_linger();
}

async fn outward(
    mut tcp: ReadHalf<'_>,
    mut outgoing: Outgoing,
    activity: &Activity,
) -> Result<(), Cut> {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0_usize;
    loop {
        let read = tcp.read(&mut buffer).await.map_err(|_| Cut)?;
        activity.note();
        if read == 0 {
            break;
        }
        total = total.saturating_add(read);
        if outgoing.bytes(Bytes::copy_from_slice(&buffer[..read])).await.is_err() {
            // The peer wants no more of this direction; the other one shows whether it is over.
            return Ok(());
        }
        activity.note();
    }
    outgoing.finish();
    activity.allow(transfer_time(total.min(MAX_IN_FLIGHT)));
    outgoing.arrived().await;
    Ok(())
}

async fn inward(
    mut recv: FrameReceiver,
    mut tcp: WriteHalf<'_>,
    activity: &Activity,
) -> Result<(), Cut> {
    while let Some(chunk) = recv.0.read_chunk(BUFFER).await.map_err(|_| Cut)? {
        activity.note();
        if tcp.write_all(&chunk).await.is_err() {
            recv.stop();
            return Ok(());
        }
        activity.note();
    }
    // Closed already: then the other direction knows.
    let _ = tcp.shutdown().await;
    Ok(())
}

/// Until when the silence may last.
struct Activity {
    idle: Duration,
    until: Mutex<Instant>,
}

impl Activity {
    fn new(idle: Duration) -> Self {
        Self { idle, until: Mutex::new(Instant::now() + idle) }
    }

    fn note(&self) {
        self.allow(self.idle);
    }

    fn allow(&self, silence: Duration) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Instant::now() + silence);
    }

    fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the silence lasted too long.
    async fn ceased(&self) {
        let mut until = self.until();
        while Instant::now() < until {
            tokio::time::sleep_until(until).await;
            until = self.until();
        }
    }
}

//! One WebSocket: writing and reading side by side, so that neither waits for the other.
//!
//! A client that does not take what is sent is dropped after a time, and so is one that is silent, not
//! even answering pings ([`Pace`]). Nothing is queued here: what a subscriber misses meanwhile, the
//! node's own bounded queue counts.

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::App;
use super::failure::{Failure, Result};

/// The times of a socket.
const PACE: Pace = Pace {
    send: Duration::from_secs(10),
    ping: Duration::from_secs(20),
    // Three pings.
    silence: Duration::from_mins(1),
};
/// Largest frame of a client that has nothing to say but pongs and a farewell.
pub(super) const QUIET: usize = 4096;
/// Bytes that a socket may keep for a client that does not take them, beside the frame in hand.
const WRITE_BUFFER: usize = 64 * 1024;

/// How long a socket waits.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Longest time for one frame to be taken.
    send: Duration,
    /// Time between pings.
    ping: Duration,
    /// Time without a word, not even a pong, after which the client is gone.
    silence: Duration,
}

/// Upgrades the request, and runs `session` until it ends; `largest` bounds what the client may send
/// in one message, `outgoing` what the server does.
pub(super) fn upgrade<F, Fut>(
    app: &Arc<App>,
    upgrade: WebSocketUpgrade,
    (largest, outgoing): (usize, usize),
    session: F,
) -> Result<Response>
where
    F: FnOnce(WebSocket) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::clone(&app.socket_permits);
    let permit = permits.try_acquire_owned().map_err(|_| Failure::too_many_sockets())?;
    let counted = app.sockets.token();
    let upgrade = upgrade
        .max_message_size(largest)
        .max_frame_size(largest)
        .write_buffer_size(0)
        .max_write_buffer_size(outgoing.saturating_add(WRITE_BUFFER));
    Ok(upgrade.on_upgrade(async move |socket| {
        session(socket).await;
        drop((permit, counted));
    }))
}

/// Writes what `outgoing` yields and hands to `incoming` what the client says, until one of them
/// ends, the client goes or is dropped, or the server stops. Then says farewell.
pub(super) async fn run<O, I>(app: &App, socket: WebSocket, outgoing: O, incoming: I)
where
    O: Stream<Item = Message>,
    I: FnMut(Message) -> ControlFlow<()>,
{
    let (mut sink, stream) = socket.split();
    let parting = tokio::select! {
        biased;
        () = app.closing.cancelled() => Some((close_code::AWAY, "the node is stopping")),
        ended = write(&mut sink, outgoing, PACE) => match ended {
            // All was said.
            ControlFlow::Continue(()) => Some((close_code::NORMAL, "")),
            ControlFlow::Break(()) => None,
        },
        () = read(stream, incoming, PACE) => Some((close_code::NORMAL, "")),
    };
    if let Some((code, reason)) = parting {
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        let farewell = async {
            let _ = sink.send(Message::Close(Some(frame))).await;
            let _ = sink.close().await;
        };
        let _ = timeout(Duration::from_secs(1), farewell).await;
    }
}

/// Breaks when the client does not take a frame.
async fn write<S, O>(sink: &mut S, outgoing: O, pace: Pace) -> ControlFlow<()>
where
    S: Sink<Message> + Unpin,
    O: Stream<Item = Message>,
{
    let mut outgoing = std::pin::pin!(outgoing);
    let mut ping = interval(pace.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    loop {
        let frame = tokio::select! {
            frame = outgoing.next() => match frame {
                Some(frame) => frame,
                None => return ControlFlow::Continue(()),
            },
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        if !matches!(timeout(pace.send, sink.send(frame)).await, Ok(Ok(()))) {
            tracing::debug!("a WebSocket client did not take a frame and is dropped");
            return ControlFlow::Break(());
        }
    }
}

/// Ends with the client, or with its silence.
async fn read<S, E, I>(mut stream: S, mut incoming: I, pace: Pace)
where
    S: Stream<Item = Result<Message, E>> + Unpin,
    I: FnMut(Message) -> ControlFlow<()>,
{
    while let Ok(Some(Ok(frame))) = timeout(pace.silence, stream.next()).await {
        let end = matches!(frame, Message::Close(_));
        if end || incoming(frame).is_break() {
            return;
        }
    }
}

/// Ignores what a client says that is to listen only.
pub(super) fn ignore(_: Message) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use futures_util::{sink, stream};
    use tokio::time::Instant;

    use super::*;

    const NEVER: Duration = Duration::from_hours(1);
    const SOON: Duration = Duration::from_millis(20);

    /// Longer than any of these tests takes on a busy machine.
    async fn in_time<T>(future: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(20), future).await.expect("it ends in time")
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_dropped() {
        let mut stuck = Box::pin(sink::unfold((), async |(), _: Message| {
            std::future::pending::<Result<(), ()>>().await
        }));
        let pace = Pace { send: SOON, ping: NEVER, silence: NEVER };
        let frames = stream::repeat_with(|| Message::text("x"));
        assert!(in_time(write(&mut stuck, frames, pace)).await.is_break());
    }

    #[tokio::test]
    async fn a_silent_client_is_dropped() {
        let pace = Pace { send: NEVER, ping: NEVER, silence: SOON };
        let silent = stream::pending::<Result<Message, ()>>();
        in_time(read(Box::pin(silent), ignore, pace)).await;
    }

    #[tokio::test]
    async fn a_client_that_answers_pings_is_kept() {
        let pace = Pace { send: NEVER, ping: NEVER, silence: 50 * SOON };
        let begin = Instant::now();
        let pongs = stream::iter(0..80).then(async |_| {
            tokio::time::sleep(SOON).await;
            Ok::<_, ()>(Message::Pong(Bytes::new()))
        });
        in_time(read(Box::pin(pongs), ignore, pace)).await;
        assert!(begin.elapsed() >= 80 * SOON, "all of them were heard");
    }

    #[tokio::test]
    async fn an_idle_socket_is_pinged() {
        let pace = Pace { send: NEVER, ping: SOON, silence: NEVER };
        let (seen, mut pings) = tokio::sync::mpsc::unbounded_channel();
        let mut taking = Box::pin(sink::unfold(seen, async |seen, frame| {
            seen.send(frame).map(|()| seen).map_err(drop)
        }));
        let second = async {
            pings.recv().await;
            pings.recv().await
        };
        let second = in_time(async {
            tokio::select! {
                second = second => second,
                _ = write(&mut taking, stream::pending(), pace) => None,
            }
        });
        assert_eq!(second.await, Some(Message::Ping(Bytes::new())));
    }
}

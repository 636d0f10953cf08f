//! Answers a peer's requests from the store, a frame at a time.
//!
//! Invariant: every run that is sent ends at an event whose own signature is valid, because the
//! receiver takes that as the proof of the whole run. A log whose author left a bad signature inside
//! is served up to the last good one before the frame's end, or further on to the next.

use std::sync::Arc;

use ayni_core::event::Event;
use ayni_core::id::RoomId;
use ayni_core::limits::{MAX_RUN_EVENTS, RUN_TARGET};
use ayni_core::log::{Frontier, Lane, LogId};
use ayni_core::sync::frame::SyncFrame;

use crate::inner::Inner;
use crate::transport::stream::FrameSender;

/// Sends the events of `ranges` that are held, control events in the order in which they were
/// accepted here, then `Done`.
pub(crate) async fn ranges(
    inner: &Arc<Inner>,
    room: RoomId,
    want: u64,
    ranges: &Frontier,
    send: &mut FrameSender,
) -> Result<(), String> {
    control(inner, room, want, ranges, send).await?;
    for (log, runs) in ranges.iter().filter(|(log, _)| log.lane == Lane::Chat) {
        for run in runs.ranges().iter().rev() {
            chat(inner, room, want, *log, run.clone(), send).await?;
        }
    }
    done(want, send).await
}

/// Sends so many of the newest messages, then `Done`.
pub(crate) async fn newest(
    inner: &Arc<Inner>,
    room: RoomId,
    want: u64,
    count: u32,
    send: &mut FrameSender,
) -> Result<(), String> {
    let newest = inner.store.newest(room, count).await.map_err(|error| error.to_string())?;
    for (log, runs) in newest.iter() {
        for run in runs.ranges() {
            chat(inner, room, want, *log, run.clone(), send).await?;
        }
    }
    done(want, send).await
}

async fn done(want: u64, send: &mut FrameSender) -> Result<(), String> {
    send.send(&SyncFrame::Done(want)).await.map_err(|error| error.to_string())
}

async fn control(
    inner: &Arc<Inner>,
    room: RoomId,
    want: u64,
    ranges: &Frontier,
    send: &mut FrameSender,
) -> Result<(), String> {
    if ranges.iter().all(|(log, _)| log.lane != Lane::Control) {
        return Ok(());
    }
    let mut after = 0;
    loop {
        let page = inner.store.control_events(room, ranges.clone(), after, RUN_TARGET).await;
        let (events, next) = page.map_err(|error| error.to_string())?;
        // Consecutive events of one log travel together; the order of acceptance stays.
        for run in events.chunk_by(|one, two| {
            one.log() == two.log() && one.seq().checked_add(1) == Some(two.seq())
        }) {
            send_run(want, run.to_vec(), send).await?;
        }
        let Some(next) = next else { return Ok(()) };
        after = next;
    }
}

async fn chat(
    inner: &Arc<Inner>,
    room: RoomId,
    want: u64,
    log: LogId,
    range: std::ops::Range<u64>,
    send: &mut FrameSender,
) -> Result<(), String> {
    let mut start = range.start;
    while start < range.end {
        let part =
            inner.store.events(room, log, start..range.end, RUN_TARGET, MAX_RUN_EVENTS).await;
        let part = part.map_err(|error| error.to_string())?;
        let Some(last) = part.last() else { return Ok(()) };
        start = last.seq().saturating_add(1);
        let sent = send_run(want, part, send).await?;
        if sent == 0 {
            // No valid signature in a whole frame: its author made this log unservable.
            return Ok(());
        }
        start = start.min(sent);
    }
    Ok(())
}

/// Sends events up to the last whose signature is valid. Returns the position after that one, or 0.
async fn send_run(
    want: u64,
    mut events: Vec<Event>,
    send: &mut FrameSender,
) -> Result<u64, String> {
    while events.last().is_some_and(|event| event.verify().is_err()) {
        events.pop();
    }
    let Some(last) = events.last() else { return Ok(0) };
    let end = last.seq().saturating_add(1);
    let raw = events.iter().map(Event::to_raw).collect();
    send.send(&SyncFrame::Run(want, raw)).await.map_err(|error| error.to_string())?;
    Ok(end)
}

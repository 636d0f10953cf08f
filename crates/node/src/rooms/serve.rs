//! Answers a peer's requests from the store, a frame at a time.
//!
//! Invariant: every run that is sent ends at an event whose own signature is valid, because the
//! receiver takes that as the proof of the whole run. Where signatures inside a log are bad (its
//! author left them so, or whoever handed the log on spoilt them) a frame ends at the last good one
//! before its usual end, or else at the next good one: what came here in one frame, ending with a
//! good signature, can always be handed on.

use std::sync::Arc;

use ayni_core::event::Event;
use ayni_core::id::RoomId;
use ayni_core::limits::{MAX_FRAME, MAX_RUN_EVENTS, RUN_TARGET};
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
    // What is dated ahead is not shown yet: it must not fill a newcomer's first look.
    let newest = inner.store.newest(room, count, inner.newest_shown()).await;
    let newest = newest.map_err(|error| error.to_string())?;
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
        if part.is_empty() {
            return Ok(());
        }
        let mut reached = send_run(want, part, send).await?;
        if reached == 0 {
            let part = up_to_next_good(inner, room, log, start).await?;
            reached = send_run(want, part, send).await?;
        }
        if reached == 0 {
            // More than a frame without a good signature: nobody can have had it from anyone else.
            return Ok(());
        }
        start = reached;
    }
    Ok(())
}

/// Reads events up to the first whose signature is valid, be it beyond what was asked for: a little
/// more is welcome ([`ayni_core::sync`]).
async fn up_to_next_good(
    inner: &Arc<Inner>,
    room: RoomId,
    log: LogId,
    start: u64,
) -> Result<Vec<Event>, String> {
    let events = inner.store.events(room, log, start..u64::MAX, MAX_FRAME, MAX_RUN_EVENTS).await;
    let mut events = events.map_err(|error| error.to_string())?;
    let good = events.iter().position(|event| event.verify().is_ok());
    events.truncate(good.map_or(0, |at| at + 1));
    Ok(events)
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
    let raw = events.into_iter().map(Event::into_raw).collect();
    send.send(&SyncFrame::Run(want, raw)).await.map_err(|error| error.to_string())?;
    Ok(end)
}

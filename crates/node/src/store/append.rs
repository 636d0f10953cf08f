//! What each [`Write`] does to the tables, inside the writer's transaction.

use std::collections::HashMap;

use ayni_core::clock::{Hlc, Millis};
use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event;
use ayni_core::id::{AccountId, EpochId, RoomId};
use ayni_core::log::{Lane, LogId};
use ayni_core::room::{Kind, Run};
use ayni_core::ticket::PeerAddr;
use ayni_core::wire;
use rusqlite::{Connection, params};

use super::failure::Failure;
use super::number::{from_count, from_seq, from_time, half, short};
use super::{Append, LogSummary, TransferSource, Write, holdings, index, shares, transfers};

/// Row numbers kept in memory, at most; more, and all are looked up again.
const MAX_KNOWN: usize = 16 * 1024;

/// The row numbers of rooms and logs that were used lately. Forgotten when a transaction is undone.
#[derive(Default)]
pub(super) struct Known {
    rooms: HashMap<RoomId, i64>,
    logs: HashMap<(i64, LogId), i64>,
}

/// The number that stands for a lane in the tables.
pub(super) const fn lane_number(lane: Lane) -> i64 {
    match lane {
        Lane::Control => 0,
        Lane::Chat => 1,
    }
}

/// The number that stands for a kind in the tables.
pub(super) const fn kind_number(kind: Kind) -> i64 {
    match kind {
        Kind::Group => 0,
        Kind::Direct => 1,
        Kind::Own => 2,
    }
}

/// Carries out one write. On failure the caller undoes the transaction.
pub(super) fn apply(db: &Connection, known: &mut Known, write: &Write) -> Result<(), Failure> {
    match write {
        Write::Room { room, kind, now_ms } => note_room(db, room, *kind, *now_ms),
        Write::Append(append) => append_events(db, known, append),
        Write::Secrets { room, secrets } => {
            let room = room_row(db, known, room)?;
            keep_secrets(db, room, secrets)
        }
        Write::PendingJoin { room, ticket, now_ms } => note_join(db, room, ticket, *now_ms),
        Write::JoinDone { room } => {
            db.prepare_cached("DELETE FROM pending_joins WHERE room = ?1")?.execute([&room.0])?;
            Ok(())
        }
        Write::Peer { addr, account, name, now_ms } => {
            note_peer(db, addr, account.as_ref(), name.as_deref(), *now_ms)
        }
        Write::MarkRead { room } => {
            db.prepare_cached("UPDATE rooms SET unread = 0 WHERE room = ?1 AND unread <> 0")?
                .execute([&room.0])?;
            Ok(())
        }
        Write::Recovered { .. } => Ok(()),
        Write::Hold(hold) => {
            let room = hold.room.map(|room| room_row(db, known, &room)).transpose()?;
            holdings::hold(db, room, hold)
        }
        Write::Given { room, root, blobs } => holdings::give(db, room, root, blobs),
        Write::Kept { room, root } => holdings::keep(db, room.as_ref(), root),
        Write::Release { room, root } => holdings::release(db, room.as_ref(), root),
        Write::GiveUp { room, root } => holdings::give_up(db, room.as_ref(), root),
        Write::GiveUpAll => holdings::give_up_all(db),
        Write::Leave { room } => holdings::leave(db, room),
        Write::Evict { root } => holdings::evict(db, root),
        Write::Said { room, root, said } => holdings::said(db, room, root, *said),
        Write::Pin { room, root, pinned } => holdings::pin(db, room, root, *pinned),
        Write::Used { root, now_ms } => holdings::used(db, root, *now_ms),
        Write::RoomFetchLimit { room, bytes } => {
            holdings::set_fetch_limit(db, room_row(db, known, room)?, *bytes)
        }
        Write::Transfer(transfer) => {
            let room = match &transfer.source {
                TransferSource::Message { room, .. } => Some(room_row(db, known, room)?),
                TransferSource::Ticket(_) => None,
            };
            transfers::begin(db, room, transfer)
        }
        Write::TransferDone { id } => transfers::done(db, *id),
        Write::TransferPaused { id, paused } => transfers::pause(db, *id, *paused),
        Write::TransferRates { id, rates } => transfers::set_rates(db, *id, *rates),
        Write::TransferPriority { id, priority } => transfers::set_priority(db, *id, *priority),
        Write::Share(share) => shares::share(db, share),
        Write::Unshare { root } => shares::unshare(db, root),
    }
}

fn note_room(db: &Connection, room: &RoomId, kind: Kind, now_ms: Millis) -> Result<(), Failure> {
    db.prepare_cached(
        "INSERT INTO rooms (room, kind, joined_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (room) DO UPDATE SET kind = excluded.kind",
    )?
    .execute(params![room.0, kind_number(kind), from_count(now_ms)])?;
    Ok(())
}

fn append_events(db: &Connection, known: &mut Known, append: &Append) -> Result<(), Failure> {
    let room = room_row(db, known, &append.room)?;
    for summary in &append.runs {
        replace_runs(db, known, room, summary)?;
    }
    for (log, from) in &append.voided {
        let row = log_row(db, known, room, log)?;
        void(db, row, *from)?;
        if !append.runs.iter().any(|(other, ..)| other == log) {
            drop_runs_beyond(db, row, *from)?;
        }
    }
    let mut place = None;
    for event in append.events.iter() {
        match held_in(append, &mut place, event) {
            Held::Yes => insert_event(db, log_row(db, known, room, &event.log())?, room, event)?,
            Held::Voided => {}
            Held::No => return Err(Failure::Refused("an event outside of its log's runs")),
        }
    }
    if append.unread > 0 {
        db.prepare_cached("UPDATE rooms SET unread = unread + ?2 WHERE id = ?1")?
            .execute(params![room, from_count(append.unread)])?;
    }
    keep_secrets(db, room, &append.secrets)
}

enum Held {
    Yes,
    /// It came and was voided within the same append.
    Voided,
    No,
}

/// Tells whether an event lies in the runs that come with it. `place` is the run of the event
/// before it, which is nearly always its own too.
fn held_in<'a>(
    append: &'a Append,
    place: &mut Option<(&'a LogId, &'a Run)>,
    event: &Event,
) -> Held {
    let (log, seq) = (event.log(), event.seq());
    if place.is_some_and(|(of, run)| *of == log && (run.start..run.end).contains(&seq)) {
        return Held::Yes;
    }
    let found = append.runs.iter().filter(|(of, ..)| *of == log).find_map(|(of, runs, _)| {
        runs.iter().find(|run| (run.start..run.end).contains(&seq)).map(|run| (of, run))
    });
    if found.is_some() {
        *place = found;
        return Held::Yes;
    }
    let voided = append.voided.iter().any(|(of, from)| *of == log && seq >= *from);
    if voided { Held::Voided } else { Held::No }
}

fn insert_event(db: &Connection, log: i64, room: i64, event: &Event) -> Result<(), Failure> {
    let header = event.header();
    let changed = db
        .prepare_cached(
            "INSERT INTO events (room, lane, log, seq, time, short, header, signature, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (log, seq) DO UPDATE SET body = coalesce(body, excluded.body)
             WHERE header = excluded.header",
        )?
        .execute(params![
            room,
            lane_number(header.lane),
            log,
            from_seq(header.seq),
            from_time(header.time),
            short(&event.id()),
            event.header_bytes(),
            event.signature().0,
            event.body(),
        ])?;
    if changed == 0 {
        return Err(Failure::Refused("another event at a position that is taken"));
    }
    Ok(())
}

fn replace_runs(
    db: &Connection,
    known: &mut Known,
    room: i64,
    (log, runs, newest): &LogSummary,
) -> Result<(), Failure> {
    let log = log_row(db, known, room, log)?;
    db.prepare_cached("UPDATE logs SET newest_time = max(newest_time, ?2) WHERE id = ?1")?
        .execute(params![log, from_time(*newest)])?;
    db.prepare_cached("DELETE FROM runs WHERE log = ?1")?.execute([log])?;
    let mut insert = db.prepare_cached(
        "INSERT INTO runs (log, start, end, before, last) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for run in runs {
        let before = run.before.map(|id| id.0);
        insert.execute(params![log, from_seq(run.start), from_seq(run.end), before, run.last.0])?;
    }
    Ok(())
}

/// Deletes the events of a log from a position on.
fn void(db: &Connection, log: i64, from: u64) -> Result<(), Failure> {
    // The positions above come in at most two stretches that SQLite orders as we do.
    let middle = half(from);
    let stretches = [Some((from, middle)), (middle < u64::MAX).then_some((middle + 1, u64::MAX))];
    let mut delete =
        db.prepare_cached("DELETE FROM events WHERE log = ?1 AND seq BETWEEN ?2 AND ?3")?;
    for (first, last) in stretches.into_iter().flatten() {
        let (first, last) = (from_seq(first), from_seq(last));
        index::before_delete(db, log, first, last)?;
        delete.execute(params![log, first, last])?;
    }
    index::after_delete(db)
}

/// Drops the runs that reach beyond a position, with their events: a run cut in its middle goes
/// whole, since its last event would not be known.
fn drop_runs_beyond(db: &Connection, log: i64, from: u64) -> Result<(), Failure> {
    let mut runs = super::read::runs_of(db, log)?;
    runs.retain(|run| run.end > from);
    let Some(first) = runs.iter().map(|run| run.start).min() else { return Ok(()) };
    void(db, log, first.min(from))?;
    for run in runs {
        db.prepare_cached("DELETE FROM runs WHERE log = ?1 AND start = ?2")?
            .execute(params![log, from_seq(run.start)])?;
    }
    Ok(())
}

fn keep_secrets(
    db: &Connection,
    room: i64,
    secrets: &[(EpochId, EpochSecret)],
) -> Result<(), Failure> {
    for (epoch, secret) in secrets {
        db.prepare_cached(
            "INSERT INTO secrets (room, epoch, secret) VALUES (?1, ?2, ?3)
             ON CONFLICT (room, epoch) DO UPDATE SET secret = excluded.secret",
        )?
        .execute(params![room, epoch.0, secret.as_bytes()])?;
    }
    Ok(())
}

fn note_join(db: &Connection, room: &RoomId, ticket: &[u8], now_ms: Millis) -> Result<(), Failure> {
    db.prepare_cached(
        "INSERT INTO pending_joins (room, ticket, since_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (room) DO UPDATE SET ticket = excluded.ticket",
    )?
    .execute(params![room.0, ticket, from_count(now_ms)])?;
    Ok(())
}

fn note_peer(
    db: &Connection,
    addr: &PeerAddr,
    account: Option<&AccountId>,
    name: Option<&str>,
    now_ms: Millis,
) -> Result<(), Failure> {
    let nowhere = addr.direct.is_empty() && addr.relays.is_empty();
    db.prepare_cached(
        "INSERT INTO peers (peer, account, name, addrs, last_seen_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (peer) DO UPDATE SET
             account = coalesce(excluded.account, account),
             name = coalesce(excluded.name, name),
             addrs = iif(?6, addrs, excluded.addrs),
             last_seen_ms = max(last_seen_ms, excluded.last_seen_ms)",
    )?
    .execute(params![
        addr.peer.0,
        account.map(|account| account.0),
        name,
        wire::encode(addr),
        from_count(now_ms),
        nowhere,
    ])?;
    Ok(())
}

fn room_row(db: &Connection, known: &mut Known, room: &RoomId) -> Result<i64, Failure> {
    if let Some(row) = known.rooms.get(room) {
        return Ok(*row);
    }
    let row =
        super::read::room_row(db, room)?.ok_or(Failure::Refused("a room that was never noted"))?;
    if known.rooms.len() >= MAX_KNOWN {
        known.rooms.clear();
    }
    known.rooms.insert(*room, row);
    Ok(row)
}

/// Returns the row of a log, which is made when it is new.
fn log_row(db: &Connection, known: &mut Known, room: i64, log: &LogId) -> Result<i64, Failure> {
    if let Some(row) = known.logs.get(&(room, *log)) {
        return Ok(*row);
    }
    let row = match super::read::log_row(db, room, log)? {
        Some(row) => row,
        None => new_log(db, room, log)?,
    };
    if known.logs.len() >= MAX_KNOWN {
        known.logs.clear();
    }
    known.logs.insert((room, *log), row);
    Ok(row)
}

fn new_log(db: &Connection, room: i64, log: &LogId) -> Result<i64, Failure> {
    let mut insert = db.prepare_cached(
        "INSERT INTO logs (room, lane, device, term, newest_time) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let nothing_yet = from_time(Hlc(0));
    let key = params![room, lane_number(log.lane), log.device.0, log.term, nothing_yet];
    Ok(insert.insert(key)?)
}

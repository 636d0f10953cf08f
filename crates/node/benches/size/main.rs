//! Rooms of a size that few reach: a million messages by 20 and by 500 authors, a thousand members.
//!
//! A newcomer takes all of it from one member: events a second, bytes on the wire, memory of both
//! ends; bytes in the database; how long the room takes to open; what two that agree say to each
//! other. Every node is a process of its own, so that the memory of each can be told.
//!
//! Options after the names of variants (`20`, `500`; both by default): `--quick`, `--events N`,
//! `--keep FOLDER` (keeps what was made there, and takes it from there the next time), `--runs N`.

#[path = "../common/mod.rs"]
mod common;
mod make;
mod node;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use common::baseline;
use common::child::Child;
use common::{Meter, Table, as_float, doing, median, ms, net, option, quick, times, verdict};
use make::Shape;

/// The aims.
const AIM_RATE: f64 = 30_000.0;
const AIM_RATIO: f64 = 1.15;
const AIM_MEMORY_MB: f64 = 150.0;
const AIM_OPEN: Duration = Duration::from_millis(50);
const AIM_IDLE_BYTES: f64 = 200.0;
/// Rows of one transaction of the bare insert: about what the store gathers at most.
const BATCH: usize = 8192;
/// Starts of which the opening of the room is judged.
const OPENINGS: usize = 7;

fn main() -> Result<()> {
    if let Some(arguments) = common::child::arguments() {
        return tokio::runtime::Runtime::new()?.block_on(node::run(&arguments));
    }
    net::alone()?;
    let (events, runs) = if quick() { (20_000, 1) } else { (1_000_000, 3) };
    let events = option("--events").map_or(Ok(events), |text| text.parse())?;
    let runs = option("--runs").map_or(Ok(runs), |text| text.parse())?;
    let shapes = if quick() { [(20, 20), (100, 200)] } else { [(20, 20), (500, 1000)] };
    let named: Vec<String> =
        std::env::args().skip(1).take_while(|it| !it.starts_with('-')).collect();
    for (authors, members) in shapes {
        if named.is_empty() || named.contains(&authors.to_string()) {
            variant(Shape { authors, members, events }, runs)?;
        }
    }
    Ok(())
}

fn variant(shape: Shape, runs: usize) -> Result<()> {
    let own = common::folder()?;
    let kept = option("--keep").map(PathBuf::from);
    let folder = kept.as_deref().unwrap_or(own.path()).join(shape.name());
    if !folder.exists() {
        doing(&format!("makes a room: {}", shape.name()));
        let begun = Instant::now();
        tokio::runtime::Runtime::new()?.block_on(make::make(&folder, shape))?;
        doing(&format!("made in {:.1} s", begun.elapsed().as_secs_f64()));
    }
    let counted = if net::is_alone() { "alone" } else { "with other traffic" };
    let title = format!(
        "size: {} messages by {} authors, {} members, on 127.0.0.1 (bytes counted {counted})",
        shape.events, shape.authors, shape.members
    );
    let last = sync(&folder, shape, runs, &title)?;
    opening(&folder, &title)?;
    bare(&folder, &last, &title)
}

/// What a newcomer's folder is like at its end.
struct Last {
    rate: f64,
    event_bytes: u64,
}

/// What one newcomer cost.
struct Taken {
    held_ms: f64,
    ratio: f64,
    peak_mb: f64,
    event_bytes: u64,
}

fn sync(folder: &Path, shape: Shape, runs: usize, title: &str) -> Result<Last> {
    let mut table = Table::new(&[
        "newcomer",
        "first look",
        "all held",
        "events/s",
        "UDP / event bytes",
        "peak, newcomer",
        "peak, server",
        "cpu s, both",
        "other cpu",
        "db bytes/event",
    ]);
    let mut idle = Table::new(&["one comparison of two that agree", "stream", "UDP", "aim: 200 B"]);
    let mut search = Table::new(&["search", "all indexed", "a rare word", "a common beginning"]);
    let (mut rates, mut ratios, mut peak, mut event_bytes) = (Vec::new(), Vec::new(), 0.0, 0);
    let events = as_float(shape.all_events());
    for run in 1..=runs {
        doing(&format!("newcomer {run} of {runs}"));
        let after = (run == runs).then_some(&mut idle);
        let taken = newcomer(folder, shape, &run.to_string(), &mut table, |child| {
            after.map_or(Ok(()), |idle| compare(child, idle))
        })?;
        rates.push(events / taken.held_ms * 1e3);
        ratios.push(taken.ratio);
        peak = taken.peak_mb.max(peak);
        event_bytes = taken.event_bytes;
    }
    let (rate, ratio) = (median(&mut rates), median(&mut ratios));
    table.row(&["median", "", "", &format!("{rate:.0}"), &times(ratio), &format!("{peak:.0} MB")]);
    let met =
        [verdict(rate >= AIM_RATE), verdict(ratio <= AIM_RATIO), verdict(peak <= AIM_MEMORY_MB)];
    table.row(&["aim: 30,000, 1.15 x, 150 MB", "", "", met[0], met[1], met[2]]);
    doing("a newcomer that indexes words");
    newcomer(folder, shape, WITH_INDEX, &mut table, |child| {
        let indexed: f64 = child.line()?.parse()?;
        let calls = child.line()?;
        let calls = calls
            .split(' ')
            .map(|call| anyhow::Ok(format!("{:.1} ms", call.parse::<f64>()? / 1e3)));
        let calls = calls.collect::<Result<Vec<_>>>()?.join("\n");
        let (rare, common) = calls.split_once('\n').context("two calls")?;
        search.row(&["from the start", &format!("{:.1} s", indexed / 1e3), rare, common]);
        Ok(())
    })?;
    table.print(title);
    idle.print("");
    search.print("");
    Ok(Last { rate, event_bytes })
}

/// Lets a newcomer take everything, and adds what it cost to a table. `after` is called with it when it
/// has everything.
fn newcomer(
    folder: &Path,
    shape: Shape,
    name: &str,
    table: &mut Table,
    after: impl FnOnce(&mut Child) -> Result<()>,
) -> Result<Taken> {
    let mut server = Child::start(&["serve", &folder.display().to_string()])?;
    let ticket = server.ask("invite")?;
    let fresh = common::folder()?;
    let target = fresh.path().join("data");
    let index = if name == WITH_INDEX { "index" } else { "plain" };
    let (all, path) = (shape.all_events().to_string(), target.display().to_string());
    let (before, meter, spent) = (net::loopback_bytes()?, Meter::start()?, server.time()?);
    let mut newcomer = Child::start(&["join", &path, &ticket, &all, index])?;
    let shown = newcomer.line()?;
    let held_ms: f64 = newcomer.line()?.parse()?;
    let (load, cpu) = (meter.read()?, newcomer.time()? + server.time()?.saturating_sub(spent));
    std::thread::sleep(Duration::from_millis(300));
    let udp = net::loopback_bytes()?.saturating_sub(before);
    after(&mut newcomer)?;
    let peaks = (newcomer.peak()?, server.peak()?);
    newcomer.end()?;
    server.end()?;
    let database = target.join("ayni.db");
    let event_bytes = common::event_bytes(&database)?;
    let (size, events) =
        (as_float(std::fs::metadata(&database)?.len()), as_float(shape.all_events()));
    let (ratio, others) =
        (as_float(udp) / as_float(event_bytes), load.others.saturating_sub(cpu).as_secs_f64());
    table.row(&[
        name.to_owned(),
        format!("{shown} ms"),
        format!("{:.1} s", held_ms / 1e3),
        format!("{:.0}", events / held_ms * 1e3),
        times(ratio),
        format!("{:.0} MB", peaks.0),
        format!("{:.0} MB", peaks.1),
        format!("{:.1}", cpu.as_secs_f64()),
        format!("{:.0} %", 100.0 * others / load.wall.as_secs_f64() / common::cores()),
        format!("{:.0} (events {:.0})", size / events, as_float(event_bytes) / events),
    ]);
    Ok(Taken { held_ms, ratio, peak_mb: peaks.0.max(peaks.1), event_bytes })
}

/// Name of the newcomer that indexes words.
const WITH_INDEX: &str = "indexing words";

/// How long the bytes of comparisons are counted, and how many there are in that time.
const IDLE: (Duration, u32) = (Duration::from_secs(22), 20);

/// Counts what comparisons cost beside what two connected nodes say anyway.
fn compare(newcomer: &mut Child, table: &mut Table) -> Result<()> {
    let (span, count) = if quick() { (IDLE.0 / 4, IDLE.1 / 5) } else { IDLE };
    doing("compares");
    // What follows a newcomer's coming ends first.
    std::thread::sleep(span / 2);
    let mut counted = |busy: bool| -> Result<f64> {
        let (begun, before) = (Instant::now(), net::loopback_bytes()?);
        for _ in 0..if busy { count } else { 0 } {
            newcomer.ask("compare")?;
            std::thread::sleep(span / count);
        }
        std::thread::sleep(span.saturating_sub(begun.elapsed()));
        Ok(as_float(net::loopback_bytes()?.saturating_sub(before)))
    };
    // What two nodes say to each other anyway varies: the least of two spans counts.
    let (before, busy, after) = (counted(false)?, counted(true)?, counted(false)?);
    let quiet = before.min(after);
    let stream = ayni_core::frame::encode(&ayni_core::sync::frame::SyncFrame::Summary(
        ayni_core::keys::Bytes32([0; 32]),
    ))?;
    let udp = (busy - quiet) / f64::from(count);
    table.row(&[
        format!("{count} in {:.0} s; without: {quiet:.0} B", span.as_secs_f64()),
        format!("{} B", stream.len()),
        format!("{udp:.0} B"),
        verdict(as_float(stream.len() as u64) <= AIM_IDLE_BYTES).to_owned(),
    ]);
    Ok(())
}

/// Opens the room in fresh processes.
fn opening(folder: &Path, title: &str) -> Result<()> {
    doing("opens");
    let mut table = Table::new(&["the newest 50", "p50", "slowest", "aim: 50 ms of the call"]);
    let (mut ready, mut first, mut again) =
        (common::Samples::default(), common::Samples::default(), common::Samples::default());
    for _ in 0..if quick() { 3 } else { OPENINGS } {
        let begun = Instant::now();
        let mut child = Child::start(&["open", &folder.display().to_string()])?;
        let line = child.line()?;
        ready.add(begun.elapsed());
        let mut calls = line.split(' ').map(str::parse::<u64>);
        let mut call = || anyhow::Ok(Duration::from_micros(calls.next().context("a time")??));
        first.add(call()?);
        again.add(call()?);
        child.end()?;
    }
    let mut row = |name: &str, samples: &common::Samples, verdict: &str| {
        table.row(&[name, &ms(samples.p50()), &ms(samples.percentile(100)), verdict]);
    };
    row("from the start of the process", &ready, "");
    row("the first call", &first, verdict(first.p50() <= AIM_OPEN));
    row("the call after it", &again, "");
    table.print(&format!("{title}: opening"));
    Ok(())
}

/// What the machine does with the same rows and bytes when nothing is checked.
fn bare(folder: &Path, last: &Last, title: &str) -> Result<()> {
    doing("measures the baselines");
    let target = common::folder()?;
    let database = folder.join("ayni.db");
    let rows = rows(&database)?;
    let insert = baseline::insert(&database, &target.path().join("bare.db"), BATCH)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let stream = runtime.block_on(baseline::stream(last.event_bytes))?;
    let mut table = Table::new(&["baseline of the same run", "time", "events/s", "newcomer / it"]);
    for (name, time) in
        [("the rows into a bare table", insert), ("the bytes on one stream", stream)]
    {
        let rate = as_float(rows) / time.as_secs_f64();
        table.row(&[
            name.to_owned(),
            format!("{:.1} s", time.as_secs_f64()),
            format!("{rate:.0}"),
            times(last.rate / rate),
        ]);
    }
    table.print(&format!("{title}: baselines"));
    Ok(())
}

fn rows(database: &Path) -> Result<u64> {
    let database = rusqlite::Connection::open(database)?;
    Ok(u64::try_from(
        database.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0))?,
    )?)
}

//! A newcomer takes a long history from one member: events a second from `join` until everything
//! is held, and the bytes that crossed the network for it.
//!
//! Bytes are counted at the loopback interface, so the benchmark starts itself again in a network
//! namespace of its own where it may; elsewhere whatever else uses 127.0.0.1 is counted too. The
//! figures are UDP payload, exactly: each counted packet has one header of 28 bytes, which is
//! subtracted, also where the system carries many datagrams as one packet.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use common::{Meter, Running, Table, quick, say_many, times, verdict};
use rusqlite::{Connection, OpenFlags};

/// Set in the process that has a network namespace of its own.
const INSIDE: &str = "AYNI_BENCH_NETNS";
/// IPv4 and UDP headers of one packet.
const HEADERS: u64 = 28;
/// Runs; each with a new newcomer, so that one disturbed run does not stand for all.
const RUNS: usize = 3;
/// The aims.
const AIM_RATE: f64 = 20_000.0;
const AIM_RATIO: f64 = 1.15;

fn main() -> Result<()> {
    if std::env::var_os(INSIDE).is_none()
        && let Some(success) = in_own_namespace()?
    {
        std::process::exit(i32::from(!success));
    }
    tokio::runtime::Runtime::new()?.block_on(run())
}

/// Runs this program in a network namespace of its own; none where that is not possible.
fn in_own_namespace() -> Result<Option<bool>> {
    let shell = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "sh", "-c"]).arg(script);
        command
    };
    let mut probe = shell("ip link set lo up");
    let possible = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let mut command = shell("ip link set lo up && exec \"$0\" \"$@\"");
    command.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    Ok(Some(command.status()?.success()))
}

async fn run() -> Result<()> {
    let count = if quick() { 5_000 } else { 100_000 };
    let author = Running::start().await?;
    let room = author.node.create_room("bulk").await?.room;
    let started = Instant::now();
    say_many(&author.node, room, count).await?;
    let saying = started.elapsed();
    let ticket = author.invite(room).await?;

    let mut table = Table::new(&[
        "run",
        "time",
        "events/s",
        "UDP both ways",
        "event bytes",
        "UDP / event bytes",
        "own cpu",
        "other cpu",
    ]);
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for run in 1..=RUNS {
        let newcomer = Running::start().await?;
        let all = author.events().await?;
        let (before, meter) = (loopback_bytes()?, Meter::start()?);
        newcomer.join(&ticket).await?;
        newcomer.holds(all).await?;
        let load = meter.read()?;
        // What follows at once, acknowledgements and announcements, belongs to it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let udp = loopback_bytes()?.saturating_sub(before);
        newcomer.node.shutdown().await;
        let events = event_bytes(&newcomer.folder.path().join("ayni.db"))?;
        rates.push(as_float(all) / load.wall.as_secs_f64());
        ratios.push(as_float(udp) / as_float(events));
        table.row(&[
            run.to_string(),
            format!("{:.2} s", load.wall.as_secs_f64()),
            format!("{:.0}", rates[run - 1]),
            format!("{:.1} MB", as_float(udp) / 1e6),
            format!("{:.1} MB", as_float(events) / 1e6),
            times(ratios[run - 1]),
            format!("{:.0} %", load.own_share()),
            format!("{:.0} %", load.others_share()),
        ]);
    }
    let (rate, ratio) = (median(&mut rates), median(&mut ratios));
    table.row(&["median", "", &format!("{rate:.0}"), "", "", &times(ratio)]);
    let verdicts = [verdict(rate >= AIM_RATE), verdict(ratio <= AIM_RATIO)];
    table.row(&["aim: 20,000 and 1.15 x", "", verdicts[0], "", "", verdicts[1]]);
    let counted = if std::env::var_os(INSIDE).is_some() { "alone" } else { "with other traffic" };
    table.print(&format!(
        "bulk: {count} events to a newcomer on 127.0.0.1 (counted {counted}; said before at {:.0} \
         events/s)",
        as_float(count as u64) / saying.as_secs_f64(),
    ));
    author.node.shutdown().await;
    Ok(())
}

/// Returns the UDP payload that the loopback interface has carried so far. Source: proc_net_dev(5).
fn loopback_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/net/dev").context("counting bytes needs Linux")?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
    let fields: Vec<u64> = line
        .context("there is no loopback interface")?
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    let [bytes, packets, ..] = fields[..] else { bail!("/proc/net/dev is of another shape") };
    Ok(bytes.saturating_sub(HEADERS * packets))
}

/// Returns the bytes of all events in a database: headers, signatures and bodies.
fn event_bytes(database: &Path) -> Result<u64> {
    let database = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sum = "SELECT sum(length(header) + length(signature) + length(body)) FROM events";
    Ok(u64::try_from(database.query_row(sum, [], |row| row.get::<_, i64>(0))?)?)
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn as_float(number: u64) -> f64 {
    number as f64
}

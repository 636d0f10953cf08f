//! A newcomer takes a long history from one member: events a second from `join` until everything
//! is held, and the bytes that crossed the network for it.
//!
//! Bytes are counted at the loopback interface, so the benchmark starts itself again in a network
//! namespace of its own where it may; elsewhere whatever else uses 127.0.0.1 is counted too. The
//! figures are UDP payload, exactly: each counted packet has one header of 28 bytes, which is
//! subtracted, also where the system carries many datagrams as one packet.

mod common;

use std::time::{Duration, Instant};

use anyhow::Result;
use common::{Meter, Running, Table, as_float, median, net, quick, say_many, times, verdict};

/// Runs; each with a new newcomer, so that one disturbed run does not stand for all.
const RUNS: usize = 3;
/// The aims.
const AIM_RATE: f64 = 20_000.0;
const AIM_RATIO: f64 = 1.15;

fn main() -> Result<()> {
    net::alone()?;
    tokio::runtime::Runtime::new()?.block_on(run())
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
        let (before, meter) = (net::loopback_bytes()?, Meter::start()?);
        newcomer.join(&ticket).await?;
        newcomer.holds(all).await?;
        let load = meter.read()?;
        // What follows at once, acknowledgements and announcements, belongs to it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let udp = net::loopback_bytes()?.saturating_sub(before);
        newcomer.node.shutdown().await;
        let events = common::event_bytes(&newcomer.folder.path().join("ayni.db"))?;
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
    let counted = if net::is_alone() { "alone" } else { "with other traffic" };
    table.print(&format!(
        "bulk: {count} events to a newcomer on 127.0.0.1 (counted {counted}; said before at {:.0} \
         events/s)",
        as_float(count as u64) / saying.as_secs_f64(),
    ));
    author.node.shutdown().await;
    Ok(())
}

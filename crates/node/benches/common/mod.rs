//! What the benchmarks share: nodes on 127.0.0.1, quantiles, processor time, baselines, tables.
//!
//! Each benchmark prints one table, with what the machine can do at all measured in the same run,
//! in turns with what is being judged: a figure of another hour or machine says little beside it.
#![allow(dead_code, unreachable_pub)] // each benchmark uses a part of it

pub mod baseline;
pub mod child;
pub mod net;
pub mod process;

use std::fs::read_to_string;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ayni::{EventId, InviteOptions, Network, Node, RoomId, Ticket};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

/// Longest wait for anything: only a hang meets it.
pub const DEADLINE: Duration = Duration::from_mins(2);
/// A text of ordinary length, 60 bytes with the number in front of it.
const WORDS: &str = " and what people usually say in one line of talk";
/// Says under way at once while a history is made, so that many share one commit.
const AT_ONCE: usize = 256;

/// Whether small numbers are enough, to see that a benchmark works (`-- --quick`).
pub fn quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

/// Returns the value of an option.
pub fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// Says on stderr what is being done, since a table comes only at its end.
pub fn doing(what: &str) {
    eprintln!("... {what}");
}

/// Makes an empty temporary folder, on the file system that all measurements use.
pub fn folder() -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("ayni-bench-").tempdir()?)
}

/// A node with a temporary folder of its own.
pub struct Running {
    /// The node.
    pub node: Node,
    /// Its folder, removed when this is dropped.
    pub folder: TempDir,
}

impl Running {
    /// Starts one, on 127.0.0.1 only.
    pub async fn start() -> Result<Self> {
        let folder = folder()?;
        let node = start(folder.path()).await?;
        Ok(Self { node, folder })
    }

    /// Invites, for any number of uses.
    pub async fn invite(&self, room: RoomId) -> Result<Ticket> {
        Ok(self.node.invite(room, InviteOptions::default()).await?)
    }

    /// Joins, and returns when the newest messages are here.
    pub async fn join(&self, ticket: &Ticket) -> Result<()> {
        self.node.join(ticket, DEADLINE).await?;
        Ok(())
    }

    /// Returns how many events are stored.
    pub async fn events(&self) -> Result<u64> {
        Ok(self.node.status().await?.events)
    }

    /// Waits until so many events are stored.
    pub async fn holds(&self, events: u64) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        while self.events().await? < events {
            ensure!(Instant::now() < end, "{} of {events} came", self.events().await?);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

/// Starts a node on 127.0.0.1 only.
pub async fn start(folder: &Path) -> Result<Node> {
    Ok(Node::builder().data(folder).network(Network::Loopback).start().await?)
}

/// Returns a text of 60 bytes.
pub fn text(number: usize) -> String {
    format!("{number:>12}{WORDS}")
}

/// Says so many things, many at once.
pub async fn say_many(node: &Node, room: RoomId, count: usize) -> Result<()> {
    let says = (0..count).map(|number| async move { node.say(room, &text(number)).await });
    stream::iter(says).buffer_unordered(AT_ONCE).try_for_each(async |_: EventId| Ok(())).await?;
    Ok(())
}

/// Durations of which quantiles are wanted.
#[derive(Debug, Default, Clone)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one.
    pub fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// Adds all of another's.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the duration that so many percent stay below (nearest rank); zero without samples.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// Returns the median.
    pub fn p50(&self) -> Duration {
        self.percentile(50)
    }

    /// Returns what one in a hundred exceeds.
    pub fn p99(&self) -> Duration {
        self.percentile(99)
    }
}

/// Writes a duration in milliseconds.
pub fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Writes a ratio.
pub fn times(ratio: f64) -> String {
    format!("{ratio:.2} x")
}

/// Says whether an aim is met.
pub fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// A table: the first column to the left, the others to the right.
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// A table with these column heads.
    pub fn new(heads: &[&str]) -> Self {
        let mut table = Self(Vec::new());
        table.row(heads);
        table
    }

    /// Adds a row.
    pub fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        self.0.push(cells.iter().map(|cell| cell.as_ref().to_owned()).collect());
    }

    /// Prints it under a title.
    pub fn print(&self, title: &str) {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &Vec<String>, at: usize| row.get(at).cloned().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|at| self.0.iter().map(|row| cell(row, at).chars().count()).max().unwrap_or(0))
            .collect();
        println!("\n{title}");
        for row in &self.0 {
            let cells = widths.iter().enumerate().map(|(at, &width)| match at {
                0 => format!("{:<width$}", cell(row, at)),
                _ => format!("{:>width$}", cell(row, at)),
            });
            println!("  {}", cells.collect::<Vec<_>>().join("   ").trim_end());
        }
    }
}

/// Measures processor time from its making on.
pub struct Meter {
    started: Instant,
    own: Duration,
    all: Duration,
}

/// Processor time over a span.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// The span.
    pub wall: Duration,
    /// What this process used of it, all cores added.
    pub own: Duration,
    /// What everything else on the machine used.
    pub others: Duration,
}

impl Meter {
    /// Starts to measure.
    pub fn start() -> Result<Self> {
        Ok(Self { started: Instant::now(), own: own_time()?, all: busy_time()? })
    }

    /// Returns what was used since.
    pub fn read(&self) -> Result<Load> {
        let own = own_time()?.saturating_sub(self.own);
        let all = busy_time()?.saturating_sub(self.all);
        Ok(Load { wall: self.started.elapsed(), own, others: all.saturating_sub(own) })
    }
}

impl Load {
    /// Returns the part of all cores that this process used, in percent.
    pub fn own_share(&self) -> f64 {
        share(self.own, self.wall)
    }

    /// Returns the part of all cores that everything else used, in percent.
    pub fn others_share(&self) -> f64 {
        share(self.others, self.wall)
    }
}

/// Returns how many cores there are.
pub fn cores() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    f64::from(u32::try_from(cores).unwrap_or(u32::MAX))
}

fn share(part: Duration, wall: Duration) -> f64 {
    100.0 * part.as_secs_f64() / (wall.as_secs_f64() * cores()).max(f64::MIN_POSITIVE)
}

/// Length of one tick in `/proc`: Linux tells every program 100 ticks a second.
const TICK: Duration = Duration::from_millis(10);

/// Returns the processor time of this process. Source: proc_pid_stat(5), fields 14 and 15.
fn own_time() -> Result<Duration> {
    let stat = read_to_string("/proc/self/stat").context("processor time needs Linux")?;
    let (_, fields) = stat.rsplit_once(") ").context("/proc/self/stat")?;
    Ok(ticks(fields.split(' ').skip(11).take(2)))
}

/// Returns the time in which any core was busy. Source: proc_stat(5): all but idle and iowait.
fn busy_time() -> Result<Duration> {
    let stat = read_to_string("/proc/stat").context("processor time needs Linux")?;
    let Some(line) = stat.lines().next() else { bail!("/proc/stat is empty") };
    let fields: Vec<&str> = line.split_whitespace().skip(1).take(8).collect();
    Ok(ticks(fields.iter().enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, it)| *it)))
}

fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> Duration {
    let ticks: u32 = fields.filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK * ticks
}

/// Returns the bytes of all events in a database: headers, signatures and bodies.
pub fn event_bytes(database: &Path) -> Result<u64> {
    let database = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sum = "SELECT sum(length(header) + length(signature) + length(body)) FROM events";
    Ok(u64::try_from(database.query_row(sum, [], |row| row.get::<_, i64>(0))?)?)
}

/// Returns the middle one.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// Returns a count as a number to calculate with.
#[allow(clippy::cast_precision_loss)] // far below 2^52
pub fn as_float(number: u64) -> f64 {
    number as f64
}

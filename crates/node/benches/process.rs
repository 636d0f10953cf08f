//! The real program: how long `ayni up` takes to be ready, and the memory it keeps.
//!
//! The binary is the one that `AYNI_BIN` names, else the `ayni` beside this program's own folder,
//! which `cargo build --release` makes.

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ayni::{RoomId, Ticket};
use common::{Running, Samples, Table, ms, quick, say_many, verdict};

/// Starts of each kind.
const STARTS: usize = 11;
/// How long a node is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(5);
/// The aims.
const AIM_READY: Duration = Duration::from_millis(300);
const AIM_MEMORY: f64 = 60.0;

fn main() -> Result<()> {
    let binary = binary()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let count = if quick() { 5_000 } else { 100_000 };
    let starts = if quick() { 3 } else { STARTS };
    let author = runtime.block_on(history(count))?;

    let mut ready = Table::new(&["start until ready", "p50", "slowest", "aim: 300 ms"]);
    let mut memory = Table::new(&["memory", "resident", "largest before", "aim: 60 MB"]);
    let used = common::folder()?;
    let mut start = |name: &str, folder: Option<&Path>| -> Result<()> {
        let mut samples = Samples::default();
        for _ in 0..starts {
            let fresh = common::folder()?;
            samples.add(Up::start(&binary, folder.unwrap_or(fresh.path()))?.ready);
        }
        let (p50, slowest) = (samples.p50(), samples.percentile(100));
        ready.row(&[name, &ms(p50), &ms(slowest), verdict(p50 <= AIM_READY)]);
        Ok(())
    };
    start("first start, an empty folder", None)?;
    start("a folder without rooms", Some(used.path()))?;
    let mut keep = |name: &str, up: &Up| -> Result<()> {
        std::thread::sleep(IDLE);
        let (now, largest) = common::process::memory(up.child.id())?;
        let (now_mb, largest_mb) = (format!("{now:.1} MB"), format!("{largest:.1} MB"));
        memory.row(&[name, &now_mb, &largest_mb, verdict(now <= AIM_MEMORY)]);
        Ok(())
    };
    keep("without rooms", &Up::start(&binary, used.path())?)?;

    // A newcomer of its own process takes the history from the author in this one.
    let newcomer = common::folder()?;
    let up = Up::start(&binary, newcomer.path())?;
    up.join(&binary, &author.ticket)?;
    let all = runtime.block_on(author.running.events())?;
    up.holds(&binary, all)?;
    keep(&format!("having just received {count} events"), &up)?;
    drop(up);
    runtime.block_on(author.running.node.shutdown());
    let up = Up::start(&binary, newcomer.path())?;
    keep(&format!("started with {count} events"), &up)?;
    drop(up);
    start(&format!("a folder with {count} events"), Some(newcomer.path()))?;

    ready.print(&format!("process: `ayni up`, {starts} starts of each kind"));
    memory.print(&format!("process: resident memory, {} s after the last work", IDLE.as_secs()));
    Ok(())
}

fn binary() -> Result<PathBuf> {
    let named = std::env::var_os("AYNI_BIN").map(PathBuf::from);
    let beside = || {
        let this = std::env::current_exe().ok()?;
        Some(this.parent()?.parent()?.join("ayni"))
    };
    let binary = named.or_else(beside).context("no binary")?;
    let missing = || format!("{} is missing: cargo build --release", binary.display());
    ensure!(binary.is_file(), missing());
    Ok(binary)
}

/// A node of this process with a history.
struct Author {
    running: Running,
    ticket: Ticket,
}

async fn history(count: usize) -> Result<Author> {
    let running = Running::start().await?;
    let room: RoomId = running.node.create_room("process").await?.room;
    say_many(&running.node, room, count).await?;
    let ticket = running.invite(room).await?;
    Ok(Author { running, ticket })
}

/// A running `ayni up`; ended with SIGTERM, and waited for, when it is dropped.
struct Up {
    child: Child,
    folder: PathBuf,
    ready: Duration,
}

impl Up {
    fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let start = Instant::now();
        let mut command = ayni(binary, folder);
        command.args(["up", "--json", "--no-open", "--http", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().context("starting ayni")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let ready = start.elapsed();
        ensure!(line.contains("peer_id"), "not ready: {line:?}");
        Ok(Self { child, folder: folder.to_owned(), ready })
    }

    fn join(&self, binary: &Path, ticket: &Ticket) -> Result<()> {
        run(ayni(binary, &self.folder).args(["join", &ticket.to_string()]))?;
        Ok(())
    }

    fn holds(&self, binary: &Path, events: u64) -> Result<()> {
        let end = Instant::now() + common::DEADLINE;
        while Instant::now() < end {
            let status = run(ayni(binary, &self.folder).args(["status", "--json"]))?;
            let status: serde_json::Value = serde_json::from_str(&status)?;
            if status.get("events").and_then(serde_json::Value::as_u64) >= Some(events) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("the newcomer did not get {events} events")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        if !Command::new("kill").args(["-TERM", &id]).status().is_ok_and(|it| it.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn ayni(binary: &Path, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env("AYNI_DATA", folder).env("AYNI_NETWORK", "loopback").stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ayni failed: {why}");
    Ok(String::from_utf8(output.stdout)?)
}

//! Real `ayni` processes for tests: started, spoken to, killed, and never left behind.
//!
//! Every process runs on 127.0.0.1 only (`AYNI_NETWORK=loopback`) with a data folder of its own.
//! Nothing here sleeps to synchronize: whatever is waited for has a deadline, and what runs out of
//! time fails with all that the process had said.
#![allow(dead_code, unreachable_pub)] // each test binary uses a part of it

pub mod api;
pub mod lab;
#[path = "../../../web/tests/common/png.rs"]
pub mod png;
pub mod talk;
#[cfg(target_os = "linux")]
pub mod terminal;

use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest time that one command may take, and that a node may take to get ready. Far beyond what
/// they need on an idle machine, so that only a hang meets it.
pub const DEADLINE: Duration = Duration::from_mins(1);
/// Pause between two looks of [`wait_until`].
const POLL: Duration = Duration::from_millis(20);

/// A folder that is removed when it is dropped.
pub struct TempFolder(tempfile::TempDir);

impl TempFolder {
    /// Makes an empty one.
    pub fn new() -> Self {
        let made = tempfile::Builder::new().prefix("ayni-test-").tempdir();
        Self(made.expect("a temporary folder can be made"))
    }
}

impl Default for TempFolder {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for TempFolder {
    type Target = Path;
    fn deref(&self) -> &Path {
        self.0.path()
    }
}

impl AsRef<Path> for TempFolder {
    fn as_ref(&self) -> &Path {
        self.0.path()
    }
}

/// What a finished command left.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code; 128 + the signal where one killed it.
    pub code: i32,
    /// Its standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
    /// Its standard output as it came.
    pub raw: Vec<u8>,
}

impl Output {
    /// Asserts exit code 0 and returns standard output without the last newline.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "expected success, stderr: {:?}", self.stderr);
        self.stdout.strip_suffix('\n').unwrap_or(&self.stdout).to_owned()
    }

    /// Asserts exit code 0 and returns the JSON objects of standard output.
    #[track_caller]
    pub fn json(self) -> Vec<Value> {
        json_lines(&self.ok())
    }

    /// Asserts exit code 0 and returns the only JSON object of standard output.
    #[track_caller]
    pub fn one(self) -> Value {
        let mut lines = self.json();
        assert_eq!(lines.len(), 1, "expected one object, got {lines:?}");
        lines.remove(0)
    }

    /// Asserts that the command failed as the contract says: this code, exactly one line on
    /// standard error, nothing on standard output. Returns the line.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "stdout: {:?}, stderr: {:?}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "a failed command prints no result");
        assert!(self.stderr.ends_with('\n'), "stderr is a whole line: {:?}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "exactly one line: {:?}", self.stderr);
        self.stderr.trim_end().to_owned()
    }
}

/// Parses one JSON object a line.
#[track_caller]
pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|why| panic!("not JSON, {why}: {line:?}"))
        })
        .collect()
}

/// Looks until `done` holds or the time is over; returns whether it held.
pub fn wait_until(deadline: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// Runs one command on `folder` to its end, with nothing on standard input.
#[track_caller]
pub fn ayni(folder: impl AsRef<Path>, args: &[&str]) -> Output {
    ayni_stdin(folder, args, b"")
}

/// Runs one command on `folder` to its end, with `input` on standard input.
#[track_caller]
pub fn ayni_stdin(folder: impl AsRef<Path>, args: &[&str], input: &[u8]) -> Output {
    let mut process = Process::start(folder, args);
    process.feed(input);
    process.close_stdin();
    process.finish(DEADLINE)
}

/// The command under test, with its environment set and no arguments yet.
pub fn command(folder: impl AsRef<Path>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ayni"));
    command
        .env("AYNI_DATA", folder.as_ref())
        .env("AYNI_NETWORK", "loopback")
        .env_remove("AYNI_LOG")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY");
    command
}

/// One running `ayni` process; dropping it kills it.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    /// Standard output that was received so far.
    seen: Vec<u8>,
    errors: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `ayni ARGS` on `folder`, with pipes on its three standard streams.
    #[track_caller]
    pub fn start(folder: impl AsRef<Path>, args: &[&str]) -> Self {
        let mut command = command(folder);
        command.args(args);
        Self::spawn(command)
    }

    /// Starts a prepared command.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the ayni binary starts");
        let stdout = child.stdout.take().expect("piped");
        let mut stderr = child.stderr.take().expect("piped");
        let (sender, lines) = channel();
        let errors = Arc::new(Mutex::new(Vec::new()));
        let errors_writer = Arc::clone(&errors);
        let readers = vec![
            std::thread::spawn(move || read_lines(stdout, &sender)),
            std::thread::spawn(move || {
                let mut chunk = [0; 4096];
                while let Ok(read @ 1..) = stderr.read(&mut chunk) {
                    errors_writer.lock().expect("not poisoned").extend(&chunk[..read]);
                }
            }),
        ];
        let stdin = child.stdin.take();
        Self { child, stdin, lines, seen: Vec::new(), errors, readers }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input. A process that closed it already is not an error here.
    pub fn feed(&mut self, input: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(input).and_then(|()| stdin.flush());
        }
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for the next line of standard output, without its newline; none at its end.
    #[track_caller]
    pub fn line(&mut self, deadline: Duration) -> Option<String> {
        match self.lines.recv_timeout(deadline) {
            Ok(line) => {
                self.seen.extend(&line);
                let line = String::from_utf8_lossy(&line);
                Some(line.strip_suffix('\n').unwrap_or(&line).to_owned())
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("no line within {deadline:?}; stderr so far: {:?}", self.stderr())
            }
        }
    }

    /// Waits for the next line of standard output and parses it.
    #[track_caller]
    pub fn json_line(&mut self, deadline: Duration) -> Value {
        let Some(line) = self.line(deadline) else {
            let status = self.child.wait();
            panic!("it ended, {status:?}, without a line; stderr: {:?}", self.stderr());
        };
        json_lines(&line).remove(0)
    }

    /// Returns its standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.errors.lock().expect("not poisoned")).into_owned()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by its name: `TERM`, `INT`, `STOP`, `CONT`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .expect("sh runs");
        assert!(sent.success(), "signal {name} could not be sent");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer than `deadline`; it is killed then.
    #[track_caller]
    pub fn finish(mut self, deadline: Duration) -> Output {
        let end = Instant::now() + deadline;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.extend(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let said = String::from_utf8_lossy(&self.seen).into_owned();
                    panic!("not done within {deadline:?}; {said:?}, {:?}", self.stderr())
                }
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        assert!(wait_until(left, || !self.is_running()), "it closed its output and hangs");
        let status = self.child.wait().expect("a child can be waited for");
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        Output {
            code: exit_code(status),
            stdout: String::from_utf8_lossy(&self.seen).into_owned(),
            stderr: self.stderr(),
            raw: std::mem::take(&mut self.seen),
        }
    }

    /// Sends SIGTERM, if it has not ended by itself, and waits for the end.
    #[track_caller]
    pub fn stop(mut self) -> Output {
        if self.is_running() {
            self.signal("TERM");
        }
        self.finish(DEADLINE)
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// A node that runs: `ayni up` on 127.0.0.1, ready.
pub struct Node {
    process: Process,
    folder: PathBuf,
    ready: Value,
}

impl Node {
    /// Starts a node on `folder` and waits until it is ready.
    #[track_caller]
    pub fn up(folder: impl AsRef<Path>) -> Self {
        Self::up_with(folder, &[])
    }

    /// Likewise, with more arguments.
    #[track_caller]
    pub fn up_with(folder: impl AsRef<Path>, more: &[&str]) -> Self {
        let mut args = vec!["up", "--network", "loopback", "--json", "--no-open"];
        args.extend(["--http", "127.0.0.1:0"].iter().filter(|_| !more.contains(&"--http")));
        args.extend(more);
        let mut process = Process::start(&folder, &args);
        let ready = process.json_line(DEADLINE);
        Self { process, folder: folder.as_ref().to_owned(), ready }
    }

    /// Returns the ready line: `peer_id`, `account_id`, `http`, `data`.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// Returns one text of the ready line.
    #[track_caller]
    fn text(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap_or_else(|| panic!("{key} in {}", self.ready))
    }

    /// Its peer id.
    pub fn peer_id(&self) -> &str {
        self.text("peer_id")
    }

    /// Its account id.
    pub fn account_id(&self) -> &str {
        self.text("account_id")
    }

    /// The address of its API, `http://127.0.0.1:PORT`.
    pub fn http(&self) -> &str {
        self.text("http")
    }

    /// Its data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its process, to look at its output or to send it signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Runs a command that this node serves.
    #[track_caller]
    pub fn ayni(&self, args: &[&str]) -> Output {
        ayni(&self.folder, args)
    }

    /// Kills it with SIGKILL and waits until it is gone. Its folder stays.
    pub fn kill9(mut self) {
        self.process.kill9();
    }

    /// Stops it with SIGTERM and asserts that it ends with exit code 0 and silently.
    #[track_caller]
    pub fn stop(self) {
        let output = self.process.stop();
        assert_eq!(output.code, 0, "a stopped node exits 0, stderr: {:?}", output.stderr);
        assert_eq!(output.stderr, "", "a stopped node has nothing to complain about");
    }
}

/// Sends every line, newline included; ends when the process closes its output.
fn read_lines(stdout: impl Read, sender: &Sender<Vec<u8>>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match stdout.read_until(b'\n', &mut line) {
            Ok(1..) if sender.send(line).is_ok() => {}
            _ => return,
        }
    }
}

#[cfg(unix)]
fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

#[cfg(not(unix))]
fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}

//! A process of its own, led line by line: what is asked goes to its standard input, what it answers
//! comes from its standard output.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::process;

/// First argument of a process that is a part of a benchmark.
const CHILD: &str = "one-part";

/// A process, as who leads it sees it. It is killed when this is dropped without [`Child::end`].
pub struct Child {
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Child {
    /// Starts this program again as a part of the benchmark.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(CHILD).args(arguments);
        Self::of(command)
    }

    /// Starts a command.
    pub fn of(mut command: Command) -> Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = Some(process.stdin.take().context("no stdin")?);
        let stdout = BufReader::new(process.stdout.take().context("no stdout")?);
        Ok(Self { process, stdin, stdout })
    }

    /// Waits for the next line that it says.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stdout.read_line(&mut line)? > 0, "a part of the benchmark ended");
        Ok(line.trim_end().to_owned())
    }

    /// Asks it something; it answers with one line.
    pub fn ask(&mut self, what: &str) -> Result<String> {
        writeln!(self.stdin.as_mut().context("no stdin")?, "{what}")?;
        self.line()
    }

    /// Returns the most memory that it had so far, in MB.
    pub fn peak(&self) -> Result<f64> {
        Ok(process::memory(self.process.id())?.1)
    }

    /// Returns its processor time so far.
    pub fn time(&self) -> Result<Duration> {
        process::time(self.process.id())
    }

    /// Ends it properly: its standard input is at its end.
    pub fn end(mut self) -> Result<()> {
        drop(self.stdin.take());
        ensure!(self.process.wait()?.success(), "a part of the benchmark failed");
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be over.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns what a process is to do that is a part of the benchmark; none for the one that leads.
pub fn arguments() -> Option<Vec<String>> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next().as_deref() == Some(CHILD)).then(|| arguments.collect())
}

/// Returns the lines that this process is asked, until who leads it has no more.
pub fn asked() -> tokio::sync::mpsc::Receiver<String> {
    let (told, asked) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if told.blocking_send(line).is_err() {
                return;
            }
        }
    });
    asked
}

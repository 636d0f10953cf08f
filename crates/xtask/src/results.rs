//! Files under `docs/results`: what was measured, when, of which commit, on which machine.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::shell::{self, program, say};

/// A results file that is being written. Runs of one day append to one file.
pub(crate) struct Results {
    path: PathBuf,
    file: File,
}

impl Results {
    /// Opens `docs/results/DATE-NAME.txt` and heads a new run in it with `title`.
    pub(crate) fn open(name: &str, title: &str) -> Result<Self> {
        let folder = shell::root().join("docs/results");
        std::fs::create_dir_all(&folder).context("could not make docs/results")?;
        let path = folder.join(format!("{}-{name}.txt", today()));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("could not open {}", path.display()))?;
        let mut results = Self { path, file };
        results.line(&format!("# {title}"))?;
        results.line(&format!("# commit {}", commit()))?;
        results.line(&format!("# machine {}", machine()))?;
        Ok(results)
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, line: &str) -> Result<()> {
        let path = self.path.display();
        writeln!(self.file, "{line}").with_context(|| format!("could not write {path}"))
    }

    /// Runs a command; each line of its output is shown, and kept where `keep` says so.
    pub(crate) fn run(&mut self, command: Command, keep: impl Fn(&str) -> bool) -> Result<()> {
        self.line(&format!("$ {}", without_root(&shell::shown(&command))))?;
        let result = shell::run_lines(command, |line| {
            say(line);
            let plain = without_root(&without_colors(line));
            if keep(&plain) { self.line(&plain) } else { Ok(()) }
        });
        if let Err(error) = &result {
            self.line(&format!("FAILED: {}", without_root(&format!("{error:#}"))))?;
        }
        result
    }

    /// Ends the run and says where it is kept.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.line("")?;
        let path = self.path.strip_prefix(shell::root()).unwrap_or(&self.path).display();
        say(&format!("kept in {path}"));
        Ok(())
    }
}

fn commit() -> String {
    let ask = |arguments: &[&str]| {
        program("git", arguments)
            .output()
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = ask(&["rev-parse", "--short=12", "HEAD"]) else { return "none".into() };
    // The results themselves change the folder; what counts is the source.
    let changed = ask(&["status", "--porcelain", "--", ".", ":!docs/results"]);
    if changed.is_some_and(|changed| changed.is_empty()) {
        commit
    } else {
        format!("{commit}, with uncommitted changes")
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?.to_owned();
            line.split_once(':').map(|(_, model)| model.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{cores} cores, {model}, {}", std::env::consts::OS)
}

/// Removes terminal colors (`ESC [ ... m`), which a file has no use for.
fn without_colors(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

/// Writes paths from the root, so that results do not name the machine's folders.
fn without_root(line: &str) -> String {
    let (root, target) = (shell::root(), shell::target_folder());
    line.replace(&*target.to_string_lossy(), "target")
        .replace(&format!("{}/", root.display()), "")
        .replace(&*root.to_string_lossy(), ".")
}

fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Returns the date of a day counted from 1970-01-01 (UTC).
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_453), (2025, 12, 31));
        assert_eq!(civil(20_454), (2026, 1, 1));
    }

    #[test]
    fn colors_are_left_out() {
        assert_eq!(without_colors("\u{1b}[32;1mPASS\u{1b}[0m [ 1s] a"), "PASS [ 1s] a");
        assert_eq!(without_colors("plain"), "plain");
    }
}

//! `fuzz`: each fuzz target for a while, with what came of it in `docs/results`.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::measure::number;
use crate::results::Results;
use crate::shell::{cargo, program, root, succeeds, target_folder};

/// How long each target runs, in minutes, unless told otherwise.
const MINUTES: u32 = 10;
/// Longest input tried: the largest frame, its length prefix, and a little beyond the limit.
const MAX_LEN: &str = "-max_len=262400";

/// Runs the named targets, or all.
pub(crate) fn fuzz(options: &[String]) -> Result<()> {
    let mut minutes = MINUTES;
    let mut chosen = Vec::new();
    let known = targets()?;
    let mut words = options.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--minutes" => minutes = number(word, words.next())?,
            target if known.iter().any(|name| name == target) => chosen.push(target.to_owned()),
            other => bail!("there is no fuzz target {other:?}: {}", known.join(", ")),
        }
    }
    if !succeeds(cargo(&["fuzz", "--version"])) {
        bail!("fuzzing needs cargo-fuzz: cargo install cargo-fuzz --locked");
    }
    let mut results = Results::open("fuzz", &format!("fuzz: {minutes} minutes a target"))?;
    for target in if chosen.is_empty() { known } else { chosen } {
        results.run(fuzz_run(&target, minutes)?, is_outcome)?;
    }
    results.finish()
}

/// The targets are the files of `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    let folder = root().join("fuzz/fuzz_targets");
    for entry in std::fs::read_dir(folder).context("could not list fuzz/fuzz_targets")? {
        let path = entry.context("could not list fuzz/fuzz_targets")?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// New inputs go to a folder of the build; the committed corpus is read and stays small.
fn fuzz_run(target: &str, minutes: u32) -> Result<Command> {
    let found = target_folder().join("fuzz-corpus").join(target);
    std::fs::create_dir_all(&found)
        .with_context(|| format!("could not make {}", found.display()))?;
    let seeds = root().join("fuzz/corpus").join(target);
    let mut command = compiler();
    command.arg(target).args([&found, &seeds]).arg("--");
    command.args([MAX_LEN, "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=1024"]);
    command.arg(format!("-max_total_time={}", minutes * 60));
    Ok(command)
}

/// Coverage needs unstable compiler flags: a nightly compiler, else the stable one told to allow
/// them, then without the address sanitizer, whose runtime comes with nightly.
fn compiler() -> Command {
    if succeeds(program("rustup", &["run", "nightly", "rustc", "--version"])) {
        return program("rustup", &["run", "nightly", "cargo", "fuzz", "run"]);
    }
    let mut command = cargo(&["fuzz", "run", "--sanitizer", "none"]);
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}

fn is_outcome(line: &str) -> bool {
    ["stat::", "Done ", "SUMMARY", "ERROR", "==", "thread '", "INFO: Seed", "artifact_prefix"]
        .iter()
        .any(|start| line.starts_with(start))
        || line.contains("panicked at")
}

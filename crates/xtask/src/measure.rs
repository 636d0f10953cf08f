//! `soak`, `bench` and `sim`: runs that take longer than a test may.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::check::has_nextest;
use crate::results::Results;
use crate::shell::{cargo, run, target_folder};

/// The process tests that grow with the environment.
const PROCESS_TESTS: &[&str] = &["talk", "crash", "founder_gone", "catch_up"];

/// Runs the process tests at the size that the project promises.
pub(crate) fn soak(options: &[String]) -> Result<()> {
    let mut kills = 50_u32;
    let mut messages = 1_000_u32;
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let value = match word.as_str() {
            "--kills" => &mut kills,
            "--messages" => &mut messages,
            _ => bail!("soak knows --kills N and --messages N, not {word:?}"),
        };
        *value = number(word, words.next())?;
    }
    let title = format!("soak: {kills} kills, {messages} messages from each side");
    let mut results = Results::open("soak", &title)?;
    let mut command = process_tests();
    command.env("AYNI_KILLS", kills.to_string()).env("AYNI_MESSAGES", messages.to_string());
    results.run(command, is_no_build_noise)?;
    results.finish()
}

/// Runs the benchmarks of crate `ayni`, or those that are named; options go to them as they are.
pub(crate) fn bench(options: &[String]) -> Result<()> {
    let (options, names): (Vec<_>, Vec<_>) =
        options.iter().partition(|option| option.starts_with('-'));
    // One of them measures the program itself.
    run(cargo(&["build", "--release", "-p", "ayni-cli"]))?;
    // `--profile release`: the one profile that everything is built with.
    let mut command = cargo(&["bench", "--profile", "release", "-p", "ayni"]);
    if names.is_empty() {
        command.arg("--benches");
    }
    for name in names {
        command.args(["--bench", name]);
    }
    let binary = target_folder().join("release/ayni");
    command.env("AYNI_BIN", binary.with_extension(std::env::consts::EXE_EXTENSION));
    command.arg("--").args(options);
    let mut results = Results::open("bench", "bench")?;
    results.run(command, is_no_build_noise)?;
    results.finish()
}

/// Runs the simulator: without options the long set, which takes hours.
pub(crate) fn sim(options: &[String]) -> Result<()> {
    let mut command = cargo(&["run", "--release", "-p", "ayni-sim", "--"]);
    command.args(options);
    if options.iter().any(|option| option == "--help") {
        return run(command);
    }
    let mut results = Results::open("sim", "sim")?;
    results.run(command, is_no_build_noise)?;
    results.finish()
}

/// Reads the number that follows an option.
pub(crate) fn number(option: &str, value: Option<&String>) -> Result<u32> {
    let value = value.with_context(|| format!("{option} needs a number"))?;
    match value.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => bail!("{option} needs a number from 1 on, not {value:?}"),
    }
}

fn process_tests() -> Command {
    let mut command = if has_nextest() {
        let options = ["--no-capture", "--no-fail-fast", "--profile", "soak"];
        let mut command = cargo(&["nextest", "run", "--release", "-p", "ayni-cli"]);
        command.args(options);
        command
    } else {
        cargo(&["test", "--release", "-p", "ayni-cli", "--no-fail-fast"])
    };
    for name in PROCESS_TESTS {
        command.args(["--test", name]);
    }
    if !has_nextest() {
        command.args(["--", "--nocapture", "--test-threads=1"]);
    }
    command
}

fn is_no_build_noise(line: &str) -> bool {
    let line = line.trim_start();
    !["Compiling ", "Checking ", "Fresh ", "Downloading ", "Downloaded ", "Blocking "]
        .iter()
        .any(|word| line.starts_with(word))
}

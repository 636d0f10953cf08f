//! `soak`, `lab swarm`, `interop`, `bench` and `sim`: runs that take longer than a test may.

use anyhow::{Context, Result, bail};

use crate::check::process_tests;
use crate::results::Results;
use crate::shell::{cargo, program, run, succeeds, target_folder};

/// The process tests that grow with the environment.
const PROCESS_TESTS: &[&str] = &["talk", "crash", "founder_gone", "catch_up", "swarm_crash"];
/// The sizes of `lab swarm`: as many as the project promises, with links as homes have them and a file
/// of some thousand blocks, so that the last ones do not decide.
const SWARM_SIZE: &[(&str, &str)] = &[
    ("AYNI_LEECHERS", "8"),
    ("AYNI_LAB_MB", "64"),
    ("AYNI_UP_KBIT", "16000"),
    ("AYNI_DOWN_KBIT", "64000"),
    ("AYNI_PROVIDERS", "8"),
];

/// The benchmarks of crate `ayni`.
const BENCHES: &[&str] = &["latency", "scale", "bulk", "keys", "process", "size", "content"];

/// Runs the process tests at the size that the project promises.
pub(crate) fn soak(options: &[String]) -> Result<()> {
    let mut kills = 50_u32;
    let mut messages = 1_000_u32;
    let mut megabytes = 2_048_u32;
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let value = match word.as_str() {
            "--kills" => &mut kills,
            "--messages" => &mut messages,
            "--megabytes" => &mut megabytes,
            _ => bail!("soak knows --kills N, --messages N and --megabytes N, not {word:?}"),
        };
        *value = number(word, words.next())?;
    }
    let title = format!(
        "soak: {kills} kills, {messages} messages from each side, a file of {megabytes} MiB"
    );
    let mut results = Results::open("soak", &title)?;
    let mut command = process_tests(PROCESS_TESTS, Some("soak"));
    command.env("AYNI_SWARM_MB", megabytes.to_string());
    command.env("AYNI_KILLS", kills.to_string()).env("AYNI_MESSAGES", messages.to_string());
    results.run(command, is_no_build_noise)?;
    results.finish()
}

/// Runs the lab of swarms at full size; `check::lab` looked whether it can.
pub(crate) fn lab_swarm() -> Result<()> {
    let mut results = Results::open("swarm", "lab swarm")?;
    let mut command = process_tests(&["lab_swarm"], Some("soak"));
    command.envs(SWARM_SIZE.iter().copied());
    results.run(command, is_no_build_noise)?;
    results.finish()
}

/// Exchanges files with the published `sendme`.
pub(crate) fn interop(options: &[String]) -> Result<()> {
    let mut megabytes = 512_u32;
    let mut words = options.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--megabytes" => megabytes = number(word, words.next())?,
            _ => bail!("interop knows --megabytes N, not {word:?}"),
        }
    }
    if !succeeds(program("sendme", &["--version"])) {
        bail!("this needs sendme: cargo install sendme --locked");
    }
    let mut results = Results::open("interop", "interop")?;
    let mut command = process_tests(&["interop"], Some("soak"));
    command.env("AYNI_INTEROP", "1").env("AYNI_INTEROP_MB", megabytes.to_string());
    results.run(command, is_no_build_noise)?;
    results.finish()
}

/// Runs the benchmarks of crate `ayni`, or those that are named; what follows from the first option on
/// goes to them as it is.
pub(crate) fn bench(words: &[String]) -> Result<()> {
    let first = words.iter().position(|word| word.starts_with('-')).unwrap_or(words.len());
    let (names, options) = words.split_at(first);
    // One of them measures the program itself. Of the whole workspace, as everywhere: a crate alone would have
    // its dependencies built again, with other features.
    run(cargo(&["build", "--release", "--workspace", "--bin", "ayni"]))?;
    // `--profile release`: the one profile that everything is built with.
    let mut command = cargo(&["bench", "--profile", "release", "--workspace"]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in if names.is_empty() { BENCHES } else { &names[..] } {
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

fn is_no_build_noise(line: &str) -> bool {
    let line = line.trim_start();
    !["Compiling ", "Checking ", "Fresh ", "Downloading ", "Downloaded ", "Blocking "]
        .iter()
        .any(|word| line.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_benchmark_is_run() {
        let manifest = std::fs::read_to_string(crate::shell::root().join("crates/node/Cargo.toml"));
        let manifest = manifest.expect("the manifest");
        let named = manifest.split("[[bench]]\nname = \"").skip(1);
        let named: Vec<&str> = named.filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(named.len(), BENCHES.len());
        assert!(named.iter().all(|name| BENCHES.contains(name)), "{named:?}");
    }
}

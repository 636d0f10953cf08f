//! `test`, `lint`, `lab` and `interop`: what must hold before a change lands.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{cargo, program, run, succeeds};
use crate::steps::{Outcome, Steps};
use crate::{arrows, measure};

/// The test binaries that make network namespaces; run by `lab`, apart from the others.
const LABS: &[&str] = &["lab_mdns", "lab_swarm"];
/// The test binary that needs another program; run by `interop`, apart from the others.
const INTEROP: &str = "interop";

/// Runs every test.
pub(crate) fn test(_: &[String]) -> Result<()> {
    let mut steps = Steps::new();
    lint_steps(&mut steps);
    steps.run("tests", || passed(tests()));
    steps.run("doc tests", || passed(cargo(&["test", "--release", "--doc", "--workspace"])));
    steps.run("lab", lab_step);
    steps.run("interop", interop_step);
    steps.finish()
}

/// Runs the checks that start no program of ours.
pub(crate) fn lint(_: &[String]) -> Result<()> {
    let mut steps = Steps::new();
    lint_steps(&mut steps);
    steps.finish()
}

/// Runs the tests that need network namespaces; `swarm`: those of swarms, at full size.
pub(crate) fn lab(options: &[String]) -> Result<()> {
    match options {
        [] => {
            let mut steps = Steps::new();
            steps.run("lab", lab_step);
            steps.finish()
        }
        [word] if word == "swarm" => {
            if let Some(Outcome::Needs(what)) = lab_needs() {
                bail!("this needs {what}");
            }
            measure::lab_swarm()
        }
        _ => bail!("lab knows `swarm`, not {:?}", options.join(" ")),
    }
}

/// Returns a run of some test binaries of the command line.
///
/// Of the whole workspace: with fewer packages cargo chooses other features of what they depend on, and
/// builds all of that again.
pub(crate) fn process_tests(binaries: &[&str], profile: Option<&str>) -> Command {
    if !has_nextest() {
        let mut command = cargo(&["test", "--release", "-p", "ayni-cli", "--no-fail-fast"]);
        for name in binaries {
            command.args(["--test", name]);
        }
        command.args(["--", "--nocapture", "--test-threads=1"]);
        return command;
    }
    let mut command = cargo(&["nextest", "run", "--release", "--workspace", "--no-capture"]);
    command.arg("--no-fail-fast");
    if let Some(profile) = profile {
        command.args(["--profile", profile]);
    }
    let names: Vec<String> = binaries.iter().map(|name| format!("binary({name})")).collect();
    command.args(["-E", &format!("package(ayni-cli) and ({})", names.join(" or "))]);
    command
}

/// Whether `cargo nextest` is here.
pub(crate) fn has_nextest() -> bool {
    succeeds(cargo(&["nextest", "--version"]))
}

fn lint_steps(steps: &mut Steps) {
    steps.run("arrows", || arrows::check().map(|()| Outcome::Passed));
    steps.run("fmt", || passed(cargo(&["fmt", "--all", "--check"])));
    steps.run("licenses, bans and sources", || {
        if !has_deny() {
            return Ok(Outcome::Needs("cargo-deny (cargo install cargo-deny --locked)".into()));
        }
        passed(cargo(&["deny", "--log-level=error", "check", "bans", "licenses", "sources"]))
    });
    steps.run("advisories", advisories);
    // The release profile, like every other step: nothing is built twice.
    steps.run("clippy", || {
        let clippy = &["clippy", "--release", "--workspace", "--all-targets", "--", "-Dwarnings"];
        passed(cargo(clippy))
    });
}

fn tests() -> Command {
    if has_nextest() {
        let apart: Vec<String> = LABS.iter().map(|name| format!("binary({name})")).collect();
        let rest = format!("not ({} or binary({INTEROP}))", apart.join(" or "));
        return cargo(&[
            "nextest",
            "run",
            "--release",
            "--workspace",
            "--no-fail-fast",
            "-E",
            &rest,
        ]);
    }
    cargo(&["test", "--release", "--workspace", "--all-targets", "--no-fail-fast"])
}

/// Known vulnerabilities, where the database of them can be had: it is a repository of its own, and
/// a machine that cannot fetch it is told so instead of being failed.
fn advisories() -> Result<Outcome> {
    if !has_deny() {
        return Ok(Outcome::Unavailable("cargo-deny (cargo install cargo-deny --locked)".into()));
    }
    if !succeeds(cargo(&["deny", "fetch", "db"])) {
        return Ok(Outcome::Unavailable(
            "the advisory database, which cannot be fetched here".into(),
        ));
    }
    passed(cargo(&["deny", "--log-level=error", "check", "--disable-fetch", "advisories"]))
}

fn lab_step() -> Result<Outcome> {
    lab_needs().map_or_else(|| passed(process_tests(LABS, None)), Ok)
}

/// Returns what the lab lacks on this machine.
fn lab_needs() -> Option<Outcome> {
    // Asked by doing: being root is not enough inside a container.
    let has_namespaces = succeeds(program("unshare", &["--net", "ip", "link", "list"]))
        && succeeds(program("tc", &["-Version"]));
    (!has_namespaces)
        .then(|| Outcome::Needs("root, network namespaces and iproute2 (ip, tc)".into()))
}

/// Small. What it speaks is tested everywhere, too, against the library that it is built on
/// (`crates/node/tests/content/interop.rs`).
fn interop_step() -> Result<Outcome> {
    if !succeeds(program("sendme", &["--version"])) {
        return Ok(Outcome::Needs("sendme (cargo install sendme --locked)".into()));
    }
    passed(process_tests(&[INTEROP], None))
}

fn has_deny() -> bool {
    succeeds(cargo(&["deny", "--version"]))
}

fn passed(command: Command) -> Result<Outcome> {
    run(command).map(|()| Outcome::Passed)
}

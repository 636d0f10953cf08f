//! `test`, `lint` and `lab`: what must hold before a change lands.

use std::process::Command;

use anyhow::Result;

use crate::arrows;
use crate::shell::{cargo, program, run, succeeds};
use crate::steps::{Outcome, Steps};

/// The test binary that makes network namespaces; run by `lab`, apart from the others.
const LAB: &str = "lab_mdns";

/// Runs every test.
pub(crate) fn test(_: &[String]) -> Result<()> {
    let mut steps = Steps::new();
    lint_steps(&mut steps);
    steps.run("tests", || passed(tests()));
    steps.run("doc tests", || passed(cargo(&["test", "--release", "--doc", "--workspace"])));
    steps.run("lab", lab_step);
    steps.finish()
}

/// Runs the checks that start no program of ours.
pub(crate) fn lint(_: &[String]) -> Result<()> {
    let mut steps = Steps::new();
    lint_steps(&mut steps);
    steps.finish()
}

/// Runs the tests that need network namespaces.
pub(crate) fn lab(_: &[String]) -> Result<()> {
    let mut steps = Steps::new();
    steps.run("lab", lab_step);
    steps.finish()
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
        let rest = format!("not binary({LAB})");
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
    // Asked by doing: being root is not enough inside a container.
    let has_namespaces = succeeds(program("unshare", &["--net", "ip", "link", "list"]));
    if !has_namespaces {
        return Ok(Outcome::Needs("root, network namespaces and iproute2".into()));
    }
    let arguments = if has_nextest() {
        vec!["nextest", "run", "--release", "-p", "ayni-cli", "--test", LAB, "--no-capture"]
    } else {
        vec!["test", "--release", "-p", "ayni-cli", "--test", LAB, "--", "--nocapture"]
    };
    passed(cargo(&arguments))
}

fn has_deny() -> bool {
    succeeds(cargo(&["deny", "--version"]))
}

fn passed(command: Command) -> Result<Outcome> {
    run(command).map(|()| Outcome::Passed)
}

//! Repository tasks: `cargo xtask help` lists them.
//!
//! Purpose: everything that a contributor or a build machine runs, under one name each, in a program
//! that is built in seconds. Invariant: it depends on no crate of the workspace (a test in
//! [`arrows`] keeps it so), hence it works while they do not compile.

mod arrows;
mod check;
mod dist;
mod fuzz;
mod measure;
mod results;
mod shell;
mod steps;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// One task: its name, its options, what it does.
struct Task {
    name: &'static str,
    options: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<()>,
}

const TASKS: &[Task] = &[
    Task {
        name: "test",
        options: "",
        about: "every test: arrows, fmt, licenses, clippy, tests, doc tests, lab, interop",
        run: check::test,
    },
    Task {
        name: "lint",
        options: "",
        about: "the part of `test` that runs no program: arrows, fmt, licenses, clippy",
        run: check::lint,
    },
    Task {
        name: "lab",
        options: "[swarm]",
        about: "hosts in network namespaces (needs root); `swarm`: at full size, into docs/results",
        run: check::lab,
    },
    Task {
        name: "soak",
        options: "[--kills 50] [--messages 1000] [--megabytes 2048]",
        about: "the process tests at full size, into docs/results",
        run: measure::soak,
    },
    Task {
        name: "interop",
        options: "[--megabytes 512]",
        about: "files to and from the published sendme, into docs/results (needs sendme)",
        run: measure::interop,
    },
    Task {
        name: "sim",
        options: "[--scenario NAME] [--seeds N]",
        about: "the simulator, without options its long set (hours), into docs/results",
        run: measure::sim,
    },
    Task {
        name: "fuzz",
        options: "[TARGET...] [--minutes 10]",
        about: "each fuzz target for that long, into docs/results (needs cargo-fuzz)",
        run: fuzz::fuzz,
    },
    Task {
        name: "bench",
        options: "[NAME...] [--quick] [OPTION...]",
        about: "the benchmarks of crates/node/benches, into docs/results",
        run: measure::bench,
    },
    Task {
        name: "dist",
        options: "",
        about: "an optimized binary with its man page and completions, as a tarball",
        run: dist::dist,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        None => {
            print_help();
            Ok(())
        }
        Some((name, _)) if ["help", "--help", "-h"].contains(&name.as_str()) => {
            print_help();
            Ok(())
        }
        Some((name, options)) => run(name, options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, options: &[String]) -> Result<()> {
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        bail!("there is no task {name:?}; `cargo xtask help` lists them");
    };
    (task.run)(options)
}

fn print_help() {
    println!("cargo xtask TASK\n");
    for task in TASKS {
        let call = format!("{} {}", task.name, task.options);
        println!("  {:<58} {}", call.trim_end(), task.about);
    }
    println!("  {:<58} this list", "help");
}

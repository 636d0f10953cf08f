//! Running other programs, and what this machine has.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// Returns the repository's root.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.ancestors().nth(2).map_or(manifest.clone(), Path::to_path_buf)
}

/// Returns the folder that cargo builds into.
pub(crate) fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()) {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Returns a call of the cargo that runs this program, at the root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root()).args(arguments);
    command
}

/// Returns a call of another program, at the root.
pub(crate) fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root()).args(arguments);
    command
}

/// Shows a command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(name)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command, its output going where ours goes.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not run {}", shown(&command)))?;
    expect_success(&command, status)
}

/// Runs a command and returns what it wrote to stdout.
pub(crate) fn output(mut command: Command) -> Result<Vec<u8>> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("could not run {}", shown(&command)))?;
    expect_success(&command, output.status)?;
    Ok(output.stdout)
}

/// Whether a command runs here and succeeds; its output is dropped.
pub(crate) fn succeeds(mut command: Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a command and hands each line of its output, both streams in their order, to `line`.
pub(crate) fn run_lines(
    mut command: Command,
    mut line: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let what = shown(&command);
    let (reader, writer) = std::io::pipe().context("could not make a pipe")?;
    let errors = writer.try_clone().context("could not make a pipe")?;
    let mut child = command
        .stdout(writer)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("could not run {what}"))?;
    // The command holds our ends of the pipe; without them gone, reading would never end.
    let finished = shown(&command);
    drop(command);
    for bytes in BufReader::new(reader).split(b'\n') {
        let bytes = bytes.with_context(|| format!("could not read the output of {what}"))?;
        line(String::from_utf8_lossy(&bytes).trim_end_matches('\r'))?;
    }
    let status = child.wait().with_context(|| format!("could not wait for {what}"))?;
    if !status.success() {
        bail!("{finished} failed: {status}");
    }
    Ok(())
}

/// Prints a line at once, also into a pipe.
pub(crate) fn say(line: &str) {
    println!("{line}");
    // A closed stdout is noticed by the next print; there is nothing to do about it here.
    let _ = std::io::stdout().flush();
}

fn expect_success(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

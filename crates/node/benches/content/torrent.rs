//! libtorrent, by a script for Python.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::common::child::Child;

const SCRIPT: &str = include_str!("torrent.py");
/// Where a Python with libtorrent may be: the usual one, and that of the system.
const PYTHONS: &[&str] = &["python3", "/usr/bin/python3"];

/// Returns a Python that has libtorrent.
pub(crate) fn python() -> Option<&'static str> {
    let has = |python: &&&str| {
        let mut command = Command::new(python);
        command.args(["-c", "import libtorrent"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    PYTHONS.iter().find(has).copied()
}

/// Starts one end of a transfer.
pub(crate) fn start(arguments: &[&str]) -> Result<Child> {
    let mut command = Command::new(python().context("no Python has libtorrent")?);
    command.args(["-c", SCRIPT]).args(arguments);
    Child::of(command)
}

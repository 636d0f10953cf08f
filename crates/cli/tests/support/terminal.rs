//! The command line at a real terminal, made by `script` of util-linux, so for Linux only.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{DEADLINE, Output, Process, TempFolder, wait_until};

/// `ayni ARGS` at a terminal.
pub struct Terminal {
    process: Process,
    typescript: PathBuf,
    _folder: TempFolder,
}

impl Terminal {
    /// Starts it on a data folder; `args` are words for the shell.
    #[track_caller]
    pub fn open(data: &Path, args: &str) -> Self {
        let folder = TempFolder::new();
        let typescript = folder.join("typescript");
        let mut script = Command::new("script");
        script
            .args(["-q", "-e", "-f", "-c"])
            .arg(format!("{} {args}", env!("CARGO_BIN_EXE_ayni")))
            .arg(&typescript)
            .env("AYNI_DATA", data)
            .env("AYNI_NETWORK", "loopback")
            .env("TERM", "xterm");
        Self { process: Process::spawn(script), typescript, _folder: folder }
    }

    /// Returns what the screen was sent so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.typescript).unwrap_or_default()).into_owned()
    }

    /// Waits until the screen was sent a text.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let shown = wait_until(DEADLINE, || self.screen().contains(text));
        assert!(shown, "{text:?} is not on the screen: {:?}", self.screen());
    }

    /// Presses keys.
    pub fn enter(&mut self, keys: &str) {
        self.process.feed(keys.as_bytes());
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(self) -> Output {
        self.process.finish(DEADLINE)
    }
}

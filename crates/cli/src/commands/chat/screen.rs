//! The terminal of a talk: a line editor at the bottom, and what the others say above it.
//!
//! The editor blocks, so it has a thread of its own; so has printing, which waits for the editor's
//! permission. Both end with the process. Leaving in the middle of a line (a signal, the node
//! stopped) would leave the terminal in the editor's mode, so its own mode is put back on drop.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::mpsc as blocking;

use anyhow::Context as _;
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter as _};
use tokio::sync::mpsc;

/// Lines that wait to be shown. When it is full, whoever shows waits: events are then lost for the
/// moment, and read again from the store.
const SHOW_QUEUE: usize = 256;
/// Lines that wait to be obeyed: the editor opens for the next only after the last was.
const INPUT_QUEUE: usize = 1;
/// Ends the mode in which terminals mark pasted text.
const PASTE_MODE_OFF: &[u8] = b"\x1b[?2004l";

/// What the person did.
#[derive(Debug)]
pub(super) enum Input {
    /// Entered a line.
    Line(String),
    /// Pressed Ctrl-C or Ctrl-D.
    End,
    /// Nothing: the terminal failed.
    Failed(String),
}

/// A terminal with an editor.
pub(super) struct Screen {
    inputs: mpsc::Receiver<Input>,
    shown: mpsc::Sender<String>,
    /// Permits the editor to open for one line.
    permits: blocking::Sender<()>,
    is_editing: bool,
    /// The terminal's mode before the editor, as `stty -g` tells it.
    mode: Option<String>,
}

impl Screen {
    /// Takes the terminal. The editor opens with the first [`Self::prompt`].
    pub(super) fn start(prompt: &str) -> anyhow::Result<Self> {
        let mode = terminal_mode();
        let mut editor = DefaultEditor::new().context("use the terminal")?;
        // Without a terminal to write to there is nothing to keep apart, so lines are just printed.
        let printer = editor.create_external_printer().ok();
        let (shown, mut to_show) = mpsc::channel::<String>(SHOW_QUEUE);
        std::thread::spawn(move || {
            let mut printer = printer;
            while let Some(text) = to_show.blocking_recv() {
                let done = match &mut printer {
                    Some(printer) => printer.print(text).is_ok(),
                    None => std::io::stdout().write_all(text.as_bytes()).is_ok(),
                };
                if !done {
                    return;
                }
            }
        });
        let (input, inputs) = mpsc::channel(INPUT_QUEUE);
        let (permits, permitted) = blocking::channel();
        let prompt = prompt.to_owned();
        std::thread::spawn(move || edit(editor, &prompt, &permitted, &input));
        Ok(Self { inputs, shown, permits, is_editing: false, mode })
    }

    /// Opens the editor for one line.
    pub(super) fn prompt(&mut self) {
        self.is_editing = self.permits.send(()).is_ok();
    }

    /// Waits for what the person does. Cancelling the wait loses nothing.
    pub(super) async fn input(&mut self) -> Input {
        let input = self.inputs.recv().await;
        self.is_editing = false;
        input.unwrap_or(Input::End)
    }

    /// Shows whole lines, above the editor when it is open. The text must be clean.
    pub(super) async fn show(&self, text: String) {
        // The printer ends only when the terminal is gone, which the editor reports.
        let _ = self.shown.send(text).await;
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(mode) = self.mode.as_deref().filter(|_| self.is_editing) {
            let _ = stty(mode).status();
            let mut stdout = std::io::stdout();
            let _ = stdout.write_all(PASTE_MODE_OFF);
            let _ = stdout.write_all(b"\n").and_then(|()| stdout.flush());
        }
    }
}

/// Edits one line for each permit.
fn edit(
    mut editor: DefaultEditor,
    prompt: &str,
    permitted: &blocking::Receiver<()>,
    input: &mpsc::Sender<Input>,
) {
    while permitted.recv().is_ok() {
        let done = match editor.readline(prompt) {
            Ok(line) => {
                let _ = editor.add_history_entry(line.as_str());
                Input::Line(line)
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => Input::End,
            Err(error) => Input::Failed(format!("the terminal cannot be read: {error}")),
        };
        if input.blocking_send(done).is_err() {
            return;
        }
    }
}

fn terminal_mode() -> Option<String> {
    let output = stty("-g").stdout(Stdio::piped()).output().ok()?;
    let mode = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| mode.trim().to_owned())
}

fn stty(argument: &str) -> Command {
    let mut command = Command::new("stty");
    command.arg(argument).stdin(Stdio::inherit()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
